/* SPDX-License-Identifier: Apache-2.0 */
/* Schedule: virtual time, and what is to happen when.
 *
 * A heap of events ordered by (time, sequence): two events of the same time run in the order of their making, so a run
 * is one sequence of events and the same seed gives the same one.
 *
 * Threading   One thread.
 * Ownership   An event's argument belongs to the event until it runs; `drop` frees it when the schedule ends before.
 * Errors      Memory that is out aborts: this is a test.
 * Invariants  S1 Time never goes back.  S2 An event runs once or is dropped once.
 */
#ifndef KVRING_TESTS_SIM_SCHEDULE_H
#define KVRING_TESTS_SIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct sim_event {
	uint64_t time_us, sequence;
	void (*run)(void *world, void *arg, uint64_t number);
	void (*drop)(void *arg); /* NULL: arg needs no freeing */
	void *arg;
	uint64_t number;
};

struct schedule {
	uint64_t now_us, next_sequence;
	struct sim_event *heap;
	uint32_t count, capacity;
};

void schedule_init(struct schedule *);
void schedule_fini(struct schedule *);
void schedule_in(struct schedule *, uint64_t delay_us, void (*run)(void *world, void *arg, uint64_t number), void *arg,
		 uint64_t number, void (*drop)(void *arg));
/* Moves time to the next event and runs it. false: there is none. */
bool schedule_step(struct schedule *, void *world);

#endif
