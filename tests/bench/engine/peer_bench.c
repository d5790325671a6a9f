/* The same workloads as `kvengine bench`, on LevelDB and LMDB: same keys, same values, reads checked byte by byte.
 *
 *     peer_bench leveldb|lmdb DIR NUM READS VALUE_BYTES CACHE_MB WRITE_BUFFER_MB WORKLOAD,...
 *
 * Prints one JSON object per workload, with the keys that kvengine bench --json prints.
 */
#include <errno.h>
#include <inttypes.h>
#include <leveldb/c.h>
#include <lmdb.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { TEXT_BYTES = 1 << 20, KEY_BYTES = 16, FILTER_BITS = 10 };

struct options {
	const char *directory;
	uint64_t count, reads;
	size_t value_bytes, cache_bytes, buffer_bytes;
};

static uint8_t text[TEXT_BYTES];

static void die(const char *what, const char *why)
{
	fprintf(stderr, "peer_bench: %s: %s\n", what, why);
	exit(1);
}

static uint64_t random_next(uint64_t *state)
{
	uint64_t x = (*state += 0x9e3779b97f4a7c15u);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fill_text(void)
{
	uint64_t state = 1;

	for (size_t i = 0; i < TEXT_BYTES; i += 100) {
		for (size_t j = i; j < i + 50 && j < TEXT_BYTES; j++)
			text[j] = (uint8_t)(' ' + random_next(&state) % 95);
		for (size_t j = i + 50; j < i + 100 && j < TEXT_BYTES; j++)
			text[j] = text[j - 50];
	}
}

static void make_key(uint64_t number, char out[KEY_BYTES])
{
	memset(out, '0', KEY_BYTES);
	for (int i = 0; i < 8; i++)
		out[i] = (char)(number >> (56 - 8 * i));
}

static const char *value_of(const struct options *options, uint64_t number)
{
	return (const char *)text + number * 0x9e3779b97f4a7c15u % (TEXT_BYTES - options->value_bytes);
}

static bool is_right(const struct options *options, uint64_t number, const void *value, size_t size)
{
	return size == options->value_bytes && memcmp(value, value_of(options, number), size) == 0;
}

/* What a store can do. */
struct peer {
	void (*open)(const struct options *);
	void (*close)(void);
	void (*put)(const char *key, const void *value, size_t size);
	/* 1 and checked, or 0 */
	int (*get)(const struct options *, uint64_t number, const char *key);
	int (*seek)(const struct options *, uint64_t number, const char *key);
	void (*begin_reads)(void);
	void (*end_reads)(void);
};

/* ---- LevelDB ------------------------------------------------------------------------------------------------- */

static leveldb_t *level;
static leveldb_writeoptions_t *level_write;
static leveldb_readoptions_t *level_read;
static leveldb_iterator_t *level_iterator;

static void level_open(const struct options *options)
{
	leveldb_options_t *settings = leveldb_options_create();
	char *error = NULL;

	leveldb_options_set_create_if_missing(settings, 1);
	leveldb_options_set_write_buffer_size(settings, options->buffer_bytes);
	leveldb_options_set_cache(settings, leveldb_cache_create_lru(options->cache_bytes));
	leveldb_options_set_filter_policy(settings, leveldb_filterpolicy_create_bloom(FILTER_BITS));
	leveldb_options_set_compression(settings, leveldb_no_compression);
	leveldb_options_set_max_open_files(settings, 1000);
	level_write = leveldb_writeoptions_create();
	level_read = leveldb_readoptions_create();
	level = leveldb_open(settings, options->directory, &error);
	if (error)
		die("leveldb", error);
}

static void level_close(void)
{
	leveldb_close(level);
}

static void level_put(const char *key, const void *value, size_t size)
{
	char *error = NULL;

	leveldb_put(level, level_write, key, KEY_BYTES, value, size, &error);
	if (error)
		die("leveldb", error);
}

static int level_get(const struct options *options, uint64_t number, const char *key)
{
	char *error = NULL, *value;
	size_t size;

	value = leveldb_get(level, level_read, key, KEY_BYTES, &size, &error);
	if (error)
		die("leveldb", error);
	if (!value)
		return 0;
	if (!is_right(options, number, value, size))
		die("leveldb", "wrong value");
	leveldb_free(value);
	return 1;
}

static void level_begin(void)
{
	level_iterator = leveldb_create_iterator(level, level_read);
}

static void level_end(void)
{
	leveldb_iter_destroy(level_iterator);
}

static int level_seek(const struct options *options, uint64_t number, const char *key)
{
	const char *found, *value;
	size_t size;

	leveldb_iter_seek(level_iterator, key, KEY_BYTES);
	if (!leveldb_iter_valid(level_iterator))
		return 0;
	found = leveldb_iter_key(level_iterator, &size);
	if (size != KEY_BYTES || memcmp(found, key, KEY_BYTES) != 0)
		return 0;
	value = leveldb_iter_value(level_iterator, &size);
	if (!is_right(options, number, value, size))
		die("leveldb", "wrong value");
	return 1;
}

/* ---- LMDB: no sync, as the others here; one transaction per write ---------------------------------------------- */

static MDB_env *map;
static MDB_dbi map_table;
static MDB_txn *map_txn;
static MDB_cursor *map_cursor;

static void map_check(int rc, const char *what)
{
	if (rc)
		die(what, mdb_strerror(rc));
}

static void map_open(const struct options *options)
{
	MDB_txn *txn;

	map_check(mdb_env_create(&map), "lmdb");
	map_check(mdb_env_set_mapsize(map, (size_t)64 << 30), "lmdb");
	map_check(mdb_env_open(map, options->directory, MDB_NOSYNC | MDB_NOMETASYNC | MDB_NORDAHEAD, 0644),
		  "lmdb open");
	map_check(mdb_txn_begin(map, NULL, 0, &txn), "lmdb");
	map_check(mdb_dbi_open(txn, NULL, 0, &map_table), "lmdb");
	map_check(mdb_txn_commit(txn), "lmdb");
}

static void map_close(void)
{
	mdb_env_close(map);
}

static void map_put(const char *key, const void *value, size_t size)
{
	MDB_val k = {KEY_BYTES, (void *)key}, v = {size, (void *)value};
	MDB_txn *txn;

	map_check(mdb_txn_begin(map, NULL, 0, &txn), "lmdb");
	map_check(mdb_put(txn, map_table, &k, &v, 0), "lmdb put");
	map_check(mdb_txn_commit(txn), "lmdb commit");
}

static int map_get(const struct options *options, uint64_t number, const char *key)
{
	MDB_val k = {KEY_BYTES, (void *)key}, v;
	int rc = mdb_get(map_txn, map_table, &k, &v);

	if (rc == MDB_NOTFOUND)
		return 0;
	map_check(rc, "lmdb get");
	if (!is_right(options, number, v.mv_data, v.mv_size))
		die("lmdb", "wrong value");
	return 1;
}

static void map_begin(void)
{
	map_check(mdb_txn_begin(map, NULL, MDB_RDONLY, &map_txn), "lmdb");
	map_check(mdb_cursor_open(map_txn, map_table, &map_cursor), "lmdb");
}

static void map_end(void)
{
	mdb_cursor_close(map_cursor);
	mdb_txn_abort(map_txn);
}

static int map_seek(const struct options *options, uint64_t number, const char *key)
{
	MDB_val k = {KEY_BYTES, (void *)key}, v;
	int rc = mdb_cursor_get(map_cursor, &k, &v, MDB_SET_RANGE);

	if (rc == MDB_NOTFOUND || k.mv_size != KEY_BYTES || memcmp(k.mv_data, key, KEY_BYTES) != 0)
		return 0;
	map_check(rc, "lmdb seek");
	if (!is_right(options, number, v.mv_data, v.mv_size))
		die("lmdb", "wrong value");
	return 1;
}

static const struct peer leveldb_peer = {level_open, level_close, level_put, level_get,
					 level_seek, level_begin, level_end};
static const struct peer lmdb_peer = {map_open, map_close, map_put, map_get, map_seek, map_begin, map_end};

/* ---- workloads ----------------------------------------------------------------------------------------------- */

static uint64_t zipf_next(const struct options *options, uint64_t *state)
{
	double n = (double)options->count, u = (double)(random_next(state) >> 11) / (double)(1ull << 53);

	return (uint64_t)(n * exp(-u * log(n))) * 0x9e3779b97f4a7c15u % options->count;
}

static uint64_t run(const struct peer *peer, const struct options *options, const char *name, uint64_t *found)
{
	bool writes = strcmp(name, "fillseq") == 0 || strcmp(name, "fillrandom") == 0 || strcmp(name, "overwrite") == 0;
	bool in_order = strcmp(name, "fillseq") == 0, missing = strcmp(name, "readmissing") == 0;
	bool hot = strcmp(name, "readhot") == 0, seeks = strcmp(name, "seekrandom") == 0;
	uint64_t total = writes ? options->count : options->reads;
	uint64_t state = strlen(name) * 7919 + (uint64_t)name[0];
	char key[KEY_BYTES];

	if (!writes)
		peer->begin_reads();
	for (uint64_t i = 0; i < total; i++) {
		uint64_t number = in_order ? i
				  : hot    ? zipf_next(options, &state)
					   : random_next(&state) % options->count;

		make_key(number, key);
		if (missing)
			key[KEY_BYTES - 1] = '.';
		if (writes)
			peer->put(key, value_of(options, number), options->value_bytes);
		else
			*found +=
				(uint64_t)(seeks ? peer->seek(options, number, key) : peer->get(options, number, key));
	}
	if (!writes)
		peer->end_reads();
	return total;
}

int main(int argc, char **argv)
{
	const struct peer *peer;
	struct options options;
	char *rest;

	if (argc != 9) {
		fprintf(stderr,
			"usage: peer_bench leveldb|lmdb DIR NUM READS VALUE_BYTES CACHE_MB BUFFER_MB WORKLOAD,...\n");
		return 2;
	}
	peer = strcmp(argv[1], "lmdb") == 0 ? &lmdb_peer : &leveldb_peer;
	options = (struct options){argv[2],
				   strtoull(argv[3], NULL, 10),
				   strtoull(argv[4], NULL, 10),
				   strtoull(argv[5], NULL, 10),
				   strtoull(argv[6], NULL, 10) << 20,
				   strtoull(argv[7], NULL, 10) << 20};
	rest = argv[8];
	fill_text();
	peer->open(&options);
	for (char *name; (name = strsep(&rest, ","));) {
		uint64_t begin = now_ns(), found = 0, total = run(peer, &options, name, &found);
		double seconds = (double)(now_ns() - begin) / 1e9;
		struct rusage usage;

		getrusage(RUSAGE_SELF, &usage);
		printf("{\"workload\": \"%s\", \"ops_per_second\": %.0f, \"found\": %" PRIu64 ", \"rss_kb\": %ld}\n",
		       name, (double)total / seconds, found, usage.ru_maxrss);
		fflush(stdout);
	}
	peer->close();
	return 0;
}
