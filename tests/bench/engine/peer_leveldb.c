/* SPDX-License-Identifier: Apache-2.0 */
/* LevelDB through its C interface. It has one background thread and cannot be told to use two. */
#include <leveldb/c.h>
#include <string.h>

#include "tests/bench/engine/peer.h"

static leveldb_t *store;
static leveldb_options_t *options;
static leveldb_cache_t *cache;
static leveldb_filterpolicy_t *filter;
static leveldb_writeoptions_t *write_options;
static leveldb_readoptions_t *read_options;

static void check_error(const char *what, char *error)
{
	if (error)
		peer_die(what, error);
}

static void open_store(const struct peer_settings *settings)
{
	char *error = NULL;

	options = leveldb_options_create();
	cache = leveldb_cache_create_lru(settings->cache_bytes);
	filter = leveldb_filterpolicy_create_bloom(PEER_FILTER_BITS);
	leveldb_options_set_create_if_missing(options, 1);
	leveldb_options_set_write_buffer_size(options, settings->buffer_bytes);
	leveldb_options_set_cache(options, cache);
	leveldb_options_set_filter_policy(options, filter);
	leveldb_options_set_compression(options, leveldb_no_compression);
	leveldb_options_set_max_open_files(options, 1000);
	write_options = leveldb_writeoptions_create();
	leveldb_writeoptions_set_sync(write_options, settings->sync);
	read_options = leveldb_readoptions_create();
	leveldb_readoptions_set_verify_checksums(read_options, 1); /* the others do */
	store = leveldb_open(options, settings->directory, &error);
	check_error("leveldb: open", error);
}

static void close_store(void)
{
	leveldb_close(store);
	leveldb_readoptions_destroy(read_options);
	leveldb_writeoptions_destroy(write_options);
	leveldb_options_destroy(options);
	leveldb_filterpolicy_destroy(filter);
	leveldb_cache_destroy(cache);
}

static void put(const struct bench_data *data, struct peer_key key)
{
	char *error = NULL;

	leveldb_put(store, write_options, key.data, key.size, (const char *)bench_data_value(data, key.number),
		    data->value_bytes, &error);
	check_error("leveldb: put", error);
}

static int get(const struct bench_data *data, struct peer_key key)
{
	char *error = NULL, *value;
	size_t size;

	value = leveldb_get(store, read_options, key.data, key.size, &size, &error);
	check_error("leveldb: get", error);
	if (!value)
		return 0;
	peer_check(data, key, value, size);
	leveldb_free(value);
	return 1;
}

static int seek(const struct bench_data *data, struct peer_key key, unsigned steps)
{
	leveldb_iterator_t *iterator = leveldb_create_iterator(store, read_options);
	const char *found, *value;
	size_t size;
	int error = 0;

	leveldb_iter_seek(iterator, key.data, key.size);
	if (leveldb_iter_valid(iterator)) {
		found = leveldb_iter_key(iterator, &size);
		if (size == key.size && memcmp(found, key.data, size) == 0) {
			value = leveldb_iter_value(iterator, &size);
			peer_check(data, key, value, size);
			error = 1;
		}
	}
	for (; steps && leveldb_iter_valid(iterator); steps--)
		leveldb_iter_next(iterator);
	leveldb_iter_destroy(iterator);
	return error;
}

const struct peer peer_leveldb = {"leveldb", open_store, close_store, put, get, seek, NULL, NULL};
