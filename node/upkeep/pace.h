/* SPDX-License-Identifier: Apache-2.0 */
/* Pace: how fast a node takes in what other nodes copy to it.
 *
 * A rate in bytes per second, which an operator sets, and less of it the busier the nodes are: clients come first. What was taken is
 * waited for afterwards, so that one large piece may come at once and nothing is saved up while nothing is asked for.
 *
 * Threading   Upkeep's.
 * Errors      None.
 * Invariants  P1 Over any time the bytes spent are at most the rate times that time, and one piece of each question under way.
 */
#ifndef KVRING_NODE_UPKEEP_PACE_H
#define KVRING_NODE_UPKEEP_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	PACE_CALM_PERMILLE = 500, /* busy nodes are slowed down from here on */
	PACE_LEAST_PART = 16,     /* a node that has no time at all still takes this part of the rate: a change ends */
	PACE_QUESTION_BYTES = 1024,      /* what a question costs that is answered by nothing */
	PACE_DEFAULT = 32 * 1024 * 1024, /* bytes per second */
};

struct pace {
	uint64_t bytes_per_s;
	uint64_t free_us; /* from then on more may be asked for */
};

void pace_init(struct pace *, uint64_t bytes_per_s);
/* May more be asked for? */
bool pace_is_free(const struct pace *, uint64_t now_us);
/* So many bytes came. busy_permille: of the busiest of the nodes concerned. */
void pace_spend(struct pace *, uint64_t bytes, uint32_t busy_permille, uint64_t now_us);

#endif
