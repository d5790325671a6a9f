/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/connection.h"
#include "rpc/lock.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
	HANDSHAKE_SIZE = 8,
	LENGTH_SIZE = 8,
	ID_SIZE = 4,
};

/* One direction, as the owner sees it when it looks. */
struct pace {
	_Atomic uint64_t bytes; /* moved so far */
	atomic_bool busy;       /* something is half done, and it is for the peer to go on */
	atomic_uint restarts;   /* something was finished */
	/* the owner's */
	uint64_t since_us, bytes_then;
	unsigned restarts_then;
};

/* Messages that wait to be sent, in order. */
struct queue {
	struct rpc_message *first, **last;
};

struct connection {
	struct connection_options options;
	struct pace pace_in, pace_out;
	_Atomic uint64_t used_us; /* see rpc_connection_use */
	atomic_int calls;
	atomic_int rests_above;     /* calls; 0: it does not rest for their number */
	_Atomic size_t likely_size; /* see rpc_connection_likely_size */
	_Atomic uint64_t tried_us;  /* see rpc_connection_may_try */
	nng_stream *stream;
	_Atomic uint64_t heard_us; /* see rpc_connection_heard_us */
	size_t id_size;            /* of each frame: 4, or 0 on a bus */
	atomic_uint references;    /* holders, and one for each direction that is alive */

	/* Held shared to start an operation on the stream, exclusively to close it: NNG 1.5.2 never ends an operation
	 * that is started on a closed stream. */
	pthread_rwlock_t gate;
	bool gate_closed;

	/* owned by the receive callback */
	nng_aio *receive_aio;
	uint8_t *in;
	size_t in_start, in_end;     /* bytes not yet understood */
	struct rpc_message *partial; /* a large message under way, received in its place */
	size_t partial_size;         /* bytes of it that are there */
	bool handshaken;
	bool waking; /* the aio was a wake-up, not a receive */

	/* owned by the sender: whoever set sending */
	nng_aio *send_aio;
	uint8_t *out;
	struct rpc_message *out_large; /* sent after the buffer */
	nng_iov out_iov[2];
	unsigned out_iov_count;
	size_t out_size; /* of the frames that are being written */
	bool out_waited; /* the last write found the socket's buffer full: the next one that ends does so by the peer's doing */

	/* shared, under lock */
	struct lock lock;
	struct queue small GUARDED; /* whose frames fit into the buffer */
	struct queue large GUARDED;
	size_t queued_size GUARDED; /* of both */
	_Atomic size_t unsent; /* bytes of frames queued or being written, for the budget too; written under lock */
	bool sending GUARDED;  /* by whom its writes end, or by whose cork it is on */
	atomic_bool closed;    /* written under lock: nothing is queued, delivered or waited for any more */
	bool resting GUARDED;  /* nothing is read until rpc_connection_resume */
	bool resume_wanted GUARDED; /* it came before the reader rested */
	bool queue_full GUARDED;    /* the reason to rest is the queue */

	struct connection *next_corked; /* the cork's holder's */
};

static void unsent_add(struct connection *c, size_t size) REQUIRES(c->lock);
static void unsent_remove(struct connection *c, size_t size) REQUIRES(c->lock);
static struct rpc_message *take_queued(struct connection *c, struct queue *queue) REQUIRES(c->lock);
static void fill_out(struct connection *c) REQUIRES(c->lock);
static void on_sent(void *arg);
static void on_received(void *arg);

/* ---- queues ---------------------------------------------------------------------------------------------------- */

static void queue_init(struct queue *queue)
{
	*queue = (struct queue){NULL, &queue->first};
}

static void queue_add(struct queue *queue, struct rpc_message *message)
{
	message->next = NULL;
	*queue->last = message;
	queue->last = &message->next;
}

static struct rpc_message *queue_take(struct queue *queue)
{
	struct rpc_message *message = queue->first;
	queue->first = message->next;
	if (queue->first == NULL)
		queue->last = &queue->first;
	return message;
}

