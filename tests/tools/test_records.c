/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvctl/records.h"

/* Reads all of text; the records must be the pairs given, and the reader must end as it should. */
static void expect_records(enum record_format format, const char *text, const char *const *pairs)
{
	char *path;
	struct records *records;
	struct record record;
	struct rpc_error error;
	write_temporary(text, strlen(text), &path);
	assert_int_equal(records_open(path, format, 0, 0, &records, &error), 0);
	assert_int_equal(records_input_size(records), strlen(text));
	for (; *pairs != NULL; pairs += 2) {
		assert_int_equal(records_next(records, &record, &error), 1);
		assert_int_equal(record.key_size, strlen(pairs[0]));
		assert_memory_equal(record.key, pairs[0], record.key_size);
		assert_int_equal(record.value_size, strlen(pairs[1]));
		assert_memory_equal(record.value, pairs[1], record.value_size);
		record_free(&record);
	}
	assert_int_equal(records_next(records, &record, &error), 0);
	records_close(&records);
	assert_null(records);
	remove_temporary(path);
}

static void expect_error(enum record_format format, const char *text, unsigned good_count, const char *what)
{
	char *path;
	struct records *records;
	struct record record;
	struct rpc_error error;
	write_temporary(text, strlen(text), &path);
	assert_int_equal(records_open(path, format, 0, 0, &records, &error), 0);
	for (unsigned i = 0; i < good_count; i++) {
		assert_int_equal(records_next(records, &record, &error), 1);
		record_free(&record);
	}
	assert_int_equal(records_next(records, &record, &error), -EBADMSG);
	if (strstr(error.text, what) == NULL)
		fail_msg("'%s' is not in '%s'", what, error.text);
	records_close(&records);
	remove_temporary(path);
}

static void test_json_lines(void **state)
{
	(void)state;
	expect_records(RECORD_JSON_LINES,
		       "{\"key\":\"a\",\"value\":\"1\"}\n"
		       "\n"
		       "{\"key\": \"\\u00e4\", \"value\": \"line\\nend\"}\r\n"
		       "{\"key_b64\":\"Zm9v\",\"value_b64\":\"_w\"}",
		       (const char *const[]){"a", "1", "\xc3\xa4", "line\nend", "foo", "\xff", NULL});
}

static void test_json_may_hold_zero_bytes(void **state)
{
	(void)state;
	static const char TEXT[] = "{\"key\":\"a\\u0000b\",\"value\":\"\"}\n";
	char *path;
	struct records *records;
	struct record record;
	struct rpc_error error;
	write_temporary(TEXT, sizeof TEXT - 1, &path);
	assert_int_equal(records_open(path, RECORD_JSON_LINES, 0, 0, &records, &error), 0);
	assert_int_equal(records_next(records, &record, &error), 1);
	assert_int_equal(record.key_size, 3);
	assert_memory_equal(record.key, "a\0b", 3);
	assert_int_equal(record.value_size, 0);
	assert_non_null(record.value);
	record_free(&record);
	records_close(&records);
	remove_temporary(path);
}

