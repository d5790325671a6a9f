/* SPDX-License-Identifier: Apache-2.0 */
/* Budget: the memory that the requests of one server may take, from their first byte to the last byte of their answers.
 *
 *     arriving    large messages (over 64 KiB) of which only a part is there: their whole size
 *     in work     requests that the receiver has, at what it says they cost: decoded, encoded, copied for each peer
 *     unsent      answers that their clients have not read
 *
 * A budget may count other things as well: a node has one for large values that were read.
 *
 * Messages that arrive and answers that wait are under the control of the clients, so each has a part of the budget that
 * it may not exceed, a quarter; half is left for requests in work. Within a part, shares are fair: a connection may have
 * at most as much as is free, so that each of n greedy ones gets 1 / (n + 1) and there is always room for one more.
 *
 * Threading   any thread.
 * Ownership   counted references: connections keep one, and may end after their server.
 * Errors      None: what does not fit is refused, or waits, by the caller, which says so.
 * Invariants  U1 used <= limit, apart from what was forced.  U2 used is the sum of the three kinds.
 */
#ifndef KVRING_RPC_BUDGET_H
#define KVRING_RPC_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RPC_BUDGET_SMALL = 64 * 1024, /* bytes: so much of answers may always wait for each connection */
};

struct rpc_budget {
	uint64_t limit; /* bytes, constant */
	atomic_uint references;
	_Atomic uint64_t used;     /* bytes, of all three kinds */
	_Atomic uint64_t unsent;   /* bytes, part of used */
	_Atomic uint64_t arriving; /* bytes, part of used */
	_Atomic uint64_t refused;  /* requests and answers that found no room, since the start */
};

struct rpc_budget *rpc_budget_create(uint64_t limit);
struct rpc_budget *rpc_budget_ref(struct rpc_budget *); /* NULL is allowed, here and below */
void rpc_budget_unref(struct rpc_budget *);

/* For work: false, counted as refused, and nothing taken, when it does not fit. */
bool rpc_budget_take(struct rpc_budget *, uint64_t bytes);
/* Takes in any case: for what must not wait. */
void rpc_budget_force(struct rpc_budget *, uint64_t bytes);
void rpc_budget_give(struct rpc_budget *, uint64_t bytes);

/* False, and nothing taken, when it does not fit into the part for what arrives; one message always does. */
bool rpc_budget_arrive(struct rpc_budget *, uint64_t bytes);
void rpc_budget_arrived(struct rpc_budget *, uint64_t bytes);

/* May an answer of so many bytes wait for a connection for which `own` bytes wait already? */
bool rpc_budget_may_queue(struct rpc_budget *, uint64_t own, uint64_t bytes);
void rpc_budget_queue(struct rpc_budget *, uint64_t bytes);
void rpc_budget_sent(struct rpc_budget *, uint64_t bytes);

#endif
