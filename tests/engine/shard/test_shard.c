/* SPDX-License-Identifier: Apache-2.0 */
/* A shard at its edges: what a failed sync leaves, saved trees and segments that were tampered with behind their
 * checksums, a log that ends early, commits that overlap.
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

#include "engine/disk/wal.h"
#include "tests/engine/twin.h"

static void open_twin(struct twin *twin)
{
	struct engine_error error;

	if (twin_open(twin, &error))
		fail_msg("%s", error.text);
}

static void write_some(struct twin *twin, int count)
{
	for (int i = 0; i < count; i++)
		assert_int_equal(twin_write(twin), 0);
}

/* The one file of the store with this extension. */
struct found {
	const char *extension;
	char path[128];
	unsigned count;
	const uint8_t *data;
	uint64_t size;
};

static void visit_file(void *arg, const char *path, uint64_t size)
{
	struct found *found = arg;
	const char *dot = strrchr(path, '.');

	(void)size;
	if (dot == NULL || strcmp(dot, found->extension) != 0)
		return;
	assert_true(strlen(path) < sizeof found->path);
	strcpy(found->path, path);
	found->count++;
}

/* Finds the last file of a kind, and takes a copy to work on. */
static uint8_t *copy_file(struct twin *twin, const char *extension, struct found *found)
{
	uint8_t *copy;

	*found = (struct found){.extension = extension};
	sim_fs_walk(twin->disk, "/store", visit_file, found);
	assert_true(found->count > 0);
	assert_int_equal(sim_fs_look(twin->disk, found->path, &found->data, &found->size), 0);
	copy = malloc(found->size);
	memcpy(copy, found->data, found->size);
	return copy;
}

/* All files of the closed store, to begin from again. */
struct saved {
	struct twin *twin;
	struct {
		char path[128];
		uint8_t *data;
		uint64_t size;
	} files[16];
	unsigned count;
};

static void save_file(void *arg, const char *path, uint64_t size)
{
	struct saved *saved = arg;
	const uint8_t *data;

	assert_true(saved->count < 16 && strlen(path) < sizeof saved->files[0].path);
	strcpy(saved->files[saved->count].path, path);
	saved->files[saved->count].data = malloc(size + 1);
	saved->files[saved->count].size = size;
	assert_int_equal(sim_fs_look(saved->twin->disk, path, &data, &size), 0);
	if (size)
		memcpy(saved->files[saved->count].data, data, size);
	saved->count++;
}

static void save(struct twin *twin, struct saved *saved)
{
	*saved = (struct saved){.twin = twin};
	sim_fs_walk(twin->disk, "/store", save_file, saved);
}

static void remove_file(void *arg, const char *path, uint64_t size)
{
	const struct fs *fs = arg;

	(void)size;
	assert_int_equal(fs->unlink(fs, path), 0);
}

static void restore(const struct saved *saved)
{
	struct sim_fs *disk = saved->twin->disk;

	sim_fs_walk(disk, "/store", remove_file, (void *)sim_fs_table(disk));
	for (unsigned i = 0; i < saved->count; i++)
		sim_fs_put_file(disk, saved->files[i].path, saved->files[i].data, saved->files[i].size);
}

static void saved_fini(struct saved *saved)
{
	for (unsigned i = 0; i < saved->count; i++)
		free(saved->files[i].data);
}

/* The store opens with this file, knows all its partitions for damaged, and says why. Then it is as it was saved. */
static void assert_quarantined(const struct saved *saved, const char *path, const void *data, size_t size,
			       const char *why)
{
	struct engine_error error = {{0}};
	struct twin *twin = saved->twin;
	struct shard_stats stats;

	sim_fs_put_file(twin->disk, path, data, size);
	if (engine_open(&twin->options, &twin->engine, &error))
		fail_msg("expected '%s', but: %s", why, error.text);
	twin->shard = engine_shard(twin->engine, 0);
	shard_stats(twin->shard, &stats);
	assert_int_equal(stats.quarantined_partitions, 65536);
	if (strstr(shard_quarantine_reason(twin->shard), why) == NULL)
		fail_msg("expected '%s', got: %s", why, shard_quarantine_reason(twin->shard));
	assert_int_equal(engine_close(&twin->engine), 0);
	twin->shard = NULL;
	restore(saved);
}

