/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs here are the test's own: nothing of the engine is linked. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "engine/pool.h"

enum { JOBS = 1000, SUBMITTERS = 3 };

struct engine_job {
	_Atomic unsigned runs;
	pthread_barrier_t *meeting; /* runs only beside others */
	enum engine_urgency urgency;
	struct hold *hold;
	struct crowd *crowd;
};

/* Merges run until a flush has, or until one merge too many runs beside them. */
struct crowd {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned merges_running, most_merges, limit;
	bool has_flushed;
};

static void run_in_crowd(struct crowd *crowd, enum engine_urgency urgency)
{
	pthread_mutex_lock(&crowd->lock);
	if (urgency == ENGINE_URGENCY_FLUSH)
		crowd->has_flushed = true;
	else if (++crowd->merges_running > crowd->most_merges)
		crowd->most_merges = crowd->merges_running;
	pthread_cond_broadcast(&crowd->changed);
	while (!crowd->has_flushed && crowd->most_merges <= crowd->limit)
		pthread_cond_wait(&crowd->changed, &crowd->lock);
	if (urgency != ENGINE_URGENCY_FLUSH)
		crowd->merges_running--;
	pthread_mutex_unlock(&crowd->lock);
}

/* Deep jobs run until a more urgent one of each kind has. */
struct hold {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned deep_running, most_deep;
	bool ran[ENGINE_URGENCY_DEEP];
};

static void run_held(struct hold *hold, enum engine_urgency urgency)
{
	pthread_mutex_lock(&hold->lock);
	if (urgency < ENGINE_URGENCY_DEEP) {
		hold->ran[urgency] = true;
		pthread_cond_broadcast(&hold->changed);
	} else {
		if (++hold->deep_running > hold->most_deep)
			hold->most_deep = hold->deep_running;
		while (!hold->ran[ENGINE_URGENCY_FLUSH] || !hold->ran[ENGINE_URGENCY_NEWEST])
			pthread_cond_wait(&hold->changed, &hold->lock);
		hold->deep_running--;
	}
	pthread_mutex_unlock(&hold->lock);
}

enum engine_urgency engine_job_urgency(const struct engine_job *job)
{
	return job->urgency;
}

void engine_job_run(struct engine_job *job)
{
	if (job->meeting != NULL)
		pthread_barrier_wait(job->meeting);
	if (job->hold != NULL)
		run_held(job->hold, job->urgency);
	if (job->crowd != NULL)
		run_in_crowd(job->crowd, job->urgency);
	atomic_fetch_add(&job->runs, 1);
}

/* What a submitter keeps of a job, and where it comes back to. */
struct box {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned count;
};

struct piece {
	struct engine_pool_job work;
	struct box *box;
};

static void come_back(struct engine_pool_job *work)
{
	struct piece *piece = (struct piece *)work;         /* its first member */
	assert_int_equal(atomic_load(&work->job->runs), 1); /* before it comes back */
	pthread_mutex_lock(&piece->box->lock);
	piece->box->count++;
	pthread_cond_signal(&piece->box->changed);
	pthread_mutex_unlock(&piece->box->lock);
	free(piece);
}

static int submit(struct engine_pool *pool, struct engine_job *job, struct box *box)
{
	struct piece *piece = malloc(sizeof *piece);
	assert_non_null(piece);
	*piece = (struct piece){.work = {.job = job, .done = come_back}, .box = box};
	int error = engine_pool_submit(pool, &piece->work);
	if (error < 0)
		free(piece); /* it stayed ours */
	return error;
}

static void collect(struct box *box, unsigned wanted)
{
	pthread_mutex_lock(&box->lock);
	while (box->count < wanted)
		pthread_cond_wait(&box->changed, &box->lock);
	assert_int_equal(box->count, wanted);
	pthread_mutex_unlock(&box->lock);
}

#define EMPTY_BOX                                                                                                      \
	{                                                                                                              \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                                 \
	}

static void test_each_job_runs_once_and_comes_back(void **state)
{
	(void)state;
	static struct engine_job work[JOBS];
	struct box box = EMPTY_BOX;
	struct engine_pool *pool;
	assert_int_equal(engine_pool_start(2, &pool), 0);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(submit(pool, &work[i], &box), 0);
	collect(&box, JOBS);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(work[i].runs, 1);
	engine_pool_stop(pool);
	engine_pool_destroy(&pool);
	assert_null(pool);
	engine_pool_stop(pool); /* nothing to stop */
	engine_pool_destroy(&pool);
}

static void test_stop_runs_what_is_queued(void **state)
{
	(void)state;
	static struct engine_job work[JOBS];
	struct box box = EMPTY_BOX;
	struct engine_pool *pool;
	assert_int_equal(engine_pool_start(1, &pool), 0);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(submit(pool, &work[i], &box), 0);
	engine_pool_stop(pool);
	engine_pool_destroy(&pool);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(work[i].runs, 1);
	collect(&box, JOBS);
}

