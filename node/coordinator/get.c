/* SPDX-License-Identifier: Apache-2.0 */
/* Reads. One owner is asked for the object (this node's own replica when it holds one), the others for a digest. Equal
 * digests are equal objects; an owner whose digest differs is asked for its object, everything is merged, and whoever
 * was behind gets the merge (Dynamo 4.7, read repair). The owners that an answer rests on are repaired before it
 * leaves, so that two quorum reads never go back in time; the others after it. */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include "node/coordinator/operation.h"

enum {
	HEDGE_US = 100 * 1000,       /* no object after so long: ask the others for it too */
	REPAIR_WAIT_US = 500 * 1000, /* an answer waits no longer for repairs */
};

/* ---- asking ------------------------------------------------------------------------------------------------- */

static void fetch(struct coordinator *self, struct operation *operation, struct owner *owner, bool object,
		  struct effects *out)
{
	if (operation_fetch(self, operation, owner, !object, out))
		owner->object_asked = object;
}

static bool object_is_coming(const struct operation *operation)
{
	for (uint32_t i = 0; i < operation->owner_count; i++)
		if (operation->owners[i].call == CALL_SENT && operation->owners[i].object_asked)
			return true;
	return false;
}

static bool is_known(const struct owner *owner)
{
	return owner->call == CALL_OK && (owner->digest == 0 || owner->merged);
}

static bool is_unknown(const struct owner *owner)
{
	return owner->call == CALL_OK && !is_known(owner);
}

static bool is_merged(const struct operation *operation, const struct owner *owner)
{
	if (operation->has_object && owner->digest == operation->merged_digest)
		return true;
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *other = &operation->owners[i];
		if (other->call == CALL_OK && other->merged && other->digest == owner->digest)
			return true;
	}
	return false;
}

/* Equal digests are equal objects: what one owner sent stands for all that hold the same. */
static void mark_merged(struct operation *operation)
{
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		struct owner *owner = &operation->owners[i];
		if (is_unknown(owner) && is_merged(operation, owner))
			owner->merged = true;
	}
}

/* An answer whose object nobody has sent yet: get it from there, one at a time while another is on its way. */
static void ask_for_unknown(struct coordinator *self, struct operation *operation, struct effects *out)
{
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		struct owner *owner = &operation->owners[i];
		if (!is_unknown(owner))
			continue;
		if (object_is_coming(operation))
			return;
		fetch(self, operation, owner, true, out);
	}
}

/* Somebody is slow: no longer one at a time. */
static void hedge(struct coordinator *self, struct operation *operation, struct effects *out)
{
	for (uint32_t i = 0; i < operation->owner_count; i++)
		if (is_unknown(&operation->owners[i]) || (operation->spare && operation->owners[i].call == CALL_IDLE))
			fetch(self, operation, &operation->owners[i], true, out);
	operation->spare = false;
}

/* ---- merging ------------------------------------------------------------------------------------------------ */

static int take_first(struct operation *operation, struct message *answer, struct effects *out)
{
	assert(!operation->has_object);
	assert(operation->held == NULL);
	assert(operation->merge_arena == NULL);
	struct rpc_error why;
	int error = object_decode(answer->fetched.object, out->arena, &operation->merged, &why);
	if (error < 0)
		return error;
	operation->has_object = true;
	operation->merged_bytes = answer->fetched.object;
	operation->merged_digest = object_digest(&operation->merged);
	operation->held = answer;
	operation->merge_arena = rpc_arena_ref(out->arena);
	return 0;
}

/* The merge moves into an arena of its own: what it came from can go. */
static int merge_in(struct coordinator *self, struct operation *operation, const struct message *answer,
		    struct effects *out)
{
	assert(operation->has_object);
	struct object incoming, merged;
	struct rpc_error why;
	bool changed;
	int error = object_decode(answer->fetched.object, out->arena, &incoming, &why);
	if (error == 0)
		error = object_merge(&operation->merged, &incoming, out->arena, &merged, &changed);
	if (error < 0 || !changed)
		return error;
	atomic_fetch_add_explicit(&self->counters.clashes, merged.clash_count, memory_order_relaxed);
	if (merged.clash_count > 0)
		effects_note(out,
			     &(struct note){.kind = NOTE_CLASH, .count = merged.clash_count, .name = "coordinator"});
	struct arena *arena = rpc_arena_create(object_encoded_size(&merged) + 1024, SIZE_MAX);
	if (arena == NULL)
		return -ENOMEM;
	struct rpc_slice bytes;
	struct object copy;
	error = object_encode(&merged, arena, &bytes);
	if (error == 0)
		error = object_decode(bytes, arena, &copy, &why);
	if (error < 0) {
		rpc_arena_unref(arena);
		return error;
	}
	message_free(operation->held);
	rpc_arena_unref(operation->merge_arena);
	operation->held = NULL;
	operation->merge_arena = arena;
	operation->merged = copy;
	operation->merged_bytes = bytes;
	operation->merged_digest = object_digest(&copy);
	return 0;
}

