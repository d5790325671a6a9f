/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/key.h"
#include "node/object/limit.h"
#include "node/coordinator/operation.h"
#include "node/membership/behind.h"
#include "node/membership/standing.h"
#include "rpc/operation_id.h"

/* ---- owners ------------------------------------------------------------------------------------------------- */

static const char *text_or(const char *text, const char *without_memory)
{
	return text != NULL ? text : without_memory;
}

static bool is_connected(const struct coordinator *self, uint64_t node_id)
{
	const struct coordinator_links *links = &self->options.links;
	return node_id == self->options.self.node_id || links->connected == NULL ||
	       links->connected(links->arg, node_id);
}

/* What is known of an owner before it is asked: by gossip, and by this node's own calls and links, which count more. */
static struct owner owner_of(const struct coordinator *self, const struct ring_view *view, uint16_t member,
			     uint64_t now_us)
{
	struct owner owner = {.node_id = ring_member(view->document, member)->id, .member_index = member};
	enum ring_reachability reachability = view->status[member].reachability;
	bool away = reachability == RING_UNREACHABLE || reachability == RING_DOWN;
	bool connected = is_connected(self, owner.node_id);
	bool answers = reachability == RING_UP || evidence_is_up(&self->evidence, member, owner.node_id, now_us);
	owner.up = connected && answers;
	owner.unreachable = !connected || (away && !answers);
	owner.suspect = evidence_is_suspect(&self->evidence, member, owner.node_id, now_us);
	return owner;
}

/* What is wrong with what a client wants to write, or NULL. */
static const char *check_put(const struct client_operation *request, struct effects *out)
{
	uint64_t time_ms;
	if (request->kind == OPERATION_PUT && !rpc_operation_id_time(request->operation_id, &time_ms))
		return "the operation id is not a UUID version 7, so that nothing says how old the operation is: "
		       "make it so (RFC 9562), or send none";
	if (request->value.size > LIMIT_VALUE_SIZE)
		return text_or(rpc_arena_printf(out->arena,
						"the value has %zu bytes, the limit is %d: split it over several keys",
						request->value.size, LIMIT_VALUE_SIZE),
			       "value over its limit");
	return NULL;
}

/* ---- quorums ------------------------------------------------------------------------------------------------ */

/* What a level or a number asks for: of all owners together, of those in this datacenter, or of those in each. */
struct demand {
	bool local, each;
	uint32_t count; /* MAJORITY, ALL */
};

enum { MAJORITY = 0 };
#define ALL UINT32_MAX

static struct demand demand_of(const struct coordinator *self, struct operation *operation)
{
	static const struct demand demands[LEVEL_COUNT] = {
		[LEVEL_ONE] = {.count = 1},
		[LEVEL_TWO] = {.count = 2},
		[LEVEL_QUORUM] = {.count = MAJORITY},
		[LEVEL_ALL] = {.count = ALL},
		[LEVEL_LOCAL_ONE] = {.local = true, .count = 1},
		[LEVEL_LOCAL_QUORUM] = {.local = true, .count = MAJORITY},
		[LEVEL_EACH_QUORUM] = {.each = true, .count = MAJORITY},
	};
	const struct coordinator_options *options = &self->options;
	operation->level = LEVEL_NONE;
	if (operation->request->quorum > 0)
		return (struct demand){.count = operation->request->quorum};
	operation->level = (enum level)operation->request->level;
	if (operation->level == LEVEL_NONE)
		operation->level = operation->kind == OPERATION_PUT ? options->write_level : options->read_level;
	if (operation->level == LEVEL_NONE)
		operation->level = LEVEL_QUORUM;
	return demands[operation->level];
}

/* The owners of one side in one datacenter. */
struct row {
	enum side side;
	uint32_t datacenter;
	const uint16_t *members;
	uint32_t count;
};

/* The rows of an operation: those that reads go to first, and of each side those of this datacenter. */
struct rows {
	struct row rows[2 * RING_DATACENTERS_MAX];
	uint32_t count;
	uint32_t near;      /* datacenter of this node */
	uint32_t owners[2]; /* by place of the side: as many as the demand counts */
	uint32_t sides;
};

