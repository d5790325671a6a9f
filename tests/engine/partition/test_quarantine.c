/* SPDX-License-Identifier: Apache-2.0 */
/* Quarantine: damage to acknowledged data costs the partitions it concerns and no others, stays known across restarts and crashes,
 * and ends with a drop. A store of two shards and eight partitions with fixed entries, damaged behind its back. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/inspect.h"
#include "engine/state/manifest.h"
#include "engine/partition/quarantine.h"
#include "tests/sim/sim_fs.h"

enum { SHARDS = 2, PARTITIONS = 8, KEYS = 120 /* per partition */, VALUE = 180, VICTIM = 4 /* of shard 0: 0 2 4 6 */ };

struct store {
	struct sim_fs *disk;
	struct engine_options options;
	struct engine *engine;
	struct engine_batch *batch;
};

/* ---- the store ------------------------------------------------------------------------------------------------- */

struct key {
	uint8_t bytes[16];
};

static struct engine_slice make_key(struct key *key, uint32_t partition, uint32_t index)
{
	key->bytes[0] = (uint8_t)(partition >> 8);
	key->bytes[1] = (uint8_t)partition;
	int size = snprintf((char *)key->bytes + 2, sizeof(key->bytes) - 2, "k%05u", index);

	return (struct engine_slice){key->bytes, (size_t)size + 2};
}

static void make_value(uint8_t out[VALUE], uint32_t partition, uint32_t index)
{
	for (uint32_t i = 0; i < VALUE; i++)
		out[i] = (uint8_t)((index * 2654435761u + partition * 40503u + i * i) >> (i % 7));
}

static struct shard *shard_of(const struct store *store, uint32_t partition)
{
	return engine_shard(store->engine, partition % SHARDS);
}

static int open_store(struct store *store)
{
	struct engine_error error;
	int rc = engine_open(&store->options, &store->engine, &error);

	if (rc && !sim_fs_is_down(store->disk))
		fail_msg("open: %d: %s", rc, error.text);
	return rc;
}

static void restart(struct store *store)
{
	(void)engine_close(&store->engine);
	if (sim_fs_is_down(store->disk))
		sim_fs_restart(store->disk);
	assert_int_equal(open_store(store), 0);
}

static int run_jobs(struct shard *shard)
{
	for (;;) {
		struct engine_job *job;
		int rc = shard_maintain(shard, &job);

		if (rc || !job)
			return rc;
		engine_job_run(job);
		rc = shard_install(shard, &job);
		if (rc)
			return rc;
	}
}

/* For the first time, or the same once more. */
static int write_partition(struct store *store, uint32_t partition)
{
	bool is_new = shard_tree_node(shard_of(store, partition), (uint16_t)partition, 0, 0) == 0;
	uint8_t value[VALUE];
	struct key key;
	int rc;

	engine_batch_clear(store->batch);
	for (uint32_t i = 0; i < KEYS; i++) {
		make_value(value, partition, i);
		rc = engine_batch_put(store->batch, make_key(&key, partition, i), (struct engine_slice){value, VALUE},
				      is_new ? partition * 1000 + i + 1 : 0);
		assert_int_equal(rc, 0);
	}
	rc = shard_write(shard_of(store, partition), store->batch);
	return rc ? rc : shard_commit(shard_of(store, partition), ENGINE_SYNC_EACH);
}

static void make_store(struct store *store)
{
	*store = (struct store){0};
	sim_fs_create(11, &store->disk);
	engine_options_default(&store->options);
	store->options.fs = sim_fs_table(store->disk);
	store->options.directory = "/store";
	store->options.shard_count = SHARDS;
	store->options.block_bytes = 4096;
	store->options.compression_upper = store->options.compression_last = ENGINE_COMPRESSION_NONE;
	assert_int_equal(engine_batch_create(&store->batch), 0);
	assert_int_equal(open_store(store), 0);
}

enum ending { CLOSED, KILLED };

/* All partitions, in the log or in one table per shard. */
static void fill_store_and(struct store *store, bool flushed, enum ending ending)
{
	make_store(store);
	for (uint32_t partition = 0; partition < PARTITIONS; partition++)
		assert_int_equal(write_partition(store, partition), 0);
	for (uint32_t i = 0; flushed && i < SHARDS; i++) {
		assert_int_equal(shard_request_flush(engine_shard(store->engine, i)), 0);
		assert_int_equal(run_jobs(engine_shard(store->engine, i)), 0);
	}
	if (ending == KILLED)
		sim_fs_kill(store->disk);
	assert_int_equal(engine_close(&store->engine) == 0, ending == CLOSED);
	sim_fs_restart(store->disk);
}

static void fill_store(struct store *store, bool flushed)
{
	fill_store_and(store, flushed, CLOSED);
}

static void free_store(struct store *store)
{
	(void)engine_close(&store->engine);
	engine_batch_destroy(&store->batch);
	sim_fs_destroy(&store->disk);
}

/* ---- what it says ---------------------------------------------------------------------------------------------- */

static bool is_quarantined(const struct store *store, uint32_t partition)
{
	return shard_quarantined(shard_of(store, partition), partition) == (int32_t)partition;
}

