/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files over struct fs: see the end of fs.h. */
#include "engine/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool fs_is_passing(int error)
{
	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return true;
	default:
		return false;
	}
}

static int write_new(const struct fs *fs, const char *path, const void *data, size_t size, struct fs_file **file_out)
{
	struct iovec part = {.iov_base = (void *)data, .iov_len = size};
	int error = fs_remove_file(fs, path); /* what a crash has left */

	if (error == 0)
		error = fs->open(fs, path, FS_OPEN_CREATE, file_out);
	if (error)
		return error;
	error = fs->append(*file_out, &part, 1);
	if (error == 0)
		error = fs->sync(*file_out);
	if (error) {
		fs->close(*file_out);
		(void)fs_remove_file(fs, path);
	}
	return error;
}

int fs_replace_file_open(const struct fs *fs, const char *path, const void *data, size_t size,
			 struct fs_file **file_out)
{
	char *temporary;
	int error;

	if (asprintf(&temporary, "%s.tmp", path) < 0)
		return -ENOMEM;
	error = write_new(fs, temporary, data, size, file_out);
	if (error == 0) {
		error = fs->rename(fs, temporary, path);
		if (error) {
			fs->close(*file_out);
			(void)fs_remove_file(fs, temporary);
		}
	}
	free(temporary);
	return error;
}

int fs_replace_file(const struct fs *fs, const char *directory, const char *path, const void *data, size_t size)
{
	struct fs_file *file;
	int error = fs_replace_file_open(fs, path, data, size, &file);

	if (error)
		return error;
	fs->close(file);
	return fs->sync_dir(fs, directory);
}

static int read_open(const struct fs *fs, struct fs_file *file, uint64_t limit, bool anew, uint8_t **data_out,
		     size_t *size_out)
{
	uint64_t size;
	ssize_t got;
	int error = fs->size(file, &size);

	if (error)
		return error;
	if (size > limit)
		return -EFBIG;
	*data_out = malloc(size + 1);
	if (*data_out == NULL)
		return -ENOMEM;
	if (anew)
		fs->drop_cached(file, 0, size);
	got = fs->pread(file, *data_out, size, 0);
	if (got < 0) {
		free(*data_out);
		*data_out = NULL;
		return (int)got;
	}
	(*data_out)[got] = 0;
	*size_out = (size_t)got;
	return 0;
}

static int read_whole(const struct fs *fs, const char *path, uint64_t limit, bool anew, uint8_t **data_out,
		      size_t *size_out)
{
	struct fs_file *file;
	int error = fs->open(fs, path, FS_OPEN_READ, &file);

	*data_out = NULL;
	*size_out = 0;
	if (error)
		return error;
	error = read_open(fs, file, limit, anew, data_out, size_out);
	fs->close(file);
	return error;
}

int fs_read_file(const struct fs *fs, const char *path, uint64_t limit, uint8_t **data_out, size_t *size_out)
{
	return read_whole(fs, path, limit, false, data_out, size_out);
}

int fs_read_file_anew(const struct fs *fs, const char *path, uint64_t limit, uint8_t **data_out, size_t *size_out)
{
	return read_whole(fs, path, limit, true, data_out, size_out);
}

int fs_check_file(const struct fs *fs, const char *path, uint64_t limit,
		  int (*check)(void *arg, const uint8_t *data, size_t size), void *arg)
{
	int error = -EBADMSG;

	for (int reading = 0; reading < 2 && error == -EBADMSG; reading++) {
		uint8_t *data;
		size_t size;

		error = read_whole(fs, path, limit, reading > 0, &data, &size);
		if (error)
			return error;
		error = check(arg, data, size);
		free(data);
	}
	return error;
}

int fs_remove_file(const struct fs *fs, const char *path)
{
	int error = fs->unlink(fs, path);

	return error == -ENOENT ? 0 : error;
}

static int sync_parent(const struct fs *fs, const char *path)
{
	char *parent = strdup(path);
	size_t size = strlen(path);
	int error;

	if (parent == NULL)
		return -ENOMEM;
	while (size > 1 && parent[size - 1] == '/')
		parent[--size] = '\0';
	while (size && parent[size - 1] != '/')
		parent[--size] = '\0';
	while (size > 1 && parent[size - 1] == '/')
		parent[--size] = '\0';
	error = fs->sync_dir(fs, size ? parent : ".");
	free(parent);
	return error;
}

int fs_make_directory(const struct fs *fs, const char *path)
{
	int error = fs->mkdir(fs, path);

	if (error)
		return error;
	error = sync_parent(fs, path);
	if (error)
		(void)fs->rmdir(fs, path);
	return error;
}
