/* SPDX-License-Identifier: Apache-2.0 */
/* The answers of one batch: they wait in the cork, and then leave together. The receiver of this server answers when the test says so. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/rpc/harness.h"

enum {
	CALLS = 8,
	HELLO_SIZE = 8,
	FRAME_SIZE = 8 + 4 + 2, /* bytes: length, id, and an envelope that has nothing but the protocol version */
};

/* A connection that has said hello and asked so many questions, which all have come. */
static int ask(struct receiver *self, unsigned count)
{
	static const uint8_t hello[HELLO_SIZE] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
	uint8_t request[] = {0, 0, 0, 0, 0, 0, 0, 6, 0x80, 0, 0, 0, 8, 1}; /* protocol version 1 */
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(rpc_server_port(self->server))};
	unsigned before = receiver_count(self);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(send(fd, hello, sizeof hello, 0), sizeof hello);
	for (unsigned i = 0; i < count; i++) {
		request[11] = (uint8_t)i;
		assert_int_equal(send(fd, request, sizeof request, 0), sizeof request);
	}
	assert_true(EVENTUALLY(receiver_count(self) == before + count));
	uint8_t theirs[HELLO_SIZE];
	assert_int_equal(recv(fd, theirs, sizeof theirs, MSG_WAITALL), sizeof theirs);
	return fd;
}

static void answer(struct receiver *self, unsigned first, unsigned count, struct rpc_cork *cork)
{
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION};
	for (unsigned i = first; i < first + count; i++) {
		struct rpc_message *response;
		assert_int_equal(rpc_response_encode(&head, NULL, &response), 0);
		self->calls[i]->cork = cork;
		rpc_call_reply(self->calls[i], response);
	}
}

/* What one read finds once there is something. */
static size_t read_bytes(int fd, uint8_t *bytes, size_t size_max)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&poll_fd, 1, HARNESS_PATIENCE_MS), 1);
	ssize_t size = recv(fd, bytes, size_max, MSG_DONTWAIT);
	assert_true(size > 0);
	return (size_t)size;
}

static size_t read_once(int fd)
{
	uint8_t bytes[4096];
	return read_bytes(fd, bytes, sizeof bytes);
}

static bool is_silent(int fd)
{
	uint8_t byte;
	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

static void test_what_is_corked_leaves_in_one_write(void **state)
{
	static struct receiver receiver; /* threads still touch it when an assertion has failed */
	struct rpc_cork cork = {0};
	(void)state;
	receiver_open(&receiver, (struct rpc_server_options){.message_max = 4096});
	int first = ask(&receiver, CALLS), second = ask(&receiver, 1);
	answer(&receiver, 0, CALLS, &cork);
	answer(&receiver, CALLS, 1, NULL);
	assert_int_equal(read_once(second), FRAME_SIZE);
	assert_true(is_silent(first));
	rpc_cork_release(&cork);
	assert_int_equal(read_once(first), CALLS * FRAME_SIZE);
	assert_null(cork.first);
	close(first);
	close(second);
	rpc_server_close(&receiver.server);
}

static void test_each_connection_of_a_cork_gets_its_own(void **state)
{
	static struct receiver receiver;
	struct rpc_cork cork = {0};
	(void)state;
	receiver_open(&receiver, (struct rpc_server_options){.message_max = 4096});
	int first = ask(&receiver, 2), second = ask(&receiver, 3);
	answer(&receiver, 0, 5, &cork);
	rpc_cork_release(&cork);
	assert_int_equal(read_once(first), 2 * FRAME_SIZE);
	assert_int_equal(read_once(second), 3 * FRAME_SIZE);
	close(first);
	close(second);
	rpc_server_close(&receiver.server);
}

/* Another thread's answer finds the connection corked and leaves with the others. */
static void test_what_is_sent_meanwhile_waits_too(void **state)
{
	static struct receiver receiver;
	struct rpc_cork cork = {0};
	(void)state;
	receiver_open(&receiver, (struct rpc_server_options){.message_max = 4096});
	int fd = ask(&receiver, CALLS);
	answer(&receiver, 0, 1, &cork);
	answer(&receiver, 1, CALLS - 1, NULL);
	assert_true(is_silent(fd));
	rpc_cork_release(&cork);
	assert_int_equal(read_once(fd), CALLS * FRAME_SIZE);
	close(fd);
	rpc_server_close(&receiver.server);
}

/* Leak checkers see what a connection leaves that closes under its cork. */
static void test_a_client_that_goes_leaves_nothing(void **state)
{
	static struct receiver receiver;
	struct rpc_cork cork = {0};
	(void)state;
	receiver_open(&receiver, (struct rpc_server_options){.message_max = 4096});
	int fd = ask(&receiver, CALLS);
	answer(&receiver, 0, CALLS, &cork);
	close(fd);
	assert_true(EVENTUALLY(receiver_counts(&receiver).connections == 0));
	rpc_cork_release(&cork);
	fd = ask(&receiver, 1);
	answer(&receiver, CALLS, 1, &cork);
	rpc_server_close(&receiver.server); /* before it is released */
	rpc_cork_release(&cork);
	close(fd);
}

/* ---- calls that are made while answers are delivered -------------------------------------------------------------- */

struct chain {
	struct rpc_pending pending;
	struct rpc_link *link;
	struct latch *ended;
	int peer;     /* the other end of the link */
	bool is_last; /* whose answer is delivered last */
	bool silent;  /* nothing had left when the last call of that delivery had been made */
	unsigned left;
};

static void call_next(struct chain *self)
{
	struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION};
	struct rpc_message *request;
	assert_int_equal(rpc_request_encode(&head, NULL, &request), 0);
	assert_int_equal(rpc_link_call(self->link, request, 2 * HARNESS_PATIENCE_MS, &self->pending), 0);
}

