/* SPDX-License-Identifier: Apache-2.0 */
/* Log: what was written since the last flush, in segments. One segment holds what one memtable holds.
 *
 *     header     format.h, magic "kvr:log"; a = sequence of the first entry to come, b = drops that happened before
 *     batches    0  magic          u32
 *                4  checksum       u64, format_checksum of what follows; the segment's number and the batch's offset are in it,
 *                                  so bytes left by another file or place never look valid
 *                12 size           varint, bytes of the entries
 *                   count          varint, of entries, at least 1
 *                   first sequence varint, at least 1
 *                   lag            varint, first sequence - 1 - the last sequence known to be on stable storage when the batch
 *                                  was written ("durable")
 *                   entries
 *     entry      u8 enum entry_type | 4 when a tree delta follows, varint key size, varint value size, [u64 delta], key, value
 *
 * A batch that does not verify ends the log, unless a later one (here or in a later segment) says in `durable` that what is
 * missing had been synced: then acknowledged data is damaged, and the partitions of the shard are quarantined.
 *
 * Threading   One owner; wal_sync may run on another thread.
 * Errors      What the file system returns. After a failed append the file is cut back to its last good batch; when that
 *             fails too, or a sync fails, the log must not be used any more (the shard is dead).
 */
#ifndef KVRING_ENGINE_WAL_H
#define KVRING_ENGINE_WAL_H

#include "engine/disk/buffer.h"
#include "engine/disk/files.h"

enum {
	WAL_BATCH_ROOM = 12 + 4 * FORMAT_VARINT_MAX, /* bytes before the entries, at most */
	WAL_ENTRY_MAX = 1 + 3 + 5 + 8,               /* bytes of an entry beside key and value */
	WAL_ENTRY_DELTA = 4,
};

#define WAL_BATCH_BYTES_MAX ((size_t)1 << 30)
#define WAL_SEGMENT_MAX     ((uint64_t)1 << 33) /* bytes; a segment is read whole */

struct wal {
	const struct files *files;
	struct fs_file *file;
	uint64_t number;
	uint64_t size;
	uint64_t last_sequence; /* of what it holds, or before its first */
	uint64_t drop_id;
	bool is_synced;
	uint32_t refs;    /* the owner's: its own, and one per commit under way */
	struct wal *next; /* holder's list */
};

/* Creates the segment's file ahead of its use: empty, its name synced. On an error nothing is left. */
ENGINE_OK int wal_open_ahead(const struct files *, uint64_t number, struct wal **out);
/* Begins an empty segment: its header is written and synced, so a damaged header is never what a crash left of a segment that
 * was written to. After an error the segment is of no use: wal_remove. */
ENGINE_OK int wal_begin(struct wal *, uint64_t first_sequence, uint64_t drop_id);
/* Both. On an error nothing is left. */
ENGINE_OK int wal_create(const struct files *, uint64_t number, uint64_t first_sequence, uint64_t drop_id,
			 struct wal **out);
/* Drops a reference; the last one closes the file. NULL is fine. */
void wal_close(struct wal **);
/* Removes the file of a segment that holds nothing, and drops the reference. NULL is fine. */
void wal_remove(struct wal **);
/* False when the segment's file was removed, renamed or replaced behind the engine's back. */
bool wal_is_named(const struct wal *);
struct wal *wal_ref(struct wal *);
/* batch begins with WAL_BATCH_ROOM bytes of room, the entries follow; the header is written right before them. 0, or an
 * error with the file as before; -EIO when that could not be had. durable_sequence < first_sequence. */
ENGINE_OK int wal_append(struct wal *, uint8_t *batch, size_t size, uint64_t first_sequence, uint32_t count,
			 uint64_t durable_sequence);
/* Syncs what was appended before the call. (any thread, also beside an append) Whoever owns the segment notes the result. */
ENGINE_OK int wal_sync(struct wal *);

struct wal_batch {
	uint64_t first_sequence, durable_sequence;
	uint32_t count;
	struct engine_slice entries;
};

struct wal_entry {
	enum entry_type type;
	uint64_t tree_delta;
	struct engine_slice key, value;
};

/* Reads a segment that is in memory. */
struct wal_reader {
	const uint8_t *data;
	size_t size, at;
	uint64_t number;
};

/* Reads a segment whole; free *data_out. When not all of it verifies it is read anew, past the page cache, and the reading that goes
 * further counts. */
ENGINE_OK int wal_read(const struct files *, uint64_t number, uint8_t **data_out, size_t *size_out);

/* True and moves on; false at the end or where the next batch does not verify (then at < size). */
bool wal_reader_next(struct wal_reader *, struct wal_batch *out);
/* Is there any intact batch behind the header? Without one the segment was never written to, whatever its header looks like. */
bool wal_holds_batches(const uint8_t *data, size_t size, uint64_t number);
/* Looks for intact batches from here on, past damage. True when there is one; *durable_inout rises to the largest
 * `durable`. */
bool wal_reader_resync(struct wal_reader *, uint64_t *durable_inout);

/* Encodes an entry; room for WAL_ENTRY_MAX + key + value. Returns the end. */
uint8_t *wal_entry_put(uint8_t *out, const struct wal_entry *);
/* Next of a batch's entries. 1, 0 at the end, -EBADMSG. */
ENGINE_OK int wal_entry_next(struct buffer_reader *, struct wal_entry *out);

#endif
