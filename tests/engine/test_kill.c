/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 of a real process that syncs every commit: after each restart every acknowledged batch is there, batches are
 * whole, the hash trees equal a recount, and a checkpoint that calls itself a store is one.
 *
 * The child says in shared memory what it is doing and which batch was acknowledged last. The parent kills it after a random
 * time, or a random moment after it has begun something in particular, so that each is hit. Memory outlives the process,
 * and so does the page cache: the directory may be in memory (/dev/shm), which makes a round some milliseconds.
 * KVRING_KILLS=n: how many. KVRING_KILL_DIRECTORY=DIR: where, to have a real disk below.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/merge/job.h"
#include "tests/sim/sim_random.h"

enum { SHARDS = 2, PARTS = 3 /* keys per batch */, KEYS = 500, CHECKPOINT_EVERY = 100 /* batches */ };

enum phase { PHASE_OPEN, PHASE_WRITE, PHASE_FLUSH, PHASE_COMPACT, PHASE_INSTALL, PHASE_CHECKPOINT, PHASE_COUNT };

static const char *const phase_names[] = {"opening", "writing", "flushing", "compacting", "installing", "checkpoint"};

/* What child and parent share. */
struct board {
	_Atomic uint32_t phase;
	_Atomic uint64_t acknowledged;  /* the last batch known to be durable */
	_Atomic uint64_t checkpoint_of; /* batches when the last checkpoint was begun */
};

struct scene {
	struct board *board;
	char directory[80], checkpoint[90];
	struct sim_random random;
	unsigned hits[PHASE_COUNT];
	unsigned checkpoints; /* found whole */
	struct shard_stats sums;
};

/* ---- batches ---- */

/* Batch `number` takes slot number % KEYS; a slot is a partition's, a partition a shard's. */
static struct engine_slice key_of(uint64_t number, uint64_t part, char out[32])
{
	uint64_t slot = number % KEYS;

	out[0] = 0;
	out[1] = (char)(slot % SHARDS);
	return (struct engine_slice){out, 2 + (size_t)snprintf(out + 2, 30, "%llu-%llu", (unsigned long long)slot,
							       (unsigned long long)part)};
}

static struct shard *shard_of(struct engine *engine, uint64_t number)
{
	return engine_shard(engine, number % KEYS % SHARDS);
}

static uint64_t hash_of(uint64_t number, uint64_t part)
{
	return sim_random_mix(number * PARTS + part + 1);
}

/* The same value under all its keys, in place of those of the batch before it in this slot. */
static int write_batch(struct shard *shard, struct engine_batch *batch, uint64_t number)
{
	uint64_t value[30];
	int error = 0;

	for (int i = 0; i < 30; i++)
		value[i] = number;
	engine_batch_clear(batch);
	for (uint64_t part = 0; error == 0 && part < PARTS; part++) {
		uint64_t replaced = number > KEYS ? hash_of(number - KEYS, part) : 0;
		char bytes[32];

		error = engine_batch_put(batch, key_of(number, part, bytes), (struct engine_slice){value, sizeof value},
					 replaced ^ hash_of(number, part));
	}
	if (error == 0)
		error = shard_write(shard, batch);
	return error ? error : shard_commit(shard, ENGINE_SYNC_EACH);
}

/* ---- the child ---- */

static int tend(struct board *board, struct shard *shard)
{
	struct engine_job *job;
	int error = shard_maintain(shard, &job);

	if (error || job == NULL)
		return error;
	atomic_store(&board->phase, job->kind == JOB_FLUSH ? PHASE_FLUSH : PHASE_COMPACT);
	engine_job_run(job);
	atomic_store(&board->phase, PHASE_INSTALL);
	error = shard_install(shard, &job);
	atomic_store(&board->phase, PHASE_WRITE);
	return error;
}

