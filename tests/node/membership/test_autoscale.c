/* SPDX-License-Identifier: Apache-2.0 */
/* Autoscale: each condition alone, what stands in the way, and hours of loads that rise, fall, jump, tremble and lie. */
#include "node/membership/autoscale.h"
#include "tests/node/support.h"

#include <stdlib.h>
#include <string.h>
#include "node/actor/event.h"

enum { MEMBERS_MAX = 12, LOOK_S = 5, HOLD_S = 300, REST_S = 1800, HOUR_S = 3600, N = 3 };

#define SECOND_US UINT64_C(1000000)
#define GIB       (UINT64_C(1) << 30)

/* ---- a cluster, of numbers alone -------------------------------------------------------------------------------- */

struct play {
	struct autoscale autoscale;
	struct ring_document *document;
	struct ring_member plan[MEMBERS_MAX];
	struct autoscale_member rows[MEMBERS_MAX];
	struct ring_datacenter datacenters[2];
	uint32_t member_count, datacenter_count;
	uint64_t now_s;
	struct prng prng;
	struct autoscale_decision last;
	uint32_t joins, drains, reweights;
};

static void claim(struct play *play)
{
	struct ring_plan plan = {.cluster_id = 7,
				 .hash_seed = 9,
				 .partition_count = 64,
				 .datacenters = play->datacenters,
				 .datacenter_count = play->datacenter_count,
				 .members = play->plan,
				 .member_count = play->member_count};
	struct ring_document *next;
	struct ring_error error;

	if (ring_claim(play->document, &plan, &next, &error))
		fail_msg("%s", error.text);
	ring_document_destroy(&play->document);
	play->document = next;
}

static const struct autoscale_settings usual = {
	.mode = AUTOSCALE_APPLY,
	.high_percent = 70,
	.low_percent = 30,
	.active_min = 1,
	.active_max = 16384,
	.hold_us = HOLD_S * SECOND_US,
	.rest_us = REST_S * SECOND_US,
};

/* The first so many are active, the others on standby. */
static void open_play(struct play *play, uint32_t active, uint32_t count, const struct autoscale_settings *settings)
{
	*play = (struct play){.member_count = count,
			      .datacenter_count = 1,
			      .datacenters = {{.name = "dc1", .replica_count = N}, {.name = "dc2", .replica_count = N}},
			      .now_s = 1000};
	prng_seed(&play->prng, active * 100 + count);
	for (uint32_t i = 0; i < count; i++) {
		struct ring_member *member = &play->plan[i];

		*member = (struct ring_member){.id = i + 1, .weight = 100, .datacenter = "dc1"};
		snprintf(member->name, sizeof member->name, "n%u", i);
		snprintf(member->client_address, sizeof member->client_address, "h%u:1", i);
		snprintf(member->peer_address, sizeof member->peer_address, "h%u:2", i);
		snprintf(member->bus_address, sizeof member->bus_address, "h%u:3", i);
		member->state = i < active ? RING_MEMBER_ACTIVE : RING_MEMBER_STANDBY;
		play->rows[i] = (struct autoscale_member){.sound = true, .own_weight = 100};
	}
	claim(play);
	autoscale_init(&play->autoscale, settings);
}

static void close_play(struct play *play)
{
	autoscale_fini(&play->autoscale);
	ring_document_destroy(&play->document);
}

static uint32_t count_active(const struct play *play)
{
	uint32_t active = 0;

	for (uint32_t i = 0; i < play->member_count; i++)
		active += play->plan[i].state == RING_MEMBER_ACTIVE;
	return active;
}

