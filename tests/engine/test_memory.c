/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out at every allocation of the request path, of jobs, of checkpoints and of recovery: no crash, no leak, nothing half applied. The
 * linker sends the allocating functions through here (--wrap).
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

enum { ITEMS = 6, NEVER = -1 };

static long fail_after = NEVER; /* allocations until one fails */
static bool has_failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static bool fails(void)
{
	if (fail_after == NEVER || fail_after-- > 0)
		return false;
	fail_after = NEVER;
	has_failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

struct fixture {
	char directory[64];
	struct engine_options options;
	struct engine *engine;
	struct shard *shard;
	uint64_t generation; /* value of every key */
};

static struct engine_slice key_of(unsigned item, char out[64])
{
	out[0] = 0;
	out[1] = (char)item;
	return (struct engine_slice){out, 2 + (size_t)snprintf(out + 2, 60, "a key of some length, number %u", item)};
}

static void assert_generation(struct fixture *it, uint64_t generation)
{
	for (unsigned item = 0; item < ITEMS; item++) {
		struct engine_value value;
		char bytes[64];

		assert_int_equal(shard_get(it->shard, key_of(item, bytes), &value), generation != 0);
		if (generation)
			assert_memory_equal(value.data, &generation, sizeof generation);
		engine_value_release(&value);
		assert_int_equal(shard_tree_node(it->shard, (uint16_t)item, 0, 0), generation);
	}
}

/* All keys in one batch, with values of this size. */
static int write_generation(struct fixture *it, uint64_t generation, size_t value_size)
{
	static uint64_t value[5000];
	struct engine_batch *batch;
	int error = engine_batch_create(&batch);

	value[0] = generation;
	for (unsigned item = 0; error == 0 && item < ITEMS; item++) {
		char bytes[64];

		error = engine_batch_put(batch, key_of(item, bytes), (struct engine_slice){value, value_size},
					 it->generation ^ generation);
	}
	if (error == 0)
		error = shard_write(it->shard, batch);
	engine_batch_destroy(&batch);
	return error;
}

static int write_sized(struct fixture *it, size_t value_size)
{
	uint64_t sequence = shard_sequence(it->shard);
	int error = write_generation(it, it->generation + 1, value_size);

	if (error == 0)
		it->generation++;
	else
		assert_int_equal(shard_sequence(it->shard), sequence);
	return error;
}

static int step_write(struct fixture *it)
{
	return write_sized(it, 320);
}

/* Of several chunks of the memtable, so that memory runs out in the middle of the batch too. */
static int step_write_large(struct fixture *it)
{
	return write_sized(it, 40000);
}

static int step_commit(struct fixture *it)
{
	return shard_commit(it->shard, ENGINE_SYNC_NONE);
}

/* What was begun is ended, also when beginning failed for want of memory. */
static int step_commit_in_halves(struct fixture *it)
{
	struct engine_commit *commit;
	long planned = fail_after;
	int error;

	fail_after = NEVER;
	assert_int_equal(write_sized(it, 320), 0);
	fail_after = planned;
	error = shard_commit_begin(it->shard, &commit);
	if (error)
		assert_null(commit);
	if (error || commit == NULL)
		return error;
	engine_commit_run(commit);
	error = shard_commit_end(it->shard, &commit);
	assert_true(error || shard_durable_sequence(it->shard) == shard_sequence(it->shard));
	return error;
}

static int step_compact(struct fixture *it)
{
	return shard_request_compaction(it->shard);
}

/* A checkpoint that fails leaves nothing, so that the next one can take the same name. */
static int step_checkpoint(struct fixture *it)
{
	char directory[80], command[100];
	int error;

	snprintf(directory, sizeof directory, "%s-copy", it->directory);
	error = engine_checkpoint(it->engine, directory, NULL);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (error == 0)
		assert_int_equal(system(command), 0);
	return error;
}

static int step_get(struct fixture *it)
{
	char bytes[64];
	struct engine_value value;
	int error = shard_get(it->shard, key_of(3, bytes), &value);

	engine_value_release(&value);
	return error < 0 ? error : 0;
}

static int step_iterate(struct fixture *it)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	int error = shard_snapshot(it->shard, &snapshot);

	if (error)
		return error;
	error = engine_iterator_create(snapshot, &iterator);
	if (error == 0) {
		error = engine_iterator_seek(iterator, (struct engine_slice){0});
		while (error == 1)
			error = engine_iterator_next(iterator);
		engine_iterator_destroy(&iterator);
	}
	engine_snapshot_release(&snapshot);
	return error;
}

