/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
	VARINT32_MAX = 5, /* bytes: tags and lengths, as protobuf-c has it */
	VARINT64_MAX = 10,
};

int rpc_wire_bad(const struct wire_reader *reader, size_t offset, const char *format, ...)
{
	struct rpc_error *error = reader->error_out;
	if (error == NULL)
		return -EBADMSG;
	int length = snprintf(error->text, sizeof error->text, "%s, byte %zu: ", reader->what, offset);
	if (length < 0 || (size_t)length >= sizeof error->text)
		return -EBADMSG;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error->text + length, sizeof error->text - (size_t)length, format, arguments);
	va_end(arguments);
	return -EBADMSG;
}

static bool read_long_varint(struct wire_reader *reader, unsigned size_max, uint64_t *out)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 7 * size_max; shift += 7) {
		if (reader->at == reader->end)
			return false;
		uint8_t byte = *reader->at++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*out = value;
			return true;
		}
	}
	return false;
}

/* False: cut off, or longer than size_max bytes. Most have one byte. */
static inline bool read_varint(struct wire_reader *reader, unsigned size_max, uint64_t *out)
{
	if (reader->at == reader->end || *reader->at >= 0x80)
		return read_long_varint(reader, size_max, out);
	*out = *reader->at++;
	return true;
}

static int read_bytes(struct wire_reader *reader, struct wire_field *field)
{
	if (!read_varint(reader, VARINT32_MAX, &field->value))
		return rpc_wire_bad(reader, field->offset, "the length of field %" PRIu32 " does not end",
				    field->number);
	uint64_t size = field->value;
	field->value = 0;
	size_t left = (size_t)(reader->end - reader->at);
	if (size > left)
		return rpc_wire_bad(reader, field->offset, "field %" PRIu32 " says %" PRIu64 " bytes, %zu are left",
				    field->number, size, left);
	field->bytes = (struct rpc_slice){reader->at, (size_t)size};
	reader->at += size;
	return 1;
}

static int skip_fixed(struct wire_reader *reader, struct wire_field *field, size_t size)
{
	size_t left = (size_t)(reader->end - reader->at);
	if (left < size)
		return rpc_wire_bad(reader, field->offset, "field %" PRIu32 " needs %zu bytes, %zu are left",
				    field->number, size, left);
	reader->at += size;
	return 1;
}

int rpc_wire_next(struct wire_reader *reader, struct wire_field *field)
{
	if (reader->at == reader->end)
		return 0;
	*field = (struct wire_field){.offset = (size_t)(reader->at - reader->start)};
	if (!read_varint(reader, VARINT32_MAX, &field->value) || field->value > UINT32_MAX || field->value >> 3 == 0)
		return rpc_wire_bad(reader, field->offset, "this is no field tag");
	uint64_t tag = field->value;
	field->value = 0;
	field->number = (uint32_t)(tag >> 3);
	field->type = (enum wire_type)(tag & 7);
	switch (field->type) {
	case WIRE_VARINT:
		if (!read_varint(reader, VARINT64_MAX, &field->value))
			return rpc_wire_bad(reader, field->offset, "the number in field %" PRIu32 " does not end",
					    field->number);
		return 1;
	case WIRE_BYTES:
		return read_bytes(reader, field);
	case WIRE_FIXED64:
		return skip_fixed(reader, field, 8);
	case WIRE_FIXED32:
		return skip_fixed(reader, field, 4);
	}
	return rpc_wire_bad(reader, field->offset, "field %" PRIu32 " has the unsupported wire type %u", field->number,
			    (unsigned)(tag & 7));
}
