/* SPDX-License-Identifier: Apache-2.0 */
/* Levels and datacenters: who is asked, what is waited for, and what a refusal says. dc1 is n1, n2, n3; dc2 is n4, n5. */
#include "proto/kv.pb-c.h"
#include "tests/node/scene.h"

#define CODE(name) KVRING__V1__CODE__##name
#define ABSENT     ((struct rpc_slice){0})

enum { NEAR = 1 << 1 | 1 << 2 | 1 << 3, FAR = 1 << 4 | 1 << 5 };

static void begin(struct scene *s, unsigned self)
{
	scene_begin_datacenters(s, self, "12345", "12345", "45");
}

/* ---- every set of owners that may store it, beside a model --------------------------------------------------------- */

static unsigned bits(unsigned mask)
{
	return (unsigned)__builtin_popcount(mask);
}

static bool enough(enum level level, unsigned w, unsigned acks)
{
	switch (level) {
	case LEVEL_ONE:
		return bits(acks) >= 1;
	case LEVEL_TWO:
		return bits(acks) >= 2;
	case LEVEL_ALL:
		return bits(acks) == 5;
	case LEVEL_LOCAL_ONE:
		return bits(acks & NEAR) >= 1;
	case LEVEL_LOCAL_QUORUM:
		return bits(acks & NEAR) >= 2;
	case LEVEL_EACH_QUORUM:
		return bits(acks & NEAR) >= 2 && bits(acks & FAR) >= 2;
	case LEVEL_QUORUM:
	case LEVEL_NONE:
	case LEVEL_COUNT:
		break;
	}
	return bits(acks) >= (w == 0 ? 3 : w);
}

static void try_put(struct scene *s, enum level level, unsigned w, unsigned storing, bool storing_last)
{
	unsigned acks = 0, answered = 0;
	bool heard = false;
	scene_put(s, .value = "red", .level = level, .quorum = w);
	scene_coordinated(s, 1, REPLICA_OK);
	expect(s, "coordinate n1, store n2, store n3, store n4, store n5");
	for (unsigned i = 0; i < 10; i++) {
		unsigned node = i % 5 + 1;
		bool stores = (i < 5) != storing_last;
		if ((storing >> node & 1) != stores)
			continue;
		scene_stored(s, node, stores ? REPLICA_OK : REPLICA_DISK_FULL);
		answered |= 1u << node;
		acks |= stores ? 1u << node : 0;
		bool done = enough(level, w, acks), lost = !enough(level, w, acks | ((NEAR | FAR) & ~answered));
		const char *wanted = heard || (!done && !lost) ? "" : done ? "client: done" : "client: in doubt";
		if (strncmp(s->log, wanted, strlen(wanted)) != 0 || (wanted[0] == 0 && s->log[0] != 0))
			fail_msg("level %u, w=%u, acks %x of %x: \"%s\"", level, w, acks, answered, s->log);
		heard |= done || lost;
		s->log[0] = 0;
	}
	assert_true(heard);
	assert_int_equal(scene_in_flight(s), 0);
	scene_forget(s);
}

static void test_every_set_of_owners_that_store_it(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	for (unsigned storing = 0; storing < 64; storing += 2) {
		for (unsigned level = LEVEL_NONE; level < LEVEL_COUNT; level++)
			for (unsigned last = 0; last < 2; last++)
				try_put(&s, (enum level)level, 0, storing, last);
		for (unsigned w = 1; w <= 5; w++)
			try_put(&s, LEVEL_NONE, w, storing, false);
	}
	scene_end(&s);
}

/* ---- reads --------------------------------------------------------------------------------------------------------- */

