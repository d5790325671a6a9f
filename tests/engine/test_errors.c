/* SPDX-License-Identifier: Apache-2.0 */
/* Disk errors at every file operation, once and for ever: EIO and ENOSPC. Nothing acknowledged is lost, nothing is half
 * applied, a failed sync is final, and a disk that was full works again when there is room.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/engine/world.h"

enum { SEED = 7, STEPS = 110, MEMTABLE = 6 * 1024 };

static int step(struct world *world, unsigned i)
{
	if (i % 40 == 19)
		return world_drop(world);
	if (i % 40 == 24)
		return world_meta(world);
	if (i % 40 == 34)
		return world_checkpoint(world);
	if (i % 40 == 39)
		return shard_request_compaction(world->shard);
	if (i % 5 == 3)
		return world_commit(world, i % 3 ? ENGINE_SYNC_EACH : ENGINE_SYNC_NONE);
	if (i % 7 == 5)
		return world_job(world);
	return world_write(world);
}

/* The shard is dead: it says so to everything, and touches the disk no more. */
static void check_dead(struct world *world)
{
	uint64_t operations = sim_fs_operations(world->disk);
	struct engine_snapshot *snapshot;
	struct engine_value value;
	struct engine_job *job;

	assert_int_equal(shard_write(world->shard, world->batch), -EIO);
	assert_int_equal(shard_commit(world->shard, ENGINE_SYNC_EACH), -EIO);
	assert_int_equal(shard_get(world->shard, world_key(0), &value), -EIO);
	assert_int_equal(shard_snapshot(world->shard, &snapshot), -EIO);
	assert_int_equal(shard_maintain(world->shard, &job), -EIO);
	assert_int_equal(shard_meta_set(world->shard, "x", 1), -EIO);
	assert_int_equal(sim_fs_operations(world->disk), operations);
	assert_non_null(strstr(shard_error(world->shard), "reopen"));
}

static void check_reopens(struct world *world)
{
	struct engine_error error;

	(void)world_close(world);
	if (world_open(world, &error))
		fail_msg("%s", error.text);
	world_check(world);
}

/* Goes on as after any other day: writes, commits, jobs, no file left behind. */
static void check_goes_on(struct world *world)
{
	for (unsigned i = 0; i < 12; i++) {
		int rc = world_write(world);

		if (rc == -EAGAIN)
			rc = world_finish_jobs(world);
		assert_int_equal(rc, 0);
	}
	assert_int_equal(world_commit(world, ENGINE_SYNC_EACH), 0);
	assert_int_equal(world_finish_jobs(world), 0);
	world_check(world);
}

/* Runs the script; true when the planned error came up. What the engine returned last is in *rc_out. */
static bool run(struct world *world, int *rc_out)
{
	int rc = 0;

	for (unsigned i = 0; i < STEPS; i++) {
		rc = step(world, i);
		if (rc == -EAGAIN)
			rc = world_finish_jobs(world);
		if (rc)
			break;
	}
	*rc_out = rc;
	return sim_fs_fired(world->disk);
}

/* A checkpoint that failed has taken its directory away again, while the disk lets it. */
static void check_no_half_checkpoint(struct world *world)
{
	const struct fs *fs = world->options.fs;
	char path[64];
	const uint8_t *data;
	uint64_t size;

	for (uint32_t i = 0; i < world->checkpoint_count; i++) {
		snprintf(path, sizeof(path), "/checkpoint-%u/STORE", i);
		if (sim_fs_look(world->disk, path, &data, &size) == 0)
			continue;
		snprintf(path, sizeof(path), "/checkpoint-%u", i);
		assert_int_equal(fs->rmdir(fs, path), -ENOENT);
	}
}

static bool try_at(uint64_t index, int error, bool forever)
{
	struct world world;
	bool fired;
	int rc;

	world_init(&world, SEED);
	world.options.memtable_bytes = MEMTABLE;
	assert_int_equal(world_open(&world, NULL), 0);
	sim_fs_reset_operations(world.disk);
	sim_fs_fail_at(world.disk, index, error, forever);
	world.watch = index;
	fired = run(&world, &rc);
	if (!forever)
		check_no_half_checkpoint(&world);
	/* No room for some bytes or a name is not the end: nothing on the disk is in doubt. */
	if (error == -ENOSPC && !forever && (world.watched == SIM_FS_APPEND || world.watched == SIM_FS_CREATE))
		assert_false(shard_is_dead(world.shard));
	if (rc == 0) {
		/* The operation's result did not matter, such as removing a file that nobody names. */
		sim_fs_fail_never(world.disk);
	} else if (shard_is_dead(world.shard)) {
		world.is_dead = true;
		check_dead(&world);
		sim_fs_fail_never(world.disk);
		check_reopens(&world);
	} else {
		/* Refused: what was there is there. Reads go on while the disk goes on failing. */
		sim_fs_count_only(world.disk, SIM_FS_WRITES);
		world_check(&world);
		sim_fs_count_only(world.disk, SIM_FS_ALL);
		sim_fs_fail_never(world.disk);
		if (error == -ENOSPC)
			assert_true(rc == -ENOSPC || rc == -EIO);
	}
	if (fired) {
		check_goes_on(&world);
		/* What failed has left nothing, but for a file whose removal failed: that one goes at the next opening. */
		if (!forever && world.watched != SIM_FS_UNLINK) {
			world_let_go(&world);
			assert_int_equal(world_finish_jobs(&world), 0);
			world_check_files(&world);
		}
		check_reopens(&world);
		assert_int_equal(world_finish_jobs(&world), 0);
		world_check_files(&world);
	}
	world_fini(&world);
	return fired;
}

