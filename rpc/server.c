/* SPDX-License-Identifier: Apache-2.0 */
/* The server's end: a listener, its connections, and the calls that are with the receiver.
 *
 *     connection --on_message--> struct server_call --on_request--> receiver --rpc_call_reply--> connection
 *
 * At in_flight_max the connection that brought the last call rests until an answer makes room, as do others that
 * bring more; TCP pushes back on their clients. A client that has gone takes nothing with it: its calls are answered
 * to nobody.
 *
 * Whoever waits for something waits in a line and is served in its order: for memory for a large message that wants to
 * arrive, for room among the heavy calls, for room among all.
 *
 * Lifetime  One reference for the owner, one per connection and one per call, so that a call may be answered after
 *           rpc_server_close.
 */
#include "rpc/age.h"
#include "rpc/connection.h"
#include "rpc/deadline.h"
#include "rpc/listener.h"
#include "rpc/lock.h"
#include "rpc/origin.h"
#include "rpc/stall.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	PING_SIZE_MAX = 64,   /* bytes */
	FULL_MS = 60 * 1000,  /* between two tellings that there is no place */
	SWEEP_MS = 500,       /* between looks at who is slow or idle */
	CALLS_MIN = 8,        /* of each connection, however many others there are */
	UNUSED_MS_MIN = 1000, /* a connection in use within it keeps its place */
	IN_VAIN_MS = 1000,    /* after an answer was made in vain, the next one of its like is made no sooner */
	HEAVY_UNKNOWN = 8,    /* a part of heavy_max: the call of a connection that has had no answer yet */
	/* While others wait for memory, whoever holds some moves so many bytes per second, measured over so long. */
	HASTE_RATE_MIN = 64 * 1024,
	HASTE_MS = 3000,
};

/* How fast one direction of a connection goes while it holds memory. */
struct haste {
	uint64_t since_us; /* 0: it holds none */
	uint64_t bytes;    /* moved until then */
};

/* Clients that wait, the first first. */
struct line {
	struct client *first, **last;
};

struct server_call {
	struct rpc_call call;
	uint64_t weight; /* bytes, see heavy_max; 0: it is light */
	struct rpc_server *server;
	struct connection *connection; /* a reference */
	uint32_t id;
	struct server_call *next_free;
};

/* The state of one connection. */
struct client {
	struct rpc_server *server;
	struct connection *connection; /* a reference */
	struct origin *origin;         /* where it came from */
	struct client *next, **previous;
	struct client *next_resting;
	bool resting;      /* in_flight_max was reached */
	struct line *line; /* in which it waits with its next message; NULL: in none */
	struct client *next_in_line;
	uint64_t wanted;   /* bytes, in line */
	uint64_t arriving; /* bytes that a large message has of the budget, until it is with the receiver */
	uint64_t weight;   /* bytes among the heavy that its next call has */
	bool leaving;      /* it has been closed, and its end is under way */
	struct haste haste_in, haste_out;
	/* of on_message, one at a time */
	struct rpc_age age;
	uint64_t opened_us; /* rpc_sent_us */
};

struct rpc_server {
	struct rpc_server_options options;
	struct listener *listener;
	uint16_t port;
	struct deadline_watch sweep;
	bool swept; /* owned by the main thread */

	/* shared, under lock */
	struct lock lock;
	pthread_cond_t changed;
	unsigned references GUARDED;
	bool closing GUARDED;
	struct client *clients GUARDED;
	struct origins origins GUARDED; /* of them */
	uint64_t full_again_us GUARDED; /* on_full is not called before */
	struct client *resting GUARDED, **last_resting GUARDED;
	struct line for_memory GUARDED; /* for a large message that wants to arrive */
	/* For room among the heavy calls: connections that have had no answer yet, and the others. The lines take turns: who comes anew
	 * does not wait for all that are known to ask for much. */
	struct line for_turn[2] GUARDED;
	unsigned next_turn GUARDED; /* the line whose turn is next */
	uint64_t heavy GUARDED;     /* bytes: of heavy calls in flight, and of those whose turn it is */
	atomic_bool wants_room; /* since the last look, an answer to a client without any in its queue found no room */
	struct server_call *free_calls GUARDED;
	struct rpc_server_counts counts GUARDED;
};

