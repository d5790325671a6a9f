/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "node/wire/codec.h"
#include "node/actor/event.h"
#include "node/driver/outbound.h"
#include "node/driver/runtime.h"
#include "node/driver/worker.h"

enum {
	SCRATCH_SIZE = 16 * 1024,
	OUTBOUND_IN_FLIGHT = 2, /* batches per peer and method */
	TIMEOUT_MIN_MS = 1,
	TIMEOUT_SLACK_MS = 20, /* beyond the deadline, so that the peer's own answer has time to come back */
};

/* One request under way: the questions in it, in the order encoded. */
struct outbound_batch {
	struct rpc_pending pending;
	struct worker *worker;
	struct message *first;
};

static void free_list(struct message *message)
{
	while (message != NULL) {
		struct message *next = message->next;
		message_free(message);
		message = next;
	}
}

void outbound_fini(struct outbound *outbound)
{
	for (uint32_t i = 0; i < outbound->count; i++)
		free_list(outbound->queues[i].first);
	free(outbound->queues);
	*outbound = (struct outbound){0};
}

/* Answers that nobody gave, as events of the next batch. */
static void fail(struct worker *worker, struct message *questions, enum replica_status status)
{
	struct message *next;
	for (struct message *question = questions; question != NULL; question = next) {
		next = question->next;
		struct message *answer = codec_peer_failed(question, status, worker_arena(worker));
		if (answer != NULL)
			worker_post(worker, worker, answer);
		message_free(question);
	}
}

static struct outbound_queue *queue_for(struct outbound *outbound, uint64_t peer, uint32_t method)
{
	for (uint32_t i = 0; i < outbound->count; i++)
		if (outbound->queues[i].peer == peer && outbound->queues[i].method == method)
			return &outbound->queues[i];
	if (outbound->count == outbound->capacity) {
		uint32_t capacity = outbound->capacity ? outbound->capacity * 2 : 16;
		struct outbound_queue *queues = calloc(capacity, sizeof *queues);
		if (queues == NULL)
			return NULL;
		/* Each `last` of an empty list points into its queue, and must follow it. */
		for (uint32_t i = 0; i < outbound->count; i++) {
			queues[i] = outbound->queues[i];
			if (queues[i].first == NULL)
				queues[i].last = &queues[i].first;
		}
		free(outbound->queues);
		outbound->queues = queues;
		outbound->capacity = capacity;
	}
	struct outbound_queue *queue = &outbound->queues[outbound->count++];
	*queue = (struct outbound_queue){.peer = peer, .method = method, .last = &queue->first};
	return queue;
}

/* Seeds are addressed before their node ids are known: node id 0 and the seed's number. Their links bear that number. */
static uint64_t peer_of(const struct message *question)
{
	return question->to.node_id != 0 ? question->to.node_id : question->to.index;
}

void outbound_add(struct worker *worker, struct message *question)
{
	question->next = NULL;
	struct outbound_queue *queue =
		queue_for(&worker->outbound, peer_of(question), (uint32_t)codec_peer_method(question));
	if (queue == NULL || queue->waiting == LIMIT_PEER_QUEUE) {
		fail(worker, question, REPLICA_OVERLOADED);
		return;
	}
	*queue->last = question;
	queue->last = &question->next;
	queue->waiting++;
	worker->outbound.changed = true;
}

static uint32_t budget_ms(const struct message *first, uint32_t count, uint64_t now_us)
{
	uint64_t latest = 0;
	for (const struct message *question = first; count-- > 0; question = question->next)
		if (question->deadline_us > latest)
			latest = question->deadline_us;
	return latest > now_us + TIMEOUT_MIN_MS * 1000 ? (uint32_t)((latest - now_us) / 1000) : TIMEOUT_MIN_MS;
}

/* On an NNG thread: enqueue, nothing else. */
static void on_done(struct rpc_pending *pending)
{
	struct outbound_batch *batch = caa_container_of(pending, struct outbound_batch, pending);
	struct mailbox *mailbox = &batch->worker->mailbox;
	mailbox_put(mailbox, MAIL_PENDING, &pending->mail);
	mailbox_wake(mailbox);
}

static enum replica_status status_of(int error)
{
	switch (error) {
	case -EHOSTUNREACH:
		return REPLICA_UNREACHABLE;
	case -EAGAIN:
	case -ENOMEM:
		return REPLICA_OVERLOADED;
	default:
		return REPLICA_LOST;
	}
}

