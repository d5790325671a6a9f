/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_fs.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct plan {
	bool armed;
	uint64_t index;
	bool forever;
	int error; /* 0: crash */
	struct sim_crash crash;
};

struct misread {
	const struct sim_node *node; /* NULL: none is planned. Compared, not looked into. */
	uint64_t offset;
	uint8_t bits;
	enum sim_misread kind;
};

struct sim_fs {
	struct fs table; /* first: what calls are given */
	struct sim_disk disk;
	struct sim_random random;
	uint32_t counted;
	uint64_t operations;
	uint64_t calls[SIM_FS_CALL_COUNT];
	uint64_t open_files;
	uint64_t generation; /* of the machine: raised by each crash */
	uint64_t capacity;
	bool is_down, lying, fired;
	struct plan fail, crash;
	struct misread misread;
	uint64_t misreads;
	int (*hook)(void *arg, uint64_t index, enum sim_fs_call, const char *path);
	void *hook_arg;
};

struct sim_file {
	struct fs_file file; /* first */
	struct sim_node *node;
	uint64_t generation;
	bool writable, locked;
	char *path; /* it was opened by, for the hook */
};

enum { PATH_SIZE = 1024 };

const char *sim_fs_call_name(enum sim_fs_call call)
{
	static const char *const names[] = {"open",     "create",   "pread",  "append",     "sync",    "size",
					    "truncate", "sync_dir", "rename", "link",       "unlink",  "mkdir",
					    "rmdir",    "list",     "lock",   "free_bytes", "is_named"};
	return names[call];
}

static struct sim_fs *sim_fs_of(const struct fs *table)
{
	return (struct sim_fs *)table;
}

static struct sim_file *sim_file_of(struct fs_file *file)
{
	return (struct sim_file *)file;
}

/* ---- faults ---- */

/* What is to happen to one operation: errors come before it does anything, a crash in the middle. */
struct fate {
	int error;
	bool crash;
};

static struct fate draw_fate(struct sim_fs *fs, enum sim_fs_call call, const char *path)
{
	struct fate fate = {0};

	if (fs->is_down)
		return (struct fate){.error = -EIO};
	fs->calls[call]++;
	if (!(fs->counted & 1u << call))
		return fate;
	uint64_t index = fs->operations++;
	if (fs->hook != NULL)
		fate.error = fs->hook(fs->hook_arg, index, call, path);
	if (fs->crash.armed && index >= fs->crash.index) {
		fs->crash.armed = false;
		fs->fired = fate.crash = true;
	} else if (fs->fail.armed && index >= fs->fail.index) {
		fs->fail.armed = fs->fail.forever;
		fs->fired = true;
		fate.error = fs->fail.error;
	}
	return fate;
}

/* The end of every operation: the result, unless the power has failed in it. */
static int settle(struct sim_fs *fs, struct fate fate, int result)
{
	if (!fate.crash)
		return result;
	sim_fs_crash(fs, &fs->crash.crash);
	return -EIO;
}

static struct fate draw_file_fate(struct sim_file *file, enum sim_fs_call call)
{
	struct sim_fs *fs = sim_fs_of(file->file.fs);

	if (file->generation != fs->generation)
		return (struct fate){.error = -EIO};
	return draw_fate(fs, call, file->path);
}

/* ---- files ---- */

static struct fs_file *file_create(struct sim_fs *fs, struct sim_node *node, const char *path, bool writable,
				   bool locked)
{
	struct sim_file *file = calloc(1, sizeof *file);
	char *copy = strdup(path);

	if (file == NULL || copy == NULL)
		abort();
	*file = (struct sim_file){{&fs->table}, node, fs->generation, writable, locked, copy};
	sim_node_ref(node);
	node->handles++;
	fs->open_files++;
	return &file->file;
}

static void sim_close(struct fs_file *base)
{
	struct sim_file *file = sim_file_of(base);
	struct sim_fs *fs = sim_fs_of(base->fs);

	if (file->generation == fs->generation) {
		file->node->handles--;
		if (file->locked)
			file->node->locked = false;
	}
	sim_node_unref(&fs->disk, file->node);
	fs->open_files--;
	free(file->path);
	free(file);
}

