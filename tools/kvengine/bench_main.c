/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `kvengine bench`. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/kvengine/bench_worker.h"

#define DEFAULT_WORKLOADS "fillseq,fillrandom,overwrite,readrandom,readmissing,readhot,seekrandom,readwhilewriting,open"

enum {
	KEY_NUM = 256,
	KEY_READS,
	KEY_WRITES,
	KEY_KEY_BYTES,
	KEY_VALUE_BYTES,
	KEY_SHARDS,
	KEY_THREADS,
	KEY_JOB_THREADS,
	KEY_CACHE,
	KEY_MEMTABLE,
	KEY_BLOCK,
	KEY_BITS,
	KEY_COMPRESSION,
	KEY_DURATION,
	KEY_WRITE_RATE,
	KEY_SEED,
	KEY_KEEP,
	KEY_JSON,
	THREADS_MAX = 256,
	CACHE_MB_MAX = 1024 * 1024,
};

#define KEYS_MAX UINT64_C(1000000000000) /* for ever, on any machine of today */

static const struct argp_option bench_argp_options[] = {
	{"workloads", 'w', "LIST", 0, "comma separated, see below", 0},
	{"num", KEY_NUM, "N", 0, "keys (default 1000000)", 0},
	{"reads", KEY_READS, "N", 0, "read operations of a workload (default: as many as keys)", 0},
	{"writes", KEY_WRITES, "N", 0, "write operations of a workload (default: as many as keys)", 0},
	{"key-bytes", KEY_KEY_BYTES, "BYTES", 0, "8 to 64 (default 16)", 0},
	{"value-bytes", KEY_VALUE_BYTES, "BYTES", 0, "up to 524288 (default 128)", 0},
	{"shards", KEY_SHARDS, "N", 0, "one owner thread each (default 1)", 0},
	{"threads", KEY_THREADS, "N", 0, "readers beside the writer in readwhilewriting (default 1)", 0},
	{"job-threads", KEY_JOB_THREADS, "N", 0,
	 "for deep merges; one more merges the newest runs, one more flushes (default 1)", 0},
	{"cache-mb", KEY_CACHE, "MIB", 0, "block cache of all shards together (default 256)", 0},
	{"memtable-mb", KEY_MEMTABLE, "MIB", 0, "per shard (default 64)", 0},
	{"block-bytes", KEY_BLOCK, "BYTES", 0, "(default 4096)", 0},
	{"filter-bits", KEY_BITS, "N", 0, "per key (default 10)", 0},
	{"compression", KEY_COMPRESSION, "NAME", 0,
	 "none, lz4, zstd, or default: lz4 above and zstd last (default none)", 0},
	{"duration", KEY_DURATION, "SECONDS", 0, "of readwhilewriting (default: until the reads are done)", 0},
	{"write-rate", KEY_WRITE_RATE, "BYTES", 0,
	 "of keys and values per second, beside the readers of readwhilewriting (default: as many as it can)", 0},
	{"seed", KEY_SEED, "N", 0, "of the choice of keys (default 1)", 0},
	{"keep", KEY_KEEP, NULL, 0, "do not empty the directory before fill workloads", 0},
	{"json", KEY_JSON, NULL, 0, "one JSON object per workload and line", 0},
	{0},
};

static int set_compression(struct engine_options *options, const char *name)
{
	if (strcmp(name, "default") == 0) {
		options->compression_upper = ENGINE_COMPRESSION_LZ4;
		options->compression_last = ENGINE_COMPRESSION_ZSTD;
		return 0;
	}
	if (strcmp(name, "none") == 0)
		options->compression_upper = ENGINE_COMPRESSION_NONE;
	else if (strcmp(name, "lz4") == 0)
		options->compression_upper = ENGINE_COMPRESSION_LZ4;
	else if (strcmp(name, "zstd") == 0)
		options->compression_upper = ENGINE_COMPRESSION_ZSTD;
	else
		return -EINVAL;
	options->compression_last = options->compression_upper;
	return 0;
}

static uint64_t number(struct argp_state *state, const char *name, const char *arg, uint64_t min, uint64_t max)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(arg, &end, 10);

	if (*end || end == arg || *arg == '-' || errno || value < min || value > max)
		argp_error(state, "--%s is a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, min, max, arg);
	return value;
}

