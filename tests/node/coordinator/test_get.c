/* SPDX-License-Identifier: Apache-2.0 */
/* Reads: one coordinator, scripted answers. */
#include "proto/kv.pb-c.h"
#include "tests/node/scene.h"

#define CODE(name) KVRING__V1__CODE__##name

static const struct rpc_slice ABSENT; /* size 0 */

static struct rpc_slice object(struct scene *s, unsigned node, uint64_t counter, const char *value)
{
	return scene_object(s, ABSENT, false, node, counter, value);
}

static struct rpc_slice over(struct scene *s, struct rpc_slice old, unsigned node, uint64_t counter, const char *value)
{
	return scene_object(s, old, true, node, counter, value);
}

/* The newest STORE to that node carries this object. */
static void assert_repair(struct scene *s, unsigned node, struct rpc_slice object)
{
	const struct message *store = NULL;
	for (unsigned i = 0; i < s->question_count; i++)
		if (s->questions[i]->type == MESSAGE_STORE && s->questions[i]->to.node_id == scene_node(node))
			store = s->questions[i];
	assert_non_null(store);
	assert_true(scene_same(s, store->store.object, object));
}

static void test_get_equal_digests(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetched(&s, 1, red);
	expect(&s, "");
	scene_fetched(&s, 2, red);
	expect(&s, "client: red 2/2");
	assert_true(scene_context_covers(&s, 1, 5));
	scene_fetched(&s, 3, red);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_digests_first(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 3, red);
	expect(&s, "fetch n1, digest n2, digest n3"); /* the object is on its way */
	scene_fetched(&s, 1, red);
	expect(&s, "client: red 3/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_r1(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s, .quorum = 1);
	scene_fetched(&s, 1, red);
	expect(&s, "fetch n1, digest n2, digest n3, client: red 1/1");
	scene_fetched(&s, 2, red);
	scene_fetch_failed(&s, 3, REPLICA_UNREACHABLE);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_r3(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s, .quorum = 3);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, red);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetched(&s, 3, red);
	expect(&s, "client: red 3/3");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_r3_with_one_down_is_refused_at_once(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_get(&s, .quorum = 3);
	scene_fetch_failed(&s, 3, REPLICA_UNREACHABLE);
	expect(&s, "fetch n1, digest n2, digest n3, client: refused 0/3");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s, "0 of 3 replicas answered (n1: not waited for, n2: not waited for, n3: unreachable): "
			      "retry, or read with a smaller r");
	scene_end(&s);
}

/* What n1 had acknowledged with n2 it may have lost: n3, which never had it, is no second answer. */
static void test_get_receiving_owner_makes_up_no_r(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 2, 5, "red");
	scene_get(&s);
	scene_fetched_receiving(&s, 1, ABSENT);
	scene_fetched(&s, 3, ABSENT);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetched(&s, 2, red);
	expect(&s, "fetch n2");
	scene_fetched(&s, 2, red);
	expect(&s, "store n1, store n3"); /* it is repaired all the same */
	assert_repair(&s, 1, red);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, ""); /* n1 is current, which does not count */
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: red 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* Its object is not left out. */
static void test_get_object_of_a_receiving_owner_is_merged(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched_receiving(&s, 1, red);
	scene_fetched(&s, 2, red);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetched(&s, 3, ABSENT);
	expect(&s, "store n3");
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: red 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* More than all cannot be asked: that is how an operator brings back what is missing. */
static void test_get_all_owners_are_enough_though_one_is_receiving(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 2, 5, "red");
	scene_get(&s, .quorum = 3);
	scene_fetched_receiving(&s, 1, ABSENT);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 2, red);
	expect(&s, "fetch n1, digest n2, digest n3, fetch n2, store n1");
	scene_fetched(&s, 3, red);
	expect(&s, "");
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "client: red 3/3");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_with_too_few_that_count_is_refused(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_get(&s);
	scene_fetched_receiving(&s, 1, ABSENT);
	scene_fetched(&s, 3, ABSENT);
	scene_fetch_failed(&s, 2, REPLICA_UNREACHABLE);
	expect(&s, "fetch n1, digest n2, digest n3, client: refused 1/2");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s, "1 of 2 replicas answered (n1: receiving, its answer does not count, n2: unreachable)");
	scene_end(&s);
}

