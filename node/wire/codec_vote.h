/* SPDX-License-Identifier: Apache-2.0 */
/* The half of the codec for votes on ring documents, for codec_peer.c. Private to the codec. */
#ifndef KVRING_NODE_CODEC_VOTE_H
#define KVRING_NODE_CODEC_VOTE_H

#include "node/wire/codec.h"

/* MESSAGE_VOTE <-> VoteRequest, MESSAGE_VOTED <-> VoteResponse. Bodies live in scratch; what is decoded points into the arena. */
RPC_OK int codec_vote_encode(const struct message *question, struct arena *scratch, ProtobufCMessage **body_out);
RPC_OK int codec_vote_decode(const struct rpc_request *, struct arena *, struct vote_body *out,
			     struct rpc_error *error_out);
RPC_OK int codec_voted_encode(const struct message *answer, struct arena *scratch, ProtobufCMessage **body_out);
RPC_OK int codec_voted_decode(const struct rpc_response *, struct arena *, struct voted_body *out,
			      struct rpc_error *error_out);

#endif
