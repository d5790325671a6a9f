/* SPDX-License-Identifier: Apache-2.0 */
/* Every rule of the oracle must break on a history that breaks it, and hold on the nearest one that does not. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/oracle.h"

enum { KEY = 1, N = 3 };

static int setup(void **state)
{
	struct oracle *oracle = malloc(sizeof(*oracle));

	oracle_init(oracle, 7, N);
	*state = oracle;
	return 0;
}

static int teardown(void **state)
{
	oracle_fini(*state);
	free(*state);
	return 0;
}

static uint32_t put(struct oracle *oracle, const struct oracle_set *given, uint64_t now_us)
{
	struct oracle_set nothing = {0};
	return oracle_begin(oracle, 0, KEY, false, given ? given : &nothing, now_us);
}

static uint32_t acked_put(struct oracle *oracle, const struct oracle_set *given, uint64_t now_us)
{
	uint32_t write = put(oracle, given, now_us);

	oracle_acked(oracle, write, 2, 0, now_us + 1);
	oracle_attempted(oracle, write, ORACLE_DONE);
	oracle_ended(oracle, write);
	return write;
}

static struct oracle_set one(uint32_t *write)
{
	return (struct oracle_set){write, 1, 0};
}

/* A get that returns the values of these writes. */
static struct oracle_set get_r(struct oracle *oracle, uint32_t r, uint64_t begun_us, const uint32_t *writes,
			       uint32_t count, bool has_context)
{
	uint8_t values[4][ORACLE_VALUE_MAX];
	struct oracle_bytes bytes[4] = {0};
	struct oracle_set set;

	for (uint32_t i = 0; i < count; i++)
		bytes[i] = (struct oracle_bytes){values[i], oracle_value(oracle, writes[i], values[i])};
	oracle_read(oracle, KEY, r, begun_us, begun_us + 5, bytes, count, has_context, &set);
	return set;
}

static struct oracle_set get(struct oracle *oracle, uint64_t begun_us, const uint32_t *writes, uint32_t count,
			     bool has_context)
{
	return get_r(oracle, 2, begun_us, writes, count, has_context);
}

static void end(struct oracle *oracle, const uint32_t *live, uint32_t count)
{
	uint8_t ids[4][ORACLE_ID_SIZE] = {0};

	for (uint32_t i = 0; i < count; i++)
		oracle_id(oracle, live[i], ids[i]);
	oracle_final(oracle, KEY, (const uint8_t(*)[ORACLE_ID_SIZE])ids, count);
}

static void assert_broken(const struct oracle *oracle, const char *text)
{
	assert_true(oracle->broken);
	if (!strstr(oracle->text, text))
		fail_msg("\"%s\" does not say \"%s\"", oracle->text, text);
}

static void assert_holds(const struct oracle *oracle)
{
	if (oracle->broken)
		fail_msg("%s", oracle->text);
}

/* ---- L1 */

static void test_acked_and_live_holds(void **state)
{
	uint32_t w = acked_put(*state, NULL, 10);

	end(*state, &w, 1);
	assert_holds(*state);
}

static void test_acked_and_gone_breaks(void **state)
{
	acked_put(*state, NULL, 10);
	end(*state, NULL, 0);
	assert_broken(*state, "acknowledged write lost: w0");
}

static void test_in_doubt_and_gone_holds(void **state)
{
	uint32_t w = put(*state, NULL, 10);

	oracle_attempted(*state, w, ORACLE_IN_DOUBT);
	oracle_ended(*state, w);
	end(*state, NULL, 0);
	assert_holds(*state);
}

static void test_covered_through_a_chain_holds(void **state)
{
	uint32_t first = acked_put(*state, NULL, 10);
	struct oracle_set set = one(&first);
	uint32_t second = put(*state, &set, 20); /* in doubt, and not seen again */
	struct oracle_set of_second = one(&second);
	uint32_t third = acked_put(*state, &of_second, 30);

	end(*state, &third, 1);
	assert_holds(*state);
}

static void test_replaced_by_a_put_without_context_breaks(void **state)
{
	acked_put(*state, NULL, 10);
	uint32_t second = acked_put(*state, NULL, 20);

	end(*state, &second, 1);
	assert_broken(*state, "acknowledged write lost: w0");
}

