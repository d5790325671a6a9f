/* SPDX-License-Identifier: Apache-2.0 */
/* Manifest: which files make up a shard, and the other small facts that must not be lost.
 *
 *     header   format.h, magic "kvr:man"
 *     records  0 magic u32 | 4 length u32 | 8 index u64, counting from 0 | 16 checksum u64 of the record with this field zero |
 *              24 edit
 *     edit     fields: tag u8 (manifest_edit.c), then varints, u64 and slices as the tag says
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
 * Ownership   Borrows struct files.
 * Errors      -EBADMSG with a text. manifest_append: -ENOSPC and the like leave the file as it was; -EIO: what is on the disk
 *             is unknown and the shard is dead.
 */
#ifndef KVRING_ENGINE_MANIFEST_H
#define KVRING_ENGINE_MANIFEST_H

#include "engine/disk/files.h"
#include "engine/state/manifest_state.h"

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