/* The owners that the answer rests on are repaired before it leaves. */
static void test_get_stale_owner_is_repaired_before_the_answer(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = over(&s, red, 1, 6, "blue");
	scene_get(&s);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, blue);
	expect(&s, "fetch n1, digest n2, digest n3, fetch n2");
	scene_fetched(&s, 2, blue);
	expect(&s, "store n1");
	assert_repair(&s, 1, blue);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "client: blue 2/2");
	scene_fetched(&s, 3, blue);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* Two current owners are enough: nobody waits for the third one's repair. */
static void test_get_third_owner_current_ends_the_wait_for_repair(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 2, ABSENT);
	scene_fetched(&s, 1, red);
	expect(&s, "fetch n1, digest n2, digest n3, store n2");
	scene_fetched(&s, 3, red);
	expect(&s, "client: red 3/2");
	assert_int_equal(scene_in_flight(&s), 1);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_waits_for_repair_only_so_long(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 2, ABSENT);
	scene_fetched(&s, 1, red);
	expect(&s, "fetch n1, digest n2, digest n3, store n2");
	scene_tick(&s, 499999);
	expect(&s, "");
	scene_tick(&s, 1);
	expect(&s, "client: red 2/2");
	scene_fetched(&s, 3, red);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_repair_that_fails_does_not_hold_the_answer(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 2, ABSENT);
	scene_fetched(&s, 1, red);
	scene_stored(&s, 2, REPLICA_DISK_FULL);
	expect(&s, "fetch n1, digest n2, digest n3, store n2, client: red 2/2");
	scene_fetched(&s, 3, red);
	expect(&s, ""); /* the owners differ still, but the same repair is not tried again */
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_siblings(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = object(&s, 2, 7, "blue");
	scene_get(&s);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, blue);
	scene_fetched(&s, 2, blue);
	expect(&s, "fetch n1, digest n2, digest n3, fetch n2, store n1, store n2");
	struct rpc_slice both = scene_merge(&s, red, blue);
	assert_repair(&s, 1, both);
	assert_repair(&s, 2, both);
	scene_stored(&s, 2, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "client: red|blue 2/2");
	assert_true(scene_context_covers(&s, 1, 5));
	assert_true(scene_context_covers(&s, 2, 7));
	scene_fetched(&s, 3, both);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* An owner that was found equal to another stays known when that one is repaired. */
static void test_get_r3_equal_owner_is_not_fetched_again(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = object(&s, 2, 7, "blue");
	scene_get(&s, .quorum = 3);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 3, red);
	scene_fetched(&s, 2, blue);
	scene_fetched(&s, 2, blue);
	expect(&s, "fetch n1, digest n2, digest n3, fetch n2, store n1, store n2, store n3");
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "");
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: red|blue 3/3");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* The answer of the first repair says nothing of what was merged since. */
static void test_get_second_repair_follows_the_first(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = object(&s, 2, 7, "blue");
	scene_get(&s, .quorum = 3);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 3, ABSENT);
	expect(&s, "fetch n1, digest n2, digest n3, store n3");
	assert_repair(&s, 3, red);
	scene_fetched(&s, 2, blue);
	scene_fetched(&s, 2, blue);
	expect(&s, "fetch n2, store n1, store n2");
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "");
	scene_stored(&s, 3, REPLICA_OK); /* red is there */
	expect(&s, "store n3");
	assert_repair(&s, 3, scene_merge(&s, red, blue));
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: red|blue 3/3");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_late_stale_owner_is_repaired_after_the_answer(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = over(&s, red, 1, 6, "blue");
	scene_get(&s);
	scene_fetched(&s, 1, blue);
	scene_fetched(&s, 2, blue);
	expect(&s, "fetch n1, digest n2, digest n3, client: blue 2/2");
	scene_fetched(&s, 3, red);
	expect(&s, "fetch n1"); /* the values went with the answer */
	scene_fetched(&s, 1, blue);
	expect(&s, "fetch n3");
	scene_fetched(&s, 3, red);
	expect(&s, "store n3");
	assert_repair(&s, 3, blue);
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_late_absent_owner_is_repaired_after_the_answer(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 3, ABSENT);
	scene_fetched(&s, 1, red);
	expect(&s, "fetch n1, digest n2, digest n3, client: red 2/2, fetch n1, store n3");
	assert_repair(&s, 3, red);
	scene_stored(&s, 3, REPLICA_LOST);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* The late owner is the newer one: the answer stands, the others follow. */
