/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: what the writer wrote is what the reader finds, over shapes of keys, values, blocks and codecs; and a file that
 * is not the one the manifest means, or lies behind its checksums, is refused.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/engine/shelf.h"
#include "tests/sim/sim_random.h"

/* ---- making entries ---- */

struct shape {
	const char *name;
	size_t count;
	size_t key_min, key_max, value_min, value_max; /* bytes */
	size_t block_bytes;
	uint32_t filter_bits;
	enum engine_compression compression;
	uint32_t deletes; /* one in so many; 0: none */
	bool is_random;   /* values that no codec makes smaller */
};

static const struct shape shapes[] = {
	{"one entry", 1, 2, 2, 0, 0, 4096, 10, ENGINE_COMPRESSION_NONE, 0, false},
	{"one deletion", 1, 2, 2, 0, 0, 4096, 10, ENGINE_COMPRESSION_LZ4, 1, false},
	{"empty values", 3000, 4, 20, 0, 0, 4096, 10, ENGINE_COMPRESSION_NONE, 0, false},
	{"only deletions", 3000, 4, 20, 0, 0, 4096, 10, ENGINE_COMPRESSION_LZ4, 1, false},
	{"common", 5000, 16, 16, 100, 140, 8192, 10, ENGINE_COMPRESSION_LZ4, 9, false},
	{"common, zstd", 5000, 16, 16, 100, 140, 8192, 10, ENGINE_COMPRESSION_ZSTD, 9, false},
	{"common, stored", 5000, 16, 16, 100, 140, 8192, 10, ENGINE_COMPRESSION_NONE, 9, false},
	{"will not compress, lz4", 800, 16, 16, 100, 900, 4096, 10, ENGINE_COMPRESSION_LZ4, 0, true},
	{"will not compress, zstd", 800, 16, 16, 100, 900, 4096, 10, ENGINE_COMPRESSION_ZSTD, 0, true},
	{"no filter", 2000, 16, 16, 20, 40, 4096, 0, ENGINE_COMPRESSION_LZ4, 5, false},
	{"one bit", 2000, 16, 16, 20, 40, 4096, 1, ENGINE_COMPRESSION_LZ4, 5, false},
	{"an entry per block", 2000, 100, 140, 10, 20, 1, 10, ENGINE_COMPRESSION_NONE, 7, false},
	{"values beyond a block", 40, 16, 16, 1, 200000, 4096, 10, ENGINE_COMPRESSION_LZ4, 0, false},
	{"values beyond a block, stored", 40, 16, 16, 60000, 70000, 4096, 10, ENGINE_COMPRESSION_NONE, 0, true},
	{"the longest keys", 60, ENGINE_KEY_MAX, ENGINE_KEY_MAX, 0, 30, 4096, 10, ENGINE_COMPRESSION_LZ4, 0, false},
	{"keys of all lengths", 400, 3, ENGINE_KEY_MAX, 0, 300, 65536, 10, ENGINE_COMPRESSION_ZSTD, 3, false},
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

struct content {
	struct shelf_entry *entries;
	size_t count;
};

/* Numbers 2i, so that odd ones are absent. Keys of one length share all but their end, those of many lengths nothing. */
static struct engine_slice make_key(const struct shape *shape, uint64_t number)
{
	struct sim_random random = {number / 2 * 77};
	size_t size = sim_random_between(&random, shape->key_min, shape->key_max);
	uint8_t *bytes = malloc(size), *at = shape->key_min == shape->key_max ? bytes + size - 2 : bytes;

	memset(bytes, 'k', size);
	at[0] = (uint8_t)(number >> 8);
	at[1] = (uint8_t)number;
	return (struct engine_slice){bytes, size};
}

static struct engine_slice make_value(const struct shape *shape, uint64_t number)
{
	struct sim_random random = {number * 31 + 5};
	size_t size = sim_random_between(&random, shape->value_min, shape->value_max);
	uint8_t *bytes = malloc(size + 8);

	uint64_t word = 0;

	for (size_t i = 0; i < size; i += 8) {
		if (shape->is_random || i % 32 == 0)
			word = sim_random_next(&random);
		memcpy(bytes + i, &word, 8);
	}
	return (struct engine_slice){bytes, size};
}

static void content_init(struct content *content, const struct shape *shape)
{
	content->count = shape->count;
	content->entries = calloc(shape->count, sizeof *content->entries);
	for (size_t i = 0; i < shape->count; i++) {
		bool is_delete = shape->deletes && i % shape->deletes == 0;

		content->entries[i] = (struct shelf_entry){
			.key = make_key(shape, 2 * i + 2),
			.value = is_delete ? (struct engine_slice){NULL, 0} : make_value(shape, i),
			.type = is_delete ? ENTRY_DELETE : ENTRY_PUT,
		};
	}
}

static void content_fini(struct content *content)
{
	for (size_t i = 0; i < content->count; i++) {
		free((void *)content->entries[i].key.data);
		free((void *)content->entries[i].value.data);
	}
	free(content->entries);
}

static struct sst_options options_of(const struct shape *shape)
{
	return (struct sst_options){shape->block_bytes, shape->filter_bits, shape->compression};
}

/* ---- what is written is found ---- */

static void check_entry(const struct shape *shape, struct sst *sst, const struct shelf_entry *entry)
{
	struct engine_value value;
	struct engine_error error;
	int rc = sst_get(sst, entry->key, block_key_hash(entry->key), NULL, &value, &error);

	if (rc != (entry->type == ENTRY_DELETE ? LOOKUP_DELETED : LOOKUP_FOUND))
		fail_msg("%s: a key of %zu bytes: %d", shape->name, entry->key.size, rc);
	if (rc != LOOKUP_FOUND)
		return;
	assert_int_equal(value.size, entry->value.size);
	assert_memory_equal(value.data, entry->value.data, value.size);
	engine_value_release(&value);
}

/* S1: a key is looked for in one block at most, so there are as many blocks read as keys that passed the filter. */
static void check_gets(const struct shape *shape, struct sst *sst, const struct content *content)
{
	struct read_stats stats = {0};
	unsigned passed, absent = 0;

	for (size_t i = 0; i < content->count; i++)
		check_entry(shape, sst, &content->entries[i]);
	for (size_t i = 0; i + 1 < content->count; i++) {
		struct engine_slice key = make_key(shape, 2 * i + 3);
		struct engine_value value;

		assert_int_equal(sst_get(sst, key, block_key_hash(key), &stats, &value, NULL), LOOKUP_ABSENT);
		free((void *)key.data);
		absent++;
	}
	passed = (unsigned)(stats.filter_checks - stats.filter_negatives);
	assert_int_equal(stats.filter_checks, absent);
	assert_int_equal(stats.cache_hits + stats.cache_misses, passed);
	if (!shape->filter_bits)
		assert_int_equal(passed, absent);
	else if (shape->filter_bits >= 10)
		assert_true(passed <= absent / 50 + 8);
}

static void assert_entry(const struct block_view *view, uint32_t index, const struct shelf_entry *expected)
{
	struct block_entry entry;

	block_entry_at(view, index, &entry);
	assert_int_equal(view->prefix_size + entry.suffix.size, expected->key.size);
	assert_memory_equal(view->prefix, expected->key.data, view->prefix_size);
	assert_memory_equal(entry.suffix.data, (const uint8_t *)expected->key.data + view->prefix_size,
			    entry.suffix.size);
	assert_int_equal(entry.type, expected->type);
	assert_int_equal(entry.value.size, expected->value.size);
	assert_memory_equal(entry.value.data, expected->value.data, entry.value.size);
}

/* All blocks in order hold all entries in order, and the index finds each key's own block: those at the borders too. */
static void check_blocks(struct sst *sst, const struct content *content, bool streaming)
{
	struct sst_stream stream;
	size_t at = 0;

	sst_stream_init(&stream, sst);
	for (uint32_t i = 0; i < sst->block_count; i++) {
		struct block *block;
		uint32_t count;

		assert_int_equal(streaming ? sst_stream_block(&stream, i, &block, NULL)
					   : sst_block(sst, i, NULL, &block, NULL),
				 0);
		count = block->view.count;
		for (uint32_t j = 0; j < count; j++) {
			assert_int_equal(sst_find_block(sst, content->entries[at].key), i);
			assert_entry(&block->view, j, &content->entries[at++]);
		}
		block_release(block);
	}
	assert_int_equal(at, content->count);
	sst_stream_fini(&stream);
}

/* Keys outside the table, also shorter than what all its keys share. */
static void check_outside(struct sst *sst)
{
	struct engine_slice smallest = sst_smallest(sst), largest = sst_largest(sst);
	uint8_t *beyond = malloc(largest.size + 1);

	assert_int_equal(sst_find_block(sst, (struct engine_slice){"", 0}), 0);
	for (size_t size = 1; size < smallest.size; size++)
		assert_int_equal(sst_find_block(sst, (struct engine_slice){smallest.data, size}), 0);
	memcpy(beyond, largest.data, largest.size);
	beyond[largest.size] = 0;
	assert_int_equal(sst_find_block(sst, (struct engine_slice){beyond, largest.size + 1}), sst->block_count);
	assert_int_equal(sst_find_block(sst, (struct engine_slice){"\xff\xff", 2}), sst->block_count);
	free(beyond);
}

static void test_every_shape_is_read_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < SHAPES; i++) {
		const struct shape *shape = &shapes[i];
		struct sst_options options = options_of(shape);
		struct content content;
		struct shelf shelf;
		struct sst *sst;
		uint64_t deletes = 0, raw = 0;

		shelf_init(&shelf, 256 * 1024);
		content_init(&content, shape);
		sst = shelf_table(&shelf, &options, content.entries, content.count, 0);
		for (size_t j = 0; j < content.count; j++) {
			deletes += content.entries[j].type == ENTRY_DELETE;
			raw += content.entries[j].key.size + content.entries[j].value.size;
		}
		assert_int_equal(sst->meta.entry_count, content.count);
		assert_int_equal(sst->meta.delete_count, deletes);
		assert_int_equal(sst->meta.raw_bytes, raw);
		assert_int_equal(format_compare(sst_smallest(sst), content.entries[0].key), 0);
		assert_int_equal(format_compare(sst_largest(sst), content.entries[content.count - 1].key), 0);
		check_gets(shape, sst, &content);
		check_blocks(sst, &content, false);
		check_blocks(sst, &content, true);
		check_outside(sst);
		assert_int_equal(sst_verify_digest(sst, NULL), 0);
		sst_unref(&sst);
		content_fini(&content);
		shelf_fini(&shelf);
	}
}

