/* SPDX-License-Identifier: Apache-2.0 */
/* The bus: one listener and any number of dialers, whose connections are all alike. One hop, best effort.
 *
 * NNG's BUS protocol on the wire, so that tools which speak it can listen in. A message is sent to every neighbour that
 * has shaken hands; a neighbour that reads too slowly misses the newest, and is counted.
 *
 * Lifetime  A neighbour lives until on_closed; the bus and its dialers wait for theirs.
 */
#include "rpc/connection.h"
#include "rpc/deadline.h"
#include "rpc/dialer.h"
#include "rpc/listener.h"
#include "rpc/lock.h"
#include "rpc/origin.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	BUS_QUEUE_MAX = 1024 * 1024, /* bytes to send, per connection; one message may exceed it */
	BUS_UNHEARD_SIZE =
		64 * 1024, /* bytes of one neighbour that wait for the receiver, besides two of the longest messages */
	BUS_CONNECTIONS_MAX = 1024, /* accepted; those we dial are not counted */
	BUS_SWEEP_MS = 100,         /* between looks at who is silent */
	BUS_HELLO_MS = 1000,        /* until a neighbour that took our connection has said hello */
};

struct bus_dialer {
	struct rpc_bus *bus;
	struct dialer *dialer;
	struct bus_dialer *next; /* owned by the main thread */
	bool hung_up;            /* under the lock of the bus */
	char address[];
};

/* The state of one connection. */
struct neighbour {
	struct rpc_bus *bus;
	struct bus_dialer *dialer;     /* NULL: it dialled us */
	struct connection *connection; /* a reference */
	struct rpc_quota *unheard;     /* what it said and the receiver has not yet freed */
	struct origin *origin;         /* where it came from; NULL: we have dialled it */
	bool open;                     /* has shaken hands */
	bool leaving;                  /* it has given its place to another */
	struct neighbour *next, **previous;
};

struct rpc_bus {
	struct rpc_bus_options options;
	struct listener *listener;
	uint16_t port;
	struct bus_dialer *dialers; /* owned by the main thread */
	struct deadline_watch sweep;
	bool swept; /* owned by the main thread */

	/* shared, under lock */
	struct lock lock;
	pthread_cond_t changed;
	struct neighbour *neighbours GUARDED;
	struct origins origins GUARDED; /* of those accepted */
	uint32_t accepted GUARDED;      /* of them */
	struct rpc_bus_counts counts GUARDED;
};

/* ---- neighbours -------------------------------------------------------------------------------------------------- */

static void on_open(void *arg, struct connection *connection)
{
	struct neighbour *n = arg;
	(void)connection;
	if (n->dialer != NULL)
		rpc_dialer_succeeded(n->dialer->dialer);
	lock_take(&n->bus->lock);
	n->open = true;
	n->bus->counts.connections++;
	lock_release(&n->bus->lock);
}

static bool on_message(void *arg, struct connection *connection, uint32_t id, struct rpc_message *message)
{
	struct neighbour *n = arg;
	(void)connection;
	(void)id;
	if (rpc_quota_take(n->unheard, message)) {
		n->bus->options.on_message(n->bus->options.arg, message);
		return true;
	}
	rpc_message_free(message);
	lock_take(&n->bus->lock);
	n->bus->counts.unheard++;
	lock_release(&n->bus->lock);
	return true;
}

static void on_closed(void *arg, struct connection *connection)
{
	struct neighbour *n = arg;
	struct rpc_bus *bus = n->bus;
	struct bus_dialer *dialer = n->dialer;
	lock_take(&bus->lock);
	*n->previous = n->next;
	if (n->next != NULL)
		n->next->previous = n->previous;
	bus->counts.connections -= n->open;
	bus->accepted -= dialer == NULL;
	rpc_origin_remove(&bus->origins, n->origin);
	pthread_cond_signal(&bus->changed);
	lock_release(&bus->lock); /* without a dialer, the bus may be gone from here on */
	rpc_connection_unref(connection);
	rpc_quota_unref(n->unheard);
	free(n);
	if (dialer != NULL)
		rpc_dialer_again(dialer->dialer); /* last: once stopped, the dialer may be gone, and the bus */
}

static const struct connection_events bus_events = {on_open, on_message, on_closed};

