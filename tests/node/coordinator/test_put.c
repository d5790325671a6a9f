/* SPDX-License-Identifier: Apache-2.0 */
/* Writes: one coordinator, scripted answers. */
#include "proto/kv.pb-c.h"
#include "tests/node/scene.h"

#define CODE(name) KVRING__V1__CODE__##name

static void test_put_quorum(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1");
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "store n2, store n3"); /* while the local log syncs */
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "");
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: done 2/2");
	assert_true(scene_context_covers(&s, 1, 9));
	assert_false(scene_context_covers(&s, 1, 8)); /* the dot, not the clock */
	assert_int_equal(scene_in_flight(&s), 1);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_put_question_carries_what_the_replica_needs(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct context context = {.dots = &(struct dot){5, 6}, .dot_count = 1};
	struct rpc_slice bytes;
	assert_int_equal(context_encode(&context, scene_engine_key(&s), s.arena, &bytes), 0);
	scene_put(&s, .value = "red", .id = 0x77, .context = bytes);
	const struct message *question = scene_question(&s, MESSAGE_COORDINATE, 1);
	assert_slice_equal(question->coordinate.operation.value, slice("red"));
	assert_int_equal(question->coordinate.operation.operation_id[15], 0x77);
	assert_true(context_covers(&question->coordinate.context, (struct dot){5, 6}));
	uint32_t partition = ring_partition_of(s.document, "default", 7, s.key, strlen(s.key));
	assert_int_equal(question->to.index, partition % SCENE_SHARDS);
	assert_int_equal(question->to.kind, ACTOR_REPLICA);
	assert_int_equal(question->epoch, ring_epoch(s.document));
	s.answered[0] = false;
	scene_coordinated(&s, 1, REPLICA_OK);
	question = scene_question(&s, MESSAGE_STORE, 2);
	assert_slice_equal(question->store.object, slice("encoded object"));
	assert_int_equal(question->store.hint_for, 0);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, client: done 2/2");
	assert_true(scene_context_covers(&s, 1, 9));
	struct context result;
	assert_int_equal(context_decode(s.context, scene_engine_key(&s), s.arena, &result, NULL), 0);
	assert_true(context_covers(&result, (struct dot){5, 6})); /* the client's own context stays in */
	scene_end(&s);
}

static void test_put_w1_is_done_by_whoever_is_first(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .quorum = 1);
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "client: done 1/1");
	scene_stored(&s, 1, REPLICA_ERROR);
	scene_stored(&s, 3, REPLICA_LOST);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_put_w3_needs_all(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .quorum = 3);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: done 3/3");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_put_one_replica_down(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_UNREACHABLE);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: done 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_put_two_replicas_down_is_in_doubt(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_UNREACHABLE);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_stored(&s, 3, REPLICA_DISK_FULL);
	expect(&s, "client: in doubt 1/2");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(
		&s, "1 of 2 acknowledged (n2: unreachable, n3: disk full); safe to retry with the same operation id");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_put_in_doubt_as_soon_as_it_is_certain(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_UNREACHABLE);
	scene_stored(&s, 3, REPLICA_LOST);
	expect(&s, "coordinate n1, store n2, store n3, client: in doubt 0/2");
	scene_expect_text(&s, "n1: not waited for, n2: unreachable, n3: no answer, slow or connection lost");
	scene_stored(&s, 1, REPLICA_OK); /* late */
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_put_deadline(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .deadline_us = 1000);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_tick(&s, 999);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_tick(&s, 1);
	expect(&s, "client: in doubt 1/2");
	assert_int_equal(s.code, CODE(DEADLINE_EXCEEDED));
	scene_expect_text(&s, "n2: no answer in time");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_stored(&s, 2, REPLICA_OK); /* finds nobody */
	expect(&s, "");
	assert_int_equal(coordinator_counters(s.coordinator)->late_answers, 1);
	scene_end(&s);
}

