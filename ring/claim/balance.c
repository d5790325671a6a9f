/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/balance.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { KEPT_PLACE = 4096 }; /* distance of a step in which data moves; more than a chain has steps */
#define FAR UINT32_MAX

static uint64_t hash_of(uint64_t seed, uint64_t a, uint64_t b)
{
	uint64_t words[2] = {htole64(a), htole64(b)};

	return XXH3_64bits_withSeed(words, sizeof(words), seed);
}

uint16_t *balance_row(const struct balance *balance, uint32_t partition)
{
	assert(partition < balance->partition_count);
	return balance->rows + (size_t)partition * balance->width;
}

static uint32_t places(const struct balance *balance)
{
	return balance->first_place ? 1 : balance->width;
}

static bool is_over(const struct claimant *node)
{
	return node->load > node->share.most;
}

static bool is_under(const struct claimant *node)
{
	return node->load < node->share.least;
}

void balance_change_load(struct balance *balance, uint16_t index, int by)
{
	struct claimant *node = &balance->nodes[index];

	assert(index < balance->node_count);
	assert(by >= 0 || node->load > 0);
	balance->over -= is_over(node);
	balance->under -= is_under(node);
	node->load += (uint32_t)by;
	balance->over += is_over(node);
	balance->under += is_under(node);
}

bool balance_is_fuller(const struct claimant *a, const struct claimant *b)
{
	return (unsigned __int128)a->load * b->share.value > (unsigned __int128)b->load * a->share.value;
}

/* ---- what a row allows ----------------------------------------------------------------------------------------- */

static int find_in_row(const uint16_t *row, uint32_t width, uint16_t node)
{
	for (uint32_t i = 0; i < width; i++)
		if (row[i] == node)
			return (int)i;
	return -1;
}

uint32_t balance_count_rack(const struct balance *balance, const uint16_t *row, uint32_t width, uint16_t rack)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < width; i++)
		count += row[i] != RING_NOBODY && balance->nodes[row[i]].rack == rack;
	return count;
}

