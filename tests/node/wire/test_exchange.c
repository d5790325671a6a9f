/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"

#include <errno.h>
#include <stdlib.h>
#include "node/object/key.h"
#include "node/object/limit.h"
#include "node/wire/exchange.h"

enum { SELF = 1, PEER = 2, OTHER = 3, NOW_US = 1000000 };

/* One node that asks, the arena for failures, and the answers as they come. */
struct desk {
	struct exchange exchange;
	struct arena *arena;
	struct message_list answers;
	uint64_t correlation; /* of the last question */
};

static int desk_open(void **state)
{
	struct desk *desk = calloc(1, sizeof *desk);
	desk->arena = rpc_arena_create(4096, SIZE_MAX);
	exchange_init(&desk->exchange, &(struct exchange_options){0});
	*state = desk;
	return desk->arena == NULL ? -1 : 0;
}

static int desk_close(void **state)
{
	struct desk *desk = *state;
	message_list_free(&desk->answers);
	exchange_fini(&desk->exchange);
	rpc_arena_unref(desk->arena);
	free(desk);
	return 0;
}

static struct message *make_question(struct desk *desk, enum message_type type, uint64_t peer, uint32_t deadline_ms)
{
	struct message *question = message_create(desk->arena, type);
	question->from = (struct address){SELF, ACTOR_COORDINATOR, 0};
	question->to = (struct address){peer, type == MESSAGE_FORWARD ? ACTOR_COORDINATOR : ACTOR_REPLICA, 0};
	question->correlation = ++desk->correlation;
	question->deadline_us = NOW_US + deadline_ms * UINT64_C(1000);
	question->epoch = 7;
	return question;
}

static void ask_with(struct desk *desk, enum message_type type, uint64_t peer, uint32_t deadline_ms)
{
	struct message *question = make_question(desk, type, peer, deadline_ms);
	if (type == MESSAGE_FETCH)
		assert_int_equal(key_encode(5, slice("b"), slice("key"), desk->arena, &question->key), 0);
	if (type == MESSAGE_FORWARD)
		question->forward.operation =
			(struct client_operation){.key = slice("key"), .value = slice("v"), .attempt = 1};
	exchange_ask(&desk->exchange, question, desk->arena, &desk->answers);
}

static void ask(struct desk *desk, uint64_t peer, uint32_t count)
{
	while (count-- > 0)
		ask_with(desk, MESSAGE_FETCH, peer, 100);
}

/* The next batch, or false when nothing may leave. */
static bool pack(struct desk *desk, struct exchange_batch *batch)
{
	uint32_t queue;
	uint64_t peer;
	if (!exchange_next(&desk->exchange, &queue, &peer))
		return false;
	assert_true(exchange_pack(&desk->exchange, queue, NOW_US, NOW_US, desk->arena, batch, &desk->answers));
	assert_int_equal(batch->peer, peer);
	return true;
}

static int complete(struct desk *desk, uint64_t number, int error, struct rpc_slice response)
{
	struct rpc_error why;
	return exchange_complete(&desk->exchange, number, error, response, desk->arena, &desk->answers, &why);
}

/* The other node: every fetch is answered by its place in the batch as digest, OK. */
static struct rpc_message *serve(const struct exchange_batch *batch, uint32_t *count_out)
{
	struct rpc_request request;
	struct rpc_error why;
	struct exchange_incoming *incoming;
	struct message_list questions = {0};
	struct message *question;
	struct rpc_message *response;
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	assert_int_equal(rpc_request_decode(rpc_message_bytes(batch->request), &request, &why), 0);
	assert_int_equal(
		exchange_accept(batch->method, &request, PEER, NOW_US + 1000, NULL, &incoming, &questions, &why), 0);
	*count_out = incoming->count;
	for (uint32_t left = incoming->count; (question = message_list_take(&questions)) != NULL;) {
		struct message *answer = message_answer(question, arena, MESSAGE_FETCHED);
		answer->status = REPLICA_OK;
		answer->fetched.digest = question->call_index + 1;
		message_free(question);
		assert_int_equal(exchange_answer(answer), --left == 0);
	}
	assert_int_equal(exchange_encode_answers(incoming, 9, &response), 0);
	exchange_incoming_free(incoming);
	rpc_arena_unref(arena);
	rpc_message_free(batch->request);
	return response;
}

