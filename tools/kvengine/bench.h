/* Bench: workloads of db_bench against the engine alone, with background jobs on threads of their own.
 *
 * Keys are those of db_bench: the number, big endian in eight bytes, padded with '0' to the key size. Values are cut
 * out of random text that compresses to about half, at a place that the key chooses, so that every read is checked byte
 * by byte.
 *
 * Threading   bench_run is called once, from main.
 * Errors      0 or a negative errno, having printed what went wrong.
 */
#ifndef KVRING_TOOLS_KVENGINE_BENCH_H
#define KVRING_TOOLS_KVENGINE_BENCH_H

#include "engine.h"

struct bench_options {
	struct engine_options engine;
	const char *workloads; /* comma separated */
	uint64_t key_count;
	uint64_t operations; /* of reads; 0: key_count */
	uint32_t key_bytes, value_bytes;
	uint32_t threads; /* each owns one shard, or reads or writes beside an owner, as the workload says */
	uint32_t job_threads;
	uint64_t seed;
	bool keep; /* use what is in the directory */
	bool json;
};

int bench_run(const struct bench_options *);

#endif
