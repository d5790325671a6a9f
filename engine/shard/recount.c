/* SPDX-License-Identifier: Apache-2.0 */
/* Recount: the hash trees from the entries, when the saved ones are damaged. The caller gives the function that hashes an entry
 * (engine_options.hash_entry). It happens while the shard is opened: the tables hold what the saved trees stood for, and the log is
 * replayed on top as ever. One partition at a time: a damaged block costs the partitions it can hold keys of, and no others.
 */
#include "engine/shard/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/merge/merge.h"
#include "engine/partition/partition.h"

struct recount {
	struct shard *shard;
	struct merge merge; /* of all tables */
	struct engine_error why;
};

static int count_entry(struct recount *it, uint16_t partition)
{
	const struct engine_options *options = &it->shard->options;
	struct engine_slice key = merge_key(&it->merge);
	uint32_t leaf = engine_tree_leaf(key);
	uint64_t hash;
	int error;

	if (merge_type(&it->merge) == ENTRY_DELETE)
		return 0;
	error = options->hash_entry(options->hash_arg, key, merge_value(&it->merge), &hash);
	if (error == -EBADMSG)
		return format_error(&it->why, error, "an entry of partition %u cannot be hashed", partition);
	if (error == 0)
		error = hashtree_prepare(&it->shard->tree, partition, leaf);
	if (error == 0)
		hashtree_apply(&it->shard->tree, partition, leaf, hash);
	return error;
}

/* Counts the first partition that has entries, from *partition_inout on. 1: and sets the partition that comes next; 0: there is
 * none; on -EBADMSG *partition_inout is the one that cannot be counted. */
static int count_partition(struct recount *it, uint32_t *partition_inout)
{
	uint8_t begin[PARTITION_SIZE];
	int found = merge_seek(&it->merge, partition_start((uint16_t)*partition_inout, begin));

	if (found != 1)
		return found;
	*partition_inout = partition_of(merge_key(&it->merge));
	while (found == 1 && partition_of(merge_key(&it->merge)) == *partition_inout) {
		int error = count_entry(it, (uint16_t)*partition_inout);

		if (error)
			return error;
		found = merge_next(&it->merge);
	}
	if (found < 0)
		return found;
	++*partition_inout;
	return 1;
}

static int give_up(struct recount *it, uint32_t partition, const struct engine_error *found)
{
	struct partition_row row = {partition, partition, 1};
	struct shard *shard = it->shard;
	struct engine_error reason;

	hashtree_zero(&shard->tree, (uint16_t)partition);
	if (partition % shard->options.shard_count != shard->files.shard_index)
		return 0;
	format_error(
		&reason, -EBADMSG,
		"%.200s, and partition %u cannot be recounted: %.200s; it is quarantined: drop and refill it from its "
		"replicas",
		found->text, partition, it->why.text);
	return quarantine_extend(&shard->state.quarantine, &row, &reason);
}

static int count_all(struct recount *it, const struct engine_error *found)
{
	uint32_t partition = 0;
	int error = 1;

	while (error == 1 && partition <= UINT16_MAX) {
		error = count_partition(it, &partition);
		if (error == -EBADMSG) {
			error = give_up(it, partition, found);
			error = error ? error : 1;
			partition++;
		}
	}
	return error < 0 ? error : 0;
}

int shard_recount(struct shard *shard, const struct engine_error *found)
{
	struct recount it = {.shard = shard};
	struct tables *tables;
	int error = tables_create(&shard->state, &tables);

	assert(shard->options.hash_entry != NULL);
	assert(shard->retired_count == 0);
	if (error)
		return error;
	error = merge_init(&it.merge, tables->run_count, tables->drops, &it.why);
	if (error == 0) {
		it.merge.quarantine = tables->quarantine;
		for (size_t i = 0; i < tables->run_count; i++)
			merge_add_tables(&it.merge, tables->runs[i].ssts, tables->runs[i].table_count, true);
		error = count_all(&it, found);
		merge_fini(&it.merge);
	}
	tables_unref(&tables);
	/* The manifest goes on naming the damaged file, so that the next opening counts again, until a flush saves new trees. */
	shard->is_tree_changed = true;
	shard->stats.tree_recounts++;
	return error;
}
