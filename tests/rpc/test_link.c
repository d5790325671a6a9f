/* SPDX-License-Identifier: Apache-2.0 */
/* Server and link over 127.0.0.1: the invariants W1 to W3, and every way in which a request can end. */
#include <sched.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/rpc/harness.h"

enum {
	TEST_MESSAGE_MAX = 64 * 1024,
	TEST_TIMEOUT_MS = 10000, /* never reached in a passing test */
};

/* ---- a server whose calls the test answers -------------------------------------------------------------------- */

struct desk {
	struct rpc_server *server;
	struct latch arrived;
	pthread_mutex_t lock;
	struct rpc_call *calls[4096];
	unsigned count;
	bool echo; /* answer at once, on NNG's thread */
	bool late; /* answer each call when the next one comes */
	_Atomic(struct rpc_call *) held;
};

static struct rpc_message *make_request(const char *method)
{
	struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION, .method = slice_of(method)};
	struct rpc_message *message;
	assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
	return message;
}

static struct rpc_message *make_response(struct rpc_slice text)
{
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION, .message = text};
	struct rpc_message *message;
	assert_int_equal(rpc_response_encode(&head, NULL, &message), 0);
	return message;
}

static void answer(struct rpc_call *call)
{
	struct rpc_request request;
	assert_int_equal(rpc_request_decode(rpc_message_bytes(call->request), &request, NULL), 0);
	rpc_call_reply(call, make_response(request.method));
}

static void on_request(void *arg, struct rpc_call *call)
{
	struct desk *desk = arg;
	assert_true(call->received_us > 0 && call->received_us <= rpc_now_us());
	if (desk->late) {
		struct rpc_call *previous = atomic_exchange(&desk->held, call);
		if (previous != NULL)
			answer(previous);
		return;
	}
	if (desk->echo) {
		latch_raise(&desk->arrived);
		answer(call);
		return;
	}
	pthread_mutex_lock(&desk->lock);
	assert_true(desk->count < 4096);
	desk->calls[desk->count++] = call;
	pthread_mutex_unlock(&desk->lock);
	latch_raise(&desk->arrived);
}

static struct rpc_server_options desk_options(struct desk *desk, const char *address)
{
	return (struct rpc_server_options){
		.address = address,
		.message_max = TEST_MESSAGE_MAX,
		.in_flight_max = 1024,
		.on_request = on_request,
		.arg = desk,
	};
}

