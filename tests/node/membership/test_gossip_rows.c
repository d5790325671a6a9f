/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip of rows: heartbeats, who is up, unknown or unreachable, and the bounds on rows and links. */
#include "tests/node/membership/net.h"

/* ---- who is up ---------------------------------------------------------------------------------------------- */

static void test_a_dead_member_is_down_after_the_timeout_and_up_after_its_restart(void **state)
{
	(void)state;
	open_cluster(10, 20);
	run_for(10 * ROUND_US);
	stop_node(3);
	run_for(TIMEOUT_US - 3 * ROUND_US);
	assert_true(all_see(3, RING_UP));
	ROUNDS_UNTIL(all_see(3, RING_DOWN), 8);
	start_node(3);
	assert_int_equal(look(3).epoch, 1); /* from its own disk, at once */
	ROUNDS_UNTIL(all_see(3, RING_UP), 4);
	assert_int_equal(look(0).unreachable + look(0).down, 0);
	close_net();
}

static uint64_t heard_us(uint32_t node, uint32_t as_seen_by)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[as_seen_by].ring);
	uint64_t heard = view->status[ring_member_find(view->document, id_of(node))].heard_us;

	ring_view_release(net->nodes[as_seen_by].ring, view);
	return heard;
}

static void test_members_are_unknown_until_their_first_heartbeat(void **state)
{
	(void)state;
	open_cluster(3, 21);
	for (uint32_t i = 0; i < 3; i++)
		stop_node(i);
	start_node(0);
	run_for(ROUND_US);
	assert_int_equal(look(0).up, 1); /* itself */
	assert_int_equal(sees(0, 1), RING_UNKNOWN);
	assert_int_equal(heard_us(1, 0), 0);
	start_node(1);
	ROUNDS_UNTIL(sees(0, 1) == RING_UP, 4);
	assert_int_not_equal(heard_us(1, 0), 0);
	ROUNDS_UNTIL(sees(0, 2) == RING_UNREACHABLE, 12);
	assert_int_equal(heard_us(2, 0), 0); /* never */
	close_net();
}

/* The others keep the row of one that died: that it is passed on says nothing of its life. */
static void test_a_row_that_others_keep_makes_no_member_up(void **state)
{
	(void)state;
	open_cluster(4, 22);
	run_for(10 * ROUND_US);
	stop_node(3);
	stop_node(0);
	start_node(0);
	for (uint32_t round = 0; round < 20; round++) {
		run_for(ROUND_US);
		assert_int_not_equal(sees(0, 3), RING_UP);
	}
	assert_int_equal(look(0).up, 3);
	close_net();
}

static uint64_t heartbeat_of(uint32_t node, uint32_t as_seen_by)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[as_seen_by].ring);
	uint64_t heartbeat = view->status[ring_member_find(view->document, id_of(node))].heartbeat;

	ring_view_release(net->nodes[as_seen_by].ring, view);
	return heartbeat;
}

static void test_push_pull_alone_carries_the_news(void **state)
{
	(void)state;
	open_cluster(8, 24);
	net->without_bus = true;
	run_for(100 * ROUND_US);
	for (uint32_t i = 0; i < 8; i++)
		for (uint32_t j = 0; j < 8; j++)
			assert_in_range(heartbeat_of(j, i), heartbeat_of(j, j) - 25, heartbeat_of(j, j));
	close_net();
}

static void test_halves_part_and_join(void **state)
{
	(void)state;
	open_cluster(12, 21);
	run_for(10 * ROUND_US);
	set_sides(5);
	run_for(TIMEOUT_US + 5 * ROUND_US);
	assert_int_equal(look(0).down, 7);
	assert_int_equal(look(11).down, 5);
	set_sides(12);
	ROUNDS_UNTIL(look(0).up == 12 && look(11).up == 12, 8);
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(look(i).up, 12);
	close_net();
}

