/* SPDX-License-Identifier: Apache-2.0 */
/* What other nodes own goes, once the new ring is stable everywhere, and not before. */
#include "tests/node/upkeep/town.h"

#include "node/upkeep/spare.h"

enum { KEYS = 3 };

static struct ring_document *stable, *target, *copying, *switching, *after;

static int set_up(void **state)
{
	(void)state;
	town_begin();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	town_end();
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&copying);
	ring_document_destroy(&switching);
	ring_document_destroy(&after);
	return 0;
}

static void plan(const unsigned *before, const unsigned *members)
{
	stable = town_claim(NULL, 3, before);
	target = town_claim(stable, 3, members);
	copying = town_change(stable, target);
	switching = town_next(copying);
	after = town_next(switching);
}

/* n1 to n3, which own everything, and n4, which joins. */
static void prepare_join(void)
{
	plan((const unsigned[]){1, 2, 3, 0}, (const unsigned[]){1, 2, 3, 4, 0});
	town_adopt_all(stable);
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		for (unsigned i = 0; i < KEYS; i++)
			for (unsigned number = 1; number <= 3; number++)
				town_store(number, town_key(partition, i),
					   town_object((struct rpc_slice){0}, false, 1, 1u + partition * KEYS + i,
						       slice("value")));
}

static bool is_ready(unsigned number, const struct ring_document *document)
{
	return house(number)->ready_hash == ring_hash(document);
}

/* Partitions with data there that the ring gives to others. */
static uint32_t spare_at(unsigned number, const struct ring_document *document)
{
	uint32_t count = 0;
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		count += !town_owns(document, number, partition) && town_root(number, partition) != 0;
	return count;
}

static void expect_owned(unsigned number, const struct ring_document *document)
{
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		for (unsigned i = 0; i < KEYS && town_owns(document, number, partition); i++)
			if (town_read(number, town_key(partition, i)).size == 0)
				fail_msg("n%u has lost key %u of partition %u", number, i, partition);
}

static void expect_gone(unsigned number, const struct ring_document *document)
{
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		for (unsigned i = 0; i < KEYS && !town_owns(document, number, partition); i++)
			assert_int_equal(town_read(number, town_key(partition, i)).size, 0);
}

static void test_what_moved_away_goes_after_the_change(void **state)
{
	struct dot before[4];
	(void)state;
	prepare_join();
	town_adopt_all(copying);
	town_until(is_ready(4, copying), 30);
	town_run(5 * SECOND_US);
	town_adopt_all(switching);
	town_run(5 * SECOND_US);
	for (unsigned i = 1; i <= 3; i++) { /* never while the ring is changing */
		assert_true(is_ready(i, switching));
		assert_true(spare_at(i, after) > 0);
		before[i] = replica_next_dot(house(i)->replicas[0]);
	}
	town_adopt_all(after);
	for (unsigned i = 1; i <= 3; i++)
		town_until(spare_at(i, after) == 0, 10);
	for (unsigned i = 1; i <= 4; i++) {
		assert_true(is_ready(i, after));
		expect_owned(i, after);
		expect_gone(i, after);
	}
	/* An actor that goes on would issue dots which hide what it does not have any more. */
	for (unsigned i = 1; i <= 3; i++)
		assert_true(before[i].actor != replica_next_dot(house(i)->replicas[0]).actor);
	for (unsigned i = 1; i <= 3; i++) { /* and it is durable */
		house_crash(i);
		house_start(i);
		assert_int_equal(spare_at(i, after), 0);
		expect_owned(i, after);
	}
}

/* A member that is up and has an older ring may still read here. */
static void test_not_before_all_that_are_up_have_the_ring(void **state)
{
	(void)state;
	prepare_join();
	town_adopt_all(copying);
	town_until(is_ready(4, copying), 30);
	town_adopt_all(switching);
	for (unsigned i = 1; i <= 3; i++)
		town_adopt(i, after); /* n4 has not yet */
	town_run(10 * SECOND_US);
	for (unsigned i = 1; i <= 3; i++)
		assert_true(spare_at(i, after) > 0);
	town_adopt(4, after);
	for (unsigned i = 1; i <= 3; i++)
		town_until(spare_at(i, after) == 0, 5);
}

/* Members that are down do not hold it up, but a majority of the owners of each partition must be known to have the ring. */
static void test_not_before_a_majority_of_the_owners_has_the_ring(void **state)
{
	(void)state;
	prepare_join();
	town_adopt_all(copying);
	town_until(is_ready(4, copying), 30);
	town_adopt_all(switching);
	house_stop(3);
	house_stop(4);
	town_adopt(1, after);
	town_adopt(2, after); /* of n1, n3, n4 one has it */
	town_run(10 * SECOND_US);
	assert_true(spare_at(1, after) > 0);
	house_start(4);
	town_adopt(4, after);
	town_until(spare_at(1, after) == 0, 5);
	town_until(spare_at(2, after) == 0, 5);
	expect_owned(1, after);
}

static void test_what_an_aborted_join_left_goes(void **state)
{
	struct ring_document *back;
	struct ring_error why;
	(void)state;
	prepare_join();
	town_adopt_all(copying);
	town_until(is_ready(4, copying), 30);
	assert_int_equal(ring_transition_abort(copying, &back, &why), 0);
	town_adopt_all(back); /* n4 is a member on standby */
	town_until(spare_at(4, back) == 0, 5);
	expect_gone(4, back);
	for (unsigned i = 1; i <= 3; i++)
		expect_owned(i, back);
	ring_document_destroy(&back);
}