static bool disk_is_full(const struct sim_fs *fs)
{
	return fs->capacity != UINT64_MAX && sim_disk_used(&fs->disk) >= fs->capacity;
}

static int open_place(struct sim_fs *fs, const char *path, enum fs_open_mode mode, struct fs_file **file_out)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	if (result < 0)
		return result;
	if (mode == FS_OPEN_CREATE) {
		if (place.node != NULL)
			return -EEXIST;
		if (disk_is_full(fs))
			return -ENOSPC;
		place.node = sim_disk_make(&fs->disk, &place, false);
	}
	if (place.node == NULL)
		return -ENOENT;
	if (place.node->is_directory)
		return -EISDIR;
	*file_out = file_create(fs, place.node, path, mode != FS_OPEN_READ, false);
	return 0;
}

static int sim_open(const struct fs *table, const char *path, enum fs_open_mode mode, struct fs_file **file_out)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, mode == FS_OPEN_CREATE ? SIM_FS_CREATE : SIM_FS_OPEN, path);

	*file_out = NULL;
	if (fate.error)
		return fate.error;
	int result = open_place(fs, path, mode, file_out);
	if (fate.crash && *file_out != NULL)
		sim_close(*file_out);
	if (fate.crash)
		*file_out = NULL;
	return settle(fs, fate, result);
}

static void show_misread(struct sim_fs *fs, const struct sim_node *node, uint8_t *bytes, size_t size, uint64_t offset)
{
	struct misread *plan = &fs->misread;

	if (plan->node != node || plan->offset < offset || plan->offset - offset >= size)
		return;
	bytes[plan->offset - offset] ^= plan->bits;
	fs->misreads++;
	if (plan->kind == SIM_MISREAD_ONCE)
		plan->node = NULL;
}

static void sim_drop_cached(struct fs_file *base, uint64_t offset, uint64_t size)
{
	struct sim_file *file = sim_file_of(base);
	struct misread *plan = &sim_fs_of(base->fs)->misread;

	if (plan->node == file->node && plan->kind == SIM_MISREAD_CACHED && plan->offset >= offset &&
	    plan->offset - offset < size)
		plan->node = NULL;
}

static ssize_t sim_pread(struct fs_file *base, void *buffer, size_t size, uint64_t offset)
{
	struct sim_file *file = sim_file_of(base);
	struct fate fate = draw_file_fate(file, SIM_FS_PREAD);
	const struct sim_bytes *seen = &file->node->seen;

	if (fate.error)
		return fate.error;
	if (fate.crash)
		return settle(sim_fs_of(base->fs), fate, 0);
	if (offset >= seen->size)
		return 0;
	if (size > seen->size - offset)
		size = seen->size - offset;
	memcpy(buffer, seen->data + offset, size);
	show_misread(sim_fs_of(base->fs), file->node, buffer, size, offset);
	return (ssize_t)size;
}

static void append_parts(struct sim_node *node, const struct iovec *parts, int part_count, size_t size)
{
	uint8_t *joined = malloc(size ? size : 1);
	size_t done = 0;

	if (joined == NULL)
		abort();
	for (int i = 0; i < part_count && done < size; i++) {
		size_t part = parts[i].iov_len < size - done ? parts[i].iov_len : size - done;
		if (part)
			memcpy(joined + done, parts[i].iov_base, part);
		done += part;
	}
	sim_node_append(node, joined, size);
	free(joined);
}

static int sim_append(struct fs_file *base, const struct iovec *parts, int part_count)
{
	struct sim_file *file = sim_file_of(base);
	struct sim_fs *fs = sim_fs_of(base->fs);
	struct fate fate = draw_file_fate(file, SIM_FS_APPEND);
	size_t size = 0, room = SIZE_MAX;

	if (file->generation != fs->generation || fs->is_down)
		return -EIO;
	assert(file->writable);
	for (int i = 0; i < part_count; i++)
		size += parts[i].iov_len;
	if (fate.error) {
		append_parts(file->node, parts, part_count, sim_random_below(&fs->random, size + 1));
		return fate.error;
	}
	if (fs->capacity != UINT64_MAX) {
		uint64_t used = sim_disk_used(&fs->disk);
		room = used < fs->capacity ? fs->capacity - used : 0;
	}
	append_parts(file->node, parts, part_count, size < room ? size : room);
	return settle(fs, fate, size <= room ? 0 : -ENOSPC);
}

