/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks for much waits for its turn, and who asks for little beside it is served at once. The receiver of this server answers when
 * the test says so. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/rpc/harness.h"

enum {
	HEAVY_MAX = 1024 * 1024,
	LARGE = 400 * 1024, /* two of them fit */
	FIT = HEAVY_MAX / LARGE,
	SMALL = 100,
	GREEDY = 4, /* links */
	ASKED = 10, /* calls of each */
};

/* ---- the server ---------------------------------------------------------------------------------------------------- */

static void receive(struct receiver *self, struct rpc_server_options options)
{
	options.message_max = 2 * HEAVY_MAX;
	receiver_open(self, options);
}

/* Of the calls that are not answered, bytes. */
static size_t largest(struct receiver *self)
{
	unsigned end = receiver_count(self);
	size_t size = 0;
	for (unsigned i = self->answered; i < end; i++) {
		struct rpc_slice bytes = rpc_message_bytes(self->calls[i]->request);
		size = bytes.size > size ? bytes.size : size;
	}
	return size;
}

static void answer(struct receiver *self, size_t size)
{
	static const uint8_t zeros[LARGE];
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION, .message = {zeros, size}};
	struct rpc_message *response;
	assert_true(EVENTUALLY(self->answered < receiver_count(self)));
	assert_int_equal(rpc_response_encode(&head, NULL, &response), 0);
	rpc_call_reply(self->calls[self->answered++], response);
}

/* ---- links --------------------------------------------------------------------------------------------------------- */

struct asker {
	struct rpc_link *link;
	uint64_t number;
	struct latch done;
	struct question {
		struct rpc_pending pending;
		struct asker *asker;
	} questions[ASKED + 1];
	unsigned asked;
};

static void on_done(struct rpc_pending *pending)
{
	struct question *question = (struct question *)pending;
	assert_int_equal(pending->status, 0);
	rpc_message_free(pending->response);
	latch_raise(&question->asker->done);
}

static void connect_asker(struct asker *self, struct receiver *receiver, uint64_t number)
{
	char address[32];
	*self = (struct asker){.number = number, .done = LATCH_INIT};
	snprintf(address, sizeof address, "127.0.0.1:%u", rpc_server_port(receiver->server));
	struct rpc_link_options options = {.address = address, .message_max = 2 * HEAVY_MAX, .outstanding_max = 64};
	assert_int_equal(rpc_link_open(&options, &self->link, NULL), 0);
	assert_true(EVENTUALLY(rpc_link_connected(self->link)));
}

static void ask(struct asker *self, size_t size)
{
	static const uint8_t zeros[LARGE];
	struct rpc_request head = {
		.protocol_version = RPC_PROTOCOL_VERSION, .trace_id = self->number, .method = {zeros, size}};
	struct question *question = &self->questions[self->asked++];
	struct rpc_message *request;
	*question = (struct question){.pending.done = on_done, .asker = self};
	assert_int_equal(rpc_request_encode(&head, NULL, &request), 0);
	assert_int_equal(rpc_link_call(self->link, request, 10 * HARNESS_PATIENCE_MS, &question->pending), 0);
}

static void end(struct receiver *receiver, struct asker *askers, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		latch_wait(&askers[i].done, askers[i].asked);
		rpc_link_close(&askers[i].link);
	}
	rpc_server_close(&receiver->server);
}

/* Some that ask for much, one of which less is known than of the others, and a modest one that has had an answer. */
static void greedy_ask(struct receiver *receiver, struct asker askers[GREEDY + 1], size_t size)
{
	struct asker *modest = &askers[GREEDY];
	connect_asker(modest, receiver, GREEDY);
	ask(modest, SMALL);
	answer(receiver, SMALL);
	latch_wait(&modest->done, 1);
	for (unsigned i = 0; i < GREEDY; i++)
		connect_asker(&askers[i], receiver, i);
	for (unsigned i = 0; i < GREEDY; i++)
		ask(&askers[i], size);
}

