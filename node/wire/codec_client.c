/* SPDX-License-Identifier: Apache-2.0 */
/* Clients. Whether an operation makes sense (sizes, quorum, context) is the coordinator's to say, per operation; here
 * only what cannot be represented is refused, and with it the call. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include "node/wire/codec.h"
#include "node/wire/codec_client.h"
#include "proto/kv.pb-c.h"
#include "node/object/limit.h"
#include "rpc/operation_id.h"

/* A claim of more counts as so many: coordinators count on from it, and it must not come round to a first attempt. */
enum { ATTEMPT_MAX = INT32_MAX };

static int refuse(struct rpc_error *error_out, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int refuse(struct rpc_error *error_out, int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error_out->text, sizeof error_out->text, format, arguments);
	va_end(arguments);
	return error;
}

static struct rpc_slice slice(ProtobufCBinaryData bytes)
{
	return (struct rpc_slice){bytes.data, bytes.len};
}

static ProtobufCBinaryData bytes_of(struct rpc_slice from)
{
	return (ProtobufCBinaryData){.len = from.size, .data = (uint8_t *)from.data};
}

/* ---- requests ----------------------------------------------------------------------------------------------- */

struct decoder {
	const struct rpc_request *request;
	uint8_t base_id[RPC_OPERATION_ID_SIZE];
	struct arena *arena;
	struct rpc_error *error_out;
	struct client_request *out;
};

/* A retried batch carries the same id in its envelope, so each of its operations gets the same id again. An envelope's id
 * without a time gives ids without one, which the coordinator refuses. */
static void derive_id(const struct decoder *decoder, uint32_t index, uint8_t id_out[RPC_OPERATION_ID_SIZE])
{
	uint64_t time_ms;
	if (!rpc_operation_id_time(decoder->base_id, &time_ms)) {
		memcpy(id_out, decoder->base_id, RPC_OPERATION_ID_SIZE);
		return;
	}
	XXH128_hash_t hash = XXH3_128bits_withSeed(decoder->base_id, RPC_OPERATION_ID_SIZE, index);
	uint8_t bytes[sizeof hash];
	memcpy(bytes, &hash, sizeof hash);
	rpc_operation_id_make(time_ms, bytes, id_out);
}

/* Which attempt of its id an operation is; what the client does not count is taken for a later one. */
static uint32_t attempt_of(const struct decoder *decoder, const Kvring__V1__PutRequest *put)
{
	const struct rpc_request *request = decoder->request;
	bool own_id = put->operation_id.len != 0;
	if (!own_id && !request->has_operation_id)
		return 1; /* the id is made here */
	if (request->attempt == 0 || (own_id && put->attempt == 0))
		return 2;
	uint64_t attempt = own_id ? (uint64_t)put->attempt + request->attempt - 1 : request->attempt;
	assert(attempt > 0);
	return attempt < ATTEMPT_MAX ? (uint32_t)attempt : ATTEMPT_MAX;
}

static int decode_put(const struct decoder *decoder, const Kvring__V1__PutRequest *put, bool batch, uint32_t index)
{
	struct client_operation *operation = &decoder->out->operations[index];
	*operation = (struct client_operation){
		.kind = OPERATION_PUT,
		.bucket = slice(put->bucket),
		.key = slice(put->key),
		.value = slice(put->value),
		.context = slice(put->context),
		.quorum = put->w,
		.level = (uint32_t)put->level,
		.tombstone = put->tombstone || decoder->out->method == METHOD_DELETE,
		.expires_ms = put->expires_ms,
		.attempt = attempt_of(decoder, put),
	};
	if (put->operation_id.len == RPC_OPERATION_ID_SIZE)
		memcpy(operation->operation_id, put->operation_id.data, RPC_OPERATION_ID_SIZE);
	else if (put->operation_id.len != 0)
		return refuse(decoder->error_out, -EINVAL, "operation %u: its id has %zu bytes, it must have %d", index,
			      put->operation_id.len, RPC_OPERATION_ID_SIZE);
	else if (batch)
		derive_id(decoder, index, operation->operation_id);
	else
		memcpy(operation->operation_id, decoder->base_id, RPC_OPERATION_ID_SIZE);
	return 0;
}

static void decode_get(const struct decoder *decoder, const Kvring__V1__GetRequest *get, uint32_t index)
{
	decoder->out->operations[index] = (struct client_operation){
		.kind = OPERATION_GET,
		.bucket = slice(get->bucket),
		.key = slice(get->key),
		.quorum = get->r,
		.level = (uint32_t)get->level,
	};
}

static int reserve(const struct decoder *decoder, size_t count)
{
	if (count > LIMIT_BATCH_OPERATIONS)
		return refuse(decoder->error_out, -EINVAL,
			      "the batch has %zu operations, the limit is %d: send it in parts", count,
			      LIMIT_BATCH_OPERATIONS);
	struct client_request *out = decoder->out;
	assert(out->operations == NULL); /* once */
	out->count = (uint32_t)count;
	out->operations = rpc_arena_alloc(decoder->arena, count * sizeof *out->operations);
	out->results = rpc_arena_zalloc(decoder->arena, count * sizeof *out->results);
	return out->operations != NULL && out->results != NULL ? 0 : -ENOMEM;
}

