/* SPDX-License-Identifier: Apache-2.0 */
/* What gossip sends: whose rows go in full, and whose as beats (peer.proto, Beats).
 *
 * A node sends its own row in full by the bus when it has changed. All other members go as beats, those with news, or some of
 * them at random when there are more than fit; who hears a beat of a row that it lacks asks for the row. A push-pull compares the beats of many members and carries the
 * own rows of the two that speak: so figures travel, which alone make no row a changed one. */
#include "node/membership/gossip_state.h"

#include <assert.h>
#include <string.h>

enum {
	PUSHES = 2, /* rounds in which the own row goes by the bus in full after a change: one may get lost */
	REVISIONS_PER_ROUND = 4, /* of all members together, about: after a member failed */
};

/* ---- this node's row ---------------------------------------------------------------------------------------- */

/* Names every field that can change while this process lives, but for those of which peer.proto (revision) says that they do not
 * count: a change that is missed here reaches nobody who has the row. */
static bool has_changed(const struct gossip_row *row, const struct gossip_row *told)
{
	return row->incarnation != told->incarnation || row->cluster_id != told->cluster_id ||
	       row->receiving != told->receiving || row->unproven != told->unproven ||
	       row->ready_epoch != told->ready_epoch || row->figures.dead_shards != told->figures.dead_shards;
}

static bool has_other_suspicions(const struct gossip_row *row, const struct gossip_row *told)
{
	return row->suspicion_count != told->suspicion_count ||
	       memcmp(row->suspicions, told->suspicions, row->suspicion_count * sizeof *row->suspicions) != 0;
}

/* When a member fails, all others suspect it at once. Each finds it down by its own suspicion and that of a neighbour, to whom the
 * own row goes at once. To the rest of the cluster, where suspicions are but shown, a few of those rows set out in each round. */
