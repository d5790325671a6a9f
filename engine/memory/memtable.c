/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/memory/memtable.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int memtable_create(uint64_t drop_id, struct memtable **out)
{
	struct memtable *memtable = calloc(1, sizeof *memtable);

	if (memtable == NULL)
		return -ENOMEM;
	pin_init(&memtable->pin, PIN_MEMTABLE);
	memtable->drop_id = drop_id;
	*out = memtable;
	return 0;
}

void memtable_ref(struct memtable *memtable)
{
	pin_acquire(&memtable->pin);
}

void memtable_unref(struct memtable **memtable)
{
	struct memtable *it = *memtable;

	*memtable = NULL;
	if (it != NULL && pin_drop(&it->pin)) {
		region_fini(&it->region);
		free(it);
	}
}

int memtable_add(struct memtable *memtable, struct engine_slice key, struct engine_slice value, enum entry_type type,
		 uint64_t sequence)
{
	size_t size = sizeof(struct memtable_version) + value.size;
	struct memtable_version *version;
	struct art_leaf *leaf;
	void *room;
	int error;

	assert(key.size >= ENGINE_KEY_MIN && key.size <= ENGINE_KEY_MAX && value.size <= ENGINE_VALUE_MAX);
	assert(sequence > 0);
	error = art_insert(&memtable->art, &memtable->region, key, size, &leaf, &room);

	if (error)
		return error;
	version = room != NULL ? room : region_alloc(&memtable->region, size);
	if (version == NULL)
		return -ENOMEM;
	version->sequence = sequence;
	version->older = atomic_load_explicit(&leaf->head, memory_order_relaxed);
	version->value_size = (uint32_t)value.size;
	version->type = (uint8_t)type;
	if (value.size)
		memcpy(version->value, value.data, value.size);
	assert(version->older == NULL || version->older->sequence < sequence);
	atomic_store_explicit(&leaf->head, version, memory_order_release);
	memtable->entry_count++;
	return 0;
}

void memtable_undo(struct memtable *memtable, struct engine_slice key, uint64_t sequence)
{
	struct art_leaf *leaf = art_find(&memtable->art, key);
	struct memtable_version *version =
		leaf != NULL ? atomic_load_explicit(&leaf->head, memory_order_relaxed) : NULL;

	if (version == NULL || version->sequence != sequence)
		return;
	assert(memtable->entry_count > 0);
	atomic_store_explicit(&leaf->head, version->older, memory_order_release);
	memtable->entry_count--;
}

const struct memtable_version *memtable_leaf_version(const struct art_leaf *leaf, uint64_t sequence)
{
	const struct memtable_version *version =
		atomic_load_explicit(&((struct art_leaf *)leaf)->head, memory_order_acquire);

	while (version != NULL && version->sequence > sequence)
		version = version->older;
	return version;
}

const struct memtable_version *memtable_get(const struct memtable *memtable, struct engine_slice key, uint64_t sequence)
{
	const struct art_leaf *leaf = art_find(&memtable->art, key);

	return leaf != NULL ? memtable_leaf_version(leaf, sequence) : NULL;
}
