/* SPDX-License-Identifier: Apache-2.0 */
/* Private to this room: NNG's types and codes. */
#ifndef KVRING_RPC_INTERNAL_H
#define KVRING_RPC_INTERNAL_H

#include <nng/nng.h>
#include "rpc/address.h"
#include "rpc/rpc.h"

enum {
	RPC_RECONNECT_MIN_MS = 50,
	RPC_RECONNECT_MAX_MS = 1000,
};

/* Answered by every server of this room at once, whatever its node does: a sign of life. Node and clients never see it. */
#define RPC_METHOD_PING "kvring.v1.Health/Ping"

/* Room for what a frame has in front of the message: its length and, in request/reply, the request id. */
enum { MESSAGE_HEAD_SIZE = 12 };

/* Head and bytes lie side by side, so that one piece of memory is sent. */
struct rpc_message {
	struct rpc_message *next;  /* in the queue of a connection */
	struct rpc_quota *quota;   /* what it counts against until it is freed; NULL: nothing */
	struct rpc_budget *budget; /* the same, a reference */
	size_t size;               /* of bytes */
	uint8_t head[MESSAGE_HEAD_SIZE];
	uint8_t bytes[];
};

/* message.c */

/* NULL when memory is out. */
struct rpc_message *rpc_message_create(size_t size);

/* Counts it, in any case, until it is freed. budget NULL: nobody counts. */
void rpc_message_count(struct rpc_message *, struct rpc_budget *);

/* Bytes of messages that a receiver has not yet freed. */
struct rpc_quota;
struct rpc_quota *rpc_quota_create(size_t bytes_max);
void rpc_quota_unref(struct rpc_quota *);
/* False when the message does not fit: it counts nowhere then. */
bool rpc_quota_take(struct rpc_quota *, struct rpc_message *);

/* error.c */

/* NNG's code as negative errno. */
int rpc_error_from_nng(int nng_code);
/* The text for a failed listen; returns the status. */
int rpc_address_listen_failed(int nng_code, const char *address, struct rpc_error *error_out);

#endif
