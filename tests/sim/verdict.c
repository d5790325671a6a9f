/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/key.h"
#include "node/object/object.h"
#include "tests/sim/world.h"

enum {
	FORM_LIMIT_US = 60 * 1000 * 1000,
	FORM_RETRY_US = 2 * 1000 * 1000,
	SETTLE_LIMIT_US = 60 * 1000 * 1000,
	AUDIT_LIMIT_US = 60 * 1000 * 1000,
	AUDIT_ROUNDS = 8,
	AUDIT_PAUSE_US = 1000 * 1000,    /* before each round: repairs and background jobs take time */
	STRAGGLERS_US = 6 * 1000 * 1000, /* slow requests and answers of the time of faults are in by then */
};

/* ---- forming ---- */

static bool has_document(struct machine *machine)
{
	const struct ring_view *view;

	if (machine->node == NULL)
		return false;
	view = ring_view_acquire(machine->node->ring);
	bool has = view->document != NULL && view->self >= 0;
	ring_view_release(machine->node->ring, view);
	return has;
}

static bool all_have_document(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.members; i++)
		if (!has_document(&world->machines[i]))
			return false;
	return true;
}

static void fill_member(const struct machine *machine, struct ring_member *member)
{
	member->id = machine->id;
	snprintf(member->name, sizeof member->name, "%s", machine->name);
	snprintf(member->client_address, sizeof member->client_address, "%s", machine->address);
	snprintf(member->peer_address, sizeof member->peer_address, "%s", machine->address);
	snprintf(member->bus_address, sizeof member->bus_address, "%s", machine->address);
	snprintf(member->datacenter, sizeof member->datacenter, "dc1");
	snprintf(member->rack, sizeof member->rack, "%s", machine->name);
	member->weight = RING_WEIGHT_DEFAULT;
	member->state = RING_MEMBER_ACTIVE;
}

/* An operator asks the first machine to make the first document; again when nothing comes back. */
static void ask_to_form(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = &world->machines[0];
	struct arena *arena = rpc_arena_create(65536, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_INIT_CLUSTER);
	struct ring_member *members = rpc_arena_zalloc(arena, world->settings.members * sizeof *members);

	(void)arg;
	(void)number;
	for (uint32_t i = 0; i < world->settings.members; i++)
		fill_member(&world->machines[i], &members[i]);
	message->init_cluster.members = members;
	message->init_cluster.member_count = world->settings.members;
	message->init_cluster.partition_count = world->settings.partitions;
	message->init_cluster.replica_count = world->settings.replicas;
	message->to = (struct address){machine->id, ACTOR_GOSSIP, 0};
	message->deadline_us = machine_now_us(machine) + FORM_RETRY_US;
	message->call = world; /* an operator's */
	rpc_arena_unref(arena);
	if (machine->node != NULL && !world->inited) {
		machine_post(machine, message, 1);
		schedule_in(&world->schedule, FORM_RETRY_US, ask_to_form, NULL, 0, NULL);
	} else {
		message_free(message);
	}
}

void verdict_cluster_inited(struct world *world, const struct message *message)
{
	if (message->cluster_inited.code)
		world_break(world, ORACLE_NONE, "the cluster cannot be formed: %s",
			    message->cluster_inited.text != NULL ? message->cluster_inited.text : "no reason given");
	world->inited = true;
}

void verdict_form(struct world *world)
{
	ask_to_form(world, NULL, 0);
	if (!world_run_until(world, all_have_document, FORM_LIMIT_US))
		world_break(world, ORACLE_NONE, "the cluster has not formed after %d s of calm",
			    FORM_LIMIT_US / 1000000);
}

/* ---- settling ---- */

/* One that has the last ring, as all members do in the end. */
static struct machine *last_member(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		if (change_is_member(world, &world->machines[i]) &&
		    change_epoch(&world->machines[i]) == world->last_epoch)
			return &world->machines[i];
	return NULL;
}

