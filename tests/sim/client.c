/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/world.h"

enum {
	CLIENT_SLACK_US = 50 * 1000, /* a client waits so much longer than its deadline */
	ANSWER_SLACK_US =
		1000 * 1000, /* a node that lives answers so long after the deadline at latest (C4; threads stall) */
	REFUSED_AT_DOOR_US = 500,
	RETRY_PAUSE_US = 20 * 1000,
	LATE_MAX_US = 3 * 1000 * 1000, /* a late attempt is sent so long after the operation was given up or done */
};

static void ask(struct client *client, uint32_t machine_index, uint32_t deadline_ms);
static void next_round(void *world_arg, void *arg, uint64_t number);

/* ---- life ---- */

void clients_init(struct world *world)
{
	uint32_t count = world->settings.clients + 1;

	world->clients = world_alloc(count * sizeof *world->clients);
	for (uint32_t i = 0; i < count; i++) {
		struct client *client = &world->clients[i];
		*client = (struct client){
			.world = world, .index = i, .idle = true, .auditor = i == world->settings.clients};
		client->random = sim_random_fork(&world->random, 1000 + i);
		client->known = world_alloc(world->settings.keys * sizeof *client->known);
	}
}

void clients_fini(struct world *world)
{
	for (uint32_t i = 0; world->clients != NULL && i <= world->settings.clients; i++) {
		for (uint32_t key = 0; key < world->settings.keys; key++) {
			free(world->clients[i].known[key].context);
			oracle_set_fini(&world->clients[i].known[key].covers);
		}
		for (uint32_t j = 0; j < OPERATIONS_PER_REQUEST_MAX; j++)
			free(world->clients[i].given[j].context);
		free(world->clients[i].known);
	}
	free(world->clients);
	free(world->attempts);
}

struct client *client_auditor(struct world *world)
{
	return &world->clients[world->settings.clients];
}

bool clients_idle(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.clients; i++)
		if (!world->clients[i].idle)
			return false;
	return world->operations_left == 0;
}

static void rest(struct client *client)
{
	struct world *world = client->world;
	uint64_t think_us = 2000 * (uint64_t)world->settings.think_ms + 1;

	client->idle = true;
	if (!client->auditor)
		schedule_in(&world->schedule, sim_random_below(&client->random, think_us), next_round, client, 0, NULL);
}

void clients_begin(struct world *world)
{
	world->operations_left = world->settings.operations;
	for (uint32_t i = 0; i < world->settings.clients; i++)
		rest(&world->clients[i]);
}

static void learn(struct client *client, uint32_t key, const void *context, size_t size,
		  const struct oracle_set *covers)
{
	struct known *known = &client->known[key];

	free(known->context);
	oracle_set_fini(&known->covers);
	known->context = size ? world_alloc(size) : NULL;
	known->size = size;
	if (size)
		memcpy(known->context, context, size);
	known->covers = oracle_set_copy(covers);
}

/* ---- what to do next ---- */

static uint32_t draw_quorum(struct client *client, uint32_t usual)
{
	uint64_t draw = client->world->settings.vary_quorums ? sim_random_below(&client->random, 20) : 2;

	if (draw == 0)
		return 0; /* the node's default: a majority */
	if (draw == 1)
		return 1 + (uint32_t)sim_random_below(&client->random, client->world->settings.replicas);
	return usual;
}

/* Every attempt carries the context of the first one. */
static void keep_given(struct client *client, const struct task *task)
{
	struct given *given = &client->given[task - client->tasks];
	const struct known *known = &client->known[task->key];

	free(given->context);
	*given = (struct given){.size = known->size};
	given->context = world_alloc(known->size);
	if (known->size)
		memcpy(given->context, known->context, known->size);
}

