/* SPDX-License-Identifier: Apache-2.0 */
/* Operation id: names one write of a client, in every attempt to get it done.
 *
 * A UUID version 7 (RFC 9562, 5.7), most significant byte first:
 *
 *     0   6  Unix time in ms when the client began the operation
 *     6   2  version (7) in the top four bits, then random bits
 *     8   8  variant (binary 10) in the top two bits, then random bits
 *
 * The time lets a node tell how old an attempt is without having heard of the operation before.
 *
 * Threading   Pure functions.
 * Errors      An id of another version has no time: false.
 */
#ifndef KVRING_RPC_OPERATION_ID_H
#define KVRING_RPC_OPERATION_ID_H

#include "rpc/base.h"

enum { OPERATION_ID_RANDOM_SIZE = 10 };

/* Of random, the six bits that version and variant take are lost. */
void rpc_operation_id_make(uint64_t unix_ms, const uint8_t random[OPERATION_ID_RANDOM_SIZE],
			   uint8_t id_out[RPC_OPERATION_ID_SIZE]);
/* False, and 0, unless the id is a UUID version 7. */
bool rpc_operation_id_time(const uint8_t id[RPC_OPERATION_ID_SIZE], uint64_t *unix_ms_out);

#endif
