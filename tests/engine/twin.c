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

#include "tests/engine/twin_check.h"

/* E5: a file number is never used twice, crashes or not. */
static int note_operation(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	struct twin *twin = arg;
	unsigned shard;
	unsigned long long number;

	if (index == twin->watch)
		twin->watched = call;
	if (call != SIM_FS_CREATE || sscanf(path, "/store/shard-%u/%llu.", &shard, &number) != 2)
		return 0;
	while (twin->shard_index != shard)
		twin = twin->next;
	assert_true(number < TWIN_NUMBERS);
	if (twin->used_numbers[number / 8] >> number % 8 & 1)
		fail_msg("%s: this number was used before", path);
	twin->used_numbers[number / 8] |= (uint8_t)(1u << number % 8);
	return 0;
}

void twin_init(struct twin *twin, uint64_t seed)
{
	twin_make_keys();
	*twin = (struct twin){0};
	sim_fs_create(seed, &twin->disk);
	sim_fs_set_hook(twin->disk, note_operation, twin);
	twin->used_numbers = calloc(1, TWIN_NUMBERS / 8);
	sim_random_seed(&twin->random, seed);
	engine_options_default(&twin->options);
	twin->options.fs = sim_fs_table(twin->disk);
	twin->options.directory = "/store";
	twin->options.shard_count = 1;
	twin->options.cache_bytes = 64 * 1024;
	twin->options.memtable_bytes = 24 * 1024;
	twin->options.block_bytes = 4096;
	assert_int_equal(engine_batch_create(&twin->batch), 0);
	twin->point_capacity = 64;
	twin->points = calloc(twin->point_capacity, sizeof *twin->points);
	twin->point_count = 1;
	twin->first = twin;
}

void twin_join(struct twin *twin, struct twin *first, uint64_t seed)
{
	struct twin *last = first;

	twin_init(twin, seed);
	sim_fs_destroy(&twin->disk);
	twin->disk = first->disk;
	while (last->next != NULL)
		last = last->next;
	last->next = twin;
	twin->first = first;
	twin->shard_index = last->shard_index + 1;
	first->options.shard_count = twin->shard_index + 1;
}

static void release_held(struct twin_held *held)
{
	engine_iterator_destroy(&held->iterator);
	engine_value_release(&held->value);
	engine_snapshot_release(&held->snapshot);
}

void twin_fini(struct twin *twin)
{
	twin_close(twin);
	assert_int_equal(sim_fs_open_files(twin->disk), 0);
	sim_fs_destroy(&twin->disk);
	for (struct twin *it = twin; it != NULL; it = it->next) {
		engine_batch_destroy(&it->batch);
		free(it->used_numbers);
		free(it->points);
	}
}

static void note_durable(struct twin *twin)
{
	uint64_t durable = shard_durable_sequence(twin->shard);

	assert_true(durable >= twin->durable_seen && durable <= shard_sequence(twin->shard));
	twin->durable_seen = durable;
}

static void add_point(struct twin *twin)
{
	if (twin->point_count == twin->point_capacity) {
		twin->point_capacity *= 2;
		twin->points = realloc(twin->points, twin->point_capacity * sizeof *twin->points);
		assert_non_null(twin->points);
	}
	twin->points[twin->point_count++] = (struct twin_point){twin->now, shard_sequence(twin->shard)};
}

static void acknowledge(struct twin *twin, size_t point)
{
	if (point > twin->acknowledged)
		twin->acknowledged = point;
}

static size_t last_point(const struct twin *twin)
{
	return twin->point_count - 1;
}

/* ---- open and close ------------------------------------------------------------------------------------------ */

/* The store is in a state it was in before, not older than what was acknowledged, at the sequence of that state. What is
 * there now is durable: so says the shard, and a later crash will show. */
static int find_point(struct twin *twin)
{
	uint64_t sequence = shard_sequence(twin->shard);

	for (size_t i = twin->point_count; sequence >= twin->durable_seen && i-- > twin->acknowledged;) {
		if (twin->points[i].sequence == sequence &&
		    twin_state_matches(twin, twin->shard, &twin->points[i].state)) {
			twin->now = twin->points[i].state;
			twin->point_count = i + 1;
			twin->acknowledged = i;
			twin->durable_seen = sequence;
			assert_int_equal(shard_durable_sequence(twin->shard), sequence);
			return 0;
		}
	}
	if (sim_fs_is_down(twin->disk))
		return -EIO;
	fail_msg("sequence %llu is none of the states it may be in (acknowledged: %zu of %zu, durable up to %llu)",
		 (unsigned long long)sequence, twin->acknowledged, twin->point_count,
		 (unsigned long long)twin->durable_seen);
	return -EIO;
}