/* The ring changes, as it would some time after a vote. */
static void apply(struct play *play, const struct member_change *change)
{
	uint32_t i = 0;

	while (strcmp(play->plan[i].name, change->node) != 0)
		assert_in_range(++i, 0, play->member_count - 1);
	if (change->kind == CHANGE_REWEIGHT) {
		assert_in_range(change->weight, 50, play->plan[i].weight - 1);
		assert_true(change->weight * 10 + 10 >= play->plan[i].weight * 9); /* in small steps */
		play->plan[i].weight = change->weight;
		play->reweights++;
	} else {
		bool joins = change->kind == CHANGE_JOIN;

		assert_int_equal(play->plan[i].state, joins ? RING_MEMBER_STANDBY : RING_MEMBER_ACTIVE);
		play->plan[i].state = joins ? RING_MEMBER_ACTIVE : RING_MEMBER_STANDBY;
		play->joins += joins;
		play->drains += !joins;
	}
	assert_true(count_active(play) >= N); /* A1 */
	claim(play);
}

static bool look_once(struct play *play)
{
	play->now_s += LOOK_S;
	return autoscale_look(&play->autoscale, play->document, play->rows, true, play->now_s * SECOND_US, &play->last);
}

/* Seconds until something is decided; 0: nothing in that time. */
static uint64_t look_for(struct play *play, uint64_t seconds)
{
	for (uint64_t passed = LOOK_S; passed <= seconds; passed += LOOK_S)
		if (look_once(play))
			return passed;
	return 0;
}

/* ---- one condition at a time ------------------------------------------------------------------------------------- */

static void set_loads(struct play *play, const uint32_t *permille)
{
	for (uint32_t i = 0; i < play->member_count; i++)
		play->rows[i].load_permille = permille[i];
}

struct expected {
	const char *name;
	uint32_t active, count;
	uint32_t loads[6];
	const char *what; /* NULL: nothing in a day */
	const char *why;
};

