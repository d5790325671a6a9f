/* SPDX-License-Identifier: Apache-2.0 */
/* Writes. A put runs where the object is stored (ALGORITHMS.md, Versions): the local replica adds the version, then every other
 * owner gets the merged object while the local log syncs. A node that holds no replica, or whose replica cannot write,
 * forwards the put to an owner that can.
 *
 * An attempt that is not the first learns before it writes: an earlier one may have been applied, and superseded since, at
 * owners of which this one has heard nothing. The replica that is to run it merges what so many owners hold that one of
 * any w is among them. And a put that counts on an owner which left the last call without an answer asks before it writes.
 * If the answers cannot be had, nothing is written.
 *
 * While the ring changes all this holds for the old owners and the new ones, each side by itself (ALGORITHMS.md, Ring). */
#include <assert.h>
#include <stdatomic.h>
#include "node/coordinator/operation.h"
#include "node/object/limit.h"

static void forward(struct coordinator *, struct operation *, uint64_t now_us, struct effects *);
static struct owner *next_owner(struct coordinator *, struct operation *);

enum {
	FORWARD_TRY_MIN_US = 20 * 1000,
	FORWARD_ANSWER_MAX_US = 50 * 1000, /* of an owner's time, for its answer to come back; at most an eighth */
};

static const char *text_or(const char *text, const char *without_memory)
{
	return text != NULL ? text : without_memory;
}

/* ---- answering ---------------------------------------------------------------------------------------------- */

static void answer_done(struct coordinator *self, struct operation *operation, struct effects *out)
{
	uint32_t acks = operation_count_calls(operation, CALL_OK); /* a kept owner counts on both sides, but is one */
	for (uint32_t i = 0; i < operation->quota_count; i++)
		assert(quota_count_calls(operation, &operation->quotas[i], CALL_OK) >=
		       operation->quotas[i].needed); /* C1 */
	assert(acks >= operation->needed);
	assert(operation->held != NULL);
	struct client_result result = {
		.outcome = OUTCOME_DONE,
		.acks_owners = acks,
		.synced = acks,
		.needed = operation->needed,
	};
	/* The client's own context and the new dot, never the merged clock: it would cover values the client never saw.
	 */
	int error = context_with_dot(&operation->context, operation->held->coordinated.dot,
				     operation->held->coordinated.mark, operation->key, out->arena, &result.context);
	if (error < 0)
		result.message =
			"done, but without a context: memory is short on this node; get the key before the next put";
	operation_answer(self, operation, &result, out);
}

/* While the ring changes. */
static const char *side_text(const struct operation *operation, const struct quota *quota)
{
	for (uint32_t i = 0; i < operation->quota_count; i++)
		if (operation->quotas[i].side != quota->side)
			return quota->side == SIDE_OLD ? "old " : "new ";
	return "";
}

/* "1 of 2 acknowledged"; of several quotas each: "2 of 2 acknowledged by the old owners in dc1, 1 of 2 by the new owners
 * in dc1". */
static const char *acks_text(const struct operation *operation, struct effects *out)
{
	const char *text = "";
	if (operation->held == NULL) /* by the word of an owner that it was forwarded to */
		return rpc_arena_printf(out->arena, "at least %u of %u acknowledged", operation_acks(operation),
					operation->needed);
	for (uint32_t i = 0; i < operation->quota_count && text != NULL; i++) {
		const struct quota *quota = &operation->quotas[i];
		const char *side = side_text(operation, quota);
		text = rpc_arena_printf(out->arena, "%s%s%u of %u%s%s%s%s%s", text, i > 0 ? ", " : "",
					quota_count_calls(operation, quota, CALL_OK), quota->needed,
					i == 0 ? " acknowledged" : "", side[0] != 0 ? " by the " : "", side,
					side[0] != 0 ? "owners" : "", quota->place);
	}
	return text;
}

