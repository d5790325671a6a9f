/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvbench/contexts.h"

static struct contexts *contexts;
static uint8_t *buffer;
static size_t room;

static int open_contexts(void **state)
{
	(void)state;
	contexts = contexts_create(10);
	return 0;
}

static int close_contexts(void **state)
{
	(void)state;
	contexts_destroy(&contexts);
	free(buffer);
	buffer = NULL;
	room = 0;
	return contexts != NULL;
}

static void expect(uint64_t key, const char *text)
{
	assert_int_equal(contexts_get(contexts, key, &buffer, &room), strlen(text));
	if (*text)
		assert_memory_equal(buffer, text, strlen(text));
}

static void test_nothing_is_known_at_first(void **state)
{
	(void)state;
	expect(0, "");
	expect(9, "");
}

static void test_the_last_write_counts(void **state)
{
	(void)state;
	contexts_set_written(contexts, 3, (const uint8_t *)"short", 5);
	contexts_set_written(contexts, 3, (const uint8_t *)"rather long", 11);
	expect(3, "rather long");
	contexts_set_written(contexts, 3, (const uint8_t *)"", 0);
	expect(3, "");
	expect(4, "");
}

static void test_a_read_does_not_undo_a_write_made_meanwhile(void **state)
{
	(void)state;
	uint32_t before = contexts_version(contexts, 5);
	contexts_set_written(contexts, 5, (const uint8_t *)"new", 3);
	contexts_set_read(contexts, 5, (const uint8_t *)"old", 3, before);
	expect(5, "new");
	contexts_set_read(contexts, 5, (const uint8_t *)"newer", 5, contexts_version(contexts, 5));
	expect(5, "newer");
}

static void test_a_context_over_the_limit_is_not_kept(void **state)
{
	(void)state;
	static uint8_t large[CONTEXTS_SIZE_MAX + 1];
	contexts_set_written(contexts, 1, (const uint8_t *)"old", 3);
	contexts_set_written(contexts, 1, large, sizeof large);
	expect(1, "old");
	contexts_set_written(contexts, 1, large, CONTEXTS_SIZE_MAX);
	assert_int_equal(contexts_get(contexts, 1, &buffer, &room), CONTEXTS_SIZE_MAX);
}

static void test_a_claimed_key_is_claimed_once(void **state)
{
	(void)state;
	assert_true(contexts_claim(contexts, 2));
	assert_false(contexts_claim(contexts, 2));
	assert_true(contexts_claim(contexts, 3));
	contexts_release(contexts, 2);
	assert_true(contexts_claim(contexts, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_known_at_first, open_contexts, close_contexts),
		cmocka_unit_test_setup_teardown(test_the_last_write_counts, open_contexts, close_contexts),
		cmocka_unit_test_setup_teardown(test_a_read_does_not_undo_a_write_made_meanwhile, open_contexts,
						close_contexts),
		cmocka_unit_test_setup_teardown(test_a_claimed_key_is_claimed_once, open_contexts, close_contexts),
		cmocka_unit_test_setup_teardown(test_a_context_over_the_limit_is_not_kept, open_contexts,
						close_contexts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
