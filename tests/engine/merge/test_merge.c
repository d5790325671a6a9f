/* SPDX-License-Identifier: Apache-2.0 */
/* Merge: random memtables and runs of tables, random drops, and a walk of random moves, against a plain array of what must
 * be seen. Seeds are fixed and named when a check fails.
 */
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
#include "engine/merge/merge.h"
#include "tests/engine/shelf.h"
#include "tests/sim/sim_random.h"

enum { KEYS = 90, SOURCES_MAX = 7, TABLES_MAX = 4, DROPS_MAX = 3, VERSIONS_MAX = 3, ROUNDS = 400, MOVES = 120 };

static struct {
	char bytes[16];
	size_t size;
} keys[KEYS];

static struct engine_slice key_at(int64_t index)
{
	return (struct engine_slice){keys[index].bytes, keys[index].size};
}

/* Ascending; most are the beginning of the next, some end with a zero byte or 0xff. Keys of the engine are not empty. */
static void make_keys(void)
{
	for (int i = 0; i < KEYS; i++) {
		keys[i].size = (size_t)snprintf(keys[i].bytes, sizeof keys[i].bytes, "%02d", i / 3);
		if (i % 3)
			keys[i].bytes[keys[i].size++] = (char)(i % 3 == 1 ? 0 : 0xff);
	}
	for (int i = 1; i < KEYS; i++)
		assert_true(format_compare(key_at(i - 1), key_at(i)) < 0);
}

/* What one source says of one key. */
struct said {
	bool is_there;
	enum entry_type type;
	uint64_t drop_id; /* of the memtable or table that says it */
	char value[24];
};

struct source {
	struct memtable *memtable;
	uint64_t sequence;
	struct sst *tables[TABLES_MAX];
	size_t table_count;
	struct said said[KEYS];
};

struct scene {
	uint64_t seed;
	struct sim_random random;
	struct shelf shelf;
	struct source sources[SOURCES_MAX];
	size_t source_count;
	struct tables_drops *drops;
	const struct said *expected[KEYS]; /* NULL: not seen */
	struct merge merge;
	int64_t at; /* the key the merge stands on, or -1 */
};

static void fail_at(const struct scene *scene, const char *what, int64_t expected, int error)
{
	fail_msg("seed %llu: %s: expected key %lld, returned %d, standing on key %lld", (unsigned long long)scene->seed,
		 what, (long long)expected, error, (long long)scene->at);
}

/* ---- making ---- */

/* Several versions of some keys; those up to `sequence` are seen, the newer ones are not. */
static void fill_memtable(struct scene *scene, struct source *source)
{
	uint64_t drop_id = sim_random_below(&scene->random, DROPS_MAX + 1), sequence = 0;

	assert_int_equal(memtable_create(drop_id, &source->memtable), 0);
	source->sequence = 1 + sim_random_below(&scene->random, KEYS);
	for (int i = 0; i < KEYS * VERSIONS_MAX / 2; i++) {
		int64_t key = (int64_t)sim_random_below(&scene->random, KEYS);
		struct said said = {.is_there = true, .drop_id = drop_id};
		struct engine_slice value = {said.value, 0};

		said.type = sim_random_below(&scene->random, 4) ? ENTRY_PUT : ENTRY_DELETE;
		snprintf(said.value, sizeof said.value, "m%llu", (unsigned long long)++sequence);
		value.size = strlen(said.value);
		assert_int_equal(memtable_add(source->memtable, key_at(key), value, said.type, sequence), 0);
		if (sequence <= source->sequence)
			source->said[key] = said;
	}
}

