/* SPDX-License-Identifier: Apache-2.0 */
/* Admin: what operators ask gossip to change about the ring, and its answers. */
#include "node/wire/codec.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "node/membership/ring_change.h"
#include "node/object/limit.h"
#include "node/wire/answer.h"
#include "proto/kv.pb-c.h"

/* ---- InitCluster -------------------------------------------------------------------------------------------- */

static int copy_text(const char *text, char *out, size_t size, size_t member, const char *field,
		     struct rpc_error *error_out)
{
	size_t length = strlen(text);

	if (length < size) {
		memcpy(out, text, length + 1);
		return 0;
	}
	snprintf(error_out->text, sizeof error_out->text, "member %zu: its %s has %zu bytes, the limit is %zu", member,
		 field, length, size - 1);
	return -EINVAL;
}

static int unpack_member(const Kvring__V1__NodeStatus *node, size_t index, struct ring_member *out,
			 struct rpc_error *error_out)
{
	*out = (struct ring_member){.id = node->node_id, .weight = node->weight, .state = RING_MEMBER_ACTIVE};
	if (copy_text(node->name, out->name, sizeof out->name, index, "name", error_out) ||
	    copy_text(node->client_address, out->client_address, sizeof out->client_address, index, "client address",
		      error_out) ||
	    copy_text(node->peer_address, out->peer_address, sizeof out->peer_address, index, "peer address",
		      error_out) ||
	    copy_text(node->bus_address, out->bus_address, sizeof out->bus_address, index, "bus address", error_out) ||
	    copy_text(node->datacenter, out->datacenter, sizeof out->datacenter, index, "datacenter", error_out) ||
	    copy_text(node->rack, out->rack, sizeof out->rack, index, "rack", error_out))
		return -EINVAL;
	return 0;
}

int codec_init_decode(const struct rpc_request *request, struct arena *arena, struct message **out,
		      struct rpc_error *error_out)
{
	Kvring__V1__InitRequest *body =
		rpc_body_decode(&kvring__v1__init_request__descriptor, request->body, arena, error_out);
	struct ring_member *members;
	struct message *message;

	if (body == NULL)
		return -EBADMSG;
	if (body->n_members > RING_MEMBERS_MAX) {
		snprintf(error_out->text, sizeof error_out->text, "%zu members, the limit is %d", body->n_members,
			 RING_MEMBERS_MAX);
		return -EINVAL;
	}
	members = rpc_arena_alloc(arena, (body->n_members + 1) * sizeof *members);
	if (members == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < body->n_members; i++)
		if (unpack_member(body->members[i], i, &members[i], error_out))
			return -EINVAL;
	message = message_create(arena, MESSAGE_INIT_CLUSTER);
	if (message == NULL)
		return -ENOMEM;
	message->to.kind = ACTOR_GOSSIP;
	message->init_cluster.members = members;
	message->init_cluster.member_count = (uint32_t)body->n_members;
	message->init_cluster.partition_count = body->partition_count;
	message->init_cluster.replica_count = body->replica_count;
	*out = message;
	return 0;
}

int codec_rack_decode(const struct rpc_request *request, struct arena *arena, struct message **out,
		      struct rpc_error *error_out)
{
	Kvring__V1__SetRackRequest *body =
		rpc_body_decode(&kvring__v1__set_rack_request__descriptor, request->body, arena, error_out);
	struct message *message;

	if (body == NULL)
		return -EBADMSG;
	if (strlen(body->node) >= RING_NAME_MAX || strlen(body->rack) >= RING_NAME_MAX) {
		snprintf(error_out->text, sizeof error_out->text, "a name of a member or rack has at most %d bytes",
			 RING_NAME_MAX - 1);
		return -EINVAL;
	}
	message = message_create(arena, MESSAGE_SET_RACK);
	if (message == NULL)
		return -ENOMEM;
	message->to.kind = ACTOR_GOSSIP;
	strcpy(message->set_rack.node, body->node);
	strcpy(message->set_rack.rack, body->rack);
	*out = message;
	return 0;
}

/* ---- PlanChange, CommitChange, AbortChange, ForceRing ------------------------------------------------------------------- */

