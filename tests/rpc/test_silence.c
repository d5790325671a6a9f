/* SPDX-License-Identifier: Apache-2.0 */
/* A black hole: packets are lost and nobody says so. Between the two ends stands a proxy that stops forwarding in both directions, and
 * accepting, without closing anything. Links and dialled neighbours notice, and are back soon after it goes on. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/rpc/harness.h"

enum {
	MESSAGE_MAX = 64 * 1024,
	SILENCE_MS = 600,
	CUT_MS = 2500,
	SERVED_MS_MAX = 2000, /* from the heal to the first answer */
	PAIRS_MAX = 64,
};

static uint64_t now_ms(void)
{
	return rpc_now_us() / 1000;
}

/* ---- the proxy ------------------------------------------------------------------------------------------------------ */

struct proxy {
	int listener;
	uint16_t to;
	char address[32];
	int fds[2 * PAIRS_MAX]; /* a pair: 2i and 2i + 1; -1 when closed */
	unsigned pairs;         /* so far */
	atomic_bool frozen, stopping;
	atomic_uint accepted;
	pthread_t thread;
};

static int socket_to(uint16_t port, bool listening)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	if (listening)
		assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 64) == 0);
	else
		assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
	return fd;
}

static void proxy_close_pair(struct proxy *proxy, unsigned i)
{
	close(proxy->fds[i]);
	close(proxy->fds[i ^ 1]);
	proxy->fds[i] = proxy->fds[i ^ 1] = -1;
}

static void proxy_forward(struct proxy *proxy, unsigned i)
{
	char bytes[16 * 1024];
	ssize_t size = recv(proxy->fds[i], bytes, sizeof bytes, 0);
	if (size <= 0 || send(proxy->fds[i ^ 1], bytes, (size_t)size, MSG_NOSIGNAL) != size)
		proxy_close_pair(proxy, i);
}

static void proxy_accept(struct proxy *proxy)
{
	unsigned at = 2 * proxy->pairs++;
	assert_true(proxy->pairs <= PAIRS_MAX);
	proxy->fds[at] = accept(proxy->listener, NULL, NULL);
	proxy->fds[at + 1] = socket_to(proxy->to, false);
	atomic_fetch_add(&proxy->accepted, 1);
}

static void *proxy_run(void *arg)
{
	struct proxy *proxy = arg;
	while (!atomic_load(&proxy->stopping)) {
		struct pollfd polls[2 * PAIRS_MAX + 1];
		unsigned count = 2 * proxy->pairs;
		bool frozen = atomic_load(&proxy->frozen);
		for (unsigned i = 0; i < count; i++)
			polls[i] = (struct pollfd){.fd = frozen ? -1 : proxy->fds[i], .events = POLLIN};
		polls[count] = (struct pollfd){.fd = frozen ? -1 : proxy->listener, .events = POLLIN};
		if (poll(polls, count + 1, 5) <= 0)
			continue;
		if (polls[count].revents != 0)
			proxy_accept(proxy);
		for (unsigned i = 0; i < count; i++)
			if (polls[i].revents != 0 && proxy->fds[i] >= 0)
				proxy_forward(proxy, i);
	}
	return NULL;
}

static void proxy_open(struct proxy *proxy, uint16_t to)
{
	struct sockaddr_in at;
	socklen_t size = sizeof at;
	*proxy = (struct proxy){.to = to};
	proxy->listener = socket_to(0, true);
	assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&at, &size), 0);
	snprintf(proxy->address, sizeof proxy->address, "127.0.0.1:%u", ntohs(at.sin_port));
	assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_run, proxy), 0);
}

static void proxy_close(struct proxy *proxy)
{
	atomic_store(&proxy->stopping, true);
	pthread_join(proxy->thread, NULL);
	for (unsigned i = 0; i < 2 * proxy->pairs; i += 2)
		if (proxy->fds[i] >= 0)
			proxy_close_pair(proxy, i);
	close(proxy->listener);
}

