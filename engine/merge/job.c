/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/merge/job.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/disk/buffer.h"
#include "engine/merge/merge.h"
#include "engine/disk/trash.h"
#include "engine/partition/partition.h"

#define TREE_MAX ((uint64_t)1 << 34) /* bytes: 65,536 partitions of 16,384 leaves each, with room to spare */

/* ---- saved hash trees: header, what hashtree_save wrote, u64 checksum of that ---------------------------------- */

static int encode_tree(const struct engine_job *job, uint64_t number, struct buffer *out)
{
	struct format_header header = {.shard = job->files.shard_index, .number = number};
	uint8_t bytes[FORMAT_HEADER_SIZE];
	int error;

	format_header_write(bytes, FORMAT_TREE, &header);
	error = buffer_append(out, bytes, sizeof bytes);
	if (error == 0)
		error = buffer_append(out, job->tree.data, job->tree.size);
	if (error == 0)
		error = buffer_append_u64(out, format_checksum(job->tree.data, job->tree.size, number, 0));
	return error;
}

static int write_tree(struct engine_job *job)
{
	uint64_t number = atomic_fetch_add(job->next_number, 1);
	struct files_path path = files_path(&job->files, FILE_TREE, number);
	struct buffer bytes = {0};
	int error = encode_tree(job, number, &bytes);

	if (error == 0)
		error = fs_replace_file(job->files.fs, job->files.directory, path.text, bytes.data, bytes.size);
	if (error == 0) {
		job->saved_tree.number = number;
		job->saved_tree.size = bytes.size;
		job->bytes_written += bytes.size;
	} else {
		fs_remove_file(job->files.fs, path.text);
	}
	buffer_fini(&bytes);
	return error;
}

struct tree_reading {
	struct files_path path;
	const struct manifest_tree *tree;
	struct hashtree *out;
	struct engine_error *error_out;
};

static int decode_tree(void *arg, const uint8_t *data, size_t size)
{
	const struct tree_reading *reading = arg;
	const struct manifest_tree *tree = reading->tree;
	const char *path = reading->path.text;
	struct engine_slice saved;
	struct format_header header;
	int error = format_header_read(data, size, FORMAT_TREE, path, &header, reading->error_out);

	if (error)
		return error;
	if (size != tree->size || size < FORMAT_HEADER_SIZE + 8 || header.number != tree->number)
		return format_error(reading->error_out, -EBADMSG, "%s: the saved hash trees are damaged", path);
	saved = (struct engine_slice){data + FORMAT_HEADER_SIZE, size - FORMAT_HEADER_SIZE - 8};
	if (format_u64(data + size - 8) != format_checksum(saved.data, saved.size, tree->number, 0))
		return format_error(reading->error_out, -EBADMSG, "%s: the saved hash trees are damaged", path);
	error = hashtree_load(reading->out, saved);
	if (error == -EBADMSG)
		return format_error(reading->error_out, error, "%s: the saved hash trees cannot be read", path);
	return error;
}

int job_read_tree(const struct files *files, const struct manifest_tree *tree, struct hashtree *out,
		  struct engine_error *error_out)
{
	struct tree_reading reading = {files_path(files, FILE_TREE, tree->number), tree, out, error_out};
	int error = fs_check_file(files->fs, reading.path.text, TREE_MAX, decode_tree, &reading);

	if (error == -ENOENT)
		return format_error(error_out, -EBADMSG, "%s: named by the manifest but missing", reading.path.text);
	if (error && error != -EBADMSG)
		return format_error(error_out, error, "%s: cannot read: %s", reading.path.text, strerror(-error));
	return error;
}

/* ---- tables that need no rewriting ---------------------------------------------------------------------------- */

static int by_smallest(const void *a, const void *b)
{
	return format_compare(sst_smallest(*(struct sst *const *)a), sst_smallest(*(struct sst *const *)b));
}

static bool overlaps_drop(const struct engine_job *job, const struct sst *sst)
{
	const struct tables_drops *drops = job->tables->drops;

	for (size_t i = 0; i < drops->count; i++) {
		const struct tables_drop *drop = &drops->items[i];

		if (drop->id > sst->meta.drop_id && format_compare(buffer_slice(&drop->begin), sst_largest(sst)) <= 0 &&
		    (!drop->end.size || format_compare(sst_smallest(sst), buffer_slice(&drop->end)) < 0))
			return true;
	}
	return false;
}

static bool is_movable(const struct engine_job *job, const struct sst *sst)
{
	return sst->meta.size >= job->table_bytes / 4 && !(job->removes_deletes && sst->meta.delete_count) &&
	       !overlaps_drop(job, sst);
}

