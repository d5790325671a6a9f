/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip actors wired together by a small network in virtual time: messages are late, lost, or cut off by a partition.
 */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>
#include "node/membership/gossip.h"
#include "node/membership/gossip_table.h"
#include "proto/kv.pb-c.h"
#include "tests/sim/sim_fs.h"

enum { NODES_MAX = 100, ROUND_US = 200 * 1000, TIMEOUT_US = 2000 * 1000, FLIGHT_MAX = 65536 };

struct net_node {
	struct data_dir *data_dir;
	struct ring_table *ring;
	struct gossip *gossip;
	uint64_t timer_us;
	uint64_t paused_until_us;
	uint32_t side; /* of a partition */
	bool alive;
	uint32_t notes[NOTE_KIND_COUNT]; /* how many it left of each kind */
	uint64_t last_note_id;
	uint64_t bus[16]; /* its bus links, as told last */
	uint32_t bus_count, contact_count, contact_effects;
};

struct flight {
	uint64_t due_us;
	uint32_t to;
	struct message *message;
};

struct net {
	struct sim_fs *disk;
	struct prng prng;
	uint64_t now_us;
	uint32_t node_count, loss_percent;
	bool without_seeds, without_bus;
	struct net_node nodes[NODES_MAX];
	struct flight flights[FLIGHT_MAX];
	uint32_t flight_count;
	struct message *inited; /* the last answer to INIT_CLUSTER */
	uint64_t transcript;    /* hash of what was delivered, when */
	uint64_t watched_id;    /* how often its row was sent */
	uint32_t watched_rows;
};

static struct net *net;

static uint64_t id_of(uint32_t index)
{
	return (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint32_t index_of(uint64_t id)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (id_of(i) == id)
			return i;
	return NODES_MAX;
}

/* ---- the network -------------------------------------------------------------------------------------------- */

static void post(uint32_t from, uint32_t to, struct message *message)
{
	bool arrives = to < net->node_count && net->nodes[from].side == net->nodes[to].side &&
		       prng_below(&net->prng, 100) >= net->loss_percent;

	if (!arrives) {
		message_free(message);
		return;
	}
	assert_true(net->flight_count < FLIGHT_MAX);
	net->flights[net->flight_count++] =
		(struct flight){net->now_us + 200 + prng_below(&net->prng, 5000), to, message};
}

static bool has_link(uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < net->nodes[from].bus_count; i++)
		if (net->nodes[from].bus[i] == id_of(to))
			return true;
	return false;
}

static void broadcast(uint32_t from, struct message *message)
{
	for (uint32_t to = 0; to < net->node_count; to++) {
		struct arena *arena;
		struct message *copy;

		if (to == from || !net->nodes[to].alive || !(has_link(from, to) || has_link(to, from)))
			continue;
		arena = arena_create(512, SIZE_MAX);
		copy = message_create(arena, MESSAGE_BUS);
		copy->gossip = message->gossip;
		message_pin(copy, message->home);
		arena_unref(arena);
		post(from, to, copy);
	}
	message_free(message);
}

static void count_watched(const struct message *message)
{
	if (message->type != MESSAGE_BUS && message->type != MESSAGE_GOSSIP && message->type != MESSAGE_GOSSIPED)
		return;
	for (uint32_t i = 0; i < message->gossip->row_count; i++)
		net->watched_rows += message->gossip->rows[i].node_id == net->watched_id;
}

static void dispatch(uint32_t from, struct message *message)
{
	count_watched(message);
	if (message->type == MESSAGE_BUS && net->without_bus) {
		message_free(message);
	} else if (message->type == MESSAGE_BUS) {
		broadcast(from, message);
	} else if (message->type == MESSAGE_CLUSTER_INITED) {
		message_free(net->inited);
		net->inited = message;
	} else if (message->to.node_id == 0) {
		post(from, message->to.index - 1u, message); /* seed i is node i here */
	} else {
		post(from, index_of(message->to.node_id), message);
	}
}

/* Its notes, counted, and its contacts. */
static void hear(struct net_node *node, const struct effects *effects)
{
	for (const struct note *note = effects->first_note; note; note = note->next) {
		node->notes[note->kind]++;
		node->last_note_id = note->id;
	}
	if (!effects->contacts)
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

static void step(uint32_t index, enum event_type type, struct message *message)
{
	struct net_node *node = &net->nodes[index];
	struct event event = {.type = type, .now_us = net->now_us, .now_ms = net->now_us / 1000, .message = message};
	struct arena *arena = arena_create(1 << 14, SIZE_MAX);
	struct effects effects;
	uint64_t trace[4] = {net->transcript, net->now_us, index, (uint64_t)type << 32 | (message ? message->type : 0)};

	net->transcript = XXH3_64bits(trace, sizeof(trace));
	effects_init(&effects, arena);
	gossip_step(node->gossip, &event, &effects);
	node->timer_us = effects.timer_us;
	hear(node, &effects);
	for (struct message *sent; (sent = message_list_take(&effects.messages)) != NULL;) {
		dispatch(index, sent);
	}
	arena_unref(arena);
}

static void deliver(uint32_t flight)
{
	struct flight taken = net->flights[flight];

	net->flights[flight] = net->flights[--net->flight_count];
	if (net->nodes[taken.to].alive)
		step(taken.to, EVENT_MESSAGE, taken.message);
	else
		message_free(taken.message);
}

/* When node's mailbox is open and its timers run. */
static uint64_t awake(uint32_t node, uint64_t due_us)
{
	return due_us > net->nodes[node].paused_until_us ? due_us : net->nodes[node].paused_until_us;
}

/* The next thing that happens, not after until_us. Messages before timers, as the driver has it. */
static bool advance(uint64_t until_us)
{
	uint64_t due = UINT64_MAX;
	int flight = -1, timer = -1;

	for (uint32_t i = 0; i < net->flight_count; i++) {
		uint64_t at = awake(net->flights[i].to, net->flights[i].due_us);

		if (at < due) {
			due = at;
			flight = (int)i;
		}
	}
	for (uint32_t i = 0; i < net->node_count; i++) {
		uint64_t at = net->nodes[i].alive ? awake(i, net->nodes[i].timer_us) : UINT64_MAX;

		if (at < due) {
			due = at;
			timer = (int)i;
		}
	}
	if (due > until_us) {
		net->now_us = until_us;
		return false;
	}
	net->now_us = due > net->now_us ? due : net->now_us;
	if (timer >= 0)
		step((uint32_t)timer, EVENT_TIMER, NULL);
	else
		deliver((uint32_t)flight);
	return true;
}

static void run_for(uint64_t us)
{
	uint64_t until = net->now_us + us;

	while (advance(until)) {
	}
}

/* ---- nodes -------------------------------------------------------------------------------------------------- */

static void fill_row(uint32_t index, struct gossip_row *row)
{
	*row = (struct gossip_row){.node_id = id_of(index), .incarnation = 1, .weight = 100, .shard_count = 2};
	snprintf(row->name, sizeof(row->name), "n%u", index);
	snprintf(row->client_address, sizeof(row->client_address), "10.0.0.%u:1", index);
	snprintf(row->peer_address, sizeof(row->peer_address), "10.0.0.%u:2", index);
	snprintf(row->bus_address, sizeof(row->bus_address), "10.0.0.%u:3", index);
	strcpy(row->datacenter, "dc1");
	snprintf(row->rack, sizeof(row->rack), "r%u", index % 3);
}

static void open_home(uint32_t index)
{
	struct rpc_error error;
	char directory[32];

	snprintf(directory, sizeof(directory), "/n%u", index);
	if (data_dir_open(sim_fs_table(net->disk), directory, id_of(index), &net->nodes[index].data_dir, &error))
		fail_msg("%s", error.text);
}

static void start_node(uint32_t index)
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
	if (gossip_create(&options, &node->gossip, &error))
		fail_msg("%s", error.text);
	node->alive = true;
	step(index, EVENT_START, NULL);
}