static void fill_table(struct scene *scene, struct source *source, int64_t begin, int64_t end)
{
	struct sst_options options = {.block_bytes = 40 + sim_random_below(&scene->random, 200),
				      .filter_bits_per_key = 4};
	struct shelf_entry entries[KEYS];
	uint64_t drop_id = sim_random_below(&scene->random, DROPS_MAX + 1);
	size_t count = 0;

	options.compression = (enum engine_compression)sim_random_below(&scene->random, 3);
	for (int64_t key = begin; key < end; key++) {
		struct said *said = &source->said[key];

		if (sim_random_below(&scene->random, 3) == 0)
			continue;
		*said = (struct said){.is_there = true, .drop_id = drop_id};
		said->type = sim_random_below(&scene->random, 4) ? ENTRY_PUT : ENTRY_DELETE;
		if (sim_random_below(&scene->random, 8))
			snprintf(said->value, sizeof said->value, "t%llu.%lld",
				 (unsigned long long)scene->shelf.next_number, (long long)key);
		entries[count++] = (struct shelf_entry){key_at(key), {said->value, strlen(said->value)}, said->type};
	}
	if (count)
		source->tables[source->table_count++] = shelf_table(&scene->shelf, &options, entries, count, drop_id);
}

static void fill_run(struct scene *scene, struct source *source)
{
	int64_t begin = 0;

	for (int i = 0; i < TABLES_MAX && begin < KEYS; i++) {
		int64_t end = begin + 1 + (int64_t)sim_random_below(&scene->random, KEYS / 2);

		if (end > KEYS)
			end = KEYS;
		fill_table(scene, source, begin, end);
		begin = end + (int64_t)sim_random_below(&scene->random, 5);
	}
}

static void make_drops(struct scene *scene)
{
	size_t count = sim_random_below(&scene->random, DROPS_MAX + 1);

	scene->drops = calloc(1, sizeof *scene->drops + count * sizeof scene->drops->items[0]);
	scene->drops->refs = 1;
	for (size_t i = 0; i < count; i++) {
		struct tables_drop *drop = &scene->drops->items[scene->drops->count++];
		int64_t begin = (int64_t)sim_random_below(&scene->random, KEYS);
		int64_t end = begin + (int64_t)sim_random_below(&scene->random, KEYS / 2);

		drop->id = i + 1;
		assert_int_equal(buffer_assign(&drop->begin, key_at(begin)), 0);
		if (end < KEYS)
			assert_int_equal(buffer_assign(&drop->end, key_at(end)), 0);
	}
}

static bool is_hidden(const struct scene *scene, int64_t key, const struct said *said)
{
	for (size_t i = 0; i < scene->drops->count; i++) {
		const struct tables_drop *drop = &scene->drops->items[i];

		if (drop->id > said->drop_id && format_compare(buffer_slice(&drop->begin), key_at(key)) <= 0 &&
		    (!drop->end.size || format_compare(key_at(key), buffer_slice(&drop->end)) < 0))
			return true;
	}
	return false;
}

static void decide(struct scene *scene)
{
	for (int64_t key = 0; key < KEYS; key++) {
		scene->expected[key] = NULL;
		for (size_t i = scene->source_count; i-- > 0;) {
			const struct said *said = &scene->sources[i].said[key];

			if (said->is_there && !is_hidden(scene, key, said))
				scene->expected[key] = said; /* the newest is looked at last */
		}
	}
}

static void begin_merge(struct scene *scene, bool streaming)
{
	assert_int_equal(merge_init(&scene->merge, scene->source_count, scene->drops, NULL), 0);
	for (size_t i = 0; i < scene->source_count; i++) {
		struct source *source = &scene->sources[i];

		if (source->memtable != NULL)
			merge_add_memtable(&scene->merge, source->memtable, source->sequence);
		else
			merge_add_tables(&scene->merge, source->tables, source->table_count, streaming);
	}
	scene->at = -1;
}

static void scene_init(struct scene *scene, uint64_t seed)
{
	*scene = (struct scene){.seed = seed, .at = -1};
	sim_random_seed(&scene->random, seed);
	shelf_init(&scene->shelf, sim_random_below(&scene->random, 2) ? 1 << 20 : 512);
	make_drops(scene);
	scene->source_count = sim_random_below(&scene->random, SOURCES_MAX + 1);
	for (size_t i = 0; i < scene->source_count; i++) {
		if (sim_random_below(&scene->random, 3) == 0)
			fill_memtable(scene, &scene->sources[i]);
		else
			fill_run(scene, &scene->sources[i]);
	}
	decide(scene);
}

