/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "node/actor/event.h"
#include "node/object/past.h"

static struct arena *arena;

static int setup(void **state)
{
	(void)state;
	arena = rpc_arena_create(1 << 16, SIZE_MAX);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rpc_arena_unref(arena);
	return 0;
}

static struct past past_with(const struct mark *marks, uint32_t count)
{
	struct mark *copy = rpc_arena_alloc(arena, (count + 1) * sizeof *copy); /* room for one: count may be 0 */
	memcpy(copy, marks, count * sizeof *copy);
	return past_of_marks(copy, count);
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
		assert_true(mark_compare(a->marks[i], b->marks[i]) == 0 &&
			    a->marks[i].repeated == b->marks[i].repeated);
}

static void test_marks_are_sorted_and_distinct(void **state)
{
	(void)state;
	const struct mark marks[5] = {{5, 4}, {3, 2}, {5, 0}, {3, 2, true}};
	struct past past = past_with(marks, 4);
	assert_int_equal(past.count, 3);
	assert_true(past_has(&past, (struct mark){3, 2}) && past_has(&past, (struct mark){5, 0}));
	assert_false(past_has(&past, (struct mark){5, 2}));
	assert_true(past.marks[0].repeated && !past.marks[1].repeated); /* whoever says so */
	assert_true(past_has_time(&past, 3) && past_has_time(&past, 5));
	assert_false(past_has_time(&past, 4) || past_has_time(&past, 6));
}

static void test_what_is_too_much_raises_the_horizon(void **state)
{
	(void)state;
	struct mark marks[PAST_KIND_MAX + 3];
	for (uint32_t i = 0; i < PAST_KIND_MAX + 2; i++)
		marks[i] = (struct mark){100 + i, 2 * i};
	struct past past = past_with(marks, PAST_KIND_MAX + 2);
	past_bound(&past);
	assert_int_equal(past.count, PAST_KIND_MAX);
	assert_int_equal(past.horizon_ms, 101);
	past_forget(&past, 105);
	assert_int_equal(past.count, PAST_KIND_MAX - 3);
	assert_int_equal(past.horizon_ms, 104);
	past_forget(&past, 105);
	assert_int_equal(past.horizon_ms, 104);
}

/* A mark of a repeated operation gives way to no other kind. */
static void test_repeated_operations_are_remembered_longer(void **state)
{
	(void)state;
	struct past past = past_with(&(struct mark){10, 2, true}, 1);
	for (uint64_t i = 0; i < 200; i++) {
		struct past one = past_with(&(struct mark){100 + i, 2 * i}, 1);
		past = unite(&past, &one);
	}
	assert_int_equal(past.count, PAST_KIND_MAX + 1);
	assert_true(past_has(&past, (struct mark){10, 2}));
	assert_int_equal(past.horizon_ms, 100 + 199 - PAST_KIND_MAX);
	/* Among each other the newest stay. */
	for (uint64_t i = 0; i < PAST_KIND_MAX; i++) {
		struct past one = past_with(&(struct mark){300 + i, 2 * i, true}, 1);
		past = unite(&past, &one);
	}
	assert_int_equal(past.count, PAST_MAX);
	assert_false(past_has(&past, (struct mark){10, 2}));
}

static void test_a_mark_becomes_repeated(void **state)
{
	(void)state;
	const struct mark marks[3] = {{1, 2}, {2, 4}};
	struct past past = past_with(marks, 2), noted, same;
	assert_int_equal(past_note_repeat(&past, (struct mark){2, 4}, arena, &noted), 0);
	assert_int_equal(noted.count, 2);
	assert_true(noted.marks[1].repeated && !noted.marks[0].repeated && !past.marks[1].repeated);
	assert_true(past_is_within(&past, &noted));
	assert_false(past_is_within(&noted, &past));
	past.horizon_ms = 5; /* what is repeated counts below a horizon, too */
	assert_false(past_is_within(&noted, &past));
	/* Of what is not there nothing is noted. */
	assert_int_equal(past_note_repeat(&past, (struct mark){3, 6}, arena, &same), 0);
	assert_same(&same, &past);
}

/* A2; associative as long as nothing is dropped. */
static void test_unite_laws(void **state)
{
	(void)state;
	struct prng prng;
	prng_seed(&prng, 1);
	uint32_t associative = 0;
	for (int round = 0; round < 3000; round++) {
		struct past p[3];
		for (int i = 0; i < 3; i++) {
			struct mark marks[81];
			uint32_t count = (uint32_t)prng_below(&prng, round % 2 ? 81 : 20);
			for (uint32_t j = 0; j < count; j++)
				marks[j] = (struct mark){1 + prng_below(&prng, 40), 2 * prng_below(&prng, 3),
							 prng_below(&prng, 3) == 0};
			p[i] = past_with(marks, count);
			past_bound(&p[i]);
		}
		struct past ab = unite(&p[0], &p[1]), ba = unite(&p[1], &p[0]), bc = unite(&p[1], &p[2]);
		struct past ab_c = unite(&ab, &p[2]), a_bc = unite(&p[0], &bc), ab_b = unite(&ab, &p[1]);
		assert_same(&ab, &ba);
		if (ab_b.horizon_ms == 0)
			assert_same(&ab_b, &ab);
		if (ab_c.horizon_ms == 0 && a_bc.horizon_ms == 0) {
			assert_same(&ab_c, &a_bc);
			associative++;
		}
		if (ab.horizon_ms == 0) {
			assert_true(past_is_within(&p[0], &ab));
			assert_int_equal(past_is_within(&ab, &p[0]), past_is_within(&p[1], &p[0]));
		}
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
	assert_in_range(associative, 1000, 2500);
}

static void test_bytes_out_of_order_are_refused(void **state)
{
	(void)state;
	const uint8_t twice[] = {2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
	uint8_t many[2 + 9 * (PAST_KIND_MAX + 1)] = {PAST_KIND_MAX + 1}; /* of one kind */
	for (uint8_t i = 0; i <= PAST_KIND_MAX; i++)
		many[2 + 9 * i] = (uint8_t)(2 * i);
	struct past past;
	struct bytes_reader reader = {twice, twice, twice + sizeof twice};
	assert_int_equal(past_get(&reader, arena, &past), -EBADMSG);
	reader = (struct bytes_reader){many, many, many + sizeof many};
	assert_int_equal(past_get(&reader, arena, &past), -EBADMSG);
	many[2] = 1; /* one of them is of the other */
	many[2 + 9] = 3;
	reader = (struct bytes_reader){many, many, many + sizeof many};
	assert_int_equal(past_get(&reader, arena, &past), 0);
	assert_int_equal(past.count, PAST_KIND_MAX + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_marks_are_sorted_and_distinct, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_too_much_raises_the_horizon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repeated_operations_are_remembered_longer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_mark_becomes_repeated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unite_laws, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes_out_of_order_are_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
