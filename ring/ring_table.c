/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that sees liburcu.
 *
 * ThreadSanitizer does not know the fences inside liburcu. The published pointer is therefore a C11 atomic, and
 * annotations state what liburcu guarantees: what a reader did before it left, and what the writer did before call_rcu,
 * comes before the callback. They are nothing outside a TSan build, and a use after release is still found.
 *
 * The lock is taken where a snapshot is retired and freed, never by readers. It is there for ring_table_destroy, which
 * waits until no callback is left that knows the table.
 */
#include "ring/document.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <urcu/urcu-memb.h>

#include "rpc/lock.h"

#if defined(__SANITIZE_THREAD__)
#define RING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RING_TSAN 1
#endif
#endif

#ifdef RING_TSAN
void __tsan_acquire(void *);
void __tsan_release(void *);
#else
static inline void __tsan_acquire(void *unused)
{
	(void)unused;
}
static inline void __tsan_release(void *unused)
{
	(void)unused;
}
#endif

struct snapshot {
	struct ring_view view; /* first: a view is the snapshot it stands in */
	struct rcu_head rcu;
	struct ring_table *table;
	struct ring_member_status status[];
};

struct ring_table {
	_Atomic(struct snapshot *) published;
	uint64_t self_id; /* constant */

	struct lock lock;
	pthread_cond_t all_freed;
	uint64_t retired GUARDED; /* snapshots on their way to snapshot_reclaim */
};

static __thread unsigned registrations; /* several nodes may share a thread, as in the simulator */

static struct snapshot *snapshot_new(struct ring_table *table, const struct ring_document *document,
				     const struct ring_member_status *status)
{
	uint32_t count = document != NULL ? ring_member_count(document) : 0;
	struct snapshot *snapshot = malloc(sizeof *snapshot + count * sizeof *status);

	if (snapshot == NULL)
		return NULL;
	snapshot->table = table;
	snapshot->view.document = document != NULL ? ring_document_ref(document) : NULL;
	snapshot->view.status = snapshot->status;
	snapshot->view.self = document != NULL ? ring_member_find(document, table->self_id) : -1;
	snapshot->view.self_id = table->self_id;
	if (count)
		memcpy(snapshot->status, status, count * sizeof *status);
	return snapshot;
}

static void snapshot_free(struct snapshot *snapshot)
{
	struct ring_document *document = (struct ring_document *)snapshot->view.document;

	ring_document_destroy(&document);
	free(snapshot);
}

/* In liburcu's call_rcu thread, after the grace period. */
static void snapshot_reclaim(struct rcu_head *head)
{
	struct snapshot *snapshot = caa_container_of(head, struct snapshot, rcu);
	struct ring_table *table;

	__tsan_acquire(head);
	table = snapshot->table;
	__tsan_acquire(&table->published);
	snapshot_free(snapshot);

	lock_take(&table->lock);
	assert(table->retired > 0);
	if (--table->retired == 0)
		pthread_cond_signal(&table->all_freed);
	lock_release(&table->lock); /* the last use of table */
}

/* Unpublished snapshot: no reader finds it any more, some may still be in it. */
static void snapshot_retire(struct snapshot *snapshot)
{
	lock_take(&snapshot->table->lock);
	snapshot->table->retired++;
	lock_release(&snapshot->table->lock);
	__tsan_release(&snapshot->rcu);
	urcu_memb_call_rcu(&snapshot->rcu, snapshot_reclaim);
}

int ring_table_create(uint64_t self_id, struct ring_table **out)
{
	struct ring_table *table = calloc(1, sizeof *table);
	struct snapshot *snapshot;

	if (table == NULL)
		return -ENOMEM;
	table->self_id = self_id;
	snapshot = snapshot_new(table, NULL, NULL);
	if (snapshot == NULL) {
		free(table);
		return -ENOMEM;
	}
	atomic_init(&table->published, snapshot);
	lock_init(&table->lock);
	pthread_cond_init(&table->all_freed, NULL);
	*out = table;
	return 0;
}

void ring_table_destroy(struct ring_table **table)
{
	if (*table == NULL)
		return;
	lock_take(&(*table)->lock);
	while ((*table)->retired > 0)
		lock_wait(&(*table)->lock, &(*table)->all_freed);
	lock_release(&(*table)->lock);
	snapshot_free(atomic_load_explicit(&(*table)->published, memory_order_acquire));
	pthread_cond_destroy(&(*table)->all_freed);
	lock_fini(&(*table)->lock);
	free(*table);
	*table = NULL;
}

int ring_table_publish(struct ring_table *table, const struct ring_document *document,
		       const struct ring_member_status *status)
{
	struct snapshot *next = snapshot_new(table, document, status);

	assert(registrations > 0); /* call_rcu reads RCU data itself */
	if (next == NULL)
		return -ENOMEM;
	snapshot_retire(atomic_exchange_explicit(&table->published, next, memory_order_acq_rel));
	return 0;
}

void ring_reader_register(void)
{
	if (registrations++ == 0)
		urcu_memb_register_thread();
}

void ring_reader_unregister(void)
{
	assert(registrations > 0);
	if (--registrations == 0)
		urcu_memb_unregister_thread();
}

const struct ring_view *ring_view_acquire(struct ring_table *table)
{
	assert(registrations > 0); /* an unregistered reader would not be waited for */
	urcu_memb_read_lock();
	return &atomic_load_explicit(&table->published, memory_order_acquire)->view;
}

void ring_view_release(struct ring_table *table, const struct ring_view *view)
{
	(void)view;
	assert(registrations > 0);
	__tsan_release(&table->published);
	urcu_memb_read_unlock();
}
