/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the ring: what an operator asks this node for, or the next step of a change (gossip_advance.c), is proposed to the members of the
 * ring in force, agreed on by a majority of them (acceptor.h), and then installed and spread like every other ring document.
 *
 *     PREPARE   a majority promises; what one of them accepted before under the highest ballot is proposed instead of the own document
 *     ACCEPT    a majority accepts: the document is chosen
 *     outbid    another node proposes too: a higher ballot after a while that is drawn
 *
 * When another document was chosen the operator's change is made anew on top of it, until its deadline. A proposer that dies leaves
 * nothing behind but votes, which the next proposal finds.
 */
#include "node/membership/gossip_state.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GIVE_UP_ROUNDS = 2, /* before the deadline */
	RESEND_ROUNDS = 4,  /* a member that has not answered is asked again */
	WAIT_ROUNDS = 16,   /* before another ballot, at most; at first 2, then twice as long each time */
};

/* ---- the operator ------------------------------------------------------------------------------------------- */

static void answer_operator(struct gossip *self, struct message *question, uint32_t code, const char *text,
			    struct effects *out)
{
	struct message *answer;

	if (question->type == MESSAGE_COMMIT_CHANGE) {
		gossip_answer_plan(question, code, text, code == RPC_CODE_OK ? self->proposal.plan : NULL, out);
		return;
	}
	answer = message_answer(question, out->arena, MESSAGE_CLUSTER_INITED);
	message_free(question);
	if (answer == NULL)
		return; /* out of memory: the caller's deadline speaks */
	answer->cluster_inited.code = code;
	answer->cluster_inited.text = text;
	answer->cluster_inited.cluster_id = self->self.cluster_id;
	answer->cluster_inited.epoch = self->self.epoch;
	effects_send(out, answer);
}

static void forget(struct gossip *self)
{
	struct proposal *proposal = &self->proposal;

	free(proposal->answered);
	free(proposal->own);
	free(proposal->found);
	*proposal = (struct proposal){.phase_number = proposal->phase_number, .stopping = proposal->stopping};
}

/* The operator, if one has asked, is answered. */
static void end(struct gossip *self, uint32_t code, const char *text, struct effects *out)
{
	assert(self->proposal.wish != WISH_NONE);
	if (self->proposal.question != NULL)
		answer_operator(self, self->proposal.question, code, text, out);
	else if (self->proposal.wish == WISH_SCALE && code != RPC_CODE_OK)
		gossip_tell_autoscale(self, NOTE_AUTOSCALE_CANNOT, text, out);
	forget(self);
}

void gossip_propose_fini(struct gossip *self)
{
	message_free(self->proposal.question);
	forget(self);
}

/* ---- voting ------------------------------------------------------------------------------------------------- */

/* Why this node must not vote now, or NULL. */
static const char *check_voter(const struct gossip *self)
{
	if (self->document == NULL || ring_member_find(self->document, self->self.node_id) < 0)
		return "it is no member of the ring";
	if (self->displaced || gossip_is_held(self))
		return "another process goes by its id";
	if (self->self.receiving)
		return "its data directory went back in time, and no operator has accepted that";
	if (!self->proven)
		return "it has just started, and a majority of the members has not confirmed that yet";
	return NULL;
}

static void vote(struct gossip *self, const struct vote_body *question, struct arena *arena, struct voted_body *out)
{
	const char *wrong = check_voter(self);

	if (wrong == NULL)
		acceptor_vote(&self->acceptor, self->document, question, arena, out);
	else
		*out = (struct voted_body){.outcome = VOTE_REFUSED, .epoch = self->self.epoch, .text = wrong};
}

void gossip_vote(struct gossip *self, const struct message *question, uint64_t now_us, struct effects *out)
{
	struct message *answer = message_answer(question, out->arena, MESSAGE_VOTED);

	if (answer == NULL)
		return;
	vote(self, &question->vote, out->arena, &answer->voted);
	answer->epoch = self->self.epoch;
	effects_send(out, answer);
	gossip_get_newer(self, question->vote.parent_epoch, question->vote.ballot.node_id, now_us, out);
}

/* ---- proposing ---------------------------------------------------------------------------------------------- */

static uint32_t majority(const struct gossip *self)
{
	return ring_member_count(self->document) / 2 + 1;
}

static struct vote_body question_of(const struct gossip *self)
{
	const struct proposal *proposal = &self->proposal;
	struct vote_body question = {.parent_epoch = self->self.epoch,
				     .parent_hash = self->self.ring_hash,
				     .ballot = {proposal->counter, self->self.node_id}};

	if (proposal->accepting)
		question.document = proposal->found != NULL ? (struct rpc_slice){proposal->found, proposal->found_size}
							    : (struct rpc_slice){proposal->own, proposal->own_size};
	return question;
}

