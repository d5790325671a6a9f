/* SPDX-License-Identifier: Apache-2.0 */
/* Key: what the engine sorts by.
 *
 *     partition  u16, big endian
 *     space      u8: 0 objects, 1 hints
 *     bucket     u16 length, big endian, then bytes
 *     key        the rest
 *
 * Threading   Pure functions.
 * Errors      -EINVAL when bucket or key are empty or over their limits; -EBADMSG from key_decode.
 */
#ifndef KVRING_NODE_KEY_H
#define KVRING_NODE_KEY_H

#include <stdint.h>
#include "rpc/base.h"

enum key_space { KEY_SPACE_OBJECT = 0, KEY_SPACE_HINT = 1 };

RPC_OK int key_encode(uint16_t partition, struct rpc_slice bucket, struct rpc_slice key, struct arena *,
		      struct rpc_slice *out);
RPC_OK int key_decode(struct rpc_slice engine_key, uint16_t *partition_out, struct rpc_slice *bucket_out,
		      struct rpc_slice *key_out);
uint16_t key_partition(struct rpc_slice engine_key); /* size >= 2 */

#endif
