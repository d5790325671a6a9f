/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk keeps exactly what fs.h promises: every mode of a crash, every fault, the same for the same seed.
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
#include "tests/sim/sim_fs.h"

static int setup(void **state)
{
	struct sim_fs *disk;

	sim_fs_create(1, &disk);
	*state = disk;
	return 0;
}

static int teardown(void **state)
{
	sim_fs_destroy((struct sim_fs **)state);
	return 0;
}

static struct fs_file *open_file(struct sim_fs *disk, const char *path, enum fs_open_mode mode)
{
	const struct fs *fs = sim_fs_table(disk);
	struct fs_file *file;

	assert_int_equal(fs->open(fs, path, mode, &file), 0);
	return file;
}

static int append(struct fs_file *file, const void *data, size_t size)
{
	struct iovec part = {(void *)data, size};
	return file->fs->append(file, &part, 1);
}

static void append_fill(struct fs_file *file, uint8_t fill, size_t size)
{
	uint8_t *bytes = malloc(size);

	memset(bytes, fill, size);
	assert_int_equal(append(file, bytes, size), 0);
	free(bytes);
}

/* A file whose name is durable, open for appending. */
static struct fs_file *create_durable(struct sim_fs *disk, const char *path)
{
	struct fs_file *file = open_file(disk, path, FS_OPEN_CREATE);

	assert_int_equal(file->fs->sync_dir(file->fs, "/"), 0);
	return file;
}

static void crash(struct sim_fs *disk, enum sim_crash_data data, enum sim_crash_names names, uint64_t seed)
{
	sim_fs_crash(disk, &(struct sim_crash){data, names, seed});
	sim_fs_restart(disk);
}

static void assert_content(struct sim_fs *disk, const char *path, const char *expected)
{
	const uint8_t *data;
	uint64_t size;

	if (expected == NULL) {
		assert_int_equal(sim_fs_look(disk, path, &data, &size), -ENOENT);
		return;
	}
	assert_int_equal(sim_fs_look(disk, path, &data, &size), 0);
	assert_int_equal(size, strlen(expected));
	assert_memory_equal(data, expected, size);
}

/* ---- the calls ---- */

static void test_files_read_what_was_appended(void **state)
{
	struct fs_file *file = open_file(*state, "/a", FS_OPEN_CREATE);
	struct iovec parts[] = {{"one ", 4}, {"", 0}, {"two", 3}};
	char buffer[16];
	uint64_t size;

	assert_int_equal(file->fs->append(file, parts, 3), 0);
	assert_int_equal(file->fs->size(file, &size), 0);
	assert_int_equal(size, 7);
	assert_int_equal(file->fs->pread(file, buffer, sizeof buffer, 0), 7);
	assert_memory_equal(buffer, "one two", 7);
	assert_int_equal(file->fs->pread(file, buffer, 2, 4), 2);
	assert_memory_equal(buffer, "tw", 2);
	assert_int_equal(file->fs->pread(file, buffer, 2, 7), 0);
	assert_int_equal(file->fs->truncate(file, 3), 0);
	assert_int_equal(append(file, "!", 1), 0);
	assert_content(*state, "/a", "one!");
	file->fs->close(file);
}

static void test_open_modes(void **state)
{
	const struct fs *fs = sim_fs_table(*state);
	struct fs_file *file, *again;

	assert_int_equal(fs->open(fs, "/a", FS_OPEN_READ, &file), -ENOENT);
	assert_int_equal(fs->open(fs, "/a", FS_OPEN_APPEND, &file), -ENOENT);
	assert_int_equal(fs->open(fs, "/no/a", FS_OPEN_CREATE, &file), -ENOENT);
	assert_int_equal(fs->open(fs, "/", FS_OPEN_READ, &file), -EISDIR);
	assert_int_equal(fs->open(fs, "../a", FS_OPEN_CREATE, &file), -EINVAL);
	assert_int_equal(fs->open(fs, "/a", FS_OPEN_CREATE, &file), 0);
	assert_int_equal(fs->open(fs, "/a", FS_OPEN_CREATE, &again), -EEXIST);
	assert_int_equal(fs->open(fs, "a", FS_OPEN_APPEND, &again), 0);
	assert_int_equal(append(again, "x", 1), 0);
	assert_content(*state, "/a", "x");
	fs->close(file);
	fs->close(again);
}

