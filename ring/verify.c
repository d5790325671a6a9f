/* SPDX-License-Identifier: Apache-2.0 */
/* Verify: whether a ring document may take the place of the one in force.
 *
 *     in force    the next epoch   is legal when
 *     STABLE      STABLE           every partition keeps its set of owners; members, addresses, racks, weights may change
 *     STABLE      READ_OLD         the old owners are those of the ring in force, in their order
 *     READ_OLD    READ_NEW         it is ring_transition_next, to the byte
 *     READ_NEW    STABLE           it is ring_transition_next, to the byte
 *     READ_OLD    STABLE           an abort: it is ring_transition_abort, to the byte
 *
 * Nothing else is. Between epochs that are further apart only the descent is looked at: each epoch on the way was judged by
 * those who agreed on it.
 */
#include "ring/document.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Two documents, and which member of one is which of the other. */
struct pair {
	const struct ring_document *parent, *next;
	uint16_t *before; /* by member index of next: its index in parent, or RING_NOBODY */
	uint16_t *after;  /* the other way round */
	struct ring_error *error;
};

#define REFUSE(pair, format, ...)                                                                                      \
	do {                                                                                                           \
		ring_error_set((pair)->error, "ring of epoch %" PRIu64 " " format, (pair)->next->epoch, __VA_ARGS__);  \
		return -EINVAL;                                                                                        \
	} while (0)

static const char *const state_names[] = {
	[RING_STABLE] = "stable",
	[RING_WRITE_BOTH_READ_OLD] = "copying",
	[RING_WRITE_BOTH_READ_NEW] = "reading from the new owners",
};

/* ---- members ------------------------------------------------------------------------------------------------ */

/* Both lists ascend by id. */
static void match_members(struct pair *pair)
{
	const struct ring_document *parent = pair->parent, *next = pair->next;

	memset(pair->before, 0xff, next->member_count * sizeof *pair->before); /* RING_NOBODY */
	memset(pair->after, 0xff, parent->member_count * sizeof *pair->after);
	for (uint32_t i = 0, j = 0; i < parent->member_count && j < next->member_count;) {
		if (parent->members[i].id == next->members[j].id) {
			pair->before[j] = (uint16_t)i;
			pair->after[i++] = (uint16_t)j++;
		} else if (parent->members[i].id < next->members[j].id) {
			i++;
		} else {
			j++;
		}
	}
}

static int compare_addresses(const void *a, const void *b, void *context)
{
	const struct ring_member *members = context;

	return strcmp(members[*(const uint16_t *)a].peer_address, members[*(const uint16_t *)b].peer_address);
}

static int check_addresses(const struct pair *pair)
{
	const struct ring_document *next = pair->next;
	uint16_t *order = malloc(next->member_count * sizeof *order);
	uint32_t twin = 1;

	if (order == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < next->member_count; i++)
		order[i] = (uint16_t)i;
	qsort_r(order, next->member_count, sizeof *order, compare_addresses, next->members);
	while (twin < next->member_count && compare_addresses(&order[twin - 1], &order[twin], next->members) != 0)
		twin++;
	const struct ring_member *a = twin < next->member_count ? &next->members[order[twin - 1]] : NULL;
	const struct ring_member *b = twin < next->member_count ? &next->members[order[twin]] : NULL;
	free(order);
	if (a != NULL)
		REFUSE(pair, "has members %s and %s at one peer address, %.100s: correct it in the plan", a->name,
		       b->name, a->peer_address);
	return 0;
}

static int check_members(const struct pair *pair)
{
	for (uint32_t i = 0; i < pair->next->member_count; i++) {
		const struct ring_member *member = &pair->next->members[i];
		const struct ring_member *before =
			pair->before[i] != RING_NOBODY ? &pair->parent->members[pair->before[i]] : NULL;

		if (before != NULL && strcmp(before->name, member->name) != 0)
			REFUSE(pair, "renames member %s (id %016" PRIx64 ") to %s: a member keeps its name, plan again",
			       before->name, member->id, member->name);
	}
	return check_addresses(pair);
}

/* ---- owners ------------------------------------------------------------------------------------------------- */

static int find_datacenter(const struct ring_document *document, const char *name)
{
	for (uint32_t i = 0; i < document->datacenter_count; i++)
		if (strcmp(document->datacenters[i].name, name) == 0)
			return (int)i;
	return -1;
}

/* The table of the datacenter of that name, of width 0 when there is none. */
static struct owner_table table_of(const struct ring_document *document, const struct owner_table *tables,
				   const char *datacenter)
{
	int index = find_datacenter(document, datacenter);

	return index >= 0 ? tables[index] : (struct owner_table){0};
}

