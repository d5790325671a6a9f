/* SPDX-License-Identifier: Apache-2.0 */
#include "node/upkeep/progress.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "node/object/bytes.h"

enum { MAGIC_SIZE = 8, EPOCH_AT = 8, HASH_AT = 16, COUNT_AT = 24, BITS_AT = 28, CHECKSUM_SIZE = 8 };

static const uint8_t magic[MAGIC_SIZE] = {'k', 'v', 'r', 'i', 'n', 'g', 't', 'r'};

static size_t bits_size(const struct progress *self)
{
	return (self->partition_count + 7) / 8;
}

static size_t file_size(const struct progress *self)
{
	return BITS_AT + bits_size(self) + CHECKSUM_SIZE;
}

static bool is_whole(const uint8_t *bytes, size_t size)
{
	return size >= BITS_AT + CHECKSUM_SIZE && memcmp(bytes, magic, MAGIC_SIZE) == 0 &&
	       bytes_u64_at(bytes + size - CHECKSUM_SIZE) == XXH3_64bits(bytes, size - CHECKSUM_SIZE);
}

static void take(struct progress *self, const uint8_t *bytes, size_t size)
{
	bool whole = is_whole(bytes, size);
	self->resumed = !whole ||
			(bytes_u64_at(bytes + EPOCH_AT) == self->epoch && bytes_u64_at(bytes + HASH_AT) == self->hash);
	if (!whole || !self->resumed || size != file_size(self) ||
	    bytes_u32_at(bytes + COUNT_AT) != self->partition_count)
		return;
	memcpy(self->complete, bytes + BITS_AT, bits_size(self));
	self->is_stored = true;
}

int progress_open(struct progress *self, struct data_dir *data_dir, const struct ring_document *document)
{
	struct rpc_error why;
	uint8_t *bytes = NULL;
	size_t size = 0;
	*self = (struct progress){.epoch = ring_epoch(document),
				  .hash = ring_hash(document),
				  .partition_count = ring_partition_count(document)};
	self->complete = calloc(1, bits_size(self));
	if (self->complete == NULL)
		return -ENOMEM;
	int found = data_dir_transfer_load(data_dir, &bytes, &size, &why);
	if (found > 0)
		take(self, bytes, size);
	else
		self->resumed = found < 0; /* it cannot be read now */
	free(bytes);
	return 0;
}

void progress_distrust(struct progress *self)
{
	memset(self->complete, 0, bits_size(self));
	self->resumed = true;
	self->is_stored = false;
}

void progress_fini(struct progress *self)
{
	free(self->complete);
	*self = (struct progress){0};
}

bool progress_has(const struct progress *self, uint32_t partition)
{
	assert(partition < self->partition_count);
	return self->complete[partition / 8] >> partition % 8 & 1;
}

void progress_add(struct progress *self, uint32_t partition)
{
	assert(partition < self->partition_count);
	self->complete[partition / 8] |= (uint8_t)(1 << partition % 8);
	self->is_stored = false;
}

int progress_store(struct progress *self, struct data_dir *data_dir, struct rpc_error *error_out)
{
	size_t size = file_size(self);
	uint8_t *bytes = malloc(size);
	if (bytes == NULL)
		return -ENOMEM;
	bytes_put(bytes, magic, MAGIC_SIZE);
	bytes_put_u64(bytes + EPOCH_AT, self->epoch);
	bytes_put_u64(bytes + HASH_AT, self->hash);
	bytes_put_u32(bytes + COUNT_AT, self->partition_count);
	bytes_put(bytes + BITS_AT, self->complete, bits_size(self));
	bytes_put_u64(bytes + size - CHECKSUM_SIZE, XXH3_64bits(bytes, size - CHECKSUM_SIZE));
	int error = data_dir_transfer_store(data_dir, (struct rpc_slice){bytes, size}, error_out);
	free(bytes);
	self->is_stored = error == 0;
	return error;
}
