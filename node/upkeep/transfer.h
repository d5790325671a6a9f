/* SPDX-License-Identifier: Apache-2.0 */
/* Transfer: what has to come to this node while reads still go to the old owners, from whom, and how far it is.
 *
 * A partition that the ring gives to this node is read from end to end at a majority of its old owners, of this datacenter and of all
 * together, and at all of them that are up.
 * One that is read has the new ring (replica.c: check_scan), so whatever was acknowledged before by a majority of the old owners is at
 * one of them, and all that is written afterwards comes here by itself (ALGORITHMS.md, Copy). One whose disk may have gone back in time does
 * not count, unless all old owners were read.
 *
 * Threading   Upkeep's.
 * Ownership   Borrows ring table and data directory; keeps a reference to the document.
 * Errors      -ENOMEM from transfer_begin: nothing was begun. All else is tried again.
 * Invariants  F1 A partition counts as complete only when a majority of its old owners, as of this document, was read to the end, of which
 *                none had gone back in time; or all were. That holds for those of this datacenter, and for all together.
 *             F2 left is the number of partitions that are not complete.
 */
#ifndef KVRING_NODE_UPKEEP_TRANSFER_H
#define KVRING_NODE_UPKEEP_TRANSFER_H

#include "node/upkeep/lane.h"
#include "node/upkeep/pace.h"
#include "node/upkeep/progress.h"

enum {
	TRANSFER_LANES = 4
}; /* partitions under way: enough to hide the network's and the log's time, few beside clients */

struct transfer_options {
	struct address self;
	struct ring_table *ring;
	struct data_dir *data_dir;
	uint64_t bytes_per_s;             /* 0: PACE_DEFAULT */
	bool distrusted;                  /* the store went back in time: what DIR/transfer says of it may be wrong */
	uint32_t (*read_busy)(void *arg); /* permille, of this node; NULL: never busy */
	void *read_busy_arg;
};

enum { TRANSFER_SOURCES_MAX = RING_REPLICAS_MAX * RING_DATACENTERS_MAX };

/* A set of old owners, by their place among the sources: bits. */
struct places {
	uint64_t words[TRANSFER_SOURCES_MAX / 64];
};

/* A partition that has to come. */
struct incoming {
	uint64_t again_us; /* not before */
	uint16_t partition;
	struct places scanned;  /* old owners that were read to the end */
	struct places doubtful; /* of them those whose disks may have gone back in time */
	struct places refused;  /* that failed since it was taken up last */
	bool is_complete, is_taken;
	bool is_begun; /* some of it may be here */
};

struct transfer {
	struct transfer_options options;
	const struct ring_document *document; /* NULL: nothing is under way */
	struct lane_terms terms;
	uint32_t self; /* member index */
	struct incoming *incoming;
	uint32_t count, left;
	uint32_t next;    /* where the next one is looked for */
	uint64_t look_us; /* and when, at the earliest */
	struct progress progress;
	uint64_t store_us; /* when the progress may be stored next */
	struct pace pace;
	struct lane lanes[TRANSFER_LANES];
	struct incoming *taken[TRANSFER_LANES]; /* by the lanes */
	uint32_t places[TRANSFER_LANES];        /* of their sources */
	uint64_t told_epoch;                    /* behind_notice */
	uint64_t copied_bytes;                  /* in this process, under this document */
};

void transfer_init(struct transfer *, const struct transfer_options *);
void transfer_fini(struct transfer *);
/* The ring gives reads to the old owners. self: this node's member index. */
RPC_OK int transfer_begin(struct transfer *, const struct ring_document *, uint32_t self, uint64_t now_us,
			  struct effects *);
void transfer_end(struct transfer *);
bool transfer_is_done(const struct transfer *); /* begun, and all is here */
/* SCANNED, STORED, FETCHED; consumes it. */
void transfer_take(struct transfer *, struct message *, uint64_t now_us, struct effects *);
/* At the end of a step. Returns when it wants to be called again; UINT64_MAX: never. */
uint64_t transfer_run(struct transfer *, uint64_t now_us, struct effects *);

#endif