static void test_get_late_newer_owner(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = object(&s, 2, 7, "blue");
	struct rpc_slice both = scene_merge(&s, red, blue);
	scene_get(&s);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 3, blue);
	scene_fetched(&s, 1, red);
	expect(&s, "fetch n1, digest n2, digest n3, client: red 2/2, fetch n1, fetch n3");
	scene_fetched(&s, 3, blue);
	expect(&s, "store n1, store n2, store n3");
	assert_repair(&s, 1, both);
	assert_repair(&s, 2, both);
	assert_repair(&s, 3, both);
	for (unsigned node = 1; node <= 3; node++)
		scene_stored(&s, node, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_all_absent(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_get(&s);
	scene_fetched(&s, 1, ABSENT);
	scene_fetched(&s, 2, ABSENT);
	expect(&s, "fetch n1, digest n2, digest n3, client: absent 2/2");
	assert_int_equal(s.code, CODE(NOT_FOUND));
	assert_int_equal(s.context.size, 0);
	scene_fetched(&s, 3, ABSENT);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_tombstone_is_absent_with_a_context(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice gone = over(&s, object(&s, 1, 5, "red"), 1, 6, NULL);
	scene_get(&s);
	scene_fetched(&s, 1, gone);
	scene_fetched(&s, 3, gone);
	expect(&s, "fetch n1, digest n2, digest n3, client: absent 2/2");
	assert_true(scene_context_covers(&s, 1, 6));
	scene_fetched(&s, 2, gone);
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_tombstone_beside_a_value(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice both = scene_merge(&s, object(&s, 1, 5, NULL), object(&s, 2, 7, "blue"));
	scene_get(&s, .quorum = 1);
	scene_fetched(&s, 1, both);
	expect(&s, "fetch n1, digest n2, digest n3, client: blue 1/1");
	scene_end(&s);
}

static void test_get_a_node_that_owns_nothing_asks_the_first_reachable_owner(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 4);
	scene_set_reachable(&s, 1, false);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	expect(&s, "digest n1, fetch n2, digest n3");
	scene_fetch_failed(&s, 1, REPLICA_UNREACHABLE);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 3, red);
	expect(&s, "client: red 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* An error is neither a value nor absent. */
static void test_get_replica_error_is_no_answer(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_get(&s);
	scene_fetch_failed(&s, 1, REPLICA_ERROR);
	scene_fetched(&s, 2, ABSENT);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetch_failed(&s, 3, REPLICA_OVERLOADED);
	expect(&s, "client: refused 1/2");
	scene_expect_text(&s, "n1: storage error, see its log, n3: overloaded");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_source_fails_and_another_gives_the_object(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 2, red);
	scene_fetch_failed(&s, 1, REPLICA_ERROR);
	expect(&s, "fetch n1, digest n2, digest n3, fetch n2");
	scene_fetched(&s, 3, red);
	expect(&s, "");
	scene_fetched(&s, 2, red);
	expect(&s, "client: red 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_hedge_when_the_source_hangs(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 3, red);
	scene_tick(&s, 99999);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_tick(&s, 1);
	expect(&s, "fetch n2, fetch n3");
	scene_fetched(&s, 3, red);
	expect(&s, "");
	scene_fetched(&s, 2, red);
	expect(&s, "client: red 2/2");
	scene_fetched(&s, 1, red);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* Whoever hangs, and whenever: n2 does when it is asked for its object. */
static void test_get_hedge_when_a_second_version_hangs(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = over(&s, red, 1, 6, "blue");
	scene_get(&s);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, blue);
	scene_tick(&s, 100 * 1000);
	expect(&s, "fetch n1, digest n2, digest n3, fetch n2");
	scene_fetched(&s, 3, blue);
	expect(&s, "");
	scene_tick(&s, 100 * 1000);
	expect(&s, "fetch n3");
	scene_fetched(&s, 3, blue);
	expect(&s, "store n1");
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "client: blue 2/2");
	scene_end(&s);
}

static void test_get_deadline(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_get(&s, .deadline_us = 50 * 1000);
	scene_fetched(&s, 3, ABSENT);
	scene_tick(&s, 50 * 1000);
	expect(&s, "fetch n1, digest n2, digest n3, client: refused 1/2");
	assert_int_equal(s.code, CODE(DEADLINE_EXCEEDED));
	assert_int_equal(scene_in_flight(&s), 0);
	scene_fetched(&s, 1, ABSENT);
	expect(&s, "");
	scene_end(&s);
}

/* It lives on for the late digest of n3, and no longer than its deadline: no timer is left. */
static void test_an_answered_get_ends_at_its_deadline(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s, .deadline_us = 200 * 1000);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 2, red);
	expect(&s, "fetch n1, digest n2, digest n3, client: red 2/2");
	assert_int_equal(s.timer_us, s.now_us + 200 * 1000);
	scene_tick(&s, 200 * 1000);
	expect(&s, "");
	assert_true(s.timer_us == UINT64_MAX);
	scene_end(&s);
}

static void test_get_deadline_while_repairing_answers_what_is_known(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	scene_get(&s, .deadline_us = 200 * 1000);
	scene_fetched(&s, 2, ABSENT);
	scene_fetched(&s, 1, object(&s, 1, 5, "red"));
	scene_tick(&s, 200 * 1000);
	expect(&s, "fetch n1, digest n2, digest n3, store n2, client: red 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_duplicates_of_every_answer(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = over(&s, red, 1, 6, "blue");
	scene_get(&s, .quorum = 3);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 1, red);
	scene_fetched(&s, 1, red);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetched(&s, 2, blue);
	expect(&s, "fetch n2");
	s.answered[1] = false; /* the digest once more, while the object is asked for */
	s.answered[3] = true;
	scene_fetched(&s, 2, blue);
	expect(&s, "");
	s.answered[3] = false;
	scene_fetched(&s, 2, blue);
	scene_fetched(&s, 2, blue);
	expect(&s, "store n1");
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_ERROR);
	scene_fetched(&s, 3, blue);
	expect(&s, "client: blue 3/3");
	scene_fetched(&s, 3, blue);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

static void test_get_damaged_object_is_an_error_of_that_replica(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 1);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *answer = message_answer(scene_question(&s, MESSAGE_FETCH, 1), arena, MESSAGE_FETCHED);
	rpc_arena_unref(arena);
	answer->status = REPLICA_OK;
	answer->fetched.digest = 3;
	answer->fetched.object = slice("no object at all");
	scene_message(&s, answer);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 3, red);
	expect(&s, "fetch n2, client: red 2/2");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* ---- owners in every place: none of the loops over them leaves out the first or the last ---------------------- */

