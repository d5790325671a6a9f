/* SPDX-License-Identifier: Apache-2.0 */
/* Autoscale in the gossip actor: every member watches, and the first by id of those that are up decides (autoscale.h). What it decides is
 * told, and with autoscale = apply proposed to the members as an operator's change would be. */
#include "node/membership/gossip_state.h"

#include <stdlib.h>

enum {
	EVERY_ROUNDS = 25,
	DEADLINE_ROUNDS = 100, /* that the members have to agree */
};

static void look_at_member(const struct gossip *self, uint32_t member, struct autoscale_member *out)
{
	const struct gossip_row *row = gossip_member_row(self, member);

	*out = (struct autoscale_member){0};
	if (row == NULL)
		return;
	*out = (struct autoscale_member){
		.sound = gossip_is_member_up(self, member) && !row->unproven && !row->receiving &&
			 row->figures.dead_shards == 0 && row->epoch >= self->self.epoch,
		.own_weight = row->weight > 0 ? row->weight : RING_WEIGHT_DEFAULT,
		.disk_bytes = row->figures.disk_bytes,
		.load_permille = row->figures.load_permille,
	};
}

/* What cannot be done is not asked for either. */
static bool is_possible(const struct gossip *self, const struct autoscale_decision *decision, struct effects *out)
{
	struct ring_document *document = NULL;
	struct ring_error why = {"out of memory"};
	int error = gossip_make_change(self, &decision->change, &document, &why);

	ring_document_destroy(&document);
	if (error)
		gossip_tell_autoscale(self, NOTE_AUTOSCALE_CANNOT,
				      rpc_arena_printf(out->arena, "%s: %s", decision->why, why.text), out);
	return !error;
}

static void act(struct gossip *self, uint64_t now_us, struct effects *out)
{
	const struct autoscale_decision *decision = &self->scale_decision;

	if (!is_possible(self, decision, out))
		return;
	if (self->autoscale.settings.mode != AUTOSCALE_APPLY) {
		gossip_tell_autoscale(self, NOTE_AUTOSCALE_PROPOSES, decision->why, out);
		return;
	}
	gossip_tell_autoscale(self, NOTE_AUTOSCALE_APPLIES, decision->why, out);
	gossip_propose_step(self, WISH_SCALE, now_us + DEADLINE_ROUNDS * self->round_us, now_us, out);
}

void gossip_autoscale_round(struct gossip *self, uint64_t now_us, struct effects *out)
{
	uint64_t round = atomic_load_explicit(&self->counters.rounds, memory_order_relaxed);
	bool may_decide = self->proposal.wish == WISH_NONE && gossip_may_propose(self);
	struct autoscale_member *members;

	if (self->autoscale.settings.mode == AUTOSCALE_OFF || self->document == NULL || round % EVERY_ROUNDS != 0)
		return;
	members = calloc(ring_member_count(self->document), sizeof *members);
	for (uint32_t i = 0; members != NULL && i < ring_member_count(self->document); i++)
		look_at_member(self, i, &members[i]);
	if (members != NULL && autoscale_look(&self->autoscale, self->document, members,
					      may_decide && gossip_is_first_up(self), now_us, &self->scale_decision))
		act(self, now_us, out);
	free(members); /* without memory: later */
}
