/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/share.h"

#include "ring/ring.h"

#include <assert.h>
#include <string.h>

enum {
	LEVEL_BITS = 60, /* fraction bits of a water level */
	/* Shares are fractions with a denominator of at most RING_MEMBERS_MAX * RING_WEIGHT_MAX < 2^24, and computed to
	 * 2^-29: what lies closer to an integer than 2^-26 is that integer. */
	SNAP = 1 << (SHARE_BITS - 26),
};

typedef unsigned __int128 wide;

struct pool {
	const uint32_t *weights;
	const uint16_t *racks;
	uint32_t node_count;
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

	for (uint32_t i = 0; i < pool->node_count; i++)
		if (pool->racks[i] == rack)
			demand += node_demand(pool, i, level);
	return demand;
}

static wide clamp_to_rack(const struct pool *pool, uint32_t rack, wide demand)
{
	wide least = fixed((uint64_t)pool->limits[rack].least * pool->partition_count);
	wide most = fixed((uint64_t)pool->limits[rack].most * pool->partition_count);

	return demand < least ? least : demand > most ? most : demand;
}

static wide total_demand(const struct pool *pool, wide level, wide *by_rack)
{
	wide total = 0;

	memset(by_rack, 0, pool->rack_count * sizeof *by_rack);
	for (uint32_t i = 0; i < pool->node_count; i++)
		by_rack[pool->racks[i]] += node_demand(pool, i, level);
	for (uint32_t i = 0; i < pool->rack_count; i++) {
		by_rack[i] = clamp_to_rack(pool, i, by_rack[i]);
		total += by_rack[i];
	}
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

static wide common_level(const struct pool *pool, wide supply, wide *by_rack)
{
	wide low = 0, high = flood(pool);

	while (low < high) {
		wide middle = low + (high - low + 1) / 2;
		if (total_demand(pool, middle, by_rack) <= supply)
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

void shares_compute(const uint32_t *weights, const uint16_t *racks, uint32_t node_count,
		    const struct rack_limit *limits, uint32_t rack_count, uint32_t partition_count, uint32_t width,
		    struct share *shares_out)
{
	struct pool pool = {weights, racks, node_count, limits, rack_count, partition_count};
	wide by_rack[RING_MEMBERS_MAX];
	wide level;

	assert(rack_count <= RING_MEMBERS_MAX);
	level = common_level(&pool, fixed((uint64_t)partition_count * width), by_rack);
	total_demand(&pool, level, by_rack);
	for (uint32_t rack = 0; rack < rack_count; rack++) {
		wide inside = rack_level(&pool, rack, by_rack[rack]);

		for (uint32_t i = 0; i < node_count; i++)
			if (racks[i] == rack)
				shares_out[i] = share_from(node_demand(&pool, i, inside));
	}
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
