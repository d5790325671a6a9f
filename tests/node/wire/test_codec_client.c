/* SPDX-License-Identifier: Apache-2.0 */
/* Kv: requests of clients decode to operations, their results encode, what does not fit is refused with a text. */
#include "tests/node/wire/codec_support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/object/limit.h"
#include "proto/kv.pb-c.h"

static const uint8_t fallback[RPC_OPERATION_ID_SIZE] = {9, 9, 9};

static ProtobufCBinaryData bytes_of(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
}

/* A request as it arrives; the bytes stay in the arena. */
static struct rpc_request arriving(enum method method, const uint8_t *operation_id, const ProtobufCMessage *body)
{
	struct rpc_request head = {.protocol_version = 1, .method = slice(codec_method_name(method)), .ring_epoch = 4},
			   out;
	struct rpc_message *message;
	struct rpc_slice bytes;

	if (operation_id != NULL) {
		head.has_operation_id = true;
		memcpy(head.operation_id, operation_id, RPC_OPERATION_ID_SIZE);
	}
	assert_int_equal(rpc_request_encode(&head, body, &message), 0);
	bytes = rpc_message_bytes(message);
	bytes.data = rpc_arena_copy(arena, bytes.data, bytes.size);
	rpc_message_free(message);
	assert_int_equal(rpc_request_decode(bytes, &out, &error), 0);
	return out;
}

/* ---- methods ------------------------------------------------------------------------------------------------ */