struct tally {
	uint32_t right, absent, refused;
};

static struct tally read_partition(const struct store *store, uint32_t partition)
{
	struct tally tally = {0};
	uint8_t expected[VALUE];
	struct key key;

	for (uint32_t i = 0; i < KEYS; i++) {
		struct engine_value value;
		int rc = shard_get(shard_of(store, partition), make_key(&key, partition, i), &value);

		if (rc == 1) {
			make_value(expected, partition, i);
			assert_int_equal(value.size, VALUE);
			assert_memory_equal(value.data, expected, VALUE);
			tally.right++;
		} else if (rc == 0) {
			tally.absent++;
		} else {
			assert_int_equal(rc, -EBADMSG);
			tally.refused++;
		}
		engine_value_release(&value);
	}
	return tally;
}

static uint64_t expected_root(uint32_t partition)
{
	uint64_t root = 0;

	for (uint32_t i = 0; i < KEYS; i++)
		root ^= partition * 1000 + i + 1;
	return root;
}

/* Exactly these are quarantined and answer so to everything, the others read and write. */
static void check_only(struct store *store, const uint32_t *quarantined, size_t count)
{
	for (uint32_t partition = 0, at = 0; partition < PARTITIONS; partition++) {
		struct tally tally = read_partition(store, partition);

		if (at < count && quarantined[at] == partition) {
			at++;
			assert_true(is_quarantined(store, partition));
			assert_int_equal(tally.refused, KEYS);
			assert_int_equal(write_partition(store, partition), -EBADMSG);
			continue;
		}
		assert_false(is_quarantined(store, partition));
		if (tally.right != KEYS)
			fail_msg("partition %u: %u right, %u absent, %u refused: %s", partition, tally.right,
				 tally.absent, tally.refused, shard_error(shard_of(store, partition)));
		assert_int_equal(shard_tree_node(shard_of(store, partition), (uint16_t)partition, 0, 0),
				 expected_root(partition));
	}
}

static int drop_partition(struct store *store, uint32_t partition)
{
	uint8_t begin[2] = {0, (uint8_t)partition}, end[2] = {0, (uint8_t)(partition + 1)};

	return shard_drop_range(shard_of(store, partition), (struct engine_slice){begin, 2},
				(struct engine_slice){end, 2});
}

/* ---- damaging it ----------------------------------------------------------------------------------------------- */

struct search {
	const char *prefix, *suffix;
	char found[128];
};

static void visit_file(void *arg, const char *path, uint64_t size)
{
	struct search *search = arg;
	const char *end = path + strlen(path) - strlen(search->suffix);

	(void)size;
	if (strncmp(path, search->prefix, strlen(search->prefix)) == 0 && strcmp(end, search->suffix) == 0 &&
	    !search->found[0])
		snprintf(search->found, sizeof(search->found), "%s", path);
}

/* The first file of this kind in the shard; empty when there is none. */
static const char *find_file(struct store *store, const char *shard, const char *suffix, struct search *search)
{
	*search = (struct search){.prefix = shard, .suffix = suffix};
	sim_fs_walk(store->disk, "/store", visit_file, search);
	return search->found;
}

/* Flips a bit in the value of this key, wherever the file holds it. */
static void damage_entry(struct store *store, const char *path, uint32_t partition, uint32_t index)
{
	uint8_t value[VALUE];
	const uint8_t *data, *hit;
	uint64_t size;

	make_value(value, partition, index);
	assert_int_equal(sim_fs_look(store->disk, path, &data, &size), 0);
	hit = memmem(data, size, value, VALUE);
	assert_non_null(hit);
	sim_fs_flip_bit(store->disk, path, (uint64_t)(hit - data) + 7, 3);
}

static void damage_table(struct store *store, uint32_t partition, uint32_t index)
{
	struct search search;

	damage_entry(store, find_file(store, "/store/shard-000", ".tab", &search), partition, index);
}

/* ---- the set --------------------------------------------------------------------------------------------------- */

static struct quarantine *make_set(const struct partition_row *rows, size_t count)
{
	struct quarantine *set;

	assert_int_equal(quarantine_create(NULL, &set), 0);
	for (size_t i = 0; i < count; i++)
		quarantine_add(set, &rows[i]);
	return set;
}

static void test_set_finds_what_is_in_it(void **state)
{
	const struct partition_row rows[] = {{5, 5, 1}, {64, 70, 3}, {65535, 65535, 1}};
	struct quarantine *set = make_set(rows, 3);

	(void)state;
	assert_int_equal(quarantine_count(set), 5);
	assert_true(quarantine_has(set, 67) && !quarantine_has(set, 68) && !quarantine_has(NULL, 67));
	assert_int_equal(quarantine_first(set, 0, 65535), 5);
	assert_int_equal(quarantine_first(set, 6, 65535), 64);
	assert_int_equal(quarantine_first(set, 6, 63), -1);
	assert_int_equal(quarantine_first(set, 71, 65534), -1);
	assert_int_equal(quarantine_first(set, 65535, 65535), 65535);
	assert_int_equal(quarantine_first(set, 65536, 65535), -1);
	assert_int_equal(quarantine_last(set, 0, 65535), 65535);
	assert_int_equal(quarantine_last(set, 0, 65534), 70);
	assert_int_equal(quarantine_last(set, 6, 63), -1);
	assert_int_equal(quarantine_last(set, 5, 5), 5);
	assert_int_equal(quarantine_first(NULL, 0, 65535), -1);
	assert_int_equal(quarantine_last(NULL, 0, 65535), -1);
	quarantine_unref(&set);
}

