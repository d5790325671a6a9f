/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "node/object/key.h"

_Static_assert((int)ORACLE_PAST_MAX == (int)PAST_KIND_MAX, "the oracle excuses what owners forget");

enum { WORK_LIMIT_US_PER_OPERATION = 60 * 1000 * 1000 };

void *world_alloc(size_t size)
{
	void *memory = calloc(1, size ? size : 1);

	if (!memory)
		abort();
	return memory;
}

uint64_t world_random(struct world *world, uint64_t bound)
{
	return sim_random_below(&world->random, bound);
}

void world_mix(struct world *world, uint64_t value)
{
	world->hash = XXH3_64bits_withSeed(&value, sizeof(value), world->hash);
}

void world_mix_bytes(struct world *world, const void *data, size_t size)
{
	world->hash = XXH3_64bits_withSeed(data ? data : "", size, world->hash);
}

struct machine *world_machine(struct world *world, uint64_t node_id)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		if (world->machines[i].id == node_id && node_id)
			return &world->machines[i];
	return NULL;
}

uint32_t world_key_number(struct rpc_slice key)
{
	char text[16] = "";
	uint32_t number;

	if (key.size >= sizeof(text) || key.size < 2)
		return ORACLE_NONE;
	memcpy(text, key.data, key.size);
	return sscanf(text, "k%" SCNu32, &number) == 1 ? number : ORACLE_NONE;
}

uint32_t world_engine_key_number(struct rpc_slice engine_key)
{
	uint16_t partition;
	struct rpc_slice bucket, key;

	if (key_decode(engine_key, &partition, &bucket, &key) < 0)
		return ORACLE_NONE;
	return world_key_number(key);
}

/* ---- the transcript ---- */

bool world_tells(const struct world *world, uint32_t key)
{
	return world->tracing && (world->trace_key == ORACLE_NONE || key == ORACLE_NONE || key == world->trace_key);
}

void world_line(struct world *world, const char *format, ...)
{
	va_list arguments;

	if (!world->tracing)
		return;
	printf("[%9.3f] ", (double)world->schedule.now_us / 1000);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

void world_break(struct world *world, uint32_t key, const char *format, ...)
{
	char text[400];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	oracle_break(&world->oracle, key, "%s", text);
}

/* ---- a run ---- */

bool world_run_until(struct world *world, bool (*condition)(struct world *), uint64_t limit_us)
{
	uint64_t end_us = world->schedule.now_us + limit_us;
	bool told = world->oracle.broken;

	while (!world->oracle.broken && world->schedule.now_us < end_us) {
		if (condition(world))
			return true;
		if (!schedule_step(&world->schedule, world))
			return false;
	}
	if (world->oracle.broken && !told)
		world_line(world, "BROKEN: %s", world->oracle.text);
	return false;
}

static bool work_is_done(struct world *world)
{
	return clients_idle(world);
}

static void add_totals(struct totals *sum, const struct world *world)
{
	const struct totals *totals = &world->totals;
	const uint64_t *from = (const uint64_t *)totals;
	uint64_t *to = (uint64_t *)sum;

	for (size_t i = 0; i < sizeof(*totals) / sizeof(uint64_t); i++)
		to[i] += from[i];
}

static void world_begin(struct world *world, const struct sim_options *options, uint64_t seed)
{
	world->options = options;
	world->seed = seed;
	options_draw(options, seed, &world->settings);
	sim_random_seed(&world->random, seed ^ UINT64_C(0x6b7672696e670000));
	world->fault_random = sim_random_fork(&world->random, 1);
	schedule_init(&world->schedule);
	network_init(&world->network, world->settings.nodes, &world->settings.network,
		     sim_random_fork(&world->random, 2));
	oracle_init(&world->oracle, seed, world->settings.replicas);
	world->oracle.majorities = world->settings.move_rate > 0;
	world->oracle.disks_go_back = world->settings.restore_permille > 0;
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		machine_init(world, i);
	clients_init(world);
}

static void world_play(struct world *world)
{
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		machine_start(&world->machines[i]);
	verdict_form(world);
	if (world->oracle.broken)
		return;
	clients_begin(world);
	faults_begin(world);
	if (!world_run_until(world, work_is_done, (uint64_t)WORK_LIMIT_US_PER_OPERATION * world->settings.operations))
		world_break(world, ORACLE_NONE, "the clients' work does not end");
	if (world->oracle.broken)
		return;
	faults_end(world);
	verdict_reach(world);
	for (uint32_t i = 0; i < world->settings.nodes; i++)
		world->totals.truncations += machine_truncations(&world->machines[i]);
	oracle_close(&world->oracle, world->totals.truncations);
	for (uint32_t i = 0; i < world->settings.nodes && !world->oracle.broken; i++)
		machine_stop(&world->machines[i]);
}

static void world_end(struct world *world)
{
	world->totals.seeds = 1;
	world->totals.lost = world->network.lost;
	world->totals.duplicated = world->network.duplicated;
	world->totals.false_siblings = world->oracle.false_siblings;
	world->totals.reads_checked = world->oracle.checks;
	world->totals.simulated_us = world->schedule.now_us;
	for (uint32_t i = 0; i < world->settings.nodes; i++) {
		if (!world->oracle.broken)
			world_mix(world, sim_fs_hash(world->machines[i].disk));
		machine_fini(&world->machines[i]);
	}
	clients_fini(world);
	schedule_fini(&world->schedule);
	oracle_fini(&world->oracle);
	free(world->told);
}

bool world_run(const struct sim_options *options, uint64_t seed, struct totals *totals, struct verdict *verdict_out)
{
	struct world *world = world_alloc(sizeof(*world));
	bool good;

	world->tracing = verdict_out->tell;
	world->trace_key = verdict_out->key;
	world_begin(world, options, seed);
	world_play(world);
	good = !world->oracle.broken;
	verdict_out->key = world->oracle.broken_key;
	snprintf(verdict_out->text, sizeof(verdict_out->text), "%s", good ? "" : world->oracle.text);
	if (!good)
		world_line(world, "BROKEN: %s", world->oracle.text);
	world_end(world);
	verdict_out->hash = world->hash;
	add_totals(totals, world);
	free(world);
	return good;
}
