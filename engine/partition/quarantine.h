/* SPDX-License-Identifier: Apache-2.0 */
/* Quarantine: the partitions of a shard in which acknowledged data is damaged, and what was found.
 *
 * What a quarantined partition holds is not known. The shard neither reads nor writes it until its caller drops the partition and
 * fills it anew; until then nothing of it is removed.
 *
 *     saved form   varint count of rows, per row varints first, last, step: the partitions first, first + step, ... last;
 *                  then a slice: the latest finding, for a person
 *
 * Threading   Immutable once it is part of a manifest state; any thread reads.
 * Ownership   Counted. NULL stands for the empty set everywhere.
 * Errors      -ENOMEM; -EBADMSG from quarantine_decode.
 */
#ifndef KVRING_ENGINE_QUARANTINE_H
#define KVRING_ENGINE_QUARANTINE_H

#include <stdatomic.h>

#include "engine/disk/buffer.h"
#include "engine/disk/format.h"

enum { QUARANTINE_PARTITIONS = 65536, QUARANTINE_WORDS = QUARANTINE_PARTITIONS / 64 };

struct quarantine {
	_Atomic uint32_t refs;
	uint64_t words[QUARANTINE_WORDS]; /* a bit per partition */
	struct engine_error reason;
};

/* A copy to be changed; of NULL an empty one. */
ENGINE_OK int quarantine_create(const struct quarantine *from, struct quarantine **out);
struct quarantine *quarantine_ref(struct quarantine *); /* NULL too */
void quarantine_unref(struct quarantine **);

/* Some partitions: first, first + step, ... up to last. */
struct partition_row {
	uint32_t first, last, step;
};

void quarantine_add(struct quarantine *, const struct partition_row *);
/* Puts a larger set in place of this one, which may be NULL. */
ENGINE_OK int quarantine_extend(struct quarantine **, const struct partition_row *, const struct engine_error *reason);
/* Those all of whose keys lie in [begin, end). end empty: no end. */
void quarantine_remove_range(struct quarantine *, struct engine_slice begin, struct engine_slice end);
/* The first one from `from` on up to `to`, and the last one; -1 when there is none. */
int32_t quarantine_first(const struct quarantine *, uint32_t from, uint32_t to);
int32_t quarantine_last(const struct quarantine *, uint32_t from, uint32_t to);
uint32_t quarantine_count(const struct quarantine *);

static inline bool quarantine_has(const struct quarantine *it, uint16_t partition)
{
	return it && it->words[partition / 64] >> partition % 64 & 1;
}

/* Returns -EBADMSG, described. */
int quarantine_refuse(const struct quarantine *, uint32_t partition, struct engine_error *error_out);

ENGINE_OK int quarantine_encode(const struct quarantine *, struct buffer *out);
/* NULL when the set is empty. */
ENGINE_OK int quarantine_decode(struct buffer_reader *, struct quarantine **out);

#endif
