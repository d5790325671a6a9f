/* The small parts: varints, blocks, filters, hash trees, what to compact. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "block.h"
#include "compact.h"
#include "filter.h"
#include "hashtree.h"
#include "manifest.h"
#include "sim_random.h"
#include "sst_format.h"

/* ---- format ---- */

static void test_varints(void **state)
{
	const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		uint8_t bytes[FORMAT_VARINT_MAX];
		uint8_t *end = format_varint_put(bytes, values[i]);
		uint64_t value;

		assert_ptr_equal(format_varint_get(bytes, end, &value), end);
		assert_int_equal(value, values[i]);
		assert_null(format_varint_get(bytes, end - 1, &value));
	}
	const uint8_t too_long[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
	uint64_t value;

	assert_null(format_varint_get(too_long, too_long + 10, &value));
}

static void test_header_of_another_version_is_refused(void **state)
{
	uint8_t bytes[FORMAT_HEADER_SIZE];
	struct format_header header = {.shard = 3, .number = 9, .a = 1, .b = 2}, got;
	struct engine_error error;

	(void)state;
	format_header_write(bytes, FORMAT_LOG, &header);
	assert_int_equal(format_header_read(bytes, sizeof(bytes), FORMAT_LOG, "x.log", &got, &error), 0);
	assert_true(got.shard == 3 && got.number == 9 && got.a == 1 && got.b == 2);
	assert_int_equal(format_header_read(bytes, sizeof(bytes), FORMAT_TABLE, "x.log", &got, &error), -EBADMSG);
	assert_int_equal(format_header_read(bytes, sizeof(bytes) - 1, FORMAT_LOG, "x.log", &got, &error), -EBADMSG);
	/* A newer one with a right checksum. */
	format_u32_put(bytes + 8, FORMAT_VERSION + 1);
	assert_int_equal(format_header_read(bytes, sizeof(bytes), FORMAT_LOG, "x.log", &got, &error), -EBADMSG);
	format_u64_put(bytes + 40, XXH3_64bits(bytes, 40));
	assert_int_equal(format_header_read(bytes, sizeof(bytes), FORMAT_LOG, "x.log", &got, &error), -ENOTSUP);
	assert_non_null(strstr(error.text, "x.log: format version 3"));
}

static void test_checksum_is_tied_to_its_place(void **state)
{
	(void)state;
	assert_true(format_checksum("abc", 3, 1, 48) != format_checksum("abc", 3, 1, 49));
	assert_true(format_checksum("abc", 3, 1, 48) != format_checksum("abc", 3, 2, 48));
	assert_true(format_checksum("abc", 3, 1, 48) == format_checksum("abc", 3, 1, 48));
}

/* ---- blocks ---- */

static void test_block_finds_every_key(void **state)
{
	struct block_builder builder = {0};
	struct buffer bytes = {0};
	struct block_view view;
	struct block_entry entry;
	char key[32];

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct engine_slice slice = {key, (size_t)snprintf(key, sizeof(key), "common/%05d", i * 2)};

		assert_int_equal(block_builder_add(&builder, slice, block_key_hash(slice), slice,
						   i % 7 ? ENTRY_PUT : ENTRY_DELETE),
				 0);
	}
	size_t most = block_builder_size(&builder);

	assert_int_equal(block_builder_finish(&builder, &bytes), 0);
	assert_true(bytes.size <= most);
	assert_int_equal(block_parse(bytes.data, bytes.size, &view), 0);
	assert_int_equal(view.count, 200);
	assert_int_equal(view.prefix_size, strlen("common/00"));
	for (int i = -1; i < 401; i++) {
		struct engine_slice slice = {key, (size_t)snprintf(key, sizeof(key), "common/%05d", i < 0 ? 0 : i)};
		int64_t found;

		if (i < 0)
			slice = (struct engine_slice){"comm", 4};
		found = block_find(&view, slice, block_tag(block_key_hash(slice)), &entry);
		assert_int_equal(found, i >= 0 && i % 2 == 0 && i < 400 ? i / 2 : -1);
		assert_int_equal(block_lower_bound(&view, slice), i < 0 ? 0 : (i + 1) / 2);
		if (found >= 0) {
			assert_int_equal(entry.type, i / 2 % 7 ? ENTRY_PUT : ENTRY_DELETE);
			assert_int_equal(entry.value.size, slice.size);
			assert_memory_equal(entry.value.data, slice.data, slice.size);
		}
	}
	assert_int_equal(block_lower_bound(&view, (struct engine_slice){"d", 1}), 200);
	/* No shorter piece of it is a block. */
	for (size_t size = 0; size < bytes.size; size++)
		assert_int_equal(block_parse(bytes.data, size, &view), -EBADMSG);
	block_builder_fini(&builder);
	buffer_fini(&bytes);
}

