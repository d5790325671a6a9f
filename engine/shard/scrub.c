/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/shard/shard.h"

#include <assert.h>
#include <errno.h>

/* The table of the round that comes next, by number; NULL when there is none. */
static struct sst *next_table(const struct shard *shard)
{
	const struct tables *tables = shard->view->tables;
	struct sst *next = NULL;

	for (size_t i = 0; i < tables->table_count; i++) {
		struct sst *sst = tables->ssts[i];
		uint64_t number = sst->meta.number;

		if (number >= shard->scrub.number && number < shard->scrub.end &&
		    (next == NULL || number < next->meta.number))
			next = sst;
	}
	return next;
}

int shard_scrub(struct shard *shard, struct engine_job **out)
{
	struct sst *sst;
	int error = shard->is_dead ? -EIO : shard_quarantine_noted(shard);

	*out = NULL;
	if (error || shard->scrub.is_out)
		return error;
	if (!shard->scrub.number) {
		shard->scrub.number = 1;
		shard->scrub.block = 0;
		shard->scrub.end = atomic_load(&shard->next_number);
	}
	sst = next_table(shard);
	if (sst == NULL) {
		shard->scrub.number = 0;
		shard->stats.scrub_rounds++;
		return 0;
	}
	*out = shard_job(shard, JOB_SCRUB);
	if (*out == NULL)
		return -ENOMEM;
	(*out)->scrubbed = sst;
	(*out)->next_block = sst->meta.number == shard->scrub.number ? shard->scrub.block : 0;
	shard->scrub.is_out = true;
	return 0;
}

int shard_scrub_done(struct shard *shard, const struct engine_job *job)
{
	bool is_read = job->next_block == job->scrubbed->block_count;

	assert(job->next_block <= job->scrubbed->block_count);
	shard->stats.scrub_bytes_read += job->bytes_read;
	shard->scrub.number = job->scrubbed->meta.number + is_read;
	shard->scrub.block = is_read ? 0 : job->next_block;
	if (job->error)
		shard->error = job->text;
	if (job->error && job->error != -EBADMSG)
		return job->error; /* the block is tried again */
	return shard->is_dead ? -EIO : shard_quarantine_noted(shard);
}
