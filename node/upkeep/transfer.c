/* SPDX-License-Identifier: Apache-2.0 */
#include "node/upkeep/transfer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "node/membership/behind.h"

enum {
	AGAIN_US = 1000 * 1000,     /* after a failure */
	STORE_GAP_US = 1000 * 1000, /* between two stores of the progress */
	BUSY_MAX = 1000,
};

/* ---- who gives, who takes -------------------------------------------------------------------------------------- */

/* The old owners: those in this node's datacenter, then all others. */
struct sources {
	uint16_t members[TRANSFER_SOURCES_MAX];
	uint32_t count, near;
};

static void add_row(struct sources *self, const struct ring_document *document, uint32_t partition, uint32_t datacenter)
{
	const uint16_t *row;
	uint32_t count = ring_old_owners(document, partition, datacenter, &row);
	for (uint32_t i = 0; i < count; i++)
		self->members[self->count++] = row[i];
}

static struct sources sources_of(const struct ring_document *document, uint32_t partition, uint32_t member)
{
	struct sources self;
	uint32_t own = ring_member_datacenter(document, member);
	self.count = 0;
	add_row(&self, document, partition, own);
	self.near = self.count;
	for (uint32_t i = 0; i < ring_datacenter_count(document); i++)
		if (i != own)
			add_row(&self, document, partition, i);
	return self;
}

static int place_of(const uint16_t *row, uint32_t count, uint32_t member)
{
	for (uint32_t i = 0; i < count; i++)
		if (row[i] == member)
			return (int)i;
	return -1;
}

static uint32_t count_owners(const struct ring_document *document, uint32_t partition)
{
	const uint16_t *row;
	uint32_t count = 0;
	for (uint32_t i = 0; i < ring_datacenter_count(document); i++)
		count += ring_owners(document, partition, i, &row);
	return count;
}

/* Does something of the partition have to come? Where owners become fewer, an old one that stays may lack what a majority has. */
static bool has_to_come(const struct ring_document *document, uint32_t partition, uint32_t member,
			const struct sources *sources)
{
	const uint16_t *owners;
	uint32_t count = ring_owners(document, partition, ring_member_datacenter(document, member), &owners);
	if (sources->count == 0 || place_of(owners, count, member) < 0)
		return false;
	bool stays = place_of(sources->members, sources->near, member) >= 0;
	return !stays || count < sources->near || count_owners(document, partition) < sources->count;
}

static bool has_place(const struct places *self, uint32_t place)
{
	return self->words[place / 64] >> place % 64 & 1;
}

static void add_place(struct places *self, uint32_t place)
{
	assert(place < TRANSFER_SOURCES_MAX);
	self->words[place / 64] |= UINT64_C(1) << place % 64;
}

/* Of the first so many sources a majority was read, none of which had gone back in time; or all were. */
static bool is_read(const struct incoming *incoming, uint32_t count)
{
	uint32_t read = 0, sound = 0;
	for (uint32_t i = 0; i < count; i++) {
		read += has_place(&incoming->scanned, i);
		sound += has_place(&incoming->scanned, i) && !has_place(&incoming->doubtful, i);
	}
	return sound >= count / 2 + 1 || read == count;
}

/* F1: of this datacenter, for what was written at a local level, and of all. */
static bool is_enough(const struct sources *sources, const struct incoming *incoming)
{
	return is_read(incoming, sources->near) && is_read(incoming, sources->count);
}

/* ---- begin and end --------------------------------------------------------------------------------------------- */

void transfer_init(struct transfer *self, const struct transfer_options *options)
{
	*self = (struct transfer){.options = *options};
	for (uint32_t i = 0; i < TRANSFER_LANES; i++)
		self->lanes[i].number = i;
	pace_init(&self->pace, options->bytes_per_s);
}

void transfer_end(struct transfer *self)
{
	struct ring_document *document = (struct ring_document *)self->document;
	for (uint32_t i = 0; i < TRANSFER_LANES; i++) {
		lane_end(&self->lanes[i]);
		self->taken[i] = NULL;
	}
	free(self->incoming);
	self->incoming = NULL;
	self->count = self->left = 0;
	progress_fini(&self->progress);
	ring_document_destroy(&document);
	self->document = NULL;
}

void transfer_fini(struct transfer *self)
{
	transfer_end(self);
}

