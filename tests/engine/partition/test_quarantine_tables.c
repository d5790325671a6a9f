/* SPDX-License-Identifier: Apache-2.0 */
/* Damage to a table costs the partitions that can have keys in the damaged place, whoever finds it: a read, an iteration, a merge,
 * a scrub, or opening the store. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/inspect.h"
#include "tests/engine/store.h"

/* A block in the middle of a partition's keys. */
static void test_block_damage_costs_its_partition_alone(void **state)
{
	static const uint32_t victim[] = {STORE_VICTIM};
	struct engine_snapshot *before;
	struct engine_job *job;
	struct store store;
	struct engine_value value;
	struct store_key key;
	struct store_tally tally;

	(void)state;
	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	assert_int_equal(store_open(&store), 0);
	assert_int_equal(shard_snapshot(store_shard(&store, STORE_VICTIM), &before), 0);
	tally = store_read_partition(&store, STORE_VICTIM);
	assert_true(tally.refused > 0 && tally.right > 0 && tally.absent == 0);
	/* Noted, and made known by the next round. */
	assert_int_equal(shard_maintain(store_shard(&store, STORE_VICTIM), &job), 0);
	assert_null(job);
	const char *reason = shard_quarantine_reason(store_shard(&store, STORE_VICTIM));

	assert_non_null(strstr(reason, ".tab: the block at offset"));
	assert_non_null(strstr(reason, "partitions from 4 to 4"));
	assert_non_null(strstr(reason, "refill"));
	store_check_only(&store, victim, 1);
	/* A snapshot taken before keeps its answers. */
	assert_int_equal(engine_snapshot_get(before, store_key(&key, STORE_VICTIM, 0), &value), 1);
	engine_value_release(&value);
	assert_int_equal(engine_snapshot_get(before, store_key(&key, STORE_VICTIM, STORE_KEYS / 2), &value), -EBADMSG);
	engine_snapshot_release(&before);
	store_restart(&store);
	store_check_only(&store, victim, 1);
	/* Merges go on, past the damaged block. */
	assert_int_equal(shard_request_compaction(store_shard(&store, STORE_VICTIM)), 0);
	for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
		if (i != STORE_VICTIM)
			assert_int_equal(store_write_partition(&store, i), 0);
	}
	assert_int_equal(shard_request_compaction(store_shard(&store, STORE_VICTIM)), 0);
	assert_int_equal(store_run_jobs(store_shard(&store, STORE_VICTIM)), 0);
	store_check_only(&store, victim, 1);
	assert_int_equal(store_drop_partition(&store, STORE_VICTIM), 0);
	assert_int_equal(store_write_partition(&store, STORE_VICTIM), 0);
	store_check_only(&store, NULL, 0);
	store_restart(&store);
	assert_int_equal(store_run_jobs(store_shard(&store, STORE_VICTIM)), 0);
	store_check_only(&store, NULL, 0);
	store_free(&store);
}

/* Nobody reads the block but a merge: it fails, and the one after it passes. */
static void test_merge_finds_damage_and_goes_on(void **state)
{
	static const uint32_t victim[] = {STORE_VICTIM};
	struct shard_stats stats;
	struct store store;
	struct shard *shard;
	int error;

	(void)state;
	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	assert_int_equal(store_open(&store), 0);
	shard = store_shard(&store, STORE_VICTIM);
	assert_int_equal(store_write_partition(&store, 0), 0);
	assert_int_equal(shard_request_compaction(shard), 0);
	error = store_run_jobs(shard);
	assert_int_equal(error, -EBADMSG);
	assert_int_equal(store_run_jobs(shard), 0);
	store_check_only(&store, victim, 1);
	shard_stats(shard, &stats);
	assert_int_equal(stats.quarantined_partitions, 1);
	assert_int_equal(stats.level_table_count[7], stats.table_count);
	store_free(&store);
}

