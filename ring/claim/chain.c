/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/chain.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* How a node was reached. */
struct step {
	uint32_t place; /* that it takes */
	uint32_t hops;  /* from the first giver; 0: it is one */
	bool reached;
};

/* The nodes of one rack stand together in unreached; those that the search has not reached come first. */
struct rack {
	uint32_t first, count, unreached;
	uint32_t open_at; /* index in open, while unreached > 0 */
};

/* Node node_count stands for the holes. */
struct chains {
	struct board *board;
	struct tier tier;
	bool returns;       /* places go only to previous owners */
	struct step *steps; /* by node */
	uint16_t *order;    /* nodes in the order in which they were reached */
	uint32_t order_count;
	struct rack *racks;
	uint16_t *unreached, *unreached_at; /* nodes; index in it, by node */
	uint16_t *open;                     /* racks with nodes not reached */
	uint32_t open_count;
};

/* ---- the nodes not reached, by rack ---------------------------------------------------------------------------- */

static void group_by_rack(struct chains *chains)
{
	struct board *board = chains->board;
	uint32_t first = 0;

	for (uint32_t i = 0; i < board->node_count; i++)
		chains->racks[board->nodes[i].rack].count++;
	for (uint32_t i = 0; i < board->rack_count; i++) {
		chains->racks[i].first = first;
		first += chains->racks[i].count;
	}
	for (uint16_t i = 0; i < board->node_count; i++) {
		struct rack *rack = &chains->racks[board->nodes[i].rack];

		chains->unreached_at[i] = (uint16_t)(rack->first + rack->unreached);
		chains->unreached[rack->first + rack->unreached++] = i;
	}
}

static void close_rack(struct chains *chains, const struct rack *rack)
{
	uint16_t last = chains->open[--chains->open_count];

	chains->open[rack->open_at] = last;
	chains->racks[last].open_at = rack->open_at;
}

static void reach(struct chains *chains, uint16_t node, uint32_t place, uint32_t hops)
{
	struct board *board = chains->board;
	struct rack *rack = &chains->racks[board->nodes[node].rack];
	uint32_t at = chains->unreached_at[node], last = rack->first + --rack->unreached;
	uint16_t other = chains->unreached[last];

	assert(!chains->steps[node].reached);
	assert(at <= last);
	chains->unreached[at] = other;
	chains->unreached_at[other] = (uint16_t)at;
	chains->unreached[last] = node;
	chains->unreached_at[node] = (uint16_t)last;
	if (rack->unreached == 0)
		close_rack(chains, rack);
	chains->steps[node] = (struct step){place, hops, true};
	chains->order[chains->order_count++] = node;
}

/* All who may give are reached. */
static void begin_search(struct chains *chains)
{
	struct board *board = chains->board;

	chains->order_count = 0;
	chains->open_count = 0;
	for (uint16_t i = 0; i < board->rack_count; i++) {
		struct rack *rack = &chains->racks[i];

		rack->unreached = rack->count;
		if (rack->count > 0) {
			rack->open_at = chains->open_count;
			chains->open[chains->open_count++] = i;
		}
	}
	for (uint16_t i = 0; i < board->node_count; i++)
		chains->steps[i].reached = false;
	for (uint16_t i = 0; i < board->node_count; i++)
		if (board_gives(board, i, chains->tier))
			reach(chains, i, BOARD_BEFORE_FIRST, 0);
	if (board->holes && board_gives(board, RING_NOBODY, chains->tier)) {
		chains->steps[board->node_count] = (struct step){BOARD_BEFORE_FIRST, 0, true};
		chains->order[chains->order_count++] = (uint16_t)board->node_count;
	}
}

/* ---- the search ------------------------------------------------------------------------------------------------ */

/* Offers a first place to the others of its row. The node at which a chain ends, or RING_NOBODY. */
static uint16_t offer_to_row(struct chains *chains, uint32_t place, uint32_t hops)
{
	struct board *board = chains->board;
	const uint16_t *row = board_row(board, place / board->width);

	for (uint32_t i = 1; i < board->width; i++) {
		if (chains->steps[row[i]].reached)
			continue;
		reach(chains, row[i], place, hops);
		if (board_has_room(&board->nodes[row[i]], chains->tier))
			return row[i];
	}
	return RING_NOBODY;
}

static uint16_t offer_to_previous(struct chains *chains, uint32_t place, uint32_t hops)
{
	struct board *board = chains->board;
	uint32_t partition = place / board->width, position = place % board->width;

	for (uint32_t i = 0; i < board->before_width; i++) {
		uint16_t node = board->before[(size_t)partition * board->before_width + i];

		if (node == RING_NOBODY || chains->steps[node].reached ||
		    !board_may_take(board, partition, position, node))
			continue;
		reach(chains, node, place, hops);
		if (board_has_room(&board->nodes[node], chains->tier))
			return node;
	}
	return RING_NOBODY;
}

static uint16_t offer_to_rack(struct chains *chains, uint32_t place, uint32_t hops, uint16_t rack)
{
	struct board *board = chains->board;
	uint32_t partition = place / board->width, position = place % board->width;

	for (uint32_t i = chains->racks[rack].unreached; i-- > 0;) {
		uint16_t node = chains->unreached[chains->racks[rack].first + i];

		if (!board_may_take(board, partition, position, node))
			continue;
		reach(chains, node, place, hops); /* the one that takes its seat was looked at already */
		if (board_has_room(&board->nodes[node], chains->tier))
			return node;
	}
	return RING_NOBODY;
}

