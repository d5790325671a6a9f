/* SPDX-License-Identifier: Apache-2.0 */
#include "node/driver/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "engine/pool.h"
#include "node/driver/committer.h"
#include "node/driver/connector.h"
#include "node/driver/hub.h"
#include "node/driver/inbound.h"
#include "node/driver/outbound.h"
#include "node/driver/ticker.h"

enum {
	TURN_US = 5 * 1000,     /* of mail, and again of local messages, before timers are looked at */
	TURN_CHUNK = 16,        /* pieces of mail of one kind before the next kind has its turn */
	TURN_ROUNDS = 32,       /* of all kinds: answers are encoded after the mail, which takes time too */
	LOCAL_STEPS_MAX = 4096, /* of messages between its own actors in one batch: others wait for it too */
};

/* A job on its way to the pool or back. */
struct job_mail {
	struct cds_wfcq_node mail;
	struct engine_pool_job work;
	struct hosted *actor;
};

/* ---- stepping ------------------------------------------------------------------------------------------------ */

static void submit_jobs(struct hosted *);

/* What concerns the actor alone is taken at once; messages and notes gather until they are delivered. */
static void step_event(struct hosted *actor, struct event *event)
{
	struct worker *self = actor->worker;
	event->now_us = self->now_us;
	event->now_ms = self->now_ms;
	node_step(self->hub->node, actor->kind, actor->index, event, &self->effects);
	actor->timer_us = self->effects.timer_us;
	actor->sync |= self->effects.sync;
	actor->worked = true;
	self->effects.sync = false;
	if (self->effects.job_count > 0)
		submit_jobs(actor);
}

static void step(struct hosted *actor, enum event_type type, struct message *message)
{
	struct event event = {.type = type, .message = message};
	step_event(actor, &event);
}

static void step_synced(struct hosted *actor, int status)
{
	struct event event = {.type = EVENT_SYNCED, .status = status};
	step_event(actor, &event);
}

static void step_job(struct job_mail *mail)
{
	struct event event = {.type = EVENT_JOB_DONE, .job = mail->work.job};
	struct hosted *actor = mail->actor;
	free(mail);
	step_event(actor, &event);
}

static void on_job_done(struct engine_pool_job *work)
{
	struct job_mail *mail = caa_container_of(work, struct job_mail, work);
	struct mailbox *mailbox = &mail->actor->worker->mailbox;
	mailbox_put(mailbox, MAIL_JOB, &mail->mail);
	mailbox_wake(mailbox);
}

static int submit(struct hosted *actor, struct engine_job *job)
{
	struct job_mail *mail = malloc(sizeof *mail);
	if (mail == NULL)
		return -ENOMEM;
	*mail = (struct job_mail){.work = {.job = job, .done = on_job_done}, .actor = actor};
	int error = engine_pool_submit(actor->worker->hub->pool, &mail->work);
	if (error < 0)
		free(mail);
	return error;
}

static void submit_jobs(struct hosted *actor)
{
	struct worker *self = actor->worker;
	struct engine_job *jobs[EFFECTS_JOBS_MAX];
	uint32_t count = self->effects.job_count;
	memcpy(jobs, self->effects.jobs, sizeof jobs);
	self->effects.job_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		int error = submit(actor, jobs[i]);
		if (error == 0)
			continue;
		/* Out of memory for a queue entry: run it here, late is better than never. At the end it goes back unrun. */
		struct event event = {.type = EVENT_JOB_DONE, .job = jobs[i]};
		if (error != -ESHUTDOWN)
			engine_job_run(jobs[i]);
		step_event(actor, &event);
	}
}

/* ---- delivering ------------------------------------------------------------------------------------------------- */

