/* SPDX-License-Identifier: Apache-2.0 */
/* Failure detection: suspected by one, down by two; and who must not be blamed. */
#include "tests/node/membership/net.h"
#include "node/membership/detector.h"

/* ---- over a network ----------------------------------------------------------------------------------------- */

static void test_two_reporters_make_a_member_down(void **state)
{
	(void)state;
	open_cluster(3, 60);
	run_for(10 * ROUND_US);
	stop_node(2);
	ROUNDS_UNTIL(all_see(2, RING_DOWN), 14);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(net->nodes[i].notes[NOTE_MEMBER_DOWN], 1);
		assert_int_equal(row_at(i, id_of(1 - i))->suspicion_count, 1);
		assert_true(row_at(i, id_of(1 - i))->suspicions[0].node_id == id_of(2));
	}
	start_node(2);
	ROUNDS_UNTIL(all_see(2, RING_UP), 4);
	run_for(2 * ROUND_US);
	assert_int_equal(row_at(0, id_of(1))->suspicion_count, 0);
	close_net();
}

/* Of two nodes one is left, and one reporter confirms nothing. */
static void test_one_reporter_is_not_enough(void **state)
{
	(void)state;
	open_cluster(2, 61);
	run_for(10 * ROUND_US);
	stop_node(1);
	for (uint32_t round = 0; round < 100; round++) {
		run_for(ROUND_US);
		assert_int_equal(look(0).down, 0);
	}
	assert_int_equal(look(0).unreachable, 1);
	close_net();
}

/* Whoever is alone sees nobody, and must not believe that all others failed. */
static void test_a_node_that_is_cut_off_sees_nobody_down(void **state)
{
	(void)state;
	open_cluster(7, 62);
	run_for(10 * ROUND_US);
	set_sides(1);
	for (uint32_t round = 0; round < 60; round++) {
		run_for(ROUND_US);
		assert_int_equal(look(0).down, 0);
	}
	assert_int_equal(look(0).unreachable, 6);
	for (uint32_t i = 1; i < 7; i++)
		assert_int_equal(sees(i, 0), RING_DOWN);
	set_sides(7);
	ROUNDS_UNTIL(all_see(0, RING_UP) && look(0).up == 7, 10);
	close_net();
}

/* What two nodes do not hear from each other they hear from a third one. */
static void test_a_severed_pair_blames_nobody(void **state)
{
	(void)state;
	open_cluster(4, 63);
	run_for(10 * ROUND_US);
	net->severed[0] = 1;
	net->severed[1] = 3;
	for (uint32_t round = 0; round < 100; round++) {
		run_for(ROUND_US);
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(look(i).up, 4);
	}
	close_net();
}

static bool living_see_dead_down(uint32_t living, uint32_t dead)
{
	for (uint32_t i = 0; i < living; i++)
		if (look(i).down != dead)
			return false;
	return true;
}

/* More fail at once than one row can report. */
static void test_many_failures_at_once_are_all_confirmed(void **state)
{
	(void)state;
	open_cluster(60, 64);
	run_for(20 * ROUND_US);
	for (uint32_t i = 40; i < 60; i++)
		stop_node(i);
	ROUNDS_UNTIL(living_see_dead_down(40, 20), 60);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(look(i).up, 40);
	close_net();
}

/* Ten minutes in which a tenth of all messages is lost: nobody failed, and nobody is reported to have. */
static void test_loss_makes_nobody_down(void **state)
{
	(void)state;
	open_cluster(12, 65);
	net->loss_percent = 10;
	for (uint32_t round = 0; round < 3000; round++) {
		run_for(ROUND_US);
		for (uint32_t i = 0; i < 12; i++)
			assert_int_equal(look(i).down, 0);
	}
	close_net();
}

/* ---- over a table ------------------------------------------------------------------------------------------- */

enum { MEMBERS = 4, ROUND = ROUND_US, TIMEOUT = TIMEOUT_US };

struct bench {
	struct detector detector;
	struct gossip_table table;
	struct gossip_row self;
	uint64_t now_us;
};

/* Node 1 is this one; 2 to 5 are members that were heard just now. */
static void set_table(struct bench *bench)
{
	*bench = (struct bench){.self = {.node_id = 1, .incarnation = 1}, .now_us = 1000 * 1000};
	for (uint32_t i = 0; i < MEMBERS; i++) {
		struct gossip_row row = {.node_id = 2 + i, .incarnation = 1, .heartbeat = 100};
		struct gossip_peer peer = {.is_member = true, .heard = true, .reachability = RING_UP};

		assert_int_equal(gossip_table_insert(&bench->table, &row, &peer), i);
	}
	detector_init(&bench->detector, ROUND, TIMEOUT);
	detector_start(&bench->detector, &bench->table, bench->now_us);
}