static void begin_write(struct client *client, struct task *task, bool with_context)
{
	struct world *world = client->world;
	struct known *known = &client->known[task->key];
	struct oracle_set nothing = {0};

	if (!with_context) {
		/* forget: what is sent must be what the oracle is told */
		learn(client, task->key, NULL, 0, &nothing);
	}
	keep_given(client, task);
	task->is_get = false;
	task->attempts = 0;
	task->is_delete = sim_random_permille(&client->random, 150);
	task->quorum = draw_quorum(client, world->settings.w);
	task->write = oracle_begin(&world->oracle, client->index, task->key, task->is_delete, &known->covers,
				   world->schedule.now_us);
	world->oracle.writes[task->write].asked = task->quorum;
	world->totals.puts++;
}

static void begin_get(struct client *client, struct task *task)
{
	task->is_get = true;
	task->is_delete = false;
	task->write = ORACLE_NONE;
	task->quorum = draw_quorum(client, client->world->settings.r);
	client->world->totals.gets++;
}

static void pick_keys(struct client *client, uint32_t count)
{
	uint32_t keys = client->world->settings.keys;
	uint32_t key = (uint32_t)sim_random_below(&client->random, keys);

	client->task_count = count < keys ? count : keys;
	for (uint32_t i = 0; i < client->task_count; i++)
		client->tasks[i] = (struct task){.key = (key + i) % keys};
}

/* One, sometimes several operations in a request. */
static void pick_tasks(struct client *client)
{
	bool again = client->write_next; /* read, modify, write */
	bool gets = !again && sim_random_permille(&client->random, 450);

	client->write_next = gets && sim_random_permille(&client->random, 600);
	if (!again)
		pick_keys(client,
			  sim_random_permille(&client->random, 800)
				  ? 1
				  : 1 + (uint32_t)sim_random_below(&client->random, OPERATIONS_PER_REQUEST_MAX));
	for (uint32_t i = 0; i < client->task_count; i++) {
		client->tasks[i].done = false;
		if (gets)
			begin_get(client, &client->tasks[i]);
		else
			begin_write(client, &client->tasks[i], again || sim_random_permille(&client->random, 600));
	}
}

static uint32_t pick_machine(struct client *client)
{
	if (sim_random_permille(&client->random, 600))
		return client->machine;
	return (uint32_t)sim_random_below(&client->random, client->world->settings.nodes);
}

static void next_round(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct client *client = arg;

	(void)number;
	if (!world->operations_left)
		return;
	pick_tasks(client);
	world->operations_left -=
		client->task_count < world->operations_left ? client->task_count : world->operations_left;
	world->totals.operations += client->task_count;
	client->idle = false;
	client->attempts_left = world->settings.attempts;
	ask(client, pick_machine(client), world->settings.deadline_ms);
}

/* ---- a request ---- */

static struct attempt *add_attempt(struct world *world)
{
	if (world->attempt_count == world->attempt_capacity) {
		world->attempt_capacity = world->attempt_capacity ? world->attempt_capacity * 2 : 256;
		world->attempts = realloc(world->attempts, world->attempt_capacity * sizeof *world->attempts);
		if (world->attempts == NULL)
			abort();
	}
	world->attempts[world->attempt_count] = (struct attempt){0};
	return &world->attempts[world->attempt_count++];
}

static struct task *client_task(struct client *client, const struct task *task)
{
	for (uint32_t i = 0; i < client->task_count; i++)
		if (client->tasks[i].key == task->key)
			return &client->tasks[i];
	abort();
}

static void fill_operation(struct client *client, const struct task *task, struct client_operation *operation,
			   struct arena *arena)
{
	const struct given *given = &client->given[client_task(client, task) - client->tasks];
	uint8_t value[ORACLE_VALUE_MAX];
	char *key = rpc_arena_printf(arena, "k%u", task->key);

