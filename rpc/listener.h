/* SPDX-License-Identifier: Apache-2.0 */
/* Listener: accepts TCP streams until it is closed.
 *
 * Threading   open and close: main thread only. on_stream runs on NNG's threads, one at a time.
 * Ownership   on_stream owns the stream. close waits until on_stream has returned for the last time.
 * Errors      rpc_listener_open: negative errno and a text. An accept that fails (out of files or memory) is tried
 *             again.
 */
#ifndef KVRING_RPC_LISTENER_H
#define KVRING_RPC_LISTENER_H

#include "rpc/internal.h"

enum { LISTENER_PAUSE_MS = 100 }; /* after a failed accept */

struct listener;

struct listener_options {
	const char *address; /* HOST:PORT; port 0 takes a free one */
	void (*on_stream)(void *arg, nng_stream *);
	void *arg;
};

/* Binds the port; the first stream is accepted after rpc_listener_start. */
RPC_OK int rpc_listener_open(const struct listener_options *, struct listener **out, struct rpc_error *error_out);
void rpc_listener_start(struct listener *);
uint16_t rpc_listener_port(const struct listener *);
void rpc_listener_close(struct listener **);

#endif