static int step_rotate(struct fixture *it)
{
	return shard_request_flush(it->shard);
}

static int step_job(struct fixture *it)
{
	struct engine_job *job;
	int error = shard_maintain(it->shard, &job);

	if (error || job == NULL)
		return error;
	engine_job_run(job);
	return shard_install(it->shard, &job);
}

static int step_meta(struct fixture *it)
{
	return shard_meta_set(it->shard, "meta", 4);
}

/* The partition of no key here, so that the values stay. The drop before it is made to be forgotten first, or each
 * would cost more allocations than the last. */
static int step_drop(struct fixture *it)
{
	long planned = fail_after;

	fail_after = NEVER;
	assert_int_equal(step_write(it), 0);
	assert_int_equal(step_rotate(it), 0);
	assert_int_equal(step_job(it), 0);
	fail_after = planned;
	return shard_drop_range(it->shard, (struct engine_slice){"\0\x50", 2}, (struct engine_slice){"\0\x51", 2});
}

static const struct step {
	const char *name;
	int (*run)(struct fixture *);
} steps[] = {
	{"write", step_write},
	{"commit", step_commit},
	{"get", step_get},
	{"iterate", step_iterate},
	{"rotate", step_rotate},
	{"job", step_job},
	{"get", step_get},
	{"iterate", step_iterate},
	{"write", step_write},
	{"meta", step_meta},
	{"drop", step_drop},
	{"job", step_job},
	{"rotate", step_rotate},
	{"job", step_job},
	{"large write", step_write_large},
	{"commit in halves", step_commit_in_halves},
	{"get", step_get},
	{"rotate", step_rotate},
	{"job", step_job},
	{"get", step_get},
	{"large write", step_write_large},
	{"compact", step_compact},
	{"job", step_job},
	{"job", step_job},
	{"get", step_get},
	{"write", step_write},
	{"checkpoint", step_checkpoint},
	{"write", step_write},
};

enum { STEPS = sizeof steps / sizeof steps[0] };

static void reopen(struct fixture *it)
{
	struct engine_error error;

	assert_int_equal(engine_close(&it->engine), 0);
	if (engine_open(&it->options, &it->engine, &error))
		fail_msg("%s", error.text);
	it->shard = engine_shard(it->engine, 0);
}

static void test_every_allocation_of_every_step(void **state)
{
	struct fixture it = {.directory = "/dev/shm/kvring-memory-XXXXXX"}; /* syncing costs nothing there */
	unsigned failed = 0, recovery_failed = 0;
	char command[100];

	(void)state;
	assert_non_null(mkdtemp(it.directory));
	engine_options_default(&it.options);
	it.options.directory = it.directory;
	assert_int_equal(engine_open(&it.options, &it.engine, NULL), 0);
	it.shard = engine_shard(it.engine, 0);
	for (int at = 0; at < STEPS; at++) {
		for (long n = 0;; n++) {
			int error;

			has_failed = false;
			fail_after = n;
			error = steps[at].run(&it);
			fail_after = NEVER;
			if (error && (error != -ENOMEM || !has_failed))
				fail_msg("%s, allocation %ld: %d", steps[at].name, n, error);
			assert_false(shard_is_dead(it.shard));
			assert_generation(&it, it.generation);
			failed += has_failed;
			if (!has_failed)
				break;
		}
	}
	print_message("%u allocations failed\n", failed);
	assert_true(failed > 200);
	/* Recovery of several segments, drops and trees, and of tables behind them: it fails or it works. */
	for (int segment = 0; segment < 3; segment++) {
		assert_int_equal(step_write(&it), 0);
		assert_int_equal(shard_drop_range(it.shard, (struct engine_slice){"\0\x50", 2},
						  (struct engine_slice){"\0\x51", 2}),
				 0);
		assert_int_equal(step_write(&it), 0);
	}
	reopen(&it);
	assert_generation(&it, it.generation);
	for (long n = 0;; n++) {
		int error;

		assert_int_equal(engine_close(&it.engine), 0);
		has_failed = false;
		fail_after = n;
		error = engine_open(&it.options, &it.engine, NULL);
		fail_after = NEVER;
		assert_true(error == 0 || (error == -ENOMEM && has_failed));
		if (error)
			assert_int_equal(engine_open(&it.options, &it.engine, NULL), 0);
		it.shard = engine_shard(it.engine, 0);
		assert_generation(&it, it.generation);
		recovery_failed += has_failed;
		if (!has_failed)
			break;
	}
	print_message("%u allocations failed while opening\n", recovery_failed);
	assert_true(recovery_failed > 50);
	assert_int_equal(engine_close(&it.engine), 0);
	snprintf(command, sizeof command, "rm -rf %s", it.directory);
	assert_int_equal(system(command), 0);
}

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void shell(const char *format, ...)
{
	char command[400];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof command, format, args);
	va_end(args);
	assert_int_equal(system(command), 0);
}

