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

static int collect_nodes(struct board *board, const struct ring_document *document, uint32_t datacenter)
{
	uint32_t *weights = malloc(board->node_count * sizeof *weights);
	uint32_t count = 0;
	int error;

	if (weights == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < document->member_count; i++) {
		struct claimant *node = &board->nodes[count];

		if (!is_node(document, i, datacenter))
			continue;
		node->member = i;
		node->id = document->members[i].id;
		node->rack = document->member_rack[i];
		weights[count++] = document->members[i].weight;
	}
	assert(count == board->node_count);
	error = board_set_shares(board, weights);
	free(weights);
	return error;
}

/* ---- 2: keep --------------------------------------------------------------------------------------------------- */

/* The previous owners of one partition that are nodes now, in their order. */
struct kept {
	uint16_t nodes[RING_REPLICAS_MAX];
	uint32_t count;
};

static struct kept kept_owners(const struct board *board, uint32_t partition)
{
	struct kept kept = {.count = 0};

	for (uint32_t i = 0; i < board->before_width; i++) {
		uint16_t node = board->before[(size_t)partition * board->before_width + i];
		if (node != RING_NOBODY)
			kept.nodes[kept.count++] = node;
	}
	return kept;
}

/* Drops the fullest: of this rack, or of all racks that hold more than their least. */
static void drop_fullest(struct board *board, struct kept *kept, const uint32_t *rack)
{
	uint32_t fullest = kept->count;

	for (uint32_t i = 0; i < kept->count; i++) {
		const struct claimant *node = &board->nodes[kept->nodes[i]];

		if (rack != NULL && node->rack != *rack)
			continue;
		if (rack == NULL && board->racks_have_least &&
		    board_count_rack(board, kept->nodes, kept->count, node->rack) <= board->racks[node->rack].least)
			continue;
		if (fullest == kept->count || board_is_fuller(node, &board->nodes[kept->nodes[fullest]]))
			fullest = i;
	}
	assert(fullest < kept->count);
	board_change_load(board, kept->nodes[fullest], -1);
	board->pushed_out = true;
	for (uint32_t i = fullest + 1; i < kept->count; i++)
		kept->nodes[i - 1] = kept->nodes[i];
	kept->count--;
}

/* Fewer replicas than before, nodes that changed their rack: make room for a row within the limits. */
static void trim(struct board *board, struct kept *kept)
{
	for (uint32_t i = 0; i < kept->count;) {
		uint32_t rack = board->nodes[kept->nodes[i]].rack;

		if (board_count_rack(board, kept->nodes, kept->count, (uint16_t)rack) > board->racks[rack].most) {
			drop_fullest(board, kept, &rack);
			i = 0;
		} else {
			i++;
		}
	}
	while (kept->count + board_count_reserved(board, kept->nodes, kept->count) > board->width)
		drop_fullest(board, kept, NULL);
}

static void keep_rows(struct board *board)
{
	for (uint32_t partition = 0; partition < board->partition_count; partition++) {
		struct kept kept = kept_owners(board, partition);

		for (uint32_t i = 0; i < kept.count; i++)
			board_change_load(board, kept.nodes[i], 1);
	}
	for (uint32_t i = 0; i < board->partition_count; i++) {
		struct kept kept = kept_owners(board, board->order[i]);

		trim(board, &kept);
		assert(kept.count <= board->width);
		assert(kept.count <= board->holes);
		memcpy(board_row(board, board->order[i]), kept.nodes, kept.count * sizeof *kept.nodes);
		board->holes -= kept.count;
	}
}

static int keep(struct board *board, const struct ring_document *document, uint32_t datacenter,
		const struct ring_document *previous)
{
	uint16_t *node_of_member; /* by previous member index */
	const struct owner_table *owners;
	uint32_t before;
	int error;

	for (before = 0; before < previous->datacenter_count; before++)
		if (!strcmp(previous->datacenters[before].name, document->datacenters[datacenter].name))
			break;
	if (before == previous->datacenter_count || previous->owners[before].width == 0)
		return 0;
	owners = &previous->owners[before];
	error = board_remember(board, owners->width);
	if (error)
		return error;
	node_of_member = malloc(previous->member_count * sizeof *node_of_member);
	if (node_of_member == NULL)
		return -ENOMEM;
	memset(node_of_member, 0xff, previous->member_count * sizeof *node_of_member); /* RING_NOBODY */
	for (uint16_t i = 0; i < board->node_count; i++) {
		int member = ring_member_find(previous, board->nodes[i].id);
		if (member >= 0)
			node_of_member[member] = i;
	}
	for (size_t i = 0; i < (size_t)board->partition_count * owners->width; i++)
		board->before[i] = node_of_member[owners->rows[i]];
	free(node_of_member);
	keep_rows(board);
	return 0;
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static int store_owners(const struct board *board, struct owner_table *table)
{
	int error = owner_table_create(table, board->partition_count, board->width);

	for (size_t i = 0; i < (size_t)board->partition_count * board->width && !error; i++) {
		assert(board->rows[i] < board->node_count); /* no hole is left */
		table->rows[i] = (uint16_t)board->nodes[board->rows[i]].member;
	}
	return error;
}

static int claim_datacenter(struct ring_document *document, uint32_t datacenter, const struct ring_document *previous)
{
	uint32_t nodes = count_nodes(document, datacenter), width = document->datacenters[datacenter].replica_count;
	struct board board;
	int error;

	if (nodes == 0)
		return 0;
	error = board_init(&board, document->hash_seed, document->epoch, document->partition_count,
			   width < nodes ? width : nodes, nodes);
	if (error)
		return error;
	error = collect_nodes(&board, document, datacenter);
	if (!error && previous != NULL)
		error = keep(&board, document, datacenter, previous);
	if (!error)
		error = balance_run(&board);
	if (!error) {
		board_turn_to_first_places(&board);
		error = balance_run(&board);
	}
	if (!error)
		error = store_owners(&board, &document->owners[datacenter]);
	board_fini(&board);
	return error;
}

int ring_claim(const struct ring_document *previous, const struct ring_plan *plan, struct ring_document **out,
	       struct ring_error *error_out)
{
	struct ring_document *document;
	int error = plan_to_document(plan, previous, &document, error_out);

	if (error)
		return error;
	document_number_racks(document);
	for (uint32_t i = 0; i < document->datacenter_count && !error; i++)
		error = claim_datacenter(document, i, previous);
	return document_finish(document, error, out);
}
