/* SPDX-License-Identifier: Apache-2.0 */
/* readwhilewriting: readers beside one owner that overwrites. What is counted and timed is the reads, each of them. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rpc/lock.h"
#include "tools/kvengine/bench_worker.h"

enum { FRESH_EVERY = 256 }; /* reads after which a reader takes the newest snapshot */

/* A snapshot that readers share; whoever leaves it last frees it. */
struct view {
	struct engine_snapshot *snapshot;
	unsigned users; /* under shared.lock */
};

struct shared {
	struct lock lock;
	struct view *newest;      /* under lock; one of its users */
	_Atomic bool is_wanted;   /* a reader has taken the newest: make another */
	_Atomic unsigned running; /* readers */
	uint64_t end_ns;          /* 0: until the reads are done */
};

struct reader {
	struct shared *shared;
	struct worker worker;
	pthread_t thread;
};

/* As db_bench's limiter does it: what a tenth of a second allows may be written at once, then the writer waits for the
 * next tenth. */
struct pace {
	uint64_t per_period; /* bytes; 0: no limit */
	uint64_t left;
	uint64_t next_ns;
};

/* ---- snapshots ------------------------------------------------------------------------------------------------ */

static struct view *view_take(struct shared *shared)
{
	struct view *view;

	lock_take(&shared->lock);
	view = shared->newest;
	view->users++;
	lock_release(&shared->lock);
	shared->is_wanted = true;
	return view;
}

static void view_leave(struct shared *shared, struct view *view)
{
	bool is_last;

	lock_take(&shared->lock);
	is_last = --view->users == 0;
	lock_release(&shared->lock);
	if (is_last) {
		engine_snapshot_release(&view->snapshot);
		free(view);
	}
}

static int publish(struct shared *shared, struct shard *shard)
{
	struct view *fresh = malloc(sizeof *fresh), *old;
	int error = fresh != NULL ? shard_snapshot(shard, &fresh->snapshot) : -ENOMEM;

	if (error) {
		free(fresh);
		return error;
	}
	fresh->users = 1;
	shared->is_wanted = false;
	lock_take(&shared->lock);
	old = shared->newest;
	shared->newest = fresh;
	lock_release(&shared->lock);
	if (old != NULL)
		view_leave(shared, old);
	return 0;
}

/* ---- readers -------------------------------------------------------------------------------------------------- */

static int read_one(struct worker *worker, struct view *view)
{
	uint64_t number = worker_random_number(worker);
	uint8_t bytes[BENCH_KEY_ROOM];
	struct engine_value value;
	int error = engine_snapshot_get(view->snapshot, worker_key(worker, number, bytes), &value);

	return worker_check(worker, number, error, &value);
}

static void *read_beside(void *arg)
{
	struct reader *reader = arg;
	struct shared *shared = reader->shared;
	struct worker *worker = &reader->worker;
	struct view *view = NULL;
	uint64_t count = 0, begin, end = bench_now_ns();

	while (worker->error == 0 && (shared->end_ns ? end < shared->end_ns : count < worker->operations)) {
		int error;

		begin = end;
		if (count++ % FRESH_EVERY == 0) { /* a part of the read that it falls to */
			if (view != NULL)
				view_leave(shared, view);
			view = view_take(shared);
		}
		error = read_one(worker, view);
		if (error < 0)
			worker_fail(worker, error, "read");
		end = bench_now_ns();
		histogram_record(&worker->histogram, end - begin);
	}
	if (view != NULL)
		view_leave(shared, view);
	worker->operations = count;
	shared->running--;
	return NULL;
}

static int start_readers(struct shared *shared, struct reader *readers, unsigned count, const struct worker *like)
{
	for (unsigned i = 0; i < count; i++) {
		readers[i].shared = shared;
		readers[i].worker = *like;
		readers[i].worker.random.state += i * 7919 + 1;
		readers[i].worker.operations = like->operations / count;
		shared->running++;
		if (pthread_create(&readers[i].thread, NULL, read_beside, &readers[i]))
			return -EAGAIN;
	}
	return 0;
}

static void join_readers(struct worker *worker, struct reader *readers, unsigned count)
{
	worker->operations = 0;
	for (unsigned i = 0; i < count; i++) {
		pthread_join(readers[i].thread, NULL);
		histogram_add(&worker->histogram, &readers[i].worker.histogram);
		worker->found += readers[i].worker.found;
		worker->operations += readers[i].worker.operations;
		if (readers[i].worker.error)
			worker->error = readers[i].worker.error;
	}
}

/* ---- the writer ----------------------------------------------------------------------------------------------- */

static bool pace_take(struct pace *pace, uint64_t bytes)
{
	enum { PERIOD_NS = 100000000 };
	uint64_t now;

	if (!pace->per_period)
		return true;
	if (pace->left < bytes) {
		now = bench_now_ns();
		if (now < pace->next_ns)
			return false;
		pace->next_ns = now + PERIOD_NS;
		pace->left = pace->per_period;
	}
	pace->left -= bytes;
	return true;
}

static int write_beside(struct worker *worker, struct shared *shared, struct engine_batch *batch)
{
	const struct bench_options *options = worker->bench->options;
	uint64_t bytes = options->key_bytes + options->value_bytes;
	struct pace pace = {.per_period = options->write_rate / 10};
	struct timespec while_waiting = {.tv_nsec = 1000000};
	int error = 0;

	if (pace.per_period && pace.per_period < bytes)
		pace.per_period = bytes;
	while (error == 0 && shared->running) {
		bool may = true;

		for (unsigned i = 0; error == 0 && i < BENCH_TEND_EVERY && (may = pace_take(&pace, bytes)); i++) {
			error = worker_put(worker, batch, worker_random_number(worker), ENGINE_SYNC_NONE);
			worker->written_beside++;
		}
		if (error == 0)
			error = jobs_tend(worker->bench->jobs, worker->shard, false);
		if (error == 0 && shared->is_wanted)
			error = publish(shared, worker->shard);
		if (!may)
			nanosleep(&while_waiting, NULL);
	}
	return error;
}

void bench_readwhilewriting(struct worker *worker)
{
	const struct bench_options *options = worker->bench->options;
	struct reader *readers = calloc(options->threads, sizeof *readers);
	struct shared shared = {.end_ns =
					options->duration_s ? bench_now_ns() + options->duration_s * 1000000000ull : 0};
	struct engine_batch *batch;
	int error = readers != NULL ? engine_batch_create(&batch) : -ENOMEM;

	if (error) {
		worker_fail(worker, error, "readwhilewriting");
		free(readers);
		return;
	}
	lock_init(&shared.lock);
	error = publish(&shared, worker->shard);
	if (error == 0)
		error = start_readers(&shared, readers, options->threads, worker);
	if (error == 0)
		error = write_beside(worker, &shared, batch);
	if (error) { /* readers are under way: leave them nothing to stumble over */
		worker_fail(worker, error, "write");
		exit(1);
	}
	join_readers(worker, readers, options->threads);
	view_leave(&shared, shared.newest);
	engine_batch_destroy(&batch);
	lock_fini(&shared.lock);
	free(readers);
}
