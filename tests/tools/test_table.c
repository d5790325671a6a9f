/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvctl/table.h"

static void test_columns_are_aligned(void **state)
{
	(void)state;
	static const char *const COLUMNS[] = {"NODE", ">KEYS", "STATE", NULL};
	struct table table;
	char *text = NULL;
	size_t size;
	table_init(&table, COLUMNS);
	table_cell(&table, "n1");
	table_cell(&table, "%d", 5);
	table_cell(&table, "up");
	table_cell(&table, "%s",
		   "n\xc3\xa4"
		   "chste");
	table_cell(&table, "%d", 123456);
	table_cell(&table, "unreachable");
	FILE *file = open_memstream(&text, &size);
	table_print(&table, file);
	fclose(file);
	assert_string_equal(text, "NODE       KEYS  STATE\n"
				  "n1            5  up\n"
				  "n\xc3\xa4"
				  "chste  123456  unreachable\n");
	free(text);
}

static void test_figures_for_people(void **state)
{
	(void)state;
	char text[32];
	assert_string_equal(table_count(0, text), "0");
	assert_string_equal(table_count(999, text), "999");
	assert_string_equal(table_count(1000, text), "1,000");
	assert_string_equal(table_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
	assert_string_equal(table_bytes(1023, text), "1023 B");
	assert_string_equal(table_bytes(1536, text), "1.5 KiB");
	assert_string_equal(table_bytes(50163761, text), "47.8 MiB");
	assert_string_equal(table_duration(999, text), "999ms");
	assert_string_equal(table_duration(1500, text), "1.5s");
	assert_string_equal(table_duration(312000, text), "5m 12s");
	assert_string_equal(table_duration(3 * 3600000 + 60000, text), "3h 01m");
	assert_string_equal(table_duration(49ull * 3600000, text), "2d 01h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns_are_aligned),
		cmocka_unit_test(test_figures_for_people),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