/* To all that have not answered yet. */
static void ask_for_votes(struct gossip *self, uint64_t now_us, struct effects *out)
{
	struct proposal *proposal = &self->proposal;
	struct vote_body question = question_of(self);

	proposal->again_us = now_us + RESEND_ROUNDS * self->round_us;
	if (question.document.size > 0)
		question.document.data = rpc_arena_copy(out->arena, question.document.data, question.document.size);
	if (question.document.size > 0 && question.document.data == NULL)
		return; /* out of memory: later */
	for (uint32_t i = 0; i < ring_member_count(self->document); i++) {
		uint64_t id = ring_member(self->document, i)->id;
		struct message *message = proposal->answered[i] ? NULL : message_create(out->arena, MESSAGE_VOTE);

		if (message == NULL)
			continue;
		message->from = (struct address){self->self.node_id, ACTOR_GOSSIP, 0};
		message->to = (struct address){id, ACTOR_GOSSIP, 0};
		message->correlation = proposal->phase_number;
		message->deadline_us = now_us + self->timeout_us;
		message->epoch = self->self.epoch;
		message->vote = question;
		effects_send(out, message);
	}
}

static void note_refusal(struct gossip *self, uint32_t member, const char *text)
{
	snprintf(self->proposal.why, sizeof self->proposal.why, "%s: %s", ring_member(self->document, member)->name,
		 text != NULL ? text : "no reason given");
}

/* What was accepted under the highest ballot has to be proposed. False: out of memory, so that the promise does not count. */
static bool take_found(struct proposal *proposal, const struct voted_body *voted)
{
	uint8_t *copy;

	if (voted->document.size == 0 || !ballot_below(proposal->found_under, voted->accepted))
		return true;
	copy = malloc(voted->document.size);
	if (copy == NULL)
		return false;
	memcpy(copy, voted->document.data, voted->document.size);
	free(proposal->found);
	proposal->found = copy;
	proposal->found_size = voted->document.size;
	proposal->found_under = voted->accepted;
	return true;
}

/* One member's answer. True: it is a vote for this phase. */
static bool take_vote(struct gossip *self, uint32_t member, const struct voted_body *voted)
{
	struct proposal *proposal = &self->proposal;

	if (voted->outcome == VOTE_REFUSED)
		note_refusal(self, member, voted->text);
	if (voted->outcome == VOTE_OTHER_RING)
		note_refusal(self, member, "it has another ring, look at kvctl status");
	if (voted->outcome == VOTE_OUTBID && voted->promised.counter > proposal->highest &&
	    voted->promised.counter - proposal->counter <= BALLOT_STEP_MAX) /* nobody would take a higher one */
		proposal->highest = voted->promised.counter;
	proposal->outbid |= voted->outcome == VOTE_OUTBID;
	if (voted->outcome != (proposal->accepting ? VOTE_ACCEPTED : VOTE_PROMISED) || proposal->answered[member] ||
	    !take_found(proposal, voted))
		return false;
	proposal->answered[member] = true;
	proposal->votes++;
	return true;
}

/* A new phase: no answers yet but this node's own, which is on its disk before any other node is asked. False: this node refuses. */
static bool open_phase(struct gossip *self, bool accepting, uint64_t now_us, struct effects *out)
{
	struct proposal *proposal = &self->proposal;
	uint32_t me = (uint32_t)ring_member_find(self->document, self->self.node_id);
	struct vote_body question;
	struct voted_body voted;

	memset(proposal->answered, 0, ring_member_count(self->document) * sizeof *proposal->answered);
	proposal->accepting = accepting;
	proposal->votes = 0;
	proposal->phase_number++;
	question = question_of(self);
	vote(self, &question, out->arena, &voted);
	if (!take_vote(self, me, &voted))
		return false;
	ask_for_votes(self, now_us, out);
	return true;
}

static void wait_for_turn(struct gossip *self, uint64_t now_us)
{
	struct proposal *proposal = &self->proposal;

	proposal->phase_number++; /* answers still under way are of no use */
	proposal->waiting = true;
	proposal->wait_rounds = proposal->wait_rounds == 0            ? 2
				: proposal->wait_rounds < WAIT_ROUNDS ? 2 * proposal->wait_rounds
								      : WAIT_ROUNDS;
	proposal->again_us = now_us + prng_below(&self->prng, proposal->wait_rounds * self->round_us);
}

/* Chosen: installed like what gossip brings. Where the disk fails, votes remain, and the next proposal finds them. */
static void install(struct gossip *self, uint64_t now_us, struct effects *out)
{
	struct rpc_slice bytes = question_of(self).document;
	struct rpc_error why = {"out of memory"};
	int error = gossip_install(self, bytes, now_us, &why);

	if (error)
		end(self, RPC_CODE_INTERNAL,
		    rpc_arena_printf(out->arena,
				     "the change was agreed on, but this node could not keep it (%s): see to its disk, "
				     "then repeat the change, also at another node",
				     why.text),
		    out);
	else
		gossip_push_document(self, GOSSIP_ROWS_MAX, now_us, out);
}

