/* SPDX-License-Identifier: Apache-2.0 */
#include "node/wire/answer.h"

#include <string.h>

int answer_refusal(uint32_t code, const char *text, uint64_t ring_epoch, struct rpc_message **out)
{
	const char *said = text != NULL ? text : "out of memory";
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION,
				    .code = code,
				    .message = {(const uint8_t *)said, strlen(said)},
				    .ring_epoch = ring_epoch};

	return rpc_response_encode(&head, NULL, out);
}

int answer_body(const ProtobufCMessage *body, uint64_t ring_epoch, struct rpc_message **out)
{
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION, .ring_epoch = ring_epoch};

	return rpc_response_encode(&head, body, out);
}
