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
/* The fewest claims that any placement with the loads of next, under the rules of R1, moves from previous. Minimum-cost
 * flow: small clusters. */
uint32_t oracle_moves(const struct ring_document *previous, const struct ring_document *next, uint32_t datacenter);
/* Least and most replicas of one partition in the rack of that member. */
void oracle_rack_limits(const struct ring_document *, uint32_t datacenter, uint32_t member, uint32_t *least_out,
			uint32_t *most_out);
bool oracle_is_node(const struct ring_document *, uint32_t datacenter, uint32_t member);

#endif