/* The index is of two levels: blocks on either side of every border of the lower one are found. */
static void test_index_of_many_blocks(void **state)
{
	const struct shape shape = {"index", 4000, 60, 60, 0, 0, 1, 0, ENGINE_COMPRESSION_LZ4, 0, false};
	struct sst_options options = options_of(&shape);
	struct content content;
	struct shelf shelf;
	struct sst *sst;

	(void)state;
	shelf_init(&shelf, 64 * 1024);
	content_init(&content, &shape);
	sst = shelf_table(&shelf, &options, content.entries, content.count, 0);
	assert_int_equal(sst->block_count, content.count);
	assert_true(sst->separators.size > 20 * SST_INDEX_BLOCK);
	for (uint32_t i = 0; i < content.count; i++) {
		struct engine_slice absent = make_key(&shape, 2 * i + 1);

		assert_int_equal(sst_find_block(sst, content.entries[i].key), i);
		/* Between the last key of block i - 1 and the first of block i lies no key: either may be named. */
		uint32_t found = sst_find_block(sst, absent);

		assert_true(found == i || found + 1 == i);
		free((void *)absent.data);
	}
	sst_unref(&sst);
	content_fini(&content);
	shelf_fini(&shelf);
}

/* Separators are shortened where they can be, and never so far that they reach the next block. */
static void test_separators_of_neighbours(void **state)
{
	static const char *const texts[] = {"a", "a\0", "aa", "aaa", "ab", "abb", "abc", "abcd", "abd", "b", "ba", "c"};
	enum { COUNT = sizeof texts / sizeof texts[0] };
	struct sst_options options = {1, 10, ENGINE_COMPRESSION_NONE}; /* a block per entry */
	struct shelf_entry entries[COUNT];
	struct shelf shelf;
	struct sst *sst;

	(void)state;
	for (size_t i = 0; i < COUNT; i++)
		entries[i] = (struct shelf_entry){{texts[i], i == 1 ? 2 : strlen(texts[i])}, {texts[i], 1}, ENTRY_PUT};
	for (size_t first = 0; first < COUNT; first++) {
		for (size_t count = 1; first + count <= COUNT; count++) {
			shelf_init(&shelf, 64 * 1024);
			sst = shelf_table(&shelf, &options, entries + first, count, 0);
			assert_int_equal(sst->block_count, count);
			for (uint32_t i = 0; i < count; i++) {
				assert_int_equal(sst_find_block(sst, entries[first + i].key), i);
				check_entry(&shapes[0], sst, &entries[first + i]);
			}
			sst_unref(&sst);
			shelf_fini(&shelf);
		}
	}
}

