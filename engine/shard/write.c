/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/buffer.h"
#include "engine/shard/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/disk/batch.h"
#include "engine/partition/partition.h"

enum { SPACE_CHECK_BYTES = 1024 * 1024 };

int shard_fail(struct shard *shard, int error, const char *what)
{
	const char *directory = shard->files.directory;

	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return format_error(&shard->error, -ENOSPC, "%s: the disk is full: free some space", directory);
	case -EMFILE:
	case -ENFILE:
		return format_error(&shard->error, error, "%s: %s failed: %s: raise the limit of open files", directory,
				    what, strerror(-error));
	case -ENOMEM:
		return format_error(&shard->error, error, "%s: %s failed: out of memory", directory, what);
	default:
		return shard_die(shard, error, what);
	}
}

/* ---- log ----------------------------------------------------------------------------------------------------- */

int shard_write_pending(struct shard *shard)
{
	uint64_t first = shard->sequence - shard->pending_count + 1, size_before = shard->log->size;
	int error;

	assert(shard->pending_count <= shard->sequence);
	if (!shard->pending_count)
		return 0;
	error = wal_append(shard->log, shard->pending.data, shard->pending.size, first, shard->pending_count,
			   shard->durable_sequence);
	if (error) {
		shard->is_full = true;
		return shard_fail(shard, error, "writing the log");
	}
	shard->pending.size = 0;
	shard->pending_count = 0;
	shard->stats.log_bytes_written += shard->log->size - size_before;
	return 0;
}

uint64_t shard_sequence(const struct shard *shard)
{
	return shard->sequence;
}

uint64_t shard_durable_sequence(const struct shard *shard)
{
	return shard->durable_sequence;
}

/* ---- rotation ------------------------------------------------------------------------------------------------ */

/* The segment just left behind: to be synced later, or gone when it holds nothing. */
static void leave_log(struct shard *shard, struct wal *log, bool is_empty)
{
	struct wal **tail = &shard->unsynced;

	assert(log->next == NULL);
	if (is_empty) {
		wal_remove(&log);
		return;
	}
	if (log->is_synced) {
		wal_close(&log);
		return;
	}
	while (*tail != NULL)
		tail = &(*tail)->next;
	*tail = log;
}

/* What becomes of the memtable being written. On an error, too, *out is the caller's to free. */
static int prepare_retired(struct shard *shard, struct retired *out)
{
	struct memtable *memtable = shard_memtable(shard);
	struct retired *grown = realloc(shard->retired, (shard->retired_count + 1) * sizeof *grown);

	if (grown == NULL)
		return -ENOMEM;
	shard->retired = grown;
	*out = (struct retired){
		.memtable = memtable,
		.first_log = shard->log->number,
		.last_log = shard->log->number,
		.last_sequence = shard->sequence,
		.tree_drop_id = shard->state.last_drop_id,
		.has_tree = shard->is_tree_changed || (shard->state.tree.number && shard->state.drop_count),
	};
	memtable_ref(memtable);
	return out->has_tree ? hashtree_save(&shard->tree, &out->tree) : 0;
}

void shard_open_ahead(struct shard *shard)
{
	if (shard->next_log == NULL)
		(void)!wal_open_ahead(&shard->files, shard_new_number(shard), &shard->next_log);
}

/* Begins the segment that was opened ahead, or a new one. */
static int begin_log(struct shard *shard, struct wal **out)
{
	int error = 0;

	if (shard->next_log == NULL)
		error = wal_open_ahead(&shard->files, shard_new_number(shard), &shard->next_log);
	if (error == 0)
		error = wal_begin(shard->next_log, shard->sequence + 1, shard->state.last_drop_id);
	if (error) {
		wal_remove(&shard->next_log);
		return shard_fail(shard, error, "beginning a log segment");
	}
	*out = shard->next_log;
	shard->next_log = NULL;
	return 0;
}

int shard_rotate(struct shard *shard)
{
	bool is_empty = shard_memtable(shard)->entry_count == 0 && !shard->pending_count;
	struct retired retired = {0};
	struct memtable *memtable = NULL;
	struct view *view = NULL;
	struct wal *log = NULL;
	int error = shard_write_pending(shard);

	if (error == 0)
		error = memtable_create(shard->state.last_drop_id, &memtable);
	if (error == 0 && !is_empty)
		error = prepare_retired(shard, &retired);
	if (error == 0 && !is_empty) {
		shard->retired[shard->retired_count++] = retired;
		error = shard_make_view(shard, memtable, 0, shard->view->tables, &view);
		shard->retired_count--;
	} else if (error == 0) {
		error = shard_make_view(shard, memtable, 0, shard->view->tables, &view);
	}
	if (error == 0)
		error = begin_log(shard, &log);
	memtable_unref(&memtable);
	if (error) {
		retired_fini(&retired);
		if (view != NULL)
			view_unref(&view);
		return error;
	}
	if (!is_empty) {
		shard->retired_count++;
		if (retired.has_tree)
			shard->is_tree_changed = false;
	}
	view_unref(&shard->view);
	shard->view = view;
	/* An empty memtable may still stand for entries: deletes undone leave none, but written batches do. */
	leave_log(shard, shard->log, is_empty && shard->log->size == FORMAT_HEADER_SIZE);
	shard->log = log;
	shard->must_rotate = false;
	shard_open_ahead(shard);
	return 0;
}

