/* SPDX-License-Identifier: Apache-2.0 */
#include "node/replica/durable.h"

#include <assert.h>
#include <errno.h>
#include "engine/fs.h"

enum { SYNC_RETRY_US = 200 * 1000 }; /* on a full disk: until a commit is tried again, and whoever waits is told */

enum replica_status durable_status_of(int error)
{
	switch (error) {
	case -ENOSPC:
		return REPLICA_DISK_FULL;
	case -EAGAIN:
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return REPLICA_OVERLOADED;
	default:
		return REPLICA_ERROR;
	}
}

static void generation_fini(struct generation *generation)
{
	message_list_free(&generation->answers);
	unsynced_fini(&generation->keys);
}

void durable_fini(struct durable *self)
{
	generation_fini(&self->open);
	generation_fini(&self->closing);
}

int durable_reserve(struct durable *self)
{
	return unsynced_reserve(&self->open.keys);
}

void durable_add(struct durable *self, struct rpc_slice key)
{
	assert(!self->dead); /* no commit would come */
	unsynced_insert(&self->open.keys, unsynced_hash(key));
}

void durable_answer(struct durable *self, struct rpc_slice key, struct message *answer, struct effects *out)
{
	uint64_t hash = unsynced_hash(key);
	if (unsynced_has(&self->open.keys, hash))
		message_list_add(&self->open.answers, answer);
	else if (unsynced_has(&self->closing.keys, hash))
		message_list_add(&self->closing.answers, answer);
	else
		effects_send(out, answer);
}

void durable_answer_all(struct durable *self, struct message *answer, struct effects *out)
{
	if (self->open.keys.count > 0)
		message_list_add(&self->open.answers, answer);
	else if (self->closing.keys.count > 0)
		message_list_add(&self->closing.answers, answer);
	else
		effects_send(out, answer);
}

/* What waited may or may not be on disk, now or later, so it is an error and never an acknowledgement. */
static void turn_into_error(struct message *answer, int status)
{
	assert(status < 0);
	if (answer->type == MESSAGE_STORED) {
		answer->status = durable_status_of(status);
	} else if (answer->type == MESSAGE_SCANNED) {
		answer->status = REPLICA_ERROR;
		answer->scanned = (struct scanned_body){0};
	} else {
		answer->status = REPLICA_ERROR;
		answer->fetched.object = (struct rpc_slice){0};
		answer->fetched.digest = 0;
	}
}

static void release(struct generation *generation, int status, struct effects *out)
{
	struct message *answer;
	while ((answer = message_list_take(&generation->answers)) != NULL) {
		if (status != 0)
			turn_into_error(answer, status);
		effects_send(out, answer);
	}
}

void durable_begin(struct durable *self, const struct event *event, struct effects *out)
{
	if (self->dead || self->syncing || event->now_us < self->retry_after_us ||
	    (self->open.keys.count == 0 && self->closing.keys.count == 0))
		return;
	/* What a commit could not write is still pending, and stays closing until one succeeds. */
	if (self->closing.keys.count == 0) {
		struct unsynced spare = self->closing.keys;
		self->closing = self->open;
		self->open = (struct generation){.keys = spare};
	}
	assert(self->closing.keys.count > 0);
	self->syncing = true;
	out->sync = true;
}

void durable_end(struct durable *self, const struct event *event, struct effects *out)
{
	int status = event->status;
	assert(self->syncing);
	assert(status <= 0);
	self->syncing = false;
	release(&self->closing, status, out);
	if (status == 0) {
		unsynced_clear(&self->closing.keys);
		durable_begin(self, event, out);
	} else if (fs_is_passing(status)) { /* after anything else the log must not be used any more (engine E1) */
		self->retry_after_us = event->now_us + SYNC_RETRY_US;
	} else {
		self->dead = true;
		release(&self->open, status, out);
	}
}

void durable_check(const struct durable *self)
{
	assert(self->open.answers.count == 0 || self->open.keys.count > 0);       /* D1 */
	assert(self->closing.answers.count == 0 || self->closing.keys.count > 0); /* D1 */
	assert(!self->syncing || self->closing.keys.count > 0);                   /* D2 */
	assert(!self->dead || self->open.answers.count == 0);                     /* D3 */
	assert(!self->dead || self->closing.answers.count == 0);                  /* D3 */
	assert(!self->dead || !self->syncing);                                    /* D3 */
}
