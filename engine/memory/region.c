/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/memory/region.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { CHUNK_FIRST = 16 * 1024, CHUNK_MAX = 2 * 1024 * 1024, CHUNK_HEADER = 64 };

struct region_chunk {
	struct region_chunk *next;
	size_t size;
};

void region_fini(struct region *region)
{
	while (region->chunks != NULL) {
		struct region_chunk *chunk = region->chunks;

		region->chunks = chunk->next;
		free(chunk);
	}
	*region = (struct region){0};
}

static struct region_chunk *chunk_new(struct region *region, size_t size)
{
	/* Chunks of 2 MiB are aligned and asked to be one huge page: a memtable is walked at random, and its cost is
	 * misses of cache and of address translation. The advice may be refused, which only costs time. */
	struct region_chunk *chunk = size == CHUNK_MAX ? aligned_alloc(CHUNK_MAX, CHUNK_MAX) : malloc(size);

	if (chunk == NULL)
		return NULL;
	if (size == CHUNK_MAX)
		madvise(chunk, CHUNK_MAX, MADV_HUGEPAGE);
	chunk->size = size;
	chunk->next = region->chunks;
	region->chunks = chunk;
	return chunk;
}

void *region_refill(struct region *region, size_t size)
{
	struct region_chunk *chunk;

	if (!region->chunk_size)
		region->chunk_size = CHUNK_FIRST;
	if (size > region->chunk_size / 4) {
		/* A big one gets its own chunk and the current one stays in use. */
		chunk = size > SIZE_MAX - CHUNK_HEADER ? NULL : chunk_new(region, size + CHUNK_HEADER);
		if (chunk == NULL)
			return NULL;
		region->used += size;
		return (uint8_t *)chunk + CHUNK_HEADER;
	}
	chunk = chunk_new(region, region->chunk_size);
	if (chunk == NULL)
		return NULL;
	region->at = (uint8_t *)chunk + CHUNK_HEADER;
	region->end = (uint8_t *)chunk + region->chunk_size;
	if (region->chunk_size < CHUNK_MAX)
		region->chunk_size *= 2;
	return region_alloc(region, size);
}
