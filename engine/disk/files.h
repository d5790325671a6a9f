/* SPDX-License-Identifier: Apache-2.0 */
/* Files: the names of the files of a shard.
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
	struct trash *trash; /* NULL: trash_discard removes at once */
	uint32_t shard_index;
	uint32_t shard_count;                     /* 0 where it does not matter; set by shard_open */
	char directory[FILES_DIRECTORY_MAX + 16]; /* of the shard */
};

struct files_path {
	char text[FILES_PATH_MAX];
};

void files_init(struct files *, const struct fs *, const char *store_directory, uint32_t shard_index);
struct files_path files_path(const struct files *, enum file_kind, uint64_t number);
/* The kind of a file by its name, and its number when it has one. */
enum file_kind files_parse(const char *name, uint64_t *number_out);

#endif
