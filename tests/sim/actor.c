/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include "node/object/key.h"
#include "node/object/object.h"
#include "tests/sim/world.h"

enum { STALL_US = 20000, JOB_DELAY_US = 50000, SLOW_SYNC_FACTOR = 50 };

/* ---- mail ---- */

static void actor_plan(struct actor *);

static void mail_insert(struct actor *actor, struct mail *mail)
{
	struct mail **link = &actor->mailbox;

	while (*link != NULL && (*link)->ready_us <= mail->ready_us)
		link = &(*link)->next;
	mail->next = *link;
	*link = mail;
	actor_plan(actor);
}

static bool same_address(const struct address *a, const struct address *b)
{
	return a->node_id == b->node_id && a->kind == b->kind && a->index == b->index;
}

/* Mailboxes keep the order of each sender on the same machine. */
static uint64_t after_earlier_mail(const struct actor *actor, const struct message *message, uint64_t ready_us)
{
	for (const struct mail *mail = actor->mailbox; mail != NULL; mail = mail->next)
		if (mail->message != NULL && message->from.node_id == actor->machine->id &&
		    same_address(&mail->message->from, &message->from) && mail->ready_us > ready_us)
			ready_us = mail->ready_us;
	return ready_us;
}

static struct actor *machine_actor(struct machine *machine, enum actor_kind kind, uint32_t index)
{
	for (uint32_t i = 0; i < machine->actor_count; i++)
		if (machine->actors[i].kind == kind && machine->actors[i].index == index)
			return &machine->actors[i];
	return NULL;
}

/* event.h: a replica is found by the partition of the key; whoever else is asked, any of its kind will do for a new
 * question. */
static struct actor *recipient(struct machine *machine, const struct message *message)
{
	struct world *world = machine->world;
	uint32_t index = message->to.index;

	if (message->to.kind == ACTOR_REPLICA)
		index = node_shard_of(machine->node, key_partition(message->key));
	else if (message->type == MESSAGE_CLIENT || message->type == MESSAGE_FORWARD)
		index = (uint32_t)world_random(world, machine->node->coordinator_count);
	return machine_actor(machine, message->to.kind, index);
}

static void forget_past(struct message *message, struct rpc_slice *bytes)
{
	struct object object;

	if (!bytes->size || object_decode(*bytes, message->arena, &object, NULL) < 0)
		return;
	object.past = (struct past){0};
	if (object_encode(&object, message->arena, bytes) < 0)
		abort();
}

/* A planted bug: nothing that anyone is told says which operations were superseded; who superseded them remembers. */
static void forget_superseded(struct message *message)
{
	if (message->type == MESSAGE_STORE)
		forget_past(message, &message->store.object);
	else if (message->type == MESSAGE_FETCHED)
		forget_past(message, &message->fetched.object);
	else if (message->type == MESSAGE_COORDINATED)
		forget_past(message, &message->coordinated.object);
	else if (message->type == MESSAGE_COORDINATE)
		message->coordinate.context.past = (struct past){0};
}

/* A planted bug: reads go to the new owners before they have anything. */
static void switch_early(struct machine *machine, const struct message *ring)
{
	const struct ring_view *view = ring_view_acquire(machine->node->ring);
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *ready = message_create(arena, MESSAGE_READY);

	ready->from = ring->to;
	ready->to = (struct address){machine->id, ACTOR_GOSSIP, 0};
	ready->ready = (struct ready_body){ring_epoch(view->document), ring_hash(view->document)};
	rpc_arena_unref(arena);
	ring_view_release(machine->node->ring, view);
	machine_post(machine, ready, 1);
}

static void plant(struct machine *machine, struct message *message)
{
	enum canary canary = machine->world->options->canary;

	if (canary == CANARY_FORGET_SUPERSEDED)
		forget_superseded(message);
	if (canary == CANARY_SWITCH_EARLY && message->type == MESSAGE_RING)
		switch_early(machine, message);
	if (canary == CANARY_IGNORE_EPOCH && message->to.kind == ACTOR_REPLICA)
		message->epoch = change_epoch(machine); /* who asks may have any ring */
}

