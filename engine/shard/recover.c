/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/shard/replay.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The contents of the directory. */
struct listing {
	struct shard *shard;
	struct replay_log *logs;
	size_t log_count;
	char (*orphans)[FILES_PATH_MAX];
	size_t orphan_count;
	uint64_t largest;
};

struct recovery {
	struct listing listing;
	struct replay replay;
	uint64_t reserved; /* the manifest's next number, as it was read */
	bool must_flush;   /* what was replayed; see flush_replayed */
	size_t steps_taken;
};

static bool is_named(const struct manifest_state *state, enum file_kind kind, uint64_t number)
{
	if (kind == FILE_TREE)
		return number == state->tree.number;
	for (size_t i = 0; i < state->table_count; i++) {
		if (state->tables[i]->meta.number == number)
			return true;
	}
	return false;
}

static int add_orphan(struct listing *listing, const char *name)
{
	char(*grown)[FILES_PATH_MAX] = realloc(listing->orphans, (listing->orphan_count + 1) * sizeof *grown);

	if (grown == NULL)
		return -ENOMEM;
	listing->orphans = grown;
	snprintf(grown[listing->orphan_count++], FILES_PATH_MAX, "%s/%s", listing->shard->files.directory, name);
	return 0;
}

static int add_log(struct listing *listing, uint64_t number)
{
	struct replay_log *grown = realloc(listing->logs, (listing->log_count + 1) * sizeof *grown);

	if (grown == NULL)
		return -ENOMEM;
	listing->logs = grown;
	listing->logs[listing->log_count++] = (struct replay_log){.number = number};
	return 0;
}

static int visit_file(void *arg, const char *name)
{
	struct listing *listing = arg;
	const struct manifest_state *state = &listing->shard->state;
	uint64_t number;
	enum file_kind kind = files_parse(name, &number);

	if (number > listing->largest)
		listing->largest = number;
	switch (kind) {
	case FILE_LOG:
		return number >= state->log_floor ? add_log(listing, number) : add_orphan(listing, name);
	case FILE_TABLE:
	case FILE_TREE:
		return is_named(state, kind, number) ? 0 : add_orphan(listing, name);
	case FILE_TEMPORARY:
		return add_orphan(listing, name);
	case FILE_MANIFEST:
	case FILE_OTHER:
		return 0;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct replay_log *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* The table stays in its place, for what was and will be dropped, but its partitions are not known any more. */
static int open_damaged_table(struct shard *shard, struct manifest_table *table, const struct engine_error *found)
{
	struct partition_row row;
	struct engine_error reason;
	int error = sst_open_damaged(&shard->files, shard->cache, &table->meta, &table->sst);

	if (error)
		return error;
	row = sst_partitions(table->sst);
	format_error(
		&reason, -EBADMSG,
		"%.300s; the shard's partitions from %u to %u have keys in this table and are quarantined: drop and "
		"refill them from their replicas",
		found->text, row.first, row.last);
	return quarantine_extend(&shard->state.quarantine, &row, &reason);
}

static int open_tables(struct shard *shard, struct engine_error *error_out)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < shard->state.table_count; i++) {
		struct manifest_table *table = shard->state.tables[i];
		struct engine_error found = {{0}};

		error = sst_open(&shard->files, shard->cache, &table->meta, &table->sst, &found);
		if (error == -EBADMSG)
			error = open_damaged_table(shard, table, &found);
		else if (error)
			format_error(error_out, error, "%s", found.text);
	}
	return error;
}

static bool misses_table(const struct manifest_state *state)
{
	for (size_t i = 0; i < state->table_count; i++) {
		if (state->tables[i]->sst->file == NULL)
			return true;
	}
	return false;
}

/* Tables that nobody names are what a crash left of a job, and go. Not beside named ones that are missing or do not open: a
 * manifest that is older than its files looks like that, and with the right one they are the store. */
static bool is_kept(const struct shard *shard, const char *path)
{
	uint64_t number;

	return files_parse(strrchr(path, '/') + 1, &number) == FILE_TABLE && misses_table(&shard->state);
}

