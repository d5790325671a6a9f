/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/listener.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "rpc/lock.h"
#include "rpc/threads.h"

struct listener {
	struct listener_options options;
	nng_stream_listener *nng;
	nng_aio *aio;
	uint16_t port;
	bool paused; /* owned by the accept callback: the aio was a pause */

	/* shared, under lock */
	struct lock lock;
	pthread_cond_t changed;
	bool GUARDED closing;
	bool GUARDED accepting;
};

/* Under the lock, so that close finds what is under way. */
static void accept_next(struct listener *l, bool after_failure)
{
	lock_take(&l->lock);
	l->accepting = !l->closing;
	if (!l->accepting) {
		pthread_cond_signal(&l->changed);
	} else if (after_failure) {
		l->paused = true;
		nng_sleep_aio(LISTENER_PAUSE_MS, l->aio);
	} else {
		l->paused = false;
		nng_stream_listener_accept(l->nng, l->aio);
	}
	lock_release(&l->lock);
}

static void on_accept(void *arg)
{
	struct listener *l = arg;
	bool paused = l->paused;
	bool failed = !paused && nng_aio_result(l->aio) != 0;
	if (!paused && !failed)
		l->options.on_stream(l->options.arg, nng_aio_get_output(l->aio, 0));
	accept_next(l, failed);
}

static int listen_on(struct listener *l, const char *url)
{
	int port = 0;
	int code = nng_stream_listener_alloc(&l->nng, url);
	if (code == 0)
		code = nng_stream_listener_set_bool(l->nng, NNG_OPT_TCP_NODELAY, true);
	if (code == 0)
		code = nng_stream_listener_set_bool(l->nng, NNG_OPT_TCP_KEEPALIVE, true);
	if (code == 0)
		code = nng_stream_listener_listen(l->nng);
	if (code == 0)
		code = nng_stream_listener_get_int(l->nng, NNG_OPT_TCP_BOUND_PORT, &port);
	if (code == 0)
		code = nng_aio_alloc(&l->aio, on_accept, l);
	l->port = (uint16_t)port;
	return code;
}

int rpc_listener_open(const struct listener_options *options, struct listener **out, struct rpc_error *error_out)
{
	char url[RPC_URL_MAX];
	int status = rpc_address_to_url(options->address, true, url, error_out);
	if (status == 0)
		status = rpc_threads_check(error_out);
	if (status < 0)
		return status;
	struct listener *l = calloc(1, sizeof *l);
	if (l == NULL)
		return rpc_error_set(error_out, -ENOMEM, "out of memory");
	l->options = *options;
	l->options.address = NULL; /* the caller's text */
	lock_init(&l->lock);
	pthread_cond_init(&l->changed, NULL);
	int code = listen_on(l, url);
	if (code != 0) {
		rpc_listener_close(&l);
		return rpc_address_listen_failed(code, options->address, error_out);
	}
	*out = l;
	return 0;
}

void rpc_listener_start(struct listener *l)
{
	accept_next(l, false);
}

uint16_t rpc_listener_port(const struct listener *l)
{
	return l->port;
}

void rpc_listener_close(struct listener **pointer)
{
	struct listener *l = *pointer;
	if (l == NULL)
		return;
	*pointer = NULL;
	lock_take(&l->lock);
	l->closing = true;
	if (l->accepting)
		nng_aio_cancel(l->aio);
	while (l->accepting)
		lock_wait(&l->lock, &l->changed);
	lock_release(&l->lock);
	if (l->aio != NULL)
		nng_aio_free(l->aio);
	if (l->nng != NULL) {
		nng_stream_listener_close(l->nng);
		nng_stream_listener_free(l->nng);
	}
	pthread_cond_destroy(&l->changed);
	lock_fini(&l->lock);
	free(l);
}
