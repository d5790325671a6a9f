/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"

#include "node/driver/placement.h"

/* Every actor is there once, found by its kind and index, and every thread has one. */
static void check(const struct placement *placement)
{
	uint32_t hosted[64] = {0};
	uint32_t count = 0;
	for (enum actor_kind kind = 0; kind < ACTOR_KIND_COUNT; kind++)
		count += placement->kinds[kind].count;
	assert_int_equal(placement->actor_count, count);
	for (uint32_t i = 0; i < placement->actor_count; i++) {
		const struct placed *actor = &placement->actors[i];
		assert_int_equal(placement_find(placement, actor->kind, actor->index), i);
		assert_true(actor->thread < placement->thread_count);
		hosted[actor->thread]++;
	}
	for (uint32_t i = 0; i < placement->thread_count; i++)
		assert_true(hosted[i] > 0);
}

static uint32_t thread_of(const struct placement *placement, enum actor_kind kind, uint32_t index)
{
	return placement->actors[placement_find(placement, kind, index)].thread;
}

static void test_one_thread_for_each_actor(void **state)
{
	struct placement placement;
	(void)state;
	assert_int_equal(placement_create(2, 3, 0, &placement), 0);
	check(&placement);
	assert_int_equal(placement.thread_count, 7);
	placement_destroy(&placement);
}

static void test_all_on_one_thread(void **state)
{
	struct placement placement;
	(void)state;
	assert_int_equal(placement_create(2, 3, 1, &placement), 0);
	check(&placement);
	assert_int_equal(placement.thread_count, 1);
	placement_destroy(&placement);
}

static void test_a_coordinator_beside_its_replica(void **state)
{
	struct placement placement;
	(void)state;
	assert_int_equal(placement_create(4, 4, 3, &placement), 0);
	check(&placement);
	assert_int_equal(placement.thread_count, 3);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(thread_of(&placement, ACTOR_COORDINATOR, i), thread_of(&placement, ACTOR_REPLICA, i));
	assert_int_equal(thread_of(&placement, ACTOR_GOSSIP, 0), 0);
	assert_int_equal(thread_of(&placement, ACTOR_UPKEEP, 0), 0);
	placement_destroy(&placement);
	assert_int_equal(placement_create(1, 1, 8, &placement), 0); /* no more threads than there is to host */
	check(&placement);
	assert_int_equal(placement.thread_count, 1);
	placement_destroy(&placement);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_thread_for_each_actor),
		cmocka_unit_test(test_all_on_one_thread),
		cmocka_unit_test(test_a_coordinator_beside_its_replica),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