/* Removes what no one names, once the manifest has reserved the numbers beyond them (E5). */
static int remove_orphans(struct shard *shard, struct recovery *recovery)
{
	const struct listing *listing = &recovery->listing;
	const struct fs *fs = shard->files.fs;
	uint64_t first_log = shard->retired_count ? shard->retired[0].first_log : UINT64_MAX;
	int error = 0;

	for (size_t i = 0; error == 0 && i < listing->orphan_count; i++) {
		if (!is_kept(shard, listing->orphans[i]))
			error = fs_remove_file(fs, listing->orphans[i]);
	}
	for (size_t i = 0; error == 0 && i < listing->log_count; i++) {
		const struct replay_log *log = &listing->logs[i];
		struct files_path path = files_path(&shard->files, FILE_LOG, log->number);

		if ((log->number < first_log || log->is_unused) && !log->is_aside)
			error = fs_remove_file(fs, path.text);
	}
	return error ? error : fs->sync_dir(fs, shard->files.directory);
}

/* Makes room on a full disk before the manifest could be written: what a crash left of a merge may be what fills it. Beyond the
 * numbers that the old manifest reserves, the largest file stays, so that no number is used twice (E5). */
static void free_space(struct shard *shard, const struct recovery *recovery)
{
	const struct listing *listing = &recovery->listing;

	for (size_t i = 0; i < listing->orphan_count; i++) {
		const char *path = listing->orphans[i];
		uint64_t number;

		(void)files_parse(strrchr(path, '/') + 1, &number);
		if ((number < recovery->reserved || number != listing->largest) && !is_kept(shard, path))
			(void)fs_remove_file(shard->files.fs, path);
	}
}

/* ---- what comes before the first write -------------------------------------------------------------------------- */

static int cut_tear(struct shard *shard, struct recovery *recovery)
{
	(void)shard;
	return recovery->replay.is_damaged ? 0 : replay_cut_tear(&recovery->replay);
}

/* With the quarantine in it, and with what it reserves. */
static int write_manifest(struct shard *shard, struct recovery *recovery)
{
	int error = 0;

	if (shard->manifest == NULL) {
		shard->state.closed_sequence = 0;
		/* Where the log begins: the oldest segment that is still needed, or those to come. */
		shard->state.log_floor =
			shard->retired_count ? shard->retired[0].first_log : atomic_load(&shard->next_number);
		shard->state.next_number = shard_reserved_number(shard);
		error = manifest_create(&shard->files, shard_new_number(shard), &shard->state, &shard->manifest);
		if (error == -ENOSPC) {
			free_space(shard, recovery);
			error = manifest_create(&shard->files, shard_new_number(shard), &shard->state,
						&shard->manifest);
		}
	}
	return error ? error : manifest_sync_name(shard->manifest);
}

static int set_aside(struct shard *shard, struct recovery *recovery)
{
	(void)shard;
	return recovery->replay.is_damaged ? replay_set_aside(&recovery->replay) : 0;
}

static int open_log(struct shard *shard, struct recovery *recovery)
{
	int error = wal_create(&shard->files, shard_new_number(shard), shard->sequence + 1, shard->state.last_drop_id,
			       &shard->log);

	(void)recovery;
	if (error == 0)
		shard_open_ahead(shard);
	return error;
}

/* What was replayed and is not known to have been synced may be in the page cache alone, as clean pages: when a sync
 * failed, only the process started anew, and no sync will write them any more. So it goes to tables before anything new
 * counts as durable; nothing can be lost then from behind what is acknowledged. After damage the log is not trusted at
 * all. */
static int flush_replayed(struct shard *shard, struct recovery *recovery)
{
	struct engine_job *job;
	int error;

	if (shard->retired_count == 0 || !recovery->must_flush)
		return 0;
	error = shard_make_flush(shard, &job);
	if (error)
		return error;
	engine_job_run(job);
	return shard_install(shard, &job);
}

