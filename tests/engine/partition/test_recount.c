/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged saved hash trees are recounted from the tables, with the log on top: no partition is lost by them, but for those that a
 * damaged block can hold keys of.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/engine/store.h"
#include "tests/engine/twin_check.h"

/* As store_write_partition made the deltas. */
static int hash_entry(void *arg, struct engine_slice key, struct engine_slice value, uint64_t *hash_out)
{
	const uint8_t *bytes = key.data;
	unsigned *calls = arg;
	uint64_t index = 0;

	assert_int_equal(value.size, STORE_VALUE);
	for (size_t i = 3; i < key.size; i++)
		index = index * 10 + (uint64_t)(bytes[i] - '0');
	++*calls;
	*hash_out = (uint64_t)bytes[1] * 1000 + index + 1;
	return 0;
}

enum damage { FLIPPED, CUT, MISSING, DAMAGES };

static void damage_file(struct store *store, const char *path, enum damage damage)
{
	const uint8_t *data;
	uint64_t size;

	assert_int_equal(sim_fs_look(store->disk, path, &data, &size), 0);
	if (damage == FLIPPED)
		sim_fs_flip_bit(store->disk, path, size / 2, 5);
	else if (damage == CUT)
		sim_fs_cut(store->disk, path, size / 2);
	else
		assert_int_equal(store->options.fs->unlink(store->options.fs, path), 0);
}

static void damage_tree(struct store *store, enum damage damage)
{
	struct store_search tree;

	damage_file(store, store_find_file(store, "/store/shard-000", ".tree", &tree), damage);
}

static uint32_t recounts(struct store *store)
{
	struct shard_stats stats;

	shard_stats(store_shard(store, 0), &stats);
	return stats.tree_recounts;
}

/* Nothing is quarantined, the trees are right, and stay so; the next flush saves them. */
static void test_damaged_trees_are_recounted(void **state)
{
	(void)state;
	for (enum damage damage = FLIPPED; damage < DAMAGES; damage++) {
		struct store store;
		unsigned calls = 0;

		store_fill(&store, true);
		store.options.hash_entry = hash_entry;
		store.options.hash_arg = &calls;
		damage_tree(&store, damage);
		for (int i = 0; i < 2; i++) {
			calls = 0;
			assert_int_equal(store_open(&store), 0);
			assert_int_equal(calls, STORE_PARTITIONS / STORE_SHARDS * STORE_KEYS);
			assert_int_equal(recounts(&store), 1);
			store_check_only(&store, NULL, 0);
			assert_int_equal(engine_checkpoint(store.engine, i ? "/copy1" : "/copy0", NULL), 0);
			assert_int_equal(engine_close(&store.engine), 0);
			assert_int_equal(store_open(&store), 0);
			assert_int_equal(engine_close(&store.engine), 0);
		}
		store.options.directory = "/copy0";
		assert_int_equal(store_open(&store), 0);
		store_check_only(&store, NULL, 0);
		assert_int_equal(engine_close(&store.engine), 0);
		store.options.directory = "/store";
		assert_int_equal(store_open(&store), 0);
		assert_int_equal(store_write_partition(&store, 0), 0);
		assert_int_equal(shard_request_flush(store_shard(&store, 0)), 0);
		assert_int_equal(store_run_jobs(store_shard(&store, 0)), 0);
		store_restart(&store);
		assert_int_equal(recounts(&store), 0);
		store_check_only(&store, NULL, 0);
		store_free(&store);
	}
}

/* What is in the log comes on top: drops, and what was written after them. */
static void test_log_is_replayed_on_recounted_trees(void **state)
{
	struct store store;
	unsigned calls = 0;

	(void)state;
	store_fill(&store, true);
	assert_int_equal(store_open(&store), 0);
	assert_int_equal(store_write_partition(&store, 4), 0);
	assert_int_equal(store_drop_partition(&store, 2), 0);
	assert_int_equal(store_drop_partition(&store, 6), 0);
	assert_int_equal(store_write_partition(&store, 6), 0);
	sim_fs_kill(store.disk);
	(void)engine_close(&store.engine);
	sim_fs_restart(store.disk);
	damage_tree(&store, FLIPPED);
	store.options.hash_entry = hash_entry;
	store.options.hash_arg = &calls;
	assert_int_equal(store_open(&store), 0);
	assert_int_equal(calls, 2 * STORE_KEYS); /* of 0 and 4: the others were dropped */
	assert_int_equal(shard_tree_node(store_shard(&store, 2), 2, 0, 0), 0);
	assert_int_equal(store_write_partition(&store, 2), 0);
	store_check_only(&store, NULL, 0);
	store_restart(&store);
	store_check_only(&store, NULL, 0);
	store_free(&store);
}

