/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/schedule.h"

#include <assert.h>
#include <stdlib.h>

void schedule_init(struct schedule *schedule)
{
	*schedule = (struct schedule){0};
}

void schedule_fini(struct schedule *schedule)
{
	for (uint32_t i = 0; i < schedule->count; i++)
		if (schedule->heap[i].drop != NULL)
			schedule->heap[i].drop(schedule->heap[i].arg);
	free(schedule->heap);
	*schedule = (struct schedule){0};
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->time_us != b->time_us ? a->time_us < b->time_us : a->sequence < b->sequence;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
	struct sim_event old = *a;
	*a = *b;
	*b = old;
}

static void sift_up(struct schedule *schedule, uint32_t at)
{
	for (; at && is_before(&schedule->heap[at], &schedule->heap[(at - 1) / 2]); at = (at - 1) / 2)
		swap(&schedule->heap[at], &schedule->heap[(at - 1) / 2]);
}

static void sift_down(struct schedule *schedule, uint32_t at)
{
	for (;;) {
		uint32_t least = at, left = 2 * at + 1, right = left + 1;
		if (left < schedule->count && is_before(&schedule->heap[left], &schedule->heap[least]))
			least = left;
		if (right < schedule->count && is_before(&schedule->heap[right], &schedule->heap[least]))
			least = right;
		if (least == at)
			return;
		swap(&schedule->heap[at], &schedule->heap[least]);
		at = least;
	}
}

void schedule_in(struct schedule *schedule, uint64_t delay_us, void (*run)(void *world, void *arg, uint64_t number),
		 void *arg, uint64_t number, void (*drop)(void *arg))
{
	if (schedule->count == schedule->capacity) {
		schedule->capacity = schedule->capacity ? schedule->capacity * 2 : 256;
		schedule->heap = realloc(schedule->heap, schedule->capacity * sizeof *schedule->heap);
		if (schedule->heap == NULL)
			abort();
	}
	schedule->heap[schedule->count] =
		(struct sim_event){schedule->now_us + delay_us, schedule->next_sequence++, run, drop, arg, number};
	sift_up(schedule, schedule->count++);
}

bool schedule_step(struct schedule *schedule, void *world)
{
	if (!schedule->count)
		return false;
	struct sim_event event = schedule->heap[0];
	schedule->heap[0] = schedule->heap[--schedule->count];
	sift_down(schedule, 0);
	assert(event.time_us >= schedule->now_us);
	schedule->now_us = event.time_us;
	event.run(world, event.arg, event.number);
	return true;
}
