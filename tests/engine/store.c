/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/engine/store.h"

/* ---- the store ------------------------------------------------------------------------------------------------- */

struct engine_slice store_key(struct store_key *key, uint32_t partition, uint32_t index)
{
	key->bytes[0] = (uint8_t)(partition >> 8);
	key->bytes[1] = (uint8_t)partition;
	int size = snprintf((char *)key->bytes + 2, sizeof key->bytes - 2, "k%05u", index);

	return (struct engine_slice){key->bytes, (size_t)size + 2};
}

void store_value(uint8_t out[STORE_VALUE], uint32_t partition, uint32_t index)
{
	for (uint32_t i = 0; i < STORE_VALUE; i++)
		out[i] = (uint8_t)((index * 2654435761u + partition * 40503u + i * i) >> (i % 7));
}

struct shard *store_shard(const struct store *store, uint32_t partition)
{
	return engine_shard(store->engine, partition % STORE_SHARDS);
}

int store_open(struct store *store)
{
	struct engine_error error;
	int rc = engine_open(&store->options, &store->engine, &error);

	if (rc && !sim_fs_is_down(store->disk))
		fail_msg("open: %d: %s", rc, error.text);
	return rc;
}

void store_restart(struct store *store)
{
	(void)engine_close(&store->engine);
	if (sim_fs_is_down(store->disk))
		sim_fs_restart(store->disk);
	assert_int_equal(store_open(store), 0);
}

int store_run_jobs(struct shard *shard)
{
	for (;;) {
		struct engine_job *job;
		int error = shard_maintain(shard, &job);

		if (error || job == NULL)
			return error;
		engine_job_run(job);
		error = shard_install(shard, &job);
		if (error)
			return error;
	}
}

/* For the first time, or the same once more. */
int store_write_partition(struct store *store, uint32_t partition)
{
	bool is_new = shard_tree_node(store_shard(store, partition), (uint16_t)partition, 0, 0) == 0;
	uint8_t value[STORE_VALUE];
	struct store_key key;
	int error;

	engine_batch_clear(store->batch);
	for (uint32_t i = 0; i < STORE_KEYS; i++) {
		store_value(value, partition, i);
		error = engine_batch_put(store->batch, store_key(&key, partition, i),
					 (struct engine_slice){value, STORE_VALUE},
					 is_new ? partition * 1000 + i + 1 : 0);
		assert_int_equal(error, 0);
	}
	error = shard_write(store_shard(store, partition), store->batch);
	return error ? error : shard_commit(store_shard(store, partition), ENGINE_SYNC_EACH);
}

void store_make(struct store *store)
{
	*store = (struct store){0};
	sim_fs_create(11, &store->disk);
	engine_options_default(&store->options);
	store->options.fs = sim_fs_table(store->disk);
	store->options.directory = "/store";
	store->options.shard_count = STORE_SHARDS;
	store->options.block_bytes = 4096;
	store->options.compression_upper = store->options.compression_last = ENGINE_COMPRESSION_NONE;
	assert_int_equal(engine_batch_create(&store->batch), 0);
	assert_int_equal(store_open(store), 0);
}

/* All partitions, in the log or in one table per shard. */
void store_fill_and(struct store *store, bool flushed, enum store_ending ending)
{
	store_make(store);
	for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++)
		assert_int_equal(store_write_partition(store, partition), 0);
	for (uint32_t i = 0; flushed && i < STORE_SHARDS; i++) {
		assert_int_equal(shard_request_flush(engine_shard(store->engine, i)), 0);
		assert_int_equal(store_run_jobs(engine_shard(store->engine, i)), 0);
	}
	if (ending == STORE_KILLED)
		sim_fs_kill(store->disk);
	assert_int_equal(engine_close(&store->engine) == 0, ending == STORE_CLOSED);
	sim_fs_restart(store->disk);
}

void store_fill(struct store *store, bool flushed)
{
	store_fill_and(store, flushed, STORE_CLOSED);
}

void store_free(struct store *store)
{
	(void)engine_close(&store->engine);
	engine_batch_destroy(&store->batch);
	sim_fs_destroy(&store->disk);
}

/* ---- what it says ---------------------------------------------------------------------------------------------- */

