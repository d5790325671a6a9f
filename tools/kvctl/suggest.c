/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/suggest.h"

#include <stddef.h>
#include <string.h>

enum { WORD_MAX = 31 };

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned smaller = a < b ? a : b;
	return smaller < c ? smaller : c;
}

/* Damerau-Levenshtein: insert, delete, replace, or swap two neighbours, each costs one. */
static unsigned distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
	unsigned cost[WORD_MAX + 1][WORD_MAX + 1];
	for (size_t i = 0; i <= a_size; i++) {
		for (size_t j = 0; j <= b_size; j++) {
			if (i == 0 || j == 0) {
				cost[i][j] = (unsigned)(i + j);
				continue;
			}
			unsigned replace = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			cost[i][j] = least(cost[i - 1][j] + 1, cost[i][j - 1] + 1, replace);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    cost[i - 2][j - 2] + 1 < cost[i][j])
				cost[i][j] = cost[i - 2][j - 2] + 1;
		}
	}
	return cost[a_size][b_size];
}

const char *suggest_word(const char *typed, const char *const *words)
{
	const char *best = NULL;
	unsigned best_distance = 0;
	size_t typed_size = strlen(typed);
	if (typed_size > WORD_MAX)
		return NULL;
	for (; *words != NULL; words++) {
		size_t size = strlen(*words);
		if (size > WORD_MAX)
			continue;
		unsigned d = distance(typed, typed_size, *words, size);
		if (d <= (size + 2) / 3 && (best == NULL || d < best_distance)) {
			best = *words;
			best_distance = d;
		}
	}
	return best;
}
