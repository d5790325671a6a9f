/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files under failing, crashing and misreading disks. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_fs.h"

static const struct fs *make_disk(struct sim_fs **disk)
{
	const struct fs *fs;

	sim_fs_create(1, disk);
	fs = sim_fs_table(*disk);
	assert_int_equal(fs_make_directory(fs, "/store"), 0);
	return fs;
}

static void assert_content(struct sim_fs *disk, const char *path, const char *expected)
{
	const uint8_t *data;
	uint64_t size;

	assert_int_equal(sim_fs_look(disk, path, &data, &size), expected ? 0 : -ENOENT);
	if (expected != NULL) {
		assert_int_equal(size, strlen(expected));
		assert_memory_equal(data, expected, size);
	}
}

/* Each operation of a replacement fails once: the old content is there, or the new one when only the directory could not be synced,
 * and no temporary is left. Beginning again works. */
static void test_replace_fails_whole(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t index = 0; fired; index++) {
		struct sim_fs *disk;
		const struct fs *fs = make_disk(&disk);
		const uint8_t *data;
		uint64_t size;
		int error;

		assert_int_equal(fs_replace_file(fs, "/store", "/store/F", "old", 3), 0);
		sim_fs_reset_operations(disk);
		sim_fs_fail_at(disk, index, -ENOSPC, false);
		error = fs_replace_file(fs, "/store", "/store/F", "newer", 5);
		fired = sim_fs_fired(disk);
		sim_fs_fail_never(disk);
		assert_int_equal(error == 0, !fired);
		assert_int_equal(sim_fs_look(disk, "/store/F.tmp", &data, &size), -ENOENT);
		assert_content(disk, "/store/F", fired && index < 5 ? "old" : "newer");
		assert_int_equal(fs_replace_file(fs, "/store", "/store/F", "newest", 6), 0);
		assert_content(disk, "/store/F", "newest");
		assert_int_equal(sim_fs_open_files(disk), 0);
		sim_fs_destroy(&disk);
		assert_true(fired || index >= 5); /* unlink, create, append, sync, rename, directory */
	}
}

/* The power fails at each operation, in every way: one of the two contents, whole; the new one once it returned 0. */
static void test_replace_survives_power_cuts(void **state)
{
	(void)state;
	for (unsigned data = 0; data < SIM_DATA_MODE_COUNT; data++) {
		for (unsigned names = 0; names < SIM_NAMES_MODE_COUNT; names++) {
			const struct sim_crash how = {(enum sim_crash_data)data, (enum sim_crash_names)names, 5};
			bool fired = true;

			for (uint64_t index = 0; fired; index++) {
				struct sim_fs *disk;
				const struct fs *fs = make_disk(&disk);
				const uint8_t *got;
				uint64_t size;
				int error;

				assert_int_equal(fs_replace_file(fs, "/store", "/store/F", "old", 3), 0);
				sim_fs_reset_operations(disk);
				sim_fs_crash_at(disk, index, &how);
				error = fs_replace_file(fs, "/store", "/store/F", "newer", 5);
				fired = sim_fs_fired(disk);
				if (!fired)
					sim_fs_crash(disk, &how);
				sim_fs_restart(disk);
				assert_int_equal(sim_fs_look(disk, "/store/F", &got, &size), 0);
				assert_true((error && size == 3 && !memcmp(got, "old", 3)) ||
					    (size == 5 && !memcmp(got, "newer", 5)));
				sim_fs_destroy(&disk);
			}
		}
	}
}

/* A directory that was made is there after a power cut, whatever the form of its path. */
static void test_made_directories_are_durable(void **state)
{
	static const char *const paths[] = {"/store/a", "/store/a/", "/store/a//", "/store//a"};

	(void)state;
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		struct sim_fs *disk;
		const struct fs *fs = make_disk(&disk);

		assert_int_equal(fs_make_directory(fs, paths[i]), 0);
		sim_fs_crash(disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, 1});
		sim_fs_restart(disk);
		assert_int_equal(fs_make_directory(fs, "/store/a"), -EEXIST);
		sim_fs_destroy(&disk);
	}
}