/* ---- the wrong file, and files that lie ---- */

struct victim {
	struct shelf shelf;
	struct content content;
	struct table_meta meta;
	struct files_path path;
	uint8_t *bytes;
};

static void victim_init(struct victim *victim, enum engine_compression compression)
{
	const struct shape shape = {"victim", 60, 10, 12, 30, 60, 512, 10, compression, 6, false};
	struct sst_options options = options_of(&shape);
	const uint8_t *data;
	uint64_t size;

	shelf_init(&victim->shelf, 64 * 1024);
	content_init(&victim->content, &shape);
	shelf_write(&victim->shelf, &options, victim->content.entries, victim->content.count, &victim->meta);
	victim->path = files_path(&victim->shelf.files, FILE_TABLE, victim->meta.number);
	assert_int_equal(sim_fs_look(victim->shelf.disk, victim->path.text, &data, &size), 0);
	assert_int_equal(size, victim->meta.size);
	victim->bytes = malloc(size);
	memcpy(victim->bytes, data, size);
}

static void victim_fini(struct victim *victim)
{
	table_meta_fini(&victim->meta);
	content_fini(&victim->content);
	free(victim->bytes);
	shelf_fini(&victim->shelf);
}

static void victim_store(struct victim *victim, uint64_t size)
{
	sim_fs_put_file(victim->shelf.disk, victim->path.text, victim->bytes, size);
}

