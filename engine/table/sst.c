/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/table/sst.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

#include "engine/disk/buffer.h"
#include "engine/partition/partition.h"
#include "engine/table/filter.h"
#include "engine/partition/hashtree.h"
#include "engine/disk/trash.h"

enum { STREAM_WINDOW = 512 * 1024 };

struct index_block {
	uint64_t offset;
	uint32_t size;
	uint32_t separator_end; /* in separators */
};

static int damaged(const struct sst *sst, uint64_t offset, const char *what, struct engine_error *error_out)
{
	struct files_path path = files_path(&sst->files, FILE_TABLE, sst->meta.number);

	return format_error(error_out, -EBADMSG,
			    "%s: %s at offset %" PRIu64 " is damaged; refill it from a replica or a backup", path.text,
			    what, offset);
}

static int read_failed(const struct sst *sst, int code, struct engine_error *error_out)
{
	struct files_path path = files_path(&sst->files, FILE_TABLE, sst->meta.number);

	return format_error(error_out, code, "%s: cannot read: %s", path.text, strerror(-code));
}

/* Reads exactly; a file too short is damage. */
static int read_exactly(struct sst *sst, void *out, size_t size, uint64_t offset, struct engine_error *error_out)
{
	ssize_t got;

	if (sst->file == NULL)
		return damaged(sst, 0, "the table", error_out);
	got = sst->files.fs->pread(sst->file, out, size, offset);
	if (got < 0)
		return read_failed(sst, (int)got, error_out);
	return (size_t)got == size ? 0 : damaged(sst, offset, "the end", error_out);
}

/* A part of the file, verified and expanded; free it. 64-aligned, as filters like it. */
static int load_part(struct sst *sst, struct sst_handle handle, uint8_t **out, uint32_t *size_out,
		     struct engine_error *error_out)
{
	enum engine_compression compression;
	uint8_t *part = malloc(handle.size + SST_TRAILER), *raw = NULL;
	int error = part != NULL ? 0 : -ENOMEM;

	if (error == 0)
		error = read_exactly(sst, part, handle.size + SST_TRAILER, handle.offset, error_out);
	if (error == 0 && sst_part_check(part, handle.size, sst->meta.number, handle.offset, size_out, &compression))
		error = damaged(sst, handle.offset, "a part", error_out);
	if (error == 0 &&
	    (raw = aligned_alloc(FILTER_LINE, (*size_out + FILTER_LINE) & ~(size_t)(FILTER_LINE - 1))) == NULL)
		error = -ENOMEM;
	if (error == 0 && sst_part_expand(part, handle.size, compression, raw, *size_out))
		error = damaged(sst, handle.offset, "a compressed part", error_out);
	free(part);
	if (error) {
		free(raw);
		return error;
	}
	*out = raw;
	return 0;
}

/* Adds the index entry of one data block. */
static int add_separator(struct sst *sst, struct engine_slice prefix, const struct block_entry *entry, size_t *capacity)
{
	const uint8_t *at = entry->value.data, *end = at + entry->value.size;
	uint64_t offset, size;

	at = format_varint_get(at, end, &offset);
	at = at != NULL ? format_varint_get(at, end, &size) : NULL;
	if (at == NULL || size > SST_PART_MAX || offset > sst->meta.size ||
	    size + SST_TRAILER > sst->meta.size - offset)
		return -EBADMSG;
	if (sst->block_count == *capacity) {
		size_t grown = *capacity ? *capacity * 2 : 64;
		struct index_block *blocks = realloc(sst->blocks, grown * sizeof *blocks);

		if (blocks == NULL)
			return -ENOMEM;
		sst->blocks = blocks;
		*capacity = grown;
	}
	if (buffer_append(&sst->separators, prefix.data, prefix.size) ||
	    buffer_append(&sst->separators, entry->suffix.data, entry->suffix.size))
		return -ENOMEM;
	sst->blocks[sst->block_count++] = (struct index_block){
		.offset = offset,
		.size = (uint32_t)size,
		.separator_end = (uint32_t)sst->separators.size,
	};
	return 0;
}

static struct engine_slice separator(const struct sst *sst, uint32_t index)
{
	uint32_t begin = index ? sst->blocks[index - 1].separator_end : 0;

	assert(index < sst->block_count);
	return (struct engine_slice){sst->separators.data + begin, sst->blocks[index].separator_end - begin};
}

