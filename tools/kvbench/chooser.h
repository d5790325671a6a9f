/* SPDX-License-Identifier: Apache-2.0 */
/* Chooser: which key comes next, as in YCSB.
 *
 *     uniform   every key alike
 *     zipfian   popularity falls as 1/rank^0.99 (Gray et al., "Quickly generating billion-record synthetic databases",
 *               SIGMOD 1994); ranks are scattered over the keys by a hash, so that popular keys are not neighbours
 *     latest    the same, but the most popular key is the one inserted last
 *
 * Threading   A chooser is immutable after chooser_init: share it. A struct random: one thread at a time.
 * Ownership   Plain memory.
 */
#ifndef KVRING_KVBENCH_CHOOSER_H
#define KVRING_KVBENCH_CHOOSER_H

#include <stdbool.h>
#include <stdint.h>
#include "tools/measure/random.h"

enum chooser_distribution { CHOOSER_UNIFORM, CHOOSER_ZIPFIAN, CHOOSER_LATEST };

struct chooser {
	enum chooser_distribution distribution;
	uint64_t key_count;
	double zeta, alpha, eta, half_power; /* of the zipfian formula */
};

/* Takes time in proportion to key_count for zipfian and latest. key_count > 0. */
void chooser_init(struct chooser *, enum chooser_distribution, uint64_t key_count);
/* A key from 0 to key_count - 1. */
uint64_t chooser_next(const struct chooser *, struct random *);
/* False: no distribution of this name. */
bool chooser_parse(const char *name, enum chooser_distribution *out);
const char *chooser_name(enum chooser_distribution);

#endif
