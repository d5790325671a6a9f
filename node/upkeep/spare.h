/* SPDX-License-Identifier: Apache-2.0 */
/* Spare: data of partitions that the ring gives to others, and when it goes.
 *
 * The replicas know what they hold: each is asked once under a stable ring. What is spare goes once nobody can want it any more: every
 * member that is up has this ring, and so has, by its own word, a majority of the owners of each partition, so that no quorum of an
 * older ring answers. The same deletes what a join left that was given up.
 *
 * Threading   Upkeep's.
 * Ownership   Borrows the ring table.
 * Errors      None: what fails is tried again.
 * Invariants  S1 Nothing is asked to go before that barrier, nor while the ring is changing (replica: N2).
 */
#ifndef KVRING_NODE_UPKEEP_SPARE_H
#define KVRING_NODE_UPKEEP_SPARE_H

#include "engine/engine.h"
#include "node/actor/event.h"

enum spare_state { SPARE_NONE, SPARE_ASKED, SPARE_HOLDS };

struct spare {
	struct address self;
	struct ring_table *ring;
	uint32_t shard_count;
	uint64_t epoch;                 /* of the stable ring; 0: none */
	uint64_t next_us;               /* when something is due, while a shard is not SPARE_NONE */
	uint64_t dropped;               /* partitions, in this process */
	bool counts[ENGINE_SHARDS_MAX]; /* this shard has still to say what it holds */
	uint8_t states[ENGINE_SHARDS_MAX];
};

void spare_init(struct spare *, struct address self, struct ring_table *, uint32_t shard_count);
/* A stable ring of which this node is a member. */
void spare_begin(struct spare *, uint64_t epoch, uint64_t now_us);
void spare_end(struct spare *);
/* DROPPED; consumes it. */
void spare_take(struct spare *, struct message *, uint64_t now_us, struct effects *);
/* At the end of a step. Returns when it wants to be called again; UINT64_MAX: never. */
uint64_t spare_run(struct spare *, uint64_t now_us, struct effects *);

#endif
