/* SPDX-License-Identifier: Apache-2.0 */
/* Town: a few nodes with upkeep and replicas, each over the real engine on a simulated disk, and a network in virtual time that carries
 * bytes. The test is their gossip and their clients: it hands out ring documents, says who is up, and stores objects.
 *
 * Node i has the number i, from 1, and the id 100 + i. One town at a time: `town`.
 *
 * Errors      What a test cannot go on with fails it.
 */
#ifndef KVRING_TESTS_NODE_UPKEEP_TOWN_H
#define KVRING_TESTS_NODE_UPKEEP_TOWN_H

#include "node/object/key.h"
#include "node/object/limit.h"
#include "node/object/object.h"
#include "node/replica/replica.h"
#include "node/upkeep/upkeep.h"
#include "tests/node/support.h"
#include "tests/sim/sim_fs.h"

enum { TOWN_NODES = 6, TOWN_SHARDS = 2, TOWN_PARTITIONS = 16, SECOND_US = 1000 * 1000 };

struct house {
	unsigned number;
	struct sim_fs *disk;
	struct data_dir *data_dir;
	struct engine *engine;
	struct ring_table *ring;
	struct replica *replicas[TOWN_SHARDS];
	struct upkeep *upkeep;
	struct ring_document *document; /* that it has adopted */
	bool alive, cut;                /* cut: no packet comes or goes */
	bool unproven;
	uint32_t load_permille;
	uint64_t timer_us[TOWN_SHARDS + 1]; /* of the replicas, of upkeep */
	bool syncing[TOWN_SHARDS];
	uint32_t boot;
	/* what upkeep left */
	uint64_t ready_epoch, ready_hash;
	uint32_t ready_count, notes[NOTE_KIND_COUNT];
	uint64_t upkeep_steps, upkeep_messages; /* that it was stepped; that it sent */
	/* what came to it from other nodes */
	uint64_t scans, fetches, scanned_bytes;
};

struct flight;

struct town {
	uint64_t now_us, now_ms;
	struct prng prng;
	struct house houses[TOWN_NODES + 1]; /* by number; 0 is none */
	struct flight *flights;              /* by time */
	uint64_t flight_number;
	uint64_t rate;              /* of upkeep; 0: default */
	unsigned far;               /* nodes from this number on are in dc2; 0: none */
	uint32_t stored, refused;   /* answers to the test's own stores */
	enum replica_status status; /* of the last one */
	struct arena *arena;        /* for what the test makes; lives as long as the town */
	struct message *answer;     /* to the test's last scan or drop */
	/* before each message is delivered to a node; false: it is lost */
	bool (*watch)(struct house *to, const struct message *);
};

extern struct town *town;

uint64_t id_of(unsigned number);
struct house *house(unsigned number);

/* ---- life ---- */

void town_begin(void);
void town_end(void);
void house_open(unsigned number);
/* In good order. */
void house_stop(unsigned number);
void house_crash(unsigned number); /* the power fails: what was not synced is gone */
void house_start(unsigned number); /* again, with the ring that it had */

/* ---- the ring ---- */

/* Stable, of these numbers (0 ends the list), with so many replicas; previous NULL: the first one. */
struct ring_document *town_claim(const struct ring_document *previous, uint32_t replicas, const unsigned *members);
/* The change from one to the other, reading the old owners. */
struct ring_document *town_change(const struct ring_document *stable, const struct ring_document *target);
struct ring_document *town_next(const struct ring_document *);
/* The node has it from now on, if it is alive. */
void town_adopt(unsigned number, const struct ring_document *);
/* All that are members. */
void town_adopt_all(const struct ring_document *);
/* Everybody hears who is up and has which ring. */
void town_gossip(void);

/* ---- time ---- */

bool town_advance(uint64_t until_us);
void town_run(uint64_t us);
/* Until the condition holds. */
#define town_until(condition, seconds)                                                                                 \
	do {                                                                                                           \
		uint64_t until_us_ = town->now_us + (uint64_t)((seconds)*SECOND_US);                                   \
		while (!(condition) && town_advance(until_us_))                                                        \
			;                                                                                              \
		if (!(condition))                                                                                      \
			fail_msg("not within %g s: %s", (double)(seconds), #condition);                                \
	} while (0)

/* ---- data ---- */

/* The number-th key of that partition. Of the town's arena. */
struct rpc_slice town_key(uint16_t partition, unsigned number);
/* old (size 0: none) with one more value by that node's actor, over all that old has or beside it; value of size 0: a deletion. */
struct rpc_slice town_object(struct rpc_slice old, bool over, unsigned node, uint64_t counter, struct rpc_slice value);
struct rpc_slice town_merge(struct rpc_slice a, struct rpc_slice b);
struct rpc_slice town_value(size_t size, uint64_t seed);
/* Into that node's replica, durable when it returns. */
void town_store(unsigned number, struct rpc_slice key, struct rpc_slice object);
/* Its memtables become tables. */
void town_flush(unsigned number);
/* What the node holds; size 0: nothing. */
struct rpc_slice town_read(unsigned number, struct rpc_slice key);
bool town_same(struct rpc_slice a, struct rpc_slice b);
uint64_t town_root(unsigned number, uint16_t partition);
/* Does the node own it under this document; did it before the change that it describes? */
bool town_owns(const struct ring_document *, unsigned number, uint16_t partition);
bool town_owned(const struct ring_document *, unsigned number, uint16_t partition);

#endif