/* ---- syncing ---- */

/* A sync of the log fails once, with any error: the shard is dead, nothing was acknowledged, and the sync is not tried
 * again, for the kernel would say that all is well. */
static void test_failed_sync_is_final(void **state)
{
	static const int errors[] = {-EIO, -ENOSPC, -EDQUOT};

	(void)state;
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
		for (int halves = 0; halves < 2; halves++) {
			struct twin twin;
			struct engine_commit *commit;
			uint64_t syncs, durable;

			twin_init(&twin, 1);
			open_twin(&twin);
			write_some(&twin, 5);
			assert_int_equal(twin_commit(&twin, ENGINE_SYNC_EACH), 0);
			durable = shard_durable_sequence(twin.shard);
			write_some(&twin, 5);
			sim_fs_count_only(twin.disk, 1 << SIM_FS_SYNC);
			sim_fs_reset_operations(twin.disk);
			sim_fs_fail_at(twin.disk, 0, errors[i], false);
			if (halves) {
				assert_int_equal(shard_commit_begin(twin.shard, &commit), 0);
				engine_commit_run(commit);
				assert_int_equal(shard_commit_end(twin.shard, &commit), -EIO);
			} else {
				assert_int_equal(shard_commit(twin.shard, ENGINE_SYNC_EACH), -EIO);
			}
			assert_true(shard_is_dead(twin.shard));
			assert_int_equal(shard_durable_sequence(twin.shard), durable);
			assert_non_null(strstr(shard_error(twin.shard), "syncing the log failed"));
			syncs = sim_fs_calls(twin.disk, SIM_FS_SYNC);
			assert_int_equal(shard_sync(twin.shard), -EIO);
			assert_int_equal(shard_commit(twin.shard, ENGINE_SYNC_NONE), -EIO);
			assert_int_equal(shard_commit_begin(twin.shard, &commit), -EIO);
			assert_int_equal(twin_close(&twin), -EIO);
			assert_int_equal(sim_fs_calls(twin.disk, SIM_FS_SYNC), syncs);
			open_twin(&twin);
			twin_check(&twin);
			twin_fini(&twin);
		}
	}
}

/* Several commits under way, ended in any order: each makes durable what was written before it began, and no more. */
static void test_overlapping_commits(void **state)
{
	(void)state;
	for (int order = 0; order < 6; order++) {
		static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
		struct engine_commit *commits[3];
		uint64_t sequences[3], durable = 0;
		struct twin twin;

		twin_init(&twin, 2);
		open_twin(&twin);
		for (int i = 0; i < 3; i++) {
			write_some(&twin, 4);
			assert_int_equal(shard_commit_begin(twin.shard, &commits[i]), 0);
			assert_non_null(commits[i]);
			sequences[i] = shard_sequence(twin.shard);
			if (i == 1)
				assert_int_equal(shard_request_flush(twin.shard), 0); /* another segment */
		}
		write_some(&twin, 4);
		assert_int_equal(shard_durable_sequence(twin.shard), 0);
		for (int i = 0; i < 3; i++) {
			int which = orders[order][i];

			engine_commit_run(commits[which]);
			assert_int_equal(shard_commit_end(twin.shard, &commits[which]), 0);
			durable = sequences[which] > durable ? sequences[which] : durable;
			assert_int_equal(shard_durable_sequence(twin.shard), durable);
		}
		assert_int_equal(twin_commit(&twin, ENGINE_SYNC_EACH), 0);
		twin_fini(&twin);
	}
}

/* ---- files that were tampered with ---- */

