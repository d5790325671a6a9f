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
#include "rpc/rpc.h"

static inline struct rpc_slice slice(const char *text)
{
	return (struct rpc_slice){(const uint8_t *)text, strlen(text)};
}

static inline void assert_slice_equal(struct rpc_slice a, struct rpc_slice b)
{
	assert_int_equal(a.size, b.size);
	if (a.size > 0)
		assert_memory_equal(a.data, b.data, a.size);
}

#endif
