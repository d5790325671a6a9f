/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "node/wire/codec.h"
#include "node/driver/inbound.h"
#include "proto/kv.pb-c.h"
#include "node/object/limit.h"
#include "node/driver/hub.h"
#include "node/driver/peers.h"
#include "node/driver/worker.h"
#include "node/observe/log.h"
#include "rpc/operation_id.h"

enum {
	REFUSALS_INTERVAL_US = 60 * 1000 * 1000,
	SCRATCH_SIZE = 8 * 1024,
	DECODE_SLACK = 1024,
	/* What a request takes of memory while it is worked on, in its own size: as it came, decoded, encoded as an object, and
	 * once more for each of the peers. */
	COST_FACTOR = 6,
	COST_FIXED = 2048, /* bytes */
};

/* ---- NNG's threads: enqueue -------------------------------------------------------------------------------------- */

static void put(struct worker *worker, struct rpc_call *call)
{
	bool large = rpc_message_bytes(call->request).size > LIMIT_SMALL_SIZE;
	mailbox_put(&worker->mailbox, large ? MAIL_LARGE_CALL : MAIL_CALL, &call->mail);
	mailbox_wake(&worker->mailbox);
}

static struct worker *some_coordinator(struct hub *hub)
{
	uint32_t turn = atomic_fetch_add_explicit(&hub->next_coordinator, 1, memory_order_relaxed);
	return hub_coordinator(hub, turn)->worker;
}

/* Decoding a batch is work too: it goes round. What belongs to another shard is passed on. */
static struct worker *some_replica(struct hub *hub)
{
	uint32_t turn = atomic_fetch_add_explicit(&hub->next_replica, 1, memory_order_relaxed);
	return hub_replica(hub, turn % hub->node->shard_count)->worker;
}

static uint64_t cost_of(const struct rpc_call *call)
{
	return COST_FIXED + COST_FACTOR * (uint64_t)rpc_message_bytes(call->request).size;
}

static enum method method_of(const struct rpc_call *call)
{
	return call->malformed ? METHOD_UNKNOWN : codec_method(call->head.method);
}

/* On an NNG thread: at most one line and one event per minute, whoever comes first. */
static void tell_refused(struct hub *hub)
{
	uint64_t now_us = rpc_now_us(), again_us = atomic_load(&hub->refusals_told_us);
	if (now_us < again_us ||
	    !atomic_compare_exchange_strong(&hub->refusals_told_us, &again_us, now_us + REFUSALS_INTERVAL_US))
		return;
	uint64_t refused = atomic_load(&hub->budget->refused);
	uint64_t news = refused - atomic_exchange(&hub->refusals_told, refused);
	log_warn("inbound: overload, requests refused: their memory reached request-mb count=%" PRIu64, news);
	hub_tell(hub, &(struct node_event){.type = NODE_EVENT_OVERLOAD, .name = "request-mb", .count = news});
}

/* Takes the call into work, or refuses it. The budget, kept as the call's owner, tells which port it came by. */
static bool admit(struct rpc_budget *budget, struct rpc_call *call)
{
	uint64_t cost = cost_of(call);
	call->owner = budget;
	if (rpc_budget_take(budget, cost))
		return true;
	if (codec_method_is_small(method_of(call))) {
		rpc_budget_force(budget, cost);
		return true;
	}
	char text[160];
	snprintf(text, sizeof text,
		 "requests have reached this node's limit of memory (request-mb %llu): retry later or elsewhere",
		 (unsigned long long)(budget->limit >> 20));
	rpc_call_refuse(call, KVRING__V1__CODE__RESOURCE_EXHAUSTED, 0, text);
	return false;
}

/* Every call that was admitted ends in one of these two. */
static void end_with_reply(struct worker *worker, struct rpc_call *call, struct rpc_message *response)
{
	call->cork = &worker->cork;
	rpc_budget_give(call->owner, cost_of(call));
	rpc_call_reply(call, response);
}