/* Any bit of the saved trees, and any shorter file: nothing is believed, for wrong sums would not be noticed later. */
static void test_damaged_trees_are_noticed(void **state)
{
	struct twin twin;
	struct saved saved;
	struct found found;
	uint8_t *bytes;

	(void)state;
	twin_init(&twin, 3);
	open_twin(&twin);
	write_some(&twin, 10);
	assert_int_equal(shard_request_flush(twin.shard), 0);
	assert_int_equal(twin_finish_jobs(&twin), 0);
	assert_int_equal(twin_close(&twin), 0);
	bytes = copy_file(&twin, ".tree", &found);
	save(&twin, &saved);
	for (uint64_t bit = 0; bit < found.size * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_quarantined(&saved, found.path, bytes, found.size, ".tree");
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (uint64_t size = 0; size < found.size; size++)
		assert_quarantined(&saved, found.path, bytes, size, ".tree");
	open_twin(&twin);
	twin_check(&twin);
	saved_fini(&saved);
	free(bytes);
	twin_fini(&twin);
}

/* A closed store with one segment of several batches. */
static uint8_t *make_log(struct twin *twin, struct found *found)
{
	twin_init(twin, 4);
	open_twin(twin);
	for (int i = 0; i < 6; i++) {
		write_some(twin, 2);
		assert_int_equal(twin_commit(twin, ENGINE_SYNC_EACH), 0);
	}
	assert_int_equal(twin_close(twin), 0);
	return copy_file(twin, ".log", found);
}

/* Cut between two batches, where no byte looks wrong: the note of the orderly close says what is missing. */
static void test_log_that_ends_early_is_noticed(void **state)
{
	struct twin twin;
	struct saved saved;
	struct found found;
	uint8_t *bytes = make_log(&twin, &found);
	struct wal_reader reader = {bytes, found.size, FORMAT_HEADER_SIZE, 0};
	struct format_header header;
	struct wal_batch batch;
	unsigned cuts = 0;

	(void)state;
	save(&twin, &saved);
	assert_int_equal(format_header_read(bytes, found.size, FORMAT_LOG, "x", &header, NULL), 0);
	reader.number = header.number;
	do {
		if (reader.at == found.size)
			break;
		assert_quarantined(&saved, found.path, bytes, reader.at, "acknowledged writes are lost");
		cuts++;
	} while (wal_reader_next(&reader, &batch));
	assert_int_equal(cuts, 6);
	open_twin(&twin);
	twin_check(&twin);
	saved_fini(&saved);
	free(bytes);
	twin_fini(&twin);
}

/* Where the varint number `index` (of size, count, first sequence, lag) of a batch's header lies. */
static uint8_t *field_of(uint8_t *batch, unsigned index)
{
	uint8_t *at = batch + 12;
	uint64_t value;

	while (index-- > 0)
		at += format_varint_get(at, at + FORMAT_VARINT_MAX, &value) - at;
	return at;
}

/* The third batch claims another place in the sequence, or another number of entries, behind a right checksum. */
static void test_batches_that_lie_are_noticed(void **state)
{
	static const struct {
		unsigned field;
		int change;
		const char *why;
	} cases[] = {
		{2, 1, "out of order"}, {2, -1, "out of order"}, {1, 1, "cannot be read"}, {1, -1, "cannot be read"}};
	struct twin twin;
	struct saved saved;
	struct found found;
	uint8_t *bytes = make_log(&twin, &found);
	struct wal_reader reader = {bytes, found.size, FORMAT_HEADER_SIZE, 0};
	struct format_header header;
	struct wal_batch batch;
	size_t begin = 0;

	(void)state;
	save(&twin, &saved);
	assert_int_equal(format_header_read(bytes, found.size, FORMAT_LOG, "x", &header, NULL), 0);
	reader.number = header.number;
	for (int i = 0; i < 3; i++) {
		begin = reader.at;
		assert_true(wal_reader_next(&reader, &batch));
	}
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint8_t *copy = malloc(found.size), *field;

		memcpy(copy, bytes, found.size);
		field = field_of(copy + begin, cases[i].field);
		assert_true(*field > 1 && *field < 126); /* one byte, before and after */
		*field = (uint8_t)(*field + cases[i].change);
		format_u64_put(copy + begin + 4,
			       format_checksum(copy + begin + 12, reader.at - begin - 12, header.number, begin));
		assert_quarantined(&saved, found.path, copy, found.size, cases[i].why);
		free(copy);
	}
	saved_fini(&saved);
	free(bytes);
	twin_fini(&twin);
}

/* ---- compactions ---- */

static void crash_and_reopen(struct twin *twin)
{
	sim_fs_crash(twin->disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, 1});
	(void)twin_close(twin);
	sim_fs_restart(twin->disk);
	open_twin(twin);
	twin_check(twin);
}

/* After a compaction nothing is left for a drop to hide, but the saved trees are older than it: it must be remembered for
 * them. */