static int find_place(struct twin *twin)
{
	int error;

	twin->shard = engine_shard(twin->first->engine, twin->shard_index);
	twin->is_dead = false;
	error = find_point(twin);
	if (error) {
		twin->is_dead = true;
		return error;
	}
	if (twin_read_meta(twin) == twin->meta_doubt)
		twin->meta = twin->meta_doubt;
	assert_int_equal(twin_read_meta(twin), twin->meta);
	twin->meta_doubt = twin->meta;
	return 0;
}

int twin_open(struct twin *twin, struct engine_error *error)
{
	int rc = engine_open(&twin->options, &twin->engine, error);

	for (struct twin *it = twin; rc == 0 && it != NULL; it = it->next)
		rc = find_place(it);
	return rc;
}

static void end_commit(struct twin *twin)
{
	if (twin->commit == NULL)
		return;
	if (!twin->commit_has_run)
		engine_commit_run(twin->commit);
	if (shard_commit_end(twin->shard, &twin->commit) == 0)
		acknowledge(twin, twin->commit_point);
}

void twin_let_go(struct twin *twin)
{
	for (struct twin *it = twin->first; it != NULL; it = it->next) {
		for (int i = 0; i < TWIN_HELD; i++)
			release_held(&it->held[i]);
		for (int i = 0; i < TWIN_JOBS; i++) {
			if (it->jobs[i] != NULL)
				(void)!shard_install(it->shard, &it->jobs[i]);
		}
		end_commit(it);
	}
}

int twin_close(struct twin *twin)
{
	int error;

	if (twin->engine == NULL)
		return 0;
	twin_let_go(twin);
	error = engine_close(&twin->engine);
	for (struct twin *it = twin; it != NULL; it = it->next) {
		it->shard = NULL;
		if (error == 0 && it->point_count && !it->is_dead)
			acknowledge(it, last_point(it));
	}
	return error;
}

/* ---- operations ---------------------------------------------------------------------------------------------- */

static void draw_value(struct twin *twin, struct twin_value *out)
{
	uint64_t kind = sim_random_below(&twin->random, 20);

	out->is_present = sim_random_below(&twin->random, 4) != 0;
	out->size = (uint32_t)(kind == 0   ? 0
			       : kind == 1 ? sim_random_below(&twin->random, 9000)
					   : sim_random_below(&twin->random, 200));
	out->seed = sim_random_next(&twin->random);
}

static void batch_add(struct twin *twin, uint32_t key, const struct twin_value *value, uint64_t delta)
{
	uint8_t *bytes = malloc(value->size + 8);
	int error;

	twin_fill_value(value, bytes);
	error = value->is_present
			? engine_batch_put(twin->batch, twin_key(key), (struct engine_slice){bytes, value->size}, delta)
			: engine_batch_delete(twin->batch, twin_key(key), delta);
	free(bytes);
	assert_int_equal(error, 0);
}

int twin_write(struct twin *twin)
{
	struct twin_state next = twin->now;
	uint64_t count = 1 + sim_random_below(&twin->random, 5);
	int error;

	engine_batch_clear(twin->batch);
	for (uint64_t i = 0; i < count; i++) {
		uint32_t key = (uint32_t)sim_random_below(&twin->random, TWIN_KEYS);
		struct twin_value value;

		draw_value(twin, &value);
		batch_add(twin, key, &value, twin_value_hash(key, &next.values[key]) ^ twin_value_hash(key, &value));
		next.values[key] = value;
	}
	error = shard_write(twin->shard, twin->batch);
	if (error)
		return error;
	twin->now = next;
	add_point(twin);
	return 0;
}

int twin_commit(struct twin *twin, enum engine_sync mode)
{
	int error = shard_commit(twin->shard, mode);

	if (error == 0 && mode == ENGINE_SYNC_EACH) {
		acknowledge(twin, last_point(twin));
		assert_int_equal(shard_durable_sequence(twin->shard), shard_sequence(twin->shard));
		note_durable(twin);
	}
	return error;
}

