/* SPDX-License-Identifier: Apache-2.0 */
/* What puts and gets share: refusals before anything is sent, batches, the limit, ending with work in flight. */
#include "proto/kv.pb-c.h"
#include "node/coordinator/operation.h"
#include "node/object/limit.h"
#include "tests/node/scene.h"

#define CODE(name) KVRING__V1__CODE__##name

static void assert_refused(struct scene *s, const char *log, uint32_t code, const char *text)
{
	expect(s, log);
	assert_int_equal(s->code, code);
	scene_expect_text(s, text);
	assert_int_equal(scene_in_flight(s), 0);
	assert_int_equal(s->question_count, 0);
}

static void test_refused_in_no_cluster(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	ring_table_destroy(&s.ring);
	coordinator_destroy(&s.coordinator);
	assert_int_equal(ring_table_create(scene_node(1), &s.ring), 0);
	struct coordinator_options options = {
		.self = {scene_node(1), ACTOR_COORDINATOR, 0}, .shard_count = 1, .ring = s.ring};
	assert_int_equal(coordinator_create(&options, &s.coordinator), 0);
	scene_put(&s, .value = "red");
	assert_refused(&s, "client: refused 0/0", CODE(UNAVAILABLE), "ask another node");
	scene_get(&s);
	assert_refused(&s, "client: refused 0/0", CODE(UNAVAILABLE), "ask another node");
	scene_forward_in(&s, (struct ask){.value = "red"});
	assert_refused(&s, "n5: refused 0/0", CODE(ABORTED), "in no cluster"); /* the sender tries another owner */
	scene_end(&s);
}

/* Gossip is told once of each epoch. */
static void test_a_newer_ring_is_noticed(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4); /* no owner by its ring */
	scene_forward_in(&s, (struct ask){.value = "red", .epoch = 1});
	expect(&s, "n5: refused 0/2");
	scene_forward_in(&s, (struct ask){.value = "red", .epoch = 3});
	scene_forward_in(&s, (struct ask){.value = "red", .epoch = 3});
	scene_forward_in(&s, (struct ask){.value = "red", .epoch = 2});
	expect(&s, "behind 3 as n5, n5: refused 0/2, n5: refused 0/2, n5: refused 0/2");
	scene_end(&s);
}

static void test_refused_not_a_member(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 77);
	scene_get(&s);
	assert_refused(&s, "client: refused 0/0", CODE(UNAVAILABLE), "no member of the cluster any more");
	scene_end(&s);
}

static void test_refused_keys(void **state)
{
	(void)state;
	struct scene s;
	char large[LIMIT_KEY_SIZE + 2];
	memset(large, 'k', sizeof large);
	large[LIMIT_KEY_SIZE + 1] = 0;
	scene_begin(&s, 1);
	scene_get(&s, .key = "");
	assert_refused(&s, "client: refused 0/0", CODE(INVALID_ARGUMENT), "key must have 1 to 4096 bytes");
	scene_put(&s, .key = large, .value = "red");
	assert_refused(&s, "client: refused 0/0", CODE(INVALID_ARGUMENT), "key must have 1 to 4096 bytes");
	large[LIMIT_KEY_SIZE] = 0;
	scene_get(&s, .key = large, .quorum = 1);
	assert_int_equal(scene_in_flight(&s), 1);
	scene_end(&s);
}

static void test_refused_quorums(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_get(&s, .quorum = 4);
	assert_refused(&s, "client: refused 0/4", CODE(INVALID_ARGUMENT),
		       "r=4 asks for more replicas than the N=3 there are");
	scene_put(&s, .value = "red", .quorum = 1000);
	assert_refused(&s, "client: refused 0/1000", CODE(INVALID_ARGUMENT), "w=1000");
	scene_end(&s);
}

static void test_refused_context(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .context = slice("garbage"));
	assert_refused(&s, "client: refused 0/2", CODE(INVALID_ARGUMENT),
		       "context, byte 7: cut short; pass the context of a get or put of this key unchanged");
	scene_end(&s);
}

static void test_refused_when_the_deadline_has_passed(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .deadline_us = (uint64_t)-1);
	assert_refused(&s, "client: refused 0/0", CODE(DEADLINE_EXCEEDED), "nothing was done");
	scene_forward_in(&s, (struct ask){.value = "red", .deadline_us = (uint64_t)-1});
	assert_refused(&s, "n5: refused 0/0", CODE(DEADLINE_EXCEEDED), "nothing was done");
	scene_end(&s);
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

