/* SPDX-License-Identifier: Apache-2.0 */
/* What a replica tells: operators by notes, and the figures of its shard. */
#include "node/replica/tell.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

enum { FIGURES_US = 100 * 1000 }; /* figures are read so often while there is work, and once more after it */

static const char *copy_text(const char *text, struct effects *out)
{
	return text[0] ? rpc_arena_printf(out->arena, "%s", text) : NULL;
}

void replica_tell_failures(struct replica_tell *self, struct effects *out)
{
	if (self->store_errors > 0)
		effects_note(out, &(struct note){.kind = NOTE_STORE_FAILED,
						 .shard = self->index,
						 .count = self->store_errors,
						 .text = copy_text(shard_error(self->shard), out)});
	if (self->job_errors > 0)
		effects_note(out, &(struct note){.kind = NOTE_JOB_FAILED,
						 .shard = self->index,
						 .count = self->job_errors,
						 .text = copy_text(shard_error(self->shard), out)});
	self->store_errors = self->job_errors = 0;
}

void replica_tell_log(const struct replica_tell *self, int error, struct effects *out)
{
	assert(error < 0);
	bool passes = error == -ENOSPC || error == -ENOMEM;
	effects_note(out, &(struct note){.kind = passes ? NOTE_LOG_FULL : NOTE_LOG_FAILED,
					 .shard = self->index,
					 .error = error,
					 .text = copy_text(shard_error(self->shard), out)});
}

static void tell_quarantine(struct replica_tell *self, uint32_t quarantined, struct effects *out)
{
	assert(self->shard != NULL);
	if (quarantined == self->quarantined)
		return;
	self->quarantined = quarantined;
	effects_note(out, &(struct note){.kind = NOTE_QUARANTINED,
					 .shard = self->index,
					 .count = quarantined,
					 .text = copy_text(shard_quarantine_reason(self->shard), out)});
}

static void store(_Atomic uint64_t *figure, uint64_t value)
{
	atomic_store_explicit(figure, value, memory_order_relaxed);
}

void replica_tell_figures(struct replica_tell *self, const struct event *event, struct effects *out)
{
	if (self->figures_us == 0 && event->type != EVENT_TIMER && event->type != EVENT_BATCH_END)
		self->figures_us = event->type == EVENT_START ? event->now_us : event->now_us + FIGURES_US;
	if (self->figures_us == 0 || event->now_us < self->figures_us)
		return;
	struct shard_stats stats;
	shard_stats(self->shard, &stats);
	store(&self->figures.keys, stats.keys_estimate);
	store(&self->figures.disk_bytes, stats.disk_bytes);
	store(&self->figures.memory_bytes, stats.memtable_bytes + stats.cache_bytes);
	atomic_store_explicit(&self->figures.pressure, shard_pressure(self->shard), memory_order_relaxed);
	atomic_store_explicit(&self->figures.quarantined, stats.quarantined_partitions, memory_order_relaxed);
	tell_quarantine(self, stats.quarantined_partitions, out);
	self->figures_us = 0;
}
