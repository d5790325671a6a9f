/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "node/wire/codec.h"
#include "node/object/key.h"
#include "node/object/object.h"
#include "tests/sim/world.h"

enum {
	SCRATCH_SIZE = 4096,
	LOCAL_US = 40,
};

/* An envelope between machines: bytes, as on the wire. */
struct packet {
	struct world *world;
	uint32_t from, to;
	uint32_t boot;        /* of the sender */
	uint64_t call_number; /* 0: the bus */
	bool is_answer;
	size_t size;
	uint8_t bytes[];
};

static void receive(void *world_arg, void *arg, uint64_t number);

/* ---- the transcript ---- */

static void told_add(struct world *world, uint64_t node_id, uint64_t correlation)
{
	if (world->told_count == world->told_capacity) {
		world->told_capacity = world->told_capacity ? world->told_capacity * 2 : 256;
		world->told = realloc(world->told, world->told_capacity * sizeof(*world->told));
		if (!world->told)
			abort();
	}
	world->told[world->told_count++] = (struct told){node_id, correlation};
}

static bool told_has(const struct world *world, uint64_t node_id, uint64_t correlation)
{
	for (uint32_t i = world->told_count; i-- > 0;)
		if (world->told[i].node_id == node_id && world->told[i].correlation == correlation)
			return true;
	return false;
}

static const char *node_name(struct world *world, uint64_t node_id)
{
	struct machine *machine = world_machine(world, node_id);
	return machine ? machine->name : "?";
}

static int describe_sibling(struct world *world, const struct sibling *sibling, char *out, size_t size)
{
	uint32_t write = oracle_find(&world->oracle, sibling->operation_id);

	return snprintf(out, size, " %s%d@%04x.%" PRIu64 "%s", sibling->flags & SIBLING_TOMBSTONE ? "delete w" : "w",
			(int)write, (unsigned)(sibling->dot.actor >> 48), sibling->dot.counter,
			sibling->alias_count ? "+" : "");
}

/* "{w3@1f2a.17 delete w5@9b11.4 | 1f2a:17 9b11:4}": siblings with their dots, then the vector. */
static void describe_object(struct world *world, struct rpc_slice bytes, char *out, size_t size)
{
	struct arena *arena = rpc_arena_create(SCRATCH_SIZE, SIZE_MAX);
	struct object object;
	int at = snprintf(out, size, "{");

	if (!bytes.size || !arena || object_decode(bytes, arena, &object, NULL) < 0) {
		snprintf(out, size, bytes.size ? "{?}" : "{}");
		rpc_arena_unref(arena);
		return;
	}
	for (uint32_t i = 0; i < object.sibling_count && at + 80 < (int)size; i++)
		at += describe_sibling(world, &object.siblings[i], out + at, size - (size_t)at);
	at += snprintf(out + at, size - (size_t)at, " |");
	for (uint32_t i = 0; i < object.vector.count && at + 80 < (int)size; i++)
		at += snprintf(out + at, size - (size_t)at, " %04x:%" PRIu64,
			       (unsigned)(object.vector.entries[i].actor >> 48), object.vector.entries[i].counter);
	for (uint32_t i = 0; i < object.seen_count && at + 80 < (int)size; i++)
		at += snprintf(out + at, size - (size_t)at, " +%04x.%" PRIu64, (unsigned)(object.seen[i].actor >> 48),
			       object.seen[i].counter);
	snprintf(out + at, size - (size_t)at, "}");
	rpc_arena_unref(arena);
}

static void tell_question(struct actor *actor, const struct message *message)
{
	struct machine *machine = actor->machine;
	struct world *world = machine->world;
	char object[600] = "";

	if (message->type == MESSAGE_STORE)
		describe_object(world, message->store.object, object, sizeof(object));
	if (message->type == MESSAGE_COORDINATE)
		snprintf(object, sizeof(object), "w%d",
			 (int)oracle_find(&world->oracle, message->coordinate.operation.operation_id));
	if (message->type == MESSAGE_FETCH && message->fetch.digest_only)
		snprintf(object, sizeof(object), "digest");
	world_line(world, "%s replica %u: %s #%" PRIx64 " %s", machine->name, actor->index,
		   message_type_name(message->type), message->correlation, object);
}

