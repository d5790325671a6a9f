/* SPDX-License-Identifier: Apache-2.0 */
/* Upkeep: what a node does by itself so that it holds what the ring gives to it, and nothing else.
 *
 *     transfer   while reads go to the old owners: partitions come to this node (lane, pace, progress)
 *     spare      under a stable ring: what other nodes own goes
 *
 * When the node has done its part under the ring in force it tells gossip (READY), which tells the others. Under a stable ring with
 * nothing to drop it asks each replica once and then sleeps until the next ring.
 *
 * Threading   An actor: one thread at a time; the figures: any thread.
 * Ownership   Borrows ring table and data directory.
 * Errors      None to anybody: what fails is tried again, and told (NOTE_COPY_WAITS, _REFUSED).
 * Invariants  U1 READY is told once for each ring document, and not before all that has to come under it is durable here.
 */
#ifndef KVRING_NODE_UPKEEP_UPKEEP_H
#define KVRING_NODE_UPKEEP_UPKEEP_H

#include "node/actor/event.h"
#include "node/data_dir.h"

struct upkeep;

struct upkeep_options {
	struct address self;
	uint32_t shard_count;
	struct ring_table *ring;
	struct data_dir *data_dir;
	uint64_t transfer_bytes_per_s;    /* 0: PACE_DEFAULT */
	bool distrusted;                  /* the store went back in time or was lost */
	uint32_t (*read_busy)(void *arg); /* permille, of this node; NULL: never busy. (upkeep's thread) */
	void *read_busy_arg;
};

RPC_OK int upkeep_create(const struct upkeep_options *, struct upkeep **out);
void upkeep_destroy(struct upkeep **);
void upkeep_step(struct upkeep *, const struct event *, struct effects *out);

/* Of the change of the ring that is under way; relaxed. */
struct upkeep_figures {
	_Atomic uint32_t incoming_partitions; /* that have still to come */
	_Atomic uint32_t incoming_total;      /* that had to come when the change began */
	_Atomic uint64_t copied_bytes;        /* in this process */
};
const struct upkeep_figures *upkeep_figures(const struct upkeep *);

#endif
