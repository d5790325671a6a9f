/* SPDX-License-Identifier: Apache-2.0 */
/* The real disk, in a temporary directory: every call and its errors, short and interrupted writes and reads, what is
 * synced and what is not, and the lock among processes. The linker sends the system calls through here (--wrap).
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/fs.h"

/* ---- the system's side ---- */

static struct {
	unsigned fdatasyncs, fsyncs;
	unsigned fail_sync;  /* errno of syncs, 0: none */
	size_t most;         /* bytes of one read or write, 0: as asked */
	unsigned interrupts; /* calls still to be answered by EINTR */
	unsigned calls;      /* reads and writes */
} os;

ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __real_pread64(int fd, void *data, size_t size, off_t offset);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_pread64(int fd, void *data, size_t size, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);

static bool is_interrupted(void)
{
	os.calls++;
	if (!os.interrupts)
		return false;
	os.interrupts--;
	errno = EINTR;
	return true;
}

static size_t cut(size_t size)
{
	return os.most && size > os.most ? os.most : size;
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
	if (is_interrupted())
		return -1;
	if (!os.most)
		return __real_writev(fd, parts, count);
	/* A part of the parts: up to `most` bytes of them. */
	size_t done = 0;

	for (int i = 0; i < count && done < os.most; i++) {
		size_t size = parts[i].iov_len < os.most - done ? parts[i].iov_len : os.most - done;

		if (__real_write(fd, parts[i].iov_base, size) != (ssize_t)size)
			return -1;
		done += size;
	}
	return (ssize_t)done;
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	return is_interrupted() ? -1 : __real_write(fd, data, cut(size));
}

ssize_t __wrap_pread64(int fd, void *data, size_t size, off_t offset)
{
	return is_interrupted() ? -1 : __real_pread64(fd, data, cut(size), offset);
}

static int sync_result(int error)
{
	if (!os.fail_sync)
		return error;
	errno = (int)os.fail_sync;
	return -1;
}

int __wrap_fdatasync(int fd)
{
	os.fdatasyncs++;
	return sync_result(__real_fdatasync(fd));
}

int __wrap_fsync(int fd)
{
	os.fsyncs++;
	return sync_result(__real_fsync(fd));
}

/* ---- fixture: a directory ---- */

struct fixture {
	const struct fs *fs;
	char directory[64];
	char path[96]; /* of a file in it */
};

static int setup(void **state)
{
	struct fixture *it = calloc(1, sizeof *it);

	memset(&os, 0, sizeof os);
	it->fs = fs_posix();
	strcpy(it->directory, "/tmp/kvring-posix-XXXXXX");
	assert_non_null(mkdtemp(it->directory));
	snprintf(it->path, sizeof it->path, "%s/file", it->directory);
	*state = it;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *it = *state;
	char command[100];

	memset(&os, 0, sizeof os);
	snprintf(command, sizeof command, "rm -rf %s", it->directory);
	assert_int_equal(system(command), 0);
	free(it);
	return 0;
}

static int append(const struct fixture *it, struct fs_file *file, const char *text)
{
	struct iovec part = {(void *)text, strlen(text)};

	return it->fs->append(file, &part, 1);
}

static void make_file(const struct fixture *it, const char *path, const char *text)
{
	struct fs_file *file;

	assert_int_equal(it->fs->open(it->fs, path, FS_OPEN_CREATE, &file), 0);
	assert_int_equal(append(it, file, text), 0);
	it->fs->close(file);
}

static void assert_content(const struct fixture *it, const char *path, const char *expected)
{
	struct fs_file *file;
	char bytes[1000];
	uint64_t size;

	assert_int_equal(it->fs->open(it->fs, path, FS_OPEN_READ, &file), 0);
	assert_int_equal(it->fs->size(file, &size), 0);
	assert_int_equal(size, strlen(expected));
	assert_int_equal(it->fs->pread(file, bytes, sizeof bytes, 0), size);
	assert_memory_equal(bytes, expected, size);
	it->fs->close(file);
}

static void other_path(const struct fixture *it, const char *name, char out[96])
{
	snprintf(out, 96, "%s/%s", it->directory, name);
}

/* ---- files ---- */

static void test_open_modes(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file;

	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_READ, &file), -ENOENT);
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_APPEND, &file), -ENOENT);
	make_file(it, it->path, "one");
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_CREATE, &file), -EEXIST);
	assert_content(it, it->path, "one");
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_APPEND, &file), 0);
	assert_ptr_equal(file->fs, it->fs);
	assert_int_equal(append(it, file, "two"), 0);
	char bytes[3];

	assert_int_equal(it->fs->pread(file, bytes, 3, 3), 3);
	assert_memory_equal(bytes, "two", 3);
	it->fs->close(file);
	assert_content(it, it->path, "onetwo");
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_READ, &file), 0);
	assert_int_equal(append(it, file, "three"), -EBADF);
	it->fs->close(file);
	assert_int_equal(it->fs->open(it->fs, it->directory, FS_OPEN_APPEND, &file), -EISDIR);
}

