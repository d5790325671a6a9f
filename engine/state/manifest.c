/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state/manifest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/table/sst.h"

enum { RECORD_HEADER = 24 };
#define MANIFEST_MAX ((uint64_t)1 << 30) /* bytes; a record is far smaller, a state is written as one */

#define RESTORE                                                                                                        \
	"it names the files of the shard: restore the store from a backup, or empty it and refill it from its "        \
	"replicas"

static const uint32_t record_magic = 0x524d564b; /* "KVMR" */

enum tag {
	TAG_ADD = 1, /* level, run, number, size, digest u64, entries, deletes, raw bytes, drop id, smallest, largest */
	TAG_REMOVE,  /* number */
	TAG_DROP,    /* id, begin, end */
	TAG_FORGET,  /* id */
	TAG_NEXT,    /* file number */
	TAG_LOG_FLOOR,  /* segment number */
	TAG_FLUSHED,    /* sequence */
	TAG_CLOSED,     /* sequence */
	TAG_LAST_DROP,  /* id */
	TAG_TREE,       /* number, size, drop id */
	TAG_META,       /* slice */
	TAG_QUARANTINE, /* quarantine.h */
};

/* ---- state --------------------------------------------------------------------------------------------------- */

int manifest_table_create(uint32_t level, uint64_t run, const struct table_meta *meta, struct manifest_table **out)
{
	struct manifest_table *table = calloc(1, sizeof *table);
	int error;

	if (table == NULL)
		return -ENOMEM;
	table->refs = 1;
	table->level = level;
	table->run = run;
	error = table_meta_copy(meta, &table->meta);
	if (error) {
		free(table);
		return error;
	}
	*out = table;
	return 0;
}

struct manifest_table *manifest_table_ref(struct manifest_table *table)
{
	table->refs++;
	return table;
}

void manifest_table_unref(struct manifest_table **table)
{
	struct manifest_table *it = *table;

	*table = NULL;
	if (it == NULL || --it->refs)
		return;
	if (it->sst)
		sst_unref(&it->sst);
	table_meta_fini(&it->meta);
	free(it);
}

static void drop_fini(struct manifest_drop *drop)
{
	buffer_fini(&drop->begin);
	buffer_fini(&drop->end);
}

void manifest_state_fini(struct manifest_state *state)
{
	for (size_t i = 0; i < state->table_count; i++)
		manifest_table_unref(&state->tables[i]);
	for (size_t i = 0; i < state->drop_count; i++)
		drop_fini(&state->drops[i]);
	free(state->tables);
	free(state->drops);
	buffer_fini(&state->meta);
	quarantine_unref(&state->quarantine);
	*state = (struct manifest_state){0};
}

static size_t find_table(const struct manifest_state *state, uint64_t number)
{
	size_t i = 0;

	while (i < state->table_count && state->tables[i]->meta.number != number)
		i++;
	return i;
}

/* Takes over the reference. */
static int state_add(struct manifest_state *state, struct manifest_table *table)
{
	struct manifest_table **tables;

	if (table->level >= MANIFEST_LEVELS || find_table(state, table->meta.number) != state->table_count) {
		manifest_table_unref(&table);
		return -EBADMSG;
	}
	tables = realloc(state->tables, (state->table_count + 1) * sizeof(struct manifest_table *));
	if (tables == NULL) {
		manifest_table_unref(&table);
		return -ENOMEM;
	}
	state->tables = tables;
	state->tables[state->table_count++] = table;
	return 0;
}

static int state_remove(struct manifest_state *state, uint64_t number)
{
	size_t i = find_table(state, number);

	if (i == state->table_count)
		return -EBADMSG;
	manifest_table_unref(&state->tables[i]);
	state->tables[i] = state->tables[--state->table_count];
	return 0;
}

/* A partition that is dropped whole is known to be empty: its quarantine is over. */
static int state_release(struct manifest_state *state, struct engine_slice begin, struct engine_slice end)
{
	struct quarantine *rest;
	int error;

	if (state->quarantine == NULL)
		return 0;
	error = quarantine_create(state->quarantine, &rest);
	if (error)
		return error;
	quarantine_remove_range(rest, begin, end);
	if (!quarantine_count(rest))
		quarantine_unref(&rest);
	quarantine_unref(&state->quarantine);
	state->quarantine = rest;
	return 0;
}