static void advance(struct gossip *self, uint64_t now_us, struct effects *out)
{
	struct proposal *proposal = &self->proposal;
	bool open = true;

	if (proposal->outbid) {
		wait_for_turn(self, now_us);
		return;
	}
	if (proposal->votes >= majority(self) && !proposal->accepting) {
		proposal->maybe_chosen |= proposal->found == NULL;
		open = open_phase(self, true, now_us, out);
	}
	if (!open)
		wait_for_turn(self, now_us);
	else if (proposal->votes >= majority(self) && proposal->accepting)
		install(self, now_us, out);
}

static void open_ballot(struct gossip *self, uint64_t now_us, struct effects *out)
{
	struct proposal *proposal = &self->proposal;
	uint64_t own = acceptor_counter(&self->acceptor, self->document);

	proposal->counter = (own > proposal->highest ? own : proposal->highest) + 1;
	proposal->outbid = proposal->waiting = false;
	free(proposal->found);
	proposal->found = NULL;
	proposal->found_size = 0;
	proposal->found_under = (struct ballot){0};
	if (open_phase(self, false, now_us, out))
		advance(self, now_us, out);
	else
		wait_for_turn(self, now_us);
}

void gossip_hear_vote(struct gossip *self, const struct message *answer, uint64_t now_us, struct effects *out)
{
	struct proposal *proposal = &self->proposal;
	int member = self->document != NULL ? ring_member_find(self->document, answer->from.node_id) : -1;

	if (proposal->wish == WISH_NONE || answer->correlation != proposal->phase_number || proposal->waiting ||
	    self->self.ring_hash != proposal->parent_hash || member < 0)
		return; /* of a phase that is over */
	gossip_get_newer(self, answer->voted.epoch, answer->from.node_id, now_us, out);
	(void)take_vote(self, (uint32_t)member, &answer->voted);
	advance(self, now_us, out);
}

/* ---- what is proposed --------------------------------------------------------------------------------------- */

/* The rack's change as a document that follows the ring in force. 1: the ring says so already. */
static int make_rack(const struct gossip *self, const struct set_rack_body *wish, struct ring_document **out,
		     struct ring_error *why)
{
	struct ring_member changed;
	int index = ring_member_find_name(self->document, wish->node);

	if (index < 0) {
		snprintf(why->text, sizeof why->text, "no member is named '%s': `kvctl status` lists them", wish->node);
		return -ENOENT;
	}
	changed = *ring_member(self->document, (uint32_t)index);
	if (strcmp(changed.rack, wish->rack) == 0)
		return 1;
	memcpy(changed.rack, wish->rack, sizeof changed.rack);
	return ring_amend(self->document, &changed, out, why);
}

/* What is wished as a document that follows the ring in force. 1: the ring says so already. */
static int make_document(struct gossip *self, struct ring_error *why)
{
	struct proposal *proposal = &self->proposal;
	struct ring_document *document;
	int error = proposal->wish == WISH_RACK ? make_rack(self, &proposal->question->set_rack, &document, why)
						: gossip_make_wish(self, &document, why);

	if (error)
		return error;
	proposal->own_epoch = ring_epoch(document);
	proposal->own_hash = ring_hash(document);
	free(proposal->own);
	proposal->own = NULL;
	error = ring_document_encode(document, &proposal->own, &proposal->own_size);
	ring_document_destroy(&document);
	return error;
}

/* The document that was made last is the ring in force, or an ancestor of it. */
static bool is_own_in_force(const struct gossip *self)
{
	const struct proposal *proposal = &self->proposal;

	if (proposal->own_epoch == 0)
		return false;
	return proposal->own_epoch == self->self.epoch
		       ? proposal->own_hash == self->self.ring_hash
		       : proposal->own_hash == ring_ancestor_hash(self->document, proposal->own_epoch);
}

