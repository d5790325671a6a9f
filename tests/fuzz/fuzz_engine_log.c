/* Log segments. The first byte chooses: bytes as a whole segment, whose batches would all have to carry right
 * checksums, or as the entries of a batch that does. What is read lies within the input, and an entry written again is
 * the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "wal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void read_entries(const uint8_t *data, size_t size)
{
	struct reader reader = {data, data + size, false};
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		read_segment(data + 1, size - 1);
	else
		read_entries(data + 1, size - 1);
	return 0;
}