static int state_drop(struct manifest_state *state, uint64_t id, struct engine_slice begin, struct engine_slice end)
{
	struct manifest_drop *drops = realloc(state->drops, (state->drop_count + 1) * sizeof *drops);
	struct manifest_drop drop = {.id = id};

	if (drops == NULL)
		return -ENOMEM;
	state->drops = drops;
	if (buffer_assign(&drop.begin, begin) || buffer_assign(&drop.end, end)) {
		drop_fini(&drop);
		return -ENOMEM;
	}
	state->drops[state->drop_count++] = drop;
	if (id > state->last_drop_id)
		state->last_drop_id = id;
	return state_release(state, begin, end);
}

static void state_forget(struct manifest_state *state, uint64_t id)
{
	size_t kept = 0;

	for (size_t i = 0; i < state->drop_count; i++) {
		if (state->drops[i].id <= id)
			drop_fini(&state->drops[i]);
		else
			state->drops[kept++] = state->drops[i];
	}
	state->drop_count = kept;
}

static void set_if(uint64_t *field, uint64_t value)
{
	if (value)
		*field = value;
}

static int state_apply(struct manifest_state *state, const struct manifest_edit *edit)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < edit->removed_count; i++)
		error = state_remove(state, edit->removed[i]);
	for (size_t i = 0; error == 0 && i < edit->added_count; i++)
		error = state_add(state, manifest_table_ref(edit->added[i]));
	if (error == 0 && edit->drop)
		error = state_drop(state, edit->drop->id, buffer_slice(&edit->drop->begin),
				   buffer_slice(&edit->drop->end));
	if (error == 0 && edit->meta)
		error = buffer_assign(&state->meta, *edit->meta);
	if (error)
		return error;
	state_forget(state, edit->forget_drops);
	set_if(&state->next_number, edit->next_number);
	set_if(&state->log_floor, edit->log_floor);
	set_if(&state->flushed_sequence, edit->flushed_sequence);
	set_if(&state->closed_sequence, edit->closed_sequence);
	if (edit->tree)
		state->tree = *edit->tree;
	if (edit->quarantine) {
		quarantine_unref(&state->quarantine);
		state->quarantine = quarantine_ref(edit->quarantine);
	}
	return 0;
}

static int state_clone(const struct manifest_state *from, struct manifest_state *to)
{
	int error = 0;

	*to = *from;
	to->tables = NULL;
	to->drops = NULL;
	to->meta = (struct buffer){0};
	to->quarantine = NULL;
	to->table_count = to->drop_count = 0;
	to->tables = malloc((from->table_count + 1) * sizeof(struct manifest_table *));
	if (!to->tables)
		return -ENOMEM;
	for (size_t i = 0; i < from->table_count; i++)
		to->tables[to->table_count++] = manifest_table_ref(from->tables[i]);
	for (size_t i = 0; error == 0 && i < from->drop_count; i++)
		error = state_drop(to, from->drops[i].id, buffer_slice(&from->drops[i].begin),
				   buffer_slice(&from->drops[i].end));
	if (error == 0)
		error = buffer_assign(&to->meta, buffer_slice(&from->meta));
	/* Last: copying the drops must not end it. */
	to->quarantine = quarantine_ref(from->quarantine);
	return error;
}

int manifest_state_change(const struct manifest_state *from, const struct manifest_edit *edit,
			  struct manifest_state *to)
{
	int error = state_clone(from, to);

	if (error == 0)
		error = state_apply(to, edit);
	if (error)
		manifest_state_fini(to);
	return error;
}

/* ---- encoding ------------------------------------------------------------------------------------------------ */

static int put_tag(struct buffer *out, enum tag tag)
{
	uint8_t byte = (uint8_t)tag;

	return buffer_append(out, &byte, 1);
}

