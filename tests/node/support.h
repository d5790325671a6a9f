/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of node/ share. */
#ifndef KVRING_TESTS_NODE_SUPPORT_H
#define KVRING_TESTS_NODE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "rpc/arena.h"
#include "rpc/operation_id.h"
#include "rpc/rpc.h"

static inline struct rpc_slice slice(const char *text)
{
	return (struct rpc_slice){(const uint8_t *)text, strlen(text)};
}

/* The id of operation `number`, begun at this Unix time. The number stands in its last four bytes, big endian. */
static inline void operation_id_of(uint32_t number, uint64_t unix_ms, uint8_t id_out[RPC_OPERATION_ID_SIZE])
{
	uint8_t random[OPERATION_ID_RANDOM_SIZE] = {0};

	for (int i = 0; i < 4; i++)
		random[OPERATION_ID_RANDOM_SIZE - 1 - i] = (uint8_t)(number >> (8 * i));
	rpc_operation_id_make(unix_ms, random, id_out);
}

static inline uint32_t operation_number(const uint8_t id[RPC_OPERATION_ID_SIZE])
{
	uint32_t number = 0;

	for (int i = 4; i > 0; i--)
		number = number << 8 | id[RPC_OPERATION_ID_SIZE - i];
	return number;
}

static inline void assert_slice_equal(struct rpc_slice a, struct rpc_slice b)
{
	assert_int_equal(a.size, b.size);
	if (a.size > 0)
		assert_memory_equal(a.data, b.data, a.size);
}

#endif