/* The next answer: of this question, with this status. */
static void expect_answer(struct desk *desk, uint64_t correlation, enum replica_status status)
{
	struct message *answer = message_list_take(&desk->answers);
	assert_non_null(answer);
	assert_int_equal(answer->type, MESSAGE_FETCHED);
	assert_int_equal(answer->correlation, correlation);
	assert_int_equal(answer->status, status);
	assert_int_equal(answer->to.node_id, SELF);
	message_free(answer);
}

static void expect_no_answer(const struct desk *desk)
{
	assert_int_equal(desk->answers.count, 0);
}

/* ---- tests -------------------------------------------------------------------------------------------------- */

static void test_answers_find_their_questions(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch;
	uint32_t count;
	ask(desk, PEER, 3);
	assert_true(pack(desk, &batch));
	assert_false(pack(desk, &batch));
	struct rpc_message *response = serve(&batch, &count);
	assert_int_equal(count, 3);
	assert_int_equal(complete(desk, batch.number, 0, rpc_message_bytes(response)), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(desk->answers.first->fetched.digest, i);
		expect_answer(desk, i, REPLICA_OK);
	}
	expect_no_answer(desk);
	rpc_message_free(response);
}

/* Two batches under way; what comes meanwhile is one batch when one of them is back. */
static void test_questions_gather_behind_batches_under_way(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch first, second, third;
	uint32_t count;
	ask(desk, PEER, 1);
	assert_true(pack(desk, &first));
	ask(desk, PEER, 1);
	assert_true(pack(desk, &second));
	ask(desk, PEER, 4);
	assert_false(pack(desk, &third));
	ask(desk, OTHER, 1); /* another peer does not wait */
	assert_true(pack(desk, &third));
	assert_int_equal(third.peer, OTHER);
	rpc_message_free(third.request);
	assert_int_equal(complete(desk, first.number, -ETIMEDOUT, (struct rpc_slice){0}), -ETIMEDOUT);
	expect_answer(desk, 1, REPLICA_LOST);
	assert_true(pack(desk, &third));
	rpc_message_free(first.request);
	rpc_message_free(second.request);
	struct rpc_message *response = serve(&third, &count);
	assert_int_equal(count, 4);
	rpc_message_free(response);
}

static void test_methods_do_not_wait_for_each_other(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch[3];
	for (int i = 0; i < 2; i++) {
		ask(desk, PEER, 1);
		assert_true(pack(desk, &batch[i]));
	}
	ask_with(desk, MESSAGE_FORWARD, PEER, 100);
	assert_true(pack(desk, &batch[2]));
	assert_int_equal(batch[2].method, METHOD_FORWARD);
	for (int i = 0; i < 3; i++)
		rpc_message_free(batch[i].request);
}

static void ask_store(struct desk *desk, size_t size)
{
	struct message *question = make_question(desk, MESSAGE_STORE, PEER, 100);
	assert_int_equal(key_encode(5, slice("b"), slice("key"), desk->arena, &question->key), 0);
	question->store.object = (struct rpc_slice){rpc_arena_zalloc(desk->arena, size), size};
	exchange_ask(&desk->exchange, question, desk->arena, &desk->answers);
}

/* As many large ones as may be are under way and more wait: a small question leaves all the same, alone, and so does the next one when
 * that is back. */
static void test_small_questions_do_not_wait_for_large_ones(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch large[2], small, none;
	for (int i = 0; i < 4; i++)
		ask_store(desk, LIMIT_SMALL_SIZE);
	for (int i = 0; i < 2; i++) {
		assert_true(pack(desk, &large[i]));
		assert_true(rpc_message_bytes(large[i].request).size > LIMIT_SMALL_SIZE);
		ask_store(desk, LIMIT_SMALL_SIZE);
	}
	for (int i = 0; i < 3; i++) {
		ask_store(desk, 10);
		assert_true(pack(desk, &small));
		assert_true(rpc_message_bytes(small.request).size < 1024);
		assert_false(pack(desk, &none));
		rpc_message_free(small.request);
		assert_int_equal(complete(desk, small.number, -EHOSTUNREACH, (struct rpc_slice){0}), -EHOSTUNREACH);
	}
	for (int i = 0; i < 2; i++)
		rpc_message_free(large[i].request);
}

