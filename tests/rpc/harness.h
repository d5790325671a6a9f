/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this room share: cmocka, and waiting for callbacks without sleeping. */
#ifndef KVRING_TESTS_RPC_HARNESS_H
#define KVRING_TESTS_RPC_HARNESS_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <errno.h>
#include <cmocka.h>
#include "rpc/rpc.h"

enum { HARNESS_PATIENCE_MS = 20000 };

/* A counter that one thread waits on and others raise. */
struct latch {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned count;
};

#define LATCH_INIT                                                                                                     \
	{                                                                                                              \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                                                 \
	}

static inline void latch_raise(struct latch *latch)
{
	pthread_mutex_lock(&latch->lock);
	latch->count++;
	pthread_cond_broadcast(&latch->changed);
	pthread_mutex_unlock(&latch->lock);
}

static inline unsigned latch_count(struct latch *latch)
{
	pthread_mutex_lock(&latch->lock);
	unsigned count = latch->count;
	pthread_mutex_unlock(&latch->lock);
	return count;
}

/* Waits until the count is at least `wanted`; false after `ms`. */
static inline bool latch_wait_ms(struct latch *latch, unsigned wanted, unsigned ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&latch->lock);
	int status = 0;
	while (latch->count < wanted && status == 0)
		status = pthread_cond_timedwait(&latch->changed, &latch->lock, &until);
	bool reached = latch->count >= wanted;
	pthread_mutex_unlock(&latch->lock);
	return reached;
}

static inline void latch_wait(struct latch *latch, unsigned wanted)
{
	assert_true(latch_wait_ms(latch, wanted, HARNESS_PATIENCE_MS));
}

static inline struct rpc_slice slice_of(const char *text)
{
	return (struct rpc_slice){(const uint8_t *)text, strlen(text)};
}

static inline void assert_slice(struct rpc_slice slice, const char *text)
{
	assert_int_equal(slice.size, strlen(text));
	assert_memory_equal(slice.data, text, slice.size);
}

static inline void assert_contains(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

#endif
