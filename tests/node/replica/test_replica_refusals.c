/* SPDX-License-Identifier: Apache-2.0 */
/* What a replica refuses, and what it says of a disk that fails, is damaged or full. */
#include <errno.h>
#include "node/object/key.h"
#include "tests/node/replica/stage.h"

static void test_refusals(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	struct rpc_slice red = stage_made(&s, 2, 5, "red");
	stage_store(&s, s.foreign, red);
	stage_fetch(&s, s.foreign, false);
	stage_put(&s, s.foreign, "red", 1);
	expect(&s, "stored not owner, fetched not owner, coordinated not owner");
	struct message *message = stage_question(&s, MESSAGE_FETCH);
	message->key = stage_copy(message, s.key);
	message->epoch--;
	stage_ask(&s, message);
	expect(&s, "fetched stale ring");
	message = stage_question(&s, MESSAGE_FETCH);
	message->key = stage_copy(message, s.key);
	message->epoch++; /* this node is behind, and owns the partition as far as it knows */
	stage_ask(&s, message);
	expect(&s, "behind 2, fetched absent");
	assert_true(s.receiving); /* so that it counts toward no r */
	message = stage_question(&s, MESSAGE_STORE);
	message->key = stage_copy(message, s.key);
	message->store.object = stage_copy(message, red);
	message->deadline_us = s.now_us;
	stage_ask(&s, message);
	expect(&s, "stored overloaded");
	stage_store(&s, stage_key(&s, 1, 2, 3, 0, 1), red);
	expect(&s, "stored error"); /* another shard's */
	stage_store(&s, slice("k"), red);
	stage_store(&s, slice(""), red);
	expect(&s, "stored error, stored error");
	stage_fetch(&s, s.key, false);
	expect(&s, "fetched absent");
	stage_batch_end(&s);
	assert_false(s.sync);
	stage_end(&s);
}

static void ask_by_epoch(struct stage *s, uint64_t epoch, struct rpc_slice key)
{
	struct message *message = stage_question(s, MESSAGE_FETCH);
	message->key = stage_copy(message, key);
	message->epoch = epoch;
	stage_ask(s, message);
}

/* P6. Gossip is told of each epoch once; what is there is there, and what is not proves nothing. */
static void test_a_newer_ring_is_noticed(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	ask_by_epoch(&s, 1, s.other);
	assert_false(s.receiving);
	stage_put(&s, s.key, "red", 1);
	stage_finish_batch(&s);
	expect(&s, "fetched absent, coordinated ok, stored ok");
	ask_by_epoch(&s, 3, s.other);
	ask_by_epoch(&s, 3, s.other);
	ask_by_epoch(&s, 2, s.other);
	expect(&s, "behind 3, fetched absent, fetched absent, fetched absent");
	assert_true(s.receiving);
	ask_by_epoch(&s, 3, s.key);
	assert_false(s.receiving);
	ask_by_epoch(&s, 4, s.foreign); /* whose owner this node may be by now */
	expect(&s, "fetched ok, behind 4, fetched not owner");
	ask_by_epoch(&s, UINT64_MAX, s.key); /* nobody's */
	ask_by_epoch(&s, 5, s.key);
	expect(&s, "fetched ok, behind 5, fetched ok");
	stage_end(&s);
}

/* P4 */
static void test_a_read_error_is_never_absent(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	stage_finish_batch(&s);
	assert_int_equal(shard_request_flush(engine_shard(s.engine, 0)), 0);
	stage_batch_end(&s);
	assert_true(s.job_count > 0);
	stage_run_jobs(&s);
	stage_close(&s);
	s.now_us++;
	stage_open(&s);
	uint64_t actor = replica_next_dot(s.replica).actor;
	s.log[0] = 0;
	sim_fs_count_only(s.disk, 1 << SIM_FS_PREAD);
	sim_fs_reset_operations(s.disk);
	sim_fs_fail_at(s.disk, 0, -EIO, true);
	stage_fetch(&s, s.key, false);
	stage_fetch(&s, s.key, true);
	stage_store(&s, s.key, stage_made(&s, 2, 5, "blue"));
	stage_put(&s, s.key, "green", 2);
	expect(&s, "fetched error, fetched error, stored error, coordinated error");
	sim_fs_fail_never(s.disk);
	stage_fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	stage_put(&s, s.key, "green", 3);
	assert_true(s.dot.actor == actor);
	assert_int_equal(stage_decoded(&s).sibling_count, 2);
	stage_end(&s);
}

static void find_table(void *arg, const char *path, uint64_t size)
{
	char *found = arg;
	const char *end = strrchr(path, '.');
	(void)size;
	if (strstr(path, "shard-000") != NULL && end != NULL && strcmp(end, ".tab") == 0)
		strcpy(found, path);
}

/* P4. What is damaged stays an error, also after a restart, and until it is dropped. Then it is absent, to be filled from others; and as
 * these may hold dots that are forgotten here, the actor is a new one. */
