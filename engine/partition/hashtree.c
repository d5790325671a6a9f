/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/partition/hashtree.h"
#include "engine/disk/buffer.h"
#include "engine/partition/partition.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum { LEAVES = ENGINE_TREE_BRANCHES * ENGINE_TREE_LEAVES };

struct partition_tree {
	uint64_t root;
	uint64_t branches[ENGINE_TREE_BRANCHES];
	uint64_t *leaves[ENGINE_TREE_BRANCHES]; /* ENGINE_TREE_LEAVES each, NULL where all are zero */
	uint32_t filled;                        /* leaves that are not zero */
	uint64_t keys_fixed;
};

/* A seed of its own: the hash must not agree with those that choose partition or filter line. */
uint32_t engine_tree_leaf(struct engine_slice key)
{
	return (uint32_t)(XXH3_64bits_withSeed(key.data, key.size, 0x6b7672696e67) % LEAVES);
}

static void partition_free(struct partition_tree *tree)
{
	for (unsigned i = 0; tree != NULL && i < ENGINE_TREE_BRANCHES; i++)
		free(tree->leaves[i]);
	free(tree);
}

void hashtree_fini(struct hashtree *trees)
{
	for (uint32_t i = 0; i < trees->count; i++)
		partition_free(trees->partitions[i]);
	free(trees->partitions);
	*trees = (struct hashtree){0};
}

static int grow(struct hashtree *trees, uint32_t count)
{
	struct partition_tree **partitions;

	if (count <= trees->count)
		return 0;
	partitions = realloc(trees->partitions, count * sizeof(struct partition_tree *));
	if (partitions == NULL)
		return -ENOMEM;
	memset(partitions + trees->count, 0, (count - trees->count) * sizeof(struct partition_tree *));
	trees->partitions = partitions;
	trees->count = count;
	return 0;
}

int hashtree_prepare(struct hashtree *trees, uint16_t partition, uint32_t leaf)
{
	struct partition_tree **tree;
	uint64_t **leaves;

	assert(leaf < LEAVES);
	if (grow(trees, partition + 1u))
		return -ENOMEM;
	tree = &trees->partitions[partition];
	if (*tree == NULL && (*tree = calloc(1, sizeof **tree)) == NULL)
		return -ENOMEM;
	leaves = &(*tree)->leaves[leaf / ENGINE_TREE_LEAVES];
	if (*leaves == NULL && (*leaves = calloc(ENGINE_TREE_LEAVES, sizeof **leaves)) == NULL)
		return -ENOMEM;
	return 0;
}

/* Linear counting (Whang, Vander-Zanden, Taylor 1990), leaf by leaf: while `filled` of the leaves are taken, this many keys are
 * needed on average until one meets a free leaf. */
static uint64_t keys_per_leaf(uint32_t filled)
{
	assert(filled < LEAVES);
	return ((uint64_t)LEAVES << 16) / (LEAVES - filled);
}

static void count_leaf(struct hashtree *trees, struct partition_tree *tree, bool is_filled)
{
	assert(is_filled ? tree->filled < LEAVES : tree->filled > 0);
	uint64_t keys = keys_per_leaf(is_filled ? tree->filled : tree->filled - 1);

	trees->full_partitions -= tree->filled == LEAVES;
	tree->filled += is_filled ? 1 : -1u;
	tree->keys_fixed += is_filled ? keys : -keys;
	trees->keys_fixed += is_filled ? keys : -keys;
	trees->full_partitions += tree->filled == LEAVES;
	assert(trees->keys_fixed >= tree->keys_fixed); /* H2 */
}

int64_t hashtree_keys(const struct hashtree *trees)
{
	return trees->full_partitions ? -1 : (int64_t)((trees->keys_fixed + (1 << 15)) >> 16);
}

void hashtree_apply(struct hashtree *trees, uint16_t partition, uint32_t leaf, uint64_t delta)
{
	struct partition_tree *tree;
	uint64_t *hash;
	bool was_filled;

	assert(partition < trees->count);
	assert(leaf < LEAVES);
	tree = trees->partitions[partition];
	hash = &tree->leaves[leaf / ENGINE_TREE_LEAVES][leaf % ENGINE_TREE_LEAVES];
	was_filled = *hash != 0;
	*hash ^= delta;
	if (was_filled != (*hash != 0))
		count_leaf(trees, tree, !was_filled);
	tree->branches[leaf / ENGINE_TREE_LEAVES] ^= delta;
	tree->root ^= delta;
}