static void check_round_trip(const struct partition_row *rows, size_t count, size_t most_bytes)
{
	struct quarantine *set = make_set(rows, count), *got;
	struct buffer bytes = {0};
	struct reader reader;

	strcpy(set->reason.text, "what was found");
	assert_int_equal(quarantine_encode(set, &bytes), 0);
	assert_true(bytes.size <= most_bytes);
	for (size_t size = 0; size < bytes.size; size++) {
		reader = (struct reader){bytes.data, bytes.data + size, false};
		assert_int_equal(quarantine_decode(&reader, &got), -EBADMSG);
		assert_null(got);
	}
	reader = (struct reader){bytes.data, bytes.data + bytes.size, false};
	assert_int_equal(quarantine_decode(&reader, &got), 0);
	assert_memory_equal(got->words, set->words, sizeof(set->words));
	assert_string_equal(got->reason.text, "what was found");
	buffer_fini(&bytes);
	quarantine_unref(&got);
	quarantine_unref(&set);
}

static void test_set_is_saved_in_few_bytes(void **state)
{
	(void)state;
	check_round_trip((struct partition_row[]){{3, 65535, 16}}, 1, 64);
	check_round_trip((struct partition_row[]){{0, 65535, 1}}, 1, 64);
	check_round_trip((struct partition_row[]){{0, 5, 5}, {1000, 2000, 8}, {65535, 65535, 1}}, 3, 64);
}

static void test_only_a_whole_partition_is_released(void **state)
{
	const struct partition_row all = {0, 65535, 1};
	struct quarantine *set = make_set(&all, 1);

	(void)state;
	quarantine_remove_range(set, (struct engine_slice){"\0\3", 2}, (struct engine_slice){"\0\5", 2});
	assert_int_equal(quarantine_count(set), 65534);
	assert_true(!quarantine_has(set, 3) && !quarantine_has(set, 4));
	quarantine_remove_range(set, (struct engine_slice){"\0\10\0", 3}, (struct engine_slice){"\0\12a", 3});
	assert_true(quarantine_has(set, 8) && !quarantine_has(set, 9) && quarantine_has(set, 10));
	quarantine_remove_range(set, (struct engine_slice){"\xff\xff", 2}, (struct engine_slice){0});
	assert_false(quarantine_has(set, 65535));
	quarantine_remove_range(set, (struct engine_slice){0}, (struct engine_slice){0});
	assert_int_equal(quarantine_count(set), 0);
	quarantine_unref(&set);
}

/* A drop ends a quarantine, but not one that comes after it: also when the state is copied and written anew. */
static void test_quarantine_after_a_drop_stays(void **state)
{
	const struct partition_row row = {4, 6, 2};
	struct quarantine *set = make_set(&row, 1);
	struct manifest_drop drop = {.id = 1, .begin = {(uint8_t *)"\0\4", 2, 2}, .end = {(uint8_t *)"\0\5", 2, 2}};
	struct manifest_edit dropped = {.drop = &drop}, found = {.quarantine = set}, nothing = {0};
	struct manifest_state first = {.next_number = 2}, second, third, fourth, again;
	struct manifest *manifest;
	struct sim_fs *disk;
	struct files files;
	uint64_t tail;

	(void)state;
	sim_fs_create(1, &disk);
	files_init(&files, sim_fs_table(disk), "", 0);
	assert_int_equal(files.fs->mkdir(files.fs, files.directory), 0);
	assert_int_equal(manifest_state_change(&first, &dropped, &second), 0);
	assert_int_equal(manifest_state_change(&second, &found, &third), 0);
	assert_int_equal(manifest_state_change(&third, &nothing, &fourth), 0);
	assert_int_equal(quarantine_count(fourth.quarantine), 2);
	assert_int_equal(manifest_create(&files, 1, &fourth, &manifest), 0);
	drop.id = 2;
	assert_int_equal(manifest_append(manifest, &nothing), 0);
	assert_int_equal(manifest_read(&files, &again, &tail, NULL), 0);
	assert_int_equal(quarantine_count(again.quarantine), 2);
	manifest_state_fini(&again);
	assert_int_equal(manifest_append(manifest, &dropped), 0);
	assert_int_equal(manifest_read(&files, &again, &tail, NULL), 0);
	assert_int_equal(quarantine_count(again.quarantine), 1);
	assert_true(quarantine_has(again.quarantine, 6));
	manifest_state_fini(&again);
	manifest_close(&manifest);
	manifest_state_fini(&second);
	manifest_state_fini(&third);
	manifest_state_fini(&fourth);
	quarantine_unref(&set);
	sim_fs_destroy(&disk);
}

/* ---- the log --------------------------------------------------------------------------------------------------- */

static const uint32_t shard_0[] = {0, 2, 4, 6};

