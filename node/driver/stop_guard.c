/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/stop_guard.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "node/observe/log.h"

static void *wait_for_end(void *arg)
{
	struct stop_guard *self = arg;
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += self->limit_ms / 1000;
	until.tv_nsec += self->limit_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	int status;
	do
		status = sem_clockwait(&self->ended, CLOCK_MONOTONIC, &until);
	while (status < 0 && errno == EINTR);
	if (status == 0)
		return NULL;
	log_error("stop: closing %s did not end within %u ms: the process ends without it; all that was acknowledged "
		  "is on "
		  "disk",
		  self->what, self->limit_ms);
	_exit(EXIT_FAILURE);
}

void stop_guard_begin(struct stop_guard *self, const char *what, uint32_t limit_ms)
{
	sigset_t all, before;
	*self = (struct stop_guard){.what = what, .limit_ms = limit_ms};
	sem_init(&self->ended, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	self->started = pthread_create(&self->thread, NULL, wait_for_end, self) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void stop_guard_end(struct stop_guard *self)
{
	if (self->started) {
		sem_post(&self->ended);
		pthread_join(self->thread, NULL);
	}
	sem_destroy(&self->ended);
}