static void add_side(const struct operation *operation, const struct ring_document *document, enum side side,
		     struct demand demand, struct rows *rows)
{
	uint32_t datacenters = ring_datacenter_count(document), place = rows->sides++;
	bool near_alone = demand.local && operation->kind == OPERATION_GET;
	rows->owners[place] = 0;
	for (uint32_t i = 0; i < (near_alone ? 1 : datacenters); i++) {
		uint32_t datacenter = i == 0 ? rows->near : i <= rows->near ? i - 1 : i;
		struct row row = {.side = side, .datacenter = datacenter};
		row.count = side == SIDE_OLD ? ring_old_owners(document, operation->partition, datacenter, &row.members)
					     : ring_owners(document, operation->partition, datacenter, &row.members);
		rows->rows[rows->count++] = row;
		if (i == 0 || !demand.local)
			rows->owners[place] += row.count;
	}
}

static void find_rows(struct operation *operation, const struct ring_view *view, struct demand demand,
		      struct rows *rows)
{
	enum ring_transition transition = ring_transition(view->document);
	enum side reads = transition == RING_WRITE_BOTH_READ_OLD ? SIDE_OLD : SIDE_NEW;
	rows->count = rows->sides = 0;
	rows->near = ring_member_datacenter(view->document, (uint32_t)view->self);
	operation->read_side = reads;
	add_side(operation, view->document, reads, demand, rows);
	if (transition != RING_STABLE && operation->kind == OPERATION_PUT)
		add_side(operation, view->document, reads == SIDE_OLD ? SIDE_NEW : SIDE_OLD, demand, rows);
}

/* Of the client's number as many as there are, or a majority. owners 0: nobody to wait for, and no quota. Returns what it
 * needs. */
static uint32_t add_quota(struct operation *operation, enum side side, uint32_t datacenter, uint32_t owners,
			  uint32_t count, const char *place)
{
	uint32_t needed = count == MAJORITY ? owners / 2 + 1 : count < owners ? count : owners;
	if (owners == 0)
		return 0;
	operation->quotas[operation->quota_count++] = (struct quota){
		.side = (uint8_t)side,
		.datacenter = (uint8_t)datacenter,
		.owners = (uint8_t)owners,
		.needed = (uint8_t)needed,
		.place = place,
	};
	return needed;
}

static const char *place_text(const struct ring_document *document, uint32_t datacenter, struct effects *out)
{
	return text_or(rpc_arena_printf(out->arena, " in %s", ring_datacenter(document, datacenter)->name), "");
}

static void set_quotas(struct operation *operation, const struct ring_document *document, struct demand demand,
		       const struct rows *rows, struct effects *out)
{
	uint32_t per_side = rows->count / rows->sides;
	for (uint32_t place = 0; place < rows->sides; place++) {
		const struct row *row = &rows->rows[place * per_side];
		uint32_t needed = 0;
		if (demand.each)
			for (uint32_t i = 0; i < per_side; i++)
				needed += add_quota(operation, row->side, row[i].datacenter, row[i].count, MAJORITY,
						    place_text(document, row[i].datacenter, out));
		else if (demand.local)
			needed = add_quota(operation, row->side, rows->near, row->count, demand.count,
					   place_text(document, rows->near, out));
		else
			needed = add_quota(operation, row->side, DATACENTER_ANY, rows->owners[place], demand.count, "");
		operation->needed = needed > operation->needed ? needed : operation->needed;
	}
}

/* I4 */
static void take_owner(const struct coordinator *self, struct operation *operation, const struct ring_view *view,
		       const struct row *row, uint16_t member, uint64_t now_us)
{
	struct owner *owner = operation_owner(operation, ring_member(view->document, member)->id);
	assert(owner == NULL || (owner->sides & row->side) == 0);
	if (owner == NULL) {
		owner = &operation->owners[operation->owner_count++];
		*owner = owner_of(self, view, member, now_us);
		owner->datacenter = (uint8_t)row->datacenter;
		owner->near = row->datacenter == ring_member_datacenter(view->document, (uint32_t)view->self);
	}
	owner->sides |= (uint8_t)row->side;
}

