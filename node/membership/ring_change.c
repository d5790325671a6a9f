/* SPDX-License-Identifier: Apache-2.0 */
#include "node/membership/ring_change.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VIOLATIONS_MAX = 64, VIOLATION_TEXT_SIZE = 256 };

const char *ring_change_state_name(enum ring_member_state state)
{
	switch (state) {
	case RING_MEMBER_ACTIVE:
		return "active";
	case RING_MEMBER_STANDBY:
		return "standby";
	case RING_MEMBER_LEAVING:
		break;
	}
	return "leaving";
}

/* ---- the members that are wanted ------------------------------------------------------------------------------ */

/* The members in the making: those of the ring in force at their indexes, then those that join. */
struct draft {
	const struct change_scene *scene;
	struct ring_member *members;
	bool *changed; /* by a change of this plan */
	uint32_t count;
	struct ring_error *error;
};

/* Returns the code. */
__attribute__((format(printf, 3, 4))) static int refuse(const struct draft *draft, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(draft->error->text, sizeof draft->error->text, format, arguments);
	va_end(arguments);
	return code;
}

static const struct heard_node *find_heard(const struct change_scene *scene, uint64_t id)
{
	for (uint32_t i = 0; i < scene->node_count; i++)
		if (scene->nodes[i].row->node_id == id)
			return &scene->nodes[i];
	return NULL;
}

static bool is_up(const struct change_scene *scene, uint64_t id)
{
	const struct heard_node *node = find_heard(scene, id);

	return node != NULL && node->is_up;
}

/* A member that this plan may change, by its name. Its index, or an error with a text. */
static int take_member(struct draft *draft, const char *name)
{
	int index = ring_member_find_name(draft->scene->document, name);

	if (index < 0)
		return refuse(draft, -ENOENT, "no member is named '%s': `kvctl status` lists them", name);
	if (draft->changed[index])
		return refuse(draft, -ENOENT, "%s stands twice in the plan: leave one of its changes out", name);
	draft->changed[index] = true;
	return index;
}

/* The node of that name that is no member, or NULL with a text. */
static const struct heard_node *find_stranger(struct draft *draft, const char *name)
{
	const struct change_scene *scene = draft->scene;
	const struct heard_node *found = NULL;

	for (uint32_t i = 0; i < scene->node_count; i++) {
		const struct heard_node *node = &scene->nodes[i];

		if (node->is_member || strcmp(node->row->name, name) != 0)
			continue;
		if (found != NULL && found->is_up && node->is_up) {
			(void)refuse(draft, -EPERM,
				     "two nodes named %s are heard (ids %016" PRIx64 " and %016" PRIx64
				     "): give one of them another name",
				     name, found->row->node_id, node->row->node_id);
			return NULL;
		}
		if (found == NULL || node->is_up)
			found = node;
	}
	if (found == NULL)
		(void)refuse(draft, -EPERM,
			     "no node named '%s' is heard: start it with a member's peer address as --seed. A node of "
			     "another cluster is not listened to: give it an empty data directory",
			     name);
	return found;
}

static int check_newcomer(struct draft *draft, const struct heard_node *node)
{
	const struct gossip_row *row = node->row;
	const struct ring_document *document = draft->scene->document;
	bool datacenter_known = false;

	for (uint32_t i = 0; i < ring_datacenter_count(document); i++)
		datacenter_known |= strcmp(ring_datacenter(document, i)->name, row->datacenter) == 0;
	if (!node->is_up)
		return refuse(draft, -EPERM, "%s is not heard any more: start it, or wait until it is reached again",
			      row->name);
	if (row->cluster_id != 0)
		return refuse(
			draft, -EPERM,
			"%s was a member before and holds data of that time: stop it, give it an empty data directory, "
			"start it and plan again",
			row->name);
	if (!datacenter_known)
		return refuse(draft, -EPERM,
			      "%s is in datacenter '%s', which this cluster does not have: start it with --dc %s",
			      row->name, row->datacenter, ring_datacenter(document, 0)->name);
	for (uint32_t i = 0; i < draft->count; i++)
		if (strcmp(draft->members[i].peer_address, row->peer_address) == 0)
			return refuse(
				draft, -EPERM,
				"%s has the peer address %s, as %s: give one of them another address, or replace %s by "
				"it "
				"when that one is gone for good",
				row->name, row->peer_address, draft->members[i].name, draft->members[i].name);
	return 0;
}

