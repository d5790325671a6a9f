/* SPDX-License-Identifier: Apache-2.0 */
/* An open table: index and filter in memory, blocks through the cache.
 *
 * Threading   Immutable after sst_open but for its cache slots, which are atomic: any thread may read.
 * Ownership   Counted. The last reference closes the file, and removes it when sst_doom was called: a table that no
 *             shard and no snapshot names is gone from the disk.
 * Errors      -EBADMSG names file and offset in error_out. "Absent" is LOOKUP_ABSENT.
 * Damage      Whoever meets a damaged block leaves a note in damaged_block and in the cache; the shard's owner makes a
 *             quarantine of it. There is room for one note: another damaged block is found again by the next reader.
 * Invariants  S1 A key is looked for in at most one block.
 *             S2 Bytes are verified on every read from the disk.
 *             S3 Bytes that do not verify are read anew, from the medium into another buffer, before they count as damaged.
 */
#ifndef KVRING_ENGINE_SST_H
#define KVRING_ENGINE_SST_H

#include "engine/disk/buffer.h"
#include "engine/table/cache.h"
#include "engine/partition/quarantine.h"
#include "engine/table/sst_format.h"

/* The result of a lookup in any part of the tree. */
enum lookup { LOOKUP_ABSENT, LOOKUP_FOUND, LOOKUP_DELETED };

struct index_block;

struct sst {
	_Atomic uint32_t refs;
	_Atomic bool doomed;
	struct files files;
	struct cache *cache;
	struct fs_file *file;           /* NULL: made by sst_open_damaged */
	_Atomic uint32_t damaged_block; /* index + 1, 0: none */
	struct table_meta meta;
	uint8_t *filter;
	size_t filter_bytes;
	uint32_t filter_probes;
	/* the index: block i holds the keys up to separator i */
	uint32_t block_count;
	uint32_t skip;      /* bytes that all keys of the table share */
	uint64_t *prefixes; /* the next eight bytes of each separator, as a number */
	struct index_block *blocks;
	struct buffer separators;
	cache_slot *slots;
	size_t resident_bytes;
};

/* Owner-side counts of one shard; NULL for readers on other threads. */
struct read_stats {
	uint64_t filter_checks, filter_negatives, filter_false_positives;
	uint64_t cache_hits, cache_misses;
};

/* Takes over nothing: meta is copied. The file's header, footer, index and filter are read and verified. */
ENGINE_OK int sst_open(const struct files *, struct cache *, const struct table_meta *meta, struct sst **out,
		       struct engine_error *error_out);
/* Stands for a table that cannot be opened: one block over all its range, which is damaged. */
ENGINE_OK int sst_open_damaged(const struct files *, struct cache *, const struct table_meta *meta, struct sst **out);
void sst_ref(struct sst *);
void sst_unref(struct sst **);
/* The file goes with the last reference. */
void sst_doom(struct sst *);

/* enum lookup or a negative errno; on LOOKUP_FOUND value_out is pinned. The key must lie in [smallest, largest]. */
ENGINE_OK int sst_get(struct sst *, struct engine_slice key, uint64_t key_hash, struct read_stats *,
		      struct engine_value *value_out, struct engine_error *error_out);
/* False: the key is not in it. */
bool sst_may_contain(const struct sst *, uint64_t key_hash);
/* Begins to fetch what sst_may_contain looks at. */
void sst_prefetch_filter(const struct sst *, uint64_t key_hash);
/* The first block that may hold keys >= key; block_count when there is none. */
uint32_t sst_find_block(const struct sst *, struct engine_slice key);
/* The partitions of the shard whose keys can be in the block, or anywhere in the table. */
struct partition_row sst_block_partitions(const struct sst *, uint32_t block_index);
struct partition_row sst_partitions(const struct sst *);
/* Where in the file the block begins. */
uint64_t sst_block_offset(const struct sst *, uint32_t block_index);
/* A referenced block, from cache or disk. */
ENGINE_OK int sst_block(struct sst *, uint32_t block_index, struct read_stats *, struct block **out,
			struct engine_error *error_out);

/* Reads blocks one after the other, in large pieces and past the cache: for compaction and verify. */
struct sst_stream {
	struct sst *sst;
	struct buffer window;
	uint64_t window_offset;
};

void sst_stream_init(struct sst_stream *, struct sst *);
void sst_stream_fini(struct sst_stream *);
ENGINE_OK int sst_stream_block(struct sst_stream *, uint32_t block_index, struct block **out,
			       struct engine_error *error_out);

/* Whole-file check against the digest. */
ENGINE_OK int sst_verify_digest(struct sst *, struct engine_error *error_out);

static inline struct engine_slice sst_smallest(const struct sst *sst)
{
	return buffer_slice(&sst->meta.smallest);
}

static inline struct engine_slice sst_largest(const struct sst *sst)
{
	return buffer_slice(&sst->meta.largest);
}

#endif