struct seen_names {
	char text[256];
	uint32_t count;
};

static int see_name(void *arg, const char *name)
{
	struct seen_names *seen = arg;

	seen->count++;
	strcat(seen->text, name);
	return 0;
}

static void test_names_change_as_on_a_real_disk(void **state)
{
	const struct fs *fs = sim_fs_table(*state);
	struct seen_names seen = {0};
	struct fs_file *file;

	assert_int_equal(fs->mkdir(fs, "/d"), 0);
	assert_int_equal(fs->mkdir(fs, "/d"), -EEXIST);
	file = open_file(*state, "/d/a", FS_OPEN_CREATE);
	assert_int_equal(append(file, "A", 1), 0);
	assert_int_equal(fs->rmdir(fs, "/d"), -ENOTEMPTY);
	assert_int_equal(fs->unlink(fs, "/d"), -EISDIR);
	assert_int_equal(fs->link(fs, "/d/a", "/d/b"), 0);
	assert_int_equal(fs->link(fs, "/d/a", "/d/b"), -EEXIST);
	assert_int_equal(fs->list(fs, "/d", see_name, &seen), 0);
	assert_int_equal(seen.count, 2);
	assert_int_equal(fs->unlink(fs, "/d/a"), 0);
	assert_int_equal(append(file, "B", 1), 0);
	assert_content(*state, "/d/b", "AB");
	fs->close(file);
	file = open_file(*state, "/d/c", FS_OPEN_CREATE);
	fs->close(file);
	assert_int_equal(fs->rename(fs, "/d/b", "/d/c"), 0);
	assert_content(*state, "/d/b", NULL);
	assert_content(*state, "/d/c", "AB");
	assert_int_equal(fs->rename(fs, "/d/b", "/d/c"), -ENOENT);
	assert_int_equal(fs->unlink(fs, "/d/c"), 0);
	assert_int_equal(fs->rmdir(fs, "/d"), 0);
	assert_int_equal(fs->list(fs, "/d", see_name, &seen), -ENOENT);
}

static void test_an_unlinked_file_lives_until_its_last_close(void **state)
{
	struct fs_file *file = create_durable(*state, "/a");
	char byte;

	append_fill(file, 7, 100);
	assert_int_equal(file->fs->unlink(file->fs, "/a"), 0);
	assert_int_equal(sim_fs_used(*state), 100);
	assert_int_equal(file->fs->pread(file, &byte, 1, 99), 1);
	assert_int_equal(byte, 7);
	file->fs->close(file);
	assert_int_equal(sim_fs_used(*state), 0);
}

static void test_a_lock_has_one_holder_and_ends_with_close_or_crash(void **state)
{
	const struct fs *fs = sim_fs_table(*state);
	struct fs_file *lock, *second;

	assert_int_equal(fs->lock(fs, "/lock", &lock), 0);
	assert_int_equal(fs->lock(fs, "/lock", &second), -EWOULDBLOCK);
	fs->close(lock);
	assert_int_equal(fs->lock(fs, "/lock", &lock), 0);
	crash(*state, SIM_DATA_KEEP, SIM_NAMES_KEEP, 1);
	assert_int_equal(fs->lock(fs, "/lock", &second), 0);
	fs->close(lock); /* of the machine that died: does not free the new one's */
	assert_int_equal(fs->lock(fs, "/lock", &lock), -EWOULDBLOCK);
	fs->close(second);
}

/* ---- crashes ---- */