static void queue_free(struct queue *queue)
{
	while (queue->first != NULL)
		rpc_message_free(queue_take(queue));
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

NOT_CHECKED int rpc_connection_create(nng_stream *stream, const struct connection_options *options,
				      struct connection **out)
{
	struct connection *c = calloc(1, sizeof *c);
	if (c != NULL) {
		c->in = malloc(CONNECTION_BUFFER_SIZE);
		c->out = malloc(CONNECTION_BUFFER_SIZE);
	}
	if (c == NULL || c->in == NULL || c->out == NULL || nng_aio_alloc(&c->receive_aio, on_received, c) != 0 ||
	    nng_aio_alloc(&c->send_aio, on_sent, c) != 0) {
		if (c != NULL) {
			nng_aio_free(c->receive_aio);
			free(c->in);
			free(c->out);
		}
		free(c);
		nng_stream_close(stream);
		nng_stream_free(stream);
		return -ENOMEM;
	}
	c->options = *options;
	c->stream = stream;
	rpc_budget_ref(c->options.budget);
	rpc_budget_ref(c->options.received);
	if (c->options.handshake_ms == 0)
		c->options.handshake_ms = CONNECTION_HANDSHAKE_MS;
	atomic_init(&c->heard_us, rpc_now_us());
	atomic_init(&c->used_us, rpc_now_us());
	c->id_size = options->protocol == CONNECTION_BUS ? 0 : ID_SIZE;
	queue_init(&c->small);
	queue_init(&c->large);
	atomic_init(&c->references, 1);
	lock_init(&c->lock);
	pthread_rwlock_init(&c->gate, NULL);
	*out = c;
	return 0;
}

struct connection *rpc_connection_ref(struct connection *c)
{
	atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
	return c;
}

NOT_CHECKED void rpc_connection_unref(struct connection *c)
{
	if (atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) > 1)
		return;
	assert(c->small.first == NULL && c->large.first == NULL && !c->sending);
	nng_stream_free(c->stream);
	/* Often inside the callback of one of them: reap waits elsewhere. */
	nng_aio_reap(c->receive_aio);
	nng_aio_reap(c->send_aio);
	rpc_message_free(c->partial);
	rpc_budget_unref(c->options.budget);
	rpc_budget_unref(c->options.received);
	lock_fini(&c->lock);
	pthread_rwlock_destroy(&c->gate);
	free(c->in);
	free(c->out);
	free(c);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* Without an id, the head begins four bytes later, so that it ends where the message begins. */
static uint8_t *frame_start(const struct connection *c, struct rpc_message *message)
{
	return message->head + (ID_SIZE - c->id_size);
}

static size_t frame_size_of(const struct connection *c, const struct rpc_message *message)
{
	return LENGTH_SIZE + c->id_size + message->size;
}

static void frame_write_head(const struct connection *c, uint32_t id, struct rpc_message *message)
{
	uint64_t length = htobe64(c->id_size + (uint64_t)message->size);
	uint32_t id_bytes = htobe32(id);
	memcpy(message->head + LENGTH_SIZE, &id_bytes, sizeof id_bytes);
	memcpy(frame_start(c, message), &length, sizeof length); /* over the id, where there is none */
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

size_t rpc_connection_unsent_size(const struct connection *c)
{
	return atomic_load_explicit(&c->unsent, memory_order_relaxed);
}

static void unsent_add(struct connection *c, size_t size)
{
	atomic_store_explicit(&c->unsent, rpc_connection_unsent_size(c) + size, memory_order_relaxed);
	if (c->options.budget != NULL)
		rpc_budget_queue(c->options.budget, size);
}

static void unsent_remove(struct connection *c, size_t size)
{
	size_t before = rpc_connection_unsent_size(c);
	assert(before >= size);
	atomic_store_explicit(&c->unsent, before - size, memory_order_relaxed);
	if (c->options.budget != NULL)
		rpc_budget_sent(c->options.budget, size);
}

static struct rpc_message *take_queued(struct connection *c, struct queue *queue)
{
	struct rpc_message *message = queue_take(queue);
	size_t frame_size = frame_size_of(c, message);
	c->queued_size -= frame_size;
	c->out_size += frame_size;
	return message;
}

/* Moves what is queued into the next write: small messages, copied side by side, as far as there is room, and then one that is large,
 * uncopied. So a small one passes all large ones but that which is being written, and none waits for ever. */
static void fill_out(struct connection *c)
{
	size_t size = 0;
	c->out_size = 0;
	while (c->small.first != NULL && frame_size_of(c, c->small.first) <= CONNECTION_BUFFER_SIZE - size) {
		struct rpc_message *message = take_queued(c, &c->small);
		size_t frame_size = frame_size_of(c, message);
		memcpy(c->out + size, frame_start(c, message), frame_size);
		size += frame_size;
		rpc_message_free(message);
	}
	if (c->large.first != NULL)
		c->out_large = take_queued(c, &c->large);
	c->out_iov_count = 0;
	if (size > 0)
		c->out_iov[c->out_iov_count++] = (nng_iov){c->out, size};
	if (c->out_large != NULL)
		c->out_iov[c->out_iov_count++] =
			(nng_iov){frame_start(c, c->out_large), frame_size_of(c, c->out_large)};
}

/* Ends the sending direction, and with it the connection. */
static void send_failed(struct connection *c)
{
	rpc_connection_close(c); /* first: from here on nothing is queued, and the reader does not rest */
	rpc_message_free(c->out_large);
	c->out_large = NULL;
	lock_take(&c->lock);
	queue_free(&c->small);
	queue_free(&c->large);
	c->queued_size = 0;
	unsent_remove(c, rpc_connection_unsent_size(c));
	c->sending = false;
	lock_release(&c->lock);
	rpc_connection_unref(c);
}

static void write_out(struct connection *c)
{
	pthread_rwlock_rdlock(&c->gate);
	bool open = !c->gate_closed;
	if (open) {
		nng_aio_set_iov(c->send_aio, c->out_iov_count, c->out_iov);
		nng_stream_send(c->stream, c->send_aio);
	}
	pthread_rwlock_unlock(&c->gate);
	if (!open)
		send_failed(c);
}

/* True when there is more to write of this batch: a stream may take only part of it. */
static bool advance_out(struct connection *c, size_t written)
{
	for (unsigned i = 0; i < c->out_iov_count; i++) {
		nng_iov *iov = &c->out_iov[i];
		size_t step = written < iov->iov_len ? written : iov->iov_len;
		iov->iov_buf = (uint8_t *)iov->iov_buf + step;
		iov->iov_len -= step;
		written -= step;
	}
	if (c->out_iov_count == 2 && c->out_iov[0].iov_len == 0) {
		c->out_iov[0] = c->out_iov[1];
		c->out_iov_count = 1;
	}
	return c->out_iov[0].iov_len > 0;
}

static void heard(struct connection *c)
{
	atomic_store_explicit(&c->heard_us, rpc_now_us(), memory_order_relaxed);
}

uint64_t rpc_connection_heard_us(const struct connection *c)
{
	return atomic_load_explicit(&c->heard_us, memory_order_relaxed);
}

static void on_sent(void *arg)
{
	struct connection *c = arg;
	if (nng_aio_result(c->send_aio) != 0) {
		send_failed(c);
		return;
	}
	if (c->out_waited)
		heard(c);
	c->out_waited = advance_out(c, nng_aio_count(c->send_aio));
	atomic_fetch_add_explicit(&c->pace_out.bytes, nng_aio_count(c->send_aio), memory_order_relaxed);
	atomic_store_explicit(&c->pace_out.busy, c->out_waited, memory_order_relaxed);
	if (c->out_waited) {
		write_out(c);
		return;
	}
	rpc_message_free(c->out_large);
	c->out_large = NULL;
	lock_take(&c->lock);
	unsent_remove(c, c->out_size);
	c->out_size = 0;
	bool more = c->queued_size > 0;
	bool resume = c->queue_full && c->queued_size < CONNECTION_QUEUE_MAX / 2;
	if (resume)
		c->queue_full = false;
	if (more)
		fill_out(c);
	else
		c->sending = false;
	lock_release(&c->lock);
	if (resume)
		rpc_connection_resume(c);
	if (more) {
		atomic_store_explicit(&c->pace_out.busy, true, memory_order_relaxed);
		write_out(c);
	} else {
		rpc_connection_unref(c);
	}
}

/* What is queued, of a connection that is marked as sending and whose writes have all ended. */
static void write_queued(struct connection *c)
{
	lock_take(&c->lock);
	fill_out(c);
	lock_release(&c->lock);
	atomic_store_explicit(&c->pace_out.busy, true, memory_order_relaxed);
	write_out(c);
}

/* Of the messages that this thread is handing to their receivers, if it is. */
static _Thread_local struct rpc_cork *delivering;

static void cork_add(struct rpc_cork *cork, struct connection *c)
{
	c->next_corked = cork->first;
	cork->first = c;
}

void rpc_cork_release(struct rpc_cork *cork)
{
	while (cork->first != NULL) {
		struct connection *c = cork->first;
		cork->first = c->next_corked;
		write_queued(c); /* which may drop the last reference */
	}
}

/* False: over queue_max, and dropped. */
static bool enqueue(struct connection *c, struct rpc_message *message, size_t queue_max, struct rpc_cork *cork)
{
	if (cork == NULL)
		cork = delivering;
	size_t size = frame_size_of(c, message);
	lock_take(&c->lock);
	bool closed = atomic_load_explicit(&c->closed, memory_order_relaxed), start = false;
	bool fits = c->queued_size == 0 || (size <= queue_max && c->queued_size <= queue_max - size);
	if (!closed && fits) {
		queue_add(size > CONNECTION_BUFFER_SIZE ? &c->large : &c->small, message);
		c->queued_size += size;
		unsent_add(c, size);
		start = !c->sending;
	}
	if (start) {
		c->sending = true;
		rpc_connection_ref(c);
	}
	lock_release(&c->lock);
	if (closed || !fits)
		rpc_message_free(message);
	if (start && cork != NULL)
		cork_add(cork, c);
	else if (start)
		write_queued(c);
	return fits;
}

void rpc_connection_send(struct connection *c, uint32_t id, struct rpc_message *message, struct rpc_cork *cork)
{
	frame_write_head(c, id, message);
	enqueue(c, message, SIZE_MAX, cork);
}

bool rpc_connection_offer(struct connection *c, struct rpc_message *message)
{
	frame_write_head(c, 0, message);
	return enqueue(c, message, c->options.queue_max, NULL);
}

uint64_t rpc_connection_bytes_in(const struct connection *c)
{
	return atomic_load_explicit(&c->pace_in.bytes, memory_order_relaxed);
}

uint64_t rpc_connection_bytes_out(const struct connection *c)
{
	return atomic_load_explicit(&c->pace_out.bytes, memory_order_relaxed);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static uint64_t read_be64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof value);
	return be64toh(value);
}

static uint32_t read_be32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return be32toh(value);
}

