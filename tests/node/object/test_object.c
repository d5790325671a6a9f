/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/object/object.h"

static struct arena *arena;
static const struct rpc_slice key = {(const uint8_t *)"engine key", 10};

static int set_up(void **state)
{
	(void)state;
	arena = arena_create(1 << 16, SIZE_MAX);
	return arena ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	arena_unref(arena);
	return 0;
}

static struct sibling sibling(uint64_t actor, uint64_t counter, const char *value)
{
	struct sibling out = {.dot = {actor, counter}, .written_ms = 1000 + counter, .value = slice(value)};

	operation_id_of((uint32_t)(actor << 16 | counter), out.written_ms, out.operation_id);
	return out;
}

static struct object put(const struct object *old, const struct context *context, struct sibling added)
{
	enum object_put_result result;
	struct object out;
	struct dot dot;
	uint32_t truncated;

	assert_int_equal(object_put(old, context, &added, &(struct object_terms){.now_ms = added.written_ms}, arena,
				    &out, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	assert_int_equal(truncated, 0);
	return out;
}

static struct context context_of(const struct object *object)
{
	struct context context;
	struct rpc_slice bytes;

	assert_int_equal(object_context(object, key, 0, arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, key, arena, &context, NULL), 0);
	return context;
}

static struct object merge(const struct object *a, const struct object *b)
{
	struct object out;
	bool changed;

	assert_int_equal(object_merge(a, b, arena, &out, &changed), 0);
	return out;
}

static struct rpc_slice encode(const struct object *object)
{
	struct rpc_slice bytes;

	assert_int_equal(object_encode(object, arena, &bytes), 0);
	assert_int_equal(bytes.size, object_encoded_size(object));
	return bytes;
}

static struct object decode(struct rpc_slice bytes)
{
	struct rpc_error error;
	struct object object;

	if (object_decode(bytes, arena, &object, &error))
		fail_msg("%s", error.text);
	return object;
}

static const struct object nothing;
static const struct context blind;

/* All that the format has: two siblings, one of them with an alias, a tombstone with an expiry, a seen dot. */
static struct object full_object(void)
{
	struct object left = put(&nothing, &blind, sibling(7, 3, "value")), right, tomb;
	struct sibling again = sibling(7, 3, "value"), grave = sibling(4, 900, "");
	struct dot unseen = {99, 5};
	struct context context = {.dots = &unseen, .dot_count = 1};

	again.dot = (struct dot){9, 70000};
	right = put(&nothing, &blind, again);
	grave.flags = SIBLING_TOMBSTONE;
	grave.expires_ms = 1700000000000;
	tomb = put(&nothing, &context, grave);
	left = merge(&left, &right);
	return merge(&left, &tomb);
}

static void test_round_trip(void **state)
{
	struct object object = full_object(), back = decode(encode(&object));

	(void)state;
	assert_slice_equal(encode(&back), encode(&object));
	assert_int_equal(back.sibling_count, 2);
	assert_int_equal(back.siblings[0].flags, SIBLING_TOMBSTONE);
	assert_int_equal(back.siblings[0].expires_ms, 1700000000000);
	assert_int_equal(back.siblings[0].written_ms, 1900);
	assert_slice_equal(back.siblings[1].value, slice("value"));
	assert_int_equal(back.siblings[1].alias_count, 1);
	assert_int_equal(back.siblings[1].aliases[0].dot.counter, 70000);
	assert_int_equal(back.siblings[1].aliases[0].written_ms, 1003);
	assert_int_equal(back.seen_count, 1);
	assert_int_equal(object_digest(&back), object_digest(&object));
}

static void test_one_sibling_costs_43_bytes(void **state)
{
	struct sibling one = sibling(0xfeedfeedfeedfeed, 1 << 21, "0123456789");
	struct object object;

	(void)state;
	one.written_ms = 1764000000000;
	object = put(&nothing, &blind, one);
	assert_int_equal(encode(&object).size, 43 + 10);
}

static void test_value_is_a_slice_in_place(void **state)
{
	struct object object = put(&nothing, &blind, sibling(1, 1, "where it lies"));
	struct rpc_slice bytes = encode(&object);
	struct object back = decode(bytes);

	(void)state;
	assert_ptr_equal(back.siblings[0].value.data, bytes.data + bytes.size - back.siblings[0].value.size);
}

static void test_every_cut_is_refused(void **state)
{
	struct object object = full_object(), out;
	struct rpc_slice bytes = encode(&object);
	struct rpc_error error;

	(void)state;
	for (size_t size = 0; size < bytes.size; size++) {
		uint8_t *cut = malloc(size ? size : 1); /* of its own, so that a sanitizer sees a byte too far */

		memcpy(cut, bytes.data, size);
		assert_int_equal(object_decode((struct rpc_slice){cut, size}, arena, &out, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "object, byte "));
		free(cut);
	}
}

/* O5: whatever decodes, encodes to the same bytes. */
static void test_changed_bytes_are_refused_or_canonical(void **state)
{
	struct object object = full_object(), out;
	struct rpc_slice bytes = encode(&object);
	uint8_t *changed = arena_copy(arena, bytes.data, bytes.size);
	unsigned refused = 0;

	(void)state;
	for (size_t at = 0; at < bytes.size; at++)
		for (unsigned value = 0; value < 256; value++) {
			struct rpc_slice changed_slice = {changed, bytes.size};

			changed[at] = (uint8_t)value;
			if (object_decode(changed_slice, arena, &out, NULL))
				refused++;
			else
				assert_slice_equal(encode(&out), changed_slice);
			changed[at] = bytes.data[at];
		}
	assert_in_range(refused, 1000, 100000);
}

static void test_a_put_with_context_replaces(void **state)
{
	struct object one = put(&nothing, &blind, sibling(1, 10, "old"));
	struct context context = context_of(&one);
	struct object two = put(&one, &context, sibling(1, 20, "new"));

	(void)state;
	assert_int_equal(two.sibling_count, 1);
	assert_slice_equal(two.siblings[0].value, slice("new"));
	assert_int_equal(version_counter(&two.vector, 1), 20);
}

static void test_a_blind_put_is_concurrent(void **state)
{
	struct object one = put(&nothing, &blind, sibling(1, 10, "a"));
	struct object two = put(&one, &blind, sibling(1, 20, "b"));

	(void)state;
	assert_int_equal(two.sibling_count, 2);
}

/* The first value has not reached replica 2 when the client puts the second there, with the context of its first put.
 */
static void test_two_puts_in_a_row_through_two_replicas_leave_one_value(void **state)
{
	struct object first = put(&nothing, &blind, sibling(1, 10, "first")), second, synced;
	struct context context;
	struct rpc_slice bytes;

	(void)state;
	assert_int_equal(context_with_dot(&blind, (struct dot){1, 10}, (struct mark){0}, key, arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, key, arena, &context, NULL), 0);
	second = put(&nothing, &context, sibling(2, 5, "second"));
	assert_int_equal(second.seen_count, 1);
	synced = merge(&second, &first);
	assert_int_equal(synced.sibling_count, 1);
	assert_slice_equal(synced.siblings[0].value, slice("second"));
	assert_int_equal(synced.seen_count, 0); /* the vector has reached it */
}

static void test_a_context_covers_only_what_the_client_saw(void **state)
{
	struct object one = put(&nothing, &blind, sibling(1, 10, "a")), two;
	struct context seen = context_of(&one);

	(void)state;
	two = put(&one, &blind, sibling(1, 20, "unseen"));
	two = put(&two, &seen, sibling(1, 30, "c"));
	assert_int_equal(two.sibling_count, 2);
	assert_slice_equal(two.siblings[0].value, slice("unseen"));
}

static void test_a_retry_at_the_same_replica_is_a_duplicate(void **state)
{
	struct object one = put(&nothing, &blind, sibling(1, 10, "a")), out;
	struct sibling again = sibling(1, 10, "a");
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	again.dot.counter = 11;
	assert_int_equal(object_put(&one, &blind, &again, &(struct object_terms){.now_ms = 1}, arena, &out, &result,
				    &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_DUPLICATE);
	assert_int_equal(dot.counter, 10);
	assert_slice_equal(encode(&out), encode(&one));
}

static void test_a_retry_at_another_replica_becomes_one_sibling(void **state)
{
	struct sibling again = sibling(1, 10, "a");
	struct object one = put(&nothing, &blind, again), two, both, superseded;
	struct context seen = context_of(&one);

	(void)state;
	again.dot = (struct dot){2, 4};
	two = put(&nothing, &blind, again);
	both = merge(&one, &two);
	assert_int_equal(both.sibling_count, 1);
	assert_int_equal(both.siblings[0].alias_count, 1);
	/* Whoever saw it under one dot saw the operation. */
	superseded = put(&both, &seen, sibling(1, 20, "b"));
	assert_int_equal(superseded.sibling_count, 1);
}

static void test_an_operation_id_with_another_value_keeps_both(void **state)
{
	struct sibling other = sibling(1, 10, "other value");
	struct object one = put(&nothing, &blind, sibling(1, 10, "a")), two;

	(void)state;
	other.dot.counter = 11;
	two = put(&one, &blind, other);
	assert_int_equal(two.sibling_count, 2);
	assert_slice_equal(encode(&two), encode(&(struct object){two.vector, two.seen, 0, two.siblings, 2}));
	two = decode(encode(&two));
	assert_int_equal(two.sibling_count, 2);
}

/* A dot used twice, as by an actor whose memory went back in time: neither value is lost, wherever they meet. */
static void test_an_equal_dot_of_another_operation_keeps_both(void **state)
{
	struct sibling other = sibling(1, 10, "other value");
	struct object one = put(&nothing, &blind, sibling(1, 10, "a")), two, both, again;

	(void)state;
	other.operation_id[15] = 77;
	two = put(&nothing, &blind, other);
	assert_int_not_equal(object_digest(&one), object_digest(&two)); /* or nobody would ever compare them */
	both = merge(&one, &two);
	assert_int_equal(both.clash_count, 1);
	assert_int_equal(both.sibling_count, 2);
	assert_true(version_covers(&both.vector, (struct dot){1, 10}));
	for (uint32_t i = 0; i < 2; i++) {
		assert_true(both.siblings[i].dot.actor != 1);
		assert_true(version_covers(&both.vector, both.siblings[i].dot));
	}
	again = merge(&two, &one);
	assert_slice_equal(encode(&again), encode(&both));
	both = decode(encode(&both));
	again = merge(&both, &one);
	assert_int_equal(again.clash_count, 0);
	assert_slice_equal(encode(&again), encode(&both));
	again = merge(&two, &both);
	assert_slice_equal(encode(&again), encode(&both));
}

static void test_equal_dots_clash_beside_others_and_can_be_resolved(void **state)
{
	struct sibling other = sibling(1, 10, "other value");
	struct object one = put(&nothing, &blind, sibling(2, 3, "b")), two, both, resolved;
	struct context seen;

	(void)state;
	other.operation_id[15] = 77;
	one = put(&one, &blind, sibling(1, 10, "a"));
	two = put(&nothing, &blind, other);
	two = put(&two, &blind, sibling(3, 3, "c"));
	both = merge(&one, &two);
	assert_int_equal(both.clash_count, 1);
	assert_int_equal(both.sibling_count, 4);
	both = decode(encode(&both));
	seen = context_of(&both);
	resolved = put(&both, &seen, sibling(1, 20, "all"));
	assert_int_equal(resolved.sibling_count, 1);
	resolved = merge(&resolved, &two); /* late */
	assert_int_equal(resolved.sibling_count, 1);
}

/* ---- at most once --------------------------------------------------------------------------------------------- */

static struct object try_put(const struct object *old, const struct context *context, struct sibling added,
			     struct object_terms terms, enum object_put_result *result_out)
{
	struct object out;
	struct dot dot;
	uint32_t truncated;

	assert_int_equal(object_put(old, context, &added, &terms, arena, &out, result_out, &dot, &truncated), 0);
	if (*result_out != OBJECT_PUT_ADDED) {
		if (!terms.repeated) /* else it may say that the operation was repeated */
			assert_slice_equal(encode(&out), encode(old));
		assert_int_equal(object_digest(&out), object_digest(old));
		assert_int_equal(truncated, 0);
	}
	return out;
}

static struct sibling tombstone(uint64_t actor, uint64_t counter)
{
	struct sibling out = sibling(actor, counter, "");

	out.flags = SIBLING_TOMBSTONE;
	return out;
}

/* The same operation, as another attempt made it. */
static struct sibling again_at(struct sibling first, uint64_t actor, uint64_t counter)
{
	first.dot = (struct dot){actor, counter};
	return first;
}

/* Put X, get, delete with its context, late attempt of X. */
static void test_a_late_attempt_does_not_bring_a_deleted_value_back(void **state)
{
	struct sibling x = sibling(1, 10, "x");
	struct object one = put(&nothing, &blind, x), deleted;
	struct context seen = context_of(&one);
	enum object_put_result result;

	(void)state;
	deleted = put(&one, &seen, tombstone(1, 11));
	assert_true(past_has(&deleted.past, sibling_mark(&x)));
	try_put(&deleted, &blind, again_at(x, 1, 12), (struct object_terms){.now_ms = 1, .repeated = true}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	/* The first attempt may be the one that comes late. */
	try_put(&deleted, &blind, again_at(x, 1, 12), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	/* Also where nothing but the delete has arrived. */
	try_put(&(struct object){0}, &seen, again_at(x, 2, 1), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_OWN_CONTEXT);
	deleted = put(&nothing, &seen, tombstone(2, 1));
	try_put(&deleted, &blind, again_at(x, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
}

/* An attempt that finds its operation applied tells the owner that there may be another version of it elsewhere: so says
 * the sibling, then its mark, and so do the owners that hear of it. */
static void test_a_second_attempt_is_remembered(void **state)
{
	struct sibling x = sibling(1, 10, "x"), twice = again_at(x, 1, 11);
	struct object_terms again = {.now_ms = 1, .repeated = true};
	struct object one = put(&nothing, &blind, x), other = one, deleted;
	struct context seen = context_of(&one);
	enum object_put_result result;

	(void)state;
	assert_false(one.siblings[0].repeated);
	deleted = put(&one, &seen, tombstone(1, 12));
	assert_false(deleted.past.marks[0].repeated);
	deleted = try_put(&deleted, &blind, twice, again, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	assert_true(deleted.past.marks[0].repeated);

	one = try_put(&one, &blind, twice, again, &result);
	assert_int_equal(result, OBJECT_PUT_DUPLICATE);
	assert_true(one.siblings[0].repeated);
	one = decode(encode(&one));
	assert_true(one.siblings[0].repeated);
	other = merge(&other, &one); /* merge() asserts that this is a change */
	assert_true(other.siblings[0].repeated);
	other = put(&other, &seen, tombstone(2, 1));
	assert_true(other.past.marks[0].repeated);
}

/* X was put at an owner that was cut off at once, then at another one, and was deleted there. While the first is away the
 * key is overwritten many times: that X was repeated is not forgotten. */
static void test_many_writes_do_not_bring_a_repeated_value_back(void **state)
{
	struct sibling x = sibling(1, 10, "x");
	struct object cut_off = put(&nothing, &blind, x), other;
	enum object_put_result result;

	(void)state;
	other = try_put(&nothing, &blind, again_at(x, 2, 1), (struct object_terms){.now_ms = 1, .repeated = true},
			&result);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	for (uint64_t counter = 11; counter < 11 + 5 * PAST_KIND_MAX; counter++) {
		struct context seen = context_of(&other);
		other = put(&other, &seen, sibling(2, counter, "y"));
	}
	assert_in_range(other.past.horizon_ms, 1011, UINT64_MAX);
	other = merge(&other, &cut_off);
	assert_int_equal(other.sibling_count, 1);
	assert_true(version_covers(&other.vector, x.dot));
}

/* X ran at two owners that do not hear each other; a client deletes the one it sees. */
static void test_the_dots_of_one_operation_die_together(void **state)
{
	struct sibling x = sibling(1, 10, "x");
	struct object cut_off = put(&nothing, &blind, x), other = put(&nothing, &blind, again_at(x, 2, 7)), both;
	struct context seen = context_of(&other);

	(void)state;
	other = put(&other, &seen, tombstone(2, 8));
	for (int i = 0; i < 2; i++) {
		both = i == 0 ? merge(&cut_off, &other) : merge(&other, &cut_off);
		assert_int_equal(both.sibling_count, 1);
		assert_int_equal(both.siblings[0].flags, SIBLING_TOMBSTONE);
		assert_true(version_covers(&both.vector, x.dot)); /* seen: it does not come back from anywhere else */
	}
	/* Whoever gets the other version later drops it as well, and an empty third owner takes both in one. */
	both = merge(&both, &cut_off);
	assert_int_equal(both.sibling_count, 1);
	both = merge(&nothing, &both);
	assert_int_equal(both.sibling_count, 1);
}

/* A put at an owner that has heard nothing of X yet makes it know: the context says so. */
static void test_a_context_tells_of_operations_that_have_not_arrived(void **state)
{
	struct sibling x = sibling(1, 10, "x"), y = sibling(1, 11, "y");
	struct object first = put(&nothing, &blind, x), second;
	struct context seen = context_of(&first);
	enum object_put_result result;

	(void)state;
	first = put(&first, &seen, y);
	seen = context_of(&first);
	assert_int_equal(seen.past.count, 2); /* x, superseded, and y, live */
	second = put(&nothing, &seen, sibling(2, 1, "z"));
	try_put(&second, &blind, again_at(x, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	try_put(&second, &blind, again_at(y, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
	/* And so does the context of a put, which is got without a read. */
	struct rpc_slice bytes;
	assert_int_equal(context_with_dot(&blind, x.dot, sibling_mark(&x), key, arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, key, arena, &seen, NULL), 0);
	second = put(&nothing, &seen, sibling(2, 1, "z"));
	try_put(&second, &blind, again_at(x, 2, 2), (struct object_terms){.now_ms = 1}, &result);
	assert_int_equal(result, OBJECT_PUT_SUPERSEDED);
}

static void test_attempts_older_than_the_horizon_are_refused(void **state)
{
	struct sibling unknown = sibling(9, 3, "?");
	struct object object = put(&nothing, &blind, sibling(1, 1, "x"));
	struct object_terms first = {.now_ms = 1}, later = {.now_ms = 1, .repeated = true};
	enum object_put_result result;

	(void)state;
	for (uint64_t counter = 2; counter <= PAST_KIND_MAX + 6; counter++) {
		struct context seen = context_of(&object);
		object = put(&object, &seen, sibling(1, counter, "x"));
	}
	assert_int_equal(object.past.count, PAST_KIND_MAX);
	assert_int_equal(object.past.horizon_ms, 1000 + 5); /* of operations 1 to 5 nothing is known any more */
	try_put(&object, &blind, unknown, later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
	try_put(&object, &blind, unknown, first, &result);
	assert_int_equal(result, OBJECT_PUT_ADDED); /* it is the only attempt so far */
	try_put(&object, &blind, again_at(sibling(1, 3, "x"), 1, 100), later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
	try_put(&object, &blind, sibling(9, 6, "newer"), later, &result);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	/* The horizon goes where the vector goes. */
	struct context seen = context_of(&object);
	struct object elsewhere = put(&nothing, &seen, sibling(2, 50, "y"));
	try_put(&elsewhere, &blind, unknown, later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
	elsewhere = merge(&nothing, &elsewhere);
	try_put(&elsewhere, &blind, unknown, later, &result);
	assert_int_equal(result, OBJECT_PUT_TOO_OLD);
}

static void test_attempts_outside_the_window_are_refused(void **state)
{
	struct sibling x = sibling(1, 10, "x"); /* begun at 1010 */
	struct object one = put(&nothing, &blind, x);
	struct object_terms terms = {.window_ms = 500};
	enum object_put_result result;

	(void)state;
	for (terms.now_ms = 1; terms.now_ms < 3000; terms.now_ms++) {
		enum object_put_result expected = terms.now_ms > 1510  ? OBJECT_PUT_TOO_OLD
						  : terms.now_ms < 510 ? OBJECT_PUT_EARLY
								       : OBJECT_PUT_ADDED;
		try_put(&nothing, &blind, x, terms, &result);
		assert_int_equal(result, expected);
		try_put(&one, &blind, again_at(x, 1, 11), terms, &result);
		assert_int_equal(result, OBJECT_PUT_DUPLICATE); /* that is always known */
	}
}

static void test_what_is_forgotten_raises_the_horizon(void **state)
{
	struct sibling x = sibling(1, 10, "x");
	struct object object = put(&nothing, &blind, x);
	struct context seen = context_of(&object);
	struct rpc_slice bytes;

	(void)state;
	object = put(&object, &seen, sibling(1, 500, "y"));
	past_forget(&object.past, 1400);
	assert_int_equal(object.past.count, 0);
	assert_int_equal(object.past.horizon_ms, 1010);
	/* So does what a context leaves out for its age. */
	assert_int_equal(object_context(&object, key, 1501, arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, key, arena, &seen, NULL), 0);
	assert_int_equal(seen.past.count, 0);
	assert_int_equal(seen.past.horizon_ms, 1500);
}

/* An object with a past is format 2; one without is written as before, and what was stored before is read. */
static void test_formats(void **state)
{
	struct object one = put(&nothing, &blind, sibling(1, 10, "x")), two;
	struct context seen = context_of(&one);

	(void)state;
	two = put(&one, &seen, sibling(1, 11, "y"));
	assert_int_equal(encode(&one).data[0], 1);
	assert_int_equal(encode(&two).data[0], 2);
	assert_int_equal(encode(&two).size, encode(&one).size + 1 + 2 + 8 + 1);
	struct object again = decode(encode(&two));
	assert_int_equal(again.past.count, 1);
	assert_int_equal(mark_compare(again.past.marks[0], two.past.marks[0]), 0);
	/* O6 */
	struct object both = two;
	struct sibling old = one.siblings[0];
	both.siblings = (struct sibling[]){old, two.siblings[0]};
	both.sibling_count = 2;
	struct rpc_slice bytes = encode(&both);
	struct rpc_error error = {""};
	assert_int_equal(object_decode(bytes, arena, &again, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "operation in the past"));
}

/* Others would take such a write for superseded and drop it. */
static void test_a_dot_that_is_not_new_is_refused(void **state)
{
	struct object one = put(&nothing, &blind, sibling(1, 10, "a")), out;
	struct version_entry forged_entry = {1, 999, 0};
	struct context forged = {.vector = {&forged_entry, 1}};
	struct sibling old_dot = sibling(1, 9, "b"), new_dot = sibling(1, 11, "b");
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	assert_int_equal(object_put(&one, &blind, &old_dot, &(struct object_terms){.now_ms = 1}, arena, &out, &result,
				    &dot, &truncated),
			 -EEXIST);
	assert_int_equal(object_put(&one, &forged, &new_dot, &(struct object_terms){.now_ms = 1}, arena, &out, &result,
				    &dot, &truncated),
			 -EEXIST);
	assert_int_equal(object_put(&one, &blind, &new_dot, &(struct object_terms){.now_ms = 1}, arena, &out, &result,
				    &dot, &truncated),
			 0);
}

static void test_sibling_limit_refuses_only_what_adds(void **state)
{
	struct object object = nothing, out;
	struct context seen = {0};
	struct sibling one_more = sibling(1, 1000, "x");
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	for (uint64_t i = 1; i <= LIMIT_SIBLINGS; i++) {
		object = put(&object, &blind, sibling(1, i, "x"));
		if (i == 1)
			seen = context_of(&object);
	}
	assert_int_equal(object_put(&object, &blind, &one_more, &(struct object_terms){.now_ms = 1}, arena, &out,
				    &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_SIBLING_LIMIT);
	assert_slice_equal(encode(&out), encode(&object));
	out = put(&object, &seen, one_more); /* takes one, gives one */
	assert_int_equal(out.sibling_count, LIMIT_SIBLINGS);
	seen = context_of(&object);
	out = put(&object, &seen, one_more);
	assert_int_equal(out.sibling_count, 1);
}

static void test_siblings_past_the_limit_are_merged_and_resolved(void **state)
{
	struct object left = nothing, right = nothing, both;
	struct context seen;

	(void)state;
	for (uint64_t i = 1; i <= LIMIT_SIBLINGS; i++) {
		left = put(&left, &blind, sibling(1, i, "x"));
		right = put(&right, &blind, sibling(2, i, "y"));
	}
	both = merge(&left, &right);
	both = decode(encode(&both));
	assert_int_equal(both.sibling_count, 2 * LIMIT_SIBLINGS); /* nothing is dropped silently */
	seen = context_of(&left);
	both = put(&both, &seen, sibling(1, 5000, "half resolved"));
	assert_int_equal(both.sibling_count, LIMIT_SIBLINGS + 1);
}

static void test_truncation_takes_the_oldest_without_a_sibling(void **state)
{
	struct object object = put(&nothing, &blind, sibling(1, 1, "kept: lives as a sibling")), out;
	struct context seen = {0};
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated = 0;

	(void)state;
	for (uint64_t actor = 2; actor <= LIMIT_CLOCK_TRUNCATE; actor++) {
		object = put(&object, &seen, sibling(actor, actor, "x"));
		seen = (struct context){.dots = &object.siblings[object.sibling_count - 1].dot, .dot_count = 1};
	}
	assert_int_equal(object.vector.count, LIMIT_CLOCK_TRUNCATE);
	assert_int_equal(object.sibling_count, 2);
	struct sibling last = sibling(1000, 1000, "y");
	assert_int_equal(object_put(&object, &seen, &last, &(struct object_terms){.now_ms = 2000}, arena, &out, &result,
				    &dot, &truncated),
			 0);
	assert_int_equal(truncated, 1);
	assert_int_equal(version_counter(&out.vector, 1), 1); /* the oldest, but alive */
	assert_int_equal(version_counter(&out.vector, 2), 0);
	assert_int_equal(version_counter(&out.vector, 1000), 1000);
}

/* As many siblings as actors, of actors first to first + LIMIT_CLOCK_PUT - 1. */
static struct object object_of_actors(uint64_t first)
{
	struct object object = nothing;

	for (uint64_t actor = first; actor < first + LIMIT_CLOCK_PUT; actor++)
		object = put(&object, &blind, sibling(actor, 1, "x"));
	return object;
}

static void test_more_actors_than_a_put_may_add(void **state)
{
	struct object object = object_of_actors(1), out;
	enum object_put_result result = OBJECT_PUT_ADDED;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	struct sibling one_more = sibling(1000, 1, "y");
	assert_int_equal(object_put(&object, &blind, &one_more, &(struct object_terms){.now_ms = 1}, arena, &out,
				    &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_SIBLING_LIMIT);
	struct sibling of_old_actor = sibling(1, 2, "y");
	assert_int_equal(object_put(&object, &blind, &of_old_actor, &(struct object_terms){.now_ms = 1}, arena, &out,
				    &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
}

/* Past the limit for puts, a put that takes a sibling away is taken, though it brings another actor. */
static void test_resolving_one_by_one_is_never_refused(void **state)
{
	struct object left = object_of_actors(1), right = object_of_actors(1000), both = merge(&left, &right);

	(void)state;
	for (uint64_t actor = 5000; both.sibling_count > 1; actor++) {
		struct context seen = {.dots = (struct dot[]){both.siblings[0].dot, both.siblings[1].dot},
				       .dot_count = 2};
		enum object_put_result result;
		struct object out;
		struct dot dot;
		uint32_t truncated;
		struct sibling resolved = sibling(actor, 1, "y");

		assert_int_equal(object_put(&both, &seen, &resolved, &(struct object_terms){.now_ms = 1}, arena, &out,
					    &result, &dot, &truncated),
				 0);
		assert_int_equal(result, OBJECT_PUT_ADDED);
		assert_int_equal(out.sibling_count, both.sibling_count - 1);
		both = decode(encode(&out));
	}
}

/* An object whose last sibling superseded all before it: many entries, which only merging has kept. */
static struct object object_of_history(uint64_t first, uint32_t entries)
{
	struct object object = {.vector.entries = arena_alloc(arena, entries * sizeof(struct version_entry)),
				.vector.count = entries,
				.siblings = arena_alloc(arena, sizeof(struct sibling)),
				.sibling_count = 1};

	for (uint32_t i = 0; i < entries; i++)
		object.vector.entries[i] = (struct version_entry){first + i, 5, 1000 + first + i};
	object.siblings[0] = sibling(first + entries - 1, 5, "x");
	return object;
}

/* O4's exception: whatever decodes, merges into something that decodes. The oldest go, live siblings stay. */
static void test_merge_never_fails_for_the_clock(void **state)
{
	struct object left = object_of_history(1, LIMIT_CLOCK_ENTRIES),
		      right = object_of_history(5000, LIMIT_CLOCK_ENTRIES);
	struct object one = merge(&left, &right), other = merge(&right, &left), again = decode(encode(&one));
	bool changed;

	(void)state;
	assert_int_equal(one.vector.count, LIMIT_CLOCK_ENTRIES);
	assert_int_equal(one.sibling_count, 2);
	assert_int_equal(version_counter(&one.vector, 1), 0);
	assert_int_equal(version_counter(&one.vector, LIMIT_CLOCK_ENTRIES), 5); /* old, but it owns a sibling */
	assert_int_equal(version_counter(&one.vector, 5000), 0);
	assert_int_equal(version_counter(&one.vector, 5001), 5);
	assert_slice_equal(encode(&one), encode(&other));
	/* Both sides come to rest. */
	assert_int_equal(object_merge(&again, &left, arena, &other, &changed), 0);
	assert_false(changed);
	assert_slice_equal(encode(&other), encode(&one));
	assert_int_equal(object_merge(&left, &again, arena, &other, &changed), 0);
	assert_true(changed);
	assert_slice_equal(encode(&other), encode(&one));
	assert_int_equal(context_of(&one).vector.count, LIMIT_CLOCK_ENTRIES);
}

/* One owner coordinates every put and crashes before each; the other only merges, and so keeps what the first truncates. */
static void test_a_replica_that_only_merges_stays_readable(void **state)
{
	struct object first = nothing, second = nothing;

	(void)state;
	for (uint64_t actor = 1; actor <= LIMIT_CLOCK_ENTRIES + 100; actor++) {
		struct context seen = context_of(&first);
		struct sibling next = sibling(actor, 1, "x");
		enum object_put_result result;
		struct object out;
		struct dot dot;
		uint32_t truncated;

		next.written_ms = 1000 + actor;
		assert_int_equal(object_put(&first, &seen, &next, &(struct object_terms){.now_ms = next.written_ms},
					    arena, &out, &result, &dot, &truncated),
				 0);
		assert_int_equal(result, OBJECT_PUT_ADDED);
		first = decode(encode(&out));
		out = merge(&second, &first);
		second = decode(encode(&out));
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
	assert_int_equal(object_merge(&left, &right, arena, &out, &changed), 0);
	assert_true(changed);
	out = decode(encode(&out));
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
		assert_int_equal(object_merge(&merged, &more, arena, &out, &changed), 0);
		merged = decode(encode(&out));
	}
	struct context all = context_of(&merged);
	struct sibling resolved = sibling(9000, 1, "y");
	assert_int_equal(object_put(&merged, &all, &resolved, &(struct object_terms){.now_ms = 1}, arena, &out, &result,
				    &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	assert_int_equal(out.sibling_count, 1);
	assert_in_range(out.vector.count, 1, LIMIT_CLOCK_TRUNCATE);
}

static uint32_t count_live(const struct object *object, uint64_t now_ms)
{
	uint32_t live = 0;

	for (uint32_t i = 0; i < object->sibling_count; i++)
		live += sibling_is_live(&object->siblings[i], now_ms);
	return live;
}

static void test_tombstones_and_expiry_are_absent(void **state)
{
	struct sibling grave = sibling(1, 1, ""), mortal = sibling(2, 1, "for a while");
	struct object object;

	(void)state;
	assert_int_equal(count_live(&nothing, 0), 0);
	grave.flags = SIBLING_TOMBSTONE;
	mortal.expires_ms = 5000;
	object = put(&nothing, &blind, grave);
	assert_int_equal(count_live(&object, 0), 0);
	assert_int_not_equal(context_of(&object).vector.count, 0);
	object = put(&object, &blind, mortal);
	assert_int_equal(count_live(&object, 4999), 1);
	assert_int_equal(count_live(&object, 5000), 0);
}

static void test_digest_ignores_times_only(void **state)
{
	struct object object = full_object(), copy = decode(encode(&object));

	(void)state;
	copy.vector.entries[0].last_ms += 5;
	assert_int_equal(object_digest(&copy), object_digest(&object));
	assert_int_equal(object_tree_hash(key, &copy), object_tree_hash(key, &object));
	assert_int_not_equal(object_tree_hash(slice("engine kez"), &copy), object_tree_hash(key, &object));
	copy.vector.entries[0].counter++;
	assert_int_not_equal(object_digest(&copy), object_digest(&object));
	copy = decode(encode(&object));
	copy.sibling_count--;
	assert_int_not_equal(object_digest(&copy), object_digest(&object));
	copy = decode(encode(&object));
	copy.seen_count = 0;
	assert_int_not_equal(object_digest(&copy), object_digest(&object));
}

static void test_digest_of_many_siblings_sees_each(void **state)
{
	struct object object = nothing;
	uint64_t digest;

	(void)state;
	for (uint64_t i = 1; i <= LIMIT_SIBLINGS; i++)
		object = put(&object, &blind, sibling(1, i * 2, "x"));
	digest = object_digest(&object);
	for (uint32_t i = 0; i < object.sibling_count; i++) {
		object.siblings[i].dot.counter--;
		assert_int_not_equal(object_digest(&object), digest);
		object.siblings[i].dot.counter++;
	}
}

static void test_changed_tells_whether_a_replica_must_write(void **state)
{
	struct object one = put(&nothing, &blind, sibling(1, 1, "a")), two = put(&one, &blind, sibling(2, 1, "b")), out;
	bool changed;

	(void)state;
	assert_int_equal(object_merge(&two, &one, arena, &out, &changed), 0);
	assert_false(changed);
	assert_int_equal(object_merge(&one, &two, arena, &out, &changed), 0);
	assert_true(changed);
	assert_int_equal(object_merge(&nothing, &one, arena, &out, &changed), 0);
	assert_true(changed);
	assert_int_equal(object_merge(&one, &nothing, arena, &out, &changed), 0);
	assert_false(changed);
}

static void test_actor_counter(void **state)
{
	struct object object = full_object();

	(void)state;
	assert_int_equal(object_actor_counter(&object, 7), 3);
	assert_int_equal(object_actor_counter(&object, 99), 5); /* seen only */
	assert_int_equal(object_actor_counter(&object, 12345), 0);
}

/* Fault test: the n-th allocation fails, for every n. */
static void test_out_of_memory_is_reported(void **state)
{
	struct object object = full_object(), other = put(&nothing, &blind, sibling(3, 3, "z")), out;
	struct rpc_slice bytes = encode(&object), encoded;
	bool changed, all_fit = false;

	(void)state;
	for (size_t cap = 16; !all_fit; cap += 16) {
		struct arena *small = arena_create(16, cap);
		int decoded = object_decode(bytes, small, &out, NULL);
		int merged = decoded ? decoded : object_merge(&object, &other, small, &out, &changed);
		int status = merged ? merged : object_encode(&out, small, &encoded);

		assert_true(status == 0 || status == -ENOMEM);
		all_fit = status == 0;
		arena_unref(small);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_one_sibling_costs_43_bytes),
		cmocka_unit_test(test_value_is_a_slice_in_place),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_changed_bytes_are_refused_or_canonical),
		cmocka_unit_test(test_a_put_with_context_replaces),
		cmocka_unit_test(test_a_blind_put_is_concurrent),
		cmocka_unit_test(test_two_puts_in_a_row_through_two_replicas_leave_one_value),
		cmocka_unit_test(test_a_context_covers_only_what_the_client_saw),
		cmocka_unit_test(test_a_retry_at_the_same_replica_is_a_duplicate),
		cmocka_unit_test(test_a_retry_at_another_replica_becomes_one_sibling),
		cmocka_unit_test(test_an_operation_id_with_another_value_keeps_both),
		cmocka_unit_test(test_an_equal_dot_of_another_operation_keeps_both),
		cmocka_unit_test(test_equal_dots_clash_beside_others_and_can_be_resolved),
		cmocka_unit_test(test_a_late_attempt_does_not_bring_a_deleted_value_back),
		cmocka_unit_test(test_a_second_attempt_is_remembered),
		cmocka_unit_test(test_many_writes_do_not_bring_a_repeated_value_back),
		cmocka_unit_test(test_the_dots_of_one_operation_die_together),
		cmocka_unit_test(test_a_context_tells_of_operations_that_have_not_arrived),
		cmocka_unit_test(test_attempts_older_than_the_horizon_are_refused),
		cmocka_unit_test(test_attempts_outside_the_window_are_refused),
		cmocka_unit_test(test_what_is_forgotten_raises_the_horizon),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_a_dot_that_is_not_new_is_refused),
		cmocka_unit_test(test_sibling_limit_refuses_only_what_adds),
		cmocka_unit_test(test_siblings_past_the_limit_are_merged_and_resolved),
		cmocka_unit_test(test_truncation_takes_the_oldest_without_a_sibling),
		cmocka_unit_test(test_more_actors_than_a_put_may_add),
		cmocka_unit_test(test_merges_have_room_beyond_puts),
		cmocka_unit_test(test_resolving_one_by_one_is_never_refused),
		cmocka_unit_test(test_merge_never_fails_for_the_clock),
		cmocka_unit_test(test_merge_never_fails_for_seen_dots),
		cmocka_unit_test(test_a_replica_that_only_merges_stays_readable),
		cmocka_unit_test(test_tombstones_and_expiry_are_absent),
		cmocka_unit_test(test_digest_ignores_times_only),
		cmocka_unit_test(test_digest_of_many_siblings_sees_each),
		cmocka_unit_test(test_changed_tells_whether_a_replica_must_write),
		cmocka_unit_test(test_actor_counter),
		cmocka_unit_test(test_out_of_memory_is_reported),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
