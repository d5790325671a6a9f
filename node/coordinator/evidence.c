/* SPDX-License-Identifier: Apache-2.0 */
#include "node/coordinator/evidence.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void evidence_fini(struct evidence *self)
{
	free(self->peers);
	*self = (struct evidence){0};
}

static const struct evidence_peer *find(const struct evidence *self, uint32_t member_index, uint64_t node_id)
{
	/* Another document may number its members in another way. */
	if (member_index >= self->capacity || self->peers[member_index].node_id != node_id)
		return NULL;
	return &self->peers[member_index];
}

/* NULL: out of memory. */
static struct evidence_peer *claim(struct evidence *self, uint32_t member_index, uint64_t node_id)
{
	if (member_index >= self->capacity) {
		uint32_t capacity = member_index + 16;
		struct evidence_peer *peers = realloc(self->peers, capacity * sizeof *peers);
		if (peers == NULL)
			return NULL;
		memset(&peers[self->capacity], 0, (capacity - self->capacity) * sizeof *peers);
		self->peers = peers;
		self->capacity = capacity;
	}
	assert(member_index < self->capacity);
	if (self->peers[member_index].node_id != node_id)
		self->peers[member_index] = (struct evidence_peer){.node_id = node_id};
	return &self->peers[member_index];
}

void evidence_answered(struct evidence *self, uint32_t member_index, uint64_t node_id, uint64_t now_us)
{
	struct evidence_peer *peer = claim(self, member_index, node_id);
	if (peer == NULL)
		return;
	peer->answered_us = now_us;
	peer->silent_us = 0;
}

void evidence_silent(struct evidence *self, uint32_t member_index, uint64_t node_id, uint64_t now_us)
{
	struct evidence_peer *peer = claim(self, member_index, node_id);
	if (peer != NULL)
		peer->silent_us = now_us;
}

bool evidence_is_suspect(const struct evidence *self, uint32_t member_index, uint64_t node_id, uint64_t now_us)
{
	const struct evidence_peer *peer = find(self, member_index, node_id);
	return peer != NULL && peer->silent_us != 0 && now_us < peer->silent_us + EVIDENCE_SUSPECT_US;
}

bool evidence_is_up(const struct evidence *self, uint32_t member_index, uint64_t node_id, uint64_t now_us)
{
	const struct evidence_peer *peer = find(self, member_index, node_id);
	return peer != NULL && peer->silent_us == 0 && peer->answered_us != 0 &&
	       now_us < peer->answered_us + EVIDENCE_FRESH_US;
}
