/* SPDX-License-Identifier: Apache-2.0 */
/* Links to servers on 127.0.0.1 whose ports the system chooses. Each server says who it is by its status code. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include "node/driver/peers.h"
#include "tests/node/support.h"

enum { PATIENCE_S = 20, MANY = 500 };

struct server {
	struct rpc_server *rpc;
	char address[64];
	uint32_t code;
};

static void on_request(void *arg, struct rpc_call *call)
{
	rpc_call_refuse(call, ((struct server *)arg)->code, 0, "");
}

static void server_open(struct server *server, uint32_t code)
{
	struct rpc_error why;
	struct rpc_server_options options = {
		.address = "127.0.0.1:0",
		.message_max = 1 << 20,
		.in_flight_max = 16,
		.on_request = on_request,
		.arg = server,
	};
	server->code = code;
	assert_int_equal(rpc_server_open(&options, &server->rpc, &why), 0);
	snprintf(server->address, sizeof server->address, "127.0.0.1:%u", rpc_server_port(server->rpc));
}

struct call {
	struct rpc_pending pending;
	_Atomic bool done;
};

static void on_done(struct rpc_pending *pending)
{
	atomic_store(&((struct call *)pending)->done, true);
}

/* The code of who answers. Connecting takes a moment: until then there is nobody. */
static uint32_t ask(struct rpc_link *link)
{
	struct call call = {.pending.done = on_done};
	struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION, .method = slice("who")};
	time_t until = time(NULL) + PATIENCE_S;
	int error;
	do {
		struct rpc_message *message;
		assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
		error = rpc_link_call(link, message, PATIENCE_S * 1000, &call.pending);
		if (error == -EHOSTUNREACH)
			sched_yield();
	} while (error == -EHOSTUNREACH && time(NULL) < until);
	assert_int_equal(error, 0);
	while (!atomic_load(&call.done))
		sched_yield();
	assert_int_equal(call.pending.status, 0);
	struct rpc_response response;
	struct rpc_error why;
	assert_int_equal(rpc_response_decode(rpc_message_bytes(call.pending.response), &response, &why), 0);
	uint32_t code = response.code;
	rpc_message_free(call.pending.response);
	return code;
}

static void test_each_node_has_its_link(void **state)
{
	(void)state;
	struct server servers[2];
	struct peers *peers;
	struct rpc_error why;
	assert_int_equal(peers_create(NULL, &peers), 0);
	assert_null(peers_link(peers, 1));
	assert_null(peers_link(peers, 0));
	for (uint32_t i = 0; i < 2; i++) {
		server_open(&servers[i], 5 + i);
		assert_int_equal(peers_set(peers, 100 + i, servers[i].address, &why), 0);
	}
	assert_int_equal(ask(peers_link(peers, 100)), 5);
	assert_int_equal(ask(peers_link(peers, 101)), 6);
	assert_null(peers_link(peers, 102));
	struct rpc_link *link = peers_link(peers, 100);
	assert_int_equal(peers_set(peers, 100, servers[0].address, &why), 0); /* as before: the same link */
	assert_ptr_equal(peers_link(peers, 100), link);
	peers_close(&peers);
	assert_null(peers);
	for (uint32_t i = 0; i < 2; i++)
		rpc_server_close(&servers[i].rpc);
}

static void test_a_new_address_is_a_new_link(void **state)
{
	(void)state;
	struct server servers[2];
	struct peers *peers;
	struct rpc_error why;
	assert_int_equal(peers_create(NULL, &peers), 0);
	server_open(&servers[0], 5);
	server_open(&servers[1], 6);
	assert_int_equal(peers_set(peers, 100, servers[0].address, &why), 0);
	struct rpc_link *before = peers_link(peers, 100);
	assert_int_equal(ask(before), 5);
	assert_int_equal(peers_set(peers, 100, servers[1].address, &why), 0);
	assert_int_equal(ask(peers_link(peers, 100)), 6);
	/* Who still holds the old one is told that nobody is there; its memory lasts until the end. */
	struct call call = {.pending.done = on_done};
	struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION, .method = slice("who")};
	struct rpc_message *message;
	assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
	assert_int_equal(rpc_link_call(before, message, PATIENCE_S * 1000, &call.pending), -EHOSTUNREACH);
	peers_close(&peers);
	rpc_server_close(&servers[0].rpc);
	rpc_server_close(&servers[1].rpc);
}

static void test_a_bad_address_changes_nothing(void **state)
{
	(void)state;
	struct peers *peers;
	struct rpc_error why = {""};
	assert_int_equal(peers_create(NULL, &peers), 0);
	assert_true(peers_set(peers, 100, "no port", &why) < 0);
	assert_true(strlen(why.text) > 0);
	assert_null(peers_link(peers, 100));
	assert_int_equal(peers_set(peers, 100, "127.0.0.1:1", &why), 0); /* nobody there: dialled again and again */
	struct rpc_link *link = peers_link(peers, 100);
	assert_non_null(link);
	assert_true(peers_set(peers, 100, "no port", &why) < 0);
	assert_ptr_equal(peers_link(peers, 100), link);
	peers_close(&peers);
}

/* ---- lookups while links are added ---- */

struct lookup {
	struct peers *peers;
	_Atomic bool stop;
};

/* Ids that are never set must never find a link, however their places are taken by others. */
static void *look_up(void *arg)
{
	struct lookup *lookup = arg;
	bool wrong = false;
	while (!atomic_load(&lookup->stop)) {
		for (uint64_t id = 1; id <= MANY; id++) {
			peers_link(lookup->peers, id);
			wrong |= peers_link(lookup->peers, id + (UINT64_C(1) << 50)) != NULL;
		}
	}
	return wrong ? arg : NULL;
}

static void test_lookups_beside_additions(void **state)
{
	(void)state;
	struct lookup lookup = {0};
	struct rpc_error why;
	pthread_t thread;
	void *wrong;
	assert_int_equal(peers_create(NULL, &lookup.peers), 0);
	assert_int_equal(pthread_create(&thread, NULL, look_up, &lookup), 0);
	for (uint64_t id = 1; id <= 8; id++)
		assert_int_equal(peers_set(lookup.peers, id, "127.0.0.1:1", &why), 0);
	atomic_store(&lookup.stop, true);
	assert_int_equal(pthread_join(thread, &wrong), 0);
	assert_null(wrong);
	for (uint64_t id = 1; id <= 8; id++)
		assert_non_null(peers_link(lookup.peers, id));
	peers_close(&lookup.peers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_node_has_its_link),
		cmocka_unit_test(test_a_new_address_is_a_new_link),
		cmocka_unit_test(test_a_bad_address_changes_nothing),
		cmocka_unit_test(test_lookups_beside_additions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
