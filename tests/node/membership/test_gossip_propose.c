/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the ring that operators ask for: agreed on by a majority, one document per epoch, whoever fails meanwhile. */
#include "tests/node/membership/net.h"
#include <errno.h>
#include <stdlib.h>

enum { SECOND_US = 1000 * 1000, TIMEOUT = 5 * SECOND_US };

static void open_proven(uint32_t node_count, uint64_t seed)
{
	open_net(node_count, seed);
	net->one_ring = true;
	run_for(5 * ROUND_US);
	assert_int_equal(init_cluster(0, 0, node_count), KVRING__V1__CODE__OK);
	run_for(10 * ROUND_US); /* all have it, and are proven */
	assert_true(all_have_epoch(1));
}

static const char *rack_of(uint32_t node, const char *member)
{
	static char rack[RING_NAME_MAX];
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);

	strcpy(rack, ring_member(view->document, (uint32_t)ring_member_find_name(view->document, member))->rack);
	ring_view_release(net->nodes[node].ring, view);
	return rack;
}

static void assert_change(const struct change *change, uint32_t code, const char *says)
{
	if (!change->answered || change->code != code || strstr(change->text, says) == NULL)
		fail_msg("answered %d code %u \"%s\", not code %u \"%s\"", change->answered, change->code, change->text,
			 code, says);
}

static void test_a_change_is_agreed_on(void **state)
{
	struct change *change;

	(void)state;
	open_proven(5, 70);
	change = set_rack(1, "n3", "r9", TIMEOUT);
	run_for(40 * 1000); /* two questions and the push; no round has to pass */
	assert_change(change, KVRING__V1__CODE__OK, "");
	assert_int_equal(change->epoch, 2);
	assert_true(all_have_epoch(2));
	for (uint32_t i = 0; i < 5; i++)
		assert_string_equal(rack_of(i, "n3"), "r9");
	change = set_rack(4, "n3", "r9", TIMEOUT); /* it is so already */
	assert_change(change, KVRING__V1__CODE__OK, "");
	assert_int_equal(change->epoch, 2);
	close_net();
}

static void test_a_cluster_of_one_agrees_with_itself(void **state)
{
	(void)state;
	open_proven(1, 71);
	assert_change(set_rack(0, "n0", "r9", TIMEOUT), KVRING__V1__CODE__OK, "");
	assert_int_equal(look(0).epoch, 2);
	stop_node(0);
	start_node(0);
	assert_int_equal(look(0).epoch, 2);
	assert_change(set_rack(0, "n0", "r8", TIMEOUT), KVRING__V1__CODE__OK, "");
	assert_int_equal(look(0).epoch, 3);
	close_net();
}

