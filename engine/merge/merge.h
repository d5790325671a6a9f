/* SPDX-License-Identifier: Apache-2.0 */
/* Merge: several sorted sources seen as one, the newest entry of each key.
 *
 * Sources are memtables and runs of tables, added from newest to oldest. Deletions are entries like others here; what a
 * drop hides is skipped. Used by iterators (which also skip deletions) and by flush and compaction.
 *
 * Threading   One user. Memtables may grow beside it: nothing above the given sequence is seen.
 * Ownership   Borrows memtables and tables, which the user keeps alive; pins the blocks it stands on.
 * Damage      A damaged block is skipped when nothing in it can be seen: each partition it can hold keys of is quarantined,
 *             or was dropped since.
 * Errors      -EBADMSG, -EIO from reading, -ENOMEM. Positions: 1 on an entry, 0 past the end.
 */
#ifndef KVRING_ENGINE_MERGE_H
#define KVRING_ENGINE_MERGE_H

#include "engine/memory/memtable.h"
#include "engine/state/tables.h"

struct merge_source;

struct merge {
	struct merge_source *sources;
	size_t source_count, capacity;
	size_t *heap; /* indexes of the sources that stand on an entry, best first */
	size_t heap_size;
	bool is_backward;
	bool is_alone; /* merge_find placed one source; the first move places the others */
	const struct tables_drops *drops;
	const struct quarantine *quarantine; /* borrowed; set it after merge_init. NULL: none */
	struct engine_error *error_out;
};

/* capacity: how many sources will be added. drops is borrowed. error_out may be NULL. */
ENGINE_OK int merge_init(struct merge *, size_t capacity, const struct tables_drops *drops,
			 struct engine_error *error_out);
void merge_fini(struct merge *);
void merge_add_memtable(struct merge *, const struct memtable *, uint64_t sequence);
/* streaming: read in large pieces past the cache (forward only). */
void merge_add_tables(struct merge *, struct sst *const *tables, size_t table_count, bool streaming);

ENGINE_OK int merge_seek(struct merge *, struct engine_slice key);
/* Stands on the newest entry of this very key: 1, or 0 (and on nothing) when there is none. Through the filters, so that it
 * reads one block rather than one of each run; the first move afterwards reads the others. */
ENGINE_OK int merge_find(struct merge *, struct engine_slice key);
/* The last key <= key; size 0: the very last. */
ENGINE_OK int merge_seek_back(struct merge *, struct engine_slice key);
ENGINE_OK int merge_next(struct merge *);
ENGINE_OK int merge_prev(struct merge *);

/* Of the current entry, valid until the next move. */
struct engine_slice merge_key(const struct merge *);
struct engine_slice merge_value(const struct merge *);
enum entry_type merge_type(const struct merge *);

#endif
