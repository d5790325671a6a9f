/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/format.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

void format_header_write(uint8_t out[FORMAT_HEADER_SIZE], const char *magic, const struct format_header *header)
{
	memset(out, 0, FORMAT_HEADER_SIZE);
	memcpy(out, magic, strlen(magic));
	format_u32_put(out + 8, FORMAT_VERSION);
	format_u32_put(out + 12, header->shard);
	format_u64_put(out + 16, header->number);
	format_u64_put(out + 24, header->a);
	format_u64_put(out + 32, header->b);
	format_u64_put(out + 40, XXH3_64bits(out, 40));
}

int format_header_read(const uint8_t *bytes, size_t size, const char *magic, const char *path,
		       struct format_header *out, struct engine_error *error_out)
{
	uint32_t version;

	if (size < FORMAT_HEADER_SIZE)
		return format_error(error_out, -EBADMSG, "%s: %zu bytes are too few for a file header (%d)", path, size,
				    FORMAT_HEADER_SIZE);
	if (format_u64(bytes + 40) != XXH3_64bits(bytes, 40))
		return format_error(error_out, -EBADMSG, "%s: the file header (bytes 0 to 47) is damaged", path);
	if (memcmp(bytes, magic, 8) != 0)
		return format_error(error_out, -EBADMSG, "%s: not a file of kind '%s' but '%.8s'", path, magic, bytes);
	version = format_u32(bytes + 8);
	if (version != FORMAT_VERSION)
		return format_error(
			error_out, -ENOTSUP,
			"%s: format version %u, this program reads version %d; use the release that wrote it", path,
			version, FORMAT_VERSION);
	out->shard = format_u32(bytes + 12);
	out->number = format_u64(bytes + 16);
	out->a = format_u64(bytes + 24);
	out->b = format_u64(bytes + 32);
	return 0;
}

/* A plain XXH3 plus a well mixed number of the place: cheaper than a seeded hash, which derives its secret anew. */
uint64_t format_checksum(const void *data, size_t size, uint64_t file_number, uint64_t offset)
{
	uint64_t place = file_number * 0x9e3779b97f4a7c15u ^ (offset + 1) * 0xc2b2ae3d27d4eb4fu;

	place ^= place >> 32;
	place *= 0x165667b19e3779f9u;
	place ^= place >> 29;
	return XXH3_64bits(data, size) + place;
}

int format_error(struct engine_error *error_out, int code, const char *text, ...)
{
	va_list args;

	if (error_out == NULL)
		return code;
	va_start(args, text);
	vsnprintf(error_out->text, sizeof error_out->text, text, args);
	va_end(args);
	return code;
}

uint8_t *format_varint_put(uint8_t *out, uint64_t value)
{
	while (value >= 0x80) {
		*out++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*out++ = (uint8_t)value;
	return out;
}

const uint8_t *format_varint_get(const uint8_t *bytes, const uint8_t *end, uint64_t *value_out)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && bytes < end; shift += 7) {
		uint8_t byte = *bytes++;

		if (shift == 63 && byte > 1)
			return NULL;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*value_out = value;
			return bytes;
		}
	}
	return NULL;
}
