/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/membership/net.h"
#include <stdlib.h>
#include <xxhash.h>
#include "node/wire/codec.h"
#include "node/membership/ring_change.h"
#include "node/wire/codec_gossip.h"

struct net *net;
bool without_seeds;
struct autoscale_settings autoscale;
void (*amend_row)(uint32_t index, struct gossip_row *);

uint64_t id_of(uint32_t index)
{
	return (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

uint32_t index_of(uint64_t id)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (id_of(i) == id)
			return i;
	return NODES_MAX;
}

/* ---- the network -------------------------------------------------------------------------------------------- */

static bool is_severed(uint32_t from, uint32_t to)
{
	const uint32_t *severed = net->severed;

	return (severed[0] == from && severed[1] == to) || (severed[0] == to && severed[1] == from);
}

/* Of two at the same time messages come before timers, as the driver has it. */
static bool sooner(const struct flight *a, const struct flight *b)
{
	if (a->due_us != b->due_us)
		return a->due_us < b->due_us;
	if ((a->message == NULL) != (b->message == NULL))
		return a->message != NULL;
	return a->number < b->number;
}

static void launch(uint64_t due_us, uint32_t to, struct message *message)
{
	struct flight flight = {due_us, net->flight_number++, to, message};
	uint32_t at = net->flight_count++;

	if (net->flight_count > net->flight_room) {
		net->flight_room = net->flight_room > 0 ? net->flight_room * 2 : 1024;
		net->flights = realloc(net->flights, net->flight_room * sizeof *net->flights);
		assert_non_null(net->flights);
	}
	for (; at > 0 && sooner(&flight, &net->flights[(at - 1) / 2]); at = (at - 1) / 2)
		net->flights[at] = net->flights[(at - 1) / 2];
	net->flights[at] = flight;
}

/* There must be one. */
static struct flight land(void)
{
	struct flight first = net->flights[0], last = net->flights[--net->flight_count];
	uint32_t at = 0, child;

	while ((child = 2 * at + 1) < net->flight_count) {
		child += child + 1 < net->flight_count && sooner(&net->flights[child + 1], &net->flights[child]);
		if (!sooner(&net->flights[child], &last))
			break;
		net->flights[at] = net->flights[child];
		at = child;
	}
	net->flights[at] = last;
	return first;
}

static void post(uint32_t from, uint32_t to, struct message *message)
{
	bool arrives = to < net->node_count && net->nodes[from].side == net->nodes[to].side && !is_severed(from, to) &&
		       prng_below(&net->prng, 100) >= net->loss_percent;

	if (arrives)
		launch(net->now_us + 200 + prng_below(&net->prng, 5000), to, message);
	else
		message_free(message);
}

static bool has_link(uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < net->nodes[from].bus_count; i++)
		if (net->nodes[from].bus[i] == id_of(to))
			return true;
	return false;
}

static bool are_linked(uint32_t from, uint32_t to)
{
	return to != from && net->nodes[to].alive && (has_link(from, to) || has_link(to, from));
}

static uint32_t count_links(uint32_t from)
{
	uint32_t count = 0;

	for (uint32_t to = 0; to < net->node_count; to++)
		count += are_linked(from, to);
	return count;
}

static void broadcast(uint32_t from, struct message *message)
{
	for (uint32_t to = 0; to < net->node_count; to++) {
		struct arena *arena;
		struct message *copy;

		if (!are_linked(from, to))
			continue;
		arena = rpc_arena_create(512, SIZE_MAX);
		copy = message_create(arena, MESSAGE_BUS);
		copy->gossip = message->gossip;
		message_pin(copy, message->arena);
		rpc_arena_unref(arena);
		post(from, to, copy);
	}
	message_free(message);
}

static size_t packed_size(const struct message *message)
{
	struct arena *arena = rpc_arena_create(1 << 16, SIZE_MAX);
	struct rpc_message *event;
	ProtobufCMessage *body;
	size_t size;

	if (message->type == MESSAGE_BUS) {
		assert_int_equal(codec_bus_encode(message, net->now_us / 1000, arena, &event), 0);
		size = rpc_message_bytes(event).size;
		rpc_message_free(event);
	} else {
		int error = message->type == MESSAGE_GOSSIP ? codec_gossip_encode(message, arena, &body)
							    : codec_gossiped_encode(message, arena, &body);
		assert_int_equal(error, 0);
		size = protobuf_c_message_get_packed_size(body);
	}
	rpc_arena_unref(arena);
	return size;
}