static void test_get_object_that_comes_from_the_last_owner(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 3);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 1, red);
	expect(&s, "digest n1, digest n2, fetch n3"); /* nobody else is asked for it */
	scene_fetched(&s, 3, red);
	expect(&s, "client: red 2/2");
	scene_end(&s);
}

static void test_get_first_owner_has_the_same(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 2);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 2, red);
	scene_fetched(&s, 1, red);
	expect(&s, "digest n1, fetch n2, digest n3, client: red 2/2");
	scene_end(&s);
}

static void test_get_hedge_asks_the_first_owner(void **state)
{
	(void)state;
	struct scene s;
	scene_begin(&s, 2);
	struct rpc_slice red = object(&s, 1, 5, "red");
	scene_get(&s);
	scene_fetched(&s, 1, red);
	expect(&s, "digest n1, fetch n2, digest n3");
	scene_tick(&s, 100 * 1000);
	expect(&s, "fetch n1");
	scene_end(&s);
}

/* A third owner that holds what `first` held is not asked for it again, although the object has grown since. */
static void assert_known_by(unsigned first, unsigned second, unsigned third, const char *asked, const char *repaired)
{
	struct scene s;
	scene_begin(&s, first);
	struct rpc_slice red = object(&s, 1, 5, "red"), blue = object(&s, 2, 7, "blue");
	scene_get(&s, .quorum = 3);
	scene_fetched(&s, first, red);
	scene_fetched(&s, second, blue);
	scene_fetched(&s, second, blue);
	expect(&s, asked);
	scene_fetched(&s, third, red);
	expect(&s, repaired);
	scene_end(&s);
}

