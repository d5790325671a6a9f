/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of every message that travels: the first byte chooses which. What decodes is well formed and took no more
 * memory than promised; what does not has a text. */
#include <stdint.h>
#include <stdlib.h>
#include "rpc/rpc.h"
#include "proto/kv.pb-c.h"
#include "proto/peer.pb-c.h"
#include "proto/event.pb-c.h"

static const ProtobufCMessageDescriptor *const types[] = {
	&kvring__v1__put_request__descriptor,       &kvring__v1__put_response__descriptor,
	&kvring__v1__get_request__descriptor,       &kvring__v1__get_response__descriptor,
	&kvring__v1__batch_put_request__descriptor, &kvring__v1__batch_put_response__descriptor,
	&kvring__v1__batch_get_request__descriptor, &kvring__v1__batch_get_response__descriptor,
	&kvring__v1__init_request__descriptor,      &kvring__v1__status_response__descriptor,
	&kvring__v1__ring_response__descriptor,     &kvring__v1__store_request__descriptor,
	&kvring__v1__store_response__descriptor,    &kvring__v1__fetch_request__descriptor,
	&kvring__v1__fetch_response__descriptor,    &kvring__v1__forward_request__descriptor,
	&kvring__v1__forward_response__descriptor,  &kvring__v1__gossip_request__descriptor,
	&kvring__v1__gossip_response__descriptor,   &kvring__v1__event__descriptor,
};

/* The promise of rpc/body.c. */
static size_t memory_max(size_t body_size)
{
	return 512 * 1024 + 32 * body_size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const ProtobufCMessageDescriptor *type = types[data[0] % (sizeof types / sizeof types[0])];
	struct rpc_slice body = {data + 1, size - 1};
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_error error = {""};
	ProtobufCMessage *message = rpc_body_decode(type, body, arena, &error);
	if (message == NULL ? error.text[0] == '\0' : !protobuf_c_message_check(message))
		abort();
	if (rpc_arena_used(arena) > memory_max(body.size))
		abort();
	if (message != NULL) {
		size_t packed_size = protobuf_c_message_get_packed_size(message);
		uint8_t *packed = malloc(packed_size + 1);
		if (packed == NULL || protobuf_c_message_pack(message, packed) != packed_size)
			abort();
		free(packed);
	}
	rpc_arena_unref(arena);
	return 0;
}
