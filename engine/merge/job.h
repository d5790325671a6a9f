/* SPDX-License-Identifier: Apache-2.0 */
/* Job: a flush or a compaction, between shard_maintain and shard_install; or a scrub, which reads and writes nothing; or a
 * sweep, which deletes the files that the store no longer uses (trash.h).
 *
 * Reads immutable inputs (memtables that are no longer written, tables), writes new tables and, for a flush, the saved
 * hash trees. Everything written is synced, names too, before job_run returns.
 *
 * Threading   Made and installed by the owner; in between job_run has it to itself. File numbers are drawn from an
 *             atomic counter shared with the owner.
 * Ownership   Holds references to its inputs. Outputs are the job's until the owner takes them; job_destroy removes the
 *             files of those that were not taken.
 * Errors      In job->error, described in job->text. The inputs are untouched.
 */
#ifndef KVRING_ENGINE_JOB_H
#define KVRING_ENGINE_JOB_H

#include "engine/disk/buffer.h"
#include "engine/partition/hashtree.h"
#include "engine/memory/memtable.h"
#include "engine/table/sst_writer.h"
#include "engine/state/tables.h"

enum job_kind { JOB_FLUSH, JOB_COMPACTION, JOB_SCRUB, JOB_SWEEP };

enum { JOB_SCRUB_BYTES = 4 * 1024 * 1024 }; /* read by one scrub, uncompressed */

struct engine_job {
	enum job_kind kind;
	struct shard *shard;
	/* how to write */
	struct files files;
	struct cache *cache;
	struct sst_options sst_options;
	uint64_t table_bytes;
	_Atomic uint64_t *next_number;
	/* what to read */
	struct memtable **memtables; /* newest first */
	size_t memtable_count;
	struct tables *tables;
	size_t first_run, run_count; /* of tables */
	/* the destination */
	uint32_t level;
	uint64_t run;
	uint64_t drop_id;     /* drops that the outputs have behind them */
	bool removes_deletes; /* nothing older lies below */
	bool may_move;        /* tables that overlap no other input need no rewriting */
	/* flush */
	bool has_tree;
	struct buffer tree;
	struct manifest_tree saved_tree;
	uint64_t log_floor, flushed_sequence;
	/* scrub */
	struct sst *scrubbed; /* of tables */
	uint32_t next_block;  /* where to begin; then where to go on */
	/* results */
	struct sst **outputs;
	size_t output_count;
	struct sst **moved; /* of tables: inputs that stay as they are */
	size_t moved_count;
	uint64_t bytes_read, bytes_written;
	bool has_run;
	int error;
	struct engine_error text;
};

void job_run(struct engine_job *);
/* Saved tree of this number, verified. */
ENGINE_OK int job_read_tree(const struct files *, const struct manifest_tree *, struct hashtree *out,
			    struct engine_error *error_out);
bool job_has_moved(const struct engine_job *, const struct sst *);
void job_destroy(struct engine_job **);

#endif
