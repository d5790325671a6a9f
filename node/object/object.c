/* SPDX-License-Identifier: Apache-2.0 */
/* Format of an object, on disk and between replicas (integers as in bytes.h; varint unless stated):
 *
 *     0  1  format: 1; 2 when a past is there
 *     1  1  flags: 1 seen dots follow the vector
 *     2     vector entries, n, at most LIMIT_CLOCK_ENTRIES
 *           siblings, m
 *           n times, ascending by actor:    actor (u64, little endian), counter (from 1), last_ms
 *           when flagged, count (from 1) times, ascending: actor (u64), counter
 *           format 2: the past (past.h), which is not empty
 *           m times, ascending by dot:
 *               stamp: entry              index in the vector of the dot's actor
 *                      behind             that entry's counter minus the dot's: nearly always 0
 *                      age (zigzag)       that entry's last_ms minus written_ms: nearly always 0
 *               flags (u8): 1 tombstone, 2 expires, 4 aliases, 8 repeated (but not beside aliases, which say as much)
 *               operation id (16)
 *               when flagged: expires_ms (from 1)
 *               when flagged: count (from 1) times a stamp, ascending by dot
 *               value: size, bytes
 *
 * One sibling by one actor costs 43 bytes beside its value. There is one way to write an object (O5), so that replicas
 * which hold the same hold the same bytes. No checksum: the engine's blocks and the transport have theirs.
 */
#include "node/object/object.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include "node/object/bytes.h"
#include "rpc/operation_id.h"

enum {
	OBJECT_FORMAT = 1,
	OBJECT_FORMAT_PAST = 2,
	OBJECT_HEAD_SIZE = 2,
	OBJECT_FLAG_SEEN = 1,

	STORED_TOMBSTONE = 1,
	STORED_EXPIRES = 2,
	STORED_ALIASES = 4,
	STORED_REPEATED = 8,
	STORED_FLAGS = STORED_TOMBSTONE | STORED_EXPIRES | STORED_ALIASES | STORED_REPEATED,

	DOT_SIZE_MIN = 9,
	STAMP_SIZE_MIN = 3,
	SIBLING_SIZE_MIN = STAMP_SIZE_MIN + 1 + RPC_OPERATION_ID_SIZE + 1,
};

/* ---- decode ------------------------------------------------------------------------------------------------- */

struct decoder {
	struct bytes_reader reader;
	struct arena *arena;
	struct rpc_error *error; /* may be NULL */
	uint32_t dot_count;      /* of siblings and aliases so far */
};

__attribute__((format(printf, 2, 3))) static int refuse(struct decoder *d, const char *format, ...)
{
	va_list args;
	int length;

	if (d->error == NULL)
		return -EBADMSG;
	length = snprintf(d->error->text, sizeof(d->error->text), "object, byte %zu: ", bytes_offset(&d->reader));
	va_start(args, format);
	vsnprintf(d->error->text + length, sizeof(d->error->text) - (size_t)length, format, args);
	va_end(args);
	return -EBADMSG;
}

static int decode_vector(struct decoder *d, struct version *vector)
{
	vector->entries = rpc_arena_alloc(d->arena, (vector->count + 1) * sizeof *vector->entries);
	if (vector->entries == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < vector->count; i++) {
		struct version_entry *entry = &vector->entries[i];

		if (!bytes_get_u64(&d->reader, &entry->actor) || !bytes_get_varint(&d->reader, &entry->counter) ||
		    !bytes_get_varint(&d->reader, &entry->last_ms))
			return refuse(d, "vector entry %u is cut short or malformed", i);
		if (entry->counter == 0)
			return refuse(d, "vector entry %u has counter 0", i);
		if (i > 0 && entry->actor <= entry[-1].actor)
			return refuse(d, "vector entry %u is out of order", i);
	}
	return 0;
}

