/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies: what decodes, what is refused before protobuf-c sees it, and that the estimate of memory is one from above.
 */
#include <stdio.h>
#include "tests/rpc/harness.h"
#include "proto/kv.pb-c.h"
#include "proto/peer.pb-c.h"
#include "proto/event.pb-c.h"
#include "tests/rpc/nest.pb-c.h"

struct buffer {
	uint8_t *data;
	size_t size;
};

static struct rpc_slice buffer_slice(const struct buffer *b)
{
	return (struct rpc_slice){b->data, b->size};
}

static struct buffer pack(const ProtobufCMessage *message)
{
	struct buffer b = {malloc(protobuf_c_message_get_packed_size(message) + 1), 0};
	b.size = protobuf_c_message_pack(message, b.data);
	return b;
}

static void test_a_batch_decodes_into_the_arena(void **state)
{
	(void)state;
	enum { PUTS = 4096 };
	Kvring__V1__PutRequest *puts = calloc(PUTS, sizeof *puts);
	Kvring__V1__PutRequest **pointers = calloc(PUTS, sizeof *pointers);
	for (unsigned i = 0; i < PUTS; i++) {
		kvring__v1__put_request__init(&puts[i]);
		puts[i].key = (ProtobufCBinaryData){1, (uint8_t *)"k"};
		pointers[i] = &puts[i];
	}
	Kvring__V1__BatchPutRequest batch = KVRING__V1__BATCH_PUT_REQUEST__INIT;
	batch.n_puts = PUTS;
	batch.puts = pointers;
	struct buffer bytes = pack(&batch.base);
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_error error = {""};
	/* The smallest operations that make sense, as many as a batch may have. */
	Kvring__V1__BatchPutRequest *out =
		rpc_body_decode(&kvring__v1__batch_put_request__descriptor, buffer_slice(&bytes), arena, &error);
	if (out == NULL)
		fail_msg("%s", error.text);
	assert_int_equal(out->n_puts, PUTS);
	for (unsigned i = 0; i < PUTS; i++)
		assert_memory_equal(out->puts[i]->key.data, "k", 1);
	rpc_arena_unref(arena);
	free(bytes.data);
	free(puts);
	free(pointers);
}

static void test_an_empty_body_is_the_default_message(void **state)
{
	(void)state;
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_error error;
	Kvring__V1__GetRequest *out =
		rpc_body_decode(&kvring__v1__get_request__descriptor, (struct rpc_slice){NULL, 0}, arena, &error);
	assert_non_null(out);
	assert_int_equal(out->key.len, 0);
	rpc_arena_unref(arena);
}

static void assert_refused(const ProtobufCMessageDescriptor *type, const struct buffer *b, size_t cap, const char *text)
{
	struct arena *arena = rpc_arena_create(1024, cap);
	struct rpc_error error = {""};
	assert_null(rpc_body_decode(type, buffer_slice(b), arena, &error));
	assert_contains(error.text, text);
	assert_contains(error.text, type->name);
	rpc_arena_unref(arena);
}

static void test_bad_bytes_are_refused_with_their_place(void **state)
{
	(void)state;
	const ProtobufCMessageDescriptor *get = &kvring__v1__get_request__descriptor;
	assert_refused(get,
		       &(struct buffer){(uint8_t *)"\x12\x7f"
						   "k",
					3},
		       SIZE_MAX, "byte 0: field 2 says 127 bytes");
	/* A number where bytes should be: found by protobuf-c. */
	assert_refused(get, &(struct buffer){(uint8_t *)"\x10\x01", 2}, SIZE_MAX, "do not decode");
	/* Inside a nested message, counted from the start of the body. */
	assert_refused(&kvring__v1__batch_get_request__descriptor,
		       &(struct buffer){(uint8_t *)"\x0a\x02\x12\x00\x0a\x02\x12\x09", 8}, SIZE_MAX,
		       "byte 6: field 2 says 9 bytes");
}

