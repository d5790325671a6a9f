/* SPDX-License-Identifier: Apache-2.0 */
/* Patience: when a call that waits for a node asks the next one as well.
 *
 * Threading   start and stop: one thread, before the first call and after the last. set and clear: any thread, under
 *             the client's lock.
 * Ownership   Calls are borrowed from set to clear, or until on_due runs.
 * Errors      start: -errno of pthread_create.
 */
#ifndef KVRING_CLIENT_PATIENCE_H
#define KVRING_CLIENT_PATIENCE_H

#include "tools/client/client_internal.h"

RPC_OK int kv_client_patience_start(struct kv_client *, void (*on_due)(struct kv_client *, struct kv_client_call *));
/* on_due does not run after this. May be called without a start. */
void kv_client_patience_stop(struct kv_client *);

/* on_due runs at due_us at the earliest, unless the call is cleared or set anew before. */
void kv_client_patience_set(struct kv_client *self, struct kv_client_call *, uint64_t due_us) REQUIRES(self->lock);
/* A call that is not set is left alone. */
void kv_client_patience_clear(struct kv_client *self, struct kv_client_call *) REQUIRES(self->lock);

#endif
