/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/client/client.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "rpc/operation_id.h"

enum {
	TIMEOUT_MS_DEFAULT = 5000,
	CONNECT_MS_DEFAULT = 2000,
	OUTSTANDING_DEFAULT = 1024,
	RETRY_PAUSE_MS = 50,      /* between rounds through all nodes, in a synchronous call */
	ANSWER_MS_MAX = 100,      /* of the time that is left, for the answer to come back; at most a tenth */
	ARENA_FIRST_SIZE = 2048,  /* bytes */
	ARENA_BASE = 1024 * 1024, /* bytes that any answer may take in memory */
	ARENA_FACTOR = 40,        /* and bytes per byte of it */
};

struct endpoint {
	char *address;
	struct client *client;
	struct rpc_link *link;
};

struct client {
	struct client_options options;
	struct endpoint endpoints[CLIENT_ENDPOINTS_MAX];
	unsigned endpoint_count;
	atomic_uint preferred; /* index asked first */

	/* Raised whenever a connection comes or goes; callers wait on it. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

/* ---- methods --------------------------------------------------------------------------------------------------- */

struct method {
	const char *name;
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *response;
	bool writes;     /* may leave its sender in doubt */
	bool repeatable; /* C2: harmless when it is executed twice */
};

static const struct method methods[CLIENT_METHOD_COUNT] = {
	[CLIENT_PUT] = {"kvring.v1.Kv/Put", &kvring__v1__put_request__descriptor, &kvring__v1__put_response__descriptor,
			true, true},
	[CLIENT_GET] = {"kvring.v1.Kv/Get", &kvring__v1__get_request__descriptor, &kvring__v1__get_response__descriptor,
			false, true},
	[CLIENT_DELETE] = {"kvring.v1.Kv/Delete", &kvring__v1__put_request__descriptor,
			   &kvring__v1__put_response__descriptor, true, true},
	[CLIENT_BATCH_PUT] = {"kvring.v1.Kv/BatchPut", &kvring__v1__batch_put_request__descriptor,
			      &kvring__v1__batch_put_response__descriptor, true, true},
	[CLIENT_BATCH_GET] = {"kvring.v1.Kv/BatchGet", &kvring__v1__batch_get_request__descriptor,
			      &kvring__v1__batch_get_response__descriptor, false, true},
	[CLIENT_INIT_CLUSTER] = {"kvring.v1.Admin/InitCluster", &kvring__v1__init_request__descriptor,
				 &kvring__v1__init_response__descriptor, true, false},
	[CLIENT_DESCRIBE] = {"kvring.v1.Admin/Describe", &kvring__v1__describe_request__descriptor,
			     &kvring__v1__node_status__descriptor, false, true},
	[CLIENT_STATUS] = {"kvring.v1.Admin/Status", &kvring__v1__status_request__descriptor,
			   &kvring__v1__status_response__descriptor, false, true},
	[CLIENT_RING] = {"kvring.v1.Admin/Ring", &kvring__v1__ring_request__descriptor,
			 &kvring__v1__ring_response__descriptor, false, true},
	[CLIENT_HEALTH] = {"kvring.v1.Health/Check", &kvring__v1__health_request__descriptor,
			   &kvring__v1__health_response__descriptor, false, true},
};

/* ---- outcomes --------------------------------------------------------------------------------------------------- */

static uint32_t code_from_status(int status)
{
	switch (status) {
	case 0:
		return KVRING__V1__CODE__OK;
	case -ETIMEDOUT:
		return KVRING__V1__CODE__DEADLINE_EXCEEDED;
	case -EHOSTUNREACH:
		return KVRING__V1__CODE__UNAVAILABLE;
	case -EAGAIN:
	case -ENOMEM:
		return KVRING__V1__CODE__RESOURCE_EXHAUSTED;
	case -EINVAL:
	case -EMSGSIZE:
		return KVRING__V1__CODE__INVALID_ARGUMENT;
	case -EBADMSG:
		return KVRING__V1__CODE__DATA_LOSS;
	case -ECANCELED:
		return KVRING__V1__CODE__CANCELLED;
	default:
		return KVRING__V1__CODE__UNKNOWN;
	}
}

static int status_from_code(uint32_t code)
{
	switch (code) {
	case KVRING__V1__CODE__OK:
		return 0;
	case KVRING__V1__CODE__INVALID_ARGUMENT:
		return -EINVAL;
	case KVRING__V1__CODE__DEADLINE_EXCEEDED:
		return -ETIMEDOUT;
	case KVRING__V1__CODE__RESOURCE_EXHAUSTED:
		return -EAGAIN;
	case KVRING__V1__CODE__UNAVAILABLE:
		return -EHOSTUNREACH;
	default:
		return -EREMOTEIO;
	}
}

static const char *code_name(uint32_t code)
{
	const ProtobufCEnumValue *value =
		protobuf_c_enum_descriptor_get_value(&kvring__v1__code__descriptor, (int)code);
	return value == NULL ? "unknown code" : value->name;
}

static const char *transport_text(int status)
{
	switch (status) {
	case -ETIMEDOUT:
		return "no answer in time";
	case -EHOSTUNREACH:
		return "not connected; is the node running there, and is this its client port?";
	case -ECONNRESET:
		return "the connection was lost while waiting for the answer";
	case -EAGAIN:
		return "too many calls under way";
	case -ECANCELED:
		return "the client was closed";
	case -EMSGSIZE:
		return "the request is larger than the 17 MiB a node takes; a value may have 8 MiB";
	default:
		return strerror(-status);
	}
}

static const struct endpoint *call_endpoint(const struct client_call *call)
{
	return &call->client->endpoints[call->current];
}

/* What does not fit ends in "...": a reader must see that there is more. */
__attribute__((format(printf, 2, 3))) static void reply_say(struct client_reply *reply, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int size = vsnprintf(reply->text, sizeof(reply->text), format, arguments);
	va_end(arguments);
	if (size >= (int)sizeof(reply->text))
		memcpy(reply->text + sizeof(reply->text) - 4, "...", 4);
}

static void reply_fail(struct client_call *call, int status)
{
	struct client_reply *reply = &call->reply;
	const struct method *method = &methods[call->method];
	reply->status = status;
	reply->code = code_from_status(status);
	bool executed_perhaps =
		status == -ETIMEDOUT || status == -ECONNRESET || status == -ECANCELED || status == -EBADMSG;
	reply->in_doubt = method->writes && (reply->in_doubt || (executed_perhaps && reply->attempts > 0));
	reply_say(reply, "%s at %s: %s%s", method->name, call_endpoint(call)->address, transport_text(status),
		  reply->in_doubt ? "; it may have been executed" : "");
}

void client_reply_release(struct client_reply *reply)
{
	arena_unref(reply->arena);
	reply->arena = NULL;
	reply->body = NULL;
}

/* ---- one attempt ------------------------------------------------------------------------------------------------ */

static uint32_t call_left_ms(const struct client_call *call)
{
	uint64_t now = rpc_now_us();
	return now >= call->deadline_us ? 0 : (uint32_t)((call->deadline_us - now + 999) / 1000);
}

/* What the node is given. A node that gives up says what became of a write, and its answer must come in time. */
static uint32_t node_ms(uint32_t left_ms)
{
	uint32_t tenth = left_ms / 10;
	return left_ms - (tenth < ANSWER_MS_MAX ? tenth : ANSWER_MS_MAX);
}

static int call_encode(const struct client_call *call, uint32_t left_ms, struct rpc_message **out)
{
	const char *name = methods[call->method].name;
	struct rpc_request head = {
		.protocol_version = RPC_PROTOCOL_VERSION,
		.method = {(const uint8_t *)name, strlen(name)},
		.has_operation_id = methods[call->method].writes,
		.deadline_ms = node_ms(left_ms),
		.attempt = call->reply.attempts + 1,
		.sent_us = rpc_sent_us(),
	};
	memcpy(head.operation_id, call->reply.operation_id, sizeof(head.operation_id));
	return rpc_request_encode(&head, call->request, out);
}

/* Asks the node at call->current. */
static int call_send(struct client_call *call)
{
	uint32_t left_ms = call_left_ms(call);
	struct rpc_link *link = call_endpoint(call)->link;
	if (!rpc_link_connected(link)) /* also when the time is over: nobody there is another trouble than no answer */
		return -EHOSTUNREACH;
	if (left_ms == 0)
		return -ETIMEDOUT;
	struct rpc_message *message;
	int status = call_encode(call, left_ms, &message);
	if (status < 0)
		return status;
	if (rpc_message_bytes(message).size > RPC_CLIENT_MESSAGE_MAX) {
		rpc_message_free(message);
		return -EMSGSIZE;
	}
	/* Counted and named before the send: the answer may be there before the call returns. */
	call->reply.attempts++;
	call->reply.endpoint = call->current;
	status = rpc_link_call(link, message, left_ms, &call->pending);
	if (status < 0)
		call->reply.attempts--;
	return status;
}

/* Asks the first node that takes the request, from call->current on, each at most once per round. */
static int call_send_somewhere(struct client_call *call)
{
	struct client *client = call->client;
	unsigned candidates = call->endpoint == CLIENT_ANY_ENDPOINT ? client->endpoint_count : 1;
	int status = -EHOSTUNREACH;
	while (call->tried < candidates) {
		call->tried++;
		status = call_send(call);
		if (status != -EHOSTUNREACH && status != -EAGAIN)
			return status;
		if (call->tried < candidates)
			call->current = (call->current + 1) % client->endpoint_count;
	}
	return status;
}

static int reply_decode(struct client_call *call, const struct rpc_response *response, struct rpc_error *error_out)
{
	struct client_reply *reply = &call->reply;
	reply->arena = arena_create(ARENA_FIRST_SIZE, ARENA_BASE + ARENA_FACTOR * response->body.size);
	if (reply->arena == NULL)
		return -ENOMEM;
	reply->body = rpc_body_decode(methods[call->method].response, response->body, reply->arena, error_out);
	if (reply->body != NULL)
		return 0;
	client_reply_release(reply);
	return -EBADMSG;
}

/* Fills in the reply from what a node answered. */
static void reply_take(struct client_call *call, struct rpc_slice bytes)
{
	struct client_reply *reply = &call->reply;
	struct rpc_response response;
	struct rpc_error error = {""};
	int status = rpc_response_decode(bytes, &response, &error);
	if (status == 0 && (response.code == KVRING__V1__CODE__OK || response.body.size > 0))
		status = reply_decode(call, &response, &error);
	if (status < 0) {
		reply_fail(call, status);
		reply_say(reply, "%s at %s: the answer does not decode: %s", methods[call->method].name,
			  call_endpoint(call)->address, error.text);
		return;
	}
	reply->ring_epoch = response.ring_epoch;
	reply->code = response.code;
	reply->status = status_from_code(response.code);
	reply->text[0] = '\0';
	/* A node that ran out of time may have written; one that answers anything else says what it did. */
	reply->in_doubt = methods[call->method].writes && reply->status < 0 &&
			  (reply->in_doubt || response.code == KVRING__V1__CODE__DEADLINE_EXCEEDED);
	if (reply->status < 0)
		reply_say(reply, "%s at %s: %s: %s%.*s", methods[call->method].name, call_endpoint(call)->address,
			  code_name(response.code), reply->in_doubt ? "it may have been executed: " : "",
			  (int)response.message.size, (const char *)response.message.data);
}

/* May another node be asked after this outcome? C2 stands here. */
static bool call_may_go_on(struct client_call *call, int status)
{
	if (call->endpoint != CLIENT_ANY_ENDPOINT || call->tried >= call->client->endpoint_count)
		return false;
	if (status == -EHOSTUNREACH) /* not sent, or the node said that it did nothing */
		return true;
	return status == -ECONNRESET && methods[call->method].repeatable;
}

static void call_on_done(struct rpc_pending *pending)
{
	struct client_call *call = (struct client_call *)((char *)pending - offsetof(struct client_call, pending));
	int status = pending->status;
	if (status == 0) {
		reply_take(call, rpc_message_bytes(pending->response));
		rpc_message_free(pending->response);
		status = call->reply.status;
	} else {
		reply_fail(call, status);
	}
	if (call_may_go_on(call, status)) {
		client_reply_release(&call->reply);
		atomic_compare_exchange_strong(&call->client->preferred, &(unsigned){call->current},
					       (call->current + 1) % call->client->endpoint_count);
		call->current = (call->current + 1) % call->client->endpoint_count;
		status = call_send_somewhere(call);
		if (status == 0)
			return;
		reply_fail(call, status);
	}
	call->done(call);
}

/* ---- starting --------------------------------------------------------------------------------------------------- */

int client_operation_id(uint8_t id_out[RPC_OPERATION_ID_SIZE])
{
	struct timespec now;
	uint8_t random[OPERATION_ID_RANDOM_SIZE];
	clock_gettime(CLOCK_REALTIME, &now);
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	operation_id_make((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, random, id_out);
	return 0;
}

static int operation_id_choose(const struct client_call *call, uint8_t id[RPC_OPERATION_ID_SIZE])
{
	if (call->method == CLIENT_PUT || call->method == CLIENT_DELETE) {
		const Kvring__V1__PutRequest *put = (const Kvring__V1__PutRequest *)call->request;
		if (put->operation_id.len == RPC_OPERATION_ID_SIZE) {
			memcpy(id, put->operation_id.data, RPC_OPERATION_ID_SIZE);
			return 0;
		}
		if (put->operation_id.len != 0)
			return -EINVAL;
	}
	return client_operation_id(id);
}

/* Everything up to the first attempt. */
static int call_prepare(struct client *client, struct client_call *call)
{
	assert(call->method < CLIENT_METHOD_COUNT && call->done != NULL);
	assert(call->request->descriptor == methods[call->method].request);
	call->client = client;
	call->reply = (struct client_reply){0};
	call->pending.done = call_on_done;
	uint32_t timeout_ms = call->timeout_ms == 0 ? client->options.timeout_ms : call->timeout_ms;
	call->deadline_us = rpc_now_us() + (uint64_t)timeout_ms * 1000;
	call->tried = 0;
	if (call->endpoint != CLIENT_ANY_ENDPOINT) {
		if (call->endpoint < 0 || (unsigned)call->endpoint >= client->endpoint_count)
			return -EINVAL;
		call->current = (unsigned)call->endpoint;
	} else if (client->options.spread) {
		call->current = atomic_fetch_add(&client->preferred, 1) % client->endpoint_count;
	} else {
		call->current = atomic_load(&client->preferred) % client->endpoint_count;
	}
	return methods[call->method].writes ? operation_id_choose(call, call->reply.operation_id) : 0;
}

int client_start(struct client *client, struct client_call *call)
{
	int status = call_prepare(client, call);
	return status < 0 ? status : call_send_somewhere(call);
}

/* ---- synchronous ------------------------------------------------------------------------------------------------ */

struct waiting_call {
	struct client_call call;
	bool finished; /* under the client's lock */
};

static void waiting_on_done(struct client_call *call)
{
	struct waiting_call *waiting = (struct waiting_call *)((char *)call - offsetof(struct waiting_call, call));
	struct client *client = call->client;
	pthread_mutex_lock(&client->lock);
	waiting->finished = true;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
}

static void waiting_join(struct waiting_call *waiting)
{
	struct client *client = waiting->call.client;
	pthread_mutex_lock(&client->lock);
	while (!waiting->finished)
		pthread_cond_wait(&client->changed, &client->lock);
	pthread_mutex_unlock(&client->lock);
}

static struct timespec timespec_of(uint64_t us)
{
	return (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
}

/* Until a connection comes or goes, at most RETRY_PAUSE_MS. */
static void client_pause(struct client *client)
{
	struct timespec until = timespec_of(rpc_now_us() + RETRY_PAUSE_MS * 1000);
	pthread_mutex_lock(&client->lock);
	pthread_cond_timedwait(&client->changed, &client->lock, &until);
	pthread_mutex_unlock(&client->lock);
}

/* One round through the nodes; returns when it has an outcome. */
static int waiting_round(struct waiting_call *waiting)
{
	struct client_call *call = &waiting->call;
	waiting->finished = false;
	call->tried = 0;
	client_reply_release(&call->reply);
	int status = call_send_somewhere(call);
	if (status < 0) {
		reply_fail(call, status);
		return status;
	}
	waiting_join(waiting);
	return call->reply.status;
}

static bool worth_another_round(const struct client_call *call, int status)
{
	return status == -EHOSTUNREACH || status == -EAGAIN ||
	       (status == -ECONNRESET && methods[call->method].repeatable);
}

/* For people: which nodes were meant, and what is wrong with each. */
static void reply_explain(const struct client *client, struct client_reply *reply, enum client_method method,
			  int endpoint)
{
	char list[sizeof(reply->text)] = "", text[CLIENT_EXPLAIN_SIZE];
	unsigned first = endpoint == CLIENT_ANY_ENDPOINT ? 0 : (unsigned)endpoint;
	unsigned end = endpoint == CLIENT_ANY_ENDPOINT ? client->endpoint_count : first + 1;
	for (unsigned i = first; i < end; i++) {
		size_t size = strlen(list);
		client_endpoint_explain(client, i, text);
		snprintf(list + size, sizeof(list) - size, "%s%s", i == first ? "" : "; ", text);
	}
	if (end - first == 1)
		reply_say(reply, "%s: %s", methods[method].name, list);
	else
		reply_say(reply, "%s: none of the %u nodes could be reached: %s", methods[method].name, end - first,
			  list);
}

static int call_and_wait(struct client *client, enum client_method method, int endpoint,
			 const ProtobufCMessage *request, struct client_reply *reply_out)
{
	struct waiting_call waiting = {
		.call = {.method = method, .request = request, .endpoint = endpoint, .done = waiting_on_done}};
	struct client_call *call = &waiting.call;
	int status = call_prepare(client, call);
	if (status < 0)
		reply_fail(call, status);
	uint64_t give_up_us = rpc_now_us() + (uint64_t)client->options.connect_ms * 1000;
	while (status == 0) {
		status = waiting_round(&waiting);
		uint64_t now = rpc_now_us();
		if (!worth_another_round(call, status) || now >= give_up_us || now >= call->deadline_us)
			break;
		client_pause(client);
		status = 0;
	}
	if (status == -EHOSTUNREACH && call->reply.attempts == 0)
		reply_explain(client, &call->reply, method, endpoint);
	*reply_out = call->reply;
	return reply_out->status;
}

int client_put(struct client *client, const Kvring__V1__PutRequest *request, struct client_reply *reply)
{
	return call_and_wait(client, CLIENT_PUT, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int client_get(struct client *client, const Kvring__V1__GetRequest *request, struct client_reply *reply)
{
	return call_and_wait(client, CLIENT_GET, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int client_delete(struct client *client, const Kvring__V1__PutRequest *request, struct client_reply *reply)
{
	return call_and_wait(client, CLIENT_DELETE, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int client_batch_put(struct client *client, const Kvring__V1__BatchPutRequest *request, struct client_reply *reply)
{
	return call_and_wait(client, CLIENT_BATCH_PUT, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int client_batch_get(struct client *client, const Kvring__V1__BatchGetRequest *request, struct client_reply *reply)
{
	return call_and_wait(client, CLIENT_BATCH_GET, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int client_status(struct client *client, struct client_reply *reply)
{
	static const Kvring__V1__StatusRequest request = KVRING__V1__STATUS_REQUEST__INIT;
	return call_and_wait(client, CLIENT_STATUS, CLIENT_ANY_ENDPOINT, &request.base, reply);
}

int client_ring(struct client *client, const Kvring__V1__RingRequest *request, struct client_reply *reply)
{
	return call_and_wait(client, CLIENT_RING, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int client_init_cluster(struct client *client, const Kvring__V1__InitRequest *request, struct client_reply *reply)
{
	return call_and_wait(client, CLIENT_INIT_CLUSTER, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int client_describe(struct client *client, unsigned endpoint, struct client_reply *reply)
{
	static const Kvring__V1__DescribeRequest request = KVRING__V1__DESCRIBE_REQUEST__INIT;
	return call_and_wait(client, CLIENT_DESCRIBE, (int)endpoint, &request.base, reply);
}

int client_health(struct client *client, unsigned endpoint, struct client_reply *reply)
{
	static const Kvring__V1__HealthRequest request = KVRING__V1__HEALTH_REQUEST__INIT;
	return call_and_wait(client, CLIENT_HEALTH, (int)endpoint, &request.base, reply);
}

/* ---- the client itself ------------------------------------------------------------------------------------------ */

static void on_connection(void *arg, bool connected)
{
	(void)connected;
	struct client *client = arg;
	pthread_mutex_lock(&client->lock);
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
}

unsigned client_endpoint_count(const struct client *client)
{
	return client->endpoint_count;
}

const char *client_endpoint(const struct client *client, unsigned index)
{
	assert(index < client->endpoint_count);
	return client->endpoints[index].address;
}

bool client_endpoint_connected(const struct client *client, unsigned index)
{
	assert(index < client->endpoint_count);
	return rpc_link_connected(client->endpoints[index].link);
}

/* The message of the resolver for the host of an address, NULL when it resolves. */
static const char *resolver_error(const char *address)
{
	const char *colon = strrchr(address, ':');
	bool bracketed = address[0] == '[';
	size_t size = colon == NULL ? strlen(address) : (size_t)(colon - address);
	char *host = strndup(address + bracketed, size - 2 * (size_t)bracketed);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	int error = host == NULL ? EAI_MEMORY : getaddrinfo(host, NULL, &hints, &found);
	free(host);
	if (error != 0)
		return gai_strerror(error);
	freeaddrinfo(found);
	return NULL;
}

void client_endpoint_explain(const struct client *client, unsigned index, char text_out[CLIENT_EXPLAIN_SIZE])
{
	const char *address = client_endpoint(client, index);
	if (client_endpoint_connected(client, index)) {
		snprintf(text_out, CLIENT_EXPLAIN_SIZE, "%s: connected", address);
		return;
	}
	const char *error = resolver_error(address);
	if (error != NULL)
		snprintf(text_out, CLIENT_EXPLAIN_SIZE, "%s: the host name does not resolve (%s): is it spelt right?",
			 address, error);
	else
		snprintf(text_out, CLIENT_EXPLAIN_SIZE, "%s: %s", address, transport_text(-EHOSTUNREACH));
}

static unsigned connected_count(const struct client *client)
{
	unsigned count = 0;
	for (unsigned i = 0; i < client->endpoint_count; i++)
		count += client_endpoint_connected(client, i);
	return count;
}

int client_wait_connected(struct client *client, unsigned count, uint32_t timeout_ms)
{
	struct timespec until = timespec_of(rpc_now_us() + (uint64_t)timeout_ms * 1000);
	int status = 0;
	if (count > client->endpoint_count)
		count = client->endpoint_count;
	pthread_mutex_lock(&client->lock);
	while (connected_count(client) < count && status == 0)
		status = -pthread_cond_timedwait(&client->changed, &client->lock, &until);
	if (connected_count(client) >= count)
		status = 0;
	pthread_mutex_unlock(&client->lock);
	return status;
}

/* Opens the link to one "HOST:PORT" of the list. */
static int endpoint_open(struct client *client, char *address, struct rpc_error *error_out)
{
	struct endpoint *endpoint = &client->endpoints[client->endpoint_count];
	struct rpc_link_options options = {
		.address = address,
		.message_max = RPC_CLIENT_MESSAGE_MAX,
		.outstanding_max = client->options.outstanding_max,
		.on_connection = on_connection,
		.arg = client,
	};
	int status = rpc_link_open(&options, &endpoint->link, error_out);
	if (status < 0)
		return status;
	endpoint->address = strdup(address);
	client->endpoint_count++;
	return endpoint->address == NULL ? -ENOMEM : 0;
}

static int endpoints_open(struct client *client, struct rpc_error *error_out)
{
	char *list = strdup(client->options.endpoints), *rest = list, *address;
	int status = list == NULL ? -ENOMEM : 0;
	while (status == 0 && (address = strsep(&rest, ",")) != NULL) {
		address += strspn(address, " \t");
		address[strcspn(address, " \t")] = '\0';
		if (client->endpoint_count == CLIENT_ENDPOINTS_MAX) {
			snprintf(error_out->text, sizeof(error_out->text), "more than %d endpoints",
				 CLIENT_ENDPOINTS_MAX);
			status = -EINVAL;
		} else {
			status = endpoint_open(client, address, error_out);
		}
	}
	if (status == -ENOMEM)
		snprintf(error_out->text, sizeof(error_out->text), "out of memory");
	free(list);
	return status;
}

static void options_fill(struct client_options *options)
{
	if (options->timeout_ms == 0)
		options->timeout_ms = TIMEOUT_MS_DEFAULT;
	if (options->connect_ms == 0)
		options->connect_ms = CONNECT_MS_DEFAULT;
	if (options->outstanding_max == 0)
		options->outstanding_max = OUTSTANDING_DEFAULT;
}

int client_open(const struct client_options *options, struct client **out, struct rpc_error *error_out)
{
	struct rpc_error ignored;
	struct rpc_error *error = error_out == NULL ? &ignored : error_out;
	struct client *client = calloc(1, sizeof *client);
	char *endpoints = strdup(options->endpoints == NULL ? "" : options->endpoints);
	if (client == NULL || endpoints == NULL) {
		free(client);
		free(endpoints);
		snprintf(error->text, sizeof(error->text), "out of memory");
		return -ENOMEM;
	}
	client->options = *options;
	client->options.endpoints = endpoints;
	options_fill(&client->options);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* that of rpc_now_us */
	pthread_cond_init(&client->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&client->lock, NULL);
	int status = endpoints_open(client, error);
	if (status < 0) {
		client_close(&client);
		return status;
	}
	*out = client;
	return 0;
}

void client_close(struct client **pointer)
{
	struct client *client = *pointer;
	if (client == NULL)
		return;
	*pointer = NULL;
	/* The links stay in place until all are closed: a call that fails on one may look at the next. */
	for (unsigned i = 0; i < client->endpoint_count; i++)
		rpc_link_stop(client->endpoints[i].link);
	for (unsigned i = 0; i < client->endpoint_count; i++) {
		rpc_link_close(&client->endpoints[i].link);
		free(client->endpoints[i].address);
	}
	pthread_cond_destroy(&client->changed);
	pthread_mutex_destroy(&client->lock);
	free((char *)client->options.endpoints);
	free(client);
}
