/* SPDX-License-Identifier: Apache-2.0 */
/* Request and Response of kv.proto, by hand.
 *
 * Both have a handful of scalar fields around one large body. Decoding them with protobuf-c would copy the body twice
 * (envelope, then message); here method, message and body stay slices of what NNG received, and an encoder packs the
 * body in its final place. tests/rpc/test_envelope.c holds both directions against protobuf-c.
 *
 * As protobuf demands: fields in any order, the last of repeated ones wins, unknown fields are skipped, scalars at
 * their default are not written. Stricter: a known field with a foreign wire type is refused.
 */
#include "rpc/internal.h"
#include "rpc/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "proto/kv.pb-c.h"

#define SAME_CODE(NAME)                                                                                                \
	_Static_assert((int)RPC_CODE_##NAME == (int)KVRING__V1__CODE__##NAME, "base.h has the numbers of kv.proto")
SAME_CODE(OK);
SAME_CODE(CANCELLED);
SAME_CODE(UNKNOWN);
SAME_CODE(INVALID_ARGUMENT);
SAME_CODE(DEADLINE_EXCEEDED);
SAME_CODE(NOT_FOUND);
SAME_CODE(ALREADY_EXISTS);
SAME_CODE(PERMISSION_DENIED);
SAME_CODE(RESOURCE_EXHAUSTED);
SAME_CODE(FAILED_PRECONDITION);
SAME_CODE(ABORTED);
SAME_CODE(OUT_OF_RANGE);
SAME_CODE(UNIMPLEMENTED);
SAME_CODE(INTERNAL);
SAME_CODE(UNAVAILABLE);
SAME_CODE(DATA_LOSS);
SAME_CODE(UNAUTHENTICATED);

enum {
	REQUEST_PROTOCOL_VERSION = 1,
	REQUEST_METHOD = 2,
	REQUEST_OPERATION_ID = 3,
	REQUEST_DEADLINE_MS = 4,
	REQUEST_RING_EPOCH = 5,
	REQUEST_TRACE_ID = 6,
	REQUEST_ATTEMPT = 7,
	REQUEST_SENT_US = 8,
	REQUEST_BODY = 15,

	RESPONSE_PROTOCOL_VERSION = 1,
	RESPONSE_CODE = 2,
	RESPONSE_MESSAGE = 3,
	RESPONSE_RING_EPOCH = 4,
	RESPONSE_BODY = 15,
};

/* ---- decoding ------------------------------------------------------------------------------------------------ */

static struct wire_reader reader_of(struct rpc_slice bytes, const char *what, struct rpc_error *error_out)
{
	static const uint8_t nothing[1];
	if (bytes.size == 0)
		bytes.data = nothing; /* NULL allows no arithmetic */
	return (struct wire_reader){bytes.data, bytes.data, bytes.data + bytes.size, what, error_out};
}

static int want_type(const struct wire_reader *reader, const struct wire_field *field, enum wire_type type,
		     const char *name)
{
	if (field->type == type)
		return 0;
	return rpc_wire_bad(reader, field->offset, "field %u (%s) has wire type %d, not %d", field->number, name,
			    (int)field->type, (int)type);
}

static int take_u32(const struct wire_reader *reader, const struct wire_field *field, const char *name, uint32_t *out)
{
	*out = (uint32_t)field->value;
	return want_type(reader, field, WIRE_VARINT, name);
}

static int take_u64(const struct wire_reader *reader, const struct wire_field *field, const char *name, uint64_t *out)
{
	*out = field->value;
	return want_type(reader, field, WIRE_VARINT, name);
}

static int take_bytes(const struct wire_reader *reader, const struct wire_field *field, const char *name,
		      struct rpc_slice *out)
{
	*out = field->bytes;
	return want_type(reader, field, WIRE_BYTES, name);
}

static int take_operation_id(const struct wire_reader *reader, const struct wire_field *field, struct rpc_request *out)
{
	int status = want_type(reader, field, WIRE_BYTES, "operation_id");
	if (status < 0)
		return status;
	if (field->bytes.size != 0 && field->bytes.size != RPC_OPERATION_ID_SIZE)
		return rpc_wire_bad(reader, field->offset, "field 3 (operation_id) has %zu bytes, not %d",
				    field->bytes.size, RPC_OPERATION_ID_SIZE);
	out->has_operation_id = field->bytes.size > 0;
	memset(out->operation_id, 0, sizeof out->operation_id);
	if (out->has_operation_id)
		memcpy(out->operation_id, field->bytes.data, RPC_OPERATION_ID_SIZE);
	return 0;
}

static int take_request_field(const struct wire_reader *reader, const struct wire_field *field, struct rpc_request *out)
{
	switch (field->number) {
	case REQUEST_PROTOCOL_VERSION:
		return take_u32(reader, field, "protocol_version", &out->protocol_version);
	case REQUEST_METHOD:
		return take_bytes(reader, field, "method", &out->method);
	case REQUEST_OPERATION_ID:
		return take_operation_id(reader, field, out);
	case REQUEST_DEADLINE_MS:
		return take_u32(reader, field, "deadline_ms", &out->deadline_ms);
	case REQUEST_RING_EPOCH:
		return take_u64(reader, field, "ring_epoch", &out->ring_epoch);
	case REQUEST_TRACE_ID:
		return take_u64(reader, field, "trace_id", &out->trace_id);
	case REQUEST_ATTEMPT:
		return take_u32(reader, field, "attempt", &out->attempt);
	case REQUEST_SENT_US:
		return take_u64(reader, field, "sent_us", &out->sent_us);
	case REQUEST_BODY:
		return take_bytes(reader, field, "body", &out->body);
	default:
		return 0;
	}
}

static int take_response_field(const struct wire_reader *reader, const struct wire_field *field,
			       struct rpc_response *out)
{
	switch (field->number) {
	case RESPONSE_PROTOCOL_VERSION:
		return take_u32(reader, field, "protocol_version", &out->protocol_version);
	case RESPONSE_CODE:
		return take_u32(reader, field, "code", &out->code);
	case RESPONSE_MESSAGE:
		return take_bytes(reader, field, "message", &out->message);
	case RESPONSE_RING_EPOCH:
		return take_u64(reader, field, "ring_epoch", &out->ring_epoch);
	case RESPONSE_BODY:
		return take_bytes(reader, field, "body", &out->body);
	default:
		return 0;
	}
}

int rpc_request_decode(struct rpc_slice bytes, struct rpc_request *out, struct rpc_error *error_out)
{
	struct wire_reader reader = reader_of(bytes, "request envelope", error_out);
	struct wire_field field;
	int status;
	memset(out, 0, sizeof *out);
	while ((status = rpc_wire_next(&reader, &field)) > 0) {
		status = take_request_field(&reader, &field, out);
		if (status < 0)
			return status;
	}
	return status;
}

int rpc_response_decode(struct rpc_slice bytes, struct rpc_response *out, struct rpc_error *error_out)
{
	struct wire_reader reader = reader_of(bytes, "response envelope", error_out);
	struct wire_field field;
	int status;
	memset(out, 0, sizeof *out);
	while ((status = rpc_wire_next(&reader, &field)) > 0) {
		status = take_response_field(&reader, &field, out);
		if (status < 0)
			return status;
	}
	return status;
}

bool rpc_method_is(struct rpc_slice method, const char *name)
{
	size_t size = strlen(name);
	return method.size == size && memcmp(method.data, name, size) == 0;
}

/* ---- encoding ------------------------------------------------------------------------------------------------ */

/* All field numbers used here are below 16: every tag is one byte. */

static size_t varint_size(uint64_t value)
{
	size_t size = 1;
	for (; value >= 0x80; value >>= 7)
		size++;
	return size;
}

static size_t number_size(uint64_t value)
{
	return value == 0 ? 0 : 1 + varint_size(value);
}

static size_t bytes_size(size_t size)
{
	return size == 0 ? 0 : 1 + varint_size(size) + size;
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

static uint8_t *put_tag(uint8_t *at, unsigned number, enum wire_type type)
{
	*at = (uint8_t)(number << 3 | (unsigned)type);
	return at + 1;
}

static uint8_t *put_number(uint8_t *at, unsigned number, uint64_t value)
{
	return value == 0 ? at : put_varint(put_tag(at, number, WIRE_VARINT), value);
}

static uint8_t *put_bytes(uint8_t *at, unsigned number, const uint8_t *data, size_t size)
{
	if (size == 0)
		return at;
	at = put_varint(put_tag(at, number, WIRE_BYTES), size);
	memcpy(at, data, size);
	return at + size;
}

static uint8_t *put_body(uint8_t *at, unsigned number, const ProtobufCMessage *body, size_t size)
{
	if (size == 0)
		return at;
	at = put_varint(put_tag(at, number, WIRE_BYTES), size);
	size_t written = protobuf_c_message_pack(body, at);
	assert(written == size);
	return at + size;
}

/* code as protobuf-c writes an enum: sign extended to 64 bits. */
static uint64_t enum_value(uint32_t code)
{
	return (uint64_t)(int64_t)(int32_t)code;
}

int rpc_request_encode(const struct rpc_request *head, const ProtobufCMessage *body, struct rpc_message **out)
{
	size_t id_size = head->has_operation_id ? RPC_OPERATION_ID_SIZE : 0;
	size_t body_size = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
	size_t size = number_size(head->protocol_version) + bytes_size(head->method.size) + bytes_size(id_size) +
		      number_size(head->deadline_ms) + number_size(head->ring_epoch) + number_size(head->trace_id) +
		      number_size(head->attempt) + number_size(head->sent_us) + bytes_size(body_size);
	struct rpc_message *message = rpc_message_create(size);
	if (message == NULL)
		return -ENOMEM;
	uint8_t *start = message->bytes;
	uint8_t *at = put_number(start, REQUEST_PROTOCOL_VERSION, head->protocol_version);
	at = put_bytes(at, REQUEST_METHOD, head->method.data, head->method.size);
	at = put_bytes(at, REQUEST_OPERATION_ID, head->operation_id, id_size);
	at = put_number(at, REQUEST_DEADLINE_MS, head->deadline_ms);
	at = put_number(at, REQUEST_RING_EPOCH, head->ring_epoch);
	at = put_number(at, REQUEST_TRACE_ID, head->trace_id);
	at = put_number(at, REQUEST_ATTEMPT, head->attempt);
	at = put_number(at, REQUEST_SENT_US, head->sent_us);
	at = put_body(at, REQUEST_BODY, body, body_size);
	assert(at == start + size);
	*out = message;
	return 0;
}

int rpc_response_encode(const struct rpc_response *head, const ProtobufCMessage *body, struct rpc_message **out)
{
	size_t body_size = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
	size_t size = number_size(head->protocol_version) + number_size(enum_value(head->code)) +
		      bytes_size(head->message.size) + number_size(head->ring_epoch) + bytes_size(body_size);
	struct rpc_message *message = rpc_message_create(size);
	if (message == NULL)
		return -ENOMEM;
	uint8_t *start = message->bytes;
	uint8_t *at = put_number(start, RESPONSE_PROTOCOL_VERSION, head->protocol_version);
	at = put_number(at, RESPONSE_CODE, enum_value(head->code));
	at = put_bytes(at, RESPONSE_MESSAGE, head->message.data, head->message.size);
	at = put_number(at, RESPONSE_RING_EPOCH, head->ring_epoch);
	at = put_body(at, RESPONSE_BODY, body, body_size);
	assert(at == start + size);
	*out = message;
	return 0;
}

int rpc_bare_encode(const ProtobufCMessage *body, struct rpc_message **out)
{
	size_t size = protobuf_c_message_get_packed_size(body);
	struct rpc_message *message = rpc_message_create(size);
	if (message == NULL)
		return -ENOMEM;
	size_t written = protobuf_c_message_pack(body, message->bytes);
	assert(written == size);
	*out = message;
	return 0;
}
