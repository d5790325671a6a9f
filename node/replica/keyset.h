/* SPDX-License-Identifier: Apache-2.0 */
/* Key set: which keys were written and are not durable yet.
 *
 * Open addressing over 64-bit hashes. Two keys with one hash look like one: a reader then waits for a sync it need not
 * wait for.
 *
 * Threading   One owner.
 * Errors      -ENOMEM from keyset_reserve; inserting after a reserve cannot fail.
 */
#ifndef KVRING_NODE_KEYSET_H
#define KVRING_NODE_KEYSET_H

#include <stdbool.h>
#include <stdint.h>
#include "rpc/base.h"

struct keyset {
	uint64_t *hashes;         /* 0 is free */
	uint32_t count, capacity; /* capacity: a power of two, or 0 */
};

uint64_t keyset_hash(struct rpc_slice key); /* never 0 */
bool keyset_has(const struct keyset *, uint64_t hash);
/* Room for one more. Called before the write it will record, so that a write is never unrecorded. */
RPC_OK int keyset_reserve(struct keyset *);
void keyset_insert(struct keyset *, uint64_t hash);
void keyset_clear(struct keyset *);
void keyset_fini(struct keyset *);

#endif