static uint16_t offer(struct chains *chains, uint32_t place, uint32_t hops)
{
	struct board *board = chains->board;
	const uint16_t *row = board_row(board, place / board->width);
	uint16_t end = RING_NOBODY;

	if (board->first_place)
		return offer_to_row(chains, place, hops);
	if (chains->returns)
		return offer_to_previous(chains, place, hops);
	for (uint32_t i = chains->open_count; i-- > 0 && end == RING_NOBODY;) {
		uint16_t rack = chains->open[i];

		if (board_rack_may_take(board, row, place % board->width, rack))
			end = offer_to_rack(chains, place, hops, rack);
	}
	return end;
}

/* Offers the places of a node that was reached: those that have moved already, which costs nothing more, or the others. */
static uint16_t offer_places(struct chains *chains, uint16_t node, bool moved)
{
	struct board *board = chains->board;
	uint32_t place = BOARD_BEFORE_FIRST, hops = chains->steps[node].hops + 1;
	uint16_t end = RING_NOBODY;

	while (end == RING_NOBODY && board_next_held(board, node, &place))
		if (board_has_moved(board, place / board->width, place % board->width) == moved)
			end = offer(chains, place, hops);
	return end;
}

/* One layer: the nodes to which chains move equally many places, from order[from] on. Those from order[nearer] on are of
 * the layer before. Both stand in order of hops, and so does what this appends. */
static uint16_t extend_layer(struct chains *chains, uint32_t nearer, uint32_t from)
{
	uint32_t here = from;

	while (nearer < from || here < chains->order_count) {
		uint16_t end;

		if (here < chains->order_count && (nearer == from || chains->steps[chains->order[here]].hops <=
									     chains->steps[chains->order[nearer]].hops))
			end = offer_places(chains, chains->order[here++], true);
		else
			end = offer_places(chains, chains->order[nearer++], false);
		if (end != RING_NOBODY)
			return end;
	}
	return RING_NOBODY;
}

/* Where the shortest chain ends, or RING_NOBODY. Two steps of a shortest chain in one row are never in each other's way: if
 * they were, the giver of the first could have given to the taker of the second, which is shorter. So each step is still
 * allowed when its turn comes. */
static uint16_t find_chain(struct chains *chains)
{
	uint32_t nearer = 0, from = 0;
	uint16_t end;

	begin_search(chains);
	do {
		end = extend_layer(chains, nearer, from);
		nearer = from;
		from = chains->order_count;
	} while (end == RING_NOBODY && nearer < from);
	return end;
}

static uint16_t giver_of(const struct board *board, uint32_t place)
{
	return board_row(board, place / board->width)[place % board->width];
}

/* The last step first. */
static void follow_chain(struct chains *chains, uint16_t taker)
{
	struct board *board = chains->board;

	while (taker != RING_NOBODY && chains->steps[taker].hops > 0) {
		uint32_t place = chains->steps[taker].place;
		uint16_t giver = giver_of(board, place);

		board_hand_over(board, place / board->width, place % board->width, taker);
		taker = giver;
	}
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static void chains_fini(struct chains *chains)
{
	free(chains->steps);
	free(chains->order);
	free(chains->racks);
	free(chains->unreached);
	free(chains->unreached_at);
	free(chains->open);
}

static int chains_init(struct chains *chains, struct board *board, struct tier tier, bool returns)
{
	uint32_t count = board->node_count;

	*chains = (struct chains){.board = board, .tier = tier, .returns = returns};
	chains->steps = malloc((count + 1) * sizeof *chains->steps);
	chains->order = malloc((count + 1) * sizeof *chains->order);
	chains->racks = calloc(board->rack_count, sizeof *chains->racks);
	chains->unreached = malloc(count * sizeof *chains->unreached);
	chains->unreached_at = malloc(count * sizeof *chains->unreached_at);
	chains->open = malloc(board->rack_count * sizeof *chains->open);
	if (chains->steps == NULL || chains->order == NULL || chains->racks == NULL || chains->unreached == NULL ||
	    chains->unreached_at == NULL || chains->open == NULL) {
		chains_fini(chains);
		return -ENOMEM;
	}
	group_by_rack(chains);
	return 0;
}

static int make(struct board *board, struct tier tier, bool returns)
{
	uint16_t end = RING_NOBODY;
	struct chains chains;
	int error;

	if (!board_is_unfinished(board, tier))
		return 0;
	error = chains_init(&chains, board, tier, returns);
	if (error)
		return error;
	do {
		end = find_chain(&chains);
		if (end != RING_NOBODY)
			follow_chain(&chains, end);
	} while (end != RING_NOBODY && board_is_unfinished(board, tier));
	chains_fini(&chains);
	return 0;
}

int chains_make(struct board *board, struct tier tier)
{
	return make(board, tier, false);
}

int chains_return(struct board *board, struct tier tier)
{
	return board->pushed_out && !board->first_place ? make(board, tier, true) : 0;
}
