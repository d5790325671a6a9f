/* The client's end: one connection to one peer, dialled again whenever it goes, and a table of outstanding requests.
 *
 *       dial                      handshake                 lost
 *     --------> DIALING ---------------------> CONNECTED -----------> PAUSING --(50 ms to 1 s)--> DIALING
 *                  |                                                     ^
 *                  +-----------------------------------------------------+  refused, unreachable, not our protocol
 *
 * A request is a slot of the table; its id on the wire is the slot's number and a count of the slot's uses, so that an
 * answer that comes too late finds nobody. Nothing is sent twice: when the connection goes, every outstanding request
 * ends with -ECONNRESET at once.
 *
 * Deadlines are kept to DEADLINE_TICK_MS, in return for no timer and no wake-up for each request (deadline.h).
 */
#include "connection.h"
#include "deadline.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
	DIAL_MS = 5000, /* for a peer that does not even refuse */
	SLOT_BITS = 16, /* of the id: the slot; the top bit is set, the rest counts */
	SLOT_COUNT_MAX = 1 << SLOT_BITS,
	ENDED_AT_ONCE = 64,
};

enum link_state {
	LINK_DIALING,
	LINK_CONNECTED, /* or shaking hands */
	LINK_PAUSING,
	LINK_STOPPED,
};

struct slot {
	struct rpc_pending *pending; /* NULL: free */
	uint64_t deadline_us;
	uint32_t id;
	struct slot *next_free;
};

struct rpc_link {
	struct rpc_link_options options;
	nng_stream_dialer *dialer;
	nng_aio *dial_aio;
	struct deadline_watch watch;
	atomic_bool connected; /* open for requests; written under lock */

	/* shared, under lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum link_state state;
	unsigned backoff_ms;
	struct connection *connection; /* a reference, in LINK_CONNECTED */
	bool closing;
	unsigned outstanding;
	struct slot *slots;
	unsigned slots_used; /* those above were never taken */
	struct slot *free_slots;
};

/* ---- requests ------------------------------------------------------------------------------------------------------
 */

static void pending_end(struct rpc_pending *pending, int status, struct rpc_message *response)
{
	pending->status = status;
	pending->response = response;
	pending->done(pending);
}

/* Under lock. */
static struct slot *slot_take(struct rpc_link *link)
{
	struct slot *slot = link->free_slots;
	if (slot != NULL) {
		link->free_slots = slot->next_free;
	} else {
		if (link->slots_used == link->options.outstanding_max)
			return NULL;
		slot = &link->slots[link->slots_used];
		slot->id = UINT32_C(0x80000000) | link->slots_used;
		link->slots_used++;
	}
	slot->id = UINT32_C(0x80000000) | (slot->id + SLOT_COUNT_MAX);
	link->outstanding++;
	return slot;
}

/* Under lock. Returns what waited there. */
static struct rpc_pending *slot_free(struct rpc_link *link, struct slot *slot)
{
	struct rpc_pending *pending = slot->pending;
	slot->pending = NULL;
	slot->next_free = link->free_slots;
	link->free_slots = slot;
	link->outstanding--;
	return pending;
}

/* Ends every request whose deadline is before `before_us`; all of them for UINT64_MAX. */
static void end_overdue(struct rpc_link *link, uint64_t before_us, int status)
{
	struct rpc_pending *ended[ENDED_AT_ONCE];
	unsigned count;
	do {
		count = 0;
		pthread_mutex_lock(&link->lock);
		for (unsigned i = 0; i < link->slots_used && count < ENDED_AT_ONCE; i++)
			if (link->slots[i].pending != NULL && link->slots[i].deadline_us < before_us)
				ended[count++] = slot_free(link, &link->slots[i]);
		pthread_mutex_unlock(&link->lock);
		for (unsigned i = 0; i < count; i++)
			pending_end(ended[i], status, NULL);
	} while (count == ENDED_AT_ONCE);
}

static bool on_tick(void *arg)
{
	struct rpc_link *link = arg;
	end_overdue(link, rpc_now_us(), -ETIMEDOUT);
	pthread_mutex_lock(&link->lock);
	bool under_way = link->outstanding > 0;
	pthread_mutex_unlock(&link->lock);
	return under_way;
}

