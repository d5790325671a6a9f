/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "node/driver/inbound.h"
#include "node/driver/jobs.h"
#include "node/driver/runtime.h"
#include "node/driver/ticker.h"
#include "node/driver/worker.h"

enum {
	ARENA_SIZE = 64 * 1024 - 256, /* bytes: one batch or a few; below malloc's mmap threshold */
	ARENA_USED_MAX = 48 * 1024,   /* bytes: then the next batch begins a new one */
};

static uint64_t unix_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- arena and stepping ---------------------------------------------------------------------------------------- */

static void renew_arena(struct worker *self)
{
	if (self->effects.arena != NULL && arena_used(self->effects.arena) < ARENA_USED_MAX)
		return;
	struct arena *fresh = arena_create(ARENA_SIZE, SIZE_MAX);
	if (fresh == NULL)
		return; /* the old one grows on */
	arena_unref(self->effects.arena);
	self->effects.arena = fresh;
}

struct arena *worker_arena(struct worker *self)
{
	return self->effects.arena;
}

static void step(struct worker *self, struct event *event)
{
	event->now_us = self->now_us;
	event->now_ms = self->now_ms;
	node_step(self->runtime->node, self->kind, self->index, event, &self->effects);
	self->timer_us = self->effects.timer_us;
}

void worker_step(struct worker *self, enum event_type type, struct message *message)
{
	struct event event = {.type = type, .message = message};
	step(self, &event);
}

static void step_synced(struct worker *self, int status)
{
	struct event event = {.type = EVENT_SYNCED, .status = status};
	step(self, &event);
}

static void step_job(struct worker *self, struct job_mail *mail)
{
	struct event event = {.type = EVENT_JOB_DONE, .job = mail->job};
	free(mail);
	step(self, &event);
}

/* ---- delivering ------------------------------------------------------------------------------------------------- */

void worker_post(struct worker *from, struct worker *to, struct message *message)
{
	mailbox_put(&to->mailbox, MAIL_MESSAGE, &message->mail);
	for (uint32_t i = 0; i < from->to_wake_count; i++)
		if (from->to_wake[i] == to)
			return;
	from->to_wake[from->to_wake_count++] = to;
}

static void wake_all(struct worker *self)
{
	for (uint32_t i = 0; i < self->to_wake_count; i++)
		if (self->to_wake[i] != self)
			mailbox_wake(&self->to_wake[i]->mailbox);
	self->to_wake_count = 0;
}

static void deliver_one(struct worker *self, struct message *message)
{
	switch (message_way(message, self->runtime->node->id)) {
	case WAY_CLIENT:
		inbound_reply_client(self, message);
		break;
	case WAY_ANSWER:
		inbound_answer(self, message);
		break;
	case WAY_LOCAL:
		worker_post(self, runtime_worker_for(self->runtime, message), message);
		break;
	case WAY_BUS:
		runtime_broadcast(self->runtime, message);
		break;
	case WAY_PEER:
		outbound_add(self, message);
		break;
	}
}

/* First: notes may point into the messages. */
static void tell(struct worker *self)
{
	struct node_event event;
	for (const struct note *note = self->effects.first_note; note != NULL; note = note->next)
		if (notes_tell(&self->notes, note, self->now_us, &event))
			runtime_tell(self->runtime, &event);
	if (self->effects.contacts != NULL)
		connector_want(&self->runtime->connector, self->effects.contacts);
	self->effects.first_note = NULL;
	self->effects.contacts = NULL;
}

static void deliver(struct worker *self)
{
	tell(self);
	struct message *message;
	while ((message = message_list_take(&self->effects.messages)) != NULL)
		deliver_one(self, message);
	outbound_flush(self);
	wake_all(self);
}

static void submit_jobs(struct worker *self)
{
	for (uint32_t i = 0; i < self->effects.job_count; i++) {
		struct engine_job *job = self->effects.jobs[i];
		int error = jobs_submit(self->runtime->jobs, job, &self->mailbox);
		if (error == 0)
			continue;
		/* Out of memory for a queue entry: run it here, late is better than never. At the end it goes back unrun. */
		struct event event = {.type = EVENT_JOB_DONE, .job = job};
		if (error != -ESHUTDOWN)
			engine_job_run(job);
		step(self, &event);
	}
	self->effects.job_count = 0;
}

/* ---- one batch -------------------------------------------------------------------------------------------------- */

static void end_commit(struct worker *, struct commit_mail *);

static bool drain(struct worker *self)
{
	struct mail_queue taken;
	struct cds_wfcq_node *node;
	bool any = false;
	if (mailbox_take(&self->mailbox, MAIL_PENDING, &taken))
		while ((node = mail_next(&taken)) != NULL && (any = true))
			outbound_complete(self, caa_container_of(node, struct rpc_pending, mail));
	if (mailbox_take(&self->mailbox, MAIL_MESSAGE, &taken))
		while ((node = mail_next(&taken)) != NULL && (any = true))
			worker_step(self, EVENT_MESSAGE, caa_container_of(node, struct message, mail));
	if (mailbox_take(&self->mailbox, MAIL_CALL, &taken))
		while ((node = mail_next(&taken)) != NULL && (any = true))
			inbound_call(self, caa_container_of(node, struct rpc_call, mail));
	if (mailbox_take(&self->mailbox, MAIL_BUS, &taken))
		while ((node = mail_next(&taken)) != NULL && (any = true))
			inbound_bus(self, caa_container_of(node, struct bus_mail, mail));
	if (mailbox_take(&self->mailbox, MAIL_JOB, &taken))
		while ((node = mail_next(&taken)) != NULL && (any = true))
			step_job(self, caa_container_of(node, struct job_mail, mail));
	/* Last: the commit that follows it then holds all of the above. */
	if (mailbox_take(&self->mailbox, MAIL_COMMIT, &taken))
		while ((node = mail_next(&taken)) != NULL && (any = true))
			end_commit(self, caa_container_of(node, struct commit_mail, mail));
	return any;
}

