/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/balance.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/claim/chain.h"

enum { TURN_BITS = 16 }; /* of a claim, in a turn */

/* ---- 1: direct steps ------------------------------------------------------------------------------------------- */

/* When a node takes its next place: at load / share, and later by a part of a claim that is drawn for each. Without it nodes
 * of one weight would keep step and own the same partitions, again and again. Who owns most partitions has little to wait:
 * its places run out. */
static void set_turn(const struct board *board, struct claimant *node)
{
	uint64_t all = (uint64_t)board->partition_count << TURN_BITS;
	uint64_t others = all - (node->share.value >> (SHARE_BITS - TURN_BITS)); /* that it leaves to others */
	uint64_t drawn = board_hash(board, node->id, node->load) >> (64 - TURN_BITS);

	assert(node->share.value >> (SHARE_BITS - TURN_BITS) <= all);
	node->turn = ((uint64_t)node->load << TURN_BITS) + drawn * others / all;
}

/* Negative when a goes before b among the takers. */
static int compare_takers(const void *a, const void *b, void *nodes)
{
	uint16_t left = *(const uint16_t *)a, right = *(const uint16_t *)b;
	const struct claimant *all = nodes;
	unsigned __int128 before = (unsigned __int128)all[left].turn * all[right].share.value;
	unsigned __int128 after = (unsigned __int128)all[right].turn * all[left].share.value;

	return before != after ? (before < after ? -1 : 1) : left - right;
}

static void collect_takers(struct board *board, struct tier tier)
{
	board->taker_count = 0;
	for (uint16_t i = 0; i < board->node_count; i++) {
		set_turn(board, &board->nodes[i]);
		if (board_has_room(&board->nodes[i], tier))
			board->takers[board->taker_count++] = i;
	}
	qsort_r(board->takers, board->taker_count, sizeof *board->takers, compare_takers, board->nodes);
}

/* The first taker from here on that is not before this node. */
static uint32_t takers_before(const struct board *board, uint32_t from, uint16_t node)
{
	uint32_t low = from, high = board->taker_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (compare_takers(&board->takers[middle], &node, board->nodes) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The taker there took a place: it moves back, or leaves. */
static void reseat_taker(struct board *board, struct tier tier, uint32_t at)
{
	uint16_t node = board->takers[at], *takers = board->takers;
	uint32_t to;

	set_turn(board, &board->nodes[node]);
	to = takers_before(board, at + 1, node);
	if (!board_has_room(&board->nodes[node], tier))
		to = board->taker_count--;
	memmove(&takers[at], &takers[at + 1], (to - at - 1) * sizeof *takers);
	takers[to - 1] = node; /* behind the last one when it left */
}

/* The first taker that may have the place, as index of takers; taker_count when there is none. */
static uint32_t best_taker(const struct board *board, uint32_t partition, uint32_t position)
{
	uint32_t at = 0;

	while (at < board->taker_count && !board_may_take(board, partition, position, board->takers[at]))
		at++;
	return at;
}

/* For its first place: the emptiest of the row; ties go by hash. */
static uint16_t best_of_row(const struct board *board, struct tier tier, uint32_t partition)
{
	const uint16_t *row = board_row(board, partition);
	uint16_t best = RING_NOBODY;

	for (uint32_t i = 1; i < board->width; i++) {
		const struct claimant *node = &board->nodes[row[i]];

		if (!board_has_room(node, tier))
			continue;
		if (best == RING_NOBODY || board_is_fuller(&board->nodes[best], node) ||
		    (!board_is_fuller(node, &board->nodes[best]) &&
		     board_hash(board, partition, node->id) > board_hash(board, partition, board->nodes[best].id)))
			best = row[i];
	}
	return best;
}

/* Gives the place to its best taker. False when nobody takes it. */
static bool give_away(struct board *board, struct tier tier, uint32_t partition, uint32_t position)
{
	uint32_t at;

	if (board->first_place) {
		uint16_t taker = best_of_row(board, tier, partition);

		if (taker != RING_NOBODY)
			board_hand_over(board, partition, position, taker);
		return taker != RING_NOBODY;
	}
	at = best_taker(board, partition, position);
	if (at == board->taker_count)
		return false;
	board_hand_over(board, partition, position, board->takers[at]);
	reseat_taker(board, tier, at);
	return true;
}

/* The next to give in this row: a hole, then the fullest node; those tried are skipped. False: nobody is left. */
static bool next_giver(const struct board *board, struct tier tier, uint32_t partition, uint32_t tried,
		       uint32_t *position_out)
{
	const uint16_t *row = board_row(board, partition);
	bool found = false;

	for (uint32_t i = 0; i < board_places(board); i++) {
		if (tried & 1u << i || !board_gives(board, row[i], tier))
			continue;
		if (!found || row[i] == RING_NOBODY ||
		    board_is_fuller(&board->nodes[row[i]], &board->nodes[row[*position_out]]))
			*position_out = i;
		found = true;
		if (row[i] == RING_NOBODY)
			return true;
	}
	return found;
}

/* All holes of the row, or one theft. True when there was a step. */
static bool work_on_row(struct board *board, struct tier tier, uint32_t partition)
{
	uint32_t position, tried = 0;
	bool moved = false;

	while (next_giver(board, tier, partition, tried, &position)) {
		bool was_hole = board_row(board, partition)[position] == RING_NOBODY;

		if (!give_away(board, tier, partition, position)) {
			tried |= 1u << position;
			continue;
		}
		moved = true;
		if (!was_hole)
			break;
	}
	return moved;
}

static void make_direct_steps(struct board *board, struct tier tier)
{
	bool moved = true;

	collect_takers(board, tier);
	while (moved && board_is_unfinished(board, tier)) {
		moved = false;
		for (uint32_t i = 0; i < board->partition_count && board_is_unfinished(board, tier); i++)
			moved |= work_on_row(board, tier, board->order[i]);
	}
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

int balance_run(struct board *board)
{
	static const struct tier tiers[] = {{true, true}, {true, false}, {false, true}};
	const size_t count = sizeof(tiers) / sizeof(tiers[0]);
	int error = 0;

	board_list_places(board);
	for (size_t i = 0; i < count && !error; i++)
		error = chains_return(board, tiers[i]);
	for (size_t i = 0; i < count && !error; i++) {
		make_direct_steps(board, tiers[i]);
		error = chains_make(board, tiers[i]);
	}
	if (error)
		return error;
	assert(board->holes == 0);
	assert(board->over == 0);
	assert(board->under == 0);
	return 0;
}
