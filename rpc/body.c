/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies: protobuf-c with a guard in front.
 *
 * protobuf-c 1.4.1 has no limit of depth (58 KB nested 16,000 deep overran the stack), makes up to 84 bytes of memory
 * out of one, and merges a message field that comes twice by copying all its repeated fields, which is quadratic. So a
 * first pass over the bytes, along the schema and without allocating, adds up what the second one will cost, and
 * refuses with a text what no honest sender makes. The arena's cap stands behind it.
 */
#include "rpc/internal.h"
#include "rpc/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
	BODY_DEPTH_MAX = 8,              /* messages within messages; the schema has 4 */
	BODY_ELEMENTS_MAX = 1024 * 1024, /* fields and elements of packed fields in a body */
	BODY_MEMORY_BASE = 512 * 1024,   /* bytes that any body may take in memory */
	BODY_MEMORY_FACTOR = 32,         /* and bytes per byte of it */

	/* Memory that protobuf-c takes besides the message structs, rounded up to the arena's alignment. */
	COST_FREE_MEMBERS = 16,   /* fields of a message that it notes on its stack */
	COST_SCANNED_MEMBER = 64, /* bytes per further field, slabs that double included */
	COST_UNKNOWN_FIELD = 32,  /* bytes per unknown field, besides its data */
	COST_ROUNDING = 16,       /* bytes per allocation */
};

struct scan {
	struct wire_reader reader;
	size_t body_size;
	uint64_t elements;
	uint64_t memory; /* bytes, estimated from above */
	uint64_t memory_max;
};

static size_t element_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_BOOL:
	case PROTOBUF_C_TYPE_ENUM:
		return 4;
	}
	return sizeof(ProtobufCBinaryData); /* a type that a later protobuf-c adds: the largest */
}

static bool is_packable(ProtobufCType type)
{
	return type != PROTOBUF_C_TYPE_STRING && type != PROTOBUF_C_TYPE_BYTES && type != PROTOBUF_C_TYPE_MESSAGE;
}

static bool is_fixed(ProtobufCType type)
{
	return type == PROTOBUF_C_TYPE_SFIXED32 || type == PROTOBUF_C_TYPE_FIXED32 || type == PROTOBUF_C_TYPE_FLOAT ||
	       type == PROTOBUF_C_TYPE_SFIXED64 || type == PROTOBUF_C_TYPE_FIXED64 || type == PROTOBUF_C_TYPE_DOUBLE;
}

/* From above for varints that are cut off: protobuf-c then refuses the body. */
static uint64_t packed_count(ProtobufCType type, struct rpc_slice bytes)
{
	if (is_fixed(type))
		return bytes.size / element_size(type) + 1;
	uint64_t count = 1;
	for (size_t i = 0; i < bytes.size; i++)
		count += bytes.data[i] < 0x80;
	return count;
}

static int charge(struct scan *scan, const ProtobufCMessageDescriptor *type, size_t offset, uint64_t elements,
		  uint64_t memory)
{
	scan->elements += elements;
	scan->memory += memory;
	if (scan->elements > BODY_ELEMENTS_MAX)
		return rpc_wire_bad(&scan->reader, offset, "%s: more than %d fields and elements", type->short_name,
				    BODY_ELEMENTS_MAX);
	if (scan->memory > scan->memory_max)
		return rpc_wire_bad(&scan->reader, offset,
				    "%s: a body of %zu bytes would take over %zu bytes of memory", type->short_name,
				    scan->body_size, (size_t)scan->memory_max);
	return 0;
}

static int scan_message(struct scan *, const ProtobufCMessageDescriptor *, struct rpc_slice, unsigned depth);

/* One message under way: what its fields have shown so far. */
struct scan_frame {
	const ProtobufCMessageDescriptor *type;
	unsigned depth;
	uint64_t fields;
	uint64_t seen; /* bit per field of the descriptor: a message that may come once has come */
};

