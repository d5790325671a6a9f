/* SPDX-License-Identifier: Apache-2.0 */
/* Shelf: a place for single tables on a simulated disk, for the tests of what reads and writes them.
 *
 * Threading   One thread.
 * Ownership   Tables are the caller's to unref, before shelf_fini.
 * Errors      Fail the cmocka test.
 */
#ifndef KVRING_TESTS_ENGINE_SHELF_H
#define KVRING_TESTS_ENGINE_SHELF_H

#include "tests/sim/sim_fs.h"
#include "engine/table/sst.h"
#include "engine/table/sst_writer.h"

enum { SHELF_SHARD = 3 };

struct shelf {
	struct sim_fs *disk;
	struct files files; /* of shard SHELF_SHARD below /store */
	struct cache *cache;
	uint64_t next_number;
};

struct shelf_entry {
	struct engine_slice key, value;
	enum entry_type type;
};

void shelf_init(struct shelf *, size_t cache_bytes);
void shelf_fini(struct shelf *);
/* Writes the entries, whose keys must ascend. Free what meta_out holds. */
void shelf_write(struct shelf *, const struct sst_options *, const struct shelf_entry *, size_t count,
		 struct table_meta *meta_out);
/* The same, opened. Drops up to drop_id are applied in it. */
struct sst *shelf_table(struct shelf *, const struct sst_options *, const struct shelf_entry *, size_t count,
			uint64_t drop_id);

#endif
