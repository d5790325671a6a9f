/* SPDX-License-Identifier: Apache-2.0 */
/* Format: the bytes that all files of the engine have in common. Numbers become bytes here and nowhere else in the engine,
 * which includes nothing of other rooms.
 *
 * Numbers are little endian. Varints are 7 bits per byte, low bits first, at most 10 bytes. Every file begins with
 *
 *     0  magic[8]   which kind of file: "kvr:log", "kvr:tab", "kvr:man", "kvr:tre", "kvr:sto", NUL terminated
 *     8  version    u32, FORMAT_VERSION
 *     12 shard      u32
 *     16 number     u64, the file number (E5: never used twice)
 *     24 a, b       2 x u64, the meaning is the kind's
 *     40 checksum   u64, XXH3 of the 40 bytes before
 *
 * Threading   Pure functions.
 * Errors      -EBADMSG damaged bytes, -ENOTSUP another version, -ENOMEM. error texts go to a person; error may be NULL.
 */
#ifndef KVRING_ENGINE_FORMAT_H
#define KVRING_ENGINE_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "engine/engine.h"

enum { FORMAT_VERSION = 2, FORMAT_HEADER_SIZE = 48, FORMAT_VARINT_MAX = 10 };

#define FORMAT_LOG      "kvr:log"
#define FORMAT_TABLE    "kvr:tab"
#define FORMAT_MANIFEST "kvr:man"
#define FORMAT_TREE     "kvr:tre"
#define FORMAT_STORE    "kvr:sto"

/* Kinds of entry, in logs, memtables and tables. */
enum entry_type {
	ENTRY_PUT = 0,
	ENTRY_DELETE = 1,
	ENTRY_VALUE_REFERENCE = 2, /* reserved: the value lives in a value log */
};

struct format_header {
	uint32_t shard;
	uint64_t number;
	uint64_t a, b;
};

void format_header_write(uint8_t out[FORMAT_HEADER_SIZE], const char *magic, const struct format_header *);
/* path only names the file in error_out. -EBADMSG when the checksum is wrong or size is too small. */
ENGINE_OK int format_header_read(const uint8_t *bytes, size_t size, const char *magic, const char *path,
				 struct format_header *out, struct engine_error *error_out);

/* XXH3 of the bytes, tied to their place: bytes written to another file or offset do not verify. */
uint64_t format_checksum(const void *data, size_t size, uint64_t file_number, uint64_t offset);

/* Returns code, having described it. */
int format_error(struct engine_error *error_out, int code, const char *text, ...) __attribute__((format(printf, 3, 4)));

uint8_t *format_varint_put(uint8_t *out, uint64_t value);
/* NULL when the bytes end first or the number does not fit. */
const uint8_t *format_varint_get(const uint8_t *bytes, const uint8_t *end, uint64_t *value_out);

/* One that format_varint_get has taken before: unchecked. */
static inline const uint8_t *format_varint_sound(const uint8_t *at, uint64_t *value_out)
{
	uint64_t value = *at & 0x7f;

	for (unsigned shift = 7; *at++ & 0x80; shift += 7)
		value |= (uint64_t)(*at & 0x7f) << shift;
	*value_out = value;
	return at;
}

static inline void format_u16_put(void *out, uint16_t value)
{
	value = htole16(value);
	memcpy(out, &value, sizeof value);
}

static inline void format_u32_put(void *out, uint32_t value)
{
	value = htole32(value);
	memcpy(out, &value, sizeof value);
}

static inline void format_u64_put(void *out, uint64_t value)
{
	value = htole64(value);
	memcpy(out, &value, sizeof value);
}

static inline uint16_t format_u16(const void *bytes)
{
	uint16_t value;

	memcpy(&value, bytes, sizeof value);
	return le16toh(value);
}

static inline uint32_t format_u32(const void *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof value);
	return le32toh(value);
}

static inline uint64_t format_u64(const void *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof value);
	return le64toh(value);
}

/* Order of keys: bytes, then length. */
static inline int format_compare(struct engine_slice a, struct engine_slice b)
{
	size_t size = a.size < b.size ? a.size : b.size;
	int order = size ? memcmp(a.data, b.data, size) : 0;

	if (order)
		return order;
	return a.size < b.size ? -1 : a.size > b.size;
}

/* The 8 bytes from offset on as a number that orders like the bytes; a key that ends before counts as zeros there. */
static inline uint64_t format_prefix(struct engine_slice key, size_t offset)
{
	uint64_t word = 0;

	if (key.size >= offset + 8) {
		memcpy(&word, (const uint8_t *)key.data + offset, 8);
		return be64toh(word);
	}
	if (key.size > offset)
		memcpy(&word, (const uint8_t *)key.data + offset, key.size - offset);
	return be64toh(word);
}

static inline size_t format_common_prefix(struct engine_slice a, struct engine_slice b)
{
	const uint8_t *x = a.data, *y = b.data;
	size_t size = a.size < b.size ? a.size : b.size, i = 0;

	while (i < size && x[i] == y[i])
		i++;
	return i;
}

#endif
