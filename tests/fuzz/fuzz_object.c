/* SPDX-License-Identifier: Apache-2.0 */
/* Objects as they lie on disk and come from peers: the first byte says where the second one begins. What decodes
 * encodes to the same bytes, and merges with anything into something that decodes. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/object.h"

static const struct rpc_slice key = {(const uint8_t *)"engine key", 10};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static bool decode(struct rpc_slice bytes, struct arena *arena, struct object *out)
{
	struct rpc_error error = {""};
	int status = object_decode(bytes, arena, out, &error);

	check(status == 0 || (status == -EBADMSG && error.text[0]));
	return status == 0;
}

static struct rpc_slice encode(const struct object *object, struct arena *arena)
{
	struct rpc_slice bytes;

	check(object_encode(object, arena, &bytes) == 0);
	return bytes;
}

static bool same(struct rpc_slice a, struct rpc_slice b)
{
	return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static void check_alone(const struct object *object, struct rpc_slice bytes, struct arena *arena)
{
	struct sibling sibling = {.dot = {1, UINT64_MAX}};
	struct context context;
	struct rpc_slice encoded;
	struct object out;
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;
	bool changed;
	int status;

	check(same(encode(object, arena), bytes));
	check(object_merge(object, object, arena, &out, &changed) == 0 && !changed);
	check(same(encode(&out, arena), bytes));
	check(object_context(object, key, 0, arena, &encoded) == 0);
	check(context_decode(encoded, key, arena, &context, NULL) == 0);
	status = object_put(object, &context, &sibling, &(struct object_terms){.now_ms = 5}, arena, &out, &result, &dot,
			    &truncated);
	check(status == 0 || status == -EEXIST);
	if (status == 0)
		check(decode(encode(&out, arena), arena, &out));
}

static void check_together(const struct object *a, const struct object *b, struct arena *arena)
{
	struct object merged, decoded, again;
	struct rpc_slice bytes;
	bool changed;
	int status;

	check(object_merge(a, b, arena, &merged, &changed) == 0);
	status = object_encode(&merged, arena, &bytes);
	check(status == 0 || status == -E2BIG); /* more siblings than an object may have */
	if (status)
		return;
	check(decode(bytes, arena, &decoded));
	check(object_merge(&decoded, &merged, arena, &again, &changed) == 0 && !changed);
	check(same(encode(&again, arena), bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct object a, b;
	size_t first;
	bool has_a, has_b;

	if (size > 0) {
		first = data[0] < size - 1 ? data[0] : size - 1;
		has_a = decode((struct rpc_slice){data + 1, first}, arena, &a);
		has_b = decode((struct rpc_slice){data + 1 + first, size - 1 - first}, arena, &b);
		if (has_a)
			check_alone(&a, (struct rpc_slice){data + 1, first}, arena);
		if (has_a && has_b)
			check_together(&a, &b, arena);
	}
	rpc_arena_unref(arena);
	return 0;
}
