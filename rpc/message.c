/* Messages, and the clock. */
#include "internal.h"

#include <time.h>

struct rpc_slice rpc_message_bytes(const struct rpc_message *message)
{
	nng_msg *nng = (nng_msg *)message; /* NNG's getters take no const */
	return (struct rpc_slice){nng_msg_body(nng), nng_msg_len(nng)};
}

void rpc_message_free(struct rpc_message *message)
{
	if (message != NULL)
		nng_msg_free(message_to_nng(message));
}

uint64_t rpc_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
