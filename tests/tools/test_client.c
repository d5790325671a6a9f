/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against nodes that answer what the test tells them to. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "rpc/operation_id.h"
#include "tools/client/client.h"

enum { SEEN_MAX = 4096 };

/* A node: answers every request with `code` and, for OK, a body that fits the method. */
struct node {
	struct rpc_server *server;
	char address[32];
	uint32_t code;
	bool silent;      /* keeps the calls, never answers */
	uint32_t refusal; /* code; 0: puts are DONE */
	bool garbage;
	pthread_mutex_t lock;
	unsigned seen;
	uint8_t operation_ids[SEEN_MAX][RPC_OPERATION_ID_SIZE];
	uint32_t deadlines[SEEN_MAX], attempts[SEEN_MAX];
	uint64_t sent_us[SEEN_MAX];
	struct rpc_call *held[SEEN_MAX];
	unsigned held_count;
};

static void answer_get(struct rpc_call *call, const struct rpc_request *request)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	Kvring__V1__GetRequest *get = rpc_body_decode(&kvring__v1__get_request__descriptor, request->body, arena, NULL);
	Kvring__V1__Sibling sibling = KVRING__V1__SIBLING__INIT, *siblings[] = {&sibling};
	Kvring__V1__GetResponse body = KVRING__V1__GET_RESPONSE__INIT;
	struct rpc_response head = {.protocol_version = 1, .ring_epoch = 12};
	struct rpc_message *response;
	assert_non_null(get);
	sibling.value = get->key; /* the value of every key is the key */
	body.outcome = KVRING__V1__OUTCOME__DONE;
	body.n_siblings = 1;
	body.siblings = siblings;
	body.context = (ProtobufCBinaryData){3, (uint8_t *)"ctx"};
	assert_int_equal(rpc_response_encode(&head, &body.base, &response), 0);
	rpc_call_reply(call, response);
	rpc_arena_unref(arena);
}

/* refusal: code; 0: it is done. */
static void answer_put(struct rpc_call *call, uint32_t refusal)
{
	Kvring__V1__PutResponse body = KVRING__V1__PUT_RESPONSE__INIT;
	struct rpc_response head = {.protocol_version = 1};
	struct rpc_message *response;
	body.outcome = refusal == 0 ? KVRING__V1__OUTCOME__DONE : KVRING__V1__OUTCOME__REFUSED;
	body.code = refusal;
	body.acks_owners = 2;
	assert_int_equal(rpc_response_encode(&head, &body.base, &response), 0);
	rpc_call_reply(call, response);
}

/* Each put is done, or each get finds nothing: as many results as were asked for. */
static void answer_batch(struct rpc_call *call, const struct rpc_request *request)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_response head = {.protocol_version = 1};
	struct rpc_message *response;
	if (rpc_method_is(request->method, "kvring.v1.Kv/BatchPut")) {
		Kvring__V1__BatchPutRequest *puts =
			rpc_body_decode(&kvring__v1__batch_put_request__descriptor, request->body, arena, NULL);
		Kvring__V1__PutResponse done = KVRING__V1__PUT_RESPONSE__INIT, *results[] = {&done, &done};
		Kvring__V1__BatchPutResponse body = KVRING__V1__BATCH_PUT_RESPONSE__INIT;
		assert_non_null(puts);
		done.outcome = KVRING__V1__OUTCOME__DONE;
		body.results = results;
		body.n_results = puts->n_puts;
		assert_int_equal(rpc_response_encode(&head, &body.base, &response), 0);
	} else {
		Kvring__V1__BatchGetRequest *gets =
			rpc_body_decode(&kvring__v1__batch_get_request__descriptor, request->body, arena, NULL);
		Kvring__V1__GetResponse none = KVRING__V1__GET_RESPONSE__INIT, *results[] = {&none, &none};
		Kvring__V1__BatchGetResponse body = KVRING__V1__BATCH_GET_RESPONSE__INIT;
		assert_non_null(gets);
		none.outcome = KVRING__V1__OUTCOME__DONE;
		body.results = results;
		body.n_results = gets->n_gets;
		assert_int_equal(rpc_response_encode(&head, &body.base, &response), 0);
	}
	rpc_call_reply(call, response);
	rpc_arena_unref(arena);
}