static void pass_ms(unsigned ms)
{
	struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
	nanosleep(&pause, NULL);
}

/* ---- links ---------------------------------------------------------------------------------------------------------- */

struct request {
	struct rpc_pending pending;
	struct latch done;
};

static void on_done(struct rpc_pending *pending)
{
	if (pending->status == 0)
		rpc_message_free(pending->response);
	latch_raise(&((struct request *)pending)->done);
}

static struct rpc_message *make_request(const char *method)
{
	struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION, .method = slice_of(method)};
	struct rpc_message *message;
	assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
	return message;
}

static int ask(struct rpc_link *link, const char *method, unsigned ms)
{
	struct request request = {.pending = {.done = on_done}, .done = LATCH_INIT};
	int error = rpc_link_call(link, make_request(method), ms, &request.pending);
	if (error < 0)
		return error;
	latch_wait(&request.done, 1);
	return request.pending.status;
}

static struct rpc_call *held;

static void on_request(void *arg, struct rpc_call *call)
{
	struct rpc_request request;
	assert_int_equal(rpc_request_decode(rpc_message_bytes(call->request), &request, NULL), 0);
	if (rpc_method_is(request.method, "later")) {
		held = call;
		latch_raise(arg);
	} else {
		rpc_call_refuse(call, RPC_CODE_OK, 0, "");
	}
}

struct pair {
	struct latch held;
	struct rpc_server *server;
	struct proxy proxy;
	struct rpc_link *link;
};

static void pair_open(struct pair *pair)
{
	struct rpc_error error = {""};
	*pair = (struct pair){.held = LATCH_INIT};
	struct rpc_server_options server = {"127.0.0.1:0", MESSAGE_MAX, .in_flight_max = 16, .on_request = on_request,
					    .arg = &pair->held};
	assert_int_equal(rpc_server_open(&server, &pair->server, &error), 0);
	proxy_open(&pair->proxy, rpc_server_port(pair->server));
	struct rpc_link_options link = {pair->proxy.address, MESSAGE_MAX, 16, .silence_ms = SILENCE_MS};
	assert_int_equal(rpc_link_open(&link, &pair->link, &error), 0);
	while (ask(pair->link, "now", 5000) != 0)
		pass_ms(1);
}

static void pair_close(struct pair *pair)
{
	rpc_link_close(&pair->link);
	proxy_close(&pair->proxy);
	rpc_server_close(&pair->server);
}

static void test_a_link_is_back_soon_after_a_black_hole(void **state)
{
	(void)state;
	struct pair pair;
	pair_open(&pair);
	for (unsigned round = 0; round < 3; round++) {
		atomic_store(&pair.proxy.frozen, true);
		uint64_t cut_ms = now_ms();
		/* Noticed: the request ends long before its own deadline. */
		assert_int_equal(ask(pair.link, "now", 20000), -ECONNRESET);
		assert_in_range(now_ms() - cut_ms, SILENCE_MS, SILENCE_MS + 1000);
		while (now_ms() < cut_ms + CUT_MS)
			if (ask(pair.link, "now", 100) < 0)
				pass_ms(10);
		atomic_store(&pair.proxy.frozen, false);
		uint64_t heal_ms = now_ms();
		while (ask(pair.link, "now", 5000) != 0)
			pass_ms(1);
		print_message("served %u ms after the heal of a cut of %u ms\n", (unsigned)(now_ms() - heal_ms),
			      CUT_MS);
		assert_true(now_ms() - heal_ms < SERVED_MS_MAX);
	}
	pair_close(&pair);
}

