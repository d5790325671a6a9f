/* SPDX-License-Identifier: Apache-2.0 */
/* What to merge next, as the pure function it is: a table of shapes, rules that hold for every shape, and what a long load
 * costs when its choices are followed.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "engine/merge/compact.h"
#include "engine/state/manifest.h"
#include "engine/shard/shard.h"
#include "tests/sim/sim_random.h"

enum { RUNS_MAX = 80 };

static const struct compact_limits limits = {4, 4, 25, false};
static const struct compact_limits as_shipped = {SHARD_RUNS_PER_LEVEL, SHARD_FIRST_RUNS, SHARD_BOTTOM_PERCENT, false};

/* ---- shapes ---- */

/* "0:10 0:10* 1:40 7:100d": level, bytes; * busy, d dropped. Newest first. */
static size_t parse(const char *text, struct compact_run *runs)
{
	size_t count = 0;
	int used;

	for (; *text; text += used) {
		unsigned long long bytes;

		runs[count] = (struct compact_run){0};
		assert_int_equal(sscanf(text, "%u:%llu%n", &runs[count].level, &bytes, &used), 2);
		runs[count].bytes = bytes;
		for (; text[used] == '*' || text[used] == 'd' || text[used] == ' '; used++) {
			runs[count].is_busy |= text[used] == '*';
			runs[count].has_dropped |= text[used] == 'd';
		}
		count++;
	}
	return count;
}

/* "first+count>level", or "" for none. */
static void print_choice(bool chosen, const struct compact_choice *choice, char out[40])
{
	out[0] = '\0';
	if (chosen)
		snprintf(out, 40, "%zu+%zu>%u", choice->first, choice->count, choice->level);
}