/* Takes the stream. dialer NULL: it was accepted, and origin says from where. */
static bool neighbour_add(struct rpc_bus *bus, struct bus_dialer *dialer, struct origin *origin, nng_stream *stream)
{
	struct neighbour *n = calloc(1, sizeof *n);
	if (n != NULL)
		n->unheard = rpc_quota_create(BUS_UNHEARD_SIZE + 2 * bus->options.message_max);
	if (n == NULL || n->unheard == NULL) {
		free(n);
		nng_stream_close(stream);
		nng_stream_free(stream);
		return false;
	}
	struct connection_options options = {
		.protocol = CONNECTION_BUS,
		.peer = CONNECTION_BUS,
		.message_max = bus->options.message_max,
		.queue_max = BUS_QUEUE_MAX,
		.handshake_ms = dialer != NULL ? BUS_HELLO_MS : 0,
		.events = &bus_events,
		.arg = n,
	};
	if (rpc_connection_create(stream, &options, &n->connection) < 0) {
		rpc_quota_unref(n->unheard);
		free(n);
		return false;
	}
	n->bus = bus;
	n->dialer = dialer;
	n->origin = origin;
	struct connection *connection = rpc_connection_ref(n->connection);
	lock_take(&bus->lock);
	n->next = bus->neighbours;
	n->previous = &bus->neighbours;
	if (n->next != NULL)
		n->next->previous = &n->next;
	bus->neighbours = n;
	bus->accepted += dialer == NULL;
	if (dialer != NULL && dialer->hung_up)
		rpc_connection_close(connection); /* hang_up has not seen it */
	lock_release(&bus->lock);
	rpc_connection_start(connection);
	rpc_connection_unref(connection);
	return true;
}

void rpc_bus_send(struct rpc_bus *bus, struct rpc_message *message)
{
	lock_take(&bus->lock);
	for (struct neighbour *n = bus->neighbours; n != NULL; n = n->next) {
		if (!n->open)
			continue;
		/* A copy for each: a message waits in one queue. */
		struct rpc_message *copy = rpc_message_create(message->size);
		if (copy != NULL)
			memcpy(copy->bytes, message->bytes, message->size);
		if (copy == NULL || !rpc_connection_offer(n->connection, copy))
			bus->counts.dropped++;
	}
	lock_release(&bus->lock);
	rpc_message_free(message);
}

void rpc_bus_counts(struct rpc_bus *bus, struct rpc_bus_counts *out)
{
	lock_take(&bus->lock);
	*out = bus->counts;
	lock_release(&bus->lock);
}

/* ---- dialers ----------------------------------------------------------------------------------------------------- */

static bool on_dialled(void *arg, nng_stream *stream)
{
	struct bus_dialer *dialer = arg;
	return neighbour_add(dialer->bus, dialer, NULL, stream);
}

static struct bus_dialer **dialer_find(struct rpc_bus *bus, const char *address)
{
	struct bus_dialer **at = &bus->dialers;
	while (*at != NULL && strcmp((*at)->address, address) != 0)
		at = &(*at)->next;
	return at;
}

int rpc_bus_dial(struct rpc_bus *bus, const char *address)
{
	if (*dialer_find(bus, address) != NULL)
		return 0;
	struct bus_dialer *dialer = calloc(1, sizeof *dialer + strlen(address) + 1);
	if (dialer == NULL)
		return -ENOMEM;
	dialer->bus = bus;
	strcpy(dialer->address, address);
	struct dialer_options options = {address, on_dialled, dialer};
	int status = rpc_dialer_create(&options, &dialer->dialer, NULL);
	if (status < 0) {
		free(dialer);
		return status;
	}
	dialer->next = bus->dialers;
	bus->dialers = dialer;
	rpc_dialer_start(dialer->dialer);
	return 0;
}

/* Unlinks it from *at. */
static void dialer_hang_up(struct rpc_bus *bus, struct bus_dialer **at)
{
	struct bus_dialer *dialer = *at;
	*at = dialer->next;
	lock_take(&bus->lock);
	dialer->hung_up = true;
	for (struct neighbour *n = bus->neighbours; n != NULL; n = n->next)
		if (n->dialer == dialer)
			rpc_connection_close(n->connection);
	lock_release(&bus->lock);
	rpc_dialer_destroy(&dialer->dialer); /* waits for on_closed */
	free(dialer);
}

void rpc_bus_hang_up(struct rpc_bus *bus, const char *address)
{
	struct bus_dialer **at = dialer_find(bus, address);
	if (*at != NULL)
		dialer_hang_up(bus, at);
}

/* ---- silence ------------------------------------------------------------------------------------------------------ */

static bool on_sweep(void *arg)
{
	struct rpc_bus *bus = arg;
	uint64_t silence_us = (uint64_t)bus->options.silence_ms * 1000, now_us = rpc_now_us();
	bool listens = now_us > bus->sweep.awake_us + silence_us; /* else the silence may be this process's own */
	lock_take(&bus->lock);
	for (struct neighbour *n = bus->neighbours; n != NULL; n = n->next)
		if (listens && n->dialer != NULL && n->open &&
		    now_us > rpc_connection_heard_us(n->connection) + silence_us)
			rpc_connection_close(n->connection); /* its dialer dials anew */
	lock_release(&bus->lock);
	return true;
}