static void test_whom_a_read_asks(void **state)
{
	(void)state;
	static const struct {
		enum level level;
		uint32_t r;
		const char *asked;
	} cases[] = {
		{LEVEL_LOCAL_ONE, 0, "fetch n1, digest n2, digest n3"},
		{LEVEL_LOCAL_QUORUM, 0, "fetch n1, digest n2, digest n3"},
		{LEVEL_ONE, 0, "fetch n1, digest n2, digest n3"}, /* the near ones are enough */
		{LEVEL_NONE, 3, "fetch n1, digest n2, digest n3"},
		{LEVEL_QUORUM, 0, "fetch n1, digest n2, digest n3"},
		{LEVEL_NONE, 4, "fetch n1, digest n2, digest n3, digest n4, digest n5"},
		{LEVEL_ALL, 0, "fetch n1, digest n2, digest n3, digest n4, digest n5"},
		{LEVEL_EACH_QUORUM, 0, "fetch n1, digest n2, digest n3, digest n4, digest n5"},
	};
	struct scene s;
	begin(&s, 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		scene_get(&s, .level = cases[i].level, .quorum = cases[i].r);
		expect(&s, cases[i].asked);
	}
	scene_end(&s);
	begin(&s, 5); /* the object comes from this node, or one beside it */
	scene_get(&s);
	expect(&s, "digest n4, fetch n5, digest n1, digest n2, digest n3");
	scene_get(&s, .level = LEVEL_LOCAL_QUORUM);
	expect(&s, "digest n4, fetch n5");
	scene_end(&s);
}

static void test_a_read_goes_on_to_the_other_datacenter(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	scene_get(&s, .level = LEVEL_TWO);
	scene_fetched(&s, 1, ABSENT);
	scene_fetch_failed(&s, 2, REPLICA_LOST);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetch_failed(&s, 3, REPLICA_LOST);
	expect(&s, "fetch n4, digest n5");
	struct rpc_slice object = scene_object(&s, ABSENT, false, 4, 1, "red");
	scene_fetched(&s, 4, object);
	expect(&s, "store n1"); /* it is brought up to date first */
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "client: red 2/2");
	scene_end(&s);
	/* Or when the near ones are slow. */
	begin(&s, 1);
	scene_get(&s, .level = LEVEL_TWO);
	scene_tick(&s, 100 * 1000);
	expect(&s, "fetch n1, digest n2, digest n3, fetch n4, fetch n5");
	scene_tick(&s, 100 * 1000);
	expect(&s, "");
	scene_fetched(&s, 4, ABSENT);
	scene_fetched(&s, 5, ABSENT);
	expect(&s, "client: absent 2/2");
	scene_end(&s);
	/* Not with a local level. */
	begin(&s, 1);
	scene_get(&s, .level = LEVEL_LOCAL_QUORUM);
	scene_fetched(&s, 1, ABSENT);
	scene_fetch_failed(&s, 2, REPLICA_LOST);
	scene_fetch_failed(&s, 3, REPLICA_LOST);
	expect(&s, "fetch n1, digest n2, digest n3, client: refused 1/2");
	scene_expect_text(&s, "1 of 2 replicas in dc1 answered (n2: no answer");
	scene_end(&s);
}

static void test_a_read_of_each_datacenter(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	struct rpc_slice object = scene_object(&s, ABSENT, false, 4, 1, "red");
	scene_get(&s, .level = LEVEL_EACH_QUORUM);
	scene_fetched(&s, 1, object);
	scene_fetched(&s, 2, object);
	scene_fetched(&s, 3, object);
	scene_fetched(&s, 4, object);
	expect(&s, "fetch n1, digest n2, digest n3, digest n4, digest n5");
	scene_fetched(&s, 5, object);
	expect(&s, "client: red 5/4");
	scene_get(&s, .level = LEVEL_EACH_QUORUM);
	scene_fetched(&s, 1, object);
	scene_fetched(&s, 2, object);
	scene_fetched(&s, 3, object);
	scene_fetch_failed(&s, 5, REPLICA_UNREACHABLE);
	expect(&s, "fetch n1, digest n2, digest n3, digest n4, digest n5, client: refused 0/2");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s,
			  "0 of 2 replicas in dc2 answered (n4: not waited for, n5: unreachable): retry, or read with");
	/* Before dc1 has said anything it is dc2 all the same. */
	scene_get(&s, .level = LEVEL_EACH_QUORUM);
	scene_fetch_failed(&s, 4, REPLICA_UNREACHABLE);
	expect(&s, "fetch n1, digest n2, digest n3, digest n4, digest n5, client: refused 0/2");
	scene_expect_text(&s, "0 of 2 replicas in dc2 answered");
	scene_end(&s);
}

