/* SPDX-License-Identifier: Apache-2.0 */
#include "node/object/key.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "engine/engine.h"
#include "node/object/bytes.h"
#include "node/object/limit.h"

enum { KEY_SPACE_AT = 2, KEY_BUCKET_SIZE_AT = 3, KEY_HEAD_SIZE = 5 };

_Static_assert(KEY_HEAD_SIZE + LIMIT_BUCKET_SIZE + LIMIT_KEY_SIZE <= ENGINE_KEY_MAX, "the engine takes every key");

static bool sizes_valid(size_t bucket_size, size_t key_size)
{
	return bucket_size > 0 && bucket_size <= LIMIT_BUCKET_SIZE && key_size > 0 && key_size <= LIMIT_KEY_SIZE;
}

int key_encode(uint16_t partition, struct rpc_slice bucket, struct rpc_slice key, struct arena *arena,
	       struct rpc_slice *out)
{
	size_t size = KEY_HEAD_SIZE + bucket.size + key.size;
	uint8_t *bytes;

	if (!sizes_valid(bucket.size, key.size))
		return -EINVAL;
	bytes = rpc_arena_alloc(arena, size);
	if (bytes == NULL)
		return -ENOMEM;
	assert(size <= ENGINE_KEY_MAX);
	bytes_put_be16(bytes, partition);
	bytes[KEY_SPACE_AT] = KEY_SPACE_OBJECT;
	bytes_put_be16(bytes + KEY_BUCKET_SIZE_AT, (uint16_t)bucket.size);
	memcpy(bytes + KEY_HEAD_SIZE, bucket.data, bucket.size);
	memcpy(bytes + KEY_HEAD_SIZE + bucket.size, key.data, key.size);
	*out = (struct rpc_slice){bytes, size};
	return 0;
}

int key_decode(struct rpc_slice engine_key, uint16_t *partition_out, struct rpc_slice *bucket_out,
	       struct rpc_slice *key_out)
{
	const uint8_t *bytes = engine_key.data;
	size_t bucket_size;

	if (engine_key.size < KEY_HEAD_SIZE || bytes[KEY_SPACE_AT] != KEY_SPACE_OBJECT)
		return -EBADMSG;
	bucket_size = bytes_be16_at(bytes + KEY_BUCKET_SIZE_AT);
	if (bucket_size > engine_key.size - KEY_HEAD_SIZE ||
	    !sizes_valid(bucket_size, engine_key.size - KEY_HEAD_SIZE - bucket_size))
		return -EBADMSG;
	*partition_out = key_partition(engine_key);
	*bucket_out = (struct rpc_slice){bytes + KEY_HEAD_SIZE, bucket_size};
	*key_out =
		(struct rpc_slice){bytes + KEY_HEAD_SIZE + bucket_size, engine_key.size - KEY_HEAD_SIZE - bucket_size};
	return 0;
}

uint16_t key_partition(struct rpc_slice engine_key)
{
	return bytes_be16_at(engine_key.data);
}
