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

#include "world.h"

struct world_key {
	uint8_t bytes[WORLD_KEY_MAX];
	size_t size;
};

static struct world_key keys[WORLD_KEYS];

static int by_bytes(const void *a, const void *b)
{
	const struct world_key *x = a, *y = b;
	size_t size = x->size < y->size ? x->size : y->size;
	int order = memcmp(x->bytes, y->bytes, size);

	return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

/* Keys that share much, some the beginning of others, some with zero bytes, over a few partitions. */
static void make_keys(void)
{
	if (keys[0].size)
		return;
	for (uint32_t i = 0; i < WORLD_KEYS; i++) {
		struct world_key *key = &keys[i];
		uint32_t n = i / WORLD_PARTITIONS;

		key->bytes[0] = 0;
		key->bytes[1] = (uint8_t)(i % WORLD_PARTITIONS);
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
	qsort(keys, WORLD_KEYS, sizeof(keys[0]), by_bytes);
	for (uint32_t i = 1; i < WORLD_KEYS; i++)
		assert_true(by_bytes(&keys[i - 1], &keys[i]) < 0);
}

struct engine_slice world_key(uint32_t index)
{
	return (struct engine_slice){keys[index].bytes, keys[index].size};
}

static void fill_value(const struct world_value *value, uint8_t *out)
{
	struct sim_random random = {value->seed};

	for (uint32_t i = 0; i < value->size; i += 8) {
		uint64_t word = sim_random_next(&random) & 0x0f0f0f0f0f0f0f0fu; /* compresses to about half */

		memcpy(out + i, &word, value->size - i < 8 ? value->size - i : 8);
	}
}

static uint64_t value_hash(uint32_t key, const struct world_value *value)
{
	if (!value->is_present)
		return 0;
	return XXH3_64bits_withSeed(keys[key].bytes, keys[key].size, value->seed + value->size);
}

/* E5: a file number is never used twice, crashes or not. */
static int note_operation(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	struct world *world = arg;
	unsigned shard;
	unsigned long long number;

	if (index == world->watch)
		world->watched = call;
	if (call != SIM_FS_CREATE || sscanf(path, "/store/shard-%u/%llu.", &shard, &number) != 2)
		return 0;
	while (world->shard_index != shard)
		world = world->next;
	assert_true(number < WORLD_NUMBERS);
	if (world->used_numbers[number / 8] >> number % 8 & 1)
		fail_msg("%s: this number was used before", path);
	world->used_numbers[number / 8] |= (uint8_t)(1u << number % 8);
	return 0;
}

void world_init(struct world *world, uint64_t seed)
{
	make_keys();
	*world = (struct world){0};
	sim_fs_create(seed, &world->disk);
	sim_fs_set_hook(world->disk, note_operation, world);
	world->used_numbers = calloc(1, WORLD_NUMBERS / 8);
	sim_random_seed(&world->random, seed);
	engine_options_default(&world->options);
	world->options.fs = sim_fs_table(world->disk);
	world->options.directory = "/store";
	world->options.shard_count = 1;
	world->options.cache_bytes = 64 * 1024;
	world->options.memtable_bytes = 24 * 1024;
	world->options.block_bytes = 4096;
	assert_int_equal(engine_batch_create(&world->batch), 0);
	world->point_capacity = 64;
	world->points = calloc(world->point_capacity, sizeof(*world->points));
	world->point_count = 1;
	world->first = world;
}

void world_join(struct world *world, struct world *first, uint64_t seed)
{
	struct world *last = first;

	world_init(world, seed);
	sim_fs_destroy(&world->disk);
	world->disk = first->disk;
	while (last->next)
		last = last->next;
	last->next = world;
	world->first = first;
	world->shard_index = last->shard_index + 1;
	first->options.shard_count = world->shard_index + 1;
}

static void release_held(struct world_held *held)
{
	engine_iterator_destroy(&held->iterator);
	engine_value_release(&held->value);
	engine_snapshot_release(&held->snapshot);
}

void world_fini(struct world *world)
{
	world_close(world);
	assert_int_equal(sim_fs_open_files(world->disk), 0);
	sim_fs_destroy(&world->disk);
	for (struct world *it = world; it; it = it->next) {
		engine_batch_destroy(&it->batch);
		free(it->used_numbers);
		free(it->points);
	}
}

static void note_durable(struct world *world)
{
	uint64_t durable = shard_durable_sequence(world->shard);

	assert_true(durable >= world->durable_seen && durable <= shard_sequence(world->shard));
	world->durable_seen = durable;
}

static void add_point(struct world *world)
{
	if (world->point_count == world->point_capacity) {
		world->point_capacity *= 2;
		world->points = realloc(world->points, world->point_capacity * sizeof(*world->points));
		assert_non_null(world->points);
	}
	world->points[world->point_count++] = (struct world_point){world->now, shard_sequence(world->shard)};
}

static void acknowledge(struct world *world, size_t point)
{
	if (point > world->acknowledged)
		world->acknowledged = point;
}

static size_t last_point(const struct world *world)
{
	return world->point_count - 1;
}

/* ---- checking ------------------------------------------------------------------------------------------------ */

static bool is_value(const struct world_value *value, const void *data, size_t size)
{
	uint8_t *expected = malloc(value->size + 8);
	bool same;

	fill_value(value, expected);
	same = value->is_present && value->size == size && memcmp(expected, data, size) == 0;
	free(expected);
	return same;
}

bool world_is_right(const struct world *world, uint32_t key, int rc, const struct engine_value *value)
{
	const struct world_value *expected = &world->now.values[key];

	if (rc != 0 && rc != 1)
		return false;
	return rc == expected->is_present && (!rc || is_value(expected, value->data, value->size));
}

static bool state_matches(struct world *world, struct shard *shard, const struct world_state *state)
{
	bool same = true;

	for (uint32_t i = 0; same && i < WORLD_KEYS; i++) {
		struct engine_value value;
		int rc = shard_get(shard, world_key(i), &value);

		if (rc < 0 && sim_fs_is_down(world->disk))
			return false;
		assert_true(rc >= 0);
		same = rc == state->values[i].is_present &&
		       (!rc || is_value(&state->values[i], value.data, value.size));
		engine_value_release(&value);
	}
	return same;
}

static uint64_t read_meta(struct world *world)
{
	struct engine_slice meta;
	uint64_t value = 0;

	shard_meta_get(world->shard, &meta);
	if (meta.size) {
		assert_int_equal(meta.size, sizeof(value));
		memcpy(&value, meta.data, sizeof(value));
	}
	return value;
}

static void check_iterator(struct engine_snapshot *snapshot, const struct world_state *state)
{
	struct engine_iterator *iterator;
	int rc;

	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	rc = engine_iterator_seek(iterator, (struct engine_slice){0});
	for (uint32_t i = 0; i < WORLD_KEYS; i++) {
		if (!state->values[i].is_present)
			continue;
		assert_int_equal(rc, 1);
		assert_int_equal(engine_iterator_key(iterator).size, keys[i].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[i].bytes, keys[i].size);
		assert_true(is_value(&state->values[i], engine_iterator_value(iterator).data,
				     engine_iterator_value(iterator).size));
		rc = engine_iterator_next(iterator);
	}
	assert_int_equal(rc, 0);
	rc = engine_iterator_seek_last(iterator, (struct engine_slice){0});
	for (uint32_t i = WORLD_KEYS; i-- > 0;) {
		if (!state->values[i].is_present)
			continue;
		assert_int_equal(rc, 1);
		assert_int_equal(engine_iterator_key(iterator).size, keys[i].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[i].bytes, keys[i].size);
		rc = engine_iterator_prev(iterator);
	}
	assert_int_equal(rc, 0);
	engine_iterator_destroy(&iterator);
}

static uint32_t find_present(const struct world_state *state, int64_t from, int step)
{
	for (int64_t i = from; i >= 0 && i < WORLD_KEYS; i += step) {
		if (state->values[i].is_present)
			return (uint32_t)i;
	}
	return WORLD_KEYS;
}

static void check_place(struct engine_iterator *iterator, int rc, uint32_t expected)
{
	assert_int_equal(rc, expected < WORLD_KEYS);
	if (rc == 1) {
		assert_int_equal(engine_iterator_key(iterator).size, keys[expected].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[expected].bytes, keys[expected].size);
	}
}

/* Seeks both ways from random keys, and turns around. */
static void check_seeks(struct world *world, struct engine_snapshot *snapshot, const struct world_state *state)
{
	struct engine_iterator *iterator;

	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	for (int i = 0; i < 8; i++) {
		uint32_t at = (uint32_t)sim_random_below(&world->random, WORLD_KEYS), found, then;

		found = find_present(state, at, 1);
		check_place(iterator, engine_iterator_seek(iterator, world_key(at)), found);
		if (found < WORLD_KEYS) {
			then = find_present(state, (int64_t)found - 1, -1);
			check_place(iterator, engine_iterator_prev(iterator), then);
			if (then < WORLD_KEYS)
				check_place(iterator, engine_iterator_next(iterator), found);
		}
		found = find_present(state, at, -1);
		check_place(iterator, engine_iterator_seek_last(iterator, world_key(at)), found);
		if (found < WORLD_KEYS) {
			then = find_present(state, (int64_t)found + 1, 1);
			check_place(iterator, engine_iterator_next(iterator), then);
		}
	}
	engine_iterator_destroy(&iterator);
}

static bool shard_refuses(const struct shard *shard, uint32_t partition)
{
	return shard_quarantined(shard, partition) == (int32_t)partition;
}

static bool is_quarantined(const struct world *world, uint32_t partition)
{
	return shard_refuses(world->shard, partition);
}

/* Of partitions that are not quarantined. */
static void check_trees(struct shard *shard, const struct world_state *state)
{
	for (uint16_t partition = 0; partition < WORLD_PARTITIONS; partition++) {
		uint64_t root = 0;

		if (shard_refuses(shard, partition))
			continue;

		for (uint32_t i = 0; i < WORLD_KEYS; i++) {
			uint64_t leaf = 0;

			if (keys[i].bytes[1] != partition)
				continue;
			root ^= value_hash(i, &state->values[i]);
			for (uint32_t j = 0; j < WORLD_KEYS; j++) {
				if (keys[j].bytes[1] == partition &&
				    engine_tree_leaf(world_key(j)) == engine_tree_leaf(world_key(i)))
					leaf ^= value_hash(j, &state->values[j]);
			}
			assert_int_equal(shard_tree_node(shard, partition, 2, engine_tree_leaf(world_key(i))), leaf);
		}
		assert_int_equal(shard_tree_node(shard, partition, 0, 0), root);
	}
}

/* What multi_get says is what get says. */
static void check_multi_get(struct world *world, struct shard *shard, const struct world_state *state)
{
	struct engine_slice slices[WORLD_KEYS] = {0};
	struct engine_value values[WORLD_KEYS];
	int results[WORLD_KEYS];
	size_t count = sim_random_below(&world->random, WORLD_KEYS + 1);

	for (size_t i = 0; i < count; i++)
		slices[i] = world_key((uint32_t)(i * 7 % WORLD_KEYS));
	shard_multi_get(shard, slices, count, values, results);
	for (size_t i = 0; i < count; i++) {
		const struct world_value *expected = &state->values[i * 7 % WORLD_KEYS];

		assert_int_equal(results[i], expected->is_present);
		assert_true(!results[i] || is_value(expected, values[i].data, values[i].size));
	}
	for (size_t i = 0; i < count; i++)
		engine_value_release(&values[i]);
}

static void check_shard(struct world *world, struct shard *shard, const struct world_state *state)
{
	struct engine_snapshot *snapshot;

	assert_true(state_matches(world, shard, state));
	check_multi_get(world, shard, state);
	check_trees(shard, state);
	assert_int_equal(shard_snapshot(shard, &snapshot), 0);
	check_iterator(snapshot, state);
	check_seeks(world, snapshot, state);
	engine_snapshot_release(&snapshot);
}

void world_check(struct world *world)
{
	check_shard(world, world->shard, &world->now);
	assert_int_equal(read_meta(world), world->meta);
}

void world_check_copy(struct world *world, struct shard *copy, size_t point)
{
	assert_true(point < world->point_count);
	check_shard(world, copy, &world->points[point].state);
}

uint16_t world_partition(uint32_t key)
{
	return keys[key].bytes[1];
}

static void refuses_write(struct world *world, uint32_t key)
{
	engine_batch_clear(world->batch);
	assert_int_equal(engine_batch_put(world->batch, world_key(key), (struct engine_slice){"x", 1}, 0), 0);
	assert_int_equal(shard_write(world->shard, world->batch), -EBADMSG);
	assert_non_null(strstr(shard_error(world->shard), "quarantined"));
}

/* Walks all partitions that can be read, stopping at each that cannot. False when it met damage not known before. */
static bool walk_around(struct world *world, struct engine_iterator *iterator)
{
	uint32_t at = 0;
	int rc = engine_iterator_seek(iterator, (struct engine_slice){0});

	for (;;) {
		while (at < WORLD_KEYS &&
		       (!world->now.values[at].is_present || is_quarantined(world, world_partition(at))))
			at++;
		if (rc == -EBADMSG) {
			int32_t stop = engine_iterator_quarantined(iterator);
			uint8_t behind[2] = {0, (uint8_t)(stop + 1)};

			if (stop < 0)
				return false;
			assert_true(is_quarantined(world, (uint32_t)stop));
			if (stop >= WORLD_PARTITIONS - 1)
				break;
			rc = engine_iterator_seek(iterator, (struct engine_slice){behind, 2});
			continue;
		}
		assert_int_equal(rc, at < WORLD_KEYS);
		if (rc == 0)
			break;
		assert_int_equal(engine_iterator_key(iterator).size, keys[at].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[at].bytes, keys[at].size);
		assert_true(is_value(&world->now.values[at], engine_iterator_value(iterator).data,
				     engine_iterator_value(iterator).size));
		at++;
		rc = engine_iterator_next(iterator);
	}
	assert_int_equal(at, WORLD_KEYS);
	return true;
}

/* The same downwards. */
static bool walk_around_back(struct world *world, struct engine_iterator *iterator)
{
	int64_t at = WORLD_KEYS - 1;
	int rc = engine_iterator_seek_last(iterator, world_key(WORLD_KEYS - 1));

	for (;;) {
		while (at >= 0 &&
		       (!world->now.values[at].is_present || is_quarantined(world, world_partition((uint32_t)at))))
			at--;
		if (rc == -EBADMSG) {
			int32_t stop = engine_iterator_quarantined(iterator);

			if (stop < 0)
				return false;
			assert_true(is_quarantined(world, (uint32_t)stop));
			if (stop == 0)
				break;
			/* The largest key of the partition before. */
			for (uint32_t i = WORLD_KEYS; i-- > 0;) {
				if (world_partition(i) == stop - 1) {
					rc = engine_iterator_seek_last(iterator, world_key(i));
					break;
				}
			}
			continue;
		}
		assert_int_equal(rc, at >= 0);
		if (rc == 0)
			break;
		assert_int_equal(engine_iterator_key(iterator).size, keys[at].size);
		assert_memory_equal(engine_iterator_key(iterator).data, keys[at].bytes, keys[at].size);
		at--;
		rc = engine_iterator_prev(iterator);
	}
	assert_int_equal(at, -1);
	return true;
}

static bool check_walks_around(struct world *world)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	bool known;

	assert_int_equal(shard_snapshot(world->shard, &snapshot), 0);
	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	known = walk_around(world, iterator) && walk_around_back(world, iterator);
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	return known;
}

/* False when a key of a partition that is not quarantined could not be read. */
static bool check_gets_around(struct world *world)
{
	bool known = true;

	for (uint32_t i = 0; i < WORLD_KEYS; i++) {
		struct engine_value value;
		int rc = shard_get(world->shard, world_key(i), &value);

		if (is_quarantined(world, world_partition(i))) {
			assert_int_equal(rc, -EBADMSG);
			assert_non_null(strstr(shard_error(world->shard), "quarantined"));
			refuses_write(world, i);
		} else if (rc == -EBADMSG) {
			known = false;
		} else if (!world_is_right(world, i, rc, &value)) {
			fail_msg("key %u of partition %u: wrong answer (%d)", i, world_partition(i), rc);
		}
		engine_value_release(&value);
	}
	return known;
}

uint32_t world_check_around(struct world *world)
{
	struct shard_stats stats;

	/* What is met here for the first time is known after the next round of jobs. */
	for (int rounds = 0; !(check_gets_around(world) && check_walks_around(world)); rounds++) {
		int rc = world_finish_jobs(world);

		assert_true(rounds < 8 && (rc == 0 || rc == -EBADMSG));
	}
	assert_int_equal(read_meta(world), world->meta);
	check_trees(world->shard, &world->now);
	shard_stats(world->shard, &stats);
	assert_int_equal(stats.quarantined_partitions != 0, shard_quarantined(world->shard, 0) >= 0);
	assert_int_equal(stats.quarantined_partitions != 0, shard_quarantine_reason(world->shard)[0] != 0);
	return stats.quarantined_partitions;
}

struct file_counts {
	uint32_t tables, trees, logs, others;
};

static void count_file(void *arg, const char *path, uint64_t size)
{
	struct file_counts *counts = arg;
	const char *dot = strrchr(path, '.');

	(void)size;
	if (dot && strcmp(dot, ".tab") == 0)
		counts->tables++;
	else if (dot && strcmp(dot, ".tree") == 0)
		counts->trees++;
	else if (dot && strcmp(dot, ".log") == 0)
		counts->logs++;
	else
		counts->others++;
}

void world_check_files(struct world *world)
{
	struct file_counts counts = {0};
	uint32_t shards = 0, tables = 0;

	for (struct world *it = world->first; it; it = it->next) {
		struct shard_stats stats;

		shard_stats(it->shard, &stats);
		tables += stats.table_count;
		shards++;
	}
	sim_fs_walk(world->disk, "/store", count_file, &counts);
	assert_int_equal(counts.tables, tables);
	assert_int_equal(counts.logs, shards);
	assert_true(counts.trees <= shards);
	assert_int_equal(counts.others, 2 + shards); /* LOCK, STORE, a MANIFEST each */
}

/* ---- open and close ------------------------------------------------------------------------------------------ */

/* The store is in a state it was in before, not older than what was acknowledged, at the sequence of that state. What is
 * there now is durable: so says the shard, and a later crash will show. */
static int find_point(struct world *world)
{
	uint64_t sequence = shard_sequence(world->shard);

	for (size_t i = world->point_count; sequence >= world->durable_seen && i-- > world->acknowledged;) {
		if (world->points[i].sequence == sequence &&
		    state_matches(world, world->shard, &world->points[i].state)) {
			world->now = world->points[i].state;
			world->point_count = i + 1;
			world->acknowledged = i;
			world->durable_seen = sequence;
			assert_int_equal(shard_durable_sequence(world->shard), sequence);
			return 0;
		}
	}
	if (sim_fs_is_down(world->disk))
		return -EIO;
	fail_msg("sequence %llu is none of the states it may be in (acknowledged: %zu of %zu, durable up to %llu)",
		 (unsigned long long)sequence, world->acknowledged, world->point_count,
		 (unsigned long long)world->durable_seen);
	return -EIO;
}

static int find_place(struct world *world)
{
	int rc;

	world->shard = engine_shard(world->first->engine, world->shard_index);
	world->is_dead = false;
	rc = find_point(world);
	if (rc) {
		world->is_dead = true;
		return rc;
	}
	if (read_meta(world) == world->meta_doubt)
		world->meta = world->meta_doubt;
	assert_int_equal(read_meta(world), world->meta);
	world->meta_doubt = world->meta;
	return 0;
}

int world_open(struct world *world, struct engine_error *error)
{
	int rc = engine_open(&world->options, &world->engine, error);

	for (struct world *it = world; rc == 0 && it; it = it->next)
		rc = find_place(it);
	return rc;
}

static void end_commit(struct world *world)
{
	if (!world->commit)
		return;
	if (!world->commit_has_run)
		engine_commit_run(world->commit);
	if (shard_commit_end(world->shard, &world->commit) == 0)
		acknowledge(world, world->commit_point);
}

void world_let_go(struct world *world)
{
	for (struct world *it = world->first; it; it = it->next) {
		for (int i = 0; i < WORLD_HELD; i++)
			release_held(&it->held[i]);
		for (int i = 0; i < WORLD_JOBS; i++) {
			if (it->jobs[i])
				(void)!shard_install(it->shard, &it->jobs[i]);
		}
		end_commit(it);
	}
}

int world_close(struct world *world)
{
	int rc;

	if (!world->engine)
		return 0;
	world_let_go(world);
	rc = engine_close(&world->engine);
	for (struct world *it = world; it; it = it->next) {
		it->shard = NULL;
		if (rc == 0 && it->point_count && !it->is_dead)
			acknowledge(it, last_point(it));
	}
	return rc;
}

/* ---- operations ---------------------------------------------------------------------------------------------- */

static void draw_value(struct world *world, struct world_value *out)
{
	uint64_t kind = sim_random_below(&world->random, 20);

	out->is_present = sim_random_below(&world->random, 4) != 0;
	out->size = (uint32_t)(kind == 0   ? 0
			       : kind == 1 ? sim_random_below(&world->random, 9000)
					   : sim_random_below(&world->random, 200));
	out->seed = sim_random_next(&world->random);
}

static void batch_add(struct world *world, uint32_t key, const struct world_value *value, uint64_t delta)
{
	uint8_t *bytes = malloc(value->size + 8);
	int rc;

	fill_value(value, bytes);
	rc = value->is_present
		     ? engine_batch_put(world->batch, world_key(key), (struct engine_slice){bytes, value->size}, delta)
		     : engine_batch_delete(world->batch, world_key(key), delta);
	free(bytes);
	assert_int_equal(rc, 0);
}

int world_write(struct world *world)
{
	struct world_state next = world->now;
	uint64_t count = 1 + sim_random_below(&world->random, 5);
	int rc;

	engine_batch_clear(world->batch);
	for (uint64_t i = 0; i < count; i++) {
		uint32_t key = (uint32_t)sim_random_below(&world->random, WORLD_KEYS);
		struct world_value value;

		draw_value(world, &value);
		batch_add(world, key, &value, value_hash(key, &next.values[key]) ^ value_hash(key, &value));
		next.values[key] = value;
	}
	rc = shard_write(world->shard, world->batch);
	if (rc)
		return rc;
	world->now = next;
	add_point(world);
	return 0;
}

int world_commit(struct world *world, enum engine_sync mode)
{
	int rc = shard_commit(world->shard, mode);

	if (rc == 0 && mode == ENGINE_SYNC_EACH) {
		acknowledge(world, last_point(world));
		assert_int_equal(shard_durable_sequence(world->shard), shard_sequence(world->shard));
		note_durable(world);
	}
	return rc;
}

int world_split_commit(struct world *world)
{
	int rc;

	if (!world->commit) {
		world->commit_point = last_point(world);
		world->commit_has_run = false;
		rc = shard_commit_begin(world->shard, &world->commit);
		if (rc == 0 && !world->commit)
			acknowledge(world, world->commit_point);
		return rc;
	}
	if (!world->commit_has_run) {
		engine_commit_run(world->commit);
		world->commit_has_run = true;
		return 0;
	}
	rc = shard_commit_end(world->shard, &world->commit);
	if (rc == 0) {
		acknowledge(world, world->commit_point);
		note_durable(world);
	}
	return rc;
}

/* Begins, runs or installs a job. */
int world_job(struct world *world)
{
	struct engine_job **job = &world->jobs[sim_random_below(&world->random, WORLD_JOBS)];

	if (*job) {
		uint64_t durable = shard_durable_sequence(world->shard);
		int rc = shard_install(world->shard, job);

		assert_null(*job);
		assert_true(shard_durable_sequence(world->shard) >= durable);
		if (rc == 0)
			note_durable(world);
		return rc;
	}
	int rc = shard_maintain(world->shard, job);

	if (rc == 0 && *job)
		engine_job_run(*job);
	return rc;
}

int world_finish_jobs(struct world *world)
{
	int rc = 0;

	for (int i = 0; i < WORLD_JOBS; i++) {
		if (world->jobs[i]) {
			int job_rc = shard_install(world->shard, &world->jobs[i]);

			rc = rc ? rc : job_rc;
		}
	}
	while (rc == 0) {
		rc = shard_maintain(world->shard, &world->jobs[0]);
		if (rc || !world->jobs[0])
			break;
		engine_job_run(world->jobs[0]);
		rc = shard_install(world->shard, &world->jobs[0]);
	}
	return rc;
}

/* Drops a partition, or several. */
int world_drop(struct world *world)
{
	uint8_t first = (uint8_t)sim_random_below(&world->random, WORLD_PARTITIONS);
	uint8_t begin[2] = {0, first}, end[2] = {0, (uint8_t)(first + 1)};
	struct world_state next = world->now;
	int rc;

	for (uint32_t i = 0; i < WORLD_KEYS; i++) {
		if (keys[i].bytes[1] == first)
			next.values[i] = (struct world_value){0};
	}
	/* It syncs first. Whether or not the drop itself happens, both states are possible from here on. */
	rc = shard_drop_range(world->shard, (struct engine_slice){begin, 2}, (struct engine_slice){end, 2});
	if (rc) {
		struct world_state before = world->now;

		world->now = next;
		add_point(world);
		world->now = before;
		add_point(world);
		return rc;
	}
	world->now = next;
	add_point(world);
	acknowledge(world, last_point(world));
	return 0;
}

static int refill_partition(struct world *world, uint32_t partition)
{
	uint8_t begin[2] = {0, (uint8_t)partition}, end[2] = {0, (uint8_t)(partition + 1)};
	int rc = shard_drop_range(world->shard, (struct engine_slice){begin, 2}, (struct engine_slice){end, 2});

	if (rc)
		return rc;
	engine_batch_clear(world->batch);
	for (uint32_t i = 0; i < WORLD_KEYS; i++) {
		if (world_partition(i) == partition && world->now.values[i].is_present)
			batch_add(world, i, &world->now.values[i], value_hash(i, &world->now.values[i]));
	}
	return shard_write(world->shard, world->batch);
}

int world_refill(struct world *world)
{
	static const uint8_t rest[2] = {0, WORLD_PARTITIONS};
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < WORLD_PARTITIONS; i++) {
		if (is_quarantined(world, i))
			rc = refill_partition(world, i);
	}
	/* Those that hold nothing. */
	if (rc == 0 && shard_quarantined(world->shard, WORLD_PARTITIONS) >= 0)
		rc = shard_drop_range(world->shard, (struct engine_slice){rest, 2}, (struct engine_slice){0});
	if (rc == 0)
		add_point(world);
	return rc;
}