static void test_log_damage_costs_its_shard_alone(void **state)
{
	struct store store;
	struct search log;

	(void)state;
	fill_store(&store, false);
	damage_entry(&store, find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
	assert_int_equal(open_store(&store), 0);
	const char *reason = shard_quarantine_reason(shard_of(&store, 0));

	/* Which file and where, what it means, what to do. */
	assert_non_null(strstr(reason, log.found));
	assert_non_null(strstr(reason, "at offset"));
	assert_non_null(strstr(reason, "acknowledged writes are lost"));
	assert_non_null(strstr(reason, "all partitions of shard 0"));
	assert_non_null(strstr(reason, "refill"));
	assert_string_equal(shard_quarantine_reason(shard_of(&store, 1)), "");
	check_only(&store, shard_0, 4);
	/* Also partitions of which nothing is known; and the damaged segment is kept. */
	assert_int_equal(shard_quarantined(shard_of(&store, 0), 5000), 5000);
	find_file(&store, "/store/shard-000", ".log.damaged", &log);
	assert_true(log.found[0] != 0);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(write_partition(&store, 3), 0);
		restart(&store);
		check_only(&store, shard_0, 4);
		assert_non_null(strstr(shard_quarantine_reason(shard_of(&store, 0)), "at offset"));
	}
	free_store(&store);
}

