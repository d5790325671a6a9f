/* SPDX-License-Identifier: Apache-2.0 */
/* What is damaged is quarantined: recovery does it before the store opens, the owner's shard_maintain with what readers
 * and jobs have noted since. It ends when the partition is dropped (manifest.h). */
#include "engine/disk/buffer.h"
#include "engine/shard/shard.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/disk/batch.h"
#include "engine/partition/partition.h"

struct partition_row shard_partitions(const struct shard *shard)
{
	return (struct partition_row){shard->files.shard_index, UINT16_MAX, shard->options.shard_count};
}

int32_t shard_quarantined(const struct shard *shard, uint32_t from)
{
	return quarantine_first(shard->state.quarantine, from, UINT16_MAX);
}

const char *shard_quarantine_reason(const struct shard *shard)
{
	return shard->state.quarantine != NULL ? shard->state.quarantine->reason.text : "";
}

int shard_quarantine_check(struct shard *shard, const struct engine_batch *batch)
{
	struct buffer_reader reader = {batch->entries.data, batch->entries.data + batch->entries.size, false};
	struct wal_entry entry;

	while (wal_entry_next(&reader, &entry) == 1) {
		uint16_t partition = partition_of(entry.key);

		if (quarantine_has(shard->state.quarantine, partition))
			return quarantine_refuse(shard->state.quarantine, partition, &shard->error);
	}
	return 0;
}

/* ---- notes ----------------------------------------------------------------------------------------------------- */

static void describe(const struct sst *sst, uint32_t block_index, const struct partition_row *row,
		     struct engine_error *out)
{
	struct files_path path = files_path(&sst->files, FILE_TABLE, sst->meta.number);

	format_error(out, -EBADMSG,
		     "%s: the block at offset %" PRIu64
		     " is damaged; the shard's partitions from %u to %u can have keys "
		     "in it and are quarantined: drop and refill them from their replicas",
		     path.text, sst_block_offset(sst, block_index), row->first, row->last);
}

/* Adds the partitions that can be seen in the block. Those dropped since the table was written cannot. */
static int add_block(const struct shard *shard, const struct sst *sst, uint32_t block_index, struct quarantine **set)
{
	const struct tables_drops *drops = shard->view->tables->drops;
	struct partition_row row = sst_block_partitions(sst, block_index);
	struct engine_error reason;
	int error = 0;

	describe(sst, block_index, &row, &reason);
	for (uint32_t partition = row.first; error == 0 && partition <= row.last; partition += row.step) {
		struct partition_row one = {partition, partition, 1};

		if (!quarantine_has(*set, (uint16_t)partition) &&
		    !tables_drops_hide_partition(drops, sst->meta.drop_id, (uint16_t)partition))
			error = quarantine_extend(set, &one, &reason);
	}
	return error;
}

/* Tables that the store no longer uses do not count: what replaced them was read intact. */
static int collect_notes(struct shard *shard, struct quarantine **set)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < shard->state.table_count; i++) {
		struct sst *sst = shard->state.tables[i]->sst;
		uint32_t note = atomic_exchange_explicit(&sst->damaged_block, 0, memory_order_acquire);

		if (note)
			error = add_block(shard, sst, note - 1, set);
	}
	return error;
}

static int record(struct shard *shard, struct quarantine *set)
{
	struct manifest_edit edit = {.quarantine = set};
	struct manifest_state next;
	struct view *view;
	int error = manifest_state_change(&shard->state, &edit, &next);

	if (error)
		return error;
	error = shard_prepare_view(shard, &next, &view);
	if (error) {
		manifest_state_fini(&next);
		return error;
	}
	return shard_change(shard, &edit, &next, view);
}

int shard_quarantine_noted(struct shard *shard)
{
	struct quarantine *set;
	int error;

	/* When this fails the notes are lost, and made again by whoever reads the block next. */
	if (shard->recovery != NULL || !cache_take_damage(shard->cache))
		return 0;
	set = quarantine_ref(shard->state.quarantine);
	error = collect_notes(shard, &set);
	if (error == 0 && quarantine_count(set) > quarantine_count(shard->state.quarantine)) {
		shard->error = set->reason;
		error = record(shard, set);
	}
	quarantine_unref(&set);
	return error;
}