static void test_covered_by_a_delete_that_a_get_did_not_show_holds(void **state)
{
	struct oracle *oracle = *state;
	uint32_t first = acked_put(oracle, NULL, 10);
	struct oracle_set set = one(&first);
	uint32_t delete = oracle_begin(oracle, 0, KEY, true, &set, 20);
	oracle_acked(oracle, delete, 2, 0, 21);
	struct oracle_set seen = get(oracle, 30, NULL, 0, true); /* absent, with a context */
	uint32_t third = acked_put(oracle, &seen, 40);

	end(oracle, &third, 1);
	assert_holds(oracle);
	oracle_set_fini(&seen);
}

static void test_a_delete_begun_after_the_get_covers_nothing_for_it(void **state)
{
	struct oracle *oracle = *state;
	struct oracle_set seen = get(oracle, 5, NULL, 0, true);
	uint32_t first = acked_put(oracle, NULL, 20);
	struct oracle_set set = one(&first);
	uint32_t delete = oracle_begin(oracle, 0, KEY, true, &set, 30);
	oracle_acked(oracle, delete, 2, 0, 31);
	uint32_t third = acked_put(oracle, &seen, 40);

	end(oracle, &third, 1);
	assert_broken(oracle, "acknowledged write lost");
	oracle_set_fini(&seen);
}

/* ---- L2 */

static void test_a_value_of_nobody_breaks(void **state)
{
	struct oracle_bytes value = {(const uint8_t *)"w9 k1 xyz", 9};
	struct oracle_set set;

	acked_put(*state, NULL, 10);
	oracle_read(*state, KEY, 2, 20, 25, &value, 1, true, &set);
	assert_broken(*state, "nobody wrote");
	oracle_set_fini(&set);
}

static void test_a_value_of_another_key_breaks(void **state)
{
	struct oracle *oracle = *state;
	uint8_t bytes[ORACLE_VALUE_MAX];
	struct oracle_set nothing = {0}, set;
	uint32_t w = oracle_begin(oracle, 0, KEY + 1, false, &nothing, 10);
	struct oracle_bytes value = {bytes, oracle_value(oracle, w, bytes)};

	oracle_read(oracle, KEY, 2, 20, 25, &value, 1, true, &set);
	assert_broken(oracle, "nobody wrote");
	oracle_set_fini(&set);
}

static void test_a_changed_byte_breaks(void **state)
{
	struct oracle *oracle = *state;
	uint8_t bytes[ORACLE_VALUE_MAX];
	struct oracle_set set;
	uint32_t w = acked_put(oracle, NULL, 10);
	struct oracle_bytes value = {bytes, oracle_value(oracle, w, bytes)};

	bytes[value.size - 1] ^= 1;
	oracle_read(oracle, KEY, 2, 20, 25, &value, 1, true, &set);
	assert_broken(oracle, "changed");
	oracle_set_fini(&set);
}

static void test_an_unknown_id_at_the_end_breaks(void **state)
{
	uint8_t ids[1][ORACLE_ID_SIZE] = {{0, 0, 0, 0, 9}};

	put(*state, NULL, 10);
	oracle_final(*state, KEY, (const uint8_t(*)[ORACLE_ID_SIZE])ids, 1);
	assert_broken(*state, "nobody used");
}

/* ---- L3 */

static void test_refused_and_seen_breaks_in_either_order(void **state)
{
	struct oracle *oracle = *state;
	uint32_t w = put(oracle, NULL, 10);
	struct oracle_set set = get(oracle, 20, &w, 1, true);

	oracle_attempted(oracle, w, ORACLE_REFUSED);
	assert_holds(oracle);
	oracle_ended(oracle, w);
	assert_broken(oracle, "refused");
	oracle_set_fini(&set);
	oracle->broken = false;
	end(oracle, &w, 1);
	assert_broken(oracle, "refused");
}

static void test_refused_after_doubt_and_seen_holds(void **state)
{
	uint32_t w = put(*state, NULL, 10);

	oracle_attempted(*state, w, ORACLE_SILENCE);
	oracle_attempted(*state, w, ORACLE_REFUSED);
	oracle_ended(*state, w);
	end(*state, &w, 1);
	assert_holds(*state);
}

/* ---- L4 */

static void false_siblings(struct oracle *oracle, uint64_t truncations)
{
	uint32_t live[2];

	live[0] = acked_put(oracle, NULL, 10);
	struct oracle_set set = one(&live[0]);
	live[1] = acked_put(oracle, &set, 20);
	end(oracle, live, 2);
	oracle_close(oracle, truncations);
}

