/* SPDX-License-Identifier: Apache-2.0 */
#include "node/membership/gossip_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	EXCHANGE_ROUNDS = 4,            /* rounds between push-pulls */
	REDRAW_ROUNDS = 64,             /* rounds between changes of a bus link */
	PUSH_MAX = 3,                   /* documents pushed per round */
	TWIN_RISES = 3,                 /* later rises of another process of this id: it is alive */
	STRANGER_US = 60 * 1000 * 1000, /* a node that is no member and silent for so long is forgotten */
};

/* ---- rows --------------------------------------------------------------------------------------------------- */

/* Of two processes on copies of one directory the one with the later start has lived on; of the same start, the one that was
 * there first. */
static bool yields_to(const struct gossip_row *self, const struct gossip_row *other)
{
	if (self->boot != other->boot)
		return self->boot < other->boot;
	if (self->started_ms != other->started_ms)
		return self->started_ms > other->started_ms;
	return self->life > other->life;
}

/* A row of this id that another process made. Whether it lives shows in time: what the others keep of a former life of this node
 * does not go on rising. Both would take and acknowledge writes as one node, so one of them stops. */
static void notice_twin(struct gossip *self, const struct gossip_row *row)
{
	const struct gossip_row last = {.incarnation = self->twin.incarnation, .heartbeat = self->twin.heartbeat};
	uint64_t round = atomic_load_explicit(&self->counters.rounds, memory_order_relaxed);

	if (row->life == 0 || row->life == self->self.life)
		return;
	if (row->life != self->twin.life) {
		self->twin.life = row->life;
		self->twin.rises = 0;
		self->twin.is_later = gossip_hear_start(self, row->boot, row->life);
	} else if (!gossip_row_newer(row, &last)) {
		return;
	}
	self->twin.incarnation = row->incarnation;
	self->twin.heartbeat = row->heartbeat;
	if (self->twin.is_later && yields_to(&self->self, row))
		gossip_hold(self);
	if (self->twin.round == round || round < gossip_settle_rounds(self))
		return;
	self->twin.round = round;
	self->twin.rises++;
	if (self->displaced || self->twin.rises < TWIN_RISES || !yields_to(&self->self, row))
		return;
	self->displaced = true;
	self->publish_now = true;
	gossip_refuse(self, &self->counters.displaced, NOTE_DISPLACED);
}

/* Someone goes by this node's id with a newer row: its directory was copied, or restored from before. The others
 * believe the newer row, so this node has to go beyond it to be heard at all (refutation, SWIM 4.2). */
static void hear_of_self(struct gossip *self, const struct gossip_row *row)
{
	notice_twin(self, row);
	if (self->displaced || !gossip_row_newer(row, &self->self))
		return;
	gossip_refuse(self, &self->counters.impostors, NOTE_IMPOSTOR);
	self->self.incarnation = row->incarnation + 1;
	if (self->self.incarnation == 0) /* which is "never heard" */
		self->self.incarnation++;
}

/* A node that lost its data directory comes back with another id, and the member it was stays away. */
static void notice_namesake(struct gossip *self, const struct gossip_row *row)
{
	if (self->document == NULL)
		return;
	for (uint32_t i = 0; i < ring_member_count(self->document); i++) {
		const struct ring_member *member = ring_member(self->document, i);

		if (member->id == row->node_id)
			return;
		if (strcmp(member->name, row->name) == 0 || strcmp(member->peer_address, row->peer_address) == 0)
			gossip_refuse(self, &self->counters.namesakes, NOTE_NAMESAKE);
	}
}

static void hear_new(struct gossip *self, const struct gossip_row *row, bool first_hand, uint64_t now_us)
{
	struct gossip_peer fresh = {
		.heard_us = now_us,
		.since_us = now_us,
		.figures_heartbeat = row->heartbeat,
		.heard = first_hand,
		.reachability = first_hand ? RING_UP : RING_UNKNOWN,
		.is_member = self->document != NULL && ring_member_find(self->document, row->node_id) >= 0,
	};

	notice_namesake(self, row);
	if (gossip_table_insert(&self->table, row, &fresh) < 0)
		gossip_refuse(self, &self->counters.overflows, NOTE_OVERFLOW);
	self->contacts_changed = true;
}

