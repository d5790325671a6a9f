/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/stall.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include "rpc/age.h"
#include "rpc/lock.h"
#include "rpc/rpc.h"

static struct {
	struct lock life; /* held while the thread is started or stopped */
	unsigned GUARDED users;
	pthread_t thread;
	atomic_bool stopping;
	_Atomic uint64_t noted_us;
	_Atomic uint64_t begin_us, end_us; /* of the last stall; end_us is written last */
} watch = {.life = LOCK_INITIALIZER};

uint64_t rpc_sent_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now); /* also counts while the machine sleeps */
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool is_stall(uint64_t noted_us, uint64_t now_us)
{
	return now_us > noted_us + STALL_MIN_MS * UINT64_C(1000);
}

static void note(void)
{
	uint64_t now_us = rpc_sent_us(), noted_us = atomic_load(&watch.noted_us);
	if (is_stall(noted_us, now_us)) {
		atomic_store(&watch.begin_us, noted_us);
		atomic_store(&watch.end_us, now_us);
	}
	atomic_store(&watch.noted_us, now_us);
}

static void *run(void *arg)
{
	const struct timespec tick = {.tv_nsec = STALL_TICK_MS * 1000000L};
	(void)arg;
	while (!atomic_load(&watch.stopping)) {
		note();
		nanosleep(&tick, NULL);
	}
	return NULL;
}

static int start(void)
{
	sigset_t all, before;
	atomic_store(&watch.stopping, false);
	atomic_store(&watch.noted_us, rpc_sent_us());
	atomic_store(&watch.end_us, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&watch.thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

int rpc_stall_watch_start(void)
{
	lock_take(&watch.life);
	int status = watch.users == 0 ? start() : 0;
	if (status == 0)
		watch.users++;
	lock_release(&watch.life);
	return status;
}

void rpc_stall_watch_stop(void)
{
	lock_take(&watch.life);
	if (--watch.users == 0) {
		atomic_store(&watch.stopping, true);
		pthread_join(watch.thread, NULL);
	}
	lock_release(&watch.life);
}

uint64_t rpc_stall_age_us(uint64_t opened_us, uint64_t now_us)
{
	uint64_t noted_us = atomic_load(&watch.noted_us);
	struct rpc_stall stall = {.end_us = atomic_load(&watch.end_us)};
	stall.begin_us = atomic_load(&watch.begin_us);
	if (is_stall(noted_us, now_us)) /* the reader woke before the thread */
		stall = (struct rpc_stall){noted_us, now_us};
	return rpc_stall_age(&stall, opened_us, now_us);
}