void machine_post(struct machine *machine, struct message *message, uint64_t delay_us)
{
	struct mail *mail = world_alloc(sizeof *mail);
	struct actor *actor = recipient(machine, message);

	if (machine->world->options->canary != CANARY_NONE)
		plant(machine, message);
	if (actor == NULL)
		world_break(machine->world, ORACLE_NONE, "%s: a message %s to an actor that does not exist",
			    machine->name, message_type_name(message->type));
	assert(actor != NULL);
	mail->message = message;
	mail->ready_us = after_earlier_mail(actor, message, machine->world->schedule.now_us + delay_us);
	mail_insert(actor, mail);
}

/* ---- stepping ---- */

static void actor_wake(void *world_arg, void *arg, uint64_t number);
static void actor_commit(void *world_arg, void *arg, uint64_t boot);
static void run_commit(void *world_arg, void *arg, uint64_t boot);
static void end_commit(void *world_arg, void *arg, uint64_t boot);

/* Plans the next step: when there is mail or the timer is due, and the thread gets to it. */
static void actor_plan(struct actor *actor)
{
	struct world *world = actor->machine->world;
	uint64_t due_us = actor->timer_us, late_us = world_random(world, 20);

	if (actor->blocked)
		return;
	if (actor->mailbox != NULL && actor->mailbox->ready_us < due_us)
		due_us = actor->mailbox->ready_us;
	if (due_us == UINT64_MAX || due_us >= actor->wake_us)
		return;
	if (sim_random_permille(&world->random, world->settings.stall_permille))
		late_us += world_random(world, STALL_US);
	actor->wake_us = due_us;
	due_us = due_us > world->schedule.now_us ? due_us - world->schedule.now_us : 0;
	schedule_in(&world->schedule, due_us + late_us, actor_wake, actor, ++actor->wake_number, NULL);
}

static void step(struct actor *actor, struct event *event, struct effects *effects)
{
	struct machine *machine = actor->machine;
	struct world *world = machine->world;

	event->now_us = machine_now_us(machine);
	event->now_ms = machine_now_ms(machine);
	world_mix(world, world->schedule.now_us);
	world_mix(world, (uint64_t)machine->index << 48 | (uint64_t)actor->kind << 40 | (uint64_t)actor->index << 8 |
				 event->type);
	if (event->type == EVENT_MESSAGE)
		traffic_note(actor, event->message);
	world->totals.steps++;
	node_step(machine->node, actor->kind, actor->index, event, effects);
	actor->timer_us = machine_to_virtual(machine, effects->timer_us);
}

static struct mail *take_mail(struct actor *actor)
{
	struct mail *mail = actor->mailbox;

	if (mail == NULL || mail->ready_us > actor->machine->world->schedule.now_us)
		return NULL;
	actor->mailbox = mail->next;
	return mail;
}

static void forget_job(struct machine *machine, const struct engine_job *engine_job)
{
	struct job **link = &machine->jobs;

	while ((*link)->engine_job != engine_job)
		link = &(*link)->next;
	struct job *job = *link;
	*link = job->next;
	free(job);
}

static void step_mail(struct actor *actor, struct mail *mail, struct effects *effects)
{
	struct event event = {.type = EVENT_MESSAGE};

	if (mail->job != NULL) {
		event.type = EVENT_JOB_DONE;
		event.job = mail->job;
		forget_job(actor->machine, mail->job);
		actor->machine->world->totals.jobs++;
	} else {
		event.message = mail->message;
	}
	free(mail);
	step(actor, &event, effects);
}

static uint64_t draw_commit_us(struct world *world)
{
	uint64_t most_us = 2 * (uint64_t)world->settings.commit_us + 1;

	if (sim_random_permille(&world->random, 10))
		most_us *= SLOW_SYNC_FACTOR;
	return world_random(world, most_us);
}

static void run_job(void *world_arg, void *arg, uint64_t number);

