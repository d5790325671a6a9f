/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/merge/merge.h"
#include "engine/disk/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum source_kind { SOURCE_MEMTABLE, SOURCE_TABLES };

struct merge_source {
	enum source_kind kind;
	bool is_on_entry;
	/* the entry it stands on */
	struct engine_slice key, value;
	uint64_t prefix; /* first bytes of key, compared before it */
	enum entry_type type;
	/* memtable */
	const struct memtable *memtable;
	uint64_t sequence;
	struct art_leaf *leaf;
	/* tables */
	struct sst *const *tables;
	size_t table_count, table;
	uint32_t block_index, entry;
	struct block *block;
	struct buffer key_bytes; /* of the current block's prefix and the current suffix */
	bool is_streaming;
	struct sst_stream stream;
};

int merge_init(struct merge *merge, size_t capacity, const struct tables_drops *drops, struct engine_error *error_out)
{
	*merge = (struct merge){.capacity = capacity, .drops = drops, .error_out = error_out};
	merge->sources = calloc(capacity + 1, sizeof *merge->sources);
	merge->heap = calloc(capacity + 1, sizeof *merge->heap);
	if (merge->sources != NULL && merge->heap != NULL)
		return 0;
	merge_fini(merge);
	return -ENOMEM;
}

static void release_block(struct merge_source *source)
{
	if (source->block != NULL)
		block_release(source->block);
	source->block = NULL;
}

void merge_fini(struct merge *merge)
{
	for (size_t i = 0; i < merge->source_count; i++) {
		release_block(&merge->sources[i]);
		buffer_fini(&merge->sources[i].key_bytes);
		sst_stream_fini(&merge->sources[i].stream);
	}
	free(merge->sources);
	free(merge->heap);
	*merge = (struct merge){0};
}

static struct merge_source *add(struct merge *merge, enum source_kind kind)
{
	struct merge_source *source = &merge->sources[merge->source_count++];

	assert(merge->source_count <= merge->capacity);
	source->kind = kind;
	return source;
}

void merge_add_memtable(struct merge *merge, const struct memtable *memtable, uint64_t sequence)
{
	struct merge_source *source = add(merge, SOURCE_MEMTABLE);

	source->memtable = memtable;
	source->sequence = sequence;
}

void merge_add_tables(struct merge *merge, struct sst *const *tables, size_t table_count, bool streaming)
{
	struct merge_source *source = add(merge, SOURCE_TABLES);

	assert(table_count > 0);
	source->tables = tables;
	source->table_count = table_count;
	source->is_streaming = streaming;
}

/* ---- memtable source ----------------------------------------------------------------------------------------- */

/* Takes the leaf, or the nearest one beyond it that has a version old enough. */
static void memtable_settle(struct merge_source *source, struct art_leaf *leaf, bool up)
{
	const struct art *art = &source->memtable->art;
	const struct memtable_version *version = NULL;

	while (leaf != NULL && (version = memtable_leaf_version(leaf, source->sequence)) == NULL)
		leaf = up ? art_seek(art, art_leaf_key(leaf), true) : art_seek_back(art, art_leaf_key(leaf), true);
	source->leaf = leaf;
	source->is_on_entry = leaf != NULL;
	if (leaf == NULL)
		return;
	source->key = art_leaf_key(leaf);
	source->value = (struct engine_slice){version->value, version->value_size};
	source->type = version->type;
}

static void memtable_move(struct merge_source *source, bool up)
{
	const struct art *art = &source->memtable->art;
	struct engine_slice key;

	assert(source->is_on_entry);
	assert(source->leaf != NULL);
	key = art_leaf_key(source->leaf);

	memtable_settle(source, up ? art_seek(art, key, true) : art_seek_back(art, key, true), up);
}

/* ---- table source -------------------------------------------------------------------------------------------- */

static int load_entry(struct merge_source *source)
{
	const struct block_view *view = &source->block->view;
	struct block_entry entry;
	int error;

	assert(source->entry < view->count);
	block_entry_at(view, source->entry, &entry);
	source->key_bytes.size = view->prefix_size;
	error = buffer_append(&source->key_bytes, entry.suffix.data, entry.suffix.size);
	if (error)
		return error;
	source->key = buffer_slice(&source->key_bytes);
	source->value = entry.value;
	source->type = entry.type;
	source->is_on_entry = true;
	return 0;
}