	operation->kind = task->is_get ? OPERATION_GET : OPERATION_PUT;
	operation->key = (struct rpc_slice){(uint8_t *)key, strlen(key)};
	operation->quorum = task->quorum;
	if (task->is_get)
		return;
	operation->tombstone = task->is_delete;
	oracle_id(&client->world->oracle, task->write, operation->operation_id);
	operation->attempt = task->attempts;
	operation->context = (struct rpc_slice){rpc_arena_copy(arena, given->context, given->size), given->size};
	if (!task->is_delete) {
		size_t size = oracle_value(&client->world->oracle, task->write, value);
		operation->value = (struct rpc_slice){rpc_arena_copy(arena, value, size), size};
	}
}

/* Built where it is sent: a client's context may be another one when a slow request arrives. */
static struct message *make_request(struct client *client, const struct attempt *attempt, uint64_t number)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct message *message = arena != NULL ? message_create(arena, MESSAGE_CLIENT) : NULL;

	if (message == NULL)
		abort();
	struct client_request *request = rpc_arena_zalloc(arena, sizeof *request);
	request->count = attempt->task_count;
	request->operations = rpc_arena_zalloc(arena, request->count * sizeof *request->operations);
	request->results = rpc_arena_zalloc(arena, request->count * sizeof *request->results);
	for (uint32_t i = 0; i < request->count; i++)
		fill_operation(client, &attempt->tasks[i], &request->operations[i], arena);
	message->client.request = request;
	message->call = (void *)(uintptr_t)(number + 1);
	rpc_arena_unref(arena);
	return message;
}

struct request { /* on its way to a node */
	struct world *world;
	struct message *message;
	uint64_t number;
};

static void drop_request(void *arg)
{
	struct request *request = arg;

	message_free(request->message);
	free(request);
}

/* C4: whoever lives answers. */
static void check_answered(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct attempt *attempt = &world->attempts[number];
	const struct machine *machine = arg;

	if (machine_holds(arg, check_answered, arg, number, NULL))
		return;
	if (world->schedule.now_us < machine->stall.end_us + ANSWER_SLACK_US && machine->stall.end_us > 0) {
		schedule_in(&world->schedule, ANSWER_SLACK_US, check_answered, arg, number, NULL);
		return;
	}
	if (!attempt->answered && machine->node != NULL && machine->boot == attempt->boot)
		world_break(world, attempt->tasks[0].key, "%s has not answered a request %u ms after its deadline",
			    machine->name, ANSWER_SLACK_US / 1000);
}

static void refuse_at_door(void *world_arg, void *arg, uint64_t number);

static void arrive(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct request *request = arg;
	struct attempt *attempt = &world->attempts[request->number];
	struct machine *machine = &world->machines[attempt->machine];

	(void)number;
	if (machine_holds(machine, arrive, request, number, drop_request))
		return;
	world_mix(world, request->number);
	if (machine->node == NULL) {
		schedule_in(&world->schedule, REFUSED_AT_DOOR_US, refuse_at_door, attempt->client, request->number,
			    NULL);
		drop_request(request);
		return;
	}
	attempt->arrived = true;
	attempt->boot = machine->boot;
	request->message->to = (struct address){machine->id, ACTOR_COORDINATOR, 0};
	request->message->deadline_us =
		attempt->deadline_us +
		machine_sent_us(machine, &machine->client_ages[attempt->client->index], 1, attempt->begun_us + 1);
	schedule_in(&world->schedule, attempt->deadline_us + ANSWER_SLACK_US, check_answered, machine, request->number,
		    NULL);
	machine_post(machine, request->message, 1);
	free(request);
}

static void give_up_waiting(void *world_arg, void *arg, uint64_t number);

