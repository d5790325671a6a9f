/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/shard/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/disk/buffer.h"
#include "engine/disk/trash.h"

static const struct compact_limits limits = {SHARD_RUNS_PER_LEVEL, SHARD_FIRST_RUNS, SHARD_BOTTOM_PERCENT};

int shard_die(struct shard *shard, int code, const char *what)
{
	shard->is_dead = true;
	format_error(&shard->error, code, "%s: %s failed: %s; what was written since the last sync is in doubt: reopen",
		     shard->files.directory, what, strerror(-code));
	return -EIO;
}

uint64_t shard_new_number(struct shard *shard)
{
	return atomic_fetch_add(&shard->next_number, 1);
}

uint64_t shard_reserved_number(struct shard *shard)
{
	return atomic_load(&shard->next_number) + SHARD_NUMBERS_AHEAD;
}

void retired_fini(struct retired *retired)
{
	memtable_unref(&retired->memtable);
	buffer_fini(&retired->tree);
}

int shard_prepare_view(struct shard *shard, const struct manifest_state *next, struct view **out)
{
	struct tables *tables;
	int error = tables_create(next, &tables);

	if (error)
		return error;
	error = shard_make_view(shard, shard_memtable(shard), 0, tables, out);
	tables_unref(&tables);
	return error;
}

int shard_make_view(struct shard *shard, struct memtable *memtable, size_t first_retired, struct tables *tables,
		    struct view **out)
{
	size_t count = shard->retired_count - first_retired + 1;
	struct memtable **memtables = malloc(count * sizeof(struct memtable *));
	int error;

	assert(first_retired <= shard->retired_count);
	if (memtables == NULL)
		return -ENOMEM;
	memtables[0] = memtable;
	for (size_t i = 1; i < count; i++)
		memtables[i] = shard->retired[shard->retired_count - i].memtable;
	error = view_create(tables, memtables, count, out);
	free(memtables);
	return error;
}

/* Is the drop out of the way of everything that is older than it? */
static bool is_forgettable(const struct shard *shard, const struct manifest_state *state, size_t first_retired,
			   const struct manifest_drop *drop)
{
	struct engine_slice begin = buffer_slice(&drop->begin), end = buffer_slice(&drop->end);

	if (state->tree.number && state->tree.drop_id < drop->id)
		return false;
	if (shard->must_rotate || shard_memtable(shard)->drop_id < drop->id)
		return false;
	/* A compaction under way may hold tables that the drop has removed: its outputs will need hiding. */
	for (size_t i = 0; i < shard->compaction_count; i++) {
		if (shard->compactions[i]->drop_id < drop->id)
			return false;
	}
	for (size_t i = first_retired; i < shard->retired_count; i++) {
		if (shard->retired[i].memtable->drop_id < drop->id)
			return false;
	}
	for (size_t i = 0; i < state->table_count; i++) {
		const struct table_meta *meta = &state->tables[i]->meta;

		if (meta->drop_id < drop->id && format_compare(begin, buffer_slice(&meta->largest)) <= 0 &&
		    (!end.size || format_compare(buffer_slice(&meta->smallest), end) < 0))
			return false;
	}
	return true;
}

uint64_t shard_forgettable(const struct shard *shard, const struct manifest_state *state, size_t first_retired)
{
	uint64_t id = 0;

	for (size_t i = 0; i < state->drop_count; i++) {
		if (!is_forgettable(shard, state, first_retired, &state->drops[i]))
			break;
		id = state->drops[i].id;
	}
	return id;
}

/* The manifest grows by every edit; beyond a size the state is written anew. */
static int rewrite_manifest(struct shard *shard)
{
	struct manifest *manifest;
	int error = manifest_create(&shard->files, shard_new_number(shard), &shard->state, &manifest);

	if (error == -EIO)
		return shard_die(shard, error, "replacing the manifest");
	if (error)
		return 0; /* The old one serves on. */
	manifest_close(&shard->manifest);
	shard->manifest = manifest;
	return 0;
}

int shard_change(struct shard *shard, struct manifest_edit *edit, struct manifest_state *next, struct view *view)
{
	int error;

	/* What was flushed and dropped stays so. */
	assert(edit->flushed_sequence == 0 || edit->flushed_sequence >= shard->state.flushed_sequence);
	assert(edit->log_floor == 0 || edit->log_floor >= shard->state.log_floor);
	assert(edit->drop == NULL || edit->drop->id == shard->state.last_drop_id + 1);
	assert(next->flushed_sequence <= shard->sequence);
	assert(view == NULL || view->tables->table_count == next->table_count);
	assert(shard->manifest != NULL);
	edit->next_number = next->next_number = shard_reserved_number(shard);
	error = manifest_append(shard->manifest, edit);
	if (error) {
		manifest_state_fini(next);
		view_unref(&view);
		return error == -EIO ? shard_die(shard, error, "writing the manifest") : error;
	}
	manifest_state_fini(&shard->state);
	shard->state = *next;
	if (view != NULL) {
		view_unref(&shard->view);
		shard->view = view;
	}
	return manifest_size(shard->manifest) > SHARD_MANIFEST_MAX ? rewrite_manifest(shard) : 0;
}

