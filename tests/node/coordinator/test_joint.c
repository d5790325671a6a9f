/* SPDX-License-Identifier: Apache-2.0 */
/* Quorums while a ring changes: who is asked, when a write is done, and what becomes of operations that the change overtakes. */
#include "proto/kv.pb-c.h"
#include "tests/node/scene.h"

#define CODE(name) KVRING__V1__CODE__##name
#define ABSENT     ((struct rpc_slice){0})

enum step { STABLE, READ_OLD, READ_NEW, OVER };

static void begin_at(struct scene *s, unsigned self, const char *before, const char *after, enum step step)
{
	scene_begin_change(s, self, before, after);
	for (unsigned i = 0; i < step; i++)
		scene_next(s);
}

/* ---- every outcome of a write, beside a model -------------------------------------------------------------------- */

static bool has(const char *nodes, unsigned node)
{
	return strchr(nodes, (int)('0' + node)) != NULL;
}

static unsigned count_of(const char *nodes, unsigned mask)
{
	unsigned n = 0;
	for (unsigned node = 1; node <= SCENE_NODES; node++)
		n += has(nodes, node) && (mask >> node & 1);
	return n;
}

static unsigned need_of(const char *nodes, unsigned w)
{
	unsigned owners = (unsigned)strlen(nodes);
	return w == 0 ? owners / 2 + 1 : w < owners ? w : owners;
}

/* The sides of a step: NULL where it has none. */
struct sides {
	const char *old, *fresh;
};

static struct sides sides_at(enum step step, const char *before, const char *after)
{
	return (struct sides){step == OVER ? NULL : before, step == STABLE ? NULL : after};
}

static unsigned all_of(struct sides sides)
{
	unsigned all = 0;
	for (unsigned node = 1; node <= SCENE_NODES; node++)
		if ((sides.old && has(sides.old, node)) || (sides.fresh && has(sides.fresh, node)))
			all |= 1u << node;
	return all;
}

static bool enough(struct sides sides, unsigned mask, unsigned w)
{
	return (sides.old == NULL || count_of(sides.old, mask) >= need_of(sides.old, w)) &&
	       (sides.fresh == NULL || count_of(sides.fresh, mask) >= need_of(sides.fresh, w));
}

static unsigned popcount(unsigned mask)
{
	return (unsigned)__builtin_popcount(mask);
}

/* What the client hears when exactly the owners in acks have it, and those in open may still say so. */
static void expect_outcome(struct scene *s, struct sides sides, unsigned acks, unsigned open, unsigned w)
{
	bool done = enough(sides, acks, w), lost = !enough(sides, acks | open, w);
	bool heard = strstr(s->log, "client:") != NULL;
	if (heard != (done || lost))
		fail_msg("acks %x, open %x, w=%u: \"%s\"", acks, open, w, s->log);
	if (!heard)
		return;
	unsigned acked, needed;
	const char *numbers = strstr(s->log, done ? "client: done " : "client: in doubt ");
	assert_non_null(numbers);
	assert_int_equal(sscanf(numbers, done ? "client: done %u/%u" : "client: in doubt %u/%u", &acked, &needed), 2);
	if (done)
		assert_int_equal(acked, popcount(acks));
	else
		assert_true(acked < needed);
	assert_true(!done || acked >= needed);
}

/* The owners answer in the order of their numbers, first those that store it, or first those that do not. */
static void try_put(struct scene *s, struct sides sides, unsigned w, unsigned storing, bool storing_last)
{
	unsigned all = all_of(sides), acks = 0, answered = 0;
	scene_put(s, .value = "red", .quorum = w);
	scene_coordinated(s, s->self, REPLICA_OK);
	for (unsigned i = 0; i < 2 * SCENE_NODES; i++) {
		bool stores = (i < SCENE_NODES) != storing_last;
		unsigned node = i % SCENE_NODES + 1;
		if (!(all >> node & 1) || (storing >> node & 1) != stores)
			continue;
		bool heard = s->log[0] == 0;
		scene_stored(s, node, stores ? REPLICA_OK : REPLICA_DISK_FULL);
		answered |= 1u << node;
		acks |= stores ? 1u << node : 0;
		if (!heard)
			expect_outcome(s, sides, acks, all & ~answered, w);
		if (strstr(s->log, "client:") != NULL)
			s->log[0] = 0;
	}
	assert_int_equal(s->log[0], 0); /* the client has heard */
	assert_int_equal(scene_in_flight(s), 0);
	scene_forget(s);
}

