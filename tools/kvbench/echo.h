/* SPDX-License-Identifier: Apache-2.0 */
/* Echo: the ceiling. Raw NNG request/reply between two processes, nothing decoded, nothing stored.
 *
 * The server is this program again, started as `kvbench echo-server`. Sizes, connections and requests in flight are
 * those of the benchmark it is compared with; the message that comes back is the next one sent. NNG is used directly
 * here, and only here outside of rpc/: the point is to leave everything else out.
 *
 * Threading   echo_run blocks its thread, echo_serve too.
 * Ownership   Borrows the options.
 * Errors      Negative errno and a text.
 */
#ifndef KVRING_KVBENCH_ECHO_H
#define KVRING_KVBENCH_ECHO_H

#include "tools/measure/histogram.h"
#include "rpc/rpc.h"

struct echo_options {
	uint32_t message_size; /* bytes */
	uint32_t client_count;
	uint32_t in_flight; /* of all clients together */
	uint32_t duration_ms;
};

struct echo_result {
	double seconds;
	_Atomic uint64_t messages;
	_Atomic uint64_t failed;
	struct histogram latency; /* microseconds */
};

RPC_OK int echo_run(const struct echo_options *, struct echo_result *result_out, struct rpc_error *error_out);

/* The other process: listens on a free port of 127.0.0.1, prints it on stdout, echoes until stdin ends. Returns an exit
 * status. */
int echo_serve(void);

#endif