/* Machines that are no members are none of its business. */
static bool sees_all_up(const struct machine *machine)
{
	const struct ring_view *view;
	bool up = true;

	if (machine->node == NULL)
		return false;
	view = ring_view_acquire(machine->node->ring);
	for (uint32_t i = 0; view->document != NULL && up && i < ring_member_count(view->document); i++)
		up = (int)i == view->self || view->status[i].reachability == RING_UP;
	ring_view_release(machine->node->ring, view);
	return up;
}

static bool all_see_all_up(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		if (change_is_member(world, &world->machines[i]) && !sees_all_up(&world->machines[i]))
			return false;
	return true;
}

static bool auditor_is_idle(struct world *world)
{
	return client_auditor(world)->idle;
}

static void end_pause(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;

	(void)arg;
	(void)number;
	world->paused = false;
}

static bool pause_is_over(struct world *world)
{
	return !world->paused;
}

static void take_a_pause(struct world *world, uint64_t pause_us)
{
	world->paused = true;
	schedule_in(&world->schedule, pause_us, end_pause, NULL, 0, NULL);
	world_run_until(world, pause_is_over, 2 * pause_us);
}

static uint32_t draw_member(struct world *world)
{
	uint32_t number;

	do
		number = (uint32_t)world_random(world, world->settings.nodes);
	while (!change_is_member(world, &world->machines[number]));
	return number;
}

/* N, or fewer where there are not that many members. */
static uint32_t owner_count(struct world *world)
{
	struct machine *member = last_member(world);
	const struct ring_view *view = ring_view_acquire(member->node->ring);
	const uint16_t *owners;
	uint32_t count = ring_owners(view->document, 0, 0, &owners);

	ring_view_release(member->node->ring, view);
	return count;
}

/* Reads every key at r=N, each through another machine. */
static bool read_everything(struct world *world)
{
	bool all_done = true;

	for (uint32_t key = 0; key < world->settings.keys && !world->oracle.broken; key++) {
		client_audit(world, draw_member(world), key, owner_count(world));
		if (!world_run_until(world, auditor_is_idle, AUDIT_LIMIT_US))
			return false;
		all_done &= client_auditor(world)->all_done;
	}
	return all_done;
}

/* ---- what each replica holds ---- */

struct held {
	bool found;
	uint64_t digest;
	struct object object;
};

static uint32_t owners_of(struct world *world, uint32_t key, uint32_t *partition_out, struct machine **owners_out)
{
	char text[16];
	const uint16_t *members;
	struct machine *first = last_member(world);
	const struct ring_view *view = ring_view_acquire(first->node->ring);
	int size = snprintf(text, sizeof text, "k%u", key);

	*partition_out = ring_partition_of(view->document, "default", 7, text, (size_t)size);
	uint32_t count = ring_owners(view->document, *partition_out, 0, &members);
	for (uint32_t i = 0; i < count; i++)
		owners_out[i] = world_machine(world, ring_member(view->document, members[i])->id);
	ring_view_release(first->node->ring, view);
	return count;
}

static struct shard *shard_of(struct machine *machine, uint32_t partition)
{
	return engine_shard(machine->node->engine, node_shard_of(machine->node, (uint16_t)partition));
}

/* What this machine's engine holds of the key, past all actors. */
static void look(struct world *world, struct machine *machine, uint32_t key, uint32_t partition, struct arena *arena,
		 struct held *out)
{
	struct rpc_slice engine_key, bucket = {(const uint8_t *)"default", 7};
	char *text = rpc_arena_printf(arena, "k%u", key);
	struct engine_value value = {0};
	struct rpc_error why = {""};

