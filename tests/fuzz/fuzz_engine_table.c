/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a table file behind their checksum. The first byte chooses: a block, a compressed part, saved hash trees, a
 * footer. A block that parses can be searched for every one of its keys. */
#include <stdlib.h>
#include <string.h>

#include "engine/disk/buffer.h"
#include "engine/table/block.h"
#include "engine/partition/hashtree.h"
#include "engine/table/sst_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEY_ROOM = 70000 };

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void read_block(const uint8_t *data, size_t size)
{
	struct block_view view;
	uint8_t *key = malloc(KEY_ROOM + size);

	for (uint32_t i = 0; block_parse(data, size, &view) == 0 && i < view.count; i++) {
		struct block_entry entry, found;
		struct engine_slice slice = {key, 0};

		block_entry_at(&view, i, &entry);
		check((const uint8_t *)entry.value.data + entry.value.size <= data + size);
		memcpy(key, view.prefix, view.prefix_size);
		memcpy(key + view.prefix_size, entry.suffix.data, entry.suffix.size);
		slice.size = view.prefix_size + entry.suffix.size;
		check(block_find(&view, slice, view.tags[i], &found) >= 0);
		check(block_lower_bound(&view, slice) <= view.count);
	}
	free(key);
}

/* With a right checksum in front of it, as if the disk had stored it so. */
static void read_part(const uint8_t *data, size_t size)
{
	enum engine_compression compression;
	uint8_t *part = malloc(size + SST_TRAILER), *raw;
	uint64_t part_size = size < 8 ? 0 : size - 8;
	uint32_t raw_size;

	memcpy(part, data, size);
	if (size >= 8) {
		format_u64_put(part + size, format_checksum(part, part_size + 8, 1, 0));
		if (sst_part_check(part, part_size, 1, 0, &raw_size, &compression) == 0 && raw_size < (1 << 24)) {
			raw = malloc(raw_size + 1);
			if (sst_part_expand(part, part_size, compression, raw, raw_size) == 0)
				read_block(raw, raw_size);
			free(raw);
		}
	}
	free(part);
}

static void read_trees(const uint8_t *data, size_t size)
{
	struct hashtree trees = {0};
	struct buffer again = {0};

	if (hashtree_load(&trees, (struct engine_slice){data, size}) == 0)
		check(hashtree_save(&trees, &again) == 0);
	hashtree_fini(&trees);
	buffer_fini(&again);
}

static void read_footer(const uint8_t *data, size_t size)
{
	uint8_t bytes[SST_FOOTER] = {0};
	struct sst_footer footer;

	memcpy(bytes, data, size < 64 ? size : 64);
	format_u64_put(bytes + 64, format_checksum(bytes, 64, 1, 5000));
	memcpy(bytes + 72, "kvr:end", 8);
	if (sst_footer_read(bytes, 1, 5000, &footer) == 0)
		check(footer.top.offset + footer.top.size <= 5000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const uint8_t *, size_t) = {read_block, read_part, read_trees, read_footer};

	if (size)
		readers[data[0] % 4](data + 1, size - 1);
	return 0;
}
