/* The client's end: one REQ socket per peer (a REQ socket with several dialers would spread requests over them), one
 * context per outstanding request.
 *
 *       rpc_link_call           sent               answered, timed out, connection lost, closed
 *     ---------------> SENDING ------> RECEIVING ------------------------------------------------> IDLE, done runs
 *                         |                                                                         ^
 *                         +-------------------------------------------------------------------------+
 *                            not sent: timed out, connection lost, closed
 *
 * NNG 1.5.2 would send a request again after a minute, and at once when the connection drops: that is off (W3). A
 * receive started before the send has completed can crash when it is cancelled: the receive starts in the send's
 * callback. A request that waits for its turn on the connection would wait on for the next connection: it is aborted
 * when the connection goes.
 *
 * Threads  An idle context belongs to the list of free ones (under lock), a busy one to NNG and its callback.
 */
#include "internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <nng/protocol/reqrep0/req.h>

enum link_state {
	LINK_IDLE,
	LINK_SENDING,
	LINK_RECEIVING,
};

struct link_context {
	_Atomic enum link_state state;
	nng_ctx nng;
	nng_aio *aio;
	struct rpc_link *link;
	struct rpc_pending *pending;
	uint64_t deadline_us;
	struct link_context *next_free;
	struct link_context *next; /* among all of the link */
};

struct rpc_link {
	struct rpc_link_options options;
	nng_socket socket;
	atomic_bool connected;
	atomic_bool closing;
	atomic_uint inside; /* threads that are in NNG with one of our contexts */

	/* shared, under lock */
	pthread_mutex_t lock;
	struct link_context *contexts;
	struct link_context *free;
	unsigned context_count;
	unsigned pipes;
};

/* nng_close does not wait for a thread that is inside nng_ctx_send or nng_ctx_recv: the context's last reference then goes
 * after the socket's memory (NNG 1.5.2, seen as "panic: pthread_mutex_lock: Invalid argument"). So we count them.
 * False: the link is closing. */
static bool link_enter(struct rpc_link *link)
{
	atomic_fetch_add(&link->inside, 1);
	if (!atomic_load(&link->closing))
		return true;
	atomic_fetch_sub(&link->inside, 1);
	return false;
}

static void link_leave(struct rpc_link *link)
{
	atomic_fetch_sub(&link->inside, 1);
}

/* ---- one request ---------------------------------------------------------------------------------------------- */

static void context_finish(struct link_context *c, int status, nng_msg *response)
{
	struct rpc_link *link = c->link;
	struct rpc_pending *pending = c->pending;
	c->pending = NULL;
	atomic_store_explicit(&c->state, LINK_IDLE, memory_order_relaxed);
	pthread_mutex_lock(&link->lock);
	c->next_free = link->free;
	link->free = c;
	if (atomic_load(&link->closing) && status < 0)
		status = -ECANCELED; /* NNG says the connection was lost, and we know why */
	pthread_mutex_unlock(&link->lock);
	/* From here on the context may serve another request. */
	pending->status = status;
	pending->response = message_from_nng(response);
	pending->done(pending);
}

/* Milliseconds for NNG, rounded up: it takes 0 for "do not wait". */
static nng_duration time_left(uint64_t deadline_us)
{
	uint64_t now = rpc_now_us();
	return now >= deadline_us ? 1 : (nng_duration)((deadline_us - now + 999) / 1000);
}

static void context_on_sent(struct link_context *c, int code)
{
	if (code != 0) {
		nng_msg_free(nng_aio_get_msg(c->aio));
		nng_aio_set_msg(c->aio, NULL);
		int status = error_from_nng(code);
		/* Still in our hands, so nothing was sent. */
		context_finish(c, status == -ECONNRESET ? -EHOSTUNREACH : status, NULL);
		return;
	}
	struct rpc_link *link = c->link;
	if (!link_enter(link)) {
		context_finish(c, -ECANCELED, NULL);
		return;
	}
	atomic_store_explicit(&c->state, LINK_RECEIVING, memory_order_relaxed);
	nng_aio_set_timeout(c->aio, time_left(c->deadline_us));
	nng_ctx_recv(c->nng, c->aio);
	link_leave(link);
}

static void context_on_received(struct link_context *c, int code)
{
	if (code != 0) {
		context_finish(c, error_from_nng(code), NULL);
		return;
	}
	nng_msg *response = nng_aio_get_msg(c->aio);
	nng_aio_set_msg(c->aio, NULL);
	context_finish(c, 0, response);
}

static void context_on_aio(void *arg)
{
	struct link_context *c = arg;
	int code = nng_aio_result(c->aio);
	switch (atomic_load_explicit(&c->state, memory_order_relaxed)) {
	case LINK_SENDING:
		context_on_sent(c, code);
		return;
	case LINK_RECEIVING:
		context_on_received(c, code);
		return;
	case LINK_IDLE:
		break;
	}
	assert(!"an operation ended on a context that had none");
}

/* ---- contexts ------------------------------------------------------------------------------------------------- */