/* Under lock. */
static void server_unref_unlock(struct rpc_server *s) RELEASES(s->lock);
static struct server_call *call_take(struct rpc_server *s) REQUIRES(s->lock);
static void unlink_resting(struct rpc_server *s, struct client *client) REQUIRES(s->lock);
static void arriving_end(struct rpc_server *s, struct client *client) REQUIRES(s->lock);
static bool heavy_fits(const struct rpc_server *s, uint64_t weight) REQUIRES(s->lock);
static bool nobody_waits_for_a_turn(const struct rpc_server *s) REQUIRES(s->lock);
static void heavy_end(struct rpc_server *s, uint64_t weight) REQUIRES(s->lock);
static bool rest_if_full(struct rpc_server *s, struct client *client) REQUIRES(s->lock);
static int fair_calls(const struct rpc_server *s) REQUIRES(s->lock);
static struct client *find_unused(struct rpc_server *s, const struct origin *newcomer) REQUIRES(s->lock);
static struct client *find_largest(struct rpc_server *s) REQUIRES(s->lock);
static bool make_room(struct rpc_server *s, const struct origin *newcomer) REQUIRES(s->lock);
static bool is_full(struct rpc_server *s, struct rpc_server_full *full_out) REQUIRES(s->lock);
static bool is_in_the_way(struct rpc_server *s, struct client *client, bool wants_room, uint64_t now_us)
	REQUIRES(s->lock);

static NOT_CHECKED void server_free(struct rpc_server *s)
{
	while (s->free_calls != NULL) {
		struct server_call *next = s->free_calls->next_free;
		free(s->free_calls);
		s->free_calls = next;
	}
	pthread_cond_destroy(&s->changed);
	lock_fini(&s->lock);
	rpc_budget_unref(s->options.budget);
	free(s);
}