static void tell_answer(struct actor *actor, const struct message *message)
{
	struct machine *machine = actor->machine;
	struct world *world = machine->world;
	char what[700] = "", object[600] = "";

	if (message->type == MESSAGE_STORED)
		snprintf(what, sizeof(what), "%s", replica_status_name(message->status));
	if (message->type == MESSAGE_COORDINATED) {
		describe_object(world, message->coordinated.object, object, sizeof(object));
		snprintf(what, sizeof(what), "%s %s", replica_status_name(message->status), object);
	}
	if (message->type == MESSAGE_FETCHED) {
		describe_object(world, message->fetched.object, object, sizeof(object));
		snprintf(what, sizeof(what), "%s %s digest %04x", replica_status_name(message->status), object,
			 (unsigned)(message->fetched.digest >> 48));
	}
	if (message->type == MESSAGE_FORWARDED)
		snprintf(what, sizeof(what), "outcome %d", (int)message->forwarded.result.outcome);
	world_line(world, "%s coordinator %u: %s #%" PRIx64 " by %s: %s", machine->name, actor->index,
		   message_type_name(message->type), message->correlation, node_name(world, message->from.node_id),
		   what);
}

static void tell(struct actor *actor, const struct message *message)
{
	struct world *world = actor->machine->world;
	struct rpc_slice key = message->key;

	if (key.size && world_tells(world, world_engine_key_number(key)))
		tell_question(actor, message);
	else if (message->type == MESSAGE_FORWARD &&
		 world_tells(world, world_key_number(message->forward.operation.key)))
		world_line(world, "%s coordinator %u: forward #%" PRIx64 " w%d", actor->machine->name, actor->index,
			   message->correlation,
			   (int)oracle_find(&world->oracle, message->forward.operation.operation_id));
	else if (actor->kind == ACTOR_COORDINATOR && told_has(world, actor->machine->id, message->correlation))
		tell_answer(actor, message);
}

/* A question leaves: its answer belongs to the same story. */
static void note_question(struct actor *actor, const struct message *message)
{
	struct world *world = actor->machine->world;
	struct rpc_slice key = message->key;
	uint32_t number = key.size ? world_engine_key_number(key) : ORACLE_NONE;

	if (message->type == MESSAGE_FORWARD)
		number = world_key_number(message->forward.operation.key);
	if (number != ORACLE_NONE && world_tells(world, number))
		told_add(world, actor->machine->id, message->correlation);
}

void traffic_note(struct actor *actor, const struct message *message)
{
	struct world *world = actor->machine->world;
	struct rpc_slice key = message->key;

	world_mix(world, (uint64_t)message->type << 56 ^ message->correlation);
	world_mix(world, message->deadline_us);
	world_mix_bytes(world, key.data, key.size);
	if (message->type == MESSAGE_STORE)
		world_mix_bytes(world, message->store.object.data, message->store.object.size);
	if (message->type == MESSAGE_FETCHED)
		world_mix_bytes(world, message->fetched.object.data, message->fetched.object.size);
	if (message->type == MESSAGE_COORDINATE) {
		uint32_t write = oracle_find(&world->oracle, message->coordinate.operation.operation_id);
		if (write == ORACLE_NONE)
			world_break(world, ORACLE_NONE, "%s coordinates an operation id that no client used",
				    actor->machine->name);
		else if (message->coordinate.operation.attempt != 1)
			oracle_repeated(&world->oracle, write);
	}
	if (world->tracing)
		tell(actor, message);
}

/* ---- envelopes ---- */

static struct arena *scratch_create(void)
{
	struct arena *arena = rpc_arena_create(SCRATCH_SIZE, SIZE_MAX);

	if (!arena)
		abort();
	return arena;
}

/* once: what must not run twice does not, on this network: rpc.h W3 promises that a request is sent at most once. The
 * others are repeated all the same, because their receivers claim not to mind. */