/* Two batches of reads of whole objects are under way: a question for a digest leaves all the same. */
static void test_digests_do_not_wait_for_objects(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch objects[2], digest, none;
	for (int i = 0; i < 2; i++) {
		ask(desk, PEER, 1);
		assert_true(pack(desk, &objects[i]));
	}
	ask(desk, PEER, 1);
	assert_false(pack(desk, &none));
	struct message *question = make_question(desk, MESSAGE_FETCH, PEER, 100);
	assert_int_equal(key_encode(5, slice("b"), slice("key"), desk->arena, &question->key), 0);
	question->fetch.digest_only = true;
	exchange_ask(&desk->exchange, question, desk->arena, &desk->answers);
	assert_true(pack(desk, &digest));
	assert_false(pack(desk, &none));
	for (int i = 0; i < 2; i++)
		rpc_message_free(objects[i].request);
	rpc_message_free(digest.request);
}

/* After an answer of 1 MiB for each question, whatever it says, a batch asks for 4 MiB; after small ones for more again. */
static void test_large_answers_make_small_batches(void **state)
{
	static const uint8_t large[8 * 1024 * 1024];
	static const uint32_t fitting[] = {4, 8, 16};
	struct desk *desk = *state;
	struct exchange_batch batch;
	uint32_t count;
	ask(desk, PEER, 8);
	assert_true(pack(desk, &batch));
	rpc_message_free(batch.request);
	assert_int_equal(complete(desk, batch.number, 0, (struct rpc_slice){large, sizeof large}), -EBADMSG);
	for (uint64_t i = 1; i <= 8; i++)
		expect_answer(desk, i, REPLICA_LOST);
	ask(desk, PEER, 4 + 8 + 16);
	for (uint32_t i = 0; i < sizeof fitting / sizeof fitting[0]; i++) {
		assert_true(pack(desk, &batch));
		struct rpc_message *response = serve(&batch, &count);
		assert_int_equal(count, fitting[i]);
		assert_int_equal(complete(desk, batch.number, 0, rpc_message_bytes(response)), 0);
		rpc_message_free(response);
	}
}

/* The one question too many is answered at once; those that waited still wait, in order. */
static void test_an_overfull_queue_refuses(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch;
	uint32_t count;
	desk->exchange.options.queue_max = 3;
	ask(desk, PEER, 3);
	expect_no_answer(desk);
	ask(desk, PEER, 2);
	expect_answer(desk, 4, REPLICA_OVERLOADED);
	expect_answer(desk, 5, REPLICA_OVERLOADED);
	expect_no_answer(desk);
	assert_int_equal(desk->exchange.counters.overflows, 2);
	ask(desk, OTHER, 1); /* full is one peer's queue */
	expect_no_answer(desk);
	assert_true(pack(desk, &batch));
	struct rpc_message *response = serve(&batch, &count);
	assert_int_equal(count, 3);
	assert_int_equal(complete(desk, batch.number, 0, rpc_message_bytes(response)), 0);
	for (uint64_t i = 1; i <= 3; i++)
		expect_answer(desk, i, REPLICA_OK);
	ask(desk, PEER, 1); /* there is room again */
	expect_no_answer(desk);
	rpc_message_free(response);
}

static void test_a_late_answer_changes_nothing(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch late, next;
	uint32_t count;
	ask(desk, PEER, 1);
	assert_true(pack(desk, &late));
	struct rpc_message *response = serve(&late, &count);
	assert_int_equal(complete(desk, late.number, -ETIMEDOUT, (struct rpc_slice){0}), -ETIMEDOUT);
	expect_answer(desk, 1, REPLICA_LOST);
	ask(desk, PEER, 1); /* takes the same place */
	assert_true(pack(desk, &next));
	assert_int_equal(complete(desk, late.number, 0, rpc_message_bytes(response)), -ENOENT);
	expect_no_answer(desk);
	assert_int_equal(desk->exchange.counters.late, 1);
	assert_int_equal(complete(desk, next.number, 0, rpc_message_bytes(response)), 0);
	expect_answer(desk, 2, REPLICA_OK);
	rpc_message_free(next.request);
	rpc_message_free(response);
}

static void test_a_doubled_answer_changes_nothing(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch, other;
	uint32_t count;
	ask(desk, PEER, 2);
	assert_true(pack(desk, &batch));
	ask(desk, PEER, 1);
	assert_true(pack(desk, &other));
	struct rpc_message *response = serve(&batch, &count);
	assert_int_equal(complete(desk, batch.number, 0, rpc_message_bytes(response)), 0);
	expect_answer(desk, 1, REPLICA_OK);
	expect_answer(desk, 2, REPLICA_OK);
	assert_int_equal(complete(desk, batch.number, 0, rpc_message_bytes(response)), -ENOENT);
	assert_int_equal(complete(desk, 0, 0, rpc_message_bytes(response)), -ENOENT);
	assert_int_equal(complete(desk, UINT64_MAX, 0, rpc_message_bytes(response)), -ENOENT);
	expect_no_answer(desk);
	assert_int_equal(desk->exchange.counters.late, 3);
	assert_int_equal(complete(desk, other.number, -EHOSTUNREACH, (struct rpc_slice){0}), -EHOSTUNREACH);
	expect_answer(desk, 3, REPLICA_UNREACHABLE);
	rpc_message_free(other.request);
	rpc_message_free(response);
}