/* Bytes of protobuf: once for each link that a message of the bus leaves by. */
static void weigh(uint32_t from, const struct message *message)
{
	uint32_t beat_count = message->gossip->beat_count;
	uint64_t copies = message->type == MESSAGE_BUS ? count_links(from) : 1, size = packed_size(message), bare;
	enum sent_kind kind = message->type == MESSAGE_BUS        ? SENT_BUS
			      : message->type == MESSAGE_GOSSIPED ? SENT_ANSWERS
			      : message->gossip->brief            ? SENT_BRIEF
								  : SENT_PULLS;

	message->gossip->beat_count = 0;
	bare = packed_size(message);
	message->gossip->beat_count = beat_count;
	net->sent[kind].rows += bare * copies;
	net->sent[kind].beats += (size - bare) * copies;
}

/* More rows than a cluster may have are refused as a whole by who gets them (node/wire/codec_gossip.c). */
static void look_at_rows(uint32_t from, const struct message *message)
{
	if (message->type != MESSAGE_BUS && message->type != MESSAGE_GOSSIP && message->type != MESSAGE_GOSSIPED)
		return;
	assert_in_range(message->gossip->row_count, 0, RING_MEMBERS_MAX);
	for (uint32_t i = 0; i < message->gossip->row_count; i++)
		net->watched_rows += message->gossip->rows[i].node_id == net->watched_id;
	if (net->weigh)
		weigh(from, message);
}

static struct change *change_of(const struct message *answer)
{
	assert_in_range(answer->correlation, 1, net->change_count);
	assert_false(net->changes[answer->correlation - 1].answered);
	return &net->changes[answer->correlation - 1];
}

static void take_plan(struct message *answer)
{
	const struct change_plan *plan = answer->change_plan.plan;
	struct change *change = change_of(answer);

	*change = (struct change){.answered = true, .code = answer->change_plan.code};
	assert_true((plan != NULL) == (change->code == KVRING__V1__CODE__OK));
	if (plan == NULL) {
		snprintf(change->text, sizeof change->text, "%s", answer->change_plan.text);
		message_free(answer);
		return;
	}
	change->epoch = plan->epoch;
	change->parent_hash = plan->parent_hash;
	change->plan_hash = plan->plan_hash;
	change->bytes = plan->bytes;
	change->estimated_ms = plan->estimated_ms;
	change->moves = plan->moves;
	change->minimum_moves = plan->minimum_moves;
	change->violation_count = plan->violation_count;
	change->link_count = plan->link_count;
	change->member_count = plan->member_count;
	message_free(net->planned);
	net->planned = answer;
}

static void take_change(const struct message *answer)
{
	struct change *change;

	if (answer->correlation == 0)
		return; /* of an INIT_CLUSTER */
	change = change_of(answer);
	*change = (struct change){
		.answered = true, .code = answer->cluster_inited.code, .epoch = answer->cluster_inited.epoch};
	if (answer->cluster_inited.text != NULL)
		snprintf(change->text, sizeof change->text, "%s", answer->cluster_inited.text);
}

static void dispatch(uint32_t from, struct message *message)
{
	if (message->type == MESSAGE_RING) {
		assert_int_equal(message->to.node_id, id_of(from));
		assert_int_equal(message->to.kind, ACTOR_UPKEEP);
		assert_true(look(from).epoch > 0); /* the view has it */
		net->nodes[from].rings_told++;
		message_free(message);
		return;
	}
	look_at_rows(from, message);
	if (message->type == MESSAGE_BUS && net->without_bus) {
		message_free(message);
	} else if (message->type == MESSAGE_BUS) {
		broadcast(from, message);
	} else if (message->type == MESSAGE_CHANGE_PLAN) {
		take_plan(message);
	} else if (message->type == MESSAGE_CLUSTER_INITED) {
		take_change(message);
		message_free(net->inited);
		net->inited = message;
	} else if (message->to.node_id == 0) {
		post(from, message->to.index - 1u, message); /* seed i is node i here */
	} else {
		post(from, index_of(message->to.node_id), message);
	}
}

