/* SPDX-License-Identifier: Apache-2.0 */
/* Which versions a replica makes: dots, actors, operations. */
#include <errno.h>
#include "node/object/limit.h"
#include "tests/node/replica/stage.h"

static void test_duplicates_by_operation_id(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	stage_put(&s, s.key, "red", 1);
	expect(&s, "coordinated ok, coordinated ok");
	assert_int_equal(dot_compare(first, s.dot), 0);
	stage_finish_batch(&s);
	expect(&s, "stored ok, stored ok");
	stage_put(&s, s.key, "red", 1);
	assert_int_equal(dot_compare(first, s.dot), 0);
	assert_int_equal(stage_decoded(&s).sibling_count, 1);
	expect(&s, "coordinated ok, stored ok"); /* durable already */
	stage_put(&s, s.key, "red", 2);
	assert_int_not_equal(dot_compare(first, s.dot), 0);
	assert_int_equal(stage_decoded(&s).sibling_count, 2);
	assert_int_equal(replica_counters(s.replica)->duplicates, 2);
	assert_int_equal(replica_counters(s.replica)->puts, 2);
	stage_end(&s);
}

static void attempt(struct stage *s, struct rpc_slice key, const char *value, uint8_t id, uint64_t begun_ms,
		    uint32_t number)
{
	struct message *message = stage_question(s, MESSAGE_COORDINATE);
	message->key = stage_copy(message, key);
	message->coordinate.operation.value = stage_copy(message, slice(value));
	message->coordinate.operation.attempt = number;
	operation_id_of(id, begun_ms, message->coordinate.operation.operation_id);
	stage_ask(s, message);
}

/* P5 */
static void test_an_operation_takes_effect_at_most_once(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	uint64_t begun_ms = s.scene.now_ms;
	attempt(&s, s.key, "red", 1, begun_ms, 1);
	struct object seen = stage_decoded(&s);
	stage_put_with(&s, s.key, "green", 2, (struct context){.vector = seen.vector});
	expect(&s, "coordinated ok, coordinated ok");
	/* A late attempt, whichever, is done already. That there was a second one is written once. */
	for (uint32_t number = 1; number <= 3; number++) {
		attempt(&s, s.key, "red", 1, begun_ms, number);
		assert_int_equal(s.dot.counter, 0);
		assert_int_equal(stage_decoded(&s).sibling_count, 1);
		assert_slice_equal(stage_decoded(&s).siblings[0].value, slice("green"));
	}
	expect(&s, "coordinated ok, coordinated ok, coordinated ok");
	assert_true(stage_decoded(&s).past.marks[0].repeated);
	stage_finish_batch(&s);
	expect(&s, "stored ok, stored ok, stored ok, stored ok, stored ok"); /* with what superseded it */
	assert_int_equal(replica_counters(s.replica)->duplicates, 3);
	/* One that may have been superseded and forgotten is refused. */
	s.scene.now_ms += RETRY_WINDOW_MS + 1;
	attempt(&s, s.key, "red", 1, begun_ms, 2);
	expect(&s, "coordinated ok, stored ok"); /* nothing was written since: it is still known */
	stage_put(&s, s.key, "blue", 3);
	assert_int_equal(stage_decoded(&s).past.count, 0);
	attempt(&s, s.key, "red", 1, begun_ms, 2);
	expect(&s, "coordinated ok, coordinated too old");
	attempt(&s, s.key, "never seen", 4, s.scene.now_ms + RETRY_WINDOW_MS + 1, 1);
	expect(&s, "coordinated early");
	stage_end(&s);
}

static void test_context_replaces_siblings(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	stage_put(&s, s.key, "blue", 2);
	assert_int_equal(stage_decoded(&s).sibling_count, 2);
	struct object seen = stage_decoded(&s);
	stage_put_with(&s, s.key, "green", 3, (struct context){.vector = seen.vector});
	assert_int_equal(stage_decoded(&s).sibling_count, 1);
	assert_slice_equal(stage_decoded(&s).siblings[0].value, slice("green"));
	stage_end(&s);
}

