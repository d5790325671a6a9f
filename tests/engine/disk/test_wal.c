/* SPDX-License-Identifier: Apache-2.0 */
/* Log segments: what was appended is read back; what was torn, left by another file or damaged is not; and what lies behind
 * damage says how far the log had been synced.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/engine/shelf.h"
#include "tests/sim/sim_random.h"
#include "engine/disk/buffer.h"
#include "engine/disk/wal.h"

enum { NUMBER = 12, BATCHES = 6, FIRST = 41 /* sequence */ };

/* A segment of BATCHES batches with 1, 2, ... entries; each says that the one before it had been synced. */
struct segment {
	struct shelf shelf;
	struct files_path path;
	uint8_t *bytes;
	size_t size;
	size_t ends[BATCHES + 1]; /* ends[i]: of the first i batches */
	uint64_t last[BATCHES + 1];
};

static struct wal_entry make_entry(uint64_t sequence, char bytes[64])
{
	struct wal_entry entry = {.type = sequence % 5 ? ENTRY_PUT : ENTRY_DELETE,
				  .tree_delta = sequence % 3 ? sequence * 0x9e3779b97f4a7c15u : 0};

	entry.key = (struct engine_slice){bytes, (size_t)snprintf(bytes, 32, "key %llu", (unsigned long long)sequence)};
	entry.value = (struct engine_slice){bytes + 32, sequence % 5 ? sequence % 30 : 0};
	memset(bytes + 32, (int)sequence, 30);
	return entry;
}

static void append_batch(struct wal *wal, uint64_t first, uint32_t count, uint64_t durable)
{
	uint8_t batch[WAL_BATCH_ROOM + BATCHES * (WAL_ENTRY_MAX + 64)], *end = batch + WAL_BATCH_ROOM;

	for (uint32_t i = 0; i < count; i++) {
		char bytes[64];
		struct wal_entry entry = make_entry(first + i, bytes);

		end = wal_entry_put(end, &entry);
	}
	assert_int_equal(wal_append(wal, batch, (size_t)(end - batch), first, count, durable), 0);
}

static void segment_init(struct segment *it)
{
	uint64_t sequence = FIRST - 1;
	const uint8_t *data;
	struct wal *wal;
	uint64_t size;

	shelf_init(&it->shelf, 4096);
	it->path = files_path(&it->shelf.files, FILE_LOG, NUMBER);
	assert_int_equal(wal_create(&it->shelf.files, NUMBER, FIRST, 7, &wal), 0);
	assert_int_equal(wal->size, FORMAT_HEADER_SIZE);
	it->ends[0] = wal->size;
	it->last[0] = sequence;
	for (uint32_t i = 1; i <= BATCHES; i++) {
		append_batch(wal, sequence + 1, i, sequence);
		sequence += i;
		assert_int_equal(wal->last_sequence, sequence);
		it->ends[i] = wal->size;
		it->last[i] = sequence;
	}
	assert_false(wal->is_synced);
	assert_int_equal(wal_sync(wal), 0);
	wal_close(&wal);
	assert_int_equal(sim_fs_look(it->shelf.disk, it->path.text, &data, &size), 0);
	assert_int_equal(size, it->ends[BATCHES]);
	it->size = size;
	it->bytes = malloc(size * 2);
	memcpy(it->bytes, data, size);
}

static void segment_fini(struct segment *it)
{
	free(it->bytes);
	shelf_fini(&it->shelf);
}

static struct wal_reader reader_of(const struct segment *it, size_t size)
{
	return (struct wal_reader){it->bytes, size, FORMAT_HEADER_SIZE, NUMBER};
}