static void round_after(struct bench *bench, uint64_t us)
{
	bench->now_us += us;
	detector_round(&bench->detector, &bench->table, &bench->self, bench->now_us);
}

/* All but the first member go on being heard. */
static void rounds(struct bench *bench, uint32_t count)
{
	for (uint32_t round = 0; round < count; round++) {
		for (uint32_t i = 1; i < MEMBERS; i++)
			detector_heard(&bench->table.peers[i], bench->now_us);
		round_after(bench, ROUND);
	}
}

static void report(struct bench *bench, uint32_t reporter, struct suspicion suspicion)
{
	struct gossip_row *row = &bench->table.rows[reporter];

	row->suspicions[0] = suspicion;
	row->suspicion_count = 1;
}

static void test_nobody_is_suspected_without_a_probe(void **state)
{
	struct bench bench;
	struct gossip_peer *silent;
	uint32_t probes = 0;

	(void)state;
	set_table(&bench);
	silent = &bench.table.peers[0];
	for (uint32_t round = 0; !silent->suspected; round++) {
		assert_true(round < 30);
		rounds(&bench, 1);
		probes += silent->probe;
		assert_false(bench.table.peers[1].probe);
	}
	assert_true(bench.now_us - silent->heard_us > TIMEOUT);
	assert_in_range(probes, 2, TIMEOUT / ROUND);
	assert_int_equal(silent->reachability, RING_UNREACHABLE);
	assert_int_equal(bench.self.suspicion_count, 1);
	assert_int_equal(bench.self.suspicions[0].heartbeat, 100);
	gossip_table_fini(&bench.table);
}

static void add_members(struct bench *bench, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct gossip_row row = {.node_id = 100 + i, .incarnation = 1, .heartbeat = 100};
		struct gossip_peer peer = {
			.is_member = true, .heard = true, .reachability = RING_UP, .heard_us = bench->now_us};

		assert_int_not_equal(gossip_table_insert(&bench->table, &row, &peer), -1);
	}
}

/* How many are suspected; each had a probe that had time to be answered, and a round has only so many probes. */
static uint32_t check_probes(const struct bench *bench)
{
	uint32_t probes = 0, suspected = 0;

	for (uint32_t i = 0; i < bench->table.count; i++) {
		const struct gossip_peer *peer = &bench->table.peers[i];

		probes += peer->probe;
		suspected += peer->suspected;
		if (peer->suspected)
			assert_true(peer->probed_us != 0 && bench->now_us - peer->probed_us >= TIMEOUT / 4);
	}
	assert_in_range(probes, 0, DETECTOR_PROBES_MAX);
	return suspected;
}

/* More are silent at once than are probed in one round: all get their turn, and who had none is not suspected. */
static void test_probes_take_turns(void **state)
{
	struct bench bench;
	uint32_t suspected = 0;

	(void)state;
	set_table(&bench);
	add_members(&bench, 60);
	for (uint32_t round = 0; suspected < bench.table.count; round++) {
		assert_true(round < 20);
		round_after(&bench, ROUND);
		suspected = check_probes(&bench);
	}
	gossip_table_fini(&bench.table);
}

static void test_reports_count_as_long_as_no_newer_heartbeat_is_known(void **state)
{
	struct bench bench;
	struct gossip_peer *silent;

	(void)state;
	set_table(&bench);
	silent = &bench.table.peers[0];
	rounds(&bench, 20);
	report(&bench, 1, (struct suspicion){2, 1, 99});
	rounds(&bench, 1);
	assert_int_equal(silent->reachability, RING_UNREACHABLE); /* that reporter is behind */
	report(&bench, 1, (struct suspicion){2, 1, 100});
	rounds(&bench, 1);
	assert_int_equal(silent->reachability, RING_DOWN);
	assert_int_equal(silent->report_count, 2);
	bench.table.rows[1].suspicion_count = 0;
	rounds(&bench, 1);
	assert_int_equal(silent->reachability, RING_UNREACHABLE);
	gossip_table_fini(&bench.table);
}

