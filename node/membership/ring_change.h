/* SPDX-License-Identifier: Apache-2.0 */
/* Ring change: what operators want of the members -> the ring document that does it, and what that costs.
 *
 *     changes + ring in force + rows heard -> target (ring_claim: the fewest moves) -> plan, or a refusal
 *
 * The target's hash is the plan's: who commits a plan sends both hashes, and gets what was shown or a refusal, since the target depends
 * on nothing else. What is agreed on first is ring_change_begin of it.
 *
 * Threading   Pure functions.
 * Ownership   Plans and texts lie in the arena given; a document is the caller's.
 * Errors      -ENOMEM; -ENOENT (what is asked for makes no sense), -EPERM (the cluster is not in that state) and -EINVAL
 *             (ring_claim refuses) with a text that says what to do.
 * Invariants  A member that owns a partition stays a member, as LEAVING, until the ring is STABLE without it.
 */
#ifndef KVRING_NODE_RING_CHANGE_H
#define KVRING_NODE_RING_CHANGE_H

#include "node/actor/message.h"
#include "node/membership/gossip.h"

struct planned_member {
	uint64_t node_id;
	const char *name, *datacenter, *rack;
	uint32_t weight_before, weight_after; /* 0: it is no member */
	const char *state_before, *state_after;
	uint32_t partitions_before, partitions_after, primaries_before, primaries_after;
};

/* Places that one member gives up and another takes. */
struct planned_link {
	uint64_t from, to; /* from 0: nobody gives them up */
	uint32_t partitions;
	uint64_t bytes, estimated_ms; /* about */
};

struct change_plan {
	uint64_t epoch, parent_hash, plan_hash;
	struct planned_member *members; /* those of before and after, by id */
	struct planned_link *links;
	uint32_t member_count, link_count, violation_count;
	uint32_t moves, minimum_moves;
	const char **violations; /* of the target */
	bool violates;           /* more than the ring in force does */
	uint64_t bytes, estimated_ms;
};

/* A node as the planning one hears it. */
struct heard_node {
	const struct gossip_row *row;
	bool is_up, is_member;
};

/* What a plan is made from. */
struct change_scene {
	const struct ring_document *document; /* in force */
	const struct heard_node *nodes;       /* this one too */
	uint32_t node_count;
	uint64_t bytes_per_second; /* that a node takes in */
};

/* "active", "standby", "leaving". */
const char *ring_change_state_name(enum ring_member_state);

RPC_OK int ring_change_target(const struct change_scene *, const struct change_body *,
			      struct ring_document **target_out, struct ring_error *error_out);
RPC_OK int ring_change_plan(const struct change_scene *, const struct ring_document *target, struct arena *,
			    struct change_plan **out);
/* What is agreed on first: the target itself where no owner changes, else the transition to it. */
RPC_OK int ring_change_begin(const struct ring_document *, const struct ring_document *target,
			     struct ring_document **out, struct ring_error *error_out);

#endif