static void answer_garbage(struct rpc_call *call)
{
	struct rpc_message *response;
	Kvring__V1__Request wrong = KVRING__V1__REQUEST__INIT; /* field 2 is text, not a code */
	wrong.method = (char *)"no response";
	assert_int_equal(rpc_bare_encode(&wrong.base, &response), 0);
	rpc_call_reply(call, response);
}

static void on_request(void *arg, struct rpc_call *call)
{
	struct node *node = arg;
	struct rpc_request request;
	assert_int_equal(rpc_request_decode(rpc_message_bytes(call->request), &request, NULL), 0);
	pthread_mutex_lock(&node->lock);
	assert_true(node->seen < SEEN_MAX);
	memcpy(node->operation_ids[node->seen], request.operation_id, RPC_OPERATION_ID_SIZE);
	node->attempts[node->seen] = request.attempt;
	node->sent_us[node->seen] = request.sent_us;
	node->deadlines[node->seen++] = request.deadline_ms;
	if (node->silent)
		node->held[node->held_count++] = call;
	pthread_mutex_unlock(&node->lock);
	if (node->silent)
		return;
	if (node->garbage)
		answer_garbage(call);
	else if (node->code != 0)
		rpc_call_refuse(call, node->code, 3, "says the test");
	else if (rpc_method_is(request.method, "kvring.v1.Kv/Get"))
		answer_get(call, &request);
	else if (rpc_method_is(request.method, "kvring.v1.Kv/BatchPut") ||
		 rpc_method_is(request.method, "kvring.v1.Kv/BatchGet"))
		answer_batch(call, &request);
	else
		answer_put(call, node->refusal); /* of other methods, the tests look at the envelope only */
}

static void node_open(struct node *node)
{
	memset(node, 0, sizeof *node);
	pthread_mutex_init(&node->lock, NULL);
	struct rpc_server_options options = {
		.address = "127.0.0.1:0",
		.message_max = RPC_CLIENT_MESSAGE_MAX,
		.in_flight_max = 1024,
		.on_request = on_request,
		.arg = node,
	};
	assert_int_equal(rpc_server_open(&options, &node->server, NULL), 0);
	snprintf(node->address, sizeof node->address, "127.0.0.1:%u", rpc_server_port(node->server));
}

static void node_close(struct node *node)
{
	rpc_server_close(&node->server);
	for (unsigned i = 0; i < node->held_count; i++)
		rpc_call_refuse(node->held[i], 1, 0, NULL);
	node->held_count = 0;
}

static unsigned node_seen(struct node *node)
{
	pthread_mutex_lock(&node->lock);
	unsigned seen = node->seen;
	pthread_mutex_unlock(&node->lock);
	return seen;
}

/* Two nodes, and a client that knows both and is connected to them. */
struct fixture {
	struct node nodes[2];
	struct kv_client *client;
	struct kv_client_reply reply; /* of a call in the background */
};