static const char *refuse_quorum(struct operation *operation, const struct ring_view *view, uint32_t most,
				 struct effects *out, uint32_t *code_out)
{
	uint32_t asked = operation->needed = operation->request->quorum;
	bool is_put = operation->kind == OPERATION_PUT;
	const uint16_t *members;
	uint32_t later = 0;
	for (uint32_t i = 0; i < ring_datacenter_count(view->document); i++)
		later += ring_owners(view->document, operation->partition, i, &members);
	*code_out = RPC_CODE_INVALID_ARGUMENT;
	if (!is_put && asked <= later) {
		*code_out = RPC_CODE_FAILED_PRECONDITION;
		return text_or(rpc_arena_printf(out->arena,
						"r=%u asks for more replicas than the N=%u that reads go to until the "
						"change of the ring is over: ask for %u at most, or wait for it",
						asked, most, most),
			       "more replicas asked for than there are until the ring has changed");
	}
	return text_or(rpc_arena_printf(out->arena,
					"%s=%u asks for more replicas than the N=%u there are: ask for %u at most",
					is_put ? "w" : "r", asked, most, most),
		       "more replicas asked for than there are");
}

/* Those that reads go to; of a put those of the other side of a change too (ALGORITHMS.md, Ring). */
static const char *take_owners(const struct coordinator *self, struct operation *operation,
			       const struct ring_view *view, uint64_t now_us, struct effects *out, uint32_t *code_out)
{
	struct rows rows;
	struct demand demand = demand_of(self, operation);
	find_rows(operation, view, demand, &rows);
	assert(operation->owner_count == 0 && operation->quota_count == 0);
	operation->epoch = ring_epoch(view->document);
	uint32_t most = rows.owners[0], room = 0;
	if (rows.sides > 1 && rows.owners[1] > most)
		most = rows.owners[1];
	for (uint32_t i = 0; i < rows.count; i++)
		room += rows.rows[i].count;
	*code_out = RPC_CODE_UNAVAILABLE;
	if (rows.owners[0] == 0)
		return "no node of this datacenter holds the key yet: retry when the change of the ring is over, or "
		       "ask for a level that is not local";
	if (operation->request->quorum > most)
		return refuse_quorum(operation, view, most, out, code_out);
	operation->owners = rpc_arena_alloc(out->arena, room * sizeof *operation->owners);
	operation->quotas = rpc_arena_alloc(out->arena, rows.count * sizeof *operation->quotas);
	*code_out = RPC_CODE_RESOURCE_EXHAUSTED;
	if (operation->owners == NULL || operation->quotas == NULL)
		return "this node is out of memory: retry later or elsewhere";
	set_quotas(operation, view->document, demand, &rows, out);
	for (uint32_t i = 0; i < rows.count; i++)
		for (uint32_t j = 0; j < rows.rows[i].count; j++)
			take_owner(self, operation, view, &rows.rows[i], rows.rows[i].members[j], now_us);
	return NULL;
}

/* ---- starting ----------------------------------------------------------------------------------------------- */

/* What is wrong with the level that a request names, or NULL. */
static const char *check_level(const struct client_operation *request)
{
	if (request->level >= LEVEL_COUNT)
		return "no such level: this node knows ONE, TWO, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM and EACH_QUORUM";
	if (request->level != LEVEL_NONE && request->quorum != 0)
		return "the request gives a level and a number of replicas: give one of them";
	return NULL;
}

