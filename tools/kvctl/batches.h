/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: many operations at once, each asked again until it is settled.
 *
 * The operations of one run are split into batch calls which are all under way together. Those that are not settled
 * afterwards (in doubt, refused for a while, lost with a node) are asked again after a pause, puts with the
 * same operation ids, so that none can apply twice.
 *
 * Threading   One thread; it sleeps while calls are under way.
 * Ownership   Borrows client and operations.
 * Errors      -errno and a text when a call failed for good, or nothing was settled for patience_ms, or a callback said
 *             BATCHES_STOP (-ECANCELED, the text is the callback's affair).
 * Invariants  B1 Returns with no call under way.
 */
#ifndef KVRING_KVCTL_BATCHES_H
#define KVRING_KVCTL_BATCHES_H

#include "tools/client/client.h"

enum {
	BATCHES_OPERATIONS_MAX = 4096, /* per call: the node's limit */
	BATCHES_CALL_SIZE_MAX =
		4 * 1024 * 1024, /* bytes per call, unless one operation is larger: well below the node's limit */
};

enum batches_verdict { BATCHES_SETTLED, BATCHES_AGAIN, BATCHES_STOP };

struct batches {
	struct kv_client *client;
	uint32_t operations_max; /* per call */
	uint32_t operations;     /* per call now: halved while messages are too large; 0 at first */
	uint32_t patience_ms;    /* without any progress */
	uint64_t repeated;       /* counter: operations asked again */
};

typedef enum batches_verdict batches_on_put(void *arg, size_t index, const Kvring__V1__PutResponse *);
typedef enum batches_verdict batches_on_get(void *arg, size_t index, const Kvring__V1__GetResponse *);

RPC_OK int batches_put(struct batches *, Kvring__V1__PutRequest *puts, size_t count, batches_on_put *, void *arg,
		       struct rpc_error *error_out);
RPC_OK int batches_get(struct batches *, Kvring__V1__GetRequest *gets, size_t count, batches_on_get *, void *arg,
		       struct rpc_error *error_out);

/* What to do with a result that is neither DONE nor ABSENT. */
enum batches_verdict batches_judge(Kvring__V1__Outcome, uint32_t code);

#endif
