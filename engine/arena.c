#include "arena.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { CHUNK_FIRST = 16 * 1024, CHUNK_MAX = 2 * 1024 * 1024, CHUNK_HEADER = 64 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
};

void arena_fini(struct arena *arena)
{
	while (arena->chunks) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		free(chunk);
	}
	*arena = (struct arena){0};
}

static struct arena_chunk *chunk_new(struct arena *arena, size_t size)
{
	/* Chunks of 2 MiB are aligned and asked to be one huge page: a memtable is walked at random, and its cost is
	 * misses of cache and of address translation. The advice may be refused, which only costs time. */
	struct arena_chunk *chunk = size == CHUNK_MAX ? aligned_alloc(CHUNK_MAX, CHUNK_MAX) : malloc(size);

	if (!chunk)
		return NULL;
	if (size == CHUNK_MAX)
		madvise(chunk, CHUNK_MAX, MADV_HUGEPAGE);
	chunk->size = size;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	return chunk;
}

void *arena_refill(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk;

	if (!arena->chunk_size)
		arena->chunk_size = CHUNK_FIRST;
	if (size > arena->chunk_size / 4) {
		/* A big one gets its own chunk and the current one stays in use. */
		chunk = size > SIZE_MAX - CHUNK_HEADER ? NULL : chunk_new(arena, size + CHUNK_HEADER);
		if (!chunk)
			return NULL;
		arena->used += size;
		return (uint8_t *)chunk + CHUNK_HEADER;
	}
	chunk = chunk_new(arena, arena->chunk_size);
	if (!chunk)
		return NULL;
	arena->at = (uint8_t *)chunk + CHUNK_HEADER;
	arena->end = (uint8_t *)chunk + arena->chunk_size;
	if (arena->chunk_size < CHUNK_MAX)
		arena->chunk_size *= 2;
	return arena_alloc(arena, size);
}
