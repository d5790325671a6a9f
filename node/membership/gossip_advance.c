/* SPDX-License-Identifier: Apache-2.0 */
/* How a change of the owners goes on: which step is due (ALGORITHMS.md, Transition).
 *
 *     READ_OLD -> READ_NEW    all that is to be copied is there; every member that is up, and of each partition a majority of its old and of
 *                             its new owners, has this document
 *     READ_NEW -> STABLE      likewise they have this document: no quorum of old owners answers an older one any more
 *     STABLE with leavers     likewise: then a document without them
 *
 * No operator waits for such a step, and any member may propose it: the first by id of those that are up at once, the others when
 * nothing has happened for a while. The register lets one of them win. */
#include "node/membership/gossip_state.h"

#include <stdlib.h>

enum {
	/* that others give to the member whose turn it is, at least; at random up to three times as many */
	PATIENCE_ROUNDS = 8,
	STEP_DEADLINE_ROUNDS = 100, /* that a step is tried for; then anew */
};

const struct gossip_row *gossip_member_row(const struct gossip *self, uint32_t member)
{
	uint64_t id = ring_member(self->document, member)->id;
	int index = gossip_table_find(&self->table, id);

	if (id == self->self.node_id)
		return &self->self;
	return index >= 0 ? &self->table.rows[index] : NULL;
}

bool gossip_is_member_up(const struct gossip *self, uint32_t member)
{
	uint64_t id = ring_member(self->document, member)->id;
	int index = gossip_table_find(&self->table, id);

	return id == self->self.node_id || (index >= 0 && self->table.peers[index].reachability == RING_UP);
}

/* By member: has the document in force, on its disk; has done its part of it. */
struct tally {
	bool *adopted, *ready;
};

static void take_stock(const struct gossip *self, struct tally *out)
{
	for (uint32_t i = 0; i < ring_member_count(self->document); i++) {
		const struct gossip_row *row = gossip_member_row(self, i);

		out->adopted[i] = row != NULL && row->epoch >= self->self.epoch;
		out->ready[i] = row != NULL && row->ready_epoch >= self->self.epoch;
	}
}

static bool is_majority(const uint16_t *row, uint32_t count, const bool *have)
{
	uint32_t votes = 0;

	for (uint32_t i = 0; i < count; i++)
		votes += have[row[i]];
	return count == 0 || votes >= count / 2 + 1;
}

/* Of all datacenters together: then those that stay have something to copy too (upkeep/transfer.c). */
static bool becomes_fewer(const struct ring_document *document, uint32_t partition)
{
	uint32_t before = 0, after = 0;
	const uint16_t *row;

	for (uint32_t i = 0; i < ring_datacenter_count(document); i++) {
		before += ring_old_owners(document, partition, i, &row);
		after += ring_owners(document, partition, i, &row);
	}
	return after < before;
}

/* Who owns that partition from now on has what was to be copied to it, up or not. */
static bool are_receivers_ready(const uint16_t *old, uint32_t old_count, const uint16_t *new, uint32_t new_count,
				bool fewer, const bool *ready)
{
	for (uint32_t i = 0; i < new_count; i++) {
		bool receives = fewer || new_count < old_count;
		uint32_t j = 0;

		while (j < old_count && old[j] != new[i])
			j++;
		receives |= j == old_count;
		if (receives && !ready[new[i]])
			return false;
	}
	return true;
}

static bool is_partition_through(const struct ring_document *document, uint32_t datacenter, uint32_t partition,
				 const struct tally *tally)
{
	const uint16_t *old, *new;
	uint32_t old_count = ring_old_owners(document, partition, datacenter, &old);
	uint32_t new_count = ring_owners(document, partition, datacenter, &new);

	if (ring_transition(document) == RING_WRITE_BOTH_READ_OLD &&
	    !are_receivers_ready(old, old_count, new, new_count, becomes_fewer(document, partition), tally->ready))
		return false;
	return is_majority(old, old_count, tally->adopted) && is_majority(new, new_count, tally->adopted);
}

static bool is_through(const struct gossip *self, const struct tally *tally)
{
	const struct ring_document *document = self->document;
	bool must_be_ready = ring_transition(document) == RING_WRITE_BOTH_READ_OLD;

	for (uint32_t i = 0; i < ring_member_count(document); i++)
		if (gossip_is_member_up(self, i) && (!tally->adopted[i] || (must_be_ready && !tally->ready[i])))
			return false;
	for (uint32_t i = 0; i < ring_datacenter_count(document); i++)
		for (uint32_t partition = 0; partition < ring_partition_count(document); partition++)
			if (!is_partition_through(document, i, partition, tally))
				return false;
	return true;
}

/* The barrier before the next step has fallen. */
static bool has_barrier_fallen(const struct gossip *self)
{
	uint32_t count = ring_member_count(self->document);
	struct tally tally = {.adopted = calloc(count, sizeof *tally.adopted),
			      .ready = calloc(count, sizeof *tally.ready)};
	bool through = false;

	if (tally.adopted != NULL && tally.ready != NULL) {
		take_stock(self, &tally);
		through = is_through(self, &tally);
	}
	free(tally.adopted);
	free(tally.ready);
	return through; /* without memory: a later round */
}

static enum wish next_step(const struct gossip *self)
{
	if (ring_transition(self->document) != RING_STABLE)
		return WISH_NEXT;
	for (uint32_t i = 0; i < ring_member_count(self->document); i++)
		if (ring_member(self->document, i)->state == RING_MEMBER_LEAVING)
			return WISH_DROP_LEAVERS;
	return WISH_NONE;
}

bool gossip_is_first_up(const struct gossip *self)
{
	uint32_t first = 0;

	while (first < ring_member_count(self->document) && !gossip_is_member_up(self, first))
		first++;
	return first < ring_member_count(self->document) &&
	       ring_member(self->document, first)->id == self->self.node_id;
}

void gossip_advance_round(struct gossip *self, uint64_t now_us, struct effects *out)
{
	enum wish step = self->document != NULL ? next_step(self) : WISH_NONE;
	uint64_t patience = PATIENCE_ROUNDS * self->round_us;

	if (step == WISH_NONE || self->proposal.wish != WISH_NONE || !gossip_may_propose(self))
		return;
	if (!has_barrier_fallen(self)) {
		self->step.hash = 0;
		return;
	}
	if (self->step.hash != self->self.ring_hash) { /* fallen just now */
		self->step.hash = self->self.ring_hash;
		self->step.due_us =
			gossip_is_first_up(self) ? now_us : now_us + patience + prng_below(&self->prng, 2 * patience);
	}
	if (now_us < self->step.due_us)
		return;
	self->step.due_us = now_us + patience + prng_below(&self->prng, 2 * patience);
	gossip_propose_step(self, step, now_us + STEP_DEADLINE_ROUNDS * self->round_us, now_us, out);
}

void gossip_hear_ready(struct gossip *self, const struct ready_body *ready)
{
	if (ready->epoch == self->self.epoch && ready->hash == self->self.ring_hash)
		self->self.ready_epoch = ready->epoch;
}
