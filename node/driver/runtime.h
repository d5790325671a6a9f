/* SPDX-License-Identifier: Apache-2.0 */
/* Runtime: a node with its threads and sockets.
 *
 *     main thread         opens, closes; dials peers when gossip has found them; waits for signals
 *     workers             host the actors: coordinators, replicas (each the owner of one engine shard) and gossip; which
 *                         thread hosts which is a table (placement.h), by default one thread for each
 *     committer 0..s-1    one per replica, waits for its log's sync
 *     jobs                flushes and compactions
 *     ticker              wakes workers whose timers are due
 *     NNG's own           only enqueue
 *
 * Threading   runtime_open, run, close: the main thread. The rest: workers, see each.
 * Ownership   Owns everything it opens.
 * Errors      Negative errno and a text for the operator.
 */
#ifndef KVRING_NODE_RUNTIME_H
#define KVRING_NODE_RUNTIME_H

#include "node/driver/connector.h"
#include "node/wire/codec_event.h"
#include "node/driver/jobs.h"
#include "node/node.h"
#include "node/driver/peers.h"
#include "node/driver/placement.h"
#include "node/driver/ticker.h"
#include "node/driver/worker.h"

struct runtime_options {
	struct node_options node;
	const char *client_listen, *peer_listen, *bus_listen; /* HOST:PORT */
	uint32_t threads; /* that actors share, see placement.h; 0: each has its own */
	uint32_t job_threads;
	uint64_t request_bytes; /* memory for requests, see rpc/budget.h; of clients and of peers each */
	uint32_t client_connections_max, peer_connections_max; /* 0: RPC_CONNECTIONS_MAX */
	uint32_t client_idle_ms;                               /* 0: no limit */
};

struct runtime {
	struct node *node;
	struct placement placement;
	struct hosted *actors;  /* as in placement.actors */
	struct worker *workers; /* one per thread */
	uint32_t worker_count;
	struct peers *peers;
	struct jobs *jobs;
	struct ticker *ticker;
	struct rpc_server *client_server, *peer_server;
	struct rpc_bus *bus;
	struct gossip_row self;      /* what does not change of this node's row */
	_Atomic uint64_t cluster_id; /* for events */
	uint64_t started_us;
	uint64_t operation_seed; /* for operation ids of clients that sent none */
	_Atomic bool stopping;
	struct rpc_budget *budget, *peer_budget;          /* of requests, of clients and of peers */
	_Atomic uint64_t refusals_told, refusals_told_us; /* of budget: how many, and when to tell again */
	_Atomic uint32_t next_coordinator, next_replica;

	struct connector connector;

	/* owned by the main thread */
	uint64_t load_us, *load_busy_us; /* when and what each worker's busy_us was */
};

RPC_OK int runtime_open(const struct runtime_options *, struct runtime **out, struct rpc_error *error_out);
/* Until SIGTERM, SIGINT or SIGHUP, which the caller has blocked; returns its number. May be called again. */
int runtime_run(struct runtime *);
/* Finishes what is under way, flushes, syncs. The process should end after it. */
int runtime_close(struct runtime **);

/* ---- for workers ------------------------------------------------------------------------------------------------ */

/* The actor of this node that takes the message. (any worker) */
struct hosted *runtime_actor_for(struct runtime *, const struct message *);
/* The index may be any: there are only so many, and they take turns. (any thread) */
struct hosted *runtime_coordinator(struct runtime *, uint32_t index);
struct hosted *runtime_replica(struct runtime *, uint32_t index);
struct hosted *runtime_gossip(struct runtime *);
/* This node's own row with current figures. (any worker) */
void runtime_self(struct runtime *, struct gossip_row *row_out);
/* How each shard is: node->shard_count of them. (any worker) */
struct shard_health;
void runtime_health(struct runtime *, struct shard_health *shards_out);
/* Sends the rows on the bus and frees the message. (gossip worker) */
void runtime_broadcast(struct runtime *, struct message *);
/* Sends an event on the bus, with who and when filled in. (any worker) */
void runtime_tell(struct runtime *, const struct node_event *);

#endif
