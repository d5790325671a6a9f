/* Committer: the thread that waits for the disk in place of a replica.
 *
 * One per shard. The replica's worker hands it a commit that has begun (engine.h) and goes on with other work; when the
 * log is synced the commit comes back as MAIL_COMMIT.
 *
 * Threading   committer_submit: the one worker it serves; one commit at a time. Start and stop: the main thread.
 * Ownership   Borrows the mailbox; the commit is handed over and back.
 * Errors      -ENOMEM, or what pthread_create says.
 */
#ifndef KVRING_NODE_COMMITTER_H
#define KVRING_NODE_COMMITTER_H

#include "engine.h"
#include "mailbox.h"
#include "rpc.h"

struct committer;

/* A commit on its way there or back. */
struct commit_mail {
	struct cds_wfcq_node mail;
	struct engine_commit *commit;
};

RPC_OK int committer_start(struct mailbox *owner, struct committer **out);
/* After the last commit has come back. */
void committer_stop(struct committer **);
void committer_submit(struct committer *, struct engine_commit *);

#endif