static void list_incoming(struct transfer *self)
{
	for (uint32_t partition = 0; partition < ring_partition_count(self->document); partition++) {
		struct sources sources = sources_of(self->document, partition, self->self);
		if (!has_to_come(self->document, partition, self->self, &sources))
			continue;
		int place = place_of(sources.members, sources.near, self->self);
		struct incoming *incoming = &self->incoming[self->count++];
		*incoming = (struct incoming){.partition = (uint16_t)partition,
					      .is_complete = progress_has(&self->progress, partition)};
		if (place >= 0) {
			add_place(&incoming->scanned, (uint32_t)place);
			incoming->is_begun = true;
		}
		self->left += !incoming->is_complete;
	}
}

int transfer_begin(struct transfer *self, const struct ring_document *document, uint32_t member, uint64_t now_us,
		   struct effects *out)
{
	assert(self->document == NULL);
	assert(ring_transition(document) == RING_WRITE_BOTH_READ_OLD && member < ring_member_count(document));
	self->document = ring_document_ref(document);
	self->self = member;
	self->terms = (struct lane_terms){self->options.self, ring_epoch(document)};
	self->next = 0;
	self->look_us = self->store_us = now_us;
	self->copied_bytes = 0;
	self->incoming = calloc(ring_partition_count(document), sizeof *self->incoming);
	int error = self->incoming != NULL ? progress_open(&self->progress, self->options.data_dir, self->document)
					   : -ENOMEM;
	if (error < 0) {
		transfer_end(self);
		return error;
	}
	if (self->options.distrusted)
		progress_distrust(&self->progress);
	list_incoming(self);
	if (self->count > 0)
		effects_note(out, &(struct note){.kind = NOTE_COPY_BEGUN,
						 .id = self->terms.epoch,
						 .partitions = self->left,
						 .members = self->count});
	return 0;
}

bool transfer_is_done(const struct transfer *self)
{
	return self->document != NULL && self->left == 0;
}

/* ---- sources --------------------------------------------------------------------------------------------------- */

static bool is_reachable(const struct ring_member_status *status)
{
	return status->reachability == RING_UP || status->reachability == RING_UNKNOWN;
}

/* The place of the next old owner to read, or -1: near ones first. Each partition begins at another place, so that the
 * sources share the work. */
static int choose_source(struct transfer *self, const struct incoming *incoming, const struct sources *sources)
{
	uint32_t turn = incoming->partition + self->self, near = sources->near, far = sources->count - near;
	int chosen = -1;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	bool same = view->document != NULL && ring_hash(view->document) == ring_hash(self->document);
	for (uint32_t i = 0; same && chosen < 0 && i < sources->count; i++) {
		uint32_t place = i < near ? (turn + i) % near : near + (turn + i) % far;
		bool tried = has_place(&incoming->scanned, place) || has_place(&incoming->refused, place);
		if (!tried && is_reachable(&view->status[sources->members[place]]))
			chosen = (int)place;
	}
	ring_view_release(self->options.ring, view);
	return chosen;
}

/* Of this node and of whom the lane reads, by its own word. */
static uint32_t busy_permille(const struct transfer *self, const struct lane *lane)
{
	uint32_t busy = self->options.read_busy != NULL ? self->options.read_busy(self->options.read_busy_arg) : 0;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	int member = view->document != NULL ? ring_member_find(view->document, lane->source) : -1;
	if (member >= 0 && view->status[member].figures.load_permille > busy)
		busy = view->status[member].figures.load_permille;
	ring_view_release(self->options.ring, view);
	return busy < BUSY_MAX ? busy : BUSY_MAX;
}

/* ---- one partition --------------------------------------------------------------------------------------------- */

static void tell_waits(const struct transfer *self, enum note_kind kind, const char *why, struct effects *out)
{
	effects_note(out, &(struct note){.kind = kind,
					 .id = self->terms.epoch,
					 .partitions = self->left,
					 .text = rpc_arena_printf(out->arena, "%s", why)});
}

static void let_go(struct transfer *self, uint32_t number, uint64_t again_us)
{
	struct incoming *incoming = self->taken[number];
	incoming->again_us = again_us;
	incoming->is_taken = false;
	if (again_us < self->look_us)
		self->look_us = again_us;
	self->taken[number] = NULL;
	lane_end(&self->lanes[number]);
}