static void ask(struct client *client, uint32_t machine_index, uint32_t deadline_ms)
{
	struct world *world = client->world;
	uint64_t number = world->attempt_count;
	struct attempt *attempt = add_attempt(world);
	uint64_t wait_us = deadline_ms * UINT64_C(1000) + CLIENT_SLACK_US;

	attempt->client = client;
	attempt->machine = machine_index;
	attempt->begun_us = world->schedule.now_us;
	attempt->deadline_us = deadline_ms * UINT64_C(1000);
	for (uint32_t i = 0; i < client->task_count; i++) {
		client->tasks[i].attempts++;
		if (!client->tasks[i].done)
			attempt->tasks[attempt->task_count++] = client->tasks[i];
	}
	client->attempt = number;
	client->machine = machine_index;
	struct network_fate fate = network_send_client(&world->network);
	if (fate.copies) {
		struct request *request = world_alloc(sizeof *request);
		*request = (struct request){world, make_request(client, attempt, number), number};
		schedule_in(&world->schedule, fate.delay_us[0], arrive, request, 0, drop_request);
	}
	/* Some have no patience, and ask another node while the first still works on it. */
	if (!client->auditor && sim_random_permille(&client->random, 100))
		wait_us = sim_random_below(&client->random, wait_us);
	schedule_in(&world->schedule, wait_us, give_up_waiting, client, number, NULL);
}

void client_audit(struct world *world, uint32_t machine, uint32_t key, uint32_t r)
{
	struct client *client = client_auditor(world);

	client->tasks[0] = (struct task){.is_get = true, .key = key, .write = ORACLE_NONE, .quorum = r};
	client->task_count = 1;
	client->idle = client->all_done = false;
	ask(client, machine, 10000);
}

/* ---- after an attempt ---- */

static void retry(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct client *client = arg;

	(void)number;
	ask(client, (uint32_t)sim_random_below(&client->random, world->settings.nodes), world->settings.deadline_ms);
}

/* Something on the way keeps a copy of a write and sends it once more, long after the client has gone on. */
static void plan_late_attempt(struct client *client, struct task *task)
{
	struct world *world = client->world;
	uint64_t number = world->attempt_count, pause_us = sim_random_below(&client->random, LATE_MAX_US);
	struct attempt *attempt = add_attempt(world);
	struct request *request = world_alloc(sizeof *request);

	task->attempts++;
	*attempt = (struct attempt){.client = client, .task_count = 1, .tasks = {*task}};
	attempt->machine = (uint32_t)sim_random_below(&client->random, world->settings.nodes);
	attempt->begun_us = world->schedule.now_us + pause_us;
	attempt->deadline_us = world->settings.deadline_ms * UINT64_C(1000);
	*request = (struct request){world, make_request(client, attempt, number), number};
	oracle_attempted(&world->oracle, task->write, ORACLE_SILENCE);
	world->totals.late_attempts++;
	schedule_in(&world->schedule, pause_us + network_delay(&world->network), arrive, request, 0, drop_request);
}

/* Another try for writes that are not done, at another node, with the same operation ids; then rest. */
static void continue_round(struct client *client)
{
	struct world *world = client->world;
	bool open = false;

	for (uint32_t i = 0; i < client->task_count; i++)
		open |= !client->tasks[i].done && !client->tasks[i].is_get;
	client->all_done = true;
	for (uint32_t i = 0; i < client->task_count; i++)
		client->all_done &= client->tasks[i].done;
	if (open && --client->attempts_left) {
		world->totals.retries++;
		schedule_in(&world->schedule, sim_random_below(&client->random, RETRY_PAUSE_US), retry, client, 0,
			    NULL);
		return;
	}
	for (uint32_t i = 0; i < client->task_count; i++) {
		struct task *task = &client->tasks[i];
		if (task->is_get)
			continue;
		if (sim_random_permille(&client->random, world->settings.late_permille))
			plan_late_attempt(client, task);
		oracle_ended(&world->oracle, task->write);
		world->totals.in_doubt += !task->done;
	}
	rest(client);
}

static void silence(struct client *client, uint64_t number, enum oracle_answer answer)
{
	struct world *world = client->world;

	if (client->attempt != number || client->idle)
		return;
	for (uint32_t i = 0; i < client->task_count; i++)
		if (!client->tasks[i].done && !client->tasks[i].is_get)
			oracle_attempted(&world->oracle, client->tasks[i].write, answer);
	world->totals.silent++;
	client->attempt = UINT64_MAX;
	continue_round(client);
}

