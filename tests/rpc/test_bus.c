/* SPDX-License-Identifier: Apache-2.0 */
/* The bus over 127.0.0.1: delivery between neighbours, redial, hang up, bursts within the queues, neighbours that stop
 * reading or are killed. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/rpc/harness.h"
#include "proto/event.pb-c.h"

enum {
	BUS_MESSAGE_MAX = 64 * 1024,
	BURST = 2000, /* small messages; the queue of a connection has room for all */
	KILLS = 15,
};

struct station {
	struct rpc_bus *bus;
	struct latch heard;
	pthread_mutex_t lock;
	uint64_t last_node;
	char address[32];
};

static void on_message(void *arg, struct rpc_message *message)
{
	struct station *station = arg;
	struct rpc_slice bytes = rpc_message_bytes(message);
	Kvring__V1__Event *event = kvring__v1__event__unpack(NULL, bytes.size, bytes.data);
	assert_non_null(event);
	pthread_mutex_lock(&station->lock);
	station->last_node = event->node_id;
	pthread_mutex_unlock(&station->lock);
	kvring__v1__event__free_unpacked(event, NULL);
	rpc_message_free(message);
	latch_raise(&station->heard);
}

static void station_open(struct station *station, uint16_t port)
{
	*station = (struct station){.heard = LATCH_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	struct rpc_bus_options options = {address, BUS_MESSAGE_MAX, .on_message = on_message, .arg = station};
	struct rpc_error error = {""};
	int status = rpc_bus_open(&options, &station->bus, &error);
	if (status < 0)
		fail_msg("%s", error.text);
	snprintf(station->address, sizeof station->address, "127.0.0.1:%u", rpc_bus_port(station->bus));
}

static void say(struct station *station, uint64_t node_id)
{
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	event.node_id = node_id;
	struct rpc_message *message;
	assert_int_equal(rpc_bare_encode(&event.base, &message), 0);
	rpc_bus_send(station->bus, message);
}

/* A bus says nothing about who is connected: speak until heard. Returns what the listener heard by then. */
static unsigned say_until_heard(struct station *from, struct station *to, uint64_t node_id)
{
	unsigned before = latch_count(&to->heard);
	for (unsigned attempt = 0; attempt < 1000; attempt++) {
		say(from, node_id);
		if (latch_wait_ms(&to->heard, before + 1, 20))
			return latch_count(&to->heard);
	}
	fail_msg("not heard");
	return 0;
}

static void test_messages_travel_both_ways_of_a_dial(void **state)
{
	(void)state;
	struct station a, b;
	station_open(&a, 0);
	station_open(&b, 0);
	assert_int_equal(rpc_bus_dial(a.bus, b.address), 0);
	assert_int_equal(rpc_bus_dial(a.bus, b.address), 0); /* again: no second connection */
	say_until_heard(&a, &b, 11);
	assert_int_equal(b.last_node, 11);
	say_until_heard(&b, &a, 22);
	assert_int_equal(a.last_node, 22);
	rpc_bus_close(&a.bus);
	rpc_bus_close(&b.bus);
}

static void test_a_burst_fits_the_queues(void **state)
{
	(void)state;
	struct station a, b;
	station_open(&a, 0);
	station_open(&b, 0);
	assert_int_equal(rpc_bus_dial(a.bus, b.address), 0);
	say_until_heard(&a, &b, 1);
	unsigned before = latch_count(&b.heard);
	for (unsigned i = 0; i < BURST; i++)
		say(&a, 100 + i);
	latch_wait(&b.heard, before + BURST);
	assert_int_equal(b.last_node, 100 + BURST - 1);
	rpc_bus_close(&a.bus);
	rpc_bus_close(&b.bus);
}

static void test_a_dial_waits_for_its_peer_and_finds_it_again(void **state)
{
	(void)state;
	struct station a, b;
	station_open(&a, 0);
	station_open(&b, 0);
	char address[32];
	strcpy(address, b.address);
	uint16_t port = rpc_bus_port(b.bus);
	rpc_bus_close(&b.bus);
	assert_int_equal(rpc_bus_dial(a.bus, address), 0); /* nobody there yet */
	say(&a, 1);
	station_open(&b, port);
	say_until_heard(&a, &b, 2);
	rpc_bus_close(&b.bus);
	station_open(&b, port);
	say_until_heard(&a, &b, 3);
	rpc_bus_close(&a.bus);
	rpc_bus_close(&b.bus);
}

/* The marker goes the long way round: once c has heard it, b would have heard it too. */
static void test_after_hang_up_nothing_arrives(void **state)
{
	(void)state;
	struct station a, b, c;
	station_open(&a, 0);
	station_open(&b, 0);
	station_open(&c, 0);
	assert_int_equal(rpc_bus_dial(a.bus, b.address), 0);
	assert_int_equal(rpc_bus_dial(a.bus, c.address), 0);
	say_until_heard(&a, &b, 1);
	say_until_heard(&a, &c, 1);
	rpc_bus_hang_up(a.bus, b.address);
	rpc_bus_hang_up(a.bus, "127.0.0.1:1"); /* never dialled */
	/* Closing the dialer closes its connection in the background: wait until b is silent. */
	bool silent = false;
	for (unsigned attempt = 0; attempt < 100 && !silent; attempt++) {
		unsigned before = latch_count(&b.heard);
		say_until_heard(&a, &c, 2);
		silent = latch_count(&b.heard) == before && !latch_wait_ms(&b.heard, before + 1, 50);
	}
	assert_true(silent);
	assert_int_equal(rpc_bus_dial(a.bus, b.address), 0);
	say_until_heard(&a, &b, 3);
	rpc_bus_close(&a.bus);
	rpc_bus_close(&b.bus);
	rpc_bus_close(&c.bus);
}

static void test_bad_addresses_are_refused(void **state)
{
	(void)state;
	struct station a;
	station_open(&a, 0);
	assert_int_equal(rpc_bus_dial(a.bus, "nonsense"), -EINVAL);
	struct rpc_bus_options options = {a.address, BUS_MESSAGE_MAX, .on_message = on_message, .arg = &a};
	struct rpc_bus *other = NULL;
	struct rpc_error error = {""};
	assert_int_equal(rpc_bus_open(&options, &other, &error), -EADDRINUSE);
	assert_contains(error.text, a.address);
	assert_null(other);
	rpc_bus_close(&a.bus);
}

static struct rpc_bus_counts counts_of(struct station *station)
{
	struct rpc_bus_counts counts;
	rpc_bus_counts(station->bus, &counts);
	return counts;
}

/* One neighbour does not read: what it would have been sent is dropped and counted, and the other hears everything. */
static void test_a_neighbour_that_does_not_read_misses_messages_alone(void **state)
{
	(void)state;
	enum { TEXT_SIZE = 32 * 1024 };
	static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x70, 0, 0};
	struct station a, b;
	station_open(&a, 0);
	station_open(&b, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(rpc_bus_port(a.bus))};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(send(fd, hello, sizeof hello, MSG_NOSIGNAL), sizeof hello);
	assert_int_equal(rpc_bus_dial(b.bus, a.address), 0);
	say_until_heard(&a, &b, 1);
	while (counts_of(&a).connections < 2)
		say_until_heard(&a, &b, 1);
	char *text = calloc(1, TEXT_SIZE);
	memset(text, 'x', TEXT_SIZE - 1);
	unsigned heard = latch_count(&b.heard), sent = 0;
	for (; sent < 2000 && counts_of(&a).dropped < 10; sent++) {
		Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
		event.node_id = sent;
		Kvring__V1__Overload overload = KVRING__V1__OVERLOAD__INIT;
		overload.what = text;
		event.overload = &overload;
		event.what_case = KVRING__V1__EVENT__WHAT_OVERLOAD;
		struct rpc_message *message;
		assert_int_equal(rpc_bare_encode(&event.base, &message), 0);
		rpc_bus_send(a.bus, message);
		latch_wait(&b.heard, heard + sent + 1);
	}
	assert_int_equal(counts_of(&a).dropped, 10);
	close(fd);
	free(text);
	rpc_bus_close(&a.bus);
	rpc_bus_close(&b.bus);
}

