/* SPDX-License-Identifier: Apache-2.0 */
/* Net: gossip actors wired together by a small network in virtual time. Messages are late, lost, or cut off by a
 * partition.
 *
 * A test opens one net, which the functions below find in `net`, lets time pass (run_for, ROUNDS_UNTIL), and looks at
 * a node through its ring view (look, sees) or its rows (row_at). Node i has the id id_of(i); node 0 is the seed.
 */
#ifndef KVRING_TESTS_NODE_MEMBERSHIP_NET_H
#define KVRING_TESTS_NODE_MEMBERSHIP_NET_H

#include "node/membership/gossip.h"
#include "node/membership/gossip_table.h"
#include "proto/kv.pb-c.h"
#include "tests/node/support.h"
#include "tests/sim/sim_fs.h"

enum { NODES_MAX = 1024, ROUND_US = 200 * 1000, TIMEOUT_US = 2000 * 1000, CHANGES_MAX = 256, EPOCHS_MAX = 256 };

struct net_node {
	struct data_dir *data_dir;
	struct ring_table *ring;
	struct gossip *gossip;
	uint64_t timer_us;
	uint64_t paused_until_us;
	uint32_t side; /* of a partition */
	bool alive;
	uint32_t notes[NOTE_KIND_COUNT]; /* how many it left of each kind */
	uint64_t last_note_id;
	char last_change[80], last_why[400]; /* of autoscale */
	uint32_t rings_told;                 /* to upkeep */
	uint64_t bus[16];                    /* its bus links, as told last */
	uint32_t bus_count, contact_count, contact_effects;
	bool never_ready; /* net.auto_ready leaves it out */
};

/* What an operator asked for, and the answer. */
struct change {
	bool answered;
	uint32_t code;
	uint64_t epoch;
	char text[400];
	/* of a plan */
	uint64_t parent_hash, plan_hash, bytes, estimated_ms;
	uint32_t moves, minimum_moves, violation_count, link_count, member_count;
};

/* A message on its way, or a timer. */
struct flight {
	uint64_t due_us, number;
	uint32_t to;
	struct message *message; /* NULL: the timer of that node, unless it was set anew since */
};

enum sent_kind {
	SENT_BUS,
	SENT_PULLS,   /* push-pull, and documents */
	SENT_BRIEF,   /* probes, and questions for rows */
	SENT_ANSWERS, /* to all of these */
	SENT_KIND_COUNT,
};

/* Bytes. rows: and all else that is no beat. */
struct sent {
	uint64_t rows, beats;
};

struct net {
	struct sim_fs *disk;
	struct prng prng;
	uint64_t now_us;
	uint32_t node_count, loss_percent;
	uint32_t severed[2]; /* these two nodes alone do not reach each other; equal: none */
	bool without_seeds, without_bus;
	struct net_node nodes[NODES_MAX];
	struct flight *flights; /* a heap: the next one first */
	uint32_t flight_count, flight_room;
	uint64_t flight_number;
	bool busy;                                                    /* nodes have new figures each round */
	uint32_t dead_shards;                                         /* of each node */
	uint64_t disk_bytes;                                          /* likewise */
	void (*amend_figures)(uint32_t index, struct ring_figures *); /* of a node, at last; NULL: nothing */
	bool weigh;                                                   /* messages, into sent */
	struct sent sent[SENT_KIND_COUNT];
	struct message *inited;             /* the last answer to INIT_CLUSTER or SET_RACK */
	struct message *planned;            /* the last answer to PLAN_CHANGE or COMMIT_CHANGE with a plan */
	struct change changes[CHANGES_MAX]; /* asked for by set_rack, ask_change, abort_change */
	uint32_t change_count;
	bool auto_ready; /* some time after a node installed a ring document its upkeep says that it has done its part */
	bool one_ring;   /* of each epoch all nodes install the same document, or the test fails */
	uint64_t ring_of_epoch[EPOCHS_MAX];
	uint64_t transcript; /* hash of what was delivered, when */
	uint64_t watched_id; /* how often its row was sent */
	uint32_t watched_rows;
};

