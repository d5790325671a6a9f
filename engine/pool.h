/* SPDX-License-Identifier: Apache-2.0 */
/* Pool: threads that run the jobs of stores, for callers that want some. The engine itself starts none.
 *
 * A flush waits for no merge, and a merge of the newest runs for no deep one (engine.h, engine_job_urgency): deep merges run on
 * merge_threads threads, one more runs any merge, and one more flushes only.
 *
 * Threading   engine_pool_submit: any thread. done: one of the pool's threads, which hold no lock then.
 * Ownership   engine_pool_submit hands the job over; done hands it back. On an error the job stays the caller's.
 * Errors      -ENOMEM, or what pthread_create says; -ESHUTDOWN after engine_pool_stop.
 */
#ifndef KVRING_ENGINE_POOL_H
#define KVRING_ENGINE_POOL_H

#include "engine/engine.h"

struct engine_pool;

/* Part of what the caller keeps about a job. */
struct engine_pool_job {
	struct engine_job *job;
	void (*done)(struct engine_pool_job *); /* it has run */
	struct engine_pool_job *next;           /* the pool's */
};

ENGINE_OK int engine_pool_start(uint32_t merge_threads, struct engine_pool **out);
/* Runs what is queued, then ends the threads. Submitters may still be at work: what they bring is refused. NULL is fine. */
void engine_pool_stop(struct engine_pool *);
/* After engine_pool_stop, when the submitters have ended. */
void engine_pool_destroy(struct engine_pool **);
ENGINE_OK int engine_pool_submit(struct engine_pool *, struct engine_pool_job *);

#endif
