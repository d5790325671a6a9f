/* SPDX-License-Identifier: Apache-2.0 */
/* Object: all that is stored under one key: a version vector and the live siblings.
 *
 *     object = vector { actor -> counter, last_ms } + seen [ dot ] + past [ operation ]
 *              + siblings [ dot, operation id, flags, expiry, value ]
 *
 * seen holds dots that a put's context has superseded before they arrived here; they go when the vector reaches them.
 * Without them a client that puts twice in a row, through two replicas, would find its own first value as a sibling.
 *
 * A retried put may run at two replicas, and gets two dots. Merging makes one sibling of them which keeps both
 * (aliases): dropping one would read as "superseded" to others, and the order of merges would matter.
 *
 * An operation takes effect at most once (past.h). The dots of one operation live and die together: when a put or a merge
 * drops a sibling because one of its dots is covered, the operation goes to the past, and every sibling of an operation
 * in the past goes, on either side of a merge. Its dots stay covered by the vector (O3), that is, seen. A put of an
 * operation that is live or in the past adds nothing.
 *
 * The past spreads wherever the vector does: with objects, and with the contexts that gets answer. So of two objects with
 * equal vectors neither knows of a superseded operation that the other could not refuse, and the digest leaves the past
 * out: replicas compare equal although one has forgotten more.
 *
 * Stored in the engine and sent between replicas as the same bytes (format in object.c).
 *
 * Threading   Pure functions over caller-owned memory.
 * Ownership   A decoded object points into the bytes it came from (values) and into the arena. Results live in the
 *             arena.
 * Errors      -EBADMSG with a text naming the byte (error_out may be NULL); -ENOMEM; -E2BIG from object_encode, past
 *             LIMIT_OBJECT_SIZE or OBJECT_DOTS_MAX.
 * Invariants  O1 object_merge is commutative, associative and idempotent, to the byte once encoded (associative only as
 *             long as O4's exception is not needed, the past holds all that was superseded (past.h), and attempts are
 *             counted: of two dots at least one is of a repeated attempt).
 *             O2 Two siblings of one object never share a dot, nor an operation id with the same content. (An id used
 *             again for another content is a client's mistake; both values are kept.)
 *             O3 Every sibling's dot is covered by the object's vector.
 *             O4 Truncation drops only entries that own no live sibling, and only in object_put; object_merge does so
 *             past LIMIT_CLOCK_ENTRIES, so that the clocks of two objects that decode never stop their merge.
 *             O5 What decodes is in the only form that encode makes: decoding and encoding gives the same bytes.
 *             O6 No sibling's operation is in the past.
 */
#ifndef KVRING_NODE_OBJECT_H
#define KVRING_NODE_OBJECT_H

#include "node/object/version.h"

enum {
	SIBLING_TOMBSTONE = 1,
};

enum {
	OBJECT_DOTS_MAX =
		1024, /* hard bound on decoding: replicas that do not hear each other each admit LIMIT_SIBLINGS */
	OBJECT_SEEN_MAX = 64, /* object_put forgets more; that can only leave a sibling */
};

/* The same operation, run at another replica. */
struct alias {
	struct dot dot;
	uint64_t written_ms;
};

struct sibling {
	struct dot dot; /* the smallest of its dots */
	uint8_t operation_id[RPC_OPERATION_ID_SIZE];
	uint32_t flags;
	uint64_t written_ms; /* Unix time at the coordinating replica */
	uint64_t expires_ms; /* Unix time, 0 never */
	struct rpc_slice value;
	struct alias *aliases; /* sorted by dot; nearly always none */
	uint32_t alias_count;
	bool repeated; /* more than one attempt was made, as far as is known (past.h); so it is with aliases */
};

struct object {
	struct version vector;
	struct dot *seen; /* sorted, none covered by vector; nearly always none */
	uint32_t seen_count;
	struct sibling *siblings; /* sorted by dot (actor, counter) */
	uint32_t sibling_count;
	struct past past;
	uint32_t clash_count; /* of a merge's result: see object_merge; not stored */
	bool repeat_noted;    /* of a put's result: see enum object_put_result; not stored */
};

