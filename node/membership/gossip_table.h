/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip table: the newest row of every node heard of, and what this node knows of it besides.
 *
 * Threading   The gossip thread.
 * Ownership   Owns ids, rows and peers, three arrays with the same index, sorted by node id. Pointers into them last until the
 *             next insert or remove.
 * Errors      A full table refuses (index -1), never grows past GOSSIP_ROWS_MAX, nor by a stranger past
 *             GOSSIP_STRANGERS_MAX of them.
 */
#ifndef KVRING_NODE_GOSSIP_TABLE_H
#define KVRING_NODE_GOSSIP_TABLE_H

#include "node/membership/gossip.h"

enum {
	GOSSIP_ROWS_MAX = RING_MEMBERS_MAX,
	GOSSIP_STRANGERS_MAX =
		1024, /* rows of nodes that are no members: anyone can make them up, and each costs every round */
};

struct gossip_peer {
	uint64_t heard_us;  /* when its newest heartbeat came; before any has, when its row was made */
	uint64_t pushed_us; /* when it was last sent the document */
	/* the detector's */
	enum ring_reachability reachability;
	enum ring_reachability told; /* before this round */
	uint64_t since_us;           /* when reachability began */
	uint64_t probed_us;          /* when it was probed first since it was heard; 0: it was not */
	uint32_t report_count;       /* members that report it, by the rows of the last round */
	bool suspected;              /* by this node */
	bool probe;                  /* in this round */
	/* what gossip sends of it */
	bool chosen;                /* for the message that is being made */
	uint64_t told_heartbeat;    /* that went by the bus last */
	uint64_t wanted_us;         /* when its row was asked for last */
	uint64_t figures_heartbeat; /* with which its row's figures came: beats that came since bring none */
	bool is_member;
	bool heard;     /* by itself, or by a heartbeat that rose: a row that another node keeps says nothing */
	bool confirmed; /* it keeps this node's start on its disk */
	uint64_t kept_boot, kept_life; /* of a member: its latest start, as this node keeps it on disk; life 0: none */
	bool forgotten;                /* no member and silent for long: not passed on, not dialled, until it speaks */
};

struct gossip_table {
	uint64_t *ids; /* of the rows: a search touches few cache lines */
	struct gossip_row *rows;
	struct gossip_peer *peers;
	uint32_t count, capacity;
};

void gossip_table_fini(struct gossip_table *);
/* -1: not there. */
int gossip_table_find(const struct gossip_table *, uint64_t node_id);
/* Index of the new row; its id must be new. When full, a member takes the place of the stranger heard of longest ago, and a
 * stranger that of a forgotten one.
 * -1: no room. */
int gossip_table_insert(struct gossip_table *, const struct gossip_row *, const struct gossip_peer *);
void gossip_table_remove(struct gossip_table *, uint32_t index);

/* Every string ends, ids and addresses are there. */
bool gossip_row_valid(const struct gossip_row *);
/* G3. */
bool gossip_row_newer(const struct gossip_row *, const struct gossip_row *than);

#endif
