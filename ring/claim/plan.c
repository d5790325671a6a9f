/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/claim/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REFUSE(error, ...)                                                                                             \
	do {                                                                                                           \
		ring_error_set(error, __VA_ARGS__);                                                                    \
		return -EINVAL;                                                                                        \
	} while (0)

static int check_counts(const struct ring_plan *plan, struct ring_error *error)
{
	if (plan->cluster_id == 0)
		REFUSE(error, "cluster id 0: draw a random one");
	if (plan->partition_count < RING_PARTITIONS_MIN || plan->partition_count > RING_PARTITIONS_MAX ||
	    (plan->partition_count & (plan->partition_count - 1)))
		REFUSE(error, "%" PRIu32 " partitions: use a power of two from %d to %d", plan->partition_count,
		       RING_PARTITIONS_MIN, RING_PARTITIONS_MAX);
	if (plan->datacenter_count == 0 || plan->datacenter_count > RING_DATACENTERS_MAX)
		REFUSE(error, "%" PRIu32 " datacenters: use 1 to %d", plan->datacenter_count, RING_DATACENTERS_MAX);
	if (plan->member_count == 0 || plan->member_count > RING_MEMBERS_MAX)
		REFUSE(error, "%" PRIu32 " members: use 1 to %d", plan->member_count, RING_MEMBERS_MAX);
	return 0;
}

static int check_previous(const struct ring_plan *plan, const struct ring_document *previous, struct ring_error *error)
{
	if (previous->transition != RING_STABLE)
		REFUSE(error, "the ring is changing (epoch %" PRIu64 "): one change at a time, wait for it or abort it",
		       previous->epoch);
	if (plan->cluster_id != previous->cluster_id)
		REFUSE(error, "the plan is for cluster %016" PRIx64 ", the ring is of cluster %016" PRIx64,
		       plan->cluster_id, previous->cluster_id);
	if (plan->hash_seed != previous->hash_seed)
		REFUSE(error, "the hash seed of a cluster cannot change: every key would move");
	if (plan->partition_count != previous->partition_count)
		REFUSE(error,
		       "the plan has %" PRIu32 " partitions, the ring %" PRIu32
		       ": that number is fixed for the life of a cluster",
		       plan->partition_count, previous->partition_count);
	return document_check_epoch(previous, error);
}

static bool is_string(const char *text, size_t limit, bool (*is_valid)(const char *, size_t))
{
	size_t size = strnlen(text, limit);

	return size < limit && is_valid(text, size);
}

static int check_datacenters(const struct ring_plan *plan, struct ring_error *error)
{
	for (uint32_t i = 0; i < plan->datacenter_count; i++) {
		const struct ring_datacenter *datacenter = &plan->datacenters[i];

		if (!is_string(datacenter->name, RING_NAME_MAX, name_is_valid))
			REFUSE(error,
			       "datacenter %" PRIu32 ": its name must be 1 to %d letters, digits, '.', '_' or '-'",
			       i + 1, RING_NAME_MAX - 1);
		if (datacenter->replica_count == 0 || datacenter->replica_count > RING_REPLICAS_MAX)
			REFUSE(error, "datacenter %s: %" PRIu32 " replicas: use 1 to %d", datacenter->name,
			       datacenter->replica_count, RING_REPLICAS_MAX);
	}
	return 0;
}

static int check_member(const struct ring_member *member, struct ring_error *error)
{
	if (!is_string(member->name, RING_NAME_MAX, name_is_valid))
		REFUSE(error, "member %016" PRIx64 ": its name must be 1 to %d letters, digits, '.', '_' or '-'",
		       member->id, RING_NAME_MAX - 1);
	if (member->id == 0)
		REFUSE(error, "member %s: id 0", member->name);
	if (member->rack[0] && !is_string(member->rack, RING_NAME_MAX, name_is_valid))
		REFUSE(error, "member %s: its rack must be up to %d letters, digits, '.', '_' or '-'", member->name,
		       RING_NAME_MAX - 1);
	if (!is_string(member->client_address, RING_ADDRESS_MAX, address_is_valid) ||
	    !is_string(member->peer_address, RING_ADDRESS_MAX, address_is_valid) ||
	    !is_string(member->bus_address, RING_ADDRESS_MAX, address_is_valid))
		REFUSE(error, "member %s: client, peer and bus address must be HOST:PORT, shorter than %d bytes",
		       member->name, RING_ADDRESS_MAX);
	if (member->weight == 0 || member->weight > RING_WEIGHT_MAX)
		REFUSE(error, "member %s: weight %" PRIu32 ": use 1 to %d, or make it standby to hold nothing",
		       member->name, member->weight, RING_WEIGHT_MAX);
	if (member->state < RING_MEMBER_ACTIVE || member->state > RING_MEMBER_LEAVING)
		REFUSE(error, "member %s: state %d is not known", member->name, (int)member->state);
	return 0;
}

