/* SPDX-License-Identifier: Apache-2.0 */
/* The twin's model: its keys and values, and what must be said of them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/engine/twin_check.h"

struct twin_key {
	uint8_t bytes[TWIN_KEY_MAX];
	size_t size;
};

static struct twin_key keys[TWIN_KEYS];

static int by_bytes(const void *a, const void *b)
{
	const struct twin_key *x = a, *y = b;
	size_t size = x->size < y->size ? x->size : y->size;
	int order = memcmp(x->bytes, y->bytes, size);

	return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

/* Keys that share much, some the beginning of others, some with zero bytes, over a few partitions. */
void twin_make_keys(void)
{
	if (keys[0].size)
		return;
	for (uint32_t i = 0; i < TWIN_KEYS; i++) {
		struct twin_key *key = &keys[i];
		uint32_t n = i / TWIN_PARTITIONS;

		key->bytes[0] = 0;
		key->bytes[1] = (uint8_t)(i % TWIN_PARTITIONS);
		key->size = 2;
		if (n % 3 == 1) {
			memcpy(key->bytes + key->size, "a long common beginning/", 24);
			key->size += 24;
		}
		for (uint32_t rest = n / 3; rest; rest /= 3)
			key->bytes[key->size++] = (uint8_t)("\0az"[rest % 3]);
		if (n % 3 == 2)
			key->bytes[key->size++] = 0xff;
	}
	qsort(keys, TWIN_KEYS, sizeof keys[0], by_bytes);
	for (uint32_t i = 1; i < TWIN_KEYS; i++)
		assert_true(by_bytes(&keys[i - 1], &keys[i]) < 0);
}

struct engine_slice twin_key(uint32_t index)
{
	return (struct engine_slice){keys[index].bytes, keys[index].size};
}

void twin_fill_value(const struct twin_value *value, uint8_t *out)
{
	struct sim_random random = {value->seed};

	for (uint32_t i = 0; i < value->size; i += 8) {
		uint64_t word = sim_random_next(&random) & 0x0f0f0f0f0f0f0f0fu; /* compresses to about half */

		memcpy(out + i, &word, value->size - i < 8 ? value->size - i : 8);
	}
}

