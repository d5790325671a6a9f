/* SPDX-License-Identifier: Apache-2.0 */
/* Node: all actors of one process and what they share, without a thread, a socket or a clock.
 *
 * node_open opens the data directory and builds engine, ring table and actors over a file system. A driver steps the actors:
 * node/driver/loop.c in production, tests/sim in the simulator. Both run the same code.
 *
 * Threading   open and close: one thread. node_step: one thread at a time per actor.
 * Ownership   Owns everything it opened; borrows the file system.
 * Errors      Negative errno and a text for the operator.
 */
#ifndef KVRING_NODE_NODE_H
#define KVRING_NODE_NODE_H

#include "node/coordinator/coordinator.h"
#include "node/membership/gossip.h"
#include "node/data_dir.h"
#include "node/replica/replica.h"
#include "node/upkeep/upkeep.h"

struct node_options {
	const struct fs *fs; /* NULL: the real disk */
	const char *directory;
	struct gossip_row self; /* name, addresses, dc, rack, weight; ids and counts are filled in */
	const char *const *seeds;
	uint32_t seed_count;
	uint32_t coordinator_count;
	uint32_t shard_count;         /* fixed with the data; 0: as the directory has it, or new_shard_count */
	uint32_t new_shard_count;     /* when the directory is new and shard_count is 0 */
	uint64_t seed;                /* of every generator in the node */
	const struct dot *first_dots; /* of tests: the first dot of each replica; NULL: by new actors */
	uint64_t new_node_id;         /* taken when the directory is new; random in production */
	size_t cache_bytes, memtable_bytes;
	uint32_t round_ms, timeout_ms;       /* gossip; 0: defaults */
	uint32_t job_limit;                  /* per shard; 0: default */
	uint64_t retry_window_ms;            /* replica.h; 0: default */
	uint64_t transfer_bytes_per_s;       /* of what other nodes copy to this one; 0: default */
	enum level read_level, write_level;  /* coordinator.h */
	struct autoscale_settings autoscale; /* all 0: off */
	bool accept_restored;                /* a directory that went back in time counts again (data_dir.h) */
	struct coordinator_links links;
};

struct node {
	uint64_t id;
	struct data_dir *data_dir;
	struct engine *engine;
	struct ring_table *ring;
	struct coordinator **coordinators;
	uint32_t coordinator_count;
	struct replica **replicas;
	uint32_t shard_count;
	bool lost_store; /* the directory belongs to a cluster, and had no store */
	struct gossip *gossip;
	struct upkeep *upkeep;
	_Atomic uint32_t load_permille; /* how busy its busiest thread is: the driver says */
};

RPC_OK int node_open(const struct node_options *, struct node **out, struct rpc_error *error_out);
/* Flushes and syncs the engine. */
int node_close(struct node **);
/* Steps one actor. kind and index must exist. */
void node_step(struct node *, enum actor_kind, uint32_t index, const struct event *, struct effects *out);
/* What it holds and does. (any thread) */
void node_figures(const struct node *, struct ring_figures *out);
/* The replica that owns a partition here. */
uint32_t node_shard_of(const struct node *, uint16_t partition);

#endif