/* Lifeguard: it was this node that stood still. Its own timers are late, its mailbox is full of old news. */
static void test_a_paused_node_does_not_blame_the_others(void **state)
{
	(void)state;
	open_cluster(8, 22);
	run_for(10 * ROUND_US);
	/* What is sent to it meanwhile is lost with its connections: the hardest case. */
	net->nodes[2].side = 1;
	net->nodes[2].paused_until_us = net->now_us + 5 * TIMEOUT_US;
	run_for(5 * TIMEOUT_US - 1);
	assert_true(all_see(2, RING_DOWN));
	net->nodes[2].side = 0;
	for (uint64_t until = net->now_us + 20 * ROUND_US; advance(until);)
		assert_int_equal(look(2).up, 8); /* not for a moment */
	assert_true(all_see(2, RING_UP));
	close_net();
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

static void test_an_older_row_never_replaces_a_newer(void **state)
{
	struct gossip_row row;

	(void)state;
	open_net(1, 40);
	fill_row(50, &row);
	row.incarnation = 5;
	row.heartbeat = 100;
	tell(0, &row, 1);
	row.figures.keys = 7;
	tell(0, &row, 1); /* the same age */
	row.heartbeat = 99;
	tell(0, &row, 1);
	row.incarnation = 4;
	row.heartbeat = 1000;
	tell(0, &row, 1);
	assert_int_equal(row_at(0, row.node_id)->figures.keys, 0);
	assert_int_equal(row_at(0, row.node_id)->heartbeat, 100);
	row.incarnation = 6;
	row.heartbeat = 0;
	tell(0, &row, 1);
	assert_int_equal(row_at(0, row.node_id)->incarnation, 6);
	close_net();
}

/* Node 1 asks node 0, and says nothing of the others: how many rows of node 5 come back. */
static uint32_t rows_in_answer(bool brief)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *question = message_create(arena, MESSAGE_GOSSIP);
	uint32_t before = net->watched_rows;

	question->from = (struct address){id_of(1), ACTOR_GOSSIP, 0};
	question->to = (struct address){id_of(0), ACTOR_GOSSIP, 0};
	question->gossip = rpc_arena_zalloc(arena, sizeof *question->gossip);
	question->gossip->from = id_of(1);
	question->gossip->rows = rpc_arena_copy(arena, row_at(0, id_of(1)), sizeof *question->gossip->rows);
	question->gossip->row_count = 1;
	question->gossip->brief = brief;
	rpc_arena_unref(arena);
	step(0, EVENT_MESSAGE, question);
	return net->watched_rows - before;
}

static void test_a_brief_question_is_answered_with_one_row(void **state)
{
	(void)state;
	open_cluster(6, 24);
	run_for(10 * ROUND_US);
	net->watched_id = id_of(5);
	assert_int_equal(rows_in_answer(false), 1);
	assert_int_equal(rows_in_answer(true), 0);
	net->watched_id = id_of(0);
	assert_int_equal(rows_in_answer(true), 1);
	close_net();
}

static void test_malformed_rows_are_ignored(void **state)
{
	struct gossip_row rows[6];

	(void)state;
	open_net(1, 41);
	for (uint32_t i = 0; i < 6; i++)
		fill_row(50 + i, &rows[i]);
	rows[0].node_id = 0;
	memset(rows[1].name, 'x', sizeof rows[1].name);
	rows[2].peer_address[0] = 0;
	rows[3].bus_address[0] = 0;
	rows[4].incarnation = 0;
	tell(0, rows, 6);
	for (uint32_t i = 0; i < 5; i++)
		assert_null(row_at(0, rows[i].node_id));
	assert_non_null(row_at(0, rows[5].node_id));
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->malformed, 5);
	close_net();
}

/* A row that claims the newest number there is would silence the member for ever. */
static void test_no_false_row_is_the_last_word(void **state)
{
	static const uint64_t false_numbers[] = {UINT64_MAX, UINT64_C(1) << 62, INT64_MAX, 5};
	struct gossip_row row;

	(void)state;
	open_cluster(4, 44);
	for (uint32_t i = 0; i < 4; i++) {
		row = *row_at(0, id_of(2));
		row.incarnation += false_numbers[i] / 2;
		row.heartbeat = false_numbers[i];
		strcpy(row.peer_address, "10.9.9.9:9");
		tell(0, &row, 1);
		run_for(TIMEOUT_US + 4 * ROUND_US);
		assert_true(all_see(2, RING_UP));
		assert_string_equal(row_at(0, id_of(2))->peer_address, "10.0.0.2:2");
	}
	assert_in_range(gossip_counters(net->nodes[2].gossip)->impostors, 4, 100);
	close_net();
}

