/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/rpc/harness.h"

#include "rpc/operation_id.h"

/* The example of RFC 9562, A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F. */
static void test_the_example_of_the_rfc(void **state)
{
	(void)state;
	static const uint8_t random[OPERATION_ID_RANDOM_SIZE] = {0x0c, 0xc3, 0x18, 0xc4, 0xdc,
								 0x0c, 0x0c, 0x07, 0x39, 0x8f};
	static const uint8_t expected[RPC_OPERATION_ID_SIZE] = {0x01, 0x7f, 0x22, 0xe2, 0x79, 0xb0, 0x7c, 0xc3,
								0x98, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};
	uint8_t id[RPC_OPERATION_ID_SIZE];
	uint64_t time_ms;
	rpc_operation_id_make(0x017f22e279b0, random, id);
	assert_memory_equal(id, expected, sizeof id);
	assert_true(rpc_operation_id_time(id, &time_ms));
	assert_int_equal(time_ms, 0x017f22e279b0);
}

static void test_other_versions_have_no_time(void **state)
{
	(void)state;
	static const uint8_t random[OPERATION_ID_RANDOM_SIZE] = {0};
	uint8_t id[RPC_OPERATION_ID_SIZE];
	uint64_t time_ms = 1;
	for (unsigned version = 0; version < 16; version++)
		for (unsigned variant = 0; variant < 4; variant++) {
			rpc_operation_id_make(1000, random, id);
			id[6] = (uint8_t)(version << 4);
			id[8] = (uint8_t)(variant << 6);
			assert_int_equal(rpc_operation_id_time(id, &time_ms), version == 7 && variant == 2);
			assert_int_equal(time_ms, version == 7 && variant == 2 ? 1000 : 0);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_example_of_the_rfc),
		cmocka_unit_test(test_other_versions_have_no_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
