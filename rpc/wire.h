/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the protobuf wire format, bounded: the common part of envelope.c and body.c.
 *
 * Threading   none: values on the caller's stack.
 * Ownership   Slices point into the bytes given.
 * Errors      rpc_wire_next returns 1 for a field, 0 at the end, -EBADMSG with a text that names message, field and
 *             byte.
 */
#ifndef KVRING_RPC_WIRE_H
#define KVRING_RPC_WIRE_H

#include "rpc/rpc.h"

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_BYTES = 2,
	WIRE_FIXED32 = 5, /* 3 and 4 are groups: refused, as protobuf-c does */
};

struct wire_reader {
	const uint8_t *start; /* of the outermost message: offsets in texts count from here */
	const uint8_t *at;
	const uint8_t *end;
	const char *what; /* for texts: "request envelope" */
	struct rpc_error *error_out;
};

struct wire_field {
	uint32_t number;
	enum wire_type type;
	size_t offset;          /* of the tag, from the reader's start */
	uint64_t value;         /* WIRE_VARINT; 0 for other types */
	struct rpc_slice bytes; /* WIRE_BYTES; empty for other types */
};

RPC_OK int rpc_wire_next(struct wire_reader *, struct wire_field *out);
/* Sets the text and returns -EBADMSG. */
int rpc_wire_bad(const struct wire_reader *, size_t offset, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