/* Two others report what this node has not found out yet: it agrees, and reports nothing of its own. */
static void test_whoever_believes_two_others_is_no_third_reporter(void **state)
{
	struct bench bench;

	(void)state;
	set_table(&bench);
	report(&bench, 1, (struct suspicion){2, 1, 100});
	report(&bench, 2, (struct suspicion){2, 1, 101});
	rounds(&bench, 2);
	assert_int_equal(bench.table.peers[0].reachability, RING_DOWN);
	assert_int_equal(bench.self.suspicion_count, 0);
	bench.table.rows[1].suspicion_count = 0;
	rounds(&bench, 1);
	assert_int_equal(bench.table.peers[0].reachability, RING_UP);
	gossip_table_fini(&bench.table);
}

static void test_reporters_have_to_be_members_that_are_heard(void **state)
{
	struct bench bench;

	(void)state;
	set_table(&bench);
	for (uint32_t i = 1; i < MEMBERS; i++)
		report(&bench, i, (struct suspicion){2, 1, 100});
	bench.table.peers[1].is_member = false;
	bench.table.peers[2].reachability = RING_UNREACHABLE;
	bench.table.peers[2].suspected = true;
	detector_round(&bench.detector, &bench.table, &bench.self, bench.now_us);
	assert_int_equal(bench.table.peers[0].report_count, 1);
	assert_int_equal(bench.table.peers[0].reachability, RING_UP);
	gossip_table_fini(&bench.table);
}

/* It says nothing of others until it has heard the news, and whoever is often late waits longer. */
static void test_a_late_node_judges_slowly(void **state)
{
	struct bench bench;

	(void)state;
	set_table(&bench);
	rounds(&bench, 20);
	assert_int_equal(bench.self.suspicion_count, 1);
	round_after(&bench, 5 * ROUND);
	assert_int_equal(bench.self.suspicion_count, 0); /* nor is what it said before true any more */
	assert_int_equal(bench.table.peers[1].reachability, RING_UP);
	detector_heard(&bench.table.peers[0], bench.now_us);
	rounds(&bench, 1);
	for (uint32_t i = 0; i < 2 * DETECTOR_STRAIN_MAX; i++) {
		for (uint32_t member = 0; member < MEMBERS; member++)
			detector_heard(&bench.table.peers[member], bench.now_us);
		round_after(&bench, 2 * ROUND);
	}
	assert_int_equal(bench.detector.strain, DETECTOR_STRAIN_MAX);
	round_after(&bench, 2 * ROUND);
	uint64_t silent_us = 0;
	while (!bench.table.peers[1].suspected) {
		round_after(&bench, 2 * ROUND);
		silent_us = bench.now_us - bench.table.peers[1].heard_us;
	}
	assert_true(silent_us > 3 * TIMEOUT);
	gossip_table_fini(&bench.table);
}

static void test_a_row_reports_each_node_once_and_never_its_own(void **state)
{
	struct gossip_row row = {.node_id = 9, .incarnation = 1, .name = "n", .peer_address = "p", .bus_address = "b"};

	(void)state;
	row.suspicions[0] = (struct suspicion){2, 1, 1};
	row.suspicions[1] = (struct suspicion){3, 1, 1};
	row.suspicion_count = 2;
	assert_true(gossip_row_valid(&row));
	row.suspicions[1].node_id = 2;
	assert_false(gossip_row_valid(&row));
	row.suspicions[1].node_id = 9;
	assert_false(gossip_row_valid(&row));
	row.suspicions[1].node_id = 3;
	row.suspicion_count = RING_SUSPICIONS_MAX + 1;
	assert_false(gossip_row_valid(&row));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_reporters_make_a_member_down),
		cmocka_unit_test(test_one_reporter_is_not_enough),
		cmocka_unit_test(test_a_node_that_is_cut_off_sees_nobody_down),
		cmocka_unit_test(test_a_severed_pair_blames_nobody),
		cmocka_unit_test(test_many_failures_at_once_are_all_confirmed),
		cmocka_unit_test(test_loss_makes_nobody_down),
		cmocka_unit_test(test_nobody_is_suspected_without_a_probe),
		cmocka_unit_test(test_probes_take_turns),
		cmocka_unit_test(test_reports_count_as_long_as_no_newer_heartbeat_is_known),
		cmocka_unit_test(test_whoever_believes_two_others_is_no_third_reporter),
		cmocka_unit_test(test_reporters_have_to_be_members_that_are_heard),
		cmocka_unit_test(test_a_late_node_judges_slowly),
		cmocka_unit_test(test_a_row_reports_each_node_once_and_never_its_own),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
