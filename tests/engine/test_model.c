/* SPDX-License-Identifier: Apache-2.0 */
/* Long random histories against a model: batches, commits whole and in halves, jobs under way, drops, checkpoints,
 * snapshots, iterators and values held across all of it, closing and opening, and power cuts and kills at random moments;
 * with one shard and with several.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "tests/engine/twin.h"

/* More with KVRING_MODEL_ROUNDS=n. */
static unsigned rounds(unsigned least)
{
	const char *wish = getenv("KVRING_MODEL_ROUNDS");

	return wish != NULL ? (unsigned)strtoul(wish, NULL, 10) : least;
}

static void open_twin(struct twin *twin)
{
	struct engine_error error;

	if (twin_open(twin, &error))
		fail_msg("%s", error.text);
}

enum { SHARDS_MAX = 3 };

/* A store of one shard, every third of three. */
struct store {
	struct twin twins[SHARDS_MAX];
	unsigned count;
};

static struct twin *store_init(struct store *store, uint64_t seed)
{
	struct engine_options *options = &store->twins[0].options;

	store->count = seed % 3 == 0 ? SHARDS_MAX : 1;
	twin_init(&store->twins[0], seed);
	for (unsigned i = 1; i < store->count; i++)
		twin_join(&store->twins[i], &store->twins[0], seed + 1000 * i);
	if (seed % 3 == 1)
		options->compression_upper = options->compression_last = ENGINE_COMPRESSION_NONE;
	if (seed % 5 == 1)
		options->filter_bits_per_key = 0;
	if (seed % 4 == 1)
		options->memtable_bytes = 4 * 1024; /* many small tables */
	return &store->twins[0];
}

static void check_all(struct store *store)
{
	for (unsigned i = 0; i < store->count; i++)
		twin_check(&store->twins[i]);
}

static void finish_all(struct store *store)
{
	twin_let_go(&store->twins[0]);
	for (unsigned i = 0; i < store->count; i++)
		assert_int_equal(twin_finish_jobs(&store->twins[i]), 0);
	check_all(store);
	twin_check_files(&store->twins[0]);
}

static void run(uint64_t seed, unsigned steps)
{
	struct store store;
	struct twin *first = store_init(&store, seed);

	open_twin(first);
	for (unsigned i = 0; i < steps; i++) {
		assert_int_equal(twin_step(&store.twins[i % store.count]), 0);
		if (i % 50 == 0)
			check_all(&store);
		if (i % 500 == 499)
			finish_all(&store);
		if (sim_random_below(&first->random, 150) == 0) {
			assert_int_equal(twin_close(first), 0);
			open_twin(first);
		}
	}
	check_all(&store);
	assert_int_equal(twin_close(first), 0);
	open_twin(first);
	finish_all(&store);
	twin_fini(first);
}

static void test_random_histories(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= rounds(12); seed++) {
		print_message("seed %u\n", seed);
		run(seed, 2500);
	}
}

/* The power fails, or the process is killed and the machine lives: then what was written is still seen, is taken for
 * durable by who opens the store, and must be so. */
static void crash(struct store *store)
{
	struct twin *first = &store->twins[0];
	struct sim_crash how = {
		.data = (enum sim_crash_data)sim_random_below(&first->random, SIM_DATA_MIXED + 1),
		.names = (enum sim_crash_names)sim_random_below(&first->random, SIM_NAMES_MODE_COUNT),
		.seed = sim_random_next(&first->random),
	};

	if (sim_random_below(&first->random, 3) == 0)
		sim_fs_kill(first->disk);
	else
		sim_fs_crash(first->disk, &how);
	(void)twin_close(first);
	sim_fs_restart(first->disk);
	open_twin(first);
	check_all(store);
}

static void test_random_crashes(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= rounds(12); seed++) {
		struct store store;
		struct twin *first = store_init(&store, seed + 1000000);

		print_message("seed %u\n", seed);
		open_twin(first);
		for (unsigned i = 0; i < 2000; i++) {
			assert_int_equal(twin_step(&store.twins[i % store.count]), 0);
			if (sim_random_below(&first->random, 60) == 0)
				crash(&store);
		}
		finish_all(&store);
		twin_fini(first);
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
