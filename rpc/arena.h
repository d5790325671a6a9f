/* SPDX-License-Identifier: Apache-2.0 */
/* Arena: one message's memory, freed at once.
 *
 * A bump allocator with a cap and a reference count. A decoded request, the messages that a batch sends to another
 * actor, a reply under construction: each lives in one arena and dies with its last reference.
 *
 * Threading   rpc_arena_alloc: one thread at a time. rpc_arena_ref / rpc_arena_unref: any thread.
 * Ownership   Whoever holds a reference; memory from rpc_arena_alloc lives until the last reference is released.
 * Errors      rpc_arena_alloc returns NULL past the cap or when memory is out.
 */
#ifndef KVRING_RPC_ARENA_H
#define KVRING_RPC_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena;

/* first_size: bytes in the first chunk; cap: bytes in all, SIZE_MAX for no cap. NULL when memory is out. */
struct arena *rpc_arena_create(size_t first_size, size_t cap);
struct arena *rpc_arena_ref(struct arena *); /* returns its argument */
void rpc_arena_ref_many(struct arena *, unsigned count);
void rpc_arena_unref(struct arena *); /* NULL is allowed */

void *rpc_arena_alloc(struct arena *, size_t size); /* 16-byte aligned, not zeroed */
void *rpc_arena_zalloc(struct arena *, size_t size);
void *rpc_arena_copy(struct arena *, const void *data, size_t size);
char *rpc_arena_printf(struct arena *, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t rpc_arena_used(const struct arena *);

#endif
