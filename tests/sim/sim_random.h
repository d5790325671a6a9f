/* SPDX-License-Identifier: Apache-2.0 */
/* Random: the simulator's generator. Small, seeded, the same on every machine.
 *
 * SplitMix64 (Steele, Lea, Flood 2014). Apart from node/event.h's generator, so that the simulated world draws nothing
 * from the generators of what it tests.
 *
 * Threading   Caller's memory.
 * Errors      None.
 */
#ifndef KVRING_TESTS_SIM_RANDOM_H
#define KVRING_TESTS_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
	uint64_t state;
};

static inline uint64_t sim_random_mix(uint64_t value)
{
	value ^= value >> 30;
	value *= 0xbf58476d1ce4e5b9u;
	value ^= value >> 27;
	value *= 0x94d049bb133111ebu;
	return value ^ value >> 31;
}

static inline void sim_random_seed(struct sim_random *random, uint64_t seed)
{
	random->state = sim_random_mix(seed + 0x9e3779b97f4a7c15u);
}

static inline uint64_t sim_random_next(struct sim_random *random)
{
	random->state += 0x9e3779b97f4a7c15u;
	return sim_random_mix(random->state);
}

/* 0 to bound - 1. The bias of a remainder is of no account here. */
static inline uint64_t sim_random_below(struct sim_random *random, uint64_t bound)
{
	return bound ? sim_random_next(random) % bound : 0;
}

static inline uint64_t sim_random_between(struct sim_random *random, uint64_t low, uint64_t high)
{
	return low + sim_random_below(random, high - low + 1);
}

static inline bool sim_random_permille(struct sim_random *random, uint32_t permille)
{
	return sim_random_below(random, 1000) < permille;
}

/* An independent generator, named by a number: drawing from one does not shift another. */
static inline struct sim_random sim_random_fork(const struct sim_random *random, uint64_t name)
{
	struct sim_random fork;
	sim_random_seed(&fork, random->state ^ sim_random_mix(name + 1));
	return fork;
}

#endif
