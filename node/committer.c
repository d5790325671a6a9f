#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include "committer.h"

struct committer {
	struct mailbox inbox;
	struct mailbox *owner;
	struct commit_mail mail; /* there is only one under way */
	pthread_t thread;
};

static void *run(void *arg)
{
	struct committer *self = arg;
	struct mail_queue taken;
	for (;;) {
		if (mailbox_take(&self->inbox, MAIL_COMMIT, &taken) && mail_next(&taken) != NULL) {
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

void committer_submit(struct committer *self, struct engine_commit *commit)
{
	self->mail.commit = commit;
	mailbox_put(&self->inbox, MAIL_COMMIT, &self->mail.mail);
	mailbox_wake(&self->inbox);
}
