/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/threads.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "rpc/address.h"
#include "rpc/lock.h"

/* What NNG 1.5.2 starts: two threads for tasks and one for timeouts per processor, of so many at most; four that resolve names, one
 * for timers, one that polls and one that reaps. */
enum { PROCESSORS_MAX = 8, FOR_PROCESSOR = 3, BESIDE = 7, THREADS_MAX = PROCESSORS_MAX * FOR_PROCESSOR + BESIDE };
enum { ROOM = 2 * 1024 * 1024 }; /* bytes: for what NNG allocates while it starts */

struct crowd {
	struct lock lock;
	pthread_cond_t changed;
	bool GUARDED may_go;
};

static void *stand(void *arg)
{
	struct crowd *self = arg;
	lock_take(&self->lock);
	while (!self->may_go)
		lock_wait(&self->lock, &self->changed);
	lock_release(&self->lock);
	return NULL;
}

static unsigned needed(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned counted = processors < 1 ? 1 : processors > PROCESSORS_MAX ? PROCESSORS_MAX : (unsigned)processors;
	return counted * FOR_PROCESSOR + BESIDE;
}

/* All at the same time, as NNG's. 0, or an errno. */
static int start_and_end(unsigned count)
{
	struct crowd crowd = {.lock = LOCK_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	pthread_t threads[THREADS_MAX];
	unsigned started = 0;
	int error = 0;
	while (error == 0 && started < count) {
		error = pthread_create(&threads[started], NULL, stand, &crowd);
		started += error == 0;
	}
	void *room =
		error == 0 ? mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
	if (error == 0 && room == MAP_FAILED)
		error = errno;
	if (room != MAP_FAILED)
		munmap(room, ROOM);
	lock_take(&crowd.lock);
	crowd.may_go = true;
	pthread_cond_broadcast(&crowd.changed);
	lock_release(&crowd.lock);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	pthread_cond_destroy(&crowd.changed);
	lock_fini(&crowd.lock);
	return error;
}

int rpc_threads_check(struct rpc_error *error_out)
{
	static _Atomic bool worked;
	sigset_t all, before;
	if (worked)
		return 0;
	/* The program's signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = start_and_end(needed());
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	worked = error == 0;
	if (error == 0)
		return 0;
	return rpc_error_set(
		error_out, -EAGAIN,
		"cannot start %u threads (%s): allow this process more threads or more memory, see ulimit -u and -v",
		needed(), strerror(error));
}
