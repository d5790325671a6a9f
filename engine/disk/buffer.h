/* SPDX-License-Identifier: Apache-2.0 */
/* Buffer: a growing array of bytes, and reading what was appended to one.
 *
 * Threading   A buffer belongs to its holder.
 * Ownership   buffer_fini frees the bytes. A reader borrows its bytes, and so do the slices that it gives.
 * Errors      -ENOMEM, with the buffer as it was. A reader keeps its first shortage in `bad`.
 */
#ifndef KVRING_ENGINE_BUFFER_H
#define KVRING_ENGINE_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

/* A growing array of bytes. */
struct buffer {
	uint8_t *data;
	size_t size;
	size_t capacity;
};

void buffer_fini(struct buffer *);
/* Room for extra more bytes, or -ENOMEM with the buffer as it was. */
ENGINE_OK int buffer_reserve(struct buffer *, size_t extra);
ENGINE_OK int buffer_append(struct buffer *, const void *data, size_t size);
ENGINE_OK int buffer_append_u64(struct buffer *, uint64_t value);
ENGINE_OK int buffer_append_varint(struct buffer *, uint64_t value);
/* Varint length, then the bytes. */
ENGINE_OK int buffer_append_slice(struct buffer *, struct engine_slice);
/* Replaces what is in it. */
ENGINE_OK int buffer_assign(struct buffer *, struct engine_slice);

/* Reads what the append functions wrote; after the first shortage `bad` stays set and all reads give zero. */
struct buffer_reader {
	const uint8_t *at, *end;
	bool bad;
};

uint64_t buffer_read_varint(struct buffer_reader *);
uint64_t buffer_read_u64(struct buffer_reader *);
struct engine_slice buffer_read_bytes(struct buffer_reader *, size_t size);
struct engine_slice buffer_read_slice(struct buffer_reader *);

#endif
