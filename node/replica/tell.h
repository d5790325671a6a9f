/* SPDX-License-Identifier: Apache-2.0 */
/* What a replica tells: operators by notes, and the figures of its shard. Private to the replica.
 *
 * Threading   The replica's; the figures are read by any thread.
 */
#ifndef KVRING_NODE_REPLICA_TELL_H
#define KVRING_NODE_REPLICA_TELL_H

#include "engine/engine.h"
#include "node/actor/event.h"
#include "node/replica/replica.h"

struct replica_tell {
	struct shard *shard;
	uint32_t index;
	uint32_t store_errors, job_errors; /* not told yet */
	uint32_t quarantined;              /* partitions, as told last */
	uint64_t figures_us;               /* when the figures are read next; 0: they are current */
	struct replica_figures figures;
};

/* At the end of a step: what the store could not do. */
void replica_tell_failures(struct replica_tell *, struct effects *out);
/* The shard's log could not be written or synced. */
void replica_tell_log(const struct replica_tell *, int error, struct effects *out);
/* At the end of a step: reads the figures when it is time, and tells when the number of damaged partitions has changed. */
void replica_tell_figures(struct replica_tell *, const struct event *, struct effects *out);

#endif
