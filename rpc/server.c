/* The server's end: one REP socket, many contexts.
 *
 * A context is a slot for one request: it receives, waits for the reply, sends it, receives again.
 *
 *       grow                on_request            rpc_call_reply
 *     --------> RECEIVING ------------> ANSWERING ---------------> SENDING
 *                   ^                                                 |
 *                   +-------------------------------------------------+   (sent, or the client has gone)
 *
 * Contexts are opened as they are needed: whenever a request arrives and no context is left that receives. At
 * in_flight_max NNG stops reading from the connections, and TCP pushes back.
 *
 * A client that asks and does not read would keep all contexts in SENDING, and the others out. So an answer waits for
 * its turn on the connection for a limited time; when none got through meanwhile the connection is closed. And one
 * connection may have only so many requests that are not answered yet; more are dropped, for an answer would wait too.
 *
 * Threads   A context is touched by one thread at a time: NNG's callback, then whoever holds the call, then NNG again.
 * Lifetime  One reference for the owner and one per context. A context gives its reference back when the socket is
 *           closed under it, so a call answered after rpc_server_close still finds its memory.
 */
#include "internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <nng/protocol/reqrep0/rep.h>

enum {
	CONTEXTS_AT_START = 16,
	CONNECTION_SLOTS = 4096, /* a power of two */
	SEND_TIMEOUT_MS = 10 * 1000,
};

enum context_state {
	CONTEXT_RECEIVING,
	CONTEXT_ANSWERING,
	CONTEXT_SENDING,
};

struct server_context {
	struct rpc_call call;
	enum context_state state;
	nng_ctx nng;
	nng_aio *aio;
	struct rpc_server *server;
	nng_pipe pipe;               /* the connection that the request came from */
	struct server_context *next; /* among all of the server */
};

/* Figures of one connection. Found by its number, which NNG counts up: connections that live at the same time share a
 * slot when there are more than slots, and then share their limit. */
struct connection_slot {
	atomic_uint in_flight;          /* requests that are not answered yet */
	atomic_uint_fast64_t answer_us; /* when the newest answer left */
};

struct rpc_server {
	struct rpc_server_options options;
	nng_socket socket;
	uint16_t port;

	atomic_uint references;
	atomic_bool closing;
	atomic_uint receiving; /* contexts that wait for a request */
	atomic_uint_fast64_t requests;
	atomic_uint connections;
	atomic_uint_fast64_t connections_refused;
	atomic_uint_fast64_t connections_dropped;
	atomic_uint_fast64_t requests_dropped;
	struct connection_slot slots[CONNECTION_SLOTS];

	/* shared, under lock */
	pthread_mutex_t lock;
	struct server_context *contexts; /* grows at the head only */
	unsigned context_count;
};

static struct server_context *context_of(struct rpc_call *call)
{
	return (struct server_context *)((char *)call - offsetof(struct server_context, call));
}

