/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of a whole cluster, small enough to say what must come out. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/sim/world.h"

/* Three machines, N=3, R=W=2, and nothing goes wrong. */
static struct sim_options calm(void)
{
	struct sim_options options;

	options_default(&options);
	options.nodes = options.replicas = 3;
	options.r = options.w = 2;
	options.operations = 300;
	options.clients = 4;
	options.keys = 8;
	options.crash_rate = options.partition_rate = options.pause_rate = options.late_permille = 0;
	options.disk_error_rate = options.skew_ms = 0;
	options.loss_permille = options.duplicate_permille = options.slow_permille = 0;
	options.delay_us = 100;
	options.memtable_kib = 4096; /* no back-pressure */
	options.attempts = 8;
	options.deadline_ms = 2000;
	return options;
}

static struct totals run(const struct sim_options *options, uint64_t seed, struct verdict *verdict)
{
	struct totals totals = {0};

	*verdict = (struct verdict){.key = ORACLE_NONE};
	if (!world_run(options, seed, &totals, verdict))
		fail_msg("seed %lu: %s", (unsigned long)seed, verdict->text);
	return totals;
}

static void test_in_calm_weather_every_write_is_acknowledged(void **state)
{
	struct sim_options options = calm();
	struct verdict verdict;

	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct totals totals = run(&options, seed, &verdict);
		assert_in_range(totals.operations, 300, 310);
		assert_true(totals.acked >= totals.puts); /* the impatient are acknowledged twice */
		assert_int_equal(totals.in_doubt, 0);
		assert_int_equal(totals.refused, 0);
		assert_int_equal(totals.truncations, 0);
		assert_int_equal(totals.false_siblings, 0);
	}
}

/* With one of three machines at most away, clients who try again get every write through: W=2 is left. */
static void test_with_one_machine_away_every_write_ends_acknowledged(void **state)
{
	struct sim_options options = calm();
	struct verdict verdict;
	struct totals sum = {0};

	(void)state;
	options.crash_rate = 200;
	options.down_together = 1;
	options.attempts = 1000; /* a refusal, while two of three are thought to be away, comes at once */
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct totals totals = run(&options, seed, &verdict);
		assert_int_equal(totals.in_doubt, 0);
		sum.crashes += totals.crashes + totals.kills;
		sum.retries += totals.retries;
	}
	assert_true(sum.crashes > 20);
	assert_true(sum.retries > 20);
}

static void test_a_cluster_of_one_works(void **state)
{
	struct sim_options options = calm();
	struct verdict verdict;

	(void)state;
	options.nodes = options.replicas = options.r = options.w = 1;
	struct totals totals = run(&options, 1, &verdict);
	assert_int_equal(totals.in_doubt, 0);
}

static void test_same_seed_same_hash(void **state)
{
	struct sim_options options;
	struct verdict first, again, other;

	(void)state;
	options_default(&options);
	run(&options, 5, &first);
	run(&options, 5, &again);
	run(&options, 6, &other);
	assert_int_equal(first.hash, again.hash);
	assert_int_not_equal(first.hash, other.hash);
}

/* The transcript is an interface: the story of a key is told in lines like these. */
static void test_the_transcript_tells_puts_and_gets(void **state)
{
	struct sim_options options = calm();
	struct verdict verdict = {.tell = true, .key = 0};
	struct totals totals = {0};
	FILE *file = tmpfile();
	char line[4096], node;
	unsigned puts = 0, gets = 0, others = 0, of, need, acked, write, key;
	double ms, last_ms = 0;

	(void)state;
	assert_non_null(file);
	fflush(stdout);
	int real = dup(STDOUT_FILENO);
	dup2(fileno(file), STDOUT_FILENO);
	bool good = world_run(&options, 1, &totals, &verdict);
	fflush(stdout);
	dup2(real, STDOUT_FILENO);
	close(real);
	rewind(file);
	assert_true(good);
	while (fgets(line, sizeof line, file) != NULL) {
		assert_int_equal(sscanf(line, "[%lf] ", &ms), 1);
		assert_true(ms >= last_ms);
		last_ms = ms;
		if (sscanf(line, "[%lf] n%c put k%u w%u: %u of %u acked, need %u -> ok", &ms, &node, &key, &write,
			   &acked, &of, &need) == 7) {
			puts++;
			assert_true(acked >= need);
		}
		gets += sscanf(line, "[%lf] n%c get k%u: %u of %u replied, need %u -> ", &ms, &node, &key, &acked, &of,
			       &need) == 6;
		others += strstr(line, " k1") != NULL;
	}
	fclose(file);
	assert_true(puts > 5);
	assert_true(gets > 5);
	assert_int_equal(others, 0);
}

/* A rule that breaks is reported with its key: a bug planted in the driver. */
static void test_a_planted_bug_is_reported(void **state)
{
	struct sim_options options;
	struct verdict verdict;
	struct totals totals = {0};
	bool good = true;

	(void)state;
	options_default(&options);
	options.canary = CANARY_EARLY_ACK;
	for (uint64_t seed = 1; seed <= 100 && good; seed++) {
		verdict = (struct verdict){.key = ORACLE_NONE};
		good = world_run(&options, seed, &totals, &verdict);
	}
	assert_false(good);
	assert_true(verdict.text[0]);
}

static int setup(void **state)
{
	(void)state;
	ring_reader_register();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ring_reader_unregister();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_calm_weather_every_write_is_acknowledged),
		cmocka_unit_test(test_with_one_machine_away_every_write_ends_acknowledged),
		cmocka_unit_test(test_a_cluster_of_one_works),
		cmocka_unit_test(test_same_seed_same_hash),
		cmocka_unit_test(test_the_transcript_tells_puts_and_gets),
		cmocka_unit_test(test_a_planted_bug_is_reported),
	};
	return cmocka_run_group_tests_name("sim world", tests, setup, teardown);
}