/* Until so many were answered; never more than fit are with the receiver. */
static void answer_all(struct receiver *receiver, unsigned total, size_t size, unsigned fit)
{
	while (receiver->answered < total) {
		assert_true(EVENTUALLY(receiver_counts(receiver).in_flight > 0));
		assert_true(receiver_counts(receiver).in_flight <= fit);
		answer(receiver, size);
	}
}

static void test_large_requests_take_turns_and_small_ones_do_not_wait(void **state)
{
	static struct receiver receiver; /* threads still touch them when an assertion has failed */
	static struct asker askers[GREEDY + 1];
	(void)state;
	receive(&receiver, (struct rpc_server_options){.heavy_max = HEAVY_MAX});
	greedy_ask(&receiver, askers, LARGE);
	for (unsigned i = 0; i < GREEDY; i++)
		for (unsigned j = 1; j < ASKED; j++)
			ask(&askers[i], LARGE);
	assert_true(EVENTUALLY(receiver_count(&receiver) == 1 + FIT));
	ask(&askers[GREEDY], SMALL);
	assert_true(EVENTUALLY(receiver_count(&receiver) == 1 + FIT + 1));
	assert_int_equal(receiver.askers[1 + FIT], GREEDY);
	for (unsigned i = 0; i < FIT + 1; i++) /* the modest one among them */
		answer(&receiver, SMALL);
	answer_all(&receiver, 2 + GREEDY * ASKED, SMALL, FIT);
	end(&receiver, askers, GREEDY + 1);
}

static void test_who_had_large_answers_takes_turns(void **state)
{
	static struct receiver receiver; /* threads still touch them when an assertion has failed */
	static struct asker askers[GREEDY + 2], *newcomer = &askers[GREEDY + 1];
	(void)state;
	receive(&receiver, (struct rpc_server_options){.heavy_max = HEAVY_MAX});
	greedy_ask(&receiver, askers, SMALL);
	for (unsigned i = 0; i < GREEDY; i++)
		answer(&receiver, LARGE);
	for (unsigned i = 0; i < GREEDY; i++) {
		latch_wait(&askers[i].done, 1);
		for (unsigned j = 1; j < ASKED; j++)
			ask(&askers[i], SMALL);
	}
	unsigned before = 1 + GREEDY;
	assert_true(EVENTUALLY(receiver_count(&receiver) == before + FIT));
	ask(&askers[GREEDY], SMALL);
	assert_true(EVENTUALLY(receiver_count(&receiver) == before + FIT + 1));
	assert_int_equal(receiver.askers[before + FIT], GREEDY);
	for (unsigned i = 0; i < FIT + 1; i++)
		answer(&receiver, i < FIT ? LARGE : SMALL);
	/* A newcomer waits for a turn, not for all turns of the others. */
	connect_asker(newcomer, &receiver, GREEDY + 1);
	ask(newcomer, SMALL);
	unsigned total = before + 2 + GREEDY * (ASKED - 1), turn = 0;
	answer_all(&receiver, total, LARGE, FIT + 1);
	for (unsigned i = 0; i < total; i++)
		if (receiver.askers[i] == GREEDY + 1)
			turn = i;
	end(&receiver, askers, GREEDY + 2);
	assert_in_range(turn, before + FIT + 1, total - 2 * GREEDY);
}

/* ---- memory for what arrives ----------------------------------------------------------------------------------------- */

enum {
	PART = 1024 * 1024,    /* of the budget, for what arrives */
	HOLDER = PART / 2,     /* bytes of a message that arrives slowly */
	WAITER = PART / 4 * 3, /* of one that does not fit beside it */
	HOLDERS = 20,
	OVERTAKE_US = 100 * 1000,
};

struct sender {
	int fd;
	size_t rest; /* bytes */
};

static void say(int fd, const void *bytes, size_t size)
{
	assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
}

