/* SPDX-License-Identifier: Apache-2.0 */
/* Budget: memory that requests in work may take, counted before they are decoded.
 *
 * Requests in flight are limited in number (LIMIT_IN_FLIGHT), but one may be 17 MiB and is copied on its way: decoded,
 * encoded for the log, encoded for each peer. Without a limit in bytes a flood of large values takes all memory of the
 * machine.
 *
 * Threading   any thread.
 * Errors      None: what does not fit is refused by the caller, which says so.
 * Invariants  U1 used <= limit, apart from what was forced.
 */
#ifndef KVRING_NODE_BUDGET_H
#define KVRING_NODE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct budget {
	uint64_t limit;           /* bytes, constant */
	_Atomic uint64_t used;    /* bytes */
	_Atomic uint64_t refused; /* times, since the start */
};

void budget_init(struct budget *, uint64_t limit);
/* False, counted as refused, and nothing taken, when it does not fit. */
bool budget_take(struct budget *, uint64_t bytes);
/* Takes in any case: for what must not wait. */
void budget_force(struct budget *, uint64_t bytes);
void budget_give(struct budget *, uint64_t bytes);

#endif
