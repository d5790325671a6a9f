/* SPDX-License-Identifier: Apache-2.0 */
#include "node/actor/message.h"

#include <assert.h>
#include "node/object/limit.h"

struct message *message_create(struct arena *arena, enum message_type type)
{
	struct message *message = rpc_arena_zalloc(arena, sizeof *message);

	assert((unsigned)type < MESSAGE_TYPE_COUNT);
	if (message == NULL)
		return NULL;
	message->type = type;
	message->arena = rpc_arena_ref(arena);
	return message;
}

void message_pin(struct message *message, struct arena *arena)
{
	unsigned at = message->pins[0] != NULL ? 1 : 0;

	assert(!message->pins[at]);
	message->pins[at] = rpc_arena_ref(arena);
}

bool message_charge(struct message *message, struct rpc_budget *budget, uint64_t bytes)
{
	assert(message->budget == NULL);
	if (!rpc_budget_take(budget, bytes))
		return false;
	message->budget = budget;
	message->charged = bytes;
	return true;
}

static void free_result(struct client_result *result)
{
	struct message *held = result->held;

	result->held = NULL;
	message_free(held);
	rpc_arena_unref(result->pin);
	result->pin = NULL;
}

static void free_results(struct client_request *request)
{
	if (request == NULL || request->results == NULL)
		return;
	for (uint32_t i = 0; i < request->count; i++)
		free_result(&request->results[i]);
}

void message_free(struct message *message)
{
	struct arena *arena, *pins[2];

	if (message == NULL)
		return;
	if (message->type == MESSAGE_CLIENT || message->type == MESSAGE_CLIENT_DONE)
		free_results(message->client.request);
	if (message->type == MESSAGE_FORWARDED)
		free_result(&message->forwarded.result);
	if (message->value.pin != NULL)
		engine_value_release(&message->value);
	if (message->budget != NULL)
		rpc_budget_give(message->budget, message->charged);
	/* The message lies in its arena, which may go with the first line below. */
	arena = message->arena;
	assert(arena != NULL);
	pins[0] = message->pins[0];
	pins[1] = message->pins[1];
	rpc_arena_unref(arena);
	rpc_arena_unref(pins[0]);
	rpc_arena_unref(pins[1]);
}

struct message *message_answer(const struct message *question, struct arena *arena, enum message_type type)
{
	struct message *answer = message_create(arena, type);

	assert(type != question->type);
	if (answer == NULL)
		return NULL;
	answer->from = question->to;
	answer->to = question->from;
	answer->correlation = question->correlation;
	answer->call = question->call;
	answer->call_index = question->call_index;
	return answer;
}

static size_t operation_size(const struct client_operation *operation)
{
	return operation->key.size + operation->value.size + operation->context.size;
}

size_t message_size(const struct message *message)
{
	if (message->type == MESSAGE_FORWARD)
		return operation_size(&message->forward.operation);
	if (message->type == MESSAGE_COORDINATE)
		return message->key.size + operation_size(&message->coordinate.operation);
	if (message->type == MESSAGE_STORE)
		return message->key.size + message->store.object.size;
	if (message->type == MESSAGE_VOTE)
		return message->vote.document.size;
	return message->type == MESSAGE_FETCH || message->type == MESSAGE_SCAN ? message->key.size : 0;
}

bool message_is_large(const struct message *message)
{
	return message_size(message) > LIMIT_SMALL_SIZE;
}

enum message_way message_way(const struct message *message, uint64_t self_id)
{
	if (message_receiver(message->type) == ACTOR_KIND_COUNT)
		return WAY_CLIENT;
	if (message->to.node_id == self_id)
		return WAY_LOCAL;
	if (message->call != NULL)
		return WAY_ANSWER;
	return message->type == MESSAGE_BUS ? WAY_BUS : WAY_PEER;
}

/* ---- lists -------------------------------------------------------------------------------------------------- */

void message_list_free(struct message_list *list)
{
	struct message *message;
	while ((message = message_list_take(list)) != NULL)
		message_free(message);
}

