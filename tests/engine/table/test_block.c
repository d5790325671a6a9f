/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: every key of random blocks is found, nothing else is, and no damaged or lying block is read beyond its end. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/disk/buffer.h"
#include "engine/table/block.h"
#include "tests/sim/sim_random.h"

enum { COUNT_MAX = 300, KEY_ROOM = 40 };

struct model {
	char keys[COUNT_MAX][KEY_ROOM];
	size_t sizes[COUNT_MAX];
	uint32_t count;
	struct buffer bytes;
	struct block_view view;
};

static struct engine_slice key_at(const struct model *model, uint32_t index)
{
	return (struct engine_slice){model->keys[index], model->sizes[index]};
}

/* The value says which key it belongs to; every seventh is a deletion. */
static struct engine_slice value_of(uint32_t index, char room[200])
{
	size_t size = index % 7 == 3 ? 0 : index * 13 % 150;

	memset(room, (int)index, size);
	return (struct engine_slice){room, size};
}

static enum entry_type type_of(uint32_t index)
{
	return index % 7 == 3 ? ENTRY_DELETE : ENTRY_PUT;
}

/* Keys of one stem and a growing number of few letters, so that tags collide and some keys begin others. */
static void model_init(struct model *model, uint64_t seed)
{
	struct sim_random random = {seed};
	struct block_builder builder = {0};
	size_t stem = sim_random_below(&random, 20), most;
	uint32_t number = 0;

	*model = (struct model){.count = 1 + (uint32_t)sim_random_below(&random, COUNT_MAX)};
	for (uint32_t i = 0; i < model->count; i++) {
		char room[200], *key = model->keys[i];

		number += 1 + (uint32_t)sim_random_below(&random, 3);
		memset(key, 's', stem);
		model->sizes[i] = stem + (size_t)snprintf(key + stem, KEY_ROOM - stem, "%06u", number);
		if (sim_random_below(&random, 4) == 0)
			key[model->sizes[i]++] = '\0';
		assert_int_equal(block_builder_add(&builder, key_at(model, i), block_key_hash(key_at(model, i)),
						   value_of(i, room), type_of(i)),
				 0);
	}
	most = block_builder_size(&builder);
	assert_int_equal(block_builder_finish(&builder, &model->bytes), 0);
	assert_true(model->bytes.size <= most);
	assert_int_equal(block_parse(model->bytes.data, model->bytes.size, &model->view), 0);
	assert_int_equal(model->view.count, model->count);
	assert_true(model->view.prefix_size >= stem);
	/* The builder begins anew. */
	assert_int_equal(builder.count, 0);
	block_builder_fini(&builder);
}

/* What must be said of any key: where it is, and where it would be. */
static void check_key(const struct model *model, uint64_t seed, struct engine_slice key)
{
	uint32_t place = 0;
	bool is_there;
	struct block_entry entry;
	int64_t found = block_find(&model->view, key, block_tag(block_key_hash(key)), &entry);
	char room[200];

	while (place < model->count && format_compare(key_at(model, place), key) < 0)
		place++;
	is_there = place < model->count && format_compare(key_at(model, place), key) == 0;
	if (block_lower_bound(&model->view, key) != place || found != (is_there ? (int64_t)place : -1))
		fail_msg("seed %llu: a key of %zu bytes at %u", (unsigned long long)seed, key.size, place);
	if (!is_there)
		return;
	assert_int_equal(entry.type, type_of(place));
	assert_int_equal(format_compare(entry.value, value_of(place, room)), 0);
}

static void test_random_blocks(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct model model;

		model_init(&model, seed);
		for (uint32_t i = 0; i < model.count; i++) {
			char room[KEY_ROOM + 1];
			struct engine_slice key = key_at(&model, i);

			check_key(&model, seed, key);
			memcpy(room, key.data, key.size);
			room[key.size] = 'x';
			check_key(&model, seed, (struct engine_slice){room, key.size + 1});
			check_key(&model, seed, (struct engine_slice){room, key.size - 1});
			room[key.size - 1]++;
			check_key(&model, seed, (struct engine_slice){room, key.size});
		}
		check_key(&model, seed, (struct engine_slice){"", 0});
		check_key(&model, seed, (struct engine_slice){"\xff", 1});
		check_key(&model, seed, (struct engine_slice){"s", 1});
		buffer_fini(&model.bytes);
	}
}

/* All keys under one tag: a false hit is passed over. */
static void test_equal_tags(void **state)
{
	struct block_builder builder = {0};
	struct buffer bytes = {0};
	struct block_view view;
	struct block_entry entry;

	(void)state;
	for (uint8_t i = 0; i < 100; i++) {
		uint8_t key[2] = {'k', i};

		assert_int_equal(block_builder_add(&builder, (struct engine_slice){key, 2}, (uint64_t)0x55 << 56,
						   (struct engine_slice){&i, 1}, ENTRY_PUT),
				 0);
	}
	assert_int_equal(block_builder_finish(&builder, &bytes), 0);
	assert_int_equal(block_parse(bytes.data, bytes.size, &view), 0);
	for (uint8_t i = 0; i < 110; i++) {
		uint8_t key[2] = {'k', i};

		assert_int_equal(block_find(&view, (struct engine_slice){key, 2}, 0x55, &entry), i < 100 ? i : -1);
		assert_true(i >= 100 || *(const uint8_t *)entry.value.data == i);
		assert_int_equal(block_find(&view, (struct engine_slice){key, 2}, 0x54, &entry), -1);
	}
	block_builder_fini(&builder);
	buffer_fini(&bytes);
}

