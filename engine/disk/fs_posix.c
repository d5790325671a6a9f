/* SPDX-License-Identifier: Apache-2.0 */
/* The real disk behind engine/fs.h. See there for the contract. */
#include "engine/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct posix_file {
	struct fs_file file;
	int fd;
};

static int fd_of(const struct fs_file *file)
{
	return ((const struct posix_file *)file)->fd;
}

/* Memory first: a file that was made must not be left behind for want of it. */
static int open_file(const struct fs *fs, const char *path, int flags, struct fs_file **file_out)
{
	struct posix_file *file = malloc(sizeof *file);

	if (file == NULL)
		return -ENOMEM;
	file->file.fs = fs;
	file->fd = open(path, flags | O_CLOEXEC, 0600);
	if (file->fd < 0) {
		int error = -errno;

		free(file);
		return error;
	}
	*file_out = &file->file;
	return 0;
}

static int posix_open(const struct fs *fs, const char *path, enum fs_open_mode mode, struct fs_file **file_out)
{
	static const int flags[] = {
		[FS_OPEN_READ] = O_RDONLY,
		[FS_OPEN_CREATE] = O_RDWR | O_CREAT | O_EXCL | O_APPEND,
		[FS_OPEN_APPEND] = O_RDWR | O_APPEND,
	};

	return open_file(fs, path, flags[mode], file_out);
}

static void posix_close(struct fs_file *file)
{
	close(fd_of(file));
	free(file);
}

static ssize_t posix_pread(struct fs_file *file, void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd_of(file), (char *)buffer + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* The rest of one part, after writev stopped in the middle of it. */
static int write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* One system call for the common case of one part: writev checks and copies its array first. */
static int posix_append(struct fs_file *file, const struct iovec *parts, int part_count)
{
	size_t done = 0;

	if (part_count > 1 && part_count <= IOV_MAX) {
		ssize_t n = writev(fd_of(file), parts, part_count);

		if (n < 0 && errno != EINTR)
			return -errno;
		done = n < 0 ? 0 : (size_t)n;
	}
	for (int i = 0; i < part_count; i++) {
		size_t skip = done < parts[i].iov_len ? done : parts[i].iov_len;
		int error = write_all(fd_of(file), (const char *)parts[i].iov_base + skip, parts[i].iov_len - skip);

		if (error)
			return error;
		done -= skip;
	}
	return 0;
}

static int posix_sync(struct fs_file *file)
{
	return fdatasync(fd_of(file)) ? -errno : 0;
}

static int posix_size(struct fs_file *file, uint64_t *size_out)
{
	struct stat st;

	if (fstat(fd_of(file), &st))
		return -errno;
	*size_out = (uint64_t)st.st_size;
	return 0;
}

static int posix_truncate(struct fs_file *file, uint64_t size)
{
	return ftruncate(fd_of(file), (off_t)size) ? -errno : 0;
}

static int posix_sync_dir(const struct fs *fs, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error;

	(void)fs;
	if (fd < 0)
		return -errno;
	error = fsync(fd) ? -errno : 0;
	close(fd);
	return error;
}

static int posix_rename(const struct fs *fs, const char *from, const char *to)
{
	(void)fs;
	return rename(from, to) ? -errno : 0;
}

static int posix_link(const struct fs *fs, const char *from, const char *to)
{
	(void)fs;
	return link(from, to) ? -errno : 0;
}

static int posix_unlink(const struct fs *fs, const char *path)
{
	(void)fs;
	return unlink(path) ? -errno : 0;
}

static int posix_mkdir(const struct fs *fs, const char *path)
{
	(void)fs;
	return mkdir(path, 0700) ? -errno : 0;
}

static int posix_rmdir(const struct fs *fs, const char *path)
{
	(void)fs;
	return rmdir(path) ? -errno : 0;
}

static int posix_list(const struct fs *fs, const char *path, int (*visit)(void *arg, const char *name), void *arg)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int error = 0;

	(void)fs;
	if (dir == NULL)
		return -errno;
	for (errno = 0; error == 0 && (entry = readdir(dir)) != NULL; errno = 0) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			error = visit(arg, entry->d_name);
	}
	if (error == 0 && errno)
		error = -errno;
	closedir(dir);
	return error;
}

static int posix_lock(const struct fs *fs, const char *path, struct fs_file **file_out)
{
	struct fs_file *file = NULL;
	int error = open_file(fs, path, O_RDWR | O_CREAT, &file);

	if (error)
		return error;
	if (flock(fd_of(file), LOCK_EX | LOCK_NB)) {
		error = -errno;
		posix_close(file);
		return error;
	}
	*file_out = file;
	return 0;
}

static int posix_free_bytes(const struct fs *fs, const char *path, uint64_t *bytes_out)
{
	struct statvfs st;

	(void)fs;
	if (statvfs(path, &st))
		return -errno;
	*bytes_out = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

/* Whole pages, those at both ends included: a page is dropped only when all of it lies in the range. Size 0 would mean "to the end". */
static void posix_drop_cached(struct fs_file *file, uint64_t offset, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = offset / page * page;
	uint64_t end = (offset + size + page - 1) / page * page;

	if (end > begin)
		(void)posix_fadvise(fd_of(file), (off_t)begin, (off_t)(end - begin), POSIX_FADV_DONTNEED);
}

static int posix_is_named(struct fs_file *file, const char *path)
{
	struct stat open_one, named;

	if (fstat(fd_of(file), &open_one))
		return -errno;
	if (stat(path, &named))
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	return open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev;
}

const struct fs *fs_posix(void)
{
	static const struct fs fs = {
		.open = posix_open,
		.close = posix_close,
		.pread = posix_pread,
		.append = posix_append,
		.sync = posix_sync,
		.size = posix_size,
		.truncate = posix_truncate,
		.sync_dir = posix_sync_dir,
		.rename = posix_rename,
		.link = posix_link,
		.unlink = posix_unlink,
		.mkdir = posix_mkdir,
		.rmdir = posix_rmdir,
		.list = posix_list,
		.lock = posix_lock,
		.free_bytes = posix_free_bytes,
		.drop_cached = posix_drop_cached,
		.is_named = posix_is_named,
	};

	return &fs;
}
