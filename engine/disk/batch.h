/* SPDX-License-Identifier: Apache-2.0 */
/* Batch: entries encoded as the log has them (wal.h), so that writing them is one copy.
 *
 * Threading   One user.
 * Errors      -EINVAL for a key shorter than a partition number or for sizes beyond the limits of engine.h; -ENOMEM.
 */
#ifndef KVRING_ENGINE_BATCH_H
#define KVRING_ENGINE_BATCH_H

#include "engine/disk/buffer.h"
#include "engine/disk/wal.h"

struct engine_batch {
	struct buffer entries;
	uint32_t count;
	bool has_deltas;
	uint64_t user_bytes;
};

#endif
