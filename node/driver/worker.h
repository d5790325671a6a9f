/* SPDX-License-Identifier: Apache-2.0 */
/* Worker: the production driver of actors: a thread, a mailbox, a timer (event.h says what a driver does).
 *
 * Which actors a worker hosts is the placement's matter (placement.h). A worker handles its mail for a few milliseconds as one batch, steps each
 * event, ends the batch for the actors that worked, and delivers: to actors that it hosts through a list of its own, to
 * others of this node through their workers' mailboxes, to other nodes as one message per peer and kind (outbound.h), to
 * clients as replies (inbound.h). So batches need no timer and cost no latency when there is little to do, and grow by
 * themselves under load.
 *
 * Threading   worker_init, start, stop, fini: the main thread. The mailbox and the published figures: any thread.
 * Ownership   Borrows the runtime.
 * Errors      worker_start: -errno of pthread_create.
 * Invariants  T3 Two messages from one actor to another keep their order: both go by the list or both by the mailbox, as
 *             the placement never changes.
 *             T4 A step is never run inside a step.
 */
#ifndef KVRING_NODE_WORKER_H
#define KVRING_NODE_WORKER_H

#include <pthread.h>
#include "node/driver/committer.h"
#include "node/actor/event.h"
#include "node/driver/mailbox.h"
#include "node/driver/outbound.h"
#include "node/observe/notes.h"
#include "node/wire/exchange.h"

struct runtime;

/* An actor on its thread. */
struct hosted {
	struct worker *worker;
	enum actor_kind kind;
	uint32_t index;
	struct committer *committer; /* replica */

	/* owned by the thread */
	uint64_t timer_us;
	bool worked;     /* since its last EVENT_BATCH_END */
	bool sync;       /* it asked for a commit */
	bool committing; /* a commit is with the committer */
};

struct worker {
	struct runtime *runtime;
	uint32_t slot; /* among all workers: the ticker's */
	struct hosted **actors;
	uint32_t actor_count;
	pthread_t thread;
	bool started;
	struct mailbox mailbox;

	/* owned by the thread */
	struct effects effects;
	struct message_list local; /* to actors that it hosts itself */
	uint32_t next_coordinator; /* whose turn among those it hosts */
	struct exchange exchange;
	bool left_over;                      /* local messages of the last batch */
	struct mail_queue taken[MAIL_KINDS]; /* out of the mailbox, not yet handled */
	unsigned first_kind;                 /* whose turn comes first in this batch */
	uint64_t now_us, now_ms;             /* of what is being handled; of this batch */
	struct worker **to_wake;             /* whose mailboxes got something in this batch */
	uint32_t to_wake_count;
	struct notes notes;

	/* published, relaxed */
	_Atomic uint64_t busy_us;
};

/* Before any worker starts: from then on its mailbox takes mail. worker_count and actor_count: of all workers. */
RPC_OK int worker_init(struct worker *, struct runtime *, uint32_t slot, uint32_t worker_count, uint32_t actor_count);
/* Before it starts. */
void worker_host(struct worker *, struct hosted *);
RPC_OK int worker_start(struct worker *);
/* Asks the thread to end once its mailbox is empty, and waits. */
void worker_stop(struct worker *);
void worker_fini(struct worker *);
/* Steps one of its actors. Own thread, in no step. */
void worker_step(struct hosted *, enum event_type, struct message *);
/* A message to any actor of this node, from this worker: to one of its own it comes in this batch. Own thread. */
void worker_post(struct worker *from, struct message *);
/* One of the coordinators that it hosts, in turn; NULL when it hosts none. Own thread. */
struct hosted *worker_coordinator(struct worker *);
/* The arena of this batch, with room for a message. Own thread. */
struct arena *worker_arena(struct worker *);

#endif
