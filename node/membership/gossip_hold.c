/* SPDX-License-Identifier: Apache-2.0 */
/* Holding: while another process may go by the id of this node, this one serves nobody. */
#include "node/membership/gossip_state.h"

enum {
	SETTLE_ROUNDS = 4, /* after a start, and one for each doubling of the members: see gossip_settle_rounds */
	HOLD_ROUNDS = 8,   /* without a rise, until another process of this id counts as dead */
};

uint64_t gossip_settle_rounds(const struct gossip *self)
{
	uint64_t rounds = SETTLE_ROUNDS;

	for (uint32_t n = 1; n < self->table.count + 1; n *= 2)
		rounds++;
	return rounds;
}

void gossip_hold(struct gossip *self)
{
	self->publish_now |= !gossip_is_held(self);
	self->twin.held_round = atomic_load_explicit(&self->counters.rounds, memory_order_relaxed) + 1;
}

bool gossip_is_held(const struct gossip *self)
{
	uint64_t round = atomic_load_explicit(&self->counters.rounds, memory_order_relaxed) + 1;
	uint64_t from = gossip_settle_rounds(self);

	if (from < self->twin.held_round)
		from = self->twin.held_round;
	return self->twin.held_round > 0 && !self->displaced && round < from + HOLD_ROUNDS;
}
