/* SPDX-License-Identifier: Apache-2.0 */
/* Damage: each bit of a closed store's files is flipped, each file is cut at each byte. It is detected or harmless:
 * never a wrong value, never one missing, never a crash. Small files are tried whole, of large ones a stated sample.
 *
 * KVRING_BITS_STRIDE=1 tries every bit and every length of the large ones as well.
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

#include "tests/engine/twin.h"

enum {
	FILES_MAX = 64,
	SMALL_FILE = 512 /* bytes */,
	STRIDE = 31 /* bits of larger ones, lengths likewise */,
	GOES_ON_STRIDE = 97 /* checks */
};

struct saved_file {
	char path[128];
	uint8_t *data;
	uint64_t size;
};

struct saved {
	struct twin twin; /* closed; knows what the store must hold */
	struct saved_file files[FILES_MAX];
	unsigned count;
	uint64_t checks;
};

static void save_file(void *arg, const char *path, uint64_t size)
{
	struct saved *saved = arg;
	struct saved_file *file = &saved->files[saved->count++];
	const uint8_t *data;

	assert_true(saved->count <= FILES_MAX && strlen(path) < sizeof file->path);
	strcpy(file->path, path);
	assert_int_equal(sim_fs_look(saved->twin.disk, path, &data, &size), 0);
	file->size = size;
	file->data = malloc(size + 1);
	if (size)
		memcpy(file->data, data, size);
}

/* A store with two tables, a log of two segments, trees and meta, closed in order. */
static void make(struct saved *saved)
{
	struct twin *twin = &saved->twin;

	twin_init(twin, 3);
	twin->options.memtable_bytes = 16 * 1024;
	assert_int_equal(twin_open(twin, NULL), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 12; i++)
			assert_int_equal(twin_write(twin), 0);
		assert_int_equal(shard_request_flush(twin->shard), 0);
		if (round < 2)
			assert_int_equal(twin_finish_jobs(twin), 0);
	}
	assert_int_equal(twin_meta(twin), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(twin_write(twin), 0);
	assert_int_equal(twin_close(twin), 0);
	saved->count = 0;
	saved->checks = 0;
	sim_fs_walk(twin->disk, "/store", save_file, saved);
}

static void saved_fini(struct saved *saved)
{
	for (unsigned i = 0; i < saved->count; i++)
		free(saved->files[i].data);
	twin_fini(&saved->twin);
}

/* Replaces the twin's disk by a fresh one with the saved files. */
static void restore(struct saved *saved)
{
	struct twin *twin = &saved->twin;
	const struct fs *fs;

	sim_fs_destroy(&twin->disk);
	sim_fs_create(1, &twin->disk);
	fs = sim_fs_table(twin->disk);
	twin->options.fs = fs;
	assert_int_equal(fs->mkdir(fs, "/store"), 0);
	assert_int_equal(fs->mkdir(fs, "/store/shard-000"), 0);
	for (unsigned i = 0; i < saved->count; i++)
		sim_fs_put_file(twin->disk, saved->files[i].path, saved->files[i].data, saved->files[i].size);
}

static void reopen(struct twin *twin, const char *what)
{
	struct engine_error error;

	assert_int_equal(engine_close(&twin->engine), 0);
	if (engine_open(&twin->options, &twin->engine, &error))
		fail_msg("%s: %s", what, error.text);
	twin->shard = engine_shard(twin->engine, 0);
}

/* What is damaged is quarantined and stays so, the rest goes on, jobs too; dropped and filled anew, all is well. */
static void check_goes_on(struct twin *twin, const char *what, bool *detected)
{
	uint32_t quarantined, again;

	if (*detected) {
		/* A merge may find more: it reads all blocks, the gets did not. */
		int error = twin_finish_jobs(twin);

		if (error && error != -EBADMSG)
			fail_msg("%s: jobs returned %d: %s", what, error, shard_error(twin->shard));
		quarantined = twin_check_around(twin);
		assert_true(quarantined > 0);
		reopen(twin, what);
		again = twin_check_around(twin);
		assert_int_equal(again, quarantined);
		assert_int_equal(twin_refill(twin), 0);
	}
	assert_int_equal(shard_request_compaction(twin->shard), 0);
	while (twin_finish_jobs(twin)) {
		*detected = true;
		if (twin_check_around(twin))
			assert_int_equal(twin_refill(twin), 0);
	}
	twin_check(twin);
	reopen(twin, what);
	twin_check(twin);
}

/* Damage to these leaves nothing to go by; all else leaves a store that opens. */
static bool may_refuse(const char *what)
{
	return strstr(what, "MANIFEST") != NULL || strstr(what, "STORE") != NULL || strstr(what, "swapped") != NULL;
}

