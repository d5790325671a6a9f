/* SPDX-License-Identifier: Apache-2.0 */
/* Codec: messages of actors <-> envelopes on the wire. The only place in node/ that knows the generated protobuf code,
 * apart from the status codes.
 *
 *     codec_client.c   Kv: a client's request -> struct client_request, its results -> the response
 *     codec_peer.c     Peer: a batch of questions -> one request, and back; answers likewise
 *     codec_gossip.c   gossip rows on the bus and by push-pull
 *     codec_admin.c    Admin and Health: answered from a ring view
 *     codec_change.c   Admin: what changes the ring, for gossip
 *
 * Threading   Pure functions over caller-owned memory.
 * Ownership   Decoded messages live in the arena given and hold a reference to it each; encoders borrow the messages.
 * Errors      -EBADMSG, -EINVAL, -EMSGSIZE, -ENOSYS (unknown method) with a text naming what and where, for the client;
 *             -ENOMEM.
 */
#ifndef KVRING_NODE_CODEC_H
#define KVRING_NODE_CODEC_H

#include "node/membership/gossip.h"
#include "node/actor/message.h"
#include "rpc/rpc.h"

/* ---- methods ------------------------------------------------------------------------------------------------ */

enum method {
	METHOD_UNKNOWN,
	METHOD_PUT,
	METHOD_GET,
	METHOD_DELETE,
	METHOD_BATCH_PUT,
	METHOD_BATCH_GET,
	METHOD_INIT_CLUSTER,
	METHOD_SET_RACK,
	METHOD_PLAN_CHANGE,
	METHOD_COMMIT_CHANGE,
	METHOD_ABORT_CHANGE,
	METHOD_FORCE_RING,
	METHOD_DESCRIBE,
	METHOD_STATUS,
	METHOD_RING,
	METHOD_HEALTH,
	METHOD_STORE,
	METHOD_FETCH,
	METHOD_FORWARD,
	METHOD_GOSSIP,
	METHOD_VOTE,
	METHOD_SCAN,
	METHOD_COUNT,
};

/* "kvring.v1.Kv/Put" -> METHOD_PUT. */
enum method codec_method(struct rpc_slice name);
const char *codec_method_name(enum method); /* the full name */
/* Gossip, health and what operators ask: small, and most needed when a node is overloaded. */
bool codec_method_is_small(enum method);
/* Canonical code (Code of kv.proto) for a negative errno of this file. */
uint32_t codec_code(int error);

/* ---- clients (codec_client.c) ------------------------------------------------------------------------------- */

/* METHOD_PUT .. METHOD_BATCH_GET: a MESSAGE_CLIENT with operations checked against limit.h, deadline_us left to the
 * caller. fallback_id: 16 bytes, unique per call, from which operation ids are derived when the client sent none. The
 * operation i of a batch gets XXH3-128(envelope's id, i) unless it brings its own. */
RPC_OK int codec_client_decode(enum method, const struct rpc_request *,
			       const uint8_t fallback_id[RPC_OPERATION_ID_SIZE], struct arena *, struct message **out,
			       struct rpc_error *error_out);
/* The response to a MESSAGE_CLIENT_DONE. scratch: for the protobuf structs, freed by the caller. */
RPC_OK int codec_client_encode(const struct message *done, uint64_t ring_epoch, struct arena *scratch,
			       struct rpc_message **out);

/* ---- peers (codec_peer.c) ----------------------------------------------------------------------------------- */

/* METHOD_STORE, METHOD_FETCH, METHOD_SCAN, METHOD_FORWARD, METHOD_GOSSIP, METHOD_VOTE for a question that goes to another node. */
enum method codec_peer_method(const struct message *question);
/* How many questions from the list (by ->next, all of one method) fit max and LIMIT_PEER_BATCH_*; at least one. */
uint32_t codec_peer_fitting(const struct message *first, uint32_t max);
/* The first count questions of the list as one request. deadline_ms: budget for the envelope, which is what the latest
 * deadline in the whole list leaves; a forwarded operation has its own besides. sent_us: rpc_sent_us of now. */
RPC_OK int codec_peer_encode(const struct message *first, uint32_t count, uint32_t deadline_ms, uint64_t sent_us,
			     struct arena *scratch, struct rpc_message **out);