/* Without memory for the other owners there is nothing to wait for: the client hears so before the local sync. */
static void test_put_without_memory_to_send_is_in_doubt_at_once(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1");
	s.memory = 64;
	scene_coordinated(&s, 1, REPLICA_OK);
	s.memory = 0;
	expect(&s, "client: in doubt 0/2");
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* C2: asked and silent is not refused. */
static void test_put_deadline_before_anything_is_known(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_tick(&s, 5 * 1000 * 1000);
	expect(&s, "coordinate n1, client: in doubt 0/2");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "");
	scene_end(&s);
}

static void test_put_answered_lives_until_the_deadline(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, client: done 2/2");
	assert_int_equal(scene_in_flight(&s), 1);
	scene_tick(&s, 5 * 1000 * 1000);
	assert_int_equal(scene_in_flight(&s), 0);
	assert_true(s.timer_us == UINT64_MAX);
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "");
	scene_end(&s);
}

/* C1: distinct replicas. */
static void test_put_duplicates_count_once(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .quorum = 3);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3");
	s.answered[0] = false;
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_ERROR);
	expect(&s, "");
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: done 3/3");
	scene_stored(&s, 3, REPLICA_OK);
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_put_answers_from_nobody_asked(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .quorum = 1);
	struct message *question = s.questions[0];
	for (unsigned node = 2; node <= 5; node++) {
		static const enum message_type types[] = {MESSAGE_COORDINATED, MESSAGE_STORED, MESSAGE_FETCHED,
							  MESSAGE_FORWARDED};
		for (unsigned i = 0; i < 4; i++) {
			struct arena *arena = rpc_arena_create(256, SIZE_MAX);
			struct message *answer = message_answer(question, arena, types[i]);
			rpc_arena_unref(arena);
			answer->from.node_id = scene_node(node);
			if (types[i] == MESSAGE_COORDINATED)
				answer->status = REPLICA_OK;
			else if (types[i] == MESSAGE_STORED)
				answer->status = REPLICA_OK;
			else if (types[i] == MESSAGE_FORWARDED)
				answer->forwarded.result.outcome = OUTCOME_DONE;
			scene_message(&s, answer);
		}
	}
	expect(&s, "coordinate n1");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "store n2, store n3, client: done 1/1");
	scene_end(&s);
}

static void test_put_sibling_limit(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_SIBLING_LIMIT);
	expect(&s, "coordinate n1, client: refused 0/2");
	assert_int_equal(s.code, CODE(FAILED_PRECONDITION));
	scene_expect_text(&s, "limit of 100, of 64 actors or of 48 MiB together");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* ---- an attempt that is not the first ------------------------------------------------------------------------------ */

/* It writes when this owner knows what another one knows: of any two one has heard of an earlier attempt that was done. */
static void test_a_later_attempt_learns_first(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice object = scene_object(&s, (struct rpc_slice){0}, false, 2, 5, "old");
	scene_put(&s, .value = "red", .attempt = 2);
	expect(&s, "fetch n2, fetch n3");
	scene_fetched(&s, 2, object);
	expect(&s, "store n1");
	assert_slice_equal(scene_question(&s, MESSAGE_STORE, 1)->store.object, object);
	scene_fetched(&s, 3, (struct rpc_slice){0}); /* enough by itself, but the lesson is to end first */
	expect(&s, "");
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1");
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "store n2, store n3");
	scene_fetched(&s, 2, object); /* late: it means nothing any more */
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "");
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "client: done 2/2");
	scene_end(&s);
}

/* An owner that has nothing teaches as much; a client that does not count may be at any attempt; so may who forwards. */
static void test_who_learns(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .attempt = SCENE_UNCOUNTED);
	scene_fetched(&s, 3, (struct rpc_slice){0});
	expect(&s, "fetch n2, fetch n3, coordinate n1");
	scene_forward_in(&s, (struct ask){.value = "red", .attempt = 3});
	scene_fetched(&s, 2, (struct rpc_slice){0});
	expect(&s, "fetch n2, fetch n3, coordinate n1");
	/* With w=3 whatever was done is known here, with w=1 the write would ask for less than to learn. */
	scene_put(&s, .value = "red", .attempt = 2, .quorum = 3);
	scene_put(&s, .value = "red", .attempt = 2, .quorum = 1);
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1, coordinate n1, coordinate n1");
	scene_end(&s);
}

