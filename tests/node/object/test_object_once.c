/* SPDX-License-Identifier: Apache-2.0 */
/* An operation takes effect at most once. */
#include "tests/node/object/sample.h"

/* The same operation, as another attempt made it. */
static struct sibling again_at(struct sibling first, uint64_t actor, uint64_t counter)
{
	first.dot = (struct dot){actor, counter};
	return first;
}

/* Put X, get, delete with its context, late attempt of X. */
static void test_a_late_attempt_does_not_bring_a_deleted_value_back(void **state)
{
	struct sibling x = sample_sibling(1, 10, "x");
	struct object one = sample_put(&sample_nothing, &sample_blind, x), deleted;
	struct context seen = sample_context(&one);
	enum object_put_result result;

	(void)state;
	deleted = sample_put(&one, &seen, sample_tombstone(1, 11));
	assert_true(past_has(&deleted.past, sibling_mark(&x)));
	sample_try_put(&deleted, &sample_blind, again_at(x, 1, 12),
		       (struct object_terms){.now_ms = 1, .repeated = true}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	/* The first attempt may be the one that comes late. */
	sample_try_put(&deleted, &sample_blind, again_at(x, 1, 12), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	/* Also where nothing but the delete has arrived. */
	sample_try_put(&(struct object){0}, &seen, again_at(x, 2, 1), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_OWN_CONTEXT);
	deleted = sample_put(&sample_nothing, &seen, sample_tombstone(2, 1));
	sample_try_put(&deleted, &sample_blind, again_at(x, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
}

/* An attempt that finds its operation applied tells the owner that there may be another version of it elsewhere: so says
 * the sibling, then its mark, and so do the owners that hear of it. */
static void test_a_second_attempt_is_remembered(void **state)
{
	struct sibling x = sample_sibling(1, 10, "x"), twice = again_at(x, 1, 11);
	struct object_terms again = {.now_ms = 1, .repeated = true};
	struct object one = sample_put(&sample_nothing, &sample_blind, x), other = one, deleted;
	struct context seen = sample_context(&one);
	enum object_put_result result;

	(void)state;
	assert_false(one.siblings[0].repeated);
	deleted = sample_put(&one, &seen, sample_tombstone(1, 12));
	assert_false(deleted.past.marks[0].repeated);
	deleted = sample_try_put(&deleted, &sample_blind, twice, again, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	assert_true(deleted.past.marks[0].repeated);

	one = sample_try_put(&one, &sample_blind, twice, again, &result);
	assert_int_equal(result, OBJECT_PUT_DUPLICATE);
	assert_true(one.siblings[0].repeated);
	one = sample_decode(sample_encode(&one));
	assert_true(one.siblings[0].repeated);
	other = sample_merge(&other, &one); /* sample_merge() asserts that this is a change */
	assert_true(other.siblings[0].repeated);
	other = sample_put(&other, &seen, sample_tombstone(2, 1));
	assert_true(other.past.marks[0].repeated);
}

/* X was put at an owner that was cut off at once, then at another one, and was deleted there. While the first is away the
 * key is overwritten many times: that X was repeated is not forgotten. */
static void test_many_writes_do_not_bring_a_repeated_value_back(void **state)
{
	struct sibling x = sample_sibling(1, 10, "x");
	struct object cut_off = sample_put(&sample_nothing, &sample_blind, x), other;
	enum object_put_result result;

	(void)state;
	other = sample_try_put(&sample_nothing, &sample_blind, again_at(x, 2, 1),
			       (struct object_terms){.now_ms = 1, .repeated = true}, &result);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	for (uint64_t counter = 11; counter < 11 + 5 * PAST_KIND_MAX; counter++) {
		struct context seen = sample_context(&other);
		other = sample_put(&other, &seen, sample_sibling(2, counter, "y"));
	}
	assert_in_range(other.past.horizon_ms, 1011, UINT64_MAX);
	other = sample_merge(&other, &cut_off);
	assert_int_equal(other.sibling_count, 1);
	assert_true(version_covers(&other.vector, x.dot));
}

/* X ran at two owners that do not hear each other; a client deletes the one it sees. */
static void test_the_dots_of_one_operation_die_together(void **state)
{
	struct sibling x = sample_sibling(1, 10, "x");
	struct object cut_off = sample_put(&sample_nothing, &sample_blind, x),
		      other = sample_put(&sample_nothing, &sample_blind, again_at(x, 2, 7)), both;
	struct context seen = sample_context(&other);

	(void)state;
	other = sample_put(&other, &seen, sample_tombstone(2, 8));
	for (int i = 0; i < 2; i++) {
		both = i == 0 ? sample_merge(&cut_off, &other) : sample_merge(&other, &cut_off);
		assert_int_equal(both.sibling_count, 1);
		assert_int_equal(both.siblings[0].flags, SIBLING_TOMBSTONE);
		assert_true(version_covers(&both.vector, x.dot)); /* seen: it does not come back from anywhere else */
	}
	/* Whoever gets the other version later drops it as well, and an empty third owner takes both in one. */
	both = sample_merge(&both, &cut_off);
	assert_int_equal(both.sibling_count, 1);
	both = sample_merge(&sample_nothing, &both);
	assert_int_equal(both.sibling_count, 1);
}

/* A put at an owner that has heard nothing of X yet makes it know: the context says so. */
static void test_a_context_tells_of_operations_that_have_not_arrived(void **state)
{
	struct sibling x = sample_sibling(1, 10, "x"), y = sample_sibling(1, 11, "y");
	struct object first = sample_put(&sample_nothing, &sample_blind, x), second;
	struct context seen = sample_context(&first);
	enum object_put_result result;

	(void)state;
	first = sample_put(&first, &seen, y);
	seen = sample_context(&first);
	assert_int_equal(seen.past.count, 2); /* x, superseded, and y, live */
	second = sample_put(&sample_nothing, &seen, sample_sibling(2, 1, "z"));
	sample_try_put(&second, &sample_blind, again_at(x, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	sample_try_put(&second, &sample_blind, again_at(y, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	/* And so does the context of a put, which is got without a read. */
	struct rpc_slice bytes;
	assert_int_equal(context_with_dot(&sample_blind, x.dot, sibling_mark(&x), sample_key, sample_arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, sample_key, sample_arena, &seen, NULL), 0);
	second = sample_put(&sample_nothing, &seen, sample_sibling(2, 1, "z"));
	sample_try_put(&second, &sample_blind, again_at(x, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
}

static void test_attempts_older_than_the_horizon_are_refused(void **state)
{
	struct sibling unknown = sample_sibling(9, 3, "?");
	struct object object = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 1, "x"));
	struct object_terms first = {.now_ms = 1}, later = {.now_ms = 1, .repeated = true};
	enum object_put_result result;

	(void)state;
	for (uint64_t counter = 2; counter <= PAST_KIND_MAX + 6; counter++) {
		struct context seen = sample_context(&object);
		object = sample_put(&object, &seen, sample_sibling(1, counter, "x"));
	}
	assert_int_equal(object.past.count, PAST_KIND_MAX);
	assert_int_equal(object.past.horizon_ms, 1000 + 5); /* of operations 1 to 5 nothing is known any more */
	sample_try_put(&object, &sample_blind, unknown, later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
	sample_try_put(&object, &sample_blind, unknown, first, &result);
	assert_int_equal(result, OBJECT_PUT_ADDED); /* it is the only attempt so far */
	sample_try_put(&object, &sample_blind, again_at(sample_sibling(1, 3, "x"), 1, 100), later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
	sample_try_put(&object, &sample_blind, sample_sibling(9, 6, "newer"), later, &result);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	/* The horizon goes where the vector goes. */
	struct context seen = sample_context(&object);
	struct object elsewhere = sample_put(&sample_nothing, &seen, sample_sibling(2, 50, "y"));
	sample_try_put(&elsewhere, &sample_blind, unknown, later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
	elsewhere = sample_merge(&sample_nothing, &elsewhere);
	sample_try_put(&elsewhere, &sample_blind, unknown, later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
}

static void test_attempts_outside_the_window_are_refused(void **state)
{
	struct sibling x = sample_sibling(1, 10, "x"); /* begun at 1010 */
	struct object one = sample_put(&sample_nothing, &sample_blind, x);
	struct object_terms terms = {.window_ms = 500};
	enum object_put_result result;

	(void)state;
	for (terms.now_ms = 1; terms.now_ms < 3000; terms.now_ms++) {
		enum object_put_result expected = terms.now_ms > 1510  ? OBJECT_PUT_TOO_OLD
						  : terms.now_ms < 510 ? OBJECT_PUT_EARLY
								       : OBJECT_PUT_ADDED;
		sample_try_put(&sample_nothing, &sample_blind, x, terms, &result);
		assert_int_equal(result, expected);
		sample_try_put(&one, &sample_blind, again_at(x, 1, 11), terms, &result);
		assert_int_equal(result, OBJECT_PUT_DUPLICATE); /* that is always known */
	}
}

static void test_what_is_forgotten_raises_the_horizon(void **state)
{
	struct sibling x = sample_sibling(1, 10, "x");
	struct object object = sample_put(&sample_nothing, &sample_blind, x);
	struct context seen = sample_context(&object);
	struct rpc_slice bytes;

	(void)state;
	object = sample_put(&object, &seen, sample_sibling(1, 500, "y"));
	past_forget(&object.past, 1400);
	assert_int_equal(object.past.count, 0);
	assert_int_equal(object.past.horizon_ms, 1010);
	/* So does what a context leaves out for its age. */
	assert_int_equal(object_context(&object, sample_key, 1501, sample_arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, sample_key, sample_arena, &seen, NULL), 0);
	assert_int_equal(seen.past.count, 0);
	assert_int_equal(seen.past.horizon_ms, 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_late_attempt_does_not_bring_a_deleted_value_back),
		cmocka_unit_test(test_a_second_attempt_is_remembered),
		cmocka_unit_test(test_many_writes_do_not_bring_a_repeated_value_back),
		cmocka_unit_test(test_the_dots_of_one_operation_die_together),
		cmocka_unit_test(test_a_context_tells_of_operations_that_have_not_arrived),
		cmocka_unit_test(test_attempts_older_than_the_horizon_are_refused),
		cmocka_unit_test(test_attempts_outside_the_window_are_refused),
		cmocka_unit_test(test_what_is_forgotten_raises_the_horizon),
	};
	return cmocka_run_group_tests(tests, sample_set_up, sample_tear_down);
}
