/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope decoders against protobuf-c: what they accept, it accepts too, with the same fields; and what they
 * accept survives encoding and decoding again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "rpc/rpc.h"
#include "proto/kv.pb-c.h"

static void expect(bool condition)
{
	if (!condition)
		abort();
}

static void expect_slice(struct rpc_slice ours, const void *data, size_t size)
{
	expect(ours.size == size);
	expect(size == 0 || memcmp(ours.data, data, size) == 0);
}

/* protobuf-c hands strings out with a zero behind; one inside cuts them short for strlen. */
static void expect_text(struct rpc_slice ours, const char *theirs)
{
	size_t size = strlen(theirs);
	expect(ours.size >= size && (size == 0 || memcmp(ours.data, theirs, size) == 0));
	expect(ours.size == size || ours.data[size] == '\0');
}

static void check_request(struct rpc_slice bytes)
{
	struct rpc_request request, again;
	struct rpc_error error = {""};
	if (rpc_request_decode(bytes, &request, &error) < 0) {
		expect(error.text[0] != '\0');
		return;
	}
	Kvring__V1__Request *theirs = kvring__v1__request__unpack(NULL, bytes.size, bytes.data);
	expect(theirs != NULL);
	expect(theirs->protocol_version == request.protocol_version && theirs->deadline_ms == request.deadline_ms);
	expect(theirs->ring_epoch == request.ring_epoch && theirs->trace_id == request.trace_id);
	expect_text(request.method, theirs->method);
	expect_slice(request.body, theirs->body.data, theirs->body.len);
	struct rpc_slice id = {request.operation_id, request.has_operation_id ? RPC_OPERATION_ID_SIZE : 0};
	expect_slice(id, theirs->operation_id.data, theirs->operation_id.len);
	kvring__v1__request__free_unpacked(theirs, NULL);

	struct rpc_message *message;
	expect(rpc_request_encode(&request, NULL, &message) == 0);
	expect(rpc_request_decode(rpc_message_bytes(message), &again, NULL) == 0);
	expect(again.ring_epoch == request.ring_epoch && again.deadline_ms == request.deadline_ms);
	expect_slice(again.method, request.method.data, request.method.size);
	rpc_message_free(message);
}

static void check_response(struct rpc_slice bytes)
{
	struct rpc_response response, again;
	struct rpc_error error = {""};
	if (rpc_response_decode(bytes, &response, &error) < 0) {
		expect(error.text[0] != '\0');
		return;
	}
	Kvring__V1__Response *theirs = kvring__v1__response__unpack(NULL, bytes.size, bytes.data);
	expect(theirs != NULL);
	expect(theirs->protocol_version == response.protocol_version && (uint32_t)theirs->code == response.code);
	expect(theirs->ring_epoch == response.ring_epoch);
	expect_text(response.message, theirs->message);
	expect_slice(response.body, theirs->body.data, theirs->body.len);
	kvring__v1__response__free_unpacked(theirs, NULL);

	struct rpc_message *message;
	expect(rpc_response_encode(&response, NULL, &message) == 0);
	expect(rpc_response_decode(rpc_message_bytes(message), &again, NULL) == 0);
	expect(again.code == response.code && again.ring_epoch == response.ring_epoch);
	expect_slice(again.message, response.message.data, response.message.size);
	rpc_message_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc_slice bytes = {size == 0 ? (const uint8_t *)"" : data, size}; /* libFuzzer passes NULL */
	check_request(bytes);
	check_response(bytes);
	return 0;
}