static int decode_seen(struct decoder *d, struct object *object)
{
	uint64_t count;

	if (!bytes_get_varint(&d->reader, &count) || count == 0 || count > OBJECT_DOTS_MAX ||
	    count > bytes_left(&d->reader) / DOT_SIZE_MIN)
		return refuse(d, "the number of seen dots is malformed");
	object->seen_count = (uint32_t)count;
	object->seen = rpc_arena_alloc(d->arena, count * sizeof *object->seen);
	if (object->seen == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct dot *dot = &object->seen[i];

		if (!bytes_get_u64(&d->reader, &dot->actor) || !bytes_get_varint(&d->reader, &dot->counter))
			return refuse(d, "seen dot %u is cut short or malformed", i);
		if (version_covers(&object->vector, *dot))
			return refuse(d, "seen dot %u is within the vector", i);
		if (i > 0 && dot_compare(*dot, dot[-1]) <= 0)
			return refuse(d, "seen dot %u is out of order", i);
	}
	return 0;
}

static int decode_past(struct decoder *d, struct object *object)
{
	int status = past_get(&d->reader, d->arena, &object->past);

	if (status == -EBADMSG || (status == 0 && (past_is_empty(&object->past) || object->vector.count == 0)))
		return refuse(d, "the past is malformed");
	return status;
}

/* A dot and its time, told by their distance from a vector entry. */
static bool decode_stamp(struct decoder *d, const struct version *vector, struct dot *dot_out, uint64_t *written_ms_out)
{
	const struct version_entry *entry;
	uint64_t index, behind, age;

	if (!bytes_get_varint(&d->reader, &index) || index >= vector->count)
		return false;
	entry = &vector->entries[index];
	if (!bytes_get_varint(&d->reader, &behind) || behind >= entry->counter || !bytes_get_varint(&d->reader, &age))
		return false;
	*dot_out = (struct dot){entry->actor, entry->counter - behind};
	*written_ms_out = entry->last_ms - bytes_unzigzag(age);
	d->dot_count++;
	return true;
}

static int decode_aliases(struct decoder *d, const struct version *vector, struct sibling *sibling)
{
	struct dot last = sibling->dot;
	uint64_t count;

	if (!bytes_get_varint(&d->reader, &count) || count == 0 || count > OBJECT_DOTS_MAX ||
	    count > bytes_left(&d->reader) / STAMP_SIZE_MIN)
		return refuse(d, "the number of aliases is malformed");
	sibling->alias_count = (uint32_t)count;
	sibling->aliases = rpc_arena_alloc(d->arena, count * sizeof *sibling->aliases);
	if (sibling->aliases == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct alias *alias = &sibling->aliases[i];

		if (!decode_stamp(d, vector, &alias->dot, &alias->written_ms))
			return refuse(d, "alias %u is cut short or malformed", i);
		if (dot_compare(alias->dot, last) <= 0)
			return refuse(d, "alias %u is out of order", i);
		last = alias->dot;
	}
	return 0;
}

static int decode_sibling(struct decoder *d, const struct version *vector, struct sibling *sibling)
{
	uint8_t flags;
	uint64_t value_size;

	*sibling = (struct sibling){0};
	if (!decode_stamp(d, vector, &sibling->dot, &sibling->written_ms))
		return refuse(d, "the stamp is cut short or outside the vector");
	if (!bytes_get_u8(&d->reader, &flags) || (flags & ~STORED_FLAGS))
		return refuse(d, "unknown flags");
	if ((flags & STORED_REPEATED) && (flags & STORED_ALIASES))
		return refuse(d, "flags that exclude each other");
	sibling->repeated = flags & (STORED_REPEATED | STORED_ALIASES);
	if (!bytes_get(&d->reader, sibling->operation_id, RPC_OPERATION_ID_SIZE))
		return refuse(d, "the operation id is cut short");
	if ((flags & STORED_EXPIRES) &&
	    (!bytes_get_varint(&d->reader, &sibling->expires_ms) || sibling->expires_ms == 0))
		return refuse(d, "the expiry is malformed");
	if (flags & STORED_ALIASES) {
		int status = decode_aliases(d, vector, sibling);

		if (status)
			return status;
	}
	if (!bytes_get_varint(&d->reader, &value_size) || value_size > bytes_left(&d->reader))
		return refuse(d, "the value is cut short");
	sibling->flags = flags & STORED_TOMBSTONE ? SIBLING_TOMBSTONE : 0;
	sibling->value = (struct rpc_slice){d->reader.at, value_size};
	d->reader.at += value_size;
	return 0;
}

