/* What the files of this room share and nobody else sees: NNG's types and codes.
 *
 * struct rpc_message is NNG's message by another name, so that passing one on costs nothing and nng.h stays in here.
 */
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

static inline nng_msg *message_to_nng(struct rpc_message *message)
{
	return (nng_msg *)message;
}

static inline struct rpc_message *message_from_nng(nng_msg *message)
{
	return (struct rpc_message *)message;
}

/* error.c */

/* NNG's code as negative errno. */
int error_from_nng(int nng_code);
/* Sets the text (error_out may be NULL) and returns status. */
int error_set(struct rpc_error *error_out, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* address.c */

/* Turns "HOST:PORT", "[IPV6]:PORT" into NNG's "tcp://HOST:PORT". -EINVAL with a text. Port 0 only where listening. */
RPC_OK int address_to_url(const char *address, bool listening, char url_out[RPC_URL_MAX], struct rpc_error *error_out);
/* Listens; sets the port it got. Options of the listener are inherited from the socket: set those first. */
RPC_OK int address_listen(nng_socket, const char *address, uint16_t *port_out, struct rpc_error *error_out);

/* Options that every socket of ours sets before it listens or dials. */
RPC_OK int socket_set_common(nng_socket, size_t message_max, struct rpc_error *error_out);

#endif