static void send_packet(struct machine *from, uint32_t to, uint64_t call_number, bool is_answer, bool once,
			const struct rpc_message *bytes)
{
	struct world *world = from->world;
	struct rpc_slice slice = rpc_message_bytes(bytes);
	struct network_fate fate = network_send(&world->network, from->index, to);

	for (uint32_t i = 0; i < fate.copies && !(once && i); i++) {
		struct packet *packet = malloc(sizeof(*packet) + slice.size);
		if (!packet)
			abort();
		*packet = (struct packet){world, from->index, to, from->boot, call_number, is_answer, slice.size};
		memcpy(packet->bytes, slice.data, slice.size);
		schedule_in(&world->schedule, fate.delay_us[i], receive, packet, 0, free);
	}
}

static uint64_t local_delay(struct world *world)
{
	return world_random(world, LOCAL_US);
}

/* ---- questions that leave ---- */

static void post_all(struct machine *machine, struct message_list *messages)
{
	for (struct message *message; (message = message_list_take(messages));)
		machine_post(machine, message, local_delay(machine->world));
}

static struct call *take_call(struct machine *machine, uint64_t number)
{
	struct call **link = &machine->calls;

	while (*link && (*link)->number != number)
		link = &(*link)->next;
	struct call *call = *link;
	if (call)
		*link = call->next;
	return call;
}

static void flush(struct actor *);

/* The batch is over; what waited behind it may leave now. forget: nobody hears of it. */
static void end_call(struct machine *machine, struct call *call, int error, struct rpc_slice response, bool forget)
{
	struct arena *arena = scratch_create();
	struct message_list answers = {0};
	struct rpc_error why = {""};
	int status = exchange_complete(&call->actor->exchange, call->batch, error, response, arena, &answers, &why);

	if (status && !error)
		world_break(machine->world, ORACLE_NONE, "%s cannot decode the answers of %s: %s", machine->name,
			    machine->world->machines[call->to].name, why.text);
	if (forget)
		message_list_free(&answers);
	post_all(machine, &answers);
	rpc_arena_unref(arena);
	flush(call->actor);
	free(call);
}

static void lose_call(void *world_arg, void *arg, uint64_t number)
{
	if (machine_holds(arg, lose_call, arg, number, NULL))
		return;
	struct call *call = take_call(arg, number);

	(void)world_arg;
	if (call)
		end_call(arg, call, -ETIMEDOUT, (struct rpc_slice){0}, false);
}

/* A driver that forgets: the coordinator has only its own timer left. */
static void forget_call(void *world_arg, void *arg, uint64_t number)
{
	if (machine_holds(arg, forget_call, arg, number, NULL))
		return;
	struct call *call = take_call(arg, number);

	(void)world_arg;
	if (call)
		end_call(arg, call, -ETIMEDOUT, (struct rpc_slice){0}, true);
}

static bool is_known_unreachable(const struct machine *machine, const struct machine *to)
{
	const struct world *world = machine->world;
	uint64_t now_us = world->schedule.now_us;

	return (!to->node && now_us >= to->known_down_us) ||
	       network_is_known_cut(&world->network, machine->index, to->index, now_us);
}

/* coordinator_links of a machine. */
bool traffic_is_connected(void *arg, uint64_t node_id)
{
	struct machine *machine = arg;
	const struct machine *to = world_machine(machine->world, node_id);

	return to != NULL && !is_known_unreachable(machine, to);
}

/* Seeds are addressed by their number before their node ids are known. */
static struct machine *peer_machine(struct world *world, uint64_t peer)
{
	return peer >= 1 && peer <= world->settings.nodes ? &world->machines[peer - 1] : world_machine(world, peer);
}

/* Of any size, so that batches are cut everywhere. */
static void send_batch(struct actor *actor, uint32_t queue, uint32_t to, struct message_list *answers,
		       struct arena *arena)
{
	struct machine *machine = actor->machine;
	struct world *world = machine->world;
	struct exchange_batch batch;

	actor->exchange.options.batch_max = 1 + (uint32_t)world_random(world, 8);
	if (!exchange_pack(&actor->exchange, queue, machine_now_us(machine), machine_now_us(machine), arena, &batch,
			   answers))
		return;
	struct call *call = world_alloc(sizeof(*call));
	*call = (struct call){machine->calls, ++world->next_call, to, actor, batch.number};
	machine->calls = call;
	send_packet(machine, to, call->number, false, batch.method == METHOD_FORWARD, batch.request);
	rpc_message_free(batch.request);
	bool forget = sim_random_permille(&world->random, 100);
	schedule_in(&world->schedule, batch.timeout_ms * UINT64_C(1000), forget ? forget_call : lose_call, machine,
		    call->number, NULL);
}

