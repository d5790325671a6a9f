/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state/tables.h"
#include "engine/disk/buffer.h"
#include "engine/partition/partition.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { GET_TOGETHER = 16 }; /* runs whose filters are fetched at once */

static int by_place(const void *a, const void *b)
{
	const struct manifest_table *x = *(struct manifest_table *const *)a, *y = *(struct manifest_table *const *)b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	if (x->run != y->run)
		return x->run > y->run ? -1 : 1;
	return format_compare(buffer_slice(&x->meta.smallest), buffer_slice(&y->meta.smallest));
}

static int drops_create(const struct manifest_state *state, struct tables_drops **out)
{
	struct tables_drops *drops = calloc(1, sizeof *drops + state->drop_count * sizeof drops->items[0]);

	if (drops == NULL)
		return -ENOMEM;
	atomic_init(&drops->refs, 1);
	for (size_t i = 0; i < state->drop_count; i++) {
		struct tables_drop *item = &drops->items[drops->count++];

		item->id = state->drops[i].id;
		if (buffer_assign(&item->begin, buffer_slice(&state->drops[i].begin)) ||
		    buffer_assign(&item->end, buffer_slice(&state->drops[i].end))) {
			tables_drops_unref(&drops);
			return -ENOMEM;
		}
	}
	*out = drops;
	return 0;
}

void tables_drops_unref(struct tables_drops **drops)
{
	struct tables_drops *it = *drops;

	*drops = NULL;
	assert(it == NULL || atomic_load_explicit(&it->refs, memory_order_relaxed) > 0);
	if (it == NULL || atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < it->count; i++) {
		buffer_fini(&it->items[i].begin);
		buffer_fini(&it->items[i].end);
	}
	free(it);
}

bool tables_drops_hide(const struct tables_drops *drops, uint64_t source_drop_id, struct engine_slice key)
{
	for (size_t i = 0; i < drops->count; i++) {
		const struct tables_drop *item = &drops->items[i];

		if (item->id > source_drop_id && format_compare(buffer_slice(&item->begin), key) <= 0 &&
		    (!item->end.size || format_compare(key, buffer_slice(&item->end)) < 0))
			return true;
	}
	return false;
}

bool tables_drops_hide_partition(const struct tables_drops *drops, uint64_t source_drop_id, uint16_t partition)
{
	for (size_t i = 0; i < drops->count; i++) {
		const struct tables_drop *item = &drops->items[i];

		if (item->id > source_drop_id &&
		    partition_is_within(partition, buffer_slice(&item->begin), buffer_slice(&item->end)))
			return true;
	}
	return false;
}

/* The tables, sorted, cut into runs. */
static void fill(struct tables *tables, struct manifest_table *const *sorted, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct tables_run *run = tables->run_count ? &tables->runs[tables->run_count - 1] : NULL;

		if (run == NULL || run->level != sorted[i]->level || run->id != sorted[i]->run) {
			run = &tables->runs[tables->run_count++];
			run->level = sorted[i]->level;
			run->id = sorted[i]->run;
			run->ssts = &tables->ssts[i];
		}
		assert(sorted[i]->sst != NULL);
		tables->ssts[i] = sorted[i]->sst;
		sst_ref(sorted[i]->sst);
		run->table_count++;
		run->bytes += sorted[i]->meta.size;
	}
	tables->table_count = count;
	/* T1; T2 is what tables_check_runs saw of the manifest, and what jobs keep to. */
	for (size_t i = 1; i < tables->run_count; i++) {
		const struct tables_run *newer = &tables->runs[i - 1], *older = &tables->runs[i];

		assert(newer->level <= older->level);
		assert(newer->level < older->level || newer->id > older->id);
		assert(newer->ssts + newer->table_count == older->ssts);
	}
}