static void stop_node(uint32_t index)
{
	struct net_node *node = &net->nodes[index];

	gossip_destroy(&node->gossip);
	ring_table_destroy(&node->ring);
	data_dir_close(&node->data_dir);
	node->alive = false;
	node->timer_us = UINT64_MAX;
}

static bool without_seeds;

static void open_net(uint32_t node_count, uint64_t seed)
{
	net = calloc(1, sizeof(*net));
	assert_non_null(net);
	sim_fs_create(seed, &net->disk);
	prng_seed(&net->prng, seed);
	net->now_us = 1000000;
	net->node_count = node_count;
	net->without_seeds = without_seeds;
	for (uint32_t i = 0; i < node_count; i++)
		start_node(i);
}

static void close_net(void)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (net->nodes[i].alive)
			stop_node(i);
	while (net->flight_count > 0)
		message_free(net->flights[--net->flight_count].message);
	message_free(net->inited);
	assert_int_equal(sim_fs_open_files(net->disk), 0);
	sim_fs_destroy(&net->disk);
	free(net);
	net = NULL;
}

/* ---- asking and looking ------------------------------------------------------------------------------------- */

static void fill_members(struct ring_member *members, uint32_t first, uint32_t count)
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

static uint32_t init_with(uint32_t node, const struct ring_member *members, uint32_t count)
{
	struct arena *arena = arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_INIT_CLUSTER);

	message->init_cluster.members = arena_copy(arena, members, count * sizeof(*members));
	message->init_cluster.member_count = count;
	message->init_cluster.partition_count = 64;
	arena_unref(arena);
	message_free(net->inited);
	net->inited = NULL;
	step(node, EVENT_MESSAGE, message);
	assert_non_null(net->inited);
	return net->inited->cluster_inited.code;
}

static uint32_t init_cluster(uint32_t node, uint32_t first, uint32_t count)
{
	struct ring_member *members = calloc(count, sizeof(*members));
	uint32_t code;

	fill_members(members, first, count);
	code = init_with(node, members, count);
	free(members);
	return code;
}

struct glance {
	uint64_t cluster_id, epoch, hash;
	uint32_t up, unreachable;
	int self;
};

static struct glance look(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	struct glance glance = {.self = view->self};

	if (view->document) {
		glance.cluster_id = ring_cluster_id(view->document);
		glance.epoch = ring_epoch(view->document);
		glance.hash = ring_hash(view->document);
		for (uint32_t i = 0; i < ring_member_count(view->document); i++) {
			glance.up += view->status[i].reachability == RING_UP;
			glance.unreachable += view->status[i].reachability == RING_UNREACHABLE;
		}
	}
	ring_view_release(net->nodes[node].ring, view);
	return glance;
}

static enum ring_reachability sees(uint32_t node, uint32_t other)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	enum ring_reachability reachability = view->status[ring_member_find(view->document, id_of(other))].reachability;

	ring_view_release(net->nodes[node].ring, view);
	return reachability;
}

static bool all_have_epoch(uint64_t epoch)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (net->nodes[i].alive && look(i).epoch != epoch)
			return false;
	return true;
}

static bool all_see(uint32_t other, enum ring_reachability reachability)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		if (net->nodes[i].alive && i != other && sees(i, other) != reachability)
			return false;
	return true;
}

/* Rounds until the condition holds; fails after max. */
#define ROUNDS_UNTIL(condition, max)                                                                                   \
	({                                                                                                             \
		uint32_t rounds_ = 0;                                                                                  \
		while (!(condition)) {                                                                                 \
			if (++rounds_ > (max))                                                                         \
				fail_msg("not within %d rounds: %s", (max), #condition);                               \
			run_for(ROUND_US);                                                                             \
		}                                                                                                      \
		rounds_;                                                                                               \
	})

static void open_cluster(uint32_t node_count, uint64_t seed)
{
	open_net(node_count, seed);
	run_for(5 * ROUND_US);
	assert_int_equal(init_cluster(0, 0, node_count), KVRING__V1__CODE__OK);
	run_for(ROUND_US / 8); /* pushed to all at once: no round has to pass */
	assert_true(all_have_epoch(1));
}

/* ---- forming a cluster -------------------------------------------------------------------------------------- */

static void test_nothing_is_published_before_there_is_a_cluster(void **state)
{
	(void)state;
	open_net(3, 1);
	run_for(20 * ROUND_US);
	for (uint32_t i = 0; i < 3; i++) {
		const struct gossip_row *rows;

		assert_int_equal(look(i).epoch, 0);
		assert_int_equal(gossip_rows(net->nodes[i].gossip, &rows), 2); /* found each other through the seed */
	}
	close_net();
}

static void test_init_forms_the_cluster(void **state)
{
	struct glance first;

	(void)state;
	open_cluster(3, 2);
	first = look(0);
	assert_int_not_equal(first.cluster_id, 0);
	assert_true(net->inited->cluster_inited.cluster_id == first.cluster_id);
	assert_int_equal(net->inited->cluster_inited.epoch, 1);
	for (uint32_t i = 0; i < 3; i++) {
		struct glance glance = look(i);

		assert_true(glance.cluster_id == first.cluster_id && glance.hash == first.hash);
		assert_int_equal(glance.up, 3);
		assert_true(glance.self >= 0);
		assert_true(data_dir_cluster_id(net->nodes[i].data_dir) == first.cluster_id);
	}
	close_net();
}

static void test_the_initiator_without_seeds_reaches_nodes_it_never_heard(void **state)
{
	(void)state;
	open_net(5, 3);
	assert_int_equal(init_cluster(4, 0, 5), KVRING__V1__CODE__OK); /* before the first answer came */
	ROUNDS_UNTIL(all_have_epoch(1), 20);
	close_net();
}

/* Nobody knows anybody, and the first push is lost: the initiator goes on pushing to those that it was told of. */
static void test_init_without_any_seed(void **state)
{
	(void)state;
	without_seeds = true;
	open_net(5, 6);
	without_seeds = false;
	net->loss_percent = 100;
	assert_int_equal(init_cluster(2, 0, 5), KVRING__V1__CODE__OK);
	run_for(2 * ROUND_US);
	net->loss_percent = 0;
	assert_false(all_have_epoch(1));
	ROUNDS_UNTIL(all_have_epoch(1), 8);
	close_net();
}

static void test_a_second_init_is_refused_with_the_cluster_id(void **state)
{
	char id[32];

	(void)state;
	open_cluster(3, 4);
	snprintf(id, sizeof(id), "%016lx", (unsigned long)look(0).cluster_id);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(init_cluster(i, 0, 3), KVRING__V1__CODE__FAILED_PRECONDITION);
		assert_non_null(strstr(net->inited->cluster_inited.text, id));
	}
	assert_int_equal(look(0).epoch, 1);
	close_net();
}

