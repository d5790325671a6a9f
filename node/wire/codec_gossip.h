/* SPDX-License-Identifier: Apache-2.0 */
/* The gossip half of the codec, for codec_peer.c. Private to the codec. */
#ifndef KVRING_NODE_CODEC_GOSSIP_H
#define KVRING_NODE_CODEC_GOSSIP_H

#include "node/wire/codec.h"

/* MESSAGE_GOSSIP <-> GossipRequest, MESSAGE_GOSSIPED <-> GossipResponse. Bodies live in scratch. */
RPC_OK int codec_gossip_encode(const struct message *question, struct arena *scratch, ProtobufCMessage **body_out);
RPC_OK int codec_gossip_decode(const struct rpc_request *, struct arena *, struct message **out,
			       struct rpc_error *error_out);
RPC_OK int codec_gossiped_encode(const struct message *answer, struct arena *scratch, ProtobufCMessage **body_out);
RPC_OK int codec_gossiped_decode(const struct message *question, const struct rpc_response *, struct arena *,
				 struct message **out, struct rpc_error *error_out);

#endif
