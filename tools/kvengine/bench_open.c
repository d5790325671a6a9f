/* SPDX-License-Identifier: Apache-2.0 */
/* open: how long it takes to open a store whose process was killed in the middle of writing. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/kvengine/bench_worker.h"

/* In the child: writes, with flushes and merges going on beside it, and dies. */
static void write_and_die(struct bench *bench, uint64_t writes)
{
	struct worker worker = {.bench = bench, .operations = writes, .random = {bench->options->seed}};

	if (jobs_create(bench->options->job_threads, &bench->jobs) || bench_open_engine(bench))
		_exit(1);
	worker.shard = engine_shard(bench->engine, 0);
	bench_fillrandom(&worker);
	if (worker.error)
		_exit(1);
	kill(getpid(), SIGKILL);
}

/* Opens, and reads one key: a store is open when it answers. */
static int open_and_read(struct bench *bench)
{
	struct worker worker = {.bench = bench};
	uint8_t bytes[BENCH_KEY_ROOM];
	struct engine_value value;
	int error = bench_open_engine(bench);

	if (error)
		return error;
	worker.shard = engine_shard(bench->engine, 0);
	error = worker_check(&worker, 0, shard_get(worker.shard, worker_key(&worker, 0, bytes), &value), &value);
	return error < 0 ? worker_fail(&worker, error, "read after opening") : 0;
}

static void report(const struct bench *bench, uint64_t writes, double ms)
{
	struct shard_stats stats;

	shard_stats(engine_shard(bench->engine, 0), &stats);
	if (bench->options->json)
		printf("{\"workload\": \"open\", \"milliseconds\": %.3f, \"operations\": %" PRIu64
		       ", \"replayed\": %" PRIu64 "}\n",
		       ms, writes, stats.recovered_batches);
	else
		printf("%-16s %9.3f ms, killed after %" PRIu64 " writes, %" PRIu64 " batches replayed\n", "open", ms,
		       writes, stats.recovered_batches);
	fflush(stdout);
}

int bench_open_after_kill(struct bench *bench)
{
	uint64_t writes = bench->options->writes ? bench->options->writes : bench->options->key_count, begin;
	int error = bench_empty_store(bench), status;
	pid_t child;

	if (error)
		return error;
	fflush(stdout);
	jobs_destroy(&bench->jobs); /* a fork takes no threads along */
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0)
		write_and_die(bench, writes);
	if (waitpid(child, &status, 0) < 0 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		fprintf(stderr, "kvengine bench: open: the process that was to be killed ended otherwise\n");
		return -EIO;
	}
	error = jobs_create(bench->options->job_threads, &bench->jobs);
	if (error)
		return error;
	begin = bench_now_ns();
	error = open_and_read(bench);
	if (error == 0)
		report(bench, writes, (double)(bench_now_ns() - begin) / 1e6);
	return error;
}
