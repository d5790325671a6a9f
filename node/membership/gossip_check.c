/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include "node/membership/gossip_state.h"

static void check_rows(const struct gossip *self)
{
	assert(self->table.count <= GOSSIP_ROWS_MAX);
	for (uint32_t i = 0; i < self->table.count; i++) {
		assert(self->table.ids[i] != self->self.node_id);              /* G4 */
		assert(i == 0 || self->table.ids[i - 1] < self->table.ids[i]); /* G4 */
		assert(self->document != NULL || !self->table.peers[i].is_member);
		assert(self->table.peers[i].reachability != RING_DOWN ||
		       self->table.peers[i].report_count >= DETECTOR_REPORTERS); /* D1 */
		assert(!self->table.peers[i].is_member || !self->table.peers[i].forgotten);
	}
}

static void check_document(const struct gossip *self)
{
	if (self->document == NULL) {
		assert(self->self.epoch == 0);
		assert(self->self.ring_hash == 0);
		assert(self->document_size == 0);
		return;
	}
	assert(self->self.epoch == ring_epoch(self->document)); /* G5 */
	assert(self->self.ring_hash == ring_hash(self->document));
	assert(self->document_bytes != NULL);
	assert(self->status != NULL);
	assert(self->self.cluster_id == ring_cluster_id(self->document));
}

static void check_bus_links(const struct gossip *self)
{
	assert(self->bus_link_count <= GOSSIP_BUS_LINKS);
	for (uint32_t i = 0; i < self->bus_link_count; i++) {
		assert(self->bus_links[i] != self->self.node_id);
		for (uint32_t j = 0; j < i; j++)
			assert(self->bus_links[i] != self->bus_links[j]); /* G6 */
	}
}

void gossip_check(struct gossip *self)
{
	assert(self->self.epoch >= self->checked_epoch); /* G2 */
	self->checked_epoch = self->self.epoch;
	assert(self->self.node_id != 0);
	assert(self->self.incarnation > 0);
	/* A proposal follows the ring in force. */
	assert(self->proposal.wish == WISH_NONE || self->proposal.parent_hash == self->self.ring_hash);
	assert(self->proposal.wish != WISH_NONE || self->proposal.question == NULL);
	check_rows(self);
	check_document(self);
	check_bus_links(self);
}