static bool take_handshake(struct connection *c)
{
	const uint8_t *b = c->in + c->in_start;
	bool fine = b[0] == 0 && b[1] == 'S' && b[2] == 'P' && b[3] == 0 && (b[4] << 8 | b[5]) == c->options.peer &&
		    b[6] == 0 && b[7] == 0;
	c->in_start += HANDSHAKE_SIZE;
	c->handshaken = true;
	if (fine)
		c->options.events->on_open(c->options.arg, c);
	return fine;
}

/* The next step that the head of the buffer allows. */
enum step {
	STEP_AGAIN, /* took something */
	STEP_WAIT,  /* needs more bytes */
	STEP_PAUSE, /* on_message has had enough */
	STEP_BAD,   /* not our protocol, or closed */
};

static enum step deliver(struct connection *c, struct rpc_message *message)
{
	atomic_fetch_add_explicit(&c->pace_in.restarts, 1, memory_order_relaxed);
	uint32_t id = c->id_size == 0 ? 0 : read_be32(message->head + LENGTH_SIZE);
	if (c->id_size != 0 && (id & UINT32_C(0x80000000)) == 0) { /* came through an NNG device: not supported */
		rpc_message_free(message);
		return STEP_BAD;
	}
	return c->options.events->on_message(c->options.arg, c, id, message) ? STEP_AGAIN : STEP_PAUSE;
}