/* Runs on any thread, also inside a callback of one of the aios: hence nng_aio_reap, which waits elsewhere. */
static void server_unref(struct rpc_server *s)
{
	if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) > 1)
		return;
	while (s->contexts != NULL) {
		struct server_context *next = s->contexts->next;
		nng_aio_reap(s->contexts->aio);
		free(s->contexts);
		s->contexts = next;
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- contexts ------------------------------------------------------------------------------------------------- */

static struct connection_slot *slot_of(struct server_context *c)
{
	return &c->server->slots[(unsigned)nng_pipe_id(c->pipe) % CONNECTION_SLOTS];
}

static void drop_connection(struct server_context *c)
{
	atomic_fetch_add_explicit(&c->server->connections_dropped, 1, memory_order_relaxed);
	nng_pipe_close(c->pipe);
}

static void context_receive(struct server_context *c)
{
	c->state = CONTEXT_RECEIVING;
	atomic_fetch_add_explicit(&c->server->receiving, 1, memory_order_relaxed);
	nng_aio_set_timeout(c->aio, NNG_DURATION_INFINITE);
	nng_ctx_recv(c->nng, c->aio);
}

static void context_on_aio(void *arg);

static int context_create(struct rpc_server *s, struct server_context **out)
{
	struct server_context *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->server = s;
	int code = nng_aio_alloc(&c->aio, context_on_aio, c);
	if (code == 0) {
		code = nng_ctx_open(&c->nng, s->socket);
		if (code != 0)
			nng_aio_free(c->aio);
	}
	if (code != 0) {
		free(c);
		return error_from_nng(code);
	}
	*out = c;
	return 0;
}

/* Opens one more context and lets it receive; does nothing at in_flight_max. */
static int server_grow(struct rpc_server *s)
{
	struct server_context *c = NULL;
	int status = 0;
	pthread_mutex_lock(&s->lock);
	if (!atomic_load(&s->closing) && s->context_count < s->options.in_flight_max)
		status = context_create(s, &c);
	if (c != NULL) {
		c->next = s->contexts;
		s->contexts = c;
		s->context_count++;
		atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
		context_receive(c); /* under the lock, so that close finds it either absent or under way */
	}
	pthread_mutex_unlock(&s->lock);
	return status;
}

/* The request is over, whichever way. */
static void context_again(struct server_context *c)
{
	atomic_fetch_sub_explicit(&slot_of(c)->in_flight, 1, memory_order_relaxed);
	context_receive(c);
}

static void context_on_received(struct server_context *c, int code)
{
	struct rpc_server *s = c->server;
	unsigned before = atomic_fetch_sub_explicit(&s->receiving, 1, memory_order_relaxed);
	if (code == NNG_ECLOSED) {
		server_unref(s);
		return;
	}
	if (code != 0) { /* out of memory: this request is lost, the connection goes on */
		context_receive(c);
		return;
	}
	/* Not growing is no error: the next context that is free receives. */
	if (before == 1)
		(void)!server_grow(s);
	nng_msg *request = nng_aio_get_msg(c->aio);
	nng_aio_set_msg(c->aio, NULL);
	c->pipe = nng_msg_get_pipe(request);
	if (atomic_fetch_add_explicit(&slot_of(c)->in_flight, 1, memory_order_relaxed) >= s->options.connection_in_flight_max) {
		nng_msg_free(request);
		atomic_fetch_add_explicit(&s->requests_dropped, 1, memory_order_relaxed);
		context_again(c);
		return;
	}
	c->call.request = message_from_nng(request);
	c->call.received_us = rpc_now_us();
	c->state = CONTEXT_ANSWERING;
	atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
	s->options.on_request(s->options.arg, &c->call);
}

/* The answer had no turn in time. Slow is not stuck: while others get through only this one is lost, and late anyway. */
static void context_on_send_timeout(struct server_context *c)
{
	uint64_t answer_us = atomic_load_explicit(&slot_of(c)->answer_us, memory_order_relaxed);
	if (answer_us + c->server->options.send_timeout_ms * UINT64_C(1000) <= rpc_now_us())
		drop_connection(c);
}

static void context_on_sent(struct server_context *c, int code)
{
	/* A client that has gone counts as sent for NNG; the message is ours again only after an error. */
	if (code != 0)
		nng_msg_free(nng_aio_get_msg(c->aio));
	else
		atomic_store_explicit(&slot_of(c)->answer_us, rpc_now_us(), memory_order_relaxed);
	nng_aio_set_msg(c->aio, NULL);
	if (code == NNG_ETIMEDOUT)
		context_on_send_timeout(c);
	if (code == NNG_ECLOSED)
		server_unref(c->server);
	else
		context_again(c);
}

static void context_on_aio(void *arg)
{
	struct server_context *c = arg;
	int code = nng_aio_result(c->aio);
	switch (c->state) {
	case CONTEXT_RECEIVING:
		context_on_received(c, code);
		return;
	case CONTEXT_SENDING:
		context_on_sent(c, code);
		return;
	case CONTEXT_ANSWERING:
		break;
	}
	assert(!"an operation ended on a context that had none");
}

/* ---- answers -------------------------------------------------------------------------------------------------- */

/* Ends the call; response NULL drops it. */
static void context_answer(struct server_context *c, struct rpc_message *response)
{
	struct rpc_server *s = c->server;
	assert(c->state == CONTEXT_ANSWERING);
	rpc_message_free(c->call.request);
	c->call.request = NULL;
	if (atomic_load(&s->closing)) {
		rpc_message_free(response);
		server_unref(s);
	} else if (response == NULL) {
		context_again(c);
	} else {
		c->state = CONTEXT_SENDING;
		nng_aio_set_timeout(c->aio, (nng_duration)s->options.send_timeout_ms);
		nng_aio_set_msg(c->aio, message_to_nng(response));
		nng_ctx_send(c->nng, c->aio);
	}
}

void rpc_call_reply(struct rpc_call *call, struct rpc_message *response)
{
	assert(response != NULL);
	context_answer(context_of(call), response);
}

void rpc_call_refuse(struct rpc_call *call, uint32_t code, uint64_t ring_epoch, const char *message)
{
	struct rpc_response head = {
		.protocol_version = RPC_PROTOCOL_VERSION,
		.code = code,
		.message = {(const uint8_t *)message, message == NULL ? 0 : strlen(message)},
		.ring_epoch = ring_epoch,
	};
	struct rpc_message *response = NULL;
	if (rpc_response_encode(&head, NULL, &response) < 0)
		response = NULL; /* out of memory: the client's deadline will tell it */
	context_answer(context_of(call), response);
}

/* ---- connections ---------------------------------------------------------------------------------------------- */

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct rpc_server *s = arg;
	if (event == NNG_PIPE_EV_ADD_PRE) {
		unsigned before = atomic_fetch_add(&s->connections, 1);
		if (before >= s->options.connections_max) {
			atomic_fetch_add(&s->connections_refused, 1);
			nng_pipe_close(pipe);
		}
	} else if (event == NNG_PIPE_EV_REM_POST) {
		atomic_fetch_sub(&s->connections, 1);
	}
}