/* A newer heartbeat of it was heard. is_told: operators know of this from another note. */
static void come_up(struct gossip *self, uint32_t index, bool is_told, uint64_t now_us, struct effects *out)
{
	const struct gossip_row *row = &self->table.rows[index];
	struct gossip_peer *peer = &self->table.peers[index];

	if (!peer->heard || peer->reachability == RING_UP)
		return;
	peer->reachability = RING_UP;
	peer->since_us = now_us;
	self->publish_now |= peer->is_member;
	if (peer->is_member && !is_told)
		gossip_tell_member(NOTE_MEMBER_UP, row, row->incarnation, out);
}

/* Takes the newer row of a node that is known. first_hand: from the node itself. True: operators were told of a restart. */
static bool take_row(struct gossip *self, uint32_t index, const struct gossip_row *row, bool first_hand,
		     struct effects *out)
{
	struct gossip_row *old = &self->table.rows[index];
	struct gossip_peer *peer = &self->table.peers[index];
	bool rose = old->incarnation > 0, restarted = rose && row->incarnation > old->incarnation;

	assert(old->node_id == row->node_id);
	assert(gossip_row_newer(row, old)); /* G3 */
	self->contacts_changed |= peer->forgotten || strcmp(old->peer_address, row->peer_address) != 0 ||
				  strcmp(old->bus_address, row->bus_address) != 0;
	peer->heard |= first_hand || rose;
	peer->forgotten = false;
	peer->figures_heartbeat = row->heartbeat;
	*old = *row;
	if (!peer->heard || !peer->is_member || !restarted)
		return false;
	gossip_tell_member(NOTE_MEMBER_RESTARTED, row, row->incarnation, out);
	return true;
}

/* A node spoke that is behind what is known of it: it has to hear so, to go beyond it or to stop. */
static void contradict(struct gossip *self, uint32_t index, uint64_t incarnation, uint32_t revision)
{
	const struct gossip_row *row = &self->table.rows[index];

	if (row->incarnation != incarnation || row->revision != revision)
		self->table.peers[index].told_heartbeat = row->heartbeat - 1; /* so that it goes by the bus again */
}

/* A row whose heartbeat a beat has brought before: its figures may still be news. */
static void take_figures(struct gossip *self, uint32_t index, const struct gossip_row *row)
{
	struct gossip_row *mine = &self->table.rows[index];
	struct gossip_peer *peer = &self->table.peers[index];
	const struct gossip_row last = {.incarnation = mine->incarnation, .heartbeat = peer->figures_heartbeat};

	if (row->incarnation != mine->incarnation || row->revision != mine->revision || !gossip_row_newer(row, &last))
		return;
	mine->figures = row->figures;
	peer->figures_heartbeat = row->heartbeat;
}

static void hear_row(struct gossip *self, const struct gossip_row *row, bool first_hand, uint64_t now_us,
		     struct effects *out)
{
	int index = gossip_table_find(&self->table, row->node_id);

	if (index < 0) {
		hear_new(self, row, first_hand, now_us);
		return;
	}
	if (!gossip_row_newer(row, &self->table.rows[index])) { /* G3 */
		if (first_hand)
			contradict(self, (uint32_t)index, row->incarnation, row->revision);
		take_figures(self, (uint32_t)index, row);
		return;
	}
	gossip_count(&self->counters.news);
	detector_heard(&self->table.peers[index], now_us);
	bool is_told = take_row(self, (uint32_t)index, row, first_hand, out);
	come_up(self, (uint32_t)index, is_told, now_us, out);
}

static void hear_rows(struct gossip *self, const struct gossip_rows *gossip, uint64_t now_us, struct effects *out)
{
	for (uint32_t i = 0; i < gossip->row_count && i < GOSSIP_ROWS_MAX; i++) {
		const struct gossip_row *row = &gossip->rows[i];

		if (!gossip_row_valid(row))
			gossip_refuse(self, &self->counters.malformed, NOTE_MALFORMED);
		else if (gossip_is_foreign(self, row->cluster_id))
			gossip_refuse(self, &self->counters.foreign, NOTE_FOREIGN);
		else if (row->node_id == self->self.node_id)
			hear_of_self(self, row);
		else
			hear_row(self, row, row->node_id == gossip->from, now_us, out);
	}
}

