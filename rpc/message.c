/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, and the clock. */
#include "rpc/internal.h"

#include <stdlib.h>
#include <time.h>

struct rpc_message *rpc_message_create(size_t size)
{
	struct rpc_message *message = malloc(sizeof(*message) + size);
	if (message != NULL)
		message->size = size;
	return message;
}

struct rpc_slice rpc_message_bytes(const struct rpc_message *message)
{
	return (struct rpc_slice){message->bytes, message->size};
}

void rpc_message_free(struct rpc_message *message)
{
	free(message);
}

uint64_t rpc_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