/* Finds the inputs that overlap no other one. */
static int choose_moved(struct engine_job *job)
{
	struct sst **sorted, **all = job->tables->runs[job->first_run].ssts;
	size_t count = 0;

	for (size_t i = 0; i < job->run_count; i++)
		count += job->tables->runs[job->first_run + i].table_count;
	sorted = malloc((count + 1) * sizeof(struct sst *));
	job->moved = malloc((count + 1) * sizeof(struct sst *));
	if (sorted == NULL || job->moved == NULL) {
		free(sorted);
		return -ENOMEM;
	}
	/* The runs of a tables lie one after the other in one array. */
	memcpy(sorted, all, count * sizeof(struct sst *));
	qsort(sorted, count, sizeof(struct sst *), by_smallest);
	struct engine_slice reach = {0};

	for (size_t i = 0; i < count; i++) {
		bool is_apart =
			(i == 0 || format_compare(reach, sst_smallest(sorted[i])) < 0) &&
			(i + 1 == count || format_compare(sst_largest(sorted[i]), sst_smallest(sorted[i + 1])) < 0);

		if (is_apart && is_movable(job, sorted[i]))
			job->moved[job->moved_count++] = sorted[i];
		if (i == 0 || format_compare(reach, sst_largest(sorted[i])) < 0)
			reach = sst_largest(sorted[i]);
	}
	free(sorted);
	return 0;
}

bool job_has_moved(const struct engine_job *job, const struct sst *sst)
{
	for (size_t i = 0; i < job->moved_count; i++) {
		if (job->moved[i] == sst)
			return true;
	}
	return false;
}

/* ---- merging -------------------------------------------------------------------------------------------------- */

struct output {
	struct engine_job *job;
	struct sst_writer *writer;
	struct buffer last_key;
	size_t next_moved; /* the first moved table beyond what was written */
};

static int keep_output(struct engine_job *job, const struct table_meta *meta)
{
	struct sst **outputs = realloc(job->outputs, (job->output_count + 1) * sizeof(struct sst *));
	size_t count = job->output_count;
	int error;

	if (outputs == NULL)
		return -ENOMEM;
	job->outputs = outputs;
	/* T2: the tables of a run do not overlap and ascend. */
	assert(count == 0 || format_compare(sst_largest(outputs[count - 1]), buffer_slice(&meta->smallest)) < 0);
	error = sst_open(&job->files, job->cache, meta, &job->outputs[job->output_count], &job->text);
	if (error)
		return error;
	job->bytes_written += meta->size;
	job->output_count++;
	return 0;
}

static int finish_table(struct output *output)
{
	struct engine_job *job = output->job;
	struct table_meta meta;
	int error;

	if (output->writer == NULL)
		return 0;
	error = sst_writer_finish(&output->writer, &meta);
	if (error)
		return error;
	meta.drop_id = job->drop_id;
	error = keep_output(job, &meta);
	if (error) {
		struct files_path path = files_path(&job->files, FILE_TABLE, meta.number);

		fs_remove_file(job->files.fs, path.text);
	}
	table_meta_fini(&meta);
	return error;
}

/* Has the key left moved tables behind it since the last one? A table must not span them. */
static bool passes_moved(struct output *output, struct engine_slice key)
{
	struct engine_job *job = output->job;
	size_t before = output->next_moved;

	while (output->next_moved < job->moved_count &&
	       format_compare(sst_smallest(job->moved[output->next_moved]), key) < 0)
		output->next_moved++;
	return output->next_moved > before;
}

/* Tables end at their target size, and earlier between partitions, so that dropping one frees whole files. */
static bool is_full(const struct output *output, struct engine_slice key)
{
	uint64_t size = sst_writer_size(output->writer), target = output->job->table_bytes;

	return size >= target ||
	       (size >= target / 4 && partition_of(key) != partition_of(buffer_slice(&output->last_key)));
}

static int write_entry(struct output *output, struct engine_slice key, struct engine_slice value, enum entry_type type)
{
	struct engine_job *job = output->job;
	bool is_apart = passes_moved(output, key);
	int error = 0;

	if (output->writer != NULL && (is_apart || is_full(output, key)))
		error = finish_table(output);
	if (error == 0 && output->writer == NULL)
		error = sst_writer_create(&job->files, atomic_fetch_add(job->next_number, 1), &job->sst_options,
					  &output->writer);
	if (error == 0)
		error = sst_writer_add(output->writer, key, value, type);
	if (error == 0)
		error = buffer_assign(&output->last_key, key);
	return error;
}