static void test_pread_at_the_end(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file;
	char bytes[10];

	make_file(it, it->path, "0123456789");
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_READ, &file), 0);
	assert_int_equal(it->fs->pread(file, bytes, 10, 4), 6);
	assert_memory_equal(bytes, "456789", 6);
	assert_int_equal(it->fs->pread(file, bytes, 10, 10), 0);
	assert_int_equal(it->fs->pread(file, bytes, 10, 1000), 0);
	assert_int_equal(it->fs->pread(file, bytes, 0, 0), 0);
	it->fs->close(file);
}

/* Many parts, some empty, at every size that the system may take at once, and interrupted before each. */
static void test_short_and_interrupted_calls(void **state)
{
	struct fixture *it = *state;
	struct iovec parts[] = {{"abc", 3}, {"", 0}, {"d", 1}, {"efghij", 6}, {"", 0}, {"klmnopqrstuvwxyz", 16}};

	for (size_t most = 0; most <= 27; most++) {
		for (unsigned interrupts = 0; interrupts < 3; interrupts++) {
			struct fs_file *file;
			char path[96], name[20], bytes[26];

			snprintf(name, sizeof name, "%zu-%u", most, interrupts);
			other_path(it, name, path);
			os.most = most;
			assert_int_equal(it->fs->open(it->fs, path, FS_OPEN_CREATE, &file), 0);
			os.interrupts = interrupts;
			assert_int_equal(it->fs->append(file, parts, 6), 0);
			assert_int_equal(os.interrupts, 0);
			os.calls = 0;
			os.interrupts = interrupts;
			assert_int_equal(it->fs->pread(file, bytes, 26, 0), 26);
			assert_memory_equal(bytes, "abcdefghijklmnopqrstuvwxyz", 26);
			assert_int_equal(os.calls, interrupts + (most ? (26 + most - 1) / most : 1));
			it->fs->close(file);
			os.most = 0;
			assert_content(it, path, "abcdefghijklmnopqrstuvwxyz");
		}
	}
}

/* More parts than one call may have. */
static void test_very_many_parts(void **state)
{
	struct fixture *it = *state;
	struct iovec *parts = calloc(IOV_MAX + 5, sizeof *parts);
	struct fs_file *file;
	uint64_t size;

	for (int i = 0; i < IOV_MAX + 5; i++)
		parts[i] = (struct iovec){"xy", 2};
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_CREATE, &file), 0);
	assert_int_equal(it->fs->append(file, parts, IOV_MAX), 0);
	assert_int_equal(it->fs->append(file, parts, IOV_MAX + 5), 0);
	assert_int_equal(it->fs->size(file, &size), 0);
	assert_int_equal(size, 2 * (2 * IOV_MAX + 5));
	it->fs->close(file);
	free(parts);
}

/* Appends go to the end that truncating made. */
static void test_truncate(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file;

	make_file(it, it->path, "0123456789");
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_APPEND, &file), 0);
	assert_int_equal(it->fs->truncate(file, 4), 0);
	assert_int_equal(append(it, file, "x"), 0);
	it->fs->close(file);
	assert_content(it, it->path, "0123x");
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_READ, &file), 0);
	assert_int_equal(it->fs->truncate(file, 0), -EINVAL);
	it->fs->close(file);
	assert_content(it, it->path, "0123x");
}

static void test_full_device(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file;

	assert_int_equal(it->fs->open(it->fs, "/dev/full", FS_OPEN_APPEND, &file), 0);
	assert_int_equal(append(it, file, "x"), -ENOSPC);
	it->fs->close(file);
}

/* Each sync asks the system once, and what the system answers is passed on; nothing else syncs. */
static void test_syncs_reach_the_system(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file;

	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_CREATE, &file), 0);
	assert_int_equal(append(it, file, "x"), 0);
	assert_int_equal(os.fdatasyncs + os.fsyncs, 0);
	assert_int_equal(it->fs->sync(file), 0);
	assert_int_equal(os.fdatasyncs, 1);
	assert_int_equal(os.fsyncs, 0);
	assert_int_equal(it->fs->sync_dir(it->fs, it->directory), 0);
	assert_int_equal(os.fdatasyncs, 1);
	assert_int_equal(os.fsyncs, 1);
	os.fail_sync = EIO;
	assert_int_equal(it->fs->sync(file), -EIO);
	assert_int_equal(it->fs->sync_dir(it->fs, it->directory), -EIO);
	os.fail_sync = ENOSPC;
	assert_int_equal(it->fs->sync(file), -ENOSPC);
	assert_int_equal(os.fdatasyncs, 3); /* none was tried again */
	it->fs->close(file);
	assert_int_equal(it->fs->sync_dir(it->fs, it->path), -ENOTDIR);
	other_path(it, "none", it->path);
	assert_int_equal(it->fs->sync_dir(it->fs, it->path), -ENOENT);
}

