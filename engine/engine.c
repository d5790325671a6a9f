/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/shard/shard.h"

/* STORE: a file header with a = number of shards. It is written last when a store is created: without it there is none.
 */

enum {
	BLOCK_MIN = 4096,
	BLOCK_MAX = 65536,
	MEMTABLE_MAX = 1 << 30, /* a log segment is read whole at recovery */
};

struct engine {
	struct engine_options options;
	char directory[FILES_DIRECTORY_MAX];
	struct fs_file *lock;
	struct shard **shards;
	uint32_t shard_count;
};

void engine_options_default(struct engine_options *options)
{
	*options = (struct engine_options){
		.create_if_missing = true,
		.shard_count = 0,
		.cache_bytes = (size_t)256 << 20,
		.memtable_bytes = (size_t)64 << 20,
		.block_bytes = 4096,
		.filter_bits_per_key = 10,
		.compression_upper = ENGINE_COMPRESSION_LZ4,
		.compression_last = ENGINE_COMPRESSION_ZSTD,
	};
}

static int check_options(const struct engine_options *options, struct engine_error *error_out)
{
	if (options->directory == NULL || strlen(options->directory) >= FILES_DIRECTORY_MAX)
		return format_error(error_out, -EINVAL, "the directory's name is missing or longer than %d bytes",
				    FILES_DIRECTORY_MAX - 1);
	if (options->shard_count > ENGINE_SHARDS_MAX)
		return format_error(error_out, -EINVAL, "%u shards, the most is %d", options->shard_count,
				    ENGINE_SHARDS_MAX);
	if (options->block_bytes < BLOCK_MIN || options->block_bytes > BLOCK_MAX)
		return format_error(error_out, -EINVAL, "blocks of %zu bytes; choose %d to %d", options->block_bytes,
				    BLOCK_MIN, BLOCK_MAX);
	if (!options->memtable_bytes || options->memtable_bytes > MEMTABLE_MAX)
		return format_error(error_out, -EINVAL, "memtables of %zu bytes; choose 1 to %d, 64 MiB is usual",
				    options->memtable_bytes, MEMTABLE_MAX);
	if (options->filter_bits_per_key > 32)
		return format_error(error_out, -EINVAL, "%u filter bits per key, the most is 32",
				    options->filter_bits_per_key);
	return 0;
}

/* ---- STORE --------------------------------------------------------------------------------------------------- */

static void store_path(char out[FILES_PATH_MAX], const char *directory, const char *name)
{
	snprintf(out, FILES_PATH_MAX, "%s/%s", directory, name);
}

static int write_store(const struct fs *fs, const char *directory, uint32_t shard_count)
{
	struct format_header header = {.a = shard_count};
	uint8_t bytes[FORMAT_HEADER_SIZE];
	char path[FILES_PATH_MAX];

	store_path(path, directory, "STORE");
	format_header_write(bytes, FORMAT_STORE, &header);
	return fs_replace_file(fs, directory, path, bytes, sizeof bytes);
}

struct store_reading {
	char path[FILES_PATH_MAX];
	uint32_t shard_count;
	struct engine_error *error_out;
};

static int check_store(void *arg, const uint8_t *bytes, size_t size)
{
	struct store_reading *reading = arg;
	struct engine_error found = {{0}};
	struct format_header header;
	int error = format_header_read(bytes, size, FORMAT_STORE, reading->path, &header, &found);

	if (error)
		return format_error(reading->error_out, error, "%.300s%s", found.text,
				    error == -EBADMSG ? "; restore it from a backup or a checkpoint: it only says how "
							"many shards there are"
						      : "");
	if (size != FORMAT_HEADER_SIZE || !header.a || header.a > ENGINE_SHARDS_MAX)
		return format_error(reading->error_out, -EBADMSG,
				    "%s: damaged: it says that there are %" PRIu64
				    " shards in %zu bytes; restore it from a backup or a checkpoint",
				    reading->path, header.a, size);
	reading->shard_count = (uint32_t)header.a;
	return 0;
}

