/* SPDX-License-Identifier: Apache-2.0 */
/* Hash trees: sums hold at every level, the saved form brings back the same, and only whole partitions are zeroed. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/disk/buffer.h"
#include "engine/partition/hashtree.h"
#include "engine/partition/partition.h"
#include "tests/sim/sim_random.h"

enum { LEAVES = ENGINE_TREE_BRANCHES * ENGINE_TREE_LEAVES };

static struct engine_slice buffer_of(const struct buffer *buffer)
{
	return (struct engine_slice){buffer->data, buffer->size};
}

static void change(struct hashtree *tree, uint16_t partition, uint32_t leaf, uint64_t delta)
{
	assert_int_equal(hashtree_prepare(tree, partition, leaf), 0);
	hashtree_apply(tree, partition, leaf, delta);
}

/* H1 */
static void check_sums(const struct hashtree *tree, uint16_t partition)
{
	uint64_t root = 0;

	for (uint32_t i = 0; i < ENGINE_TREE_BRANCHES; i++) {
		uint64_t branch = 0;

		for (uint32_t j = 0; j < ENGINE_TREE_LEAVES; j++)
			branch ^= hashtree_node(tree, partition, 2, i * ENGINE_TREE_LEAVES + j);
		assert_int_equal(hashtree_node(tree, partition, 1, i), branch);
		root ^= branch;
	}
	assert_int_equal(hashtree_node(tree, partition, 0, 0), root);
}

/* Random changes over few leaves of a few partitions, the last one included, beside plain arrays. */
static void test_random_changes(void **state)
{
	static const uint16_t partitions[] = {0, 7, 300, UINT16_MAX};
	static uint64_t expected[4][LEAVES];
	struct sim_random random = {1};
	struct hashtree tree = {0};

	(void)state;
	for (int i = 0; i < 4000; i++) {
		uint64_t which = sim_random_below(&random, 4), delta = sim_random_next(&random);
		uint32_t leaf =
			(uint32_t)(i % 3 ? sim_random_below(&random, 40) * 409 : sim_random_below(&random, LEAVES));

		if (i % 5 == 0)
			delta = expected[which][leaf]; /* back to zero */
		expected[which][leaf] ^= delta;
		change(&tree, partitions[which], leaf, delta);
	}
	for (int which = 0; which < 4; which++) {
		for (uint32_t leaf = 0; leaf < LEAVES; leaf++)
			assert_int_equal(hashtree_node(&tree, partitions[which], 2, leaf), expected[which][leaf]);
		check_sums(&tree, partitions[which]);
	}
	assert_int_equal(hashtree_node(&tree, 8, 0, 0), 0);
	hashtree_fini(&tree);
}

static void assert_same(const struct hashtree *a, const struct hashtree *b, uint16_t partition)
{
	for (uint32_t leaf = 0; leaf < LEAVES; leaf++)
		assert_int_equal(hashtree_node(a, partition, 2, leaf), hashtree_node(b, partition, 2, leaf));
	check_sums(b, partition);
}

static void test_saved_form(void **state)
{
	static const uint16_t partitions[] = {3, 4, 1000, UINT16_MAX};
	struct hashtree tree = {0}, loaded = {0}, again = {0};
	struct sim_random random = {2};
	struct buffer saved = {0}, twice = {0};

	(void)state;
	for (int i = 0; i < 200; i++)
		change(&tree, partitions[i % 4], (uint32_t)sim_random_below(&random, LEAVES), sim_random_next(&random));
	assert_int_equal(hashtree_save(&tree, &saved), 0);
	assert_int_equal(hashtree_load(&loaded, buffer_of(&saved)), 0);
	for (int i = 0; i < 4; i++)
		assert_same(&tree, &loaded, partitions[i]);
	assert_int_equal(hashtree_save(&loaded, &twice), 0);
	assert_int_equal(twice.size, saved.size);
	assert_memory_equal(twice.data, saved.data, saved.size);
	/* Cut anywhere, or longer than it says: refused, and empty. */
	for (size_t size = 0; size < saved.size; size++) {
		assert_int_equal(hashtree_load(&again, (struct engine_slice){saved.data, size}), -EBADMSG);
		assert_int_equal(hashtree_node(&again, 3, 0, 0), 0);
	}
	assert_int_equal(buffer_append(&saved, "x", 1), 0);
	assert_int_equal(hashtree_load(&again, buffer_of(&saved)), -EBADMSG);
	hashtree_fini(&again);
	hashtree_fini(&loaded);
	hashtree_fini(&tree);
	buffer_fini(&saved);
	buffer_fini(&twice);
}