static void test_drop_is_remembered_for_the_trees(void **state)
{
	struct twin twin;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		twin_init(&twin, seed);
		open_twin(&twin);
		write_some(&twin, 20);
		assert_int_equal(shard_request_flush(twin.shard), 0);
		assert_int_equal(twin_finish_jobs(&twin), 0);
		assert_int_equal(twin_drop(&twin), 0);
		assert_int_equal(shard_request_compaction(twin.shard), 0);
		assert_int_equal(twin_finish_jobs(&twin), 0);
		crash_and_reopen(&twin);
		/* And once the trees are saved again it may go. */
		write_some(&twin, 3);
		assert_int_equal(shard_request_flush(twin.shard), 0);
		assert_int_equal(twin_finish_jobs(&twin), 0);
		crash_and_reopen(&twin);
		twin_fini(&twin);
	}
}

static void put(struct twin *twin, uint8_t partition, uint8_t number, size_t value_size)
{
	uint8_t key[3] = {0, partition, number}, *value = malloc(value_size);

	for (size_t i = 0; i < value_size; i++)
		value[i] = (uint8_t)sim_random_next(&twin->random);
	engine_batch_clear(twin->batch);
	assert_int_equal(engine_batch_put(twin->batch, (struct engine_slice){key, 3},
					  (struct engine_slice){value, value_size}, 0),
			 0);
	assert_int_equal(shard_write(twin->shard, twin->batch), 0);
	free(value);
}

static uint64_t count_keys(struct twin *twin)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	uint64_t count = 0;
	int error;

	assert_int_equal(shard_snapshot(twin->shard, &snapshot), 0);
	assert_int_equal(engine_iterator_create(snapshot, &iterator), 0);
	for (error = engine_iterator_seek(iterator, (struct engine_slice){0}); error == 1;
	     error = engine_iterator_next(iterator))
		count++;
	assert_int_equal(error, 0);
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	return count;
}

/* A large table in the middle overlaps nothing and is moved; the small ones on both sides are merged, but not into one table
 * around it. */
static void test_outputs_leave_room_for_moved_tables(void **state)
{
	static const struct {
		uint8_t partition;
		size_t value_size;
	} flushes[] = {{2, 3000}, {1, 20}, {3, 20}};
	struct twin twin;
	struct shard_stats stats;

	(void)state;
	twin_init(&twin, 6);
	twin.options.compression_upper = twin.options.compression_last = ENGINE_COMPRESSION_NONE;
	twin.options.memtable_bytes = 64 * 1024;
	open_twin(&twin);
	for (int i = 0; i < 3; i++) {
		for (uint8_t number = 0; number < 10; number++)
			put(&twin, flushes[i].partition, number, flushes[i].value_size);
		assert_int_equal(shard_request_flush(twin.shard), 0);
		assert_int_equal(twin_finish_jobs(&twin), 0);
	}
	assert_int_equal(shard_request_compaction(twin.shard), 0);
	assert_int_equal(twin_finish_jobs(&twin), 0);
	shard_stats(twin.shard, &stats);
	assert_int_equal(stats.level_table_count[7], 3);
	assert_int_equal(stats.table_count, 3);
	assert_true(stats.compaction_bytes_written < 10000); /* the large one was not written again */
	assert_int_equal(count_keys(&twin), 30);
	for (uint8_t partition = 1; partition <= 3; partition++) {
		for (uint8_t number = 0; number < 10; number++) {
			uint8_t key[3] = {0, partition, number};
			struct engine_value value;

			assert_int_equal(shard_get(twin.shard, (struct engine_slice){key, 3}, &value), 1);
			engine_value_release(&value);
		}
	}
	twin.point_count = 1; /* what was put is none of the model's */
	twin_fini(&twin);
}

/* Everything into the last level. */
static void flush_and_compact(struct twin *twin, bool compact)
{
	assert_int_equal(compact ? shard_request_compaction(twin->shard) : shard_request_flush(twin->shard), 0);
	assert_int_equal(twin_finish_jobs(twin), 0);
}

