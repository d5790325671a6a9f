/* SPDX-License-Identifier: Apache-2.0 */
/* Evidence: what a coordinator knows of other nodes by its own calls.
 *
 * It counts before gossip: a node may be heard on the bus while its peer port is dead, and the other way round.
 * A node that left a call without an answer is asked last until it answers one, or for EVIDENCE_SUSPECT_US; one that has
 * just answered is up, whatever gossip says.
 *
 * Threading   The coordinator's.
 * Ownership   Owns its row of peers.
 * Errors      None: out of memory, gossip alone counts.
 */
#ifndef KVRING_NODE_COORDINATOR_EVIDENCE_H
#define KVRING_NODE_COORDINATOR_EVIDENCE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	EVIDENCE_SUSPECT_US = 30 * 1000 * 1000, /* then one call is risked on it again */
	EVIDENCE_FRESH_US =
		2 * 1000 * 1000, /* an answer says so long that a node is up, as long as gossip takes to doubt it */
};

struct evidence_peer {
	uint64_t node_id;
	uint64_t answered_us, silent_us; /* the last time it answered, and left without an answer; 0: never */
};

struct evidence {
	struct evidence_peer *peers; /* by member index */
	uint32_t capacity;
};

void evidence_fini(struct evidence *);
void evidence_answered(struct evidence *, uint32_t member_index, uint64_t node_id, uint64_t now_us);
void evidence_silent(struct evidence *, uint32_t member_index, uint64_t node_id, uint64_t now_us);
bool evidence_is_suspect(const struct evidence *, uint32_t member_index, uint64_t node_id, uint64_t now_us);
/* It answered just now, and no call after that was left without an answer. */
bool evidence_is_up(const struct evidence *, uint32_t member_index, uint64_t node_id, uint64_t now_us);

#endif
