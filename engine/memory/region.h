/* SPDX-License-Identifier: Apache-2.0 */
/* Region: memory that is freed all at once.
 *
 * Threading   One thread allocates. What it returned may be read by others.
 * Ownership   The region owns its chunks until region_fini.
 * Errors      NULL when memory is short; what was allocated before stays good.
 */
#ifndef KVRING_ENGINE_REGION_H
#define KVRING_ENGINE_REGION_H

#include <stddef.h>
#include <stdint.h>

struct region_chunk;

struct region {
	struct region_chunk *chunks;
	uint8_t *at, *end;
	size_t chunk_size; /* of the next chunk: doubles from 16 KiB to 2 MiB */
	size_t used;       /* bytes handed out */
};

void region_fini(struct region *);
void *region_refill(struct region *, size_t size);

/* 8-aligned. */
static inline void *region_alloc(struct region *region, size_t size)
{
	void *result;

	size = (size + 7) & ~(size_t)7;
	if (size > (size_t)(region->end - region->at))
		return region_refill(region, size);
	result = region->at;
	region->at += size;
	region->used += size;
	return result;
}

#endif
