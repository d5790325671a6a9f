/* SPDX-License-Identifier: Apache-2.0 */
/* Engine: a sharded LSM tree, an ordered map of bytes on one disk.
 *
 * Keys begin with a partition number (two bytes, big endian); partition p lives in shard p mod shard_count. The engine
 * knows nothing of nodes, versions or sockets. It starts no thread, reads no clock and draws no random number:
 * background work is handed out as jobs (shard_maintain) which any thread may run and the owner installs.
 *
 *     write path   shard_write -> log buffer + memtable;  shard_commit -> log file, synced
 *     read path    memtable -> immutable memtables -> SSTables, newest first, through Bloom filters
 *
 * Threading   One owner thread per shard calls everything that takes a `struct shard *`, unless marked (any thread).
 *             Snapshots and iterators are taken by the owner and may be read and released by any thread. engine_job_run
 *             may run on any thread. Different shards share only the cache budget and the directory lock.
 * Ownership   Outputs `struct engine_value` pin memory until engine_value_release. Inputs are copied.
 * Errors      0 or negative errno: -EBADMSG damaged bytes (the message names file and offset), -EIO a dead shard (a
 *             write or sync failed: reopen to recover; never retried), -EINVAL, -EWOULDBLOCK the directory is in use.
 *             Passing: -ENOSPC a full disk, -EMFILE and -ENFILE no free descriptor, -ENOMEM; reads go on, and writes work
 *             again when the shortage is over. "Absent" is a result, not an error.
 * Invariants  E1 What reopens after a crash is a prefix of the history of each shard that holds every synced batch.
 *             E2 A batch is all or nothing.
 *             E3 A read never returns wrong bytes: a damaged block is -EBADMSG, never "absent".
 *             E4 The hash trees equal a recount of the live entries at every moment, also after a crash.
 *             E5 A file number is never used twice.
 *             E6 A partition in which acknowledged data is damaged answers -EBADMSG to reads, iterations and writes until it is
 *                dropped; others go on.
 */
#ifndef KVRING_ENGINE_ENGINE_H
#define KVRING_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;
struct engine;          /* one data directory */
struct shard;           /* one LSM tree in it, one owner */
struct engine_batch;    /* entries that become visible and durable together */
struct engine_snapshot; /* a frozen view of one shard */
struct engine_iterator;
struct engine_job; /* a flush or a compaction: immutable inputs, new files */

#define ENGINE_OK __attribute__((warn_unused_result))

enum {
	ENGINE_KEY_MIN = 2,                  /* bytes: the partition */
	ENGINE_KEY_MAX = 8192,               /* bytes, partition included */
	ENGINE_VALUE_MAX = 64 * 1024 * 1024, /* bytes */
	ENGINE_META_MAX = 4096,              /* bytes, see shard_meta_set */
	ENGINE_SHARDS_MAX = 256,
	ENGINE_TREE_BRANCHES = 256,
	ENGINE_TREE_LEAVES = 64, /* per branch */
};

struct engine_slice {
	const void *data;
	size_t size;
};

/* A value pinned in memtable or cache. Any thread may release it. */
struct engine_value {
	const void *data;
	size_t size;
	void *pin;
};
void engine_value_release(struct engine_value *);

enum engine_sync {
	ENGINE_SYNC_EACH, /* shard_commit writes and syncs the log */
	ENGINE_SYNC_NONE, /* shard_commit writes; the operating system decides, or the caller calls shard_sync */
};

enum engine_compression { ENGINE_COMPRESSION_NONE, ENGINE_COMPRESSION_LZ4, ENGINE_COMPRESSION_ZSTD };