/* Reads on from batch `from`; the number of batches read whole, each checked. */
static size_t read_batches(const struct segment *it, struct wal_reader *reader, size_t from)
{
	struct wal_batch batch;

	for (; wal_reader_next(reader, &batch); from++) {
		const uint8_t *bytes = batch.entries.data;
		struct buffer_reader entries = {bytes, bytes + batch.entries.size, false};
		struct wal_entry got;

		assert_true(from < BATCHES);
		assert_int_equal(batch.first_sequence, it->last[from] + 1);
		assert_int_equal(batch.durable_sequence, it->last[from]);
		assert_int_equal(batch.count, from + 1);
		assert_int_equal(reader->at, it->ends[from + 1]);
		for (uint32_t i = 0; i < batch.count; i++) {
			char expected_bytes[64];
			struct wal_entry expected = make_entry(batch.first_sequence + i, expected_bytes);

			assert_int_equal(wal_entry_next(&entries, &got), 1);
			assert_int_equal(got.type, expected.type);
			assert_int_equal(got.tree_delta, expected.tree_delta);
			assert_int_equal(format_compare(got.key, expected.key), 0);
			assert_int_equal(format_compare(got.value, expected.value), 0);
		}
		assert_int_equal(wal_entry_next(&entries, &got), 0);
	}
	return from;
}

static void test_reads_what_was_appended(void **state)
{
	struct segment it;
	struct wal_reader reader;
	struct format_header header;

	(void)state;
	segment_init(&it);
	assert_int_equal(format_header_read(it.bytes, it.size, FORMAT_LOG, "x", &header, NULL), 0);
	assert_int_equal(header.number, NUMBER);
	assert_int_equal(header.shard, SHELF_SHARD);
	assert_int_equal(header.a, FIRST);
	assert_int_equal(header.b, 7);
	reader = reader_of(&it, it.size);
	assert_int_equal(read_batches(&it, &reader, 0), BATCHES);
	assert_int_equal(reader.at, reader.size);
	segment_fini(&it);
}

/* Cut at every byte: the whole batches before it are read, nothing else, and the cut is seen unless it lies between two. */
static void test_torn_at_every_byte(void **state)
{
	struct segment it;

	(void)state;
	segment_init(&it);
	for (size_t size = FORMAT_HEADER_SIZE; size <= it.size; size++) {
		struct wal_reader reader = reader_of(&it, size);
		uint64_t durable = 0;
		size_t whole = 0;

		while (whole < BATCHES && it.ends[whole + 1] <= size)
			whole++;
		assert_int_equal(read_batches(&it, &reader, 0), whole);
		assert_int_equal(reader.at, it.ends[whole]);
		assert_int_equal(reader.at < size, size != it.ends[whole]);
		assert_false(wal_reader_resync(&reader, &durable));
		assert_int_equal(durable, 0);
	}
	segment_fini(&it);
}