	*out = (struct held){0};
	if (key_encode((uint16_t)partition, bucket, (struct rpc_slice){(uint8_t *)text, strlen(text)}, arena,
		       &engine_key) < 0)
		abort();
	int found = shard_get(shard_of(machine, partition), (struct engine_slice){engine_key.data, engine_key.size},
			      &value);
	if (found < 0)
		world_break(world, key, "%s cannot read k%u: %s", machine->name, key, strerror(-found));
	if (found <= 0)
		return;
	uint8_t *copy = rpc_arena_copy(arena, value.data, value.size);
	size_t size = value.size;
	engine_value_release(&value);
	if (object_decode((struct rpc_slice){copy, size}, arena, &out->object, &why) < 0)
		world_break(world, key, "%s holds bytes for k%u that are no object: %s", machine->name, key, why.text);
	out->found = true;
	out->digest = object_digest(&out->object);
}

static bool replicas_agree(struct world *world, uint32_t key)
{
	struct machine *owners[RING_REPLICAS_MAX];
	struct held first, other;
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	uint32_t partition, count = owners_of(world, key, &partition, owners);
	bool agree = true;

	look(world, owners[0], key, partition, arena, &first);
	for (uint32_t i = 1; i < count; i++) {
		look(world, owners[i], key, partition, arena, &other);
		agree &= first.found == other.found && first.digest == other.digest;
	}
	rpc_arena_unref(arena);
	return agree;
}

static bool all_replicas_agree(struct world *world)
{
	for (uint32_t key = 0; key < world->settings.keys; key++)
		if (!replicas_agree(world, key))
			return false;
	return true;
}

static void judge_key(struct world *world, uint32_t key)
{
	struct machine *owners[RING_REPLICAS_MAX];
	struct held held;
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	uint32_t partition;

	owners_of(world, key, &partition, owners);
	look(world, owners[0], key, partition, arena, &held);
	uint8_t(*ids)[ORACLE_ID_SIZE] = rpc_arena_alloc(arena, (held.object.sibling_count + 1) * ORACLE_ID_SIZE);
	for (uint32_t i = 0; i < held.object.sibling_count; i++)
		memcpy(ids[i], held.object.siblings[i].operation_id, ORACLE_ID_SIZE);
	oracle_final(&world->oracle, key, (const uint8_t(*)[ORACLE_ID_SIZE])ids, held.object.sibling_count);
	rpc_arena_unref(arena);
}

/* E4: the hash tree of each partition is what a recount of its entries gives. */
void verdict_recount(struct machine *machine, uint32_t shard_index)
{
	struct world *world = machine->world;
	struct shard *shard = engine_shard(machine->node->engine, shard_index);
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	uint64_t *roots = world_alloc(world->settings.partitions * sizeof *roots);
	struct arena *arena = rpc_arena_create(65536, SIZE_MAX);
	int found;

	if (shard_snapshot(shard, &snapshot) < 0 || engine_iterator_create(snapshot, &iterator) < 0)
		abort();
	for (found = engine_iterator_seek(iterator, (struct engine_slice){"", 0}); found > 0;
	     found = engine_iterator_next(iterator)) {
		struct engine_slice key = engine_iterator_key(iterator), value = engine_iterator_value(iterator);
		struct rpc_slice engine_key = {key.data, key.size};
		struct object object;
		if (object_decode((struct rpc_slice){value.data, value.size}, arena, &object, NULL) < 0)
			world_break(world, ORACLE_NONE, "%s shard %u: an entry is no object", machine->name,
				    shard_index);
		else
			roots[key_partition(engine_key)] ^= object_tree_hash(engine_key, &object);
	}
	if (found < 0)
		world_break(world, ORACLE_NONE, "%s shard %u cannot be read through: %s", machine->name, shard_index,
			    strerror(-found));
	for (uint32_t p = shard_index; p < world->settings.partitions && found == 0; p += machine->node->shard_count)
		if (roots[p] != shard_tree_node(shard, (uint16_t)p, 0, 0))
			world_break(world, ORACLE_NONE,
				    "%s: the hash tree of partition %u is not what a recount of its entries gives",
				    machine->name, p);
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	rpc_arena_unref(arena);
	free(roots);
}

