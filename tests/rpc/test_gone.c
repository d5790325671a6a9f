/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a peer does, and however it leaves: no connection, file or thread of the server outlives it, and the server closes in bounded
 * time while peers of every kind are still there. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/rpc/harness.h"

enum {
	MESSAGE_MAX = 1024 * 1024,
	ANSWER_SIZE = 256 * 1024, /* bytes: a few dozen unread ones fill every queue */
	REQUESTS = 100,
	PEERS = 8,           /* of each kind at once */
	CLOSE_MS_MAX = 3000, /* rpc_server_close, with peers of every kind connected */
};

/* ---- the server: a large answer to everything --------------------------------------------------------------------- */

static void on_request(void *arg, struct rpc_call *call)
{
	(void)arg;
	static const char zeros[ANSWER_SIZE];
	struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION,
				    .message = {(const uint8_t *)zeros, sizeof zeros}};
	struct rpc_message *response;
	assert_int_equal(rpc_response_encode(&head, NULL, &response), 0);
	rpc_call_reply(call, response);
}

static struct rpc_server *serve(void)
{
	struct rpc_server *server = NULL;
	struct rpc_error error = {""};
	struct rpc_server_options options = {
		.address = "127.0.0.1:0",
		.message_max = MESSAGE_MAX,
		.in_flight_max = 4,
		.on_request = on_request,
	};
	if (rpc_server_open(&options, &server, &error) < 0)
		fail_msg("%s", error.text);
	return server;
}

static unsigned connections(struct rpc_server *server)
{
	struct rpc_server_counts counts;
	rpc_server_counts(server, &counts);
	return counts.connections;
}

