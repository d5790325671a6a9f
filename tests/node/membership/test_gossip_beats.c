/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip of beats: a row goes in full when it changes, else as a beat (peer.proto, Beats); who lacks the row asks for it. */
#include "tests/node/membership/net.h"

enum { PROBED = 2 }; /* the member that node 0 is told of */

static const struct gossip_counters *counters(void)
{
	return gossip_counters(net->nodes[0].gossip);
}

static uint32_t place_of(uint32_t index)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[0].ring);
	int place = ring_member_find(view->document, id_of(index));

	ring_view_release(net->nodes[0].ring, view);
	assert_true(place >= 0);
	return (uint32_t)place;
}

/* Node 0 hears these from node 1, whose ring document has this epoch and the hash of node 0's with `wrong` added. */
static void tell_beats(const struct gossip_beat *beats, uint32_t count, uint64_t epoch, uint64_t wrong)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_BUS);

	message->gossip = rpc_arena_zalloc(arena, sizeof *message->gossip);
	message->gossip->from = id_of(1);
	message->gossip->cluster_id = look(0).cluster_id;
	message->gossip->epoch = epoch;
	message->gossip->ring_hash = look(0).hash + wrong;
	message->gossip->beats = rpc_arena_copy(arena, beats, count * sizeof *beats);
	message->gossip->beat_count = count;
	rpc_arena_unref(arena);
	step(0, EVENT_MESSAGE, message);
}

static void tell_beat(const struct gossip_beat *beat)
{
	tell_beats(beat, 1, 1, 0);
}

static const struct gossip_row *row(void)
{
	return row_at(0, id_of(PROBED));
}

/* That fits the row which node 0 has, one heartbeat on. */
static struct gossip_beat next_beat(void)
{
	return (struct gossip_beat){.member = place_of(PROBED),
				    .revision = row()->revision,
				    .incarnation = row()->incarnation,
				    .heartbeat = row()->heartbeat + 1};
}

/* Where no round passes that the test does not let pass: a step of a node happens only when it is told. */
static void open_quiet_cluster(void)
{
	open_cluster(4, 61);
	run_for(20 * ROUND_US);
}

static void test_a_beat_raises_the_heartbeat_and_nothing_else(void **state)
{
	struct gossip_row before;
	struct gossip_beat beat;

	(void)state;
	open_quiet_cluster();
	before = *row();
	beat = next_beat();
	tell_beat(&beat);
	assert_int_equal(row()->heartbeat, before.heartbeat + 1);
	before.heartbeat++;
	assert_memory_equal(row(), &before, sizeof before);
	beat.heartbeat--; /* late */
	tell_beat(&beat);
	assert_int_equal(row()->heartbeat, before.heartbeat);
	assert_int_equal(counters()->malformed, 0);
	close_net();
}

static void test_a_beat_says_which_epoch_its_member_has(void **state)
{
	struct gossip_beat beat;

	(void)state;
	open_quiet_cluster();
	assert_int_equal(row()->epoch, 1);
	beat = next_beat();
	beat.epochs_behind = 1;
	tell_beat(&beat);
	assert_int_equal(row()->epoch, 0);
	beat = next_beat();
	tell_beat(&beat);
	assert_int_equal(row()->epoch, 1);
	close_net();
}

/* Of another revision, whether its number is larger or has wrapped, or of a later start: the row is asked for, once a round. */
static void test_a_beat_of_another_row_makes_the_node_ask(void **state)
{
	const struct gossip_beat others[] = {{.revision = 1}, {.revision = UINT32_MAX}, {.incarnation = 1}};

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		open_quiet_cluster();
		uint64_t heartbeat = row()->heartbeat, wanted = counters()->wanted;
		struct gossip_beat beat = next_beat();

		beat.revision = (beat.revision + others[i].revision) & GOSSIP_REVISION_MAX;
		beat.incarnation += others[i].incarnation;
		tell_beat(&beat);
		assert_int_equal(counters()->wanted, wanted + 1);
		assert_int_equal(row()->heartbeat, heartbeat);
		beat.heartbeat++;
		tell_beat(&beat);
		assert_int_equal(counters()->wanted, wanted + 1);
		run_for(2 * ROUND_US);
		tell_beat(&(struct gossip_beat){beat.member, beat.revision, beat.incarnation, row()->heartbeat + 1, 0});
		assert_int_equal(counters()->wanted, wanted + 2);
		close_net();
	}
}

/* A row that changed while nobody told node 0: the first beat of it brings it. */
static void test_a_row_that_was_missed_is_fetched(void **state)
{
	struct gossip_row changed;

	(void)state;
	open_quiet_cluster();
	changed = *row();
	strcpy(changed.version, "9.9");
	changed.revision = changed.revision % GOSSIP_REVISION_MAX + 1;
	changed.heartbeat += 1000;
	tell(1, &changed, 1);
	assert_string_equal(row()->version, "");
	struct gossip_beat beat = {place_of(PROBED), changed.revision, changed.incarnation, changed.heartbeat, 0};
	net->without_bus = true;
	tell_beat(&beat);
	run_for(ROUND_US / 8); /* to node 1 and back */
	assert_string_equal(row()->version, "9.9");
	assert_int_equal(row()->heartbeat, changed.heartbeat);
	close_net();
}