static void watch_ring(uint64_t epoch, uint64_t hash)
{
	assert_in_range(epoch, 1, EPOCHS_MAX - 1);
	if (net->ring_of_epoch[epoch] == 0)
		net->ring_of_epoch[epoch] = hash;
	if (net->ring_of_epoch[epoch] != hash)
		fail_msg("two ring documents of epoch %u", (unsigned)epoch);
}

static struct message *make_ready(uint64_t epoch, uint64_t hash)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_READY);

	message->ready = (struct ready_body){epoch, hash};
	rpc_arena_unref(arena);
	return message;
}

/* Its notes, counted, and its contacts. */
static void hear(uint32_t index, const struct effects *effects)
{
	struct net_node *node = &net->nodes[index];

	for (const struct note *note = effects->first_note; note != NULL; note = note->next) {
		node->notes[note->kind]++;
		node->last_note_id = note->id;
		if (note->kind >= NOTE_AUTOSCALE_PROPOSES && note->kind <= NOTE_AUTOSCALE_CANNOT) {
			snprintf(node->last_change, sizeof node->last_change, "%s", note->name);
			snprintf(node->last_why, sizeof node->last_why, "%s", note->text);
		}
		if (note->kind == NOTE_RING_INSTALLED && net->one_ring)
			watch_ring(note->count, note->hash);
		if (note->kind == NOTE_RING_INSTALLED && net->auto_ready && !node->never_ready)
			launch(net->now_us + prng_below(&net->prng, 10 * ROUND_US), index,
			       make_ready(note->count, note->hash));
	}
	if (effects->contacts == NULL)
		return;
	node->contact_effects++;
	node->contact_count = effects->contacts->count;
	node->bus_count = effects->contacts->bus_count;
	assert_true(node->bus_count <= 16);
	for (uint32_t i = 0; i < effects->contacts->count; i++) {
		assert_int_equal(effects->contacts->list[i].bus, i < node->bus_count);
		if (i < node->bus_count)
			node->bus[i] = effects->contacts->list[i].node_id;
	}
}

void step(uint32_t index, enum event_type type, struct message *message)
{
	struct net_node *node = &net->nodes[index];
	struct event event = {.type = type, .now_us = net->now_us, .now_ms = net->now_us / 1000, .message = message};
	struct arena *arena = rpc_arena_create(1 << 14, SIZE_MAX);
	struct effects effects;
	uint64_t trace[4] = {net->transcript, net->now_us, index,
			     (uint64_t)type << 32 | (message != NULL ? message->type : 0)};

	net->transcript = XXH3_64bits(trace, sizeof trace);
	effects_init(&effects, arena);
	gossip_step(node->gossip, &event, &effects);
	if (node->timer_us != effects.timer_us || type == EVENT_TIMER)
		launch(effects.timer_us, index, NULL);
	node->timer_us = effects.timer_us;
	hear(index, &effects);
	for (struct message *sent; (sent = message_list_take(&effects.messages)) != NULL;) {
		dispatch(index, sent);
	}
	rpc_arena_unref(arena);
}

static bool is_stale(const struct flight *flight)
{
	const struct net_node *node = &net->nodes[flight->to];

	return flight->message == NULL && (!node->alive || node->timer_us != flight->due_us);
}

static void happen(const struct flight *flight)
{
	struct net_node *node = &net->nodes[flight->to];

	if (flight->due_us < node->paused_until_us) { /* its mailbox is closed, and its timers wait */
		if (flight->message == NULL)
			node->timer_us = node->paused_until_us;
		launch(node->paused_until_us, flight->to, flight->message);
		return;
	}
	net->now_us = flight->due_us > net->now_us ? flight->due_us : net->now_us;
	if (flight->message == NULL)
		step(flight->to, EVENT_TIMER, NULL);
	else if (node->alive)
		step(flight->to, EVENT_MESSAGE, flight->message);
	else
		message_free(flight->message);
}