static struct kv_client_options options_for(struct fixture *f, char list[80])
{
	snprintf(list, 80, "%s, %s", f->nodes[0].address, f->nodes[1].address);
	return (struct kv_client_options){.endpoints = list, .timeout_ms = 3000, .connect_ms = 300};
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char list[80];
	node_open(&f->nodes[0]);
	node_open(&f->nodes[1]);
	struct kv_client_options options = options_for(f, list);
	assert_int_equal(kv_client_open(&options, &f->client, NULL), 0);
	assert_int_equal(kv_client_wait_connected(f->client, 2, 20000), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	kv_client_close(&f->client);
	node_close(&f->nodes[0]);
	node_close(&f->nodes[1]);
	free(f);
	return 0;
}

static Kvring__V1__PutRequest a_put(void)
{
	Kvring__V1__PutRequest put = KVRING__V1__PUT_REQUEST__INIT;
	put.key = (ProtobufCBinaryData){1, (uint8_t *)"k"};
	put.value = (ProtobufCBinaryData){1, (uint8_t *)"v"};
	return put;
}

static Kvring__V1__GetRequest a_get(const char *key)
{
	Kvring__V1__GetRequest get = KVRING__V1__GET_REQUEST__INIT;
	get.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
	return get;
}

static void test_a_get_returns_siblings_and_context(void **state)
{
	struct fixture *f = *state;
	Kvring__V1__GetRequest get = a_get("apple");
	struct kv_client_reply reply;
	assert_int_equal(kv_client_get(f->client, &get, &reply), 0);
	assert_int_equal(reply.code, KVRING__V1__CODE__OK);
	assert_int_equal(reply.attempts, 1);
	assert_int_equal(reply.ring_epoch, 12);
	assert_string_equal(reply.text, "");
	assert_int_equal(reply.get->n_siblings, 1);
	assert_memory_equal(reply.get->siblings[0]->value.data, "apple", 5);
	assert_memory_equal(reply.get->context.data, "ctx", 3);
	kv_client_reply_release(&reply);
	kv_client_reply_release(&reply);
	assert_null(reply.body);
}

static void test_batches_return_a_result_for_each(void **state)
{
	struct fixture *f = *state;
	Kvring__V1__PutRequest put = a_put(), *two_puts[] = {&put, &put};
	Kvring__V1__GetRequest get = a_get("apple"), *two_gets[] = {&get, &get};
	Kvring__V1__BatchPutRequest puts = KVRING__V1__BATCH_PUT_REQUEST__INIT;
	Kvring__V1__BatchGetRequest gets = KVRING__V1__BATCH_GET_REQUEST__INIT;
	struct kv_client_reply reply;
	puts.puts = two_puts;
	gets.gets = two_gets;
	puts.n_puts = gets.n_gets = 2;
	assert_int_equal(kv_client_batch_put(f->client, &puts, &reply), 0);
	assert_int_equal(reply.batch_put->n_results, 2);
	assert_int_equal(reply.batch_put->results[1]->outcome, KVRING__V1__OUTCOME__DONE);
	kv_client_reply_release(&reply);
	gets.n_gets = 1;
	assert_int_equal(kv_client_batch_get(f->client, &gets, &reply), 0);
	assert_int_equal(reply.batch_get->n_results, 1);
	assert_int_equal(reply.batch_get->results[0]->n_siblings, 0);
	kv_client_reply_release(&reply);
}

static void test_an_unavailable_node_is_passed_over_with_the_same_operation_id(void **state)
{
	struct fixture *f = *state;
	Kvring__V1__PutRequest put = a_put();
	struct kv_client_reply reply;
	f->nodes[0].code = KVRING__V1__CODE__UNAVAILABLE;
	assert_int_equal(kv_client_put(f->client, &put, &reply), 0);
	assert_int_equal(reply.attempts, 2);
	assert_int_equal(reply.endpoint, 1);
	assert_int_equal(reply.put->acks_owners, 2);
	assert_memory_equal(f->nodes[0].operation_ids[0], f->nodes[1].operation_ids[0], RPC_OPERATION_ID_SIZE);
	assert_memory_equal(reply.operation_id, f->nodes[1].operation_ids[0], RPC_OPERATION_ID_SIZE);
	assert_true(f->nodes[1].deadlines[0] > 0 && f->nodes[1].deadlines[0] <= 3000);
	/* Which attempt of that id it is, when it was sent, and how old the operation is: a node can tell. */
	uint64_t begun_ms;
	assert_int_equal(f->nodes[0].attempts[0], 1);
	assert_int_equal(f->nodes[1].attempts[0], 2);
	assert_in_range(f->nodes[1].sent_us[0], f->nodes[0].sent_us[0], rpc_sent_us());
	assert_true(rpc_operation_id_time(reply.operation_id, &begun_ms));
	assert_in_range(begun_ms, (uint64_t)time(NULL) * 1000 - 60000, (uint64_t)time(NULL) * 1000 + 60000);
	kv_client_reply_release(&reply);
	/* The next call begins where the last one ended, under its own id. */
	assert_int_equal(kv_client_put(f->client, &put, &reply), 0);
	assert_int_equal(reply.attempts, 1);
	assert_memory_not_equal(f->nodes[1].operation_ids[0], f->nodes[1].operation_ids[1], RPC_OPERATION_ID_SIZE);
	kv_client_reply_release(&reply);
}

static void test_an_operation_id_of_the_callers_is_used(void **state)
{
	struct fixture *f = *state;
	Kvring__V1__PutRequest put = a_put();
	struct kv_client_reply reply;
	put.operation_id = (ProtobufCBinaryData){16, (uint8_t *)"0123456789abcdef"};
	assert_int_equal(kv_client_put(f->client, &put, &reply), 0);
	assert_memory_equal(f->nodes[0].operation_ids[0], "0123456789abcdef", 16);
	kv_client_reply_release(&reply);
	put.operation_id.len = 5;
	assert_int_equal(kv_client_put(f->client, &put, &reply), -EINVAL);
	assert_int_equal(node_seen(&f->nodes[0]), 1);
}

static void test_a_lost_connection_repeats_puts_elsewhere(void **state)
{
	struct fixture *f = *state;
	Kvring__V1__PutRequest put = a_put();
	struct kv_client_reply reply;
	node_close(&f->nodes[0]);
	assert_int_equal(kv_client_put(f->client, &put, &reply), 0);
	assert_int_equal(reply.endpoint, 1);
	assert_false(reply.in_doubt);
	kv_client_reply_release(&reply);
}

static void test_refusals_are_reported_as_they_are(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint32_t code;
		int status;
		const char *name;
	} cases[] = {
		{KVRING__V1__CODE__INVALID_ARGUMENT, -EINVAL, "INVALID_ARGUMENT"},
		{KVRING__V1__CODE__FAILED_PRECONDITION, -EREMOTEIO, "FAILED_PRECONDITION"},
		{KVRING__V1__CODE__INTERNAL, -EREMOTEIO, "INTERNAL"},
	};
	Kvring__V1__PutRequest put = a_put();
	for (unsigned i = 0; i < 3; i++) {
		struct kv_client_reply reply;
		f->nodes[0].code = cases[i].code;
		assert_int_equal(kv_client_put(f->client, &put, &reply), cases[i].status);
		assert_int_equal(reply.code, cases[i].code);
		assert_int_equal(reply.attempts, 1); /* another node would say the same */
		assert_false(reply.in_doubt);
		assert_non_null(strstr(reply.text, cases[i].name));
		assert_non_null(strstr(reply.text, "says the test"));
		assert_non_null(strstr(reply.text, f->nodes[0].address));
		assert_null(reply.body);
	}
	assert_int_equal(node_seen(&f->nodes[1]), 0);
}