static int add_stranger(struct draft *draft, const char *name, uint32_t weight)
{
	const struct heard_node *node = find_stranger(draft, name);
	struct ring_member *member = &draft->members[draft->count];
	int error;

	if (node == NULL)
		return -EPERM;
	for (uint32_t i = 0; i < draft->count; i++)
		if (draft->members[i].id == node->row->node_id)
			return refuse(draft, -ENOENT, "%s stands twice in the plan: leave one of its changes out",
				      name);
	error = check_newcomer(draft, node);
	if (error)
		return error;
	const struct gossip_row *row = node->row;
	*member = (struct ring_member){.id = row->node_id, .state = RING_MEMBER_ACTIVE, .weight = weight};
	if (member->weight == 0)
		member->weight = row->weight > 0 ? row->weight : RING_WEIGHT_DEFAULT;
	memcpy(member->name, row->name, sizeof member->name);
	memcpy(member->client_address, row->client_address, sizeof member->client_address);
	memcpy(member->peer_address, row->peer_address, sizeof member->peer_address);
	memcpy(member->bus_address, row->bus_address, sizeof member->bus_address);
	memcpy(member->datacenter, row->datacenter, sizeof member->datacenter);
	memcpy(member->rack, row->rack, sizeof member->rack);
	draft->changed[draft->count++] = true;
	return 0;
}

/* A node that is heard, or a member on standby, becomes active. weight 0: its own. */
static int add_member(struct draft *draft, const char *name, uint32_t weight)
{
	int index = ring_member_find_name(draft->scene->document, name);
	struct ring_member *member;

	if (index < 0)
		return add_stranger(draft, name, weight);
	member = &draft->members[index];
	if (member->state == RING_MEMBER_ACTIVE)
		return refuse(draft, -EPERM,
			      "%s (id %016" PRIx64
			      ") is an active member already. If another node is meant, give that one another "
			      "name",
			      name, member->id);
	index = take_member(draft, name);
	if (index < 0)
		return index;
	if (!is_up(draft->scene, member->id))
		return refuse(draft, -EPERM, "%s is not heard: start it, or wait until it is reached again", name);
	member->state = RING_MEMBER_ACTIVE;
	if (weight > 0)
		member->weight = weight;
	return 0;
}

/* A member that goes. */
static int send_off(struct draft *draft, const char *name, enum ring_member_state state)
{
	int index = take_member(draft, name);

	if (index < 0)
		return index;
	if (state == RING_MEMBER_STANDBY && draft->members[index].state == RING_MEMBER_STANDBY)
		return refuse(draft, -EPERM, "%s is on standby already: it owns nothing", name);
	draft->members[index].state = state;
	return index;
}

/* One that is not up. */
static int send_off_dead(struct draft *draft, const char *name)
{
	int index = send_off(draft, name, RING_MEMBER_LEAVING);

	if (index >= 0 && is_up(draft->scene, draft->members[index].id))
		return refuse(
			draft, -EPERM,
			"%s is up: let it leave, so that it hands its data over itself, or stop it if it is to go for "
			"good",
			name);
	return index;
}

static int reweight(struct draft *draft, const struct member_change *change)
{
	int index = take_member(draft, change->node);
	uint32_t weight = change->weight;

	if (index < 0)
		return index;
	if (weight == 0) {
		const struct heard_node *node = find_heard(draft->scene, draft->members[index].id);

		weight = node != NULL && node->is_up ? node->row->weight : 0;
	}
	if (weight == 0 || weight > RING_WEIGHT_MAX)
		return refuse(draft, -ENOENT,
			      "weight %" PRIu32
			      " of %s: use 1 to %d; 0 takes what the node was started with, while it is up",
			      change->weight, change->node, RING_WEIGHT_MAX);
	draft->members[index].weight = weight;
	return 0;
}

