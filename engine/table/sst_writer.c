/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/table/sst_writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "engine/disk/buffer.h"
#include "engine/table/block.h"
#include "engine/table/filter.h"

enum { WRITE_CHUNK = 256 * 1024 };

struct sst_writer {
	const struct files *files;
	struct sst_options options;
	struct fs_file *file;
	struct table_meta meta;
	struct block_builder data, index, top;
	struct buffer raw;    /* one block as laid out, before compression */
	struct buffer out;    /* not yet in the file */
	uint64_t offset;      /* of the end of out */
	struct buffer hashes; /* u64 per key */
	struct buffer last_key;
	struct buffer pending_key; /* last key of the block just finished, its index entry to come */
	struct sst_handle pending;
	bool has_pending;
	XXH3_state_t *digest;
};

static int flush(struct sst_writer *writer)
{
	struct iovec part = {writer->out.data, writer->out.size};
	int error;

	if (!writer->out.size)
		return 0;
	error = writer->files->fs->append(writer->file, &part, 1);
	XXH3_64bits_update(writer->digest, writer->out.data, writer->out.size);
	writer->out.size = 0;
	return error;
}

static int append_raw(struct sst_writer *writer, const void *data, size_t size)
{
	int error = buffer_append(&writer->out, data, size);

	if (error == 0)
		writer->offset += size;
	return error;
}

static int append_part(struct sst_writer *writer, const void *raw, size_t size, enum engine_compression compression,
		       struct sst_handle *handle_out)
{
	int error;

	if (size > SST_PART_MAX)
		return -EFBIG;
	handle_out->offset = writer->offset;
	error = sst_part_append(&writer->out, raw, size, compression, writer->meta.number, writer->offset,
				&handle_out->size);
	if (error)
		return error;
	writer->offset += handle_out->size + SST_TRAILER;
	return writer->out.size >= WRITE_CHUNK ? flush(writer) : 0;
}

static int append_block(struct sst_writer *writer, struct block_builder *builder, struct sst_handle *handle_out)
{
	int error;

	assert(builder->count > 0);
	writer->raw.size = 0;
	error = block_builder_finish(builder, &writer->raw);
	if (error)
		return error;
	return append_part(writer, writer->raw.data, writer->raw.size, writer->options.compression, handle_out);
}

int sst_writer_create(const struct files *files, uint64_t number, const struct sst_options *options,
		      struct sst_writer **out)
{
	struct format_header header = {.shard = files->shard_index, .number = number};
	struct files_path path = files_path(files, FILE_TABLE, number);
	struct sst_writer *writer = calloc(1, sizeof *writer);
	uint8_t bytes[FORMAT_HEADER_SIZE];
	int error;

	if (writer == NULL)
		return -ENOMEM;
	writer->files = files;
	writer->options = *options;
	writer->meta.number = number;
	writer->digest = XXH3_createState();
	error = writer->digest != NULL ? files->fs->open(files->fs, path.text, FS_OPEN_CREATE, &writer->file) : -ENOMEM;
	if (error == 0) {
		XXH3_64bits_reset(writer->digest);
		format_header_write(bytes, FORMAT_TABLE, &header);
		error = append_raw(writer, bytes, sizeof bytes);
	}
	if (error) {
		sst_writer_abort(&writer);
		return error;
	}
	*out = writer;
	return 0;
}

static int add_index(struct block_builder *builder, struct engine_slice key, struct sst_handle handle)
{
	uint8_t value[2 * FORMAT_VARINT_MAX], *end;

	end = format_varint_put(format_varint_put(value, handle.offset), handle.size);
	return block_builder_add(builder, key, 0, (struct engine_slice){value, (size_t)(end - value)}, ENTRY_PUT);
}

static int finish_index_block(struct sst_writer *writer, struct engine_slice last)
{
	struct sst_handle handle;
	int error = append_block(writer, &writer->index, &handle);

	return error ? error : add_index(&writer->top, last, handle);
}

/* The index entry of the last block, now that the next key is known: the shortest key that separates the two. */
static int index_pending(struct sst_writer *writer, const struct engine_slice *next)
{
	struct engine_slice key = buffer_slice(&writer->pending_key);
	int error;

	if (!writer->has_pending)
		return 0;
	writer->has_pending = false;
	if (next != NULL) {
		size_t common = format_common_prefix(key, *next);

		/* next[0..common] is > key and <= next: a separator must be < next, so it is only used when shorter. */
		if (common + 1 < next->size && common + 1 < key.size) {
			key.data = next->data;
			key.size = common + 1;
		}
		/* A separator is >= every key of its block and < those of the next one. */
		assert(format_compare(buffer_slice(&writer->pending_key), key) <= 0);
		assert(format_compare(key, *next) < 0);
	}
	error = add_index(&writer->index, key, writer->pending);
	if (error == 0 && block_builder_size(&writer->index) >= SST_INDEX_BLOCK)
		error = finish_index_block(writer, key);
	return error;
}

static int finish_data_block(struct sst_writer *writer)
{
	int error;

	assert(!writer->has_pending);
	error = append_block(writer, &writer->data, &writer->pending);
	if (error == 0)
		error = buffer_assign(&writer->pending_key, buffer_slice(&writer->last_key));
	writer->has_pending = error == 0;
	return error;
}

