/* SPDX-License-Identifier: Apache-2.0 */
/* What gossip tells: operators by notes, and the driver whom to be connected to. */
#include <assert.h>
#include <string.h>
#include "node/membership/gossip_state.h"

/* ---- notes -------------------------------------------------------------------------------------------------- */

void gossip_tell_member(enum note_kind kind, const struct gossip_row *row, uint64_t incarnation, struct effects *out)
{
	/* The row may be replaced in the same batch of steps. */
	effects_note(out, &(struct note){.kind = kind,
					 .id = row->node_id,
					 .count = incarnation,
					 .name = rpc_arena_printf(out->arena, "%s", row->name)});
}

/* "n1, n2": the first members that report it. NULL without memory. */
static const char *name_reporters(const struct gossip *self, uint32_t index, struct effects *out)
{
	const struct gossip_row *suspect = &self->table.rows[index];
	const char *names = detector_reports(&self->self, suspect) ? self->self.name : "";

	for (uint32_t i = 0, count = *names != 0; i < self->table.count && count < DETECTOR_REPORTERS; i++) {
		if (i == index || !self->table.peers[i].is_member || !detector_reports(&self->table.rows[i], suspect))
			continue;
		names = rpc_arena_printf(out->arena, "%s%s%s", names, count++ > 0 ? ", " : "",
					 self->table.rows[i].name);
		if (names == NULL)
			return NULL;
	}
	return names;
}

void gossip_tell_state(const struct gossip *self, uint32_t index, struct effects *out)
{
	const struct gossip_row *row = &self->table.rows[index];
	const struct gossip_peer *peer = &self->table.peers[index];
	uint64_t incarnation = peer->heard ? row->incarnation : 0;

	assert(index < self->table.count);
	if (peer->reachability == RING_UP)
		gossip_tell_member(NOTE_MEMBER_UP, row, incarnation, out);
	else if (peer->reachability == RING_UNREACHABLE)
		gossip_tell_member(NOTE_MEMBER_UNREACHABLE, row, incarnation, out);
	else if (peer->reachability == RING_DOWN)
		effects_note(out, &(struct note){.kind = NOTE_MEMBER_DOWN,
						 .id = row->node_id,
						 .count = incarnation,
						 .members = peer->report_count,
						 .name = rpc_arena_printf(out->arena, "%s", row->name),
						 .text = name_reporters(self, index, out)});
}

void gossip_tell_autoscale(const struct gossip *self, enum note_kind kind, const char *why, struct effects *out)
{
	effects_note(out, &(struct note){.kind = kind,
					 .id = self->scale_decision.member_id,
					 .count = self->self.epoch,
					 .name = rpc_arena_printf(out->arena, "%s", self->scale_decision.what),
					 .text = why != NULL ? rpc_arena_printf(out->arena, "%s", why) : NULL});
}

/* Members of the document that were heard before they were members. */
static void tell_known_members(const struct gossip *self, struct effects *out)
{
	for (uint32_t i = 0; i < self->table.count; i++)
		if (self->table.peers[i].is_member && self->table.peers[i].reachability == RING_UP)
			gossip_tell_member(NOTE_MEMBER_UP, &self->table.rows[i], self->table.rows[i].incarnation, out);
}

static void tell_ring(struct gossip *self, struct effects *out)
{
	assert(self->document != NULL);
	struct note note = {
		.id = ring_cluster_id(self->document),
		.count = ring_epoch(self->document),
		.hash = ring_hash(self->document),
		.members = ring_member_count(self->document),
		.partitions = ring_partition_count(self->document),
	};

	if (!self->is_told_joined) {
		note.kind = NOTE_JOINED;
		effects_note(out, &note);
	}
	note.kind = NOTE_RING_INSTALLED;
	effects_note(out, &note);
	if (ring_member_find(self->document, self->self.node_id) < 0) {
		note.kind = NOTE_REMOVED;
		effects_note(out, &note);
	}
	self->is_told_joined = true;
	self->ring_changed = false;
}

static void tell_refusals(struct gossip *self, struct effects *out)
{
	for (enum note_kind kind = 0; kind < NOTE_KIND_COUNT; kind++) {
		if (self->noted[kind] == 0)
			continue;
		effects_note(out, &(struct note){.kind = kind, .count = self->noted[kind]});
		self->noted[kind] = 0;
	}
}

/* ---- contacts ----------------------------------------------------------------------------------------------- */

bool gossip_is_contact(const struct gossip *self, uint32_t row_index)
{
	const struct gossip_peer *peer = &self->table.peers[row_index];

	return peer->is_member || (self->document == NULL && !peer->forgotten);
}

static bool is_bus_link(const struct gossip *self, uint64_t node_id)
{
	for (uint32_t i = 0; i < self->bus_link_count; i++)
		if (self->bus_links[i] == node_id)
			return true;
	return false;
}

static void add_contact(const struct gossip *self, uint32_t index, bool bus, struct contacts *contacts)
{
	const struct gossip_row *row = &self->table.rows[index];
	struct contact *contact = &contacts->list[contacts->count++];

	assert(index < self->table.count);
	assert(row->node_id != self->self.node_id);
	*contact =
		(struct contact){.node_id = row->node_id, .is_member = self->table.peers[index].is_member, .bus = bus};
	memcpy(contact->name, row->name, sizeof contact->name);
	memcpy(contact->peer_address, row->peer_address, sizeof contact->peer_address);
	memcpy(contact->bus_address, row->bus_address, sizeof contact->bus_address);
	contacts->bus_count += bus;
}

/* Without memory the flag stays, and the next step tries again. */
static void tell_contacts(struct gossip *self, struct effects *out)
{
	struct contacts *contacts = rpc_arena_zalloc(out->arena, sizeof *contacts);

	if (contacts != NULL)
		contacts->list = rpc_arena_alloc(out->arena, (self->table.count + 1) * sizeof *contacts->list);
	if (contacts == NULL || contacts->list == NULL)
		return;
	for (uint32_t i = 0; i < self->bus_link_count; i++) {
		int index = gossip_table_find(&self->table, self->bus_links[i]);

		if (index >= 0 && gossip_is_contact(self, (uint32_t)index))
			add_contact(self, (uint32_t)index, true, contacts);
	}
	for (uint32_t i = 0; i < self->table.count; i++)
		if (gossip_is_contact(self, i) && !is_bus_link(self, self->table.rows[i].node_id))
			add_contact(self, i, false, contacts);
	assert(contacts->count <= self->table.count);
	assert(contacts->bus_count <= GOSSIP_BUS_LINKS);
	out->contacts = contacts;
	self->contacts_changed = false;
}

void gossip_tell(struct gossip *self, struct effects *out)
{
	if (self->ring_changed) {
		tell_ring(self, out);
		tell_known_members(self, out);
	}
	tell_refusals(self, out);
	if (self->contacts_changed)
		tell_contacts(self, out);
}
