/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts as clients send them. With the first byte set the checksum (the last four bytes) is made to match, so that
 * what lies behind it is reached. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "node/object/version.h"

static const struct rpc_slice key = {(const uint8_t *)"engine key", 10};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_decoded(const struct context *context, struct rpc_slice bytes, struct arena *arena)
{
	struct context with;
	struct rpc_slice again;

	check(context_encode(context, key, arena, &again) == 0);
	check(again.size == bytes.size && (bytes.size == 0 || memcmp(again.data, bytes.data, bytes.size) == 0));
	check(context_with_dot(context, (struct dot){3, UINT64_MAX}, (struct mark){0}, key, arena, &again) == 0);
	check(context_decode(again, key, arena, &with, NULL) == 0);
	check(context_covers(&with, (struct dot){3, UINT64_MAX}));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena;
	struct rpc_error error = {""};
	struct context context;
	struct rpc_slice bytes;
	int status;

	if (size == 0)
		return 0;
	arena = rpc_arena_create(4096, SIZE_MAX);
	bytes = (struct rpc_slice){data + 1, size - 1};
	if (data[0] && bytes.size > 4) {
		uint8_t *sealed = rpc_arena_copy(arena, bytes.data, bytes.size);
		uint32_t sum = (uint32_t)XXH3_64bits_withSeed(sealed, bytes.size - 4, XXH3_64bits(key.data, key.size));

		memcpy(sealed + bytes.size - 4, &sum, sizeof sum);
		bytes.data = sealed;
	}
	status = context_decode(bytes, key, arena, &context, &error);
	check(status == 0 || (status == -EBADMSG && error.text[0]));
	if (status == 0)
		check_decoded(&context, bytes, arena);
	rpc_arena_unref(arena);
	return 0;
}
