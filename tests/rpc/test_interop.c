/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes on the wire: NNG's own sockets on the other end, and plain TCP sockets that do what they like. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <nng/nng.h>
#include <nng/protocol/bus0/bus.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include "tests/rpc/harness.h"

enum { TEST_MESSAGE_MAX = 300 * 1024 };

static void serve_echo(void *arg, struct rpc_call *call)
{
	(void)arg;
	struct rpc_request request;
	if (rpc_request_decode(rpc_message_bytes(call->request), &request, NULL) < 0) {
		rpc_call_refuse(call, 3, 0, "bad");
		return;
	}
	struct rpc_response head = {.protocol_version = 1, .message = request.method};
	struct rpc_message *response;
	assert_int_equal(rpc_response_encode(&head, NULL, &response), 0);
	rpc_call_reply(call, response);
}

static struct rpc_server *server_open(void)
{
	struct rpc_server_options options = {
		.address = "127.0.0.1:0",
		.message_max = TEST_MESSAGE_MAX,
		.in_flight_max = 64,
		.on_request = serve_echo,
	};
	struct rpc_server *server;
	assert_int_equal(rpc_server_open(&options, &server, NULL), 0);
	return server;
}

/* Sizes around every limit of the buffers: copied, large, larger than a buffer. */
static const size_t sizes[] = {0, 1, 100, 16 * 1024 - 40, 16 * 1024, 64 * 1024 - 40, 64 * 1024, 65 * 1024, 250 * 1024};

static char *text_of(size_t size)
{
	char *text = malloc(size + 1);
	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + (i * 7 + i / 26) % 26);
	text[size] = '\0';
	return text;
}

static void test_nngs_req_socket_is_a_client(void **state)
{
	(void)state;
	struct rpc_server *server = server_open();
	nng_socket socket;
	char url[64];
	snprintf(url, sizeof url, "tcp://127.0.0.1:%u", rpc_server_port(server));
	assert_int_equal(nng_req0_open(&socket), 0);
	assert_int_equal(nng_dial(socket, url, NULL, 0), 0);
	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		char *text = text_of(sizes[i]);
		struct rpc_request head = {.protocol_version = 1, .method = slice_of(text)};
		struct rpc_message *request;
		struct rpc_response response;
		void *answer;
		size_t answer_size;
		assert_int_equal(rpc_request_encode(&head, NULL, &request), 0);
		struct rpc_slice bytes = rpc_message_bytes(request);
		assert_int_equal(nng_send(socket, (void *)bytes.data, bytes.size, 0), 0);
		assert_int_equal(nng_recv(socket, &answer, &answer_size, NNG_FLAG_ALLOC), 0);
		assert_int_equal(rpc_response_decode((struct rpc_slice){answer, answer_size}, &response, NULL), 0);
		assert_slice(response.message, text);
		nng_free(answer, answer_size);
		rpc_message_free(request);
		free(text);
	}
	nng_close(socket);
	rpc_server_close(&server);
}

static void done(struct rpc_pending *pending)
{
	struct latch *latch = (struct latch *)(pending + 1);
	latch_raise(latch);
}

struct request {
	struct rpc_pending pending;
	struct latch done;
};

static void *nng_echo(void *arg)
{
	nng_socket *socket = arg;
	nng_msg *message;
	while (nng_recvmsg(*socket, &message, 0) == 0)
		if (nng_sendmsg(*socket, message, 0) != 0)
			nng_msg_free(message);
	return NULL;
}

static void test_nngs_rep_socket_is_a_server(void **state)
{
	(void)state;
	nng_socket socket;
	nng_listener listener;
	int port;
	pthread_t thread;
	assert_int_equal(nng_rep0_open(&socket), 0);
	assert_int_equal(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), 0);
	assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
	assert_int_equal(pthread_create(&thread, NULL, nng_echo, &socket), 0);
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%d", port);
	struct rpc_link_options options = {.address = address, .message_max = TEST_MESSAGE_MAX, .outstanding_max = 4};
	struct rpc_link *link;
	assert_int_equal(rpc_link_open(&options, &link, NULL), 0);
	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		char *text = text_of(sizes[i]);
		struct rpc_request head = {.protocol_version = 1, .method = slice_of(text)}, echo;
		struct request request;
		struct rpc_message *message;
		int status;
		do { /* until the connection is there */
			assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
			request = (struct request){{.done = done}, LATCH_INIT};
			status = rpc_link_call(link, message, 10000, &request.pending);
		} while (status == -EHOSTUNREACH);
		assert_int_equal(status, 0);
		latch_wait(&request.done, 1);
		assert_int_equal(request.pending.status, 0);
		assert_int_equal(rpc_request_decode(rpc_message_bytes(request.pending.response), &echo, NULL), 0);
		assert_slice(echo.method, text);
		rpc_message_free(request.pending.response);
		free(text);
	}
	rpc_link_close(&link);
	nng_close(socket);
	pthread_join(thread, NULL);
}

