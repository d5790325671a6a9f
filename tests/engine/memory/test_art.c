/* SPDX-License-Identifier: Apache-2.0 */
/* The radix tree against a sorted array, and with readers beside the writer. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory/art.h"
#include "engine/disk/format.h"
#include "tests/sim/sim_random.h"

enum { KEYS = 3000, KEY_MAX = 40 };

struct key {
	uint8_t bytes[KEY_MAX];
	size_t size;
};

static struct engine_slice slice_of(const struct key *key)
{
	return (struct engine_slice){key->bytes, key->size};
}

static int by_bytes(const void *a, const void *b)
{
	return format_compare(slice_of(a), slice_of(b));
}

/* alphabet 256 fills wide nodes, 2 makes deep trees of keys that begin each other. */
static size_t make_keys(struct key *keys, uint64_t seed, unsigned alphabet)
{
	struct sim_random random;
	size_t count = 1;

	sim_random_seed(&random, seed);
	for (size_t i = 0; i < KEYS; i++) {
		keys[i].size = sim_random_below(&random, alphabet == 256 ? 5 : KEY_MAX);
		for (size_t j = 0; j < keys[i].size; j++)
			keys[i].bytes[j] = (uint8_t)sim_random_below(&random, alphabet);
	}
	qsort(keys, KEYS, sizeof keys[0], by_bytes);
	for (size_t i = 1; i < KEYS; i++) {
		if (by_bytes(&keys[count - 1], &keys[i]) != 0)
			keys[count++] = keys[i];
	}
	return count;
}

static void insert_shuffled(struct art *art, struct region *region, const struct key *keys, size_t count)
{
	size_t *order = malloc(count * sizeof *order);
	struct sim_random random = {5};

	for (size_t i = 0; i < count; i++)
		order[i] = i;
	for (size_t i = count; i > 1; i--) {
		size_t j = sim_random_below(&random, i), t = order[j];

		order[j] = order[i - 1];
		order[i - 1] = t;
	}
	for (size_t i = 0; i < count; i++) {
		struct art_leaf *leaf, *again;
		void *spare;

		assert_null(art_find(art, slice_of(&keys[order[i]])));
		assert_int_equal(art_insert(art, region, slice_of(&keys[order[i]]), 8, &leaf, &spare), 0);
		assert_non_null(spare);
		assert_int_equal((uintptr_t)spare % 8, 0);
		assert_int_equal(art_insert(art, region, slice_of(&keys[order[i]]), 8, &again, &spare), 0);
		assert_ptr_equal(leaf, again);
		assert_null(spare);
	}
	free(order);
}

static void assert_leaf(const struct art_leaf *leaf, const struct key *keys, size_t count, size_t index)
{
	if (index >= count) {
		assert_null(leaf);
		return;
	}
	assert_non_null(leaf);
	assert_int_equal(format_compare(art_leaf_key(leaf), slice_of(&keys[index])), 0);
}

static void check_against_array(uint64_t seed, unsigned alphabet)
{
	struct key *keys = malloc(KEYS * sizeof *keys);
	size_t count = make_keys(keys, seed, alphabet);
	struct region region = {0};
	struct art art = {0};

	insert_shuffled(&art, &region, keys, count);
	assert_leaf(art_seek(&art, (struct engine_slice){"", 0}, false), keys, count, 0);
	assert_leaf(art_last(&art), keys, count, count - 1);
	for (size_t i = 0; i < count; i++) {
		struct key between = keys[i];

		assert_leaf(art_find(&art, slice_of(&keys[i])), keys, count, i);
		assert_leaf(art_seek(&art, slice_of(&keys[i]), false), keys, count, i);
		assert_leaf(art_seek(&art, slice_of(&keys[i]), true), keys, count, i + 1);
		assert_leaf(art_seek_back(&art, slice_of(&keys[i]), false), keys, count, i);
		assert_leaf(art_seek_back(&art, slice_of(&keys[i]), true), keys, count, i ? i - 1 : count);
		/* The smallest key beyond this one: it may be a key itself. */
		if (between.size == KEY_MAX)
			continue;
		between.bytes[between.size++] = 0;
		bool is_key = i + 1 < count && by_bytes(&between, &keys[i + 1]) == 0;

		assert_leaf(art_seek(&art, slice_of(&between), false), keys, count, i + 1);
		assert_leaf(art_seek_back(&art, slice_of(&between), false), keys, count, is_key ? i + 1 : i);
	}
	region_fini(&region);
	free(keys);
}

static void test_agrees_with_sorted_array(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		check_against_array(seed, 2);
		check_against_array(seed, 4);
		check_against_array(seed, 20);
		check_against_array(seed, 256);
	}
}

static void test_empty_tree(void **state)
{
	struct art art = {0};
	struct engine_slice key = {"k", 1};

	(void)state;
	assert_null(art_find(&art, key));
	assert_null(art_last(&art));
	assert_null(art_seek(&art, key, false));
	assert_null(art_seek_back(&art, key, false));
}

/* ---- readers beside the writer ---- */

struct beside {
	struct art art;
	struct region region;
	struct key *keys;
	size_t count;
	_Atomic size_t written; /* keys[0 .. written) are in */
};

static void *read_beside(void *arg)
{
	struct beside *it = arg;
	struct sim_random random = {99};
	size_t written;

	do {
		written = atomic_load_explicit(&it->written, memory_order_acquire);
		if (!written)
			continue;
		size_t i = sim_random_below(&random, written);

		if (art_find(&it->art, slice_of(&it->keys[i])) == NULL)
			return "a key that was in is gone";
		const struct art_leaf *leaf = art_seek(&it->art, slice_of(&it->keys[i]), false);

		if (leaf == NULL || format_compare(art_leaf_key(leaf), slice_of(&it->keys[i])) != 0)
			return "seek missed a key that was in";
		leaf = art_seek(&it->art, slice_of(&it->keys[i]), true);
		if (leaf != NULL && format_compare(art_leaf_key(leaf), slice_of(&it->keys[i])) <= 0)
			return "the next key is not greater";
	} while (written < it->count);
	return NULL;
}

static void test_readers_beside_writer(void **state)
{
	struct beside it = {.keys = malloc(KEYS * sizeof(struct key))};
	struct sim_random random = {3};
	pthread_t reader;
	void *complaint;

	(void)state;
	it.count = make_keys(it.keys, 1, 256);
	for (size_t i = it.count; i > 1; i--) {
		size_t j = sim_random_below(&random, i);
		struct key t = it.keys[j];

		it.keys[j] = it.keys[i - 1];
		it.keys[i - 1] = t;
	}
	assert_int_equal(pthread_create(&reader, NULL, read_beside, &it), 0);
	for (size_t i = 0; i < it.count; i++) {
		struct art_leaf *leaf;
		void *spare;

		assert_int_equal(art_insert(&it.art, &it.region, slice_of(&it.keys[i]), 0, &leaf, &spare), 0);
		atomic_store_explicit(&it.written, i + 1, memory_order_release);
	}
	pthread_join(reader, &complaint);
	assert_null(complaint);
	region_fini(&it.region);
	free(it.keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_agrees_with_sorted_array),
		cmocka_unit_test(test_empty_tree),
		cmocka_unit_test(test_readers_beside_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
