/* SPDX-License-Identifier: Apache-2.0 */
/* Deadline: one thread that looks every few milliseconds whether requests have waited too long, and every second or so whether
 * connections have.
 *
 * Instead of a timer per request: arming a timer at every request costs more than the request, and NNG 1.5.2's own timer
 * thread turns without sleeping in the last millisecond of every wait (measured: a quarter of a busy node's processor time).
 * While no request is under way the thread sleeps, until the next watch with a period is due.
 *
 * Threading   add and remove: where links are opened and closed. arm: any thread. check runs on the deadline thread.
 * Ownership   The watch is the caller's; it stays until remove, which waits for a check that runs.
 * Errors      Negative errno when the thread cannot be started.
 */
#ifndef KVRING_RPC_DEADLINE_H
#define KVRING_RPC_DEADLINE_H

#include <stdbool.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
	DEADLINE_TICK_MS = 5,
	/* A check that comes so late was not held up by load: the process did not run (SIGSTOP, stall.h). */
	DEADLINE_LATE_MS = 500,
};

struct deadline_watch {
	/* Ends what is overdue; false when nothing is under way any more. Must not add or remove watches. */
	bool (*check)(void *arg);
	void *arg;
	uint64_t period_us; /* between checks; 0: DEADLINE_TICK_MS */
	uint64_t next_us;   /* the earliest time of the next check; the thread's */
	/* When a check last came DEADLINE_LATE_MS late, 0: never. What was not heard before, nobody listened for. Only of a watch with
	 * a period that is armed all the time; for its check to read. */
	uint64_t awake_us;
	atomic_bool armed;
	struct deadline_watch *next; /* under the list's lock */
};

__attribute__((warn_unused_result)) int rpc_deadline_watch_add(struct deadline_watch *);
void rpc_deadline_watch_remove(struct deadline_watch *);
/* Something is under way: check is called once each period until it returns false. */
void rpc_deadline_watch_arm(struct deadline_watch *);

#endif
