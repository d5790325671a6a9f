/* kill -9 of a real process that syncs every commit: each acknowledged batch is there after each restart.
 *
 * The child writes numbered batches and tells each acknowledged number through a pipe; the parent kills it somewhere,
 * opens the store, and finds every number it was told of, in whole batches. More with KVRING_KILLS=n.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"
#include "sim_random.h"

enum { BATCH = 3, KEYS = 500 };

static struct engine_slice key_of(uint64_t number, uint64_t part, char out[32])
{
	out[0] = out[1] = 0;
	return (struct engine_slice){out,
				     2 + (size_t)snprintf(out + 2, 30, "%llu-%llu", (unsigned long long)(number % KEYS),
							  (unsigned long long)part)};
}

/* Batch `number`: the same value under BATCH keys. */
static int write_batch(struct shard *shard, struct engine_batch *batch, uint64_t number)
{
	uint64_t value[30];
	int rc;

	for (int i = 0; i < 30; i++)
		value[i] = number;
	engine_batch_clear(batch);
	for (uint64_t part = 0; part < BATCH; part++) {
		char bytes[32];

		rc = engine_batch_put(batch, key_of(number, part, bytes), (struct engine_slice){value, sizeof(value)},
				      number);
		if (rc)
			return rc;
	}
	rc = shard_write(shard, batch);
	return rc ? rc : shard_commit(shard, ENGINE_SYNC_EACH);
}

static int tend(struct shard *shard)
{
	struct engine_job *job;
	int rc = shard_maintain(shard, &job);

	if (rc || !job)
		return rc;
	engine_job_run(job);
	return shard_install(shard, &job);
}

static void options_for(struct engine_options *options, const char *directory)
{
	engine_options_default(options);
	options->directory = directory;
	options->memtable_bytes = 32 * 1024;
	options->cache_bytes = 1 << 20;
}

static _Noreturn void child(const char *directory, int out, uint64_t from)
{
	struct engine_options options;
	struct engine_batch *batch;
	struct engine *engine;

	options_for(&options, directory);
	if (engine_open(&options, &engine, NULL) || engine_batch_create(&batch))
		_exit(1);
	for (uint64_t number = from;; number++) {
		int rc;

		while ((rc = write_batch(engine_shard(engine, 0), batch, number)) == -EAGAIN) {
			if (tend(engine_shard(engine, 0)))
				_exit(2);
		}
		if (rc || write(out, &number, sizeof(number)) != sizeof(number))
			_exit(3);
		if (number % 8 == 0 && tend(engine_shard(engine, 0)))
			_exit(4);
	}
}

/* Lets a child write until it has acknowledged `count` batches, then kills it. The last number it told of. */
static uint64_t run_and_kill(const char *directory, uint64_t from, uint64_t count)
{
	uint64_t last = from - 1, number;
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(directory, ends[1], from);
	close(ends[1]);
	while (last + 1 < from + count && read(ends[0], &number, sizeof(number)) == sizeof(number))
		last = number;
	kill(pid, SIGKILL);
	while (read(ends[0], &number, sizeof(number)) == sizeof(number))
		last = number;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return last;
}

/* Value of one key of a batch, or UINT64_MAX. */
static uint64_t read_number(struct shard *shard, uint64_t number, uint64_t part)
{
	struct engine_value value;
	uint64_t got = UINT64_MAX;
	char bytes[32];
	int rc = shard_get(shard, key_of(number, part, bytes), &value);

	assert_true(rc >= 0);
	if (rc == 1)
		memcpy(&got, value.data, sizeof(got));
	engine_value_release(&value);
	return got;
}

/* Everything acknowledged is there, each batch as a whole. The number to go on from. */
static uint64_t check(const char *directory, uint64_t last)
{
	struct engine_options options;
	struct engine_error error;
	struct engine *engine;
	uint64_t newest = last;

	options_for(&options, directory);
	if (engine_open(&options, &engine, &error))
		fail_msg("%s", error.text);
	for (uint64_t slot = 0; slot < KEYS; slot++) {
		uint64_t got = read_number(engine_shard(engine, 0), slot, 0);
		uint64_t expected = last >= slot ? last - (last - slot) % KEYS : 0;

		if (!expected) /* numbers begin with 1 */
			expected = UINT64_MAX;

		for (uint64_t part = 1; part < BATCH; part++)
			assert_int_equal(read_number(engine_shard(engine, 0), slot, part), got);
		/* One more may have been synced without the parent having been told. */
		if (got != expected)
			assert_int_equal(got, last + 1);
		if (got != UINT64_MAX && got > newest)
			newest = got;
	}
	assert_int_equal(engine_close(&engine), 0);
	return newest + 1;
}

static void test_acknowledged_batches_survive_kills(void **state)
{
	const char *wish = getenv("KVRING_KILLS");
	unsigned kills = wish ? (unsigned)strtoul(wish, NULL, 10) : 12;
	char directory[] = "/tmp/kvring-kill-XXXXXX", command[64];
	struct sim_random random = {1};
	uint64_t next = 1;

	(void)state;
	assert_non_null(mkdtemp(directory));
	for (unsigned i = 0; i < kills; i++) {
		uint64_t last = run_and_kill(directory, next, 1 + sim_random_below(&random, 150));

		next = check(directory, last);
	}
	print_message("%u kills, %llu batches\n", kills, (unsigned long long)next - 1);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_acknowledged_batches_survive_kills)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
