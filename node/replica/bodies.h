/* SPDX-License-Identifier: Apache-2.0 */
/* What messages to a replica say, besides the key in their head. Part of node/actor/message.h. */
#ifndef KVRING_NODE_REPLICA_BODIES_H
#define KVRING_NODE_REPLICA_BODIES_H

#include "node/coordinator/bodies.h"

struct coordinate_body {
	struct client_operation operation;
	struct context context; /* decoded */
};

struct store_body {
	struct rpc_slice object; /* encoded */
	uint64_t hint_for;       /* node id, 0 when the receiver is an owner */
};

struct fetch_body {
	bool digest_only;
};

#endif