static void try_all(int error, bool forever)
{
	uint64_t index = 0;

	while (try_at(index, error, forever))
		index++;
	print_message("%llu operations failed\n", (unsigned long long)index);
	assert_true(index > 150);
}

static void test_eio_once(void **state)
{
	(void)state;
	try_all(-EIO, false);
}

static void test_eio_for_ever(void **state)
{
	(void)state;
	try_all(-EIO, true);
}

static void test_enospc_once(void **state)
{
	(void)state;
	try_all(-ENOSPC, false);
}

static void test_enospc_for_ever(void **state)
{
	(void)state;
	try_all(-ENOSPC, true);
}

/* A sync fails, the process starts anew on the living machine, goes on, and then the power fails. What the failed sync
 * was to write is still seen, as clean pages, and is gone with the power: whatever was acknowledged after the restart must not lie
 * behind such a hole. */
static bool try_restart(uint64_t index, unsigned writes)
{
	struct world world;
	struct engine_error error;
	bool fired;
	int rc;

	world_init(&world, SEED + index);
	world.options.memtable_bytes = MEMTABLE;
	assert_int_equal(world_open(&world, NULL), 0);
	sim_fs_count_only(world.disk, 1 << SIM_FS_SYNC);
	sim_fs_reset_operations(world.disk);
	sim_fs_fail_at(world.disk, index, -EIO, false);
	fired = run(&world, &rc);
	if (fired && shard_is_dead(world.shard)) {
		world.is_dead = true;
		check_reopens(&world);
		for (unsigned i = 0; i < writes; i++) {
			assert_int_equal(world_write(&world), 0);
			assert_int_equal(world_commit(&world, ENGINE_SYNC_EACH), 0);
		}
		sim_fs_crash(world.disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, index});
		world.is_dead = true;
		(void)world_close(&world);
		sim_fs_restart(world.disk);
		if (world_open(&world, &error))
			fail_msg("%s", error.text);
		assert_int_equal(shard_quarantined(world.shard, 0), -1);
		world_check(&world);
	}
	world_fini(&world);
	return fired;
}

static void test_restart_after_failed_sync_then_power_cut(void **state)
{
	uint64_t index = 0;

	(void)state;
	for (unsigned writes = 0; writes < 4; writes++) {
		for (index = 0; try_restart(index, writes); index++)
			;
	}
	print_message("%llu syncs failed\n", (unsigned long long)index);
	assert_true(index > 20);
}

/* The disk fills up for real: writes are refused with room left for compaction, reads go on, and space that returns is
 * used without opening again. */
static void test_full_disk_recovers(void **state)
{
	struct world world;
	int rc = 0;

	(void)state;
	world_init(&world, SEED);
	world.options.memtable_bytes = 24 * 1024;
	assert_int_equal(world_open(&world, NULL), 0);
	sim_fs_set_capacity(world.disk, 400 * 1024);
	for (unsigned i = 0; rc == 0 && i < 20000; i++) {
		rc = world_write(&world);
		if (rc == 0)
			rc = world_commit(&world, ENGINE_SYNC_NONE);
		if (rc == -EAGAIN) {
			rc = world_finish_jobs(&world);
			rc = rc == -ENOSPC ? 0 : rc; /* the next write must say it */
		}
		if (i == 1000) /* overwrites alone never fill a disk that is compacted */
			sim_fs_set_capacity(world.disk, sim_fs_used(world.disk) + 60 * 1024);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_non_null(strstr(shard_error(world.shard), "free some space"));
	world_check(&world);
	assert_int_equal(world_write(&world), -ENOSPC);
	world_check(&world);
	sim_fs_set_capacity(world.disk, UINT64_MAX);
	check_goes_on(&world);
	check_reopens(&world);
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eio_once),
		cmocka_unit_test(test_eio_for_ever),
		cmocka_unit_test(test_enospc_once),
		cmocka_unit_test(test_enospc_for_ever),
		cmocka_unit_test(test_full_disk_recovers),
		cmocka_unit_test(test_restart_after_failed_sync_then_power_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
