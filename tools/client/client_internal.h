/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the client: the struct that its files share. See client.h.
 *
 * client.c          opens and closes; endpoints
 * client_call.c     the attempts of a call
 * client_patience.c when a call asks one more node
 * client_sync.c     calls that wait
 * client_reply.c    what an outcome says
 * client_method.c   the table of methods
 */
#ifndef KVRING_CLIENT_INTERNAL_H
#define KVRING_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "rpc/lock.h"
#include "tools/client/client.h"

struct endpoint {
	char *address;
	struct rpc_link *link;
	uint64_t GUARDED avoided_until_us; /* by the client's lock; 0: it was not silent, or has answered since */
};

/* One thread, which sleeps until the first call on its list has waited long enough. */
struct kv_client_patience {
	void (*on_due)(struct kv_client *,
		       struct kv_client_call *); /* called under the client's lock, which it releases */
	pthread_t thread;
	bool started; /* owned by the thread that opens and closes */

	/* shared, guarded by the client's lock */
	pthread_cond_t wake;
	struct cds_list_head GUARDED calls;
	uint64_t GUARDED wake_us; /* when the thread looks again; UINT64_MAX: when it is woken */
	bool GUARDED stopping;
};

struct kv_client {
	struct kv_client_options options;
	struct endpoint endpoints[CLIENT_ENDPOINTS_MAX];
	unsigned endpoint_count;
	atomic_uint preferred; /* index asked first */
	struct kv_client_patience patience;

	/* Guards the attempts of all calls. `changed`: a connection came or went, or a call that somebody waits for ended. */
	struct lock lock;
	pthread_cond_t changed;
};

/* For lock_wait_until on the conditions above, which go by CLOCK_MONOTONIC. */
static inline struct timespec client_timespec(uint64_t us)
{
	return (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
}

#endif
