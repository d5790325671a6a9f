/* SPDX-License-Identifier: Apache-2.0 */
#include "node/wire/exchange.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "node/object/limit.h"

enum {
	QUEUES_FIRST = 16, /* room for queues at first */
	QUEUE_BITS = 20,   /* of a batch's number: which queue it belongs to */
	BUDGET_MIN_MS = 1, /* 0 would mean "no deadline" in an envelope */
	SCRATCH_SIZE = 8 * 1024,
	DECODE_SLACK = 1024,
};

/* A batch under way: its questions in the order encoded. */
struct under_way {
	uint64_t number; /* 0: this place is free */
	struct message_list questions;
};

/* What goes to one peer by one method, and is large or is not. */
struct exchange_queue {
	uint64_t peer;
	enum method method;
	bool large;
	size_t answer_size; /* bytes for each question, as is likely: of the last batch, or half of what was likely before it */
	struct message_list waiting;
	uint32_t in_flight; /* of batches */
	struct under_way batches[EXCHANGE_IN_FLIGHT_MAX];
};

static uint32_t or_default(uint32_t given, uint32_t otherwise)
{
	return given != 0 ? given : otherwise;
}

void exchange_init(struct exchange *self, const struct exchange_options *options)
{
	*self = (struct exchange){
		.options.in_flight_max = or_default(options->in_flight_max, EXCHANGE_IN_FLIGHT),
		.options.queue_max = or_default(options->queue_max, LIMIT_PEER_QUEUE),
		.options.batch_max = or_default(options->batch_max, LIMIT_PEER_BATCH_OPERATIONS),
	};
	assert(self->options.in_flight_max <= EXCHANGE_IN_FLIGHT_MAX);
	assert(self->options.batch_max <= LIMIT_PEER_BATCH_OPERATIONS);
}

void exchange_fini(struct exchange *self)
{
	for (uint32_t i = 0; i < self->queue_count; i++) {
		struct exchange_queue *queue = &self->queues[i];
		message_list_free(&queue->waiting);
		for (uint32_t j = 0; j < EXCHANGE_IN_FLIGHT_MAX; j++)
			message_list_free(&queue->batches[j].questions);
	}
	free(self->queues);
	*self = (struct exchange){.options = self->options};
}

static void check_queue(const struct exchange *self, const struct exchange_queue *queue)
{
	uint32_t in_flight = 0;
	for (uint32_t i = 0; i < EXCHANGE_IN_FLIGHT_MAX; i++) {
		assert((queue->batches[i].number != 0) == (queue->batches[i].questions.count != 0));
		in_flight += queue->batches[i].number != 0;
	}
	assert(in_flight == queue->in_flight && in_flight <= self->options.in_flight_max); /* X3 */
	assert(queue->waiting.count <= self->options.queue_max);
}

/* ---- answers that nobody gave ------------------------------------------------------------------------------- */

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

static void fail_one(struct message *question, enum replica_status status, struct arena *arena,
		     struct message_list *answers)
{
	struct message *answer = codec_peer_failed(question, status, arena);
	if (answer != NULL)
		message_list_add(answers, answer);
	message_free(question);
}