struct engine_options {
	const struct fs *fs; /* NULL: fs_posix() */
	const char *directory;
	bool create_if_missing;
	uint32_t shard_count;  /* fixed when created; 0 when opening means: as it is. Another number is -EINVAL. */
	size_t cache_bytes;    /* block cache of all shards together */
	size_t memtable_bytes; /* per shard, before it is flushed */
	size_t block_bytes;    /* uncompressed target, 4096 to 65536 */
	uint32_t filter_bits_per_key;
	enum engine_compression compression_upper; /* all levels but the last */
	enum engine_compression compression_last;
	/* The hash of an entry as its tree_delta brought it in, or -EBADMSG for one that cannot be read. With it damaged saved hash
	 * trees are recounted; without it (NULL) they quarantine every partition of their shard. Called within engine_open. */
	int (*hash_entry)(void *arg, struct engine_slice key, struct engine_slice value, uint64_t *hash_out);
	void *hash_arg;
};

/* Defaults that suit a node: 256 MiB cache, 64 MiB memtable, 4 KiB blocks, 10 bits, lz4 above and zstd last. */
void engine_options_default(struct engine_options *);

/* The reason for a failure, for a person: which file or option, where in it, and what to do next. */
struct engine_error {
	char text[512];
};

/* Opens and recovers. Takes an exclusive lock on the directory. error_out may be NULL. Damaged tables and logs do not stand in
 * the way: what they concern is quarantined (see damage). A damaged manifest does: -EBADMSG. Nor does a full disk: the store can
 * be read, and whatever writes returns -ENOSPC until there is room. */
ENGINE_OK int engine_open(const struct engine_options *, struct engine **out, struct engine_error *error_out);
/* Writes and syncs what is buffered; outstanding jobs must have been installed or cancelled, snapshots released. */
int engine_close(struct engine **);
uint32_t engine_shard_count(const struct engine *);
struct shard *engine_shard(struct engine *, uint32_t shard_index);

/* ---- small durable facts ------------------------------------------------------------------------------------ */

/* Keeps a small blob of the caller in the shard's manifest. It is durable when this returns 0, and replaced as a whole. */
ENGINE_OK int shard_meta_set(struct shard *, const void *data, size_t size);
/* Size 0 when never set. The pointer is valid until the next shard_meta_set. */
void shard_meta_get(const struct shard *, struct engine_slice *meta_out);

/* ---- write -------------------------------------------------------------------------------------------------- */

/* Batches are reused: create once, clear after each write. */
ENGINE_OK int engine_batch_create(struct engine_batch **out);
void engine_batch_destroy(struct engine_batch **);
void engine_batch_clear(struct engine_batch *);
/* tree_delta is XORed into the hash tree at the leaf of this key: (hash of the entry replaced, 0 if none) ^ (hash of
 * the new one, 0 for a delete). The caller has read the old entry anyway. 0 leaves the tree as it is. */
ENGINE_OK int engine_batch_put(struct engine_batch *, struct engine_slice key, struct engine_slice value,
			       uint64_t tree_delta);
ENGINE_OK int engine_batch_delete(struct engine_batch *, struct engine_slice key, uint64_t tree_delta);

/* Applies the batch: visible to shard_get at once, durable after the next shard_commit / shard_sync. On an error
 * nothing was applied. -EAGAIN: back-pressure, no room until a job is installed (see shard_pressure). */
ENGINE_OK int shard_write(struct shard *, const struct engine_batch *);
/* Writes all buffered batches to the log with one write, and syncs it when mode is ENGINE_SYNC_EACH. An error that does not pass is
 * final for this shard (E1): writes since the last good commit are in doubt until the store is reopened. So is the loss of the
 * log's name: somebody removed or moved the data directory. */
ENGINE_OK int shard_commit(struct shard *, enum engine_sync);
ENGINE_OK int shard_sync(struct shard *);
/* shard_commit in two halves, for an owner that goes on working while the disk syncs. begin writes the log; *out is NULL when there is
 * nothing to sync. Between begin and end, engine_commit_run runs once. (any thread) end makes what was written before begin count
 * as durable, frees the commit, and is final like shard_commit when it fails. Several may be under way. */
struct engine_commit;
ENGINE_OK int shard_commit_begin(struct shard *, struct engine_commit **out);
void engine_commit_run(struct engine_commit *);
ENGINE_OK int shard_commit_end(struct shard *, struct engine_commit **);
/* Sequence of the last entry written, and of the last one known to be on stable storage. */
uint64_t shard_sequence(const struct shard *);
uint64_t shard_durable_sequence(const struct shard *);

