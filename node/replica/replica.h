/* SPDX-License-Identifier: Apache-2.0 */
/* Replica: the only writer of one engine shard.
 *
 * Adds new versions (COORDINATE), merges objects of other replicas (STORE), reads (FETCH), reads a partition from end to end for who is to
 * have it (SCAN), and deletes what the ring gives to others (DROP). Answers to writes leave
 * after the shard's log is synced; one commit serves everything that came in the same batch.
 *
 * Threading   An actor: one thread at a time.
 * Ownership   Borrows shard and ring table.
 * Errors      Every question gets exactly one STORED, FETCHED, SCANNED or DROPPED (a COORDINATE: COORDINATED at once, then STORED unless
 *             that refused).
 * Invariants  P1 No dot is issued twice, and none is forgotten by an actor that goes on: every start takes a new actor
 *             (identity.h).
 *             P2 STORED with REPLICA_OK leaves after the sync that covers it.
 *             P3 A read that saw an unsynced write is answered after that sync.
 *             P4 An error is never answered as ABSENT.
 *             P5 An operation takes effect at most once (object.h): an attempt of one that is live or superseded here is
 *             answered OK without a new dot; one of which nothing can be known any more is refused.
 *             P6 While this node's disk may have gone back in time, each FETCHED says so; so does one that lacks the key and was
 *             asked by a newer ring.
 */
#ifndef KVRING_NODE_REPLICA_H
#define KVRING_NODE_REPLICA_H

#include "engine/engine.h"
#include "node/actor/event.h"

struct replica;

struct replica_options {
	struct address self;
	struct shard *shard;
	uint32_t shard_count; /* partition mod shard_count is this replica's index, or the question is answered with an
				 error */
	struct ring_table *ring;
	uint64_t seed;
	struct dot first_dot; /* of tests: the first one issued; actor 0: by a new actor */
	uint32_t job_limit;   /* background jobs out at once */
	uint64_t
		retry_window_ms; /* attempts of older operations are refused, and superseded ones forgotten; 0: never */
};

/* The hash of a stored object in the hash trees, as engine_options.hash_entry wants it. The first argument is not used. */
int replica_hash_entry(void *, struct engine_slice key, struct engine_slice value, uint64_t *hash_out);

RPC_OK int replica_create(const struct replica_options *, struct replica **out, struct rpc_error *error_out);
void replica_destroy(struct replica **);
void replica_step(struct replica *, const struct event *, struct effects *out);
/* Starts no background job from now on: the node is stopping. (any thread) */
void replica_quiesce(struct replica *);

/* The dot that the next put gets. Same thread, or before it starts. */
struct dot replica_next_dot(const struct replica *);

/* Relaxed counters, readable from any thread. */
struct replica_counters {
	_Atomic uint64_t puts, merges, fetches, scans, duplicates, truncations, expired, errors, syncs;
	_Atomic bool dead;             /* the log failed: every answer is an error until a restart */
	_Atomic bool full;             /* the last commit found no room: reads go on, writes are refused */
	_Atomic uint64_t store_errors; /* reads and writes that the disk failed, or had no room for */
	_Atomic uint64_t clashes;      /* dots that two operations share: somebody has used one twice */
	_Atomic uint64_t job_errors;   /* flushes and compactions that failed; tried again */
};
/* Of the shard; at most so old as a replica that works reads them, ten times a second. (any thread) */
struct replica_figures {
	_Atomic uint64_t keys, disk_bytes, memory_bytes;
	_Atomic uint32_t quarantined; /* partitions */
	_Atomic uint32_t pressure;    /* permille, as shard_pressure */
};
const struct replica_figures *replica_figures(const struct replica *);
const struct replica_counters *replica_counters(const struct replica *);

#endif