static int put_number(struct buffer *out, enum tag tag, uint64_t value)
{
	int error = value ? put_tag(out, tag) : 0;

	return error || !value ? error : buffer_append_varint(out, value);
}

static int put_varints(struct buffer *out, const uint64_t *values, size_t count)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < count; i++)
		error = buffer_append_varint(out, values[i]);
	return error;
}

static int put_table(struct buffer *out, const struct manifest_table *table)
{
	const struct table_meta *meta = &table->meta;
	uint64_t place[] = {table->level, table->run, meta->number, meta->size};
	uint64_t counts[] = {meta->entry_count, meta->delete_count, meta->raw_bytes, meta->drop_id};
	int error = put_tag(out, TAG_ADD);

	if (error == 0)
		error = put_varints(out, place, 4);
	if (error == 0)
		error = buffer_append_u64(out, meta->digest);
	if (error == 0)
		error = put_varints(out, counts, 4);
	if (error == 0)
		error = buffer_append_slice(out, buffer_slice(&meta->smallest));
	if (error == 0)
		error = buffer_append_slice(out, buffer_slice(&meta->largest));
	return error;
}

static int put_drop(struct buffer *out, const struct manifest_drop *drop)
{
	int error = put_tag(out, TAG_DROP);

	if (error == 0)
		error = buffer_append_varint(out, drop->id);
	if (error == 0)
		error = buffer_append_slice(out, buffer_slice(&drop->begin));
	if (error == 0)
		error = buffer_append_slice(out, buffer_slice(&drop->end));
	return error;
}

static int put_tree(struct buffer *out, const struct manifest_tree *tree)
{
	uint64_t values[] = {tree->number, tree->size, tree->drop_id};
	int error = put_tag(out, TAG_TREE);

	return error ? error : put_varints(out, values, 3);
}

static int put_quarantine(struct buffer *out, const struct quarantine *quarantine)
{
	int error = put_tag(out, TAG_QUARANTINE);

	return error ? error : quarantine_encode(quarantine, out);
}

static int encode_edit(const struct manifest_edit *edit, struct buffer *out)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < edit->removed_count; i++)
		error = put_number(out, TAG_REMOVE, edit->removed[i]);
	for (size_t i = 0; error == 0 && i < edit->added_count; i++)
		error = put_table(out, edit->added[i]);
	if (error == 0 && edit->drop)
		error = put_drop(out, edit->drop);
	if (error == 0)
		error = put_number(out, TAG_FORGET, edit->forget_drops);
	if (error == 0)
		error = put_number(out, TAG_NEXT, edit->next_number);
	if (error == 0)
		error = put_number(out, TAG_LOG_FLOOR, edit->log_floor);
	if (error == 0)
		error = put_number(out, TAG_FLUSHED, edit->flushed_sequence);
	if (error == 0)
		error = put_number(out, TAG_CLOSED, edit->closed_sequence);
	if (error == 0)
		error = put_number(out, TAG_LAST_DROP, edit->last_drop_id);
	if (error == 0 && edit->tree)
		error = put_tree(out, edit->tree);
	if (error == 0 && edit->meta)
		error = put_tag(out, TAG_META);
	if (error == 0 && edit->meta)
		error = buffer_append_slice(out, *edit->meta);
	if (error == 0 && edit->quarantine)
		error = put_quarantine(out, edit->quarantine);
	return error;
}

/* A whole state as one edit (of an empty state). */
static int encode_state(const struct manifest_state *state, struct buffer *out)
{
	struct engine_slice meta = buffer_slice(&state->meta);
	struct manifest_edit edit = {
		.added = state->tables,
		.added_count = state->table_count,
		.next_number = state->next_number,
		.log_floor = state->log_floor,
		.flushed_sequence = state->flushed_sequence,
		.last_drop_id = state->last_drop_id,
		.tree = &state->tree,
		.meta = &meta,
	};
	int error = encode_edit(&edit, out);

	for (size_t i = 0; error == 0 && i < state->drop_count; i++)
		error = put_drop(out, &state->drops[i]);
	/* After the drops, which would end it. */
	if (error == 0 && state->quarantine)
		error = put_quarantine(out, state->quarantine);
	return error;
}

