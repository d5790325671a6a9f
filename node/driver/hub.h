/* SPDX-License-Identifier: Apache-2.0 */
/* Hub: what the threads of a node share: who hosts which actor, the links and the bus, the figures of the whole node.
 *
 *     runtime --> loop --> inbound, outbound --> worker --> hub        each calls only those to its right
 *
 * Threading   Filled before the threads start and constant afterwards, but for the atomic members. Functions: any thread,
 *             or as they say.
 * Ownership   Borrows everything from the runtime (runtime.h), which outlives the threads.
 * Errors      None: an event that cannot be made or sent is dropped.
 */
#ifndef KVRING_NODE_HUB_H
#define KVRING_NODE_HUB_H

#include "node/driver/placement.h"
#include "node/node.h"
#include "node/wire/codec_event.h"
#include "rpc/rpc.h"

struct committer;
struct connector;
struct engine_pool;
struct peers;
struct shard_health;
struct ticker;
struct worker;

/* An actor on its thread. */
struct hosted {
	struct worker *worker;
	enum actor_kind kind;
	uint32_t index;
	struct committer *committer; /* replica */

	/* owned by the thread */
	uint64_t timer_us;
	bool worked;     /* since its last EVENT_BATCH_END */
	bool sync;       /* it asked for a commit */
	bool committing; /* a commit is with the committer */
};

struct hub {
	struct node *node;
	struct placement placement;
	struct hosted *actors; /* as in placement.actors */
	struct peers *peers;
	struct connector *connector;
	struct engine_pool *pool;
	struct ticker *ticker;
	struct rpc_bus *bus;
	struct rpc_budget *budget, *peer_budget; /* of requests, of clients and of peers */
	struct rpc_budget *values; /* of large values that were read, here or by a peer, until their answers are made */
	struct gossip_row self;    /* what does not change of this node's row */
	uint64_t operation_seed;   /* for operation ids of clients that sent none */

	_Atomic bool stopping;
	_Atomic uint64_t cluster_id;                      /* for events */
	_Atomic uint64_t refusals_told, refusals_told_us; /* of budget: how many, and when to tell again */
	_Atomic uint32_t next_coordinator, next_replica;  /* whose turn it is with a request */
};

/* The actor of this node that takes the message. */
struct hosted *hub_actor_for(struct hub *, const struct message *);
/* The index may be any: there are only so many, and they take turns. */
struct hosted *hub_coordinator(struct hub *, uint32_t index);
struct hosted *hub_replica(struct hub *, uint32_t index);
struct hosted *hub_gossip(struct hub *);
/* This node's own row with current figures. */
void hub_self(struct hub *, struct gossip_row *row_out);
/* How each shard is: node->shard_count of them. */
void hub_health(struct hub *, struct shard_health *shards_out);
/* Sends the rows on the bus and frees the message. (gossip's worker) */
void hub_broadcast(struct hub *, struct message *);
/* Sends an event on the bus, with who and when filled in. */
void hub_tell(struct hub *, const struct node_event *);
/* coordinator_links: is the link to that node open? arg is the hub. (any thread) */
bool hub_is_connected(void *arg, uint64_t node_id);
/* The wall clock. */
uint64_t hub_unix_ms(void);

#endif