static void test_a_damaged_block_costs_its_partition(void **state)
{
	static const uint32_t victim[] = {STORE_VICTIM};
	struct store store;
	unsigned calls = 0;

	(void)state;
	store_fill(&store, true);
	store.options.hash_entry = hash_entry;
	store.options.hash_arg = &calls;
	damage_tree(&store, FLIPPED);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_open(&store), 0);
		store_check_only(&store, victim, 1);
		assert_non_null(strstr(shard_quarantine_reason(store_shard(&store, 0)), "cannot be recounted"));
		assert_int_equal(engine_close(&store.engine), 0);
	}
	assert_int_equal(store_open(&store), 0);
	assert_int_equal(store_drop_partition(&store, STORE_VICTIM), 0);
	assert_int_equal(store_write_partition(&store, STORE_VICTIM), 0);
	store_check_only(&store, NULL, 0);
	store_restart(&store);
	store_check_only(&store, NULL, 0);
	store_free(&store);
}

static int refuse_entry(void *arg, struct engine_slice key, struct engine_slice value, uint64_t *hash_out)
{
	const int *error = arg;

	(void)key, (void)value;
	*hash_out = 0;
	return *error;
}

/* Entries that the caller cannot read, and a caller without memory. */
static void test_hashing_that_fails(void **state)
{
	static const uint32_t shard_0[] = {0, 2, 4, 6};
	struct store store;
	int error = -ENOMEM;

	(void)state;
	store_fill(&store, true);
	store.options.hash_entry = refuse_entry;
	store.options.hash_arg = &error;
	damage_tree(&store, CUT);
	assert_int_equal(engine_open(&store.options, &store.engine, NULL), -ENOMEM);
	error = -EBADMSG;
	assert_int_equal(store_open(&store), 0);
	store_check_only(&store, shard_0, 4);
	store_free(&store);
}

/* The twin keeps every value it wrote: finds the one with these bytes. */
static int hash_twin_entry(void *arg, struct engine_slice key, struct engine_slice value, uint64_t *hash_out)
{
	const struct twin *twin = arg;

	for (uint32_t i = 0; i < TWIN_KEYS; i++) {
		struct engine_slice mine = twin_key(i);

		if (mine.size != key.size || memcmp(mine.data, key.data, key.size) != 0)
			continue;
		for (size_t point = twin->point_count; point-- > 0;) {
			const struct twin_value *candidate = &twin->points[point].state.values[i];

			if (candidate->is_present && candidate->size == value.size &&
			    twin_is_value(candidate, value.data, value.size)) {
				*hash_out = twin_value_hash(i, candidate);
				return 0;
			}
		}
	}
	fail_msg("an entry that was never written");
	return -EBADMSG;
}

static void flip_tree(void *arg, const char *path, uint64_t size)
{
	struct twin *twin = arg;

	if (strstr(path, ".tree") != NULL)
		sim_fs_flip_bit(twin->disk, path, size / 2, 1);
}

/* Random histories, killed or closed, with merges, deletes and drops; the trees are damaged each time. */
static void test_random_histories_are_recounted(void **state)
{
	unsigned recounted = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct twin twin;

		twin_init(&twin, seed);
		twin.options.memtable_bytes = 12 * 1024;
		twin.options.hash_entry = hash_twin_entry;
		twin.options.hash_arg = &twin;
		assert_int_equal(twin_open(&twin, NULL), 0);
		for (int round = 0; round < 6; round++) {
			struct shard_stats stats;

			for (int i = 0; i < 60; i++) {
				int error = i % 29 == 28 ? twin_drop(&twin)
					    : i % 5 == 4 ? twin_job(&twin)
							 : twin_write(&twin);

				assert_true(error == 0 || error == -EAGAIN);
			}
			if (round % 2) {
				assert_int_equal(twin_commit(&twin, ENGINE_SYNC_EACH), 0);
				sim_fs_kill(twin.disk);
				twin.is_dead = true;
			}
			(void)twin_close(&twin);
			if (round % 2)
				sim_fs_restart(twin.disk);
			sim_fs_walk(twin.disk, "/store", flip_tree, &twin);
			assert_int_equal(twin_open(&twin, NULL), 0);
			shard_stats(twin.shard, &stats);
			recounted += stats.tree_recounts;
			assert_int_equal(shard_quarantined(twin.shard, 0), -1);
			twin_check(&twin);
		}
		twin_fini(&twin);
	}
	print_message("%u openings recounted\n", recounted);
	assert_true(recounted > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damaged_trees_are_recounted),
		cmocka_unit_test(test_log_is_replayed_on_recounted_trees),
		cmocka_unit_test(test_a_damaged_block_costs_its_partition),
		cmocka_unit_test(test_hashing_that_fails),
		cmocka_unit_test(test_random_histories_are_recounted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
