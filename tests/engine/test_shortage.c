/* SPDX-License-Identifier: Apache-2.0 */
/* What runs short and comes back: disk space, descriptors and memory, while a store is opened and while it is used. Reads go on,
 * writes are refused with a code that says why or go on where they are, nothing dies, and nothing has to be opened again.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/engine/store.h"
#include "tests/engine/twin.h"

/* ---- a full disk while opening ----------------------------------------------------------------------------------- */

/* Everything reads as it was written, nothing may be written. */
static void check_reads_only(struct store *store)
{
	for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition += 2) {
		struct shard *shard = store_shard(store, partition);

		assert_int_equal(store_read_partition(store, partition).right, STORE_KEYS);
		assert_int_equal(store_write_partition(store, partition), -ENOSPC);
		assert_non_null(strstr(shard_error(shard), "free some space"));
		assert_int_equal(shard_meta_set(shard, "x", 1), -ENOSPC);
		assert_int_equal(store_drop_partition(store, partition), -ENOSPC);
		assert_int_equal(store_read_partition(store, partition).right, STORE_KEYS);
		assert_int_equal(store_run_jobs(shard), -ENOSPC);
		assert_false(shard_is_dead(shard));
	}
}

static void check_works(struct store *store)
{
	store_check_only(store, NULL, 0);
	for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++)
		assert_int_equal(store_write_partition(store, partition), 0);
	for (uint32_t i = 0; i < STORE_SHARDS; i++) {
		assert_int_equal(shard_request_compaction(engine_shard(store->engine, i)), 0);
		assert_int_equal(store_run_jobs(engine_shard(store->engine, i)), 0);
	}
	store_check_only(store, NULL, 0);
	store_restart(store);
	store_check_only(store, NULL, 0);
}

/* Killed with a full disk: it opens, reads, refuses, and writes again when there is room, without being opened again. Also when it
 * is killed a second time before that. */
static void test_opens_on_a_full_disk(void **state)
{
	(void)state;
	for (int flushed = 0; flushed < 2; flushed++) {
		for (int ending = STORE_CLOSED; ending <= STORE_KILLED; ending++) {
			struct store store;

			store_fill_and(&store, flushed, (enum store_ending)ending);
			sim_fs_set_capacity(store.disk, 1);
			assert_int_equal(store_open(&store), 0);
			check_reads_only(&store);
			sim_fs_kill(store.disk);
			store_restart(&store);
			check_reads_only(&store);
			store_restart(&store);
			check_reads_only(&store);
			sim_fs_set_capacity(store.disk, UINT64_MAX);
			check_works(&store);
			store_free(&store);
		}
	}
}

/* What a crash left of a merge is what fills the disk: opening removes it and is done. */
static void test_leftovers_of_a_merge_make_room(void **state)
{
	static char left[64 * 1024];
	struct store store;

	(void)state;
	store_fill_and(&store, true, STORE_KILLED);
	sim_fs_put_file(store.disk, "/store/shard-000/0000000900.tab", left, sizeof left);
	sim_fs_put_file(store.disk, "/store/shard-000/0000000901.tab.tmp", left, 10);
	sim_fs_set_capacity(store.disk, sim_fs_used(store.disk));
	assert_int_equal(store_open(&store), 0);
	assert_int_equal(shard_meta_set(store_shard(&store, 0), "x", 1), 0);
	sim_fs_set_capacity(store.disk, UINT64_MAX);
	check_works(&store);
	store_free(&store);
}

/* Shrinking a file needs no room, and a sync that fails is final whatever its error. */
enum {
	MAY_LACK_ROOM = 1 << SIM_FS_CREATE | 1 << SIM_FS_APPEND | 1 << SIM_FS_SYNC_DIR | 1 << SIM_FS_RENAME |
			1 << SIM_FS_UNLINK | 1 << SIM_FS_MKDIR
};