/* ---- the canonical order --------------------------------------------------------------------------------------- */

static int compare_datacenters(const void *a, const void *b)
{
	return strcmp(((const struct ring_datacenter *)a)->name, ((const struct ring_datacenter *)b)->name);
}

static int compare_members(const void *a, const void *b)
{
	uint64_t left = ((const struct ring_member *)a)->id, right = ((const struct ring_member *)b)->id;

	return left < right ? -1 : left > right;
}

static int copy_datacenters(struct ring_document *document, const struct ring_plan *plan, struct ring_error *error)
{
	for (uint32_t i = 0; i < plan->datacenter_count; i++) {
		strcpy(document->datacenters[i].name, plan->datacenters[i].name);
		document->datacenters[i].replica_count = plan->datacenters[i].replica_count;
	}
	qsort(document->datacenters, document->datacenter_count, sizeof *document->datacenters, compare_datacenters);
	for (uint32_t i = 1; i < document->datacenter_count; i++)
		if (!strcmp(document->datacenters[i - 1].name, document->datacenters[i].name))
			REFUSE(error, "datacenter %s stands twice in the plan", document->datacenters[i].name);
	return 0;
}

static int find_datacenter(const struct ring_document *document, const char *name)
{
	for (uint32_t i = 0; i < document->datacenter_count; i++)
		if (!strncmp(document->datacenters[i].name, name, RING_NAME_MAX))
			return (int)i;
	return -1;
}

static void copy_member(struct ring_member *to, const struct ring_member *from)
{
	to->id = from->id;
	to->weight = from->weight;
	to->state = from->state;
	strcpy(to->name, from->name);
	strcpy(to->rack, from->rack);
	strcpy(to->datacenter, from->datacenter);
	strcpy(to->client_address, from->client_address);
	strcpy(to->peer_address, from->peer_address);
	strcpy(to->bus_address, from->bus_address);
}

static int check_unique(const struct ring_document *document, struct ring_error *error)
{
	for (uint32_t i = 1; i < document->member_count; i++)
		if (document->members[i - 1].id == document->members[i].id)
			REFUSE(error, "members %s and %s have the same id %016" PRIx64, document->members[i - 1].name,
			       document->members[i].name, document->members[i].id);
	for (uint32_t i = 1; i < document->member_count; i++) {
		const struct ring_member *left = &document->members[document->by_name[i - 1]];
		const struct ring_member *right = &document->members[document->by_name[i]];

		if (!strcmp(left->name, right->name))
			REFUSE(error, "two members are named %s (ids %016" PRIx64 " and %016" PRIx64 "): rename one",
			       left->name, left->id, right->id);
	}
	return 0;
}

static int copy_members(struct ring_document *document, const struct ring_plan *plan, struct ring_error *error)
{
	for (uint32_t i = 0; i < plan->member_count; i++) {
		int invalid = check_member(&plan->members[i], error);

		if (invalid < 0)
			return invalid;
		if (find_datacenter(document, plan->members[i].datacenter) < 0)
			REFUSE(error, "member %s: datacenter '%.*s' is not among those of the plan",
			       plan->members[i].name, RING_NAME_MAX - 1, plan->members[i].datacenter);
		copy_member(&document->members[i], &plan->members[i]);
	}
	qsort(document->members, document->member_count, sizeof *document->members, compare_members);
	for (uint32_t i = 0; i < document->member_count; i++)
		document->member_datacenter[i] = (uint8_t)find_datacenter(document, document->members[i].datacenter);
	document_sort_names(document);
	return check_unique(document, error);
}

int plan_to_document(const struct ring_plan *plan, const struct ring_document *previous, struct ring_document **out,
		     struct ring_error *error_out)
{
	struct ring_document *document;
	int error = check_counts(plan, error_out);

	if (!error && previous != NULL)
		error = check_previous(plan, previous, error_out);
	if (!error)
		error = check_datacenters(plan, error_out);
	if (!error)
		error = document_create(plan->partition_count, plan->datacenter_count, plan->member_count, &document);
	if (error)
		return error;

	document->cluster_id = plan->cluster_id;
	document->hash_seed = plan->hash_seed;
	error = document_follow(document, previous);
	if (!error)
		error = copy_datacenters(document, plan, error_out);
	if (!error)
		error = copy_members(document, plan, error_out);
	if (error)
		ring_document_destroy(&document);
	else
		*out = document;
	return error;
}