static void test_json_errors_name_the_line(void **state)
{
	(void)state;
	expect_error(RECORD_JSON_LINES, "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":", 1, ":2: no JSON");
	expect_error(RECORD_JSON_LINES, "[1]\n", 0, ":1: each line is an object");
	expect_error(RECORD_JSON_LINES, "{\"value\":\"1\"}\n", 0, ":1: there is no key");
	expect_error(RECORD_JSON_LINES, "{\"key\":\"a\",\"key_b64\":\"YQ\"}\n", 0, "one of them");
	expect_error(RECORD_JSON_LINES, "{\"key\":\"a\",\"value_b64\":\"YQ*\"}\n", 0,
		     "\"value_b64\" is no base64url: it breaks at character 3");
	expect_error(RECORD_JSON_LINES, "{\"key_b64\":\"Y*QQ\",\"value\":\"1\"}\n", 0,
		     "\"key_b64\" is no base64url: it breaks at character 2");
	expect_error(RECORD_JSON_LINES, "{\"key\":7}\n", 0, "\"key\" as text");
	expect_error(RECORD_JSON_LINES, "{\"key\":\"a\",\"key\":\"b\",\"value\":\"1\"}\n", 0, "duplicate");
	expect_error(RECORD_JSON_LINES, "\n\nPackage: 0ad\n", 0, "--format debian");
	expect_error(RECORD_JSON_LINES, "{\"key\":\"a\",\"value\":\"1\",\"ttl\":7}\n", 0,
		     ":1: there is no field \"ttl\"");
	expect_error(RECORD_JSON_LINES, "{\"key\":\"a\",\"siblings\":[]}\n", 0, "resolve them");
}

static void test_stanzas(void **state)
{
	(void)state;
	expect_records(RECORD_DEBIAN,
		       "\n\nPackage: 0ad\nVersion: 1\nDescription: game\n more\n .\n end\n"
		       "\n"
		       "Source: x\npackage:  b  \nSize: 2\n"
		       "\n\n"
		       "Package: last",
		       (const char *const[]){"0ad", "Package: 0ad\nVersion: 1\nDescription: game\n more\n .\n end\n",
					     "b", "Source: x\npackage:  b  \nSize: 2\n", "last", "Package: last",
					     NULL});
}

static void test_a_stanza_needs_a_package(void **state)
{
	(void)state;
	expect_error(RECORD_DEBIAN, "Package: a\n\nVersion: 1\n", 1, ":3: this stanza has no line 'Package: NAME'");
	expect_error(RECORD_DEBIAN, "Package:\n", 0, ":1:");
}

/* Going on at the end offset of a record gives the rest, with the lines counted on. */
static void test_reading_goes_on_at_an_offset(void **state)
{
	(void)state;
	static const char TEXT[] = "Package: a\nX: 1\n\nPackage: b\nX: 2\n\nPackage: c\n";
	char *path;
	struct records *records;
	struct record first, second;
	struct rpc_error error;
	write_temporary(TEXT, sizeof TEXT - 1, &path);
	assert_int_equal(records_open(path, RECORD_DEBIAN, 0, 0, &records, &error), 0);
	assert_int_equal(records_next(records, &first, &error), 1);
	records_close(&records);
	assert_int_equal(records_open(path, RECORD_DEBIAN, first.end_offset, first.end_line, &records, &error), 0);
	assert_int_equal(records_next(records, &second, &error), 1);
	assert_memory_equal(second.key, "b", 1);
	assert_int_equal(second.line, 4);
	record_free(&first);
	record_free(&second);
	records_close(&records);
	remove_temporary(path);
}

static void test_keys(void **state)
{
	(void)state;
	char *path;
	struct records *records;
	struct record record;
	struct rpc_error error;
	write_temporary("a key\n\nb\r\nc", 11, &path);
	assert_int_equal(records_open(path, RECORD_KEYS, 0, 0, &records, &error), 0);
	for (const char *const *key = (const char *const[]){"a key", "b", "c", NULL}; *key != NULL; key++) {
		assert_int_equal(records_next(records, &record, &error), 1);
		assert_int_equal(record.key_size, strlen(*key));
		assert_memory_equal(record.key, *key, record.key_size);
		assert_null(record.value);
		record_free(&record);
	}
	assert_int_equal(records_next(records, &record, &error), 0);
	records_close(&records);
	remove_temporary(path);
}

static void test_a_missing_file_is_named(void **state)
{
	(void)state;
	struct records *records;
	struct rpc_error error;
	assert_int_equal(records_open("/nowhere/at all", RECORD_KEYS, 0, 0, &records, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nowhere/at all"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_lines),
		cmocka_unit_test(test_json_may_hold_zero_bytes),
		cmocka_unit_test(test_json_errors_name_the_line),
		cmocka_unit_test(test_stanzas),
		cmocka_unit_test(test_a_stanza_needs_a_package),
		cmocka_unit_test(test_reading_goes_on_at_an_offset),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_a_missing_file_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