void gossip_revise(struct gossip *self)
{
	bool changed = has_changed(&self->self, &self->own.row);

	if (changed || has_other_suspicions(&self->self, &self->own.row)) {
		self->own.row = self->self;
		self->own.pushes = PUSHES;
		self->own.unrevised = true;
	}
	if (!changed && (!self->own.unrevised || prng_below(&self->prng, self->table.count + 1) >= REVISIONS_PER_ROUND))
		return;
	self->self.revision = self->self.revision % GOSSIP_REVISION_MAX + 1;
	self->own.unrevised = false;
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

struct gossip_rows *gossip_make_rows(const struct gossip *self, uint32_t capacity, struct effects *out)
{
	struct gossip_rows *gossip = rpc_arena_zalloc(out->arena, sizeof *gossip);

	if (gossip == NULL)
		return NULL;
	gossip->rows = rpc_arena_alloc(out->arena, (capacity + 1) * sizeof *gossip->rows);
	if (gossip->rows == NULL)
		return NULL;
	gossip->from = self->self.node_id;
	gossip->cluster_id = self->self.cluster_id;
	gossip->epoch = self->self.epoch;
	gossip->ring_hash = self->self.ring_hash;
	return gossip;
}

void gossip_attach_document(const struct gossip *self, struct gossip_rows *gossip, struct effects *out)
{
	assert(self->document_size > 0);
	const uint8_t *copy = rpc_arena_copy(out->arena, self->document_bytes, self->document_size);

	if (copy != NULL)
		gossip->document = (struct rpc_slice){copy, self->document_size};
}

void gossip_send(struct gossip *self, enum message_type type, uint64_t node_id, uint16_t index,
		 struct gossip_rows *gossip, uint64_t now_us, struct effects *out)
{
	struct message *message = gossip != NULL ? message_create(out->arena, type) : NULL;

	if (message == NULL)
		return; /* out of memory: the next round says it again */
	message->from = (struct address){self->self.node_id, ACTOR_GOSSIP, 0};
	message->to = (struct address){node_id, ACTOR_GOSSIP, index};
	message->deadline_us = now_us + self->timeout_us;
	message->epoch = self->self.epoch;
	message->gossip = gossip;
	effects_send(out, message);
}

static void add_row(struct gossip_rows *gossip, const struct gossip_row *row)
{
	gossip->rows[gossip->row_count++] = *row;
}

static void add_own_row(const struct gossip *self, struct gossip_rows *gossip)
{
	if (!self->displaced)
		add_row(gossip, &self->self);
}

static bool is_told(const struct gossip *self, uint32_t index)
{
	return self->table.rows[index].incarnation > 0 && !self->table.peers[index].forgotten;
}

/* ---- beats -------------------------------------------------------------------------------------------------- */

/* Beats name members by their places in the document, and a node of an older version has never heard of beats: while there is
 * no document, or a member of that kind is up, all rows travel in full. */
static bool are_beats_understood(const struct gossip *self)
{
	for (uint32_t i = 0; i < self->table.count; i++)
		if (self->table.peers[i].is_member && self->table.peers[i].reachability == RING_UP &&
		    self->table.rows[i].incarnation > 0 && self->table.rows[i].revision == 0)
			return false;
	return self->document != NULL;
}

/* Whether a beat says all that is new of that row. */
static bool fits_beat(const struct gossip *self, uint32_t index)
{
	const struct gossip_row *row = &self->table.rows[index];

	return self->table.peers[index].is_member && row->incarnation > 0 && row->revision > 0 &&
	       (row->epoch < self->self.epoch ||
		(row->epoch == self->self.epoch && row->ring_hash == self->self.ring_hash));
}

static void add_beat(const struct gossip *self, const struct gossip_row *row, bool fits, struct gossip_rows *gossip)
{
	int member = ring_member_find(self->document, row->node_id);
	struct gossip_beat *beat = &gossip->beats[gossip->beat_count++];

	assert(member >= 0);
	*beat = (struct gossip_beat){
		.member = (uint32_t)member, .incarnation = row->incarnation, .heartbeat = row->heartbeat};
	if (!fits)
		return;
	beat->revision = row->revision;
	beat->epochs_behind = self->self.epoch - row->epoch;
}

/* Those that are chosen, and this node, which is a member too. */
static void add_beats(struct gossip *self, bool own, struct gossip_rows *gossip, struct effects *out)
{
	gossip->beats = rpc_arena_alloc(out->arena, (self->table.count + 1) * sizeof *gossip->beats);
	for (uint32_t i = 0; i < self->table.count; i++) {
		struct gossip_peer *peer = &self->table.peers[i];

		if (own && self->table.rows[i].node_id > self->self.node_id) {
			own = false;
			if (gossip->beats != NULL)
				add_beat(self, &self->self, true, gossip);
		}
		if (peer->chosen && gossip->beats != NULL)
			add_beat(self, &self->table.rows[i], fits_beat(self, i), gossip);
		peer->chosen = false;
	}
	if (own && gossip->beats != NULL)
		add_beat(self, &self->self, true, gossip);
}

static uint32_t random_index(struct gossip *self)
{
	return self->table.count > 0 ? (uint32_t)prng_below(&self->prng, self->table.count) : 0;
}

/* Members with news since they last went by the bus. */
static void choose_news(struct gossip *self)
{
	uint32_t start = random_index(self);

	for (uint32_t i = 0, chosen = 0; i < self->table.count && chosen < GOSSIP_BUS_BEATS_MAX; i++) {
		uint32_t index = (start + i) % self->table.count;
		struct gossip_peer *peer = &self->table.peers[index];

		if (!fits_beat(self, index) || self->table.rows[index].heartbeat == peer->told_heartbeat)
			continue;
		peer->told_heartbeat = self->table.rows[index].heartbeat;
		peer->chosen = true;
		chosen++;
	}
}

/* A run of members, those without a row too. */
static void choose_run(struct gossip *self)
{
	uint32_t start = random_index(self);

	for (uint32_t i = 0, chosen = 0; i < self->table.count && chosen < GOSSIP_PULL_BEATS_MAX; i++) {
		struct gossip_peer *peer = &self->table.peers[(start + i) % self->table.count];

		chosen += peer->chosen = peer->is_member;
	}
}

/* ---- what goes out ------------------------------------------------------------------------------------------ */

/* This node's row and all others with news, or a random run of them when there are more. */
static struct gossip_rows *all_rows(struct gossip *self, uint32_t max, struct effects *out)
{
	uint32_t others = self->table.count < max - 1 ? self->table.count : max - 1;
	uint32_t start = others < self->table.count ? random_index(self) : 0;
	struct gossip_rows *gossip = gossip_make_rows(self, others + 1, out);

	assert(max > 1);
	if (gossip == NULL)
		return NULL;
	add_own_row(self, gossip);
	for (uint32_t i = 0; i < others; i++) {
		uint32_t index = (start + i) % self->table.count;

		if (is_told(self, index))
			add_row(gossip, &self->table.rows[index]);
	}
	return gossip;
}

/* News of those that do not go as beats: of strangers, and of members that have a newer document. */
static void add_full_rows(struct gossip *self, struct gossip_rows *gossip)
{
	uint32_t start = random_index(self);

	for (uint32_t i = 0; i < self->table.count && gossip->row_count < GOSSIP_BUS_ROWS_MAX; i++) {
		uint32_t index = (start + i) % self->table.count;
		const struct gossip_row *row = &self->table.rows[index];
		struct gossip_peer *peer = &self->table.peers[index];

		if (!is_told(self, index) || fits_beat(self, index) || row->heartbeat == peer->told_heartbeat)
			continue;
		add_row(gossip, row);
		peer->told_heartbeat = row->heartbeat;
	}
}

struct gossip_rows *gossip_bus_rows(struct gossip *self, struct effects *out)
{
	bool as_beat = self->own.pushes == 0 && !self->displaced;
	struct gossip_rows *gossip;

	if (!are_beats_understood(self))
		return all_rows(self, GOSSIP_BUS_ROWS_MAX, out);
	gossip = gossip_make_rows(self, GOSSIP_BUS_ROWS_MAX, out);
	if (gossip == NULL)
		return NULL;
	as_beat &= ring_member_find(self->document, self->self.node_id) >= 0;
	if (!as_beat)
		add_own_row(self, gossip);
	self->own.pushes -= self->own.pushes > 0;
	add_full_rows(self, gossip);
	choose_news(self);
	add_beats(self, as_beat, gossip, out);
	return gossip;
}

struct gossip_rows *gossip_pull_rows(struct gossip *self, struct effects *out)
{
	struct gossip_rows *gossip;

	if (!are_beats_understood(self))
		return all_rows(self, GOSSIP_ROWS_MAX, out);
	gossip = gossip_make_rows(self, self->table.count + 1, out);
	if (gossip == NULL)
		return NULL;
	add_own_row(self, gossip);
	for (uint32_t i = 0; i < self->table.count; i++)
		if (!self->table.peers[i].is_member && is_told(self, i))
			add_row(gossip, &self->table.rows[i]);
	choose_run(self);
	add_beats(self, false, gossip, out);
	return gossip;
}

struct gossip_rows *gossip_brief_rows(const struct gossip *self, const uint64_t *wanted, uint32_t wanted_count,
				      struct effects *out)
{
	struct gossip_rows *gossip = gossip_make_rows(self, 1, out);

	if (gossip == NULL)
		return NULL;
	add_row(gossip, &self->self);
	gossip->brief = true;
	gossip->wanted = rpc_arena_copy(out->arena, wanted, wanted_count * sizeof *wanted);
	gossip->wanted_count = gossip->wanted != NULL ? wanted_count : 0;
	return gossip;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

static bool asker_needs_document(const struct gossip *self, const struct gossip_rows *question)
{
	if (self->document == NULL || question->epoch >= self->self.epoch)
		return false;
	return question->cluster_id == self->self.cluster_id ||
	       (question->cluster_id == 0 && ring_member_find(self->document, question->from) >= 0);
}

/* Rows of which the asker says that it has them as new. */
static void skip_rows(struct gossip *self, const struct gossip_rows *question, bool *skip)
{
	for (uint32_t i = 0; i < question->row_count; i++) {
		int index = gossip_table_find(&self->table, question->rows[i].node_id);

		if (index >= 0)
			skip[index] = !gossip_row_newer(&self->table.rows[index], &question->rows[i]);
	}
}

/* Members of which this node has news go as beats, unless the asker has another row. */
static void compare_beats(struct gossip *self, const struct gossip_rows *question, bool *skip,
			  struct gossip_rows *answer)
{
	for (uint32_t i = 0; i < question->beat_count; i++) {
		const struct gossip_beat *beat = &question->beats[i];
		const struct gossip_row asked = {.incarnation = beat->incarnation, .heartbeat = beat->heartbeat};
		int index;

		if (beat->member >= ring_member_count(self->document))
			return;
		index = gossip_table_find(&self->table, ring_member(self->document, beat->member)->id);
		if (index < 0 || skip[index])
			continue;
		const struct gossip_row *row = &self->table.rows[index];
		skip[index] = true;
		if (!is_told(self, (uint32_t)index) || !gossip_row_newer(row, &asked))
			continue;
		if (fits_beat(self, (uint32_t)index) && row->incarnation == beat->incarnation &&
		    row->revision == beat->revision)
			self->table.peers[index].chosen = true;
		else
			add_row(answer, row);
	}
}

static void add_wanted(const struct gossip *self, const struct gossip_rows *question, bool *skip,
		       struct gossip_rows *answer)
{
	for (uint32_t i = 0; i < question->wanted_count; i++) {
		int index = gossip_table_find(&self->table, question->wanted[i]);

		if (index < 0 || skip[index] || !is_told(self, (uint32_t)index))
			continue;
		skip[index] = true;
		add_row(answer, &self->table.rows[index]);
	}
}

static void add_news(struct gossip *self, const struct gossip_rows *question, bool *skip, struct gossip_rows *answer,
		     struct effects *out)
{
	bool as_beats = are_beats_understood(self), same = as_beats && gossip_has_document(self, question);

	if (same)
		compare_beats(self, question, skip, answer);
	/* One that has another document will have this one next, and then compare beats. */
	for (uint32_t i = 0; i < self->table.count; i++)
		if (!skip[i] && is_told(self, i) &&
		    (!self->table.peers[i].is_member || !as_beats || question->epoch == 0))
			add_row(answer, &self->table.rows[i]);
	if (same)
		add_beats(self, false, answer, out);
}

struct gossip_rows *gossip_answer_rows(struct gossip *self, const struct gossip_rows *question, struct effects *out)
{
	uint32_t capacity = question->brief ? question->wanted_count : self->table.count;
	struct gossip_rows *answer = gossip_make_rows(self, capacity + 1, out);
	bool *skip = rpc_arena_zalloc(out->arena, (self->table.count + 1) * sizeof *skip);

	if (answer == NULL || skip == NULL)
		return NULL;
	if (gossip_is_foreign(self, question->cluster_id))
		return answer; /* another cluster gets to know whose node this is, and nothing else */
	gossip_answer_start(self, question, answer);
	add_own_row(self, answer);
	skip_rows(self, question, skip);
	if (question->brief)
		add_wanted(self, question, skip, answer);
	else
		add_news(self, question, skip, answer, out);
	if (asker_needs_document(self, question))
		gossip_attach_document(self, answer, out);
	assert(answer->row_count <= capacity + 1);
	return answer;
}