/* Same id and same content. */
bool sibling_same_operation(const struct sibling *, const struct sibling *);
/* The operation's, with its content. */
struct mark sibling_mark(const struct sibling *);
bool sibling_is_past(const struct past *, const struct sibling *);

RPC_OK int object_decode(struct rpc_slice, struct arena *, struct object *out, struct rpc_error *error_out);
RPC_OK int object_encode(const struct object *, struct arena *, struct rpc_slice *out);
size_t object_encoded_size(const struct object *);

/* out is old, but for OBJECT_PUT_ADDED and when a repeated attempt found its operation: then out->repeat_noted says whether
 * old did not know yet that it was repeated. */
enum object_put_result {
	OBJECT_PUT_ADDED,         /* out is the new object */
	OBJECT_PUT_DUPLICATE,     /* this operation is there already; *dot_out is its dot */
	OBJECT_PUT_SUPERSEDED,    /* it was there, and was superseded since; *dot_out is zero */
	OBJECT_PUT_TOO_OLD,       /* nothing is known of so old an operation any more: it may have been superseded */
	OBJECT_PUT_EARLY,         /* its id is from the future: how old its attempts are cannot be told */
	OBJECT_PUT_OWN_CONTEXT,   /* its context names the operation itself, so it is not that of the first attempt */
	OBJECT_PUT_SIBLING_LIMIT, /* would add a sibling past LIMIT_SIBLINGS, or an actor past LIMIT_CLOCK_PUT. A put
				   * that supersedes a sibling is never refused so. */
};

/* When a put is taken, and for how long operations are remembered. */
struct object_terms {
	uint64_t now_ms; /* Unix time at this replica */
	uint64_t
		window_ms; /* attempts of operations that are older are refused, or younger than minus this; 0: none is */
	bool repeated;     /* not the first attempt, as far as is known */
};

/* Drops every sibling that context covers, adds the new one under sibling->dot (a counter never issued before), takes
 * the maximum of vector and context. *truncated_out counts dropped vector entries. -EEXIST: object or context cover
 * that dot already, so others would take the write for superseded: the actor has lost its memory (or the context is
 * forged) and needs a new id. */
RPC_OK int object_put(const struct object *old, const struct context *, const struct sibling *,
		      const struct object_terms *, struct arena *, struct object *out,
		      enum object_put_result *result_out, struct dot *dot_out, uint32_t *truncated_out);

/* sync(a, b): keeps a sibling of one if the other has its dot too, or does not cover it; see above for operations with
 * several dots. *changed_out: the result differs from a in more than times (a replica that holds a must write it). out is
 * neither a nor b.
 * An equal dot of another operation is damage: somebody has used a dot twice. Both siblings stay, under dots of their own
 * that depend on nothing but what they are, and out->clash_count says how many such dots there were. (Of three
 * operations under one dot the last to be merged is lost.) */
RPC_OK int object_merge(const struct object *a, const struct object *b, struct arena *, struct object *out,
			bool *changed_out);

/* Asserts of a result of put or merge: O3, O6, and that its rows are in order. */
void object_check(const struct object *);

/* XXH3 over the vector without times, all dots and operation ids: equal digests, equal objects,
 * but for the past. */
uint64_t object_digest(const struct object *);
/* For the hash tree: of key and object. */
uint64_t object_tree_hash(struct rpc_slice key, const struct object *);
/* Neither a tombstone nor expired: a get returns it. An object without such a sibling is absent. */
bool sibling_is_live(const struct sibling *, uint64_t now_ms);
/* The context a get answers: covers everything in the object. Operations older than since_ms, whose attempts are refused
 * for their age, are not named. */
RPC_OK int object_context(const struct object *, struct rpc_slice key, uint64_t since_ms, struct arena *,
			  struct rpc_slice *out);
/* Highest counter of this actor in vector or siblings, 0 when none: to notice counters "of mine that I never issued".
 */
uint64_t object_actor_counter(const struct object *, uint64_t actor);

#endif
