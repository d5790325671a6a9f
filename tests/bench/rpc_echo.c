/* SPDX-License-Identifier: Apache-2.0 */
/* Echo of 128-byte messages over one connection between two processes: bare NNG beside this room's server and link.
 *
 *     rpc_echo [SECONDS-PER-RUN]
 *
 * Prints requests per second at 1, 8 and 64 outstanding, their ratio, and the processor time of both processes for one
 * request: the better measure on a machine that others use too. Bare NNG uses contexts and callbacks on both
 * sides, as we do; it has no envelope, deadline or count of what is outstanding.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include "rpc/rpc.h"
#include "proto/kv.pb-c.h"

enum { MESSAGE_SIZE = 128, SERVER_CONTEXTS = 128, OUTSTANDING_MAX = 64 };

static void die(const char *what, const char *why)
{
	fprintf(stderr, "rpc_echo: %s: %s\n", what, why);
	exit(1);
}

static void check_nng(int code, const char *what)
{
	if (code != 0)
		die(what, nng_strerror(code));
}

/* ---- counting ------------------------------------------------------------------------------------------------- */

/* Chains of requests run until stopping; the last one to end wakes main. */
static atomic_bool stopping;
static atomic_uint running;
static atomic_ulong echoes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

static void chain_ended(void)
{
	pthread_mutex_lock(&lock);
	if (atomic_fetch_sub(&running, 1) == 1)
		pthread_cond_signal(&ended);
	pthread_mutex_unlock(&lock);
}

static bool chain_goes_on(void)
{
	atomic_fetch_add_explicit(&echoes, 1, memory_order_relaxed);
	return !atomic_load_explicit(&stopping, memory_order_relaxed);
}

struct result {
	double rate;   /* requests per second */
	double cpu_us; /* per request, client and server */
};

static double cpu_us_of(pid_t process)
{
	clockid_t clock;
	struct timespec used;
	if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &used) != 0)
		die("cpu clock", strerror(errno));
	return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static struct result measure(double seconds, pid_t server)
{
	usleep(200000); /* warm up */
	uint64_t start = rpc_now_us();
	double cpu_start = cpu_us_of(server) + cpu_us_of(0);
	unsigned long before = atomic_load(&echoes);
	usleep((useconds_t)(seconds * 1e6));
	double count = (double)(atomic_load(&echoes) - before);
	struct result result = {
		.rate = count * 1e6 / (double)(rpc_now_us() - start),
		.cpu_us = (cpu_us_of(server) + cpu_us_of(0) - cpu_start) / count,
	};
	atomic_store(&stopping, true);
	pthread_mutex_lock(&lock);
	while (atomic_load(&running) > 0)
		pthread_cond_wait(&ended, &lock);
	pthread_mutex_unlock(&lock);
	atomic_store(&stopping, false);
	return result;
}

/* ---- bare NNG ------------------------------------------------------------------------------------------------- */

struct raw {
	nng_ctx ctx;
	nng_aio *aio;
	bool receiving;
};

static void raw_server_on_aio(void *arg)
{
	struct raw *r = arg;
	if (nng_aio_result(r->aio) != 0)
		return;
	r->receiving = !r->receiving;
	if (r->receiving)
		nng_ctx_recv(r->ctx, r->aio);
	else
		nng_ctx_send(r->ctx, r->aio); /* the message received, back */
}

static uint16_t raw_serve(void)
{
	static struct raw contexts[SERVER_CONTEXTS];
	nng_socket socket;
	nng_listener listener;
	int port;
	check_nng(nng_rep0_open(&socket), "rep0");
	check_nng(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), "listen");
	check_nng(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), "port");
	for (unsigned i = 0; i < SERVER_CONTEXTS; i++) {
		struct raw *r = &contexts[i];
		check_nng(nng_aio_alloc(&r->aio, raw_server_on_aio, r), "aio");
		check_nng(nng_ctx_open(&r->ctx, socket), "context");
		r->receiving = true;
		nng_ctx_recv(r->ctx, r->aio);
	}
	return (uint16_t)port;
}

static void raw_client_send(struct raw *r)
{
	nng_msg *message;
	check_nng(nng_msg_alloc(&message, MESSAGE_SIZE), "message");
	r->receiving = false;
	nng_aio_set_msg(r->aio, message);
	nng_ctx_send(r->ctx, r->aio);
}

static void raw_client_on_aio(void *arg)
{
	struct raw *r = arg;
	check_nng(nng_aio_result(r->aio), "request");
	if (!r->receiving) {
		r->receiving = true;
		nng_ctx_recv(r->ctx, r->aio);
		return;
	}
	nng_msg_free(nng_aio_get_msg(r->aio));
	if (chain_goes_on())
		raw_client_send(r);
	else
		chain_ended();
}

static struct result raw_run(uint16_t port, pid_t server, unsigned outstanding, double seconds)
{
	struct raw contexts[OUTSTANDING_MAX];
	nng_socket socket;
	char url[64];
	snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
	check_nng(nng_req0_open(&socket), "req0");
	check_nng(nng_dial(socket, url, NULL, 0), "dial");
	atomic_store(&running, outstanding);
	for (unsigned i = 0; i < outstanding; i++) {
		check_nng(nng_aio_alloc(&contexts[i].aio, raw_client_on_aio, &contexts[i]), "aio");
		check_nng(nng_ctx_open(&contexts[i].ctx, socket), "context");
	}
	for (unsigned i = 0; i < outstanding; i++)
		raw_client_send(&contexts[i]);
	struct result result = measure(seconds, server);
	nng_close(socket);
	for (unsigned i = 0; i < outstanding; i++)
		nng_aio_free(contexts[i].aio);
	return result;
}

