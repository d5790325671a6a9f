/* SPDX-License-Identifier: Apache-2.0 */
/* What operators plan, commit and abort, as documents that follow the ring in force. */
#include "node/membership/gossip_state.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "node/membership/ring_change.h"

#define RATE_DEFAULT (32 * 1024 * 1024) /* bytes a second */

/* ---- planning ----------------------------------------------------------------------------------------------- */

static int make_scene(const struct gossip *self, struct arena *arena, struct change_scene *out)
{
	struct heard_node *nodes = rpc_arena_alloc(arena, (self->table.count + 1) * sizeof *nodes);
	uint32_t count = 0;

	if (nodes == NULL)
		return -ENOMEM;
	nodes[count++] =
		(struct heard_node){&self->self, true, ring_member_find(self->document, self->self.node_id) >= 0};
	for (uint32_t i = 0; i < self->table.count; i++) {
		const struct gossip_peer *peer = &self->table.peers[i];

		if (!peer->forgotten)
			nodes[count++] = (struct heard_node){
				&self->table.rows[i], peer->heard && peer->reachability == RING_UP, peer->is_member};
	}
	*out = (struct change_scene){
		.document = self->document,
		.nodes = nodes,
		.node_count = count,
		.bytes_per_second = self->transfer_bytes_per_s > 0 ? self->transfer_bytes_per_s : RATE_DEFAULT,
	};
	return 0;
}

/* The target, and what it costs, in the arena. */
static int make_plan(const struct gossip *self, const struct change_body *body, struct arena *arena,
		     struct ring_document **target_out, struct change_plan **plan_out, struct ring_error *why)
{
	struct ring_document *target;
	struct change_scene scene;
	int error = make_scene(self, arena, &scene);

	if (!error)
		error = ring_change_target(&scene, body, &target, why);
	if (error)
		return error;
	error = ring_change_plan(&scene, target, arena, plan_out);
	if (error)
		ring_document_destroy(&target);
	else
		*target_out = target;
	return error;
}

uint32_t gossip_wish_code(int error)
{
	return error == -ENOMEM   ? RPC_CODE_RESOURCE_EXHAUSTED
	       : error == -ENOENT ? RPC_CODE_INVALID_ARGUMENT
				  : RPC_CODE_FAILED_PRECONDITION;
}

void gossip_answer_plan(struct message *question, uint32_t code, const char *text, const struct change_plan *plan,
			struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_CHANGE_PLAN);

	if (answer != NULL) {
		answer->change_plan = (struct change_plan_body){.code = code, .text = text, .plan = plan};
		message_pin(answer, question->arena); /* a plan lies there */
		effects_send(out, answer);
	}
	message_free(question);
}

void gossip_plan_change(const struct gossip *self, struct message *question, struct effects *out)
{
	struct ring_document *target;
	struct change_plan *plan = NULL;
	struct ring_error why = {"out of memory: retry later or at another node"};
	int error;

	if (self->document == NULL) {
		gossip_answer_plan(question, RPC_CODE_UNAVAILABLE,
				   "this node is in no cluster: ask another, or make one by `kvctl cluster init`", NULL,
				   out);
		return;
	}
	error = make_plan(self, &question->change, question->arena, &target, &plan, &why);
	if (error) {
		gossip_answer_plan(question, gossip_wish_code(error), rpc_arena_printf(out->arena, "%s", why.text),
				   NULL, out);
		return;
	}
	ring_document_destroy(&target);
	gossip_answer_plan(question, RPC_CODE_OK, NULL, plan, out);
}

/* ---- what is proposed ----------------------------------------------------------------------------------------- */

static int check_rules(const struct change_body *body, const struct change_plan *plan, struct ring_error *why)
{
	if (plan->violates && !body->allow_violations) {
		snprintf(why->text, sizeof why->text,
			 "the plan breaks placement rules (%s): change it, or allow that (--allow)",
			 plan->violation_count > 0 ? plan->violations[0] : "fewer replicas of each key");
		return -EPERM;
	}
	return 0;
}

static int check_plan(const struct change_body *body, const struct change_plan *plan, struct ring_error *why)
{
	if (plan->plan_hash == body->plan_hash)
		return check_rules(body, plan, why);
	snprintf(why->text, sizeof why->text,
		 "what this node hears of the nodes in the plan has changed since it was made: plan again");
	return -EPERM;
}

static int make_change(struct gossip *self, struct ring_document **out, struct ring_error *why)
{
	struct proposal *proposal = &self->proposal;
	const struct change_body *body = &proposal->question->change;
	struct ring_document *target;
	struct change_plan *plan;
	int error;

	if (body->parent_hash != self->self.ring_hash) {
		snprintf(why->text, sizeof why->text,
			 "the ring changed since the plan was made (now epoch %" PRIu64 "): plan again",
			 self->self.epoch);
		return -EPERM;
	}
	error = make_plan(self, body, proposal->question->arena, &target, &plan, why);
	if (error)
		return error;
	proposal->plan = plan;
	error = check_plan(body, plan, why);
	if (!error)
		error = ring_change_begin(self->document, target, out, why);
	ring_document_destroy(&target);
	return error;
}

static int make_abort(struct gossip *self, struct ring_document **out, struct ring_error *why)
{
	uint64_t epoch = self->proposal.question->abort_change.epoch;

	if (epoch != 0 && epoch != self->self.epoch) {
		snprintf(why->text, sizeof why->text,
			 "the change of epoch %" PRIu64 " is not the one under way (epoch %" PRIu64
			 "): look at `kvctl status`",
			 epoch, self->self.epoch);
		return -EPERM;
	}
	return ring_transition_abort(self->document, out, why);
}

int gossip_make_change(const struct gossip *self, const struct member_change *change, struct ring_document **out,
		       struct ring_error *why)
{
	const struct change_body body = {.changes = change, .change_count = 1};
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct ring_document *target;
	struct change_plan *plan;
	int error = arena != NULL ? make_plan(self, &body, arena, &target, &plan, why) : -ENOMEM;

	if (!error) {
		error = check_rules(&body, plan, why);
		if (!error)
			error = ring_change_begin(self->document, target, out, why);
		ring_document_destroy(&target);
	}
	rpc_arena_unref(arena);
	return error;
}

int gossip_make_wish(struct gossip *self, struct ring_document **out, struct ring_error *why)
{
	switch (self->proposal.wish) {
	case WISH_CHANGE:
		return make_change(self, out, why);
	case WISH_ABORT:
		return make_abort(self, out, why);
	case WISH_SCALE:
		return gossip_make_change(self, &self->scale_decision.change, out, why);
	case WISH_NEXT:
		return ring_transition_next(self->document, out, why);
	case WISH_DROP_LEAVERS:
		return ring_drop_leavers(self->document, out, why);
	case WISH_RACK:
	case WISH_NONE:
		break;
	}
	assert(!"a wish of gossip_propose.c");
	return -EINVAL;
}
