/* SPDX-License-Identifier: Apache-2.0 */
/* A ring that is forced: a majority of the members is lost for good, so that nothing can be agreed on any more.
 *
 * What the lost alone held is gone, and if they live after all, cut off, there are two clusters of one name: each refuses the other's ring, and writes
 * of either are lost to the other. So no lost member may be up, and where a majority is left this is refused. */
#include "node/membership/gossip_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct gossip_verdict refuse(uint32_t code, const char *text)
{
	return (struct gossip_verdict){code, text};
}

/* A text that there may be no memory for, but that says that something is wrong. */
static const char *said(const char *text)
{
	return text != NULL ? text : "out of memory";
}

/* The id of a member that may be given up, or what is wrong. */
static const char *find_lost(const struct gossip *self, const char *name, uint64_t *id_out, struct arena *arena)
{
	int member = ring_member_find_name(self->document, name), index;

	if (member < 0)
		return said(rpc_arena_printf(arena, "no member is named '%s': `kvctl status` lists them", name));
	*id_out = ring_member(self->document, (uint32_t)member)->id;
	index = gossip_table_find(&self->table, *id_out);
	if (*id_out == self->self.node_id)
		return said(rpc_arena_printf(arena, "%s is the node that you ask: ask one that is to stay", name));
	if (index >= 0 && self->table.peers[index].reachability == RING_UP)
		return said(rpc_arena_printf(arena, "%s is up: it is not lost", name));
	return NULL;
}

/* What speaks against forcing, or NULL. */
static const char *check_need(const struct gossip *self, const struct force_body *force, struct arena *arena)
{
	uint32_t members = ring_member_count(self->document);

	if (ring_member_find(self->document, self->self.node_id) < 0)
		return "this node is no member of the ring: ask one that is";
	if (self->displaced || gossip_is_held(self))
		return "another process goes by this node's id: ask another node";
	if (force->ring_hash != self->self.ring_hash)
		return said(rpc_arena_printf(
			arena,
			"another ring is in force here than the one that you looked at (now epoch %" PRIu64
			"): look again",
			self->self.epoch));
	if (members - force->lost_count >= members / 2 + 1)
		return said(rpc_arena_printf(
			arena,
			"%u of %u members would be left, which is a majority: plan to remove or replace the "
			"others, which loses nothing",
			members - force->lost_count, members));
	return NULL;
}

static int make(struct gossip *self, const uint64_t *lost, uint32_t lost_count, uint64_t now_us, struct rpc_error *why)
{
	struct ring_document *document;
	struct ring_error text = {"out of memory"};
	uint8_t *bytes;
	size_t size;
	int error = ring_force(self->document, lost, lost_count, &document, &text);

	snprintf(why->text, sizeof why->text, "%.150s", text.text);
	if (error)
		return error;
	error = ring_document_encode(document, &bytes, &size);
	ring_document_destroy(&document);
	if (error)
		return error;
	error = gossip_install(self, (struct rpc_slice){bytes, size}, now_us, why);
	free(bytes);
	return error;
}

struct gossip_verdict gossip_force(struct gossip *self, const struct force_body *force, uint64_t now_us,
				   struct effects *out)
{
	uint64_t *lost = rpc_arena_alloc(out->arena, (force->lost_count + 1) * sizeof *lost);
	struct rpc_error why = {"out of memory"};
	const char *wrong = NULL;
	int error;

	if (lost == NULL)
		return refuse(RPC_CODE_RESOURCE_EXHAUSTED, "out of memory");
	if (self->document == NULL)
		return refuse(RPC_CODE_UNAVAILABLE, "this node is in no cluster: ask another node");
	for (uint32_t i = 0; i < force->lost_count && wrong == NULL; i++) {
		wrong = find_lost(self, force->lost[i], &lost[i], out->arena);
		for (uint32_t j = 0; j < i && wrong == NULL; j++)
			if (lost[i] == lost[j])
				wrong = "a member is named twice";
	}
	if (wrong == NULL)
		wrong = check_need(self, force, out->arena);
	if (wrong != NULL)
		return refuse(RPC_CODE_FAILED_PRECONDITION, wrong);
	error = make(self, lost, force->lost_count, now_us, &why);
	if (error)
		return refuse(error == -EINVAL ? RPC_CODE_FAILED_PRECONDITION : RPC_CODE_INTERNAL,
			      said(rpc_arena_printf(out->arena, "%s", why.text)));
	return (struct gossip_verdict){RPC_CODE_OK, NULL};
}