static void assert_init_refused(const struct ring_member *members, uint32_t count, const char *says)
{
	assert_int_equal(init_with(0, members, count), KVRING__V1__CODE__INVALID_ARGUMENT);
	if (!strstr(net->inited->cluster_inited.text, says))
		fail_msg("\"%s\" does not say \"%s\"", net->inited->cluster_inited.text, says);
	assert_int_equal(look(0).epoch, 0);
	assert_int_equal(data_dir_cluster_id(net->nodes[0].data_dir), 0);
}

static void test_init_names_what_is_wrong(void **state)
{
	struct ring_member members[3];

	(void)state;
	open_net(1, 5);
	fill_members(members, 0, 3);
	assert_init_refused(members, 0, "0 members");
	assert_init_refused(members + 1, 2, "lack this node (n0)");
	members[2].id = members[1].id;
	assert_init_refused(members, 3, "have the same id");
	fill_members(members, 0, 3);
	strcpy(members[2].name, "n1");
	assert_init_refused(members, 3, "named n1");
	fill_members(members, 0, 3);
	members[1].peer_address[0] = 0;
	assert_init_refused(members, 3, "member 1 (n1)");
	strcpy(members[1].peer_address, "nonsense");
	assert_init_refused(members, 3, "member 1 (n1): address \"nonsense\" has no port");
	strcpy(members[1].peer_address, members[2].peer_address);
	assert_init_refused(members, 3, "the same peer address 10.0.0.2:2");
	close_net();
}

/* ---- convergence -------------------------------------------------------------------------------------------- */

static void test_news_reaches_many_nodes_under_loss(void **state)
{
	static const uint32_t sizes[] = {10, 30, 100};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		uint32_t rounds;

		open_net(sizes[i], 10 + i);
		net->loss_percent = 10;
		run_for(5 * ROUND_US);
		assert_int_equal(init_cluster(0, 0, sizes[i]), KVRING__V1__CODE__OK);
		rounds = ROUNDS_UNTIL(all_have_epoch(1), 12);
		run_for(15 * ROUND_US);
		for (uint32_t n = 0; n < sizes[i]; n++)
			assert_int_equal(look(n).up, sizes[i]);
		print_message("%u nodes, 10 %% loss: the document is everywhere after %u rounds\n", sizes[i], rounds);
		close_net();
	}
}

static void test_a_dead_member_is_unreachable_after_the_timeout_and_up_after_its_restart(void **state)
{
	(void)state;
	open_cluster(10, 20);
	run_for(10 * ROUND_US);
	stop_node(3);
	run_for(TIMEOUT_US - 3 * ROUND_US);
	assert_true(all_see(3, RING_UP));
	ROUNDS_UNTIL(all_see(3, RING_UNREACHABLE), 8);
	start_node(3);
	assert_int_equal(look(3).epoch, 1); /* from its own disk, at once */
	ROUNDS_UNTIL(all_see(3, RING_UP), 4);
	assert_int_equal(look(0).unreachable, 0);
	close_net();
}

static void tell(uint32_t to, struct gossip_row *rows, uint32_t count);
static const struct gossip_row *row_at(uint32_t node, uint64_t id);

static bool is_displaced(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	bool displaced = view->status[view->self].displaced;

	ring_view_release(net->nodes[node].ring, view);
	return displaced;
}

static uint64_t heard_us(uint32_t node, uint32_t as_seen_by)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[as_seen_by].ring);
	uint64_t heard = view->status[ring_member_find(view->document, id_of(node))].heard_us;

	ring_view_release(net->nodes[as_seen_by].ring, view);
	return heard;
}

static void test_members_are_unknown_until_their_first_heartbeat(void **state)
{
	(void)state;
	open_cluster(3, 21);
	for (uint32_t i = 0; i < 3; i++)
		stop_node(i);
	start_node(0);
	run_for(ROUND_US);
	assert_int_equal(look(0).up, 1); /* itself */
	assert_int_equal(sees(0, 1), RING_UNKNOWN);
	assert_int_equal(heard_us(1, 0), 0);
	start_node(1);
	ROUNDS_UNTIL(sees(0, 1) == RING_UP, 4);
	assert_int_not_equal(heard_us(1, 0), 0);
	ROUNDS_UNTIL(sees(0, 2) == RING_UNREACHABLE, 12);
	assert_int_equal(heard_us(2, 0), 0); /* never */
	close_net();
}

/* The others keep the row of one that died: that it is passed on says nothing of its life. */
static void test_a_row_that_others_keep_makes_no_member_up(void **state)
{
	(void)state;
	open_cluster(4, 22);
	run_for(10 * ROUND_US);
	stop_node(3);
	stop_node(0);
	start_node(0);
	for (uint32_t round = 0; round < 20; round++) {
		run_for(ROUND_US);
		assert_int_not_equal(sees(0, 3), RING_UP);
	}
	assert_int_equal(look(0).up, 3);
	close_net();
}

static uint64_t heartbeat_of(uint32_t node, uint32_t as_seen_by)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[as_seen_by].ring);
	uint64_t heartbeat = view->status[ring_member_find(view->document, id_of(node))].heartbeat;

	ring_view_release(net->nodes[as_seen_by].ring, view);
	return heartbeat;
}

