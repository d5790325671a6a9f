/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation fails once: each call must say -ENOMEM, leak nothing (under ASan), and work the next time. */
#include "tests/ring/cluster.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include <cmocka.h>

/* The linker sends the room's calls of malloc and calloc here (--wrap). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static long allocations_left = -1; /* before the one that fails; -1: none fails */

static size_t largest_allocation;

static bool fails_now(size_t size)
{
	if (size > largest_allocation)
		largest_allocation = size;
	return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails_now(size) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now(count * size) ? NULL : __real_calloc(count, size);
}

static struct cluster cluster;
static struct ring_document *stable, *target, *changing, *after, *last;
static uint8_t *bytes;
static size_t bytes_size;

static int call_claim(struct ring_document **out)
{
	return ring_claim(stable, &cluster.plan, out, NULL);
}

static int call_decode(struct ring_document **out)
{
	return ring_document_decode(bytes, bytes_size, out, NULL);
}

static int call_encode(struct ring_document **out)
{
	uint8_t *copy;
	size_t size;
	int error = ring_document_encode(changing, &copy, &size);

	(void)out;
	if (!error)
		free(copy);
	return error;
}

static int call_begin(struct ring_document **out)
{
	return ring_transition_begin(stable, target, out, NULL);
}

static int call_next(struct ring_document **out)
{
	return ring_transition_next(changing, out, NULL);
}

static int call_abort(struct ring_document **out)
{
	return ring_transition_abort(changing, out, NULL);
}

static int call_force(struct ring_document **out)
{
	uint64_t lost[1] = {ring_member(changing, 1)->id};

	return ring_force(changing, lost, 1, out, NULL);
}

static int call_drop(struct ring_document **out)
{
	return ring_drop_leavers(last, out, NULL);
}

static int call_verify(struct ring_document **out)
{
	int error = ring_verify(stable, changing, NULL);

	(void)out;
	return error ? error : ring_verify(changing, after, NULL);
}

static int call_table(struct ring_document **out)
{
	struct ring_member_status status[8] = {0};
	struct ring_table *table;
	int error = ring_table_create(1, &table);

	(void)out;
	if (error)
		return error;
	error = ring_table_publish(table, stable, status);
	ring_table_destroy(&table);
	return error;
}

static void fail_each_allocation(int (*call)(struct ring_document **), uint32_t allocations_min)
{
	int error = -ENOMEM;

	for (uint32_t n = 0; error; n++) {
		struct ring_document *document = NULL;

		allocations_left = (long)n;
		error = call(&document);
		if (error) {
			assert_int_equal(error, -ENOMEM);
			assert_int_equal(allocations_left, -1); /* it was ours that failed */
			assert_null(document);
			assert_in_range(n, 0, 1000);
		} else {
			assert_true(n >= allocations_min);
		}
		allocations_left = -1;
		ring_document_destroy(&document);
	}
}

static void test_memory_documents(void **state)
{
	(void)state;
	fail_each_allocation(call_claim, 20);
	fail_each_allocation(call_decode, 12);
	fail_each_allocation(call_encode, 1);
	fail_each_allocation(call_begin, 12);
	fail_each_allocation(call_next, 12);
	fail_each_allocation(call_abort, 12);
	fail_each_allocation(call_force, 30);
	fail_each_allocation(call_drop, 12);
	fail_each_allocation(call_verify, 12);
}

/* Few bytes that promise many members reserve no memory for them. */
static void test_memory_of_a_short_document(void **state)
{
	uint8_t *damaged = malloc(bytes_size);
	struct ring_document *document;
	uint64_t checksum;

	(void)state;
	memcpy(damaged, bytes, bytes_size);
	damaged[46] = RING_MEMBERS_MAX & 0xff;
	damaged[47] = RING_MEMBERS_MAX >> 8;
	checksum = htole64(XXH3_64bits(damaged, bytes_size - sizeof checksum));
	memcpy(damaged + bytes_size - sizeof checksum, &checksum, sizeof checksum);
	largest_allocation = 0;
	assert_int_equal(ring_document_decode(damaged, bytes_size, &document, NULL), -EBADMSG);
	assert_in_range(largest_allocation, 0, 16 * bytes_size);
	free(damaged);
}

static void test_memory_table(void **state)
{
	(void)state;
	ring_reader_register();
	assert_int_equal(call_table(NULL), 0); /* liburcu starts its thread, out of our reach, before it counts */
	fail_each_allocation(call_table, 3);
	ring_reader_unregister();
}

static int make_documents(void **state)
{
	(void)state;
	cluster_init(&cluster, 64, 3);
	cluster_add_datacenter(&cluster, "dc2", 1);
	for (uint32_t i = 0; i < 6; i++)
		strcpy(cluster_add(&cluster, i, i % 2 ? "a" : "b", 100)->datacenter, i < 5 ? "dc1" : "dc2");
	stable = cluster_claim(&cluster, NULL);
	cluster.members[1].state = RING_MEMBER_LEAVING;
	target = cluster_claim(&cluster, stable);
	if (ring_transition_begin(stable, target, &changing, NULL) || ring_transition_next(changing, &after, NULL) ||
	    ring_transition_next(after, &last, NULL))
		return -1;
	return ring_document_encode(changing, &bytes, &bytes_size);
}

static int free_documents(void **state)
{
	(void)state;
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&changing);
	ring_document_destroy(&after);
	ring_document_destroy(&last);
	free(bytes);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_documents),
		cmocka_unit_test(test_memory_of_a_short_document),
		cmocka_unit_test(test_memory_table),
	};

	return cmocka_run_group_tests(tests, make_documents, free_documents);
}
