/* SPDX-License-Identifier: Apache-2.0 */
/* Damage to the log or to the saved trees costs the partitions of its shard and no others, stays known across restarts, and ends
 * with a drop. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "tests/engine/store.h"

static const uint32_t shard_0[] = {0, 2, 4, 6};

static void test_log_damage_costs_its_shard_alone(void **state)
{
	struct store store;
	struct store_search log;

	(void)state;
	store_fill(&store, false);
	store_damage_entry(&store, store_find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
	assert_int_equal(store_open(&store), 0);
	const char *reason = shard_quarantine_reason(store_shard(&store, 0));

	/* Which file and where, what it means, what to do. */
	assert_non_null(strstr(reason, log.found));
	assert_non_null(strstr(reason, "at offset"));
	assert_non_null(strstr(reason, "acknowledged writes are lost"));
	assert_non_null(strstr(reason, "all partitions of shard 0"));
	assert_non_null(strstr(reason, "refill"));
	assert_string_equal(shard_quarantine_reason(store_shard(&store, 1)), "");
	store_check_only(&store, shard_0, 4);
	/* Also partitions of which nothing is known; and the damaged segment is kept. */
	assert_int_equal(shard_quarantined(store_shard(&store, 0), 5000), 5000);
	store_find_file(&store, "/store/shard-000", ".log.damaged", &log);
	assert_true(log.found[0] != 0);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(store_write_partition(&store, 3), 0);
		store_restart(&store);
		store_check_only(&store, shard_0, 4);
		assert_non_null(strstr(shard_quarantine_reason(store_shard(&store, 0)), "at offset"));
	}
	store_free(&store);
}

static void test_dropping_and_filling_ends_it(void **state)
{
	static const uint32_t rest[] = {0, 2, 6};
	struct store store;
	struct store_search log;

	(void)state;
	store_fill(&store, false);
	store_damage_entry(&store, store_find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
	assert_int_equal(store_open(&store), 0);
	/* A part of a partition is not enough. */
	assert_int_equal(shard_drop_range(store_shard(&store, 4), (struct engine_slice){"\0\4k", 3},
					  (struct engine_slice){"\0\5", 2}),
			 0);
	store_check_only(&store, shard_0, 4);
	assert_int_equal(store_drop_partition(&store, 4), 0);
	assert_int_equal(store_read_partition(&store, 4).absent, STORE_KEYS);
	assert_int_equal(shard_tree_node(store_shard(&store, 4), 4, 0, 0), 0);
	store_restart(&store);
	assert_int_equal(store_read_partition(&store, 4).absent, STORE_KEYS);
	assert_int_equal(store_write_partition(&store, 4), 0);
	store_check_only(&store, rest, 3);
	store_restart(&store);
	store_check_only(&store, rest, 3);
	/* All at once. */
	assert_int_equal(shard_drop_range(store_shard(&store, 0), (struct engine_slice){0}, (struct engine_slice){0}),
			 0);
	assert_int_equal(shard_quarantined(store_shard(&store, 0), 0), -1);
	assert_string_equal(shard_quarantine_reason(store_shard(&store, 0)), "");
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(store_write_partition(&store, shard_0[i]), 0);
	store_check_only(&store, NULL, 0);
	store_restart(&store);
	store_check_only(&store, NULL, 0);
	store_free(&store);
}

static void test_missing_segment_and_tree_are_damage(void **state)
{
	static const char *const suffixes[] = {".log", ".tree"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct store_search file;
		struct store store;
		const struct fs *fs;

		store_fill(&store, i == 1);
		fs = store.options.fs;
		assert_int_equal(fs->unlink(fs, store_find_file(&store, "/store/shard-000", suffixes[i], &file)), 0);
		assert_int_equal(store_open(&store), 0);
		store_check_only(&store, shard_0, 4);
		store_restart(&store);
		store_check_only(&store, shard_0, 4);
		store_free(&store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_damage_costs_its_shard_alone),
		cmocka_unit_test(test_dropping_and_filling_ends_it),
		cmocka_unit_test(test_missing_segment_and_tree_are_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