/* ---- the bus, against NNG's own ------------------------------------------------------------------------------------ */

struct ear {
	pthread_mutex_t lock;
	struct rpc_message *heard; /* the last */
	struct latch count;
};

static void on_bus(void *arg, struct rpc_message *message)
{
	struct ear *ear = arg;
	pthread_mutex_lock(&ear->lock);
	rpc_message_free(ear->heard);
	ear->heard = message;
	pthread_mutex_unlock(&ear->lock);
	latch_raise(&ear->count);
}

static nng_socket nng_bus(void)
{
	nng_socket socket;
	assert_int_equal(nng_bus0_open(&socket), 0);
	assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, HARNESS_PATIENCE_MS), 0);
	assert_int_equal(nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, TEST_MESSAGE_MAX), 0);
	return socket;
}

/* A Request with a method of that size stands for any message. */
static void bus_exchange(struct rpc_bus *bus, struct ear *ear, nng_socket socket, size_t size)
{
	char *text = text_of(size);
	struct rpc_request head = {.protocol_version = 1, .method = slice_of(text)}, decoded;
	struct rpc_message *message;
	void *data;
	size_t data_size;
	assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
	rpc_bus_send(bus, message);
	assert_int_equal(nng_recv(socket, &data, &data_size, NNG_FLAG_ALLOC), 0);
	assert_int_equal(rpc_request_decode((struct rpc_slice){data, data_size}, &decoded, NULL), 0);
	assert_slice(decoded.method, text);
	unsigned before = latch_count(&ear->count);
	assert_int_equal(nng_send(socket, data, data_size, 0), 0);
	latch_wait(&ear->count, before + 1);
	pthread_mutex_lock(&ear->lock);
	struct rpc_slice back = rpc_message_bytes(ear->heard);
	assert_int_equal(back.size, data_size);
	assert_memory_equal(back.data, data, data_size);
	pthread_mutex_unlock(&ear->lock);
	nng_free(data, data_size);
	free(text);
}

/* Whose handshake is done first is chance: until ours is, there is nobody to send to. */
static void bus_wait(struct rpc_bus *bus)
{
	struct rpc_bus_counts counts;
	uint64_t give_up_us = rpc_now_us() + HARNESS_PATIENCE_MS * 1000;
	do {
		rpc_bus_counts(bus, &counts);
		assert_true(rpc_now_us() < give_up_us);
	} while (counts.connections == 0);
}

static void bus_exchange_all(struct rpc_bus *bus, struct ear *ear, nng_socket socket)
{
	bus_wait(bus);
	unsigned before = latch_count(&ear->count);
	while (!latch_wait_ms(&ear->count, before + 1, 20)) /* until NNG has noticed us, too */
		assert_int_equal(nng_send(socket, "", 0, 0), 0);
	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		bus_exchange(bus, ear, socket, sizes[i]);
}

static void test_nngs_bus_socket_dials_ours(void **state)
{
	(void)state;
	struct ear ear = {.lock = PTHREAD_MUTEX_INITIALIZER, .count = LATCH_INIT};
	struct rpc_bus_options options = {"127.0.0.1:0", TEST_MESSAGE_MAX, .on_message = on_bus, .arg = &ear};
	struct rpc_bus *bus;
	char url[64];
	assert_int_equal(rpc_bus_open(&options, &bus, NULL), 0);
	snprintf(url, sizeof url, "tcp://127.0.0.1:%u", rpc_bus_port(bus));
	nng_socket socket = nng_bus();
	assert_int_equal(nng_dial(socket, url, NULL, 0), 0);
	bus_exchange_all(bus, &ear, socket);
	nng_close(socket);
	rpc_bus_close(&bus);
	rpc_message_free(ear.heard);
}

static void test_our_bus_dials_nngs_socket(void **state)
{
	(void)state;
	struct ear ear = {.lock = PTHREAD_MUTEX_INITIALIZER, .count = LATCH_INIT};
	struct rpc_bus_options options = {NULL, TEST_MESSAGE_MAX, .on_message = on_bus, .arg = &ear};
	struct rpc_bus *bus;
	nng_listener listener;
	int port;
	char address[32];
	nng_socket socket = nng_bus();
	assert_int_equal(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), 0);
	assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
	snprintf(address, sizeof address, "127.0.0.1:%d", port);
	assert_int_equal(rpc_bus_open(&options, &bus, NULL), 0);
	assert_int_equal(rpc_bus_dial(bus, address), 0);
	bus_exchange_all(bus, &ear, socket);
	rpc_bus_close(&bus);
	nng_close(socket);
	rpc_message_free(ear.heard);
}

