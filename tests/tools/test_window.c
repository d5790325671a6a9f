/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvctl/latest.h"
#include "tools/kvctl/window.h"

static const char INPUT[] = "a\nb\nc\nb\na\nd\n";

/* The keys of the next window, joined. */
static const char *fill(struct window *window, struct records *records)
{
	static char keys[64];
	struct rpc_error error;
	size_t size = 0;
	assert_true(window_fill(window, records, &error) >= 0);
	for (size_t i = 0; i < window->count; i++) {
		memcpy(keys + size, window->records[i].key, window->records[i].key_size);
		size += window->records[i].key_size;
	}
	keys[size] = 0;
	return keys;
}

static void expect_windows(size_t record_max, const char *const *windows)
{
	char *path;
	struct records *records;
	struct window window;
	struct rpc_error error;
	write_temporary(INPUT, sizeof INPUT - 1, &path);
	assert_int_equal(records_open(path, RECORD_KEYS, 0, 0, &records, &error), 0);
	window_init(&window, record_max);
	for (; *windows != NULL; windows++)
		assert_string_equal(fill(&window, records), *windows);
	assert_string_equal(fill(&window, records), "");
	window_fini(&window);
	records_close(&records);
	remove_temporary(path);
}

static void test_a_key_that_comes_again_starts_the_next_window(void **state)
{
	(void)state;
	expect_windows(100, (const char *const[]){"abc", "bad", NULL});
}

static void test_a_window_is_not_larger_than_asked(void **state)
{
	(void)state;
	expect_windows(2, (const char *const[]){"ab", "cb", "ad", NULL});
	expect_windows(1, (const char *const[]){"a", "b", "c", "b", "a", "d", NULL});
}

static void test_a_window_given_up_frees_what_it_carries(void **state)
{
	(void)state;
	char *path;
	struct records *records;
	struct window window;
	struct rpc_error error;
	write_temporary(INPUT, sizeof INPUT - 1, &path);
	assert_int_equal(records_open(path, RECORD_KEYS, 0, 0, &records, &error), 0);
	window_init(&window, 100);
	assert_string_equal(fill(&window, records), "abc");
	window_fini(&window);
	records_close(&records);
	remove_temporary(path);
}

static void test_the_last_record_of_each_key_is_known(void **state)
{
	(void)state;
	static const bool IS_LAST[] = {false, false, true, true, true, true};
	char *path;
	struct latest *latest;
	struct records *records;
	struct record record;
	struct rpc_error error;
	write_temporary(INPUT, sizeof INPUT - 1, &path);
	assert_int_equal(latest_open(path, RECORD_KEYS, &latest, &error), 0);
	assert_int_equal(records_open(path, RECORD_KEYS, 0, 0, &records, &error), 0);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(records_next(records, &record, &error), 1);
		assert_int_equal(latest_is_last(latest, &record), IS_LAST[i]);
		record_free(&record);
	}
	records_close(&records);
	latest_close(&latest);
	remove_temporary(path);
}

/* Enough keys that the table grows several times. */
static void test_many_keys_keep_their_last_record(void **state)
{
	(void)state;
	enum { KEYS = 5000 };
	char *text = NULL, *path;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	for (unsigned i = 0; i < 2 * KEYS; i++)
		fprintf(file, "key-%u\n", i % KEYS);
	fclose(file);
	write_temporary(text, size, &path);
	struct latest *latest;
	struct records *records;
	struct record record;
	struct rpc_error error;
	assert_int_equal(latest_open(path, RECORD_KEYS, &latest, &error), 0);
	assert_int_equal(records_open(path, RECORD_KEYS, 0, 0, &records, &error), 0);
	for (unsigned i = 0; i < 2 * KEYS; i++) {
		assert_int_equal(records_next(records, &record, &error), 1);
		assert_int_equal(latest_is_last(latest, &record), i >= KEYS);
		record_free(&record);
	}
	records_close(&records);
	latest_close(&latest);
	remove_temporary(path);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_key_that_comes_again_starts_the_next_window),
		cmocka_unit_test(test_a_window_is_not_larger_than_asked),
		cmocka_unit_test(test_a_window_given_up_frees_what_it_carries),
		cmocka_unit_test(test_the_last_record_of_each_key_is_known),
		cmocka_unit_test(test_many_keys_keep_their_last_record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