static void test_synced_bytes_survive_every_crash(void **state)
{
	(void)state;
	for (enum sim_crash_data data = 0; data <= SIM_DATA_MIXED; data++) {
		for (uint64_t seed = 0; seed < 100; seed++) {
			struct sim_fs *disk;
			const uint8_t *bytes;
			uint64_t size;
			sim_fs_create(seed, &disk);
			struct fs_file *file = create_durable(disk, "/a");
			append_fill(file, 1, 700);
			assert_int_equal(file->fs->sync(file), 0);
			append_fill(file, 2, 5000);
			crash(disk, data, seed % SIM_NAMES_MODE_COUNT, seed);
			assert_int_equal(sim_fs_look(disk, "/a", &bytes, &size), 0);
			assert_in_range(size, 700, 5700);
			for (uint64_t i = 0; i < 700; i++)
				assert_int_equal(bytes[i], 1);
			file->fs->close(file);
			sim_fs_destroy(&disk);
		}
	}
}

/* What one unsynced tail of three writes of 1,000 bytes can become; *kinds_out collects which sizes were seen. */
static void tail_after_crash(enum sim_crash_data mode, uint64_t seed, uint8_t *tail_out, uint64_t *size_out)
{
	struct sim_fs *disk;
	const uint8_t *bytes;

	sim_fs_create(seed, &disk);
	struct fs_file *file = create_durable(disk, "/a");
	for (uint8_t i = 1; i <= 3; i++)
		append_fill(file, i, 1000);
	crash(disk, mode, SIM_NAMES_DROP, seed);
	assert_int_equal(sim_fs_look(disk, "/a", &bytes, size_out), 0);
	assert_in_range(*size_out, 0, 3000);
	if (*size_out)
		memcpy(tail_out, bytes, *size_out);
	file->fs->close(file);
	sim_fs_destroy(&disk);
}

static void test_kept_and_dropped_tails(void **state)
{
	uint8_t tail[3000];
	uint64_t size;

	(void)state;
	tail_after_crash(SIM_DATA_KEEP, 1, tail, &size);
	assert_int_equal(size, 3000);
	assert_int_equal(tail[2999], 3);
	tail_after_crash(SIM_DATA_DROP, 1, tail, &size);
	assert_int_equal(size, 0);
}

/* Every subset of the three writes must come up, each write whole or absent. */
static void test_reordered_tails_are_any_subset_of_writes(void **state)
{
	uint32_t subsets = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		uint8_t tail[3000];
		uint64_t size;
		uint32_t subset = 0;
		tail_after_crash(SIM_DATA_REORDER, seed, tail, &size);
		for (uint8_t i = 0; i < 3; i++) {
			bool kept = size >= (i + 1) * 1000u && tail[i * 1000] == i + 1;
			for (uint64_t at = i * 1000; at < (i + 1) * 1000u && at < size; at++)
				assert_int_equal(tail[at] == i + 1, kept);
			subset |= (uint32_t)kept << i;
		}
		subsets |= 1u << subset;
	}
	assert_int_equal(subsets, 0xff);
}

static bool is_written(const uint8_t *tail, uint64_t size, uint64_t at)
{
	return at < size && tail[at] == at / 1000 + 1;
}

/* A torn tail changes only at sector boundaries; holes, short files and all lengths come up. */
static void check_torn(enum sim_crash_data mode, uint64_t sector_size)
{
	uint32_t holes = 0, shorts = 0, wholes = 0;

	for (uint64_t seed = 0; seed < 300; seed++) {
		uint8_t tail[3000];
		uint64_t size;
		bool lost = false, hole = false;
		tail_after_crash(mode, seed, tail, &size);
		for (uint64_t at = 0; at < 3000; at++) {
			/* junk may equal what was written: look at the first byte of a sector only */
			if (at % sector_size)
				continue;
			bool written = is_written(tail, size, at);
			hole |= written && lost;
			lost |= !written;
		}
		holes += hole;
		shorts += lost;
		wholes += !lost && size == 3000;
		if (size < 3000)
			assert_int_equal(size % sector_size, 0);
	}
	assert_true(shorts > 30);
	assert_true(wholes > 5);
	if (sector_size < 1000)
		assert_true(holes > 20);
}