static int load_block(struct merge *merge, struct merge_source *source)
{
	const struct block_view *view;
	struct sst *sst;
	int error;

	assert(source->table < source->table_count);
	sst = source->tables[source->table];
	assert(source->block_index < sst->block_count);
	release_block(source);
	if (source->is_streaming && source->stream.sst != sst) {
		sst_stream_fini(&source->stream);
		sst_stream_init(&source->stream, sst);
	}
	error = source->is_streaming
			? sst_stream_block(&source->stream, source->block_index, &source->block, merge->error_out)
			: sst_block(sst, source->block_index, NULL, &source->block, merge->error_out);
	if (error)
		return error;
	view = &source->block->view;
	return buffer_assign(&source->key_bytes, (struct engine_slice){view->prefix, view->prefix_size});
}

/* The block at hand is damaged. Is it of no account? */
static bool may_skip(const struct merge *merge, const struct merge_source *source)
{
	const struct sst *sst = source->tables[source->table];
	struct partition_row in = sst_block_partitions(sst, source->block_index);

	for (uint32_t partition = in.first; partition <= in.last; partition += in.step) {
		if (!quarantine_has(merge->quarantine, (uint16_t)partition) &&
		    !tables_drops_hide_partition(merge->drops, sst->meta.drop_id, (uint16_t)partition))
			return false;
	}
	return true;
}

/* The block after or before; false past the end. */
static bool next_place(struct merge_source *source, bool up)
{
	if (up && ++source->block_index == source->tables[source->table]->block_count) {
		source->block_index = 0;
		return ++source->table < source->table_count;
	}
	if (!up && source->block_index-- == 0) {
		if (source->table-- == 0)
			return false;
		source->block_index = source->tables[source->table]->block_count - 1;
	}
	return true;
}

/* Stands on entry 0 of the block after, or the last entry of the block before; past the end when there is none. */
static int next_block(struct merge *merge, struct merge_source *source, bool up)
{
	int error;

	source->is_on_entry = false;
	do {
		if (!next_place(source, up))
			return 0;
		error = load_block(merge, source);
	} while (error == -EBADMSG && may_skip(merge, source));
	if (error)
		return error;
	source->entry = up ? 0 : source->block->view.count - 1;
	return load_entry(source);
}

static int tables_move(struct merge *merge, struct merge_source *source, bool up)
{
	assert(source->block != NULL);
	if (up ? source->entry + 1 < source->block->view.count : source->entry > 0) {
		source->entry += up ? 1 : -1u;
		return load_entry(source);
	}
	return next_block(merge, source, up);
}

static int tables_seek(struct merge *merge, struct merge_source *source, struct engine_slice key)
{
	int error;

	source->is_on_entry = false;
	source->table = tables_run_find(source->tables, source->table_count, key);
	if (source->table == source->table_count)
		return 0;
	/* The table ends at or after the key, so the block is there. */
	source->block_index = sst_find_block(source->tables[source->table], key);
	assert(source->block_index < source->tables[source->table]->block_count);
	error = load_block(merge, source);
	if (error == -EBADMSG && may_skip(merge, source))
		return next_block(merge, source, true);
	if (error)
		return error;
	source->entry = block_lower_bound(&source->block->view, key);
	/* Its separator may be larger than its last key. */
	if (source->entry == source->block->view.count)
		return next_block(merge, source, true);
	return load_entry(source);
}

static int tables_last(struct merge *merge, struct merge_source *source)
{
	source->is_on_entry = false;
	source->table = source->table_count;
	source->block_index = 0;
	return next_block(merge, source, false);
}

/* The last entry <= key, or < key when strict. */
static int tables_seek_back(struct merge *merge, struct merge_source *source, struct engine_slice key, bool strict)
{
	int error = tables_seek(merge, source, key);

	if (error)
		return error;
	if (!source->is_on_entry)
		return tables_last(merge, source);
	if (!strict && format_compare(source->key, key) == 0)
		return 0;
	return tables_move(merge, source, false);
}

/* ---- any source ---------------------------------------------------------------------------------------------- */

static int source_move(struct merge *merge, struct merge_source *source, bool up)
{
	if (source->kind == SOURCE_TABLES)
		return tables_move(merge, source, up);
	memtable_move(source, up);
	return 0;
}