static int replace(struct draft *draft, const struct member_change *change)
{
	int index = send_off_dead(draft, change->node);

	if (index < 0)
		return index;
	if (change->replacement[0] == 0)
		return refuse(draft, -ENOENT, "%s is to be replaced by nobody: name a node, or remove %s", change->node,
			      change->node);
	return add_member(draft, change->replacement, draft->members[index].weight);
}

static int apply(struct draft *draft, const struct member_change *change)
{
	int result = 0;

	switch (change->kind) {
	case CHANGE_JOIN:
		if (change->weight > RING_WEIGHT_MAX)
			return refuse(draft, -ENOENT, "weight %" PRIu32 " of %s: use 1 to %d, or 0 for its own",
				      change->weight, change->node, RING_WEIGHT_MAX);
		return add_member(draft, change->node, change->weight);
	case CHANGE_LEAVE:
		result = send_off(draft, change->node, RING_MEMBER_LEAVING);
		break;
	case CHANGE_DRAIN:
		result = send_off(draft, change->node, RING_MEMBER_STANDBY);
		break;
	case CHANGE_REMOVE:
		result = send_off_dead(draft, change->node);
		break;
	case CHANGE_REPLACE:
		return replace(draft, change);
	case CHANGE_REWEIGHT:
		return reweight(draft, change);
	}
	return result < 0 ? result : 0;
}

/* ---- what a plan must not do ---------------------------------------------------------------------------------- */

static uint32_t count_active(const struct ring_member *members, uint32_t count, const char *datacenter)
{
	uint32_t active = 0;

	for (uint32_t i = 0; i < count; i++)
		active += members[i].state == RING_MEMBER_ACTIVE && strcmp(members[i].datacenter, datacenter) == 0;
	return active;
}

static bool is_going_by_itself(const struct change_body *body, const char *name)
{
	for (uint32_t i = 0; i < body->change_count; i++)
		if ((body->changes[i].kind == CHANGE_LEAVE || body->changes[i].kind == CHANGE_DRAIN) &&
		    strcmp(body->changes[i].node, name) == 0)
			return true;
	return false;
}

/* A live member stays while its datacenter has too few. */
static int check_leavers(struct draft *draft, const struct change_body *body)
{
	const struct ring_document *document = draft->scene->document;

	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		const struct ring_datacenter *datacenter =
			ring_datacenter(document, ring_member_datacenter(document, i));

		if (!draft->changed[i] || ring_member(document, i)->state != RING_MEMBER_ACTIVE ||
		    !is_going_by_itself(body, draft->members[i].name))
			continue;
		uint32_t active = count_active(draft->members, draft->count, datacenter->name);
		if (active < datacenter->replica_count)
			return refuse(draft, -EPERM,
				      "without %s datacenter %s has %" PRIu32 " active members for %" PRIu32
				      " replicas of each key: let another node join first, or in the same plan",
				      draft->members[i].name, datacenter->name, active, datacenter->replica_count);
	}
	return 0;
}

static int check_ring(struct draft *draft)
{
	const struct ring_document *document = draft->scene->document;

	if (ring_transition(document) != RING_STABLE)
		return refuse(draft, -EPERM,
			      "a change is under way (epoch %" PRIu64
			      "): wait for it with `kvctl cluster wait`, or abort it while it "
			      "copies",
			      ring_epoch(document));
	for (uint32_t i = 0; i < ring_member_count(document); i++)
		if (ring_member(document, i)->state == RING_MEMBER_LEAVING)
			return refuse(draft, -EPERM,
				      "%s is still leaving (epoch %" PRIu64
				      "): wait for the end of that change with `kvctl cluster "
				      "wait`",
				      ring_member(document, i)->name, ring_epoch(document));
	return 0;
}

/* ---- target --------------------------------------------------------------------------------------------------- */

