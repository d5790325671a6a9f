/* SPDX-License-Identifier: Apache-2.0 */
/* Lane: one partition on its way from one source into this node's own replica.
 *
 *     looking    the own replica is asked for the root of its hash tree
 *     waiting    the next piece may be asked for, when the pace allows it
 *     scanning   the source is asked for a piece: whole objects, or digests
 *     working    the piece is stored, some entries at a time. Of digests, what differs from the own ones is fetched from the source first
 *     resting    something failed here: the piece is asked for again later
 *
 * Threading   Upkeep's.
 * Ownership   Owns the piece.
 * Errors      Outcomes; what a message cannot be made for, for want of memory, fails like what the node's store refused.
 * Invariants  L1 A piece is behind the cursor only when each of its entries is durable in the own replica, or was found there durable.
 *             L2 One answer moves an entry by one step; answers to questions of an earlier piece move nothing.
 */
#ifndef KVRING_NODE_UPKEEP_LANE_H
#define KVRING_NODE_UPKEEP_LANE_H

#include "engine/engine.h"
#include "node/actor/event.h"
#include "node/object/limit.h"

enum {
	LANE_ENTRIES =
		64, /* under way at once: a client's question waits behind so many in the replica's mailbox, below a ms */
};

enum lane_state { LANE_IDLE, LANE_LOOKING, LANE_WAITING, LANE_SCANNING, LANE_WORKING, LANE_RESTING };

enum lane_outcome {
	LANE_GOES_ON,
	LANE_HAS_ROOT,      /* looked; it waits */
	LANE_AT_END,        /* the source has nothing more */
	LANE_SOURCE_FAILED, /* status says how */
	LANE_HERE_FAILED,   /* likewise, of the own replica */
};

/* Of all lanes. */
struct lane_terms {
	struct address self;
	uint64_t epoch;
};

struct lane {
	enum lane_state state;
	uint32_t number; /* among the lanes */
	uint32_t serial; /* of what is under way; never used twice */
	uint16_t partition;
	uint64_t source; /* node id */
	bool digest_only;
	bool receiving;    /* the source said that its disk may have gone back in time */
	uint64_t root;     /* of the own tree, when it looked last */
	uint64_t until_us; /* rests, or gives up waiting for answers */
	enum replica_status status;
	uint64_t arrived,
		copied; /* bytes since the caller took them: of answers, as pace.h counts; of what is stored of them */
	/* the cursor */
	size_t after_size;
	uint8_t after[ENGINE_KEY_MAX];
	/* the piece */
	struct message *piece;             /* SCANNED; NULL: none */
	uint32_t next;                     /* entry that is begun next */
	uint32_t open;                     /* entries under way */
	uint64_t flying;                   /* bytes of their objects */
	enum lane_outcome trouble;         /* the first that came up in this piece; LANE_GOES_ON: none */
	uint8_t marks[LIMIT_SCAN_ENTRIES]; /* of the entries */
};

/* At the start of the partition. */
void lane_look(struct lane *, const struct lane_terms *, uint16_t partition, uint64_t source, uint64_t now_us,
	       struct effects *);
/* The next piece. */
void lane_scan(struct lane *, const struct lane_terms *, uint64_t now_us, struct effects *);
/* An answer to a question of this lane; consumes it. */
enum lane_outcome lane_take(struct lane *, const struct lane_terms *, struct message *, uint64_t now_us,
			    struct effects *);
/* The piece is given up, and asked for again from then on: by digests, as some of it may be here. */
void lane_rest(struct lane *, uint64_t until_us);
void lane_end(struct lane *);
/* The number of the lane that asked. */
uint32_t lane_of(const struct message *answer);

#endif