int twin_split_commit(struct twin *twin)
{
	int error;

	if (twin->commit == NULL) {
		twin->commit_point = last_point(twin);
		twin->commit_has_run = false;
		error = shard_commit_begin(twin->shard, &twin->commit);
		if (error == 0 && twin->commit == NULL)
			acknowledge(twin, twin->commit_point);
		return error;
	}
	if (!twin->commit_has_run) {
		engine_commit_run(twin->commit);
		twin->commit_has_run = true;
		return 0;
	}
	error = shard_commit_end(twin->shard, &twin->commit);
	if (error == 0) {
		acknowledge(twin, twin->commit_point);
		note_durable(twin);
	}
	return error;
}

/* Begins, runs or installs a job. */
int twin_job(struct twin *twin)
{
	struct engine_job **job = &twin->jobs[sim_random_below(&twin->random, TWIN_JOBS)];

	if (*job != NULL) {
		uint64_t durable = shard_durable_sequence(twin->shard);
		int error = shard_install(twin->shard, job);

		assert_null(*job);
		assert_true(shard_durable_sequence(twin->shard) >= durable);
		if (error == 0)
			note_durable(twin);
		return error;
	}
	int error = shard_maintain(twin->shard, job);

	if (error == 0 && *job != NULL)
		engine_job_run(*job);
	return error;
}

int twin_finish_jobs(struct twin *twin)
{
	int error = 0;

	for (int i = 0; i < TWIN_JOBS; i++) {
		if (twin->jobs[i] != NULL) {
			int job_rc = shard_install(twin->shard, &twin->jobs[i]);

			error = error ? error : job_rc;
		}
	}
	while (error == 0) {
		error = shard_maintain(twin->shard, &twin->jobs[0]);
		if (error || twin->jobs[0] == NULL)
			break;
		engine_job_run(twin->jobs[0]);
		error = shard_install(twin->shard, &twin->jobs[0]);
	}
	return error;
}

/* Drops a partition, or several. */
int twin_drop(struct twin *twin)
{
	uint8_t first = (uint8_t)sim_random_below(&twin->random, TWIN_PARTITIONS);
	uint8_t begin[2] = {0, first}, end[2] = {0, (uint8_t)(first + 1)};
	struct twin_state next = twin->now;
	int error;

	for (uint32_t i = 0; i < TWIN_KEYS; i++) {
		if (twin_partition(i) == first)
			next.values[i] = (struct twin_value){0};
	}
	/* It syncs first. Whether or not the drop itself happens, both states are possible from here on. */
	error = shard_drop_range(twin->shard, (struct engine_slice){begin, 2}, (struct engine_slice){end, 2});
	if (error) {
		struct twin_state before = twin->now;

		twin->now = next;
		add_point(twin);
		twin->now = before;
		add_point(twin);
		return error;
	}
	twin->now = next;
	add_point(twin);
	acknowledge(twin, last_point(twin));
	return 0;
}

static int refill_partition(struct twin *twin, uint32_t partition)
{
	uint8_t begin[2] = {0, (uint8_t)partition}, end[2] = {0, (uint8_t)(partition + 1)};
	int error = shard_drop_range(twin->shard, (struct engine_slice){begin, 2}, (struct engine_slice){end, 2});

	if (error)
		return error;
	engine_batch_clear(twin->batch);
	for (uint32_t i = 0; i < TWIN_KEYS; i++) {
		if (twin_partition(i) == partition && twin->now.values[i].is_present)
			batch_add(twin, i, &twin->now.values[i], twin_value_hash(i, &twin->now.values[i]));
	}
	return shard_write(twin->shard, twin->batch);
}

int twin_refill(struct twin *twin)
{
	static const uint8_t rest[2] = {0, TWIN_PARTITIONS};
	int error = 0;

	for (uint32_t i = 0; error == 0 && i < TWIN_PARTITIONS; i++) {
		if (twin_is_quarantined(twin, i))
			error = refill_partition(twin, i);
	}
	/* Those that hold nothing. */
	if (error == 0 && shard_quarantined(twin->shard, TWIN_PARTITIONS) >= 0)
		error = shard_drop_range(twin->shard, (struct engine_slice){rest, 2}, (struct engine_slice){0});
	if (error == 0)
		add_point(twin);
	return error;
}

int twin_meta(struct twin *twin)
{
	int error;

	twin->meta_doubt = sim_random_next(&twin->random) | 1;
	error = shard_meta_set(twin->shard, &twin->meta_doubt, sizeof twin->meta_doubt);
	if (error == 0)
		twin->meta = twin->meta_doubt;
	return error;
}

