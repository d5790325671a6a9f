/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/wal.h"
#include "engine/disk/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { BATCH_FIXED = 12 }; /* magic and checksum */

static const uint32_t batch_magic = 0x4257564b; /* "KVWB" */

int wal_open_ahead(const struct files *files, uint64_t number, struct wal **out)
{
	struct files_path path = files_path(files, FILE_LOG, number);
	struct wal *wal = calloc(1, sizeof *wal);
	int error;

	*out = NULL;
	if (wal == NULL)
		return -ENOMEM;
	*wal = (struct wal){.files = files, .number = number, .refs = 1};
	error = files->fs->open(files->fs, path.text, FS_OPEN_CREATE, &wal->file);
	if (error) {
		free(wal);
		return error;
	}
	error = files->fs->sync_dir(files->fs, files->directory);
	if (error) {
		wal_remove(&wal);
		return error;
	}
	*out = wal;
	return 0;
}

int wal_begin(struct wal *wal, uint64_t first_sequence, uint64_t drop_id)
{
	struct format_header header = {wal->files->shard_index, wal->number, first_sequence, drop_id};
	uint8_t bytes[FORMAT_HEADER_SIZE];
	struct iovec part = {bytes, sizeof bytes};
	int error;

	assert(wal->size == 0 && first_sequence > 0);
	format_header_write(bytes, FORMAT_LOG, &header);
	error = wal->files->fs->append(wal->file, &part, 1);
	if (error == 0)
		error = wal->files->fs->sync(wal->file);
	if (error)
		return error;
	wal->last_sequence = first_sequence - 1;
	wal->drop_id = drop_id;
	wal->size = sizeof bytes;
	wal->is_synced = true;
	return 0;
}

int wal_create(const struct files *files, uint64_t number, uint64_t first_sequence, uint64_t drop_id, struct wal **out)
{
	int error = wal_open_ahead(files, number, out);

	if (error)
		return error;
	error = wal_begin(*out, first_sequence, drop_id);
	if (error)
		wal_remove(out);
	return error;
}

void wal_close(struct wal **wal)
{
	struct wal *it = *wal;

	*wal = NULL;
	if (it == NULL || --it->refs > 0)
		return;
	it->files->fs->close(it->file);
	free(it);
}

void wal_remove(struct wal **wal)
{
	if (*wal != NULL) {
		struct files_path path = files_path((*wal)->files, FILE_LOG, (*wal)->number);

		(void)fs_remove_file((*wal)->files->fs, path.text);
	}
	wal_close(wal);
}

bool wal_is_named(const struct wal *wal)
{
	struct files_path path = files_path(wal->files, FILE_LOG, wal->number);

	return wal->files->fs->is_named(wal->file, path.text) != 0;
}

struct wal *wal_ref(struct wal *wal)
{
	wal->refs++;
	return wal;
}

/* Writes the header right before the entries. Returns where it begins. */
static uint8_t *put_header(uint8_t *entries, size_t entries_size, uint64_t first_sequence, uint32_t count, uint64_t lag)
{
	uint8_t fields[4 * FORMAT_VARINT_MAX], *end = fields, *batch;

	end = format_varint_put(end, entries_size);
	end = format_varint_put(end, count);
	end = format_varint_put(end, first_sequence);
	end = format_varint_put(end, lag);
	batch = entries - (end - fields) - BATCH_FIXED;
	memcpy(batch + BATCH_FIXED, fields, (size_t)(end - fields));
	format_u32_put(batch, batch_magic);
	return batch;
}

int wal_append(struct wal *wal, uint8_t *batch, size_t size, uint64_t first_sequence, uint32_t count,
	       uint64_t durable_sequence)
{
	uint8_t *entries = batch + WAL_BATCH_ROOM, *end = batch + size;
	struct iovec part;
	int error;

	assert(size > WAL_BATCH_ROOM && count && durable_sequence < first_sequence);
	assert(first_sequence == wal->last_sequence + 1);
	batch = put_header(entries, (size_t)(end - entries), first_sequence, count,
			   first_sequence - 1 - durable_sequence);
	size = (size_t)(end - batch);
	format_u64_put(batch + 4, format_checksum(batch + BATCH_FIXED, size - BATCH_FIXED, wal->number, wal->size));
	part = (struct iovec){batch, size};
	error = wal->files->fs->append(wal->file, &part, 1);
	if (error)
		return wal->files->fs->truncate(wal->file, wal->size) ? -EIO : error;
	wal->size += size;
	wal->last_sequence = first_sequence + count - 1;
	wal->is_synced = false;
	return 0;
}

int wal_sync(struct wal *wal)
{
	return wal->files->fs->sync(wal->file);
}

