/* SPDX-License-Identifier: Apache-2.0 */
/* Log segments. The first byte chooses: bytes as a whole segment, whose batches would all have to carry right
 * checksums; as one batch behind its checksum; or as the entries of a batch that has one. What is read lies within the
 * input, and an entry written again is the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "engine/disk/buffer.h"
#include "engine/disk/wal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void read_entries(const uint8_t *data, size_t size)
{
	struct buffer_reader reader = {data, data + size, false};
	const uint8_t *begin = data;
	struct wal_entry entry;

	while (wal_entry_next(&reader, &entry) == 1) {
		size_t room = WAL_ENTRY_MAX + entry.key.size + entry.value.size;
		uint8_t *again = malloc(room);
		size_t written = (size_t)(wal_entry_put(again, &entry) - again);

		check(reader.at <= data + size && written <= room);
		/* Varints may have been longer than needed, and a delta of zero is not written. */
		check(written <= (size_t)(reader.at - begin));
		free(again);
		begin = reader.at;
	}
}

static void read_segment(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	struct wal_reader reader = {copy, size, 0, 1};
	struct wal_batch batch;
	uint64_t durable = 0;

	memcpy(copy, data, size);
	while (wal_reader_next(&reader, &batch))
		read_entries(batch.entries.data, batch.entries.size);
	wal_reader_resync(&reader, &durable);
	check(reader.at <= size);
	check(memcmp(copy, data, size) == 0);
	free(copy);
}

/* The input is a batch from its size field on. What it says of itself is in bounds, whatever it is. */
static void read_batch(const uint8_t *data, size_t size)
{
	uint8_t *segment = malloc(12 + size);
	struct wal_reader reader = {segment, 12 + size, 0, 1};
	struct wal_batch batch;

	memcpy(segment, "KVWB", 4);
	memcpy(segment + 12, data, size);
	/* The checksum is that of the whole input: a batch that ends before it has another. */
	format_u64_put(segment + 4, format_checksum(data, size, 1, 0));
	if (wal_reader_next(&reader, &batch)) {
		check(reader.at == 12 + size);
		check(batch.count && batch.first_sequence && batch.durable_sequence < batch.first_sequence);
		check((const uint8_t *)batch.entries.data + batch.entries.size == segment + 12 + size);
		read_entries(batch.entries.data, batch.entries.size);
	}
	free(segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const uint8_t *, size_t) = {read_entries, read_segment, read_batch};

	if (size)
		readers[data[0] % 3](data + 1, size - 1);
	return 0;
}