/* Counts that lie: many partitions, many branches, a partition beyond the last. */
static void test_saved_form_that_lies(void **state)
{
	static const struct {
		uint64_t count, partition, branches;
	} cases[] = {{UINT64_MAX, 1, 0}, {1, UINT16_MAX + 1, 0}, {1, UINT64_MAX, 0}, {1, 1, 257}, {1, 1, UINT64_MAX}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hashtree tree = {0};
		struct buffer saved = {0};

		assert_int_equal(buffer_append_varint(&saved, cases[i].count), 0);
		assert_int_equal(buffer_append_varint(&saved, cases[i].partition), 0);
		assert_int_equal(buffer_append_varint(&saved, cases[i].branches), 0);
		assert_int_equal(hashtree_load(&tree, buffer_of(&saved)), -EBADMSG);
		hashtree_fini(&tree);
		buffer_fini(&saved);
	}
}

static void test_only_whole_partitions_are_zeroed(void **state)
{
	static const struct {
		const char *begin, *end;
		size_t begin_size, end_size;
		bool five, last; /* zeroed: partition 5, partition 65535 */
	} cases[] = {
		{"\0\5", "\0\6", 2, 2, true, false},
		{"\0\4zz", "\0\6", 4, 2, true, false},
		{"\0\5", "\0\6a", 2, 3, true, false},
		{"\0\5a", "\0\6", 3, 2, false, false},
		{"\0\5\0", "\0\6", 3, 2, false, false},
		{"\0\5", "\0\5z", 2, 3, false, false},
		{"\0\5", "\0\5", 2, 2, false, false},
		{"\0\6", "\0\7", 2, 2, false, false},
		{"\0\1", "", 2, 0, true, true},
		{"", "", 0, 0, true, true},
		{"\xff\xff", "", 2, 0, false, true},
		{"\xff\xff\0", "", 3, 0, false, false},
		{"\xff\xfe", "\xff\xff", 2, 2, false, false},
		/* An end that is a key of the last partition never holds all of it. */
		{"\xff\xff", "\xff\xff\xff\xff", 2, 4, false, false},
	};
	struct hashtree tree = {0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		change(&tree, 5, 1, 42);
		change(&tree, UINT16_MAX, 1, 43);
		hashtree_zero_range(&tree, (struct engine_slice){cases[i].begin, cases[i].begin_size},
				    (struct engine_slice){cases[i].end, cases[i].end_size});
		if (hashtree_node(&tree, 5, 0, 0) != (cases[i].five ? 0 : 42) ||
		    hashtree_node(&tree, UINT16_MAX, 0, 0) != (cases[i].last ? 0 : 43))
			fail_msg("case %zu", i);
		hashtree_zero(&tree, 5);
		hashtree_zero(&tree, UINT16_MAX);
	}
	hashtree_fini(&tree);
}

static void test_leaves_of_keys_are_spread(void **state)
{
	static uint32_t counts[LEAVES];
	uint32_t most = 0, used = 0;

	(void)state;
	for (uint64_t i = 0; i < 2 * LEAVES; i++) {
		uint32_t leaf = engine_tree_leaf((struct engine_slice){&i, sizeof i});

		assert_true(leaf < LEAVES);
		most = ++counts[leaf] > most ? counts[leaf] : most;
	}
	for (uint32_t i = 0; i < LEAVES; i++)
		used += counts[i] != 0;
	assert_true(most < 16 && used > LEAVES * 8 / 10); /* thrown at random: 86 % */
	assert_int_equal(partition_of((struct engine_slice){"\1\2x", 3}), 258);
	assert_int_equal(partition_of((struct engine_slice){"\1", 1}), 256);
	assert_int_equal(partition_of((struct engine_slice){"", 0}), 0);
}

