/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/buffer.h"
#include "engine/shard/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/disk/trash.h"

enum { TABLE_BYTES_MIN = 64 * 1024, TABLE_BYTES_MAX = 64 * 1024 * 1024 };

static const struct compact_limits limits = {SHARD_RUNS_PER_LEVEL, SHARD_FIRST_RUNS, SHARD_BOTTOM_PERCENT};

struct engine_job *shard_job(struct shard *shard, enum job_kind kind)
{
	const struct engine_options *options = &shard->options;
	struct engine_job *job = calloc(1, sizeof *job);
	uint64_t target = options->memtable_bytes;

	if (job == NULL)
		return NULL;
	job->kind = kind;
	job->shard = shard;
	job->files = shard->files;
	job->cache = shard->cache;
	job->sst_options.block_bytes = options->block_bytes;
	job->sst_options.filter_bits_per_key = options->filter_bits_per_key;
	job->sst_options.compression = options->compression_upper;
	job->table_bytes = target < TABLE_BYTES_MIN   ? TABLE_BYTES_MIN
			   : target > TABLE_BYTES_MAX ? TABLE_BYTES_MAX
						      : target;
	job->next_number = &shard->next_number;
	job->tables = shard->view->tables;
	tables_ref(job->tables);
	job->drop_id = shard->state.last_drop_id;
	job->run = shard_new_number(shard);
	return job;
}

/* ---- flush --------------------------------------------------------------------------------------------------- */

/* The trees as of the last of the memtables: those saved last. */
static int take_tree(struct shard *shard, struct engine_job *job)
{
	for (size_t i = shard->retired_count; i-- > 0;) {
		const struct retired *retired = &shard->retired[i];

		if (!retired->has_tree)
			continue;
		job->has_tree = true;
		job->saved_tree.drop_id = retired->tree_drop_id;
		return buffer_assign(&job->tree, buffer_slice(&retired->tree));
	}
	return 0;
}

/* All retired memtables into one run of level 0. */
int shard_make_flush(struct shard *shard, struct engine_job **out)
{
	struct engine_job *job = shard_job(shard, JOB_FLUSH);
	size_t count = shard->retired_count;

	assert(count > 0);
	assert(!shard->is_flushing);
	if (job == NULL)
		return -ENOMEM;
	job->memtables = malloc(count * sizeof(struct memtable *));
	if (job->memtables == NULL || take_tree(shard, job)) {
		job_destroy(&job);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		job->memtables[i] = shard->retired[count - 1 - i].memtable;
		memtable_ref(job->memtables[i]);
	}
	job->memtable_count = count;
	/* Nothing may be newer than the outputs and older than them at once: drops the memtables have not seen were
	 * applied by the merge, so the outputs have seen them all. */
	job->log_floor = shard->retired[count - 1].last_log + 1;
	job->flushed_sequence = shard->retired[count - 1].last_sequence;
	job->removes_deletes = job->tables->run_count == 0;
	shard->is_flushing = true;
	*out = job;
	return 0;
}

/* ---- compaction ---------------------------------------------------------------------------------------------- */

static bool choose(struct shard *shard, const struct compact_run *runs, struct compact_choice *choice)
{
	size_t count = shard->view->tables->run_count;
	struct compact_limits now = limits;

	if (shard->is_compaction_wanted) {
		if (compact_choose_all(runs, count, choice))
			return true;
		if (!shard->compaction_count)
			shard->is_compaction_wanted = false;
	}
	now.pauses_deep = shard->pauses_deep;
	return compact_choose(runs, count, &now, choice);
}