static void answer_in_doubt(struct coordinator *self, struct operation *operation, uint32_t code, struct effects *out)
{
	const char *failures = operation_failures(self, operation, code, out), *text;
	if (operation->held != NULL || operation_acks(operation) > 0)
		text = rpc_arena_printf(out->arena, "%s (%s); safe to retry with the same operation id",
					text_or(acks_text(operation, out), "too few acknowledged"), failures);
	else
		text = rpc_arena_printf(
			out->arena,
			"no owner said in time whether the %u needed acknowledged it (%s); safe to retry with "
			"the same operation id",
			operation->needed, failures);
	operation_fail(self, operation, OUTCOME_IN_DOUBT, code, text, out);
}

/* An answered put only counts what is still to come: the object need not stay in memory for an owner that hangs. */
static void finish_if_settled(struct coordinator *self, struct operation *operation)
{
	if (operation->state != OPERATION_ANSWERED)
		return;
	message_free(operation->held);
	operation->held = NULL;
	if (operation_count_calls(operation, CALL_SENT) == 0)
		operation_finish(self, operation);
}

/* ---- replicating -------------------------------------------------------------------------------------------- */

static void send_object(struct coordinator *self, struct operation *operation, struct owner *owner, struct effects *out)
{
	assert(operation->held != NULL);
	assert(owner->call == CALL_IDLE);
	struct message *question = operation_question(self, operation, owner, MESSAGE_STORE, out);
	if (question == NULL) {
		owner->call = CALL_FAILED;
		owner->failure = REPLICA_OVERLOADED;
		return;
	}
	question->key = operation->key;
	question->store.object = operation->held->coordinated.object;
	if (operation->held->arena != out->arena)
		message_pin(question, operation->held->arena);
	owner->call = CALL_SENT;
	effects_send(out, question);
}

static uint32_t count_differing(const struct operation *operation, const struct quota *quota)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		n += owner_ring_differs(&operation->owners[i]) && quota_has(quota, &operation->owners[i]);
	return n;
}

/* C1: w distinct replicas of each side have it on stable storage. As soon as that cannot come about any more, say so; if
 * those that know another ring might do it, ask again. */
static void count_acks(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	bool done = true, coming = true, again = true;
	for (uint32_t i = 0; i < operation->quota_count; i++) {
		const struct quota *quota = &operation->quotas[i];
		uint32_t acks = quota_count_calls(operation, quota, CALL_OK);
		uint32_t open = acks + quota_count_calls(operation, quota, CALL_SENT);
		done = done && acks >= quota->needed;
		coming = coming && open >= quota->needed;
		again = again && open + count_differing(operation, quota) >= quota->needed;
	}
	if (operation->state == OPERATION_REPLICATING) {
		if (done)
			answer_done(self, operation, out);
		else if (!coming && again)
			operation_wait_for_ring(self, operation, now_us);
		else if (!coming)
			answer_in_doubt(self, operation, RPC_CODE_UNAVAILABLE, out);
	}
	finish_if_settled(self, operation);
}

static void on_stored(struct coordinator *self, struct operation *operation, const struct message *answer,
		      uint64_t now_us, struct effects *out)
{
	struct owner *owner = operation_owner(operation, answer->from.node_id);
	bool stored = operation->state == OPERATION_REPLICATING || operation->state == OPERATION_ANSWERED;
	if (!stored || owner == NULL || owner->call != CALL_SENT)
		return;
	owner->call = answer->status == REPLICA_OK ? CALL_OK : CALL_FAILED;
	owner->failure = answer->status;
	count_acks(self, operation, now_us, out);
}

void put_replicate(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	assert(operation->state == OPERATION_REPLICATING);
	for (uint32_t i = 0; i < operation->owner_count; i++)
		if (operation->owners[i].call == CALL_IDLE)
			send_object(self, operation, &operation->owners[i], out);
	count_acks(self, operation, now_us, out);
}

/* ---- coordinating on this node ------------------------------------------------------------------------------ */