static void give_up_waiting(void *world_arg, void *arg, uint64_t number)
{
	(void)world_arg;
	silence(arg, number, ORACLE_SILENCE);
}

/* Nobody listened: nothing can have been done. */
static void refuse_at_door(void *world_arg, void *arg, uint64_t number)
{
	(void)world_arg;
	silence(arg, number, ORACLE_REFUSED);
}

/* ---- answers ---- */

/* An answer on its way back: what the client learns when it arrives. */
struct reply {
	struct client *client;
	uint64_t number;
	uint32_t count;
	struct reply_result {
		struct task task;
		enum outcome outcome;
		uint8_t *context;
		size_t size;
		struct oracle_set covers;
	} results[OPERATIONS_PER_REQUEST_MAX];
};

static void drop_reply(void *arg)
{
	struct reply *reply = arg;

	for (uint32_t i = 0; i < reply->count; i++) {
		free(reply->results[i].context);
		oracle_set_fini(&reply->results[i].covers);
	}
	free(reply);
}

static void learn_result(struct client *client, const struct reply_result *result)
{
	struct world *world = client->world;
	struct task *task = client_task(client, &result->task);
	bool done = result->outcome == OUTCOME_DONE || result->outcome == OUTCOME_ABSENT;

	if (!task->is_get)
		oracle_attempted(&world->oracle, task->write,
				 done                                 ? ORACLE_DONE
				 : result->outcome == OUTCOME_REFUSED ? ORACLE_REFUSED
								      : ORACLE_IN_DOUBT);
	if (done) {
		task->done = true;
		learn(client, task->key, result->context, result->size, &result->covers);
	}
}

static void reply_arrives(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct reply *reply = arg;
	struct client *client = reply->client;

	(void)number;
	world_mix(world, reply->number);
	if (client->attempt == reply->number && !client->idle) {
		client->attempt = UINT64_MAX;
		for (uint32_t i = 0; i < reply->count; i++)
			learn_result(client, &reply->results[i]);
		continue_round(client);
	}
	drop_reply(reply);
}

static const char *outcome_name(enum outcome outcome)
{
	static const char *const names[] = {"?", "ok", "absent", "in doubt", "refused"};
	return names[outcome];
}

/* Who wrote these values, for the transcript: "w3 w7". */
static const char *describe_values(const struct client_result *result, char *out, size_t size)
{
	size_t at = 0;

	out[0] = 0;
	for (uint32_t i = 0; i < result->sibling_count && at + 16 < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%.*s", i ? " " : "",
				       (int)strcspn((const char *)result->siblings[i].value.data, " "),
				       (const char *)result->siblings[i].value.data);
	return out;
}

static void tell_result(struct world *world, struct machine *machine, const struct task *task,
			const struct client_result *result)
{
	char values[200];

	if (!world->tracing || !world_tells(world, task->key))
		return;
	if (task->is_get)
		world_line(world, "%s get k%u: %u of %u replied, need %u -> %s %s%s%s", machine->name, task->key,
			   result->acks_owners, world->settings.replicas, result->needed, outcome_name(result->outcome),
			   describe_values(result, values, sizeof values), result->message != NULL ? ": " : "",
			   result->message != NULL ? result->message : "");
	else
		world_line(world, "%s %s k%u w%u: %u of %u acked, need %u -> %s%s%s", machine->name,
			   task->is_delete ? "delete" : "put", task->key, task->write,
			   result->acks_owners + result->acks_fallbacks, world->settings.replicas, result->needed,
			   outcome_name(result->outcome), result->message != NULL ? ": " : "",
			   result->message != NULL ? result->message : "");
}

static void count_result(struct world *world, const struct task *task, const struct client_result *result)
{
	if (task->is_get)
		return;
	world->totals.acked += result->outcome == OUTCOME_DONE;
	world->totals.refused += result->outcome == OUTCOME_REFUSED;
}