/* What is wrong with an operation before anything is sent, or NULL. */
static const char *prepare(const struct coordinator *self, struct operation *operation, const struct ring_view *view,
			   uint64_t now_us, struct effects *out, uint32_t *code_out)
{
	const struct client_operation *request = operation->request;
	/* A client's call has been refused as a whole before. Who forwards a put here has a ring in which this node is
	 * an owner: it should try the next one. */
	const char *refusal = standing_refusal(view);
	*code_out = RPC_CODE_ABORTED;
	if (refusal != NULL)
		return refusal;
	struct rpc_slice bucket =
		request->bucket.size ? request->bucket : (struct rpc_slice){(const uint8_t *)"default", 7};
	*code_out = RPC_CODE_INVALID_ARGUMENT;
	operation->partition = (uint16_t)ring_partition_of(view->document, bucket.data, bucket.size, request->key.data,
							   request->key.size);
	if (key_encode(operation->partition, bucket, request->key, out->arena, &operation->key) < 0)
		return "key must have 1 to 4096 bytes and bucket at most 256";
	const char *wrong = check_put(request, out);
	if (wrong == NULL)
		wrong = check_level(request);
	if (wrong != NULL)
		return wrong;
	wrong = take_owners(self, operation, view, now_us, out, code_out);
	if (wrong != NULL)
		return wrong;
	operation->unproven = view->status[view->self].unproven;
	*code_out = RPC_CODE_INVALID_ARGUMENT;
	struct rpc_error why = {"context refused: this node is out of memory, retry later or elsewhere"};
	int error = context_decode(request->context, operation->key, out->arena, &operation->context, &why);
	if (error == -ENOMEM)
		*code_out = RPC_CODE_RESOURCE_EXHAUSTED;
	if (error < 0)
		return text_or(rpc_arena_printf(out->arena, "%s", why.text), "context refused");
	return NULL;
}

/* The operation, if it goes on. */
static void check(const struct coordinator *self, uint64_t correlation)
{
	const struct operation *operation = operation_find(self, correlation);
	if (operation != NULL)
		operation_check(operation);
}

static void refuse_begin(struct coordinator *self, struct operation *operation, uint32_t code, const char *why,
			 struct effects *out)
{
	enum outcome outcome = OUTCOME_REFUSED;
	if (operation->maybe_written) {
		outcome = OUTCOME_IN_DOUBT;
		why = text_or(
			rpc_arena_printf(out->arena,
					 "the ring changed while the write was under way (%s): "
					 "safe to retry with the same operation id",
					 why),
			"the ring changed while the write was under way: safe to retry with the same operation id");
	}
	operation_fail(self, operation, outcome, code, why, out);
	operation_finish(self, operation);
}

/* With the ring in force now. */
static void begin(struct coordinator *self, struct operation *operation, const struct event *event, struct effects *out)
{
	uint64_t correlation = operation->correlation;
	uint32_t code;
	operation->arena = rpc_arena_ref(out->arena);
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	const char *wrong = prepare(self, operation, view, event->now_us, out, &code);
	ring_view_release(self->options.ring, view);
	if (wrong != NULL) {
		refuse_begin(self, operation, code, wrong, out);
	} else if (operation->kind == OPERATION_GET) {
		get_start(self, operation, event, out);
	} else if (operation->state == OPERATION_REPLICATING) {
		put_replicate(self, operation, event->now_us, out);
	} else {
		put_start(self, operation, event->now_us, out);
	}
	check(self, correlation);
}

/* Nothing is kept of what was asked under the older ring: late answers find nobody, and acknowledgements are asked for
 * again, which costs little, as a ring seldom changes. */
static void begin_again(struct coordinator *self, struct operation *operation, const struct event *event,
			struct effects *out)
{
	if (operation->state == OPERATION_WAITING) {
		operation_move(operation, OPERATION_STARTED);
		message_free(operation->held);
		operation->held = NULL;
	} else {
		assert(operation->state == OPERATION_REPLICATING);
		operation->correlation += CORRELATION_STEP;
	}
	rpc_arena_unref(operation->merge_arena);
	rpc_arena_unref(operation->arena);
	operation->merge_arena = NULL;
	operation->has_object = false;
	operation->owner_count = operation->quota_count = 0;
	operation->needed = operation->tries = operation->lessons = 0;
	operation->beginnings++;
	timer_heap_move(&self->timers, &operation->timer, operation->deadline_us);
	begin(self, operation, event, out);
}

