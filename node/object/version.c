/* SPDX-License-Identifier: Apache-2.0 */
/* Format of a context (integers as in bytes.h):
 *
 *     0  1  format: 1; 2 when a past is there
 *     1     vector entries (varint), n, at most LIMIT_CLOCK_ENTRIES
 *        1  dots, m, at most CONTEXT_DOTS_MAX
 *           n times: actor (u64, little endian), counter (varint, from 1); ascending by actor
 *           m times: actor, counter; oldest first
 *           format 2: the past (past.h), which is not empty
 *     -4 4  checksum: low half of XXH3-64 of all bytes before, little endian; seeded with the XXH3-64 of the engine
 *           key, so that a context is good for one key only and is no byte longer for it
 *
 * Nothing seen is no bytes at all.
 */
#include "node/object/version.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include "node/object/bytes.h"

enum {
	CONTEXT_FORMAT = 1,
	CONTEXT_FORMAT_PAST = 2,
	CONTEXT_HEAD_MIN = 3,
	CONTEXT_HEAD_MAX = 4,
	CONTEXT_CHECKSUM_SIZE = 4,
	CONTEXT_ENTRY_MIN = 9,
	CONTEXT_ENTRY_MAX = 18,
	CONTEXT_PAST_MAX = 1 + PAST_MAX * CONTEXT_ENTRY_MAX + BYTES_VARINT_MAX,
};

_Static_assert(CONTEXT_HEAD_MAX + (LIMIT_CLOCK_ENTRIES + CONTEXT_DOTS_MAX) * CONTEXT_ENTRY_MAX + CONTEXT_PAST_MAX +
			       CONTEXT_CHECKSUM_SIZE <=
		       LIMIT_CONTEXT_SIZE,
	       "whatever can be stored has a context");
_Static_assert(LIMIT_CLOCK_ENTRIES < 1 << 14, "CONTEXT_HEAD_MAX: two bytes");

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
	struct version_entry *entries = rpc_arena_alloc(arena, (a->count + b->count + 1) * sizeof *entries);

	if (entries == NULL)
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
		assert(n == 0 || entries[n - 1].actor < entry.actor);
		assert(entry.counter > 0);
		entries[n++] = entry;
	}
	assert(n >= a->count);
	assert(n >= b->count);
	*out = (struct version){.entries = entries, .count = n};
	*changed_out = changed;
	return 0;
}

/* ---- context ------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static int refuse(struct rpc_error *error_out, size_t offset, const char *format,
							...)
{
	char what[96];
	va_list args;

	if (error_out == NULL)
		return -EBADMSG;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	snprintf(error_out->text, sizeof error_out->text,
		 "context, byte %zu: %s; pass the context of a get or put of this key unchanged", offset, what);
	return -EBADMSG;
}

/* Which of the two it is would take a longer checksum to say. */
static int refuse_foreign(struct rpc_error *error_out)
{
	if (error_out != NULL)
		snprintf(error_out->text, sizeof error_out->text,
			 "context belongs to another key, or was changed on its way; pass the context of a get or put "
			 "of this "
			 "key unchanged");
	return -EBADMSG;
}

