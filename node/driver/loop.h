/* SPDX-License-Identifier: Apache-2.0 */
/* Loop: the thread of a worker. It takes mail in batches, steps the actors that the worker hosts, and carries out what they
 * leave.
 *
 * A batch is the mail of a few milliseconds (event.h says what a driver does with it). The loop steps each event, ends the
 * batch for the actors that worked, and delivers: to actors of the same worker through its list, to others of this node
 * through their workers' mailboxes, to other nodes as one message per peer and kind (outbound.h), to clients as replies
 * (inbound.h). So batches need no timer and cost no latency when there is little to do, and grow by themselves under load.
 *
 * Threading   loop_start, loop_stop, loop_discard_mail: the main thread.
 * Ownership   Borrows the worker.
 * Errors      -ENOMEM, or what pthread_create says.
 * Invariants  T4 A step is never run inside a step.
 */
#ifndef KVRING_NODE_LOOP_H
#define KVRING_NODE_LOOP_H

#include "node/driver/worker.h"

RPC_OK int loop_start(struct worker *);
/* Asks the thread to end once its mailbox is empty, and waits. */
void loop_stop(struct worker *);
/* Before worker_fini, when nobody puts mail any more: frees what came after the thread had ended. */
void loop_discard_mail(struct worker *);

#endif