static void *read_in_thread(void *arg)
{
	struct engine_snapshot *snapshot = arg;
	struct engine_value value;
	struct store_key key;
	int error = engine_snapshot_get(snapshot, store_key(&key, STORE_VICTIM, STORE_KEYS / 2), &value);

	assert_int_equal(error, -EBADMSG);
	return NULL;
}

static void test_other_threads_only_leave_a_note(void **state)
{
	static const uint32_t victim[] = {STORE_VICTIM};
	struct engine_snapshot *snapshot;
	struct store store;
	pthread_t threads[2];

	(void)state;
	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	assert_int_equal(store_open(&store), 0);
	assert_int_equal(shard_snapshot(store_shard(&store, STORE_VICTIM), &snapshot), 0);
	/* One after the other: the simulated disk has one thread. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, read_in_thread, snapshot), 0);
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	}
	assert_int_equal(shard_quarantined(store_shard(&store, STORE_VICTIM), 0), -1);
	engine_snapshot_release(&snapshot);
	assert_int_equal(store_run_jobs(store_shard(&store, STORE_VICTIM)), 0);
	store_check_only(&store, victim, 1);
	store_free(&store);
}

/* An iteration stops where it would leave out a partition, and says which. */
static void test_iteration_stops_and_goes_on_behind(void **state)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	struct store store;
	struct store_key key;
	int error;

	(void)state;
	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	assert_int_equal(store_open(&store), 0);
	store_read_partition(&store, STORE_VICTIM);
	assert_int_equal(store_run_jobs(store_shard(&store, STORE_VICTIM)), 0);
	assert_int_equal(shard_snapshot(store_shard(&store, STORE_VICTIM), &snapshot), 0);
	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	error = engine_iterator_seek(iterator, store_key(&key, 2, 0));
	for (uint32_t i = 0; i < STORE_KEYS; i++) {
		assert_int_equal(error, 1);
		error = engine_iterator_next(iterator);
	}
	assert_int_equal(error, -EBADMSG);
	assert_int_equal(engine_iterator_quarantined(iterator), STORE_VICTIM);
	assert_int_equal(engine_iterator_next(iterator), -EBADMSG);
	assert_int_equal(engine_iterator_seek(iterator, store_key(&key, STORE_VICTIM, 3)), -EBADMSG);
	assert_int_equal(engine_iterator_quarantined(iterator), STORE_VICTIM);
	assert_int_equal(engine_iterator_seek(iterator, (struct engine_slice){"\0\5", 2}), 1);
	assert_int_equal(engine_iterator_quarantined(iterator), -1);
	assert_int_equal(((const uint8_t *)engine_iterator_key(iterator).data)[1], 6);
	assert_int_equal(engine_iterator_prev(iterator), -EBADMSG);
	assert_int_equal(engine_iterator_quarantined(iterator), STORE_VICTIM);
	assert_int_equal(engine_iterator_seek_last(iterator, (struct engine_slice){"\0\4", 2}), -EBADMSG);
	assert_int_equal(engine_iterator_seek_last(iterator, (struct engine_slice){"\0\3", 2}), 1);
	assert_int_equal(((const uint8_t *)engine_iterator_key(iterator).data)[1], 2);
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	store_free(&store);
}

