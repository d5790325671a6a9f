/* SPDX-License-Identifier: Apache-2.0 */
/* The set of quarantined partitions: its queries, its saved form, and how the manifest keeps it. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "engine/disk/buffer.h"
#include "engine/state/manifest.h"
#include "engine/partition/quarantine.h"
#include "tests/sim/sim_fs.h"

static struct quarantine *make_set(const struct partition_row *rows, size_t count)
{
	struct quarantine *set;

	assert_int_equal(quarantine_create(NULL, &set), 0);
	for (size_t i = 0; i < count; i++)
		quarantine_add(set, &rows[i]);
	return set;
}

static void test_set_finds_what_is_in_it(void **state)
{
	const struct partition_row rows[] = {{5, 5, 1}, {64, 70, 3}, {65535, 65535, 1}};
	struct quarantine *set = make_set(rows, 3);

	(void)state;
	assert_int_equal(quarantine_count(set), 5);
	assert_true(quarantine_has(set, 67) && !quarantine_has(set, 68) && !quarantine_has(NULL, 67));
	assert_int_equal(quarantine_first(set, 0, 65535), 5);
	assert_int_equal(quarantine_first(set, 6, 65535), 64);
	assert_int_equal(quarantine_first(set, 6, 63), -1);
	assert_int_equal(quarantine_first(set, 71, 65534), -1);
	assert_int_equal(quarantine_first(set, 65535, 65535), 65535);
	assert_int_equal(quarantine_first(set, 65536, 65535), -1);
	assert_int_equal(quarantine_last(set, 0, 65535), 65535);
	assert_int_equal(quarantine_last(set, 0, 65534), 70);
	assert_int_equal(quarantine_last(set, 6, 63), -1);
	assert_int_equal(quarantine_last(set, 5, 5), 5);
	assert_int_equal(quarantine_first(NULL, 0, 65535), -1);
	assert_int_equal(quarantine_last(NULL, 0, 65535), -1);
	quarantine_unref(&set);
}

static void check_round_trip(const struct partition_row *rows, size_t count, size_t most_bytes)
{
	struct quarantine *set = make_set(rows, count), *got;
	struct buffer bytes = {0};
	struct buffer_reader reader;

	strcpy(set->reason.text, "what was found");
	assert_int_equal(quarantine_encode(set, &bytes), 0);
	assert_true(bytes.size <= most_bytes);
	for (size_t size = 0; size < bytes.size; size++) {
		reader = (struct buffer_reader){bytes.data, bytes.data + size, false};
		assert_int_equal(quarantine_decode(&reader, &got), -EBADMSG);
		assert_null(got);
	}
	reader = (struct buffer_reader){bytes.data, bytes.data + bytes.size, false};
	assert_int_equal(quarantine_decode(&reader, &got), 0);
	assert_memory_equal(got->words, set->words, sizeof set->words);
	assert_string_equal(got->reason.text, "what was found");
	buffer_fini(&bytes);
	quarantine_unref(&got);
	quarantine_unref(&set);
}

static void test_set_is_saved_in_few_bytes(void **state)
{
	(void)state;
	check_round_trip((struct partition_row[]){{3, 65535, 16}}, 1, 64);
	check_round_trip((struct partition_row[]){{0, 65535, 1}}, 1, 64);
	check_round_trip((struct partition_row[]){{0, 5, 5}, {1000, 2000, 8}, {65535, 65535, 1}}, 3, 64);
}

static void test_only_a_whole_partition_is_released(void **state)
{
	const struct partition_row all = {0, 65535, 1};
	struct quarantine *set = make_set(&all, 1);

	(void)state;
	quarantine_remove_range(set, (struct engine_slice){"\0\3", 2}, (struct engine_slice){"\0\5", 2});
	assert_int_equal(quarantine_count(set), 65534);
	assert_true(!quarantine_has(set, 3) && !quarantine_has(set, 4));
	quarantine_remove_range(set, (struct engine_slice){"\0\10\0", 3}, (struct engine_slice){"\0\12a", 3});
	assert_true(quarantine_has(set, 8) && !quarantine_has(set, 9) && quarantine_has(set, 10));
	quarantine_remove_range(set, (struct engine_slice){"\xff\xff", 2}, (struct engine_slice){0});
	assert_false(quarantine_has(set, 65535));
	quarantine_remove_range(set, (struct engine_slice){0}, (struct engine_slice){0});
	assert_int_equal(quarantine_count(set), 0);
	quarantine_unref(&set);
}

/* A drop ends a quarantine, but not one that comes after it: also when the state is copied and written anew. */
static void test_quarantine_after_a_drop_stays(void **state)
{
	const struct partition_row row = {4, 6, 2};
	struct quarantine *set = make_set(&row, 1);
	struct manifest_drop drop = {.id = 1, .begin = {(uint8_t *)"\0\4", 2, 2}, .end = {(uint8_t *)"\0\5", 2, 2}};
	struct manifest_edit dropped = {.drop = &drop}, found = {.quarantine = set}, nothing = {0};
	struct manifest_state first = {.next_number = 2}, second, third, fourth, again;
	struct manifest *manifest;
	struct sim_fs *disk;
	struct files files;
	uint64_t tail;

	(void)state;
	sim_fs_create(1, &disk);
	files_init(&files, sim_fs_table(disk), "", 0);
	assert_int_equal(files.fs->mkdir(files.fs, files.directory), 0);
	assert_int_equal(manifest_state_change(&first, &dropped, &second), 0);
	assert_int_equal(manifest_state_change(&second, &found, &third), 0);
	assert_int_equal(manifest_state_change(&third, &nothing, &fourth), 0);
	assert_int_equal(quarantine_count(fourth.quarantine), 2);
	assert_int_equal(manifest_create(&files, 1, &fourth, &manifest), 0);
	drop.id = 2;
	assert_int_equal(manifest_append(manifest, &nothing), 0);
	assert_int_equal(manifest_read(&files, &again, &tail, NULL), 0);
	assert_int_equal(quarantine_count(again.quarantine), 2);
	manifest_state_fini(&again);
	assert_int_equal(manifest_append(manifest, &dropped), 0);
	assert_int_equal(manifest_read(&files, &again, &tail, NULL), 0);
	assert_int_equal(quarantine_count(again.quarantine), 1);
	assert_true(quarantine_has(again.quarantine, 6));
	manifest_state_fini(&again);
	manifest_close(&manifest);
	manifest_state_fini(&second);
	manifest_state_fini(&third);
	manifest_state_fini(&fourth);
	quarantine_unref(&set);
	sim_fs_destroy(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_finds_what_is_in_it),
		cmocka_unit_test(test_set_is_saved_in_few_bytes),
		cmocka_unit_test(test_only_a_whole_partition_is_released),
		cmocka_unit_test(test_quarantine_after_a_drop_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