static bool sibling_has_dot(const struct sibling *sibling, struct dot dot)
{
	if (dot_compare(sibling->dot, dot) == 0)
		return true;
	for (uint32_t i = 0; i < sibling->alias_count; i++)
		if (dot_compare(sibling->aliases[i].dot, dot) == 0)
			return true;
	return false;
}

/* O2, for siblings a and b. */
static bool siblings_distinct(const struct sibling *a, const struct sibling *b)
{
	if (sibling_same_operation(a, b) || sibling_has_dot(a, b->dot))
		return false;
	for (uint32_t i = 0; i < b->alias_count; i++)
		if (sibling_has_dot(a, b->aliases[i].dot))
			return false;
	return true;
}

static int decode_siblings(struct decoder *d, struct object *object)
{
	object->siblings = rpc_arena_alloc(d->arena, (object->sibling_count + 1) * sizeof *object->siblings);
	if (object->siblings == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		struct sibling *sibling = &object->siblings[i];
		int status = decode_sibling(d, &object->vector, sibling);

		if (status)
			return status;
		if (d->dot_count > OBJECT_DOTS_MAX)
			return refuse(d, "more than %d dots", OBJECT_DOTS_MAX);
		if (i > 0 && dot_compare(sibling->dot, sibling[-1].dot) <= 0)
			return refuse(d, "sibling %u is out of order", i);
		if (sibling_is_past(&object->past, sibling))
			return refuse(d, "sibling %u is of an operation in the past", i);
		for (uint32_t j = 0; j < i; j++)
			if (!siblings_distinct(&object->siblings[j], sibling))
				return refuse(d, "siblings %u and %u are the same operation", j, i);
	}
	return 0;
}

static int decode_head(struct decoder *d, struct object *out, uint8_t *format_out, uint8_t *flags_out)
{
	uint64_t entries, siblings;

	if (!bytes_get_u8(&d->reader, format_out) ||
	    (*format_out != OBJECT_FORMAT && *format_out != OBJECT_FORMAT_PAST))
		return refuse(d, "the format is not one this version knows (%d, %d)", OBJECT_FORMAT,
			      OBJECT_FORMAT_PAST);
	if (!bytes_get_u8(&d->reader, flags_out) || (*flags_out & ~OBJECT_FLAG_SEEN))
		return refuse(d, "unknown flags");
	if (!bytes_get_varint(&d->reader, &entries) || entries > LIMIT_CLOCK_ENTRIES)
		return refuse(d, "more than %d vector entries, or none told", LIMIT_CLOCK_ENTRIES);
	if (!bytes_get_varint(&d->reader, &siblings) || siblings > OBJECT_DOTS_MAX ||
	    siblings > bytes_left(&d->reader) / SIBLING_SIZE_MIN)
		return refuse(d, "the number of siblings is malformed");
	out->vector.count = (uint32_t)entries;
	out->sibling_count = (uint32_t)siblings;
	return 0;
}

int object_decode(struct rpc_slice bytes, struct arena *arena, struct object *out, struct rpc_error *error_out)
{
	struct decoder d = {{bytes.data, bytes.data, bytes.data + bytes.size}, arena, error_out, 0};
	uint8_t format = 0, flags = 0;
	int status;

	*out = (struct object){0};
	if (bytes.size > LIMIT_OBJECT_SIZE) {
		(void)refuse(&d, "%zu bytes, the limit is %d", bytes.size, LIMIT_OBJECT_SIZE);
		return -E2BIG;
	}
	status = decode_head(&d, out, &format, &flags);
	if (!status)
		status = decode_vector(&d, &out->vector);
	if (!status && (flags & OBJECT_FLAG_SEEN))
		status = decode_seen(&d, out);
	if (!status && format == OBJECT_FORMAT_PAST)
		status = decode_past(&d, out);
	if (!status)
		status = decode_siblings(&d, out);
	if (!status && bytes_left(&d.reader) > 0)
		status = refuse(&d, "%zu bytes too many", bytes_left(&d.reader));
	return status;
}