static int make_compaction(struct shard *shard, const struct compact_choice *choice, struct engine_job **out)
{
	struct engine_job *job = shard_job(shard, JOB_COMPACTION);
	struct engine_job **grown =
		realloc(shard->compactions, (shard->compaction_count + 1) * sizeof(struct engine_job *));

	if (grown != NULL)
		shard->compactions = grown;
	if (job == NULL || grown == NULL) {
		job_destroy(&job);
		return -ENOMEM;
	}
	assert(choice->first + choice->count <= job->tables->run_count);
	job->first_run = choice->first;
	job->run_count = choice->count;
	job->level = choice->level;
	/* What is merged in place keeps the place of the newest of its runs: a flush under way has a smaller number
	 * than a new one, but is newer. */
	if (choice->level == job->tables->runs[choice->first].level)
		job->run = job->tables->runs[choice->first].id;
	if (choice->level == MANIFEST_BOTTOM)
		job->sst_options.compression = shard->options.compression_last;
	job->removes_deletes = choice->first + choice->count == job->tables->run_count;
	job->may_move = choice->level != MANIFEST_BOTTOM ||
			shard->options.compression_last == shard->options.compression_upper ||
			job->tables->runs[choice->first].level == MANIFEST_BOTTOM;
	shard->compactions[shard->compaction_count++] = job;
	*out = job;
	return 0;
}

static int maintain_compaction(struct shard *shard, struct engine_job **out)
{
	struct compact_choice choice;
	struct compact_run *runs;
	int error;

	if (shard->compaction_count >= ENGINE_JOBS_MAX - 3) /* a flush, a sweep and a scrub find room */
		return 0;
	error = shard_runs(shard, &runs);
	if (error)
		return error;
	if (choose(shard, runs, &choice))
		error = make_compaction(shard, &choice, out);
	free(runs);
	return error;
}

/* ---- sweeping -------------------------------------------------------------------------------------------------- */

static int make_sweep(struct shard *shard, struct engine_job **out)
{
	assert(!shard->is_sweeping);
	*out = shard_job(shard, JOB_SWEEP);
	if (*out == NULL)
		return -ENOMEM;
	shard->is_sweeping = true;
	return 0;
}

static int next_job(struct shard *shard, struct engine_job **out)
{
	int error;

	*out = NULL;
	error = shard->is_dead ? -EIO : shard_begin(shard);
	if (error)
		return error;
	shard_open_ahead(shard);
	error = shard_quarantine_noted(shard);
	if (error)
		return error;
	if (shard->retired_count && !shard->is_flushing)
		return shard_make_flush(shard, out);
	if (!shard->is_sweeping && !trash_is_empty(shard->files.trash))
		return make_sweep(shard, out);
	return maintain_compaction(shard, out);
}

int shard_maintain(struct shard *shard, struct engine_job **out)
{
	int error = next_job(shard, out);

	shard_check(shard);
	return error;
}

enum engine_urgency engine_job_urgency(const struct engine_job *job)
{
	if (job->kind == JOB_FLUSH)
		return ENGINE_URGENCY_FLUSH;
	if (job->kind == JOB_SWEEP || (job->kind == JOB_COMPACTION && job->level <= 1))
		return ENGINE_URGENCY_NEWEST;
	return ENGINE_URGENCY_DEEP;
}

void engine_job_run(struct engine_job *job)
{
	job_run(job);
}

int shard_request_flush(struct shard *shard)
{
	if (shard->is_dead)
		return -EIO;
	return shard_memtable(shard)->entry_count ? shard_rotate(shard) : 0;
}

void shard_pause_deep_merges(struct shard *shard, bool pause)
{
	shard->pauses_deep = pause;
}

int shard_request_compaction(struct shard *shard)
{
	int error = shard_request_flush(shard);

	shard->is_compaction_wanted = error == 0;
	return error;
}

/* ---- install ------------------------------------------------------------------------------------------------- */

struct install {
	struct manifest_edit edit;
	struct manifest_tree tree;
	struct manifest_table **added;
	uint64_t *removed;
};

static void install_fini(struct install *install)
{
	for (size_t i = 0; i < install->edit.added_count; i++)
		manifest_table_unref(&install->added[i]);
	free(install->added);
	free(install->removed);
}

static const struct manifest_table *find_table(const struct shard *shard, const struct sst *sst)
{
	for (size_t i = 0; i < shard->state.table_count; i++) {
		if (shard->state.tables[i]->sst == sst)
			return shard->state.tables[i];
	}
	return NULL;
}

static int add_table(struct install *install, const struct engine_job *job, struct sst *sst)
{
	struct manifest_table **table = &install->added[install->edit.added_count];
	int error = manifest_table_create(job->level, job->run, &sst->meta, table);

	assert(job->level < MANIFEST_LEVELS);
	if (error)
		return error;
	sst_ref(sst);
	(*table)->sst = sst;
	install->edit.added_count++;
	return 0;
}

