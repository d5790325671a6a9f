/* SPDX-License-Identifier: Apache-2.0 */
#include "node/upkeep/spare.h"

#include <assert.h>
#include <string.h>
#include "node/object/bytes.h"

enum {
	AGAIN_US = 1000 * 1000,         /* after a failure, or while the barrier stands */
	GAP_US = 50 * 1000,             /* between two deletions of a shard: each writes and syncs its manifest */
	PATIENCE_US = 10 * 1000 * 1000, /* for an answer that never came for want of memory */
	PARTITION_SIZE = 2,
};

void spare_init(struct spare *self, struct address address, struct ring_table *ring, uint32_t shard_count)
{
	assert(shard_count <= ENGINE_SHARDS_MAX);
	*self = (struct spare){.self = address, .ring = ring, .shard_count = shard_count};
}

void spare_begin(struct spare *self, uint64_t epoch, uint64_t now_us)
{
	self->epoch = epoch;
	self->next_us = now_us;
	for (uint32_t i = 0; i < self->shard_count; i++) {
		self->counts[i] = true;
		self->states[i] = SPARE_HOLDS;
	}
}

void spare_end(struct spare *self)
{
	self->epoch = 0;
	memset(self->states, SPARE_NONE, sizeof self->states);
}

/* ---- the barrier ----------------------------------------------------------------------------------------------- */

/* Does every member that is up, or may be, have this ring? */
static bool is_everywhere(const struct ring_view *view, uint64_t epoch)
{
	for (uint32_t i = 0; i < ring_member_count(view->document); i++) {
		const struct ring_member_status *status = &view->status[i];
		bool may_be_up = status->reachability == RING_UP || status->reachability == RING_UNKNOWN;
		if ((int)i != view->self && may_be_up && status->epoch < epoch)
			return false;
	}
	return true;
}

static bool has_majority(const struct ring_view *view, uint32_t partition, uint32_t datacenter, uint64_t epoch)
{
	const uint16_t *owners;
	uint32_t count = ring_owners(view->document, partition, datacenter, &owners), have = 0;
	for (uint32_t i = 0; i < count; i++)
		have += owners[i] == view->self || view->status[owners[i]].epoch >= epoch;
	return have >= count / 2 + (count > 0);
}

/* S1. A row that says so counts although its node is down now: the ring was on its disk first. */
static bool is_open(const struct spare *self)
{
	const struct ring_view *view = ring_view_acquire(self->ring);
	bool open = view->document != NULL && view->self >= 0 && ring_epoch(view->document) == self->epoch &&
		    ring_transition(view->document) == RING_STABLE && is_everywhere(view, self->epoch);
	for (uint32_t i = 0; open && i < ring_datacenter_count(view->document); i++)
		for (uint32_t partition = 0; open && partition < ring_partition_count(view->document); partition++)
			open = has_majority(view, partition, i, self->epoch);
	ring_view_release(self->ring, view);
	return open;
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

static void ask(struct spare *self, uint32_t shard, uint64_t now_us, struct effects *out)
{
	struct message *message = message_create(out->arena, MESSAGE_DROP);
	uint8_t key[PARTITION_SIZE];
	if (message == NULL)
		return;
	bytes_put_be16(key, (uint16_t)shard);
	message->key = (struct rpc_slice){rpc_arena_copy(out->arena, key, sizeof key), sizeof key};
	if (message->key.data == NULL) {
		message_free(message);
		return;
	}
	message->from = self->self;
	message->to = (struct address){self->self.node_id, ACTOR_REPLICA, (uint16_t)shard};
	message->correlation = shard;
	message->epoch = self->epoch;
	message->drop.only_count = self->counts[shard];
	self->states[shard] = SPARE_ASKED;
	self->next_us = now_us + PATIENCE_US;
	effects_send(out, message);
}

void spare_take(struct spare *self, struct message *answer, uint64_t now_us, struct effects *out)
{
	uint32_t shard = (uint32_t)answer->correlation;
	if (self->epoch != 0 && shard < self->shard_count && self->states[shard] == SPARE_ASKED) {
		bool done = answer->status == REPLICA_OK;
		uint64_t due_us = now_us + (!done ? AGAIN_US : self->counts[shard] ? 0 : GAP_US);
		if (done)
			self->counts[shard] = false;
		self->states[shard] = done && answer->dropped.left == 0 ? SPARE_NONE : SPARE_HOLDS;
		if (self->states[shard] == SPARE_HOLDS && due_us < self->next_us)
			self->next_us = due_us;
		self->dropped += answer->dropped.count;
		if (answer->dropped.count > 0)
			effects_note(out, &(struct note){.kind = NOTE_DROPPED,
							 .id = self->epoch,
							 .shard = shard,
							 .count = answer->dropped.count});
	}
	message_free(answer);
}

static bool any(const struct spare *self, bool counts)
{
	for (uint32_t i = 0; i < self->shard_count; i++)
		if (self->states[i] != SPARE_NONE && (!counts || self->counts[i]))
			return true;
	return false;
}

/* Every shard says what it holds before anything goes. Who waits longer than the patience allows asks again. */
uint64_t spare_run(struct spare *self, uint64_t now_us, struct effects *out)
{
	if (self->epoch == 0 || !any(self, false))
		return UINT64_MAX;
	if (now_us < self->next_us)
		return self->next_us;
	bool counting = any(self, true);
	self->next_us = now_us + AGAIN_US;
	if (counting || is_open(self))
		for (uint32_t i = 0; i < self->shard_count; i++)
			if (self->states[i] != SPARE_NONE && self->counts[i] == counting)
				ask(self, i, now_us, out);
	return self->next_us;
}