static void complete(struct transfer *self, uint32_t number, struct effects *out)
{
	struct incoming *incoming = self->taken[number];
	assert(self->left > 0 && !incoming->is_complete);
	incoming->is_complete = true;
	progress_add(&self->progress, incoming->partition);
	self->left--;
	let_go(self, number, UINT64_MAX);
	if (self->left == 0)
		effects_note(out, &(struct note){.kind = NOTE_COPY_DONE,
						 .id = self->terms.epoch,
						 .partitions = self->count,
						 .count = self->copied_bytes});
}

/* On to the next source, or the end: F1. */
static void next_source(struct transfer *self, uint32_t number, uint64_t now_us, struct effects *out)
{
	struct incoming *incoming = self->taken[number];
	struct sources sources = sources_of(self->document, incoming->partition, self->self);
	int place = choose_source(self, incoming, &sources);
	if (place >= 0) {
		self->places[number] = (uint32_t)place;
		lane_look(&self->lanes[number], &self->terms, incoming->partition,
			  ring_member(self->document, sources.members[place])->id, now_us, out);
	} else if (is_enough(&sources, incoming)) {
		complete(self, number, out);
	} else {
		tell_waits(self, NOTE_COPY_WAITS,
			   "no majority of the nodes that have a partition can read it now: they are away, have not "
			   "heard of the new ring yet, are receiving, or their data is damaged (kvctl status, kvctl "
			   "members)",
			   out);
		let_go(self, number, now_us + AGAIN_US);
	}
}

/* The first source sends whole objects. Where some of the partition may be here already, digests tell what is missing. */
static void on_root(struct transfer *self, uint32_t number)
{
	const struct incoming *incoming = self->taken[number];
	struct lane *lane = &self->lanes[number];
	lane->digest_only = incoming->is_begun || (self->progress.resumed && lane->root != 0);
}

static void on_source_failed(struct transfer *self, uint32_t number, uint64_t now_us, struct effects *out)
{
	const struct lane *lane = &self->lanes[number];
	if (lane->status == REPLICA_STALE_RING)
		behind_notice(&self->told_epoch, self->options.ring, self->options.self, self->terms.epoch + 1,
			      lane->source, out);
	add_place(&self->taken[number]->refused, self->places[number]);
	next_source(self, number, now_us, out);
}

/* What is short here is short for all; anything else concerns this partition. */
static void on_here_failed(struct transfer *self, uint32_t number, uint64_t now_us, struct effects *out)
{
	struct lane *lane = &self->lanes[number];
	self->taken[number]->is_begun = true;
	if (lane->status == REPLICA_DISK_FULL)
		tell_waits(self, NOTE_COPY_REFUSED, "this node's disk is full: make room", out);
	else if (lane->status != REPLICA_OVERLOADED)
		tell_waits(self, NOTE_COPY_REFUSED,
			   "this node cannot store or read one of its own partitions: the log says why", out);
	if (lane->status == REPLICA_DISK_FULL || lane->status == REPLICA_OVERLOADED)
		lane_rest(lane, now_us + AGAIN_US);
	else
		let_go(self, number, now_us + AGAIN_US);
}

static void on_outcome(struct transfer *self, uint32_t number, enum lane_outcome outcome, uint64_t now_us,
		       struct effects *out)
{
	switch (outcome) {
	case LANE_GOES_ON:
		break;
	case LANE_HAS_ROOT:
		on_root(self, number);
		break;
	case LANE_AT_END:
		add_place(&self->taken[number]->scanned, self->places[number]);
		if (self->lanes[number].receiving)
			add_place(&self->taken[number]->doubtful, self->places[number]);
		self->taken[number]->is_begun = true;
		next_source(self, number, now_us, out);
		break;
	case LANE_SOURCE_FAILED:
		on_source_failed(self, number, now_us, out);
		break;
	case LANE_HERE_FAILED:
		on_here_failed(self, number, now_us, out);
		break;
	}
}

