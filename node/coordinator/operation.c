/* SPDX-License-Identifier: Apache-2.0 */
#include "node/coordinator/operation.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/limit.h"
#include "rpc/base.h"

void coordinator_count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- the table of operations ---------------------------------------------------------------------------------- */

static const bool moves[OPERATION_STATE_COUNT][OPERATION_STATE_COUNT] = {
	[OPERATION_STARTED] = {[OPERATION_FORWARDED] = true,
			       [OPERATION_LEARNING] = true,
			       [OPERATION_COORDINATING] = true,
			       [OPERATION_FETCHING] = true,
			       [OPERATION_ANSWERED] = true},
	[OPERATION_FORWARDED] = {[OPERATION_WAITING] = true, [OPERATION_ANSWERED] = true},
	[OPERATION_LEARNING] =
		{[OPERATION_COORDINATING] = true, [OPERATION_WAITING] = true, [OPERATION_ANSWERED] = true},
	[OPERATION_COORDINATING] = {[OPERATION_REPLICATING] = true,
				    [OPERATION_FORWARDED] = true,
				    [OPERATION_WAITING] = true,
				    [OPERATION_ANSWERED] = true},
	[OPERATION_REPLICATING] = {[OPERATION_ANSWERED] = true},
	[OPERATION_FETCHING] = {[OPERATION_REPAIRING] = true, [OPERATION_WAITING] = true, [OPERATION_ANSWERED] = true},
	[OPERATION_REPAIRING] = {[OPERATION_ANSWERED] = true},
	[OPERATION_WAITING] = {[OPERATION_STARTED] = true, [OPERATION_ANSWERED] = true},
};

void operation_move(struct operation *operation, enum operation_state to)
{
	assert(moves[operation->state][to]);
	operation->state = to;
}

enum { RING_WAIT_US = 10 * 1000 }; /* then twice as long each time: a ring spreads fast, and little is asked in vain */

/* Correlation: slot in the low half, in the high half how often something was begun there, so that late answers find
 * nobody. */
struct operation *operation_find(const struct coordinator *self, uint64_t correlation)
{
	uint32_t slot = (uint32_t)correlation;
	if (slot >= self->slot_count)
		return NULL;
	struct operation *operation = self->slots[slot];
	return operation->correlation == correlation && operation->timer.place != 0 ? operation : NULL;
}

static int grow(struct coordinator *self)
{
	if (self->slot_count + OPERATION_SLAB > LIMIT_OPERATIONS)
		return -EAGAIN;
	uint32_t first = self->slot_count;
	struct operation **slots = realloc(self->slots, (first + OPERATION_SLAB) * sizeof *slots);
	if (slots == NULL)
		return -ENOMEM;
	self->slots = slots;
	struct operation *slab = calloc(OPERATION_SLAB, sizeof *slab);
	if (slab == NULL)
		return -ENOMEM;
	for (uint32_t i = OPERATION_SLAB; i-- > 0;) {
		slab[i].correlation = first + i;
		slab[i].next_free = self->free_list;
		self->free_list = &slab[i];
		slots[first + i] = &slab[i];
	}
	self->slot_count += OPERATION_SLAB;
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

struct operation *operation_begin(struct coordinator *self, uint64_t deadline_us)
{
	if (!make_room(self))
		return NULL;
	struct operation *operation = self->free_list;
	assert(operation->timer.place == 0); /* I6 */
	uint64_t correlation = operation->correlation + CORRELATION_STEP;
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
	assert(operation->timer.place != 0); /* I6 */
	assert(self->in_flight > 0);
	if (operation->state == OPERATION_ANSWERED)
		cds_list_del(&operation->answered);
	message_free(operation->held);
	rpc_arena_unref(operation->merge_arena);
	rpc_arena_unref(operation->arena);
	operation->held = NULL;
	operation->merge_arena = operation->arena = NULL;
	timer_heap_remove(&self->timers, &operation->timer);
	operation->next_free = self->free_list;
	self->free_list = operation;
	self->in_flight--;
}

/* ---- shared by puts and gets ----------------------------------------------------------------------------------- */

struct owner *operation_owner(struct operation *operation, uint64_t node_id)
{
	for (uint32_t i = 0; i < operation->owner_count; i++)
		if (operation->owners[i].node_id == node_id)
			return &operation->owners[i];
	return NULL;
}

uint32_t operation_count_calls(const struct operation *operation, enum call_state state)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		n += operation->owners[i].call == state;
	return n;
}

