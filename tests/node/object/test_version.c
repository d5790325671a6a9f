/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include <errno.h>
#include <xxhash.h>
#include "node/actor/event.h"
#include "node/object/version.h"

static struct arena *arena;
static const struct rpc_slice key = {(const uint8_t *)"engine key", 10};

static int set_up(void **state)
{
	(void)state;
	arena = rpc_arena_create(4096, SIZE_MAX);
	return arena != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	rpc_arena_unref(arena);
	return 0;
}

static struct context sample(void)
{
	static struct version_entry entries[] = {{.actor = 5, .counter = 300}, {.actor = UINT64_MAX, .counter = 1}};
	static struct dot dots[] = {{5, 400}, {2, UINT64_MAX}};

	return (struct context){.vector = {entries, 2}, .dots = dots, .dot_count = 2};
}

static struct rpc_slice encode(const struct context *context)
{
	struct rpc_slice out;

	assert_int_equal(context_encode(context, key, arena, &out), 0);
	return out;
}

static void test_merge_takes_the_maximum(void **state)
{
	struct version_entry a[] = {{1, 5, 100}, {3, 7, 100}}, b[] = {{1, 6, 50}, {2, 1, 70}, {3, 7, 200}};
	struct version out;
	bool changed;

	(void)state;
	assert_int_equal(version_merge(&(struct version){a, 2}, &(struct version){b, 3}, 0, arena, &out, &changed), 0);
	assert_true(changed);
	assert_int_equal(out.count, 3);
	assert_int_equal(version_counter(&out, 1), 6);
	assert_int_equal(version_counter(&out, 2), 1);
	assert_int_equal(version_counter(&out, 3), 7);
	assert_int_equal(version_counter(&out, 4), 0);
	assert_int_equal(out.entries[0].last_ms, 100);
	assert_int_equal(out.entries[2].last_ms, 200);
	assert_int_equal(version_merge(&out, &(struct version){a, 2}, 0, arena, &out, &changed), 0);
	assert_false(changed);
}

static void test_merge_stamps_raised_entries_only(void **state)
{
	struct version_entry a[] = {{1, 5, 100}, {2, 9, 100}}, b[] = {{1, 6, 0}, {2, 9, 0}};
	struct version out;
	bool changed;

	(void)state;
	assert_int_equal(version_merge(&(struct version){a, 2}, &(struct version){b, 2}, 500, arena, &out, &changed),
			 0);
	assert_int_equal(out.entries[0].last_ms, 500);
	assert_int_equal(out.entries[1].last_ms, 100);
}

static void test_covers(void **state)
{
	struct context context = sample();

	(void)state;
	assert_true(context_covers(&context, (struct dot){5, 1}));
	assert_true(context_covers(&context, (struct dot){5, 300}));
	assert_false(context_covers(&context, (struct dot){5, 301}));
	assert_true(context_covers(&context, (struct dot){5, 400}));
	assert_false(context_covers(&context, (struct dot){6, 1}));
}

static void test_context_round_trip(void **state)
{
	struct context context = sample(), back;
	struct rpc_error error;
	struct rpc_slice bytes = encode(&context);

	(void)state;
	assert_int_equal(context_decode(bytes, key, arena, &back, &error), 0);
	assert_int_equal(back.vector.count, 2);
	assert_int_equal(back.vector.entries[1].actor, UINT64_MAX);
	assert_int_equal(back.dot_count, 2);
	assert_int_equal(back.dots[1].counter, UINT64_MAX);
	assert_slice_equal(encode(&back), bytes);
}

static void test_empty_context_is_no_bytes(void **state)
{
	struct context context = {0};

	(void)state;
	assert_int_equal(encode(&context).size, 0);
	assert_int_equal(context_decode((struct rpc_slice){0}, key, arena, &context, NULL), 0);
	assert_int_equal(context.vector.count + context.dot_count, 0);
}

