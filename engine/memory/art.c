/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/memory/art.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "engine/disk/format.h"

enum node_kind { NODE4, NODE16, NODE48, NODE256, NODE_KINDS };

struct art_node {
	uint8_t kind;
	_Atomic uint16_t count; /* children; published after the child */
	uint32_t prefix_size;
	const uint8_t *prefix;  /* in some leaf below */
	uint8_t prefix_head[8]; /* its first bytes, so that short ones cost no cache miss */
	art_link terminal;      /* leaf of the key that ends here */
};

/* Key bytes are packed in words, so that readers compare eight at once beside the writer that adds the next. */
struct art_node4 {
	struct art_node node;
	_Atomic uint64_t keys[1];
	art_link child[4];
};

struct art_node16 {
	struct art_node node;
	_Atomic uint64_t keys[2];
	art_link child[16];
};

struct art_node48 {
	struct art_node node;
	_Atomic uint8_t index[256]; /* 1 + position in child, 0 none */
	art_link child[48];
};

struct art_node256 {
	struct art_node node;
	art_link child[256];
};

static const size_t node_sizes[NODE_KINDS] = {sizeof(struct art_node4), sizeof(struct art_node16),
					      sizeof(struct art_node48), sizeof(struct art_node256)};
static const unsigned node_limits[NODE_KINDS] = {4, 16, 48, 256};

static bool link_is_leaf(uintptr_t link)
{
	return link & 1;
}

static struct art_leaf *link_leaf(uintptr_t link)
{
	return (struct art_leaf *)(link & ~(uintptr_t)1);
}

static struct art_node *link_node(uintptr_t link)
{
	return (struct art_node *)link;
}

static uintptr_t leaf_link(struct art_leaf *leaf)
{
	return (uintptr_t)leaf | 1;
}

static uintptr_t link_load(const art_link *link)
{
	return atomic_load_explicit((art_link *)link, memory_order_acquire);
}

static void link_store(art_link *link, uintptr_t value)
{
	atomic_store_explicit(link, value, memory_order_release);
}

static unsigned node_count(const struct art_node *node)
{
	return atomic_load_explicit(&((struct art_node *)node)->count, memory_order_acquire);
}

/* Position of byte among the first eight of a word, or 8. The lowest match of this classic test is always a true one.
 */
static unsigned word_find(uint64_t word, uint8_t byte)
{
	uint64_t x = word ^ (0x0101010101010101u * byte);
	uint64_t hits = (x - 0x0101010101010101u) & ~x & 0x8080808080808080u;

	return hits ? (unsigned)__builtin_ctzll(hits) / 8 : 8;
}

static uint64_t word_load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit((_Atomic uint64_t *)word, memory_order_relaxed);
}

static uint8_t small_key(const _Atomic uint64_t *keys, unsigned position)
{
	return (uint8_t)(word_load(&keys[position / 8]) >> (position % 8 * 8));
}

/* Arrays of the two small kinds. */
static _Atomic uint64_t *small_keys(const struct art_node *node)
{
	return node->kind == NODE4 ? ((struct art_node4 *)node)->keys : ((struct art_node16 *)node)->keys;
}

static art_link *small_children(const struct art_node *node)
{
	return node->kind == NODE4 ? ((struct art_node4 *)node)->child : ((struct art_node16 *)node)->child;
}

static art_link *small_find(const struct art_node *node, uint8_t byte)
{
	unsigned count = node_count(node);
	const _Atomic uint64_t *keys = small_keys(node);
	unsigned position = word_find(word_load(&keys[0]), byte);

	if (position == 8 && count > 8)
		position = 8 + word_find(word_load(&keys[1]), byte);
	return position < count ? &small_children(node)[position] : NULL;
}

static art_link *node_find(const struct art_node *node, uint8_t byte)
{
	if (node->kind <= NODE16)
		return small_find(node, byte);
	if (node->kind == NODE48) {
		struct art_node48 *wide = (struct art_node48 *)node;
		unsigned position = atomic_load_explicit(&wide->index[byte], memory_order_acquire);

		return position ? &wide->child[position - 1] : NULL;
	}
	struct art_node256 *full = (struct art_node256 *)node;

	return link_load(&full->child[byte]) ? &full->child[byte] : NULL;
}

