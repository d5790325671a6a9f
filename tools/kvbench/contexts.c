/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/contexts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	uint8_t *bytes; /* NULL: none known */
	uint16_t size, room;
	uint32_t version;
	bool claimed;
};

struct contexts {
	uint64_t key_count;
	pthread_mutex_t locks[CONTEXTS_LOCKS];
	struct entry entries[]; /* per key, under locks[key % CONTEXTS_LOCKS] */
};

struct contexts *contexts_create(uint64_t key_count)
{
	struct contexts *contexts = calloc(1, sizeof *contexts + key_count * sizeof *contexts->entries);
	if (contexts == NULL)
		abort();
	for (unsigned i = 0; i < CONTEXTS_LOCKS; i++)
		pthread_mutex_init(&contexts->locks[i], NULL);
	contexts->key_count = key_count;
	return contexts;
}

void contexts_destroy(struct contexts **contexts_inout)
{
	struct contexts *contexts = *contexts_inout;
	*contexts_inout = NULL;
	if (contexts == NULL)
		return;
	for (uint64_t key = 0; key < contexts->key_count; key++)
		free(contexts->entries[key].bytes);
	for (unsigned i = 0; i < CONTEXTS_LOCKS; i++)
		pthread_mutex_destroy(&contexts->locks[i]);
	free(contexts);
}

static pthread_mutex_t *lock_of(struct contexts *contexts, uint64_t key)
{
	return &contexts->locks[key % CONTEXTS_LOCKS];
}

static void set(struct entry *entry, const uint8_t *context, size_t size)
{
	if (size > CONTEXTS_SIZE_MAX)
		return; /* no node takes it back */
	if (size > entry->room) {
		free(entry->bytes);
		entry->room = (uint16_t)size;
		entry->bytes = malloc(size);
		if (entry->bytes == NULL)
			abort();
	}
	if (size)
		memcpy(entry->bytes, context, size);
	entry->size = (uint16_t)size;
}

size_t contexts_get(struct contexts *contexts, uint64_t key, uint8_t **buffer_inout, size_t *room_inout)
{
	const struct entry *entry = &contexts->entries[key];
	pthread_mutex_lock(lock_of(contexts, key));
	size_t size = entry->size;
	if (size > *room_inout) {
		free(*buffer_inout);
		*room_inout = size;
		*buffer_inout = malloc(size);
		if (*buffer_inout == NULL)
			abort();
	}
	if (size)
		memcpy(*buffer_inout, entry->bytes, size);
	pthread_mutex_unlock(lock_of(contexts, key));
	return size;
}

uint32_t contexts_version(struct contexts *contexts, uint64_t key)
{
	pthread_mutex_lock(lock_of(contexts, key));
	uint32_t version = contexts->entries[key].version;
	pthread_mutex_unlock(lock_of(contexts, key));
	return version;
}

void contexts_set_written(struct contexts *contexts, uint64_t key, const uint8_t *context, size_t size)
{
	struct entry *entry = &contexts->entries[key];
	pthread_mutex_lock(lock_of(contexts, key));
	set(entry, context, size);
	entry->version++;
	pthread_mutex_unlock(lock_of(contexts, key));
}

void contexts_set_read(struct contexts *contexts, uint64_t key, const uint8_t *context, size_t size, uint32_t version)
{
	struct entry *entry = &contexts->entries[key];
	pthread_mutex_lock(lock_of(contexts, key));
	if (entry->version == version)
		set(entry, context, size);
	pthread_mutex_unlock(lock_of(contexts, key));
}

bool contexts_claim(struct contexts *contexts, uint64_t key)
{
	struct entry *entry = &contexts->entries[key];
	pthread_mutex_lock(lock_of(contexts, key));
	bool free_before = !entry->claimed;
	entry->claimed = true;
	pthread_mutex_unlock(lock_of(contexts, key));
	return free_before;
}

void contexts_release(struct contexts *contexts, uint64_t key)
{
	pthread_mutex_lock(lock_of(contexts, key));
	contexts->entries[key].claimed = false;
	pthread_mutex_unlock(lock_of(contexts, key));
}