static void test_torn_tails_break_at_sectors(void **state)
{
	(void)state;
	check_torn(SIM_DATA_TORN_512, 512);
	check_torn(SIM_DATA_TORN_4K, 4096);
}

static void test_an_unsynced_truncation_may_be_undone(void **state)
{
	struct fs_file *file = create_durable(*state, "/a");

	assert_int_equal(append(file, "abcdef", 6), 0);
	assert_int_equal(file->fs->sync(file), 0);
	assert_int_equal(file->fs->truncate(file, 2), 0);
	assert_content(*state, "/a", "ab");
	crash(*state, SIM_DATA_DROP, SIM_NAMES_DROP, 1);
	assert_content(*state, "/a", "abcdef");
	file->fs->close(file);
}

static void test_names_need_sync_dir(void **state)
{
	const struct fs *fs = sim_fs_table(*state);
	struct fs_file *file = open_file(*state, "/a", FS_OPEN_CREATE);

	assert_int_equal(append(file, "A", 1), 0);
	assert_int_equal(file->fs->sync(file), 0);
	crash(*state, SIM_DATA_KEEP, SIM_NAMES_DROP, 1);
	assert_content(*state, "/a", NULL); /* its bytes were safe, its name was not */
	fs->close(file);

	file = create_durable(*state, "/a");
	assert_int_equal(append(file, "A", 1), 0);
	crash(*state, SIM_DATA_DROP, SIM_NAMES_DROP, 1);
	assert_content(*state, "/a", ""); /* and the other way round */
	fs->close(file);
}

static void test_rename_is_atomic_and_lost_without_sync_dir(void **state)
{
	const struct fs *fs = sim_fs_table(*state);

	sim_fs_put_file(*state, "/new", "new", 3);
	sim_fs_put_file(*state, "/file", "old", 3);
	assert_int_equal(fs->rename(fs, "/new", "/file"), 0);
	crash(*state, SIM_DATA_KEEP, SIM_NAMES_DROP, 1);
	assert_content(*state, "/file", "old");
	assert_content(*state, "/new", "new");
	assert_int_equal(fs->rename(fs, "/new", "/file"), 0);
	crash(*state, SIM_DATA_KEEP, SIM_NAMES_KEEP, 1);
	assert_content(*state, "/file", "new");
	assert_content(*state, "/new", NULL);
}

static void test_synced_names_survive_every_crash(void **state)
{
	const struct fs *fs = sim_fs_table(*state);

	sim_fs_put_file(*state, "/a", "A", 1);
	assert_int_equal(fs->rename(fs, "/a", "/b"), 0);
	assert_int_equal(fs->mkdir(fs, "/d"), 0);
	assert_int_equal(fs->sync_dir(fs, "/"), 0);
	assert_int_equal(fs->rename(fs, "/b", "/d/b"), 0);
	assert_int_equal(fs->sync_dir(fs, "/d"), 0); /* takes the other end of the rename along */
	for (uint64_t seed = 0; seed < 20; seed++)
		crash(*state, SIM_DATA_MIXED, seed % SIM_NAMES_MODE_COUNT, seed);
	assert_content(*state, "/a", NULL);
	assert_content(*state, "/b", NULL);
	assert_content(*state, "/d/b", "A");
}

/* Two creations: as a journal, the second never survives without the first; by themselves, all four outcomes come up.
 */
static uint32_t creations_seen(enum sim_crash_names mode)
{
	uint32_t outcomes = 0;

	for (uint64_t seed = 0; seed < 100; seed++) {
		struct sim_fs *disk;
		const uint8_t *data;
		uint64_t size;
		sim_fs_create(seed, &disk);
		struct fs_file *a = open_file(disk, "/a", FS_OPEN_CREATE), *b = open_file(disk, "/b", FS_OPEN_CREATE);
		crash(disk, SIM_DATA_KEEP, mode, seed);
		bool has_a = !sim_fs_look(disk, "/a", &data, &size), has_b = !sim_fs_look(disk, "/b", &data, &size);
		outcomes |= 1u << (has_a + 2 * has_b);
		a->fs->close(a);
		b->fs->close(b);
		sim_fs_destroy(&disk);
	}
	return outcomes;
}

