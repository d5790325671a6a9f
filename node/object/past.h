/* SPDX-License-Identifier: Apache-2.0 */
/* Past: which operations of a key were superseded of late, so that a repeated attempt is not taken for a new write.
 *
 * A sibling bears the id of its operation, and while it lives a second attempt finds it. When a later write supersedes
 * the sibling, its mark stays in the past: the time of the operation id and a hash of id and content. An attempt whose
 * mark is in the past was applied before. A sibling whose mark is in the past of another replica is another version of
 * the same operation, made by another attempt, and goes too: whoever superseded the one had seen its value.
 *
 * Of a bounded number of marks, which are needed most? A mark is for the versions of its operation that are not here: an
 * owner may be cut off with one for minutes, while others write the key a hundred times. An operation that was attempted
 * once has one version, whose dot the vector covers when it is superseded: wherever that version is, it goes without the
 * mark. Only of an operation that was *repeated* there may be a version that no vector here covers. So the two kinds do not
 * compete: PAST_KIND_MAX are kept of each, the newest by the time of their ids.
 *
 * Who knows that an operation is repeated: the owner that runs an attempt which is not the first (the client counts, and so
 * does a coordinator that forwards to another owner), also when it finds the operation applied already; and who merges two
 * of its versions. What one knows the others learn with the object.
 *
 * The time of the newest mark that was dropped is the horizon: of an operation that is not newer nothing is known, so that
 * only its first attempt can be taken. A merge cannot go by the horizon: a version that is older and unknown may be the
 * only one there is, acknowledged by owners whose horizon is lower.
 *
 * And the other way round, where the owner that runs a later attempt is the one that is cut off, and nobody else hears of
 * that attempt? It runs none before enough other owners have told what they know (coordinator/put.c).
 *
 * What is left: a version comes back from a cut-off owner when PAST_KIND_MAX *repeated* operations of the key were
 * superseded after it, or when the window is over; when a first attempt was still under way while a later one learned that
 * there had been none, and its mark is forgotten; and with w of less than a majority, when the owners that told are not
 * those that knew.
 *
 * Threading   Pure functions over caller-owned memory.
 * Ownership   Results live in the arena given; inputs are borrowed.
 * Errors      -ENOMEM; past_get: false on bytes that are no past.
 * Invariants  A1 Marks are distinct and ascend by time, then hash; at most PAST_KIND_MAX are repeated, and as many not.
 *             A2 past_unite is commutative, associative and idempotent; with past_bound behind it, it is commutative,
 *             and the rest as long as nothing is dropped.
 */
#ifndef KVRING_NODE_PAST_H
#define KVRING_NODE_PAST_H

#include "rpc/base.h"
#include "node/object/bytes.h"

enum {
	PAST_KIND_MAX = 32, /* marks of either kind: 10 bytes each in a key that is overwritten often */
	PAST_MAX = 2 * PAST_KIND_MAX,
};

struct mark {
	uint64_t time_ms; /* of the operation id: Unix time at the client; 0 when the id has none */
	uint64_t hash;    /* even: its lowest bit is stored as `repeated` */
	bool repeated;    /* more than one attempt was made, so that it may have a version elsewhere */
};

struct past {
	struct mark *marks;
	uint32_t count;
	uint64_t horizon_ms; /* 0: nothing was dropped */
};

/* Of the same operation or not: repeated makes no difference. */
static inline int mark_compare(struct mark a, struct mark b)
{
	if (a.time_ms != b.time_ms)
		return a.time_ms < b.time_ms ? -1 : 1;
	return (a.hash > b.hash) - (a.hash < b.hash);
}

bool past_is_empty(const struct past *);
bool past_has(const struct past *, struct mark);
/* May a mark of this time be there? Spares making the hash. */
bool past_has_time(const struct past *, uint64_t time_ms);
/* All of `a` is in `b`, or not repeated and below its horizon. */
bool past_is_within(const struct past *a, const struct past *b);
/* The operation of this mark was repeated: a past that says so, if it has the mark; not bounded. out may be self. */
RPC_OK int past_note_repeat(const struct past *, struct mark, struct arena *, struct past *out);
/* Marks of any number, as a past of their own that knows no bound yet. Takes the array, which it sorts. */
struct past past_of_marks(struct mark *marks, uint32_t count);
/* Every mark of both, too many as well; past_bound drops what is too much. */
RPC_OK int past_unite(const struct past *a, const struct past *b, struct arena *, struct past *out);
void past_bound(struct past *);
/* Drops marks older than this; they raise the horizon. */
void past_forget(struct past *, uint64_t before_ms);

/* Asserts A1. */
void past_check(const struct past *);

/* Encoded: marks, n (varint); n times: time (varint; after the first: what it is later than the one before), hash and, in
 * its lowest bit, repeated (u64, little endian); horizon (varint). */
size_t past_encoded_size(const struct past *);
uint8_t *past_put(uint8_t *at, const struct past *);
/* -ENOMEM; -EBADMSG, and reader->at stands on the bad field. */
RPC_OK int past_get(struct bytes_reader *, struct arena *, struct past *out);

#endif