static void coordinate(struct coordinator *self, struct operation *operation, struct owner *owner, struct effects *out)
{
	assert(owner->node_id == self->options.self.node_id);
	assert(owner->call == CALL_IDLE);
	struct message *question = operation_question(self, operation, owner, MESSAGE_COORDINATE, out);
	if (question == NULL) {
		operation_fail(self, operation, OUTCOME_REFUSED, RPC_CODE_RESOURCE_EXHAUSTED,
			       "this node is out of memory: retry later or elsewhere", out);
		operation_finish(self, operation);
		return;
	}
	question->key = operation->key;
	question->coordinate.operation = *operation->request;
	question->coordinate.context = operation->context;
	if (operation->question->arena != out->arena)
		message_pin(question, operation->question->arena); /* the value is there */
	owner->call = CALL_SENT;
	operation->tries++;
	operation_move(operation, OPERATION_COORDINATING);
	effects_send(out, question);
}

/* The new version exists here; from now on the write may survive whatever happens. The local ack follows after its
 * sync. */
static void on_coordinated(struct coordinator *self, struct operation *operation, struct message *answer,
			   uint64_t now_us, struct effects *out)
{
	assert(operation->held == NULL);
	assert(operation->tries > 0);
	operation->held = answer;
	operation->maybe_written = true;
	operation_move(operation, OPERATION_REPLICATING);
	put_replicate(self, operation, now_us, out);
}

/* ---- learning ----------------------------------------------------------------------------------------------- */

static bool is_repeated(const struct operation *operation)
{
	return operation->request->attempt != 1;
}

/* Owners, this one included, of which one has acknowledged whatever w owners did; no more than the write needs itself. */
static uint32_t count_to_meet(const struct quota *quota)
{
	uint32_t meet = quota->owners - quota->needed + 1u;
	return meet < quota->needed ? meet : quota->needed;
}

static bool is_self(const struct coordinator *self, const struct owner *owner)
{
	return owner->node_id == self->options.self.node_id;
}

/* Whether owners of this quota are to be asked, other than this node. */
static bool asks_others(const struct coordinator *self, const struct operation *operation, const struct quota *quota)
{
	bool mine = false;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		mine |= is_self(self, &operation->owners[i]) && quota_has(quota, &operation->owners[i]);
	return quota->to_learn > (mine ? 1 : 0);
}

static bool has_to_learn(const struct coordinator *self, const struct operation *operation)
{
	for (uint32_t i = 0; i < operation->quota_count; i++)
		if (asks_others(self, operation, &operation->quotas[i]))
			return true;
	return false;
}

static void forget_calls(struct operation *operation)
{
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		operation->owners[i].call = CALL_IDLE;
		operation->owners[i].receiving = false;
	}
}

static void refuse_untold(struct coordinator *self, struct operation *operation, const struct quota *quota,
			  uint32_t code, struct effects *out)
{
	const char *text = rpc_arena_printf(
		out->arena,
		"%s, %u of the key's %sowners%s have to answer (%s): nothing was written, retry later or at another "
		"node",
		is_repeated(operation) ? "before the write is repeated" : "before the write begins", quota->to_learn,
		side_text(operation, quota), quota->place, operation_failures(self, operation, code, out));
	forget_calls(operation); /* an answer is no ack */
	operation_fail(self, operation, OUTCOME_REFUSED, code, text, out);
	operation_finish(self, operation);
}

/* What the owners of one quota have told. Learned: this node, and those that have told and are not receiving. */
struct told {
	uint32_t learned, told, coming, differing, others;
};

static struct told count_told(const struct coordinator *self, const struct operation *operation,
			      const struct quota *quota)
{
	struct told told = {0};
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *owner = &operation->owners[i];
		if (!quota_has(quota, owner))
			continue;
		if (is_self(self, owner)) {
			told.learned += !(is_repeated(operation) && operation->unproven);
			continue;
		}
		told.others++;
		told.told += owner->call == CALL_OK;
		told.learned += owner->call == CALL_OK && !owner->receiving;
		told.coming += owner->call == CALL_SENT;
		told.differing += owner_ring_differs(owner);
	}
	return told;
}

/* As with a read (C3), a disk that may have gone back in time does not count, unless all owners have told. */
static bool is_told(const struct quota *quota, const struct told *told, uint32_t more)
{
	return told->learned + more >= quota->to_learn || told->told + more >= told->others;
}

