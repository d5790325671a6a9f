/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvengine/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tools/kvengine/bench_worker.h"
#include "tools/kvengine/scratch.h"

/* What is done with the name of a workload: one of run and act is set. */
struct workload {
	const char *name;
	const char *help;
	void (*run)(struct worker *);
	int (*act)(struct bench *);
	bool empties; /* begins with an empty store */
	bool writes;
	bool one_owner;  /* works on one shard; threads are readers or clients */
	uint64_t divide; /* fewer operations unless told: syncs are slow */
};

/* One run of one, for the report. */
struct outcome {
	const struct workload *workload;
	uint64_t operations, found, written_beside, ns;
	struct shard_stats before, after;
	struct histogram histogram;
};

struct start {
	const struct workload *workload;
	struct worker worker;
	pthread_t thread;
};

static const struct workload workloads[] = {
	{"fillseq", "writes keys in order, into an empty store", bench_fillseq, NULL, true, true, false, 1},
	{"fillrandom", "writes keys at random, into an empty store", bench_fillrandom, NULL, true, true, false, 1},
	{"overwrite", "the same into the store as it is", bench_fillrandom, NULL, false, true, false, 1},
	{"readrandom", "gets keys at random; those never written are not found", bench_readrandom, NULL, false, false,
	 false, 1},
	{"readmissing", "gets keys that lie between the others", bench_readmissing, NULL, false, false, false, 1},
	{"readhot", "gets keys of a zipfian distribution, exponent 1", bench_readhot, NULL, false, false, false, 1},
	{"seekrandom", "a new iterator, set on a key at random", bench_seekrandom, NULL, false, false, false, 1},
	{"scanrandom", "the same, and 10 steps forward", bench_scanrandom, NULL, false, false, false, 1},
	{"readwhilewriting", "gets by --threads readers beside one that overwrites", bench_readwhilewriting, NULL,
	 false, false, true, 1},
	{"fillsync", "fillrandom, each write synced (keys/1000 of them)", bench_fillsync, NULL, true, true, true, 1000},
	{"fillsync16", "the same from 16 clients who share syncs (keys/100)", bench_fillsync16, NULL, true, true, true,
	 100},
	{"open", "opens what kill -9 leaves in the middle of a fillrandom", NULL, bench_open_after_kill, false, false,
	 false, 1},
	{"floor", "the system calls and cache misses that all rest on, alone", NULL, bench_floor, false, false, false,
	 1},
	{"settle", "flushes, and waits until the background is idle", NULL, bench_settle, false, false, false, 1},
};

enum { WORKLOAD_COUNT = sizeof workloads / sizeof workloads[0] };

char *bench_workloads_help(void)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return NULL;
	for (int i = 0; i < WORKLOAD_COUNT; i++)
		fprintf(out, "  %-17s %s\n", workloads[i].name, workloads[i].help);
	return fclose(out) == 0 ? text : NULL;
}

/* ---- report --------------------------------------------------------------------------------------------------- */

static void sum_stats(const struct bench *bench, struct shard_stats *sum)
{
	*sum = (struct shard_stats){0};
	for (uint32_t i = 0; i < engine_shard_count(bench->engine); i++) {
		struct shard_stats stats;

		shard_stats(engine_shard(bench->engine, i), &stats);
		sum->disk_bytes += stats.disk_bytes;
		sum->user_bytes_written += stats.user_bytes_written;
		sum->log_bytes_written += stats.log_bytes_written;
		sum->flush_bytes_written += stats.flush_bytes_written;
		sum->compaction_bytes_written += stats.compaction_bytes_written;
		sum->table_count += stats.table_count;
		sum->cache_hits += stats.cache_hits;
		sum->cache_misses += stats.cache_misses;
	}
}

static double quantile_us(const struct outcome *it, double quantile)
{
	return (double)histogram_quantile(&it->histogram, quantile) / 1e3;
}

static void report_json(const struct outcome *it, double seconds, uint64_t written_bytes)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"workload\": \"%s\", \"ops_per_second\": %.0f, \"seconds\": %.3f, \"operations\": %" PRIu64
	       ", \"found\": %" PRIu64 ", \"written_beside\": %" PRIu64,
	       it->workload->name, (double)it->operations / seconds, seconds, it->operations, it->found,
	       it->written_beside);
	printf(", \"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.0f", quantile_us(it, 0.5),
	       quantile_us(it, 0.99), quantile_us(it, 0.999), quantile_us(it, 1));
	printf(", \"disk_bytes\": %" PRIu64 ", \"user_bytes\": %" PRIu64 ", \"written_bytes\": %" PRIu64
	       ", \"flushed_here\": %" PRIu64 ", \"merged_here\": %" PRIu64 ", \"rss_kb\": %ld}\n",
	       it->after.disk_bytes, it->after.user_bytes_written, written_bytes,
	       it->after.flush_bytes_written - it->before.flush_bytes_written,
	       it->after.compaction_bytes_written - it->before.compaction_bytes_written, usage.ru_maxrss);
}

static void report_text(const struct outcome *it, double seconds, uint64_t written_bytes)
{
	const struct shard_stats *stats = &it->after;

	printf("%-16s %9.0f ops/s %8.3f us/op  p50 %7.2f  p99 %8.2f  p99.9 %8.2f  max %9.0f us  found %" PRIu64,
	       it->workload->name, (double)it->operations / seconds, seconds * 1e6 / (double)it->operations,
	       quantile_us(it, 0.5), quantile_us(it, 0.99), quantile_us(it, 0.999), quantile_us(it, 1), it->found);
	printf("  tables %u  disk %.1f MB  written/user %.2f  cache hits %.3f", stats->table_count,
	       (double)stats->disk_bytes / 1e6,
	       stats->user_bytes_written ? (double)written_bytes / (double)stats->user_bytes_written : 0,
	       (double)stats->cache_hits / (double)(stats->cache_hits + stats->cache_misses + 1));
	if (it->written_beside)
		printf("  (%" PRIu64 " writes beside)", it->written_beside);
	printf("\n");
}

