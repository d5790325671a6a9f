/* SPDX-License-Identifier: Apache-2.0 */
/* The client's end: one connection to one peer (dialer.h), and a table of outstanding requests.
 *
 * A request is a slot of the table; its id on the wire is the slot's number and a count of the slot's uses, so that an
 * answer that comes too late finds nobody. Nothing is sent twice: when the connection ends, every outstanding request
 * ends with -ECONNRESET at once.
 *
 * Deadlines are kept to DEADLINE_TICK_MS, in return for no timer and no wake-up for each request (deadline.h).
 */
#include "rpc/connection.h"
#include "rpc/deadline.h"
#include "rpc/dialer.h"
#include "rpc/lock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLOT_BITS = 16, /* of the id: the slot; the top bit is set, the rest counts */
	SLOT_COUNT_MAX = 1 << SLOT_BITS,
	ENDED_AT_ONCE = 64,
	PING_ID = UINT32_MAX,     /* of no slot: its answer finds nobody, and has been heard */
	HELLO_MS = 1000,          /* until a peer that took the connection has said hello */
	SWEEP_MS = 100,           /* between looks at the connection, where silence matters */
	KEEPALIVE_MS = 30 * 1000, /* an idle connection is tried that often, before a request has to find out */
};

struct slot {
	struct rpc_pending *pending; /* NULL: free */
	uint64_t deadline_us;
	uint32_t id;
	struct slot *next_free;
};

struct rpc_link {
	struct rpc_link_options options;
	struct dialer *dialer;
	struct deadline_watch watch;
	struct deadline_watch sweep; /* of the connection's silence */
	bool watched, swept;         /* owned by the main thread */
	atomic_bool connected;       /* open for requests; written under lock */

	/* shared, under lock */
	struct lock lock;
	struct connection *connection GUARDED; /* a reference, from the dial to on_closed */
	bool closing GUARDED;
	uint64_t asked_us GUARDED;  /* since when there is something to answer; without meaning while there is not */
	uint64_t pinged_us GUARDED; /* when a sign of life was last asked for; 0: not on this connection */
	unsigned outstanding GUARDED;
	struct slot *slots GUARDED;
	unsigned slots_used GUARDED; /* those above were never taken */
	struct slot *free_slots GUARDED;
};

static struct slot *slot_take(struct rpc_link *link, uint64_t now_us) REQUIRES(link->lock);
static struct rpc_pending *slot_free(struct rpc_link *link, struct slot *slot) REQUIRES(link->lock);
static bool is_quiet(struct rpc_link *link, uint64_t now_us) REQUIRES(link->lock);

/* ---- requests -------------------------------------------------------------------------------------------------- */

static void pending_end(struct rpc_pending *pending, int status, struct rpc_message *response)
{
	pending->status = status;
	pending->response = response;
	pending->done(pending);
}

static struct slot *slot_take(struct rpc_link *link, uint64_t now_us)
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
	if (link->outstanding++ == 0)
		link->asked_us = now_us;
	return slot;
}

/* Returns what waited there. */
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
		lock_take(&link->lock);
		for (unsigned i = 0; i < link->slots_used && count < ENDED_AT_ONCE; i++)
			if (link->slots[i].pending != NULL && link->slots[i].deadline_us < before_us)
				ended[count++] = slot_free(link, &link->slots[i]);
		lock_release(&link->lock);
		for (unsigned i = 0; i < count; i++)
			pending_end(ended[i], status, NULL);
	} while (count == ENDED_AT_ONCE);
}

static bool on_tick(void *arg)
{
	struct rpc_link *link = arg;
	end_overdue(link, rpc_now_us(), -ETIMEDOUT);
	lock_take(&link->lock);
	bool under_way = link->outstanding > 0;
	lock_release(&link->lock);
	return under_way;
}

/* ---- silence ----------------------------------------------------------------------------------------------------- */

static void ping(struct connection *connection)
{
	static const char method[] = RPC_METHOD_PING;
	struct rpc_request head = {
		.protocol_version = RPC_PROTOCOL_VERSION,
		.method = {(const uint8_t *)method, sizeof method - 1},
	};
	struct rpc_message *request;
	if (rpc_request_encode(&head, NULL, &request) == 0) /* else out of memory: the next look tries again */
		rpc_connection_send(connection, PING_ID, request, NULL);
}