/* Enough is known: the write may begin. Out of reach: it will not. */
static void settle_learning(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	bool known = true, again = true;
	const struct quota *lacking = NULL;
	for (uint32_t i = 0; i < operation->quota_count; i++) {
		const struct quota *quota = &operation->quotas[i];
		struct told told = count_told(self, operation, quota);
		known = known && is_told(quota, &told, 0);
		if (!is_told(quota, &told, told.coming))
			lacking = quota;
		again = again && is_told(quota, &told, told.coming + told.differing);
	}
	if (known && operation->lessons == 0) {
		forget_calls(operation);
		coordinate(self, operation, operation_owner(operation, self->options.self.node_id), out);
	} else if (lacking != NULL && again) {
		operation_wait_for_ring(self, operation, now_us);
	} else if (lacking != NULL) {
		refuse_untold(self, operation, lacking, RPC_CODE_UNAVAILABLE, out);
	}
}

/* One that has not told enough; the first when only a lesson is missing. */
static const struct quota *lacking_quota(const struct coordinator *self, const struct operation *operation)
{
	for (uint32_t i = 0; i < operation->quota_count; i++) {
		struct told told = count_told(self, operation, &operation->quotas[i]);
		if (!is_told(&operation->quotas[i], &told, 0))
			return &operation->quotas[i];
	}
	return &operation->quotas[0];
}

static void learn(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	operation_move(operation, OPERATION_LEARNING);
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		struct owner *owner = &operation->owners[i];
		bool asked = false;
		for (uint32_t j = 0; j < operation->quota_count; j++)
			asked |= quota_has(&operation->quotas[j], owner) &&
				 asks_others(self, operation, &operation->quotas[j]);
		if (asked && !is_self(self, owner))
			/* That it answers is enough, unless the operation is repeated. */
			(void)operation_fetch(self, operation, owner, !is_repeated(operation), out);
	}
	settle_learning(self, operation, now_us, out);
}

/* Another owner's object goes to the local replica, as a repair would. */
static bool teach(struct coordinator *self, struct operation *operation, const struct message *answer,
		  struct effects *out)
{
	const struct owner *local = operation_owner(operation, self->options.self.node_id);
	struct message *question = operation_question(self, operation, local, MESSAGE_STORE, out);
	const void *object = rpc_arena_copy(out->arena, answer->fetched.object.data, answer->fetched.object.size);
	if (question == NULL || object == NULL) {
		message_free(question);
		return false;
	}
	question->key = operation->key;
	question->store.object = (struct rpc_slice){object, answer->fetched.object.size};
	operation->lessons++;
	effects_send(out, question);
	return true;
}

static void on_told(struct coordinator *self, struct operation *operation, struct owner *owner,
		    const struct message *answer, struct effects *out)
{
	bool repeated = is_repeated(operation);
	bool tells = answer->status == REPLICA_OK || answer->status == REPLICA_ABSENT;
	if (tells && repeated && answer->status == REPLICA_OK)
		tells = teach(self, operation, answer, out);
	owner->receiving = answer->fetched.receiving && repeated;
	owner->call = tells ? CALL_OK : CALL_FAILED;
	owner->failure = answer->status;
}

static void on_learning(struct coordinator *self, struct operation *operation, const struct message *answer,
			uint64_t now_us, struct effects *out)
{
	struct owner *owner = operation_owner(operation, answer->from.node_id);
	if (answer->type == MESSAGE_FETCHED && owner != NULL && owner->call == CALL_SENT) {
		on_told(self, operation, owner, answer, out);
	} else if (answer->type == MESSAGE_STORED && answer->from.node_id == self->options.self.node_id) {
		assert(operation->lessons > 0);
		operation->lessons--;
		owner->call = answer->status == REPLICA_OK ? CALL_IDLE : CALL_FAILED;
		owner->failure = answer->status;
	}
	const struct owner *local = operation_owner(operation, self->options.self.node_id);
	if (local->call == CALL_FAILED && owner_ring_differs(local))
		operation_wait_for_ring(self, operation, now_us);
	else if (local->call == CALL_FAILED) /* it cannot keep what it is told */
		refuse_untold(self, operation, &operation->quotas[0], RPC_CODE_UNAVAILABLE, out);
	else
		settle_learning(self, operation, now_us, out);
}