/* ---- repairing ---------------------------------------------------------------------------------------------- */

static bool is_current(const struct operation *operation, const struct owner *owner)
{
	return owner->call == CALL_OK && owner->digest == (operation->has_object ? operation->merged_digest : 0);
}

/* The bytes to send: engine memory is pinned by one message only, so it is copied; this is the rare path. */
static bool repair_bytes(struct operation *operation, struct message *question, struct effects *out)
{
	assert(operation->has_object);
	question->store.object = operation->merged_bytes;
	if (operation->held == NULL) {
		message_pin(question, operation->merge_arena);
		return true;
	}
	question->store.object.data =
		rpc_arena_copy(out->arena, operation->merged_bytes.data, operation->merged_bytes.size);
	return question->store.object.data != NULL;
}

static void repair(struct coordinator *self, struct operation *operation, struct owner *owner, struct effects *out)
{
	struct message *question = operation_question(self, operation, owner, MESSAGE_STORE, out);
	if (question == NULL || !repair_bytes(operation, question, out)) {
		message_free(question);
		owner->repair = CALL_FAILED;
		owner->repair_digest = operation->merged_digest;
		return;
	}
	question->key = operation->key;
	assert(owner->repair != CALL_SENT);
	owner->repair = CALL_SENT;
	owner->repair_digest = operation->merged_digest;
	coordinator_count(&self->counters.read_repairs);
	effects_send(out, question);
}

static void repair_stale(struct coordinator *self, struct operation *operation, struct effects *out)
{
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		struct owner *owner = &operation->owners[i];
		if (!is_known(owner) || is_current(operation, owner) || owner->repair == CALL_SENT)
			continue;
		bool tried = owner->repair != CALL_IDLE && owner->repair_digest == operation->merged_digest;
		if (!tried)
			repair(self, operation, owner, out);
	}
}

static uint32_t count_repairs(const struct operation *operation, enum call_state state)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		n += operation->owners[i].repair == state;
	return n;
}

/* ---- answering ---------------------------------------------------------------------------------------------- */

static const struct client_sibling *live_siblings(const struct object *object, uint64_t now_ms, struct arena *arena,
						  uint32_t *count_out)
{
	struct client_sibling *siblings = rpc_arena_alloc(arena, (object->sibling_count + 1) * sizeof *siblings);
	*count_out = 0;
	if (siblings == NULL)
		return NULL;
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		const struct sibling *sibling = &object->siblings[i];
		if (sibling_is_live(sibling, now_ms))
			siblings[(*count_out)++] = (struct client_sibling){sibling->value, sibling->written_ms};
	}
	return siblings;
}

/* The values' bytes stay where they are: the result takes over the message or the arena that owns them. The operation
 * goes on with digests alone; should a late answer differ, it fetches again. */
static void hand_over_values(struct operation *operation, struct client_result *result)
{
	assert(operation->has_object);
	result->held = operation->held;
	operation->held = NULL;
	rpc_arena_unref(operation->merge_arena);
	operation->merge_arena = NULL;
	operation->has_object = false;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		operation->owners[i].merged = false;
}

static void answer_object(struct coordinator *self, struct operation *operation, const struct event *event,
			  uint32_t replies, struct effects *out)
{
	struct client_result result = {.acks_owners = replies, .needed = operation->needed, .outcome = OUTCOME_ABSENT};
	/* A merge lives in its own arena, which then must also hold what refers to it: a result pins one. */
	struct arena *arena = operation->has_object && operation->held == NULL ? operation->merge_arena : out->arena;
	int error = 0;
	assert(replies >= operation->needed); /* C3 */
	if (operation->has_object) {
		uint64_t window_ms = self->options.retry_window_ms;
		uint64_t since_ms = window_ms > 0 && event->now_ms > window_ms ? event->now_ms - window_ms : 0;
		error = object_context(&operation->merged, operation->key, since_ms, arena, &result.context);
		result.siblings = live_siblings(&operation->merged, event->now_ms, arena, &result.sibling_count);
		if (result.siblings == NULL)
			error = -ENOMEM;
		if (result.sibling_count > 0)
			result.outcome = OUTCOME_DONE;
	}
	if (error < 0) {
		operation_fail(self, operation, OUTCOME_REFUSED, RPC_CODE_RESOURCE_EXHAUSTED,
			       "this node is out of memory: retry later or elsewhere", out);
		return;
	}
	if (result.outcome == OUTCOME_ABSENT)
		result.code = RPC_CODE_NOT_FOUND;
	atomic_fetch_add_explicit(&self->counters.siblings_returned, result.sibling_count, memory_order_relaxed);
	result.pin = rpc_arena_ref(arena);
	if (operation->has_object)
		hand_over_values(operation, &result);
	operation_answer(self, operation, &result, out);
}

