/* SPDX-License-Identifier: Apache-2.0 */
/* What messages to gossip say, and their answers; rows are in gossip.h. Part of node/actor/message.h. */
#ifndef KVRING_NODE_MEMBERSHIP_BODIES_H
#define KVRING_NODE_MEMBERSHIP_BODIES_H

#include <stdbool.h>
#include <stdint.h>
#include "rpc/base.h"
#include "ring/ring.h"

struct gossip_rows;
struct change_plan;

/* A ring of that epoch is in force elsewhere. */
struct behind_body {
	uint64_t epoch;
	uint64_t node_id; /* who has it; 0: unknown */
};

/* Of a proposal; higher counters win, then higher ids. Counter 0: none. */
struct ballot {
	uint64_t counter;
	uint64_t node_id; /* of who proposes */
};

/* VOTE: promise to accept nothing below this ballot, or accept this document under it (acceptor.h). */
struct vote_body {
	uint64_t parent_epoch, parent_hash; /* of the ring that it is to follow */
	struct ballot ballot;
	struct rpc_slice document; /* encoded; empty: a promise is asked for */
};

/* The numbers of VoteOutcome in peer.proto. */
enum vote_outcome {
	VOTE_PROMISED = 1,
	VOTE_ACCEPTED,
	VOTE_OUTBID,     /* a higher ballot was promised */
	VOTE_OTHER_RING, /* another ring is in force there */
	VOTE_REFUSED,    /* text says why */
};

struct voted_body {
	enum vote_outcome outcome;
	uint64_t epoch;            /* of the ring in force there */
	struct ballot promised;    /* the highest one there */
	struct ballot accepted;    /* PROMISED: what was accepted before */
	struct rpc_slice document; /* likewise */
	const char *text;
};

/* READY: upkeep has done this node's part under the ring document of that epoch. */
struct ready_body {
	uint64_t epoch, hash;
};

/* From an operator: PLAN_CHANGE, COMMIT_CHANGE. The numbers of ChangeKind in kv.proto. */
enum change_kind { CHANGE_JOIN = 1, CHANGE_LEAVE, CHANGE_REPLACE, CHANGE_REWEIGHT, CHANGE_REMOVE, CHANGE_DRAIN };

struct member_change {
	enum change_kind kind;
	char node[RING_NAME_MAX];
	char replacement[RING_NAME_MAX];
	uint32_t weight;
};

struct change_body {
	const struct member_change *changes;
	uint32_t change_count;
	uint64_t parent_hash, plan_hash;
	bool allow_violations;
};

/* The answer to both. */
struct change_plan_body {
	uint32_t code;
	const char *text;
	const struct change_plan *plan; /* ring_change.h; NULL unless the code is OK */
};

/* From an operator: ABORT_CHANGE. */
struct abort_body {
	uint64_t epoch; /* of the change; 0: whichever is under way */
};

/* From an operator: FORCE_RING. */
struct force_body {
	const char (*lost)[RING_NAME_MAX]; /* names of members */
	uint32_t lost_count;
	uint64_t ring_hash;
};

/* From an operator. */
struct set_rack_body {
	char node[RING_NAME_MAX]; /* name of a member */
	char rack[RING_NAME_MAX];
};

struct init_cluster_body {
	const struct ring_member *members;
	uint32_t member_count, partition_count, replica_count;
};

struct cluster_inited_body {
	uint32_t code;
	const char *text;
	uint64_t cluster_id, epoch;
};

#endif
