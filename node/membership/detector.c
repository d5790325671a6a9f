/* SPDX-License-Identifier: Apache-2.0 */
#include "node/membership/detector.h"

#include <assert.h>

enum {
	PAUSE_ROUNDS = 3,       /* a round that late means that this node stood still */
	BLIND_ROUNDS = 2,       /* after standing still: time for news before judging others */
	STRAIN_STEP_DIVISOR = 4 /* timeout x (1 + strain / this) */
};

void detector_init(struct detector *self, uint64_t round_us, uint64_t timeout_us)
{
	assert(round_us > 0);
	assert(timeout_us > 0);
	*self = (struct detector){.round_us = round_us, .timeout_us = timeout_us};
}

void detector_start(struct detector *self, struct gossip_table *table, uint64_t now_us)
{
	self->last_round_us = now_us;
	for (uint32_t i = 0; i < table->count; i++)
		table->peers[i].heard_us = table->peers[i].since_us = now_us;
}

void detector_heard(struct gossip_peer *peer, uint64_t now_us)
{
	peer->heard_us = now_us;
	peer->probed_us = 0;
	peer->suspected = false;
}

/* ---- this node's own health --------------------------------------------------------------------------------- */

/* True: this node may judge others. */
static bool look_at_itself(struct detector *self, uint64_t now_us)
{
	uint64_t late_us = now_us - self->last_round_us;

	assert(now_us >= self->last_round_us);
	if (late_us > PAUSE_ROUNDS * self->round_us)
		self->blind_until_us = now_us + BLIND_ROUNDS * self->round_us;
	if (late_us > self->round_us + self->round_us / 2)
		self->strain += self->strain < DETECTOR_STRAIN_MAX;
	else
		self->strain -= self->strain > 0;
	self->last_round_us = now_us;
	return now_us >= self->blind_until_us;
}

static uint64_t timeout_us(const struct detector *self)
{
	assert(self->strain <= DETECTOR_STRAIN_MAX); /* D3 */
	return self->timeout_us + self->timeout_us * self->strain / STRAIN_STEP_DIVISOR;
}

/* ---- suspecting --------------------------------------------------------------------------------------------- */

/* A member that is silent for half of the timeout is asked directly, each round until it is heard or suspected. */
static void choose_probes(struct detector *self, struct gossip_table *table, uint64_t now_us)
{
	uint32_t probes = 0;

	for (uint32_t i = 0; i < table->count; i++) {
		struct gossip_peer *peer = &table->peers[(self->next_probe + i) % table->count];

		assert(peer->heard_us <= now_us);
		peer->probe = peer->is_member && !peer->suspected && probes < DETECTOR_PROBES_MAX &&
			      now_us - peer->heard_us > timeout_us(self) / 2;
		if (!peer->probe)
			continue;
		probes++;
		if (peer->probed_us == 0)
			peer->probed_us = now_us;
	}
	self->next_probe += probes;
}

/* Strangers are not probed: nothing depends on them. */
static bool is_silent(const struct detector *self, const struct gossip_peer *peer, uint64_t now_us)
{
	if (now_us - peer->heard_us <= timeout_us(self))
		return false;
	return !peer->is_member || (peer->probed_us != 0 && now_us - peer->probed_us >= timeout_us(self) / 4); /* D2 */
}

/* There is room for a few. Those with the next ids behind the own one are told, so that of many that fail at once each is told
 * by several. */
static void fill_suspicions(const struct gossip_table *table, struct gossip_row *row)
{
	uint32_t first = 0;

	while (first < table->count && table->rows[first].node_id < row->node_id)
		first++;
	for (uint32_t i = 0; i < table->count && row->suspicion_count < RING_SUSPICIONS_MAX; i++) {
		uint32_t index = (first + i) % table->count;
		const struct gossip_row *suspect = &table->rows[index];

		if (table->peers[index].is_member && table->peers[index].suspected)
			row->suspicions[row->suspicion_count++] =
				(struct suspicion){suspect->node_id, suspect->incarnation, suspect->heartbeat};
	}
}

static void suspect(struct detector *self, struct gossip_table *table, struct gossip_row *row, uint64_t now_us)
{
	choose_probes(self, table, now_us);
	for (uint32_t i = 0; i < table->count; i++)
		table->peers[i].suspected |= is_silent(self, &table->peers[i], now_us);
	fill_suspicions(table, row);
}

/* ---- confirming --------------------------------------------------------------------------------------------- */

static bool is_valid(const struct suspicion *suspicion, const struct gossip_row *suspect)
{
	const struct gossip_row heard = {.incarnation = suspicion->incarnation, .heartbeat = suspicion->heartbeat};

	return !gossip_row_newer(suspect, &heard);
}

bool detector_reports(const struct gossip_row *reporter, const struct gossip_row *suspect)
{
	assert(reporter->suspicion_count <= RING_SUSPICIONS_MAX);
	for (uint32_t i = 0; i < reporter->suspicion_count; i++)
		if (reporter->suspicions[i].node_id == suspect->node_id)
			return is_valid(&reporter->suspicions[i], suspect);
	return false;
}

static void count_reports(struct gossip_table *table, const struct gossip_row *reporter)
{
	for (uint32_t i = 0; i < reporter->suspicion_count; i++) {
		int index = gossip_table_find(table, reporter->suspicions[i].node_id);

		if (index >= 0 && &table->rows[index] != reporter && detector_reports(reporter, &table->rows[index]))
			table->peers[index].report_count++;
	}
}

/* Of all members, by the rows as they are now. Order plays no part: what one member is found to be changes no other's count. */
static void count_all_reports(struct gossip_table *table, const struct gossip_row *self)
{
	for (uint32_t i = 0; i < table->count; i++)
		table->peers[i].report_count = 0;
	count_reports(table, self);
	for (uint32_t i = 0; i < table->count; i++)
		if (table->peers[i].is_member && table->peers[i].reachability == RING_UP)
			count_reports(table, &table->rows[i]);
}

static enum ring_reachability find_reachability(const struct gossip_peer *peer)
{
	if (peer->is_member && peer->report_count >= DETECTOR_REPORTERS)
		return RING_DOWN; /* D1 */
	if (peer->suspected)
		return RING_UNREACHABLE;
	return peer->heard ? RING_UP : RING_UNKNOWN;
}

static void confirm(struct gossip_table *table, const struct gossip_row *self, uint64_t now_us)
{
	count_all_reports(table, self);
	for (uint32_t i = 0; i < table->count; i++) {
		struct gossip_peer *peer = &table->peers[i];
		enum ring_reachability reachability = find_reachability(peer);

		if (peer->reachability != reachability)
			peer->since_us = now_us;
		peer->reachability = reachability;
	}
}

void detector_round(struct detector *self, struct gossip_table *table, struct gossip_row *row, uint64_t now_us)
{
	bool sound = look_at_itself(self, now_us);

	row->suspicion_count = 0;
	for (uint32_t i = 0; i < table->count; i++)
		table->peers[i].probe = false;
	if (!sound)
		return;
	suspect(self, table, row, now_us);
	confirm(table, row, now_us);
}
