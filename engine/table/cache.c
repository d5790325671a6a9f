/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/table/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "rpc/lock.h"

enum { QUEUE_SMALL, QUEUE_MAIN, QUEUE_COUNT };
enum { USES_MAX = 3, SLOT_SHIFT = 48, SLOT_MOVE = 0x4000 /* references in a slot before they move to the block */ };

#define SLOT_ONE     ((uint64_t)1 << SLOT_SHIFT)
#define SLOT_POINTER (SLOT_ONE - 1)
#define PIN_BIAS     ((int64_t)1 << 40) /* stands for the slot */

struct queue {
	struct block *newest, *oldest;
	size_t bytes;
};

struct cache {
	struct lock lock;
	struct queue queues[QUEUE_COUNT] GUARDED;
	int64_t reserved GUARDED;
	uint64_t ghost_clock GUARDED; /* bytes that have left the small queue unread, ever */
	size_t budget;                /* constant */
	_Atomic bool has_damage;
	_Atomic uint64_t misreads;
};

static void queue_push(struct cache *cache, unsigned which, struct block *block) REQUIRES(cache->lock);
static void queue_remove(struct cache *cache, struct block *block) REQUIRES(cache->lock);
static void slot_evict(struct cache *cache, struct block *block, uint64_t mark) REQUIRES(cache->lock);
static size_t block_budget(const struct cache *cache) REQUIRES(cache->lock);
static void evict_from_small(struct cache *cache) REQUIRES(cache->lock);
static void evict_from_main(struct cache *cache) REQUIRES(cache->lock);
static void evict(struct cache *cache) REQUIRES(cache->lock);
static bool ghost_is_fresh(const struct cache *cache, uint64_t word) REQUIRES(cache->lock);

int cache_create(size_t budget_bytes, struct cache **out)
{
	struct cache *cache = calloc(1, sizeof *cache);

	if (cache == NULL)
		return -ENOMEM;
	lock_init(&cache->lock);
	cache->budget = budget_bytes;
	*out = cache;
	return 0;
}

NOT_CHECKED void cache_destroy(struct cache **cache)
{
	struct cache *it = *cache;

	*cache = NULL;
	if (it == NULL)
		return;
	assert(it->queues[QUEUE_SMALL].bytes == 0);
	assert(it->queues[QUEUE_MAIN].bytes == 0);
	lock_fini(&it->lock);
	free(it);
}

int block_create(size_t size, struct block **out)
{
	struct block *block = malloc(sizeof *block + size);

	if (block == NULL)
		return -ENOMEM;
	pin_init(&block->pin, PIN_BLOCK);
	atomic_init(&block->uses, 0);
	block->slot = NULL;
	block->size = size;
	*out = block;
	return 0;
}

/* Adds to the block's count; who brings it to zero frees it. */
static void block_adjust(struct block *block, int64_t by)
{
	int64_t before = atomic_fetch_add_explicit(&block->pin.count, by, memory_order_acq_rel);

	assert(before > 0);
	assert(before >= -by);
	if (before == -by)
		free(block);
}

void block_release(struct block *block)
{
	block_adjust(block, -1);
}

static struct block *slot_block(uint64_t word)
{
	return word & 1 ? NULL : (struct block *)(uintptr_t)(word & SLOT_POINTER);
}

/* Moves the slot's references to the block's own count. The caller holds one, so the block stays. Adding comes first:
 * the count may be too high for a moment, never too low. */
static void slot_settle(cache_slot *slot, struct block *block)
{
	uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
	int64_t count = (int64_t)(word >> SLOT_SHIFT);

	if (slot_block(word) != block || count < SLOT_MOVE)
		return;
	block_adjust(block, count);
	if (!atomic_compare_exchange_strong_explicit(slot, &word, word & SLOT_POINTER, memory_order_acq_rel,
						     memory_order_relaxed))
		block_adjust(block, -count);
}

struct block *cache_take(cache_slot *slot)
{
	uint64_t word = atomic_load_explicit(slot, memory_order_acquire);
	struct block *block;
	uint8_t uses;

	do {
		block = slot_block(word);
		if (block == NULL)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(slot, &word, word + SLOT_ONE, memory_order_acq_rel,
							memory_order_acquire));
	if (word >> SLOT_SHIFT >= SLOT_MOVE)
		slot_settle(slot, block);
	uses = atomic_load_explicit(&block->uses, memory_order_relaxed);
	if (uses < USES_MAX)
		atomic_store_explicit(&block->uses, uses + 1, memory_order_relaxed);
	return block;
}

static size_t block_cost(const struct block *block)
{
	return sizeof *block + block->size;
}

static void queue_push(struct cache *cache, unsigned which, struct block *block)
{
	struct queue *queue = &cache->queues[which];

	assert((queue->newest == NULL) == (queue->oldest == NULL));
	block->queue = (uint8_t)which;
	block->newer = NULL;
	block->older = queue->newest;
	if (queue->newest != NULL)
		queue->newest->newer = block;
	else
		queue->oldest = block;
	queue->newest = block;
	queue->bytes += block_cost(block);
}

static void queue_remove(struct cache *cache, struct block *block)
{
	struct queue *queue = &cache->queues[block->queue];

	if (block->newer != NULL)
		block->newer->older = block->older;
	else
		queue->newest = block->older;
	if (block->older != NULL)
		block->older->newer = block->newer;
	else
		queue->oldest = block->newer;
	assert(queue->bytes >= block_cost(block));
	queue->bytes -= block_cost(block);
	assert((queue->bytes == 0) == (queue->newest == NULL));
}

