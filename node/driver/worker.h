/* SPDX-License-Identifier: Apache-2.0 */
/* Worker: the production driver of one actor: a thread, a mailbox, a timer (event.h says what a driver does).
 *
 * It drains its mailbox as one batch, steps each event, ends the batch, and delivers: to actors of this node through
 * their mailboxes, to others as one message per peer and kind (outbound.h), to clients as replies (inbound.h). So
 * batches need no timer and cost no latency when there is little to do, and grow by themselves under load.
 *
 * Threading   worker_init, start, stop, fini: the main thread. The mailbox and the published figures: any thread.
 * Ownership   Borrows the runtime.
 * Errors      worker_start: -errno of pthread_create.
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

struct worker {
	struct runtime *runtime;
	enum actor_kind kind;
	uint32_t index;
	uint32_t slot; /* among all workers: the ticker's */
	pthread_t thread;
	bool started;
	struct mailbox mailbox;
	struct committer *committer; /* replica */

	/* owned by the thread */
	struct effects effects;
	struct exchange exchange;
	uint64_t now_us, now_ms; /* of this batch */
	uint64_t timer_us;
	bool committing;         /* a commit is with the committer */
	struct worker **to_wake; /* whose mailboxes got something in this batch */
	uint32_t to_wake_count;
	struct notes notes;

	/* published, relaxed */
	_Atomic uint64_t busy_us;
};

/* Before any worker starts: from then on its mailbox takes mail. worker_count bounds whom it can wake. */
RPC_OK int worker_init(struct worker *, struct runtime *, enum actor_kind, uint32_t index, uint32_t worker_count);
RPC_OK int worker_start(struct worker *);
/* Asks the thread to end once its mailbox is empty, and waits. */
void worker_stop(struct worker *);
void worker_fini(struct worker *);
/* Steps the worker's actor. Own thread. */
void worker_step(struct worker *, enum event_type, struct message *);
/* Puts a message into another worker's mailbox; woken at the end of this worker's batch. Own thread. */
void worker_post(struct worker *from, struct worker *to, struct message *);
/* The arena of this batch, with room for a message. Own thread. */
struct arena *worker_arena(struct worker *);

#endif