static void test_a_later_attempt_that_cannot_learn_is_refused(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .attempt = 2);
	scene_fetch_failed(&s, 2, REPLICA_UNREACHABLE);
	scene_fetched_receiving(&s, 3, (struct rpc_slice){0});
	expect(&s, "fetch n2, fetch n3, client: refused 0/2");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s,
			  "before the write is repeated, 2 of the key's owners have to answer (n2: unreachable, n3: "
			  "receiving, its answer does not count): nothing was written");
	/* The lesson cannot be kept. */
	scene_put(&s, .value = "red", .attempt = 2);
	scene_fetch_failed(&s, 2, REPLICA_LOST);
	scene_fetched(&s, 3, scene_object(&s, (struct rpc_slice){0}, false, 2, 5, "old"));
	scene_stored(&s, 1, REPLICA_DISK_FULL);
	expect(&s, "fetch n2, fetch n3, store n1, client: refused 0/2");
	scene_expect_text(&s, "n1: disk full");
	/* Silence. */
	scene_put(&s, .value = "red", .attempt = 2);
	scene_tick(&s, 5 * 1000 * 1000);
	expect(&s, "fetch n2, fetch n3, client: refused 0/2");
	assert_int_equal(s.code, CODE(DEADLINE_EXCEEDED));
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* As in reads: a disk that may have gone back in time proves nothing, but what it has is taken, and all owners are enough. */
static void test_a_later_attempt_among_receiving_owners(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .attempt = 2);
	scene_fetched_receiving(&s, 2, scene_object(&s, (struct rpc_slice){0}, false, 2, 5, "old"));
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "fetch n2, fetch n3, store n1");
	scene_fetched_receiving(&s, 3, (struct rpc_slice){0});
	expect(&s, "coordinate n1");
	scene_end(&s);
}

/* C5: the links know first. Nothing is written for which too few of them are open. */
static void test_a_closed_link_counts_at_once(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	s.closed[3] = true;
	scene_put(&s, .value = "red", .quorum = 3);
	expect(&s, "client: refused 0/3");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s, "2 of the key's 3 owners can be reached from this node");
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1");
	s.closed[3] = false; /* it is there again, whatever gossip says meanwhile */
	scene_put(&s, .value = "red", .quorum = 3);
	expect(&s, "coordinate n1");
	scene_end(&s);
	/* Who is no owner asks one to which a link is open first. */
	scene_begin(&s, 4);
	s.closed[1] = true;
	scene_put(&s, .value = "red");
	expect(&s, "forward n2");
	scene_end(&s);
}

/* C5: an owner that left a call without an answer is asked before anything is written that needs it. */
static void test_a_silent_owner_is_asked_first(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red", .quorum = 3);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	scene_tick(&s, 5 * 1000 * 1000);
	expect(&s, "coordinate n1, store n2, store n3, client: in doubt 2/3");
	/* With w=2 the others are enough. */
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1");
	scene_put(&s, .value = "red", .quorum = 3);
	scene_fetched(&s, 2, (struct rpc_slice){0});
	expect(&s, "digest n2, digest n3");
	scene_fetch_failed(&s, 3, REPLICA_LOST);
	expect(&s, "client: refused 0/3");
	scene_expect_text(&s, "before the write begins, 3 of the key's owners have to answer (n3: no answer");
	/* It answers: one that is receiving takes writes, too. */
	scene_put(&s, .value = "red", .quorum = 3);
	scene_fetched_receiving(&s, 3, scene_object(&s, (struct rpc_slice){0}, false, 2, 5, "old"));
	scene_fetched(&s, 2, (struct rpc_slice){0});
	expect(&s, "digest n2, digest n3, coordinate n1");
	scene_put(&s, .value = "red", .quorum = 3);
	expect(&s, "coordinate n1"); /* no longer silent */
	scene_end(&s);
}

