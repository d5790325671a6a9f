/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvengine/bench_worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int worker_fail(struct worker *worker, int error, const char *what)
{
	const char *text = worker->shard != NULL ? shard_error(worker->shard) : "";

	fprintf(stderr, "kvengine bench: %s: %s%s%s\n", what, strerror(-error), *text ? ": " : "", text);
	worker->error = error;
	return error;
}

uint64_t worker_own_number(const struct worker *worker, uint64_t number)
{
	uint64_t shards = engine_shard_count(worker->bench->engine);

	number = number - number % shards + worker->index % shards;
	return number < worker->bench->data.key_count ? number : worker->index % shards;
}

uint64_t worker_random_number(struct worker *worker)
{
	return worker_own_number(worker, bench_data_uniform(&worker->bench->data, &worker->random));
}

int worker_compare(const struct worker *worker, uint64_t number, const void *data, size_t size)
{
	if (bench_data_is_right(&worker->bench->data, number, data, size))
		return 1;
	fprintf(stderr, "kvengine bench: the value read for key %" PRIu64 " (%zu bytes) is not the one written\n",
		number, size);
	return -EBADMSG;
}

int worker_check(struct worker *worker, uint64_t number, int error, struct engine_value *value)
{
	if (error == 1) {
		worker->found++;
		error = worker_compare(worker, number, value->data, value->size);
		engine_value_release(value);
	}
	return error;
}

uint64_t worker_begin(uint64_t operation)
{
	return operation % BENCH_SAMPLE_EVERY ? 0 : bench_now_ns();
}

void worker_end(struct worker *worker, uint64_t begin)
{
	if (begin)
		histogram_record(&worker->histogram, bench_now_ns() - begin);
}

struct engine_slice worker_key(const struct worker *worker, uint64_t number, uint8_t out[BENCH_KEY_ROOM])
{
	return (struct engine_slice){out, bench_data_key(&worker->bench->data, number, out)};
}

int worker_add(struct worker *worker, struct engine_batch *batch, uint64_t number)
{
	const struct bench_data *data = &worker->bench->data;
	struct engine_slice value = {bench_data_value(data, number), data->value_bytes};
	uint8_t bytes[BENCH_KEY_ROOM];

	return engine_batch_put(batch, worker_key(worker, number, bytes), value, 0);
}

int worker_write(struct worker *worker, const struct engine_batch *batch, enum engine_sync sync)
{
	int error;

	while ((error = shard_write(worker->shard, batch)) == -EAGAIN) {
		error = jobs_tend(worker->bench->jobs, worker->shard, true);
		if (error)
			return error;
	}
	return error ? error : shard_commit(worker->shard, sync);
}

int worker_put(struct worker *worker, struct engine_batch *batch, uint64_t number, enum engine_sync sync)
{
	int error;

	engine_batch_clear(batch);
	error = worker_add(worker, batch, number);
	return error ? error : worker_write(worker, batch, sync);
}