static unsigned try_puts(const char *before, const char *after, enum step step)
{
	struct scene s;
	struct sides sides = sides_at(step, before, after);
	const char *reads = step == STABLE || step == READ_OLD ? before : after;
	size_t old = sides.old ? strlen(sides.old) : 0, fresh = sides.fresh ? strlen(sides.fresh) : 0;
	unsigned runs = 0;
	begin_at(&s, (unsigned)(reads[0] - '0'), before, after, step);
	for (unsigned w = 0; w <= (old > fresh ? old : fresh); w++)
		for (unsigned storing = 0; storing < 64; storing += 2) {
			if ((storing & ~all_of(sides)) != 0)
				continue;
			try_put(&s, sides, w, storing, false);
			try_put(&s, sides, w, storing, true);
			runs += 2;
		}
	scene_end(&s);
	return runs;
}

static void test_every_set_of_owners_that_store_it(void **state)
{
	(void)state;
	static const struct {
		const char *before, *after;
	} changes[] = {
		{"1", "123"},   {"12", "123"},  {"123", "1"}, {"123", "12"},
		{"123", "124"}, {"123", "145"}, {"1", "23"},  {"12", "345"},
	};
	unsigned runs = 0;
	for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++)
		for (unsigned step = STABLE; step <= OVER; step++)
			runs += try_puts(changes[i].before, changes[i].after, step);
	print_message("%u writes\n", runs);
	assert_true(runs > 1500);
}

/* ---- who is asked -------------------------------------------------------------------------------------------------- */

static void test_reads_go_to_one_side_and_writes_to_both(void **state)
{
	(void)state;
	static const char *const reads[] = {"fetch n1, digest n2, digest n3", "fetch n1, digest n2, digest n3",
					    "fetch n1, digest n4, digest n5", "fetch n1, digest n4, digest n5"};
	static const char *const writes[] = {"store n2, store n3", "store n2, store n3, store n4, store n5",
					     "store n4, store n5, store n2, store n3", "store n4, store n5"};
	for (unsigned step = STABLE; step <= OVER; step++) {
		struct scene s;
		begin_at(&s, 1, "123", "145", step);
		scene_get(&s);
		expect(&s, reads[step]);
		scene_put(&s, .value = "red");
		expect(&s, "coordinate n1");
		scene_coordinated(&s, 1, REPLICA_OK);
		expect(&s, writes[step]);
		scene_end(&s);
	}
}

/* Only owners that reads go to know the key's history. */
static void test_a_write_runs_where_reads_go(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 4, "123", "145", READ_OLD);
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(UNAVAILABLE), "no");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(UNAVAILABLE), "no");
	scene_forwarded(&s, 3, OUTCOME_REFUSED, CODE(UNAVAILABLE), "no");
	expect(&s, "forward n1, forward n2, forward n3, client: refused 0/2");
	scene_forward_in(&s, (struct ask){.value = "red"});
	expect(&s, "n5: refused 0/2");
	assert_int_equal(s.code, CODE(ABORTED));
	scene_end(&s);
	begin_at(&s, 4, "123", "145", READ_NEW);
	scene_forward_in(&s, (struct ask){.value = "red"});
	scene_get(&s);
	expect(&s, "coordinate n4, digest n1, fetch n4, digest n5");
	scene_end(&s);
	/* Each of the three that may take it gets its share of the deadline, the two that may not get none. */
	begin_at(&s, 3, "123", "145", READ_NEW);
	scene_put(&s, .value = "red", .deadline_us = 3000000);
	expect(&s, "forward n1");
	assert_int_equal(scene_question(&s, MESSAGE_FORWARD, 1)->deadline_us, s.now_us + 1000000 - 50000);
	scene_end(&s);
}

