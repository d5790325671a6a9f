/* SPDX-License-Identifier: Apache-2.0 */
/* Events for tools that listen on the bus (event.proto); nodes among themselves speak heartbeats there
 * (codec_gossip.c).
 *
 * Threading   any worker.
 * Errors      None: the bus is best effort.
 */
#ifndef KVRING_NODE_CODEC_EVENT_H
#define KVRING_NODE_CODEC_EVENT_H

#include <stdint.h>
#include "rpc/rpc.h"

enum node_event_type {
	NODE_EVENT_MEMBER_CHANGED, /* id, name, state */
	NODE_EVENT_RING_CHANGED,   /* count: epoch; id: hash */
	NODE_EVENT_SLOW_REQUEST,   /* name: method; count: microseconds; id: trace */
	NODE_EVENT_OVERLOAD,       /* name: which limit; count: refused */
	NODE_EVENT_AUTOSCALE,      /* id: member; name: the change; text: why; state */
};

struct node_event {
	enum node_event_type type;
	uint64_t node_id, cluster_id; /* who says it */
	uint64_t unix_ms;
	uint64_t id, count;
	const char *name, *state, *text;
};

RPC_OK int codec_event_encode(const struct node_event *, struct rpc_message **out);

#endif