/* Makes the log end in a batch that was cut short. */
static void tear(struct store *store)
{
	struct store_search log;
	const uint8_t *data;
	uint64_t size;

	store_find_file(store, "/store/shard-000", ".log", &log);
	assert_int_equal(sim_fs_look(store->disk, log.found, &data, &size), 0);
	sim_fs_cut(store->disk, log.found, size - 1);
}

/* Each operation of opening that could lack room does, once or from then on. */
static bool lack_room_at(uint64_t index, int error, bool forever, bool is_torn)
{
	struct store store;
	uint32_t last = 0;
	bool fired;

	store_fill_and(&store, false, STORE_KILLED);
	if (is_torn)
		tear(&store);
	sim_fs_count_only(store.disk, MAY_LACK_ROOM);
	sim_fs_reset_operations(store.disk);
	sim_fs_fail_at(store.disk, index, error, forever);
	if (store_open(&store))
		fail_msg("operation %llu", (unsigned long long)index);
	fired = sim_fs_fired(store.disk);
	/* The last batch of the last partition of shard 0 is what a tear costs. */
	for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++) {
		struct store_tally tally = store_read_partition(&store, partition);

		assert_int_equal(tally.refused, 0);
		last += tally.right != STORE_KEYS;
	}
	assert_int_equal(last, is_torn);
	for (uint32_t i = 0; i < STORE_SHARDS; i++)
		assert_false(shard_is_dead(engine_shard(store.engine, i)));
	sim_fs_fail_never(store.disk);
	sim_fs_count_only(store.disk, SIM_FS_ALL);
	if (is_torn)
		assert_int_equal(store_drop_partition(&store, 6), 0);
	if (is_torn)
		assert_int_equal(store_write_partition(&store, 6), 0);
	check_works(&store);
	store_free(&store);
	return fired;
}

static void test_opening_lacks_room_at_each_operation(void **state)
{
	static const int errors[] = {-ENOSPC, -EMFILE};
	uint64_t index = 0;

	(void)state;
	for (int i = 0; i < 8; i++) {
		for (index = 0; lack_room_at(index, errors[i % 2], i / 2 % 2, i / 4); index++)
			;
		assert_true(index >= 20);
	}
	print_message("%llu operations of opening failed, in each of eight ways\n", (unsigned long long)index);
}

/* ---- no descriptor, no memory at a rotation ----------------------------------------------------------------------- */

static int refuse_new_files(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	const int *error = arg;

	(void)index, (void)path;
	return call == SIM_FS_CREATE || call == SIM_FS_OPEN || call == SIM_FS_SYNC_DIR || call == SIM_FS_LIST ? *error
													      : 0;
}

/* Nothing can be opened for a while, across several rotations: reads and writes go on, until memory is what is full. */
static void test_rotation_without_descriptors(void **state)
{
	static const int errors[] = {-EMFILE, -ENFILE, -ENOMEM};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct twin twin;
		int error = 0, refused = 0, written = 0;

		twin_init(&twin, 5);
		twin.options.memtable_bytes = 32 * 1024;
		assert_int_equal(twin_open(&twin, NULL), 0);
		sim_fs_set_hook(twin.disk, refuse_new_files, &error);
		error = errors[i];
		for (int step = 0; step < 3000 && refused < 5; step++) {
			int rc = twin_write(&twin);

			if (rc == 0)
				rc = twin_commit(&twin, ENGINE_SYNC_EACH);
			written += rc == 0;
			if (rc) {
				assert_int_equal(rc, -EAGAIN);
				assert_int_equal(twin_finish_jobs(&twin), error);
				refused++;
			}
			assert_false(shard_is_dead(twin.shard));
		}
		assert_true(refused == 5 && written > 100);
		twin_check(&twin);
		error = 0;
		assert_int_equal(twin_finish_jobs(&twin), 0);
		for (int step = 0; step < 100; step++) {
			int rc = twin_write(&twin);

			assert_int_equal(rc == -EAGAIN ? twin_finish_jobs(&twin) : rc, 0);
		}
		twin_check(&twin);
		assert_int_equal(twin_close(&twin), 0);
		assert_int_equal(twin_open(&twin, NULL), 0);
		twin_check(&twin);
		twin_fini(&twin);
	}
}

