/* SPDX-License-Identifier: Apache-2.0 */
/* Committer: the thread that waits for the disk in place of a replica.
 *
 * One per shard. The replica's worker hands it a commit that has begun (engine.h) and goes on with other work; when the
 * log is synced the commit comes back as MAIL_COMMIT. While the shard's flushes and merges fall behind, it comes back later:
 * writers wait a little each, long before any would have to be refused.
 *
 * Threading   committer_submit: the one worker it serves; one commit at a time. Start and stop: the main thread.
 * Ownership   Borrows the mailbox; the commit is handed over and back.
 * Errors      -ENOMEM, or what pthread_create says.
 */
#ifndef KVRING_NODE_COMMITTER_H
#define KVRING_NODE_COMMITTER_H

#include "engine/engine.h"
#include "node/driver/mailbox.h"
#include "rpc/rpc.h"

struct committer;

/* A commit on its way there or back. */
struct commit_mail {
	struct cds_wfcq_node mail;
	struct committer *committer; /* whose */
	struct engine_commit *commit;
	uint32_t pressure;
};

RPC_OK int committer_start(struct mailbox *owner, struct committer **out);
/* After the last commit has come back. */
void committer_stop(struct committer **);
/* pressure: shard_pressure. */
void committer_submit(struct committer *, struct engine_commit *, uint32_t pressure);
/* How long a commit is held back at this pressure (0 to 1000), in microseconds. */
uint32_t committer_delay_us(uint32_t pressure);

#endif