/* ---- decoding ------------------------------------------------------------------------------------------------ */

static int take_table(struct reader *reader, struct manifest_state *state)
{
	uint64_t level = reader_varint(reader), run = reader_varint(reader);
	struct manifest_table *table;
	struct table_meta meta = {0};
	struct engine_slice smallest, largest;
	int error;

	meta.number = reader_varint(reader);
	meta.size = reader_varint(reader);
	meta.digest = reader_u64(reader);
	meta.entry_count = reader_varint(reader);
	meta.delete_count = reader_varint(reader);
	meta.raw_bytes = reader_varint(reader);
	meta.drop_id = reader_varint(reader);
	smallest = reader_slice(reader);
	largest = reader_slice(reader);
	if (reader->bad || level >= MANIFEST_LEVELS || smallest.size < ENGINE_KEY_MIN ||
	    largest.size < ENGINE_KEY_MIN || format_compare(smallest, largest) > 0)
		return -EBADMSG;
	error = manifest_table_create((uint32_t)level, run, &meta, &table);
	if (error)
		return error;
	if (buffer_assign(&table->meta.smallest, smallest) || buffer_assign(&table->meta.largest, largest)) {
		manifest_table_unref(&table);
		return -ENOMEM;
	}
	return state_add(state, table);
}

static int take_drop(struct reader *reader, struct manifest_state *state)
{
	uint64_t id = reader_varint(reader);
	struct engine_slice begin = reader_slice(reader), end = reader_slice(reader);

	return reader->bad || !id ? -EBADMSG : state_drop(state, id, begin, end);
}

static int take_field(enum tag tag, struct reader *reader, struct manifest_state *state)
{
	switch (tag) {
	case TAG_ADD:
		return take_table(reader, state);
	case TAG_REMOVE:
		return state_remove(state, reader_varint(reader));
	case TAG_DROP:
		return take_drop(reader, state);
	case TAG_FORGET:
		state_forget(state, reader_varint(reader));
		return 0;
	case TAG_NEXT:
		state->next_number = reader_varint(reader);
		return 0;
	case TAG_LOG_FLOOR:
		state->log_floor = reader_varint(reader);
		return 0;
	case TAG_FLUSHED:
		state->flushed_sequence = reader_varint(reader);
		return 0;
	case TAG_CLOSED:
		state->closed_sequence = reader_varint(reader);
		return 0;
	case TAG_LAST_DROP:
		state->last_drop_id = reader_varint(reader);
		return 0;
	case TAG_TREE:
		state->tree.number = reader_varint(reader);
		state->tree.size = reader_varint(reader);
		state->tree.drop_id = reader_varint(reader);
		return 0;
	case TAG_META:
		return buffer_assign(&state->meta, reader_slice(reader));
	case TAG_QUARANTINE:
		quarantine_unref(&state->quarantine);
		return quarantine_decode(reader, &state->quarantine);
	}
	return -EBADMSG;
}

static int apply_record(const uint8_t *payload, size_t size, struct manifest_state *state)
{
	struct reader reader = {payload, payload + size, false};
	int error = 0;

	while (error == 0 && reader.at < reader.end) {
		error = take_field(*reader.at++, &reader, state);
		if (error == 0 && reader.bad)
			error = -EBADMSG;
	}
	return error;
}

struct scan {
	const uint8_t *data;
	size_t size;
	uint64_t number;
};

/* Size of the intact record at this offset, or 0. */
static size_t verify_record(const struct scan *scan, size_t at, uint64_t *index_out)
{
	const uint8_t *record = scan->data + at;
	size_t left = scan->size - at, size;

	if (left < RECORD_HEADER || format_u32(record) != record_magic)
		return 0;
	size = RECORD_HEADER + (size_t)format_u32(record + 4);
	*index_out = format_u64(record + 8);
	if (size > left)
		return 0;
	/* Both copies are the same bytes, so the checksum is tied to the index, not the offset; it covers the payload,
	 * and the length with it. */
	if (format_u64(record + 16) !=
	    format_checksum(record + RECORD_HEADER, size - RECORD_HEADER, scan->number, *index_out))
		return 0;
	return size;
}