int tables_create(const struct manifest_state *state, struct tables **out)
{
	size_t count = state->table_count;
	struct tables *tables = calloc(1, sizeof *tables + count * sizeof tables->runs[0]);
	struct manifest_table **sorted = malloc((count + 1) * sizeof(struct manifest_table *));
	int error = tables != NULL && sorted != NULL ? drops_create(state, &tables->drops) : -ENOMEM;

	if (error == 0 && (tables->ssts = malloc((count + 1) * sizeof(struct sst *))) == NULL)
		error = -ENOMEM;
	if (error) {
		if (tables != NULL && tables->drops != NULL)
			tables_drops_unref(&tables->drops);
		free(tables);
		free(sorted);
		return error;
	}
	atomic_init(&tables->refs, 1);
	if (count)
		memcpy(sorted, state->tables, count * sizeof(struct manifest_table *));
	qsort(sorted, count, sizeof(struct manifest_table *), by_place);
	fill(tables, sorted, count);
	tables->quarantine = quarantine_ref(state->quarantine);
	free(sorted);
	*out = tables;
	return 0;
}

static bool overlaps_next(const struct tables_run *run, size_t index)
{
	return format_compare(sst_largest(run->ssts[index]), sst_smallest(run->ssts[index + 1])) >= 0;
}

int tables_check_runs(const struct tables *tables, const char *directory, struct engine_error *error_out)
{
	for (size_t i = 0; i < tables->run_count; i++) {
		const struct tables_run *run = &tables->runs[i];

		for (size_t j = 0; j + 1 < run->table_count; j++)
			if (overlaps_next(run, j))
				return format_error(
					error_out, -EBADMSG,
					"%s: the manifest names tables %" PRIu64 " and %" PRIu64
					" in one run, and they overlap: restore the store from a backup, or "
					"empty it and refill it from its replicas",
					directory, run->ssts[j]->meta.number, run->ssts[j + 1]->meta.number);
	}
	return 0;
}

void tables_ref(struct tables *tables)
{
	uint32_t before = atomic_fetch_add_explicit(&tables->refs, 1, memory_order_relaxed);

	assert(before > 0);
}

void tables_unref(struct tables **tables)
{
	struct tables *it = *tables;

	*tables = NULL;
	assert(it == NULL || atomic_load_explicit(&it->refs, memory_order_relaxed) > 0);
	if (it == NULL || atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < it->table_count; i++)
		sst_unref(&it->ssts[i]);
	tables_drops_unref(&it->drops);
	quarantine_unref(&it->quarantine);
	free(it->ssts);
	free(it);
}

size_t tables_run_find(struct sst *const *tables, size_t table_count, struct engine_slice key)
{
	size_t low = 0, high = table_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (format_compare(sst_largest(tables[middle]), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The table of the run that can hold the key, or NULL. */
static struct sst *candidate(const struct tables *tables, const struct tables_run *run, struct engine_slice key)
{
	size_t at = tables_run_find(run->ssts, run->table_count, key);
	struct sst *sst = at < run->table_count ? run->ssts[at] : NULL;

	if (sst == NULL || format_compare(key, sst_smallest(sst)) < 0)
		return NULL;
	if (tables->drops->count && tables_drops_hide(tables->drops, sst->meta.drop_id, key))
		return NULL;
	return sst;
}

/* Filters of several runs are fetched at once: each is a cache miss, and most say no. */
int tables_get(const struct tables *tables, struct engine_slice key, uint64_t key_hash, struct read_stats *stats,
	       struct engine_value *value_out, struct engine_error *error_out)
{
	for (size_t first = 0; first < tables->run_count; first += GET_TOGETHER) {
		size_t left = tables->run_count - first, count = 0;
		struct sst *candidates[GET_TOGETHER];

		for (size_t i = 0; i < left && i < GET_TOGETHER; i++) {
			struct sst *sst = candidate(tables, &tables->runs[first + i], key);

			if (sst != NULL) {
				sst_prefetch_filter(sst, key_hash);
				candidates[count++] = sst;
			}
		}
		for (size_t i = 0; i < count; i++) {
			int found = sst_get(candidates[i], key, key_hash, stats, value_out, error_out);

			if (found != LOOKUP_ABSENT)
				return found;
		}
	}
	return LOOKUP_ABSENT;
}