static void test_block_with_one_huge_value(void **state)
{
	struct block_builder builder = {0};
	struct buffer bytes = {0};
	struct block_view view;
	struct block_entry entry;
	struct engine_slice key = {"key", 3}, value = {calloc(1, 1 << 20), 1 << 20};

	(void)state;
	assert_int_equal(block_builder_add(&builder, key, block_key_hash(key), value, ENTRY_PUT), 0);
	assert_int_equal(block_builder_finish(&builder, &bytes), 0);
	assert_int_equal(block_parse(bytes.data, bytes.size, &view), 0);
	assert_int_equal(view.offset_width, 4);
	assert_int_equal(block_find(&view, key, block_tag(block_key_hash(key)), &entry), 0);
	assert_int_equal(entry.value.size, value.size);
	block_builder_fini(&builder);
	buffer_fini(&bytes);
	free((void *)value.data);
}

static void test_part_claims_no_more_than_its_codec_can_give(void **state)
{
	uint8_t part[64 + SST_TRAILER] = {0};
	enum engine_compression compression;
	uint32_t raw_size;

	(void)state;
	for (unsigned codec = 0; codec < 4; codec++) {
		part[64] = (uint8_t)codec;
		format_u32_put(part + 68, 4 * 1024 * 1024);
		format_u64_put(part + 72, format_checksum(part, 72, 5, 100));
		assert_int_equal(sst_part_check(part, 64, 5, 100, &raw_size, &compression),
				 codec == ENGINE_COMPRESSION_ZSTD ? 0 : -EBADMSG);
		assert_int_equal(sst_part_check(part, 64, 5, 101, &raw_size, &compression), -EBADMSG);
	}
	format_u32_put(part + 68, UINT32_MAX);
	part[64] = ENGINE_COMPRESSION_ZSTD;
	format_u64_put(part + 72, format_checksum(part, 72, 5, 100));
	assert_int_equal(sst_part_check(part, 64, 5, 100, &raw_size, &compression), -EBADMSG);
}

/* ---- filter ---- */

static void test_filter_rates(void **state)
{
	enum { COUNT = 50000 };
	size_t size = filter_size(COUNT, 10);
	uint32_t probes = filter_probes(10);
	uint8_t *lines = calloc(1, size);
	struct sim_random random = {1};
	unsigned passed = 0;

	(void)state;
	for (uint64_t i = 0; i < COUNT; i++)
		filter_add(lines, size, probes, sim_random_mix(i + 1));
	for (uint64_t i = 0; i < COUNT; i++)
		assert_true(filter_may_contain(lines, size, probes, sim_random_mix(i + 1)));
	for (unsigned i = 0; i < COUNT; i++)
		passed += filter_may_contain(lines, size, probes, sim_random_next(&random));
	assert_true(passed < COUNT / 60); /* 1.67 % */
	assert_int_equal(size % FILTER_LINE, 0);
	assert_true(size <= COUNT * 10 / 8 + FILTER_LINE);
	assert_true(filter_may_contain(NULL, 0, 6, 1));
	free(lines);
}

/* ---- hash trees ---- */

