/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/engine.h"
#include "node/node.h"

enum { JOBS_PER_SHARD_DEFAULT = ENGINE_JOBS_MAX, ROUND_MS_DEFAULT = 200, TIMEOUT_MS_DEFAULT = 2000 };
enum { RETRY_WINDOW_MS_DEFAULT = 600 * 1000 };

static uint64_t retry_window_ms(const struct node_options *options)
{
	return options->retry_window_ms ? options->retry_window_ms : RETRY_WINDOW_MS_DEFAULT;
}

/* Every actor draws from a generator of its own; the streams differ by who they are. */
static uint64_t seed_for(const struct node_options *options, enum actor_kind kind, uint32_t index)
{
	struct prng prng;
	prng_seed(&prng, options->seed + ((uint64_t)kind << 32) + index + 1);
	return prng_next(&prng);
}

/* A store that is not there in a directory that belongs to a cluster was lost or emptied: its disk is not mounted, or an operator
 * emptied it as the engine advises for a damaged shard. What it had acknowledged is missing, as from a directory that went back
 * in time. Durable before a new store hides it. */
static int notice_lost_store(struct node *self, struct rpc_error *error_out)
{
	if (data_dir_cluster_id(self->data_dir) == 0)
		return 0;
	self->lost_store = true;
	return data_dir_set_receiving(self->data_dir, 0, error_out);
}

static int open_engine(struct node *self, const struct node_options *options, struct rpc_error *error_out)
{
	struct engine_options engine;
	struct engine_error why = {""};
	engine_options_default(&engine);
	engine.fs = options->fs;
	engine.directory = data_dir_engine_directory(self->data_dir);
	engine.shard_count = options->shard_count;
	if (options->cache_bytes != 0)
		engine.cache_bytes = options->cache_bytes;
	if (options->memtable_bytes != 0)
		engine.memtable_bytes = options->memtable_bytes;
	engine.hash_entry = replica_hash_entry;
	engine.create_if_missing = options->shard_count != 0 && data_dir_cluster_id(self->data_dir) == 0;
	int error = engine_open(&engine, &self->engine, &why);
	if (error == -ENOENT) {
		error = notice_lost_store(self, error_out);
		if (error < 0)
			return error;
		engine.create_if_missing = true;
		if (engine.shard_count == 0)
			engine.shard_count = options->new_shard_count;
		error = engine_open(&engine, &self->engine, &why);
	}
	if (error < 0) {
		snprintf(error_out->text, sizeof error_out->text, "%s", why.text[0] ? why.text : strerror(-error));
		return error;
	}
	self->shard_count = engine_shard_count(self->engine);
	return 0;
}

static int open_replicas(struct node *self, const struct node_options *options, struct rpc_error *error_out)
{
	self->replicas = calloc(self->shard_count, sizeof *self->replicas);
	if (self->replicas == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < self->shard_count; i++) {
		struct replica_options replica = {
			.self = {self->id, ACTOR_REPLICA, (uint16_t)i},
			.shard = engine_shard(self->engine, i),
			.shard_count = self->shard_count,
			.ring = self->ring,
			.seed = seed_for(options, ACTOR_REPLICA, i),
			.first_dot = options->first_dots != NULL ? options->first_dots[i] : (struct dot){0},
			.job_limit = options->job_limit ? options->job_limit : JOBS_PER_SHARD_DEFAULT,
			.retry_window_ms = retry_window_ms(options),
		};
		int error = replica_create(&replica, &self->replicas[i], error_out);
		if (error < 0)
			return error;
	}
	return 0;
}

static int open_coordinators(struct node *self, const struct node_options *options)
{
	self->coordinators = calloc(options->coordinator_count, sizeof *self->coordinators);
	if (self->coordinators == NULL)
		return -ENOMEM;
	self->coordinator_count = options->coordinator_count;
	for (uint32_t i = 0; i < self->coordinator_count; i++) {
		struct coordinator_options coordinator = {
			.self = {self->id, ACTOR_COORDINATOR, (uint16_t)i},
			.shard_count = self->shard_count,
			.ring = self->ring,
			.retry_window_ms = retry_window_ms(options),
			.read_level = options->read_level,
			.write_level = options->write_level,
			.links = options->links,
		};
		int error = coordinator_create(&coordinator, &self->coordinators[i]);
		if (error < 0)
			return error;
	}
	return 0;
}

static uint64_t read(const _Atomic uint64_t *figure)
{
	return atomic_load_explicit(figure, memory_order_relaxed);
}

void node_figures(const struct node *self, struct ring_figures *out)
{
	*out = (struct ring_figures){.load_permille = atomic_load_explicit(&self->load_permille, memory_order_relaxed)};
	for (uint32_t i = 0; i < self->shard_count; i++) {
		const struct replica_figures *figures = replica_figures(self->replicas[i]);
		out->keys += read(&figures->keys);
		out->disk_bytes += read(&figures->disk_bytes);
		out->memory_bytes += read(&figures->memory_bytes);
		out->dead_shards +=
			atomic_load_explicit(&replica_counters(self->replicas[i])->dead, memory_order_relaxed);
	}
	for (uint32_t i = 0; i < self->coordinator_count; i++) {
		const struct coordinator_counters *counters = coordinator_counters(self->coordinators[i]);
		out->puts += read(&counters->puts);
		out->gets += read(&counters->gets);
	}
	const struct upkeep_figures *upkeep = upkeep_figures(self->upkeep);
	out->incoming_partitions = atomic_load_explicit(&upkeep->incoming_partitions, memory_order_relaxed);
	out->incoming_total = atomic_load_explicit(&upkeep->incoming_total, memory_order_relaxed);
	out->copied_bytes = read(&upkeep->copied_bytes);
}

