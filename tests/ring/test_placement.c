/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include <cmocka.h>

static struct cluster cluster;

static struct ring_document *document_of(uint32_t partitions, uint32_t nodes)
{
	cluster_init(&cluster, partitions, 3);
	for (uint32_t i = 0; i < nodes; i++)
		cluster_add(&cluster, i, "", 100);
	return cluster_claim(&cluster, NULL);
}

static uint32_t partition_of(const struct ring_document *document, const char *bucket, const char *key)
{
	return ring_partition_of(document, bucket, strlen(bucket), key, strlen(key));
}

static void test_partition_is_stated_hash(void **state)
{
	static const size_t sizes[] = {0, 1, 16, 100, 240, 241, 503, 504, 505, 512, 513, 4096, 70000};
	struct ring_document *document = document_of(65536, 3);
	uint8_t *bytes = malloc(4 + 5 + 70000);

	(void)state;
	memcpy(bytes, "\5\0\0\0users", 9);
	for (size_t i = 0; i < 70000; i++)
		bytes[9 + i] = (uint8_t)(i * 31);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0];
	     i++) { /* short and long keys: in one call, and streamed */
		uint64_t hash = XXH3_64bits_withSeed(bytes, 9 + sizes[i], cluster.plan.hash_seed);
		assert_int_equal(ring_partition_of(document, "users", 5, bytes + 9, sizes[i]), hash >> 48);
	}
	free(bytes);
	ring_document_destroy(&document);
}

/* Leaves `word` on the stack, with zeros around it, where the next call has its variables. */
static __attribute__((noinline)) void leave_on_stack(uint64_t word, size_t place)
{
	volatile uint64_t words[512];

	for (size_t i = 0; i < 512; i++)
		words[i] = i == place ? word : 0;
	__asm__ volatile("" : : "r"(words) : "memory"); /* they are used */
}

/* A hash state on the stack that is not initialized takes what stands there for its own. The seed at any place must not matter. */
static void test_partition_does_not_depend_on_the_stack(void **state)
{
	static const uint8_t key[2000] = {1, 2, 3};
	struct ring_document *document = document_of(65536, 3);
	uint32_t expected = ring_partition_of(document, "users", 5, key, sizeof key);

	(void)state;
	for (size_t place = 0; place < 512; place++) {
		leave_on_stack(cluster.plan.hash_seed, place);
		assert_int_equal(ring_partition_of(document, "users", 5, key, sizeof key), expected);
	}
	ring_document_destroy(&document);
}

static void test_partition_tells_bucket_from_key(void **state)
{
	struct ring_document *document = document_of(65536, 3);

	(void)state;
	assert_int_not_equal(partition_of(document, "ab", "c"), partition_of(document, "a", "bc"));
	assert_int_not_equal(partition_of(document, "abc", ""), partition_of(document, "ab", "c"));
	assert_int_equal(partition_of(document, "", "k"), partition_of(document, "default", "k"));
	assert_int_equal(ring_partition_of(document, NULL, 0, NULL, 0), partition_of(document, "default", ""));
	ring_document_destroy(&document);
}

static void test_partition_depends_on_seed(void **state)
{
	struct ring_document *one = document_of(65536, 3), *other;

	(void)state;
	cluster.plan.hash_seed++;
	other = cluster_claim(&cluster, NULL);
	assert_int_not_equal(partition_of(one, "b", "k"), partition_of(other, "b", "k"));
	ring_document_destroy(&one);
	ring_document_destroy(&other);
}

static void test_partitions_are_used_evenly(void **state)
{
	enum { PARTITIONS = 64, KEYS = 64000 };
	struct ring_document *document = document_of(PARTITIONS, 3);
	uint32_t counts[PARTITIONS] = {0};
	double chi_square = 0;
	char key[32];

	(void)state;
	for (uint32_t i = 0; i < KEYS; i++) {
		snprintf(key, sizeof key, "key%u", i);
		counts[partition_of(document, "", key)]++;
	}
	for (uint32_t i = 0; i < PARTITIONS; i++)
		chi_square += (counts[i] - 1000.0) * (counts[i] - 1000.0) / 1000.0;
	assert_true(chi_square < 120); /* 63 degrees of freedom: above 120 with a probability of 2e-5 */
	ring_document_destroy(&document);
}

/* ---- fallbacks ------------------------------------------------------------------------------------------------- */

/* The walk as the paper says it: from the partition on, each node once; what comes after the owners. */
static uint32_t walk(const struct ring_document *document, uint32_t partition, uint16_t *out)
{
	uint32_t count = 0, owners = 0;

	for (uint32_t step = 0; step < ring_partition_count(document); step++) {
		const uint16_t *row;
		uint32_t width = ring_owners(document, (partition + step) % ring_partition_count(document), 0, &row);

		for (uint32_t i = 0; i < width; i++) {
			bool known = false;
			for (uint32_t j = 0; j < count; j++)
				known |= out[j] == row[i];
			if (!known)
				out[count++] = row[i];
		}
		if (step == 0)
			owners = count;
	}
	memmove(out, out + owners, (count - owners) * sizeof *out);
	return count - owners;
}

static void test_fallbacks_walk_clockwise(void **state)
{
	struct ring_document *document = document_of(64, 9);
	uint16_t expected[16], fallbacks[16];

	(void)state;
	for (uint32_t partition = 0; partition < 64; partition++) {
		uint32_t others = walk(document, partition, expected);

		assert_int_equal(others, 6);
		for (uint32_t max = 0; max <= 8; max++) {
			uint32_t count = ring_fallbacks(document, partition, 0, fallbacks, max);
			assert_int_equal(count, max < others ? max : others);
			if (count)
				assert_memory_equal(fallbacks, expected, count * sizeof *expected);
		}
	}
	ring_document_destroy(&document);
}

static void test_fallbacks_none_when_all_own(void **state)
{
	struct ring_document *document = document_of(64, 3);
	uint16_t fallbacks[4];

	(void)state;
	assert_int_equal(ring_fallbacks(document, 5, 0, fallbacks, 4), 0);
	ring_document_destroy(&document);
}

static void test_owns_agrees_with_owners(void **state)
{
	struct ring_document *document = document_of(64, 7);

	(void)state;
	for (uint32_t partition = 0; partition < 64; partition++) {
		const uint16_t *row;
		uint32_t width = ring_owners(document, partition, 0, &row), owners = 0;

		for (uint32_t i = 0; i < 7; i++)
			owners += ring_owns(document, partition, i);
		assert_int_equal(owners, width);
		for (uint32_t i = 0; i < width; i++)
			assert_true(ring_owns(document, partition, row[i]));
	}
	ring_document_destroy(&document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_partition_is_stated_hash),
		cmocka_unit_test(test_partition_does_not_depend_on_the_stack),
		cmocka_unit_test(test_partition_tells_bucket_from_key),
		cmocka_unit_test(test_partition_depends_on_seed),
		cmocka_unit_test(test_partitions_are_used_evenly),
		cmocka_unit_test(test_fallbacks_walk_clockwise),
		cmocka_unit_test(test_fallbacks_none_when_all_own),
		cmocka_unit_test(test_owns_agrees_with_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
