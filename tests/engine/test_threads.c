/* SPDX-License-Identifier: Apache-2.0 */
/* An owner that writes, jobs on another thread, and readers on snapshots, all at once. Every value says which key and
 * which version it is, so a reader sees at once when something is torn, lost or newer than its snapshot. For TSan above
 * all.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/sim/sim_random.h"

enum { KEYS = 400, ROUNDS = 25000, READERS = 2, FRESH_EVERY = 50 };

struct value {
	uint64_t key, version;
	uint8_t filler[100];
};

struct published {
	struct engine_snapshot *snapshot;
	uint64_t round; /* writes before it */
	unsigned users;
};

struct shared {
	struct shard *shard;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct published *newest;
	struct engine_job *waiting, *done;
	bool is_running, stop;
};

static struct engine_slice key_of(uint64_t number, uint8_t out[10])
{
	memset(out, 0, 10);
	memcpy(out + 2, &number, 8);
	return (struct engine_slice){out, 10};
}

static void release(struct shared *shared, struct published *it)
{
	bool last;

	pthread_mutex_lock(&shared->lock);
	last = --it->users == 0;
	pthread_mutex_unlock(&shared->lock);
	if (last) {
		engine_snapshot_release(&it->snapshot);
		free(it);
	}
}

/* Writes number r went to key r % KEYS: which version a snapshot must show follows from its round. */
static bool is_right(const struct published *it, uint64_t key, int error, const struct engine_value *value)
{
	uint64_t version = it->round > key ? (it->round - 1 - key) / KEYS * KEYS + key : UINT64_MAX;
	struct value got;

	if (version == UINT64_MAX)
		return error == 0;
	if (error != 1 || value->size != sizeof got)
		return false;
	memcpy(&got, value->data, sizeof got);
	return got.key == key && got.version == version && got.filler[99] == (uint8_t)version;
}

static bool check_iterator(const struct published *it)
{
	struct engine_iterator *iterator;
	uint64_t count = 0, expected = it->round < KEYS ? it->round : KEYS;
	int error = engine_iterator_create(it->snapshot, &iterator);

	if (error)
		return false;
	for (error = engine_iterator_seek(iterator, (struct engine_slice){0}); error == 1;
	     error = engine_iterator_next(iterator))
		count++;
	engine_iterator_destroy(&iterator);
	return error == 0 && count == expected;
}

static void *read_snapshots(void *arg)
{
	struct shared *shared = arg;
	struct sim_random random = {(uintptr_t)&random};
	bool right = true;

	while (right) {
		struct published *it;

		pthread_mutex_lock(&shared->lock);
		it = shared->stop ? NULL : shared->newest;
		if (it != NULL)
			it->users++;
		pthread_mutex_unlock(&shared->lock);
		if (it == NULL)
			break;
		for (int i = 0; right && i < 20; i++) {
			uint64_t key = sim_random_below(&random, KEYS);
			uint8_t bytes[10];
			struct engine_value value;
			int error = engine_snapshot_get(it->snapshot, key_of(key, bytes), &value);

			right = is_right(it, key, error, &value);
			engine_value_release(&value);
		}
		right = right && check_iterator(it);
		release(shared, it);
	}
	return right ? NULL : "a reader saw what its snapshot does not hold";
}

static void *run_jobs(void *arg)
{
	struct shared *shared = arg;

	pthread_mutex_lock(&shared->lock);
	while (!shared->stop) {
		struct engine_job *job = shared->waiting;

		if (job == NULL) {
			pthread_cond_wait(&shared->changed, &shared->lock);
			continue;
		}
		shared->waiting = NULL;
		shared->is_running = true;
		pthread_mutex_unlock(&shared->lock);
		engine_job_run(job);
		pthread_mutex_lock(&shared->lock);
		shared->is_running = false;
		shared->done = job;
		pthread_cond_broadcast(&shared->changed);
	}
	pthread_mutex_unlock(&shared->lock);
	return NULL;
}