int engine_read_shard_count(const struct fs *fs, const char *directory, uint32_t *shard_count_out,
			    struct engine_error *error_out)
{
	struct store_reading reading = {.error_out = error_out};
	int error;

	store_path(reading.path, directory, "STORE");
	error = fs_check_file(fs, reading.path, 4096, check_store, &reading);
	*shard_count_out = error ? 0 : reading.shard_count;
	if (error && error != -ENOENT && error != -EBADMSG && error != -ENOTSUP)
		return format_error(error_out, error, "%s: cannot read: %s", reading.path, strerror(-error));
	return error;
}

static int visit_is_data(void *arg, const char *name)
{
	uint64_t number;
	enum file_kind kind = files_parse(name, &number);

	(void)arg;
	return kind == FILE_LOG || kind == FILE_TABLE || kind == FILE_TREE ? -EEXIST : 0;
}

/* A store without STORE but with data was not left by a crash while creating it. */
static int check_no_data(const struct engine *engine, struct engine_error *error_out)
{
	for (uint32_t i = 0; i < ENGINE_SHARDS_MAX; i++) {
		struct files files;
		int error;

		files_init(&files, engine->options.fs, engine->directory, i);
		error = files.fs->list(files.fs, files.directory, visit_is_data, NULL);
		if (error == -ENOENT)
			return 0;
		if (error == -EEXIST)
			return format_error(error_out, -EBADMSG,
					    "%s/STORE is missing, but %s holds data: restore STORE", engine->directory,
					    files.directory);
		if (error)
			return format_error(error_out, error, "%s: cannot list: %s", files.directory, strerror(-error));
	}
	return 0;
}

static int create_store(struct engine *engine, struct engine_error *error_out)
{
	int error = check_no_data(engine, error_out);

	if (!engine->options.shard_count)
		engine->options.shard_count = 1;
	for (uint32_t i = 0; error == 0 && i < engine->options.shard_count; i++)
		error = shard_create_files(&engine->options, i, error_out);
	if (error)
		return error;
	error = engine->options.fs->sync_dir(engine->options.fs, engine->directory);
	if (error == 0)
		error = write_store(engine->options.fs, engine->directory, engine->options.shard_count);
	if (error)
		format_error(error_out, error, "%s: cannot create: %s", engine->directory, strerror(-error));
	return error;
}

static int read_store(const struct engine *engine, uint32_t *shard_count_out, struct engine_error *error_out)
{
	int error = engine_read_shard_count(engine->options.fs, engine->directory, shard_count_out, error_out);

	if (error == -ENOENT && !engine->options.create_if_missing)
		return format_error(error_out, error, "%s: there is no store (no file STORE)", engine->directory);
	return error;
}

static int find_store(struct engine *engine, struct engine_error *error_out)
{
	uint32_t shard_count;
	int error = read_store(engine, &shard_count, error_out);

	if (error == -ENOENT && engine->options.create_if_missing)
		return create_store(engine, error_out);
	if (error)
		return error;
	if (engine->options.shard_count && engine->options.shard_count != shard_count)
		return format_error(error_out, -EINVAL,
				    "%s has %u shards, %u were asked for: the number is fixed when a store is created",
				    engine->directory, shard_count, engine->options.shard_count);
	engine->options.shard_count = shard_count;
	return 0;
}

/* ---- open and close ------------------------------------------------------------------------------------------ */