static void test_beats_that_this_node_cannot_read_are_left(void **state)
{
	struct gossip_row before;
	struct gossip_beat beat;

	(void)state;
	open_quiet_cluster();
	before = *row();
	beat = next_beat();
	uint64_t wanted = counters()->wanted;
	tell_beats(&beat, 1, 1, 1); /* places in another document */
	tell_beats(&beat, 1, 0, 0);
	beat.incarnation = 0; /* its sender has no row of it */
	tell_beat(&beat);
	assert_memory_equal(row(), &before, sizeof before);
	assert_int_equal(counters()->malformed, 0);
	beat = next_beat();
	beat.member = 4;
	tell_beat(&beat);
	assert_int_equal(counters()->malformed, 1);
	beat = next_beat();
	beat.epochs_behind = 2; /* of an epoch below 0 */
	tell_beat(&beat);
	assert_int_equal(counters()->malformed, 2);
	assert_memory_equal(row(), &before, sizeof before);
	assert_int_equal(counters()->wanted, wanted);
	close_net();
}

/* One message makes one question, of bounded size; what did not fit is asked for after the next message. */
static void test_questions_for_rows_are_bounded(void **state)
{
	enum { MEMBERS = GOSSIP_WANTED_MAX + 40 };
	struct gossip_beat beats[MEMBERS];

	(void)state;
	open_net(1, 62);
	assert_int_equal(init_cluster(0, 0, MEMBERS), KVRING__V1__CODE__OK);
	for (uint32_t i = 0; i < MEMBERS; i++)
		beats[i] = (struct gossip_beat){.member = i, .revision = 7, .incarnation = i == place_of(0) ? 0 : 5};
	tell_beats(beats, MEMBERS, 1, 0);
	assert_int_equal(counters()->wanted, GOSSIP_WANTED_MAX);
	tell_beats(beats, MEMBERS, 1, 0);
	assert_int_equal(counters()->wanted, MEMBERS - 1);
	tell_beats(beats, MEMBERS, 1, 0);
	assert_int_equal(counters()->wanted, MEMBERS - 1);
	close_net();
}

/* How often the row of node 5 goes out, of any node, in so many rounds. */
static uint32_t rows_sent(uint32_t rounds)
{
	uint32_t before = net->watched_rows;

	net->watched_id = id_of(5);
	run_for(rounds * ROUND_US);
	return net->watched_rows - before;
}

static void test_unchanged_rows_travel_as_beats(void **state)
{
	(void)state;
	open_cluster(8, 63);
	run_for(40 * ROUND_US);
	uint64_t heartbeat = row_at(0, id_of(5))->heartbeat;
	assert_in_range(rows_sent(40), 0,
			40); /* its own questions and answers; else once each round by each node: over 320 */
	assert_in_range(row_at(0, id_of(5))->heartbeat, heartbeat + 36, heartbeat + 44);
	for (uint32_t i = 0; i < 8; i++)
		assert_true(all_see(i, RING_UP));
	close_net();
}

/* Figures change in each round, and make no row travel in full; they come with what nodes tell each other of themselves. */
static void test_new_figures_travel_in_time(void **state)
{
	(void)state;
	open_cluster(8, 64);
	net->busy = true;
	run_for(40 * ROUND_US);
	assert_in_range(rows_sent(40), 0, 40);
	for (uint32_t i = 0; i < 10; i++) {
		uint64_t puts = row_at(0, id_of(5))->figures.puts;

		ROUNDS_UNTIL(row_at(0, id_of(5))->figures.puts > puts, 120);
	}
	close_net();
}

/* In each round the bus is ahead of all questions, so that the beats bring every heartbeat before the row that has its figures. */
static void test_figures_count_after_the_beat_of_their_heartbeat(void **state)
{
	struct gossip_beat beat;
	struct gossip_row changed;

	(void)state;
	open_quiet_cluster();
	changed = *row();
	changed.heartbeat++;
	changed.figures.puts = 7;
	beat = next_beat();
	tell_beat(&beat);
	tell(0, &changed, 1);
	assert_int_equal(row()->figures.puts, 7);
	changed.figures.puts = 8; /* no heartbeat on: a copy that is passed on says nothing new */
	tell(0, &changed, 1);
	changed.heartbeat--;
	tell(0, &changed, 1);
	assert_int_equal(row()->figures.puts, 7);
	beat = next_beat();
	beat.heartbeat++;
	tell_beat(&beat);
	changed.heartbeat = row()->heartbeat - 1; /* late, and still newer than the figures that are known */
	tell(0, &changed, 1);
	assert_int_equal(row()->figures.puts, 8);
	assert_int_equal(row()->heartbeat, beat.heartbeat);
	changed.heartbeat++;
	changed.revision ^= 1; /* of another row */
	changed.figures.puts = 9;
	tell(0, &changed, 1);
	assert_int_equal(row()->figures.puts, 8);
	close_net();
}

