/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of client.h that wait: rounds through the nodes, until one gives the call an outcome or the time is over. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "tools/client/client_call.h"
#include "tools/client/client_method.h"
#include "tools/client/client_reply.h"

enum { RETRY_PAUSE_MS = 50 }; /* between two rounds through all nodes */

struct waiting_call {
	struct kv_client_call call;
	bool GUARDED finished; /* by the client's lock */
};

static void waiting_on_done(struct kv_client_call *call)
{
	struct waiting_call *waiting = caa_container_of(call, struct waiting_call, call);
	struct kv_client *client = call->client;
	lock_take(&client->lock);
	waiting->finished = true;
	pthread_cond_broadcast(&client->changed);
	lock_release(&client->lock);
}

static void waiting_join(struct waiting_call *waiting)
{
	struct kv_client *client = waiting->call.client;
	lock_take(&client->lock);
	while (!waiting->finished)
		lock_wait(&client->lock, &client->changed);
	waiting->finished = false; /* for the next round */
	lock_release(&client->lock);
}

/* Until a connection comes or goes, at most RETRY_PAUSE_MS. */
static void wait_a_little(struct kv_client *client)
{
	struct timespec until = client_timespec(rpc_now_us() + RETRY_PAUSE_MS * 1000);
	lock_take(&client->lock);
	(void)lock_wait_until(&client->lock, &client->changed, until);
	lock_release(&client->lock);
}

/* One round through the nodes; returns when it has an outcome. */
static int waiting_round(struct waiting_call *waiting)
{
	struct kv_client_call *call = &waiting->call;
	int status = kv_client_call_begin_round(call);
	if (status < 0) {
		kv_client_reply_fail(call, status);
		return status;
	}
	waiting_join(waiting);
	return call->reply.status;
}

/* For people: which nodes were meant, and what is wrong with each. */
static void explain(const struct kv_client *client, struct kv_client_reply *reply, enum kv_client_method method,
		    int endpoint)
{
	char list[sizeof reply->text] = "", text[CLIENT_EXPLAIN_SIZE];
	unsigned first = endpoint == CLIENT_ANY_ENDPOINT ? 0 : (unsigned)endpoint;
	unsigned end = endpoint == CLIENT_ANY_ENDPOINT ? client->endpoint_count : first + 1;
	for (unsigned i = first; i < end; i++) {
		size_t size = strlen(list);
		kv_client_endpoint_explain(client, i, text);
		snprintf(list + size, sizeof list - size, "%s%s", i == first ? "" : "; ", text);
	}
	if (end - first == 1)
		kv_client_reply_say(reply, "%s: %s", kv_client_method_row(method)->name, list);
	else
		kv_client_reply_say(reply, "%s: none of the %u nodes could be reached: %s",
				    kv_client_method_row(method)->name, end - first, list);
}

static int call_and_wait(struct kv_client *client, enum kv_client_method method, int endpoint,
			 const ProtobufCMessage *request, struct kv_client_reply *reply_out)
{
	struct waiting_call waiting = {
		.call = {.method = method, .request = request, .endpoint = endpoint, .done = waiting_on_done}};
	struct kv_client_call *call = &waiting.call;
	int status = kv_client_call_prepare(client, call);
	if (status < 0)
		kv_client_reply_fail(call, status);
	uint64_t give_up_us = rpc_now_us() + (uint64_t)client->options.connect_ms * 1000;
	while (status == 0) {
		status = waiting_round(&waiting);
		uint64_t now = rpc_now_us();
		if (!kv_client_call_worth_repeating(call, status) || now >= give_up_us || now >= call->deadline_us)
			break;
		wait_a_little(client);
		status = 0;
	}
	if (status == -EHOSTUNREACH && call->reply.attempts == 0)
		explain(client, &call->reply, method, endpoint);
	*reply_out = call->reply;
	return reply_out->status;
}

int kv_client_put(struct kv_client *client, const Kvring__V1__PutRequest *request, struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_PUT, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_get(struct kv_client *client, const Kvring__V1__GetRequest *request, struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_GET, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_delete(struct kv_client *client, const Kvring__V1__PutRequest *request, struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_DELETE, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_batch_put(struct kv_client *client, const Kvring__V1__BatchPutRequest *request,
			struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_BATCH_PUT, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_batch_get(struct kv_client *client, const Kvring__V1__BatchGetRequest *request,
			struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_BATCH_GET, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_status(struct kv_client *client, struct kv_client_reply *reply)
{
	static const Kvring__V1__StatusRequest request = KVRING__V1__STATUS_REQUEST__INIT;
	return call_and_wait(client, CLIENT_STATUS, CLIENT_ANY_ENDPOINT, &request.base, reply);
}

int kv_client_ring(struct kv_client *client, const Kvring__V1__RingRequest *request, struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_RING, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_init_cluster(struct kv_client *client, const Kvring__V1__InitRequest *request,
			   struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_INIT_CLUSTER, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_set_rack(struct kv_client *client, const Kvring__V1__SetRackRequest *request,
		       struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_SET_RACK, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_plan_change(struct kv_client *client, const Kvring__V1__ChangeRequest *request,
			  struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_PLAN_CHANGE, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_commit_change(struct kv_client *client, const Kvring__V1__ChangeRequest *request,
			    struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_COMMIT_CHANGE, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_abort_change(struct kv_client *client, const Kvring__V1__AbortRequest *request,
			   struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_ABORT_CHANGE, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_force_ring(struct kv_client *client, const Kvring__V1__ForceRequest *request,
			 struct kv_client_reply *reply)
{
	return call_and_wait(client, CLIENT_FORCE_RING, CLIENT_ANY_ENDPOINT, &request->base, reply);
}

int kv_client_describe(struct kv_client *client, unsigned endpoint, struct kv_client_reply *reply)
{
	static const Kvring__V1__DescribeRequest request = KVRING__V1__DESCRIBE_REQUEST__INIT;
	return call_and_wait(client, CLIENT_DESCRIBE, (int)endpoint, &request.base, reply);
}

int kv_client_status_of(struct kv_client *client, unsigned endpoint, struct kv_client_reply *reply)
{
	static const Kvring__V1__StatusRequest request = KVRING__V1__STATUS_REQUEST__INIT;
	return call_and_wait(client, CLIENT_STATUS, (int)endpoint, &request.base, reply);
}

int kv_client_health(struct kv_client *client, unsigned endpoint, struct kv_client_reply *reply)
{
	static const Kvring__V1__HealthRequest request = KVRING__V1__HEALTH_REQUEST__INIT;
	return call_and_wait(client, CLIENT_HEALTH, (int)endpoint, &request.base, reply);
}
