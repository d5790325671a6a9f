/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing: computes everything that lookups in a ring document need, and its hash. */
#include "ring/document.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

static int compare_names(const void *a, const void *b, void *context)
{
	const struct ring_member *members = context;
	uint16_t left = *(const uint16_t *)a, right = *(const uint16_t *)b;
	int order = strcmp(members[left].name, members[right].name);

	return order ? order : left - right;
}

void document_sort_names(struct ring_document *document)
{
	for (uint32_t i = 0; i < document->member_count; i++)
		document->by_name[i] = (uint16_t)i;
	qsort_r(document->by_name, document->member_count, sizeof *document->by_name, compare_names, document->members);
}

static int compare_racks(const void *a, const void *b, void *context)
{
	const struct ring_document *document = context;
	uint16_t left = *(const uint16_t *)a, right = *(const uint16_t *)b;

	if (document->member_datacenter[left] != document->member_datacenter[right])
		return document->member_datacenter[left] - document->member_datacenter[right];
	return strcmp(document->members[left].rack, document->members[right].rack);
}

void document_number_racks(struct ring_document *document)
{
	uint16_t *active = document->by_name;
	uint32_t count = 0;

	memset(document->member_rack, 0xff, document->member_count * sizeof *document->member_rack); /* RING_NOBODY */
	memset(document->rack_count, 0, document->datacenter_count * sizeof *document->rack_count);
	for (uint32_t i = 0; i < document->member_count; i++)
		if (document->members[i].state == RING_MEMBER_ACTIVE)
			active[count++] = (uint16_t)i;
	qsort_r(active, count, sizeof *active, compare_racks, document);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t *racks = &document->rack_count[document->member_datacenter[active[i]]];

		if (i == 0 || compare_racks(&active[i - 1], &active[i], document) != 0)
			++*racks;
		document->member_rack[active[i]] = (uint16_t)(*racks - 1);
	}
}

static void count_owners(struct ring_document *document, const struct owner_table *table)
{
	for (uint32_t partition = 0; partition < document->partition_count; partition++) {
		const uint16_t *row = table->rows + (size_t)partition * table->width;

		for (uint32_t i = 0; i < table->width; i++) {
			assert(row[i] < document->member_count);
			document->replicas[row[i]]++;
		}
		document->primaries[row[0]]++;
	}
}

int document_seal(struct ring_document *document)
{
	uint8_t *bytes;
	size_t size;
	int error;

	assert(document->partition_shift == 0); /* sealed once */
	assert(__builtin_popcount(document->partition_count) == 1);
	document->partition_shift = 64 - (uint32_t)__builtin_ctz(document->partition_count);
	for (uint32_t i = 1; i < document->member_count; i++)
		assert(document->members[i - 1].id < document->members[i].id); /* D1 */
	document_number_racks(document);
	document_sort_names(document);
	for (uint32_t i = 0; i < document->datacenter_count; i++)
		if (document->owners[i].width)
			count_owners(document, &document->owners[i]);
	for (uint32_t i = 0; i < document->member_count; i++)
		document->holder_count[document->member_datacenter[i]] += document->replicas[i] > 0;

	error = ring_document_encode(document, &bytes, &size);
	if (error)
		return error;
	document->hash = XXH3_64bits(bytes, size);
	free(bytes);
	return 0;
}

int document_finish(struct ring_document *document, int error, struct ring_document **out)
{
	if (!error)
		error = document_seal(document);
	if (error)
		ring_document_destroy(&document);
	else
		*out = document;
	return error;
}
