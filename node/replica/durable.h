/* SPDX-License-Identifier: Apache-2.0 */
/* Durable: answers to writes wait here for the commit that covers their write.
 *
 * Writes of one batch are the open generation: the next commit covers them. Those that a commit under way covers are the
 * closing one. An answer about a key that is in neither leaves at once.
 *
 * Threading   The replica's.
 * Ownership   Owns the answers that wait.
 * Errors      A commit that fails turns every answer that waited for it into an error. After a failure that does not pass
 *             (fs.h) the log must not be used any more, and `dead` stays set until a restart (engine E1).
 * Invariants  D1 An answer waits only with a write to wait for, so each answer leaves after the sync that covers it (P2, P3).
 *             D2 One commit is under way at most, and it has a write to sync.
 *             D3 When dead, nothing waits and no commit is under way.
 */
#ifndef KVRING_NODE_REPLICA_DURABLE_H
#define KVRING_NODE_REPLICA_DURABLE_H

#include "node/actor/event.h"
#include "node/replica/unsynced.h"

struct generation {
	struct message_list answers;
	struct unsynced keys;
};

struct durable {
	struct generation open;    /* the next commit covers these */
	struct generation closing; /* a commit under way covers these */
	bool syncing;
	bool dead; /* the log failed: nothing can be acknowledged until a restart */
	uint64_t retry_after_us;
};

void durable_fini(struct durable *);
/* Room for one more key. Called before the write that durable_add records. */
RPC_OK int durable_reserve(struct durable *);
void durable_add(struct durable *, struct rpc_slice key);
/* Sends the answer now, or with the write of this key that is not durable yet. */
void durable_answer(struct durable *, struct rpc_slice key, struct message *answer, struct effects *out);
/* Sends the answer now, or with all writes so far, where one of them is not durable yet. */
void durable_answer_all(struct durable *, struct message *answer, struct effects *out);
/* Asks for a commit when there is something to commit. */
void durable_begin(struct durable *, const struct event *, struct effects *out);
/* EVENT_SYNCED: releases what waited, and asks for the next commit. */
void durable_end(struct durable *, const struct event *, struct effects *out);
/* Asserts D1 to D3. */
void durable_check(const struct durable *);
/* What a question is told when the store failed with this error. */
enum replica_status durable_status_of(int error);

#endif
