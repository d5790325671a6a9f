/* SPDX-License-Identifier: Apache-2.0 */
/* Commits: the log made durable, in two halves, so that the owner need not wait for the disk.
 *
 *     begin  owner       writes what is pending to the log, notes the segments that are not synced and how far they reach
 *     run    any thread  syncs them, older segments first (D3)
 *     end    owner       raises the durable sequence to what was noted, or the shard is dead
 *
 * Segments are referenced in between: a flush that ends meanwhile may let go of them. */
#include "engine/shard/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct engine_commit {
	int status;
	size_t count;
	struct {
		struct wal *log;
		uint64_t last_sequence; /* when the commit began */
	} segments[];
};

static size_t count_unsynced(const struct shard *shard)
{
	size_t count = !shard->log->is_synced;

	for (const struct wal *log = shard->unsynced; log != NULL; log = log->next)
		count++;
	return count;
}

static void add_segment(struct engine_commit *commit, struct wal *log)
{
	commit->segments[commit->count].log = wal_ref(log);
	commit->segments[commit->count].last_sequence = log->last_sequence;
	commit->count++;
}

static int begin_commit(struct shard *shard, struct engine_commit **out)
{
	int error = shard->is_dead ? -EIO : shard_begin(shard);
	struct engine_commit *commit;
	size_t count;

	*out = NULL;
	if (error == 0)
		error = shard_write_pending(shard);
	if (error)
		return error;
	shard->stats.commits++;
	count = count_unsynced(shard);
	if (!count)
		return 0;
	commit = calloc(1, sizeof *commit + count * sizeof commit->segments[0]);
	if (commit == NULL)
		return -ENOMEM;
	for (struct wal *log = shard->unsynced; log != NULL; log = log->next)
		add_segment(commit, log);
	if (!shard->log->is_synced)
		add_segment(commit, shard->log);
	assert(commit->count == count);
	shard->commit_count++;
	*out = commit;
	return 0;
}

int shard_commit_begin(struct shard *shard, struct engine_commit **out)
{
	int error = begin_commit(shard, out);

	shard_check(shard);
	return error;
}

void engine_commit_run(struct engine_commit *commit)
{
	for (size_t i = 0; i < commit->count && commit->status == 0; i++)
		commit->status = wal_sync(commit->segments[i].log);
}

static void note_synced(struct shard *shard, struct wal *log, uint64_t last_sequence)
{
	assert(last_sequence <= log->last_sequence);
	assert(last_sequence <= shard->sequence);
	if (log->last_sequence == last_sequence)
		log->is_synced = true;
	if (last_sequence > shard->durable_sequence)
		shard->durable_sequence = last_sequence;
}

/* Bytes synced into a file that no name leads to are gone with the process: somebody removed or moved the data directory. */
static int check_named(struct shard *shard)
{
	if (shard->is_dead || wal_is_named(shard->log))
		return 0;
	shard->is_dead = true;
	return format_error(
		&shard->error, -EIO,
		"%s: the log segment %010llu.log was removed or replaced while in use: was the data directory deleted "
		"or moved? Nothing written since is acknowledged: stop the process, then put the directory back or "
		"start with an empty one",
		shard->files.directory, (unsigned long long)shard->log->number);
}

static void forget_synced(struct shard *shard)
{
	while (shard->unsynced != NULL && shard->unsynced->is_synced) {
		struct wal *log = shard->unsynced;

		shard->unsynced = log->next;
		wal_close(&log);
	}
}

static int end_commit(struct shard *shard, struct engine_commit **out)
{
	struct engine_commit *commit = *out;
	int error = commit->status;

	*out = NULL;
	assert(shard->commit_count);
	shard->commit_count--;
	shard->stats.syncs++;
	if (error == 0 && check_named(shard))
		error = -ESTALE;
	for (size_t i = 0; i < commit->count; i++) {
		if (error == 0)
			note_synced(shard, commit->segments[i].log, commit->segments[i].last_sequence);
	}
	if (error == 0)
		forget_synced(shard);
	for (size_t i = 0; i < commit->count; i++)
		wal_close(&commit->segments[i].log);
	free(commit);
	if (shard->is_dead)
		return -EIO;
	return error ? shard_die(shard, error, "syncing the log") : 0;
}

int shard_commit_end(struct shard *shard, struct engine_commit **out)
{
	int error = end_commit(shard, out);

	shard_check(shard);
	return error;
}

int shard_commit(struct shard *shard, enum engine_sync mode)
{
	struct engine_commit *commit;
	int error;

	if (mode != ENGINE_SYNC_EACH) {
		error = shard->is_dead ? -EIO : shard_begin(shard);
		if (error == 0)
			error = shard_write_pending(shard);
		shard->stats.commits += error == 0;
		return error;
	}
	error = shard_commit_begin(shard, &commit);
	if (error || commit == NULL)
		return error;
	engine_commit_run(commit);
	return shard_commit_end(shard, &commit);
}

int shard_sync(struct shard *shard)
{
	return shard_commit(shard, ENGINE_SYNC_EACH);
}