static void scene_fini(struct scene *scene)
{
	for (size_t i = 0; i < scene->source_count; i++) {
		struct source *source = &scene->sources[i];

		memtable_unref(&source->memtable);
		for (size_t j = 0; j < source->table_count; j++)
			sst_unref(&source->tables[j]);
	}
	tables_drops_unref(&scene->drops);
	shelf_fini(&scene->shelf);
}

/* ---- checking ---- */

/* The nearest key from here on that must be seen, or -1. */
static int64_t find(const struct scene *scene, int64_t from, int step)
{
	for (int64_t key = from; key >= 0 && key < KEYS; key += step) {
		if (scene->expected[key] != NULL)
			return key;
	}
	return -1;
}

static void check(struct scene *scene, const char *what, int error, int64_t expected)
{
	const struct said *said = expected < 0 ? NULL : scene->expected[expected];

	if (error != (expected >= 0))
		fail_at(scene, what, expected, error);
	scene->at = expected;
	if (said == NULL)
		return;
	if (format_compare(merge_key(&scene->merge), key_at(expected)) != 0 ||
	    merge_type(&scene->merge) != said->type || merge_value(&scene->merge).size != strlen(said->value) ||
	    memcmp(merge_value(&scene->merge).data, said->value, strlen(said->value)) != 0)
		fail_at(scene, what, expected, error);
}

static void seek(struct scene *scene, bool back)
{
	int64_t key = (int64_t)sim_random_below(&scene->random, KEYS);

	if (back)
		check(scene, "seek_back", merge_seek_back(&scene->merge, key_at(key)), find(scene, key, -1));
	else
		check(scene, "seek", merge_seek(&scene->merge, key_at(key)), find(scene, key, 1));
}

/* One key alone; what the next moves show is as after a seek. */
static void find_one(struct scene *scene)
{
	int64_t key = (int64_t)sim_random_below(&scene->random, KEYS);

	check(scene, "find", merge_find(&scene->merge, key_at(key)), scene->expected[key] != NULL ? key : -1);
}

/* Keys that are in no source: between two of ours, before all, beyond all. */
static void seek_between(struct scene *scene)
{
	int64_t key = (int64_t)sim_random_below(&scene->random, KEYS + 1) - 1;
	char bytes[24] = {0};
	struct engine_slice between = {bytes, 1};

	if (key >= 0) {
		memcpy(bytes, keys[key].bytes, keys[key].size);
		between.size = keys[key].size + 2; /* key, "key\0", then this one: "key\0\0" */
	}
	while (key + 1 < KEYS && format_compare(key_at(key + 1), between) < 0)
		key++;
	if (sim_random_below(&scene->random, 2))
		check(scene, "seek between", merge_seek(&scene->merge, between), find(scene, key + 1, 1));
	else if (sim_random_below(&scene->random, 2))
		check(scene, "find between", merge_find(&scene->merge, between), -1);
	else
		check(scene, "seek_back between", merge_seek_back(&scene->merge, between), find(scene, key, -1));
}

static void step(struct scene *scene)
{
	uint64_t what = sim_random_below(&scene->random, 13);

	if (scene->at < 0 || what < 2)
		seek(scene, what & 1);
	else if (what == 2)
		seek_between(scene);
	else if (what == 12)
		find_one(scene);
	else if (what < 8)
		check(scene, "next", merge_next(&scene->merge), find(scene, scene->at + 1, 1));
	else
		check(scene, "prev", merge_prev(&scene->merge), find(scene, scene->at - 1, -1));
}

static void test_random_walks(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct scene scene;

		scene_init(&scene, seed);
		begin_merge(&scene, false);
		for (int i = 0; i < MOVES; i++)
			step(&scene);
		merge_fini(&scene.merge);
		scene_fini(&scene);
	}
}