static int unpack_change(const Kvring__V1__MemberChange *change, size_t index, struct member_change *out,
			 struct rpc_error *error_out)
{
	if (change->kind < KVRING__V1__CHANGE_KIND__JOIN || change->kind > KVRING__V1__CHANGE_KIND__DRAIN) {
		snprintf(error_out->text, sizeof error_out->text,
			 "change %zu: this node knows no change of kind %d: upgrade it, or ask a newer one", index + 1,
			 (int)change->kind);
		return -EINVAL;
	}
	if (strlen(change->node) >= RING_NAME_MAX || strlen(change->replacement) >= RING_NAME_MAX) {
		snprintf(error_out->text, sizeof error_out->text, "change %zu: a name of a node has at most %d bytes",
			 index + 1, RING_NAME_MAX - 1);
		return -EINVAL;
	}
	*out = (struct member_change){.kind = (enum change_kind)change->kind, .weight = change->weight};
	strcpy(out->node, change->node);
	strcpy(out->replacement, change->replacement);
	return 0;
}

int codec_change_decode(enum method method, const struct rpc_request *request, struct arena *arena,
			struct message **out, struct rpc_error *error_out)
{
	Kvring__V1__ChangeRequest *body =
		rpc_body_decode(&kvring__v1__change_request__descriptor, request->body, arena, error_out);
	struct member_change *changes;
	struct message *message;

	assert(method == METHOD_PLAN_CHANGE || method == METHOD_COMMIT_CHANGE);
	if (body == NULL)
		return -EBADMSG;
	if (body->n_changes == 0 || body->n_changes > LIMIT_CHANGES) {
		snprintf(error_out->text, sizeof error_out->text, "%zu changes: a plan has 1 to %d", body->n_changes,
			 LIMIT_CHANGES);
		return -EINVAL;
	}
	changes = rpc_arena_alloc(arena, body->n_changes * sizeof *changes);
	if (changes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < body->n_changes; i++)
		if (unpack_change(body->changes[i], i, &changes[i], error_out))
			return -EINVAL;
	message = message_create(arena, method == METHOD_PLAN_CHANGE ? MESSAGE_PLAN_CHANGE : MESSAGE_COMMIT_CHANGE);
	if (message == NULL)
		return -ENOMEM;
	message->to.kind = ACTOR_GOSSIP;
	message->change = (struct change_body){
		.changes = changes,
		.change_count = (uint32_t)body->n_changes,
		.parent_hash = body->parent_hash,
		.plan_hash = body->plan_hash,
		.allow_violations = body->allow_violations,
	};
	*out = message;
	return 0;
}

int codec_abort_decode(const struct rpc_request *request, struct arena *arena, struct message **out,
		       struct rpc_error *error_out)
{
	Kvring__V1__AbortRequest *body =
		rpc_body_decode(&kvring__v1__abort_request__descriptor, request->body, arena, error_out);
	struct message *message;

	if (body == NULL)
		return -EBADMSG;
	message = message_create(arena, MESSAGE_ABORT_CHANGE);
	if (message == NULL)
		return -ENOMEM;
	message->to.kind = ACTOR_GOSSIP;
	message->abort_change.epoch = body->epoch;
	*out = message;
	return 0;
}

int codec_force_decode(const struct rpc_request *request, struct arena *arena, struct message **out,
		       struct rpc_error *error_out)
{
	Kvring__V1__ForceRequest *body =
		rpc_body_decode(&kvring__v1__force_request__descriptor, request->body, arena, error_out);
	struct message *message;
	char(*lost)[RING_NAME_MAX];

	if (body == NULL)
		return -EBADMSG;
	if (body->n_lost == 0 || body->n_lost > LIMIT_CHANGES) {
		snprintf(error_out->text, sizeof error_out->text, "%zu lost members: name 1 to %d", body->n_lost,
			 LIMIT_CHANGES);
		return -EINVAL;
	}
	lost = rpc_arena_zalloc(arena, body->n_lost * sizeof *lost);
	message = lost != NULL ? message_create(arena, MESSAGE_FORCE_RING) : NULL;
	if (message == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < body->n_lost; i++)
		snprintf(lost[i], sizeof lost[i], "%s", body->lost[i]); /* one that is cut off is no member's */
	message->to.kind = ACTOR_GOSSIP;
	message->force.lost = (const char(*)[RING_NAME_MAX])lost;
	message->force.lost_count = (uint32_t)body->n_lost;
	message->force.ring_hash = body->ring_hash;
	*out = message;
	return 0;
}

