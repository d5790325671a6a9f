/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/shard/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/merge/merge.h"
#include "engine/partition/partition.h"

void engine_value_release(struct engine_value *value)
{
	struct pin *pin = value->pin;

	*value = (struct engine_value){0};
	if (pin == NULL)
		return;
	if (pin->kind == PIN_BLOCK) {
		block_release((struct block *)pin);
	} else {
		struct memtable *memtable = (struct memtable *)pin;

		memtable_unref(&memtable);
	}
}

int shard_get(struct shard *shard, struct engine_slice key, struct engine_value *value_out)
{
	if (shard->is_dead) {
		*value_out = (struct engine_value){0};
		return -EIO;
	}
	shard->stats.gets++;
	return view_get(shard->view, key, shard->sequence, &shard->read_stats, &shard->stats.get_memtable_hits,
			value_out, &shard->error);
}

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

struct engine_snapshot {
	struct view *view;
	uint64_t sequence;
	_Atomic uint32_t *count; /* of the shard's snapshots */
};

int shard_snapshot(struct shard *shard, struct engine_snapshot **out)
{
	struct engine_snapshot *snapshot;

	if (shard->is_dead)
		return -EIO;
	snapshot = malloc(sizeof *snapshot);
	if (snapshot == NULL)
		return -ENOMEM;
	view_ref(shard->view);
	*snapshot = (struct engine_snapshot){shard->view, shard->sequence, &shard->snapshot_count};
	atomic_fetch_add(snapshot->count, 1);
	*out = snapshot;
	return 0;
}

void engine_snapshot_release(struct engine_snapshot **snapshot)
{
	struct engine_snapshot *it = *snapshot;

	*snapshot = NULL;
	if (it == NULL)
		return;
	assert(atomic_load_explicit(it->count, memory_order_relaxed) > 0);
	view_unref(&it->view);
	atomic_fetch_sub(it->count, 1);
	free(it);
}

int engine_snapshot_get(struct engine_snapshot *snapshot, struct engine_slice key, struct engine_value *value_out)
{
	return view_get(snapshot->view, key, snapshot->sequence, NULL, NULL, value_out, NULL);
}

/* ---- iterators ----------------------------------------------------------------------------------------------- */

struct engine_iterator {
	struct merge merge;
	const struct quarantine *quarantine; /* the snapshot's */
	int32_t stopped_at;                  /* quarantined partition, or -1 */
};

int engine_iterator_create(struct engine_snapshot *snapshot, struct engine_iterator **out)
{
	const struct view *view = snapshot->view;
	const struct tables *tables = view->tables;
	struct engine_iterator *iterator = malloc(sizeof *iterator);
	int error;

	if (iterator == NULL)
		return -ENOMEM;
	error = merge_init(&iterator->merge, view->memtable_count + tables->run_count, tables->drops, NULL);
	if (error) {
		free(iterator);
		return error;
	}
	iterator->quarantine = iterator->merge.quarantine = tables->quarantine;
	iterator->stopped_at = -1;
	for (size_t i = 0; i < view->memtable_count; i++)
		merge_add_memtable(&iterator->merge, view->memtables[i], snapshot->sequence);
	for (size_t i = 0; i < tables->run_count; i++)
		merge_add_tables(&iterator->merge, tables->runs[i].ssts, tables->runs[i].table_count, false);
	*out = iterator;
	return 0;
}

void engine_iterator_destroy(struct engine_iterator **iterator)
{
	if (*iterator != NULL)
		merge_fini(&(*iterator)->merge);
	free(*iterator);
	*iterator = NULL;
}

/* Deletions are not shown. */
static int skip_deletes(struct engine_iterator *iterator, int error, int (*move)(struct merge *))
{
	while (error == 1 && merge_type(&iterator->merge) == ENTRY_DELETE)
		error = move(&iterator->merge);
	return error;
}

/* A move has gone up (or down) from a partition. Nothing quarantined is shown, and nothing beyond it either: that would
 * say that there is nothing in between. */
static int check_passed(struct engine_iterator *iterator, int error, uint32_t from, bool up)
{
	uint32_t to = error == 1 ? partition_of(merge_key(&iterator->merge)) : up ? UINT16_MAX : 0;

	if (error < 0)
		return error;
	iterator->stopped_at =
		up ? quarantine_first(iterator->quarantine, from, to) : quarantine_last(iterator->quarantine, to, from);
	return iterator->stopped_at < 0 ? error : -EBADMSG;
}

/* A key that is there is found without looking at every run; the others are looked at when the iterator moves on. */
static int seek(struct engine_iterator *iterator, struct engine_slice key,
		int (*seek_all)(struct merge *, struct engine_slice))
{
	int error = key.size ? merge_find(&iterator->merge, key) : 0;

	return error == 0 || error == -EBADMSG ? seek_all(&iterator->merge, key) : error;
}

int engine_iterator_seek(struct engine_iterator *iterator, struct engine_slice key)
{
	iterator->stopped_at = -1;
	return check_passed(iterator, skip_deletes(iterator, seek(iterator, key, merge_seek), merge_next),
			    partition_of(key), true);
}

int engine_iterator_seek_last(struct engine_iterator *iterator, struct engine_slice key)
{
	uint32_t from = key.size ? partition_of(key) : UINT16_MAX;

	iterator->stopped_at = -1;
	return check_passed(iterator, skip_deletes(iterator, seek(iterator, key, merge_seek_back), merge_prev), from,
			    false);
}

static int step(struct engine_iterator *iterator, bool up)
{
	int (*move)(struct merge *) = up ? merge_next : merge_prev;
	uint32_t from;

	if (iterator->stopped_at >= 0)
		return -EBADMSG;
	from = partition_of(merge_key(&iterator->merge));
	return check_passed(iterator, skip_deletes(iterator, move(&iterator->merge), move), from, up);
}

int engine_iterator_next(struct engine_iterator *iterator)
{
	return step(iterator, true);
}

int engine_iterator_prev(struct engine_iterator *iterator)
{
	return step(iterator, false);
}

int32_t engine_iterator_quarantined(const struct engine_iterator *iterator)
{
	return iterator->stopped_at;
}

struct engine_slice engine_iterator_key(const struct engine_iterator *iterator)
{
	return merge_key(&iterator->merge);
}

struct engine_slice engine_iterator_value(const struct engine_iterator *iterator)
{
	return merge_value(&iterator->merge);
}