/* ---- this room ------------------------------------------------------------------------------------------------ */

static uint8_t payload[MESSAGE_SIZE];

static void serve_one(void *arg, struct rpc_call *call)
{
	(void)arg;
	struct rpc_request request;
	struct rpc_error error;
	if (rpc_request_decode(rpc_message_bytes(call->request), &request, &error) < 0)
		die("request", error.text);
	struct rpc_response head = {.protocol_version = 1, .message = request.body};
	struct rpc_message *response;
	if (rpc_response_encode(&head, NULL, &response) < 0)
		die("response", "out of memory");
	rpc_call_reply(call, response);
}

static uint16_t rpc_serve(void)
{
	struct rpc_server_options options = {
		.address = "127.0.0.1:0",
		.message_max = RPC_CLIENT_MESSAGE_MAX,
		.in_flight_max = 1024,
		.on_request = serve_one,
	};
	struct rpc_server *server;
	struct rpc_error error;
	if (rpc_server_open(&options, &server, &error) < 0)
		die("server", error.text);
	return rpc_server_port(server);
}

struct chain {
	struct rpc_pending pending;
	struct rpc_link *link;
};

static void chain_send(struct chain *chain)
{
	static const char method[] = "kvring.v1.Kv/Get";
	struct rpc_request head = {
		.protocol_version = 1, .method = {(const uint8_t *)method, sizeof method - 1}, .deadline_ms = 5000};
	Kvring__V1__GetRequest get = KVRING__V1__GET_REQUEST__INIT;
	get.key.data = payload;
	get.key.len = MESSAGE_SIZE - 27; /* the envelope takes the rest */
	struct rpc_message *message;
	if (rpc_request_encode(&head, &get.base, &message) < 0)
		die("request", "out of memory");
	int status = rpc_link_call(chain->link, message, 5000, &chain->pending);
	if (status < 0)
		die("call", strerror(-status));
}

static void chain_on_done(struct rpc_pending *pending)
{
	struct chain *chain = (struct chain *)pending;
	if (pending->status < 0)
		die("answer", strerror(-pending->status));
	rpc_message_free(pending->response);
	if (chain_goes_on())
		chain_send(chain);
	else
		chain_ended();
}

static struct result rpc_run(uint16_t port, pid_t server, unsigned outstanding, double seconds)
{
	struct chain chains[OUTSTANDING_MAX];
	char address[64];
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	struct rpc_link_options options = {
		.address = address, .message_max = RPC_CLIENT_MESSAGE_MAX, .outstanding_max = OUTSTANDING_MAX};
	struct rpc_link *link;
	struct rpc_error error;
	if (rpc_link_open(&options, &link, &error) < 0)
		die("link", error.text);
	while (!rpc_link_connected(link))
		usleep(1000);
	atomic_store(&running, outstanding);
	for (unsigned i = 0; i < outstanding; i++) {
		chains[i] = (struct chain){{.done = chain_on_done}, link};
		chain_send(&chains[i]);
	}
	struct result result = measure(seconds, server);
	rpc_link_close(&link);
	return result;
}

/* ---- processes ------------------------------------------------------------------------------------------------ */

/* The child serves until it is killed; NNG must not have been used before a fork. */
static pid_t serve_in_child(uint16_t (*serve)(void), uint16_t *port_out)
{
	int ends[2];
	if (pipe(ends) < 0)
		die("pipe", strerror(errno));
	pid_t child = fork();
	if (child < 0)
		die("fork", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		uint16_t port = serve();
		if (write(ends[1], &port, sizeof port) != sizeof port)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	if (read(ends[0], port_out, sizeof *port_out) != sizeof *port_out)
		die("server", "did not start");
	close(ends[0]);
	return child;
}

int main(int argc, char **argv)
{
	static const unsigned outstandings[] = {1, 8, 64};
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	uint16_t raw_port, rpc_port;
	pid_t raw_child = serve_in_child(raw_serve, &raw_port);
	pid_t rpc_child = serve_in_child(rpc_serve, &rpc_port);
	printf("outstanding   bare NNG/s   kvring/s   ratio   bare NNG cpu us   kvring cpu us\n");
	for (unsigned i = 0; i < 3; i++) {
		struct result raw = raw_run(raw_port, raw_child, outstandings[i], seconds);
		struct result ours = rpc_run(rpc_port, rpc_child, outstandings[i], seconds);
		printf("%11u %12.0f %10.0f   %5.2f   %15.2f   %13.2f\n", outstandings[i], raw.rate, ours.rate,
		       ours.rate / raw.rate, raw.cpu_us, ours.cpu_us);
		fflush(stdout);
	}
	kill(raw_child, SIGKILL);
	kill(rpc_child, SIGKILL);
	waitpid(raw_child, NULL, 0);
	waitpid(rpc_child, NULL, 0);
	return 0;
}
