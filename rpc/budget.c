/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/budget.h"

#include <assert.h>
#include <stdlib.h>

enum { ARRIVING_PART = 4, UNSENT_PART = 4 }; /* of the limit: each has a quarter, and the rest is for work */

/* Only counts: nothing else is published by them, so relaxed will do. */
static uint64_t read_count(const _Atomic uint64_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static void add(_Atomic uint64_t *count, uint64_t bytes)
{
	atomic_fetch_add_explicit(count, bytes, memory_order_relaxed);
}

static void subtract(_Atomic uint64_t *count, uint64_t bytes)
{
	uint64_t before = atomic_fetch_sub_explicit(count, bytes, memory_order_relaxed);
	assert(before >= bytes);
}

static bool add_up_to(_Atomic uint64_t *count, uint64_t bytes, uint64_t limit)
{
	uint64_t used = read_count(count);
	do {
		if (bytes > limit || used > limit - bytes)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(count, &used, used + bytes, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

struct rpc_budget *rpc_budget_create(uint64_t limit)
{
	struct rpc_budget *self = calloc(1, sizeof *self);
	if (self != NULL) {
		self->limit = limit;
		atomic_init(&self->references, 1);
	}
	return self;
}

struct rpc_budget *rpc_budget_ref(struct rpc_budget *self)
{
	if (self != NULL)
		atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
	return self;
}

void rpc_budget_unref(struct rpc_budget *self)
{
	if (self != NULL && atomic_fetch_sub_explicit(&self->references, 1, memory_order_acq_rel) == 1)
		free(self);
}

bool rpc_budget_take(struct rpc_budget *self, uint64_t bytes)
{
	if (add_up_to(&self->used, bytes, self->limit))
		return true;
	add(&self->refused, 1);
	return false;
}

void rpc_budget_force(struct rpc_budget *self, uint64_t bytes)
{
	add(&self->used, bytes);
}

void rpc_budget_give(struct rpc_budget *self, uint64_t bytes)
{
	subtract(&self->used, bytes);
}

bool rpc_budget_arrive(struct rpc_budget *self, uint64_t bytes)
{
	uint64_t none = 0;
	if (!add_up_to(&self->arriving, bytes, self->limit / ARRIVING_PART) &&
	    !atomic_compare_exchange_strong(&self->arriving, &none, bytes))
		return false;
	add(&self->used, bytes);
	return true;
}

void rpc_budget_arrived(struct rpc_budget *self, uint64_t bytes)
{
	subtract(&self->arriving, bytes);
	subtract(&self->used, bytes);
}

bool rpc_budget_may_queue(struct rpc_budget *self, uint64_t own, uint64_t bytes)
{
	uint64_t part = self->limit / UNSENT_PART, unsent = read_count(&self->unsent);
	uint64_t free = unsent < part ? part - unsent : 0;
	if (own + bytes <= RPC_BUDGET_SMALL || own + bytes <= free || (unsent == 0 && own == 0))
		return true;
	add(&self->refused, 1);
	return false;
}

void rpc_budget_queue(struct rpc_budget *self, uint64_t bytes)
{
	add(&self->unsent, bytes);
	add(&self->used, bytes);
}

void rpc_budget_sent(struct rpc_budget *self, uint64_t bytes)
{
	subtract(&self->unsent, bytes);
	subtract(&self->used, bytes);
}