/* The store, and where it is. */
static error_t parse_store(int key, char *arg, struct argp_state *state)
{
	struct engine_options *engine = &((struct bench_options *)state->input)->engine;

	switch (key) {
	case KEY_SHARDS:
		engine->shard_count = (uint32_t)number(state, "shards", arg, 1, ENGINE_SHARDS_MAX);
		return 0;
	case KEY_CACHE:
		engine->cache_bytes = (size_t)number(state, "cache-mb", arg, 1, CACHE_MB_MAX) << 20;
		return 0;
	case KEY_MEMTABLE:
		engine->memtable_bytes = (size_t)number(state, "memtable-mb", arg, 1, 1024) << 20;
		return 0;
	case KEY_BLOCK:
		engine->block_bytes = (size_t)number(state, "block-bytes", arg, 4096, 65536);
		return 0;
	case KEY_BITS:
		engine->filter_bits_per_key = (uint32_t)number(state, "filter-bits", arg, 0, 32);
		return 0;
	case KEY_COMPRESSION:
		if (set_compression(engine, arg))
			argp_error(state, "compression '%s'? none, lz4, zstd or default", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (engine->directory != NULL)
			argp_error(state, "one directory, please");
		engine->directory = arg;
		return 0;
	case ARGP_KEY_END:
		if (engine->directory == NULL)
			argp_error(state, "name a directory for the store");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_bench(int key, char *arg, struct argp_state *state)
{
	struct bench_options *options = state->input;

	switch (key) {
	case 'w':
		options->workloads = arg;
		return 0;
	case KEY_NUM:
		options->key_count = number(state, "num", arg, 1, KEYS_MAX);
		return 0;
	case KEY_READS:
		options->reads = number(state, "reads", arg, 1, KEYS_MAX);
		return 0;
	case KEY_WRITES:
		options->writes = number(state, "writes", arg, 1, KEYS_MAX);
		return 0;
	case KEY_KEY_BYTES:
		options->key_bytes = (uint32_t)number(state, "key-bytes", arg, 8, BENCH_KEY_MAX);
		return 0;
	case KEY_VALUE_BYTES:
		options->value_bytes = (uint32_t)number(state, "value-bytes", arg, 0, BENCH_VALUE_MAX);
		return 0;
	case KEY_THREADS:
		options->threads = (uint32_t)number(state, "threads", arg, 1, THREADS_MAX);
		return 0;
	case KEY_JOB_THREADS:
		options->job_threads = (uint32_t)number(state, "job-threads", arg, 1, THREADS_MAX);
		return 0;
	case KEY_DURATION:
		options->duration_s = (uint32_t)number(state, "duration", arg, 0, 86400);
		return 0;
	case KEY_WRITE_RATE:
		options->write_rate = number(state, "write-rate", arg, 0, UINT64_MAX);
		return 0;
	case KEY_SEED:
		options->seed = number(state, "seed", arg, 0, UINT64_MAX);
		return 0;
	case KEY_KEEP:
		options->keep = true;
		return 0;
	case KEY_JSON:
		options->json = true;
		return 0;
	default:
		return parse_store(key, arg, state);
	}
}

/* The list of workloads is made where they are. */
static char *make_doc(void)
{
	char *workloads = bench_workloads_help(), *doc = NULL;

	if (workloads != NULL &&
	    asprintf(&doc,
		     "Measures the engine alone, with the workloads of db_bench. DIR is new, empty, or of an earlier "
		     "run; "
		     "workloads that begin with an empty store empty it.\v"
		     "Workloads, done in the order of the list (default: %s):\n%s\n"
		     "ops/s are operations per second of all threads, p50, p99 and p99.9 microseconds per operation "
		     "(one "
		     "in %d is timed; each one in readwhilewriting and fillsync16), disk is in 10^6 bytes, "
		     "written/user is "
		     "bytes written by the engine per byte of keys and values since the store was opened. Every value "
		     "read is compared with what was written; another one ends the run.",
		     DEFAULT_WORKLOADS, workloads, BENCH_SAMPLE_EVERY) < 0)
		doc = NULL;
	free(workloads);
	return doc;
}

int bench_main(int argc, char **argv)
{
	struct argp argp = {bench_argp_options, parse_bench, "DIR", make_doc(), NULL, NULL, NULL};
	struct bench_options options = {
		.workloads = DEFAULT_WORKLOADS,
		.key_count = 1000000,
		.key_bytes = 16,
		.value_bytes = 128,
		.threads = 1,
		.job_threads = 1,
		.seed = 1,
	};
	int error;

	engine_options_default(&options.engine);
	options.engine.shard_count = 1;
	(void)set_compression(&options.engine, "none");
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	free((char *)argp.doc);
	error = bench_run(&options);
	if (error == -ENOMEM || error == -EAGAIN) /* of what else went wrong the words are there already */
		fprintf(stderr, "kvengine bench: %s\n", strerror(-error));
	return error ? 1 : 0;
}