static void *body(const struct decoder *decoder, const ProtobufCMessageDescriptor *descriptor)
{
	return rpc_body_decode(descriptor, decoder->request->body, decoder->arena, decoder->error_out);
}

static int decode_one_put(const struct decoder *decoder)
{
	Kvring__V1__PutRequest *put = body(decoder, &kvring__v1__put_request__descriptor);
	if (put == NULL)
		return -EBADMSG;
	int error = reserve(decoder, 1);
	return error < 0 ? error : decode_put(decoder, put, false, 0);
}

static int decode_one_get(const struct decoder *decoder)
{
	Kvring__V1__GetRequest *get = body(decoder, &kvring__v1__get_request__descriptor);
	if (get == NULL)
		return -EBADMSG;
	int error = reserve(decoder, 1);
	if (error == 0)
		decode_get(decoder, get, 0);
	return error;
}

static int decode_puts(const struct decoder *decoder)
{
	Kvring__V1__BatchPutRequest *batch = body(decoder, &kvring__v1__batch_put_request__descriptor);
	if (batch == NULL)
		return -EBADMSG;
	int error = reserve(decoder, batch->n_puts);
	for (uint32_t i = 0; error == 0 && i < batch->n_puts; i++)
		error = decode_put(decoder, batch->puts[i], true, i);
	return error;
}

static int decode_gets(const struct decoder *decoder)
{
	Kvring__V1__BatchGetRequest *batch = body(decoder, &kvring__v1__batch_get_request__descriptor);
	if (batch == NULL)
		return -EBADMSG;
	int error = reserve(decoder, batch->n_gets);
	for (uint32_t i = 0; error == 0 && i < batch->n_gets; i++)
		decode_get(decoder, batch->gets[i], i);
	return error;
}

int codec_client_decode(enum method method, const struct rpc_request *request,
			const uint8_t fallback_id[RPC_OPERATION_ID_SIZE], struct arena *arena, struct message **out,
			struct rpc_error *error_out)
{
	struct message *message = message_create(arena, MESSAGE_CLIENT);
	struct decoder decoder = {.request = request, .arena = arena, .error_out = error_out};
	error_out->text[0] = 0;
	if (message == NULL)
		return -ENOMEM;
	if (request->body.size > LIMIT_BATCH_SIZE) {
		message_free(message);
		return refuse(error_out, -EMSGSIZE, "the request has %zu bytes, the limit is %d: send it in parts",
			      request->body.size, LIMIT_BATCH_SIZE);
	}
	memcpy(decoder.base_id, request->has_operation_id ? request->operation_id : fallback_id, RPC_OPERATION_ID_SIZE);
	assert(method >= METHOD_PUT && method <= METHOD_BATCH_GET);
	decoder.out = message->client.request = rpc_arena_zalloc(arena, sizeof *decoder.out);
	int error = decoder.out != NULL ? 0 : -ENOMEM;
	if (error == 0) {
		decoder.out->method = (uint32_t)method;
		error = method == METHOD_BATCH_PUT   ? decode_puts(&decoder)
			: method == METHOD_BATCH_GET ? decode_gets(&decoder)
			: method == METHOD_GET       ? decode_one_get(&decoder)
						     : decode_one_put(&decoder);
	}
	if (error < 0) {
		message_free(message);
		return error;
	}
	*out = message;
	return 0;
}

enum {
	ANSWER_SLACK = 64 * 1024, /* bytes: the envelope, and what the estimate of a result leaves out */
	REFUSAL_SIZE = 128,       /* bytes of a result without values, beside its context */
};

/* ---- responses ---------------------------------------------------------------------------------------------- */

static char *text_of(const char *text)
{
	return (char *)(text != NULL ? text : protobuf_c_empty_string);
}

/* Whatever happened to an operation, its coordinator said so before the answer is encoded. */
static void check_result(const struct client_result *result)
{
	assert(result->outcome >= OUTCOME_DONE && result->outcome <= OUTCOME_REFUSED);
	assert(result->outcome != OUTCOME_DONE || result->code == KVRING__V1__CODE__OK);
	assert(result->sibling_count <= LIMIT_SIBLINGS);
}

void codec_put_response(const struct client_result *result, Kvring__V1__PutResponse *out)
{
	check_result(result);
	kvring__v1__put_response__init(out);
	out->outcome = (Kvring__V1__Outcome)result->outcome;
	out->code = (Kvring__V1__Code)result->code;
	out->message = text_of(result->message);
	out->acks_owners = result->acks_owners;
	out->acks_fallbacks = result->acks_fallbacks;
	out->synced = result->synced;
	out->needed = result->needed;
	out->context = bytes_of(result->context);
}

