/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/object/key.h"
#include "node/object/limit.h"

static struct rpc_slice encode(struct arena *arena, uint16_t partition, struct rpc_slice bucket, struct rpc_slice key)
{
	struct rpc_slice out;

	assert_int_equal(key_encode(partition, bucket, key, arena, &out), 0);
	return out;
}

static void test_layout(void **state)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	const uint8_t expected[] = {0x12, 0x34, 0, 0, 2, 'u', 's', 'k', 'e', 'y'};
	struct rpc_slice encoded = encode(arena, 0x1234, slice("us"), slice("key"));

	(void)state;
	assert_slice_equal(encoded, (struct rpc_slice){expected, sizeof expected});
	assert_int_equal(key_partition(encoded), 0x1234);
	rpc_arena_unref(arena);
}

static void test_round_trip_at_every_size(void **state)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	const size_t bucket_sizes[] = {1, 2, 255, 256}, key_sizes[] = {1, 255, 256, 4095, 4096};
	uint8_t bytes[LIMIT_KEY_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7);
	for (size_t b = 0; b < 4; b++)
		for (size_t k = 0; k < 5; k++) {
			struct rpc_slice bucket = {bytes, bucket_sizes[b]}, key = {bytes, key_sizes[k]};
			struct rpc_slice bucket_out, key_out;
			uint16_t partition;

			assert_int_equal(
				key_decode(encode(arena, 65535, bucket, key), &partition, &bucket_out, &key_out), 0);
			assert_int_equal(partition, 65535);
			assert_slice_equal(bucket_out, bucket);
			assert_slice_equal(key_out, key);
		}
	rpc_arena_unref(arena);
}

static void test_empty_and_oversized_names_are_refused(void **state)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	uint8_t bytes[LIMIT_KEY_SIZE + 1] = {0};
	struct rpc_slice out;

	(void)state;
	assert_int_equal(key_encode(1, slice(""), slice("k"), arena, &out), -EINVAL);
	assert_int_equal(key_encode(1, slice("b"), slice(""), arena, &out), -EINVAL);
	assert_int_equal(key_encode(1, (struct rpc_slice){bytes, LIMIT_BUCKET_SIZE + 1}, slice("k"), arena, &out),
			 -EINVAL);
	assert_int_equal(key_encode(1, slice("b"), (struct rpc_slice){bytes, LIMIT_KEY_SIZE + 1}, arena, &out),
			 -EINVAL);
	rpc_arena_unref(arena);
}

static void test_decode_refuses_every_cut_and_other_spaces(void **state)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_slice encoded = encode(arena, 7, slice("bucket"), slice("k"));
	struct rpc_slice bucket, key;
	uint16_t partition;
	uint8_t *hint;

	(void)state;
	for (size_t size = 0; size < encoded.size; size++)
		assert_int_equal(key_decode((struct rpc_slice){encoded.data, size}, &partition, &bucket, &key),
				 -EBADMSG);
	hint = rpc_arena_copy(arena, encoded.data, encoded.size);
	hint[2] = KEY_SPACE_HINT;
	assert_int_equal(key_decode((struct rpc_slice){hint, encoded.size}, &partition, &bucket, &key), -EBADMSG);
	rpc_arena_unref(arena);
}

static void test_order_is_partition_first(void **state)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_slice low = encode(arena, 255, slice("z"), slice("z"));
	struct rpc_slice high = encode(arena, 256, slice("a"), slice("a"));

	(void)state;
	assert_true(memcmp(low.data, high.data, low.size) < 0);
	rpc_arena_unref(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_round_trip_at_every_size),
		cmocka_unit_test(test_empty_and_oversized_names_are_refused),
		cmocka_unit_test(test_decode_refuses_every_cut_and_other_spaces),
		cmocka_unit_test(test_order_is_partition_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