/* A table that cannot be opened costs its range, not what other tables hold. */
static void test_lost_table_costs_its_range(void **state)
{
	static const uint32_t lost[] = {4, 6}, one[] = {6};

	(void)state;
	for (int how = 0; how < 3; how++) {
		struct store_search file;
		struct engine_error error;
		struct store store;
		uint64_t size;
		const uint8_t *data;

		store_make(&store);
		for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++) {
			assert_int_equal(store_write_partition(&store, partition), 0);
			if (partition == 2)
				assert_int_equal(shard_request_flush(store_shard(&store, 0)), 0);
			if (partition == 2)
				assert_int_equal(store_run_jobs(store_shard(&store, 0)), 0);
		}
		assert_int_equal(engine_close(&store.engine), 0);
		/* The first table is renamed away, so that the second one is the first found. */
		assert_int_equal(store_open(&store), 0);
		store_find_file(&store, "/store/shard-000", ".tab", &file);
		char first[128];

		strcpy(first, file.found);
		assert_int_equal(shard_request_flush(store_shard(&store, 0)), 0);
		assert_int_equal(store_run_jobs(store_shard(&store, 0)), 0);
		assert_int_equal(engine_close(&store.engine), 0);
		store.options.fs->rename(store.options.fs, first, "/store/first");
		store_find_file(&store, "/store/shard-000", ".tab", &file);
		store.options.fs->rename(store.options.fs, "/store/first", first);
		assert_int_equal(sim_fs_look(store.disk, file.found, &data, &size), 0);
		if (how == 0)
			assert_int_equal(store.options.fs->unlink(store.options.fs, file.found), 0);
		else if (how == 1)
			sim_fs_flip_bit(store.disk, file.found, size - 20, 1); /* footer */
		else
			sim_fs_cut(store.disk, file.found, size / 2);
		assert_int_equal(store_open(&store), 0);
		assert_non_null(strstr(shard_quarantine_reason(store_shard(&store, 0)), file.found));
		store_check_only(&store, lost, 2);
		/* Copies of it know it too. */
		assert_int_equal(engine_checkpoint(store.engine, "/copy", &error), 0);
		assert_int_equal(store_drop_partition(&store, 4), 0);
		assert_int_equal(store_write_partition(&store, 4), 0);
		store_check_only(&store, one, 1);
		assert_int_equal(shard_request_compaction(store_shard(&store, 0)), 0);
		assert_int_equal(store_run_jobs(store_shard(&store, 0)), 0);
		store_check_only(&store, one, 1);
		store_restart(&store);
		store_check_only(&store, one, 1);
		assert_int_equal(engine_close(&store.engine), 0);
		store.options.directory = "/copy";
		assert_int_equal(store_open(&store), 0);
		store_check_only(&store, lost, 2);
		store_free(&store);
	}
}

/* Several damaged blocks, which nobody reads but the scrub; it goes on where it was, and begins anew. */
static bool is_there(struct store *store, const char *path)
{
	const uint8_t *data;
	uint64_t size;

	return sim_fs_look(store->disk, path, &data, &size) == 0;
}

/* A manifest older than its files names tables that are gone and not those that are there: these stay until that is settled. */
static void test_unnamed_tables_stay_beside_missing_ones(void **state)
{
	static const char unnamed[] = "/store/shard-000/0000009999.tab";
	struct engine_slice all = {0};
	struct store_search file;
	struct store store;

	(void)state;
	store_make(&store);
	assert_int_equal(store_write_partition(&store, 0), 0);
	assert_int_equal(shard_request_flush(store_shard(&store, 0)), 0);
	assert_int_equal(store_run_jobs(store_shard(&store, 0)), 0);
	assert_int_equal(engine_close(&store.engine), 0);
	store_find_file(&store, "/store/shard-000", ".tab", &file);
	assert_int_equal(store.options.fs->rename(store.options.fs, file.found, unnamed), 0);
	assert_int_equal(store_open(&store), 0);
	assert_true(shard_quarantined(store_shard(&store, 0), 0) >= 0);
	assert_true(is_there(&store, unnamed));
	store_restart(&store);
	assert_true(is_there(&store, unnamed));
	assert_int_equal(shard_drop_range(store_shard(&store, 0), all, all), 0);
	store_restart(&store);
	assert_false(is_there(&store, unnamed));
	store_free(&store);
}