/* What is not counted does not become the first attempt by a forward. */
static void test_an_uncounted_attempt_stays_uncounted(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red", .attempt = SCENE_UNCOUNTED);
	scene_tick(&s, 2 * 1000 * 1000);
	expect(&s, "forward n1, forward n2");
	assert_int_equal(s.questions[0]->forward.operation.attempt, 0);
	assert_int_equal(s.questions[1]->forward.operation.attempt, 0);
	scene_end(&s);
}

/* Refusals of the owner that no other can better, each with its advice. */
static void test_put_refused_attempts(void **state)
{
	(void)state;
	static const struct {
		enum replica_status status;
		uint32_t code;
		const char *text;
	} cases[] = {
		{REPLICA_TOO_OLD, CODE(FAILED_PRECONDITION), "too old to repeat: read the key"},
		{REPLICA_EARLY, CODE(INVALID_ARGUMENT), "correct the clock"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct scene s;
		scene_begin(&s, 1);
		scene_put(&s, .value = "red");
		scene_coordinated(&s, 1, cases[i].status);
		expect(&s, "coordinate n1, client: refused 0/2");
		assert_int_equal(s.code, cases[i].code);
		scene_expect_text(&s, cases[i].text);
		assert_int_equal(scene_in_flight(&s), 0);
		scene_end(&s);
	}
}

/* The owner from which the client got the context knows the operation: another one may be that. */
static void test_put_with_a_context_of_its_own_goes_to_another_owner(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OWN_CONTEXT);
	expect(&s, "coordinate n1, forward n2");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(ABORTED), "own context");
	expect(&s, "forward n3");
	scene_forwarded(&s, 3, OUTCOME_DONE, 0, NULL);
	expect(&s, "client: done 2/2");
	scene_end(&s);
}

/* The value was superseded since an earlier attempt: done, and the client has seen no more than it had. */
static void test_put_superseded_is_done_with_the_clients_context(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice object = scene_object(&s, (struct rpc_slice){0}, false, 2, 5, "old"), given;
	struct object decoded;
	assert_int_equal(object_decode(object, s.arena, &decoded, NULL), 0);
	assert_int_equal(object_context(&decoded, scene_engine_key(&s), 0, s.arena, &given), 0);
	scene_put(&s, .value = "red", .context = given);
	scene_superseded(&s, 1);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, client: done 2/2");
	struct context had, has;
	assert_int_equal(context_decode(given, scene_engine_key(&s), s.arena, &had, NULL), 0);
	assert_int_equal(context_decode(s.context, scene_engine_key(&s), s.arena, &has, NULL), 0);
	assert_int_equal(has.vector.count, had.vector.count);
	assert_int_equal(has.dot_count, 0);
	assert_int_equal(has.past.count, had.past.count + 1);
	scene_end(&s);
}

/* C5: nothing is written that cannot reach its quorum. */
static void test_put_is_refused_while_too_few_owners_can_be_reached(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_set_reachable(&s, 2, false);
	scene_put(&s, .value = "red", .quorum = 3);
	expect(&s, "client: refused 0/3");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s, "2 of the key's 3 owners can be reached");
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1");
	scene_end(&s);
}

static void test_put_needs_an_operation_id_with_a_time(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct client_operation operation = {
		.kind = OPERATION_PUT, .key = slice(s.key), .value = slice("red"), .operation_id = {1, 2, 3}};
	scene_batch(&s, &operation, 1);
	expect(&s, "client: refused 0/0");
	assert_int_equal(s.code, CODE(INVALID_ARGUMENT));
	scene_expect_text(&s, "UUID version 7");
	scene_end(&s);
}

/* ---- forwarding -------------------------------------------------------------------------------------------------- */