static void test_strangers_cost_no_links_and_no_turns(void **state)
{
	const struct gossip_row *rows;

	(void)state;
	open_cluster(4, 45);
	for (uint32_t i = 0; i < 900; i++) {
		struct gossip_row row;

		fill_row(1000 + i, &row);
		tell(0, &row, 1);
	}
	run_for(4 * TIMEOUT_US);
	for (uint32_t i = 0, count = gossip_rows(net->nodes[0].gossip, &rows); i < count; i++)
		assert_int_equal(gossip_is_contact(net->nodes[0].gossip, i), index_of(rows[i].node_id) < 4);
	assert_int_equal(net->nodes[0].bus_count, 3);
	assert_int_equal(net->nodes[0].contact_count, 3);
	for (uint32_t i = 0; i < 4; i++)
		assert_true(all_see(i, RING_UP));
	close_net();
}

/* A node that never joined and is gone is told once as forgotten, and no row of it goes round any more, until it speaks. */
static void test_ghosts_are_forgotten(void **state)
{
	struct gossip_row ghost;

	(void)state;
	open_cluster(4, 47);
	fill_row(1000, &ghost);
	net->watched_id = ghost.node_id;
	tell(0, &ghost, 1);
	run_for(10 * ROUND_US);
	assert_in_range(net->watched_rows, 1, UINT32_MAX);
	run_for(UINT64_C(70) * 1000 * 1000);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(gossip_counters(net->nodes[i].gossip)->forgotten, 1);
	net->watched_rows = 0;
	run_for(UINT64_C(30) * 1000 * 1000);
	assert_int_equal(net->watched_rows, 0);
	tell(1, &ghost, 1); /* an old row: late, or of one that had not forgotten */
	run_for(10 * ROUND_US);
	assert_int_equal(net->watched_rows, 0);
	ghost.heartbeat++;
	tell(1, &ghost, 1);
	run_for(10 * ROUND_US);
	assert_in_range(net->watched_rows, 1, UINT32_MAX);
	close_net();
}

/* What was forgotten as a stranger counts like any other member once the ring names it: who lacks its row gets it, down or not. */
static void test_a_ghost_that_becomes_a_member_is_told_again(void **state)
{
	(void)state;
	open_net(3, 48);
	net->watched_id = id_of(2);
	run_for(10 * ROUND_US);
	assert_non_null(row_at(0, id_of(2)));
	stop_node(2);
	run_for(UINT64_C(70) * 1000 * 1000);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(gossip_counters(net->nodes[i].gossip)->forgotten, 1);
	net->watched_rows = 0;
	run_for(10 * ROUND_US);
	assert_int_equal(net->watched_rows, 0);
	assert_int_equal(init_cluster(0, 0, 3), KVRING__V1__CODE__OK);
	run_for(ROUND_US);
	stop_node(1);
	start_node(1); /* it has forgotten all rows */
	run_for(10 * ROUND_US);
	assert_in_range(row_at(1, id_of(2))->incarnation, 1, UINT64_MAX);
	assert_in_range(net->watched_rows, 1, UINT32_MAX);
	close_net();
}

static void test_rows_are_bounded_and_members_keep_their_place(void **state)
{
	const struct gossip_row *rows;
	struct gossip_row row;

	(void)state;
	open_net(1, 42);
	for (uint32_t i = 0; i < GOSSIP_STRANGERS_MAX + 2000; i++) {
		fill_row(1000 + i, &row);
		tell(0, &row, 1);
	}
	assert_int_equal(gossip_rows(net->nodes[0].gossip, &rows), GOSSIP_STRANGERS_MAX);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->overflows, 2000);
	assert_int_equal(init_cluster(0, 0, 5), KVRING__V1__CODE__OK);
	assert_int_equal(gossip_rows(net->nodes[0].gossip, &rows), GOSSIP_STRANGERS_MAX + 4);
	for (uint32_t i = 1; i < 5; i++)
		assert_non_null(row_at(0, id_of(i)));
	close_net();
}

