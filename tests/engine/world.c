/* SPDX-License-Identifier: Apache-2.0 */
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

#include "tests/engine/world_check.h"

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
	world_make_keys();
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

/* ---- open and close ------------------------------------------------------------------------------------------ */

/* The store is in a state it was in before, not older than what was acknowledged, at the sequence of that state. What is
 * there now is durable: so says the shard, and a later crash will show. */
static int find_point(struct world *world)
{
	uint64_t sequence = shard_sequence(world->shard);

	for (size_t i = world->point_count; sequence >= world->durable_seen && i-- > world->acknowledged;) {
		if (world->points[i].sequence == sequence &&
		    world_state_matches(world, world->shard, &world->points[i].state)) {
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
	if (world_read_meta(world) == world->meta_doubt)
		world->meta = world->meta_doubt;
	assert_int_equal(world_read_meta(world), world->meta);
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

	world_fill_value(value, bytes);
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
		batch_add(world, key, &value, world_value_hash(key, &next.values[key]) ^ world_value_hash(key, &value));
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
		if (world_partition(i) == first)
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
			batch_add(world, i, &world->now.values[i], world_value_hash(i, &world->now.values[i]));
	}
	return shard_write(world->shard, world->batch);
}

int world_refill(struct world *world)
{
	static const uint8_t rest[2] = {0, WORLD_PARTITIONS};
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < WORLD_PARTITIONS; i++) {
		if (world_is_quarantined(world, i))
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
			held->at = world_find_present(&held->state, key, what % 2 ? -1 : 1);
			rc = what % 2 ? engine_iterator_seek_last(it, world_key(key))
				      : engine_iterator_seek(it, world_key(key));
		} else if (what < 4) {
			held->at = world_find_present(&held->state, (int64_t)held->at + 1, 1);
			rc = engine_iterator_next(it);
		} else {
			held->at = world_find_present(&held->state, (int64_t)held->at - 1, -1);
			rc = engine_iterator_prev(it);
		}
		world_check_place(it, rc, held->at);
		if (rc == 1)
			assert_true(world_is_value(&held->state.values[held->at], engine_iterator_value(it).data,
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
	world_check_iterator(held->snapshot, &held->state);
	world_check_seeks(world, held->snapshot, &held->state);
	if (held->value.pin)
		assert_true(world_is_value(&held->state.values[held->value_key], held->value.data, held->value.size));
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
