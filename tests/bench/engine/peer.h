/* SPDX-License-Identifier: Apache-2.0 */
/* Peer: what peer_bench asks of another engine. Each peer_x.c is one, compiled where its library is installed.
 *
 * Threading   put: any number of threads. All else: one.
 * Ownership   A peer is one store per process, kept in statics: a benchmark opens one at a time.
 * Errors      peer_die: the benchmark is over.
 */
#ifndef KVRING_TESTS_BENCH_PEER_H
#define KVRING_TESTS_BENCH_PEER_H

#include "tools/kvengine/bench_data.h"

enum { PEER_FILTER_BITS = 10, PEER_JOBS = 2 };

struct peer_settings {
	const char *directory;
	size_t cache_bytes, buffer_bytes;
	bool sync; /* every put, before it returns */
};

struct peer_key {
	const char *data;
	size_t size;
	uint64_t number; /* for the value that is expected */
};

struct peer {
	const char *name;
	void (*open)(const struct peer_settings *);
	void (*close)(void);
	void (*put)(const struct bench_data *, struct peer_key);
	/* 1: found, and the value is right; 0: not found */
	int (*get)(const struct bench_data *, struct peer_key);
	/* the same by an iterator set on the key, which then takes so many steps forward */
	int (*seek)(const struct bench_data *, struct peer_key, unsigned steps);
	/* around reads; may be NULL */
	void (*begin_reads)(void);
	void (*end_reads)(void);
};

extern const struct peer peer_leveldb, peer_lmdb, peer_rocksdb;

__attribute__((noreturn)) void peer_die(const char *what, const char *why);
/* Ends the process when the value is wrong. */
void peer_check(const struct bench_data *, struct peer_key, const void *value, size_t size);

#endif