static int pack_members(const struct change_plan *plan, struct arena *scratch, Kvring__V1__ChangePlan *out)
{
	Kvring__V1__PlannedMember *members = rpc_arena_alloc(scratch, (plan->member_count + 1) * sizeof *members);

	out->members = rpc_arena_alloc(scratch, (plan->member_count + 1) * sizeof *out->members);
	if (members == NULL || out->members == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < plan->member_count; i++) {
		const struct planned_member *member = &plan->members[i];

		kvring__v1__planned_member__init(&members[i]);
		members[i].node_id = member->node_id;
		members[i].name = (char *)member->name;
		members[i].datacenter = (char *)member->datacenter;
		members[i].rack = (char *)member->rack;
		members[i].weight_before = member->weight_before;
		members[i].weight_after = member->weight_after;
		members[i].state_before = (char *)member->state_before;
		members[i].state_after = (char *)member->state_after;
		members[i].partitions_before = member->partitions_before;
		members[i].partitions_after = member->partitions_after;
		members[i].primaries_before = member->primaries_before;
		members[i].primaries_after = member->primaries_after;
		out->members[i] = &members[i];
	}
	out->n_members = plan->member_count;
	return 0;
}

static int pack_links(const struct change_plan *plan, struct arena *scratch, Kvring__V1__ChangePlan *out)
{
	Kvring__V1__PlannedLink *links = rpc_arena_alloc(scratch, (plan->link_count + 1) * sizeof *links);

	out->links = rpc_arena_alloc(scratch, (plan->link_count + 1) * sizeof *out->links);
	if (links == NULL || out->links == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < plan->link_count; i++) {
		kvring__v1__planned_link__init(&links[i]);
		links[i].from = plan->links[i].from;
		links[i].to = plan->links[i].to;
		links[i].partitions = plan->links[i].partitions;
		links[i].bytes = plan->links[i].bytes;
		links[i].estimated_ms = plan->links[i].estimated_ms;
		out->links[i] = &links[i];
	}
	out->n_links = plan->link_count;
	return 0;
}

int codec_plan_encode(const struct message *answer, uint64_t ring_epoch, struct arena *scratch,
		      struct rpc_message **out)
{
	const struct change_plan *plan = answer->change_plan.plan;
	Kvring__V1__ChangePlan body = KVRING__V1__CHANGE_PLAN__INIT;

	if (answer->change_plan.code != KVRING__V1__CODE__OK)
		return answer_refusal(answer->change_plan.code, answer->change_plan.text, ring_epoch, out);
	assert(plan != NULL);
	if (pack_members(plan, scratch, &body) || pack_links(plan, scratch, &body))
		return -ENOMEM;
	body.epoch = plan->epoch;
	body.parent_hash = plan->parent_hash;
	body.plan_hash = plan->plan_hash;
	body.moves = plan->moves;
	body.minimum_moves = plan->minimum_moves;
	body.violations = (char **)plan->violations;
	body.n_violations = plan->violation_count;
	body.bytes = plan->bytes;
	body.estimated_ms = plan->estimated_ms;
	return answer_body(&body.base, ring_epoch, out);
}

/* ---- InitCluster, SetRack, AbortChange, ForceRing: the answer ----------------------------------------------------------- */

int codec_init_encode(const struct message *inited, uint64_t ring_epoch, struct arena *scratch,
		      struct rpc_message **out)
{
	Kvring__V1__InitResponse body = KVRING__V1__INIT_RESPONSE__INIT;

	(void)scratch;
	if (inited->cluster_inited.code != KVRING__V1__CODE__OK)
		return answer_refusal(inited->cluster_inited.code, inited->cluster_inited.text, ring_epoch, out);
	body.cluster_id = inited->cluster_inited.cluster_id;
	body.epoch = inited->cluster_inited.epoch;
	return answer_body(&body.base, ring_epoch, out);
}