/* Bytes that do not decode, and answers of another number than the questions: executed or not, nobody knows. */
static void test_a_bad_answer_is_a_lost_one(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch one, two;
	uint32_t count;
	ask(desk, PEER, 1);
	assert_true(pack(desk, &one));
	ask(desk, PEER, 2);
	assert_true(pack(desk, &two));
	struct rpc_message *response = serve(&one, &count);
	assert_int_equal(complete(desk, two.number, 0, rpc_message_bytes(response)), -EBADMSG);
	expect_answer(desk, 2, REPLICA_LOST);
	expect_answer(desk, 3, REPLICA_LOST);
	assert_int_equal(complete(desk, one.number, 0, slice("\xff\xff")), -EBADMSG);
	expect_answer(desk, 1, REPLICA_LOST);
	expect_no_answer(desk);
	rpc_message_free(two.request);
	rpc_message_free(response);
}

/* A peer that refuses a batch for load has done nothing of it; one that refuses it otherwise may have. */
static void test_a_refused_batch(void **state)
{
	static const struct {
		uint32_t code;
		enum replica_status status;
	} table[] = {{RPC_CODE_RESOURCE_EXHAUSTED, REPLICA_OVERLOADED}, {RPC_CODE_INTERNAL, REPLICA_LOST}};
	struct desk *desk = *state;
	for (uint32_t i = 0; i < 2; i++) {
		struct rpc_response head = {.protocol_version = RPC_PROTOCOL_VERSION, .code = table[i].code};
		struct rpc_message *response;
		struct exchange_batch batch;
		assert_int_equal(rpc_response_encode(&head, NULL, &response), 0);
		ask(desk, PEER, 1);
		assert_true(pack(desk, &batch));
		assert_true(complete(desk, batch.number, 0, rpc_message_bytes(response)) < 0);
		expect_answer(desk, i + 1, table[i].status);
		rpc_message_free(batch.request);
		rpc_message_free(response);
	}
}

/* No way to the peer: what waits is answered, what is under way is not. */
static void test_refusing_a_queue(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch;
	uint32_t queue;
	uint64_t peer;
	ask(desk, PEER, 1);
	assert_true(pack(desk, &batch));
	ask(desk, PEER, 2);
	assert_true(exchange_next(&desk->exchange, &queue, &peer));
	exchange_refuse(&desk->exchange, queue, -EHOSTUNREACH, desk->arena, &desk->answers);
	expect_answer(desk, 2, REPLICA_UNREACHABLE);
	expect_answer(desk, 3, REPLICA_UNREACHABLE);
	expect_no_answer(desk);
	assert_false(exchange_next(&desk->exchange, &queue, &peer));
	assert_int_equal(complete(desk, batch.number, -ECONNRESET, (struct rpc_slice){0}), -ECONNRESET);
	expect_answer(desk, 1, REPLICA_LOST);
	rpc_message_free(batch.request);
}

/* A put that was never sent was not done; one that was sent may have been. Gossip needs no answer. */
static void test_failures_by_type(void **state)
{
	static const int errors[] = {-EHOSTUNREACH, -ETIMEDOUT};
	static const enum outcome outcomes[] = {OUTCOME_REFUSED, OUTCOME_IN_DOUBT};
	struct desk *desk = *state;
	struct exchange_batch batch;
	for (uint32_t i = 0; i < 2; i++) {
		ask_with(desk, MESSAGE_FORWARD, PEER, 100);
		assert_true(pack(desk, &batch));
		assert_int_equal(complete(desk, batch.number, errors[i], (struct rpc_slice){0}), errors[i]);
		struct message *answer = message_list_take(&desk->answers);
		assert_int_equal(answer->type, MESSAGE_FORWARDED);
		assert_int_equal(answer->forwarded.result.outcome, outcomes[i]);
		message_free(answer);
		rpc_message_free(batch.request);
	}
	struct message *gossip = make_question(desk, MESSAGE_GOSSIP, 0, 100);
	gossip->to = (struct address){0, ACTOR_GOSSIP, 4}; /* seed 3 */
	gossip->gossip = rpc_arena_zalloc(desk->arena, sizeof *gossip->gossip);
	exchange_ask(&desk->exchange, gossip, desk->arena, &desk->answers);
	assert_true(pack(desk, &batch));
	assert_int_equal(batch.peer, 4);
	assert_int_equal(complete(desk, batch.number, -ETIMEDOUT, (struct rpc_slice){0}), -ETIMEDOUT);
	expect_no_answer(desk);
	rpc_message_free(batch.request);
}

