/* SPDX-License-Identifier: Apache-2.0 */
/* A ring without members that are lost for good, of which there are too many to agree on anything.
 *
 *     mine (epoch e)  ->  what it comes to, STABLE (e + 1, which nobody ever has)  ->  forced, READ_OLD (e + 2)
 *
 * Nodes with mine take the forced document by its descent, the lost ones too should they come back, and then are members no more. Who has
 * gone on from mine in another way refuses it: the lost were alive, and agreed on something (verify.c). */
#include "ring/document.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_lost(uint64_t id, const uint64_t *lost, uint32_t lost_count)
{
	for (uint32_t i = 0; i < lost_count; i++)
		if (lost[i] == id)
			return true;
	return false;
}

/* The same under the next epoch. */
static int repeat(const struct ring_document *stable, struct ring_document **out)
{
	struct ring_document *document;
	int error = document_copy(stable, &document);

	if (error)
		return error;
	error = document_follow(document, stable);
	for (uint32_t i = 0; i < stable->datacenter_count && !error; i++)
		error = owner_table_copy(&document->owners[i], stable->partition_count, &stable->owners[i]);
	return document_finish(document, error, out);
}

/* What a change that is under way comes to: back while it copies, else to its end. */
static int settle(const struct ring_document *mine, struct ring_document **out, struct ring_error *error_out)
{
	int error = document_check_epoch(mine, error_out);

	if (error)
		return error;
	if (mine->transition == RING_STABLE)
		return repeat(mine, out);
	return mine->transition == RING_WRITE_BOTH_READ_OLD ? ring_transition_abort(mine, out, error_out)
							    : ring_transition_next(mine, out, error_out);
}

/* The owners among those that are left, with the fewest moves. */
static int claim_rest(const struct ring_document *settled, const uint64_t *lost, uint32_t lost_count,
		      struct ring_document **out, struct ring_error *error_out)
{
	struct ring_member *members = malloc(settled->member_count * sizeof *members);
	struct ring_plan plan = {
		.cluster_id = settled->cluster_id,
		.hash_seed = settled->hash_seed,
		.partition_count = settled->partition_count,
		.datacenters = settled->datacenters,
		.datacenter_count = settled->datacenter_count,
		.members = members,
	};
	uint32_t active = 0;
	int error = -EINVAL;

	if (members == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < settled->member_count; i++) {
		if (is_lost(settled->members[i].id, lost, lost_count))
			continue;
		members[plan.member_count++] = settled->members[i];
		active += settled->members[i].state == RING_MEMBER_ACTIVE;
	}
	if (active > 0)
		error = ring_claim(settled, &plan, out, error_out);
	else
		ring_error_set(error_out, "no member that holds data would be left: keep at least one");
	free(members);
	return error;
}

/* The rows of settled, without the lost. */
static int keep_rest(struct ring_document *document, const struct ring_document *settled, uint32_t datacenter)
{
	const struct owner_table *from = &settled->owners[datacenter];
	struct owner_table *table = &document->old_owners[datacenter];
	int error = owner_table_create(table, document->partition_count, from->width);

	for (size_t partition = 0; partition < document->partition_count && !error; partition++) {
		uint16_t *kept = table->rows + partition * from->width;

		for (uint32_t i = 0; i < from->width; i++) {
			uint16_t owner = from->rows[partition * from->width + i];
			int member = ring_member_find(document, settled->members[owner].id);

			if (member >= 0)
				*kept++ = (uint16_t)member;
		}
	}
	return error;
}

static int force(const struct ring_document *settled, const struct ring_document *target, struct ring_document **out)
{
	struct ring_document *document;
	int error = document_copy(target, &document);

	if (error)
		return error;
	assert(target->datacenter_count == settled->datacenter_count);
	document->transition = RING_WRITE_BOTH_READ_OLD;
	error = document_follow(document, settled);
	for (uint32_t i = 0; i < target->datacenter_count && !error; i++)
		error = owner_table_copy(&document->owners[i], target->partition_count, &target->owners[i]);
	for (uint32_t i = 0; i < target->datacenter_count && !error; i++)
		error = keep_rest(document, settled, i);
	return document_finish(document, error, out);
}

int ring_force(const struct ring_document *mine, const uint64_t *lost, uint32_t lost_count, struct ring_document **out,
	       struct ring_error *error_out)
{
	struct ring_document *settled, *target;
	int error = settle(mine, &settled, error_out);

	if (error)
		return error;
	error = claim_rest(settled, lost, lost_count, &target, error_out);
	if (!error) {
		error = force(settled, target, out);
		ring_document_destroy(&target);
	}
	ring_document_destroy(&settled);
	return error;
}
