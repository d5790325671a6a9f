/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of a shard: what a manifest may say of them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "engine/state/tables.h"
#include "tests/engine/shelf.h"

/* One table per pair of one-letter keys, all in one run. */
static int check_run(struct shelf *shelf, const char *const *pairs, size_t count, struct engine_error *error)
{
	static const struct sst_options options = {.block_bytes = 512};
	struct manifest_table *named[3] = {NULL};
	struct manifest_state state = {.tables = named, .table_count = count};
	struct tables *tables;

	for (size_t i = 0; i < count; i++) {
		const struct shelf_entry entries[] = {{{pairs[i], 1}, {"v", 1}, ENTRY_PUT},
						      {{pairs[i] + 1, 1}, {"v", 1}, ENTRY_PUT}};
		struct table_meta meta;

		shelf_write(shelf, &options, entries, 2, &meta);
		assert_int_equal(manifest_table_create(0, 1, &meta, &named[i]), 0);
		assert_int_equal(sst_open(&shelf->files, shelf->cache, &meta, &named[i]->sst, NULL), 0);
		table_meta_fini(&meta);
	}
	assert_int_equal(tables_create(&state, &tables), 0);
	int result = tables_check_runs(tables, "/store", error);
	tables_unref(&tables);
	for (size_t i = 0; i < count; i++)
		manifest_table_unref(&named[i]);
	return result;
}

/* A merge reads a run as one ascending source. */
static void test_tables_of_a_run_do_not_overlap(void **state)
{
	static const char *const apart[] = {"ef", "ab", "cd"}, *const touching[] = {"ab", "bc", "de"},
				 *const inside[] = {"ad", "bc", "xy"};
	struct engine_error error = {{0}};
	struct shelf shelf;

	(void)state;
	shelf_init(&shelf, 64 * 1024);
	assert_int_equal(check_run(&shelf, apart, 3, &error), 0);
	assert_int_equal(check_run(&shelf, touching, 3, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "/store: the manifest names tables 4 and 5 in one run, and they overlap"));
	assert_int_equal(check_run(&shelf, inside, 3, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "tables 7 and 8"));
	shelf_fini(&shelf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables_of_a_run_do_not_overlap)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