static int sim_sync(struct fs_file *base)
{
	struct sim_file *file = sim_file_of(base);
	struct sim_fs *fs = sim_fs_of(base->fs);
	struct fate fate = draw_file_fate(file, SIM_FS_SYNC);

	if (file->generation != fs->generation || fs->is_down)
		return -EIO;
	if (fate.error) {
		sim_node_sync_failed(file->node, &fs->random);
		return fate.error;
	}
	if (!fate.crash && !fs->lying)
		sim_node_sync(file->node);
	return settle(fs, fate, 0);
}

static int sim_size(struct fs_file *base, uint64_t *size_out)
{
	struct sim_file *file = sim_file_of(base);
	struct fate fate = draw_file_fate(file, SIM_FS_SIZE);

	*size_out = 0;
	if (fate.error)
		return fate.error;
	*size_out = file->node->seen.size;
	return settle(sim_fs_of(base->fs), fate, 0);
}

static int sim_truncate(struct fs_file *base, uint64_t size)
{
	struct sim_file *file = sim_file_of(base);
	struct fate fate = draw_file_fate(file, SIM_FS_TRUNCATE);

	if (fate.error)
		return fate.error;
	assert(file->writable);
	sim_node_truncate(file->node, size);
	return settle(sim_fs_of(base->fs), fate, 0);
}

/* ---- names ---- */

static int sync_place(struct sim_fs *fs, const char *path, bool really)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	if (result < 0)
		return result;
	if (place.node == NULL)
		return -ENOENT;
	if (!place.node->is_directory)
		return -ENOTDIR;
	if (really)
		sim_disk_sync_names(&fs->disk, place.node);
	return 0;
}

static int sim_sync_dir(const struct fs *table, const char *path)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_SYNC_DIR, path);

	if (fate.error)
		return fate.error;
	return settle(fs, fate, sync_place(fs, path, !fate.crash && !fs->lying));
}

static int rename_places(struct sim_fs *fs, const char *from_path, const char *to_path)
{
	struct sim_place from, to;
	int result = sim_disk_find(&fs->disk, from_path, &from);

	if (!result)
		result = sim_disk_find(&fs->disk, to_path, &to);
	if (result < 0)
		return result;
	if (from.node == NULL || from.directory == NULL || to.directory == NULL)
		return -ENOENT;
	if (from.node == to.node)
		return 0;
	if (to.node != NULL && to.node->is_directory)
		return to.node->names_seen.count ? -ENOTEMPTY : -EISDIR;
	sim_disk_rename(&fs->disk, &from, &to);
	return 0;
}

static int sim_rename(const struct fs *table, const char *from, const char *to)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_RENAME, from);

	return fate.error ? fate.error : settle(fs, fate, rename_places(fs, from, to));
}

static int link_places(struct sim_fs *fs, const char *from_path, const char *to_path)
{
	struct sim_place from, to;
	int result = sim_disk_find(&fs->disk, from_path, &from);

	if (!result)
		result = sim_disk_find(&fs->disk, to_path, &to);
	if (result < 0)
		return result;
	if (from.node == NULL)
		return -ENOENT;
	if (from.node->is_directory)
		return -EPERM;
	if (to.node != NULL)
		return -EEXIST;
	sim_disk_link(&fs->disk, &to, from.node);
	return 0;
}

static int sim_link(const struct fs *table, const char *from, const char *to)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_LINK, from);

	return fate.error ? fate.error : settle(fs, fate, link_places(fs, from, to));
}

static int unlink_place(struct sim_fs *fs, const char *path, bool directory)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	if (result < 0)
		return result;
	if (place.node == NULL)
		return -ENOENT;
	if (place.directory == NULL)
		return -EBUSY;
	if (place.node->is_directory != directory)
		return directory ? -ENOTDIR : -EISDIR;
	if (directory && place.node->names_seen.count)
		return -ENOTEMPTY;
	sim_disk_unlink(&fs->disk, &place);
	return 0;
}

static int sim_unlink(const struct fs *table, const char *path)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_UNLINK, path);

	return fate.error ? fate.error : settle(fs, fate, unlink_place(fs, path, false));
}