/* Its parent cannot be synced: the directory is gone again, and can be made later. */
static void test_a_directory_that_failed_is_not_there(void **state)
{
	struct sim_fs *disk;
	const struct fs *fs = make_disk(&disk);

	(void)state;
	for (uint64_t index = 0; index < 2; index++) {
		sim_fs_reset_operations(disk);
		sim_fs_fail_at(disk, index, -ENOSPC, false);
		assert_int_equal(fs_make_directory(fs, "/store/a"), -ENOSPC);
	}
	assert_int_equal(fs_make_directory(fs, "/store/a"), 0);
	sim_fs_destroy(&disk);
}

static void test_read_and_remove(void **state)
{
	struct sim_fs *disk;
	const struct fs *fs = make_disk(&disk);
	uint8_t *data;
	size_t size;

	(void)state;
	assert_int_equal(fs_read_file(fs, "/store/F", 100, &data, &size), -ENOENT);
	assert_int_equal(fs_remove_file(fs, "/store/F"), 0);
	assert_int_equal(fs_replace_file(fs, "/store", "/store/F", "12345", 5), 0);
	assert_int_equal(fs_read_file(fs, "/store/F", 4, &data, &size), -EFBIG);
	assert_int_equal(fs_read_file(fs, "/store/F", 5, &data, &size), 0);
	assert_int_equal(size, 5);
	assert_memory_equal(data, "12345", 5);
	free(data);
	for (uint64_t index = 0; index < 3; index++) { /* open, size, pread */
		sim_fs_reset_operations(disk);
		sim_fs_fail_at(disk, index, -EIO, false);
		assert_int_equal(fs_read_file(fs, "/store/F", 5, &data, &size), -EIO);
		assert_int_equal(sim_fs_open_files(disk), 0);
	}
	assert_int_equal(fs_remove_file(fs, "/store/F"), 0);
	assert_content(disk, "/store/F", NULL);
	sim_fs_destroy(&disk);
}

/* Counts the checks, and finds the bytes right when they are. */
static int check_content(void *arg, const uint8_t *data, size_t size)
{
	unsigned *checks = arg;

	++*checks;
	return size == 5 && memcmp(data, "12345", 5) == 0 ? 0 : -EBADMSG;
}

/* A misread costs a second reading, damage stays damage, and other errors end it. */
static void test_a_failed_check_reads_anew(void **state)
{
	struct sim_fs *disk;
	const struct fs *fs = make_disk(&disk);
	unsigned checks = 0;

	(void)state;
	assert_int_equal(fs_check_file(fs, "/store/F", 100, check_content, &checks), -ENOENT);
	assert_int_equal(fs_replace_file(fs, "/store", "/store/F", "12345", 5), 0);
	assert_int_equal(fs_check_file(fs, "/store/F", 100, check_content, &checks), 0);
	assert_int_equal(checks, 1);
	for (int kind = SIM_MISREAD_ONCE; kind <= SIM_MISREAD_CACHED; kind++) {
		checks = 0;
		sim_fs_misread(disk, "/store/F", 2, 1, (enum sim_misread)kind);
		assert_int_equal(fs_check_file(fs, "/store/F", 100, check_content, &checks), 0);
		assert_int_equal(checks, 2);
	}
	checks = 0;
	sim_fs_flip_bit(disk, "/store/F", 2, 0);
	assert_int_equal(fs_check_file(fs, "/store/F", 100, check_content, &checks), -EBADMSG);
	assert_int_equal(checks, 2);
	assert_int_equal(sim_fs_open_files(disk), 0);
	sim_fs_destroy(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replace_fails_whole),
		cmocka_unit_test(test_replace_survives_power_cuts),
		cmocka_unit_test(test_made_directories_are_durable),
		cmocka_unit_test(test_a_directory_that_failed_is_not_there),
		cmocka_unit_test(test_read_and_remove),
		cmocka_unit_test(test_a_failed_check_reads_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