static void test_batch_of_nothing(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_batch(&s, NULL, 0);
	expect(&s, "client: nothing");
	scene_end(&s);
}

/* One answer when all are settled, results in the order of the operations. */
static void test_batch_with_mixed_results(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice key = slice(s.key);
	struct client_operation operations[] = {
		{.kind = OPERATION_PUT, .key = key, .value = slice("red"), .attempt = 1},
		{.kind = OPERATION_GET, .key = {0}},
		{.kind = OPERATION_GET, .key = key, .quorum = 1},
		{.kind = OPERATION_PUT, .key = key, .value = slice("blue"), .quorum = 3, .attempt = 1},
	};
	operation_id_of(1, s.now_ms, operations[0].operation_id);
	operation_id_of(2, s.now_ms, operations[3].operation_id);
	scene_batch(&s, operations, 4);
	expect(&s, "coordinate n1, fetch n1, digest n2, digest n3, coordinate n1");
	scene_coordinated(&s, 1, REPLICA_OK); /* the newest: blue */
	expect(&s, "store n2, store n3");
	scene_stored(&s, 3, REPLICA_UNREACHABLE);
	scene_fetched(&s, 1, scene_object(&s, (struct rpc_slice){0}, false, 1, 5, "green"));
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "store n2, store n3");
	scene_stored(&s, 2, REPLICA_OK);
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: done 2/2, client: refused 0/0, client: green 1/1, client: in doubt 0/3");
	scene_end(&s);
}

static void test_batch_all_refused_is_answered_at_once(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	const struct client_operation operations[3] = {
		{.kind = OPERATION_GET}, {.kind = OPERATION_PUT}, {.kind = OPERATION_GET}};
	scene_batch(&s, operations, 3);
	expect(&s, "client: refused 0/0, client: refused 0/0, client: refused 0/0");
	scene_end(&s);
}

/* ---- limits and life ------------------------------------------------------------------------------------------- */

/* A request of that many gets; its answer, if any, is freed by the scene. */
static void step_many(struct scene *s, uint32_t count)
{
	struct client_operation *operations = calloc(count, sizeof *operations);
	for (uint32_t i = 0; i < count; i++)
		operations[i] = (struct client_operation){.kind = OPERATION_GET, .key = slice(s->key), .quorum = 1};
	struct arena *arena = rpc_arena_create(1 << 16, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_CLIENT);
	struct client_request *request = rpc_arena_zalloc(arena, sizeof *request);
	request->operations = rpc_arena_copy(arena, operations, count * sizeof *operations);
	request->results = rpc_arena_zalloc(arena, count * sizeof *request->results);
	request->count = count;
	message->client.request = request;
	message->deadline_us = s->now_us + 5 * 1000 * 1000;
	struct effects effects;
	effects_init(&effects, rpc_arena_create(1 << 16, SIZE_MAX));
	struct event event = {.type = EVENT_MESSAGE, .now_us = s->now_us, .message = message};
	coordinator_step(s->coordinator, &event, &effects);
	struct message *question;
	while ((question = message_list_take(&effects.messages)) != NULL) {
		message_free(question);
	}
	s->timer_us = effects.timer_us;
	rpc_arena_unref(effects.arena);
	rpc_arena_unref(arena);
	free(operations);
}

static void test_limit_of_operations(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	step_many(&s, LIMIT_OPERATIONS);
	assert_int_equal(scene_in_flight(&s), LIMIT_OPERATIONS);
	scene_put(&s, .value = "red");
	expect(&s, "client: refused 0/0");
	assert_int_equal(s.code, CODE(RESOURCE_EXHAUSTED));
	scene_expect_text(&s, "too many operations in flight");
	scene_tick(&s, 5 * 1000 * 1000);
	assert_int_equal(scene_in_flight(&s), 0);
	s.log[0] = 0;
	scene_put(&s, .value = "red", .quorum = 1);
	expect(&s, "coordinate n1");
	scene_end(&s);
}

/* What only waits for late answers is no reason to refuse. */
static void test_limit_answered_operations_give_way(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .quorum = 1);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, client: done 1/1");
	step_many(&s, LIMIT_OPERATIONS - 1);
	assert_int_equal(scene_in_flight(&s), LIMIT_OPERATIONS);
	scene_get(&s);
	expect(&s, "fetch n1, digest n2, digest n3");
	assert_int_equal(scene_in_flight(&s), LIMIT_OPERATIONS);
	scene_stored(&s, 2, REPLICA_OK); /* of the put that is gone */
	assert_int_equal(coordinator_counters(s.coordinator)->late_answers, 1);
	scene_get(&s);
	expect(&s, "client: refused 0/0");
	scene_end(&s);
}

