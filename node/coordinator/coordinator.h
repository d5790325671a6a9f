/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinator: client operations in flight, one small state machine each (Dynamo 4.5 to 4.7, 5).
 *
 *                      +------------> FORWARDED --------------+
 *     PUT   START -----+-> COORDINATING --> REPLICATING ------+--> ANSWERED (late acks, repair) --> gone
 *     GET   START -------> FETCHING ------> REPAIRING --------+
 *
 * Threading   An actor: one thread at a time.
 * Ownership   Borrows the ring table.
 * Errors      Each operation of a client request gets one result: DONE, ABSENT, IN_DOUBT or REFUSED (house rule 3).
 * Invariants  C1 DONE for a put means w distinct replicas answered REPLICA_OK after their sync.
 *             C2 REFUSED for a put means no replica was asked, or none that was asked can have written.
 *             C3 The answer of a get covers the objects of r distinct owners that are not receiving, or of all N owners. (The
 *             disk of a receiving owner may have gone back in time, and lack what it acknowledged. Its object is
 *             merged and it is repaired, but neither its object nor its ABSENT counts toward r.)
 *             C4 An operation ends at its deadline at the latest.
 *             C5 A put is not begun while fewer than w of its owners can be reached, as far as this node knows: by gossip and
 *             by its links; of either side, while the ring changes. (No other node may stand in for an owner.) If those include one that left the last call without
 *             an answer, they are asked first.
 */
#ifndef KVRING_NODE_COORDINATOR_H
#define KVRING_NODE_COORDINATOR_H

#include "node/actor/event.h"

struct coordinator;

/* Is there a connection to this node? Without one every call to it fails at once. */
struct coordinator_links {
	bool (*connected)(void *arg, uint64_t node_id); /* any thread, does not block; NULL: always */
	void *arg;
};

struct coordinator_options {
	struct address self;
	uint32_t shard_count; /* of this node: partition mod shard_count is the local replica's index */
	struct ring_table *ring;
	uint64_t retry_window_ms;           /* replica.h */
	enum level read_level, write_level; /* of requests that say nothing; LEVEL_NONE: LEVEL_QUORUM */
	struct coordinator_links links;
};

RPC_OK int coordinator_create(const struct coordinator_options *, struct coordinator **out);
void coordinator_destroy(struct coordinator **);
void coordinator_step(struct coordinator *, const struct event *, struct effects *out);

struct coordinator_counters {
	_Atomic uint64_t puts, gets, forwards, done, absent, in_doubt, refused, read_repairs, siblings_returned,
		late_answers;
	_Atomic uint64_t clashes; /* as of replicas: dots that two operations share, found while merging */
};
const struct coordinator_counters *coordinator_counters(const struct coordinator *);

#endif
