/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/key.h"
#include "proto/kv.pb-c.h"
#include "node/object/limit.h"
#include "node/coordinator/operation.h"
#include "node/membership/standing.h"
#include "rpc/operation_id.h"

enum { SLAB_OPERATIONS = 256 };

void coordinator_count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- the table of operations ---------------------------------------------------------------------------------- */

static const bool moves[OPERATION_STATE_COUNT][OPERATION_STATE_COUNT] = {
	[OPERATION_STARTED] = {[OPERATION_FORWARDED] = true,
			       [OPERATION_COORDINATING] = true,
			       [OPERATION_FETCHING] = true,
			       [OPERATION_ANSWERED] = true},
	[OPERATION_FORWARDED] = {[OPERATION_ANSWERED] = true},
	[OPERATION_COORDINATING] =
		{[OPERATION_REPLICATING] = true, [OPERATION_FORWARDED] = true, [OPERATION_ANSWERED] = true},
	[OPERATION_REPLICATING] = {[OPERATION_ANSWERED] = true},
	[OPERATION_FETCHING] = {[OPERATION_REPAIRING] = true, [OPERATION_ANSWERED] = true},
	[OPERATION_REPAIRING] = {[OPERATION_ANSWERED] = true},
};

void operation_move(struct operation *operation, enum operation_state to)
{
	assert(moves[operation->state][to]);
	operation->state = to;
}

/* Correlation: slot in the low half, how often the slot was used in the high half, so that late answers find nobody. */
static struct operation *operation_find(const struct coordinator *self, uint64_t correlation)
{
	uint32_t slot = (uint32_t)correlation;
	if (slot >= self->slot_count)
		return NULL;
	struct operation *operation = self->slots[slot];
	return operation->correlation == correlation && operation->timer.place != 0 ? operation : NULL;
}

static int grow(struct coordinator *self)
{
	if (self->slot_count + SLAB_OPERATIONS > LIMIT_OPERATIONS)
		return -EAGAIN;
	uint32_t first = self->slot_count;
	struct operation **slots = realloc(self->slots, (first + SLAB_OPERATIONS) * sizeof *slots);
	if (slots == NULL)
		return -ENOMEM;
	self->slots = slots;
	struct operation *slab = calloc(SLAB_OPERATIONS, sizeof *slab);
	if (slab == NULL)
		return -ENOMEM;
	for (uint32_t i = SLAB_OPERATIONS; i-- > 0;) {
		slab[i].correlation = first + i;
		slab[i].next_free = self->free_list;
		self->free_list = &slab[i];
		slots[first + i] = &slab[i];
	}
	self->slot_count += SLAB_OPERATIONS;
	return 0;
}

/* Makes sure that free_list has one. */
static bool make_room(struct coordinator *self)
{
	if (self->free_list != NULL || grow(self) == 0)
		return true;
	if (cds_list_empty(&self->answered))
		return false;
	operation_finish(self, cds_list_first_entry(&self->answered, struct operation, answered));
	return true;
}

/* NULL past LIMIT_OPERATIONS or when memory is out. */
static struct operation *operation_begin(struct coordinator *self, uint64_t deadline_us)
{
	if (!make_room(self))
		return NULL;
	struct operation *operation = self->free_list;
	uint64_t correlation = operation->correlation + (UINT64_C(1) << 32);
	self->free_list = operation->next_free;
	memset(operation, 0, sizeof *operation);
	operation->correlation = correlation;
	operation->deadline_us = deadline_us;
	operation->timer.due_us = deadline_us;
	if (timer_heap_add(&self->timers, &operation->timer) < 0) {
		operation->next_free = self->free_list;
		self->free_list = operation;
		return NULL;
	}
	self->in_flight++;
	return operation;
}

