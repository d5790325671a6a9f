/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/shard/replay.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What was found in the directory. */
struct listing {
	struct shard *shard;
	struct replay_log *logs;
	size_t log_count;
	char (*orphans)[FILES_PATH_MAX];
	size_t orphan_count;
	uint64_t largest;
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
	char(*grown)[FILES_PATH_MAX] = realloc(listing->orphans, (listing->orphan_count + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	listing->orphans = grown;
	snprintf(grown[listing->orphan_count++], FILES_PATH_MAX, "%s/%s", listing->shard->files.directory, name);
	return 0;
}

static int add_log(struct listing *listing, uint64_t number)
{
	struct replay_log *grown = realloc(listing->logs, (listing->log_count + 1) * sizeof(*grown));

	if (!grown)
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
	int rc = sst_open_damaged(&shard->files, shard->cache, &table->meta, &table->sst);

	if (rc)
		return rc;
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
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < shard->state.table_count; i++) {
		struct manifest_table *table = shard->state.tables[i];
		struct engine_error found = {{0}};

		rc = sst_open(&shard->files, shard->cache, &table->meta, &table->sst, &found);
		if (rc == -EBADMSG)
			rc = open_damaged_table(shard, table, &found);
		else if (rc)
			format_error(error_out, rc, "%s", found.text);
	}
	return rc;
}

static bool misses_table(const struct manifest_state *state)
{
	for (size_t i = 0; i < state->table_count; i++) {
		if (!state->tables[i]->sst->file)
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
static int remove_orphans(struct shard *shard, const struct listing *listing)
{
	const struct fs *fs = shard->files.fs;
	uint64_t first_log = shard->retired_count ? shard->retired[0].first_log : UINT64_MAX;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < listing->orphan_count; i++) {
		if (!is_kept(shard, listing->orphans[i]))
			rc = fs_remove_file(fs, listing->orphans[i]);
	}
	for (size_t i = 0; rc == 0 && i < listing->log_count; i++) {
		const struct replay_log *log = &listing->logs[i];
		struct files_path path = files_path(&shard->files, FILE_LOG, log->number);

		if ((log->number < first_log || log->is_unused) && !log->is_aside)
			rc = fs_remove_file(fs, path.text);
	}
	return rc ? rc : fs->sync_dir(fs, shard->files.directory);
}

static int begin_writing(struct shard *shard)
{
	struct memtable *memtable;
	struct version *version = NULL;
	int rc = memtable_create(shard->state.last_drop_id, &memtable);

	if (rc)
		return rc;
	rc = version_create(&shard->state, &version);
	if (rc == 0)
		rc = shard_make_view(shard, memtable, 0, version, &shard->view);
	if (rc == 0)
		rc = wal_create(&shard->files, shard_new_number(shard), shard->sequence + 1, shard->state.last_drop_id,
				&shard->log);
	if (version)
		version_unref(&version);
	memtable_unref(&memtable);
	return rc;
}

/* What was replayed and is not known to have been synced may be in the page cache alone, as clean pages: when a sync
 * failed, only the process started anew, and no sync will write them any more. So it goes to tables before anything new
 * counts as durable; nothing can be lost then from behind what is acknowledged. After damage the log is not trusted at
 * all. */
static int flush_replayed(struct shard *shard)
{
	struct engine_job *job;
	int rc = shard_maintain(shard, &job);

	if (rc)
		return rc;
	assert(job && job->kind == JOB_FLUSH);
	engine_job_run(job);
	return shard_install(shard, &job);
}

static int list_files(struct shard *shard, struct listing *listing, struct engine_error *error_out)
{
	int rc = shard->files.fs->list(shard->files.fs, shard->files.directory, visit_file, listing);

	if (rc)
		return format_error(error_out, rc, "%s: cannot list: %s", shard->files.directory, strerror(-rc));
	if (listing->log_count)
		qsort(listing->logs, listing->log_count, sizeof(*listing->logs), by_number);
	if (listing->largest >= shard->state.next_number)
		shard->state.next_number = listing->largest + 1;
	atomic_init(&shard->next_number, shard->state.next_number);
	return 0;
}

/* The manifest first, with the quarantine in it; then what is not needed goes, and writing begins. */
static int begin(struct replay *replay, struct listing *listing)
{
	struct shard *shard = replay->shard;
	uint64_t number = shard_new_number(shard);
	bool must_flush = replay->is_damaged || replay_acknowledged(replay) < shard->sequence;
	int rc;

	shard->state.closed_sequence = 0;
	/* Where the log begins: the oldest segment that is still needed, or those to come. */
	shard->state.log_floor = shard->retired_count ? shard->retired[0].first_log : atomic_load(&shard->next_number);
	shard->state.next_number = shard_reserved_number(shard);
	rc = manifest_create(&shard->files, number, &shard->state, &shard->manifest);
	if (rc == 0 && replay->is_damaged)
		rc = replay_set_aside(replay);
	if (rc == 0)
		rc = remove_orphans(shard, listing);
	if (rc == 0)
		rc = begin_writing(shard);
	if (rc == 0 && must_flush && shard->retired_count)
		rc = flush_replayed(shard);
	shard->durable_sequence = shard->sequence;
	return rc;
}

static int recover(struct shard *shard, struct listing *listing, struct engine_error *error_out)
{
	struct replay replay = {.shard = shard, .error_out = error_out, .drop_id = shard->state.tree.drop_id};
	int rc = list_files(shard, listing, error_out);

	if (rc == 0)
		rc = open_tables(shard, error_out);
	replay.logs = listing->logs;
	replay.log_count = listing->log_count;
	if (rc == 0)
		rc = replay_all(&replay);
	if (rc)
		return rc;
	rc = begin(&replay, listing);
	if (rc)
		return format_error(error_out, rc, "%s: cannot begin writing: %s%s", shard->files.directory,
				    strerror(-rc), rc == -ENOSPC ? "; free some space" : "");
	return 0;
}

int shard_recover(struct shard *shard, struct engine_error *error_out)
{
	struct listing listing = {.shard = shard};
	uint64_t tail;
	int rc = manifest_read(&shard->files, &shard->state, &tail, error_out);

	if (rc)
		return rc;
	rc = recover(shard, &listing, error_out);
	free(listing.logs);
	free(listing.orphans);
	return rc;
}
