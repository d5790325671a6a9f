/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/latest.h"

#include <stdlib.h>
#include <xxhash.h>

/* Keys are told apart by 128 bits of hash: with 2^40 keys two of them meet once in 2^48 inputs. */
struct entry {
	XXH128_hash_t hash;
	uint64_t end_offset; /* of the last record; 0: free */
};

struct latest {
	struct entry *entries;
	size_t entry_count, used;
};

static struct entry *find(struct entry *entries, size_t entry_count, XXH128_hash_t hash)
{
	size_t mask = entry_count - 1, at = hash.low64 & mask;
	while (entries[at].end_offset && !XXH128_isEqual(entries[at].hash, hash))
		at = (at + 1) & mask;
	return &entries[at];
}

static void grow(struct latest *latest)
{
	size_t wanted = latest->entry_count ? 2 * latest->entry_count : 1024;
	struct entry *entries = calloc(wanted, sizeof *entries);
	if (entries == NULL)
		abort();
	for (size_t i = 0; i < latest->entry_count; i++)
		if (latest->entries[i].end_offset)
			*find(entries, wanted, latest->entries[i].hash) = latest->entries[i];
	free(latest->entries);
	latest->entries = entries;
	latest->entry_count = wanted;
}

static void note(struct latest *latest, const struct record *record)
{
	if (2 * (latest->used + 1) > latest->entry_count)
		grow(latest);
	XXH128_hash_t hash = XXH3_128bits(record->key, record->key_size);
	struct entry *entry = find(latest->entries, latest->entry_count, hash);
	latest->used += !entry->end_offset;
	*entry = (struct entry){.hash = hash, .end_offset = record->end_offset};
}

int latest_open(const char *path, enum record_format format, struct latest **out, struct rpc_error *error_out)
{
	struct records *records;
	int found = records_open(path, format, 0, 0, &records, error_out);
	if (found < 0)
		return found;
	struct latest *latest = calloc(1, sizeof *latest);
	if (latest == NULL)
		abort();
	struct record record;
	while ((found = records_next(records, &record, error_out)) == 1) {
		note(latest, &record);
		record_free(&record);
	}
	records_close(&records);
	if (found < 0)
		latest_close(&latest);
	else
		*out = latest;
	return found;
}

void latest_close(struct latest **latest_inout)
{
	struct latest *latest = *latest_inout;
	*latest_inout = NULL;
	if (latest == NULL)
		return;
	free(latest->entries);
	free(latest);
}

bool latest_is_last(const struct latest *latest, const struct record *record)
{
	XXH128_hash_t hash = XXH3_128bits(record->key, record->key_size);
	return find(latest->entries, latest->entry_count, hash)->end_offset == record->end_offset;
}
