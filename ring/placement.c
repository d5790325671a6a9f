/* SPDX-License-Identifier: Apache-2.0 */
#define XXH_STATIC_LINKING_ONLY /* XXH3_state_t on the stack */
#include "ring/document.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include <xxhash.h>

enum { SHORT_SIZE = 512 }; /* bytes of length, bucket and key that are hashed in one call */

static const char DEFAULT_BUCKET[] = "default";

/* The length in front keeps ("ab", "c") and ("a", "bc") apart. */
static uint64_t hash_long(uint64_t seed, uint32_t prefix, const void *bucket, size_t bucket_size, const void *key,
			  size_t key_size)
{
	XXH3_state_t state;

	XXH3_INITSTATE(&state); /* or what stands on the stack decides which secret is used */
	XXH3_64bits_reset_withSeed(&state, seed);
	XXH3_64bits_update(&state, &prefix, sizeof prefix);
	XXH3_64bits_update(&state, bucket, bucket_size);
	XXH3_64bits_update(&state, key, key_size);
	return XXH3_64bits_digest(&state);
}

static uint64_t hash_key(uint64_t seed, const void *bucket, size_t bucket_size, const void *key, size_t key_size)
{
	uint8_t bytes[SHORT_SIZE];
	uint32_t prefix = htole32((uint32_t)bucket_size);

	if (bucket_size > sizeof bytes || key_size > sizeof bytes ||
	    sizeof prefix + bucket_size + key_size > sizeof bytes)
		return hash_long(seed, prefix, bucket, bucket_size, key, key_size);
	memcpy(bytes, &prefix, sizeof prefix);
	memcpy(bytes + sizeof prefix, bucket, bucket_size);
	if (key_size)
		memcpy(bytes + sizeof prefix + bucket_size, key, key_size);
	return XXH3_64bits_withSeed(bytes, sizeof prefix + bucket_size + key_size, seed);
}

uint32_t ring_partition_of(const struct ring_document *document, const void *bucket, size_t bucket_size,
			   const void *key, size_t key_size)
{
	uint32_t partition;

	if (bucket_size == 0) {
		bucket = DEFAULT_BUCKET;
		bucket_size = sizeof(DEFAULT_BUCKET) - 1;
	}
	partition = (uint32_t)(hash_key(document->hash_seed, bucket, bucket_size, key, key_size) >>
			       document->partition_shift);
	assert(partition < document->partition_count);
	return partition;
}

uint32_t ring_owners(const struct ring_document *document, uint32_t partition, uint32_t datacenter_index,
		     const uint16_t **members_out)
{
	const struct owner_table *table = &document->owners[datacenter_index];

	assert(partition < document->partition_count);
	assert(datacenter_index < document->datacenter_count);
	*members_out = table->width ? table->rows + (size_t)partition * table->width : NULL;
	return table->width;
}

uint32_t ring_old_owners(const struct ring_document *document, uint32_t partition, uint32_t datacenter_index,
			 const uint16_t **members_out)
{
	const struct owner_table *table = &document->old_owners[datacenter_index];
	uint32_t count;

	assert(partition < document->partition_count);
	assert(datacenter_index < document->datacenter_count);
	*members_out = table->width ? table->rows + (size_t)partition * table->width : NULL;
	count = table->width;
	while (count > 0 && (*members_out)[count - 1] == RING_NOBODY)
		count--;
	return count;
}

static bool row_has(const uint16_t *row, uint32_t count, uint32_t member)
{
	for (uint32_t i = 0; i < count; i++)
		if (row[i] == member)
			return true;
	return false;
}

bool ring_owns(const struct ring_document *document, uint32_t partition, uint32_t member_index)
{
	uint32_t datacenter_index = ring_member_datacenter(document, member_index);
	const uint16_t *row;
	uint32_t count = ring_owners(document, partition, datacenter_index, &row);

	if (row_has(row, count, member_index))
		return true;
	count = ring_old_owners(document, partition, datacenter_index, &row);
	return row_has(row, count, member_index);
}

uint32_t ring_fallbacks(const struct ring_document *document, uint32_t partition, uint32_t datacenter_index,
			uint16_t *members_out, uint32_t max)
{
	const struct owner_table *table = &document->owners[datacenter_index];
	uint32_t others, count = 0;
	const uint16_t *row, *own;

	/* Dynamo 4.6: "performed on the first N healthy nodes from the preference list, which may not always be the
	 * first N nodes encountered while walking the consistent hashing ring". The list goes on where the partition's
	 * own row ends. */
	if (table->width == 0)
		return 0;
	ring_owners(document, partition, datacenter_index, &own);
	assert(document->holder_count[datacenter_index] >= table->width);
	others = document->holder_count[datacenter_index] - table->width;
	if (max > others)
		max = others;
	for (uint32_t step = 1; step < document->partition_count && count < max; step++) {
		ring_owners(document, (partition + step) & (document->partition_count - 1), datacenter_index, &row);
		for (uint32_t i = 0; i < table->width && count < max; i++)
			if (!row_has(own, table->width, row[i]) && !row_has(members_out, count, row[i]))
				members_out[count++] = row[i];
	}
	return count;
}
