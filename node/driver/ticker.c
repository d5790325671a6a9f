/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "node/driver/ticker.h"

enum { SHORTEST_SLEEP_US = 1000 };

struct slot {
	struct mailbox *mailbox;
	_Atomic uint64_t due_us;
};

struct ticker {
	struct mailbox own; /* only to sleep on, and to be woken or stopped */
	pthread_t thread;
	bool started;
	_Atomic uint64_t next_us; /* until when it sleeps */
	uint32_t slot_count;
	struct slot slots[];
};

/* Wakes what is due; returns when the next one is. */
static uint64_t scan(struct ticker *self, uint64_t now_us)
{
	uint64_t next_us = UINT64_MAX;
	for (uint32_t i = 0; i < self->slot_count; i++) {
		uint64_t due_us = atomic_load(&self->slots[i].due_us);
		if (due_us <= now_us) {
			/* Once: the worker sets it anew. Unless it just did. */
			if (atomic_compare_exchange_strong(&self->slots[i].due_us, &due_us, UINT64_MAX))
				mailbox_nudge(self->slots[i].mailbox);
		}
		if (due_us > now_us && due_us < next_us)
			next_us = due_us;
	}
	return next_us;
}

/* next_us is announced before the second scan: a slot set in between is either seen by it, or sees next_us and wakes
 * the ticker. */
static void *run(void *arg)
{
	struct ticker *self = arg;
	while (!mailbox_stopping(&self->own)) {
		uint64_t now_us = rpc_now_us();
		uint64_t next_us = scan(self, now_us);
		if (next_us != UINT64_MAX && next_us < now_us + SHORTEST_SLEEP_US)
			next_us = now_us + SHORTEST_SLEEP_US;
		atomic_store(&self->next_us, next_us);
		if (scan(self, now_us) >= next_us - SHORTEST_SLEEP_US)
			mailbox_wait(&self->own, next_us);
	}
	return NULL;
}

int ticker_create(uint32_t slot_count, struct ticker **out)
{
	struct ticker *self = calloc(1, sizeof *self + slot_count * sizeof self->slots[0]);
	if (self == NULL)
		return -ENOMEM;
	mailbox_init(&self->own);
	self->slot_count = slot_count;
	for (uint32_t i = 0; i < slot_count; i++)
		atomic_init(&self->slots[i].due_us, UINT64_MAX);
	*out = self;
	return 0;
}

void ticker_attach(struct ticker *self, uint32_t slot, struct mailbox *mailbox)
{
	self->slots[slot].mailbox = mailbox;
}

int ticker_start(struct ticker *self)
{
	int error = pthread_create(&self->thread, NULL, run, self);
	self->started = error == 0;
	return -error;
}

void ticker_stop(struct ticker **out)
{
	struct ticker *self = *out;
	if (self == NULL)
		return;
	if (self->started) {
		mailbox_stop(&self->own);
		pthread_join(self->thread, NULL);
	}
	free(self);
	*out = NULL;
}

void ticker_set(struct ticker *self, uint32_t slot, uint64_t due_us)
{
	if (atomic_exchange(&self->slots[slot].due_us, due_us) == due_us)
		return;
	if (due_us < atomic_load(&self->next_us))
		mailbox_nudge(&self->own);
}
