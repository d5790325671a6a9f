/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/inspect.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/disk/buffer.h"
#include "engine/shard/shard.h"

enum { KEY_SHOWN = 48, PARTITIONS_SHOWN = 24 };

struct inspect {
	const struct fs *fs;
	const char *directory;
	enum inspect_what what;
	FILE *out;
	struct inspect_result *result;
	struct files files; /* of the shard at hand */
	struct manifest_state state;
	uint64_t last_sequence; /* of the shard, as far as its log is intact */
};

static bool shows_files(const struct inspect *it)
{
	return it->what == INSPECT_FILES || it->what == INSPECT_ENTRIES;
}

static void found_damage(struct inspect *it, const char *text)
{
	it->result->damaged++;
	fprintf(it->out, "DAMAGED %s\n", text);
}

/* Printable bytes as they are, others as \xNN. */
static void print_key(FILE *out, struct engine_slice key)
{
	const uint8_t *bytes = key.data;

	for (size_t i = 0; i < key.size && i < KEY_SHOWN; i++) {
		if (isprint(bytes[i]) && bytes[i] != '\\')
			fputc(bytes[i], out);
		else
			fprintf(out, "\\x%02x", bytes[i]);
	}
	if (key.size > KEY_SHOWN)
		fprintf(out, "... (%zu bytes)", key.size);
}

