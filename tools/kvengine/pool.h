/* SPDX-License-Identifier: Apache-2.0 */
/* Pool: threads that run the engine's jobs for the benchmark. Owners submit and collect.
 *
 * Threading   Any number of owners. pool_collect returns jobs of that owner's shard only.
 * Ownership   A submitted job is the pool's until collected.
 */
#ifndef KVRING_TOOLS_KVENGINE_POOL_H
#define KVRING_TOOLS_KVENGINE_POOL_H

#include <stdbool.h>

#include "engine/engine.h"

struct pool;

int pool_create(unsigned thread_count, struct pool **out);
void pool_destroy(struct pool **); /* everything must have been collected */

/* Installs what is finished and starts what can start, for this shard. wait: until at least one job was installed,
 * unless none is under way. Returns 0 or the first error. */
int pool_tend(struct pool *, struct shard *, bool wait);
/* Until the shard has nothing to do. */
int pool_drain(struct pool *, struct shard *);

#endif
