/* SPDX-License-Identifier: Apache-2.0 */
/* A whole table file, opened and read: the input gives the bytes of its parts, the target lays them out with right trailers
 * and checksums around them. What opens is searched, walked in both directions and streamed; nothing may be read twice or
 * out of order without an error.
 *
 *     input    u8 compression of the block, 4 x (u16 size, bytes): data block, index block, top index, properties; the rest
 *              is the filter
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/disk/buffer.h"
#include "engine/merge/merge.h"
#include "tests/sim/sim_fs.h"
#include "engine/table/sst.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NUMBER = 1, STEPS_MAX = 5000 };

static void check(bool holds)
{
	if (!holds)
		abort();
}

struct input {
	const uint8_t *at, *end;
};

static struct engine_slice take(struct input *input, size_t size)
{
	struct engine_slice slice = {input->at, size};

	if (size > (size_t)(input->end - input->at))
		slice.size = (size_t)(input->end - input->at);
	input->at += slice.size;
	return slice;
}

static struct engine_slice take_part(struct input *input)
{
	struct engine_slice bytes = take(input, 2);

	return bytes.size < 2 ? (struct engine_slice){input->at, 0} : take(input, format_u16(bytes.data));
}

static struct sst_handle put_part(struct buffer *file, struct engine_slice raw, enum engine_compression compression)
{
	struct sst_handle handle = {.offset = file->size};

	check(sst_part_append(file, raw.data, raw.size, compression, NUMBER, handle.offset, &handle.size) == 0);
	return handle;
}

static void build(struct input *input, struct buffer *file, struct table_meta *meta)
{
	struct format_header header = {.number = NUMBER};
	uint8_t bytes[FORMAT_HEADER_SIZE + SST_FOOTER];
	struct engine_slice compression = take(input, 1), properties, filter;
	struct sst_footer footer;
	struct buffer_reader reader;

	format_header_write(bytes, FORMAT_TABLE, &header);
	check(buffer_append(file, bytes, FORMAT_HEADER_SIZE) == 0);
	put_part(file, take_part(input), compression.size ? *(const uint8_t *)compression.data % 3 : 0);
	put_part(file, take_part(input), ENGINE_COMPRESSION_NONE);
	footer.top = put_part(file, take_part(input), ENGINE_COMPRESSION_NONE);
	properties = take_part(input);
	footer.properties = put_part(file, properties, ENGINE_COMPRESSION_NONE);
	filter = take(input, 4096);
	footer.filter = filter.size ? put_part(file, filter, ENGINE_COMPRESSION_NONE) : (struct sst_handle){0};
	sst_footer_write(bytes, &footer, NUMBER, file->size);
	check(buffer_append(file, bytes, SST_FOOTER) == 0);
	/* The manifest says what the file says of itself. */
	reader = (struct buffer_reader){properties.data, (const uint8_t *)properties.data + properties.size, false};
	*meta = (struct table_meta){.number = NUMBER, .size = file->size, .entry_count = buffer_read_varint(&reader)};
	for (int i = 0; i < 3; i++)
		buffer_read_varint(&reader);
	check(buffer_assign(&meta->smallest, buffer_read_slice(&reader)) == 0);
	check(buffer_assign(&meta->largest, buffer_read_slice(&reader)) == 0);
}

static void look_up(struct sst *sst, struct engine_slice key)
{
	struct engine_error error = {{0}};
	struct engine_value value;
	int rc = sst_get(sst, key, block_key_hash(key), NULL, &value, &error);

	check(rc == LOOKUP_ABSENT || rc == LOOKUP_FOUND || rc == LOOKUP_DELETED || (rc == -EBADMSG && error.text[0]));
	if (rc == LOOKUP_FOUND)
		engine_value_release(&value);
	check(sst_find_block(sst, key) <= sst->block_count);
}

/* Keys that the walk shows ascend, or the table said that it is damaged. */
static void walk(struct sst *sst, bool streaming, bool backward)
{
	struct tables_drops none = {.refs = 1};
	struct engine_error error = {{0}};
	struct buffer last = {0};
	struct merge merge;
	int rc, steps = 0;

	check(merge_init(&merge, 1, &none, &error) == 0);
	merge_add_tables(&merge, &sst, 1, streaming);
	rc = backward ? merge_seek_back(&merge, (struct engine_slice){0})
		      : merge_seek(&merge, (struct engine_slice){0});
	while (rc == 1 && steps++ < STEPS_MAX) {
		struct engine_slice key = merge_key(&merge);

		if (!streaming)
			look_up(sst, key);
		check(buffer_assign(&last, key) == 0);
		rc = backward ? merge_prev(&merge) : merge_next(&merge);
	}
	check(rc >= 0 || (rc == -EBADMSG && error.text[0]));
	if (last.size && !streaming) {
		rc = merge_seek(&merge, buffer_slice(&last));
		if (rc == 1)
			rc = merge_prev(&merge);
		check(rc >= 0 || rc == -EBADMSG);
	}
	buffer_fini(&last);
	merge_fini(&merge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	struct engine_error error = {{0}};
	struct files files;
	struct table_meta meta;
	struct buffer file = {0};
	struct sim_fs *disk;
	struct cache *cache;
	struct sst *sst;
	int rc;

	if (!size)
		return 0;
	build(&input, &file, &meta);
	if (format_compare(buffer_slice(&meta.smallest), buffer_slice(&meta.largest)) > 0) {
		table_meta_fini(&meta); /* no manifest names such a table */
		buffer_fini(&file);
		return 0;
	}
	sim_fs_create(1, &disk);
	files_init(&files, sim_fs_table(disk), "/store", 0);
	check(fs_make_directory(files.fs, "/store") == 0 && fs_make_directory(files.fs, files.directory) == 0);
	sim_fs_put_file(disk, files_path(&files, FILE_TABLE, NUMBER).text, file.data, file.size);
	check(cache_create(64 * 1024, &cache) == 0);
	rc = sst_open(&files, cache, &meta, &sst, &error);
	check(rc == 0 || (rc == -EBADMSG && error.text[0]));
	if (rc == 0) {
		walk(sst, false, false);
		walk(sst, false, true);
		walk(sst, true, false);
		look_up(sst, sst_smallest(sst));
		look_up(sst, sst_largest(sst));
		sst_unref(&sst);
	}
	cache_destroy(&cache);
	sim_fs_destroy(&disk);
	table_meta_fini(&meta);
	buffer_fini(&file);
	return 0;
}