static void assert_refused(struct victim *victim, const char *why)
{
	struct engine_error error = {{0}};
	struct sst *sst = NULL;
	int rc = sst_open(&victim->shelf.files, victim->shelf.cache, &victim->meta, &sst, &error);

	sst_unref(&sst);
	if (rc != -EBADMSG || strstr(error.text, why) == NULL || strstr(error.text, victim->path.text) == NULL)
		fail_msg("expected '%s', got %d: %s", why, rc, error.text);
}

static void test_the_wrong_file_is_refused(void **state)
{
	struct victim it;
	struct files_path moved;
	const struct fs *fs;
	uint64_t number;

	(void)state;
	victim_init(&it, ENGINE_COMPRESSION_NONE);
	fs = sim_fs_table(it.shelf.disk);
	it.meta.entry_count++;
	assert_refused(&it, "properties");
	it.meta.entry_count--;
	((uint8_t *)it.meta.smallest.data)[0] ^= 1;
	assert_refused(&it, "properties");
	((uint8_t *)it.meta.smallest.data)[0] ^= 1;
	it.meta.largest.size--;
	assert_refused(&it, "properties");
	it.meta.largest.size++;
	it.meta.size++;
	assert_refused(&it, "the manifest says");
	it.meta.size--;
	it.shelf.files.shard_index++; /* the same path, another shard */
	assert_refused(&it, "files were mixed up");
	it.shelf.files.shard_index--;
	/* Under another number's name. */
	number = it.meta.number;
	it.meta.number = 99;
	moved = files_path(&it.shelf.files, FILE_TABLE, 99);
	assert_int_equal(fs->rename(fs, it.path.text, moved.text), 0);
	it.path = moved;
	assert_refused(&it, "files were mixed up");
	assert_int_equal(fs->unlink(fs, moved.text), 0);
	assert_refused(&it, "missing");
	it.meta.number = number;
	victim_fini(&it);
}

