/* SPDX-License-Identifier: Apache-2.0 */
/* Answer: the response to an operator, a body or a refusal. Private to the codec.
 *
 * Threading   Pure functions.
 * Errors      -ENOMEM.
 */
#ifndef KVRING_NODE_WIRE_ANSWER_H
#define KVRING_NODE_WIRE_ANSWER_H

#include "rpc/rpc.h"

/* text NULL: there was no memory for it. */
RPC_OK int answer_refusal(uint32_t code, const char *text, uint64_t ring_epoch, struct rpc_message **out);
RPC_OK int answer_body(const ProtobufCMessage *body, uint64_t ring_epoch, struct rpc_message **out);

#endif
