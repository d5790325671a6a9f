/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/oracle.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool oracle_is_node(const struct ring_document *document, uint32_t datacenter, uint32_t member)
{
	return ring_member_datacenter(document, member) == datacenter &&
	       ring_member(document, member)->state == RING_MEMBER_ACTIVE;
}

static bool same_rack(const struct ring_document *document, uint32_t datacenter, uint32_t a, uint32_t b)
{
	return oracle_is_node(document, datacenter, a) && oracle_is_node(document, datacenter, b) &&
	       !strcmp(ring_member(document, a)->rack, ring_member(document, b)->rack);
}

static bool leads_rack(const struct ring_document *document, uint32_t datacenter, uint32_t member)
{
	for (uint32_t i = 0; i < member; i++)
		if (same_rack(document, datacenter, i, member))
			return false;
	return oracle_is_node(document, datacenter, member);
}

static uint32_t rack_size(const struct ring_document *document, uint32_t datacenter, uint32_t member)
{
	uint32_t size = 0;

	for (uint32_t i = 0; i < ring_member_count(document); i++)
		size += same_rack(document, datacenter, i, member);
	return size;
}

/* Deals one partition's replicas to the racks round after round. A rack gets the most when it takes part in the last
 * round. */
void oracle_rack_limits(const struct ring_document *document, uint32_t datacenter, uint32_t member, uint32_t *least_out,
			uint32_t *most_out)
{
	const uint16_t *row;
	uint32_t width = ring_owners(document, 0, datacenter, &row), dealt = 0, round = 0;

	while (dealt < width) {
		round++;
		for (uint32_t i = 0; i < ring_member_count(document); i++)
			dealt += leads_rack(document, datacenter, i) && rack_size(document, datacenter, i) >= round;
	}
	*most_out = rack_size(document, datacenter, member);
	*least_out = *most_out;
	if (*most_out > round)
		*most_out = round;
	if (*least_out > round - 1)
		*least_out = round - 1;
}

/* ---- shares ---------------------------------------------------------------------------------------------------- */

static double rack_demand(const struct ring_document *document, uint32_t datacenter, uint32_t leader, double level)
{
	double sum = 0;

	for (uint32_t i = 0; i < ring_member_count(document); i++)
		if (same_rack(document, datacenter, i, leader))
			sum += fmin(ring_partition_count(document), level * ring_member(document, i)->weight);
	return sum;
}

static double limited_demand(const struct ring_document *document, uint32_t datacenter, uint32_t leader, double level)
{
	uint32_t least, most, partitions = ring_partition_count(document);

	oracle_rack_limits(document, datacenter, leader, &least, &most);
	return fmin(fmax(rack_demand(document, datacenter, leader, level), least * partitions), most * partitions);
}

void oracle_shares(const struct ring_document *document, uint32_t datacenter, double *shares_out)
{
	const uint16_t *row;
	double total = (double)ring_owners(document, 0, datacenter, &row) * ring_partition_count(document);
	double low = 0, high = ring_partition_count(document);

	memset(shares_out, 0, ring_member_count(document) * sizeof *shares_out);
	for (int i = 0; i < 100; i++) {
		double level = (low + high) / 2, sum = 0;
		for (uint32_t leader = 0; leader < ring_member_count(document); leader++)
			if (leads_rack(document, datacenter, leader))
				sum += limited_demand(document, datacenter, leader, level);
		*(sum < total ? &low : &high) = level;
	}
	for (uint32_t leader = 0; leader < ring_member_count(document); leader++) {
		double supply, bottom = 0, top = ring_partition_count(document);

		if (!leads_rack(document, datacenter, leader))
			continue;
		supply = limited_demand(document, datacenter, leader, high);
		for (int i = 0; i < 100; i++) {
			double level = (bottom + top) / 2;
			*(rack_demand(document, datacenter, leader, level) < supply ? &bottom : &top) = level;
		}
		for (uint32_t i = 0; i < ring_member_count(document); i++)
			if (same_rack(document, datacenter, i, leader))
				shares_out[i] =
					fmin(ring_partition_count(document), top * ring_member(document, i)->weight);
	}
}

