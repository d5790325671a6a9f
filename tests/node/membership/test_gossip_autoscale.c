/* SPDX-License-Identifier: Apache-2.0 */
/* Autoscale among gossip actors: a load that grows and shrinks, proposals, members that fail, and one that lies. */
#include "tests/node/membership/net.h"

#include <stdlib.h>

enum { SECOND_US = 1000 * 1000, MEMBERS = 6, N = 3 };

static uint64_t total; /* permille of one member of weight 100 */
static uint32_t liar;  /* its figures swing; NODES_MAX: nobody's */

static void clear_rack(uint32_t index, struct gossip_row *row)
{
	(void)index;
	row->rack[0] = 0;
}

static enum ring_member_state state_of(const struct ring_view *view, uint32_t index)
{
	return ring_member(view->document, (uint32_t)ring_member_find(view->document, id_of(index)))->state;
}

static uint32_t count_active(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	uint32_t active = 0;

	for (uint32_t i = 0; view->document != NULL && i < MEMBERS; i++)
		active += state_of(view, i) == RING_MEMBER_ACTIVE;
	ring_view_release(net->nodes[node].ring, view);
	return active;
}

/* The first by id, who decides. */
static uint32_t first_by_id(void)
{
	uint32_t first = 0;

	for (uint32_t i = 1; i < MEMBERS; i++)
		if (net->nodes[i].alive && (!net->nodes[first].alive || id_of(i) < id_of(first)))
			first = i;
	return first;
}

/* By the ring that the node has. */
static void set_figures(uint32_t index, struct ring_figures *out)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[index].ring);
	bool active = view->document != NULL && state_of(view, index) == RING_MEMBER_ACTIVE;

	ring_view_release(net->nodes[index].ring, view);
	out->load_permille = active ? (uint32_t)(total / count_active(index) + prng_below(&net->prng, 101)) : 20;
	if (index == liar)
		out->load_permille = net->now_us / (100 * SECOND_US) % 2 == 0 ? UINT32_MAX : 0;
	if (index == liar)
		out->disk_bytes = net->now_us / (170 * SECOND_US) % 2 == 0 ? UINT64_MAX : 0;
}

static void open_members(uint32_t seed, enum autoscale_mode mode)
{
	autoscale = (struct autoscale_settings){
		.mode = mode,
		.high_percent = 70,
		.low_percent = 30,
		.disk_bytes = UINT64_C(1) << 40,
		.active_min = 1,
		.active_max = 16,
		.hold_us = 10 * SECOND_US,
		.rest_us = 40 * SECOND_US,
	};
	total = 2400;
	open_cluster(MEMBERS, seed);
	net->auto_ready = net->one_ring = true;
	net->amend_figures = set_figures;
}

static void assert_enough(void)
{
	for (uint32_t i = 0; i < MEMBERS; i++)
		if (net->nodes[i].alive)
			assert_in_range(count_active(i), N, MEMBERS);
}

static void run_minutes(uint32_t minutes)
{
	for (uint32_t i = 0; i < 2 * minutes; i++) {
		run_for(30 * SECOND_US);
		assert_enough();
	}
}

static uint32_t count_notes(enum note_kind kind)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < MEMBERS; i++)
		count += net->nodes[i].notes[kind];
	return count;
}

static void test_a_load_that_grows_and_shrinks(void **state)
{
	uint64_t settled;

	(void)state;
	open_members(500, AUTOSCALE_APPLY);
	run_minutes(3);
	assert_int_equal(look(0).epoch, 1); /* 400 each: nothing to do */
	total = 300;
	run_minutes(6);
	assert_int_equal(count_active(0), N);
	assert_non_null(strstr(net->nodes[first_by_id()].last_why, "below the mark of 30 %"));
	settled = look(0).epoch;
	run_minutes(4);
	assert_int_equal(look(0).epoch, settled);
	total = 3600;
	run_minutes(6);
	assert_int_equal(count_active(0), MEMBERS); /* 720 and 50 among five */
	assert_memory_equal(net->nodes[first_by_id()].last_change, "join n", 6);
	assert_non_null(strstr(net->nodes[first_by_id()].last_why, "above the mark of 70 %"));
	settled = look(0).epoch;
	run_minutes(4);
	assert_int_equal(look(0).epoch, settled);
	total = 300;
	run_minutes(6);
	assert_int_equal(count_active(0), N);
	assert_int_equal(count_notes(NOTE_AUTOSCALE_APPLIES), 9);
	assert_int_equal(net->nodes[first_by_id()].notes[NOTE_AUTOSCALE_APPLIES], 9);
	assert_int_equal(count_notes(NOTE_AUTOSCALE_CANNOT) + count_notes(NOTE_AUTOSCALE_PROPOSES), 0);
	close_net();
}

static void test_a_proposal_changes_nothing(void **state)
{
	(void)state;
	open_members(501, AUTOSCALE_PROPOSE);
	total = 300;
	run_minutes(10);
	assert_int_equal(look(0).epoch, 1);
	assert_int_equal(count_notes(NOTE_AUTOSCALE_PROPOSES), 1);
	assert_int_equal(net->nodes[first_by_id()].notes[NOTE_AUTOSCALE_PROPOSES], 1);
	assert_memory_equal(net->nodes[first_by_id()].last_change, "drain n", 7);
	close_net();
}