static void test_push_pull_alone_carries_the_news(void **state)
{
	(void)state;
	open_cluster(8, 24);
	net->without_bus = true;
	run_for(100 * ROUND_US);
	for (uint32_t i = 0; i < 8; i++)
		for (uint32_t j = 0; j < 8; j++)
			assert_in_range(heartbeat_of(j, i), heartbeat_of(j, j) - 25, heartbeat_of(j, j));
	close_net();
}

static void set_sides(uint32_t boundary)
{
	for (uint32_t i = 0; i < net->node_count; i++)
		net->nodes[i].side = i >= boundary;
}

static void test_halves_part_and_join(void **state)
{
	(void)state;
	open_cluster(12, 21);
	run_for(10 * ROUND_US);
	set_sides(5);
	run_for(TIMEOUT_US + 5 * ROUND_US);
	assert_int_equal(look(0).unreachable, 7);
	assert_int_equal(look(11).unreachable, 5);
	set_sides(12);
	ROUNDS_UNTIL(look(0).unreachable == 0 && look(11).unreachable == 0, 8);
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(look(i).unreachable, 0);
	close_net();
}

/* Lifeguard: it was this node that stood still. Its own timers are late, its mailbox is full of old news. */
static void test_a_paused_node_does_not_blame_the_others(void **state)
{
	(void)state;
	open_cluster(8, 22);
	run_for(10 * ROUND_US);
	/* What is sent to it meanwhile is lost with its connections: the hardest case. */
	net->nodes[2].side = 1;
	net->nodes[2].paused_until_us = net->now_us + 5 * TIMEOUT_US;
	run_for(5 * TIMEOUT_US - 1);
	assert_true(all_see(2, RING_UNREACHABLE));
	net->nodes[2].side = 0;
	for (uint64_t until = net->now_us + 20 * ROUND_US; advance(until);)
		assert_int_equal(look(2).unreachable, 0); /* not for a moment */
	assert_true(all_see(2, RING_UP));
	close_net();
}

/* A copy of a directory in use is started elsewhere: the original goes on, the copy stops serving, and nobody shouts for ever. */
static void test_of_two_processes_with_one_id_one_stops(void **state)
{
	struct gossip_row twin;
	uint64_t impostors;

	(void)state;
	open_cluster(4, 23);
	run_for(10 * ROUND_US);
	fill_row(2, &twin);
	twin.boot = 2; /* it was started once more */
	twin.life = 77;
	for (uint32_t round = 0; round < 30; round++) {
		run_for(ROUND_US);
		twin.heartbeat++;
		twin.incarnation = row_at(1, twin.node_id)->incarnation + (row_at(1, twin.node_id)->life != 77);
		tell(1, &twin, 1);
	}
	assert_int_equal(gossip_counters(net->nodes[2].gossip)->displaced, 1);
	assert_true(is_displaced(2));
	assert_false(is_displaced(1));
	assert_int_equal(row_at(1, twin.node_id)->life, 77); /* the others believe the other one */
	impostors = gossip_counters(net->nodes[2].gossip)->impostors;
	for (uint32_t round = 0; round < 30; round++) {
		run_for(ROUND_US);
		twin.heartbeat++;
		tell(1, &twin, 1);
	}
	assert_int_equal(gossip_counters(net->nodes[2].gossip)->impostors, impostors);
	close_net();
}

/* The copy has the older directory: it is the one to stop. */
static void test_the_process_that_lived_on_goes_on(void **state)
{
	struct gossip_row twin;

	(void)state;
	open_cluster(4, 24);
	run_for(10 * ROUND_US);
	fill_row(2, &twin);
	twin.boot = 0;
	twin.life = 77;
	for (uint32_t round = 0; round < 40; round++) {
		run_for(ROUND_US);
		twin.heartbeat++;
		twin.incarnation = row_at(1, twin.node_id)->incarnation + (row_at(1, twin.node_id)->life != 77);
		tell(1, &twin, 1);
	}
	assert_false(is_displaced(2));
	ROUNDS_UNTIL(row_at(1, twin.node_id)->life != 77, 4); /* the copy has stopped by itself: it hears, too */
	close_net();
}

static void test_a_restored_directory_is_heard_again(void **state)
{
	const uint8_t *bytes;
	uint8_t *old;
	uint64_t size;

	(void)state;
	open_cluster(5, 23);
	assert_int_equal(sim_fs_look(net->disk, "/n4/node", &bytes, &size), 0);
	old = malloc(size);
	memcpy(old, bytes, size);
	for (int i = 0; i < 5; i++) { /* its incarnation rises */
		stop_node(4);
		start_node(4);
		run_for(4 * ROUND_US);
		assert_int_equal(gossip_counters(net->nodes[4].gossip)->went_back, 0);
	}
	stop_node(4);
	sim_fs_put_file(net->disk, "/n4/node", old, size);
	free(old);
	run_for(TIMEOUT_US + 4 * ROUND_US);
	assert_true(all_see(4, RING_UNREACHABLE));
	start_node(4);
	ROUNDS_UNTIL(all_see(4, RING_UP), 6);
	assert_in_range(gossip_counters(net->nodes[4].gossip)->impostors, 1, 100);
	assert_in_range(gossip_counters(net->nodes[4].gossip)->went_back, 1, 100);
	assert_int_equal(gossip_counters(net->nodes[4].gossip)->displaced, 0); /* what it was before lives no more */
	close_net();
}

/* ---- a store that went back in time ------------------------------------------------------------------------- */

struct kept_file {
	uint8_t *bytes;
	uint64_t size;
};

static struct kept_file keep_identity(const char *path)
{
	const uint8_t *bytes;
	struct kept_file kept;

	assert_int_equal(sim_fs_look(net->disk, path, &bytes, &kept.size), 0);
	kept.bytes = malloc(kept.size);
	memcpy(kept.bytes, bytes, kept.size);
	return kept;
}

static void put_back(const char *path, struct kept_file kept)
{
	sim_fs_put_file(net->disk, path, kept.bytes, kept.size);
	free(kept.bytes);
}

static bool is_unproven(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	bool unproven = view->status[view->self].unproven;

	ring_view_release(net->nodes[node].ring, view);
	return unproven;
}

static bool is_receiving(uint32_t node, uint32_t as_seen_by)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[as_seen_by].ring);
	bool receiving = view->status[ring_member_find(view->document, id_of(node))].receiving;

	ring_view_release(net->nodes[as_seen_by].ring, view);
	return receiving;
}

static void restart(uint32_t node)
{
	stop_node(node);
	start_node(node);
}

