/* SPDX-License-Identifier: Apache-2.0 */
/* Timer heap: which of many entries is due next.
 *
 * A binary heap of pointers to entries embedded in the caller's structs; an entry knows its place, so that it can be
 * moved or taken out.
 *
 * Threading   One owner.
 * Errors      -ENOMEM from timer_heap_add.
 */
#ifndef KVRING_NODE_TIMER_HEAP_H
#define KVRING_NODE_TIMER_HEAP_H

#include <stdint.h>
#include "rpc/base.h"

struct timer_entry {
	uint64_t due_us;
	uint32_t place; /* 1-based; 0: not in a heap */
};

struct timer_heap {
	struct timer_entry **entries; /* [0] unused */
	uint32_t count, capacity;
};

void timer_heap_fini(struct timer_heap *);
RPC_OK int timer_heap_add(struct timer_heap *, struct timer_entry *);
void timer_heap_remove(struct timer_heap *, struct timer_entry *); /* nothing when not in it */
void timer_heap_move(struct timer_heap *, struct timer_entry *, uint64_t due_us);
/* NULL when empty. */
struct timer_entry *timer_heap_first(const struct timer_heap *);

#endif
