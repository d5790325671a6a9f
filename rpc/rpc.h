/* SPDX-License-Identifier: Apache-2.0 */
/* RPC: bytes <-> messages <-> NNG, in the manner of gRPC.
 *
 * Services are declared in proto/; this room carries their envelopes (Request / Response of kv.proto) in the protocol of
 * NNG's request/reply sockets, and events over NNG's bus. NNG and its quirks are known nowhere else.
 *
 * Threading   Callbacks run on NNG's threads or the deadline thread: they enqueue and return. open and close: main thread only, at start and stop or from
 *             its control loop (NNG 1.5.2 races between open and close). Everything else: any thread.
 * Ownership   struct rpc_message has one owner; functions that take one consume it, also when they fail.
 * Errors      0 or negative errno; NNG's codes are translated in rpc/error.c and nowhere else: -ETIMEDOUT no answer in
 *             time, -EHOSTUNREACH no connection (nothing was sent), -ECONNRESET lost after sending (may have been
 *             executed), -EMSGSIZE over the limit, -EBADMSG bytes that do not decode, -EAGAIN too many outstanding.
 * Invariants  W1 every rpc_call is answered or dropped exactly once.  W2 every rpc_link_call completes exactly once, never
 *             inside the call itself.  W3 a request is sent at most once.
 */
#ifndef KVRING_RPC_RPC_H
#define KVRING_RPC_RPC_H

#include <urcu/wfcqueue.h>
#include <protobuf-c/protobuf-c.h>
#include "rpc/base.h"
#include "rpc/budget.h"

enum {
	RPC_PROTOCOL_VERSION = 1,
	RPC_CLIENT_MESSAGE_MAX = 17 * 1024 * 1024, /* bytes: a batch of 16 MiB and its envelope */
	RPC_PEER_MESSAGE_MAX = 64 * 1024 * 1024,
	RPC_CONNECTIONS_MAX = 4096, /* per server, unless it says otherwise */
};

struct rpc_message; /* the bytes of one message */
struct rpc_slice rpc_message_bytes(const struct rpc_message *);
void rpc_message_free(struct rpc_message *); /* NULL is allowed */

/* ---- envelope ----------------------------------------------------------------------------------------------- */

/* kv.proto's Request. Decoded in place: method and body point into the message. */
struct rpc_request {
	uint32_t protocol_version;
	struct rpc_slice method;
	bool has_operation_id;
	uint8_t operation_id[RPC_OPERATION_ID_SIZE];
	uint32_t deadline_ms;
	uint64_t ring_epoch;
	uint64_t trace_id;
	uint32_t attempt; /* 1: the first; 0: the sender does not count */
	uint64_t sent_us; /* rpc_sent_us of the sender when it encoded this; 0: it did not say */
	struct rpc_slice body;
};

/* kv.proto's Response. */
struct rpc_response {
	uint32_t protocol_version;
	uint32_t code; /* enum rpc_code, or what a newer peer says */
	struct rpc_slice message;
	uint64_t ring_epoch;
	struct rpc_slice body;
};

/* -EBADMSG with text such as "request envelope: field 2 (method) at byte 7 runs past the end". */
RPC_OK int rpc_request_decode(struct rpc_slice bytes, struct rpc_request *out, struct rpc_error *error_out);
RPC_OK int rpc_response_decode(struct rpc_slice bytes, struct rpc_response *out, struct rpc_error *error_out);
/* Packs head (its body is ignored) and body into one new message, without a copy in between. body NULL: empty. */
RPC_OK int rpc_request_encode(const struct rpc_request *head, const ProtobufCMessage *body, struct rpc_message **out);
RPC_OK int rpc_response_encode(const struct rpc_response *head, const ProtobufCMessage *body, struct rpc_message **out);
/* A bare message (bus). */
RPC_OK int rpc_bare_encode(const ProtobufCMessage *, struct rpc_message **out);
/* Decodes a body into the arena: bounded memory (the arena's cap), bounded depth, bounded repeated fields. NULL: error_out says why. */
void *rpc_body_decode(const ProtobufCMessageDescriptor *, struct rpc_slice body, struct arena *,
		      struct rpc_error *error_out);
