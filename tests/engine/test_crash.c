/* Crash explorer: a scripted workload with flushes, compactions, drops and checkpoints loses power at every file
 * operation, in every way the simulated disk knows. What reopens is a prefix of the history that holds every synced
 * batch, the hash trees equal a recount, and no file is left behind.
 *
 * KVRING_CRASH_STEPS=n makes the workload longer, KVRING_CRASH_NAMES=1 crosses every treatment of bytes with every one
 * of names.
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

#include "world.h"

enum { SEED = 20 };

static unsigned wish(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

/* A dense script: everything the engine does to files happens several times. */
static int script_step(struct world *world, unsigned i)
{
	switch (i % 40) {
	case 9:
	case 29:
		return shard_request_flush(world->shard);
	case 19:
		return world_drop(world);
	case 24:
		return world_meta(world);
	case 34:
		return world_checkpoint(world);
	case 39:
		return shard_request_compaction(world->shard);
	default:
		break;
	}
	if (i % 5 == 3)
		return world_commit(world, i % 3 ? ENGINE_SYNC_EACH : ENGINE_SYNC_NONE);
	if (i % 7 == 5)
		return world_job(world);
	return world_write(world);
}

/* Runs the script until it ends or the power fails. Opening counts too, and so does closing and opening in the middle.
 */
static void run_script(struct world *world, unsigned steps)
{
	if (world_open(world, NULL))
		return;
	for (unsigned i = 0; i < steps; i++) {
		int rc = script_step(world, i);

		if (rc == -EAGAIN)
			rc = world_finish_jobs(world);
		if (rc == 0 && i == steps / 2) {
			rc = world_close(world);
			if (rc == 0)
				rc = world_open(world, NULL);
		}
		if (rc)
			break;
	}
	if (!sim_fs_is_down(world->disk))
		(void)world_finish_jobs(world);
}

/* A checkpoint that calls itself a store opens and reads; one that does not is none. */
static void check_checkpoints(struct world *world)
{
	for (uint32_t i = 0; i < world->checkpoint_count; i++) {
		struct engine_options options = world->options;
		char directory[64], store[80];
		struct engine *engine;
		struct engine_error error;
		const uint8_t *data;
		uint64_t size;

		snprintf(directory, sizeof(directory), "/checkpoint-%u", i);
		snprintf(store, sizeof(store), "%s/STORE", directory);
		if (sim_fs_look(world->disk, store, &data, &size))
			continue;
		options.directory = directory;
		options.create_if_missing = false;
		if (engine_open(&options, &engine, &error))
			fail_msg("%s", error.text);
		for (uint32_t key = 0; key < WORLD_KEYS; key++) {
			struct engine_value value;

			assert_true(shard_get(engine_shard(engine, 0), world_key(key), &value) >= 0);
			engine_value_release(&value);
		}
		assert_int_equal(engine_close(&engine), 0);
	}
}

static void reopen(struct world *world)
{
	struct engine_error error;

	world->is_dead = true;
	(void)world_close(world);
	sim_fs_restart(world->disk);
	if (world_open(world, &error))
		fail_msg("%s", error.text);
	world_check(world);
}

/* True when the crash came before the script's end. */
static bool explore(uint64_t index, const struct sim_crash *how, unsigned steps)
{
	struct world world;
	bool fired;

	world_init(&world, SEED);
	world.options.memtable_bytes = 6 * 1024;
	sim_fs_crash_at(world.disk, index, how);
	run_script(&world, steps);
	fired = sim_fs_fired(world.disk);
	if (!fired) {
		world_fini(&world);
		return false;
	}
	reopen(&world);
	check_checkpoints(&world);
	/* It goes on from there. */
	for (int i = 0; i < 10; i++) {
		int rc = world_write(&world);

		if (rc == -EAGAIN)
			rc = world_finish_jobs(&world);
		assert_int_equal(rc, 0);
	}
	assert_int_equal(world_commit(&world, ENGINE_SYNC_EACH), 0);
	assert_int_equal(world_finish_jobs(&world), 0);
	world_check(&world);
	world_check_files(&world);
	/* Once more, so that what recovery itself left is seen as well. */
	sim_fs_crash(world.disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, index});
	reopen(&world);
	world_fini(&world);
	return true;
}

static void test_every_operation(void **state)
{
	unsigned steps = wish("KVRING_CRASH_STEPS", 100), all_names = wish("KVRING_CRASH_NAMES", 0);
	uint64_t index = 0, crashes = 0;
	bool fired = true;

	(void)state;
	for (; fired; index++) {
		for (unsigned data = 0; data < SIM_DATA_MODE_COUNT; data++) {
			for (unsigned names = 0; names < (all_names ? SIM_NAMES_MODE_COUNT : 1); names++) {
				struct sim_crash how = {
					.data = (enum sim_crash_data)data,
					.names = (enum sim_crash_names)((names + index + data) % SIM_NAMES_MODE_COUNT),
					.seed = index * 31 + data,
				};

				fired = explore(index, &how, steps);
				crashes += fired;
			}
		}
	}
	print_message("%llu file operations, %llu crashes\n", (unsigned long long)index - 1,
		      (unsigned long long)crashes);
	assert_true(index > 200);
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
			struct world world;
			bool fired;

			world_init(&world, SEED);
			world.options.memtable_bytes = 6 * 1024;
			sim_fs_crash_at(world.disk, first, &how);
			run_script(&world, steps);
			if (!sim_fs_is_down(world.disk)) {
				world_fini(&world);
				break;
			}
			world.is_dead = true;
			(void)world_close(&world);
			sim_fs_restart(world.disk);
			sim_fs_reset_operations(world.disk);
			sim_fs_crash_at(world.disk, second, &how);
			if (engine_open(&world.options, &world.engine, NULL) == 0)
				(void)engine_close(&world.engine);
			fired = sim_fs_is_down(world.disk);
			sim_fs_fail_never(world.disk);
			sim_fs_restart(world.disk);
			reopen(&world);
			crashes += fired;
			world_fini(&world);
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
	struct world world;
	struct engine_error error;
	uint64_t sequence;
	int rc;

	(void)state;
	world_init(&world, SEED);
	assert_int_equal(world_open(&world, NULL), 0);
	sim_fs_set_lying(world.disk, true);
	for (int i = 0; i < 20; i++)
		assert_int_equal(world_write(&world), 0);
	assert_int_equal(world_commit(&world, ENGINE_SYNC_EACH), 0);
	sequence = shard_sequence(world.shard);
	sim_fs_crash(world.disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, 1});
	world.is_dead = true;
	(void)world_close(&world);
	sim_fs_set_lying(world.disk, false);
	sim_fs_restart(world.disk);
	rc = engine_open(&world.options, &world.engine, &error);
	assert_true(rc || shard_sequence(engine_shard(world.engine, 0)) < sequence);
	world.is_dead = true;
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_operation),
		cmocka_unit_test(test_crash_in_recovery),
		cmocka_unit_test(test_lying_disk_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
