/* SPDX-License-Identifier: Apache-2.0 */
/* When the answers of a replica leave, and its background jobs. */
#include <errno.h>
#include "tests/node/replica/stage.h"

/* The merged object leaves at once, the acknowledgement after the sync (P2). */
static void test_put(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	expect(&s, "coordinated ok");
	struct object object = stage_decoded(&s);
	assert_int_equal(object.sibling_count, 1);
	assert_slice_equal(object.siblings[0].value, slice("red"));
	assert_int_equal(dot_compare(object.siblings[0].dot, s.dot), 0);
	stage_batch_end(&s);
	expect(&s, "");
	stage_commit(&s);
	expect(&s, "stored ok");
	assert_int_equal(s.correlation, 42);
	stage_fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	object = stage_decoded(&s);
	assert_slice_equal(object.siblings[0].value, slice("red"));
	assert_true(s.digest == object_digest(&object));
	stage_fetch(&s, s.key, true);
	expect(&s, "fetched ok");
	assert_int_equal(s.object.size, 0);
	assert_true(s.digest == object_digest(&object));
	stage_fetch(&s, s.other, false);
	expect(&s, "fetched absent");
	stage_batch_end(&s);
	assert_false(s.sync); /* nothing was written */
	stage_end(&s);
}

static void test_store_merges(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	struct rpc_slice red = stage_made(&s, 2, 5, "red"), blue = stage_made(&s, 3, 6, "blue");
	stage_store(&s, s.key, red);
	stage_store(&s, s.key, blue);
	expect(&s, "");
	stage_finish_batch(&s);
	expect(&s, "stored ok, stored ok");
	stage_fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	assert_true(scene_same(&s.scene, s.object, scene_merge(&s.scene, red, blue)));
	stage_store(&s, s.key, red); /* nothing new, and durable: no sync */
	expect(&s, "stored ok");
	stage_batch_end(&s);
	assert_false(s.sync);
	assert_int_equal(replica_counters(s.replica)->merges, 3);
	stage_store(&s, s.key, slice("no object"));
	expect(&s, "stored error");
	stage_end(&s);
}

/* What operators see of a shard: so old as they say, and no older once it works no more. */
static void test_figures_follow_the_work(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_finish_batch(&s);
	uint64_t before = replica_figures(s.replica)->memory_bytes;
	stage_store(&s, s.key, stage_made(&s, 2, 5, "red"));
	stage_finish_batch(&s);
	assert_int_equal(replica_figures(s.replica)->memory_bytes, before); /* read ten times a second */
	s.now_us += 100 * 1000;
	stage_batch_end(&s);
	assert_true(replica_figures(s.replica)->memory_bytes > before);
	stage_end(&s);
}

/* P3: what is not durable is not shown; other keys are not held up. */
static void test_reads_of_unsynced_keys_wait(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_store(&s, s.key, stage_made(&s, 2, 5, "red"));
	stage_fetch(&s, s.key, false);
	stage_fetch(&s, s.key, true);
	stage_fetch(&s, s.other, false);
	expect(&s, "fetched absent");
	stage_store(&s, s.key, stage_made(&s, 2, 5, "red")); /* nothing new, but not durable yet */
	expect(&s, "");
	stage_batch_end(&s);
	stage_fetch(&s, s.key, true); /* the sync is under way */
	expect(&s, "");
	stage_commit(&s);
	expect(&s, "stored ok, fetched ok, fetched ok, stored ok, fetched ok");
	stage_fetch(&s, s.key, true);
	expect(&s, "fetched ok");
	stage_end(&s);
}

