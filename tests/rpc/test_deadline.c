/* SPDX-License-Identifier: Apache-2.0 */
/* The deadline thread: what is armed is looked at until it says that it is done, nothing is forgotten, and removing waits. */
#include <sched.h>
#include <stdatomic.h>
#include "tests/rpc/harness.h"
#include "rpc/deadline.h"

struct probe {
	struct deadline_watch watch;
	struct latch checks;
	atomic_uint work;   /* check returns true, and takes one, while there is any */
	atomic_bool rearms; /* check arms its own watch, once, and says that it is done */
};

static bool check(void *arg)
{
	struct probe *probe = arg;
	if (atomic_exchange(&probe->rearms, false)) {
		rpc_deadline_watch_arm(&probe->watch);
		latch_raise(&probe->checks);
		return false;
	}
	bool more = atomic_load(&probe->work) > 0 && atomic_fetch_sub(&probe->work, 1) > 1;
	latch_raise(&probe->checks);
	return more;
}

static void probe_add(struct probe *probe)
{
	*probe = (struct probe){.watch = {.check = check}, .checks = LATCH_INIT};
	probe->watch.arg = probe;
	assert_int_equal(rpc_deadline_watch_add(&probe->watch), 0);
}

/* Another watch is the clock: when it has been looked at that often, so would have been the one under test. */
static void let_ticks_pass(struct probe *clock, unsigned ticks)
{
	unsigned before = latch_count(&clock->checks);
	atomic_store(&clock->work, ticks);
	rpc_deadline_watch_arm(&clock->watch);
	latch_wait(&clock->checks, before + ticks);
}

static void test_armed_is_checked_until_it_says_done(void **state)
{
	(void)state;
	struct probe probe, clock;
	probe_add(&probe);
	probe_add(&clock);
	let_ticks_pass(&clock, 2);
	assert_int_equal(latch_count(&probe.checks), 0);
	for (unsigned round = 1; round <= 2; round++) {
		atomic_store(&probe.work, 3);
		rpc_deadline_watch_arm(&probe.watch);
		latch_wait(&probe.checks, round * 3);
		let_ticks_pass(&clock, 3);
		assert_int_equal(latch_count(&probe.checks), round * 3);
	}
	rpc_deadline_watch_remove(&probe.watch);
	rpc_deadline_watch_remove(&clock.watch);
}

static void test_armed_during_its_check_stays_armed(void **state)
{
	(void)state;
	struct probe probe;
	probe_add(&probe);
	atomic_store(&probe.rearms, true);
	rpc_deadline_watch_arm(&probe.watch);
	latch_wait(&probe.checks, 2);
	rpc_deadline_watch_remove(&probe.watch);
}

/* ---- races --------------------------------------------------------------------------------------------------------- */

/* Arms again and again just when the thread may be falling asleep; a wake-up that is lost is waited for in vain. */
static void *arm_and_wait(void *arg)
{
	struct probe *probe = arg;
	for (unsigned i = 0; i < 100; i++) {
		atomic_store(&probe->work, 1);
		unsigned before = latch_count(&probe->checks);
		rpc_deadline_watch_arm(&probe->watch);
		if (!latch_wait_ms(&probe->checks, before + 1, HARNESS_PATIENCE_MS))
			return "a watch was armed and never checked";
		for (unsigned spin = 0; spin < i * 20; spin++)
			sched_yield();
	}
	return NULL;
}

static void test_no_arming_is_lost(void **state)
{
	(void)state;
	enum { THREADS = 3 };
	static struct probe probes[THREADS];
	pthread_t threads[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		probe_add(&probes[i]);
		assert_int_equal(pthread_create(&threads[i], NULL, arm_and_wait, &probes[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *failure;
		pthread_join(threads[i], &failure);
		if (failure != NULL)
			fail_msg("%s", (char *)failure);
		rpc_deadline_watch_remove(&probes[i].watch);
	}
}

/* The thread starts with the first watch and ends with the last, whatever else is armed meanwhile. */
static void test_the_thread_comes_and_goes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct probe first, second;
		probe_add(&first);
		atomic_store(&first.work, 1000);
		rpc_deadline_watch_arm(&first.watch);
		if (i % 3 == 0)
			latch_wait(&first.checks, 1);
		probe_add(&second);
		rpc_deadline_watch_remove(&first.watch);
		unsigned checks = latch_count(&first.checks);
		let_ticks_pass(&second, 1);
		assert_int_equal(latch_count(&first.checks), checks);
		rpc_deadline_watch_remove(&second.watch);
	}
}

struct slow {
	struct deadline_watch watch;
	struct latch entered, leave;
	atomic_bool left;
};

static bool check_slowly(void *arg)
{
	struct slow *slow = arg;
	latch_raise(&slow->entered);
	latch_wait_ms(&slow->leave, 1, HARNESS_PATIENCE_MS);
	atomic_store(&slow->left, true);
	return true;
}

static void *remove_slow(void *arg)
{
	struct slow *slow = arg;
	latch_raise(&slow->entered);
	rpc_deadline_watch_remove(&slow->watch);
	return atomic_load(&slow->left) ? NULL : "removed while its check ran";
}

static void test_removing_waits_for_a_check_under_way(void **state)
{
	(void)state;
	struct slow slow = {.watch = {.check = check_slowly}, .entered = LATCH_INIT, .leave = LATCH_INIT};
	pthread_t remover;
	void *failure;
	slow.watch.arg = &slow;
	assert_int_equal(rpc_deadline_watch_add(&slow.watch), 0);
	rpc_deadline_watch_arm(&slow.watch);
	latch_wait(&slow.entered, 1);
	assert_int_equal(pthread_create(&remover, NULL, remove_slow, &slow), 0);
	latch_wait(&slow.entered, 2);
	for (unsigned i = 0; i < 1000; i++) /* time for a remove that does not wait */
		sched_yield();
	latch_raise(&slow.leave);
	pthread_join(remover, &failure);
	if (failure != NULL)
		fail_msg("%s", (char *)failure);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_armed_is_checked_until_it_says_done),
		cmocka_unit_test(test_armed_during_its_check_stays_armed),
		cmocka_unit_test(test_no_arming_is_lost),
		cmocka_unit_test(test_the_thread_comes_and_goes),
		cmocka_unit_test(test_removing_waits_for_a_check_under_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