void operation_finish(struct coordinator *self, struct operation *operation)
{
	assert(operation->question == NULL);
	if (operation->state == OPERATION_ANSWERED)
		cds_list_del(&operation->answered);
	message_free(operation->held);
	arena_unref(operation->merge_arena);
	arena_unref(operation->arena);
	operation->held = NULL;
	operation->merge_arena = operation->arena = NULL;
	timer_heap_remove(&self->timers, &operation->timer);
	operation->next_free = self->free_list;
	self->free_list = operation;
	self->in_flight--;
}

/* ---- shared by puts and gets ----------------------------------------------------------------------------------- */

struct position *operation_position(struct operation *operation, uint64_t node_id)
{
	for (uint32_t i = 0; i < operation->position_count; i++)
		if (operation->positions[i].node_id == node_id)
			return &operation->positions[i];
	return NULL;
}

uint32_t operation_count_asks(const struct operation *operation, enum ask_state state)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < operation->position_count; i++)
		n += operation->positions[i].ask == state;
	return n;
}

uint32_t operation_acks(const struct operation *operation)
{
	uint32_t own = operation_count_asks(operation, ASK_OK);
	return own > operation->forward_acks ? own : operation->forward_acks;
}

struct message *operation_question(struct coordinator *self, struct operation *operation,
				   const struct position *position, enum message_type type, struct effects *out)
{
	struct message *question = message_create(out->arena, type);
	if (question == NULL)
		return NULL;
	question->from = self->options.self;
	question->to.node_id = position->node_id;
	question->to.kind = type == MESSAGE_FORWARD ? ACTOR_COORDINATOR : ACTOR_REPLICA;
	/* Which of the other node's coordinators does it, that node says. */
	question->to.index = type == MESSAGE_FORWARD ? 0 : (uint16_t)(operation->partition % self->options.shard_count);
	question->correlation = operation->correlation;
	question->deadline_us = operation->deadline_us;
	question->epoch = operation->epoch;
	if (operation->arena != out->arena)
		message_pin(question, operation->arena);
	return question;
}

static const char *failure_text(const struct position *position, uint32_t code)
{
	if (position->ask == ASK_SENT)
		return code == KVRING__V1__CODE__DEADLINE_EXCEEDED ? "no answer in time" : "not waited for";
	switch (position->failure) {
	case REPLICA_UNREACHABLE:
		return "unreachable";
	case REPLICA_LOST:
		return "no answer, slow or connection lost";
	case REPLICA_DISK_FULL:
		return "disk full";
	case REPLICA_OVERLOADED:
		return "overloaded";
	case REPLICA_STALE_RING:
		return "knows a newer ring";
	case REPLICA_NOT_OWNER:
		return "is no owner of the partition";
	default:
		return "storage error, see its log";
	}
}

const char *operation_failures(struct coordinator *self, const struct operation *operation, uint32_t code,
			       struct effects *out)
{
	const char *text = NULL;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	for (uint32_t i = 0; i < operation->position_count; i++) {
		const struct position *position = &operation->positions[i];
		if (position->ask != ASK_FAILED && position->ask != ASK_SENT)
			continue;
		int member = view->document ? ring_member_find(view->document, position->node_id) : -1;
		const char *name = member < 0 ? "?" : ring_member(view->document, (uint32_t)member)->name;
		const char *more = arena_printf(out->arena, "%s%s%s: %s", text ? text : "", text ? ", " : "", name,
						failure_text(position, code));
		text = more ? more : text;
	}
	ring_view_release(self->options.ring, view);
	return text ? text : "no replica failed";
}

static void count_outcome(struct coordinator *self, enum outcome outcome)
{
	switch (outcome) {
	case OUTCOME_DONE:
		coordinator_count(&self->counters.done);
		break;
	case OUTCOME_ABSENT:
		coordinator_count(&self->counters.absent);
		break;
	case OUTCOME_IN_DOUBT:
		coordinator_count(&self->counters.in_doubt);
		break;
	case OUTCOME_REFUSED:
		coordinator_count(&self->counters.refused);
		break;
	}
}