uint64_t hashtree_node(const struct hashtree *trees, uint16_t partition, uint32_t level, uint32_t index)
{
	const struct partition_tree *tree = partition < trees->count ? trees->partitions[partition] : NULL;
	const uint64_t *leaves;

	assert(level <= 2);
	assert(index < (level == 0 ? 1u : level == 1 ? (unsigned)ENGINE_TREE_BRANCHES : (unsigned)LEAVES));
	if (tree == NULL)
		return 0;
	if (level == 0)
		return tree->root;
	if (level == 1)
		return tree->branches[index];
	leaves = tree->leaves[index / ENGINE_TREE_LEAVES];
	return leaves != NULL ? leaves[index % ENGINE_TREE_LEAVES] : 0;
}

void hashtree_zero(struct hashtree *trees, uint16_t partition)
{
	if (partition >= trees->count)
		return;
	struct partition_tree *tree = trees->partitions[partition];
	if (tree != NULL) {
		trees->keys_fixed -= tree->keys_fixed;
		trees->full_partitions -= tree->filled == LEAVES;
	}
	partition_free(tree);
	trees->partitions[partition] = NULL;
}

void hashtree_zero_range(struct hashtree *trees, struct engine_slice begin, struct engine_slice end)
{
	for (uint32_t partition = 0; partition < trees->count; partition++)
		if (partition_is_within((uint16_t)partition, begin, end))
			hashtree_zero(trees, (uint16_t)partition);
}

static uint64_t leaf_bitmap(const uint64_t *leaves)
{
	uint64_t bitmap = 0;

	for (unsigned i = 0; leaves != NULL && i < ENGINE_TREE_LEAVES; i++)
		bitmap |= (uint64_t)(leaves[i] != 0) << i;
	return bitmap;
}

static int save_branch(const uint64_t *leaves, uint8_t branch, struct buffer *out)
{
	uint64_t bitmap = leaf_bitmap(leaves);
	int error = buffer_append(out, &branch, 1);

	if (error == 0)
		error = buffer_append_u64(out, bitmap);
	for (unsigned i = 0; error == 0 && i < ENGINE_TREE_LEAVES; i++) {
		if (bitmap >> i & 1)
			error = buffer_append_u64(out, leaves[i]);
	}
	return error;
}

static int save_partition(const struct partition_tree *tree, uint32_t partition, struct buffer *out)
{
	unsigned branch_count = 0;
	int error;

	for (unsigned i = 0; i < ENGINE_TREE_BRANCHES; i++)
		branch_count += leaf_bitmap(tree->leaves[i]) != 0;
	error = buffer_append_varint(out, partition);
	if (error == 0)
		error = buffer_append_varint(out, branch_count);
	for (unsigned i = 0; error == 0 && i < ENGINE_TREE_BRANCHES; i++) {
		if (leaf_bitmap(tree->leaves[i]))
			error = save_branch(tree->leaves[i], (uint8_t)i, out);
	}
	return error;
}

int hashtree_save(const struct hashtree *trees, struct buffer *out)
{
	uint32_t count = 0;
	int error;

	for (uint32_t i = 0; i < trees->count; i++)
		count += trees->partitions[i] != NULL;
	error = buffer_append_varint(out, count);
	for (uint32_t i = 0; error == 0 && i < trees->count; i++) {
		if (trees->partitions[i] != NULL)
			error = save_partition(trees->partitions[i], i, out);
	}
	return error;
}

static int load_branch(struct hashtree *trees, uint16_t partition, struct buffer_reader *reader)
{
	struct engine_slice number = buffer_read_bytes(reader, 1);
	uint64_t bitmap = buffer_read_u64(reader);

	if (reader->bad)
		return -EBADMSG;
	for (unsigned i = 0; i < ENGINE_TREE_LEAVES; i++) {
		uint32_t leaf = *(const uint8_t *)number.data * ENGINE_TREE_LEAVES + i;

		if (!(bitmap >> i & 1))
			continue;
		if (hashtree_prepare(trees, partition, leaf))
			return -ENOMEM;
		hashtree_apply(trees, partition, leaf, buffer_read_u64(reader));
	}
	return reader->bad ? -EBADMSG : 0;
}

int hashtree_load(struct hashtree *trees, struct engine_slice saved)
{
	struct buffer_reader reader = {saved.data, (const uint8_t *)saved.data + saved.size, false};
	uint64_t count = buffer_read_varint(&reader);
	int error = 0;

	for (uint64_t i = 0; error == 0 && i < count; i++) {
		uint64_t partition = buffer_read_varint(&reader);
		uint64_t branch_count = buffer_read_varint(&reader);

		if (reader.bad || partition > UINT16_MAX || branch_count > ENGINE_TREE_BRANCHES)
			error = -EBADMSG;
		for (uint64_t j = 0; error == 0 && j < branch_count; j++)
			error = load_branch(trees, (uint16_t)partition, &reader);
	}
	if (error == 0 && (reader.bad || reader.at != reader.end))
		error = -EBADMSG;
	if (error)
		hashtree_fini(trees);
	return error;
}