uint64_t twin_value_hash(uint32_t key, const struct twin_value *value)
{
	if (!value->is_present)
		return 0;
	uint64_t seed = value->seed;

	if (value->size <= 8) { /* the same bytes under two seeds are not unlikely */
		uint8_t bytes[16];

		twin_fill_value(value, bytes);
		seed = XXH3_64bits(bytes, value->size);
	}
	return XXH3_64bits_withSeed(keys[key].bytes, keys[key].size, seed + value->size);
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

bool twin_is_value(const struct twin_value *value, const void *data, size_t size)
{
	uint8_t *expected = malloc(value->size + 8);
	bool same;

	twin_fill_value(value, expected);
	same = value->is_present && value->size == size && memcmp(expected, data, size) == 0;
	free(expected);
	return same;
}

bool twin_is_right(const struct twin *twin, uint32_t key, int error, const struct engine_value *value)
{
	const struct twin_value *expected = &twin->now.values[key];

	if (error != 0 && error != 1)
		return false;
	return error == expected->is_present && (!error || twin_is_value(expected, value->data, value->size));
}

bool twin_state_matches(struct twin *twin, struct shard *shard, const struct twin_state *state)
{
	bool same = true;

	for (uint32_t i = 0; same && i < TWIN_KEYS; i++) {
		struct engine_value value;
		int error = shard_get(shard, twin_key(i), &value);

		if (error < 0 && sim_fs_is_down(twin->disk))
			return false;
		assert_true(error >= 0);
		same = error == state->values[i].is_present &&
		       (!error || twin_is_value(&state->values[i], value.data, value.size));
		engine_value_release(&value);
	}
	return same;
}

uint64_t twin_read_meta(struct twin *twin)
{
	struct engine_slice meta;
	uint64_t value = 0;

	shard_meta_get(twin->shard, &meta);
	if (meta.size) {
		assert_int_equal(meta.size, sizeof value);
		memcpy(&value, meta.data, sizeof value);
	}
	return value;
}

void twin_check_iterator(struct engine_snapshot *snapshot, const struct twin_state *state)
{
	struct engine_iterator *iterator;
	int error;

	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	error = engine_iterator_seek(iterator, (struct engine_slice){0});
	for (uint32_t i = 0; i < TWIN_KEYS; i++) {
		if (!state->values[i].is_present)
			continue;
		assert_int_equal(error, 1);
		assert_int_equal(engine_iterator_key(iterator).size, keys[i].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[i].bytes, keys[i].size);
		assert_true(twin_is_value(&state->values[i], engine_iterator_value(iterator).data,
					  engine_iterator_value(iterator).size));
		error = engine_iterator_next(iterator);
	}
	assert_int_equal(error, 0);
	error = engine_iterator_seek_last(iterator, (struct engine_slice){0});
	for (uint32_t i = TWIN_KEYS; i-- > 0;) {
		if (!state->values[i].is_present)
			continue;
		assert_int_equal(error, 1);
		assert_int_equal(engine_iterator_key(iterator).size, keys[i].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[i].bytes, keys[i].size);
		error = engine_iterator_prev(iterator);
	}
	assert_int_equal(error, 0);
	engine_iterator_destroy(&iterator);
}

uint32_t twin_find_present(const struct twin_state *state, int64_t from, int step)
{
	for (int64_t i = from; i >= 0 && i < TWIN_KEYS; i += step) {
		if (state->values[i].is_present)
			return (uint32_t)i;
	}
	return TWIN_KEYS;
}

void twin_check_place(struct engine_iterator *iterator, int error, uint32_t expected)
{
	assert_int_equal(error, expected < TWIN_KEYS);
	if (error == 1) {
		assert_int_equal(engine_iterator_key(iterator).size, keys[expected].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[expected].bytes, keys[expected].size);
	}
}

/* Seeks both ways from random keys, and turns around. */
void twin_check_seeks(struct twin *twin, struct engine_snapshot *snapshot, const struct twin_state *state)
{
	struct engine_iterator *iterator;

	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	for (int i = 0; i < 8; i++) {
		uint32_t at = (uint32_t)sim_random_below(&twin->random, TWIN_KEYS), found, then;

		found = twin_find_present(state, at, 1);
		twin_check_place(iterator, engine_iterator_seek(iterator, twin_key(at)), found);
		if (found < TWIN_KEYS) {
			then = twin_find_present(state, (int64_t)found - 1, -1);
			twin_check_place(iterator, engine_iterator_prev(iterator), then);
			if (then < TWIN_KEYS)
				twin_check_place(iterator, engine_iterator_next(iterator), found);
		}
		found = twin_find_present(state, at, -1);
		twin_check_place(iterator, engine_iterator_seek_last(iterator, twin_key(at)), found);
		if (found < TWIN_KEYS) {
			then = twin_find_present(state, (int64_t)found + 1, 1);
			twin_check_place(iterator, engine_iterator_next(iterator), then);
		}
	}
	engine_iterator_destroy(&iterator);
}

static bool shard_refuses(const struct shard *shard, uint32_t partition)
{
	return shard_quarantined(shard, partition) == (int32_t)partition;
}

bool twin_is_quarantined(const struct twin *twin, uint32_t partition)
{
	return shard_refuses(twin->shard, partition);
}

/* Of partitions that are not quarantined. */
static void check_trees(struct shard *shard, const struct twin_state *state)
{
	for (uint16_t partition = 0; partition < TWIN_PARTITIONS; partition++) {
		uint64_t root = 0;

		if (shard_refuses(shard, partition))
			continue;

		for (uint32_t i = 0; i < TWIN_KEYS; i++) {
			uint64_t leaf = 0;

			if (keys[i].bytes[1] != partition)
				continue;
			root ^= twin_value_hash(i, &state->values[i]);
			for (uint32_t j = 0; j < TWIN_KEYS; j++) {
				if (keys[j].bytes[1] == partition &&
				    engine_tree_leaf(twin_key(j)) == engine_tree_leaf(twin_key(i)))
					leaf ^= twin_value_hash(j, &state->values[j]);
			}
			assert_int_equal(shard_tree_node(shard, partition, 2, engine_tree_leaf(twin_key(i))), leaf);
		}
		assert_int_equal(shard_tree_node(shard, partition, 0, 0), root);
	}
}

static void check_shard(struct twin *twin, struct shard *shard, const struct twin_state *state)
{
	struct engine_snapshot *snapshot;

	assert_true(twin_state_matches(twin, shard, state));
	check_trees(shard, state);
	assert_int_equal(shard_snapshot(shard, &snapshot), 0);
	twin_check_iterator(snapshot, state);
	twin_check_seeks(twin, snapshot, state);
	engine_snapshot_release(&snapshot);
}

void twin_check(struct twin *twin)
{
	check_shard(twin, twin->shard, &twin->now);
	assert_int_equal(twin_read_meta(twin), twin->meta);
}

void twin_check_copy(struct twin *twin, struct shard *copy, size_t point)
{
	assert_true(point < twin->point_count);
	check_shard(twin, copy, &twin->points[point].state);
}

uint16_t twin_partition(uint32_t key)
{
	return keys[key].bytes[1];
}

static void refuses_write(struct twin *twin, uint32_t key)
{
	engine_batch_clear(twin->batch);
	assert_int_equal(engine_batch_put(twin->batch, twin_key(key), (struct engine_slice){"x", 1}, 0), 0);
	assert_int_equal(shard_write(twin->shard, twin->batch), -EBADMSG);
	assert_non_null(strstr(shard_error(twin->shard), "quarantined"));
}

/* Walks all partitions that can be read, stopping at each that cannot. False when it met damage not known before. */
static bool walk_around(struct twin *twin, struct engine_iterator *iterator)
{
	uint32_t at = 0;
	int error = engine_iterator_seek(iterator, (struct engine_slice){0});

	for (;;) {
		while (at < TWIN_KEYS &&
		       (!twin->now.values[at].is_present || twin_is_quarantined(twin, twin_partition(at))))
			at++;
		if (error == -EBADMSG) {
			int32_t stop = engine_iterator_quarantined(iterator);
			uint8_t behind[2] = {0, (uint8_t)(stop + 1)};

			if (stop < 0)
				return false;
			assert_true(twin_is_quarantined(twin, (uint32_t)stop));
			if (stop >= TWIN_PARTITIONS - 1)
				break;
			error = engine_iterator_seek(iterator, (struct engine_slice){behind, 2});
			continue;
		}
		assert_int_equal(error, at < TWIN_KEYS);
		if (error == 0)
			break;
		assert_int_equal(engine_iterator_key(iterator).size, keys[at].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[at].bytes, keys[at].size);
		assert_true(twin_is_value(&twin->now.values[at], engine_iterator_value(iterator).data,
					  engine_iterator_value(iterator).size));
		at++;
		error = engine_iterator_next(iterator);
	}
	assert_int_equal(at, TWIN_KEYS);
	return true;
}

/* The same downwards. */
static bool walk_around_back(struct twin *twin, struct engine_iterator *iterator)
{
	int64_t at = TWIN_KEYS - 1;
	int error = engine_iterator_seek_last(iterator, twin_key(TWIN_KEYS - 1));

	for (;;) {
		while (at >= 0 &&
		       (!twin->now.values[at].is_present || twin_is_quarantined(twin, twin_partition((uint32_t)at))))
			at--;
		if (error == -EBADMSG) {
			int32_t stop = engine_iterator_quarantined(iterator);

			if (stop < 0)
				return false;
			assert_true(twin_is_quarantined(twin, (uint32_t)stop));
			if (stop == 0)
				break;
			/* The largest key of the partition before. */
			for (uint32_t i = TWIN_KEYS; i-- > 0;) {
				if (twin_partition(i) == stop - 1) {
					error = engine_iterator_seek_last(iterator, twin_key(i));
					break;
				}
			}
			continue;
		}
		assert_int_equal(error, at >= 0);
		if (error == 0)
			break;
		assert_int_equal(engine_iterator_key(iterator).size, keys[at].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[at].bytes, keys[at].size);
		at--;
		error = engine_iterator_prev(iterator);
	}
	assert_int_equal(at, -1);
	return true;
}

static bool check_walks_around(struct twin *twin)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	bool known;

	assert_int_equal(shard_snapshot(twin->shard, &snapshot), 0);
	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	known = walk_around(twin, iterator) && walk_around_back(twin, iterator);
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	return known;
}