/* ---- names ---- */

static void test_rename_replaces(void **state)
{
	struct fixture *it = *state;
	struct fs_file *old;
	char to[96], bytes[3];

	other_path(it, "to", to);
	make_file(it, it->path, "new");
	make_file(it, to, "old");
	assert_int_equal(it->fs->open(it->fs, to, FS_OPEN_READ, &old), 0);
	assert_int_equal(it->fs->rename(it->fs, it->path, to), 0);
	assert_content(it, to, "new");
	assert_int_equal(it->fs->pread(old, bytes, 3, 0), 3); /* who had it open still reads it */
	assert_memory_equal(bytes, "old", 3);
	it->fs->close(old);
	assert_int_equal(it->fs->rename(it->fs, it->path, to), -ENOENT);
}

static void test_link_shares_the_file(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file;
	char to[96];

	other_path(it, "link", to);
	assert_int_equal(it->fs->link(it->fs, it->path, to), -ENOENT);
	make_file(it, it->path, "one");
	assert_int_equal(it->fs->link(it->fs, it->path, to), 0);
	assert_int_equal(it->fs->link(it->fs, it->path, to), -EEXIST);
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_APPEND, &file), 0);
	assert_int_equal(append(it, file, "two"), 0);
	it->fs->close(file);
	assert_int_equal(it->fs->unlink(it->fs, it->path), 0);
	assert_content(it, to, "onetwo");
	assert_int_equal(it->fs->unlink(it->fs, it->path), -ENOENT);
}

struct names {
	unsigned count, stop_at;
	bool file, sub;
};

static int visit(void *arg, const char *name)
{
	struct names *names = arg;

	names->count++;
	names->file |= strcmp(name, "file") == 0;
	names->sub |= strcmp(name, "sub") == 0;
	assert_string_not_equal(name, ".");
	assert_string_not_equal(name, "..");
	return names->count == names->stop_at ? -ECANCELED : 0;
}

static void test_directories(void **state)
{
	struct fixture *it = *state;
	struct names names = {0}, stopped = {.stop_at = 1};
	char sub[96], inside[120];

	other_path(it, "sub", sub);
	make_file(it, it->path, "x");
	assert_int_equal(it->fs->list(it->fs, sub, visit, &names), -ENOENT);
	assert_int_equal(it->fs->mkdir(it->fs, sub), 0);
	assert_int_equal(it->fs->mkdir(it->fs, sub), -EEXIST);
	assert_int_equal(it->fs->list(it->fs, it->directory, visit, &names), 0);
	assert_true(names.count == 2 && names.file && names.sub);
	assert_int_equal(it->fs->list(it->fs, it->directory, visit, &stopped), -ECANCELED);
	assert_int_equal(stopped.count, 1);
	assert_int_equal(it->fs->list(it->fs, it->path, visit, &names), -ENOTDIR);
	snprintf(inside, sizeof inside, "%s/x", sub);
	make_file(it, inside, "x");
	assert_int_equal(it->fs->rmdir(it->fs, sub), -ENOTEMPTY);
	assert_int_equal(it->fs->unlink(it->fs, inside), 0);
	assert_int_equal(it->fs->rmdir(it->fs, sub), 0);
	assert_int_equal(it->fs->rmdir(it->fs, sub), -ENOENT);
	snprintf(inside, sizeof inside, "%s/none/x", it->directory);
	assert_int_equal(it->fs->mkdir(it->fs, inside), -ENOENT);
}