int rpc_link_call(struct rpc_link *link, struct rpc_message *request, uint32_t timeout_ms, struct rpc_pending *pending)
{
	assert(pending->done != NULL);
	uint64_t deadline_us = rpc_now_us() + (uint64_t)timeout_ms * 1000;
	pthread_mutex_lock(&link->lock);
	bool open = atomic_load(&link->connected) && !link->closing;
	struct slot *slot = open ? slot_take(link) : NULL;
	if (slot == NULL) {
		pthread_mutex_unlock(&link->lock);
		rpc_message_free(request);
		return open ? -EAGAIN : -EHOSTUNREACH;
	}
	slot->pending = pending;
	slot->deadline_us = deadline_us;
	uint32_t id = slot->id;
	struct connection *connection = connection_ref(link->connection);
	pthread_mutex_unlock(&link->lock);
	deadline_watch_arm(&link->watch);
	/* If the connection is lost meanwhile, on_closed ends the request. */
	connection_send(connection, id, request);
	connection_unref(connection);
	return 0;
}

/* ---- the connection ------------------------------------------------------------------------------------------------
 */

static void tell_connection(struct rpc_link *link, bool connected)
{
	if (link->options.on_connection != NULL)
		link->options.on_connection(link->options.arg, connected);
}

static void on_open(void *arg, struct connection *connection)
{
	(void)connection;
	struct rpc_link *link = arg;
	pthread_mutex_lock(&link->lock);
	link->backoff_ms = RPC_RECONNECT_MIN_MS;
	atomic_store(&link->connected, true);
	pthread_mutex_unlock(&link->lock);
	tell_connection(link, true);
}

static bool on_message(void *arg, struct connection *connection, uint32_t id, struct rpc_message *message)
{
	(void)connection;
	struct rpc_link *link = arg;
	unsigned index = id % SLOT_COUNT_MAX;
	struct rpc_pending *pending = NULL;
	pthread_mutex_lock(&link->lock);
	if (index < link->slots_used && link->slots[index].id == id && link->slots[index].pending != NULL)
		pending = slot_free(link, &link->slots[index]);
	pthread_mutex_unlock(&link->lock);
	if (pending != NULL)
		pending_end(pending, 0, message);
	else
		rpc_message_free(message); /* too late */
	return true;
}

/* Under lock: dials, or waits first; not when the link is closing. */
static void link_dial(struct rpc_link *link, bool pause)
{
	if (link->closing) {
		link->state = LINK_STOPPED;
		pthread_cond_signal(&link->changed);
	} else if (pause) {
		link->state = LINK_PAUSING;
		nng_aio_set_timeout(link->dial_aio, NNG_DURATION_INFINITE);
		nng_sleep_aio((nng_duration)link->backoff_ms, link->dial_aio);
		link->backoff_ms =
			link->backoff_ms * 2 < RPC_RECONNECT_MAX_MS ? link->backoff_ms * 2 : RPC_RECONNECT_MAX_MS;
	} else {
		link->state = LINK_DIALING;
		nng_aio_set_timeout(link->dial_aio, DIAL_MS);
		nng_stream_dialer_dial(link->dialer, link->dial_aio);
	}
}

static void on_closed(void *arg, struct connection *connection)
{
	struct rpc_link *link = arg;
	pthread_mutex_lock(&link->lock);
	bool was_open = atomic_exchange(&link->connected, false);
	bool closing = link->closing;
	link->connection = NULL;
	pthread_mutex_unlock(&link->lock);
	connection_unref(connection);
	if (was_open) {
		end_overdue(link, UINT64_MAX, closing ? -ECANCELED : -ECONNRESET);
		tell_connection(link, false);
	}
	pthread_mutex_lock(&link->lock);
	link_dial(link, true); /* last: once stopped, the link may be gone */
	pthread_mutex_unlock(&link->lock);
}

static const struct connection_events link_events = {on_open, on_message, on_closed};

/* Takes the stream. False: it could not be used. */
static bool link_connect(struct rpc_link *link, nng_stream *stream)
{
	struct connection_options options = {
		.protocol = CONNECTION_REQ,
		.peer = CONNECTION_REP,
		.message_max = link->options.message_max,
		.events = &link_events,
		.arg = link,
	};
	struct connection *connection;
	if (connection_create(stream, &options, &connection) < 0)
		return false;
	pthread_mutex_lock(&link->lock);
	link->state = LINK_CONNECTED;
	link->connection = connection_ref(connection);
	if (link->closing)
		connection_close(connection); /* stop has not seen it */
	pthread_mutex_unlock(&link->lock);
	connection_start(connection);
	connection_unref(connection);
	return true;
}

