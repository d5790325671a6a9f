/* SPDX-License-Identifier: Apache-2.0 */
/* engine.h as its users see it, on a real directory: several shards, limits, checkpoints, refusals, the lock. */
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
#include "engine/inspect.h"

enum { SHARDS = 3 };

struct fixture {
	char directory[64];
	struct engine_options options;
	struct engine *engine;
	struct engine_batch *batch;
};

static int setup(void **state)
{
	struct fixture *it = calloc(1, sizeof *it);

	strcpy(it->directory, "/dev/shm/kvring-engine-XXXXXX"); /* syncing costs nothing there */
	assert_non_null(mkdtemp(it->directory));
	engine_options_default(&it->options);
	it->options.directory = it->directory;
	it->options.shard_count = SHARDS;
	it->options.memtable_bytes = 64 * 1024;
	it->options.compression_upper = it->options.compression_last = ENGINE_COMPRESSION_NONE;
	assert_int_equal(engine_open(&it->options, &it->engine, NULL), 0);
	assert_int_equal(engine_batch_create(&it->batch), 0);
	*state = it;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *it = *state;
	char command[100];

	assert_int_equal(engine_close(&it->engine), 0);
	engine_batch_destroy(&it->batch);
	snprintf(command, sizeof command, "rm -rf %s*", it->directory);
	assert_int_equal(system(command), 0);
	free(it);
	return 0;
}

/* Key `number` of a partition; the caller's buffer holds it. */
static struct engine_slice key_of(uint16_t partition, unsigned number, char out[32])
{
	out[0] = (char)(partition >> 8);
	out[1] = (char)partition;
	return (struct engine_slice){out, 2 + (size_t)snprintf(out + 2, 30, "key-%06u", number)};
}

static struct shard *shard_of(struct fixture *it, uint16_t partition)
{
	return engine_shard(it->engine, partition % SHARDS);
}

static void put(struct fixture *it, uint16_t partition, unsigned number, const char *value)
{
	char bytes[32];
	struct engine_slice key = key_of(partition, number, bytes);
	struct shard *shard = shard_of(it, partition);
	int error;

	engine_batch_clear(it->batch);
	assert_int_equal(engine_batch_put(it->batch, key, (struct engine_slice){value, strlen(value)}, number + 1), 0);
	while ((error = shard_write(shard, it->batch)) == -EAGAIN) {
		struct engine_job *job;

		assert_int_equal(shard_maintain(shard, &job), 0);
		assert_non_null(job);
		engine_job_run(job);
		assert_int_equal(shard_install(shard, &job), 0);
	}
	assert_int_equal(error, 0);
}

static void assert_value(struct shard *shard, uint16_t partition, unsigned number, const char *expected)
{
	char bytes[32];
	struct engine_value value;
	int error = shard_get(shard, key_of(partition, number, bytes), &value);

	assert_int_equal(error, expected != NULL);
	if (expected != NULL) {
		assert_int_equal(value.size, strlen(expected));
		assert_memory_equal(value.data, expected, value.size);
	}
	engine_value_release(&value);
}

static void run_jobs(struct shard *shard)
{
	struct engine_job *job;

	while (shard_maintain(shard, &job) == 0 && job != NULL) {
		engine_job_run(job);
		assert_int_equal(shard_install(shard, &job), 0);
	}
}

static void reopen(struct fixture *it)
{
	assert_int_equal(engine_close(&it->engine), 0);
	assert_int_equal(engine_open(&it->options, &it->engine, NULL), 0);
}

static void test_shards_keep_their_own(void **state)
{
	struct fixture *it = *state;

	for (uint16_t partition = 0; partition < 9; partition++)
		put(it, partition, partition, "mine");
	reopen(it);
	for (uint16_t partition = 0; partition < 9; partition++) {
		assert_value(shard_of(it, partition), partition, partition, "mine");
		assert_value(engine_shard(it->engine, (partition + 1u) % SHARDS), partition, partition, NULL);
	}
}

static void test_shard_count_is_fixed(void **state)
{
	struct fixture *it = *state;
	struct engine_options options = it->options;
	struct engine_error error;
	struct engine *other;

	assert_int_equal(engine_close(&it->engine), 0);
	options.shard_count = SHARDS + 1;
	assert_int_equal(engine_open(&options, &other, &error), -EINVAL);
	assert_non_null(strstr(error.text, "has 3 shards, 4 were asked for"));
	options.shard_count = 0;
	assert_int_equal(engine_open(&options, &it->engine, &error), 0);
	assert_int_equal(engine_shard_count(it->engine), SHARDS);
}

