/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/share.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	LEVEL_BITS = 60, /* fraction bits of a water level */
	/* Shares are fractions with a denominator of at most RING_MEMBERS_MAX * RING_WEIGHT_MAX < 2^28. A share is cut off
	 * at 2^-46 twice, 2^14 of them may add up at one node, and a level is exact to 2^-60 per unit of weight: in all less
	 * than 2^-30. So what lies closer to an integer than 2^-29 is that integer. */
	SNAP = 1 << (SHARE_BITS - 29),
};

_Static_assert(RING_MEMBERS_MAX <= 1 << 14 && RING_MEMBERS_MAX * RING_WEIGHT_MAX < 1 << 28, "the precision above");
_Static_assert(RING_PARTITIONS_MAX <= 1 << (63 - SHARE_BITS), "a share fits into 64 bits");

typedef unsigned __int128 wide;

struct pool {
	const uint32_t *weights;
	const uint16_t *racks;
	uint32_t node_count;
	uint32_t *by_rack, *rack_end; /* nodes, those of a rack together; where in it a rack ends */
	const struct rack_limit *limits;
	uint32_t rack_count;
	uint32_t partition_count;
};

void rack_limits_compute(struct rack_limit *racks, uint32_t rack_count, uint32_t width)
{
	uint32_t level = 0, placed = 0;

	while (placed < width) {
		uint32_t before = placed;

		level++;
		placed = 0;
		for (uint32_t i = 0; i < rack_count; i++)
			placed += racks[i].node_count < level ? racks[i].node_count : level;
		assert(placed > before);
	}
	for (uint32_t i = 0; i < rack_count; i++) {
		uint32_t below = level ? level - 1 : 0;

		racks[i].least = racks[i].node_count < below ? racks[i].node_count : below;
		racks[i].most = racks[i].node_count < level ? racks[i].node_count : level;
		assert(racks[i].least <= racks[i].most);
	}
}

static wide fixed(uint64_t count)
{
	return (wide)count << SHARE_BITS;
}

static wide node_demand(const struct pool *pool, uint32_t node, wide level)
{
	wide demand = level * pool->weights[node] >> (LEVEL_BITS - SHARE_BITS);
	wide full = fixed(pool->partition_count);

	return demand < full ? demand : full;
}

/* Without the limits of the rack. */
static wide nodes_demand(const struct pool *pool, uint32_t rack, wide level)
{
	wide demand = 0;

	for (uint32_t i = rack > 0 ? pool->rack_end[rack - 1] : 0; i < pool->rack_end[rack]; i++)
		demand += node_demand(pool, pool->by_rack[i], level);
	return demand;
}

static wide rack_demand(const struct pool *pool, uint32_t rack, wide level)
{
	wide demand = nodes_demand(pool, rack, level);
	wide least = fixed((uint64_t)pool->limits[rack].least * pool->partition_count);
	wide most = fixed((uint64_t)pool->limits[rack].most * pool->partition_count);

	return demand < least ? least : demand > most ? most : demand;
}

static wide total_demand(const struct pool *pool, wide level)
{
	wide total = 0;

	for (uint32_t i = 0; i < pool->rack_count; i++)
		total += rack_demand(pool, i, level);
	return total;
}

/* The level at which every node is full, whatever its weight. */
static wide flood(const struct pool *pool)
{
	return (wide)pool->partition_count << LEVEL_BITS;
}

/* The highest level at which a rack asks for no more than supply. */
static wide rack_level(const struct pool *pool, uint32_t rack, wide supply)
{
	wide low = 0, high = flood(pool);

	while (low < high) {
		wide middle = low + (high - low + 1) / 2;
		if (nodes_demand(pool, rack, middle) <= supply)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

static wide common_level(const struct pool *pool, wide supply)
{
	wide low = 0, high = flood(pool);

	while (low < high) {
		wide middle = low + (high - low + 1) / 2;
		if (total_demand(pool, middle) <= supply)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

static struct share share_from(wide value)
{
	struct share share = {.value = (uint64_t)value};

	share.least = (uint32_t)((value + SNAP) >> SHARE_BITS);
	share.most = value > SNAP ? (uint32_t)((value - SNAP + fixed(1) - 1) >> SHARE_BITS) : 0;
	assert(share.least <= share.most);
	return share;
}

static void group_by_rack(struct pool *pool)
{
	memset(pool->rack_end, 0, pool->rack_count * sizeof *pool->rack_end);
	for (uint32_t i = 0; i < pool->node_count; i++)
		pool->rack_end[pool->racks[i]]++;
	for (uint32_t i = 1; i < pool->rack_count; i++)
		pool->rack_end[i] += pool->rack_end[i - 1];
	for (uint32_t i = 0; i < pool->node_count; i++) /* every rack from its end on down */
		pool->by_rack[--pool->rack_end[pool->racks[i]]] = i;
	for (uint32_t i = 0; i < pool->rack_count; i++)
		pool->rack_end[i] = i + 1 < pool->rack_count ? pool->rack_end[i + 1] : pool->node_count;
}

int shares_compute(const uint32_t *weights, const uint16_t *racks, uint32_t node_count, const struct rack_limit *limits,
		   uint32_t rack_count, uint32_t partition_count, uint32_t width, struct share *shares_out)
{
	struct pool pool = {.weights = weights,
			    .racks = racks,
			    .node_count = node_count,
			    .limits = limits,
			    .rack_count = rack_count,
			    .partition_count = partition_count};
	wide level;

	pool.by_rack = malloc(node_count * sizeof *pool.by_rack);
	pool.rack_end = malloc(rack_count * sizeof *pool.rack_end);
	if (pool.by_rack == NULL || pool.rack_end == NULL) {
		free(pool.by_rack);
		free(pool.rack_end);
		return -ENOMEM;
	}
	group_by_rack(&pool);
	level = common_level(&pool, fixed((uint64_t)partition_count * width));
	for (uint32_t rack = 0; rack < rack_count; rack++) {
		wide inside = rack_level(&pool, rack, rack_demand(&pool, rack, level));

		for (uint32_t i = rack > 0 ? pool.rack_end[rack - 1] : 0; i < pool.rack_end[rack]; i++)
			shares_out[pool.by_rack[i]] = share_from(node_demand(&pool, pool.by_rack[i], inside));
	}
	free(pool.by_rack);
	free(pool.rack_end);
	return 0;
}

struct share share_of(uint32_t numerator, uint32_t denominator)
{
	struct share share;

	assert(denominator > 0);
	share.value = ((uint64_t)numerator << SHARE_BITS) / denominator;
	share.least = numerator / denominator;
	share.most = (numerator + denominator - 1) / denominator;
	return share;
}
