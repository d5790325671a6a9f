/* SPDX-License-Identifier: Apache-2.0 */
/* Files: names of the files of a shard, and small whole-file operations on them.
 *
 *     DIR/LOCK  DIR/STORE  DIR/shard-000/MANIFEST  DIR/shard-000/0000000012.{log,tab,tree}  ...tmp
 *
 * Threading   Any thread.
 * Ownership   A struct files borrows the file system and is copied by value.
 * Errors      What the file system returns. files_path asserts that names fit: engine_open checks the directory's
 *             length.
 */
#ifndef KVRING_ENGINE_FILES_H
#define KVRING_ENGINE_FILES_H

#include "engine/disk/format.h"
#include "engine/fs.h"

enum { FILES_DIRECTORY_MAX = 1024, FILES_PATH_MAX = FILES_DIRECTORY_MAX + 64 };

enum file_kind { FILE_LOG, FILE_TABLE, FILE_TREE, FILE_MANIFEST, FILE_TEMPORARY, FILE_OTHER };

struct trash;

struct files {
	const struct fs *fs;
	struct trash *trash; /* NULL: files_discard removes at once */
	uint32_t shard_index;
	uint32_t shard_count;                     /* 0 where it does not matter; set by shard_open */
	char directory[FILES_DIRECTORY_MAX + 16]; /* of the shard */
};

struct files_path {
	char text[FILES_PATH_MAX];
};

void files_init(struct files *, const struct fs *, const char *store_directory, uint32_t shard_index);
struct files_path files_path(const struct files *, enum file_kind, uint64_t number);
/* What a name in the directory is, and its number when it has one. */
enum file_kind files_parse(const char *name, uint64_t *number_out);

/* Writes a file whole: as path + ".tmp", synced, renamed, directory synced. On an error the old file is as it was, but
 * for -EIO: then either may be there after a crash. */
ENGINE_OK int files_replace(const struct fs *, const char *directory, const char *path, const void *data, size_t size);
/* Reads a file whole; free *data_out. -EFBIG beyond limit. */
ENGINE_OK int files_read(const struct fs *, const char *path, uint64_t limit, uint8_t **data_out, size_t *size_out);
/* Makes a directory and makes its name durable. -EEXIST when it is there; on an error it has not been made. */
ENGINE_OK int files_make_directory(const struct fs *, const char *path);
/* Removes it; "was not there" is success. */
int files_remove(const struct fs *, const char *path);
/* It is no longer part of the store: to be removed, now or by a job (trash.h). */
void files_discard(const struct files *, enum file_kind, uint64_t number);

#endif