struct refusal {
	enum sim_fs_call call;
	int error;
};

static int refuse_call(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	const struct refusal *refusal = arg;

	(void)index, (void)path;
	return call == refusal->call ? refusal->error : 0;
}

/* A manifest is rewritten and one step of that finds no descriptor: the new one is what is appended to, and what is there after a
 * crash. */
static void rewrite_without(enum sim_fs_call call)
{
	struct refusal refusal = {.call = call};
	char blob[ENGINE_META_MAX] = {0};
	struct store store;
	unsigned crashes = 0;

	store_fill(&store, true);
	assert_int_equal(store_open(&store), 0);
	sim_fs_set_hook(store.disk, refuse_call, &refusal);
	/* A rewriting per 4 MiB of records; each is written twice. What is acknowledged stays. */
	for (uint32_t i = 0; i < 1200; i++) {
		struct engine_slice meta;
		int rc;

		memcpy(blob, &i, sizeof i);
		refusal.error = i % 3 ? -EMFILE : 0;
		rc = shard_meta_set(store_shard(&store, 0), blob, sizeof blob);
		assert_true(rc == 0 || rc == -EMFILE);
		if (rc || i % 600 != 599)
			continue;
		refusal.error = 0;
		sim_fs_crash(store.disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, 1});
		crashes++;
		store_restart(&store);
		shard_meta_get(store_shard(&store, 0), &meta);
		assert_int_equal(meta.size, sizeof blob);
		assert_memory_equal(meta.data, blob, sizeof blob);
	}
	assert_int_equal(crashes, 2);
	check_works(&store);
	store_free(&store);
}

static void test_manifest_rewritten_without_descriptors(void **state)
{
	(void)state;
	rewrite_without(SIM_FS_OPEN);
	rewrite_without(SIM_FS_SYNC_DIR);
	rewrite_without(SIM_FS_CREATE);
}

/* ---- the real disk and the real limit ------------------------------------------------------------------------------ */

static rlim_t files_open(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
	return (rlim_t)fd; /* the lowest free one: with this limit nothing can be opened */
}

static int put(struct shard *shard, struct engine_batch *batch, uint32_t number)
{
	uint8_t key[6] = {0, 1}, value[1000];
	int error;

	memcpy(key + 2, &number, sizeof number);
	memset(value, (int)number, sizeof value);
	engine_batch_clear(batch);
	assert_int_equal(engine_batch_put(batch, (struct engine_slice){key, sizeof key},
					  (struct engine_slice){value, sizeof value}, 0),
			 0);
	error = shard_write(shard, batch);
	return error ? error : shard_commit(shard, ENGINE_SYNC_NONE);
}

static void check_numbers(struct shard *shard, uint32_t count)
{
	for (uint32_t number = 0; number < count; number++) {
		uint8_t key[6] = {0, 1};
		struct engine_value value;

		memcpy(key + 2, &number, sizeof number);
		assert_int_equal(shard_get(shard, (struct engine_slice){key, sizeof key}, &value), 1);
		assert_int_equal(value.size, 1000);
		assert_int_equal(*(const uint8_t *)value.data, (uint8_t)number);
		engine_value_release(&value);
	}
}

