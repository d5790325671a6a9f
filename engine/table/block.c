/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/table/block.h"
#include "engine/disk/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum { BLOCK_HEADER = 8, ENTRY_OVERHEAD_MAX = 1 + 4 + 5 + 3 };

struct builder_entry {
	uint32_t key_end, value_end; /* in keys and values */
	uint8_t type, tag;
};

uint64_t block_key_hash(struct engine_slice key)
{
	return XXH3_64bits(key.data, key.size);
}

static uint32_t offset_at(const struct block_view *view, uint32_t index)
{
	return view->offset_width == 2 ? format_u16(view->offsets + 2 * (size_t)index)
				       : format_u32(view->offsets + 4 * (size_t)index);
}

/* Checks one entry; true when it lies within the block. */
static bool entry_is_sound(const struct block_view *view, uint32_t index, const uint8_t *entries, const uint8_t *end,
			   struct engine_slice *suffix_out)
{
	const uint8_t *at = view->data + offset_at(view, index);
	uint64_t value_and_type, suffix_size, left;

	if (offset_at(view, index) >= (uint64_t)(end - view->data) || at < entries)
		return false;
	at = format_varint_get(at, end, &value_and_type);
	at = at != NULL ? format_varint_get(at, end, &suffix_size) : NULL;
	if (at == NULL)
		return false;
	left = (uint64_t)(end - at);
	*suffix_out = (struct engine_slice){at, suffix_size};
	return (value_and_type & 3) <= ENTRY_DELETE && suffix_size <= left && value_and_type >> 2 <= left - suffix_size;
}

int block_parse(const void *data, size_t size, struct block_view *out)
{
	const uint8_t *end = (const uint8_t *)data + size;
	size_t fixed;

	if (size < BLOCK_HEADER)
		return -EBADMSG;
	out->data = data;
	out->count = format_u32(out->data);
	out->prefix_size = format_u16(out->data + 4);
	out->offset_width = out->data[6];
	if (!out->count || (out->offset_width != 2 && out->offset_width != 4))
		return -EBADMSG;
	fixed = BLOCK_HEADER + (size_t)out->prefix_size + (size_t)out->count * (1u + out->offset_width);
	if (fixed > size)
		return -EBADMSG;
	out->prefix = out->data + BLOCK_HEADER;
	out->tags = out->prefix + out->prefix_size;
	out->offsets = out->tags + out->count;
	struct engine_slice before = {0}, suffix;

	for (uint32_t i = 0; i < out->count; i++) {
		if (!entry_is_sound(out, i, out->data + fixed, end, &suffix) ||
		    (i > 0 && format_compare(before, suffix) >= 0))
			return -EBADMSG;
		before = suffix;
	}
	return 0;
}

void block_entry_at(const struct block_view *view, uint32_t index, struct block_entry *out)
{
	uint64_t value_and_type, suffix_size;
	const uint8_t *at;

	assert(index < view->count);
	at = format_varint_sound(view->data + offset_at(view, index), &value_and_type);
	at = format_varint_sound(at, &suffix_size); /* block_parse has seen every entry */
	out->suffix = (struct engine_slice){at, suffix_size};
	out->value = (struct engine_slice){at + suffix_size, value_and_type >> 2};
	out->type = value_and_type & 3;
}

int block_compare(const struct block_view *view, uint32_t index, struct engine_slice key)
{
	size_t shared = key.size < view->prefix_size ? key.size : view->prefix_size;
	int order = shared ? memcmp(view->prefix, key.data, shared) : 0;
	struct block_entry entry;

	if (order || key.size < view->prefix_size)
		return order ? order : 1;
	block_entry_at(view, index, &entry);
	return format_compare(entry.suffix,
			      (struct engine_slice){(const uint8_t *)key.data + shared, key.size - shared});
}

int64_t block_find(const struct block_view *view, struct engine_slice key, uint8_t tag, struct block_entry *out)
{
	const uint8_t *tags = view->tags, *end = tags + view->count;
	struct engine_slice suffix;

	if (key.size < view->prefix_size ||
	    (view->prefix_size && memcmp(key.data, view->prefix, view->prefix_size) != 0))
		return -1;
	suffix = (struct engine_slice){(const uint8_t *)key.data + view->prefix_size, key.size - view->prefix_size};
	for (const uint8_t *at = tags; (at = memchr(at, tag, (size_t)(end - at))) != NULL; at++) {
		block_entry_at(view, (uint32_t)(at - tags), out);
		if (out->suffix.size == suffix.size && memcmp(out->suffix.data, suffix.data, suffix.size) == 0)
			return at - tags;
	}
	return -1;
}