/* What comes after a compaction that was asked for is merged as usual: not at once into the last level. */
static void test_a_requested_compaction_ends(void **state)
{
	struct twin twin;
	struct shard_stats stats;

	(void)state;
	twin_init(&twin, 8);
	twin.options.memtable_bytes = 64 * 1024;
	open_twin(&twin);
	put(&twin, 1, 0, 20);
	flush_and_compact(&twin, true);
	put(&twin, 1, 1, 20);
	flush_and_compact(&twin, false);
	shard_stats(twin.shard, &stats);
	assert_int_equal(stats.table_count, 2);
	twin.point_count = 1; /* what was put is none of the model's */
	twin_fini(&twin);
}

/* Deletions end at the last level, also those in a table that could have been moved there as it is. */
static void test_deletions_end_at_the_bottom(void **state)
{
	struct twin twin;
	struct shard_stats stats;

	(void)state;
	twin_init(&twin, 7);
	twin.options.compression_upper = twin.options.compression_last = ENGINE_COMPRESSION_NONE;
	twin.options.memtable_bytes = 64 * 1024;
	open_twin(&twin);
	put(&twin, 1, 0, 20);
	flush_and_compact(&twin, false); /* so that deletions are kept in the next flush */
	for (uint8_t number = 0; number < 10; number++)
		put(&twin, 2, number, 3000);
	engine_batch_clear(twin.batch);
	assert_int_equal(engine_batch_delete(twin.batch, (struct engine_slice){"\0\2x", 3}, 0), 0);
	assert_int_equal(shard_write(twin.shard, twin.batch), 0);
	flush_and_compact(&twin, false);
	shard_stats(twin.shard, &stats);
	assert_int_equal(stats.keys_estimate, 10); /* 12 entries, one of them a deletion */
	flush_and_compact(&twin, true);
	shard_stats(twin.shard, &stats);
	assert_int_equal(stats.keys_estimate, 11);
	assert_int_equal(count_keys(&twin), 11);
	twin.point_count = 1;
	twin_fini(&twin);
}

/* Partitions of some size do not share tables, so that dropping one frees its space at once. */
static void test_partitions_do_not_share_tables(void **state)
{
	struct twin twin;
	struct shard_stats before, after;

	(void)state;
	twin_init(&twin, 8);
	twin.options.compression_upper = twin.options.compression_last = ENGINE_COMPRESSION_NONE;
	twin.options.memtable_bytes = 256 * 1024;
	open_twin(&twin);
	for (uint8_t partition = 1; partition <= 4; partition++) {
		for (uint8_t number = 0; number < 80; number++)
			put(&twin, partition, number, 1000);
	}
	flush_and_compact(&twin, true);
	shard_stats(twin.shard, &before);
	assert_int_equal(before.table_count, 4);
	assert_int_equal(
		shard_drop_range(twin.shard, (struct engine_slice){"\0\2", 2}, (struct engine_slice){"\0\3", 2}), 0);
	shard_stats(twin.shard, &after);
	assert_int_equal(after.table_count, 3);
	assert_true(after.level_bytes[7] < before.level_bytes[7] * 77 / 100);
	assert_int_equal(count_keys(&twin), 240);
	twin.point_count = 1;
	twin_fini(&twin);
}

/* ---- numbers and drops that only one file knows of ---- */

/* A file of a number far beyond was never used for anything else, and will not be. */
static void test_numbers_of_stray_files_are_not_used_again(void **state)
{
	struct twin twin;
	struct found found = {.extension = ".tab"};
	const uint8_t *data;
	uint64_t size;

	(void)state;
	twin_init(&twin, 9);
	open_twin(&twin);
	assert_int_equal(twin_close(&twin), 0);
	sim_fs_put_file(twin.disk, "/store/shard-000/0000500000.tab", "stray", 5);
	open_twin(&twin);
	assert_int_equal(sim_fs_look(twin.disk, "/store/shard-000/0000500000.tab", &data, &size), -ENOENT);
	write_some(&twin, 5);
	flush_and_compact(&twin, false);
	sim_fs_walk(twin.disk, "/store", visit_file, &found);
	assert_int_equal(found.count, 1);
	assert_true(strcmp(found.path, "/store/shard-000/0000500000.tab") > 0);
	twin_fini(&twin);
}

