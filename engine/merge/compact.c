/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/merge/compact.h"

#include <assert.h>

#include "engine/state/manifest.h"

static bool any_busy(const struct compact_run *runs, size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++) {
		if (runs[i].is_busy)
			return true;
	}
	return false;
}

static uint64_t sum_bytes(const struct compact_run *runs, size_t first, size_t count)
{
	uint64_t bytes = 0;

	for (size_t i = first; i < first + count; i++)
		bytes += runs[i].bytes;
	return bytes;
}

/* The merge of one full level, if it can start now. */
static bool choose_level(const struct compact_run *runs, size_t run_count, size_t first, size_t count,
			 const struct compact_limits *limits, struct compact_choice *out)
{
	uint32_t level = runs[first].level;
	bool has_bottom = runs[run_count - 1].level == MANIFEST_BOTTOM;
	uint64_t bottom = has_bottom ? runs[run_count - 1].bytes : 0;
	uint64_t above = sum_bytes(runs, first, run_count - first) - bottom;

	*out = (struct compact_choice){.first = first, .count = count, .level = level + 1};
	if (!limits->pauses_deep && (bottom * limits->bottom_percent <= above * 100 || level + 1 == MANIFEST_BOTTOM)) {
		out->count = run_count - first;
		out->level = MANIFEST_BOTTOM;
	}
	return !any_busy(runs, out->first, out->count);
}

/* While a merge further down is under way, new runs are kept few by merging them where they are. */
static bool choose_in_place(const struct compact_run *runs, size_t first, size_t count,
			    const struct compact_limits *limits, struct compact_choice *out)
{
	size_t free = 0;

	while (free < count && !runs[first + free].is_busy)
		free++;
	*out = (struct compact_choice){.first = first, .count = free, .level = runs[first].level};
	return free >= limits->runs_per_level;
}

/* A run that a drop has hidden part of is rewritten alone, where it is: one at a time, when there is nothing else to do. */
static bool choose_dropped(const struct compact_run *runs, size_t run_count, struct compact_choice *out)
{
	for (size_t i = 0; i < run_count && !any_busy(runs, 0, run_count); i++) {
		if (runs[i].has_dropped) {
			*out = (struct compact_choice){.first = i, .count = 1, .level = runs[i].level};
			return true;
		}
	}
	return false;
}

/* C1, C2, and the output keeps the order of levels. */
static void check_choice(const struct compact_run *runs, size_t run_count, const struct compact_choice *choice)
{
	size_t end = choice->first + choice->count;

	assert(choice->count > 0);
	assert(end <= run_count);
	assert(choice->level <= MANIFEST_BOTTOM);
	assert(choice->level >= runs[choice->first].level);
	assert(end == run_count || choice->level <= runs[end].level);
	assert(!any_busy(runs, choice->first, choice->count));
}

bool compact_choose(const struct compact_run *runs, size_t run_count, const struct compact_limits *limits,
		    struct compact_choice *out)
{
	bool has_bottom = run_count && runs[run_count - 1].level == MANIFEST_BOTTOM;
	size_t full = has_bottom ? limits->runs_per_level : limits->first_runs;

	for (size_t first = 0, end; first < run_count && runs[first].level < MANIFEST_BOTTOM; first = end) {
		for (end = first; end < run_count && runs[end].level == runs[first].level; end++)
			;
		if (limits->pauses_deep && runs[first].level)
			return false;
		if (end - first >= full && (choose_level(runs, run_count, first, end - first, limits, out) ||
					    choose_in_place(runs, first, end - first, limits, out))) {
			check_choice(runs, run_count, out);
			return true;
		}
	}
	return !limits->pauses_deep && choose_dropped(runs, run_count, out);
}

bool compact_choose_all(const struct compact_run *runs, size_t run_count, struct compact_choice *out)
{
	bool is_done = run_count == 0 || (run_count == 1 && runs[0].level == MANIFEST_BOTTOM && !runs[0].has_dropped);

	if (is_done || any_busy(runs, 0, run_count))
		return false;
	*out = (struct compact_choice){.first = 0, .count = run_count, .level = MANIFEST_BOTTOM};
	check_choice(runs, run_count, out);
	return true;
}

uint32_t compact_debt(uint32_t level0_runs, const struct compact_limits *limits, uint32_t limit_runs)
{
	if (level0_runs <= limits->runs_per_level)
		return 0;
	if (level0_runs >= limit_runs)
		return 1000;
	return (level0_runs - limits->runs_per_level) * 1000 / (limit_runs - limits->runs_per_level);
}