/* A batch that came in: *count_out messages in the arena, listed by ->next from *first_out, with call and call_index
 * 0..count-1 set, `from` zero except what the envelope tells (a forwarded operation keeps its operation id), epoch from
 * the envelope, deadline_us given. */
RPC_OK int codec_peer_decode(enum method, const struct rpc_request *, void *call, uint64_t deadline_us, struct arena *,
			     struct message **first_out, uint32_t *count_out, struct rpc_error *error_out);
/* answers[i] belongs to call_index i; NULL: none could be made (encoded as REPLICA_ERROR). */
RPC_OK int codec_peer_encode_answers(enum method, struct message *const *answers, uint32_t count, uint64_t ring_epoch,
				     struct arena *scratch, struct rpc_message **out);
/* Makes one answer per question (list by ->next, same order as encoded), listed from *first_out: addressed as message_answer does, `from` the
 * question's `to`. A response that does not fit the questions is -EBADMSG and nothing is made. -EAGAIN: the peer refused the
 * batch for load, and did nothing of it; -EREMOTEIO: another refusal. Answers may hold slices into the
 * arena. */
RPC_OK int codec_peer_decode_answers(enum method, const struct message *questions, const struct rpc_response *,
				     struct arena *, struct message **first_out, struct rpc_error *error_out);
/* The answer that says nobody answered: REPLICA_UNREACHABLE, REPLICA_LOST, REPLICA_OVERLOADED. For FORWARD: REFUSED or, when
 * LOST, IN_DOUBT, with code UNAVAILABLE. NULL for a GOSSIP or VOTE question, which needs none, or when memory is out. */
struct message *codec_peer_failed(const struct message *question, enum replica_status, struct arena *);

/* ---- gossip (codec_gossip.c) -------------------------------------------------------------------------------- */

/* A MESSAGE_BUS as an Event with heartbeats. */
RPC_OK int codec_bus_encode(const struct message *, uint64_t unix_ms, struct arena *scratch, struct rpc_message **out);
/* 1 and a MESSAGE_BUS, or 0 for events that are not for nodes. */
RPC_OK int codec_bus_decode(struct rpc_slice bytes, struct arena *, struct message **out, struct rpc_error *error_out);

/* ---- operators: changes (codec_change.c) --------------------------------------------------------------------- */

RPC_OK int codec_init_decode(const struct rpc_request *, struct arena *, struct message **out,
			     struct rpc_error *error_out);
RPC_OK int codec_init_encode(const struct message *cluster_inited, uint64_t ring_epoch, struct arena *scratch,
			     struct rpc_message **out);
RPC_OK int codec_rack_decode(const struct rpc_request *, struct arena *, struct message **out,
			     struct rpc_error *error_out);
/* METHOD_PLAN_CHANGE, METHOD_COMMIT_CHANGE. */
RPC_OK int codec_change_decode(enum method, const struct rpc_request *, struct arena *, struct message **out,
			       struct rpc_error *error_out);
RPC_OK int codec_abort_decode(const struct rpc_request *, struct arena *, struct message **out,
			      struct rpc_error *error_out);
RPC_OK int codec_force_decode(const struct rpc_request *, struct arena *, struct message **out,
			      struct rpc_error *error_out);
/* A CHANGE_PLAN. */
RPC_OK int codec_plan_encode(const struct message *change_plan, uint64_t ring_epoch, struct arena *scratch,
			     struct rpc_message **out);

/* ---- operators: pictures (codec_admin.c) ---------------------------------------------------------------------- */

struct shard_health {
	bool dead, full;
	uint32_t quarantined; /* partitions */
};

/* What operators are shown. */
struct admin_picture {
	const struct ring_view *view;
	const struct gossip_row *self;     /* the node's own row, current */
	const bool *linked;                /* per member of the document: this node is connected to its peer port */
	const struct shard_health *shards; /* self->shard_count of them */
	uint64_t now_us, now_ms;
};

/* METHOD_DESCRIBE, METHOD_STATUS, METHOD_RING, METHOD_HEALTH. */
RPC_OK int codec_admin_answer(enum method, const struct rpc_request *, const struct admin_picture *,
			      struct arena *scratch, struct rpc_message **out, struct rpc_error *error_out);

#endif
