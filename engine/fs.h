/* SPDX-License-Identifier: Apache-2.0 */
/* File system: the one door between the engine and a disk.
 *
 * A small table of functions. fs_posix.c is the real disk; the simulator has another whose unsynced
 * data is lost or torn at a crash.
 *
 * Threading   Every function may be called from several threads, on different files. One file is written by
 *             one thread at a time; pread of bytes already written is allowed beside the writer.
 * Ownership   A struct fs_file belongs to who opened it, until close (which always frees it).
 * Errors      0 or a negative errno. A short read at the end of file is a result (the byte count), not an error.
 * Durability  Bytes are safe after sync(). A created, renamed or unlinked name is safe after sync_dir() of its
 *             directory. Nothing else promises anything (the simulator takes this by the word).
 */
#ifndef KVRING_ENGINE_FS_H
#define KVRING_ENGINE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct fs;

/* Implementations embed this as the first member of their own file struct. */
struct fs_file {
	const struct fs *fs;
};

enum fs_open_mode {
	FS_OPEN_READ,   /* must exist */
	FS_OPEN_CREATE, /* created empty, read and append; -EEXIST when it is there */
	FS_OPEN_APPEND, /* must exist, read and append at its end */
};

struct fs {
	int (*open)(const struct fs *, const char *path, enum fs_open_mode, struct fs_file **file_out);
	void (*close)(struct fs_file *);
	/* Bytes read (less than size only at the end of the file), or -errno. */
	ssize_t (*pread)(struct fs_file *, void *buffer, size_t size, uint64_t offset);
	/* All bytes of all parts, or -errno with an unknown prefix appended. */
	int (*append)(struct fs_file *, const struct iovec *parts, int part_count);
	/* fdatasync. After an error the unsynced bytes are in an unknown state: never retry. */
	int (*sync)(struct fs_file *);
	int (*size)(struct fs_file *, uint64_t *size_out);
	int (*truncate)(struct fs_file *, uint64_t size);
	int (*sync_dir)(const struct fs *, const char *path);
	int (*rename)(const struct fs *, const char *from, const char *to); /* atomic, replaces */
	int (*link)(const struct fs *, const char *from, const char *to);   /* hard link */
	int (*unlink)(const struct fs *, const char *path);
	int (*mkdir)(const struct fs *, const char *path); /* -EEXIST when it is there */
	int (*rmdir)(const struct fs *, const char *path);
	/* Calls visit for each name in the directory (without . and ..), in any order; stops when it returns non-zero.
	 */
	int (*list)(const struct fs *, const char *path, int (*visit)(void *arg, const char *name), void *arg);
	/* Takes an exclusive lock on the file (created if absent), held until close; -EWOULDBLOCK when another has it.
	 */
	int (*lock)(const struct fs *, const char *path, struct fs_file **file_out);
	/* Bytes that can still be written, for back-pressure before the disk is full. */
	int (*free_bytes)(const struct fs *, const char *path, uint64_t *bytes_out);
	/* Drops cached copies of these bytes, so that the next read asks the medium. Unsynced bytes stay. A hint: the
	 * system may keep them. */
	void (*drop_cached)(struct fs_file *, uint64_t offset, uint64_t size);
	/* 1 when the path leads to this open file, 0 when the file was removed, renamed or replaced, or -errno. */
	int (*is_named)(struct fs_file *, const char *path);
};

/* The real disk. */
const struct fs *fs_posix(void);

/* Is this an error after which the disk is as before and which may pass: no space, no free descriptor, no memory? */
bool fs_is_passing(int error);

/* ---- whole files, on any implementation ------------------------------------------------------------------------ */

/* Writes path + ".tmp", syncs it and renames it to path. The file stays open for appending. The directory is not synced: until
 * the caller has done it, either file may be there after a crash. On an error the old file is as it was. */
int fs_replace_file_open(const struct fs *, const char *path, const void *data, size_t size, struct fs_file **file_out);
/* The same, closed, and the directory synced. On an error the old file is as it was, unless that last step failed: then the new
 * one is seen, and either may be there after a crash. */
int fs_replace_file(const struct fs *, const char *directory, const char *path, const void *data, size_t size);
/* Reads a file whole; free *data_out. A zero byte follows the data. -EFBIG beyond limit. */
int fs_read_file(const struct fs *, const char *path, uint64_t limit, uint8_t **data_out, size_t *size_out);
/* As fs_read_file, from the medium: cached copies are dropped first. */
int fs_read_file_anew(const struct fs *, const char *path, uint64_t limit, uint8_t **data_out, size_t *size_out);
/* Reads a file whole and gives it to `check`, whose result it returns. Bytes that fail the check (-EBADMSG) are read anew and checked
 * once more: a bit that flips on the way from the medium is not damage. */
int fs_check_file(const struct fs *, const char *path, uint64_t limit,
		  int (*check)(void *arg, const uint8_t *data, size_t size), void *arg);
/* "Was not there" is success. */
int fs_remove_file(const struct fs *, const char *path);
/* Makes a directory and makes its name durable. -EEXIST when it is there; on an error it has not been made. */
int fs_make_directory(const struct fs *, const char *path);

#endif