static void test_a_start_is_proven_when_a_majority_keeps_it(void **state)
{
	(void)state;
	open_cluster(3, 31);
	for (uint32_t i = 0; i < 3; i++)
		ROUNDS_UNTIL(!is_unproven(i), 3);
	set_sides(2); /* n2 is alone */
	restart(2);
	run_for(10 * ROUND_US);
	assert_true(is_unproven(2));
	restart(1); /* itself and n0 are two of three */
	assert_true(is_unproven(1));
	run_for(2 * ROUND_US);
	assert_false(is_unproven(1));
	set_sides(3);
	run_for(2 * ROUND_US);
	assert_false(is_unproven(2));
	for (uint32_t i = 0; i < 3; i++)
		assert_false(is_receiving(i, i));
	close_net();
}

static void test_a_cluster_of_one_proves_itself(void **state)
{
	(void)state;
	open_cluster(1, 32);
	assert_false(is_unproven(0));
	restart(0);
	assert_false(is_unproven(0));
	close_net();
}

/* The others remember over their own restarts; the node remembers that it was told over its own. */
static void test_a_restored_directory_is_receiving_until_it_is_accepted(void **state)
{
	struct kept_file kept;

	(void)state;
	open_cluster(3, 33);
	kept = keep_identity("/n2/node");
	restart(2);
	run_for(10 * ROUND_US);
	assert_false(is_unproven(2));
	for (uint32_t i = 0; i < 3; i++)
		stop_node(i);
	put_back("/n2/node", kept);
	start_node(2); /* the same number, another process */
	assert_true(is_unproven(2));
	run_for(5 * ROUND_US);
	assert_true(is_unproven(2)); /* nobody is there to ask */
	assert_false(is_receiving(2, 2));
	start_node(0);
	ROUNDS_UNTIL(is_receiving(2, 2), 3);
	assert_true(is_unproven(2));
	assert_int_equal(net->nodes[2].notes[NOTE_WENT_BACK], 1);
	start_node(1);
	ROUNDS_UNTIL(is_receiving(2, 1) && is_receiving(2, 0), 8);
	for (int i = 0; i < 3; i++) {
		restart(2);
		run_for(10 * ROUND_US);
		assert_true(is_unproven(2));
		assert_int_equal(gossip_counters(net->nodes[2].gossip)->went_back, 0); /* told once */
	}
	stop_node(2);
	struct rpc_error error;
	open_home(2);
	assert_int_equal(data_dir_accept_restored(net->nodes[2].data_dir, &error), 0);
	data_dir_close(&net->nodes[2].data_dir);
	start_node(2);
	ROUNDS_UNTIL(!is_unproven(2), 3);
	ROUNDS_UNTIL(!is_receiving(2, 0) && !is_receiving(2, 1), 8);
	close_net();
}

/* One of many remembers, and the majority that kept this start did not: it is told late, but it is told. */
static void test_whoever_remembers_tells(void **state)
{
	struct kept_file kept;

	(void)state;
	open_cluster(5, 34);
	kept = keep_identity("/n4/node");
	for (uint32_t i = 1; i < 4; i++)
		net->nodes[i].side = 1;
	restart(4); /* n0 alone hears of this start */
	run_for(10 * ROUND_US);
	stop_node(4);
	net->nodes[0].side = 2;
	for (uint32_t i = 1; i < 4; i++)
		net->nodes[i].side = 0;
	put_back("/n4/node", kept);
	start_node(4);
	ROUNDS_UNTIL(!is_unproven(4), 3);
	net->nodes[0].side = 0;
	ROUNDS_UNTIL(is_unproven(4) && is_receiving(4, 4), 60);
	close_net();
}

/* G7: what could not be kept is not confirmed. */
static int refuse_members(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	(void)arg, (void)index;
	return call == SIM_FS_CREATE && strstr(path, "/members") != NULL ? -EIO : 0;
}

static void test_a_start_that_is_not_kept_is_not_confirmed(void **state)
{
	(void)state;
	open_cluster(3, 35);
	sim_fs_set_hook(net->disk, refuse_members, NULL);
	restart(2);
	run_for(10 * ROUND_US);
	assert_true(is_unproven(2));
	assert_in_range(gossip_counters(net->nodes[0].gossip)->unkept, 1, 100);
	sim_fs_set_hook(net->disk, NULL, NULL);
	ROUNDS_UNTIL(!is_unproven(2), 3);
	close_net();
}

static void test_every_damaged_bit_of_what_is_kept_is_noticed(void **state)
{
	const uint8_t *bytes;
	uint64_t size;

	(void)state;
	open_cluster(3, 36);
	run_for(3 * ROUND_US);
	stop_node(0);
	assert_int_equal(sim_fs_look(net->disk, "/n0/members", &bytes, &size), 0);
	for (uint64_t at = 0; at < size; at++) {
		struct gossip_options options = {.seed = 1};
		struct rpc_error error;
		struct gossip *gossip;

		sim_fs_flip_bit(net->disk, "/n0/members", at, (uint32_t)at % 8);
		open_home(0);
		fill_row(0, &options.self);
		options.data_dir = net->nodes[0].data_dir;
		assert_int_equal(ring_table_create(id_of(0), &options.ring), 0);
		assert_int_equal(gossip_create(&options, &gossip, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "/n0/members: damaged"));
		ring_table_destroy(&options.ring);
		data_dir_close(&net->nodes[0].data_dir);
		sim_fs_flip_bit(net->disk, "/n0/members", at, (uint32_t)at % 8);
	}
	start_node(0);
	close_net();
}

/* ---- documents ---------------------------------------------------------------------------------------------- */

static struct ring_document *claim_document(const struct ring_document *previous, uint32_t member_count,
					    uint64_t cluster_id, uint32_t partition_count)
{
	struct ring_member *members = calloc(member_count, sizeof(*members));
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

static struct ring_document *next_document(const struct ring_document *previous, uint32_t member_count,
					   uint64_t cluster_id)
{
	return claim_document(previous, member_count, cluster_id, 64);
}

static void offer(uint32_t to, const struct ring_document *document, uint64_t cluster_id)
{
	struct arena *arena = arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_GOSSIP);
	uint8_t *bytes;
	size_t size;

	assert_int_equal(ring_document_encode(document, &bytes, &size), 0);
	message->gossip = arena_zalloc(arena, sizeof(*message->gossip));
	message->gossip->from = 12345;
	message->gossip->cluster_id = cluster_id;
	message->gossip->document = (struct rpc_slice){arena_copy(arena, bytes, size), size};
	free(bytes);
	arena_unref(arena);
	step(to, EVENT_MESSAGE, message);
}

