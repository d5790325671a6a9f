/* SPDX-License-Identifier: Apache-2.0 */
/* World: a shard on a simulated disk beside a model of what it must hold.
 *
 * The model is an array over a few hundred fixed keys, small enough to copy, so the state after every operation is
 * kept: after a crash the store must equal one of them, not older than the last that was acknowledged, nor than what the
 * shard called durable.
 *
 * A store of several shards is a world per shard: the first one opens and closes, the others join it. (All use the same
 * keys: which partition belongs to which shard is a rule of the engine's users, not of its shards.)
 *
 * Threading   One thread.
 * Errors      Checks fail the cmocka test. world_step returns what the engine returned.
 */
#ifndef KVRING_TESTS_ENGINE_WORLD_H
#define KVRING_TESTS_ENGINE_WORLD_H

#include "engine/engine.h"
#include "tests/sim/sim_fs.h"
#include "tests/sim/sim_random.h"

enum {
	WORLD_KEYS = 160,
	WORLD_PARTITIONS = 4,
	WORLD_JOBS = 3,
	WORLD_HELD = 4,
	WORLD_CHECKPOINTS = 32,
	WORLD_NUMBERS = 1 << 20,
	WORLD_KEY_MAX = 64
};

struct world_value {
	bool is_present;
	uint32_t size;
	uint64_t seed; /* of its bytes */
};

struct world_state {
	struct world_value values[WORLD_KEYS];
};

struct world_point {
	struct world_state state;
	uint64_t sequence;
};

/* A snapshot, an iterator and a value kept while the world goes on. */
struct world_held {
	struct engine_snapshot *snapshot;
	struct world_state state;
	struct engine_iterator *iterator;
	uint32_t at; /* the key it stands on, WORLD_KEYS: none */
	struct engine_value value;
	uint32_t value_key;
};

struct world {
	struct world *first, *next; /* of the worlds of one store */
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
	struct world_state now;
	/* every state the store has been in; acknowledged: the last one known to be durable */
	struct world_point *points;
	size_t point_count, point_capacity, acknowledged;
	uint64_t durable_seen; /* the most that shard_durable_sequence has said */
	/* a commit begun and not ended, and what it will make durable */
	struct engine_commit *commit;
	size_t commit_point;
	bool commit_has_run;
	/* the meta blob is durable by itself: what it is, and what it may be instead when setting it failed */
	uint64_t meta, meta_doubt;
	struct engine_job *jobs[WORLD_JOBS];
	struct world_held held[WORLD_HELD];
	bool is_dead;              /* the shard said -EIO */
	uint32_t checkpoint_count; /* the first one's */
	size_t checkpoint_points[WORLD_CHECKPOINTS];
};

void world_init(struct world *, uint64_t seed);
/* Adds a shard to the store of the first one, which then opens, closes and finishes it. Before the first world_open. */
void world_join(struct world *, struct world *first, uint64_t seed);
void world_fini(struct world *);
/* Opens the store and checks that it holds a state that it may hold. Returns what engine_open returned. */
int world_open(struct world *, struct engine_error *);
/* Lets go of everything and closes. */
int world_close(struct world *);
/* Releases what is held, ends commits, cancels or installs jobs: of all worlds of the store. */
void world_let_go(struct world *);
/* Something random. 0, or the first unexpected error the engine returned (the world then knows what is in doubt). */
int world_step(struct world *);
/* The named operations that world_step draws from. */
int world_write(struct world *);
int world_commit(struct world *, enum engine_sync);
int world_split_commit(struct world *); /* the next step of a commit in two halves */
int world_job(struct world *);
int world_finish_jobs(struct world *); /* until there is none */
int world_drop(struct world *);
int world_meta(struct world *);
int world_checkpoint(struct world *);
/* Compares everything: gets, iteration both ways, hash trees. */
void world_check(struct world *);
/* The same for a shard that must hold what this one held at that point. */
void world_check_copy(struct world *, struct shard *copy, size_t point);
/* Is this what shard_get must say of the key? */
bool world_is_right(const struct world *, uint32_t key, int rc, const struct engine_value *);
/* As world_check, for a store with quarantined partitions: these answer -EBADMSG to everything, the others as ever. Returns how
 * many are quarantined. */
uint32_t world_check_around(struct world *);
/* Drops what is quarantined and writes it anew from the model, as a replica would. */
int world_refill(struct world *);
/* The partition of a key of the world. */
uint16_t world_partition(uint32_t key);
/* The files of the store are those the engine knows: nothing was left behind. Only when all jobs are done and nothing is
 * held. */
void world_check_files(struct world *);
struct engine_slice world_key(uint32_t index);

#endif
