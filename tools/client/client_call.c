/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/client/client_call.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "rpc/operation_id.h"
#include "tools/client/client_method.h"
#include "tools/client/client_patience.h"
#include "tools/client/client_reply.h"

enum {
	ANSWER_MS_MAX = 100,           /* of the time that is left, for the answer to come back; at most a tenth */
	PATIENCE_US_MAX = 1000 * 1000, /* until one more node is asked, however long the call may take */
	AVOID_US = 5 * 1000 * 1000,    /* for so long a silent node is passed over; then one call tries it */
};

struct kv_client_attempt {
	struct rpc_pending pending;
	struct kv_client *client;
	unsigned endpoint;
	uint32_t left_ms;               /* of the call when the attempt began */
	struct kv_client_call *call;    /* under lock; NULL: the call has ended */
	struct kv_client_attempt *next; /* under lock: of the same call */
};

/* ---- one attempt ------------------------------------------------------------------------------------------------ */

static void attempt_on_done(struct rpc_pending *);

static uint32_t left_ms_of(const struct kv_client_call *call)
{
	uint64_t now = rpc_now_us();
	return now >= call->deadline_us ? 0 : (uint32_t)((call->deadline_us - now + 999) / 1000);
}

/* The deadline that the node is given. A node that gives up answers what became of a write, and that answer must arrive in time. */
static uint32_t node_ms(uint32_t left_ms)
{
	uint32_t tenth = left_ms / 10;
	return left_ms - (tenth < ANSWER_MS_MAX ? tenth : ANSWER_MS_MAX);
}

static int encode(const struct kv_client_call *call, uint32_t left_ms, struct rpc_message **out)
{
	const struct kv_client_method_row *method = kv_client_method_row(call->method);
	struct rpc_request head = {
		.protocol_version = RPC_PROTOCOL_VERSION,
		.method = {(const uint8_t *)method->name, strlen(method->name)},
		.has_operation_id = method->writes,
		.deadline_ms = node_ms(left_ms),
		.attempt = call->reply.attempts + 1,
		.sent_us = rpc_sent_us(),
	};
	memcpy(head.operation_id, call->reply.operation_id, sizeof head.operation_id);
	return rpc_request_encode(&head, call->request, out);
}

static int encode_within_limit(const struct kv_client_call *call, uint32_t left_ms, struct rpc_message **out)
{
	int status = encode(call, left_ms, out);
	if (status == 0 && rpc_message_bytes(*out).size > RPC_CLIENT_MESSAGE_MAX) {
		rpc_message_free(*out);
		status = -EMSGSIZE;
	}
	return status;
}

static unsigned candidate_count(const struct kv_client_call *call)
{
	return call->endpoint == CLIENT_ANY_ENDPOINT ? call->client->endpoint_count : 1;
}

/* Enters an attempt at call->current: from now on another thread may take the call. */
static struct kv_client_attempt *attempt_add(struct kv_client *client, struct kv_client_call *call, uint32_t left_ms)
	REQUIRES(client->lock)
{
	struct kv_client_attempt *attempt = calloc(1, sizeof *attempt);
	if (attempt == NULL)
		return NULL;
	attempt->pending.done = attempt_on_done;
	attempt->client = client;
	attempt->endpoint = call->current;
	attempt->left_ms = left_ms;
	attempt->call = call;
	attempt->next = call->attempts;
	call->attempts = attempt;
	call->reply.attempts++;
	return attempt;
}

/* Under lock. */
static void attempt_remove(struct kv_client_attempt *attempt)
{
	struct kv_client_attempt **at = &attempt->call->attempts;
	while (*at != attempt)
		at = &(*at)->next;
	*at = attempt->next;
}

/* Each of the nodes that are left gets the same share of the time. */
static void set_patience(struct kv_client *client, struct kv_client_call *call, uint32_t left_ms) REQUIRES(client->lock)
{
	unsigned untried = candidate_count(call) - call->tried;
	uint64_t share_us = (uint64_t)left_ms * 1000 / (untried + 1);
	if (untried > 0 && !client->options.patient && kv_client_method_row(call->method)->repeatable)
		kv_client_patience_set(client, call,
				       rpc_now_us() + (share_us < PATIENCE_US_MAX ? share_us : PATIENCE_US_MAX));
	else
		kv_client_patience_clear(client, call);
}

/* An attempt at call->current, and what it says. */
static int attempt_make(struct kv_client *client, struct kv_client_call *call, struct kv_client_attempt **out,
			struct rpc_message **message_out) REQUIRES(client->lock)
{
	uint32_t left_ms = left_ms_of(call);
	call->reply.endpoint = call->current;
	/* Also when the time is over: nobody there is another trouble than no answer. */
	if (!rpc_link_connected(client->endpoints[call->current].link))
		return -EHOSTUNREACH;
	if (left_ms == 0)
		return -ETIMEDOUT;
	int status = encode_within_limit(call, left_ms, message_out);
	if (status < 0)
		return status;
	*out = attempt_add(client, call, left_ms);
	if (*out == NULL) {
		rpc_message_free(*message_out);
		return -ENOMEM;
	}
	set_patience(client, call, left_ms);
	return 0;
}

