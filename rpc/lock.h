/* SPDX-License-Identifier: Apache-2.0 */
/* Lock: a mutex that clang follows (-Wthread-safety): what is guarded is touched by its holder only, and every path lets go.
 *
 *     struct box { struct lock lock; int GUARDED count; };
 *     static void add(struct box *self) REQUIRES(self->lock);
 *
 * clang 14 takes no member name in C, so GUARDED says "by some lock that is held", not by which; REQUIRES names it. gcc
 * sees plain mutexes. Wait on a condition with lock_wait or lock_wait_until, in a loop.
 *
 * Threading   Any.
 * Errors      None: a mutex that is misused is a bug of ours.
 */
#ifndef KVRING_COMMON_LOCK_H
#define KVRING_COMMON_LOCK_H

#include <assert.h>
#include <pthread.h>
#include <time.h>

#ifdef __clang__
#define LOCK_ATTRIBUTE(...) __attribute__((__VA_ARGS__))
#else
#define LOCK_ATTRIBUTE(...)
#endif
#define GUARDED        LOCK_ATTRIBUTE(guarded_var)
#define REQUIRES(what) LOCK_ATTRIBUTE(requires_capability(what))
#define EXCLUDES(what) LOCK_ATTRIBUTE(locks_excluded(what))
#define ACQUIRES(what) LOCK_ATTRIBUTE(acquire_capability(what))
#define RELEASES(what) LOCK_ATTRIBUTE(release_capability(what))
#define NOT_CHECKED    LOCK_ATTRIBUTE(no_thread_safety_analysis) /* init and fini: nobody else is there */
#define LOCK_INITIALIZER                                                                                               \
	{                                                                                                              \
		PTHREAD_MUTEX_INITIALIZER                                                                              \
	}

struct LOCK_ATTRIBUTE(capability("mutex")) lock {
	pthread_mutex_t mutex;
};

static inline void lock_init(struct lock *self)
{
	int error = pthread_mutex_init(&self->mutex, NULL);
	assert(error == 0);
	(void)error;
}

static inline void lock_fini(struct lock *self)
{
	int error = pthread_mutex_destroy(&self->mutex);
	assert(error == 0); /* somebody holds it */
	(void)error;
}

static inline void lock_take(struct lock *self) ACQUIRES(*self);
static inline void lock_release(struct lock *self) RELEASES(*self);
static inline void lock_wait(struct lock *self, pthread_cond_t *condition) REQUIRES(*self);
/* ETIMEDOUT at that time, by the condition's clock. */
static inline int lock_wait_until(struct lock *self, pthread_cond_t *condition, struct timespec until) REQUIRES(*self);

static inline NOT_CHECKED void lock_take(struct lock *self)
{
	int error = pthread_mutex_lock(&self->mutex);
	assert(error == 0);
	(void)error;
}

static inline NOT_CHECKED void lock_release(struct lock *self)
{
	int error = pthread_mutex_unlock(&self->mutex);
	assert(error == 0);
	(void)error;
}

static inline void lock_wait(struct lock *self, pthread_cond_t *condition)
{
	pthread_cond_wait(condition, &self->mutex);
}

static inline int lock_wait_until(struct lock *self, pthread_cond_t *condition, struct timespec until)
{
	return pthread_cond_timedwait(condition, &self->mutex, &until);
}

#endif
