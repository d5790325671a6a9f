/* SPDX-License-Identifier: Apache-2.0 */
/* Runtime: a node with its threads and sockets.
 *
 *     main thread         opens, closes; dials peers when gossip has found them; waits for signals
 *     workers             host the actors: coordinators, replicas (each the owner of one engine shard) and gossip; which
 *                         thread hosts which is a table (placement.h), by default one thread for each
 *     committer 0..s-1    one per replica, waits for its log's sync
 *     jobs                flushes and compactions
 *     ticker              wakes workers whose timers are due
 *     NNG's own           only enqueue
 *
 * Threading   The main thread. What workers share stands in hub.h.
 * Ownership   Owns everything it opens.
 * Errors      Negative errno and a text for the operator.
 */
#ifndef KVRING_NODE_RUNTIME_H
#define KVRING_NODE_RUNTIME_H

#include <signal.h>
#include "node/driver/connector.h"
#include "node/driver/hub.h"

struct runtime_options {
	struct node_options node;
	const char *client_listen, *peer_listen, *bus_listen; /* HOST:PORT */
	uint32_t threads; /* that actors share, see placement.h; 0: each has its own */
	uint32_t job_threads;
	uint64_t request_bytes; /* memory for requests, see rpc/budget.h; of clients and of peers each */
	uint32_t client_connections_max, peer_connections_max; /* 0: RPC_CONNECTIONS_MAX */
	uint32_t client_idle_ms;                               /* 0: no limit */
};

struct runtime {
	struct hub hub;
	struct worker *workers; /* one per thread */
	uint32_t worker_count;
	struct rpc_server *client_server, *peer_server;
	struct connector connector;

	/* owned by the main thread */
	uint64_t load_us, *load_busy_us; /* when and what each worker's busy_us was */
};

RPC_OK int runtime_open(const struct runtime_options *, struct runtime **out, struct rpc_error *error_out);
/* What runtime_run waits for: SIGHUP, and the signals that mean an orderly stop. Block them before runtime_open. */
void runtime_signals(sigset_t *out);
/* Until one of them comes; returns its number. May be called again. */
int runtime_run(struct runtime *);
/* Finishes what is under way, flushes, syncs. The process should end after it. */
int runtime_close(struct runtime **);

#endif
