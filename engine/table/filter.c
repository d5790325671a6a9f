/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/table/filter.h"

#include <assert.h>

size_t filter_size(uint64_t key_count, uint32_t bits_per_key)
{
	return (size_t)((key_count * bits_per_key + FILTER_LINE * 8 - 1) / (FILTER_LINE * 8) * FILTER_LINE);
}

/* The optimum for an unblocked filter is bits x ln 2; a blocked one wants slightly fewer. */
uint32_t filter_probes(uint32_t bits_per_key)
{
	uint32_t probes = bits_per_key * 6 / 10;

	return probes < 1 ? 1 : probes > 12 ? 12 : probes;
}

/* The low half chooses the line; the high half, stirred once per probe, gives 9 bits at a time. */
void filter_add(uint8_t *lines, size_t size, uint32_t probes, uint64_t key_hash)
{
	uint8_t *line = (uint8_t *)filter_line(lines, size, key_hash);
	uint32_t bits = (uint32_t)(key_hash >> 32);

	assert(size > 0 && size % FILTER_LINE == 0);
	assert(probes >= 1 && probes <= 12);
	for (uint32_t i = 0; i < probes; i++) {
		bits *= 0x9e3779b9u;
		line[bits >> 26] |= (uint8_t)(1u << (bits >> 23 & 7));
	}
}

/* No early exit: the line is one cache miss anyway, and where to leave could not be predicted. */
bool filter_may_contain(const uint8_t *lines, size_t size, uint32_t probes, uint64_t key_hash)
{
	uint32_t bits = (uint32_t)(key_hash >> 32);
	const uint8_t *line;
	uint8_t all = 1;

	if (!size)
		return true;
	line = filter_line(lines, size, key_hash);
	for (uint32_t i = 0; i < probes; i++) {
		bits *= 0x9e3779b9u;
		all &= (uint8_t)(line[bits >> 26] >> (bits >> 23 & 7));
	}
	return all;
}