/* That a shard died is no figure that may come some time: operators have to know. */
static void test_dead_shards_are_known_at_once(void **state)
{
	(void)state;
	open_cluster(8, 65);
	run_for(40 * ROUND_US);
	net->dead_shards = 2;
	ROUNDS_UNTIL(row_at(0, id_of(5))->figures.dead_shards == 2, 4);
	close_net();
}

/* A member of an older version, which knows no revisions, and takes no beats. */
static void be_old(uint32_t index, uint64_t heartbeat)
{
	struct gossip_row old = *row_at(0, id_of(index));

	old.revision = 0;
	old.heartbeat = heartbeat;
	for (uint32_t i = 0; i < net->node_count; i++)
		if (i != index)
			tell(i, &old, 1);
}

static void test_rows_travel_in_full_while_a_member_knows_no_beats(void **state)
{
	(void)state;
	open_cluster(8, 65);
	run_for(20 * ROUND_US);
	stop_node(7);
	for (uint64_t heartbeat = 1000; heartbeat < 1020; heartbeat++) {
		be_old(7, heartbeat);
		assert_in_range(rows_sent(1), 6, UINT32_MAX);
	}
	assert_true(all_see(7, RING_UP));
	assert_true(all_see(5, RING_UP));
	run_for(TIMEOUT_US + 20 * ROUND_US); /* it is gone */
	assert_in_range(rows_sent(20), 0, 30);
	close_net();
}

static uint64_t bytes_sent(void)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < SENT_KIND_COUNT; i++)
		bytes += net->sent[i].rows + net->sent[i].beats;
	return bytes;
}

/* All others suspect it at the same time, so the rows of all change: in no round do they take much more than the beats do. */
static void test_a_failure_makes_no_flood_of_rows(void **state)
{
	enum { NODES = 80, ROUNDS = 20 };

	(void)state;
	open_cluster(NODES, 66);
	run_for(40 * ROUND_US);
	net->weigh = true;
	run_for(ROUNDS * ROUND_US);
	uint64_t calm = bytes_sent() / ROUNDS, most = 0;
	stop_node(5);
	for (uint32_t round = 0; round < 2 * ROUNDS; round++) {
		uint64_t before = bytes_sent();

		run_for(ROUND_US);
		most = bytes_sent() - before > most ? bytes_sent() - before : most;
		assert_true(round < 14 || all_see(5, RING_DOWN));
	}
	assert_in_range(most, 0, 3 * calm);
	for (uint32_t i = 0; i < NODES; i++)
		assert_true(i == 5 || all_see(i, RING_UP));
	close_net();
}

/* Whether node knows of all others what they do not hear. */
static bool knows_reporters(uint32_t node, uint32_t of)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	bool knows = true;

	for (uint32_t i = 0; i < net->node_count; i++) {
		const struct ring_member_status *status = &view->status[ring_member_find(view->document, id_of(i))];

		knows &= i == of || (status->unheard_count == 1 && status->unheard[0] == id_of(of));
	}
	ring_view_release(net->nodes[node].ring, view);
	return knows;
}

static void test_all_reporters_are_known_in_time(void **state)
{
	(void)state;
	open_cluster(30, 68);
	run_for(20 * ROUND_US);
	stop_node(5);
	ROUNDS_UNTIL(all_see(5, RING_DOWN), 14);
	for (uint32_t i = 0; i < 30; i++)
		if (i != 5)
			ROUNDS_UNTIL(knows_reporters(i, 5), 60);
	close_net();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_beat_raises_the_heartbeat_and_nothing_else),
		cmocka_unit_test(test_a_beat_says_which_epoch_its_member_has),
		cmocka_unit_test(test_a_beat_of_another_row_makes_the_node_ask),
		cmocka_unit_test(test_a_row_that_was_missed_is_fetched),
		cmocka_unit_test(test_beats_that_this_node_cannot_read_are_left),
		cmocka_unit_test(test_questions_for_rows_are_bounded),
		cmocka_unit_test(test_unchanged_rows_travel_as_beats),
		cmocka_unit_test(test_new_figures_travel_in_time),
		cmocka_unit_test(test_figures_count_after_the_beat_of_their_heartbeat),
		cmocka_unit_test(test_dead_shards_are_known_at_once),
		cmocka_unit_test(test_a_failure_makes_no_flood_of_rows),
		cmocka_unit_test(test_all_reporters_are_known_in_time),
		cmocka_unit_test(test_rows_travel_in_full_while_a_member_knows_no_beats),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
