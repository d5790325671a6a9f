/* SPDX-License-Identifier: Apache-2.0 */
#include "node/object/past.h"

#include <assert.h>
#include <errno.h>

enum { MARK_SIZE_MIN = 9 }; /* bytes, encoded */

bool past_is_empty(const struct past *self)
{
	return self->count == 0 && self->horizon_ms == 0;
}

static const struct mark *find(const struct past *self, struct mark mark)
{
	for (uint32_t i = 0; i < self->count; i++)
		if (mark_compare(self->marks[i], mark) == 0)
			return &self->marks[i];
	return NULL;
}

bool past_has(const struct past *self, struct mark mark)
{
	return find(self, mark) != NULL;
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
	for (uint32_t i = 0; i < a->count; i++) {
		const struct mark *mark = &a->marks[i], *there = find(b, *mark);

		if (mark->repeated ? there == NULL || !there->repeated : there == NULL && mark->time_ms > b->horizon_ms)
			return false;
	}
	return true;
}

int past_note_repeat(const struct past *self, struct mark mark, struct arena *arena, struct past *out)
{
	mark.repeated = true;
	*out = *self;
	if (find(self, mark) == NULL || find(self, mark)->repeated)
		return 0;
	return past_unite(self, &(struct past){.marks = &mark, .count = 1}, arena, out);
}

struct past past_of_marks(struct mark *marks, uint32_t count)
{
	uint32_t distinct = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct mark moving = marks[i];
		uint32_t at = distinct;

		while (at > 0 && mark_compare(marks[at - 1], moving) > 0)
			at--;
		if (at > 0 && mark_compare(marks[at - 1], moving) == 0) {
			marks[at - 1].repeated |= moving.repeated;
			continue;
		}
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
	struct mark *marks = rpc_arena_alloc(arena, (a->count + b->count) * sizeof *marks);
	if (marks == NULL)
		return -ENOMEM;
	while (i < a->count || j < b->count) {
		int order = i == a->count ? 1 : j == b->count ? -1 : mark_compare(a->marks[i], b->marks[j]);

		marks[n] = order <= 0 ? a->marks[i] : b->marks[j];
		if (order == 0)
			marks[n].repeated |= b->marks[j].repeated;
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

static uint32_t count_excess(const struct past *self, bool repeated)
{
	uint32_t n = 0;

	if (self->count <= PAST_KIND_MAX)
		return 0;
	for (uint32_t i = 0; i < self->count; i++)
		n += self->marks[i].repeated == repeated;
	return n > PAST_KIND_MAX ? n - PAST_KIND_MAX : 0;
}

/* The array is self's alone when there is too much: no past that was stored has more. */
void past_bound(struct past *self)
{
	uint32_t excess[2] = {count_excess(self, false), count_excess(self, true)}, kept = 0;

	if (excess[0] + excess[1] == 0)
		return;
	for (uint32_t i = 0; i < self->count; i++) {
		struct mark mark = self->marks[i];

		if (excess[mark.repeated] == 0) {
			self->marks[kept++] = mark;
			continue;
		}
		excess[mark.repeated]--;
		if (mark.time_ms > self->horizon_ms)
			self->horizon_ms = mark.time_ms;
	}
	self->count = kept;
	past_check(self);
}

void past_check(const struct past *self)
{
	assert(count_excess(self, false) == 0 && count_excess(self, true) == 0);
	for (uint32_t i = 1; i < self->count; i++)
		assert(mark_compare(self->marks[i - 1], self->marks[i]) < 0);
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
		assert((self->marks[i].hash & 1) == 0);
		at = bytes_put_u64(at, self->marks[i].hash | self->marks[i].repeated);
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
	out->marks = rpc_arena_alloc(arena, (count + 1) * sizeof *out->marks);
	if (out->marks == NULL)
		return -ENOMEM;
	for (out->count = 0; out->count < count; out->count++) {
		struct mark *mark = &out->marks[out->count];

		if (!bytes_get_varint(reader, &later_ms) || later_ms > UINT64_MAX - time_ms ||
		    !bytes_get_u64(reader, &mark->hash))
			return -EBADMSG;
		mark->time_ms = time_ms += later_ms;
		mark->repeated = mark->hash & 1;
		mark->hash &= ~UINT64_C(1);
		if (out->count > 0 && mark_compare(mark[-1], *mark) >= 0)
			return -EBADMSG;
	}
	if (count_excess(out, false) > 0 || count_excess(out, true) > 0)
		return -EBADMSG;
	return bytes_get_varint(reader, &out->horizon_ms) ? 0 : -EBADMSG;
}
