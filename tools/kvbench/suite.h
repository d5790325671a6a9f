/* SPDX-License-Identifier: Apache-2.0 */
/* Suite: load, then for each number of requests in flight echo and the workloads, in one run; results as shares of
 * the echo.
 *
 * Threading   One thread.
 * Ownership   Borrows.
 * Errors      Negative errno and a text.
 */
#ifndef KVRING_KVBENCH_SUITE_H
#define KVRING_KVBENCH_SUITE_H

#include <stdbool.h>
#include "tools/kvbench/phase.h"

struct workload {
	const char *name;
	const char *what;
	uint32_t percent[PHASE_STEPS];
	enum chooser_distribution distribution; /* YCSB's own */
};

/* NULL: no such workload. */
const struct workload *workload_find(const char *name);
const struct workload *workload_at(unsigned index); /* NULL: past the last */

struct suite_options {
	struct phase_options phase; /* in_flight, batch and percent are the suite's own */
	bool distribution_given;
	enum chooser_distribution distribution;
	bool json;
};

RPC_OK int suite_run(const struct suite_options *, struct rpc_error *error_out);

#endif