/* Applies the records in the order of their indexes, skipping second copies and what does not verify. */
static int scan_records(const struct scan *scan, const char *path, struct manifest_state *out, uint64_t *tail_out,
			struct engine_error *error_out)
{
	uint64_t expected = 0, index;
	size_t at = FORMAT_HEADER_SIZE, good_end = at;
	int error = 0;

	while (error == 0 && at < scan->size) {
		size_t size = verify_record(scan, at, &index);

		if (!size) {
			at++;
			continue;
		}
		if (index > expected)
			return format_error(error_out, -EBADMSG,
					    "%s: record %" PRIu64 " is missing before offset %zu: damaged; " RESTORE,
					    path, expected, at);
		if (index == expected) {
			error = apply_record(scan->data + at + RECORD_HEADER, size - RECORD_HEADER, out);
			if (error)
				format_error(error_out, error,
					     "%s: record %" PRIu64 " at offset %zu cannot be applied; " RESTORE, path,
					     index, at);
			expected++;
		}
		at += size;
		good_end = at;
	}
	if (error == 0 && !expected)
		error = format_error(error_out, -EBADMSG, "%s: holds no intact record; " RESTORE, path);
	*tail_out = scan->size - good_end;
	return error;
}

int manifest_decode(const uint8_t *data, size_t size, const char *path, uint32_t shard_index,
		    struct manifest_state *out, uint64_t *tail_out, struct engine_error *error_out)
{
	struct scan scan = {.data = data, .size = size};
	struct engine_error found = {{0}};
	struct format_header header;
	int error;

	*out = (struct manifest_state){0};
	error = format_header_read(data, size, FORMAT_MANIFEST, path, &header, &found);
	if (error)
		return format_error(error_out, error, "%.300s%s", found.text, error == -EBADMSG ? "; " RESTORE : "");
	if (header.shard != shard_index)
		return format_error(error_out, -EBADMSG,
				    "%s: belongs to shard %u: files were mixed up; restore each to its place", path,
				    header.shard);
	scan.number = header.number;
	error = scan_records(&scan, path, out, tail_out, error_out);
	if (error)
		manifest_state_fini(out);
	return error;
}

static int read_once(const struct files *files, const char *path, bool anew, struct manifest_state *out,
		     uint64_t *tail_out, struct engine_error *error_out)
{
	uint8_t *data;
	size_t size;
	int error = anew ? fs_read_file_anew(files->fs, path, MANIFEST_MAX, &data, &size)
			 : fs_read_file(files->fs, path, MANIFEST_MAX, &data, &size);

	if (error)
		return format_error(error_out, error, "%s: cannot read: %s", path, strerror(-error));
	error = manifest_decode(data, size, path, files->shard_index, out, tail_out, error_out);
	free(data);
	return error;
}

int manifest_read(const struct files *files, struct manifest_state *out, uint64_t *tail_out,
		  struct engine_error *error_out)
{
	struct files_path path = files_path(files, FILE_MANIFEST, 0);
	struct manifest_state again;
	struct engine_error found = {{0}};
	uint64_t tail_again;
	int second, error = read_once(files, path.text, false, out, tail_out, error_out);

