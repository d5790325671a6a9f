/* SPDX-License-Identifier: Apache-2.0 */
#include "node/wire/codec_vote.h"

#include <errno.h>
#include "proto/peer.pb-c.h"

static struct rpc_slice slice(ProtobufCBinaryData bytes)
{
	return (struct rpc_slice){bytes.data, bytes.len};
}

static ProtobufCBinaryData bytes_of(struct rpc_slice from)
{
	return (ProtobufCBinaryData){.len = from.size, .data = (uint8_t *)from.data};
}

int codec_vote_encode(const struct message *question, struct arena *scratch, ProtobufCMessage **body_out)
{
	const struct vote_body *vote = &question->vote;
	Kvring__V1__VoteRequest *body = rpc_arena_alloc(scratch, sizeof *body);

	if (body == NULL)
		return -ENOMEM;
	kvring__v1__vote_request__init(body);
	body->parent_epoch = vote->parent_epoch;
	body->parent_hash = vote->parent_hash;
	body->ballot = vote->ballot.counter;
	body->proposer = vote->ballot.node_id;
	body->document = bytes_of(vote->document);
	*body_out = &body->base;
	return 0;
}

int codec_vote_decode(const struct rpc_request *request, struct arena *arena, struct vote_body *out,
		      struct rpc_error *error_out)
{
	Kvring__V1__VoteRequest *body =
		rpc_body_decode(&kvring__v1__vote_request__descriptor, request->body, arena, error_out);

	if (body == NULL)
		return -EBADMSG;
	*out = (struct vote_body){
		.parent_epoch = body->parent_epoch,
		.parent_hash = body->parent_hash,
		.ballot = {body->ballot, body->proposer},
		.document = slice(body->document),
	};
	return 0;
}

int codec_voted_encode(const struct message *answer, struct arena *scratch, ProtobufCMessage **body_out)
{
	const struct voted_body *voted = &answer->voted;
	Kvring__V1__VoteResponse *body = rpc_arena_alloc(scratch, sizeof *body);

	if (body == NULL)
		return -ENOMEM;
	kvring__v1__vote_response__init(body);
	body->outcome = (Kvring__V1__VoteOutcome)voted->outcome;
	body->promised_ballot = voted->promised.counter;
	body->promised_proposer = voted->promised.node_id;
	body->accepted_ballot = voted->accepted.counter;
	body->accepted_proposer = voted->accepted.node_id;
	body->document = bytes_of(voted->document);
	body->epoch = voted->epoch;
	if (voted->text != NULL)
		body->text = (char *)voted->text;
	*body_out = &body->base;
	return 0;
}

/* An outcome of a newer peer that this one does not know is no vote. */
int codec_voted_decode(const struct rpc_response *response, struct arena *arena, struct voted_body *out,
		       struct rpc_error *error_out)
{
	Kvring__V1__VoteResponse *body =
		rpc_body_decode(&kvring__v1__vote_response__descriptor, response->body, arena, error_out);

	if (body == NULL)
		return -EBADMSG;
	bool known = body->outcome >= KVRING__V1__VOTE_OUTCOME__VOTE_PROMISED &&
		     body->outcome <= KVRING__V1__VOTE_OUTCOME__VOTE_REFUSED;
	*out = (struct voted_body){
		.outcome = known ? (enum vote_outcome)body->outcome : VOTE_REFUSED,
		.epoch = body->epoch,
		.promised = {body->promised_ballot, body->promised_proposer},
		.accepted = {body->accepted_ballot, body->accepted_proposer},
		.document = slice(body->document),
		.text = body->text,
	};
	return 0;
}