static void test_what_is_refused_at_once(void **state)
{
	struct change *first;

	(void)state;
	open_net(4, 72);
	assert_change(set_rack(0, "n0", "r9", TIMEOUT), KVRING__V1__CODE__UNAVAILABLE, "is in no cluster");
	run_for(5 * ROUND_US);
	assert_int_equal(init_cluster(0, 0, 3), KVRING__V1__CODE__OK);
	run_for(10 * ROUND_US);
	assert_change(set_rack(0, "n9", "r9", TIMEOUT), KVRING__V1__CODE__INVALID_ARGUMENT, "no member is named 'n9'");
	assert_change(set_rack(0, "n1", "a rack", TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION,
		      "a rack is empty or");
	stop_node(2);
	start_node(2);
	assert_change(set_rack(2, "n1", "r9", TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION, "it has just started");
	run_for(10 * ROUND_US);
	first = set_rack(0, "n1", "r9", TIMEOUT);
	assert_change(set_rack(0, "n2", "r9", TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION,
		      "at work on another change: repeat this one");
	run_for(ROUND_US);
	assert_change(first, KVRING__V1__CODE__OK, "");
	close_net();
}

static void test_a_majority_is_enough_and_needed(void **state)
{
	struct change *change;

	(void)state;
	open_proven(5, 73);
	stop_node(3);
	stop_node(4);
	change = set_rack(0, "n4", "r9", TIMEOUT);
	ROUNDS_UNTIL(change->answered, 10);
	assert_change(change, KVRING__V1__CODE__OK, "");
	stop_node(2);
	change = set_rack(0, "n3", "r9", TIMEOUT);
	run_for(TIMEOUT + SECOND_US);
	assert_change(
		change, KVRING__V1__CODE__UNAVAILABLE,
		"in time 2 of 5 members agreed, and 3 are needed (the others did not answer): nothing was changed");
	assert_int_equal(look(0).epoch, 2);
	start_node(3); /* with the old ring, which it gets rid of */
	start_node(2);
	run_for(20 * ROUND_US);
	assert_int_equal(look(3).epoch, 2);
	change = set_rack(3, "n3", "r9", TIMEOUT); /* outbid at first: node 0 asked for a higher ballot */
	ROUNDS_UNTIL(change->answered, 10);
	assert_change(change, KVRING__V1__CODE__OK, "");
	start_node(4);
	ROUNDS_UNTIL(all_have_epoch(3), 20);
	close_net();
}

/* The two nodes of a minority agree on nothing while the others go on, and learn of it afterwards. */
static void test_a_minority_changes_nothing(void **state)
{
	struct change *minority, *others;

	(void)state;
	open_proven(5, 74);
	set_sides(2);
	minority = set_rack(0, "n0", "r8", TIMEOUT);
	others = set_rack(4, "n4", "r9", TIMEOUT);
	run_for(TIMEOUT + SECOND_US);
	assert_change(minority, KVRING__V1__CODE__UNAVAILABLE, "nothing was changed");
	assert_change(others, KVRING__V1__CODE__OK, "");
	assert_int_equal(look(0).epoch, 1);
	set_sides(5);
	ROUNDS_UNTIL(all_have_epoch(2), 20);
	assert_string_equal(rack_of(0, "n0"), "r0");
	close_net();
}

/* All at once, at all nodes: each takes effect, one epoch after the other. */
static void test_several_proposers(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 15; seed++) {
		struct change *changes[5];
		char name[8], rack[8];

		open_proven(5, 100 + seed);
		net->loss_percent = (uint32_t)(seed % 3) * 10;
		for (uint32_t i = 0; i < 5; i++) {
			snprintf(name, sizeof name, "n%u", i);
			snprintf(rack, sizeof rack, "x%u", i);
			changes[i] = set_rack(4 - i, name, rack, 120 * SECOND_US);
		}
		for (uint32_t i = 0; i < 5; i++)
			ROUNDS_UNTIL(changes[i]->answered, 600);
		for (uint32_t i = 0; i < 5; i++)
			assert_change(changes[i], KVRING__V1__CODE__OK, "");
		ROUNDS_UNTIL(all_have_epoch(6), 50);
		for (uint32_t i = 0; i < 5; i++) {
			snprintf(name, sizeof name, "n%u", i);
			snprintf(rack, sizeof rack, "x%u", i);
			assert_string_equal(rack_of(0, name), rack);
		}
		close_net();
	}
}

/* The proposer dies when its document may have been accepted by others: whoever changes something next finds it and brings it to an end
 * first. */
static void test_a_dead_proposers_document_is_found(void **state)
{
	uint32_t found = 0, lost = 0;

	(void)state;
	for (uint64_t us = 0; us < 20 * 1000; us += 250) {
		struct change *second;

		open_proven(5, 75);
		(void)set_rack(0, "n0", "r8", TIMEOUT);
		run_for(us);
		if (look(0).epoch == 2) { /* done, and pushed */
			close_net();
			break;
		}
		stop_node(0);
		run_for(10 * 1000);
		second = set_rack(3, "n3", "r9", 60 * SECOND_US);
		ROUNDS_UNTIL(second->answered, 300);
		assert_change(second, KVRING__V1__CODE__OK, "");
		assert_string_equal(rack_of(3, "n3"), "r9");
		found += strcmp(rack_of(3, "n0"), "r8") == 0;
		lost += strcmp(rack_of(3, "n0"), "r0") == 0;
		start_node(0);
		ROUNDS_UNTIL(all_have_epoch(look(3).epoch), 30);
		close_net();
	}
	assert_true(found > 0 && lost > 0);
}

/* Its own vote cannot be written, so nobody is asked; the disk of an acceptor that fails is only one vote less. */
static void test_a_proposer_whose_disk_fails(void **state)
{
	struct change *change;

	(void)state;
	open_proven(3, 76);
	sim_fs_count_only(net->disk, SIM_FS_WRITES);
	sim_fs_reset_operations(net->disk);
	sim_fs_fail_at(net->disk, 0, -ENOSPC, true);
	change = set_rack(0, "n0", "r8", 2 * SECOND_US);
	run_for(3 * SECOND_US);
	assert_change(change, KVRING__V1__CODE__UNAVAILABLE, "n0: its vote cannot be written to its disk");
	sim_fs_fail_never(net->disk);
	change = set_rack(0, "n0", "r8", TIMEOUT);
	ROUNDS_UNTIL(change->answered, 10);
	assert_change(change, KVRING__V1__CODE__OK, "");
	close_net();
}

/* A node whose directory went back in time may have forgotten what it promised. */
static void test_who_went_back_in_time_has_no_vote(void **state)
{
	struct change *change;

	(void)state;
	open_proven(3, 77);
	stop_node(2);
	change = set_rack(0, "n0", "r7", TIMEOUT);
	ROUNDS_UNTIL(change->answered, 10);
	assert_change(change, KVRING__V1__CODE__OK, "");
	start_node(2);
	run_for(20 * ROUND_US);
	struct rpc_error error;
	assert_int_equal(data_dir_set_receiving(net->nodes[2].data_dir, 9, &error), 0);
	stop_node(2);
	start_node(2);
	run_for(20 * ROUND_US);
	stop_node(1);
	change = set_rack(0, "n0", "r8", TIMEOUT);
	run_for(TIMEOUT + SECOND_US);
	assert_change(change, KVRING__V1__CODE__UNAVAILABLE, "n2: its data directory went back in time");
	start_node(1);
	run_for(20 * ROUND_US);
	change = set_rack(0, "n0", "r8", TIMEOUT);
	ROUNDS_UNTIL(change->answered, 10);
	assert_change(change, KVRING__V1__CODE__OK, "");
	close_net();
}

static void stop_proposing(uint32_t node)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_STOPPING);

	rpc_arena_unref(arena);
	step(node, EVENT_MESSAGE, message);
}