static bool is_ready(struct connection *c, size_t size)
{
	const struct connection_events *events = c->options.events;
	return events->on_ready == NULL || events->on_ready(c->options.arg, c, size);
}

static enum step take_partial(struct connection *c)
{
	struct rpc_message *message = c->partial;
	if (c->partial_size < frame_size_of(c, message))
		return STEP_WAIT;
	if (!is_ready(c, message->size))
		return STEP_PAUSE;
	c->partial = NULL;
	return deliver(c, message);
}

static enum step take_frame(struct connection *c)
{
	size_t there = c->in_end - c->in_start;
	if (there < LENGTH_SIZE + c->id_size)
		return STEP_WAIT;
	uint8_t *start = c->in + c->in_start;
	uint64_t length = read_be64(start);
	if (length < c->id_size || length - c->id_size > c->options.message_max)
		return STEP_BAD;
	size_t frame_size = LENGTH_SIZE + (size_t)length;
	if (there < frame_size && frame_size <= CONNECTION_BUFFER_SIZE)
		return STEP_WAIT;
	if (frame_size > CONNECTION_BUFFER_SIZE && c->options.events->on_large != NULL &&
	    !c->options.events->on_large(c->options.arg, c, frame_size))
		return STEP_PAUSE;
	if (there >= frame_size && !is_ready(c, (size_t)length - c->id_size))
		return STEP_PAUSE;
	struct rpc_message *message = rpc_message_create((size_t)length - c->id_size);
	if (message == NULL)
		return STEP_BAD;
	if (frame_size > CONNECTION_BUFFER_SIZE)
		rpc_message_count(message, c->options.received);
	size_t taken = there < frame_size ? there : frame_size;
	memcpy(frame_start(c, message), start, taken);
	c->in_start += taken;
	if (taken == frame_size)
		return deliver(c, message);
	c->partial = message;
	c->partial_size = taken;
	return STEP_AGAIN;
}