/* A batch has until the latest deadline in it, at least 1 ms, and its carrier waits a little longer. */
static void test_budgets_of_time(void **state)
{
	static const struct {
		uint32_t first_ms, second_ms, budget_ms;
	} table[] = {{30, 80, 80}, {80, 30, 80}, {0, 0, 1}, {3600000, 1, LIMIT_DEADLINE_MS}};
	struct desk *desk = *state;
	for (uint32_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct exchange_batch batch;
		struct rpc_request request;
		struct rpc_error why;
		ask_with(desk, MESSAGE_FETCH, PEER + i, table[i].first_ms);
		ask_with(desk, MESSAGE_FETCH, PEER + i, table[i].second_ms);
		assert_true(pack(desk, &batch));
		assert_int_equal(batch.timeout_ms, table[i].budget_ms + EXCHANGE_SLACK_MS);
		assert_int_equal(rpc_request_decode(rpc_message_bytes(batch.request), &request, &why), 0);
		assert_int_equal(request.deadline_ms, table[i].budget_ms);
		assert_int_equal(request.ring_epoch, 7);
		rpc_message_free(batch.request);
	}
}

/* A batch's time is that of its own questions, not of those that stay behind. */
/* Each forward has its own share of a deadline; one that has passed while it waited is not sent any more. */
static void test_forwards_keep_their_own_deadlines(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch;
	struct rpc_request request;
	struct rpc_error why;
	struct exchange_incoming *incoming;
	struct message_list questions = {0};
	struct message *question;
	uint32_t queue;
	uint64_t peer;
	ask_with(desk, MESSAGE_FORWARD, PEER, 0);
	ask_with(desk, MESSAGE_FORWARD, PEER, 300);
	ask_with(desk, MESSAGE_FORWARD, PEER, 900);
	assert_true(pack(desk, &batch));
	question = message_list_take(&desk->answers);
	assert_int_equal(question->correlation, 1);
	assert_int_equal(question->forwarded.result.outcome, OUTCOME_REFUSED);
	message_free(question);
	assert_int_equal(rpc_request_decode(rpc_message_bytes(batch.request), &request, &why), 0);
	assert_int_equal(request.sent_us, NOW_US);
	assert_int_equal(request.deadline_ms, 900);
	assert_int_equal(
		exchange_accept(batch.method, &request, PEER, NOW_US + 900000, NULL, &incoming, &questions, &why), 0);
	assert_int_equal(questions.count, 2);
	for (uint64_t ms = 300; (question = message_list_take(&questions)) != NULL; ms = 900) {
		assert_int_equal(question->deadline_us, NOW_US + ms * 1000);
		message_free(question);
	}
	exchange_incoming_free(incoming);
	rpc_message_free(batch.request);
	assert_int_equal(complete(desk, batch.number, -ETIMEDOUT, (struct rpc_slice){0}), -ETIMEDOUT);
	message_list_free(&desk->answers);
	ask_with(desk, MESSAGE_FORWARD, PEER, 0);
	assert_true(exchange_next(&desk->exchange, &queue, &peer));
	assert_false(exchange_pack(&desk->exchange, queue, NOW_US, NOW_US, desk->arena, &batch, &desk->answers));
	assert_int_equal(desk->answers.count, 1);
	assert_false(exchange_next(&desk->exchange, &queue, &peer));
}

static void test_batches_have_a_size(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch[3];
	uint32_t count;
	desk->exchange.options.batch_max = 2;
	ask(desk, PEER, 4);
	ask_with(desk, MESSAGE_FETCH, PEER, 5000);
	assert_true(pack(desk, &batch[0]));
	assert_true(pack(desk, &batch[1]));
	assert_false(pack(desk, &batch[2]));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(batch[i].timeout_ms, 100 + EXCHANGE_SLACK_MS);
		struct rpc_message *response = serve(&batch[i], &count);
		assert_int_equal(count, 2);
		assert_int_equal(complete(desk, batch[i].number, 0, rpc_message_bytes(response)), 0);
		rpc_message_free(response);
	}
	for (uint64_t i = 1; i <= 4; i++)
		expect_answer(desk, i, REPLICA_OK);
	assert_true(pack(desk, &batch[2]));
	rpc_message_free(batch[2].request);
}