static int load_index_block(struct sst *sst, struct sst_handle handle, size_t *capacity, struct engine_error *error_out)
{
	struct block_view view;
	uint8_t *raw;
	uint32_t size;
	int error = load_part(sst, handle, &raw, &size, error_out);

	if (error)
		return error;
	if (block_parse(raw, size, &view))
		error = damaged(sst, handle.offset, "an index block", error_out);
	for (uint32_t i = 0; error == 0 && i < view.count; i++) {
		struct block_entry entry;

		block_entry_at(&view, i, &entry);
		error = add_separator(sst, (struct engine_slice){view.prefix, view.prefix_size}, &entry, capacity);
		if (error == -EBADMSG)
			error = damaged(sst, handle.offset, "an index entry", error_out);
	}
	free(raw);
	return error;
}

static int read_handle(struct sst *sst, struct engine_slice value, struct sst_handle *out)
{
	struct buffer_reader reader = {value.data, (const uint8_t *)value.data + value.size, false};

	out->offset = buffer_read_varint(&reader);
	out->size = buffer_read_varint(&reader);
	if (reader.bad || out->size > SST_PART_MAX || out->offset > sst->meta.size ||
	    out->size + SST_TRAILER > sst->meta.size - out->offset)
		return -EBADMSG;
	return 0;
}

/* What searching relies on: separators ascend from the table's smallest key or above to its largest one. */
static bool index_is_sound(const struct sst *sst)
{
	if (!sst->block_count || format_compare(sst_smallest(sst), separator(sst, 0)) > 0)
		return false;
	for (uint32_t i = 1; i < sst->block_count; i++) {
		if (format_compare(separator(sst, i - 1), separator(sst, i)) >= 0)
			return false;
	}
	return format_compare(sst_largest(sst), separator(sst, sst->block_count - 1)) == 0;
}

static int load_index(struct sst *sst, struct sst_handle top, struct engine_error *error_out)
{
	struct block_view view;
	size_t capacity = 0;
	uint8_t *raw;
	uint32_t size;
	int error = load_part(sst, top, &raw, &size, error_out);

	if (error)
		return error;
	if (block_parse(raw, size, &view))
		error = damaged(sst, top.offset, "the top index", error_out);
	for (uint32_t i = 0; error == 0 && i < view.count; i++) {
		struct block_entry entry;
		struct sst_handle handle;

		block_entry_at(&view, i, &entry);
		if (read_handle(sst, entry.value, &handle))
			error = damaged(sst, top.offset, "a top index entry", error_out);
		else
			error = load_index_block(sst, handle, &capacity, error_out);
	}
	if (error == 0 && !index_is_sound(sst))
		error = damaged(sst, top.offset, "the order of the index", error_out);
	free(raw);
	return error;
}

/* What makes searching fast: prefixes as numbers, and one cache slot per block. */
static int prepare_index(struct sst *sst)
{
	assert(sst->block_count > 0);
	sst->skip = (uint32_t)format_common_prefix(sst_smallest(sst), sst_largest(sst));
	sst->prefixes = malloc(sst->block_count * sizeof *sst->prefixes);
	sst->slots = calloc(sst->block_count, sizeof *sst->slots);
	if (sst->prefixes == NULL || sst->slots == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < sst->block_count; i++)
		sst->prefixes[i] = format_prefix(separator(sst, i), sst->skip);
	sst->resident_bytes = sst->filter_bytes + sst->separators.capacity +
			      sst->block_count * (sizeof(struct index_block) + sizeof(uint64_t) + sizeof(cache_slot));
	cache_reserve(sst->cache, (int64_t)sst->resident_bytes);
	return 0;
}

/* Takes what the file says of itself, and checks it against the manifest. */
static int load_properties(struct sst *sst, struct sst_handle handle, struct engine_error *error_out)
{
	struct buffer_reader reader;
	uint64_t entry_count;
	struct engine_slice smallest, largest;
	uint8_t *raw;
	uint32_t size;
	int error = load_part(sst, handle, &raw, &size, error_out);

	if (error)
		return error;
	reader = (struct buffer_reader){raw, raw + size, false};
	entry_count = buffer_read_varint(&reader);
	buffer_read_varint(&reader);
	buffer_read_varint(&reader);
	sst->filter_probes = (uint32_t)buffer_read_varint(&reader);
	smallest = buffer_read_slice(&reader);
	largest = buffer_read_slice(&reader);
	if (reader.bad || entry_count != sst->meta.entry_count || format_compare(smallest, sst_smallest(sst)) != 0 ||
	    format_compare(largest, sst_largest(sst)) != 0)
		error = damaged(sst, handle.offset, "the properties (against the manifest)", error_out);
	free(raw);
	return error;
}

