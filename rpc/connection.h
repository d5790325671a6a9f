/* SPDX-License-Identifier: Apache-2.0 */
/* Connection: one TCP stream of NNG that speaks its request/reply or its bus protocol.
 *
 * On the wire: eight bytes from each side (0 'S' 'P' 0, protocol number, 0 0), then frames: a length of eight bytes,
 * big endian, and as many bytes, of which in request/reply the first four are the request id with its top bit set. So
 * NNG's own REQ, REP and BUS sockets, in any language, talk to us and we to them.
 *
 * We do not use those sockets ourselves: in NNG 1.5.2 a send that meets the end of its connection can be forgotten, and
 * with it the one thread of the process that buries connections (README.md). Doing the framing here also lets all that
 * is ready leave in one write and arrive in one read, which NNG's sockets do not.
 *
 * Threading   Any thread may send, resume and close. Events run on NNG's threads: on_open, then on_message one at a
 *             time, then on_closed, exactly once. on_message and on_closed never run inside rpc_connection_send.
 * Ownership   Counted references; whoever keeps a pointer holds one. send and offer consume the message.
 * Errors      Frames that are too long or make no sense close the connection.
 * Invariants  N1 A message whose turn to be sent does not come is freed.  N2 Memory for a message of which only the
 *             length has arrived is reserved, not touched.  N3 Queued output is bounded: beyond CONNECTION_QUEUE_MAX nothing is
 *             read from this peer until it has read what is queued.  N4 A closed connection ends: nothing is delivered, queued or
 *             waited for any more, and on_closed comes whatever the peer does.
 */
#ifndef KVRING_RPC_CONNECTION_H
#define KVRING_RPC_CONNECTION_H

#include "rpc/budget.h"
#include "rpc/internal.h"

enum {
	CONNECTION_REQ = 0x30, /* SP protocol numbers */
	CONNECTION_REP = 0x31,
	CONNECTION_BUS = 0x70,                  /* no request id: 0 in on_message */
	CONNECTION_BUFFER_SIZE = 64 * 1024,     /* bytes, for each direction */
	CONNECTION_QUEUE_MAX = 4 * 1024 * 1024, /* bytes, see N3; one message may exceed it */
	CONNECTION_HANDSHAKE_MS = 10 * 1000,    /* until the eight bytes are there, unless the options say otherwise */
	CONNECTION_STALL_MS = 30 * 1000,        /* without a byte in the midst of a message */
	CONNECTION_RATE_MIN = 1024,     /* bytes per second inside a message, in and out, see rpc_connection_is_slow */
	CONNECTION_RATE_MS = 10 * 1000, /* over which the rate is measured */
};

struct connection;

struct connection_events {
	void (*on_open)(void *arg, struct connection *);
	/* Owns the message. False: deliver nothing more until rpc_connection_resume. */
	bool (*on_message)(void *arg, struct connection *, uint32_t id, struct rpc_message *);
	void (*on_closed)(void *arg, struct connection *);
	/* Optional: is there memory for a message of which only the head has come? False: nothing is read until
	 * rpc_connection_resume, and then it is asked again. True: on_message or on_closed follows. */
	bool (*on_large)(void *arg, struct connection *, size_t size);
	/* Optional: a message is there, may it be delivered? False: nothing is until rpc_connection_resume, and then it
	 * is asked again. True: on_message or on_closed follows. */
	bool (*on_ready)(void *arg, struct connection *, size_t size);
};

struct connection_options {
	uint16_t protocol; /* ours */
	uint16_t peer;     /* the only one accepted */
	size_t message_max;
	size_t queue_max; /* bytes: rpc_connection_offer drops what does not fit; of no use to rpc_connection_send */
	uint32_t handshake_ms;     /* until the peer's eight bytes are there; 0: CONNECTION_HANDSHAKE_MS */
	struct rpc_budget *budget; /* counts what waits to be sent; NULL: nobody counts */
	/* Counts large messages, in any case, from when their head is there until they are freed; NULL: nobody counts. */
	struct rpc_budget *received;
	const struct connection_events *events;
	void *arg;
};

/* Takes the stream, also when it fails. The caller gets a reference. Events begin with rpc_connection_start. */
RPC_OK int rpc_connection_create(nng_stream *, const struct connection_options *, struct connection **out);
void rpc_connection_start(struct connection *);
struct connection *rpc_connection_ref(struct connection *);
void rpc_connection_unref(struct connection *);

/* What nobody is writing yet leaves when the cork is released. NULL: at once, or inside on_message after the last message of that read. */
void rpc_connection_send(struct connection *, uint32_t id, struct rpc_message *, struct rpc_cork *);
/* The same, for a bus: false when the queue has no room and the message was dropped. */
bool rpc_connection_offer(struct connection *, struct rpc_message *);
/* Bytes that wait for the peer to read: what has been sent and is not yet in the socket's buffer. */
size_t rpc_connection_unsent_size(const struct connection *);
/* Bytes that have moved so far. */
uint64_t rpc_connection_bytes_in(const struct connection *);
uint64_t rpc_connection_bytes_out(const struct connection *);
/* When the peer last gave a sign of life (CLOCK_MONOTONIC): bytes arrived, or room came free in a full socket buffer because it had
 * acknowledged what was sent. */
uint64_t rpc_connection_heard_us(const struct connection *);
/* For its owner, who looks every second or so: the peer has been in the midst of sending a message, or of taking what waits for it, for
 * CONNECTION_RATE_MS and moved less than CONNECTION_RATE_MIN. */
bool rpc_connection_is_slow(struct connection *, uint64_t now_us);
/* A call of this connection is with the receiver (1), or no longer (-1): it is in use. */
void rpc_connection_use(struct connection *, int calls);
/* True when more calls than that are with the receiver: its reader then rests, and rpc_connection_use resumes it when
 * there is room. */
bool rpc_connection_rests_above(struct connection *, int calls_max);
/* An answer of this size was made for it, also if it could not be sent. */
void rpc_connection_answered(struct connection *, size_t size);
/* How large its next answer is likely to be: the last one, or half of what was likely before, whichever is more. 0: it has had none. */
size_t rpc_connection_likely_size(const struct connection *);
/* True for the first who asks within so long. */
bool rpc_connection_may_try(struct connection *, uint64_t now_us, uint64_t each_us);
/* How long nothing has been done for it; 0 while a call is with the receiver. */
uint64_t rpc_connection_unused_us(const struct connection *, uint64_t now_us);
/* Neither is under way. */
bool rpc_connection_is_idle(struct connection *);
void rpc_connection_resume(struct connection *);
/* Begins the end: on_closed follows. */
void rpc_connection_close(struct connection *);

#endif
