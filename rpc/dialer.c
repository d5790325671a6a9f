/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/dialer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum { DIAL_MS = 5000 }; /* for a peer that does not even refuse */

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

	/* shared, under lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum dialer_state state;
	unsigned backoff_ms;
	bool stopping;
};

/* Under lock: dials, or waits first; not when stopping. */
static void dial(struct dialer *d, bool pause)
{
	if (d->stopping) {
		d->state = DIALER_STOPPED;
		pthread_cond_signal(&d->changed);
	} else if (pause) {
		d->state = DIALER_PAUSING;
		nng_aio_set_timeout(d->aio, NNG_DURATION_INFINITE);
		nng_sleep_aio((nng_duration)d->backoff_ms, d->aio);
		d->backoff_ms *= 2;
		if (d->backoff_ms > RPC_RECONNECT_MAX_MS)
			d->backoff_ms = RPC_RECONNECT_MAX_MS;
	} else {
		d->state = DIALER_DIALING;
		nng_aio_set_timeout(d->aio, DIAL_MS);
		nng_stream_dialer_dial(d->nng, d->aio);
	}
}

static void on_aio(void *arg)
{
	struct dialer *d = arg;
	pthread_mutex_lock(&d->lock);
	bool dialled = d->state == DIALER_DIALING;
	bool connected = dialled && nng_aio_result(d->aio) == 0;
	if (connected)
		d->state = DIALER_CONNECTED;
	else
		dial(d, dialled);
	pthread_mutex_unlock(&d->lock);
	if (connected && !d->options.on_stream(d->options.arg, nng_aio_get_output(d->aio, 0)))
		dialer_again(d);
}

void dialer_again(struct dialer *d)
{
	pthread_mutex_lock(&d->lock);
	assert(d->state == DIALER_CONNECTED);
	dial(d, true);
	pthread_mutex_unlock(&d->lock);
}

void dialer_succeeded(struct dialer *d)
{
	pthread_mutex_lock(&d->lock);
	d->backoff_ms = RPC_RECONNECT_MIN_MS;
	pthread_mutex_unlock(&d->lock);
}

int dialer_create(const struct dialer_options *options, struct dialer **out, struct rpc_error *error_out)
{
	char url[RPC_URL_MAX];
	int status = address_to_url(options->address, false, url, error_out);
	if (status < 0)
		return status;
	struct dialer *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return error_set(error_out, -ENOMEM, "out of memory");
	d->options = *options;
	d->options.address = NULL; /* the caller's text */
	d->backoff_ms = RPC_RECONNECT_MIN_MS;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	int code = nng_stream_dialer_alloc(&d->nng, url);
	if (code == 0)
		code = nng_stream_dialer_set_bool(d->nng, NNG_OPT_TCP_NODELAY, true);
	if (code == 0)
		code = nng_stream_dialer_set_bool(d->nng, NNG_OPT_TCP_KEEPALIVE, true);
	if (code == 0)
		code = nng_aio_alloc(&d->aio, on_aio, d);
	if (code != 0) {
		dialer_destroy(&d);
		return error_set(error_out, error_from_nng(code), "cannot dial %s: %s", url, nng_strerror(code));
	}
	*out = d;
	return 0;
}

void dialer_start(struct dialer *d)
{
	pthread_mutex_lock(&d->lock);
	dial(d, false);
	pthread_mutex_unlock(&d->lock);
}

void dialer_stop(struct dialer *d)
{
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	if (d->state == DIALER_DIALING || d->state == DIALER_PAUSING)
		nng_aio_cancel(d->aio);
	while (d->state != DIALER_STOPPED)
		pthread_cond_wait(&d->changed, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

void dialer_destroy(struct dialer **pointer)
{
	struct dialer *d = *pointer;
	if (d == NULL)
		return;
	dialer_stop(d); /* until it returns, the owner's callbacks may use *pointer */
	*pointer = NULL;
	if (d->aio != NULL)
		nng_aio_free(d->aio); /* waits for its callback */
	if (d->nng != NULL) {
		nng_stream_dialer_close(d->nng);
		nng_stream_dialer_free(d->nng);
	}
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