static int claim(const struct draft *draft, struct ring_document **out)
{
	const struct ring_document *document = draft->scene->document;
	struct ring_datacenter datacenters[RING_DATACENTERS_MAX];
	struct ring_plan plan = {
		.cluster_id = ring_cluster_id(document),
		.hash_seed = ring_hash_seed(document),
		.partition_count = ring_partition_count(document),
		.datacenters = datacenters,
		.datacenter_count = ring_datacenter_count(document),
		.members = draft->members,
		.member_count = draft->count,
	};

	for (uint32_t i = 0; i < plan.datacenter_count; i++)
		datacenters[i] = *ring_datacenter(document, i);
	return ring_claim(document, &plan, out, draft->error);
}

static int make_target(struct draft *draft, const struct change_body *body, struct ring_document **out)
{
	uint32_t active = 0;
	int error = check_ring(draft);

	for (uint32_t i = 0; i < ring_member_count(draft->scene->document); i++)
		draft->members[draft->count++] = *ring_member(draft->scene->document, i);
	for (uint32_t i = 0; i < body->change_count && !error; i++)
		error = apply(draft, &body->changes[i]);
	if (!error)
		error = check_leavers(draft, body);
	if (error)
		return error;
	for (uint32_t i = 0; i < draft->count; i++)
		active += draft->members[i].state == RING_MEMBER_ACTIVE;
	if (active == 0)
		return refuse(draft, -EPERM,
			      "no active member would be left to hold the data: let another node join first");
	return claim(draft, out);
}

static bool has_same_members(const struct ring_document *a, const struct ring_document *b)
{
	if (ring_member_count(a) != ring_member_count(b))
		return false;
	for (uint32_t i = 0; i < ring_member_count(a); i++)
		if (ring_member(a, i)->weight != ring_member(b, i)->weight ||
		    ring_member(a, i)->state != ring_member(b, i)->state)
			return false;
	return true;
}

/* No member is another, and no partition has other owners. */
static int check_difference(const struct draft *draft, struct ring_document **target)
{
	struct ring_error moves;
	int error = has_same_members(draft->scene->document, *target)
			    ? ring_verify(draft->scene->document, *target, &moves)
			    : -EINVAL;

	if (error == -EINVAL)
		return 0;
	ring_document_destroy(target);
	return error ? error : refuse(draft, -EPERM, "the plan changes nothing: the ring is like that already");
}

int ring_change_target(const struct change_scene *scene, const struct change_body *body,
		       struct ring_document **target_out, struct ring_error *error_out)
{
	size_t room = ring_member_count(scene->document) + (size_t)body->change_count;
	struct draft draft = {.scene = scene, .error = error_out};
	int error = -ENOMEM;

	draft.members = calloc(room, sizeof *draft.members);
	draft.changed = calloc(room, sizeof *draft.changed);
	if (draft.members != NULL && draft.changed != NULL)
		error = make_target(&draft, body, target_out);
	if (!error)
		error = check_difference(&draft, target_out);
	free(draft.members);
	free(draft.changed);
	return error;
}

int ring_change_begin(const struct ring_document *document, const struct ring_document *target,
		      struct ring_document **out, struct ring_error *error_out)
{
	int error = ring_verify(document, target, error_out); /* as it is, when no partition gets other owners */

	if (error == -EINVAL)
		return ring_transition_begin(document, target, out, error_out);
	if (!error)
		*out = ring_document_ref(target);
	return error;
}

/* ---- what it costs -------------------------------------------------------------------------------------------- */

/* A place of a partition that goes to another owner. */
struct move {
	uint64_t from, to;
	uint64_t bytes;
};

/* Everything that counting needs. */
struct count {
	const struct change_scene *scene;
	const struct ring_document *before, *after;
	uint64_t *partition_bytes; /* by member of before: what one partition has there; 0: not known */
	struct move *moves;        /* NULL: they are counted alone */
	uint32_t move_count;
};

static bool owns(const struct ring_document *document, const uint16_t *row, uint32_t width, uint64_t id)
{
	for (uint32_t i = 0; i < width; i++)
		if (ring_member(document, row[i])->id == id)
			return true;
	return false;
}

