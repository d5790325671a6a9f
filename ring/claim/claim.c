/* SPDX-License-Identifier: Apache-2.0 */
/* Claim: the next document's owners.
 *
 * For each datacenter by itself:
 *
 *     1  shares   how many replicas each node may hold: its fair share rounded down (least) or up (most); share.h
 *     2  keep     the owners of the previous document, less those who are gone or against the rack limits: a hole
 *                 stands where one was
 *     3  balance  holes are filled, and places move from the fullest to the emptiest; balance.h
 *     4  order    the first places of the rows are balanced likewise; no data moves
 */
#include "ring/claim/balance.h"
#include "ring/document.h"
#include "ring/claim/plan.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- 1: nodes and shares --------------------------------------------------------------------------------------- */

static bool is_node(const struct ring_document *document, uint32_t member, uint32_t datacenter)
{
	return document->members[member].state == RING_MEMBER_ACTIVE &&
	       document->member_datacenter[member] == datacenter;
}

static uint32_t count_nodes(const struct ring_document *document, uint32_t datacenter)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < document->member_count; i++)
		count += is_node(document, i, datacenter);
	return count;
}

/* Racks get numbers in the order in which members name them. */
static uint16_t rack_number(const struct balance *balance, const struct ring_document *document, uint32_t nodes_so_far,
			    const char *rack)
{
	uint16_t next = 0;

	for (uint32_t i = 0; i < nodes_so_far; i++) {
		const struct claimant *node = &balance->nodes[i];
		if (!strcmp(document->members[node->member].rack, rack))
			return node->rack;
		if (node->rack >= next)
			next = node->rack + 1;
	}
	return next;
}

static int collect_nodes(struct balance *balance, const struct ring_document *document, uint32_t datacenter)
{
	uint32_t *weights = malloc(balance->node_count * sizeof *weights);
	uint32_t count = 0;
	int error;

	if (weights == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < document->member_count; i++) {
		struct claimant *node = &balance->nodes[count];

		if (!is_node(document, i, datacenter))
			continue;
		node->member = i;
		node->id = document->members[i].id;
		node->rack = rack_number(balance, document, count, document->members[i].rack);
		weights[count++] = document->members[i].weight;
	}
	assert(count == balance->node_count);
	error = balance_set_shares(balance, weights);
	free(weights);
	return error;
}

/* ---- 2: keep --------------------------------------------------------------------------------------------------- */

/* The previous owners of one partition that are nodes now, in their order. */
struct kept {
	uint16_t nodes[RING_REPLICAS_MAX];
	uint32_t count;
};

static struct kept kept_owners(const struct owner_table *previous, const uint16_t *node_of_member, uint32_t partition)
{
	struct kept kept = {.count = 0};

	for (uint32_t i = 0; i < previous->width; i++) {
		uint16_t node = node_of_member[previous->rows[(size_t)partition * previous->width + i]];
		if (node != RING_NOBODY)
			kept.nodes[kept.count++] = node;
	}
	return kept;
}

/* Drops the fullest: of this rack, or of all racks that hold more than their least. */
static void drop_fullest(struct balance *balance, struct kept *kept, const uint32_t *rack)
{
	uint32_t fullest = kept->count;

	for (uint32_t i = 0; i < kept->count; i++) {
		const struct claimant *node = &balance->nodes[kept->nodes[i]];

		if (rack != NULL && node->rack != *rack)
			continue;
		if (rack == NULL && balance->racks_have_least &&
		    balance_count_rack(balance, kept->nodes, kept->count, node->rack) <=
			    balance->racks[node->rack].least)
			continue;
		if (fullest == kept->count || balance_is_fuller(node, &balance->nodes[kept->nodes[fullest]]))
			fullest = i;
	}
	assert(fullest < kept->count);
	balance_change_load(balance, kept->nodes[fullest], -1);
	for (uint32_t i = fullest + 1; i < kept->count; i++)
		kept->nodes[i - 1] = kept->nodes[i];
	kept->count--;
}

