/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/object/sample.h"

struct arena *sample_arena;
const struct rpc_slice sample_key = {(const uint8_t *)"engine key", 10};
const struct object sample_nothing;
const struct context sample_blind;

int sample_set_up(void **state)
{
	(void)state;
	sample_arena = rpc_arena_create(1 << 16, SIZE_MAX);
	return sample_arena ? 0 : -1;
}

int sample_tear_down(void **state)
{
	(void)state;
	rpc_arena_unref(sample_arena);
	return 0;
}

struct sibling sample_sibling(uint64_t actor, uint64_t counter, const char *value)
{
	struct sibling out = {.dot = {actor, counter}, .written_ms = 1000 + counter, .value = slice(value)};

	operation_id_of((uint32_t)(actor << 16 | counter), out.written_ms, out.operation_id);
	return out;
}

struct object sample_put(const struct object *old, const struct context *context, struct sibling added)
{
	enum object_put_result result;
	struct object out;
	struct dot dot;
	uint32_t truncated;

	assert_int_equal(object_put(old, context, &added, &(struct object_terms){.now_ms = added.written_ms},
				    sample_arena, &out, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	assert_int_equal(truncated, 0);
	return out;
}

struct context sample_context(const struct object *object)
{
	struct context context;
	struct rpc_slice bytes;

	assert_int_equal(object_context(object, sample_key, 0, sample_arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, sample_key, sample_arena, &context, NULL), 0);
	return context;
}

struct object sample_merge(const struct object *a, const struct object *b)
{
	struct object out;
	bool changed;

	assert_int_equal(object_merge(a, b, sample_arena, &out, &changed), 0);
	return out;
}

struct rpc_slice sample_encode(const struct object *object)
{
	struct rpc_slice bytes;

	assert_int_equal(object_encode(object, sample_arena, &bytes), 0);
	assert_int_equal(bytes.size, object_encoded_size(object));
	return bytes;
}

struct object sample_decode(struct rpc_slice bytes)
{
	struct rpc_error error;
	struct object object;

	if (object_decode(bytes, sample_arena, &object, &error))
		fail_msg("%s", error.text);
	return object;
}

/* All that the format has: two siblings, one of them with an alias, a tombstone with an expiry, a seen dot. */
struct object sample_full(void)
{
	struct object left = sample_put(&sample_nothing, &sample_blind, sample_sibling(7, 3, "value")), right, tomb;
	struct sibling again = sample_sibling(7, 3, "value"), grave = sample_sibling(4, 900, "");
	struct dot unseen = {99, 5};
	struct context context = {.dots = &unseen, .dot_count = 1};

	again.dot = (struct dot){9, 70000};
	right = sample_put(&sample_nothing, &sample_blind, again);
	grave.flags = SIBLING_TOMBSTONE;
	grave.expires_ms = 1700000000000;
	tomb = sample_put(&sample_nothing, &context, grave);
	left = sample_merge(&left, &right);
	return sample_merge(&left, &tomb);
}

struct object sample_try_put(const struct object *old, const struct context *context, struct sibling added,
			     struct object_terms terms, enum object_put_result *result_out)
{
	struct object out;
	struct dot dot;
	uint32_t truncated;

	assert_int_equal(object_put(old, context, &added, &terms, sample_arena, &out, result_out, &dot, &truncated), 0);
	if (*result_out != OBJECT_PUT_ADDED) {
		if (!terms.repeated) /* else it may say that the operation was repeated */
			assert_slice_equal(sample_encode(&out), sample_encode(old));
		assert_int_equal(object_digest(&out), object_digest(old));
		assert_int_equal(truncated, 0);
	}
	return out;
}

struct sibling sample_tombstone(uint64_t actor, uint64_t counter)
{
	struct sibling out = sample_sibling(actor, counter, "");

	out.flags = SIBLING_TOMBSTONE;
	return out;
}
