/* SPDX-License-Identifier: Apache-2.0 */
/* Hash trees: one per partition, over its live entries.
 *
 * Leaf = XOR of the hashes the caller hands in for the entries of that leaf; branches and root XOR their children. A
 * change is one number, XORed into leaf, branch and root. After Dynamo 4.7; the shape is fixed: 256 branches of 64
 * leaves.
 *
 * Saved form  varint partition count, then per partition: varint partition, varint branch count, then per branch: u8
 * branch, u64 bitmap of the leaves that are not zero, these leaves as u64 each.
 *
 * Threading   The shard's owner.
 * Errors      -ENOMEM: nothing changed. -EBADMSG from hashtree_load: the tree is then empty.
 * Invariants  H1 a branch is the XOR of its leaves, the root the XOR of its branches.
 *             H2 keys_fixed and full_partitions are the sums over the partitions.
 */
#ifndef KVRING_ENGINE_HASHTREE_H
#define KVRING_ENGINE_HASHTREE_H

#include "engine/disk/buffer.h"
#include "engine/disk/format.h"

struct partition_tree;

struct hashtree {
	struct partition_tree **partitions; /* by number, NULL where all is zero */
	uint32_t count;
	uint64_t keys_fixed;      /* see hashtree_keys; in 1/65536 */
	uint32_t full_partitions; /* no leaf is zero there */
};

void hashtree_fini(struct hashtree *);
/* Makes sure that a later hashtree_apply to this leaf cannot fail. */
ENGINE_OK int hashtree_prepare(struct hashtree *, uint16_t partition, uint32_t leaf);
/* The leaf was prepared. */
void hashtree_apply(struct hashtree *, uint16_t partition, uint32_t leaf, uint64_t delta);
uint64_t hashtree_node(const struct hashtree *, uint16_t partition, uint32_t level, uint32_t index);
void hashtree_zero(struct hashtree *, uint16_t partition);
/* Zeroes the partitions all of whose keys lie in [begin, end). */
void hashtree_zero_range(struct hashtree *, struct engine_slice begin, struct engine_slice end);

/* How many keys the trees stand for, from the leaves that are not zero: to a few keys while a partition has hundreds, to a
 * percent while it has up to 50,000. -1 when no leaf of a partition is zero: it has about 150,000 or more. */
int64_t hashtree_keys(const struct hashtree *);

ENGINE_OK int hashtree_save(const struct hashtree *, struct buffer *out);
ENGINE_OK int hashtree_load(struct hashtree *, struct engine_slice saved);

#endif
