/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated file system: struct fs of engine/fs.h over a disk in memory, with every fault a real one has.
 *
 *     sim_fs_create(seed, &disk);
 *     options.fs = sim_fs_table(disk);
 *     sim_fs_crash_at(disk, 17, &(struct sim_crash){SIM_DATA_TORN_512, SIM_NAMES_ANY, 1});
 *     ... run; from operation 17 on everything is -EIO ...
 *     engine_close(&engine);       // frees memory; nothing more reaches the disk
 *     sim_fs_restart(disk);        // what survived is there again
 *
 * Operations are counted from 0 (close is not one), so that a test can fail or crash at each in turn. The operation at
 * which the power fails is begun: its bytes or names are among the unsynced ones that the crash may keep.
 *
 * Threading   One thread.
 * Ownership   The table is valid as long as the struct sim_fs; all files must be closed before it is destroyed.
 * Errors      As fs.h. Memory that is out aborts: this is a test.
 * Invariants  F1 Same calls and seed, same results and same bytes.
 *             F2 After a crash every call returns -EIO until sim_fs_restart, and files opened before it do so for ever.
 *             F3 Durability is what fs.h promises and nothing else.
 */
#ifndef KVRING_TESTS_SIM_FS_H
#define KVRING_TESTS_SIM_FS_H

#include "engine/fs.h"
#include "tests/sim/sim_disk.h"

struct sim_fs;

enum sim_fs_call {
	SIM_FS_OPEN,   /* for reading or appending */
	SIM_FS_CREATE, /* open with FS_OPEN_CREATE */
	SIM_FS_PREAD,
	SIM_FS_APPEND,
	SIM_FS_SYNC,
	SIM_FS_SIZE,
	SIM_FS_TRUNCATE,
	SIM_FS_SYNC_DIR,
	SIM_FS_RENAME,
	SIM_FS_LINK,
	SIM_FS_UNLINK,
	SIM_FS_MKDIR,
	SIM_FS_RMDIR,
	SIM_FS_LIST,
	SIM_FS_LOCK,
	SIM_FS_FREE_BYTES,
	SIM_FS_IS_NAMED,
	SIM_FS_CALL_COUNT,
};

enum {
	SIM_FS_ALL = (1 << SIM_FS_CALL_COUNT) - 1,
	SIM_FS_READS = 1 << SIM_FS_OPEN | 1 << SIM_FS_PREAD | 1 << SIM_FS_SIZE | 1 << SIM_FS_LIST |
		       1 << SIM_FS_FREE_BYTES | 1 << SIM_FS_IS_NAMED,
	SIM_FS_WRITES = SIM_FS_ALL & ~SIM_FS_READS,
};

void sim_fs_create(uint64_t seed, struct sim_fs **out);
void sim_fs_destroy(struct sim_fs **);
const struct fs *sim_fs_table(const struct sim_fs *);
const char *sim_fs_call_name(enum sim_fs_call);

/* ---- counting, failing ---- */

/* Which calls are counted and can be failed or crashed at: a set of 1 << enum sim_fs_call. SIM_FS_ALL at first. */
void sim_fs_count_only(struct sim_fs *, uint32_t calls);
/* Counted operations so far. */
uint64_t sim_fs_operations(const struct sim_fs *);
void sim_fs_reset_operations(struct sim_fs *);
uint64_t sim_fs_open_files(const struct sim_fs *);
uint64_t sim_fs_calls(const struct sim_fs *, enum sim_fs_call); /* of this kind since the creation */

/* Counted operation number `index` and, when `forever`, all counted ones after it return `error` (-EIO, -ENOSPC, ...).
 * A failed append leaves a prefix; a failed sync leaves some of the bytes unsynced for good, and the next sync does not
 * tell. */
void sim_fs_fail_at(struct sim_fs *, uint64_t index, int error, bool forever);
/* Did a planned failure or crash happen? */
bool sim_fs_fired(const struct sim_fs *);
/* Forgets plans that have not fired. */
void sim_fs_fail_never(struct sim_fs *);

/* Asked before each counted operation; a negative errno fails it. Also a place to trace. NULL: none. */
void sim_fs_set_hook(struct sim_fs *, int (*hook)(void *arg, uint64_t index, enum sim_fs_call, const char *path),
		     void *arg);

/* Size of the disk: appends past it write what fits and return -ENOSPC, new files are refused. UINT64_MAX: no end. */
void sim_fs_set_capacity(struct sim_fs *, uint64_t bytes);
bool sim_fs_is_limited(const struct sim_fs *);
uint64_t sim_fs_used(const struct sim_fs *);

/* A disk that lies: sync answers 0 and does nothing. For planted bugs. */
void sim_fs_set_lying(struct sim_fs *, bool lying);

/* ---- crashing ---- */

void sim_fs_crash(struct sim_fs *, const struct sim_crash *);
void sim_fs_crash_at(struct sim_fs *, uint64_t index, const struct sim_crash *);
/* The process dies and the machine lives (kill -9): locks are free and old handles dead, but what was written and not
 * synced is still seen, and can still be lost to a later crash. */
void sim_fs_kill(struct sim_fs *);
bool sim_fs_is_down(const struct sim_fs *);
/* The machine is up again: locks are free, every file is as it survived. */
void sim_fs_restart(struct sim_fs *);

/* ---- looking in and damaging, behind the program's back; the file must exist ---- */

/* Flips one bit, or these bits, of a byte of what is stored (and seen). That byte must be synced. */
void sim_fs_flip_bit(struct sim_fs *, const char *path, uint64_t offset, uint32_t bit);
void sim_fs_flip_bits(struct sim_fs *, const char *path, uint64_t offset, uint8_t bits);
/* Reads of this byte show these bits flipped, while the medium is right: one read, or every read until the cached copy is
 * dropped. One plan at a time; the last one counts. */
enum sim_misread { SIM_MISREAD_ONCE, SIM_MISREAD_CACHED };
void sim_fs_misread(struct sim_fs *, const char *path, uint64_t offset, uint8_t bits, enum sim_misread);
uint64_t sim_fs_misreads(const struct sim_fs *); /* reads that showed flipped bits, of all plans */
/* Cuts or restores; both states become `size` bytes of what was seen, or these bytes. */
void sim_fs_cut(struct sim_fs *, const char *path, uint64_t size);
void sim_fs_put_file(struct sim_fs *, const char *path, const void *data,
		     size_t size);                          /* made durable; directories must exist */
void sim_fs_remove_file(struct sim_fs *, const char *path); /* made durable */
/* -ENOENT, or 0 and the bytes seen, valid until the next call on that file. */
int sim_fs_look(struct sim_fs *, const char *path, const uint8_t **data_out, uint64_t *size_out);
/* Visits every file (not directory) below a directory with its full path, in the order of names. */
void sim_fs_walk(struct sim_fs *, const char *directory, void (*visit)(void *arg, const char *path, uint64_t size),
		 void *arg);
/* XXH3 over all names and bytes stored: equal disks, equal hash. */
uint64_t sim_fs_hash(struct sim_fs *);

#endif