/* ---- refused by the local replica --------------------------------------------------------------------------- */

static const char *sibling_limit_text(struct arena *arena)
{
	return text_or(
		rpc_arena_printf(arena,
				 "the key's siblings would pass the limit of %u, of %u actors or of %u MiB together: "
				 "get it, and put the resolved value with that context",
				 LIMIT_SIBLINGS, LIMIT_CLOCK_PUT, LIMIT_OBJECT_SIZE >> 20),
		"the key's siblings would pass their limit");
}

/* Refusals that the client alone can answer. NULL: another owner may do better. */
static const char *refusal_text(enum replica_status status, uint32_t *code_out, struct arena *arena)
{
	static const struct {
		uint32_t code;
		const char *text;
	} refusals[REPLICA_STATUS_COUNT] = {
		[REPLICA_TOO_OLD] = {RPC_CODE_FAILED_PRECONDITION,
				     "too old to repeat: read the key to see whether an earlier attempt took effect, "
				     "and write under a new operation id"},
		[REPLICA_EARLY] = {RPC_CODE_INVALID_ARGUMENT,
				   "the operation id is from the future of this node: correct the clock of the client, "
				   "or the node's"},
		/* Whoever the context comes from knows the operation. */
		[REPLICA_OWN_CONTEXT] = {RPC_CODE_ABORTED,
					 "the context was got after an earlier attempt of this operation took effect: "
					 "repeat an operation with the context of its first attempt, or write under a "
					 "new operation id"},
	};
	assert(status < REPLICA_STATUS_COUNT);
	*code_out = refusals[status].code;
	if (status != REPLICA_SIBLING_LIMIT)
		return refusals[status].text;
	*code_out = RPC_CODE_FAILED_PRECONDITION;
	return sibling_limit_text(arena);
}

static void on_not_coordinated(struct coordinator *self, struct operation *operation, const struct message *answer,
			       uint64_t now_us, struct effects *out)
{
	struct owner *owner = operation_owner(operation, self->options.self.node_id);
	uint32_t code;
	owner->call = CALL_FAILED;
	owner->failure = answer->status;
	if (owner->failure == REPLICA_STALE_RING) { /* the ring changed on the way to the local replica */
		operation_wait_for_ring(self, operation, now_us);
		return;
	}
	const char *text = refusal_text(answer->status, &code, out->arena);
	bool another = code == RPC_CODE_ABORTED && operation->question->type == MESSAGE_CLIENT &&
		       next_owner(self, operation) != NULL;
	if (text != NULL && !another) {
		operation_fail(self, operation, OUTCOME_REFUSED, code, text, out);
		operation_finish(self, operation);
		return;
	}
	forward(self, operation, now_us, out);
}

/* ---- forwarding --------------------------------------------------------------------------------------------- */

/* Owners that a put may run at: those that reads go to, as others do not have the key's history yet, or no longer. What
 * waits for one datacenter runs there. */
static bool may_coordinate(const struct operation *operation, const struct owner *owner)
{
	bool local = operation->level == LEVEL_LOCAL_ONE || operation->level == LEVEL_LOCAL_QUORUM;
	return (owner->sides & operation->read_side) != 0 && (owner->near || !local);
}

/* The best owner not tried yet: those that answer first, then in preference order. */
static struct owner *next_owner(struct coordinator *self, struct operation *operation)
{
	struct owner *best = NULL;
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		struct owner *owner = &operation->owners[i];
		if (owner->call != CALL_IDLE || is_self(self, owner) || !may_coordinate(operation, owner))
			continue;
		if (best == NULL || owner_rank(owner) < owner_rank(best))
			best = owner;
	}
	return best;
}

static uint32_t refusal_code(const struct operation *operation)
{
	for (uint32_t i = 0; i < operation->owner_count; i++)
		if (operation->owners[i].failure == REPLICA_DISK_FULL)
			return RPC_CODE_RESOURCE_EXHAUSTED;
	return RPC_CODE_UNAVAILABLE;
}

static bool ring_differs(const struct operation *operation)
{
	for (uint32_t i = 0; i < operation->owner_count; i++)
		if (owner_ring_differs(&operation->owners[i]))
			return true;
	return false;
}

