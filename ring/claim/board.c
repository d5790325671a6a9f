/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/board.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define NO_PLACE UINT32_MAX

uint64_t board_hash(const struct board *board, uint64_t a, uint64_t b)
{
	uint64_t words[2] = {htole64(a), htole64(b)};

	return XXH3_64bits_withSeed(words, sizeof(words), board->seed);
}

uint16_t *board_row(const struct board *board, uint32_t partition)
{
	assert(partition < board->partition_count);
	return board->rows + (size_t)partition * board->width;
}

uint32_t board_places(const struct board *board)
{
	return board->first_place ? 1 : board->width;
}

static bool is_over(const struct claimant *node)
{
	return node->load > node->share.most;
}

static bool is_under(const struct claimant *node)
{
	return node->load < node->share.least;
}

void board_change_load(struct board *board, uint16_t index, int by)
{
	struct claimant *node = &board->nodes[index];

	assert(index < board->node_count);
	assert(by >= 0 || node->load > 0);
	board->over -= is_over(node);
	board->under -= is_under(node);
	node->load += (uint32_t)by;
	board->over += is_over(node);
	board->under += is_under(node);
}

bool board_is_fuller(const struct claimant *a, const struct claimant *b)
{
	return (unsigned __int128)a->load * b->share.value > (unsigned __int128)b->load * a->share.value;
}

/* ---- who gives, who takes -------------------------------------------------------------------------------------- */

bool board_gives(const struct board *board, uint16_t giver, struct tier tier)
{
	if (giver == RING_NOBODY)
		return tier.must_give;
	return tier.must_give ? is_over(&board->nodes[giver])
			      : board->nodes[giver].load > board->nodes[giver].share.least;
}

bool board_has_room(const struct claimant *taker, struct tier tier)
{
	return tier.must_take ? is_under(taker) : taker->load < taker->share.most;
}

bool board_is_unfinished(const struct board *board, struct tier tier)
{
	return (!tier.must_give || board->holes || board->over) && (!tier.must_take || board->under);
}

/* ---- what a row allows ----------------------------------------------------------------------------------------- */

static int find_in_row(const uint16_t *row, uint32_t width, uint16_t node)
{
	for (uint32_t i = 0; i < width; i++)
		if (row[i] == node)
			return (int)i;
	return -1;
}

uint32_t board_count_rack(const struct board *board, const uint16_t *row, uint32_t width, uint16_t rack)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < width; i++)
		count += row[i] != RING_NOBODY && board->nodes[row[i]].rack == rack;
	return count;
}

uint32_t board_count_reserved(const struct board *board, const uint16_t *row, uint32_t width)
{
	uint32_t reserved = 0;

	if (!board->racks_have_least)
		return 0;
	for (uint16_t rack = 0; rack < board->rack_count; rack++) {
		uint32_t count = board_count_rack(board, row, width, rack);
		reserved += count < board->racks[rack].least ? board->racks[rack].least - count : 0;
	}
	return reserved;
}

static uint32_t count_holes(const uint16_t *row, uint32_t width)
{
	uint32_t holes = 0;

	for (uint32_t i = 0; i < width; i++)
		holes += row[i] == RING_NOBODY;
	return holes;
}

bool board_rack_may_take(const struct board *board, const uint16_t *row, uint32_t position, uint16_t rack)
{
	uint16_t giver = row[position];
	uint32_t count;

	if (giver != RING_NOBODY && board->nodes[giver].rack == rack)
		return true;
	count = board_count_rack(board, row, board->width, rack);
	if (count >= board->racks[rack].most)
		return false;
	if (giver == RING_NOBODY)
		return count < board->racks[rack].least ||
		       count_holes(row, board->width) > board_count_reserved(board, row, board->width);
	return board_count_rack(board, row, board->width, board->nodes[giver].rack) >
	       board->racks[board->nodes[giver].rack].least;
}

/* May taker own this row in place of who stands at position? R1: distinct nodes, racks within their limits. */
static bool may_own(const struct board *board, const uint16_t *row, uint32_t position, uint16_t taker)
{
	return find_in_row(row, board->width, taker) < 0 &&
	       board_rack_may_take(board, row, position, board->nodes[taker].rack);
}

bool board_may_take(const struct board *board, uint32_t partition, uint32_t position, uint16_t taker)
{
	const uint16_t *row = board_row(board, partition);

	if (board->first_place)
		return find_in_row(row, board->width, taker) > 0;
	return may_own(board, row, position, taker);
}

bool board_has_moved(const struct board *board, uint32_t partition, uint32_t position)
{
	uint16_t node = board_row(board, partition)[position];

	if (board->first_place || node == RING_NOBODY)
		return false;
	if (board->before == NULL)
		return true;
	return find_in_row(board->before + (size_t)partition * board->before_width, board->before_width, node) < 0;
}

/* ---- who holds what -------------------------------------------------------------------------------------------- */

static uint32_t *held_by(struct board *board, uint16_t node)
{
	return &board->held[node == RING_NOBODY ? board->node_count : node];
}

static void list_place(struct board *board, uint32_t place, uint16_t node)
{
	uint32_t *first = held_by(board, node);

	board->next[place] = *first;
	board->previous[place] = NO_PLACE;
	if (*first != NO_PLACE)
		board->previous[*first] = place;
	*first = place;
}

static void unlist_place(struct board *board, uint32_t place, uint16_t node)
{
	uint32_t next = board->next[place], previous = board->previous[place];

	if (previous == NO_PLACE) {
		assert(*held_by(board, node) == place); /* B3 */
		*held_by(board, node) = next;
	} else {
		board->next[previous] = next;
	}
	if (next != NO_PLACE)
		board->previous[next] = previous;
}

