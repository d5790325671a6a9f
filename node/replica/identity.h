/* SPDX-License-Identifier: Apache-2.0 */
/* Identity: the actor under which a replica issues dots.
 *
 * An actor belongs to one life of one process on one durable store. It is a random 64-bit id, taken anew at every start,
 * and whenever somebody shows a counter of it that it never issued. An id that outlives a crash claims dots that the
 * crash took back; one that outlives an orderly stop issues the same dots twice as soon as somebody restores a copy of
 * the directory. Either way acknowledged writes are lost when replicas merge.
 *
 * The record in the shard's manifest says which actor is in use:
 *
 *     version u32 = 1 | actor u64 | 0 u64     little endian, 20 bytes
 *
 * Threading   The replica's.
 * Ownership   Borrows the shard.
 * Errors      Negative errno of the store; -EBADMSG, with a text, for a record of another program.
 * Invariants  I1 An actor is recorded durably before its first dot is issued.
 *             I2 No dot is issued twice, and none by an actor whose memory went back in time.
 */
#ifndef KVRING_NODE_REPLICA_IDENTITY_H
#define KVRING_NODE_REPLICA_IDENTITY_H

#include "engine/engine.h"
#include "node/actor/event.h"
#include "node/object/version.h"

struct identity {
	struct shard *shard;
	struct prng prng;
	uint64_t actor, counter_next;
	bool spent; /* it must not issue another dot, and a new actor could not be recorded yet */
};

/* Takes a new actor. first: of tests, the first dot it issues; actor 0: drawn. */
RPC_OK int identity_open(struct identity *, struct shard *, uint64_t seed, struct dot first,
			 struct rpc_error *error_out);
/* Goes on under a name that has issued nothing. When that cannot be recorded, no dot can be issued until it can. */
RPC_OK int identity_renew(struct identity *);
/* Somebody has seen this counter of the actor (0: none). When it was never issued, local data went back in time, and
 * the identity is renewed. */
RPC_OK int identity_note(struct identity *, uint64_t counter);
struct dot identity_next(struct identity *);

#endif
