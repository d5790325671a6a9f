/* SPDX-License-Identifier: Apache-2.0 */
/* Inspect: reads a store that no process has open, and changes nothing in it. For kvengine; the second public header.
 *
 * Threading   One thread.
 * Ownership   Borrows everything.
 * Errors      What stands in the way of reading at all (-ENOENT, -EWOULDBLOCK, -ENOMEM, ...). Damage is not an error
 *             but a finding: it is printed, counted, and reading goes on behind it where that is possible.
 */
#ifndef KVRING_ENGINE_INSPECT_H
#define KVRING_ENGINE_INSPECT_H

#include <stdio.h>

#include "engine/engine.h"

struct fs;

enum inspect_what {
	INSPECT_STATS,  /* per shard: levels, runs, sizes, counts */
	INSPECT_VERIFY, /* every byte of every file against its checksums, order of keys, sequences of the log */
	INSPECT_FILES,  /* the manifest, each table with its range, each log segment with its batches */
	INSPECT_ENTRIES /* as FILES, and every key with type and size of its value */
};

struct inspect_result {
	uint64_t damaged;     /* places */
	uint64_t quarantined; /* partitions */
	uint64_t tables, blocks, entries, logs, batches, bytes;
};

/* fs NULL: fs_posix(). */
ENGINE_OK int engine_inspect(const struct fs *, const char *directory, enum inspect_what, FILE *out,
			     struct inspect_result *result_out, struct engine_error *error_out);

#endif