static int scan_submessage(struct scan *scan, struct scan_frame *frame, const ProtobufCFieldDescriptor *known,
			   const struct wire_field *field)
{
	if (known->label != PROTOBUF_C_LABEL_REPEATED) {
		uint64_t bit = UINT64_C(1) << (known - frame->type->fields);
		if ((frame->seen & bit) != 0)
			return rpc_wire_bad(&scan->reader, field->offset, "%s: field %u (%s) comes twice",
					    frame->type->short_name, field->number, known->name);
		frame->seen |= bit;
	}
	if (frame->depth == BODY_DEPTH_MAX)
		return rpc_wire_bad(&scan->reader, field->offset, "%s: field %u (%s) is nested more than %d deep",
				    frame->type->short_name, field->number, known->name, BODY_DEPTH_MAX);
	return scan_message(scan, known->descriptor, field->bytes, frame->depth + 1);
}

/* In most messages field n is the n-th. NULL when there is no such field. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type, uint32_t number)
{
	if (number <= type->n_fields && type->fields[number - 1].id == number)
		return &type->fields[number - 1];
	return protobuf_c_message_descriptor_get_field(type, number);
}

static int scan_field(struct scan *scan, struct scan_frame *frame, const struct wire_field *field)
{
	const ProtobufCFieldDescriptor *known = find_field(frame->type, field->number);
	uint64_t elements = 1, memory = ++frame->fields > COST_FREE_MEMBERS ? COST_SCANNED_MEMBER : 0;
	if (known == NULL) {
		memory += COST_UNKNOWN_FIELD + field->bytes.size + COST_ROUNDING;
	} else if (field->type != WIRE_BYTES) {
		memory += element_size(known->type);
	} else if (is_packable(known->type)) {
		elements = packed_count(known->type, field->bytes);
		memory += elements * element_size(known->type) + COST_ROUNDING;
	} else {
		memory += element_size(known->type);
		if (known->type != PROTOBUF_C_TYPE_MESSAGE)
			memory += field->bytes.size + 1 + COST_ROUNDING;
	}
	int status = charge(scan, frame->type, field->offset, elements, memory);
	if (status == 0 && known != NULL && known->type == PROTOBUF_C_TYPE_MESSAGE && field->type == WIRE_BYTES)
		status = scan_submessage(scan, frame, known, field);
	return status;
}

static int scan_message(struct scan *scan, const ProtobufCMessageDescriptor *type, struct rpc_slice bytes,
			unsigned depth)
{
	assert(type->n_fields <= 64); /* the bits of seen; our own schema, hence an assertion */
	struct scan_frame frame = {.type = type, .depth = depth};
	size_t offset = (size_t)(bytes.data - scan->reader.start);
	int status = charge(scan, type, offset, 0, type->sizeof_message + COST_ROUNDING);
	if (status < 0)
		return status;
	struct wire_reader outer = scan->reader;
	scan->reader.at = bytes.data;
	scan->reader.end = bytes.data + bytes.size;
	struct wire_field field;
	while ((status = rpc_wire_next(&scan->reader, &field)) > 0) {
		status = scan_field(scan, &frame, &field);
		if (status < 0)
			return status;
	}
	scan->reader = outer;
	return status;
}

static int scan_body(const ProtobufCMessageDescriptor *type, struct rpc_slice body, struct rpc_error *error_out)
{
	struct scan scan = {
		.reader = {body.data, body.data, body.data + body.size, type->name, error_out},
		.body_size = body.size,
		.memory_max = BODY_MEMORY_BASE + (uint64_t)BODY_MEMORY_FACTOR * body.size,
	};
	return scan_message(&scan, type, body, 1);
}

static void *allocator_alloc(void *arena, size_t size)
{
	return rpc_arena_alloc(arena, size);
}

static void allocator_free(void *arena, void *pointer)
{
	(void)arena; /* it frees everything at once */
	(void)pointer;
}

void *rpc_body_decode(const ProtobufCMessageDescriptor *type, struct rpc_slice body, struct arena *arena,
		      struct rpc_error *error_out)
{
	static const uint8_t nothing[1];
	ProtobufCAllocator allocator = {allocator_alloc, allocator_free, arena};
	if (body.size == 0)
		body.data = nothing;
	if (scan_body(type, body, error_out) < 0)
		return NULL;
	void *message = protobuf_c_message_unpack(type, &allocator, body.size, body.data);
	if (message == NULL)
		rpc_error_set(
			error_out, -EBADMSG,
			"%s: %zu bytes do not decode: a field has another type than the schema says, or they need "
			"more memory than the %zu bytes used so far leave",
			type->name, body.size, rpc_arena_used(arena));
	return message;
}