/* ---- the decision ------------------------------------------------------------------------------------------- */

static void answer_failed(struct coordinator *self, struct operation *operation, uint32_t code, struct effects *out)
{
	const struct quota *worst = operation_worst_quota(operation);
	const char *text = rpc_arena_printf(
		out->arena, "%u of %u replicas%s answered (%s): retry, or read with a smaller r or a lower level",
		quota_acks(operation, worst), worst->needed, worst->place,
		operation_failures(self, operation, code, out));
	operation_fail(self, operation, OUTCOME_REFUSED, code, text, out);
}

/* The next timer: after a while, or the deadline. */
static void wake_after(struct coordinator *self, struct operation *operation, uint64_t now_us, uint64_t delay_us)
{
	uint64_t due_us = now_us + delay_us;
	timer_heap_move(&self->timers, &operation->timer,
			due_us < operation->deadline_us ? due_us : operation->deadline_us);
}

static bool knows(const struct operation *operation, const struct owner *owner)
{
	(void)operation;
	return is_known(owner);
}

static bool may_answer(const struct operation *operation, const struct owner *owner)
{
	(void)operation;
	return owner->call == CALL_OK || owner->call == CALL_SENT;
}

static bool may_answer_later(const struct operation *operation, const struct owner *owner)
{
	return may_answer(operation, owner) || owner_ring_differs(owner);
}

/* C3: of each quota so many hold, or all. counted: those that are not receiving; all: those too. */
static bool is_enough(const struct operation *operation, bool (*holds)(const struct operation *, const struct owner *))
{
	for (uint32_t i = 0; i < operation->quota_count; i++) {
		const struct quota *quota = &operation->quotas[i];
		uint32_t all = 0, counted = 0;
		for (uint32_t j = 0; j < operation->owner_count; j++) {
			const struct owner *owner = &operation->owners[j];
			if (!quota_has(quota, owner) || !holds(operation, owner))
				continue;
			all++;
			counted += owner->call != CALL_OK || !owner->receiving;
		}
		if (counted < quota->needed && all < quota->owners)
			return false;
	}
	return true;
}

/* As many as answered, or when that is not enough because of those that are receiving, all. */
static uint32_t count_replies(const struct operation *operation)
{
	uint32_t all = 0, counted = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *owner = &operation->owners[i];
		all += is_known(owner);
		counted += is_known(owner) && !owner->receiving;
	}
	return counted >= operation->needed ? counted : all;
}

/* Those of other datacenters, when the near ones are not enough or slow. */
static void ask_spare(struct coordinator *self, struct operation *operation, struct effects *out)
{
	operation->spare = false;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		if (operation->owners[i].call == CALL_IDLE)
			fetch(self, operation, &operation->owners[i], !object_is_coming(operation), out);
}

static void answer_if_ready(struct coordinator *self, struct operation *operation, bool wait_for_repairs,
			    const struct event *event, struct effects *out)
{
	if (!is_enough(operation, knows)) {
		if (is_enough(operation, may_answer))
			return;
		if (operation->spare)
			ask_spare(self, operation, out);
		else if (is_enough(operation, may_answer_later))
			operation_wait_for_ring(self, operation, event->now_us);
		else
			answer_failed(self, operation, RPC_CODE_UNAVAILABLE, out);
	} else if (is_enough(operation, is_current) || !wait_for_repairs || count_repairs(operation, CALL_SENT) == 0) {
		answer_object(self, operation, event, count_replies(operation), out);
	} else if (operation->state == OPERATION_FETCHING) {
		operation_move(operation, OPERATION_REPAIRING);
		wake_after(self, operation, event->now_us, REPAIR_WAIT_US);
	}
}

/* What it holds, or will hold when its repair has come; the same repair is not tried twice. */
static uint64_t digest_to_be(const struct owner *owner)
{
	return owner->repair == CALL_IDLE ? owner->digest : owner->repair_digest;
}

/* All that answered hold the same: after the answer nothing is left to do. */
static bool owners_agree(const struct operation *operation)
{
	const struct owner *first = NULL;
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *owner = &operation->owners[i];
		if (owner->call != CALL_OK)
			continue;
		if (first != NULL && digest_to_be(owner) != digest_to_be(first))
			return false;
		first = owner;
	}
	return true;
}