static void test_what_a_quorum_may_ask_for(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "1", "123", READ_OLD);
	scene_get(&s, .quorum = 2);
	expect(&s, "client: refused 0/2");
	assert_int_equal(s.code, CODE(FAILED_PRECONDITION));
	scene_expect_text(
		&s, "r=2 asks for more replicas than the N=1 that reads go to until the change of the ring is over");
	scene_get(&s, .quorum = 4);
	expect(&s, "client: refused 0/4");
	assert_int_equal(s.code, CODE(INVALID_ARGUMENT));
	scene_put(&s, .value = "red", .quorum = 4);
	expect(&s, "client: refused 0/4");
	scene_expect_text(&s, "w=4 asks for more replicas than the N=3 there are: ask for 3 at most");
	scene_put(&s, .value = "red", .quorum = 3); /* 1 and 3 */
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_next(&s);
	scene_get(&s, .quorum = 3);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_end(&s);
	begin_at(&s, 1, "123", "1", READ_NEW); /* it will never be more */
	scene_get(&s, .quorum = 2);
	expect(&s, "client: refused 0/2");
	assert_int_equal(s.code, CODE(INVALID_ARGUMENT));
	scene_put(&s, .value = "red", .quorum = 2);
	expect(&s, "coordinate n1");
	scene_end(&s);
}

static void test_texts_name_the_side(void **state)
{
	(void)state;
	for (unsigned step = READ_OLD; step <= READ_NEW; step++) {
		struct scene s;
		begin_at(&s, 1, "123", "145", step);
		scene_put(&s, .value = "red");
		scene_coordinated(&s, 1, REPLICA_OK);
		scene_stored(&s, 1, REPLICA_OK);
		scene_stored(&s, 2, REPLICA_OK);
		scene_stored(&s, 3, REPLICA_OK);
		s.log[0] = 0;
		scene_stored(&s, 4, REPLICA_UNREACHABLE);
		scene_stored(&s, 5, REPLICA_LOST);
		expect(&s, "client: in doubt 1/2");
		scene_expect_text(&s,
				  step == READ_OLD
					  ? "3 of 2 acknowledged by the old owners, 1 of 2 by the new owners (n4: unr"
					  : "1 of 2 acknowledged by the new owners, 3 of 2 by the old owners (n4: unr");
		scene_end(&s);
	}
}

/* ---- before anything is written (C5) ------------------------------------------------------------------------------- */

static void test_each_side_has_to_be_in_reach(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", READ_OLD);
	s.closed[4] = s.closed[5] = true;
	scene_put(&s, .value = "red");
	expect(&s, "client: refused 0/2");
	assert_int_equal(s.code, CODE(UNAVAILABLE));
	scene_expect_text(&s, "1 of the key's 3 new owners can be reached from this node, and the write needs 2");
	s.closed[4] = false;
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1");
	s.closed[2] = s.closed[3] = true;
	scene_put(&s, .value = "red");
	expect(&s, "client: refused 0/2");
	scene_expect_text(&s, "1 of the key's 3 old owners can be reached");
	scene_put(&s, .value = "red", .quorum = 1); /* this node is one of each */
	expect(&s, "coordinate n1");
	scene_end(&s);
}

static void test_silent_new_owners_are_asked_first(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", READ_OLD);
	scene_put(&s, .value = "red", .quorum = 3);
	scene_coordinated(&s, 1, REPLICA_OK);
	for (unsigned node = 1; node <= 4; node++)
		scene_stored(&s, node, REPLICA_OK);
	scene_tick(&s, 5 * 1000 * 1000); /* n5 says nothing */
	s.log[0] = 0;
	scene_put(&s, .value = "red"); /* n4 is enough */
	expect(&s, "coordinate n1");
	scene_put(&s, .value = "red", .quorum = 3);
	expect(&s, "digest n4, digest n5"); /* the old owners are known to be there */
	scene_fetched(&s, 4, ABSENT);
	expect(&s, "");
	scene_fetch_failed(&s, 5, REPLICA_LOST);
	expect(&s, "client: refused 0/3");
	scene_expect_text(&s, "before the write begins, 3 of the key's new owners have to answer (n5: no answer");
	scene_put(&s, .value = "red", .quorum = 3);
	scene_fetched(&s, 4, ABSENT);
	scene_fetched(&s, 5, ABSENT);
	expect(&s, "digest n4, digest n5, coordinate n1");
	scene_end(&s);
}

