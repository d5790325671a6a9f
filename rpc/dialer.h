/* SPDX-License-Identifier: Apache-2.0 */
/* Dialer: one peer, dialled again whenever its connection ends.
 *
 *       start                     on_stream                 rpc_dialer_again
 *     --------> DIALING ---------------------> CONNECTED --------------> PAUSING --(25 ms to 1 s)--> DIALING
 *                  |                                                        ^
 *                  +--------------------------------------------------------+  refused, unreachable, no answer in 1 s, no memory
 *
 * Threading   create, start, stop, destroy: main thread only. on_stream runs on NNG's threads. again and succeeded: any
 *             thread.
 * Ownership   on_stream owns the stream. In CONNECTED the owner has the connection, and calls rpc_dialer_again exactly
 *             once when it is gone, as the last thing: once stopped, the dialer may be destroyed.
 * Errors      rpc_dialer_create: negative errno and a text. Failed dials are tried again for ever.
 */
#ifndef KVRING_RPC_DIALER_H
#define KVRING_RPC_DIALER_H

#include "rpc/internal.h"

struct dialer;

struct dialer_options {
	const char *address; /* HOST:PORT */
	/* False: it could not be used (and is closed), dial again. */
	bool (*on_stream)(void *arg, nng_stream *);
	void *arg;
};

RPC_OK int rpc_dialer_create(const struct dialer_options *, struct dialer **out, struct rpc_error *error_out);
void rpc_dialer_start(struct dialer *);
/* The peer speaks our protocol: the next pause is the shortest again. */
void rpc_dialer_succeeded(struct dialer *);
void rpc_dialer_again(struct dialer *);
/* Dials no more, and waits: for on_stream to return, and for rpc_dialer_again when there is a connection, which the
 * owner closes before this. May be repeated. */
void rpc_dialer_stop(struct dialer *);
/* Stops it first. */
void rpc_dialer_destroy(struct dialer **);

#endif
