/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state/manifest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/disk/buffer.h"
#include "engine/state/manifest_edit.h"

enum { RECORD_HEADER = 24 };
#define MANIFEST_MAX ((uint64_t)1 << 30) /* bytes; a record is far smaller, a state is written as one */

#define RESTORE                                                                                                        \
	"it names the files of the shard: restore the store from a backup, or empty it and refill it from its "        \
	"replicas"

static const uint32_t record_magic = 0x524d564b; /* "KVMR" */

/* ---- reading ------------------------------------------------------------------------------------------------- */

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
			error = manifest_edit_decode(scan->data + at + RECORD_HEADER, size - RECORD_HEADER, out);
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

	return buffer_append(out, room, sizeof room);
}

/* Completes the record that begins at `from` and appends its second copy. */
static int record_end(struct buffer *out, size_t from, uint64_t number, uint64_t index)
{
	size_t size = out->size - from;
	uint8_t *record;
	int error;

	assert(out->size >= from + RECORD_HEADER);
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
	error = buffer_append(out, bytes, sizeof bytes);
	if (error == 0)
		error = record_begin(out);
	if (error == 0)
		error = manifest_state_encode(state, out);
	return error ? error : record_end(out, FORMAT_HEADER_SIZE, number, 0);
}

int manifest_create(const struct files *files, uint64_t number, const struct manifest_state *state,
		    struct manifest **out)
{
	struct files_path path = files_path(files, FILE_MANIFEST, 0);
	struct manifest *manifest = calloc(1, sizeof *manifest);
	struct buffer bytes = {0};
	int error = manifest != NULL ? encode_file(files, number, state, &bytes) : -ENOMEM;

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

	assert(manifest->next_index > 0); /* 0 is the state */
	assert(manifest->size > FORMAT_HEADER_SIZE);
	assert(error || manifest->is_name_synced);
	if (error == 0)
		error = record_begin(&bytes);
	if (error == 0)
		error = manifest_edit_encode(edit, &bytes);
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
