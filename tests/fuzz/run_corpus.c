/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over its corpus: main() where libFuzzer is not linked in.
 *
 *     run_corpus FILE-OR-DIRECTORY...
 *
 * Every file is fed as it is, then every shorter prefix of it: truncation is the fault that the disk and the network
 * make most. Fails when there was no file at all.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PREFIXES_MAX = 2048 }; /* longer files are cut at every n-th byte */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned files_run;

static void die(const char *path, const char *why)
{
	fprintf(stderr, "run_corpus: %s: %s\n", path, why);
	exit(1);
}

/* In a block of exactly this size, so that a sanitizer sees the first byte read too far. */
static void feed(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size == 0 ? 1 : size);
	if (copy == NULL)
		die("input", "out of memory");
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void run_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(size + 1);
	if (file == NULL || data == NULL)
		die(path, strerror(errno));
	if (fread(data, 1, size, file) != size)
		die(path, "cannot read all of it");
	fclose(file);
	size_t step = size / PREFIXES_MAX + 1;
	for (size_t prefix = 0; prefix < size; prefix += step)
		feed(data, prefix);
	feed(data, size);
	free(data);
	files_run++;
}

static void run_path(const char *path)
{
	struct stat info;
	if (stat(path, &info) < 0)
		die(path, strerror(errno));
	if (!S_ISDIR(info.st_mode)) {
		run_file(path, (size_t)info.st_size);
		return;
	}
	DIR *directory = opendir(path);
	if (directory == NULL)
		die(path, strerror(errno));
	struct dirent *entry;
	while ((entry = readdir(directory)) != NULL) {
		char inside[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
		run_path(inside);
	}
	closedir(directory);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	if (files_run == 0)
		die(argc > 1 ? argv[1] : "(nothing)", "no file in the corpus");
	printf("%u files\n", files_run);
	return 0;
}