/* What comes while a sync runs waits for the next one. */
static void test_generations(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_store(&s, s.key, stage_made(&s, 2, 5, "red"));
	stage_batch_end(&s);
	assert_true(s.sync);
	s.sync = false;
	int status = shard_commit(engine_shard(s.engine, 0), ENGINE_SYNC_EACH);
	stage_store(&s, s.other, stage_made(&s, 2, 6, "blue"));
	stage_store(&s, s.key, stage_made(&s, 3, 7, "green"));
	stage_batch_end(&s);
	assert_false(s.sync); /* one at a time */
	expect(&s, "");
	stage_step(&s, (struct event){.type = EVENT_SYNCED, .status = status});
	expect(&s, "stored ok");
	stage_fetch(&s, s.key, true);
	expect(&s, "");
	stage_commit(&s); /* asked for again by itself */
	expect(&s, "stored ok, stored ok, fetched ok");
	assert_false(s.sync);
	stage_end(&s);
}

/* Nothing that waited is acknowledged, and nothing is afterwards. */
static void test_sync_failure(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_store(&s, s.key, stage_made(&s, 2, 5, "red"));
	stage_put(&s, s.other, "blue", 1);
	stage_fetch(&s, s.key, false);
	expect(&s, "coordinated ok");
	stage_batch_end(&s);
	sim_fs_count_only(s.disk, 1 << SIM_FS_SYNC);
	sim_fs_reset_operations(s.disk);
	sim_fs_fail_at(s.disk, 0, -EIO, false);
	stage_store(&s, s.other, stage_made(&s, 2, 6, "green")); /* of the next generation */
	stage_commit(&s);
	expect(&s, "stored error, stored error, fetched error, stored error");
	assert_int_equal(s.object.size, 0);
	stage_fetch(&s, s.other, false);
	stage_store(&s, s.key, stage_made(&s, 2, 5, "red"));
	stage_put(&s, s.key, "red", 9);
	expect(&s, "fetched error, stored error, coordinated error");
	stage_batch_end(&s);
	assert_false(s.sync);
	stage_end(&s);
}

static void test_jobs(void **state)
{
	(void)state;
	struct stage s;
	char value[1001];
	unsigned ran = 0;
	stage_begin(&s, 64 * 1024);
	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = 0;
	for (unsigned i = 0; i < 600; i++) {
		stage_store(&s, stage_key(&s, 1, 2, 3, i % 20, 0), stage_made(&s, 2, 1000 + i, value));
		stage_finish_batch(&s);
		assert_true(s.job_count <= 2); /* job_limit */
		while (s.job_count > 0 && i % 5 == 0) {
			struct engine_job *job = s.jobs[--s.job_count];
			engine_job_run(job);
			stage_step(&s, (struct event){.type = EVENT_JOB_DONE, .job = job});
			ran++;
		}
		s.log[0] = 0;
	}
	while (s.job_count > 0) {
		struct engine_job *job = s.jobs[--s.job_count];
		engine_job_run(job);
		stage_step(&s, (struct event){.type = EVENT_JOB_DONE, .job = job});
		ran++;
	}
	assert_true(ran > 3);
	for (unsigned i = 0; i < 20; i++)
		stage_fetch(&s, stage_key(&s, 1, 2, 3, i, 0), false);
	assert_null(strstr(s.log, "absent"));
	assert_null(strstr(s.log, "error"));
	stage_end(&s);
}

/* P6. */
static void test_reads_say_that_the_disk_may_have_gone_back(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	struct ring_member_status status[SCENE_NODES] = {0};
	for (int unproven = 0; unproven < 2; unproven++) {
		status[ring_member_find(s.scene.document, scene_node(1))].unproven = unproven;
		assert_int_equal(ring_table_publish(s.ring, s.scene.document, status), 0);
		stage_fetch(&s, s.key, true);
		expect(&s, "fetched absent");
		assert_int_equal(s.receiving, unproven);
	}
	stage_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_store_merges),
		cmocka_unit_test(test_figures_follow_the_work),
		cmocka_unit_test(test_reads_of_unsynced_keys_wait),
		cmocka_unit_test(test_generations),
		cmocka_unit_test(test_sync_failure),
		cmocka_unit_test(test_jobs),
		cmocka_unit_test(test_reads_say_that_the_disk_may_have_gone_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
