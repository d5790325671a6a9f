/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvengine/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { JOBS_MAX = 64, JOBS_PER_SHARD = ENGINE_JOBS_MAX };

enum state { FREE, WAITING, RUNNING, DONE };

struct slot {
	enum state state;
	struct shard *shard;
	struct engine_job *job;
	unsigned long order;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct slot slots[JOBS_MAX];
	unsigned long next_order;
	bool stop;
	_Atomic unsigned done_count;
	pthread_t *threads;
	unsigned thread_count;
};

static struct slot *find(struct pool *pool, enum state state, const struct shard *shard)
{
	struct slot *best = NULL;

	for (int i = 0; i < JOBS_MAX; i++) {
		struct slot *slot = &pool->slots[i];

		if (slot->state == state && (shard == NULL || slot->shard == shard) &&
		    (best == NULL || slot->order < best->order))
			best = slot;
	}
	return best;
}

static bool is_deep(const struct engine_job *job)
{
	return engine_job_urgency(job) == ENGINE_URGENCY_DEEP;
}

/* The most urgent that waits, the oldest of them. One thread is kept free of deep merges, which can take long. */
static struct slot *next_waiting(struct pool *pool)
{
	struct slot *best = NULL;
	unsigned deep = 0;

	for (int i = 0; i < JOBS_MAX; i++)
		deep += pool->slots[i].state == RUNNING && is_deep(pool->slots[i].job);
	for (int i = 0; i < JOBS_MAX; i++) {
		struct slot *slot = &pool->slots[i];
		enum engine_urgency urgency;

		if (slot->state != WAITING || (is_deep(slot->job) && deep && deep + 1 >= pool->thread_count))
			continue;
		urgency = engine_job_urgency(slot->job);
		if (best == NULL || urgency < engine_job_urgency(best->job) ||
		    (urgency == engine_job_urgency(best->job) && slot->order < best->order))
			best = slot;
	}
	return best;
}

static void *run(void *arg)
{
	struct pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	while (!pool->stop) {
		struct slot *slot = next_waiting(pool);

		if (slot == NULL) {
			pthread_cond_wait(&pool->work, &pool->lock);
			continue;
		}
		slot->state = RUNNING;
		pthread_mutex_unlock(&pool->lock);
		engine_job_run(slot->job);
		pthread_mutex_lock(&pool->lock);
		slot->state = DONE;
		atomic_fetch_add(&pool->done_count, 1);
		pthread_cond_broadcast(&pool->done);
		pthread_cond_signal(&pool->work); /* what had to wait for this one */
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

int pool_create(unsigned thread_count, struct pool **out)
{
	struct pool *pool = calloc(1, sizeof *pool);

	if (pool == NULL || (pool->threads = calloc(thread_count, sizeof(pthread_t))) == NULL) {
		free(pool);
		return -ENOMEM;
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->done, NULL);
	while (pool->thread_count < thread_count &&
	       pthread_create(&pool->threads[pool->thread_count], NULL, run, pool) == 0)
		pool->thread_count++;
	if (!pool->thread_count) {
		pool_destroy(&pool);
		return -EAGAIN;
	}
	*out = pool;
	return 0;
}

void pool_destroy(struct pool **pool)
{
	struct pool *it = *pool;

	*pool = NULL;
	if (it == NULL)
		return;
	pthread_mutex_lock(&it->lock);
	it->stop = true;
	pthread_cond_broadcast(&it->work);
	pthread_mutex_unlock(&it->lock);
	for (unsigned i = 0; i < it->thread_count; i++)
		pthread_join(it->threads[i], NULL);
	pthread_cond_destroy(&it->done);
	pthread_cond_destroy(&it->work);
	pthread_mutex_destroy(&it->lock);
	free(it->threads);
	free(it);
}

static unsigned under_way(struct pool *pool, const struct shard *shard)
{
	unsigned count = 0;

	for (int i = 0; i < JOBS_MAX; i++)
		count += pool->slots[i].state != FREE && pool->slots[i].shard == shard;
	return count;
}

/* A finished job of the shard, or NULL. */
static struct engine_job *collect(struct pool *pool, struct shard *shard, bool wait)
{
	struct engine_job *job = NULL;
	struct slot *slot;

	if (!wait && atomic_load_explicit(&pool->done_count, memory_order_relaxed) == 0)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	while ((slot = find(pool, DONE, shard)) == NULL && wait && under_way(pool, shard))
		pthread_cond_wait(&pool->done, &pool->lock);
	if (slot != NULL) {
		job = slot->job;
		slot->state = FREE;
		atomic_fetch_sub(&pool->done_count, 1);
	}
	pthread_mutex_unlock(&pool->lock);
	return job;
}

static bool has_room(struct pool *pool, struct shard *shard)
{
	bool room;

	pthread_mutex_lock(&pool->lock);
	room = under_way(pool, shard) < JOBS_PER_SHARD && find(pool, FREE, NULL) != NULL;
	pthread_mutex_unlock(&pool->lock);
	return room;
}

static void submit(struct pool *pool, struct shard *shard, struct engine_job *job)
{
	struct slot *slot;

	pthread_mutex_lock(&pool->lock);
	slot = find(pool, FREE, NULL);
	*slot = (struct slot){WAITING, shard, job, pool->next_order++};
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

int pool_tend(struct pool *pool, struct shard *shard, bool wait)
{
	struct engine_job *job;
	int rc = 0;

	while (rc == 0 && has_room(pool, shard)) {
		rc = shard_maintain(shard, &job);
		if (rc || job == NULL)
			break;
		submit(pool, shard, job);
	}
	while (rc == 0 && (job = collect(pool, shard, wait)) != NULL) {
		rc = shard_install(shard, &job);
		wait = false;
	}
	return rc;
}

int pool_drain(struct pool *pool, struct shard *shard)
{
	int rc;

	do {
		rc = pool_tend(pool, shard, true);
		if (rc)
			return rc;
		pthread_mutex_lock(&pool->lock);
		rc = under_way(pool, shard) != 0;
		pthread_mutex_unlock(&pool->lock);
		if (!rc) {
			struct engine_job *job;

			rc = shard_maintain(shard, &job);
			if (rc)
				return rc;
			if (job == NULL)
				return 0;
			submit(pool, shard, job);
		}
	} while (1);
}