static void test_shapes(void **state)
{
	static const struct {
		const char *shape, *choice, *all;
	} cases[] = {
		{"", "", ""},
		{"7:100", "", ""},
		{"0:10", "", "0+1>7"},
		{"0:10 0:10 0:10", "", "0+3>7"},
		{"0:10 0:10 0:10 7:1000", "", "0+4>7"},
		/* A full level goes down one ... */
		{"0:10 0:10 0:10 0:10 7:1000", "0+4>1", "0+5>7"},
		{"0:10 0:10 0:10 0:10 0:10 7:1000", "0+5>1", "0+6>7"},
		{"0:10 0:10 0:10 0:10 1:40 7:1000", "0+4>1", "0+6>7"},
		{"0:10 1:40 1:40 1:40 1:40 7:10000", "1+4>2", "0+6>7"},
		/* ... the newest full one first ... */
		{"0:10 0:10 0:10 0:10 1:40 1:40 1:40 1:40 7:10000", "0+4>1", "0+9>7"},
		/* ... or to the bottom with all below, when that is worth it: a quarter of it lies above. */
		{"0:10 0:10 0:10 0:10 7:160", "0+5>7", "0+5>7"},
		{"0:10 0:10 0:10 0:10 7:161", "0+4>1", "0+5>7"},
		{"0:10 0:10 0:10 0:10 1:40 7:320", "0+6>7", "0+6>7"},
		{"0:10 0:10 0:10 0:10 1:40 7:321", "0+4>1", "0+6>7"},
		/* What lies above the full level does not count, and stays. */
		{"0:100 1:10 1:10 1:10 1:10 7:161", "1+4>2", "0+6>7"},
		{"0:100 1:10 1:10 1:10 1:10 7:160", "1+5>7", "0+6>7"},
		/* No bottom yet: the first full level makes it. */
		{"0:10 0:10 0:10 0:10", "0+4>7", "0+4>7"},
		{"0:10 0:10 0:10 0:10 3:1", "0+5>7", "0+5>7"},
		/* The last level above the bottom goes there in any case. */
		{"6:1 6:1 6:1 6:1 7:1000000", "0+5>7", "0+5>7"},
		{"5:1 5:1 5:1 5:1 6:1 7:1000000", "0+4>6", "0+6>7"},
		/* Busy runs are left alone; new ones are merged where they are while the bottom is busy. */
		{"0:10 0:10 0:10* 0:10 7:1000", "", ""},
		{"0:10 0:10 0:10 0:10 1:40 7:320*", "0+4>0", ""},
		{"0:10 0:10 0:10 0:10 0:10* 7:160*", "0+4>0", ""},
		{"0:10 0:10 0:10 0:10* 0:10* 7:160*", "", ""},
		{"0:10* 0:10 0:10 0:10 0:10 7:100000", "", ""},
		{"0:10 0:10 0:10 0:10 1:40* 7:10000", "0+4>1", ""},
		/* A busy newer level does not keep an older one from being merged. */
		{"0:10* 0:10* 0:10* 0:10* 1:40 1:40 1:40 1:40 7:100000", "4+4>2", ""},
		/* Dropped runs are rewritten where they are, when there is nothing else; the newest first. */
		{"0:10 7:100d", "1+1>7", "0+2>7"},
		{"7:100d", "0+1>7", "0+1>7"},
		{"0:10d 7:100d", "0+1>0", "0+2>7"},
		{"0:10 7:100*d", "", ""},
		{"0:10d 7:100*", "", ""},
		{"0:10 0:10 0:10 0:10 7:1000d", "0+4>1", "0+5>7"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct compact_run runs[RUNS_MAX];
		struct compact_choice choice;
		size_t count = parse(cases[i].shape, runs);
		char text[40];

		print_choice(compact_choose(runs, count, &limits, &choice), &choice, text);
		if (strcmp(text, cases[i].choice) != 0)
			fail_msg("[%s]: %s, expected %s", cases[i].shape, text, cases[i].choice);
		print_choice(compact_choose_all(runs, count, &choice), &choice, text);
		if (strcmp(text, cases[i].all) != 0)
			fail_msg("all of [%s]: %s, expected %s", cases[i].shape, text, cases[i].all);
	}
}

/* Before there is a last level, fewer runs are enough. */
static void test_first_runs(void **state)
{
	static const struct compact_limits few_first = {4, 2, 25, false};
	struct compact_run runs[RUNS_MAX];
	struct compact_choice choice;

	(void)state;
	assert_false(compact_choose(runs, parse("0:10", runs), &few_first, &choice));
	assert_true(compact_choose(runs, parse("0:10 0:10", runs), &few_first, &choice));
	assert_true(choice.count == 2 && choice.level == MANIFEST_BOTTOM);
	assert_false(compact_choose(runs, parse("0:10 0:10 0:10 7:10", runs), &few_first, &choice));
	assert_true(compact_choose(runs, parse("0:10 0:10 0:10 0:10 7:10", runs), &few_first, &choice));
}

/* Level 0 goes to level 1 and no further; all else waits. */
static void test_deep_merges_paused(void **state)
{
	static const struct compact_limits paused = {4, 4, 25, true};
	static const char *const shapes[][2] = {
		{"0:10 0:10 0:10 0:10", "0+4>1"},
		{"0:10 0:10 0:10 0:10 7:10", "0+4>1"},
		{"0:10 0:10 0:10 0:10* 1:10 7:10", ""},
		{"0:10 1:10 1:10 1:10 1:10 7:10", ""},
		{"1:10 1:10 1:10 1:10 7:10", ""},
		{"0:10 7:10d", ""},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		struct compact_run runs[RUNS_MAX];
		struct compact_choice choice;
		size_t count = parse(shapes[i][0], runs);
		char text[40];

		print_choice(compact_choose(runs, count, &paused, &choice), &choice, text);
		assert_string_equal(text, shapes[i][1]);
	}
}

/* ---- rules ---- */

static size_t random_shape(struct sim_random *random, struct compact_run *runs)
{
	size_t count = 0;
	bool has_drops = sim_random_below(random, 2), has_busy = sim_random_below(random, 2);

	for (uint32_t level = 0; level < MANIFEST_BOTTOM; level++) {
		for (uint64_t n = sim_random_below(random, 9); sim_random_below(random, 3) && n-- > 0;)
			runs[count++] =
				(struct compact_run){.level = level, .bytes = 1 + sim_random_below(random, 1000)};
	}
	if (sim_random_below(random, 4))
		runs[count++] =
			(struct compact_run){.level = MANIFEST_BOTTOM, .bytes = sim_random_below(random, 20000)};
	for (size_t i = 0; i < count; i++) {
		runs[i].is_busy = has_busy && sim_random_below(random, 5) == 0;
		runs[i].has_dropped = has_drops && sim_random_below(random, 6) == 0;
	}
	return count;
}

/* C1 is in the form of a choice (first, count). C2, and that the output keeps the order of levels, and that a choice does
 * something: it leaves fewer runs, moves down, or rewrites what was dropped. */
static void check_rules(const struct compact_run *runs, size_t count, const struct compact_choice *choice)
{
	size_t end = choice->first + choice->count;

	assert_true(choice->count >= 1 && end <= count);
	for (size_t i = choice->first; i < end; i++)
		assert_false(runs[i].is_busy);
	assert_true(choice->level <= MANIFEST_BOTTOM);
	assert_true(choice->level >= runs[end - 1].level); /* nothing moves up */
	assert_true(end == count || choice->level <= runs[end].level);
	if (choice->level == MANIFEST_BOTTOM)
		assert_int_equal(end, count); /* one run at the bottom, and it is the oldest */
	assert_true(choice->count > 1 || choice->level > runs[choice->first].level || runs[choice->first].has_dropped);
	/* Two runs of one level with the output between levels would break the order. */
	assert_true(choice->first == 0 || runs[choice->first - 1].level <= choice->level);
}

static void test_rules_hold_for_every_shape(void **state)
{
	struct sim_random random = {1};
	unsigned chosen = 0, all = 0;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		struct compact_run runs[RUNS_MAX];
		struct compact_limits drawn = {
			2 + (uint32_t)sim_random_below(&random, 8), 2 + (uint32_t)sim_random_below(&random, 8),
			10 + (uint32_t)sim_random_below(&random, 100), sim_random_below(&random, 4) == 0};
		size_t count = random_shape(&random, runs);
		struct compact_choice choice;

		if (compact_choose(runs, count, &drawn, &choice)) {
			check_rules(runs, count, &choice);
			chosen++;
		}
		if (compact_choose_all(runs, count, &choice)) {
			check_rules(runs, count, &choice);
			assert_true(choice.first == 0 && choice.count == count && choice.level == MANIFEST_BOTTOM);
			all++;
		}
	}
	assert_true(chosen > 20000 && all > 20000);
}