static void test_more_peers_than_room_at_first(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch;
	uint64_t numbers[100];
	for (uint32_t i = 0; i < 100; i++)
		ask(desk, 100 + i, 1);
	for (uint32_t i = 0; i < 100; i++) {
		assert_true(pack(desk, &batch));
		assert_int_equal(batch.peer, 100 + i);
		numbers[i] = batch.number;
		rpc_message_free(batch.request);
	}
	for (uint32_t i = 100; i-- > 0;) {
		assert_int_equal(complete(desk, numbers[i], -ETIMEDOUT, (struct rpc_slice){0}), -ETIMEDOUT);
		expect_answer(desk, i + 1, REPLICA_LOST);
	}
}

/* A question that nobody could make an answer for is an error in the batch, and the others arrive. */
static void test_a_batch_answers_what_it_can(void **state)
{
	struct desk *desk = *state;
	struct exchange_batch batch;
	struct rpc_request request;
	struct rpc_error why;
	struct exchange_incoming *incoming;
	struct message_list questions = {0};
	struct rpc_message *response;
	int carrier;
	ask(desk, PEER, 2);
	assert_true(pack(desk, &batch));
	assert_int_equal(rpc_request_decode(rpc_message_bytes(batch.request), &request, &why), 0);
	assert_int_equal(exchange_accept(batch.method, &request, PEER, 55, &carrier, &incoming, &questions, &why), 0);
	assert_ptr_equal(incoming->carrier, &carrier);
	assert_int_equal(questions.first->deadline_us, 55);
	assert_int_equal(questions.first->to.node_id, PEER);
	struct message *answer = message_answer(questions.last, desk->arena, MESSAGE_FETCHED);
	answer->status = REPLICA_ABSENT;
	assert_false(exchange_answer(answer));
	message_list_free(&questions);
	assert_int_equal(exchange_encode_answers(incoming, 1, &response), 0);
	exchange_incoming_free(incoming);
	assert_int_equal(complete(desk, batch.number, 0, rpc_message_bytes(response)), 0);
	expect_answer(desk, 1, REPLICA_ERROR);
	expect_answer(desk, 2, REPLICA_ABSENT);
	rpc_message_free(batch.request);
	rpc_message_free(response);
}

static void test_a_batch_that_makes_no_sense_is_not_accepted(void **state)
{
	struct rpc_request request = {.body = slice("\xff\xff\xff")};
	struct exchange_incoming *incoming;
	struct message_list questions = {0};
	struct rpc_error why = {""};
	(void)state;
	assert_int_equal(exchange_accept(METHOD_STORE, &request, PEER, 1, NULL, &incoming, &questions, &why), -EBADMSG);
	assert_true(why.text[0] != 0);
	request.body = (struct rpc_slice){0};
	assert_int_equal(exchange_accept(METHOD_STORE, &request, PEER, 1, NULL, &incoming, &questions, &why), -EINVAL);
	assert_int_equal(questions.count, 0);
}

#define DESK_TEST(test) cmocka_unit_test_setup_teardown(test, desk_open, desk_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DESK_TEST(test_answers_find_their_questions),
		DESK_TEST(test_questions_gather_behind_batches_under_way),
		DESK_TEST(test_methods_do_not_wait_for_each_other),
		DESK_TEST(test_small_questions_do_not_wait_for_large_ones),
		DESK_TEST(test_digests_do_not_wait_for_objects),
		DESK_TEST(test_large_answers_make_small_batches),
		DESK_TEST(test_an_overfull_queue_refuses),
		DESK_TEST(test_a_late_answer_changes_nothing),
		DESK_TEST(test_a_doubled_answer_changes_nothing),
		DESK_TEST(test_a_bad_answer_is_a_lost_one),
		DESK_TEST(test_a_refused_batch),
		DESK_TEST(test_refusing_a_queue),
		DESK_TEST(test_failures_by_type),
		DESK_TEST(test_budgets_of_time),
		DESK_TEST(test_forwards_keep_their_own_deadlines),
		DESK_TEST(test_batches_have_a_size),
		DESK_TEST(test_more_peers_than_room_at_first),
		DESK_TEST(test_a_batch_answers_what_it_can),
		cmocka_unit_test(test_a_batch_that_makes_no_sense_is_not_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
