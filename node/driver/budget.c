/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/budget.h"

#include <assert.h>

void budget_init(struct budget *budget, uint64_t limit)
{
	budget->limit = limit;
	atomic_init(&budget->used, 0);
	atomic_init(&budget->refused, 0);
}

/* Only a count: nothing else is published by it, so relaxed will do. */
bool budget_take(struct budget *budget, uint64_t bytes)
{
	uint64_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);
	do {
		if (bytes > budget->limit || used > budget->limit - bytes) {
			atomic_fetch_add_explicit(&budget->refused, 1, memory_order_relaxed);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(&budget->used, &used, used + bytes, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

void budget_force(struct budget *budget, uint64_t bytes)
{
	atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed);
}

void budget_give(struct budget *budget, uint64_t bytes)
{
	uint64_t before = atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
	assert(before >= bytes);
}