static unsigned entries(const char *path)
{
	DIR *directory = opendir(path);
	unsigned count = 0;
	assert_non_null(directory);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

static uint64_t now_ms(void)
{
	return rpc_now_us() / 1000;
}

/* ---- peers --------------------------------------------------------------------------------------------------------- */

static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
static const uint8_t request[] = {0,    0, 0, 0, 0, 0, 0,  8,
				  0x80, 0, 0, 1, 8, 1, 18, 0}; /* protocol version 1, method "" */

static int peer_connect(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

static void say(int fd, const void *bytes, size_t size)
{
	assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
}

static void does_nothing(int fd)
{
	(void)fd;
}

static void says_half_a_hello(int fd)
{
	say(fd, hello, 3);
}

static void says_hello(int fd)
{
	say(fd, hello, sizeof hello);
}

static void says_nonsense(int fd)
{
	say(fd, "GET / HTTP/1.1\r\n\r\n", 18);
}

static void says_half_a_small_message(int fd)
{
	says_hello(fd);
	say(fd, request, sizeof request - 1);
}

static void says_half_a_large_message(int fd)
{
	static const uint8_t head[] = {0, 0, 0, 0, 0, 0x0c, 0, 0, 0x80, 0, 0, 1};
	static const uint8_t part[200 * 1024];
	says_hello(fd);
	say(fd, head, sizeof head);
	say(fd, part, sizeof part);
}

/* Until nobody takes any more: the queues of both kernels and of the server are full. */
static void asks_much_and_reads_nothing(int fd)
{
	says_hello(fd);
	for (unsigned i = 0; i < REQUESTS; i++)
		if (send(fd, request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return;
}

/* So that what it does not take is known to have arrived. */
static void asks_much_and_reads_a_little(int fd)
{
	char some[ANSWER_SIZE];
	asks_much_and_reads_nothing(fd);
	assert_true(recv(fd, some, sizeof some, MSG_WAITALL) == sizeof some);
}

static void closes(int fd)
{
	close(fd);
}

static void resets(int fd)
{
	struct linger at_once = {1, 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	close(fd);
}

/* FIN, and stays to listen: the server has to end it. */
static void ends_its_half(int fd)
{
	char some[4096];
	shutdown(fd, SHUT_WR);
	while (recv(fd, some, sizeof some, 0) > 0)
		;
	close(fd);
}

struct habit {
	const char *name;
	void (*run)(int fd);
};

static const struct habit habits[] = {
	{"does nothing", does_nothing},
	{"half a hello", says_half_a_hello},
	{"a hello", says_hello},
	{"nonsense", says_nonsense},
	{"half a small message", says_half_a_small_message},
	{"half a large message", says_half_a_large_message},
	{"asks much and reads nothing", asks_much_and_reads_nothing},
	{"asks much and reads a little", asks_much_and_reads_a_little},
};
static const struct habit endings[] = {{"closes", closes}, {"resets", resets}, {"ends its half", ends_its_half}};

enum { HABITS = sizeof habits / sizeof habits[0], ENDINGS = sizeof endings / sizeof endings[0] };

/* True when it is answered within ms. */
static bool is_served(struct rpc_server *server, int ms)
{
	struct timeval limit = {ms / 1000, ms % 1000 * 1000};
	char answer[64];
	int fd = peer_connect(rpc_server_port(server));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	says_hello(fd);
	bool served = send(fd, request, sizeof request, MSG_NOSIGNAL) == sizeof request &&
		      recv(fd, answer, sizeof answer, MSG_WAITALL) == sizeof answer;
	close(fd);
	return served;
}

/* A peer whose bytes have all arrived and been worked on leaves differently from one that is cut off in between: both are tried. */
static void come_and_go(struct rpc_server *server, const struct habit *habit, const struct habit *ending, bool pause)
{
	int fds[PEERS];
	for (unsigned i = 0; i < PEERS; i++)
		fds[i] = peer_connect(rpc_server_port(server));
	for (unsigned i = 0; i < PEERS; i++)
		habit->run(fds[i]);
	if (pause) {
		struct rpc_server_counts counts;
		uint64_t requests = UINT64_MAX;
		do {
			rpc_server_counts(server, &counts);
			bool same = counts.requests == requests;
			requests = counts.requests;
			if (same)
				break;
			usleep(20 * 1000);
		} while (true);
	}
	for (unsigned i = 0; i < PEERS; i++)
		ending->run(fds[i]);
	/* A server accepts connections in the order in which they came: when this one is answered, all of the above have
	 * been accepted, and the numbers of connections and files only fall from here on. */
	assert_true(EVENTUALLY(is_served(server, HARNESS_PATIENCE_MS)));
}

static void test_nothing_outlives_its_peer(void **state)
{
	(void)state;
	struct rpc_server *server = serve();
	come_and_go(server, &habits[2], &endings[0], false); /* NNG has started its threads and opened its files */
	assert_true(EVENTUALLY(connections(server) == 0));
	unsigned files = entries("/proc/self/fd"), threads = entries("/proc/self/task");
	for (unsigned round = 0; round < 2 * HABITS * ENDINGS; round++) {
		const struct habit *habit = &habits[round / 2 % HABITS], *ending = &endings[round / 2 / HABITS];
		come_and_go(server, habit, ending, round % 2 == 1);
		if (!EVENTUALLY(connections(server) == 0))
			fail_msg("%u of %u connections outlive a peer: %s, then %s", connections(server), PEERS,
				 habit->name, ending->name);
		if (!EVENTUALLY(entries("/proc/self/fd") <= files))
			fail_msg("files outlive a peer: %s, then %s", habit->name, ending->name);
	}
	assert_int_equal(entries("/proc/self/task"), threads);
	rpc_server_close(&server);
}

static void test_a_server_closes_whoever_is_there(void **state)
{
	(void)state;
	int fds[HABITS];
	for (unsigned round = 0; round < 3; round++) {
		struct rpc_server *server = serve();
		for (unsigned i = 0; i < HABITS; i++) {
			fds[i] = peer_connect(rpc_server_port(server));
			habits[i].run(fds[i]);
		}
		uint64_t before_ms = now_ms();
		rpc_server_close(&server);
		assert_true(now_ms() - before_ms < CLOSE_MS_MAX);
		for (unsigned i = 0; i < HABITS; i++)
			close(fds[i]);
	}
}

/* ---- bounds --------------------------------------------------------------------------------------------------------- */

static struct rpc_server *serve_with(struct rpc_server_options options)
{
	struct rpc_server *server = NULL;
	options.address = "127.0.0.1:0";
	options.in_flight_max = 64;
	options.on_request = on_request;
	assert_int_equal(rpc_server_open(&options, &server, NULL), 0);
	return server;
}

static void test_connections_without_use_give_their_place(void **state)
{
	(void)state;
	enum { CONNECTIONS = 8 };
	int fds[CONNECTIONS];
	struct rpc_server *server =
		serve_with((struct rpc_server_options){.message_max = MESSAGE_MAX, .connections_max = CONNECTIONS});
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		fds[i] = peer_connect(rpc_server_port(server));
		habits[i % 6 == 3 ? 2 : i % 6].run(fds[i]); /* not the nonsense: it is closed at once */
	}
	assert_true(EVENTUALLY(connections(server) == CONNECTIONS));
	assert_true(EVENTUALLY(is_served(server, 2000)));
	assert_true(EVENTUALLY(connections(server) <= CONNECTIONS)); /* whoever gave its place has gone */
	for (unsigned i = 0; i < CONNECTIONS; i++)
		close(fds[i]);
	rpc_server_close(&server);
}

static void test_idle_and_dripping_connections_end(void **state)
{
	(void)state;
	struct rpc_server *server =
		serve_with((struct rpc_server_options){.message_max = MESSAGE_MAX, .idle_ms = 1000});
	int idle = peer_connect(rpc_server_port(server)), dripping = peer_connect(rpc_server_port(server));
	says_hello(idle);
	says_half_a_large_message(dripping);
	assert_true(EVENTUALLY(connections(server) == 1));
	char drop = 0;
	uint64_t until_ms = now_ms() + HARNESS_PATIENCE_MS;
	while (connections(server) > 0 && now_ms() < until_ms) {
		(void)!send(dripping, &drop, 1, MSG_NOSIGNAL);
		usleep(100 * 1000);
	}
	assert_int_equal(connections(server), 0);
	close(idle);
	close(dripping);
	rpc_server_close(&server);
}

static size_t resident_bytes(void)
{
	unsigned long total, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
	fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Sends until nobody takes any more for a while. */
static void send_half(int fd, size_t size)
{
	static const uint8_t part[256 * 1024];
	const uint8_t head[] = {0, 0, 0, 0, 3, 0xc0, 0, 0, 0x80, 0, 0, 1}; /* 60 MiB */
	struct timeval limit = {.tv_usec = 300 * 1000};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	says_hello(fd);
	say(fd, head, sizeof head);
	for (size_t sent = 0; sent < size; sent += sizeof part)
		if (send(fd, part, sizeof part, MSG_NOSIGNAL) != sizeof part)
			return;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SHADOW = 5 }; /* a sanitizer keeps books of each byte: so many times the memory */
#else
enum { SHADOW = 1 };
#endif

static void test_half_sent_messages_take_bounded_memory(void **state)
{
	(void)state;
	enum { HALVES = 25 };
	int fds[HALVES];
	struct rpc_budget *budget = rpc_budget_create(4 * (128 << 20)); /* a quarter is for what arrives */
	struct rpc_server *server = serve_with((struct rpc_server_options){.message_max = 64 << 20, .budget = budget});
	size_t before = resident_bytes();
	for (unsigned i = 0; i < HALVES; i++) {
		fds[i] = peer_connect(rpc_server_port(server));
		send_half(fds[i], 50 << 20);
	}
	size_t after = resident_bytes(),
	       grown = after > before ? after - before : 0; /* sanitizers give memory back late */
	print_message("25 half-sent messages of 60 MiB: %zu MiB\n", grown >> 20);
	assert_true(grown < (size_t)(140 * SHADOW) << 20);
	assert_true(is_served(server, 5000));
	for (unsigned i = 0; i < HALVES; i++)
		close(fds[i]);
	assert_true(EVENTUALLY(connections(server) == 0));
	assert_true(EVENTUALLY(atomic_load(&budget->used) == 0));
	rpc_server_close(&server);
	rpc_budget_unref(budget);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_outlives_its_peer),
		cmocka_unit_test(test_connections_without_use_give_their_place),
		cmocka_unit_test(test_idle_and_dripping_connections_end),
		cmocka_unit_test(test_half_sent_messages_take_bounded_memory),
		cmocka_unit_test(test_a_server_closes_whoever_is_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
