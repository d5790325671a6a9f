/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/placement.h"

#include <errno.h>
#include <stdlib.h>

static void place(struct placement *self, enum actor_kind kind, uint32_t count, uint32_t threads)
{
	self->kinds[kind].first = self->actor_count;
	self->kinds[kind].count = count;
	for (uint32_t index = 0; index < count; index++) {
		uint32_t at = self->actor_count++;
		uint32_t thread = threads == 0 ? at : index % threads;
		self->actors[at] = (struct placed){kind, index, thread};
		if (thread >= self->thread_count)
			self->thread_count = thread + 1;
	}
}

int placement_create(uint32_t coordinators, uint32_t replicas, uint32_t threads, struct placement *out)
{
	*out = (struct placement){0};
	out->actors = calloc(coordinators + replicas + 2, sizeof *out->actors);
	if (out->actors == NULL)
		return -ENOMEM;
	place(out, ACTOR_COORDINATOR, coordinators, threads);
	place(out, ACTOR_REPLICA, replicas, threads);
	place(out, ACTOR_GOSSIP, 1, threads);
	place(out, ACTOR_UPKEEP, 1, threads);
	return 0;
}

void placement_destroy(struct placement *self)
{
	free(self->actors);
	*self = (struct placement){0};
}
