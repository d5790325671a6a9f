/* Version: dots, version vectors, and the opaque context a client carries.
 *
 * A dotted version vector (Dotted Version Vectors, 2012) behind the vector-clock API of Dynamo 4.4. Counters are
 * monotonic per actor across all keys; an actor is one shard of one incarnation of one durable store.
 *
 * Threading   Pure functions over caller-owned memory.
 * Ownership   Results live in the arena given; inputs are borrowed.
 * Errors      -EBADMSG bytes that are no context, with a text naming the byte; -ENOMEM.
 * Invariants  V1 Entries are sorted by actor and distinct. V2 A context made here and changed anywhere is refused (checksum).
 */
#ifndef KVRING_NODE_VERSION_H
#define KVRING_NODE_VERSION_H

#include <stdbool.h>
#include <stdint.h>
#include "arena.h"
#include "rpc.h"
#include "limits.h"

struct dot {
	uint64_t actor;
	uint64_t counter; /* from 1 */
};

struct version_entry {
	uint64_t actor;
	uint64_t counter;
	uint64_t last_ms; /* Unix time of the newest event; for truncation only, never compared for causality */
};

struct version {
	struct version_entry *entries;
	uint32_t count;
};

/* What a client has seen: a vector (times unused) and dots above it. */
struct context {
	struct version vector;
	struct dot *dots;
	uint32_t dot_count;
};

uint64_t version_counter(const struct version *, uint64_t actor); /* 0 when absent */
bool version_covers(const struct version *, struct dot);
bool context_covers(const struct context *, struct dot);

/* Size 0 is the empty context. */
RPC_OK int context_decode(struct rpc_slice, struct arena *, struct context *out, struct rpc_error *error_out);
RPC_OK int context_encode(const struct context *, struct arena *, struct rpc_slice *out);
/* The context plus one dot: what a put answers (never the merged clock: it would cover values the client never saw). */
RPC_OK int context_with_dot(const struct context *, struct dot, struct arena *, struct rpc_slice *out);

#endif