bool quota_has(const struct quota *quota, const struct owner *owner)
{
	return (owner->sides & quota->side) != 0 &&
	       (quota->datacenter == DATACENTER_ANY || quota->datacenter == owner->datacenter);
}

uint32_t quota_count_calls(const struct operation *operation, const struct quota *quota, enum call_state state)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		n += operation->owners[i].call == state && quota_has(quota, &operation->owners[i]);
	return n;
}

uint32_t quota_acks(const struct operation *operation, const struct quota *quota)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *owner = &operation->owners[i];
		n += owner->call == CALL_OK && !owner->receiving && quota_has(quota, owner);
	}
	return n;
}

static int missing(const struct operation *operation, const struct quota *quota)
{
	return quota->needed - (int)quota_acks(operation, quota);
}

/* Beyond what may still come. */
static int lost(const struct operation *operation, const struct quota *quota)
{
	int n = missing(operation, quota) - (int)quota_count_calls(operation, quota, CALL_SENT);
	return n > 0 ? n : 0;
}

const struct quota *operation_worst_quota(const struct operation *operation)
{
	const struct quota *worst = &operation->quotas[0];
	assert(operation->quota_count > 0);
	for (uint32_t i = 1; i < operation->quota_count; i++) {
		const struct quota *quota = &operation->quotas[i];
		int more = lost(operation, quota) - lost(operation, worst);
		if (more > 0 || (more == 0 && missing(operation, quota) > missing(operation, worst)))
			worst = quota;
	}
	return worst;
}

bool owner_ring_differs(const struct owner *owner)
{
	return owner->call == CALL_FAILED &&
	       (owner->failure == REPLICA_STALE_RING || owner->failure == REPLICA_NOT_OWNER);
}

uint32_t operation_acks(const struct operation *operation)
{
	uint32_t own = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		own += operation->owners[i].call == CALL_OK && !operation->owners[i].receiving;
	return own > operation->forward_acks ? own : operation->forward_acks;
}

static bool ring_moved(const struct coordinator *self, const struct operation *operation)
{
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	bool moved = view->document != NULL && ring_epoch(view->document) > operation->epoch;
	ring_view_release(self->options.ring, view);
	return moved;
}

void operation_wait_for_ring(struct coordinator *self, struct operation *operation, uint64_t now_us)
{
	uint64_t delay_us = (uint64_t)RING_WAIT_US << (operation->beginnings < 6 ? operation->beginnings : 6);
	uint64_t due_us = ring_moved(self, operation) ? now_us : now_us + delay_us;
	if (operation->state == OPERATION_REPLICATING) {
		if (operation->timer.due_us < operation->deadline_us)
			return; /* it waits already */
	} else {
		assert(!operation->maybe_written);
		operation->correlation += CORRELATION_STEP; /* answers to what was asked find nobody */
		operation->lessons = 0;
		for (uint32_t i = 0; i < operation->owner_count; i++) {
			struct owner *owner = &operation->owners[i];
			bool lesson = operation->kind == OPERATION_PUT && owner->call == CALL_OK; /* no ack */
			if (owner->call == CALL_SENT || lesson)
				owner->call = CALL_IDLE;
		}
		operation_move(operation, OPERATION_WAITING);
	}
	timer_heap_move(&self->timers, &operation->timer,
			due_us < operation->deadline_us ? due_us : operation->deadline_us);
}