static void test_methods_have_the_names_of_the_schema(void **state)
{
	(void)state;
	for (enum method method = METHOD_PUT; method <= METHOD_VOTE; method++)
		assert_int_equal(codec_method(slice(codec_method_name(method))), method);
	assert_int_equal(codec_method(slice("kvring.v1.Kv/Put")), METHOD_PUT);
	assert_int_equal(codec_method(slice("kvring.v1.Kv/Puts")), METHOD_UNKNOWN);
	assert_int_equal(codec_method(slice("")), METHOD_UNKNOWN);
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

static struct client_request *decode_client(enum method method, const uint8_t *id, const ProtobufCMessage *body)
{
	struct rpc_request request = arriving(method, id, body);
	struct message *message;

	if (codec_client_decode(method, &request, fallback, arena, &message, &error))
		fail_msg("%s", error.text);
	assert_int_equal(message->type, MESSAGE_CLIENT);
	return message->client.request; /* the message goes with the arena */
}

static void test_put_decodes(void **state)
{
	Kvring__V1__PutRequest put = KVRING__V1__PUT_REQUEST__INIT;
	uint8_t id[RPC_OPERATION_ID_SIZE] = {1, 2, 3};
	struct client_request *request;

	(void)state;
	put.bucket = bytes_of("bucket");
	put.key = bytes_of("key");
	put.value = bytes_of("value");
	put.context = bytes_of("context");
	put.w = 3;
	put.level = KVRING__V1__LEVEL__LEVEL_LOCAL_QUORUM;
	put.expires_ms = 77;
	request = decode_client(METHOD_PUT, id, &put.base);
	assert_int_equal(request->count, 1);
	assert_int_equal(request->operations[0].kind, OPERATION_PUT);
	assert_slice_equal(request->operations[0].bucket, slice("bucket"));
	assert_slice_equal(request->operations[0].key, slice("key"));
	assert_slice_equal(request->operations[0].value, slice("value"));
	assert_slice_equal(request->operations[0].context, slice("context"));
	assert_int_equal(request->operations[0].quorum, 3);
	assert_int_equal(request->operations[0].level, LEVEL_LOCAL_QUORUM);
	assert_int_equal(request->operations[0].expires_ms, 77);
	assert_false(request->operations[0].tombstone);
	assert_memory_equal(request->operations[0].operation_id, id, sizeof id);
	request = decode_client(METHOD_DELETE, NULL, &put.base);
	assert_true(request->operations[0].tombstone);
	assert_memory_equal(request->operations[0].operation_id, fallback, sizeof fallback);
}

/* A retried batch has the same ids; two operations never share one. */
static void test_batch_ids_come_from_the_envelope_and_the_index(void **state)
{
	Kvring__V1__PutRequest puts[3], *list[3] = {&puts[0], &puts[1], &puts[2]};
	Kvring__V1__BatchPutRequest batch = KVRING__V1__BATCH_PUT_REQUEST__INIT;
	uint8_t id[RPC_OPERATION_ID_SIZE], own[RPC_OPERATION_ID_SIZE];
	struct client_request *first, *again, *other;

	(void)state;
	operation_id_of(5, 1000, id);
	operation_id_of(7, 1000, own);
	for (int i = 0; i < 3; i++) {
		kvring__v1__put_request__init(&puts[i]);
		puts[i].key = bytes_of("k");
	}
	puts[2].operation_id = (ProtobufCBinaryData){sizeof own, own};
	batch.puts = list;
	batch.n_puts = 3;
	first = decode_client(METHOD_BATCH_PUT, id, &batch.base);
	again = decode_client(METHOD_BATCH_PUT, id, &batch.base);
	id[15]++;
	other = decode_client(METHOD_BATCH_PUT, id, &batch.base);
	for (int i = 0; i < 3; i++)
		assert_memory_equal(first->operations[i].operation_id, again->operations[i].operation_id, sizeof id);
	assert_memory_not_equal(first->operations[0].operation_id, first->operations[1].operation_id, sizeof id);
	assert_memory_not_equal(first->operations[0].operation_id, other->operations[0].operation_id, sizeof id);
	assert_memory_equal(first->operations[2].operation_id, own, sizeof own);
	for (int i = 0; i < 3; i++) {
		uint64_t time_ms;
		assert_true(rpc_operation_id_time(first->operations[i].operation_id, &time_ms));
		assert_int_equal(time_ms, 1000);
	}
}

/* Which attempt of its id an operation is, by what the envelope and the operation say. However a client counts, a later one
 * never becomes a first one: that would let it take effect a second time. */
static void test_attempts_are_counted_on(void **state)
{
	static const struct {
		bool envelope_id, own_id;
		uint32_t envelope, own, expected;
	} cases[] = {
		{false, false, 0, 0, 1}, /* the id is made here */
		{true, false, 1, 0, 1},
		{true, false, 3, 9, 3}, /* the operation has no id to count attempts of */
		{true, false, 0, 0, 2}, /* not counted: not the first, as far as is known */
		{true, true, 1, 1, 1},
		{true, true, 3, 2, 4},
		{true, true, 3, 0, 2},
		{true, true, 0, 3, 2},
		{true, false, UINT32_MAX, 0, INT32_MAX},
		{true, true, 3, UINT32_MAX, INT32_MAX}, /* and not 1 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		Kvring__V1__PutRequest put = KVRING__V1__PUT_REQUEST__INIT;
		uint8_t id[RPC_OPERATION_ID_SIZE] = {1, 2, 3};
		struct message *message;

		put.key = bytes_of("key");
		put.attempt = cases[i].own;
		if (cases[i].own_id)
			put.operation_id = (ProtobufCBinaryData){RPC_OPERATION_ID_SIZE, id};
		struct rpc_request request = arriving(METHOD_PUT, cases[i].envelope_id ? id : NULL, &put.base);
		request.attempt = cases[i].envelope;
		assert_int_equal(codec_client_decode(METHOD_PUT, &request, fallback, arena, &message, &error), 0);
		assert_int_equal(message->client.request->operations[0].attempt, cases[i].expected);
	}
}

static int decode_fails(enum method method, const ProtobufCMessage *body)
{
	struct rpc_request request = arriving(method, NULL, body);
	struct message *message = NULL;

	error.text[0] = 0;
	return codec_client_decode(method, &request, fallback, arena, &message, &error);
}

static void test_what_cannot_be_represented_is_refused_by_name(void **state)
{
	Kvring__V1__PutRequest put = KVRING__V1__PUT_REQUEST__INIT;
	Kvring__V1__GetRequest get = KVRING__V1__GET_REQUEST__INIT, **gets;
	Kvring__V1__BatchGetRequest batch = KVRING__V1__BATCH_GET_REQUEST__INIT;
	struct rpc_request garbage = arriving(METHOD_PUT, NULL, NULL);
	static uint8_t too_large[LIMIT_BATCH_SIZE + 1];
	struct message *message;

	(void)state;
	put.operation_id = bytes_of("short");
	assert_int_equal(decode_fails(METHOD_PUT, &put.base), -EINVAL);
	assert_non_null(strstr(error.text, "operation 0: its id has 5 bytes"));
	gets = calloc(LIMIT_BATCH_OPERATIONS + 1, sizeof *gets);
	for (int i = 0; i <= LIMIT_BATCH_OPERATIONS; i++)
		gets[i] = &get;
	batch.gets = gets;
	batch.n_gets = LIMIT_BATCH_OPERATIONS + 1;
	assert_int_equal(decode_fails(METHOD_BATCH_GET, &batch.base), -EINVAL);
	assert_non_null(strstr(error.text, "4097 operations, the limit is 4096"));
	batch.n_gets--;
	assert_int_equal(decode_client(METHOD_BATCH_GET, NULL, &batch.base)->count, LIMIT_BATCH_OPERATIONS);
	free(gets);
	garbage.body = (struct rpc_slice){too_large, sizeof too_large};
	assert_int_equal(codec_client_decode(METHOD_BATCH_PUT, &garbage, fallback, arena, &message, &error), -EMSGSIZE);
	assert_non_null(strstr(error.text, "the request has 16777217 bytes, the limit is 16777216: send it in parts"));
	garbage.body = slice("\xff\xff\xff");
	assert_int_equal(codec_client_decode(METHOD_PUT, &garbage, fallback, arena, &message, &error), -EBADMSG);
	assert_true(error.text[0] != 0);
}

static struct rpc_response respond(enum method method, struct client_result *results, uint32_t count)
{
	struct client_request request = {.results = results, .count = count, .method = method};
	struct message done = {.type = MESSAGE_CLIENT_DONE, .client = {&request}};
	struct rpc_message *message;

	assert_int_equal(codec_client_encode(&done, 12, arena, &message), 0);
	return answered(message);
}

static void test_results_encode(void **state)
{
	struct client_sibling siblings[2] = {{slice("one"), 5}, {slice(""), 6}};
	struct client_result results[2] = {
		{.outcome = OUTCOME_DONE,
		 .acks_owners = 2,
		 .needed = 2,
		 .context = slice("c"),
		 .siblings = siblings,
		 .sibling_count = 2},
		{.outcome = OUTCOME_IN_DOUBT,
		 .code = KVRING__V1__CODE__UNAVAILABLE,
		 .message = "why",
		 .synced = 1,
		 .acks_fallbacks = 1},
	};
	struct rpc_response response = respond(METHOD_BATCH_GET, results, 2);
	Kvring__V1__BatchGetResponse *gets;
	Kvring__V1__PutResponse *put;

	(void)state;
	assert_int_equal(response.code, KVRING__V1__CODE__OK);
	assert_int_equal(response.ring_epoch, 12);
	gets = rpc_body_decode(&kvring__v1__batch_get_response__descriptor, response.body, arena, &error);
	assert_int_equal(gets->n_results, 2);
	assert_int_equal(gets->results[0]->outcome, KVRING__V1__OUTCOME__DONE);
	assert_int_equal(gets->results[0]->replies, 2);
	assert_int_equal(gets->results[0]->n_siblings, 2);
	assert_int_equal(gets->results[0]->siblings[0]->value.len, 3);
	assert_int_equal(gets->results[0]->siblings[1]->written_ms, 6);
	response = respond(METHOD_PUT, results + 1, 1);
	put = rpc_body_decode(&kvring__v1__put_response__descriptor, response.body, arena, &error);
	assert_int_equal(put->outcome, KVRING__V1__OUTCOME__IN_DOUBT);
	assert_int_equal(put->code, KVRING__V1__CODE__UNAVAILABLE);
	assert_string_equal(put->message, "why");
	assert_int_equal(put->synced, 1);
	assert_int_equal(put->acks_fallbacks, 1);
}

static void test_an_answer_too_large_for_the_link_is_refused_by_operation(void **state)
{
	static uint8_t value[LIMIT_VALUE_SIZE];
	struct client_sibling sibling = {{value, sizeof value}, 5};
	struct client_result results[4] = {
		{.outcome = OUTCOME_DONE, .context = slice("c"), .siblings = &sibling, .sibling_count = 1}};
	struct rpc_response response;
	Kvring__V1__BatchGetResponse *gets;

	(void)state;
	results[1] = results[2] = results[0];
	results[3].outcome = OUTCOME_ABSENT;
	response = respond(METHOD_BATCH_GET, results, 4);
	assert_in_range(response.body.size, 2 * sizeof value, RPC_CLIENT_MESSAGE_MAX - 1024);
	gets = rpc_body_decode(&kvring__v1__batch_get_response__descriptor, response.body, arena, &error);
	assert_int_equal(gets->results[1]->outcome, KVRING__V1__OUTCOME__DONE);
	assert_int_equal(gets->results[2]->outcome, KVRING__V1__OUTCOME__REFUSED);
	assert_int_equal(gets->results[2]->code, KVRING__V1__CODE__RESOURCE_EXHAUSTED);
	assert_int_equal(gets->results[2]->n_siblings, 0);
	assert_int_equal(gets->results[2]->context.len, 1);
	assert_int_equal(gets->results[3]->outcome, KVRING__V1__OUTCOME__ABSENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods_have_the_names_of_the_schema),
		cmocka_unit_test(test_put_decodes),
		cmocka_unit_test(test_batch_ids_come_from_the_envelope_and_the_index),
		cmocka_unit_test(test_attempts_are_counted_on),
		cmocka_unit_test(test_what_cannot_be_represented_is_refused_by_name),
		cmocka_unit_test(test_results_encode),
		cmocka_unit_test(test_an_answer_too_large_for_the_link_is_refused_by_operation),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