/* A replica may have asked for a job just before the stop. */
static void test_what_comes_after_the_stop_is_refused(void **state)
{
	(void)state;
	struct engine_job late = {0};
	struct box box = EMPTY_BOX;
	struct engine_pool *pool;
	assert_int_equal(engine_pool_start(1, &pool), 0);
	engine_pool_stop(pool);
	assert_int_equal(submit(pool, &late, &box), -ESHUTDOWN);
	assert_int_equal(late.runs, 0);
	engine_pool_destroy(&pool);
}

/* Two long jobs at once: each waits for the other. */
static void test_threads_work_side_by_side(void **state)
{
	(void)state;
	pthread_barrier_t meeting;
	pthread_barrier_init(&meeting, NULL, 2);
	struct engine_job work[2] = {{.meeting = &meeting}, {.meeting = &meeting}};
	struct box box = EMPTY_BOX;
	struct engine_pool *pool;
	assert_int_equal(engine_pool_start(2, &pool), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(submit(pool, &work[i], &box), 0);
	collect(&box, 2);
	engine_pool_stop(pool);
	engine_pool_destroy(&pool);
	pthread_barrier_destroy(&meeting);
}

/* Deep merges leave room: others overtake all that wait, though one alone takes every thread that it may. */
static void test_deep_merges_block_nobody(void **state)
{
	(void)state;
	static const enum engine_urgency urgencies[] = {ENGINE_URGENCY_DEEP, ENGINE_URGENCY_DEEP, ENGINE_URGENCY_DEEP,
							ENGINE_URGENCY_NEWEST, ENGINE_URGENCY_FLUSH};
	enum { COUNT = sizeof urgencies / sizeof urgencies[0] };
	struct engine_job work[COUNT] = {0};
	struct hold hold = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	struct box box = EMPTY_BOX;
	struct engine_pool *pool;
	assert_int_equal(engine_pool_start(1, &pool), 0);
	for (int i = 0; i < COUNT; i++) {
		work[i].urgency = urgencies[i];
		work[i].hold = &hold;
		assert_int_equal(submit(pool, &work[i], &box), 0);
	}
	collect(&box, COUNT);
	assert_int_equal(hold.most_deep, 1);
	engine_pool_stop(pool);
	engine_pool_destroy(&pool);
}

static void await_merges(struct crowd *crowd, unsigned count)
{
	pthread_mutex_lock(&crowd->lock);
	while (crowd->merges_running < count)
		pthread_cond_wait(&crowd->changed, &crowd->lock);
	pthread_mutex_unlock(&crowd->lock);
}

/* Also when those of the newest runs were there first, and a deep one comes. Who gets the lock first is chance: many rounds. */
static void test_one_thread_is_kept_for_flushes(void **state)
{
	(void)state;
	enum { MERGES = 3, ROUNDS = 200 };
	for (int round = 0; round < ROUNDS; round++) {
		struct crowd crowd = {
			.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .limit = MERGES - 1};
		struct engine_job work[MERGES + 1] = {0};
		struct box box = EMPTY_BOX;
		struct engine_pool *pool;
		assert_int_equal(engine_pool_start(1, &pool), 0);
		for (int i = 0; i <= MERGES; i++) {
			work[i].crowd = &crowd;
			work[i].urgency = i == MERGES       ? ENGINE_URGENCY_FLUSH
					  : i == MERGES - 1 ? ENGINE_URGENCY_DEEP
							    : ENGINE_URGENCY_NEWEST;
			if (i == MERGES - 1)
				await_merges(&crowd, MERGES - 1);
			assert_int_equal(submit(pool, &work[i], &box), 0);
		}
		collect(&box, MERGES + 1);
		engine_pool_stop(pool);
		engine_pool_destroy(&pool);
		assert_int_equal(crowd.most_merges, MERGES - 1);
	}
}

struct submitter {
	struct engine_pool *pool;
	struct box box;
	struct engine_job work[JOBS];
};

static void *submit_and_collect(void *arg)
{
	struct submitter *submitter = arg;
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(submit(submitter->pool, &submitter->work[i], &submitter->box), 0);
	collect(&submitter->box, JOBS);
	return NULL;
}

static void test_each_submitter_gets_its_own_back(void **state)
{
	(void)state;
	static struct submitter submitters[SUBMITTERS];
	pthread_t threads[SUBMITTERS];
	struct engine_pool *pool;
	assert_int_equal(engine_pool_start(2, &pool), 0);
	for (int i = 0; i < SUBMITTERS; i++) {
		submitters[i].pool = pool;
		submitters[i].box = (struct box)EMPTY_BOX;
		assert_int_equal(pthread_create(&threads[i], NULL, submit_and_collect, &submitters[i]), 0);
	}
	for (int i = 0; i < SUBMITTERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	engine_pool_stop(pool);
	engine_pool_destroy(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_job_runs_once_and_comes_back),
		cmocka_unit_test(test_stop_runs_what_is_queued),
		cmocka_unit_test(test_what_comes_after_the_stop_is_refused),
		cmocka_unit_test(test_threads_work_side_by_side),
		cmocka_unit_test(test_deep_merges_block_nobody),
		cmocka_unit_test(test_one_thread_is_kept_for_flushes),
		cmocka_unit_test(test_each_submitter_gets_its_own_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