static int load_header(struct sst *sst, struct sst_footer *footer_out, struct engine_error *error_out)
{
	struct files_path path = files_path(&sst->files, FILE_TABLE, sst->meta.number);
	uint8_t bytes[SST_FOOTER];
	struct format_header header;
	uint64_t offset, size;
	int error = sst->files.fs->size(sst->file, &size);

	if (error)
		return read_failed(sst, error, error_out);
	if (size != sst->meta.size || size < FORMAT_HEADER_SIZE + SST_FOOTER)
		return format_error(error_out, -EBADMSG,
				    "%s: %" PRIu64 " bytes, the manifest says %" PRIu64
				    "; refill it from a replica or a backup",
				    path.text, size, sst->meta.size);
	error = read_exactly(sst, bytes, FORMAT_HEADER_SIZE, 0, error_out);
	if (error == 0)
		error = format_header_read(bytes, FORMAT_HEADER_SIZE, FORMAT_TABLE, path.text, &header, error_out);
	if (error == 0 && (header.number != sst->meta.number || header.shard != sst->files.shard_index))
		error = format_error(error_out, -EBADMSG, "%s: is table %" PRIu64 " of shard %u: files were mixed up",
				     path.text, header.number, header.shard);
	offset = size - SST_FOOTER;
	if (error == 0)
		error = read_exactly(sst, bytes, SST_FOOTER, offset, error_out);
	if (error == 0 && sst_footer_read(bytes, sst->meta.number, offset, footer_out))
		error = damaged(sst, offset, "the footer", error_out);
	return error;
}

static int load(struct sst *sst, bool anew, struct engine_error *error_out)
{
	struct files_path path = files_path(&sst->files, FILE_TABLE, sst->meta.number);
	struct sst_footer footer;
	uint32_t size;
	int error = sst->files.fs->open(sst->files.fs, path.text, FS_OPEN_READ, &sst->file);

	if (error == -ENOENT)
		return format_error(error_out, -EBADMSG, "%s: named by the manifest but missing", path.text);
	if (error)
		return format_error(error_out, error, "%s: cannot open: %s", path.text, strerror(-error));
	if (anew)
		sst->files.fs->drop_cached(sst->file, 0, sst->meta.size);
	error = load_header(sst, &footer, error_out);
	if (error == 0)
		error = load_properties(sst, footer.properties, error_out);
	if (error == 0)
		error = load_index(sst, footer.top, error_out);
	if (error == 0 && footer.filter.size) {
		error = load_part(sst, footer.filter, &sst->filter, &size, error_out);
		sst->filter_bytes = error ? 0 : size & ~(size_t)(FILTER_LINE - 1);
	}
	return error ? error : prepare_index(sst);
}

static int create(const struct files *files, struct cache *cache, const struct table_meta *meta, struct sst **out)
{
	struct sst *sst = calloc(1, sizeof *sst);
	int error;

	if (sst == NULL)
		return -ENOMEM;
	atomic_init(&sst->refs, 1);
	sst->files = *files;
	sst->cache = cache;
	error = table_meta_copy(meta, &sst->meta);
	if (error)
		sst_unref(&sst);
	*out = sst;
	return error;
}

static int open_once(const struct files *files, struct cache *cache, const struct table_meta *meta, bool anew,
		     struct sst **out, struct engine_error *error_out)
{
	int error = create(files, cache, meta, out);

	if (error)
		return error;
	error = load(*out, anew, error_out);
	if (error)
		sst_unref(out);
	return error;
}

int sst_open(const struct files *files, struct cache *cache, const struct table_meta *meta, struct sst **out,
	     struct engine_error *error_out)
{
	struct engine_error found = {{0}};
	int error = open_once(files, cache, meta, false, out, error_out != NULL ? &found : NULL);

	/* S3: all that an open table keeps in memory is read anew before it counts as damaged. */
	if (error == -EBADMSG) {
		error = open_once(files, cache, meta, true, out, error_out);
		if (error == 0)
			cache_note_misread(cache);
	} else if (error && error_out != NULL) {
		*error_out = found;
	}
	return error;
}

