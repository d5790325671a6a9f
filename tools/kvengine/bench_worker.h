/* SPDX-License-Identifier: Apache-2.0 */
/* Bench worker: one thread's part of a workload, and what the workloads have in common.
 *
 * Threading   A worker is used by one thread, which owns its shard (or reads beside the owner through snapshots).
 * Ownership   Workers borrow the bench, its engine and its pool.
 * Errors      A workload that fails has printed why and leaves it in worker->error.
 */
#ifndef KVRING_TOOLS_KVENGINE_BENCH_WORKER_H
#define KVRING_TOOLS_KVENGINE_BENCH_WORKER_H

#include "tools/kvengine/bench.h"
#include "tools/kvengine/bench_data.h"
#include "tools/measure/histogram.h"
#include "tools/kvengine/jobs.h"

enum {
	BENCH_TEND_EVERY = 64,  /* writes between looks at the background jobs */
	BENCH_SAMPLE_EVERY = 8, /* operations between those that are timed */
};

struct bench {
	const struct bench_options *options;
	struct engine *engine;
	struct jobs *jobs;
	struct bench_data data;
	uint64_t run_count; /* workloads begun: no two draw the same numbers */
};

struct worker {
	struct bench *bench;
	struct shard *shard;
	uint32_t index; /* of the shard */
	uint64_t operations;
	struct random random;
	struct histogram histogram;
	uint64_t found;
	uint64_t written_beside; /* by the writer in readwhilewriting */
	int error;
};

int worker_fail(struct worker *, int error, const char *what);
/* Keys are dealt to the shards by number: shard i of n holds those that are i modulo n. A worker that draws another's
 * number takes its neighbour (with two shards a hot key thus becomes two that are half as hot: more to cache, not less). */
uint64_t worker_own_number(const struct worker *, uint64_t number);
uint64_t worker_random_number(struct worker *);
/* 1, or -EBADMSG with a line on stderr: not what was written for the number. */
__attribute__((warn_unused_result)) int worker_compare(const struct worker *, uint64_t number, const void *, size_t);
/* error of a get: counts what was found, checks the value and releases it. 1, 0 or -errno. */
__attribute__((warn_unused_result)) int worker_check(struct worker *, uint64_t number, int error,
						     struct engine_value *);
/* Begins and ends the timing of an operation, when it is one of those that are timed. */
uint64_t worker_begin(uint64_t operation);
void worker_end(struct worker *, uint64_t begin);

struct engine_slice worker_key(const struct worker *, uint64_t number, uint8_t out[BENCH_KEY_ROOM]);
__attribute__((warn_unused_result)) int worker_add(struct worker *, struct engine_batch *, uint64_t number);
/* Writes and commits, waiting for background work as the engine asks for it. */
__attribute__((warn_unused_result)) int worker_write(struct worker *, const struct engine_batch *, enum engine_sync);
__attribute__((warn_unused_result)) int worker_put(struct worker *, struct engine_batch *, uint64_t number,
						   enum engine_sync);

/* bench_write.c */
void bench_fillseq(struct worker *);
void bench_fillrandom(struct worker *);
void bench_fillsync(struct worker *);
/* bench_read.c */
void bench_readrandom(struct worker *);
void bench_readmissing(struct worker *);
void bench_readhot(struct worker *);
void bench_seekrandom(struct worker *);
void bench_scanrandom(struct worker *);
/* bench_beside.c */
void bench_readwhilewriting(struct worker *);
/* bench_clients.c */
void bench_fillsync16(struct worker *);

/* bench_store.c: the store that is measured */
__attribute__((warn_unused_result)) int bench_open_engine(struct bench *);
__attribute__((warn_unused_result)) int bench_settle(struct bench *);       /* flushes and waits for the background */
__attribute__((warn_unused_result)) int bench_close_engine(struct bench *); /* waits for the background first */
__attribute__((warn_unused_result)) int bench_empty_store(struct bench *);  /* leaves it closed */
/* bench_floor.c: what the machine allows */
__attribute__((warn_unused_result)) int bench_floor(struct bench *);
/* bench_open.c: kills a process in the middle of writing and opens what it leaves */
__attribute__((warn_unused_result)) int bench_open_after_kill(struct bench *);

#endif
