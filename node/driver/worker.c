/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/worker.h"

#include <errno.h>
#include <stdlib.h>
#include "node/driver/hub.h"
#include "node/object/limit.h"

enum {
	ARENA_SIZE = 64 * 1024 - 256, /* bytes: one batch or a few; below malloc's mmap threshold */
	ARENA_USED_MAX = 48 * 1024,   /* bytes: then the next batch begins a new one */
};

void worker_renew_arena(struct worker *self)
{
	if (rpc_arena_used(self->effects.arena) < ARENA_USED_MAX)
		return;
	struct arena *fresh = rpc_arena_create(ARENA_SIZE, SIZE_MAX);
	if (fresh == NULL)
		return; /* the old one grows on */
	rpc_arena_unref(self->effects.arena);
	self->effects.arena = fresh;
}

struct arena *worker_arena(struct worker *self)
{
	return self->effects.arena;
}

int worker_init(struct worker *self, struct hub *hub, uint32_t slot, uint32_t worker_count, uint32_t actor_count)
{
	*self = (struct worker){.hub = hub, .slot = slot};
	mailbox_init(&self->mailbox);
	for (int kind = 0; kind < MAIL_KINDS; kind++)
		mail_queue_init(&self->taken[kind]);
	exchange_init(&self->exchange, &(struct exchange_options){0});
	self->to_wake = calloc(worker_count, sizeof(struct worker *));
	self->actors = calloc(actor_count, sizeof(struct hosted *));
	struct arena *arena = rpc_arena_create(ARENA_SIZE, SIZE_MAX);
	if (self->to_wake == NULL || self->actors == NULL || arena == NULL) {
		rpc_arena_unref(arena);
		worker_fini(self);
		return -ENOMEM;
	}
	effects_init(&self->effects, arena);
	return 0;
}

void worker_host(struct worker *self, struct hosted *actor)
{
	actor->worker = self;
	actor->timer_us = UINT64_MAX;
	self->actors[self->actor_count++] = actor;
}

void worker_fini(struct worker *self)
{
	message_list_free(&self->local);
	exchange_fini(&self->exchange);
	rpc_arena_unref(self->effects.arena);
	free(self->to_wake);
	free(self->actors);
	self->actors = NULL;
	self->effects.arena = NULL;
	self->to_wake = NULL;
}

struct hosted *worker_coordinator(struct worker *self)
{
	for (uint32_t i = 0; i < self->actor_count; i++) {
		struct hosted *actor = self->actors[self->next_coordinator++ % self->actor_count];
		if (actor->kind == ACTOR_COORDINATOR)
			return actor;
	}
	return NULL;
}

static void wake_later(struct worker *self, struct worker *to)
{
	for (uint32_t i = 0; i < self->to_wake_count; i++)
		if (self->to_wake[i] == to)
			return;
	self->to_wake[self->to_wake_count++] = to;
}

void worker_post(struct worker *from, struct message *message)
{
	struct worker *to = hub_actor_for(from->hub, message)->worker;
	if (to == from) {
		message_list_add(&from->local, message);
		return;
	}
	mailbox_put(&to->mailbox, message_is_large(message) ? MAIL_LARGE_MESSAGE : MAIL_MESSAGE, &message->mail);
	wake_later(from, to);
}

/* Of the values in an answer to a read. */
static uint64_t value_bytes(const struct message *answer)
{
	uint64_t bytes = answer->type == MESSAGE_FETCHED ? answer->fetched.object.size : 0;
	for (uint32_t i = 0; answer->type == MESSAGE_SCANNED && i < answer->scanned.count; i++)
		bytes += answer->scanned.entries[i].object.size;
	return bytes;
}

void worker_charge(struct worker *self, struct message *answer)
{
	uint64_t bytes = value_bytes(answer);
	if (bytes <= LIMIT_SMALL_SIZE || message_charge(answer, self->hub->values, bytes))
		return;
	answer->status = REPLICA_OVERLOADED;
	if (answer->type == MESSAGE_SCANNED)
		answer->scanned = (struct scanned_body){0};
	else
		answer->fetched = (struct fetched_body){0};
	if (answer->value.pin != NULL)
		engine_value_release(&answer->value);
}

void worker_wake_posted(struct worker *self)
{
	for (uint32_t i = 0; i < self->to_wake_count; i++)
		mailbox_wake(&self->to_wake[i]->mailbox);
	self->to_wake_count = 0;
}
