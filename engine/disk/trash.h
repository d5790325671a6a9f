/* SPDX-License-Identifier: Apache-2.0 */
/* Trash: files that the store no longer uses, until a background job deletes them.
 *
 * Removing a file of 64 MiB takes the file system ten milliseconds and more, longer than an owner may wait. So the owner leaves
 * the name here, and shard_maintain hands out a job that removes the files. After a crash recovery removes every file that
 * the manifest does not name.
 *
 * Threading   Any thread; a mutex, as files go rarely.
 * Ownership   The shard's; what its tables and jobs reach through struct files.
 * Errors      trash_add removes the file itself when memory is short. A file that cannot be removed stays until the store is
 *             opened again.
 */
#ifndef KVRING_ENGINE_TRASH_H
#define KVRING_ENGINE_TRASH_H

#include "engine/disk/files.h"

ENGINE_OK int trash_create(const struct fs *, struct trash **out);
/* Sweeps, and ends it. NULL is fine. */
void trash_destroy(struct trash **);
void trash_add(struct trash *, const char *path);
/* Queues a file that the store no longer uses for deletion; without a trash, deletes it at once. */
void trash_discard(const struct files *, enum file_kind, uint64_t number);
bool trash_is_empty(struct trash *);
/* Removes what is in it now. */
void trash_sweep(struct trash *);

#endif