/* Opens the damaged store. Every value is right, or an error says what is damaged. True when it was detected. */
static bool check_damaged(struct saved *saved, const char *what)
{
	struct twin *twin = &saved->twin;
	struct engine_error error;
	bool detected = false;
	int rc = engine_open(&twin->options, &twin->engine, &error);

	if (rc) {
		if (rc != -EBADMSG && rc != -ENOTSUP && rc != -EINVAL && rc != -ENOENT)
			fail_msg("%s: open returned %d: %s", what, rc, error.text);
		assert_non_null(strstr(error.text, "/store"));
		if (rc == -EBADMSG)
			assert_non_null(strstr(error.text, "restore"));
		if (!may_refuse(what))
			fail_msg("%s: refused: %s", what, error.text);
		return true;
	}
	twin->shard = engine_shard(twin->engine, 0);
	for (uint32_t i = 0; i < TWIN_KEYS; i++) {
		struct engine_value value;

		rc = shard_get(twin->shard, twin_key(i), &value);
		if (rc == -EBADMSG) {
			detected = true;
			assert_non_null(strstr(shard_error(twin->shard), "/store/shard-000"));
			continue;
		}
		if (!twin_is_right(twin, i, rc, &value))
			fail_msg("%s: key %u: wrong answer (%d)", what, i, rc);
		engine_value_release(&value);
	}
	/* A cut manifest looks like one whose last append was torn: what the caller's blob was last may be gone. */
	if (saved->checks++ % GOES_ON_STRIDE == 0 && strstr(what, "MANIFEST cut") == NULL)
		check_goes_on(twin, what, &detected);
	(void)engine_close(&twin->engine);
	twin->shard = NULL;
	return detected;
}

static uint64_t stride_for(uint64_t size)
{
	const char *wish = getenv("KVRING_BITS_STRIDE");

	return size <= SMALL_FILE ? 1 : wish != NULL ? strtoull(wish, NULL, 10) : STRIDE;
}

static void test_flipped_bits(void **state)
{
	struct saved saved;
	uint64_t flipped = 0, detected = 0;

	(void)state;
	make(&saved);
	for (unsigned i = 0; i < saved.count; i++) {
		struct saved_file *file = &saved.files[i];

		for (uint64_t bit = 0; bit < file->size * 8; bit += stride_for(file->size)) {
			char what[200];

			snprintf(what, sizeof what, "%s bit %llu", file->path, (unsigned long long)bit);
			file->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			restore(&saved);
			detected += check_damaged(&saved, what);
			file->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			flipped++;
		}
	}
	print_message("%llu bits flipped in %u files, %llu detected, the others harmless\n",
		      (unsigned long long)flipped, saved.count, (unsigned long long)detected);
	assert_true(flipped > 1000 && detected > flipped / 2);
	saved_fini(&saved);
}

static void test_truncated_files(void **state)
{
	struct saved saved;
	uint64_t cut = 0, detected = 0;

	(void)state;
	make(&saved);
	for (unsigned i = 0; i < saved.count; i++) {
		struct saved_file *file = &saved.files[i];
		uint64_t whole = file->size;

		for (uint64_t size = 0; size < whole; size += stride_for(whole)) {
			char what[200];

			snprintf(what, sizeof what, "%s cut at %llu", file->path, (unsigned long long)size);
			file->size = size;
			restore(&saved);
			detected += check_damaged(&saved, what);
			file->size = whole;
			cut++;
		}
	}
	print_message("%llu cuts in %u files, %llu detected, the others harmless\n", (unsigned long long)cut,
		      saved.count, (unsigned long long)detected);
	assert_true(cut > 200);
	saved_fini(&saved);
}

/* One after the other, each file is missing. */
static void test_missing_files(void **state)
{
	struct saved saved;

	(void)state;
	make(&saved);
	for (unsigned i = 0; i < saved.count; i++) {
		const struct fs *fs;

		if (strstr(saved.files[i].path, "LOCK") != NULL)
			continue;
		restore(&saved);
		fs = sim_fs_table(saved.twin.disk);
		assert_int_equal(fs->unlink(fs, saved.files[i].path), 0);
		saved.checks = 0;
		check_damaged(&saved, saved.files[i].path);
	}
	saved_fini(&saved);
}

/* Two tables change places: the bytes are intact, the place is wrong. */
static void test_swapped_tables(void **state)
{
	struct saved saved;
	struct saved_file *tables[2] = {NULL, NULL};

	(void)state;
	make(&saved);
	for (unsigned i = 0; i < saved.count; i++) {
		if (strstr(saved.files[i].path, ".tab") != NULL)
			tables[tables[0] != NULL] = &saved.files[i];
	}
	assert_non_null(tables[1]);
	uint8_t *data = tables[0]->data;
	uint64_t size = tables[0]->size;

	tables[0]->data = tables[1]->data;
	tables[0]->size = tables[1]->size;
	tables[1]->data = data;
	tables[1]->size = size;
	restore(&saved);
	assert_true(check_damaged(&saved, "swapped tables"));
	saved_fini(&saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_truncated_files),
		cmocka_unit_test(test_missing_files),
		cmocka_unit_test(test_swapped_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