uint32_t balance_count_reserved(const struct balance *balance, const uint16_t *row, uint32_t width)
{
	uint32_t reserved = 0;

	if (!balance->racks_have_least)
		return 0;
	for (uint16_t rack = 0; rack < balance->rack_count; rack++) {
		uint32_t count = balance_count_rack(balance, row, width, rack);
		reserved += count < balance->racks[rack].least ? balance->racks[rack].least - count : 0;
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

/* May taker own this row in place of who stands at position? R1: distinct nodes, racks within their limits. */
static bool may_own(const struct balance *balance, const uint16_t *row, uint32_t position, uint16_t taker)
{
	uint16_t giver = row[position], rack = balance->nodes[taker].rack;
	uint32_t count;

	if (find_in_row(row, balance->width, taker) >= 0)
		return false;
	if (giver != RING_NOBODY && balance->nodes[giver].rack == rack)
		return true;
	count = balance_count_rack(balance, row, balance->width, rack);
	if (count >= balance->racks[rack].most)
		return false;
	if (giver == RING_NOBODY)
		return count < balance->racks[rack].least ||
		       count_holes(row, balance->width) > balance_count_reserved(balance, row, balance->width);
	return balance_count_rack(balance, row, balance->width, balance->nodes[giver].rack) >
	       balance->racks[balance->nodes[giver].rack].least;
}

static bool may_take(const struct balance *balance, uint32_t partition, uint32_t position, uint16_t taker)
{
	const uint16_t *row = balance_row(balance, partition);

	if (balance->first_place)
		return find_in_row(row, balance->width, taker) > 0;
	return may_own(balance, row, position, taker);
}

static void hand_over(struct balance *balance, uint32_t partition, uint32_t position, uint16_t taker)
{
	uint16_t *row = balance_row(balance, partition);
	uint16_t giver = row[position];

	assert(may_take(balance, partition, position, taker));
	if (balance->first_place)
		row[find_in_row(row, balance->width, taker)] = giver;
	else
		balance->fresh[(size_t)partition * balance->width + position] = true;
	row[position] = taker;
	balance_change_load(balance, taker, 1);
	if (giver != RING_NOBODY) {
		balance_change_load(balance, giver, -1);
		return;
	}
	assert(balance->holes > 0);
	balance->holes--;
}

/* ---- 1: direct steps ------------------------------------------------------------------------------------------- */

/* Who must give (holes and nodes over their most) or merely can (nodes over their least), and who must take (nodes
 * under their least) or merely can (under their most). What must, goes first: else a place moves twice. */
struct tier {
	bool must_give, must_take;
};

static bool gives(const struct balance *balance, uint16_t giver, struct tier tier)
{
	if (giver == RING_NOBODY)
		return tier.must_give;
	return tier.must_give ? is_over(&balance->nodes[giver])
			      : balance->nodes[giver].load > balance->nodes[giver].share.least;
}

static bool has_room(const struct claimant *taker, struct tier tier)
{
	return tier.must_take ? is_under(taker) : taker->load < taker->share.most;
}

static bool is_unfinished(const struct balance *balance, struct tier tier)
{
	return (!tier.must_give || balance->holes || balance->over) && (!tier.must_take || balance->under);
}

/* Is a the better taker? The emptier; the one with more to take; then by hash. */
static bool is_better_taker(const struct balance *balance, uint32_t partition, const struct claimant *a,
			    const struct claimant *b)
{
	if (balance_is_fuller(b, a))
		return true;
	if (balance_is_fuller(a, b))
		return false;
	if (a->share.value != b->share.value)
		return a->share.value > b->share.value;
	return hash_of(balance->seed, partition, a->id) > hash_of(balance->seed, partition, b->id);
}

/* RING_NOBODY when there is none. */
static uint16_t best_taker(const struct balance *balance, struct tier tier, uint32_t partition, uint32_t position)
{
	uint16_t best = RING_NOBODY;

	for (uint16_t i = 0; i < balance->node_count; i++) {
		const struct claimant *node = &balance->nodes[i];

		if (!has_room(node, tier))
			continue;
		if (best != RING_NOBODY && !is_better_taker(balance, partition, node, &balance->nodes[best]))
			continue;
		if (may_take(balance, partition, position, i))
			best = i;
	}
	return best;
}

/* A place and who takes it. */
struct direct_step {
	uint32_t position;
	uint16_t taker;
};

/* A hole before any node, then the fullest node of the row that may give and finds a taker. */
static struct direct_step best_step(const struct balance *balance, struct tier tier, uint32_t partition)
{
	const uint16_t *row = balance_row(balance, partition);
	struct direct_step best = {0, RING_NOBODY};

	for (uint32_t position = 0; position < places(balance); position++) {
		uint16_t taker;

		if (!gives(balance, row[position], tier))
			continue;
		if (best.taker != RING_NOBODY && row[position] != RING_NOBODY &&
		    !balance_is_fuller(&balance->nodes[row[position]], &balance->nodes[row[best.position]]))
			continue;
		taker = best_taker(balance, tier, partition, position);
		if (taker == RING_NOBODY)
			continue;
		best = (struct direct_step){position, taker};
		if (row[position] == RING_NOBODY)
			return best;
	}
	return best;
}

/* All holes of the row, or one theft. True when there was a step. */
static bool work_on_row(struct balance *balance, struct tier tier, uint32_t partition)
{
	bool moved = false, was_hole;

	do {
		struct direct_step step = best_step(balance, tier, partition);

		if (step.taker == RING_NOBODY)
			return moved;
		was_hole = balance_row(balance, partition)[step.position] == RING_NOBODY;
		hand_over(balance, partition, step.position, step.taker);
		moved = true;
	} while (was_hole);
	return moved;
}

static void make_direct_steps(struct balance *balance, struct tier tier)
{
	bool moved = true;

	while (moved && is_unfinished(balance, tier)) {
		moved = false;
		for (uint32_t i = 0; i < balance->partition_count && is_unfinished(balance, tier); i++)
			moved |= work_on_row(balance, tier, balance->order[i]);
	}
}

/* ---- 2: chains ------------------------------------------------------------------------------------------------- */

static void begin_chains(struct balance *balance, struct tier tier)
{
	for (uint16_t i = 0; i < balance->node_count; i++)
		balance->steps[i].distance = gives(balance, i, tier) ? 0 : FAR;
	balance->steps[balance->node_count].distance = balance->holes && gives(balance, RING_NOBODY, tier) ? 0 : FAR;
}

/* A place that was given away once already costs nothing more; then fewer steps. */
static uint32_t distance_over(const struct balance *balance, uint32_t partition, uint32_t position, uint32_t distance)
{
	bool fresh = !balance->first_place && balance->fresh[(size_t)partition * balance->width + position];

	return distance + (fresh ? 1 : KEPT_PLACE + 1);
}

/* Offers a place to every node. The node at which a chain ends, when none can be shorter; else RING_NOBODY. */
static uint16_t extend_chains(struct balance *balance, struct tier tier, uint32_t partition, uint32_t position,
			      uint16_t giver)
{
	uint32_t distance = distance_over(balance, partition, position, balance->steps[giver].distance);

	for (uint16_t taker = 0; taker < balance->node_count; taker++) {
		if (balance->steps[taker].distance <= distance || !may_take(balance, partition, position, taker))
			continue;
		balance->steps[taker] = (struct step){giver, (uint8_t)position, partition, distance};
		if (has_room(&balance->nodes[taker], tier) && distance == balance->steps[giver].distance + 1)
			return taker;
	}
	return RING_NOBODY;
}

static uint16_t extend_chains_from(struct balance *balance, struct tier tier, uint32_t distance)
{
	for (uint32_t partition = 0; partition < balance->partition_count; partition++) {
		const uint16_t *row = balance_row(balance, partition);

		for (uint32_t position = 0; position < places(balance); position++) {
			uint16_t giver = row[position] == RING_NOBODY ? (uint16_t)balance->node_count : row[position];
			uint16_t end;

			if (balance->steps[giver].distance != distance)
				continue;
			end = extend_chains(balance, tier, partition, position, giver);
			if (end != RING_NOBODY)
				return end;
		}
	}
	return RING_NOBODY;
}

static uint32_t next_distance(const struct balance *balance, uint32_t distance)
{
	uint32_t next = FAR;

	for (uint32_t i = 0; i < balance->node_count; i++)
		if (balance->steps[i].distance > distance && balance->steps[i].distance < next)
			next = balance->steps[i].distance;
	return next;
}

static uint16_t chain_end_at(const struct balance *balance, struct tier tier, uint32_t distance)
{
	for (uint16_t i = 0; i < balance->node_count; i++)
		if (balance->steps[i].distance == distance && has_room(&balance->nodes[i], tier))
			return i;
	return RING_NOBODY;
}

/* Dijkstra's shortest path over nodes. Two steps of a shortest chain in one row are never in each other's way: if they
 * were, the giver of the first could have given to the taker of the second, which is shorter. So each step is still
 * allowed when its turn comes. */
static uint16_t find_chain(struct balance *balance, struct tier tier)
{
	begin_chains(balance, tier);
	for (uint32_t distance = 0; distance != FAR; distance = next_distance(balance, distance)) {
		uint16_t end = chain_end_at(balance, tier, distance);

		if (end == RING_NOBODY)
			end = extend_chains_from(balance, tier, distance);
		if (end != RING_NOBODY)
			return end;
	}
	return RING_NOBODY;
}

static void make_chains(struct balance *balance, struct tier tier)
{
	while (is_unfinished(balance, tier)) {
		uint16_t taker = find_chain(balance, tier);

		if (taker == RING_NOBODY)
			return;
		for (; balance->steps[taker].distance > 0; taker = balance->steps[taker].giver)
			hand_over(balance, balance->steps[taker].partition, balance->steps[taker].position, taker);
	}
}

void balance_run(struct balance *balance)
{
	static const struct tier tiers[] = {{true, true}, {true, false}, {false, true}};

	for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++) {
		make_direct_steps(balance, tiers[i]);
		make_chains(balance, tiers[i]);
	}
	assert(balance->holes == 0);
	assert(balance->over == 0);
	assert(balance->under == 0);
}

void balance_run_first_places(struct balance *balance)
{
	assert(balance->holes == 0);
	balance->first_place = true;
	for (uint32_t i = 0; i < balance->node_count; i++) {
		balance->nodes[i].share = share_of(balance->nodes[i].load, balance->width);
		balance->nodes[i].load = 0;
	}
	balance->over = 0;
	balance->under = 0;
	for (uint32_t i = 0; i < balance->node_count; i++)
		balance->under += is_under(&balance->nodes[i]);
	for (uint32_t partition = 0; partition < balance->partition_count; partition++)
		balance_change_load(balance, balance_row(balance, partition)[0], 1);
	balance_run(balance);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

void balance_fini(struct balance *balance)
{
	free(balance->racks);
	free(balance->order);
	free(balance->rows);
	free(balance->fresh);
	free(balance->nodes);
	free(balance->steps);
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
static int draw_order(struct balance *balance, uint64_t epoch)
{
	struct ordered_partition *drawn = malloc(balance->partition_count * sizeof *drawn);

	if (drawn == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < balance->partition_count; i++)
		drawn[i] = (struct ordered_partition){hash_of(balance->seed, i, ~epoch), i};
	qsort(drawn, balance->partition_count, sizeof *drawn, compare_ordered);
	for (uint32_t i = 0; i < balance->partition_count; i++)
		balance->order[i] = drawn[i].partition;
	free(drawn);
	return 0;
}

int balance_init(struct balance *balance, uint64_t seed, uint64_t epoch, uint32_t partition_count, uint32_t width,
		 uint32_t node_count)
{
	size_t place_count = (size_t)partition_count * width;

	assert(width <= node_count); /* or a row could not be of distinct nodes */
	*balance = (struct balance){
		.seed = seed, .partition_count = partition_count, .width = width, .node_count = node_count};
	balance->holes = (uint32_t)place_count;
	balance->racks = calloc(node_count, sizeof *balance->racks);
	balance->order = malloc(partition_count * sizeof *balance->order);
	balance->rows = malloc(place_count * sizeof *balance->rows);
	balance->fresh = calloc(place_count, sizeof *balance->fresh);
	balance->nodes = calloc(node_count, sizeof *balance->nodes);
	balance->steps = malloc((node_count + 1) * sizeof *balance->steps);
	if (balance->racks == NULL || balance->order == NULL || balance->rows == NULL || balance->fresh == NULL ||
	    balance->nodes == NULL || balance->steps == NULL || draw_order(balance, epoch)) {
		balance_fini(balance);
		return -ENOMEM;
	}
	memset(balance->rows, 0xff, place_count * sizeof *balance->rows); /* RING_NOBODY */
	return 0;
}

int balance_set_shares(struct balance *balance, const uint32_t *weights)
{
	uint16_t *racks = malloc(balance->node_count * sizeof *racks);
	struct share *shares = malloc(balance->node_count * sizeof *shares);

	if (racks == NULL || shares == NULL) {
		free(racks);
		free(shares);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < balance->node_count; i++) {
		racks[i] = balance->nodes[i].rack;
		assert(racks[i] < balance->node_count);
		balance->racks[racks[i]].node_count++;
		if (balance->rack_count <= racks[i])
			balance->rack_count = racks[i] + 1;
	}
	rack_limits_compute(balance->racks, balance->rack_count, balance->width);
	for (uint32_t i = 0; i < balance->rack_count; i++)
		balance->racks_have_least |= balance->racks[i].least > 0;
	shares_compute(weights, racks, balance->node_count, balance->racks, balance->rack_count,
		       balance->partition_count, balance->width, shares);
	for (uint32_t i = 0; i < balance->node_count; i++) {
		balance->nodes[i].share = shares[i];
		balance->under += is_under(&balance->nodes[i]);
	}
	free(racks);
	free(shares);
	return 0;
}