static void test_conditions(void **state)
{
	static const struct expected table[] = {
		{"all busy",
		 3,
		 4,
		 {800, 820, 840},
		 "join n3",
		 "more than half of the 3 active members of dc1 are at 82 % load"},
		{"half of them busy",
		 4,
		 5,
		 {800, 800, 200, 200},
		 "weight n0 90 (now 100)",
		 "while half of the 4 active members of dc1 are at 20 % or less"},
		{"more than half busy", 4, 5, {800, 800, 800, 200}, "join n4", "above the mark of 70 %"},
		{"at the mark", 3, 4, {700, 700, 700}, NULL, NULL},
		{"busy, nobody on standby", 3, 3, {900, 900, 900}, NULL, NULL},
		{"one of two busy", 2, 3, {900, 100}, NULL, NULL},
		{"one busy, as many as replicas", 3, 4, {990, 300, 300}, NULL, NULL},
		{"one busy",
		 4,
		 4,
		 {200, 900, 300, 300},
		 "weight n1 90 (now 100)",
		 "it is at 90 % load, above the mark of 70 %"},
		{"one a bit more busy", 4, 4, {500, 740, 500, 500}, NULL, NULL},
		{"all idle",
		 5,
		 5,
		 {50, 60, 40, 50, 50},
		 "drain n2",
		 "of the other 4 active members of dc1 would be at 6 % load"},
		{"idle until one goes", 4, 4, {240, 240, 240, 240}, NULL, NULL},
		{"idle, as many as replicas", 3, 3, {10, 10, 10}, NULL, NULL},
		{"idle, but one busy", 5, 5, {10, 10, 10, 10, 660}, NULL, NULL},
		{"between the marks", 5, 6, {500, 500, 500, 500, 500}, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct play play;

		print_message("%s\n", table[i].name);
		open_play(&play, table[i].active, table[i].count, &usual);
		set_loads(&play, table[i].loads);
		uint64_t passed = look_for(&play, 24 * HOUR_S);
		if (table[i].what == NULL) {
			if (passed > 0)
				fail_msg("%s: %s", play.last.what, play.last.why);
		} else {
			assert_in_range(passed, REST_S, REST_S + 2 * LOOK_S);
			assert_string_equal(play.last.what, table[i].what);
			if (strstr(play.last.why, table[i].why) == NULL)
				fail_msg("\"%s\" does not say \"%s\"", play.last.why, table[i].why);
		}
		close_play(&play);
	}
}

static void test_disks(void **state)
{
	struct autoscale_settings settings = usual;
	struct play play;

	(void)state;
	settings.disk_bytes = 100 * GIB;
	open_play(&play, 4, 5, &settings);
	for (uint32_t i = 0; i < 5; i++) {
		play.rows[i].disk_bytes = 80 * GIB;
		play.rows[i].load_permille = 100;
	}
	assert_true(look_for(&play, HOUR_S) > 0);
	assert_string_equal(play.last.what, "join n4");
	assert_non_null(strstr(play.last.why, "are at 80 % of their room on disk or more"));
	for (uint32_t i = 0; i < 4; i++) { /* larger nodes */
		play.rows[i].own_weight = 200;
		play.rows[i].disk_bytes = UINT64_MAX;
	}
	play.rows[0].disk_bytes = play.rows[1].disk_bytes = play.rows[2].disk_bytes = 80 * GIB;
	assert_int_equal(look_for(&play, 24 * HOUR_S), 0); /* idle, but there is no room for the data of one less */
	for (uint32_t i = 0; i < 4; i++)
		play.rows[i].disk_bytes = 20 * GIB;
	assert_true(look_for(&play, HOUR_S) > 0);
	assert_string_equal(play.last.what, "drain n0");
	assert_non_null(strstr(play.last.why, "would be at 13 % load and 13 % of their room on disk or less"));
	close_play(&play);
}

static void test_limits_and_racks(void **state)
{
	static const uint32_t busy[8] = {900, 900, 900, 900, 900, 900, 900, 900}, idle[8] = {0};
	struct autoscale_settings settings = usual;
	struct play play;

	(void)state;
	settings.active_min = 5;
	settings.active_max = 6;
	open_play(&play, 5, 8, &settings);
	for (uint32_t i = 0; i < 8; i++)
		snprintf(play.plan[i].rack, sizeof play.plan[i].rack, "r%u", i % 4);
	play.plan[6].weight = 200;
	claim(&play); /* r0 has two, r1 to r3 one each; on standby are n5 in r1, n6 in r2, n7 in r3 */
	set_loads(&play, idle);
	assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
	set_loads(&play, busy);
	assert_true(look_for(&play, HOUR_S) > 0);
	assert_string_equal(play.last.what, "join n6"); /* the heaviest */
	apply(&play, &play.last.change);
	assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
	set_loads(&play, idle);
	play.rows[0].load_permille = play.rows[4].load_permille = 9;
	assert_true(look_for(&play, HOUR_S) > 0);
	assert_string_equal(play.last.what, "drain n2"); /* of a rack with two */
	close_play(&play);
}

/* Each datacenter has an N of its own, and its own standby members. */
static void test_datacenters_stand_alone(void **state)
{
	static const uint32_t loads[8] = {900, 900, 900, 10, 10, 10, 10, 0};
	struct play play;

	(void)state;
	open_play(&play, 7, 8, &usual);
	for (uint32_t i = 3; i < 8; i++)
		strcpy(play.plan[i].datacenter, "dc2");
	play.datacenter_count = 2;
	claim(&play);
	set_loads(&play, loads);
	assert_true(look_for(&play, HOUR_S) > 0); /* dc1 has nobody on standby */
	assert_string_equal(play.last.what, "drain n3");
	apply(&play, &play.last.change);
	assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
	close_play(&play);
}

/* ---- what stands in the way ------------------------------------------------------------------------------------- */

static const uint32_t all_busy[5] = {900, 900, 900, 0, 0};

static void test_a_break_begins_it_anew(void **state)
{
	struct play play;

	(void)state;
	open_play(&play, 3, 4, &usual);
	set_loads(&play, all_busy);
	assert_int_equal(look_for(&play, REST_S - LOOK_S), 0);
	play.rows[3].sound = false; /* a member on standby too */
	assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
	play.rows[3].sound = true;
	assert_in_range(look_for(&play, HOUR_S), HOLD_S, HOLD_S + 2 * LOOK_S);
	close_play(&play);
}

/* A peak shorter than hold, however high, and after a long rest. */
static void test_a_peak_is_no_reason(void **state)
{
	static const uint32_t calm[4] = {400, 400, 400, 0};
	struct play play;

	(void)state;
	open_play(&play, 3, 4, &usual);
	set_loads(&play, calm);
	assert_int_equal(look_for(&play, 2 * HOUR_S), 0);
	for (uint32_t i = 0; i < 20; i++) {
		set_loads(&play, all_busy);
		assert_int_equal(look_for(&play, HOLD_S - LOOK_S), 0);
		set_loads(&play, calm);
		assert_int_equal(look_for(&play, 2 * HOLD_S), 0);
	}
	close_play(&play);
}

static void test_an_open_change_and_leavers(void **state)
{
	struct ring_document *open, *before;
	struct ring_error error;
	struct play play;

	(void)state;
	open_play(&play, 3, 5, &usual);
	set_loads(&play, all_busy);
	before = ring_document_ref(play.document);
	play.plan[3].state = RING_MEMBER_ACTIVE;
	claim(&play);
	assert_int_equal(ring_transition_begin(before, play.document, &open, &error), 0);
	ring_document_destroy(&before);
	ring_document_destroy(&play.document);
	play.document = open;
	play.rows[3].load_permille = 900;
	assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(ring_transition_next(play.document, &open, &error), 0);
		ring_document_destroy(&play.document);
		play.document = open;
		if (i == 0)
			assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
	}
	assert_in_range(look_for(&play, HOUR_S), REST_S,
			REST_S + 2 * LOOK_S); /* after a rest, whoever wanted the change */
	close_play(&play);
}