static void test_epochs_only_rise(void **state)
{
	struct ring_document *one, *two, *three;

	(void)state;
	open_net(4, 30);
	one = next_document(NULL, 4, 77);
	two = next_document(one, 4, 77);
	three = next_document(two, 4, 77);
	offer(0, two, 77);
	assert_int_equal(look(0).epoch, 2);
	offer(0, one, 77); /* G2 */
	assert_int_equal(look(0).epoch, 2);
	ROUNDS_UNTIL(all_have_epoch(2), 10);
	stop_node(3); /* away while the epoch rises */
	offer(1, three, 77);
	ROUNDS_UNTIL(all_have_epoch(3), 10);
	start_node(3);
	assert_int_equal(look(3).epoch, 2);
	ROUNDS_UNTIL(all_have_epoch(3), 10);
	offer(3, two, 77);
	assert_int_equal(look(3).epoch, 3);
	ring_document_destroy(&one);
	ring_document_destroy(&two);
	ring_document_destroy(&three);
	close_net();
}

static void test_another_cluster_is_refused(void **state)
{
	struct ring_document *foreign;
	struct glance left, right;

	(void)state;
	open_net(6, 31);
	run_for(3 * ROUND_US); /* all know each other */
	assert_int_equal(init_cluster(0, 0, 3), KVRING__V1__CODE__OK);
	assert_int_equal(init_cluster(3, 3, 3), KVRING__V1__CODE__OK);
	ROUNDS_UNTIL(all_have_epoch(1), 10);
	run_for(20 * ROUND_US);
	left = look(0);
	right = look(5);
	assert_true(left.cluster_id != right.cluster_id);
	assert_int_equal(left.up, 3);
	assert_int_equal(right.up, 3);
	foreign = next_document(NULL, 6, right.cluster_id);
	offer(0, foreign, right.cluster_id);
	offer(0, foreign, left.cluster_id); /* lies about where it belongs */
	assert_true(look(0).cluster_id == left.cluster_id && look(0).hash == left.hash);
	assert_in_range(gossip_counters(net->nodes[0].gossip)->foreign, 2, UINT32_MAX);
	ring_document_destroy(&foreign);
	close_net();
}

static void test_a_ring_without_this_node_is_not_joined(void **state)
{
	(void)state;
	open_net(4, 32);
	run_for(3 * ROUND_US);
	assert_int_equal(init_cluster(0, 0, 3), KVRING__V1__CODE__OK);
	run_for(30 * ROUND_US);
	assert_int_equal(look(2).epoch, 1);
	assert_int_equal(look(3).epoch, 0);
	assert_int_equal(data_dir_cluster_id(net->nodes[3].data_dir), 0);
	close_net();
}

static void test_a_conflicting_document_is_refused_and_counted(void **state)
{
	struct ring_document *one, *a, *b;
	struct glance before;

	(void)state;
	open_net(4, 33);
	one = next_document(NULL, 4, 77);
	a = next_document(one, 4, 77);
	b = next_document(one, 3, 77);
	offer(0, a, 77);
	before = look(0);
	offer(0, b, 77);
	assert_true(look(0).hash == before.hash);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->conflicts, 1);
	ring_document_destroy(&one);
	ring_document_destroy(&a);
	ring_document_destroy(&b);
	close_net();
}

/* A newer epoch, the same cluster, but keys would be looked for elsewhere: no honest document. */
static void test_a_document_with_other_partitions_is_refused(void **state)
{
	struct ring_document *one, *other, *newer;

	(void)state;
	open_net(4, 34);
	one = next_document(NULL, 4, 77);
	other = claim_document(NULL, 4, 77, 128);
	newer = claim_document(other, 4, 77, 128);
	offer(0, one, 77);
	offer(0, newer, 77);
	assert_int_equal(look(0).epoch, 1);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->conflicts, 1);
	ring_document_destroy(&one);
	ring_document_destroy(&other);
	ring_document_destroy(&newer);
	close_net();
}

static void test_damaged_documents_are_counted(void **state)
{
	struct arena *arena = arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_GOSSIP);

	(void)state;
	open_net(1, 34);
	message->gossip = arena_zalloc(arena, sizeof(*message->gossip));
	message->gossip->document = slice("no document at all");
	arena_unref(arena);
	step(0, EVENT_MESSAGE, message);
	assert_int_equal(look(0).epoch, 0);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->malformed, 1);
	close_net();
}

/* G1, the disk fails at every operation: what is published is on stable storage, and an error is never a half cluster.
 */
static void test_published_means_durable(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t at = 0; fired; at++) {
		struct sim_crash crash = {SIM_DATA_DROP, SIM_NAMES_DROP, 0};
		struct glance before;
		uint32_t code;

		open_net(1, 35);
		sim_fs_reset_operations(net->disk);
		sim_fs_fail_at(net->disk, at, -EIO, false);
		code = init_cluster(0, 0, 1);
		fired = sim_fs_fired(net->disk);
		before = look(0);
		assert_int_equal(before.epoch, code == KVRING__V1__CODE__OK ? 1 : 0);
		assert_int_equal(code, fired ? KVRING__V1__CODE__INTERNAL : KVRING__V1__CODE__OK);
		sim_fs_fail_never(net->disk);
		sim_fs_crash(net->disk, &crash);
		stop_node(0);
		sim_fs_restart(net->disk);
		start_node(0);
		if (before.epoch > 0)
			assert_true(look(0).hash == before.hash);
		else if (look(0).epoch == 0) /* and can be tried again */
			assert_int_equal(init_cluster(0, 0, 1), KVRING__V1__CODE__OK);
		close_net();
	}
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

static void tell(uint32_t to, struct gossip_row *rows, uint32_t count)
{
	struct arena *arena = arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_BUS);

	message->gossip = arena_zalloc(arena, sizeof(*message->gossip));
	message->gossip->from = rows[0].node_id;
	message->gossip->rows = arena_copy(arena, rows, count * sizeof(*rows));
	message->gossip->row_count = count;
	arena_unref(arena);
	step(to, EVENT_MESSAGE, message);
}

static const struct gossip_row *row_at(uint32_t node, uint64_t id)
{
	const struct gossip_row *rows;
	uint32_t count = gossip_rows(net->nodes[node].gossip, &rows);

	for (uint32_t i = 0; i < count; i++)
		if (rows[i].node_id == id)
			return &rows[i];
	return NULL;
}

static void test_an_older_row_never_replaces_a_newer(void **state)
{
	struct gossip_row row;

	(void)state;
	open_net(1, 40);
	fill_row(50, &row);
	row.incarnation = 5;
	row.heartbeat = 100;
	tell(0, &row, 1);
	row.figures.keys = 7;
	tell(0, &row, 1); /* the same age */
	row.heartbeat = 99;
	tell(0, &row, 1);
	row.incarnation = 4;
	row.heartbeat = 1000;
	tell(0, &row, 1);
	assert_int_equal(row_at(0, row.node_id)->figures.keys, 0);
	assert_int_equal(row_at(0, row.node_id)->heartbeat, 100);
	row.incarnation = 6;
	row.heartbeat = 0;
	tell(0, &row, 1);
	assert_int_equal(row_at(0, row.node_id)->incarnation, 6);
	close_net();
}