static void test_dropping_and_filling_ends_it(void **state)
{
	static const uint32_t rest[] = {0, 2, 6};
	struct store store;
	struct search log;

	(void)state;
	fill_store(&store, false);
	damage_entry(&store, find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
	assert_int_equal(open_store(&store), 0);
	/* A part of a partition is not enough. */
	assert_int_equal(shard_drop_range(shard_of(&store, 4), (struct engine_slice){"\0\4k", 3},
					  (struct engine_slice){"\0\5", 2}),
			 0);
	check_only(&store, shard_0, 4);
	assert_int_equal(drop_partition(&store, 4), 0);
	assert_int_equal(read_partition(&store, 4).absent, KEYS);
	assert_int_equal(shard_tree_node(shard_of(&store, 4), 4, 0, 0), 0);
	restart(&store);
	assert_int_equal(read_partition(&store, 4).absent, KEYS);
	assert_int_equal(write_partition(&store, 4), 0);
	check_only(&store, rest, 3);
	restart(&store);
	check_only(&store, rest, 3);
	/* All at once. */
	assert_int_equal(shard_drop_range(shard_of(&store, 0), (struct engine_slice){0}, (struct engine_slice){0}), 0);
	assert_int_equal(shard_quarantined(shard_of(&store, 0), 0), -1);
	assert_string_equal(shard_quarantine_reason(shard_of(&store, 0)), "");
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(write_partition(&store, shard_0[i]), 0);
	check_only(&store, NULL, 0);
	restart(&store);
	check_only(&store, NULL, 0);
	free_store(&store);
}

static void test_missing_segment_and_tree_are_damage(void **state)
{
	static const char *const suffixes[] = {".log", ".tree"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct search file;
		struct store store;
		const struct fs *fs;

		fill_store(&store, i == 1);
		fs = store.options.fs;
		assert_int_equal(fs->unlink(fs, find_file(&store, "/store/shard-000", suffixes[i], &file)), 0);
		assert_int_equal(open_store(&store), 0);
		check_only(&store, shard_0, 4);
		restart(&store);
		check_only(&store, shard_0, 4);
		free_store(&store);
	}
}

/* ---- tables ---------------------------------------------------------------------------------------------------- */

/* A block in the middle of a partition's keys. */
static void test_block_damage_costs_its_partition_alone(void **state)
{
	static const uint32_t victim[] = {VICTIM};
	struct engine_snapshot *before;
	struct engine_job *job;
	struct store store;
	struct engine_value value;
	struct key key;
	struct tally tally;

	(void)state;
	fill_store(&store, true);
	damage_table(&store, VICTIM, KEYS / 2);
	assert_int_equal(open_store(&store), 0);
	assert_int_equal(shard_snapshot(shard_of(&store, VICTIM), &before), 0);
	tally = read_partition(&store, VICTIM);
	assert_true(tally.refused > 0 && tally.right > 0 && tally.absent == 0);
	/* Noted, and made known by the next round. */
	assert_int_equal(shard_maintain(shard_of(&store, VICTIM), &job), 0);
	assert_null(job);
	const char *reason = shard_quarantine_reason(shard_of(&store, VICTIM));

	assert_non_null(strstr(reason, ".tab: the block at offset"));
	assert_non_null(strstr(reason, "partitions from 4 to 4"));
	assert_non_null(strstr(reason, "refill"));
	check_only(&store, victim, 1);
	/* A snapshot taken before keeps its answers. */
	assert_int_equal(engine_snapshot_get(before, make_key(&key, VICTIM, 0), &value), 1);
	engine_value_release(&value);
	assert_int_equal(engine_snapshot_get(before, make_key(&key, VICTIM, KEYS / 2), &value), -EBADMSG);
	engine_snapshot_release(&before);
	restart(&store);
	check_only(&store, victim, 1);
	/* Merges go on, past the damaged block. */
	assert_int_equal(shard_request_compaction(shard_of(&store, VICTIM)), 0);
	for (uint32_t i = 0; i < PARTITIONS; i++) {
		if (i != VICTIM)
			assert_int_equal(write_partition(&store, i), 0);
	}
	assert_int_equal(shard_request_compaction(shard_of(&store, VICTIM)), 0);
	assert_int_equal(run_jobs(shard_of(&store, VICTIM)), 0);
	check_only(&store, victim, 1);
	assert_int_equal(drop_partition(&store, VICTIM), 0);
	assert_int_equal(write_partition(&store, VICTIM), 0);
	check_only(&store, NULL, 0);
	restart(&store);
	assert_int_equal(run_jobs(shard_of(&store, VICTIM)), 0);
	check_only(&store, NULL, 0);
	free_store(&store);
}

/* Nobody reads the block but a merge: it fails, and the one after it passes. */
static void test_merge_finds_damage_and_goes_on(void **state)
{
	static const uint32_t victim[] = {VICTIM};
	struct shard_stats stats;
	struct store store;
	struct shard *shard;
	int rc;

	(void)state;
	fill_store(&store, true);
	damage_table(&store, VICTIM, KEYS / 2);
	assert_int_equal(open_store(&store), 0);
	shard = shard_of(&store, VICTIM);
	assert_int_equal(write_partition(&store, 0), 0);
	assert_int_equal(shard_request_compaction(shard), 0);
	rc = run_jobs(shard);
	assert_int_equal(rc, -EBADMSG);
	assert_int_equal(run_jobs(shard), 0);
	check_only(&store, victim, 1);
	shard_stats(shard, &stats);
	assert_int_equal(stats.quarantined_partitions, 1);
	assert_int_equal(stats.level_table_count[7], stats.table_count);
	free_store(&store);
}

static void *read_in_thread(void *arg)
{
	struct engine_snapshot *snapshot = arg;
	struct engine_value value;
	struct key key;
	int rc = engine_snapshot_get(snapshot, make_key(&key, VICTIM, KEYS / 2), &value);

	assert_int_equal(rc, -EBADMSG);
	return NULL;
}

static void test_other_threads_only_leave_a_note(void **state)
{
	static const uint32_t victim[] = {VICTIM};
	struct engine_snapshot *snapshot;
	struct store store;
	pthread_t threads[2];

	(void)state;
	fill_store(&store, true);
	damage_table(&store, VICTIM, KEYS / 2);
	assert_int_equal(open_store(&store), 0);
	assert_int_equal(shard_snapshot(shard_of(&store, VICTIM), &snapshot), 0);
	/* One after the other: the simulated disk has one thread. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, read_in_thread, snapshot), 0);
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	}
	assert_int_equal(shard_quarantined(shard_of(&store, VICTIM), 0), -1);
	engine_snapshot_release(&snapshot);
	assert_int_equal(run_jobs(shard_of(&store, VICTIM)), 0);
	check_only(&store, victim, 1);
	free_store(&store);
}

/* An iteration stops where it would leave out a partition, and says which. */
static void test_iteration_stops_and_goes_on_behind(void **state)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	struct store store;
	struct key key;
	int rc;

	(void)state;
	fill_store(&store, true);
	damage_table(&store, VICTIM, KEYS / 2);
	assert_int_equal(open_store(&store), 0);
	read_partition(&store, VICTIM);
	assert_int_equal(run_jobs(shard_of(&store, VICTIM)), 0);
	assert_int_equal(shard_snapshot(shard_of(&store, VICTIM), &snapshot), 0);
	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	rc = engine_iterator_seek(iterator, make_key(&key, 2, 0));
	for (uint32_t i = 0; i < KEYS; i++) {
		assert_int_equal(rc, 1);
		rc = engine_iterator_next(iterator);
	}
	assert_int_equal(rc, -EBADMSG);
	assert_int_equal(engine_iterator_quarantined(iterator), VICTIM);
	assert_int_equal(engine_iterator_next(iterator), -EBADMSG);
	assert_int_equal(engine_iterator_seek(iterator, make_key(&key, VICTIM, 3)), -EBADMSG);
	assert_int_equal(engine_iterator_quarantined(iterator), VICTIM);
	assert_int_equal(engine_iterator_seek(iterator, (struct engine_slice){"\0\5", 2}), 1);
	assert_int_equal(engine_iterator_quarantined(iterator), -1);
	assert_int_equal(((const uint8_t *)engine_iterator_key(iterator).data)[1], 6);
	assert_int_equal(engine_iterator_prev(iterator), -EBADMSG);
	assert_int_equal(engine_iterator_quarantined(iterator), VICTIM);
	assert_int_equal(engine_iterator_seek_last(iterator, (struct engine_slice){"\0\4", 2}), -EBADMSG);
	assert_int_equal(engine_iterator_seek_last(iterator, (struct engine_slice){"\0\3", 2}), 1);
	assert_int_equal(((const uint8_t *)engine_iterator_key(iterator).data)[1], 2);
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	free_store(&store);
}

/* A table that cannot be opened costs its range, not what other tables hold. */
static void test_lost_table_costs_its_range(void **state)
{
	static const uint32_t lost[] = {4, 6}, one[] = {6};

	(void)state;
	for (int how = 0; how < 3; how++) {
		struct search file;
		struct engine_error error;
		struct store store;
		uint64_t size;
		const uint8_t *data;

		make_store(&store);
		for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
			assert_int_equal(write_partition(&store, partition), 0);
			if (partition == 2)
				assert_int_equal(shard_request_flush(shard_of(&store, 0)), 0);
			if (partition == 2)
				assert_int_equal(run_jobs(shard_of(&store, 0)), 0);
		}
		assert_int_equal(engine_close(&store.engine), 0);
		/* The first table is renamed away, so that the second one is the first found. */
		assert_int_equal(open_store(&store), 0);
		find_file(&store, "/store/shard-000", ".tab", &file);
		char first[128];

		strcpy(first, file.found);
		assert_int_equal(shard_request_flush(shard_of(&store, 0)), 0);
		assert_int_equal(run_jobs(shard_of(&store, 0)), 0);
		assert_int_equal(engine_close(&store.engine), 0);
		store.options.fs->rename(store.options.fs, first, "/store/first");
		find_file(&store, "/store/shard-000", ".tab", &file);
		store.options.fs->rename(store.options.fs, "/store/first", first);
		assert_int_equal(sim_fs_look(store.disk, file.found, &data, &size), 0);
		if (how == 0)
			assert_int_equal(store.options.fs->unlink(store.options.fs, file.found), 0);
		else if (how == 1)
			sim_fs_flip_bit(store.disk, file.found, size - 20, 1); /* footer */
		else
			sim_fs_cut(store.disk, file.found, size / 2);
		assert_int_equal(open_store(&store), 0);
		assert_non_null(strstr(shard_quarantine_reason(shard_of(&store, 0)), file.found));
		check_only(&store, lost, 2);
		/* Copies of it know it too. */
		assert_int_equal(engine_checkpoint(store.engine, "/copy", &error), 0);
		assert_int_equal(drop_partition(&store, 4), 0);
		assert_int_equal(write_partition(&store, 4), 0);
		check_only(&store, one, 1);
		assert_int_equal(shard_request_compaction(shard_of(&store, 0)), 0);
		assert_int_equal(run_jobs(shard_of(&store, 0)), 0);
		check_only(&store, one, 1);
		restart(&store);
		check_only(&store, one, 1);
		assert_int_equal(engine_close(&store.engine), 0);
		store.options.directory = "/copy";
		assert_int_equal(open_store(&store), 0);
		check_only(&store, lost, 2);
		free_store(&store);
	}
}