/* True: ask for a sign of life. */
static bool is_quiet(struct rpc_link *link, uint64_t now_us)
{
	uint64_t silence_us = (uint64_t)link->options.silence_ms * 1000;
	uint64_t heard_us = rpc_connection_heard_us(link->connection);
	bool pinged = link->pinged_us > heard_us;
	if (!pinged && link->outstanding == 0)
		return now_us > heard_us + KEEPALIVE_MS * 1000;
	uint64_t since_us = link->outstanding > 0 ? link->asked_us : link->pinged_us;
	if (since_us < heard_us)
		since_us = heard_us;
	if (since_us < link->sweep.awake_us) /* the silence was this process's own */
		since_us = link->sweep.awake_us;
	if (now_us > since_us + silence_us)
		rpc_connection_close(link->connection); /* on_closed dials anew */
	return !pinged && now_us > since_us + silence_us / 3;
}

static bool on_sweep(void *arg)
{
	struct rpc_link *link = arg;
	struct connection *connection = NULL;
	uint64_t now_us = rpc_now_us();
	lock_take(&link->lock);
	if (atomic_load(&link->connected) && is_quiet(link, now_us)) {
		connection = rpc_connection_ref(link->connection);
		link->pinged_us = now_us;
	}
	lock_release(&link->lock);
	if (connection != NULL) {
		ping(connection);
		rpc_connection_unref(connection);
	}
	return true;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

int rpc_link_call(struct rpc_link *link, struct rpc_message *request, uint32_t timeout_ms, struct rpc_pending *pending)
{
	assert(pending->done != NULL);
	uint64_t now_us = rpc_now_us();
	lock_take(&link->lock);
	bool open = atomic_load(&link->connected) && !link->closing;
	struct slot *slot = open ? slot_take(link, now_us) : NULL;
	if (slot == NULL) {
		lock_release(&link->lock);
		rpc_message_free(request);
		return open ? -EAGAIN : -EHOSTUNREACH;
	}
	slot->pending = pending;
	slot->deadline_us = now_us + (uint64_t)timeout_ms * 1000;
	uint32_t id = slot->id;
	struct connection *connection = rpc_connection_ref(link->connection);
	/* Under the lock: as soon as it is released, the request may end and the link be closed. */
	rpc_deadline_watch_arm(&link->watch);
	lock_release(&link->lock);
	/* If the connection is lost meanwhile, on_closed ends the request. */
	rpc_connection_send(connection, id, request, NULL);
	rpc_connection_unref(connection);
	return 0;
}

/* ---- the connection -------------------------------------------------------------------------------------------- */

static void tell_connection(struct rpc_link *link, bool connected)
{
	if (link->options.on_connection != NULL)
		link->options.on_connection(link->options.arg, connected);
}

static void on_open(void *arg, struct connection *connection)
{
	(void)connection;
	struct rpc_link *link = arg;
	rpc_dialer_succeeded(link->dialer);
	lock_take(&link->lock);
	atomic_store(&link->connected, true);
	link->pinged_us = 0;
	lock_release(&link->lock);
	tell_connection(link, true);
}

static bool on_message(void *arg, struct connection *connection, uint32_t id, struct rpc_message *message)
{
	(void)connection;
	struct rpc_link *link = arg;
	unsigned index = id % SLOT_COUNT_MAX;
	struct rpc_pending *pending = NULL;
	lock_take(&link->lock);
	if (index < link->slots_used && link->slots[index].id == id && link->slots[index].pending != NULL)
		pending = slot_free(link, &link->slots[index]);
	lock_release(&link->lock);
	if (pending != NULL)
		pending_end(pending, 0, message);
	else
		rpc_message_free(message); /* too late */
	return true;
}

static void on_closed(void *arg, struct connection *connection)
{
	struct rpc_link *link = arg;
	lock_take(&link->lock);
	bool was_open = atomic_exchange(&link->connected, false);
	bool closing = link->closing;
	link->connection = NULL;
	lock_release(&link->lock);
	rpc_connection_unref(connection);
	if (was_open) {
		end_overdue(link, UINT64_MAX, closing ? -ECANCELED : -ECONNRESET);
		tell_connection(link, false);
	}
	rpc_dialer_again(link->dialer); /* last: once stopped, the link may be gone */
}

static const struct connection_events link_events = {on_open, on_message, on_closed};

static bool on_stream(void *arg, nng_stream *stream)
{
	struct rpc_link *link = arg;
	struct connection_options options = {
		.protocol = CONNECTION_REQ,
		.peer = CONNECTION_REP,
		.message_max = link->options.message_max,
		.handshake_ms = HELLO_MS,
		.received = link->options.budget,
		.events = &link_events,
		.arg = link,
	};
	struct connection *connection;
	if (rpc_connection_create(stream, &options, &connection) < 0)
		return false;
	lock_take(&link->lock);
	link->connection = rpc_connection_ref(connection);
	if (link->closing)
		rpc_connection_close(connection); /* stop has not seen it */
	lock_release(&link->lock);
	rpc_connection_start(connection);
	rpc_connection_unref(connection);
	return true;
}

bool rpc_link_connected(const struct rpc_link *link)
{
	return atomic_load(&link->connected);
}

/* ---- open and close -------------------------------------------------------------------------------------------- */

static NOT_CHECKED void link_free(struct rpc_link *link)
{
	rpc_dialer_destroy(&link->dialer);
	rpc_budget_unref(link->options.budget);
	lock_fini(&link->lock);
	free(link->slots);
	free(link);
}

static int watch_link(struct rpc_link *link)
{
	int error = rpc_deadline_watch_add(&link->watch);
	link->watched = error == 0;
	if (error < 0 || link->options.silence_ms == 0)
		return error;
	error = rpc_deadline_watch_add(&link->sweep);
	link->swept = error == 0;
	if (link->swept)
		rpc_deadline_watch_arm(&link->sweep);
	return error;
}

static void unwatch_link(struct rpc_link *link)
{
	if (link->swept)
		rpc_deadline_watch_remove(&link->sweep);
	if (link->watched)
		rpc_deadline_watch_remove(&link->watch);
	link->swept = link->watched = false;
}

NOT_CHECKED int rpc_link_open(const struct rpc_link_options *options, struct rpc_link **out,
			      struct rpc_error *error_out)
{
	assert(options->message_max > 0 && options->outstanding_max > 0 && options->outstanding_max < SLOT_COUNT_MAX);
	struct rpc_link *link = calloc(1, sizeof *link);
	struct slot *slots = calloc(options->outstanding_max, sizeof *slots);
	if (link == NULL || slots == NULL) {
		free(link);
		free(slots);
		return rpc_error_set(error_out, -ENOMEM, "out of memory");
	}
	link->options = *options;
	link->options.address = NULL; /* the caller's text */
	rpc_budget_ref(link->options.budget);
	link->slots = slots;
	lock_init(&link->lock);
	struct dialer_options dialer = {options->address, on_stream, link};
	int status = rpc_dialer_create(&dialer, &link->dialer, error_out);
	if (status == 0) {
		link->watch = (struct deadline_watch){.check = on_tick, .arg = link};
		link->sweep = (struct deadline_watch){.check = on_sweep, .arg = link, .period_us = SWEEP_MS * 1000};
		status = watch_link(link);
		if (status < 0)
			rpc_error_set(error_out, status, "cannot start a thread: %s", strerror(-status));
	}
	if (status < 0) {
		unwatch_link(link);
		link_free(link);
		return status;
	}
	*out = link; /* before the first event */
	rpc_dialer_start(link->dialer);
	return 0;
}

void rpc_link_stop(struct rpc_link *link)
{
	lock_take(&link->lock);
	link->closing = true;
	if (link->connection != NULL)
		rpc_connection_close(link->connection);
	lock_release(&link->lock);
	rpc_dialer_stop(link->dialer);
	/* The deadline thread may still be about to call the done of what it has taken from the table. */
	unwatch_link(link);
}

void rpc_link_close(struct rpc_link **pointer)
{
	struct rpc_link *link = *pointer;
	if (link == NULL)
		return;
	*pointer = NULL;
	rpc_link_stop(link);
	link_free(link);
}
