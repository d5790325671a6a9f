/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state/version.h"

#include <errno.h>
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

static int drops_create(const struct manifest_state *state, struct version_drops **out)
{
	struct version_drops *drops = calloc(1, sizeof(*drops) + state->drop_count * sizeof(drops->items[0]));

	if (!drops)
		return -ENOMEM;
	atomic_init(&drops->refs, 1);
	for (size_t i = 0; i < state->drop_count; i++) {
		struct version_drop *item = &drops->items[drops->count++];

		item->id = state->drops[i].id;
		if (buffer_assign(&item->begin, buffer_slice(&state->drops[i].begin)) ||
		    buffer_assign(&item->end, buffer_slice(&state->drops[i].end))) {
			version_drops_unref(&drops);
			return -ENOMEM;
		}
	}
	*out = drops;
	return 0;
}

void version_drops_unref(struct version_drops **drops)
{
	struct version_drops *it = *drops;

	*drops = NULL;
	if (!it || atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < it->count; i++) {
		buffer_fini(&it->items[i].begin);
		buffer_fini(&it->items[i].end);
	}
	free(it);
}

bool version_drops_hide(const struct version_drops *drops, uint64_t source_drop_id, struct engine_slice key)
{
	for (size_t i = 0; i < drops->count; i++) {
		const struct version_drop *item = &drops->items[i];

		if (item->id > source_drop_id && format_compare(buffer_slice(&item->begin), key) <= 0 &&
		    (!item->end.size || format_compare(key, buffer_slice(&item->end)) < 0))
			return true;
	}
	return false;
}

bool version_drops_hide_partition(const struct version_drops *drops, uint64_t source_drop_id, uint16_t partition)
{
	for (size_t i = 0; i < drops->count; i++) {
		const struct version_drop *item = &drops->items[i];

		if (item->id > source_drop_id &&
		    quarantine_covers(buffer_slice(&item->begin), buffer_slice(&item->end), partition))
			return true;
	}
	return false;
}

/* The tables, sorted, cut into runs. */
static void fill(struct version *version, struct manifest_table *const *sorted, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct version_run *run = version->run_count ? &version->runs[version->run_count - 1] : NULL;

		if (!run || run->level != sorted[i]->level || run->id != sorted[i]->run) {
			run = &version->runs[version->run_count++];
			run->level = sorted[i]->level;
			run->id = sorted[i]->run;
			run->tables = &version->tables[i];
		}
		version->tables[i] = sorted[i]->sst;
		sst_ref(sorted[i]->sst);
		run->table_count++;
		run->bytes += sorted[i]->meta.size;
	}
	version->table_count = count;
}

int version_create(const struct manifest_state *state, struct version **out)
{
	size_t count = state->table_count;
	struct version *version = calloc(1, sizeof(*version) + count * sizeof(version->runs[0]));
	struct manifest_table **sorted = malloc((count + 1) * sizeof(struct manifest_table *));
	int rc = version && sorted ? drops_create(state, &version->drops) : -ENOMEM;

	if (rc == 0 && !(version->tables = malloc((count + 1) * sizeof(struct sst *))))
		rc = -ENOMEM;
	if (rc) {
		if (version && version->drops)
			version_drops_unref(&version->drops);
		free(version);
		free(sorted);
		return rc;
	}
	atomic_init(&version->refs, 1);
	if (count)
		memcpy(sorted, state->tables, count * sizeof(struct manifest_table *));
	qsort(sorted, count, sizeof(struct manifest_table *), by_place);
	fill(version, sorted, count);
	version->quarantine = quarantine_ref(state->quarantine);
	free(sorted);
	*out = version;
	return 0;
}

void version_ref(struct version *version)
{
	atomic_fetch_add_explicit(&version->refs, 1, memory_order_relaxed);
}

void version_unref(struct version **version)
{
	struct version *it = *version;

	*version = NULL;
	if (!it || atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < it->table_count; i++)
		sst_unref(&it->tables[i]);
	version_drops_unref(&it->drops);
	quarantine_unref(&it->quarantine);
	free(it->tables);
	free(it);
}

size_t version_run_find(struct sst *const *tables, size_t table_count, struct engine_slice key)
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
static struct sst *candidate(const struct version *version, const struct version_run *run, struct engine_slice key)
{
	size_t at = version_run_find(run->tables, run->table_count, key);
	struct sst *sst = at < run->table_count ? run->tables[at] : NULL;

	if (!sst || format_compare(key, sst_smallest(sst)) < 0)
		return NULL;
	if (version->drops->count && version_drops_hide(version->drops, sst->meta.drop_id, key))
		return NULL;
	return sst;
}

/* Filters of several runs are fetched at once: each is a cache miss, and most say no. */
int version_get(const struct version *version, struct engine_slice key, uint64_t key_hash, struct read_stats *stats,
		struct engine_value *value_out, struct engine_error *error_out)
{
	for (size_t first = 0; first < version->run_count; first += GET_TOGETHER) {
		size_t left = version->run_count - first, count = 0;
		struct sst *candidates[GET_TOGETHER];

		for (size_t i = 0; i < left && i < GET_TOGETHER; i++) {
			struct sst *sst = candidate(version, &version->runs[first + i], key);

			if (sst) {
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