static void on_done(struct rpc_pending *pending)
{
	struct chain *self = (struct chain *)pending;
	assert_int_equal(pending->status, 0);
	rpc_message_free(pending->response);
	if (self->left-- == 0) {
		latch_raise(self->ended);
		return;
	}
	call_next(self);
	self->silent = self->is_last && is_silent(self->peer);
}

/* The other end of a link, which has said hello. */
static int accept_link(int listener)
{
	static const uint8_t hello[HELLO_SIZE] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
	uint8_t theirs[HELLO_SIZE];
	int fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, hello, sizeof hello, 0), sizeof hello);
	assert_int_equal(recv(fd, theirs, sizeof theirs, MSG_WAITALL), sizeof theirs);
	return fd;
}

static void test_calls_of_one_delivery_leave_in_one_write(void **state)
{
	static struct chain chains[CALLS];
	struct latch ended = LATCH_INIT;
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t at_size = sizeof at;
	char address[32];
	struct rpc_link_options options = {.address = address, .message_max = 4096, .outstanding_max = CALLS};
	uint8_t frames[CALLS * FRAME_SIZE];
	struct rpc_link *link;
	(void)state;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &at_size), 0);
	snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(at.sin_port));
	assert_int_equal(rpc_link_open(&options, &link, NULL), 0);
	int fd = accept_link(listener);
	assert_true(EVENTUALLY(rpc_link_connected(link)));
	for (unsigned i = 0; i < CALLS; i++) {
		chains[i] = (struct chain){.pending.done = on_done,
					   .link = link,
					   .ended = &ended,
					   .peer = fd,
					   .is_last = i + 1 == CALLS,
					   .left = 1};
		call_next(&chains[i]);
	}
	assert_int_equal(recv(fd, frames, sizeof frames, MSG_WAITALL), sizeof frames);
	assert_int_equal(send(fd, frames, sizeof frames, 0), sizeof frames); /* each is its own answer */
	assert_int_equal(read_bytes(fd, frames, sizeof frames), sizeof frames);
	assert_int_equal(send(fd, frames, sizeof frames, 0), sizeof frames);
	latch_wait(&ended, CALLS);
	assert_true(chains[CALLS - 1].silent);
	rpc_link_close(&link);
	close(fd);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_corked_leaves_in_one_write),
		cmocka_unit_test(test_each_connection_of_a_cork_gets_its_own),
		cmocka_unit_test(test_what_is_sent_meanwhile_waits_too),
		cmocka_unit_test(test_a_client_that_goes_leaves_nothing),
		cmocka_unit_test(test_calls_of_one_delivery_leave_in_one_write),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