/* Cut anywhere, even when the manifest agrees with the cut. */
static void test_cut_files_are_refused(void **state)
{
	struct victim it;
	uint64_t whole;

	(void)state;
	victim_init(&it, ENGINE_COMPRESSION_LZ4);
	whole = it.meta.size;
	for (uint64_t size = 0; size < whole; size++) {
		victim_store(&it, size);
		it.meta.size = whole;
		assert_refused(&it, "the manifest says");
		it.meta.size = size;
		assert_refused(&it, size < FORMAT_HEADER_SIZE + SST_FOOTER ? "the manifest says" : "footer");
	}
	it.meta.size = whole;
	victim_fini(&it);
}

/* The digest sees every bit, also those that reading never looks at. */
static void test_digest_sees_every_bit(void **state)
{
	struct victim it;

	(void)state;
	victim_init(&it, ENGINE_COMPRESSION_LZ4);
	for (uint64_t bit = 0; bit < it.meta.size * 8; bit += 3) {
		struct engine_error error;
		struct sst *sst;

		it.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		victim_store(&it, it.meta.size);
		it.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (sst_open(&it.shelf.files, it.shelf.cache, &it.meta, &sst, &error))
			continue;
		assert_int_equal(sst_verify_digest(sst, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "digest"));
		sst_unref(&sst);
	}
	victim_fini(&it);
}

/* Rewrites a part's trailer, its checksum right. */
static void forge(struct victim *it, uint64_t offset, uint64_t size, uint8_t codec, uint32_t raw_size)
{
	uint8_t *part = it->bytes + offset;

	part[size] = codec;
	format_u32_put(part + size + 4, raw_size);
	format_u64_put(part + size + 8, format_checksum(part, size + 8, it->meta.number, offset));
}

/* A key of this block gets another byte behind the block's prefix, and the checksum is right. Reading the block fails. */
static void assert_out_of_place(struct victim *it, uint32_t block_index, bool last_entry, uint8_t byte)
{
	struct engine_error error = {{0}};
	struct sst_stream stream;
	struct block_entry entry;
	struct block *block;
	struct sst *sst;

	assert_int_equal(sst_open(&it->shelf.files, it->shelf.cache, &it->meta, &sst, NULL), 0);
	sst_stream_init(&stream, sst);
	assert_int_equal(sst_stream_block(&stream, block_index, &block, NULL), 0);
	block_entry_at(&block->view, last_entry ? block->view.count - 1 : 0, &entry);
	uint64_t offset = sst_block_offset(sst, block_index), size = block->size;
	uint8_t *at = it->bytes + offset + ((const uint8_t *)entry.suffix.data - block->view.data), kept = *at;

	block_release(block);
	sst_stream_fini(&stream);
	sst_unref(&sst);
	*at = byte;
	forge(it, offset, size, ENGINE_COMPRESSION_NONE, (uint32_t)size);
	victim_store(it, it->meta.size);
	assert_int_equal(sst_open(&it->shelf.files, it->shelf.cache, &it->meta, &sst, NULL), 0);
	assert_int_equal(sst_block(sst, block_index, NULL, &block, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "against the index"));
	sst_unref(&sst);
	*at = kept;
	forge(it, offset, size, ENGINE_COMPRESSION_NONE, (uint32_t)size);
	victim_store(it, it->meta.size);
}

/* Blocks whose keys lie outside of what the index says: a merge would meet keys that descend. */
static void test_blocks_keep_to_their_place(void **state)
{
	struct victim it;

	(void)state;
	victim_init(&it, ENGINE_COMPRESSION_NONE);
	for (uint32_t block = 0; block < 3; block++)
		assert_out_of_place(&it, block, true, 0xff);
	for (uint32_t block = 1; block < 3; block++)
		assert_out_of_place(&it, block, false, 0);
	victim_fini(&it);
}

/* Raw lengths that lie behind a right checksum, in the first block: reading it fails, for every codec and claim. What is
 * believed is at most what the codec could give: nothing large is allocated on the way. */
