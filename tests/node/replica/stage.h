/* SPDX-License-Identifier: Apache-2.0 */
/* Stage: one replica over the real engine on a simulated disk. The test is the driver: it ends batches and commits. Answers
 * are written into a log, which the test compares.
 */
#ifndef KVRING_TESTS_NODE_STAGE_H
#define KVRING_TESTS_NODE_STAGE_H

#include "node/replica/replica.h"
#include "tests/node/scene.h"
#include "tests/sim/sim_fs.h"

enum { SHARDS = 2, RETRY_WINDOW_MS = 600 * 1000 };

struct stage {
	struct scene scene; /* its arena and document */
	struct sim_fs *disk;
	struct engine *engine;
	struct ring_table *ring;
	struct replica *replica;
	uint64_t now_us;
	size_t memtable_bytes;
	struct rpc_slice key, other, foreign; /* of shard 0: two keys that n1 owns; one that it does not */
	char log[4096];
	bool sync;
	struct engine_job *jobs[EFFECTS_JOBS_MAX];
	uint32_t job_count, answer_count;
	/* of the last answers */
	struct dot dot;
	struct rpc_slice object;
	uint64_t digest, correlation;
	bool receiving;
	struct message *kept; /* SCANNED or DROPPED */
};

/* A key of this shard with these owners; skip: the next ones of that kind. Of the arena of the scene. */
struct rpc_slice stage_key(struct stage *, unsigned a, unsigned b, unsigned c, unsigned skip, uint32_t shard);
/* As a start of the process: the engine recovers, the replica is new. */
void stage_open(struct stage *);
void stage_close(struct stage *);
void stage_begin(struct stage *, size_t memtable_bytes);
void stage_end(struct stage *);
void stage_step(struct stage *, struct event event);
void stage_batch_end(struct stage *);
/* The commit that the replica asked for. */
void stage_commit(struct stage *);
/* The end of a batch, and all commits that follow. */
void stage_finish_batch(struct stage *);
/* What was answered since the last time. */
#undef expect
#define expect(stage, what) stage_expect(stage, what, __FILE__, __LINE__)
void stage_expect(struct stage *, const char *what, const char *file, int line);
struct message *stage_question(struct stage *, enum message_type type);
struct rpc_slice stage_copy(struct message *message, struct rpc_slice bytes);
void stage_ask(struct stage *, struct message *message);
void stage_put_with(struct stage *, struct rpc_slice key, const char *value, uint8_t id, struct context context);
void stage_put(struct stage *, struct rpc_slice key, const char *value, uint8_t id);
void stage_store(struct stage *, struct rpc_slice key, struct rpc_slice object);
void stage_fetch(struct stage *, struct rpc_slice key, bool digest_only);
/* The object of the last answer. */
struct object stage_decoded(struct stage *);
/* An object as another node's actor put it. */
struct rpc_slice stage_made(struct stage *, unsigned node, uint64_t counter, const char *value);
void stage_run_jobs(struct stage *);

#endif