static void end_with_refusal(struct worker *worker, struct rpc_call *call, uint32_t code, uint64_t epoch,
			     const char *text)
{
	call->cork = &worker->cork;
	rpc_budget_give(call->owner, cost_of(call));
	rpc_call_refuse(call, code, epoch, text);
}

void inbound_on_client(void *arg, struct rpc_call *call)
{
	struct hub *hub = arg;
	if (atomic_load_explicit(&hub->stopping, memory_order_relaxed))
		rpc_call_refuse(call, KVRING__V1__CODE__UNAVAILABLE, 0, "this node is stopping: ask another");
	else if (admit(hub->budget, call))
		put(some_coordinator(hub), call);
	else
		tell_refused(hub);
}

/* Looks at the envelope to find the right kind of worker; anything odd goes to a coordinator, which refuses it. */
void inbound_on_peer(void *arg, struct rpc_call *call)
{
	struct hub *hub = arg;
	if (!admit(hub->peer_budget, call))
		return;
	enum method method = method_of(call);
	if (method == METHOD_GOSSIP || method == METHOD_VOTE)
		put(hub_gossip(hub)->worker, call);
	else if (method == METHOD_STORE || method == METHOD_FETCH || method == METHOD_SCAN)
		put(some_replica(hub), call);
	else
		put(some_coordinator(hub), call);
}

void inbound_on_full(void *arg, const struct rpc_server_full *full)
{
	(void)arg;
	log_warn("inbound: all places for connections are taken port=%u limit=%u; most are from address=%s "
		 "connections=%u "
		 "refused=%" PRIu64
		 "; those without use give way, then those of the address that has most. To raise the "
		 "limit, raise the limit of open files (ulimit -n)",
		 full->port, full->connections_max, full->address, full->connections, full->refused);
}

