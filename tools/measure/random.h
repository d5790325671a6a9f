/* SPDX-License-Identifier: Apache-2.0 */
/* Random: numbers that the same seed draws again. splitmix64 (Steele, Lea, Flood 2014): a counter and a mixer; any seed is
 * good.
 *
 * Threading   A generator is its user's.
 * Ownership   Plain memory.
 * Errors      None.
 */
#ifndef KVRING_MEASURE_RANDOM_H
#define KVRING_MEASURE_RANDOM_H

#include <stdint.h>

struct random {
	uint64_t state;
};

/* A permutation of all 64-bit numbers without visible order. */
static inline uint64_t random_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static inline void random_seed(struct random *self, uint64_t seed)
{
	self->state = random_mix(seed);
}

static inline uint64_t random_next(struct random *self)
{
	return random_mix(self->state += 0x9e3779b97f4a7c15);
}

/* From 0 to bound - 1. */
static inline uint64_t random_below(struct random *self, uint64_t bound)
{
	return (uint64_t)((unsigned __int128)random_next(self) * bound >> 64);
}

#endif
