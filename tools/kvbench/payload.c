/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/payload.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

enum { PIECE = 64, HALF = 32 };

void payload_key(uint64_t number, uint8_t key_out[PAYLOAD_KEY_SIZE])
{
	memcpy(key_out, "user", 4);
	for (int i = PAYLOAD_KEY_SIZE - 1; i >= 4; i--, number /= 10)
		key_out[i] = (uint8_t)('0' + number % 10);
}

static void fill_random(struct random *random, uint8_t *out, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t bits = random_next(random);
		memcpy(out + i, &bits, size - i < 8 ? size - i : 8);
	}
}

void payload_fill(uint64_t number, struct random *random, uint8_t *value_out, size_t size)
{
	uint64_t number_le = htole64(number), checksum;
	memcpy(value_out + 8, &number_le, 8);
	for (size_t at = PAYLOAD_VALUE_MIN; at < size; at += PIECE) {
		size_t piece = size - at < PIECE ? size - at : PIECE, half = piece < HALF ? piece : HALF;
		fill_random(random, value_out + at, half);
		memcpy(value_out + at + half, value_out + at, piece - half);
	}
	checksum = htole64(XXH3_64bits(value_out + 8, size - 8));
	memcpy(value_out, &checksum, 8);
}

const char *payload_check(uint64_t number, const uint8_t *value, size_t size)
{
	uint64_t checksum, owner;
	if (size < PAYLOAD_VALUE_MIN)
		return "shorter than any value written by kvbench";
	memcpy(&checksum, value, 8);
	memcpy(&owner, value + 8, 8);
	if (le64toh(checksum) != XXH3_64bits(value + 8, size - 8))
		return "its checksum does not match";
	if (le64toh(owner) != number)
		return "it is the value of another key";
	return NULL;
}
