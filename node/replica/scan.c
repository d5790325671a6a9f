/* SPDX-License-Identifier: Apache-2.0 */
#include "node/replica/scan.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "node/object/bytes.h"
#include "node/object/key.h"
#include "node/object/limit.h"
#include "node/object/object.h"

enum { PARTITION_SIZE = 2, SPACE_AT = 2, SCRATCH_SIZE = 64 * 1024, DIGEST_SIZE = 24 };

/* One piece, as it fills. */
struct piece {
	const struct message *question;
	struct arena *arena;   /* of the answer */
	struct arena *scratch; /* of the digests */
	struct scanned_entry *entries;
	uint32_t count;
	size_t bytes, read; /* of the answer; of objects, for digests */
};

static struct rpc_slice rpc_slice(struct engine_slice slice)
{
	return (struct rpc_slice){slice.data, slice.size};
}

/* Is the iterator on an object of the partition? Anything else comes behind them all. */
static bool is_inside(const struct engine_iterator *iterator, uint16_t partition)
{
	struct rpc_slice key = rpc_slice(engine_iterator_key(iterator));
	return key_partition(key) == partition && key.size > SPACE_AT && key.data[SPACE_AT] == KEY_SPACE_OBJECT;
}

/* A quarantined partition behind this one stops the iterator too, at its end. */
static int end_of(const struct engine_iterator *iterator, int error, uint16_t partition)
{
	return error == -EBADMSG && engine_iterator_quarantined(iterator) > partition ? 0 : error;
}

static int read_digest(struct piece *self, struct rpc_slice object, uint64_t *out)
{
	struct object decoded;
	struct rpc_error why;
	int error = object_decode(object, self->scratch, &decoded, &why);
	if (error == 0)
		*out = object_digest(&decoded);
	return error;
}

static int add(struct piece *self, struct rpc_slice key, struct rpc_slice object)
{
	struct scanned_entry *entry = &self->entries[self->count];
	bool digest_only = self->question->scan.digest_only;
	*entry = (struct scanned_entry){.size = (uint32_t)object.size};
	if (digest_only) {
		int error = read_digest(self, object, &entry->digest);
		if (error < 0)
			return error;
	} else {
		entry->object = (struct rpc_slice){rpc_arena_copy(self->arena, object.data, object.size), object.size};
	}
	entry->key = (struct rpc_slice){rpc_arena_copy(self->arena, key.data, key.size), key.size};
	if (entry->key.data == NULL || (!digest_only && entry->object.data == NULL))
		return -ENOMEM;
	self->bytes += key.size + DIGEST_SIZE + (digest_only ? 0 : object.size);
	self->read += object.size;
	self->count++;
	return 0;
}

/* The first entry always fits. */
static bool fits(const struct piece *self, size_t key_size, size_t object_size)
{
	size_t most =
		self->question->scan.bytes_max < LIMIT_SCAN_SIZE ? self->question->scan.bytes_max : LIMIT_SCAN_SIZE;
	size_t more = key_size + DIGEST_SIZE + (self->question->scan.digest_only ? 0 : object_size);
	return self->count == 0 || (self->count < LIMIT_SCAN_ENTRIES && self->bytes + more <= most &&
				    self->read + object_size <= LIMIT_SCAN_READ_SIZE);
}

/* 1: the piece is full. 0: the partition ends here. */
static int fill(struct piece *self, struct engine_iterator *iterator)
{
	struct rpc_slice after = self->question->key;
	uint16_t partition = key_partition(after);
	int error = engine_iterator_seek(iterator, (struct engine_slice){after.data, after.size});
	if (error == 1 && engine_iterator_key(iterator).size == after.size &&
	    memcmp(engine_iterator_key(iterator).data, after.data, after.size) == 0)
		error = engine_iterator_next(iterator);
	while (error == 1 && is_inside(iterator, partition)) {
		struct rpc_slice key = rpc_slice(engine_iterator_key(iterator));
		struct rpc_slice object = rpc_slice(engine_iterator_value(iterator));
		if (!fits(self, key.size, object.size))
			return 1;
		error = add(self, key, object);
		if (error == 0)
			error = engine_iterator_next(iterator);
	}
	error = end_of(iterator, error, partition);
	return error < 0 ? error : 0;
}

static int read_piece(struct piece *self, struct shard *shard)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	int error = shard_snapshot(shard, &snapshot);
	if (error < 0)
		return error;
	error = engine_iterator_create(snapshot, &iterator);
	if (error == 0) {
		error = fill(self, iterator);
		engine_iterator_destroy(&iterator);
	}
	engine_snapshot_release(&snapshot);
	return error;
}

int scan_read(struct shard *shard, const struct message *question, struct scanned_body *out, struct arena *arena)
{
	uint16_t partition = key_partition(question->key);
	struct piece piece = {.question = question, .arena = arena};
	if (shard_quarantined(shard, partition) == partition)
		return -EBADMSG;
	*out = (struct scanned_body){.root = shard_tree_node(shard, partition, 0, 0)};
	out->same = question->scan.bytes_max > 0 && question->key.size == PARTITION_SIZE &&
		    question->scan.root == out->root;
	if (out->same || question->scan.bytes_max == 0) {
		out->done = out->same;
		return 0;
	}
	piece.entries = rpc_arena_alloc(arena, LIMIT_SCAN_ENTRIES * sizeof *piece.entries);
	piece.scratch = rpc_arena_create(SCRATCH_SIZE, SIZE_MAX);
	int error = piece.entries != NULL && piece.scratch != NULL ? read_piece(&piece, shard) : -ENOMEM;
	rpc_arena_unref(piece.scratch);
	out->entries = piece.entries;
	out->count = piece.count;
	out->done = error == 0;
	return error < 0 ? error : 0;
}

/* ---- what the ring gives to others ------------------------------------------------------------------------------- */

static bool has_data(const struct shard *shard, uint32_t partition)
{
	return shard_tree_node(shard, (uint16_t)partition, 0, 0) != 0 ||
	       shard_quarantined(shard, partition) == (int32_t)partition;
}

enum replica_status scan_find_spare(const struct shard *shard, const struct ring_view *view, uint64_t epoch,
				    uint32_t shard_index, uint32_t shard_count, struct scan_spare *out)
{
	*out = (struct scan_spare){0};
	if (view->document == NULL || view->self < 0 || ring_epoch(view->document) != epoch ||
	    ring_transition(view->document) != RING_STABLE)
		return REPLICA_STALE_RING;
	uint32_t end = ring_partition_count(view->document);
	bool open = false; /* the row that is to go first */
	for (uint32_t partition = shard_index; partition < end; partition += shard_count) {
		bool owned = ring_owns(view->document, partition, (uint32_t)view->self);
		open = open && !owned;
		if (owned || !has_data(shard, partition))
			continue;
		if (out->left++ == 0) {
			out->begin = partition;
			open = true;
		}
		if (open) {
			out->count++;
			out->end = partition + 1;
		}
	}
	return REPLICA_OK;
}

int scan_drop(struct shard *shard, const struct scan_spare *spare)
{
	uint8_t begin[PARTITION_SIZE], end[PARTITION_SIZE];
	assert(spare->begin < spare->end && spare->end <= RING_PARTITIONS_MAX);
	bytes_put_be16(begin, (uint16_t)spare->begin);
	bytes_put_be16(end, (uint16_t)spare->end);
	/* An end of size 0 is that of all keys. */
	return shard_drop_range(shard, (struct engine_slice){begin, sizeof begin},
				(struct engine_slice){end, spare->end < RING_PARTITIONS_MAX ? sizeof end : 0});
}
