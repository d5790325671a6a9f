/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/actor/event.h"
#include "node/object/past.h"

static struct arena *arena;

static int setup(void **state)
{
	(void)state;
	arena = arena_create(1 << 16, SIZE_MAX);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_unref(arena);
	return 0;
}

static struct past past_with(const struct mark *marks, uint32_t count)
{
	return past_of_marks(arena_copy(arena, marks, (count + 1) * sizeof *marks), count);
}

static struct past unite(const struct past *a, const struct past *b)
{
	struct past out;
	assert_int_equal(past_unite(a, b, arena, &out), 0);
	past_bound(&out);
	return out;
}

static void assert_same(const struct past *a, const struct past *b)
{
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->horizon_ms, b->horizon_ms);
	for (uint32_t i = 0; i < a->count; i++)
		assert_int_equal(mark_compare(a->marks[i], b->marks[i]), 0);
}

static void test_marks_are_sorted_and_distinct(void **state)
{
	(void)state;
	const struct mark marks[5] = {{5, 1}, {3, 2}, {5, 0}, {3, 2}};
	struct past past = past_with(marks, 4);
	assert_int_equal(past.count, 3);
	assert_true(past_has(&past, (struct mark){3, 2}) && past_has(&past, (struct mark){5, 0}));
	assert_false(past_has(&past, (struct mark){5, 2}));
	assert_true(past_has_time(&past, 3) && past_has_time(&past, 5));
	assert_false(past_has_time(&past, 4) || past_has_time(&past, 6));
}

static void test_what_is_too_much_raises_the_horizon(void **state)
{
	(void)state;
	struct mark marks[PAST_MAX + 3];
	for (uint32_t i = 0; i < PAST_MAX + 2; i++)
		marks[i] = (struct mark){100 + i, i};
	struct past past = past_with(marks, PAST_MAX + 2);
	past_bound(&past);
	assert_int_equal(past.count, PAST_MAX);
	assert_int_equal(past.horizon_ms, 101);
	past_forget(&past, 105);
	assert_int_equal(past.count, PAST_MAX - 3);
	assert_int_equal(past.horizon_ms, 104);
	past_forget(&past, 105);
	assert_int_equal(past.horizon_ms, 104);
}

/* A2. */
static void test_unite_laws(void **state)
{
	(void)state;
	struct prng prng;
	prng_seed(&prng, 1);
	for (int round = 0; round < 3000; round++) {
		struct past p[3];
		for (int i = 0; i < 3; i++) {
			struct mark marks[41];
			uint32_t count = (uint32_t)prng_below(&prng, 41);
			for (uint32_t j = 0; j < count; j++)
				marks[j] = (struct mark){1 + prng_below(&prng, 40), prng_below(&prng, 3)};
			p[i] = past_with(marks, count);
			past_bound(&p[i]);
		}
		struct past ab = unite(&p[0], &p[1]), ba = unite(&p[1], &p[0]), bc = unite(&p[1], &p[2]);
		struct past ab_c = unite(&ab, &p[2]), a_bc = unite(&p[0], &bc), ab_b = unite(&ab, &p[1]);
		assert_same(&ab, &ba);
		assert_same(&ab_c, &a_bc);
		assert_same(&ab_b, &ab);
		assert_true(past_is_within(&p[0], &ab));
		assert_int_equal(past_is_within(&ab, &p[0]),
				 past_is_within(&p[1], &p[0]) && ab.horizon_ms <= p[0].horizon_ms);
		uint8_t bytes[1024];
		uint8_t *end = past_put(bytes, &ab);
		assert_int_equal(end - bytes, past_encoded_size(&ab));
		struct bytes_reader reader = {bytes, bytes, end};
		struct past again;
		assert_int_equal(past_get(&reader, arena, &again), 0);
		assert_ptr_equal(reader.at, end);
		assert_same(&again, &ab);
		for (const uint8_t *cut = bytes; cut < end; cut++) {
			reader = (struct bytes_reader){bytes, bytes, cut};
			assert_int_equal(past_get(&reader, arena, &again), -EBADMSG);
		}
	}
}

static void test_bytes_out_of_order_are_refused(void **state)
{
	(void)state;
	const uint8_t twice[] = {2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
	const uint8_t many[] = {PAST_MAX + 1, 0, 0};
	struct past past;
	struct bytes_reader reader = {twice, twice, twice + sizeof twice};
	assert_int_equal(past_get(&reader, arena, &past), -EBADMSG);
	reader = (struct bytes_reader){many, many, many + sizeof many};
	assert_int_equal(past_get(&reader, arena, &past), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_marks_are_sorted_and_distinct, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_too_much_raises_the_horizon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unite_laws, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes_out_of_order_are_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
