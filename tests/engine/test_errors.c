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

#include "tests/engine/twin.h"

enum { SEED = 7, STEPS = 110, MEMTABLE = 6 * 1024 };

static int step(struct twin *twin, unsigned i)
{
	if (i % 40 == 19)
		return twin_drop(twin);
	if (i % 40 == 24)
		return twin_meta(twin);
	if (i % 40 == 34)
		return twin_checkpoint(twin);
	if (i % 40 == 39)
		return shard_request_compaction(twin->shard);
	if (i % 5 == 3)
		return twin_commit(twin, i % 3 ? ENGINE_SYNC_EACH : ENGINE_SYNC_NONE);
	if (i % 7 == 5)
		return twin_job(twin);
	return twin_write(twin);
}

/* The shard is dead: it says so to everything, and touches the disk no more. */
static void check_dead(struct twin *twin)
{
	uint64_t operations = sim_fs_operations(twin->disk);
	struct engine_snapshot *snapshot;
	struct engine_value value;
	struct engine_job *job;

	assert_int_equal(shard_write(twin->shard, twin->batch), -EIO);
	assert_int_equal(shard_commit(twin->shard, ENGINE_SYNC_EACH), -EIO);
	assert_int_equal(shard_get(twin->shard, twin_key(0), &value), -EIO);
	assert_int_equal(shard_snapshot(twin->shard, &snapshot), -EIO);
	assert_int_equal(shard_maintain(twin->shard, &job), -EIO);
	assert_int_equal(shard_meta_set(twin->shard, "x", 1), -EIO);
	assert_int_equal(sim_fs_operations(twin->disk), operations);
	assert_non_null(strstr(shard_error(twin->shard), "reopen"));
}

static void check_reopens(struct twin *twin)
{
	struct engine_error error;

	(void)twin_close(twin);
	if (twin_open(twin, &error))
		fail_msg("%s", error.text);
	twin_check(twin);
}

/* Goes on as after any other day: writes, commits, jobs, no file left behind. */
static void check_goes_on(struct twin *twin)
{
	for (unsigned i = 0; i < 12; i++) {
		int error = twin_write(twin);

		if (error == -EAGAIN)
			error = twin_finish_jobs(twin);
		assert_int_equal(error, 0);
	}
	assert_int_equal(twin_commit(twin, ENGINE_SYNC_EACH), 0);
	assert_int_equal(twin_finish_jobs(twin), 0);
	twin_check(twin);
}

/* Runs the script; true when the planned error came up. What the engine returned last is in *rc_out. */
static bool run(struct twin *twin, int *rc_out)
{
	int error = 0;

	for (unsigned i = 0; i < STEPS; i++) {
		error = step(twin, i);
		if (error == -EAGAIN)
			error = twin_finish_jobs(twin);
		if (error)
			break;
	}
	*rc_out = error;
	return sim_fs_fired(twin->disk);
}

/* A checkpoint that failed has taken its directory away again, while the disk lets it. */
static void check_no_half_checkpoint(struct twin *twin)
{
	const struct fs *fs = twin->options.fs;
	char path[64];
	const uint8_t *data;
	uint64_t size;

	for (uint32_t i = 0; i < twin->checkpoint_count; i++) {
		snprintf(path, sizeof path, "/checkpoint-%u/STORE", i);
		if (sim_fs_look(twin->disk, path, &data, &size) == 0)
			continue;
		snprintf(path, sizeof path, "/checkpoint-%u", i);
		assert_int_equal(fs->rmdir(fs, path), -ENOENT);
	}
}

