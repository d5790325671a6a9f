/* SPDX-License-Identifier: Apache-2.0 */
/* With whom rows are exchanged, who gets the ring document, and who is asked for a newer one. */
#include "node/membership/gossip_state.h"

#include <assert.h>

enum {
	PUSH_AGAIN_ROUNDS = 4, /* the document to the same node */
	STRANGE_ROUNDS = 4,    /* between pulls of a node that is in no cluster yet */
};

static void exchange_with(struct gossip *self, uint64_t node_id, uint16_t index, bool with_document, uint64_t now_us,
			  struct effects *out)
{
	struct gossip_rows *gossip = gossip_pull_rows(self, out);

	if (gossip != NULL && with_document && self->document != NULL)
		gossip_attach_document(self, gossip, out);
	gossip_send(self, MESSAGE_GOSSIP, node_id, index, gossip, now_us, out);
}

uint32_t gossip_count_contacts(const struct gossip *self)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < self->table.count; i++)
		count += gossip_is_contact(self, i);
	return count;
}

/* There must be one. */
uint32_t gossip_random_contact(struct gossip *self, uint32_t contact_count)
{
	uint32_t skip = (uint32_t)prng_below(&self->prng, contact_count), index = 0;

	assert(contact_count <= self->table.count);
	for (;; index++)
		if (gossip_is_contact(self, index) && skip-- == 0)
			return index;
}

/* Push-pull with a random node: also with ones not heard of lately, or two halves would never join. */
void gossip_exchange(struct gossip *self, uint64_t now_us, struct effects *out)
{
	if (self->document == NULL)
		for (uint32_t i = 0; i < self->seed_count; i++)
			exchange_with(self, 0, (uint16_t)(1 + i), false, now_us, out);
	uint32_t contacts = gossip_count_contacts(self);
	if (contacts > 0)
		exchange_with(self, self->table.rows[gossip_random_contact(self, contacts)].node_id, 0, false, now_us,
			      out);
}

static bool is_behind(const struct gossip *self, uint32_t index)
{
	const struct gossip_row *row = &self->table.rows[index];

	return self->document != NULL && self->table.peers[index].is_member &&
	       (row->cluster_id == 0 || row->epoch < self->self.epoch);
}

/* The document for members that have not got it, starting anywhere so that all get their turn. */
void gossip_push_document(struct gossip *self, uint32_t max, uint64_t now_us, struct effects *out)
{
	uint32_t start = self->table.count ? (uint32_t)prng_below(&self->prng, self->table.count) : 0;

	for (uint32_t i = 0, pushed = 0; i < self->table.count && pushed < max; i++) {
		uint32_t index = (start + i) % self->table.count;
		struct gossip_peer *peer = &self->table.peers[index];

		if (!is_behind(self, index) ||
		    (peer->pushed_us && now_us < peer->pushed_us + PUSH_AGAIN_ROUNDS * self->round_us))
			continue;
		peer->pushed_us = now_us;
		pushed++;
		exchange_with(self, self->table.rows[index].node_id, 0, true, now_us, out);
	}
}

/* Has a newer document, and not the one that was refused: that would come again each round. */
static bool is_ahead(const struct gossip *self, uint64_t cluster_id, uint64_t epoch, uint64_t hash)
{
	return cluster_id != 0 && !gossip_is_foreign(self, cluster_id) && epoch > self->self.epoch &&
	       (self->refused_hash == 0 || hash != self->refused_hash);
}

/* Asks one node that has a newer document for it; not more than once per round. */
void gossip_pull_document(struct gossip *self, const struct gossip_rows *gossip, uint64_t now_us, struct effects *out)
{
	uint64_t from = is_ahead(self, gossip->cluster_id, gossip->epoch, gossip->ring_hash) ? gossip->from : 0;

	for (uint32_t i = 0; !from && i < gossip->row_count && i < GOSSIP_ROWS_MAX; i++)
		if (is_ahead(self, gossip->rows[i].cluster_id, gossip->rows[i].epoch, gossip->rows[i].ring_hash))
			from = gossip->rows[i].node_id;
	if (!from || from == self->self.node_id || now_us < self->pull_after_us)
		return;
	/* A node that is in no cluster yet may hear of one that does not want it: no haste. */
	self->pull_after_us = now_us + self->round_us * (self->self.cluster_id ? 1 : STRANGE_ROUNDS);
	exchange_with(self, from, 0, false, now_us, out);
}

/* Whom to ask for a newer document that somebody has: who is known to have one, or anybody. 0: nobody is there to be asked. */
static uint64_t find_newer(struct gossip *self, uint64_t hint)
{
	uint32_t contacts = gossip_count_contacts(self);
	int index = gossip_table_find(&self->table, hint);

	if (index >= 0 && gossip_is_contact(self, (uint32_t)index))
		return hint;
	for (uint32_t i = 0; i < self->table.count; i++) {
		const struct gossip_row *row = &self->table.rows[i];

		if (gossip_is_contact(self, i) && is_ahead(self, row->cluster_id, row->epoch, row->ring_hash))
			return row->node_id;
	}
	return contacts > 0 ? self->table.rows[gossip_random_contact(self, contacts)].node_id : 0;
}

void gossip_get_newer(struct gossip *self, uint64_t epoch, uint64_t node_id, uint64_t now_us, struct effects *out)
{
	uint64_t from;

	if (self->document == NULL || epoch <= self->self.epoch || now_us < self->pull_after_us)
		return;
	from = find_newer(self, node_id);
	if (from == 0)
		return;
	self->pull_after_us = now_us + self->round_us;
	exchange_with(self, from, 0, false, now_us, out);
}
