/* SPDX-License-Identifier: Apache-2.0 */
/* The fill workloads: one owner per shard writes. */
#include "tools/kvengine/bench_worker.h"

static void fill(struct worker *worker, bool in_order, enum engine_sync sync)
{
	uint64_t shards = engine_shard_count(worker->bench->engine);
	struct engine_batch *batch;
	int error = engine_batch_create(&batch);

	for (uint64_t i = 0; error == 0 && i < worker->operations; i++) {
		uint64_t begin = worker_begin(i);

		error = worker_put(worker, batch, in_order ? i * shards + worker->index : worker_random_number(worker),
				   sync);
		if (error == 0 && i % BENCH_TEND_EVERY == 0)
			error = jobs_tend(worker->bench->jobs, worker->shard, false);
		worker_end(worker, begin);
	}
	engine_batch_destroy(&batch);
	if (error)
		worker_fail(worker, error, "write");
}

void bench_fillseq(struct worker *worker)
{
	fill(worker, true, ENGINE_SYNC_NONE);
}

void bench_fillrandom(struct worker *worker)
{
	fill(worker, false, ENGINE_SYNC_NONE);
}

void bench_fillsync(struct worker *worker)
{
	fill(worker, false, ENGINE_SYNC_EACH);
}