static void test_a_covered_sibling_breaks(void **state)
{
	false_siblings(*state, 0);
	assert_broken(*state, "false sibling: w0");
}

static void test_a_covered_sibling_after_a_truncation_holds(void **state)
{
	false_siblings(*state, 1);
	assert_holds(*state);
	assert_int_equal(((struct oracle *)*state)->false_siblings, 1);
}

/* So many newer writes that the owners of the key may have forgotten it. */
static void test_a_covered_sibling_among_many_newer_writes_holds(void **state)
{
	for (uint32_t newer = 0; newer < ORACLE_PAST_MAX; newer++)
		oracle_repeated(*state, put(*state, NULL, 1000 * 1000 + newer));
	false_siblings(*state, 0);
	assert_holds(*state);
}

/* Many writes with one attempt each are no excuse, unless somebody asks for less than a majority. */
static void many_single_writes(struct oracle *oracle, uint32_t asked)
{
	for (uint32_t newer = 0; newer < ORACLE_PAST_MAX; newer++)
		put(oracle, NULL, 1000 * 1000 + newer);
	oracle->writes[7].asked = asked;
	uint32_t live[2] = {acked_put(oracle, NULL, 10)};
	struct oracle_set set = one(&live[0]);
	live[1] = acked_put(oracle, &set, 20);
	end(oracle, live, 2);
	oracle_close(oracle, 0);
}

static void test_a_covered_sibling_among_many_single_writes_breaks(void **state)
{
	many_single_writes(*state, 2);
	assert_broken(*state, "false sibling");
}

static void test_a_covered_sibling_with_w_below_a_majority_holds(void **state)
{
	many_single_writes(*state, 1);
	assert_holds(*state);
}

/* ---- L7 */

/* A delete was acknowledged; then a get returns the deleted value. */
static void superseded_comes_back(struct oracle *oracle, uint32_t w, uint32_t r, uint64_t truncations)
{
	uint32_t value = acked_put(oracle, NULL, 10);
	struct oracle_set set = one(&value);
	uint32_t deletion = oracle_begin(oracle, 0, KEY, true, &set, 20);

	oracle_acked(oracle, deletion, w, 0, 30);
	free(get_r(oracle, r, 40, &value, 1, true).writes);
	oracle_close(oracle, truncations);
}

static void test_a_superseded_value_that_comes_back_breaks(void **state)
{
	superseded_comes_back(*state, 2, 2, 0);
	assert_broken(*state, "returned w0, which a write acknowledged before had superseded");
}

static void test_a_superseded_value_that_comes_back_after_a_truncation_holds(void **state)
{
	/* L5 demands that the get see the delete: its context may cover it. */
	superseded_comes_back(*state, 2, 2, 1);
	assert_holds(*state);
}

static void test_a_superseded_value_holds_without_overlap(void **state)
{
	superseded_comes_back(*state, 1, 2, 0);
	assert_holds(*state);
}

static void test_concurrent_siblings_hold(void **state)
{
	uint32_t live[2] = {acked_put(*state, NULL, 10), 0};

	live[1] = acked_put(*state, NULL, 20);
	end(*state, live, 2);
	oracle_close(*state, 0);
	assert_holds(*state);
}

/* ---- L5 */

static void test_a_get_that_misses_an_acked_put_breaks(void **state)
{
	acked_put(*state, NULL, 10);
	struct oracle_set set = get(*state, 20, NULL, 0, false);

	assert_broken(*state, "missed w0");
	oracle_set_fini(&set);
}

static void test_a_get_begun_before_the_ack_may_miss_it(void **state)
{
	acked_put(*state, NULL, 10);
	struct oracle_set set = get(*state, 11, NULL, 0, false);

	assert_holds(*state);
	oracle_set_fini(&set);
}

static void test_a_get_may_miss_what_stand_ins_acked(void **state)
{
	uint32_t w = put(*state, NULL, 10);

	oracle_acked(*state, w, 1, 1, 11);
	struct oracle_set set = get(*state, 20, NULL, 0, false);
	assert_holds(*state);
	oracle_set_fini(&set);
}

