/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/sim/world.h"

enum {
	MINUTE_US = 60 * 1000 * 1000,
	CUT_MAX_US = 5 * 1000 * 1000,
	PAUSE_MAX_US = 4 * 1000 * 1000,
	CRASH_WITHIN_OPERATIONS = 60, /* a planned power cut comes in one of so many disk operations */
	RESTART_CRASH_PERMILLE = 150,
	FULL_DISK_ROOM = 64 * 1024, /* bytes left on a disk that gets full */
	ROT_MAX_US = 5 * 1000 * 1000,
	FULL_DISK_MAX_US = 3 * 1000 * 1000,
	REBOOT_WITHIN_US = 2 * 1000 * 1000, /* a machine whose disk erred is restarted within this */
};

static uint64_t draw(struct world *world, uint64_t bound)
{
	return sim_random_below(&world->fault_random, bound);
}

/* Until the next of something that happens so often a minute. */
static uint64_t draw_pause(struct world *world, uint32_t rate)
{
	return 1 + draw(world, 2 * (uint64_t)MINUTE_US / rate);
}

static struct sim_crash draw_crash(struct world *world)
{
	return (struct sim_crash){(enum sim_crash_data)draw(world, SIM_DATA_MIXED + 1),
				  (enum sim_crash_names)draw(world, SIM_NAMES_MODE_COUNT), draw(world, UINT64_MAX)};
}

static uint32_t count_down(struct world *world)
{
	uint32_t down = 0;

	for (uint32_t i = 0; i < world->settings.nodes; i++)
		down += world->machines[i].node == NULL;
	return down;
}

/* One that is up, or NULL. */
static struct machine *draw_machine(struct world *world)
{
	uint32_t start = (uint32_t)draw(world, world->settings.nodes);

	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		struct machine *machine = &world->machines[(start + i) % world->settings.nodes];
		if (machine->node != NULL)
			return machine;
	}
	return NULL;
}

static void plan_crash_in_disk(struct world *world, struct machine *machine)
{
	struct sim_crash crash = draw_crash(world);

	sim_fs_crash_at(machine->disk, sim_fs_operations(machine->disk) + draw(world, CRASH_WITHIN_OPERATIONS), &crash);
}

/* ---- coming back ---- */

/* What a killed process had written and an orderly one had closed without syncing is lost all the same. */
static void lose_power_while_down(struct world *world, struct machine *machine)
{
	struct sim_crash crash = draw_crash(world);

	if (sim_fs_is_down(machine->disk))
		sim_fs_restart(machine->disk);
	sim_fs_crash(machine->disk, &crash);
	world->totals.crashes++;
	world_line(world, "%s loses power while it is down; unsynced bytes %s, names %s", machine->name,
		   sim_crash_data_name(crash.data), sim_crash_names_name(crash.names));
}

static void restart(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = arg;

	if (number != machine->restart_number || machine->node != NULL)
		return;
	sim_fs_fail_never(machine->disk);
	machine->disk_failed = false;
	if (world->faults_on)
		restore_from_copy(machine);
	if (world->faults_on && world->settings.crash_rate && draw(world, 8) == 0)
		lose_power_while_down(world, machine);
	if (world->faults_on && sim_random_permille(&world->fault_random, RESTART_CRASH_PERMILLE) &&
	    world->settings.crash_rate) {
		if (sim_fs_is_down(machine->disk))
			sim_fs_restart(machine->disk);
		plan_crash_in_disk(world, machine);
	}
	if (!machine_start(machine) && machine->node == NULL)
		faults_machine_down(machine);
}

void faults_machine_down(struct machine *machine)
{
	struct world *world = machine->world;
	uint64_t pause_us = 1 + draw(world, 1000 * (uint64_t)world->settings.down_max_ms);

	schedule_in(&world->schedule, pause_us, restart, machine, ++machine->restart_number, NULL);
}

/* ---- crashes ---- */

static void crash_one(struct world *world, struct machine *machine)
{
	struct sim_crash crash = draw_crash(world);

	if (machine->disk_failed)
		machine_crash(machine, &crash);
	else if (sim_random_permille(&world->fault_random, world->settings.kill_permille))
		machine_kill(machine);
	else if (draw(world, world->settings.restore_permille ? 2 : 10) == 0 && !machine->stopped)
		machine_stop(machine);
	else if (draw(world, 2))
		machine_crash(machine, &crash);
	else
		plan_crash_in_disk(world, machine);
}

/* The power of the whole house fails. */
static void crash_all(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		struct sim_crash crash = draw_crash(world);
		if (world->machines[i].node != NULL)
			machine_crash(&world->machines[i], &crash);
	}
}