static bool is_dropped(const struct merge *merge, const struct merge_source *source)
{
	uint64_t drop_id = source->kind == SOURCE_MEMTABLE ? source->memtable->drop_id
							   : source->tables[source->table]->meta.drop_id;

	return tables_drops_hide(merge->drops, drop_id, source->key);
}

/* Steps over what drops hide, and notes the prefix of what it ends on. */
static int source_settle(struct merge *merge, struct merge_source *source)
{
	while (merge->drops->count && source->is_on_entry && is_dropped(merge, source)) {
		int error = source_move(merge, source, !merge->is_backward);

		if (error)
			return error;
	}
	if (source->is_on_entry)
		source->prefix = format_prefix(source->key, 0);
	return 0;
}

static int source_step(struct merge *merge, struct merge_source *source)
{
	int error = source_move(merge, source, !merge->is_backward);

	return error ? error : source_settle(merge, source);
}

static int source_seek(struct merge *merge, struct merge_source *source, struct engine_slice key, bool strict)
{
	const struct art *art = source->kind == SOURCE_MEMTABLE ? &source->memtable->art : NULL;
	int error = 0;

	if (merge->is_backward) {
		if (art == NULL)
			error = key.size ? tables_seek_back(merge, source, key, strict) : tables_last(merge, source);
		else
			memtable_settle(source, key.size ? art_seek_back(art, key, strict) : art_last(art), false);
	} else if (art == NULL) {
		error = tables_seek(merge, source, key);
		if (error == 0 && strict && source->is_on_entry && format_compare(source->key, key) == 0)
			error = tables_move(merge, source, true);
	} else {
		memtable_settle(source, art_seek(art, key, strict), true);
	}
	return error ? error : source_settle(merge, source);
}

/* ---- heap ---------------------------------------------------------------------------------------------------- */

/* Is a to come before b? Of equal keys the newer source comes first. */
static bool is_before(const struct merge *merge, size_t a, size_t b)
{
	const struct merge_source *x = &merge->sources[a], *y = &merge->sources[b];
	int order = x->prefix < y->prefix ? -1 : x->prefix > y->prefix;

	if (!order)
		order = format_compare(x->key, y->key);
	if (!order)
		return a < b;
	return merge->is_backward ? order > 0 : order < 0;
}

static void sift_down(struct merge *merge, size_t at)
{
	size_t moving = merge->heap[at];

	assert(at < merge->heap_size);
	assert(merge->sources[moving].is_on_entry);

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= merge->heap_size)
			break;
		if (child + 1 < merge->heap_size && is_before(merge, merge->heap[child + 1], merge->heap[child]))
			child++;
		if (!is_before(merge, merge->heap[child], moving))
			break;
		merge->heap[at] = merge->heap[child];
		at = child;
	}
	merge->heap[at] = moving;
}

/* The source at this place of the heap has moved. */
static void heap_fix(struct merge *merge, size_t at)
{
	assert(at < merge->heap_size);
	if (!merge->sources[merge->heap[at]].is_on_entry)
		merge->heap[at] = merge->heap[--merge->heap_size];
	if (at < merge->heap_size)
		sift_down(merge, at);
}

static void heap_build(struct merge *merge)
{
	merge->heap_size = 0;
	for (size_t i = 0; i < merge->source_count; i++) {
		if (merge->sources[i].is_on_entry)
			merge->heap[merge->heap_size++] = i;
	}
	for (size_t i = merge->heap_size / 2; i-- > 0;)
		sift_down(merge, i);
}

/* The place of the best source but the first; 0 when there is none. */
static size_t second(const struct merge *merge)
{
	if (merge->heap_size < 2)
		return 0;
	return merge->heap_size > 2 && is_before(merge, merge->heap[2], merge->heap[1]) ? 2 : 1;
}

/* Moves the older entries of the current key out of the way, so that the first source alone stands on it. */
static int skip_older(struct merge *merge)
{
	size_t at;

	while ((at = second(merge))) {
		struct merge_source *first = &merge->sources[merge->heap[0]];
		struct merge_source *other = &merge->sources[merge->heap[at]];
		int error;

		if (first->prefix != other->prefix || format_compare(first->key, other->key) != 0)
			break;
		error = source_step(merge, other);
		if (error)
			return error;
		heap_fix(merge, at);
	}
	assert(merge->heap_size == 0 || merge->sources[merge->heap[0]].is_on_entry);
	return merge->heap_size ? 1 : 0;
}

