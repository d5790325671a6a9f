/* SPDX-License-Identifier: Apache-2.0 */
#include "node/actor/event.h"

#include <assert.h>

void effects_init(struct effects *effects, struct arena *arena)
{
	assert(arena != NULL);
	*effects = (struct effects){.arena = arena, .timer_us = UINT64_MAX};
}

void effects_send(struct effects *effects, struct message *message)
{
	assert(message != NULL);
	message_list_add(&effects->messages, message);
}

void effects_note(struct effects *effects, const struct note *note)
{
	struct note *copy = rpc_arena_copy(effects->arena, note, sizeof *note);

	assert((unsigned)note->kind < NOTE_KIND_COUNT);
	if (copy == NULL)
		return;
	copy->next = NULL;
	if (effects->first_note == NULL)
		effects->first_note = copy;
	else
		effects->last_note->next = copy;
	effects->last_note = copy;
}

/* splitmix64 (Steele, Lea, Flood 2014): spreads any seed, 0 too, over the state. */
static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void prng_seed(struct prng *prng, uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		prng->state[i] = splitmix(&seed);
}

static uint64_t rotate_left(uint64_t value, unsigned by)
{
	return value << by | value >> (64 - by);
}

/* xoshiro256** (Blackman, Vigna 2018). */
uint64_t prng_next(struct prng *prng)
{
	uint64_t *s = prng->state;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	assert((s[0] | s[1] | s[2] | s[3]) != 0); /* seeded */
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rotate_left(s[3], 45);
	return result;
}

/* Uniform: draws again in the short last stretch that would favour small numbers (Lemire 2019). */
uint64_t prng_below(struct prng *prng, uint64_t bound)
{
	unsigned __int128 product;

	assert(bound > 0);
	do {
		product = (unsigned __int128)prng_next(prng) * bound;
	} while ((uint64_t)product < (0 - bound) % bound);
	assert((uint64_t)(product >> 64) < bound);
	return (uint64_t)(product >> 64);
}
