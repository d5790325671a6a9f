/* SPDX-License-Identifier: Apache-2.0 */
/* Message: what one actor tells another, on this node or on any.
 *
 * Plain structs. Between nodes node/codec.c turns them into the batches of peer.proto; on one node they are handed over
 * as they are.
 *
 * Threading   Owned by one thread at a time; handed over through a mailbox.
 * Ownership   A message lives in its home arena and holds a reference to it, and to up to two more arenas whose memory
 *             it points into. message_free drops them. Slices in a message are valid as long as the message.
 */
#ifndef KVRING_NODE_MESSAGE_H
#define KVRING_NODE_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <urcu/wfcqueue.h>
#include "rpc/arena.h"
#include "engine/engine.h"
#include "ring/ring.h"
#include "rpc/base.h"
#include "node/object/version.h"

enum actor_kind { ACTOR_COORDINATOR, ACTOR_REPLICA, ACTOR_GOSSIP, ACTOR_KIND_COUNT };

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
	/* answers of a replica */
	MESSAGE_COORDINATED, /* the merged object, not yet durable; MESSAGE_STORED follows when it is */
	MESSAGE_STORED,
	MESSAGE_FETCHED,
	/* answers of a coordinator */
	MESSAGE_CLIENT_DONE,
	MESSAGE_FORWARDED,
	/* gossip */
	MESSAGE_BUS,            /* heartbeats, from and to everyone */
	MESSAGE_GOSSIP,         /* push-pull question */
	MESSAGE_GOSSIPED,       /* and its answer */
	MESSAGE_INIT_CLUSTER,   /* from an operator, through a coordinator */
	MESSAGE_CLUSTER_INITED, /* the answer */
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
};

enum operation_kind { OPERATION_PUT, OPERATION_GET };

/* What a client asks for one key. */
struct client_operation {
	enum operation_kind kind;
	struct rpc_slice bucket; /* empty: "default" */
	struct rpc_slice key;
	struct rpc_slice value;
	struct rpc_slice context; /* as it came: opaque bytes */
	uint8_t operation_id[RPC_OPERATION_ID_SIZE];
	uint32_t attempt; /* of this operation id, from 1; a coordinator that tries another owner counts on */
	uint32_t quorum;  /* r or w; 0: default */
	bool tombstone;
	uint64_t expires_ms;
};

struct client_sibling {
	struct rpc_slice value;
	uint64_t written_ms;
};

/* The numbers of Outcome in kv.proto. */
enum outcome { OUTCOME_DONE = 1, OUTCOME_ABSENT, OUTCOME_IN_DOUBT, OUTCOME_REFUSED };

struct client_result {
	enum outcome outcome;
	uint32_t code;                                        /* Code of kv.proto */
	const char *message;                                  /* NULL: none */
	uint32_t acks_owners, acks_fallbacks, synced, needed; /* a get: acks_owners counts replies */
	struct rpc_slice context;
	const struct client_sibling *siblings;
	uint32_t sibling_count;
	/* What keeps the bytes above alive, each may be NULL; dropped by message_free of the message with the request.
	 */
	struct message *held;
	struct arena *pin;
};

/* One client call: operations and, in the same order, results. Lives in the arena of its message. */
struct client_request {
	struct client_operation *operations;
	struct client_result *results;
	uint32_t count;
	uint32_t remaining; /* results still missing; the coordinator's */
	uint32_t method;    /* how to encode the answer: enum method in codec.h */
	uint64_t trace_id;
	uint64_t received_us; /* 0: not known */
	/* Set when this node takes nothing of the call: code and text of the answer, which then has no results. */
	uint32_t refusal_code;
	const char *refusal;
};

struct message {
	struct cds_wfcq_node mail; /* the mailbox's */
	struct message *next;      /* the owner's: lists of effects, of waiting answers */
	enum message_type type;
	struct address from, to;
	uint64_t correlation; /* chosen by who asks, returned in the answer */
	uint64_t deadline_us; /* on the receiver's clock; expired questions are dropped */
	uint64_t epoch;       /* of the ring the sender used */
	struct rpc_slice key; /* engine key (key.h) that a question to a replica is about; empty for all others */
	enum replica_status status; /* of a replica's answer */
	void *call; /* the driver's: where an answer goes that leaves this node; copied from question to answer */
	uint32_t call_index;
	struct arena *home;
	struct arena *pins[2];
	struct engine_value value; /* pinned engine memory that a slice below points into, or zero */
	union {
		struct {
			struct client_request *request;
		} client;
		struct {
			struct client_operation operation;
		} forward;
		struct {
			struct client_result result;
		} forwarded;
		struct {
			struct client_operation operation;
			struct context context; /* decoded */
		} coordinate;
		struct {
			struct rpc_slice object; /* encoded */
			uint64_t hint_for;       /* node id, 0 when the receiver is an owner */
		} store;
		struct {
			bool digest_only;
		} fetch;
		struct {
			struct rpc_slice object; /* merged, encoded; the other replicas get these bytes */
			struct dot dot;          /* zero: the operation was superseded since an earlier attempt */
			struct mark mark;        /* of the operation */
		} coordinated;
		struct {
			struct rpc_slice object; /* empty when digest_only was asked, or absent */
			uint64_t digest;
		} fetched;
		struct gossip_rows *gossip; /* BUS, GOSSIP, GOSSIPED: see gossip.h */
		struct {
			const struct ring_member *members;
			uint32_t member_count, partition_count, replica_count;
		} init_cluster;
		struct {
			uint32_t code;
			const char *text;
			uint64_t cluster_id, epoch;
		} cluster_inited;
	};
};

/* Messages in order. May be copied and moved: nothing points into it. */
struct message_list {
	struct message *first, *last;
	uint32_t count;
};

/* At the end. */
void message_list_add(struct message_list *, struct message *);
/* The first one, or NULL. */
struct message *message_list_take(struct message_list *);
void message_list_free(struct message_list *);

/* A zeroed message in this arena (one more reference to it). NULL: out of memory. */
struct message *message_create(struct arena *home, enum message_type);
/* Keeps arena alive as long as the message (at most two). */
void message_pin(struct message *, struct arena *);
/* Drops the results' held messages too, when the message owns a client request. NULL is allowed. */
void message_free(struct message *);
/* An answer in `home`: addressed back, with correlation, call and call_index of the question. */
struct message *message_answer(const struct message *question, struct arena *home, enum message_type);
enum message_way message_way(const struct message *, uint64_t self_id);
const char *message_type_name(enum message_type);
const char *replica_status_name(enum replica_status);

#endif