/* Deletes every key in [begin, end) and frees the space of whole files without rewriting others. The trees of
 * partitions wholly inside are zeroed. Durable when it returns 0. */
ENGINE_OK int shard_drop_range(struct shard *, struct engine_slice begin, struct engine_slice end);

/* ---- read --------------------------------------------------------------------------------------------------- */

/* 1 found (value_out is pinned), 0 absent, or a negative errno. */
ENGINE_OK int shard_get(struct shard *, struct engine_slice key, struct engine_value *value_out);
ENGINE_OK int shard_snapshot(struct shard *, struct engine_snapshot **out);
void engine_snapshot_release(struct engine_snapshot **); /* (any thread) */
ENGINE_OK int engine_snapshot_get(struct engine_snapshot *, struct engine_slice key,
				  struct engine_value *); /* (any thread) */

/* An iterator over a snapshot, which must outlive it. (any thread, one at a time) */
ENGINE_OK int engine_iterator_create(struct engine_snapshot *, struct engine_iterator **out);
void engine_iterator_destroy(struct engine_iterator **);
/* Positions: 1 on an entry, 0 past the end, or a negative errno. seek: first key >= key; seek_last: last key <= key
 * (size 0: the very last). Key and value stay valid until the next move. */
ENGINE_OK int engine_iterator_seek(struct engine_iterator *, struct engine_slice key);
ENGINE_OK int engine_iterator_seek_last(struct engine_iterator *, struct engine_slice key);
ENGINE_OK int engine_iterator_next(struct engine_iterator *);
ENGINE_OK int engine_iterator_prev(struct engine_iterator *);
struct engine_slice engine_iterator_key(const struct engine_iterator *);
struct engine_slice engine_iterator_value(const struct engine_iterator *);

/* The quarantined partition at which the last move stopped with -EBADMSG, before showing anything of it or beyond it; -1 when it
 * stopped at a damaged block. Only a seek leads on: to the partition behind it, for example. */
int32_t engine_iterator_quarantined(const struct engine_iterator *);

/* ---- damage -------------------------------------------------------------------------------------------------- */

/* Acknowledged data that does not verify puts the partitions concerned into quarantine, durably: for a damaged block of a
 * table those whose keys can lie in it, for a table that cannot be opened those of its range, for the log all of the shard. Found
 * when the store is opened, or by a read, an iteration or a job; the latter count from the next shard_maintain on. Snapshots
 * taken before keep their answers. shard_tree_node of a quarantined partition means nothing.
 *
 * shard_drop_range of the whole partition ends it: the partition is empty then and can be filled again, from a replica for
 * example. Until it is filled, "absent" only says that it is not here. A caller that keeps facts in shard_meta_set about what it
 * wrote has to put them right first. */

/* The first quarantined partition of the shard from this one on, or -1. */
int32_t shard_quarantined(const struct shard *, uint32_t from);
/* The latest finding, for a person: which file and offset, which partitions, what to do. Empty when none is quarantined. Valid
 * until the next call. */
const char *shard_quarantine_reason(const struct shard *);

/* ---- background work ---------------------------------------------------------------------------------------- */

/* The most urgent job that can start now, or *out = NULL. Several may be out at once; they never share inputs. */
ENGINE_OK int shard_maintain(struct shard *, struct engine_job **out);
enum { ENGINE_JOBS_MAX = 8 }; /* of one shard at once; a flush is always among them when there is one to do */
/* In this order when there are not threads for all. A deep merge can take hours: keep a thread free of it for merges of the
 * newest runs, and another of both for flushes, or writes stop meanwhile. */