/* The places of strangers are counted without the members, but for this node itself. */
static void test_members_take_no_place_of_strangers(void **state)
{
	const struct gossip_row *rows;
	struct gossip_row row;

	(void)state;
	open_net(1, 43);
	assert_int_equal(init_cluster(0, 0, 5), KVRING__V1__CODE__OK);
	for (uint32_t i = 0; i < GOSSIP_STRANGERS_MAX + 10; i++) {
		fill_row(1000 + i, &row);
		tell(0, &row, 1);
	}
	assert_int_equal(gossip_rows(net->nodes[0].gossip, &rows), GOSSIP_STRANGERS_MAX + 4);
	close_net();
}

/* Full of members but for one stranger: the next member takes its place, the next stranger none. */
static void test_a_member_takes_the_place_of_a_stranger(void **state)
{
	struct gossip_peer member = {.is_member = true}, stranger = {.is_member = false};
	struct gossip_table table = {0};
	struct gossip_row row;

	(void)state;
	for (uint32_t i = 0; i < GOSSIP_ROWS_MAX; i++) {
		fill_row(i, &row);
		row.node_id = 10 + i;
		assert_true(gossip_table_insert(&table, &row, i == 7 ? &stranger : &member) >= 0);
	}
	assert_int_equal(gossip_table_find(&table, 10 + 7), 7);
	row.node_id = 5;
	assert_int_equal(gossip_table_insert(&table, &row, &stranger), -1);
	row.node_id = 6;
	assert_int_equal(gossip_table_insert(&table, &row, &member), 0);
	assert_int_equal(gossip_table_find(&table, 10 + 7), -1);
	row.node_id = 7;
	assert_int_equal(gossip_table_insert(&table, &row, &member), -1);
	assert_int_equal(table.count, GOSSIP_ROWS_MAX);
	gossip_table_fini(&table);
}

/* A flood of strangers fills the table; members go on to hear each other and the document. */
static void test_a_full_table_is_told_in_what_others_take(void **state)
{
	struct gossip_row row;

	(void)state;
	open_net(3, 49);
	net->without_bus = true;
	run_for(10 * ROUND_US);
	for (uint32_t i = 0; i < 1200; i++) {
		fill_row(1000 + i, &row);
		tell(0, &row, 1);
	}
	assert_int_equal(init_cluster(0, 0, 3), KVRING__V1__CODE__OK);
	ROUNDS_UNTIL(all_have_epoch(1), 100);
	close_net();
}

/* Each change of a member is told once, by each of the others. */
static void test_changes_of_members_are_told_once(void **state)
{
	const struct net_node *first;
	uint32_t unreachable;

	(void)state;
	open_cluster(3, 46);
	first = &net->nodes[0];
	run_for(4 * TIMEOUT_US);
	assert_int_equal(first->notes[NOTE_JOINED], 1);
	assert_int_equal(first->notes[NOTE_RING_INSTALLED], 1);
	assert_int_equal(first->notes[NOTE_MEMBER_UP], 2);
	assert_int_equal(first->notes[NOTE_MEMBER_UNREACHABLE], 0);
	stop_node(2);
	run_for(4 * TIMEOUT_US);
	unreachable = first->notes[NOTE_MEMBER_UNREACHABLE];
	assert_in_range(unreachable, 0, 1); /* not when the other's report was there before its own suspicion */
	assert_int_equal(first->notes[NOTE_MEMBER_DOWN], 1);
	assert_int_equal(first->last_note_id, id_of(2));
	start_node(2);
	run_for(4 * TIMEOUT_US);
	assert_int_equal(first->notes[NOTE_MEMBER_RESTARTED], 1);
	assert_int_equal(first->notes[NOTE_MEMBER_UP], 2);
	assert_int_equal(first->notes[NOTE_MEMBER_UNREACHABLE], unreachable);
	assert_int_equal(net->nodes[2].notes[NOTE_JOINED], 1); /* of its first life; the second one knows */
	assert_int_equal(net->nodes[2].notes[NOTE_RING_INSTALLED], 2);
	close_net();
}

