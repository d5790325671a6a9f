/* Format of a context (integers as in bytes.h):
 *
 *     0  1  format: 1
 *     1  1  vector entries, n
 *     2  1  dots, m, at most CONTEXT_DOTS_MAX
 *     3     n times: actor (u64, little endian), counter (varint, from 1); ascending by actor
 *           m times: actor, counter; oldest first
 *     -4 4  checksum: low half of XXH3-64 of all bytes before, little endian
 *
 * Nothing seen is no bytes at all.
 */
#include "version.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include "bytes.h"

enum { CONTEXT_FORMAT = 1, CONTEXT_HEAD_SIZE = 3, CONTEXT_CHECKSUM_SIZE = 4, CONTEXT_ENTRY_MIN = 9 };

uint64_t version_counter(const struct version *version, uint64_t actor)
{
	/* One to three entries nearly always: a search would cost more than it saves. */
	for (uint32_t i = 0; i < version->count; i++)
		if (version->entries[i].actor == actor)
			return version->entries[i].counter;
	return 0;
}

bool version_covers(const struct version *version, struct dot dot)
{
	return version_counter(version, dot.actor) >= dot.counter;
}

bool context_covers(const struct context *context, struct dot dot)
{
	if (version_covers(&context->vector, dot))
		return true;
	for (uint32_t i = 0; i < context->dot_count; i++)
		if (dot_compare(context->dots[i], dot) == 0)
			return true;
	return false;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

int version_merge(const struct version *a, const struct version *b, uint64_t raised_ms, struct arena *arena,
		  struct version *out, bool *changed_out)
{
	uint32_t i = 0, j = 0, n = 0;
	bool changed = false;
	struct version_entry *entries = arena_alloc(arena, (a->count + b->count + 1) * sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	while (i < a->count || j < b->count) {
		bool take_a = j == b->count || (i < a->count && a->entries[i].actor <= b->entries[j].actor);
		bool take_b = i == a->count || (j < b->count && b->entries[j].actor <= a->entries[i].actor);
		struct version_entry entry = take_a ? a->entries[i++] : (struct version_entry){0};

		if (take_b) {
			const struct version_entry *other = &b->entries[j++];

			entry.actor = other->actor;
			entry.last_ms = max_u64(entry.last_ms, other->last_ms);
			if (other->counter > entry.counter) {
				entry.counter = other->counter;
				entry.last_ms = max_u64(entry.last_ms, raised_ms);
				changed = true;
			}
		}
		entries[n++] = entry;
	}
	*out = (struct version){.entries = entries, .count = n};
	*changed_out = changed;
	return 0;
}

/* ---- context ------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static int refuse(struct rpc_error *error_out, size_t offset, const char *format,
							...)
{
	char what[128];
	va_list args;

	if (!error_out)
		return -EBADMSG;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	snprintf(error_out->text, sizeof(error_out->text),
		 "context, byte %zu: %s; pass the context of a get or put unchanged", offset, what);
	return -EBADMSG;
}

static uint32_t checksum(const uint8_t *bytes, size_t size)
{
	return (uint32_t)XXH3_64bits(bytes, size);
}

static int decode_dots(struct bytes_reader *reader, struct context *context, struct rpc_error *error_out)
{
	for (uint32_t i = 0; i < context->dot_count; i++) {
		struct dot *dot = &context->dots[i];
		size_t offset = bytes_offset(reader);

		if (!bytes_get_u64(reader, &dot->actor) || !bytes_get_varint(reader, &dot->counter))
			return refuse(error_out, offset, "dot %u is cut short", i);
		if (dot->counter == 0)
			return refuse(error_out, offset, "dot %u has counter 0", i);
	}
	return 0;
}

static int decode_vector(struct bytes_reader *reader, struct version *vector, struct rpc_error *error_out)
{
	for (uint32_t i = 0; i < vector->count; i++) {
		struct version_entry *entry = &vector->entries[i];
		size_t offset = bytes_offset(reader);

		entry->last_ms = 0;
		if (!bytes_get_u64(reader, &entry->actor) || !bytes_get_varint(reader, &entry->counter))
			return refuse(error_out, offset, "entry %u is cut short", i);
		if (entry->counter == 0)
			return refuse(error_out, offset, "entry %u has counter 0", i);
		if (i > 0 && entry->actor <= entry[-1].actor)
			return refuse(error_out, offset, "entry %u is out of order", i);
	}
	return 0;
}

/* The frame: size, checksum, format and counts. */
static int decode_head(struct rpc_slice bytes, struct bytes_reader *reader, struct context *context,
		       struct rpc_error *error_out)
{
	uint32_t stored;
	size_t body;

	if (bytes.size > LIMIT_CONTEXT_SIZE)
		return refuse(error_out, LIMIT_CONTEXT_SIZE, "longer than %d bytes", LIMIT_CONTEXT_SIZE);
	if (bytes.size < CONTEXT_HEAD_SIZE + CONTEXT_ENTRY_MIN + CONTEXT_CHECKSUM_SIZE)
		return refuse(error_out, bytes.size, "cut short");
	body = bytes.size - CONTEXT_CHECKSUM_SIZE;
	memcpy(&stored, bytes.data + body, sizeof(stored));
	if (le32toh(stored) != checksum(bytes.data, body))
		return refuse(error_out, body, "the checksum does not match");
	if (bytes.data[0] != CONTEXT_FORMAT)
		return refuse(error_out, 0, "format %u is not known here", bytes.data[0]);
	context->vector.count = bytes.data[1];
	context->dot_count = bytes.data[2];
	if (context->vector.count > LIMIT_CLOCK_ENTRIES)
		return refuse(error_out, 1, "%u entries, the limit is %d", context->vector.count, LIMIT_CLOCK_ENTRIES);
	if (context->dot_count > CONTEXT_DOTS_MAX)
		return refuse(error_out, 2, "%u dots, the limit is %d", context->dot_count, CONTEXT_DOTS_MAX);
	*reader = (struct bytes_reader){bytes.data, bytes.data + CONTEXT_HEAD_SIZE, bytes.data + body};
	return 0;
}

int context_decode(struct rpc_slice bytes, struct arena *arena, struct context *out, struct rpc_error *error_out)
{
	struct bytes_reader reader = {0};
	int status;

	*out = (struct context){0};
	if (bytes.size == 0)
		return 0;
	status = decode_head(bytes, &reader, out, error_out);
	if (status)
		return status;
	out->vector.entries = arena_alloc(arena, out->vector.count * sizeof(struct version_entry) +
							 out->dot_count * sizeof(struct dot));
	if (!out->vector.entries)
		return -ENOMEM;
	out->dots = (struct dot *)(out->vector.entries + out->vector.count);
	status = decode_vector(&reader, &out->vector, error_out);
	if (!status)
		status = decode_dots(&reader, out, error_out);
	if (!status && bytes_left(&reader) > 0)
		status = refuse(error_out, bytes_offset(&reader), "%zu bytes too many", bytes_left(&reader));
	return status;
}

static size_t context_size(const struct context *context)
{
	size_t size = CONTEXT_HEAD_SIZE + CONTEXT_CHECKSUM_SIZE;

	for (uint32_t i = 0; i < context->vector.count; i++)
		size += sizeof(uint64_t) + bytes_varint_size(context->vector.entries[i].counter);
	for (uint32_t i = 0; i < context->dot_count; i++)
		size += sizeof(uint64_t) + bytes_varint_size(context->dots[i].counter);
	return size;
}

int context_encode(const struct context *context, struct arena *arena, struct rpc_slice *out)
{
	size_t size = context_size(context);
	uint8_t *bytes, *at;
	uint32_t sum;

	assert(context->vector.count <= LIMIT_CLOCK_ENTRIES);
	assert(context->dot_count <= CONTEXT_DOTS_MAX);
	*out = (struct rpc_slice){0};
	if (context->vector.count == 0 && context->dot_count == 0)
		return 0;
	bytes = arena_alloc(arena, size);
	if (!bytes)
		return -ENOMEM;
	bytes[0] = CONTEXT_FORMAT;
	bytes[1] = (uint8_t)context->vector.count;
	bytes[2] = (uint8_t)context->dot_count;
	at = bytes + CONTEXT_HEAD_SIZE;
	for (uint32_t i = 0; i < context->vector.count; i++) {
		at = bytes_put_u64(at, context->vector.entries[i].actor);
		at = bytes_put_varint(at, context->vector.entries[i].counter);
	}
	for (uint32_t i = 0; i < context->dot_count; i++) {
		at = bytes_put_u64(at, context->dots[i].actor);
		at = bytes_put_varint(at, context->dots[i].counter);
	}
	sum = htole32(checksum(bytes, (size_t)(at - bytes)));
	at = bytes_put(at, &sum, sizeof(sum));
	assert(at == bytes + size);
	*out = (struct rpc_slice){bytes, size};
	return 0;
}

int context_with_dot(const struct context *context, struct dot dot, struct arena *arena, struct rpc_slice *out)
{
	struct dot dots[CONTEXT_DOTS_MAX];
	struct context with = {.vector = context->vector, .dots = dots};
	uint32_t first = context->dot_count == CONTEXT_DOTS_MAX ? 1 : 0;

	if (context_covers(context, dot))
		return context_encode(context, arena, out);
	for (uint32_t i = first; i < context->dot_count; i++)
		dots[with.dot_count++] = context->dots[i];
	dots[with.dot_count++] = dot;
	return context_encode(&with, arena, out);
}
