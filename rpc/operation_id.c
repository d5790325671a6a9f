/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/operation_id.h"

#include <string.h>

enum {
	TIME_SIZE = 6, /* bytes */
	VERSION_BYTE = 6,
	VARIANT_BYTE = 8,
};

void rpc_operation_id_make(uint64_t unix_ms, const uint8_t random[OPERATION_ID_RANDOM_SIZE],
			   uint8_t id_out[RPC_OPERATION_ID_SIZE])
{
	for (int i = 0; i < TIME_SIZE; i++)
		id_out[i] = (uint8_t)(unix_ms >> (8 * (TIME_SIZE - 1 - i)));
	memcpy(id_out + TIME_SIZE, random, OPERATION_ID_RANDOM_SIZE);
	id_out[VERSION_BYTE] = (uint8_t)(0x70 | (id_out[VERSION_BYTE] & 0x0f));
	id_out[VARIANT_BYTE] = (uint8_t)(0x80 | (id_out[VARIANT_BYTE] & 0x3f));
}

bool rpc_operation_id_time(const uint8_t id[RPC_OPERATION_ID_SIZE], uint64_t *unix_ms_out)
{
	bool is_v7 = (id[VERSION_BYTE] & 0xf0) == 0x70 && (id[VARIANT_BYTE] & 0xc0) == 0x80;
	uint64_t unix_ms = 0;
	for (int i = 0; is_v7 && i < TIME_SIZE; i++)
		unix_ms = unix_ms << 8 | id[i];
	*unix_ms_out = unix_ms;
	return is_v7;
}