/* ---- write --------------------------------------------------------------------------------------------------- */

/* Keeps the last of the disk for compactions, which free space: two memtables' worth. */
static int check_space(struct shard *shard)
{
	const struct fs *fs = shard->files.fs;
	uint64_t reserve = 2 * (uint64_t)shard->options.memtable_bytes, free_bytes;

	if (!shard->is_full && shard->stats.log_bytes_written - shard->space_checked_at < SPACE_CHECK_BYTES)
		return 0;
	shard->space_checked_at = shard->stats.log_bytes_written;
	if (fs->free_bytes(fs, shard->files.directory, &free_bytes))
		free_bytes = reserve; /* Unknown: the write itself will tell. */
	shard->is_full = free_bytes < reserve;
	if (!shard->is_full)
		return 0;
	return format_error(&shard->error, -ENOSPC,
			    "%s: %llu bytes are free, %llu are kept for compaction: free some space",
			    shard->files.directory, (unsigned long long)free_bytes, (unsigned long long)reserve);
}

/* Everything that may refuse a write, before anything is changed. */
static int make_room(struct shard *shard, const struct engine_batch *batch)
{
	int error;

	if (shard->is_dead)
		return -EIO;
	if (shard->recovery != NULL && (error = shard_begin(shard)))
		return error;
	if (shard->is_full && (error = shard_write_pending(shard)))
		return error;
	if (shard->state.quarantine != NULL && (error = shard_quarantine_check(shard, batch)))
		return error;
	error = check_space(shard);
	if (error)
		return error;
	if (shard->pending.size + batch->entries.size > SHARD_PENDING_MAX && (error = shard_write_pending(shard)))
		return error;
	if (!shard->must_rotate && memtable_bytes(shard_memtable(shard)) < shard->options.memtable_bytes)
		return 0;
	if (shard_pressure(shard) >= 1000)
		return -EAGAIN;
	error = shard_rotate(shard);
	/* No descriptor or memory for the next segment: this one goes on until that passes, within what memtables may take. */
	if (error == -EMFILE || error == -ENFILE || error == -ENOMEM)
		return shard->must_rotate ? error : shard_memory_is_full(shard) ? -EAGAIN : 0;
	return error;
}

static int prepare_trees(struct shard *shard, const struct engine_batch *batch)
{
	struct buffer_reader reader = {batch->entries.data, batch->entries.data + batch->entries.size, false};
	struct wal_entry entry;
	int error = 0;

	while (error == 0 && (error = wal_entry_next(&reader, &entry)) == 1) {
		error = 0;
		if (entry.tree_delta)
			error = hashtree_prepare(&shard->tree, partition_of(entry.key), engine_tree_leaf(entry.key));
	}
	return error;
}

static void apply_trees(struct shard *shard, const struct engine_batch *batch)
{
	struct buffer_reader reader = {batch->entries.data, batch->entries.data + batch->entries.size, false};
	struct wal_entry entry;

	while (wal_entry_next(&reader, &entry) == 1) {
		if (entry.tree_delta)
			hashtree_apply(&shard->tree, partition_of(entry.key), engine_tree_leaf(entry.key),
				       entry.tree_delta);
	}
	shard->is_tree_changed = true;
}

/* Takes back the first `count` entries. */
static void undo(struct shard *shard, const struct engine_batch *batch, uint32_t count)
{
	/* In reverse: an entry is only taken back while it is the newest of its key. */
	while (count-- > 0) {
		struct buffer_reader reader = {batch->entries.data, batch->entries.data + batch->entries.size, false};
		struct wal_entry entry;

		for (uint32_t i = 0; i <= count; i++) {
			if (wal_entry_next(&reader, &entry) != 1)
				return;
		}
		memtable_undo(shard_memtable(shard), entry.key, shard->sequence + 1 + count);
	}
}

static int add_to_memtable(struct shard *shard, const struct engine_batch *batch)
{
	struct buffer_reader reader = {batch->entries.data, batch->entries.data + batch->entries.size, false};
	struct wal_entry entry;
	int error = 0;

	for (uint32_t i = 0; i < batch->count; i++) {
		error = wal_entry_next(&reader, &entry) == 1 ? 0 : -EINVAL;
		if (error == 0)
			error = memtable_add(shard_memtable(shard), entry.key, entry.value, entry.type,
					     shard->sequence + 1 + i);
		if (error) {
			undo(shard, batch, i);
			return error;
		}
	}
	return 0;
}