/* Every bit of one batch in the middle: the log ends before it, and what lies behind proves how far it had been synced. */
static void test_damage_in_the_middle_is_proved(void **state)
{
	enum { HURT = 2 };
	struct segment it;

	(void)state;
	segment_init(&it);
	for (size_t bit = it.ends[HURT] * 8; bit < it.ends[HURT + 1] * 8; bit++) {
		struct wal_reader reader = reader_of(&it, it.size);
		uint64_t durable = 0;

		it.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(read_batches(&it, &reader, 0), HURT);
		assert_true(wal_reader_resync(&reader, &durable));
		assert_int_equal(durable, it.last[BATCHES - 1]); /* as the last batch says */
		assert_true(durable > it.last[HURT]);
		it.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	segment_fini(&it);
}

/* The damaged batch holds what looks like the beginning of others: the search goes on behind each. */
static void test_resync_passes_false_beginnings(void **state)
{
	struct segment it;
	struct wal_reader reader;
	uint64_t durable = 0;

	(void)state;
	segment_init(&it);
	for (size_t at = it.ends[3]; at + 4 <= it.ends[4]; at += 4)
		memcpy(it.bytes + at, it.bytes + FORMAT_HEADER_SIZE, 4); /* the magic */
	reader = reader_of(&it, it.size);
	assert_int_equal(read_batches(&it, &reader, 0), 3);
	assert_true(wal_reader_resync(&reader, &durable));
	assert_int_equal(durable, it.last[BATCHES - 1]);
	segment_fini(&it);
}

/* Behind the end lie the bytes of another segment, or of this one at another place, as a recycled file would have them. */
static void test_bytes_of_other_places_are_not_batches(void **state)
{
	struct segment it;

	(void)state;
	segment_init(&it);
	for (size_t shift = 0; shift < 80; shift++) {
		struct wal_reader reader = reader_of(&it, it.size);
		size_t rest = it.size - it.ends[1];
		uint64_t durable = 0;

		/* Batches 2 and up once more, behind their own end, shifted. */
		memset(it.bytes + it.size, 0, shift);
		memcpy(it.bytes + it.size + shift, it.bytes + it.ends[1], rest - 80);
		reader.size = it.size + shift + rest - 80;
		assert_int_equal(read_batches(&it, &reader, 0), BATCHES);
		assert_int_equal(reader.at, it.size);
		assert_false(wal_reader_resync(&reader, &durable));
	}
	/* The whole of it under another number: nothing is valid. */
	struct wal_reader other = reader_of(&it, it.size);
	struct wal_batch batch;
	uint64_t durable = 0;

	other.number = NUMBER + 1;
	assert_false(wal_reader_next(&other, &batch));
	assert_false(wal_reader_resync(&other, &durable));
	segment_fini(&it);
}

/* Fields that lie behind a right checksum, in place of the last batch: it is none, and nothing is read beyond the end. */
static void test_lying_fields(void **state)
{
	static const struct {
		uint64_t size, count, first, lag;
		bool is_good;
	} cases[] = {
		{40, 3, 100, 5, true},
		{0, 3, 100, 5, true}, /* its entries are missing, as whoever replays them sees */
		{40, 3, 100, 99, true},
		{40, 3, 100, 100, false},
		{40, 3, 100, UINT64_MAX, false},
		{40, 0, 100, 5, false},
		{40, UINT32_MAX, 100, 5, true},
		{40, (uint64_t)UINT32_MAX + 1, 100, 5, false},
		{40, 3, 0, 0, false},
		{1 << 20, 3, 100, 5, false},
		{UINT32_MAX, 3, 100, 5, false},
		{UINT64_MAX, 3, 100, 5, false},
	};
	struct segment it;

	(void)state;
	segment_init(&it);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint8_t *batch = it.bytes + it.ends[BATCHES - 1], *end = batch + 12;
		struct wal_reader reader = reader_of(&it, it.size);
		struct wal_batch got;

		end = format_varint_put(end, cases[i].size);
		end = format_varint_put(end, cases[i].count);
		end = format_varint_put(end, cases[i].first);
		end = format_varint_put(end, cases[i].lag);
		end += cases[i].size < 100 ? cases[i].size : 100;
		assert_true(end <= it.bytes + it.size);
		format_u64_put(batch + 4,
			       format_checksum(batch + 12, (size_t)(end - batch) - 12, NUMBER, it.ends[BATCHES - 1]));
		for (int j = 0; j < BATCHES - 1; j++)
			assert_true(wal_reader_next(&reader, &got));
		assert_int_equal(wal_reader_next(&reader, &got), cases[i].is_good);
		if (cases[i].is_good) {
			assert_int_equal(got.count, cases[i].count);
			assert_int_equal(got.durable_sequence, cases[i].first - 1 - cases[i].lag);
		}
	}
	segment_fini(&it);
}

