/* SPDX-License-Identifier: Apache-2.0 */
/* A ticker with real threads: what is due is woken, late at most, never early by much, and never lost. */
#include <pthread.h>
#include <stdatomic.h>
#include "tests/node/support.h"
#include "node/driver/ticker.h"

enum { PATIENCE_US = 20 * 1000 * 1000, ROUNDS = 200 };

struct sleeper {
	struct mailbox mailbox;
	struct ticker *ticker;
	uint32_t slot;
	pthread_t thread;
	_Atomic uint32_t rounds;
	uint64_t early; /* wakes before their time */
};

/* As a worker does: sets when it wants to be woken, sleeps, looks whether it is time. */
static void *sleep_often(void *arg)
{
	struct sleeper *self = arg;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint64_t due_us = rpc_now_us() + 100 + (round * 37 + self->slot * 53) % 1500;
		ticker_set(self->ticker, self->slot, due_us);
		mailbox_wait(&self->mailbox, UINT64_MAX);
		while (rpc_now_us() < due_us) {
			self->early++;
			ticker_set(self->ticker, self->slot, due_us);
			mailbox_wait(&self->mailbox, UINT64_MAX);
		}
		atomic_fetch_add(&self->rounds, 1);
	}
	return NULL;
}

static void test_many_sleepers_are_all_woken(void **state)
{
	enum { SLEEPERS = 8 };
	struct sleeper sleepers[SLEEPERS];
	struct ticker *ticker;
	(void)state;
	assert_int_equal(ticker_create(SLEEPERS, &ticker), 0);
	for (uint32_t i = 0; i < SLEEPERS; i++) {
		sleepers[i] = (struct sleeper){.ticker = ticker, .slot = i};
		mailbox_init(&sleepers[i].mailbox);
		ticker_attach(ticker, i, &sleepers[i].mailbox);
	}
	assert_int_equal(ticker_start(ticker), 0);
	for (uint32_t i = 0; i < SLEEPERS; i++)
		assert_int_equal(pthread_create(&sleepers[i].thread, NULL, sleep_often, &sleepers[i]), 0);
	for (uint32_t i = 0; i < SLEEPERS; i++) {
		pthread_join(sleepers[i].thread, NULL); /* a wake that is lost hangs here until the suite's timeout */
		assert_int_equal(atomic_load(&sleepers[i].rounds), ROUNDS);
		assert_true(sleepers[i].early <= ROUNDS); /* a nudge of the round before, at most */
	}
	ticker_stop(&ticker);
	assert_null(ticker);
}

static uint64_t wait_for(struct mailbox *mailbox)
{
	mailbox_wait(mailbox, rpc_now_us() + PATIENCE_US);
	return rpc_now_us();
}

static void test_an_earlier_time_replaces_a_later_one(void **state)
{
	struct mailbox mailbox;
	struct ticker *ticker;
	(void)state;
	mailbox_init(&mailbox);
	assert_int_equal(ticker_create(1, &ticker), 0);
	ticker_attach(ticker, 0, &mailbox);
	assert_int_equal(ticker_start(ticker), 0);
	uint64_t start_us = rpc_now_us();
	ticker_set(ticker, 0, start_us + 3600ull * 1000 * 1000);
	ticker_set(ticker, 0, start_us + 2000);
	uint64_t woken_us = wait_for(&mailbox);
	assert_in_range(woken_us - start_us, 2000, PATIENCE_US / 2);
	ticker_stop(&ticker);
}

static void test_a_later_time_replaces_an_earlier_one(void **state)
{
	struct mailbox mailbox;
	struct ticker *ticker;
	(void)state;
	mailbox_init(&mailbox);
	assert_int_equal(ticker_create(1, &ticker), 0);
	ticker_attach(ticker, 0, &mailbox);
	uint64_t start_us = rpc_now_us();
	ticker_set(ticker, 0, start_us + 1000);
	ticker_set(ticker, 0, start_us + 30 * 1000);
	assert_int_equal(ticker_start(ticker), 0); /* only now: the first time is gone */
	uint64_t woken_us = wait_for(&mailbox);
	assert_in_range(woken_us - start_us, 30 * 1000, PATIENCE_US / 2);
	ticker_stop(&ticker);
}

static void test_a_time_that_has_passed_wakes_at_once(void **state)
{
	struct mailbox mailbox;
	struct ticker *ticker;
	(void)state;
	mailbox_init(&mailbox);
	assert_int_equal(ticker_create(1, &ticker), 0);
	ticker_attach(ticker, 0, &mailbox);
	assert_int_equal(ticker_start(ticker), 0);
	uint64_t start_us = rpc_now_us();
	ticker_set(ticker, 0, start_us - 1);
	assert_true(wait_for(&mailbox) - start_us < PATIENCE_US / 2);
	ticker_stop(&ticker);
}

static void test_stopping_one_that_never_started(void **state)
{
	struct ticker *ticker;
	(void)state;
	assert_int_equal(ticker_create(3, &ticker), 0);
	ticker_stop(&ticker);
	assert_null(ticker);
	ticker_stop(&ticker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_sleepers_are_all_woken),
		cmocka_unit_test(test_an_earlier_time_replaces_a_later_one),
		cmocka_unit_test(test_a_later_time_replaces_an_earlier_one),
		cmocka_unit_test(test_a_time_that_has_passed_wakes_at_once),
		cmocka_unit_test(test_stopping_one_that_never_started),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
