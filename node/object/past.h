/* SPDX-License-Identifier: Apache-2.0 */
/* Past: which operations of a key were superseded of late, so that a repeated attempt is not taken for a new write.
 *
 * A sibling bears the id of its operation, and while it lives a second attempt finds it. When a later write supersedes
 * the sibling, its mark stays in the past: the time of the operation id and a hash of id and content. An attempt whose
 * mark is in the past was applied before. A sibling whose mark is in the past of another replica is another version of
 * the same operation, made by another attempt, and goes too: whoever superseded the one had seen its value.
 *
 * At most PAST_MAX marks are kept, the newest by the time of their ids. The time of the newest mark that was dropped is
 * the horizon: of an operation that is not newer nothing is known, so that only its first attempt can be taken.
 *
 * Threading   Pure functions over caller-owned memory.
 * Ownership   Results live in the arena given; inputs are borrowed.
 * Errors      -ENOMEM; past_get: false on bytes that are no past.
 * Invariants  A1 Marks are distinct and ascend by time, then hash. A2 past_unite is commutative, associative and
 *             idempotent: the newest PAST_MAX of all marks, and the latest time among all horizons and dropped marks.
 */
#ifndef KVRING_NODE_PAST_H
#define KVRING_NODE_PAST_H

#include "rpc/base.h"
#include "node/object/bytes.h"

enum { PAST_MAX = 32 };

struct mark {
	uint64_t time_ms; /* of the operation id: Unix time at the client; 0 when the id has none */
	uint64_t hash;
};

struct past {
	struct mark *marks;
	uint32_t count;
	uint64_t horizon_ms; /* 0: nothing was dropped */
};

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
/* All of `a` is in `b`, or below its horizon. */
bool past_is_within(const struct past *a, const struct past *b);
/* Marks of any number, as a past of their own that knows no bound yet. Takes the array, which it sorts. */
struct past past_of_marks(struct mark *marks, uint32_t count);
/* Every mark of both, past PAST_MAX too; past_bound drops what is too much. */
RPC_OK int past_unite(const struct past *a, const struct past *b, struct arena *, struct past *out);
void past_bound(struct past *);
/* Drops marks older than this; they raise the horizon. */
void past_forget(struct past *, uint64_t before_ms);

/* Encoded: marks, n (varint, at most PAST_MAX); n times: time (varint; after the first: what it is later than the one
 * before), hash (u64, little endian); horizon (varint). */
size_t past_encoded_size(const struct past *);
uint8_t *past_put(uint8_t *at, const struct past *);
/* -ENOMEM; -EBADMSG, and reader->at stands on the bad field. */
RPC_OK int past_get(struct bytes_reader *, struct arena *, struct past *out);

#endif