static void test_unsynced_names_survive_by_mode(void **state)
{
	(void)state;
	assert_int_equal(creations_seen(SIM_NAMES_KEEP), 1 << 3);
	assert_int_equal(creations_seen(SIM_NAMES_DROP), 1 << 0);
	assert_int_equal(creations_seen(SIM_NAMES_PREFIX), 1 << 0 | 1 << 1 | 1 << 3);
	assert_int_equal(creations_seen(SIM_NAMES_ANY), 0xf);
}

/* ---- faults ---- */

static void test_after_a_crash_everything_fails_until_restart(void **state)
{
	struct fs_file *file = create_durable(*state, "/a"), *other;
	const struct fs *fs = file->fs;
	uint64_t size;
	char byte;

	append_fill(file, 1, 10);
	sim_fs_crash(*state, &(struct sim_crash){SIM_DATA_KEEP, SIM_NAMES_KEEP, 1});
	assert_true(sim_fs_is_down(*state));
	assert_int_equal(fs->open(fs, "/a", FS_OPEN_READ, &other), -EIO);
	assert_int_equal(fs->mkdir(fs, "/d"), -EIO);
	assert_int_equal(append(file, "x", 1), -EIO);
	sim_fs_restart(*state);
	assert_int_equal(append(file, "x", 1), -EIO); /* an old handle stays dead */
	assert_int_equal(fs->pread(file, &byte, 1, 0), -EIO);
	assert_int_equal(fs->size(file, &size), -EIO);
	assert_int_equal(fs->sync(file), -EIO);
	other = open_file(*state, "/a", FS_OPEN_READ);
	assert_int_equal(fs->size(other, &size), 0);
	assert_int_equal(size, 10);
	fs->close(file);
	fs->close(other);
}

static void test_a_killed_process_loses_handles_but_no_bytes(void **state)
{
	struct fs_file *file = create_durable(*state, "/a"), *lock, *again;
	const struct fs *fs = file->fs;

	assert_int_equal(fs->lock(fs, "/lock", &lock), 0);
	assert_int_equal(append(file, "abc", 3), 0);
	sim_fs_kill(*state);
	assert_int_equal(fs->open(fs, "/a", FS_OPEN_APPEND, &again), -EIO);
	sim_fs_restart(*state);
	assert_int_equal(append(file, "x", 1), -EIO);
	fs->close(file);
	fs->close(lock);
	assert_content(*state, "/a", "abc"); /* seen, and not safe yet: */
	crash(*state, SIM_DATA_DROP, SIM_NAMES_DROP, 1);
	assert_content(*state, "/a", "");
	assert_int_equal(fs->lock(fs, "/lock", &lock), 0);
	fs->close(lock);
}

/* A small protocol: write a temporary, sync it, rename it, sync the directory. */
static int replace_file(const struct fs *fs, const char *content)
{
	struct fs_file *file;
	int result = fs->open(fs, "/tmp", FS_OPEN_CREATE, &file);

	if (result == -EEXIST && !(result = fs->unlink(fs, "/tmp")))
		result = fs->open(fs, "/tmp", FS_OPEN_CREATE, &file);
	if (result < 0)
		return result;
	result = append(file, content, strlen(content));
	if (!result)
		result = fs->sync(file);
	fs->close(file);
	if (!result)
		result = fs->rename(fs, "/tmp", "/file");
	return result ? result : fs->sync_dir(fs, "/");
}