int twin_checkpoint(struct twin *twin)
{
	struct twin *first = twin->first;
	char directory[64];
	uint32_t number = first->checkpoint_count;
	int error;

	if (number == TWIN_CHECKPOINTS)
		return 0;
	first->checkpoint_count++;
	for (struct twin *it = first; it != NULL; it = it->next)
		it->checkpoint_points[number] = last_point(it);
	snprintf(directory, sizeof directory, "/checkpoint-%u", number);
	error = engine_checkpoint(first->engine, directory, NULL);
	for (struct twin *it = first; error == 0 && it != NULL; it = it->next)
		acknowledge(it, last_point(it));
	return error;
}

/* Moves a held iterator about: it must not notice what happens to the store. */
static void move_held(struct twin *twin, struct twin_held *held)
{
	for (uint64_t moves = sim_random_below(&twin->random, 12); moves-- > 0;) {
		uint64_t what = sim_random_below(&twin->random, 6);
		uint32_t key = (uint32_t)sim_random_below(&twin->random, TWIN_KEYS);
		struct engine_iterator *it = held->iterator;
		int error;

		if (held->at == TWIN_KEYS || what == 0) {
			held->at = twin_find_present(&held->state, key, what % 2 ? -1 : 1);
			error = what % 2 ? engine_iterator_seek_last(it, twin_key(key))
					 : engine_iterator_seek(it, twin_key(key));
		} else if (what < 4) {
			held->at = twin_find_present(&held->state, (int64_t)held->at + 1, 1);
			error = engine_iterator_next(it);
		} else {
			held->at = twin_find_present(&held->state, (int64_t)held->at - 1, -1);
			error = engine_iterator_prev(it);
		}
		twin_check_place(it, error, held->at);
		if (error == 1)
			assert_true(twin_is_value(&held->state.values[held->at], engine_iterator_value(it).data,
						  engine_iterator_value(it).size));
	}
}

static int take_hold(struct twin *twin, struct twin_held *held)
{
	int error = shard_snapshot(twin->shard, &held->snapshot);

	if (error)
		return error;
	held->state = twin->now;
	held->at = TWIN_KEYS;
	held->value_key = (uint32_t)sim_random_below(&twin->random, TWIN_KEYS);
	error = engine_iterator_create(held->snapshot, &held->iterator);
	if (error == 0)
		error = engine_snapshot_get(held->snapshot, twin_key(held->value_key), &held->value);
	return error < 0 ? error : 0;
}

static int hold(struct twin *twin)
{
	struct twin_held *held = &twin->held[sim_random_below(&twin->random, TWIN_HELD)];

	if (held->snapshot == NULL)
		return take_hold(twin, held);
	move_held(twin, held);
	if (sim_random_below(&twin->random, 3))
		return 0;
	twin_check_iterator(held->snapshot, &held->state);
	twin_check_seeks(twin, held->snapshot, &held->state);
	if (held->value.pin != NULL)
		assert_true(twin_is_value(&held->state.values[held->value_key], held->value.data, held->value.size));
	release_held(held);
	return 0;
}

/* Reads a piece of the tables; nothing is damaged. */
static int scrub(struct twin *twin)
{
	struct engine_job *job;
	int error = shard_scrub(twin->shard, &job);

	if (error || job == NULL)
		return error;
	engine_job_run(job);
	error = shard_install(twin->shard, &job);
	assert_int_equal(shard_quarantined(twin->shard, 0), -1);
	return error;
}

int twin_step(struct twin *twin)
{
	uint64_t what = sim_random_below(&twin->random, 1000);
	int error;

	if (what < 600)
		error = twin_write(twin);
	else if (what < 660)
		error = twin_commit(twin, ENGINE_SYNC_EACH);
	else if (what < 720)
		error = twin_split_commit(twin);
	else if (what < 800)
		error = twin_commit(twin, ENGINE_SYNC_NONE);
	else if (what < 930)
		error = twin_job(twin);
	else if (what < 970)
		error = hold(twin);
	else if (what < 976)
		error = twin_drop(twin);
	else if (what < 982)
		error = twin_meta(twin);
	else if (what < 990)
		error = shard_request_flush(twin->shard);
	else if (what < 993)
		error = shard_request_compaction(twin->shard);
	else if (what < 995)
		error = twin_checkpoint(twin);
	else
		error = scrub(twin);
	if (error == -EAGAIN)
		error = twin_finish_jobs(twin);
	if (error == -EIO)
		twin->is_dead = true;
	return error;
}
