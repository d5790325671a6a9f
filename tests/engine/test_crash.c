/* SPDX-License-Identifier: Apache-2.0 */
/* Crash explorer: a scripted workload with flushes, compactions, drops and checkpoints loses power at every file
 * operation, in every way the simulated disk knows. What reopens is a prefix of the history that holds every synced
 * batch, the hash trees equal a recount, and no file is left behind.
 *
 * KVRING_CRASH_STEPS=n makes the workload longer, KVRING_CRASH_NAMES=1 crosses every treatment of bytes with every one
 * of names, KVRING_CRASH_STRIDE=1 takes every operation of the store of several shards.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/engine/twin.h"

enum { SEED = 20, SHARDS_MAX = 3 };

static unsigned wish(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

/* A dense script: everything the engine does to files happens several times. */
static int script_step(struct twin *twin, unsigned i)
{
	switch (i % 40) {
	case 9:
	case 29:
		return shard_request_flush(twin->shard);
	case 19:
		return twin_drop(twin);
	case 24:
		return twin_meta(twin);
	case 34:
		return twin_checkpoint(twin);
	case 39:
		return shard_request_compaction(twin->shard);
	default:
		break;
	}
	if (i % 5 == 3)
		return twin_commit(twin, i % 3 ? ENGINE_SYNC_EACH : ENGINE_SYNC_NONE);
	if (i % 11 == 6)
		return twin_split_commit(twin);
	if (i % 7 == 5)
		return twin_job(twin);
	return twin_write(twin);
}

static int close_and_open(struct twin *first)
{
	int error = twin_close(first);

	return error ? error : twin_open(first, NULL);
}

/* Runs the script, the shards in turn, until it ends or the power fails. Opening counts too, and so does closing and
 * opening in the middle. */
static void run_script(struct twin *first, unsigned steps)
{
	struct twin *twin = first;

	if (twin_open(first, NULL))
		return;
	for (unsigned i = 0; i < steps; i++) {
		int error = script_step(twin, i);

		if (error == -EAGAIN)
			error = twin_finish_jobs(twin);
		if (error == 0 && i == steps / 2)
			error = close_and_open(first);
		if (error)
			break;
		/* Runs of several steps, so that one shard does not get all of one kind. */
		if (i % 3 == 0)
			twin = twin->next != NULL ? twin->next : first;
	}
	for (twin = first; twin != NULL && !sim_fs_is_down(first->disk); twin = twin->next)
		(void)twin_finish_jobs(twin);
}

/* A checkpoint that calls itself a store opens and holds what the store held when it was made; one that does not is none. */
static void check_checkpoint(struct twin *first, uint32_t number)
{
	struct engine_options options = first->options;
	char directory[64], store[80];
	struct engine *engine;
	struct engine_error error;
	const uint8_t *data;
	uint64_t size;

	snprintf(directory, sizeof directory, "/checkpoint-%u", number);
	snprintf(store, sizeof store, "%s/STORE", directory);
	if (sim_fs_look(first->disk, store, &data, &size))
		return;
	options.directory = directory;
	options.create_if_missing = false;
	if (engine_open(&options, &engine, &error))
		fail_msg("%s", error.text);
	for (struct twin *twin = first; twin != NULL; twin = twin->next)
		twin_check_copy(twin, engine_shard(engine, twin->shard_index), twin->checkpoint_points[number]);
	assert_int_equal(engine_close(&engine), 0);
}

static void reopen(struct twin *first)
{
	struct engine_error error;

	(void)twin_close(first);
	sim_fs_restart(first->disk);
	if (twin_open(first, &error))
		fail_msg("%s", error.text);
	for (struct twin *twin = first; twin != NULL; twin = twin->next)
		twin_check(twin);
}

/* It goes on after the crash as before. */
static void go_on(struct twin *first)
{
	for (struct twin *twin = first; twin != NULL; twin = twin->next) {
		for (int i = 0; i < 10; i++) {
			int error = twin_write(twin);

			if (error == -EAGAIN)
				error = twin_finish_jobs(twin);
			assert_int_equal(error, 0);
		}
		assert_int_equal(twin_commit(twin, ENGINE_SYNC_EACH), 0);
		assert_int_equal(twin_finish_jobs(twin), 0);
		twin_check(twin);
	}
	twin_check_files(first);
}

