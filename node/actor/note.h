/* SPDX-License-Identifier: Apache-2.0 */
/* Notes and contacts: what operators are told, and to which nodes this one keeps links. Effects of a step, as messages are.
 *
 * An actor leaves a note for each thing that happens, as often as it happens. The driver makes lines of the log of them, leaves
 * out what comes too often, and sends some as events on the bus (node/observe/notes.h).
 *
 * Ownership   Texts and keys live in the arena of the effects or in one of their messages: a driver tells the notes before
 *             it delivers the messages.
 */
#ifndef KVRING_NODE_NOTE_H
#define KVRING_NODE_NOTE_H

#include <stdbool.h>
#include "ring/ring.h"
#include "rpc/base.h"

enum note_kind {
	/* gossip; id and name: of the member */
	NOTE_MEMBER_UP,          /* count: incarnation */
	NOTE_MEMBER_RESTARTED,   /* count: incarnation */
	NOTE_MEMBER_UNREACHABLE, /* count: incarnation, 0 when it was never heard */
	NOTE_MEMBER_DOWN,        /* likewise; members: how many report it; text: the first of them */
	/* gossip; id: cluster, count: epoch, hash, members, partitions */
	NOTE_JOINED,
	NOTE_RING_INSTALLED,
	NOTE_REMOVED, /* count: epoch of the ring in which this node is no member any more */
	/* gossip; id: member, count: epoch, name: the change as kvctl takes it, text: why */
	NOTE_AUTOSCALE_PROPOSES,
	NOTE_AUTOSCALE_APPLIES,
	NOTE_AUTOSCALE_CANNOT,
	/* gossip; count: how often */
	NOTE_FOREIGN,
	NOTE_MALFORMED,
	NOTE_CONFLICT,
	NOTE_NAMESAKE,
	NOTE_IMPOSTOR,
	NOTE_FORGOTTEN,
	NOTE_DISPLACED,
	NOTE_WENT_BACK,
	NOTE_OVERFLOW,
	NOTE_RING_NOT_STORED,
	NOTE_RING_REFUSED, /* id, name: of who sent it; text: why */
	/* coordinator */
	NOTE_SLOW_REQUEST,  /* count: microseconds; id: trace; method: enum method */
	NOTE_OVERLOAD,      /* count: operations refused; text: why */
	NOTE_LARGE_VALUE,   /* key; count: bytes */
	NOTE_MANY_SIBLINGS, /* key; count: siblings */
	/* coordinator, replica; name: which of them */
	NOTE_CLASH, /* count: versions that stand for two writes */
	/* replica; shard */
	NOTE_STORE_FAILED, /* count: reads or writes; text: why */
	NOTE_JOB_FAILED,   /* count: flushes or merges; text: why */
	NOTE_QUARANTINED,  /* count: partitions, now; text: why */
	NOTE_LOG_FULL,     /* error: -ENOSPC or -ENOMEM; tried again */
	NOTE_LOG_FAILED,   /* error; text: why; the replica is dead */
	/* upkeep; id: epoch */
	NOTE_COPY_BEGUN,   /* partitions: still to come; members: of so many */
	NOTE_COPY_WAITS,   /* for other nodes. partitions: still to come; text: for what */
	NOTE_COPY_REFUSED, /* by the own store. Likewise */
	NOTE_COPY_DONE,    /* partitions; count: bytes */
	NOTE_DROPPED,      /* shard; count: partitions */
	NOTE_KIND_COUNT,
};

struct note {
	struct note *next; /* effects_note sets it */
	enum note_kind kind;
	uint64_t id, count, hash;
	uint32_t members, partitions;
	uint32_t method;
	uint32_t shard;
	int error;
	struct rpc_slice key;
	const char *name, *text;
};

/* A node to have a link to. */
struct contact {
	uint64_t node_id;
	bool is_member;
	bool bus; /* a link of the bus too */
	char name[RING_NAME_MAX];
	char peer_address[RING_ADDRESS_MAX], bus_address[RING_ADDRESS_MAX];
};

/* All of them; those of the bus come first, in an order that lasts as long as the links do. */
struct contacts {
	struct contact *list;
	uint32_t count, bus_count;
};

#endif
