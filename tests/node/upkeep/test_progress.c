/* SPDX-License-Identifier: Apache-2.0 */
/* DIR/transfer: what it says is believed of one document alone, and only whole. */
#include "tests/node/upkeep/town.h"

#include <errno.h>
#include "node/upkeep/progress.h"

static struct ring_document *document, *other;
static struct progress progress;

static int set_up(void **state)
{
	(void)state;
	town_begin();
	document = town_claim(NULL, 3, (const unsigned[]){1, 2, 3, 0});
	other = town_claim(document, 3, (const unsigned[]){1, 2, 3, 4, 0});
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ring_document_destroy(&document);
	ring_document_destroy(&other);
	town_end();
	return 0;
}

static void reopen(const struct ring_document *of)
{
	progress_fini(&progress);
	assert_int_equal(progress_open(&progress, house(1)->data_dir, of), 0);
}

static void store(void)
{
	struct rpc_error error;
	assert_int_equal(progress_store(&progress, house(1)->data_dir, &error), 0);
	assert_true(progress.is_stored);
}

static void test_it_is_kept_for_its_document(void **state)
{
	(void)state;
	reopen(document);
	assert_false(progress.resumed);
	progress_add(&progress, 3);
	progress_add(&progress, TOWN_PARTITIONS - 1);
	store();
	reopen(document);
	assert_true(progress.resumed && progress.is_stored);
	for (uint32_t i = 0; i < TOWN_PARTITIONS; i++)
		assert_int_equal(progress_has(&progress, i), i == 3 || i == TOWN_PARTITIONS - 1);
	reopen(other);
	assert_false(progress.resumed);
	assert_false(progress_has(&progress, 3));
	reopen(document);
	progress_distrust(&progress);
	assert_true(progress.resumed && !progress.is_stored);
	assert_false(progress_has(&progress, 3));
	progress_fini(&progress);
}

/* Nothing is taken from a file that is damaged anywhere; but something may be here. */
static void test_every_damaged_byte_is_noticed(void **state)
{
	const uint8_t *data;
	uint64_t size;
	(void)state;
	reopen(document);
	progress_add(&progress, 5);
	store();
	assert_int_equal(sim_fs_look(house(1)->disk, "/n/transfer", &data, &size), 0);
	for (uint64_t i = 0; i < size; i++) {
		sim_fs_flip_bit(house(1)->disk, "/n/transfer", i, (uint32_t)(i % 8));
		reopen(document);
		assert_true(progress.resumed && !progress.is_stored);
		for (uint32_t j = 0; j < TOWN_PARTITIONS; j++)
			assert_false(progress_has(&progress, j));
		sim_fs_flip_bit(house(1)->disk, "/n/transfer", i, (uint32_t)(i % 8));
	}
	for (uint64_t cut = size - 1; cut > 0; cut--) {
		sim_fs_cut(house(1)->disk, "/n/transfer", cut);
		reopen(document);
		assert_true(progress.resumed && !progress_has(&progress, 5));
	}
	progress_fini(&progress);
}

static void test_a_full_disk_leaves_the_old_one(void **state)
{
	struct rpc_error error;
	(void)state;
	reopen(document);
	progress_add(&progress, 1);
	store();
	progress_add(&progress, 2);
	assert_false(progress.is_stored);
	sim_fs_set_capacity(house(1)->disk, sim_fs_used(house(1)->disk));
	assert_int_equal(progress_store(&progress, house(1)->data_dir, &error), -ENOSPC);
	assert_false(progress.is_stored);
	sim_fs_set_capacity(house(1)->disk, UINT64_MAX);
	reopen(document);
	assert_true(progress_has(&progress, 1));
	assert_false(progress_has(&progress, 2));
	progress_fini(&progress);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_it_is_kept_for_its_document, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_damaged_byte_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_full_disk_leaves_the_old_one, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