/* ---- plain sockets --------------------------------------------------------------------------------------------- */

static const uint8_t hello_req[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
static const uint8_t hello_rep[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};

static int tcp_dial_port(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	struct timeval patience = {HARNESS_PATIENCE_MS / 1000, 0};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

static int tcp_dial(const struct rpc_server *server)
{
	return tcp_dial_port(rpc_server_port(server));
}

static void tcp_send(int fd, const void *data, size_t size)
{
	assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void tcp_receive(int fd, void *data, size_t size)
{
	assert_int_equal(recv(fd, data, size, MSG_WAITALL), (ssize_t)size);
}

/* The peer has closed: nothing more comes, and no patience was needed for it. */
static void tcp_expect_end(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);
	assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
	close(fd);
}

static void test_a_request_may_come_byte_by_byte(void **state)
{
	(void)state;
	struct rpc_server *server = server_open();
	int fd = tcp_dial(server);
	/* Request {method: "hi"}, id 0x80000007 */
	const uint8_t frame[] = {0, 0, 0, 0, 0, 0, 0, 8, 0x80, 0, 0, 7, 0x12, 2, 'h', 'i'};
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
	for (unsigned i = 0; i < sizeof hello_req; i++)
		tcp_send(fd, hello_req + i, 1);
	uint8_t hello[8], answer[18];
	tcp_receive(fd, hello, sizeof hello);
	assert_memory_equal(hello, hello_rep, sizeof hello);
	for (unsigned i = 0; i < sizeof frame; i++)
		tcp_send(fd, frame + i, 1);
	/* Response {protocol_version: 1, message: "hi"} with the same id */
	const uint8_t expected[18] = {0, 0, 0, 0, 0, 0, 0, 10, 0x80, 0, 0, 7, 0x08, 1, 0x1a, 2, 'h', 'i'};
	tcp_receive(fd, answer, sizeof answer);
	assert_memory_equal(answer, expected, sizeof expected);
	close(fd);
	rpc_server_close(&server);
}

static void test_what_is_not_our_protocol_is_hung_up(void **state)
{
	(void)state;
	struct rpc_server *server = server_open();
	static const struct {
		const char *bytes;
		size_t size;
		bool after_hello;
	} cases[] = {
		{"GET / HTTP/1.1\r\n", 16, false},
		{"\0SP\0\0\x31\0\0", 8, false},    /* another server */
		{"\0SP\0\0\x70\0\0", 8, false},    /* a bus */
		{"\0\0\0\0\0\0\0\3abc", 11, true}, /* no room for an id: closed when twelve bytes could be there */
		{"\0\0\0\0\0\0\0\0\0\0\0\0", 12, true},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\x80\0\0\1", 12, true},
		{"\0\0\0\0\0\5\0\0\x80\0\0\1", 12, true},           /* 327,680 bytes */
		{"\0\0\0\0\0\0\0\x08\0\0\0\1\x80\0\0\2", 16, true}, /* through a device */
	};
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int fd = tcp_dial(server);
		uint8_t hello[8];
		if (cases[i].after_hello)
			tcp_send(fd, hello_req, sizeof hello_req);
		tcp_send(fd, cases[i].bytes, cases[i].size);
		if (cases[i].size < 12)
			tcp_send(fd, "x", 1);
		tcp_receive(fd, hello, sizeof hello);
		tcp_expect_end(fd);
	}
	/* And the server is well. */
	int fd = tcp_dial(server);
	uint8_t answer[8];
	tcp_send(fd, hello_req, sizeof hello_req);
	tcp_receive(fd, answer, sizeof answer);
	close(fd);
	rpc_server_close(&server);
}

/* Byte for byte: the handshake, a message each way without a request id, and what ends the connection. */
static void test_the_bus_speaks_bus0_on_the_wire(void **state)
{
	(void)state;
	static const uint8_t hello_bus[8] = {0, 'S', 'P', 0, 0, 0x70, 0, 0};
	static const uint8_t frame[12] = {0, 0, 0, 0, 0, 0, 0, 4, 0x12, 2, 'h', 'i'};
	static const uint8_t sent[14] = {0, 0, 0, 0, 0, 0, 0, 6, 0x08, 1, 0x12, 2, 'h', 'i'};
	static const uint8_t too_long[8] = {0, 0, 0, 0, 0, 5, 0, 0};
	struct ear ear = {.lock = PTHREAD_MUTEX_INITIALIZER, .count = LATCH_INIT};
	struct rpc_bus_options options = {"127.0.0.1:0", TEST_MESSAGE_MAX, .on_message = on_bus, .arg = &ear};
	struct rpc_bus *bus;
	uint8_t got[14];
	assert_int_equal(rpc_bus_open(&options, &bus, NULL), 0);
	int fd = tcp_dial_port(rpc_bus_port(bus));
	tcp_send(fd, hello_bus, sizeof hello_bus);
	tcp_receive(fd, got, sizeof hello_bus);
	assert_memory_equal(got, hello_bus, sizeof hello_bus);
	tcp_send(fd, frame, sizeof frame);
	latch_wait(&ear.count, 1);
	assert_int_equal(rpc_message_bytes(ear.heard).size, 4);
	assert_memory_equal(rpc_message_bytes(ear.heard).data, frame + 8, 4);
	struct rpc_request head = {.protocol_version = 1, .method = slice_of("hi")};
	struct rpc_message *message;
	assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
	rpc_bus_send(bus, message);
	tcp_receive(fd, got, sizeof sent);
	assert_memory_equal(got, sent, sizeof sent);
	tcp_send(fd, too_long, sizeof too_long);
	tcp_expect_end(fd);
	fd = tcp_dial_port(rpc_bus_port(bus));
	tcp_send(fd, hello_req, sizeof hello_req); /* a client */
	tcp_receive(fd, got, sizeof hello_bus);
	tcp_expect_end(fd);
	rpc_bus_close(&bus);
	rpc_message_free(ear.heard);
}

static void *read_slowly(void *arg)
{
	int fd = *(int *)arg;
	static uint8_t sink[64 * 1024];
	size_t total = 0;
	ssize_t got;
	while ((got = recv(fd, sink, sizeof sink, 0)) > 0)
		total += (size_t)got;
	return (void *)total;
}

/* Far more answers than the server queues for one client: it stops reading, the client's sends block, and when the
 * client begins to read, everything arrives. */
static void test_a_client_that_does_not_read_is_not_read_either(void **state)
{
	(void)state;
	enum { METHOD_SIZE = 100 * 1024, COUNT = 300 };
	struct rpc_server *server = server_open();
	int fd = tcp_dial(server);
	tcp_send(fd, hello_req, sizeof hello_req);
	size_t size = 12 + 4 + METHOD_SIZE;
	uint8_t *frame = calloc(1, size);
	const uint8_t head[16] = {0, 0, 0, 0, 0, 1, 0x90, 0x08, 0x80, 0, 0, 1, 0x12, 0x80, 0xa0, 0x06};
	memcpy(frame, head, sizeof head);
	unsigned sent = 0;
	struct timeval patience = {0, 300 * 1000};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	size_t part = 0;
	while (sent < COUNT) {
		ssize_t n = send(fd, frame + part, size - part, MSG_NOSIGNAL);
		if (n < 0)
			break;
		part += (size_t)n;
		sent += part == size;
		part %= size;
	}
	assert_true(sent < COUNT); /* it blocked */
	struct rpc_server_counts counts;
	rpc_server_counts(server, &counts);
	assert_true(counts.requests < COUNT);
	pthread_t reader;
	assert_int_equal(pthread_create(&reader, NULL, read_slowly, &fd), 0);
	struct timeval forever = {0, 0};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &forever, sizeof forever);
	while (sent < COUNT) {
		ssize_t n = send(fd, frame + part, size - part, MSG_NOSIGNAL);
		assert_true(n > 0);
		part += (size_t)n;
		sent += part == size;
		part %= size;
	}
	uint64_t give_up_us = rpc_now_us() + HARNESS_PATIENCE_MS * 1000;
	do {
		rpc_server_counts(server, &counts);
		assert_true(rpc_now_us() < give_up_us);
	} while (counts.requests < COUNT || counts.in_flight > 0);
	shutdown(fd, SHUT_WR);
	void *total;
	pthread_join(reader, &total);
	assert_true((size_t)total > 8 + (size_t)(COUNT - 64) * METHOD_SIZE);
	close(fd);
	free(frame);
	rpc_server_close(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nngs_req_socket_is_a_client),
		cmocka_unit_test(test_nngs_rep_socket_is_a_server),
		cmocka_unit_test(test_nngs_bus_socket_dials_ours),
		cmocka_unit_test(test_our_bus_dials_nngs_socket),
		cmocka_unit_test(test_the_bus_speaks_bus0_on_the_wire),
		cmocka_unit_test(test_a_request_may_come_byte_by_byte),
		cmocka_unit_test(test_what_is_not_our_protocol_is_hung_up),
		cmocka_unit_test(test_a_client_that_does_not_read_is_not_read_either),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
