/* SPDX-License-Identifier: Apache-2.0 */
/* Events run in the order of time, then of their making; a run that ends early drops the rest. Networks lose, repeat
 * and delay. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/sim/network.h"
#include "tests/sim/schedule.h"

struct journal {
	struct schedule schedule;
	uint64_t numbers[64], times[64];
	uint32_t count;
};

static void note(void *world, void *arg, uint64_t number)
{
	struct journal *journal = world;

	(void)arg;
	journal->times[journal->count] = journal->schedule.now_us;
	journal->numbers[journal->count++] = number;
}

static void note_and_follow(void *world, void *arg, uint64_t number)
{
	struct journal *journal = world;

	note(world, arg, number);
	schedule_in(&journal->schedule, 0, note, NULL, number + 1, NULL);
	schedule_in(&journal->schedule, 5, note, NULL, number + 2, NULL);
}

static void test_events_run_by_time_then_by_sequence(void **state)
{
	struct journal journal = {0};
	static const uint64_t delays[] = {30, 10, 20, 10, 0, 30};
	static const uint64_t expected[] = {4, 1, 3, 2, 0, 5};

	(void)state;
	schedule_init(&journal.schedule);
	for (uint32_t i = 0; i < 6; i++)
		schedule_in(&journal.schedule, delays[i], note, NULL, i, NULL);
	while (schedule_step(&journal.schedule, &journal))
		;
	assert_int_equal(journal.count, 6);
	assert_memory_equal(journal.numbers, expected, sizeof expected);
	assert_int_equal(journal.schedule.now_us, 30);
	schedule_fini(&journal.schedule);
}

static void test_events_made_while_running_come_after_those_of_the_same_time(void **state)
{
	struct journal journal = {0};
	static const uint64_t expected[] = {10, 20, 11, 12};
	static const uint64_t times[] = {7, 7, 7, 12};

	(void)state;
	schedule_init(&journal.schedule);
	schedule_in(&journal.schedule, 7, note_and_follow, NULL, 10, NULL);
	schedule_in(&journal.schedule, 7, note, NULL, 20, NULL);
	while (schedule_step(&journal.schedule, &journal))
		;
	assert_memory_equal(journal.numbers, expected, sizeof expected);
	assert_memory_equal(journal.times, times, sizeof times);
	schedule_fini(&journal.schedule);
}

static void test_many_events_come_out_sorted(void **state)
{
	struct schedule schedule;
	struct journal journal = {0};
	struct sim_random random;
	uint64_t last_us = 0;

	(void)state;
	sim_random_seed(&random, 1);
	schedule_init(&schedule);
	for (uint32_t i = 0; i < 5000; i++)
		schedule_in(&schedule, sim_random_below(&random, 1000), note, NULL, i, NULL);
	for (uint32_t i = 0; i < 5000; i++) {
		journal.count = 0;
		assert_true(schedule_step(&schedule, &journal));
		assert_true(schedule.now_us >= last_us);
		last_us = schedule.now_us;
	}
	assert_false(schedule_step(&schedule, &journal));
	schedule_fini(&schedule);
}

static void drop(void *arg)
{
	++*(uint32_t *)arg;
}

static void test_what_did_not_run_is_dropped(void **state)
{
	struct schedule schedule;
	struct journal journal = {0};
	uint32_t dropped = 0;

	(void)state;
	schedule_init(&schedule);
	schedule_in(&schedule, 1, note, &dropped, 0, drop);
	schedule_in(&schedule, 2, note, &dropped, 0, drop);
	schedule_in(&schedule, 3, note, NULL, 0, NULL);
	assert_true(schedule_step(&schedule, &journal));
	schedule_fini(&schedule);
	assert_int_equal(dropped, 1);
}

static struct network make_network(const struct network_weather *weather)
{
	struct network network;
	struct sim_random random;

	sim_random_seed(&random, 1);
	network_init(&network, 3, weather, random);
	return network;
}

static void test_losses_and_duplicates_come_as_often_as_asked(void **state)
{
	struct network network = make_network(&(struct network_weather){
		.delay_us = 100, .slow_permille = 10, .slow_us = 5000, .loss_permille = 100, .duplicate_permille = 50});
	uint64_t longest = 0, longest_copy = 0;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++) {
		struct network_fate fate = network_send(&network, 0, 1);
		if (fate.copies > 0 && fate.delay_us[0] > longest)
			longest = fate.delay_us[0];
		if (fate.copies == 2 && fate.delay_us[1] > longest_copy)
			longest_copy = fate.delay_us[1];
	}
	assert_in_range(network.lost, 900, 1100);
	assert_in_range(network.duplicated, 380, 520);
	assert_in_range(longest, 1000, 5000);
	assert_in_range(longest_copy, 1000 * 1000, 5000 * 1000); /* some copies are stale */
}

static void test_a_cut_direction_passes_nothing_and_is_known_later(void **state)
{
	struct network network = make_network(&(struct network_weather){.delay_us = 1, .detect_us = 50});

	(void)state;
	network_cut(&network, 0, 1, 100);
	assert_int_equal(network_send(&network, 0, 1).copies, 0);
	assert_int_equal(network_send(&network, 1, 0).copies, 1);
	assert_int_equal(network_send(&network, 0, 2).copies, 1);
	assert_false(network_is_known_cut(&network, 0, 1, 99));
	assert_true(network_is_known_cut(&network, 0, 1, 150));
	assert_true(network_is_known_cut(&network, 1, 0, 150)); /* what comes back does not */
	assert_false(network_is_known_cut(&network, 0, 2, 150));
	network_heal(&network);
	assert_int_equal(network_send(&network, 0, 1).copies, 1);
	assert_false(network_is_known_cut(&network, 0, 1, 150));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_run_by_time_then_by_sequence),
		cmocka_unit_test(test_events_made_while_running_come_after_those_of_the_same_time),
		cmocka_unit_test(test_many_events_come_out_sorted),
		cmocka_unit_test(test_what_did_not_run_is_dropped),
		cmocka_unit_test(test_losses_and_duplicates_come_as_often_as_asked),
		cmocka_unit_test(test_a_cut_direction_passes_nothing_and_is_known_later),
	};
	return cmocka_run_group_tests_name("sim schedule", tests, NULL, NULL);
}