/* ---- writes -------------------------------------------------------------------------------------------------------- */

static void test_a_doubt_says_what_each_datacenter_lacks(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	scene_put(&s, .value = "red", .level = LEVEL_EACH_QUORUM);
	scene_coordinated(&s, 1, REPLICA_OK);
	for (unsigned node = 1; node <= 4; node++)
		scene_stored(&s, node, REPLICA_OK);
	s.log[0] = 0;
	scene_stored(&s, 5, REPLICA_LOST);
	expect(&s, "client: in doubt 1/2");
	scene_expect_text(&s, "3 of 2 acknowledged in dc1, 1 of 2 in dc2 (n5: no answer");
	scene_end(&s);
}

/* C5: the link between the datacenters is cut. */
static void test_a_datacenter_that_cannot_be_reached(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	s.closed[4] = s.closed[5] = true;
	scene_put(&s, .value = "red", .level = LEVEL_EACH_QUORUM);
	expect(&s, "client: refused 0/4");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s, "0 of the key's 2 owners in dc2 can be reached from this node, and the write needs 2");
	scene_put(&s, .value = "red", .level = LEVEL_LOCAL_QUORUM);
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, store n4, store n5");
	scene_stored(&s, 4, REPLICA_UNREACHABLE);
	scene_stored(&s, 5, REPLICA_UNREACHABLE);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: done 2/2");
	scene_end(&s);
	begin(&s, 4); /* from the smaller side there is no majority */
	s.closed[1] = s.closed[2] = s.closed[3] = true;
	scene_put(&s, .value = "red");
	expect(&s, "client: refused 0/3");
	scene_expect_text(&s, "2 of the key's 5 owners can be reached from this node, and the write needs 3");
	scene_put(&s, .value = "red", .level = LEVEL_LOCAL_QUORUM);
	expect(&s, "coordinate n4");
	scene_end(&s);
}

static void test_a_later_attempt_learns_in_its_datacenter(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	scene_put(&s, .value = "red", .level = LEVEL_EACH_QUORUM, .attempt = 2);
	expect(&s, "fetch n2, fetch n3");
	scene_put(&s, .value = "red", .level = LEVEL_LOCAL_QUORUM, .attempt = 2);
	expect(&s, "fetch n2, fetch n3");
	scene_put(&s, .value = "red", .level = LEVEL_QUORUM, .attempt = 2); /* 3 of 5 */
	expect(&s, "fetch n2, fetch n3, fetch n4, fetch n5");
	scene_fetched(&s, 4, ABSENT);
	expect(&s, "");
	scene_fetched(&s, 5, ABSENT);
	expect(&s, "coordinate n1");
	scene_end(&s);
}

/* In dc1 n3 owns no replica of the key, which n1 and n2 do. */
static void test_forwards_stay_near_if_they_can(void **state)
{
	(void)state;
	struct scene s;
	scene_begin_datacenters(&s, 3, "1245", "12345", "45");
	scene_next(&s); /* n3 is a new owner: reads go to n1 and n2 */
	scene_put(&s, .value = "red", .level = LEVEL_LOCAL_QUORUM, .deadline_us = 1000000);
	expect(&s, "forward n1");
	const struct message *question = scene_question(&s, MESSAGE_FORWARD, 1);
	assert_int_equal(question->forward.operation.level, LEVEL_LOCAL_QUORUM);
	assert_int_equal(question->deadline_us, s.now_us + 500000 - 50000); /* a half: nobody else may run it */
	s.answered[0] = false;
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(UNAVAILABLE), "no");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(UNAVAILABLE), "no");
	expect(&s, "forward n2, client: refused 0/2");
	scene_put(&s, .value = "red");
	expect(&s, "forward n4"); /* the near ones have just left it without an answer */
	question = scene_question(&s, MESSAGE_FORWARD, 4);
	assert_int_equal(question->forward.operation.level, LEVEL_QUORUM);
	scene_end(&s);
}