/* Outputs come, inputs go; a moved input does both. Inputs that a drop has removed in the meantime are gone already. */
static int collect_tables(struct shard *shard, const struct engine_job *job, struct install *install)
{
	const struct tables *tables = job->tables;
	int error = 0;

	install->added = calloc(job->output_count + job->moved_count + 1, sizeof(struct manifest_table *));
	install->removed = calloc(tables->table_count + 1, sizeof(uint64_t));
	install->edit.added = install->added;
	install->edit.removed = install->removed;
	if (install->added == NULL || install->removed == NULL)
		return -ENOMEM;
	for (size_t i = 0; error == 0 && i < job->output_count; i++)
		error = add_table(install, job, job->outputs[i]);
	for (size_t i = 0; i < job->run_count; i++) {
		const struct tables_run *run = &tables->runs[job->first_run + i];

		for (size_t j = 0; error == 0 && j < run->table_count; j++) {
			if (find_table(shard, run->ssts[j]) == NULL)
				continue;
			install->removed[install->edit.removed_count++] = run->ssts[j]->meta.number;
			if (job_has_moved(job, run->ssts[j]))
				error = add_table(install, job, run->ssts[j]);
		}
	}
	return error;
}

/* How many of the retired memtables the job has flushed: all up to its last sequence. */
static size_t flushed_count(const struct shard *shard, const struct engine_job *job)
{
	size_t count = 0;

	if (job->kind != JOB_FLUSH)
		return 0;
	while (count < shard->retired_count && shard->retired[count].last_sequence <= job->flushed_sequence)
		count++;
	assert(count == job->memtable_count); /* they were the oldest, and only a flush takes any away */
	return count;
}

static void collect_flush(const struct engine_job *job, struct install *install)
{
	if (job->kind != JOB_FLUSH)
		return;
	install->edit.log_floor = job->log_floor;
	install->edit.flushed_sequence = job->flushed_sequence;
	if (!job->has_tree)
		return;
	install->tree = job->saved_tree;
	install->edit.tree = &install->tree;
}

/* The change with its new state and view; drops that nothing needs any more are forgotten in the same edit. */
static int prepare_change(struct shard *shard, struct install *install, size_t flushed, struct manifest_state *next,
			  struct view **view_out)
{
	struct tables *tables;
	uint64_t forget;
	int error = manifest_state_change(&shard->state, &install->edit, next);

	if (error)
		return error;
	forget = shard_forgettable(shard, next, flushed);
	if (forget) {
		manifest_state_fini(next);
		install->edit.forget_drops = forget;
		error = manifest_state_change(&shard->state, &install->edit, next);
		if (error)
			return error;
	}
	error = tables_create(next, &tables);
	if (error == 0) {
		error = shard_make_view(shard, shard_memtable(shard), flushed, tables, view_out);
		tables_unref(&tables);
	}
	if (error)
		manifest_state_fini(next);
	return error;
}

struct log_range {
	struct shard *shard;
	uint64_t first, last;
};

static int visit_old_log(void *arg, const char *name)
{
	const struct log_range *range = arg;
	uint64_t number;

	if (files_parse(name, &number) == FILE_LOG && number >= range->first && number <= range->last)
		trash_discard(&range->shard->files, FILE_LOG, number);
	return 0;
}

static void remove_logs(struct shard *shard, uint64_t first, uint64_t last)
{
	struct log_range range = {shard, first, last};

	if (first == last)
		trash_discard(&shard->files, FILE_LOG, first);
	else /* Most numbers in between belong to other files, or to none. */
		(void)shard->files.fs->list(shard->files.fs, shard->files.directory, visit_old_log, &range);
}

/* Memtables and segments up to the job's last sequence are in tables now. */
static void forget_flushed(struct shard *shard, const struct engine_job *job, size_t flushed)
{
	while (shard->unsynced != NULL && shard->unsynced->last_sequence <= job->flushed_sequence) {
		struct wal *log = shard->unsynced;

		shard->unsynced = log->next;
		wal_close(&log);
	}
	for (size_t i = 0; i < flushed; i++) {
		remove_logs(shard, shard->retired[i].first_log, shard->retired[i].last_log);
		retired_fini(&shard->retired[i]);
	}
	shard->retired_count -= flushed;
	memmove(shard->retired, shard->retired + flushed, shard->retired_count * sizeof *shard->retired);
	if (job->flushed_sequence > shard->durable_sequence)
		shard->durable_sequence = job->flushed_sequence;
}

