/* SPDX-License-Identifier: Apache-2.0 */
/* Message: what one actor tells another, on this node or on any.
 *
 * Plain structs: one head for all, and a body by type, which the folder of the receiver declares (bodies.h). Between
 * nodes node/wire/codec_peer.c turns them into the batches of peer.proto; on one node they are handed over as they are.
 *
 * Threading   Owned by one thread at a time; handed over through a mailbox.
 * Ownership   A message lives in its arena and holds a reference to it, and to up to two more arenas whose memory
 *             it points into. message_free drops them. Slices in a message are valid as long as the message.
 */
#ifndef KVRING_NODE_MESSAGE_H
#define KVRING_NODE_MESSAGE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <urcu/wfcqueue.h>
#include "engine/engine.h"
#include "node/coordinator/bodies.h"
#include "node/membership/bodies.h"
#include "node/replica/bodies.h"
#include "node/upkeep/bodies.h"
#include "rpc/arena.h"
#include "rpc/base.h"
#include "rpc/budget.h"

enum actor_kind { ACTOR_COORDINATOR, ACTOR_REPLICA, ACTOR_GOSSIP, ACTOR_UPKEEP, ACTOR_KIND_COUNT };

struct address {
	uint64_t node_id;
	uint16_t kind; /* enum actor_kind */
	uint16_t index;
};

enum message_type {
	/* to a coordinator, from a client or from another coordinator */
	MESSAGE_CLIENT,  /* a client's request, one or many operations */
	MESSAGE_FORWARD, /* one operation, from a coordinator that holds no replica of the key */
	/* to a replica */
	MESSAGE_COORDINATE, /* add this new version; only from a coordinator of the same node */
	MESSAGE_STORE,      /* merge this object */
	MESSAGE_FETCH,      /* read */
	MESSAGE_SCAN,       /* what comes next in this partition */
	MESSAGE_DROP,       /* delete partitions that the ring gives to others; only from this node's upkeep */
	/* answers of a replica */
	MESSAGE_COORDINATED, /* the merged object, not yet durable; MESSAGE_STORED follows when it is */
	MESSAGE_STORED,
	MESSAGE_FETCHED,
	MESSAGE_SCANNED,
	MESSAGE_DROPPED,
	/* answers of a coordinator */
	MESSAGE_CLIENT_DONE,
	MESSAGE_FORWARDED,
	/* gossip */
	MESSAGE_BUS,            /* heartbeats, from and to everyone */
	MESSAGE_GOSSIP,         /* push-pull question */
	MESSAGE_GOSSIPED,       /* and its answer */
	MESSAGE_BEHIND,         /* an actor of this node found out that its ring is old */
	MESSAGE_VOTE,           /* on the next ring document */
	MESSAGE_VOTED,          /* and its answer */
	MESSAGE_STOPPING,       /* the node stops: operators get their answers now */
	MESSAGE_INIT_CLUSTER,   /* from an operator, through a coordinator */
	MESSAGE_SET_RACK,       /* likewise, as the next ones */
	MESSAGE_ABORT_CHANGE,   /* of the owners */
	MESSAGE_FORCE_RING,     /* a ring without members that are lost for good */
	MESSAGE_CLUSTER_INITED, /* the answer to the four above */
	MESSAGE_PLAN_CHANGE,    /* what a change of the members would do */
	MESSAGE_COMMIT_CHANGE,  /* do it */
	MESSAGE_CHANGE_PLAN,    /* the answer to both */
	MESSAGE_READY,          /* from upkeep of this node: its part of the ring in force is done */
	/* to upkeep */
	MESSAGE_RING, /* from gossip of this node: another ring document is in the view */
	MESSAGE_TYPE_COUNT,
};

/* Where a message that a step left goes. */
enum message_way {
	WAY_CLIENT, /* the answer to a client or an operator */
	WAY_ANSWER, /* the answer to a question of another node, which `call` stands for */
	WAY_LOCAL,  /* to an actor of this node */
	WAY_BUS,    /* to everyone */
	WAY_PEER,   /* a question to another node */
};

/* A replica's answer; the numbers of ReplicaCode in peer.proto, and what the driver knows by itself. */
enum replica_status {
	REPLICA_OK = 1,
	REPLICA_ABSENT,
	REPLICA_ERROR,
	REPLICA_STALE_RING,
	REPLICA_OVERLOADED,
	REPLICA_DISK_FULL,
	REPLICA_NOT_OWNER,
	/* never on the wire: */
	REPLICA_UNREACHABLE, /* nothing was sent */
	REPLICA_LOST,        /* sent, no answer: may have been executed */
	/* COORDINATED only: refused, nothing was written (enum object_put_result) */
	REPLICA_SIBLING_LIMIT,
	REPLICA_TOO_OLD,
	REPLICA_EARLY,
	REPLICA_OWN_CONTEXT,
	REPLICA_STATUS_COUNT,
};

