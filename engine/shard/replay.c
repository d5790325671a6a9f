/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/shard/replay.h"
#include "engine/disk/buffer.h"
#include "engine/partition/partition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The trees as they were when the drops up to this one had happened. */
static void apply_drops(struct replay *replay, uint64_t drop_id)
{
	const struct manifest_state *state = &replay->shard->state;

	for (size_t i = 0; i < state->drop_count; i++) {
		const struct manifest_drop *drop = &state->drops[i];

		if (drop->id > replay->drop_id && drop->id <= drop_id)
			hashtree_zero_range(&replay->shard->tree, buffer_slice(&drop->begin), buffer_slice(&drop->end));
	}
	if (drop_id > replay->drop_id)
		replay->drop_id = drop_id;
}

static int replay_entry(struct shard *shard, struct memtable *memtable, const struct wal_entry *entry)
{
	uint16_t partition = partition_of(entry->key);
	int error = memtable_add(memtable, entry->key, entry->value, entry->type, shard->sequence + 1);

	if (error)
		return error;
	if (entry->tree_delta) {
		uint32_t leaf = engine_tree_leaf(entry->key);

		error = hashtree_prepare(&shard->tree, partition, leaf);
		if (error)
			return error;
		hashtree_apply(&shard->tree, partition, leaf, entry->tree_delta);
		shard->is_tree_changed = true;
	}
	shard->sequence++;
	return 0;
}

static int replay_batch(struct replay *replay, struct memtable *memtable, const struct wal_batch *batch)
{
	const uint8_t *bytes = batch->entries.data;
	struct buffer_reader reader = {bytes, bytes + batch->entries.size, false};
	struct wal_entry entry;
	int error;

	for (uint32_t i = 0; i < batch->count; i++) {
		error = wal_entry_next(&reader, &entry);
		if (error == 1)
			error = replay_entry(replay->shard, memtable, &entry);
		else
			error = -EBADMSG;
		if (error)
			return error;
	}
	replay->shard->stats.recovered_batches++;
	if (batch->durable_sequence > replay->shard->durable_sequence)
		replay->shard->durable_sequence = batch->durable_sequence;
	return reader.at == reader.end ? 0 : -EBADMSG;
}

/* The memtable that takes the segment's entries: the last one goes on while it is small and no drop came between. */
static int memtable_for(struct shard *shard, uint64_t log, uint64_t drop_id, struct retired **out)
{
	struct retired *last = shard->retired_count ? &shard->retired[shard->retired_count - 1] : NULL;
	struct retired *grown;
	int error;

	if (last != NULL && last->memtable->drop_id == drop_id &&
	    memtable_bytes(last->memtable) < shard->options.memtable_bytes) {
		*out = last;
		return 0;
	}
	grown = realloc(shard->retired, (shard->retired_count + 1) * sizeof *grown);
	if (grown == NULL)
		return -ENOMEM;
	shard->retired = grown;
	last = &grown[shard->retired_count];
	*last = (struct retired){.first_log = log, .last_log = log};
	error = memtable_create(drop_id, &last->memtable);
	if (error)
		return error;
	shard->retired_count++;
	*out = last;
	return 0;
}

/* Notes that the log ends here, and what intact batches behind say. */
static void note_tear(struct replay *replay, uint64_t log, struct wal_reader *reader)
{
	if (!replay->is_torn) {
		replay->is_torn = true;
		replay->torn_log = log;
		replay->torn_at = reader->at;
	}
	replay->shard->stats.torn_tail_bytes += reader->size - reader->at;
	(void)wal_reader_resync(reader, &replay->durable_seen);
}

/* Acknowledged data is damaged. The first finding is the one to tell. */
static void note_damage(struct replay *replay, const char *path, uint64_t at, const char *what)
{
	const struct shard *shard = replay->shard;

	if (replay->is_damaged)
		return;
	replay->is_damaged = true;
	format_error(&replay->found, -EBADMSG,
		     "%.200s: %.100s at offset %" PRIu64
		     ": acknowledged writes are lost; all partitions of shard %u are "
		     "quarantined: drop and refill them from their replicas",
		     path, what, at, shard->files.shard_index);
}

/* The log cannot be followed beyond this place, whatever comes behind it. */
static void end_here(struct replay *replay, uint64_t log, struct wal_reader *reader, uint64_t at, const char *what)
{
	struct files_path path = files_path(&replay->shard->files, FILE_LOG, log);

	note_damage(replay, path.text, at, what);
	reader->at = at;
	note_tear(replay, log, reader);
}