/* ---- following the choices ---- */

struct load {
	struct compact_run runs[RUNS_MAX];
	size_t count;
	uint64_t user, written, most_space;
	size_t most_runs;
	double keys; /* distinct keys there are; each flush overwrites some. 0: all are new */
};

static void do_merge(struct load *load, const struct compact_choice *choice)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < choice->count; i++)
		bytes += load->runs[choice->first + i].bytes;
	if (load->keys > 0 && (double)bytes > load->keys)
		bytes = (uint64_t)load->keys;
	load->written += bytes;
	load->runs[choice->first] = (struct compact_run){.level = choice->level, .bytes = bytes};
	memmove(load->runs + choice->first + 1, load->runs + choice->first + choice->count,
		(load->count - choice->first - choice->count) * sizeof load->runs[0]);
	load->count -= choice->count - 1;
}

static void run_load(struct load *load, const struct compact_limits *with, int flushes)
{
	for (int flush = 0; flush < flushes; flush++) {
		struct compact_choice choice;
		uint64_t space = 0;

		assert_true(load->count < RUNS_MAX);
		memmove(load->runs + 1, load->runs, load->count * sizeof load->runs[0]);
		load->runs[0] = (struct compact_run){.bytes = 1000};
		load->count++;
		load->user += 1000;
		load->written += 1000;
		while (compact_choose(load->runs, load->count, with, &choice))
			do_merge(load, &choice);
		for (size_t i = 0; i < load->count; i++) {
			assert_true(i == 0 || load->runs[i - 1].level <= load->runs[i].level);
			space += load->runs[i].bytes;
		}
		load->most_runs = load->count > load->most_runs ? load->count : load->most_runs;
		load->most_space = space > load->most_space ? space : load->most_space;
	}
}

/* New keys only, 4,000 memtables of them: what is rewritten grows with the number of levels, not with the data. */
static void test_cost_of_growing(void **state)
{
	struct load load = {0};

	(void)state;
	run_load(&load, &as_shipped, 4000);
	print_message("growing: written %.1f times, at most %zu runs\n", (double)load.written / (double)load.user,
		      load.most_runs);
	assert_true(load.written < load.user * 12);
	assert_true(load.most_runs <= 32);
}

/* The same keys over and over: space stays within a constant of what is live. */
static void test_cost_of_overwriting(void **state)
{
	struct load load = {.keys = 100 * 1000};

	(void)state;
	run_load(&load, &as_shipped, 4000);
	print_message("overwriting: written %.1f times, space %.2f of the live data, at most %zu runs\n",
		      (double)load.written / (double)load.user, (double)load.most_space / load.keys, load.most_runs);
	assert_true(load.written < load.user * 10);
	assert_true((double)load.most_space < load.keys * 1.5);
}

static void test_debt_is_smooth(void **state)
{
	uint32_t last = 0;

	(void)state;
	for (uint32_t runs = 0; runs <= 40; runs++) {
		uint32_t debt = compact_debt(runs, &limits, 32);

		assert_true(debt >= last && debt <= 1000 && debt - last < 100);
		assert_true(runs > limits.runs_per_level || debt == 0);
		assert_true(runs < 32 || debt == 1000);
		last = debt;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_first_runs),
		cmocka_unit_test(test_deep_merges_paused),
		cmocka_unit_test(test_rules_hold_for_every_shape),
		cmocka_unit_test(test_cost_of_growing),
		cmocka_unit_test(test_cost_of_overwriting),
		cmocka_unit_test(test_debt_is_smooth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
