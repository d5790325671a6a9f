/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvbench/chooser.h"
#include "tools/measure/histogram.h"

static struct histogram histogram, other;

static int empty(void **state)
{
	(void)state;
	memset(&histogram, 0, sizeof histogram);
	memset(&other, 0, sizeof other);
	return 0;
}

static void test_empty_is_zero(void **state)
{
	(void)state;
	assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
	assert_int_equal(histogram_max(&histogram), 0);
	assert_true(histogram_mean(&histogram) == 0);
}

static void test_small_values_are_exact(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 100; i++)
		histogram_record(&histogram, i);
	assert_int_equal(histogram_quantile(&histogram, 0), 1);
	assert_int_equal(histogram_quantile(&histogram, 0.5), 50);
	assert_int_equal(histogram_quantile(&histogram, 0.99), 99);
	assert_int_equal(histogram_quantile(&histogram, 0.999), 100);
	assert_int_equal(histogram_quantile(&histogram, 1), 100);
	assert_true(histogram_mean(&histogram) == 50.5);
}

/* For each single value: what is read back is not below it and less than 1 % above. The maximum would hide the
 * bucket, so a larger value is recorded beside it. */
static void test_the_error_is_below_one_percent(void **state)
{
	(void)state;
	for (uint64_t value = 1; value < 1ull << 35; value += 1 + value / 97) {
		empty(NULL);
		histogram_record(&histogram, value);
		histogram_record(&histogram, (1ull << 36) - 1);
		uint64_t seen = histogram_quantile(&histogram, 0.5);
		assert_true(seen >= value);
		assert_true((double)seen <= (double)value * 1.01);
	}
}

static void test_values_past_the_end_keep_the_maximum(void **state)
{
	(void)state;
	histogram_record(&histogram, UINT64_MAX / 2);
	histogram_record(&histogram, 5);
	assert_int_equal(histogram_count(&histogram), 2);
	assert_int_equal(histogram_max(&histogram), UINT64_MAX / 2);
	assert_int_equal(histogram_quantile(&histogram, 0.5), 5);
}

static void test_adding_two_is_recording_all_in_one(void **state)
{
	(void)state;
	struct random random;
	random_seed(&random, 7);
	static struct histogram all;
	memset(&all, 0, sizeof all);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t value = random_below(&random, 1000000);
		histogram_record(&all, value);
		histogram_record(i % 3 ? &histogram : &other, value);
	}
	histogram_add(&histogram, &other);
	assert_memory_equal(&histogram, &all, sizeof all);
}

/* Against the exact quantiles of the same sorted values. */
static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void test_quantiles_match_a_sorted_list(void **state)
{
	(void)state;
	enum { COUNT = 20000 };
	static uint64_t values[COUNT];
	struct random random;
	random_seed(&random, 11);
	for (unsigned i = 0; i < COUNT; i++) {
		values[i] = 1 + random_below(&random, 1ull << random_below(&random, 30));
		histogram_record(&histogram, values[i]);
	}
	qsort(values, COUNT, sizeof *values, by_value);
	static const double SHARES[] = {0.01, 0.5, 0.9, 0.95, 0.99, 0.999};
	for (unsigned i = 0; i < sizeof SHARES / sizeof *SHARES; i++) {
		uint64_t exact = values[(unsigned)(SHARES[i] * COUNT + 0.999999) - 1],
			 seen = histogram_quantile(&histogram, SHARES[i]);
		assert_true(seen >= exact);
		assert_true((double)seen <= (double)exact * 1.01);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_empty_is_zero, empty),
		cmocka_unit_test_setup(test_small_values_are_exact, empty),
		cmocka_unit_test_setup(test_the_error_is_below_one_percent, empty),
		cmocka_unit_test_setup(test_values_past_the_end_keep_the_maximum, empty),
		cmocka_unit_test_setup(test_adding_two_is_recording_all_in_one, empty),
		cmocka_unit_test_setup(test_quantiles_match_a_sorted_list, empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
