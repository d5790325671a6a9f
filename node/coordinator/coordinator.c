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

/* ---- starting ----------------------------------------------------------------------------------------------- */

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
	if (wrong != NULL)
		return wrong;
	const uint16_t *owners;
	uint32_t datacenter = ring_member_datacenter(view->document, (uint32_t)view->self);
	uint32_t count = ring_owners(view->document, operation->partition, datacenter, &owners);
	assert(count <= RING_REPLICAS_MAX);
	assert(operation->owner_count == 0);
	operation->epoch = ring_epoch(view->document);
	operation->needed = request->quorum ? request->quorum : count / 2 + 1;
	if (operation->needed > count)
		return text_or(
			rpc_arena_printf(out->arena,
					 "%s=%u asks for more replicas than the N=%u there are: ask for %u at most",
					 request->kind == OPERATION_PUT ? "w" : "r", operation->needed, count, count),
			"more replicas asked for than there are");
	operation->unproven = view->status[view->self].unproven;
	for (uint32_t i = 0; i < count; i++) {
		struct owner owner = owner_of(self, view, owners[i], now_us);
		assert(operation_owner(operation, owner.node_id) == NULL); /* I4 */
		operation->owners[operation->owner_count++] = owner;
	}
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
	operation->arena = rpc_arena_ref(out->arena);
	operation->started_us = event->now_us;
	coordinator_count(request->kind == OPERATION_PUT ? &self->counters.puts : &self->counters.gets);
	uint64_t correlation = operation->correlation;
	uint32_t code;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	const char *wrong = prepare(self, operation, view, event->now_us, out, &code);
	ring_view_release(self->options.ring, view);
	if (wrong != NULL) {
		operation_fail(self, operation, OUTCOME_REFUSED, code, wrong, out);
		operation_finish(self, operation);
	} else if (request->kind == OPERATION_PUT) {
		put_start(self, operation, event->now_us, out);
	} else {
		get_start(self, operation, event, out);
	}
	check(self, correlation);
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

/* The ring of whoever forwards may be newer; that of a replica which refuses is. */
static void notice_ring(struct coordinator *self, const struct message *message, uint64_t operation_epoch,
			struct effects *out)
{
	uint64_t epoch = message->type == MESSAGE_FORWARD        ? message->epoch
			 : message->status == REPLICA_STALE_RING ? operation_epoch + 1
								 : 0;
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
	assert(message_receiver(message->type) == ACTOR_COORDINATOR);
	if (message->type == MESSAGE_FORWARD)
		notice_ring(self, message, 0, out);
	if (message->type == MESSAGE_CLIENT)
		on_client(self, message, event, out);
	else if (message->type == MESSAGE_FORWARD)
		start(self, message, 0, &message->forward.operation, event, out);
	else
		on_answer(self, message, event, out);
}

static void on_timer(struct coordinator *self, const struct event *event, struct effects *out)
{
	for (struct timer_entry *first;
	     (first = timer_heap_first(&self->timers)) != NULL && first->due_us <= event->now_us;) {
		struct operation *operation = (struct operation *)first;
		uint64_t correlation = operation->correlation;
		if (event->now_us >= operation->deadline_us)
			operation_note_silence(self, operation, event->now_us);
		if (operation->state == OPERATION_ANSWERED)
			operation_finish(self, operation);
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