/* A request of this size, but for its end. */
static struct sender begin_to_send(struct receiver *receiver, size_t size)
{
	static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}, zeros[PART];
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(rpc_server_port(receiver->server))};
	struct sender self = {.fd = socket(AF_INET, SOCK_STREAM, 0), .rest = size / 2};
	uint8_t head[12 + 6] = {
		0,    0, 0, 0, 0, (uint8_t)((size + 4) >> 16), (uint8_t)((size + 4) >> 8), (uint8_t)(size + 4),
		0x80, 0, 0, 1};
	size_t body = size - 6; /* a field that is not known is passed over: number 100, its size in three bytes */
	head[12] = 0xa2;
	head[13] = 0x06;
	head[14] = (uint8_t)(body | 0x80);
	head[15] = (uint8_t)(body >> 7 | 0x80);
	head[16] = (uint8_t)(body >> 14 | 0x80);
	head[17] = (uint8_t)(body >> 21);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(self.fd, (struct sockaddr *)&to, sizeof to), 0);
	say(self.fd, hello, sizeof hello);
	say(self.fd, head, sizeof head);
	say(self.fd, zeros, body - self.rest);
	return self;
}

static void send_rest(struct sender *self)
{
	static const uint8_t zeros[PART];
	say(self->fd, zeros, self->rest);
}

/* There is always a smaller one for which there would be room at once. */
static void test_a_large_message_that_waits_for_memory_has_its_turn(void **state)
{
	static struct receiver receiver;
	struct rpc_budget *budget = rpc_budget_create(4 * PART);
	struct sender holders[HOLDERS + 1];
	unsigned turn = 0;
	(void)state;
	receive(&receiver, (struct rpc_server_options){.budget = budget});
	holders[0] = begin_to_send(&receiver, HOLDER);
	assert_true(EVENTUALLY(atomic_load(&budget->arriving) >= HOLDER));
	struct sender waiter = begin_to_send(&receiver, WAITER);
	send_rest(&waiter);
	for (; turn < HOLDERS && largest(&receiver) < WAITER; turn++) {
		holders[turn + 1] = begin_to_send(&receiver, HOLDER);
		/* Time for it to overtake the one that waits. */
		for (uint64_t until_us = rpc_now_us() + OVERTAKE_US;
		     atomic_load(&budget->arriving) < 2 * HOLDER && rpc_now_us() < until_us;)
			sched_yield();
		send_rest(&holders[turn]);
		/* The holder has come, and the next one has memory; or the one that waited is there. */
		assert_true(EVENTUALLY(largest(&receiver) == WAITER || (receiver_count(&receiver) == turn + 1 &&
									atomic_load(&budget->arriving) >= HOLDER)));
	}
	assert_int_equal(largest(&receiver), WAITER);
	for (unsigned i = 0; i <= turn; i++)
		close(holders[i].fd);
	close(waiter.fd);
	rpc_server_close(&receiver.server);
	while (receiver.answered < receiver.received)
		answer(&receiver, SMALL);
	rpc_budget_unref(budget);
}

/* ---- one connection ------------------------------------------------------------------------------------------------ */

enum {
	BLOCKING = 8 * 1024 * 1024, /* more than the socket buffers of both ends take */
	QUEUED = 4,                 /* large requests */
};

/* A listener that takes little before it is read. */
static int listen_narrow(char address_out[32])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof at;
	int buffer = 64 * 1024, fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer), 0);
	assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	snprintf(address_out, 32, "127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static void read_all(int fd, uint8_t *to, size_t size)
{
	assert_int_equal(recv(fd, to, size, MSG_WAITALL), size);
}

/* The size of the next message, which is passed over. */
static size_t read_frame(int fd)
{
	static uint8_t rest[1024 * 1024];
	uint8_t head[12];
	size_t size = 0;
	read_all(fd, head, sizeof head);
	for (int i = 0; i < 8; i++)
		size = size << 8 | head[i];
	for (size_t left = size - 4; left > 0;) {
		size_t step = left < sizeof rest ? left : sizeof rest;
		read_all(fd, rest, step);
		left -= step;
	}
	return size - 4;
}

static void on_end(struct rpc_pending *pending)
{
	assert_int_not_equal(pending->status, 0);
}

static void call(struct rpc_link *link, size_t size, struct rpc_pending *pending)
{
	static const uint8_t zeros[BLOCKING];
	struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION, .method = {zeros, size}};
	struct rpc_message *request;
	pending->done = on_end;
	assert_int_equal(rpc_request_encode(&head, NULL, &request), 0);
	assert_int_equal(rpc_link_call(link, request, 10 * HARNESS_PATIENCE_MS, pending), 0);
}