static int replay_batches(struct replay *replay, uint64_t log, uint64_t drop_id, struct wal_reader *reader)
{
	struct shard *shard = replay->shard;
	struct retired *retired = NULL;
	struct wal_batch batch;
	int error = reader->at < reader->size ? memtable_for(shard, log, drop_id, &retired) : 0;

	while (error == 0 && reader->at < reader->size) {
		uint64_t at = reader->at;

		if (!wal_reader_next(reader, &batch)) {
			note_tear(replay, log, reader);
			break;
		}
		if (batch.first_sequence != shard->sequence + 1) {
			end_here(replay, log, reader, at, "a batch out of order");
			break;
		}
		error = replay_batch(replay, retired->memtable, &batch);
		retired->last_sequence = shard->sequence;
		retired->last_log = log;
		if (error == -EBADMSG) {
			end_here(replay, log, reader, at, "a batch that cannot be read");
			return 0;
		}
	}
	return error;
}

static int check_log_header(struct replay *replay, const char *path, uint64_t log, const struct format_header *header)
{
	const struct shard *shard = replay->shard;

	if (header->number != log || header->shard != shard->files.shard_index)
		return format_error(replay->error_out, -EBADMSG,
				    "%s: is segment %" PRIu64
				    " of shard %u: files were mixed up; put each back in its place",
				    path, header->number, header->shard);
	if (header->b > shard->state.last_drop_id)
		return format_error(
			replay->error_out, -EBADMSG,
			"%s: knows of drop %" PRIu64 ", the manifest only of %" PRIu64
			": the manifest is not the one of this log; restore both from a backup, or empty the "
			"directory and refill it from replicas",
			path, header->b, shard->state.last_drop_id);
	return 0;
}

/* A segment whose making was cut short, or that was never written to: it says nothing. The header is synced before the
 * first batch is written, so a damaged one in front of intact batches is damage. */
static int replay_log(struct replay *replay, struct replay_log *log, uint8_t *data, size_t size)
{
	struct shard *shard = replay->shard;
	struct files_path path = files_path(&shard->files, FILE_LOG, log->number);
	struct wal_reader reader = {data, size, 0, log->number};
	struct format_header header;
	bool is_used = wal_holds_batches(data, size, log->number);
	int error;

	/* Opened ahead and never begun. */
	if (size == 0) {
		log->is_unused = true;
		return 0;
	}
	if (replay->is_torn) {
		note_tear(replay, log->number, &reader);
		return 0;
	}
	error = format_header_read(data, size, FORMAT_LOG, path.text, &header, replay->error_out);
	if (error == 0 && (error = check_log_header(replay, path.text, log->number, &header)))
		return error;
	if (error && error != -EBADMSG)
		return error;
	if (!is_used) {
		log->is_unused = true;
		shard->stats.torn_tail_bytes += size > FORMAT_HEADER_SIZE ? size - FORMAT_HEADER_SIZE : 0;
	} else if (error) {
		end_here(replay, log->number, &reader, 0, "the header is damaged");
	} else if (header.a > shard->sequence + 1) {
		/* The segment before ended early, at the end of a batch. */
		note_tear(replay, log->number, &reader);
	} else if (header.a != shard->sequence + 1) {
		end_here(replay, log->number, &reader, 0, "a segment out of order");
	} else {
		apply_drops(replay, header.b);
		reader.at = FORMAT_HEADER_SIZE;
		return replay_batches(replay, log->number, header.b, &reader);
	}
	return 0;
}

static int replay_logs(struct replay *replay)
{
	struct shard *shard = replay->shard;
	int error = 0;

	for (size_t i = 0; error == 0 && i < replay->log_count; i++) {
		struct replay_log *log = &replay->logs[i];
		struct files_path path = files_path(&shard->files, FILE_LOG, log->number);
		uint8_t *data;
		size_t size;

		error = wal_read(&shard->files, log->number, &data, &size);
		if (error)
			return format_error(replay->error_out, error, "%s: cannot read: %s", path.text,
					    strerror(-error));
		error = replay_log(replay, log, data, size);
		free(data);
	}
	return error;
}

uint64_t replay_acknowledged(const struct replay *replay)
{
	const struct shard *shard = replay->shard;
	uint64_t acknowledged = replay->durable_seen;

	if (shard->state.closed_sequence > acknowledged)
		acknowledged = shard->state.closed_sequence;
	return shard->durable_sequence > acknowledged ? shard->durable_sequence : acknowledged;
}

