/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/document.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint32_t ring_member_count(const struct ring_document *document)
{
	return document->member_count;
}

const struct ring_member *ring_member(const struct ring_document *document, uint32_t member_index)
{
	assert(member_index < document->member_count);
	return &document->members[member_index];
}

int ring_member_find(const struct ring_document *document, uint64_t id)
{
	uint32_t low = 0, high = document->member_count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (document->members[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < document->member_count && document->members[low].id == id ? (int)low : -1;
}

int ring_member_find_name(const struct ring_document *document, const char *name)
{
	uint32_t low = 0, high = document->member_count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		int order = strcmp(document->members[document->by_name[middle]].name, name);
		if (order == 0)
			return document->by_name[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

uint32_t ring_member_datacenter(const struct ring_document *document, uint32_t member_index)
{
	assert(member_index < document->member_count);
	return document->member_datacenter[member_index];
}

uint32_t ring_member_replicas(const struct ring_document *document, uint32_t member_index)
{
	assert(member_index < document->member_count);
	return document->replicas[member_index];
}

uint32_t ring_member_primaries(const struct ring_document *document, uint32_t member_index)
{
	assert(member_index < document->member_count);
	return document->primaries[member_index];
}

/* ---- violations ------------------------------------------------------------------------------------------------ */

struct census {
	uint32_t active, racks;
	bool racks_named;
	uint64_t weight;
};

static bool is_active_in(const struct ring_document *document, uint32_t member, uint32_t datacenter)
{
	return document->member_datacenter[member] == datacenter &&
	       document->members[member].state == RING_MEMBER_ACTIVE;
}

static struct census take_census(const struct ring_document *document, uint32_t datacenter)
{
	struct census census = {.racks = document->rack_count[datacenter]};

	for (uint32_t i = 0; i < document->member_count; i++) {
		if (!is_active_in(document, i, datacenter))
			continue;
		census.active++;
		census.weight += document->members[i].weight;
		census.racks_named |= document->members[i].rack[0] != 0;
	}
	return census;
}

/* A member whose claims differ from those of its weight by one or more. */
static bool is_off_weight(const struct ring_document *document, uint32_t member, uint32_t width,
			  const struct census *census, uint64_t *asked_out)
{
	uint64_t claims = (uint64_t)document->partition_count * width * document->members[member].weight;
	uint64_t held = document->replicas[member] * census->weight;

	assert(census->weight > 0); /* the member's own is in it */
	*asked_out = (claims + census->weight / 2) / census->weight;
	return (held > claims ? held - claims : claims - held) >= census->weight;
}

/* Writes the line when it is the one asked for; counts it otherwise. */
#define SAY(...)                                                                                                       \
	do {                                                                                                           \
		if (*line == 0) {                                                                                      \
			snprintf(text, size, __VA_ARGS__);                                                             \
			return true;                                                                                   \
		}                                                                                                      \
		--*line;                                                                                               \
	} while (0)

static bool violation_in(const struct ring_document *document, uint32_t index, uint32_t *line, char *text, size_t size)
{
	const struct ring_datacenter *datacenter = &document->datacenters[index];
	struct census census = take_census(document, index);

	if (census.active < datacenter->replica_count)
		SAY("datacenter %s: %" PRIu32 " replicas wanted, but %" PRIu32
		    " active members: every partition has %" PRIu32,
		    datacenter->name, datacenter->replica_count, census.active, document->owners[index].width);
	else if (census.racks_named && census.racks < datacenter->replica_count)
		SAY("datacenter %s: %" PRIu32 " replicas wanted, but %" PRIu32
		    " racks: replicas of a partition share a rack",
		    datacenter->name, datacenter->replica_count, census.racks);
	for (uint32_t i = 0; i < document->member_count; i++) {
		uint64_t asked;
		if (is_active_in(document, i, index) &&
		    is_off_weight(document, i, document->owners[index].width, &census, &asked))
			SAY("member %s holds %" PRIu32 " partitions, its weight %" PRIu32 " asks for %" PRIu64
			    ": racks or the count of partitions forbid that",
			    document->members[i].name, document->replicas[i], document->members[i].weight, asked);
	}
	return false;
}

bool ring_violation(const struct ring_document *document, uint32_t line, char *text_out, size_t text_size)
{
	for (uint32_t i = 0; i < document->datacenter_count; i++)
		if (violation_in(document, i, &line, text_out, text_size))
			return true;
	return false;
}