static const uint16_t *row_of(const struct owner_table *table, uint32_t partition)
{
	return table->rows + (size_t)partition * table->width;
}

/* Owners of one partition, in order. */
struct row {
	uint16_t members[RING_REPLICAS_MAX];
	uint32_t count;
};

/* A row in the member indexes of the other document; who is not in that datacenter there leaves no trace. */
static struct row translate(const uint16_t *row, uint32_t width, const uint16_t *map, const struct ring_document *to,
			    int datacenter)
{
	struct row out = {.count = 0};

	for (uint32_t i = 0; i < width; i++) {
		uint16_t member = row[i] == RING_NOBODY ? RING_NOBODY : map[row[i]];

		if (member != RING_NOBODY && to->member_datacenter[member] == datacenter)
			out.members[out.count++] = member;
	}
	return out;
}

static bool contains(const uint16_t *row, uint32_t width, uint16_t member)
{
	for (uint32_t i = 0; i < width; i++)
		if (row[i] == member)
			return true;
	return false;
}

/* N of its members own a partition, or all when there are fewer: as a claim makes it. */
static int check_widths(const struct pair *pair)
{
	uint32_t active[RING_DATACENTERS_MAX] = {0};
	const struct ring_document *next = pair->next;

	for (uint32_t i = 0; i < next->member_count; i++)
		active[next->member_datacenter[i]] += next->members[i].state == RING_MEMBER_ACTIVE;
	for (uint32_t i = 0; i < next->datacenter_count; i++) {
		uint32_t replicas = next->datacenters[i].replica_count;
		uint32_t width = replicas < active[i] ? replicas : active[i];

		if (next->owners[i].width != width)
			REFUSE(pair, "gives a partition of datacenter %s %u owners instead of %u: plan again",
			       next->datacenters[i].name, next->owners[i].width, width);
	}
	return 0;
}

/* Datacenters that had owners are there still. */
static int check_datacenters(const struct pair *pair, const struct owner_table *tables)
{
	const struct ring_document *parent = pair->parent;

	for (uint32_t i = 0; i < parent->datacenter_count; i++)
		if (tables[i].width > 0 && find_datacenter(pair->next, parent->datacenters[i].name) < 0)
			REFUSE(pair,
			       "drops datacenter %s, which owns data: let its members leave first, in a change of its "
			       "own",
			       parent->datacenters[i].name);
	return 0;
}

static int refuse_move(const struct pair *pair, uint32_t datacenter, uint32_t partition)
{
	REFUSE(pair,
	       "moves partition %u of datacenter %s to other owners without a transition, so that acknowledged writes "
	       "would "
	       "be lost: plan again; if a node made it, upgrade that node",
	       partition, pair->next->datacenters[datacenter].name);
}

static int check_same_owners(const struct pair *pair, uint32_t datacenter)
{
	const struct owner_table *table = &pair->next->owners[datacenter];
	const char *name = pair->next->datacenters[datacenter].name;
	struct owner_table before = table_of(pair->parent, pair->parent->owners, name);
	int parent_index = find_datacenter(pair->parent, name);

	if (table->width != before.width)
		return refuse_move(pair, datacenter, 0);
	for (uint32_t partition = 0; partition < pair->next->partition_count && table->width > 0; partition++) {
		struct row row =
			translate(row_of(table, partition), table->width, pair->before, pair->parent, parent_index);

		for (uint32_t i = 0; i < row.count; i++)
			if (!contains(row_of(&before, partition), before.width, row.members[i]))
				return refuse_move(pair, datacenter, partition);
		if (row.count < table->width)
			return refuse_move(pair, datacenter, partition);
	}
	return 0;
}

static bool is_row(const struct row *expected, const uint16_t *row, uint32_t width)
{
	for (uint32_t i = 0; i < width; i++)
		if (row[i] != (i < expected->count ? expected->members[i] : RING_NOBODY))
			return false;
	return true;
}

/* Of a transition that begins. */
static int check_old_owners(const struct pair *pair, uint32_t datacenter)
{
	const struct owner_table *old = &pair->next->old_owners[datacenter];
	const char *name = pair->next->datacenters[datacenter].name;
	struct owner_table before = table_of(pair->parent, pair->parent->owners, name);

	if (old->width != before.width)
		REFUSE(pair, "names %u old owners of a partition of datacenter %s, but there are %u: plan again",
		       old->width, name, before.width);
	for (uint32_t partition = 0; partition < pair->next->partition_count && old->width > 0; partition++) {
		struct row row =
			translate(row_of(&before, partition), before.width, pair->after, pair->next, (int)datacenter);

		if (!is_row(&row, row_of(old, partition), old->width))
			REFUSE(pair, "names other old owners of partition %u of datacenter %s than it has: plan again",
			       partition, name);
	}
	return 0;
}

