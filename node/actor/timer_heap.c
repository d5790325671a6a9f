/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "node/actor/timer_heap.h"

static void place(struct timer_heap *heap, uint32_t at, struct timer_entry *entry)
{
	assert(at > 0); /* place 0 says that an entry is in no heap */
	assert(at <= heap->count);
	heap->entries[at] = entry;
	entry->place = at;
}

static uint32_t sift_up(struct timer_heap *heap, uint32_t at)
{
	struct timer_entry *entry = heap->entries[at];
	while (at > 1 && heap->entries[at / 2]->due_us > entry->due_us) {
		place(heap, at, heap->entries[at / 2]);
		at /= 2;
	}
	place(heap, at, entry);
	return at;
}

static void sift_down(struct timer_heap *heap, uint32_t at)
{
	struct timer_entry *entry = heap->entries[at];
	for (uint32_t child = at * 2; child <= heap->count; child = at * 2) {
		if (child < heap->count && heap->entries[child + 1]->due_us < heap->entries[child]->due_us)
			child++;
		if (heap->entries[child]->due_us >= entry->due_us)
			break;
		place(heap, at, heap->entries[child]);
		at = child;
	}
	place(heap, at, entry);
}

void timer_heap_fini(struct timer_heap *heap)
{
	free(heap->entries);
	*heap = (struct timer_heap){0};
}

int timer_heap_add(struct timer_heap *heap, struct timer_entry *entry)
{
	assert(entry->place == 0);
	if (heap->count + 1 >= heap->capacity) {
		uint32_t capacity = heap->capacity ? heap->capacity * 2 : 64;
		struct timer_entry **entries = realloc(heap->entries, capacity * sizeof *entries);
		if (entries == NULL)
			return -ENOMEM;
		heap->entries = entries;
		heap->capacity = capacity;
	}
	assert(heap->count + 1 < heap->capacity);
	place(heap, ++heap->count, entry);
	sift_up(heap, heap->count);
	return 0;
}

void timer_heap_remove(struct timer_heap *heap, struct timer_entry *entry)
{
	uint32_t at = entry->place;
	if (at == 0)
		return;
	assert(heap->entries[at] == entry);
	entry->place = 0;
	struct timer_entry *last = heap->entries[heap->count--];
	if (last == entry)
		return;
	place(heap, at, last);
	if (sift_up(heap, at) == at)
		sift_down(heap, at);
}

void timer_heap_move(struct timer_heap *heap, struct timer_entry *entry, uint64_t due_us)
{
	assert(entry->place != 0);
	assert(heap->entries[entry->place] == entry);
	entry->due_us = due_us;
	if (sift_up(heap, entry->place) == entry->place)
		sift_down(heap, entry->place);
}

struct timer_entry *timer_heap_first(const struct timer_heap *heap)
{
	return heap->count ? heap->entries[1] : NULL;
}