static void desk_open(struct desk *desk, uint16_t port, char address_out[32])
{
	*desk = (struct desk){.arrived = LATCH_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct rpc_error error = {""};
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	struct rpc_server_options options = desk_options(desk, address);
	int status = rpc_server_open(&options, &desk->server, &error);
	if (status < 0)
		fail_msg("%s", error.text);
	snprintf(address_out, 32, "127.0.0.1:%u", rpc_server_port(desk->server));
}

static struct rpc_call *desk_take(struct desk *desk, unsigned index)
{
	latch_wait(&desk->arrived, index + 1);
	pthread_mutex_lock(&desk->lock);
	struct rpc_call *call = desk->calls[index];
	pthread_mutex_unlock(&desk->lock);
	return call;
}

/* ---- a link and its requests ---------------------------------------------------------------------------------- */

struct caller {
	struct rpc_link *link;
	struct latch ups;
	struct latch downs;
};

struct request {
	struct rpc_pending pending;
	struct latch done;
	atomic_uint completions;
};

static _Thread_local bool inside_call;

static void on_done(struct rpc_pending *pending)
{
	struct request *request = (struct request *)pending;
	assert_false(inside_call);
	atomic_fetch_add(&request->completions, 1);
	latch_raise(&request->done);
}

static void on_connection(void *arg, bool connected)
{
	struct caller *caller = arg;
	latch_raise(connected ? &caller->ups : &caller->downs);
}

static void caller_open(struct caller *caller, const char *address, uint32_t outstanding_max)
{
	*caller = (struct caller){.ups = LATCH_INIT, .downs = LATCH_INIT};
	struct rpc_link_options options = {
		.address = address,
		.message_max = TEST_MESSAGE_MAX,
		.outstanding_max = outstanding_max,
		.on_connection = on_connection,
		.arg = caller,
	};
	struct rpc_error error = {""};
	int status = rpc_link_open(&options, &caller->link, &error);
	if (status < 0)
		fail_msg("%s", error.text);
}

static void caller_open_connected(struct caller *caller, const char *address, uint32_t outstanding_max)
{
	caller_open(caller, address, outstanding_max);
	latch_wait(&caller->ups, 1);
	assert_true(rpc_link_connected(caller->link));
}

static int request_start(struct request *request, struct rpc_link *link, struct rpc_message *message, uint32_t ms)
{
	*request = (struct request){.pending = {.done = on_done}, .done = LATCH_INIT};
	inside_call = true;
	int status = rpc_link_call(link, message, ms, &request->pending);
	inside_call = false;
	return status;
}

static void request_start_ok(struct request *request, struct rpc_link *link, const char *method)
{
	assert_int_equal(request_start(request, link, make_request(method), TEST_TIMEOUT_MS), 0);
}

static void request_expect_answer(struct request *request, const char *text)
{
	latch_wait(&request->done, 1);
	assert_int_equal(request->pending.status, 0);
	struct rpc_response response;
	assert_int_equal(rpc_response_decode(rpc_message_bytes(request->pending.response), &response, NULL), 0);
	assert_slice(response.message, text);
	rpc_message_free(request->pending.response);
}

static void request_expect_status(struct request *request, int status)
{
	latch_wait(&request->done, 1);
	assert_int_equal(request->pending.status, status);
}

/* ---- tests ---------------------------------------------------------------------------------------------------- */

static void test_request_is_answered_later_by_another_thread(void **state)
{
	(void)state;
	struct desk desk;
	struct caller caller;
	struct request request;
	char address[32];
	desk_open(&desk, 0, address);
	caller_open_connected(&caller, address, 8);
	request_start_ok(&request, caller.link, "kvring.v1.Kv/Get");
	struct rpc_call *call = desk_take(&desk, 0);
	assert_int_equal(latch_count(&request.done), 0);
	answer(call);
	request_expect_answer(&request, "kvring.v1.Kv/Get");
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
	assert_null(caller.link);
	assert_null(desk.server);
}

/* A request that waited on its way, in the sockets of a stopped process for one, is as old as its sender's clock says. */
static void test_a_request_is_received_when_it_was_sent(void **state)
{
	(void)state;
	enum { WAITED_US = 700 * 1000, SLACK_US = 300 * 1000 };
	struct desk desk;
	struct caller caller;
	struct request requests[3];
	char address[32];
	desk_open(&desk, 0, address);
	caller_open_connected(&caller, address, 8);
	for (unsigned i = 0; i < 3; i++) {
		struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION, .method = slice_of("m")};
		struct rpc_message *message;
		uint64_t before_us = rpc_now_us();
		head.sent_us = rpc_sent_us() - (i == 1 ? WAITED_US : 0);
		assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
		assert_int_equal(request_start(&requests[i], caller.link, message, TEST_TIMEOUT_MS), 0);
		struct rpc_call *call = desk_take(&desk, i);
		uint64_t expected_us = before_us - (i == 1 ? WAITED_US : 0);
		assert_in_range(call->received_us, expected_us - SLACK_US, expected_us + SLACK_US);
		answer(call);
		request_expect_answer(&requests[i], "m");
	}
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

static void test_answers_may_come_in_any_order(void **state)
{
	(void)state;
	struct desk desk;
	struct caller caller;
	static struct request requests[50];
	char address[32], name[16];
	desk_open(&desk, 0, address);
	caller_open_connected(&caller, address, 50);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "m%u", i);
		request_start_ok(&requests[i], caller.link, name);
	}
	latch_wait(&desk.arrived, 50); /* all of them are with the server */
	struct rpc_server_counts counts;
	rpc_server_counts(desk.server, &counts);
	assert_int_equal(counts.in_flight, 50);
	assert_int_equal(counts.requests, 50);
	assert_int_equal(counts.connections, 1);
	for (unsigned i = 50; i-- > 0;)
		answer(desk_take(&desk, i));
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "m%u", i);
		request_expect_answer(&requests[i], name);
	}
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

/* A request that starts the next one from its own done, as kvbench does. */
struct chain {
	struct rpc_pending pending;
	struct rpc_link *link;
	struct latch *finished;
	unsigned left;
	unsigned failures;
};

static void chain_next(struct chain *chain)
{
	if (chain->left-- == 0 || rpc_link_call(chain->link, make_request("m"), TEST_TIMEOUT_MS, &chain->pending) < 0)
		latch_raise(chain->finished);
}

