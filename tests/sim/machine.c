/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/world.h"

/* ---- clocks ---- */

uint64_t machine_now_us(const struct machine *machine)
{
	return machine->clock_base_us + machine->world->schedule.now_us - machine->boot_us;
}

uint64_t machine_now_ms(const struct machine *machine)
{
	return oracle_unix_ms(machine->world->schedule.now_us) + (uint64_t)machine->skew_ms;
}

uint64_t machine_to_virtual(const struct machine *machine, uint64_t clock_us)
{
	uint64_t now_us = machine_now_us(machine);

	if (clock_us == UINT64_MAX)
		return UINT64_MAX;
	return machine->world->schedule.now_us + (clock_us > now_us ? clock_us - now_us : 0);
}

/* ---- life ---- */

static int tell_disk(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	struct machine *machine = arg;

	world_line(machine->world, "%s disk %" PRIu64 ": %s %s", machine->name, index, sim_fs_call_name(call), path);
	return 0;
}

static void put_in_new_disk(struct machine *machine)
{
	struct world *world = machine->world;

	sim_fs_create(world_random(world, UINT64_MAX), &machine->disk);
	sim_fs_count_only(machine->disk, SIM_FS_WRITES);
	if (world->tracing && world->trace_key == ORACLE_NONE)
		sim_fs_set_hook(machine->disk, tell_disk, machine);
	sim_fs_set_lying(machine->disk, world->options->canary == CANARY_LYING_DISK);
	machine->new_id = 1 + world_random(world, UINT64_MAX - 1);
}

void machine_init(struct world *world, uint32_t index)
{
	struct machine *machine = &world->machines[index];
	uint32_t counts[ACTOR_KIND_COUNT] = {[ACTOR_COORDINATOR] = world->settings.coordinators,
					     [ACTOR_REPLICA] = world->settings.shards,
					     [ACTOR_GOSSIP] = 1,
					     [ACTOR_UPKEEP] = 1};

	machine->world = world;
	machine->index = index;
	machine->client_ages = world_alloc((world->settings.clients + 1) * sizeof *machine->client_ages);
	snprintf(machine->name, sizeof machine->name, "n%u", index + 1);
	snprintf(machine->address, sizeof machine->address, "n%u:1", index + 1);
	put_in_new_disk(machine);
	machine->skew_ms =
		(int64_t)world_random(world, 2 * (uint64_t)world->settings.skew_ms + 1) - world->settings.skew_ms;
	machine->actors = world_alloc((counts[0] + counts[1] + counts[2] + counts[3]) * sizeof *machine->actors);
	for (enum actor_kind kind = 0; kind < ACTOR_KIND_COUNT; kind++)
		for (uint32_t i = 0; i < counts[kind]; i++) {
			struct actor *actor = &machine->actors[machine->actor_count++];
			*actor = (struct actor){.machine = machine, .kind = kind, .index = i};
			exchange_init(&actor->exchange,
				      &(struct exchange_options){.in_flight_max = world->settings.in_flight});
		}
}

uint64_t machine_truncations(const struct machine *machine)
{
	uint64_t truncations = 0;

	for (uint32_t i = 0; machine->node != NULL && i < machine->node->shard_count; i++)
		truncations += replica_counters(machine->node->replicas[i])->truncations;
	return truncations;
}

/* Frees everything that lived in memory. Nothing reaches the disk when it is down. */
static void bury(struct machine *machine)
{
	struct world *world = machine->world;

	world->totals.truncations += machine_truncations(machine);
	machine_forget_held(machine);
	actors_reset(machine);
	traffic_forget(machine);
	actors_bring_work_home(machine);
	(void)!node_close(&machine->node);
	machine->boot++;
	if (sim_fs_open_files(machine->disk))
		world_break(world, ORACLE_NONE, "%s: node_close left %" PRIu64 " files open", machine->name,
			    sim_fs_open_files(machine->disk));
	traffic_machine_died(machine);
	faults_machine_down(machine);
}

void machine_crash(struct machine *machine, const struct sim_crash *crash)
{
	struct world *world = machine->world;

	world->totals.crashes++;
	sim_fs_crash(machine->disk, crash);
	world_line(world, "%s loses power; unsynced bytes %s, names %s", machine->name,
		   sim_crash_data_name(crash->data), sim_crash_names_name(crash->names));
	bury(machine);
}

void machine_kill(struct machine *machine)
{
	machine->world->totals.kills++;
	sim_fs_kill(machine->disk);
	world_line(machine->world, "%s is killed", machine->name);
	bury(machine);
}

bool machine_died(struct machine *machine)
{
	struct world *world = machine->world;

	if (!sim_fs_is_down(machine->disk))
		return false;
	world->totals.crashes++;
	world->totals.crashes_in_disk++;
	world_line(world, "%s loses power in the middle of a disk operation", machine->name);
	bury(machine);
	return true;
}

