/* SPDX-License-Identifier: Apache-2.0 */
/* How old a request is, told from the clocks of two processes (age.h) and from stalls of this one (stall.h). */
#include "tests/rpc/harness.h"

#include "rpc/age.h"

enum { SECOND = 1000 * 1000 };

/* A request sent at sent_us and read delay_us later, by a receiver whose clock is far ahead. */
static uint64_t take(struct rpc_age *age, uint64_t sent_us, uint64_t delay_us)
{
	uint64_t age_us;
	(void)!rpc_age_take(age, sent_us, sent_us + UINT64_C(1) * 3600 * SECOND + delay_us, &age_us);
	return age_us;
}

static void test_what_waited_is_older_by_what_it_waited(void **state)
{
	(void)state;
	struct rpc_age age = {0};
	assert_int_equal(take(&age, 1 * SECOND, 300), 0);
	assert_int_equal(take(&age, 2 * SECOND, 100), 0); /* the fastest so far */
	assert_int_equal(take(&age, 3 * SECOND, 900 * 1000 + 100), 900 * 1000);
	assert_int_equal(take(&age, 4 * SECOND, 150), 50);
}

static void test_clocks_may_be_apart_either_way(void **state)
{
	(void)state;
	struct rpc_age age = {0};
	uint64_t age_us, sender_us = UINT64_MAX - 5; /* wraps on the way */
	assert_false(rpc_age_take(&age, sender_us, 1000, &age_us));
	assert_true(rpc_age_take(&age, sender_us + 10, 1010 + 77, &age_us));
	assert_int_equal(age_us, 77);
}

static void test_nothing_to_compare_with(void **state)
{
	(void)state;
	struct rpc_age age = {0};
	uint64_t age_us = 1;
	assert_false(rpc_age_take(&age, 0, 5 * SECOND, &age_us)); /* an old client */
	assert_int_equal(age_us, 0);
	assert_false(rpc_age_take(&age, 1, 5 * SECOND, &age_us)); /* the first */
	assert_false(rpc_age_take(&age, 0, 6 * SECOND, &age_us));
	assert_true(rpc_age_take(&age, 2, 7 * SECOND, &age_us));
}

/* The receiver's clock gains 500 ppm: 1.8 s in an hour. */
static void test_clocks_may_drift(void **state)
{
	(void)state;
	struct rpc_age age = {0};
	uint64_t age_us, most_us = 0;
	for (uint64_t sent_us = SECOND; sent_us < UINT64_C(3600) * SECOND; sent_us += SECOND) {
		(void)!rpc_age_take(&age, sent_us, sent_us + sent_us / 2000, &age_us);
		most_us = age_us > most_us ? age_us : most_us;
	}
	assert_in_range(most_us, 1, 61 * 1000);
}

/* After a long silence the past tells nothing. */
static void test_old_windows_are_forgotten(void **state)
{
	(void)state;
	struct rpc_age age = {0};
	uint64_t age_us;
	assert_false(rpc_age_take(&age, SECOND, SECOND, &age_us));
	assert_false(rpc_age_take(&age, UINT64_C(600) * SECOND, UINT64_C(601) * SECOND, &age_us));
}

static void test_the_first_request_after_a_stall_may_be_as_old_as_it(void **state)
{
	(void)state;
	const struct rpc_stall stall = {10 * SECOND, 11 * SECOND};
	assert_int_equal(rpc_stall_age(&stall, 5 * SECOND, 11 * SECOND + 1000), SECOND + 1000);
	assert_int_equal(rpc_stall_age(&stall, 11 * SECOND + 1000, 11 * SECOND + 2000),
			 SECOND + 2000); /* was in the backlog */
	assert_int_equal(rpc_stall_age(&stall, 11 * SECOND + 300 * 1000, 11 * SECOND + 400 * 1000), 0); /* came later */
	assert_int_equal(rpc_stall_age(&stall, 5 * SECOND, 13 * SECOND), 0);
	assert_int_equal(rpc_stall_age(&(struct rpc_stall){0, 0}, 5, 10), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_waited_is_older_by_what_it_waited),
		cmocka_unit_test(test_clocks_may_be_apart_either_way),
		cmocka_unit_test(test_nothing_to_compare_with),
		cmocka_unit_test(test_clocks_may_drift),
		cmocka_unit_test(test_old_windows_are_forgotten),
		cmocka_unit_test(test_the_first_request_after_a_stall_may_be_as_old_as_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