/* What that partition holds, by the word of an owner. */
static uint64_t bytes_of(const struct count *count, const uint16_t *row, uint32_t width)
{
	for (uint32_t i = 0; i < width; i++)
		if (count->partition_bytes[row[i]] > 0)
			return count->partition_bytes[row[i]];
	return 0;
}

/* Owners that come are paired with those that go, in the order of the rows. */
static void count_partition(struct count *count, uint32_t partition, uint32_t datacenter)
{
	const uint16_t *before, *after;
	uint32_t width = ring_owners(count->before, partition, datacenter, &before);
	uint32_t new_width = ring_owners(count->after, partition, datacenter, &after);

	for (uint32_t i = 0, gone = 0; i < new_width; i++) {
		uint64_t to = ring_member(count->after, after[i])->id;

		if (owns(count->before, before, width, to))
			continue;
		while (gone < width &&
		       owns(count->after, after, new_width, ring_member(count->before, before[gone])->id))
			gone++;
		if (count->moves != NULL)
			count->moves[count->move_count] =
				(struct move){gone < width ? ring_member(count->before, before[gone])->id : 0, to,
					      bytes_of(count, before, width)};
		count->move_count++;
		gone += gone < width;
	}
}

static void count_moves(struct count *count)
{
	assert(ring_datacenter_count(count->before) == ring_datacenter_count(count->after));
	count->move_count = 0;
	for (uint32_t datacenter = 0; datacenter < ring_datacenter_count(count->before); datacenter++)
		for (uint32_t partition = 0; partition < ring_partition_count(count->before); partition++)
			count_partition(count, partition, datacenter);
}

static int compare_moves(const void *a_in, const void *b_in)
{
	const struct move *a = a_in, *b = b_in;

	if (a->to != b->to)
		return a->to < b->to ? -1 : 1;
	return (a->from > b->from) - (a->from < b->from);
}

static void look_at_figures(struct count *count)
{
	for (uint32_t i = 0; i < count->scene->node_count; i++) {
		const struct gossip_row *row = count->scene->nodes[i].row;
		int index = ring_member_find(count->before, row->node_id);
		uint32_t replicas = index < 0 ? 0 : ring_member_replicas(count->before, (uint32_t)index);

		if (replicas > 0)
			count->partition_bytes[index] = row->figures.disk_bytes / replicas;
	}
}

/* Links in the order of who takes; all of those of one node share what it takes in. */
static int make_links(const struct count *count, struct arena *arena, struct change_plan *plan)
{
	uint64_t bytes = 0, rate = count->scene->bytes_per_second;

	plan->links = rpc_arena_alloc(arena, (count->move_count + 1) * sizeof *plan->links);
	if (plan->links == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count->move_count; i++) {
		const struct move *move = &count->moves[i];

		if (i == 0 || move->to != move[-1].to)
			bytes = 0;
		if (i == 0 || compare_moves(move, move - 1) != 0)
			plan->links[plan->link_count++] = (struct planned_link){.from = move->from, .to = move->to};
		struct planned_link *link = &plan->links[plan->link_count - 1];
		link->partitions++;
		link->bytes += move->bytes;
		link->estimated_ms = link->bytes * 1000 / rate;
		bytes += move->bytes;
		plan->bytes += move->bytes;
		if (bytes * 1000 / rate > plan->estimated_ms)
			plan->estimated_ms = bytes * 1000 / rate;
	}
	return 0;
}

static int add_links(const struct change_scene *scene, const struct ring_document *target, struct arena *arena,
		     struct change_plan *plan)
{
	struct count count = {.scene = scene, .before = scene->document, .after = target};
	int error = -ENOMEM;

	assert(scene->bytes_per_second > 0);
	count_moves(&count);
	plan->moves = count.move_count;
	count.partition_bytes = calloc(ring_member_count(scene->document), sizeof *count.partition_bytes);
	count.moves = calloc(count.move_count + 1, sizeof *count.moves);
	if (count.partition_bytes != NULL && count.moves != NULL) {
		look_at_figures(&count);
		count_moves(&count);
		qsort(count.moves, count.move_count, sizeof *count.moves, compare_moves);
		error = make_links(&count, arena, plan);
	}
	free(count.partition_bytes);
	free(count.moves);
	return error;
}