/* As node/driver/outbound.c does. */
static void flush(struct actor *actor)
{
	struct machine *machine = actor->machine;
	struct world *world = machine->world;
	struct arena *arena = scratch_create();
	struct message_list answers = {0};
	uint32_t queue;
	uint64_t peer;

	while (exchange_next(&actor->exchange, &queue, &peer)) {
		struct machine *to = peer_machine(world, peer);
		if (to && !is_known_unreachable(machine, to)) {
			send_batch(actor, queue, to->index, &answers, arena);
			continue;
		}
		world->totals.unreachable++;
		exchange_refuse(&actor->exchange, queue, -EHOSTUNREACH, arena, &answers);
	}
	post_all(machine, &answers);
	rpc_arena_unref(arena);
}

static void ask(struct actor *actor, struct message *question)
{
	struct arena *arena = scratch_create();
	struct message_list answers = {0};

	exchange_ask(&actor->exchange, question, arena, &answers);
	post_all(actor->machine, &answers);
	rpc_arena_unref(arena);
}

/* ---- what a step left ---- */

static void broadcast(struct machine *machine, struct message *message)
{
	struct world *world = machine->world;
	struct arena *scratch = scratch_create();
	struct rpc_message *bytes;

	if (codec_bus_encode(message, machine_now_ms(machine), scratch, &bytes) < 0)
		abort();
	for (uint32_t i = 0; i < machine->bus_link_count; i++) {
		struct machine *to = world_machine(world, machine->bus_links[i]);
		if (to && to != machine)
			send_packet(machine, to->index, 0, false, false, bytes);
	}
	rpc_message_free(bytes);
	rpc_arena_unref(scratch);
	message_free(message);
}

static void answer_call(struct machine *machine, struct message *answer);

static void take_contacts(struct machine *machine, const struct contacts *contacts)
{
	machine->bus_link_count = contacts->bus_count;
	for (uint32_t i = 0; i < contacts->bus_count; i++)
		machine->bus_links[i] = contacts->list[i].node_id;
}

void traffic_deliver(struct actor *actor, struct effects *effects)
{
	struct machine *machine = actor->machine;
	struct world *world = machine->world;

	if (effects->contacts)
		take_contacts(machine, effects->contacts);
	effects->contacts = NULL;
	change_watch(world, machine, effects->first_note);
	effects->first_note = NULL; /* nobody else listens */
	for (struct message *message; (message = message_list_take(&effects->messages));) {
		switch (message_way(message, machine->id)) {
		case WAY_CLIENT:
			if (message->type == MESSAGE_CLIENT_DONE)
				client_answer(world, machine, message);
			else if (message->type == MESSAGE_CHANGE_PLAN)
				moves_answered(world, message);
			else if (message->correlation != 0)
				change_answered(world, message);
			else
				verdict_cluster_inited(world, message);
			message_free(message);
			break;
		case WAY_ANSWER:
			answer_call(machine, message);
			break;
		case WAY_LOCAL:
			note_question(actor, message);
			machine_post(machine, message, local_delay(world));
			break;
		case WAY_BUS:
			broadcast(machine, message);
			break;
		case WAY_PEER:
			note_question(actor, message);
			ask(actor, message);
			break;
		}
	}
	flush(actor);
}

/* ---- questions that arrive ---- */

static uint64_t ring_epoch_of(struct machine *machine)
{
	const struct ring_view *view = ring_view_acquire(machine->node->ring);
	uint64_t epoch = view->document ? ring_epoch(view->document) : 0;

	ring_view_release(machine->node->ring, view);
	return epoch;
}

static void inbound_free(struct inbound *inbound)
{
	exchange_incoming_free(inbound->batch);
	free(inbound);
}

