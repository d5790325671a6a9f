/* SPDX-License-Identifier: Apache-2.0 */
/* Objects at their limits: siblings, entries of the clock, seen dots. */
#include "node/object/limit.h"
#include "tests/node/object/sample.h"

static void test_sibling_limit_refuses_only_what_adds(void **state)
{
	struct object object = sample_nothing, out;
	struct context seen = {0};
	struct sibling one_more = sample_sibling(1, 1000, "x");
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	for (uint64_t i = 1; i <= LIMIT_SIBLINGS; i++) {
		object = sample_put(&object, &sample_blind, sample_sibling(1, i, "x"));
		if (i == 1)
			seen = sample_context(&object);
	}
	assert_int_equal(object_put(&object, &sample_blind, &one_more, &(struct object_terms){.now_ms = 1},
				    sample_arena, &out, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_SIBLING_LIMIT);
	assert_slice_equal(sample_encode(&out), sample_encode(&object));
	out = sample_put(&object, &seen, one_more); /* takes one, gives one */
	assert_int_equal(out.sibling_count, LIMIT_SIBLINGS);
	seen = sample_context(&object);
	out = sample_put(&object, &seen, one_more);
	assert_int_equal(out.sibling_count, 1);
}

static void test_siblings_past_the_limit_are_merged_and_resolved(void **state)
{
	struct object left = sample_nothing, right = sample_nothing, both;
	struct context seen;

	(void)state;
	for (uint64_t i = 1; i <= LIMIT_SIBLINGS; i++) {
		left = sample_put(&left, &sample_blind, sample_sibling(1, i, "x"));
		right = sample_put(&right, &sample_blind, sample_sibling(2, i, "y"));
	}
	both = sample_merge(&left, &right);
	both = sample_decode(sample_encode(&both));
	assert_int_equal(both.sibling_count, 2 * LIMIT_SIBLINGS); /* nothing is dropped silently */
	seen = sample_context(&left);
	both = sample_put(&both, &seen, sample_sibling(1, 5000, "half resolved"));
	assert_int_equal(both.sibling_count, LIMIT_SIBLINGS + 1);
}

static void test_truncation_takes_the_oldest_without_a_sibling(void **state)
{
	struct object object = sample_put(&sample_nothing, &sample_blind,
					  sample_sibling(1, 1, "kept: lives as a sibling")),
		      out;
	struct context seen = {0};
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated = 0;

	(void)state;
	for (uint64_t actor = 2; actor <= LIMIT_CLOCK_TRUNCATE; actor++) {
		object = sample_put(&object, &seen, sample_sibling(actor, actor, "x"));
		seen = (struct context){.dots = &object.siblings[object.sibling_count - 1].dot, .dot_count = 1};
	}
	assert_int_equal(object.vector.count, LIMIT_CLOCK_TRUNCATE);
	assert_int_equal(object.sibling_count, 2);
	struct sibling last = sample_sibling(1000, 1000, "y");
	assert_int_equal(object_put(&object, &seen, &last, &(struct object_terms){.now_ms = 2000}, sample_arena, &out,
				    &result, &dot, &truncated),
			 0);
	assert_int_equal(truncated, 1);
	assert_int_equal(version_counter(&out.vector, 1), 1); /* the oldest, but alive */
	assert_int_equal(version_counter(&out.vector, 2), 0);
	assert_int_equal(version_counter(&out.vector, 1000), 1000);
}

/* As many siblings as actors, of actors first to first + LIMIT_CLOCK_PUT - 1. */
static struct object object_of_actors(uint64_t first)
{
	struct object object = sample_nothing;

	for (uint64_t actor = first; actor < first + LIMIT_CLOCK_PUT; actor++)
		object = sample_put(&object, &sample_blind, sample_sibling(actor, 1, "x"));
	return object;
}

static void test_more_actors_than_a_put_may_add(void **state)
{
	struct object object = object_of_actors(1), out;
	enum object_put_result result = OBJECT_PUT_ADDED;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	struct sibling one_more = sample_sibling(1000, 1, "y");
	assert_int_equal(object_put(&object, &sample_blind, &one_more, &(struct object_terms){.now_ms = 1},
				    sample_arena, &out, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_SIBLING_LIMIT);
	struct sibling of_old_actor = sample_sibling(1, 2, "y");
	assert_int_equal(object_put(&object, &sample_blind, &of_old_actor, &(struct object_terms){.now_ms = 1},
				    sample_arena, &out, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
}

/* Past the limit for puts, a put that takes a sibling away is taken, though it brings another actor. */
static void test_resolving_one_by_one_is_never_refused(void **state)
{
	struct object left = object_of_actors(1), right = object_of_actors(1000), both = sample_merge(&left, &right);

	(void)state;
	for (uint64_t actor = 5000; both.sibling_count > 1; actor++) {
		struct context seen = {.dots = (struct dot[]){both.siblings[0].dot, both.siblings[1].dot},
				       .dot_count = 2};
		enum object_put_result result;
		struct object out;
		struct dot dot;
		uint32_t truncated;
		struct sibling resolved = sample_sibling(actor, 1, "y");

		assert_int_equal(object_put(&both, &seen, &resolved, &(struct object_terms){.now_ms = 1}, sample_arena,
					    &out, &result, &dot, &truncated),
				 0);
		assert_int_equal(result, OBJECT_PUT_ADDED);
		assert_int_equal(out.sibling_count, both.sibling_count - 1);
		both = sample_decode(sample_encode(&out));
	}
}

/* An object whose last sibling superseded all before it: many entries, which only merging has kept. */
static struct object object_of_history(uint64_t first, uint32_t entries)
{
	struct object object = {.vector.entries = rpc_arena_alloc(sample_arena, entries * sizeof(struct version_entry)),
				.vector.count = entries,
				.siblings = rpc_arena_alloc(sample_arena, sizeof(struct sibling)),
				.sibling_count = 1};

	for (uint32_t i = 0; i < entries; i++)
		object.vector.entries[i] = (struct version_entry){first + i, 5, 1000 + first + i};
	object.siblings[0] = sample_sibling(first + entries - 1, 5, "x");
	return object;
}

/* O4's exception: whatever decodes, merges into something that decodes. The oldest go, live siblings stay. */
static void test_merge_never_fails_for_the_clock(void **state)
{
	struct object left = object_of_history(1, LIMIT_CLOCK_ENTRIES),
		      right = object_of_history(5000, LIMIT_CLOCK_ENTRIES);
	struct object one = sample_merge(&left, &right), other = sample_merge(&right, &left),
		      again = sample_decode(sample_encode(&one));
	bool changed;

	(void)state;
	assert_int_equal(one.vector.count, LIMIT_CLOCK_ENTRIES);
	assert_int_equal(one.sibling_count, 2);
	assert_int_equal(version_counter(&one.vector, 1), 0);
	assert_int_equal(version_counter(&one.vector, LIMIT_CLOCK_ENTRIES), 5); /* old, but it owns a sibling */
	assert_int_equal(version_counter(&one.vector, 5000), 0);
	assert_int_equal(version_counter(&one.vector, 5001), 5);
	assert_slice_equal(sample_encode(&one), sample_encode(&other));
	/* Both sides come to rest. */
	assert_int_equal(object_merge(&again, &left, sample_arena, &other, &changed), 0);
	assert_false(changed);
	assert_slice_equal(sample_encode(&other), sample_encode(&one));
	assert_int_equal(object_merge(&left, &again, sample_arena, &other, &changed), 0);
	assert_true(changed);
	assert_slice_equal(sample_encode(&other), sample_encode(&one));
	assert_int_equal(sample_context(&one).vector.count, LIMIT_CLOCK_ENTRIES);
}

/* One owner coordinates every put and crashes before each; the other only merges, and so keeps what the first truncates. */
static void test_a_replica_that_only_merges_stays_readable(void **state)
{
	struct object first = sample_nothing, second = sample_nothing;

	(void)state;
	for (uint64_t actor = 1; actor <= LIMIT_CLOCK_ENTRIES + 100; actor++) {
		struct context seen = sample_context(&first);
		struct sibling next = sample_sibling(actor, 1, "x");
		enum object_put_result result;
		struct object out;
		struct dot dot;
		uint32_t truncated;

		next.written_ms = 1000 + actor;
		assert_int_equal(object_put(&first, &seen, &next, &(struct object_terms){.now_ms = next.written_ms},
					    sample_arena, &out, &result, &dot, &truncated),
				 0);
		assert_int_equal(result, OBJECT_PUT_ADDED);
		first = sample_decode(sample_encode(&out));
		out = sample_merge(&second, &first);
		second = sample_decode(sample_encode(&out));
		assert_int_equal(second.sibling_count, 1);
		assert_int_equal(second.siblings[0].dot.actor, actor);
	}
	assert_int_equal(first.vector.count, LIMIT_CLOCK_TRUNCATE);
	assert_int_equal(second.vector.count, LIMIT_CLOCK_ENTRIES);
}

static void test_merge_never_fails_for_seen_dots(void **state)
{
	struct dot left_seen[OBJECT_DOTS_MAX], right_seen[OBJECT_DOTS_MAX];
	struct object left = object_of_history(1, 1), right = object_of_history(2, 1), out;
	bool changed;

	(void)state;
	for (uint32_t i = 0; i < OBJECT_DOTS_MAX; i++) {
		left_seen[i] = (struct dot){100 + i, 1};
		right_seen[i] = (struct dot){100 + i, 2};
	}
	left.seen = left_seen;
	right.seen = right_seen;
	left.seen_count = right.seen_count = OBJECT_DOTS_MAX;
	assert_int_equal(object_merge(&left, &right, sample_arena, &out, &changed), 0);
	assert_true(changed);
	out = sample_decode(sample_encode(&out));
	assert_int_equal(out.seen_count, OBJECT_DOTS_MAX);
	assert_int_equal(out.sibling_count, 2);
}

/* Replicas that did not hear each other each admitted their fill: their merge must still be readable, and resolvable. */
static void test_merges_have_room_beyond_puts(void **state)
{
	struct object merged = object_of_actors(1), more, out;
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;
	bool changed;

	(void)state;
	for (uint64_t round = 1; round < OBJECT_DOTS_MAX / LIMIT_CLOCK_PUT; round++) {
		more = object_of_actors(1 + 1000 * round);
		assert_int_equal(object_merge(&merged, &more, sample_arena, &out, &changed), 0);
		merged = sample_decode(sample_encode(&out));
	}
	struct context all = sample_context(&merged);
	struct sibling resolved = sample_sibling(9000, 1, "y");
	assert_int_equal(object_put(&merged, &all, &resolved, &(struct object_terms){.now_ms = 1}, sample_arena, &out,
				    &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	assert_int_equal(out.sibling_count, 1);
	assert_in_range(out.vector.count, 1, LIMIT_CLOCK_TRUNCATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sibling_limit_refuses_only_what_adds),
		cmocka_unit_test(test_siblings_past_the_limit_are_merged_and_resolved),
		cmocka_unit_test(test_truncation_takes_the_oldest_without_a_sibling),
		cmocka_unit_test(test_more_actors_than_a_put_may_add),
		cmocka_unit_test(test_resolving_one_by_one_is_never_refused),
		cmocka_unit_test(test_merge_never_fails_for_the_clock),
		cmocka_unit_test(test_a_replica_that_only_merges_stays_readable),
		cmocka_unit_test(test_merge_never_fails_for_seen_dots),
		cmocka_unit_test(test_merges_have_room_beyond_puts),
	};
	return cmocka_run_group_tests(tests, sample_set_up, sample_tear_down);
}
