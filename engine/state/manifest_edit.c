/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state/manifest_edit.h"
#include "engine/disk/buffer.h"

#include <assert.h>
#include <errno.h>

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

	assert(table->level < MANIFEST_LEVELS);
	assert(format_compare(buffer_slice(&meta->smallest), buffer_slice(&meta->largest)) <= 0);
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

	assert(drop->id > 0);
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

int manifest_edit_encode(const struct manifest_edit *edit, struct buffer *out)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < edit->removed_count; i++)
		error = put_number(out, TAG_REMOVE, edit->removed[i]);
	for (size_t i = 0; error == 0 && i < edit->added_count; i++)
		error = put_table(out, edit->added[i]);
	if (error == 0 && edit->drop != NULL)
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
	if (error == 0 && edit->tree != NULL)
		error = put_tree(out, edit->tree);
	if (error == 0 && edit->meta != NULL)
		error = put_tag(out, TAG_META);
	if (error == 0 && edit->meta != NULL)
		error = buffer_append_slice(out, *edit->meta);
	if (error == 0 && edit->quarantine != NULL)
		error = put_quarantine(out, edit->quarantine);
	return error;
}

/* A whole state as one edit (of an empty state). */
int manifest_state_encode(const struct manifest_state *state, struct buffer *out)
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
	int error = manifest_edit_encode(&edit, out);

	for (size_t i = 0; error == 0 && i < state->drop_count; i++)
		error = put_drop(out, &state->drops[i]);
	/* After the drops, which would end it. */
	if (error == 0 && state->quarantine != NULL)
		error = put_quarantine(out, state->quarantine);
	return error;
}

/* ---- decoding ------------------------------------------------------------------------------------------------ */

static int take_table(struct buffer_reader *reader, struct manifest_state *state)
{
	uint64_t level = buffer_read_varint(reader), run = buffer_read_varint(reader);
	struct manifest_table *table;
	struct table_meta meta = {0};
	struct engine_slice smallest, largest;
	int error;

	meta.number = buffer_read_varint(reader);
	meta.size = buffer_read_varint(reader);
	meta.digest = buffer_read_u64(reader);
	meta.entry_count = buffer_read_varint(reader);
	meta.delete_count = buffer_read_varint(reader);
	meta.raw_bytes = buffer_read_varint(reader);
	meta.drop_id = buffer_read_varint(reader);
	smallest = buffer_read_slice(reader);
	largest = buffer_read_slice(reader);
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
	return manifest_state_add(state, table);
}

static int take_drop(struct buffer_reader *reader, struct manifest_state *state)
{
	uint64_t id = buffer_read_varint(reader);
	struct engine_slice begin = buffer_read_slice(reader), end = buffer_read_slice(reader);

	return reader->bad || !id ? -EBADMSG : manifest_state_drop(state, id, begin, end);
}

static int take_field(enum tag tag, struct buffer_reader *reader, struct manifest_state *state)
{
	switch (tag) {
	case TAG_ADD:
		return take_table(reader, state);
	case TAG_REMOVE:
		return manifest_state_remove(state, buffer_read_varint(reader));
	case TAG_DROP:
		return take_drop(reader, state);
	case TAG_FORGET:
		manifest_state_forget(state, buffer_read_varint(reader));
		return 0;
	case TAG_NEXT:
		state->next_number = buffer_read_varint(reader);
		return 0;
	case TAG_LOG_FLOOR:
		state->log_floor = buffer_read_varint(reader);
		return 0;
	case TAG_FLUSHED:
		state->flushed_sequence = buffer_read_varint(reader);
		return 0;
	case TAG_CLOSED:
		state->closed_sequence = buffer_read_varint(reader);
		return 0;
	case TAG_LAST_DROP:
		state->last_drop_id = buffer_read_varint(reader);
		return 0;
	case TAG_TREE:
		state->tree.number = buffer_read_varint(reader);
		state->tree.size = buffer_read_varint(reader);
		state->tree.drop_id = buffer_read_varint(reader);
		return 0;
	case TAG_META:
		return buffer_assign(&state->meta, buffer_read_slice(reader));
	case TAG_QUARANTINE:
		quarantine_unref(&state->quarantine);
		return quarantine_decode(reader, &state->quarantine);
	}
	return -EBADMSG;
}

int manifest_edit_decode(const uint8_t *payload, size_t size, struct manifest_state *state)
{
	struct buffer_reader reader = {payload, payload + size, false};
	int error = 0;

	while (error == 0 && reader.at < reader.end) {
		error = take_field(*reader.at++, &reader, state);
		if (error == 0 && reader.bad)
			error = -EBADMSG;
	}
	return error;
}
