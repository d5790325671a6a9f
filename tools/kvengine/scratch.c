/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/kvengine/scratch.h"

enum { PATH_SIZE = 4096, OPEN_DIRECTORIES = 16 };

/* 1, 0 or -errno. */
static int is_empty(const char *directory)
{
	struct dirent *entry;
	bool empty = true;
	DIR *listing = opendir(directory);

	if (listing == NULL)
		return -errno;
	while (empty && (entry = readdir(listing)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(listing);
	return empty;
}

static int fail(int error, const char *path)
{
	fprintf(stderr, "kvengine bench: cannot use %s: %s; name a new or empty directory\n", path, strerror(-error));
	return error;
}

int scratch_open(const char *directory, char *store_out, size_t size)
{
	char marker[PATH_SIZE];
	int fd, empty;

	if (snprintf(marker, sizeof marker, "%s/kvengine-bench", directory) >= (int)sizeof marker ||
	    snprintf(store_out, size, "%s/store", directory) >= (int)size)
		return fail(-ENAMETOOLONG, directory);
	if (mkdir(directory, 0777) != 0 && errno != EEXIST)
		return fail(-errno, directory);
	empty = is_empty(directory);
	if (empty < 0)
		return fail(empty, directory);
	if (!empty && access(marker, F_OK) != 0) {
		fprintf(stderr,
			"kvengine bench: %s holds something else; fill workloads would empty it. Name a new or empty "
			"directory.\n",
			directory);
		return -ENOTEMPTY;
	}
	fd = open(marker, O_WRONLY | O_CREAT, 0666);
	if (fd < 0)
		return fail(-errno, marker);
	close(fd);
	return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	return remove(path) == 0 ? 0 : -errno;
}

int scratch_empty(const char *store)
{
	int error = nftw(store, remove_one, OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS);

	return error == -1 && errno == ENOENT ? 0 : error == -1 ? -errno : error;
}
