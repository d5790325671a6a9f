/* SPDX-License-Identifier: Apache-2.0 */
/* Progress: which partitions have come to this node under one ring document, and DIR/transfer, where a restart finds it.
 *
 *     "kvringtr"  u64 epoch, u64 hash of the document, u32 partitions, a bit for each of them, u64 XXH3-64 of all before
 *
 * The file belongs to one document: under another one it counts for nothing. A damaged one says only that something was begun. Losing
 * it costs time, and never data: what is here is compared with its sources again.
 *
 * Threading   Upkeep's.
 * Ownership   Borrows the data directory.
 * Errors      -ENOMEM; from progress_store as data_dir.h.
 */
#ifndef KVRING_NODE_UPKEEP_PROGRESS_H
#define KVRING_NODE_UPKEEP_PROGRESS_H

#include "node/data_dir.h"
#include "ring/ring.h"

struct progress {
	uint64_t epoch, hash;
	uint32_t partition_count;
	uint8_t *complete; /* bits */
	bool resumed;      /* something of this document may have come before this start of the process */
	bool is_stored;
};

/* Reads what the file says of this document. */
RPC_OK int progress_open(struct progress *, struct data_dir *, const struct ring_document *);
/* What it says was read into a store that has lost some of it since. */
void progress_distrust(struct progress *);
void progress_fini(struct progress *);
bool progress_has(const struct progress *, uint32_t partition);
void progress_add(struct progress *, uint32_t partition);
RPC_OK int progress_store(struct progress *, struct data_dir *, struct rpc_error *error_out);

#endif
