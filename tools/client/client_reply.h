/* SPDX-License-Identifier: Apache-2.0 */
/* Reply: turns the outcome of an attempt into the reply of its call: status, code, doubt and a sentence.
 *
 * The text names the node at reply.endpoint. reply.in_doubt is set before by whoever knows that another attempt of this
 * write may have been executed; both functions keep it, unless the answer settles it (C3 of client.h).
 *
 * Threading   One thread at a time for one call.
 * Ownership   kv_client_reply_take copies what it keeps into the reply's arena.
 */
#ifndef KVRING_CLIENT_REPLY_H
#define KVRING_CLIENT_REPLY_H

#include "tools/client/client.h"

/* The call ends with an error of the transport. */
void kv_client_reply_fail(struct kv_client_call *, int status);
/* The call ends with the answer of a node: the bytes of a response. */
void kv_client_reply_take(struct kv_client_call *, struct rpc_slice response);
/* A text that does not fit ends in "...": a reader must see that there is more. */
void kv_client_reply_say(struct kv_client_reply *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The status that a response with this code gives. */
int kv_client_reply_status_of(uint32_t code);
/* What an error of the transport means, for people. */
const char *kv_client_reply_transport_text(int status);

#endif