static void read_figures(void *arg, struct ring_figures *out)
{
	node_figures(arg, out);
}

static int open_gossip(struct node *self, const struct node_options *options, struct rpc_error *error_out)
{
	struct gossip_options gossip = {
		.self = options->self,
		.seeds = options->seeds,
		.seed_count = options->seed_count,
		.data_dir = self->data_dir,
		.ring = self->ring,
		.read_figures = read_figures,
		.read_figures_arg = self,
		.transfer_bytes_per_s = options->transfer_bytes_per_s,
		.seed = seed_for(options, ACTOR_GOSSIP, 0),
		.autoscale = options->autoscale,
		.round_ms = options->round_ms ? options->round_ms : ROUND_MS_DEFAULT,
		.timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS_DEFAULT,
	};
	gossip.self.node_id = self->id;
	gossip.self.incarnation = data_dir_incarnation(self->data_dir);
	gossip.self.cluster_id = data_dir_cluster_id(self->data_dir);
	gossip.self.shard_count = self->shard_count;
	return gossip_create(&gossip, &self->gossip, error_out);
}

/* Of the busiest thread, or of the shard that its disk keeps up least. */
static uint32_t read_busy(void *arg)
{
	const struct node *self = arg;
	uint32_t busy = atomic_load_explicit(&self->load_permille, memory_order_relaxed);
	for (uint32_t i = 0; i < self->shard_count; i++) {
		uint32_t pressure =
			atomic_load_explicit(&replica_figures(self->replicas[i])->pressure, memory_order_relaxed);
		busy = pressure > busy ? pressure : busy;
	}
	return busy;
}

static int open_upkeep(struct node *self, const struct node_options *options)
{
	struct upkeep_options upkeep = {
		.self = {self->id, ACTOR_UPKEEP, 0},
		.shard_count = self->shard_count,
		.ring = self->ring,
		.data_dir = self->data_dir,
		.transfer_bytes_per_s = options->transfer_bytes_per_s,
		.distrusted = data_dir_is_receiving(self->data_dir),
		.read_busy = read_busy,
		.read_busy_arg = self,
	};
	return upkeep_create(&upkeep, &self->upkeep);
}

static int open_all(struct node *self, const struct node_options *options, struct rpc_error *error_out)
{
	const struct fs *fs = options->fs != NULL ? options->fs : fs_posix();
	int error = data_dir_open(fs, options->directory, options->new_node_id, &self->data_dir, error_out);
	if (error < 0)
		return error;
	self->id = data_dir_node_id(self->data_dir);
	if (options->accept_restored)
		error = data_dir_accept_restored(self->data_dir, error_out);
	if (error == 0)
		error = open_engine(self, options, error_out);
	if (error == 0)
		error = ring_table_create(self->id, &self->ring);
	if (error == 0)
		error = open_replicas(self, options, error_out);
	if (error == 0)
		error = open_coordinators(self, options);
	if (error == 0)
		error = open_gossip(self, options, error_out);
	if (error == 0)
		error = open_upkeep(self, options);
	return error;
}

int node_open(const struct node_options *options, struct node **out, struct rpc_error *error_out)
{
	error_out->text[0] = 0;
	struct node *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	int error = open_all(self, options, error_out);
	if (error < 0) {
		if (error_out->text[0] == 0)
			snprintf(error_out->text, sizeof error_out->text, "%s: %s", options->directory,
				 strerror(-error));
		(void)!node_close(&self);
		return error;
	}
	*out = self;
	return 0;
}

int node_close(struct node **out)
{
	struct node *self = *out;
	int error = 0;
	if (self == NULL)
		return 0;
	upkeep_destroy(&self->upkeep);
	gossip_destroy(&self->gossip);
	for (uint32_t i = 0; i < self->coordinator_count; i++)
		coordinator_destroy(&self->coordinators[i]);
	for (uint32_t i = 0; self->replicas != NULL && i < self->shard_count; i++)
		replica_destroy(&self->replicas[i]);
	free(self->coordinators);
	free(self->replicas);
	ring_table_destroy(&self->ring);
	if (self->engine != NULL)
		error = engine_close(&self->engine);
	data_dir_close(&self->data_dir);
	free(self);
	*out = NULL;
	return error;
}

void node_step(struct node *self, enum actor_kind kind, uint32_t index, const struct event *event, struct effects *out)
{
	if (kind == ACTOR_COORDINATOR) {
		assert(index < self->coordinator_count);
		coordinator_step(self->coordinators[index], event, out);
	} else if (kind == ACTOR_REPLICA) {
		assert(index < self->shard_count);
		replica_step(self->replicas[index], event, out);
	} else if (kind == ACTOR_UPKEEP) {
		assert(index == 0);
		upkeep_step(self->upkeep, event, out);
	} else {
		assert(kind == ACTOR_GOSSIP && index == 0);
		gossip_step(self->gossip, event, out);
	}
}

uint32_t node_shard_of(const struct node *self, uint16_t partition)
{
	return partition % self->shard_count;
}