/* A repeated write learns where reads go: the others lack what they have not copied yet. */
static void test_a_later_attempt_learns_where_reads_go(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", READ_OLD);
	scene_put(&s, .value = "red", .attempt = 2);
	expect(&s, "fetch n2, fetch n3");
	scene_fetched(&s, 3, ABSENT);
	expect(&s, "coordinate n1");
	scene_next(&s);
	scene_put(&s, .value = "red", .attempt = 2);
	expect(&s, "fetch n4, fetch n5");
	scene_fetch_failed(&s, 4, REPLICA_LOST);
	scene_fetch_failed(&s, 5, REPLICA_LOST);
	expect(&s, "client: refused 0/2");
	scene_expect_text(&s, "before the write is repeated, 2 of the key's new owners have to answer");
	scene_end(&s);
}

/* ---- operations that the change overtakes -------------------------------------------------------------------------- */

static void test_a_write_that_the_local_replica_refuses_begins_again(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", STABLE);
	scene_put(&s, .value = "red");
	expect(&s, "coordinate n1");
	scene_next(&s);
	scene_coordinated(&s, 1, REPLICA_STALE_RING);
	scene_tick(&s, 0);
	expect(&s, "coordinate n1"); /* at once */
	assert_int_equal(scene_question(&s, MESSAGE_COORDINATE, 1)->epoch, ring_epoch(s.document));
	s.answered[1] = false;
	scene_coordinated(&s, 1, REPLICA_OK);
	expect(&s, "store n2, store n3, store n4, store n5");
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_OK);
	expect(&s, "");
	scene_stored(&s, 4, REPLICA_OK);
	expect(&s, "client: done 3/2");
	scene_end(&s);
}

/* Others may know the new ring first: this node asks again when it knows it too. */
static void test_a_read_waits_for_the_ring(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", READ_OLD);
	struct rpc_slice old = scene_object(&s, ABSENT, false, 2, 5, "old"),
			 new = scene_object(&s, old, true, 4, 1, "new");
	scene_get(&s);
	scene_fetched(&s, 1, old);
	scene_fetch_failed(&s, 2, REPLICA_STALE_RING);
	expect(&s, "fetch n1, digest n2, digest n3, behind 3 as n2");
	scene_fetch_failed(&s, 3, REPLICA_STALE_RING);
	expect(&s, "");
	scene_tick(&s, 9999);
	expect(&s, "");
	scene_tick(&s, 1);
	expect(&s, "fetch n1, digest n2, digest n3"); /* the ring is still the old one */
	scene_fetch_failed(&s, 2, REPLICA_STALE_RING);
	scene_fetch_failed(&s, 3, REPLICA_STALE_RING);
	scene_next(&s);
	scene_tick(&s, 20000);
	expect(&s, "fetch n1, digest n4, digest n5");
	assert_int_equal(scene_question(&s, MESSAGE_FETCH, 4)->epoch, ring_epoch(s.document));
	s.answered[7] = false;
	/* What n1 says to the earlier question counts no more. */
	s.answered[3] = false;
	struct message *late = s.questions[3];
	assert_int_equal(late->to.node_id, scene_node(1));
	uint64_t before = coordinator_counters(s.coordinator)->late_answers;
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *answer = message_answer(late, arena, MESSAGE_FETCHED);
	rpc_arena_unref(arena);
	answer->status = REPLICA_ABSENT;
	scene_message(&s, answer);
	assert_int_equal(coordinator_counters(s.coordinator)->late_answers, before + 1);
	scene_fetched(&s, 4, new);
	expect(&s, "");
	scene_fetched(&s, 1, new);
	expect(&s, "client: new 2/2");
	scene_end(&s);
}