/* PROPOSE: told once; once more when it has gone and come back. */
static void test_a_proposal_is_told_once(void **state)
{
	struct autoscale_settings settings = usual;
	struct play play;

	(void)state;
	settings.mode = AUTOSCALE_PROPOSE;
	open_play(&play, 3, 4, &settings);
	set_loads(&play, all_busy);
	assert_true(look_for(&play, HOUR_S) > 0);
	assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
	for (uint32_t i = 0; i < 3; i++)
		play.rows[i].load_permille = 300;
	assert_int_equal(look_for(&play, HOUR_S), 0);
	set_loads(&play, all_busy);
	assert_true(look_for(&play, HOUR_S) > 0);
	close_play(&play);
}

/* APPLY: when nothing came of it. Who is not to decide keeps the history all the same. */
static void test_a_vote_that_failed_is_repeated(void **state)
{
	struct play play;

	(void)state;
	open_play(&play, 3, 4, &usual);
	set_loads(&play, all_busy);
	for (uint32_t i = 0; i < 2 * REST_S; i++) {
		play.now_s++;
		assert_false(autoscale_look(&play.autoscale, play.document, play.rows, false, play.now_s * SECOND_US,
					    &play.last));
	}
	assert_true(look_once(&play));
	assert_in_range(look_for(&play, HOUR_S), REST_S, REST_S + 2 * LOOK_S);
	assert_string_equal(play.last.what, "join n3");
	close_play(&play);
}

/* A weight that an operator gave, above the node's own or far below it, stays. */
static void test_weights_of_operators(void **state)
{
	static const uint32_t one_busy[4] = {900, 300, 300, 300};
	static const uint32_t weights[] = {101, 50, 30, 1};
	struct play play;

	(void)state;
	for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
		open_play(&play, 4, 4, &usual);
		play.plan[0].weight = weights[i];
		claim(&play);
		set_loads(&play, one_busy);
		assert_int_equal(look_for(&play, 24 * HOUR_S), 0);
		close_play(&play);
	}
}

/* ---- hours ------------------------------------------------------------------------------------------------------ */

