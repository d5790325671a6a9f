/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "node/replica/unsynced.h"

enum { CAPACITY_FIRST = 256 };

uint64_t unsynced_hash(struct rpc_slice key)
{
	uint64_t hash = XXH3_64bits(key.data, key.size);
	return hash ? hash : 1;
}

bool unsynced_has(const struct unsynced *set, uint64_t hash)
{
	if (set->count == 0)
		return false;
	for (uint32_t at = (uint32_t)hash & (set->capacity - 1);; at = (at + 1) & (set->capacity - 1)) {
		if (set->hashes[at] == hash)
			return true;
		if (set->hashes[at] == 0)
			return false;
	}
}

void unsynced_insert(struct unsynced *set, uint64_t hash)
{
	uint32_t at = (uint32_t)hash & (set->capacity - 1);
	assert(hash != 0);
	assert(set->count < set->capacity); /* reserved, so the search ends */
	while (set->hashes[at] != 0 && set->hashes[at] != hash)
		at = (at + 1) & (set->capacity - 1);
	set->count += set->hashes[at] == 0;
	set->hashes[at] = hash;
}

/* Keeps the load at one half or below. */
int unsynced_reserve(struct unsynced *set)
{
	if ((set->count + 1) * 2 <= set->capacity)
		return 0;
	struct unsynced grown = {.capacity = set->capacity ? set->capacity * 2 : CAPACITY_FIRST};
	grown.hashes = calloc(grown.capacity, sizeof *grown.hashes);
	if (grown.hashes == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < set->capacity; i++)
		if (set->hashes[i] != 0)
			unsynced_insert(&grown, set->hashes[i]);
	assert(grown.count == set->count);
	free(set->hashes);
	*set = grown;
	return 0;
}

void unsynced_clear(struct unsynced *set)
{
	if (set->capacity > CAPACITY_FIRST && set->count < set->capacity / 16) {
		unsynced_fini(set); /* of a large batch long ago: wiping it at every commit would cost more than to grow
				     again */
		return;
	}
	if (set->count != 0)
		memset(set->hashes, 0, set->capacity * sizeof *set->hashes);
	set->count = 0;
}

void unsynced_fini(struct unsynced *set)
{
	free(set->hashes);
	*set = (struct unsynced){0};
}