/* ---- beats -------------------------------------------------------------------------------------------------- */

/* Takes a newer heartbeat of the row that this node has. */
static void rise(struct gossip *self, uint32_t index, const struct gossip_beat *beat, uint64_t now_us,
		 struct effects *out)
{
	struct gossip_row *row = &self->table.rows[index];

	assert(beat->epochs_behind <= self->self.epoch);
	row->heartbeat = beat->heartbeat;
	row->epoch = self->self.epoch - beat->epochs_behind;
	if (beat->epochs_behind == 0)
		row->ring_hash = self->self.ring_hash;
	gossip_count(&self->counters.news);
	detector_heard(&self->table.peers[index], now_us);
	assert(row->incarnation > 0); /* so it rose, and is heard whoever says so */
	self->table.peers[index].heard = true;
	come_up(self, index, false, now_us, out);
}

/* True: this node lacks the row that the beat is of. */
static bool hear_beat(struct gossip *self, const struct gossip_beat *beat, uint64_t from, uint64_t now_us,
		      struct effects *out)
{
	const struct gossip_row heard = {.incarnation = beat->incarnation, .heartbeat = beat->heartbeat};
	uint64_t id = ring_member(self->document, beat->member)->id;
	int index = gossip_table_find(&self->table, id);

	if (beat->incarnation == 0)
		return false; /* the sender has no row */
	if (id == self->self.node_id)
		return gossip_row_newer(&heard, &self->self);
	if (index < 0)
		return false; /* for want of room */
	const struct gossip_row *row = &self->table.rows[index];
	if (!gossip_row_newer(&heard, row)) { /* G3 */
		if (from == id)
			contradict(self, (uint32_t)index, beat->incarnation, beat->revision);
		return false;
	}
	if (row->revision == 0 || row->incarnation != beat->incarnation || row->revision != beat->revision)
		return true;
	rise(self, (uint32_t)index, beat, now_us, out);
	return false;
}

static bool beat_valid(const struct gossip *self, const struct gossip_beat *beat)
{
	return beat->member < ring_member_count(self->document) && beat->epochs_behind <= self->self.epoch;
}

/* Whether the row of that id is to be asked for now: once in a round, whoever tells of it. */
static bool is_due(struct gossip *self, uint64_t id, uint64_t now_us)
{
	int index = gossip_table_find(&self->table, id);
	uint64_t *wanted_us = index >= 0 ? &self->table.peers[index].wanted_us : &self->own.wanted_us;

	assert(index >= 0 || id == self->self.node_id);
	if (*wanted_us != 0 && now_us < *wanted_us + self->round_us)
		return false;
	*wanted_us = now_us;
	return true;
}

/* The sender is asked for the rows that this node lacks. */
static void hear_beats(struct gossip *self, const struct gossip_rows *gossip, uint64_t now_us, struct effects *out)
{
	bool may_ask = gossip->from != 0 && gossip->from != self->self.node_id;
	uint64_t wanted[GOSSIP_WANTED_MAX];
	uint32_t count = 0;

	if (self->document == NULL || !gossip_has_document(self, gossip))
		return; /* it does not know whom they are of */
	for (uint32_t i = 0; i < gossip->beat_count; i++) {
		const struct gossip_beat *beat = &gossip->beats[i];

		if (!beat_valid(self, beat)) {
			gossip_refuse(self, &self->counters.malformed, NOTE_MALFORMED);
			continue;
		}
		uint64_t id = ring_member(self->document, beat->member)->id;
		if (hear_beat(self, beat, gossip->from, now_us, out) && may_ask && count < GOSSIP_WANTED_MAX &&
		    is_due(self, id, now_us))
			wanted[count++] = id;
	}
	if (count == 0)
		return;
	atomic_fetch_add_explicit(&self->counters.wanted, count, memory_order_relaxed);
	gossip_send(self, MESSAGE_GOSSIP, gossip->from, 0, gossip_brief_rows(self, wanted, count, out), now_us, out);
}

/* ---- questions ---------------------------------------------------------------------------------------------- */

/* A question whose answer is the newest row of the node that is asked, and which start of this node it keeps. */
static void ask(struct gossip *self, uint64_t node_id, uint64_t now_us, struct effects *out)
{
	gossip_send(self, MESSAGE_GOSSIP, node_id, 0, gossip_brief_rows(self, NULL, 0, out), now_us, out);
}

