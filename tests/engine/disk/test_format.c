/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes that all files have in common: varints, headers, checksums, the order of keys. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "engine/disk/format.h"
#include "tests/sim/sim_random.h"

static void test_varints(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits <= 64; bits++) {
		for (int off = -1; off <= 1; off++) {
			uint64_t wanted = (bits < 64 ? (uint64_t)1 << bits : 0) + (uint64_t)(int64_t)off, value;
			uint8_t bytes[FORMAT_VARINT_MAX + 1];
			uint8_t *end = format_varint_put(bytes, wanted);

			assert_true(end - bytes <= FORMAT_VARINT_MAX);
			assert_ptr_equal(format_varint_get(bytes, end, &value), end);
			assert_int_equal(value, wanted);
			for (uint8_t *cut = bytes; cut < end; cut++)
				assert_null(format_varint_get(bytes, cut, &value));
		}
	}
}

static void test_varints_that_do_not_fit(void **state)
{
	static const uint8_t bad[][11] = {
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0},
		{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	};
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_null(format_varint_get(bad[i], bad[i] + 11, &value));
}

static void test_header(void **state)
{
	uint8_t bytes[FORMAT_HEADER_SIZE];
	struct format_header header = {.shard = 3, .number = 9, .a = 1, .b = 2}, got;
	struct engine_error error;

	(void)state;
	format_header_write(bytes, FORMAT_LOG, &header);
	assert_int_equal(format_header_read(bytes, sizeof bytes, FORMAT_LOG, "x.log", &got, &error), 0);
	assert_true(got.shard == 3 && got.number == 9 && got.a == 1 && got.b == 2);
	assert_int_equal(format_header_read(bytes, sizeof bytes, FORMAT_TABLE, "x.log", &got, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "not a file of kind 'kvr:tab' but 'kvr:log'"));
	for (size_t size = 0; size < sizeof bytes; size++)
		assert_int_equal(format_header_read(bytes, size, FORMAT_LOG, "x.log", &got, &error), -EBADMSG);
	for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(format_header_read(bytes, sizeof bytes, FORMAT_LOG, "x.log", &got, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "x.log: "));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* Another version with a right checksum: newer, older, none. Refused, and said so, which damage is not. */
static void test_header_of_another_version_is_refused(void **state)
{
	static const uint32_t others[] = {0, FORMAT_VERSION - 1, FORMAT_VERSION + 1, UINT32_MAX};
	struct format_header header = {.number = 9}, got;
	struct engine_error error;
	uint8_t bytes[FORMAT_HEADER_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		char expected[64];

		format_header_write(bytes, FORMAT_LOG, &header);
		format_u32_put(bytes + 8, others[i]);
		format_u64_put(bytes + 40, XXH3_64bits(bytes, 40));
		assert_int_equal(format_header_read(bytes, sizeof bytes, FORMAT_LOG, "x.log", &got, &error), -ENOTSUP);
		snprintf(expected, sizeof expected, "x.log: format version %u", others[i]);
		assert_non_null(strstr(error.text, expected));
	}
}

static void test_checksum_is_tied_to_its_place(void **state)
{
	struct sim_random random = {1};

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t number = sim_random_below(&random, 100000), offset = sim_random_below(&random, 1 << 20);
		uint64_t sum = format_checksum("abc", 3, number, offset);

		assert_true(sum == format_checksum("abc", 3, number, offset));
		assert_true(sum != format_checksum("abd", 3, number, offset));
		assert_true(sum != format_checksum("abc", 3, number, offset + 1));
		assert_true(sum != format_checksum("abc", 3, number + 1, offset));
		assert_true(number == offset || sum != format_checksum("abc", 3, offset, number));
	}
}

/* Keys over a small alphabet with zero bytes: the comparison is that of bytes, then length; prefixes never disagree. */
static void test_order_of_keys(void **state)
{
	struct sim_random random = {2};

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint8_t x[12], y[12];
		struct engine_slice a = {x, sim_random_below(&random, 13)}, b = {y, sim_random_below(&random, 13)};
		size_t shared = 0, offset = sim_random_below(&random, 5);
		int order, got;

		for (int j = 0; j < 12; j++) {
			x[j] = (uint8_t)("\0\1\xff"[sim_random_below(&random, 3)]);
			y[j] = sim_random_below(&random, 4) ? x[j]
							    : (uint8_t)("\0\1\xff"[sim_random_below(&random, 3)]);
		}
		while (shared < a.size && shared < b.size && x[shared] == y[shared])
			shared++;
		order = shared < a.size && shared < b.size ? x[shared] - y[shared] : (int)a.size - (int)b.size;
		got = format_compare(a, b);
		assert_int_equal((got > 0) - (got < 0), (order > 0) - (order < 0));
		assert_int_equal(format_common_prefix(a, b), shared);
		if (shared >= offset && format_prefix(a, offset) < format_prefix(b, offset))
			assert_true(got < 0);
		if (shared >= offset && format_prefix(a, offset) > format_prefix(b, offset))
			assert_true(got > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_varints),
		cmocka_unit_test(test_varints_that_do_not_fit),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_header_of_another_version_is_refused),
		cmocka_unit_test(test_checksum_is_tied_to_its_place),
		cmocka_unit_test(test_order_of_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
