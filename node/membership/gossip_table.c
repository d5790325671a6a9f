/* SPDX-License-Identifier: Apache-2.0 */
#include "node/membership/gossip_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void gossip_table_fini(struct gossip_table *table)
{
	free(table->ids);
	free(table->rows);
	free(table->peers);
	*table = (struct gossip_table){0};
}

/* The first index whose id is not smaller. */
static uint32_t lower_bound(const struct gossip_table *table, uint64_t node_id)
{
	uint32_t low = 0, high = table->count;

	assert(table->count <= table->capacity);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (table->ids[middle] < node_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int gossip_table_find(const struct gossip_table *table, uint64_t node_id)
{
	uint32_t index = lower_bound(table, node_id);

	return index < table->count && table->ids[index] == node_id ? (int)index : -1;
}

void gossip_table_remove(struct gossip_table *table, uint32_t index)
{
	assert(index < table->count);
	table->count--;
	memmove(&table->ids[index], &table->ids[index + 1], (table->count - index) * sizeof *table->ids);
	memmove(&table->rows[index], &table->rows[index + 1], (table->count - index) * sizeof *table->rows);
	memmove(&table->peers[index], &table->peers[index + 1], (table->count - index) * sizeof *table->peers);
}

/* The one heard of longest ago, for a member; for a stranger only one that is forgotten. */
static bool evict_stranger(struct gossip_table *table, bool for_member)
{
	uint32_t oldest = table->count;

	for (uint32_t i = 0; i < table->count; i++)
		if (!table->peers[i].is_member && (for_member || table->peers[i].forgotten) &&
		    (oldest == table->count || table->peers[i].heard_us < table->peers[oldest].heard_us))
			oldest = i;
	if (oldest == table->count)
		return false;
	gossip_table_remove(table, oldest);
	return true;
}

static bool grow(struct gossip_table *table)
{
	uint32_t capacity = table->capacity ? table->capacity * 2 : 16;
	uint64_t *ids = realloc(table->ids, capacity * sizeof *ids);
	struct gossip_row *rows;
	struct gossip_peer *peers;

	if (ids == NULL)
		return false;
	assert(capacity > table->count);
	table->ids = ids;
	rows = realloc(table->rows, capacity * sizeof *rows);
	if (rows == NULL)
		return false;
	table->rows = rows;
	peers = realloc(table->peers, capacity * sizeof *peers);
	if (peers == NULL)
		return false;
	table->peers = peers;
	table->capacity = capacity;
	return true;
}

static bool is_full(const struct gossip_table *table, bool for_member)
{
	uint32_t strangers = 0;

	if (for_member || table->count < GOSSIP_STRANGERS_MAX)
		return table->count == GOSSIP_ROWS_MAX;
	for (uint32_t i = 0; i < table->count; i++)
		strangers += !table->peers[i].is_member;
	return strangers >= GOSSIP_STRANGERS_MAX || table->count == GOSSIP_ROWS_MAX;
}

int gossip_table_insert(struct gossip_table *table, const struct gossip_row *row, const struct gossip_peer *peer)
{
	uint32_t index;

	if (is_full(table, peer->is_member) && !evict_stranger(table, peer->is_member))
		return -1;
	if (table->count == table->capacity && !grow(table))
		return -1;
	index = lower_bound(table, row->node_id);
	assert(row->node_id != 0);
	assert(table->count < table->capacity);
	assert(table->count < GOSSIP_ROWS_MAX);
	assert(index == table->count || table->ids[index] != row->node_id);
	memmove(&table->ids[index + 1], &table->ids[index], (table->count - index) * sizeof *table->ids);
	memmove(&table->rows[index + 1], &table->rows[index], (table->count - index) * sizeof *table->rows);
	memmove(&table->peers[index + 1], &table->peers[index], (table->count - index) * sizeof *table->peers);
	table->ids[index] = row->node_id;
	table->rows[index] = *row;
	table->peers[index] = *peer;
	table->count++;
	return (int)index;
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

/* Each of another node, and once: a reporter counts once. */
static bool suspicions_valid(const struct gossip_row *row)
{
	if (row->suspicion_count > RING_SUSPICIONS_MAX)
		return false;
	for (uint32_t i = 0; i < row->suspicion_count; i++) {
		if (row->suspicions[i].node_id == row->node_id)
			return false;
		for (uint32_t j = 0; j < i; j++)
			if (row->suspicions[i].node_id == row->suspicions[j].node_id)
				return false;
	}
	return true;
}

bool gossip_row_valid(const struct gossip_row *row)
{
	return suspicions_valid(row) && row->node_id != 0 && row->incarnation > 0 &&
	       ends(row->name, sizeof row->name) && ends(row->client_address, sizeof row->client_address) &&
	       ends(row->peer_address, sizeof row->peer_address) && ends(row->bus_address, sizeof row->bus_address) &&
	       ends(row->datacenter, sizeof row->datacenter) && ends(row->rack, sizeof row->rack) &&
	       ends(row->version, sizeof row->version) && row->name[0] && row->peer_address[0] && row->bus_address[0];
}

/* On a circle (RFC 1982): there is a newer number than any, so that no false row is the last word on a node. */
static bool after(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) > 0;
}

bool gossip_row_newer(const struct gossip_row *row, const struct gossip_row *than)
{
	if (row->incarnation == than->incarnation)
		return after(row->heartbeat, than->heartbeat);
	return than->incarnation == 0 || after(row->incarnation, than->incarnation);
}