/* Several damaged blocks, which nobody reads but the scrub; it goes on where it was, and begins anew. */
static bool is_there(struct store *store, const char *path)
{
	const uint8_t *data;
	uint64_t size;

	return sim_fs_look(store->disk, path, &data, &size) == 0;
}

/* A manifest older than its files names tables that are gone and not those that are there: these stay until that is settled. */
static void test_unnamed_tables_stay_beside_missing_ones(void **state)
{
	static const char unnamed[] = "/store/shard-000/0000009999.tab";
	struct engine_slice all = {0};
	struct search file;
	struct store store;

	(void)state;
	make_store(&store);
	assert_int_equal(write_partition(&store, 0), 0);
	assert_int_equal(shard_request_flush(shard_of(&store, 0)), 0);
	assert_int_equal(run_jobs(shard_of(&store, 0)), 0);
	assert_int_equal(engine_close(&store.engine), 0);
	find_file(&store, "/store/shard-000", ".tab", &file);
	assert_int_equal(store.options.fs->rename(store.options.fs, file.found, unnamed), 0);
	assert_int_equal(open_store(&store), 0);
	assert_true(shard_quarantined(shard_of(&store, 0), 0) >= 0);
	assert_true(is_there(&store, unnamed));
	restart(&store);
	assert_true(is_there(&store, unnamed));
	assert_int_equal(shard_drop_range(shard_of(&store, 0), all, all), 0);
	restart(&store);
	assert_false(is_there(&store, unnamed));
	free_store(&store);
}

static void test_scrub_finds_damage(void **state)
{
	static const uint32_t victims[] = {2, 6};
	struct shard_stats stats;
	struct store store;
	struct shard *shard;
	uint32_t jobs = 0;

	(void)state;
	fill_store(&store, true);
	damage_table(&store, 2, KEYS / 2);
	damage_table(&store, 6, KEYS / 2);
	assert_int_equal(open_store(&store), 0);
	shard = shard_of(&store, 0);
	for (uint32_t round = 1; round <= 2; round++) {
		struct engine_job *job, *other;

		for (;;) {
			assert_int_equal(shard_scrub(shard, &job), 0);
			if (!job)
				break;
			assert_int_equal(shard_scrub(shard, &other), 0);
			assert_null(other);
			engine_job_run(job);
			assert_int_equal(shard_install(shard, &job), 0);
			jobs++;
		}
		shard_stats(shard, &stats);
		assert_int_equal(stats.scrub_rounds, round);
	}
	assert_true(jobs >= 6); /* up to each damaged block, and behind the last, twice */
	assert_true(stats.scrub_bytes_read > 2 * (PARTITIONS / SHARDS - 1) * KEYS * VALUE);
	check_only(&store, victims, 2);
	restart(&store);
	check_only(&store, victims, 2);
	free_store(&store);
}