/* One per round. */
static int make_checkpoint(struct scene *scene, struct engine *engine, uint64_t number)
{
	int error;

	if (access(scene->checkpoint, F_OK) == 0)
		return 0;
	atomic_store(&scene->board->checkpoint_of, number);
	atomic_store(&scene->board->phase, PHASE_CHECKPOINT);
	error = engine_checkpoint(engine, scene->checkpoint, NULL);
	atomic_store(&scene->board->phase, PHASE_WRITE);
	return error;
}

static void options_for(struct engine_options *options, const char *directory)
{
	engine_options_default(options);
	options->directory = directory;
	options->shard_count = SHARDS;
	options->memtable_bytes = 16 * 1024;
	options->cache_bytes = 1 << 20;
}

static _Noreturn void child(struct scene *scene, uint64_t from)
{
	struct engine_options options;
	struct engine_batch *batch;
	struct engine *engine;

	options_for(&options, scene->directory);
	if (engine_open(&options, &engine, NULL) || engine_batch_create(&batch))
		_exit(1);
	atomic_store(&scene->board->phase, PHASE_WRITE);
	for (uint64_t number = from;; number++) {
		struct shard *shard = shard_of(engine, number);
		int error;

		while ((error = write_batch(shard, batch, number)) == -EAGAIN) {
			if (tend(scene->board, shard))
				_exit(2);
		}
		if (error)
			_exit(3);
		atomic_store(&scene->board->acknowledged, number);
		if (number % 8 < SHARDS && tend(scene->board, shard))
			_exit(4);
		if (number % CHECKPOINT_EVERY == 0 && make_checkpoint(scene, engine, number))
			_exit(5);
	}
}

/* ---- the parent ---- */

static void wait_us(uint64_t us)
{
	struct timespec time = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};

	nanosleep(&time, NULL);
}

/* A random time from the start; or, for the others, from the moment it begins to do this. */
static void wait_for_moment(struct scene *scene, enum phase aim)
{
	if (aim == PHASE_OPEN) {
		wait_us(sim_random_below(&scene->random, 8000));
		return;
	}
	for (int i = 0; i < 500 && atomic_load(&scene->board->phase) != aim; i++)
		wait_us(5);
	if (sim_random_below(&scene->random, 2))
		wait_us(sim_random_below(&scene->random, 300));
}

/* Lets a child write on from this number, and kills it. The last number it acknowledged. */
static uint64_t run_and_kill(struct scene *scene, uint64_t from, enum phase aim)
{
	int status;
	pid_t pid;

	atomic_store(&scene->board->phase, PHASE_OPEN);
	atomic_store(&scene->board->acknowledged, from - 1);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(scene, from);
	wait_for_moment(scene, aim);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		fail_msg("the child ended by itself: %d", WEXITSTATUS(status));
	scene->hits[atomic_load(&scene->board->phase)]++;
	return atomic_load(&scene->board->acknowledged);
}

/* Value of one key of a batch, or UINT64_MAX. */
static uint64_t read_number(struct engine *engine, uint64_t slot, uint64_t part)
{
	struct engine_value value;
	uint64_t got = UINT64_MAX;
	char bytes[32];
	int error = shard_get(shard_of(engine, slot), key_of(slot, part, bytes), &value);

	assert_true(error >= 0);
	if (error == 1) {
		assert_int_equal(value.size, 30 * sizeof(uint64_t));
		memcpy(&got, value.data, sizeof got);
	}
	engine_value_release(&value);
	return got;
}

/* Everything acknowledged is there, each batch as a whole, at most the next one besides. The newest number found. */
static uint64_t check_slots(struct engine *engine, uint64_t last, uint64_t roots_out[SHARDS])
{
	uint64_t newest = last;

	for (uint64_t slot = 0; slot < KEYS; slot++) {
		uint64_t got = read_number(engine, slot, 0);
		uint64_t expected = last >= slot ? last - (last - slot) % KEYS : 0;

		if (!expected) /* numbers begin with 1 */
			expected = UINT64_MAX;
		for (uint64_t part = 0; part < PARTS; part++) {
			assert_int_equal(read_number(engine, slot, part), got);
			if (got != UINT64_MAX)
				roots_out[slot % SHARDS] ^= hash_of(got, part);
		}
		if (got != expected)
			assert_int_equal(got, last + 1);
		if (got != UINT64_MAX && got > newest)
			newest = got;
	}
	return newest;
}

