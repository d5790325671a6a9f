/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: those of a shard at one moment, in the order in which they are searched.
 *
 * Threading   Immutable; any thread reads.
 * Ownership   Counted; holds a reference to every table in it, so a snapshot keeps files that a compaction replaced.
 * Errors      -ENOMEM; -EBADMSG from tables_check_runs.
 * Invariants  T1 Runs go from newest to oldest: an entry hides those of the same key in later runs.
 *             T2 The tables of a run do not overlap and ascend.
 *             T3 A drop hides what is older than it: sources (memtables, tables) with a smaller drop_id.
 */
#ifndef KVRING_ENGINE_TABLES_H
#define KVRING_ENGINE_TABLES_H

#include "engine/disk/buffer.h"
#include "engine/state/manifest.h"
#include "engine/table/sst.h"

struct tables_drop {
	uint64_t id;
	struct buffer begin, end; /* end empty: no end */
};

struct tables_drops {
	_Atomic uint32_t refs;
	size_t count;
	struct tables_drop items[];
};

struct tables_run {
	uint32_t level;
	uint64_t id;
	uint64_t bytes;
	struct sst **ssts;
	size_t table_count;
};

struct tables {
	_Atomic uint32_t refs;
	struct tables_drops *drops;
	struct quarantine *quarantine; /* NULL: no partition is */
	struct sst **ssts;             /* of all runs, one after the other */
	size_t table_count;
	size_t run_count;
	struct tables_run runs[];
};

/* Every table of the state must be open. */
ENGINE_OK int tables_create(const struct manifest_state *, struct tables **out);
/* T2 of what a manifest names: -EBADMSG when two tables of a run overlap. */
ENGINE_OK int tables_check_runs(const struct tables *, const char *directory, struct engine_error *error_out);
void tables_ref(struct tables *);
void tables_unref(struct tables **);

void tables_drops_unref(struct tables_drops **);
/* Is a key from a source with this drop_id hidden? */
bool tables_drops_hide(const struct tables_drops *, uint64_t source_drop_id, struct engine_slice key);

/* Is every key of the partition from such a source hidden? */
bool tables_drops_hide_partition(const struct tables_drops *, uint64_t source_drop_id, uint16_t partition);

/* Newest entry of the key: enum lookup or a negative errno. */
ENGINE_OK int tables_get(const struct tables *, struct engine_slice key, uint64_t key_hash, struct read_stats *,
			 struct engine_value *value_out, struct engine_error *error_out);
/* The first table of the run that ends at or after the key; table_count when there is none. */
size_t tables_run_find(struct sst *const *tables, size_t table_count, struct engine_slice key);

#endif