/* ---- meta ---------------------------------------------------------------------------------------------------- */

static int set_meta(struct shard *shard, const void *data, size_t size)
{
	struct engine_slice meta = {data, size};
	struct manifest_edit edit = {.meta = &meta};
	struct manifest_state next;
	int error;

	if (shard->is_dead)
		return -EIO;
	if (size > ENGINE_META_MAX)
		return -EINVAL;
	error = shard_begin(shard);
	if (error)
		return error;
	error = manifest_state_change(&shard->state, &edit, &next);
	return error ? error : shard_change(shard, &edit, &next, NULL);
}

int shard_meta_set(struct shard *shard, const void *data, size_t size)
{
	int error = set_meta(shard, data, size);

	shard_check(shard);
	return error;
}

void shard_meta_get(const struct shard *shard, struct engine_slice *meta_out)
{
	*meta_out = buffer_slice(&shard->state.meta);
}

bool shard_is_dead(const struct shard *shard)
{
	return shard->is_dead;
}

const char *shard_error(const struct shard *shard)
{
	return shard->error.text;
}

/* ---- pressure and statistics --------------------------------------------------------------------------------- */

static size_t memory_of(const struct shard *shard)
{
	size_t bytes = 0;

	for (size_t i = 0; i < shard->view->memtable_count; i++)
		bytes += memtable_bytes(shard->view->memtables[i]);
	return bytes;
}

static bool is_run_busy(const struct shard *shard, const struct tables_run *run)
{
	for (size_t i = 0; i < shard->compaction_count; i++) {
		const struct engine_job *job = shard->compactions[i];

		for (size_t j = 0; j < job->run_count; j++) {
			const struct tables_run *input = &job->tables->runs[job->first_run + j];

			if (input->level == run->level && input->id == run->id)
				return true;
		}
	}
	return false;
}

static bool has_dropped(const struct tables *tables, const struct tables_run *run)
{
	for (size_t i = 0; tables->drops->count && i < run->table_count; i++) {
		const struct table_meta *meta = &run->ssts[i]->meta;

		for (size_t j = 0; j < tables->drops->count; j++) {
			const struct tables_drop *drop = &tables->drops->items[j];

			if (drop->id > meta->drop_id &&
			    format_compare(buffer_slice(&drop->begin), buffer_slice(&meta->largest)) <= 0 &&
			    (!drop->end.size ||
			     format_compare(buffer_slice(&meta->smallest), buffer_slice(&drop->end)) < 0))
				return true;
		}
	}
	return false;
}

int shard_runs(const struct shard *shard, struct compact_run **out)
{
	const struct tables *tables = shard->view->tables;
	struct compact_run *runs = calloc(tables->run_count + 1, sizeof *runs);

	if (runs == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < tables->run_count; i++) {
		const struct tables_run *run = &tables->runs[i];

		runs[i] = (struct compact_run){
			.level = run->level,
			.bytes = run->bytes,
			.is_busy = is_run_busy(shard, run),
			.has_dropped = has_dropped(tables, run),
		};
	}
	*out = runs;
	return 0;
}

static uint32_t run_debt(const struct shard *shard)
{
	const struct tables *tables = shard->view->tables;
	uint32_t count = 0;

	while (count < tables->run_count && tables->runs[count].level == 0)
		count++;
	return compact_debt(count, &limits, SHARD_LIMIT_RUNS);
}

bool shard_memory_is_full(const struct shard *shard)
{
	return memory_of(shard) >= shard->options.memtable_bytes * SHARD_FULL_MEMTABLES;
}

/* Memory debt begins when more than one and a half budgets are taken, that is when flushes fall behind. While there is nothing to
 * flush, as after one large write, the next write is taken: it retires the memtable, and a flush makes room. */
static uint32_t memory_debt(const struct shard *shard)
{
	size_t budget = shard->options.memtable_bytes;
	size_t free_bytes = budget + budget / 2, full = budget * SHARD_FULL_MEMTABLES, used = memory_of(shard);

	if (used <= free_bytes)
		return 0;
	if (used >= full)
		return shard->retired_count > 0 ? 1000 : 999;
	return (uint32_t)((used - free_bytes) * 1000 / (full - free_bytes));
}

uint32_t shard_pressure(const struct shard *shard)
{
	uint32_t runs = run_debt(shard), memory = memory_debt(shard);

	return runs > memory ? runs : memory;
}

static uint64_t log_bytes(const struct shard *shard)
{
	uint64_t bytes = shard->log != NULL ? shard->log->size : 0;

	for (size_t i = 0; i < shard->retired_count; i++)
		bytes += memtable_bytes(shard->retired[i].memtable);
	return bytes;
}

static uint64_t estimate_keys(const struct hashtree *trees, uint64_t entries, uint64_t deletes)
{
	int64_t keys = hashtree_keys(trees);

	if (keys > 0)
		return (uint64_t)keys;
	return entries > 2 * deletes ? entries - 2 * deletes : 0;
}