static void test_forward(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red", .id = 9);
	expect(&s, "forward n1");
	const struct message *question = s.questions[0];
	assert_int_equal(question->to.kind, ACTOR_COORDINATOR);
	assert_slice_equal(question->forward.operation.value, slice("red"));
	assert_int_equal(question->forward.operation.operation_id[15], 9);
	scene_forwarded(&s, 1, OUTCOME_DONE, 0, NULL);
	expect(&s, "client: done 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_forwarded(&s, 1, OUTCOME_DONE, 0, NULL);
	expect(&s, "");
	scene_end(&s);
}

static void test_forward_prefers_reachable_owners(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_set_reachable(&s, 1, false);
	scene_put(&s, .value = "red");
	expect(&s, "forward n2");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(UNAVAILABLE), "no");
	expect(&s, "forward n3");
	scene_forwarded(&s, 3, OUTCOME_REFUSED, CODE(UNAVAILABLE), "no");
	expect(&s, "forward n1");
	scene_end(&s);
}

/* Its peer port is dead, its bus lives: gossip says up. Only the first put pays for it, until it answers something. */
static void test_forward_asks_last_who_was_silent(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red");
	expect(&s, "forward n1");
	scene_tick(&s, 1700 * 1000); /* its share of 5 s */
	expect(&s, "forward n2");
	scene_forwarded(&s, 2, OUTCOME_DONE, 0, NULL);
	expect(&s, "client: done 2/2");
	scene_put(&s, .value = "blue", .id = 2);
	expect(&s, "forward n2");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(ABORTED), "another ring");
	scene_forwarded(&s, 3, OUTCOME_REFUSED, CODE(ABORTED), "another ring");
	expect(&s, "forward n3, forward n1"); /* last, but not never */
	scene_forwarded(&s, 1, OUTCOME_DONE, 0, NULL);
	expect(&s, "client: done 2/2");
	scene_put(&s, .value = "green", .id = 3);
	expect(&s, "forward n1");
	scene_end(&s);
}

static void test_a_silent_owner_is_tried_again_after_a_while(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(UNAVAILABLE), "unreachable");
	scene_forwarded(&s, 2, OUTCOME_DONE, 0, NULL);
	expect(&s, "forward n1, forward n2, client: done 2/2");
	scene_tick(&s, EVIDENCE_SUSPECT_US - 1);
	scene_put(&s, .value = "blue", .id = 2);
	scene_forwarded(&s, 2, OUTCOME_DONE, 0, NULL);
	expect(&s, "forward n2, client: done 2/2");
	scene_tick(&s, 1);
	scene_put(&s, .value = "green", .id = 3);
	expect(&s, "forward n1");
	scene_end(&s);
}

/* It answers calls, whatever gossip says. */
static void test_own_calls_count_before_gossip(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_DONE, 0, NULL);
	expect(&s, "forward n1, client: done 2/2");
	scene_set_reachable(&s, 1, false);
	scene_put(&s, .value = "blue", .id = 2);
	expect(&s, "forward n1");
	scene_forwarded(&s, 1, OUTCOME_DONE, 0, NULL);
	expect(&s, "client: done 2/2");
	scene_tick(&s, EVIDENCE_FRESH_US);
	scene_put(&s, .value = "green", .id = 3);
	expect(&s, "forward n2");
	scene_end(&s);
}

/* A replica that never answered a get is no source of the next object, and no first choice of the next put. */
static void test_silence_of_a_get_counts(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_get(&s, .quorum = 2);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetched(&s, 2, (struct rpc_slice){0});
	scene_fetched(&s, 3, (struct rpc_slice){0});
	expect(&s, "client: absent 2/2");
	scene_tick(&s, 5 * 1000 * 1000);
	scene_get(&s);
	expect(&s, "digest n1, fetch n2, digest n3");
	scene_put(&s, .value = "red");
	expect(&s, "forward n2");
	scene_fetched(&s, 1, (struct rpc_slice){0});
	scene_put(&s, .value = "blue", .id = 2);
	expect(&s, "forward n1");
	scene_end(&s);
}

static void test_forward_goes_on_to_the_next_owner(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(UNAVAILABLE), "unreachable");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(ABORTED), "another ring");
	scene_forwarded(&s, 3, OUTCOME_REFUSED, CODE(RESOURCE_EXHAUSTED), "no room");
	expect(&s, "forward n1, forward n2, forward n3, client: refused 0/2");
	scene_expect_text(&s, "no room");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_forward_final_refusal_is_not_retried(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(FAILED_PRECONDITION), "too many siblings");
	expect(&s, "forward n1, client: refused 0/2");
	scene_end(&s);
}

