/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvbench/payload.h"

#include <lz4.h>

static void test_keys_are_fixed_width(void **state)
{
	(void)state;
	uint8_t key[PAYLOAD_KEY_SIZE + 1] = {0};
	payload_key(0, key);
	assert_string_equal((char *)key, "user000000000000");
	payload_key(987654321012, key);
	assert_string_equal((char *)key, "user987654321012");
}

static void test_values_of_every_size_check(void **state)
{
	(void)state;
	uint8_t value[400];
	struct random random;
	random_seed(&random, 3);
	for (size_t size = PAYLOAD_VALUE_MIN; size <= sizeof value; size++) {
		payload_fill(size, &random, value, size);
		assert_null(payload_check(size, value, size));
	}
}

static void test_any_flipped_bit_is_found(void **state)
{
	(void)state;
	uint8_t value[128];
	struct random random;
	random_seed(&random, 3);
	payload_fill(17, &random, value, sizeof value);
	for (unsigned bit = 0; bit < 8 * sizeof value; bit++) {
		value[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_non_null(payload_check(17, value, sizeof value));
		value[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_null(payload_check(17, value, sizeof value));
}

static void test_the_value_of_another_key_is_found(void **state)
{
	(void)state;
	uint8_t value[128];
	struct random random;
	random_seed(&random, 3);
	payload_fill(17, &random, value, sizeof value);
	assert_string_equal(payload_check(18, value, sizeof value), "it is the value of another key");
	assert_non_null(payload_check(17, value, sizeof value - 1));
	assert_non_null(payload_check(17, value, 3));
}

static void test_values_compress_to_about_half(void **state)
{
	(void)state;
	enum { SIZE = 4096 };
	uint8_t value[SIZE];
	char packed[2 * SIZE];
	struct random random;
	random_seed(&random, 3);
	payload_fill(1, &random, value, SIZE);
	int size = LZ4_compress_default((const char *)value, packed, SIZE, sizeof packed);
	assert_true(size > 0.45 * SIZE && size < 0.62 * SIZE);
}

static void test_two_values_of_a_key_differ(void **state)
{
	(void)state;
	uint8_t a[64], b[64];
	struct random random;
	random_seed(&random, 3);
	payload_fill(1, &random, a, sizeof a);
	payload_fill(1, &random, b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_are_fixed_width),
		cmocka_unit_test(test_values_of_every_size_check),
		cmocka_unit_test(test_any_flipped_bit_is_found),
		cmocka_unit_test(test_the_value_of_another_key_is_found),
		cmocka_unit_test(test_values_compress_to_about_half),
		cmocka_unit_test(test_two_values_of_a_key_differ),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
