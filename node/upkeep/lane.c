/* SPDX-License-Identifier: Apache-2.0 */
#include "node/upkeep/lane.h"

#include <assert.h>
#include <string.h>
#include "node/object/bytes.h"
#include "node/upkeep/pace.h"

enum {
	PARTITION_SIZE = 2,
	DEADLINE_US = 5 * 1000 * 1000,
	PATIENCE_US = 10 * 1000 * 1000, /* without any answer, after which the piece is given up */
	ENTRY_BITS = 16,
	LANE_BITS = 8,
};

/* Of an entry. */
enum step_mark { MARK_NONE, MARK_COMPARING, MARK_FETCHING, MARK_STORING, MARK_DONE };

/* ---- questions ------------------------------------------------------------------------------------------------ */

static uint64_t correlation(const struct lane *self, uint32_t entry)
{
	return (uint64_t)self->serial << (ENTRY_BITS + LANE_BITS) | (uint64_t)self->number << ENTRY_BITS | entry;
}

uint32_t lane_of(const struct message *answer)
{
	return answer->correlation >> ENTRY_BITS & ((1u << LANE_BITS) - 1);
}

static uint32_t entry_of(const struct message *answer)
{
	return answer->correlation & ((1u << ENTRY_BITS) - 1);
}

/* NULL: out of memory. */
static struct message *question(const struct lane *self, const struct lane_terms *terms, enum message_type type,
				uint64_t node_id, uint32_t entry, uint64_t now_us, struct effects *out)
{
	struct message *message = message_create(out->arena, type);
	if (message == NULL)
		return NULL;
	message->from = terms->self;
	message->to = (struct address){node_id, ACTOR_REPLICA, 0};
	message->correlation = correlation(self, entry);
	message->epoch = terms->epoch;
	message->deadline_us = now_us + DEADLINE_US;
	return message;
}

/* bytes_max 0: for the root alone. Without memory the lane runs into its patience. */
static void ask_scan(struct lane *self, const struct lane_terms *terms, uint64_t node_id, uint32_t bytes_max,
		     uint64_t now_us, struct effects *out)
{
	struct message *scan = question(self, terms, MESSAGE_SCAN, node_id, 0, now_us, out);
	self->until_us = now_us + PATIENCE_US;
	if (scan == NULL)
		return;
	scan->key = (struct rpc_slice){rpc_arena_copy(out->arena, self->after, self->after_size), self->after_size};
	scan->scan = (struct scan_body){.bytes_max = bytes_max, .digest_only = self->digest_only, .root = self->root};
	if (scan->key.data != NULL)
		effects_send(out, scan);
	else
		message_free(scan);
}

void lane_look(struct lane *self, const struct lane_terms *terms, uint16_t partition, uint64_t source, uint64_t now_us,
	       struct effects *out)
{
	lane_end(self);
	self->partition = partition;
	self->source = source;
	self->digest_only = self->receiving = false;
	self->after_size = PARTITION_SIZE;
	bytes_put_be16(self->after, partition);
	self->state = LANE_LOOKING;
	ask_scan(self, terms, terms->self.node_id, 0, now_us, out);
}

void lane_scan(struct lane *self, const struct lane_terms *terms, uint64_t now_us, struct effects *out)
{
	assert(self->state == LANE_WAITING);
	self->serial++;
	self->state = LANE_SCANNING;
	ask_scan(self, terms, self->source, LIMIT_SCAN_SIZE, now_us, out);
}

/* ---- entries --------------------------------------------------------------------------------------------------- */

static const struct scanned_entry *entry_at(const struct lane *self, uint32_t entry)
{
	assert(self->piece != NULL && entry < self->piece->scanned.count);
	return &self->piece->scanned.entries[entry];
}

static void fail(struct lane *self, enum lane_outcome trouble, enum replica_status status)
{
	if (self->trouble != LANE_GOES_ON)
		return;
	self->trouble = trouble;
	self->status = status;
}

static void close_entry(struct lane *self, uint32_t entry)
{
	assert(self->open > 0);
	self->open--;
	self->flying -= entry_at(self, entry)->size;
	self->marks[entry] = MARK_DONE;
}

/* The next question about an entry that is open; NULL: out of memory. */
static void send_entry(struct lane *self, struct message *message, uint32_t entry, enum step_mark mark,
		       struct effects *out)
{
	if (message == NULL) {
		fail(self, LANE_HERE_FAILED, REPLICA_OVERLOADED);
		close_entry(self, entry);
		return;
	}
	message->key = entry_at(self, entry)->key;
	message_pin(message, self->piece->arena);
	self->marks[entry] = (uint8_t)mark;
	effects_send(out, message);
}