static void on_dial_aio(void *arg)
{
	struct rpc_link *link = arg;
	bool dialled = link->state == LINK_DIALING;
	bool failed = nng_aio_result(link->dial_aio) != 0;
	if (dialled && !failed && link_connect(link, nng_aio_get_output(link->dial_aio, 0)))
		return;
	pthread_mutex_lock(&link->lock);
	link_dial(link, dialled);
	pthread_mutex_unlock(&link->lock);
}

bool rpc_link_connected(const struct rpc_link *link)
{
	return atomic_load(&link->connected);
}

/* ---- open and close ------------------------------------------------------------------------------------------------
 */

static int link_start(struct rpc_link *link, const char *url)
{
	int code = nng_stream_dialer_alloc(&link->dialer, url);
	if (code == 0)
		code = nng_stream_dialer_set_bool(link->dialer, NNG_OPT_TCP_NODELAY, true);
	if (code == 0)
		code = nng_stream_dialer_set_bool(link->dialer, NNG_OPT_TCP_KEEPALIVE, true);
	if (code == 0)
		code = nng_aio_alloc(&link->dial_aio, on_dial_aio, link);
	return code;
}

static void link_free(struct rpc_link *link)
{
	if (link->dial_aio != NULL)
		nng_aio_free(link->dial_aio);
	if (link->dialer != NULL) {
		nng_stream_dialer_close(link->dialer);
		nng_stream_dialer_free(link->dialer);
	}
	pthread_cond_destroy(&link->changed);
	pthread_mutex_destroy(&link->lock);
	free(link->slots);
	free(link);
}

int rpc_link_open(const struct rpc_link_options *options, struct rpc_link **out, struct rpc_error *error_out)
{
	assert(options->message_max > 0 && options->outstanding_max > 0 && options->outstanding_max <= SLOT_COUNT_MAX);
	char url[RPC_URL_MAX];
	int status = address_to_url(options->address, false, url, error_out);
	if (status < 0)
		return status;
	struct rpc_link *link = calloc(1, sizeof(*link));
	struct slot *slots = calloc(options->outstanding_max, sizeof(*slots));
	if (link == NULL || slots == NULL) {
		free(link);
		free(slots);
		return error_set(error_out, -ENOMEM, "out of memory");
	}
	link->options = *options;
	link->options.address = NULL; /* the caller's text */
	link->slots = slots;
	link->backoff_ms = RPC_RECONNECT_MIN_MS;
	pthread_mutex_init(&link->lock, NULL);
	pthread_cond_init(&link->changed, NULL);
	int code = link_start(link, url);
	if (code != 0) {
		link_free(link);
		return error_set(error_out, error_from_nng(code), "cannot dial %s: %s", url, nng_strerror(code));
	}
	link->watch.check = on_tick;
	link->watch.arg = link;
	status = deadline_watch_add(&link->watch);
	if (status < 0) {
		link_free(link);
		return error_set(error_out, status, "cannot start a thread: %s", strerror(-status));
	}
	*out = link; /* before the first event */
	pthread_mutex_lock(&link->lock);
	link_dial(link, false);
	pthread_mutex_unlock(&link->lock);
	return 0;
}

void rpc_link_stop(struct rpc_link *link)
{
	pthread_mutex_lock(&link->lock);
	link->closing = true;
	if (link->state == LINK_DIALING || link->state == LINK_PAUSING)
		nng_aio_cancel(link->dial_aio);
	else if (link->connection != NULL)
		connection_close(link->connection);
	while (link->state != LINK_STOPPED)
		pthread_cond_wait(&link->changed, &link->lock);
	pthread_mutex_unlock(&link->lock);
}

void rpc_link_close(struct rpc_link **pointer)
{
	struct rpc_link *link = *pointer;
	if (link == NULL)
		return;
	*pointer = NULL;
	rpc_link_stop(link);
	deadline_watch_remove(&link->watch);
	link_free(link);
}