static int seek_all(struct merge *merge, struct engine_slice key, bool strict, bool backward)
{
	merge->is_backward = backward;
	merge->is_alone = false;
	merge->heap_size = 0;
	for (size_t i = 0; i < merge->source_count; i++) {
		int error = source_seek(merge, &merge->sources[i], key, strict);

		if (error)
			return error;
	}
	heap_build(merge);
	return skip_older(merge);
}

int merge_seek(struct merge *merge, struct engine_slice key)
{
	return seek_all(merge, key, false, false);
}

int merge_seek_back(struct merge *merge, struct engine_slice key)
{
	return seek_all(merge, key, false, true);
}

/* ---- one key ------------------------------------------------------------------------------------------------- */

static int tables_find(struct merge *merge, struct merge_source *source, struct engine_slice key, uint64_t key_hash)
{
	struct block_entry entry;
	struct sst *sst;
	int64_t found;
	int error;

	source->is_on_entry = false;
	source->table = tables_run_find(source->tables, source->table_count, key);
	if (source->table == source->table_count)
		return 0;
	sst = source->tables[source->table];
	if (format_compare(key, sst_smallest(sst)) < 0 || !sst_may_contain(sst, key_hash))
		return 0;
	source->block_index = sst_find_block(sst, key);
	error = load_block(merge, source);
	if (error)
		return error;
	found = block_find(&source->block->view, key, block_tag(key_hash), &entry);
	source->entry = (uint32_t)found;
	return found < 0 ? 0 : load_entry(source);
}

static void memtable_find(struct merge_source *source, struct engine_slice key)
{
	struct art_leaf *leaf = art_find(&source->memtable->art, key);

	source->is_on_entry = false;
	if (leaf != NULL && memtable_leaf_version(leaf, source->sequence) != NULL)
		memtable_settle(source, leaf, true);
}

int merge_find(struct merge *merge, struct engine_slice key)
{
	uint64_t key_hash = block_key_hash(key);

	merge->is_backward = false;
	merge->is_alone = true;
	merge->heap_size = 0;
	for (size_t i = 0; i < merge->source_count; i++) {
		struct merge_source *source = &merge->sources[i];
		int error = 0;

		if (source->kind == SOURCE_TABLES)
			error = tables_find(merge, source, key, key_hash);
		else
			memtable_find(source, key);
		if (error)
			return error;
		if (source->is_on_entry && !(merge->drops->count && is_dropped(merge, source))) {
			merge->heap[merge->heap_size++] = i;
			return 1;
		}
	}
	return 0;
}

/* ---- moving -------------------------------------------------------------------------------------------------- */

/* Places every source anew behind the current key: after a change of direction, or when only one was placed. */
static int turn(struct merge *merge, bool backward)
{
	struct engine_slice current = merge_key(merge);
	struct buffer key = {0};
	int error = buffer_assign(&key, current);

	if (error == 0)
		error = seek_all(merge, buffer_slice(&key), true, backward);
	buffer_fini(&key);
	return error;
}

static int move(struct merge *merge, bool backward)
{
	int error;

	assert(merge->heap_size);
	if (merge->is_backward != backward || merge->is_alone)
		return turn(merge, backward);
	error = source_step(merge, &merge->sources[merge->heap[0]]);
	if (error) {
		merge->heap_size = 0;
		return error;
	}
	heap_fix(merge, 0);
	return skip_older(merge);
}

int merge_next(struct merge *merge)
{
	return move(merge, false);
}

int merge_prev(struct merge *merge)
{
	return move(merge, true);
}

static const struct merge_source *current_source(const struct merge *merge)
{
	assert(merge->heap_size);
	return &merge->sources[merge->heap[0]];
}

struct engine_slice merge_key(const struct merge *merge)
{
	return current_source(merge)->key;
}

struct engine_slice merge_value(const struct merge *merge)
{
	return current_source(merge)->value;
}

enum entry_type merge_type(const struct merge *merge)
{
	return current_source(merge)->type;
}
