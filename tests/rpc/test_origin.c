/* SPDX-License-Identifier: Apache-2.0 */
/* All places of a port are taken from one address: others come in all the same, and keep their places. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/rpc/harness.h"

enum { PLACES = 8, UNUSED_MS = 1000 /* a connection in use within it keeps its place */ };

#define ONE   "127.0.0.1"
#define OTHER "127.0.0.2"

/* ---- the server: no call is answered while it is open ----------------------------------------------------------------------------- */

static struct latch calls = LATCH_INIT, told = LATCH_INIT;
static struct rpc_server_full full;
static struct rpc_call *held[64];
static _Atomic unsigned held_count;

static void on_request(void *arg, struct rpc_call *call)
{
	unsigned index = atomic_fetch_add(&held_count, 1);
	(void)arg;
	assert_true(index < sizeof held / sizeof *held);
	held[index] = call;
	latch_raise(&calls);
}

static void on_full(void *arg, const struct rpc_server_full *what)
{
	(void)arg;
	full = *what;
	latch_raise(&told);
}

static void close_server(struct rpc_server **server)
{
	rpc_server_close(server);
	for (unsigned i = 0; i < held_count; i++)
		rpc_call_refuse(held[i], RPC_CODE_UNAVAILABLE, 0, "closed");
	held_count = 0;
}

static struct rpc_server *serve(void)
{
	struct rpc_server *server = NULL;
	struct rpc_server_options options = {
		.address = "127.0.0.1:0",
		.message_max = 1024,
		.in_flight_max = 64,
		.connections_max = PLACES,
		.on_request = on_request,
		.on_full = on_full,
	};
	calls = told = (struct latch)LATCH_INIT;
	assert_int_equal(rpc_server_open(&options, &server, NULL), 0);
	return server;
}

/* ---- peers --------------------------------------------------------------------------------------------------------- */

static const uint8_t req_hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}, bus_hello[8] = {0, 'S', 'P', 0, 0, 0x70, 0, 0};
static const uint8_t call[] = {0, 0, 0, 0, 0, 0, 0, 8, 0x80, 0, 0, 1, 8, 1, 18, 0}; /* protocol version 1, method "" */

static int come(uint16_t port, const char *from, const uint8_t hello[8])
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = {.sin_family = AF_INET};
	struct timeval patience = {HARNESS_PATIENCE_MS / 1000, 0};
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	inet_pton(AF_INET, from, &at.sin_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	inet_pton(AF_INET, ONE, &at.sin_addr);
	at.sin_port = htons(port);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
	(void)!send(fd, hello, 8, MSG_NOSIGNAL);
	return fd;
}

/* The server's own hello came: it has a place. */
static bool is_in(int fd)
{
	uint8_t hello[8];
	return recv(fd, hello, sizeof hello, MSG_WAITALL) == sizeof hello;
}

/* The server answers this one by itself, and closes whoever has no place. */
static bool is_still_in(int fd)
{
	static const char method[] = "kvring.v1.Health/Ping";
	enum { METHOD = sizeof method - 1 };
	uint8_t ping[16 + METHOD] = {0, 0, 0, 0, 0, 0, 0, 8 + METHOD, 0x80, 0, 0, 2, 8, 1, 18, METHOD}, answer[12];
	memcpy(ping + 16, method, METHOD);
	return send(fd, ping, sizeof ping, MSG_NOSIGNAL) == sizeof ping &&
	       recv(fd, answer, sizeof answer, MSG_WAITALL) == sizeof answer;
}

/* Connections that are in use: each has a call with the receiver. */
static void come_to_stay(uint16_t port, int *fds, unsigned count)
{
	unsigned before = latch_count(&calls);
	for (unsigned i = 0; i < count; i++) {
		fds[i] = come(port, ONE, req_hello);
		assert_true(is_in(fds[i]));
		assert_int_equal(send(fds[i], call, sizeof call, MSG_NOSIGNAL), sizeof call);
	}
	latch_wait(&calls, before + count);
}

static void leave(int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

static void test_another_address_gets_a_place(void **state)
{
	(void)state;
	struct rpc_server *server = serve();
	uint16_t port = rpc_server_port(server);
	int fds[PLACES], others[PLACES];
	come_to_stay(port, fds, PLACES);
	for (unsigned i = 0; i < PLACES / 2; i++) { /* up to an equal share */
		others[i] = come(port, OTHER, req_hello);
		assert_true(is_in(others[i]));
		assert_true(is_still_in(others[i]));
	}
	latch_wait(&told, 1);
	assert_string_equal(full.address, ONE);
	assert_int_equal(full.connections, PLACES);
	assert_int_equal(full.connections_max, PLACES);
	assert_int_equal(full.port, port);
	for (unsigned i = 0; i < PLACES / 2; i++)
		assert_true(is_still_in(others[i]));
	assert_int_equal(latch_count(&told), 1); /* and not again for a while */
	leave(fds, PLACES);
	leave(others, PLACES / 2);
	close_server(&server);
}

static void test_an_address_with_many_takes_no_place_of_others(void **state)
{
	(void)state;
	struct rpc_server *server = serve();
	uint16_t port = rpc_server_port(server);
	int fds[PLACES - 1], other = come(port, OTHER, req_hello);
	assert_true(is_in(other));
	come_to_stay(port, fds, PLACES - 1);
	/* Until the other has had no use for longer than that. */
	for (uint64_t until_us = rpc_now_us() + 2 * UNUSED_MS * 1000; rpc_now_us() < until_us;) {
		int newcomer = come(port, ONE, req_hello);
		assert_false(is_in(newcomer));
		close(newcomer);
	}
	assert_true(is_still_in(other));
	leave(fds, PLACES - 1);
	leave(&other, 1);
	close_server(&server);
}

/* ---- the bus ------------------------------------------------------------------------------------------------------- */

static void on_message(void *arg, struct rpc_message *message)
{
	(void)arg;
	rpc_message_free(message);
}

static void test_the_bus_has_a_place_for_another_address(void **state)
{
	(void)state;
	struct rpc_bus *bus;
	struct rpc_bus_options options = {
		.address = "127.0.0.1:0", .message_max = 1024, .connections_max = PLACES, .on_message = on_message};
	int fds[PLACES];
	assert_int_equal(rpc_bus_open(&options, &bus, NULL), 0);
	for (unsigned i = 0; i < PLACES; i++) {
		fds[i] = come(rpc_bus_port(bus), ONE, bus_hello);
		assert_true(is_in(fds[i]));
	}
	int other = come(rpc_bus_port(bus), OTHER, bus_hello), newcomer = come(rpc_bus_port(bus), ONE, bus_hello);
	assert_true(is_in(other));
	assert_false(is_in(newcomer));
	leave(fds, PLACES);
	leave(&other, 1);
	leave(&newcomer, 1);
	rpc_bus_close(&bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_another_address_gets_a_place),
		cmocka_unit_test(test_an_address_with_many_takes_no_place_of_others),
		cmocka_unit_test(test_the_bus_has_a_place_for_another_address),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
