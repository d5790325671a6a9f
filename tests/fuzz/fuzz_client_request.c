/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of Kv requests: the first byte says of which method. What decodes is within the limits and can be answered. */
#include <stdint.h>
#include <stdlib.h>
#include "node/wire/codec.h"
#include "node/object/limit.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_decoded(struct message *message, struct arena *arena)
{
	const struct client_request *request = message->client.request;
	struct rpc_message *response;

	check(request->count <= LIMIT_BATCH_OPERATIONS);
	message->type = MESSAGE_CLIENT_DONE;
	for (uint32_t i = 0; i < request->count; i++)
		request->results[i].outcome = OUTCOME_REFUSED;
	check(codec_client_encode(message, 1, arena, &response) == 0);
	rpc_message_free(response);
	message_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t fallback_id[RPC_OPERATION_ID_SIZE] = {1};
	struct rpc_request request = {.protocol_version = 1};
	struct rpc_error error = {""};
	struct message *message;
	struct arena *arena;
	enum method method;

	if (size == 0)
		return 0;
	method = METHOD_PUT + data[0] % (METHOD_BATCH_GET - METHOD_PUT + 1);
	request.body = (struct rpc_slice){data + 1, size - 1};
	arena = rpc_arena_create(4096, SIZE_MAX);
	if (codec_client_decode(method, &request, fallback_id, arena, &message, &error) == 0)
		check_decoded(message, arena);
	else
		check(error.text[0] != 0);
	rpc_arena_unref(arena);
	return 0;
}
