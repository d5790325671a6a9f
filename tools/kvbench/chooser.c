/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/chooser.h"

#include <math.h>
#include <string.h>

static const double THETA = 0.99;
static const char *const NAMES[] = {"uniform", "zipfian", "latest"};

void chooser_init(struct chooser *chooser, enum chooser_distribution distribution, uint64_t key_count)
{
	*chooser = (struct chooser){.distribution = distribution, .key_count = key_count};
	if (distribution == CHOOSER_UNIFORM)
		return;
	for (uint64_t i = 1; i <= key_count; i++)
		chooser->zeta += pow(1.0 / (double)i, THETA);
	chooser->half_power = 1 + pow(0.5, THETA);
	chooser->alpha = 1 / (1 - THETA);
	chooser->eta = key_count > 2 ? (1 - pow(2.0 / (double)key_count, 1 - THETA)) /
					       (1 - chooser->half_power / chooser->zeta)
				     : 0;
}

/* Rank 0 is the most popular. */
static uint64_t next_rank(const struct chooser *chooser, struct random *random)
{
	double u = (double)(random_next(random) >> 11) * 0x1p-53, uz = u * chooser->zeta;
	if (uz < 1 || chooser->key_count == 1)
		return 0;
	if (uz < chooser->half_power || chooser->key_count == 2)
		return 1;
	uint64_t rank =
		(uint64_t)((double)chooser->key_count * pow(chooser->eta * u - chooser->eta + 1, chooser->alpha));
	return rank < chooser->key_count ? rank : chooser->key_count - 1;
}

uint64_t chooser_next(const struct chooser *chooser, struct random *random)
{
	switch (chooser->distribution) {
	case CHOOSER_ZIPFIAN:
		return random_mix(next_rank(chooser, random) + 1) % chooser->key_count;
	case CHOOSER_LATEST:
		return chooser->key_count - 1 - next_rank(chooser, random);
	case CHOOSER_UNIFORM:
		break;
	}
	return random_below(random, chooser->key_count);
}

bool chooser_parse(const char *name, enum chooser_distribution *out)
{
	for (unsigned i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
		if (!strcmp(NAMES[i], name)) {
			*out = (enum chooser_distribution)i;
			return true;
		}
	}
	return false;
}

const char *chooser_name(enum chooser_distribution distribution)
{
	return NAMES[distribution];
}