/* Contacts are an effect of change, not of time. */
static void test_contacts_are_told_when_they_change(void **state)
{
	uint32_t before;

	(void)state;
	open_cluster(3, 47);
	run_for(4 * TIMEOUT_US);
	assert_int_equal(net->nodes[0].contact_count, 2);
	assert_int_equal(net->nodes[0].bus_count, 2);
	before = net->nodes[0].contact_effects;
	run_for(200 * ROUND_US);
	assert_int_equal(net->nodes[0].contact_effects, before);
	close_net();
}

/* What strangers of another cluster say is counted in one note per step. */
static void test_refusals_are_told(void **state)
{
	struct gossip_row row;

	(void)state;
	open_cluster(3, 48);
	fill_row(1000, &row);
	row.cluster_id = 4711;
	tell(0, &row, 1);
	tell(0, &row, 1);
	run_for(ROUND_US);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->foreign, 2);
	assert_int_equal(net->nodes[0].notes[NOTE_FOREIGN], 2);
	close_net();
}

static void test_bus_links_are_few_and_distinct(void **state)
{
	(void)state;
	open_cluster(30, 43);
	run_for(100 * ROUND_US);
	for (uint32_t i = 0; i < 30; i++) {
		const uint64_t *ids = net->nodes[i].bus;

		assert_int_equal(net->nodes[i].bus_count, 3);
		for (uint32_t a = 0; a < 3; a++) {
			assert_true(ids[a] != id_of(i));
			for (uint32_t b = 0; b < a; b++)
				assert_true(ids[a] != ids[b]);
		}
	}
	close_net();
}

static uint64_t transcript_of(uint64_t seed)
{
	uint64_t transcript;

	open_net(9, seed);
	net->loss_percent = 20;
	run_for(5 * ROUND_US);
	(void)init_cluster(0, 0, 9);
	run_for(40 * ROUND_US);
	transcript = net->transcript;
	close_net();
	return transcript;
}

static void test_the_same_seed_is_the_same_run(void **state)
{
	(void)state;
	assert_true(transcript_of(50) == transcript_of(50));
	assert_true(transcript_of(50) != transcript_of(51));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_dead_member_is_down_after_the_timeout_and_up_after_its_restart),
		cmocka_unit_test(test_push_pull_alone_carries_the_news),
		cmocka_unit_test(test_halves_part_and_join),
		cmocka_unit_test(test_a_paused_node_does_not_blame_the_others),
		cmocka_unit_test(test_an_older_row_never_replaces_a_newer),
		cmocka_unit_test(test_a_brief_question_is_answered_with_one_row),
		cmocka_unit_test(test_malformed_rows_are_ignored),
		cmocka_unit_test(test_ghosts_are_forgotten),
		cmocka_unit_test(test_a_ghost_that_becomes_a_member_is_told_again),
		cmocka_unit_test(test_members_are_unknown_until_their_first_heartbeat),
		cmocka_unit_test(test_a_row_that_others_keep_makes_no_member_up),
		cmocka_unit_test(test_strangers_cost_no_links_and_no_turns),
		cmocka_unit_test(test_no_false_row_is_the_last_word),
		cmocka_unit_test(test_rows_are_bounded_and_members_keep_their_place),
		cmocka_unit_test(test_members_take_no_place_of_strangers),
		cmocka_unit_test(test_a_member_takes_the_place_of_a_stranger),
		cmocka_unit_test(test_a_full_table_is_told_in_what_others_take),
		cmocka_unit_test(test_bus_links_are_few_and_distinct),
		cmocka_unit_test(test_changes_of_members_are_told_once),
		cmocka_unit_test(test_contacts_are_told_when_they_change),
		cmocka_unit_test(test_refusals_are_told),
		cmocka_unit_test(test_the_same_seed_is_the_same_run),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