static void test_every_changed_byte_is_refused(void **state)
{
	struct context context = sample();
	struct rpc_slice bytes = encode(&context);
	uint8_t *changed = rpc_arena_copy(arena, bytes.data, bytes.size);
	struct rpc_error error;

	(void)state;
	for (size_t at = 0; at < bytes.size; at++)
		for (unsigned flip = 1; flip < 256; flip++) {
			changed[at] = (uint8_t)(bytes.data[at] ^ flip);
			assert_int_equal(
				context_decode((struct rpc_slice){changed, bytes.size}, key, arena, &context, &error),
				-EBADMSG);
			assert_non_null(strstr(error.text, "context belongs to another key, or was changed"));
			changed[at] = bytes.data[at];
		}
}

static void test_every_other_length_is_refused(void **state)
{
	struct context context = sample();
	struct rpc_slice bytes = encode(&context);
	uint8_t longer[LIMIT_CONTEXT_SIZE + 1] = {0};

	(void)state;
	memcpy(longer, bytes.data, bytes.size);
	for (size_t size = 1; size <= sizeof longer; size++)
		if (size != bytes.size)
			assert_int_equal(context_decode((struct rpc_slice){longer, size}, key, arena, &context, NULL),
					 -EBADMSG);
}

/* A sender with a right checksum and wrong content. */
static int decode_sealed(const uint8_t *body, size_t size, struct rpc_error *error)
{
	uint8_t bytes[256];
	uint32_t sum;
	struct context context;

	memcpy(bytes, body, size);
	sum = (uint32_t)XXH3_64bits_withSeed(body, size, XXH3_64bits(key.data, key.size));
	memcpy(bytes + size, &sum, sizeof sum);
	return context_decode((struct rpc_slice){bytes, size + sizeof sum}, key, arena, &context, error);
}

static void test_another_key_is_refused(void **state)
{
	struct context context = sample(), back;
	struct rpc_slice bytes = encode(&context);
	struct rpc_error error;

	(void)state;
	assert_int_equal(context_decode(bytes, slice("engine kez"), arena, &back, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "context belongs to another key"));
	assert_int_equal(context_decode(bytes, slice(""), arena, &back, NULL), -EBADMSG);
	assert_int_equal(context_decode((struct rpc_slice){0}, slice("any"), arena, &back, NULL), 0);
}

/* The most that can be stored has a context, and it comes back. */
static void test_the_largest_context_fits(void **state)
{
	struct version_entry entries[LIMIT_CLOCK_ENTRIES];
	struct dot dots[CONTEXT_DOTS_MAX];
	struct context context = {{entries, LIMIT_CLOCK_ENTRIES}, dots, CONTEXT_DOTS_MAX}, back;
	struct rpc_slice bytes;

	(void)state;
	for (uint32_t i = 0; i < LIMIT_CLOCK_ENTRIES; i++)
		entries[i] = (struct version_entry){i + 1, UINT64_MAX, 0};
	for (uint32_t i = 0; i < CONTEXT_DOTS_MAX; i++)
		dots[i] = (struct dot){10000 + i, UINT64_MAX};
	bytes = encode(&context);
	assert_in_range(bytes.size, 19000, LIMIT_CONTEXT_SIZE);
	assert_int_equal(context_decode(bytes, key, arena, &back, NULL), 0);
	assert_slice_equal(encode(&back), bytes);
}

static void test_malformed_content_is_named(void **state)
{
	static const struct {
		uint8_t bytes[40];
		size_t size;
		const char *says;
	} cases[] = {
		{{3, 1, 0, [3] = 1, [11] = 1}, 12, "format is none of those known here (1, 2)"},
		{{1, 1, 0, [3] = 1, [11] = 0}, 12, "entry 0 has counter 0"},
		{{1, 2, 0, [3] = 1, [11] = 1}, 12, "entry 1 is cut short"},
		{{1, 2, 0, [3] = 1, [11] = 1, [12] = 1, [20] = 1}, 21, "entry 1 is out of order"},
		{{1, 0, 1, [3] = 1, [11] = 0}, 12, "dot 0 has counter 0"},
		{{1, 0, 17, [3] = 1, [11] = 1}, 12, "more than 16 dots"},
		{{1, 0xc1, 8, [4] = 1, [12] = 1}, 13, "more than 1088 entries"}, /* 1089 */
		{{1, 1, 0, [3] = 1, [11] = 1, [12] = 1}, 13, "1 bytes too many"},
		{{1, 1, 0, [3] = 1, [11] = 0x81, [12] = 0}, 13, "entry 0 is cut short"},
	};
	struct rpc_error error;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(decode_sealed(cases[i].bytes, cases[i].size, &error), -EBADMSG);
		if (strstr(error.text, cases[i].says) == NULL)
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, error.text, cases[i].says);
	}
}

