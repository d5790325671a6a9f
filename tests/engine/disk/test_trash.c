/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the store no longer uses are deleted by a job, never by a call of the owner. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "tests/sim/sim_fs.h"
#include "engine/disk/trash.h"

static void make_file(const struct fs *fs, const char *path)
{
	struct fs_file *file;

	assert_int_equal(fs->open(fs, path, FS_OPEN_CREATE, &file), 0);
	fs->close(file);
}

static bool is_there(const struct fs *fs, const char *path)
{
	struct fs_file *file;
	int error = fs->open(fs, path, FS_OPEN_READ, &file);

	if (error == 0)
		fs->close(file);
	return error == 0;
}

static void test_swept_when_asked(void **state)
{
	struct sim_fs *disk;
	const struct fs *fs;
	struct trash *trash;

	(void)state;
	sim_fs_create(1, &disk);
	fs = sim_fs_table(disk);
	assert_int_equal(trash_create(fs, &trash), 0);
	assert_true(trash_is_empty(trash));
	make_file(fs, "/a");
	make_file(fs, "/b");
	make_file(fs, "/c");
	trash_add(trash, "/a");
	trash_add(trash, "/not there");
	trash_add(trash, "/b");
	assert_false(trash_is_empty(trash));
	assert_true(is_there(fs, "/a") && is_there(fs, "/b"));
	trash_sweep(trash);
	assert_true(trash_is_empty(trash));
	assert_true(!is_there(fs, "/a") && !is_there(fs, "/b") && is_there(fs, "/c"));
	trash_add(trash, "/c");
	trash_destroy(&trash);
	assert_null(trash);
	assert_false(is_there(fs, "/c"));
	trash_destroy(&trash);
	sim_fs_destroy(&disk);
}

/* ---- in a shard ---- */

static uint64_t unlinks(const struct sim_fs *disk)
{
	return sim_fs_calls(disk, SIM_FS_UNLINK);
}

static void test_owner_removes_nothing(void **state)
{
	struct engine_options options;
	struct engine_batch *batch;
	struct engine_job *job;
	struct engine *engine;
	struct shard *shard;
	struct sim_fs *disk;
	unsigned flushes = 0, merges = 0, sweeps = 0;

	(void)state;
	sim_fs_create(1, &disk);
	engine_options_default(&options);
	options.fs = sim_fs_table(disk);
	options.directory = "/store";
	assert_int_equal(engine_open(&options, &engine, NULL), 0);
	shard = engine_shard(engine, 0);
	assert_int_equal(engine_batch_create(&batch), 0);
	for (int round = 0; round < 20; round++) {
		engine_batch_clear(batch);
		assert_int_equal(engine_batch_put(batch, (struct engine_slice){"\0\0key", 5},
						  (struct engine_slice){"value", 5}, 0),
				 0);
		assert_int_equal(shard_write(shard, batch), 0);
		assert_int_equal(shard_request_flush(shard), 0);
		for (;;) {
			uint64_t before = unlinks(disk), ran;
			struct shard_stats stats, after;

			shard_stats(shard, &stats);
			assert_int_equal(shard_maintain(shard, &job), 0);
			assert_int_equal(unlinks(disk), before);
			if (job == NULL)
				break;
			engine_job_run(job);
			ran = unlinks(disk);
			assert_int_equal(shard_install(shard, &job), 0);
			assert_int_equal(unlinks(disk), ran);
			shard_stats(shard, &after);
			flushes += after.flush_bytes_written > stats.flush_bytes_written;
			merges += after.compaction_bytes_written > stats.compaction_bytes_written;
			sweeps += ran > before;
		}
	}
	assert_true(flushes == 20 && merges > 0 && sweeps >= 20);
	engine_batch_destroy(&batch);
	assert_int_equal(engine_close(&engine), 0);
	sim_fs_destroy(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_swept_when_asked),
		cmocka_unit_test(test_owner_removes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