struct plan {
	unsigned shards, steps;
	uint64_t first_index, stride;
};

/* The twins of one store; the first one stands for all. */
static void make_worlds(struct twin *twins, unsigned count)
{
	twin_init(&twins[0], SEED);
	for (unsigned i = 1; i < count; i++)
		twin_join(&twins[i], &twins[0], SEED + i);
	twins[0].options.memtable_bytes = 6 * 1024;
}

/* True when the crash came before the script's end. */
static bool explore(uint64_t index, const struct sim_crash *how, const struct plan *plan)
{
	struct twin twins[SHARDS_MAX];
	bool fired;

	make_worlds(twins, plan->shards);
	sim_fs_crash_at(twins[0].disk, index, how);
	run_script(&twins[0], plan->steps);
	fired = sim_fs_fired(twins[0].disk);
	if (fired) {
		reopen(&twins[0]);
		for (uint32_t i = 0; i < twins[0].checkpoint_count; i++)
			check_checkpoint(&twins[0], i);
		go_on(&twins[0]);
		/* Once more, so that what recovery itself left is seen as well. */
		sim_fs_crash(twins[0].disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, index});
		reopen(&twins[0]);
	}
	twin_fini(&twins[0]);
	return fired;
}

static void explore_all(const struct plan *plan)
{
	unsigned all_names = wish("KVRING_CRASH_NAMES", 0);
	uint64_t index = plan->first_index, crashes = 0;
	bool fired = true;

	for (; fired; index += plan->stride) {
		for (unsigned data = 0; data < SIM_DATA_MODE_COUNT; data++) {
			for (unsigned names = 0; names < (all_names ? SIM_NAMES_MODE_COUNT : 1); names++) {
				struct sim_crash how = {
					.data = (enum sim_crash_data)data,
					.names = (enum sim_crash_names)((names + index + data) % SIM_NAMES_MODE_COUNT),
					.seed = index * 31 + data,
				};

				fired = explore(index, &how, plan);
				crashes += fired;
			}
		}
	}
	print_message("%u shards: crashes up to file operation %llu, every %llu: %llu\n", plan->shards,
		      (unsigned long long)index - plan->stride, (unsigned long long)plan->stride,
		      (unsigned long long)crashes);
	assert_true(index > 200);
}

static void test_every_operation(void **state)
{
	(void)state;
	explore_all(&(struct plan){1, wish("KVRING_CRASH_STEPS", 100), 0, 1});
}

/* With several shards, every operation of making the store, and then a sample; KVRING_CRASH_STRIDE=1 takes all. */
static void test_several_shards(void **state)
{
	(void)state;
	explore_all(&(struct plan){SHARDS_MAX, wish("KVRING_CRASH_STEPS", 150), 0, wish("KVRING_CRASH_STRIDE", 5)});
}

/* Making a store of several shards is cut short: the next open makes it whole. */
static void test_crash_while_creating(void **state)
{
	bool fired = true;
	uint64_t crashes = 0;

	(void)state;
	for (uint64_t index = 0; fired; index++) {
		for (unsigned mode = 0; mode < SIM_DATA_MODE_COUNT * SIM_NAMES_MODE_COUNT; mode++) {
			struct sim_crash how = {(enum sim_crash_data)(mode % SIM_DATA_MODE_COUNT),
						(enum sim_crash_names)(mode / SIM_DATA_MODE_COUNT), index};
			struct twin twins[SHARDS_MAX];

			make_worlds(twins, SHARDS_MAX);
			sim_fs_crash_at(twins[0].disk, index, &how);
			fired = twin_open(&twins[0], NULL) != 0;
			crashes += fired;
			if (fired) {
				reopen(&twins[0]);
				go_on(&twins[0]);
			}
			twin_fini(&twins[0]);
		}
	}
	print_message("%llu crashes while creating\n", (unsigned long long)crashes);
	assert_true(crashes > 500);
}

