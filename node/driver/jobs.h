/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: background threads that run flushes and compactions.
 *
 * A flush waits for no merge, and a merge of the newest runs for no deep one (engine.h, engine_job_urgency): deep merges run on
 * merge_threads threads, one more runs any merge, and one more flushes only.
 *
 * Threading   jobs_submit: any thread. A job that has run is put into the submitter's mailbox as MAIL_JOB.
 * Ownership   jobs_submit hands the job over; the mail hands it back. On an error the job stays the caller's.
 * Errors      -ENOMEM; -ESHUTDOWN after jobs_stop.
 */
#ifndef KVRING_NODE_JOBS_H
#define KVRING_NODE_JOBS_H

#include "engine/engine.h"
#include "node/driver/mailbox.h"
#include "rpc/rpc.h"

struct jobs;

struct job_mail {
	struct cds_wfcq_node mail;
	struct engine_job *job;
	struct mailbox *submitter;
	void *owner;           /* the submitter's */
	struct job_mail *next; /* the queue's */
};

RPC_OK int jobs_start(uint32_t merge_threads, struct jobs **out);
/* Runs what is queued, then ends the threads. Submitters may still be at work: what they bring is refused. NULL is fine. */
void jobs_stop(struct jobs *);
/* After jobs_stop, when the submitters have ended. */
void jobs_destroy(struct jobs **);
RPC_OK int jobs_submit(struct jobs *, struct engine_job *, struct mailbox *submitter, void *owner);

#endif