/* The last result of a client request sends them all. */
static void deliver(const struct coordinator *self, struct message *question, uint32_t index,
		    const struct client_result *result, struct effects *out)
{
	struct client_request *request = question->client.request;
	request->results[index] = *result;
	if (--request->remaining > 0)
		return;
	coordinator_tell_answer(request, self->now_us, out);
	question->type = MESSAGE_CLIENT_DONE;
	question->to = question->from;
	effects_send(out, question);
}

static void drop_result(struct client_result *result)
{
	message_free(result->held);
	arena_unref(result->pin);
}

static void deliver_forwarded(struct message *question, struct client_result *result, struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_FORWARDED);
	if (answer != NULL) {
		answer->forwarded.result = *result;
		effects_send(out, answer);
	} else {
		drop_result(result); /* out of memory: the asking coordinator's deadline speaks */
	}
	message_free(question);
}

void operation_answer(struct coordinator *self, struct operation *operation, const struct client_result *answer,
		      struct effects *out)
{
	struct client_result result = *answer;
	struct message *question = operation->question;
	operation_move(operation, OPERATION_ANSWERED);
	cds_list_add_tail(&operation->answered, &self->answered);
	operation->question = NULL;
	operation->ask = NULL;
	count_outcome(self, result.outcome);
	if (result.pin == NULL)
		result.pin = arena_ref(out->arena); /* where contexts and texts are */
	if (question->type == MESSAGE_CLIENT)
		deliver(self, question, operation->index, &result, out);
	else
		deliver_forwarded(question, &result, out);
}

void operation_fail(struct coordinator *self, struct operation *operation, enum outcome outcome, uint32_t code,
		    const char *message, struct effects *out)
{
	struct client_result result = {
		.outcome = outcome,
		.code = code,
		.message = message,
		.needed = operation->needed,
		.acks_owners = operation_acks(operation),
	};
	if (outcome == OUTCOME_IN_DOUBT)
		result.synced = result.acks_owners;
	operation_answer(self, operation, &result, out);
}

/* ---- starting ----------------------------------------------------------------------------------------------- */

static const char *text_or(const char *text, const char *without_memory)
{
	return text ? text : without_memory;
}

/* What is wrong with an operation before anything is sent, or NULL. */
static const char *prepare(const struct coordinator *self, struct operation *operation, const struct ring_view *view,
			   uint64_t now_us, struct effects *out, uint32_t *code_out)
{
	const struct client_operation *ask = operation->ask;
	/* A client's call has been refused as a whole before. Who forwards a put here has a ring in which this node is
	 * an owner: it should try the next one. */
	const char *refusal = standing_refusal(view);
	*code_out = KVRING__V1__CODE__ABORTED;
	if (refusal != NULL)
		return refusal;
	struct rpc_slice bucket = ask->bucket.size ? ask->bucket : (struct rpc_slice){(const uint8_t *)"default", 7};
	*code_out = KVRING__V1__CODE__INVALID_ARGUMENT;
	operation->partition =
		(uint16_t)ring_partition_of(view->document, bucket.data, bucket.size, ask->key.data, ask->key.size);
	if (key_encode(operation->partition, bucket, ask->key, out->arena, &operation->key) < 0)
		return "key must have 1 to 4096 bytes and bucket at most 256";
	uint64_t time_ms;
	if (ask->kind == OPERATION_PUT && !operation_id_time(ask->operation_id, &time_ms))
		return "the operation id is not a UUID version 7, so that nothing says how old the operation is: "
		       "make it so (RFC 9562), or send none";
	if (ask->value.size > LIMIT_VALUE_SIZE)
		return text_or(arena_printf(out->arena,
					    "the value has %zu bytes, the limit is %d: split it over several keys",
					    ask->value.size, LIMIT_VALUE_SIZE),
			       "value over its limit");
	const uint16_t *owners;
	uint32_t datacenter = ring_member_datacenter(view->document, (uint32_t)view->self);
	uint32_t count = ring_owners(view->document, operation->partition, datacenter, &owners);
	operation->epoch = ring_epoch(view->document);
	operation->needed = ask->quorum ? ask->quorum : count / 2 + 1;
	if (operation->needed > count)
		return text_or(arena_printf(out->arena, "%s=%u asks for more replicas than the N=%u there are",
					    ask->kind == OPERATION_PUT ? "w" : "r", operation->needed, count),
			       "more replicas asked for than there are");
	for (uint32_t i = 0; i < count; i++) {
		struct position *position = &operation->positions[operation->position_count++];
		position->member_index = owners[i];
		position->node_id = ring_member(view->document, owners[i])->id;
		enum ring_reachability reachability = view->status[owners[i]].reachability;
		bool answers = evidence_is_up(&self->evidence, owners[i], position->node_id, now_us);
		position->up = reachability == RING_UP || answers;
		position->unreachable = !answers && (reachability == RING_UNREACHABLE || reachability == RING_DOWN);
		position->suspect = evidence_is_suspect(&self->evidence, owners[i], position->node_id, now_us);
	}
	struct rpc_error why = {"context refused: this node is out of memory, retry later or elsewhere"};
	int error = context_decode(ask->context, operation->key, out->arena, &operation->context, &why);
	if (error == -ENOMEM)
		*code_out = KVRING__V1__CODE__RESOURCE_EXHAUSTED;
	if (error < 0)
		return text_or(arena_printf(out->arena, "%s", why.text), "context refused");
	return NULL;
}