static uint32_t checksum(const uint8_t *bytes, size_t size, struct rpc_slice key)
{
	return (uint32_t)XXH3_64bits_withSeed(bytes, size, XXH3_64bits(key.data, key.size));
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

/* Size and checksum: what is left is as it was made. */
static int check_frame(struct rpc_slice bytes, struct rpc_slice key, struct bytes_reader *reader,
		       struct rpc_error *error_out)
{
	size_t body;

	if (bytes.size > LIMIT_CONTEXT_SIZE)
		return refuse(error_out, LIMIT_CONTEXT_SIZE, "longer than %d bytes", LIMIT_CONTEXT_SIZE);
	if (bytes.size < CONTEXT_HEAD_MIN + CONTEXT_ENTRY_MIN + CONTEXT_CHECKSUM_SIZE)
		return refuse(error_out, bytes.size, "cut short");
	body = bytes.size - CONTEXT_CHECKSUM_SIZE;
	if (bytes_u32_at(bytes.data + body) != checksum(bytes.data, body, key))
		return refuse_foreign(error_out);
	*reader = (struct bytes_reader){bytes.data, bytes.data, bytes.data + body};
	return 0;
}

static int decode_head(struct bytes_reader *reader, struct context *context, uint8_t *format_out,
		       struct rpc_error *error_out)
{
	uint64_t entries;
	uint8_t dots;

	if (!bytes_get_u8(reader, format_out) || (*format_out != CONTEXT_FORMAT && *format_out != CONTEXT_FORMAT_PAST))
		return refuse(error_out, 0, "its format is none of those known here (%d, %d)", CONTEXT_FORMAT,
			      CONTEXT_FORMAT_PAST);
	if (!bytes_get_varint(reader, &entries) || entries > LIMIT_CLOCK_ENTRIES)
		return refuse(error_out, 1, "more than %d entries, or none told", LIMIT_CLOCK_ENTRIES);
	if (!bytes_get_u8(reader, &dots) || dots > CONTEXT_DOTS_MAX)
		return refuse(error_out, bytes_offset(reader), "more than %d dots, or none told", CONTEXT_DOTS_MAX);
	context->vector.count = (uint32_t)entries;
	context->dot_count = dots;
	return 0;
}

static int decode_past(struct bytes_reader *reader, struct arena *arena, struct context *context,
		       struct rpc_error *error_out)
{
	int status = past_get(reader, arena, &context->past);

	if (status == -EBADMSG || (status == 0 && past_is_empty(&context->past)))
		return refuse(error_out, bytes_offset(reader), "the operations seen are malformed");
	return status;
}

int context_decode(struct rpc_slice bytes, struct rpc_slice key, struct arena *arena, struct context *out,
		   struct rpc_error *error_out)
{
	struct bytes_reader reader = {0};
	uint8_t format = 0;
	int status;

	*out = (struct context){0};
	if (bytes.size == 0)
		return 0;
	status = check_frame(bytes, key, &reader, error_out);
	if (!status)
		status = decode_head(&reader, out, &format, error_out);
	if (status)
		return status;
	out->vector.entries = rpc_arena_alloc(arena, out->vector.count * sizeof(struct version_entry) +
							     out->dot_count * sizeof(struct dot));
	if (out->vector.entries == NULL)
		return -ENOMEM;
	out->dots = (struct dot *)(out->vector.entries + out->vector.count);
	status = decode_vector(&reader, &out->vector, error_out);
	if (!status)
		status = decode_dots(&reader, out, error_out);
	if (!status && format == CONTEXT_FORMAT_PAST)
		status = decode_past(&reader, arena, out, error_out);
	if (!status && bytes_left(&reader) > 0)
		status = refuse(error_out, bytes_offset(&reader), "%zu bytes too many", bytes_left(&reader));
	return status;
}

static size_t context_size(const struct context *context)
{
	size_t size = CONTEXT_HEAD_MIN - 1 + bytes_varint_size(context->vector.count) + CONTEXT_CHECKSUM_SIZE;

	for (uint32_t i = 0; i < context->vector.count; i++)
		size += sizeof(uint64_t) + bytes_varint_size(context->vector.entries[i].counter);
	for (uint32_t i = 0; i < context->dot_count; i++)
		size += sizeof(uint64_t) + bytes_varint_size(context->dots[i].counter);
	return past_is_empty(&context->past) ? size : size + past_encoded_size(&context->past);
}

int context_encode(const struct context *context, struct rpc_slice key, struct arena *arena, struct rpc_slice *out)
{
	size_t size = context_size(context);
	uint8_t *bytes, *at;

	assert(size <= LIMIT_CONTEXT_SIZE);
	assert(context->vector.count <= LIMIT_CLOCK_ENTRIES);
	assert(context->dot_count <= CONTEXT_DOTS_MAX);
	*out = (struct rpc_slice){0};
	if (context->vector.count == 0 && context->dot_count == 0 && past_is_empty(&context->past))
		return 0;
	bytes = rpc_arena_alloc(arena, size);
	if (bytes == NULL)
		return -ENOMEM;
	at = bytes;
	*at++ = past_is_empty(&context->past) ? CONTEXT_FORMAT : CONTEXT_FORMAT_PAST;
	at = bytes_put_varint(at, context->vector.count);
	*at++ = (uint8_t)context->dot_count;
	for (uint32_t i = 0; i < context->vector.count; i++) {
		assert(context->vector.entries[i].counter > 0);
		at = bytes_put_u64(at, context->vector.entries[i].actor);
		at = bytes_put_varint(at, context->vector.entries[i].counter);
	}
	for (uint32_t i = 0; i < context->dot_count; i++) {
		at = bytes_put_u64(at, context->dots[i].actor);
		at = bytes_put_varint(at, context->dots[i].counter);
	}
	if (!past_is_empty(&context->past))
		at = past_put(at, &context->past);
	at = bytes_put_u32(at, checksum(bytes, (size_t)(at - bytes), key));
	assert(at == bytes + size);
	*out = (struct rpc_slice){bytes, size};
	return 0;
}

int context_with_dot(const struct context *context, struct dot dot, struct mark mark, struct rpc_slice key,
		     struct arena *arena, struct rpc_slice *out)
{
	struct dot dots[CONTEXT_DOTS_MAX];
	struct context with = *context;
	uint32_t first = context->dot_count == CONTEXT_DOTS_MAX ? 1 : 0;

	if (dot.counter > 0 && context_covers(context, dot))
		return context_encode(context, key, arena, out);
	if (past_unite(&context->past, &(struct past){.marks = &mark, .count = 1}, arena, &with.past))
		return -ENOMEM;
	past_bound(&with.past);
	assert(with.past.count <= PAST_MAX);
	if (dot.counter > 0) {
		with.dot_count = 0;
		for (uint32_t i = first; i < context->dot_count; i++)
			dots[with.dot_count++] = context->dots[i];
		dots[with.dot_count++] = dot;
		with.dots = dots;
		assert(with.dot_count <= CONTEXT_DOTS_MAX);
	}
	return context_encode(&with, key, arena, out);
}