static void server_unref_unlock(struct rpc_server *s)
{
	bool last = --s->references == 0;
	lock_release(&s->lock);
	if (last)
		server_free(s);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void line_init(struct line *line)
{
	*line = (struct line){NULL, &line->first};
}

static void line_join(struct line *line, struct client *client, uint64_t wanted)
{
	client->line = line;
	client->wanted = wanted;
	client->next_in_line = NULL;
	*line->last = client;
	line->last = &client->next_in_line;
}

static void line_leave(struct client *client)
{
	struct line *line = client->line;
	if (line == NULL)
		return;
	struct client **at = &line->first;
	while (*at != client)
		at = &(*at)->next_in_line;
	*at = client->next_in_line;
	if (*at == NULL)
		line->last = at;
	client->line = NULL;
}

/* The first goes on with what it wanted. */
static void line_serve(struct line *line)
{
	struct client *client = line->first;
	line_leave(client);
	rpc_connection_resume(client->connection);
}

/* Memory that large messages took is free again. */
static void arriving_end(struct rpc_server *s, struct client *client)
{
	if (client->arriving == 0)
		return;
	rpc_budget_arrived(s->options.budget, client->arriving);
	client->arriving = 0;
	for (struct client *first; (first = s->for_memory.first) != NULL;) {
		if (!rpc_budget_arrive(s->options.budget, first->wanted))
			break;
		first->arriving = first->wanted;
		line_serve(&s->for_memory);
	}
}

static bool heavy_fits(const struct rpc_server *s, uint64_t weight)
{
	return s->heavy == 0 || s->heavy + weight <= s->options.heavy_max;
}

static bool nobody_waits_for_a_turn(const struct rpc_server *s)
{
	return s->for_turn[0].first == NULL && s->for_turn[1].first == NULL;
}

static void heavy_end(struct rpc_server *s, uint64_t weight)
{
	if (weight == 0)
		return;
	assert(s->heavy >= weight);
	s->heavy -= weight;
	while (!nobody_waits_for_a_turn(s)) {
		if (s->for_turn[s->next_turn].first == NULL)
			s->next_turn ^= 1;
		struct client *first = s->for_turn[s->next_turn].first;
		if (!heavy_fits(s, first->wanted))
			break;
		s->heavy += first->weight = first->wanted;
		line_serve(&s->for_turn[s->next_turn]);
		s->next_turn ^= 1;
	}
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* NULL: memory is out. */
static struct server_call *call_take(struct rpc_server *s)
{
	struct server_call *call = s->free_calls;
	if (call != NULL)
		s->free_calls = call->next_free;
	else
		call = malloc(sizeof *call);
	if (call == NULL)
		return NULL;
	s->counts.requests++;
	s->counts.in_flight++;
	if (s->counts.in_flight > s->counts.in_flight_peak)
		s->counts.in_flight_peak = s->counts.in_flight;
	s->references++;
	return call;
}

static void unlink_resting(struct rpc_server *s, struct client *client)
{
	struct client **at = &s->resting;
	while (*at != client)
		at = &(*at)->next_resting;
	*at = client->next_resting;
	if (*at == NULL)
		s->last_resting = at;
	client->resting = false;
}

/* response NULL: no answer. */
static void call_end(struct server_call *call, struct rpc_message *response)
{
	struct rpc_server *s = call->server;
	struct connection *connection = call->connection, *resume = NULL;
	rpc_message_free(call->call.request);
	if (response != NULL)
		rpc_connection_send(connection, call->id, response, call->call.cork);
	lock_take(&s->lock);
	assert(s->counts.in_flight > 0);
	s->counts.in_flight--;
	heavy_end(s, call->weight);
	struct client *rested = s->resting;
	if (rested != NULL) {
		unlink_resting(s, rested);
		resume = rpc_connection_ref(rested->connection);
	}
	call->next_free = s->free_calls;
	s->free_calls = call;
	server_unref_unlock(s);
	rpc_connection_use(connection, -1);
	rpc_connection_unref(connection);
	if (resume != NULL) {
		rpc_connection_resume(resume);
		rpc_connection_unref(resume);
	}
}

static struct server_call *call_of(struct rpc_call *call)
{
	return (struct server_call *)((char *)call - offsetof(struct server_call, call));
}

bool rpc_call_has_room(struct rpc_call *call, size_t answer_size)
{
	const struct server_call *c = call_of(call);
	struct rpc_budget *budget = c->server->options.budget;
	if (budget == NULL)
		return true;
	size_t own = rpc_connection_unsent_size(c->connection);
	size_t size = answer_size > 0 ? answer_size : rpc_connection_likely_size(c->connection);
	if (rpc_budget_may_queue(budget, own, size))
		return true;
	if (answer_size > 0)
		rpc_connection_answered(c->connection, size);
	if (own == 0)
		atomic_store_explicit(&c->server->wants_room, true, memory_order_relaxed);
	/* It may ask for something smaller now. */
	return answer_size == 0 && rpc_connection_may_try(c->connection, rpc_now_us(), IN_VAIN_MS * UINT64_C(1000));
}

void rpc_call_reply(struct rpc_call *call, struct rpc_message *response)
{
	assert(response != NULL);
	rpc_connection_answered(call_of(call)->connection, response->size);
	call_end(call_of(call), response);
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
	call_end(call_of(call), response);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void on_open(void *arg, struct connection *connection)
{
	(void)arg;
	(void)connection;
}

/* Is there no room for one more call? Then the client is noted as resting. */
static bool rest_if_full(struct rpc_server *s, struct client *client)
{
	if (s->counts.in_flight < s->options.in_flight_max)
		return false;
	if (!client->resting) {
		client->resting = true;
		client->next_resting = NULL;
		*s->last_resting = client;
		s->last_resting = &client->next_resting;
	}
	return true;
}

/* When this request was sent, by our clock: its budget counts from then, wherever it waited. */
static uint64_t sent_by_our_clock(struct client *client, uint64_t sent_us)
{
	uint64_t age_us, now_us = rpc_sent_us();
	if (!rpc_age_take(&client->age, sent_us, now_us, &age_us))
		age_us = rpc_stall_age_us(client->opened_us, now_us);
	uint64_t received_us = rpc_now_us();
	return received_us > age_us ? received_us - age_us : 0;
}

/* A link's question whether somebody is there is answered here: the receiver may be too busy to say so. */
static bool answer_ping(struct connection *connection, uint32_t id, const struct rpc_request *request,
			struct rpc_message *message)
{
	if (message->size > PING_SIZE_MAX || !rpc_method_is(request->method, RPC_METHOD_PING))
		return false;
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION, .code = RPC_CODE_OK};
	struct rpc_message *response;
	rpc_message_free(message);
	if (rpc_response_encode(&head, NULL, &response) == 0)
		rpc_connection_send(connection, id, response, NULL);
	return true;
}

static bool on_large(void *arg, struct connection *connection, size_t size)
{
	struct client *client = arg;
	struct rpc_server *s = client->server;
	(void)connection;
	if (s->options.budget == NULL)
		return true;
	lock_take(&s->lock);
	if (client->arriving == 0 && client->line == NULL) {
		if (s->for_memory.first == NULL && rpc_budget_arrive(s->options.budget, size))
			client->arriving = size;
		else
			line_join(&s->for_memory, client, size);
	}
	bool room = client->arriving > 0;
	lock_release(&s->lock);
	return room;
}

static bool on_ready(void *arg, struct connection *connection, size_t size)
{
	struct client *client = arg;
	struct rpc_server *s = client->server;
	uint64_t likely = rpc_connection_likely_size(connection);
	uint64_t weight = likely > 0 ? likely : s->options.heavy_max / HEAVY_UNKNOWN;
	if (weight < size)
		weight = size;
	if (s->options.heavy_max == 0 || weight <= RPC_BUDGET_SMALL)
		return true;
	lock_take(&s->lock);
	if (client->weight == 0 && client->line == NULL) {
		if (nobody_waits_for_a_turn(s) && heavy_fits(s, weight))
			s->heavy += client->weight = weight;
		else
			line_join(&s->for_turn[likely > 0], client, weight);
	}
	bool turn = client->weight > 0;
	lock_release(&s->lock);
	return turn;
}

/* Calls that one connection may have. As with bytes (budget.h): as many as are free, so that n connections that ask for
 * all get 1 / (n + 1) each. */
static int fair_calls(const struct rpc_server *s)
{
	uint32_t fair = s->options.in_flight_fair, used = s->counts.in_flight;
	if (fair == 0)
		return INT_MAX;
	return used + CALLS_MIN < fair ? (int)(fair - used) : CALLS_MIN;
}

static bool on_message(void *arg, struct connection *connection, uint32_t id, struct rpc_message *message)
{
	struct client *client = arg;
	struct rpc_server *s = client->server;
	struct rpc_request head;
	bool malformed = rpc_request_decode(rpc_message_bytes(message), &head, NULL) < 0;
	if (malformed)
		head = (struct rpc_request){0};
	if (answer_ping(connection, id, &head, message))
		return true;
	lock_take(&s->lock);
	arriving_end(s, client);
	uint64_t weight = client->weight;
	client->weight = 0;
	struct server_call *call = s->closing ? NULL : call_take(s);
	if (call == NULL)
		heavy_end(s, weight);
	bool rest = call != NULL && rest_if_full(s, client);
	int calls_max = fair_calls(s);
	lock_release(&s->lock);
	if (call == NULL) { /* out of memory: the client's deadline will tell it */
		rpc_message_free(message);
		return true;
	}
	*call = (struct server_call){
		.call = {.received_us = sent_by_our_clock(client, head.sent_us),
			 .request = message,
			 .head = head,
			 .malformed = malformed},
		.weight = weight,
		.server = s,
		.connection = rpc_connection_ref(connection),
		.id = id,
	};
	rpc_connection_use(connection, 1);
	s->options.on_request(s->options.arg, &call->call);
	bool above = calls_max != INT_MAX && rpc_connection_rests_above(connection, calls_max);
	return !above && !rest;
}

static void on_closed(void *arg, struct connection *connection)
{
	struct client *client = arg;
	struct rpc_server *s = client->server;
	lock_take(&s->lock);
	if (client->resting)
		unlink_resting(s, client);
	line_leave(client);
	arriving_end(s, client);
	heavy_end(s, client->weight);
	*client->previous = client->next;
	if (client->next != NULL)
		client->next->previous = client->previous;
	s->counts.connections--;
	rpc_origin_remove(&s->origins, client->origin);
	pthread_cond_signal(&s->changed);
	server_unref_unlock(s);
	rpc_connection_unref(connection);
	free(client);
}

static const struct connection_events server_events = {on_open, on_message, on_closed, on_large, on_ready};

static void forget(struct rpc_server *s, struct origin *origin)
{
	lock_take(&s->lock);
	rpc_origin_remove(&s->origins, origin);
	lock_release(&s->lock);
}

/* Takes the stream. */
static void client_add(struct rpc_server *s, nng_stream *stream, struct origin *origin)
{
	struct client *client = calloc(1, sizeof *client);
	struct connection_options options = {
		.protocol = CONNECTION_REP,
		.peer = CONNECTION_REQ,
		.message_max = s->options.message_max,
		.budget = s->options.budget,
		.events = &server_events,
		.arg = client,
	};
	if (client == NULL) {
		nng_stream_close(stream);
		nng_stream_free(stream);
		forget(s, origin);
		return;
	}
	client->server = s;
	client->origin = origin;
	client->opened_us = rpc_sent_us();
	if (rpc_connection_create(stream, &options, &client->connection) < 0) {
		forget(s, origin);
		free(client);
		return;
	}
	struct connection *connection = rpc_connection_ref(client->connection);
	lock_take(&s->lock);
	s->references++;
	s->counts.connections++;
	client->next = s->clients;
	client->previous = &s->clients;
	if (client->next != NULL)
		client->next->previous = &client->next;
	s->clients = client;
	lock_release(&s->lock);
	rpc_connection_start(connection);
	rpc_connection_unref(connection);
}

/* ---- the listener ------------------------------------------------------------------------------------------------ */

/* Of those from the newcomer's address and those that have more connections than it: the one without use for longest. NULL: all are in
 * use. */
static struct client *find_unused(struct rpc_server *s, const struct origin *newcomer)
{
	struct client *longest = NULL;
	uint64_t most_us = UNUSED_MS_MIN * 1000, now_us = rpc_now_us();
	for (struct client *client = s->clients; client != NULL; client = client->next) {
		bool may_give = client->origin == newcomer || client->origin->connections >= newcomer->connections;
		uint64_t unused_us =
			may_give && !client->leaving ? rpc_connection_unused_us(client->connection, now_us) : 0;
		if (unused_us < most_us)
			continue;
		longest = client;
		most_us = unused_us;
	}
	return longest;
}

/* Of those from the address with most connections: the one without use for longest, though it may be in use. */
static struct client *find_largest(struct rpc_server *s)
{
	struct client *largest = NULL;
	uint64_t now_us = rpc_now_us(), most_us = 0;
	for (struct client *client = s->clients; client != NULL; client = client->next) {
		unsigned least = largest != NULL ? largest->origin->connections : 0, has = client->origin->connections;
		uint64_t unused_us = rpc_connection_unused_us(client->connection, now_us);
		if (client->leaving || has < least || (has == least && unused_us <= most_us && largest != NULL))
			continue;
		largest = client;
		most_us = unused_us;
	}
	return largest;
}

/* One gives its place to the newcomer, who is counted; false when none has to. An address loses a connection that is in use only to one
 * that still has fewer then. */
static bool make_room(struct rpc_server *s, const struct origin *newcomer)
{
	struct client *client = find_unused(s, newcomer);
	if (client == NULL) {
		client = find_largest(s);
		if (client == NULL || client->origin->connections <= newcomer->connections)
			return false;
	}
	client->leaving = true;
	rpc_connection_close(client->connection);
	return true;
}

/* Says once in a while that there is no place. True: on_full is to be called. */
static bool is_full(struct rpc_server *s, struct rpc_server_full *full_out)
{
	const struct client *largest = find_largest(s);
	uint64_t now_us = rpc_now_us();
	if (s->options.on_full == NULL || largest == NULL || now_us < s->full_again_us)
		return false;
	s->full_again_us = now_us + FULL_MS * UINT64_C(1000);
	*full_out = (struct rpc_server_full){.port = s->port,
					     .connections_max = s->options.connections_max,
					     .connections = largest->origin->connections,
					     .refused = s->counts.connections_refused};
	rpc_origin_text(largest->origin, full_out->address);
	return true;
}

/* Where the stream came from, counted; NULL: there is no place for it. */
static struct origin *admit(struct rpc_server *s, nng_stream *stream)
{
	struct rpc_server_full full;
	bool tell = false;
	lock_take(&s->lock);
	struct origin *origin = rpc_origin_add(&s->origins, stream);
	if (origin != NULL && s->counts.connections >= s->options.connections_max) {
		bool room = make_room(s, origin);
		s->counts.connections_refused += !room;
		tell = is_full(s, &full);
		if (!room) {
			rpc_origin_remove(&s->origins, origin);
			origin = NULL;
		}
	}
	lock_release(&s->lock);
	if (tell)
		s->options.on_full(s->options.arg, &full);
	return origin;
}

static void on_stream(void *arg, nng_stream *stream)
{
	struct rpc_server *s = arg;
	struct origin *origin = admit(s, stream);
	if (origin != NULL) {
		client_add(s, stream, origin);
	} else {
		nng_stream_close(stream);
		nng_stream_free(stream);
	}
}

/* ---- who is slow or idle ----------------------------------------------------------------------------------------- */

static bool lags(struct haste *haste, bool holds, uint64_t bytes, uint64_t now_us)
{
	if (holds && haste->since_us != 0 && now_us < haste->since_us + HASTE_MS * UINT64_C(1000))
		return false;
	bool slow = holds && haste->since_us != 0 && bytes - haste->bytes < HASTE_RATE_MIN * (HASTE_MS / 1000);
	*haste = (struct haste){holds ? now_us : 0, bytes};
	return slow;
}

/* It holds memory for which others wait, and makes no haste to give it back. */
static bool is_in_the_way(struct rpc_server *s, struct client *client, bool wants_room, uint64_t now_us)
{
	const struct connection *connection = client->connection;
	bool unsent = rpc_connection_unsent_size(client->connection) > RPC_BUDGET_SMALL;
	bool arriving = client->arriving > 0 && client->line == NULL; /* in line, it has arrived */
	bool in = lags(&client->haste_in, arriving, rpc_connection_bytes_in(connection), now_us);
	bool out = lags(&client->haste_out, unsent, rpc_connection_bytes_out(connection), now_us);
	return (in && s->for_memory.first != NULL) || (out && wants_room);
}

static bool on_sweep(void *arg)
{
	struct rpc_server *s = arg;
	uint64_t now_us = rpc_now_us(), idle_us = (uint64_t)s->options.idle_ms * 1000;
	bool wants_room = atomic_exchange_explicit(&s->wants_room, false, memory_order_relaxed);
	/* Nobody was slower than this process itself: who was looked at begins anew. */
	bool stood_still = now_us < s->sweep.awake_us + SWEEP_MS * 1000 / 2;
	lock_take(&s->lock);
	for (struct client *client = s->clients; client != NULL; client = client->next) {
		bool slow = rpc_connection_is_slow(client->connection, now_us);
		slow |= is_in_the_way(s, client, wants_room, now_us);
		bool idle = idle_us != 0 && rpc_connection_is_idle(client->connection) && client->line == NULL &&
			    rpc_connection_unused_us(client->connection, now_us) >= idle_us;
		if (client->leaving || stood_still || (!slow && !idle))
			continue;
		client->leaving = true;
		rpc_connection_close(client->connection);
	}
	lock_release(&s->lock);
	return true;
}

static int sweep_start(struct rpc_server *s)
{
	s->sweep = (struct deadline_watch){.check = on_sweep, .arg = s, .period_us = SWEEP_MS * 1000};
	int error = rpc_deadline_watch_add(&s->sweep);
	s->swept = error == 0;
	if (s->swept)
		rpc_deadline_watch_arm(&s->sweep);
	return error;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

NOT_CHECKED int rpc_server_open(const struct rpc_server_options *options, struct rpc_server **out,
				struct rpc_error *error_out)
{
	assert(options->on_request != NULL && options->message_max > 0 && options->in_flight_max > 0);
	struct rpc_server *s = calloc(1, sizeof *s);
	if (s == NULL)
		return rpc_error_set(error_out, -ENOMEM, "out of memory");
	int status = rpc_stall_watch_start();
	if (status < 0) {
		free(s);
		return rpc_error_set(error_out, status, "the thread that watches for stalls cannot be started");
	}
	s->options = *options;
	rpc_budget_ref(s->options.budget);
	if (s->options.connections_max == 0)
		s->options.connections_max = RPC_CONNECTIONS_MAX;
	s->references = 1;
	s->last_resting = &s->resting;
	line_init(&s->for_memory);
	line_init(&s->for_turn[0]);
	line_init(&s->for_turn[1]);
	lock_init(&s->lock);
	pthread_cond_init(&s->changed, NULL);
	struct listener_options listener = {options->address, on_stream, s};
	status = rpc_listener_open(&listener, &s->listener, error_out);
	if (status < 0) {
		rpc_server_close(&s);
		return status;
	}
	s->port = rpc_listener_port(s->listener);
	status = sweep_start(s);
	if (status < 0) {
		rpc_server_close(&s);
		return rpc_error_set(error_out, status, "cannot start a thread: %s", strerror(-status));
	}
	*out = s; /* before the first event */
	rpc_listener_start(s->listener);
	return 0;
}

uint16_t rpc_server_port(const struct rpc_server *s)
{
	return s->port;
}

void rpc_server_counts(struct rpc_server *s, struct rpc_server_counts *out)
{
	lock_take(&s->lock);
	*out = s->counts;
	lock_release(&s->lock);
}

void rpc_server_close(struct rpc_server **server)
{
	struct rpc_server *s = *server;
	if (s == NULL)
		return;
	*server = NULL;
	if (s->swept)
		rpc_deadline_watch_remove(&s->sweep);
	lock_take(&s->lock);
	s->closing = true;
	lock_release(&s->lock);
	rpc_listener_close(&s->listener);
	lock_take(&s->lock);
	for (struct client *client = s->clients; client != NULL; client = client->next)
		rpc_connection_close(client->connection);
	while (s->clients != NULL)
		lock_wait(&s->lock, &s->changed);
	rpc_stall_watch_stop();
	/* on_request has returned for the last time. Calls still out hold their own references. */
	server_unref_unlock(s);
}
