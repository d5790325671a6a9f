/* SPDX-License-Identifier: Apache-2.0 */
/* The read workloads: one owner per shard reads, and checks what it reads. */
#include "tools/kvengine/bench_worker.h"

#include <string.h>

enum choice { ANY, MISSING, HOT };

static int read_one(struct worker *worker, enum choice choice)
{
	const struct bench_data *data = &worker->bench->data;
	uint64_t number = choice == HOT ? worker_own_number(worker, bench_data_zipf(data, &worker->random))
					: worker_random_number(worker);
	uint8_t bytes[BENCH_KEY_ROOM];
	struct engine_slice key = worker_key(worker, number, bytes);
	struct engine_value value;

	if (choice == MISSING)
		key.size = bench_data_missing_key(data, number, bytes);
	return worker_check(worker, number, shard_get(worker->shard, key, &value), &value);
}

static void read_keys(struct worker *worker, enum choice choice)
{
	for (uint64_t i = 0; i < worker->operations; i++) {
		uint64_t begin = worker_begin(i);
		int error = read_one(worker, choice);

		if (error < 0) {
			worker_fail(worker, error, "read");
			return;
		}
		worker_end(worker, begin);
	}
}

void bench_readrandom(struct worker *worker)
{
	read_keys(worker, ANY);
}

void bench_readmissing(struct worker *worker)
{
	read_keys(worker, MISSING);
}

void bench_readhot(struct worker *worker)
{
	read_keys(worker, HOT);
}

static int seek_to(struct worker *worker, struct engine_iterator *iterator, uint64_t number)
{
	uint8_t bytes[BENCH_KEY_ROOM];
	struct engine_slice key = worker_key(worker, number, bytes), value;
	int error = engine_iterator_seek(iterator, key);

	if (error != 1 || engine_iterator_key(iterator).size != key.size ||
	    memcmp(engine_iterator_key(iterator).data, key.data, key.size) != 0)
		return error;
	worker->found++;
	value = engine_iterator_value(iterator);
	return worker_compare(worker, number, value.data, value.size);
}

/* A new iterator for each seek, over what is there at that moment, as db_bench does it. */
static int seek_one(struct worker *worker, unsigned steps)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	int error = shard_snapshot(worker->shard, &snapshot);

	if (error)
		return error;
	error = engine_iterator_create(snapshot, &iterator);
	if (error == 0) {
		error = seek_to(worker, iterator, worker_random_number(worker));
		for (; steps && error == 1; steps--)
			error = engine_iterator_next(iterator);
		engine_iterator_destroy(&iterator);
	}
	engine_snapshot_release(&snapshot);
	return error;
}

static void seek_keys(struct worker *worker, unsigned steps)
{
	for (uint64_t i = 0; i < worker->operations; i++) {
		uint64_t begin = worker_begin(i);
		int error = seek_one(worker, steps);

		if (error < 0) {
			worker_fail(worker, error, "seek");
			return;
		}
		worker_end(worker, begin);
	}
}

void bench_seekrandom(struct worker *worker)
{
	seek_keys(worker, 0);
}

void bench_scanrandom(struct worker *worker)
{
	seek_keys(worker, BENCH_SCAN_STEPS);
}