/* The child with the smallest byte >= from (up) or the largest <= from (down), 0 when there is none. */
static uintptr_t small_next(const struct art_node *node, int from, bool up)
{
	unsigned count = node_count(node);
	const _Atomic uint64_t *keys = small_keys(node);
	int best = -1, best_byte = up ? 256 : -1;

	for (unsigned i = 0; i < count; i++) {
		int byte = small_key(keys, i);

		if (up ? byte >= from && byte < best_byte : byte <= from && byte > best_byte) {
			best = (int)i;
			best_byte = byte;
		}
	}
	return best < 0 ? 0 : link_load(&small_children(node)[best]);
}

static uintptr_t node_next(const struct art_node *node, int from, bool up)
{
	if (node->kind <= NODE16)
		return small_next(node, from, up);
	for (int byte = from; byte >= 0 && byte < 256; byte += up ? 1 : -1) {
		art_link *child = node_find(node, (uint8_t)byte);

		if (child)
			return link_load(child);
	}
	return 0;
}

static struct art_leaf *link_min(uintptr_t link)
{
	while (link && !link_is_leaf(link)) {
		struct art_node *node = link_node(link);
		uintptr_t terminal = link_load(&node->terminal);

		link = terminal ? terminal : node_next(node, 0, true);
	}
	return link ? link_leaf(link) : NULL;
}

static struct art_leaf *link_max(uintptr_t link)
{
	while (link && !link_is_leaf(link)) {
		struct art_node *node = link_node(link);
		uintptr_t child = node_next(node, 255, false);

		link = child ? child : link_load(&node->terminal);
	}
	return link ? link_leaf(link) : NULL;
}

/* How many bytes of the node's prefix the key has from depth on. */
static size_t prefix_match(const struct art_node *node, struct engine_slice key, size_t depth)
{
	size_t limit = key.size - depth < node->prefix_size ? key.size - depth : node->prefix_size;
	size_t head = limit < sizeof node->prefix_head ? limit : sizeof node->prefix_head;
	const uint8_t *bytes;
	size_t i = 0;

	if (!limit)
		return 0; /* the key may be no key at all, to seek the very first */
	bytes = (const uint8_t *)key.data + depth;
	while (i < head && bytes[i] == node->prefix_head[i])
		i++;
	if (i < head)
		return i;
	while (i < limit && bytes[i] == node->prefix[i])
		i++;
	return i;
}

static void node_set_prefix(struct art_node *node, const uint8_t *prefix, size_t size)
{
	assert(size <= ENGINE_KEY_MAX);
	node->prefix = prefix;
	node->prefix_size = (uint32_t)size;
	memcpy(node->prefix_head, prefix, size < sizeof node->prefix_head ? size : sizeof node->prefix_head);
}

static struct art_node *node_new(struct region *region, enum node_kind kind)
{
	struct art_node *node = region_alloc(region, node_sizes[kind]);

	if (node) {
		memset(node, 0, node_sizes[kind]);
		node->kind = (uint8_t)kind;
	}
	return node;
}

/* The node must have room. */
static void node_add(struct art_node *node, uint8_t byte, uintptr_t child)
{
	unsigned count = node_count(node);

	assert(count < node_limits[node->kind]);
	assert(child != 0 && node_find(node, byte) == NULL);
	if (node->kind <= NODE16) {
		_Atomic uint64_t *word = &small_keys(node)[count / 8];

		link_store(&small_children(node)[count], child);
		atomic_store_explicit(word, word_load(word) | (uint64_t)byte << (count % 8 * 8), memory_order_relaxed);
	} else if (node->kind == NODE48) {
		struct art_node48 *wide = (struct art_node48 *)node;

		link_store(&wide->child[count], child);
		atomic_store_explicit(&wide->index[byte], (uint8_t)(count + 1), memory_order_release);
	} else {
		link_store(&((struct art_node256 *)node)->child[byte], child);
	}
	atomic_store_explicit(&node->count, (uint16_t)(count + 1), memory_order_release);
}