/* The address sanitizer says whether anything is left. */
static void test_destroy_with_operations_in_every_state(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = scene_object(&s, (struct rpc_slice){0}, false, 1, 5, "red");
	struct rpc_slice blue = scene_object(&s, (struct rpc_slice){0}, false, 2, 7, "blue");
	scene_put(&s, .value = "coordinating");
	scene_put(&s, .value = "replicating");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_put(&s, .value = "answered", .quorum = 1);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	scene_put(&s, .value = "forwarded");
	scene_coordinated(&s, 1, REPLICA_ERROR);
	scene_get(&s);
	scene_get(&s); /* one object */
	scene_fetched(&s, 1, red);
	scene_get(&s, .quorum = 3); /* repairing */
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, blue);
	scene_fetched(&s, 2, blue);
	scene_fetched(&s, 3, blue);
	scene_get(&s, .quorum = 1); /* fetching again */
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 3, blue);
	scene_forward_in(&s, (struct ask){.value = "of another"});
	const struct client_operation half_done[] = {
		{.kind = OPERATION_GET, .key = slice(s.key), .quorum = 1},
		{.kind = OPERATION_GET, .key = slice(s.key), .quorum = 1},
	};
	scene_batch(&s, half_done, 2);
	scene_fetched(&s, 1, red);
	assert_int_equal(scene_in_flight(&s), 11);
	scene_end(&s);
}

static void test_counters(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .quorum = 1);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_get(&s, .quorum = 1);
	scene_fetched(&s, 1, (struct rpc_slice){0});
	scene_get(&s, .quorum = 9);
	const struct coordinator_counters *counters = coordinator_counters(s.coordinator);
	assert_int_equal(counters->puts, 1);
	assert_int_equal(counters->gets, 2);
	assert_int_equal(counters->done, 1);
	assert_int_equal(counters->absent, 1);
	assert_int_equal(counters->refused, 1);
	assert_int_equal(counters->in_doubt, 0);
	scene_end(&s);
}

/* Operators are told how many operations of a call were refused for load, why, and of keys with many siblings. */
static void test_what_of_an_answer_is_told(void **state)
{
	struct client_operation operations[3] = {{.key = slice("a")}, {.key = slice("b")}, {.key = slice("c")}};
	struct client_result results[3] = {
		{.outcome = OUTCOME_DONE, .sibling_count = LIMIT_SIBLINGS_WARN + 1},
		{.outcome = OUTCOME_REFUSED, .code = CODE(RESOURCE_EXHAUSTED), .message = "too much"},
		{.outcome = OUTCOME_REFUSED, .code = CODE(FAILED_PRECONDITION)}};
	struct client_request request = {.operations = operations, .results = results, .count = 3};
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct effects effects;

	(void)state;
	effects_init(&effects, arena);
	coordinator_tell_answer(&request, 1, &effects);
	const struct note *siblings = effects.first_note, *overload = siblings->next;
	assert_int_equal(siblings->kind, NOTE_MANY_SIBLINGS);
	assert_int_equal(siblings->count, LIMIT_SIBLINGS_WARN + 1);
	assert_slice_equal(siblings->key, slice("a"));
	assert_int_equal(overload->kind, NOTE_OVERLOAD);
	assert_int_equal(overload->count, 1);
	assert_string_equal(overload->text, "too much");
	assert_null(overload->next);
	effects_init(&effects, arena);
	request.count = 1;
	results[0].sibling_count = LIMIT_SIBLINGS_WARN;
	coordinator_tell_answer(&request, 1, &effects);
	assert_null(effects.first_note);
	rpc_arena_unref(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_in_no_cluster),
		cmocka_unit_test(test_a_newer_ring_is_noticed),
		cmocka_unit_test(test_refused_not_a_member),
		cmocka_unit_test(test_refused_keys),
		cmocka_unit_test(test_refused_quorums),
		cmocka_unit_test(test_refused_context),
		cmocka_unit_test(test_refused_when_the_deadline_has_passed),
		cmocka_unit_test(test_batch_of_nothing),
		cmocka_unit_test(test_batch_with_mixed_results),
		cmocka_unit_test(test_batch_all_refused_is_answered_at_once),
		cmocka_unit_test(test_limit_of_operations),
		cmocka_unit_test(test_limit_answered_operations_give_way),
		cmocka_unit_test(test_destroy_with_operations_in_every_state),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_what_of_an_answer_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
