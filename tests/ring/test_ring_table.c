/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/cluster.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cluster cluster;

static int registered(void **state)
{
	(void)state;
	ring_reader_register();
	return 0;
}

static int unregistered(void **state)
{
	(void)state;
	ring_reader_unregister();
	return 0;
}

static struct ring_document *document_of(uint32_t nodes, uint64_t cluster_id)
{
	cluster_init(&cluster, 64, 3);
	cluster.plan.cluster_id = cluster_id;
	for (uint32_t i = 0; i < nodes; i++)
		cluster_add(&cluster, i, "", 100);
	return cluster_claim(&cluster, NULL);
}

static void test_table_is_empty_at_first(void **state)
{
	struct ring_table *table;
	const struct ring_view *view;

	(void)state;
	assert_int_equal(ring_table_create(42, &table), 0);
	view = ring_view_acquire(table);
	assert_null(view->document);
	assert_int_equal(view->self, -1);
	assert_int_equal(view->self_id, 42);
	ring_view_release(table, view);
	ring_table_destroy(&table);
	assert_null(table);
	ring_table_destroy(&table);
}

static void test_table_publishes_copy(void **state)
{
	struct ring_document *document = document_of(3, 7);
	struct ring_member_status status[3] = {{.heartbeat = 10}, {.heartbeat = 11}, {.heartbeat = 12}};
	const struct ring_view *old, *view;
	struct ring_table *table;

	(void)state;
	assert_int_equal(ring_table_create(ring_member(document, 1)->id, &table), 0);
	old = ring_view_acquire(table);
	assert_int_equal(ring_table_publish(table, document, status), 0);
	status[1].heartbeat = 99;
	assert_null(old->document); /* a view does not change under its reader */
	ring_view_release(table, old);

	view = ring_view_acquire(table);
	assert_ptr_equal(view->document, document);
	assert_int_equal(view->self, 1);
	assert_int_equal(view->status[0].heartbeat, 10);
	assert_int_equal(view->status[1].heartbeat, 11);
	ring_view_release(table, view);
	ring_document_destroy(&document); /* the table has its own reference */

	view = ring_view_acquire(table);
	assert_int_equal(ring_member_count(view->document), 3);
	ring_view_release(table, view);
	assert_int_equal(ring_table_publish(table, NULL, NULL), 0); /* out of the cluster again */
	view = ring_view_acquire(table);
	assert_null(view->document);
	ring_view_release(table, view);
	ring_table_destroy(&table);
}

static void test_table_self_is_no_member(void **state)
{
	struct ring_document *document = document_of(1, 7);
	struct ring_member_status status = {0};
	const struct ring_view *view;
	struct ring_table *table;

	(void)state;
	assert_int_equal(ring_table_create(1234567, &table), 0);
	assert_int_equal(ring_table_publish(table, document, &status), 0);
	view = ring_view_acquire(table);
	assert_int_equal(view->self, -1);
	ring_view_release(table, view);
	ring_document_destroy(&document);
	ring_table_destroy(&table);
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

enum { READERS = 3, PUBLICATIONS = 400, READS_MIN = 1000 };

struct shared {
	struct ring_table *table;
	atomic_bool done;
	atomic_uint busy; /* readers that have read something */
};

/* Every snapshot is whole: document and status were published together. */
static void *read_until_done(void *argument)
{
	struct shared *shared = argument;
	uint64_t last = 0, reads = 0;

	ring_reader_register();
	while (!atomic_load(&shared->done) || reads < READS_MIN) {
		const struct ring_view *view = ring_view_acquire(shared->table);
		uint64_t id = ring_cluster_id(view->document);

		if (ring_member_count(view->document) != 1 + id % 5 || id < last)
			abort();
		for (uint32_t i = 0; i < ring_member_count(view->document); i++)
			if (view->status[i].heartbeat != id)
				abort();
		ring_view_release(shared->table, view);
		last = id;
		if (reads++ == 0)
			atomic_fetch_add(&shared->busy, 1);
	}
	ring_reader_unregister();
	return NULL;
}

static void publish(struct ring_table *table, uint64_t id)
{
	struct ring_document *document = document_of(1 + (uint32_t)(id % 5), id);
	struct ring_member_status status[5] = {0};

	for (uint32_t i = 0; i < 5; i++)
		status[i].heartbeat = id;
	assert_int_equal(ring_table_publish(table, document, status), 0);
	ring_document_destroy(&document);
}

static void test_table_readers_and_writer(void **state)
{
	struct shared shared = {0};
	pthread_t readers[READERS];

	(void)state;
	assert_int_equal(ring_table_create(1, &shared.table), 0);
	publish(shared.table, 1);
	for (uint32_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_until_done, &shared), 0);
	for (uint64_t id = 2; id <= PUBLICATIONS || atomic_load(&shared.busy) < READERS; id++)
		publish(shared.table, id);
	atomic_store(&shared.done, true);
	for (uint32_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(readers[i], NULL), 0);
	ring_table_destroy(&shared.table);
}

/* Several nodes in one thread, as the simulator has them. */
static void test_table_registration_nests(void **state)
{
	struct ring_table *table;
	const struct ring_view *view;

	(void)state;
	assert_int_equal(ring_table_create(1, &table), 0);
	ring_reader_register();
	ring_reader_unregister();
	view = ring_view_acquire(table);
	ring_view_release(table, view);
	ring_table_destroy(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_table_is_empty_at_first, registered, unregistered),
		cmocka_unit_test_setup_teardown(test_table_publishes_copy, registered, unregistered),
		cmocka_unit_test_setup_teardown(test_table_self_is_no_member, registered, unregistered),
		cmocka_unit_test_setup_teardown(test_table_readers_and_writer, registered, unregistered),
		cmocka_unit_test_setup_teardown(test_table_registration_nests, registered, unregistered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