/* The link did not take the attempt. False: another one, made meanwhile, has settled the call. */
static bool attempt_withdraw(struct kv_client *client, struct kv_client_attempt *attempt) REQUIRES(client->lock)
{
	struct kv_client_call *call = attempt->call;
	(void)client;
	if (call != NULL) {
		attempt_remove(attempt);
		call->reply.attempts--;
	}
	free(attempt);
	return call != NULL;
}

/* ---- which node -------------------------------------------------------------------------------------------------- */

/* The endpoint has used up a call's patience, or its time. */
static void avoid(struct kv_client *client, unsigned endpoint) REQUIRES(client->lock)
{
	client->endpoints[endpoint].avoided_until_us = rpc_now_us() + AVOID_US;
}

static bool is_avoided(const struct kv_client *client, unsigned endpoint, uint64_t now_us) REQUIRES(client->lock)
{
	return client->endpoints[endpoint].avoided_until_us > now_us;
}

/* The next node of the round: the first from `call->current` on that was not asked in it and is not avoided;
 * when all that are left are avoided, the first of them. */
static void choose_next(struct kv_client *client, struct kv_client_call *call) REQUIRES(client->lock)
{
	uint64_t now_us = rpc_now_us();
	unsigned chosen = client->endpoint_count;
	for (unsigned i = 0; i < client->endpoint_count; i++) {
		unsigned index = (call->current + i) % client->endpoint_count;
		if (call->asked >> index & 1)
			continue;
		if (chosen == client->endpoint_count)
			chosen = index;
		if (!is_avoided(client, index, now_us)) {
			chosen = index;
			break;
		}
	}
	assert(chosen < client->endpoint_count);
	call->current = chosen;
	/* Its time is over: this call tries it, and the others wait for what comes of it. */
	if (client->endpoints[chosen].avoided_until_us != 0)
		avoid(client, chosen);
}

/* Asks the first of the nodes that are left which takes the request. An error: no attempt is under way, and the call is the
 * caller's. */
static int ask_next(struct kv_client *client, struct kv_client_call *call) RELEASES(client->lock)
{
	int status = -EHOSTUNREACH;
	while (call->tried < candidate_count(call) && (status == -EHOSTUNREACH || status == -EAGAIN)) {
		struct kv_client_attempt *attempt;
		struct rpc_message *message;
		if (call->endpoint == CLIENT_ANY_ENDPOINT)
			choose_next(client, call);
		call->asked |= UINT64_C(1) << call->current;
		call->tried++;
		status = attempt_make(client, call, &attempt, &message);
		if (status < 0)
			continue;
		lock_release(&client->lock);
		status = rpc_link_call(client->endpoints[attempt->endpoint].link, message, attempt->left_ms,
				       &attempt->pending);
		if (status == 0) /* the call is in other hands */
			return 0;
		lock_take(&client->lock);
		if (!attempt_withdraw(client, attempt)) {
			lock_release(&client->lock);
			return 0;
		}
	}
	if (call->attempts != NULL)
		status = 0;
	else
		kv_client_patience_clear(client, call);
	lock_release(&client->lock);
	return status;
}

/* ---- outcomes ---------------------------------------------------------------------------------------------------- */

/* Calls that begin now are better off with another node than this one. */
static void prefer_another(struct kv_client *client, unsigned endpoint)
{
	atomic_compare_exchange_strong(&client->preferred, &endpoint, (endpoint + 1) % client->endpoint_count);
}

/* May another node be asked after this outcome? C2 stands here. */
static bool may_go_on(const struct kv_client_call *call, int status)
{
	if (call->tried >= candidate_count(call))
		return false;
	if (status == -EHOSTUNREACH) /* not sent, or the node said that it did nothing */
		return true;
	return status == -ECONNRESET && kv_client_method_row(call->method)->repeatable;
}

/* Does the outcome of one attempt end the call, or may others still answer? */
static bool settles(const struct kv_client_call *call, int status)
{
	bool no_answer =
		status == -EHOSTUNREACH || status == -ECONNRESET || status == -ETIMEDOUT || status == -ECANCELED;
	return !no_answer || (call->attempts == NULL && !may_go_on(call, status));
}

/* The call takes leave of the attempts that are still under way. */
static void leave_attempts(struct kv_client *client, struct kv_client_call *call) REQUIRES(client->lock)
{
	if (call->attempts != NULL && kv_client_method_row(call->method)->writes)
		call->reply.in_doubt = true;
	for (; call->attempts != NULL; call->attempts = call->attempts->next)
		call->attempts->call = NULL;
	kv_client_patience_clear(client, call);
}

