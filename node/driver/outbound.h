/* SPDX-License-Identifier: Apache-2.0 */
/* Outbound: carries the batches of an exchange (node/wire/exchange.h) over the links to other nodes.
 *
 *     outbound_add       during a batch of events: a question waits in the exchange
 *     outbound_flush     at its end: what may leave is sent
 *     outbound_complete  when the peer has answered, or nobody will: every question gets its answer as an event
 *
 * Threading   One worker's; completions come back through its mailbox.
 * Ownership   Takes the questions.
 * Errors      Become answers, see node/wire/exchange.h.
 */
#ifndef KVRING_NODE_OUTBOUND_H
#define KVRING_NODE_OUTBOUND_H

#include "node/actor/message.h"
#include "rpc/rpc.h"

struct worker;

void outbound_add(struct worker *, struct message *question);
void outbound_flush(struct worker *);
void outbound_complete(struct worker *, struct rpc_pending *);
/* Instead of outbound_complete, when the worker has ended. */
void outbound_discard(struct rpc_pending *);

#endif