/* C2: once one owner may have it, a later refusal is a doubt. */
static void test_forward_refused_after_doubt_is_in_doubt(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_IN_DOUBT, CODE(UNAVAILABLE), "lost");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(UNAVAILABLE), "unreachable");
	scene_forwarded(&s, 3, OUTCOME_REFUSED, CODE(UNAVAILABLE), "nothing there");
	expect(&s, "forward n1, forward n2, forward n3, client: in doubt 0/2");
	scene_expect_text(&s, "nothing there; an owner asked before may hold the write");
	scene_end(&s);
}

/* Each owner counts its own try: the most that one of them had is what is known. */
static void test_forward_in_doubt_counts_the_most_acks(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red", .quorum = 3);
	s.forwarded_acks = 2;
	scene_forwarded(&s, 1, OUTCOME_IN_DOUBT, CODE(UNAVAILABLE), "lost");
	s.forwarded_acks = 1;
	scene_forwarded(&s, 2, OUTCOME_IN_DOUBT, CODE(UNAVAILABLE), "lost too");
	scene_forwarded(&s, 3, OUTCOME_IN_DOUBT, CODE(UNAVAILABLE), "and here");
	expect(&s, "forward n1, forward n2, forward n3, client: in doubt 2/3");
	scene_expect_text(&s, "at least 2 of 3 acknowledged (another owner: and here)");
	scene_put(&s, .value = "red", .quorum = 3);
	s.forwarded_acks = 1;
	scene_forwarded(&s, 1, OUTCOME_IN_DOUBT, CODE(UNAVAILABLE), "lost");
	s.forwarded_acks = 0;
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(UNAVAILABLE), "unreachable");
	scene_tick(&s, 10 * 1000 * 1000); /* the third says nothing */
	expect(&s, "forward n1, forward n2, forward n3, client: in doubt 1/3");
	scene_expect_text(&s, "at least 1 of 3 acknowledged (");
	/* nobody has told: that is not "0 of 3" */
	scene_put(&s, .value = "red", .quorum = 3);
	scene_tick(&s, 10 * 1000 * 1000);
	scene_expect_text(&s, "no owner said in time whether the 3 needed acknowledged it (n1: no answer");
	scene_end(&s);
}

static void test_forward_shares_the_deadline(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red", .deadline_us = 3000000);
	expect(&s, "forward n1");
	/* a third, less what its answer needs to come back */
	assert_int_equal(s.questions[0]->deadline_us, s.now_us + 1000000 - 50000);
	scene_tick(&s, 999999);
	expect(&s, "");
	assert_int_equal(s.questions[0]->forward.operation.attempt, 1);
	scene_tick(&s, 1);
	expect(&s, "forward n2");
	assert_int_equal(s.questions[1]->deadline_us, s.now_us + 1000000 - 50000);
	assert_int_equal(s.questions[1]->forward.operation.attempt, 2); /* the first may still be executed */
	scene_tick(&s, 1000000);
	expect(&s, "forward n3");
	scene_tick(&s, 1000000);
	expect(&s, "client: in doubt 0/2");
	assert_int_equal(s.code, CODE(DEADLINE_EXCEEDED));
	scene_expect_text(&s, "n2: no answer, slow or connection lost, n3: no answer in time");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_forward_late_success_counts(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_put(&s, .value = "red", .deadline_us = 3000000);
	scene_tick(&s, 1000000);
	expect(&s, "forward n1, forward n2");
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(UNAVAILABLE), "late, and no news");
	expect(&s, "");
	scene_forwarded(&s, 1, OUTCOME_DONE, 0, NULL);
	expect(&s, "client: done 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_forwarded(&s, 2, OUTCOME_DONE, 0, NULL);
	expect(&s, "");
	scene_end(&s);
}

static void test_forward_when_the_local_replica_refuses(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_DISK_FULL);
	expect(&s, "coordinate n1, forward n2");
	scene_forwarded(&s, 2, OUTCOME_DONE, 0, NULL);
	expect(&s, "client: done 2/2");
	scene_end(&s);
}