/* ---- types and statuses ------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum actor_kind receiver;
	bool also_upkeep; /* which asks replicas, as coordinators do */
} types[MESSAGE_TYPE_COUNT] = {
	[MESSAGE_CLIENT] = {"client", ACTOR_COORDINATOR},
	[MESSAGE_FORWARD] = {"forward", ACTOR_COORDINATOR},
	[MESSAGE_COORDINATE] = {"coordinate", ACTOR_REPLICA},
	[MESSAGE_STORE] = {"store", ACTOR_REPLICA},
	[MESSAGE_FETCH] = {"fetch", ACTOR_REPLICA},
	[MESSAGE_COORDINATED] = {"coordinated", ACTOR_COORDINATOR},
	[MESSAGE_SCAN] = {"scan", ACTOR_REPLICA},
	[MESSAGE_DROP] = {"drop", ACTOR_REPLICA},
	[MESSAGE_STORED] = {"stored", ACTOR_COORDINATOR, .also_upkeep = true},
	[MESSAGE_FETCHED] = {"fetched", ACTOR_COORDINATOR, .also_upkeep = true},
	[MESSAGE_SCANNED] = {"scanned", ACTOR_UPKEEP},
	[MESSAGE_DROPPED] = {"dropped", ACTOR_UPKEEP},
	[MESSAGE_CLIENT_DONE] = {"client done", ACTOR_KIND_COUNT},
	[MESSAGE_FORWARDED] = {"forwarded", ACTOR_COORDINATOR},
	[MESSAGE_BUS] = {"bus", ACTOR_GOSSIP},
	[MESSAGE_GOSSIP] = {"gossip", ACTOR_GOSSIP},
	[MESSAGE_GOSSIPED] = {"gossiped", ACTOR_GOSSIP},
	[MESSAGE_BEHIND] = {"behind", ACTOR_GOSSIP},
	[MESSAGE_VOTE] = {"vote", ACTOR_GOSSIP},
	[MESSAGE_VOTED] = {"voted", ACTOR_GOSSIP},
	[MESSAGE_STOPPING] = {"stopping", ACTOR_GOSSIP},
	[MESSAGE_SET_RACK] = {"set rack", ACTOR_GOSSIP},
	[MESSAGE_INIT_CLUSTER] = {"init cluster", ACTOR_GOSSIP},
	[MESSAGE_ABORT_CHANGE] = {"abort change", ACTOR_GOSSIP},
	[MESSAGE_FORCE_RING] = {"force ring", ACTOR_GOSSIP},
	[MESSAGE_PLAN_CHANGE] = {"plan change", ACTOR_GOSSIP},
	[MESSAGE_COMMIT_CHANGE] = {"commit change", ACTOR_GOSSIP},
	[MESSAGE_CHANGE_PLAN] = {"change plan", ACTOR_KIND_COUNT},
	[MESSAGE_CLUSTER_INITED] = {"cluster inited", ACTOR_KIND_COUNT},
	[MESSAGE_READY] = {"ready", ACTOR_GOSSIP},
	[MESSAGE_RING] = {"ring", ACTOR_UPKEEP},
};

enum actor_kind message_receiver(enum message_type type)
{
	assert((unsigned)type < MESSAGE_TYPE_COUNT);
	return types[type].receiver;
}

bool message_is_for(enum message_type type, enum actor_kind kind)
{
	return message_receiver(type) == kind || (kind == ACTOR_UPKEEP && types[type].also_upkeep);
}

const char *message_type_name(enum message_type type)
{
	return (unsigned)type < MESSAGE_TYPE_COUNT ? types[type].name : "unknown";
}

const char *replica_status_name(enum replica_status status)
{
	static const char *const names[REPLICA_STATUS_COUNT] = {
		[REPLICA_OK] = "ok",
		[REPLICA_ABSENT] = "absent",
		[REPLICA_ERROR] = "error",
		[REPLICA_STALE_RING] = "stale ring",
		[REPLICA_OVERLOADED] = "overloaded",
		[REPLICA_DISK_FULL] = "disk full",
		[REPLICA_NOT_OWNER] = "not owner",
		[REPLICA_UNREACHABLE] = "unreachable",
		[REPLICA_LOST] = "lost",
		[REPLICA_SIBLING_LIMIT] = "sibling limit",
		[REPLICA_TOO_OLD] = "too old",
		[REPLICA_EARLY] = "early",
		[REPLICA_OWN_CONTEXT] = "own context",
	};

	return (unsigned)status < REPLICA_STATUS_COUNT && names[status] != NULL ? names[status] : "unknown";
}