static void test_entries_out_of_bounds(void **state)
{
	struct wal_entry entry;
	uint8_t bytes[32], *end;

	(void)state;
	for (unsigned flags = 0; flags < 256; flags++) {
		const bool good = flags == 0 || flags == 1 || flags == 4 || flags == 5;
		struct buffer_reader reader = {bytes, bytes + 15, false};

		memset(bytes, 0, sizeof bytes);
		bytes[0] = (uint8_t)flags;
		bytes[1] = 2;
		bytes[2] = 1;
		assert_int_equal(wal_entry_next(&reader, &entry), good ? 1 : -EBADMSG);
	}
	/* Sizes beyond the limits, whatever the room: the entry is refused before anyone believes them. */
	const uint64_t sizes[][2] = {
		{0, 0}, {1, 0}, {ENGINE_KEY_MAX + 1, 0}, {2, ENGINE_VALUE_MAX + 1}, {UINT64_MAX, 0}, {2, UINT64_MAX}};
	const size_t room = (size_t)ENGINE_VALUE_MAX + 100;
	uint8_t *large = calloc(1, room);

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct buffer_reader reader = {large, large + room, false};

		end = format_varint_put(format_varint_put(large + 1, sizes[i][0]), sizes[i][1]);
		assert_true(end < large + 32);
		assert_int_equal(wal_entry_next(&reader, &entry), -EBADMSG);
	}
	free(large);
	/* Cut anywhere. */
	char text[64];
	struct wal_entry whole = make_entry(7, text);
	uint8_t encoded[128];

	end = wal_entry_put(encoded, &whole);
	for (uint8_t *cut = encoded + 1; cut < end; cut++) {
		struct buffer_reader reader = {encoded, cut, false};

		assert_int_equal(wal_entry_next(&reader, &entry), -EBADMSG);
	}
}

/* An append that fails leaves the file as it was, and the next one goes on from there. */
static void test_failed_append_is_cut_off(void **state)
{
	struct segment it;
	struct wal *wal;
	uint8_t batch[WAL_BATCH_ROOM + 600] = {0};
	const uint8_t *data;
	uint64_t size;

	(void)state;
	segment_init(&it);
	assert_int_equal(wal_create(&it.shelf.files, NUMBER + 1, FIRST, 0, &wal), 0);
	append_batch(wal, FIRST, 2, FIRST - 1);
	size_t before = wal->size;

	sim_fs_reset_operations(it.shelf.disk);
	sim_fs_fail_at(it.shelf.disk, 0, -ENOSPC, false);
	assert_int_equal(wal_append(wal, batch, sizeof batch, FIRST + 2, 1, 0), -ENOSPC);
	assert_int_equal(wal->size, before);
	assert_int_equal(wal->last_sequence, FIRST + 1);
	assert_int_equal(
		sim_fs_look(it.shelf.disk, files_path(&it.shelf.files, FILE_LOG, NUMBER + 1).text, &data, &size), 0);
	assert_int_equal(size, before);
	append_batch(wal, FIRST + 2, 1, FIRST + 1);
	/* When cutting fails as well, no one knows what is there. */
	sim_fs_reset_operations(it.shelf.disk);
	sim_fs_fail_at(it.shelf.disk, 0, -ENOSPC, true);
	assert_int_equal(wal_append(wal, batch, sizeof batch, FIRST + 3, 1, 0), -EIO);
	sim_fs_fail_never(it.shelf.disk);
	wal_close(&wal);
	segment_fini(&it);
}

/* Making a segment fails at each operation: nothing is left, open or named. */
static void test_failed_creation_leaves_nothing(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t index = 0; fired; index++) {
		struct shelf shelf;
		struct files_path path;
		const uint8_t *data;
		uint64_t size;
		struct wal *wal = NULL;
		int error;

		shelf_init(&shelf, 4096);
		path = files_path(&shelf.files, FILE_LOG, 5);
		sim_fs_reset_operations(shelf.disk);
		sim_fs_fail_at(shelf.disk, index, -EIO, false);
		error = wal_create(&shelf.files, 5, 1, 0, &wal);
		fired = sim_fs_fired(shelf.disk);
		assert_int_equal(error, fired ? -EIO : 0);
		assert_int_equal(sim_fs_look(shelf.disk, path.text, &data, &size), fired ? -ENOENT : 0);
		if (!fired) {
			assert_true(index >= 3);
			wal_close(&wal);
		}
		shelf_fini(&shelf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_what_was_appended),
		cmocka_unit_test(test_torn_at_every_byte),
		cmocka_unit_test(test_damage_in_the_middle_is_proved),
		cmocka_unit_test(test_resync_passes_false_beginnings),
		cmocka_unit_test(test_bytes_of_other_places_are_not_batches),
		cmocka_unit_test(test_lying_fields),
		cmocka_unit_test(test_entries_out_of_bounds),
		cmocka_unit_test(test_failed_append_is_cut_off),
		cmocka_unit_test(test_failed_creation_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