static void test_directory_is_locked(void **state)
{
	struct fixture *it = *state;
	struct inspect_result result;
	struct engine_error error;
	struct engine *other;

	assert_int_equal(engine_open(&it->options, &other, &error), -EWOULDBLOCK);
	assert_non_null(strstr(error.text, "in use"));
	assert_int_equal(engine_inspect(NULL, it->directory, INSPECT_STATS, stdout, &result, &error), -EWOULDBLOCK);
}

static void test_missing_store_is_not_made_unasked(void **state)
{
	struct fixture *it = *state;
	struct engine_options options = it->options;
	struct engine_error error;
	struct engine *other;
	char directory[80];

	snprintf(directory, sizeof directory, "%s-none", it->directory);
	options.directory = directory;
	options.create_if_missing = false;
	assert_int_equal(engine_open(&options, &other, &error), -ENOENT);
}

/* Data without STORE was not left by a crash while a store was made: it is not made anew over it. */
static void test_data_without_store_is_left_alone(void **state)
{
	struct fixture *it = *state;
	struct engine_error error;
	struct engine *other;
	char store[80], aside[80];

	put(it, 1, 1, "kept");
	assert_int_equal(engine_close(&it->engine), 0);
	snprintf(store, sizeof store, "%s/STORE", it->directory);
	snprintf(aside, sizeof aside, "%s/aside", it->directory);
	assert_int_equal(rename(store, aside), 0);
	assert_int_equal(engine_open(&it->options, &other, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "STORE is missing, but"));
	assert_int_equal(rename(aside, store), 0);
	assert_int_equal(engine_open(&it->options, &it->engine, &error), 0);
	assert_value(shard_of(it, 1), 1, 1, "kept");
}

static void test_options_are_checked(void **state)
{
	struct fixture *it = *state;
	struct engine_options options = it->options;
	struct engine_error error;
	struct engine *other;

	options.block_bytes = 1000;
	assert_int_equal(engine_open(&options, &other, &error), -EINVAL);
	assert_non_null(strstr(error.text, "blocks of 1000 bytes; choose 4096 to 65536"));
	options = it->options;
	options.memtable_bytes = (size_t)3 << 30;
	assert_int_equal(engine_open(&options, &other, &error), -EINVAL);
}

static void test_limits_of_keys_and_values(void **state)
{
	struct fixture *it = *state;
	struct engine_slice long_key = {calloc(1, ENGINE_KEY_MAX + 1), ENGINE_KEY_MAX + 1}, value = {"v", 1};
	struct engine_value got;

	assert_int_equal(engine_batch_put(it->batch, (struct engine_slice){"\0", 1}, value, 0), -EINVAL);
	assert_int_equal(engine_batch_put(it->batch, long_key, value, 0), -EINVAL);
	long_key.size = ENGINE_KEY_MAX;
	assert_int_equal(engine_batch_put(it->batch, long_key, value, 0), 0);
	value = (struct engine_slice){calloc(1, 5 << 20), 5 << 20};
	assert_int_equal(engine_batch_put(it->batch, (struct engine_slice){"\0\0big", 5}, value, 0), 0);
	assert_int_equal(shard_write(shard_of(it, 0), it->batch), 0);
	assert_int_equal(shard_request_flush(shard_of(it, 0)), 0);
	run_jobs(shard_of(it, 0));
	assert_int_equal(shard_get(shard_of(it, 0), long_key, &got), 1);
	engine_value_release(&got);
	assert_int_equal(shard_get(shard_of(it, 0), (struct engine_slice){"\0\0big", 5}, &got), 1);
	assert_int_equal(got.size, 5 << 20);
	engine_value_release(&got);
	free((void *)long_key.data);
	free((void *)value.data);
}

/* Those that are there and those that are not, in memtable and table. */
static void test_get_in_memtable_and_table(void **state)
{
	struct fixture *it = *state;
	char bytes[32];

	for (unsigned i = 0; i < 8; i++) {
		if (i % 2)
			put(it, 0, i, "odd");
		if (i == 3) {
			assert_int_equal(shard_request_flush(shard_of(it, 0)), 0);
			run_jobs(shard_of(it, 0));
		}
	}
	for (unsigned i = 0; i < 8; i++) {
		struct engine_value value;

		assert_int_equal(shard_get(shard_of(it, 0), key_of(0, i, bytes), &value), i % 2);
		assert_int_equal(value.size, i % 2 ? 3 : 0);
		engine_value_release(&value);
	}
}