struct message *operation_question(struct coordinator *self, struct operation *operation, const struct owner *owner,
				   enum message_type type, struct effects *out)
{
	struct message *question = message_create(out->arena, type);
	if (question == NULL)
		return NULL;
	assert(owner->node_id != 0);
	question->from = self->options.self;
	question->to.node_id = owner->node_id;
	question->to.kind = (uint16_t)message_receiver(type);
	/* Which of the other node's coordinators does it, that node says. */
	uint32_t shard = operation->partition % self->options.shard_count;
	question->to.index = (uint16_t)(type == MESSAGE_FORWARD ? 0 : shard);
	question->correlation = operation->correlation;
	question->deadline_us = operation->deadline_us;
	question->epoch = operation->epoch;
	if (operation->arena != out->arena)
		message_pin(question, operation->arena);
	return question;
}

bool operation_fetch(struct coordinator *self, struct operation *operation, struct owner *owner, bool digest_only,
		     struct effects *out)
{
	struct message *question = operation_question(self, operation, owner, MESSAGE_FETCH, out);
	if (question == NULL) {
		owner->call = CALL_FAILED;
		owner->failure = REPLICA_OVERLOADED;
		return false;
	}
	question->key = operation->key;
	question->fetch.digest_only = digest_only;
	owner->call = CALL_SENT;
	effects_send(out, question);
	return true;
}

static const char *failure_text(const struct owner *owner, uint32_t code)
{
	static const char *const texts[REPLICA_STATUS_COUNT] = {
		[REPLICA_STALE_RING] = "knows a newer ring",
		[REPLICA_OVERLOADED] = "overloaded",
		[REPLICA_DISK_FULL] = "disk full",
		[REPLICA_NOT_OWNER] = "is no owner of the partition",
		[REPLICA_UNREACHABLE] = "unreachable",
		[REPLICA_LOST] = "no answer, slow or connection lost",
		[REPLICA_OWN_CONTEXT] = "knows the operation",
	};
	if (owner->call == CALL_SENT)
		return code == RPC_CODE_DEADLINE_EXCEEDED ? "no answer in time" : "not waited for";
	assert(owner->failure < REPLICA_STATUS_COUNT);
	return texts[owner->failure] != NULL ? texts[owner->failure] : "storage error, see its log";
}

const char *operation_failures(struct coordinator *self, const struct operation *operation, uint32_t code,
			       struct effects *out)
{
	const char *text = NULL;
	const struct ring_view *view = ring_view_acquire(self->options.ring);
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *owner = &operation->owners[i];
		bool receiving = owner->call == CALL_OK && owner->receiving;
		if (owner->call != CALL_FAILED && owner->call != CALL_SENT && !receiving)
			continue;
		int member = view->document != NULL ? ring_member_find(view->document, owner->node_id) : -1;
		const char *name = member < 0 ? "?" : ring_member(view->document, (uint32_t)member)->name;
		const char *more = rpc_arena_printf(
			out->arena, "%s%s%s: %s", text != NULL ? text : "", text != NULL ? ", " : "", name,
			receiving ? "receiving, its answer does not count" : failure_text(owner, code));
		text = more != NULL ? more : text;
	}
	ring_view_release(self->options.ring, view);
	return text != NULL ? text : "no replica failed";
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
	assert(index < request->count);
	assert(request->remaining > 0);
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
	rpc_arena_unref(result->pin);
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
	assert(question != NULL);
	operation_move(operation, OPERATION_ANSWERED);
	cds_list_add_tail(&operation->answered, &self->answered);
	operation->question = NULL;
	operation->request = NULL;
	count_outcome(self, result.outcome);
	if (result.pin == NULL)
		result.pin = rpc_arena_ref(out->arena); /* where contexts and texts are */
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
	/* What is missing, rather than how many did it on either side. */
	if ((operation->state == OPERATION_REPLICATING || operation->kind == OPERATION_GET) &&
	    operation->quota_count > 0) {
		const struct quota *worst = operation_worst_quota(operation);
		result.needed = worst->needed;
		result.acks_owners = quota_acks(operation, worst);
	}
	if (outcome == OUTCOME_IN_DOUBT)
		result.synced = result.acks_owners;
	operation_answer(self, operation, &result, out);
}

void operation_turn_away(struct coordinator *self, struct message *question, uint32_t index, uint32_t code,
			 const char *message, struct effects *out)
{
	struct client_result result = {.outcome = OUTCOME_REFUSED, .code = code, .message = message};
	count_outcome(self, OUTCOME_REFUSED);
	if (question->type == MESSAGE_CLIENT)
		deliver(self, question, index, &result, out);
	else
		deliver_forwarded(question, &result, out);
}