/* The peer reads nothing until large requests and then a small one have been sent. The small one comes right after the one that was being
 * written. */
static void test_a_small_request_passes_large_ones_that_wait(void **state)
{
	static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
	struct rpc_pending pending[QUEUED + 1];
	struct rpc_link *link;
	char address[32];
	uint8_t theirs[sizeof hello];
	(void)state;
	int listener = listen_narrow(address);
	struct rpc_link_options options = {.address = address, .message_max = 2 * BLOCKING, .outstanding_max = 64};
	assert_int_equal(rpc_link_open(&options, &link, NULL), 0);
	int fd = accept(listener, NULL, NULL);
	assert_int_equal(send(fd, hello, sizeof hello, 0), sizeof hello);
	read_all(fd, theirs, sizeof theirs);
	assert_true(EVENTUALLY(rpc_link_connected(link)));
	for (int i = 0; i < QUEUED; i++)
		call(link, BLOCKING, &pending[i]);
	call(link, SMALL, &pending[QUEUED]);
	assert_in_range(read_frame(fd), BLOCKING, BLOCKING + 100);
	assert_in_range(read_frame(fd), SMALL, SMALL + 100);
	for (int i = 1; i < QUEUED; i++)
		assert_in_range(read_frame(fd), BLOCKING, BLOCKING + 100);
	rpc_link_close(&link);
	close(fd);
	close(listener);
}

/* A large answer counts from its head on, until it is freed; one that does not come to its end, until the connection ends. */
static void test_a_large_answer_counts(void **state)
{
	static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0}, zeros[BLOCKING];
	struct rpc_budget *budget = rpc_budget_create(BLOCKING);
	struct rpc_link *link;
	char address[32];
	uint8_t theirs[sizeof hello], head[12] = {0, 0, 0, 0, 0, 0x80, 0, 4, 0x80}; /* of 8 MiB, to nobody */
	(void)state;
	int listener = listen_narrow(address);
	struct rpc_link_options options = {
		.address = address, .message_max = 2 * BLOCKING, .outstanding_max = 64, .budget = budget};
	assert_int_equal(rpc_link_open(&options, &link, NULL), 0);
	int fd = accept(listener, NULL, NULL);
	say(fd, hello, sizeof hello);
	read_all(fd, theirs, sizeof theirs);
	assert_true(EVENTUALLY(rpc_link_connected(link)));
	say(fd, head, sizeof head);
	assert_true(EVENTUALLY(atomic_load(&budget->used) == BLOCKING));
	say(fd, zeros, BLOCKING);
	assert_true(EVENTUALLY(atomic_load(&budget->used) == 0));
	say(fd, head, sizeof head);
	assert_true(EVENTUALLY(atomic_load(&budget->used) == BLOCKING));
	close(fd);
	assert_true(EVENTUALLY(atomic_load(&budget->used) == 0));
	rpc_link_close(&link);
	close(listener);
	rpc_budget_unref(budget);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_requests_take_turns_and_small_ones_do_not_wait),
		cmocka_unit_test(test_who_had_large_answers_takes_turns),
		cmocka_unit_test(test_a_large_message_that_waits_for_memory_has_its_turn),
		cmocka_unit_test(test_a_small_request_passes_large_ones_that_wait),
		cmocka_unit_test(test_a_large_answer_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
