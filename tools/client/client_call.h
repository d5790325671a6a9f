/* SPDX-License-Identifier: Apache-2.0 */
/* Call: the attempts of one call, at one node after the other, until one of them settles it.
 *
 * The next node is asked at once when a node cannot be reached, loses the connection or answers UNAVAILABLE; and after a
 * share of the time that is left when it is silent (client_patience.h): a node that hangs must not use up the time of a
 * call that the others could answer. Who was asked before may still answer first.
 *
 * An attempt lives until its link is done with it, which may be after the end of its call: then it has lost its call and
 * its answer is thrown away.
 *
 * Threading   A call without attempts belongs to the thread that runs it. With attempts, it and they are under the
 *             client's lock. Whoever takes the last attempt from a call, or settles it, takes the call.
 */
#ifndef KVRING_CLIENT_CALL_H
#define KVRING_CLIENT_CALL_H

#include "tools/client/client_internal.h"

/* Everything up to the first attempt. -EINVAL. */
RPC_OK int kv_client_call_prepare(struct kv_client *, struct kv_client_call *);
/* One round: each node at most once. An error returned here means that done will not run and nothing was sent. */
RPC_OK int kv_client_call_begin_round(struct kv_client_call *);
/* Another round may help after this status. */
bool kv_client_call_worth_repeating(const struct kv_client_call *, int status);
/* The node that was asked last has been silent for its share of the time. */
void kv_client_call_on_due(struct kv_client *self, struct kv_client_call *) RELEASES(self->lock);

#endif
