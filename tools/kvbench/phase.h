/* SPDX-License-Identifier: Apache-2.0 */
/* Phase: one stretch of load: so many clients, so many requests in flight over all of them, until the time is over or all keys are
 * done.
 *
 *     PHASE_LOAD     puts every key once, repeated until acknowledged
 *     PHASE_PREPARE  gets every key once, to learn the contexts of what is there
 *     PHASE_RUN      reads, updates and read-modify-writes in the given mix, for the given time
 *
 * Each slot (one request in flight) is one chain of asynchronous calls: the answer of one starts the next on the thread
 * that brought it. Nothing waits, and a slot uses its buffers again.
 *
 * Threading   phase_run blocks its thread; slots run on NNG's threads.
 * Ownership   Borrows options, chooser and contexts.
 * Errors      0; negative errno and a text when the phase could not start or the load could not be finished. Failed
 *             requests of a run are counted, not errors.
 * Invariants  P1 A phase returns with nothing under way.
 *             P2 Every value read is checked.
 */
#ifndef KVRING_KVBENCH_PHASE_H
#define KVRING_KVBENCH_PHASE_H

#include "tools/kvbench/chooser.h"
#include "tools/client/client.h"
#include "tools/kvbench/contexts.h"
#include "tools/measure/histogram.h"

enum phase_kind { PHASE_LOAD, PHASE_PREPARE, PHASE_RUN };
enum phase_step { PHASE_READ, PHASE_UPDATE, PHASE_MODIFY, PHASE_STEPS };

struct phase_options {
	const char *endpoints;
	const char *bucket;
	uint64_t key_count;
	uint32_t value_size;
	uint32_t client_count; /* connections to each node */
	uint32_t in_flight;    /* requests under way, of all clients together; at least client_count */
	uint32_t batch;        /* keys per request; 1: single puts and gets */
	uint32_t duration_ms;  /* PHASE_RUN */
	uint32_t timeout_ms;
	uint32_t r, w;                 /* 0: the cluster's defaults */
	uint32_t percent[PHASE_STEPS]; /* PHASE_RUN: shares of requests, 100 in all */
	uint64_t seed;
};

struct phase_result {
	double seconds;
	_Atomic uint64_t operations; /* keys read or written; a read-modify-write is one */
	_Atomic uint64_t requests;
	_Atomic uint64_t in_doubt, refused, failed; /* operations: no quorum; refused; no answer */
	_Atomic uint64_t absent, corrupt;           /* reads */
	_Atomic uint64_t repeated;                  /* load: requests sent again */
	_Atomic uint64_t siblings, siblings_max;    /* reads with several values; the most of one */
	struct histogram latency[PHASE_STEPS];      /* microseconds per request */
	char first_error[1024];
};

RPC_OK int phase_run(enum phase_kind, const struct phase_options *, const struct chooser *, struct contexts *,
		     struct phase_result *result_out, struct rpc_error *error_out);

#endif
