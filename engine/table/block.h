/* SPDX-License-Identifier: Apache-2.0 */
/* Block: some tens of sorted entries, the unit of reading, compressing and caching.
 *
 *     0  count         u32, at least 1
 *     4  prefix_size   u16, bytes that all keys of the block share
 *     6  offset_width  u8, 2 or 4
 *     7  zero          u8
 *     8  prefix        prefix_size bytes
 *        tags          count x u8, one byte of each key's hash: a point read finds its entry without a search
 *        offsets       count x offset_width, of each entry from the start of the block
 *        entries       varint value size << 2 | enum entry_type, varint suffix size, suffix, value
 *
 * Keys differ late and blocks are small, so sharing one prefix per block saves about what sharing with the neighbour
 * would, and every entry can be reached directly: searches, both directions and point reads need no decoding of others.
 *
 * Threading   A block is immutable. A builder has one user.
 * Errors      -EBADMSG from block_parse, which checks every entry and the order of the keys once, so that reading needs no
 *             checks. -ENOMEM.
 */
#ifndef KVRING_ENGINE_BLOCK_H
#define KVRING_ENGINE_BLOCK_H

#include "engine/disk/buffer.h"
#include "engine/disk/format.h"

struct block_view {
	const uint8_t *data;
	const uint8_t *prefix;
	const uint8_t *tags;
	const uint8_t *offsets;
	uint32_t count;
	uint16_t prefix_size;
	uint8_t offset_width;
};

struct block_entry {
	struct engine_slice suffix; /* of the key, behind the block's prefix */
	struct engine_slice value;
	enum entry_type type;
};

ENGINE_OK int block_parse(const void *data, size_t size, struct block_view *out);
void block_entry_at(const struct block_view *, uint32_t index, struct block_entry *out);
/* Below, at or above 0, as the entry's key is below, equal to or above this one. */
int block_compare(const struct block_view *, uint32_t index, struct engine_slice key);
/* Index of the key, or -1. tag is block_tag of the key's hash. */
int64_t block_find(const struct block_view *, struct engine_slice key, uint8_t tag, struct block_entry *out);
/* Index of the first key >= the given one; count when there is none. */
uint32_t block_lower_bound(const struct block_view *, struct engine_slice key);

uint64_t block_key_hash(struct engine_slice key);

static inline uint8_t block_tag(uint64_t key_hash)
{
	return (uint8_t)(key_hash >> 56);
}

/* Collects entries in key order, then lays them out. */
struct block_builder {
	struct buffer keys;
	struct buffer values;
	struct builder_entry *entries;
	uint32_t count, capacity;
	size_t first_key_size;
};

void block_builder_fini(struct block_builder *);
ENGINE_OK int block_builder_add(struct block_builder *, struct engine_slice key, uint64_t key_hash,
				struct engine_slice value, enum entry_type);
/* An upper bound of the block's size. */
size_t block_builder_size(const struct block_builder *);
/* Appends the block to out and starts anew. */
ENGINE_OK int block_builder_finish(struct block_builder *, struct buffer *out);

#endif
