/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"

#include "node/upkeep/pace.h"

enum { MIB = 1024 * 1024, SECOND_US = 1000 * 1000 };

static uint64_t time_of(uint64_t bytes, uint32_t busy_permille)
{
	struct pace pace;
	pace_init(&pace, MIB);
	pace_spend(&pace, bytes, busy_permille, 5);
	return pace.free_us - 5;
}

static void test_what_came_is_waited_for(void **state)
{
	struct pace pace;
	(void)state;
	pace_init(&pace, MIB);
	assert_true(pace_is_free(&pace, 0));
	pace_spend(&pace, 2 * MIB, 0, 1000);
	pace_spend(&pace, MIB, 0, 2000);
	assert_int_equal(pace.free_us, 1000 + 3 * SECOND_US);
	assert_false(pace_is_free(&pace, pace.free_us - 1));
	assert_true(pace_is_free(&pace, pace.free_us));
	/* Nothing is saved up. */
	pace_spend(&pace, MIB, 0, 100 * SECOND_US);
	assert_int_equal(pace.free_us, 101 * SECOND_US);
}

static void test_busy_nodes_are_spared(void **state)
{
	uint64_t last_us = 0;
	(void)state;
	assert_int_equal(time_of(MIB, 0), time_of(MIB, PACE_CALM_PERMILLE));
	for (uint32_t busy = PACE_CALM_PERMILLE; busy <= 1000; busy += 50) {
		uint64_t took_us = time_of(MIB, busy);
		assert_true(took_us > last_us);
		last_us = took_us;
	}
	assert_true(time_of(MIB, 1000) <= PACE_LEAST_PART * (uint64_t)SECOND_US);
	assert_true(time_of(MIB, 1000) > (PACE_LEAST_PART - 1) * (uint64_t)SECOND_US);
	assert_int_equal(time_of(MIB, 5000), time_of(MIB, 1000));
}

static void test_the_default(void **state)
{
	struct pace pace;
	(void)state;
	pace_init(&pace, 0);
	assert_int_equal(pace.bytes_per_s, PACE_DEFAULT);
	pace_init(&pace, 1);
	pace_spend(&pace, 3, 1000, 0);
	assert_int_equal(pace.free_us, 3 * SECOND_US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_came_is_waited_for),
		cmocka_unit_test(test_busy_nodes_are_spared),
		cmocka_unit_test(test_the_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
