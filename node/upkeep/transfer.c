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

_Static_assert(RING_REPLICAS_MAX <= 8, "a place in a row is a bit of incoming.scanned");

/* ---- who gives, who takes -------------------------------------------------------------------------------------- */

/* The old owners in this node's datacenter, or, where it had none, in the first one that had some. */
static uint32_t old_row(const struct ring_document *document, uint32_t partition, uint32_t member,
			const uint16_t **row_out)
{
	uint32_t count = ring_old_owners(document, partition, ring_member_datacenter(document, member), row_out);
	for (uint32_t i = 0; count == 0 && i < ring_datacenter_count(document); i++)
		count = ring_old_owners(document, partition, i, row_out);
	return count;
}

static int place_of(const uint16_t *row, uint32_t count, uint32_t member)
{
	for (uint32_t i = 0; i < count; i++)
		if (row[i] == member)
			return (int)i;
	return -1;
}

/* Does something of the partition have to come? Where owners become fewer, an old one that stays may lack what a majority has. */
static bool has_to_come(const struct ring_document *document, uint32_t partition, uint32_t member)
{
	const uint16_t *owners, *old;
	uint32_t count = ring_owners(document, partition, ring_member_datacenter(document, member), &owners);
	uint32_t old_count = old_row(document, partition, member, &old);
	if (old_count == 0 || place_of(owners, count, member) < 0)
		return false;
	return place_of(old, old_count, member) < 0 || count < old_count;
}

/* F1. */
static bool is_read(const struct incoming *incoming, uint32_t old_count)
{
	uint32_t read = (uint32_t)__builtin_popcount(incoming->scanned);
	uint32_t sound = (uint32_t)__builtin_popcount(incoming->scanned & ~incoming->doubtful & 0xff);
	return sound >= old_count / 2 + 1 || read == old_count;
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
		const uint16_t *old;
		if (!has_to_come(self->document, partition, self->self))
			continue;
		uint32_t old_count = old_row(self->document, partition, self->self, &old);
		int place = place_of(old, old_count, self->self);
		struct incoming *incoming = &self->incoming[self->count++];
		*incoming = (struct incoming){.partition = (uint16_t)partition,
					      .scanned = (uint8_t)(place >= 0 ? 1 << place : 0),
					      .is_complete = progress_has(&self->progress, partition)};
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

/* The next old owner to read, or -1. Each partition begins at another place, so that the sources share the work. */
static int choose_source(struct transfer *self, const struct incoming *incoming)
{
	const uint16_t *row;
	uint32_t count = old_row(self->document, incoming->partition, self->self, &row);
	int chosen = -1;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	bool same = view->document != NULL && ring_hash(view->document) == ring_hash(self->document);
	for (uint32_t i = 0; same && chosen < 0 && i < count; i++) {
		uint32_t place = (incoming->partition + self->self + i) % count;
		bool tried = (incoming->scanned | incoming->refused) >> place & 1;
		if (!tried && is_reachable(&view->status[row[place]]))
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
	const uint16_t *row;
	uint32_t count = old_row(self->document, incoming->partition, self->self, &row);
	int place = choose_source(self, incoming);
	if (place >= 0) {
		self->places[number] = (uint32_t)place;
		lane_look(&self->lanes[number], &self->terms, incoming->partition,
			  ring_member(self->document, row[place])->id, now_us, out);
	} else if (is_read(incoming, count)) {
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
	lane->digest_only = incoming->scanned != 0 || incoming->is_begun || (self->progress.resumed && lane->root != 0);
}

static void on_source_failed(struct transfer *self, uint32_t number, uint64_t now_us, struct effects *out)
{
	const struct lane *lane = &self->lanes[number];
	if (lane->status == REPLICA_STALE_RING)
		behind_notice(&self->told_epoch, self->options.ring, self->options.self, self->terms.epoch + 1,
			      lane->source, out);
	self->taken[number]->refused |= (uint8_t)(1 << self->places[number]);
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
		self->taken[number]->scanned |= (uint8_t)(1 << self->places[number]);
		if (self->lanes[number].receiving)
			self->taken[number]->doubtful |= (uint8_t)(1 << self->places[number]);
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
	incoming->refused = 0;
	incoming->scanned &= (uint8_t)~incoming->doubtful; /* they may be proven by now */
	incoming->doubtful = 0;
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
