/* SPDX-License-Identifier: Apache-2.0 */
#include "node/object/past.h"

#include <assert.h>
#include <errno.h>

enum { MARK_SIZE_MIN = 9 }; /* bytes, encoded */

bool past_is_empty(const struct past *self)
{
	return self->count == 0 && self->horizon_ms == 0;
}

bool past_has(const struct past *self, struct mark mark)
{
	for (uint32_t i = 0; i < self->count; i++)
		if (mark_compare(self->marks[i], mark) == 0)
			return true;
	return false;
}

bool past_has_time(const struct past *self, uint64_t time_ms)
{
	if (self->count == 0 || time_ms > self->marks[self->count - 1].time_ms)
		return false;
	for (uint32_t i = 0; i < self->count; i++)
		if (self->marks[i].time_ms == time_ms)
			return true;
	return false;
}

bool past_is_within(const struct past *a, const struct past *b)
{
	if (a->horizon_ms > b->horizon_ms)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (a->marks[i].time_ms > b->horizon_ms && !past_has(b, a->marks[i]))
			return false;
	return true;
}

struct past past_of_marks(struct mark *marks, uint32_t count)
{
	uint32_t distinct = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct mark moving = marks[i];
		uint32_t at = distinct;

		while (at > 0 && mark_compare(marks[at - 1], moving) > 0)
			at--;
		if (at > 0 && mark_compare(marks[at - 1], moving) == 0)
			continue;
		memmove(&marks[at + 1], &marks[at], (distinct - at) * sizeof *marks);
		marks[at] = moving;
		distinct++;
	}
	return (struct past){.marks = marks, .count = distinct};
}

int past_unite(const struct past *a, const struct past *b, struct arena *arena, struct past *out)
{
	uint32_t i = 0, j = 0, n = 0;
	uint64_t horizon_ms = a->horizon_ms > b->horizon_ms ? a->horizon_ms : b->horizon_ms;

	if (a->count == 0 || b->count == 0) {
		*out = a->count > 0 ? *a : *b;
		out->horizon_ms = horizon_ms;
		return 0;
	}
	struct mark *marks = arena_alloc(arena, (a->count + b->count) * sizeof *marks);
	if (marks == NULL)
		return -ENOMEM;
	while (i < a->count || j < b->count) {
		int order = i == a->count ? 1 : j == b->count ? -1 : mark_compare(a->marks[i], b->marks[j]);

		marks[n] = order <= 0 ? a->marks[i] : b->marks[j];
		assert(n == 0 || mark_compare(marks[n - 1], marks[n]) < 0);
		n++;
		i += order <= 0;
		j += order >= 0;
	}
	*out = (struct past){.marks = marks, .count = n, .horizon_ms = horizon_ms};
	return 0;
}

static void drop_oldest(struct past *self, uint32_t count)
{
	if (count == 0)
		return;
	assert(count <= self->count);
	uint64_t newest_ms = self->marks[count - 1].time_ms;
	assert(newest_ms >= self->marks[0].time_ms);
	if (newest_ms > self->horizon_ms)
		self->horizon_ms = newest_ms;
	self->marks += count;
	self->count -= count;
}

void past_bound(struct past *self)
{
	if (self->count > PAST_MAX)
		drop_oldest(self, self->count - PAST_MAX);
	assert(self->count <= PAST_MAX);
}

void past_forget(struct past *self, uint64_t before_ms)
{
	uint32_t old = 0;

	while (old < self->count && self->marks[old].time_ms < before_ms)
		old++;
	drop_oldest(self, old);
}

size_t past_encoded_size(const struct past *self)
{
	size_t size = bytes_varint_size(self->count) + bytes_varint_size(self->horizon_ms);
	uint64_t before_ms = 0;

	for (uint32_t i = 0; i < self->count; i++) {
		assert(self->marks[i].time_ms >= before_ms);
		size += bytes_varint_size(self->marks[i].time_ms - before_ms) + sizeof self->marks[i].hash;
		before_ms = self->marks[i].time_ms;
	}
	return size;
}

uint8_t *past_put(uint8_t *at, const struct past *self)
{
	uint64_t before_ms = 0;

	assert(self->count <= PAST_MAX);
	at = bytes_put_varint(at, self->count);
	for (uint32_t i = 0; i < self->count; i++) {
		at = bytes_put_varint(at, self->marks[i].time_ms - before_ms);
		at = bytes_put_u64(at, self->marks[i].hash);
		before_ms = self->marks[i].time_ms;
	}
	return bytes_put_varint(at, self->horizon_ms);
}

int past_get(struct bytes_reader *reader, struct arena *arena, struct past *out)
{
	uint64_t count, later_ms, time_ms = 0;

	*out = (struct past){0};
	if (!bytes_get_varint(reader, &count) || count > PAST_MAX || count > bytes_left(reader) / MARK_SIZE_MIN)
		return -EBADMSG;
	out->marks = arena_alloc(arena, (count + 1) * sizeof *out->marks);
	if (out->marks == NULL)
		return -ENOMEM;
	for (out->count = 0; out->count < count; out->count++) {
		struct mark *mark = &out->marks[out->count];

		if (!bytes_get_varint(reader, &later_ms) || later_ms > UINT64_MAX - time_ms ||
		    !bytes_get_u64(reader, &mark->hash))
			return -EBADMSG;
		mark->time_ms = time_ms += later_ms;
		if (out->count > 0 && mark_compare(mark[-1], *mark) >= 0)
			return -EBADMSG;
	}
	return bytes_get_varint(reader, &out->horizon_ms) ? 0 : -EBADMSG;
}