/* ---- encode ------------------------------------------------------------------------------------------------- */

/* Where a dot stands in the vector. */
struct stamp {
	uint32_t index;
	uint64_t behind, age;
};

static struct stamp stamp_of(const struct version *vector, struct dot dot, uint64_t written_ms)
{
	for (uint32_t i = 0; i < vector->count; i++) {
		const struct version_entry *entry = &vector->entries[i];

		if (entry->actor != dot.actor)
			continue;
		assert(entry->counter >= dot.counter); /* O3 */
		return (struct stamp){i, entry->counter - dot.counter, bytes_zigzag(entry->last_ms - written_ms)};
	}
	assert(!"O3: every sibling's actor is in the vector");
	return (struct stamp){0};
}

static size_t stamp_size(const struct version *vector, struct dot dot, uint64_t written_ms)
{
	struct stamp stamp = stamp_of(vector, dot, written_ms);

	return bytes_varint_size(stamp.index) + bytes_varint_size(stamp.behind) + bytes_varint_size(stamp.age);
}

static uint8_t *put_stamp(uint8_t *at, const struct version *vector, struct dot dot, uint64_t written_ms)
{
	struct stamp stamp = stamp_of(vector, dot, written_ms);

	at = bytes_put_varint(at, stamp.index);
	at = bytes_put_varint(at, stamp.behind);
	return bytes_put_varint(at, stamp.age);
}

static size_t sibling_size(const struct version *vector, const struct sibling *sibling)
{
	size_t size = stamp_size(vector, sibling->dot, sibling->written_ms) + 1 + RPC_OPERATION_ID_SIZE;

	assert(sibling->alias_count == 0 || sibling->aliases != NULL);
	assert(sibling->value.size == 0 || sibling->value.data != NULL);
	if (sibling->expires_ms)
		size += bytes_varint_size(sibling->expires_ms);
	if (sibling->alias_count)
		size += bytes_varint_size(sibling->alias_count);
	for (uint32_t i = 0; i < sibling->alias_count; i++)
		size += stamp_size(vector, sibling->aliases[i].dot, sibling->aliases[i].written_ms);
	return size + bytes_varint_size(sibling->value.size) + sibling->value.size;
}

static uint8_t *put_sibling(uint8_t *at, const struct version *vector, const struct sibling *sibling)
{
	at = put_stamp(at, vector, sibling->dot, sibling->written_ms);
	*at++ = (uint8_t)((sibling->flags & SIBLING_TOMBSTONE ? STORED_TOMBSTONE : 0) |
			  (sibling->expires_ms ? STORED_EXPIRES : 0) |
			  (sibling->alias_count ? STORED_ALIASES
			   : sibling->repeated  ? STORED_REPEATED
						: 0));
	at = bytes_put(at, sibling->operation_id, RPC_OPERATION_ID_SIZE);
	if (sibling->expires_ms)
		at = bytes_put_varint(at, sibling->expires_ms);
	if (sibling->alias_count)
		at = bytes_put_varint(at, sibling->alias_count);
	for (uint32_t i = 0; i < sibling->alias_count; i++)
		at = put_stamp(at, vector, sibling->aliases[i].dot, sibling->aliases[i].written_ms);
	at = bytes_put_varint(at, sibling->value.size);
	return bytes_put(at, sibling->value.data, sibling->value.size);
}