static void test_get_third_owner_holds_what_another_held(void **state)
{
	(void)state;
	assert_known_by(1, 2, 3, "fetch n1, digest n2, digest n3, fetch n2, store n1, store n2", "store n3");
	assert_known_by(3, 1, 2, "digest n1, digest n2, fetch n3, fetch n1, store n1, store n3", "store n2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get_equal_digests),
		cmocka_unit_test(test_get_digests_first),
		cmocka_unit_test(test_get_r1),
		cmocka_unit_test(test_get_r3),
		cmocka_unit_test(test_get_r3_with_one_down_is_refused_at_once),
		cmocka_unit_test(test_get_stale_owner_is_repaired_before_the_answer),
		cmocka_unit_test(test_get_third_owner_current_ends_the_wait_for_repair),
		cmocka_unit_test(test_get_waits_for_repair_only_so_long),
		cmocka_unit_test(test_get_repair_that_fails_does_not_hold_the_answer),
		cmocka_unit_test(test_get_siblings),
		cmocka_unit_test(test_get_r3_equal_owner_is_not_fetched_again),
		cmocka_unit_test(test_get_second_repair_follows_the_first),
		cmocka_unit_test(test_get_late_stale_owner_is_repaired_after_the_answer),
		cmocka_unit_test(test_get_late_absent_owner_is_repaired_after_the_answer),
		cmocka_unit_test(test_get_late_newer_owner),
		cmocka_unit_test(test_get_all_absent),
		cmocka_unit_test(test_get_tombstone_is_absent_with_a_context),
		cmocka_unit_test(test_get_tombstone_beside_a_value),
		cmocka_unit_test(test_get_a_node_that_owns_nothing_asks_the_first_reachable_owner),
		cmocka_unit_test(test_get_replica_error_is_no_answer),
		cmocka_unit_test(test_get_source_fails_and_another_gives_the_object),
		cmocka_unit_test(test_get_hedge_when_the_source_hangs),
		cmocka_unit_test(test_get_hedge_when_a_second_version_hangs),
		cmocka_unit_test(test_get_deadline),
		cmocka_unit_test(test_an_answered_get_ends_at_its_deadline),
		cmocka_unit_test(test_get_deadline_while_repairing_answers_what_is_known),
		cmocka_unit_test(test_get_receiving_owner_makes_up_no_r),
		cmocka_unit_test(test_get_object_of_a_receiving_owner_is_merged),
		cmocka_unit_test(test_get_all_owners_are_enough_though_one_is_receiving),
		cmocka_unit_test(test_get_with_too_few_that_count_is_refused),
		cmocka_unit_test(test_get_duplicates_of_every_answer),
		cmocka_unit_test(test_get_damaged_object_is_an_error_of_that_replica),
		cmocka_unit_test(test_get_object_that_comes_from_the_last_owner),
		cmocka_unit_test(test_get_first_owner_has_the_same),
		cmocka_unit_test(test_get_hedge_asks_the_first_owner),
		cmocka_unit_test(test_get_third_owner_holds_what_another_held),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
