/* SPDX-License-Identifier: Apache-2.0 */
/* Origin: how many connections there are from each address, so that one address does not take the places of all.
 *
 * An address is an IPv4 address, or the first 64 bits of an IPv6 address, which is what one host is usually given. Loopback is one like
 * any other.
 *
 * Threading   The owner's, under its lock.
 * Ownership   An origin lives as long as it has connections.
 * Errors      NULL when memory is out.
 */
#ifndef KVRING_RPC_ORIGIN_H
#define KVRING_RPC_ORIGIN_H

#include "rpc/internal.h"

enum { ORIGIN_TEXT_MAX = 48, ORIGIN_BUCKETS = 256 };

struct origin {
	struct origin *next;
	uint8_t bytes[8]; /* of the address, see above */
	bool is_ipv6;
	unsigned connections;
};

struct origins {
	struct origin *buckets[ORIGIN_BUCKETS];
};

/* One more connection from where the stream came. */
struct origin *rpc_origin_add(struct origins *, nng_stream *);
/* One less; it may be gone then. NULL is allowed. */
void rpc_origin_remove(struct origins *, struct origin *);
void rpc_origin_text(const struct origin *, char text_out[ORIGIN_TEXT_MAX]);

#endif