static void test_a_get_that_sees_what_covers_it_holds(void **state)
{
	uint32_t first = acked_put(*state, NULL, 10);
	struct oracle_set of_first = one(&first);
	uint32_t second = put(*state, &of_first, 20);
	struct oracle_set set = get(*state, 30, &second, 1, true);

	assert_holds(*state);
	oracle_set_fini(&set);
}

/* ---- L6 */

static void test_what_was_read_must_stay(void **state)
{
	uint32_t w = put(*state, NULL, 10);
	struct oracle_set set = get(*state, 20, &w, 1, true);

	oracle_attempted(*state, w, ORACLE_IN_DOUBT);
	oracle_ended(*state, w);
	end(*state, NULL, 0);
	assert_broken(*state, "a get returned w0");
	oracle_set_fini(&set);
}

static void test_what_was_read_may_go_with_a_disk_that_goes_back(void **state)
{
	struct oracle *oracle = *state;
	uint32_t w = put(oracle, NULL, 10);
	struct oracle_set set = get(oracle, 20, &w, 1, true);

	oracle->disks_go_back = true;
	end(oracle, NULL, 0);
	assert_holds(oracle);
	oracle_set_fini(&set);
}

static void test_what_was_read_and_then_covered_holds(void **state)
{
	uint32_t w = put(*state, NULL, 10);
	struct oracle_set set = get(*state, 20, &w, 1, true);
	uint32_t second = acked_put(*state, &set, 30);

	end(*state, &second, 1);
	assert_holds(*state);
	oracle_set_fini(&set);
}

static void test_values_differ_and_repeat(void **state)
{
	struct oracle *oracle = *state;
	uint8_t first[ORACLE_VALUE_MAX], again[ORACLE_VALUE_MAX], other[ORACLE_VALUE_MAX];
	uint8_t id[ORACLE_ID_SIZE];

	put(oracle, NULL, 1);
	put(oracle, NULL, 2);
	size_t size = oracle_value(oracle, 0, first), other_size = oracle_value(oracle, 1, other);
	assert_int_equal(oracle_value(oracle, 0, again), size);
	assert_memory_equal(first, again, size);
	assert_true(other_size != size || memcmp(first, other, size));
	oracle_id(oracle, 1, id);
	assert_int_equal(oracle_find(oracle, id), 1);
	id[15] ^= 1;
	assert_int_equal(oracle_find(oracle, id), ORACLE_NONE);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_acked_and_live_holds),
		EACH(test_acked_and_gone_breaks),
		EACH(test_in_doubt_and_gone_holds),
		EACH(test_covered_through_a_chain_holds),
		EACH(test_replaced_by_a_put_without_context_breaks),
		EACH(test_covered_by_a_delete_that_a_get_did_not_show_holds),
		EACH(test_a_delete_begun_after_the_get_covers_nothing_for_it),
		EACH(test_a_value_of_nobody_breaks),
		EACH(test_a_value_of_another_key_breaks),
		EACH(test_a_changed_byte_breaks),
		EACH(test_an_unknown_id_at_the_end_breaks),
		EACH(test_refused_and_seen_breaks_in_either_order),
		EACH(test_refused_after_doubt_and_seen_holds),
		EACH(test_a_covered_sibling_breaks),
		EACH(test_a_covered_sibling_after_a_truncation_holds),
		EACH(test_a_covered_sibling_among_many_newer_writes_holds),
		EACH(test_a_covered_sibling_with_w_below_a_majority_holds),
		EACH(test_a_covered_sibling_among_many_single_writes_breaks),
		EACH(test_a_superseded_value_that_comes_back_breaks),
		EACH(test_a_superseded_value_that_comes_back_after_a_truncation_holds),
		EACH(test_a_superseded_value_holds_without_overlap),
		EACH(test_concurrent_siblings_hold),
		EACH(test_a_get_that_misses_an_acked_put_breaks),
		EACH(test_a_get_begun_before_the_ack_may_miss_it),
		EACH(test_a_get_may_miss_what_stand_ins_acked),
		EACH(test_a_get_that_sees_what_covers_it_holds),
		EACH(test_what_was_read_must_stay),
		EACH(test_what_was_read_may_go_with_a_disk_that_goes_back),
		EACH(test_what_was_read_and_then_covered_holds),
		EACH(test_values_differ_and_repeat),
	};
	return cmocka_run_group_tests_name("sim oracle", tests, NULL, NULL);
}