/* Two shards' segments of the same number change places: all their checksums are right. */
static void test_segments_of_two_shards_mixed_up(void **state)
{
	struct twin twins[2];
	struct engine_error error;
	struct found found[2] = {{.extension = ".log"}, {.extension = ".log"}};
	uint8_t *bytes[2];

	(void)state;
	twin_init(&twins[0], 11);
	twin_join(&twins[1], &twins[0], 12);
	open_twin(&twins[0]);
	for (int i = 0; i < 2; i++) {
		write_some(&twins[i], 5);
		assert_int_equal(twin_commit(&twins[i], ENGINE_SYNC_EACH), 0);
	}
	assert_int_equal(twin_close(&twins[0]), 0);
	for (int i = 0; i < 2; i++) {
		char directory[32];

		snprintf(directory, sizeof directory, "/store/shard-%03d", i);
		sim_fs_walk(twins[0].disk, directory, visit_file, &found[i]);
		assert_int_equal(sim_fs_look(twins[0].disk, found[i].path, &found[i].data, &found[i].size), 0);
		bytes[i] = malloc(found[i].size);
		memcpy(bytes[i], found[i].data, found[i].size);
	}
	assert_string_equal(strrchr(found[0].path, '/'), strrchr(found[1].path, '/'));
	for (int i = 0; i < 2; i++)
		sim_fs_put_file(twins[0].disk, found[i].path, bytes[!i], found[!i].size);
	assert_int_equal(engine_open(&twins[0].options, &twins[0].engine, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "of shard 1: files were mixed up"));
	for (int i = 0; i < 2; i++)
		free(bytes[i]);
	twin_fini(&twins[0]);
}

/* A manifest that has lost its last record, a drop: the log was begun behind it, and says so. */
static void test_a_lost_drop_is_noticed(void **state)
{
	struct twin twin;
	const char *path = "/store/shard-000/MANIFEST";
	struct engine_error error;
	const uint8_t *data;
	uint8_t *old;
	uint64_t size;

	(void)state;
	twin_init(&twin, 10);
	open_twin(&twin);
	write_some(&twin, 5);
	assert_int_equal(twin_commit(&twin, ENGINE_SYNC_EACH), 0);
	assert_int_equal(sim_fs_look(twin.disk, path, &data, &size), 0);
	old = malloc(size);
	memcpy(old, data, size);
	assert_int_equal(twin_drop(&twin), 0);
	write_some(&twin, 5);
	assert_int_equal(twin_commit(&twin, ENGINE_SYNC_EACH), 0);
	sim_fs_kill(twin.disk);
	(void)twin_close(&twin);
	sim_fs_restart(twin.disk);
	sim_fs_put_file(twin.disk, path, old, size);
	assert_int_equal(engine_open(&twin.options, &twin.engine, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "knows of drop 1, the manifest only of 0"));
	free(old);
	twin_fini(&twin);
}

/* ---- the limits of a batch ---- */

/* What a refused batch would have changed is not there, and the next one is. */
static void test_refused_batch_leaves_nothing(void **state)
{
	struct twin twin;
	int error = 0;

	(void)state;
	twin_init(&twin, 5);
	open_twin(&twin);
	/* No job is run, so that there is no room in the end. */
	while (error == 0)
		error = twin_write(&twin);
	assert_int_equal(error, -EAGAIN);
	twin_check(&twin);
	assert_int_equal(shard_sequence(twin.shard), twin.points[twin.point_count - 1].sequence);
	assert_int_equal(twin_finish_jobs(&twin), 0);
	write_some(&twin, 3);
	twin_check(&twin);
	twin_fini(&twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_sync_is_final),
		cmocka_unit_test(test_overlapping_commits),
		cmocka_unit_test(test_damaged_trees_are_noticed),
		cmocka_unit_test(test_log_that_ends_early_is_noticed),
		cmocka_unit_test(test_batches_that_lie_are_noticed),
		cmocka_unit_test(test_drop_is_remembered_for_the_trees),
		cmocka_unit_test(test_outputs_leave_room_for_moved_tables),
		cmocka_unit_test(test_a_requested_compaction_ends),
		cmocka_unit_test(test_deletions_end_at_the_bottom),
		cmocka_unit_test(test_partitions_do_not_share_tables),
		cmocka_unit_test(test_numbers_of_stray_files_are_not_used_again),
		cmocka_unit_test(test_segments_of_two_shards_mixed_up),
		cmocka_unit_test(test_a_lost_drop_is_noticed),
		cmocka_unit_test(test_refused_batch_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