/* Weights share the places; whoever would hold a partition twice is full, and the others share the rest. */
void oracle_bounds(const struct ring_document *document, uint32_t datacenter, struct oracle_bounds *bounds_out)
{
	uint64_t partitions = ring_partition_count(document), places, weights = 0;
	const uint16_t *row;
	bool changed = true;

	places = partitions * ring_owners(document, 0, datacenter, &row);
	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		weights += oracle_is_node(document, datacenter, i) ? ring_member(document, i)->weight : 0;
		bounds_out[i] = (struct oracle_bounds){0, 0};
	}
	while (changed) {
		uint64_t places_now = places, weights_now = weights;

		changed = false;
		for (uint32_t i = 0; i < ring_member_count(document); i++) {
			uint64_t weight = ring_member(document, i)->weight;

			if (!oracle_is_node(document, datacenter, i) || bounds_out[i].most ||
			    places_now * weight < partitions * weights_now)
				continue;
			bounds_out[i] = (struct oracle_bounds){(uint32_t)partitions, (uint32_t)partitions};
			changed = true;
			places -= partitions;
			weights -= weight;
		}
	}
	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		uint64_t claims = places * ring_member(document, i)->weight;

		if (oracle_is_node(document, datacenter, i) && !bounds_out[i].most)
			bounds_out[i] = (struct oracle_bounds){(uint32_t)(claims / weights),
							       (uint32_t)((claims + weights - 1) / weights)};
	}
}

/* ---- moves: what loads ask for ---------------------------------------------------------------------------------- */

/* Claims that a member held in the same datacenter before. */
static uint32_t held_before(const struct ring_document *previous, const struct ring_member *member)
{
	int before = ring_member_find(previous, member->id);

	return before >= 0 && !strcmp(ring_member(previous, (uint32_t)before)->datacenter, member->datacenter)
		       ? ring_member_replicas(previous, (uint32_t)before)
		       : 0;
}

uint32_t oracle_fewest_moves(const struct ring_document *previous, const struct ring_document *next,
			     uint32_t datacenter, const struct oracle_bounds *bounds)
{
	const uint16_t *row;
	uint64_t places = (uint64_t)ring_partition_count(next) * ring_owners(next, 0, datacenter, &row);
	uint64_t lacking = 0, kept = 0;

	for (uint32_t i = 0; i < ring_member_count(next); i++) {
		uint32_t had;

		if (!oracle_is_node(next, datacenter, i))
			continue;
		had = held_before(previous, ring_member(next, i));
		lacking += had < bounds[i].least ? bounds[i].least - had : 0;
		kept += had < bounds[i].most ? had : bounds[i].most;
	}
	kept = kept < places ? kept : places;
	return (uint32_t)(lacking > places - kept ? lacking : places - kept);
}

/* ---- moves: minimum-cost flow by successive shortest paths (Bellman-Ford) ---------------------------------------- */

enum { EDGES_MAX = 20000, VERTICES_MAX = 4000, REWARD = 1000000 };

struct edge {
	uint32_t from, to;
	int capacity, cost;
};

struct network {
	struct edge edges[EDGES_MAX]; /* edge i ^ 1 is the way back */
	uint32_t edge_count, vertex_count;
};

static void add_edge(struct network *network, uint32_t from, uint32_t to, int capacity, int cost)
{
	assert(network->edge_count + 2 <= EDGES_MAX);
	network->edges[network->edge_count++] = (struct edge){from, to, capacity, cost};
	network->edges[network->edge_count++] = (struct edge){to, from, 0, -cost};
}