static void test_scrub_finds_damage(void **state)
{
	static const uint32_t victims[] = {2, 6};
	struct shard_stats stats;
	struct store store;
	struct shard *shard;
	uint32_t jobs = 0;

	(void)state;
	store_fill(&store, true);
	store_damage_table(&store, 2, STORE_KEYS / 2);
	store_damage_table(&store, 6, STORE_KEYS / 2);
	assert_int_equal(store_open(&store), 0);
	shard = store_shard(&store, 0);
	for (uint32_t round = 1; round <= 2; round++) {
		struct engine_job *job, *other;

		for (;;) {
			assert_int_equal(shard_scrub(shard, &job), 0);
			if (job == NULL)
				break;
			assert_int_equal(shard_scrub(shard, &other), 0);
			assert_null(other);
			engine_job_run(job);
			assert_int_equal(shard_install(shard, &job), 0);
			jobs++;
		}
		shard_stats(shard, &stats);
		assert_int_equal(stats.scrub_rounds, round);
	}
	assert_true(jobs >= 6); /* up to each damaged block, and behind the last, twice */
	assert_true(stats.scrub_bytes_read > 2 * (STORE_PARTITIONS / STORE_SHARDS - 1) * STORE_KEYS * STORE_VALUE);
	store_check_only(&store, victims, 2);
	store_restart(&store);
	store_check_only(&store, victims, 2);
	store_free(&store);
}

static void test_scrub_that_cannot_read_tries_again(void **state)
{
	struct shard_stats stats;
	struct engine_job *job;
	struct store store;
	struct shard *shard;

	(void)state;
	store_fill(&store, true);
	assert_int_equal(store_open(&store), 0);
	shard = store_shard(&store, 0);
	assert_int_equal(shard_scrub(shard, &job), 0);
	sim_fs_count_only(store.disk, 1 << SIM_FS_PREAD);
	sim_fs_reset_operations(store.disk);
	sim_fs_fail_at(store.disk, 0, -EIO, false);
	engine_job_run(job);
	assert_int_equal(shard_install(shard, &job), -EIO);
	assert_false(shard_is_dead(shard));
	assert_int_equal(shard_scrub(shard, &job), 0);
	engine_job_run(job);
	assert_int_equal(shard_install(shard, &job), 0);
	assert_int_equal(shard_scrub(shard, &job), 0);
	assert_null(job);
	shard_stats(shard, &stats);
	assert_true(stats.scrub_bytes_read > STORE_PARTITIONS / STORE_SHARDS * STORE_KEYS * STORE_VALUE);
	/* One that is never run changes nothing. */
	assert_int_equal(shard_scrub(shard, &job), 0);
	assert_int_equal(shard_install(shard, &job), -ECANCELED);
	store_check_only(&store, NULL, 0);
	store_free(&store);
}

static void test_inspect_shows_it(void **state)
{
	struct inspect_result result;
	struct engine_error error;
	struct store store;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	assert_int_equal(store_open(&store), 0);
	store_read_partition(&store, STORE_VICTIM);
	assert_int_equal(store_run_jobs(store_shard(&store, STORE_VICTIM)), 0);
	assert_int_equal(engine_close(&store.engine), 0);
	assert_int_equal(engine_inspect(store.options.fs, "/store", INSPECT_STATS, out, &result, &error), 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(result.quarantined, 1);
	assert_non_null(strstr(text, "QUARANTINED: 1 partitions: 4\n"));
	assert_non_null(strstr(text, ".tab: the block at offset"));
	free(text);
	store_free(&store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_damage_costs_its_partition_alone),
		cmocka_unit_test(test_merge_finds_damage_and_goes_on),
		cmocka_unit_test(test_other_threads_only_leave_a_note),
		cmocka_unit_test(test_iteration_stops_and_goes_on_behind),
		cmocka_unit_test(test_lost_table_costs_its_range),
		cmocka_unit_test(test_unnamed_tables_stay_beside_missing_ones),
		cmocka_unit_test(test_scrub_finds_damage),
		cmocka_unit_test(test_scrub_that_cannot_read_tries_again),
		cmocka_unit_test(test_inspect_shows_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