/* A drop frees whole files at once, and its partition can be filled again; others are not touched. */
static void test_drop_frees_space(void **state)
{
	struct fixture *it = *state;
	struct shard *shard = shard_of(it, 0);
	struct shard_stats before, after;
	char text[512];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (unsigned i = 0; i < 600; i++) {
		put(it, 0, i, text);
		put(it, 3, i, text);
	}
	assert_int_equal(shard_request_compaction(shard), 0);
	run_jobs(shard);
	shard_stats(shard, &before);
	assert_int_equal(shard_drop_range(shard, (struct engine_slice){"\0\0", 2}, (struct engine_slice){"\0\1", 2}),
			 0);
	shard_stats(shard, &after);
	assert_true(after.table_count < before.table_count);
	assert_true(after.disk_bytes < before.disk_bytes);
	assert_int_equal(after.compaction_bytes_written, before.compaction_bytes_written);
	assert_int_equal(shard_tree_node(shard, 0, 0, 0), 0);
	assert_true(shard_tree_node(shard, 3, 0, 0) != 0);
	put(it, 0, 5, "again");
	run_jobs(shard);
	reopen(it);
	shard = shard_of(it, 0);
	assert_value(shard, 0, 5, "again");
	assert_value(shard, 0, 6, NULL);
	assert_value(shard, 3, 6, text);
	run_jobs(shard);
	assert_value(shard, 0, 5, "again");
	assert_value(shard, 0, 6, NULL);
}

static uint64_t bytes_below(struct shard *shard, uint32_t level)
{
	struct shard_stats stats;
	uint64_t bytes = 0;

	shard_stats(shard, &stats);
	for (uint32_t i = level + 1; i < 8; i++)
		bytes += stats.level_bytes[i];
	return bytes;
}

/* While paused nothing goes beyond level 1, nor is refused; afterwards it all goes on, and what is asked for goes on at once. */
static void test_deep_merges_can_be_paused(void **state)
{
	struct fixture *it = *state;
	struct shard *shard = shard_of(it, 0);

	shard_pause_deep_merges(shard, true);
	for (unsigned round = 0; round < 40; round++) {
		put(it, 0, round, "value");
		assert_int_equal(shard_request_flush(shard), 0);
		run_jobs(shard);
		assert_int_equal(bytes_below(shard, 1), 0);
		assert_int_equal(shard_pressure(shard), 0);
	}
	shard_pause_deep_merges(shard, false);
	for (unsigned round = 40; round < 80; round++) {
		put(it, 0, round, "value");
		assert_int_equal(shard_request_flush(shard), 0);
		run_jobs(shard);
	}
	assert_true(bytes_below(shard, 1) > 0);
	shard_pause_deep_merges(shard, true);
	assert_int_equal(shard_request_compaction(shard), 0);
	run_jobs(shard);
	assert_int_equal(bytes_below(shard, 6), bytes_below(shard, 0)); /* all on the last level */
	for (unsigned round = 0; round < 80; round++)
		assert_value(shard, 0, round, "value");
}

/* However many merges are under way, a flush is given out, first; and merges are never more than leaves room for it. */
static void test_flush_finds_room_among_merges(void **state)
{
	struct fixture *it = *state;
	struct shard *shard = shard_of(it, 0);
	struct engine_job *held[ENGINE_JOBS_MAX], *job;
	unsigned count = 0;

	for (unsigned round = 0; round < 150; round++) {
		put(it, 0, round, "value");
		assert_int_equal(shard_request_flush(shard), 0);
		assert_int_equal(shard_maintain(shard, &job), 0);
		assert_non_null(job);
		assert_int_equal(engine_job_urgency(job), ENGINE_URGENCY_FLUSH);
		engine_job_run(job);
		assert_int_equal(shard_install(shard, &job), 0);
		while (shard_maintain(shard, &job) == 0 && job != NULL) {
			assert_true(count < ENGINE_JOBS_MAX - 1);
			held[count++] = job;
		}
	}
	assert_true(count > 2);
	while (count > 0) {
		engine_job_run(held[--count]);
		assert_int_equal(shard_install(shard, &held[count]), 0);
	}
	run_jobs(shard);
	for (unsigned round = 0; round < 150; round++)
		assert_value(shard, 0, round, "value");
}