static void test_no_answer_leaves_a_put_in_doubt_and_a_get_not(void **state)
{
	struct fixture *f = *state;
	f->nodes[0].silent = f->nodes[1].silent = true;
	struct kv_client *impatient;
	char list[80];
	struct kv_client_options options = options_for(f, list);
	options.timeout_ms = 100;
	assert_int_equal(kv_client_open(&options, &impatient, NULL), 0);
	assert_int_equal(kv_client_wait_connected(impatient, 2, 20000), 0);
	Kvring__V1__PutRequest put = a_put();
	Kvring__V1__GetRequest get = a_get("k");
	struct kv_client_reply reply;
	assert_int_equal(kv_client_put(impatient, &put, &reply), -ETIMEDOUT);
	assert_int_equal(reply.code, KVRING__V1__CODE__DEADLINE_EXCEEDED);
	assert_true(reply.in_doubt);
	assert_non_null(strstr(reply.text, "may have been executed"));
	assert_int_equal(kv_client_get(impatient, &get, &reply), -ETIMEDOUT);
	assert_false(reply.in_doubt);
	kv_client_close(&impatient);
}

/* ---- a node that hangs ----------------------------------------------------------------------------------------- */

static void test_a_silent_node_is_passed_over_after_its_share_of_the_time(void **state)
{
	struct fixture *f = *state;
	Kvring__V1__PutRequest put = a_put();
	struct kv_client_reply reply;
	f->nodes[0].silent = true;
	uint64_t began_us = rpc_now_us();
	assert_int_equal(kv_client_put(f->client, &put, &reply), 0);
	assert_true(rpc_now_us() - began_us < 2000 * 1000); /* of 3,000 ms */
	assert_int_equal(reply.attempts, 2);
	assert_int_equal(reply.endpoint, 1);
	assert_false(reply.in_doubt);
	assert_memory_equal(f->nodes[0].operation_ids[0], f->nodes[1].operation_ids[0], RPC_OPERATION_ID_SIZE);
	assert_int_equal(f->nodes[0].attempts[0], 1);
	assert_int_equal(f->nodes[1].attempts[0], 2);
	assert_true(f->nodes[1].deadlines[0] < f->nodes[0].deadlines[0]);
	kv_client_reply_release(&reply);
	/* The next call does not ask it first. */
	assert_int_equal(kv_client_put(f->client, &put, &reply), 0);
	assert_int_equal(reply.attempts, 1);
	kv_client_reply_release(&reply);
}