size_t object_encoded_size(const struct object *object)
{
	size_t size =
		OBJECT_HEAD_SIZE + bytes_varint_size(object->vector.count) + bytes_varint_size(object->sibling_count);

	for (uint32_t i = 0; i < object->vector.count; i++)
		size += sizeof(uint64_t) + bytes_varint_size(object->vector.entries[i].counter) +
			bytes_varint_size(object->vector.entries[i].last_ms);
	if (object->seen_count)
		size += bytes_varint_size(object->seen_count);
	for (uint32_t i = 0; i < object->seen_count; i++)
		size += sizeof(uint64_t) + bytes_varint_size(object->seen[i].counter);
	if (!past_is_empty(&object->past))
		size += past_encoded_size(&object->past);
	for (uint32_t i = 0; i < object->sibling_count; i++)
		size += sibling_size(&object->vector, &object->siblings[i]);
	return size;
}

static uint8_t *put_head(uint8_t *at, const struct object *object)
{
	*at++ = past_is_empty(&object->past) ? OBJECT_FORMAT : OBJECT_FORMAT_PAST;
	*at++ = object->seen_count ? OBJECT_FLAG_SEEN : 0;
	at = bytes_put_varint(at, object->vector.count);
	at = bytes_put_varint(at, object->sibling_count);
	for (uint32_t i = 0; i < object->vector.count; i++) {
		at = bytes_put_u64(at, object->vector.entries[i].actor);
		at = bytes_put_varint(at, object->vector.entries[i].counter);
		at = bytes_put_varint(at, object->vector.entries[i].last_ms);
	}
	if (object->seen_count)
		at = bytes_put_varint(at, object->seen_count);
	for (uint32_t i = 0; i < object->seen_count; i++) {
		at = bytes_put_u64(at, object->seen[i].actor);
		at = bytes_put_varint(at, object->seen[i].counter);
	}
	if (!past_is_empty(&object->past))
		at = past_put(at, &object->past);
	return at;
}

static uint32_t dot_count(const struct object *object)
{
	uint32_t count = object->sibling_count;

	for (uint32_t i = 0; i < object->sibling_count; i++)
		count += object->siblings[i].alias_count;
	return count;
}

int object_encode(const struct object *object, struct arena *arena, struct rpc_slice *out)
{
	size_t size = object_encoded_size(object);
	uint8_t *bytes, *at;

	if (size > LIMIT_OBJECT_SIZE || object->vector.count > LIMIT_CLOCK_ENTRIES ||
	    object->seen_count > OBJECT_DOTS_MAX || dot_count(object) > OBJECT_DOTS_MAX)
		return -E2BIG;
	bytes = rpc_arena_alloc(arena, size);
	if (bytes == NULL)
		return -ENOMEM;
	at = put_head(bytes, object);
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		at = put_sibling(at, &object->vector, &object->siblings[i]);
		assert(at <= bytes + size);
	}
	assert(at == bytes + size);
	*out = (struct rpc_slice){bytes, size};
	return 0;
}

/* ---- checks ------------------------------------------------------------------------------------------------- */

static void check_siblings(const struct object *object)
{
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		const struct sibling *sibling = &object->siblings[i];

		assert(i == 0 || dot_compare(object->siblings[i - 1].dot, sibling->dot) <= 0);
		assert(version_covers(&object->vector, sibling->dot)); /* O3 */
		assert(!sibling_is_past(&object->past, sibling));      /* O6 */
		assert(sibling->repeated || sibling->alias_count == 0);
	}
}

void object_check(const struct object *object)
{
	past_check(&object->past);
	assert(object->sibling_count == 0 || object->vector.count > 0);
	for (uint32_t i = 1; i < object->vector.count; i++)
		assert(object->vector.entries[i - 1].actor < object->vector.entries[i].actor);
	for (uint32_t i = 1; i < object->seen_count; i++)
		assert(dot_compare(object->seen[i - 1], object->seen[i]) < 0);
	check_siblings(object);
}

/* ---- digests and questions ---------------------------------------------------------------------------------- */

/* A hash of a row of words, any length, without an allocation: full blocks seed the next. */
struct words {
	uint64_t block[64];
	uint32_t count;
	uint64_t seed;
};