static void test_waiting_ends_at_the_deadline(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", READ_OLD);
	scene_get(&s, .quorum = 3, .deadline_us = 15000);
	scene_fetched(&s, 1, ABSENT);
	scene_fetched(&s, 2, ABSENT);
	scene_fetch_failed(&s, 3, REPLICA_STALE_RING);
	s.log[0] = 0;
	scene_tick(&s, 10000);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetch_failed(&s, 3, REPLICA_STALE_RING);
	scene_tick(&s, 5000);
	expect(&s, "client: refused 0/3");
	assert_int_equal(s.code, CODE(DEADLINE_EXCEEDED));
	scene_expect_text(&s, "have not agreed on it in time (n3: knows a newer ring): nothing was read");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_put(&s, .value = "red", .attempt = 2, .deadline_us = 5000);
	scene_fetch_failed(&s, 2, REPLICA_STALE_RING);
	scene_fetch_failed(&s, 3, REPLICA_NOT_OWNER);
	scene_tick(&s, 5000);
	expect(&s, "fetch n2, fetch n3, client: refused 0/2");
	scene_expect_text(&s, "(n2: knows a newer ring, n3: is no owner of the partition): nothing was written");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* It waits for the ring only if the ring is what is missing. */
static void test_other_failures_do_not_wait(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", READ_OLD);
	scene_get(&s, .quorum = 3);
	scene_fetch_failed(&s, 3, REPLICA_STALE_RING);
	expect(&s, "fetch n1, digest n2, digest n3, behind 3 as n3");
	scene_tick(&s, 10000);
	expect(&s, "fetch n1, digest n2, digest n3");
	scene_fetch_failed(&s, 2, REPLICA_LOST);
	expect(&s, "client: refused 0/3");
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_DISK_FULL);
	scene_stored(&s, 3, REPLICA_DISK_FULL);
	expect(&s, "coordinate n1, store n2, store n3, store n4, store n5, client: in doubt 0/2");
	scene_end(&s);
}

/* What was coordinated under the older ring goes to the owners of the newer one, and counts there alone. */
static void test_a_write_under_way_goes_to_the_new_owners(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "145", STABLE);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_next(&s);
	scene_stored(&s, 2, REPLICA_STALE_RING);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_stored(&s, 3, REPLICA_STALE_RING);
	scene_tick(&s, 0);
	expect(&s, "store n1, store n2, store n3, store n4, store n5");
	struct message *question = scene_question(&s, MESSAGE_STORE, 4);
	assert_int_equal(question->epoch, ring_epoch(s.document));
	assert_slice_equal(question->store.object, slice("encoded object"));
	scene_stored(&s, 2, REPLICA_OK);
	scene_stored(&s, 3, REPLICA_OK);
	scene_stored(&s, 5, REPLICA_OK);
	expect(&s, "");
	scene_stored(&s, 1, REPLICA_OK); /* again: what it said before counts no more */
	expect(&s, "client: done 4/2");
	assert_true(scene_context_covers(&s, 1, 9));
	scene_end(&s);
}

/* A new owner that has not heard of the ring yet takes it a moment later. */
static void test_a_new_owner_that_is_behind_is_asked_again(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "1", "123", READ_OLD);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_NOT_OWNER);
	scene_stored(&s, 3, REPLICA_NOT_OWNER);
	scene_stored(&s, 1, REPLICA_OK);
	expect(&s, "coordinate n1, store n2, store n3");
	scene_tick(&s, 10000);
	expect(&s, "store n1, store n2, store n3");
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 3, REPLICA_OK);
	expect(&s, "client: done 2/2");
	/* One that never does leaves a doubt, at the deadline. */
	scene_put(&s, .value = "red", .quorum = 3);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_NOT_OWNER);
	scene_tick(&s, 4999999);
	expect(&s, "coordinate n1, store n2, store n3, store n1, store n2, store n3");
	scene_stored(&s, 1, REPLICA_OK);
	scene_stored(&s, 3, REPLICA_OK);
	scene_stored(&s, 2, REPLICA_NOT_OWNER);
	scene_tick(&s, 1);
	expect(&s, "client: in doubt 2/3");
	scene_expect_text(&s, "1 of 1 acknowledged by the old owners, 2 of 3 by the new owners (n2: is no owner");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

