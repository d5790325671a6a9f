/* SPDX-License-Identifier: Apache-2.0 */
#include "node/actor/event.h"
#include "tests/node/support.h"
#include "node/actor/timer_heap.h"

enum { ENTRIES = 500 };

static void test_empty(void **state)
{
	(void)state;
	struct timer_heap heap = {0};
	struct timer_entry entry = {0};
	assert_null(timer_heap_first(&heap));
	timer_heap_remove(&heap, &entry); /* not in it: nothing */
	timer_heap_fini(&heap);
}

static void test_order(void **state)
{
	(void)state;
	static const uint64_t due[] = {5, 3, 9, 1, 7, 3, UINT64_MAX, 0};
	static const uint64_t sorted[] = {0, 1, 3, 3, 5, 7, 9, UINT64_MAX};
	struct timer_entry entries[8] = {0};
	struct timer_heap heap = {0};
	for (unsigned i = 0; i < 8; i++) {
		entries[i].due_us = due[i];
		assert_int_equal(timer_heap_add(&heap, &entries[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		struct timer_entry *first = timer_heap_first(&heap);
		assert_true(first->due_us == sorted[i]);
		timer_heap_remove(&heap, first);
		assert_int_equal(first->place, 0);
	}
	assert_null(timer_heap_first(&heap));
	timer_heap_fini(&heap);
}

/* The model: look at all. */
static void check_first(const struct timer_heap *heap, const struct timer_entry *entries)
{
	const struct timer_entry *least = NULL;
	uint32_t count = 0;
	for (unsigned i = 0; i < ENTRIES; i++) {
		if (entries[i].place == 0)
			continue;
		count++;
		assert_ptr_equal(heap->entries[entries[i].place], &entries[i]);
		if (least == NULL || entries[i].due_us < least->due_us)
			least = &entries[i];
	}
	const struct timer_entry *first = timer_heap_first(heap);
	assert_int_equal(heap->count, count);
	assert_int_equal(first != NULL, least != NULL);
	if (first != NULL)
		assert_true(first->due_us == least->due_us);
}

static void test_random_against_a_model(void **state)
{
	(void)state;
	static struct timer_entry entries[ENTRIES];
	struct timer_heap heap = {0};
	struct prng prng;
	prng_seed(&prng, 3);
	for (int i = 0; i < 20000; i++) {
		struct timer_entry *entry = &entries[prng_below(&prng, ENTRIES)];
		uint64_t due_us = prng_below(&prng, 1000);
		if (entry->place == 0) {
			entry->due_us = due_us;
			assert_int_equal(timer_heap_add(&heap, entry), 0);
		} else if (prng_below(&prng, 2)) {
			timer_heap_move(&heap, entry, due_us);
		} else {
			timer_heap_remove(&heap, entry);
		}
		check_first(&heap, entries);
	}
	timer_heap_fini(&heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_random_against_a_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