static void remove_old_tree(struct shard *shard, uint64_t number)
{
	if (number && number != shard->state.tree.number)
		trash_discard(&shard->files, FILE_TREE, number);
}

/* Files of inputs go with the last view that shows them. */
static void doom_inputs(struct shard *shard, const struct engine_job *job)
{
	for (size_t i = 0; i < job->run_count; i++) {
		const struct tables_run *run = &job->tables->runs[job->first_run + i];

		for (size_t j = 0; j < run->table_count; j++) {
			if (find_table(shard, run->ssts[j]) == NULL)
				sst_doom(run->ssts[j]);
		}
	}
}

static void count_job(struct shard *shard, const struct engine_job *job)
{
	if (job->kind == JOB_FLUSH)
		shard->stats.flush_bytes_written += job->bytes_written;
	else
		shard->stats.compaction_bytes_written += job->bytes_written;
	shard->stats.compaction_bytes_read += job->bytes_read;
}

/* The outputs belong to the store now: job_destroy must leave their files alone. */
static void release_outputs(struct engine_job *job)
{
	for (size_t i = 0; i < job->output_count; i++)
		sst_unref(&job->outputs[i]);
	job->output_count = 0;
	job->saved_tree.number = 0;
}

static int install(struct shard *shard, struct engine_job *job)
{
	struct install install = {0};
	struct manifest_state next;
	struct view *view;
	uint64_t old_tree = shard->state.tree.number;
	size_t flushed = flushed_count(shard, job);
	int error = collect_tables(shard, job, &install);

	collect_flush(job, &install);
	if (error == 0)
		error = prepare_change(shard, &install, flushed, &next, &view);
	if (error == 0)
		error = shard_change(shard, &install.edit, &next, view);
	if (error == 0) {
		if (job->kind == JOB_FLUSH)
			forget_flushed(shard, job, flushed);
		remove_old_tree(shard, old_tree);
		doom_inputs(shard, job);
		count_job(shard, job);
	}
	/* After -EIO the manifest may or may not name the outputs: their files stay until the store is opened again. */
	if (error == 0 || error == -EIO)
		release_outputs(job);
	install_fini(&install);
	return error;
}

static void forget_job(struct shard *shard, const struct engine_job *job)
{
	assert(job->kind != JOB_FLUSH || shard->is_flushing);
	assert(job->kind != JOB_SCRUB || shard->scrub.is_out);
	assert(job->kind != JOB_SWEEP || shard->is_sweeping);
	if (job->kind == JOB_FLUSH)
		shard->is_flushing = false;
	if (job->kind == JOB_SCRUB)
		shard->scrub.is_out = false;
	if (job->kind == JOB_SWEEP)
		shard->is_sweeping = false;
	for (size_t i = 0; i < shard->compaction_count; i++) {
		if (shard->compactions[i] == job) {
			shard->compactions[i] = shard->compactions[--shard->compaction_count];
			return;
		}
	}
	assert(job->kind != JOB_COMPACTION);
}

static int install_job(struct shard *shard, struct engine_job **job)
{
	struct engine_job *it = *job;
	int error = it->has_run ? it->error : -ECANCELED;

	forget_job(shard, it);
	if (error == -ECANCELED) {
		job_destroy(job);
		return error;
	}
	if (it->kind == JOB_SWEEP) {
		error = shard->is_dead ? -EIO : 0;
	} else if (it->kind == JOB_SCRUB) {
		error = shard_scrub_done(shard, it);
	} else if (error) {
		shard->error = it->text;
		shard->is_full |= error == -ENOSPC; /* the next write looks how much is free */
	} else {
		error = shard->is_dead ? -EIO : install(shard, it);
	}
	job_destroy(job);
	return error;
}

int shard_install(struct shard *shard, struct engine_job **job)
{
	int error = install_job(shard, job);

	shard_check(shard);
	return error;
}
