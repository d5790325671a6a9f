/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs here are the test's own: nothing of the engine is linked. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "node/driver/jobs.h"
#include "tests/node/support.h"

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

static unsigned collect(struct mailbox *mailbox, unsigned wanted)
{
	unsigned count = 0;
	while (count < wanted) {
		struct mail_queue taken;
		struct cds_wfcq_node *node;
		if (!mailbox_take(mailbox, MAIL_JOB, &taken)) {
			mailbox_wait(mailbox, UINT64_MAX);
			continue;
		}
		while ((node = mail_next(&taken)) != NULL) {
			struct job_mail *mail = caa_container_of(node, struct job_mail, mail);
			assert_int_equal(atomic_load(&mail->job->runs), 1); /* before it comes back */
			assert_ptr_equal(mail->submitter, mailbox);
			free(mail);
			count++;
		}
	}
	return count;
}

static void test_each_job_runs_once_and_comes_back(void **state)
{
	(void)state;
	static struct engine_job work[JOBS];
	struct mailbox mailbox;
	struct jobs *jobs;
	mailbox_init(&mailbox);
	assert_int_equal(jobs_start(2, &jobs), 0);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(jobs_submit(jobs, &work[i], &mailbox, NULL), 0);
	assert_int_equal(collect(&mailbox, JOBS), JOBS);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(work[i].runs, 1);
	jobs_stop(jobs);
	jobs_destroy(&jobs);
	assert_null(jobs);
	jobs_stop(jobs); /* nothing to stop */
	jobs_destroy(&jobs);
}

static void test_stop_runs_what_is_queued(void **state)
{
	(void)state;
	static struct engine_job work[JOBS];
	struct mailbox mailbox;
	struct jobs *jobs;
	mailbox_init(&mailbox);
	assert_int_equal(jobs_start(1, &jobs), 0);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(jobs_submit(jobs, &work[i], &mailbox, NULL), 0);
	jobs_stop(jobs);
	jobs_destroy(&jobs);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(work[i].runs, 1);
	assert_int_equal(collect(&mailbox, JOBS), JOBS);
}

/* A replica may have asked for a job just before the stop. */
static void test_what_comes_after_the_stop_is_refused(void **state)
{
	(void)state;
	struct engine_job late = {0};
	struct mailbox mailbox;
	struct jobs *jobs;
	mailbox_init(&mailbox);
	assert_int_equal(jobs_start(1, &jobs), 0);
	jobs_stop(jobs);
	assert_int_equal(jobs_submit(jobs, &late, &mailbox, NULL), -ESHUTDOWN);
	assert_int_equal(late.runs, 0);
	jobs_destroy(&jobs);
}

/* Two long jobs at once: each waits for the other. */
static void test_threads_work_side_by_side(void **state)
{
	(void)state;
	pthread_barrier_t meeting;
	pthread_barrier_init(&meeting, NULL, 2);
	struct engine_job work[2] = {{.meeting = &meeting}, {.meeting = &meeting}};
	struct mailbox mailbox;
	struct jobs *jobs;
	mailbox_init(&mailbox);
	assert_int_equal(jobs_start(2, &jobs), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(jobs_submit(jobs, &work[i], &mailbox, NULL), 0);
	assert_int_equal(collect(&mailbox, 2), 2);
	jobs_stop(jobs);
	jobs_destroy(&jobs);
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
	struct mailbox mailbox;
	struct jobs *jobs;
	mailbox_init(&mailbox);
	assert_int_equal(jobs_start(1, &jobs), 0);
	for (int i = 0; i < COUNT; i++) {
		work[i].urgency = urgencies[i];
		work[i].hold = &hold;
		assert_int_equal(jobs_submit(jobs, &work[i], &mailbox, NULL), 0);
	}
	assert_int_equal(collect(&mailbox, COUNT), COUNT);
	assert_int_equal(hold.most_deep, 1);
	jobs_stop(jobs);
	jobs_destroy(&jobs);
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
		struct mailbox mailbox;
		struct jobs *jobs;
		mailbox_init(&mailbox);
		assert_int_equal(jobs_start(1, &jobs), 0);
		for (int i = 0; i <= MERGES; i++) {
			work[i].crowd = &crowd;
			work[i].urgency = i == MERGES       ? ENGINE_URGENCY_FLUSH
					  : i == MERGES - 1 ? ENGINE_URGENCY_DEEP
							    : ENGINE_URGENCY_NEWEST;
			if (i == MERGES - 1)
				await_merges(&crowd, MERGES - 1);
			assert_int_equal(jobs_submit(jobs, &work[i], &mailbox, NULL), 0);
		}
		assert_int_equal(collect(&mailbox, MERGES + 1), MERGES + 1);
		jobs_stop(jobs);
		jobs_destroy(&jobs);
		assert_int_equal(crowd.most_merges, MERGES - 1);
	}
}

struct submitter {
	struct jobs *jobs;
	struct mailbox mailbox;
	struct engine_job work[JOBS];
};

static void *submit_and_collect(void *arg)
{
	struct submitter *submitter = arg;
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(jobs_submit(submitter->jobs, &submitter->work[i], &submitter->mailbox, NULL), 0);
	collect(&submitter->mailbox, JOBS);
	return NULL;
}

static void test_each_submitter_gets_its_own_back(void **state)
{
	(void)state;
	static struct submitter submitters[SUBMITTERS];
	pthread_t threads[SUBMITTERS];
	struct jobs *jobs;
	assert_int_equal(jobs_start(2, &jobs), 0);
	for (int i = 0; i < SUBMITTERS; i++) {
		submitters[i].jobs = jobs;
		mailbox_init(&submitters[i].mailbox);
		assert_int_equal(pthread_create(&threads[i], NULL, submit_and_collect, &submitters[i]), 0);
	}
	for (int i = 0; i < SUBMITTERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	jobs_stop(jobs);
	jobs_destroy(&jobs);
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