/* Nobody left who could take it. C2: REFUSED only when surely nothing was written. */
static void give_up(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	if (!operation->maybe_written && operation->question->type == MESSAGE_CLIENT && ring_differs(operation)) {
		operation_wait_for_ring(self, operation, now_us);
		return;
	}
	if (operation->maybe_written) {
		answer_in_doubt(self, operation, RPC_CODE_UNAVAILABLE, out);
	} else {
		const char *text = rpc_arena_printf(
			out->arena, "no owner of the key can take the write (%s): nothing was written, retry later",
			operation_failures(self, operation, refusal_code(operation), out));
		operation_fail(self, operation, OUTCOME_REFUSED, refusal_code(operation), text, out);
	}
	operation_finish(self, operation);
}

/* An owner that says nothing must not use up the whole deadline: each one left gets an equal share of what remains. */
static uint64_t forward_until(const struct operation *operation, uint64_t now_us)
{
	uint32_t left = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++)
		left += operation->owners[i].call == CALL_IDLE && may_coordinate(operation, &operation->owners[i]);
	uint64_t remaining = operation->deadline_us > now_us ? operation->deadline_us - now_us : 0;
	uint64_t share = left > 1 ? remaining / left : remaining;
	if (share < FORWARD_TRY_MIN_US)
		share = FORWARD_TRY_MIN_US;
	assert(share > 0);
	return share < remaining ? now_us + share : operation->deadline_us;
}

/* An owner that gives up must have time left to say how many acknowledged: nobody else knows it. */
static uint64_t answer_time(uint64_t due_us, uint64_t now_us)
{
	uint64_t eighth = due_us > now_us ? (due_us - now_us) / 8 : 0;
	return eighth < FORWARD_ANSWER_MAX_US ? eighth : FORWARD_ANSWER_MAX_US;
}

static void forward(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	struct owner *owner = next_owner(self, operation);
	/* A forwarded put is not forwarded again: who sent it tries the next owner itself. */
	struct message *question = NULL;
	if (owner != NULL && operation->question->type == MESSAGE_CLIENT)
		question = operation_question(self, operation, owner, MESSAGE_FORWARD, out);
	if (question == NULL) {
		give_up(self, operation, now_us, out);
		return;
	}
	timer_heap_move(&self->timers, &operation->timer, forward_until(operation, now_us));
	question->deadline_us = operation->timer.due_us - answer_time(operation->timer.due_us, now_us);
	question->forward.operation = *operation->request;
	question->forward.operation.level = operation->level; /* by this node's default */
	if (operation->request->attempt > 0) /* 0: the client does not count, and no number makes it the first */
		question->forward.operation.attempt = operation->request->attempt + operation->tries;
	operation->tries++;
	if (operation->question->arena != out->arena)
		message_pin(question, operation->question->arena);
	owner->call = CALL_SENT;
	if (operation->state != OPERATION_FORWARDED)
		operation_move(operation, OPERATION_FORWARDED);
	coordinator_count(&self->counters.forwards);
	effects_send(out, question);
}

/* Another owner may do better; the operation id makes the second try safe. */
static bool worth_another_try(const struct client_result *result)
{
	switch (result->code) {
	case RPC_CODE_UNAVAILABLE:
	case RPC_CODE_ABORTED:
	case RPC_CODE_RESOURCE_EXHAUSTED:
	case RPC_CODE_DEADLINE_EXCEEDED: /* its share of it */
		return result->outcome != OUTCOME_DONE;
	default:
		return false;
	}
}

/* Why that owner did not do it, for the text. */
static enum replica_status failure_of(const struct operation *operation, const struct message *answer)
{
	const struct client_result *result = &answer->forwarded.result;
	if (result->outcome == OUTCOME_IN_DOUBT)
		return REPLICA_LOST;
	switch (result->code) {
	case RPC_CODE_ABORTED:
		return answer->epoch == operation->epoch ? REPLICA_OWN_CONTEXT : REPLICA_NOT_OWNER;
	case RPC_CODE_RESOURCE_EXHAUSTED:
		return REPLICA_OVERLOADED;
	default:
		return REPLICA_UNREACHABLE;
	}
}