/* ---- all ---------------------------------------------------------------------------------------------------- */

/* What follows is the document that step makes of the parent, to the byte. */
static int check_step(const struct pair *pair,
		      int (*step)(const struct ring_document *, struct ring_document **, struct ring_error *))
{
	struct ring_document *expected;
	int error = step(pair->parent, &expected, pair->error);

	if (error)
		return error;
	bool same = expected->hash == pair->next->hash;
	ring_document_destroy(&expected);
	if (!same)
		REFUSE(pair, "is not the next step of the transition of epoch %" PRIu64 ": take that step again",
		       pair->parent->epoch);
	return 0;
}

static int check_each(const struct pair *pair, const struct owner_table *before,
		      int (*check)(const struct pair *, uint32_t datacenter))
{
	int error = check_datacenters(pair, before);

	for (uint32_t i = 0; i < pair->next->datacenter_count && !error; i++)
		error = check(pair, i);
	return error;
}

static int check_owners(const struct pair *pair)
{
	enum ring_transition from = pair->parent->transition, to = pair->next->transition;

	if (from == RING_STABLE && to == RING_STABLE)
		return check_each(pair, pair->parent->owners, check_same_owners);
	if (from == RING_STABLE && to == RING_WRITE_BOTH_READ_OLD)
		return check_each(pair, pair->parent->owners, check_old_owners);
	if (from == RING_WRITE_BOTH_READ_OLD && to == RING_STABLE)
		return check_step(pair, ring_transition_abort);
	if ((from == RING_WRITE_BOTH_READ_OLD && to == RING_WRITE_BOTH_READ_NEW) ||
	    (from == RING_WRITE_BOTH_READ_NEW && to == RING_STABLE))
		return check_step(pair, ring_transition_next);
	REFUSE(pair, "is %s, which cannot follow a ring that is %s: finish or abort that change first", state_names[to],
	       state_names[from]);
}

static int check_descent(const struct pair *pair)
{
	uint64_t mine = pair->parent->epoch, hash = ring_ancestor_hash(pair->next, mine);

	if (pair->next->epoch - mine > RING_ANCESTORS_MAX)
		REFUSE(pair,
		       "is more than %d epochs after this node's %" PRIu64 ", so that its descent cannot be checked: "
		       "stop this node, remove the file 'ring' from its data directory, and start it again",
		       RING_ANCESTORS_MAX, mine);
	if (hash != pair->parent->hash)
		REFUSE(pair,
		       "does not come from this node's ring (epoch %" PRIu64 " is %016" PRIx64 " there, %016" PRIx64
		       " here): one was forced. If the others are right, stop this node, remove 'ring' from its data "
		       "directory, "
		       "start it",
		       mine, hash, pair->parent->hash);
	return 0;
}

/* The parent's ancestors are those of the document that follows it. */
static int check_ancestors(const struct pair *pair)
{
	const struct ring_document *next = pair->next;

	assert(next->ancestor_count <= pair->parent->ancestor_count + 1);
	if (memcmp(next->ancestors + 1, pair->parent->ancestors,
		   (next->ancestor_count - 1) * sizeof *next->ancestors) != 0)
		REFUSE(pair, "names other documents before epoch %" PRIu64 " than that does: plan again",
		       pair->parent->epoch);
	return 0;
}

static int check_next(struct pair *pair)
{
	int error = -ENOMEM;

	pair->before = malloc(pair->next->member_count * sizeof *pair->before);
	pair->after = malloc(pair->parent->member_count * sizeof *pair->after);
	if (pair->before != NULL && pair->after != NULL) {
		match_members(pair);
		error = check_ancestors(pair);
		if (!error)
			error = check_members(pair);
		if (!error)
			error = check_widths(pair);
		if (!error)
			error = check_owners(pair);
	}
	free(pair->before);
	free(pair->after);
	return error;
}

int ring_verify(const struct ring_document *mine, const struct ring_document *next, struct ring_error *error_out)
{
	struct pair pair = {.parent = mine, .next = next, .error = error_out};
	int error;

	if (!ring_document_same_cluster(mine, next))
		REFUSE(&pair, "is of another cluster, or has another hash seed or number of partitions: check %s",
		       "which node it comes from");
	if (next->epoch <= mine->epoch)
		REFUSE(&pair, "is not newer than this node's epoch %" PRIu64 ": plan again", mine->epoch);
	error = check_descent(&pair);
	if (!error && next->epoch == mine->epoch + 1)
		error = check_next(&pair);
	return error;
}
