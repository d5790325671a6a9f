/* SPDX-License-Identifier: Apache-2.0 */
/* Outbound: questions to other nodes, one NNG message per peer and kind.
 *
 *     outbound_add       during a batch: sorted by peer and method
 *     outbound_flush     at its end: encoded and sent
 *     outbound_complete  when the peer has answered, or nobody will: every question gets its answer as an event
 *
 * While OUTBOUND_IN_FLIGHT batches to one peer are under way, further questions wait and travel together: under load
 * batches grow by themselves, with little load nothing waits.
 *
 * Threading   One worker's; completions come back through its mailbox.
 * Ownership   Takes the questions and frees them after their answers are made.
 * Errors      Become answers: REPLICA_UNREACHABLE nothing was sent, REPLICA_LOST sent but no answer, REPLICA_OVERLOADED
 *             too much under way.
 */
#ifndef KVRING_NODE_OUTBOUND_H
#define KVRING_NODE_OUTBOUND_H

#include "node/actor/message.h"

struct worker;

/* What goes to one peer by one method. */
struct outbound_queue {
	uint64_t peer;
	uint32_t method;    /* enum method */
	uint32_t in_flight; /* batches */
	uint32_t waiting;   /* questions in the list, at most LIMIT_PEER_QUEUE */
	struct message *first, **last;
};

struct outbound {
	struct outbound_queue *queues; /* never removed: peers are few */
	uint32_t count, capacity;
	bool changed; /* something was added or came back since the last flush */
};

void outbound_fini(struct outbound *);
void outbound_add(struct worker *, struct message *question);
void outbound_flush(struct worker *);
void outbound_complete(struct worker *, struct rpc_pending *);
/* Instead of outbound_complete, when the worker has ended. */
void outbound_discard(struct rpc_pending *);

#endif