void operation_note_silence(struct coordinator *self, const struct operation *operation, uint64_t now_us)
{
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *owner = &operation->owners[i];
		if (owner->call == CALL_SENT && owner->node_id != self->options.self.node_id)
			evidence_silent(&self->evidence, owner->member_index, owner->node_id, now_us);
	}
}

uint32_t owner_rank(const struct owner *owner)
{
	return (owner->suspect ? 4u : 0u) + (owner->up ? 0u : 2u) + (owner->near ? 0u : 1u);
}

/* ---- checks ------------------------------------------------------------------------------------------------- */

static bool is_of_kind(enum operation_kind kind, enum operation_state state)
{
	bool of_put = state == OPERATION_FORWARDED || state == OPERATION_LEARNING || state == OPERATION_COORDINATING ||
		      state == OPERATION_REPLICATING;
	bool of_get = state == OPERATION_FETCHING || state == OPERATION_REPAIRING;
	return (!of_put || kind == OPERATION_PUT) && (!of_get || kind == OPERATION_GET);
}

static void check_owner(const struct operation *operation, uint32_t index)
{
	const struct owner *owner = &operation->owners[index];
	bool is_get = operation->kind == OPERATION_GET;
	assert(owner->node_id != 0);
	assert(!owner->merged || is_get); /* I5 */
	assert(!owner->object_asked || is_get);
	assert(owner->repair == CALL_IDLE || is_get);
	assert(owner->call != CALL_SENT || operation->state != OPERATION_STARTED); /* I5 */
	assert(!(owner->merged && owner->call == CALL_IDLE));                      /* I5 */
}

/* I10 */
static void check_quotas(const struct operation *operation)
{
	for (uint32_t i = 0; i < operation->quota_count; i++) {
		const struct quota *quota = &operation->quotas[i];
		assert(quota->needed > 0 && quota->needed <= quota->owners && quota->needed <= operation->needed);
		assert(quota->to_learn <= quota->needed);
		assert(quota->owners <= operation->owner_count);
		assert(quota->side == operation->read_side || operation->kind == OPERATION_PUT);
	}
}

void operation_check(const struct operation *operation)
{
	bool answered = operation->state == OPERATION_ANSWERED;
	assert(is_of_kind(operation->kind, operation->state));     /* I1 */
	assert((operation->question == NULL) == answered);         /* I2 */
	assert((operation->request == NULL) == answered);          /* I2 */
	assert(operation->timer.place != 0);                       /* I3 */
	assert(operation->timer.due_us <= operation->deadline_us); /* I3 */
	assert(answered || operation->state == OPERATION_STARTED || operation->quota_count > 0);
	check_quotas(operation);
	assert(operation->forward_acks == 0 || operation->maybe_written);              /* I7 */
	assert(operation->state != OPERATION_REPLICATING || operation->maybe_written); /* I7 */
	assert(operation->state != OPERATION_REPLICATING || operation->held != NULL);  /* I7 */
	assert(operation->state != OPERATION_LEARNING || !operation->maybe_written);   /* I9 */
	assert(operation->state != OPERATION_WAITING || !operation->maybe_written);
	assert(operation->lessons == 0 || operation->state == OPERATION_LEARNING || answered);        /* I9 */
	assert(!operation->has_object || operation->merge_arena != NULL);                             /* I8 */
	assert(!operation->has_object || operation->kind == OPERATION_GET);                           /* I8 */
	assert(operation->held == NULL || operation->kind == OPERATION_PUT || operation->has_object); /* I8 */
	for (uint32_t i = 0; i < operation->owner_count; i++)
		check_owner(operation, i);
}

void coordinator_check(const struct coordinator *self)
{
	assert(self->in_flight == self->timers.count); /* I6 */
	assert(self->in_flight <= self->slot_count && self->slot_count <= LIMIT_OPERATIONS);
	assert((self->free_list == NULL) == (self->in_flight == self->slot_count)); /* I6 */
}