static void test_tree_saves_and_loads(void **state)
{
	struct hashtree tree = {0}, loaded = {0};
	struct buffer saved = {0};
	struct sim_random random = {1};
	uint64_t root = 0;

	(void)state;
	for (int i = 0; i < 500; i++) {
		uint32_t leaf = (uint32_t)sim_random_below(&random, 16384);
		uint64_t delta = sim_random_next(&random);

		assert_int_equal(hashtree_prepare(&tree, 7, leaf), 0);
		hashtree_apply(&tree, 7, leaf, delta);
		root ^= delta;
	}
	assert_int_equal(hashtree_node(&tree, 7, 0, 0), root);
	assert_int_equal(hashtree_node(&tree, 8, 0, 0), 0);
	assert_int_equal(hashtree_save(&tree, &saved), 0);
	assert_int_equal(hashtree_load(&loaded, buffer_slice(&saved)), 0);
	for (uint32_t i = 0; i < 16384; i++)
		assert_int_equal(hashtree_node(&loaded, 7, 2, i), hashtree_node(&tree, 7, 2, i));
	for (uint32_t i = 0; i < 256; i++) {
		uint64_t branch = 0;

		for (uint32_t j = 0; j < 64; j++)
			branch ^= hashtree_node(&loaded, 7, 2, i * 64 + j);
		assert_int_equal(hashtree_node(&loaded, 7, 1, i), branch);
	}
	hashtree_fini(&loaded);
	for (size_t size = 0; size < saved.size; size++)
		assert_int_equal(hashtree_load(&loaded, (struct engine_slice){saved.data, size}), -EBADMSG);
	hashtree_fini(&tree);
	buffer_fini(&saved);
}

