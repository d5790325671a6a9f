/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/engine/shelf.h"

void shelf_init(struct shelf *shelf, size_t cache_bytes)
{
	const struct fs *fs;

	*shelf = (struct shelf){.next_number = 1};
	sim_fs_create(1, &shelf->disk);
	fs = sim_fs_table(shelf->disk);
	files_init(&shelf->files, fs, "/store", SHELF_SHARD);
	assert_int_equal(fs_make_directory(fs, "/store"), 0);
	assert_int_equal(fs_make_directory(fs, shelf->files.directory), 0);
	assert_int_equal(cache_create(cache_bytes, &shelf->cache), 0);
}

void shelf_fini(struct shelf *shelf)
{
	assert_int_equal(cache_used(shelf->cache), 0);
	assert_int_equal(sim_fs_open_files(shelf->disk), 0);
	cache_destroy(&shelf->cache);
	sim_fs_destroy(&shelf->disk);
}

void shelf_write(struct shelf *shelf, const struct sst_options *options, const struct shelf_entry *entries,
		 size_t count, struct table_meta *meta_out)
{
	struct sst_writer *writer;

	assert_int_equal(sst_writer_create(&shelf->files, shelf->next_number++, options, &writer), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(sst_writer_add(writer, entries[i].key, entries[i].value, entries[i].type), 0);
	assert_int_equal(sst_writer_finish(&writer, meta_out), 0);
}

struct sst *shelf_table(struct shelf *shelf, const struct sst_options *options, const struct shelf_entry *entries,
			size_t count, uint64_t drop_id)
{
	struct engine_error error;
	struct table_meta meta;
	struct sst *sst;

	shelf_write(shelf, options, entries, count, &meta);
	meta.drop_id = drop_id;
	if (sst_open(&shelf->files, shelf->cache, &meta, &sst, &error))
		fail_msg("%s", error.text);
	table_meta_fini(&meta);
	return sst;
}
