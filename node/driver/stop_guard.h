/* SPDX-License-Identifier: Apache-2.0 */
/* Stop guard: bounds the time that one part of a stop may take.
 *
 * Closing connections waits for callbacks of NNG. A stop that never ends is worse than one that leaves connections open: an
 * operator would kill the process, whatever it was doing. So when the time is over, the guard logs what did not end and
 * ends the process. No acknowledged write is lost: each was synced before.
 *
 * Threading   begin and end: one thread. The guard waits in a thread of its own.
 * Errors      Without memory for a thread the part goes unguarded.
 */
#ifndef KVRING_NODE_STOP_GUARD_H
#define KVRING_NODE_STOP_GUARD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

struct stop_guard {
	const char *what;
	uint32_t limit_ms;
	sem_t ended;
	pthread_t thread;
	bool started;
};

/* Exits with EXIT_FAILURE unless stop_guard_end comes within limit_ms. */
void stop_guard_begin(struct stop_guard *, const char *what, uint32_t limit_ms);
void stop_guard_end(struct stop_guard *);

#endif