void shard_stats(const struct shard *shard, struct shard_stats *stats_out)
{
	const struct tables *tables = shard->view->tables;
	uint64_t entries = 0, deletes = 0;

	*stats_out = shard->stats;
	stats_out->filter_checks = shard->read_stats.filter_checks;
	stats_out->filter_negatives = shard->read_stats.filter_negatives;
	stats_out->filter_false_positives = shard->read_stats.filter_false_positives;
	stats_out->cache_hits = shard->read_stats.cache_hits;
	stats_out->cache_misses = shard->read_stats.cache_misses;
	stats_out->cache_bytes = cache_used(shard->cache);
	stats_out->misreads = cache_misreads(shard->cache);
	stats_out->memtable_bytes = memory_of(shard);
	stats_out->disk_bytes = log_bytes(shard) + shard->state.tree.size;
	if (shard->manifest != NULL)
		stats_out->disk_bytes += manifest_size(shard->manifest);
	for (size_t i = 0; i < shard->state.table_count; i++) {
		const struct manifest_table *table = shard->state.tables[i];

		stats_out->disk_bytes += table->meta.size;
		stats_out->level_bytes[table->level] += table->meta.size;
		stats_out->level_table_count[table->level]++;
		stats_out->table_count++;
		entries += table->meta.entry_count;
		deletes += table->meta.delete_count;
	}
	for (size_t i = 0; i < shard->view->memtable_count; i++)
		entries += shard->view->memtables[i]->entry_count;
	stats_out->keys_estimate = estimate_keys(&shard->tree, entries, deletes);
	stats_out->quarantined_partitions = quarantine_count(shard->state.quarantine);
	assert(tables->table_count == shard->state.table_count);
}

/* ---- create and destroy -------------------------------------------------------------------------------------- */

int shard_create_files(const struct engine_options *options, uint32_t shard_index, struct engine_error *error_out)
{
	struct manifest_state state = {.next_number = 2};
	struct manifest *manifest;
	struct files files;
	int error;

	files_init(&files, options->fs, options->directory, shard_index);
	error = options->fs->mkdir(options->fs, files.directory);
	if (error == -EEXIST)
		error = 0;
	if (error == 0)
		error = manifest_create(&files, 1, &state, &manifest);
	if (error == 0) {
		error = manifest_sync_name(manifest);
		manifest_close(&manifest);
	}
	if (error)
		return format_error(error_out, error, "%s: cannot create: %s", files.directory, strerror(-error));
	return 0;
}

static void shard_free(struct shard *shard)
{
	assert(shard->compaction_count == 0);
	assert(shard->commit_count == 0);
	assert(!shard->is_flushing);
	assert(!shard->is_sweeping);
	assert(!shard->scrub.is_out);
	assert(atomic_load(&shard->snapshot_count) == 0);
	if (shard->view != NULL)
		view_unref(&shard->view);
	for (size_t i = 0; i < shard->retired_count; i++)
		retired_fini(&shard->retired[i]);
	wal_close(&shard->log);
	wal_close(&shard->next_log);
	shard_recovery_free(&shard->recovery);
	while (shard->unsynced != NULL) {
		struct wal *log = shard->unsynced;

		shard->unsynced = log->next;
		wal_close(&log);
	}
	manifest_close(&shard->manifest);
	manifest_state_fini(&shard->state);
	hashtree_fini(&shard->tree);
	buffer_fini(&shard->pending);
	cache_destroy(&shard->cache);
	trash_destroy(&shard->files.trash);
	free(shard->retired);
	free(shard->compactions);
	free(shard);
}

int shard_open(struct engine *engine, const struct engine_options *options, uint32_t shard_index, struct shard **out,
	       struct engine_error *error_out)
{
	struct shard *shard = calloc(1, sizeof *shard);
	int error;

	if (shard == NULL)
		return -ENOMEM;
	shard->engine = engine;
	shard->options = *options;
	files_init(&shard->files, options->fs, options->directory, shard_index);
	shard->files.shard_count = options->shard_count;
	error = trash_create(options->fs, &shard->files.trash);
	if (error == 0)
		error = cache_create(options->cache_bytes / options->shard_count, &shard->cache);
	if (error == 0)
		error = shard_recover(shard, error_out);
	if (error) {
		shard_free(shard);
		return error;
	}
	*out = shard;
	return 0;
}

/* Notes how far the log went, so that a log that ends earlier is known to be damaged. */
static int seal(struct shard *shard)
{
	struct manifest_edit edit = {.closed_sequence = shard->sequence, .next_number = shard_reserved_number(shard)};
	int error;

	if (shard->recovery != NULL)
		return 0; /* nothing was written */
	error = shard_sync(shard);
	if (error == 0)
		error = manifest_append(shard->manifest, &edit);
	wal_remove(&shard->next_log);
	return error;
}

int shard_close(struct shard **shard)
{
	struct shard *it = *shard;
	int error = it->is_dead ? -EIO : seal(it);

	*shard = NULL;
	shard_free(it);
	return error;
}
