/* SPDX-License-Identifier: Apache-2.0 */
/* Placement: which thread hosts which actor. A table, made before the threads and constant afterwards.
 *
 *     threads 0   one thread for each actor
 *     threads n   coordinator i and replica i share thread i % n, gossip and upkeep share thread 0: a request of a client and the
 *                 replica of its key meet without a mailbox between them when n is 1
 *
 * Threading   Pure; afterwards read by all.
 * Errors      -ENOMEM.
 */
#ifndef KVRING_NODE_PLACEMENT_H
#define KVRING_NODE_PLACEMENT_H

#include <assert.h>
#include "node/actor/message.h"

struct placed {
	enum actor_kind kind;
	uint32_t index;
	uint32_t thread;
};

struct placement {
	struct placed *actors; /* those of a kind stand together, by index */
	uint32_t actor_count, thread_count;
	struct {
		uint32_t first, count;
	} kinds[ACTOR_KIND_COUNT];
};

RPC_OK int placement_create(uint32_t coordinators, uint32_t replicas, uint32_t threads, struct placement *out);
void placement_destroy(struct placement *);

/* Where an actor stands in the table; it must exist. */
static inline uint32_t placement_find(const struct placement *self, enum actor_kind kind, uint32_t index)
{
	assert(kind < ACTOR_KIND_COUNT);
	assert(index < self->kinds[kind].count);
	return self->kinds[kind].first + index;
}

#endif