/* ---- group commit (engine.md) --------------------------------------------------------------------------------------- */

static struct shard *shard_of(const struct worker *self)
{
	return engine_shard(self->runtime->node->engine, self->index);
}

/* While the disk syncs, this thread goes on: what comes meanwhile is the next commit. */
static void begin_commit(struct worker *self)
{
	struct engine_commit *commit;
	int status = shard_commit_begin(shard_of(self), &commit);
	self->effects.sync = false;
	if (status == 0 && commit != NULL) {
		self->committing = true;
		committer_submit(self->committer, commit, shard_pressure(shard_of(self)));
	} else {
		step_synced(self, status);
	}
}

static void end_commit(struct worker *self, struct commit_mail *mail)
{
	struct engine_commit *commit = mail->commit;
	self->committing = false;
	step_synced(self, shard_commit_end(shard_of(self), &commit));
}

/* Messages leave before the sync begins: the other replicas write while this one does. */
static void deliver_and_commit(struct worker *self)
{
	deliver(self);
	while (self->effects.sync) {
		begin_commit(self);
		deliver(self);
	}
	submit_jobs(self);
	deliver(self);
}

static bool batch(struct worker *self)
{
	self->now_us = rpc_now_us();
	self->now_ms = unix_ms();
	renew_arena(self);
	bool worked = drain(self);
	if (self->timer_us <= self->now_us) {
		worker_step(self, EVENT_TIMER, NULL);
		worked = true;
	}
	if (worked) {
		worker_step(self, EVENT_BATCH_END, NULL);
		deliver_and_commit(self);
	}
	if (worked)
		atomic_fetch_add_explicit(&self->busy_us, rpc_now_us() - self->now_us, memory_order_relaxed);
	return worked;
}

static void *worker_main(void *arg)
{
	struct worker *self = arg;
	ring_reader_register();
	self->now_us = rpc_now_us();
	self->now_ms = unix_ms();
	renew_arena(self);
	worker_step(self, EVENT_START, NULL);
	deliver_and_commit(self);
	for (;;) {
		/* Asked before the batch, which then takes all that came before the stop. */
		bool stopping = mailbox_stopping(&self->mailbox);
		if (batch(self))
			continue;
		if (stopping && !self->committing)
			break;
		ticker_set(self->runtime->ticker, self->slot, self->timer_us);
		mailbox_wait(&self->mailbox, UINT64_MAX);
	}
	ring_reader_unregister();
	return NULL;
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

int worker_init(struct worker *self, struct runtime *runtime, enum actor_kind kind, uint32_t index,
		uint32_t worker_count)
{
	*self = (struct worker){.runtime = runtime, .kind = kind, .index = index, .timer_us = UINT64_MAX};
	mailbox_init(&self->mailbox);
	exchange_init(&self->exchange, &(struct exchange_options){0});
	self->to_wake = calloc(worker_count, sizeof(struct worker *));
	struct arena *arena = arena_create(ARENA_SIZE, SIZE_MAX);
	effects_init(&self->effects, arena);
	return self->to_wake == NULL || arena == NULL ? -ENOMEM : 0;
}

int worker_start(struct worker *self)
{
	int error = self->kind == ACTOR_REPLICA ? committer_start(&self->mailbox, &self->committer) : 0;
	if (error < 0)
		return error;
	sigset_t all, before;
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&self->thread, NULL, worker_main, self);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	self->started = error == 0;
	return -error;
}

void worker_stop(struct worker *self)
{
	if (!self->started)
		return;
	mailbox_stop(&self->mailbox);
	pthread_join(self->thread, NULL);
	committer_stop(&self->committer);
	self->started = false;
}

/* What came after the thread had ended: nobody is left to answer, but engine memory may hang on it. */
static void discard_mail(struct worker *self)
{
	struct mail_queue taken;
	struct cds_wfcq_node *node;
	if (mailbox_take(&self->mailbox, MAIL_MESSAGE, &taken))
		while ((node = mail_next(&taken)) != NULL)
			message_free(caa_container_of(node, struct message, mail));
	if (mailbox_take(&self->mailbox, MAIL_PENDING, &taken))
		while ((node = mail_next(&taken)) != NULL)
			outbound_discard(caa_container_of(node, struct rpc_pending, mail));
}

void worker_fini(struct worker *self)
{
	discard_mail(self);
	exchange_fini(&self->exchange);
	arena_unref(self->effects.arena);
	free(self->to_wake);
	self->effects.arena = NULL;
	self->to_wake = NULL;
}
