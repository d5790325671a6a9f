/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include "node/actor/event.h"
#include "node/actor/message.h"

/* Whether an arena is still alive is seen by the sanitizers, as a leak or a use after free; here by its bytes. */
static struct arena *new_arena(void)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);

	assert_non_null(arena);
	return arena;
}

static void test_a_message_keeps_its_arenas(void **state)
{
	struct arena *home = new_arena(), *first = new_arena(), *second = new_arena();
	struct message *message = message_create(home, MESSAGE_STORE);

	(void)state;
	message->key.data = rpc_arena_copy(first, "key", 4);
	message->store.object.data = rpc_arena_copy(second, "object", 7);
	message_pin(message, first);
	message_pin(message, second);
	rpc_arena_unref(home);
	rpc_arena_unref(first);
	rpc_arena_unref(second);
	assert_string_equal((const char *)message->key.data, "key");
	assert_string_equal((const char *)message->store.object.data, "object");
	message_free(message);
	message_free(NULL);
}

static void test_an_answer_goes_back(void **state)
{
	struct arena *home = new_arena();
	struct message *question = message_create(home, MESSAGE_FETCH), *answer;

	(void)state;
	question->from = (struct address){1, ACTOR_COORDINATOR, 2};
	question->to = (struct address){3, ACTOR_REPLICA, 4};
	question->correlation = 55;
	question->call = home;
	question->call_index = 6;
	answer = message_answer(question, home, MESSAGE_FETCHED);
	assert_int_equal(answer->to.node_id, 1);
	assert_int_equal(answer->to.index, 2);
	assert_int_equal(answer->from.node_id, 3);
	assert_int_equal(answer->from.kind, ACTOR_REPLICA);
	assert_int_equal(answer->correlation, 55);
	assert_ptr_equal(answer->call, home);
	assert_int_equal(answer->call_index, 6);
	message_free(question);
	message_free(answer);
	rpc_arena_unref(home);
}

/* A client's request holds the messages and arenas that its results point into; each may lie in the same arena. */
static void test_results_are_dropped_with_the_request(void **state)
{
	struct arena *home = new_arena();
	struct message *message = message_create(home, MESSAGE_CLIENT);
	struct client_request *request = rpc_arena_zalloc(home, sizeof *request);

	(void)state;
	request->count = 3;
	request->results = rpc_arena_zalloc(home, 3 * sizeof *request->results);
	for (uint32_t i = 0; i < 2; i++) {
		struct arena *other = new_arena();

		request->results[i].held = message_create(other, MESSAGE_FETCHED);
		request->results[i].pin = other;
	}
	message->client.request = request;
	message->type = MESSAGE_CLIENT_DONE;
	rpc_arena_unref(home);
	message_free(message);
}

/* What is large waits in a line of its own: so does each kind that carries what may be large. */
static void test_what_carries_much_is_large(void **state)
{
	static const uint8_t zeros[LIMIT_SMALL_SIZE + 1];
	const enum message_type types[] = {MESSAGE_FORWARD, MESSAGE_COORDINATE, MESSAGE_STORE, MESSAGE_VOTE};

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		for (size_t size = LIMIT_SMALL_SIZE; size <= sizeof zeros; size++) {
			struct message message = {.type = types[i]};
			struct rpc_slice much = {zeros, size};

			if (types[i] == MESSAGE_FORWARD)
				message.forward.operation.value = much;
			else if (types[i] == MESSAGE_COORDINATE)
				message.coordinate.operation.value = much;
			else if (types[i] == MESSAGE_STORE)
				message.store.object = much;
			else
				message.vote.document = much;
			assert_true(message_is_large(&message) == (size > LIMIT_SMALL_SIZE));
		}
	}
}

static void test_every_type_and_status_has_a_name(void **state)
{
	(void)state;
	for (enum message_type type = 0; type < MESSAGE_TYPE_COUNT; type++) {
		assert_non_null(message_type_name(type));
		for (enum message_type other = 0; other < type; other++)
			assert_string_not_equal(message_type_name(type), message_type_name(other));
	}
	assert_string_equal(message_type_name(MESSAGE_TYPE_COUNT), "unknown");
	for (enum replica_status status = REPLICA_OK; status < REPLICA_STATUS_COUNT; status++)
		assert_string_not_equal(replica_status_name(status), "unknown");
	assert_string_equal(replica_status_name(REPLICA_STATUS_COUNT), "unknown");
	assert_string_equal(replica_status_name(0), "unknown");
}