static void test_with_dot_keeps_what_the_client_saw(void **state)
{
	struct context context = sample(), back;
	struct rpc_slice bytes;

	(void)state;
	assert_int_equal(context_with_dot(&context, (struct dot){9, 12}, (struct mark){0}, key, arena, &bytes), 0);
	assert_int_equal(context_decode(bytes, key, arena, &back, NULL), 0);
	assert_true(context_covers(&back, (struct dot){9, 12}));
	assert_false(context_covers(&back, (struct dot){9, 11}));
	assert_true(context_covers(&back, (struct dot){5, 400}));
	assert_int_equal(back.dot_count, 3);
	assert_int_equal(context_with_dot(&context, (struct dot){5, 7}, (struct mark){0}, key, arena, &bytes), 0);
	assert_slice_equal(bytes, encode(&context));
}

static void test_with_dot_forgets_the_oldest(void **state)
{
	struct context context = {0};
	struct rpc_slice bytes = {0};

	(void)state;
	for (uint64_t i = 1; i <= 100; i++) {
		assert_int_equal(context_decode(bytes, key, arena, &context, NULL), 0);
		assert_int_equal(
			context_with_dot(&context, (struct dot){i % 3, i}, (struct mark){0}, key, arena, &bytes), 0);
	}
	assert_int_equal(context_decode(bytes, key, arena, &context, NULL), 0);
	assert_int_equal(context.dot_count, CONTEXT_DOTS_MAX);
	assert_int_equal(context.dots[0].counter, 100 - CONTEXT_DOTS_MAX + 1);
	assert_int_equal(context.dots[CONTEXT_DOTS_MAX - 1].counter, 100);
}

static void test_decode_reports_a_full_arena(void **state)
{
	struct context context = sample();
	struct rpc_slice bytes = encode(&context);
	struct arena *small = rpc_arena_create(16, 16);

	(void)state;
	assert_int_equal(context_decode(bytes, key, small, &context, NULL), -ENOMEM);
	context = sample();
	assert_int_equal(context_encode(&context, key, small, &bytes), -ENOMEM);
	rpc_arena_unref(small);
}

/* Known answers of the published generators: a seed means the same run everywhere. */
static void test_prng_is_the_published_one(void **state)
{
	struct prng prng;

	(void)state;
	prng_seed(&prng, 0);
	assert_true(prng.state[0] == 0xe220a8397b1dcdafu);
	assert_true(prng.state[1] == 0x6e789e6aa1b965f4u);
	prng = (struct prng){{1, 2, 3, 4}};
	assert_int_equal(prng_next(&prng), 11520);
	assert_int_equal(prng_next(&prng), 0);
	assert_int_equal(prng_next(&prng), 1509978240);
}

static void test_prng_below_is_uniform(void **state)
{
	struct prng prng;
	unsigned seen[7] = {0};

	(void)state;
	prng_seed(&prng, 1);
	for (int i = 0; i < 70000; i++)
		seen[prng_below(&prng, 7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 9600, 10400); /* four standard deviations */
	assert_int_equal(prng_below(&prng, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge_takes_the_maximum),
		cmocka_unit_test(test_merge_stamps_raised_entries_only),
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_context_round_trip),
		cmocka_unit_test(test_empty_context_is_no_bytes),
		cmocka_unit_test(test_every_changed_byte_is_refused),
		cmocka_unit_test(test_every_other_length_is_refused),
		cmocka_unit_test(test_another_key_is_refused),
		cmocka_unit_test(test_the_largest_context_fits),
		cmocka_unit_test(test_malformed_content_is_named),
		cmocka_unit_test(test_with_dot_keeps_what_the_client_saw),
		cmocka_unit_test(test_with_dot_forgets_the_oldest),
		cmocka_unit_test(test_decode_reports_a_full_arena),
		cmocka_unit_test(test_prng_is_the_published_one),
		cmocka_unit_test(test_prng_below_is_uniform),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