bool advance(uint64_t until_us)
{
	while (net->flight_count > 0 && is_stale(&net->flights[0]))
		(void)land();
	if (net->flight_count == 0 || net->flights[0].due_us > until_us) {
		net->now_us = until_us;
		return false;
	}
	struct flight flight = land();
	happen(&flight);
	return true;
}

void run_for(uint64_t us)
{
	uint64_t until = net->now_us + us;

	while (advance(until)) {
	}
}

void set_sides(uint32_t boundary)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		net->nodes[i].side = i >= boundary;
}

/* ---- nodes -------------------------------------------------------------------------------------------------- */

void fill_row(uint32_t index, struct gossip_row *row)
{
	*row = (struct gossip_row){.node_id = id_of(index), .incarnation = 1, .weight = 100, .shard_count = 2};
	snprintf(row->name, sizeof row->name, "n%u", index);
	snprintf(row->client_address, sizeof row->client_address, "10.0.%u.%u:1", index / 250, index % 250);
	snprintf(row->peer_address, sizeof row->peer_address, "10.0.%u.%u:2", index / 250, index % 250);
	snprintf(row->bus_address, sizeof row->bus_address, "10.0.%u.%u:3", index / 250, index % 250);
	strcpy(row->datacenter, "dc1");
	snprintf(row->rack, sizeof row->rack, "r%u", index % 3);
	if (amend_row != NULL)
		amend_row(index, row);
}

void open_home(uint32_t index)
{
	struct rpc_error error;
	char directory[32];

	snprintf(directory, sizeof directory, "/n%u", index);
	if (data_dir_open(sim_fs_table(net->disk), directory, id_of(index), &net->nodes[index].data_dir, &error))
		fail_msg("%s", error.text);
}

static void read_figures(void *arg, struct ring_figures *out)
{
	uint32_t index = (uint32_t)((struct net_node *)arg - net->nodes);

	out->puts = net->busy ? net->now_us : 0;
	out->dead_shards = net->dead_shards;
	out->disk_bytes = net->disk_bytes;
	if (net->amend_figures != NULL)
		net->amend_figures(index, out);
}

void start_node(uint32_t index)
{
	static const char *const seeds[] = {"seed"};
	struct net_node *node = &net->nodes[index];
	struct gossip_options options = {.seeds = seeds,
					 .seed_count = index == 0 || net->without_seeds ? 0 : 1,
					 .seed = net->prng.state[0] + index,
					 .round_ms = 200,
					 .timeout_ms = 2000};
	struct rpc_error error;

	open_home(index);
	fill_row(index, &options.self);
	options.self.incarnation = data_dir_incarnation(node->data_dir);
	assert_int_equal(ring_table_create(id_of(index), &node->ring), 0);
	options.data_dir = node->data_dir;
	options.ring = node->ring;
	options.read_figures = read_figures;
	options.read_figures_arg = node;
	options.autoscale = autoscale;
	if (gossip_create(&options, &node->gossip, &error))
		fail_msg("%s", error.text);
	node->alive = true;
	step(index, EVENT_START, NULL);
}

void stop_node(uint32_t index)
{
	struct net_node *node = &net->nodes[index];

	gossip_destroy(&node->gossip);
	ring_table_destroy(&node->ring);
	data_dir_close(&node->data_dir);
	node->alive = false;
	node->timer_us = UINT64_MAX;
}

void open_net(uint32_t node_count, uint64_t seed)
{
	net = calloc(1, sizeof *net);
	assert_non_null(net);
	sim_fs_create(seed, &net->disk);
	prng_seed(&net->prng, seed);
	net->now_us = 1000000;
	net->node_count = node_count;
	net->without_seeds = without_seeds;
	for (uint32_t i = 0; i < node_count; i++)
		start_node(i);
}

void close_net(void)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (net->nodes[i].alive)
			stop_node(i);
	while (net->flight_count > 0)
		message_free(land().message);
	free(net->flights);
	message_free(net->inited);
	message_free(net->planned);
	assert_int_equal(sim_fs_open_files(net->disk), 0);
	sim_fs_destroy(&net->disk);
	free(net);
	net = NULL;
}

