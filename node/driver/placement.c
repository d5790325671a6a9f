/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/placement.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static void place(struct placement *self, enum actor_kind kind, uint32_t index, uint32_t threads)
{
	uint32_t at = self->actor_count++;
	uint32_t thread = threads == 0 ? at : index % threads;
	self->actors[at] = (struct placed){kind, index, thread};
	if (thread >= self->thread_count)
		self->thread_count = thread + 1;
}

int placement_create(uint32_t coordinators, uint32_t replicas, uint32_t threads, struct placement *out)
{
	*out = (struct placement){.coordinator_count = coordinators, .replica_count = replicas};
	out->actors = calloc(coordinators + replicas + 1, sizeof *out->actors);
	if (out->actors == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < coordinators; i++)
		place(out, ACTOR_COORDINATOR, i, threads);
	for (uint32_t i = 0; i < replicas; i++)
		place(out, ACTOR_REPLICA, i, threads);
	place(out, ACTOR_GOSSIP, 0, threads);
	return 0;
}

void placement_destroy(struct placement *self)
{
	free(self->actors);
	*self = (struct placement){0};
}

uint32_t placement_find(const struct placement *self, enum actor_kind kind, uint32_t index)
{
	switch (kind) {
	case ACTOR_COORDINATOR:
		assert(index < self->coordinator_count);
		return index;
	case ACTOR_REPLICA:
		assert(index < self->replica_count);
		return self->coordinator_count + index;
	default:
		assert(kind == ACTOR_GOSSIP && index == 0);
		return self->actor_count - 1;
	}
}
