/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ARENA_ALIGNMENT = 16,
	ARENA_CHUNK_MIN = 1024,        /* bytes */
	ARENA_CHUNK_MAX = 1024 * 1024, /* bytes; larger allocations get a chunk of their own */
};

struct chunk {
	struct chunk *next;
	_Alignas(ARENA_ALIGNMENT) uint8_t bytes[];
};

/* The first chunk follows the struct in the same block of memory. */
struct arena {
	atomic_uint references;

	/* owned by the allocating thread */
	uint8_t *free;  /* in the newest shared chunk */
	size_t room;    /* bytes from free to its end, or less: never more than the cap leaves */
	uint8_t *start; /* what lies from here to free is not in others */
	size_t others;  /* bytes handed out elsewhere */
	size_t cap;     /* upper bound of all that is handed out, rounding included */
	size_t chunk_size;
	struct chunk *chunks;

	_Alignas(ARENA_ALIGNMENT) uint8_t first[];
};

static size_t round_up(size_t size)
{
	return (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
}

static void bound_room(struct arena *a, size_t room)
{
	size_t left = a->cap - a->others - (size_t)(a->free - a->start);
	a->room = room < left ? room : left;
}

static void share_chunk(struct arena *a, uint8_t *bytes, size_t size)
{
	a->start = a->free = bytes;
	bound_room(a, size);
}

struct arena *rpc_arena_create(size_t first_size, size_t cap)
{
	first_size = round_up(first_size < ARENA_CHUNK_MAX ? first_size : ARENA_CHUNK_MAX);
	struct arena *a = malloc(sizeof *a + first_size);
	if (a == NULL)
		return NULL;
	atomic_init(&a->references, 1);
	a->others = 0;
	a->cap = cap < PTRDIFF_MAX ? cap : PTRDIFF_MAX; /* so that no sum below wraps */
	share_chunk(a, a->first, first_size);
	a->chunk_size = first_size > ARENA_CHUNK_MIN ? first_size : ARENA_CHUNK_MIN;
	a->chunks = NULL;
	return a;
}

struct arena *rpc_arena_ref(struct arena *a)
{
	rpc_arena_ref_many(a, 1);
	return a;
}

void rpc_arena_ref_many(struct arena *a, unsigned count)
{
	unsigned before = atomic_fetch_add_explicit(&a->references, count, memory_order_relaxed);
	assert(before > 0);
}

void rpc_arena_unref(struct arena *a)
{
	if (a == NULL)
		return;
	unsigned before = atomic_fetch_sub_explicit(&a->references, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before > 1)
		return;
	while (a->chunks != NULL) {
		struct chunk *next = a->chunks->next;
		free(a->chunks);
		a->chunks = next;
	}
	free(a);
}

static struct chunk *chunk_add(struct arena *a, size_t size)
{
	struct chunk *chunk = malloc(sizeof *chunk + size);
	if (chunk == NULL)
		return NULL;
	chunk->next = a->chunks;
	a->chunks = chunk;
	return chunk;
}

/* Out of the usual way: the current chunk has no room, or the cap leaves none. size is rounded. */
static __attribute__((noinline)) void *alloc_from_new_chunk(struct arena *a, size_t size)
{
	if (size > a->cap - rpc_arena_used(a))
		return NULL;
	/* A large piece takes a chunk of its own, so that the rest of the current one is not lost. */
	if (size > a->chunk_size / 2) {
		struct chunk *own = chunk_add(a, size);
		if (own == NULL)
			return NULL;
		a->others += size;
		bound_room(a, a->room);
		return own->bytes;
	}
	if (a->chunk_size < ARENA_CHUNK_MAX)
		a->chunk_size *= 2;
	struct chunk *chunk = chunk_add(a, a->chunk_size);
	if (chunk == NULL)
		return NULL;
	a->others = rpc_arena_used(a);
	share_chunk(a, chunk->bytes, a->chunk_size);
	a->free += size;
	a->room -= size;
	return chunk->bytes;
}

void *rpc_arena_alloc(struct arena *a, size_t size)
{
	if (size > PTRDIFF_MAX)
		return NULL;
	size_t rounded = round_up(size == 0 ? 1 : size);
	if (rounded > a->room)
		return alloc_from_new_chunk(a, rounded);
	void *memory = a->free;
	a->free += rounded;
	a->room -= rounded;
	return memory;
}

void *rpc_arena_zalloc(struct arena *a, size_t size)
{
	void *memory = rpc_arena_alloc(a, size);
	if (memory != NULL)
		memset(memory, 0, size);
	return memory;
}

void *rpc_arena_copy(struct arena *a, const void *data, size_t size)
{
	void *memory = rpc_arena_alloc(a, size);
	if (memory != NULL && size > 0)
		memcpy(memory, data, size);
	return memory;
}

char *rpc_arena_printf(struct arena *a, const char *format, ...)
{
	va_list arguments, again;
	va_start(arguments, format);
	va_copy(again, arguments);
	int length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	char *text = length < 0 ? NULL : rpc_arena_alloc(a, (size_t)length + 1);
	if (text != NULL)
		vsnprintf(text, (size_t)length + 1, format, again);
	va_end(again);
	return text;
}

size_t rpc_arena_used(const struct arena *a)
{
	return a->others + (size_t)(a->free - a->start);
}