static enum step take_next(struct connection *c)
{
	if (c->partial != NULL)
		return take_partial(c);
	if (!c->handshaken) {
		if (c->in_end - c->in_start < HANDSHAKE_SIZE)
			return STEP_WAIT;
		return take_handshake(c) ? STEP_AGAIN : STEP_BAD;
	}
	return take_frame(c);
}

/* The receiving side has ended, and with it the connection. */
static void receive_ended(struct connection *c)
{
	rpc_connection_close(c);
	c->options.events->on_closed(c->options.arg, c);
	rpc_connection_unref(c);
}

static void receive(struct connection *c)
{
	nng_iov iov;
	bool inside = c->partial != NULL || c->in_end > c->in_start;
	atomic_store_explicit(&c->pace_in.busy, inside || !c->handshaken, memory_order_relaxed);
	memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
	c->in_end -= c->in_start;
	c->in_start = 0;
	if (c->partial != NULL)
		iov = (nng_iov){frame_start(c, c->partial) + c->partial_size,
				frame_size_of(c, c->partial) - c->partial_size};
	else
		iov = (nng_iov){c->in + c->in_end, CONNECTION_BUFFER_SIZE - c->in_end};
	pthread_rwlock_rdlock(&c->gate);
	bool open = !c->gate_closed;
	if (open) {
		nng_aio_set_iov(c->receive_aio, 1, &iov);
		nng_aio_set_timeout(c->receive_aio, !c->handshaken ? (nng_duration)c->options.handshake_ms
						    : inside       ? CONNECTION_STALL_MS
								   : NNG_DURATION_INFINITE);
		nng_stream_recv(c->stream, c->receive_aio);
	}
	pthread_rwlock_unlock(&c->gate);
	if (!open)
		receive_ended(c);
}