/* The last answer of a batch sends them all. */
static void answer_call(struct machine *machine, struct message *answer)
{
	struct exchange_incoming *batch = answer->call;
	struct inbound *inbound = batch->carrier, **link = &machine->inbounds;
	struct rpc_message *bytes;

	if (!exchange_answer(answer))
		return;
	if (exchange_encode_answers(batch, ring_epoch_of(machine), &bytes) < 0)
		abort();
	send_packet(machine, inbound->from, inbound->call_number, true, false, bytes);
	rpc_message_free(bytes);
	while (*link != inbound)
		link = &(*link)->next;
	*link = inbound->next;
	inbound_free(inbound);
}

static void receive_questions(struct machine *machine, const struct packet *packet)
{
	struct rpc_slice bytes = {packet->bytes, packet->size};
	struct rpc_request request;
	struct rpc_error why;
	struct message_list questions = {0};
	struct inbound *inbound = world_alloc(sizeof(*inbound));
	int error = rpc_request_decode(bytes, &request, &why);

	if (!error) {
		uint64_t sent_us =
			machine_sent_us(machine, &machine->peer_ages[packet->from], packet->boot, request.sent_us);
		error = exchange_accept(codec_method(request.method), &request, machine->id,
					sent_us + request.deadline_ms * UINT64_C(1000), inbound, &inbound->batch,
					&questions, &why);
	}
	if (error) {
		world_break(machine->world, ORACLE_NONE, "%s cannot decode a batch of %s: %s", machine->name,
			    machine->world->machines[packet->from].name, why.text);
		free(inbound);
		return;
	}
	inbound->next = machine->inbounds;
	inbound->call_number = packet->call_number;
	inbound->from = packet->from;
	machine->inbounds = inbound;
	post_all(machine, &questions);
}

static void receive_answers(struct machine *machine, const struct packet *packet)
{
	/* NULL: given up, of an earlier life, or answered by the twin of this packet. */
	struct call *call = take_call(machine, packet->call_number);

	if (call)
		end_call(machine, call, 0, (struct rpc_slice){packet->bytes, packet->size}, false);
}

static void receive_bus(struct machine *machine, const struct packet *packet)
{
	struct arena *arena = scratch_create();
	struct message *message;
	struct rpc_error why;

	int found = codec_bus_decode((struct rpc_slice){packet->bytes, packet->size}, arena, &message, &why);
	rpc_arena_unref(arena);
	if (found <= 0) {
		world_break(machine->world, ORACLE_NONE, "%s cannot decode a heartbeat: %s", machine->name,
			    found ? why.text : "not one");
		return;
	}
	message->to = (struct address){machine->id, ACTOR_GOSSIP, 0};
	machine_post(machine, message, local_delay(machine->world));
}

static void receive(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct packet *packet = arg;
	struct machine *machine = &world->machines[packet->to];

	if (machine_holds(machine, receive, packet, number, free))
		return;
	world->totals.messages++;
	world_mix(world, packet->call_number);
	if (machine->node) {
		if (!packet->call_number)
			receive_bus(machine, packet);
		else if (packet->is_answer)
			receive_answers(machine, packet);
		else
			receive_questions(machine, packet);
	}
	free(packet);
}

/* ---- deaths ---- */

void traffic_machine_died(struct machine *dead)
{
	struct world *world = dead->world;
	uint64_t detect_us = world->network.weather.detect_us + 1;

	dead->known_down_us = world->schedule.now_us + world_random(world, detect_us);
	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		struct machine *machine = &world->machines[i];
		for (struct call *call = machine->calls; call; call = call->next)
			if (call->to == dead->index && sim_random_permille(&world->random, 700))
				schedule_in(&world->schedule, world_random(world, detect_us), lose_call, machine,
					    call->number, NULL);
	}
}

void traffic_forget(struct machine *machine)
{
	for (struct call *call = machine->calls, *next; call; call = next) {
		next = call->next;
		free(call);
	}
	for (uint32_t i = 0; i < machine->actor_count; i++)
		exchange_fini(&machine->actors[i].exchange);
	for (struct inbound *inbound = machine->inbounds, *next; inbound; inbound = next) {
		next = inbound->next;
		inbound_free(inbound);
	}
	machine->calls = NULL;
	machine->inbounds = NULL;
	machine->bus_link_count = 0;
}
