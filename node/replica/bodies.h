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

/* SCAN: the keys of a partition that come behind the message's key, which is one of an earlier answer, or the two bytes of the partition
 * for the first ones. Of a node whose ring is exactly the question's. */
struct scan_body {
	uint32_t bytes_max; /* of the answer; one entry comes all the same. 0: only the root is asked for */
	bool digest_only;
	uint64_t
		root; /* of the asking node's hash tree: with the first keys, when it equals the answering node's, nothing is sent */
};

/* DROP: of the partitions of this shard that have data here and that the ring gives to others, deletes the first ones, all up to the
 * next one that stays. The message's key is the number of the shard as that of a partition. */
struct drop_body {
	bool only_count;
};

#endif
