/* SPDX-License-Identifier: Apache-2.0 */
/* Balance: rows of owners brought between the least and the most of every node, by few steps.
 *
 * The work is a table of rows, one per partition, in which places are holes or taken by nodes:
 *
 *     1  steps   a hole, or else a place of the row's fullest node, goes to the node that is emptiest for its share;
 *                until every node is between least and most
 *     2  chains  where no direct step is left: a takes from b what b takes from c; the chain that moves least first.
 *                A placement exists (share.h), so by the augmenting path theorem chains reach it.
 *
 * Partitions are walked in an order drawn by hash, and ties go by hash, so that the owners of neighbours are
 * independent, and everything is the same on every machine (R4).
 *
 * Threading   one thread owns a balance.
 * Ownership   balance_init allocates, balance_fini frees.
 * Errors      -ENOMEM. An assertion when no placement exists: shares that do not follow share.h.
 * Invariants  B1 rows are distinct nodes, racks within their limits, and holes suffice for racks below their least.
 *             B2 load, holes, over and under count what stands in the rows.
 */
#ifndef KVRING_RING_BALANCE_H
#define KVRING_RING_BALANCE_H

#include "ring/document.h"
#include "ring/claim/share.h"

/* A node as claim sees it: an active member of the datacenter. Its index here is not that of the member. */
struct claimant {
	uint32_t member;
	uint64_t id;
	uint16_t rack;
	uint32_t load; /* rows it stands in, or stands first in */
	struct share share;
};

/* One step of a chain: taker (by index) takes this place from giver. */
struct step {
	uint16_t giver;
	uint8_t position;
	uint32_t partition;
	uint32_t distance; /* of the chain up to here */
};

struct balance {
	/* constant */
	uint64_t seed;
	uint32_t partition_count;
	uint32_t width; /* owners per partition */
	uint32_t node_count;
	uint32_t rack_count;
	struct rack_limit *racks;
	bool racks_have_least;
	uint32_t *order; /* partitions */

	/* the work */
	bool first_place; /* the work is to stand first, not to own: places are those at position 0 */
	uint16_t *rows;   /* node indexes, RING_NOBODY for a hole */
	bool *fresh;      /* by place of rows: handed over since balance_init */
	struct claimant *nodes;
	struct step *steps; /* node_count + 1: the last stands for the holes */
	uint32_t holes;
	uint32_t over, under; /* nodes with load > most, < least */
};

/* node_count nodes, to be filled in with member, id and rack; all places holes. Racks are numbered from 0 below
 * node_count. */
RING_OK int balance_init(struct balance *, uint64_t seed, uint64_t epoch, uint32_t partition_count, uint32_t width,
			 uint32_t node_count);
void balance_fini(struct balance *);
/* Computes the limits of the racks and the shares. weights by node. */
RING_OK int balance_set_shares(struct balance *, const uint32_t *weights);
/* A node stands in one more row, or one less. */
void balance_change_load(struct balance *, uint16_t node, int by);
/* All holes filled, every node between least and most. */
void balance_run(struct balance *);
/* The same for first places: only the order within rows changes. Afterwards load counts first places. */
void balance_run_first_places(struct balance *);

uint16_t *balance_row(const struct balance *, uint32_t partition);
/* Is a fuller for its share? */
bool balance_is_fuller(const struct claimant *a, const struct claimant *b);
uint32_t balance_count_rack(const struct balance *, const uint16_t *row, uint32_t width, uint16_t rack);
/* Places of the row that must go to racks below their least. */
uint32_t balance_count_reserved(const struct balance *, const uint16_t *row, uint32_t width);

#endif