static void test_tree_zeroes_whole_partitions_only(void **state)
{
	struct hashtree tree = {0};
	const struct {
		const char *begin, *end;
		size_t begin_size, end_size;
		bool zeroed;
	} cases[] = {
		{"\0\5", "\0\6", 2, 2, true},   {"\0\4zz", "\0\6", 4, 2, true}, {"\0\5", "\0\6a", 2, 3, true},
		{"\0\5a", "\0\6", 3, 2, false}, {"\0\5", "\0\5z", 2, 3, false}, {"\0\6", "\0\7", 2, 2, false},
		{"\0\1", "", 2, 0, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(hashtree_prepare(&tree, 5, 1), 0);
		hashtree_apply(&tree, 5, 1, 42);
		hashtree_zero_range(&tree, (struct engine_slice){cases[i].begin, cases[i].begin_size},
				    (struct engine_slice){cases[i].end, cases[i].end_size});
		assert_int_equal(hashtree_node(&tree, 5, 0, 0), cases[i].zeroed ? 0 : 42);
		hashtree_zero(&tree, 5);
	}
	hashtree_fini(&tree);
}

/* ---- compaction ---- */

static const struct compact_limits limits = {4, 4};

static void test_nothing_to_merge(void **state)
{
	const struct compact_run runs[] = {{0, 10, false, false}, {0, 10, false, false}, {7, 100, false, false}};
	struct compact_choice choice;

	(void)state;
	assert_false(compact_choose(runs, 0, &limits, &choice));
	assert_false(compact_choose(runs, 3, &limits, &choice));
	assert_true(compact_choose_all(runs, 3, &choice));
	assert_int_equal(choice.count, 3);
	assert_int_equal(choice.level, MANIFEST_BOTTOM);
	assert_false(compact_choose_all(runs + 2, 1, &choice));
}

static void test_full_level_goes_down_one(void **state)
{
	struct compact_run runs[] = {{0, 10, false, false}, {0, 10, false, false}, {0, 10, false, false},
				     {0, 10, false, false}, {1, 40, false, false}, {7, 1000, false, false}};
	struct compact_choice choice;

	(void)state;
	assert_true(compact_choose(runs, 6, &limits, &choice));
	assert_int_equal(choice.first, 0);
	assert_int_equal(choice.count, 4);
	assert_int_equal(choice.level, 1);
	runs[2].is_busy = true;
	assert_false(compact_choose(runs, 6, &limits, &choice));
}

static void test_enough_above_rewrites_the_bottom(void **state)
{
	struct compact_run runs[] = {{0, 10, false, false}, {0, 10, false, false}, {0, 10, false, false},
				     {0, 10, false, false}, {1, 40, false, false}, {7, 320, false, false}};
	struct compact_choice choice;

	(void)state;
	assert_true(compact_choose(runs, 6, &limits, &choice));
	assert_int_equal(choice.first, 0);
	assert_int_equal(choice.count, 6);
	assert_int_equal(choice.level, MANIFEST_BOTTOM);
	/* C2; and while the bottom is busy, the new runs are merged where they are. */
	runs[5].is_busy = true;
	assert_true(compact_choose(runs, 6, &limits, &choice));
	assert_int_equal(choice.first, 0);
	assert_int_equal(choice.count, 4);
	assert_int_equal(choice.level, 0);
	runs[3].is_busy = true;
	assert_false(compact_choose(runs, 6, &limits, &choice));
}

static void test_dropped_runs_come_last(void **state)
{
	struct compact_run runs[] = {{0, 10, false, false}, {7, 1000, false, true}};
	struct compact_choice choice;

	(void)state;
	assert_true(compact_choose(runs, 2, &limits, &choice));
	assert_int_equal(choice.first, 1);
	assert_int_equal(choice.count, 1);
	assert_int_equal(choice.level, 7);
}

/* Feeds flushes of equal size and does what is chosen: the tree keeps its shape, and rewriting stays cheap. */
static void test_simulated_load(void **state)
{
	struct compact_run runs[64] = {0};
	size_t count = 0;
	uint64_t written = 0, user = 0;

	(void)state;
	for (int flush = 0; flush < 4000; flush++) {
		struct compact_choice choice;

		memmove(runs + 1, runs, count * sizeof(runs[0]));
		runs[0] = (struct compact_run){.bytes = 1};
		count++;
		user++;
		written++;
		while (compact_choose(runs, count, &limits, &choice)) {
			uint64_t bytes = 0;

			for (size_t i = 0; i < choice.count; i++)
				bytes += runs[choice.first + i].bytes;
			written += bytes;
			runs[choice.first] = (struct compact_run){.level = choice.level, .bytes = bytes};
			memmove(runs + choice.first + 1, runs + choice.first + choice.count,
				(count - choice.first - choice.count) * sizeof(runs[0]));
			count -= choice.count - 1;
		}
		for (size_t i = 1; i < count; i++)
			assert_true(runs[i - 1].level <= runs[i].level);
		assert_true(count <= 7 * limits.runs_per_level);
	}
	assert_true(written < user * 30);
}

static void test_debt_is_smooth(void **state)
{
	uint32_t last = 0;

	(void)state;
	for (uint32_t runs = 0; runs <= 40; runs++) {
		uint32_t debt = compact_debt(runs, &limits, 32);

		assert_true(debt >= last && debt <= 1000 && debt - last < 100);
		last = debt;
	}
	assert_int_equal(last, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_varints),
		cmocka_unit_test(test_header_of_another_version_is_refused),
		cmocka_unit_test(test_checksum_is_tied_to_its_place),
		cmocka_unit_test(test_block_finds_every_key),
		cmocka_unit_test(test_block_with_one_huge_value),
		cmocka_unit_test(test_part_claims_no_more_than_its_codec_can_give),
		cmocka_unit_test(test_filter_rates),
		cmocka_unit_test(test_tree_saves_and_loads),
		cmocka_unit_test(test_tree_zeroes_whole_partitions_only),
		cmocka_unit_test(test_nothing_to_merge),
		cmocka_unit_test(test_full_level_goes_down_one),
		cmocka_unit_test(test_enough_above_rewrites_the_bottom),
		cmocka_unit_test(test_dropped_runs_come_last),
		cmocka_unit_test(test_simulated_load),
		cmocka_unit_test(test_debt_is_smooth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
