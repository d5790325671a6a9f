/* What the files of this room share and nobody else sees: NNG's types and codes. */
#ifndef KVRING_RPC_INTERNAL_H
#define KVRING_RPC_INTERNAL_H

#include <nng/nng.h>
#include "rpc.h"

enum {
	RPC_HOST_MAX = 255, /* bytes; RFC 1035 */
	RPC_URL_MAX = 320,
	RPC_RECONNECT_MIN_MS = 50,
	RPC_RECONNECT_MAX_MS = 1000,
};

/* Room for what a frame has in front of the message: its length and, in request/reply, the request id. */
enum { MESSAGE_HEAD_SIZE = 12 };

/* Head and bytes lie side by side, so that one piece of memory is what goes on the wire. */
struct rpc_message {
	struct rpc_message *next; /* in the queue of a connection */
	size_t size;              /* of bytes */
	uint8_t head[MESSAGE_HEAD_SIZE];
	uint8_t bytes[];
};

/* message.c */

/* NULL when memory is out. */
struct rpc_message *rpc_message_create(size_t size);

/* error.c */

/* NNG's code as negative errno. */
int error_from_nng(int nng_code);
/* Sets the text (error_out may be NULL) and returns status. */
int error_set(struct rpc_error *error_out, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* address.c */

/* Turns "HOST:PORT", "[IPV6]:PORT" into NNG's "tcp://HOST:PORT". -EINVAL with a text. Port 0 only where listening. */
RPC_OK int address_to_url(const char *address, bool listening, char url_out[RPC_URL_MAX], struct rpc_error *error_out);
/* The text for a failed listen; returns the status. */
int address_listen_failed(int nng_code, const char *address, struct rpc_error *error_out);

#endif
