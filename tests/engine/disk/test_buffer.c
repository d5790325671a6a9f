/* SPDX-License-Identifier: Apache-2.0 */
/* Growing arrays of bytes, and reading them again. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "engine/disk/buffer.h"
#include "engine/disk/format.h"
#include "tests/sim/sim_random.h"

static void test_buffer_and_reader(void **state)
{
	struct sim_random random = {3};

	(void)state;
	for (int round = 0; round < 100; round++) {
		struct buffer buffer = {0};
		uint64_t numbers[20];
		struct buffer_reader reader;

		for (int i = 0; i < 20; i++) {
			numbers[i] = sim_random_next(&random) >> sim_random_below(&random, 64);
			assert_int_equal(buffer_append_varint(&buffer, numbers[i]), 0);
			assert_int_equal(buffer_append_u64(&buffer, numbers[i]), 0);
			assert_int_equal(buffer_append_slice(&buffer, (struct engine_slice){numbers, (size_t)i}), 0);
		}
		reader = (struct buffer_reader){buffer.data, buffer.data + buffer.size, false};
		for (int i = 0; i < 20; i++) {
			assert_int_equal(buffer_read_varint(&reader), numbers[i]);
			assert_int_equal(buffer_read_u64(&reader), numbers[i]);
			assert_int_equal(buffer_read_slice(&reader).size, i);
		}
		assert_true(!reader.bad && reader.at == reader.end);
		/* Beyond the end: bad for good, and zero. */
		assert_int_equal(buffer_read_u64(&reader), 0);
		assert_true(reader.bad);
		reader.at = buffer.data;
		assert_int_equal(buffer_read_varint(&reader), 0);
		assert_int_equal(buffer_read_slice(&reader).size, 0);
		buffer_fini(&buffer);
	}
}

/* A length that cannot be had must not wrap around. */
static void test_buffer_refuses_the_impossible(void **state)
{
	struct buffer buffer = {0};

	(void)state;
	assert_int_equal(buffer_append(&buffer, "abc", 3), 0);
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), -ENOMEM);
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX - 2), -ENOMEM);
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX / 2), -ENOMEM);
	assert_int_equal(buffer.size, 3);
	assert_memory_equal(buffer.data, "abc", 3);
	buffer_fini(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buffer_and_reader),
		cmocka_unit_test(test_buffer_refuses_the_impossible),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
