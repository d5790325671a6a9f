/* SPDX-License-Identifier: Apache-2.0 */
/* Which ring documents a node takes in place of its own: those that follow it (G10), whoever brings them. */
#include "tests/node/membership/net.h"
#include <errno.h>
#include <stdlib.h>

enum { CLUSTER = 77 };

static uint64_t refusals(uint32_t node)
{
	return gossip_counters(net->nodes[node].gossip)->refused;
}

static void store_ring(uint32_t node, const struct ring_document *document)
{
	struct rpc_error error;
	uint8_t *bytes;
	size_t size;

	assert_int_equal(ring_document_encode(document, &bytes, &size), 0);
	assert_int_equal(data_dir_ring_store(net->nodes[node].data_dir, (struct rpc_slice){bytes, size}, &error), 0);
	free(bytes);
}

/* With other owners than the parent's: a member more, and no transition. */
static struct ring_document *moved_document(const struct ring_document *parent)
{
	return next_document(parent, ring_member_count(parent) + 1, CLUSTER);
}

static struct ring_document *begin(const struct ring_document *stable, uint32_t member_count)
{
	struct ring_document *target = next_document(stable, member_count, CLUSTER), *changing;

	assert_int_equal(ring_transition_begin(stable, target, &changing, NULL), 0);
	ring_document_destroy(&target);
	return changing;
}

static struct ring_document *step_of(const struct ring_document *changing)
{
	struct ring_document *next;

	assert_int_equal(ring_transition_next(changing, &next, NULL), 0);
	return next;
}

/* Documents of epochs 1 to count, none of which moves an owner. */
static void make_line(struct ring_document **line, uint32_t count)
{
	line[0] = next_document(NULL, 4, CLUSTER);
	for (uint32_t i = 1; i < count; i++)
		line[i] = next_document(line[i - 1], 4, CLUSTER);
}

static void free_line(struct ring_document **line, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		ring_document_destroy(&line[i]);
}

/* Not the parent's hash, and what a later one says of the epoch in force: a fork, or a ring that was forced. */
static void test_a_fork_is_refused(void **state)
{
	struct ring_document *line[4], *fork[4];

	(void)state;
	make_line(line, 4);
	fork[0] = next_document(NULL, 5, CLUSTER);
	for (uint32_t i = 1; i < 4; i++)
		fork[i] = next_document(fork[i - 1], 5, CLUSTER);
	open_net(4, 60);
	offer(0, line[0], CLUSTER);
	offer(0, line[1], CLUSTER);
	assert_int_equal(look(0).epoch, 2);
	offer_from(id_of(2), 0, fork[2], CLUSTER); /* another parent */
	assert_int_equal(refusals(0), 1);
	assert_int_equal(net->nodes[0].notes[NOTE_RING_REFUSED], 1);
	assert_true(net->nodes[0].last_note_id == id_of(2));
	offer(0, fork[3], CLUSTER); /* further off */
	assert_int_equal(refusals(0), 2);
	assert_int_equal(look(0).epoch, 2);
	offer(0, fork[1], CLUSTER); /* the same epoch */
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->conflicts, 1);
	offer(0, line[3], CLUSTER); /* its own line goes on, over an epoch that it never saw */
	assert_int_equal(look(0).epoch, 4);
	assert_int_equal(refusals(0), 2);
	free_line(line, 4);
	free_line(fork, 4);
	close_net();
}

static void test_owners_move_by_transitions_alone(void **state)
{
	struct ring_document *first = next_document(NULL, 4, CLUSTER), *moved = moved_document(first);
	struct ring_document *old = begin(first, 5), *new = step_of(old), *stable = step_of(new);

	(void)state;
	open_net(5, 61);
	offer(0, first, CLUSTER);
	offer(0, moved, CLUSTER);
	assert_int_equal(look(0).epoch, 1);
	assert_int_equal(refusals(0), 1);
	offer(0, old, CLUSTER);
	assert_int_equal(look(0).epoch, 2);
	offer(0, new, CLUSTER);
	offer(0, stable, CLUSTER);
	assert_int_equal(look(0).epoch, 4);
	assert_int_equal(refusals(0), 1);
	ring_document_destroy(&first);
	ring_document_destroy(&moved);
	ring_document_destroy(&old);
	ring_document_destroy(&new);
	ring_document_destroy(&stable);
	close_net();
}

/* A node that was away for a thousand changes takes the newest ring; one that was away for longer cannot tell any more. */
static void test_a_node_that_missed_a_thousand_epochs(void **state)
{
	struct ring_document *line[2], *last, *next;

	(void)state;
	make_line(line, 2);
	last = ring_document_ref(line[1]);
	open_net(1, 62);
	offer(0, line[0], CLUSTER);
	for (uint32_t i = 0; i < RING_ANCESTORS_MAX; i++) {
		next = next_document(last, 4, CLUSTER);
		ring_document_destroy(&last);
		last = next;
	}
	assert_int_equal(ring_epoch(last), RING_ANCESTORS_MAX + 2);
	offer(0, last, CLUSTER);
	assert_int_equal(look(0).epoch, 1);
	assert_int_equal(refusals(0), 1);
	offer(0, line[1], CLUSTER);
	offer(0, last, CLUSTER);
	assert_int_equal(look(0).epoch, RING_ANCESTORS_MAX + 2);
	assert_int_equal(refusals(0), 1);
	free_line(line, 2);
	ring_document_destroy(&last);
	close_net();
}

/* One node comes up with a ring that was forced onto its disk. The others name it, and go on; it takes part again when its ring is
 * removed. */
