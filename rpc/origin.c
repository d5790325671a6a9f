/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/origin.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct origin origin_of(nng_stream *stream)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	struct origin origin = {0};
	nng_sockaddr from;
	if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &from) != 0)
		return origin; /* it has gone already */
	if (from.s_family == NNG_AF_INET) {
		memcpy(origin.bytes, &from.s_in.sa_addr, 4);
	} else if (from.s_family == NNG_AF_INET6 && memcmp(from.s_in6.sa_addr, mapped, sizeof mapped) == 0) {
		memcpy(origin.bytes, from.s_in6.sa_addr + sizeof mapped, 4);
	} else if (from.s_family == NNG_AF_INET6) {
		origin.is_ipv6 = true;
		memcpy(origin.bytes, from.s_in6.sa_addr, sizeof origin.bytes);
	}
	return origin;
}

/* Where it stands, or would stand. */
static struct origin **find(struct origins *self, const struct origin *origin)
{
	uint64_t bytes;
	memcpy(&bytes, origin->bytes, sizeof bytes);
	struct origin **at = &self->buckets[bytes * UINT64_C(0x9E3779B97F4A7C15) >> 56];
	while (*at != NULL &&
	       (memcmp((*at)->bytes, origin->bytes, sizeof origin->bytes) != 0 || (*at)->is_ipv6 != origin->is_ipv6))
		at = &(*at)->next;
	return at;
}

struct origin *rpc_origin_add(struct origins *self, nng_stream *stream)
{
	struct origin origin = origin_of(stream), **at = find(self, &origin);
	if (*at == NULL) {
		struct origin *fresh = malloc(sizeof *fresh);
		if (fresh == NULL)
			return NULL;
		*fresh = origin;
		*at = fresh;
	}
	(*at)->connections++;
	return *at;
}

void rpc_origin_remove(struct origins *self, struct origin *origin)
{
	if (origin == NULL)
		return;
	assert(origin->connections > 0);
	if (--origin->connections > 0)
		return;
	struct origin **at = find(self, origin);
	assert(*at == origin);
	*at = origin->next;
	free(origin);
}

void rpc_origin_text(const struct origin *origin, char text_out[ORIGIN_TEXT_MAX])
{
	uint8_t whole[16] = {0};
	memcpy(whole, origin->bytes, sizeof origin->bytes);
	inet_ntop(origin->is_ipv6 ? AF_INET6 : AF_INET, whole, text_out, ORIGIN_TEXT_MAX);
	if (origin->is_ipv6)
		strcat(text_out, "/64");
}
