/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest: an odd first byte takes the input as the whole file, an even one as the edit in its first record, with
 * right checksums around it. What decodes can be changed by nothing and stays the same. */
#include <stdlib.h>
#include <string.h>

#include "engine/state/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORD_HEADER = 24 };

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void decode(const uint8_t *data, size_t size)
{
	struct manifest_state state, same;
	struct manifest_edit nothing = {0};
	struct engine_error error = {{0}};
	uint64_t tail;

	if (manifest_decode(data, size, "fuzz/MANIFEST", 0, &state, &tail, &error)) {
		check(error.text[0] != '\0');
		return;
	}
	check(manifest_state_change(&state, &nothing, &same) == 0);
	check(same.table_count == state.table_count && same.drop_count == state.drop_count);
	manifest_state_fini(&same);
	manifest_state_fini(&state);
}

static void decode_edit(const uint8_t *data, size_t size)
{
	struct format_header header = {.number = 1};
	size_t whole = FORMAT_HEADER_SIZE + RECORD_HEADER + size;
	uint8_t *file = calloc(1, whole), *record = file + FORMAT_HEADER_SIZE;

	format_header_write(file, FORMAT_MANIFEST, &header);
	format_u32_put(record, 0x524d564b);
	format_u32_put(record + 4, (uint32_t)size);
	memcpy(record + RECORD_HEADER, data, size);
	format_u64_put(record + 16, format_checksum(data, size, header.number, 0));
	decode(file, whole);
	free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		decode(data + 1, size - 1);
	else
		decode_edit(data + 1, size - 1);
	return 0;
}
