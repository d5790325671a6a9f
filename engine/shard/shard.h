/* SPDX-License-Identifier: Apache-2.0 */
/* Shard: one LSM tree and its files. Private to the engine; engine.h is the public side.
 *
 *     shard.c       create, destroy, views, statistics, meta blob
 *     write.c       batches, log, rotation, drop range
 *     commit.c      the log made durable
 *     read.c        get, snapshots, iterators
 *     jobs.c        what to do next, install
 *     recover.c     opening: manifest, tables, what is not needed any more, what comes before the first write
 *     replay.c      opening: the log
 *     recount.c     opening: hash trees whose saved form is damaged
 *     scrub.c       reading everything before somebody needs it
 *     quarantine.c  what is damaged, and what follows from it
 *     check.c       the invariants, asserted
 *
 * Threading   The owner. What other threads touch is counted or atomic: views, tables, memtables, next_number.
 * Errors      A shard dies (is_dead) at the first failed sync or write whose outcome on the disk is unknown. From then
 *             on everything returns -EIO. Passing errors (fs_is_passing) refuse what was asked and change nothing.
 * Invariants  D1 pending holds exactly the batches that are in the memtable but not in the log.
 *             D2 The log segments from the manifest's log floor on hold exactly what is in the memtables.
 *             D3 Older segments are synced before newer ones count as durable.
 */
#ifndef KVRING_ENGINE_SHARD_H
#define KVRING_ENGINE_SHARD_H

#include "engine/disk/buffer.h"
#include "engine/merge/compact.h"
#include "engine/partition/hashtree.h"
#include "engine/merge/job.h"
#include "engine/state/view.h"
#include "engine/disk/wal.h"

enum {
	SHARD_PENDING_MAX = 1024 * 1024,      /* bytes of batches kept before they are written without being asked to */
	SHARD_NUMBERS_AHEAD = 1000,           /* file numbers the manifest reserves, so that none is used twice (E5) */
	SHARD_MANIFEST_MAX = 4 * 1024 * 1024, /* bytes before it is rewritten */
	SHARD_FULL_MEMTABLES = 4,             /* memtable budgets in memory at which writes are refused */
	SHARD_RUNS_PER_LEVEL = 12,
	SHARD_FIRST_RUNS = 8,
	SHARD_BOTTOM_PERCENT = 40,
	SHARD_LIMIT_RUNS = 32, /* on level 0, at which writes are refused */
};

/* A memtable that is no longer written, waiting to be flushed. */
struct retired {
	struct memtable *memtable;
	uint64_t first_log, last_log; /* segments that hold it */
	uint64_t last_sequence;
	bool has_tree;
	struct buffer tree; /* hash trees as of its last entry */
	uint64_t tree_drop_id;
};

struct shard {
	struct engine *engine;
	struct engine_options options;
	struct files files;
	struct cache *cache;
	_Atomic uint64_t next_number;
	struct engine_error error;
	bool is_dead;
	struct recovery *recovery; /* what is left to do before the first write (recover.c); NULL: nothing */
	/* on disk */
	struct manifest *manifest;
	struct manifest_state state;
	/* reading */
	struct view *view;
	struct read_stats read_stats;
	_Atomic uint32_t snapshot_count;
	/* writing */
	uint64_t sequence, durable_sequence;
	struct wal *log;
	struct wal *next_log; /* opened ahead, empty; NULL when that failed: tried again by the next job or rotation */
	struct wal *unsynced; /* closed segments not yet synced, oldest first */
	struct buffer pending;
	uint32_t pending_count;
	bool is_full;              /* pending could not be written: try that again before anything else */
	bool must_rotate;          /* a drop came between: nothing more into this memtable */
	uint64_t space_checked_at; /* log bytes written when free space was last looked at */
	struct retired *retired;   /* oldest first */
	size_t retired_count;
	struct hashtree tree;
	bool is_tree_changed; /* since it was last saved */
	/* jobs */
	bool is_flushing, is_sweeping;
	bool is_compaction_wanted;
	bool pauses_deep;
	struct engine_job **compactions;
	size_t compaction_count;
	size_t commit_count; /* begun and not ended */
	struct {
		bool is_out;     /* a job */
		uint64_t number; /* table, and block in it, that comes next; 0: a round begins */
		uint32_t block;
		uint64_t end; /* tables from here on are newer than the round */
	} scrub;
	struct shard_stats stats;
};