static int sim_rmdir(const struct fs *table, const char *path)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_RMDIR, path);

	return fate.error ? fate.error : settle(fs, fate, unlink_place(fs, path, true));
}

static int make_directory(struct sim_fs *fs, const char *path)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	if (result < 0)
		return result;
	if (place.node != NULL)
		return -EEXIST;
	if (disk_is_full(fs))
		return -ENOSPC;
	sim_disk_make(&fs->disk, &place, true);
	return 0;
}

static int sim_mkdir(const struct fs *table, const char *path)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_MKDIR, path);

	return fate.error ? fate.error : settle(fs, fate, make_directory(fs, path));
}

/* The names as they are now: visit may create and remove while it runs. They come in an order of no meaning. */
static int list_directory(struct sim_fs *fs, const struct sim_node *directory,
			  int (*visit)(void *arg, const char *name), void *arg)
{
	uint32_t count = directory->names_seen.count;
	char **names = calloc(count ? count : 1, sizeof *names);
	uint32_t start = (uint32_t)sim_random_below(&fs->random, count ? count : 1);
	int result = 0;

	if (names == NULL)
		abort();
	for (uint32_t i = 0; i < count; i++)
		if ((names[i] = strdup(directory->names_seen.entries[(start + i) % count].name)) == NULL)
			abort();
	for (uint32_t i = 0; i < count; i++) {
		result = result ? result : visit(arg, names[i]);
		free(names[i]);
	}
	free(names);
	return result < 0 ? result : 0;
}

static int sim_list(const struct fs *table, const char *path, int (*visit)(void *arg, const char *name), void *arg)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_LIST, path);
	struct sim_place place;

	if (fate.error)
		return fate.error;
	if (fate.crash)
		return settle(fs, fate, 0);
	int result = sim_disk_find(&fs->disk, path, &place);
	if (result < 0)
		return result;
	if (place.node == NULL)
		return -ENOENT;
	if (!place.node->is_directory)
		return -ENOTDIR;
	return list_directory(fs, place.node, visit, arg);
}

static int lock_place(struct sim_fs *fs, const char *path, struct fs_file **file_out)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	if (result < 0)
		return result;
	if (place.node == NULL && disk_is_full(fs))
		return -ENOSPC;
	if (place.node == NULL)
		place.node = sim_disk_make(&fs->disk, &place, false);
	if (place.node->is_directory)
		return -EISDIR;
	if (place.node->locked)
		return -EWOULDBLOCK;
	place.node->locked = true;
	*file_out = file_create(fs, place.node, path, true, true);
	return 0;
}

static int sim_lock(const struct fs *table, const char *path, struct fs_file **file_out)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_LOCK, path);

	*file_out = NULL;
	if (fate.error)
		return fate.error;
	if (fate.crash)
		return settle(fs, fate, 0);
	return lock_place(fs, path, file_out);
}

static int sim_free_bytes(const struct fs *table, const char *path, uint64_t *bytes_out)
{
	struct sim_fs *fs = sim_fs_of(table);
	struct fate fate = draw_fate(fs, SIM_FS_FREE_BYTES, path);
	uint64_t used = sim_disk_used(&fs->disk);

	*bytes_out = 0;
	if (fate.error)
		return fate.error;
	*bytes_out = fs->capacity == UINT64_MAX ? UINT64_MAX / 2 : fs->capacity > used ? fs->capacity - used : 0;
	return settle(fs, fate, 0);
}

static int sim_is_named(struct fs_file *base, const char *path)
{
	struct sim_file *file = sim_file_of(base);
	struct fate fate = draw_file_fate(file, SIM_FS_IS_NAMED);
	struct sim_place place;

	if (fate.error)
		return fate.error;
	int result = sim_disk_find(&sim_fs_of(base->fs)->disk, path, &place);
	if (result == -ENOENT || result == -ENOTDIR)
		place.node = NULL;
	else if (result < 0)
		return settle(sim_fs_of(base->fs), fate, result);
	return settle(sim_fs_of(base->fs), fate, place.node == file->node);
}

/* ---- the simulator's side ---- */

