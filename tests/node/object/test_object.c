/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include "node/object/limit.h"
#include "tests/node/object/sample.h"

static void test_round_trip(void **state)
{
	struct object object = sample_full(), back = sample_decode(sample_encode(&object));

	(void)state;
	assert_slice_equal(sample_encode(&back), sample_encode(&object));
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
	struct sibling one = sample_sibling(0xfeedfeedfeedfeed, 1 << 21, "0123456789");
	struct object object;

	(void)state;
	one.written_ms = 1764000000000;
	object = sample_put(&sample_nothing, &sample_blind, one);
	assert_int_equal(sample_encode(&object).size, 43 + 10);
}

static void test_value_is_a_slice_in_place(void **state)
{
	struct object object = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 1, "where it lies"));
	struct rpc_slice bytes = sample_encode(&object);
	struct object back = sample_decode(bytes);

	(void)state;
	assert_ptr_equal(back.siblings[0].value.data, bytes.data + bytes.size - back.siblings[0].value.size);
}

static void test_every_cut_is_refused(void **state)
{
	struct object object = sample_full(), out;
	struct rpc_slice bytes = sample_encode(&object);
	struct rpc_error error;

	(void)state;
	for (size_t size = 0; size < bytes.size; size++) {
		uint8_t *cut = malloc(size ? size : 1); /* of its own, so that a sanitizer sees a byte too far */

		memcpy(cut, bytes.data, size);
		assert_int_equal(object_decode((struct rpc_slice){cut, size}, sample_arena, &out, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "object, byte "));
		free(cut);
	}
}

/* O5: whatever decodes, encodes to the same bytes. */
static void test_changed_bytes_are_refused_or_canonical(void **state)
{
	struct object object = sample_full(), out;
	struct rpc_slice bytes = sample_encode(&object);
	uint8_t *changed = rpc_arena_copy(sample_arena, bytes.data, bytes.size);
	unsigned refused = 0;

	(void)state;
	for (size_t at = 0; at < bytes.size; at++)
		for (unsigned value = 0; value < 256; value++) {
			struct rpc_slice changed_slice = {changed, bytes.size};

			changed[at] = (uint8_t)value;
			if (object_decode(changed_slice, sample_arena, &out, NULL))
				refused++;
			else
				assert_slice_equal(sample_encode(&out), changed_slice);
			changed[at] = bytes.data[at];
		}
	assert_in_range(refused, 1000, 100000);
}

static void test_a_put_with_context_replaces(void **state)
{
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "old"));
	struct context context = sample_context(&one);
	struct object two = sample_put(&one, &context, sample_sibling(1, 20, "new"));

	(void)state;
	assert_int_equal(two.sibling_count, 1);
	assert_slice_equal(two.siblings[0].value, slice("new"));
	assert_int_equal(version_counter(&two.vector, 1), 20);
}

static void test_a_blind_put_is_concurrent(void **state)
{
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "a"));
	struct object two = sample_put(&one, &sample_blind, sample_sibling(1, 20, "b"));

	(void)state;
	assert_int_equal(two.sibling_count, 2);
}

/* The first value has not reached replica 2 when the client puts the second there, with the context of its first put.
 */
static void test_two_puts_in_a_row_through_two_replicas_leave_one_value(void **state)
{
	struct object first = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "first")), second,
		      synced;
	struct context context;
	struct rpc_slice bytes;

	(void)state;
	assert_int_equal(context_with_dot(&sample_blind, (struct dot){1, 10}, (struct mark){0}, sample_key,
					  sample_arena, &bytes),
			 0);
	assert_int_equal(context_decode(bytes, sample_key, sample_arena, &context, NULL), 0);
	second = sample_put(&sample_nothing, &context, sample_sibling(2, 5, "second"));
	assert_int_equal(second.seen_count, 1);
	synced = sample_merge(&second, &first);
	assert_int_equal(synced.sibling_count, 1);
	assert_slice_equal(synced.siblings[0].value, slice("second"));
	assert_int_equal(synced.seen_count, 0); /* the vector has reached it */
}