static void test_who_leaves_drops_everything(void **state)
{
	(void)state;
	plan((const unsigned[]){1, 2, 3, 4, 0}, (const unsigned[]){1, 2, 3, 104, 0});
	town_adopt_all(stable);
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		for (unsigned number = 1; number <= 4; number++)
			if (town_owns(stable, number, partition))
				town_store(number, town_key(partition, 0),
					   town_object((struct rpc_slice){0}, false, 1, 1 + partition, slice("value")));
	town_adopt_all(copying);
	for (unsigned i = 1; i <= 4; i++)
		town_until(is_ready(i, copying), 30);
	town_adopt_all(switching);
	town_adopt_all(after);
	town_until(spare_at(4, after) == 0, 10);
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++) {
		assert_true(town_root(4, partition) == 0);
		for (unsigned number = 1; number <= 3; number++)
			assert_true(town_read(number, town_key(partition, 0)).size > 0);
	}
	town_until(house(4)->notes[NOTE_DROPPED] > 0, 1);
}

/* Each replica is asked once. */
static void test_with_nothing_to_drop_it_sleeps(void **state)
{
	(void)state;
	prepare_join();
	town_run(SECOND_US);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(house(i)->upkeep_messages, TOWN_SHARDS + 1); /* and READY */
	uint64_t steps = house(1)->upkeep_steps;
	assert_true(house(1)->timer_us[TOWN_SHARDS] == UINT64_MAX);
	town_run(100 * SECOND_US);
	assert_int_equal(house(1)->upkeep_steps, steps);
	house_stop(1);
	house_start(1); /* as a start does */
	town_run(SECOND_US);
	steps = house(1)->upkeep_steps;
	town_run(100 * SECOND_US);
	assert_int_equal(house(1)->upkeep_steps, steps);
}

/* A node in no cluster, and one that is no member, do nothing at all. */
static void test_without_a_ring_it_sleeps(void **state)
{
	(void)state;
	town_run(10 * SECOND_US);
	assert_int_equal(house(5)->upkeep_messages, 0);
	prepare_join();
	town_adopt(5, stable);
	town_run(10 * SECOND_US);
	assert_int_equal(house(5)->upkeep_messages, 0);
	assert_true(house(5)->timer_us[TOWN_SHARDS] == UINT64_MAX);
}

static uint64_t messages_seen, kill_at;

static bool kill_once(struct house *to, const struct message *message)
{
	if (to->number != 1 || (message->type != MESSAGE_DROP && message->type != MESSAGE_DROPPED) ||
	    ++messages_seen != kill_at)
		return true;
	house_crash(1);
	return false;
}

static void test_it_may_be_killed_while_it_drops(void **state)
{
	bool killed = true;
	(void)state;
	for (kill_at = 1; killed; kill_at++) {
		prepare_join();
		town_adopt_all(copying);
		town_until(is_ready(4, copying), 30);
		town_adopt_all(switching);
		town_adopt_all(after);
		messages_seen = 0;
		town->watch = kill_once;
		town_until(!house(1)->alive || spare_at(1, after) == 0, 10);
		town_run(SECOND_US);
		killed = !house(1)->alive;
		town->watch = NULL;
		if (killed)
			house_start(1);
		town_until(spare_at(1, after) == 0, 10);
		expect_owned(1, after);
		tear_down(NULL);
		town_begin();
	}
	assert_true(kill_at > 4);
}

static void test_a_full_disk_only_delays_it(void **state)
{
	(void)state;
	prepare_join();
	town_adopt_all(copying);
	town_until(is_ready(4, copying), 30);
	town_adopt_all(switching);
	sim_fs_set_capacity(house(1)->disk, sim_fs_used(house(1)->disk));
	town_adopt_all(after);
	town_run(10 * SECOND_US);
	assert_true(spare_at(1, after) > 0);
	expect_owned(1, after);
	sim_fs_set_capacity(house(1)->disk, UINT64_MAX);
	town_until(spare_at(1, after) == 0, 10);
	expect_owned(1, after);
}

/* n4 leaves and joins again: what it had is gone, and comes back. */
static void test_what_was_dropped_may_come_back(void **state)
{
	struct ring_document *again, *back;
	(void)state;
	prepare_join();
	town_adopt_all(copying);
	town_until(is_ready(4, copying), 30);
	town_adopt_all(switching);
	town_adopt_all(after);
	town_until(spare_at(1, after) == 0, 10);
	again = town_claim(after, 3, (const unsigned[]){1, 2, 3, 104, 0});
	back = town_change(after, again);
	for (unsigned i = 1; i <= 4; i++)
		town_adopt(i, back);
	for (unsigned i = 1; i <= 3; i++) {
		town_until(is_ready(i, back), 30);
		expect_owned(i, back);
	}
	ring_document_destroy(&again);
	ring_document_destroy(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_moved_away_goes_after_the_change, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_before_all_that_are_up_have_the_ring, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_before_a_majority_of_the_owners_has_the_ring, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_what_an_aborted_join_left_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_leaves_drops_everything, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_with_nothing_to_drop_it_sleeps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_a_ring_it_sleeps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_it_may_be_killed_while_it_drops, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_full_disk_only_delays_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_was_dropped_may_come_back, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