static void test_scrub_that_cannot_read_tries_again(void **state)
{
	struct shard_stats stats;
	struct engine_job *job;
	struct store store;
	struct shard *shard;

	(void)state;
	fill_store(&store, true);
	assert_int_equal(open_store(&store), 0);
	shard = shard_of(&store, 0);
	assert_int_equal(shard_scrub(shard, &job), 0);
	sim_fs_count_only(store.disk, 1 << SIM_FS_PREAD);
	sim_fs_reset_operations(store.disk);
	sim_fs_fail_at(store.disk, 0, -EIO, false);
	engine_job_run(job);
	assert_int_equal(shard_install(shard, &job), -EIO);
	assert_false(shard_is_dead(shard));
	assert_int_equal(shard_scrub(shard, &job), 0);
	engine_job_run(job);
	assert_int_equal(shard_install(shard, &job), 0);
	assert_int_equal(shard_scrub(shard, &job), 0);
	assert_null(job);
	shard_stats(shard, &stats);
	assert_true(stats.scrub_bytes_read > PARTITIONS / SHARDS * KEYS * VALUE);
	/* One that is never run changes nothing. */
	assert_int_equal(shard_scrub(shard, &job), 0);
	assert_int_equal(shard_install(shard, &job), -ECANCELED);
	check_only(&store, NULL, 0);
	free_store(&store);
}

static void test_inspect_shows_it(void **state)
{
	struct inspect_result result;
	struct engine_error error;
	struct store store;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	fill_store(&store, true);
	damage_table(&store, VICTIM, KEYS / 2);
	assert_int_equal(open_store(&store), 0);
	read_partition(&store, VICTIM);
	assert_int_equal(run_jobs(shard_of(&store, VICTIM)), 0);
	assert_int_equal(engine_close(&store.engine), 0);
	assert_int_equal(engine_inspect(store.options.fs, "/store", INSPECT_STATS, out, &result, &error), 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(result.quarantined, 1);
	assert_non_null(strstr(text, "QUARANTINED: 1 partitions: 4\n"));
	assert_non_null(strstr(text, ".tab: the block at offset"));
	free(text);
	free_store(&store);
}

/* ---- crashes --------------------------------------------------------------------------------------------------- */

/* How far the life of a store with a damaged block went before the power failed. */
struct life {
	bool is_known;   /* the quarantine was said to be durable */
	bool is_dropped; /* the drop was begun */
	bool is_gone;    /* the drop was said to be durable */
	bool is_filled;
};

static int live(struct store *store, struct life *life)
{
	struct shard *shard;
	struct engine_value value;
	struct key key;
	int rc = engine_open(&store->options, &store->engine, NULL);

	if (rc)
		return rc;
	shard = shard_of(store, VICTIM);
	rc = shard_get(shard, make_key(&key, VICTIM, KEYS / 2), &value);
	if (rc != -EBADMSG)
		return rc ? rc : -EIO;
	rc = run_jobs(shard);
	life->is_known = rc == 0;
	if (rc == 0)
		rc = shard_request_compaction(shard);
	if (rc == 0)
		rc = run_jobs(shard);
	if (rc)
		return rc;
	life->is_dropped = true;
	rc = drop_partition(store, VICTIM);
	life->is_gone = rc == 0;
	if (rc == 0)
		rc = write_partition(store, VICTIM);
	life->is_filled = rc == 0;
	if (rc == 0)
		rc = shard_request_compaction(shard);
	return rc ? rc : run_jobs(shard);
}

static void check_life(struct store *store, const struct life *life)
{
	struct tally tally = read_partition(store, VICTIM);

	for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
		if (partition != VICTIM)
			assert_int_equal(read_partition(store, partition).right, KEYS);
	}
	if (life->is_filled)
		assert_int_equal(tally.right, KEYS);
	else if (life->is_gone)
		assert_true(tally.right == KEYS || tally.absent == KEYS);
	else if (life->is_known && !life->is_dropped)
		assert_int_equal(tally.refused, KEYS);
	else /* never "absent" but all of it, after the drop */
		assert_true(tally.absent == 0 ? tally.refused > 0 : life->is_dropped && tally.absent == KEYS);
}

static bool crash_at(uint64_t index, enum sim_crash_data data)
{
	struct sim_crash how = {data, (enum sim_crash_names)((index + data) % SIM_NAMES_MODE_COUNT), index};
	struct life life = {0};
	struct store store;
	bool fired;

	fill_store(&store, true);
	damage_table(&store, VICTIM, KEYS / 2);
	sim_fs_reset_operations(store.disk);
	sim_fs_crash_at(store.disk, index, &how);
	(void)live(&store, &life);
	fired = sim_fs_is_down(store.disk);
	restart(&store);
	check_life(&store, &life);
	/* And to the end of it. */
	if (is_quarantined(&store, VICTIM) || read_partition(&store, VICTIM).right != KEYS) {
		assert_int_equal(drop_partition(&store, VICTIM), 0);
		assert_int_equal(write_partition(&store, VICTIM), 0);
	}
	assert_int_equal(run_jobs(shard_of(&store, VICTIM)), 0);
	check_only(&store, NULL, 0);
	free_store(&store);
	return fired;
}