/* total: permille of one member of weight 100. Each has its share by weight, and a sample differs from it by up to so much. */
static void share(struct play *play, uint64_t total, uint32_t noise)
{
	uint64_t weight = 0;

	for (uint32_t i = 0; i < play->member_count; i++)
		weight += play->plan[i].state == RING_MEMBER_ACTIVE ? play->plan[i].weight : 0;
	for (uint32_t i = 0; i < play->member_count; i++) {
		bool active = play->plan[i].state == RING_MEMBER_ACTIVE;
		int64_t load = active ? (int64_t)(total * play->plan[i].weight / weight) : 0;

		load += (int64_t)prng_below(&play->prng, 2 * noise + 1) - noise;
		play->rows[i].load_permille = (uint32_t)(load < 0 ? 0 : load > 1000 ? 1000 : load);
	}
}

static void let_be(struct play *play, uint64_t total, uint32_t noise, uint64_t seconds)
{
	for (uint64_t passed = 0; passed < seconds; passed += LOOK_S) {
		share(play, total, noise);
		if (look_once(play))
			apply(play, &play->last.change);
	}
}

static uint32_t count_changes(const struct play *play)
{
	return play->joins + play->drains + play->reweights;
}

/* Any load that stays, from none to more than all can bear, with noise: at most one way, then nothing for days. */
static void test_a_load_that_stays_settles(void **state)
{
	(void)state;
	for (uint32_t noise = 0; noise <= 300; noise += 300)
		for (uint32_t active = N; active <= 10; active += 7)
			for (uint64_t total = 0; total <= 10000; total += 310) {
				struct play play;

				open_play(&play, active, 10, &usual);
				let_be(&play, total, noise, 8 * HOUR_S);
				assert_true(play.joins == 0 || play.drains == 0);
				assert_in_range(count_changes(&play), 0, 7);
				uint32_t settled = count_changes(&play);
				let_be(&play, total, noise, 16 * HOUR_S);
				assert_true(play.joins == 0 || play.drains == 0);
				if (count_changes(&play) >
				    settled + (noise > 0)) /* at the very mark it may take long */
					fail_msg("noise %u, total %u: %s, %s", noise, (unsigned)total, play.last.what,
						 play.last.why);
				close_play(&play);
			}
}

/* A join and a drain do not undo each other, however close the marks are. */
static void test_marks_that_nearly_meet(void **state)
{
	struct autoscale_settings settings = usual;

	(void)state;
	settings.low_percent = settings.high_percent - 1;
	for (uint64_t total = 0; total <= 8000; total += 110) {
		struct play play;

		open_play(&play, 5, 10, &settings);
		let_be(&play, total, 0, 12 * HOUR_S);
		assert_true(play.joins == 0 || play.drains == 0);
		assert_in_range(count_changes(&play), 0, 5);
		close_play(&play);
	}
}

/* A load that jumps up and down by the half day, and one that rises and falls over it: members come and go once each. */
static void test_steps_and_ramps(void **state)
{
	struct play play;

	(void)state;
	open_play(&play, 3, 10, &usual);
	for (uint32_t day = 0; day < 3; day++) {
		let_be(&play, 5000, 150, 12 * HOUR_S);
		assert_in_range(count_active(&play), 7, 8); /* 5000 of 7 is above 700 */
		let_be(&play, 300, 150, 12 * HOUR_S);
		assert_in_range(count_active(&play), 3, 4);
	}
	assert_in_range(play.joins, 3 * 4, 3 * 5);
	assert_int_equal(play.reweights, 0);
	close_play(&play);
	open_play(&play, 3, 10, &usual);
	for (uint32_t day = 0; day < 3; day++) {
		for (uint64_t i = 0; i < 48; i++)
			let_be(&play, i * 100, 150, HOUR_S / 4);
		for (uint64_t i = 48; i > 0; i--)
			let_be(&play, i * 100, 150, HOUR_S / 4);
	}
	assert_in_range(play.joins, 3 * 3, 3 * 5);
	assert_in_range(play.drains, play.joins - 3, play.joins);
	assert_int_equal(play.reweights, 0);
	uint32_t before = count_changes(&play);
	let_be(&play, 0, 150, 24 * HOUR_S);
	assert_in_range(count_changes(&play), before, before + 7);
	assert_int_equal(count_active(&play), N);
	close_play(&play);
}

