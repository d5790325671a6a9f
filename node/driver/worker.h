/* SPDX-License-Identifier: Apache-2.0 */
/* Worker: a thread that hosts actors, its mailbox, and the way of a message to an actor of any thread.
 *
 * Which actors a worker hosts is the placement's matter (placement.h). What the thread does with them stands in loop.h.
 *
 * Threading   worker_init, host, fini: the main thread. The mailbox and the published figures: any thread. The rest: the
 *             worker's own thread.
 * Ownership   Borrows the hub.
 * Errors      -ENOMEM.
 * Invariants  T3 Two messages from one actor to another keep their order, but for large questions, which small ones pass: both go by
 *             the list or both by the mailbox, as the placement never changes.
 */
#ifndef KVRING_NODE_WORKER_H
#define KVRING_NODE_WORKER_H

#include <pthread.h>
#include "node/actor/event.h"
#include "node/driver/mailbox.h"
#include "node/observe/notes.h"
#include "node/wire/exchange.h"

struct hosted;
struct hub;

struct worker {
	struct hub *hub;
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
	struct rpc_cork cork;                /* the answers of this batch to clients and peers */
	bool left_over;                      /* local messages of the last batch */
	struct mail_queue taken[MAIL_KINDS]; /* out of the mailbox, not yet handled */
	unsigned first_kind, first_large;    /* whose turn comes first, of the small and of the large kinds */
	bool large_turn;                     /* this batch takes a large piece, if there is one */
	uint64_t now_us, now_ms;             /* of what is being handled; of this batch */
	struct worker **to_wake;             /* whose mailboxes got something in this batch */
	uint32_t to_wake_count;
	struct notes notes;

	/* published, relaxed */
	_Atomic uint64_t busy_us;
};

/* Before any worker starts: from then on its mailbox takes mail. worker_count and actor_count: of all workers. */
RPC_OK int worker_init(struct worker *, struct hub *, uint32_t slot, uint32_t worker_count, uint32_t actor_count);
/* Before its thread starts. */
void worker_host(struct worker *, struct hosted *);
void worker_fini(struct worker *);
/* One of the coordinators that it hosts, in turn; NULL when it hosts none. */
struct hosted *worker_coordinator(struct worker *);
/* A message to any actor of this node, from this worker: to one of its own it comes in this batch. */
void worker_post(struct worker *from, struct message *);
/* A value that was read waits in memory until its client, or the peer that asked, has it: a large one counts in the budget of values.
 * Without room there the value is dropped, and the answer says REPLICA_OVERLOADED. */
void worker_charge(struct worker *, struct message *answer);
/* Wakes the workers to which it has posted. */
void worker_wake_posted(struct worker *);
/* The arena of this batch, with room for a message. */
struct arena *worker_arena(struct worker *);
/* At the start of a batch: a new arena, once the old one is nearly full. */
void worker_renew_arena(struct worker *);

#endif