/* Looks at all that is known and does what follows from it: ask, repair, answer, end. */
static void settle(struct coordinator *self, struct operation *operation, const struct event *event,
		   struct effects *out)
{
	mark_merged(operation);
	if (operation->state != OPERATION_ANSWERED || !owners_agree(operation))
		ask_for_unknown(self, operation, out);
	if (operation->has_object)
		repair_stale(self, operation, out);
	if (operation->state != OPERATION_ANSWERED) {
		answer_if_ready(self, operation, true, event, out);
		if (operation->state == OPERATION_ANSWERED)
			timer_heap_move(&self->timers, &operation->timer, operation->deadline_us);
	}
	if (operation->state == OPERATION_ANSWERED && operation_count_calls(operation, CALL_SENT) == 0 &&
	    count_repairs(operation, CALL_SENT) == 0)
		operation_finish(self, operation);
}

/* ---- entry points ------------------------------------------------------------------------------------------- */

/* Whether owners of other datacenters need not be asked at first. */
static bool near_are_enough(const struct operation *operation)
{
	uint32_t near = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		near += operation->owners[i].near;
	return near < operation->owner_count && operation->quotas[0].datacenter == DATACENTER_ANY &&
	       near >= operation->needed;
}

void get_start(struct coordinator *self, struct operation *operation, const struct event *event, struct effects *out)
{
	struct owner *source = operation_owner(operation, self->options.self.node_id);
	bool local = source != NULL;
	assert(operation->kind == OPERATION_GET);
	assert(operation->state == OPERATION_STARTED);
	for (uint32_t i = 0; !local && i < operation->owner_count; i++)
		if (source == NULL || owner_rank(&operation->owners[i]) < owner_rank(source))
			source = &operation->owners[i];
	operation_move(operation, OPERATION_FETCHING);
	operation->spare = near_are_enough(operation);
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		struct owner *owner = &operation->owners[i];
		if (owner->near || !operation->spare)
			fetch(self, operation, owner, owner == source, out);
	}
	wake_after(self, operation, event->now_us, HEDGE_US);
}

static void on_fetched(struct coordinator *self, struct operation *operation, struct message *answer,
		       struct effects *out)
{
	struct owner *owner = operation_owner(operation, answer->from.node_id);
	bool has_bytes = answer->fetched.object.size > 0;
	if (owner == NULL || owner->call != CALL_SENT ||
	    (owner->object_asked && answer->status == REPLICA_OK && !has_bytes)) {
		message_free(answer); /* of an earlier question */
		return;
	}
	enum replica_status status = answer->status;
	owner->failure = status;
	owner->call = status == REPLICA_OK || status == REPLICA_ABSENT ? CALL_OK : CALL_FAILED;
	owner->digest = status == REPLICA_OK ? answer->fetched.digest : 0;
	owner->receiving = answer->fetched.receiving;
	if (status == REPLICA_OK && has_bytes) {
		bool first = !operation->has_object;
		int error = first ? take_first(operation, answer, out) : merge_in(self, operation, answer, out);
		owner->merged = error == 0;
		if (error < 0) {
			owner->call = CALL_FAILED;
			owner->failure = REPLICA_ERROR;
		}
		if (first && error == 0)
			return; /* kept: the object points into it */
	}
	message_free(answer);
}

static void on_repaired(struct operation *operation, const struct message *answer)
{
	struct owner *owner = operation_owner(operation, answer->from.node_id);
	if (owner == NULL || owner->repair != CALL_SENT)
		return;
	owner->repair = answer->status == REPLICA_OK ? CALL_OK : CALL_FAILED;
	if (owner->repair != CALL_OK)
		return;
	owner->digest = owner->repair_digest;
	if (operation->state != OPERATION_ANSWERED)
		owner->merged = true; /* until then the object only grows */
}

void get_on_message(struct coordinator *self, struct operation *operation, struct message *answer,
		    const struct event *event, struct effects *out)
{
	if (answer->type == MESSAGE_FETCHED) {
		on_fetched(self, operation, answer, out);
	} else {
		if (answer->type == MESSAGE_STORED)
			on_repaired(operation, answer);
		message_free(answer);
	}
	settle(self, operation, event, out);
}

/* While fetching: hedges, then the deadline. While repairing: the answer has waited long enough. */
void get_on_timer(struct coordinator *self, struct operation *operation, const struct event *event, struct effects *out)
{
	bool expired = event->now_us >= operation->deadline_us;
	if (operation->state == OPERATION_FETCHING && !expired) {
		hedge(self, operation, out);
		wake_after(self, operation, event->now_us, HEDGE_US);
		return;
	}
	if (operation->state == OPERATION_REPAIRING)
		answer_if_ready(self, operation, false, event, out);
	if (expired && operation->state != OPERATION_ANSWERED)
		answer_failed(self, operation, RPC_CODE_DEADLINE_EXCEEDED, out);
	if (!expired) /* otherwise on_timer ends it in its next turn, as every operation that is answered and due */
		timer_heap_move(&self->timers, &operation->timer, operation->deadline_us);
}