/* Each owner counts the acks of its own try: the most that one of them had is sure. */
static void note_doubt(struct operation *operation, const struct client_result *result)
{
	operation->maybe_written = true;
	if (result->acks_owners > operation->forward_acks)
		operation->forward_acks = result->acks_owners;
}

/* The other coordinator's result is this one's. */
static void answer_forwarded(struct coordinator *self, struct operation *operation, struct message *answer,
			     struct effects *out)
{
	struct client_result *result = &answer->forwarded.result;
	struct client_result mine = *result;
	assert(answer->type == MESSAGE_FORWARDED);
	*result = (struct client_result){.held = result->held, .pin = result->pin};
	mine.held = answer;
	mine.pin = NULL;
	if (mine.needed == 0) /* else it knows better: its ring may have other owners */
		mine.needed = operation->needed;
	if (mine.outcome == OUTCOME_REFUSED && operation->maybe_written) {
		mine.outcome = OUTCOME_IN_DOUBT;
		mine.message = rpc_arena_printf(
			out->arena,
			"%s; an owner asked before may hold the write: safe to retry with the same operation id",
			mine.message != NULL ? mine.message : "refused");
	}
	if (mine.outcome == OUTCOME_IN_DOUBT && mine.acks_owners < operation->forward_acks) {
		mine.acks_owners = mine.synced = operation->forward_acks;
		mine.message = rpc_arena_printf(
			out->arena,
			"at least %u of %u acknowledged (another owner: %s); safe to retry with "
			"the same operation id",
			mine.acks_owners, mine.needed, mine.message != NULL ? mine.message : "no answer");
	}
	operation_answer(self, operation, &mine, out);
	operation_finish(self, operation);
}

static void on_forwarded(struct coordinator *self, struct operation *operation, struct message *answer, uint64_t now_us,
			 struct effects *out)
{
	struct owner *owner = operation_owner(operation, answer->from.node_id);
	const struct client_result *result = &answer->forwarded.result;
	if (owner != NULL && operation->state == OPERATION_FORWARDED && result->outcome == OUTCOME_IN_DOUBT)
		note_doubt(operation, result);
	/* Owners whose share is over may still say that it is done. */
	bool asked = owner != NULL && operation->state == OPERATION_FORWARDED &&
		     (owner->call == CALL_SENT || (owner->call == CALL_FAILED && result->outcome == OUTCOME_DONE));
	if (!asked) {
		message_free(answer);
		return;
	}
	if (worth_another_try(result)) {
		owner->call = CALL_FAILED;
		owner->failure = failure_of(operation, answer);
		if (next_owner(self, operation) != NULL) {
			message_free(answer);
			forward(self, operation, now_us, out);
			return;
		}
		if (!operation->maybe_written && ring_differs(operation)) {
			message_free(answer);
			operation_wait_for_ring(self, operation, now_us);
			return;
		}
	}
	answer_forwarded(self, operation, answer, out);
}

/* ---- before anything is written ------------------------------------------------------------------------------ */

static uint32_t count_reachable(const struct coordinator *self, const struct operation *operation,
				const struct quota *quota, bool surely)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < operation->owner_count; i++) {
		const struct owner *owner = &operation->owners[i];
		bool reachable = !owner->unreachable && !(surely && owner->suspect);
		n += quota_has(quota, owner) && (reachable || is_self(self, owner));
	}
	return n;
}

/* Owners, this one included, that are to answer before it writes. Of a repeated operation those know that reads go to. */
static void set_to_learn(const struct coordinator *self, struct operation *operation)
{
	for (uint32_t i = 0; i < operation->quota_count; i++) {
		struct quota *quota = &operation->quotas[i];
		quota->to_learn = (uint8_t)(i == 0 && is_repeated(operation) ? count_to_meet(quota) : 0);
		if (count_reachable(self, operation, quota, true) < quota->needed)
			quota->to_learn = quota->needed; /* C5 */
	}
}

