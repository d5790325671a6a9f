/* SPDX-License-Identifier: Apache-2.0 */
/* Block cache: uncompressed blocks of a shard's tables, within a budget of bytes.
 *
 * There is no hash table: each open table has one slot per block, and a slot holds the pointer to the cached block. A hit
 * is one atomic operation on the slot; nothing is locked and no list is touched. What to evict is decided by S3-FIFO (Yang
 * et al., "FIFO queues are all you need for cache eviction", SOSP 2023): new blocks pass through a small queue and only those
 * read again while in it, or soon after they left it, enter the main queue. So a scan does not wash out what is hot.
 *
 * Slot        0 empty | bit 0 set: ghost, the time at which its block left the small queue | pointer in the low 48 bits and,
 *             above, how many references were taken through the slot since they were last moved to the block's own count.
 * References  taking one: slot count + 1. Releasing: the block's count - 1. Evicting: the slot's count is added to the block's,
 *             and the bias that stood for the slot is taken off; who brings the count to zero frees the block.
 *             (Split reference counting: a reader never touches a block that may be gone.)
 *
 * Threading   All functions from any thread. A mutex is taken on a miss and when a table is closed, never on a hit.
 * Ownership   cache_take and cache_insert return a reference; drop it with block_release.
 * Errors      None but -ENOMEM at creation. Blocks in use when evicted live on uncounted until released.
 */
#ifndef KVRING_ENGINE_CACHE_H
#define KVRING_ENGINE_CACHE_H

#include "engine/table/block.h"
#include "engine/memory/pin.h"

typedef _Atomic uint64_t cache_slot;

struct cache;

struct block {
	struct pin pin;
	_Atomic uint8_t uses; /* since it was last looked at for eviction, at most 3 */
	uint8_t queue;
	struct block_view view;
	/* under the cache's lock */
	struct block *newer, *older;
	cache_slot *slot;
	size_t size; /* of data */
	uint8_t data[];
};

ENGINE_OK int cache_create(size_t budget_bytes, struct cache **out);
void cache_destroy(struct cache **); /* every table must have been forgotten */
/* Bytes taken out of the budget for what stays resident (indexes, filters), or given back when negative. A quarter of
 * the budget is always left to blocks. */
void cache_reserve(struct cache *, int64_t bytes);
size_t cache_used(struct cache *);
/* A table of this shard has noted a damaged block (sst.h); taking the note clears it. */
void cache_note_damage(struct cache *);
bool cache_take_damage(struct cache *);
/* A table of this shard has read bytes that did not verify, and did at the second reading. */
void cache_note_misread(struct cache *);
uint64_t cache_misreads(const struct cache *);

/* Room for a block of this many bytes, with one reference, in no slot. */
ENGINE_OK int block_create(size_t size, struct block **out);
void block_release(struct block *);

/* The block, or NULL on a miss. */
struct block *cache_take(cache_slot *);
/* Puts a block into the slot, unless another thread was faster, in which case that one is returned and the argument
 * freed. */
struct block *cache_insert(struct cache *, cache_slot *, struct block *);
/* Call when the table of these slots is closed. */
void cache_forget(struct cache *, cache_slot *slots, size_t count);

#endif
