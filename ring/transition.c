/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/document.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int copy_owners(struct ring_document *document, const struct ring_document *from)
{
	int error = 0;

	for (uint32_t i = 0; i < from->datacenter_count && !error; i++)
		error = owner_table_copy(&document->owners[i], from->partition_count, &from->owners[i]);
	return error;
}

static int copy_old_owners(struct ring_document *document, const struct ring_document *from)
{
	int error = 0;

	for (uint32_t i = 0; i < from->datacenter_count && !error; i++)
		error = owner_table_copy(&document->old_owners[i], from->partition_count, &from->old_owners[i]);
	return error;
}

static int find_datacenter(const struct ring_document *document, const char *name)
{
	for (uint32_t i = 0; i < document->datacenter_count; i++)
		if (!strcmp(document->datacenters[i].name, name))
			return (int)i;
	return -1;
}

/* The rows of stable in the member indexes of document. */
static int remember_owners(struct ring_document *document, uint32_t datacenter_index,
			   const struct ring_document *stable, const struct owner_table *from,
			   struct ring_error *error_out)
{
	struct owner_table *table = &document->old_owners[datacenter_index];
	int error = owner_table_create(table, document->partition_count, from->width);

	for (uint32_t partition = 0; partition < document->partition_count && !error; partition++) {
		const uint16_t *row = from->rows + (size_t)partition * from->width;
		uint16_t *remembered = table->rows + (size_t)partition * from->width;

		for (uint32_t i = 0; i < from->width; i++) {
			int member;

			assert(row[i] < stable->member_count);
			member = ring_member_find(document, stable->members[row[i]].id);
			if (member < 0 || document->member_datacenter[member] != datacenter_index) {
				ring_error_set(error_out,
					       "member %s owns data: keep it in the plan, as LEAVING if it is to go",
					       stable->members[row[i]].name);
				return -EINVAL;
			}
			*remembered++ = (uint16_t)member;
		}
	}
	return error;
}

/* What may change of a member that stays. */
static int amend_member(struct ring_member *member, const struct ring_member *changed, struct ring_error *error_out)
{
	const char *const addresses[] = {changed->client_address, changed->peer_address, changed->bus_address};
	bool valid = changed->weight > 0 && changed->weight <= RING_WEIGHT_MAX;
	size_t rack_size = strnlen(changed->rack, RING_NAME_MAX);

	for (int i = 0; i < 3; i++)
		valid = valid && address_is_valid(addresses[i], strnlen(addresses[i], RING_ADDRESS_MAX));
	if (!valid || (rack_size > 0 && !name_is_valid(changed->rack, rack_size))) {
		ring_error_set(
			error_out,
			"member %s: a rack is empty or has 1 to %d letters, digits, '.', '_' or '-'; an address is "
			"HOST:PORT; a weight is 1 to %d",
			member->name, RING_NAME_MAX - 1, RING_WEIGHT_MAX);
		return -EINVAL;
	}
	memcpy(member->client_address, changed->client_address, sizeof member->client_address);
	memcpy(member->peer_address, changed->peer_address, sizeof member->peer_address);
	memcpy(member->bus_address, changed->bus_address, sizeof member->bus_address);
	memcpy(member->rack, changed->rack, sizeof member->rack);
	member->weight = changed->weight;
	return 0;
}

int ring_amend(const struct ring_document *stable, const struct ring_member *changed, struct ring_document **out,
	       struct ring_error *error_out)
{
	int member = ring_member_find(stable, changed->id);
	struct ring_document *document;
	int error;

	if (stable->transition != RING_STABLE || member < 0) {
		ring_error_set(error_out,
			       "member %016" PRIx64 " is no member, or the ring (epoch %" PRIu64
			       ") is changing: wait until that change is over",
			       changed->id, stable->epoch);
		return -EINVAL;
	}
	error = document_check_epoch(stable, error_out);
	if (!error)
		error = document_copy(stable, &document);
	if (error)
		return error;
	error = document_follow(document, stable);
	if (!error)
		error = amend_member(&document->members[member], changed, error_out);
	if (!error)
		error = copy_owners(document, stable);
	return document_finish(document, error, out);
}

