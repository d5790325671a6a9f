/* SPDX-License-Identifier: Apache-2.0 */
/* Table files: sorted, immutable, one entry per key.
 *
 *     header     format.h, magic "kvr:tab"
 *     data       blocks (block.h) in key order
 *     filter     lines of filter.h over all keys; absent when filter_bits_per_key was 0
 *     index      blocks: a key >= every key of a data block and < those of the next -> varint offset, size of that block
 *     top index  one block: the same over the index blocks
 *     properties varint entry count, delete count, key and value bytes, filter probes; slices smallest key, largest key
 *     footer     80 bytes: 4 x (u64 offset, u64 size) of filter, top index, properties, nothing; u64 checksum of these 64
 *                bytes; "kvr:end"
 *
 * Each part between header and footer is followed by a trailer of 16 bytes: compression u8, zero[3], raw size u32, checksum
 * u64 of the part and the first 8 bytes of the trailer (format_checksum, with file number and offset).
 *
 * Threading   Pure functions.
 * Errors      -EBADMSG damaged, described with file and offset.
 */
#ifndef KVRING_ENGINE_SST_FORMAT_H
#define KVRING_ENGINE_SST_FORMAT_H

#include "engine/disk/buffer.h"
#include "engine/disk/files.h"
#include "engine/disk/format.h"

enum {
	SST_TRAILER = 16,
	SST_FOOTER = 80,
	SST_INDEX_BLOCK = 4096,
	/* The largest part: a filter of a table of the largest size, or a block with one entry of the largest size. */
	SST_PART_MAX = 128 * 1024 * 1024,
};

struct sst_handle {
	uint64_t offset, size; /* without trailer */
};

struct sst_footer {
	struct sst_handle filter, top, properties;
};

/* The description of a table file in the manifest and in its properties. Keys are owned. */
struct table_meta {
	uint64_t number;
	uint64_t size;
	uint64_t digest; /* XXH3 of the whole file */
	uint64_t entry_count, delete_count;
	uint64_t raw_bytes; /* of keys and values */
	uint64_t drop_id;   /* drops up to this one are applied in it */
	struct buffer smallest, largest;
};

void table_meta_fini(struct table_meta *);
ENGINE_OK int table_meta_copy(const struct table_meta *, struct table_meta *out);

static inline struct engine_slice buffer_slice(const struct buffer *buffer)
{
	return (struct engine_slice){buffer->data, buffer->size};
}

void sst_footer_write(uint8_t out[SST_FOOTER], const struct sst_footer *, uint64_t number, uint64_t offset);
ENGINE_OK int sst_footer_read(const uint8_t bytes[SST_FOOTER], uint64_t number, uint64_t offset,
			      struct sst_footer *out);

/* Checks trailer and bounds of a part read from disk (size + SST_TRAILER bytes). */
ENGINE_OK int sst_part_check(const uint8_t *part, uint64_t size, uint64_t number, uint64_t offset,
			     uint32_t *raw_size_out, enum engine_compression *compression_out);
/* Into raw_size bytes. */
ENGINE_OK int sst_part_expand(const uint8_t *part, uint64_t size, enum engine_compression, uint8_t *out,
			      uint32_t raw_size);
/* Appends the part in its smallest form, with trailer. */
ENGINE_OK int sst_part_append(struct buffer *out, const void *raw, size_t raw_size, enum engine_compression,
			      uint64_t number, uint64_t offset, uint64_t *size_out);

#endif
