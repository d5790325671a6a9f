/* SPDX-License-Identifier: Apache-2.0 */
/* What messages to gossip say, and their answers; rows are in gossip.h. Part of node/actor/message.h. */
#ifndef KVRING_NODE_MEMBERSHIP_BODIES_H
#define KVRING_NODE_MEMBERSHIP_BODIES_H

#include <stdint.h>
#include "ring/ring.h"

struct gossip_rows;

/* A ring of that epoch is in force elsewhere. */
struct behind_body {
	uint64_t epoch;
	uint64_t node_id; /* who has it; 0: unknown */
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
