/* SPDX-License-Identifier: Apache-2.0 */
/* Autoscale: what one change of the members would do good, from what they say of load and disk; mostly none.
 *
 *     JOIN      more than half of a datacenter's active members are above the high mark: a member on standby becomes active
 *     REWEIGHT  one is above it, and half as much again above the middle one: it gets a tenth less, down to half of what it was
 *               started with
 *     DRAIN     more than half would be below the low mark, and none above the high one, without the idlest: that goes on standby
 *
 * Calm comes from five rules: figures are smoothed; a condition has to last without a break (JOIN for hold_us, the others for rest_us if that is longer); after each new ring, whoever wanted it,
 * nothing happens for rest_us; DRAIN counts what the others would get, so that at the same total load it never undoes a JOIN; and a
 * weight is never raised, so that who makes up low figures draws no data to itself. One member's figures alone bring neither JOIN nor
 * DRAIN: more than half have to agree.
 *
 * Threading   A pure function over its own history.
 * Ownership   Owns the history; borrows everything else for the call.
 * Errors      Without memory, or while a member is away, nothing is decided.
 * Invariants  A1 No decision leaves a datacenter fewer active members than its N, nor than active_min.
 *             A2 None while a transition is under way, a member is leaving, or any member is not sound.
 */
#ifndef KVRING_NODE_AUTOSCALE_H
#define KVRING_NODE_AUTOSCALE_H

#include "node/membership/bodies.h"

/* As the setting's words are ordered (node/kvnode/setting.c). */
enum autoscale_mode { AUTOSCALE_OFF, AUTOSCALE_PROPOSE, AUTOSCALE_APPLY };

enum autoscale_resource { AUTOSCALE_LOAD, AUTOSCALE_DISK, AUTOSCALE_RESOURCES };

struct autoscale_settings {
	enum autoscale_mode mode;
	uint32_t high_percent, low_percent; /* of a thread's time, and of disk_bytes; low below high */
	uint64_t disk_bytes;                /* room of a node of weight 100, others in proportion; 0: not watched */
	uint32_t active_min, active_max;    /* members in each datacenter */
	uint64_t hold_us, rest_us;
};

/* What a member's row says; same index as in the ring document. */
struct autoscale_member {
	bool sound;          /* up, proven, not receiving, without dead shards, and with the ring in force */
	uint32_t own_weight; /* that it was started with */
	uint64_t disk_bytes;
	uint32_t load_permille;
};

struct autoscale_decision {
	struct member_change change; /* JOIN, DRAIN or REWEIGHT of a member */
	uint64_t member_id;
	char what[RING_NAME_MAX + 40]; /* "join n4" */
	char why[300];
};

enum autoscale_situation { AUTOSCALE_TOO_FEW, AUTOSCALE_UNEVEN, AUTOSCALE_TOO_MANY, AUTOSCALE_SITUATIONS };

struct autoscale {
	struct autoscale_settings settings;
	uint64_t ring_hash; /* of the ring whose members are watched; 0: none */
	uint64_t seen_us, rest_until_us;
	/* by member: smoothed permille, times 1024; and room to sort those of a datacenter */
	uint64_t (*used)[AUTOSCALE_RESOURCES], *sorted;
	uint32_t *rack_counts; /* by member: active ones in its rack, itself too */
	struct {
		uint64_t since_us;
		uint64_t subject; /* the member that it is about, or 1; 0: the condition does not hold */
		bool told;        /* AUTOSCALE_PROPOSE */
	} situations[RING_DATACENTERS_MAX][AUTOSCALE_SITUATIONS];
};

void autoscale_init(struct autoscale *, const struct autoscale_settings *);
void autoscale_fini(struct autoscale *);
/* Every few seconds. may_decide: false where another member decides, or another change is at work; the history goes on. True: this change
 * is due. PROPOSE: once in each situation; APPLY: again after a rest, unless the ring has changed. */
bool autoscale_look(struct autoscale *, const struct ring_document *, const struct autoscale_member *members,
		    bool may_decide, uint64_t now_us, struct autoscale_decision *out);

#endif