/* holder: the message in whose arena the object lies. */
static void store(struct lane *self, const struct lane_terms *terms, uint32_t entry, struct rpc_slice object,
		  const struct message *holder, uint64_t now_us, struct effects *out)
{
	struct message *message = question(self, terms, MESSAGE_STORE, terms->self.node_id, entry, now_us, out);
	if (message != NULL) {
		message->store.object = object;
		if (holder != self->piece)
			message_pin(message, holder->arena);
	}
	self->copied += entry_at(self, entry)->key.size + object.size;
	send_entry(self, message, entry, MARK_STORING, out);
}

static void compare(struct lane *self, const struct lane_terms *terms, uint32_t entry, uint64_t now_us,
		    struct effects *out)
{
	struct message *message = question(self, terms, MESSAGE_FETCH, terms->self.node_id, entry, now_us, out);
	if (message != NULL)
		message->fetch.digest_only = true;
	send_entry(self, message, entry, MARK_COMPARING, out);
}

static void fetch(struct lane *self, const struct lane_terms *terms, uint32_t entry, uint64_t now_us,
		  struct effects *out)
{
	struct message *message = question(self, terms, MESSAGE_FETCH, self->source, entry, now_us, out);
	send_entry(self, message, entry, MARK_FETCHING, out);
}

/* As many entries as may be under way; one of any size. Trouble begins no more. */
static void begin_entries(struct lane *self, const struct lane_terms *terms, uint64_t now_us, struct effects *out)
{
	while (self->next < self->piece->scanned.count && self->trouble == LANE_GOES_ON && self->open < LANE_ENTRIES &&
	       (self->open == 0 || self->flying < LIMIT_SCAN_SIZE)) {
		uint32_t entry = self->next++;
		self->open++;
		self->flying += entry_at(self, entry)->size;
		if (self->digest_only)
			compare(self, terms, entry, now_us, out);
		else
			store(self, terms, entry, entry_at(self, entry)->object, self->piece, now_us, out);
	}
}

static void take_own_digest(struct lane *self, const struct lane_terms *terms, uint32_t entry,
			    const struct message *answer, uint64_t now_us, struct effects *out)
{
	bool known = answer->status == REPLICA_OK || answer->status == REPLICA_ABSENT;
	bool equal = answer->status == REPLICA_OK && answer->fetched.digest == entry_at(self, entry)->digest;
	if (!known)
		fail(self, LANE_HERE_FAILED, answer->status);
	if (known && !equal)
		fetch(self, terms, entry, now_us, out);
	else
		close_entry(self, entry);
}

static void take_fetched(struct lane *self, const struct lane_terms *terms, uint32_t entry,
			 const struct message *answer, uint64_t now_us, struct effects *out)
{
	self->arrived += answer->fetched.object.size;
	/* After its last piece it may have come back with an older disk. */
	self->receiving |= answer->fetched.receiving;
	if (answer->status == REPLICA_OK) {
		store(self, terms, entry, answer->fetched.object, answer, now_us, out);
		return;
	}
	fail(self, LANE_SOURCE_FAILED, answer->status);
	close_entry(self, entry);
}

/* An error may be the object's fault: another source may have a sound one. */
static void take_stored(struct lane *self, uint32_t entry, const struct message *answer)
{
	close_entry(self, entry);
	if (answer->status != REPLICA_OK)
		fail(self, answer->status == REPLICA_ERROR ? LANE_SOURCE_FAILED : LANE_HERE_FAILED, answer->status);
}

/* ---- pieces ---------------------------------------------------------------------------------------------------- */

static void forget_piece(struct lane *self)
{
	message_free(self->piece);
	self->piece = NULL;
	self->serial++;
	self->open = self->next = 0;
	self->flying = 0;
	self->trouble = LANE_GOES_ON;
}

/* L1. */
static enum lane_outcome end_piece(struct lane *self)
{
	const struct scanned_body *scanned = &self->piece->scanned;
	const struct rpc_slice *last = &scanned->entries[scanned->count - 1].key;
	bool done = scanned->done;
	assert(last->size <= sizeof self->after);
	memcpy(self->after, last->data, last->size);
	self->after_size = last->size;
	forget_piece(self);
	self->state = LANE_WAITING;
	return done ? LANE_AT_END : LANE_GOES_ON;
}

