/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, and the clock. */
#include "rpc/internal.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct rpc_message *rpc_message_create(size_t size)
{
	struct rpc_message *message = malloc(sizeof *message + size);
	if (message != NULL) {
		message->size = size;
		message->quota = NULL;
		message->budget = NULL;
	}
	return message;
}

void rpc_message_count(struct rpc_message *message, struct rpc_budget *budget)
{
	assert(message->budget == NULL);
	if (budget == NULL)
		return;
	message->budget = rpc_budget_ref(budget);
	rpc_budget_force(budget, message->size);
}

/* ---- quotas ---------------------------------------------------------------------------------------------------------- */

struct rpc_quota {
	atomic_uint references; /* the owner, and one for each message */
	size_t bytes_max;
	_Atomic size_t used;
};

struct rpc_quota *rpc_quota_create(size_t bytes_max)
{
	struct rpc_quota *quota = calloc(1, sizeof *quota);
	if (quota != NULL) {
		atomic_init(&quota->references, 1);
		quota->bytes_max = bytes_max;
	}
	return quota;
}

void rpc_quota_unref(struct rpc_quota *quota)
{
	if (quota != NULL && atomic_fetch_sub(&quota->references, 1) == 1)
		free(quota);
}

static size_t quota_cost(const struct rpc_message *message)
{
	return sizeof *message + message->size;
}

bool rpc_quota_take(struct rpc_quota *quota, struct rpc_message *message)
{
	size_t cost = quota_cost(message);
	assert(message->quota == NULL && cost <= quota->bytes_max);
	if (atomic_fetch_add(&quota->used, cost) > quota->bytes_max - cost) {
		atomic_fetch_sub(&quota->used, cost);
		return false;
	}
	atomic_fetch_add(&quota->references, 1);
	message->quota = quota;
	return true;
}

struct rpc_slice rpc_message_bytes(const struct rpc_message *message)
{
	return (struct rpc_slice){message->bytes, message->size};
}

void rpc_message_free(struct rpc_message *message)
{
	if (message != NULL && message->quota != NULL) {
		atomic_fetch_sub(&message->quota->used, quota_cost(message));
		rpc_quota_unref(message->quota);
	}
	if (message != NULL && message->budget != NULL) {
		rpc_budget_give(message->budget, message->size);
		rpc_budget_unref(message->budget);
	}
	free(message);
}

uint64_t rpc_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
