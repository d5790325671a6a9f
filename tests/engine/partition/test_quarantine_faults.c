/* SPDX-License-Identifier: Apache-2.0 */
/* Power cuts and disk errors while damage is found, recorded and ended: what was known for damaged stays so. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "tests/engine/store.h"

static const uint32_t shard_0[] = {0, 2, 4, 6};

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
	struct store_key key;
	int error = engine_open(&store->options, &store->engine, NULL);

	if (error)
		return error;
	shard = store_shard(store, STORE_VICTIM);
	error = shard_get(shard, store_key(&key, STORE_VICTIM, STORE_KEYS / 2), &value);
	if (error != -EBADMSG)
		return error ? error : -EIO;
	error = store_run_jobs(shard);
	life->is_known = error == 0;
	if (error == 0)
		error = shard_request_compaction(shard);
	if (error == 0)
		error = store_run_jobs(shard);
	if (error)
		return error;
	life->is_dropped = true;
	error = store_drop_partition(store, STORE_VICTIM);
	life->is_gone = error == 0;
	if (error == 0)
		error = store_write_partition(store, STORE_VICTIM);
	life->is_filled = error == 0;
	if (error == 0)
		error = shard_request_compaction(shard);
	return error ? error : store_run_jobs(shard);
}

static void check_life(struct store *store, const struct life *life)
{
	struct store_tally tally = store_read_partition(store, STORE_VICTIM);

	for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++) {
		if (partition != STORE_VICTIM)
			assert_int_equal(store_read_partition(store, partition).right, STORE_KEYS);
	}
	if (life->is_filled)
		assert_int_equal(tally.right, STORE_KEYS);
	else if (life->is_gone)
		assert_true(tally.right == STORE_KEYS || tally.absent == STORE_KEYS);
	else if (life->is_known && !life->is_dropped)
		assert_int_equal(tally.refused, STORE_KEYS);
	else /* never "absent" but all of it, after the drop */
		assert_true(tally.absent == 0 ? tally.refused > 0 : life->is_dropped && tally.absent == STORE_KEYS);
}

static bool crash_at(uint64_t index, enum sim_crash_data data)
{
	struct sim_crash how = {data, (enum sim_crash_names)((index + data) % SIM_NAMES_MODE_COUNT), index};
	struct life life = {0};
	struct store store;
	bool fired;

	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	sim_fs_reset_operations(store.disk);
	sim_fs_crash_at(store.disk, index, &how);
	(void)live(&store, &life);
	fired = sim_fs_is_down(store.disk);
	store_restart(&store);
	check_life(&store, &life);
	/* And to the end of it. */
	if (store_is_quarantined(&store, STORE_VICTIM) ||
	    store_read_partition(&store, STORE_VICTIM).right != STORE_KEYS) {
		assert_int_equal(store_drop_partition(&store, STORE_VICTIM), 0);
		assert_int_equal(store_write_partition(&store, STORE_VICTIM), 0);
	}
	assert_int_equal(store_run_jobs(store_shard(&store, STORE_VICTIM)), 0);
	store_check_only(&store, NULL, 0);
	store_free(&store);
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

	store_fill(&store, true);
	store_damage_table(&store, STORE_VICTIM, STORE_KEYS / 2);
	sim_fs_reset_operations(store.disk);
	sim_fs_fail_at(store.disk, index, error, forever);
	(void)live(&store, &life);
	fired = sim_fs_fired(store.disk);
	sim_fs_fail_never(store.disk);
	store_restart(&store);
	check_life(&store, &life);
	store_free(&store);
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
			struct store_search log;
			struct store store;

			store_fill_and(&store, false, forever ? STORE_CLOSED : STORE_KILLED);
			store_damage_entry(&store, store_find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
			sim_fs_reset_operations(store.disk);
			sim_fs_fail_at(store.disk, index, index % 2 ? -ENOSPC : -EIO, forever);
			if (engine_open(&store.options, &store.engine, NULL) == 0)
				assert_int_equal(shard_quarantined(store_shard(&store, 0), 0), 0);
			fired |= sim_fs_fired(store.disk);
			sim_fs_fail_never(store.disk);
			store_restart(&store);
			store_check_only(&store, shard_0, 4);
			store_free(&store);
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
			struct store_search log;
			struct store store;

			store_fill_and(&store, false, data % 2 ? STORE_CLOSED : STORE_KILLED);
			store_damage_entry(&store, store_find_file(&store, "/store/shard-000", ".log", &log), 2, 5);
			sim_fs_reset_operations(store.disk);
			sim_fs_crash_at(store.disk, index, &how);
			(void)store_open(&store);
			fired |= sim_fs_is_down(store.disk);
			crashes += sim_fs_is_down(store.disk);
			sim_fs_fail_never(store.disk);
			store_restart(&store);
			store_check_only(&store, shard_0, 4);
			store_free(&store);
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
		cmocka_unit_test(test_crash_at_every_step),
		cmocka_unit_test(test_errors_at_every_step),
		cmocka_unit_test(test_errors_while_the_log_is_put_aside),
		cmocka_unit_test(test_crash_while_the_log_is_put_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