static void test_crash_at_every_step(void **state)
{
	uint64_t index = 0, crashes = 0;
	bool fired = true;

	(void)state;
	for (; fired; index++) {
		fired = false;
		for (unsigned data = 0; data < SIM_DATA_MODE_COUNT; data++) {
			bool hit = crash_at(index, (enum sim_crash_data)data);

			fired |= hit;
			crashes += hit;
		}
	}
	print_message("%llu crashes\n", (unsigned long long)crashes);
	assert_true(crashes > 100);
}

static bool fail_at(uint64_t index, int error, bool forever)
{
	struct life life = {0};
	struct store store;
	bool fired;

	fill_store(&store, true);
	damage_table(&store, VICTIM, KEYS / 2);
	sim_fs_reset_operations(store.disk);
	sim_fs_fail_at(store.disk, index, error, forever);
	(void)live(&store, &life);
	fired = sim_fs_fired(store.disk);
	sim_fs_fail_never(store.disk);
	restart(&store);
	check_life(&store, &life);
	free_store(&store);
	return fired;
}

static void test_errors_at_every_step(void **state)
{
	uint64_t index;

	(void)state;
	for (int error = 0; error < 2; error++) {
		for (int forever = 0; forever < 2; forever++) {
			for (index = 0; fail_at(index, error ? -ENOSPC : -EIO, forever); index++)
				;
			assert_true(index > 50);
		}
	}
}

/* The disk fails while a store with a damaged log is opened. Whenever it opens, it knows. */
static void test_errors_while_the_log_is_put_aside(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t index = 0; fired; index++) {
		fired = false;
		for (int forever = 0; forever < 2; forever++) {
			struct search log;
			struct store store;

			fill_store_and(&store, false, forever ? CLOSED : KILLED);
			damage_entry(&store, find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
			sim_fs_reset_operations(store.disk);
			sim_fs_fail_at(store.disk, index, index % 2 ? -ENOSPC : -EIO, forever);
			if (engine_open(&store.options, &store.engine, NULL) == 0)
				assert_int_equal(shard_quarantined(shard_of(&store, 0), 0), 0);
			fired |= sim_fs_fired(store.disk);
			sim_fs_fail_never(store.disk);
			restart(&store);
			check_only(&store, shard_0, 4);
			free_store(&store);
		}
	}
}

/* The power fails while a store with a damaged log is opened: it is known for damaged whenever it opens. */
static void test_crash_while_the_log_is_put_aside(void **state)
{
	uint64_t crashes = 0;

	(void)state;
	for (uint64_t index = 0;; index++) {
		bool fired = false;

		for (unsigned data = 0; data < SIM_DATA_MODE_COUNT; data++) {
			struct sim_crash how = {(enum sim_crash_data)data,
						(enum sim_crash_names)((index + data / 2) % SIM_NAMES_MODE_COUNT),
						index};
			struct search log;
			struct store store;

			fill_store_and(&store, false, data % 2 ? CLOSED : KILLED);
			damage_entry(&store, find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
			sim_fs_reset_operations(store.disk);
			sim_fs_crash_at(store.disk, index, &how);
			(void)open_store(&store);
			fired |= sim_fs_is_down(store.disk);
			crashes += sim_fs_is_down(store.disk);
			sim_fs_fail_never(store.disk);
			restart(&store);
			check_only(&store, shard_0, 4);
			free_store(&store);
		}
		if (!fired)
			break;
	}
	print_message("%llu crashes\n", (unsigned long long)crashes);
	assert_true(crashes > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_finds_what_is_in_it),
		cmocka_unit_test(test_set_is_saved_in_few_bytes),
		cmocka_unit_test(test_only_a_whole_partition_is_released),
		cmocka_unit_test(test_quarantine_after_a_drop_stays),
		cmocka_unit_test(test_log_damage_costs_its_shard_alone),
		cmocka_unit_test(test_dropping_and_filling_ends_it),
		cmocka_unit_test(test_missing_segment_and_tree_are_damage),
		cmocka_unit_test(test_block_damage_costs_its_partition_alone),
		cmocka_unit_test(test_merge_finds_damage_and_goes_on),
		cmocka_unit_test(test_other_threads_only_leave_a_note),
		cmocka_unit_test(test_iteration_stops_and_goes_on_behind),
		cmocka_unit_test(test_lost_table_costs_its_range),
		cmocka_unit_test(test_unnamed_tables_stay_beside_missing_ones),
		cmocka_unit_test(test_scrub_finds_damage),
		cmocka_unit_test(test_scrub_that_cannot_read_tries_again),
		cmocka_unit_test(test_inspect_shows_it),
		cmocka_unit_test(test_crash_at_every_step),
		cmocka_unit_test(test_crash_while_the_log_is_put_aside),
		cmocka_unit_test(test_errors_at_every_step),
		cmocka_unit_test(test_errors_while_the_log_is_put_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