/* Its node is busy for longer than the silence: the room itself says that somebody is there. */
static void test_a_peer_that_is_slow_to_answer_keeps_its_link(void **state)
{
	(void)state;
	struct pair pair;
	pair_open(&pair);
	unsigned accepted = atomic_load(&pair.proxy.accepted);
	struct request request = {.pending = {.done = on_done}, .done = LATCH_INIT};
	assert_int_equal(rpc_link_call(pair.link, make_request("later"), 20000, &request.pending), 0);
	latch_wait(&pair.held, 1);
	pass_ms(4 * SILENCE_MS);
	assert_int_equal(latch_count(&request.done), 0);
	rpc_call_refuse(held, RPC_CODE_OK, 0, "");
	latch_wait(&request.done, 1);
	assert_int_equal(request.pending.status, 0);
	assert_int_equal(atomic_load(&pair.proxy.accepted), accepted);
	struct rpc_server_counts counts;
	rpc_server_counts(pair.server, &counts);
	assert_true(counts.in_flight == 0 && counts.in_flight_peak == 1); /* signs of life are no requests */
	pair_close(&pair);
}

/* A listener whose backlog is full drops what more would connect, as a firewall does. */
static void test_a_dial_that_nobody_answers_is_given_up_and_made_again(void **state)
{
	(void)state;
	enum { FILL = 8 };
	int deaf = socket(AF_INET, SOCK_STREAM, 0), fill[FILL], yes = 1;
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t size = sizeof at;
	struct rpc_error error = {""};
	struct latch unused = LATCH_INIT;
	char address[32];
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(deaf, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	assert_true(bind(deaf, (struct sockaddr *)&at, sizeof at) == 0 && listen(deaf, 0) == 0);
	assert_int_equal(getsockname(deaf, (struct sockaddr *)&at, &size), 0);
	for (unsigned i = 0; i < FILL; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_true(connect(fill[i], (struct sockaddr *)&at, sizeof at) < 0 && errno == EINPROGRESS);
	}
	snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(at.sin_port));
	struct rpc_link *link = NULL;
	struct rpc_link_options options = {address, MESSAGE_MAX, 16, .silence_ms = SILENCE_MS};
	assert_int_equal(rpc_link_open(&options, &link, &error), 0);
	pass_ms(3500); /* three dials */
	assert_false(rpc_link_connected(link));
	for (unsigned i = 0; i < FILL; i++)
		close(fill[i]);
	close(deaf);
	struct rpc_server *server = NULL;
	struct rpc_server_options there = {address, MESSAGE_MAX, .in_flight_max = 16, .on_request = on_request,
					   .arg = &unused};
	assert_int_equal(rpc_server_open(&there, &server, &error), 0);
	uint64_t there_ms = now_ms();
	while (ask(link, "now", 5000) != 0)
		pass_ms(1);
	print_message("served %u ms after the server came\n", (unsigned)(now_ms() - there_ms));
	assert_true(now_ms() - there_ms < SERVED_MS_MAX);
	rpc_link_close(&link);
	rpc_server_close(&server);
}

/* ---- the bus -------------------------------------------------------------------------------------------------------- */

static void on_heard(void *arg, struct rpc_message *message)
{
	rpc_message_free(message);
	latch_raise(arg);
}

static struct rpc_bus *bus_open(const char *address, struct latch *heard, uint32_t silence_ms)
{
	struct rpc_bus *bus = NULL;
	struct rpc_bus_options options = {.address = address,
					  .message_max = MESSAGE_MAX,
					  .silence_ms = silence_ms,
					  .on_message = on_heard,
					  .arg = heard};
	assert_int_equal(rpc_bus_open(&options, &bus, NULL), 0);
	return bus;
}

