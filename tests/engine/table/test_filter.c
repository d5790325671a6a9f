/* SPDX-License-Identifier: Apache-2.0 */
/* Filters: no key that was added is ever denied, and of others no more pass than is said here. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "engine/table/filter.h"
#include "tests/sim/sim_random.h"

enum { KEYS = 50000 };

/* Permille of absent keys that may pass. filter.h says 1.2 % at 10 bits. */
static const struct {
	uint32_t bits;
	unsigned most;
} bounds[] = {{1, 640}, {2, 410}, {4, 170}, {6, 75}, {8, 32}, {10, 14}, {12, 8}, {16, 2}, {20, 2}, {32, 2}};

/* Hashes of random keys, and of keys counted up. */
static uint64_t hash_of(uint64_t number)
{
	return sim_random_mix(number + 1);
}

static void test_rates(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
		size_t size = filter_size(KEYS, bounds[i].bits);
		uint32_t probes = filter_probes(bounds[i].bits);
		uint8_t *lines = calloc(1, size);
		unsigned passed = 0;

		assert_int_equal(size % FILTER_LINE, 0);
		assert_true(size >= (size_t)KEYS * bounds[i].bits / 8);
		assert_true(size < (size_t)KEYS * bounds[i].bits / 8 + FILTER_LINE + 1);
		for (uint64_t key = 0; key < KEYS; key++)
			filter_add(lines, size, probes, hash_of(key));
		for (uint64_t key = 0; key < KEYS; key++)
			assert_true(filter_may_contain(lines, size, probes, hash_of(key)));
		for (uint64_t key = KEYS; key < 3 * KEYS; key++)
			passed += filter_may_contain(lines, size, probes, hash_of(key));
		if (passed > bounds[i].most * 2 * KEYS / 1000)
			fail_msg("%u bits: %u of %u passed", bounds[i].bits, passed, 2 * KEYS);
		free(lines);
	}
}

/* Filters of few keys, down to one line. */
static void test_small_filters_deny_nothing(void **state)
{
	(void)state;
	for (uint64_t count = 1; count < 200; count++) {
		size_t size = filter_size(count, 10);
		uint8_t *lines = calloc(1, size);

		for (uint64_t key = 0; key < count; key++)
			filter_add(lines, size, filter_probes(10), hash_of(key * 7919));
		for (uint64_t key = 0; key < count; key++)
			assert_true(filter_may_contain(lines, size, filter_probes(10), hash_of(key * 7919)));
		free(lines);
	}
}

static void test_no_filter_says_maybe(void **state)
{
	(void)state;
	assert_int_equal(filter_size(1000, 0), 0);
	assert_int_equal(filter_size(0, 10), 0);
	assert_true(filter_may_contain(NULL, 0, 6, 1));
}

/* The line named for prefetching lies within, for hashes at both ends too. */
static void test_lines_lie_within(void **state)
{
	static const uint64_t hashes[] = {0, UINT32_MAX, UINT64_MAX, (uint64_t)UINT32_MAX << 32};
	uint8_t lines[3 * FILTER_LINE];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		for (size_t size = FILTER_LINE; size <= sizeof lines; size += FILTER_LINE) {
			const uint8_t *line = filter_line(lines, size, hashes[i]);

			assert_true(line >= lines && line + FILTER_LINE <= lines + size);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_small_filters_deny_nothing),
		cmocka_unit_test(test_no_filter_says_maybe),
		cmocka_unit_test(test_lines_lie_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