struct message {
	struct cds_wfcq_node mail; /* the mailbox's */
	struct message *next;      /* the owner's: lists of effects, of waiting answers */
	enum message_type type;
	struct address from, to;
	uint64_t correlation;       /* chosen by who asks, returned in the answer */
	uint64_t deadline_us;       /* on the receiver's clock; expired questions are dropped */
	uint64_t epoch;             /* of the ring the sender used */
	struct rpc_slice key;       /* engine key (key.h) that a question to a replica is about; empty for all others */
	enum replica_status status; /* of a replica's answer */
	void *call; /* the driver's: where an answer goes that leaves this node; copied from question to answer */
	uint32_t call_index;
	struct arena *arena;
	struct arena *pins[2];
	struct engine_value value; /* pinned engine memory that a slice below points into, or zero */
	struct rpc_budget *budget; /* in which `charged` bytes count until the message is freed; NULL: none */
	uint64_t charged;
	/* The body, declared by who receives it. */
	union {
		/* to a coordinator */
		struct client_body client;
		struct forward_body forward;
		struct forwarded_body forwarded;
		struct coordinated_body coordinated;
		struct fetched_body fetched;
		/* to a replica */
		struct coordinate_body coordinate;
		struct store_body store;
		struct fetch_body fetch;
		struct scan_body scan;
		struct drop_body drop;
		/* to upkeep */
		struct scanned_body scanned;
		struct dropped_body dropped;
		/* to gossip, and its answer to an operator */
		struct gossip_rows *gossip; /* BUS, GOSSIP, GOSSIPED: see gossip.h */
		struct behind_body behind;
		struct vote_body vote;
		struct voted_body voted;
		struct set_rack_body set_rack;
		struct init_cluster_body init_cluster;
		struct abort_body abort_change;
		struct force_body force;
		struct change_body change;
		struct change_plan_body change_plan;
		struct ready_body ready;
		struct cluster_inited_body cluster_inited;
	};
};

/* Messages in order. May be copied and moved: nothing points into it. */
struct message_list {
	struct message *first, *last;
	uint32_t count;
};

/* At the end. */
static inline void message_list_add(struct message_list *list, struct message *message)
{
	assert((list->first == NULL) == (list->count == 0));
	message->next = NULL;
	if (list->first == NULL)
		list->first = message;
	else
		list->last->next = message;
	list->last = message;
	list->count++;
}

/* The first one, or NULL. */
static inline struct message *message_list_take(struct message_list *list)
{
	struct message *message = list->first;
	if (message == NULL)
		return NULL;
	assert(list->count > 0);
	list->first = message->next;
	list->count--;
	message->next = NULL;
	return message;
}

void message_list_free(struct message_list *);

/* A zeroed message in this arena (one more reference to it). NULL: out of memory. */
struct message *message_create(struct arena *arena, enum message_type);
/* Keeps arena alive as long as the message (at most two). */
void message_pin(struct message *, struct arena *);
/* Holds so many bytes in the budget until the message is freed. False: there is no room, and nothing is held. */
bool message_charge(struct message *, struct rpc_budget *, uint64_t bytes);
/* Drops the results' held messages too, when the message owns a client request. NULL is allowed. */
void message_free(struct message *);
/* An answer in the arena: addressed back, with correlation, call and call_index of the question. */
struct message *message_answer(const struct message *question, struct arena *arena, enum message_type);
/* Bytes that the question carries: keys, values, objects. 0 for what is no question about a key. */
size_t message_size(const struct message *);
/* Over LIMIT_SMALL_SIZE, and of a kind whose order among others does not matter: a question about a key. Between actors and between
 * nodes such questions have lanes of their own, so that a small one waits for one of them and not for all. */
bool message_is_large(const struct message *);
enum message_way message_way(const struct message *, uint64_t self_id);
/* Which kind of actor receives a question. ACTOR_KIND_COUNT: none, it leaves through the port of clients and operators. An answer goes
 * to whoever asked, as its `to` says. */
enum actor_kind message_receiver(enum message_type);
/* Whether that kind of actor may get it. */
bool message_is_for(enum message_type, enum actor_kind);
const char *message_type_name(enum message_type);
const char *replica_status_name(enum replica_status);

#endif