void sim_fs_create(uint64_t seed, struct sim_fs **out)
{
	struct sim_fs *fs = calloc(1, sizeof *fs);

	if (fs == NULL)
		abort();
	fs->table = (struct fs){.open = sim_open,
				.close = sim_close,
				.pread = sim_pread,
				.append = sim_append,
				.sync = sim_sync,
				.size = sim_size,
				.truncate = sim_truncate,
				.sync_dir = sim_sync_dir,
				.rename = sim_rename,
				.link = sim_link,
				.unlink = sim_unlink,
				.mkdir = sim_mkdir,
				.rmdir = sim_rmdir,
				.list = sim_list,
				.lock = sim_lock,
				.free_bytes = sim_free_bytes,
				.drop_cached = sim_drop_cached,
				.is_named = sim_is_named};
	sim_random_seed(&fs->random, seed);
	sim_disk_init(&fs->disk);
	fs->counted = SIM_FS_ALL;
	fs->capacity = UINT64_MAX;
	*out = fs;
}

void sim_fs_destroy(struct sim_fs **fs)
{
	if (*fs == NULL)
		return;
	assert((*fs)->open_files == 0);
	sim_disk_fini(&(*fs)->disk);
	free(*fs);
	*fs = NULL;
}

const struct fs *sim_fs_table(const struct sim_fs *fs)
{
	return &fs->table;
}

void sim_fs_count_only(struct sim_fs *fs, uint32_t calls)
{
	fs->counted = calls;
}

uint64_t sim_fs_operations(const struct sim_fs *fs)
{
	return fs->operations;
}

void sim_fs_reset_operations(struct sim_fs *fs)
{
	fs->operations = 0;
}

uint64_t sim_fs_open_files(const struct sim_fs *fs)
{
	return fs->open_files;
}

uint64_t sim_fs_calls(const struct sim_fs *fs, enum sim_fs_call call)
{
	return fs->calls[call];
}

void sim_fs_fail_at(struct sim_fs *fs, uint64_t index, int error, bool forever)
{
	assert(error < 0);
	fs->fail = (struct plan){.armed = true, .index = index, .error = error, .forever = forever};
	fs->fired = false;
}

bool sim_fs_fired(const struct sim_fs *fs)
{
	return fs->fired;
}

void sim_fs_fail_never(struct sim_fs *fs)
{
	fs->fail.armed = fs->crash.armed = false;
}

void sim_fs_set_hook(struct sim_fs *fs, int (*hook)(void *arg, uint64_t index, enum sim_fs_call, const char *path),
		     void *arg)
{
	fs->hook = hook;
	fs->hook_arg = arg;
}

void sim_fs_set_capacity(struct sim_fs *fs, uint64_t bytes)
{
	fs->capacity = bytes;
}

bool sim_fs_is_limited(const struct sim_fs *fs)
{
	return fs->capacity != UINT64_MAX;
}

uint64_t sim_fs_used(const struct sim_fs *fs)
{
	return sim_disk_used(&fs->disk);
}

void sim_fs_set_lying(struct sim_fs *fs, bool lying)
{
	fs->lying = lying;
}

void sim_fs_kill(struct sim_fs *fs)
{
	assert(!fs->is_down);
	for (struct sim_node *node = fs->disk.nodes; node != NULL; node = node->next) {
		node->locked = false;
		node->handles = 0;
	}
	fs->generation++;
	fs->is_down = true;
	sim_fs_fail_never(fs);
}

void sim_fs_crash(struct sim_fs *fs, const struct sim_crash *crash)
{
	sim_fs_kill(fs);
	sim_disk_crash(&fs->disk, crash);
}

void sim_fs_crash_at(struct sim_fs *fs, uint64_t index, const struct sim_crash *crash)
{
	fs->crash = (struct plan){.armed = true, .index = index, .crash = *crash};
	fs->fired = false;
}

bool sim_fs_is_down(const struct sim_fs *fs)
{
	return fs->is_down;
}

void sim_fs_restart(struct sim_fs *fs)
{
	fs->is_down = false;
}

/* ---- looking in ---- */

static struct sim_node *must_find(struct sim_fs *fs, const char *path)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	assert(result == 0);
	assert(place.node != NULL);
	return place.node;
}

void sim_fs_flip_bits(struct sim_fs *fs, const char *path, uint64_t offset, uint8_t bits)
{
	struct sim_node *node = must_find(fs, path);

	assert(offset < node->stored.size);
	assert(offset < node->seen.size);
	node->stored.data[offset] ^= bits;
	node->seen.data[offset] ^= bits;
}