/* From end to end: forward, streaming as compactions read, and backward. */
static void test_whole_passes(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct scene scene;

		scene_init(&scene, seed);
		for (int streaming = 0; streaming < 2; streaming++) {
			begin_merge(&scene, streaming);
			check(&scene, "begin", merge_seek(&scene.merge, (struct engine_slice){0}), find(&scene, 0, 1));
			while (scene.at >= 0)
				check(&scene, "next", merge_next(&scene.merge), find(&scene, scene.at + 1, 1));
			merge_fini(&scene.merge);
		}
		begin_merge(&scene, false);
		check(&scene, "end", merge_seek_back(&scene.merge, (struct engine_slice){0}),
		      find(&scene, KEYS - 1, -1));
		while (scene.at >= 0)
			check(&scene, "prev", merge_prev(&scene.merge), find(&scene, scene.at - 1, -1));
		merge_fini(&scene.merge);
		scene_fini(&scene);
	}
}

/* Every step of a walk goes to and fro, so each turn is taken at each key. */
static void test_turning_at_every_key(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS / 4; seed++) {
		struct scene scene;

		scene_init(&scene, seed);
		begin_merge(&scene, false);
		for (int64_t key = find(&scene, 0, 1); key >= 0; key = find(&scene, key + 1, 1)) {
			check(&scene, "seek", merge_seek(&scene.merge, key_at(key)), key);
			check(&scene, "prev", merge_prev(&scene.merge), find(&scene, key - 1, -1));
			if (scene.at >= 0)
				check(&scene, "next", merge_next(&scene.merge), key);
			check(&scene, "seek_back", merge_seek_back(&scene.merge, key_at(key)), key);
			check(&scene, "next", merge_next(&scene.merge), find(&scene, scene.at + 1, 1));
		}
		merge_fini(&scene.merge);
		scene_fini(&scene);
	}
}

/* The memtable grows while the merge stands in it: nothing newer than its sequence is seen, and nothing is lost. */
static void test_memtable_grows_beside(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct scene scene;
		uint64_t sequence = KEYS * VERSIONS_MAX;
		int64_t key = 0;

		scene_init(&scene, seed);
		begin_merge(&scene, false);
		check(&scene, "begin", merge_seek(&scene.merge, (struct engine_slice){0}), find(&scene, 0, 1));
		while (scene.at >= 0) {
			for (size_t i = 0; i < scene.source_count; i++) {
				if (scene.sources[i].memtable != NULL)
					assert_int_equal(memtable_add(scene.sources[i].memtable, key_at(key),
								      (struct engine_slice){"new", 3}, ENTRY_PUT,
								      ++sequence),
							 0);
			}
			key = (key + 7) % KEYS;
			check(&scene, "next", merge_next(&scene.merge), find(&scene, scene.at + 1, 1));
		}
		merge_fini(&scene.merge);
		scene_fini(&scene);
	}
}

/* Each read of a walk fails once: the walk says so and never shows a wrong entry; a fresh seek goes on from there. */
static void test_failing_reads(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		for (uint64_t index = 0;; index++) {
			struct scene scene;
			bool fired = false;
			int error;

			scene_init(&scene, seed);
			begin_merge(&scene, index & 1);
			sim_fs_reset_operations(scene.shelf.disk);
			sim_fs_fail_at(scene.shelf.disk, index, -EIO, false);
			error = merge_seek(&scene.merge, (struct engine_slice){0});
			for (int64_t expected = find(&scene, 0, 1); error != -EIO; error = merge_next(&scene.merge)) {
				check(&scene, "next", error, expected);
				if (error == 0)
					break;
				expected = find(&scene, expected + 1, 1);
			}
			fired = sim_fs_fired(scene.shelf.disk);
			assert_int_equal(fired, error == -EIO);
			sim_fs_fail_never(scene.shelf.disk);
			if (!(index & 1))
				seek(&scene, true);
			merge_fini(&scene.merge);
			scene_fini(&scene);
			failed += fired;
			if (!fired)
				break;
		}
	}
	assert_true(failed > 200);
}

static int setup(void **state)
{
	(void)state;
	make_keys();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_walks),         cmocka_unit_test(test_whole_passes),
		cmocka_unit_test(test_turning_at_every_key), cmocka_unit_test(test_memtable_grows_beside),
		cmocka_unit_test(test_failing_reads),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
