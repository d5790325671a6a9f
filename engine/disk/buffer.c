/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/disk/format.h"

void buffer_fini(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){0};
}

int buffer_reserve(struct buffer *buffer, size_t extra)
{
	size_t capacity = buffer->capacity ? buffer->capacity : 64;
	uint8_t *data;

	if (extra <= buffer->capacity - buffer->size)
		return 0;
	if (extra > SIZE_MAX / 4 - buffer->size)
		return -ENOMEM;
	while (capacity < buffer->size + extra)
		capacity *= 2;
	data = realloc(buffer->data, capacity);
	if (data == NULL)
		return -ENOMEM;
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t size)
{
	int error = buffer_reserve(buffer, size);

	if (error == 0 && size) {
		memcpy(buffer->data + buffer->size, data, size);
		buffer->size += size;
	}
	return error;
}

int buffer_append_u64(struct buffer *buffer, uint64_t value)
{
	uint8_t bytes[8];

	format_u64_put(bytes, value);
	return buffer_append(buffer, bytes, sizeof bytes);
}

int buffer_append_varint(struct buffer *buffer, uint64_t value)
{
	uint8_t bytes[FORMAT_VARINT_MAX];

	return buffer_append(buffer, bytes, (size_t)(format_varint_put(bytes, value) - bytes));
}

int buffer_append_slice(struct buffer *buffer, struct engine_slice slice)
{
	int error = buffer_append_varint(buffer, slice.size);

	return error ? error : buffer_append(buffer, slice.data, slice.size);
}

int buffer_assign(struct buffer *buffer, struct engine_slice slice)
{
	int error;

	buffer->size = 0;
	error = buffer_append(buffer, slice.data, slice.size);
	return error;
}

uint64_t buffer_read_varint(struct buffer_reader *reader)
{
	uint64_t value = 0;
	const uint8_t *next = reader->bad ? NULL : format_varint_get(reader->at, reader->end, &value);

	if (next == NULL) {
		reader->bad = true;
		return 0;
	}
	reader->at = next;
	return value;
}

uint64_t buffer_read_u64(struct buffer_reader *reader)
{
	struct engine_slice bytes = buffer_read_bytes(reader, 8);

	return bytes.size ? format_u64(bytes.data) : 0;
}

struct engine_slice buffer_read_bytes(struct buffer_reader *reader, size_t size)
{
	struct engine_slice slice = {0};

	if (reader->bad || size > (size_t)(reader->end - reader->at)) {
		reader->bad = true;
		return slice;
	}
	slice.data = reader->at;
	slice.size = size;
	reader->at += size;
	return slice;
}

struct engine_slice buffer_read_slice(struct buffer_reader *reader)
{
	uint64_t size = buffer_read_varint(reader);

	return buffer_read_bytes(reader, size);
}