void rpc_server_counts(struct rpc_server *s, struct rpc_server_counts *out)
{
	*out = (struct rpc_server_counts){
		.requests = atomic_load(&s->requests),
		.connections = atomic_load(&s->connections),
		.connections_refused = atomic_load(&s->connections_refused),
		.connections_dropped = atomic_load(&s->connections_dropped),
		.requests_dropped = atomic_load(&s->requests_dropped),
	};
	pthread_mutex_lock(&s->lock);
	out->contexts = s->context_count;
	pthread_mutex_unlock(&s->lock);
	unsigned receiving = atomic_load(&s->receiving);
	out->in_flight = receiving < out->contexts ? out->contexts - receiving : 0;
}

/* ---- open and close ------------------------------------------------------------------------------------------- */

static int server_start(struct rpc_server *s, struct rpc_error *error_out)
{
	int code = nng_pipe_notify(s->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, s);
	if (code == 0)
		code = nng_pipe_notify(s->socket, NNG_PIPE_EV_REM_POST, on_pipe, s);
	if (code != 0)
		return error_set(error_out, error_from_nng(code), "cannot watch connections: %s", nng_strerror(code));
	int status = socket_set_common(s->socket, s->options.message_max, error_out);
	if (status < 0)
		return status;
	for (unsigned i = 0; i < CONTEXTS_AT_START && i < s->options.in_flight_max; i++) {
		status = server_grow(s);
		if (status < 0)
			return error_set(error_out, status, "cannot open a context: %s", strerror(-status));
	}
	return address_listen(s->socket, s->options.address, &s->port, error_out);
}

int rpc_server_open(const struct rpc_server_options *options, struct rpc_server **out, struct rpc_error *error_out)
{
	assert(options->on_request != NULL && options->message_max > 0 && options->in_flight_max > 0);
	struct rpc_server *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return error_set(error_out, -ENOMEM, "out of memory");
	s->options = *options;
	if (s->options.connections_max == 0)
		s->options.connections_max = RPC_CONNECTIONS_MAX;
	if (s->options.connection_in_flight_max == 0)
		s->options.connection_in_flight_max = s->options.in_flight_max;
	if (s->options.send_timeout_ms == 0)
		s->options.send_timeout_ms = SEND_TIMEOUT_MS;
	atomic_init(&s->references, 1);
	pthread_mutex_init(&s->lock, NULL);
	int code = nng_rep0_open(&s->socket);
	if (code != 0) {
		server_unref(s);
		return error_set(error_out, error_from_nng(code), "cannot open a socket: %s", nng_strerror(code));
	}
	int status = server_start(s, error_out);
	if (status < 0) {
		rpc_server_close(&s);
		return status;
	}
	*out = s;
	return 0;
}

uint16_t rpc_server_port(const struct rpc_server *s)
{
	return s->port;
}

void rpc_server_close(struct rpc_server **server)
{
	struct rpc_server *s = *server;
	if (s == NULL)
		return;
	*server = NULL;
	pthread_mutex_lock(&s->lock);
	atomic_store(&s->closing, true);
	struct server_context *first = s->contexts;
	pthread_mutex_unlock(&s->lock);
	nng_close(s->socket);
	/* Whatever NNG had under way has ended; wait for the callbacks, so that on_request never runs after this. */
	for (struct server_context *c = first; c != NULL; c = c->next)
		nng_aio_wait(c->aio);
	server_unref(s);
}
