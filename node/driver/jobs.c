/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "node/driver/jobs.h"
#include "rpc/lock.h"

struct job_queue {
	struct job_mail *first, **last;
};

struct jobs {
	struct lock lock; /* jobs are rare and long, so a lock is the simple choice */
	pthread_cond_t changed;
	struct job_queue queues[ENGINE_URGENCIES] GUARDED;
	uint32_t running[ENGINE_URGENCIES] GUARDED;
	bool stopping GUARDED;
	/* constant */
	uint32_t merge_threads; /* of thread_count: the rest are kept free of deep merges, one of all merges */
	uint32_t thread_count;
	pthread_t threads[];
};

static bool may_run(const struct jobs *self, enum engine_urgency urgency) REQUIRES(self->lock);
static struct job_mail *next_job(struct jobs *self, enum engine_urgency *urgency_out) REQUIRES(self->lock);
static struct job_mail *take(struct jobs *self, enum engine_urgency *urgency_out) REQUIRES(self->lock);

/* What runs counts against its own limit and those of all that is more urgent: deep merges beside merges of the newest runs must
 * not take the thread that is kept for flushes. */
static bool may_run(const struct jobs *self, enum engine_urgency urgency)
{
	uint32_t taken = 0;
	for (uint32_t i = ENGINE_URGENCIES; i-- > 0;) {
		taken += self->running[i];
		if (i <= (uint32_t)urgency && taken >= self->merge_threads + (ENGINE_URGENCY_DEEP - i))
			return false;
	}
	return true;
}

/* The most urgent job that has a thread to run on, or NULL. */
static struct job_mail *next_job(struct jobs *self, enum engine_urgency *urgency_out)
{
	for (uint32_t i = 0; i < ENGINE_URGENCIES; i++) {
		struct job_queue *queue = &self->queues[i];
		struct job_mail *mail = queue->first;
		if (mail == NULL || !may_run(self, i))
			continue;
		queue->first = mail->next;
		if (queue->first == NULL)
			queue->last = &queue->first;
		self->running[i]++;
		*urgency_out = i;
		return mail;
	}
	return NULL;
}

/* NULL: stopping, and what is left will be taken by those that are at work. */
static struct job_mail *take(struct jobs *self, enum engine_urgency *urgency_out)
{
	struct job_mail *mail;
	while ((mail = next_job(self, urgency_out)) == NULL && !self->stopping)
		lock_wait(&self->lock, &self->changed);
	return mail;
}

static void *run(void *arg)
{
	struct jobs *self = arg;
	struct job_mail *mail;
	enum engine_urgency urgency;
	lock_take(&self->lock);
	while ((mail = take(self, &urgency)) != NULL) {
		lock_release(&self->lock);
		engine_job_run(mail->job);
		struct mailbox *submitter = mail->submitter;
		mailbox_put(submitter, MAIL_JOB, &mail->mail);
		mailbox_wake(submitter);
		lock_take(&self->lock);
		self->running[urgency]--;
	}
	lock_release(&self->lock);
	return NULL;
}

NOT_CHECKED int jobs_start(uint32_t merge_threads, struct jobs **out)
{
	uint32_t thread_count = merge_threads + ENGINE_URGENCY_DEEP;
	struct jobs *self = calloc(1, sizeof *self + thread_count * sizeof self->threads[0]);
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
			jobs_stop(self);
			jobs_destroy(&self);
			return -error;
		}
	}
	*out = self;
	return 0;
}

void jobs_stop(struct jobs *self)
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

void jobs_destroy(struct jobs **out)
{
	struct jobs *self = *out;
	if (self == NULL)
		return;
	pthread_cond_destroy(&self->changed);
	lock_fini(&self->lock);
	free(self);
	*out = NULL;
}

/* False: stopping; nobody would run it. */
static bool add(struct jobs *self, struct job_mail *mail)
{
	lock_take(&self->lock);
	struct job_queue *queue = &self->queues[engine_job_urgency(mail->job)];
	bool taken = !self->stopping;
	if (taken) {
		*queue->last = mail;
		queue->last = &mail->next;
		pthread_cond_broadcast(&self->changed); /* not every thread may run it */
	}
	lock_release(&self->lock);
	return taken;
}

int jobs_submit(struct jobs *self, struct engine_job *job, struct mailbox *submitter, void *owner)
{
	struct job_mail *mail = calloc(1, sizeof *mail);
	if (mail == NULL)
		return -ENOMEM;
	mail->job = job;
	mail->submitter = submitter;
	mail->owner = owner;
	if (add(self, mail))
		return 0;
	free(mail);
	return -ESHUTDOWN;
}
