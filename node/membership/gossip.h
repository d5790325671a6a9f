/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip: who is a member and who is heard; the only writer of the ring table (van Renesse 1998, Dynamo 4.8).
 *
 * Every round the actor raises its own heartbeat and sends what is new on the bus: its own row when that has changed, and of the others
 * beats, which are heartbeats alone. Every few rounds it compares what it has with one random member by push-pull, which also joins halves that
 * share no bus link. Epoch and hash of the ring document ride in every message; the document itself is pulled on a mismatch. A member whose heartbeat does not advance is
 * published as UNREACHABLE, and as DOWN once two members report that (detector.h).
 *
 * Threading   An actor: one thread at a time.
 * Ownership   Borrows the ring table; owns rows and document.
 * Errors      A document of another cluster is refused and counted, never installed; malformed rows are ignored and
 *             counted.
 * Invariants  G1 A document is on stable storage before it is published.
 *             G2 Epochs only rise.
 *             G3 Rows are ordered by (incarnation, heartbeat); an older one never replaces a newer one.
 *             G7 A start of a member is on this node's disk before this node says so to that member.
 *             G8 This node is proven when, counting itself, a majority of the members keep its start and none of them has told it
 *             of a later one, or of the same one by another process.
 *             G10 A document replaces another only if ring_verify says that it may.
 *             G9 A node serves nobody from the first sign of a process of its id to which it would have to yield, until it is clear
 *             whether that one lives.
 */
#ifndef KVRING_NODE_GOSSIP_H
#define KVRING_NODE_GOSSIP_H

#include "node/actor/event.h"
#include "node/data_dir.h"
#include "node/membership/autoscale.h"

enum {
	GOSSIP_BUS_ROWS_MAX =
		50, /* rows (of up to 1,110 bytes) per bus message; above it some at random, or the next round */
	GOSSIP_BUS_BEATS_MAX = 200,          /* beats (of 8 to 36 bytes) per bus message; above it some at random */
	GOSSIP_PULL_BEATS_MAX = 512,         /* per push-pull; above it some at random */
	GOSSIP_WANTED_MAX = 256,             /* rows that one question asks for */
	GOSSIP_REVISION_MAX = (1 << 21) - 1, /* three bytes on the wire */
};

struct gossip;

/* What a member reports: it hears nothing of this node any more; what it heard last. Suspicion of peer.proto. */
struct suspicion {
	uint64_t node_id, incarnation, heartbeat;
};

/* What a node says of itself, or what another has heard of it. MemberRow of peer.proto. */
struct gossip_row {
	uint64_t node_id, incarnation, heartbeat;
	uint64_t boot, life; /* number of this start, 0 when it is not on disk; random, of this process */
	bool receiving;      /* its directory went back in time, and nobody has accepted that yet */
	bool unproven;       /* G8, by its own word */
	uint64_t cluster_id, epoch, ring_hash;
	struct suspicion suspicions[RING_SUSPICIONS_MAX]; /* of members, see detector.h */
	uint32_t suspicion_count;
	char name[RING_NAME_MAX];
	char client_address[RING_ADDRESS_MAX], peer_address[RING_ADDRESS_MAX], bus_address[RING_ADDRESS_MAX];
	char datacenter[RING_NAME_MAX], rack[RING_NAME_MAX];
	uint32_t weight, shard_count;
	/* another one when any field but heartbeat, epoch, ring_hash and figures changes (has_changed in gossip_send.c); 0: of a
	 * version that knows none */
	uint32_t revision;
	uint64_t ready_epoch; /* of the newest document of which it has done its part (upkeep's word) */
	uint64_t started_ms;
	struct ring_figures figures;
	char version[32];
};

/* The heartbeat of a member, without the rest of its row, which the receiver is likely to have. Beats of peer.proto. */
struct gossip_beat {
	uint32_t member; /* its place in the ring document that the message names */
	uint32_t revision;
	uint64_t incarnation, heartbeat, epochs_behind;
};