static void test_one_bad_node_among_three(void **state)
{
	struct ring_document *line[2], *forced[4], *third;
	uint64_t rounds = 40, asked;

	(void)state;
	make_line(line, 2);
	forced[0] = next_document(NULL, 5, CLUSTER);
	for (uint32_t i = 1; i < 4; i++)
		forced[i] = next_document(forced[i - 1], 5, CLUSTER);
	open_net(4, 63);
	offer(0, line[0], CLUSTER);
	offer(0, line[1], CLUSTER);
	ROUNDS_UNTIL(all_have_epoch(2), 10);
	store_ring(2, forced[3]);
	stop_node(2);
	start_node(2);
	assert_int_equal(look(2).epoch, 4);
	run_for(rounds * ROUND_US);
	for (uint32_t i = 0; i < 4; i++) {
		if (i == 2)
			continue;
		assert_int_equal(look(i).epoch, 2);
		asked = refusals(i);
		assert_in_range(asked, 1, rounds / 2); /* what it pushes; nobody asks for it again each round */
		assert_int_equal(net->nodes[i].notes[NOTE_RING_REFUSED], asked);
	}
	third = next_document(line[1], 4, CLUSTER); /* changes go on */
	offer(0, third, CLUSTER);
	ROUNDS_UNTIL(look(0).epoch == 3 && look(1).epoch == 3 && look(3).epoch == 3, 10);
	assert_int_equal(look(2).epoch, 4);
	stop_node(2); /* as the text advises */
	sim_fs_remove_file(net->disk, "/n2/ring");
	start_node(2);
	ROUNDS_UNTIL(look(2).epoch == 3, 20);
	assert_true(look(2).hash == look(0).hash);
	free_line(line, 2);
	free_line(forced, 4);
	ring_document_destroy(&third);
	close_net();
}

/* G1 with a document that replaces another: whenever the machine fails, the one or the other is there after it, whole, and never an
 * older one than was published. */
static void test_a_crash_between_keeping_and_taking(void **state)
{
	static const enum sim_crash_data data[] = {SIM_DATA_DROP, SIM_DATA_KEEP};
	struct ring_document *line[3];
	uint32_t old = 0, new = 0;
	bool fired = true;

	(void)state;
	make_line(line, 3);
	for (uint64_t at = 0; fired; at++)
		for (uint32_t i = 0; i < 2; i++) {
			struct sim_crash crash = {data[i], i == 0 ? SIM_NAMES_DROP : SIM_NAMES_KEEP, at};
			uint64_t published;

			open_net(1, 64);
			offer(0, line[0], CLUSTER);
			sim_fs_reset_operations(net->disk);
			sim_fs_crash_at(net->disk, at, &crash);
			offer(0, line[1], CLUSTER);
			fired = sim_fs_fired(net->disk);
			published = look(0).epoch;
			assert_int_equal(published, fired ? 1 : 2);
			sim_fs_fail_never(net->disk);
			if (!fired)
				sim_fs_crash(net->disk, &crash);
			stop_node(0);
			sim_fs_restart(net->disk);
			start_node(0);
			assert_in_range(look(0).epoch, published, 2);
			assert_true(look(0).hash == ring_hash(line[look(0).epoch - 1]));
			old += look(0).epoch == 1;
			new += look(0).epoch == 2;
			offer(0, line[2], CLUSTER); /* either way it goes on */
			assert_int_equal(look(0).epoch, 3);
			close_net();
		}
	assert_true(old > 0 && new > 0);
	free_line(line, 3);
}

static void tell_behind(uint32_t to, uint64_t epoch, uint64_t node_id)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_BEHIND);

	message->behind = (struct behind_body){.epoch = epoch, .node_id = node_id};
	rpc_arena_unref(arena);
	step(to, EVENT_MESSAGE, message);
}

/* A replica or coordinator of node 1 was asked by a newer ring: the ring comes at once, before any round of gossip. */
static void test_who_is_told_to_be_behind_pulls_at_once(void **state)
{
	struct ring_document *line[3];
	uint32_t flights;

	(void)state;
	make_line(line, 3);
	open_net(4, 65);
	for (uint32_t i = 0; i < 4; i++)
		offer(i, line[0], CLUSTER);
	run_for(10 * ROUND_US);
	net->loss_percent = 100; /* what rounds send from here on is lost */
	offer(0, line[1], CLUSTER);
	run_for(2 * ROUND_US);
	net->loss_percent = 0;
	assert_int_equal(look(1).epoch, 1);
	tell_behind(1, 2, id_of(0));
	run_for(15 * 1000); /* there and back: at most 10.4 ms */
	assert_int_equal(look(1).epoch, 2);
	assert_int_equal(look(3).epoch, 1);
	flights = net->flight_count;
	tell_behind(1, 2, id_of(0)); /* it has it */
	assert_int_equal(net->flight_count, flights);
	tell_behind(1, 3, id_of(0)); /* not twice in a round */
	assert_int_equal(net->flight_count, flights);
	run_for(2 * ROUND_US);
	flights = net->flight_count;
	tell_behind(1, 9, 4711); /* nobody knows that node, so another is asked */
	assert_int_equal(net->flight_count, flights + 1);
	free_line(line, 3);
	close_net();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fork_is_refused),
		cmocka_unit_test(test_owners_move_by_transitions_alone),
		cmocka_unit_test(test_a_node_that_missed_a_thousand_epochs),
		cmocka_unit_test(test_one_bad_node_among_three),
		cmocka_unit_test(test_a_crash_between_keeping_and_taking),
		cmocka_unit_test(test_who_is_told_to_be_behind_pulls_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