/* What the reader does when it has taken what there is, or was asked to stop: true, it rests. Not once the connection is closed:
 * nobody would wake it. */
static bool rest(struct connection *c, bool asked)
{
	lock_take(&c->lock);
	if (c->queued_size > CONNECTION_QUEUE_MAX && c->sending)
		c->queue_full = true;
	bool closed = atomic_load_explicit(&c->closed, memory_order_relaxed);
	c->resting = (asked || c->queue_full) && !c->resume_wanted && !closed;
	bool resting = c->resting;
	c->resume_wanted = false;
	if (resting)
		atomic_store_explicit(&c->pace_in.busy, false, memory_order_relaxed); /* it is for us to go on */
	lock_release(&c->lock);
	return resting;
}

static void read_on(struct connection *c)
{
	for (;;) {
		enum step step = atomic_load_explicit(&c->closed, memory_order_relaxed) ? STEP_BAD : take_next(c);
		if (step == STEP_BAD) {
			receive_ended(c);
			return;
		}
		if (step == STEP_AGAIN)
			continue;
		if (rest(c, step == STEP_PAUSE))
			return;
		if (step == STEP_WAIT) {
			receive(c);
			return;
		}
	}
}

static void take_received(struct connection *c)
{
	size_t count = nng_aio_count(c->receive_aio);
	if (c->waking) {
		c->waking = false;
	} else if (nng_aio_result(c->receive_aio) != 0 || count == 0) {
		receive_ended(c);
		return;
	} else {
		heard(c);
		atomic_fetch_add_explicit(&c->pace_in.bytes, count, memory_order_relaxed);
		if (c->partial != NULL)
			c->partial_size += count;
		else
			c->in_end += count;
	}
	read_on(c);
}

/* What the receivers of these messages send leaves after the last of them (W12). */
static void on_received(void *arg)
{
	struct rpc_cork cork = {0};
	delivering = &cork;
	take_received(arg);
	delivering = NULL;
	rpc_cork_release(&cork);
}

static bool is_slow(struct pace *pace, uint64_t now_us)
{
	uint64_t bytes = atomic_load_explicit(&pace->bytes, memory_order_relaxed);
	unsigned restarts = atomic_load_explicit(&pace->restarts, memory_order_relaxed);
	bool busy = atomic_load_explicit(&pace->busy, memory_order_relaxed);
	bool fresh = !busy || pace->since_us == 0 || restarts != pace->restarts_then;
	if (!fresh && now_us < pace->since_us + CONNECTION_RATE_MS * UINT64_C(1000))
		return false;
	bool slow = !fresh && bytes - pace->bytes_then < CONNECTION_RATE_MIN * (CONNECTION_RATE_MS / 1000);
	pace->since_us = now_us;
	pace->bytes_then = bytes;
	pace->restarts_then = restarts;
	return slow;
}

bool rpc_connection_is_slow(struct connection *c, uint64_t now_us)
{
	bool in = is_slow(&c->pace_in, now_us), out = is_slow(&c->pace_out, now_us);
	return in || out;
}

