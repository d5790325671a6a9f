/* Long random histories against a model: batches, commits, jobs under way, drops, snapshots held across compactions,
 * closing and opening, and power cuts at random moments.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "world.h"

/* More with KVRING_MODEL_ROUNDS=n. */
static unsigned rounds(unsigned least)
{
	const char *wish = getenv("KVRING_MODEL_ROUNDS");

	return wish ? (unsigned)strtoul(wish, NULL, 10) : least;
}

static void open_world(struct world *world)
{
	struct engine_error error;

	if (world_open(world, &error))
		fail_msg("%s", error.text);
}

static void run(uint64_t seed, unsigned steps)
{
	struct world world;

	world_init(&world, seed);
	if (seed % 3 == 1)
		world.options.compression_upper = world.options.compression_last = ENGINE_COMPRESSION_NONE;
	if (seed % 5 == 1)
		world.options.filter_bits_per_key = 0;
	open_world(&world);
	for (unsigned i = 0; i < steps; i++) {
		assert_int_equal(world_step(&world), 0);
		if (i % 50 == 0)
			world_check(&world);
		if (sim_random_below(&world.random, 150) == 0) {
			assert_int_equal(world_close(&world), 0);
			open_world(&world);
		}
	}
	world_check(&world);
	assert_int_equal(world_close(&world), 0);
	open_world(&world);
	assert_int_equal(world_finish_jobs(&world), 0);
	world_check(&world);
	world_check_files(&world);
	world_fini(&world);
}

static void test_random_histories(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= rounds(12); seed++)
		run(seed, 2500);
}

static void crash(struct world *world)
{
	struct sim_crash how = {
		.data = (enum sim_crash_data)sim_random_below(&world->random, SIM_DATA_MIXED + 1),
		.names = (enum sim_crash_names)sim_random_below(&world->random, SIM_NAMES_MODE_COUNT),
		.seed = sim_random_next(&world->random),
	};

	sim_fs_crash(world->disk, &how);
	world->is_dead = true;
	(void)world_close(world);
	sim_fs_restart(world->disk);
	open_world(world);
	world_check(world);
}

static void test_random_crashes(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= rounds(12); seed++) {
		struct world world;

		world_init(&world, seed + 1000000);
		open_world(&world);
		for (unsigned i = 0; i < 2000; i++) {
			assert_int_equal(world_step(&world), 0);
			if (sim_random_below(&world.random, 60) == 0)
				crash(&world);
		}
		assert_int_equal(world_finish_jobs(&world), 0);
		world_check(&world);
		world_fini(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_histories),
		cmocka_unit_test(test_random_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
