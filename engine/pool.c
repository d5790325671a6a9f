/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "rpc/lock.h"

struct queue {
	struct engine_pool_job *first, **last;
};

struct engine_pool {
	struct lock lock; /* jobs are rare and long, so a lock is the simple choice */
	pthread_cond_t changed;
	struct queue queues[ENGINE_URGENCIES] GUARDED;
	uint32_t running[ENGINE_URGENCIES] GUARDED;
	bool stopping GUARDED;
	/* constant */
	uint32_t merge_threads; /* of thread_count: the rest are kept free of deep merges, one of all merges */
	uint32_t thread_count;
	pthread_t threads[];
};

static bool may_run(const struct engine_pool *self, uint32_t urgency) REQUIRES(self->lock);
static struct engine_pool_job *next_job(struct engine_pool *self, uint32_t *urgency_out) REQUIRES(self->lock);
static struct engine_pool_job *take(struct engine_pool *self, uint32_t *urgency_out) REQUIRES(self->lock);

/* What runs counts against its own limit and those of all that is more urgent: deep merges beside merges of the newest runs must
 * not take the thread that is kept for flushes. */
static bool may_run(const struct engine_pool *self, uint32_t urgency)
{
	uint32_t taken = 0;
	for (uint32_t i = ENGINE_URGENCIES; i-- > 0;) {
		taken += self->running[i];
		if (i <= urgency && taken >= self->merge_threads + (ENGINE_URGENCY_DEEP - i))
			return false;
	}
	return true;
}

/* The most urgent job that has a thread to run on, or NULL. */
static struct engine_pool_job *next_job(struct engine_pool *self, uint32_t *urgency_out)
{
	for (uint32_t i = 0; i < ENGINE_URGENCIES; i++) {
		struct queue *queue = &self->queues[i];
		struct engine_pool_job *next = queue->first;
		if (next == NULL || !may_run(self, i))
			continue;
		queue->first = next->next;
		if (queue->first == NULL)
			queue->last = &queue->first;
		self->running[i]++;
		*urgency_out = i;
		return next;
	}
	return NULL;
}

/* NULL: stopping, and what is left will be taken by those that are at work. */
static struct engine_pool_job *take(struct engine_pool *self, uint32_t *urgency_out)
{
	struct engine_pool_job *next;
	while ((next = next_job(self, urgency_out)) == NULL && !self->stopping)
		lock_wait(&self->lock, &self->changed);
	return next;
}

static void *run(void *arg)
{
	struct engine_pool *self = arg;
	struct engine_pool_job *next;
	uint32_t urgency;
	lock_take(&self->lock);
	while ((next = take(self, &urgency)) != NULL) {
		lock_release(&self->lock);
		engine_job_run(next->job);
		next->done(next);
		lock_take(&self->lock);
		self->running[urgency]--;
	}
	lock_release(&self->lock);
	return NULL;
}

NOT_CHECKED int engine_pool_start(uint32_t merge_threads, struct engine_pool **out)
{
	uint32_t thread_count = merge_threads + ENGINE_URGENCY_DEEP;
	struct engine_pool *self = calloc(1, sizeof *self + thread_count * sizeof self->threads[0]);
	if (self == NULL)
		return -ENOMEM;
	lock_init(&self->lock);
	pthread_cond_init(&self->changed, NULL);
	self->merge_threads = merge_threads;
	for (uint32_t i = 0; i < ENGINE_URGENCIES; i++)
		self->queues[i].last = &self->queues[i].first;
	for (; self->thread_count < thread_count; self->thread_count++) {
		int error = pthread_create(&self->threads[self->thread_count], NULL, run, self);
		if (error != 0) {
			engine_pool_stop(self);
			engine_pool_destroy(&self);
			return -error;
		}
	}
	*out = self;
	return 0;
}

void engine_pool_stop(struct engine_pool *self)
{
	if (self == NULL)
		return;
	lock_take(&self->lock);
	self->stopping = true;
	pthread_cond_broadcast(&self->changed);
	lock_release(&self->lock);
	for (uint32_t i = 0; i < self->thread_count; i++)
		pthread_join(self->threads[i], NULL);
	self->thread_count = 0;
}

void engine_pool_destroy(struct engine_pool **out)
{
	struct engine_pool *self = *out;
	if (self == NULL)
		return;
	pthread_cond_destroy(&self->changed);
	lock_fini(&self->lock);
	free(self);
	*out = NULL;
}

int engine_pool_submit(struct engine_pool *self, struct engine_pool_job *new)
{
	int error = -ESHUTDOWN; /* nobody would run it */
	new->next = NULL;
	lock_take(&self->lock);
	if (!self->stopping) {
		struct queue *queue = &self->queues[engine_job_urgency(new->job)];
		*queue->last = new;
		queue->last = &new->next;
		pthread_cond_broadcast(&self->changed); /* not every thread may run it */
		error = 0;
	}
	lock_release(&self->lock);
	return error;
}