/* Asks a few members which start of this node they keep; they learn this one by it. suspected: also those that are suspected. */
static void ask_for_proof(struct gossip *self, bool suspected, uint64_t now_us, struct effects *out)
{
	uint64_t ids[GOSSIP_ASK_MAX];
	uint32_t count = self->displaced ? 0 : gossip_to_ask(self, suspected, ids);

	for (uint32_t i = 0; i < count; i++)
		ask(self, ids[i], now_us, out);
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

static void answer_gossip(struct gossip *self, const struct message *question, struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_GOSSIPED);

	if (answer == NULL)
		return;
	answer->epoch = self->self.epoch;
	answer->gossip = gossip_answer_rows(self, question->gossip, out);
	if (answer->gossip != NULL)
		effects_send(out, answer);
	else
		message_free(answer);
}

/* BUS, GOSSIP, GOSSIPED: news; the rest follows from what they say. */
static void on_gossip(struct gossip *self, const struct message *message, uint64_t now_us, struct effects *out)
{
	const struct gossip_rows *gossip = message->gossip;

	if (gossip_is_foreign(self, gossip->cluster_id)) {
		gossip_refuse(self, &self->counters.foreign, NOTE_FOREIGN);
	} else {
		hear_rows(self, gossip, now_us, out);
		hear_beats(self, gossip, now_us, out);
		if (message->type == MESSAGE_GOSSIPED)
			gossip_hear_kept(self, gossip);
		gossip_receive_document(self, gossip->document, gossip->from, now_us, out);
		gossip_pull_document(self, gossip, now_us, out);
	}
	if (message->type == MESSAGE_GOSSIP)
		answer_gossip(self, message, out);
}

/* INIT_CLUSTER, FORCE_RING: a ring that no majority is asked for. */
static void on_ring_made_here(struct gossip *self, const struct message *question, uint64_t now_us, struct effects *out)
{
	struct gossip_verdict verdict = question->type == MESSAGE_INIT_CLUSTER
						? gossip_init_cluster(self, question, now_us, out->arena)
						: gossip_force(self, &question->force, now_us, out);
	struct message *answer = message_answer(question, out->arena, MESSAGE_CLUSTER_INITED);

	if (answer != NULL) {
		answer->cluster_inited.code = verdict.code;
		answer->cluster_inited.text = verdict.text;
		answer->cluster_inited.cluster_id = self->self.cluster_id;
		answer->cluster_inited.epoch = self->self.epoch;
		effects_send(out, answer);
	}
	if (verdict.code == RPC_CODE_OK)
		gossip_push_document(self, GOSSIP_ROWS_MAX, now_us, out);
}

/* ---- rounds ------------------------------------------------------------------------------------------------- */

/* Judges the others, tells of those that went, and probes those that have been silent for a while. */
static void judge(struct gossip *self, uint64_t now_us, struct effects *out)
{
	for (uint32_t i = 0; i < self->table.count; i++)
		self->table.peers[i].told = self->table.peers[i].reachability;
	detector_round(&self->detector, &self->table, &self->self, now_us);
	for (uint32_t i = 0; i < self->table.count; i++) {
		const struct gossip_peer *peer = &self->table.peers[i];

		if (peer->is_member && peer->reachability != peer->told)
			gossip_tell_state(self, i, out);
		if (peer->probe && !self->displaced)
			ask(self, self->table.rows[i].node_id, now_us, out);
	}
}

/* Nodes that never joined, or did not come back under this id: without an end their rows would be passed round for ever. */
static void forget_strangers(struct gossip *self, uint64_t now_us)
{
	for (uint32_t i = 0; i < self->table.count; i++) {
		struct gossip_peer *peer = &self->table.peers[i];

		if (peer->is_member || peer->forgotten || now_us - peer->heard_us <= STRANGER_US)
			continue;
		peer->forgotten = self->contacts_changed = true;
		gossip_refuse(self, &self->counters.forgotten, NOTE_FORGOTTEN);
	}
}

static bool is_linked(const struct gossip *self, uint64_t node_id)
{
	for (uint32_t i = 0; i < self->bus_link_count; i++)
		if (self->bus_links[i] == node_id)
			return true;
	return false;
}

