/* SPDX-License-Identifier: Apache-2.0 */
/* What messages to upkeep say: the answers of replicas to SCAN and DROP. Part of node/actor/message.h. */
#ifndef KVRING_NODE_UPKEEP_BODIES_H
#define KVRING_NODE_UPKEEP_BODIES_H

#include <stdbool.h>
#include <stdint.h>
#include "rpc/base.h"

struct scanned_entry {
	struct rpc_slice key;    /* the engine's */
	struct rpc_slice object; /* encoded; empty when digests were asked for */
	uint64_t digest;         /* of an object that is not sent */
	uint32_t size;           /* bytes of the object, sent or not */
};

struct scanned_body {
	const struct scanned_entry *entries; /* by key */
	uint32_t count;
	bool done;      /* nothing of the partition comes behind them */
	bool same;      /* the roots are equal: nothing is sent, and done */
	uint64_t root;  /* of the answering node's hash tree */
	bool receiving; /* the node's disk may have gone back in time: the source counts toward no majority */
};

struct dropped_body {
	uint32_t left;  /* partitions of this shard that are still to be dropped */
	uint32_t count; /* that were dropped now */
};

#endif
