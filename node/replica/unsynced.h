/* SPDX-License-Identifier: Apache-2.0 */
/* Unsynced keys: those that were written, and whose write is not synced yet.
 *
 * Open addressing over 64-bit hashes. Two keys with one hash look like one: a reader then waits for a sync it need not
 * wait for.
 *
 * Threading   One owner.
 * Errors      -ENOMEM from unsynced_reserve; inserting after a reserve cannot fail.
 */
#ifndef KVRING_NODE_UNSYNCED_H
#define KVRING_NODE_UNSYNCED_H

#include <stdbool.h>
#include <stdint.h>
#include "rpc/base.h"

struct unsynced {
	uint64_t *hashes;         /* 0 is free */
	uint32_t count, capacity; /* capacity: a power of two, or 0 */
};

uint64_t unsynced_hash(struct rpc_slice key); /* never 0 */
bool unsynced_has(const struct unsynced *, uint64_t hash);
/* Room for one more. Called before the write it will record, so that a write is never unrecorded. */
RPC_OK int unsynced_reserve(struct unsynced *);
void unsynced_insert(struct unsynced *, uint64_t hash);
void unsynced_clear(struct unsynced *);
void unsynced_fini(struct unsynced *);

#endif
