/* SPDX-License-Identifier: Apache-2.0 */
/* Failure detector: which members this node suspects, and which are down because two members say so.
 *
 * A member whose heartbeat has not risen for a timeout, by any way that gossip takes, and that has not answered this
 * node's own probe either, is suspected: UNREACHABLE. Suspicions ride in this node's row, each with the newest heartbeat
 * that this node has of the member. A member is DOWN while at least two members report it: a pure function of the rows,
 * so nodes with the same rows agree. A suspicion lapses by itself: it does not count where a newer heartbeat of the suspected
 * member is known, nor where the reporter itself is not heard. So a live member refutes what is said of it by its next
 * heartbeat (SWIM 2002, 4.2, needs a new incarnation for that), and a node that is cut off from all others has one
 * reporter, itself, and sees nobody DOWN.
 *
 * A node that stood still judges nobody until it has heard the news, and one whose rounds come late judges slowly: its own
 * slowness says nothing about others (Lifeguard 2017, 3.1).
 *
 * Threading   The gossip thread.
 * Ownership   None: works on the table and the row that it is given.
 * Errors      None.
 * Invariants  D1 No member is DOWN without DETECTOR_REPORTERS distinct reporters other than itself.
 *             D2 No member is suspected without a probe of this node's own that had time to be answered.
 *             D3 strain <= DETECTOR_STRAIN_MAX.
 */
#ifndef KVRING_NODE_DETECTOR_H
#define KVRING_NODE_DETECTOR_H

#include "node/membership/gossip_table.h"

enum {
	DETECTOR_REPORTERS = 2,  /* members that have to report one before it is down */
	DETECTOR_PROBES_MAX = 8, /* members probed in a round: bounds what a large failure costs the living */
	DETECTOR_STRAIN_MAX = 8, /* at which the timeout is three times what is configured */
};

struct detector {
	uint64_t round_us, timeout_us; /* configured */
	uint64_t last_round_us, blind_until_us;
	uint32_t strain;     /* how late this node's own rounds have come lately */
	uint32_t next_probe; /* where in the table the next round's probes begin */
};

void detector_init(struct detector *, uint64_t round_us, uint64_t timeout_us);
void detector_start(struct detector *, struct gossip_table *, uint64_t now_us);
/* A newer heartbeat has come: whatever was suspected is over. */
void detector_heard(struct gossip_peer *, uint64_t now_us);
/* Once a round. Sets reachability of the peers and the suspicions of the own row; marks whom to probe. */
void detector_round(struct detector *, struct gossip_table *, struct gossip_row *self, uint64_t now_us);
/* Whether this member's row says validly that the member of rows[index] is not heard. reporter: a row of the table, or the own. */
bool detector_reports(const struct gossip_row *reporter, const struct gossip_row *suspect);

#endif
