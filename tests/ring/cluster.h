/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters for tests of ring/: a plan that is easy to build and to change, and a seeded random generator.
 *
 * Threading   none.
 * Ownership   a cluster is plain memory; its plan points into it, so it must not be copied.
 * Errors      assertions.
 */
#ifndef KVRING_TESTS_RING_CLUSTER_H
#define KVRING_TESTS_RING_CLUSTER_H

#include "ring/ring.h"

struct cluster {
	struct ring_plan plan;
	struct ring_datacenter datacenters[4];
	struct ring_member members[RING_MEMBERS_MAX];
};

/* One datacenter, dc1. */
void cluster_init(struct cluster *, uint32_t partition_count, uint32_t replica_count);
void cluster_add_datacenter(struct cluster *, const char *name, uint32_t replica_count);
/* Named n<number>, with addresses and an id derived from the number; in dc1. */
struct ring_member *cluster_add(struct cluster *, uint32_t number, const char *rack, uint32_t weight);
void cluster_remove(struct cluster *, uint32_t index);
/* ring_claim that must succeed. */
struct ring_document *cluster_claim(const struct cluster *, const struct ring_document *previous);

/* splitmix64 */
struct random {
	uint64_t state;
};
uint64_t random_next(struct random *);
uint32_t random_below(struct random *, uint32_t limit);

/* (partition, node) pairs of next that previous does not have. */
uint32_t moved_claims(const struct ring_document *previous, const struct ring_document *next);
/* The least that any placement with the loads of next must move: what each node gained. */
uint32_t gained_claims(const struct ring_document *previous, const struct ring_document *next);

#endif
