/* SPDX-License-Identifier: Apache-2.0 */
/* Board: the rows of owners of one datacenter while they are made, one per partition. A place is a hole or taken by a node.
 *
 * It knows what a row allows (R1), who holds what, and how far each node is from its share; which steps are taken is the
 * business of balance.h and chain.h.
 *
 * Threading   one thread owns a board.
 * Ownership   board_init allocates, board_fini frees.
 * Errors      -ENOMEM.
 * Invariants  B1 rows are distinct nodes, racks within their limits, and holes suffice for racks below their least.
 *             B2 load, holes, over and under count what stands in the rows.
 *             B3 the lists of places hold what can be given away, each at its holder.
 */
#ifndef KVRING_RING_BOARD_H
#define KVRING_RING_BOARD_H

#include "ring/claim/share.h"
#include "ring/document.h"

/* A node as claim sees it: an active member of the datacenter. Its index here is not that of the member. */
struct claimant {
	uint32_t member;
	uint64_t id;
	uint16_t rack;
	uint32_t load; /* rows it stands in, or stands first in */
	struct share share;
	uint64_t turn; /* balance.c: takers come in order of turn / share */
};

/* Who must give (holes and nodes over their most) or merely can (nodes over their least), and who must take (nodes
 * under their least) or merely can (under their most). What must, goes first: else a place moves twice. */
struct tier {
	bool must_give, must_take;
};

struct board {
	/* constant */
	uint64_t seed;
	uint32_t partition_count;
	uint32_t width; /* owners per partition */
	uint32_t node_count;
	uint32_t rack_count;
	struct rack_limit *racks;
	bool racks_have_least;
	uint32_t *order;       /* partitions */
	uint16_t *before;      /* previous owners: partition_count rows of node indexes, RING_NOBODY for who is gone */
	uint32_t before_width; /* 0: there is no previous document */
	bool pushed_out;       /* some of them are nodes and stand in a row no more: N is smaller, or racks changed */

	/* the work */
	bool first_place; /* the work is to stand first, not to own: places are those at position 0 */
	uint16_t *rows;   /* node indexes, RING_NOBODY for a hole */
	struct claimant *nodes;
	uint32_t *held, *next, *previous; /* lists of places: the first by node, then the holes; the others by place */
	uint16_t *takers;                 /* balance.c: nodes with room, in order */
	uint32_t taker_count;
	uint32_t holes;
	uint32_t over, under; /* nodes with load > most, < least */
};

/* node_count nodes, to be filled in with member, id and rack; all places holes. Racks are numbered from 0 below
 * node_count. */
RING_OK int board_init(struct board *, uint64_t seed, uint64_t epoch, uint32_t partition_count, uint32_t width,
		       uint32_t node_count);
void board_fini(struct board *);
/* Makes room for the previous owners, to be filled in before the run. */
RING_OK int board_remember(struct board *, uint32_t width);
/* Computes the limits of the racks and the shares. weights by node. */
RING_OK int board_set_shares(struct board *, const uint32_t *weights);
/* A node stands in one more row, or one less. */
void board_change_load(struct board *, uint16_t node, int by);
/* The same work for first places, once all places are taken: shares are of the first places, and loads count them. */
void board_turn_to_first_places(struct board *);

/* ---- who gives, who takes ---- */

bool board_gives(const struct board *, uint16_t giver, struct tier);
bool board_has_room(const struct claimant *taker, struct tier);
bool board_is_unfinished(const struct board *, struct tier);
/* Is a fuller for its share? */
bool board_is_fuller(const struct claimant *a, const struct claimant *b);

/* ---- what a row allows ---- */

uint16_t *board_row(const struct board *, uint32_t partition);
/* Places of a row that can be given away. */
uint32_t board_places(const struct board *);
bool board_may_take(const struct board *, uint32_t partition, uint32_t position, uint16_t taker);
/* What may_take asks of the taker's rack. */
bool board_rack_may_take(const struct board *, const uint16_t *row, uint32_t position, uint16_t rack);
/* Its holder did not own the partition before: that it moves on costs nothing more. */
bool board_has_moved(const struct board *, uint32_t partition, uint32_t position);
void board_hand_over(struct board *, uint32_t partition, uint32_t position, uint16_t taker);
uint32_t board_count_rack(const struct board *, const uint16_t *row, uint32_t width, uint16_t rack);
/* Places of the row that must go to racks below their least. */
uint32_t board_count_reserved(const struct board *, const uint16_t *row, uint32_t width);

/* ---- who holds what: a place is partition * width + position ---- */

#define BOARD_BEFORE_FIRST (UINT32_MAX - 1)

/* Before the first step. */
void board_list_places(struct board *);
/* The next place of this node, or hole (node_count), after *place, at first BOARD_BEFORE_FIRST. False: there is none. */
bool board_next_held(const struct board *, uint16_t node, uint32_t *place);

/* The same on every machine. */
uint64_t board_hash(const struct board *, uint64_t a, uint64_t b);

#endif