static void report(const struct bench *bench, const struct outcome *it)
{
	uint64_t written_bytes =
		it->after.log_bytes_written + it->after.flush_bytes_written + it->after.compaction_bytes_written;

	(bench->options->json ? report_json : report_text)(it, (double)it->ns / 1e9, written_bytes);
	fflush(stdout);
}

/* ---- running one ---------------------------------------------------------------------------------------------- */

static void *run_worker(void *arg)
{
	struct start *start = arg;

	start->workload->run(&start->worker);
	return NULL;
}

static uint64_t operation_count(const struct bench_options *options, const struct workload *workload)
{
	uint64_t asked = workload->writes ? options->writes : options->reads;

	if (asked)
		return asked;
	return options->key_count < workload->divide ? 1 : options->key_count / workload->divide;
}

static struct worker make_worker(struct bench *bench, uint32_t index, uint64_t operations)
{
	struct random random = {bench->options->seed + (bench->run_count << 32) + index};

	/* Hashed, so that no two runs share a part of the sequence of numbers. */
	random.state = random_next(&random);
	return (struct worker){.bench = bench,
			       .shard = engine_shard(bench->engine, index),
			       .index = index,
			       .operations = operations,
			       .random = random};
}

static int run_workers(struct bench *bench, struct outcome *it, struct start *starts, unsigned count)
{
	uint64_t total = operation_count(bench->options, it->workload), begin = bench_now_ns();
	int error = 0;

	for (unsigned i = 0; i < count; i++) {
		starts[i] = (struct start){it->workload, make_worker(bench, i, total / count + (i < total % count))};
		if (pthread_create(&starts[i].thread, NULL, run_worker, &starts[i])) {
			fprintf(stderr, "kvengine bench: no thread for shard %u\n", i);
			exit(1); /* others are under way */
		}
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(starts[i].thread, NULL);
	it->ns = bench_now_ns() - begin;
	for (unsigned i = 0; i < count; i++) {
		if (starts[i].worker.error)
			error = starts[i].worker.error;
		it->operations += starts[i].worker.operations;
		it->found += starts[i].worker.found;
		it->written_beside += starts[i].worker.written_beside;
		histogram_add(&it->histogram, &starts[i].worker.histogram);
	}
	return error;
}

static int run_workload(struct bench *bench, const struct workload *workload)
{
	unsigned count = workload->one_owner ? 1 : engine_shard_count(bench->engine);
	struct start *starts = calloc(count, sizeof *starts);
	struct outcome *it = calloc(1, sizeof *it);
	int error = starts != NULL && it != NULL ? 0 : -ENOMEM;

	bench->run_count++;
	if (error == 0) {
		it->workload = workload;
		sum_stats(bench, &it->before);
		error = run_workers(bench, it, starts, count);
	}
	if (error == 0) {
		sum_stats(bench, &it->after);
		report(bench, it);
	}
	free(starts);
	free(it);
	return error;
}

/* ---- running all ---------------------------------------------------------------------------------------------- */

static const struct workload *find(const char *name)
{
	for (int i = 0; i < WORKLOAD_COUNT; i++)
		if (strcmp(name, workloads[i].name) == 0)
			return &workloads[i];
	fprintf(stderr, "kvengine bench: no workload '%s'. There are:", name);
	for (int i = 0; i < WORKLOAD_COUNT; i++)
		fprintf(stderr, " %s", workloads[i].name);
	fprintf(stderr, "\n");
	return NULL;
}

/* A wrong name is found before anything is written. */
static int check_names(const char *list)
{
	char *copy = strdup(list), *rest = copy;
	int error = copy != NULL ? 0 : -ENOMEM;

	for (char *name; error == 0 && (name = strsep(&rest, ",")) != NULL;)
		error = find(name) != NULL ? 0 : -EINVAL;
	free(copy);
	return error;
}

static int run_named(struct bench *bench, const char *name)
{
	const struct workload *workload = find(name);
	int error = 0;

	if (workload->act != NULL)
		return workload->act(bench);
	if (workload->empties && !bench->options->keep) {
		error = bench_empty_store(bench);
		if (error == 0)
			error = bench_open_engine(bench);
	}
	return error ? error : run_workload(bench, workload);
}

static int run_all(struct bench *bench)
{
	char *list = strdup(bench->options->workloads), *rest = list;
	int error = list != NULL ? jobs_create(bench->options->job_threads, &bench->jobs) : -ENOMEM;

	if (error == 0)
		error = bench_open_engine(bench);
	for (char *name; error == 0 && (name = strsep(&rest, ",")) != NULL;)
		error = run_named(bench, name);
	if (error == 0)
		error = bench_close_engine(bench);
	jobs_destroy(&bench->jobs);
	free(list);
	return error;
}

int bench_run(const struct bench_options *asked)
{
	struct bench_options options = *asked;
	struct bench bench = {.options = &options,
			      .data = {.key_count = asked->key_count,
				       .key_bytes = asked->key_bytes,
				       .value_bytes = asked->value_bytes}};
	char store[4096];
	int error = check_names(options.workloads);

	if (error == 0)
		error = scratch_open(asked->engine.directory, store, sizeof store);
	if (error)
		return error;
	options.engine.directory = store;
	/* The text is the same whatever the seed: a store can be read with another than it was written with. */
	error = bench_data_init(&bench.data, 1);
	if (error == 0)
		error = run_all(&bench);
	bench_data_fini(&bench.data);
	return error;
}