static int lock_directory(struct engine *engine, struct engine_error *error_out)
{
	const struct fs *fs = engine->options.fs;
	char path[FILES_PATH_MAX];
	int error = 0;

	if (engine->options.create_if_missing)
		error = fs_make_directory(fs, engine->directory);
	if (error && error != -EEXIST && !fs_is_passing(error)) /* a full disk may hold the directory all the same */
		return format_error(error_out, error, "%s: cannot create: %s", engine->directory, strerror(-error));
	store_path(path, engine->directory, "LOCK");
	error = fs->lock(fs, path, &engine->lock);
	if (error == -EWOULDBLOCK)
		return format_error(error_out, error, "%s: in use by another process (LOCK is held)",
				    engine->directory);
	if (error)
		return format_error(error_out, error, "%s: cannot lock: %s", path, strerror(-error));
	return 0;
}

static int open_shards(struct engine *engine, struct engine_error *error_out)
{
	int error = 0;

	engine->shards = calloc(engine->options.shard_count, sizeof(struct shard *));
	if (engine->shards == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; error == 0 && i < engine->options.shard_count; i++) {
		error = shard_open(engine, &engine->options, i, &engine->shards[i], error_out);
		engine->shard_count += error == 0;
	}
	return error;
}

int engine_open(const struct engine_options *options, struct engine **out, struct engine_error *error_out)
{
	struct engine *engine;
	int error;

	if (error_out != NULL)
		error_out->text[0] = '\0';
	error = check_options(options, error_out);
	if (error)
		return error;
	engine = calloc(1, sizeof *engine);
	if (engine == NULL)
		return format_error(error_out, -ENOMEM, "out of memory");
	engine->options = *options;
	snprintf(engine->directory, sizeof engine->directory, "%s", options->directory);
	engine->options.directory = engine->directory;
	if (engine->options.fs == NULL)
		engine->options.fs = fs_posix();
	if (!options->create_if_missing) /* a directory that is no store gets no LOCK */
		error = read_store(engine, &(uint32_t){0}, error_out);
	if (error == 0)
		error = lock_directory(engine, error_out);
	if (error == 0)
		error = find_store(engine, error_out);
	if (error == 0)
		error = open_shards(engine, error_out);
	if (error) {
		if (error_out != NULL && !error_out->text[0])
			format_error(error_out, error, "%s: cannot open: %s", options->directory, strerror(-error));
		engine_close(&engine);
		return error;
	}
	*out = engine;
	return 0;
}

int engine_close(struct engine **engine)
{
	struct engine *it = *engine;
	int error = 0;

	*engine = NULL;
	if (it == NULL)
		return 0;
	for (uint32_t i = 0; i < it->shard_count; i++) {
		int shard_rc = shard_close(&it->shards[i]);

		error = error ? error : shard_rc;
	}
	if (it->lock != NULL)
		it->options.fs->close(it->lock);
	free(it->shards);
	free(it);
	return error;
}

uint32_t engine_shard_count(const struct engine *engine)
{
	return engine->shard_count;
}

struct shard *engine_shard(struct engine *engine, uint32_t shard_index)
{
	assert(shard_index < engine->shard_count);
	return engine->shards[shard_index];
}

uint64_t shard_tree_node(const struct shard *shard, uint16_t partition, uint32_t level, uint32_t index)
{
	return hashtree_node(&shard->tree, partition, level, index);
}

/* ---- checkpoint ---------------------------------------------------------------------------------------------- */

static int link_file(const struct files *from, const struct files *to, enum file_kind kind, uint64_t number)
{
	struct files_path source = files_path(from, kind, number), target = files_path(to, kind, number);

	return from->fs->link(from->fs, source.text, target.text);
}

struct log_links {
	const struct files *from, *to;
	uint64_t first, last;
};

static int link_log(void *arg, const char *name)
{
	const struct log_links *links = arg;
	uint64_t number;

	if (files_parse(name, &number) != FILE_LOG || number < links->first || number > links->last)
		return 0;
	return link_file(links->from, links->to, FILE_LOG, number);
}