static void test_a_bus_is_back_soon_after_a_black_hole(void **state)
{
	(void)state;
	struct latch heard = LATCH_INIT, ignored = LATCH_INIT;
	struct proxy proxy;
	struct rpc_bus *there = bus_open("127.0.0.1:0", &ignored, 0), *here = bus_open(NULL, &heard, SILENCE_MS);
	proxy_open(&proxy, rpc_bus_port(there));
	assert_int_equal(rpc_bus_dial(here, proxy.address), 0);
	uint64_t heal_ms = now_ms();
	for (unsigned round = 0; round < 3; round++) {
		unsigned before = latch_count(&heard);
		do {
			rpc_bus_send(there, make_request("news"));
		} while (!latch_wait_ms(&heard, before + 1, 20));
		print_message("heard %u ms after the heal of a cut of %u ms\n", (unsigned)(now_ms() - heal_ms), CUT_MS);
		assert_true(now_ms() - heal_ms < SERVED_MS_MAX);
		unsigned accepted = atomic_load(&proxy.accepted);
		for (unsigned i = 0; i < 50; i++, pass_ms(SILENCE_MS / 20))
			rpc_bus_send(there, make_request("news"));
		assert_int_equal(atomic_load(&proxy.accepted), accepted); /* who speaks is not dialled anew */
		atomic_store(&proxy.frozen, true);
		pass_ms(CUT_MS);
		atomic_store(&proxy.frozen, false);
		heal_ms = now_ms();
		while (atomic_load(&proxy.accepted) == accepted) {
			pass_ms(1);
			assert_true(now_ms() - heal_ms < SERVED_MS_MAX);
		}
	}
	rpc_bus_close(&here);
	proxy_close(&proxy);
	rpc_bus_close(&there);
}

/* ---- a process that stands still --------------------------------------------------------------------------------------- */

static void say(char word)
{
	assert_int_equal(write(STDOUT_FILENO, &word, 1), 1);
}

/* The child: asks once, is stopped meanwhile, and tells whether it was answered. */
static int ask_and_tell(const char *address)
{
	struct rpc_error error = {""};
	struct rpc_link_options options = {address, MESSAGE_MAX, 16, .silence_ms = SILENCE_MS};
	struct request request = {.pending = {.done = on_done}, .done = LATCH_INIT};
	struct rpc_link *link = NULL;
	assert_int_equal(rpc_link_open(&options, &link, &error), 0);
	while (ask(link, "now", 5000) != 0)
		pass_ms(1);
	assert_int_equal(rpc_link_call(link, make_request("later"), 20000, &request.pending), 0);
	say('a');
	latch_wait(&request.done, 1);
	say(request.pending.status == 0 ? 'd' : 'l');
	rpc_link_close(&link);
	return 0;
}

static char hear(int from)
{
	char word = 0;
	assert_int_equal(read(from, &word, 1), 1);
	return word;
}

/* Its links are as they were: nobody else was silent. The answer comes after it goes on, but before the peer has been silent. */
static void test_a_process_that_was_stopped_keeps_its_links(void **state)
{
	(void)state;
	struct pair pair;
	int words[2];
	pair_open(&pair);
	assert_int_equal(pipe(words), 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(words[1], STDOUT_FILENO);
		execl("/proc/self/exe", "test_silence", pair.proxy.address, (char *)NULL);
		_exit(1);
	}
	assert_true(child > 0);
	close(words[1]);
	assert_int_equal(hear(words[0]), 'a');
	latch_wait(&pair.held, 1);
	unsigned accepted = atomic_load(&pair.proxy.accepted);
	kill(child, SIGSTOP);
	pass_ms(4 * SILENCE_MS);
	kill(child, SIGCONT);
	pass_ms(SILENCE_MS / 3);
	rpc_call_refuse(held, RPC_CODE_OK, 0, "");
	char end = hear(words[0]);
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	close(words[0]);
	assert_int_equal(status, 0);
	assert_int_equal(end, 'd');
	assert_int_equal(atomic_load(&pair.proxy.accepted), accepted);
	pair_close(&pair);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return ask_and_tell(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_link_is_back_soon_after_a_black_hole),
		cmocka_unit_test(test_a_peer_that_is_slow_to_answer_keeps_its_link),
		cmocka_unit_test(test_a_dial_that_nobody_answers_is_given_up_and_made_again),
		cmocka_unit_test(test_a_bus_is_back_soon_after_a_black_hole),
		cmocka_unit_test(test_a_process_that_was_stopped_keeps_its_links),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
