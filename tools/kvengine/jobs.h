/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: background work of the benchmark's shards, on a pool of threads (engine/pool.h). Owners start and install it.
 *
 * Threading   Any number of owners, each for its shard. Create and destroy: one thread.
 * Ownership   A job is the pool's until it has run.
 * Errors      Negative errno; of a shard the first that it says.
 */
#ifndef KVRING_TOOLS_KVENGINE_JOBS_H
#define KVRING_TOOLS_KVENGINE_JOBS_H

#include <stdbool.h>
#include "engine/pool.h"

struct jobs;

ENGINE_OK int jobs_create(uint32_t merge_threads, struct jobs **out);
void jobs_destroy(struct jobs **); /* when everything has been installed */

/* Installs what is finished and starts what can start, for this shard. wait: until at least one job was installed,
 * unless none is under way. */
ENGINE_OK int jobs_tend(struct jobs *, struct shard *, bool wait);
/* Until the shard has nothing to do. */
ENGINE_OK int jobs_drain(struct jobs *, struct shard *);

#endif
