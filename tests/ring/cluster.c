/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/cluster.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void cluster_init(struct cluster *cluster, uint32_t partition_count, uint32_t replica_count)
{
	memset(&cluster->plan, 0, sizeof cluster->plan);
	memset(cluster->datacenters, 0, sizeof cluster->datacenters);
	cluster->plan.cluster_id = 0xc1;
	cluster->plan.hash_seed = 0x5eed;
	cluster->plan.partition_count = partition_count;
	cluster->plan.datacenters = cluster->datacenters;
	cluster->plan.members = cluster->members;
	cluster_add_datacenter(cluster, "dc1", replica_count);
}

void cluster_add_datacenter(struct cluster *cluster, const char *name, uint32_t replica_count)
{
	struct ring_datacenter *datacenter = &cluster->datacenters[cluster->plan.datacenter_count++];

	assert(cluster->plan.datacenter_count <= sizeof cluster->datacenters / sizeof cluster->datacenters[0]);
	snprintf(datacenter->name, sizeof datacenter->name, "%s", name);
	datacenter->replica_count = replica_count;
}

struct ring_member *cluster_add(struct cluster *cluster, uint32_t number, const char *rack, uint32_t weight)
{
	struct random ids = {number};
	struct ring_member *member = &cluster->members[cluster->plan.member_count++];

	assert(cluster->plan.member_count <= RING_MEMBERS_MAX);
	memset(member, 0, sizeof *member);
	member->id = random_next(&ids) | 1;
	snprintf(member->name, sizeof member->name, "n%u", number);
	snprintf(member->client_address, sizeof member->client_address, "10.0.0.1:%u", 10000 + number);
	snprintf(member->peer_address, sizeof member->peer_address, "10.0.0.1:%u", 20000 + number);
	snprintf(member->bus_address, sizeof member->bus_address, "10.0.0.1:%u", 30000 + number);
	strcpy(member->datacenter, "dc1");
	snprintf(member->rack, sizeof member->rack, "%s", rack);
	member->weight = weight;
	member->state = RING_MEMBER_ACTIVE;
	return member;
}

void cluster_remove(struct cluster *cluster, uint32_t index)
{
	assert(index < cluster->plan.member_count);
	cluster->members[index] = cluster->members[--cluster->plan.member_count];
}

struct ring_document *cluster_claim(const struct cluster *cluster, const struct ring_document *previous)
{
	struct ring_document *document = NULL;
	struct ring_error error = {""};
	int rc = ring_claim(previous, &cluster->plan, &document, &error);

	if (rc)
		fprintf(stderr, "ring_claim: %s\n", error.text);
	assert(rc == 0);
	return document;
}

uint64_t random_next(struct random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t random_below(struct random *random, uint32_t limit)
{
	return (uint32_t)(random_next(random) % limit);
}

static bool owned_before(const struct ring_document *previous, uint32_t partition, const struct ring_member *member)
{
	for (uint32_t i = 0; i < ring_datacenter_count(previous); i++) {
		const uint16_t *row;
		uint32_t count;

		if (strcmp(ring_datacenter(previous, i)->name, member->datacenter))
			continue;
		count = ring_owners(previous, partition, i, &row);
		for (uint32_t j = 0; j < count; j++)
			if (ring_member(previous, row[j])->id == member->id)
				return true;
	}
	return false;
}

uint32_t moved_claims(const struct ring_document *previous, const struct ring_document *next)
{
	uint32_t moved = 0;

	for (uint32_t datacenter = 0; datacenter < ring_datacenter_count(next); datacenter++) {
		for (uint32_t partition = 0; partition < ring_partition_count(next); partition++) {
			const uint16_t *row;
			uint32_t count = ring_owners(next, partition, datacenter, &row);

			for (uint32_t i = 0; i < count; i++)
				moved += !owned_before(previous, partition, ring_member(next, row[i]));
		}
	}
	return moved;
}

uint32_t gained_claims(const struct ring_document *previous, const struct ring_document *next)
{
	uint32_t gained = 0;

	for (uint32_t i = 0; i < ring_member_count(next); i++) {
		int before = ring_member_find(previous, ring_member(next, i)->id);
		uint32_t had = before < 0 ? 0 : ring_member_replicas(previous, (uint32_t)before);

		gained += ring_member_replicas(next, i) > had ? ring_member_replicas(next, i) - had : 0;
	}
	return gained;
}
