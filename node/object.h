/* Object: all that is stored under one key: a version vector and the live siblings.
 *
 *     object = vector { actor -> counter, last_ms } + siblings [ dot, operation id, flags, expiry, value ]
 *
 * Stored in the engine and sent between replicas as the same bytes (format in object.c).
 *
 * Threading   Pure functions over caller-owned memory.
 * Ownership   A decoded object points into the bytes it came from (values) and into the arena. Results live in the arena.
 * Errors      -EBADMSG with a text naming the byte; -ENOMEM; -E2BIG past LIMIT_OBJECT_SIZE.
 * Invariants  O1 object_merge is commutative, associative and idempotent, to the byte once encoded.
 *             O2 Two siblings of one object never share a dot or an operation id.
 *             O3 Every sibling's dot is covered by the object's vector.
 *             O4 Truncation drops only entries that own no live sibling, and only in object_put.
 */
#ifndef KVRING_NODE_OBJECT_H
#define KVRING_NODE_OBJECT_H

#include "version.h"

enum {
	SIBLING_TOMBSTONE = 1,
};

struct sibling {
	struct dot dot;
	uint8_t operation_id[RPC_OPERATION_ID_SIZE];
	uint32_t flags;
	uint64_t written_ms; /* Unix time at the coordinating replica */
	uint64_t expires_ms; /* Unix time, 0 never */
	struct rpc_slice value;
};

struct object {
	struct version vector;
	struct sibling *siblings; /* sorted by dot (actor, counter) */
	uint32_t sibling_count;
};

RPC_OK int object_decode(struct rpc_slice, struct arena *, struct object *out, struct rpc_error *error_out);
RPC_OK int object_encode(const struct object *, struct arena *, struct rpc_slice *out);
size_t object_encoded_size(const struct object *);

enum object_put_result {
	OBJECT_PUT_ADDED,     /* out is the new object */
	OBJECT_PUT_DUPLICATE, /* this operation id is there already: out is old, *dot_out its dot */
	OBJECT_PUT_SIBLING_LIMIT, /* would add a sibling past LIMIT_SIBLINGS: nothing done */
};

/* algorithms.md 1: drops every sibling that context covers, adds the new one under sibling->dot (a counter never issued
 * before), takes the maximum of vector and context. *truncated_out counts dropped vector entries. */
RPC_OK int object_put(const struct object *old, const struct context *, const struct sibling *, uint64_t now_ms, struct arena *,
		      struct object *out, enum object_put_result *result_out, struct dot *dot_out, uint32_t *truncated_out);

/* sync(a, b). *changed_out: the result differs from a (a replica that holds a must write it). */
RPC_OK int object_merge(const struct object *a, const struct object *b, struct arena *, struct object *out, bool *changed_out);

/* XXH3 over the vector without times and the dots: equal digests, equal objects. */
uint64_t object_digest(const struct object *);
/* For the hash tree: of key and object. */
uint64_t object_tree_hash(struct rpc_slice key, const struct object *);
/* No sibling that is neither a tombstone nor expired. */
bool object_is_absent(const struct object *, uint64_t now_ms);
/* The context a get answers: covers everything in the object. */
RPC_OK int object_context(const struct object *, struct arena *, struct rpc_slice *out);
/* Highest counter of this actor in vector or siblings, 0 when none: to notice counters "of mine that I never issued". */
uint64_t object_actor_counter(const struct object *, uint64_t actor);

#endif