static struct rpc_call *take_held(struct node *node)
{
	struct rpc_call *call = NULL;
	while (call == NULL) {
		sched_yield();
		pthread_mutex_lock(&node->lock);
		if (node->held_count > 0)
			call = node->held[--node->held_count];
		pthread_mutex_unlock(&node->lock);
	}
	return call;
}

/* A client that takes turns asks a silent node once, not at each of its turns; a late answer brings the node back. */
static void test_a_silent_node_is_remembered_by_a_client_that_takes_turns(void **state)
{
	enum { CALLS = 20, PASSED_OVER_MS = 5000 };
	struct fixture *f = *state;
	struct kv_client *client;
	char list[80];
	struct kv_client_options options = options_for(f, list);
	options.timeout_ms = 400;
	options.spread = true;
	assert_int_equal(kv_client_open(&options, &client, NULL), 0);
	assert_int_equal(kv_client_wait_connected(client, 2, 20000), 0);
	f->nodes[0].silent = true;
	Kvring__V1__PutRequest put = a_put();
	struct kv_client_reply reply;
	uint64_t began_us = rpc_now_us();
	for (unsigned i = 0; i < CALLS; i++) {
		assert_int_equal(kv_client_put(client, &put, &reply), 0);
		assert_int_equal(reply.endpoint, 1);
		kv_client_reply_release(&reply);
	}
	uint64_t took_ms = (rpc_now_us() - began_us) / 1000;
	assert_in_range(node_seen(&f->nodes[0]), 1, 1 + took_ms / PASSED_OVER_MS);
	assert_int_equal(node_seen(&f->nodes[1]), CALLS);

	f->nodes[0].silent = false;
	began_us = rpc_now_us();
	while (f->nodes[0].held_count > 0)
		answer_put(take_held(&f->nodes[0]), 0);
	do {
		assert_int_equal(kv_client_put(client, &put, &reply), 0);
		kv_client_reply_release(&reply);
	} while (reply.endpoint != 0);
	assert_true(rpc_now_us() - began_us < (PASSED_OVER_MS - 1000) * UINT64_C(1000));
	kv_client_close(&client);
}

