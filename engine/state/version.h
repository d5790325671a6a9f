/* SPDX-License-Identifier: Apache-2.0 */
/* Version: the tables of a shard at one moment, in the order in which they are searched.
 *
 * Threading   Immutable; any thread reads.
 * Ownership   Counted; holds a reference to every table in it, so a snapshot keeps files that a compaction replaced.
 * Errors      -ENOMEM.
 * Invariants  V1 Runs go from newest to oldest: an entry hides those of the same key in later runs.
 *             V2 The tables of a run do not overlap and ascend.
 *             V3 A drop hides what is older than it: sources (memtables, tables) with a smaller drop_id.
 */
#ifndef KVRING_ENGINE_VERSION_H
#define KVRING_ENGINE_VERSION_H

#include "engine/state/manifest.h"
#include "engine/table/sst.h"

struct version_drop {
	uint64_t id;
	struct buffer begin, end; /* end empty: no end */
};

struct version_drops {
	_Atomic uint32_t refs;
	size_t count;
	struct version_drop items[];
};

struct version_run {
	uint32_t level;
	uint64_t id;
	uint64_t bytes;
	struct sst **tables;
	size_t table_count;
};

struct version {
	_Atomic uint32_t refs;
	struct version_drops *drops;
	struct quarantine *quarantine; /* NULL: no partition is */
	struct sst **tables;           /* of all runs, one after the other */
	size_t table_count;
	size_t run_count;
	struct version_run runs[];
};

/* Every table of the state must be open. */
ENGINE_OK int version_create(const struct manifest_state *, struct version **out);
void version_ref(struct version *);
void version_unref(struct version **);

void version_drops_unref(struct version_drops **);
/* Is a key from a source with this drop_id hidden? */
bool version_drops_hide(const struct version_drops *, uint64_t source_drop_id, struct engine_slice key);

/* Is every key of the partition from such a source hidden? */
bool version_drops_hide_partition(const struct version_drops *, uint64_t source_drop_id, uint16_t partition);

/* Newest entry of the key: enum lookup or a negative errno. */
ENGINE_OK int version_get(const struct version *, struct engine_slice key, uint64_t key_hash, struct read_stats *,
			  struct engine_value *value_out, struct engine_error *error_out);
/* The first table of the run that ends at or after the key; table_count when there is none. */
size_t version_run_find(struct sst *const *tables, size_t table_count, struct engine_slice key);

#endif