static int make_damaged(struct sst *sst)
{
	struct engine_slice largest = sst_largest(sst);
	int error;

	sst->blocks = calloc(1, sizeof *sst->blocks);
	if (sst->blocks == NULL)
		return -ENOMEM;
	error = buffer_append(&sst->separators, largest.data, largest.size);
	if (error)
		return error;
	sst->blocks[0].separator_end = (uint32_t)largest.size;
	sst->block_count = 1;
	return prepare_index(sst);
}

int sst_open_damaged(const struct files *files, struct cache *cache, const struct table_meta *meta, struct sst **out)
{
	int error = create(files, cache, meta, out);

	if (error)
		return error;
	error = make_damaged(*out);
	if (error)
		sst_unref(out);
	return error;
}

void sst_ref(struct sst *sst)
{
	uint32_t before = atomic_fetch_add_explicit(&sst->refs, 1, memory_order_relaxed);

	assert(before > 0);
}

void sst_unref(struct sst **sst)
{
	struct sst *it = *sst;
	uint32_t before;

	*sst = NULL;
	if (it == NULL)
		return;
	before = atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before != 1)
		return;
	if (it->slots != NULL)
		cache_forget(it->cache, it->slots, it->block_count);
	if (it->resident_bytes)
		cache_reserve(it->cache, -(int64_t)it->resident_bytes);
	if (it->file != NULL)
		it->files.fs->close(it->file);
	if (atomic_load_explicit(&it->doomed, memory_order_acquire))
		trash_discard(&it->files, FILE_TABLE, it->meta.number);
	table_meta_fini(&it->meta);
	buffer_fini(&it->separators);
	free(it->filter);
	free(it->prefixes);
	free(it->blocks);
	free(it->slots);
	free(it);
}

void sst_doom(struct sst *sst)
{
	atomic_store_explicit(&sst->doomed, true, memory_order_release);
}

