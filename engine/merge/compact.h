/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the next merge: a pure function of the shape of the tree.
 *
 * Lazy leveling (Dayan, Idreos, "Dostoevsky", SIGMOD 2018): levels above the last hold several runs, the last one holds
 * a single sorted run. Writes are merged few times on their way down; a point read asks many filters but reads one
 * block; most of the data lies in the last level, so space and scans stay close to those of full leveling.
 *
 *     level 0 .. 6   runs, newest first; runs_per_level of them are merged together
 *     level 7        one run
 *
 * A merge takes all runs of a level and writes one run to the next level. It takes everything from that level down to
 * the last one instead as soon as that is worth rewriting the last level: when what lies above is at least
 * bottom_percent of it. A store that has no last level yet gets one from its first first_runs runs: until then
 * everything that was overwritten is still there.
 * While an older merge is in the way, the newest runs of a level are merged where they are, so that they stay few.
 *
 * Threading   Pure.
 * Invariants  C1 The chosen runs are neighbours in age, so that the output can take their place.
 *             C2 A busy run (input of a job under way) is never chosen.
 */
#ifndef KVRING_ENGINE_COMPACT_H
#define KVRING_ENGINE_COMPACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct compact_run {
	uint32_t level;
	uint64_t bytes;
	bool is_busy;
	bool has_dropped; /* some of it is hidden by a drop: worth rewriting when there is nothing else to do */
};

struct compact_limits {
	uint32_t runs_per_level;
	uint32_t first_runs;
	uint32_t bottom_percent;
	bool pauses_deep; /* only level 0 is merged, and no further than to level 1 */
};

struct compact_choice {
	size_t first, count; /* in the array given */
	uint32_t level;      /* of the output */
};

/* Runs from newest to oldest. False when nothing should be merged. */
bool compact_choose(const struct compact_run *, size_t run_count, const struct compact_limits *,
		    struct compact_choice *out);
/* Everything into the last level; false when it is so already, or when something is busy. */
bool compact_choose_all(const struct compact_run *, size_t run_count, struct compact_choice *out);
/* Debt from 0 to 1000: runs on level 0 beyond those that a merge waits for; 1000 at limit_runs. */
uint32_t compact_debt(uint32_t level0_runs, const struct compact_limits *, uint32_t limit_runs);

#endif
