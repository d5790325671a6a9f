/* SPDX-License-Identifier: Apache-2.0 */
/* Disk: the medium under the simulated file system, and what a power cut leaves of it.
 *
 * Every file has two states: what a program sees, and what is on the medium. Between them stands the list of writes not
 * yet synced. Every directory has the same two states, and between them stands the list of name changes not yet synced.
 * A power cut applies some of both lists, as the crash says, and the rest is gone.
 *
 * Threading   One thread.
 * Ownership   The disk owns its nodes; sim_node_ref / sim_node_unref count handles, names and pending changes.
 * Errors      Negative errno as a file system gives. Memory that is out aborts: this is a test.
 * Invariants  M1 Same calls and seed, same medium, to the byte.
 *             M2 What was synced survives every crash (unless sync lies).
 *             M3 A rename is atomic: both of its names change or none.
 */
#ifndef KVRING_TESTS_SIM_DISK_H
#define KVRING_TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/sim/sim_random.h"

/* What becomes of the writes of a file that were not synced. */
enum sim_crash_data {
	SIM_DATA_KEEP,     /* all reached the medium */
	SIM_DATA_DROP,     /* none did */
	SIM_DATA_REORDER,  /* any subset of the writes; holes read as zeros or junk */
	SIM_DATA_TORN_512, /* any subset of the sectors of 512 bytes, or all up to one of them */
	SIM_DATA_TORN_4K,  /* the same in pages of 4 KiB */
	SIM_DATA_MODE_COUNT,
	SIM_DATA_MIXED = SIM_DATA_MODE_COUNT, /* each file takes one of the above */
};

/* What becomes of created, linked, renamed and unlinked names whose directory was not synced. */
enum sim_crash_names {
	SIM_NAMES_KEEP,
	SIM_NAMES_DROP,
	SIM_NAMES_PREFIX, /* the first so many changes, as a journal would */
	SIM_NAMES_ANY,    /* each by itself */
	SIM_NAMES_MODE_COUNT,
};

struct sim_crash {
	enum sim_crash_data data;
	enum sim_crash_names names;
	uint64_t seed;
};

/* "kept", "dropped", "reordered", "torn at 512", ... */
const char *sim_crash_data_name(enum sim_crash_data);
const char *sim_crash_names_name(enum sim_crash_names);

struct sim_bytes {
	uint8_t *data;
	size_t size, capacity;
};

struct sim_entry {
	char *name;
	struct sim_node *node;
};

struct sim_names {
	struct sim_entry *entries; /* in the order of their making */
	uint32_t count, capacity;
};

struct sim_write; /* an append or a truncation that is not synced */

/* A file or a directory. */
struct sim_node {
	struct sim_node *next, **link; /* all nodes of the disk, oldest first */
	uint64_t number;
	uint32_t references; /* names in both states, pending changes, handles */
	uint32_t links;      /* names a program sees */
	uint32_t handles;    /* open files */
	bool is_directory;
	bool locked;
	/* a file's */
	struct sim_bytes seen, stored;
	struct sim_write *first_write, **last_write;
	/* a directory's */
	struct sim_names names_seen, names_stored;
};

struct sim_change; /* a name made, moved or removed in a directory that is not synced */

struct sim_disk {
	struct sim_node *nodes, **last_node;
	struct sim_node *root;
	struct sim_change *first_change, **last_change;
	uint64_t next_number;
};

void sim_disk_init(struct sim_disk *);
void sim_disk_fini(struct sim_disk *); /* every handle must be closed */

void sim_node_ref(struct sim_node *);
void sim_node_unref(struct sim_disk *, struct sim_node *);

/* ---- names: what a program sees changes at once, the medium at sim_disk_sync_names or by luck at a crash ---- */

struct sim_place { /* where a path leads */
	struct sim_node *directory;
	struct sim_node *node; /* NULL: no such name yet */
	char name[256];
};

/* -ENOENT when a directory on the way is missing, -ENOTDIR, -EINVAL ('..' or an empty path), -ENAMETOOLONG. "/" is a
 * place whose directory is NULL. */
int sim_disk_find(struct sim_disk *, const char *path, struct sim_place *out);
struct sim_node *sim_disk_make(struct sim_disk *, const struct sim_place *, bool is_directory);
void sim_disk_link(struct sim_disk *, const struct sim_place *, struct sim_node *);
void sim_disk_rename(struct sim_disk *, const struct sim_place *from, const struct sim_place *to);
void sim_disk_unlink(struct sim_disk *, const struct sim_place *);
void sim_disk_sync_names(struct sim_disk *, struct sim_node *directory);

/* ---- bytes ---- */

void sim_node_append(struct sim_node *, const void *data, size_t size);
void sim_node_truncate(struct sim_node *, uint64_t size); /* longer: zeros */
void sim_node_sync(struct sim_node *);
/* A sync that failed: some unsynced writes reached the medium, and the others never will, though they are still seen
 * and no later sync complains (Rebello and others, "Can Applications Recover from fsync Failures?", 2020). */
void sim_node_sync_failed(struct sim_node *, struct sim_random *);
bool sim_node_is_synced(const struct sim_node *);
/* Both states become these bytes. */
void sim_node_store(struct sim_node *, const void *data, size_t size);

/* Bytes of all files that still have a name or a handle. */
uint64_t sim_disk_used(const struct sim_disk *);

/* The power cut. Handles stay allocated but their nodes are no longer those of the disk's names. */
void sim_disk_crash(struct sim_disk *, const struct sim_crash *);

#endif