bool rpc_method_is(struct rpc_slice method, const char *name);
/* The clock of sent_us: CLOCK_BOOTTIME, which also counts while the machine sleeps. */
uint64_t rpc_sent_us(void);

/* ---- server ------------------------------------------------------------------------------------------------- */

struct rpc_server;
struct connection;

/* Cork: the answers of one thread's batch. They leave when it is released, those of a connection in one write. Zero is empty. */
struct rpc_cork {
	struct connection *first;
};

void rpc_cork_release(struct rpc_cork *);

/* A request that has come in. */
struct rpc_call {
	struct cds_wfcq_node mail; /* for the receiver's queue */
	void *owner;               /* for the receiver */
	struct rpc_cork *cork;     /* the receiver's, set before it answers; NULL: the answer leaves at once */
	/* CLOCK_MONOTONIC: when it was sent, as far as that can be told (rpc/age.h, rpc/stall.h): deadlines count from here */
	uint64_t received_us;
	struct rpc_message *request; /* freed with the call, unless the receiver takes it and leaves NULL */
	/* The request's envelope; its slices point into request. All zero when malformed: rpc_request_decode says why. */
	struct rpc_request head;
	bool malformed;
};

/* All places are taken. */
struct rpc_server_full {
	uint16_t port;
	uint32_t connections_max;
	char address[48];     /* the one that has most connections */
	uint32_t connections; /* that it has */
	uint64_t refused;     /* connections, since open */
};

struct rpc_server_options {
	const char *address;    /* HOST:PORT; port 0 takes a free one */
	size_t message_max;     /* bytes; larger messages are refused and their connection closed */
	uint32_t in_flight_max; /* calls not yet answered; beyond, requests wait in the connections */
	/* Calls not yet answered that connections share fairly: one with more than are free, and more than 8, is not read. 0: no shares. */
	uint32_t in_flight_fair;
	/* Bytes of heavy calls in flight, whose sum is what a light one may have to wait for: those that weigh more than 64 KiB, by their
	 * message or by the answer that their connection is likely to get. One always goes, others wait for their turn. 0: no limit. */
	uint64_t heavy_max;
	/* 0: RPC_CONNECTIONS_MAX. Beyond, addresses have equal shares (rpc/README.md, W5): the newcomer takes the place of a connection without
	 * use, or of one of the address that has most, or it is closed. */
	uint32_t connections_max;
	/* Optional, on an NNG thread, at most once a minute: connections_max is reached. */
	void (*on_full)(void *arg, const struct rpc_server_full *);
	uint32_t idle_ms; /* a connection without use for so long is closed; 0: never */
	/* Counts large messages that are arriving and answers that wait, of all connections, see rpc/budget.h; the receiver adds requests in
	 * work. What does not fit is not read yet. While others wait for memory, a connection that holds some and moves less than 64 KiB/s
	 * over 3 s is closed. NULL: no limit. The server keeps a reference. */
	struct rpc_budget *budget;
	void (*on_request)(void *arg, struct rpc_call *);
	void *arg;
};

RPC_OK int rpc_server_open(const struct rpc_server_options *, struct rpc_server **out, struct rpc_error *error_out);
uint16_t rpc_server_port(const struct rpc_server *);
/* Calls not yet answered are dropped: answering them later is allowed and does nothing. on_request does not run after
 * this. */
void rpc_server_close(struct rpc_server **);

struct rpc_server_counts {
	uint64_t requests; /* since open */
	uint64_t connections_refused;
	uint32_t connections;
	uint32_t in_flight;
	uint32_t in_flight_peak;
};
void rpc_server_counts(struct rpc_server *, struct rpc_server_counts *out);

/* False when an answer of this size may not wait for its client, which has its fair share of answers to read. Who asks for much and does
 * not read must not fill the memory: refuse what can be refused, first before any work, with size 0 (an answer for which there was no room
 * is expected again for a second), then with the size. */
bool rpc_call_has_room(struct rpc_call *, size_t answer_size);
/* Consumes the call and the response. */
void rpc_call_reply(struct rpc_call *, struct rpc_message *response);
/* Answers with a status and no body. */
void rpc_call_refuse(struct rpc_call *, uint32_t code, uint64_t ring_epoch, const char *message);