void sim_fs_flip_bit(struct sim_fs *fs, const char *path, uint64_t offset, uint32_t bit)
{
	sim_fs_flip_bits(fs, path, offset, (uint8_t)(1u << bit));
}

void sim_fs_misread(struct sim_fs *fs, const char *path, uint64_t offset, uint8_t bits, enum sim_misread kind)
{
	struct sim_node *node = must_find(fs, path);

	assert(offset < node->seen.size && bits != 0);
	fs->misread = (struct misread){node, offset, bits, kind};
}

uint64_t sim_fs_misreads(const struct sim_fs *fs)
{
	return fs->misreads;
}

void sim_fs_cut(struct sim_fs *fs, const char *path, uint64_t size)
{
	struct sim_node *node = must_find(fs, path);

	assert(size <= node->seen.size);
	sim_node_truncate(node, size);
	sim_node_sync(node);
}

void sim_fs_put_file(struct sim_fs *fs, const char *path, const void *data, size_t size)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	assert(result == 0);
	assert(place.directory != NULL);
	if (place.node == NULL)
		place.node = sim_disk_make(&fs->disk, &place, false);
	sim_node_store(place.node, data, size);
	sim_disk_sync_names(&fs->disk, place.directory);
}

void sim_fs_remove_file(struct sim_fs *fs, const char *path)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	assert(result == 0);
	assert(place.node && !place.node->is_directory);
	sim_disk_unlink(&fs->disk, &place);
	sim_disk_sync_names(&fs->disk, place.directory);
}

int sim_fs_look(struct sim_fs *fs, const char *path, const uint8_t **data_out, uint64_t *size_out)
{
	struct sim_place place;
	int result = sim_disk_find(&fs->disk, path, &place);

	*data_out = NULL;
	*size_out = 0;
	if (result < 0)
		return result;
	if (place.node == NULL || place.node->is_directory)
		return -ENOENT;
	*data_out = place.node->seen.data;
	*size_out = place.node->seen.size;
	return 0;
}

static int entry_order(const void *left, const void *right)
{
	return strcmp(((const struct sim_entry *)left)->name, ((const struct sim_entry *)right)->name);
}

static void walk(struct sim_node *directory, const char *path, bool stored,
		 void (*visit)(void *arg, const char *path, const struct sim_node *), void *arg)
{
	const struct sim_names *names = stored ? &directory->names_stored : &directory->names_seen;
	struct sim_entry *entries = calloc(names->count + 1, sizeof *entries);
	char child[PATH_SIZE];

	if (entries == NULL)
		abort();
	if (names->count)
		memcpy(entries, names->entries, names->count * sizeof *entries);
	qsort(entries, names->count, sizeof *entries, entry_order);
	for (uint32_t i = 0; i < names->count; i++) {
		int size = snprintf(child, sizeof child, "%s/%s", strcmp(path, "/") ? path : "", entries[i].name);
		assert(size < PATH_SIZE);
		if (entries[i].node->is_directory)
			walk(entries[i].node, child, stored, visit, arg);
		else
			visit(arg, child, entries[i].node);
	}
	free(entries);
}

struct walk_call {
	void (*visit)(void *arg, const char *path, uint64_t size);
	void *arg;
};

static void walk_visit(void *arg, const char *path, const struct sim_node *node)
{
	const struct walk_call *call = arg;
	call->visit(call->arg, path, node->seen.size);
}

void sim_fs_walk(struct sim_fs *fs, const char *directory, void (*visit)(void *arg, const char *path, uint64_t size),
		 void *arg)
{
	struct walk_call call = {visit, arg};
	walk(must_find(fs, directory), directory, false, walk_visit, &call);
}

static void hash_visit(void *arg, const char *path, const struct sim_node *node)
{
	uint64_t *hash = arg;

	*hash = XXH3_64bits_withSeed(path, strlen(path), *hash);
	*hash = XXH3_64bits_withSeed(node->stored.data, node->stored.size, *hash);
}

uint64_t sim_fs_hash(struct sim_fs *fs)
{
	uint64_t hash = 0;

	walk(fs->disk.root, "/", true, hash_visit, &hash);
	return hash;
}