static void next_crash(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = draw_machine(world);

	(void)arg;
	(void)number;
	if (!world->faults_on)
		return;
	if (world->settings.down_together == world->settings.nodes && draw(world, 4) == 0)
		crash_all(world);
	else if (machine != NULL && count_down(world) < world->settings.down_together)
		crash_one(world, machine);
	schedule_in(&world->schedule, draw_pause(world, world->settings.crash_rate), next_crash, NULL, 0, NULL);
}

/* ---- pauses ---- */

static void next_pause(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = draw_machine(world);

	(void)arg;
	(void)number;
	if (!world->faults_on)
		return;
	if (machine != NULL)
		machine_pause(machine, 1 + draw(world, draw(world, 2) ? PAUSE_MAX_US : PAUSE_MAX_US / 20));
	schedule_in(&world->schedule, draw_pause(world, world->settings.pause_rate), next_pause, NULL, 0, NULL);
}

/* ---- cuts ---- */

static void cut_both(struct world *world, uint32_t a, uint32_t b)
{
	network_cut(&world->network, a, b, world->schedule.now_us);
	network_cut(&world->network, b, a, world->schedule.now_us);
}

static void cut_off(struct world *world, uint32_t one)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		if (i != one)
			cut_both(world, one, i);
	world_line(world, "%s is cut off from all others", world->machines[one].name);
}

static void cut_in_two(struct world *world)
{
	uint64_t side = draw(world, 1u << world->settings.nodes);

	for (uint32_t i = 0; i < world->settings.nodes; i++)
		for (uint32_t j = 0; j < i; j++)
			if ((side >> i & 1) != (side >> j & 1))
				cut_both(world, i, j);
	world_line(world, "the network is cut in two, one side is %#llx", (unsigned long long)side);
}

static void cut_one_way(struct world *world)
{
	uint32_t from = (uint32_t)draw(world, world->settings.nodes), to = (uint32_t)draw(world, world->settings.nodes);

	network_cut(&world->network, from, to, world->schedule.now_us);
	world_line(world, "nothing gets from %s to %s", world->machines[from].name, world->machines[to].name);
}

static void heal(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;

	(void)arg;
	(void)number;
	network_heal(&world->network);
	world_line(world, "the network heals");
}

static void next_cut(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;

	(void)arg;
	(void)number;
	if (!world->faults_on)
		return;
	world->totals.partitions++;
	switch (draw(world, 3)) {
	case 0:
		cut_off(world, (uint32_t)draw(world, world->settings.nodes));
		break;
	case 1:
		cut_in_two(world);
		break;
	default:
		cut_one_way(world);
	}
	schedule_in(&world->schedule, 1 + draw(world, CUT_MAX_US), heal, NULL, 0, NULL);
	schedule_in(&world->schedule, draw_pause(world, world->settings.partition_rate), next_cut, NULL, 0, NULL);
}

/* ---- disks and clocks ---- */

/* An operator restarts a machine whose disk has erred, and not the process alone: after a failed sync the page cache
 * shows what the disk does not hold, and a new process would believe it (Rebello and others 2020). */
static void reboot(void *world_arg, void *arg, uint64_t boot)
{
	struct world *world = world_arg;
	struct machine *machine = arg;
	struct sim_crash crash = draw_crash(world);

	if (machine->node != NULL && machine->boot == boot)
		machine_crash(machine, &crash);
}

static void free_disk(void *world_arg, void *arg, uint64_t number)
{
	struct machine *machine = arg;

	(void)world_arg;
	(void)number;
	sim_fs_set_capacity(machine->disk, UINT64_MAX);
	world_line(machine->world, "%s has room on its disk again", machine->name);
}

/* A full disk refuses writes, keeps reads, and recovers without a restart. */
static void fill_disk(struct world *world, struct machine *machine)
{
	sim_fs_set_capacity(machine->disk, sim_fs_used(machine->disk) + draw(world, FULL_DISK_ROOM));
	world->totals.full_disks++;
	world_line(world, "the disk of %s is nearly full", machine->name);
	schedule_in(&world->schedule, 1 + draw(world, FULL_DISK_MAX_US), free_disk, machine, 0, NULL);
}

/* One operation fails; the machine may be crippled by it until somebody restarts it. */
static void fail_disk(struct world *world, struct machine *machine)
{
	int error = draw(world, 2) ? -EIO : -ENOSPC;

	machine->disk_failed = true;
	world->totals.disk_errors++;
	sim_fs_fail_at(machine->disk, sim_fs_operations(machine->disk) + draw(world, CRASH_WITHIN_OPERATIONS), error,
		       false);
	world_line(world, "%s: one of the next disk operations will fail with %s", machine->name,
		   error == -EIO ? "EIO" : "ENOSPC");
	schedule_in(&world->schedule, 1 + draw(world, REBOOT_WITHIN_US), reboot, machine, machine->boot, NULL);
}

/* ---- rot ---- */

struct pick {
	struct sim_random *random;
	uint32_t seen;
	char path[ROT_PATH_SIZE];
	uint64_t size;
};

