/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/rpc/harness.h"

static void test_memory_is_aligned_distinct_and_counted(void **state)
{
	(void)state;
	struct arena *arena = rpc_arena_create(64, SIZE_MAX);
	uint8_t *pieces[200];
	for (unsigned i = 0; i < 200; i++) {
		pieces[i] = rpc_arena_alloc(arena, i);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t)pieces[i] % 16, 0);
		memset(pieces[i], (int)i, i);
	}
	for (unsigned i = 0; i < 200; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_equal(pieces[i][j], i);
	assert_true(rpc_arena_used(arena) >= 199 * 200 / 2);
	rpc_arena_unref(arena);
}

static void test_zalloc_copy_and_printf_return_what_they_say(void **state)
{
	(void)state;
	struct arena *arena = rpc_arena_create(0, SIZE_MAX);
	uint8_t *zeros = rpc_arena_zalloc(arena, 5000);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(zeros[i], 0);
	assert_memory_equal(rpc_arena_copy(arena, "abcdef", 6), "abcdef", 6);
	assert_non_null(rpc_arena_copy(arena, NULL, 0));
	assert_string_equal(rpc_arena_printf(arena, "%s-%d", "n", 42), "n-42");
	rpc_arena_unref(arena);
}

static void test_the_cap_is_exact_and_final(void **state)
{
	(void)state;
	struct arena *arena = rpc_arena_create(16, 1024);
	assert_non_null(rpc_arena_alloc(arena, 1000));
	assert_int_equal(rpc_arena_used(arena), 1008);
	assert_null(rpc_arena_alloc(arena, 17));
	assert_non_null(rpc_arena_alloc(arena, 16));
	assert_null(rpc_arena_alloc(arena, 1));
	assert_null(rpc_arena_alloc(arena, 0));
	assert_null(rpc_arena_alloc(arena, SIZE_MAX)); /* and no wrap */
	assert_null(rpc_arena_alloc(arena, SIZE_MAX - 15));
	assert_int_equal(rpc_arena_used(arena), 1024);
	rpc_arena_unref(arena);
}

static void test_absurd_sizes_are_refused_without_a_cap(void **state)
{
	(void)state;
	struct arena *arena = rpc_arena_create(16, SIZE_MAX);
	assert_null(rpc_arena_alloc(arena, SIZE_MAX));
	assert_null(rpc_arena_alloc(arena, SIZE_MAX - 20));
	assert_null(rpc_arena_alloc(arena, SIZE_MAX / 2));
	assert_int_equal(rpc_arena_used(arena), 0);
	rpc_arena_unref(arena);
}

static void test_a_large_piece_does_not_waste_the_current_chunk(void **state)
{
	(void)state;
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	uint8_t *before = rpc_arena_alloc(arena, 16);
	assert_non_null(rpc_arena_alloc(arena, 1024 * 1024));
	assert_ptr_equal(rpc_arena_alloc(arena, 16), before + 16);
	rpc_arena_unref(arena);
}

static void *unref_many(void *arena)
{
	for (unsigned i = 0; i < 10000; i++)
		rpc_arena_unref(arena);
	return NULL;
}

/* ASan tells when the last reference does not free, or one before it does. */
static void test_the_last_reference_on_any_thread_frees(void **state)
{
	(void)state;
	struct arena *arena = rpc_arena_create(16, SIZE_MAX);
	uint8_t *memory = rpc_arena_alloc(arena, 10000);
	rpc_arena_ref_many(arena, 20000);
	assert_ptr_equal(rpc_arena_ref(arena), arena);
	pthread_t threads[2];
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, unref_many, arena), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	memory[9999] = 1;
	rpc_arena_unref(arena);
	memory[9999] = 2;
	rpc_arena_unref(arena);
	rpc_arena_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_is_aligned_distinct_and_counted),
		cmocka_unit_test(test_zalloc_copy_and_printf_return_what_they_say),
		cmocka_unit_test(test_the_cap_is_exact_and_final),
		cmocka_unit_test(test_absurd_sizes_are_refused_without_a_cap),
		cmocka_unit_test(test_a_large_piece_does_not_waste_the_current_chunk),
		cmocka_unit_test(test_the_last_reference_on_any_thread_frees),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