/* A compaction that was under way when its input was dropped must not bring it back, however long the drop is over. */
static void test_drop_during_compaction_is_not_forgotten(void **state)
{
	struct fixture *it = *state;
	struct shard *shard = shard_of(it, 0);
	struct engine_job *job, *next;
	char text[512];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (unsigned i = 0; i < 400; i++) {
		put(it, i < 200 ? 0 : 3, i % 200, text);
		if (i % 200 == 199) { /* each partition has tables of its own */
			assert_int_equal(shard_request_compaction(shard), 0);
			run_jobs(shard);
		}
	}
	put(it, 0, 1, "newer");
	put(it, 0, 199, "newer"); /* so that its tables are not just moved */
	assert_int_equal(shard_request_compaction(shard), 0);
	assert_int_equal(shard_maintain(shard, &job), 0); /* the flush */
	engine_job_run(job);
	assert_int_equal(shard_install(shard, &job), 0);
	assert_int_equal(shard_maintain(shard, &job), 0); /* the compaction */
	assert_non_null(job);
	engine_job_run(job);
	assert_int_equal(shard_drop_range(shard, (struct engine_slice){"\0\0", 2}, (struct engine_slice){"\0\1", 2}),
			 0);
	/* A flush, at whose end drops are forgotten that nothing needs. */
	put(it, 3, 2, "newest");
	assert_int_equal(shard_request_flush(shard), 0);
	assert_int_equal(shard_maintain(shard, &next), 0);
	engine_job_run(next);
	assert_int_equal(shard_install(shard, &next), 0);
	assert_int_equal(shard_install(shard, &job), 0);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 200; i++)
			assert_value(shard, 0, i, NULL);
		assert_value(shard, 3, 2, "newest");
		assert_value(shard, 3, 3, text);
		run_jobs(shard);
	}
}

static void test_checkpoint_is_a_store(void **state)
{
	struct fixture *it = *state;
	struct engine_options options = it->options;
	struct engine_error error;
	struct engine *copy;
	char directory[80];

	for (uint16_t partition = 0; partition < 6; partition++)
		put(it, partition, 1, "before");
	assert_int_equal(shard_request_flush(shard_of(it, 0)), 0);
	run_jobs(shard_of(it, 0));
	put(it, 0, 2, "before, not flushed");
	snprintf(directory, sizeof directory, "%s-copy", it->directory);
	assert_int_equal(engine_checkpoint(it->engine, directory, &error), 0);
	assert_int_equal(engine_checkpoint(it->engine, directory, &error), -EEXIST);
	assert_non_null(strstr(error.text, "new directory"));
	put(it, 0, 3, "after");
	options.directory = directory;
	options.create_if_missing = false;
	assert_int_equal(engine_open(&options, &copy, &error), 0);
	for (uint16_t partition = 0; partition < 6; partition++)
		assert_value(engine_shard(copy, partition % SHARDS), partition, 1, "before");
	assert_value(engine_shard(copy, 0), 0, 2, "before, not flushed");
	assert_value(engine_shard(copy, 0), 0, 3, NULL);
	assert_int_equal(shard_tree_node(engine_shard(copy, 1), 1, 0, 0), shard_tree_node(shard_of(it, 1), 1, 0, 0));
	assert_int_equal(engine_close(&copy), 0);
	reopen(it);
	assert_value(shard_of(it, 0), 0, 3, "after");
}

static void test_meta_survives(void **state)
{
	struct fixture *it = *state;
	struct shard_stats stats;
	struct engine_slice meta;
	char big[ENGINE_META_MAX + 1] = {0};

	shard_meta_get(engine_shard(it->engine, 1), &meta);
	assert_int_equal(meta.size, 0);
	assert_int_equal(shard_meta_set(engine_shard(it->engine, 1), big, sizeof big), -EINVAL);
	/* Enough of them to make the manifest be written anew: it does not grow for ever. */
	for (int i = 0; i < 700; i++) {
		snprintf(big, sizeof big, "meta %d", i);
		assert_int_equal(shard_meta_set(engine_shard(it->engine, 1), big, ENGINE_META_MAX), 0);
	}
	shard_stats(engine_shard(it->engine, 1), &stats);
	assert_true(stats.disk_bytes < 5 << 20);
	reopen(it);
	shard_meta_get(engine_shard(it->engine, 1), &meta);
	assert_int_equal(meta.size, ENGINE_META_MAX);
	assert_string_equal(meta.data, "meta 699");
}

