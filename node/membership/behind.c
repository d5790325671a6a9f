/* SPDX-License-Identifier: Apache-2.0 */
#include "node/membership/behind.h"

#include <stddef.h>

static bool is_behind(struct ring_table *ring, uint64_t epoch)
{
	const struct ring_view *view = ring_view_acquire(ring);
	bool behind = view->document != NULL && ring_epoch(view->document) < epoch;

	ring_view_release(ring, view);
	return behind;
}

void behind_notice(uint64_t *told, struct ring_table *ring, struct address self, uint64_t epoch, uint64_t node_id,
		   struct effects *out)
{
	struct message *message;

	if (epoch <= *told || epoch > RING_EPOCH_MAX) /* the latter is made up, and would hide all real ones */
		return;
	*told = epoch;
	message = is_behind(ring, epoch) ? message_create(out->arena, MESSAGE_BEHIND) : NULL;
	if (message == NULL)
		return;
	message->from = self;
	message->to = (struct address){self.node_id, ACTOR_GOSSIP, 0};
	message->behind = (struct behind_body){.epoch = epoch, .node_id = node_id};
	effects_send(out, message);
}
