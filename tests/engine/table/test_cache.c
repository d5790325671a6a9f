/* SPDX-License-Identifier: Apache-2.0 */
/* Block cache: budget, what a scan may not wash out, references beyond eviction, many threads on few slots. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/table/cache.h"
#include "tests/sim/sim_random.h"

enum { BLOCK = 1000, SLOTS = 1000 };

static struct block *insert(struct cache *cache, cache_slot *slot, uint8_t fill)
{
	struct block *block;

	assert_int_equal(block_create(BLOCK, &block), 0);
	memset(block->data, fill, BLOCK);
	return cache_insert(cache, slot, block);
}

static void read_through(struct cache *cache, cache_slot *slots, size_t index)
{
	struct block *block = cache_take(&slots[index]);

	if (block == NULL)
		block = insert(cache, &slots[index], (uint8_t)index);
	assert_int_equal(block->data[BLOCK - 1], (uint8_t)index);
	block_release(block);
}

static void test_keeps_to_its_budget(void **state)
{
	cache_slot *slots = calloc(SLOTS, sizeof *slots);
	struct cache *cache;

	(void)state;
	assert_int_equal(cache_create(100 * 1024, &cache), 0);
	for (size_t i = 0; i < SLOTS; i++) {
		read_through(cache, slots, i);
		assert_true(cache_used(cache) <= 100 * 1024);
	}
	assert_true(cache_used(cache) > 90 * 1024);
	cache_reserve(cache, 50 * 1024);
	assert_true(cache_used(cache) <= 50 * 1024);
	cache_reserve(cache, 1 << 30); /* a quarter is always left */
	assert_true(cache_used(cache) <= 25 * 1024 && cache_used(cache) > 20 * 1024);
	cache_reserve(cache, -(1 << 30) - 50 * 1024);
	cache_forget(cache, slots, SLOTS);
	assert_int_equal(cache_used(cache), 0);
	cache_destroy(&cache);
	free(slots);
}

static void test_scan_does_not_wash_out_hot_blocks(void **state)
{
	cache_slot *slots = calloc(SLOTS, sizeof *slots);
	struct cache *cache;
	unsigned kept = 0;

	(void)state;
	assert_int_equal(cache_create(100 * 1024, &cache), 0);
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < 40; i++)
			read_through(cache, slots, i);
	}
	for (size_t i = 100; i < SLOTS; i++)
		read_through(cache, slots, i);
	for (size_t i = 0; i < 40; i++) {
		struct block *block = cache_take(&slots[i]);

		kept += block != NULL;
		if (block != NULL)
			block_release(block);
	}
	assert_true(kept >= 36);
	cache_forget(cache, slots, SLOTS);
	cache_destroy(&cache);
	free(slots);
}

static void test_block_in_use_outlives_eviction(void **state)
{
	cache_slot slots[2] = {0};
	struct cache *cache;
	struct block *held, *again;

	(void)state;
	assert_int_equal(cache_create(100 * 1024, &cache), 0);
	held = insert(cache, &slots[0], 7);
	again = cache_take(&slots[0]);
	assert_ptr_equal(held, again);
	cache_forget(cache, slots, 2);
	assert_null(cache_take(&slots[0]));
	assert_int_equal(held->data[0], 7);
	block_release(again);
	assert_int_equal(held->data[BLOCK - 1], 7);
	block_release(held);
	cache_destroy(&cache);
}

/* More references than a slot counts before they move to the block. */
static void test_many_references(void **state)
{
	enum { MANY = 100000 };
	cache_slot slot = 0;
	struct cache *cache;
	struct block *block;

	(void)state;
	assert_int_equal(cache_create(100 * 1024, &cache), 0);
	block = insert(cache, &slot, 1);
	for (int i = 0; i < MANY; i++)
		assert_ptr_equal(cache_take(&slot), block);
	cache_forget(cache, &slot, 1);
	for (int i = 0; i < MANY; i++)
		block_release(block);
	assert_int_equal(block->data[0], 1);
	block_release(block);
	cache_destroy(&cache);
}

struct beside {
	struct cache *cache;
	cache_slot *slots;
	uint64_t seed;
};

static void *read_beside(void *arg)
{
	struct beside *it = arg;
	struct sim_random random = {it->seed};

	for (int i = 0; i < 60000; i++) {
		size_t index = sim_random_below(&random, 150);
		struct block *block = cache_take(&it->slots[index]);

		if (block == NULL) {
			if (block_create(BLOCK, &block))
				return "memory";
			memset(block->data, (int)index, BLOCK);
			block = cache_insert(it->cache, &it->slots[index], block);
		}
		if (block->data[0] != (uint8_t)index || block->data[BLOCK - 1] != (uint8_t)index)
			return "a block of another slot";
		block_release(block);
	}
	return NULL;
}

/* With room for half of the blocks, so that there is always something going in and out. */
static void test_threads(void **state)
{
	cache_slot *slots = calloc(SLOTS, sizeof *slots);
	struct beside args[4];
	pthread_t threads[4];
	struct cache *cache;

	(void)state;
	assert_int_equal(cache_create(80 * 1024, &cache), 0);
	for (int i = 0; i < 4; i++) {
		args[i] = (struct beside){cache, slots, (uint64_t)i};
		assert_int_equal(pthread_create(&threads[i], NULL, read_beside, &args[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		void *complaint;

		pthread_join(threads[i], &complaint);
		assert_null(complaint);
	}
	cache_forget(cache, slots, SLOTS);
	assert_int_equal(cache_used(cache), 0);
	cache_destroy(&cache);
	free(slots);
}

/* A block that is read again soon after it left the small queue is remembered, and enters the main one: the next scan does
 * not wash it out. One that comes back late is as new. */
static void test_ghosts_come_back_to_the_main_queue(void **state)
{
	cache_slot *slots = calloc(SLOTS, sizeof *slots);
	struct cache *cache;
	struct block *block;

	(void)state;
	assert_int_equal(cache_create(100 * 1024, &cache), 0);
	read_through(cache, slots, 0);
	for (size_t i = 1; i < 130; i++) /* more than fit */
		read_through(cache, slots, i);
	assert_null(cache_take(&slots[0]));
	read_through(cache, slots, 0);
	for (size_t i = 200; i < 500; i++)
		read_through(cache, slots, i);
	block = cache_take(&slots[0]);
	assert_non_null(block);
	block_release(block);
	/* Number 1 left long ago. */
	read_through(cache, slots, 1);
	for (size_t i = 500; i < 800; i++)
		read_through(cache, slots, i);
	assert_null(cache_take(&slots[1]));
	cache_forget(cache, slots, SLOTS);
	cache_destroy(&cache);
	free(slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_to_its_budget),
		cmocka_unit_test(test_scan_does_not_wash_out_hot_blocks),
		cmocka_unit_test(test_ghosts_come_back_to_the_main_queue),
		cmocka_unit_test(test_block_in_use_outlives_eviction),
		cmocka_unit_test(test_many_references),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