static bool try_at(uint64_t index, int error, bool forever)
{
	struct twin twin;
	bool fired;
	int rc;

	twin_init(&twin, SEED);
	twin.options.memtable_bytes = MEMTABLE;
	assert_int_equal(twin_open(&twin, NULL), 0);
	sim_fs_reset_operations(twin.disk);
	sim_fs_fail_at(twin.disk, index, error, forever);
	twin.watch = index;
	fired = run(&twin, &rc);
	if (!forever)
		check_no_half_checkpoint(&twin);
	/* No room for some bytes or a name is not the end: nothing on the disk is in doubt. */
	if (error == -ENOSPC && !forever && (twin.watched == SIM_FS_APPEND || twin.watched == SIM_FS_CREATE))
		assert_false(shard_is_dead(twin.shard));
	if (rc == 0) {
		/* The operation's result did not matter, such as removing a file that nobody names. */
		sim_fs_fail_never(twin.disk);
	} else if (shard_is_dead(twin.shard)) {
		twin.is_dead = true;
		check_dead(&twin);
		sim_fs_fail_never(twin.disk);
		check_reopens(&twin);
	} else {
		/* Refused: what was there is there. Reads go on while the disk goes on failing. */
		sim_fs_count_only(twin.disk, SIM_FS_WRITES);
		twin_check(&twin);
		sim_fs_count_only(twin.disk, SIM_FS_ALL);
		sim_fs_fail_never(twin.disk);
		if (error == -ENOSPC)
			assert_true(rc == -ENOSPC || rc == -EIO);
	}
	if (fired) {
		check_goes_on(&twin);
		/* What failed has left nothing, but for a file whose removal failed: that one goes at the next opening. */
		if (!forever && twin.watched != SIM_FS_UNLINK) {
			twin_let_go(&twin);
			assert_int_equal(twin_finish_jobs(&twin), 0);
			twin_check_files(&twin);
		}
		check_reopens(&twin);
		assert_int_equal(twin_finish_jobs(&twin), 0);
		twin_check_files(&twin);
	}
	twin_fini(&twin);
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
	struct twin twin;
	struct engine_error error;
	bool fired;
	int rc;

	twin_init(&twin, SEED + index);
	twin.options.memtable_bytes = MEMTABLE;
	assert_int_equal(twin_open(&twin, NULL), 0);
	sim_fs_count_only(twin.disk, 1 << SIM_FS_SYNC);
	sim_fs_reset_operations(twin.disk);
	sim_fs_fail_at(twin.disk, index, -EIO, false);
	fired = run(&twin, &rc);
	if (fired && shard_is_dead(twin.shard)) {
		twin.is_dead = true;
		check_reopens(&twin);
		for (unsigned i = 0; i < writes; i++) {
			assert_int_equal(twin_write(&twin), 0);
			assert_int_equal(twin_commit(&twin, ENGINE_SYNC_EACH), 0);
		}
		sim_fs_crash(twin.disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, index});
		twin.is_dead = true;
		(void)twin_close(&twin);
		sim_fs_restart(twin.disk);
		if (twin_open(&twin, &error))
			fail_msg("%s", error.text);
		assert_int_equal(shard_quarantined(twin.shard, 0), -1);
		twin_check(&twin);
	}
	twin_fini(&twin);
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
	struct twin twin;
	int error = 0;

	(void)state;
	twin_init(&twin, SEED);
	twin.options.memtable_bytes = 24 * 1024;
	assert_int_equal(twin_open(&twin, NULL), 0);
	sim_fs_set_capacity(twin.disk, 400 * 1024);
	for (unsigned i = 0; error == 0 && i < 20000; i++) {
		error = twin_write(&twin);
		if (error == 0)
			error = twin_commit(&twin, ENGINE_SYNC_NONE);
		if (error == -EAGAIN) {
			error = twin_finish_jobs(&twin);
			error = error == -ENOSPC ? 0 : error; /* the next write must say it */
		}
		if (i == 1000) /* overwrites alone never fill a disk that is compacted */
			sim_fs_set_capacity(twin.disk, sim_fs_used(twin.disk) + 60 * 1024);
	}
	assert_int_equal(error, -ENOSPC);
	assert_non_null(strstr(shard_error(twin.shard), "free some space"));
	twin_check(&twin);
	assert_int_equal(twin_write(&twin), -ENOSPC);
	twin_check(&twin);
	sim_fs_set_capacity(twin.disk, UINT64_MAX);
	check_goes_on(&twin);
	check_reopens(&twin);
	twin_fini(&twin);
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
