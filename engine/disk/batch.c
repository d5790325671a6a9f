/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/batch.h"
#include "engine/disk/buffer.h"

#include <errno.h>
#include <stdlib.h>

int engine_batch_create(struct engine_batch **out)
{
	*out = calloc(1, sizeof **out);
	return *out != NULL ? 0 : -ENOMEM;
}

void engine_batch_destroy(struct engine_batch **batch)
{
	if (*batch != NULL)
		buffer_fini(&(*batch)->entries);
	free(*batch);
	*batch = NULL;
}

void engine_batch_clear(struct engine_batch *batch)
{
	batch->entries.size = 0;
	batch->count = 0;
	batch->user_bytes = 0;
	batch->has_deltas = false;
}

static int add(struct engine_batch *batch, const struct wal_entry *entry)
{
	size_t most = WAL_ENTRY_MAX + entry->key.size + entry->value.size;
	int error;

	if (entry->key.size < ENGINE_KEY_MIN || entry->key.size > ENGINE_KEY_MAX ||
	    entry->value.size > ENGINE_VALUE_MAX || batch->entries.size + most > WAL_BATCH_BYTES_MAX / 2)
		return -EINVAL;
	error = buffer_reserve(&batch->entries, most);
	if (error)
		return error;
	batch->entries.size =
		(size_t)(wal_entry_put(batch->entries.data + batch->entries.size, entry) - batch->entries.data);
	batch->count++;
	batch->user_bytes += entry->key.size + entry->value.size;
	batch->has_deltas |= entry->tree_delta != 0;
	return 0;
}

int engine_batch_put(struct engine_batch *batch, struct engine_slice key, struct engine_slice value,
		     uint64_t tree_delta)
{
	return add(batch, &(struct wal_entry){ENTRY_PUT, tree_delta, key, value});
}

int engine_batch_delete(struct engine_batch *batch, struct engine_slice key, uint64_t tree_delta)
{
	return add(batch, &(struct wal_entry){ENTRY_DELETE, tree_delta, key, (struct engine_slice){0}});
}