static void start(struct coordinator *self, struct message *question, uint32_t index,
		  const struct client_operation *request, const struct event *event, struct effects *out)
{
	if (question->deadline_us <= event->now_us) {
		operation_turn_away(self, question, index, RPC_CODE_DEADLINE_EXCEEDED,
				    "the deadline passed while the request waited: nothing was done", out);
		return;
	}
	struct operation *operation = operation_begin(self, question->deadline_us);
	if (operation == NULL) {
		operation_turn_away(self, question, index, RPC_CODE_RESOURCE_EXHAUSTED,
				    "too many operations in flight on this node: retry later or elsewhere", out);
		return;
	}
	assert(question->pins[0] == NULL &&
	       question->value.pin == NULL); /* its arena has it all, and later questions pin that */
	assert(question->type == MESSAGE_CLIENT || question->type == MESSAGE_FORWARD);
	operation->question = question;
	operation->index = index;
	operation->request = request;
	operation->kind = request->kind;
	operation->started_us = event->now_us;
	coordinator_count(request->kind == OPERATION_PUT ? &self->counters.puts : &self->counters.gets);
	begin(self, operation, event, out);
}

/* This node serves nobody: the call as a whole is UNAVAILABLE, on which clients ask the next node. */
static bool refuse_call(struct coordinator *self, struct message *question, struct effects *out)
{
	struct client_request *request = question->client.request;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	const char *refusal = standing_refusal(view);
	ring_view_release(self->options.ring, view);
	if (refusal == NULL)
		return false;
	request->refusal_code = RPC_CODE_UNAVAILABLE;
	request->refusal = refusal;
	for (uint32_t i = 0, count = request->count; i < count; i++)
		operation_turn_away(self, question, i, RPC_CODE_UNAVAILABLE, refusal, out);
	return true;
}

/* Operations may end while others of the same request start: the request is not touched after the last one's start. */
static void on_client(struct coordinator *self, struct message *question, const struct event *event,
		      struct effects *out)
{
	struct client_request *request = question->client.request;
	uint32_t count = request->count;
	request->remaining = count;
	if (count == 0) {
		question->type = MESSAGE_CLIENT_DONE;
		question->to = question->from;
		effects_send(out, question);
		return;
	}
	if (refuse_call(self, question, out))
		return;
	coordinator_tell_request(request, out);
	for (uint32_t i = 0; i < count; i++)
		start(self, question, i, &request->operations[i], event, out);
}

/* ---- events ------------------------------------------------------------------------------------------------- */

static bool is_silence(const struct message *answer)
{
	if (answer->type == MESSAGE_FORWARDED)
		return answer->forwarded.result.outcome != OUTCOME_DONE &&
		       answer->forwarded.result.code == RPC_CODE_UNAVAILABLE;
	return answer->status == REPLICA_UNREACHABLE || answer->status == REPLICA_LOST;
}

static void note_answer(struct coordinator *self, struct operation *operation, const struct message *answer,
			uint64_t now_us)
{
	const struct owner *owner = operation_owner(operation, answer->from.node_id);
	if (owner == NULL || owner->node_id == self->options.self.node_id)
		return;
	if (is_silence(answer))
		evidence_silent(&self->evidence, owner->member_index, owner->node_id, now_us);
	else
		evidence_answered(&self->evidence, owner->member_index, owner->node_id, now_us);
}

/* The ring of whoever asks or answers may be newer; that of a replica which refuses is. */
static void notice_ring(struct coordinator *self, const struct message *message, uint64_t operation_epoch,
			struct effects *out)
{
	uint64_t epoch = message->epoch;
	if (message->type != MESSAGE_FORWARD && message->status == REPLICA_STALE_RING && epoch <= operation_epoch)
		epoch = operation_epoch + 1;
	behind_notice(&self->told_epoch, self->options.ring, self->options.self, epoch, message->from.node_id, out);
}

static void on_answer(struct coordinator *self, struct message *answer, const struct event *event, struct effects *out)
{
	uint64_t correlation = answer->correlation;
	struct operation *operation = operation_find(self, correlation);
	if (operation != NULL) {
		note_answer(self, operation, answer, event->now_us);
		notice_ring(self, answer, operation->epoch, out);
	}
	if (operation == NULL) {
		coordinator_count(&self->counters.late_answers);
		message_free(answer);
	} else if (operation->kind == OPERATION_GET) {
		get_on_message(self, operation, answer, event, out);
	} else {
		put_on_message(self, operation, answer, event->now_us, out);
	}
	check(self, correlation);
}

