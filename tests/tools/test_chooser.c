/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvbench/chooser.h"

#include <math.h>

enum { KEYS = 1000, DRAWS = 400000 };

static unsigned counts[KEYS];

static void draw(enum chooser_distribution distribution, uint64_t key_count)
{
	struct chooser chooser;
	struct random random;
	memset(counts, 0, sizeof counts);
	random_seed(&random, 42);
	chooser_init(&chooser, distribution, key_count);
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t key = chooser_next(&chooser, &random);
		assert_true(key < key_count);
		counts[key]++;
	}
}

static int falling(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
	return x > y ? -1 : x < y;
}

static double share_of_rank(unsigned rank)
{
	double zeta = 0;
	for (unsigned i = 1; i <= KEYS; i++)
		zeta += pow(i, -0.99);
	return pow(rank, -0.99) / zeta;
}

static void test_uniform_is_even(void **state)
{
	(void)state;
	draw(CHOOSER_UNIFORM, KEYS);
	for (unsigned i = 0; i < KEYS; i++)
		assert_true(counts[i] > 300 && counts[i] < 500); /* 400 expected, five standard deviations */
}

/* Unscrambled the first two ranks are exact in Gray's method, later ones close. */
static void test_latest_follows_zipf_from_the_newest_key(void **state)
{
	(void)state;
	draw(CHOOSER_LATEST, KEYS);
	for (unsigned rank = 1; rank <= 2; rank++)
		assert_true(fabs(counts[KEYS - rank] / (double)DRAWS / share_of_rank(rank) - 1) < 0.05);
	for (unsigned rank = 10; rank <= 100; rank += 10)
		assert_true(fabs(counts[KEYS - rank] / (double)DRAWS / share_of_rank(rank) - 1) < 0.35);
}

static void test_zipfian_is_as_skewed_but_scattered(void **state)
{
	(void)state;
	draw(CHOOSER_ZIPFIAN, KEYS);
	unsigned hottest = 0;
	for (unsigned i = 1; i < KEYS; i++)
		hottest = counts[i] > counts[hottest] ? i : hottest;
	assert_true(hottest != 0 && hottest != KEYS - 1);
	qsort(counts, KEYS, sizeof *counts, falling);
	assert_true(counts[0] / (double)DRAWS > 0.95 * share_of_rank(1));
	assert_true(counts[0] / (double)DRAWS < 1.2 * share_of_rank(1)); /* a few ranks may fall on one key */
}

static void test_few_keys_are_all_drawn(void **state)
{
	(void)state;
	for (uint64_t key_count = 1; key_count <= 3; key_count++) {
		for (int distribution = CHOOSER_UNIFORM; distribution <= CHOOSER_LATEST; distribution++) {
			draw((enum chooser_distribution)distribution, key_count);
			if (distribution == CHOOSER_ZIPFIAN)
				continue; /* ranks may fall on one key */
			for (uint64_t key = 0; key < key_count; key++)
				assert_true(counts[key] > 0);
		}
	}
}

static void test_the_same_seed_gives_the_same_keys(void **state)
{
	(void)state;
	struct chooser chooser;
	struct random a, b, c;
	random_seed(&a, 1), random_seed(&b, 1), random_seed(&c, 2);
	chooser_init(&chooser, CHOOSER_ZIPFIAN, 1000000);
	unsigned differ = 0;
	for (unsigned i = 0; i < 100; i++) {
		uint64_t key = chooser_next(&chooser, &a);
		assert_int_equal(key, chooser_next(&chooser, &b));
		differ += key != chooser_next(&chooser, &c);
	}
	assert_true(differ > 50);
}

static void test_names(void **state)
{
	(void)state;
	enum chooser_distribution distribution;
	assert_true(chooser_parse("latest", &distribution));
	assert_int_equal(distribution, CHOOSER_LATEST);
	assert_string_equal(chooser_name(CHOOSER_ZIPFIAN), "zipfian");
	assert_false(chooser_parse("zipf", &distribution));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uniform_is_even),
		cmocka_unit_test(test_latest_follows_zipf_from_the_newest_key),
		cmocka_unit_test(test_zipfian_is_as_skewed_but_scattered),
		cmocka_unit_test(test_few_keys_are_all_drawn),
		cmocka_unit_test(test_the_same_seed_gives_the_same_keys),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
