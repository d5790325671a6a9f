/* SPDX-License-Identifier: Apache-2.0 */
/* What the peers' half of the codec shares with the clients': a forwarded put has a put's answer. Private to the codec.
 */
#ifndef KVRING_NODE_CODEC_CLIENT_H
#define KVRING_NODE_CODEC_CLIENT_H

#include "proto/kv.pb-c.h"
#include "node/actor/message.h"

void codec_put_response(const struct client_result *, Kvring__V1__PutResponse *out);

#endif
