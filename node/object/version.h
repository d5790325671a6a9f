/* SPDX-License-Identifier: Apache-2.0 */
/* Version: dots, version vectors, and the opaque context a client carries.
 *
 * A dotted version vector (Dotted Version Vectors, 2012) behind the vector-clock API of Dynamo 4.4. Counters are
 * monotonic per actor across all keys; an actor is one shard of one incarnation of one durable store.
 *
 * Threading   Pure functions over caller-owned memory.
 * Ownership   Results live in the arena given; inputs are borrowed.
 * Errors      -EBADMSG bytes that are no context, with a text naming the byte (error_out may be NULL); -ENOMEM.
 * Invariants  V1 Entries are sorted by actor and distinct. V2 A context made here and changed anywhere,
 *             or used with another key, is refused (checksum).
 */
#ifndef KVRING_NODE_VERSION_H
#define KVRING_NODE_VERSION_H

#include <stdbool.h>
#include <stdint.h>
#include "rpc/arena.h"
#include "rpc/base.h"
#include "node/object/limit.h"
#include "node/object/past.h"

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

enum {
	CONTEXT_DOTS_MAX =
		16, /* of a client's own puts since its last get; forgetting an older one can only leave a sibling */
};

/* What a client has seen: a vector (times unused), dots above it, oldest first, and the operations behind them that may
 * still be attempted again: live ones, too. So a put makes its replica know of the operations that it supersedes, also of
 * those that have not arrived there. */
struct context {
	struct version vector;
	struct dot *dots;
	uint32_t dot_count;
	struct past past;
};

static inline int dot_compare(struct dot a, struct dot b)
{
	if (a.actor != b.actor)
		return a.actor < b.actor ? -1 : 1;
	return (a.counter > b.counter) - (a.counter < b.counter);
}

uint64_t version_counter(const struct version *, uint64_t actor); /* 0 when absent */
bool version_covers(const struct version *, struct dot);
bool context_covers(const struct context *, struct dot);
/* Pointwise maximum of counters and times. An entry that b raises gets at least time raised_ms. *changed_out: a counter
 * of the result is not a's. Leaves room for one more entry. -ENOMEM. */
RPC_OK int version_merge(const struct version *a, const struct version *b, uint64_t raised_ms, struct arena *,
			 struct version *out, bool *changed_out);

/* key: the engine key, to which a context is bound. Size 0 is the empty context, of any key. */
RPC_OK int context_decode(struct rpc_slice, struct rpc_slice key, struct arena *, struct context *out,
			  struct rpc_error *error_out);
RPC_OK int context_encode(const struct context *, struct rpc_slice key, struct arena *, struct rpc_slice *out);
/* The context plus one dot and its operation: what a put answers (never the merged clock: it would cover values the
 * client never saw). Past CONTEXT_DOTS_MAX the oldest dot is forgotten. Counter 0: only the operation, which was superseded
 * meanwhile. */
RPC_OK int context_with_dot(const struct context *, struct dot, struct mark, struct rpc_slice key, struct arena *,
			    struct rpc_slice *out);

#endif
