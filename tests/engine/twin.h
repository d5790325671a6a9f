/* SPDX-License-Identifier: Apache-2.0 */
/* Twin: a shard on a simulated disk beside a model of what it must hold.
 *
 * The model is an array over a few hundred fixed keys, small enough to copy, so the state after every operation is
 * kept: after a crash the store must equal one of them, not older than the last that was acknowledged, nor than what the
 * shard called durable.
 *
 * A store of several shards is a twin per shard: the first one opens and closes, the others join it. (All use the same
 * keys: which partition belongs to which shard is a rule of the engine's users, not of its shards.)
 *
 * Threading   One thread.
 * Errors      Checks fail the cmocka test. twin_step returns what the engine returned.
 */
#ifndef KVRING_TESTS_ENGINE_TWIN_H
#define KVRING_TESTS_ENGINE_TWIN_H

#include "engine/engine.h"
#include "tests/sim/sim_fs.h"
#include "tests/sim/sim_random.h"

enum {
	TWIN_KEYS = 160,
	TWIN_PARTITIONS = 4,
	TWIN_JOBS = 3,
	TWIN_HELD = 4,
	TWIN_CHECKPOINTS = 32,
	TWIN_NUMBERS = 1 << 20,
	TWIN_KEY_MAX = 64
};

struct twin_value {
	bool is_present;
	uint32_t size;
	uint64_t seed; /* of its bytes */
};

struct twin_state {
	struct twin_value values[TWIN_KEYS];
};

struct twin_point {
	struct twin_state state;
	uint64_t sequence;
};

/* A snapshot, an iterator and a value kept while the twin goes on. */
struct twin_held {
	struct engine_snapshot *snapshot;
	struct twin_state state;
	struct engine_iterator *iterator;
	uint32_t at; /* the key it stands on, TWIN_KEYS: none */
	struct engine_value value;
	uint32_t value_key;
};

struct twin {
	struct twin *first, *next; /* of the twins of one store */
	uint32_t shard_index;
	struct sim_fs *disk;
	uint64_t watch;           /* the kind of file operation number `watch` ... */
	enum sim_fs_call watched; /* ... is noted here */
	uint8_t *used_numbers;    /* a bit per file number of this shard that was ever created (E5) */
	struct engine_options options;
	struct engine *engine; /* the first one's */
	struct shard *shard;
	struct engine_batch *batch;
	struct sim_random random;
	struct twin_state now;
	/* every state the store has been in; acknowledged: the last one known to be durable */
	struct twin_point *points;
	size_t point_count, point_capacity, acknowledged;
	uint64_t durable_seen; /* the most that shard_durable_sequence has said */
	/* a commit begun and not ended, and what it will make durable */
	struct engine_commit *commit;
	size_t commit_point;
	bool commit_has_run;
	/* the meta blob is durable by itself: what it is, and what it may be instead when setting it failed */
	uint64_t meta, meta_doubt;
	struct engine_job *jobs[TWIN_JOBS];
	struct twin_held held[TWIN_HELD];
	bool is_dead;              /* the shard said -EIO */
	uint32_t checkpoint_count; /* the first one's */
	size_t checkpoint_points[TWIN_CHECKPOINTS];
};

void twin_init(struct twin *, uint64_t seed);
/* Adds a shard to the store of the first one, which then opens, closes and finishes it. Before the first twin_open. */
void twin_join(struct twin *, struct twin *first, uint64_t seed);
void twin_fini(struct twin *);
/* Opens the store and checks that it holds a state that it may hold. Returns what engine_open returned. */
int twin_open(struct twin *, struct engine_error *);
/* Lets go of everything and closes. */
int twin_close(struct twin *);
/* Releases what is held, ends commits, cancels or installs jobs: of all twins of the store. */
void twin_let_go(struct twin *);
/* Something random. 0, or the first unexpected error the engine returned (the twin then knows what is in doubt). */
int twin_step(struct twin *);
/* The named operations that twin_step draws from. */
int twin_write(struct twin *);
int twin_commit(struct twin *, enum engine_sync);
int twin_split_commit(struct twin *); /* the next step of a commit in two halves */
int twin_job(struct twin *);
int twin_finish_jobs(struct twin *); /* until there is none */
int twin_drop(struct twin *);
int twin_meta(struct twin *);
int twin_checkpoint(struct twin *);
/* Compares everything: gets, iteration both ways, hash trees. */
void twin_check(struct twin *);
/* The same for a shard that must hold what this one held at that point. */
void twin_check_copy(struct twin *, struct shard *copy, size_t point);
/* Is this what shard_get must say of the key? */
bool twin_is_right(const struct twin *, uint32_t key, int rc, const struct engine_value *);
/* As twin_check, for a store with quarantined partitions: these answer -EBADMSG to everything, the others as ever. Returns how
 * many are quarantined. */
uint32_t twin_check_around(struct twin *);
/* Drops what is quarantined and writes it anew from the model, as a replica would. */
int twin_refill(struct twin *);
/* The partition of a key of the twin. */
uint16_t twin_partition(uint32_t key);
/* The files of the store are those the engine knows: nothing was left behind. Only when all jobs are done and nothing is
 * held. */
void twin_check_files(struct twin *);
struct engine_slice twin_key(uint32_t index);

#endif