int world_meta(struct world *world)
{
	int rc;

	world->meta_doubt = sim_random_next(&world->random) | 1;
	rc = shard_meta_set(world->shard, &world->meta_doubt, sizeof(world->meta_doubt));
	if (rc == 0)
		world->meta = world->meta_doubt;
	return rc;
}

int world_checkpoint(struct world *world)
{
	struct world *first = world->first;
	char directory[64];
	uint32_t number = first->checkpoint_count;
	int rc;

	if (number == WORLD_CHECKPOINTS)
		return 0;
	first->checkpoint_count++;
	for (struct world *it = first; it; it = it->next)
		it->checkpoint_points[number] = last_point(it);
	snprintf(directory, sizeof(directory), "/checkpoint-%u", number);
	rc = engine_checkpoint(first->engine, directory, NULL);
	for (struct world *it = first; rc == 0 && it; it = it->next)
		acknowledge(it, last_point(it));
	return rc;
}

/* Moves a held iterator about: it must not notice what happens to the store. */
static void move_held(struct world *world, struct world_held *held)
{
	for (uint64_t moves = sim_random_below(&world->random, 12); moves-- > 0;) {
		uint64_t what = sim_random_below(&world->random, 6);
		uint32_t key = (uint32_t)sim_random_below(&world->random, WORLD_KEYS);
		struct engine_iterator *it = held->iterator;
		int rc;

		if (held->at == WORLD_KEYS || what == 0) {
			held->at = find_present(&held->state, key, what % 2 ? -1 : 1);
			rc = what % 2 ? engine_iterator_seek_last(it, world_key(key))
				      : engine_iterator_seek(it, world_key(key));
		} else if (what < 4) {
			held->at = find_present(&held->state, (int64_t)held->at + 1, 1);
			rc = engine_iterator_next(it);
		} else {
			held->at = find_present(&held->state, (int64_t)held->at - 1, -1);
			rc = engine_iterator_prev(it);
		}
		check_place(it, rc, held->at);
		if (rc == 1)
			assert_true(is_value(&held->state.values[held->at], engine_iterator_value(it).data,
					     engine_iterator_value(it).size));
	}
}

