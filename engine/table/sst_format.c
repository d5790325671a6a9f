/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/table/sst_format.h"
#include "engine/disk/buffer.h"

#include <errno.h>
#include <lz4.h>
#include <zstd.h>

enum { ZSTD_LEVEL = 1 };

void table_meta_fini(struct table_meta *meta)
{
	buffer_fini(&meta->smallest);
	buffer_fini(&meta->largest);
}

int table_meta_copy(const struct table_meta *meta, struct table_meta *out)
{
	int error;

	*out = *meta;
	out->smallest = out->largest = (struct buffer){0};
	error = buffer_assign(&out->smallest, buffer_slice(&meta->smallest));
	if (error == 0)
		error = buffer_assign(&out->largest, buffer_slice(&meta->largest));
	if (error)
		table_meta_fini(out);
	return error;
}

static uint8_t *put_handle(uint8_t *out, struct sst_handle handle)
{
	format_u64_put(out, handle.offset);
	format_u64_put(out + 8, handle.size);
	return out + 16;
}

static struct sst_handle get_handle(const uint8_t *bytes)
{
	return (struct sst_handle){format_u64(bytes), format_u64(bytes + 8)};
}

void sst_footer_write(uint8_t out[SST_FOOTER], const struct sst_footer *footer, uint64_t number, uint64_t offset)
{
	memset(out, 0, SST_FOOTER);
	put_handle(put_handle(put_handle(out, footer->filter), footer->top), footer->properties);
	format_u64_put(out + 64, format_checksum(out, 64, number, offset));
	memcpy(out + 72, "kvr:end", 8);
}

static bool handle_is_sound(struct sst_handle handle, uint64_t limit)
{
	return handle.size <= SST_PART_MAX && handle.offset <= limit &&
	       handle.size + SST_TRAILER <= limit - handle.offset;
}

int sst_footer_read(const uint8_t bytes[SST_FOOTER], uint64_t number, uint64_t offset, struct sst_footer *out)
{
	if (memcmp(bytes + 72, "kvr:end", 8) != 0 ||
	    format_u64(bytes + 64) != format_checksum(bytes, 64, number, offset))
		return -EBADMSG;
	out->filter = get_handle(bytes);
	out->top = get_handle(bytes + 16);
	out->properties = get_handle(bytes + 32);
	if ((out->filter.size && !handle_is_sound(out->filter, offset)) || !handle_is_sound(out->top, offset) ||
	    !handle_is_sound(out->properties, offset))
		return -EBADMSG;
	return 0;
}

/* No codec here expands more than this many times; a larger claim is a lie that must not reach malloc. */
static bool raw_size_is_sound(uint64_t size, uint32_t raw_size, enum engine_compression compression)
{
	if (raw_size > SST_PART_MAX)
		return false;
	switch (compression) {
	case ENGINE_COMPRESSION_NONE:
		return raw_size == size;
	case ENGINE_COMPRESSION_LZ4:
		return raw_size <= size * 255;
	case ENGINE_COMPRESSION_ZSTD:
		return raw_size <= size * 131072;
	}
	return false;
}

int sst_part_check(const uint8_t *part, uint64_t size, uint64_t number, uint64_t offset, uint32_t *raw_size_out,
		   enum engine_compression *compression_out)
{
	const uint8_t *trailer = part + size;

	if (format_u64(trailer + 8) != format_checksum(part, size + 8, number, offset))
		return -EBADMSG;
	*compression_out = trailer[0];
	*raw_size_out = format_u32(trailer + 4);
	return raw_size_is_sound(size, *raw_size_out, *compression_out) ? 0 : -EBADMSG;
}

int sst_part_expand(const uint8_t *part, uint64_t size, enum engine_compression compression, uint8_t *out,
		    uint32_t raw_size)
{
	if (compression == ENGINE_COMPRESSION_NONE) {
		memcpy(out, part, raw_size);
		return 0;
	}
	if (compression == ENGINE_COMPRESSION_LZ4) {
		int got = LZ4_decompress_safe((const char *)part, (char *)out, (int)size, (int)raw_size);

		return got == (int)raw_size ? 0 : -EBADMSG;
	}
	size_t got = ZSTD_decompress(out, raw_size, part, size);

	return !ZSTD_isError(got) && got == raw_size ? 0 : -EBADMSG;
}

/* The compressed size, or 0 when compressing gains less than an eighth. */
static size_t compress(const void *raw, size_t raw_size, enum engine_compression compression, uint8_t *out, size_t room)
{
	size_t size = 0;

	if (compression == ENGINE_COMPRESSION_LZ4)
		size = (size_t)LZ4_compress_default(raw, (char *)out, (int)raw_size, (int)room);
	else if (compression == ENGINE_COMPRESSION_ZSTD)
		size = ZSTD_compress(out, room, raw, raw_size, ZSTD_LEVEL);
	return ZSTD_isError(size) ? 0 : size;
}

int sst_part_append(struct buffer *out, const void *raw, size_t raw_size, enum engine_compression compression,
		    uint64_t number, uint64_t offset, uint64_t *size_out)
{
	size_t room = raw_size - raw_size / 8, size = 0;
	uint8_t *part, *trailer;
	int error = buffer_reserve(out, raw_size + SST_TRAILER);

	if (error)
		return error;
	part = out->data + out->size;
	if (compression != ENGINE_COMPRESSION_NONE)
		size = compress(raw, raw_size, compression, part, room);
	if (!size) {
		compression = ENGINE_COMPRESSION_NONE;
		size = raw_size;
		memcpy(part, raw, raw_size);
	}
	trailer = part + size;
	memset(trailer, 0, SST_TRAILER);
	trailer[0] = (uint8_t)compression;
	format_u32_put(trailer + 4, (uint32_t)raw_size);
	format_u64_put(trailer + 8, format_checksum(part, size + 8, number, offset));
	out->size += size + SST_TRAILER;
	*size_out = size;
	return 0;
}