/* Refused without an operation. */
static void turn_away(struct coordinator *self, struct message *question, uint32_t index, uint32_t code,
		      const char *message, struct effects *out)
{
	struct client_result result = {.outcome = OUTCOME_REFUSED, .code = code, .message = message};
	count_outcome(self, OUTCOME_REFUSED);
	if (question->type == MESSAGE_CLIENT)
		deliver(self, question, index, &result, out);
	else
		deliver_forwarded(question, &result, out);
}

static void start(struct coordinator *self, struct message *question, uint32_t index,
		  const struct client_operation *ask, const struct event *event, struct effects *out)
{
	if (question->deadline_us <= event->now_us) {
		turn_away(self, question, index, KVRING__V1__CODE__DEADLINE_EXCEEDED,
			  "the deadline passed while the request waited: nothing was done", out);
		return;
	}
	struct operation *operation = operation_begin(self, question->deadline_us);
	if (operation == NULL) {
		turn_away(self, question, index, KVRING__V1__CODE__RESOURCE_EXHAUSTED,
			  "too many operations in flight on this node: retry later or elsewhere", out);
		return;
	}
	assert(question->pins[0] == NULL &&
	       question->value.pin == NULL); /* its home has it all, and later questions pin that */
	operation->question = question;
	operation->index = index;
	operation->ask = ask;
	operation->kind = ask->kind;
	operation->arena = arena_ref(out->arena);
	operation->started_us = event->now_us;
	coordinator_count(ask->kind == OPERATION_PUT ? &self->counters.puts : &self->counters.gets);
	uint32_t code;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	const char *wrong = prepare(self, operation, view, event->now_us, out, &code);
	ring_view_release(self->options.ring, view);
	if (wrong != NULL) {
		operation_fail(self, operation, OUTCOME_REFUSED, code, wrong, out);
		operation_finish(self, operation);
	} else if (ask->kind == OPERATION_PUT) {
		put_start(self, operation, event->now_us, out);
	} else {
		get_start(self, operation, event, out);
	}
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
	request->refusal_code = KVRING__V1__CODE__UNAVAILABLE;
	request->refusal = refusal;
	for (uint32_t i = 0, count = request->count; i < count; i++)
		turn_away(self, question, i, KVRING__V1__CODE__UNAVAILABLE, refusal, out);
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
	enum replica_status status = answer->type == MESSAGE_STORED    ? answer->stored.status
				     : answer->type == MESSAGE_FETCHED ? answer->fetched.status
								       : REPLICA_OK;
	if (answer->type == MESSAGE_FORWARDED)
		return answer->forwarded.result.outcome != OUTCOME_DONE &&
		       answer->forwarded.result.code == KVRING__V1__CODE__UNAVAILABLE;
	return status == REPLICA_UNREACHABLE || status == REPLICA_LOST;
}