static int take_hold(struct world *world, struct world_held *held)
{
	int rc = shard_snapshot(world->shard, &held->snapshot);

	if (rc)
		return rc;
	held->state = world->now;
	held->at = WORLD_KEYS;
	held->value_key = (uint32_t)sim_random_below(&world->random, WORLD_KEYS);
	rc = engine_iterator_create(held->snapshot, &held->iterator);
	if (rc == 0)
		rc = engine_snapshot_get(held->snapshot, world_key(held->value_key), &held->value);
	return rc < 0 ? rc : 0;
}

static int hold(struct world *world)
{
	struct world_held *held = &world->held[sim_random_below(&world->random, WORLD_HELD)];

	if (!held->snapshot)
		return take_hold(world, held);
	move_held(world, held);
	if (sim_random_below(&world->random, 3))
		return 0;
	check_iterator(held->snapshot, &held->state);
	check_seeks(world, held->snapshot, &held->state);
	if (held->value.pin)
		assert_true(is_value(&held->state.values[held->value_key], held->value.data, held->value.size));
	release_held(held);
	return 0;
}

/* Reads a piece of the tables; nothing is damaged. */
static int scrub(struct world *world)
{
	struct engine_job *job;
	int rc = shard_scrub(world->shard, &job);

	if (rc || !job)
		return rc;
	engine_job_run(job);
	rc = shard_install(world->shard, &job);
	assert_int_equal(shard_quarantined(world->shard, 0), -1);
	return rc;
}

int world_step(struct world *world)
{
	uint64_t what = sim_random_below(&world->random, 1000);
	int rc;

	if (what < 600)
		rc = world_write(world);
	else if (what < 660)
		rc = world_commit(world, ENGINE_SYNC_EACH);
	else if (what < 720)
		rc = world_split_commit(world);
	else if (what < 800)
		rc = world_commit(world, ENGINE_SYNC_NONE);
	else if (what < 930)
		rc = world_job(world);
	else if (what < 970)
		rc = hold(world);
	else if (what < 976)
		rc = world_drop(world);
	else if (what < 982)
		rc = world_meta(world);
	else if (what < 990)
		rc = shard_request_flush(world->shard);
	else if (what < 993)
		rc = shard_request_compaction(world->shard);
	else if (what < 995)
		rc = world_checkpoint(world);
	else
		rc = scrub(world);
	if (rc == -EAGAIN)
		rc = world_finish_jobs(world);
	if (rc == -EIO)
		world->is_dead = true;
	return rc;
}