/* ---- asking and looking ------------------------------------------------------------------------------------- */

void fill_members(struct ring_member *members, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct gossip_row row;

		fill_row(first + i, &row);
		members[i] = (struct ring_member){.id = row.node_id, .weight = row.weight};
		strcpy(members[i].name, row.name);
		strcpy(members[i].client_address, row.client_address);
		strcpy(members[i].peer_address, row.peer_address);
		strcpy(members[i].bus_address, row.bus_address);
		strcpy(members[i].datacenter, row.datacenter);
		strcpy(members[i].rack, row.rack);
	}
}

uint32_t init_with(uint32_t node, const struct ring_member *members, uint32_t count)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_INIT_CLUSTER);

	message->init_cluster.members = rpc_arena_copy(arena, members, count * sizeof *members);
	message->init_cluster.member_count = count;
	message->init_cluster.partition_count = count > 64 ? 4096 : 64;
	rpc_arena_unref(arena);
	message_free(net->inited);
	net->inited = NULL;
	step(node, EVENT_MESSAGE, message);
	assert_non_null(net->inited);
	return net->inited->cluster_inited.code;
}

uint32_t init_cluster(uint32_t node, uint32_t first, uint32_t count)
{
	struct ring_member *members = calloc(count, sizeof *members);
	uint32_t code;

	fill_members(members, first, count);
	code = init_with(node, members, count);
	free(members);
	return code;
}

/* The operator's question goes to the node, and the answer will be that change. */
static struct change *ask(uint32_t node, struct message *message, uint64_t timeout_us)
{
	struct change *change = &net->changes[net->change_count++];

	assert_true(net->change_count <= CHANGES_MAX);
	message->correlation = net->change_count;
	message->deadline_us = net->now_us + timeout_us;
	step(node, EVENT_MESSAGE, message);
	return change;
}

struct change *set_rack(uint32_t node, const char *member, const char *rack, uint64_t timeout_us)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_SET_RACK);

	strcpy(message->set_rack.node, member);
	strcpy(message->set_rack.rack, rack);
	rpc_arena_unref(arena);
	return ask(node, message, timeout_us);
}

struct change *ask_change(uint32_t node, enum message_type type, const struct member_change *changes, uint32_t count,
			  const struct change *planned, bool allow_violations, uint64_t timeout_us)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, type);

	message->change = (struct change_body){
		.changes = rpc_arena_copy(arena, changes, count * sizeof *changes),
		.change_count = count,
		.parent_hash = planned != NULL ? planned->parent_hash : 0,
		.plan_hash = planned != NULL ? planned->plan_hash : 0,
		.allow_violations = allow_violations,
	};
	rpc_arena_unref(arena);
	return ask(node, message, timeout_us);
}

struct change *abort_change(uint32_t node, uint64_t epoch, uint64_t timeout_us)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_ABORT_CHANGE);

	message->abort_change.epoch = epoch;
	rpc_arena_unref(arena);
	return ask(node, message, timeout_us);
}

struct change *force_ring(uint32_t node, const char *const *lost, uint32_t count, uint64_t ring_hash)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_FORCE_RING);
	char(*names)[RING_NAME_MAX] = rpc_arena_zalloc(arena, count * sizeof *names);

	for (uint32_t i = 0; i < count; i++)
		strcpy(names[i], lost[i]);
	message->force = (struct force_body){(const char(*)[RING_NAME_MAX])names, count, ring_hash};
	rpc_arena_unref(arena);
	return ask(node, message, TIMEOUT_US);
}

void say_ready(uint32_t node)
{
	struct glance glance = look(node);

	step(node, EVENT_MESSAGE, make_ready(glance.epoch, glance.hash));
}