/* k random nodes; one of them is redrawn now and then, so that the graph of links does not stay split. */
static void draw_bus_links(struct gossip *self, bool redraw)
{
	uint32_t contacts = gossip_count_contacts(self);
	uint32_t want = contacts < GOSSIP_BUS_LINKS ? contacts : GOSSIP_BUS_LINKS, kept = 0;

	for (uint32_t i = 0; i < self->bus_link_count; i++) {
		int index = gossip_table_find(&self->table, self->bus_links[i]);

		if (index >= 0 && gossip_is_contact(self, (uint32_t)index))
			self->bus_links[kept++] = self->bus_links[i];
	}
	self->contacts_changed |= kept < self->bus_link_count;
	self->bus_link_count = kept;
	if (redraw && kept == want && want < contacts)
		self->bus_links[prng_below(&self->prng, kept)] = self->bus_links[--self->bus_link_count];
	while (self->bus_link_count < want) {
		uint64_t id = self->table.rows[gossip_random_contact(self, contacts)].node_id;

		if (is_linked(self, id))
			continue;
		self->bus_links[self->bus_link_count++] = id;
		self->contacts_changed = true;
	}
}

static uint64_t next_round(struct gossip *self, uint64_t now_us)
{
	return now_us + self->round_us - self->round_us / 8 + prng_below(&self->prng, self->round_us / 4 + 1);
}

static void run_round(struct gossip *self, uint64_t now_us, struct effects *out)
{
	uint64_t round = atomic_load_explicit(&self->counters.rounds, memory_order_relaxed);

	self->next_round_us = next_round(self, now_us);
	self->self.heartbeat++;
	if (self->read_figures != NULL)
		self->read_figures(self->read_figures_arg, &self->self.figures);
	judge(self, now_us, out);
	forget_strangers(self, now_us);
	draw_bus_links(self, round % REDRAW_ROUNDS == REDRAW_ROUNDS - 1);
	gossip_revise(self);
	gossip_send(self, MESSAGE_BUS, 0, 0, gossip_bus_rows(self, out), now_us, out);
	gossip_push_document(self, PUSH_MAX, now_us, out);
	gossip_propose_round(self, now_us, out);
	gossip_advance_round(self, now_us, out);
	gossip_autoscale_round(self, now_us, out);
	ask_for_proof(self, !self->proven || round % EXCHANGE_ROUNDS == 0, now_us, out);
	if (round % EXCHANGE_ROUNDS == 0 || self->document == NULL || gossip_is_held(self))
		gossip_exchange(self, now_us, out);
	gossip_publish(self, now_us);
	gossip_count(&self->counters.rounds);
}

static void start(struct gossip *self, uint64_t now_us)
{
	self->next_round_us = now_us;
	detector_start(&self->detector, &self->table, now_us);
}

/* Upkeep looks at the view when a new ring is in it. Without memory it is told at the end of the next step. */
static void tell_upkeep(struct gossip *self, struct effects *out)
{
	struct message *message;

	if (self->document == NULL || self->publish_now || self->told_hash == ring_hash(self->document))
		return;
	message = message_create(out->arena, MESSAGE_RING);
	if (message == NULL)
		return;
	message->from = (struct address){self->self.node_id, ACTOR_GOSSIP, 0};
	message->to = (struct address){self->self.node_id, ACTOR_UPKEEP, 0};
	self->told_hash = ring_hash(self->document);
	effects_send(out, message);
}

/* ---- the actor ---------------------------------------------------------------------------------------------- */

static void on_message(struct gossip *self, struct message *message, const struct event *event, struct effects *out)
{
	assert(message_is_for(message->type, ACTOR_GOSSIP));
	if (message->type == MESSAGE_SET_RACK || message->type == MESSAGE_COMMIT_CHANGE ||
	    message->type == MESSAGE_ABORT_CHANGE) {
		gossip_propose(self, message, event->now_us, out);
		return;
	}
	if (message->type == MESSAGE_PLAN_CHANGE) {
		gossip_plan_change(self, message, out);
		return;
	}
	if (message->type == MESSAGE_INIT_CLUSTER || message->type == MESSAGE_FORCE_RING)
		on_ring_made_here(self, message, event->now_us, out);
	else if (message->type == MESSAGE_STOPPING)
		gossip_propose_stop(self, out);
	else if (message->type == MESSAGE_VOTE)
		gossip_vote(self, message, event->now_us, out);
	else if (message->type == MESSAGE_VOTED)
		gossip_hear_vote(self, message, event->now_us, out);
	else if (message->type == MESSAGE_READY)
		gossip_hear_ready(self, &message->ready);
	else if (message->type == MESSAGE_BEHIND)
		gossip_get_newer(self, message->behind.epoch, message->behind.node_id, event->now_us, out);
	else if (message->gossip != NULL)
		on_gossip(self, message, event->now_us, out);
	message_free(message);
}

