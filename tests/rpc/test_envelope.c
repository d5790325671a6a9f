/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-written envelope against protobuf-c, which is the judge of what the wire means. */
#include <stdio.h>
#include "tests/rpc/harness.h"
#include "proto/kv.pb-c.h"

static uint32_t random_next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

/* Numbers of every varint length, zero among them. */
static uint64_t random_number(uint64_t *seed)
{
	uint64_t bits = (uint64_t)random_next(seed) << 32 | random_next(seed);
	unsigned shift = random_next(seed) % 70;
	return shift >= 64 ? 0 : bits >> shift;
}

static void random_request(uint64_t *seed, struct rpc_request *head)
{
	static const char *methods[] = {"", "kvring.v1.Kv/Put", "kvring.v1.Admin/Status"};
	*head = (struct rpc_request){
		.protocol_version = (uint32_t)random_number(seed),
		.method = slice_of(methods[random_next(seed) % 3]),
		.has_operation_id = random_next(seed) % 2,
		.deadline_ms = (uint32_t)random_number(seed),
		.ring_epoch = random_number(seed),
		.trace_id = random_number(seed),
		.attempt = (uint32_t)random_number(seed),
		.sent_us = random_number(seed),
	};
	for (unsigned i = 0; head->has_operation_id && i < RPC_OPERATION_ID_SIZE; i++)
		head->operation_id[i] = (uint8_t)random_next(seed);
}

static void random_put(uint64_t *seed, Kvring__V1__PutRequest *put, uint8_t *bytes, size_t size)
{
	kvring__v1__put_request__init(put);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)random_next(seed);
	put->key = (ProtobufCBinaryData){random_next(seed) % 200, bytes};
	put->value = (ProtobufCBinaryData){random_next(seed) % size, bytes};
	put->w = random_next(seed) % 4;
}

static void assert_binary(struct rpc_slice slice, ProtobufCBinaryData binary)
{
	assert_int_equal(slice.size, binary.len);
	if (slice.size > 0)
		assert_memory_equal(slice.data, binary.data, slice.size);
}

static void assert_same_request(const struct rpc_request *ours, const Kvring__V1__Request *theirs)
{
	assert_int_equal(ours->protocol_version, theirs->protocol_version);
	assert_slice(ours->method, theirs->method);
	assert_int_equal(ours->has_operation_id, theirs->operation_id.len > 0);
	if (ours->has_operation_id)
		assert_memory_equal(ours->operation_id, theirs->operation_id.data, RPC_OPERATION_ID_SIZE);
	assert_int_equal(ours->deadline_ms, theirs->deadline_ms);
	assert_true(ours->ring_epoch == theirs->ring_epoch);
	assert_true(ours->trace_id == theirs->trace_id);
	assert_int_equal(ours->attempt, theirs->attempt);
	assert_true(ours->sent_us == theirs->sent_us);
	assert_binary(ours->body, theirs->body);
}

/* Encoded by us: the same bytes as by protobuf-c. Decoded by us: the same fields. */
static void test_requests_agree_with_protobuf_both_ways(void **state)
{
	(void)state;
	uint64_t seed = 1;
	static uint8_t bytes[3000];
	for (unsigned round = 0; round < 2000; round++) {
		struct rpc_request head, again;
		Kvring__V1__PutRequest put;
		random_request(&seed, &head);
		random_put(&seed, &put, bytes, sizeof bytes);
		bool empty = random_next(&seed) % 4 == 0;
		struct rpc_message *message;
		assert_int_equal(rpc_request_encode(&head, empty ? NULL : &put.base, &message), 0);
		struct rpc_slice ours = rpc_message_bytes(message);

		Kvring__V1__Request *theirs = kvring__v1__request__unpack(NULL, ours.size, ours.data);
		assert_non_null(theirs);
		uint8_t *packed = malloc(ours.size + 1);
		assert_int_equal(kvring__v1__request__get_packed_size(theirs), ours.size);
		kvring__v1__request__pack(theirs, packed);
		assert_memory_equal(packed, ours.data, ours.size);
		assert_int_equal(theirs->body.len, empty ? 0 : kvring__v1__put_request__get_packed_size(&put));

		struct rpc_error error;
		assert_int_equal(rpc_request_decode(ours, &again, &error), 0);
		assert_same_request(&again, theirs);
		assert_true(again.ring_epoch == head.ring_epoch && again.trace_id == head.trace_id);
		if (again.body.size > 0) /* a slice of the message */
			assert_true(again.body.data > ours.data && again.body.data < ours.data + ours.size);
		free(packed);
		kvring__v1__request__free_unpacked(theirs, NULL);
		rpc_message_free(message);
	}
}