extern struct net *net;
extern bool without_seeds;                                     /* open_net gives its nodes no seed */
extern struct autoscale_settings autoscale;                    /* of the nodes */
extern void (*amend_row)(uint32_t index, struct gossip_row *); /* fill_row ends with it; NULL: nothing */

uint64_t id_of(uint32_t index);
uint32_t index_of(uint64_t id); /* NODES_MAX: no node has it */

/* ---- the network ---- */

void step(uint32_t index, enum event_type type, struct message *message);
/* The next thing that happens, not after until_us. False: nothing was left, and the time is until_us. */
bool advance(uint64_t until_us);
void run_for(uint64_t us);
/* Nodes below the boundary and the others do not reach each other; with the count of nodes all reach all. */
void set_sides(uint32_t boundary);

/* ---- nodes ---- */

void fill_row(uint32_t index, struct gossip_row *row);
void open_home(uint32_t index);
void start_node(uint32_t index);
void stop_node(uint32_t index);
void open_net(uint32_t node_count, uint64_t seed);
void open_cluster(uint32_t node_count, uint64_t seed); /* and makes a cluster of all its nodes */
void close_net(void);

/* ---- asking and looking ---- */

void fill_members(struct ring_member *members, uint32_t first, uint32_t count);
/* Both return the code of the answer; the answer itself is net->inited. */
uint32_t init_with(uint32_t node, const struct ring_member *members, uint32_t count);
uint32_t init_cluster(uint32_t node, uint32_t first, uint32_t count);

/* An operator asks the node for the rack of a member; the answer will be that change of the net. */
struct change *set_rack(uint32_t node, const char *member, const char *rack, uint64_t timeout_us);

/* Likewise for a change of the members, PLAN_CHANGE or COMMIT_CHANGE. planned: whose hashes are sent; NULL: none. */
struct change *ask_change(uint32_t node, enum message_type, const struct member_change *, uint32_t count,
			  const struct change *planned, bool allow_violations, uint64_t timeout_us);
struct change *abort_change(uint32_t node, uint64_t epoch, uint64_t timeout_us);
struct change *force_ring(uint32_t node, const char *const *lost, uint32_t count, uint64_t ring_hash);
/* Upkeep of the node has done its part under the ring that it has. */
void say_ready(uint32_t node);

/* Node `to` hears these rows at once, from the node of the first row. */
void tell(uint32_t to, struct gossip_row *rows, uint32_t count);
const struct gossip_row *row_at(uint32_t node, uint64_t id); /* NULL: `node` knows no such row */

struct glance {
	uint64_t cluster_id, epoch, hash;
	uint32_t up, unreachable, down;
	int self;
};

struct glance look(uint32_t node);
enum ring_reachability sees(uint32_t node, uint32_t other);
bool all_have_epoch(uint64_t epoch);
bool all_see(uint32_t other, enum ring_reachability reachability);

/* Rounds until the condition holds; fails after max. */
#define ROUNDS_UNTIL(condition, max)                                                                                   \
	({                                                                                                             \
		uint32_t rounds_ = 0;                                                                                  \
		while (!(condition)) {                                                                                 \
			if (++rounds_ > (max))                                                                         \
				fail_msg("not within %d rounds: %s", (max), #condition);                               \
			run_for(ROUND_US);                                                                             \
		}                                                                                                      \
		rounds_;                                                                                               \
	})

/* ---- documents ---- */

/* Of the first nodes, in dc1 with N = 3. previous NULL: the first one. */
struct ring_document *claim_document(const struct ring_document *previous, uint32_t member_count, uint64_t cluster_id,
				     uint32_t partition_count);
/* With 64 partitions. */
struct ring_document *next_document(const struct ring_document *previous, uint32_t member_count, uint64_t cluster_id);
/* Node `to` gets it by gossip at once; offer: from a node that nobody knows. */
void offer_from(uint64_t from, uint32_t to, const struct ring_document *document, uint64_t cluster_id);
void offer(uint32_t to, const struct ring_document *document, uint64_t cluster_id);

/* Set-up and tear-down of a group of tests: its thread is a reader of rings. */
int set_up(void **state);
int tear_down(void **state);

#endif
