/* SPDX-License-Identifier: Apache-2.0 */
/* Adaptive radix tree: the ordered index of a memtable.
 *
 * After Leis, Kemper, Neumann, "The Adaptive Radix Tree" (ICDE 2013): inner nodes of 4, 16, 48 or 256 children, one per
 * byte of the key, with the bytes that all keys below share kept in the node (path compression). It differs in two
 * ways: a key may be the prefix of another (a node has room for the key that ends at it), and readers run beside the
 * writer.
 *
 * Threading   One writer. Any number of readers beside it, without locks: a node is only ever extended by one child,
 *             the count published last, or replaced by a copy, the pointer to it published last. What was replaced
 *             stays readable until the region is freed, so a reader sees every leaf that was there when it began.
 * Ownership   Nodes and leaves live in the region that the writer passes in. Nothing is freed singly.
 * Errors      -ENOMEM, the tree is then as it was.
 */
#ifndef KVRING_ENGINE_ART_H
#define KVRING_ENGINE_ART_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/memory/region.h"
#include "engine/engine.h"

/* One key. The holder's data hangs on `head`, which is NULL in a leaf just made. */
struct art_leaf {
	_Atomic(void *) head;
	uint32_t key_size;
	uint8_t key[];
};

/* A pointer to a node, or to a leaf with the lowest bit set; 0 is none. */
typedef _Atomic(uintptr_t) art_link;

struct art {
	art_link root;
};

/* The leaf of the key, made when absent. spare bytes are allocated right behind a new leaf, 8-aligned, and *spare_out
 * points at them; it is NULL when the leaf was there before. */
ENGINE_OK int art_insert(struct art *, struct region *, struct engine_slice key, size_t spare,
			 struct art_leaf **leaf_out, void **spare_out);
struct art_leaf *art_find(const struct art *, struct engine_slice key);
/* The first leaf >= key, or > key when strict. */
struct art_leaf *art_seek(const struct art *, struct engine_slice key, bool strict);
/* The last leaf <= key, or < key when strict. */
struct art_leaf *art_seek_back(const struct art *, struct engine_slice key, bool strict);
struct art_leaf *art_last(const struct art *);

static inline struct engine_slice art_leaf_key(const struct art_leaf *leaf)
{
	return (struct engine_slice){leaf->key, leaf->key_size};
}

#endif
