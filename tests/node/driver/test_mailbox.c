/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include "node/driver/mailbox.h"
#include "tests/node/support.h"

enum { PRODUCERS = 4, LETTERS = 50000, PING_PONGS = 20000 };

struct letter {
	struct cds_wfcq_node mail;
	unsigned producer, number;
};

static uint64_t monotonic_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static struct letter *take_one(struct mailbox *mailbox, enum mail_kind kind)
{
	struct mail_queue taken;
	if (!mailbox_take(mailbox, kind, &taken))
		return NULL;
	struct cds_wfcq_node *node = mail_next(&taken);
	assert_non_null(node);
	assert_null(mail_next(&taken));
	return caa_container_of(node, struct letter, mail);
}

static void test_kinds_are_apart_and_in_order(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct letter letters[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
	struct mail_queue taken;
	mailbox_init(&mailbox);
	assert_false(mailbox_take(&mailbox, MAIL_MESSAGE, &taken));
	mailbox_put(&mailbox, MAIL_MESSAGE, &letters[0].mail);
	mailbox_put(&mailbox, MAIL_CALL, &letters[1].mail);
	mailbox_put(&mailbox, MAIL_MESSAGE, &letters[2].mail);
	assert_ptr_equal(take_one(&mailbox, MAIL_CALL), &letters[1]);
	assert_true(mailbox_take(&mailbox, MAIL_MESSAGE, &taken));
	assert_ptr_equal(mail_next(&taken), &letters[0].mail);
	assert_ptr_equal(mail_next(&taken), &letters[2].mail);
	assert_null(mail_next(&taken));
	assert_false(mailbox_take(&mailbox, MAIL_MESSAGE, &taken));
}

static void test_wait_returns_at_once_when_there_is_mail(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct letter letter = {0};
	mailbox_init(&mailbox);
	for (int kind = 0; kind < MAIL_KINDS; kind++) {
		mailbox_put(&mailbox, (enum mail_kind)kind, &letter.mail);
		mailbox_wait(&mailbox, UINT64_MAX); /* without mailbox_wake: it looks itself */
		assert_ptr_equal(take_one(&mailbox, (enum mail_kind)kind), &letter);
	}
}

static void test_wait_ends_when_it_is_time(void **state)
{
	(void)state;
	struct mailbox mailbox;
	mailbox_init(&mailbox);
	mailbox_wait(&mailbox, 0);
	uint64_t until_us = monotonic_us() + 3000;
	while (monotonic_us() < until_us)
		mailbox_wait(&mailbox, until_us); /* may wake early, never hangs */
}

static void *wait_for_ever(void *arg)
{
	struct mailbox *mailbox = arg;
	while (!mailbox_stopping(mailbox))
		mailbox_wait(mailbox, UINT64_MAX);
	return NULL;
}

static void test_stop_wakes(void **state)
{
	(void)state;
	struct mailbox mailbox;
	pthread_t thread;
	mailbox_init(&mailbox);
	assert_false(mailbox_stopping(&mailbox));
	assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &mailbox), 0);
	mailbox_stop(&mailbox);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* A nudge ends the sleep that is, or the next one. */
static void test_nudge(void **state)
{
	(void)state;
	struct mailbox mailbox;
	mailbox_init(&mailbox);
	mailbox_nudge(&mailbox);
	mailbox_wait(&mailbox, UINT64_MAX);
	mailbox_nudge(&mailbox);
	mailbox_nudge(&mailbox);
	mailbox_wait(&mailbox, UINT64_MAX);
	uint64_t until_us = monotonic_us() + 3000;
	while (monotonic_us() < until_us)
		mailbox_wait(&mailbox, until_us); /* used up */
}

/* ---- two threads, each asleep until the other writes: one lost wake-up and the test hangs ---- */

struct pair {
	struct mailbox mailboxes[2];
	struct letter letter;
};

struct player {
	struct pair *pair;
	unsigned side;
};

static void *play(void *arg)
{
	struct player *player = arg;
	struct mailbox *mine = &player->pair->mailboxes[player->side], *other = &player->pair->mailboxes[!player->side];
	for (unsigned i = 0; i < PING_PONGS; i++) {
		struct letter *letter;
		while ((letter = take_one(mine, MAIL_MESSAGE)) == NULL)
			mailbox_wait(mine, UINT64_MAX);
		letter->number++;
		mailbox_put(other, MAIL_MESSAGE, &letter->mail);
		mailbox_wake(other);
	}
	return NULL;
}

static void test_no_wake_up_is_lost(void **state)
{
	(void)state;
	struct pair pair = {0};
	struct player players[2] = {{&pair, 0}, {&pair, 1}};
	pthread_t threads[2];
	mailbox_init(&pair.mailboxes[0]);
	mailbox_init(&pair.mailboxes[1]);
	mailbox_put(&pair.mailboxes[0], MAIL_MESSAGE, &pair.letter.mail);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, play, &players[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(pair.letter.number, 2 * PING_PONGS);
}

/* ---- many producers ---- */

struct producer {
	struct mailbox *mailbox;
	unsigned index;
};

static void *produce(void *arg)
{
	struct producer *producer = arg;
	for (unsigned i = 0; i < LETTERS; i++) {
		struct letter *letter = malloc(sizeof *letter);
		letter->producer = producer->index;
		letter->number = i;
		mailbox_put(producer->mailbox, i % 2 ? MAIL_MESSAGE : MAIL_CALL, &letter->mail);
		if (i % 3 == 0 || i + 1 == LETTERS)
			mailbox_wake(producer->mailbox);
	}
	return NULL;
}

static unsigned drain(struct mailbox *mailbox, enum mail_kind kind, int64_t *last)
{
	struct mail_queue taken;
	struct cds_wfcq_node *node;
	unsigned count = 0;
	if (!mailbox_take(mailbox, kind, &taken))
		return 0;
	while ((node = mail_next(&taken)) != NULL) {
		struct letter *letter = caa_container_of(node, struct letter, mail);
		assert_true(last[letter->producer] < (int64_t)letter->number); /* each producer's in order */
		last[letter->producer] = letter->number;
		free(letter);
		count++;
	}
	return count;
}

static void test_many_producers_lose_nothing(void **state)
{
	(void)state;
	struct mailbox mailbox;
	struct producer producers[PRODUCERS];
	pthread_t threads[PRODUCERS];
	int64_t calls[PRODUCERS] = {-1, -1, -1, -1}, messages[PRODUCERS] = {-1, -1, -1, -1};
	unsigned count = 0;
	mailbox_init(&mailbox);
	for (unsigned i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){&mailbox, i};
		assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
	}
	while (count < PRODUCERS * LETTERS) {
		unsigned taken = drain(&mailbox, MAIL_CALL, calls) + drain(&mailbox, MAIL_MESSAGE, messages);
		count += taken;
		if (taken == 0)
			mailbox_wait(&mailbox, UINT64_MAX);
	}
	for (unsigned i = 0; i < PRODUCERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(count, PRODUCERS * LETTERS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds_are_apart_and_in_order),
		cmocka_unit_test(test_wait_returns_at_once_when_there_is_mail),
		cmocka_unit_test(test_wait_ends_when_it_is_time),
		cmocka_unit_test(test_stop_wakes),
		cmocka_unit_test(test_nudge),
		cmocka_unit_test(test_no_wake_up_is_lost),
		cmocka_unit_test(test_many_producers_lose_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