static void chain_on_done(struct rpc_pending *pending)
{
	struct chain *chain = (struct chain *)pending;
	if (pending->status == 0)
		rpc_message_free(pending->response);
	else
		chain->failures++;
	chain_next(chain);
}

static void test_every_request_completes_exactly_once_under_load(void **state)
{
	(void)state;
	enum { CHAINS = 64, EACH = 100 };
	struct desk desk;
	struct caller caller;
	struct chain chains[CHAINS];
	struct latch finished = LATCH_INIT;
	char address[32];
	desk_open(&desk, 0, address);
	desk.echo = true;
	caller_open_connected(&caller, address, CHAINS);
	for (unsigned i = 0; i < CHAINS; i++) {
		chains[i] = (struct chain){{.done = chain_on_done}, caller.link, &finished, EACH, 0};
		chain_next(&chains[i]);
	}
	latch_wait(&finished, CHAINS);
	for (unsigned i = 0; i < CHAINS; i++) {
		assert_int_equal(chains[i].failures, 0);
		assert_int_equal(chains[i].left, UINT_MAX); /* ended by its count, not by a refused call */
	}
	assert_int_equal(latch_count(&desk.arrived), CHAINS * EACH);
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

static void test_no_answer_in_time_is_etimedout_and_a_late_answer_is_dropped(void **state)
{
	(void)state;
	struct desk desk;
	struct caller caller;
	struct request slow, next;
	char address[32];
	desk_open(&desk, 0, address);
	caller_open_connected(&caller, address, 1);
	uint64_t start = rpc_now_us();
	assert_int_equal(request_start(&slow, caller.link, make_request("slow"), 50), 0);
	request_expect_status(&slow, -ETIMEDOUT);
	assert_true(rpc_now_us() - start >= 50 * 1000);
	answer(desk_take(&desk, 0));
	/* The same context serves again, and gets its own answer. */
	request_start_ok(&next, caller.link, "next");
	answer(desk_take(&desk, 1));
	request_expect_answer(&next, "next");
	assert_int_equal(atomic_load(&slow.completions), 1);
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

static void test_without_connection_a_call_fails_at_once(void **state)
{
	(void)state;
	struct desk desk;
	struct caller caller;
	struct request request;
	char address[32];
	desk_open(&desk, 0, address); /* a port that nobody listens on any more */
	rpc_server_close(&desk.server);
	caller_open(&caller, address, 4);
	assert_int_equal(request_start(&request, caller.link, make_request("m"), TEST_TIMEOUT_MS), -EHOSTUNREACH);
	assert_false(rpc_link_connected(caller.link));
	rpc_link_close(&caller.link);
}

static void test_more_than_outstanding_max_is_eagain(void **state)
{
	(void)state;
	struct desk desk;
	struct caller caller;
	struct request requests[3];
	char address[32];
	desk_open(&desk, 0, address);
	caller_open_connected(&caller, address, 2);
	request_start_ok(&requests[0], caller.link, "a");
	request_start_ok(&requests[1], caller.link, "b");
	assert_int_equal(request_start(&requests[2], caller.link, make_request("c"), 1000), -EAGAIN);
	answer(desk_take(&desk, 0));
	answer(desk_take(&desk, 1));
	latch_wait(&requests[0].done, 1);
	latch_wait(&requests[1].done, 1);
	rpc_message_free(requests[0].pending.response);
	rpc_message_free(requests[1].pending.response);
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

static void test_lost_connection_fails_requests_at_once_and_they_are_not_sent_again(void **state)
{
	(void)state;
	struct desk desk, second;
	struct caller caller;
	static struct request requests[20];
	struct request fresh;
	char address[32];
	desk_open(&desk, 0, address);
	uint16_t port = rpc_server_port(desk.server);
	caller_open_connected(&caller, address, 32);
	for (unsigned i = 0; i < 20; i++)
		request_start_ok(&requests[i], caller.link, "lost");
	latch_wait(&desk.arrived, 20);
	uint64_t start = rpc_now_us();
	rpc_server_close(&desk.server);
	for (unsigned i = 0; i < 20; i++)
		request_expect_status(&requests[i], -ECONNRESET);
	assert_true(rpc_now_us() - start < TEST_TIMEOUT_MS * 1000 / 2);
	latch_wait(&caller.downs, 1);

	/* The same address comes back: the link dials again, and the old requests stay dead. */
	desk_open(&second, port, address);
	latch_wait(&caller.ups, 2);
	request_start_ok(&fresh, caller.link, "fresh");
	answer(desk_take(&second, 0));
	request_expect_answer(&fresh, "fresh");
	assert_int_equal(latch_count(&second.arrived), 1);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(atomic_load(&requests[i].completions), 1);
	for (unsigned i = 0; i < 20; i++) /* answering after close is allowed */
		answer(desk.calls[i]);
	rpc_link_close(&caller.link);
	rpc_server_close(&second.server);
}

/* A relay of requests that nobody answers: each is made by the end of the one before, on the deadline thread. */
struct relay {
	struct rpc_pending pending;
	struct rpc_link *link;
	unsigned left;
	struct latch ended;
};

static void relay_on_done(struct rpc_pending *pending)
{
	struct relay *relay = (struct relay *)pending;
	assert_int_equal(pending->status, -ETIMEDOUT);
	if (--relay->left == 0)
		latch_raise(&relay->ended);
	else
		assert_int_equal(rpc_link_call(relay->link, make_request("m"), 1, pending), 0);
}

static void test_a_request_in_want_of_an_answer_may_make_the_next(void **state)
{
	(void)state;
	enum { COUNT = 20 };
	struct desk desk;
	struct caller caller;
	char address[32];
	desk_open(&desk, 0, address);
	caller_open(&caller, address, 4);
	latch_wait(&caller.ups, 1);
	struct relay relay = {{.done = relay_on_done}, caller.link, COUNT, LATCH_INIT};
	assert_int_equal(rpc_link_call(caller.link, make_request("m"), 1, &relay.pending), 0);
	latch_wait(&relay.ended, 1);
	for (unsigned i = 0; i < COUNT; i++)
		answer(desk_take(&desk, i));
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

/* Deadlines fall due while the link stops: when stop returns, every done has run and has returned. */
static void test_stopping_waits_for_what_the_deadline_thread_ends(void **state)
{
	(void)state;
	enum { ROUNDS = 30, COUNT = 64 };
	static struct request requests[COUNT];
	struct desk desk;
	char address[32];
	desk_open(&desk, 0, address);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct caller caller;
		caller_open(&caller, address, COUNT);
		latch_wait(&caller.ups, 1);
		for (unsigned i = 0; i < COUNT; i++) {
			requests[i] = (struct request){{.done = on_done}, LATCH_INIT, 0};
			assert_int_equal(rpc_link_call(caller.link, make_request("m"), 1 + i % 5, &requests[i].pending),
					 0);
		}
		latch_wait(&requests[0].done, 1);
		rpc_link_stop(caller.link);
		for (unsigned i = 0; i < COUNT; i++)
			assert_int_equal(atomic_load(&requests[i].completions), 1);
		rpc_link_close(&caller.link);
	}
	rpc_server_close(&desk.server); /* from here on no call arrives: the ones that did are all that are held */
	for (unsigned i = 0; i < latch_count(&desk.arrived); i++)
		rpc_call_refuse(desk.calls[i], 14, 0, "nobody there");
}

static void test_closing_a_link_cancels_its_requests(void **state)
{
	(void)state;
	struct desk desk;
	struct caller caller;
	struct request requests[5];
	char address[32];
	desk_open(&desk, 0, address);
	caller_open_connected(&caller, address, 8);
	for (unsigned i = 0; i < 5; i++)
		request_start_ok(&requests[i], caller.link, "m");
	latch_wait(&desk.arrived, 5);
	rpc_link_close(&caller.link);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(atomic_load(&requests[i].completions), 1); /* before close returned */
		assert_int_equal(requests[i].pending.status, -ECANCELED);
	}
	for (unsigned i = 0; i < 5; i++)
		answer(desk_take(&desk, i)); /* to nobody */
	rpc_server_close(&desk.server);
}

static void test_replies_to_clients_that_left_recycle_their_contexts(void **state)
{
	(void)state;
	struct desk desk = {.arrived = LATCH_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct rpc_server_options options = desk_options(&desk, "127.0.0.1:0");
	options.in_flight_max = 2;
	assert_int_equal(rpc_server_open(&options, &desk.server, NULL), 0);
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", rpc_server_port(desk.server));
	for (unsigned round = 0; round < 6; round++) {
		struct caller caller;
		struct request requests[2];
		caller_open_connected(&caller, address, 2);
		request_start_ok(&requests[0], caller.link, "m");
		request_start_ok(&requests[1], caller.link, "m");
		struct rpc_call *first = desk_take(&desk, round * 2), *second = desk_take(&desk, round * 2 + 1);
		rpc_link_close(&caller.link);
		answer(first);
		answer(second);
	}
	struct rpc_server_counts counts;
	rpc_server_counts(desk.server, &counts);
	assert_int_equal(counts.in_flight_peak, 2);
	assert_int_equal(counts.requests, 12);
	rpc_server_close(&desk.server);
}

static void test_beyond_in_flight_max_requests_wait_and_none_is_lost(void **state)
{
	(void)state;
	struct desk desk = {.arrived = LATCH_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct rpc_server_options options = desk_options(&desk, "127.0.0.1:0");
	options.in_flight_max = 3;
	assert_int_equal(rpc_server_open(&options, &desk.server, NULL), 0);
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", rpc_server_port(desk.server));
	struct caller caller;
	struct request requests[12];
	caller_open_connected(&caller, address, 12);
	for (unsigned i = 0; i < 12; i++)
		request_start_ok(&requests[i], caller.link, "m");
	latch_wait(&desk.arrived, 3);
	struct rpc_server_counts counts;
	rpc_server_counts(desk.server, &counts);
	assert_int_equal(counts.in_flight, 3);
	for (unsigned i = 0; i < 12; i++) {
		assert_true(latch_count(&desk.arrived) <= i + 3);
		answer(desk_take(&desk, i));
	}
	for (unsigned i = 0; i < 12; i++)
		request_expect_answer(&requests[i], "m");
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

static void test_a_call_is_refused_with_code_and_text(void **state)
{
	(void)state;
	struct desk desk;
	struct caller caller;
	struct request request;
	char address[32];
	desk_open(&desk, 0, address);
	caller_open_connected(&caller, address, 1);
	request_start_ok(&request, caller.link, "m");
	rpc_call_refuse(desk_take(&desk, 0), 8, 77, "queue full");
	latch_wait(&request.done, 1);
	struct rpc_response response;
	assert_int_equal(rpc_response_decode(rpc_message_bytes(request.pending.response), &response, NULL), 0);
	assert_int_equal(response.code, 8);
	assert_int_equal(response.ring_epoch, 77);
	assert_slice(response.message, "queue full");
	assert_int_equal(response.body.size, 0);
	rpc_message_free(request.pending.response);
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
}

static void test_too_large_a_message_costs_its_sender_the_connection_only(void **state)
{
	(void)state;
	struct desk desk;
	struct caller big, small;
	struct request request;
	char address[32];
	desk_open(&desk, 0, address);
	caller_open_connected(&big, address, 1);
	caller_open_connected(&small, address, 1);
	char *method = malloc(TEST_MESSAGE_MAX + 2);
	memset(method, 'x', TEST_MESSAGE_MAX + 1);
	method[TEST_MESSAGE_MAX + 1] = '\0';
	request_start_ok(&request, big.link, method);
	free(method);
	request_expect_status(&request, -ECONNRESET);
	latch_wait(&big.downs, 1);
	request_start_ok(&request, small.link, "small");
	answer(desk_take(&desk, 0));
	request_expect_answer(&request, "small");
	rpc_link_close(&big.link);
	rpc_link_close(&small.link);
	rpc_server_close(&desk.server);
}

static void test_connections_beyond_the_limit_are_closed(void **state)
{
	(void)state;
	struct desk desk = {.arrived = LATCH_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct rpc_server_options options = desk_options(&desk, "127.0.0.1:0");
	options.connections_max = 1;
	assert_int_equal(rpc_server_open(&options, &desk.server, NULL), 0);
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", rpc_server_port(desk.server));
	struct caller first, second;
	struct request request;
	caller_open_connected(&first, address, 1);
	caller_open(&second, address, 1);
	struct rpc_server_counts counts;
	uint64_t give_up_us = rpc_now_us() + HARNESS_PATIENCE_MS * 1000;
	do {
		rpc_server_counts(desk.server, &counts);
		assert_true(rpc_now_us() < give_up_us);
	} while (counts.connections_refused == 0);
	assert_int_equal(counts.connections, 1);
	assert_false(rpc_link_connected(second.link));
	request_start_ok(&request, first.link, "m");
	answer(desk_take(&desk, 0));
	request_expect_answer(&request, "m");
	/* When the first leaves, there is room: the second comes in by itself. */
	rpc_link_close(&first.link);
	latch_wait(&second.ups, 1);
	request_start_ok(&request, second.link, "m");
	answer(desk_take(&desk, 1));
	request_expect_answer(&request, "m");
	rpc_link_close(&second.link);
	rpc_server_close(&desk.server);
}

enum { SILENT_REQUESTS = 64, SILENT_ANSWER_SIZE = 1024 * 1024 };

/* A client by hand, which neither NNG nor a link would let us write: it asks, and never reads. */
static int silent_client(const char *address)
{
	static const uint8_t shake[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(send(fd, shake, sizeof shake, MSG_NOSIGNAL), sizeof shake);
	for (uint8_t i = 0; i < SILENT_REQUESTS; i++) {
		const uint8_t request[] = {0, 0, 0, 0, 0, 0, 0, 4, 0x80, 0, 0, i};
		assert_int_equal(send(fd, request, sizeof request, MSG_NOSIGNAL), sizeof request);
	}
	return fd;
}

static void test_a_client_that_does_not_read_leaves_no_room(void **state)
{
	(void)state;
	struct desk desk = {.arrived = LATCH_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct rpc_server_options options = desk_options(&desk, "127.0.0.1:0");
	struct rpc_budget *budget = options.budget = rpc_budget_create(4 * 8 * SILENT_ANSWER_SIZE);
	assert_int_equal(rpc_server_open(&options, &desk.server, NULL), 0);
	char address[32], *text = malloc(SILENT_ANSWER_SIZE);
	memset(text, 'x', SILENT_ANSWER_SIZE);
	snprintf(address, sizeof address, "127.0.0.1:%u", rpc_server_port(desk.server));
	int silent = silent_client(address);
	unsigned answered = 0;
	for (unsigned i = 0; i < SILENT_REQUESTS; i++) {
		struct rpc_call *call = desk_take(&desk, i);
		if (rpc_call_has_room(call, SILENT_ANSWER_SIZE)) {
			rpc_call_reply(call, make_response((struct rpc_slice){(uint8_t *)text, SILENT_ANSWER_SIZE}));
			answered++;
		} else {
			rpc_call_refuse(call, 8, 0, "no room");
		}
	}
	/* What the sockets' buffers take, and half of the part for answers, which is eight: not all. */
	assert_in_range(answered, 4, SILENT_REQUESTS - 1);
	assert_true(atomic_load(&budget->unsent) <= 5 * SILENT_ANSWER_SIZE);
	struct caller caller;
	struct request request;
	caller_open_connected(&caller, address, 1);
	request_start_ok(&request, caller.link, "m");
	struct rpc_call *call = desk_take(&desk, SILENT_REQUESTS);
	assert_true(rpc_call_has_room(call, 2 * SILENT_ANSWER_SIZE)); /* another client has its share */
	answer(call);
	request_expect_answer(&request, "m");
	close(silent);
	free(text);
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
	for (uint64_t until = rpc_now_us() + 10 * 1000 * 1000; atomic_load(&budget->used) > 0;)
		assert_true(rpc_now_us() < until);
	rpc_budget_unref(budget);
}

static void test_an_address_in_use_is_named(void **state)
{
	(void)state;
	struct desk desk;
	char address[32];
	desk_open(&desk, 0, address);
	struct rpc_server_options options = desk_options(&desk, address);
	struct rpc_server *other = NULL;
	struct rpc_error error = {""};
	assert_int_equal(rpc_server_open(&options, &other, &error), -EADDRINUSE);
	assert_null(other);
	assert_contains(error.text, address);
	assert_contains(error.text, "in use");
	options.address = "192.0.2.1:0"; /* TEST-NET-1: nobody's */
	assert_int_equal(rpc_server_open(&options, &other, &error), -EADDRNOTAVAIL);
	assert_contains(error.text, "192.0.2.1:0");
	options.address = "nonsense";
	assert_int_equal(rpc_server_open(&options, &other, &error), -EINVAL);
	struct rpc_link_options link_options = {.address = "10.0.0.1:0", .message_max = 1, .outstanding_max = 1};
	struct rpc_link *link = NULL;
	assert_int_equal(rpc_link_open(&link_options, &link, &error), -EINVAL);
	assert_contains(error.text, "from 1 to 65535");
	rpc_server_close(&desk.server);
}

/* ---- everything at once ---------------------------------------------------------------------------------------- */

struct hammer {
	struct rpc_link *link;
	struct latch *finished;
	unsigned answered;
	unsigned failed;
	unsigned refused;
};

static void *hammer_run(void *arg)
{
	struct hammer *hammer = arg;
	struct request request;
	for (unsigned i = 0; i < 400; i++) {
		if (request_start(&request, hammer->link, make_request("m"), 1 + i % 3) < 0) {
			hammer->refused++;
			sched_yield();
			continue;
		}
		latch_wait(&request.done, 1);
		assert_int_equal(atomic_load(&request.completions), 1);
		if (request.pending.status == 0) {
			hammer->answered++;
			rpc_message_free(request.pending.response);
		} else {
			int status = request.pending.status;
			assert_true(status == -ETIMEDOUT || status == -ECONNRESET || status == -EHOSTUNREACH);
			hammer->failed++;
		}
	}
	latch_raise(hammer->finished);
	return NULL;
}

/* Tiny deadlines, late answers and a server that comes and goes: each request still ends exactly once, in every
 * interleaving of sending, cancelling and closing that the threads find. */
static void test_every_request_ends_once_while_all_goes_wrong(void **state)
{
	(void)state;
	enum { HAMMERS = 8 };
	struct desk desk;
	struct caller caller;
	struct request last;
	struct latch finished = LATCH_INIT;
	struct hammer hammers[HAMMERS];
	pthread_t threads[HAMMERS];
	char address[32];
	desk_open(&desk, 0, address);
	desk.late = true;
	uint16_t port = rpc_server_port(desk.server);
	caller_open_connected(&caller, address, HAMMERS);
	for (unsigned i = 0; i < HAMMERS; i++) {
		hammers[i] = (struct hammer){.link = caller.link, .finished = &finished};
		assert_int_equal(pthread_create(&threads[i], NULL, hammer_run, &hammers[i]), 0);
	}
	for (unsigned round = 1; latch_count(&finished) < HAMMERS; round++) {
		latch_wait_ms(&finished, HAMMERS, 60);
		rpc_server_close(&desk.server);
		if (atomic_load(&desk.held) != NULL)
			answer(atomic_load(&desk.held));
		desk_open(&desk, port, address);
		desk.late = true;
		latch_wait(&caller.ups, round + 1);
	}
	unsigned answered = 0, failed = 0;
	for (unsigned i = 0; i < HAMMERS; i++) {
		pthread_join(threads[i], NULL);
		answered += hammers[i].answered;
		failed += hammers[i].failed;
	}
	assert_true(answered > 0 && failed > 0);
	desk.late = false;
	desk.echo = true;
	request_start_ok(&last, caller.link, "last");
	request_expect_answer(&last, "last");
	rpc_link_close(&caller.link);
	rpc_server_close(&desk.server);
	if (atomic_load(&desk.held) != NULL)
		answer(atomic_load(&desk.held));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_is_answered_later_by_another_thread),
		cmocka_unit_test(test_a_request_is_received_when_it_was_sent),
		cmocka_unit_test(test_answers_may_come_in_any_order),
		cmocka_unit_test(test_every_request_completes_exactly_once_under_load),
		cmocka_unit_test(test_no_answer_in_time_is_etimedout_and_a_late_answer_is_dropped),
		cmocka_unit_test(test_without_connection_a_call_fails_at_once),
		cmocka_unit_test(test_more_than_outstanding_max_is_eagain),
		cmocka_unit_test(test_lost_connection_fails_requests_at_once_and_they_are_not_sent_again),
		cmocka_unit_test(test_a_request_in_want_of_an_answer_may_make_the_next),
		cmocka_unit_test(test_stopping_waits_for_what_the_deadline_thread_ends),
		cmocka_unit_test(test_closing_a_link_cancels_its_requests),
		cmocka_unit_test(test_replies_to_clients_that_left_recycle_their_contexts),
		cmocka_unit_test(test_beyond_in_flight_max_requests_wait_and_none_is_lost),
		cmocka_unit_test(test_a_call_is_refused_with_code_and_text),
		cmocka_unit_test(test_too_large_a_message_costs_its_sender_the_connection_only),
		cmocka_unit_test(test_connections_beyond_the_limit_are_closed),
		cmocka_unit_test(test_a_client_that_does_not_read_leaves_no_room),
		cmocka_unit_test(test_an_address_in_use_is_named),
		cmocka_unit_test(test_every_request_ends_once_while_all_goes_wrong),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
