/* SPDX-License-Identifier: Apache-2.0 */
/* Manifest: which files make up a shard, and the other small facts that must not be lost.
 *
 *     header   format.h, magic "kvr:man"
 *     records  0 magic u32 | 4 length u32 | 8 index u64, counting from 0 | 16 checksum u64 of the record with this field zero |
 *              24 edit
 *     edit     fields: tag u8 (enum below in manifest.c), then varints, u64 and slices as the tag says
 *
 * Every record is written twice in a row. A torn append loses both copies, or the second; one damaged place loses one. So a
 * record that had been synced is not lost to a flipped bit, and a hole in the indexes is damage, not a torn tail. The last
 * record losing both copies shows as well: log segments name the drops before them and the sequence they begin with, and
 * tables named but gone are damage.
 *
 * Quarantine (quarantine.h): a record holds the whole set, in place of the one before. A drop that covers a partition ends its
 * quarantine: what it holds is known again. So both happen in one record. Manifests without such records have no set.
 *
 * Opening rewrites the manifest as one record in a new file (temporary, sync, rename, sync directory).
 *
 * Threading   The shard's owner.
 * Ownership   State and edits own what they hold. Tables are shared by count among states (owner's thread only).
 * Errors      -EBADMSG with a text. manifest_append: -ENOSPC and the like leave the file as it was; -EIO: what is on the disk
 *             is unknown and the shard is dead.
 */
#ifndef KVRING_ENGINE_MANIFEST_H
#define KVRING_ENGINE_MANIFEST_H

#include "engine/disk/files.h"
#include "engine/partition/quarantine.h"
#include "engine/table/sst_format.h"

struct sst;

enum { MANIFEST_LEVELS = 8, MANIFEST_BOTTOM = MANIFEST_LEVELS - 1 };

/* A table in its place. Runs of a level: larger is newer. Tables of one run do not overlap. */
struct manifest_table {
	uint32_t refs;
	uint32_t level;
	uint64_t run;
	struct table_meta meta;
	struct sst *sst; /* opened by the shard, NULL offline */
};

/* All keys in [begin, end) written before the drop are gone. end empty: no end. */
struct manifest_drop {
	uint64_t id; /* 1, 2, ... */
	struct buffer begin, end;
};

struct manifest_tree {
	uint64_t number; /* 0: none */
	uint64_t size;
	uint64_t drop_id;
};

struct manifest_state {
	struct manifest_table **tables;
	size_t table_count;
	struct manifest_drop *drops;
	size_t drop_count;
	uint64_t last_drop_id;
	uint64_t next_number;      /* file numbers from here on were never used */
	uint64_t log_floor;        /* segments below are not needed */
	uint64_t flushed_sequence; /* tables hold everything up to here */
	uint64_t closed_sequence;  /* the log held everything up to here when the shard was closed; 0: it was not */
	struct manifest_tree tree;
	struct buffer meta;            /* the caller's blob */
	struct quarantine *quarantine; /* NULL: no partition is */
};

/* A change. Zero and NULL fields change nothing. */
struct manifest_edit {
	struct manifest_table **added;
	size_t added_count;
	uint64_t *removed; /* numbers */
	size_t removed_count;
	const struct manifest_drop *drop;
	uint64_t forget_drops; /* all up to this id */
	uint64_t next_number, log_floor, flushed_sequence, closed_sequence, last_drop_id;
	const struct manifest_tree *tree;
	const struct engine_slice *meta;
	struct quarantine *quarantine; /* the new set */
};

ENGINE_OK int manifest_table_create(uint32_t level, uint64_t run, const struct table_meta *,
				    struct manifest_table **out);
struct manifest_table *manifest_table_ref(struct manifest_table *);
void manifest_table_unref(struct manifest_table **);

void manifest_state_fini(struct manifest_state *);
/* to = from changed by edit. -EBADMSG when the edit removes what is not there or adds what is. */
ENGINE_OK int manifest_state_change(const struct manifest_state *from, const struct manifest_edit *edit,
				    struct manifest_state *to);

struct manifest;

/* Reads the manifest's bytes. tail_out: bytes at the end that belong to no record (a torn append). */
ENGINE_OK int manifest_decode(const uint8_t *data, size_t size, const char *path, uint32_t shard_index,
			      struct manifest_state *out, uint64_t *tail_out, struct engine_error *error_out);
ENGINE_OK int manifest_read(const struct files *, struct manifest_state *out, uint64_t *tail_out,
			    struct engine_error *error_out);
/* Writes the state as a new manifest in place of the old one, open for appending. Its name is synced now, or, when that fails with a
 * passing error (fs_is_passing), before the first append: until then a crash may bring back the old one. -EIO: either may
 * be there. */
ENGINE_OK int manifest_create(const struct files *, uint64_t number, const struct manifest_state *,
			      struct manifest **out);
/* Syncs the name, when that has not been done. */
ENGINE_OK int manifest_sync_name(struct manifest *);
/* Appends and syncs. */
ENGINE_OK int manifest_append(struct manifest *, const struct manifest_edit *);
uint64_t manifest_size(const struct manifest *);
void manifest_close(struct manifest **);

#endif