/* Empties the slot, leaving `mark` in it. */
static void slot_evict(struct cache *cache, struct block *block, uint64_t mark)
{
	uint64_t word = atomic_exchange_explicit(block->slot, mark, memory_order_acq_rel);

	assert(slot_block(word) == block);
	queue_remove(cache, block);
	block_adjust(block, (int64_t)(word >> SLOT_SHIFT) - PIN_BIAS);
}

static size_t block_budget(const struct cache *cache)
{
	size_t least = cache->budget / 4;

	if (cache->reserved <= 0)
		return cache->budget;
	return (size_t)cache->reserved < cache->budget - least ? cache->budget - (size_t)cache->reserved : least;
}

/* A block that was read since its last look gets another round. */
static void evict_from_small(struct cache *cache)
{
	struct block *block = cache->queues[QUEUE_SMALL].oldest;

	assert(block != NULL);
	assert(block->queue == QUEUE_SMALL);
	if (atomic_load_explicit(&block->uses, memory_order_relaxed)) {
		queue_remove(cache, block);
		atomic_store_explicit(&block->uses, 0, memory_order_relaxed);
		queue_push(cache, QUEUE_MAIN, block);
		return;
	}
	cache->ghost_clock += block_cost(block);
	slot_evict(cache, block, cache->ghost_clock << 1 | 1);
}

static void evict_from_main(struct cache *cache)
{
	struct block *block = cache->queues[QUEUE_MAIN].oldest;
	uint8_t uses;

	assert(block != NULL);
	assert(block->queue == QUEUE_MAIN);
	uses = atomic_load_explicit(&block->uses, memory_order_relaxed);
	assert(uses <= USES_MAX);
	if (!uses) {
		slot_evict(cache, block, 0);
		return;
	}
	queue_remove(cache, block);
	atomic_store_explicit(&block->uses, uses - 1, memory_order_relaxed);
	queue_push(cache, QUEUE_MAIN, block);
}

static void evict(struct cache *cache)
{
	size_t budget = block_budget(cache);
	struct queue *small = &cache->queues[QUEUE_SMALL], *main = &cache->queues[QUEUE_MAIN];

	while (small->bytes + main->bytes > budget) {
		if (small->oldest != NULL && (small->bytes > budget / 10 || main->oldest == NULL))
			evict_from_small(cache);
		else
			evict_from_main(cache);
	}
}

/* Did this block leave the small queue so recently that a main queue of full size would still have had it? */
static bool ghost_is_fresh(const struct cache *cache, uint64_t word)
{
	return (word & 1) && cache->ghost_clock - (word >> 1) < block_budget(cache);
}

struct block *cache_insert(struct cache *cache, cache_slot *slot, struct block *block)
{
	uint64_t word;

	lock_take(&cache->lock);
	word = atomic_load_explicit(slot, memory_order_acquire);
	if (slot_block(word) != NULL) {
		/* Only the holder of the lock empties a slot, so this take succeeds. */
		struct block *first = cache_take(slot);

		lock_release(&cache->lock);
		block_release(block);
		return first;
	}
	assert(((uintptr_t)block & ~SLOT_POINTER) == 0);
	assert(block->slot == NULL);
	block->slot = slot;
	atomic_fetch_add_explicit(&block->pin.count, PIN_BIAS, memory_order_relaxed);
	queue_push(cache, ghost_is_fresh(cache, word) ? QUEUE_MAIN : QUEUE_SMALL, block);
	atomic_store_explicit(slot, (uint64_t)(uintptr_t)block, memory_order_release);
	evict(cache);
	lock_release(&cache->lock);
	return block;
}

void cache_forget(struct cache *cache, cache_slot *slots, size_t count)
{
	lock_take(&cache->lock);
	for (size_t i = 0; i < count; i++) {
		struct block *block = slot_block(atomic_load_explicit(&slots[i], memory_order_acquire));

		if (block != NULL)
			slot_evict(cache, block, 0);
	}
	lock_release(&cache->lock);
}

void cache_reserve(struct cache *cache, int64_t bytes)
{
	lock_take(&cache->lock);
	cache->reserved += bytes;
	evict(cache);
	lock_release(&cache->lock);
}

void cache_note_damage(struct cache *cache)
{
	atomic_store_explicit(&cache->has_damage, true, memory_order_release);
}

bool cache_take_damage(struct cache *cache)
{
	return atomic_load_explicit(&cache->has_damage, memory_order_relaxed) &&
	       atomic_exchange_explicit(&cache->has_damage, false, memory_order_acquire);
}

void cache_note_misread(struct cache *cache)
{
	atomic_fetch_add_explicit(&cache->misreads, 1, memory_order_relaxed);
}

uint64_t cache_misreads(const struct cache *cache)
{
	return atomic_load_explicit(&cache->misreads, memory_order_relaxed);
}

size_t cache_used(struct cache *cache)
{
	size_t used;

	lock_take(&cache->lock);
	used = cache->queues[QUEUE_SMALL].bytes + cache->queues[QUEUE_MAIN].bytes;
	lock_release(&cache->lock);
	return used;
}