static void test_forwarded_put_is_answered_to_the_sender(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 2);
	scene_forward_in(&s, (struct ask){.value = "red"});
	expect(&s, "coordinate n2");
	scene_coordinated(&s, 2, REPLICA_OK);
	expect(&s, "store n1, store n3");
	scene_stored(&s, 2, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "n5: done 2/2");
	assert_true(scene_context_covers(&s, 2, 9));
	scene_stored(&s, 3, REPLICA_OK);
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_forwarded_put_is_not_forwarded_again(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_forward_in(&s, (struct ask){.value = "red"});
	scene_coordinated(&s, 1, REPLICA_DISK_FULL);
	expect(&s, "coordinate n1, n5: refused 0/2");
	assert_int_equal(s.code, CODE(RESOURCE_EXHAUSTED));
	scene_expect_text(&s, "n1: disk full): nothing was written");
	scene_end(&s);
	scene_begin(&s, 4);
	scene_forward_in(&s, (struct ask){.value = "red"});
	expect(&s, "n5: refused 0/2");
	assert_int_equal(s.code, CODE(ABORTED));
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_quorum),
		cmocka_unit_test(test_put_question_carries_what_the_replica_needs),
		cmocka_unit_test(test_put_w1_is_done_by_whoever_is_first),
		cmocka_unit_test(test_put_w3_needs_all),
		cmocka_unit_test(test_put_one_replica_down),
		cmocka_unit_test(test_put_two_replicas_down_is_in_doubt),
		cmocka_unit_test(test_put_in_doubt_as_soon_as_it_is_certain),
		cmocka_unit_test(test_put_deadline),
		cmocka_unit_test(test_put_without_memory_to_send_is_in_doubt_at_once),
		cmocka_unit_test(test_put_deadline_before_anything_is_known),
		cmocka_unit_test(test_put_answered_lives_until_the_deadline),
		cmocka_unit_test(test_put_duplicates_count_once),
		cmocka_unit_test(test_put_answers_from_nobody_asked),
		cmocka_unit_test(test_put_sibling_limit),
		cmocka_unit_test(test_a_later_attempt_learns_first),
		cmocka_unit_test(test_who_learns),
		cmocka_unit_test(test_a_later_attempt_that_cannot_learn_is_refused),
		cmocka_unit_test(test_a_later_attempt_among_receiving_owners),
		cmocka_unit_test(test_a_closed_link_counts_at_once),
		cmocka_unit_test(test_a_silent_owner_is_asked_first),
		cmocka_unit_test(test_an_uncounted_attempt_stays_uncounted),
		cmocka_unit_test(test_put_refused_attempts),
		cmocka_unit_test(test_put_with_a_context_of_its_own_goes_to_another_owner),
		cmocka_unit_test(test_put_superseded_is_done_with_the_clients_context),
		cmocka_unit_test(test_put_is_refused_while_too_few_owners_can_be_reached),
		cmocka_unit_test(test_put_needs_an_operation_id_with_a_time),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_forward_prefers_reachable_owners),
		cmocka_unit_test(test_forward_asks_last_who_was_silent),
		cmocka_unit_test(test_a_silent_owner_is_tried_again_after_a_while),
		cmocka_unit_test(test_own_calls_count_before_gossip),
		cmocka_unit_test(test_silence_of_a_get_counts),
		cmocka_unit_test(test_forward_goes_on_to_the_next_owner),
		cmocka_unit_test(test_forward_final_refusal_is_not_retried),
		cmocka_unit_test(test_forward_refused_after_doubt_is_in_doubt),
		cmocka_unit_test(test_forward_in_doubt_counts_the_most_acks),
		cmocka_unit_test(test_forward_shares_the_deadline),
		cmocka_unit_test(test_forward_late_success_counts),
		cmocka_unit_test(test_forward_when_the_local_replica_refuses),
		cmocka_unit_test(test_forwarded_put_is_answered_to_the_sender),
		cmocka_unit_test(test_forwarded_put_is_not_forwarded_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
