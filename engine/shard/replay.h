/* SPDX-License-Identifier: Apache-2.0 */
/* Replay: what the log holds beyond the tables, into memtables and hash trees, when a shard is opened.
 *
 * The segments are read in order, up to where the log ends: its last byte, a tear (what follows is not known to have been
 * synced; it is cut away), or damage to acknowledged data (what follows cannot be believed; every partition of the shard joins the
 * quarantine, the segments from there on are kept for people to look into).
 *
 * Threading   The thread that opens the shard.
 * Ownership   Borrows the shard; replayed entries are added to shard->retired and shard->tree. The logs belong to the caller.
 * Errors      -EBADMSG only for files that are not those of this shard; damage is a finding (is_damaged).
 */
#ifndef KVRING_ENGINE_SHARD_REPLAY_H
#define KVRING_ENGINE_SHARD_REPLAY_H

#include "engine/shard/shard.h"

struct replay_log {
	uint64_t number;
	bool is_unused; /* nothing was ever written to it */
	bool is_aside;  /* damaged, kept under another name */
};

struct replay {
	struct shard *shard;
	struct replay_log *logs; /* in the order of their numbers */
	size_t log_count;
	struct engine_error *error_out;
	uint64_t drop_id;      /* drops applied to the trees so far */
	bool is_torn;          /* the log ended before its last byte: what follows is not known to have been synced */
	uint64_t torn_log;     /* the segment in which it ended ... */
	uint64_t torn_at;      /* ... and where; 0: nothing of it counts */
	uint64_t durable_seen; /* behind the tear */
	bool is_damaged;       /* acknowledged data is missing: see found */
	struct engine_error found;
};

/* Fills the shard's retired memtables, trees and sequence, and the quarantine of its state: not durable yet. */
ENGINE_OK int replay_all(struct replay *);
/* The last sequence that is known to have been synced, by what the log itself and an orderly close say. */
uint64_t replay_acknowledged(const struct replay *);
/* Cuts the log where it was torn, so that it does not look damaged once more is written behind it. */
ENGINE_OK int replay_cut_tear(struct replay *);
/* Renames the segments from the damage on to *.damaged, which means nothing to a store. Only when the quarantine is durable:
 * without them the log would look like one that ends there. */
ENGINE_OK int replay_set_aside(struct replay *);

#endif