uint32_t block_lower_bound(const struct block_view *view, struct engine_slice key)
{
	size_t shared = key.size < view->prefix_size ? key.size : view->prefix_size;
	int order = shared ? memcmp(key.data, view->prefix, shared) : 0;
	struct engine_slice suffix;
	uint32_t low = 0, high = view->count;

	if (order || key.size < view->prefix_size || !key.size)
		return order > 0 ? view->count : 0;
	suffix = (struct engine_slice){(const uint8_t *)key.data + shared, key.size - shared};
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		struct block_entry entry;

		/* Each step is a cache miss: begin those of both possible next steps now. */
		__builtin_prefetch(view->data + offset_at(view, (low + middle) / 2));
		__builtin_prefetch(view->data + offset_at(view, (middle + 1 + high) / 2 < view->count
									? (middle + 1 + high) / 2
									: middle));
		block_entry_at(view, middle, &entry);
		if (format_compare(entry.suffix, suffix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void block_builder_fini(struct block_builder *builder)
{
	buffer_fini(&builder->keys);
	buffer_fini(&builder->values);
	free(builder->entries);
	*builder = (struct block_builder){0};
}

static int grow_entries(struct block_builder *builder)
{
	uint32_t capacity = builder->capacity ? builder->capacity * 2 : 64;
	struct builder_entry *entries;

	if (builder->count < builder->capacity)
		return 0;
	entries = realloc(builder->entries, capacity * sizeof *entries);
	if (entries == NULL)
		return -ENOMEM;
	builder->entries = entries;
	builder->capacity = capacity;
	return 0;
}

int block_builder_add(struct block_builder *builder, struct engine_slice key, uint64_t key_hash,
		      struct engine_slice value, enum entry_type type)
{
	int error = grow_entries(builder);

	assert(type <= ENTRY_VALUE_REFERENCE);
	if (error == 0)
		error = buffer_reserve(&builder->values, value.size);
	if (error == 0)
		error = buffer_append(&builder->keys, key.data, key.size);
	if (error == 0)
		error = buffer_append(&builder->values, value.data, value.size);
	if (error)
		return error;
	assert(builder->values.size <= UINT32_MAX);
	assert(builder->keys.size <= UINT32_MAX);
	if (!builder->count)
		builder->first_key_size = key.size;
	builder->entries[builder->count++] = (struct builder_entry){
		.key_end = (uint32_t)builder->keys.size,
		.value_end = (uint32_t)builder->values.size,
		.type = (uint8_t)type,
		.tag = block_tag(key_hash),
	};
	return 0;
}

size_t block_builder_size(const struct block_builder *builder)
{
	return BLOCK_HEADER + builder->keys.size + builder->values.size + (size_t)builder->count * ENTRY_OVERHEAD_MAX;
}

static struct engine_slice builder_key(const struct block_builder *builder, uint32_t index)
{
	uint32_t begin = index ? builder->entries[index - 1].key_end : 0;

	assert(index < builder->count);
	assert(begin <= builder->entries[index].key_end);
	return (struct engine_slice){builder->keys.data + begin, builder->entries[index].key_end - begin};
}

static uint8_t *put_entry(const struct block_builder *builder, uint32_t index, size_t prefix_size, uint8_t *at)
{
	struct engine_slice key = builder_key(builder, index);
	uint32_t begin = index ? builder->entries[index - 1].value_end : 0;
	uint32_t value_size = builder->entries[index].value_end - begin;

	assert(begin <= builder->entries[index].value_end);
	assert(prefix_size <= key.size);
	at = format_varint_put(at, (uint64_t)value_size << 2 | builder->entries[index].type);
	at = format_varint_put(at, key.size - prefix_size);
	memcpy(at, (const uint8_t *)key.data + prefix_size, key.size - prefix_size);
	at += key.size - prefix_size;
	if (value_size)
		memcpy(at, builder->values.data + begin, value_size);
	return at + value_size;
}

int block_builder_finish(struct block_builder *builder, struct buffer *out)
{
	struct engine_slice first = {builder->keys.data, builder->first_key_size};
	size_t prefix_size = format_common_prefix(first, builder_key(builder, builder->count - 1));
	size_t room = block_builder_size(builder);
	uint8_t width = room <= UINT16_MAX ? 2 : 4;
	uint8_t *block, *tags, *offsets, *at;
	int error = buffer_reserve(out, room);

	assert(prefix_size <= UINT16_MAX);
	if (error)
		return error;
	block = out->data + out->size;
	format_u32_put(block, builder->count);
	format_u16_put(block + 4, (uint16_t)prefix_size);
	block[6] = width;
	block[7] = 0;
	memcpy(block + BLOCK_HEADER, first.data, prefix_size);
	tags = block + BLOCK_HEADER + prefix_size;
	offsets = tags + builder->count;
	at = offsets + (size_t)builder->count * width;
	for (uint32_t i = 0; i < builder->count; i++) {
		tags[i] = builder->entries[i].tag;
		if (width == 2)
			format_u16_put(offsets + 2 * (size_t)i, (uint16_t)(at - block));
		else
			format_u32_put(offsets + 4 * (size_t)i, (uint32_t)(at - block));
		at = put_entry(builder, i, prefix_size, at);
	}
	/* So every offset fits its width, which was chosen by room. */
	assert((size_t)(at - block) <= room);
	out->size = (size_t)(at - out->data);
	builder->count = 0;
	builder->keys.size = builder->values.size = 0;
	return 0;
}
