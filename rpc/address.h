/* SPDX-License-Identifier: Apache-2.0 */
/* Address: "HOST:PORT" of people as the URL that NNG dials and listens on; and the writing of texts of errors.
 *
 * Threading   pure functions.
 * Ownership   nothing.
 * Errors      -EINVAL with a text that says how an address is written.
 */
#ifndef KVRING_RPC_ADDRESS_H
#define KVRING_RPC_ADDRESS_H

#include "rpc/base.h"

enum { RPC_URL_MAX = 320 }; /* bytes with the final 0 */

/* Turns "HOST:PORT", "[IPV6]:PORT" into NNG's "tcp://HOST:PORT". Port 0 only where listening. */
RPC_OK int rpc_address_to_url(const char *address, bool listening, char url_out[RPC_URL_MAX],
			      struct rpc_error *error_out);

/* The host is a name that has to be resolved. The address is one that rpc_address_to_url accepts. */
bool rpc_address_has_name(const char *address);

/* Sets the text (error_out may be NULL) and returns status. (base.c) */
int rpc_error_set(struct rpc_error *error_out, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