static int context_create(struct rpc_link *link, struct link_context **out)
{
	struct link_context *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->link = link;
	int code = nng_aio_alloc(&c->aio, context_on_aio, c);
	if (code != 0) {
		free(c);
		return error_from_nng(code);
	}
	code = nng_ctx_open(&c->nng, link->socket);
	if (code == 0)
		code = nng_ctx_set_ms(c->nng, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
	if (code != 0) { /* nng_close takes care of the context */
		nng_aio_free(c->aio);
		free(c);
		return error_from_nng(code);
	}
	*out = c;
	return 0;
}

/* Under lock. */
static int context_take(struct rpc_link *link, struct link_context **out)
{
	if (link->pipes == 0)
		return -EHOSTUNREACH;
	struct link_context *c = link->free;
	if (c == NULL) {
		if (link->context_count >= link->options.outstanding_max)
			return -EAGAIN;
		int status = context_create(link, &c);
		if (status < 0)
			return status;
		c->next = link->contexts;
		link->contexts = c;
		link->context_count++;
	} else {
		link->free = c->next_free;
	}
	atomic_store_explicit(&c->state, LINK_SENDING, memory_order_relaxed);
	*out = c;
	return 0;
}

static int send_request(struct rpc_link *link, struct rpc_message *request, uint32_t timeout_ms, struct rpc_pending *pending)
{
	struct link_context *c;
	pthread_mutex_lock(&link->lock);
	int status = context_take(link, &c);
	pthread_mutex_unlock(&link->lock);
	if (status < 0) {
		rpc_message_free(request);
		return status;
	}
	c->pending = pending;
	c->deadline_us = rpc_now_us() + (uint64_t)timeout_ms * 1000;
	nng_aio_set_msg(c->aio, message_to_nng(request));
	nng_aio_set_timeout(c->aio,
			    timeout_ms == 0 ? 1 : (nng_duration)(timeout_ms < INT32_MAX ? timeout_ms : INT32_MAX));
	nng_ctx_send(c->nng, c->aio);
	return 0;
}

int rpc_link_call(struct rpc_link *link, struct rpc_message *request, uint32_t timeout_ms, struct rpc_pending *pending)
{
	assert(pending->done != NULL);
	if (!link_enter(link)) {
		rpc_message_free(request);
		return -EHOSTUNREACH;
	}
	int status = send_request(link, request, timeout_ms, pending);
	link_leave(link);
	return status;
}

/* ---- the connection ------------------------------------------------------------------------------------------- */

/* Requests already sent are failed by NNG. Those that wait for their turn are failed here. One that has just been sent
 * may be hit as well: it is lost all the same. */
static void abort_unsent(struct rpc_link *link)
{
	for (struct link_context *c = link->contexts; c != NULL; c = c->next)
		if (atomic_load_explicit(&c->state, memory_order_relaxed) == LINK_SENDING)
			nng_aio_abort(c->aio, NNG_ECONNRESET);
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	(void)pipe;
	struct rpc_link *link = arg;
	bool up = event == NNG_PIPE_EV_ADD_POST;
	pthread_mutex_lock(&link->lock);
	if (up)
		link->pipes++;
	else if (link->pipes > 0)
		link->pipes--;
	bool connected = link->pipes > 0;
	bool changed = atomic_exchange(&link->connected, connected) != connected;
	if (!connected)
		abort_unsent(link);
	pthread_mutex_unlock(&link->lock);
	if (changed && link->options.on_connection != NULL)
		link->options.on_connection(link->options.arg, connected);
}

bool rpc_link_connected(const struct rpc_link *link)
{
	return atomic_load(&link->connected);
}

/* ---- open and close ------------------------------------------------------------------------------------------- */

static int link_start(struct rpc_link *link, const char *url, struct rpc_error *error_out)
{
	int code = nng_pipe_notify(link->socket, NNG_PIPE_EV_ADD_POST, on_pipe, link);
	if (code == 0)
		code = nng_pipe_notify(link->socket, NNG_PIPE_EV_REM_POST, on_pipe, link);
	if (code == 0)
		code = nng_socket_set_ms(link->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
	if (code != 0)
		return error_set(error_out, error_from_nng(code), "cannot set up a link: %s", nng_strerror(code));
	int status = socket_set_common(link->socket, link->options.message_max, error_out);
	if (status < 0)
		return status;
	code = nng_dial(link->socket, url, NULL, NNG_FLAG_NONBLOCK);
	if (code != 0)
		return error_set(error_out, error_from_nng(code), "cannot dial %s: %s", url, nng_strerror(code));
	return 0;
}

int rpc_link_open(const struct rpc_link_options *options, struct rpc_link **out, struct rpc_error *error_out)
{
	assert(options->message_max > 0 && options->outstanding_max > 0);
	char url[RPC_URL_MAX];
	int status = address_to_url(options->address, false, url, error_out);
	if (status < 0)
		return status;
	struct rpc_link *link = calloc(1, sizeof(*link));
	if (link == NULL)
		return error_set(error_out, -ENOMEM, "out of memory");
	link->options = *options;
	pthread_mutex_init(&link->lock, NULL);
	int code = nng_req0_open(&link->socket);
	if (code != 0) {
		pthread_mutex_destroy(&link->lock);
		free(link);
		return error_set(error_out, error_from_nng(code), "cannot open a socket: %s", nng_strerror(code));
	}
	status = link_start(link, url, error_out);
	if (status < 0) {
		rpc_link_close(&link);
		return status;
	}
	*out = link;
	return 0;
}

void rpc_link_stop(struct rpc_link *link)
{
	if (atomic_exchange(&link->closing, true))
		return;
	while (atomic_load(&link->inside) > 0) /* none of them waits for anything */
		sched_yield();
	nng_close(link->socket); /* ends every operation */
	for (struct link_context *c = link->contexts; c != NULL; c = c->next)
		nng_aio_wait(c->aio);
}

void rpc_link_close(struct rpc_link **pointer)
{
	struct rpc_link *link = *pointer;
	if (link == NULL)
		return;
	*pointer = NULL;
	rpc_link_stop(link);
	while (link->contexts != NULL) {
		struct link_context *c = link->contexts;
		link->contexts = c->next;
		nng_aio_free(c->aio); /* waits for its callback, and so for done */
		free(c);
	}
	pthread_mutex_destroy(&link->lock);
	free(link);
}
