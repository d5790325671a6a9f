#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "jobs.h"

struct jobs {
	pthread_mutex_t lock; /* guards all below; jobs are rare and long, so a lock is the simple choice */
	pthread_cond_t changed;
	struct job_mail *first, **last;
	bool stopping;
	uint32_t thread_count;
	pthread_t threads[];
};

static struct job_mail *take(struct jobs *self)
{
	pthread_mutex_lock(&self->lock);
	while (self->first == NULL && !self->stopping)
		pthread_cond_wait(&self->changed, &self->lock);
	struct job_mail *mail = self->first;
	if (mail != NULL) {
		self->first = mail->next;
		if (self->first == NULL)
			self->last = &self->first;
	}
	pthread_mutex_unlock(&self->lock);
	return mail;
}

static void *run(void *arg)
{
	struct job_mail *mail;
	while ((mail = take(arg)) != NULL) {
		engine_job_run(mail->job);
		struct mailbox *submitter = mail->submitter;
		mailbox_put(submitter, MAIL_JOB, &mail->mail);
		mailbox_wake(submitter);
	}
	return NULL;
}

int jobs_start(uint32_t thread_count, struct jobs **out)
{
	struct jobs *self = calloc(1, sizeof *self + thread_count * sizeof self->threads[0]);
	if (self == NULL)
		return -ENOMEM;
	pthread_mutex_init(&self->lock, NULL);
	pthread_cond_init(&self->changed, NULL);
	self->last = &self->first;
	for (; self->thread_count < thread_count; self->thread_count++) {
		int error = pthread_create(&self->threads[self->thread_count], NULL, run, self);
		if (error != 0) {
			jobs_stop(&self);
			return -error;
		}
	}
	*out = self;
	return 0;
}

void jobs_stop(struct jobs **out)
{
	struct jobs *self = *out;
	if (self == NULL)
		return;
	pthread_mutex_lock(&self->lock);
	self->stopping = true;
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->lock);
	for (uint32_t i = 0; i < self->thread_count; i++)
		pthread_join(self->threads[i], NULL);
	pthread_cond_destroy(&self->changed);
	pthread_mutex_destroy(&self->lock);
	free(self);
	*out = NULL;
}

int jobs_submit(struct jobs *self, struct engine_job *job, struct mailbox *submitter)
{
	struct job_mail *mail = calloc(1, sizeof *mail);
	if (mail == NULL)
		return -ENOMEM;
	mail->job = job;
	mail->submitter = submitter;
	pthread_mutex_lock(&self->lock);
	*self->last = mail;
	self->last = &mail->next;
	pthread_cond_signal(&self->changed);
	pthread_mutex_unlock(&self->lock);
	return 0;
}