static void deliver_one(struct worker *self, struct message *message)
{
	worker_charge(self, message);
	switch (message_way(message, self->hub->node->id)) {
	case WAY_CLIENT:
		inbound_reply_client(self, message);
		break;
	case WAY_ANSWER:
		inbound_answer(self, message);
		break;
	case WAY_LOCAL:
		worker_post(self, message);
		break;
	case WAY_BUS:
		hub_broadcast(self->hub, message);
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
			hub_tell(self->hub, &event);
	if (self->effects.contacts != NULL)
		connector_want(self->hub->connector, self->effects.contacts);
	self->effects.first_note = NULL;
	self->effects.contacts = NULL;
}

static void deliver(struct worker *self)
{
	tell(self);
	struct message *message;
	while ((message = message_list_take(&self->effects.messages)) != NULL)
		deliver_one(self, message);
}

static void receive(struct worker *self, struct message *message)
{
	step(hub_actor_for(self->hub, message), EVENT_MESSAGE, message);
}

/* Messages between actors of this worker, and those that they send on: in rounds, but not for ever. What is left over
 * keeps the worker awake. */
static void deliver_local(struct worker *self)
{
	uint64_t until_us = self->now_us + TURN_US;
	deliver(self);
	for (uint32_t steps = 0; self->local.count > 0 && steps < LOCAL_STEPS_MAX && self->now_us < until_us; steps++) {
		receive(self, message_list_take(&self->local));
		deliver(self);
		self->now_us = rpc_now_us();
	}
	self->left_over = self->local.count > 0;
}

/* Everything that the steps so far have left goes on its way. */
static void flush(struct worker *self)
{
	deliver(self);
	outbound_flush(self);
	worker_wake_posted(self);
	rpc_cork_release(&self->cork);
}

/* ---- one batch -------------------------------------------------------------------------------------------------- */

static void end_commit(struct worker *, struct commit_mail *);

static void handle(struct worker *self, enum mail_kind kind, struct cds_wfcq_node *node)
{
	switch (kind) {
	case MAIL_PENDING:
		outbound_complete(self, caa_container_of(node, struct rpc_pending, mail));
		break;
	case MAIL_MESSAGE:
	case MAIL_LARGE_MESSAGE:
		receive(self, caa_container_of(node, struct message, mail));
		break;
	case MAIL_CALL:
	case MAIL_LARGE_CALL:
		inbound_call(self, caa_container_of(node, struct rpc_call, mail));
		break;
	case MAIL_BUS:
		inbound_bus(self, caa_container_of(node, struct bus_mail, mail));
		break;
	case MAIL_JOB:
		step_job(caa_container_of(node, struct job_mail, mail));
		break;
	case MAIL_COMMIT:
		end_commit(self, caa_container_of(node, struct commit_mail, mail));
		break;
	case MAIL_KINDS:
		break;
	}
}

/* What was begun goes on before more is begun: no calls while messages of the last batch are left over. */
static struct cds_wfcq_node *next_mail(struct worker *self, enum mail_kind kind)
{
	if ((kind == MAIL_CALL || kind == MAIL_LARGE_CALL) && self->left_over)
		return NULL;
	struct cds_wfcq_node *node = mail_next(&self->taken[kind]);
	if (node == NULL && mailbox_take(&self->mailbox, kind, &self->taken[kind]))
		node = mail_next(&self->taken[kind]);
	return node;
}

/* Each piece of mail is judged by the time at which it is looked at, not by when the batch began. */
static bool handle_some(struct worker *self, enum mail_kind kind, uint64_t until_us)
{
	for (unsigned i = 0; i < TURN_CHUNK; i++) {
		struct cds_wfcq_node *node = self->now_us < until_us ? next_mail(self, kind) : NULL;
		if (node == NULL)
			return i > 0;
		handle(self, kind, node);
		self->now_us = rpc_now_us();
	}
	return true;
}

/* One piece, which may take longer than a whole batch of small ones. The kinds take turns. */
static bool handle_large(struct worker *self)
{
	enum { KINDS = MAIL_COMMIT - MAIL_SMALL_KINDS };
	for (unsigned i = 0; i < KINDS; i++) {
		enum mail_kind kind = MAIL_SMALL_KINDS + (self->first_large + i) % KINDS;
		struct cds_wfcq_node *node = next_mail(self, kind);
		if (node == NULL)
			continue;
		handle(self, kind, node);
		self->now_us = rpc_now_us();
		self->first_large = kind - MAIL_SMALL_KINDS + 1;
		return true;
	}
	return false;
}

/* True when there was mail. The kinds take turns, and the batch takes no more after TURN_US or TURN_ROUNDS: a flood of one
 * kind holds up neither the others, nor timers, nor what this batch has to send. The rest waits in `taken`. */
static bool handle_small(struct worker *self)
{
	uint64_t until_us = self->now_us + TURN_US;
	bool any = false, more = true;
	unsigned rounds = 0;
	self->first_kind = (self->first_kind + 1) % MAIL_SMALL_KINDS;
	while (more && self->now_us < until_us && rounds++ < TURN_ROUNDS) {
		more = false;
		for (unsigned i = 0; i < MAIL_SMALL_KINDS; i++)
			more |= handle_some(self, (self->first_kind + i) % MAIL_SMALL_KINDS, until_us);
		any |= more;
	}
	_Static_assert(MAIL_COMMIT == MAIL_KINDS - 1, "every kind before MAIL_COMMIT is small or large");
	/* Last: the commit that follows it then holds all of the above. */
	return handle_some(self, MAIL_COMMIT, UINT64_MAX) || any;
}

/* True when there was mail. A batch is of small mail or of one large piece, in turn while there is both. So what is small waits for one
 * large piece, however many there are, and its answers leave before the next. */
static bool drain(struct worker *self)
{
	for (int i = 0; i < 2; i++) {
		self->large_turn = !self->large_turn;
		if (self->large_turn ? handle_large(self) : handle_small(self))
			return true;
	}
	return false;
}

/* ---- group commit ----------------------------------------------------------------------------------------------------- */

static struct shard *shard_of(const struct hosted *actor)
{
	return engine_shard(actor->worker->hub->node->engine, actor->index);
}

/* While the disk syncs, this thread goes on: what comes meanwhile is the next commit. */
static void begin_commit(struct hosted *actor)
{
	struct engine_commit *commit;
	int status = shard_commit_begin(shard_of(actor), &commit);
	actor->sync = false;
	if (status == 0 && commit != NULL) {
		actor->committing = true;
		committer_submit(actor->committer, commit, shard_pressure(shard_of(actor)));
	} else {
		step_synced(actor, status);
	}
}

static void end_commit(struct worker *self, struct commit_mail *mail)
{
	struct engine_commit *commit = mail->commit;
	uint32_t i = 0;
	while (self->actors[i]->committer != mail->committer)
		i++;
	self->actors[i]->committing = false;
	step_synced(self->actors[i], shard_commit_end(shard_of(self->actors[i]), &commit));
}

/* Messages leave before the sync begins: the other replicas write while this one does. */
static void commit(struct worker *self)
{
	for (uint32_t i = 0; i < self->actor_count; i++)
		while (self->actors[i]->sync)
			begin_commit(self->actors[i]);
}

static void end_batch(struct worker *self)
{
	deliver_local(self);
	for (uint32_t i = 0; i < self->actor_count; i++) {
		struct hosted *actor = self->actors[i];
		if (actor->worked)
			step(actor, EVENT_BATCH_END, NULL);
		actor->worked = false;
	}
	flush(self);
	commit(self);
	flush(self);
}

static bool step_timers(struct worker *self)
{
	bool any = false;
	for (uint32_t i = 0; i < self->actor_count; i++) {
		if (self->actors[i]->timer_us > self->now_us)
			continue;
		step(self->actors[i], EVENT_TIMER, NULL);
		any = true;
	}
	return any;
}

static void begin_batch(struct worker *self)
{
	self->now_us = rpc_now_us();
	self->now_ms = hub_unix_ms();
	worker_renew_arena(self);
}

static bool batch(struct worker *self)
{
	begin_batch(self);
	uint64_t start_us = self->now_us;
	bool worked = self->local.count > 0;
	worked |= drain(self);
	worked |= step_timers(self);
	if (!worked)
		return false;
	end_batch(self);
	atomic_fetch_add_explicit(&self->busy_us, rpc_now_us() - start_us, memory_order_relaxed);
	return true;
}

static bool is_committing(const struct worker *self)
{
	for (uint32_t i = 0; i < self->actor_count; i++)
		if (self->actors[i]->committing)
			return true;
	return false;
}

static uint64_t next_timer(const struct worker *self)
{
	uint64_t next_us = UINT64_MAX;
	for (uint32_t i = 0; i < self->actor_count; i++)
		if (self->actors[i]->timer_us < next_us)
			next_us = self->actors[i]->timer_us;
	return next_us;
}

static void *run(void *arg)
{
	struct worker *self = arg;
	ring_reader_register();
	begin_batch(self);
	for (uint32_t i = 0; i < self->actor_count; i++)
		step(self->actors[i], EVENT_START, NULL);
	end_batch(self);
	for (;;) {
		/* Asked before the batch, which then takes all that came before the stop. */
		bool stopping = mailbox_stopping(&self->mailbox);
		if (batch(self))
			continue;
		if (stopping && !is_committing(self))
			break;
		ticker_set(self->hub->ticker, self->slot, next_timer(self));
		mailbox_wait(&self->mailbox, UINT64_MAX);
	}
	ring_reader_unregister();
	return NULL;
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

int loop_start(struct worker *self)
{
	int error = 0;
	for (uint32_t i = 0; error == 0 && i < self->actor_count; i++)
		if (self->actors[i]->kind == ACTOR_REPLICA)
			error = committer_start(&self->mailbox, &self->actors[i]->committer);
	if (error < 0)
		return error;
	sigset_t all, before;
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&self->thread, NULL, run, self);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	self->started = error == 0;
	return -error;
}

void loop_stop(struct worker *self)
{
	if (self->started) {
		mailbox_stop(&self->mailbox);
		pthread_join(self->thread, NULL);
	}
	for (uint32_t i = 0; i < self->actor_count; i++)
		committer_stop(&self->actors[i]->committer);
	self->started = false;
}

static void discard_messages(struct mailbox *mailbox, enum mail_kind kind)
{
	struct mail_queue taken;
	struct cds_wfcq_node *node;
	if (mailbox_take(mailbox, kind, &taken))
		while ((node = mail_next(&taken)) != NULL)
			message_free(caa_container_of(node, struct message, mail));
}

/* What came after the thread had ended: nobody is left to answer, but engine memory may hang on it. Calls, jobs and commits end before the
 * thread does. */
void loop_discard_mail(struct worker *self)
{
	struct mail_queue taken;
	struct cds_wfcq_node *node;
	discard_messages(&self->mailbox, MAIL_MESSAGE);
	discard_messages(&self->mailbox, MAIL_LARGE_MESSAGE);
	if (mailbox_take(&self->mailbox, MAIL_PENDING, &taken))
		while ((node = mail_next(&taken)) != NULL)
			outbound_discard(caa_container_of(node, struct rpc_pending, mail));
	if (mailbox_take(&self->mailbox, MAIL_BUS, &taken))
		while ((node = mail_next(&taken)) != NULL)
			inbound_discard_bus(caa_container_of(node, struct bus_mail, mail));
}
