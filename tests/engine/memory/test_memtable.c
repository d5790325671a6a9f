/* SPDX-License-Identifier: Apache-2.0 */
/* Memtable: versions by sequence beside a plain table of them, taking back, and what a reader of an old sequence sees. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory/memtable.h"
#include "tests/sim/sim_random.h"

enum { KEYS = 50, VERSIONS_MAX = 40 };

struct tables {
	uint64_t sequence;
	enum entry_type type;
	uint32_t size;
};

/* The versions of each key, oldest first. */
struct model {
	struct tables versions[KEYS][VERSIONS_MAX];
	unsigned counts[KEYS];
	uint64_t entries;
};

static struct engine_slice key_at(unsigned index, char out[16])
{
	return (struct engine_slice){out, (size_t)snprintf(out, 16, "%s%u", index % 2 ? "long/common/" : "k", index)};
}

static int add(struct memtable *memtable, struct model *model, unsigned key, const struct tables *version)
{
	uint8_t value[300];
	char bytes[16];
	int error;

	memset(value, (int)version->sequence, sizeof value);
	error = memtable_add(memtable, key_at(key, bytes), (struct engine_slice){value, version->size}, version->type,
			     version->sequence);
	if (error == 0) {
		model->versions[key][model->counts[key]++] = *version;
		model->entries++;
	}
	return error;
}

static void check_at(const struct memtable *memtable, const struct model *model, uint64_t sequence)
{
	for (unsigned key = 0; key < KEYS; key++) {
		char bytes[16];
		const struct memtable_version *got = memtable_get(memtable, key_at(key, bytes), sequence);
		const struct tables *expected = NULL;

		for (unsigned i = 0; i < model->counts[key]; i++) {
			if (model->versions[key][i].sequence <= sequence)
				expected = &model->versions[key][i];
		}
		assert_int_equal(got != NULL, expected != NULL);
		if (got == NULL)
			continue;
		assert_int_equal(got->sequence, expected->sequence);
		assert_int_equal(got->type, expected->type);
		assert_int_equal(got->value_size, expected->size);
		for (uint32_t i = 0; i < got->value_size; i++)
			assert_int_equal(got->value[i], (uint8_t)expected->sequence);
	}
	assert_int_equal(memtable->entry_count, model->entries);
}

static void take_back(struct memtable *memtable, struct model *model, unsigned key, uint64_t sequence)
{
	unsigned *count = &model->counts[key];
	char bytes[16];

	memtable_undo(memtable, key_at(key, bytes), sequence);
	if (*count && model->versions[key][*count - 1].sequence == sequence) {
		--*count;
		model->entries--;
	}
}

static void test_random_versions(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct model *model = calloc(1, sizeof *model);
		struct sim_random random = {seed};
		struct memtable *memtable;
		uint64_t sequence = 0;

		assert_int_equal(memtable_create(7, &memtable), 0);
		assert_int_equal(memtable->drop_id, 7);
		for (int i = 0; i < 600; i++) {
			unsigned key = (unsigned)sim_random_below(&random, KEYS);
			struct tables version = {++sequence, i % 5 ? ENTRY_PUT : ENTRY_DELETE, 0};

			version.size = version.type == ENTRY_PUT ? (uint32_t)sim_random_below(&random, 300) : 0;
			if (model->counts[key] == VERSIONS_MAX)
				continue;
			assert_int_equal(add(memtable, model, key, &version), 0);
			/* Taken back: its own sequence, or one that is not the newest and changes nothing. */
			if (sim_random_below(&random, 6) == 0)
				take_back(memtable, model, key, sequence);
			else if (sim_random_below(&random, 6) == 0)
				take_back(memtable, model, key, sequence + 1);
			if (i % 20 == 0)
				check_at(memtable, model, sim_random_below(&random, sequence + 2));
		}
		check_at(memtable, model, UINT64_MAX);
		check_at(memtable, model, 0);
		assert_true(memtable_bytes(memtable) > model->entries * sizeof(struct memtable_version));
		memtable_unref(&memtable);
		assert_null(memtable);
		free(model);
	}
}

/* A value that was read stays while who read it holds on, although the memtable was given up. */
static void test_references_keep_it(void **state)
{
	struct memtable *memtable, *other;
	const struct memtable_version *version;

	(void)state;
	assert_int_equal(memtable_create(0, &memtable), 0);
	assert_int_equal(memtable_add(memtable, (struct engine_slice){"key", 3}, (struct engine_slice){"value", 5},
				      ENTRY_PUT, 1),
			 0);
	version = memtable_get(memtable, (struct engine_slice){"key", 3}, 1);
	memtable_ref(memtable);
	other = memtable;
	memtable_unref(&memtable);
	assert_memory_equal(version->value, "value", 5);
	memtable_unref(&other);
	memtable_unref(&other); /* of nothing */
}

/* Values larger than any chunk of its memory. */
static void test_large_values(void **state)
{
	struct engine_slice value = {calloc(1, 5 << 20), 5 << 20};
	struct memtable *memtable;

	(void)state;
	assert_int_equal(memtable_create(0, &memtable), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		((uint8_t *)value.data)[value.size - 1] = (uint8_t)i;
		assert_int_equal(memtable_add(memtable, (struct engine_slice){"key", 3}, value, ENTRY_PUT, i), 0);
	}
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(memtable_get(memtable, (struct engine_slice){"key", 3}, i)->value[value.size - 1], i);
	assert_true(memtable_bytes(memtable) > 15 << 20);
	memtable_unref(&memtable);
	free((void *)value.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_versions),
		cmocka_unit_test(test_references_keep_it),
		cmocka_unit_test(test_large_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