static void words_add(struct words *words, uint64_t word)
{
	if (words->count == sizeof(words->block) / sizeof(words->block[0])) {
		words->seed = XXH3_64bits_withSeed(words->block, sizeof(words->block), words->seed);
		words->count = 0;
	}
	assert(words->count < sizeof words->block / sizeof words->block[0]);
	words->block[words->count++] = htole64(word);
}

static void words_add_dot(struct words *words, struct dot dot)
{
	words_add(words, dot.actor);
	words_add(words, dot.counter);
}

uint64_t object_digest(const struct object *object)
{
	struct words words;
	uint64_t operation_id[RPC_OPERATION_ID_SIZE / sizeof(uint64_t)];

	words.count = 0;
	words.seed = 0;
	/* The counts keep a row of entries from reading as a row of dots. */
	words_add(&words, (uint64_t)object->vector.count << 32 | object->seen_count);
	for (uint32_t i = 0; i < object->vector.count; i++) {
		words_add(&words, object->vector.entries[i].actor);
		words_add(&words, object->vector.entries[i].counter);
	}
	for (uint32_t i = 0; i < object->seen_count; i++)
		words_add_dot(&words, object->seen[i]);
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		const struct sibling *sibling = &object->siblings[i];

		words_add(&words, sibling->alias_count);
		words_add_dot(&words, sibling->dot);
		memcpy(operation_id, sibling->operation_id, sizeof(operation_id));
		words_add(&words, operation_id[0]);
		words_add(&words, operation_id[1]);
		for (uint32_t j = 0; j < sibling->alias_count; j++)
			words_add_dot(&words, sibling->aliases[j].dot);
	}
	return XXH3_64bits_withSeed(words.block, words.count * sizeof(words.block[0]), words.seed);
}

uint64_t object_tree_hash(struct rpc_slice key, const struct object *object)
{
	return XXH3_64bits_withSeed(key.data, key.size, object_digest(object));
}

bool sibling_is_live(const struct sibling *sibling, uint64_t now_ms)
{
	bool expired = sibling->expires_ms && sibling->expires_ms <= now_ms;

	return !(sibling->flags & SIBLING_TOMBSTONE) && !expired;
}

/* The past and, beside it, the operations that are live: whoever puts with the context supersedes them. */
static int context_past(const struct object *object, uint64_t since_ms, struct arena *arena, struct past *out)
{
	struct mark *marks = rpc_arena_alloc(arena, (object->sibling_count + 1) * sizeof *marks);
	uint64_t time_ms, forgotten_ms = 0;
	uint32_t count = 0;

	if (marks == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		(void)rpc_operation_id_time(object->siblings[i].operation_id, &time_ms);
		if (time_ms >= since_ms)
			marks[count++] = sibling_mark(&object->siblings[i]);
		else if (time_ms > forgotten_ms)
			forgotten_ms = time_ms;
	}
	struct past live = past_of_marks(marks, count);
	live.horizon_ms = forgotten_ms;
	if (past_unite(&object->past, &live, arena, out))
		return -ENOMEM;
	past_bound(out);
	past_forget(out, since_ms);
	assert(out->horizon_ms >= object->past.horizon_ms);
	return 0;
}

int object_context(const struct object *object, struct rpc_slice key, uint64_t since_ms, struct arena *arena,
		   struct rpc_slice *out)
{
	struct context context = {.vector = object->vector};

	/* More seen dots than a context holds: what is left out can come back as a sibling, never be lost. */
	context.dot_count = object->seen_count < CONTEXT_DOTS_MAX ? object->seen_count : CONTEXT_DOTS_MAX;
	context.dots = object->seen;
	if (context_past(object, since_ms, arena, &context.past))
		return -ENOMEM;
	return context_encode(&context, key, arena, out);
}

uint64_t object_actor_counter(const struct object *object, uint64_t actor)
{
	uint64_t counter = version_counter(&object->vector, actor); /* O3: no sibling is above it */

	for (uint32_t i = 0; i < object->seen_count; i++)
		if (object->seen[i].actor == actor && object->seen[i].counter > counter)
			counter = object->seen[i].counter;
	return counter;
}
