/* SPDX-License-Identifier: Apache-2.0 */
/* Memtable: the newest entries of a shard, in memory, ordered.
 *
 * A radix tree of keys; each key has its versions, newest first. Each is the content of one log segment: what it holds
 * is in that segment, and it is dropped whole once a table holds it.
 *
 * Threading   One writer (the shard's owner), lock-free readers that hold a reference. A reader passes the sequence of
 *             its view and sees nothing newer.
 * Ownership   Counted references; values read point into it, so who keeps one keeps a reference (struct pin).
 * Errors      -ENOMEM: nothing was added.
 */
#ifndef KVRING_ENGINE_MEMTABLE_H
#define KVRING_ENGINE_MEMTABLE_H

#include "engine/memory/art.h"
#include "engine/disk/format.h"
#include "engine/memory/pin.h"

struct memtable_version {
	uint64_t sequence;
	struct memtable_version *older;
	uint32_t value_size;
	uint8_t type; /* enum entry_type */
	uint8_t value[];
};

struct memtable {
	struct pin pin;
	struct art art;
	struct region region;
	uint64_t entry_count; /* versions */
	uint64_t drop_id;     /* drops up to this one happened before anything in here */
};

ENGINE_OK int memtable_create(uint64_t drop_id, struct memtable **out);
void memtable_ref(struct memtable *);
/* Frees it with the last reference, and nulls the pointer. */
void memtable_unref(struct memtable **);
/* Sequences must grow. */
ENGINE_OK int memtable_add(struct memtable *, struct engine_slice key, struct engine_slice value, enum entry_type,
			   uint64_t sequence);
/* Takes back the newest version of the key, if it has this sequence. Readers cannot have seen it yet. */
void memtable_undo(struct memtable *, struct engine_slice key, uint64_t sequence);
/* The newest version with a sequence up to this one, or NULL. */
const struct memtable_version *memtable_get(const struct memtable *, struct engine_slice key, uint64_t sequence);
const struct memtable_version *memtable_leaf_version(const struct art_leaf *, uint64_t sequence);

static inline size_t memtable_bytes(const struct memtable *memtable)
{
	return memtable->region.used;
}

#endif