/* ---- members before and after --------------------------------------------------------------------------------- */

/* index -1: it is no member then. */
static void add_before(const struct ring_document *document, int index, struct planned_member *out)
{
	out->state_before = index < 0 ? "" : ring_change_state_name(ring_member(document, (uint32_t)index)->state);
	if (index < 0)
		return;
	out->weight_before = ring_member(document, (uint32_t)index)->weight;
	out->partitions_before = ring_member_replicas(document, (uint32_t)index);
	out->primaries_before = ring_member_primaries(document, (uint32_t)index);
}

/* Every member of before is one of after. */
static int add_members(const struct ring_document *before, const struct ring_document *after, struct arena *arena,
		       struct change_plan *plan)
{
	plan->member_count = ring_member_count(after);
	plan->members = rpc_arena_zalloc(arena, plan->member_count * sizeof *plan->members);
	if (plan->members == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < plan->member_count; i++) {
		const struct ring_member *member = ring_member(after, i);
		struct planned_member *planned = &plan->members[i];

		planned->node_id = member->id;
		planned->name = rpc_arena_printf(arena, "%s", member->name);
		planned->datacenter = rpc_arena_printf(arena, "%s", member->datacenter);
		planned->rack = rpc_arena_printf(arena, "%s", member->rack);
		if (planned->name == NULL || planned->datacenter == NULL || planned->rack == NULL)
			return -ENOMEM;
		add_before(before, ring_member_find(before, member->id), planned);
		planned->weight_after = member->weight;
		planned->state_after = ring_change_state_name(member->state);
		planned->partitions_after = ring_member_replicas(after, i);
		planned->primaries_after = ring_member_primaries(after, i);
		if (planned->partitions_after > planned->partitions_before)
			plan->minimum_moves += planned->partitions_after - planned->partitions_before;
	}
	return 0;
}

static uint32_t count_violations(const struct ring_document *document)
{
	char text[VIOLATION_TEXT_SIZE];
	uint32_t count = 0;

	while (ring_violation(document, count, text, sizeof text))
		count++;
	return count;
}

static bool has_fewer_owners(const struct ring_document *before, const struct ring_document *after)
{
	const uint16_t *row;

	for (uint32_t i = 0; i < ring_datacenter_count(before); i++)
		if (ring_owners(after, 0, i, &row) < ring_owners(before, 0, i, &row))
			return true;
	return false;
}

static int add_violations(const struct ring_document *before, const struct ring_document *after, struct arena *arena,
			  struct change_plan *plan)
{
	char text[VIOLATION_TEXT_SIZE];

	plan->violates = count_violations(after) > count_violations(before) || has_fewer_owners(before, after);
	plan->violations = rpc_arena_alloc(arena, VIOLATIONS_MAX * sizeof *plan->violations);
	if (plan->violations == NULL)
		return -ENOMEM;
	while (plan->violation_count < VIOLATIONS_MAX &&
	       ring_violation(after, plan->violation_count, text, sizeof text)) {
		const char *copy = rpc_arena_printf(arena, "%s", text);

		if (copy == NULL)
			return -ENOMEM;
		plan->violations[plan->violation_count++] = copy;
	}
	return 0;
}

int ring_change_plan(const struct change_scene *scene, const struct ring_document *target, struct arena *arena,
		     struct change_plan **out)
{
	struct change_plan *plan = rpc_arena_zalloc(arena, sizeof *plan);
	int error;

	if (plan == NULL)
		return -ENOMEM;
	plan->epoch = ring_epoch(target);
	plan->parent_hash = ring_hash(scene->document);
	plan->plan_hash = ring_hash(target);
	error = add_links(scene, target, arena, plan);
	if (!error)
		error = add_members(scene->document, target, arena, plan);
	if (!error)
		error = add_violations(scene->document, target, arena, plan);
	*out = plan;
	return error;
}
