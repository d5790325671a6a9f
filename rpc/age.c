/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/age.h"

static void turn_window(struct rpc_age *self, uint64_t now_us)
{
	bool skipped = now_us >= self->window_end_us + RPC_AGE_WINDOW_US;

	self->least[1] = self->least[0];
	self->known[1] = self->known[0] && !skipped;
	self->known[0] = false;
	self->window_end_us = now_us + RPC_AGE_WINDOW_US;
}

/* Differences of unrelated clocks: only how they compare to each other means something. */
static bool is_less(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

uint64_t rpc_stall_age(const struct rpc_stall *stall, uint64_t opened_us, uint64_t now_us)
{
	bool over = stall->end_us == 0 || now_us > stall->end_us + RPC_STALL_GRACE_US;
	bool opened_later = opened_us > stall->end_us + RPC_STALL_BACKLOG_US;

	return over || opened_later ? 0 : now_us - stall->begin_us;
}

bool rpc_age_take(struct rpc_age *self, uint64_t sent_us, uint64_t now_us, uint64_t *age_us_out)
{
	uint64_t apart = now_us - sent_us;

	*age_us_out = 0;
	if (sent_us == 0)
		return false;
	if (now_us >= self->window_end_us)
		turn_window(self, now_us);
	bool comparable = self->known[0] || self->known[1];
	if (!self->known[0] || is_less(apart, self->least[0]))
		self->least[0] = apart;
	self->known[0] = true;
	uint64_t least = self->known[1] && is_less(self->least[1], self->least[0]) ? self->least[1] : self->least[0];
	*age_us_out = apart - least;
	return comparable;
}