static void on_message(struct coordinator *self, struct message *message, const struct event *event,
		       struct effects *out)
{
	assert(message_is_for(message->type, ACTOR_COORDINATOR));
	if (message->type == MESSAGE_FORWARD)
		notice_ring(self, message, 0, out);
	if (message->type == MESSAGE_CLIENT)
		on_client(self, message, event, out);
	else if (message->type == MESSAGE_FORWARD)
		start(self, message, 0, &message->forward.operation, event, out);
	else
		on_answer(self, message, event, out);
}

/* The deadline. */
static void refuse_waiting(struct coordinator *self, struct operation *operation, struct effects *out)
{
	const char *text = rpc_arena_printf(
		out->arena,
		"the ring changes, and this node and the key's owners have not agreed on it in time (%s): nothing was "
		"%s, retry later or at another node",
		operation_failures(self, operation, RPC_CODE_DEADLINE_EXCEEDED, out),
		operation->kind == OPERATION_PUT ? "written" : "read");
	operation_fail(self, operation, OUTCOME_REFUSED, RPC_CODE_DEADLINE_EXCEEDED, text, out);
	operation_finish(self, operation);
}

static void on_timer(struct coordinator *self, const struct event *event, struct effects *out)
{
	for (struct timer_entry *first;
	     (first = timer_heap_first(&self->timers)) != NULL && first->due_us <= event->now_us;) {
		struct operation *operation = (struct operation *)first;
		uint64_t correlation = operation->correlation;
		if (event->now_us >= operation->deadline_us)
			operation_note_silence(self, operation, event->now_us);
		bool again = operation->state == OPERATION_WAITING || operation->state == OPERATION_REPLICATING;
		if (operation->state == OPERATION_ANSWERED)
			operation_finish(self, operation);
		else if (again && event->now_us < operation->deadline_us)
			begin_again(self, operation, event, out);
		else if (operation->state == OPERATION_WAITING)
			refuse_waiting(self, operation, out);
		else if (operation->kind == OPERATION_PUT)
			put_on_timer(self, operation, event->now_us, out);
		else
			get_on_timer(self, operation, event, out);
		check(self, correlation);
	}
}

void coordinator_step(struct coordinator *self, const struct event *event, struct effects *out)
{
	assert(event->now_us >= self->now_us);
	self->now_us = event->now_us;
	if (event->type == EVENT_MESSAGE)
		on_message(self, event->message, event, out);
	else if (event->type == EVENT_TIMER || event->type == EVENT_BATCH_END)
		on_timer(self, event, out);
	const struct timer_entry *first = timer_heap_first(&self->timers);
	out->timer_us = first != NULL ? first->due_us : UINT64_MAX;
	coordinator_check(self);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int coordinator_create(const struct coordinator_options *options, struct coordinator **out)
{
	struct coordinator *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	assert(options->shard_count > 0);
	assert(options->ring != NULL);
	self->options = *options;
	CDS_INIT_LIST_HEAD(&self->answered);
	*out = self;
	return 0;
}

void coordinator_destroy(struct coordinator **out)
{
	struct coordinator *self = *out;
	if (self == NULL)
		return;
	for (uint32_t slot = 0; slot < self->slot_count; slot++) {
		struct operation *operation = self->slots[slot];
		if (operation->timer.place == 0)
			continue;
		struct message *question = operation->question;
		if (question != NULL &&
		    (question->type != MESSAGE_CLIENT || --question->client.request->remaining == 0))
			message_free(question);
		operation->question = NULL;
		operation_finish(self, operation);
	}
	assert(self->in_flight == 0); /* I6 */
	for (uint32_t slot = 0; slot < self->slot_count; slot += OPERATION_SLAB)
		free(self->slots[slot]);
	free(self->slots);
	timer_heap_fini(&self->timers);
	evidence_fini(&self->evidence);
	free(self);
	*out = NULL;
}

const struct coordinator_counters *coordinator_counters(const struct coordinator *self)
{
	return &self->counters;
}
