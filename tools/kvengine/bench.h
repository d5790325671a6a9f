/* SPDX-License-Identifier: Apache-2.0 */
/* Bench: workloads of db_bench against the engine alone, with background jobs on threads of their own. Every value that is
 * read is compared with what was written (bench_data.h).
 *
 * Threading   bench_main and bench_run are called once, from main.
 * Errors      0 or a negative errno, having printed what went wrong.
 */
#ifndef KVRING_TOOLS_KVENGINE_BENCH_H
#define KVRING_TOOLS_KVENGINE_BENCH_H

#include "engine/engine.h"

struct bench_options {
	struct engine_options engine;
	const char *workloads; /* comma separated */
	uint64_t key_count;
	uint64_t reads;  /* 0: key_count */
	uint64_t writes; /* 0: key_count, or a part of it where every write is synced */
	uint32_t key_bytes, value_bytes;
	uint32_t threads; /* readers beside the writer */
	uint32_t job_threads;
	uint32_t duration_s; /* of readwhilewriting; 0: until the reads are done */
	uint64_t write_rate; /* bytes per second of keys and values in readwhilewriting; 0: no limit */
	uint64_t seed;
	bool keep; /* use what is in the directory */
	bool json;
};

/* The command line; returns the exit status. */
int bench_main(int argc, char **argv);
int bench_run(const struct bench_options *);
/* For --help: one line per workload. NULL: out of memory; free it. */
char *bench_workloads_help(void);

#endif