static void test_a_context_covers_only_what_the_client_saw(void **state)
{
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "a")), two;
	struct context seen = sample_context(&one);

	(void)state;
	two = sample_put(&one, &sample_blind, sample_sibling(1, 20, "unseen"));
	two = sample_put(&two, &seen, sample_sibling(1, 30, "c"));
	assert_int_equal(two.sibling_count, 2);
	assert_slice_equal(two.siblings[0].value, slice("unseen"));
}

static void test_a_retry_at_the_same_replica_is_a_duplicate(void **state)
{
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "a")), out;
	struct sibling again = sample_sibling(1, 10, "a");
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	again.dot.counter = 11;
	assert_int_equal(object_put(&one, &sample_blind, &again, &(struct object_terms){.now_ms = 1}, sample_arena,
				    &out, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_DUPLICATE);
	assert_int_equal(dot.counter, 10);
	assert_slice_equal(sample_encode(&out), sample_encode(&one));
}

static void test_a_retry_at_another_replica_becomes_one_sibling(void **state)
{
	struct sibling again = sample_sibling(1, 10, "a");
	struct object one = sample_put(&sample_nothing, &sample_blind, again), two, both, superseded;
	struct context seen = sample_context(&one);

	(void)state;
	again.dot = (struct dot){2, 4};
	two = sample_put(&sample_nothing, &sample_blind, again);
	both = sample_merge(&one, &two);
	assert_int_equal(both.sibling_count, 1);
	assert_int_equal(both.siblings[0].alias_count, 1);
	/* Whoever saw it under one dot saw the operation. */
	superseded = sample_put(&both, &seen, sample_sibling(1, 20, "b"));
	assert_int_equal(superseded.sibling_count, 1);
}

static void test_an_operation_id_with_another_value_keeps_both(void **state)
{
	struct sibling other = sample_sibling(1, 10, "other value");
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "a")), two;

	(void)state;
	other.dot.counter = 11;
	two = sample_put(&one, &sample_blind, other);
	assert_int_equal(two.sibling_count, 2);
	assert_slice_equal(sample_encode(&two),
			   sample_encode(&(struct object){two.vector, two.seen, 0, two.siblings, 2}));
	two = sample_decode(sample_encode(&two));
	assert_int_equal(two.sibling_count, 2);
}

/* A dot used twice, as by an actor whose memory went back in time: neither value is lost, wherever they meet. */
static void test_an_equal_dot_of_another_operation_keeps_both(void **state)
{
	struct sibling other = sample_sibling(1, 10, "other value");
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "a")), two, both, again;

	(void)state;
	other.operation_id[15] = 77;
	two = sample_put(&sample_nothing, &sample_blind, other);
	assert_int_not_equal(object_digest(&one), object_digest(&two)); /* or nobody would ever compare them */
	both = sample_merge(&one, &two);
	assert_int_equal(both.clash_count, 1);
	assert_int_equal(both.sibling_count, 2);
	assert_true(version_covers(&both.vector, (struct dot){1, 10}));
	for (uint32_t i = 0; i < 2; i++) {
		assert_true(both.siblings[i].dot.actor != 1);
		assert_true(version_covers(&both.vector, both.siblings[i].dot));
	}
	again = sample_merge(&two, &one);
	assert_slice_equal(sample_encode(&again), sample_encode(&both));
	both = sample_decode(sample_encode(&both));
	again = sample_merge(&both, &one);
	assert_int_equal(again.clash_count, 0);
	assert_slice_equal(sample_encode(&again), sample_encode(&both));
	again = sample_merge(&two, &both);
	assert_slice_equal(sample_encode(&again), sample_encode(&both));
}

static void test_equal_dots_clash_beside_others_and_can_be_resolved(void **state)
{
	struct sibling other = sample_sibling(1, 10, "other value");
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(2, 3, "b")), two, both, resolved;
	struct context seen;

	(void)state;
	other.operation_id[15] = 77;
	one = sample_put(&one, &sample_blind, sample_sibling(1, 10, "a"));
	two = sample_put(&sample_nothing, &sample_blind, other);
	two = sample_put(&two, &sample_blind, sample_sibling(3, 3, "c"));
	both = sample_merge(&one, &two);
	assert_int_equal(both.clash_count, 1);
	assert_int_equal(both.sibling_count, 4);
	both = sample_decode(sample_encode(&both));
	seen = sample_context(&both);
	resolved = sample_put(&both, &seen, sample_sibling(1, 20, "all"));
	assert_int_equal(resolved.sibling_count, 1);
	resolved = sample_merge(&resolved, &two); /* late */
	assert_int_equal(resolved.sibling_count, 1);
}

