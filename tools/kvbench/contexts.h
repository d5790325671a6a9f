/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts: what this benchmark knows of each key's versions, so that an update replaces what it has seen.
 *
 * A store of this kind keeps two writes beside each other when neither had seen the other. A client that updates a key
 * therefore sends the context of its last read or write, and so does the benchmark.
 *
 * A writer can claim a key, so that no two of its updates are under way at once: they could not have seen each other.
 *
 * Threading   Any thread: keys share CONTEXTS_LOCKS mutexes.
 * Ownership   Copies. contexts_destroy(&contexts) nulls the pointer.
 * Errors      Aborts when memory is out.
 * Invariants  X1 What a read returned never replaces the context of a write that was acknowledged while the read was
 *             under way.
 */
#ifndef KVRING_KVBENCH_CONTEXTS_H
#define KVRING_KVBENCH_CONTEXTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONTEXTS_LOCKS = 256, CONTEXTS_SIZE_MAX = 8192 /* bytes: the node's limit */ };

struct contexts;

struct contexts *contexts_create(uint64_t key_count);
void contexts_destroy(struct contexts **);
/* Copies the context into *buffer_inout, which grows as needed. Returns its size. */
size_t contexts_get(struct contexts *, uint64_t key, uint8_t **buffer_inout, size_t *room_inout);
/* Changes with each write: to be taken before a read starts. */
uint32_t contexts_version(struct contexts *, uint64_t key);
void contexts_set_written(struct contexts *, uint64_t key, const uint8_t *context, size_t size);
void contexts_set_read(struct contexts *, uint64_t key, const uint8_t *context, size_t size, uint32_t version);

/* False: another update of this key is under way. */
bool contexts_claim(struct contexts *, uint64_t key);
void contexts_release(struct contexts *, uint64_t key);

#endif