static struct message *take_all(struct outbound_queue *queue)
{
	struct message *first = queue->first;
	queue->first = NULL;
	queue->last = &queue->first;
	queue->waiting = 0;
	return first;
}

/* Takes the first `count` questions off the queue, as a list of their own. */
static struct message *take(struct outbound_queue *queue, uint32_t count)
{
	struct message *first = queue->first, *last = first;
	for (uint32_t i = 1; i < count; i++)
		last = last->next;
	queue->first = last->next;
	if (queue->first == NULL)
		queue->last = &queue->first;
	queue->waiting -= count;
	last->next = NULL;
	return first;
}

/* Sends as many questions of the queue as fit one message. */
static void send_batch(struct worker *worker, struct outbound_queue *queue, struct rpc_link *link,
		       struct arena *scratch)
{
	struct outbound_batch *batch = malloc(sizeof *batch);
	struct rpc_message *request = NULL;
	uint32_t count = 0;
	uint32_t ms = budget_ms(queue->first, queue->waiting, worker->now_us);
	int error = batch == NULL ? -ENOMEM : codec_peer_encode(queue->first, ms, scratch, &count, &request);
	if (error < 0) {
		free(batch);
		fail(worker, take_all(queue), REPLICA_OVERLOADED);
		return;
	}
	*batch = (struct outbound_batch){.pending.done = on_done, .worker = worker, .first = take(queue, count)};
	struct message *questions = batch->first;
	queue->in_flight++;
	error = rpc_link_call(link, request, ms + TIMEOUT_SLACK_MS, &batch->pending);
	if (error < 0) {
		queue->in_flight--;
		free(batch);
		fail(worker, questions, status_of(error));
	}
}

static void flush_queue(struct worker *worker, struct outbound_queue *queue, struct arena *scratch)
{
	struct rpc_link *link = peers_link(worker->runtime->peers, queue->peer);
	if (link == NULL || scratch == NULL)
		fail(worker, take_all(queue), link == NULL ? REPLICA_UNREACHABLE : REPLICA_OVERLOADED);
	while (queue->first != NULL && queue->in_flight < OUTBOUND_IN_FLIGHT)
		send_batch(worker, queue, link, scratch);
}

void outbound_flush(struct worker *worker)
{
	struct outbound *outbound = &worker->outbound;
	if (!outbound->changed)
		return;
	outbound->changed = false;
	struct arena *scratch = arena_create(SCRATCH_SIZE, SIZE_MAX);
	for (uint32_t i = 0; i < outbound->count; i++)
		if (outbound->queues[i].first != NULL)
			flush_queue(worker, &outbound->queues[i], scratch);
	arena_unref(scratch);
}

/* The response's bytes are copied into the answers' arena by protobuf; its message can go at once. */
static int decode(const struct outbound_batch *batch, struct message **answers_out)
{
	struct rpc_response response;
	struct rpc_error why;
	struct rpc_slice bytes = rpc_message_bytes(batch->pending.response);
	int error = rpc_response_decode(bytes, &response, &why);
	if (error < 0)
		return error;
	struct arena *arena = arena_create(bytes.size * 2 + 1024, SIZE_MAX);
	if (arena == NULL)
		return -ENOMEM;
	error = codec_peer_decode_answers(codec_peer_method(batch->first), batch->first, &response, arena, answers_out,
					  &why);
	arena_unref(arena);
	return error;
}

void outbound_complete(struct worker *worker, struct rpc_pending *pending)
{
	struct outbound_batch *batch = caa_container_of(pending, struct outbound_batch, pending);
	struct message *answers = NULL;
	const struct message *first = batch->first;
	int error = pending->status;
	queue_for(&worker->outbound, peer_of(first), (uint32_t)codec_peer_method(first))->in_flight--;
	worker->outbound.changed = true;
	if (error == 0) {
		error = decode(batch, &answers);
		rpc_message_free(pending->response);
	}
	if (error < 0) {
		fail(worker, batch->first, status_of(error));
	} else {
		free_list(batch->first);
		for (struct message *answer = answers, *next; answer != NULL; answer = next) {
			next = answer->next;
			worker_step(worker, EVENT_MESSAGE, answer);
		}
	}
	free(batch);
}

void outbound_discard(struct rpc_pending *pending)
{
	struct outbound_batch *batch = caa_container_of(pending, struct outbound_batch, pending);
	if (pending->status == 0)
		rpc_message_free(pending->response);
	free_list(batch->first);
	free(batch);
}
