/* SPDX-License-Identifier: Apache-2.0 */
/* Mailbox: what other threads leave for a worker.
 *
 * One wait-free queue per kind of mail (liburcu wfcqueue: many producers, one consumer), and a futex to sleep on. The
 * queues are typed, so that no tag is needed. Mail of one kind keeps its order; between kinds the consumer chooses. What is
 * large has kinds of its own, of which a worker takes one piece a batch: what is small waits for one and not for all.
 *
 * Threading   mailbox_put, mailbox_wake, mailbox_nudge: any thread. mailbox_take and mailbox_wait: the one consumer.
 * Ownership   What is put belongs to the consumer.
 * Errors      None: nodes are embedded in what is put.
 */
#ifndef KVRING_NODE_MAILBOX_H
#define KVRING_NODE_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <urcu/wfcqueue.h>

enum mail_kind {
	MAIL_MESSAGE, /* struct message, from an actor of this node */
	MAIL_CALL,    /* struct rpc_call, from a client or a peer */
	MAIL_PENDING, /* struct rpc_pending, the answer of a peer */
	MAIL_JOB,     /* struct job_mail (loop.c), has run */
	MAIL_BUS,     /* struct bus_mail, heard on the bus */
	MAIL_SMALL_KINDS,
	MAIL_LARGE_MESSAGE = MAIL_SMALL_KINDS, /* message_is_large */
	MAIL_LARGE_CALL,                       /* of more than LIMIT_SMALL_SIZE bytes */
	MAIL_COMMIT, /* struct commit_mail, a log that is synced (or, to a committer, is to be). The last: see handle_small */
	MAIL_KINDS,
};

struct mail_queue {
	struct cds_wfcq_tail tail;
	struct __cds_wfcq_head head;
};

struct mailbox {
	struct mail_queue queues[MAIL_KINDS];
	int32_t asleep; /* futex: 1 while the consumer sleeps or is about to */
	bool nudged;
	bool stopping;
};

void mailbox_init(struct mailbox *);
/* Puts without waking: for many, followed by one mailbox_wake. */
void mailbox_put(struct mailbox *, enum mail_kind, struct cds_wfcq_node *);
void mailbox_wake(struct mailbox *);
/* Moves everything of one kind to `taken` (initialized here); false when there is nothing. */
bool mailbox_take(struct mailbox *, enum mail_kind, struct mail_queue *taken);
void mail_queue_init(struct mail_queue *);                 /* empty: mail_next finds nothing */
struct cds_wfcq_node *mail_next(struct mail_queue *taken); /* NULL at the end */
/* Ends the consumer's sleep, or the next one if it is awake. */
void mailbox_nudge(struct mailbox *);
/* Sleeps until something is put and woken for, a nudge, or until_us (CLOCK_MONOTONIC; UINT64_MAX for ever). */
void mailbox_wait(struct mailbox *, uint64_t until_us);
void mailbox_stop(struct mailbox *);
bool mailbox_stopping(const struct mailbox *);

#endif