static void print_entry(struct inspect *it, struct engine_slice key, enum entry_type type, size_t value_size)
{
	if (it->what != INSPECT_ENTRIES)
		return;
	fprintf(it->out, "      %s ", type == ENTRY_DELETE ? "delete" : "put   ");
	print_key(it->out, key);
	if (type != ENTRY_DELETE)
		fprintf(it->out, " = %zu bytes", value_size);
	fputc('\n', it->out);
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

/* The findings on the table's entries so far. */
struct table_scan {
	struct buffer last_key;
	uint64_t entries, deletes;
};

static int scan_block(struct inspect *it, const struct sst *sst, const struct block *block, struct table_scan *scan)
{
	struct buffer key = {0};
	int error = 0;

	for (uint32_t i = 0; error == 0 && i < block->view.count; i++) {
		struct block_entry entry;

		block_entry_at(&block->view, i, &entry);
		error = buffer_assign(&key, (struct engine_slice){block->view.prefix, block->view.prefix_size});
		if (error == 0)
			error = buffer_append(&key, entry.suffix.data, entry.suffix.size);
		if (error)
			break;
		if (scan->entries && format_compare(buffer_slice(&scan->last_key), buffer_slice(&key)) >= 0) {
			fprintf(it->out, "table %" PRIu64 ": ", sst->meta.number);
			found_damage(it, "keys are not in order");
		}
		print_entry(it, buffer_slice(&key), entry.type, entry.value.size);
		scan->entries++;
		scan->deletes += entry.type == ENTRY_DELETE;
		error = buffer_assign(&scan->last_key, buffer_slice(&key));
	}
	buffer_fini(&key);
	return error;
}

static int scan_table(struct inspect *it, struct sst *sst)
{
	struct table_scan scan = {0};
	struct engine_error why;
	struct sst_stream stream;
	bool whole = true;
	int error = 0;

	sst_stream_init(&stream, sst);
	for (uint32_t i = 0; error == 0 && i < sst->block_count; i++) {
		struct block *block;

		error = sst_stream_block(&stream, i, &block, &why);
		if (error == -EBADMSG) {
			found_damage(it, why.text);
			whole = false;
			error = 0;
			continue;
		}
		if (error)
			break;
		error = scan_block(it, sst, block, &scan);
		block_release(block);
		it->result->blocks++;
	}
	if (error == 0 && whole && (scan.entries != sst->meta.entry_count || scan.deletes != sst->meta.delete_count)) {
		fprintf(it->out, "table %" PRIu64 ": ", sst->meta.number);
		found_damage(it, "the manifest counts other entries than there are");
	}
	it->result->entries += scan.entries;
	buffer_fini(&scan.last_key);
	sst_stream_fini(&stream);
	return error;
}

static void print_table(struct inspect *it, const struct manifest_table *table)
{
	const struct table_meta *meta = &table->meta;

	fprintf(it->out,
		"  table %" PRIu64 "  level %u run %" PRIu64 "  %" PRIu64 " bytes, %" PRIu64 " entries (%" PRIu64
		" deletes)  ",
		meta->number, table->level, table->run, meta->size, meta->entry_count, meta->delete_count);
	print_key(it->out, buffer_slice(&meta->smallest));
	fputs(" .. ", it->out);
	print_key(it->out, buffer_slice(&meta->largest));
	fputc('\n', it->out);
}

static int inspect_table(struct inspect *it, struct cache *cache, const struct manifest_table *table)
{
	struct engine_error why = {{0}};
	struct sst *sst;
	int error;

	if (shows_files(it))
		print_table(it, table);
	it->result->tables++;
	it->result->bytes += table->meta.size;
	if (it->what != INSPECT_VERIFY && it->what != INSPECT_ENTRIES)
		return 0;
	error = sst_open(&it->files, cache, &table->meta, &sst, &why);
	if (error == -EBADMSG || error == -ENOTSUP) {
		found_damage(it, why.text);
		return 0;
	}
	if (error)
		return error;
	error = scan_table(it, sst);
	if (error == 0 && it->what == INSPECT_VERIFY && sst_verify_digest(sst, &why))
		found_damage(it, why.text);
	sst_unref(&sst);
	return error;
}

static int inspect_tables(struct inspect *it)
{
	struct cache *cache;
	int error = cache_create(0, &cache);

	for (size_t i = 0; error == 0 && i < it->state.table_count; i++)
		error = inspect_table(it, cache, it->state.tables[i]);
	cache_destroy(&cache);
	return error;
}

/* ---- logs ---------------------------------------------------------------------------------------------------- */

static void inspect_batch(struct inspect *it, const char *path, uint64_t at, const struct wal_batch *batch)
{
	const uint8_t *bytes = batch->entries.data;
	struct buffer_reader reader = {bytes, bytes + batch->entries.size, false};
	struct wal_entry entry;
	uint32_t count = 0;

	if (shows_files(it))
		fprintf(it->out,
			"    batch at %" PRIu64 ": sequence %" PRIu64 ", %u entries, %zu bytes; durable then: %" PRIu64
			"\n",
			at, batch->first_sequence, batch->count, batch->entries.size, batch->durable_sequence);
	while (wal_entry_next(&reader, &entry) == 1) {
		print_entry(it, entry.key, entry.type, entry.value.size);
		count++;
	}
	it->result->batches++;
	if (count != batch->count || reader.at != reader.end) {
		fprintf(it->out, "%s: batch at %" PRIu64 ": ", path, at);
		found_damage(it, "its entries cannot be read");
	}
}

static void inspect_segment(struct inspect *it, const char *path, uint64_t number, uint8_t *data, size_t size)
{
	struct wal_reader reader = {data, size, FORMAT_HEADER_SIZE, number};
	struct engine_error why;
	struct format_header header;
	struct wal_batch batch;
	uint64_t durable = 0, last = 0;

	if (!wal_holds_batches(data, size, number)) {
		if (shows_files(it))
			fprintf(it->out, "  log %" PRIu64 "  %zu bytes, never written to\n", number, size);
		return;
	}
	if (format_header_read(data, size, FORMAT_LOG, path, &header, &why)) {
		found_damage(it, why.text);
		return;
	}
	if (shows_files(it))
		fprintf(it->out, "  log %" PRIu64 "  %zu bytes, from sequence %" PRIu64 "\n", number, size, header.a);
	for (uint64_t at = reader.at; wal_reader_next(&reader, &batch); at = reader.at) {
		inspect_batch(it, path, at, &batch);
		last = batch.first_sequence + batch.count - 1;
	}
	if (last > it->last_sequence)
		it->last_sequence = last;
	if (reader.at == size)
		return;
	fprintf(it->out, "%s: ends at offset %zu of %zu\n", path, reader.at, size);
	if ((wal_reader_resync(&reader, &durable) && durable > last) || it->state.closed_sequence > last)
		found_damage(it, "a batch is damaged that had been synced");
	else
		fprintf(it->out, "  a torn tail: nothing from here on is known to have been synced\n");
}

static int visit_log(void *arg, const char *name)
{
	struct inspect *it = arg;
	struct files_path path;
	uint64_t number;
	uint8_t *data;
	size_t size;
	int error;

	if (files_parse(name, &number) != FILE_LOG || number < it->state.log_floor)
		return 0;
	path = files_path(&it->files, FILE_LOG, number);
	error = wal_read(&it->files, number, &data, &size);
	if (error)
		return error;
	it->result->logs++;
	it->result->bytes += size;
	if (it->what != INSPECT_STATS)
		inspect_segment(it, path.text, number, data, size);
	free(data);
	return 0;
}

/* ---- shard and store ----------------------------------------------------------------------------------------- */

static void print_quarantine(struct inspect *it)
{
	const struct quarantine *quarantine = it->state.quarantine;
	int32_t at = quarantine_first(quarantine, 0, UINT16_MAX);
	uint32_t count = quarantine_count(quarantine);

	if (!count)
		return;
	it->result->quarantined += count;
	fprintf(it->out, "  QUARANTINED: %u partitions:", count);
	for (int i = 0; at >= 0 && i < PARTITIONS_SHOWN; i++) {
		fprintf(it->out, " %d", at);
		at = quarantine_first(quarantine, (uint32_t)at + 1, UINT16_MAX);
	}
	fprintf(it->out, "%s\n    %s\n", at >= 0 ? " ..." : "", quarantine->reason.text);
}

static void print_stats(struct inspect *it)
{
	uint64_t entries = 0, deletes = 0;

	for (uint32_t level = 0; level < MANIFEST_LEVELS; level++) {
		uint64_t bytes = 0, tables = 0, raw = 0;

		for (size_t i = 0; i < it->state.table_count; i++) {
			const struct manifest_table *table = it->state.tables[i];

			if (table->level != level)
				continue;
			bytes += table->meta.size;
			raw += table->meta.raw_bytes;
			entries += table->meta.entry_count;
			deletes += table->meta.delete_count;
			tables++;
		}
		if (tables)
			fprintf(it->out,
				"  level %u: %" PRIu64 " tables, %" PRIu64 " bytes (%" PRIu64 " of keys and values)\n",
				level, tables, bytes, raw);
	}
	fprintf(it->out,
		"  %" PRIu64 " entries in tables, %" PRIu64 " of them deletes; %zu drops pending; meta %zu bytes\n",
		entries, deletes, it->state.drop_count, it->state.meta.size);
	print_quarantine(it);
	fprintf(it->out, "  flushed up to sequence %" PRIu64 "; log from segment %" PRIu64 "; next file %" PRIu64 "\n",
		it->state.flushed_sequence, it->state.log_floor, it->state.next_number);
}

static void inspect_tree(struct inspect *it)
{
	struct hashtree tree = {0};
	struct engine_error why;

	if (it->what != INSPECT_VERIFY || !it->state.tree.number)
		return;
	it->result->bytes += it->state.tree.size;
	if (job_read_tree(&it->files, &it->state.tree, &tree, &why)) {
		found_damage(it, why.text);
		fprintf(it->out, "  a node counts these trees anew when it opens the store\n");
	}
	hashtree_fini(&tree);
}

static void found_short_log(struct inspect *it)
{
	char text[FILES_PATH_MAX + 160];

	snprintf(text, sizeof text,
		 "%s: the log ends at sequence %" PRIu64 ", but the store was closed at %" PRIu64 ": writes are lost",
		 it->files.directory, it->last_sequence, it->state.closed_sequence);
	found_damage(it, text);
}

static int inspect_shard(struct inspect *it, uint32_t index)
{
	struct engine_error why = {{0}};
	uint64_t tail;
	int error;

	files_init(&it->files, it->fs, it->directory, index);
	fprintf(it->out, "shard %u\n", index);
	error = manifest_read(&it->files, &it->state, &tail, &why);
	if (error == -EBADMSG || error == -ENOTSUP) {
		found_damage(it, why.text);
		return 0;
	}
	if (error)
		return error;
	if (it->what != INSPECT_VERIFY)
		print_stats(it);
	else
		print_quarantine(it);
	if (tail)
		fprintf(it->out, "  manifest: %" PRIu64 " bytes at its end are a torn append\n", tail);
	error = inspect_tables(it);
	it->last_sequence = it->state.flushed_sequence;
	if (error == 0)
		error = it->fs->list(it->fs, it->files.directory, visit_log, it);
	if (error == 0 && it->what != INSPECT_STATS && it->last_sequence < it->state.closed_sequence)
		found_short_log(it);
	inspect_tree(it);
	manifest_state_fini(&it->state);
	return error;
}

int engine_inspect(const struct fs *fs, const char *directory, enum inspect_what what, FILE *out,
		   struct inspect_result *result_out, struct engine_error *error_out)
{
	struct inspect it = {.fs = fs != NULL ? fs : fs_posix(), .directory = directory, .what = what, .out = out};
	char path[FILES_PATH_MAX];
	struct fs_file *lock;
	uint32_t count = 0;
	int error;

	*result_out = (struct inspect_result){0};
	it.result = result_out;
	if (strlen(directory) >= FILES_DIRECTORY_MAX)
		return format_error(error_out, -EINVAL, "the directory's name is too long");
	error = engine_read_shard_count(it.fs, directory, &count, error_out);
	if (error == -ENOENT)
		return format_error(error_out, error,
				    "%s/STORE is not there: is this the directory of a store (a node's is `engine` in "
				    "its data directory)?",
				    directory);
	if (error)
		return error;
	snprintf(path, sizeof path, "%s/LOCK", directory);
	error = it.fs->lock(it.fs, path, &lock);
	if (error)
		return format_error(error_out, error, "%s: %s", path,
				    error == -EWOULDBLOCK ? "held: stop the process that uses the store"
							  : strerror(-error));
	for (uint32_t i = 0; error == 0 && i < count; i++)
		error = inspect_shard(&it, i);
	it.fs->close(lock);
	return error ? format_error(error_out, error, "%s: %s", it.files.directory, strerror(-error)) : 0;
}