/* An object with a past is format 2; one without is written as before, and what was stored before is read. */
static void test_formats(void **state)
{
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "x")), two;
	struct context seen = sample_context(&one);

	(void)state;
	two = sample_put(&one, &seen, sample_sibling(1, 11, "y"));
	assert_int_equal(sample_encode(&one).data[0], 1);
	assert_int_equal(sample_encode(&two).data[0], 2);
	assert_int_equal(sample_encode(&two).size, sample_encode(&one).size + 1 + 2 + 8 + 1);
	struct object again = sample_decode(sample_encode(&two));
	assert_int_equal(again.past.count, 1);
	assert_int_equal(mark_compare(again.past.marks[0], two.past.marks[0]), 0);
	/* O6 */
	struct object both = two;
	struct sibling old = one.siblings[0];
	both.siblings = (struct sibling[]){old, two.siblings[0]};
	both.sibling_count = 2;
	struct rpc_slice bytes = sample_encode(&both);
	struct rpc_error error = {""};
	assert_int_equal(object_decode(bytes, sample_arena, &again, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "operation in the past"));
}

/* Others would take such a write for superseded and drop it. */
static void test_a_dot_that_is_not_new_is_refused(void **state)
{
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 10, "a")), out;
	struct version_entry forged_entry = {1, 999, 0};
	struct context forged = {.vector = {&forged_entry, 1}};
	struct sibling old_dot = sample_sibling(1, 9, "b"), new_dot = sample_sibling(1, 11, "b");
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;

	(void)state;
	assert_int_equal(object_put(&one, &sample_blind, &old_dot, &(struct object_terms){.now_ms = 1}, sample_arena,
				    &out, &result, &dot, &truncated),
			 -EEXIST);
	assert_int_equal(object_put(&one, &forged, &new_dot, &(struct object_terms){.now_ms = 1}, sample_arena, &out,
				    &result, &dot, &truncated),
			 -EEXIST);
	assert_int_equal(object_put(&one, &sample_blind, &new_dot, &(struct object_terms){.now_ms = 1}, sample_arena,
				    &out, &result, &dot, &truncated),
			 0);
}

static uint32_t count_live(const struct object *object, uint64_t now_ms)
{
	uint32_t live = 0;

	for (uint32_t i = 0; i < object->sibling_count; i++)
		live += sibling_is_live(&object->siblings[i], now_ms);
	return live;
}

/* O5, of every object that differs from a good one in one byte: what decodes encodes to the same bytes. */
static void test_what_decodes_has_one_form(void **state)
{
	struct object full = sample_full();
	struct rpc_slice bytes = sample_encode(&full);
	uint8_t *changed = rpc_arena_copy(sample_arena, bytes.data, bytes.size);
	uint32_t refused = 0;

	(void)state;
	for (size_t i = 0; i < bytes.size; i++) {
		for (uint32_t value = 0; value < 256; value++) {
			struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
			struct object object;
			struct rpc_slice again;

			changed[i] = (uint8_t)value;
			if (object_decode((struct rpc_slice){changed, bytes.size}, arena, &object, NULL) == 0) {
				assert_int_equal(object_encode(&object, arena, &again), 0);
				assert_slice_equal(again, (struct rpc_slice){changed, bytes.size});
			} else {
				refused++;
			}
			rpc_arena_unref(arena);
		}
		changed[i] = bytes.data[i];
	}
	assert_true(refused > 1000);
}

static void test_tombstones_and_expiry_are_absent(void **state)
{
	struct sibling grave = sample_sibling(1, 1, ""), mortal = sample_sibling(2, 1, "for a while");
	struct object object;

	(void)state;
	assert_int_equal(count_live(&sample_nothing, 0), 0);
	grave.flags = SIBLING_TOMBSTONE;
	mortal.expires_ms = 5000;
	object = sample_put(&sample_nothing, &sample_blind, grave);
	assert_int_equal(count_live(&object, 0), 0);
	assert_int_not_equal(sample_context(&object).vector.count, 0);
	object = sample_put(&object, &sample_blind, mortal);
	assert_int_equal(count_live(&object, 4999), 1);
	assert_int_equal(count_live(&object, 5000), 0);
}

