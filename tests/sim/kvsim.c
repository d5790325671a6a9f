/* SPDX-License-Identifier: Apache-2.0 */
/* kvsim: runs seeds, and says what happened. kvsim_canary is the same with a planted bug, which it must find. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/sim/world.h"

#ifdef KVSIM_CANARY
enum { CANARY_ALLOWED = true };
#else
enum { CANARY_ALLOWED = false };
#endif

static void print_totals(uint64_t first, uint64_t last, const struct totals *t)
{
	printf("seeds %" PRIu64 "..%" PRIu64 ": %" PRIu64 " ops (%" PRIu64 " gets, %" PRIu64 " puts: %" PRIu64
	       " acks, %" PRIu64 " refusals, %" PRIu64 " retries, %" PRIu64 " in doubt at the end)",
	       first, last, t->operations, t->gets, t->puts, t->acked, t->refused, t->retries, t->in_doubt);
	printf(", %" PRIu64 " crashes (%" PRIu64 " in a disk operation), %" PRIu64 " kills, %" PRIu64
	       " directories restored, %" PRIu64 " disk errors, %" PRIu64 " full disks, %" PRIu64
	       " bytes rotten, %" PRIu64 " partitions, %" PRIu64 " pauses, %" PRIu64 " late attempts",
	       t->crashes, t->crashes_in_disk, t->kills, t->restores, t->disk_errors, t->full_disks, t->rots,
	       t->partitions, t->pauses, t->late_attempts);
	printf(", %" PRIu64 " messages (%" PRIu64 " lost, %" PRIu64 " twice), %" PRIu64 " steps, %" PRIu64
	       " jobs, %" PRIu64 " checks, %" PRIu64 " truncations, %" PRIu64 " false siblings by them, %" PRIu64
	       " of %" PRIu64 " ring changes done, %" PRIu64 " of %" PRIu64 " moves begun, %" PRIu64
	       " disks replaced, %.2f simulated hours\n",
	       t->messages, t->lost, t->duplicated, t->steps, t->jobs, t->reads_checked, t->truncations,
	       t->false_siblings, t->changes_done, t->changes_asked, t->moves_done, t->moves_asked, t->wipes,
	       (double)t->simulated_us / 3.6e9);
}

/* The story of the broken rule: the same seed again, telling only this key. */
static void tell_story(const struct sim_options *options, uint64_t seed, const struct verdict *broken)
{
	struct verdict verdict = {.tell = true, .key = broken->key};
	struct totals totals = {0};

	printf("seed %" PRIu64 ": BROKEN: %s\n", seed, broken->text);
	if (options->quiet)
		return;
	if (broken->key == ORACLE_NONE)
		printf("the whole story:\n");
	else
		printf("the story of k%u:\n", broken->key);
	world_run(options, seed, &totals, &verdict);
	printf("to repeat it: ");
	options_print_command(options, seed, stdout);
}

static bool run_seed(const struct sim_options *options, uint64_t seed, struct totals *totals)
{
	struct verdict verdict = {.tell = options->trace, .key = ORACLE_NONE}, again = {.key = ORACLE_NONE};
	struct totals ignored = {0};

	if (!world_run(options, seed, totals, &verdict)) {
		if (!options->trace && !options->canary)
			tell_story(options, seed, &verdict);
		else
			printf("seed %" PRIu64 ": BROKEN: %s\n", seed, verdict.text);
		return false;
	}
	if (options->hashes)
		printf("seed %" PRIu64 ": %016" PRIx64 "\n", seed, verdict.hash);
	if (!options->twice)
		return true;
	world_run(options, seed, &ignored, &again);
	if (again.hash == verdict.hash)
		return true;
	printf("seed %" PRIu64 ": BROKEN: the same seed gave two runs: trace hashes %016" PRIx64 " and %016" PRIx64
	       "\n",
	       seed, verdict.hash, again.hash);
	return false;
}

static bool run_range(const struct sim_options *options, uint64_t first, uint64_t last)
{
	struct totals totals = {0};
	bool good = true;
	uint64_t seed = first;
	time_t end = time(NULL) + options->seconds;

	for (;; seed++) {
		good = run_seed(options, seed, &totals);
		if (!good || seed == last || (options->seconds && time(NULL) >= end))
			break;
	}
	print_totals(first, seed, &totals);
	return good;
}

/* A planted bug must come to light. */
static int run_canary(const struct sim_options *options)
{
	struct totals totals = {0};

	for (uint32_t i = 0; i < options->expect_within; i++) {
		if (run_seed(options, options->first_seed + i, &totals))
			continue;
		printf("planted bug %s: found by seed %u of at most %u\n", canary_name(options->canary), i + 1,
		       options->expect_within);
		return 0;
	}
	printf("planted bug %s: NOT found in %u seeds\n", canary_name(options->canary), options->expect_within);
	return 1;
}

int main(int argc, char **argv)
{
	struct sim_options options;

	options_default(&options);
	if (!options_parse(&options, argc, argv, CANARY_ALLOWED))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	options_print(&options, stdout);
	ring_reader_register();
	if (options.canary)
		return run_canary(&options);
	bool good = run_range(&options, options.first_seed, options.last_seed);
	if (good && options.fresh_seeds) {
		uint64_t fresh = (uint64_t)time(NULL) * 1000;
		good = run_range(&options, fresh, fresh + options.fresh_seeds - 1);
	}
	ring_reader_unregister();
	return good ? 0 : 1;
}