static void test_responses_agree_with_protobuf_both_ways(void **state)
{
	(void)state;
	uint64_t seed = 2;
	static uint8_t bytes[3000];
	for (unsigned round = 0; round < 2000; round++) {
		Kvring__V1__PutRequest body; /* any message will do */
		random_put(&seed, &body, bytes, sizeof bytes);
		struct rpc_response again,
			head = {
				.protocol_version = (uint32_t)random_number(&seed),
				.code = (uint32_t)random_number(&seed), /* negative enum values among them */
				.message = slice_of(random_next(&seed) % 2 ? "no such partition" : ""),
				.ring_epoch = random_number(&seed),
			};
		struct rpc_message *message;
		assert_int_equal(rpc_response_encode(&head, random_next(&seed) % 3 ? &body.base : NULL, &message), 0);
		struct rpc_slice ours = rpc_message_bytes(message);
		Kvring__V1__Response *theirs = kvring__v1__response__unpack(NULL, ours.size, ours.data);
		assert_non_null(theirs);
		uint8_t *packed = malloc(ours.size + 1);
		assert_int_equal(kvring__v1__response__pack(theirs, packed), ours.size);
		assert_memory_equal(packed, ours.data, ours.size);
		assert_int_equal(rpc_response_decode(ours, &again, NULL), 0);
		assert_int_equal(again.protocol_version, theirs->protocol_version);
		assert_int_equal(again.code, (uint32_t)theirs->code);
		assert_int_equal(again.code, head.code);
		assert_slice(again.message, theirs->message);
		assert_true(again.ring_epoch == theirs->ring_epoch);
		assert_binary(again.body, theirs->body);
		free(packed);
		kvring__v1__response__free_unpacked(theirs, NULL);
		rpc_message_free(message);
	}
}

/* ---- by hand -------------------------------------------------------------------------------------------------- */

static struct rpc_slice bytes_of(const char *data, size_t size)
{
	return (struct rpc_slice){(const uint8_t *)data, size};
}

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