static void test_lying_lengths_of_blocks(void **state)
{
	static const uint32_t claims[] = {0,         1, 100, 511, 513, 65536, 1 << 20, SST_PART_MAX, SST_PART_MAX + 1,
					  UINT32_MAX};

	(void)state;
	for (unsigned written = 0; written < 3; written++) {
		struct victim it;
		struct sst *sst;
		uint64_t size;

		victim_init(&it, (enum engine_compression)written);
		assert_int_equal(sst_open(&it.shelf.files, it.shelf.cache, &it.meta, &sst, NULL), 0);
		struct sst_stream stream;
		struct block *first;
		size_t raw_size;

		sst_stream_init(&stream, sst);
		assert_int_equal(sst_stream_block(&stream, 0, &first, NULL), 0);
		raw_size = first->size;
		block_release(first);
		sst_stream_fini(&stream);
		sst_unref(&sst);
		/* The first part lies behind the header; its size: up to where its own trailer verifies. */
		for (size = 1;; size++) {
			const uint8_t *part = it.bytes + FORMAT_HEADER_SIZE;

			if (format_u64(part + size + 8) ==
			    format_checksum(part, size + 8, it.meta.number, FORMAT_HEADER_SIZE))
				break;
		}
		assert_int_equal(it.bytes[FORMAT_HEADER_SIZE + size], written);
		for (unsigned codec = 0; codec < 5; codec++) {
			for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
				struct engine_error error;
				struct engine_value value;
				struct engine_slice key = it.content.entries[0].key;

				if (codec == written && claims[i] == raw_size)
					continue;
				forge(&it, FORMAT_HEADER_SIZE, size, (uint8_t)codec, claims[i]);
				victim_store(&it, it.meta.size);
				assert_int_equal(sst_open(&it.shelf.files, it.shelf.cache, &it.meta, &sst, &error), 0);
				if (sst_get(sst, key, block_key_hash(key), NULL, &value, &error) != -EBADMSG)
					fail_msg("codec %u read as %u, claim %u", written, codec, claims[i]);
				assert_non_null(strstr(error.text, "offset 48"));
				sst_unref(&sst);
			}
		}
		victim_fini(&it);
	}
}

/* Claims of a part are bounded before memory is asked for. */
static void test_part_claims_no_more_than_its_codec_can_give(void **state)
{
	static const struct {
		uint8_t codec;
		uint32_t raw_size;
		int error;
	} cases[] = {
		{ENGINE_COMPRESSION_NONE, 64, 0},
		{ENGINE_COMPRESSION_NONE, 63, -EBADMSG},
		{ENGINE_COMPRESSION_NONE, 65, -EBADMSG},
		{ENGINE_COMPRESSION_LZ4, 64 * 255, 0},
		{ENGINE_COMPRESSION_LZ4, 64 * 255 + 1, -EBADMSG},
		{ENGINE_COMPRESSION_ZSTD, 64 * 131072, 0},
		{ENGINE_COMPRESSION_ZSTD, 64 * 131072 + 1, -EBADMSG},
		{ENGINE_COMPRESSION_ZSTD, UINT32_MAX, -EBADMSG},
		{3, 64, -EBADMSG},
		{255, 64, -EBADMSG},
	};
	uint8_t part[64 + SST_TRAILER] = {0};
	enum engine_compression compression;
	uint32_t raw_size;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		part[64] = cases[i].codec;
		format_u32_put(part + 68, cases[i].raw_size);
		format_u64_put(part + 72, format_checksum(part, 72, 5, 100));
		assert_int_equal(sst_part_check(part, 64, 5, 100, &raw_size, &compression), cases[i].error);
		assert_int_equal(sst_part_check(part, 64, 5, 101, &raw_size, &compression), -EBADMSG);
		assert_int_equal(sst_part_check(part, 64, 6, 100, &raw_size, &compression), -EBADMSG);
	}
}

