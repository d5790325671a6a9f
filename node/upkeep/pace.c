/* SPDX-License-Identifier: Apache-2.0 */
#include "node/upkeep/pace.h"

#include <assert.h>

void pace_init(struct pace *self, uint64_t bytes_per_s)
{
	*self = (struct pace){.bytes_per_s = bytes_per_s != 0 ? bytes_per_s : PACE_DEFAULT};
}

bool pace_is_free(const struct pace *self, uint64_t now_us)
{
	return now_us >= self->free_us;
}

/* All of the rate while the nodes are calm, and from there on in a straight line down to the least part. */
static uint64_t rate(const struct pace *self, uint32_t busy_permille)
{
	uint64_t least = self->bytes_per_s / PACE_LEAST_PART + 1;
	uint64_t room = busy_permille < 1000 ? 1000 - busy_permille : 0;
	if (busy_permille <= PACE_CALM_PERMILLE)
		return self->bytes_per_s;
	return least + (self->bytes_per_s - self->bytes_per_s / PACE_LEAST_PART) * room / (1000 - PACE_CALM_PERMILLE);
}

void pace_spend(struct pace *self, uint64_t bytes, uint32_t busy_permille, uint64_t now_us)
{
	assert(self->bytes_per_s > 0);
	if (self->free_us < now_us)
		self->free_us = now_us;
	self->free_us += bytes * 1000 * 1000 / rate(self, busy_permille);
}
