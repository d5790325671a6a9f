/* SPDX-License-Identifier: Apache-2.0 */
/* Exchange: questions to other nodes and the answers to them, without a socket, a thread or a clock.
 *
 *     who asks      exchange_ask, then exchange_next and exchange_pack for what may leave; exchange_complete when the
 *                   other node has answered, or nobody will
 *     who answers   exchange_accept for a batch that came in, exchange_answer for each answer, exchange_encode_answers
 *
 * While in_flight_max batches to one peer by one method are under way, further questions wait and travel together:
 * under load batches grow by themselves, with little load nothing waits. Large questions (message_is_large) and those for a whole
 * object have queues and batches of their own, so that small ones neither share a batch with them nor wait for one to come back. When
 * answers turn out to be large, fewer questions make a batch.
 *
 * The driver carries the bytes: node/driver/outbound.c by sockets, tests/sim/traffic.c by a simulated network.
 *
 * Threading   struct exchange: one actor's thread. exchange_answer: any thread, for different questions of one batch.
 * Ownership   Takes questions and frees them after their answers are made. Answers are the caller's.
 * Errors      Each question gets at most one answer, and exactly one unless memory is out or it is gossip, which needs
 *             none. Without an answer of the peer it is REPLICA_UNREACHABLE (-EHOSTUNREACH: nothing was sent),
 *             REPLICA_OVERLOADED (-EAGAIN, -ENOMEM: too much under way) or REPLICA_LOST (all others: the peer may have
 *             executed it).
 * Invariants  X1 A question is in one place: it waits, it is under way, or it has its answer.
 *             X2 Questions of one queue, to one peer by one method and large or not, leave in the order in which they were asked.
 *             X3 At most in_flight_max batches per queue are under way, and at most queue_max questions wait in it.
 *             X4 A completion of a batch that is not under way (late, or the second one) changes nothing.
 */
#ifndef KVRING_NODE_WIRE_EXCHANGE_H
#define KVRING_NODE_WIRE_EXCHANGE_H

#include "node/wire/codec.h"

enum {
	EXCHANGE_IN_FLIGHT = 2,     /* batches per queue, by default */
	EXCHANGE_IN_FLIGHT_MAX = 8, /* and at most */
	EXCHANGE_SLACK_MS = 20, /* the carrier waits so much longer, so that the peer's own answer has time to come */
};

/* 0 takes the default. */
struct exchange_options {
	uint32_t in_flight_max; /* EXCHANGE_IN_FLIGHT */
	uint32_t queue_max;     /* questions that wait, per queue: LIMIT_PEER_QUEUE */
	uint32_t batch_max;     /* questions in one batch: LIMIT_PEER_BATCH_OPERATIONS */
};

struct exchange_counters {
	uint64_t batches;
	uint64_t overflows; /* questions refused because queue_max others waited */
	uint64_t late;      /* completions of batches that were not under way */
};

struct exchange {
	struct exchange_options options;
	struct exchange_queue *queues; /* one or two per peer and method; never removed: peers are few */
	uint32_t queue_count, queue_capacity;
	uint64_t batch_number; /* of the last batch */
	bool changed;          /* something was asked or has ended since exchange_next found nothing */
	struct exchange_counters counters;
};

/* A batch on its way out. */
struct exchange_batch {
	uint64_t number; /* never used twice by one exchange, never 0 */
	uint64_t peer;
	enum method method;
	uint32_t timeout_ms;         /* nobody waits for its answer any longer */
	struct rpc_message *request; /* the driver's to send or free */
};

void exchange_init(struct exchange *, const struct exchange_options *);
/* Frees the questions that wait and those under way. */
void exchange_fini(struct exchange *);

/* ---- asking ------------------------------------------------------------------------------------------------- */

/* The question waits until exchange_pack. Its refusal, when too many wait, is made in the arena and added to *answers. */
void exchange_ask(struct exchange *, struct message *question, struct arena *, struct message_list *answers);
/* A queue from which a batch may leave now, and its peer. False: none. Each queue is given until it has been packed or
 * refused as far as possible. */
bool exchange_next(struct exchange *, uint32_t *queue_out, uint64_t *peer_out);
/* Makes a batch of the first questions of the queue, whose budget is what their deadlines leave now. sent_us: rpc_sent_us
 * of now, by which the peer tells how long it was under way. Forwards whose deadline has passed are not sent, and answered
 * by REPLICA_UNREACHABLE. False: none was left, or memory is out, and all that waited there are answered. */
bool exchange_pack(struct exchange *, uint32_t queue, uint64_t now_us, uint64_t sent_us, struct arena *,
		   struct exchange_batch *out, struct message_list *answers);
/* Nothing can be sent to this peer: all that wait in the queue are answered. */
void exchange_refuse(struct exchange *, uint32_t queue, int error, struct arena *, struct message_list *answers);
/* The batch is over. error 0: the peer's response, whose bytes are not needed afterwards. Else nobody answered, and the
 * error says what is known. Returns 0; the error with which its questions failed, -EBADMSG among them with a text;
 * -ENOENT when no such batch is under way. */
int exchange_complete(struct exchange *, uint64_t batch_number, int error, struct rpc_slice response, struct arena *,
		      struct message_list *answers, struct rpc_error *error_out);

/* ---- answering ---------------------------------------------------------------------------------------------- */

/* A batch that came in, until each of its questions has its answer. */
struct exchange_incoming {
	void *carrier; /* the driver's: where the answers go */
	enum method method;
	uint32_t count;
	_Atomic uint32_t missing;
	struct message *answers[];
};

/* Decodes a batch. Its questions, addressed to this node, are added to *questions in their order; `call` of each is the
 * struct exchange_incoming. Errors as codec_peer_decode. */
RPC_OK int exchange_accept(enum method, const struct rpc_request *, uint64_t self_id, uint64_t deadline_us,
			   void *carrier, struct exchange_incoming **out, struct message_list *questions,
			   struct rpc_error *error_out);
/* Takes the answer into the batch that its `call` is. True: it was the last one. */
bool exchange_answer(struct message *answer);
/* All answers in one response; a question without one is answered by REPLICA_ERROR. */
RPC_OK int exchange_encode_answers(const struct exchange_incoming *, uint64_t ring_epoch, struct rpc_message **out);
void exchange_incoming_free(struct exchange_incoming *);

#endif