static int add_to_pending(struct shard *shard, const struct engine_batch *batch)
{
	static const uint8_t room[WAL_BATCH_ROOM];
	int error = buffer_reserve(&shard->pending, sizeof room + batch->entries.size);

	if (error)
		return error;
	if (!shard->pending_count)
		error = buffer_append(&shard->pending, room, sizeof room);
	return error ? error : buffer_append(&shard->pending, batch->entries.data, batch->entries.size);
}

static int write_batch(struct shard *shard, const struct engine_batch *batch)
{
	size_t pending_before;
	int error = make_room(shard, batch);

	if (error || !batch->count)
		return error;
	if (batch->has_deltas) {
		error = prepare_trees(shard, batch);
		if (error)
			return error;
	}
	pending_before = shard->pending_count ? shard->pending.size : 0;
	error = add_to_pending(shard, batch);
	if (error == 0)
		error = add_to_memtable(shard, batch);
	if (error) {
		shard->pending.size = pending_before;
		return error;
	}
	if (batch->has_deltas)
		apply_trees(shard, batch);
	shard->pending_count += batch->count;
	shard->sequence += batch->count;
	shard->stats.batches++;
	shard->stats.user_bytes_written += batch->user_bytes;
	return 0;
}

int shard_write(struct shard *shard, const struct engine_batch *batch)
{
	int error = write_batch(shard, batch);

	shard_check(shard);
	return error;
}

/* ---- drop range ---------------------------------------------------------------------------------------------- */

static bool lies_inside(const struct table_meta *meta, struct engine_slice begin, struct engine_slice end)
{
	return format_compare(begin, buffer_slice(&meta->smallest)) <= 0 &&
	       (!end.size || format_compare(buffer_slice(&meta->largest), end) < 0);
}

/* Whole files in the range go at once. */
static size_t collect_inside(const struct shard *shard, struct engine_slice begin, struct engine_slice end,
			     uint64_t *numbers)
{
	size_t count = 0;

	for (size_t i = 0; i < shard->state.table_count; i++) {
		if (lies_inside(&shard->state.tables[i]->meta, begin, end))
			numbers[count++] = shard->state.tables[i]->meta.number;
	}
	return count;
}

static bool is_removed(const struct manifest_edit *edit, uint64_t number)
{
	for (size_t i = 0; i < edit->removed_count; i++) {
		if (edit->removed[i] == number)
			return true;
	}
	return false;
}

static int record_drop(struct shard *shard, struct manifest_edit *edit)
{
	struct manifest_state next;
	struct tables *tables;
	struct view *view, *old = shard->view;
	int error = manifest_state_change(&shard->state, edit, &next);

	if (error)
		return error;
	error = tables_create(&next, &tables);
	if (error == 0) {
		error = shard_make_view(shard, shard_memtable(shard), 0, tables, &view);
		tables_unref(&tables);
	}
	if (error) {
		manifest_state_fini(&next);
		return error;
	}
	/* The old view keeps the removed tables until their files are marked to go with them. */
	view_ref(old);
	error = shard_change(shard, edit, &next, view);
	for (size_t i = 0; error == 0 && i < old->tables->table_count; i++) {
		if (is_removed(edit, old->tables->ssts[i]->meta.number))
			sst_doom(old->tables->ssts[i]);
	}
	view_unref(&old);
	return error;
}

static int drop(struct shard *shard, struct engine_slice begin, struct engine_slice end)
{
	uint64_t *numbers = malloc((shard->state.table_count + 1) * sizeof *numbers);
	struct manifest_drop drop = {.id = shard->state.last_drop_id + 1};
	struct manifest_edit edit = {.drop = &drop, .removed = numbers, .last_drop_id = drop.id};
	int error = numbers != NULL ? 0 : -ENOMEM;

	/* A deletion must not become durable later than the drop itself (E1). */
	if (error == 0)
		error = shard_sync(shard);
	if (error == 0 && shard->must_rotate)
		error = shard_rotate(shard);
	if (error == 0)
		error = buffer_assign(&drop.begin, begin);
	if (error == 0)
		error = buffer_assign(&drop.end, end);
	if (error == 0) {
		edit.removed_count = collect_inside(shard, begin, end, numbers);
		error = record_drop(shard, &edit);
	}
	if (error == 0) {
		hashtree_zero_range(&shard->tree, begin, end);
		shard->is_tree_changed = true;
		/* The drop stands. If the rotation cannot be done now, the next write does it first. */
		shard->must_rotate = true;
		if (shard_rotate(shard) == -EIO)
			error = -EIO;
	}
	buffer_fini(&drop.begin);
	buffer_fini(&drop.end);
	free(numbers);
	return error;
}

int shard_drop_range(struct shard *shard, struct engine_slice begin, struct engine_slice end)
{
	int error = drop(shard, begin, end);

	shard_check(shard);
	return error;
}
