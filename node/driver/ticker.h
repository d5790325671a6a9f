/* SPDX-License-Identifier: Apache-2.0 */
/* Ticker: one thread that wakes workers when their timers are due, so that no worker ever sleeps with a timeout.
 *
 * Arming a kernel timer at every sleep costs far more than the sleep: on virtual machines it leaves the guest, and a
 * busy worker falls asleep tens of thousands of times a second with a deadline that is seconds away. The ticker sleeps
 * with a timeout instead, until the earliest of all, and is disturbed only by an earlier one.
 *
 * Threading   ticker_start, ticker_stop: the main thread. ticker_set: the thread that owns the slot.
 * Ownership   Borrows the mailboxes, which outlive it.
 * Errors      -ENOMEM, or what pthread_create says.
 */
#ifndef KVRING_NODE_TICKER_H
#define KVRING_NODE_TICKER_H

#include <stdint.h>
#include "node/driver/mailbox.h"
#include "rpc/rpc.h"

struct ticker;

RPC_OK int ticker_create(uint32_t slot_count, struct ticker **out);
/* Before ticker_start. */
void ticker_attach(struct ticker *, uint32_t slot, struct mailbox *);
RPC_OK int ticker_start(struct ticker *);
void ticker_stop(struct ticker **);
/* Wake the slot's mailbox at due_us (CLOCK_MONOTONIC, as rpc_now_us) or a little later; UINT64_MAX: never. Replaces
 * what was set. */
void ticker_set(struct ticker *, uint32_t slot, uint64_t due_us);

#endif