static void test_digest_ignores_times_only(void **state)
{
	struct object object = sample_full(), copy = sample_decode(sample_encode(&object));

	(void)state;
	copy.vector.entries[0].last_ms += 5;
	assert_int_equal(object_digest(&copy), object_digest(&object));
	assert_int_equal(object_tree_hash(sample_key, &copy), object_tree_hash(sample_key, &object));
	assert_int_not_equal(object_tree_hash(slice("engine kez"), &copy), object_tree_hash(sample_key, &object));
	copy.vector.entries[0].counter++;
	assert_int_not_equal(object_digest(&copy), object_digest(&object));
	copy = sample_decode(sample_encode(&object));
	copy.sibling_count--;
	assert_int_not_equal(object_digest(&copy), object_digest(&object));
	copy = sample_decode(sample_encode(&object));
	copy.seen_count = 0;
	assert_int_not_equal(object_digest(&copy), object_digest(&object));
}

static void test_digest_of_many_siblings_sees_each(void **state)
{
	struct object object = sample_nothing;
	uint64_t digest;

	(void)state;
	for (uint64_t i = 1; i <= LIMIT_SIBLINGS; i++)
		object = sample_put(&object, &sample_blind, sample_sibling(1, i * 2, "x"));
	digest = object_digest(&object);
	for (uint32_t i = 0; i < object.sibling_count; i++) {
		object.siblings[i].dot.counter--;
		assert_int_not_equal(object_digest(&object), digest);
		object.siblings[i].dot.counter++;
	}
}

static void test_changed_tells_whether_a_replica_must_write(void **state)
{
	struct object one = sample_put(&sample_nothing, &sample_blind, sample_sibling(1, 1, "a")),
		      two = sample_put(&one, &sample_blind, sample_sibling(2, 1, "b")), out;
	bool changed;

	(void)state;
	assert_int_equal(object_merge(&two, &one, sample_arena, &out, &changed), 0);
	assert_false(changed);
	assert_int_equal(object_merge(&one, &two, sample_arena, &out, &changed), 0);
	assert_true(changed);
	assert_int_equal(object_merge(&sample_nothing, &one, sample_arena, &out, &changed), 0);
	assert_true(changed);
	assert_int_equal(object_merge(&one, &sample_nothing, sample_arena, &out, &changed), 0);
	assert_false(changed);
}

static void test_actor_counter(void **state)
{
	struct object object = sample_full();

	(void)state;
	assert_int_equal(object_actor_counter(&object, 7), 3);
	assert_int_equal(object_actor_counter(&object, 99), 5); /* seen only */
	assert_int_equal(object_actor_counter(&object, 12345), 0);
}

/* Fault test: the n-th allocation fails, for every n. */
static void test_out_of_memory_is_reported(void **state)
{
	struct object object = sample_full(),
		      other = sample_put(&sample_nothing, &sample_blind, sample_sibling(3, 3, "z")), out;
	struct rpc_slice bytes = sample_encode(&object), encoded;
	bool changed, all_fit = false;

	(void)state;
	for (size_t cap = 16; !all_fit; cap += 16) {
		struct arena *small = rpc_arena_create(16, cap);
		int decoded = object_decode(bytes, small, &out, NULL);
		int merged = decoded ? decoded : object_merge(&object, &other, small, &out, &changed);
		int status = merged ? merged : object_encode(&out, small, &encoded);

		assert_true(status == 0 || status == -ENOMEM);
		all_fit = status == 0;
		rpc_arena_unref(small);
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
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_a_dot_that_is_not_new_is_refused),
		cmocka_unit_test(test_what_decodes_has_one_form),
		cmocka_unit_test(test_tombstones_and_expiry_are_absent),
		cmocka_unit_test(test_digest_ignores_times_only),
		cmocka_unit_test(test_digest_of_many_siblings_sees_each),
		cmocka_unit_test(test_changed_tells_whether_a_replica_must_write),
		cmocka_unit_test(test_actor_counter),
		cmocka_unit_test(test_out_of_memory_is_reported),
	};
	return cmocka_run_group_tests(tests, sample_set_up, sample_tear_down);
}