/* Around the size at which offsets become wider. */
static void test_offset_widths(void **state)
{
	(void)state;
	for (size_t size = 65300; size < 65600; size += 7) {
		struct block_builder builder = {0};
		struct buffer bytes = {0};
		struct block_view view;
		struct block_entry entry;
		struct engine_slice keys[] = {{"key1", 4}, {"key2", 4}}, values[] = {{calloc(1, size), size}, {"v", 1}};

		for (int i = 0; i < 2; i++)
			assert_int_equal(
				block_builder_add(&builder, keys[i], block_key_hash(keys[i]), values[i], ENTRY_PUT), 0);
		assert_int_equal(block_builder_finish(&builder, &bytes), 0);
		assert_int_equal(block_parse(bytes.data, bytes.size, &view), 0);
		assert_int_equal(block_find(&view, keys[1], block_tag(block_key_hash(keys[1])), &entry), 1);
		assert_int_equal(entry.value.size, 1);
		assert_int_equal(block_find(&view, keys[0], block_tag(block_key_hash(keys[0])), &entry), 0);
		assert_int_equal(entry.value.size, size);
		assert_true(view.offset_width == 4 || bytes.size <= UINT16_MAX);
		block_builder_fini(&builder);
		buffer_fini(&bytes);
		free((void *)values[0].data);
	}
}

/* No shorter piece of a block is one, and of those with changed bytes what parses can be read whole, from a copy that ends
 * where the block does: ASan sees one byte too many. */
static void test_damaged_blocks_stay_within(void **state)
{
	struct sim_random random = {9};
	unsigned parsed = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct model model;
		struct block_view view;

		model_init(&model, seed);
		for (size_t size = 0; size < model.bytes.size; size++)
			assert_int_equal(block_parse(model.bytes.data, size, &view), -EBADMSG);
		for (int i = 0; i < 400; i++) {
			uint8_t *copy = malloc(model.bytes.size);

			memcpy(copy, model.bytes.data, model.bytes.size);
			for (int j = 0; j < 1 + i % 3; j++)
				copy[sim_random_below(&random, i % 2 ? model.bytes.size : 40)] =
					(uint8_t)sim_random_next(&random);
			if (block_parse(copy, model.bytes.size, &view) == 0) {
				const uint8_t *end = copy + model.bytes.size;

				parsed++;
				for (uint32_t k = 0; k < view.count; k++) {
					struct block_entry entry;

					block_entry_at(&view, k, &entry);
					assert_true((const uint8_t *)entry.suffix.data >= copy);
					assert_true(entry.value.size <=
						    (size_t)(end - (const uint8_t *)entry.value.data));
				}
				(void)block_lower_bound(&view, key_at(&model, 0));
			}
			free(copy);
		}
		buffer_fini(&model.bytes);
	}
	assert_true(parsed > 500);
}

/* What every search and merge relies on, and no checksum sees when a writer was wrong: keys ascend, and each is there once. */
static void test_keys_must_ascend(void **state)
{
	static const char *const keys[] = {"k1", "k2", "k3"};
	static const uint8_t wrong[][3] = {{0, 2, 1}, {1, 0, 2}, {2, 1, 0}, {0, 0, 2}, {0, 1, 1}};
	struct block_builder builder = {0};
	struct buffer bytes = {0};
	struct block_view view;
	uint16_t offsets[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(block_builder_add(&builder, (struct engine_slice){keys[i], 2}, i,
						   (struct engine_slice){"v", 1}, ENTRY_PUT),
				 0);
	assert_int_equal(block_builder_finish(&builder, &bytes), 0);
	assert_int_equal(block_parse(bytes.data, bytes.size, &view), 0);
	assert_int_equal(view.offset_width, 2);
	memcpy(offsets, view.offsets, sizeof offsets);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		for (unsigned j = 0; j < 3; j++)
			memcpy((uint8_t *)view.offsets + 2 * j, &offsets[wrong[i][j]], 2);
		assert_int_equal(block_parse(bytes.data, bytes.size, &view), -EBADMSG);
	}
	block_builder_fini(&builder);
	buffer_fini(&bytes);
}

static void test_entries_are_compared_with_keys(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct model model;

		model_init(&model, seed);
		for (uint32_t i = 0; i < model.count; i += 7) {
			for (uint32_t j = 0; j < model.count; j += 5) {
				int order = block_compare(&model.view, i, key_at(&model, j));

				assert_int_equal(order < 0, i < j);
				assert_int_equal(order > 0, i > j);
			}
			assert_true(block_compare(&model.view, i, (struct engine_slice){"", 0}) > 0);
			assert_true(block_compare(&model.view, i, (struct engine_slice){"~", 1}) < 0);
		}
		buffer_fini(&model.bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_blocks),    cmocka_unit_test(test_equal_tags),
		cmocka_unit_test(test_offset_widths),    cmocka_unit_test(test_damaged_blocks_stay_within),
		cmocka_unit_test(test_keys_must_ascend), cmocka_unit_test(test_entries_are_compared_with_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
