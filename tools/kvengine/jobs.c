/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvengine/jobs.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include "rpc/lock.h"

enum { JOBS_MAX = 64 }; /* the shards offer at most ENGINE_JOBS_MAX each */

struct slot {
	struct engine_pool_job work;
	struct jobs *jobs;
	struct shard *shard; /* NULL: free */
	bool has_run;
};

struct jobs {
	struct engine_pool *pool;
	struct lock lock;
	pthread_cond_t changed;
	struct slot GUARDED slots[JOBS_MAX];
	_Atomic unsigned has_run; /* that many wait to be installed: looked at without the lock after each write */
};

int jobs_create(uint32_t merge_threads, struct jobs **out)
{
	struct jobs *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	int error = engine_pool_start(merge_threads, &self->pool);
	if (error < 0) {
		free(self);
		return error;
	}
	lock_init(&self->lock);
	pthread_cond_init(&self->changed, NULL);
	*out = self;
	return 0;
}

void jobs_destroy(struct jobs **out)
{
	struct jobs *self = *out;
	if (self == NULL)
		return;
	engine_pool_stop(self->pool);
	engine_pool_destroy(&self->pool);
	pthread_cond_destroy(&self->changed);
	lock_fini(&self->lock);
	free(self);
	*out = NULL;
}

static void on_done(struct engine_pool_job *work)
{
	struct slot *slot = (struct slot *)((char *)work - offsetof(struct slot, work));
	struct jobs *self = slot->jobs;
	lock_take(&self->lock);
	slot->has_run = true;
	atomic_fetch_add(&self->has_run, 1);
	pthread_cond_broadcast(&self->changed);
	lock_release(&self->lock);
}

/* Of this shard (NULL: a free one), or NULL. */
static struct slot *find(struct jobs *self, const struct shard *shard, bool has_run) REQUIRES(self->lock)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (self->slots[i].shard == shard && self->slots[i].has_run == has_run)
			return &self->slots[i];
	return NULL;
}

static unsigned under_way(struct jobs *self, const struct shard *shard)
{
	unsigned count = 0;
	lock_take(&self->lock);
	for (int i = 0; i < JOBS_MAX; i++)
		count += self->slots[i].shard == shard;
	lock_release(&self->lock);
	return count;
}

/* A job of the shard that has run, or NULL. wait: until there is one, unless none is under way. */
static struct engine_job *collect(struct jobs *self, struct shard *shard, bool wait)
{
	struct engine_job *job = NULL;
	struct slot *slot;
	if (!wait && atomic_load_explicit(&self->has_run, memory_order_relaxed) == 0)
		return NULL;
	lock_take(&self->lock);
	while ((slot = find(self, shard, true)) == NULL && wait && find(self, shard, false) != NULL)
		lock_wait(&self->lock, &self->changed);
	if (slot != NULL) {
		job = slot->work.job;
		*slot = (struct slot){0};
		atomic_fetch_sub(&self->has_run, 1);
	}
	lock_release(&self->lock);
	return job;
}

/* NULL: no slot is free. */
static struct slot *reserve(struct jobs *self, struct shard *shard)
{
	lock_take(&self->lock);
	struct slot *slot = find(self, NULL, false);
	if (slot != NULL)
		*slot = (struct slot){.work.done = on_done, .jobs = self, .shard = shard};
	lock_release(&self->lock);
	return slot;
}

static void give_back(struct jobs *self, struct slot *slot)
{
	lock_take(&self->lock);
	slot->shard = NULL;
	lock_release(&self->lock);
}

/* Starts what the shard offers, as far as there are slots. */
static int start(struct jobs *self, struct shard *shard)
{
	struct slot *slot;
	while ((slot = reserve(self, shard)) != NULL) {
		int error = shard_maintain(shard, &slot->work.job);
		if (error < 0 || slot->work.job == NULL) {
			give_back(self, slot);
			return error;
		}
		error = engine_pool_submit(self->pool, &slot->work);
		assert(error == 0); /* the pool stops when the owners have ended */
	}
	return 0;
}

int jobs_tend(struct jobs *self, struct shard *shard, bool wait)
{
	struct engine_job *job;
	int error = start(self, shard);
	while (error == 0 && (job = collect(self, shard, wait)) != NULL) {
		error = shard_install(shard, &job);
		wait = false;
	}
	return error;
}

int jobs_drain(struct jobs *self, struct shard *shard)
{
	int error;
	do {
		error = jobs_tend(self, shard, true);
		if (error == 0 && under_way(self, shard) == 0)
			error = start(self, shard);
	} while (error == 0 && under_way(self, shard) > 0);
	return error;
}