enum engine_urgency { ENGINE_URGENCY_FLUSH, ENGINE_URGENCY_NEWEST, ENGINE_URGENCY_DEEP, ENGINE_URGENCIES };
enum engine_urgency engine_job_urgency(const struct engine_job *);
/* Reads immutable inputs, writes new files. (any thread) The result is kept in the job. */
void engine_job_run(struct engine_job *);
/* Makes the job's files part of the store (or removes them when it failed) and frees the job. Owner only. Returns the
 * job's error: -ENOSPC and read errors leave the store as it was; the job will be offered again. A job that was never
 * run is cancelled: -ECANCELED, and nothing changes. */
ENGINE_OK int shard_install(struct shard *, struct engine_job **);
/* A scrub: reads a piece (some MiB) of what lies in tables, to find damage before a reader does, and quarantines what it finds. Jobs as
 * above, to be run and installed; how often is the caller's choice, never is the default. Each goes on where the one before
 * ended; *out is NULL while one is out, and once when everything has been read: the next call begins anew. Installing it
 * returns 0 also when damage was found (shard_stats, shard_error), and -EIO and the like when a block could not be read. */
ENGINE_OK int shard_scrub(struct shard *, struct engine_job **out);
/* 0 = idle, 1000 = writes are refused with -EAGAIN. Proportional to the debt in between: delay writers by it. */
uint32_t shard_pressure(const struct shard *);
/* Asks for everything to be flushed / merged into the last level by the jobs to come. -ENOSPC, -EIO as for a write. */
ENGINE_OK int shard_request_flush(struct shard *);
ENGINE_OK int shard_request_compaction(struct shard *);
/* For hours of high load: while paused, only flushes and merges of the newest runs are offered, and a requested compaction.
 * Runs pile up meanwhile: reads ask more filters, space grows. A new shard is not paused. */
void shard_pause_deep_merges(struct shard *, bool pause);

/* Hard links of everything durable, in a new directory that opens as a store. Shards are taken one by one. */
ENGINE_OK int engine_checkpoint(struct engine *, const char *directory, struct engine_error *error_out);

/* ---- hash trees --------------------------------------------------------------------------------------------- */

/* XOR of the hashes below (Dynamo 4.7). level 0: root (index 0); 1: branch (0..255); 2: leaf (0..16383). */
uint64_t shard_tree_node(const struct shard *, uint16_t partition, uint32_t level, uint32_t index);
/* The leaf a key belongs to, 0..16383. (any thread) */
uint32_t engine_tree_leaf(struct engine_slice key);

/* ---- statistics --------------------------------------------------------------------------------------------- */

struct shard_stats {
	uint64_t
		keys_estimate; /* keys held, deleted ones not. From the hash trees, to about a percent; where the caller keeps none, from
				 * the entries of all files, which counts a key again for each of its versions in them */
	uint64_t disk_bytes; /* all files */
	uint64_t memtable_bytes;
	uint64_t user_bytes_written; /* keys and values given to shard_write since open */
	uint64_t log_bytes_written;
	uint64_t flush_bytes_written;
	uint64_t compaction_bytes_written;
	uint64_t compaction_bytes_read;
	uint64_t gets, get_memtable_hits, filter_checks, filter_negatives, filter_false_positives;
	uint64_t cache_hits, cache_misses, cache_bytes;
	uint64_t syncs, commits, batches;
	uint32_t table_count;
	uint32_t level_table_count[8];
	uint64_t level_bytes[8];
	uint64_t recovered_batches; /* replayed from the log at open */
	uint64_t torn_tail_bytes;   /* cut off at open: not known to have been synced */
	uint32_t quarantined_partitions;
	uint32_t tree_recounts; /* 1: the saved hash trees were damaged and have been recounted at open */
	uint64_t scrub_bytes_read, scrub_rounds; /* rounds: everything was read so many times */
	uint64_t
		misreads; /* checksums that failed and were right at a second reading: look at memory, cable and disk */
};
void shard_stats(const struct shard *, struct shard_stats *stats_out);
/* True after a write or a sync failed: the shard can only be closed. (The -EIO of a job may be a read that failed.) */
bool shard_is_dead(const struct shard *);
/* The text of the last call on this shard that failed, for a person; empty when none did. Valid until the next call. */
const char *shard_error(const struct shard *);

#endif
