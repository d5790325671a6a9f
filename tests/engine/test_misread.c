/* SPDX-License-Identifier: Apache-2.0 */
/* Reads that show a flipped bit while the medium is right: once, or until the cached copy is dropped. They cost a second reading
 * and nothing else: no partition is quarantined, nothing is lost, and what `kvengine verify` says agrees.
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

#include "engine/inspect.h"
#include "tests/engine/store.h"

enum { PLACES = 60 /* of a file, evenly spread */ };

static uint64_t verify(struct store *store)
{
	struct inspect_result result;
	struct engine_error error;
	FILE *out = fopen("/dev/null", "w");

	assert_non_null(out);
	assert_int_equal(engine_inspect(store->options.fs, "/store", INSPECT_VERIFY, out, &result, &error), 0);
	fclose(out);
	assert_int_equal(result.quarantined, 0);
	return result.damaged;
}

static void read_all(struct store *store)
{
	for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++)
		assert_int_equal(store_read_partition(store, partition).right, STORE_KEYS);
}

static void check_nothing_lost(struct store *store)
{
	assert_int_equal(store_run_jobs(store_shard(store, 0)), 0);
	store_check_only(store, NULL, 0);
	store_restart(store);
	store_check_only(store, NULL, 0);
	assert_int_equal(engine_close(&store->engine), 0);
	assert_int_equal(verify(store), 0);
}

static void plan_in_entry(struct store *store, enum sim_misread kind)
{
	struct store_search table;
	const char *path = store_find_file(store, "/store/shard-000", ".tab", &table);

	sim_fs_misread(store->disk, path, store_find_entry(store, path, STORE_VICTIM, STORE_KEYS / 2), 8, kind);
}

static void test_get_reads_again(void **state)
{
	(void)state;
	for (int kind = SIM_MISREAD_ONCE; kind <= SIM_MISREAD_CACHED; kind++) {
		struct shard_stats stats;
		struct store store;

		store_fill(&store, true);
		assert_int_equal(store_open(&store), 0);
		plan_in_entry(&store, (enum sim_misread)kind);
		read_all(&store);
		assert_int_equal(sim_fs_misreads(store.disk), 1);
		shard_stats(store_shard(&store, 0), &stats);
		assert_int_equal(stats.misreads, 1);
		check_nothing_lost(&store);
		store_free(&store);
	}
}

static void test_merge_and_scrub_read_again(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct engine_job *job;
		struct store store;
		struct shard *shard;

		store_fill(&store, true);
		assert_int_equal(store_open(&store), 0);
		shard = store_shard(&store, 0);
		if (i / 2) {
			assert_int_equal(store_write_partition(&store, 0), 0);
			assert_int_equal(shard_request_flush(shard), 0);
			assert_int_equal(store_run_jobs(shard), 0);
			plan_in_entry(&store, i % 2 ? SIM_MISREAD_ONCE : SIM_MISREAD_CACHED);
			assert_int_equal(shard_request_compaction(shard), 0);
			assert_int_equal(store_run_jobs(shard), 0);
		} else {
			plan_in_entry(&store, i % 2 ? SIM_MISREAD_ONCE : SIM_MISREAD_CACHED);
			assert_int_equal(shard_scrub(shard, &job), 0);
			engine_job_run(job);
			assert_int_equal(shard_install(shard, &job), 0);
		}
		assert_int_equal(sim_fs_misreads(store.disk), 1);
		check_nothing_lost(&store);
		store_free(&store);
	}
}

struct paths {
	char items[32][64];
	unsigned count;
};

static void add_path(void *arg, const char *path, uint64_t size)
{
	struct paths *paths = arg;

	if (size)
		snprintf(paths->items[paths->count++], sizeof paths->items[0], "%s", path);
}

/* Every file of a store is misread at one byte in so many while the store is opened, read and verified. */
static void misread_file(const char *path, bool flushed, enum sim_misread kind, uint64_t *met)
{
	uint64_t size = 1;

	for (uint64_t offset = 0; offset < size; offset += size / PLACES + 1) {
		struct store store;
		const uint8_t *data;

		store_fill_and(&store, flushed, offset % 2 ? STORE_CLOSED : STORE_KILLED);
		assert_int_equal(sim_fs_look(store.disk, path, &data, &size), 0);
		sim_fs_misread(store.disk, path, offset, (uint8_t)(1u << offset % 8), kind);
		if (verify(&store))
			fail_msg("%s misread at %llu: verify calls it damaged", path, (unsigned long long)offset);
		sim_fs_misread(store.disk, path, offset, (uint8_t)(1u << offset % 8), kind);
		assert_int_equal(store_open(&store), 0);
		read_all(&store);
		if (shard_quarantined(store_shard(&store, 0), 0) >= 0)
			fail_msg("%s misread at %llu: %s", path, (unsigned long long)offset,
				 shard_quarantine_reason(store_shard(&store, 0)));
		*met += sim_fs_misreads(store.disk);
		check_nothing_lost(&store);
		store_free(&store);
	}
}

static void test_every_file_is_read_again(void **state)
{
	uint64_t met = 0;

	(void)state;
	for (int flushed = 0; flushed < 2; flushed++) {
		struct paths paths = {0};
		struct store store;

		store_fill(&store, flushed);
		sim_fs_walk(store.disk, "/store", add_path, &paths);
		store_free(&store);
		for (unsigned i = 0; i < paths.count; i++) {
			if (strstr(paths.items[i], "shard-001") != NULL)
				continue;
			misread_file(paths.items[i], flushed, SIM_MISREAD_ONCE, &met);
			misread_file(paths.items[i], flushed, SIM_MISREAD_CACHED, &met);
		}
	}
	print_message("%llu reads showed a flipped bit\n", (unsigned long long)met);
	assert_true(met > 500);
}

/* What stays damaged is damaged to both: to a reader, durably, and to verify. */
static void test_lasting_damage_is_found_by_both(void **state)
{
	struct inspect_result result;
	struct engine_error error;
	struct store store;
	FILE *out = fopen("/dev/null", "w");

	(void)state;
	assert_non_null(out);
	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	assert_int_equal(store_open(&store), 0);
	assert_true(store_read_partition(&store, STORE_VICTIM).refused > 0);
	assert_int_equal(store_run_jobs(store_shard(&store, STORE_VICTIM)), 0);
	assert_true(store_is_quarantined(&store, STORE_VICTIM));
	assert_int_equal(engine_close(&store.engine), 0);
	assert_int_equal(engine_inspect(store.options.fs, "/store", INSPECT_VERIFY, out, &result, &error), 0);
	assert_int_equal(result.quarantined, 1);
	assert_true(result.damaged > 0);
	fclose(out);
	store_free(&store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get_reads_again),
		cmocka_unit_test(test_merge_and_scrub_read_again),
		cmocka_unit_test(test_every_file_is_read_again),
		cmocka_unit_test(test_lasting_damage_is_found_by_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
