/* SPDX-License-Identifier: Apache-2.0 */
/* LMDB, at its best: one transaction and one cursor for all reads of a workload; one transaction per write. */
#include <lmdb.h>
#include <string.h>

#include "tests/bench/engine/peer.h"

static MDB_env *map;
static MDB_dbi table;
static MDB_txn *reading;
static MDB_cursor *cursor;

static void check(int error, const char *what)
{
	if (error)
		peer_die(what, mdb_strerror(error));
}

static void open_store(const struct peer_settings *settings)
{
	unsigned flags = MDB_NORDAHEAD | (settings->sync ? 0 : MDB_NOSYNC | MDB_NOMETASYNC);
	MDB_txn *txn;

	check(mdb_env_create(&map), "lmdb");
	check(mdb_env_set_mapsize(map, (size_t)64 << 30), "lmdb: map size");
	check(mdb_env_open(map, settings->directory, flags, 0644), "lmdb: open");
	check(mdb_txn_begin(map, NULL, 0, &txn), "lmdb: transaction");
	check(mdb_dbi_open(txn, NULL, 0, &table), "lmdb: table");
	check(mdb_txn_commit(txn), "lmdb: commit");
}

static void close_store(void)
{
	mdb_env_close(map);
}

static void put(const struct bench_data *data, struct peer_key key)
{
	MDB_val k = {key.size, (void *)key.data}, v = {data->value_bytes, (void *)bench_data_value(data, key.number)};
	MDB_txn *txn;

	check(mdb_txn_begin(map, NULL, 0, &txn), "lmdb: transaction");
	check(mdb_put(txn, table, &k, &v, 0), "lmdb: put");
	check(mdb_txn_commit(txn), "lmdb: commit");
}

static int get(const struct bench_data *data, struct peer_key key)
{
	MDB_val k = {key.size, (void *)key.data}, v;
	int error = mdb_get(reading, table, &k, &v);

	if (error == MDB_NOTFOUND)
		return 0;
	check(error, "lmdb: get");
	peer_check(data, key, v.mv_data, v.mv_size);
	return 1;
}

static void begin_reads(void)
{
	check(mdb_txn_begin(map, NULL, MDB_RDONLY, &reading), "lmdb: transaction");
	check(mdb_cursor_open(reading, table, &cursor), "lmdb: cursor");
}

static void end_reads(void)
{
	mdb_cursor_close(cursor);
	mdb_txn_abort(reading);
}

static int seek(const struct bench_data *data, struct peer_key key, unsigned steps)
{
	MDB_val k = {key.size, (void *)key.data}, v;
	int error = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE), found = 0;

	if (error == 0 && k.mv_size == key.size && memcmp(k.mv_data, key.data, key.size) == 0) {
		peer_check(data, key, v.mv_data, v.mv_size);
		found = 1;
	}
	for (; steps && error == 0; steps--)
		error = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	if (error != MDB_NOTFOUND)
		check(error, "lmdb: seek");
	return found;
}

const struct peer peer_lmdb = {"lmdb", open_store, close_store, put, get, seek, begin_reads, end_reads};