	if (error == -ENOENT)
		return format_error(error_out, -EBADMSG, "%s: missing; " RESTORE, path.text);
	/* Read anew, past the page cache, before bytes that do not verify count as damage or as a torn append. */
	if (error != -EBADMSG && (error || *tail_out == 0))
		return error;
	second = read_once(files, path.text, true, &again, &tail_again, &found);
	if (second || (error == 0 && tail_again >= *tail_out)) {
		if (second == 0)
			manifest_state_fini(&again);
		return error;
	}
	if (error == 0)
		manifest_state_fini(out);
	*out = again;
	*tail_out = tail_again;
	return 0;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

struct manifest {
	const struct files *files;
	struct fs_file *file;
	uint64_t number;
	uint64_t size;
	uint64_t next_index;
	bool is_name_synced;
};

static int record_begin(struct buffer *out)
{
	static const uint8_t room[RECORD_HEADER];

	return buffer_append(out, room, sizeof(room));
}

/* Completes the record that begins at `from` and appends its second copy. */
static int record_end(struct buffer *out, size_t from, uint64_t number, uint64_t index)
{
	size_t size = out->size - from;
	uint8_t *record;
	int error;

	if (size - RECORD_HEADER > MANIFEST_MAX)
		return -EFBIG;
	error = buffer_reserve(out, size);
	if (error)
		return error;
	record = out->data + from;
	format_u32_put(record, record_magic);
	format_u32_put(record + 4, (uint32_t)(size - RECORD_HEADER));
	format_u64_put(record + 8, index);
	format_u64_put(record + 16, format_checksum(record + RECORD_HEADER, size - RECORD_HEADER, number, index));
	memcpy(record + size, record, size);
	out->size += size;
	return 0;
}

static int encode_file(const struct files *files, uint64_t number, const struct manifest_state *state,
		       struct buffer *out)
{
	struct format_header header = {.shard = files->shard_index, .number = number};
	uint8_t bytes[FORMAT_HEADER_SIZE];
	int error;

	format_header_write(bytes, FORMAT_MANIFEST, &header);
	error = buffer_append(out, bytes, sizeof(bytes));
	if (error == 0)
		error = record_begin(out);
	if (error == 0)
		error = encode_state(state, out);
	return error ? error : record_end(out, FORMAT_HEADER_SIZE, number, 0);
}

int manifest_create(const struct files *files, uint64_t number, const struct manifest_state *state,
		    struct manifest **out)
{
	struct files_path path = files_path(files, FILE_MANIFEST, 0);
	struct manifest *manifest = calloc(1, sizeof *manifest);
	struct buffer bytes = {0};
	int error = manifest ? encode_file(files, number, state, &bytes) : -ENOMEM;

	if (error == 0)
		error = fs_replace_file_open(files->fs, path.text, bytes.data, bytes.size, &manifest->file);
	if (error) {
		free(manifest);
		buffer_fini(&bytes);
		return error;
	}
	manifest->files = files;
	manifest->number = number;
	manifest->size = bytes.size;
	manifest->next_index = 1;
	buffer_fini(&bytes);
	if (manifest_sync_name(manifest) == -EIO) {
		manifest_close(&manifest);
		return -EIO;
	}
	*out = manifest;
	return 0;
}

int manifest_sync_name(struct manifest *manifest)
{
	int error;

	if (manifest->is_name_synced)
		return 0;
	error = manifest->files->fs->sync_dir(manifest->files->fs, manifest->files->directory);
	manifest->is_name_synced = error == 0;
	return error == 0 || fs_is_passing(error) ? error : -EIO;
}

int manifest_append(struct manifest *manifest, const struct manifest_edit *edit)
{
	const struct fs *fs = manifest->files->fs;
	struct buffer bytes = {0};
	struct iovec part;
	int error = manifest_sync_name(manifest);

	if (error == 0)
		error = record_begin(&bytes);
	if (error == 0)
		error = encode_edit(edit, &bytes);
	if (error == 0)
		error = record_end(&bytes, 0, manifest->number, manifest->next_index);
	part = (struct iovec){bytes.data, bytes.size};
	if (error == 0) {
		error = fs->append(manifest->file, &part, 1);
		/* The caller now removes the files that the record names: it must not come back after a crash. */
		if (error)
			error = fs->truncate(manifest->file, manifest->size) || fs->sync(manifest->file) ? -EIO : error;
		else
			error = fs->sync(manifest->file) ? -EIO : 0;
	}
	if (error == 0) {
		manifest->size += bytes.size;
		manifest->next_index++;
	}
	buffer_fini(&bytes);
	return error;
}

uint64_t manifest_size(const struct manifest *manifest)
{
	return manifest->size;
}

void manifest_close(struct manifest **manifest)
{
	struct manifest *it = *manifest;

	*manifest = NULL;
	if (it == NULL)
		return;
	it->files->fs->close(it->file);
	free(it);
}