void transfer_take(struct transfer *self, struct message *answer, uint64_t now_us, struct effects *out)
{
	uint32_t number = lane_of(answer);
	if (self->document == NULL || number >= TRANSFER_LANES || self->taken[number] == NULL) {
		message_free(answer);
		return;
	}
	struct lane *lane = &self->lanes[number];
	struct incoming *incoming = self->taken[number];
	enum lane_outcome outcome = lane_take(lane, &self->terms, answer, now_us, out);
	if (lane->copied > 0)
		incoming->is_begun = true;
	if (lane->arrived > 0)
		pace_spend(&self->pace, lane->arrived, busy_permille(self, lane), now_us);
	self->copied_bytes += lane->copied;
	lane->arrived = lane->copied = 0;
	on_outcome(self, number, outcome, now_us, out);
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

static struct incoming *find_incoming(struct transfer *self, uint64_t now_us)
{
	uint64_t look_us = UINT64_MAX;
	if (now_us < self->look_us)
		return NULL;
	for (uint32_t i = 0; i < self->count; i++) {
		struct incoming *incoming = &self->incoming[(self->next + i) % self->count];
		if (incoming->is_complete || incoming->is_taken)
			continue;
		if (incoming->again_us <= now_us) {
			self->next = (self->next + i + 1) % self->count;
			return incoming;
		}
		if (incoming->again_us < look_us)
			look_us = incoming->again_us;
	}
	self->look_us = look_us;
	return NULL;
}

static void run_idle(struct transfer *self, uint32_t number, uint64_t now_us, struct effects *out)
{
	struct incoming *incoming = find_incoming(self, now_us);
	if (incoming == NULL)
		return;
	incoming->is_taken = true;
	incoming->refused = (struct places){0};
	for (uint32_t i = 0; i < TRANSFER_SOURCES_MAX / 64; i++)
		incoming->scanned.words[i] &= ~incoming->doubtful.words[i]; /* they may be proven by now */
	incoming->doubtful = (struct places){0};
	self->taken[number] = incoming;
	next_source(self, number, now_us, out);
}

static void run_lane(struct transfer *self, uint32_t number, uint64_t now_us, struct effects *out)
{
	struct lane *lane = &self->lanes[number];
	struct incoming *incoming = self->taken[number];
	if (lane->state != LANE_IDLE && lane->state != LANE_WAITING && now_us >= lane->until_us) {
		if (lane->state != LANE_RESTING)
			lane->status = REPLICA_LOST;
		if (lane->state == LANE_RESTING && lane->after_size > sizeof incoming->partition)
			lane->state = LANE_WAITING;
		else if (lane->state == LANE_RESTING || lane->state == LANE_LOOKING)
			lane_look(lane, &self->terms, incoming->partition, lane->source, now_us, out);
		else
			on_source_failed(self, number, now_us, out);
	}
	if (lane->state == LANE_IDLE && pace_is_free(&self->pace, now_us))
		run_idle(self, number, now_us, out);
	if (lane->state == LANE_WAITING && pace_is_free(&self->pace, now_us))
		lane_scan(lane, &self->terms, now_us, out);
}

/* A full disk stands in the way of that as of the copy itself, which says so. */
static void store_progress(struct transfer *self, uint64_t now_us)
{
	struct rpc_error why;
	if (self->progress.is_stored || self->count == 0 || (now_us < self->store_us && self->left > 0))
		return;
	(void)!progress_store(&self->progress, self->options.data_dir, &why);
	self->store_us = now_us + STORE_GAP_US;
}

static void least(uint64_t *timer_us, uint64_t candidate_us)
{
	if (candidate_us < *timer_us)
		*timer_us = candidate_us;
}

static uint64_t next_timer(const struct transfer *self)
{
	uint64_t timer_us = UINT64_MAX;
	if (self->left == 0)
		return UINT64_MAX;
	for (uint32_t i = 0; i < TRANSFER_LANES; i++) {
		const struct lane *lane = &self->lanes[i];
		if (lane->state == LANE_WAITING)
			least(&timer_us, self->pace.free_us);
		else if (lane->state == LANE_IDLE)
			least(&timer_us, self->look_us > self->pace.free_us ? self->look_us : self->pace.free_us);
		else
			least(&timer_us, lane->until_us);
	}
	if (!self->progress.is_stored)
		least(&timer_us, self->store_us);
	return timer_us;
}

static void check(const struct transfer *self)
{
	uint32_t left = 0;
	for (uint32_t i = 0; i < self->count && self->count < 64; i++)
		left += !self->incoming[i].is_complete;
	assert(left == self->left || self->count >= 64); /* F2; of many it would cost too much */
	for (uint32_t i = 0; i < TRANSFER_LANES; i++)
		assert((self->lanes[i].state == LANE_IDLE) == (self->taken[i] == NULL));
}

uint64_t transfer_run(struct transfer *self, uint64_t now_us, struct effects *out)
{
	if (self->document == NULL)
		return UINT64_MAX;
	store_progress(self, now_us);
	for (uint32_t i = 0; i < TRANSFER_LANES && self->left > 0; i++)
		run_lane(self, i, now_us, out);
	check(self);
	return next_timer(self);
}