/* Between too much and too little: faster than a rest, who has come stays. */
static void test_a_load_that_swings(void **state)
{
	(void)state;
	for (uint64_t period = 60; period <= 2 * HOUR_S; period *= 2) {
		struct play play;
		uint64_t swings = 48 * HOUR_S / period;

		open_play(&play, 4, 6, &usual);
		for (uint64_t i = 0; i < swings; i++)
			let_be(&play, i % 2 == 0 ? 5000 : 200, 100, period);
		print_message("period %u s: %u changes in %u swings\n", (unsigned)period, count_changes(&play),
			      (unsigned)swings);
		assert_true(count_changes(&play) <= 48 * HOUR_S / REST_S);
		assert_true(count_changes(&play) <= 2 * swings);
		assert_true(period > REST_S || (play.drains == 0 && play.joins <= 2));
		close_play(&play);
	}
}

/* One node makes figures up: at most it gets less weight, down to half. */
static void test_a_liar_moves_nobody(void **state)
{
	(void)state;
	for (uint32_t active = N; active <= 6; active++)
		for (uint64_t period = LOOK_S; period <= 12 * HOUR_S; period *= 9) {
			struct autoscale_settings settings = usual;
			struct play play;

			settings.disk_bytes = GIB;
			open_play(&play, active, 8, &settings);
			for (uint32_t i = 0; i < 48 * HOUR_S / LOOK_S; i++) {
				bool high = play.now_s / period % 2 == 0;

				share(&play, 500 * active, 100);
				play.rows[0].load_permille = high ? UINT32_MAX : 0;
				play.rows[0].disk_bytes = high ? UINT64_MAX : 0;
				if (look_once(&play))
					apply(&play, &play.last.change);
			}
			assert_int_equal(play.joins + play.drains, 0);
			assert_in_range(play.reweights, 0, 7);
			for (uint32_t i = 1; i < 8; i++)
				assert_int_equal(play.plan[i].weight, 100);
			close_play(&play);
		}
}

/* A slow machine: its weight falls until it has no more than the others bear, and stays. */
static void test_a_slow_node_gets_less(void **state)
{
	struct play play;

	(void)state;
	open_play(&play, 5, 5, &usual);
	for (uint32_t i = 0; i < 48 * HOUR_S / LOOK_S; i++) {
		share(&play, 2300, 100);
		play.rows[2].load_permille = play.rows[2].load_permille * 9 / 5;
		if (look_once(&play))
			apply(&play, &play.last.change);
	}
	print_message("weight %u after %u steps\n", play.plan[2].weight, play.reweights);
	assert_in_range(play.plan[2].weight, 70, 90);
	assert_int_equal(count_changes(&play), play.reweights);
	close_play(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_limits_and_racks),
		cmocka_unit_test(test_datacenters_stand_alone),
		cmocka_unit_test(test_a_break_begins_it_anew),
		cmocka_unit_test(test_a_peak_is_no_reason),
		cmocka_unit_test(test_an_open_change_and_leavers),
		cmocka_unit_test(test_a_proposal_is_told_once),
		cmocka_unit_test(test_a_vote_that_failed_is_repeated),
		cmocka_unit_test(test_weights_of_operators),
		cmocka_unit_test(test_a_load_that_stays_settles),
		cmocka_unit_test(test_marks_that_nearly_meet),
		cmocka_unit_test(test_steps_and_ramps),
		cmocka_unit_test(test_a_load_that_swings),
		cmocka_unit_test(test_a_liar_moves_nobody),
		cmocka_unit_test(test_a_slow_node_gets_less),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
