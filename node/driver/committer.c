/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include "node/driver/committer.h"

enum { DELAY_MAX_US = 20000 };

struct committer {
	struct mailbox inbox;
	struct mailbox *owner;
	struct commit_mail mail; /* there is only one under way */
	pthread_t thread;
};

uint32_t committer_delay_us(uint32_t pressure)
{
	return (uint32_t)((uint64_t)pressure * pressure * DELAY_MAX_US / (1000 * 1000));
}

static void hold_back(uint32_t pressure)
{
	uint32_t us = committer_delay_us(pressure);
	if (us != 0)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
}

static void *run(void *arg)
{
	struct committer *self = arg;
	struct mail_queue taken;
	for (;;) {
		if (mailbox_take(&self->inbox, MAIL_COMMIT, &taken) && mail_next(&taken) != NULL) {
			hold_back(self->mail.pressure);
			engine_commit_run(self->mail.commit);
			mailbox_put(self->owner, MAIL_COMMIT, &self->mail.mail);
			mailbox_wake(self->owner);
		} else if (mailbox_stopping(&self->inbox)) {
			return NULL;
		} else {
			mailbox_wait(&self->inbox, UINT64_MAX);
		}
	}
}

int committer_start(struct mailbox *owner, struct committer **out)
{
	struct committer *self = calloc(1, sizeof *self);
	if (self == NULL)
		return -ENOMEM;
	mailbox_init(&self->inbox);
	self->owner = owner;
	self->mail.committer = self;
	int error = pthread_create(&self->thread, NULL, run, self);
	if (error != 0) {
		free(self);
		return -error;
	}
	*out = self;
	return 0;
}

void committer_stop(struct committer **out)
{
	struct committer *self = *out;
	if (self == NULL)
		return;
	mailbox_stop(&self->inbox);
	pthread_join(self->thread, NULL);
	free(self);
	*out = NULL;
}

void committer_submit(struct committer *self, struct engine_commit *commit, uint32_t pressure)
{
	self->mail.commit = commit;
	self->mail.pressure = pressure;
	mailbox_put(&self->inbox, MAIL_COMMIT, &self->mail.mail);
	mailbox_wake(&self->inbox);
}
