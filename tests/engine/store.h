/* SPDX-License-Identifier: Apache-2.0 */
/* Store: two shards, eight partitions and always the same entries, to be damaged behind the engine's back.
 *
 * Threading   One thread.
 * Ownership   store_free closes the engine and frees the disk.
 * Errors      Fail the cmocka test; store_open and what takes a partition return what the engine returned.
 */
#ifndef KVRING_TESTS_ENGINE_STORE_H
#define KVRING_TESTS_ENGINE_STORE_H

#include "engine/engine.h"
#include "tests/sim/sim_fs.h"

enum {
	STORE_SHARDS = 2,
	STORE_PARTITIONS = 8,
	STORE_KEYS = 120, /* per partition */
	STORE_VALUE = 180,
	STORE_VICTIM = 4 /* a partition of shard 0, which has 0, 2, 4 and 6 */
};

struct store {
	struct sim_fs *disk;
	struct engine_options options;
	struct engine *engine;
	struct engine_batch *batch;
};

struct store_key {
	uint8_t bytes[16];
};

enum store_ending { STORE_CLOSED, STORE_KILLED };

/* ---- making it ---- */

/* A new, empty store, open. */
void store_make(struct store *);
/* A store with all partitions, in one table per shard or in the log, closed in order or killed. */
void store_fill(struct store *, bool flushed);
void store_fill_and(struct store *, bool flushed, enum store_ending);
void store_free(struct store *);
int store_open(struct store *);
/* Closes, powers the disk up when it is down, and opens. */
void store_restart(struct store *);
/* Until there is none left, or one fails. */
int store_run_jobs(struct shard *);
/* Writes all entries of a partition: for the first time, or the same once more. */
int store_write_partition(struct store *, uint32_t partition);
int store_drop_partition(struct store *, uint32_t partition);

struct shard *store_shard(const struct store *, uint32_t partition);
struct engine_slice store_key(struct store_key *, uint32_t partition, uint32_t index);
void store_value(uint8_t out[STORE_VALUE], uint32_t partition, uint32_t index);

/* ---- checking it ---- */

struct store_tally {
	uint32_t right, absent, refused;
};

bool store_is_quarantined(const struct store *, uint32_t partition);
/* How all keys of a partition read; a wrong value fails the test. */
struct store_tally store_read_partition(const struct store *, uint32_t partition);
uint64_t store_expected_root(uint32_t partition);
/* Exactly these are quarantined and say so to everything; the others read, write and have the right tree. */
void store_check_only(struct store *, const uint32_t *quarantined, size_t count);

/* ---- damaging it ---- */

struct store_search {
	const char *prefix, *suffix;
	char found[128];
};

/* The first file of this kind in the shard; empty when there is none. */
const char *store_find_file(struct store *, const char *shard, const char *suffix, struct store_search *);
/* Where in the file a byte of the value of this key lies. */
uint64_t store_find_entry(struct store *, const char *path, uint32_t partition, uint32_t index);
/* Flips a bit there. */
void store_damage_entry(struct store *, const char *path, uint32_t partition, uint32_t index);
void store_damage_table(struct store *, uint32_t partition, uint32_t index);

#endif
