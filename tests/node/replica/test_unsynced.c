/* SPDX-License-Identifier: Apache-2.0 */
#include "node/actor/event.h"
#include "node/replica/unsynced.h"
#include "tests/node/support.h"

static void add(struct unsynced *set, uint64_t hash)
{
	assert_int_equal(unsynced_reserve(set), 0);
	unsynced_insert(set, hash);
}

static void test_empty(void **state)
{
	(void)state;
	struct unsynced set = {0};
	assert_false(unsynced_has(&set, 1));
	unsynced_clear(&set);
	assert_false(unsynced_has(&set, 1));
	unsynced_fini(&set);
}

static void test_same_key_counts_once(void **state)
{
	(void)state;
	struct unsynced set = {0};
	uint64_t hash = unsynced_hash(slice("key"));
	add(&set, hash);
	add(&set, hash);
	assert_int_equal(set.count, 1);
	assert_true(unsynced_has(&set, hash));
	assert_true(unsynced_has(&set, unsynced_hash(slice("key"))));
	assert_false(unsynced_has(&set, unsynced_hash(slice("yek"))));
	unsynced_clear(&set);
	assert_int_equal(set.count, 0);
	assert_false(unsynced_has(&set, hash));
	add(&set, unsynced_hash(slice("yek"))); /* what was cleared does not come back with it */
	assert_false(unsynced_has(&set, hash));
	unsynced_fini(&set);
}

/* Hashes that all want the same place, at the end of the table. */
static void test_collisions_wrap_around(void **state)
{
	(void)state;
	struct unsynced set = {0};
	for (uint64_t i = 1; i <= 100; i++)
		add(&set, i << 32 | 0xff);
	for (uint64_t i = 1; i <= 100; i++)
		assert_true(unsynced_has(&set, i << 32 | 0xff));
	assert_false(unsynced_has(&set, UINT64_C(101) << 32 | 0xff));
	assert_false(unsynced_has(&set, 0xfe));
	unsynced_fini(&set);
}

static void test_grows_and_shrinks(void **state)
{
	(void)state;
	struct unsynced set = {0};
	struct prng prng;
	prng_seed(&prng, 5);
	for (int i = 0; i < 20000; i++)
		add(&set, prng_next(&prng) | 1);
	assert_true(set.count * 2 <= set.capacity);
	prng_seed(&prng, 5);
	for (int i = 0; i < 20000; i++)
		assert_true(unsynced_has(&set, prng_next(&prng) | 1));
	prng_seed(&prng, 6);
	for (int i = 0; i < 20000; i++)
		assert_false(unsynced_has(&set, prng_next(&prng) | 1));
	uint32_t large = set.capacity;
	unsynced_clear(&set);
	assert_int_equal(set.capacity, large); /* the next batch may be as large */
	add(&set, 7);
	unsynced_clear(&set);
	add(&set, 8);
	assert_true(set.capacity < large);
	assert_true(unsynced_has(&set, 8));
	assert_false(unsynced_has(&set, 7));
	unsynced_fini(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_same_key_counts_once),
		cmocka_unit_test(test_collisions_wrap_around),
		cmocka_unit_test(test_grows_and_shrinks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