/* A get's answer, checked where it leaves: whether or not the client hears it, it was given. */
static void check_get(struct world *world, const struct attempt *attempt, const struct task *task,
		      const struct client_result *result, struct oracle_set *covers_out)
{
	struct oracle_bytes *values = world_alloc((result->sibling_count + 1) * sizeof *values);

	for (uint32_t i = 0; i < result->sibling_count; i++)
		values[i] = (struct oracle_bytes){result->siblings[i].value.data, result->siblings[i].value.size};
	if (result->acks_owners < result->needed)
		world_break(world, task->key, "a get is answered with %u replies although it needs %u",
			    result->acks_owners, result->needed);
	if ((result->outcome == OUTCOME_DONE) != (result->sibling_count > 0))
		world_break(world, task->key, "a get is answered %s with %u values", outcome_name(result->outcome),
			    result->sibling_count);
	oracle_read(&world->oracle, task->key, result->needed, attempt->begun_us, world->schedule.now_us, values,
		    result->sibling_count, result->context.size > 0, covers_out);
	free(values);
}

static void check_put(struct world *world, const struct task *task, const struct client_result *result,
		      struct oracle_set *covers_out)
{
	uint32_t acks = result->acks_owners + result->acks_fallbacks;

	if (acks < result->needed || (task->quorum && acks < task->quorum) || result->synced < result->needed)
		world_break(world, task->key,
			    "w%u is answered ok with %u acknowledgements, %u synced, although it needs %u", task->write,
			    acks, result->synced, task->quorum ? task->quorum : result->needed);
	if (!result->context.size)
		world_break(world, task->key, "w%u is answered ok without a context", task->write);
	oracle_acked(&world->oracle, task->write, result->acks_owners, result->acks_fallbacks, world->schedule.now_us);
	*covers_out = oracle_set_copy(&(struct oracle_set){(uint32_t[]){task->write}, 1, 0});
}

static void take_result(struct world *world, struct machine *machine, const struct attempt *attempt,
			const struct task *task, const struct client_result *result, struct reply_result *out)
{
	bool done = result->outcome == OUTCOME_DONE || result->outcome == OUTCOME_ABSENT;

	out->task = *task;
	out->outcome = result->outcome;
	world_mix(world, (uint64_t)result->outcome << 32 | result->acks_owners << 8 | result->sibling_count);
	world_mix_bytes(world, result->context.data, result->context.size);
	tell_result(world, machine, task, result);
	count_result(world, task, result);
	if (done && task->is_get)
		check_get(world, attempt, task, result, &out->covers);
	else if (done)
		check_put(world, task, result, &out->covers);
	if (done && result->context.size) {
		out->size = result->context.size;
		out->context = world_alloc(out->size);
		memcpy(out->context, result->context.data, out->size);
	}
}

void client_answer(struct world *world, struct machine *machine, const struct message *message)
{
	uint64_t number = (uint64_t)(uintptr_t)message->call - 1;
	struct attempt *attempt = &world->attempts[number];
	const struct client_request *request = message->client.request;
	struct reply *reply = world_alloc(sizeof *reply);

	assert(number < world->attempt_count);
	if (attempt->answered || attempt->machine != machine->index || attempt->boot != machine->boot)
		world_break(world, attempt->tasks[0].key, "%s answers a request twice, or another's", machine->name);
	attempt->answered = true;
	*reply = (struct reply){.client = attempt->client, .number = number, .count = request->count};
	for (uint32_t i = 0; i < request->count; i++)
		take_result(world, machine, attempt, &attempt->tasks[i], &request->results[i], &reply->results[i]);
	struct network_fate fate = network_send_client(&world->network);
	if (fate.copies)
		schedule_in(&world->schedule, fate.delay_us[0], reply_arrives, reply, 0, drop_reply);
	else
		drop_reply(reply);
}