/* The batch at this offset, if it is intact; its size, or 0. */
static size_t verify_batch(const struct wal_reader *reader, size_t at, struct wal_batch *out)
{
	const uint8_t *batch = reader->data + at;
	struct buffer_reader fields = {batch + BATCH_FIXED, reader->data + reader->size, false};
	uint64_t entries_size, count, first, lag;
	size_t size;

	if (reader->size - at <= BATCH_FIXED || format_u32(batch) != batch_magic)
		return 0;
	entries_size = buffer_read_varint(&fields);
	count = buffer_read_varint(&fields);
	first = buffer_read_varint(&fields);
	lag = buffer_read_varint(&fields);
	out->entries = buffer_read_bytes(&fields, entries_size);
	if (fields.bad || !count || count > UINT32_MAX || lag >= first)
		return 0;
	size = (size_t)(fields.at - batch);
	if (format_u64(batch + 4) != format_checksum(batch + BATCH_FIXED, size - BATCH_FIXED, reader->number, at))
		return 0;
	out->first_sequence = first;
	out->durable_sequence = first - 1 - lag;
	out->count = (uint32_t)count;
	return size;
}

bool wal_reader_next(struct wal_reader *reader, struct wal_batch *out)
{
	size_t size = verify_batch(reader, reader->at, out);

	reader->at += size;
	return size > 0;
}

/* How many bytes of the segment verify, from its beginning on. */
static size_t count_intact(const struct files *files, uint64_t number, const uint8_t *data, size_t size)
{
	struct wal_reader reader = {data, size, FORMAT_HEADER_SIZE, number};
	struct format_header header;
	struct wal_batch batch;

	if (format_header_read(data, size, FORMAT_LOG, files->directory, &header, NULL))
		return 0;
	while (wal_reader_next(&reader, &batch))
		;
	return reader.at;
}

int wal_read(const struct files *files, uint64_t number, uint8_t **data_out, size_t *size_out)
{
	struct files_path path = files_path(files, FILE_LOG, number);
	size_t intact, size;
	uint8_t *data;
	int error = fs_read_file(files->fs, path.text, WAL_SEGMENT_MAX, data_out, size_out);

	if (error)
		return error;
	intact = count_intact(files, number, *data_out, *size_out);
	if (intact == *size_out)
		return 0;
	if (fs_read_file_anew(files->fs, path.text, WAL_SEGMENT_MAX, &data, &size))
		return 0; /* the first reading is what there is */
	if (count_intact(files, number, data, size) > intact) {
		uint8_t *first = *data_out;

		*data_out = data;
		*size_out = size;
		data = first;
	}
	free(data);
	return 0;
}

bool wal_reader_resync(struct wal_reader *reader, uint64_t *durable_inout)
{
	bool found = false;
	uint8_t magic[4];

	format_u32_put(magic, batch_magic);
	while (reader->at < reader->size) {
		const uint8_t *from = reader->data + reader->at;
		const uint8_t *hit = memmem(from, reader->size - reader->at, magic, sizeof magic);
		struct wal_batch batch;

		if (hit == NULL)
			break;
		reader->at = (size_t)(hit - reader->data);
		if (!wal_reader_next(reader, &batch)) {
			reader->at++;
			continue;
		}
		found = true;
		if (batch.durable_sequence > *durable_inout)
			*durable_inout = batch.durable_sequence;
	}
	return found;
}

bool wal_holds_batches(const uint8_t *data, size_t size, uint64_t number)
{
	struct wal_reader reader = {data, size, FORMAT_HEADER_SIZE, number};
	struct wal_batch first;
	uint64_t durable = 0;

	if (size <= FORMAT_HEADER_SIZE)
		return false;
	return wal_reader_next(&reader, &first) || wal_reader_resync(&reader, &durable);
}

uint8_t *wal_entry_put(uint8_t *out, const struct wal_entry *entry)
{
	*out++ = (uint8_t)(entry->type | (entry->tree_delta ? WAL_ENTRY_DELTA : 0));
	out = format_varint_put(out, entry->key.size);
	out = format_varint_put(out, entry->value.size);
	if (entry->tree_delta) {
		format_u64_put(out, entry->tree_delta);
		out += 8;
	}
	memcpy(out, entry->key.data, entry->key.size);
	out += entry->key.size;
	if (entry->value.size)
		memcpy(out, entry->value.data, entry->value.size);
	return out + entry->value.size;
}

int wal_entry_next(struct buffer_reader *reader, struct wal_entry *out)
{
	uint64_t key_size, value_size;
	uint8_t flags;

	if (reader->at == reader->end)
		return 0;
	flags = *reader->at++;
	key_size = buffer_read_varint(reader);
	value_size = buffer_read_varint(reader);
	if (key_size < ENGINE_KEY_MIN || key_size > ENGINE_KEY_MAX || value_size > ENGINE_VALUE_MAX ||
	    (flags & ~WAL_ENTRY_DELTA) > ENTRY_DELETE)
		return -EBADMSG;
	out->type = flags & ~WAL_ENTRY_DELTA;
	out->tree_delta = flags & WAL_ENTRY_DELTA ? buffer_read_u64(reader) : 0;
	out->key = buffer_read_bytes(reader, key_size);
	out->value = buffer_read_bytes(reader, value_size);
	return reader->bad ? -EBADMSG : 1;
}