static void *put_in_background(void *arg)
{
	struct fixture *f = arg;
	Kvring__V1__PutRequest put = a_put();
	assert_int_equal(kv_client_put(f->client, &put, &f->reply), 0);
	return NULL;
}

static void test_the_node_that_was_asked_first_may_still_answer_first(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	f->nodes[0].silent = f->nodes[1].silent = true;
	assert_int_equal(pthread_create(&thread, NULL, put_in_background, f), 0);
	struct rpc_call *second = take_held(&f->nodes[1]), *first = take_held(&f->nodes[0]);
	answer_put(first, 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(f->reply.endpoint, 0);
	assert_int_equal(f->reply.attempts, 2);
	kv_client_reply_release(&f->reply);
	answer_put(second, 0); /* too late: nobody is told */
	/* Behind it on the same connection: when this is answered, the late answer has been thrown away. */
	f->nodes[0].silent = f->nodes[1].silent = false;
	Kvring__V1__GetRequest get = a_get("k");
	assert_int_equal(kv_client_get(f->client, &get, &f->reply), 0);
	assert_int_equal(f->reply.endpoint, 1);
	kv_client_reply_release(&f->reply);
}

static void test_a_refusal_does_not_speak_for_a_node_that_is_silent(void **state)
{
	static const struct {
		uint32_t code;
		Kvring__V1__Outcome outcome;
	} cases[] = {
		{KVRING__V1__CODE__UNAVAILABLE, KVRING__V1__OUTCOME__IN_DOUBT},
		{KVRING__V1__CODE__INVALID_ARGUMENT, KVRING__V1__OUTCOME__REFUSED}, /* the other would refuse it, too */
	};
	struct fixture *f = *state;
	Kvring__V1__PutRequest put = a_put();
	for (unsigned i = 0; i < 2; i++) {
		struct kv_client_reply reply;
		unsigned silent = i; /* each time the one that is asked first */
		f->nodes[silent].silent = true;
		f->nodes[1 - silent].silent = false;
		f->nodes[1 - silent].refusal = cases[i].code;
		assert_int_equal(kv_client_put(f->client, &put, &reply), 0);
		assert_int_equal(reply.attempts, 2);
		assert_int_equal(reply.put->outcome, cases[i].outcome);
		kv_client_reply_release(&reply);
	}
}

static void test_what_may_not_be_repeated_waits_for_its_node(void **state)
{
	struct fixture *f = *state;
	f->nodes[0].silent = true;
	struct kv_client *impatient;
	char list[80];
	struct kv_client_options options = options_for(f, list);
	options.timeout_ms = 200;
	assert_int_equal(kv_client_open(&options, &impatient, NULL), 0);
	assert_int_equal(kv_client_wait_connected(impatient, 2, 20000), 0);
	Kvring__V1__InitRequest init = KVRING__V1__INIT_REQUEST__INIT;
	struct kv_client_reply reply;
	assert_int_equal(kv_client_init_cluster(impatient, &init, &reply), -ETIMEDOUT);
	assert_true(reply.in_doubt);
	assert_int_equal(reply.attempts, 1);
	assert_int_equal(node_seen(&f->nodes[1]), 0);
	kv_client_close(&impatient);
}

static void test_nobody_there_names_all_nodes(void **state)
{
	struct fixture *f = *state;
	node_close(&f->nodes[0]);
	node_close(&f->nodes[1]);
	Kvring__V1__PutRequest put = a_put();
	struct kv_client_reply reply;
	do /* until the client has noticed */
		assert_int_equal(kv_client_put(f->client, &put, &reply), -EHOSTUNREACH);
	while (reply.attempts > 0);
	assert_int_equal(reply.code, KVRING__V1__CODE__UNAVAILABLE);
	assert_false(reply.in_doubt);
	assert_non_null(strstr(reply.text, f->nodes[0].address));
	assert_non_null(strstr(reply.text, f->nodes[1].address));
}

static void test_an_answer_that_does_not_decode_is_an_error(void **state)
{
	struct fixture *f = *state;
	f->nodes[0].garbage = true;
	Kvring__V1__GetRequest get = a_get("k");
	struct kv_client_reply reply;
	assert_int_equal(kv_client_get(f->client, &get, &reply), -EBADMSG);
	assert_int_equal(reply.code, KVRING__V1__CODE__DATA_LOSS);
	assert_non_null(strstr(reply.text, "does not decode"));
}

static void test_describe_asks_exactly_one_node(void **state)
{
	struct fixture *f = *state;
	struct kv_client_reply reply;
	f->nodes[1].code = KVRING__V1__CODE__UNAVAILABLE;
	assert_int_equal(kv_client_health(f->client, 1, &reply), -EHOSTUNREACH);
	assert_int_equal(node_seen(&f->nodes[0]), 0);
	assert_true(node_seen(&f->nodes[1]) >= 1);
	assert_int_equal(kv_client_health(f->client, 2, &reply), -EINVAL);
}

/* ---- asynchronous ---------------------------------------------------------------------------------------------- */

struct burst {
	struct kv_client_call call;
	struct burst_shared *shared;
	Kvring__V1__GetRequest get;
	char key[16];
	unsigned left;
};

struct burst_shared {
	struct kv_client *client;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned running, done, wrong;
};

static void burst_ended(struct burst_shared *shared)
{
	pthread_mutex_lock(&shared->lock);
	shared->running--;
	pthread_cond_signal(&shared->changed);
	pthread_mutex_unlock(&shared->lock);
}

static void burst_on_done(struct kv_client_call *call)
{
	struct burst *burst = (struct burst *)call;
	struct kv_client_reply *reply = &call->reply;
	bool right = reply->status == 0 && reply->get->n_siblings == 1 &&
		     reply->get->siblings[0]->value.len == strlen(burst->key) &&
		     memcmp(reply->get->siblings[0]->value.data, burst->key, strlen(burst->key)) == 0;
	kv_client_reply_release(reply);
	pthread_mutex_lock(&burst->shared->lock);
	burst->shared->done++;
	burst->shared->wrong += !right;
	pthread_mutex_unlock(&burst->shared->lock);
	if (--burst->left == 0 || kv_client_start(burst->shared->client, call) < 0)
		burst_ended(burst->shared);
}

static void test_many_calls_under_way_each_get_their_own_answer(void **state)
{
	enum { BURSTS = 50, EACH = 40 };
	struct fixture *f = *state;
	static struct burst bursts[BURSTS];
	struct burst_shared shared = {f->client, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, BURSTS, 0, 0};
	for (unsigned i = 0; i < BURSTS; i++) {
		snprintf(bursts[i].key, sizeof bursts[i].key, "key-%u", i);
		bursts[i].get = a_get(bursts[i].key);
		bursts[i].shared = &shared;
		bursts[i].left = EACH;
		bursts[i].call = (struct kv_client_call){.method = CLIENT_GET,
							 .request = &bursts[i].get.base,
							 .endpoint = CLIENT_ANY_ENDPOINT,
							 .done = burst_on_done};
		assert_int_equal(kv_client_start(f->client, &bursts[i].call), 0);
	}
	pthread_mutex_lock(&shared.lock);
	while (shared.running > 0)
		pthread_cond_wait(&shared.changed, &shared.lock);
	assert_int_equal(shared.done, BURSTS * EACH);
	assert_int_equal(shared.wrong, 0);
	pthread_mutex_unlock(&shared.lock);
}

static void count_done(struct kv_client_call *call)
{
	struct burst *burst = (struct burst *)call;
	burst_ended(burst->shared);
}

static void test_closing_completes_calls_under_way(void **state)
{
	struct fixture *f = *state;
	f->nodes[0].silent = true;
	struct burst_shared shared = {f->client, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 3, 0, 0};
	struct burst bursts[3];
	for (unsigned i = 0; i < 3; i++) {
		bursts[i].get = a_get("k");
		bursts[i].shared = &shared;
		bursts[i].call = (struct kv_client_call){.method = CLIENT_GET,
							 .request = &bursts[i].get.base,
							 .endpoint = CLIENT_ANY_ENDPOINT,
							 .done = count_done};
		assert_int_equal(kv_client_start(f->client, &bursts[i].call), 0);
	}
	kv_client_close(&f->client);
	assert_int_equal(shared.running, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(bursts[i].call.reply.status, -ECANCELED);
}

static void test_closing_with_two_attempts_under_way_completes_the_call_once(void **state)
{
	struct fixture *f = *state;
	f->nodes[0].silent = f->nodes[1].silent = true;
	struct burst_shared shared = {f->client, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 1, 0, 0};
	struct burst burst = {.shared = &shared, .get = a_get("k")};
	burst.call = (struct kv_client_call){.method = CLIENT_GET,
					     .request = &burst.get.base,
					     .endpoint = CLIENT_ANY_ENDPOINT,
					     .timeout_ms = 20000,
					     .done = count_done};
	assert_int_equal(kv_client_start(f->client, &burst.call), 0);
	while (node_seen(&f->nodes[1]) == 0)
		sched_yield();
	kv_client_close(&f->client);
	assert_int_equal(shared.running, 0); /* a second time it would be UINT_MAX */
	assert_int_equal(burst.call.reply.status, -ECANCELED);
}

static void test_bad_endpoint_lists_are_refused(void **state)
{
	(void)state;
	static const char *const lists[][2] = {
		{"", "is empty"},     {"a:1,,b:2", "is empty"}, {"localhost", "no port"},
		{"a:1,b", "no port"}, {"a:0", "1 to 65535"},    {"a:1 b:2", "put a comma"},
	};
	for (unsigned i = 0; i < 5; i++) {
		struct kv_client_options options = {.endpoints = lists[i][0]};
		struct kv_client *client = NULL;
		struct rpc_error error = {""};
		assert_int_equal(kv_client_open(&options, &client, &error), -EINVAL);
		assert_null(client);
		assert_non_null(strstr(error.text, lists[i][1]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_NODES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		WITH_NODES(test_a_get_returns_siblings_and_context),
		WITH_NODES(test_batches_return_a_result_for_each),
		WITH_NODES(test_an_unavailable_node_is_passed_over_with_the_same_operation_id),
		WITH_NODES(test_an_operation_id_of_the_callers_is_used),
		WITH_NODES(test_a_lost_connection_repeats_puts_elsewhere),
		WITH_NODES(test_refusals_are_reported_as_they_are),
		WITH_NODES(test_no_answer_leaves_a_put_in_doubt_and_a_get_not),
		WITH_NODES(test_a_silent_node_is_passed_over_after_its_share_of_the_time),
		WITH_NODES(test_a_silent_node_is_remembered_by_a_client_that_takes_turns),
		WITH_NODES(test_the_node_that_was_asked_first_may_still_answer_first),
		WITH_NODES(test_a_refusal_does_not_speak_for_a_node_that_is_silent),
		WITH_NODES(test_what_may_not_be_repeated_waits_for_its_node),
		WITH_NODES(test_nobody_there_names_all_nodes),
		WITH_NODES(test_an_answer_that_does_not_decode_is_an_error),
		WITH_NODES(test_describe_asks_exactly_one_node),
		WITH_NODES(test_many_calls_under_way_each_get_their_own_answer),
		WITH_NODES(test_closing_completes_calls_under_way),
		WITH_NODES(test_closing_with_two_attempts_under_way_completes_the_call_once),
		cmocka_unit_test(test_bad_endpoint_lists_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