static int sweep_start(struct rpc_bus *bus)
{
	if (bus->options.silence_ms == 0)
		return 0;
	bus->sweep = (struct deadline_watch){.check = on_sweep, .arg = bus, .period_us = BUS_SWEEP_MS * 1000};
	int error = rpc_deadline_watch_add(&bus->sweep);
	bus->swept = error == 0;
	if (bus->swept)
		rpc_deadline_watch_arm(&bus->sweep);
	return error;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

/* The address with most connections gives one to the newcomer, who is counted, if it has no fewer then: the one that has said nothing for
 * longest. */
static bool make_room(struct rpc_bus *bus, const struct origin *newcomer) REQUIRES(bus->lock);
static bool make_room(struct rpc_bus *bus, const struct origin *newcomer)
{
	struct neighbour *largest = NULL;
	for (struct neighbour *n = bus->neighbours; n != NULL; n = n->next) {
		if (n->origin == NULL || n->leaving || n->origin->connections <= newcomer->connections)
			continue;
		if (largest == NULL || n->origin->connections > largest->origin->connections ||
		    (n->origin == largest->origin &&
		     rpc_connection_heard_us(n->connection) < rpc_connection_heard_us(largest->connection)))
			largest = n;
	}
	if (largest == NULL)
		return false;
	largest->leaving = true;
	rpc_connection_close(largest->connection);
	return true;
}

static void on_accepted(void *arg, nng_stream *stream)
{
	struct rpc_bus *bus = arg;
	lock_take(&bus->lock);
	struct origin *origin = rpc_origin_add(&bus->origins, stream);
	bool allowed = origin != NULL && (bus->accepted < bus->options.connections_max || make_room(bus, origin));
	bus->counts.connections_refused += !allowed;
	if (!allowed)
		rpc_origin_remove(&bus->origins, origin);
	lock_release(&bus->lock);
	if (!allowed) {
		nng_stream_close(stream);
		nng_stream_free(stream);
	} else if (!neighbour_add(bus, NULL, origin, stream)) { /* out of memory: it has been closed */
		lock_take(&bus->lock);
		rpc_origin_remove(&bus->origins, origin);
		lock_release(&bus->lock);
	}
}

NOT_CHECKED int rpc_bus_open(const struct rpc_bus_options *options, struct rpc_bus **out, struct rpc_error *error_out)
{
	assert(options->on_message != NULL && options->message_max > 0);
	struct rpc_bus *bus = calloc(1, sizeof *bus);
	if (bus == NULL)
		return rpc_error_set(error_out, -ENOMEM, "out of memory");
	bus->options = *options;
	bus->options.address = NULL; /* the caller's text */
	if (bus->options.connections_max == 0)
		bus->options.connections_max = BUS_CONNECTIONS_MAX;
	lock_init(&bus->lock);
	pthread_cond_init(&bus->changed, NULL);
	if (options->address != NULL) {
		struct listener_options listener = {options->address, on_accepted, bus};
		int status = rpc_listener_open(&listener, &bus->listener, error_out);
		if (status < 0) {
			rpc_bus_close(&bus);
			return status;
		}
		bus->port = rpc_listener_port(bus->listener);
	}
	int error = sweep_start(bus);
	if (error < 0) {
		rpc_bus_close(&bus);
		return rpc_error_set(error_out, error, "cannot start a thread: %s", strerror(-error));
	}
	*out = bus; /* before the first event */
	if (bus->listener != NULL)
		rpc_listener_start(bus->listener);
	return 0;
}

uint16_t rpc_bus_port(const struct rpc_bus *bus)
{
	return bus->port;
}

void rpc_bus_close(struct rpc_bus **pointer)
{
	struct rpc_bus *bus = *pointer;
	if (bus == NULL)
		return;
	*pointer = NULL;
	if (bus->swept)
		rpc_deadline_watch_remove(&bus->sweep);
	rpc_listener_close(&bus->listener);
	while (bus->dialers != NULL)
		dialer_hang_up(bus, &bus->dialers);
	lock_take(&bus->lock);
	for (struct neighbour *n = bus->neighbours; n != NULL; n = n->next)
		rpc_connection_close(n->connection);
	while (bus->neighbours != NULL)
		lock_wait(&bus->lock, &bus->changed);
	lock_release(&bus->lock);
	pthread_cond_destroy(&bus->changed);
	lock_fini(&bus->lock);
	free(bus);
}
