/* SPDX-License-Identifier: Apache-2.0 */
/* Base: what code without sockets may know of this room: slices, texts of errors, status codes, arenas, addresses.
 *
 * Nothing here needs NNG or protobuf, and the library behind it (kvrpcbase) links neither, so that the actors of node/
 * can use it. rpc.h includes this header.
 *
 * Threading   Values and pure functions: any thread. For arenas see arena.h.
 * Ownership   A slice borrows its bytes.
 * Errors      0 or negative errno; functions that take a struct rpc_error also write a text.
 */
#ifndef KVRING_RPC_BASE_H
#define KVRING_RPC_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpc/arena.h"

#define RPC_OK __attribute__((warn_unused_result))

enum {
	RPC_OPERATION_ID_SIZE = 16, /* bytes */
};

/* The status of a response: Code of kv.proto, which has gRPC's canonical numbers. */
enum rpc_code {
	RPC_CODE_OK = 0,
	RPC_CODE_CANCELLED = 1,
	RPC_CODE_UNKNOWN = 2,
	RPC_CODE_INVALID_ARGUMENT = 3,
	RPC_CODE_DEADLINE_EXCEEDED = 4,
	RPC_CODE_NOT_FOUND = 5,
	RPC_CODE_ALREADY_EXISTS = 6,
	RPC_CODE_PERMISSION_DENIED = 7,
	RPC_CODE_RESOURCE_EXHAUSTED = 8,
	RPC_CODE_FAILED_PRECONDITION = 9,
	RPC_CODE_ABORTED = 10,
	RPC_CODE_OUT_OF_RANGE = 11,
	RPC_CODE_UNIMPLEMENTED = 12,
	RPC_CODE_INTERNAL = 13,
	RPC_CODE_UNAVAILABLE = 14,
	RPC_CODE_DATA_LOSS = 15,
	RPC_CODE_UNAUTHENTICATED = 16,
};

struct rpc_slice {
	const uint8_t *data;
	size_t size;
};

/* A sentence for people, beside the errno of the function that wrote it. */
struct rpc_error {
	char text[512];
};

/* 0 when it is a HOST:PORT that can be dialled, else -EINVAL and a text. */
RPC_OK int rpc_address_check(const char *address, struct rpc_error *error_out);

#endif