/* On top of the ring that is in force now. */
static void begin(struct gossip *self, uint64_t now_us, struct effects *out)
{
	struct proposal *proposal = &self->proposal;
	struct ring_error why = {"out of memory"};
	bool is_superseded = proposal->question == NULL && proposal->own_epoch != 0;
	int error = is_own_in_force(self) || is_superseded ? 1 : make_document(self, &why);
	const char *wrong = check_voter(self);

	if (!error && wrong != NULL) {
		snprintf(why.text, sizeof why.text,
			 "this node cannot change the ring (%s): ask another node, or retry later", wrong);
		error = -EPERM;
	}
	if (error == 1) {
		end(self, RPC_CODE_OK, NULL, out);
	} else if (error) {
		end(self, gossip_wish_code(error), rpc_arena_printf(out->arena, "%s", why.text), out);
	} else {
		free(proposal->answered);
		proposal->answered = calloc(ring_member_count(self->document), sizeof *proposal->answered);
		proposal->parent_hash = self->self.ring_hash;
		proposal->highest = proposal->wait_rounds = 0;
		proposal->maybe_chosen = false;
		proposal->why[0] = 0;
		if (proposal->answered != NULL)
			open_ballot(self, now_us, out);
		else
			end(self, RPC_CODE_RESOURCE_EXHAUSTED, "out of memory: retry later or at another node", out);
	}
}

/* Another ring is in force than the one that the proposal was to follow: the own document, or another one, on which it begins anew. */
void gossip_propose_settle(struct gossip *self, uint64_t now_us, struct effects *out)
{
	while (self->proposal.wish != WISH_NONE && self->self.ring_hash != self->proposal.parent_hash)
		begin(self, now_us, out);
}

static void give_up(struct gossip *self, struct effects *out)
{
	const struct proposal *proposal = &self->proposal;
	const char *text = rpc_arena_printf(
		out->arena, "in time %u of %u members agreed, and %u are needed (%s): %s", proposal->votes,
		ring_member_count(self->document), majority(self),
		proposal->why[0] != 0 ? proposal->why
		: proposal->outbid    ? "other changes were proposed at the same time"
				      : "the others did not answer",
		proposal->maybe_chosen ? "the change may still come about; look at kvctl ring, then repeat it"
				       : "nothing was changed; see kvctl status for who is away");

	end(self, proposal->maybe_chosen ? RPC_CODE_DEADLINE_EXCEEDED : RPC_CODE_UNAVAILABLE, text, out);
}

void gossip_propose_stop(struct gossip *self, struct effects *out)
{
	struct proposal *proposal = &self->proposal;

	proposal->stopping = true;
	if (proposal->wish == WISH_NONE)
		return;
	if (proposal->maybe_chosen)
		end(self, RPC_CODE_DEADLINE_EXCEEDED,
		    "this node is stopping: the change may still come about; look at kvctl ring, then repeat it at "
		    "another node",
		    out);
	else
		end(self, RPC_CODE_UNAVAILABLE, "this node is stopping, and nothing was changed: ask another node",
		    out);
}

static enum wish wish_of(const struct message *question)
{
	if (question->type == MESSAGE_SET_RACK)
		return WISH_RACK;
	assert(question->type == MESSAGE_COMMIT_CHANGE || question->type == MESSAGE_ABORT_CHANGE);
	return question->type == MESSAGE_COMMIT_CHANGE ? WISH_CHANGE : WISH_ABORT;
}

void gossip_propose(struct gossip *self, struct message *question, uint64_t now_us, struct effects *out)
{
	if (self->proposal.stopping) {
		answer_operator(self, question, RPC_CODE_UNAVAILABLE, "this node is stopping: ask another node", out);
		return;
	}
	if (self->document == NULL || self->proposal.question != NULL) {
		answer_operator(self, question,
				self->document == NULL ? RPC_CODE_UNAVAILABLE : RPC_CODE_FAILED_PRECONDITION,
				self->document == NULL
					? "this node is in no cluster: ask another, or make one by `kvctl cluster init`"
					: "this node is at work on another change: repeat this one when that is over",
				out);
		return;
	}
	forget(self); /* a step that is due can wait */
	self->proposal.wish = wish_of(question);
	self->proposal.question = question;
	self->proposal.deadline_us = question->deadline_us;
	begin(self, now_us, out);
	gossip_propose_settle(self, now_us, out);
}

void gossip_propose_step(struct gossip *self, enum wish wish, uint64_t deadline_us, uint64_t now_us,
			 struct effects *out)
{
	assert(self->proposal.wish == WISH_NONE);
	if (self->proposal.stopping)
		return;
	self->proposal.wish = wish;
	self->proposal.deadline_us = deadline_us;
	begin(self, now_us, out);
}

bool gossip_may_propose(const struct gossip *self)
{
	return check_voter(self) == NULL;
}

void gossip_propose_round(struct gossip *self, uint64_t now_us, struct effects *out)
{
	struct proposal *proposal = &self->proposal;

	if (proposal->wish == WISH_NONE)
		return;
	/* The answer is to come before the operator has given up. */
	if (now_us + GIVE_UP_ROUNDS * self->round_us >= proposal->deadline_us)
		give_up(self, out);
	else if (now_us >= proposal->again_us && proposal->waiting)
		open_ballot(self, now_us, out);
	else if (now_us >= proposal->again_us)
		ask_for_votes(self, now_us, out);
}
