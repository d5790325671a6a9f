/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state/view.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/partition/hashtree.h"
#include "engine/partition/partition.h"

int view_create(struct tables *tables, struct memtable *const *memtables, size_t memtable_count, struct view **out)
{
	struct view *view = malloc(sizeof *view + memtable_count * sizeof view->memtables[0]);

	assert(memtable_count > 0); /* the one that is written */
	if (view == NULL)
		return -ENOMEM;
	atomic_init(&view->refs, 1);
	tables_ref(tables);
	view->tables = tables;
	view->memtable_count = memtable_count;
	for (size_t i = 0; i < memtable_count; i++) {
		memtable_ref(memtables[i]);
		view->memtables[i] = memtables[i];
	}
	*out = view;
	return 0;
}

void view_ref(struct view *view)
{
	uint32_t before = atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);

	assert(before > 0);
}

void view_unref(struct view **view)
{
	struct view *it = *view;

	*view = NULL;
	assert(it == NULL || atomic_load_explicit(&it->refs, memory_order_relaxed) > 0);
	if (it == NULL || atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < it->memtable_count; i++)
		memtable_unref(&it->memtables[i]);
	tables_unref(&it->tables);
	free(it);
}

static const struct memtable_version *find_in_memory(struct view *view, struct engine_slice key, uint64_t sequence,
						     struct memtable **memtable_out)
{
	const struct tables_drops *drops = view->tables->drops;

	for (size_t i = 0; i < view->memtable_count; i++) {
		struct memtable *memtable = view->memtables[i];
		const struct memtable_version *version;

		if (drops->count && tables_drops_hide(drops, memtable->drop_id, key))
			continue;
		version = memtable_get(memtable, key, sequence);
		if (version != NULL) {
			*memtable_out = memtable;
			return version;
		}
	}
	return NULL;
}

int view_get(struct view *view, struct engine_slice key, uint64_t sequence, struct read_stats *stats,
	     uint64_t *memtable_hits_inout, struct engine_value *value_out, struct engine_error *error_out)
{
	const struct quarantine *quarantine = view->tables->quarantine;
	const struct memtable_version *version;
	struct memtable *memtable;
	int found;

	*value_out = (struct engine_value){0};
	if (quarantine_has(quarantine, partition_of(key)))
		return quarantine_refuse(quarantine, partition_of(key), error_out);
	version = find_in_memory(view, key, sequence, &memtable);
	if (version == NULL) {
		if (!view->tables->run_count)
			return 0;
		found = tables_get(view->tables, key, block_key_hash(key), stats, value_out, error_out);
		return found < 0 ? found : found == LOOKUP_FOUND;
	}
	if (memtable_hits_inout != NULL)
		++*memtable_hits_inout;
	if (version->type == ENTRY_DELETE)
		return 0;
	memtable_ref(memtable);
	*value_out = (struct engine_value){version->value, version->value_size, &memtable->pin};
	return 1;
}