static bool augment(struct network *network, uint32_t source, uint32_t sink, long *cost)
{
	static long distance[VERTICES_MAX];
	static uint32_t via[VERTICES_MAX];
	bool changed = true;

	for (uint32_t i = 0; i < network->vertex_count; i++)
		distance[i] = i == source ? 0 : LONG_MAX;
	while (changed) {
		changed = false;
		for (uint32_t i = 0; i < network->edge_count; i++) {
			const struct edge *edge = &network->edges[i];
			if (edge->capacity == 0 || distance[edge->from] == LONG_MAX ||
			    distance[edge->from] + edge->cost >= distance[edge->to])
				continue;
			distance[edge->to] = distance[edge->from] + edge->cost;
			via[edge->to] = i;
			changed = true;
		}
	}
	if (distance[sink] == LONG_MAX)
		return false;
	for (uint32_t at = sink; at != source; at = network->edges[via[at]].from) {
		network->edges[via[at]].capacity--;
		network->edges[via[at] ^ 1].capacity++;
	}
	*cost += distance[sink];
	return true;
}

static bool owned(const struct ring_document *previous, uint32_t datacenter, uint32_t partition, uint64_t id)
{
	const uint16_t *row;
	uint32_t count = ring_owners(previous, partition, datacenter, &row);

	for (uint32_t i = 0; i < count; i++)
		if (ring_member(previous, row[i])->id == id)
			return true;
	return false;
}

/* Every node holds the least of its share, which is rewarded, or the most. Returns the rewards. */
static long add_shares(struct network *network, const struct ring_document *next, uint32_t datacenter)
{
	double shares[VERTICES_MAX];
	long rewards = 0;

	assert(ring_member_count(next) <= VERTICES_MAX);
	oracle_shares(next, datacenter, shares);
	for (uint32_t i = 0; i < ring_member_count(next); i++) {
		int least = (int)floor(shares[i] + 1e-6), most = (int)ceil(shares[i] - 1e-6);

		if (!oracle_is_node(next, datacenter, i))
			continue;
		add_edge(network, 2 + i, 1, least, -REWARD);
		add_edge(network, 2 + i, 1, most - least, 0);
		rewards += least;
	}
	return rewards;
}

/* source 0, sink 1, node i: 2 + i, partition p: 2 + M + p, then one vertex per (partition, rack). A rack's least is
 * rewarded. */
uint32_t oracle_moves(const struct ring_document *previous, const struct ring_document *next, uint32_t datacenter)
{
	static struct network network;
	uint32_t members = ring_member_count(next), partitions = ring_partition_count(next);
	const uint16_t *row;
	uint32_t width = ring_owners(next, 0, datacenter, &row);
	long cost = 0, rewards;
	uint32_t flow = 0;

	network.edge_count = 0;
	network.vertex_count = 2 + members + partitions;
	rewards = add_shares(&network, next, datacenter);
	for (uint32_t partition = 0; partition < partitions; partition++) {
		add_edge(&network, 0, 2 + members + partition, (int)width, 0);
		for (uint32_t leader = 0; leader < members; leader++) {
			uint32_t rack = network.vertex_count, least, most;

			if (!leads_rack(next, datacenter, leader))
				continue;
			network.vertex_count++;
			assert(network.vertex_count <= VERTICES_MAX);
			oracle_rack_limits(next, datacenter, leader, &least, &most);
			add_edge(&network, 2 + members + partition, rack, (int)least, -REWARD);
			add_edge(&network, 2 + members + partition, rack, (int)(most - least), 0);
			rewards += least;
			for (uint32_t i = 0; i < members; i++)
				if (same_rack(next, datacenter, i, leader))
					add_edge(&network, rack, 2 + i, 1,
						 !owned(previous, datacenter, partition, ring_member(next, i)->id));
		}
	}
	while (augment(&network, 0, 1, &cost))
		flow++;
	assert(flow == partitions * width);
	cost += rewards * REWARD;
	assert(cost >= 0 && cost <= (long)flow);
	return (uint32_t)cost;
}