/* Opens, meets the damage, makes it known, drops it and writes anew. What cannot be read is an error. */
static int live_with_damage(struct fixture *it)
{
	struct engine_value value;
	char bytes[64];
	int error = engine_open(&it->options, &it->engine, NULL);

	if (error)
		return error;
	it->shard = engine_shard(it->engine, 0);
	error = shard_get(it->shard, key_of(0, bytes), &value);
	if (error == -EBADMSG)
		error = step_job(it);
	if (error)
		return error;
	assert_int_equal(shard_quarantined(it->shard, 0), 0);
	assert_int_equal(shard_get(it->shard, key_of(0, bytes), &value), -EBADMSG);
	error = shard_drop_range(it->shard, (struct engine_slice){0}, (struct engine_slice){0});
	if (error)
		return error;
	assert_int_equal(shard_quarantined(it->shard, 0), -1);
	it->generation = 0;
	return step_write(it);
}

/* Every key is damaged, or, once dropped, absent or new; none is the old one, for every block and the log is damaged. */
static void check_damaged(struct fixture *it)
{
	for (unsigned item = 0; item < ITEMS; item++) {
		struct engine_value value;
		char bytes[64];
		int error = shard_get(it->shard, key_of(item, bytes), &value);
		bool is_dropped = shard_quarantined(it->shard, 0) < 0;

		assert_true(error == -EBADMSG || (is_dropped && (error == 0 || error == 1)));
		engine_value_release(&value);
	}
}

static unsigned fail_around_damage(const char *suffix, bool is_flushed)
{
	struct fixture it = {.directory = "/dev/shm/kvring-memory-XXXXXX"};
	unsigned failed = 0;

	assert_non_null(mkdtemp(it.directory));
	engine_options_default(&it.options);
	it.options.directory = it.directory;
	assert_int_equal(engine_open(&it.options, &it.engine, NULL), 0);
	it.shard = engine_shard(it.engine, 0);
	assert_int_equal(step_write(&it), 0);
	if (is_flushed) {
		assert_int_equal(step_rotate(&it), 0);
		assert_int_equal(step_job(&it), 0);
	}
	assert_int_equal(engine_close(&it.engine), 0);
	/* One byte behind the file's header: the first block, or the first batch. */
	shell("cd %s/shard-000 && printf '\\377' | dd of=$(ls -S *%s | head -1) bs=1 seek=60 conv=notrunc 2>/dev/null",
	      it.directory, suffix);
	shell("cp -r %s %s.saved", it.directory, it.directory);
	for (long n = 0;; n++) {
		int error;

		shell("rm -rf %s && cp -r %s.saved %s", it.directory, it.directory, it.directory);
		has_failed = false;
		fail_after = n;
		error = live_with_damage(&it);
		fail_after = NEVER;
		if (error && (error != -ENOMEM || !has_failed))
			fail_msg("%s, allocation %ld: %d", suffix, n, error);
		if (it.engine == NULL)
			assert_int_equal(engine_open(&it.options, &it.engine, NULL), 0);
		it.shard = engine_shard(it.engine, 0);
		check_damaged(&it);
		assert_int_equal(engine_close(&it.engine), 0);
		failed += has_failed;
		if (!has_failed)
			break;
	}
	shell("rm -rf %s %s.saved", it.directory, it.directory);
	return failed;
}

static void test_every_allocation_around_damage(void **state)
{
	unsigned table = fail_around_damage(".tab", true), log = fail_around_damage(".log", false);

	(void)state;
	print_message("%u allocations failed around a damaged table, %u around a damaged log\n", table, log);
	assert_true(table > 50 && log > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_allocation_of_every_step),
		cmocka_unit_test(test_every_allocation_around_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