/* Equal keys make equal hash trees. */
static void compare_trees(struct world *world, uint32_t key)
{
	struct machine *owners[RING_REPLICAS_MAX];
	uint32_t partition, count = owners_of(world, key, &partition, owners);
	uint64_t root = shard_tree_node(shard_of(owners[0], partition), (uint16_t)partition, 0, 0);

	for (uint32_t i = 1; i < count; i++)
		if (shard_tree_node(shard_of(owners[i], partition), (uint16_t)partition, 0, 0) != root)
			world_break(world, key,
				    "%s and %s hold the same keys of partition %u and have different hash trees",
				    owners[0]->name, owners[i]->name, partition);
}

/* A node whose directory went back in time has no vote until an operator accepts it. Without it there may be no majority for the next
 * step of a change. */
static bool waits_for_operator(struct world *world)
{
	struct machine *member = last_member(world);
	uint32_t voters = 0;

	if (world->restored == NULL || member == NULL)
		return false;
	const struct ring_view *view = ring_view_acquire(member->node->ring);
	uint32_t count = ring_member_count(view->document);
	for (uint32_t i = 0; i < count; i++)
		voters += !view->status[i].receiving;
	ring_view_release(member->node->ring, view);
	return voters < count / 2 + 1;
}

/* Data of partitions that others own now. */
static bool holds_strange_data(struct world *world, struct machine *machine)
{
	const struct ring_view *view = ring_view_acquire(machine->node->ring);
	bool knows = view->document != NULL && view->self >= 0,
	     holds = !knows; /* it has yet to hear that it is a member */

	for (uint32_t p = 0; p < world->settings.partitions && !holds; p++)
		holds = !ring_owns(view->document, p, (uint32_t)view->self) &&
			shard_tree_node(shard_of(machine, p), (uint16_t)p, 0, 0) != 0;
	ring_view_release(machine->node->ring, view);
	return holds;
}

static bool nobody_holds_strange_data(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		if (change_is_member(world, &world->machines[i]) && holds_strange_data(world, &world->machines[i]))
			return false;
	return true;
}

/* ---- the verdict ---- */

void verdict_reach(struct world *world)
{
	if (!world_run_until(world, all_see_all_up, SETTLE_LIMIT_US)) {
		world_break(world, ORACLE_NONE, "after %d s without faults not every machine is seen up by every other",
			    SETTLE_LIMIT_US / 1000000);
		return;
	}
	if (!world_run_until(world, change_is_everywhere, SETTLE_LIMIT_US)) {
		if (waits_for_operator(world))
			return;
		world_break(world, ORACLE_NONE,
			    "after %d s without faults not every machine has the last ring, epoch %u",
			    SETTLE_LIMIT_US / 1000000, (unsigned)world->last_epoch);
		return;
	}
	if (!world_run_until(world, nobody_holds_strange_data, SETTLE_LIMIT_US)) {
		world_break(world, ORACLE_NONE,
			    "after %d s without faults a machine still holds data of partitions that others own",
			    SETTLE_LIMIT_US / 1000000);
		return;
	}
	bool settled = false;
	take_a_pause(world, STRAGGLERS_US);
	for (uint32_t round = 0; round < AUDIT_ROUNDS && !settled && !world->oracle.broken; round++) {
		take_a_pause(world, AUDIT_PAUSE_US);
		settled = read_everything(world) && all_replicas_agree(world);
	}
	if (!settled) {
		uint32_t key = 0;
		while (key + 1 < world->settings.keys && replicas_agree(world, key))
			key++;
		world_break(world, key,
			    "after %d rounds of reads at r=%u without faults, k%u differs between its replicas or "
			    "cannot be read",
			    AUDIT_ROUNDS, owner_count(world), key);
		return;
	}
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		for (uint32_t shard = 0; shard < world->machines[i].node->shard_count; shard++)
			verdict_recount(&world->machines[i], shard);
	for (uint32_t key = 0; key < world->settings.keys; key++) {
		judge_key(world, key);
		compare_trees(world, key);
	}
}