/* A copy of another kind that holds the same children, terminal and prefix. */
static struct art_node *node_copy(struct region *region, const struct art_node *from, enum node_kind kind)
{
	struct art_node *to = node_new(region, kind);

	if (to == NULL)
		return NULL;
	assert(node_count(from) <= node_limits[kind]);
	node_set_prefix(to, from->prefix, from->prefix_size);
	atomic_init(&to->terminal, link_load(&from->terminal));
	if (from->kind <= NODE16) {
		for (unsigned i = 0; i < node_count(from); i++)
			node_add(to, small_key(small_keys(from), i), link_load(&small_children(from)[i]));
		return to;
	}
	for (unsigned byte = 0; byte < 256; byte++) {
		art_link *child = node_find(from, (uint8_t)byte);

		if (child)
			node_add(to, (uint8_t)byte, link_load(child));
	}
	return to;
}

static struct art_leaf *leaf_new(struct region *region, struct engine_slice key, size_t spare, void **spare_out)
{
	size_t size = (sizeof(struct art_leaf) + key.size + 7) & ~(size_t)7;
	struct art_leaf *leaf = region_alloc(region, size + spare);

	if (leaf == NULL)
		return NULL;
	atomic_init(&leaf->head, NULL);
	leaf->key_size = (uint32_t)key.size;
	memcpy(leaf->key, key.data, key.size);
	*spare_out = (uint8_t *)leaf + size;
	return leaf;
}

/* Hangs the leaf below the node, by the byte of its key at depth or as terminal. The node has room. */
static void node_add_leaf(struct art_node *node, struct art_leaf *leaf, size_t depth)
{
	assert(leaf->key_size >= depth);
	if (leaf->key_size == depth)
		link_store(&node->terminal, leaf_link(leaf));
	else
		node_add(node, leaf->key[depth], leaf_link(leaf));
}

/* Two leaves that agree up to depth, at least: a new node takes the place of the old one. */
static int split_leaf(struct region *region, art_link *link, struct art_leaf *old, struct art_leaf *leaf, size_t depth)
{
	struct art_node *node = node_new(region, NODE4);
	size_t common = format_common_prefix(art_leaf_key(old), art_leaf_key(leaf));

	if (node == NULL)
		return -ENOMEM;
	assert(common >= depth);
	node_set_prefix(node, leaf->key + depth, common - depth);
	node_add_leaf(node, old, common);
	node_add_leaf(node, leaf, common);
	link_store(link, (uintptr_t)node);
	return 0;
}

/* The key leaves the node's prefix after `match` bytes: a new node above it. */
static int split_prefix(struct region *region, art_link *link, const struct art_node *old, struct art_leaf *leaf,
			size_t depth, size_t match)
{
	struct art_node *node = node_new(region, NODE4);
	struct art_node *below = node ? node_copy(region, old, old->kind) : NULL;

	if (below == NULL)
		return -ENOMEM;
	assert(match < old->prefix_size && depth + match <= leaf->key_size);
	node_set_prefix(below, old->prefix + match + 1, old->prefix_size - match - 1);
	node_set_prefix(node, leaf->key + depth, match);
	node_add(node, old->prefix[match], (uintptr_t)below);
	node_add_leaf(node, leaf, depth + match);
	link_store(link, (uintptr_t)node);
	return 0;
}

static int add_child(struct region *region, art_link *link, struct art_node *node, struct art_leaf *leaf, size_t depth)
{
	if (leaf->key_size > depth && node_count(node) == node_limits[node->kind]) {
		node = node_copy(region, node, node->kind + 1);
		if (node == NULL)
			return -ENOMEM;
		node_add_leaf(node, leaf, depth);
		link_store(link, (uintptr_t)node);
		return 0;
	}
	node_add_leaf(node, leaf, depth);
	return 0;
}

/* Where a key belongs: the link to follow last, and how far the key agrees. */
struct place {
	art_link *link;
	size_t depth, match;
	struct art_leaf *leaf; /* the key's own leaf when it is there */
};