static void test_damage_is_an_error_until_it_is_dropped(void **state)
{
	(void)state;
	struct stage s;
	char path[256] = "";
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	uint64_t actor = s.dot.actor;
	stage_finish_batch(&s);
	assert_int_equal(shard_request_flush(engine_shard(s.engine, 0)), 0);
	stage_batch_end(&s);
	stage_run_jobs(&s);
	sim_fs_walk(s.disk, "db", find_table, path);
	sim_fs_flip_bit(s.disk, path, 60, 1); /* in the first block */
	stage_close(&s);
	for (unsigned i = 0; i < 2; i++) {
		s.now_us++;
		stage_open(&s);
		s.log[0] = 0;
		stage_fetch(&s, s.key, false);
		stage_fetch(&s, s.key, true);
		stage_store(&s, s.key, stage_made(&s, 2, 5, "blue"));
		stage_put(&s, s.key, "green", 2);
		expect(&s, "fetched error, fetched error, stored error, coordinated error");
		stage_batch_end(&s);
		assert_int_equal(shard_quarantined(engine_shard(s.engine, 0), 0), key_partition(s.key));
		stage_close(&s);
	}
	s.now_us++;
	stage_open(&s);
	assert_int_equal(
		shard_drop_range(engine_shard(s.engine, 0), (struct engine_slice){0}, (struct engine_slice){0}), 0);
	s.log[0] = 0;
	stage_fetch(&s, s.key, false);
	expect(&s, "fetched absent");
	stage_put(&s, s.key, "green", 3);
	assert_true(s.dot.actor != actor);
	stage_end(&s);
}

static void flip_trees(void *arg, const char *path, uint64_t size)
{
	struct stage *s = arg;
	if (strstr(path, ".tree") != NULL)
		sim_fs_flip_bit(s->disk, path, size / 2, 1);
}

/* The saved hash trees are damaged: they are recounted from the objects, and nothing is lost or quarantined. */
static void test_damaged_trees_are_recounted(void **state)
{
	(void)state;
	struct stage s;
	struct shard_stats stats;
	stage_begin(&s, 0);
	for (unsigned i = 0; i < 12; i++)
		stage_put(&s, stage_key(&s, 1, 2, 3, i, 0), "red", (uint8_t)(i + 1));
	stage_put(&s, s.key, "green", 40);
	stage_finish_batch(&s);
	assert_int_equal(shard_request_flush(engine_shard(s.engine, 0)), 0);
	stage_batch_end(&s);
	stage_run_jobs(&s);
	stage_put(&s, s.other, "blue", 41);
	stage_finish_batch(&s);
	stage_run_jobs(&s);
	uint64_t roots[1024];
	for (unsigned i = 0; i < 1024; i++)
		roots[i] = shard_tree_node(engine_shard(s.engine, 0), (uint16_t)i, 0, 0);
	stage_close(&s);
	sim_fs_walk(s.disk, "db", flip_trees, &s);
	s.now_us++;
	stage_open(&s);
	shard_stats(engine_shard(s.engine, 0), &stats);
	assert_int_equal(stats.tree_recounts, 1);
	assert_int_equal(stats.quarantined_partitions, 0);
	for (unsigned i = 0; i < 1024; i++)
		assert_true(shard_tree_node(engine_shard(s.engine, 0), (uint16_t)i, 0, 0) == roots[i]);
	s.log[0] = 0;
	stage_fetch(&s, s.key, false);
	stage_put(&s, s.key, "black", 42);
	stage_finish_batch(&s);
	expect(&s, "fetched ok, coordinated ok, stored ok");
	stage_run_jobs(&s);
	stage_end(&s);
}

/* P2, P3: nobody is acknowledged, what is not durable is not shown, other keys are read, and when there is room again all goes on. */
static void test_a_full_disk_passes(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.other, "red", 1);
	stage_finish_batch(&s);
	expect(&s, "coordinated ok, stored ok");
	sim_fs_set_capacity(s.disk, sim_fs_used(s.disk));
	stage_put(&s, s.key, "blue", 2);
	stage_finish_batch(&s);
	expect(&s, "coordinated ok, stored disk full");
	stage_fetch(&s, s.other, false);
	expect(&s, "fetched ok");
	stage_fetch(&s, s.key, false);
	stage_batch_end(&s);
	assert_false(s.sync); /* not in a loop */
	s.now_us += 200 * 1000;
	stage_finish_batch(&s);
	expect(&s, "fetched error");
	sim_fs_set_capacity(s.disk, UINT64_MAX);
	stage_fetch(&s, s.key, false);
	s.now_us += 200 * 1000;
	stage_finish_batch(&s);
	expect(&s, "fetched ok");
	stage_put(&s, s.key, "green", 3);
	stage_finish_batch(&s);
	expect(&s, "coordinated ok, stored ok");
	sim_fs_crash(s.disk, &(struct sim_crash){.data = SIM_DATA_DROP, .names = SIM_NAMES_DROP});
	stage_close(&s);
	sim_fs_restart(s.disk);
	s.now_us++;
	stage_open(&s);
	stage_fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	assert_int_equal(stage_decoded(&s).sibling_count, 2);
	stage_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_a_newer_ring_is_noticed),
		cmocka_unit_test(test_a_read_error_is_never_absent),
		cmocka_unit_test(test_damage_is_an_error_until_it_is_dropped),
		cmocka_unit_test(test_damaged_trees_are_recounted),
		cmocka_unit_test(test_a_full_disk_passes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
