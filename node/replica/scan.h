/* SPDX-License-Identifier: Apache-2.0 */
/* Scan: a partition of a shard read from end to end, piece by piece, and the partitions that the ring gives to others. Private to the
 * replica.
 *
 * Each piece has a snapshot of its own and begins behind the last key of the one before, so nothing is kept between them.
 *
 * Threading   The replica's.
 * Ownership   Borrows the shard; entries live in the arena.
 * Errors      Negative errno of the engine; -EBADMSG: damaged, or the partition is quarantined.
 * Invariants  N1 Every key that is there from the first piece to the last is in one of them.
 *             N2 Nothing is dropped of a partition that the ring of this node gives to it, nor while the ring is changing.
 */
#ifndef KVRING_NODE_REPLICA_SCAN_H
#define KVRING_NODE_REPLICA_SCAN_H

#include "node/actor/message.h"

RPC_OK int scan_read(struct shard *, const struct message *question, struct scanned_body *out, struct arena *);

/* What is to be dropped first: a row of partitions in the order of keys, up to the next one that stays. */
struct scan_spare {
	uint32_t left;       /* partitions of the shard that have data and are not this node's */
	uint32_t count;      /* of them, those in the row */
	uint32_t begin, end; /* the row */
};

/* REPLICA_STALE_RING: the ring is another one, or is changing. */
enum replica_status scan_find_spare(const struct shard *, const struct ring_view *, uint64_t epoch,
				    uint32_t shard_index, uint32_t shard_count, struct scan_spare *out);
RPC_OK int scan_drop(struct shard *, const struct scan_spare *);

#endif