static void find_place(const struct art *art, struct engine_slice key, struct place *place)
{
	art_link *link = (art_link *)&art->root;
	size_t depth = 0;

	place->leaf = NULL;
	for (;;) {
		uintptr_t at = link_load(link);

		place->link = link;
		place->depth = depth;
		place->match = 0;
		if (!at)
			return;
		if (link_is_leaf(at)) {
			struct art_leaf *leaf = link_leaf(at);

			if (leaf->key_size == key.size && memcmp(leaf->key, key.data, key.size) == 0)
				place->leaf = leaf;
			return;
		}
		struct art_node *node = link_node(at);

		place->match = prefix_match(node, key, depth);
		if (place->match < node->prefix_size)
			return;
		depth += node->prefix_size;
		if (depth == key.size) {
			uintptr_t terminal = link_load(&node->terminal);

			place->leaf = terminal ? link_leaf(terminal) : NULL;
			return;
		}
		art_link *child = node_find(node, ((const uint8_t *)key.data)[depth]);

		if (child == NULL)
			return;
		link = child;
		depth++;
	}
}

int art_insert(struct art *art, struct region *region, struct engine_slice key, size_t spare,
	       struct art_leaf **leaf_out, void **spare_out)
{
	struct place place;
	struct art_leaf *leaf;
	uintptr_t at;
	int error = 0;

	*spare_out = NULL;
	find_place(art, key, &place);
	if (place.leaf) {
		*leaf_out = place.leaf;
		return 0;
	}
	leaf = leaf_new(region, key, spare, spare_out);
	if (leaf == NULL)
		return -ENOMEM;
	at = link_load(place.link);
	if (!at)
		link_store(place.link, leaf_link(leaf));
	else if (link_is_leaf(at))
		error = split_leaf(region, place.link, link_leaf(at), leaf, place.depth);
	else if (place.match < link_node(at)->prefix_size)
		error = split_prefix(region, place.link, link_node(at), leaf, place.depth, place.match);
	else
		error = add_child(region, place.link, link_node(at), leaf, place.depth + place.match);
	*leaf_out = leaf;
	return error;
}

struct art_leaf *art_find(const struct art *art, struct engine_slice key)
{
	struct place place;

	find_place(art, key, &place);
	return place.leaf;
}

/* Walks down along the key. `aside` remembers the nearest subtree beyond the key seen on the way: the answer when the
 * walk ends without one. */
static struct art_leaf *seek(const struct art *art, struct engine_slice key, bool strict, bool up)
{
	uintptr_t at = link_load(&art->root), aside = 0;
	size_t depth = 0;

	while (at && !link_is_leaf(at)) {
		struct art_node *node = link_node(at);
		size_t match = prefix_match(node, key, depth);

		if (match < node->prefix_size) {
			bool node_is_greater = depth + match == key.size ||
					       node->prefix[match] > ((const uint8_t *)key.data)[depth + match];

			if (node_is_greater == up)
				return up ? link_min(at) : link_max(at);
			at = 0;
			break;
		}
		depth += node->prefix_size;
		uintptr_t terminal = link_load(&node->terminal);

		if (depth == key.size) {
			if (terminal && !strict)
				return link_leaf(terminal);
			at = up ? node_next(node, 0, true) : 0;
			if (at)
				return link_min(at);
			break;
		}
		int byte = ((const uint8_t *)key.data)[depth++];
		uintptr_t beyond = node_next(node, up ? byte + 1 : byte - 1, up);
		art_link *child = node_find(node, (uint8_t)byte);

		if (!up && !beyond)
			beyond = terminal;
		if (beyond)
			aside = beyond;
		at = child ? link_load(child) : 0;
	}
	if (at) {
		int order = format_compare(art_leaf_key(link_leaf(at)), key);

		if (order == 0 ? !strict : (order > 0) == up)
			return link_leaf(at);
	}
	return up ? link_min(aside) : link_max(aside);
}

struct art_leaf *art_seek(const struct art *art, struct engine_slice key, bool strict)
{
	return seek(art, key, strict, true);
}

struct art_leaf *art_seek_back(const struct art *art, struct engine_slice key, bool strict)
{
	return seek(art, key, strict, false);
}

struct art_leaf *art_last(const struct art *art)
{
	return link_max(link_load(&art->root));
}