uint32_t sst_find_block(const struct sst *sst, struct engine_slice key)
{
	struct engine_slice smallest = sst_smallest(sst);
	uint64_t prefix = format_prefix(key, sst->skip);
	uint32_t base = 0, count = sst->block_count;

	/* Keys outside the shared bytes are outside the table. */
	if (sst->skip && key.size == 0)
		return 0;
	if (sst->skip) {
		size_t shared = key.size < sst->skip ? key.size : sst->skip;
		int order = memcmp(key.data, smallest.data, shared);

		if (order || shared < sst->skip)
			return order > 0 ? sst->block_count : 0;
	}
	/* The first separator whose prefix is not below the key's ... */
	while (count > 0) {
		uint32_t half = count / 2;

		if (sst->prefixes[base + half] < prefix) {
			base += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	/* ... and among those of the same prefix the first whole one. */
	uint32_t high = base;
	uint32_t step = 1;

	while (high < sst->block_count && sst->prefixes[high] == prefix &&
	       format_compare(separator(sst, high), key) < 0) {
		base = high + 1;
		high += step;
		step *= 2;
	}
	if (high > sst->block_count)
		high = sst->block_count;
	while (base < high) {
		uint32_t middle = (base + high) / 2;

		if (format_compare(separator(sst, middle), key) < 0)
			base = middle + 1;
		else
			high = middle;
	}
	return base;
}

/* Those of this shard from one key to another. */
static struct partition_row partitions_between(const struct sst *sst, struct engine_slice from, struct engine_slice to)
{
	uint32_t step = sst->files.shard_count ? sst->files.shard_count : 1, first = partition_of(from);
	uint32_t index = sst->files.shard_count ? sst->files.shard_index : 0;

	return (struct partition_row){first + (index + step - first % step) % step, partition_of(to), step};
}

struct partition_row sst_partitions(const struct sst *sst)
{
	return partitions_between(sst, sst_smallest(sst), sst_largest(sst));
}

struct partition_row sst_block_partitions(const struct sst *sst, uint32_t block_index)
{
	struct engine_slice before = block_index ? separator(sst, block_index - 1) : sst_smallest(sst);
	struct engine_slice last = separator(sst, block_index);

	/* A separator may lie beyond the last key. */
	if (format_compare(sst_largest(sst), last) < 0)
		last = sst_largest(sst);
	return partitions_between(sst, before, last);
}

uint64_t sst_block_offset(const struct sst *sst, uint32_t block_index)
{
	assert(block_index < sst->block_count);
	return sst->blocks[block_index].offset;
}

/* Do the block's keys lie where the index has it? With the order within blocks (block_parse) and of separators
 * (index_is_sound) this makes all keys of a table ascend, whatever its bytes are. */
static bool block_is_in_place(const struct sst *sst, uint32_t index, const struct block_view *view)
{
	bool is_above = index == 0 ? block_compare(view, 0, sst_smallest(sst)) >= 0
				   : block_compare(view, 0, separator(sst, index - 1)) > 0;

	return is_above && block_compare(view, view->count - 1, separator(sst, index)) <= 0;
}

/* Makes a block of a verified part. */
static int block_from_part(struct sst *sst, const uint8_t *part, const struct index_block *where, struct block **out,
			   struct engine_error *error_out)
{
	enum engine_compression compression;
	struct block *block;
	uint32_t raw_size;
	int error;

	*out = NULL;
	if (sst_part_check(part, where->size, sst->meta.number, where->offset, &raw_size, &compression))
		return damaged(sst, where->offset, "a block", error_out);
	error = block_create(raw_size, &block);
	if (error)
		return error;
	if (sst_part_expand(part, where->size, compression, block->data, raw_size) ||
	    block_parse(block->data, raw_size, &block->view)) {
		block_release(block);
		return damaged(sst, where->offset, "a block", error_out);
	}
	if (!block_is_in_place(sst, (uint32_t)(where - sst->blocks), &block->view)) {
		block_release(block);
		return damaged(sst, where->offset, "a block (against the index)", error_out);
	}
	*out = block;
	return 0;
}

static void note_damage(struct sst *sst, uint32_t block_index)
{
	atomic_store_explicit(&sst->damaged_block, block_index + 1, memory_order_release);
	cache_note_damage(sst->cache);
}

/* S3: reads the block from the medium into another buffer, before it counts as damaged. */
static int reread_block(struct sst *sst, const struct index_block *where, struct block **out,
			struct engine_error *error_out)
{
	size_t size = where->size + SST_TRAILER;
	uint8_t *part = malloc(size);
	int error = part != NULL ? 0 : -ENOMEM;

	if (error == 0 && sst->file != NULL)
		sst->files.fs->drop_cached(sst->file, where->offset, size);
	if (error == 0)
		error = read_exactly(sst, part, size, where->offset, error_out);
	if (error == 0)
		error = block_from_part(sst, part, where, out, error_out);
	if (error == 0)
		cache_note_misread(sst->cache);
	free(part);
	return error;
}

static int read_block(struct sst *sst, const struct index_block *where, struct block **out,
		      struct engine_error *error_out)
{
	struct engine_error found;
	uint8_t small[16 * 1024];
	size_t size = where->size + SST_TRAILER;
	uint8_t *part = size <= sizeof small ? small : malloc(size);
	int error = part != NULL ? read_exactly(sst, part, size, where->offset, &found) : -ENOMEM;

	if (error == 0)
		error = block_from_part(sst, part, where, out, &found);
	if (part != small)
		free(part);
	if (error == -EBADMSG)
		return reread_block(sst, where, out, error_out);
	if (error && error != -ENOMEM && error_out != NULL)
		*error_out = found;
	return error;
}

int sst_block(struct sst *sst, uint32_t block_index, struct read_stats *stats, struct block **out,
	      struct engine_error *error_out)
{
	cache_slot *slot = &sst->slots[block_index];
	struct block *block;
	int error;

	assert(block_index < sst->block_count);
	block = cache_take(slot);
	if (stats != NULL) {
		stats->cache_hits += block != NULL;
		stats->cache_misses += block == NULL;
	}
	if (block == NULL) {
		error = read_block(sst, &sst->blocks[block_index], &block, error_out);
		if (error == -EBADMSG)
			note_damage(sst, block_index);
		if (error)
			return error;
		block = cache_insert(sst->cache, slot, block);
	}
	*out = block;
	return 0;
}

bool sst_may_contain(const struct sst *sst, uint64_t key_hash)
{
	return filter_may_contain(sst->filter, sst->filter_bytes, sst->filter_probes, key_hash);
}

void sst_prefetch_filter(const struct sst *sst, uint64_t key_hash)
{
	__builtin_prefetch(filter_line(sst->filter, sst->filter_bytes, key_hash));
}

static bool filter_passes(struct sst *sst, uint64_t key_hash, struct read_stats *stats)
{
	bool passes = sst_may_contain(sst, key_hash);

	if (stats != NULL) {
		stats->filter_checks++;
		stats->filter_negatives += !passes;
	}
	return passes;
}

int sst_get(struct sst *sst, struct engine_slice key, uint64_t key_hash, struct read_stats *stats,
	    struct engine_value *value_out, struct engine_error *error_out)
{
	struct block_entry entry;
	struct block *block;
	uint32_t index;
	int error;

	if (!filter_passes(sst, key_hash, stats))
		return LOOKUP_ABSENT;
	index = sst_find_block(sst, key);
	if (index == sst->block_count)
		return LOOKUP_ABSENT;
	error = sst_block(sst, index, stats, &block, error_out);
	if (error)
		return error;
	if (block_find(&block->view, key, block_tag(key_hash), &entry) < 0) {
		block_release(block);
		if (stats != NULL)
			stats->filter_false_positives++;
		return LOOKUP_ABSENT;
	}
	if (entry.type == ENTRY_DELETE) {
		block_release(block);
		return LOOKUP_DELETED;
	}
	*value_out = (struct engine_value){entry.value.data, entry.value.size, &block->pin};
	return LOOKUP_FOUND;
}

void sst_stream_init(struct sst_stream *stream, struct sst *sst)
{
	*stream = (struct sst_stream){.sst = sst};
}

void sst_stream_fini(struct sst_stream *stream)
{
	buffer_fini(&stream->window);
}

static int stream_fill(struct sst_stream *stream, uint64_t offset, size_t need, struct engine_error *error_out)
{
	struct sst *sst = stream->sst;
	uint64_t left = sst->meta.size - offset;
	size_t size = need > STREAM_WINDOW ? need : STREAM_WINDOW;
	int error;

	if (size > left)
		size = left;
	stream->window.size = 0;
	error = buffer_reserve(&stream->window, size);
	if (error == 0)
		error = read_exactly(sst, stream->window.data, size, offset, error_out);
	if (error)
		return error;
	stream->window.size = size;
	stream->window_offset = offset;
	return 0;
}

int sst_stream_block(struct sst_stream *stream, uint32_t block_index, struct block **out,
		     struct engine_error *error_out)
{
	const struct index_block *where = &stream->sst->blocks[block_index];
	size_t need = where->size + SST_TRAILER;
	struct engine_error found;
	int error = 0;

	assert(block_index < stream->sst->block_count);
	if (where->offset < stream->window_offset || where->offset + need > stream->window_offset + stream->window.size)
		error = stream_fill(stream, where->offset, need, error_out);
	if (error == 0)
		error = block_from_part(stream->sst, stream->window.data + (where->offset - stream->window_offset),
					where, out, &found);
	if (error == -EBADMSG)
		error = reread_block(stream->sst, where, out, error_out);
	if (error == -EBADMSG)
		note_damage(stream->sst, block_index);
	return error;
}

static int compute_digest(struct sst *sst, uint64_t *digest_out, struct engine_error *error_out)
{
	XXH3_state_t *digest = XXH3_createState();
	uint8_t *chunk = malloc(STREAM_WINDOW);
	uint64_t offset = 0;
	int error = digest != NULL && chunk != NULL ? 0 : -ENOMEM;

	if (error == 0)
		XXH3_64bits_reset(digest);
	while (error == 0 && offset < sst->meta.size) {
		uint64_t left = sst->meta.size - offset;
		size_t size = left < STREAM_WINDOW ? left : STREAM_WINDOW;

		error = read_exactly(sst, chunk, size, offset, error_out);
		if (error == 0)
			XXH3_64bits_update(digest, chunk, size);
		offset += size;
	}
	*digest_out = error ? 0 : XXH3_64bits_digest(digest);
	free(chunk);
	XXH3_freeState(digest);
	return error;
}

int sst_verify_digest(struct sst *sst, struct engine_error *error_out)
{
	uint64_t digest;
	int error = compute_digest(sst, &digest, error_out);

	if (error == 0 && digest != sst->meta.digest) {
		sst->files.fs->drop_cached(sst->file, 0, sst->meta.size);
		error = compute_digest(sst, &digest, error_out);
	}
	if (error == 0 && digest != sst->meta.digest)
		error = damaged(sst, 0, "the file as a whole (digest)", error_out);
	return error;
}