/* The operator hears at once, and is not left to the deadline. */
static void test_a_node_that_stops_answers(void **state)
{
	struct change *change;

	(void)state;
	open_proven(3, 78);
	net->loss_percent = 100;
	change = set_rack(0, "n0", "r8", 60 * SECOND_US);
	stop_proposing(0);
	assert_change(change, KVRING__V1__CODE__UNAVAILABLE, "is stopping, and nothing was changed");
	assert_change(set_rack(0, "n0", "r8", TIMEOUT), KVRING__V1__CODE__UNAVAILABLE, "is stopping: ask another");
	stop_proposing(1); /* it has no proposal */
	close_net();
}

/* ---- answers by hand ---------------------------------------------------------------------------------------- */

/* Node 0 hears what another member says to its question of that number. document: what that one accepted before under this ballot. */
static void hear_vote(uint32_t from, uint64_t number, enum vote_outcome outcome, uint64_t ballot,
		      const struct ring_document *document)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_VOTED);
	uint8_t *bytes;
	size_t size;

	message->from = (struct address){id_of(from), ACTOR_GOSSIP, 0};
	message->correlation = number;
	message->voted = (struct voted_body){.outcome = outcome, .epoch = 1, .accepted = {ballot, id_of(from)}};
	if (document != NULL) {
		assert_int_equal(ring_document_encode(document, &bytes, &size), 0);
		message->voted.document = (struct rpc_slice){rpc_arena_copy(arena, bytes, size), size};
		free(bytes);
	}
	rpc_arena_unref(arena);
	step(0, EVENT_MESSAGE, message);
}

