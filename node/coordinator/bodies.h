/* SPDX-License-Identifier: Apache-2.0 */
/* What messages to a coordinator say, from clients, other coordinators and replicas. Part of node/actor/message.h. */
#ifndef KVRING_NODE_COORDINATOR_BODIES_H
#define KVRING_NODE_COORDINATOR_BODIES_H

#include <stdbool.h>
#include <stdint.h>
#include "node/coordinator/level.h"
#include "node/object/version.h"
#include "rpc/base.h"

struct message;

/* ---- clients ------------------------------------------------------------------------------------------------ */

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
	uint32_t quorum;  /* r or w; 0: by level */
	uint32_t level;   /* as it came, of enum level; LEVEL_NONE: the node's default */
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

struct client_body {
	struct client_request *request;
};

/* ---- other coordinators ------------------------------------------------------------------------------------- */

struct forward_body {
	struct client_operation operation;
};

struct forwarded_body {
	struct client_result result;
};

/* ---- replicas ----------------------------------------------------------------------------------------------- */

struct coordinated_body {
	struct rpc_slice object; /* merged, encoded; the other replicas get these bytes */
	struct dot dot;          /* zero: the operation was superseded since an earlier attempt */
	struct mark mark;        /* of the operation */
};

struct fetched_body {
	struct rpc_slice object; /* empty when digest_only was asked, or absent */
	uint64_t digest;
	bool receiving; /* the replica's disk may have gone back in time: no read counts the answer */
};

#endif