struct glance look(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	struct glance glance = {.self = view->self};

	if (view->document != NULL) {
		glance.cluster_id = ring_cluster_id(view->document);
		glance.epoch = ring_epoch(view->document);
		glance.hash = ring_hash(view->document);
		for (uint32_t i = 0; i < ring_member_count(view->document); i++) {
			glance.up += view->status[i].reachability == RING_UP;
			glance.unreachable += view->status[i].reachability == RING_UNREACHABLE;
			glance.down += view->status[i].reachability == RING_DOWN;
		}
	}
	ring_view_release(net->nodes[node].ring, view);
	return glance;
}

enum ring_reachability sees(uint32_t node, uint32_t other)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	enum ring_reachability reachability = view->status[ring_member_find(view->document, id_of(other))].reachability;

	ring_view_release(net->nodes[node].ring, view);
	return reachability;
}

bool all_have_epoch(uint64_t epoch)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (net->nodes[i].alive && look(i).epoch != epoch)
			return false;
	return true;
}

bool all_see(uint32_t other, enum ring_reachability reachability)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (net->nodes[i].alive && i != other && sees(i, other) != reachability)
			return false;
	return true;
}

void open_cluster(uint32_t node_count, uint64_t seed)
{
	open_net(node_count, seed);
	run_for(5 * ROUND_US);
	assert_int_equal(init_cluster(0, 0, node_count), KVRING__V1__CODE__OK);
	run_for(ROUND_US / 8); /* pushed to all at once: no round has to pass */
	assert_true(all_have_epoch(1));
}

void tell(uint32_t to, struct gossip_row *rows, uint32_t count)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_BUS);

	message->gossip = rpc_arena_zalloc(arena, sizeof *message->gossip);
	message->gossip->from = rows[0].node_id;
	message->gossip->rows = rpc_arena_copy(arena, rows, count * sizeof *rows);
	message->gossip->row_count = count;
	rpc_arena_unref(arena);
	step(to, EVENT_MESSAGE, message);
}

const struct gossip_row *row_at(uint32_t node, uint64_t id)
{
	const struct gossip_row *rows;
	uint32_t count = gossip_rows(net->nodes[node].gossip, &rows);

	for (uint32_t i = 0; i < count; i++)
		if (rows[i].node_id == id)
			return &rows[i];
	return NULL;
}

/* ---- documents ---------------------------------------------------------------------------------------------- */

struct ring_document *claim_document(const struct ring_document *previous, uint32_t member_count, uint64_t cluster_id,
				     uint32_t partition_count)
{
	struct ring_member *members = calloc(member_count, sizeof *members);
	struct ring_datacenter dc = {.name = "dc1", .replica_count = 3};
	struct ring_plan plan = {.cluster_id = cluster_id,
				 .hash_seed = 9,
				 .partition_count = partition_count,
				 .datacenters = &dc,
				 .datacenter_count = 1,
				 .members = members,
				 .member_count = member_count};
	struct ring_document *document;
	struct ring_error error;

	fill_members(members, 0, member_count);
	for (uint32_t i = 0; i < member_count; i++)
		members[i].state = RING_MEMBER_ACTIVE;
	if (ring_claim(previous, &plan, &document, &error))
		fail_msg("%s", error.text);
	free(members);
	return document;
}

struct ring_document *next_document(const struct ring_document *previous, uint32_t member_count, uint64_t cluster_id)
{
	return claim_document(previous, member_count, cluster_id, 64);
}

void offer_from(uint64_t from, uint32_t to, const struct ring_document *document, uint64_t cluster_id)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_GOSSIP);
	uint8_t *bytes;
	size_t size;

	assert_int_equal(ring_document_encode(document, &bytes, &size), 0);
	message->gossip = rpc_arena_zalloc(arena, sizeof *message->gossip);
	message->gossip->from = from;
	message->gossip->cluster_id = cluster_id;
	message->gossip->document = (struct rpc_slice){rpc_arena_copy(arena, bytes, size), size};
	free(bytes);
	rpc_arena_unref(arena);
	step(to, EVENT_MESSAGE, message);
}

void offer(uint32_t to, const struct ring_document *document, uint64_t cluster_id)
{
	offer_from(12345, to, document, cluster_id);
}

int set_up(void **state)
{
	(void)state;
	ring_reader_register();
	return 0;
}

int tear_down(void **state)
{
	(void)state;
	ring_reader_unregister();
	return 0;
}