bool store_is_quarantined(const struct store *store, uint32_t partition)
{
	return shard_quarantined(store_shard(store, partition), partition) == (int32_t)partition;
}

struct store_tally store_read_partition(const struct store *store, uint32_t partition)
{
	struct store_tally tally = {0};
	uint8_t expected[STORE_VALUE];
	struct store_key key;

	for (uint32_t i = 0; i < STORE_KEYS; i++) {
		struct engine_value value;
		int error = shard_get(store_shard(store, partition), store_key(&key, partition, i), &value);

		if (error == 1) {
			store_value(expected, partition, i);
			assert_int_equal(value.size, STORE_VALUE);
			assert_memory_equal(value.data, expected, STORE_VALUE);
			tally.right++;
		} else if (error == 0) {
			tally.absent++;
		} else {
			assert_int_equal(error, -EBADMSG);
			tally.refused++;
		}
		engine_value_release(&value);
	}
	return tally;
}

uint64_t store_expected_root(uint32_t partition)
{
	uint64_t root = 0;

	for (uint32_t i = 0; i < STORE_KEYS; i++)
		root ^= partition * 1000 + i + 1;
	return root;
}

/* Exactly these are quarantined and answer so to everything, the others read and write. */
void store_check_only(struct store *store, const uint32_t *quarantined, size_t count)
{
	for (uint32_t partition = 0, at = 0; partition < STORE_PARTITIONS; partition++) {
		struct store_tally tally = store_read_partition(store, partition);

		if (at < count && quarantined[at] == partition) {
			at++;
			assert_true(store_is_quarantined(store, partition));
			assert_int_equal(tally.refused, STORE_KEYS);
			assert_int_equal(store_write_partition(store, partition), -EBADMSG);
			continue;
		}
		assert_false(store_is_quarantined(store, partition));
		if (tally.right != STORE_KEYS)
			fail_msg("partition %u: %u right, %u absent, %u refused: %s", partition, tally.right,
				 tally.absent, tally.refused, shard_error(store_shard(store, partition)));
		assert_int_equal(shard_tree_node(store_shard(store, partition), (uint16_t)partition, 0, 0),
				 store_expected_root(partition));
	}
}

int store_drop_partition(struct store *store, uint32_t partition)
{
	uint8_t begin[2] = {0, (uint8_t)partition}, end[2] = {0, (uint8_t)(partition + 1)};

	return shard_drop_range(store_shard(store, partition), (struct engine_slice){begin, 2},
				(struct engine_slice){end, 2});
}

/* ---- damaging it ----------------------------------------------------------------------------------------------- */

static void visit_file(void *arg, const char *path, uint64_t size)
{
	struct store_search *search = arg;
	const char *end = path + strlen(path) - strlen(search->suffix);

	(void)size;
	if (strncmp(path, search->prefix, strlen(search->prefix)) == 0 && strcmp(end, search->suffix) == 0 &&
	    !search->found[0])
		snprintf(search->found, sizeof search->found, "%s", path);
}

/* The first file of this kind in the shard; empty when there is none. */
const char *store_find_file(struct store *store, const char *shard, const char *suffix, struct store_search *search)
{
	*search = (struct store_search){.prefix = shard, .suffix = suffix};
	sim_fs_walk(store->disk, "/store", visit_file, search);
	return search->found;
}

uint64_t store_find_entry(struct store *store, const char *path, uint32_t partition, uint32_t index)
{
	uint8_t value[STORE_VALUE];
	const uint8_t *data, *hit;
	uint64_t size;

	store_value(value, partition, index);
	assert_int_equal(sim_fs_look(store->disk, path, &data, &size), 0);
	hit = memmem(data, size, value, STORE_VALUE);
	assert_non_null(hit);
	return (uint64_t)(hit - data) + 7;
}

void store_damage_entry(struct store *store, const char *path, uint32_t partition, uint32_t index)
{
	sim_fs_flip_bit(store->disk, path, store_find_entry(store, path, partition, index), 3);
}

void store_damage_table(struct store *store, uint32_t partition, uint32_t index)
{
	struct store_search search;

	store_damage_entry(store, store_find_file(store, "/store/shard-000", ".tab", &search), partition, index);
}