/* False when a key of a partition that is not quarantined could not be read. */
static bool check_gets_around(struct twin *twin)
{
	bool known = true;

	for (uint32_t i = 0; i < TWIN_KEYS; i++) {
		struct engine_value value;
		int error = shard_get(twin->shard, twin_key(i), &value);

		if (twin_is_quarantined(twin, twin_partition(i))) {
			assert_int_equal(error, -EBADMSG);
			assert_non_null(strstr(shard_error(twin->shard), "quarantined"));
			refuses_write(twin, i);
		} else if (error == -EBADMSG) {
			known = false;
		} else if (!twin_is_right(twin, i, error, &value)) {
			fail_msg("key %u of partition %u: wrong answer (%d)", i, twin_partition(i), error);
		}
		engine_value_release(&value);
	}
	return known;
}

uint32_t twin_check_around(struct twin *twin)
{
	struct shard_stats stats;

	/* What is met here for the first time is known after the next round of jobs. */
	for (int rounds = 0; !(check_gets_around(twin) && check_walks_around(twin)); rounds++) {
		int error = twin_finish_jobs(twin);

		assert_true(rounds < 8 && (error == 0 || error == -EBADMSG));
	}
	assert_int_equal(twin_read_meta(twin), twin->meta);
	check_trees(twin->shard, &twin->now);
	shard_stats(twin->shard, &stats);
	assert_int_equal(stats.quarantined_partitions != 0, shard_quarantined(twin->shard, 0) >= 0);
	assert_int_equal(stats.quarantined_partitions != 0, shard_quarantine_reason(twin->shard)[0] != 0);
	return stats.quarantined_partitions;
}

