/* SPDX-License-Identifier: Apache-2.0 */
/* Scene: one coordinator, and everybody it talks to played by the test.
 *
 * Five nodes n1..n5, N = 3; the key of a scene is owned by n1, n2, n3, in this order. The test gives events, and
 * `expect` compares what the coordinator sent since, one line for all: "store n2, store n3" or "client: done 2/2". Each
 * step has an arena of its own and each answer too, so that a use after free is one that the address sanitizer sees.
 */
#ifndef KVRING_TESTS_NODE_SCENE_H
#define KVRING_TESTS_NODE_SCENE_H

#include <stdlib.h>
#include "node/coordinator/operation.h"
#include "tests/node/support.h"

enum { SCENE_NODES = 5, SCENE_QUESTIONS = 256, SCENE_SHARDS = 4 };
#define SCENE_UNCOUNTED UINT32_MAX /* the client does not count its attempts */

struct scene {
	struct ring_document *document, *target; /* target: of a change that has not begun */
	struct ring_table *ring;
	struct coordinator *coordinator;
	unsigned self; /* n1 is 1 */
	uint64_t now_us, now_ms, timer_us;
	char key[32];
	char log[4096]; /* what was sent since the last expect */
	struct message *questions[SCENE_QUESTIONS];
	bool answered[SCENE_QUESTIONS];
	unsigned question_count;
	bool closed[SCENE_NODES + 1]; /* no connection to this node; by number */
	size_t memory;                /* bytes that a step may take for what it sends; 0: no limit */
	uint32_t forwarded_acks;      /* what the next scene_forwarded that is not DONE counts */
	uint64_t forwarded_epoch;     /* of the ring of whoever answers a forward; 0: this node's */
	/* of the last result */
	char text[512];
	uint32_t code;
	uint8_t context_bytes[LIMIT_CONTEXT_SIZE];
	struct rpc_slice context;
	struct arena *arena; /* for what the test makes */
};

void scene_begin(struct scene *, unsigned self);
/* A ring that changes from the nodes `before` to those `after`, each like "123", N = 3; the key's owners are all of them, in
 * order. It stands at STABLE, before; each scene_next is the next step. */
void scene_begin_change(struct scene *, unsigned self, const char *before, const char *after);
void scene_next(struct scene *);
/* The same with a second datacenter, dc2, of the nodes `far`. */
void scene_begin_datacenters(struct scene *, unsigned self, const char *before, const char *after, const char *far);
void scene_end(struct scene *); /* destroys what is in flight */
uint64_t scene_node(unsigned number);
/* The engine's key for the scene's, to which its contexts are bound. In the scene's arena. */
struct rpc_slice scene_engine_key(struct scene *);
/* A key that these nodes own, in this order. */
void scene_find_key(const struct ring_document *, const unsigned owners[3], char *key_out, size_t size);
struct ring_document *scene_document(void);
/* previous NULL: epoch 1. Of the nodes named by digits, those of `far` in dc2; members of previous that are not among them
 * are leaving. */
struct ring_document *scene_claim(const struct ring_document *previous, const char *nodes, const char *far);
void scene_set_reachable(struct scene *, unsigned node, bool reachable);

/* ---- events ---- */

struct ask {
	const char *value;
	uint32_t quorum;
	uint32_t level;
	struct rpc_slice context;
	uint64_t deadline_us; /* from now; 0: 5 s */
	uint8_t id;           /* of the operation */
	bool tombstone;
	uint32_t attempt; /* 0: the first; SCENE_UNCOUNTED */
	const char *key;  /* NULL: the scene's */
	uint64_t epoch;   /* of a forward */
};

#define scene_put(scene, ...) scene_client(scene, OPERATION_PUT, (struct ask){__VA_ARGS__})
#define scene_get(scene, ...) scene_client(scene, OPERATION_GET, (struct ask){__VA_ARGS__})
void scene_client(struct scene *, enum operation_kind, struct ask);
void scene_batch(struct scene *, const struct client_operation *, uint32_t count);
void scene_forward_in(struct scene *, struct ask); /* from n5 */
void scene_tick(struct scene *, uint64_t us);      /* passes time; the timer fires when due */

/* Answers the newest open question of that kind to that node, or, when there is none, the last one once more. */
void scene_coordinated(struct scene *, unsigned node, enum replica_status);
/* OK, but the operation is no longer live there. */
void scene_superseded(struct scene *, unsigned node);
void scene_stored(struct scene *, unsigned node, enum replica_status);
/* The object, or its digest when that was asked. Size 0: absent. */
void scene_fetched(struct scene *, unsigned node, struct rpc_slice object);
/* The same of an owner whose disk may have gone back in time. */
void scene_fetched_receiving(struct scene *, unsigned node, struct rpc_slice object);
void scene_fetch_failed(struct scene *, unsigned node, enum replica_status);
void scene_forwarded(struct scene *, unsigned node, enum outcome, uint32_t code, const char *text);
/* A message as it is. */
void scene_message(struct scene *, struct message *);
struct message *scene_question(struct scene *, enum message_type, unsigned node);
/* All questions so far: nothing answers them any more. */
void scene_forget(struct scene *);

/* ---- what came of it ---- */

void scene_expect(struct scene *, const char *file, int line, const char *log);
#define expect(scene, log) scene_expect(scene, __FILE__, __LINE__, log)
void scene_expect_text(struct scene *, const char *part); /* in the last result's message */
uint32_t scene_in_flight(const struct scene *);

/* ---- objects ---- */

/* old (size 0: none) with one more value, put by node's actor; context covers what old holds when `over`, nothing
 * otherwise. */
struct rpc_slice scene_object(struct scene *, struct rpc_slice old, bool over, unsigned node, uint64_t counter,
			      const char *value);
struct rpc_slice scene_merge(struct scene *, struct rpc_slice a, struct rpc_slice b);
bool scene_same(struct scene *, struct rpc_slice a, struct rpc_slice b);
bool scene_context_covers(struct scene *, unsigned node, uint64_t counter);

#endif