static void test_the_cap_of_the_arena_refuses(void **state)
{
	(void)state;
	uint8_t value[5000] = {0};
	Kvring__V1__PutRequest put = KVRING__V1__PUT_REQUEST__INIT;
	put.value = (ProtobufCBinaryData){sizeof value, value};
	struct buffer bytes = pack(&put.base);
	assert_refused(&kvring__v1__put_request__descriptor, &bytes, 4096, "more memory than");
	free(bytes.data);
}

/* inner = { inner = { ... } }, depth messages in all. Built from the inside out, at the end of a buffer. */
static struct buffer nested(unsigned depth, uint8_t tag)
{
	size_t room = (size_t)depth * 6;
	uint8_t *all = malloc(room + 1);
	size_t at = room;
	for (unsigned i = 1; i < depth; i++) {
		size_t size = room - at;
		uint8_t length[5];
		unsigned digits = 0;
		do {
			length[digits++] = (uint8_t)((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
			size >>= 7;
		} while (size > 0);
		assert_true(at > digits);
		at -= digits;
		memcpy(all + at, length, digits);
		all[--at] = tag;
	}
	struct buffer b = {malloc(room + 1), room - at};
	memcpy(b.data, all + at, b.size);
	free(all);
	return b;
}

/* A newer sender adds numbers: each costs what it takes, however much the field before it held. */
static void test_unknown_numbers_cost_little(void **state)
{
	(void)state;
	enum { KEY = 64 * 1024, NUMBERS = 100 };
	Kvring__V1__GetRequest get = KVRING__V1__GET_REQUEST__INIT;
	get.key = (ProtobufCBinaryData){KEY, calloc(1, KEY)};
	struct buffer known = pack(&get.base);
	struct buffer body = {malloc(known.size + 2 * NUMBERS), known.size};
	memcpy(body.data, known.data, known.size);
	for (unsigned i = 0; i < NUMBERS; i++, body.size += 2)
		memcpy(body.data + body.size, "\x78\x01", 2); /* field 15, a number */
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_error error = {""};
	if (rpc_body_decode(&kvring__v1__get_request__descriptor, buffer_slice(&body), arena, &error) == NULL)
		fail_msg("%s", error.text);
	rpc_arena_unref(arena);
	free(body.data);
	free(known.data);
	free(get.key.data);
}

static void test_nesting_is_bounded(void **state)
{
	(void)state;
	struct buffer fine = nested(8, 0x0a);
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_error error = {""};
	assert_non_null(rpc_body_decode(&kvring__test__nest__descriptor, buffer_slice(&fine), arena, &error));
	rpc_arena_unref(arena);
	free(fine.data);
	static const unsigned depths[] = {9, 100, 16000, 100000};
	for (unsigned i = 0; i < 4; i++) {
		struct buffer single = nested(depths[i], 0x0a), repeated = nested(depths[i], 0x12);
		assert_refused(&kvring__test__nest__descriptor, &single, SIZE_MAX, "nested more than 8 deep");
		assert_refused(&kvring__test__nest__descriptor, &repeated, SIZE_MAX, "nested more than 8 deep");
		free(single.data);
		free(repeated.data);
	}
}

static struct buffer repeat(const char *piece, size_t piece_size, size_t count)
{
	struct buffer b = {malloc(piece_size * count), piece_size * count};
	for (size_t i = 0; i < count; i++)
		memcpy(b.data + i * piece_size, piece, piece_size);
	return b;
}

static void test_amplification_is_bounded(void **state)
{
	(void)state;
	/* Two bytes per empty operation, over 100 bytes of memory each. */
	struct buffer empties = repeat("\x0a\x00", 2, 500000);
	assert_refused(&kvring__v1__batch_put_response__descriptor, &empties, SIZE_MAX, "bytes of memory");
	assert_refused(&kvring__v1__batch_put_request__descriptor, &empties, SIZE_MAX, "bytes of memory");
	assert_refused(&kvring__v1__store_request__descriptor, &empties, SIZE_MAX, "bytes of memory");
	free(empties.data);
	/* The same inside one nested message, and as unknown fields. */
	struct buffer unknown = repeat("\x78\x00", 2, 500000);
	assert_refused(&kvring__v1__get_request__descriptor, &unknown, SIZE_MAX, "bytes of memory");
	free(unknown.data);
}

static void test_packed_fields_are_bounded(void **state)
{
	(void)state;
	enum { COUNT = 1100000 };
	struct buffer b = {malloc(COUNT + 5), 0};
	b.data[b.size++] = 0x1a;
	for (size_t left = COUNT; left > 0; left >>= 7)
		b.data[b.size++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
	memset(b.data + b.size, 1, COUNT);
	b.size += COUNT;
	assert_refused(&kvring__test__nest__descriptor, &b, SIZE_MAX, "more than 1048576 fields and elements");
	free(b.data);
}

/* protobuf-c would merge the two, copying all the repeated fields of the first, each time. */
static void test_a_message_field_that_comes_twice_is_refused(void **state)
{
	(void)state;
	struct buffer twice = repeat("\x22\x02\x0a\x00", 4, 2); /* Event.heartbeats = {rows = {}} */
	assert_refused(&kvring__v1__event__descriptor, &twice, SIZE_MAX, "field 4 (heartbeats) comes twice");
	free(twice.data);
}

static uint32_t random_next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

/* Random bytes with a bias towards tags and small lengths: whatever decodes stays within base + factor * size. */
static void test_memory_of_what_decodes_is_bounded(void **state)
{
	(void)state;
	static const ProtobufCMessageDescriptor *const types[] = {
		&kvring__v1__put_request__descriptor,        &kvring__v1__batch_put_request__descriptor,
		&kvring__v1__batch_get_response__descriptor, &kvring__v1__ring_response__descriptor,
		&kvring__v1__gossip_request__descriptor,     &kvring__v1__event__descriptor,
		&kvring__v1__forward_request__descriptor,    &kvring__test__nest__descriptor,
	};
	uint64_t seed = 4;
	unsigned decoded = 0;
	for (unsigned round = 0; round < 100000; round++) {
		uint8_t bytes[64];
		size_t size = random_next(&seed) % sizeof bytes;
		for (size_t i = 0; i < size; i++) {
			uint32_t r = random_next(&seed);
			bytes[i] = (uint8_t)(r % 3 == 0   ? r >> 8
					     : r % 3 == 1 ? (r >> 8) % 8
							  : ((r >> 8) % 20) << 3 | 2);
		}
		const ProtobufCMessageDescriptor *type = types[random_next(&seed) % 8];
		struct arena *arena = rpc_arena_create(64, SIZE_MAX);
		struct rpc_error error = {""};
		void *message = rpc_body_decode(type, (struct rpc_slice){bytes, size}, arena, &error);
		if (message != NULL) {
			decoded++;
			assert_true(rpc_arena_used(arena) <= 64 * (size + 4) * 4);
			assert_true(protobuf_c_message_check(message));
		} else {
			assert_true(error.text[0] != '\0');
		}
		rpc_arena_unref(arena);
	}
	assert_true(decoded > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_batch_decodes_into_the_arena),
		cmocka_unit_test(test_an_empty_body_is_the_default_message),
		cmocka_unit_test(test_bad_bytes_are_refused_with_their_place),
		cmocka_unit_test(test_the_cap_of_the_arena_refuses),
		cmocka_unit_test(test_unknown_numbers_cost_little),
		cmocka_unit_test(test_nesting_is_bounded),
		cmocka_unit_test(test_amplification_is_bounded),
		cmocka_unit_test(test_packed_fields_are_bounded),
		cmocka_unit_test(test_a_message_field_that_comes_twice_is_refused),
		cmocka_unit_test(test_memory_of_what_decodes_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
