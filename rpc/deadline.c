/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/deadline.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include "rpc/lock.h"
#include "rpc/rpc.h"

static struct {
	struct lock life; /* held while the thread is started or stopped */
	struct lock lock; /* guards the list; held while checks run */
	struct deadline_watch *watches GUARDED;
	pthread_t thread;
	sem_t wake;
	atomic_bool idle; /* the thread sleeps until `wake`, or is about to */
	atomic_bool stopping;
} deadlines = {.life = LOCK_INITIALIZER, .lock = LOCK_INITIALIZER};

static uint64_t earliest_locked(void) REQUIRES(deadlines.lock);

/* When the first armed watch is due; UINT64_MAX when none is armed. */
static uint64_t earliest_locked(void)
{
	uint64_t earliest_us = UINT64_MAX;
	for (struct deadline_watch *watch = deadlines.watches; watch != NULL; watch = watch->next)
		if (atomic_load(&watch->armed) && watch->next_us < earliest_us)
			earliest_us = watch->next_us;
	return earliest_us;
}

static uint64_t earliest(void)
{
	lock_take(&deadlines.lock);
	uint64_t earliest_us = earliest_locked();
	lock_release(&deadlines.lock);
	return earliest_us;
}

/* Checks what is armed and due. Returns when the next watch is due. */
static uint64_t check_all(uint64_t now_us)
{
	lock_take(&deadlines.lock);
	for (struct deadline_watch *watch = deadlines.watches; watch != NULL; watch = watch->next) {
		if (!atomic_load(&watch->armed) || watch->next_us > now_us)
			continue;
		if (watch->period_us != 0 && now_us > watch->next_us + DEADLINE_LATE_MS * UINT64_C(1000))
			watch->awake_us = now_us;
		/* Disarmed before the check: what is armed during it stays armed. */
		atomic_store(&watch->armed, false);
		if (watch->check(watch->arg))
			atomic_store(&watch->armed, true);
		watch->next_us = watch->period_us == 0 ? 0 : now_us + watch->period_us;
	}
	uint64_t next_us = earliest_locked();
	lock_release(&deadlines.lock);
	return next_us;
}

/* Until then, or until something is armed that may be due before. */
static void sleep_until(uint64_t until_us)
{
	struct timespec until = {(time_t)(until_us / 1000000), (long)(until_us % 1000000) * 1000};
	/* Says that it sleeps, then looks once more: whoever arms does it in the other order. */
	atomic_store(&deadlines.idle, true);
	bool woken = false;
	if (earliest() >= until_us && !atomic_load(&deadlines.stopping)) {
		if (until_us == UINT64_MAX)
			woken = sem_wait(&deadlines.wake) == 0;
		else
			woken = sem_clockwait(&deadlines.wake, CLOCK_MONOTONIC, &until) == 0;
	}
	/* Whoever took `idle` from us posts: that post is ours to consume, or the next sleep would not be one. */
	if (!woken && !atomic_exchange(&deadlines.idle, false))
		sem_wait(&deadlines.wake);
}

static void *run(void *arg)
{
	const struct timespec tick = {.tv_nsec = DEADLINE_TICK_MS * 1000000L};
	(void)arg;
	while (!atomic_load(&deadlines.stopping)) {
		nanosleep(&tick, NULL);
		uint64_t now_us = rpc_now_us();
		uint64_t next_us = check_all(now_us);
		if (next_us > now_us + DEADLINE_TICK_MS * 1000)
			sleep_until(next_us);
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

int rpc_deadline_watch_add(struct deadline_watch *watch)
{
	lock_take(&deadlines.life);
	int status = deadlines.watches == NULL ? start() : 0;
	if (status == 0) {
		lock_take(&deadlines.lock);
		watch->next_us = watch->period_us == 0 ? 0 : rpc_now_us();
		watch->next = deadlines.watches;
		deadlines.watches = watch;
		lock_release(&deadlines.lock);
	}
	lock_release(&deadlines.life);
	return status;
}

void rpc_deadline_watch_remove(struct deadline_watch *watch)
{
	lock_take(&deadlines.life);
	lock_take(&deadlines.lock);
	struct deadline_watch **at = &deadlines.watches;
	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	bool last = deadlines.watches == NULL;
	lock_release(&deadlines.lock);
	if (last) {
		atomic_store(&deadlines.stopping, true);
		wake();
		pthread_join(deadlines.thread, NULL);
		sem_destroy(&deadlines.wake);
	}
	lock_release(&deadlines.life);
}

void rpc_deadline_watch_arm(struct deadline_watch *watch)
{
	if (atomic_load_explicit(&watch->armed, memory_order_relaxed))
		return;
	atomic_store(&watch->armed, true);
	wake();
}
