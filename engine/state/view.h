/* SPDX-License-Identifier: Apache-2.0 */
/* View: everything a read looks at, frozen: the memtables and the tables.
 *
 * Threading   Immutable; the newest memtable still grows, so a reader brings the sequence up to which it wants to see.
 * Ownership   Counted.
 * Errors      -ENOMEM; what reading returns.
 */
#ifndef KVRING_ENGINE_VIEW_H
#define KVRING_ENGINE_VIEW_H

#include "engine/memory/memtable.h"
#include "engine/state/tables.h"

struct view {
	_Atomic uint32_t refs;
	struct tables *tables;
	size_t memtable_count;
	struct memtable *memtables[]; /* newest first; the first one is being written */
};

/* Takes references of its own. */
ENGINE_OK int view_create(struct tables *, struct memtable *const *memtables, size_t memtable_count, struct view **out);
void view_ref(struct view *);
void view_unref(struct view **);
/* 1 found (pinned), 0 absent, or a negative errno. memtable_hits_inout may be NULL. */
ENGINE_OK int view_get(struct view *, struct engine_slice key, uint64_t sequence, struct read_stats *,
		       uint64_t *memtable_hits_inout, struct engine_value *value_out, struct engine_error *error_out);

#endif