static void note_answer(struct coordinator *self, struct operation *operation, const struct message *answer,
			uint64_t now_us)
{
	const struct position *position = operation_position(operation, answer->from.node_id);
	if (position == NULL || position->node_id == self->options.self.node_id)
		return;
	if (is_silence(answer))
		evidence_silent(&self->evidence, position->member_index, position->node_id, now_us);
	else
		evidence_answered(&self->evidence, position->member_index, position->node_id, now_us);
}

void operation_note_silence(struct coordinator *self, const struct operation *operation, uint64_t now_us)
{
	for (uint32_t i = 0; i < operation->position_count; i++) {
		const struct position *position = &operation->positions[i];
		if (position->ask == ASK_SENT && position->node_id != self->options.self.node_id)
			evidence_silent(&self->evidence, position->member_index, position->node_id, now_us);
	}
}

uint32_t position_rank(const struct position *position)
{
	return (position->suspect ? 2u : 0u) + (position->up ? 0u : 1u);
}

static void on_answer(struct coordinator *self, struct message *answer, const struct event *event, struct effects *out)
{
	struct operation *operation = operation_find(self, answer->correlation);
	if (operation != NULL)
		note_answer(self, operation, answer, event->now_us);
	if (operation == NULL) {
		coordinator_count(&self->counters.late_answers);
		message_free(answer);
	} else if (operation->kind == OPERATION_GET) {
		get_on_message(self, operation, answer, event, out);
	} else {
		put_on_message(self, operation, answer, event->now_us, out);
	}
}

static void on_message(struct coordinator *self, struct message *message, const struct event *event,
		       struct effects *out)
{
	switch (message->type) {
	case MESSAGE_CLIENT:
		on_client(self, message, event, out);
		break;
	case MESSAGE_FORWARD:
		start(self, message, 0, &message->forward.operation, event, out);
		break;
	case MESSAGE_COORDINATED:
	case MESSAGE_STORED:
	case MESSAGE_FETCHED:
	case MESSAGE_FORWARDED:
		on_answer(self, message, event, out);
		break;
	default:
		assert(!"a message that is not for a coordinator");
	}
}

static void on_timer(struct coordinator *self, const struct event *event, struct effects *out)
{
	for (struct timer_entry *first; (first = timer_heap_first(&self->timers)) && first->due_us <= event->now_us;) {
		struct operation *operation = (struct operation *)first;
		if (event->now_us >= operation->deadline_us)
			operation_note_silence(self, operation, event->now_us);
		if (operation->state == OPERATION_ANSWERED)
			operation_finish(self, operation);
		else if (operation->kind == OPERATION_PUT)
			put_on_timer(self, operation, event->now_us, out);
		else
			get_on_timer(self, operation, event, out);
	}
}

void coordinator_step(struct coordinator *self, const struct event *event, struct effects *out)
{
	self->now_us = event->now_us;
	if (event->type == EVENT_MESSAGE)
		on_message(self, event->message, event, out);
	else if (event->type == EVENT_TIMER || event->type == EVENT_BATCH_END)
		on_timer(self, event, out);
	const struct timer_entry *first = timer_heap_first(&self->timers);
	out->timer_us = first ? first->due_us : UINT64_MAX;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int coordinator_create(const struct coordinator_options *options, struct coordinator **out)
{
	struct coordinator *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
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
	for (uint32_t slot = 0; slot < self->slot_count; slot += SLAB_OPERATIONS)
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
