/* SPDX-License-Identifier: Apache-2.0 */
#include "node/replica/identity.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include "engine/fs.h"
#include "node/object/bytes.h"

enum { RECORD_VERSION = 1, RECORD_ACTOR = 4, RECORD_SIZE = 20 };

/* I1. */
static int take(struct identity *self, struct dot first)
{
	uint8_t record[RECORD_SIZE] = {RECORD_VERSION};
	bytes_put_u64(record + RECORD_ACTOR, first.actor);
	int error = shard_meta_set(self->shard, record, sizeof record);
	assert(first.actor != 0);
	assert(first.counter > 0);
	self->spent = error < 0;
	if (error < 0)
		return error;
	self->actor = first.actor;
	self->counter_next = first.counter;
	return 0;
}

int identity_renew(struct identity *self)
{
	uint64_t actor;
	do
		actor = prng_next(&self->prng);
	while (actor == 0 || actor == self->actor);
	return take(self, (struct dot){actor, 1});
}

/* Reads which actor the last start took. */
static int read_record(struct identity *self, struct rpc_error *error_out)
{
	struct engine_slice record;
	shard_meta_get(self->shard, &record);
	const uint8_t *bytes = record.data;
	if (record.size == 0)
		return 0;
	if (record.size == RECORD_SIZE && bytes[0] == RECORD_VERSION) {
		self->actor = bytes_u64_at(bytes + RECORD_ACTOR);
		return 0;
	}
	snprintf(error_out->text, sizeof error_out->text,
		 "the actor record of a shard has version %u and %zu bytes, this program knows version %d of %d bytes: "
		 "run the program that wrote this directory, or a newer one",
		 bytes[0], record.size, RECORD_VERSION, RECORD_SIZE);
	return -EBADMSG;
}

int identity_open(struct identity *self, struct shard *shard, uint64_t seed, struct dot first,
		  struct rpc_error *error_out)
{
	*self = (struct identity){.shard = shard};
	prng_seed(&self->prng, seed);
	int error = read_record(self, error_out);
	if (error < 0)
		return error;
	error = first.actor != 0 ? take(self, first) : identity_renew(self);
	/* It reads, and issues dots when there is room for the record. */
	return fs_is_passing(error) ? 0 : error;
}

int identity_note(struct identity *self, uint64_t counter)
{
	if (counter >= self->counter_next)
		self->spent = true;
	return self->spent ? identity_renew(self) : 0;
}

struct dot identity_next(struct identity *self)
{
	assert(self->actor != 0);
	assert(!self->spent);
	assert(self->counter_next > 0);
	return (struct dot){self->actor, self->counter_next++};
}