static void test_fields_may_come_in_any_order_twice_and_unknown(void **state)
{
	(void)state;
	struct rpc_request request;
	struct rpc_error error = {""};
	struct rpc_slice bytes = BYTES("\x7a\x03xyz"         /* body first */
				       "\x12\x01m\x12\x02mm" /* method twice: the last wins */
				       "\xa0\x06\x05"        /* field 100, number */
				       "\xa2\x06\x02zz"      /* field 100, bytes */
				       "\xa1\x06zzzzzzzz"    /* field 100, 64 bits */
				       "\xa5\x06zzzz"        /* field 100, 32 bits */
				       "\x20\x07\x20\x09"    /* deadline twice */
				       "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
	assert_int_equal(rpc_request_decode(bytes, &request, &error), 0);
	assert_slice(request.body, "xyz");
	assert_slice(request.method, "mm");
	assert_int_equal(request.deadline_ms, 9);
	assert_true(request.ring_epoch == UINT64_MAX);
	Kvring__V1__Request *theirs = kvring__v1__request__unpack(NULL, bytes.size, bytes.data);
	assert_non_null(theirs);
	assert_same_request(&request, theirs);
	kvring__v1__request__free_unpacked(theirs, NULL);
}

static void test_an_empty_envelope_is_all_defaults(void **state)
{
	(void)state;
	struct rpc_request request;
	struct rpc_response response;
	assert_int_equal(rpc_request_decode((struct rpc_slice){NULL, 0}, &request, NULL), 0);
	assert_int_equal(rpc_response_decode((struct rpc_slice){NULL, 0}, &response, NULL), 0);
	assert_int_equal(request.method.size, 0);
	assert_false(request.has_operation_id);
	assert_int_equal(response.code, 0);
}

static void test_bad_bytes_are_refused_with_their_place(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t size;
		const char *text;
	} cases[] = {
		{"\x08", 1, "byte 0: the number in field 1 does not end"},
		{"\x08\x01\x12\x05"
		 "ab",
		 6, "byte 2: field 2 says 5 bytes, 2 are left"},
		{"\x12\xff\xff\xff\xff\x0f", 6, "says 4294967295 bytes, 0 are left"},
		{"\x12\xff\xff\xff\xff\xff\x01", 7, "the length of field 2 does not end"},
		{"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "does not end"},
		{"\x00\x01", 2, "byte 0: this is no field tag"},
		{"\xff\xff\xff\xff\xff\x01\x01", 7, "this is no field tag"},
		{"\x0b", 1, "field 1 has the unsupported wire type 3"},
		{"\x0f", 1, "unsupported wire type 7"},
		{"\x0a\x01x", 3, "field 1 (protocol_version) has wire type 2, not 0"},
		{"\x10\x01", 2, "field 2 (method) has wire type 0, not 2"},
		{"\x7d"
		 "abcd",
		 5, "field 15 (body) has wire type 5, not 2"},
		{"\x7d"
		 "abc",
		 4, "field 15 needs 4 bytes, 3 are left"},
		{"\x1a\x03"
		 "abc",
		 5, "field 3 (operation_id) has 3 bytes, not 16"},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct rpc_request request;
		struct rpc_error error = {""};
		struct rpc_slice bytes = bytes_of(cases[i].bytes, cases[i].size);
		assert_int_equal(rpc_request_decode(bytes, &request, &error), -EBADMSG);
		assert_contains(error.text, "request envelope");
		assert_contains(error.text, cases[i].text);
	}
	struct rpc_response response;
	struct rpc_error error = {""};
	assert_int_equal(rpc_response_decode(BYTES("\x12\x00"), &response, &error), -EBADMSG);
	assert_contains(error.text, "response envelope, byte 0: field 2 (code)");
}

/* Every prefix of a good envelope either decodes or is refused; none reads past its end (ASan watches). */
static void test_every_truncation_is_safe(void **state)
{
	(void)state;
	uint64_t seed = 3;
	struct rpc_request head, out;
	Kvring__V1__PutRequest put;
	uint8_t bytes[64];
	random_request(&seed, &head);
	random_put(&seed, &put, bytes, sizeof bytes);
	put.key.len = 10;
	struct rpc_message *message;
	assert_int_equal(rpc_request_encode(&head, &put.base, &message), 0);
	struct rpc_slice whole = rpc_message_bytes(message);
	unsigned refused = 0;
	for (size_t size = 0; size < whole.size; size++) {
		uint8_t *copy = malloc(size == 0 ? 1 : size);
		memcpy(copy, whole.data, size);
		int status = rpc_request_decode((struct rpc_slice){copy, size}, &out, NULL);
		assert_true(status == 0 || status == -EBADMSG);
		refused += status != 0;
		free(copy);
	}
	assert_true(refused > whole.size / 2);
	rpc_message_free(message);
}

static void test_a_bare_message_is_what_protobuf_packs(void **state)
{
	(void)state;
	Kvring__V1__HealthResponse health = KVRING__V1__HEALTH_RESPONSE__INIT;
	health.serving = true;
	health.detail = (char *)"fine";
	struct rpc_message *message;
	assert_int_equal(rpc_bare_encode(&health.base, &message), 0);
	uint8_t packed[64];
	size_t size = kvring__v1__health_response__pack(&health, packed);
	assert_int_equal(rpc_message_bytes(message).size, size);
	assert_memory_equal(rpc_message_bytes(message).data, packed, size);
	rpc_message_free(message);
	rpc_message_free(NULL);
}

static void test_method_is_compares_whole_names(void **state)
{
	(void)state;
	assert_true(rpc_method_is(slice_of("kvring.v1.Kv/Put"), "kvring.v1.Kv/Put"));
	assert_false(rpc_method_is(slice_of("kvring.v1.Kv/Pu"), "kvring.v1.Kv/Put"));
	assert_false(rpc_method_is(slice_of("kvring.v1.Kv/Puts"), "kvring.v1.Kv/Put"));
	assert_false(rpc_method_is(slice_of(""), "kvring.v1.Kv/Put"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_agree_with_protobuf_both_ways),
		cmocka_unit_test(test_responses_agree_with_protobuf_both_ways),
		cmocka_unit_test(test_fields_may_come_in_any_order_twice_and_unknown),
		cmocka_unit_test(test_an_empty_envelope_is_all_defaults),
		cmocka_unit_test(test_bad_bytes_are_refused_with_their_place),
		cmocka_unit_test(test_every_truncation_is_safe),
		cmocka_unit_test(test_a_bare_message_is_what_protobuf_packs),
		cmocka_unit_test(test_method_is_compares_whole_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