/* The quota that cannot be met, as far as is known. */
static const struct quota *unreachable_quota(const struct coordinator *self, const struct operation *operation)
{
	for (uint32_t i = 0; i < operation->quota_count; i++)
		if (count_reachable(self, operation, &operation->quotas[i], false) < operation->quotas[i].needed)
			return &operation->quotas[i];
	return NULL;
}

/* C5: a write that cannot reach its quorum would only leave doubt, and a version that comes to light later. */
static void refuse_unreachable(struct coordinator *self, struct operation *operation, const struct quota *quota,
			       struct effects *out)
{
	const char *text =
		rpc_arena_printf(out->arena,
				 "%u of the key's %u %sowners%s can be reached from this node, and the write needs "
				 "%u: nothing was written, retry later or at another node",
				 count_reachable(self, operation, quota, false), quota->owners,
				 side_text(operation, quota), quota->place, quota->needed);
	operation_fail(self, operation, OUTCOME_REFUSED, RPC_CODE_UNAVAILABLE, text, out);
	operation_finish(self, operation);
}

/* ---- entry points ------------------------------------------------------------------------------------------- */

void put_start(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	struct owner *local = operation_owner(operation, self->options.self.node_id);
	assert(operation->kind == OPERATION_PUT);
	assert(operation->state == OPERATION_STARTED);
	bool mine = local != NULL && may_coordinate(operation, local);
	const struct quota *unreachable = mine ? unreachable_quota(self, operation) : NULL;
	if (mine)
		set_to_learn(self, operation);
	if (unreachable != NULL) {
		refuse_unreachable(self, operation, unreachable, out);
	} else if (mine && has_to_learn(self, operation)) {
		learn(self, operation, now_us, out);
	} else if (mine) {
		coordinate(self, operation, local, out);
	} else if (operation->question->type == MESSAGE_FORWARD) {
		operation_fail(self, operation, OUTCOME_REFUSED, RPC_CODE_ABORTED,
			       "this node is not an owner of the key by its ring: the sender's ring differs", out);
		operation_finish(self, operation);
	} else {
		forward(self, operation, now_us, out);
	}
}

void put_on_message(struct coordinator *self, struct operation *operation, struct message *answer, uint64_t now_us,
		    struct effects *out)
{
	if (answer->type == MESSAGE_FORWARDED) {
		on_forwarded(self, operation, answer, now_us, out);
		return;
	}
	bool local = answer->from.node_id == self->options.self.node_id;
	if (answer->type == MESSAGE_COORDINATED && operation->state == OPERATION_COORDINATING && local) {
		if (answer->status == REPLICA_OK) {
			on_coordinated(self, operation, answer, now_us, out);
			return;
		}
		on_not_coordinated(self, operation, answer, now_us, out);
	} else if (operation->state == OPERATION_LEARNING) {
		on_learning(self, operation, answer, now_us, out);
	} else if (answer->type == MESSAGE_STORED) {
		on_stored(self, operation, answer, now_us, out);
	}
	message_free(answer);
}

/* The deadline, or one owner's share of it. */
void put_on_timer(struct coordinator *self, struct operation *operation, uint64_t now_us, struct effects *out)
{
	assert(operation->state != OPERATION_ANSWERED);
	if (operation->state == OPERATION_COORDINATING || operation->state == OPERATION_FORWARDED)
		operation->maybe_written = true; /* asked, and no answer: it may have happened */
	if (operation->state == OPERATION_FORWARDED && now_us < operation->deadline_us) {
		operation_note_silence(self, operation, now_us); /* of its share */
		for (uint32_t i = 0; i < operation->owner_count; i++)
			if (operation->owners[i].call == CALL_SENT) {
				operation->owners[i].call = CALL_FAILED;
				operation->owners[i].failure = REPLICA_LOST;
			}
		forward(self, operation, now_us, out);
		return;
	}
	if (operation->state == OPERATION_LEARNING) {
		refuse_untold(self, operation, lacking_quota(self, operation), RPC_CODE_DEADLINE_EXCEEDED, out);
		return;
	}
	answer_in_doubt(self, operation, RPC_CODE_DEADLINE_EXCEEDED, out);
	operation_finish(self, operation);
}