/* Crashing at each operation in turn, the file is old or new and never else; new for sure once replace_file said so. */
static void test_crash_at_every_operation(void **state)
{
	uint32_t olds = 0, news = 0;

	(void)state;
	for (enum sim_crash_data mode = 0; mode <= SIM_DATA_MIXED; mode++) {
		bool fired = true;
		for (uint64_t index = 0; fired; index++) {
			struct sim_fs *disk;
			const uint8_t *data;
			uint64_t size;
			sim_fs_create(index, &disk);
			sim_fs_put_file(disk, "/file", "old", 3);
			sim_fs_crash_at(
				disk, index,
				&(struct sim_crash){mode, (enum sim_crash_names)(mode % SIM_NAMES_MODE_COUNT), index});
			int result = replace_file(sim_fs_table(disk), "new");
			fired = sim_fs_fired(disk);
			assert_int_equal(result, fired ? -EIO : 0);
			assert_int_equal(sim_fs_is_down(disk), fired);
			sim_fs_restart(disk);
			assert_int_equal(sim_fs_look(disk, "/file", &data, &size), 0);
			assert_int_equal(size, 3);
			bool is_new = !memcmp(data, "new", 3);
			assert_true(is_new || !memcmp(data, "old", 3));
			assert_true(is_new || fired);
			olds += !is_new;
			news += is_new && fired;
			sim_fs_destroy(&disk);
		}
	}
	assert_true(olds > 10);
	assert_true(news > 2);
}

static void test_fail_at_every_operation_once_and_for_ever(void **state)
{
	(void)state;
	for (int forever = 0; forever < 2; forever++) {
		bool fired = true;
		uint64_t index;
		for (index = 0; fired; index++) {
			struct sim_fs *disk;
			sim_fs_create(index, &disk);
			sim_fs_fail_at(disk, index, -ENOSPC, forever);
			int result = replace_file(sim_fs_table(disk), "new");
			fired = sim_fs_fired(disk);
			assert_int_equal(result, fired ? -ENOSPC : 0);
			if (!fired)
				sim_fs_fail_never(disk);
			result = replace_file(sim_fs_table(disk), "newer");
			assert_int_equal(result, fired && forever ? -ENOSPC : 0);
			sim_fs_destroy(&disk);
		}
		assert_int_equal(index, 6); /* create, append, sync, rename, sync_dir, and one beyond */
	}
}

static void test_counting_only_some_calls(void **state)
{
	struct fs_file *file;

	sim_fs_count_only(*state, 1 << SIM_FS_SYNC);
	file = create_durable(*state, "/a");
	append_fill(file, 1, 10);
	assert_int_equal(sim_fs_operations(*state), 0);
	sim_fs_fail_at(*state, 1, -EIO, false);
	assert_int_equal(file->fs->sync(file), 0);
	assert_int_equal(file->fs->sync(file), -EIO);
	assert_int_equal(file->fs->sync(file), 0);
	assert_int_equal(sim_fs_operations(*state), 3);
	assert_int_equal(sim_fs_calls(*state, SIM_FS_APPEND), 1);
	file->fs->close(file);
}

/* The next sync answers 0, yet what the failed one lost is lost. */
static void test_a_failed_sync_loses_bytes_for_good(void **state)
{
	uint32_t lost = 0, saved = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct sim_fs *disk;
		const uint8_t *data;
		uint64_t size;
		sim_fs_create(seed, &disk);
		struct fs_file *file = create_durable(disk, "/a");
		append_fill(file, 1, 10);
		sim_fs_fail_at(disk, sim_fs_operations(disk), -EIO, false);
		assert_int_equal(file->fs->sync(file), -EIO);
		append_fill(file, 2, 10);
		assert_int_equal(file->fs->sync(file), 0);
		crash(disk, SIM_DATA_DROP, SIM_NAMES_DROP, seed);
		assert_int_equal(sim_fs_look(disk, "/a", &data, &size), 0);
		assert_int_equal(size, 20);
		assert_int_equal(data[19], 2);
		lost += data[0] == 0;
		saved += data[0] == 1;
		file->fs->close(file);
		sim_fs_destroy(&disk);
	}
	assert_true(lost > 5);
	assert_true(saved > 5);
}

