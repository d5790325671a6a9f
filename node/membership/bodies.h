/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator's message to gossip says, and its answer; rows are in gossip.h. Part of node/actor/message.h. */
#ifndef KVRING_NODE_MEMBERSHIP_BODIES_H
#define KVRING_NODE_MEMBERSHIP_BODIES_H

#include <stdint.h>
#include "ring/ring.h"

struct gossip_rows;

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
