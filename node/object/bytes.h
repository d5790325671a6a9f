/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes: bounded reading and unchecked writing of the integers in our formats.
 *
 * Varints are LEB128 in their shortest form; a longer one is refused, so that equal values are equal bytes. What is ordered
 * by its bytes, as keys are, is big endian (_be); the rest is little endian.
 *
 * Numbers of node/ become bytes here and nowhere else. ring/ and engine/ include nothing of other rooms, and their formats
 * differ (fixed sizes; varints that may be long): they have their own, in ring/encoding.c and engine/disk/format.h.
 *
 * Threading   Pure functions.
 * Ownership   The reader borrows its bytes.
 * Errors      Readers return false past the end or on a varint that is not the shortest; `at` then stands on the bad
 *             field.
 */
#ifndef KVRING_NODE_BYTES_H
#define KVRING_NODE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BYTES_VARINT_MAX = 10 };

struct bytes_reader {
	const uint8_t *start, *at, *end;
};

static inline size_t bytes_left(const struct bytes_reader *reader)
{
	return (size_t)(reader->end - reader->at);
}

static inline size_t bytes_offset(const struct bytes_reader *reader)
{
	return (size_t)(reader->at - reader->start);
}

static inline bool bytes_get_u8(struct bytes_reader *reader, uint8_t *out)
{
	if (reader->at == reader->end)
		return false;
	*out = *reader->at++;
	return true;
}

/* These bytes are known to be there. */
static inline uint64_t bytes_u64_at(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof value);
	return le64toh(value);
}

static inline uint32_t bytes_u32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof value);
	return le32toh(value);
}

static inline uint16_t bytes_be16_at(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline bool bytes_get_u64(struct bytes_reader *reader, uint64_t *out)
{
	if (bytes_left(reader) < sizeof *out)
		return false;
	*out = bytes_u64_at(reader->at);
	reader->at += sizeof *out;
	return true;
}

static inline bool bytes_get_varint(struct bytes_reader *reader, uint64_t *out)
{
	const uint8_t *at = reader->at;
	uint64_t value = 0;

	for (unsigned shift = 0; at < reader->end && shift < 64; shift += 7) {
		uint8_t byte = *at++;

		if (shift == 63 && byte > 1)
			return false; /* past 64 bits */
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if (byte == 0 && shift > 0)
			return false; /* not the shortest form */
		*out = value;
		reader->at = at;
		return true;
	}
	return false;
}

static inline bool bytes_get(struct bytes_reader *reader, void *out, size_t size)
{
	if (bytes_left(reader) < size)
		return false;
	memcpy(out, reader->at, size);
	reader->at += size;
	return true;
}

static inline size_t bytes_varint_size(uint64_t value)
{
	return value < 0x80 ? 1 : (size_t)(63 - __builtin_clzll(value)) / 7 + 1;
}

static inline uint8_t *bytes_put_be16(uint8_t *at, uint16_t value)
{
	*at++ = (uint8_t)(value >> 8);
	*at++ = (uint8_t)value;
	return at;
}

static inline uint8_t *bytes_put_u32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static inline uint8_t *bytes_put_u64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static inline uint8_t *bytes_put_varint(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static inline uint8_t *bytes_put(uint8_t *at, const void *data, size_t size)
{
	if (size > 0)
		memcpy(at, data, size);
	return at + size;
}

/* Small numbers of either sign as small unsigned ones; wraps, so every difference of two u64 survives. */
static inline uint64_t bytes_zigzag(uint64_t difference)
{
	return (difference << 1) ^ (0 - (difference >> 63));
}

static inline uint64_t bytes_unzigzag(uint64_t value)
{
	return (value >> 1) ^ (0 - (value & 1));
}

#endif