static void test_a_short_disk_fills_and_recovers(void **state)
{
	struct fs_file *file = create_durable(*state, "/a"), *other;
	const struct fs *fs = file->fs;
	uint64_t bytes;

	sim_fs_set_capacity(*state, 100);
	append_fill(file, 1, 60);
	assert_int_equal(fs->free_bytes(fs, "/", &bytes), 0);
	assert_int_equal(bytes, 40);
	uint8_t more[50] = {2};
	assert_int_equal(append(file, more, sizeof more), -ENOSPC);
	assert_int_equal(sim_fs_used(*state), 100);
	assert_int_equal(fs->open(fs, "/b", FS_OPEN_CREATE, &other), -ENOSPC);
	assert_int_equal(fs->mkdir(fs, "/d"), -ENOSPC);
	assert_int_equal(fs->truncate(file, 60), 0);
	assert_int_equal(append(file, more, 40), 0);
	fs->close(file);
}

static void test_a_lying_disk_loses_what_it_called_synced(void **state)
{
	struct fs_file *file = create_durable(*state, "/a");

	sim_fs_set_lying(*state, true);
	append_fill(file, 1, 10);
	assert_int_equal(file->fs->sync(file), 0);
	crash(*state, SIM_DATA_DROP, SIM_NAMES_DROP, 1);
	assert_content(*state, "/a", "");
	file->fs->close(file);
}

static void test_bits_flip_and_files_are_cut(void **state)
{
	sim_fs_put_file(*state, "/a", "abc", 3);
	sim_fs_flip_bit(*state, "/a", 1, 0);
	assert_content(*state, "/a", "acc");
	sim_fs_flip_bit(*state, "/a", 1, 0);
	sim_fs_cut(*state, "/a", 2);
	assert_content(*state, "/a", "ab");
	crash(*state, SIM_DATA_DROP, SIM_NAMES_DROP, 1);
	assert_content(*state, "/a", "ab");
}

static void test_misreads_leave_the_medium_alone(void **state)
{
	struct fs_file *file = create_durable(*state, "/a");
	char bytes[2];

	assert_int_equal(append(file, "abc", 3), 0);
	sim_fs_misread(*state, "/a", 1, 2, SIM_MISREAD_ONCE);
	assert_int_equal(file->fs->pread(file, bytes, 1, 0), 1); /* not that byte */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(file->fs->pread(file, bytes, 2, 1), 2);
		assert_memory_equal(bytes, i ? "bc" : "`c", 2);
	}
	sim_fs_misread(*state, "/a", 1, 2, SIM_MISREAD_CACHED);
	file->fs->drop_cached(file, 2, 10);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(file->fs->pread(file, bytes, 2, 1), 2);
		assert_memory_equal(bytes, i == 2 ? "bc" : "`c", 2);
		if (i == 1)
			file->fs->drop_cached(file, 0, 3);
	}
	assert_int_equal(sim_fs_misreads(*state), 3);
	assert_content(*state, "/a", "abc");
	assert_int_equal(file->fs->is_named(file, "/a"), 1);
	assert_int_equal(file->fs->unlink(file->fs, "/a"), 0);
	assert_int_equal(file->fs->is_named(file, "/a"), 0);
	file->fs->close(file);
}

static int refuse_renames(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	uint64_t *last = arg;

	assert_true(index == 0 || index == *last + 1);
	*last = index;
	if (call == SIM_FS_RENAME)
		assert_string_equal(path, "/tmp");
	return call == SIM_FS_RENAME ? -EACCES : 0;
}

static void test_a_hook_sees_and_refuses_operations(void **state)
{
	uint64_t last = 0;

	sim_fs_set_hook(*state, refuse_renames, &last);
	assert_int_equal(replace_file(sim_fs_table(*state), "new"), -EACCES);
	assert_int_equal(last, 3);
	assert_content(*state, "/file", NULL);
}