static void take_jobs(struct actor *actor, struct effects *effects)
{
	struct machine *machine = actor->machine;
	struct world *world = machine->world;

	for (uint32_t i = 0; i < effects->job_count; i++) {
		struct job *job = world_alloc(sizeof *job);
		*job = (struct job){machine->jobs, ++world->next_job, effects->jobs[i], actor, false};
		machine->jobs = job;
		schedule_in(&world->schedule, world_random(world, JOB_DELAY_US), run_job, machine, job->number, NULL);
	}
	effects->job_count = 0;
}

static void run_job(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct machine *machine = arg;
	struct job *job = machine->jobs;

	if (machine_holds(machine, run_job, machine, number, NULL))
		return;
	while (job != NULL && job->number != number)
		job = job->next;
	if (job == NULL)
		return; /* the machine has died since */
	world_mix(world, number);
	engine_job_run(job->engine_job);
	job->has_run = true;
	if (machine_died(machine))
		return;
	struct mail *mail = world_alloc(sizeof *mail);
	mail->job = job->engine_job;
	mail->ready_us = world->schedule.now_us + world_random(world, JOB_DELAY_US);
	mail_insert(job->actor, mail);
}

static void step_synced(struct actor *actor, int status, struct effects *effects)
{
	struct event event = {.type = EVENT_SYNCED, .status = status};

	step(actor, &event, effects);
}

static struct shard *shard_of(struct actor *actor)
{
	return engine_shard(actor->machine->node->engine, actor->index);
}

/* As node/worker.c does: the log is written now, synced beside the actor's other work, and counted durable later. */
static void begin_commit_beside(struct actor *actor, struct effects *effects)
{
	struct world *world = actor->machine->world;
	int status = shard_commit_begin(shard_of(actor), &actor->commit);

	world_mix(world, (uint64_t)(uint32_t)status);
	if (status || actor->commit == NULL)
		step_synced(actor, status, effects);
	else
		schedule_in(&world->schedule, draw_commit_us(world), run_commit, actor, actor->machine->boot, NULL);
}

/* The commit that the step asks for. One is under way at most: the replica sees to that. */
static void begin_commit(struct actor *actor, struct effects *effects)
{
	struct world *world = actor->machine->world;
	bool early = world->options->canary == CANARY_EARLY_ACK;

	effects->sync = false;
	world->totals.commits++;
	if (world->settings.commits_beside && !early) {
		begin_commit_beside(actor, effects);
		return;
	}
	actor->blocked = !early;
	schedule_in(&world->schedule, draw_commit_us(world), actor_commit, actor, actor->machine->boot, NULL);
	if (early)
		step_synced(actor, 0, effects); /* the planted bug: what waits for the sync leaves before it */
}

/* What a run of steps left: out it goes, unless the power failed meanwhile. false: it did. */
static bool finish_steps(struct actor *actor, struct effects *effects)
{
	take_jobs(actor, effects);
	if (sim_fs_is_down(actor->machine->disk)) {
		message_list_free(&effects->messages); /* before the engine whose memory they hold */
		rpc_arena_unref(effects->arena);
		machine_died(actor->machine);
		return false;
	}
	traffic_deliver(actor, effects);
	if (effects->sync) {
		begin_commit(actor, effects);
		return finish_steps(actor, effects);
	}
	rpc_arena_unref(effects->arena);
	actor_plan(actor);
	return true;
}

static void effects_begin(struct effects *effects)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);

	if (arena == NULL)
		abort();
	effects_init(effects, arena);
}

/* One batch: some of the mail that is there, the timer when it is due, and the end. */
static void actor_wake(void *world_arg, void *arg, uint64_t number)
{
	struct world *world = world_arg;
	struct actor *actor = arg;
	struct effects effects;
	struct event event = {.type = EVENT_TIMER};
	struct mail *mail;

	if (machine_holds(actor->machine, actor_wake, actor, number, NULL))
		return;
	if (number != actor->wake_number || actor->machine->node == NULL)
		return;
	actor->wake_us = UINT64_MAX;
	effects_begin(&effects);
	uint64_t most = world_random(world, 3) ? UINT64_MAX : 1 + world_random(world, 4);
	for (uint64_t i = 0; i < most && (mail = take_mail(actor)) != NULL; i++) {
		step_mail(actor, mail, &effects);
		if (sim_fs_is_down(actor->machine->disk)) {
			finish_steps(actor, &effects);
			return;
		}
	}
	if (actor->timer_us <= world->schedule.now_us)
		step(actor, &event, &effects);
	event.type = EVENT_BATCH_END;
	step(actor, &event, &effects);
	finish_steps(actor, &effects);
}