/* Stopped for so long that the ring has changed altogether: what it sends is refused everywhere, and then it knows better. */
static void test_a_coordinator_that_slept_through_the_change(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "345", STABLE);
	scene_put(&s, .value = "red");
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_stored(&s, 1, REPLICA_OK);
	scene_get(&s);
	expect(&s, "coordinate n1, store n2, store n3, fetch n1, digest n2, digest n3");
	for (unsigned i = 0; i < 3; i++)
		scene_next(&s);
	scene_stored(&s, 2, REPLICA_STALE_RING);
	scene_stored(&s, 3, REPLICA_STALE_RING);
	scene_tick(&s, 0);
	expect(&s, "store n3, store n4, store n5"); /* it is no owner itself any more */
	scene_stored(&s, 4, REPLICA_OK);
	scene_stored(&s, 5, REPLICA_OK);
	expect(&s, "client: done 2/2");
	scene_fetch_failed(&s, 1, REPLICA_STALE_RING);
	scene_fetch_failed(&s, 2, REPLICA_STALE_RING);
	scene_tick(&s, 0);
	expect(&s, "fetch n3, digest n4, digest n5");
	scene_end(&s);
}

/* The owners that this node knows have none of the key any more. */
static void test_forwards_to_former_owners_begin_again(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 5, "12", "345", STABLE); /* not n5's ring alone: it is no member yet */
	scene_next(&s);
	s.forwarded_epoch = ring_epoch(s.document) + 1;
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(ABORTED), "no owner");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(ABORTED), "no owner");
	expect(&s, "forward n1, behind 3 as n1, forward n2");
	scene_next(&s);
	scene_tick(&s, 10000);
	expect(&s, "coordinate n5");
	scene_end(&s);
	/* Where the rings are the same there is nothing to wait for. */
	begin_at(&s, 5, "12", "345", READ_OLD);
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_REFUSED, CODE(ABORTED), "it was got after an earlier attempt");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(ABORTED), "it was got after an earlier attempt");
	expect(&s, "forward n1, forward n2, client: refused 0/2");
	/* Nor where an owner may hold it. */
	s.forwarded_epoch = ring_epoch(s.document) + 1;
	scene_put(&s, .value = "red");
	scene_forwarded(&s, 1, OUTCOME_IN_DOUBT, CODE(UNAVAILABLE), "lost");
	scene_forwarded(&s, 2, OUTCOME_REFUSED, CODE(ABORTED), "no owner");
	expect(&s, "forward n1, behind 3 as n1, forward n2, client: in doubt 0/2");
	scene_end(&s);
}

/* What it cannot ask for any more under the newer ring. */
static void test_begun_again_and_refused(void **state)
{
	(void)state;
	struct scene s;
	begin_at(&s, 1, "123", "1", READ_NEW);
	scene_put(&s, .value = "red", .quorum = 2);
	scene_coordinated(&s, 1, REPLICA_OK);
	scene_next(&s);
	scene_stored(&s, 2, REPLICA_STALE_RING);
	scene_stored(&s, 3, REPLICA_STALE_RING);
	s.log[0] = 0;
	scene_tick(&s, 0);
	expect(&s, "client: in doubt 0/2");
	scene_expect_text(&s,
			  "the ring changed while the write was under way (w=2 asks for more replicas than the N=1");
	scene_expect_text(&s, "safe to retry with the same operation id");
	assert_int_equal(scene_in_flight(&s), 0);
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_set_of_owners_that_store_it),
		cmocka_unit_test(test_reads_go_to_one_side_and_writes_to_both),
		cmocka_unit_test(test_a_write_runs_where_reads_go),
		cmocka_unit_test(test_what_a_quorum_may_ask_for),
		cmocka_unit_test(test_texts_name_the_side),
		cmocka_unit_test(test_each_side_has_to_be_in_reach),
		cmocka_unit_test(test_silent_new_owners_are_asked_first),
		cmocka_unit_test(test_a_later_attempt_learns_where_reads_go),
		cmocka_unit_test(test_a_write_that_the_local_replica_refuses_begins_again),
		cmocka_unit_test(test_a_read_waits_for_the_ring),
		cmocka_unit_test(test_waiting_ends_at_the_deadline),
		cmocka_unit_test(test_other_failures_do_not_wait),
		cmocka_unit_test(test_a_write_under_way_goes_to_the_new_owners),
		cmocka_unit_test(test_a_new_owner_that_is_behind_is_asked_again),
		cmocka_unit_test(test_a_coordinator_that_slept_through_the_change),
		cmocka_unit_test(test_forwards_to_former_owners_begin_again),
		cmocka_unit_test(test_begun_again_and_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
