/* SPDX-License-Identifier: Apache-2.0 */
/* The shard's invariants, asserted after each step of its owner. Counts and ends only: a step costs a few loads more. */
#include "engine/shard/shard.h"

#include <assert.h>

/* D1, D2. */
static void check_log(const struct shard *shard)
{
	const struct wal *log = shard->log;

	assert((shard->pending_count == 0) == (shard->pending.size == 0));
	assert(log->last_sequence + shard->pending_count == shard->sequence);
	assert(log->size >= FORMAT_HEADER_SIZE);
	assert(log->number >= shard->state.log_floor);
	assert(shard->retired_count == 0 || shard->retired[shard->retired_count - 1].last_log < log->number);
	assert(shard->next_log == NULL || shard->next_log->size == 0);
	assert(shard->next_log == NULL || shard->next_log->number > log->number);
}

/* D3. */
static void check_unsynced(const struct shard *shard)
{
	for (const struct wal *log = shard->unsynced; log != NULL; log = log->next) {
		assert(!log->is_synced);
		assert(log->number < (log->next ? log->next->number : shard->log->number));
		assert(log->last_sequence > shard->state.flushed_sequence);
	}
}

/* D2. */
static void check_memtables(const struct shard *shard)
{
	uint64_t flushed = shard->state.flushed_sequence;

	assert(shard->view->memtable_count == shard->retired_count + 1);
	for (size_t i = 0; i < shard->retired_count; i++) {
		const struct retired *retired = &shard->retired[i];

		assert(retired->last_sequence >= flushed);
		assert(retired->first_log <= retired->last_log);
		assert(i == 0 || shard->retired[i - 1].last_log <= retired->first_log);
		assert(shard->view->memtables[shard->retired_count - i] == retired->memtable);
		flushed = retired->last_sequence;
	}
	assert(flushed <= shard->sequence);
}

void shard_check(const struct shard *shard)
{
	if (shard->is_dead)
		return;
	assert(shard->durable_sequence <= shard->sequence);
	assert(shard->durable_sequence >= shard->state.flushed_sequence);
	assert(!shard->is_flushing || shard->retired_count > 0);
	assert(shard->scrub.number <= shard->scrub.end);
	assert(shard->view->tables->table_count == shard->state.table_count);
	assert(shard->compaction_count <= ENGINE_JOBS_MAX);
	check_memtables(shard);
	if (shard->recovery != NULL)
		return; /* nothing can be written yet */
	assert(shard->manifest != NULL);
	check_log(shard);
	check_unsynced(shard);
}
