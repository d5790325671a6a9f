/* SPDX-License-Identifier: Apache-2.0 */
/* Manifest state: what the manifest says of a shard, in memory, and how an edit changes it.
 *
 * Threading   The shard's owner.
 * Ownership   States and edits own what they hold. Tables are shared by count among states (owner's thread only).
 * Errors      -EBADMSG: the edit does not fit the state. -ENOMEM. The state to be changed is left as it was.
 * Invariants  M1 No two tables have the same number.
 */
#ifndef KVRING_ENGINE_MANIFEST_STATE_H
#define KVRING_ENGINE_MANIFEST_STATE_H

#include "engine/disk/buffer.h"
#include "engine/partition/quarantine.h"
#include "engine/table/sst_format.h"

struct sst;

enum { MANIFEST_LEVELS = 8, MANIFEST_BOTTOM = MANIFEST_LEVELS - 1 };

/* A table in its place. Runs of a level: larger is newer. Tables of one run do not overlap. */
struct manifest_table {
	uint32_t refs;
	uint32_t level;
	uint64_t run;
	struct table_meta meta;
	struct sst *sst; /* opened by the shard, NULL offline */
};

/* All keys in [begin, end) written before the drop are gone. end empty: no end. */
struct manifest_drop {
	uint64_t id; /* 1, 2, ... */
	struct buffer begin, end;
};

struct manifest_tree {
	uint64_t number; /* 0: none */
	uint64_t size;
	uint64_t drop_id;
};

struct manifest_state {
	struct manifest_table **tables;
	size_t table_count;
	struct manifest_drop *drops;
	size_t drop_count;
	uint64_t last_drop_id;
	uint64_t next_number;      /* file numbers from here on were never used */
	uint64_t log_floor;        /* segments below are not needed */
	uint64_t flushed_sequence; /* tables hold everything up to here */
	uint64_t closed_sequence;  /* the log held everything up to here when the shard was closed; 0: it was not */
	struct manifest_tree tree;
	struct buffer meta;            /* the caller's blob */
	struct quarantine *quarantine; /* NULL: no partition is */
};

/* A change. Zero and NULL fields change nothing. */
struct manifest_edit {
	struct manifest_table **added;
	size_t added_count;
	uint64_t *removed; /* numbers */
	size_t removed_count;
	const struct manifest_drop *drop;
	uint64_t forget_drops; /* all up to this id */
	uint64_t next_number, log_floor, flushed_sequence, closed_sequence, last_drop_id;
	const struct manifest_tree *tree;
	const struct engine_slice *meta;
	struct quarantine *quarantine; /* the new set */
};

ENGINE_OK int manifest_table_create(uint32_t level, uint64_t run, const struct table_meta *,
				    struct manifest_table **out);
void manifest_table_unref(struct manifest_table **);

void manifest_state_fini(struct manifest_state *);
/* to = from changed by edit. -EBADMSG when the edit removes what is not there or adds what is. */
ENGINE_OK int manifest_state_change(const struct manifest_state *from, const struct manifest_edit *edit,
				    struct manifest_state *to);

/* ---- parts of a change, for who decodes one ---- */

/* Takes over the reference. -EBADMSG when a table of this number is there, or its level is none. */
ENGINE_OK int manifest_state_add(struct manifest_state *, struct manifest_table *);
/* -EBADMSG when there is none of this number. */
ENGINE_OK int manifest_state_remove(struct manifest_state *, uint64_t number);
/* Ends the quarantine of the partitions that the range covers whole. */
ENGINE_OK int manifest_state_drop(struct manifest_state *, uint64_t id, struct engine_slice begin,
				  struct engine_slice end);
/* All drops up to this id. */
void manifest_state_forget(struct manifest_state *, uint64_t id);

#endif
