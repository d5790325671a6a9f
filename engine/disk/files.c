/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/files.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/disk/trash.h"

static const char *const extensions[] = {[FILE_LOG] = "log", [FILE_TABLE] = "tab", [FILE_TREE] = "tree"};

void files_init(struct files *files, const struct fs *fs, const char *store_directory, uint32_t shard_index)
{
	files->fs = fs;
	files->trash = NULL;
	files->shard_index = shard_index;
	files->shard_count = 0;
	snprintf(files->directory, sizeof(files->directory), "%s/shard-%03u", store_directory, shard_index);
}

struct files_path files_path(const struct files *files, enum file_kind kind, uint64_t number)
{
	struct files_path path;
	int size;

	if (kind == FILE_MANIFEST)
		size = snprintf(path.text, sizeof(path.text), "%s/MANIFEST", files->directory);
	else
		size = snprintf(path.text, sizeof(path.text), "%s/%010" PRIu64 ".%s", files->directory, number,
				extensions[kind]);
	assert(size > 0 && (size_t)size < sizeof(path.text));
	return path;
}

enum file_kind files_parse(const char *name, uint64_t *number_out)
{
	char *end;
	size_t size = strlen(name);

	*number_out = 0;
	if (strcmp(name, "MANIFEST") == 0)
		return FILE_MANIFEST;
	if (size > 4 && strcmp(name + size - 4, ".tmp") == 0)
		return FILE_TEMPORARY;
	if (name[0] < '0' || name[0] > '9')
		return FILE_OTHER;
	*number_out = strtoull(name, &end, 10);
	for (enum file_kind kind = FILE_LOG; kind <= FILE_TREE; kind++) {
		if (*end == '.' && strcmp(end + 1, extensions[kind]) == 0)
			return kind;
	}
	return FILE_OTHER;
}

int files_replace(const struct fs *fs, const char *directory, const char *path, const void *data, size_t size)
{
	struct iovec part = {.iov_base = (void *)data, .iov_len = size};
	char temporary[FILES_PATH_MAX + 8];
	struct fs_file *file;
	int rc;

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	rc = files_remove(fs, temporary);
	if (rc == 0)
		rc = fs->open(fs, temporary, FS_OPEN_CREATE, &file);
	if (rc)
		return rc;
	rc = fs->append(file, &part, 1);
	if (rc == 0)
		rc = fs->sync(file);
	fs->close(file);
	if (rc) {
		files_remove(fs, temporary);
		return rc;
	}
	rc = fs->rename(fs, temporary, path);
	if (rc)
		files_remove(fs, temporary);
	else
		rc = fs->sync_dir(fs, directory);
	return rc ? -EIO : 0;
}

int files_read(const struct fs *fs, const char *path, uint64_t limit, uint8_t **data_out, size_t *size_out)
{
	struct fs_file *file;
	uint64_t size;
	ssize_t got = 0;
	uint8_t *data = NULL;
	int rc = fs->open(fs, path, FS_OPEN_READ, &file);

	if (rc)
		return rc;
	rc = fs->size(file, &size);
	if (rc == 0 && size > limit)
		rc = -EFBIG;
	if (rc == 0 && !(data = malloc(size ? size : 1)))
		rc = -ENOMEM;
	if (rc == 0) {
		got = fs->pread(file, data, size, 0);
		rc = got < 0 ? (int)got : 0;
	}
	fs->close(file);
	if (rc) {
		free(data);
		return rc;
	}
	*data_out = data;
	*size_out = (size_t)got;
	return 0;
}

int files_remove(const struct fs *fs, const char *path)
{
	int rc = fs->unlink(fs, path);

	return rc == -ENOENT ? 0 : rc;
}

static int sync_parent(const struct fs *fs, const char *path)
{
	char parent[FILES_PATH_MAX];
	size_t size = strlen(path);

	assert(size < sizeof(parent));
	memcpy(parent, path, size + 1);
	while (size > 1 && parent[size - 1] == '/')
		parent[--size] = '\0';
	while (size && parent[size - 1] != '/')
		parent[--size] = '\0';
	while (size > 1 && parent[size - 1] == '/')
		parent[--size] = '\0';
	return fs->sync_dir(fs, size ? parent : ".");
}

int files_make_directory(const struct fs *fs, const char *path)
{
	int rc = fs->mkdir(fs, path);

	if (rc)
		return rc;
	rc = sync_parent(fs, path);
	if (rc)
		(void)fs->rmdir(fs, path);
	return rc;
}

void files_discard(const struct files *files, enum file_kind kind, uint64_t number)
{
	struct files_path path = files_path(files, kind, number);

	if (files->trash)
		trash_add(files->trash, path.text);
	else
		files_remove(files->fs, path.text);
}
