/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <urcu/arch.h>
#include "node/driver/mailbox.h"
#include "rpc/rpc.h"

/* The queue's own barriers are in liburcu, where ThreadSanitizer does not look: tell it that what was done before the
 * put comes before what is done after the take. Nothing outside a TSan build. */
#ifdef __has_feature /* clang's way of saying it */
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *);
void __tsan_release(void *);
#else
#define __tsan_acquire(at) (void)(at)
#define __tsan_release(at) (void)(at)
#endif

/* Sleeping without losing a wake-up: the consumer says that it sleeps, then looks once more; a producer puts, then
 * looks whether somebody sleeps. Both with a full fence in between, so at least one of them sees the other. */

static long futex(int32_t *word, int operation, int32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, operation, value, timeout, NULL, FUTEX_BITSET_MATCH_ANY);
}

void mailbox_init(struct mailbox *mailbox)
{
	for (int kind = 0; kind < MAIL_KINDS; kind++)
		mail_queue_init(&mailbox->queues[kind]);
	mailbox->asleep = 0;
	mailbox->nudged = mailbox->stopping = false;
}

void mailbox_put(struct mailbox *mailbox, enum mail_kind kind, struct cds_wfcq_node *node)
{
	struct mail_queue *queue = &mailbox->queues[kind];
	cds_wfcq_node_init(node);
	__tsan_release(node);
	cds_wfcq_enqueue(&queue->head, &queue->tail, node);
}

void mailbox_wake(struct mailbox *mailbox)
{
	cmm_smp_mb();
	if (__atomic_load_n(&mailbox->asleep, __ATOMIC_RELAXED) == 0)
		return;
	if (__atomic_exchange_n(&mailbox->asleep, 0, __ATOMIC_SEQ_CST) == 1)
		futex(&mailbox->asleep, FUTEX_WAKE_PRIVATE, 1, NULL);
}

void mail_queue_init(struct mail_queue *queue)
{
	__cds_wfcq_init(&queue->head, &queue->tail);
}

bool mailbox_take(struct mailbox *mailbox, enum mail_kind kind, struct mail_queue *taken)
{
	struct mail_queue *queue = &mailbox->queues[kind];
	mail_queue_init(taken);
	return __cds_wfcq_splice_blocking(&taken->head, &taken->tail, &queue->head, &queue->tail) !=
	       CDS_WFCQ_RET_SRC_EMPTY;
}

struct cds_wfcq_node *mail_next(struct mail_queue *taken)
{
	struct cds_wfcq_node *node = __cds_wfcq_dequeue_blocking(&taken->head, &taken->tail);
	if (node != NULL)
		__tsan_acquire(node);
	return node;
}

static bool has_mail(struct mailbox *mailbox)
{
	for (int kind = 0; kind < MAIL_KINDS; kind++)
		if (!cds_wfcq_empty(&mailbox->queues[kind].head, &mailbox->queues[kind].tail))
			return true;
	return false;
}

void mailbox_wait(struct mailbox *mailbox, uint64_t until_us)
{
	__atomic_store_n(&mailbox->asleep, 1, __ATOMIC_RELAXED);
	cmm_smp_mb();
	bool nudged = __atomic_exchange_n(&mailbox->nudged, false, __ATOMIC_SEQ_CST);
	if (!nudged && !has_mail(mailbox) && !mailbox_stopping(mailbox)) {
		struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
					 .tv_nsec = (long)(until_us % 1000000) * 1000};
		/* FUTEX_WAIT_BITSET takes an absolute time. Any return is fine: the consumer looks again. */
		futex(&mailbox->asleep, FUTEX_WAIT_BITSET_PRIVATE, 1, until_us == UINT64_MAX ? NULL : &until);
	}
	__atomic_store_n(&mailbox->asleep, 0, __ATOMIC_RELAXED);
}

void mailbox_nudge(struct mailbox *mailbox)
{
	__atomic_store_n(&mailbox->nudged, true, __ATOMIC_SEQ_CST);
	mailbox_wake(mailbox);
}

void mailbox_stop(struct mailbox *mailbox)
{
	__atomic_store_n(&mailbox->stopping, true, __ATOMIC_SEQ_CST);
	mailbox_wake(mailbox);
}

bool mailbox_stopping(const struct mailbox *mailbox)
{
	return __atomic_load_n(&mailbox->stopping, __ATOMIC_SEQ_CST);
}