int ring_transition_begin(const struct ring_document *stable, const struct ring_document *target,
			  struct ring_document **out, struct ring_error *error_out)
{
	struct ring_document *document;
	int error;

	if (stable->transition != RING_STABLE || target->transition != RING_STABLE ||
	    target->epoch != stable->epoch + 1 || ring_parent_hash(target) != stable->hash) {
		ring_error_set(error_out,
			       "the new ring (epoch %" PRIu64 ") was not made from the ring in force (epoch %" PRIu64
			       "), or one of them is itself changing: plan again",
			       target->epoch, stable->epoch);
		return -EINVAL;
	}
	error = document_copy(target, &document);
	if (error)
		return error;
	document->transition = RING_WRITE_BOTH_READ_OLD;
	error = document_follow(document, stable);
	if (!error)
		error = copy_owners(document, target);
	for (uint32_t i = 0; i < document->datacenter_count && !error; i++) {
		int before = find_datacenter(stable, document->datacenters[i].name);
		if (before >= 0 && stable->owners[before].width)
			error = remember_owners(document, i, stable, &stable->owners[before], error_out);
	}
	return document_finish(document, error, out);
}

int ring_transition_next(const struct ring_document *from, struct ring_document **out, struct ring_error *error_out)
{
	struct ring_document *document;
	int error;

	if (from->transition == RING_STABLE) {
		ring_error_set(error_out, "the ring (epoch %" PRIu64 ") is not changing", from->epoch);
		return -EINVAL;
	}
	error = document_check_epoch(from, error_out);
	if (!error)
		error = document_copy(from, &document);
	if (error)
		return error;
	document->transition = from->transition == RING_WRITE_BOTH_READ_OLD ? RING_WRITE_BOTH_READ_NEW : RING_STABLE;
	error = document_follow(document, from);
	if (!error)
		error = copy_owners(document, from);
	if (!error && document->transition != RING_STABLE)
		error = copy_old_owners(document, from);
	return document_finish(document, error, out);
}

/* Who owned nothing before the transition is on standby after it, and who leaves stays. */
static void return_members(struct ring_document *document, const struct ring_document *from)
{
	for (uint32_t i = 0; i < document->member_count; i++)
		document->members[i].state = RING_MEMBER_STANDBY;
	for (uint32_t i = 0; i < from->datacenter_count; i++) {
		const struct owner_table *old = &from->old_owners[i];

		for (size_t j = 0; j < (size_t)from->partition_count * old->width; j++)
			document->members[old->rows[j]].state = RING_MEMBER_ACTIVE;
	}
}

/* The old rows say N where the change made it another. */
static void return_replica_counts(struct ring_document *document, const struct ring_document *from)
{
	for (uint32_t i = 0; i < document->datacenter_count; i++) {
		uint32_t active = 0, width = from->old_owners[i].width;
		uint32_t replicas = document->datacenters[i].replica_count;

		for (uint32_t j = 0; j < document->member_count; j++)
			active +=
				document->member_datacenter[j] == i && document->members[j].state == RING_MEMBER_ACTIVE;
		if (width != (replicas < active ? replicas : active))
			document->datacenters[i].replica_count = width;
	}
}

static bool has_all_old_owners(const struct ring_document *from)
{
	for (uint32_t i = 0; i < from->datacenter_count; i++)
		for (size_t j = 0; j < (size_t)from->partition_count * from->old_owners[i].width; j++)
			if (from->old_owners[i].rows[j] == RING_NOBODY)
				return false;
	return true;
}