static void test_off_is_off(void **state)
{
	(void)state;
	open_members(502, AUTOSCALE_OFF);
	total = 300;
	run_minutes(6);
	assert_int_equal(look(0).epoch, 1);
	close_net();
}

/* Who is away may hold the only copies: nothing moves. The next one decides when the first one is gone and back. */
static void test_a_member_that_is_away(void **state)
{
	uint32_t first;

	(void)state;
	open_members(503, AUTOSCALE_APPLY);
	run_minutes(1);
	first = first_by_id();
	stop_node(first);
	total = 300;
	run_minutes(6);
	assert_int_equal(look(first_by_id()).epoch, 1);
	start_node(first);
	run_minutes(6);
	assert_int_equal(count_active(0), N);
	close_net();
}

static void change_rack(const char *member, const char *rack)
{
	struct change *asked = set_rack(1, member, rack, 10 * SECOND_US);

	run_for(20 * SECOND_US);
	if (!asked->answered || asked->code != KVRING__V1__CODE__OK)
		fail_msg("%s", asked->text);
}

/* Changes that an operator wants come between: each begins the rest anew. */
static void test_an_operator_goes_before(void **state)
{
	(void)state;
	open_members(504, AUTOSCALE_APPLY);
	total = 300;
	run_for(10 * SECOND_US);
	for (uint32_t i = 0; i < 8; i++)
		change_rack("n2", i % 2 == 0 ? "r1" : ""); /* 20 s each */
	assert_int_equal(count_active(0), MEMBERS);
	run_minutes(6);
	assert_int_equal(count_active(0), N);
	close_net();
}

/* One less would break a rule of placement that nobody has allowed to be broken. */
static void test_what_is_impossible_is_told(void **state)
{
	uint64_t epoch;

	(void)state;
	open_members(505, AUTOSCALE_APPLY);
	change_rack("n2", "r2");
	epoch = look(0).epoch;
	total = 300;
	run_minutes(7);
	assert_int_equal(look(0).epoch, epoch);
	assert_non_null(strstr(net->nodes[first_by_id()].last_why, "the plan breaks placement rules"));
	assert_in_range(count_notes(NOTE_AUTOSCALE_CANNOT), 5, 10); /* once a rest */
	assert_int_equal(count_notes(NOTE_AUTOSCALE_APPLIES), 0);
	close_net();
}

/* Of one node all figures are made up; others say so many a day that nothing is to be done. */
static void test_a_liar_moves_nobody(void **state)
{
	(void)state;
	for (liar = 0; liar < MEMBERS; liar += 5) {
		open_members(505 + liar, AUTOSCALE_APPLY);
		total = 2400;
		run_minutes(10);
		assert_int_equal(count_active(liar == 0 ? 1 : 0), MEMBERS);
		const struct ring_view *view = ring_view_acquire(net->nodes[1].ring);
		for (uint32_t i = 0; i < MEMBERS; i++) {
			uint32_t weight =
				ring_member(view->document, (uint32_t)ring_member_find(view->document, id_of(i)))
					->weight;
			assert_in_range(weight, i == liar ? 50 : 100, 100);
		}
		ring_view_release(net->nodes[1].ring, view);
		assert_in_range(count_notes(NOTE_AUTOSCALE_APPLIES), 0, 7);
		close_net();
	}
	liar = NODES_MAX;
}

/* Messages are lost, members stop and start, halves part: one document per epoch (net.one_ring), never fewer than N, and calm at the end. */
static void test_bad_weather(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 2; seed++) {
		struct prng prng;

		prng_seed(&prng, seed);
		open_members(510 + (uint32_t)seed, AUTOSCALE_APPLY);
		for (uint32_t i = 0; i < 16; i++) {
			uint32_t index = (uint32_t)prng_below(&prng, MEMBERS);

			total = prng_below(&prng, 4000);
			net->loss_percent = (uint32_t)prng_below(&prng, 3) * 10;
			set_sides(prng_below(&prng, 8) == 0 ? index : MEMBERS);
			if (!net->nodes[index].alive)
				start_node(index);
			else if (prng_below(&prng, 8) == 0)
				stop_node(index);
			run_minutes(1);
		}
		set_sides(MEMBERS);
		net->loss_percent = 0;
		for (uint32_t i = 0; i < MEMBERS; i++)
			if (!net->nodes[i].alive)
				start_node(i);
		total = 300;
		run_minutes(8);
		for (uint32_t i = 0; i < MEMBERS; i++)
			assert_int_equal(count_active(i), N);
		uint64_t epoch = look(0).epoch;
		run_minutes(3);
		assert_int_equal(look(0).epoch, epoch);
		close_net();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_load_that_grows_and_shrinks),
		cmocka_unit_test(test_a_proposal_changes_nothing),
		cmocka_unit_test(test_off_is_off),
		cmocka_unit_test(test_a_member_that_is_away),
		cmocka_unit_test(test_an_operator_goes_before),
		cmocka_unit_test(test_what_is_impossible_is_told),
		cmocka_unit_test(test_a_liar_moves_nobody),
		cmocka_unit_test(test_bad_weather),
	};

	amend_row = clear_rack;
	liar = NODES_MAX;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