static int link_files(struct shard *shard, const struct files *to)
{
	const struct fs *fs = shard->files.fs;
	struct log_links logs = {&shard->files, to, 0, 0};
	int error = 0;

	if (shard->retired_count) {
		logs.first = shard->retired[0].first_log;
		logs.last = shard->retired[shard->retired_count - 1].last_log;
	}
	for (size_t i = 0; error == 0 && i < shard->state.table_count; i++) {
		const struct manifest_table *table = shard->state.tables[i];

		error = link_file(&shard->files, to, FILE_TABLE, table->meta.number);
		if (error == -ENOENT && table->sst->file == NULL)
			error = 0; /* missing here as well: its partitions are quarantined, here and there */
	}
	if (error == 0 && shard->state.tree.number)
		error = link_file(&shard->files, to, FILE_TREE, shard->state.tree.number);
	if (error == -ENOENT && shard->stats.tree_recounts)
		error = 0; /* missing here as well: who opens the copy counts again */
	if (error == 0 && shard->retired_count)
		error = fs->list(fs, shard->files.directory, link_log, &logs);
	return error;
}

/* Moves all data into closed segments and tables, which never change again and so can be shared by links, and links them
 * into the shard's directory below another store. */
static int checkpoint_shard(struct shard *shard, const char *directory, struct engine_error *error_out)
{
	const struct fs *fs = shard->files.fs;
	struct manifest *manifest;
	struct files to;
	int error = shard->is_dead ? -EIO : shard_sync(shard);

	files_init(&to, fs, directory, shard->files.shard_index);
	if (error == 0 && shard_memtable(shard)->entry_count)
		error = shard_rotate(shard);
	if (error == 0)
		error = shard_sync(shard);
	if (error == 0)
		error = fs->mkdir(fs, to.directory);
	if (error == 0)
		error = link_files(shard, &to);
	if (error == 0)
		error = manifest_create(&to, shard_new_number(shard), &shard->state, &manifest);
	if (error == 0) {
		error = manifest_sync_name(manifest);
		manifest_close(&manifest);
	}
	if (error)
		return format_error(error_out, error, "%s: cannot write a checkpoint: %s", to.directory,
				    strerror(-error));
	return 0;
}

static int remove_visit(void *arg, const char *name)
{
	const struct files *files = arg;
	char path[FILES_PATH_MAX + 256];

	snprintf(path, sizeof path, "%s/%s", files->directory, name);
	fs_remove_file(files->fs, path);
	return 0;
}

/* Takes away what an unfinished checkpoint left, as far as possible. */
static void remove_checkpoint(const struct engine *engine, const char *directory)
{
	const struct fs *fs = engine->options.fs;

	for (uint32_t i = 0; i < engine->shard_count; i++) {
		struct files files;

		files_init(&files, fs, directory, i);
		(void)fs->list(fs, files.directory, remove_visit, &files);
		(void)fs->rmdir(fs, files.directory);
	}
	(void)fs->rmdir(fs, directory);
}

int engine_checkpoint(struct engine *engine, const char *directory, struct engine_error *error_out)
{
	const struct fs *fs = engine->options.fs;
	int error;

	if (error_out != NULL)
		error_out->text[0] = 0;
	if (strlen(directory) >= FILES_DIRECTORY_MAX)
		return format_error(error_out, -EINVAL, "the directory's name is longer than %d bytes",
				    FILES_DIRECTORY_MAX - 1);
	error = fs_make_directory(fs, directory);
	if (error)
		return format_error(error_out, error, "%s: cannot create: %s; a checkpoint needs a new directory",
				    directory, strerror(-error));
	for (uint32_t i = 0; error == 0 && i < engine->shard_count; i++)
		error = checkpoint_shard(engine->shards[i], directory, error_out);
	if (error == 0)
		error = fs->sync_dir(fs, directory);
	if (error == 0)
		error = write_store(fs, directory, engine->shard_count);
	if (error) {
		if (error_out != NULL && !error_out->text[0])
			format_error(error_out, error, "%s: cannot write a checkpoint: %s", directory,
				     strerror(-error));
		remove_checkpoint(engine, directory);
	}
	return error;
}