/* A member is asked for its promise by another one, of which nobody else hears. */
static void ask_for_promise(uint32_t to, uint32_t from, uint64_t counter)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_VOTE);

	message->from = (struct address){id_of(from), ACTOR_GOSSIP, 0};
	message->to = (struct address){id_of(to), ACTOR_GOSSIP, 0};
	message->vote =
		(struct vote_body){.parent_epoch = 1, .parent_hash = look(0).hash, .ballot = {counter, id_of(from)}};
	rpc_arena_unref(arena);
	step(to, EVENT_MESSAGE, message);
}

/* However far others have counted, who hears of it bids more the next time. */
static void test_one_that_is_outbid_bids_more(void **state)
{
	struct change *change;

	(void)state;
	open_proven(3, 82);
	for (uint32_t i = 1; i < 3; i++)
		ask_for_promise(i, 2, 1000);
	change = set_rack(0, "n0", "r8", TIMEOUT);
	ROUNDS_UNTIL(change->answered, 20);
	assert_change(change, KVRING__V1__CODE__OK, "");
	close_net();
}

static struct ring_document *amended(uint32_t member, const char *rack)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[0].ring);
	struct ring_member changed = *ring_member(view->document, member);
	struct ring_document *document;

	strcpy(changed.rack, rack);
	assert_int_equal(ring_amend(view->document, &changed, &document, NULL), 0);
	ring_view_release(net->nodes[0].ring, view);
	return document;
}

/* Each member counts once, in the phase that it was asked in, and only when it is a member. */
static void test_votes_are_counted_once(void **state)
{
	struct change *change;

	(void)state;
	open_proven(5, 80);
	net->loss_percent = 100;
	change = set_rack(0, "n0", "r8", 60 * SECOND_US);
	for (int i = 0; i < 3; i++)
		hear_vote(1, 1, VOTE_PROMISED, 0, NULL);
	hear_vote(2, 1, VOTE_REFUSED, 0, NULL);
	hear_vote(2, 0, VOTE_PROMISED, 0, NULL);
	hear_vote(2, 1, VOTE_ACCEPTED, 0, NULL);
	hear_vote(77, 1, VOTE_PROMISED, 0, NULL);
	for (uint32_t i = 1; i < 5; i++)
		hear_vote(i, 2, VOTE_ACCEPTED, 0, NULL); /* to a question that was not asked yet */
	assert_int_equal(look(0).epoch, 1);
	hear_vote(2, 1, VOTE_PROMISED, 0, NULL);
	hear_vote(3, 1, VOTE_PROMISED, 0, NULL); /* late: the majority was there */
	for (int i = 0; i < 3; i++)
		hear_vote(1, 2, VOTE_ACCEPTED, 0, NULL);
	hear_vote(3, 2, VOTE_PROMISED, 0, NULL);
	assert_int_equal(look(0).epoch, 1);
	hear_vote(3, 2, VOTE_ACCEPTED, 0, NULL);
	assert_int_equal(look(0).epoch, 2);
	assert_change(change, KVRING__V1__CODE__OK, "");
	hear_vote(4, 2, VOTE_ACCEPTED, 0, NULL);
	close_net();
}

/* Of what others accepted before, that of the highest ballot is proposed; the operator's own comes after it. */
static void test_the_highest_ballot_is_taken_over(void **state)
{
	struct ring_document *low, *high;

	(void)state;
	for (int i = 0; i < 2; i++) {
		open_proven(5, 81);
		net->loss_percent = 100;
		low = amended(1, "low");
		high = amended(2, "high");
		(void)set_rack(0, "n0", "r8", 60 * SECOND_US);
		hear_vote(1 + (uint32_t)i, 1, VOTE_PROMISED, 3, low);
		hear_vote(2 - (uint32_t)i, 1, VOTE_PROMISED, 4, high);
		hear_vote(3, 2, VOTE_ACCEPTED, 0, NULL);
		hear_vote(4, 2, VOTE_ACCEPTED, 0, NULL);
		assert_int_equal(look(0).epoch, 2);
		assert_true(look(0).hash == ring_hash(high));
		ring_document_destroy(&low);
		ring_document_destroy(&high);
		close_net();
	}
}