/* ---- a receiver that is slower than a neighbour ------------------------------------------------------------------- */

enum { HELD_MAX = 4096 };

struct hoard {
	struct latch heard;
	pthread_mutex_t lock;
	struct rpc_message *held[HELD_MAX];
	unsigned count;
	size_t bytes;
};

static void on_hoarded(void *arg, struct rpc_message *message)
{
	struct hoard *hoard = arg;
	pthread_mutex_lock(&hoard->lock);
	assert_true(hoard->count < HELD_MAX);
	hoard->held[hoard->count++] = message;
	hoard->bytes += rpc_message_bytes(message).size;
	pthread_mutex_unlock(&hoard->lock);
	latch_raise(&hoard->heard);
}

static void hoard_free(struct hoard *hoard)
{
	pthread_mutex_lock(&hoard->lock);
	for (unsigned i = 0; i < hoard->count; i++)
		rpc_message_free(hoard->held[i]);
	hoard->count = 0;
	hoard->bytes = 0;
	pthread_mutex_unlock(&hoard->lock);
}

/* One neighbour floods, the receiver has not yet worked on what it got: the newest is dropped and counted, the memory is bounded, another
 * neighbour is heard, and so is the flooder when there is room again. */
static void test_a_flood_is_bounded_by_neighbour(void **state)
{
	(void)state;
	static struct hoard hoard = {.heard = LATCH_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct rpc_bus_options options = {"127.0.0.1:0", BUS_MESSAGE_MAX, .on_message = on_hoarded, .arg = &hoard};
	struct rpc_bus *bus = NULL;
	struct station flooder, other;
	char address[32];
	assert_int_equal(rpc_bus_open(&options, &bus, NULL), 0);
	snprintf(address, sizeof address, "127.0.0.1:%u", rpc_bus_port(bus));
	station_open(&flooder, 0);
	station_open(&other, 0);
	assert_int_equal(rpc_bus_dial(flooder.bus, address), 0);
	struct rpc_bus_counts counts;
	do {
		say(&flooder, 1);
		rpc_bus_counts(bus, &counts);
	} while (counts.unheard < 10000);
	assert_true(hoard.bytes <= 3 * BUS_MESSAGE_MAX);
	unsigned before = latch_count(&hoard.heard);
	assert_int_equal(rpc_bus_dial(other.bus, address), 0);
	do
		say(&other, 2);
	while (!latch_wait_ms(&hoard.heard, before + 1, 20));
	hoard_free(&hoard);
	before = latch_count(&hoard.heard);
	do
		say(&flooder, 1);
	while (!latch_wait_ms(&hoard.heard, before + 1, 20));
	rpc_bus_close(&flooder.bus);
	rpc_bus_close(&other.bus);
	rpc_bus_close(&bus);
	hoard_free(&hoard); /* what it counted against has gone with the bus */
}

/* ---- a neighbour in another process, to be killed ----------------------------------------------------------------- */

static void ignore(void *arg, struct rpc_message *message)
{
	(void)arg;
	rpc_message_free(message);
}

/* The other process: listens where it is told, says its port on standard output, and speaks without pause. */
static int neighbour_main(const char *address)
{
	struct rpc_bus_options options = {address, BUS_MESSAGE_MAX, .on_message = ignore};
	struct station station = {.heard = LATCH_INIT};
	if (rpc_bus_open(&options, &station.bus, NULL) < 0)
		return 1;
	uint16_t port = rpc_bus_port(station.bus);
	if (write(STDOUT_FILENO, &port, sizeof port) != sizeof port)
		return 1;
	for (;;)
		say(&station, 7);
}

/* A new program: NNG does not survive a fork. */
static pid_t neighbour_start(uint16_t *port)
{
	char address[32];
	int ends[2];
	snprintf(address, sizeof address, "127.0.0.1:%u", *port);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl("/proc/self/exe", "test_rpc_bus", address, (char *)NULL);
		_exit(1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], port, sizeof *port), sizeof *port);
	close(ends[0]);
	return child;
}

