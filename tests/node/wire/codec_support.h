/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the codecs of Kv and Peer share: an arena for each group of tests, and an answer as it arrives. */
#ifndef KVRING_TESTS_NODE_WIRE_CODEC_SUPPORT_H
#define KVRING_TESTS_NODE_WIRE_CODEC_SUPPORT_H

#include "tests/node/support.h"
#include "node/wire/codec.h"

static struct arena *arena;
static struct rpc_error error;

static inline int set_up(void **state)
{
	(void)state;
	arena = rpc_arena_create(1 << 16, SIZE_MAX);
	return arena ? 0 : -1;
}

static inline int tear_down(void **state)
{
	(void)state;
	rpc_arena_unref(arena);
	return 0;
}

/* Consumes the message. */
static inline struct rpc_response answered(struct rpc_message *message)
{
	struct rpc_slice bytes = rpc_message_bytes(message);
	struct rpc_response out;

	bytes.data = rpc_arena_copy(arena, bytes.data, bytes.size);
	rpc_message_free(message);
	assert_int_equal(rpc_response_decode(bytes, &out, &error), 0);
	return out;
}

#endif
