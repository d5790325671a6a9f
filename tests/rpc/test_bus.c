/* The bus over 127.0.0.1: delivery between neighbours, redial, hang up, bursts within the queues. */
#include <stdio.h>
#include "harness.h"
#include "event.pb-c.h"

enum {
	BUS_MESSAGE_MAX = 64 * 1024,
	BURST = 16, /* what NNG queues for each connection; more may be lost */
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
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	struct rpc_bus_options options = {address, BUS_MESSAGE_MAX, on_message, station};
	struct rpc_error error = {""};
	int status = rpc_bus_open(&options, &station->bus, &error);
	if (status < 0)
		fail_msg("%s", error.text);
	snprintf(station->address, sizeof(station->address), "127.0.0.1:%u", rpc_bus_port(station->bus));
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
	struct rpc_bus_options options = {a.address, BUS_MESSAGE_MAX, on_message, &a};
	struct rpc_bus *other = NULL;
	struct rpc_error error = {""};
	assert_int_equal(rpc_bus_open(&options, &other, &error), -EADDRINUSE);
	assert_contains(error.text, a.address);
	assert_null(other);
	rpc_bus_close(&a.bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_travel_both_ways_of_a_dial),
		cmocka_unit_test(test_a_burst_fits_the_queues),
		cmocka_unit_test(test_a_dial_waits_for_its_peer_and_finds_it_again),
		cmocka_unit_test(test_after_hang_up_nothing_arrives),
		cmocka_unit_test(test_bad_addresses_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