static void change_key(struct hashtree *tree, uint16_t partition, uint64_t number, uint64_t delta)
{
	change(tree, partition, engine_tree_leaf((struct engine_slice){&number, sizeof number}), delta);
}

/* An entry of key `number`, in one of its versions. */
static uint64_t hash_of(uint64_t number, uint64_t version)
{
	struct sim_random random = {number * 1000 + version};

	return sim_random_next(&random);
}

/* Keys are counted, whatever happens to them: written again, deleted, in partitions that go, saved and loaded. */
static void test_keys_are_counted(void **state)
{
	struct hashtree tree = {0}, loaded = {0};
	struct buffer saved = {0};

	(void)state;
	assert_int_equal(hashtree_keys(&tree), 0);
	for (uint64_t i = 0; i < 1000; i++)
		change_key(&tree, (uint16_t)(i % 10), i, hash_of(i, 0));
	assert_in_range(hashtree_keys(&tree), 997, 1003);
	for (uint64_t i = 0; i < 1000; i++)
		change_key(&tree, (uint16_t)(i % 10), i, hash_of(i, 0) ^ hash_of(i, 1));
	assert_in_range(hashtree_keys(&tree), 997, 1003);
	for (uint64_t i = 0; i < 500; i++)
		change_key(&tree, (uint16_t)(i % 10), i, hash_of(i, 1));
	assert_in_range(hashtree_keys(&tree), 498, 502);
	assert_int_equal(hashtree_save(&tree, &saved), 0);
	assert_int_equal(hashtree_load(&loaded, (struct engine_slice){saved.data, saved.size}), 0);
	assert_int_equal(hashtree_keys(&loaded), hashtree_keys(&tree));
	hashtree_zero(&tree, 3);
	assert_in_range(hashtree_keys(&tree), 448, 452);
	for (uint64_t i = 500; i < 1000; i++)
		if (i % 10 != 3)
			change_key(&tree, (uint16_t)(i % 10), i, hash_of(i, 1));
	assert_int_equal(hashtree_keys(&tree), 0);
	hashtree_fini(&tree);
	hashtree_fini(&loaded);
	buffer_fini(&saved);
}

static void test_many_keys_of_a_partition_are_counted_nearly(void **state)
{
	static const struct {
		uint64_t count;
		double error; /* four standard deviations */
	} CASES[] = {{LEAVES / 4, 0.02}, {LEAVES, 0.03}, {3 * LEAVES, 0.04}, {6 * LEAVES, 0.10}};
	struct hashtree tree = {0};
	uint64_t number = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		for (; number < CASES[i].count; number++)
			change_key(&tree, 7, number, hash_of(number, 0));
		double share = (double)hashtree_keys(&tree) / (double)number;
		if (share < 1 - CASES[i].error || share > 1 + CASES[i].error)
			fail_msg("%" PRIu64 " keys are counted as %" PRId64, number, hashtree_keys(&tree));
	}
	for (uint32_t leaf = 0; leaf < LEAVES; leaf++)
		if (hashtree_node(&tree, 7, 2, leaf) == 0)
			change(&tree, 7, leaf, 1);
	assert_int_equal(hashtree_keys(&tree), -1);
	hashtree_zero(&tree, 7);
	assert_int_equal(hashtree_keys(&tree), 0);
	hashtree_fini(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_are_counted),
		cmocka_unit_test(test_many_keys_of_a_partition_are_counted_nearly),
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_saved_form),
		cmocka_unit_test(test_saved_form_that_lies),
		cmocka_unit_test(test_only_whole_partitions_are_zeroed),
		cmocka_unit_test(test_leaves_of_keys_are_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