static void test_sibling_limit(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	for (unsigned i = 0; i < LIMIT_SIBLINGS; i++)
		stage_put(&s, s.key, "red", (uint8_t)(i + 1));
	assert_int_equal(stage_decoded(&s).sibling_count, LIMIT_SIBLINGS);
	s.log[0] = 0;
	struct object full = stage_decoded(&s);
	stage_put(&s, s.key, "one too many", 200);
	expect(&s, "coordinated sibling limit");
	stage_put_with(&s, s.key, "resolved", 201, (struct context){.vector = full.vector});
	expect(&s, "coordinated ok");
	assert_int_equal(stage_decoded(&s).sibling_count, 1);
	stage_end(&s);
}

/* An object that claims counters of this actor which it never issued: data was lost, and the name with it. */
static void test_new_actor_when_an_object_shows_unissued_counters(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct object object = stage_decoded(&s);
	object.vector.entries[0].counter = first.counter + 1;
	object.siblings[0].dot.counter = first.counter + 1;
	struct rpc_slice future;
	assert_int_equal(object_encode(&object, s.scene.arena, &future), 0);
	stage_store(&s, s.other, future);
	stage_finish_batch(&s);
	expect(&s, "coordinated ok, stored ok, stored ok");
	stage_put(&s, s.key, "blue", 2);
	assert_true(s.dot.actor != first.actor);
	uint64_t second = s.dot.actor;
	stage_store(&s, s.other, future); /* of nobody's counters now */
	stage_put(&s, s.key, "green", 3);
	assert_true(s.dot.actor == second);
	stage_close(&s);
	s.now_us++;
	stage_open(&s);
	stage_put(&s, s.key, "gold", 4);
	assert_true(s.dot.actor != second && s.dot.actor != first.actor);
	stage_end(&s);
}

static void test_new_actor_when_a_context_shows_unissued_counters(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct version_entry entry = {.actor = first.actor, .counter = first.counter};
	stage_put_with(&s, s.key, "blue", 2, (struct context){.vector = {&entry, 1}});
	assert_true(s.dot.actor == first.actor); /* an honest one */
	entry.counter = s.dot.counter + 5;
	stage_put_with(&s, s.key, "green", 3, (struct context){.vector = {&entry, 1}});
	assert_true(s.dot.actor != first.actor);
	uint64_t second = s.dot.actor;
	struct dot beyond = {second, s.dot.counter + 5};
	stage_put_with(&s, s.key, "gold", 4, (struct context){.dots = &beyond, .dot_count = 1});
	assert_true(s.dot.actor != second && s.dot.actor != first.actor);
	stage_end(&s);
}

/* Behind the replica's back, as a restored backup or a bug would. */
static void plant(struct stage *s, struct rpc_slice key, struct rpc_slice object)
{
	struct engine_batch *batch;
	assert_int_equal(engine_batch_create(&batch), 0);
	assert_int_equal(engine_batch_put(batch, (struct engine_slice){key.data, key.size},
					  (struct engine_slice){object.data, object.size}, 0),
			 0);
	assert_int_equal(shard_write(engine_shard(s->engine, 0), batch), 0);
	engine_batch_destroy(&batch);
}

/* The stored object covers what this actor would issue next: the put is taken under another name, and not refused for ever. */
static void test_new_actor_when_the_stored_object_covers_the_dot(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct object object = stage_decoded(&s);
	object.vector.entries[0].counter = first.counter + 10;
	struct rpc_slice ahead;
	assert_int_equal(object_encode(&object, s.scene.arena, &ahead), 0);
	plant(&s, s.key, ahead);
	s.log[0] = 0;
	stage_put(&s, s.key, "blue", 2);
	expect(&s, "coordinated ok");
	assert_true(s.dot.actor != first.actor);
	assert_int_equal(stage_decoded(&s).sibling_count, 2);
	uint64_t second = s.dot.actor;
	stage_put(&s, s.key, "green", 3);
	assert_true(s.dot.actor == second);
	stage_finish_batch(&s);
	expect(&s, "coordinated ok, stored ok, stored ok, stored ok");
	stage_end(&s);
}

/* P1. Every start takes a new actor. After a crash, dots that left before their sync may live elsewhere and are forgotten here;
 * after an orderly stop, the directory may be a copy whose original went on. */