/* ---- at random ---------------------------------------------------------------------------------------------- */

/* A process dies, or comes back. What it had written stands (test_acceptor.c looks at crashes of the machine). */
static void stop_or_start(uint32_t index)
{
	if (net->nodes[index].alive)
		stop_node(index);
	else
		start_node(index);
}

static void disturb(struct prng *prng)
{
	uint32_t index = (uint32_t)prng_below(prng, net->node_count);

	switch (prng_below(prng, 5)) {
	case 0:
	case 1:
		stop_or_start(index);
		break;
	case 2:
		set_sides((uint32_t)prng_below(prng, net->node_count + 1));
		break;
	case 3:
		net->loss_percent = (uint32_t)prng_below(prng, 3) * 15;
		break;
	default:
		if (net->nodes[index].alive)
			net->nodes[index].paused_until_us = net->now_us + prng_below(prng, 5 * SECOND_US);
	}
}

static void propose_something(struct prng *prng)
{
	uint32_t index = (uint32_t)prng_below(prng, net->node_count);
	char name[8], rack[8];

	if (!net->nodes[index].alive || net->change_count == CHANGES_MAX)
		return;
	snprintf(name, sizeof name, "n%u", (unsigned)prng_below(prng, net->node_count));
	snprintf(rack, sizeof rack, "x%u", (unsigned)prng_below(prng, 1000));
	(void)set_rack(index, name, rack, 1 + prng_below(prng, 8 * SECOND_US));
}

/* Whoever is away, cut off, stopped or proposing: of each epoch all install the same document (net.one_ring), who was told that a change is
 * done has it in its ring, and in calm weather changes go on. */
static void test_one_document_per_epoch_at_random(void **state)
{
	uint32_t done = 0, failed = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 24; seed++) {
		struct prng prng;
		struct change *last;

		prng_seed(&prng, seed);
		open_proven(3 + (uint32_t)(seed % 3), 200 + seed);
		for (uint32_t i = 0; i < 60; i++) {
			disturb(&prng);
			propose_something(&prng);
			run_for(prng_below(&prng, 2 * SECOND_US));
		}
		set_sides(net->node_count);
		net->loss_percent = 0;
		for (uint32_t i = 0; i < net->node_count; i++)
			if (!net->nodes[i].alive)
				start_node(i);
		run_for(20 * SECOND_US);
		net->change_count -= net->change_count == CHANGES_MAX;
		net->changes[net->change_count].answered = false;
		last = set_rack(0, "n0", "last", 30 * SECOND_US);
		run_for(31 * SECOND_US);
		assert_change(last, KVRING__V1__CODE__OK, "");
		assert_true(all_have_epoch(look(0).epoch));
		for (uint32_t i = 0; i < net->node_count; i++)
			assert_true(look(i).hash == look(0).hash);
		for (uint32_t i = 0; i < net->change_count; i++) {
			done += net->changes[i].answered && net->changes[i].code == KVRING__V1__CODE__OK;
			failed += net->changes[i].answered && net->changes[i].code != KVRING__V1__CODE__OK;
		}
		close_net();
	}
	print_message("%u changes done, %u refused or in doubt\n", done, failed);
	assert_true(done > 100 && failed > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_change_is_agreed_on),
		cmocka_unit_test(test_a_cluster_of_one_agrees_with_itself),
		cmocka_unit_test(test_what_is_refused_at_once),
		cmocka_unit_test(test_a_majority_is_enough_and_needed),
		cmocka_unit_test(test_a_minority_changes_nothing),
		cmocka_unit_test(test_several_proposers),
		cmocka_unit_test(test_a_dead_proposers_document_is_found),
		cmocka_unit_test(test_a_proposer_whose_disk_fails),
		cmocka_unit_test(test_who_went_back_in_time_has_no_vote),
		cmocka_unit_test(test_a_node_that_stops_answers),
		cmocka_unit_test(test_votes_are_counted_once),
		cmocka_unit_test(test_the_highest_ballot_is_taken_over),
		cmocka_unit_test(test_one_that_is_outbid_bids_more),
		cmocka_unit_test(test_one_document_per_epoch_at_random),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