/* The number of shards that STORE gives. -ENOENT, without a text: there is no store. */
ENGINE_OK int engine_read_shard_count(const struct fs *, const char *directory, uint32_t *shard_count_out,
				      struct engine_error *error_out);
ENGINE_OK int shard_open(struct engine *, const struct engine_options *, uint32_t shard_index, struct shard **out,
			 struct engine_error *error_out);
/* A new, empty shard's directory and manifest. */
ENGINE_OK int shard_create_files(const struct engine_options *, uint32_t shard_index, struct engine_error *error_out);
int shard_close(struct shard **);
ENGINE_OK int shard_recover(struct shard *, struct engine_error *error_out);

/* Does what opening could not do for want of space, files or memory. 0: the shard writes. Else nothing may be written: a passing
 * error (fs_is_passing), or -EIO: dead. */
ENGINE_OK int shard_begin(struct shard *);
/* Counts the hash trees anew from the tables; found: why. Partitions that cannot be counted join the quarantine of the state. */
ENGINE_OK int shard_recount(struct shard *, const struct engine_error *found);
void shard_recovery_free(struct recovery **);
/* Asserts D1 to D3 and what the parts say of each other. Called at the end of each step of the owner. */
void shard_check(const struct shard *);
/* Marks the shard dead and returns -EIO. */
int shard_die(struct shard *, int code, const char *what);
/* Describes a passing error (fs_is_passing) and returns it; any other one kills the shard. */
int shard_fail(struct shard *, int error, const char *what);
static inline struct memtable *shard_memtable(const struct shard *shard)
{
	return shard->view->memtables[0];
}
/* Makes a view of memtable (the one to be written), the retired ones from first_retired on, and the tables. */
ENGINE_OK int shard_make_view(struct shard *, struct memtable *, size_t first_retired, struct tables *,
			      struct view **out);
/* Appends the edit and takes over the state it leads to. -EIO: dead. `view` becomes current, and is freed on an error.
 */
ENGINE_OK int shard_change(struct shard *, struct manifest_edit *, struct manifest_state *next, struct view *view);
uint64_t shard_new_number(struct shard *);
/* Opens the next log segment ahead, so that a rotation needs no descriptor. It is no error when that fails. */
void shard_open_ahead(struct shard *);
/* A job that flushes all retired memtables, of which there is one. */
ENGINE_OK int shard_make_flush(struct shard *, struct engine_job **out);
/* Retires the memtable if it holds anything, and begins a new segment. */
ENGINE_OK int shard_rotate(struct shard *);
/* Appends the pending batches to the log, as one (D1). Not synced. */
ENGINE_OK int shard_write_pending(struct shard *);
uint64_t shard_reserved_number(struct shard *);
struct engine_job *shard_job(struct shard *, enum job_kind); /* NULL: out of memory */
/* The memtables take all that they may. */
bool shard_memory_is_full(const struct shard *);
/* Every partition of the shard. */
struct partition_row shard_partitions(const struct shard *);
/* Makes what readers and jobs have noted durable, as quarantine. */
ENGINE_OK int shard_quarantine_noted(struct shard *);
/* Ends a scrub: notes how far it got, and what it found. */
ENGINE_OK int shard_scrub_done(struct shard *, const struct engine_job *);
/* -EBADMSG, described, when an entry belongs to a quarantined partition. */
ENGINE_OK int shard_quarantine_check(struct shard *, const struct engine_batch *);
/* The tables of this state with a view on them, all memtables as they are. */
ENGINE_OK int shard_prepare_view(struct shard *, const struct manifest_state *next, struct view **out);
void retired_fini(struct retired *);
/* The runs as compact.h sees them; free *out. */
ENGINE_OK int shard_runs(const struct shard *, struct compact_run **out);
/* The largest drop id up to which none is needed any more, in `state` with retired memtables from first_retired on. */
uint64_t shard_forgettable(const struct shard *, const struct manifest_state *, size_t first_retired);

#endif