/* Trouble ends a piece once nothing of it is under way. */
static enum lane_outcome work_on(struct lane *self, const struct lane_terms *terms, uint64_t now_us,
				 struct effects *out)
{
	begin_entries(self, terms, now_us, out);
	if (self->open > 0)
		return LANE_GOES_ON;
	if (self->trouble == LANE_GOES_ON)
		return end_piece(self);
	enum lane_outcome trouble = self->trouble;
	forget_piece(self);
	return trouble;
}

static enum lane_outcome begin_piece(struct lane *self, const struct lane_terms *terms, struct message *piece,
				     uint64_t now_us, struct effects *out)
{
	uint32_t count = piece->scanned.count;
	assert(count > 0 && count <= LIMIT_SCAN_ENTRIES);
	forget_piece(self);
	self->piece = piece;
	self->state = LANE_WORKING;
	memset(self->marks, MARK_NONE, sizeof self->marks);
	for (uint32_t i = 0; i < count; i++)
		self->arrived += entry_at(self, i)->key.size + entry_at(self, i)->object.size;
	return work_on(self, terms, now_us, out);
}

static bool is_sound(const struct message *scanned)
{
	const struct scanned_body *body = &scanned->scanned;
	return body->count > 0 ? body->entries[body->count - 1].key.size <= ENGINE_KEY_MAX : body->done || body->same;
}

static enum lane_outcome take_scanned(struct lane *self, const struct lane_terms *terms, struct message *answer,
				      uint64_t now_us, struct effects *out)
{
	bool own = self->state == LANE_LOOKING;
	enum lane_outcome outcome = LANE_GOES_ON;
	self->status = answer->status;
	self->receiving |= answer->scanned.receiving && !own;
	self->arrived += own ? 0 : PACE_QUESTION_BYTES;
	if (answer->status != REPLICA_OK || (!own && !is_sound(answer))) {
		outcome = own ? LANE_HERE_FAILED : LANE_SOURCE_FAILED;
	} else if (own) {
		self->root = answer->scanned.root;
		self->state = LANE_WAITING;
		outcome = LANE_HAS_ROOT;
	} else if (answer->scanned.count > 0) {
		return begin_piece(self, terms, answer, now_us, out);
	} else {
		outcome = LANE_AT_END;
	}
	message_free(answer);
	return outcome;
}

/* L2. */
static enum lane_outcome take_entry(struct lane *self, const struct lane_terms *terms, struct message *answer,
				    uint64_t now_us, struct effects *out)
{
	uint32_t entry = entry_of(answer);
	bool fetched = answer->type == MESSAGE_FETCHED;
	bool moves = true;
	assert(entry < self->piece->scanned.count);
	if (self->marks[entry] == MARK_COMPARING && fetched)
		take_own_digest(self, terms, entry, answer, now_us, out);
	else if (self->marks[entry] == MARK_FETCHING && fetched)
		take_fetched(self, terms, entry, answer, now_us, out);
	else if (self->marks[entry] == MARK_STORING && answer->type == MESSAGE_STORED)
		take_stored(self, entry, answer);
	else
		moves = false;
	message_free(answer);
	return moves ? work_on(self, terms, now_us, out) : LANE_GOES_ON;
}

enum lane_outcome lane_take(struct lane *self, const struct lane_terms *terms, struct message *answer, uint64_t now_us,
			    struct effects *out)
{
	bool asked = self->state == LANE_LOOKING || self->state == LANE_SCANNING;
	bool current = answer->correlation == correlation(self, entry_of(answer));
	if (current && asked && answer->type == MESSAGE_SCANNED) {
		self->until_us = now_us + PATIENCE_US;
		return take_scanned(self, terms, answer, now_us, out);
	}
	if (current && self->state == LANE_WORKING && answer->type != MESSAGE_SCANNED) {
		self->until_us = now_us + PATIENCE_US;
		return take_entry(self, terms, answer, now_us, out);
	}
	message_free(answer);
	return LANE_GOES_ON;
}

void lane_rest(struct lane *self, uint64_t until_us)
{
	forget_piece(self);
	self->digest_only = true;
	self->state = LANE_RESTING;
	self->until_us = until_us;
}

void lane_end(struct lane *self)
{
	forget_piece(self);
	self->state = LANE_IDLE;
}
