/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

enum { SERVER_CONTEXTS = 1024, CALL_TIMEOUT_MS = 10000 };

static void must(int error, const char *what)
{
	if (!error)
		return;
	fprintf(stderr, "kvbench echo: %s: %s\n", what, nng_strerror(error));
	exit(1);
}

/* ---- server --------------------------------------------------------------------------------------------------- */

struct server_slot {
	nng_ctx context;
	nng_aio *aio;
	bool sending;
};

static void server_step(void *arg)
{
	struct server_slot *slot = arg;
	if (nng_aio_result(slot->aio)) {
		if (slot->sending)
			nng_msg_free(nng_aio_get_msg(slot->aio));
		slot->sending = true; /* the client went: wait for the next request */
	}
	slot->sending = !slot->sending;
	if (slot->sending)
		nng_ctx_send(slot->context, slot->aio); /* the message received is still in the aio */
	else
		nng_ctx_recv(slot->context, slot->aio);
}

int echo_serve(void)
{
	static struct server_slot slots[SERVER_CONTEXTS];
	nng_socket socket;
	nng_listener listener;
	nng_sockaddr address;
	must(nng_rep0_open(&socket), "socket");
	must(nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, RPC_CLIENT_MESSAGE_MAX), "message size");
	must(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), "listen");
	must(nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address), "port");
	for (int i = 0; i < SERVER_CONTEXTS; i++) {
		must(nng_ctx_open(&slots[i].context, socket), "context");
		must(nng_aio_alloc(&slots[i].aio, server_step, &slots[i]), "aio");
		nng_ctx_recv(slots[i].context, slots[i].aio);
	}
	printf("%u\n", ntohs(address.s_in.sa_port));
	fflush(stdout);
	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	_exit(0); /* closing with requests under way gains nothing */
}

struct server {
	pid_t pid;
	int stdin_fd; /* its end ends the server */
	uint16_t port;
};

extern char **environ;