/* Handles that point out of the file, or whose sums overflow. */
static void test_footer_bounds(void **state)
{
	static const struct {
		struct sst_handle handle;
		int error;
	} cases[] = {
		{{48, 100}, 0},
		{{1000 - 100 - SST_TRAILER, 100}, 0},
		{{1000 - 100 - SST_TRAILER + 1, 100}, -EBADMSG},
		{{1000, 1}, -EBADMSG},
		{{UINT64_MAX, 1}, -EBADMSG},
		{{48, UINT64_MAX}, -EBADMSG},
		{{UINT64_MAX - 8, 16}, -EBADMSG},
		{{48, (uint64_t)SST_PART_MAX + 1}, -EBADMSG},
	};
	const struct sst_handle good = {48, 8};
	uint8_t bytes[SST_FOOTER];
	struct sst_footer got;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct sst_footer footers[] = {
			{cases[i].handle, good, good}, {good, cases[i].handle, good}, {good, good, cases[i].handle}};

		for (size_t j = 0; j < 3; j++) {
			sst_footer_write(bytes, &footers[j], 7, 1000);
			assert_int_equal(sst_footer_read(bytes, 7, 1000, &got), cases[i].error);
			assert_int_equal(sst_footer_read(bytes, 8, 1000, &got), -EBADMSG);
			assert_int_equal(sst_footer_read(bytes, 7, 1001, &got), -EBADMSG);
		}
	}
}

/* ---- files ---- */

/* Whatever fails while writing: after abort nothing is left and nothing is open. */
static void test_failing_writer_leaves_nothing(void **state)
{
	const struct shape shape = {"failing", 2000, 16, 16, 300, 400, 4096, 10, ENGINE_COMPRESSION_NONE, 0, true};
	struct sst_options options = options_of(&shape);
	struct content content;
	uint64_t index = 0;
	bool fired = true;

	(void)state;
	content_init(&content, &shape);
	for (; fired; index++) {
		struct sst_writer *writer;
		struct table_meta meta = {0};
		struct files_path path;
		struct shelf shelf;
		const uint8_t *data;
		uint64_t size;
		int error;

		shelf_init(&shelf, 4096);
		path = files_path(&shelf.files, FILE_TABLE, 1);
		sim_fs_reset_operations(shelf.disk);
		sim_fs_fail_at(shelf.disk, index, index & 1 ? -EIO : -ENOSPC, false);
		error = sst_writer_create(&shelf.files, 1, &options, &writer);
		if (error == 0) {
			for (size_t i = 0; error == 0 && i < content.count; i++)
				error = sst_writer_add(writer, content.entries[i].key, content.entries[i].value,
						       content.entries[i].type);
			if (error == 0)
				error = sst_writer_finish(&writer, &meta);
			sst_writer_abort(&writer);
		}
		fired = sim_fs_fired(shelf.disk);
		assert_int_equal(error, !fired ? 0 : index & 1 ? -EIO : -ENOSPC);
		assert_int_equal(sim_fs_look(shelf.disk, path.text, &data, &size), fired ? -ENOENT : 0);
		table_meta_fini(&meta);
		shelf_fini(&shelf);
	}
	assert_true(index > 4);
	content_fini(&content);
}

static void test_doomed_file_goes_with_the_last_reference(void **state)
{
	struct victim it;
	struct sst *sst, *other;
	const uint8_t *data;
	uint64_t size;

	(void)state;
	victim_init(&it, ENGINE_COMPRESSION_LZ4);
	assert_int_equal(sst_open(&it.shelf.files, it.shelf.cache, &it.meta, &sst, NULL), 0);
	sst_ref(sst);
	other = sst;
	sst_doom(sst);
	sst_unref(&sst);
	assert_int_equal(sim_fs_look(it.shelf.disk, it.path.text, &data, &size), 0);
	check_entry(&shapes[0], other, &it.content.entries[1]);
	sst_unref(&other);
	assert_int_equal(sim_fs_look(it.shelf.disk, it.path.text, &data, &size), -ENOENT);
	victim_fini(&it);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_shape_is_read_back),
		cmocka_unit_test(test_index_of_many_blocks),
		cmocka_unit_test(test_separators_of_neighbours),
		cmocka_unit_test(test_the_wrong_file_is_refused),
		cmocka_unit_test(test_cut_files_are_refused),
		cmocka_unit_test(test_digest_sees_every_bit),
		cmocka_unit_test(test_blocks_keep_to_their_place),
		cmocka_unit_test(test_lying_lengths_of_blocks),
		cmocka_unit_test(test_part_claims_no_more_than_its_codec_can_give),
		cmocka_unit_test(test_footer_bounds),
		cmocka_unit_test(test_failing_writer_leaves_nothing),
		cmocka_unit_test(test_doomed_file_goes_with_the_last_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
