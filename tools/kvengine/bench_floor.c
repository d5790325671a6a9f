/* SPDX-License-Identifier: Apache-2.0 */
/* floor: what this machine allows. The system calls and memory accesses that the engine cannot do without, each alone, with
 * the sizes of the other workloads. An operation's time beside the sum of those it needs says how much is the engine's. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "tools/kvengine/bench_worker.h"

enum {
	ENTRY_OVERHEAD = 26, /* of a log batch with one entry */
	FILE_BYTES = 64 << 20,
	MEMORY_BYTES = 256 << 20, /* well beyond any cache of the processor */
	WRITES = 200000,
	SYNCS = 500,
	READS = 200000,
	LOADS = 5000000,
};

static int report(const struct bench *bench, const char *what, size_t bytes, uint64_t begin, uint64_t count)
{
	double us = (double)(bench_now_ns() - begin) / 1e3 / (double)count;

	if (bench->options->json)
		printf("{\"workload\": \"floor\", \"what\": \"%s\", \"bytes\": %zu, \"us\": %.4f}\n", what, bytes, us);
	else
		printf("%-16s %9.3f us  %s, %zu bytes\n", "floor", us, what, bytes);
	fflush(stdout);
	return 0;
}

static int floor_writes(const struct bench *bench, int fd)
{
	size_t size = bench->options->key_bytes + bench->options->value_bytes + ENTRY_OVERHEAD;
	uint64_t begin = bench_now_ns();

	for (int i = 0; i < WRITES; i++) {
		if (write(fd, bench->data.text, size) != (ssize_t)size)
			return -errno;
	}
	report(bench, "append to the page cache", size, begin, WRITES);
	if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET))
		return -errno;
	begin = bench_now_ns();
	for (int i = 0; i < SYNCS; i++) {
		if (write(fd, bench->data.text, size) != (ssize_t)size || fdatasync(fd))
			return -errno;
	}
	return report(bench, "append and fdatasync", size, begin, SYNCS);
}

static int floor_reads(const struct bench *bench, int fd, struct random *random)
{
	size_t block = bench->options->engine.block_bytes, sum = 0;
	char *buffer = malloc(block);
	uint64_t begin;

	if (buffer == NULL || ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET)) {
		free(buffer);
		return buffer != NULL ? -errno : -ENOMEM;
	}
	for (size_t at = 0; at < FILE_BYTES; at += block)
		sum += (size_t)write(fd, bench->data.text, block);
	begin = bench_now_ns();
	for (int i = 0; i < READS; i++)
		sum += (size_t)pread(fd, buffer, block, (off_t)(random_next(random) % (FILE_BYTES / block) * block));
	report(bench, "read from the page cache", block, begin, READS);
	begin = bench_now_ns();
	for (int i = 0; i < READS; i++)
		sum += XXH3_64bits(buffer, block);
	report(bench, "checksum in the cache", block, begin, READS);
	free(buffer);
	return sum ? 0 : -EIO; /* the loops are not to be optimized away */
}

/* Each load needs the one before: a walk along one random cycle through memory (Sattolo's shuffle). */
static int floor_misses(const struct bench *bench, struct random *random)
{
	size_t count = MEMORY_BYTES / 64, at = 0;
	size_t(*lines)[8] = malloc(MEMORY_BYTES);
	uint64_t begin;

	if (lines == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		lines[i][0] = i;
	for (size_t i = count; i-- > 1;) {
		size_t other = random_next(random) % i, keep = lines[i][0];

		lines[i][0] = lines[other][0];
		lines[other][0] = keep;
	}
	begin = bench_now_ns();
	for (int i = 0; i < LOADS; i++)
		at = lines[at][0];
	report(bench, "load that misses the processor's cache", 64, begin, LOADS);
	free(lines);
	return at < count ? 0 : -EIO;
}

int bench_floor(struct bench *bench)
{
	struct random random = {bench->options->seed};
	char path[4200];
	int fd, error;

	snprintf(path, sizeof path, "%s/floor", bench->options->engine.directory);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	unlink(path); /* gone with the descriptor, whatever happens */
	error = floor_writes(bench, fd);
	if (error == 0)
		error = floor_reads(bench, fd, &random);
	if (error == 0)
		error = floor_misses(bench, &random);
	close(fd);
	if (error)
		fprintf(stderr, "kvengine bench: floor: %s\n", strerror(-error));
	return error;
}