static void test_process_out_of_descriptors(void **state)
{
	char directory[] = "/tmp/kvring-shortage-XXXXXX", command[64];
	struct engine_options options;
	struct engine_batch *batch;
	struct engine_job *job;
	struct engine *engine;
	struct rlimit before, tight;
	struct shard *shard;
	uint32_t written = 0;
	int error = 0;

	(void)state;
	assert_non_null(mkdtemp(directory));
	engine_options_default(&options);
	options.directory = directory;
	options.memtable_bytes = 256 * 1024;
	assert_int_equal(engine_open(&options, &engine, NULL), 0);
	assert_int_equal(engine_batch_create(&batch), 0);
	shard = engine_shard(engine, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	tight = before;
	tight.rlim_cur = files_open();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	/* Beyond three memtables' worth: the first rotation has its segment, the others go on without. */
	while (error == 0 && written < 4000) {
		error = put(shard, batch, written);
		written += error == 0;
	}
	assert_int_equal(error, -EAGAIN);
	assert_true(written > 600);
	assert_false(shard_is_dead(shard));
	check_numbers(shard, written);
	assert_int_equal(shard_maintain(shard, &job), 0);
	engine_job_run(job);
	assert_int_equal(shard_install(shard, &job), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(store_run_jobs(shard), 0);
	for (uint32_t more = 0; more < 500; more++, written++) {
		error = put(shard, batch, written);
		if (error == -EAGAIN) {
			assert_int_equal(store_run_jobs(shard), 0);
			error = put(shard, batch, written);
		}
		assert_int_equal(error, 0);
	}
	check_numbers(shard, written);
	assert_int_equal(engine_close(&engine), 0);
	assert_int_equal(engine_open(&options, &engine, NULL), 0);
	check_numbers(engine_shard(engine, 0), written);
	assert_int_equal(engine_close(&engine), 0);
	engine_batch_destroy(&batch);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

/* ---- a directory that is gone --------------------------------------------------------------------------------------- */

/* `rm -rf` of the data directory, or another one in its place: the next commit is refused and says why. */
static void test_removed_directory_is_noticed(void **state)
{
	char directory[] = "/tmp/kvring-removed-XXXXXX", command[128];
	static const char *const ways[] = {"rm -rf store", "mv store elsewhere", "rm store/shard-000/*.log",
					   "mv store old; cp -r old store"};

	(void)state;
	assert_non_null(mkdtemp(directory));
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		struct engine_options options;
		struct engine_batch *batch;
		struct engine_commit *commit;
		struct engine *engine;
		struct shard *shard;
		char path[64];

		engine_options_default(&options);
		snprintf(path, sizeof path, "%s/store", directory);
		options.directory = path;
		assert_int_equal(engine_open(&options, &engine, NULL), 0);
		assert_int_equal(engine_batch_create(&batch), 0);
		shard = engine_shard(engine, 0);
		assert_int_equal(put(shard, batch, 1), 0);
		assert_int_equal(shard_sync(shard), 0);
		snprintf(command, sizeof command, "cd %s && %s", directory, ways[i]);
		assert_int_equal(system(command), 0);
		assert_int_equal(put(shard, batch, 2), 0);
		assert_int_equal(shard_commit_begin(shard, &commit), 0);
		engine_commit_run(commit);
		assert_int_equal(shard_commit_end(shard, &commit), -EIO);
		assert_true(shard_is_dead(shard));
		assert_true(shard_durable_sequence(shard) < shard_sequence(shard));
		assert_non_null(strstr(shard_error(shard), "removed or replaced"));
		assert_int_equal(engine_close(&engine), -EIO);
		engine_batch_destroy(&batch);
		snprintf(command, sizeof command, "rm -rf %s/*", directory);
		assert_int_equal(system(command), 0);
	}
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_on_a_full_disk),
		cmocka_unit_test(test_leftovers_of_a_merge_make_room),
		cmocka_unit_test(test_opening_lacks_room_at_each_operation),
		cmocka_unit_test(test_rotation_without_descriptors),
		cmocka_unit_test(test_manifest_rewritten_without_descriptors),
		cmocka_unit_test(test_process_out_of_descriptors),
		cmocka_unit_test(test_removed_directory_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