static void test_pressure_rises_and_refuses(void **state)
{
	struct fixture *it = *state;
	struct shard *shard = shard_of(it, 0);
	uint32_t last = 0, seen = 0;
	char text[200], bytes[32];
	int error = 0;

	memset(text, 'y', sizeof text);
	for (unsigned i = 0; error == 0 && i < 100000; i++) {
		engine_batch_clear(it->batch);
		assert_int_equal(engine_batch_put(it->batch, key_of(0, i, bytes), (struct engine_slice){text, 200}, 0),
				 0);
		error = shard_write(shard, it->batch);
		assert_true(shard_pressure(shard) >= last);
		seen += shard_pressure(shard) > last;
		last = shard_pressure(shard);
	}
	assert_int_equal(error, -EAGAIN);
	assert_int_equal(last, 1000);
	assert_true(seen > 20);
	run_jobs(shard);
	assert_true(shard_pressure(shard) < 1000);
	assert_int_equal(shard_write(shard, it->batch), 0);
}

/* A write larger than all that memtables may take leaves nothing to flush: the next one is taken, and then there is. */
static void test_one_large_write_does_not_stop_the_rest(void **state)
{
	struct fixture *it = *state;
	struct shard *shard = shard_of(it, 0);
	size_t size = 5 * it->options.memtable_bytes;
	char *large = calloc(1, size), bytes[32];

	engine_batch_clear(it->batch);
	assert_int_equal(engine_batch_put(it->batch, key_of(0, 1, bytes), (struct engine_slice){large, size}, 0), 0);
	assert_int_equal(shard_write(shard, it->batch), 0);
	assert_true(shard_pressure(shard) > 900);
	assert_int_equal(shard_write(shard, it->batch), 0);
	assert_int_equal(shard_write(shard, it->batch), -EAGAIN);
	run_jobs(shard);
	assert_int_equal(shard_write(shard, it->batch), 0);
	run_jobs(shard);
	free(large);
}

static void test_job_never_run_is_cancelled(void **state)
{
	struct fixture *it = *state;
	struct shard *shard = shard_of(it, 0);
	struct engine_job *job;

	put(it, 0, 1, "kept");
	assert_int_equal(shard_request_flush(shard), 0);
	assert_int_equal(shard_maintain(shard, &job), 0);
	assert_non_null(job);
	assert_int_equal(shard_install(shard, &job), -ECANCELED);
	assert_null(job);
	assert_value(shard, 0, 1, "kept");
	run_jobs(shard);
	assert_value(shard, 0, 1, "kept");
}

static void test_inspect_finds_nothing_wrong(void **state)
{
	struct fixture *it = *state;
	struct inspect_result result;
	struct engine_error error;
	FILE *out = fopen("/dev/null", "w");

	for (unsigned i = 0; i < 300; i++)
		put(it, (uint16_t)(i % 6), i, "value");
	assert_int_equal(shard_request_flush(shard_of(it, 0)), 0);
	run_jobs(shard_of(it, 0));
	assert_int_equal(engine_close(&it->engine), 0);
	assert_int_equal(engine_inspect(NULL, it->directory, INSPECT_VERIFY, out, &result, &error), 0);
	assert_int_equal(result.damaged, 0);
	assert_int_equal(result.entries, 100);
	assert_true(result.batches >= 2);
	assert_int_equal(engine_inspect(NULL, it->directory, INSPECT_ENTRIES, out, &result, &error), 0);
	fclose(out);
	assert_int_equal(engine_open(&it->options, &it->engine, NULL), 0);
}

/* engine_open asks whether a text was set: what the caller's struct holds from another call is none. */
static void test_opening_clears_an_old_error(void **state)
{
	struct fixture *it = *state;
	struct engine_error error = {"of another call"};

	assert_int_equal(engine_close(&it->engine), 0);
	assert_int_equal(engine_open(&it->options, &it->engine, &error), 0);
	assert_string_equal(error.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_shards_keep_their_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shard_count_is_fixed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_is_locked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_store_is_not_made_unasked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data_without_store_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_of_keys_and_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_get_in_memtable_and_table, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deep_merges_can_be_paused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush_finds_room_among_merges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drop_frees_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drop_during_compaction_is_not_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_checkpoint_is_a_store, setup, teardown),
		cmocka_unit_test_setup_teardown(test_meta_survives, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pressure_rises_and_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_large_write_does_not_stop_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_job_never_run_is_cancelled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_inspect_finds_nothing_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_opening_clears_an_old_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
