/* SPDX-License-Identifier: Apache-2.0 */
/* Watch: what the drivers tell operators: lines of the log, and events on the bus for tools that listen (event.proto).
 *
 * Actors are pure; they leave counters and published views. The threads that drive them look at those after a batch and
 * tell what has changed. What may come often is told at most once per interval from each thread, with how much was left
 * out.
 *
 *     watch           of every worker: requests and the disk
 *     watch_cluster   of the gossip worker: ring, members, links
 *
 * Threading   Each struct: its worker's thread.
 * Ownership   watch_cluster owns what it remembers; everything else is borrowed for the call.
 * Errors      None: out of memory, something is not told now.
 */
#ifndef KVRING_NODE_WATCH_H
#define KVRING_NODE_WATCH_H

#include "node/membership/gossip.h"
#include "node/observe/log.h"

struct runtime;
struct worker;

/* ---- requests and the disk (watch.c) ------------------------------------------------------------------------ */

struct watch {
	struct log_limit slow, overload, large_value, many_siblings, store, jobs, log, clash;
	uint64_t store_errors, job_errors, clashes; /* of the replica's counters: how many are told or counted */
	uint32_t quarantined;                       /* partitions, as last told */
};

/* A request of a client, decoded: values that are large. */
void watch_request(struct worker *, const struct message *request);
/* Its answer, before it leaves: slow, many siblings, refused for want of a resource. */
void watch_answer(struct worker *, const struct message *done);
/* After a batch of a replica: what its store could not do. */
void watch_store(struct worker *);
/* After a batch of a replica or a coordinator: dots that were used twice. */
void watch_clashes(struct worker *, uint64_t clashes);
/* Partitions whose data is damaged: once at start, and whenever their number changes. */
void watch_quarantine(struct worker *, uint32_t quarantined);
/* The shard's log could not be written or synced; without space or memory it is tried again. */
void watch_log_failed(struct worker *, int error);

/* ---- ring, members, links (watch_cluster.c) ----------------------------------------------------------------- */

enum { WATCH_TOLD_COUNT = 9 };

struct watch_member {
	uint64_t id, incarnation; /* 0: not heard of since the start */
	char name[RING_NAME_MAX];
	enum ring_reachability reachability;
	bool link_told; /* connected, as the log has it */
	struct log_limit link;
};

struct watch_cluster {
	uint64_t publishes, cluster_id, epoch;
	struct watch_member *members; /* in the order of the document */
	uint32_t member_count;
	struct {
		uint64_t count;
		struct log_limit limit;
	} told[WATCH_TOLD_COUNT]; /* counters of gossip and of inbound, see watch_cluster.c */
};

/* cluster_id: of the data directory at start, 0 for none. */
void watch_cluster_init(struct watch_cluster *, uint64_t cluster_id);
void watch_cluster_fini(struct watch_cluster *);
/* After each batch of gossip. */
void watch_cluster_batch(struct runtime *);
/* Before each round of gossip. */
void watch_cluster_round(struct runtime *, uint64_t now_us);

#endif