/* After an outcome that does not settle the call. */
static void go_on(struct kv_client *client, struct kv_client_call *call, unsigned endpoint, int status)
	RELEASES(client->lock)
{
	bool perhaps_executed = status == -ECONNRESET || status == -ETIMEDOUT;
	if (perhaps_executed && kv_client_method_row(call->method)->writes)
		call->reply.in_doubt = true;
	prefer_another(client, endpoint);
	if (!may_go_on(call, status)) {
		lock_release(&client->lock);
		return;
	}
	status = ask_next(client, call);
	if (status == 0)
		return;
	kv_client_reply_fail(call, status);
	call->done(call);
}

static int status_of(const struct rpc_pending *pending)
{
	struct rpc_response response;
	if (pending->status < 0)
		return pending->status;
	if (rpc_response_decode(rpc_message_bytes(pending->response), &response, NULL) < 0)
		return -EBADMSG;
	return kv_client_reply_status_of(response.code);
}

static void attempt_on_done(struct rpc_pending *pending)
{
	struct kv_client_attempt *attempt = caa_container_of(pending, struct kv_client_attempt, pending);
	struct kv_client *client = attempt->client;
	struct rpc_message *response = pending->status == 0 ? pending->response : NULL;
	unsigned endpoint = attempt->endpoint;
	int status = status_of(pending);
	lock_take(&client->lock);
	struct kv_client_call *call = attempt->call;
	bool settled = false;
	if (response != NULL)
		client->endpoints[endpoint].avoided_until_us = 0;
	else if (status == -ETIMEDOUT)
		avoid(client, endpoint);
	if (call != NULL) {
		attempt_remove(attempt);
		settled = settles(call, status);
		if (settled) {
			leave_attempts(client, call);
			call->reply.endpoint = endpoint;
		}
	}
	free(attempt);
	if (call != NULL && !settled)
		go_on(client, call, endpoint, status);
	else
		lock_release(&client->lock);
	if (settled && response != NULL)
		kv_client_reply_take(call, rpc_message_bytes(response));
	else if (settled)
		kv_client_reply_fail(call, status);
	rpc_message_free(response);
	if (settled)
		call->done(call);
}

void kv_client_call_on_due(struct kv_client *client, struct kv_client_call *call)
{
	avoid(client, call->current);
	prefer_another(client, call->current);
	int status = ask_next(client, call);
	if (status == 0)
		return;
	kv_client_reply_fail(call, status);
	call->done(call);
}

/* ---- starting --------------------------------------------------------------------------------------------------- */

int kv_client_operation_id(uint8_t id_out[RPC_OPERATION_ID_SIZE])
{
	struct timespec now;
	uint8_t random[OPERATION_ID_RANDOM_SIZE];
	clock_gettime(CLOCK_REALTIME, &now);
	if (getrandom(random, sizeof random, 0) != sizeof random)
		return -EIO;
	rpc_operation_id_make((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, random, id_out);
	return 0;
}

static int operation_id_choose(const struct kv_client_call *call, uint8_t id[RPC_OPERATION_ID_SIZE])
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
	return kv_client_operation_id(id);
}

int kv_client_call_prepare(struct kv_client *client, struct kv_client_call *call)
{
	assert(call->done != NULL);
	assert(call->request->descriptor == kv_client_method_row(call->method)->request);
	call->client = client;
	call->reply = (struct kv_client_reply){0};
	call->attempts = NULL;
	call->patience_us = 0;
	call->tried = 0;
	call->asked = 0;
	uint32_t timeout_ms = call->timeout_ms == 0 ? client->options.timeout_ms : call->timeout_ms;
	call->deadline_us = rpc_now_us() + (uint64_t)timeout_ms * 1000;
	if (call->endpoint != CLIENT_ANY_ENDPOINT) {
		if (call->endpoint < 0 || (unsigned)call->endpoint >= client->endpoint_count)
			return -EINVAL;
		call->current = (unsigned)call->endpoint;
	} else if (client->options.spread) {
		call->current = atomic_fetch_add(&client->preferred, 1) % client->endpoint_count;
	} else {
		call->current = atomic_load(&client->preferred) % client->endpoint_count;
	}
	return kv_client_method_row(call->method)->writes ? operation_id_choose(call, call->reply.operation_id) : 0;
}

int kv_client_call_begin_round(struct kv_client_call *call)
{
	call->tried = 0;
	call->asked = 0;
	kv_client_reply_release(&call->reply);
	struct kv_client *client = call->client;
	lock_take(&client->lock);
	return ask_next(client, call);
}

bool kv_client_call_worth_repeating(const struct kv_client_call *call, int status)
{
	return status == -EHOSTUNREACH || status == -EAGAIN ||
	       (status == -ECONNRESET && kv_client_method_row(call->method)->repeatable);
}

int kv_client_start(struct kv_client *client, struct kv_client_call *call)
{
	int status = kv_client_call_prepare(client, call);
	return status < 0 ? status : kv_client_call_begin_round(call);
}