/* ---- requests and defaults ----------------------------------------------------------------------------------------- */

static void test_levels_that_make_no_sense(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	scene_put(&s, .value = "red", .level = LEVEL_ONE, .quorum = 1);
	expect(&s, "client: refused 0/0");
	assert_int_equal(s.code, CODE(INVALID_ARGUMENT));
	scene_expect_text(&s, "a level and a number of replicas: give one of them");
	scene_get(&s, .level = LEVEL_COUNT);
	expect(&s, "client: refused 0/0");
	scene_expect_text(&s, "no such level: this node knows ONE, TWO");
	scene_get(&s, .quorum = 6);
	expect(&s, "client: refused 0/6");
	scene_expect_text(&s, "r=6 asks for more replicas than the N=5 there are");
	scene_end(&s);
}

static void test_the_node_has_defaults(void **state)
{
	(void)state;
	struct scene s;
	begin(&s, 1);
	s.coordinator->options.read_level = LEVEL_LOCAL_ONE;
	s.coordinator->options.write_level = LEVEL_LOCAL_QUORUM;
	scene_get(&s);
	scene_fetched(&s, 1, ABSENT);
	expect(&s, "fetch n1, digest n2, digest n3, client: absent 1/1");
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, store n4, store n5, client: done 2/2");
	scene_put(&s, .value = "red", .quorum = 5);
	scene_coordinated(&s, 1, REPLICA_OK);
	for (unsigned node = 1; node <= 4; node++)
		scene_stored(&s, node, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, store n4, store n5");
	scene_end(&s);
}

/* ---- while the ring changes ---------------------------------------------------------------------------------------- */

/* dc2 comes: until its nodes have copied everything they are written but not read. */
static void test_a_datacenter_that_comes(void **state)
{
	(void)state;
	struct scene s;
	scene_begin_datacenters(&s, 4, "123", "12345", "45");
	scene_next(&s);
	scene_get(&s, .level = LEVEL_LOCAL_ONE);
	expect(&s, "client: refused 0/0");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s, "no node of this datacenter holds the key yet");
	scene_get(&s);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_put(&s, .value = "red");
	expect(&s, "forward n1");
	scene_end(&s);
	scene_begin_datacenters(&s, 1, "123", "12345", "45");
	scene_next(&s);
	scene_put(&s, .value = "red", .level = LEVEL_EACH_QUORUM);
	scene_coordinated(&s, 1, REPLICA_OK);
	for (unsigned node = 1; node <= 3; node++)
		scene_stored(&s, node, REPLICA_OK);
	scene_stored(&s, 4, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3, store n4, store n5");
	scene_stored(&s, 5, REPLICA_DISK_FULL);
	expect(&s, "client: in doubt 1/2");
	scene_expect_text(&s, "3 of 2 acknowledged by the old owners in dc1, 3 of 2 by the new owners in dc1, "
			      "1 of 2 by the new owners in dc2 (n5: disk full)");
	scene_next(&s);
	scene_get(&s, .level = LEVEL_EACH_QUORUM);
	expect(&s, "fetch n1, digest n2, digest n3, digest n4, digest n5");
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_set_of_owners_that_store_it),
		cmocka_unit_test(test_whom_a_read_asks),
		cmocka_unit_test(test_a_read_goes_on_to_the_other_datacenter),
		cmocka_unit_test(test_a_read_of_each_datacenter),
		cmocka_unit_test(test_a_doubt_says_what_each_datacenter_lacks),
		cmocka_unit_test(test_a_datacenter_that_cannot_be_reached),
		cmocka_unit_test(test_a_later_attempt_learns_in_its_datacenter),
		cmocka_unit_test(test_forwards_stay_near_if_they_can),
		cmocka_unit_test(test_levels_that_make_no_sense),
		cmocka_unit_test(test_the_node_has_defaults),
		cmocka_unit_test(test_a_datacenter_that_comes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