/* Payload of BUS, GOSSIP and GOSSIPED. */
struct gossip_rows {
	uint64_t from, cluster_id, epoch, ring_hash;
	struct gossip_row *rows;
	uint32_t row_count;
	struct gossip_beat *beats; /* ordered by member */
	uint32_t beat_count;
	uint64_t *wanted; /* GOSSIP: nodes whose rows are wanted in full */
	uint32_t wanted_count;
	struct rpc_slice document; /* encoded ring document, or empty */
	bool brief; /* GOSSIP: of the rows only the answering node's own is wanted, besides those of wanted */
	/* GOSSIPED: the latest start of the asker that the answering node keeps on disk; life 0: it keeps none */
	uint64_t kept_boot, kept_life;
};

struct gossip_options {
	struct gossip_row self;   /* heartbeat and load are filled in by the actor */
	const char *const *seeds; /* peer addresses to ask before there is a document; the driver dials them */
	uint32_t seed_count;
	struct data_dir *data_dir; /* where the document is kept */
	struct ring_table *ring;
	uint64_t seed;
	void (*read_figures)(void *arg, struct ring_figures *out); /* once a round; NULL: none */
	void *read_figures_arg;
	uint64_t transfer_bytes_per_s;       /* that a node takes in during a change, for estimates; default 32 MiB/s */
	struct autoscale_settings autoscale; /* all 0: off */
	uint32_t round_ms;                   /* default 200 */
	uint32_t timeout_ms; /* default 2000: a member that is silent for so long and answers no probe is unreachable */
};

/* Loads the document from the data directory: -EBADMSG, -EPERM (of another cluster than the directory) and errors of the disk, with a
 * text. */
RPC_OK int gossip_create(const struct gossip_options *, struct gossip **out, struct rpc_error *error_out);
void gossip_destroy(struct gossip **);
void gossip_step(struct gossip *, const struct event *, struct effects *out);

/* Where its questions go besides nodes: {node_id 0, ACTOR_GOSSIP, index 0} is everyone on the bus (MESSAGE_BUS), index
 * 1 + i is seed i, whose node id is not known yet (MESSAGE_GOSSIP). */

/* Relaxed counters, readable from any thread. */
struct gossip_counters {
	_Atomic uint64_t rounds, news, installs, publishes;
	_Atomic uint64_t wanted;    /* rows asked for after a beat of one that this node does not have */
	_Atomic uint64_t foreign;   /* rows, documents and questions of another cluster: refused */
	_Atomic uint64_t malformed; /* malformed rows and documents: ignored */
	/* ring documents of this node's epoch with other contents: rejected; the ring was forced somewhere */
	_Atomic uint64_t conflicts;
	_Atomic uint64_t
		refused; /* newer ring documents that may not follow this node's (ring_verify): not installed */
	_Atomic uint64_t namesakes; /* nodes heard of that have the name or peer address of a member, and another id */
	_Atomic uint64_t impostors; /* rows of this node's id that it never sent: a copied or restored directory */
	_Atomic uint64_t forgotten; /* nodes that are no members and were silent for long */
	_Atomic uint64_t went_back; /* starts of this node that others remember and its directory does not know */
	_Atomic uint64_t unkept;    /* starts of members that could not be kept on disk */
	_Atomic uint64_t displaced; /* 1: this node stopped serving for another process of its id */
	_Atomic uint64_t overflows; /* rows past RING_MEMBERS_MAX */
	_Atomic uint64_t store_errors; /* documents not installed because the disk failed */
};
const struct gossip_counters *gossip_counters(const struct gossip *);

/* The other nodes heard of. Valid until the next step. Same thread. */
uint32_t gossip_rows(const struct gossip *, const struct gossip_row **rows_out);
/* Whether the driver is to dial the node of that row: a member, or anyone while there is no cluster. What strangers say of
 * strangers must not cost connections. */
bool gossip_is_contact(const struct gossip *, uint32_t row_index);

#endif