void gossip_step(struct gossip *self, const struct event *event, struct effects *out)
{
	if (event->type == EVENT_START)
		start(self, event->now_us);
	if (event->type == EVENT_MESSAGE)
		on_message(self, event->message, event, out);
	if ((event->type == EVENT_START || event->type == EVENT_TIMER) && event->now_us >= self->next_round_us)
		run_round(self, event->now_us, out);
	gossip_propose_settle(self, event->now_us, out);
	if (self->publish_now)
		gossip_publish(self, event->now_us);
	tell_upkeep(self, out);
	gossip_tell(self, out);
	assert(!self->ring_changed);
	out->timer_us = self->next_round_us;
	gossip_check(self);
}

static int refuse_options(struct rpc_error *error_out)
{
	snprintf(error_out->text, sizeof error_out->text,
		 "gossip: name, peer address and bus address of this node must be set, and at most %d seeds",
		 UINT16_MAX - 1);
	return -EINVAL;
}

int gossip_create(const struct gossip_options *options, struct gossip **out, struct rpc_error *error_out)
{
	struct gossip *self;
	int status;

	*out = NULL;
	if (!gossip_row_valid(&options->self) || options->seed_count >= UINT16_MAX)
		return refuse_options(error_out);
	self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	self->self = options->self;
	self->self.heartbeat = 0;
	self->self.boot = data_dir_boot(options->data_dir);
	if (self->self.boot != options->self.incarnation)
		self->self.boot = 0; /* a number that is not on disk may be taken again */
	self->self.receiving = data_dir_is_receiving(options->data_dir);
	self->self.unproven = true;
	self->self.cluster_id = data_dir_cluster_id(options->data_dir);
	self->self.epoch = self->self.ring_hash = 0;
	self->is_told_joined = self->self.cluster_id != 0;
	self->data_dir = options->data_dir;
	self->ring = options->ring;
	self->seed_count = options->seed_count;
	self->transfer_bytes_per_s = options->transfer_bytes_per_s;
	autoscale_init(&self->autoscale, &options->autoscale);
	self->read_figures = options->read_figures;
	self->read_figures_arg = options->read_figures_arg;
	self->round_us = (options->round_ms ? options->round_ms : 200) * UINT64_C(1000);
	self->timeout_us = (options->timeout_ms ? options->timeout_ms : 2000) * UINT64_C(1000);
	detector_init(&self->detector, self->round_us, self->timeout_us);
	prng_seed(&self->prng, options->seed);
	self->self.life = prng_next(&self->prng) | 1;
	self->self.revision = (uint32_t)(self->self.life % GOSSIP_REVISION_MAX) + 1;
	status = gossip_load_document(self, error_out);
	if (!status)
		status = gossip_load_starts(self, error_out);
	if (!status)
		status = acceptor_load(&self->acceptor, self->data_dir, error_out);
	if (status)
		gossip_destroy(&self);
	*out = self;
	return status;
}

void gossip_destroy(struct gossip **self_in)
{
	struct gossip *self = *self_in;

	*self_in = NULL;
	if (self == NULL)
		return;
	gossip_propose_fini(self);
	acceptor_fini(&self->acceptor);
	autoscale_fini(&self->autoscale);
	ring_document_destroy(&self->document);
	gossip_table_fini(&self->table);
	free(self->document_bytes);
	free(self->status);
	free(self);
}

uint32_t gossip_rows(const struct gossip *self, const struct gossip_row **rows_out)
{
	*rows_out = self->table.rows;
	return self->table.count;
}

const struct gossip_counters *gossip_counters(const struct gossip *self)
{
	return &self->counters;
}
