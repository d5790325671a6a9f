/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/partition/quarantine.h"
#include "engine/disk/buffer.h"
#include "engine/partition/partition.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int quarantine_create(const struct quarantine *from, struct quarantine **out)
{
	struct quarantine *it = calloc(1, sizeof *it);

	if (it == NULL)
		return -ENOMEM;
	atomic_init(&it->refs, 1);
	if (from != NULL) {
		memcpy(it->words, from->words, sizeof it->words);
		it->reason = from->reason;
	}
	*out = it;
	return 0;
}

struct quarantine *quarantine_ref(struct quarantine *it)
{
	if (it != NULL)
		atomic_fetch_add_explicit(&it->refs, 1, memory_order_relaxed);
	return it;
}

void quarantine_unref(struct quarantine **quarantine)
{
	struct quarantine *it = *quarantine;

	*quarantine = NULL;
	assert(it == NULL || atomic_load_explicit(&it->refs, memory_order_relaxed) > 0);
	if (it != NULL && atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) == 1)
		free(it);
}

void quarantine_add(struct quarantine *it, const struct partition_row *row)
{
	assert(row->step > 0);
	assert(row->last < QUARANTINE_PARTITIONS);
	for (uint32_t partition = row->first; partition <= row->last; partition += row->step)
		it->words[partition / 64] |= (uint64_t)1 << partition % 64;
}

int quarantine_extend(struct quarantine **quarantine, const struct partition_row *row,
		      const struct engine_error *reason)
{
	struct quarantine *grown;
	int error = quarantine_create(*quarantine, &grown);

	if (error)
		return error;
	quarantine_add(grown, row);
	grown->reason = *reason;
	quarantine_unref(quarantine);
	*quarantine = grown;
	return 0;
}

void quarantine_remove_range(struct quarantine *it, struct engine_slice begin, struct engine_slice end)
{
	for (int32_t at = quarantine_first(it, 0, UINT16_MAX); at >= 0;
	     at = quarantine_first(it, (uint32_t)at + 1, UINT16_MAX)) {
		if (partition_is_within((uint16_t)at, begin, end))
			it->words[at / 64] &= ~((uint64_t)1 << at % 64);
	}
}

int32_t quarantine_first(const struct quarantine *it, uint32_t from, uint32_t to)
{
	for (uint32_t word = from / 64; it != NULL && from <= to && word <= to / 64; word++) {
		uint64_t bits = it->words[word];

		if (word == from / 64)
			bits &= UINT64_MAX << from % 64;
		if (bits) {
			uint32_t found = word * 64 + (uint32_t)__builtin_ctzll(bits);

			return found <= to ? (int32_t)found : -1;
		}
	}
	return -1;
}

int32_t quarantine_last(const struct quarantine *it, uint32_t from, uint32_t to)
{
	for (uint32_t word = to / 64 + 1; it != NULL && from <= to && word-- > from / 64;) {
		uint64_t bits = it->words[word];

		if (word == to / 64)
			bits &= UINT64_MAX >> (63 - to % 64);
		if (bits) {
			uint32_t found = word * 64 + 63 - (uint32_t)__builtin_clzll(bits);

			return found >= from ? (int32_t)found : -1;
		}
	}
	return -1;
}

uint32_t quarantine_count(const struct quarantine *it)
{
	uint32_t count = 0;

	for (uint32_t i = 0; it != NULL && i < QUARANTINE_WORDS; i++)
		count += (uint32_t)__builtin_popcountll(it->words[i]);
	return count;
}

int quarantine_refuse(const struct quarantine *it, uint32_t partition, struct engine_error *error_out)
{
	return format_error(error_out, -EBADMSG, "partition %u is quarantined: %s", partition, it->reason.text);
}

/* ---- saved form ------------------------------------------------------------------------------------------------ */

/* The longest row of equal steps that begins with the first partition from `from` on. */
static bool next_row(const struct quarantine *it, uint32_t from, struct partition_row *out)
{
	int32_t first = quarantine_first(it, from, UINT16_MAX), next;

	if (first < 0)
		return false;
	*out = (struct partition_row){(uint32_t)first, (uint32_t)first, 1};
	while ((next = quarantine_first(it, out->last + 1, UINT16_MAX)) >= 0) {
		uint32_t step = (uint32_t)next - out->last;

		if (out->last != out->first && step != out->step)
			break;
		out->step = step;
		out->last = (uint32_t)next;
	}
	return true;
}

int quarantine_encode(const struct quarantine *it, struct buffer *out)
{
	uint64_t count = 0;
	struct partition_row row;
	int error;

	for (uint32_t from = 0; next_row(it, from, &row); from = row.last + 1)
		count++;
	error = buffer_append_varint(out, count);
	for (uint32_t from = 0; error == 0 && next_row(it, from, &row); from = row.last + 1) {
		error = buffer_append_varint(out, row.first);
		if (error == 0)
			error = buffer_append_varint(out, row.last);
		if (error == 0)
			error = buffer_append_varint(out, row.step);
	}
	return error ? error
		     : buffer_append_slice(out, (struct engine_slice){it->reason.text, strlen(it->reason.text)});
}

static int decode(struct buffer_reader *reader, struct quarantine *it)
{
	uint64_t count = buffer_read_varint(reader);
	struct engine_slice reason;

	for (uint64_t i = 0; i < count && !reader->bad; i++) {
		uint64_t first = buffer_read_varint(reader), last = buffer_read_varint(reader),
			 step = buffer_read_varint(reader);

		if (reader->bad || first > last || last > UINT16_MAX || !step || step > QUARANTINE_PARTITIONS)
			return -EBADMSG;
		quarantine_add(it, &(struct partition_row){(uint32_t)first, (uint32_t)last, (uint32_t)step});
	}
	reason = buffer_read_slice(reader);
	if (reader->bad || reason.size >= sizeof it->reason.text)
		return -EBADMSG;
	if (reason.size)
		memcpy(it->reason.text, reason.data, reason.size);
	return 0;
}

int quarantine_decode(struct buffer_reader *reader, struct quarantine **out)
{
	struct quarantine *it;
	int error = quarantine_create(NULL, &it);

	if (error)
		return error;
	error = decode(reader, it);
	if (error || quarantine_first(it, 0, UINT16_MAX) < 0)
		quarantine_unref(&it);
	*out = it;
	return error;
}