/* Was anything lost that had been synced? */
static void check_complete(struct replay *replay)
{
	struct shard *shard = replay->shard;
	uint64_t acknowledged = replay_acknowledged(replay);
	struct files_path path = files_path(&shard->files, FILE_LOG, replay->torn_log);
	char what[160];

	if (acknowledged <= shard->sequence)
		return;
	snprintf(what, sizeof what, "the log is intact up to sequence %" PRIu64 ", but %" PRIu64 " was synced; it ends",
		 shard->sequence, acknowledged);
	note_damage(replay, replay->is_torn ? path.text : shard->files.directory, replay->torn_at, what);
}

int replay_cut_tear(struct replay *replay)
{
	const struct fs *fs = replay->shard->files.fs;
	struct fs_file *file;
	int error = 0;

	if (!replay->is_torn)
		return 0;
	/* Later segments go first, the last one first: at no time is there a hole. */
	for (size_t i = replay->log_count; error == 0 && i-- > 0;) {
		const struct replay_log *log = &replay->logs[i];
		struct files_path path = files_path(&replay->shard->files, FILE_LOG, log->number);

		if (log->number < replay->torn_log)
			break;
		if (log->number > replay->torn_log || replay->torn_at <= FORMAT_HEADER_SIZE) {
			error = fs_remove_file(fs, path.text);
			continue;
		}
		error = fs->open(fs, path.text, FS_OPEN_APPEND, &file);
		if (error)
			break;
		error = fs->truncate(file, replay->torn_at);
		if (error == 0)
			error = fs->sync(file);
		fs->close(file);
	}
	if (error == 0)
		error = fs->sync_dir(fs, replay->shard->files.directory);
	return error;
}

int replay_set_aside(struct replay *replay)
{
	const struct fs *fs = replay->shard->files.fs;
	int error = 0;

	for (size_t i = replay->log_count; replay->is_torn && error == 0 && i-- > 0;) {
		struct replay_log *log = &replay->logs[i];
		struct files_path path = files_path(&replay->shard->files, FILE_LOG, log->number);
		char aside[FILES_PATH_MAX + 16];

		if (log->number < replay->torn_log)
			break;
		if (log->is_unused || log->is_aside)
			continue;
		snprintf(aside, sizeof aside, "%s.damaged", path.text);
		error = fs->rename(fs, path.text, aside);
		log->is_aside = error == 0;
	}
	return error;
}

/* Segments without an entry leave an empty memtable, which is nothing to flush. */
static void drop_empty(struct shard *shard)
{
	size_t kept = 0;

	for (size_t i = 0; i < shard->retired_count; i++) {
		if (shard->retired[i].memtable->entry_count)
			shard->retired[kept++] = shard->retired[i];
		else
			retired_fini(&shard->retired[i]);
	}
	shard->retired_count = kept;
}

static int save_tree(struct shard *shard)
{
	struct retired *last = shard->retired_count ? &shard->retired[shard->retired_count - 1] : NULL;

	if (last == NULL || !(shard->is_tree_changed || shard->state.tree.number))
		return 0;
	last->has_tree = true;
	last->tree_drop_id = shard->state.last_drop_id;
	shard->is_tree_changed = false;
	return hashtree_save(&shard->tree, &last->tree);
}

/* The hash trees as last saved. Damaged ones are recounted, when the caller gave the function for that: it made the hashes. */
static int load_tree(struct replay *replay, struct engine_error *error_out)
{
	struct shard *shard = replay->shard;
	struct engine_error found = {{0}};
	int error = job_read_tree(&shard->files, &shard->state.tree, &shard->tree, &found);

	if (error != -EBADMSG)
		return error ? format_error(error_out, error, "%s", found.text) : 0;
	hashtree_fini(&shard->tree);
	if (shard->options.hash_entry != NULL)
		return shard_recount(shard, &found);
	replay->is_damaged = true;
	format_error(&replay->found, error,
		     "%.300s; all partitions of shard %u are quarantined: drop and refill them from their replicas",
		     found.text, shard->files.shard_index);
	shard->state.tree = (struct manifest_tree){0};
	return 0;
}

int replay_all(struct replay *replay)
{
	struct shard *shard = replay->shard;
	struct partition_row all = shard_partitions(shard);
	int error = 0;

	shard->sequence = shard->durable_sequence = shard->state.flushed_sequence;
	if (shard->state.tree.number)
		error = load_tree(replay, replay->error_out);
	if (error == 0)
		error = replay_logs(replay);
	if (error)
		return error;
	check_complete(replay);
	apply_drops(replay, shard->state.last_drop_id);
	drop_empty(shard);
	error = save_tree(shard);
	if (error == 0 && replay->is_damaged)
		error = quarantine_extend(&shard->state.quarantine, &all, &replay->found);
	if (error)
		return format_error(replay->error_out, error, "%s: cannot finish recovery: %s", shard->files.directory,
				    strerror(-error));
	return 0;
}
