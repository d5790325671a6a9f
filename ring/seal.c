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

	return strcmp(members[*(const uint16_t *)a].name, members[*(const uint16_t *)b].name);
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
	for (uint32_t i = 0; i < document->member_count; i++) {
		assert(i == 0 || document->members[i - 1].id < document->members[i].id); /* D1 */
		document->by_name[i] = (uint16_t)i;
	}
	qsort_r(document->by_name, document->member_count, sizeof *document->by_name, compare_names, document->members);
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