/* ---- link: the client's end ---------------------------------------------------------------------------------- */

struct rpc_link;

/* A request under way; embedded in the caller's own struct, which stays alive until done has run. */
struct rpc_pending {
	struct cds_wfcq_node mail; /* for the receiver's queue */
	void (*done)(struct rpc_pending *);
	int status;                   /* 0 or -errno, valid in done */
	struct rpc_message *response; /* valid in done when status is 0; the caller's to free */
};

struct rpc_link_options {
	const char *address; /* HOST:PORT; it may be down, and is dialled again until close */
	size_t message_max;
	uint32_t outstanding_max; /* up to 65,535 */
	/* Counts large answers (over 64 KiB) from when they begin to arrive until they are freed, beyond its limit too: the peer was asked for
	 * them. NULL: nobody counts. The link keeps a reference. */
	struct rpc_budget *budget;
	/* A peer that has questions and says nothing for so long is asked for a sign of life, which its rpc room gives however busy the
	 * node is; without one the connection is closed and dialled anew. 0: waits as long as TCP does. */
	uint32_t silence_ms;
	/* Optional, on an NNG thread: the connection came (true) or went. */
	void (*on_connection)(void *arg, bool connected);
	void *arg;
};

RPC_OK int rpc_link_open(const struct rpc_link_options *, struct rpc_link **out, struct rpc_error *error_out);
/* Completes everything outstanding with -ECANCELED and refuses further calls; the link stays valid until close. For owners of several
 * links whose done moves on to another of them. */
void rpc_link_stop(struct rpc_link *);
/* Stops it first. */
void rpc_link_close(struct rpc_link **);
bool rpc_link_connected(const struct rpc_link *);
/* Sends and waits for the answer, timeout_ms, to within 5 ms above. An error returned here means done will not run and nothing was sent:
 * -EHOSTUNREACH when there is no connection, -EAGAIN when outstanding_max requests are under way. */
RPC_OK int rpc_link_call(struct rpc_link *, struct rpc_message *request, uint32_t timeout_ms, struct rpc_pending *);

/* ---- bus ---------------------------------------------------------------------------------------------------- */

struct rpc_bus;

struct rpc_bus_options {
	const char *address; /* HOST:PORT to listen on; NULL: dial only */
	size_t message_max;
	/* Accepted; 0: 1,024. Beyond, the newcomer takes the place of one from the address that has most, or it is closed. */
	uint32_t connections_max;
	/* A neighbour that we have dialled and that says nothing for so long is dialled anew; for a bus on which everybody speaks all the
	 * time. 0: waits as long as TCP does. */
	uint32_t silence_ms;
	/* Owns the message. Several may run at once, one for each connection. A neighbour of which too many messages wait to be freed is not
	 * heard: its newest are dropped and counted. */
	void (*on_message)(void *arg, struct rpc_message *);
	void *arg;
};

RPC_OK int rpc_bus_open(const struct rpc_bus_options *, struct rpc_bus **out, struct rpc_error *error_out);
uint16_t rpc_bus_port(const struct rpc_bus *);
/* on_message does not run after this. */
void rpc_bus_close(struct rpc_bus **);
/* Dials once more for each call with a new address; redials by itself. */
RPC_OK int rpc_bus_dial(struct rpc_bus *, const char *address);
/* The connection is gone when it returns. */
void rpc_bus_hang_up(struct rpc_bus *, const char *address);
/* Best effort, one hop, to every neighbour that dialled us or that we have dialled; one whose queue is full misses it. */
void rpc_bus_send(struct rpc_bus *, struct rpc_message *);

struct rpc_bus_counts {
	uint64_t dropped; /* since open: messages that found a full queue, for each connection */
	uint64_t unheard; /* since open: messages of a neighbour that said more than the receiver takes */
	uint64_t connections_refused;
	uint32_t connections;
};
void rpc_bus_counts(struct rpc_bus *, struct rpc_bus_counts *out);

/* CLOCK_MONOTONIC in microseconds. */
uint64_t rpc_now_us(void);

#endif
