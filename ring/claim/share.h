/* SPDX-License-Identifier: Apache-2.0 */
/* Fair shares: how many replicas each node of one datacenter should hold.
 *
 * width replicas of every partition are dealt out in proportion to the weights, like water that rises at the same speed
 * per unit of weight, but a node is full at one replica of every partition, and a rack has a least and a most per
 * partition, so that the replicas of a partition spread over the racks as evenly as the number of nodes in them allows
 * (R1 goes before R2). Shares that fulfil this are a flow through (partition, rack, node) with the same fraction for
 * every partition; by the integrality of flows there is then a placement in which every node holds its share rounded
 * down or up. ring_claim relies on that.
 *
 * Threading   pure functions.
 * Ownership   all arrays are the caller's.
 * Errors      -ENOMEM.
 * Invariants  integers only: no rounding that differs between machines (R4).
 */
#ifndef KVRING_RING_SHARE_H
#define KVRING_RING_SHARE_H

#include "ring/ring.h"

enum { SHARE_BITS = 46 }; /* fraction bits of a share */

struct share {
	uint64_t value;       /* replicas << SHARE_BITS */
	uint32_t least, most; /* replicas: the value rounded down and up */
};

/* Per partition: how many replicas a rack holds at least and at most. Distinct racks first, then a second round, and so
 * on. */
struct rack_limit {
	uint32_t node_count;  /* in */
	uint32_t least, most; /* out */
};

/* width: at most the sum of node_count. */
void rack_limits_compute(struct rack_limit *racks, uint32_t rack_count, uint32_t width);
/* weights and racks by node. */
RING_OK int shares_compute(const uint32_t *weights, const uint16_t *racks, uint32_t node_count,
			   const struct rack_limit *limits, uint32_t rack_count, uint32_t partition_count,
			   uint32_t width, struct share *shares_out);
/* numerator / denominator, as a share. */
struct share share_of(uint32_t numerator, uint32_t denominator);

#endif
