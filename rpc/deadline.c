/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/deadline.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

static struct {
	pthread_mutex_t life; /* held while the thread is started or stopped */
	pthread_mutex_t lock; /* guards the list; held while checks run */
	struct deadline_watch *watches;
	pthread_t thread;
	sem_t wake;
	atomic_bool idle; /* the thread sleeps until `wake`, or is about to */
	atomic_bool stopping;
} deadlines = {.life = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};

/* True while any watch is armed. */
static bool check_all(void)
{
	bool any = false;
	pthread_mutex_lock(&deadlines.lock);
	for (struct deadline_watch *watch = deadlines.watches; watch != NULL; watch = watch->next) {
		if (!atomic_load(&watch->armed))
			continue;
		/* Disarmed before the check: what is armed during it stays armed. */
		atomic_store(&watch->armed, false);
		if (watch->check(watch->arg))
			atomic_store(&watch->armed, true);
		any |= atomic_load(&watch->armed);
	}
	pthread_mutex_unlock(&deadlines.lock);
	return any;
}

static bool any_armed(void)
{
	bool any = false;
	pthread_mutex_lock(&deadlines.lock);
	for (struct deadline_watch *watch = deadlines.watches; watch != NULL; watch = watch->next)
		any |= atomic_load(&watch->armed);
	pthread_mutex_unlock(&deadlines.lock);
	return any;
}

static void *run(void *arg)
{
	const struct timespec tick = {.tv_nsec = DEADLINE_TICK_MS * 1000000L};
	(void)arg;
	while (!atomic_load(&deadlines.stopping)) {
		nanosleep(&tick, NULL);
		if (check_all())
			continue;
		/* Says that it sleeps, then looks once more: whoever arms does it in the other order. */
		atomic_store(&deadlines.idle, true);
		bool stay = any_armed() || atomic_load(&deadlines.stopping);
		/* Whoever took `idle` from us posts: that post is ours to consume, or the next sleep would not be one. */
		if (!stay || !atomic_exchange(&deadlines.idle, false))
			sem_wait(&deadlines.wake);
	}
	return NULL;
}

static void wake(void)
{
	if (atomic_exchange(&deadlines.idle, false))
		sem_post(&deadlines.wake);
}

static int start(void)
{
	sigset_t all, before;
	sem_init(&deadlines.wake, 0, 0);
	atomic_store(&deadlines.idle, false);
	atomic_store(&deadlines.stopping, false);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&deadlines.thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0)
		sem_destroy(&deadlines.wake);
	return -error;
}

int deadline_watch_add(struct deadline_watch *watch)
{
	pthread_mutex_lock(&deadlines.life);
	int status = deadlines.watches == NULL ? start() : 0;
	if (status == 0) {
		pthread_mutex_lock(&deadlines.lock);
		watch->next = deadlines.watches;
		deadlines.watches = watch;
		pthread_mutex_unlock(&deadlines.lock);
	}
	pthread_mutex_unlock(&deadlines.life);
	return status;
}

void deadline_watch_remove(struct deadline_watch *watch)
{
	pthread_mutex_lock(&deadlines.life);
	pthread_mutex_lock(&deadlines.lock);
	struct deadline_watch **at = &deadlines.watches;
	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	bool last = deadlines.watches == NULL;
	pthread_mutex_unlock(&deadlines.lock);
	if (last) {
		atomic_store(&deadlines.stopping, true);
		wake();
		pthread_join(deadlines.thread, NULL);
		sem_destroy(&deadlines.wake);
	}
	pthread_mutex_unlock(&deadlines.life);
}

void deadline_watch_arm(struct deadline_watch *watch)
{
	if (atomic_load_explicit(&watch->armed, memory_order_relaxed))
		return;
	atomic_store(&watch->armed, true);
	wake();
}