/* ---- the same seed ---- */

static uint64_t random_history(uint64_t seed)
{
	struct sim_random random;
	struct sim_fs *disk;
	char path[16], to[16];

	sim_random_seed(&random, seed);
	sim_fs_create(seed, &disk);
	const struct fs *fs = sim_fs_table(disk);
	for (uint32_t step = 0; step < 400; step++) {
		struct fs_file *file;
		snprintf(path, sizeof path, "/%d", (int)sim_random_below(&random, 8));
		snprintf(to, sizeof to, "/%d", (int)sim_random_below(&random, 8));
		switch (sim_random_below(&random, 8)) {
		case 0:
			(void)fs->rename(fs, path, to);
			break;
		case 1:
			(void)fs->link(fs, path, to);
			break;
		case 2:
			(void)fs->unlink(fs, path);
			break;
		case 3:
			assert_int_equal(fs->sync_dir(fs, "/"), 0);
			break;
		case 4:
			if (sim_random_below(&random, 4) == 0)
				crash(disk, (enum sim_crash_data)sim_random_below(&random, SIM_DATA_MIXED + 1),
				      (enum sim_crash_names)sim_random_below(&random, SIM_NAMES_MODE_COUNT),
				      sim_random_next(&random));
			break;
		default:
			if (fs->open(fs, path, FS_OPEN_APPEND, &file) && fs->open(fs, path, FS_OPEN_CREATE, &file))
				break;
			append_fill(file, (uint8_t)step, sim_random_below(&random, 3000) + 1);
			if (sim_random_below(&random, 2))
				assert_int_equal(fs->sync(file), 0);
			if (sim_random_below(&random, 8) == 0)
				assert_int_equal(fs->truncate(file, sim_random_below(&random, 3000)), 0);
			fs->close(file);
		}
	}
	uint64_t hash = sim_fs_hash(disk);
	sim_fs_destroy(&disk);
	return hash;
}

static void test_same_seed_same_disk(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++)
		assert_int_equal(random_history(seed), random_history(seed));
	assert_int_not_equal(random_history(1), random_history(2));
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_files_read_what_was_appended),
		EACH(test_open_modes),
		EACH(test_names_change_as_on_a_real_disk),
		EACH(test_an_unlinked_file_lives_until_its_last_close),
		EACH(test_a_lock_has_one_holder_and_ends_with_close_or_crash),
		cmocka_unit_test(test_synced_bytes_survive_every_crash),
		cmocka_unit_test(test_kept_and_dropped_tails),
		cmocka_unit_test(test_reordered_tails_are_any_subset_of_writes),
		cmocka_unit_test(test_torn_tails_break_at_sectors),
		EACH(test_an_unsynced_truncation_may_be_undone),
		EACH(test_names_need_sync_dir),
		EACH(test_rename_is_atomic_and_lost_without_sync_dir),
		EACH(test_synced_names_survive_every_crash),
		cmocka_unit_test(test_unsynced_names_survive_by_mode),
		EACH(test_after_a_crash_everything_fails_until_restart),
		EACH(test_a_killed_process_loses_handles_but_no_bytes),
		cmocka_unit_test(test_crash_at_every_operation),
		cmocka_unit_test(test_fail_at_every_operation_once_and_for_ever),
		EACH(test_counting_only_some_calls),
		cmocka_unit_test(test_a_failed_sync_loses_bytes_for_good),
		EACH(test_a_short_disk_fills_and_recovers),
		EACH(test_a_lying_disk_loses_what_it_called_synced),
		EACH(test_bits_flip_and_files_are_cut),
		EACH(test_misreads_leave_the_medium_alone),
		EACH(test_a_hook_sees_and_refuses_operations),
		cmocka_unit_test(test_same_seed_same_disk),
	};
	return cmocka_run_group_tests_name("sim_fs", tests, NULL, NULL);
}