static void test_malformed_rows_are_ignored(void **state)
{
	struct gossip_row rows[6];

	(void)state;
	open_net(1, 41);
	for (uint32_t i = 0; i < 6; i++)
		fill_row(50 + i, &rows[i]);
	rows[0].node_id = 0;
	memset(rows[1].name, 'x', sizeof(rows[1].name));
	rows[2].peer_address[0] = 0;
	rows[3].bus_address[0] = 0;
	rows[4].incarnation = 0;
	tell(0, rows, 6);
	for (uint32_t i = 0; i < 5; i++)
		assert_null(row_at(0, rows[i].node_id));
	assert_non_null(row_at(0, rows[5].node_id));
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->malformed, 5);
	close_net();
}

/* A row that claims the newest number there is would silence the member for ever. */
static void test_no_false_row_is_the_last_word(void **state)
{
	static const uint64_t false_numbers[] = {UINT64_MAX, UINT64_C(1) << 62, INT64_MAX, 5};
	struct gossip_row row;

	(void)state;
	open_cluster(4, 44);
	for (uint32_t i = 0; i < 4; i++) {
		row = *row_at(0, id_of(2));
		row.incarnation += false_numbers[i] / 2;
		row.heartbeat = false_numbers[i];
		strcpy(row.peer_address, "10.9.9.9:9");
		tell(0, &row, 1);
		run_for(TIMEOUT_US + 4 * ROUND_US);
		assert_true(all_see(2, RING_UP));
		assert_string_equal(row_at(0, id_of(2))->peer_address, "10.0.0.2:2");
	}
	assert_in_range(gossip_counters(net->nodes[2].gossip)->impostors, 4, 100);
	close_net();
}

static void test_strangers_cost_no_links_and_no_turns(void **state)
{
	const struct gossip_row *rows;

	(void)state;
	open_cluster(4, 45);
	for (uint32_t i = 0; i < 900; i++) {
		struct gossip_row row;

		fill_row(1000 + i, &row);
		tell(0, &row, 1);
	}
	run_for(4 * TIMEOUT_US);
	for (uint32_t i = 0, count = gossip_rows(net->nodes[0].gossip, &rows); i < count; i++)
		assert_int_equal(gossip_is_contact(net->nodes[0].gossip, i), index_of(rows[i].node_id) < 4);
	assert_int_equal(net->nodes[0].bus_count, 3);
	assert_int_equal(net->nodes[0].contact_count, 3);
	for (uint32_t i = 0; i < 4; i++)
		assert_true(all_see(i, RING_UP));
	close_net();
}

/* A node that never joined and is gone is told once as forgotten, and no row of it goes round any more, until it speaks. */
static void test_ghosts_are_forgotten(void **state)
{
	struct gossip_row ghost;

	(void)state;
	open_cluster(4, 47);
	fill_row(1000, &ghost);
	net->watched_id = ghost.node_id;
	tell(0, &ghost, 1);
	run_for(10 * ROUND_US);
	assert_in_range(net->watched_rows, 1, UINT32_MAX);
	run_for(UINT64_C(70) * 1000 * 1000);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(gossip_counters(net->nodes[i].gossip)->forgotten, 1);
	net->watched_rows = 0;
	run_for(UINT64_C(30) * 1000 * 1000);
	assert_int_equal(net->watched_rows, 0);
	tell(1, &ghost, 1); /* an old row: late, or of one that had not forgotten */
	run_for(10 * ROUND_US);
	assert_int_equal(net->watched_rows, 0);
	ghost.heartbeat++;
	tell(1, &ghost, 1);
	run_for(10 * ROUND_US);
	assert_in_range(net->watched_rows, 1, UINT32_MAX);
	close_net();
}

static void test_a_namesake_of_a_member_is_counted(void **state)
{
	struct gossip_row row;

	(void)state;
	open_cluster(3, 46);
	fill_row(2, &row);
	row.node_id = 4711; /* the member's directory was lost, and it came back as a new node */
	tell(0, &row, 1);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->namesakes, 1);
	close_net();
}

static void test_init_in_the_place_of_a_member_is_refused(void **state)
{
	struct gossip_row row;

	(void)state;
	open_net(2, 47);
	fill_row(1, &row);
	row.node_id = 4711;
	row.cluster_id = 77;
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 2), KVRING__V1__CODE__FAILED_PRECONDITION);
	assert_non_null(strstr(net->inited->cluster_inited.text, "data directory"));
	row.node_id = id_of(1); /* a node that is in a cluster, this time by its own id */
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 2), KVRING__V1__CODE__FAILED_PRECONDITION);
	row.node_id = 4712; /* and one whose last words were from before there was a cluster */
	row.cluster_id = 0;
	snprintf(row.peer_address, sizeof(row.peer_address), "10.0.0.0:2");
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 1), KVRING__V1__CODE__FAILED_PRECONDITION);
	assert_int_equal(look(0).epoch, 0);
	close_net();
}

static void test_a_place_whose_node_was_emptied_before_there_was_a_cluster_is_free(void **state)
{
	struct gossip_row row;

	(void)state;
	open_net(2, 48);
	fill_row(1, &row);
	row.node_id = 4711;
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 2), KVRING__V1__CODE__OK);
	close_net();
}

static void test_rows_are_bounded_and_members_keep_their_place(void **state)
{
	const struct gossip_row *rows;
	struct gossip_row row;

	(void)state;
	open_net(1, 42);
	for (uint32_t i = 0; i < 3000; i++) {
		fill_row(1000 + i, &row);
		tell(0, &row, 1);
	}
	assert_int_equal(gossip_rows(net->nodes[0].gossip, &rows), GOSSIP_ROWS_MAX);
	assert_in_range(gossip_counters(net->nodes[0].gossip)->overflows, 1900, 2000);
	assert_int_equal(init_cluster(0, 0, 5), KVRING__V1__CODE__OK);
	assert_int_equal(gossip_rows(net->nodes[0].gossip, &rows), GOSSIP_ROWS_MAX);
	for (uint32_t i = 1; i < 5; i++)
		assert_non_null(row_at(0, id_of(i)));
	close_net();
}

