/* SPDX-License-Identifier: Apache-2.0 */
/* Independent judges of ring_claim: slow, in floating point, by textbook methods.
 *
 * Threading   none.
 * Ownership   results go to the caller's arrays.
 * Errors      assertions.
 */
#ifndef KVRING_TESTS_RING_ORACLE_H
#define KVRING_TESTS_RING_ORACLE_H

#include "ring/ring.h"

/* Replicas each member of the datacenter should hold, 0 for others: shares of weight under the limits of R1. */
void oracle_shares(const struct ring_document *, uint32_t datacenter, double *shares_out);
/* The fewest claims that any placement under the rules of R1 moves from previous, when every node holds its share rounded
 * down or up. Minimum-cost flow: small clusters. */
uint32_t oracle_moves(const struct ring_document *previous, const struct ring_document *next, uint32_t datacenter);
/* The share of a member, rounded down and up; 0 for others. */
struct oracle_bounds {
	uint32_t least, most;
};
/* Where there are no racks: in whole numbers, without rounding. One for each member. */
void oracle_bounds(const struct ring_document *, uint32_t datacenter, struct oracle_bounds *bounds_out);
/* What the loads alone ask for, whatever the placement: who has too few must gain, and what nobody may keep goes to others. */
uint32_t oracle_fewest_moves(const struct ring_document *previous, const struct ring_document *next,
			     uint32_t datacenter, const struct oracle_bounds *bounds);
/* Least and most replicas of one partition in the rack of that member. */
void oracle_rack_limits(const struct ring_document *, uint32_t datacenter, uint32_t member, uint32_t *least_out,
			uint32_t *most_out);
bool oracle_is_node(const struct ring_document *, uint32_t datacenter, uint32_t member);

#endif