void machine_stop(struct machine *machine)
{
	struct world *world = machine->world;

	world_line(world, "%s stops in good order", machine->name);
	world->totals.truncations += machine_truncations(machine);
	machine_forget_held(machine);
	actors_reset(machine);
	traffic_forget(machine);
	actors_bring_work_home(machine);
	restore_note_stop(machine);
	int error = node_close(&machine->node);
	if (error < 0 && !sim_fs_is_down(machine->disk) && !machine->disk_failed && !sim_fs_is_limited(machine->disk))
		world_break(world, ORACLE_NONE, "%s: node_close failed on a good disk: %s", machine->name,
			    strerror(-error));
	if (!error && !machine->disk_failed && !sim_fs_is_down(machine->disk))
		restore_take_copy(machine);
	machine->boot++;
	traffic_machine_died(machine);
	faults_machine_down(machine);
}

void machine_wipe(struct machine *machine)
{
	assert(machine->node == NULL);
	world_line(machine->world, "%s gets an empty disk, and is another node from now on", machine->name);
	restore_forget(machine);
	sim_fs_destroy(&machine->disk);
	put_in_new_disk(machine);
	machine->id = 0;
	machine->disk_failed = machine->has_kept_dots = false;
	machine->rot.bits = 0;
}

void machine_fini(struct machine *machine)
{
	machine_forget_held(machine);
	free(machine->client_ages);
	actors_reset(machine);
	traffic_forget(machine);
	if (machine->node != NULL) {
		actors_bring_work_home(machine);
		(void)!node_close(&machine->node);
	}
	restore_forget(machine);
	free(machine->actors);
	sim_fs_destroy(&machine->disk);
}

/* ---- starting ---- */

static int open_node(struct machine *machine, struct rpc_error *error_out)
{
	struct world *world = machine->world;
	const char *seeds[NETWORK_MACHINES_MAX];
	struct node_options options = {
		.fs = sim_fs_table(machine->disk),
		.directory = "/data",
		.seeds = seeds,
		.seed_count = world->settings.nodes,
		.coordinator_count = world->settings.coordinators,
		.shard_count = world->settings.shards,
		.seed = world_random(world, UINT64_MAX),
		.new_node_id = machine->new_id,
		.cache_bytes = world->settings.cache_bytes,
		.memtable_bytes = world->settings.memtable_bytes,
		.first_dots = restore_planted_dots(machine),
		.links = {traffic_is_connected, machine},
	};

	for (uint32_t i = 0; i < world->settings.nodes; i++)
		seeds[i] = world->machines[i].address;
	snprintf(options.self.name, sizeof options.self.name, "%s", machine->name);
	snprintf(options.self.client_address, sizeof options.self.client_address, "%s", machine->address);
	snprintf(options.self.peer_address, sizeof options.self.peer_address, "%s", machine->address);
	snprintf(options.self.bus_address, sizeof options.self.bus_address, "%s", machine->address);
	snprintf(options.self.datacenter, sizeof options.self.datacenter, "dc1");
	snprintf(options.self.rack, sizeof options.self.rack, "%s", machine->name);
	options.self.weight = RING_WEIGHT_DEFAULT;
	options.self.started_ms = machine_now_ms(machine);
	int error = node_open(&options, &machine->node, error_out);
	if (!error)
		restore_note_start(machine);
	return error;
}

/* May a start fail so, for what is wrong with the disk just now? */
static bool is_excused(const struct machine *machine, int error)
{
	return machine->disk_failed || (error == -ENOSPC && sim_fs_is_limited(machine->disk));
}

void machine_mend(struct machine *machine)
{
	const uint8_t *data;
	uint64_t size;

	if (!machine->rot.bits)
		return;
	if (!sim_fs_look(machine->disk, machine->rot.path, &data, &size) && machine->rot.offset < size)
		sim_fs_flip_bits(machine->disk, machine->rot.path, machine->rot.offset, machine->rot.bits);
	machine->rot.bits = 0;
	world_line(machine->world, "%s reads %s rightly again", machine->name, machine->rot.path);
}

bool machine_start(struct machine *machine)
{
	struct world *world = machine->world;
	struct rpc_error why = {""};

	assert(!machine->node);
	if (sim_fs_is_down(machine->disk))
		sim_fs_restart(machine->disk);
	machine_mend(machine);
	machine->boot_us = world->schedule.now_us;
	machine->clock_base_us = 1000000 + world_random(world, 1000000000);
	int error = open_node(machine, &why);
	world_mix(world, (uint64_t)machine->index << 32 | (uint32_t)error);
	if (sim_fs_is_down(machine->disk)) {
		if (machine->node != NULL)
			return !machine_died(machine);
		world->totals.crashes++;
		world->totals.crashes_in_disk++;
		world_line(world, "%s loses power while it starts", machine->name);
		return false;
	}
	if (error < 0) {
		if (!is_excused(machine, error))
			world_break(world, ORACLE_NONE, "%s does not start: %s (%s)", machine->name, why.text,
				    strerror(-error));
		world_line(world, "%s does not start: %s", machine->name, why.text);
		return false;
	}
	world->totals.restarts++;
	machine->id = machine->node->id;
	world_line(world, "%s starts, for the %uth time", machine->name, machine->boot + 1);
	for (uint32_t i = 0; i < machine->node->shard_count && !sim_fs_is_down(machine->disk); i++)
		if (!world->faults_on || world_random(world, 4) == 0)
			verdict_recount(machine, i);
	if (machine_died(machine))
		return false;
	actors_start(machine);
	return machine->node != NULL;
}