/* Fewer replicas than before, nodes that changed their rack: make room for a row within the limits. */
static void trim(struct balance *balance, struct kept *kept)
{
	for (uint32_t i = 0; i < kept->count;) {
		uint32_t rack = balance->nodes[kept->nodes[i]].rack;

		if (balance_count_rack(balance, kept->nodes, kept->count, (uint16_t)rack) > balance->racks[rack].most) {
			drop_fullest(balance, kept, &rack);
			i = 0;
		} else {
			i++;
		}
	}
	while (kept->count + balance_count_reserved(balance, kept->nodes, kept->count) > balance->width)
		drop_fullest(balance, kept, NULL);
}

static void keep_rows(struct balance *balance, const struct owner_table *previous, const uint16_t *node_of_member)
{
	for (uint32_t partition = 0; partition < balance->partition_count; partition++) {
		struct kept kept = kept_owners(previous, node_of_member, partition);

		for (uint32_t i = 0; i < kept.count; i++)
			balance_change_load(balance, kept.nodes[i], 1);
	}
	for (uint32_t i = 0; i < balance->partition_count; i++) {
		struct kept kept = kept_owners(previous, node_of_member, balance->order[i]);

		trim(balance, &kept);
		assert(kept.count <= balance->width);
		assert(kept.count <= balance->holes);
		memcpy(balance_row(balance, balance->order[i]), kept.nodes, kept.count * sizeof *kept.nodes);
		balance->holes -= kept.count;
	}
}

static int keep(struct balance *balance, const struct ring_document *document, uint32_t datacenter,
		const struct ring_document *previous)
{
	uint16_t *node_of_member; /* by previous member index */
	uint32_t before;

	for (before = 0; before < previous->datacenter_count; before++)
		if (!strcmp(previous->datacenters[before].name, document->datacenters[datacenter].name))
			break;
	if (before == previous->datacenter_count || previous->owners[before].width == 0)
		return 0;
	node_of_member = malloc(previous->member_count * sizeof *node_of_member);
	if (node_of_member == NULL)
		return -ENOMEM;
	memset(node_of_member, 0xff, previous->member_count * sizeof *node_of_member); /* RING_NOBODY */
	for (uint16_t i = 0; i < balance->node_count; i++) {
		int member = ring_member_find(previous, balance->nodes[i].id);
		if (member >= 0)
			node_of_member[member] = i;
	}
	keep_rows(balance, &previous->owners[before], node_of_member);
	free(node_of_member);
	return 0;
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static int store_owners(const struct balance *balance, struct owner_table *table)
{
	int error = owner_table_create(table, balance->partition_count, balance->width);

	for (size_t i = 0; i < (size_t)balance->partition_count * balance->width && !error; i++) {
		assert(balance->rows[i] < balance->node_count); /* no hole is left */
		table->rows[i] = (uint16_t)balance->nodes[balance->rows[i]].member;
	}
	return error;
}

static int claim_datacenter(struct ring_document *document, uint32_t datacenter, const struct ring_document *previous)
{
	uint32_t nodes = count_nodes(document, datacenter), width = document->datacenters[datacenter].replica_count;
	struct balance balance;
	int error;

	if (nodes == 0)
		return 0;
	error = balance_init(&balance, document->hash_seed, document->epoch, document->partition_count,
			     width < nodes ? width : nodes, nodes);
	if (error)
		return error;
	error = collect_nodes(&balance, document, datacenter);
	if (!error && previous != NULL)
		error = keep(&balance, document, datacenter, previous);
	if (!error) {
		balance_run(&balance);
		balance_run_first_places(&balance);
		error = store_owners(&balance, &document->owners[datacenter]);
	}
	balance_fini(&balance);
	return error;
}

int ring_claim(const struct ring_document *previous, const struct ring_plan *plan, struct ring_document **out,
	       struct ring_error *error_out)
{
	struct ring_document *document;
	int error = plan_to_document(plan, previous, &document, error_out);

	if (error)
		return error;
	for (uint32_t i = 0; i < document->datacenter_count && !error; i++)
		error = claim_datacenter(document, i, previous);
	if (!error)
		error = document_seal(document);
	if (error)
		ring_document_destroy(&document);
	else
		*out = document;
	return error;
}