static void test_every_start_takes_a_new_actor(void **state)
{
	(void)state;
	struct stage s;
	uint64_t actors[6];
	stage_begin(&s, 0);
	for (unsigned i = 0; i < 6; i++) {
		stage_put(&s, s.key, "red", (uint8_t)(i + 1));
		actors[i] = s.dot.actor;
		for (unsigned before = 0; before < i; before++)
			assert_true(actors[i] != actors[before]);
		stage_put(&s, s.other, "blue", (uint8_t)(i + 1));
		assert_true(s.dot.actor == actors[i]);
		if (i % 2)
			sim_fs_crash(s.disk, &(struct sim_crash){.data = SIM_DATA_DROP, .names = SIM_NAMES_DROP});
		stage_close(&s); /* commits what is open, unless the machine is down */
		if (i % 2)
			sim_fs_restart(s.disk);
		s.now_us++;
		stage_open(&s);
		s.log[0] = 0;
		stage_fetch(&s, s.other, false);
		expect(&s, "fetched ok");
		assert_int_equal(stage_decoded(&s).sibling_count, i % 2 ? (i + 1) / 2 : i / 2 + 1);
	}
	stage_end(&s);
}

/* I1. A new actor that the disk does not take issues nothing. */
static void test_no_dot_before_the_actor_is_recorded(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct version_entry entry = {.actor = first.actor, .counter = first.counter + 5};
	struct context ahead = {.vector = {&entry, 1}};
	stage_finish_batch(&s);
	s.log[0] = 0;
	sim_fs_count_only(s.disk, SIM_FS_WRITES);
	sim_fs_reset_operations(s.disk);
	sim_fs_fail_at(s.disk, 0, -ENOSPC, true);
	stage_put_with(&s, s.key, "blue", 2, ahead);
	stage_put(&s, s.other, "green", 3);
	expect(&s, "coordinated error, coordinated error");
	sim_fs_fail_never(s.disk);
	stage_put(&s, s.other, "green", 4);
	assert_true(s.dot.actor != first.actor);
	stage_end(&s);
}

/* Another life of this store has used the same dot for another write: nothing is acknowledged, and nothing is lost. */
static void test_a_dot_used_twice_is_an_error_and_keeps_both(void **state)
{
	(void)state;
	struct stage s;
	stage_begin(&s, 0);
	stage_store(&s, s.key, stage_made(&s, 2, 5, "red"));
	stage_finish_batch(&s);
	struct object other = {0};
	struct rpc_slice bytes = stage_made(&s, 2, 5, "blue");
	assert_int_equal(object_decode(bytes, s.scene.arena, &other, NULL), 0);
	other.siblings[0].operation_id[9] = 77;
	assert_int_equal(object_encode(&other, s.scene.arena, &bytes), 0);
	stage_store(&s, s.key, bytes);
	stage_finish_batch(&s);
	expect(&s, "stored ok, stored error");
	assert_int_equal(replica_counters(s.replica)->clashes, 1);
	stage_fetch(&s, s.key, false);
	assert_int_equal(stage_decoded(&s).sibling_count, 2);
	stage_store(&s, s.key, bytes); /* once more: it is there by now */
	stage_finish_batch(&s);
	expect(&s, "fetched ok, stored ok");
	stage_fetch(&s, s.key, false);
	assert_int_equal(stage_decoded(&s).sibling_count, 2);
	assert_int_equal(replica_counters(s.replica)->clashes, 1);
	stage_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duplicates_by_operation_id),
		cmocka_unit_test(test_an_operation_takes_effect_at_most_once),
		cmocka_unit_test(test_context_replaces_siblings),
		cmocka_unit_test(test_sibling_limit),
		cmocka_unit_test(test_new_actor_when_an_object_shows_unissued_counters),
		cmocka_unit_test(test_new_actor_when_a_context_shows_unissued_counters),
		cmocka_unit_test(test_new_actor_when_the_stored_object_covers_the_dot),
		cmocka_unit_test(test_every_start_takes_a_new_actor),
		cmocka_unit_test(test_no_dot_before_the_actor_is_recorded),
		cmocka_unit_test(test_a_dot_used_twice_is_an_error_and_keeps_both),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