static atomic_bool speaking;

static void *speak(void *arg)
{
	while (atomic_load(&speaking))
		say(arg, 8);
	return NULL;
}

static void on_any_message(void *arg, struct rpc_message *message)
{
	rpc_message_free(message);
	latch_raise(&((struct station *)arg)->heard);
}

/* Both sides send without pause when one is killed: what is under way ends, and the next one is found. */
static void test_a_killed_neighbour_is_found_again(void **state)
{
	(void)state;
	struct station a = {.heard = LATCH_INIT};
	struct rpc_bus_options options = {NULL, BUS_MESSAGE_MAX, .on_message = on_any_message, .arg = &a};
	uint16_t port = 0;
	char address[32];
	pthread_t speaker;
	pid_t child = neighbour_start(&port);
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	assert_int_equal(rpc_bus_open(&options, &a.bus, NULL), 0);
	assert_int_equal(rpc_bus_dial(a.bus, address), 0);
	atomic_store(&speaking, true);
	assert_int_equal(pthread_create(&speaker, NULL, speak, &a), 0);
	for (unsigned i = 0; i < KILLS; i++) {
		latch_wait(&a.heard, latch_count(&a.heard) + 100);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		child = neighbour_start(&port);
	}
	latch_wait(&a.heard, latch_count(&a.heard) + 100);
	atomic_store(&speaking, false);
	pthread_join(speaker, NULL);
	rpc_bus_close(&a.bus); /* waits for every operation to end */
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return neighbour_main(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_travel_both_ways_of_a_dial),
		cmocka_unit_test(test_a_burst_fits_the_queues),
		cmocka_unit_test(test_a_dial_waits_for_its_peer_and_finds_it_again),
		cmocka_unit_test(test_after_hang_up_nothing_arrives),
		cmocka_unit_test(test_bad_addresses_are_refused),
		cmocka_unit_test(test_a_neighbour_that_does_not_read_misses_messages_alone),
		cmocka_unit_test(test_a_flood_is_bounded_by_neighbour),
		cmocka_unit_test(test_a_killed_neighbour_is_found_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
