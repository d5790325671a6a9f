/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static uint32_t weights[RING_MEMBERS_MAX];
static uint16_t racks[RING_MEMBERS_MAX];
static struct share shares[RING_MEMBERS_MAX];

/* RING_MEMBERS_MAX weights with this sum, of which the first is given. */
static void fill_weights(uint32_t first, uint32_t sum)
{
	uint32_t others = RING_MEMBERS_MAX - 1, each = (sum - first) / others, more = (sum - first) % others;

	weights[0] = first;
	for (uint32_t i = 1; i < RING_MEMBERS_MAX; i++)
		weights[i] = each + (i <= more);
	assert_in_range(each + 1, 1, RING_WEIGHT_MAX);
}

/* In whole numbers, without rounding. All in one rack, and nobody full. */
static void check_exactly(uint32_t partitions, uint32_t width, uint64_t sum)
{
	struct rack_limit limit = {.node_count = RING_MEMBERS_MAX};

	rack_limits_compute(&limit, 1, width);
	assert_int_equal(shares_compute(weights, racks, RING_MEMBERS_MAX, &limit, 1, partitions, width, shares), 0);
	for (uint32_t i = 0; i < RING_MEMBERS_MAX; i++) {
		uint64_t claims = (uint64_t)partitions * width * weights[i];

		if (shares[i].least != claims / sum || shares[i].most != (claims + sum - 1) / sum)
			fail_msg("weight %u of %lu: %u to %u, not %lu to %lu", weights[i], sum, shares[i].least,
				 shares[i].most, claims / sum, (claims + sum - 1) / sum);
	}
}

/* 65,536 * 3 * weight leaves 1, or lacks 1, when divided by the sum: the share is as near to an integer as any that is
 * none. */
static void test_shares_next_to_an_integer(void **state)
{
	static const struct {
		uint32_t weight, sum;
	} hard[] = {{10000, 151236923}, {9987, 151040315}, {9994, 151146181}, {9981, 150949573}};

	(void)state;
	for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
		fill_weights(hard[i].weight, hard[i].sum);
		check_exactly(65536, 3, hard[i].sum);
	}
}

static void test_shares_that_are_integers(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < RING_MEMBERS_MAX; i++)
		weights[i] = i % 2 ? 10000 : 5000;
	check_exactly(65536, 3, UINT64_C(7500) * RING_MEMBERS_MAX); /* 8 and 16 */
	for (uint32_t i = 0; i < RING_MEMBERS_MAX; i++)
		weights[i] = 7777;
	check_exactly(65536, 8, UINT64_C(7777) * RING_MEMBERS_MAX); /* 32 */
	assert_int_equal(shares[RING_MEMBERS_MAX - 1].least, 32);
	assert_int_equal(shares[RING_MEMBERS_MAX - 1].most, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares_next_to_an_integer),
		cmocka_unit_test(test_shares_that_are_integers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