/* One job at a time goes to the other thread and comes back. wait: until it is back. */
static void tend(struct shared *shared, bool wait)
{
	struct engine_job *done = NULL, *next = NULL;
	bool is_free;

	pthread_mutex_lock(&shared->lock);
	while (wait && shared->done == NULL && (shared->waiting != NULL || shared->is_running))
		pthread_cond_wait(&shared->changed, &shared->lock);
	done = shared->done;
	shared->done = NULL;
	is_free = shared->waiting == NULL && !shared->is_running;
	pthread_mutex_unlock(&shared->lock);
	if (done != NULL)
		assert_int_equal(shard_install(shared->shard, &done), 0);
	if (!is_free)
		return;
	assert_int_equal(shard_maintain(shared->shard, &next), 0);
	pthread_mutex_lock(&shared->lock);
	shared->waiting = next;
	pthread_cond_broadcast(&shared->changed);
	pthread_mutex_unlock(&shared->lock);
}

static void publish(struct shared *shared, uint64_t round)
{
	struct published *it = calloc(1, sizeof *it), *old;

	it->round = round;
	it->users = 1;
	assert_int_equal(shard_snapshot(shared->shard, &it->snapshot), 0);
	pthread_mutex_lock(&shared->lock);
	old = shared->newest;
	shared->newest = it;
	pthread_mutex_unlock(&shared->lock);
	if (old != NULL)
		release(shared, old);
}

static void write_all(struct shared *shared)
{
	struct engine_batch *batch;

	assert_int_equal(engine_batch_create(&batch), 0);
	for (uint64_t round = 0; round < ROUNDS; round++) {
		struct value value = {.key = round % KEYS, .version = round};
		uint8_t bytes[10];
		int error;

		memset(value.filler, (int)(uint8_t)round, sizeof value.filler);
		engine_batch_clear(batch);
		assert_int_equal(engine_batch_put(batch, key_of(value.key, bytes),
						  (struct engine_slice){&value, sizeof value}, 0),
				 0);
		while ((error = shard_write(shared->shard, batch)) == -EAGAIN)
			tend(shared, true);
		assert_int_equal(error, 0);
		assert_int_equal(shard_commit(shared->shard, ENGINE_SYNC_NONE), 0);
		if (round % FRESH_EVERY == 0)
			publish(shared, round + 1);
		if (round % 16 == 0)
			tend(shared, false);
	}
	engine_batch_destroy(&batch);
}

static void test_owner_jobs_and_readers(void **state)
{
	char directory[] = "/tmp/kvring-threads-XXXXXX", command[64];
	struct engine_options options;
	struct engine *engine;
	struct shared shared = {0};
	pthread_t readers[READERS], worker;
	struct shard_stats stats;
	void *complaint;

	(void)state;
	assert_non_null(mkdtemp(directory));
	engine_options_default(&options);
	options.directory = directory;
	options.memtable_bytes = 128 * 1024;
	options.cache_bytes = 32 * 1024;
	options.block_bytes = 4096;
	assert_int_equal(engine_open(&options, &engine, NULL), 0);
	shared.shard = engine_shard(engine, 0);
	pthread_mutex_init(&shared.lock, NULL);
	pthread_cond_init(&shared.changed, NULL);
	publish(&shared, 0);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_snapshots, &shared), 0);
	assert_int_equal(pthread_create(&worker, NULL, run_jobs, &shared), 0);
	write_all(&shared);
	/* However far the jobs have come by now: once more, all of it. */
	assert_int_equal(shard_request_compaction(shared.shard), 0);
	for (int i = 0; i < 8; i++)
		tend(&shared, true);
	pthread_mutex_lock(&shared.lock);
	shared.stop = true;
	pthread_cond_broadcast(&shared.changed);
	pthread_mutex_unlock(&shared.lock);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i], &complaint);
		assert_null(complaint);
	}
	pthread_join(worker, NULL);
	struct engine_job *left[] = {shared.waiting, shared.done};

	for (int i = 0; i < 2; i++) {
		if (left[i] != NULL)
			(void)!shard_install(shared.shard, &left[i]);
	}
	shard_stats(shared.shard, &stats);
	assert_true(stats.compaction_bytes_written > 0);
	release(&shared, shared.newest);
	assert_int_equal(engine_close(&engine), 0);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_owner_jobs_and_readers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