static void deliver_synced(struct actor *actor, int status)
{
	struct effects effects;

	world_mix(actor->machine->world, (uint64_t)(uint32_t)status);
	effects_begin(&effects);
	step_synced(actor, status, &effects);
	finish_steps(actor, &effects);
}

/* A commit in one piece, at its end: the actor did nothing else since. */
static void actor_commit(void *world_arg, void *arg, uint64_t boot)
{
	struct actor *actor = arg;

	if (machine_holds(actor->machine, actor_commit, actor, boot, NULL))
		return;
	(void)world_arg;
	if (boot != actor->machine->boot || actor->machine->node == NULL)
		return;
	actor->blocked = false;
	int status = shard_commit(shard_of(actor), ENGINE_SYNC_EACH);
	if (machine_died(actor->machine))
		return;
	if (actor->machine->world->options->canary == CANARY_EARLY_ACK)
		actor_plan(actor);
	else
		deliver_synced(actor, status);
}

/* The disk has synced; the actor hears of it later. */
static void run_commit(void *world_arg, void *arg, uint64_t boot)
{
	struct world *world = world_arg;
	struct actor *actor = arg;

	if (boot != actor->machine->boot || actor->machine->node == NULL)
		return;
	engine_commit_run(actor->commit);
	actor->commit_has_run = true;
	if (!machine_died(actor->machine))
		schedule_in(&world->schedule, draw_commit_us(world) / 4, end_commit, actor, boot, NULL);
}

static int take_commit_home(struct actor *actor)
{
	struct engine_commit *commit = actor->commit;

	if (!actor->commit_has_run)
		engine_commit_run(commit);
	actor->commit = NULL;
	actor->commit_has_run = false;
	return shard_commit_end(shard_of(actor), &commit);
}

static void end_commit(void *world_arg, void *arg, uint64_t boot)
{
	struct actor *actor = arg;

	if (machine_holds(actor->machine, end_commit, actor, boot, NULL))
		return;
	(void)world_arg;
	if (boot != actor->machine->boot || actor->machine->node == NULL)
		return;
	int status = take_commit_home(actor);
	if (!machine_died(actor->machine))
		deliver_synced(actor, status);
}

/* ---- life ---- */

void actors_reset(struct machine *machine)
{
	for (uint32_t i = 0; i < machine->actor_count; i++) {
		struct actor *actor = &machine->actors[i];
		for (struct mail *mail = actor->mailbox, *next; mail != NULL; mail = next) {
			next = mail->next;
			message_free(mail->message);
			free(mail);
		}
		actor->mailbox = NULL;
		actor->blocked = false;
		actor->timer_us = actor->wake_us = UINT64_MAX;
		actor->wake_number++;
	}
}

void actors_bring_work_home(struct machine *machine)
{
	for (uint32_t i = 0; i < machine->actor_count; i++)
		if (machine->actors[i].commit != NULL)
			(void)take_commit_home(&machine->actors[i]);
	while (machine->jobs != NULL) {
		struct job *job = machine->jobs;
		machine->jobs = job->next;
		if (!job->has_run)
			engine_job_run(job->engine_job);
		(void)!shard_install(engine_shard(machine->node->engine, job->actor->index), &job->engine_job);
		free(job);
	}
}

void actors_start(struct machine *machine)
{
	struct effects effects;
	struct event event;

	actors_reset(machine);
	for (uint32_t i = 0; i < machine->actor_count && machine->node != NULL; i++) {
		effects_begin(&effects);
		event = (struct event){.type = EVENT_START};
		step(&machine->actors[i], &event, &effects);
		finish_steps(&machine->actors[i], &effects);
	}
}