/* Pipes in both directions; the child's ends are closed here afterwards. */
static int spawn(struct server *server, int to_child[2], int from_child[2])
{
	char *const arguments[] = {"kvbench", "echo-server", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, to_child[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, from_child[1], STDOUT_FILENO);
	int error = posix_spawn(&server->pid, "/proc/self/exe", &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -error;
}

static int start_server(struct server *server, struct rpc_error *error_out)
{
	int to_child[2], from_child[2];
	if (pipe2(to_child, O_CLOEXEC) < 0 || pipe2(from_child, O_CLOEXEC) < 0)
		return -errno;
	int error = spawn(server, to_child, from_child);
	close(to_child[0]);
	close(from_child[1]);
	server->stdin_fd = to_child[1];
	FILE *output = fdopen(from_child[0], "r");
	unsigned port = 0;
	if (error == 0 && (output == NULL || fscanf(output, "%u", &port) != 1))
		error = -ECHILD;
	if (output != NULL)
		fclose(output);
	server->port = (uint16_t)port;
	if (error < 0)
		snprintf(error_out->text, sizeof error_out->text, "cannot start the echo server: %s", strerror(-error));
	return error;
}

static void stop_server(const struct server *server)
{
	close(server->stdin_fd);
	waitpid(server->pid, NULL, 0);
}

/* ---- client --------------------------------------------------------------------------------------------------- */

struct echo {
	const struct echo_options *options;
	struct echo_result *result;
	uint64_t end_us;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	uint32_t busy; /* under lock */
};

struct echo_slot {
	struct echo *echo;
	nng_ctx context;
	nng_aio *aio;
	bool receiving;
	uint64_t start_us;
};

static void become_idle(struct echo *echo)
{
	pthread_mutex_lock(&echo->lock);
	if (--echo->busy == 0)
		pthread_cond_signal(&echo->idle);
	pthread_mutex_unlock(&echo->lock);
}

static void send_message(struct echo_slot *slot, nng_msg *message)
{
	slot->receiving = false;
	slot->start_us = rpc_now_us();
	nng_aio_set_msg(slot->aio, message);
	nng_ctx_send(slot->context, slot->aio);
}

static void client_step(void *arg)
{
	struct echo_slot *slot = arg;
	struct echo *echo = slot->echo;
	if (nng_aio_result(slot->aio)) {
		echo->result->failed++;
		if (!slot->receiving)
			nng_msg_free(nng_aio_get_msg(slot->aio));
		become_idle(echo);
		return;
	}
	if (!slot->receiving) {
		slot->receiving = true;
		nng_ctx_recv(slot->context, slot->aio);
		return;
	}
	uint64_t now = rpc_now_us();
	nng_msg *message = nng_aio_get_msg(slot->aio);
	echo->result->messages++;
	histogram_record(&echo->result->latency, now - slot->start_us);
	if (now < echo->end_us) {
		send_message(slot, message);
	} else {
		nng_msg_free(message);
		become_idle(echo);
	}
}

static int open_slot(struct echo *echo, nng_socket socket, struct echo_slot *slot)
{
	slot->echo = echo;
	int error = nng_ctx_open(&slot->context, socket);
	if (!error)
		error = nng_aio_alloc(&slot->aio, client_step, slot);
	if (error)
		return error;
	nng_aio_set_timeout(slot->aio, CALL_TIMEOUT_MS);
	return 0;
}

static int open_socket(const struct server *server, nng_socket *socket_out)
{
	char url[64];
	snprintf(url, sizeof url, "tcp://127.0.0.1:%u", server->port);
	int error = nng_req0_open(socket_out);
	if (!error)
		error = nng_socket_set_ms(*socket_out, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
	if (!error)
		error = nng_socket_set_size(*socket_out, NNG_OPT_RECVMAXSZ, RPC_CLIENT_MESSAGE_MAX);
	if (!error)
		error = nng_dial(*socket_out, url, NULL, 0);
	return error;
}

static void run_slots(struct echo *echo, struct echo_slot *slots, uint32_t slot_count)
{
	uint64_t start_us = rpc_now_us();
	echo->busy = slot_count;
	echo->end_us = start_us + (uint64_t)echo->options->duration_ms * 1000;
	for (uint32_t i = 0; i < slot_count; i++) {
		nng_msg *message;
		must(nng_msg_alloc(&message, echo->options->message_size), "message");
		memset(nng_msg_body(message), 'e', echo->options->message_size);
		send_message(&slots[i], message);
	}
	pthread_mutex_lock(&echo->lock);
	while (echo->busy)
		pthread_cond_wait(&echo->idle, &echo->lock);
	pthread_mutex_unlock(&echo->lock);
	echo->result->seconds = (double)(rpc_now_us() - start_us) / 1e6;
}

static int run_client(struct echo *echo, const struct server *server)
{
	uint32_t clients = echo->options->client_count, slot_count = echo->options->in_flight, open_count = 0;
	nng_socket *sockets = calloc(clients, sizeof *sockets);
	struct echo_slot *slots = calloc(slot_count, sizeof *slots);
	if (sockets == NULL || slots == NULL)
		abort();
	int error = 0;
	while (!error && open_count < clients)
		error = open_socket(server, &sockets[open_count++]);
	for (uint32_t i = 0; !error && i < slot_count; i++)
		error = open_slot(echo, sockets[i % clients], &slots[i]);
	if (!error)
		run_slots(echo, slots, slot_count);
	for (uint32_t i = 0; i < slot_count; i++)
		if (slots[i].aio != NULL)
			nng_aio_free(slots[i].aio); /* waits for its callback */
	for (uint32_t i = 0; i < open_count; i++)
		nng_close(sockets[i]);
	free(slots);
	free(sockets);
	return error;
}

int echo_run(const struct echo_options *options, struct echo_result *result_out, struct rpc_error *error_out)
{
	memset(result_out, 0, sizeof *result_out);
	struct echo echo = {.options = options, .result = result_out};
	struct server server;
	int error = start_server(&server, error_out);
	if (error < 0)
		return error;
	pthread_mutex_init(&echo.lock, NULL);
	pthread_cond_init(&echo.idle, NULL);
	int nng_error = run_client(&echo, &server);
	stop_server(&server);
	pthread_cond_destroy(&echo.idle);
	pthread_mutex_destroy(&echo.lock);
	if (!nng_error)
		return 0;
	snprintf(error_out->text, sizeof error_out->text, "echo: %s", nng_strerror(nng_error));
	return -EIO;
}
