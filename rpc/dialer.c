/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/dialer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "rpc/lock.h"
#include "rpc/threads.h"

enum {
	/* For a peer that does not even refuse. A new dial is better than a long one: the kernel sends its second SYN after one second and
	 * its third after three, so that a dial from before the heal of a black hole would wait long after it. */
	DIAL_MS = 1000,
	DIAL_SLOWLY_MS = 6000, /* one dial in so many, for a host whose name takes long to resolve */
	DIAL_SLOWLY_EACH = 4,
};

enum dialer_state {
	DIALER_STOPPED,
	DIALER_DIALING,
	DIALER_CONNECTED, /* or shaking hands */
	DIALER_PAUSING,
};

struct dialer {
	struct dialer_options options;
	nng_stream_dialer *nng;
	nng_aio *aio;
	/* Of its own: in NNG 1.5.2 an aio that has slept once ends every later operation that times out as if it had succeeded. */
	nng_aio *pause_aio;

	/* shared, under lock */
	struct lock lock;
	pthread_cond_t changed;
	enum dialer_state GUARDED state;
	bool by_name;           /* the host is a name, not an address; constant */
	unsigned GUARDED dials; /* since the last success */
	unsigned GUARDED backoff_ms;
	uint32_t GUARDED random; /* for jitter */
	bool GUARDED stopping;
};

static nng_duration next_pause(struct dialer *d) REQUIRES(d->lock);
static nng_duration dial_limit(struct dialer *d) REQUIRES(d->lock);
static void dial(struct dialer *d, bool pause) REQUIRES(d->lock);

/* Half of the backoff and a random part of the other half: those who lost the same peer do not come back together. */
static nng_duration next_pause(struct dialer *d)
{
	d->random ^= d->random << 13;
	d->random ^= d->random >> 17;
	d->random ^= d->random << 5;
	unsigned pause_ms = d->backoff_ms / 2 + d->random % (d->backoff_ms / 2);
	d->backoff_ms = d->backoff_ms < RPC_RECONNECT_MAX_MS / 2 ? d->backoff_ms * 2 : RPC_RECONNECT_MAX_MS;
	return (nng_duration)pause_ms;
}

static nng_duration dial_limit(struct dialer *d)
{
	d->dials++;
	return d->by_name && d->dials % DIAL_SLOWLY_EACH == 0 ? DIAL_SLOWLY_MS : DIAL_MS;
}

/* Dials, or waits first; not when stopping. */
static void dial(struct dialer *d, bool pause)
{
	if (d->stopping) {
		d->state = DIALER_STOPPED;
		pthread_cond_signal(&d->changed);
	} else if (pause) {
		d->state = DIALER_PAUSING;
		nng_sleep_aio(next_pause(d), d->pause_aio);
	} else {
		d->state = DIALER_DIALING;
		nng_aio_set_timeout(d->aio, dial_limit(d));
		nng_stream_dialer_dial(d->nng, d->aio);
	}
}

static void on_paused(void *arg)
{
	struct dialer *d = arg;
	lock_take(&d->lock);
	dial(d, false);
	lock_release(&d->lock);
}

static void on_dialled(void *arg)
{
	struct dialer *d = arg;
	int code = nng_aio_result(d->aio);
	bool connected = code == 0;
	lock_take(&d->lock);
	if (code == NNG_ETIMEDOUT)
		d->backoff_ms = RPC_RECONNECT_MIN_MS; /* the dial itself was the pause */
	if (connected)
		d->state = DIALER_CONNECTED;
	else
		dial(d, true);
	lock_release(&d->lock);
	if (connected && !d->options.on_stream(d->options.arg, nng_aio_get_output(d->aio, 0)))
		rpc_dialer_again(d);
}

void rpc_dialer_again(struct dialer *d)
{
	lock_take(&d->lock);
	assert(d->state == DIALER_CONNECTED);
	dial(d, true);
	lock_release(&d->lock);
}

void rpc_dialer_succeeded(struct dialer *d)
{
	lock_take(&d->lock);
	d->backoff_ms = RPC_RECONNECT_MIN_MS;
	d->dials = 0;
	lock_release(&d->lock);
}

NOT_CHECKED int rpc_dialer_create(const struct dialer_options *options, struct dialer **out,
				  struct rpc_error *error_out)
{
	char url[RPC_URL_MAX];
	int status = rpc_address_to_url(options->address, false, url, error_out);
	if (status == 0)
		status = rpc_threads_check(error_out);
	if (status < 0)
		return status;
	struct dialer *d = calloc(1, sizeof *d);
	if (d == NULL)
		return rpc_error_set(error_out, -ENOMEM, "out of memory");
	d->options = *options;
	d->options.address = NULL; /* the caller's text */
	d->by_name = rpc_address_has_name(options->address);
	d->backoff_ms = RPC_RECONNECT_MIN_MS;
	d->random = (uint32_t)(rpc_now_us() ^ (uintptr_t)d >> 4) | 1;
	lock_init(&d->lock);
	pthread_cond_init(&d->changed, NULL);
	int code = nng_stream_dialer_alloc(&d->nng, url);
	if (code == 0)
		code = nng_stream_dialer_set_bool(d->nng, NNG_OPT_TCP_NODELAY, true);
	if (code == 0)
		code = nng_stream_dialer_set_bool(d->nng, NNG_OPT_TCP_KEEPALIVE, true);
	if (code == 0)
		code = nng_aio_alloc(&d->aio, on_dialled, d);
	if (code == 0)
		code = nng_aio_alloc(&d->pause_aio, on_paused, d);
	if (code != 0) {
		rpc_dialer_destroy(&d);
		return rpc_error_set(error_out, rpc_error_from_nng(code), "cannot dial %s: %s", url,
				     nng_strerror(code));
	}
	*out = d;
	return 0;
}

void rpc_dialer_start(struct dialer *d)
{
	lock_take(&d->lock);
	dial(d, false);
	lock_release(&d->lock);
}

void rpc_dialer_stop(struct dialer *d)
{
	lock_take(&d->lock);
	d->stopping = true;
	if (d->state == DIALER_DIALING || d->state == DIALER_PAUSING)
		nng_aio_cancel(d->state == DIALER_DIALING ? d->aio : d->pause_aio);
	while (d->state != DIALER_STOPPED)
		lock_wait(&d->lock, &d->changed);
	lock_release(&d->lock);
}

/* In two functions: tests/tsan.supp names the outer one, and the thread sanitizer sees a function by what it calls of ours. */
static __attribute__((noinline)) void close_and_free(nng_stream_dialer *nng)
{
	nng_stream_dialer_close(nng);
	nng_stream_dialer_free(nng);
}

static __attribute__((noinline)) void free_nng_dialer(nng_stream_dialer **nng)
{
	close_and_free(*nng);
	*nng = NULL;
}

void rpc_dialer_destroy(struct dialer **pointer)
{
	struct dialer *d = *pointer;
	if (d == NULL)
		return;
	rpc_dialer_stop(d); /* until it returns, the owner's callbacks may use *pointer */
	*pointer = NULL;
	if (d->aio != NULL)
		nng_aio_free(d->aio); /* waits for its callback */
	if (d->pause_aio != NULL)
		nng_aio_free(d->pause_aio);
	if (d->nng != NULL)
		free_nng_dialer(&d->nng);
	pthread_cond_destroy(&d->changed);
	lock_fini(&d->lock);
	free(d);
}
