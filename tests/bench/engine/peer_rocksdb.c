/* SPDX-License-Identifier: Apache-2.0 */
/* RocksDB through its C interface, with the settings that compare.py gives to db_bench. For what db_bench cannot do: being
 * killed after a number of writes, and checking values. */
#include <rocksdb/c.h>
#include <string.h>

#include "tests/bench/engine/peer.h"

static rocksdb_t *store;
static rocksdb_options_t *options;
static rocksdb_writeoptions_t *write_options;
static rocksdb_readoptions_t *read_options;

static void check_error(const char *what, char *error)
{
	if (error)
		peer_die(what, error);
}

static void open_store(const struct peer_settings *settings)
{
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
	rocksdb_cache_t *cache = rocksdb_cache_create_lru(settings->cache_bytes);
	char *error = NULL;

	options = rocksdb_options_create();
	rocksdb_block_based_options_set_block_cache(table, cache);
	rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(PEER_FILTER_BITS));
	rocksdb_options_set_block_based_table_factory(options, table);
	rocksdb_options_set_create_if_missing(options, 1);
	rocksdb_options_set_write_buffer_size(options, settings->buffer_bytes);
	rocksdb_options_set_max_background_jobs(options, PEER_JOBS);
	rocksdb_options_set_compression(options, rocksdb_no_compression);
	write_options = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(write_options, settings->sync);
	read_options = rocksdb_readoptions_create();
	store = rocksdb_open(options, settings->directory, &error);
	check_error("rocksdb: open", error);
	rocksdb_block_based_options_destroy(table);
	rocksdb_cache_destroy(cache); /* the store holds it */
}

static void close_store(void)
{
	rocksdb_close(store);
	rocksdb_readoptions_destroy(read_options);
	rocksdb_writeoptions_destroy(write_options);
	rocksdb_options_destroy(options);
}

static void put(const struct bench_data *data, struct peer_key key)
{
	char *error = NULL;

	rocksdb_put(store, write_options, key.data, key.size, (const char *)bench_data_value(data, key.number),
		    data->value_bytes, &error);
	check_error("rocksdb: put", error);
}

static int get(const struct bench_data *data, struct peer_key key)
{
	char *error = NULL;
	rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned(store, read_options, key.data, key.size, &error);
	const char *value;
	size_t size;

	check_error("rocksdb: get", error);
	if (!pinned)
		return 0;
	value = rocksdb_pinnableslice_value(pinned, &size);
	peer_check(data, key, value, size);
	rocksdb_pinnableslice_destroy(pinned);
	return 1;
}

static int seek(const struct bench_data *data, struct peer_key key, unsigned steps)
{
	rocksdb_iterator_t *iterator = rocksdb_create_iterator(store, read_options);
	const char *found, *value;
	size_t size;
	int error = 0;

	rocksdb_iter_seek(iterator, key.data, key.size);
	if (rocksdb_iter_valid(iterator)) {
		found = rocksdb_iter_key(iterator, &size);
		if (size == key.size && memcmp(found, key.data, size) == 0) {
			value = rocksdb_iter_value(iterator, &size);
			peer_check(data, key, value, size);
			error = 1;
		}
	}
	for (; steps && rocksdb_iter_valid(iterator); steps--)
		rocksdb_iter_next(iterator);
	rocksdb_iter_destroy(iterator);
	return error;
}

const struct peer peer_rocksdb = {"rocksdb", open_store, close_store, put, get, seek, NULL, NULL};