/* A checkpoint is cut short at each operation, names surviving or not by themselves in many ways. */
static void test_crash_while_checkpointing(void **state)
{
	uint64_t crashes = 0, whole = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 16; seed++) {
		bool fired = true;

		for (uint64_t index = 0; fired; index++) {
			struct sim_crash how = {(enum sim_crash_data)(seed % SIM_DATA_MODE_COUNT), SIM_NAMES_ANY,
						index * 16 + seed};
			struct twin twins[SHARDS_MAX];
			const uint8_t *data;
			uint64_t size;

			make_worlds(twins, SHARDS_MAX);
			assert_int_equal(twin_open(&twins[0], NULL), 0);
			for (unsigned i = 0; i < SHARDS_MAX; i++) {
				for (int j = 0; j < 6; j++)
					assert_int_equal(twin_write(&twins[i]), 0);
			}
			sim_fs_reset_operations(twins[0].disk);
			sim_fs_crash_at(twins[0].disk, index, &how);
			(void)!twin_checkpoint(&twins[0]);
			fired = sim_fs_fired(twins[0].disk);
			if (fired) {
				reopen(&twins[0]);
				check_checkpoint(&twins[0], 0);
				whole += sim_fs_look(twins[0].disk, "/checkpoint-0/STORE", &data, &size) == 0;
				crashes++;
			}
			twin_fini(&twins[0]);
		}
	}
	print_message("%llu crashes while checkpointing, %llu of them left a whole one\n", (unsigned long long)crashes,
		      (unsigned long long)whole);
	assert_true(crashes > 300 && whole > 0);
}

/* The power fails while the store recovers from a power cut. */
static void test_crash_in_recovery(void **state)
{
	unsigned steps = wish("KVRING_CRASH_STEPS", 100);
	uint64_t crashes = 0;

	(void)state;
	for (uint64_t first = 40; first < 400; first += 59) {
		for (uint64_t second = 0;; second++) {
			struct sim_crash how = {(enum sim_crash_data)(second % SIM_DATA_MODE_COUNT),
						(enum sim_crash_names)(second % SIM_NAMES_MODE_COUNT), second};
			struct twin twin;
			bool fired;

			twin_init(&twin, SEED);
			twin.options.memtable_bytes = 6 * 1024;
			sim_fs_crash_at(twin.disk, first, &how);
			run_script(&twin, steps);
			if (!sim_fs_is_down(twin.disk)) {
				twin_fini(&twin);
				break;
			}
			(void)twin_close(&twin);
			sim_fs_restart(twin.disk);
			sim_fs_reset_operations(twin.disk);
			sim_fs_crash_at(twin.disk, second, &how);
			if (engine_open(&twin.options, &twin.engine, NULL) == 0)
				(void)engine_close(&twin.engine);
			fired = sim_fs_is_down(twin.disk);
			sim_fs_fail_never(twin.disk);
			sim_fs_restart(twin.disk);
			reopen(&twin);
			crashes += fired;
			twin_fini(&twin);
			if (!fired)
				break;
		}
	}
	print_message("%llu crashes while recovering\n", (unsigned long long)crashes);
	assert_true(crashes > 50);
}

/* The explorer must find a disk that lies about syncing: the canary. */
static void test_lying_disk_is_noticed(void **state)
{
	struct twin twin;
	struct engine_error error;
	uint64_t sequence;
	int rc;

	(void)state;
	twin_init(&twin, SEED);
	assert_int_equal(twin_open(&twin, NULL), 0);
	sim_fs_set_lying(twin.disk, true);
	for (int i = 0; i < 20; i++)
		assert_int_equal(twin_write(&twin), 0);
	assert_int_equal(twin_commit(&twin, ENGINE_SYNC_EACH), 0);
	sequence = shard_sequence(twin.shard);
	sim_fs_crash(twin.disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, 1});
	twin.is_dead = true;
	(void)twin_close(&twin);
	sim_fs_set_lying(twin.disk, false);
	sim_fs_restart(twin.disk);
	rc = engine_open(&twin.options, &twin.engine, &error);
	assert_true(rc || shard_sequence(engine_shard(twin.engine, 0)) < sequence);
	twin.is_dead = true;
	twin_fini(&twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_operation),      cmocka_unit_test(test_several_shards),
		cmocka_unit_test(test_crash_while_creating), cmocka_unit_test(test_crash_while_checkpointing),
		cmocka_unit_test(test_crash_in_recovery),    cmocka_unit_test(test_lying_disk_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