struct file_counts {
	uint32_t tables, trees, logs, ahead /* segments opened ahead */, others;
};

static void count_file(void *arg, const char *path, uint64_t size)
{
	struct file_counts *counts = arg;
	const char *dot = strrchr(path, '.');

	if (dot != NULL && strcmp(dot, ".tab") == 0)
		counts->tables++;
	else if (dot != NULL && strcmp(dot, ".tree") == 0)
		counts->trees++;
	else if (dot != NULL && strcmp(dot, ".log") == 0 && size)
		counts->logs++;
	else if (dot != NULL && strcmp(dot, ".log") == 0)
		counts->ahead++;
	else
		counts->others++;
}

void twin_check_files(struct twin *twin)
{
	struct file_counts counts = {0};
	uint32_t shards = 0, tables = 0;

	for (struct twin *it = twin->first; it != NULL; it = it->next) {
		struct shard_stats stats;

		shard_stats(it->shard, &stats);
		tables += stats.table_count;
		shards++;
	}
	sim_fs_walk(twin->disk, "/store", count_file, &counts);
	assert_int_equal(counts.tables, tables);
	assert_int_equal(counts.logs, shards);
	assert_true(counts.ahead <= shards);
	assert_true(counts.trees <= shards);
	assert_int_equal(counts.others, 2 + shards); /* LOCK, STORE, a MANIFEST each */
}
