/* SPDX-License-Identifier: Apache-2.0 */
/* Names of files. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "engine/disk/files.h"

static void test_names_are_parsed_back(void **state)
{
	static const uint64_t numbers[] = {0, 1, 1234567890, 12345678901, UINT64_MAX / 2};
	static const struct {
		const char *name;
		enum file_kind kind;
	} others[] = {
		{"MANIFEST", FILE_MANIFEST},
		{"MANIFEST.tmp", FILE_TEMPORARY},
		{"0000000012.tree.tmp", FILE_TEMPORARY},
		{"LOCK", FILE_OTHER},
		{"0000000012", FILE_OTHER},
		{"0000000012.", FILE_OTHER},
		{"0000000012.sst", FILE_OTHER},
		{"0000000012.logs", FILE_OTHER},
		{"x.log", FILE_OTHER},
		{"-1.log", FILE_OTHER},
		{"", FILE_OTHER},
		{".tmp", FILE_OTHER},
	};
	struct files files;
	uint64_t number;

	(void)state;
	files_init(&files, NULL, "/store", 7);
	assert_string_equal(files.directory, "/store/shard-007");
	for (enum file_kind kind = FILE_LOG; kind <= FILE_TREE; kind++) {
		for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
			struct files_path path = files_path(&files, kind, numbers[i]);

			assert_int_equal(files_parse(strrchr(path.text, '/') + 1, &number), kind);
			assert_int_equal(number, numbers[i]);
		}
	}
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		assert_int_equal(files_parse(others[i].name, &number), others[i].kind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_parsed_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