static int write_all(struct engine_job *job, struct merge *merge)
{
	struct output output = {.job = job};
	int error = merge_seek(merge, (struct engine_slice){0});

	while (error == 1) {
		if (merge_type(merge) != ENTRY_DELETE || !job->removes_deletes) {
			error = write_entry(&output, merge_key(merge), merge_value(merge), merge_type(merge));
			if (error)
				break;
		}
		error = merge_next(merge);
	}
	if (error == 0)
		error = finish_table(&output);
	sst_writer_abort(&output.writer);
	buffer_fini(&output.last_key);
	return error;
}

/* The run's tables without the moved ones, appended to rest. */
static size_t take_rest(struct engine_job *job, const struct tables_run *run, struct sst **rest)
{
	size_t count = 0;

	for (size_t i = 0; i < run->table_count; i++) {
		if (job_has_moved(job, run->ssts[i]))
			continue;
		rest[count++] = run->ssts[i];
		job->bytes_read += run->ssts[i]->meta.size;
	}
	return count;
}

static int merge_inputs(struct engine_job *job)
{
	struct sst **rest = malloc((job->tables->table_count + 1) * sizeof(struct sst *)), **at = rest;
	struct merge merge;
	int error = rest != NULL
			    ? merge_init(&merge, job->memtable_count + job->run_count, job->tables->drops, &job->text)
			    : -ENOMEM;

	if (error) {
		free(rest);
		return error;
	}
	assert(job->first_run + job->run_count <= job->tables->run_count);
	merge.quarantine = job->tables->quarantine;
	for (size_t i = 0; i < job->memtable_count; i++)
		merge_add_memtable(&merge, job->memtables[i], UINT64_MAX);
	for (size_t i = 0; i < job->run_count; i++) {
		size_t count = take_rest(job, &job->tables->runs[job->first_run + i], at);

		if (count)
			merge_add_tables(&merge, at, count, true);
		at += count;
	}
	assert((size_t)(at - rest) + job->moved_count <= job->tables->table_count);
	error = write_all(job, &merge);
	merge_fini(&merge);
	free(rest);
	return error;
}

/* ---- scrubbing ------------------------------------------------------------------------------------------------- */

/* Reads blocks until enough is read, the table ends, or one is damaged, which leaves a note (sst.h). */
static int scrub(struct engine_job *job)
{
	struct sst_stream stream;
	int error = 0;

	sst_stream_init(&stream, job->scrubbed);
	while (error == 0 && job->next_block < job->scrubbed->block_count && job->bytes_read < JOB_SCRUB_BYTES) {
		struct block *block;

		error = sst_stream_block(&stream, job->next_block, &block, &job->text);
		if (error == 0 || error == -EBADMSG)
			job->next_block++;
		if (error)
			break;
		job->bytes_read += block->size;
		block_release(block);
	}
	sst_stream_fini(&stream);
	return error;
}

static int run(struct engine_job *job)
{
	int error;

	if (job->kind == JOB_SCRUB)
		return scrub(job);
	if (job->kind == JOB_SWEEP) {
		trash_sweep(job->files.trash);
		return 0;
	}
	error = job->may_move ? choose_moved(job) : 0;
	if (error == 0)
		error = merge_inputs(job);
	if (error == 0 && job->has_tree)
		error = write_tree(job);
	if (error == 0 && job->output_count)
		error = job->files.fs->sync_dir(job->files.fs, job->files.directory);
	return error;
}

void job_run(struct engine_job *job)
{
	static const char *const names[] = {"flush", "compaction", "scrub", "sweep"};
	int error = run(job);

	job->has_run = true;
	job->error = error;
	if (error && !job->text.text[0])
		format_error(&job->text, error, "%s: %s: %s%s", job->files.directory, names[job->kind],
			     strerror(-error), error == -ENOSPC ? ": free some space" : "");
}

void job_destroy(struct engine_job **job)
{
	struct engine_job *it = *job;

	*job = NULL;
	if (it == NULL)
		return;
	for (size_t i = 0; i < it->output_count; i++) {
		if (it->outputs[i] != NULL)
			sst_doom(it->outputs[i]);
		sst_unref(&it->outputs[i]);
	}
	if (it->saved_tree.number) {
		struct files_path path = files_path(&it->files, FILE_TREE, it->saved_tree.number);

		fs_remove_file(it->files.fs, path.text);
	}
	for (size_t i = 0; i < it->memtable_count; i++)
		memtable_unref(&it->memtables[i]);
	if (it->tables != NULL)
		tables_unref(&it->tables);
	buffer_fini(&it->tree);
	free(it->memtables);
	free(it->outputs);
	free(it->moved);
	free(it);
}