static int get_response(const struct client_result *result, struct arena *scratch, Kvring__V1__GetResponse *out)
{
	check_result(result);
	kvring__v1__get_response__init(out);
	out->outcome = (Kvring__V1__Outcome)result->outcome;
	out->code = (Kvring__V1__Code)result->code;
	out->message = text_of(result->message);
	out->replies = result->acks_owners;
	out->needed = result->needed;
	out->context = bytes_of(result->context);
	if (result->sibling_count == 0)
		return 0;
	Kvring__V1__Sibling *siblings = rpc_arena_alloc(scratch, result->sibling_count * sizeof *siblings);
	out->siblings = rpc_arena_alloc(scratch, result->sibling_count * sizeof *out->siblings);
	if (siblings == NULL || out->siblings == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < result->sibling_count; i++) {
		kvring__v1__sibling__init(&siblings[i]);
		siblings[i].value = bytes_of(result->siblings[i].value);
		siblings[i].written_ms = result->siblings[i].written_ms;
		out->siblings[i] = &siblings[i];
	}
	assert(result->outcome == OUTCOME_DONE);
	out->n_siblings = result->sibling_count;
	return 0;
}

/* What a result adds to the answer, about. */
static size_t result_size(const struct client_result *result)
{
	size_t size = 64 + result->context.size;
	for (uint32_t i = 0; i < result->sibling_count; i++)
		size += result->siblings[i].value.size + 32;
	return size;
}

/* Values that do not fit the answer any more: the operation is refused, so that the client can ask for it again, alone.
 * The context stays: who does not need the values can still replace them. */
static int too_large(const struct client_result *result, size_t size, struct arena *scratch,
		     Kvring__V1__GetResponse *out)
{
	struct client_result refused = *result;
	refused.outcome = OUTCOME_REFUSED;
	refused.code = KVRING__V1__CODE__RESOURCE_EXHAUSTED;
	refused.message = rpc_arena_printf(
		scratch, "the answer has no room for %zu more bytes, its limit is %d: ask for fewer keys at once", size,
		RPC_CLIENT_MESSAGE_MAX);
	refused.sibling_count = 0;
	return get_response(&refused, scratch, out);
}

static int encode_puts(const struct client_request *request, const struct rpc_response *head, struct arena *scratch,
		       struct rpc_message **out)
{
	Kvring__V1__PutResponse *responses = rpc_arena_alloc(scratch, (request->count + 1) * sizeof *responses);
	Kvring__V1__PutResponse **list = rpc_arena_alloc(scratch, (request->count + 1) * sizeof *list);
	if (responses == NULL || list == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < request->count; i++) {
		codec_put_response(&request->results[i], &responses[i]);
		list[i] = &responses[i];
	}
	assert(request->count == 1 || request->method == METHOD_BATCH_PUT);
	if (request->method != METHOD_BATCH_PUT)
		return rpc_response_encode(head, &responses[0].base, out);
	Kvring__V1__BatchPutResponse batch = KVRING__V1__BATCH_PUT_RESPONSE__INIT;
	batch.n_results = request->count;
	batch.results = list;
	return rpc_response_encode(head, &batch.base, out);
}

static int encode_gets(const struct client_request *request, const struct rpc_response *head, struct arena *scratch,
		       struct rpc_message **out)
{
	Kvring__V1__GetResponse *responses = rpc_arena_alloc(scratch, (request->count + 1) * sizeof *responses);
	Kvring__V1__GetResponse **list = rpc_arena_alloc(scratch, (request->count + 1) * sizeof *list);
	int error = responses != NULL && list != NULL ? 0 : -ENOMEM;
	assert(request->count <= LIMIT_BATCH_OPERATIONS);
	assert(request->count == 1 || request->method == METHOD_BATCH_GET);
	size_t room = RPC_CLIENT_MESSAGE_MAX - ANSWER_SLACK - (size_t)request->count * REFUSAL_SIZE;
	assert(room < RPC_CLIENT_MESSAGE_MAX);
	for (uint32_t i = 0; error == 0 && i < request->count; i++) {
		size_t size = result_size(&request->results[i]);
		if (size <= room)
			error = get_response(&request->results[i], scratch, &responses[i]);
		else
			error = too_large(&request->results[i], size, scratch, &responses[i]);
		room -= size <= room ? size : 0;
		list[i] = &responses[i];
	}
	if (error < 0)
		return error;
	if (request->method != METHOD_BATCH_GET)
		return rpc_response_encode(head, &responses[0].base, out);
	Kvring__V1__BatchGetResponse batch = KVRING__V1__BATCH_GET_RESPONSE__INIT;
	batch.n_results = request->count;
	batch.results = list;
	return rpc_response_encode(head, &batch.base, out);
}

int codec_client_encode(const struct message *done, uint64_t ring_epoch, struct arena *scratch,
			struct rpc_message **out)
{
	const struct client_request *request = done->client.request;
	assert(done->type == MESSAGE_CLIENT_DONE);
	assert(request->remaining == 0);
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION, .ring_epoch = ring_epoch};
	if (request->refusal_code != KVRING__V1__CODE__OK) {
		head.code = request->refusal_code;
		head.message = (struct rpc_slice){(const uint8_t *)request->refusal, strlen(request->refusal)};
		return rpc_response_encode(&head, NULL, out);
	}
	if (request->method == METHOD_GET || request->method == METHOD_BATCH_GET)
		return encode_gets(request, &head, scratch, out);
	return encode_puts(request, &head, scratch, out);
}