void board_list_places(struct board *board)
{
	for (uint32_t i = 0; i <= board->node_count; i++)
		board->held[i] = NO_PLACE;
	for (uint32_t partition = board->partition_count; partition-- > 0;)
		for (uint32_t position = 0; position < board_places(board); position++)
			list_place(board, partition * board->width + position, board_row(board, partition)[position]);
}

bool board_next_held(const struct board *board, uint16_t node, uint32_t *place)
{
	*place = *place == BOARD_BEFORE_FIRST ? board->held[node] : board->next[*place];
	return *place != NO_PLACE;
}

/* ---- a step ---------------------------------------------------------------------------------------------------- */

void board_hand_over(struct board *board, uint32_t partition, uint32_t position, uint16_t taker)
{
	uint16_t *row = board_row(board, partition);
	uint16_t giver = row[position];

	assert(board_may_take(board, partition, position, taker));
	if (board->first_place)
		row[find_in_row(row, board->width, taker)] = giver;
	row[position] = taker;
	unlist_place(board, partition * board->width + position, giver);
	list_place(board, partition * board->width + position, taker);
	board_change_load(board, taker, 1);
	if (giver != RING_NOBODY) {
		board_change_load(board, giver, -1);
		return;
	}
	assert(board->holes > 0);
	board->holes--;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

void board_fini(struct board *board)
{
	free(board->racks);
	free(board->order);
	free(board->rows);
	free(board->before);
	free(board->nodes);
	free(board->takers);
	free(board->held);
	free(board->next);
	free(board->previous);
}

struct ordered_partition {
	uint64_t hash;
	uint32_t partition;
};

static int compare_ordered(const void *a, const void *b)
{
	const struct ordered_partition *left = a, *right = b;

	if (left->hash != right->hash)
		return left->hash < right->hash ? -1 : 1;
	return left->partition < right->partition ? -1 : 1;
}

/* Another order in every epoch: otherwise each newcomer would steal from the same partitions. */
static int draw_order(struct board *board, uint64_t epoch)
{
	struct ordered_partition *drawn = malloc(board->partition_count * sizeof *drawn);

	if (drawn == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < board->partition_count; i++)
		drawn[i] = (struct ordered_partition){board_hash(board, i, ~epoch), i};
	qsort(drawn, board->partition_count, sizeof *drawn, compare_ordered);
	for (uint32_t i = 0; i < board->partition_count; i++)
		board->order[i] = drawn[i].partition;
	free(drawn);
	return 0;
}

int board_init(struct board *board, uint64_t seed, uint64_t epoch, uint32_t partition_count, uint32_t width,
	       uint32_t node_count)
{
	size_t place_count = (size_t)partition_count * width;

	assert(place_count < NO_PLACE);
	assert(width <= node_count); /* or a row could not be of distinct nodes */
	*board = (struct board){
		.seed = seed, .partition_count = partition_count, .width = width, .node_count = node_count};
	board->holes = (uint32_t)place_count;
	board->racks = calloc(node_count, sizeof *board->racks);
	board->order = malloc(partition_count * sizeof *board->order);
	board->rows = malloc(place_count * sizeof *board->rows);
	board->nodes = calloc(node_count, sizeof *board->nodes);
	board->takers = malloc(node_count * sizeof *board->takers);
	board->held = malloc((node_count + 1) * sizeof *board->held);
	board->next = malloc(place_count * sizeof *board->next);
	board->previous = malloc(place_count * sizeof *board->previous);
	if (board->racks == NULL || board->order == NULL || board->rows == NULL || board->nodes == NULL ||
	    board->takers == NULL || board->held == NULL || board->next == NULL || board->previous == NULL ||
	    draw_order(board, epoch)) {
		board_fini(board);
		return -ENOMEM;
	}
	memset(board->rows, 0xff, place_count * sizeof *board->rows); /* RING_NOBODY */
	return 0;
}

int board_remember(struct board *board, uint32_t width)
{
	assert(board->before == NULL);
	board->before = malloc((size_t)board->partition_count * width * sizeof *board->before);
	if (board->before == NULL)
		return -ENOMEM;
	board->before_width = width;
	return 0;
}

int board_set_shares(struct board *board, const uint32_t *weights)
{
	uint16_t *racks = malloc(board->node_count * sizeof *racks);
	struct share *shares = malloc(board->node_count * sizeof *shares);
	int error;

	if (racks == NULL || shares == NULL) {
		free(racks);
		free(shares);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < board->node_count; i++) {
		racks[i] = board->nodes[i].rack;
		assert(racks[i] < board->node_count);
		board->racks[racks[i]].node_count++;
		if (board->rack_count <= racks[i])
			board->rack_count = racks[i] + 1;
	}
	rack_limits_compute(board->racks, board->rack_count, board->width);
	for (uint32_t i = 0; i < board->rack_count; i++)
		board->racks_have_least |= board->racks[i].least > 0;
	error = shares_compute(weights, racks, board->node_count, board->racks, board->rack_count,
			       board->partition_count, board->width, shares);
	for (uint32_t i = 0; i < board->node_count && !error; i++) {
		board->nodes[i].share = shares[i];
		board->under += is_under(&board->nodes[i]);
	}
	free(racks);
	free(shares);
	return error;
}

void board_turn_to_first_places(struct board *board)
{
	assert(board->holes == 0);
	board->first_place = true;
	for (uint32_t i = 0; i < board->node_count; i++) {
		board->nodes[i].share = share_of(board->nodes[i].load, board->width);
		board->nodes[i].load = 0;
	}
	board->over = 0;
	board->under = 0;
	for (uint32_t i = 0; i < board->node_count; i++)
		board->under += is_under(&board->nodes[i]);
	for (uint32_t partition = 0; partition < board->partition_count; partition++)
		board_change_load(board, board_row(board, partition)[0], 1);
}