static void test_files_are_their_owners_alone(void **state)
{
	struct fixture *it = *state;
	struct stat status;
	char directory[96];
	mode_t mask = umask(0);

	make_file(it, it->path, "secret");
	other_path(it, "directory", directory);
	assert_int_equal(it->fs->mkdir(it->fs, directory), 0);
	umask(mask);
	assert_int_equal(stat(it->path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(stat(directory, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0700);
	assert_int_equal(rmdir(directory), 0);
}

static void test_free_bytes(void **state)
{
	struct fixture *it = *state;
	uint64_t bytes = 0;

	assert_int_equal(it->fs->free_bytes(it->fs, it->directory, &bytes), 0);
	assert_true(bytes > 0);
	assert_int_equal(it->fs->free_bytes(it->fs, it->path, &bytes), -ENOENT);
}

/* ---- the lock ---- */

/* Another process tries to take the lock. What it got. */
static int lock_elsewhere(const struct fixture *it)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct fs_file *file;

		_exit(-it->fs->lock(it->fs, it->path, &file));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void test_lock_is_exclusive(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file, *second;

	assert_int_equal(it->fs->lock(it->fs, it->path, &file), 0);
	assert_int_equal(it->fs->lock(it->fs, it->path, &second), -EWOULDBLOCK);
	assert_int_equal(lock_elsewhere(it), -EWOULDBLOCK);
	it->fs->close(file);
	assert_int_equal(lock_elsewhere(it), 0);
	/* That one ended, and with it its lock. */
	assert_int_equal(it->fs->lock(it->fs, it->path, &file), 0);
	it->fs->close(file);
	other_path(it, "none/lock", it->path);
	assert_int_equal(it->fs->lock(it->fs, it->path, &file), -ENOENT);
}

/* A process that holds the lock is killed: the lock is free at once. */
static void test_lock_goes_with_its_process(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file;
	int ends[2], status;
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (it->fs->lock(it->fs, it->path, &file) || __real_write(ends[1], "x", 1) != 1)
			_exit(1);
		alarm(30); /* when the test fails no one kills it */
		for (;;)
			pause();
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(it->fs->lock(it->fs, it->path, &file), -EWOULDBLOCK);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(it->fs->lock(it->fs, it->path, &file), 0);
	it->fs->close(file);
	close(ends[0]);
	close(ends[1]);
}

/* Descriptors are not handed to programs that the process starts: a child would keep the lock. */
static void test_descriptors_close_on_exec(void **state)
{
	struct fixture *it = *state;
	struct fs_file *lock, *file;
	char path[96], command[200];

	other_path(it, "lock", path);
	assert_int_equal(it->fs->lock(it->fs, path, &lock), 0);
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_CREATE, &file), 0);
	snprintf(command, sizeof command, "! ls -l /proc/self/fd | grep -q %s", it->directory);
	assert_int_equal(system(command), 0);
	it->fs->close(file);
	it->fs->close(lock);
}

/* A path leads to an open file until that is removed, renamed or replaced. */
static void test_is_named(void **state)
{
	struct fixture *it = *state;
	struct fs_file *file, *other;
	char path[96];

	other_path(it, "other", path);
	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_CREATE, &file), 0);
	assert_int_equal(it->fs->is_named(file, it->path), 1);
	assert_int_equal(it->fs->is_named(file, path), 0);
	assert_int_equal(it->fs->rename(it->fs, it->path, path), 0);
	assert_int_equal(it->fs->is_named(file, it->path), 0);
	assert_int_equal(it->fs->is_named(file, path), 1);
	assert_int_equal(it->fs->unlink(it->fs, path), 0);
	assert_int_equal(it->fs->is_named(file, path), 0);
	assert_int_equal(it->fs->open(it->fs, path, FS_OPEN_CREATE, &other), 0);
	assert_int_equal(it->fs->is_named(file, path), 0);
	assert_int_equal(it->fs->is_named(file, "/proc/self/exe/x"), 0);
	it->fs->close(file);
	it->fs->close(other);
}

/* Synced bytes are read from the medium after it, unsynced ones stay. */
static void test_drop_cached_keeps_the_bytes(void **state)
{
	struct fixture *it = *state;
	struct iovec part = {"some bytes", 10};
	struct fs_file *file;
	char bytes[10];

	assert_int_equal(it->fs->open(it->fs, it->path, FS_OPEN_CREATE, &file), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(it->fs->append(file, &part, 1), 0);
		it->fs->drop_cached(file, 3, 4);
		it->fs->drop_cached(file, 0, 0);
		assert_int_equal(it->fs->pread(file, bytes, 10, (uint64_t)i * 10), 10);
		assert_memory_equal(bytes, "some bytes", 10);
		assert_int_equal(it->fs->sync(file), 0);
	}
	it->fs->close(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_modes),
		TEST(test_pread_at_the_end),
		TEST(test_short_and_interrupted_calls),
		TEST(test_very_many_parts),
		TEST(test_truncate),
		TEST(test_full_device),
		TEST(test_syncs_reach_the_system),
		TEST(test_rename_replaces),
		TEST(test_link_shares_the_file),
		TEST(test_directories),
		TEST(test_files_are_their_owners_alone),
		TEST(test_free_bytes),
		TEST(test_lock_is_exclusive),
		TEST(test_lock_goes_with_its_process),
		TEST(test_descriptors_close_on_exec),
		TEST(test_is_named),
		TEST(test_drop_cached_keeps_the_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