static void fail_all(struct message_list *questions, enum replica_status status, struct arena *arena,
		     struct message_list *answers)
{
	struct message *question;
	while ((question = message_list_take(questions)) != NULL)
		fail_one(question, status, arena, answers);
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

/* Who is asked: the node id, or for a seed whose id is not known yet its number, which is small. */
static uint64_t peer_of(const struct message *question)
{
	return question->to.node_id != 0 ? question->to.node_id : question->to.index;
}

static int grow(struct exchange *self)
{
	uint32_t capacity = self->queue_capacity != 0 ? 2 * self->queue_capacity : QUEUES_FIRST;
	struct exchange_queue *queues = realloc(self->queues, capacity * sizeof *queues);
	if (queues == NULL)
		return -ENOMEM;
	self->queues = queues;
	self->queue_capacity = capacity;
	return 0;
}

/* The question is, or its answer may be. */
static bool is_large(const struct message *question)
{
	return message_is_large(question) || (question->type == MESSAGE_FETCH && !question->fetch.digest_only);
}

static struct exchange_queue *queue_for(struct exchange *self, const struct message *question)
{
	uint64_t peer = peer_of(question);
	enum method method = codec_peer_method(question);
	bool large = is_large(question);
	for (uint32_t i = 0; i < self->queue_count; i++)
		if (self->queues[i].peer == peer && self->queues[i].method == method && self->queues[i].large == large)
			return &self->queues[i];
	if (self->queue_count == self->queue_capacity && grow(self) < 0)
		return NULL;
	assert(self->queue_count < 1u << QUEUE_BITS);
	struct exchange_queue *queue = &self->queues[self->queue_count++];
	*queue = (struct exchange_queue){.peer = peer, .method = method, .large = large};
	return queue;
}

void exchange_ask(struct exchange *self, struct message *question, struct arena *arena, struct message_list *answers)
{
	struct exchange_queue *queue = queue_for(self, question);
	if (queue == NULL || queue->waiting.count == self->options.queue_max) {
		self->counters.overflows++;
		fail_one(question, REPLICA_OVERLOADED, arena, answers);
		return;
	}
	message_list_add(&queue->waiting, question);
	self->changed = true;
}

bool exchange_next(struct exchange *self, uint32_t *queue_out, uint64_t *peer_out)
{
	for (uint32_t i = 0; self->changed && i < self->queue_count; i++) {
		if (self->queues[i].waiting.count == 0 || self->queues[i].in_flight >= self->options.in_flight_max)
			continue;
		*queue_out = i;
		*peer_out = self->queues[i].peer;
		return true;
	}
	self->changed = false;
	return false;
}

/* Until the latest deadline of its questions: the peer drops by itself those that have passed theirs. */
static uint32_t budget_ms(const struct message_list *questions, uint64_t now_us)
{
	uint64_t latest_us = 0;
	for (const struct message *question = questions->first; question != NULL; question = question->next)
		if (question->deadline_us > latest_us)
			latest_us = question->deadline_us;
	uint64_t ms = latest_us > now_us ? (latest_us - now_us) / 1000 : 0;
	return ms < BUDGET_MIN_MS ? BUDGET_MIN_MS : ms > LIMIT_DEADLINE_MS ? LIMIT_DEADLINE_MS : (uint32_t)ms;
}

static struct message_list take_first(struct message_list *waiting, uint32_t count)
{
	struct message_list taken = {0};
	while (count-- > 0)
		message_list_add(&taken, message_list_take(waiting));
	return taken;
}

/* How many questions make a batch whose answer is likely to be no larger than a batch may be. */
static uint32_t count_fitting(const struct exchange *self, const struct exchange_queue *queue)
{
	uint32_t max = self->options.batch_max;
	size_t likely = queue->answer_size > 0 ? LIMIT_PEER_BATCH_SIZE / queue->answer_size : max;
	if (likely < max)
		max = likely > 0 ? (uint32_t)likely : 1;
	return codec_peer_fitting(queue->waiting.first, max);
}

static void note_answer_size(struct exchange_queue *queue, size_t size, uint32_t count)
{
	size_t each = size / count;
	queue->answer_size = each > queue->answer_size / 2 ? each : queue->answer_size / 2;
}

static struct under_way *free_place(struct exchange_queue *queue)
{
	for (uint32_t i = 0; i < EXCHANGE_IN_FLIGHT_MAX; i++)
		if (queue->batches[i].number == 0)
			return &queue->batches[i];
	assert(!"exchange_next gave a queue with all its batches under way");
	return NULL;
}

/* Their coordinator goes on to the next owner, and so a forward that leaves now would be one attempt too many: after this
 * process was stopped, for one. */
static void fail_expired_forwards(struct exchange_queue *queue, uint64_t now_us, struct arena *arena,
				  struct message_list *answers)
{
	struct message_list waiting = queue->waiting;
	struct message *question;
	if (queue->method != METHOD_FORWARD)
		return;
	queue->waiting = (struct message_list){0};
	while ((question = message_list_take(&waiting)) != NULL) {
		if (question->deadline_us <= now_us)
			fail_one(question, REPLICA_UNREACHABLE, arena, answers);
		else
			message_list_add(&queue->waiting, question);
	}
}

bool exchange_pack(struct exchange *self, uint32_t queue_index, uint64_t now_us, uint64_t sent_us, struct arena *arena,
		   struct exchange_batch *out, struct message_list *answers)
{
	assert(queue_index < self->queue_count);
	struct exchange_queue *queue = &self->queues[queue_index];
	fail_expired_forwards(queue, now_us, arena, answers);
	if (queue->waiting.count == 0)
		return false;
	struct under_way *batch = free_place(queue);
	struct arena *scratch = rpc_arena_create(SCRATCH_SIZE, SIZE_MAX);
	uint32_t count = count_fitting(self, queue);
	batch->questions = take_first(&queue->waiting, count);
	uint32_t ms = budget_ms(&batch->questions, now_us);
	int error = scratch == NULL
			    ? -ENOMEM
			    : codec_peer_encode(batch->questions.first, count, ms, sent_us, scratch, &out->request);
	rpc_arena_unref(scratch);
	if (error < 0) {
		fail_all(&batch->questions, REPLICA_OVERLOADED, arena, answers);
		fail_all(&queue->waiting, REPLICA_OVERLOADED, arena, answers);
		return false;
	}
	assert(count > 0 && batch->questions.count == count);
	batch->number = ++self->batch_number << QUEUE_BITS | queue_index;
	queue->in_flight++;
	self->counters.batches++;
	out->number = batch->number;
	out->peer = queue->peer;
	out->method = queue->method;
	out->timeout_ms = ms + EXCHANGE_SLACK_MS;
	check_queue(self, queue);
	return true;
}

void exchange_refuse(struct exchange *self, uint32_t queue_index, int error, struct arena *arena,
		     struct message_list *answers)
{
	fail_all(&self->queues[queue_index].waiting, status_of(error), arena, answers);
}

/* X4. */
static struct under_way *find(struct exchange *self, uint64_t number, struct exchange_queue **queue_out)
{
	uint32_t index = (uint32_t)(number & ((1u << QUEUE_BITS) - 1));
	if (number == 0 || index >= self->queue_count)
		return NULL;
	*queue_out = &self->queues[index];
	for (uint32_t i = 0; i < EXCHANGE_IN_FLIGHT_MAX; i++)
		if (self->queues[index].batches[i].number == number)
			return &self->queues[index].batches[i];
	return NULL;
}

/* The response's bytes are copied into the answers' arena by protobuf, so its message can go at once. */
static int decode_answers(enum method method, const struct message *questions, struct rpc_slice bytes,
			  struct message_list *answers, struct rpc_error *error_out)
{
	struct rpc_response response;
	int error = rpc_response_decode(bytes, &response, error_out);
	if (error < 0)
		return error;
	struct arena *arena = rpc_arena_create(bytes.size * 2 + DECODE_SLACK, SIZE_MAX);
	if (arena == NULL)
		return -ENOMEM;
	struct message *first = NULL;
	error = codec_peer_decode_answers(method, questions, &response, arena, &first, error_out);
	rpc_arena_unref(arena);
	assert((error == 0) == (first != NULL));
	for (struct message *answer = first, *next; error == 0 && answer != NULL; answer = next) {
		next = answer->next;
		message_list_add(answers, answer);
	}
	return error;
}

int exchange_complete(struct exchange *self, uint64_t number, int error, struct rpc_slice response, struct arena *arena,
		      struct message_list *answers, struct rpc_error *error_out)
{
	struct exchange_queue *queue;
	struct under_way *batch = find(self, number, &queue);
	if (batch == NULL) {
		self->counters.late++;
		return -ENOENT;
	}
	if (error == 0)
		note_answer_size(queue, response.size, batch->questions.count);
	if (error == 0)
		error = decode_answers(queue->method, batch->questions.first, response, answers, error_out);
	if (error < 0)
		fail_all(&batch->questions, status_of(error), arena, answers);
	message_list_free(&batch->questions);
	assert(queue->in_flight > 0);
	batch->number = 0;
	queue->in_flight--;
	self->changed = true;
	check_queue(self, queue);
	return error;
}

/* ---- answering ---------------------------------------------------------------------------------------------- */

int exchange_accept(enum method method, const struct rpc_request *request, uint64_t self_id, uint64_t deadline_us,
		    void *carrier, struct exchange_incoming **out, struct message_list *questions,
		    struct rpc_error *error_out)
{
	struct message *first = NULL;
	uint32_t count = 0;
	struct arena *arena = rpc_arena_create(2 * request->body.size + DECODE_SLACK, SIZE_MAX);
	int error = arena == NULL
			    ? -ENOMEM
			    : codec_peer_decode(method, request, NULL, deadline_us, arena, &first, &count, error_out);
	rpc_arena_unref(arena);
	if (error < 0)
		return error;
	assert(first != NULL && count > 0);
	struct exchange_incoming *incoming = calloc(1, sizeof *incoming + count * sizeof incoming->answers[0]);
	for (struct message *question = first, *next; question != NULL; question = next) {
		next = question->next;
		question->call = incoming;
		question->to.node_id = self_id;
		message_list_add(questions, question);
	}
	if (incoming == NULL) {
		message_list_free(questions);
		return -ENOMEM;
	}
	incoming->carrier = carrier;
	incoming->method = method;
	incoming->count = count;
	atomic_init(&incoming->missing, count);
	*out = incoming;
	return 0;
}

bool exchange_answer(struct message *answer)
{
	struct exchange_incoming *incoming = answer->call;
	/* A put coordinated here is answered twice, but only to this node's own coordinators, which have no call. */
	assert(answer->call_index < incoming->count && incoming->answers[answer->call_index] == NULL);
	incoming->answers[answer->call_index] = answer;
	return atomic_fetch_sub_explicit(&incoming->missing, 1, memory_order_acq_rel) == 1;
}

int exchange_encode_answers(const struct exchange_incoming *incoming, uint64_t ring_epoch, struct rpc_message **out)
{
	struct arena *scratch = rpc_arena_create(SCRATCH_SIZE, SIZE_MAX);
	if (scratch == NULL)
		return -ENOMEM;
	int error = codec_peer_encode_answers(incoming->method, incoming->answers, incoming->count, ring_epoch, scratch,
					      out);
	rpc_arena_unref(scratch);
	return error;
}

void exchange_incoming_free(struct exchange_incoming *self)
{
	for (uint32_t i = 0; i < self->count; i++)
		message_free(self->answers[i]);
	free(self);
}
