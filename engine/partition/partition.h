/* SPDX-License-Identifier: Apache-2.0 */
/* Partition: the first two bytes of a key, big endian, so that partitions are in the order of their keys.
 *
 * Threading   Pure functions.
 * Ownership   A slice borrows the bytes that it is given.
 * Errors      None: bytes that a key does not have count as zero.
 */
#ifndef KVRING_ENGINE_PARTITION_H
#define KVRING_ENGINE_PARTITION_H

#include "engine/disk/format.h"

enum { PARTITION_SIZE = 2 /* bytes */ };

static inline uint16_t partition_of(struct engine_slice key)
{
	const uint8_t *bytes = key.data;
	return (uint16_t)((key.size > 0 ? bytes[0] << 8 : 0) | (key.size > 1 ? bytes[1] : 0));
}

/* The least key of the partition, in `bytes`. */
static inline struct engine_slice partition_start(uint16_t partition, uint8_t bytes[PARTITION_SIZE])
{
	bytes[0] = (uint8_t)(partition >> 8);
	bytes[1] = (uint8_t)partition;
	return (struct engine_slice){bytes, PARTITION_SIZE};
}

/* Are all its keys in [begin, end)? end empty: no end. */
static inline bool partition_is_within(uint16_t partition, struct engine_slice begin, struct engine_slice end)
{
	uint8_t first[PARTITION_SIZE], next[PARTITION_SIZE];
	if (format_compare(begin, partition_start(partition, first)) > 0)
		return false;
	/* Nothing follows the last partition but the end of all keys. */
	return end.size == 0 ||
	       (partition < UINT16_MAX && format_compare(end, partition_start((uint16_t)(partition + 1), next)) >= 0);
}

#endif
