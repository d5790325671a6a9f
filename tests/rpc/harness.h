/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this room share: cmocka, waiting for what other threads do, and a server that answers when the test says so. */
#ifndef KVRING_TESTS_RPC_HARNESS_H
#define KVRING_TESTS_RPC_HARNESS_H

#include <pthread.h>
#include <sched.h>
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

/* Looks again until the condition holds; false after HARNESS_PATIENCE_MS. */
#define EVENTUALLY(condition)                                                                                          \
	({                                                                                                             \
		uint64_t until_us = rpc_now_us() + HARNESS_PATIENCE_MS * UINT64_C(1000);                               \
		bool holds;                                                                                            \
		while (!(holds = (condition)) && rpc_now_us() < until_us)                                              \
			sched_yield();                                                                                 \
		holds;                                                                                                 \
	})

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

/* A server whose calls lie here until the test answers them. */
enum { RECEIVER_CALLS_MAX = 1024 };

struct receiver {
	struct rpc_server *server;
	pthread_mutex_t lock;
	struct rpc_call *calls[RECEIVER_CALLS_MAX];
	uint64_t askers[RECEIVER_CALLS_MAX]; /* the trace id of each */
	unsigned received;
	unsigned answered; /* of them, by the test */
};

static inline void receiver_on_request(void *arg, struct rpc_call *call)
{
	struct receiver *self = arg;
	struct rpc_request request;
	assert_int_equal(rpc_request_decode(rpc_message_bytes(call->request), &request, NULL), 0);
	pthread_mutex_lock(&self->lock);
	assert_true(self->received < RECEIVER_CALLS_MAX);
	self->askers[self->received] = request.trace_id;
	self->calls[self->received++] = call;
	pthread_mutex_unlock(&self->lock);
}

/* What the options leave open: any port, calls come here, as many as fit. */
static inline void receiver_open(struct receiver *self, struct rpc_server_options options)
{
	*self = (struct receiver){.lock = PTHREAD_MUTEX_INITIALIZER};
	options.address = "127.0.0.1:0";
	options.in_flight_max = RECEIVER_CALLS_MAX;
	options.on_request = receiver_on_request;
	options.arg = self;
	assert_int_equal(rpc_server_open(&options, &self->server, NULL), 0);
}

static inline unsigned receiver_count(struct receiver *self)
{
	pthread_mutex_lock(&self->lock);
	unsigned count = self->received;
	pthread_mutex_unlock(&self->lock);
	return count;
}

static inline struct rpc_server_counts receiver_counts(const struct receiver *self)
{
	struct rpc_server_counts counts;
	rpc_server_counts(self->server, &counts);
	return counts;
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
