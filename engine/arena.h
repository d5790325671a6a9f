/* Arena: memory that is freed all at once.
 *
 * Threading   One thread allocates. What it returned may be read by others.
 * Ownership   The arena owns its chunks until arena_fini.
 * Errors      NULL when memory is short; what was allocated before stays good.
 */
#ifndef KVRING_ENGINE_ARENA_H
#define KVRING_ENGINE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks;
	uint8_t *at, *end;
	size_t chunk_size; /* of the next chunk: doubles from 16 KiB to 2 MiB */
	size_t used;       /* bytes handed out */
};

void arena_fini(struct arena *);
void *arena_refill(struct arena *, size_t size);

/* 8-aligned. */
static inline void *arena_alloc(struct arena *arena, size_t size)
{
	void *result;

	size = (size + 7) & ~(size_t)7;
	if (size > (size_t)(arena->end - arena->at))
		return arena_refill(arena, size);
	result = arena->at;
	arena->at += size;
	arena->used += size;
	return result;
}

#endif