/* The manifest comes first, with the quarantine in it; then what is not needed is removed, and writing begins. */
static int (*const steps[])(struct shard *, struct recovery *) = {
	cut_tear, write_manifest, set_aside, remove_orphans, open_log, flush_replayed,
};

enum { STEP_COUNT = sizeof steps / sizeof steps[0] };

/* Goes on where an earlier call was stopped. */
static int take_steps(struct shard *shard)
{
	struct recovery *recovery = shard->recovery;
	int error = 0;

	while (error == 0 && recovery->steps_taken < STEP_COUNT) {
		error = steps[recovery->steps_taken](shard, recovery);
		recovery->steps_taken += error == 0;
	}
	if (error)
		return error;
	shard->durable_sequence = shard->sequence;
	shard_recovery_free(&shard->recovery);
	return 0;
}

int shard_begin(struct shard *shard)
{
	int error = shard->recovery != NULL ? take_steps(shard) : 0;

	return error ? shard_fail(shard, error, "beginning to write") : 0;
}

void shard_recovery_free(struct recovery **recovery)
{
	struct recovery *it = *recovery;

	*recovery = NULL;
	if (it == NULL)
		return;
	free(it->listing.logs);
	free(it->listing.orphans);
	free(it);
}

/* The shard can be read from here on. */
static int make_view(struct shard *shard, struct engine_error *error_out)
{
	struct memtable *memtable;
	struct tables *tables;
	int error = memtable_create(shard->state.last_drop_id, &memtable);

	if (error)
		return error;
	error = tables_create(&shard->state, &tables);
	if (error == 0) {
		error = tables_check_runs(tables, shard->files.directory, error_out);
		if (error == 0)
			error = shard_make_view(shard, memtable, 0, tables, &shard->view);
		tables_unref(&tables);
	}
	memtable_unref(&memtable);
	return error;
}

static int list_files(struct shard *shard, struct listing *listing, struct engine_error *error_out)
{
	int error = shard->files.fs->list(shard->files.fs, shard->files.directory, visit_file, listing);

	if (error)
		return format_error(error_out, error, "%s: cannot list: %s", shard->files.directory, strerror(-error));
	if (listing->log_count)
		qsort(listing->logs, listing->log_count, sizeof *listing->logs, by_number);
	if (listing->largest >= shard->state.next_number)
		shard->state.next_number = listing->largest + 1;
	atomic_init(&shard->next_number, shard->state.next_number);
	return 0;
}

static int read_all(struct shard *shard, struct engine_error *error_out)
{
	struct recovery *recovery = shard->recovery;
	struct replay *replay = &recovery->replay;
	int error = list_files(shard, &recovery->listing, error_out);

	if (error == 0)
		error = open_tables(shard, error_out);
	if (error)
		return error;
	*replay = (struct replay){
		.shard = shard,
		.logs = recovery->listing.logs,
		.log_count = recovery->listing.log_count,
		.error_out = error_out,
		.drop_id = shard->state.tree.drop_id,
	};
	error = replay_all(replay);
	replay->error_out = NULL;
	recovery->must_flush = replay->is_damaged || replay_acknowledged(replay) < shard->sequence;
	return error ? error : make_view(shard, error_out);
}

/* A disk without room, or a process out of descriptors, does not stand in the way of reading: what must be written is then
 * written before the first write, by shard_begin. */
int shard_recover(struct shard *shard, struct engine_error *error_out)
{
	uint64_t tail;
	int error = manifest_read(&shard->files, &shard->state, &tail, error_out);

	if (error)
		return error;
	shard->recovery = calloc(1, sizeof *shard->recovery);
	if (shard->recovery == NULL)
		return -ENOMEM;
	shard->recovery->listing.shard = shard;
	shard->recovery->reserved = shard->state.next_number;
	error = read_all(shard, error_out);
	if (error)
		return error;
	error = take_steps(shard);
	if (error == 0 || (fs_is_passing(error) && error != -ENOMEM))
		return 0;
	return format_error(error_out, error, "%s: cannot begin writing: %s", shard->files.directory, strerror(-error));
}