void inbound_on_bus(void *arg, struct rpc_message *message)
{
	struct hub *hub = arg;
	struct bus_mail *mail = malloc(sizeof *mail);
	if (mail == NULL) {
		rpc_message_free(message); /* best effort by nature: the next round says it again */
		return;
	}
	mail->message = message;
	struct mailbox *mailbox = &hub_gossip(hub)->worker->mailbox;
	mailbox_put(mailbox, MAIL_BUS, &mail->mail);
	mailbox_wake(mailbox);
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static uint64_t epoch_of(struct worker *worker)
{
	const struct ring_view *view = ring_view_acquire(worker->hub->node->ring);
	uint64_t epoch = view->document != NULL ? ring_epoch(view->document) : 0;
	ring_view_release(worker->hub->node->ring, view);
	return epoch;
}

static void refuse(struct worker *worker, struct rpc_call *call, int error, const struct rpc_error *why)
{
	end_with_refusal(worker, call, codec_code(error), epoch_of(worker),
			 why->text[0] ? why->text : strerror(-error));
}

static uint64_t deadline_us(const struct rpc_call *call, uint32_t budget_ms)
{
	uint64_t ms = budget_ms == 0                  ? DEFAULT_DEADLINE_MS
		      : budget_ms < LIMIT_DEADLINE_MS ? budget_ms
						      : LIMIT_DEADLINE_MS;
	return call->received_us + ms * 1000;
}

/* Unique per call, for the operation ids of a client that sent none (and so gives up safe retries). */
static void fallback_id(struct worker *worker, uint8_t id_out[RPC_OPERATION_ID_SIZE])
{
	static _Thread_local uint64_t calls;
	uint64_t what[4] = {worker->hub->operation_seed, worker->slot, ++calls, rpc_now_us()};
	XXH128_hash_t hash = XXH3_128bits(what, sizeof what);
	uint8_t bytes[sizeof hash];
	memcpy(bytes, &hash, sizeof hash);
	rpc_operation_id_make(worker->now_ms, bytes, id_out);
}

static struct arena *request_arena(const struct rpc_call *call)
{
	/* Decoded structs and copies of the values; results are made elsewhere. rpc_body_decode bounds what goes in. */
	return rpc_arena_create(2 * rpc_message_bytes(call->request).size + DECODE_SLACK, SIZE_MAX);
}

static bool is_read(enum method method)
{
	return method == METHOD_GET || method == METHOD_BATCH_GET || method == METHOD_FETCH || method == METHOD_SCAN;
}

/* A read changes nothing, so it may be refused when its client does not take the answers that it has: before the engine is
 * read, and once more when the answer's size is known. */
static bool refuse_without_room(struct worker *worker, struct rpc_call *call, size_t answer_size)
{
	if (rpc_call_has_room(call, answer_size))
		return false;
	struct rpc_error why = {"too many bytes of answers wait for clients to read them (request-mb): ask for less at "
				"once, retry later "
				"or elsewhere"};
	refuse(worker, call, -EAGAIN, &why);
	tell_refused(worker->hub);
	return true;
}

static int decode_question(struct worker *worker, enum method method, const struct rpc_request *request,
			   struct arena *arena, struct message **out, struct rpc_error *error_out)
{
	uint8_t id[RPC_OPERATION_ID_SIZE];
	if (method == METHOD_INIT_CLUSTER)
		return codec_init_decode(request, arena, out, error_out);
	if (method == METHOD_SET_RACK)
		return codec_rack_decode(request, arena, out, error_out);
	if (method == METHOD_PLAN_CHANGE || method == METHOD_COMMIT_CHANGE)
		return codec_change_decode(method, request, arena, out, error_out);
	if (method == METHOD_ABORT_CHANGE)
		return codec_abort_decode(request, arena, out, error_out);
	if (method == METHOD_FORCE_RING)
		return codec_force_decode(request, arena, out, error_out);
	fallback_id(worker, id);
	return codec_client_decode(method, request, id, arena, out, error_out);
}

static void address_to_coordinator(struct worker *worker, const struct rpc_call *call, uint64_t trace_id,
				   struct message *message)
{
	message->client.request->received_us = call->received_us;
	message->client.request->trace_id = trace_id;
	message->to =
		(struct address){worker->hub->node->id, ACTOR_COORDINATOR, (uint16_t)worker_coordinator(worker)->index};
}

/* A client's question, for a coordinator, or an operator's, for gossip: the ring's first document, or its next one. */
static void on_question(struct worker *worker, struct rpc_call *call, enum method method,
			const struct rpc_request *request)
{
	struct rpc_error why = {""};
	struct message *message;
	struct arena *arena = request_arena(call);
	int error = arena != NULL ? decode_question(worker, method, request, arena, &message, &why) : -ENOMEM;
	rpc_arena_unref(arena);
	if (error < 0) {
		refuse(worker, call, error, &why);
		return;
	}
	message->call = call;
	message->deadline_us = deadline_us(call, request->deadline_ms);
	if (message->type == MESSAGE_CLIENT)
		address_to_coordinator(worker, call, request->trace_id, message);
	worker_post(worker, message);
}

/* Which members this node is connected to. */
static int show_links(struct worker *worker, const struct ring_view *view, struct arena *scratch, const bool **out)
{
	uint32_t count = view->document != NULL ? ring_member_count(view->document) : 0;
	bool *linked = rpc_arena_zalloc(scratch, count + 1);
	if (linked == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		linked[i] = (int)i == view->self || hub_is_connected(worker->hub, ring_member(view->document, i)->id);
	*out = linked;
	return 0;
}

static int answer_admin(struct worker *worker, enum method method, const struct rpc_request *request,
			const struct ring_view *view, struct arena *scratch, struct rpc_message **out,
			struct rpc_error *error_out)
{
	struct gossip_row self;
	hub_self(worker->hub, &self);
	struct shard_health *shards = rpc_arena_zalloc(scratch, (self.shard_count + 1) * sizeof *shards);
	struct admin_picture picture = {
		.view = view, .self = &self, .shards = shards, .now_us = worker->now_us, .now_ms = worker->now_ms};
	if (shards == NULL || show_links(worker, view, scratch, &picture.linked) < 0)
		return -ENOMEM;
	hub_health(worker->hub, shards);
	return codec_admin_answer(method, request, &picture, scratch, out, error_out);
}

static void on_admin(struct worker *worker, struct rpc_call *call, enum method method,
		     const struct rpc_request *request)
{
	struct rpc_error why = {""};
	struct rpc_message *response;
	struct arena *scratch = rpc_arena_create(SCRATCH_SIZE, SIZE_MAX);
	int error = -ENOMEM;
	if (scratch != NULL) {
		const struct ring_view *view = ring_view_acquire(worker->hub->node->ring);
		error = answer_admin(worker, method, request, view, scratch, &response, &why);
		ring_view_release(worker->hub->node->ring, view);
	}
	rpc_arena_unref(scratch);
	if (error < 0)
		refuse(worker, call, error, &why);
	else
		end_with_reply(worker, call, response);
}

/* ---- batches of peers ---------------------------------------------------------------------------------------------- */

static void reply_peer(struct worker *worker, struct exchange_incoming *incoming)
{
	struct rpc_message *response;
	int error = exchange_encode_answers(incoming, epoch_of(worker), &response);
	/* Not what encoding says: RESOURCE_EXHAUSTED would mean that nothing was done, and all of it was. */
	struct rpc_error why = {"done, but out of memory for the answers"};
	if (error < 0)
		refuse(worker, incoming->carrier, -EIO, &why);
	else
		end_with_reply(worker, incoming->carrier, response);
	exchange_incoming_free(incoming);
}

void inbound_answer(struct worker *worker, struct message *answer)
{
	struct exchange_incoming *incoming = answer->call;
	if (exchange_answer(answer))
		reply_peer(worker, incoming);
}

/* A forwarded put is any coordinator's: one beside the thread that decoded it keeps it, so batches go round among all. */
static void dispatch(struct worker *worker, struct message *question)
{
	if (question->to.kind == ACTOR_COORDINATOR)
		question->to.index = (uint16_t)worker_coordinator(worker)->index;
	worker_post(worker, question);
}

static void on_peer(struct worker *worker, struct rpc_call *call, enum method method, const struct rpc_request *request)
{
	struct rpc_error why = {""};
	struct message_list questions = {0};
	struct exchange_incoming *incoming;
	struct message *question;
	int error = exchange_accept(method, request, worker->hub->node->id, deadline_us(call, request->deadline_ms),
				    call, &incoming, &questions, &why);
	if (error < 0)
		refuse(worker, call, error, &why);
	while ((question = message_list_take(&questions)) != NULL)
		dispatch(worker, question);
}

/* What cannot be read says why. */
static int check_head(struct rpc_call *call, struct rpc_request *request, struct rpc_error *why)
{
	if (call->malformed)
		return rpc_request_decode(rpc_message_bytes(call->request), request, why);
	if (request->protocol_version == RPC_PROTOCOL_VERSION)
		return 0;
	snprintf(why->text, sizeof why->text, "protocol version %u, this node speaks %d", request->protocol_version,
		 RPC_PROTOCOL_VERSION);
	return -EINVAL;
}

static void refuse_unknown(struct worker *worker, struct rpc_call *call, struct rpc_slice method)
{
	struct rpc_error why;
	snprintf(why.text, sizeof why.text, "unknown method '%.*s'", (int)(method.size < 100 ? method.size : 100),
		 (const char *)method.data);
	refuse(worker, call, -ENOSYS, &why);
}

void inbound_call(struct worker *worker, struct rpc_call *call)
{
	struct rpc_request request = call->head;
	struct rpc_error why;
	int error = check_head(call, &request, &why);
	if (error < 0) {
		refuse(worker, call, error, &why);
		return;
	}
	enum method method = codec_method(request.method);
	if (is_read(method) && refuse_without_room(worker, call, 0))
		return;
	bool peer = call->owner == worker->hub->peer_budget;
	switch (method) {
	case METHOD_PUT:
	case METHOD_GET:
	case METHOD_DELETE:
	case METHOD_BATCH_PUT:
	case METHOD_BATCH_GET:
	case METHOD_INIT_CLUSTER:
	case METHOD_SET_RACK:
	case METHOD_PLAN_CHANGE:
	case METHOD_COMMIT_CHANGE:
	case METHOD_ABORT_CHANGE:
	case METHOD_FORCE_RING:
		on_question(worker, call, method, &request);
		break;
	case METHOD_DESCRIBE:
	case METHOD_STATUS:
	case METHOD_RING:
	case METHOD_HEALTH:
		on_admin(worker, call, method, &request);
		break;
	case METHOD_STORE:
	case METHOD_FETCH:
	case METHOD_SCAN:
	case METHOD_FORWARD:
	case METHOD_GOSSIP:
	case METHOD_VOTE:
		if (peer) {
			on_peer(worker, call, method, &request);
			break;
		}
		snprintf(why.text, sizeof why.text, "%s is for nodes: it is served on the peer port",
			 codec_method_name(method));
		refuse(worker, call, -EPERM, &why);
		break;
	case METHOD_UNKNOWN:
	case METHOD_COUNT:
		refuse_unknown(worker, call, request.method);
		break;
	}
}

/* ---- the way back to clients ---------------------------------------------------------------------------------------- */

static void reply_if_room(struct worker *worker, struct rpc_call *call, struct rpc_message *response, bool read)
{
	if (read && refuse_without_room(worker, call, rpc_message_bytes(response).size))
		rpc_message_free(response);
	else
		end_with_reply(worker, call, response);
}

static int encode_answer(const struct message *answer, uint64_t ring_epoch, struct arena *scratch,
			 struct rpc_message **out)
{
	if (answer->type == MESSAGE_CLIENT_DONE)
		return codec_client_encode(answer, ring_epoch, scratch, out);
	if (answer->type == MESSAGE_CHANGE_PLAN)
		return codec_plan_encode(answer, ring_epoch, scratch, out);
	return codec_init_encode(answer, ring_epoch, scratch, out);
}

void inbound_reply_client(struct worker *worker, struct message *done)
{
	struct rpc_call *call = done->call;
	struct rpc_message *response;
	struct rpc_error why = {"this node is out of memory for the answer: what was asked for may have been done"};
	bool read = done->type == MESSAGE_CLIENT_DONE && is_read(done->client.request->method);
	if (read && refuse_without_room(worker, call, 0)) { /* spares the encoding */
		message_free(done);
		return;
	}
	struct arena *scratch = rpc_arena_create(SCRATCH_SIZE, SIZE_MAX);
	int error = -ENOMEM;
	if (scratch != NULL)
		error = encode_answer(done, epoch_of(worker), scratch, &response);
	rpc_arena_unref(scratch);
	if (error < 0)
		refuse(worker, call, -EIO, &why);
	else
		reply_if_room(worker, call, response, read);
	message_free(done);
}

/* ---- bus --------------------------------------------------------------------------------------------------------------- */

void inbound_bus(struct worker *worker, struct bus_mail *mail)
{
	struct rpc_slice bytes = rpc_message_bytes(mail->message);
	struct arena *arena = rpc_arena_create(2 * bytes.size + DECODE_SLACK, SIZE_MAX);
	struct message *message;
	struct rpc_error why;
	/* Anything may be heard on the bus; what is no heartbeat of a node is not for us. */
	if (arena != NULL && codec_bus_decode(bytes, arena, &message, &why) > 0) {
		message->to.kind = ACTOR_GOSSIP;
		worker_post(worker, message);
	}
	rpc_arena_unref(arena);
	inbound_discard_bus(mail);
}

void inbound_discard_bus(struct bus_mail *mail)
{
	rpc_message_free(mail->message);
	free(mail);
}