static void test_effects_keep_their_order(void **state)
{
	struct arena *arena = new_arena();
	struct effects effects;
	struct message *sent[3];
	uint32_t i = 0;

	(void)state;
	effects_init(&effects, arena);
	assert_true(effects.timer_us == UINT64_MAX);
	assert_false(effects.sync);
	for (i = 0; i < 3; i++) {
		sent[i] = message_create(arena, MESSAGE_STORE);
		effects_send(&effects, sent[i]);
	}
	assert_int_equal(effects.messages.count, 3);
	i = 0;
	for (struct message *at; (at = message_list_take(&effects.messages)) != NULL;) {
		assert_ptr_equal(at, sent[i++]);
		message_free(at);
	}
	assert_int_equal(i, 3);
	assert_int_equal(effects.messages.count, 0);
	rpc_arena_unref(arena);
}

/* One that was emptied takes more, and a copy is as good as the list. */
static void test_a_list_keeps_its_order(void **state)
{
	struct arena *arena = new_arena();
	struct message *messages[4];
	struct message_list list = {0}, copy;

	(void)state;
	for (int i = 0; i < 4; i++)
		messages[i] = message_create(arena, MESSAGE_STORE);
	message_list_add(&list, messages[0]);
	assert_ptr_equal(message_list_take(&list), messages[0]);
	assert_null(message_list_take(&list));
	message_list_add(&list, messages[1]);
	copy = list;
	message_list_add(&copy, messages[2]);
	message_list_add(&copy, messages[3]);
	assert_int_equal(copy.count, 3);
	for (int i = 1; i < 4; i++)
		assert_ptr_equal(message_list_take(&copy), messages[i]);
	assert_null(message_list_take(&copy));
	for (int i = 0; i < 4; i++)
		message_free(messages[i]);
	message_list_add(&copy, message_create(arena, MESSAGE_FETCH));
	message_list_free(&copy);
	assert_null(copy.first);
	rpc_arena_unref(arena);
}

static void test_every_message_has_a_way(void **state)
{
	struct arena *arena = new_arena();
	struct message *message = message_create(arena, MESSAGE_STORED);

	(void)state;
	message->to.node_id = 7;
	assert_int_equal(message_way(message, 7), WAY_LOCAL);
	assert_int_equal(message_way(message, 8), WAY_PEER);
	message->call = arena;
	assert_int_equal(message_way(message, 8), WAY_ANSWER);
	assert_int_equal(message_way(message, 7), WAY_LOCAL);
	message->type = MESSAGE_CLIENT_DONE;
	assert_int_equal(message_way(message, 7), WAY_CLIENT);
	message->type = MESSAGE_CLUSTER_INITED;
	assert_int_equal(message_way(message, 8), WAY_CLIENT);
	message->type = MESSAGE_BUS;
	message->call = NULL;
	message->to.node_id = 0;
	assert_int_equal(message_way(message, 7), WAY_BUS);
	message_free(message);
	rpc_arena_unref(arena);
}

/* A question has one kind of actor that takes it; the answers of replicas go to coordinators and to upkeep, which ask them. */
static void test_answers_go_to_who_asks(void **state)
{
	static const enum message_type of_replicas[] = {MESSAGE_STORED, MESSAGE_FETCHED};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_true(message_is_for(of_replicas[i], ACTOR_COORDINATOR));
		assert_true(message_is_for(of_replicas[i], ACTOR_UPKEEP));
		assert_false(message_is_for(of_replicas[i], ACTOR_GOSSIP));
		assert_false(message_is_for(of_replicas[i], ACTOR_REPLICA));
	}
	assert_true(message_is_for(MESSAGE_SCANNED, ACTOR_UPKEEP));
	assert_true(message_is_for(MESSAGE_RING, ACTOR_UPKEEP));
	assert_true(message_is_for(MESSAGE_READY, ACTOR_GOSSIP));
	assert_true(message_is_for(MESSAGE_DROP, ACTOR_REPLICA));
	assert_false(message_is_for(MESSAGE_COORDINATED, ACTOR_UPKEEP));
	assert_false(message_is_for(MESSAGE_STORE, ACTOR_UPKEEP));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_message_keeps_its_arenas),
		cmocka_unit_test(test_an_answer_goes_back),
		cmocka_unit_test(test_results_are_dropped_with_the_request),
		cmocka_unit_test(test_what_carries_much_is_large),
		cmocka_unit_test(test_every_type_and_status_has_a_name),
		cmocka_unit_test(test_effects_keep_their_order),
		cmocka_unit_test(test_a_list_keeps_its_order),
		cmocka_unit_test(test_every_message_has_a_way),
		cmocka_unit_test(test_answers_go_to_who_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