/* Opens a store and checks it. The number to go on from. */
static uint64_t check(struct scene *scene, const char *directory, uint64_t last)
{
	struct engine_options options;
	struct engine_error error;
	struct engine *engine;
	uint64_t newest, roots[SHARDS] = {0};

	options_for(&options, directory);
	if (engine_open(&options, &engine, &error))
		fail_msg("%s", error.text);
	newest = check_slots(engine, last, roots);
	for (uint16_t shard = 0; shard < SHARDS; shard++) {
		struct shard_stats stats;

		assert_int_equal(shard_tree_node(engine_shard(engine, shard), shard, 0, 0), roots[shard]);
		shard_stats(engine_shard(engine, shard), &stats);
		scene->sums.recovered_batches += stats.recovered_batches;
		scene->sums.torn_tail_bytes += stats.torn_tail_bytes;
	}
	assert_int_equal(engine_close(&engine), 0);
	return newest + 1;
}

static void remove_all(const char *path)
{
	char command[120];

	snprintf(command, sizeof command, "rm -rf %s", path);
	assert_int_equal(system(command), 0);
}

/* What the round left of a checkpoint: it is a store with exactly what was there when it began, or it is none. */
static void check_checkpoint(struct scene *scene)
{
	char store[100];

	if (access(scene->checkpoint, F_OK) != 0)
		return;
	snprintf(store, sizeof store, "%s/STORE", scene->checkpoint);
	if (access(store, F_OK) == 0) {
		uint64_t of = atomic_load(&scene->board->checkpoint_of);

		assert_int_equal(check(scene, scene->checkpoint, of), of + 1);
		scene->checkpoints++;
	}
	remove_all(scene->checkpoint);
}

static void scene_init(struct scene *scene)
{
	const char *where = getenv("KVRING_KILL_DIRECTORY");

	*scene = (struct scene){0};
	sim_random_seed(&scene->random, (uint64_t)getpid());
	scene->board = mmap(NULL, sizeof *scene->board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(scene->board != MAP_FAILED);
	snprintf(scene->directory, sizeof scene->directory, "%.50s/kvring-kill-XXXXXX",
		 where != NULL ? where : "/dev/shm");
	assert_non_null(mkdtemp(scene->directory));
	snprintf(scene->checkpoint, sizeof scene->checkpoint, "%s-copy", scene->directory);
}

static void test_acknowledged_batches_survive_kills(void **state)
{
	const char *wish = getenv("KVRING_KILLS");
	unsigned kills = wish != NULL ? (unsigned)strtoul(wish, NULL, 10) : 60;
	struct scene scene;
	uint64_t next = 1;

	(void)state;
	scene_init(&scene);
	for (unsigned i = 0; i < kills; i++) {
		uint64_t last = run_and_kill(&scene, next, (enum phase)(i % PHASE_COUNT));

		next = check(&scene, scene.directory, last);
		check_checkpoint(&scene);
	}
	print_message(
		"%u kills, %llu batches, %llu of them read back from the log, %llu bytes torn, %u checkpoints whole:",
		kills, (unsigned long long)next - 1, (unsigned long long)scene.sums.recovered_batches,
		(unsigned long long)scene.sums.torn_tail_bytes, scene.checkpoints);
	for (int phase = 0; phase < PHASE_COUNT; phase++) {
		print_message(" %s %u", phase_names[phase], scene.hits[phase]);
		assert_true(kills < 100 || scene.hits[phase] > 0);
	}
	print_message("\n");
	assert_true(next > kills);
	remove_all(scene.directory);
	munmap(scene.board, sizeof *scene.board);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_acknowledged_batches_survive_kills)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