/* Each change of a member is told once, by each of the others. */
static void test_changes_of_members_are_told_once(void **state)
{
	struct net_node *first;

	(void)state;
	open_cluster(3, 46);
	first = &net->nodes[0];
	run_for(4 * TIMEOUT_US);
	assert_int_equal(first->notes[NOTE_JOINED], 1);
	assert_int_equal(first->notes[NOTE_RING_INSTALLED], 1);
	assert_int_equal(first->notes[NOTE_MEMBER_UP], 2);
	assert_int_equal(first->notes[NOTE_MEMBER_UNREACHABLE], 0);
	stop_node(2);
	run_for(4 * TIMEOUT_US);
	assert_int_equal(first->notes[NOTE_MEMBER_UNREACHABLE], 1);
	assert_int_equal(first->last_note_id, id_of(2));
	start_node(2);
	run_for(4 * TIMEOUT_US);
	assert_int_equal(first->notes[NOTE_MEMBER_RESTARTED], 1);
	assert_int_equal(first->notes[NOTE_MEMBER_UP], 2);
	assert_int_equal(first->notes[NOTE_MEMBER_UNREACHABLE], 1);
	assert_int_equal(net->nodes[2].notes[NOTE_JOINED], 1); /* of its first life; the second one knows */
	assert_int_equal(net->nodes[2].notes[NOTE_RING_INSTALLED], 2);
	close_net();
}

/* Contacts are an effect of change, not of time. */
static void test_contacts_are_told_when_they_change(void **state)
{
	uint32_t before;

	(void)state;
	open_cluster(3, 47);
	run_for(4 * TIMEOUT_US);
	assert_int_equal(net->nodes[0].contact_count, 2);
	assert_int_equal(net->nodes[0].bus_count, 2);
	before = net->nodes[0].contact_effects;
	run_for(200 * ROUND_US);
	assert_int_equal(net->nodes[0].contact_effects, before);
	close_net();
}

/* What strangers of another cluster say is counted in one note per step. */
static void test_refusals_are_told(void **state)
{
	struct gossip_row row;

	(void)state;
	open_cluster(3, 48);
	fill_row(1000, &row);
	row.cluster_id = 4711;
	tell(0, &row, 1);
	tell(0, &row, 1);
	run_for(ROUND_US);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->foreign, 2);
	assert_int_equal(net->nodes[0].notes[NOTE_FOREIGN], 2);
	close_net();
}

static void test_bus_links_are_few_and_distinct(void **state)
{
	(void)state;
	open_cluster(30, 43);
	run_for(100 * ROUND_US);
	for (uint32_t i = 0; i < 30; i++) {
		const uint64_t *ids = net->nodes[i].bus;

		assert_int_equal(net->nodes[i].bus_count, 5);
		for (uint32_t a = 0; a < 5; a++) {
			assert_true(ids[a] != id_of(i));
			for (uint32_t b = 0; b < a; b++)
				assert_true(ids[a] != ids[b]);
		}
	}
	close_net();
}

static uint64_t transcript_of(uint64_t seed)
{
	uint64_t transcript;

	open_net(9, seed);
	net->loss_percent = 20;
	run_for(5 * ROUND_US);
	(void)init_cluster(0, 0, 9);
	run_for(40 * ROUND_US);
	transcript = net->transcript;
	close_net();
	return transcript;
}

static void test_the_same_seed_is_the_same_run(void **state)
{
	(void)state;
	assert_true(transcript_of(50) == transcript_of(50));
	assert_true(transcript_of(50) != transcript_of(51));
}

static int set_up(void **state)
{
	(void)state;
	ring_reader_register();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ring_reader_unregister();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_start_is_proven_when_a_majority_keeps_it),
		cmocka_unit_test(test_a_cluster_of_one_proves_itself),
		cmocka_unit_test(test_a_restored_directory_is_receiving_until_it_is_accepted),
		cmocka_unit_test(test_whoever_remembers_tells),
		cmocka_unit_test(test_a_start_that_is_not_kept_is_not_confirmed),
		cmocka_unit_test(test_every_damaged_bit_of_what_is_kept_is_noticed),
		cmocka_unit_test(test_nothing_is_published_before_there_is_a_cluster),
		cmocka_unit_test(test_init_forms_the_cluster),
		cmocka_unit_test(test_the_initiator_without_seeds_reaches_nodes_it_never_heard),
		cmocka_unit_test(test_init_without_any_seed),
		cmocka_unit_test(test_a_second_init_is_refused_with_the_cluster_id),
		cmocka_unit_test(test_init_names_what_is_wrong),
		cmocka_unit_test(test_news_reaches_many_nodes_under_loss),
		cmocka_unit_test(test_a_dead_member_is_unreachable_after_the_timeout_and_up_after_its_restart),
		cmocka_unit_test(test_push_pull_alone_carries_the_news),
		cmocka_unit_test(test_halves_part_and_join),
		cmocka_unit_test(test_a_paused_node_does_not_blame_the_others),
		cmocka_unit_test(test_a_restored_directory_is_heard_again),
		cmocka_unit_test(test_epochs_only_rise),
		cmocka_unit_test(test_another_cluster_is_refused),
		cmocka_unit_test(test_a_ring_without_this_node_is_not_joined),
		cmocka_unit_test(test_a_conflicting_document_is_refused_and_counted),
		cmocka_unit_test(test_a_document_with_other_partitions_is_refused),
		cmocka_unit_test(test_damaged_documents_are_counted),
		cmocka_unit_test(test_published_means_durable),
		cmocka_unit_test(test_an_older_row_never_replaces_a_newer),
		cmocka_unit_test(test_malformed_rows_are_ignored),
		cmocka_unit_test(test_init_in_the_place_of_a_member_is_refused),
		cmocka_unit_test(test_a_place_whose_node_was_emptied_before_there_was_a_cluster_is_free),
		cmocka_unit_test(test_ghosts_are_forgotten),
		cmocka_unit_test(test_of_two_processes_with_one_id_one_stops),
		cmocka_unit_test(test_the_process_that_lived_on_goes_on),
		cmocka_unit_test(test_members_are_unknown_until_their_first_heartbeat),
		cmocka_unit_test(test_a_row_that_others_keep_makes_no_member_up),
		cmocka_unit_test(test_a_namesake_of_a_member_is_counted),
		cmocka_unit_test(test_strangers_cost_no_links_and_no_turns),
		cmocka_unit_test(test_no_false_row_is_the_last_word),
		cmocka_unit_test(test_rows_are_bounded_and_members_keep_their_place),
		cmocka_unit_test(test_bus_links_are_few_and_distinct),
		cmocka_unit_test(test_changes_of_members_are_told_once),
		cmocka_unit_test(test_contacts_are_told_when_they_change),
		cmocka_unit_test(test_refusals_are_told),
		cmocka_unit_test(test_the_same_seed_is_the_same_run),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
