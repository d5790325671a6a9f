/* SPDX-License-Identifier: Apache-2.0 */
/* Siblings and the operations that made them. */
#include "node/object/object.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>
#include "rpc/operation_id.h"

bool sibling_same_operation(const struct sibling *a, const struct sibling *b)
{
	return memcmp(a->operation_id, b->operation_id, RPC_OPERATION_ID_SIZE) == 0 && a->flags == b->flags &&
	       a->expires_ms == b->expires_ms && a->value.size == b->value.size &&
	       (a->value.size == 0 || memcmp(a->value.data, b->value.data, a->value.size) == 0);
}

struct mark sibling_mark(const struct sibling *sibling)
{
	uint8_t head[RPC_OPERATION_ID_SIZE + 1 + sizeof(uint64_t)];
	uint8_t *at = bytes_put(head, sibling->operation_id, RPC_OPERATION_ID_SIZE);
	struct mark mark;

	*at++ = (uint8_t)sibling->flags;
	at = bytes_put_u64(at, sibling->expires_ms);
	assert(at == head + sizeof head);
	(void)rpc_operation_id_time(sibling->operation_id, &mark.time_ms);
	mark.hash = XXH3_64bits_withSeed(sibling->value.size ? sibling->value.data : head, sibling->value.size,
					 XXH3_64bits(head, sizeof(head))) &
		    ~UINT64_C(1);
	mark.repeated = sibling->repeated;
	return mark;
}

bool sibling_is_past(const struct past *past, const struct sibling *sibling)
{
	uint64_t time_ms;

	(void)rpc_operation_id_time(sibling->operation_id, &time_ms);
	return past_has_time(past, time_ms) && past_has(past, sibling_mark(sibling));
}