int sst_writer_add(struct sst_writer *writer, struct engine_slice key, struct engine_slice value, enum entry_type type)
{
	uint64_t hash = block_key_hash(key);
	int error = 0;

	assert(!writer->meta.entry_count || format_compare(buffer_slice(&writer->last_key), key) < 0);
	if (writer->data.count &&
	    block_builder_size(&writer->data) + key.size + value.size > writer->options.block_bytes)
		error = finish_data_block(writer);
	if (error == 0)
		error = index_pending(writer, &key);
	if (error == 0)
		error = block_builder_add(&writer->data, key, hash, value, type);
	if (error == 0 && writer->options.filter_bits_per_key)
		error = buffer_append(&writer->hashes, &hash, sizeof hash);
	if (error == 0)
		error = buffer_assign(&writer->last_key, key);
	if (error == 0 && !writer->meta.entry_count)
		error = buffer_assign(&writer->meta.smallest, key);
	if (error)
		return error;
	writer->meta.entry_count++;
	writer->meta.delete_count += type == ENTRY_DELETE;
	writer->meta.raw_bytes += key.size + value.size;
	return 0;
}

uint64_t sst_writer_size(const struct sst_writer *writer)
{
	return writer->offset + block_builder_size(&writer->data);
}

static int append_filter(struct sst_writer *writer, uint32_t probes, struct sst_handle *handle_out)
{
	size_t count = writer->hashes.size / sizeof(uint64_t);
	size_t size = filter_size(count, writer->options.filter_bits_per_key);
	uint8_t *lines;
	int error;

	*handle_out = (struct sst_handle){0};
	if (!size)
		return 0;
	assert(count == writer->meta.entry_count);
	lines = calloc(1, size);
	if (lines == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		filter_add(lines, size, probes, ((const uint64_t *)(const void *)writer->hashes.data)[i]);
	error = append_part(writer, lines, size, ENGINE_COMPRESSION_NONE, handle_out);
	free(lines);
	return error;
}

static int append_properties(struct sst_writer *writer, uint32_t probes, struct sst_handle *handle_out)
{
	const struct table_meta *meta = &writer->meta;
	struct buffer bytes = {0};
	int error = buffer_append_varint(&bytes, meta->entry_count);

	if (error == 0)
		error = buffer_append_varint(&bytes, meta->delete_count);
	if (error == 0)
		error = buffer_append_varint(&bytes, meta->raw_bytes);
	if (error == 0)
		error = buffer_append_varint(&bytes, probes);
	if (error == 0)
		error = buffer_append_slice(&bytes, buffer_slice(&meta->smallest));
	if (error == 0)
		error = buffer_append_slice(&bytes, buffer_slice(&meta->largest));
	if (error == 0)
		error = append_part(writer, bytes.data, bytes.size, ENGINE_COMPRESSION_NONE, handle_out);
	buffer_fini(&bytes);
	return error;
}

static int append_tail(struct sst_writer *writer)
{
	uint32_t probes = filter_probes(writer->options.filter_bits_per_key);
	uint8_t bytes[SST_FOOTER];
	struct sst_footer footer;
	int error = finish_data_block(writer);

	if (error == 0)
		error = index_pending(writer, NULL);
	if (error == 0 && writer->index.count)
		error = finish_index_block(writer, buffer_slice(&writer->last_key));
	if (error == 0)
		error = append_filter(writer, probes, &footer.filter);
	if (error == 0)
		error = append_block(writer, &writer->top, &footer.top);
	if (error == 0)
		error = buffer_assign(&writer->meta.largest, buffer_slice(&writer->last_key));
	if (error == 0)
		error = append_properties(writer, probes, &footer.properties);
	if (error)
		return error;
	sst_footer_write(bytes, &footer, writer->meta.number, writer->offset);
	error = append_raw(writer, bytes, sizeof bytes);
	return error ? error : flush(writer);
}

static void writer_free(struct sst_writer *writer)
{
	if (writer->file != NULL)
		writer->files->fs->close(writer->file);
	block_builder_fini(&writer->data);
	block_builder_fini(&writer->index);
	block_builder_fini(&writer->top);
	buffer_fini(&writer->raw);
	buffer_fini(&writer->out);
	buffer_fini(&writer->hashes);
	buffer_fini(&writer->last_key);
	buffer_fini(&writer->pending_key);
	table_meta_fini(&writer->meta);
	XXH3_freeState(writer->digest);
	free(writer);
}

int sst_writer_finish(struct sst_writer **writer, struct table_meta *meta_out)
{
	struct sst_writer *it = *writer;
	int error;

	assert(it->meta.entry_count);
	error = append_tail(it);
	if (error == 0)
		error = it->files->fs->sync(it->file);
	if (error)
		return error;
	it->meta.size = it->offset;
	assert(it->meta.delete_count <= it->meta.entry_count);
	assert(format_compare(buffer_slice(&it->meta.smallest), buffer_slice(&it->meta.largest)) <= 0);
	it->meta.digest = XXH3_64bits_digest(it->digest);
	*meta_out = it->meta;
	it->meta.smallest = it->meta.largest = (struct buffer){0};
	writer_free(it);
	*writer = NULL;
	return 0;
}

void sst_writer_abort(struct sst_writer **writer)
{
	struct sst_writer *it = *writer;

	*writer = NULL;
	if (it == NULL)
		return;
	if (it->file != NULL) {
		struct files_path path = files_path(it->files, FILE_TABLE, it->meta.number);

		fs_remove_file(it->files->fs, path.text);
	}
	writer_free(it);
}