/* Each table with equal chance, in one walk. */
static void pick_table(void *arg, const char *path, uint64_t size)
{
	struct pick *pick = arg;
	size_t length = strlen(path);

	if (!size || length < 4 || strcmp(path + length - 4, ".tab"))
		return;
	if (sim_random_below(pick->random, ++pick->seen))
		return;
	snprintf(pick->path, sizeof pick->path, "%s", path);
	pick->size = size;
}

/* The table reads rightly again, and somebody restarts the machine. */
static void mend(struct machine *machine)
{
	if (!machine->rot.bits)
		return;
	machine_mend(machine);
	reboot(machine->world, machine, machine->boot);
}

static void mend_later(void *world_arg, void *arg, uint64_t number)
{
	(void)world_arg;
	(void)number;
	mend(arg);
}

/* For a while one byte of a table reads wrong: an error wherever it is met, never another value and never "absent" (E3,
 * P4). The log is left alone: there the last batch damaged and the last batch torn look the same. The shards make no jobs
 * meanwhile, nor what comes with them: quarantine, which only a drop ends. A dropped copy is filled from others, which no
 * actor does yet; what the engine makes of damage that stays is shown by its own tests. */
static void rot_disk(struct world *world, struct machine *machine)
{
	struct pick pick = {.random = &world->fault_random};

	if (machine->rot.bits)
		return;
	sim_fs_walk(machine->disk, "/data/engine", pick_table, &pick);
	if (!pick.seen)
		return;
	machine->rot.offset = draw(world, pick.size);
	machine->rot.bits = (uint8_t)(1 + draw(world, 255));
	snprintf(machine->rot.path, sizeof machine->rot.path, "%s", pick.path);
	sim_fs_flip_bits(machine->disk, pick.path, machine->rot.offset, machine->rot.bits);
	for (uint32_t i = 0; machine->node != NULL && i < machine->node->shard_count; i++)
		replica_quiesce(machine->node->replicas[i]);
	world->totals.rots++;
	world_line(world, "%s: byte %llu of %s reads wrong", machine->name, (unsigned long long)machine->rot.offset,
		   pick.path);
	schedule_in(&world->schedule, 1 + draw(world, ROT_MAX_US), mend_later, machine, 0, NULL);
}

static void next_disk_error(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = draw_machine(world);

	(void)arg;
	(void)number;
	if (!world->faults_on)
		return;
	uint64_t kind = draw(world, 3);

	if (machine != NULL && kind == 0)
		fill_disk(world, machine);
	else if (machine != NULL && kind == 1)
		rot_disk(world, machine);
	else if (machine != NULL)
		fail_disk(world, machine);
	schedule_in(&world->schedule, draw_pause(world, world->settings.disk_error_rate), next_disk_error, NULL, 0,
		    NULL);
}

static void next_clock_jump(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = draw_machine(world);
	uint64_t skew_ms = world->settings.skew_ms;

	(void)arg;
	(void)number;
	if (!world->faults_on)
		return;
	if (machine != NULL)
		machine->skew_ms = (int64_t)draw(world, 2 * skew_ms + 1) - (int64_t)skew_ms;
	schedule_in(&world->schedule, draw_pause(world, 10), next_clock_jump, NULL, 0, NULL);
}

/* ---- beginning and end ---- */

void faults_begin(struct world *world)
{
	struct schedule *schedule = &world->schedule;

	world->faults_on = true;
	change_begin(world);
	moves_begin(world);
	if (world->settings.crash_rate)
		schedule_in(schedule, draw_pause(world, world->settings.crash_rate), next_crash, NULL, 0, NULL);
	if (world->settings.pause_rate)
		schedule_in(schedule, draw_pause(world, world->settings.pause_rate), next_pause, NULL, 0, NULL);
	if (world->settings.partition_rate && world->settings.nodes > 1)
		schedule_in(schedule, draw_pause(world, world->settings.partition_rate), next_cut, NULL, 0, NULL);
	if (world->settings.disk_error_rate)
		schedule_in(schedule, draw_pause(world, world->settings.disk_error_rate), next_disk_error, NULL, 0,
			    NULL);
	if (world->settings.skew_ms)
		schedule_in(schedule, draw_pause(world, 10), next_clock_jump, NULL, 0, NULL);
}

void faults_end(struct world *world)
{
	world->faults_on = false;
	network_calm(&world->network);
	world_line(world, "no more faults: the network heals, every machine comes back");
	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		struct machine *machine = &world->machines[i];
		machine_resume(machine);
		sim_fs_fail_never(machine->disk);
		sim_fs_set_capacity(machine->disk, UINT64_MAX);
		mend(machine);
		if (machine->disk_failed)
			reboot(world, machine, machine->boot);
		if (machine->node == NULL)
			restart(world, machine, machine->restart_number);
	}
}
