/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "rpc/operation_id.h"
#include "tools/kvctl/state.h"

static char *new_path(void)
{
	char *path;
	write_temporary("", 0, &path);
	unlink(path);
	return path;
}

static void test_what_was_saved_comes_back(void **state)
{
	(void)state;
	char *path = new_path();
	struct state saved, loaded;
	struct rpc_error error;
	assert_int_equal(state_load(path, 1000, &saved, &error), 0);
	assert_int_equal(saved.offset, 0);
	saved.offset = 600, saved.line = 20, saved.record_count = 7, saved.output_size = 12345;
	assert_int_equal(state_save(path, &saved, &error), 0);
	assert_int_equal(state_load(path, 1000, &loaded, &error), 0);
	saved.resumed = true;
	assert_memory_equal(&loaded, &saved, sizeof saved);
	remove_temporary(path);
}

static void test_a_state_of_another_input_is_refused(void **state)
{
	(void)state;
	char *path = new_path();
	struct state saved;
	struct rpc_error error;
	assert_int_equal(state_load(path, 1000, &saved, &error), 0);
	assert_int_equal(state_save(path, &saved, &error), 0);
	assert_int_equal(state_load(path, 1001, &saved, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "1001"));
	remove_temporary(path);
}

/* Nodes refuse attempts of operations that old. */
static void test_an_old_state_gives_other_operation_ids(void **state)
{
	(void)state;
	char *path = new_path();
	struct state saved = {.input_size = 1000, .id = 1}, loaded;
	struct rpc_error error;
	uint8_t before[16], after[16];
	for (int minutes = 0; minutes <= 60; minutes += 60) {
		state_begin_window(&saved);
		saved.time_ms -= (uint64_t)minutes * 60 * 1000;
		assert_int_equal(state_save(path, &saved, &error), 0);
		assert_int_equal(state_load(path, 1000, &loaded, &error), 0);
		state_operation_id(&saved, 100, before);
		state_operation_id(&loaded, 100, after);
		assert_int_equal(memcmp(before, after, 16) == 0, minutes == 0);
	}
	remove_temporary(path);
}

static void test_an_offset_past_the_input_is_refused(void **state)
{
	(void)state;
	char *path = new_path();
	struct state saved = {.input_size = 1000, .offset = 1001};
	struct rpc_error error;
	assert_int_equal(state_save(path, &saved, &error), 0);
	assert_int_equal(state_load(path, 1000, &saved, &error), -EBADMSG);
	remove_temporary(path);
}

static void test_a_file_that_is_no_state_is_refused(void **state)
{
	(void)state;
	static const char *const TEXTS[] = {"", "{}", "kvring-transfer 1\ninput 10\nid 1\noffset 2\n",
					    "kvring-transfer 2\n"};
	for (unsigned i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
		char *path;
		struct state loaded;
		struct rpc_error error;
		write_temporary(TEXTS[i], strlen(TEXTS[i]), &path);
		assert_int_equal(state_load(path, 10, &loaded, &error), -EBADMSG);
		assert_non_null(strstr(error.text, path));
		remove_temporary(path);
	}
}

static void test_without_a_path_nothing_is_kept(void **state)
{
	(void)state;
	struct state first, second;
	struct rpc_error error;
	assert_int_equal(state_load(NULL, 0, &first, &error), 0);
	assert_int_equal(state_save(NULL, &first, &error), 0);
	assert_int_equal(state_load(NULL, 0, &second, &error), 0);
	assert_true(first.id != second.id);
}

static void test_operation_ids_are_the_same_for_a_record_and_differ_otherwise(void **state)
{
	(void)state;
	const struct state one = {.id = 1, .time_ms = 77}, two = {.id = 2, .time_ms = 77};
	uint64_t time_ms;
	uint8_t a[16], again[16], other_record[16], other_run[16];
	state_operation_id(&one, 100, a);
	state_operation_id(&one, 100, again);
	state_operation_id(&one, 101, other_record);
	state_operation_id(&two, 100, other_run);
	assert_memory_equal(a, again, 16);
	assert_memory_not_equal(a, other_record, 16);
	assert_memory_not_equal(a, other_run, 16);
	assert_true(rpc_operation_id_time(a, &time_ms));
	assert_int_equal(time_ms, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_saved_comes_back),
		cmocka_unit_test(test_a_state_of_another_input_is_refused),
		cmocka_unit_test(test_an_old_state_gives_other_operation_ids),
		cmocka_unit_test(test_an_offset_past_the_input_is_refused),
		cmocka_unit_test(test_a_file_that_is_no_state_is_refused),
		cmocka_unit_test(test_without_a_path_nothing_is_kept),
		cmocka_unit_test(test_operation_ids_are_the_same_for_a_record_and_differ_otherwise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