static int return_owners(struct ring_document *document, const struct ring_document *from)
{
	int error = 0;

	for (uint32_t i = 0; i < from->datacenter_count && !error; i++)
		error = owner_table_copy(&document->owners[i], from->partition_count, &from->old_owners[i]);
	return error;
}

int ring_transition_abort(const struct ring_document *from, struct ring_document **out, struct ring_error *error_out)
{
	struct ring_document *document;
	int error;

	/* Once reads go to the new owners an abort would be a second move, not a return. */
	if (from->transition != RING_WRITE_BOTH_READ_OLD || !has_all_old_owners(from)) {
		ring_error_set(error_out,
			       "the change of epoch %" PRIu64
			       " cannot be aborted: %s. Wait for its end, then plan the way back",
			       from->epoch,
			       from->transition == RING_STABLE                ? "the ring is not changing"
			       : from->transition == RING_WRITE_BOTH_READ_NEW ? "reads go to the new owners already"
									      : "old owners are members no more");
		return -EINVAL;
	}
	error = document_check_epoch(from, error_out);
	if (!error)
		error = document_copy(from, &document);
	if (error)
		return error;
	document->transition = RING_STABLE;
	return_members(document, from);
	return_replica_counts(document, from);
	error = document_follow(document, from);
	if (!error)
		error = return_owners(document, from);
	return document_finish(document, error, out);
}

/* ---- without those that left ---------------------------------------------------------------------------------- */

static bool stays(const struct ring_member *member)
{
	return member->state != RING_MEMBER_LEAVING;
}

/* Members that stay, and by index of before: their index in document. */
static void copy_staying(struct ring_document *document, const struct ring_document *before, uint16_t *after)
{
	uint16_t count = 0;

	for (uint32_t i = 0; i < before->member_count; i++) {
		after[i] = stays(&before->members[i]) ? count : RING_NOBODY;
		if (!stays(&before->members[i]))
			continue;
		document->members[count] = before->members[i];
		document->member_datacenter[count++] = before->member_datacenter[i];
	}
	assert(count == document->member_count);
}

static int map_owners(struct ring_document *document, const struct ring_document *before, const uint16_t *after)
{
	int error = copy_owners(document, before);

	for (uint32_t i = 0; i < before->datacenter_count && !error; i++)
		for (size_t j = 0; j < (size_t)before->partition_count * before->owners[i].width; j++)
			document->owners[i].rows[j] = after[document->owners[i].rows[j]]; /* owners are ACTIVE */
	return error;
}

static int make_without_leavers(const struct ring_document *stable, uint16_t *after, uint32_t staying,
				struct ring_document **out)
{
	struct ring_document *document;
	int error = document_create(stable->partition_count, stable->datacenter_count, staying, &document);

	if (error)
		return error;
	document->cluster_id = stable->cluster_id;
	document->hash_seed = stable->hash_seed;
	memcpy(document->datacenters, stable->datacenters, stable->datacenter_count * sizeof *stable->datacenters);
	copy_staying(document, stable, after);
	error = document_follow(document, stable);
	if (!error)
		error = map_owners(document, stable, after);
	return document_finish(document, error, out);
}

int ring_drop_leavers(const struct ring_document *stable, struct ring_document **out, struct ring_error *error_out)
{
	uint32_t staying = 0;
	uint16_t *after;
	int error = document_check_epoch(stable, error_out);

	for (uint32_t i = 0; i < stable->member_count; i++)
		staying += stays(&stable->members[i]);
	if (stable->transition != RING_STABLE || staying == stable->member_count || staying == 0) {
		ring_error_set(error_out, "the ring (epoch %" PRIu64 ") is changing, or no member of it has left",
			       stable->epoch);
		return -EINVAL;
	}
	if (error)
		return error;
	after = malloc(stable->member_count * sizeof *after);
	if (after == NULL)
		return -ENOMEM;
	error = make_without_leavers(stable, after, staying, out);
	free(after);
	return error;
}