void rpc_connection_use(struct connection *c, int calls)
{
	atomic_store_explicit(&c->used_us, rpc_now_us(), memory_order_relaxed);
	int now = atomic_fetch_add(&c->calls, calls) + calls, above = atomic_load(&c->rests_above);
	if (above > 0 && now <= above && atomic_compare_exchange_strong(&c->rests_above, &above, 0))
		rpc_connection_resume(c);
}

bool rpc_connection_rests_above(struct connection *c, int calls_max)
{
	if (atomic_load(&c->calls) <= calls_max)
		return false;
	atomic_store(&c->rests_above, calls_max);
	/* Once more: the calls may have ended before they could see it. */
	return atomic_load(&c->calls) > calls_max || !atomic_compare_exchange_strong(&c->rests_above, &calls_max, 0);
}

/* Answers of several threads may overwrite each other here: it is an estimate. */
void rpc_connection_answered(struct connection *c, size_t size)
{
	size_t before = atomic_load_explicit(&c->likely_size, memory_order_relaxed), likely = size > 0 ? size : 1;
	if (likely < before / 2)
		likely = before / 2;
	if (likely != before)
		atomic_store_explicit(&c->likely_size, likely, memory_order_relaxed);
}

size_t rpc_connection_likely_size(const struct connection *c)
{
	return atomic_load_explicit(&c->likely_size, memory_order_relaxed);
}

bool rpc_connection_may_try(struct connection *c, uint64_t now_us, uint64_t each_us)
{
	uint64_t tried_us = atomic_load_explicit(&c->tried_us, memory_order_relaxed);
	return now_us >= tried_us + each_us && atomic_compare_exchange_strong(&c->tried_us, &tried_us, now_us);
}

uint64_t rpc_connection_unused_us(const struct connection *c, uint64_t now_us)
{
	uint64_t used_us = atomic_load_explicit(&c->used_us, memory_order_relaxed);
	if (atomic_load_explicit(&c->calls, memory_order_relaxed) > 0 || used_us > now_us)
		return 0;
	return now_us - used_us;
}

bool rpc_connection_is_idle(struct connection *c)
{
	return !atomic_load_explicit(&c->pace_in.busy, memory_order_relaxed) &&
	       !atomic_load_explicit(&c->pace_out.busy, memory_order_relaxed);
}

void rpc_connection_resume(struct connection *c)
{
	lock_take(&c->lock);
	bool wake = c->resting;
	c->resting = false;
	c->resume_wanted = !wake;
	lock_release(&c->lock);
	if (!wake)
		return;
	c->waking = true; /* the reader rests: its fields are ours until the aio hands them back */
	/* Runs on_received on a task thread, without a detour by NNG's timer thread. */
	if (nng_aio_begin(c->receive_aio))
		nng_aio_finish(c->receive_aio, 0);
}

void rpc_connection_close(struct connection *c)
{
	lock_take(&c->lock);
	atomic_store_explicit(&c->closed, true, memory_order_relaxed);
	lock_release(&c->lock);
	pthread_rwlock_wrlock(&c->gate);
	c->gate_closed = true;
	nng_stream_close(c->stream);
	pthread_rwlock_unlock(&c->gate);
	rpc_connection_resume(c); /* a reader at rest would not notice */
}

NOT_CHECKED void rpc_connection_start(struct connection *c)
{
	const uint8_t hello[HANDSHAKE_SIZE] = {
		0, 'S', 'P', 0, (uint8_t)(c->options.protocol >> 8), (uint8_t)c->options.protocol, 0, 0};
	memcpy(c->out, hello, sizeof hello);
	c->out_iov[0] = (nng_iov){c->out, sizeof hello};
	c->out_iov_count = 1;
	c->sending = true;
	atomic_fetch_add(&c->references, 2); /* one for each direction */
	write_out(c);
	receive(c);
}
