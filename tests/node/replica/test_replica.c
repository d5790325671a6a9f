/* SPDX-License-Identifier: Apache-2.0 */
/* One replica over the real engine on a simulated disk. The test is the driver: it ends batches and commits. */
#include <errno.h>
#include "node/object/key.h"
#include "node/object/limit.h"
#include "node/replica/replica.h"
#include "tests/node/scene.h"
#include "tests/sim/sim_fs.h"

enum { SHARDS = 2 };

enum { RETRY_WINDOW_MS = 600 * 1000 };

struct stage {
	struct scene scene; /* its arena and document */
	struct sim_fs *disk;
	struct engine *engine;
	struct ring_table *ring;
	struct replica *replica;
	uint64_t now_us;
	size_t memtable_bytes;
	struct rpc_slice key, other, foreign; /* of shard 0: two keys that n1 owns; one that it does not */
	char log[4096];
	bool sync;
	struct engine_job *jobs[EFFECTS_JOBS_MAX];
	uint32_t job_count, answer_count;
	/* of the last answers */
	struct dot dot;
	struct rpc_slice object;
	uint64_t digest, correlation;
	bool receiving;
};

/* ---- stage ----------------------------------------------------------------------------------------------------- */

static struct rpc_slice engine_key(struct stage *s, unsigned a, unsigned b, unsigned c, unsigned skip, uint32_t shard)
{
	const unsigned owners[] = {a, b, c};
	struct rpc_slice key;
	for (unsigned i = 0;; i++) {
		char name[32];
		const uint16_t *members;
		snprintf(name, sizeof name, "key%u", i);
		uint16_t partition = (uint16_t)ring_partition_of(s->scene.document, "default", 7, name, strlen(name));
		bool wanted = partition % SHARDS == shard;
		assert_int_equal(ring_owners(s->scene.document, partition, 0, &members), 3);
		for (unsigned j = 0; j < 3; j++)
			wanted = wanted && ring_member(s->scene.document, members[j])->id == scene_node(owners[j]);
		if (!wanted || skip-- > 0)
			continue;
		assert_int_equal(key_encode(partition, slice("default"), slice(name), s->scene.arena, &key), 0);
		return key;
	}
}

static void open_replica(struct stage *s)
{
	struct engine_options options;
	struct engine_error why;
	struct rpc_error error;
	engine_options_default(&options);
	options.fs = sim_fs_table(s->disk);
	options.directory = "db";
	options.create_if_missing = true;
	options.shard_count = SHARDS;
	options.hash_entry = replica_hash_entry;
	options.cache_bytes = 1 << 20;
	if (s->memtable_bytes)
		options.memtable_bytes = s->memtable_bytes;
	int status = engine_open(&options, &s->engine, &why);
	if (status != 0)
		fail_msg("engine_open: %s", why.text);
	struct replica_options replica = {
		.self = {scene_node(1), ACTOR_REPLICA, 0},
		.shard = engine_shard(s->engine, 0),
		.shard_count = SHARDS,
		.ring = s->ring,
		.seed = s->now_us,
		.job_limit = 2,
		.retry_window_ms = RETRY_WINDOW_MS,
	};
	assert_int_equal(replica_create(&replica, &s->replica, &error), 0);
	s->sync = false;
}

static void close_replica(struct stage *s)
{
	replica_destroy(&s->replica);
	(void)!engine_close(&s->engine); /* a dead shard says so again */
}

static void begin(struct stage *s, size_t memtable_bytes)
{
	*s = (struct stage){.now_us = 1000000, .memtable_bytes = memtable_bytes};
	struct ring_member_status status[SCENE_NODES] = {0};
	ring_reader_register();
	s->scene.arena = arena_create(4096, SIZE_MAX);
	s->scene.now_ms = 1700000000000;
	s->scene.document = scene_document();
	assert_int_equal(ring_table_create(scene_node(1), &s->ring), 0);
	assert_int_equal(ring_table_publish(s->ring, s->scene.document, status), 0);
	sim_fs_create(1, &s->disk);
	s->key = engine_key(s, 1, 2, 3, 0, 0);
	s->other = engine_key(s, 1, 2, 3, 1, 0);
	s->foreign = engine_key(s, 2, 3, 4, 0, 0);
	open_replica(s);
}

static void end(struct stage *s)
{
	close_replica(s);
	sim_fs_destroy(&s->disk);
	ring_table_destroy(&s->ring);
	ring_document_destroy(&s->scene.document);
	arena_unref(s->scene.arena);
	ring_reader_unregister();
}

static void say(struct stage *s, const char *what, enum replica_status status)
{
	size_t used = strlen(s->log);
	snprintf(s->log + used, sizeof s->log - used, "%s%s %s", used ? ", " : "", what, replica_status_name(status));
}

static void keep_object(struct stage *s, struct rpc_slice object)
{
	s->object = (struct rpc_slice){arena_copy(s->scene.arena, object.data, object.size), object.size};
}

static void take(struct stage *s, struct message *answer)
{
	assert_int_equal(answer->to.node_id, scene_node(2));
	s->correlation = answer->correlation;
	s->answer_count++;
	if (answer->type == MESSAGE_COORDINATED) {
		say(s, "coordinated", answer->status);
		s->dot = answer->coordinated.dot;
		keep_object(s, answer->coordinated.object);
	} else if (answer->type == MESSAGE_STORED) {
		say(s, "stored", answer->status);
	} else {
		assert_int_equal(answer->type, MESSAGE_FETCHED);
		say(s, "fetched", answer->status);
		s->digest = answer->fetched.digest;
		s->receiving = answer->fetched.receiving;
		keep_object(s, answer->fetched.object);
	}
	message_free(answer);
}

static void step(struct stage *s, struct event event)
{
	struct effects effects;
	event.now_us = s->now_us;
	event.now_ms = s->scene.now_ms;
	effects_init(&effects, arena_create(1024, SIZE_MAX));
	replica_step(s->replica, &event, &effects);
	for (struct message *answer; (answer = message_list_take(&effects.messages)) != NULL;) {
		take(s, answer);
	}
	s->sync |= effects.sync;
	for (uint32_t i = 0; i < effects.job_count; i++)
		s->jobs[s->job_count++] = effects.jobs[i];
	arena_unref(effects.arena);
}

static void batch_end(struct stage *s)
{
	step(s, (struct event){.type = EVENT_BATCH_END});
}

/* The commit that the replica asked for. */
static void commit(struct stage *s)
{
	assert_true(s->sync);
	s->sync = false;
	int status = shard_commit(engine_shard(s->engine, 0), ENGINE_SYNC_EACH);
	step(s, (struct event){.type = EVENT_SYNCED, .status = status});
}

static void finish_batch(struct stage *s)
{
	batch_end(s);
	while (s->sync)
		commit(s);
}

#undef expect
#define expect(stage, what) expect_log(stage, what, __FILE__, __LINE__)
static void expect_log(struct stage *s, const char *what, const char *file, int line)
{
	if (strcmp(s->log, what) != 0) {
		print_error("expected \"%s\"\nbut got  \"%s\"\n", what, s->log);
		_fail(file, line);
	}
	s->log[0] = 0;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

static struct message *question(struct stage *s, enum message_type type)
{
	struct arena *arena = arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, type);
	arena_unref(arena);
	message->from = (struct address){scene_node(2), ACTOR_COORDINATOR, 0};
	message->to = (struct address){scene_node(1), ACTOR_REPLICA, 0};
	message->deadline_us = s->now_us + 1000000;
	message->epoch = ring_epoch(s->scene.document);
	message->correlation = 42;
	return message;
}

static struct rpc_slice copy(struct message *message, struct rpc_slice bytes)
{
	return (struct rpc_slice){arena_copy(message->arena, bytes.data, bytes.size), bytes.size};
}

static void ask(struct stage *s, struct message *message)
{
	step(s, (struct event){.type = EVENT_MESSAGE, .message = message});
}

static void put_with(struct stage *s, struct rpc_slice key, const char *value, uint8_t id, struct context context)
{
	struct message *message = question(s, MESSAGE_COORDINATE);
	message->key = copy(message, key);
	message->coordinate.operation.value = copy(message, slice(value));
	message->coordinate.operation.attempt = 1;
	operation_id_of(id, s->scene.now_ms, message->coordinate.operation.operation_id);
	message->coordinate.context = context;
	ask(s, message);
}

static void put(struct stage *s, struct rpc_slice key, const char *value, uint8_t id)
{
	put_with(s, key, value, id, (struct context){0});
}

static void store(struct stage *s, struct rpc_slice key, struct rpc_slice object)
{
	struct message *message = question(s, MESSAGE_STORE);
	message->key = copy(message, key);
	message->store.object = copy(message, object);
	ask(s, message);
}

static void fetch(struct stage *s, struct rpc_slice key, bool digest_only)
{
	struct message *message = question(s, MESSAGE_FETCH);
	message->key = copy(message, key);
	message->fetch.digest_only = digest_only;
	ask(s, message);
}

static struct object decoded(struct stage *s)
{
	struct object object;
	assert_int_equal(object_decode(s->object, s->scene.arena, &object, NULL), 0);
	return object;
}

static struct rpc_slice made(struct stage *s, unsigned node, uint64_t counter, const char *value)
{
	return scene_object(&s->scene, (struct rpc_slice){0}, false, node, counter, value);
}

/* ---- tests: when answers leave ----------------------------------------------------------------------------------- */

/* The merged object leaves at once, the acknowledgement after the sync (P2). */
static void test_put(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	expect(&s, "coordinated ok");
	struct object object = decoded(&s);
	assert_int_equal(object.sibling_count, 1);
	assert_slice_equal(object.siblings[0].value, slice("red"));
	assert_int_equal(dot_compare(object.siblings[0].dot, s.dot), 0);
	batch_end(&s);
	expect(&s, "");
	commit(&s);
	expect(&s, "stored ok");
	assert_int_equal(s.correlation, 42);
	fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	object = decoded(&s);
	assert_slice_equal(object.siblings[0].value, slice("red"));
	assert_true(s.digest == object_digest(&object));
	fetch(&s, s.key, true);
	expect(&s, "fetched ok");
	assert_int_equal(s.object.size, 0);
	assert_true(s.digest == object_digest(&object));
	fetch(&s, s.other, false);
	expect(&s, "fetched absent");
	batch_end(&s);
	assert_false(s.sync); /* nothing was written */
	end(&s);
}

static void test_store_merges(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	struct rpc_slice red = made(&s, 2, 5, "red"), blue = made(&s, 3, 6, "blue");
	store(&s, s.key, red);
	store(&s, s.key, blue);
	expect(&s, "");
	finish_batch(&s);
	expect(&s, "stored ok, stored ok");
	fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	assert_true(scene_same(&s.scene, s.object, scene_merge(&s.scene, red, blue)));
	store(&s, s.key, red); /* nothing new, and durable: no sync */
	expect(&s, "stored ok");
	batch_end(&s);
	assert_false(s.sync);
	store(&s, s.key, slice("no object"));
	expect(&s, "stored error");
	end(&s);
}

/* P3: what is not durable is not shown; other keys are not held up. */
static void test_reads_of_unsynced_keys_wait(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	store(&s, s.key, made(&s, 2, 5, "red"));
	fetch(&s, s.key, false);
	fetch(&s, s.key, true);
	fetch(&s, s.other, false);
	expect(&s, "fetched absent");
	store(&s, s.key, made(&s, 2, 5, "red")); /* nothing new, but not durable yet */
	expect(&s, "");
	batch_end(&s);
	fetch(&s, s.key, true); /* the sync is under way */
	expect(&s, "");
	commit(&s);
	expect(&s, "stored ok, fetched ok, fetched ok, stored ok, fetched ok");
	fetch(&s, s.key, true);
	expect(&s, "fetched ok");
	end(&s);
}

/* What comes while a sync runs waits for the next one. */
static void test_generations(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	store(&s, s.key, made(&s, 2, 5, "red"));
	batch_end(&s);
	assert_true(s.sync);
	s.sync = false;
	int status = shard_commit(engine_shard(s.engine, 0), ENGINE_SYNC_EACH);
	store(&s, s.other, made(&s, 2, 6, "blue"));
	store(&s, s.key, made(&s, 3, 7, "green"));
	batch_end(&s);
	assert_false(s.sync); /* one at a time */
	expect(&s, "");
	step(&s, (struct event){.type = EVENT_SYNCED, .status = status});
	expect(&s, "stored ok");
	fetch(&s, s.key, true);
	expect(&s, "");
	commit(&s); /* asked for again by itself */
	expect(&s, "stored ok, stored ok, fetched ok");
	assert_false(s.sync);
	end(&s);
}

/* Nothing that waited is acknowledged, and nothing is afterwards. */
static void test_sync_failure(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	store(&s, s.key, made(&s, 2, 5, "red"));
	put(&s, s.other, "blue", 1);
	fetch(&s, s.key, false);
	expect(&s, "coordinated ok");
	batch_end(&s);
	sim_fs_count_only(s.disk, 1 << SIM_FS_SYNC);
	sim_fs_reset_operations(s.disk);
	sim_fs_fail_at(s.disk, 0, -EIO, false);
	store(&s, s.other, made(&s, 2, 6, "green")); /* of the next generation */
	commit(&s);
	expect(&s, "stored error, stored error, fetched error, stored error");
	assert_int_equal(s.object.size, 0);
	fetch(&s, s.other, false);
	store(&s, s.key, made(&s, 2, 5, "red"));
	put(&s, s.key, "red", 9);
	expect(&s, "fetched error, stored error, coordinated error");
	batch_end(&s);
	assert_false(s.sync);
	end(&s);
}

/* ---- versions ---------------------------------------------------------------------------------------------------- */

static void test_duplicates_by_operation_id(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	put(&s, s.key, "red", 1);
	expect(&s, "coordinated ok, coordinated ok");
	assert_int_equal(dot_compare(first, s.dot), 0);
	finish_batch(&s);
	expect(&s, "stored ok, stored ok");
	put(&s, s.key, "red", 1);
	assert_int_equal(dot_compare(first, s.dot), 0);
	assert_int_equal(decoded(&s).sibling_count, 1);
	expect(&s, "coordinated ok, stored ok"); /* durable already */
	put(&s, s.key, "red", 2);
	assert_int_not_equal(dot_compare(first, s.dot), 0);
	assert_int_equal(decoded(&s).sibling_count, 2);
	assert_int_equal(replica_counters(s.replica)->duplicates, 2);
	assert_int_equal(replica_counters(s.replica)->puts, 2);
	end(&s);
}

static void attempt(struct stage *s, struct rpc_slice key, const char *value, uint8_t id, uint64_t begun_ms,
		    uint32_t number)
{
	struct message *message = question(s, MESSAGE_COORDINATE);
	message->key = copy(message, key);
	message->coordinate.operation.value = copy(message, slice(value));
	message->coordinate.operation.attempt = number;
	operation_id_of(id, begun_ms, message->coordinate.operation.operation_id);
	ask(s, message);
}

/* P5 */
static void test_an_operation_takes_effect_at_most_once(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	uint64_t begun_ms = s.scene.now_ms;
	attempt(&s, s.key, "red", 1, begun_ms, 1);
	struct object seen = decoded(&s);
	put_with(&s, s.key, "green", 2, (struct context){.vector = seen.vector});
	expect(&s, "coordinated ok, coordinated ok");
	/* A late attempt, whichever, is done already. That there was a second one is written once. */
	for (uint32_t number = 1; number <= 3; number++) {
		attempt(&s, s.key, "red", 1, begun_ms, number);
		assert_int_equal(s.dot.counter, 0);
		assert_int_equal(decoded(&s).sibling_count, 1);
		assert_slice_equal(decoded(&s).siblings[0].value, slice("green"));
	}
	expect(&s, "coordinated ok, coordinated ok, coordinated ok");
	assert_true(decoded(&s).past.marks[0].repeated);
	finish_batch(&s);
	expect(&s, "stored ok, stored ok, stored ok, stored ok, stored ok"); /* with what superseded it */
	assert_int_equal(replica_counters(s.replica)->duplicates, 3);
	/* One that may have been superseded and forgotten is refused. */
	s.scene.now_ms += RETRY_WINDOW_MS + 1;
	attempt(&s, s.key, "red", 1, begun_ms, 2);
	expect(&s, "coordinated ok, stored ok"); /* nothing was written since: it is still known */
	put(&s, s.key, "blue", 3);
	assert_int_equal(decoded(&s).past.count, 0);
	attempt(&s, s.key, "red", 1, begun_ms, 2);
	expect(&s, "coordinated ok, coordinated too old");
	attempt(&s, s.key, "never seen", 4, s.scene.now_ms + RETRY_WINDOW_MS + 1, 1);
	expect(&s, "coordinated early");
	end(&s);
}

static void test_context_replaces_siblings(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	put(&s, s.key, "blue", 2);
	assert_int_equal(decoded(&s).sibling_count, 2);
	struct object seen = decoded(&s);
	put_with(&s, s.key, "green", 3, (struct context){.vector = seen.vector});
	assert_int_equal(decoded(&s).sibling_count, 1);
	assert_slice_equal(decoded(&s).siblings[0].value, slice("green"));
	end(&s);
}

static void test_sibling_limit(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	for (unsigned i = 0; i < LIMIT_SIBLINGS; i++)
		put(&s, s.key, "red", (uint8_t)(i + 1));
	assert_int_equal(decoded(&s).sibling_count, LIMIT_SIBLINGS);
	s.log[0] = 0;
	struct object full = decoded(&s);
	put(&s, s.key, "one too many", 200);
	expect(&s, "coordinated sibling limit");
	put_with(&s, s.key, "resolved", 201, (struct context){.vector = full.vector});
	expect(&s, "coordinated ok");
	assert_int_equal(decoded(&s).sibling_count, 1);
	end(&s);
}

/* An object that claims counters of this actor which it never issued: data was lost, and the name with it. */
static void test_new_actor_when_an_object_shows_unissued_counters(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct object object = decoded(&s);
	object.vector.entries[0].counter = first.counter + 1;
	object.siblings[0].dot.counter = first.counter + 1;
	struct rpc_slice future;
	assert_int_equal(object_encode(&object, s.scene.arena, &future), 0);
	store(&s, s.other, future);
	finish_batch(&s);
	expect(&s, "coordinated ok, stored ok, stored ok");
	put(&s, s.key, "blue", 2);
	assert_true(s.dot.actor != first.actor);
	uint64_t second = s.dot.actor;
	store(&s, s.other, future); /* of nobody's counters now */
	put(&s, s.key, "green", 3);
	assert_true(s.dot.actor == second);
	close_replica(&s);
	s.now_us++;
	open_replica(&s);
	put(&s, s.key, "gold", 4);
	assert_true(s.dot.actor != second && s.dot.actor != first.actor);
	end(&s);
}

static void test_new_actor_when_a_context_shows_unissued_counters(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct version_entry entry = {.actor = first.actor, .counter = first.counter};
	put_with(&s, s.key, "blue", 2, (struct context){.vector = {&entry, 1}});
	assert_true(s.dot.actor == first.actor); /* an honest one */
	entry.counter = s.dot.counter + 5;
	put_with(&s, s.key, "green", 3, (struct context){.vector = {&entry, 1}});
	assert_true(s.dot.actor != first.actor);
	uint64_t second = s.dot.actor;
	struct dot beyond = {second, s.dot.counter + 5};
	put_with(&s, s.key, "gold", 4, (struct context){.dots = &beyond, .dot_count = 1});
	assert_true(s.dot.actor != second && s.dot.actor != first.actor);
	end(&s);
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
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct object object = decoded(&s);
	object.vector.entries[0].counter = first.counter + 10;
	struct rpc_slice ahead;
	assert_int_equal(object_encode(&object, s.scene.arena, &ahead), 0);
	plant(&s, s.key, ahead);
	s.log[0] = 0;
	put(&s, s.key, "blue", 2);
	expect(&s, "coordinated ok");
	assert_true(s.dot.actor != first.actor);
	assert_int_equal(decoded(&s).sibling_count, 2);
	uint64_t second = s.dot.actor;
	put(&s, s.key, "green", 3);
	assert_true(s.dot.actor == second);
	finish_batch(&s);
	expect(&s, "coordinated ok, stored ok, stored ok, stored ok");
	end(&s);
}

/* P1. Every start takes a new actor. After a crash, dots that left before their sync may live elsewhere and are forgotten here;
 * after an orderly stop, the directory may be a copy whose original went on. */
static void test_every_start_takes_a_new_actor(void **state)
{
	(void)state;
	struct stage s;
	uint64_t actors[6];
	begin(&s, 0);
	for (unsigned i = 0; i < 6; i++) {
		put(&s, s.key, "red", (uint8_t)(i + 1));
		actors[i] = s.dot.actor;
		for (unsigned before = 0; before < i; before++)
			assert_true(actors[i] != actors[before]);
		put(&s, s.other, "blue", (uint8_t)(i + 1));
		assert_true(s.dot.actor == actors[i]);
		if (i % 2)
			sim_fs_crash(s.disk, &(struct sim_crash){.data = SIM_DATA_DROP, .names = SIM_NAMES_DROP});
		close_replica(&s); /* commits what is open, unless the machine is down */
		if (i % 2)
			sim_fs_restart(s.disk);
		s.now_us++;
		open_replica(&s);
		s.log[0] = 0;
		fetch(&s, s.other, false);
		expect(&s, "fetched ok");
		assert_int_equal(decoded(&s).sibling_count, i % 2 ? (i + 1) / 2 : i / 2 + 1);
	}
	end(&s);
}

/* I1. A new actor that the disk does not take issues nothing. */
static void test_no_dot_before_the_actor_is_recorded(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	struct dot first = s.dot;
	struct version_entry entry = {.actor = first.actor, .counter = first.counter + 5};
	struct context ahead = {.vector = {&entry, 1}};
	finish_batch(&s);
	s.log[0] = 0;
	sim_fs_count_only(s.disk, SIM_FS_WRITES);
	sim_fs_reset_operations(s.disk);
	sim_fs_fail_at(s.disk, 0, -ENOSPC, true);
	put_with(&s, s.key, "blue", 2, ahead);
	put(&s, s.other, "green", 3);
	expect(&s, "coordinated error, coordinated error");
	sim_fs_fail_never(s.disk);
	put(&s, s.other, "green", 4);
	assert_true(s.dot.actor != first.actor);
	end(&s);
}

/* Another life of this store has used the same dot for another write: nothing is acknowledged, and nothing is lost. */
static void test_a_dot_used_twice_is_an_error_and_keeps_both(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	store(&s, s.key, made(&s, 2, 5, "red"));
	finish_batch(&s);
	struct object other = {0};
	struct rpc_slice bytes = made(&s, 2, 5, "blue");
	assert_int_equal(object_decode(bytes, s.scene.arena, &other, NULL), 0);
	other.siblings[0].operation_id[9] = 77;
	assert_int_equal(object_encode(&other, s.scene.arena, &bytes), 0);
	store(&s, s.key, bytes);
	finish_batch(&s);
	expect(&s, "stored ok, stored error");
	assert_int_equal(replica_counters(s.replica)->clashes, 1);
	fetch(&s, s.key, false);
	assert_int_equal(decoded(&s).sibling_count, 2);
	store(&s, s.key, bytes); /* once more: it is there by now */
	finish_batch(&s);
	expect(&s, "fetched ok, stored ok");
	fetch(&s, s.key, false);
	assert_int_equal(decoded(&s).sibling_count, 2);
	assert_int_equal(replica_counters(s.replica)->clashes, 1);
	end(&s);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	struct rpc_slice red = made(&s, 2, 5, "red");
	store(&s, s.foreign, red);
	fetch(&s, s.foreign, false);
	put(&s, s.foreign, "red", 1);
	expect(&s, "stored not owner, fetched not owner, coordinated not owner");
	struct message *message = question(&s, MESSAGE_FETCH);
	message->key = copy(message, s.key);
	message->epoch--;
	ask(&s, message);
	expect(&s, "fetched stale ring");
	message = question(&s, MESSAGE_FETCH);
	message->key = copy(message, s.key);
	message->epoch++; /* this node is behind, and owns the partition as far as it knows */
	ask(&s, message);
	expect(&s, "fetched absent");
	message = question(&s, MESSAGE_STORE);
	message->key = copy(message, s.key);
	message->store.object = copy(message, red);
	message->deadline_us = s.now_us;
	ask(&s, message);
	expect(&s, "stored overloaded");
	store(&s, engine_key(&s, 1, 2, 3, 0, 1), red);
	expect(&s, "stored error"); /* another shard's */
	store(&s, slice("k"), red);
	store(&s, slice(""), red);
	expect(&s, "stored error, stored error");
	fetch(&s, s.key, false);
	expect(&s, "fetched absent");
	batch_end(&s);
	assert_false(s.sync);
	end(&s);
}

static void run_jobs(struct stage *s)
{
	while (s->job_count > 0) {
		struct engine_job *job = s->jobs[--s->job_count];
		engine_job_run(job);
		step(s, (struct event){.type = EVENT_JOB_DONE, .job = job});
	}
}

/* P4 */
static void test_a_read_error_is_never_absent(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	finish_batch(&s);
	assert_int_equal(shard_request_flush(engine_shard(s.engine, 0)), 0);
	batch_end(&s);
	assert_true(s.job_count > 0);
	run_jobs(&s);
	close_replica(&s);
	s.now_us++;
	open_replica(&s);
	uint64_t actor = replica_next_dot(s.replica).actor;
	s.log[0] = 0;
	sim_fs_count_only(s.disk, 1 << SIM_FS_PREAD);
	sim_fs_reset_operations(s.disk);
	sim_fs_fail_at(s.disk, 0, -EIO, true);
	fetch(&s, s.key, false);
	fetch(&s, s.key, true);
	store(&s, s.key, made(&s, 2, 5, "blue"));
	put(&s, s.key, "green", 2);
	expect(&s, "fetched error, fetched error, stored error, coordinated error");
	sim_fs_fail_never(s.disk);
	fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	put(&s, s.key, "green", 3);
	assert_true(s.dot.actor == actor);
	assert_int_equal(decoded(&s).sibling_count, 2);
	end(&s);
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
	begin(&s, 0);
	put(&s, s.key, "red", 1);
	uint64_t actor = s.dot.actor;
	finish_batch(&s);
	assert_int_equal(shard_request_flush(engine_shard(s.engine, 0)), 0);
	batch_end(&s);
	run_jobs(&s);
	sim_fs_walk(s.disk, "db", find_table, path);
	sim_fs_flip_bit(s.disk, path, 60, 1); /* in the first block */
	close_replica(&s);
	for (unsigned i = 0; i < 2; i++) {
		s.now_us++;
		open_replica(&s);
		s.log[0] = 0;
		fetch(&s, s.key, false);
		fetch(&s, s.key, true);
		store(&s, s.key, made(&s, 2, 5, "blue"));
		put(&s, s.key, "green", 2);
		expect(&s, "fetched error, fetched error, stored error, coordinated error");
		batch_end(&s);
		assert_int_equal(shard_quarantined(engine_shard(s.engine, 0), 0), key_partition(s.key));
		close_replica(&s);
	}
	s.now_us++;
	open_replica(&s);
	assert_int_equal(
		shard_drop_range(engine_shard(s.engine, 0), (struct engine_slice){0}, (struct engine_slice){0}), 0);
	s.log[0] = 0;
	fetch(&s, s.key, false);
	expect(&s, "fetched absent");
	put(&s, s.key, "green", 3);
	assert_true(s.dot.actor != actor);
	end(&s);
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
	begin(&s, 0);
	for (unsigned i = 0; i < 12; i++)
		put(&s, engine_key(&s, 1, 2, 3, i, 0), "red", (uint8_t)(i + 1));
	put(&s, s.key, "green", 40);
	finish_batch(&s);
	assert_int_equal(shard_request_flush(engine_shard(s.engine, 0)), 0);
	batch_end(&s);
	run_jobs(&s);
	put(&s, s.other, "blue", 41);
	finish_batch(&s);
	run_jobs(&s);
	uint64_t roots[1024];
	for (unsigned i = 0; i < 1024; i++)
		roots[i] = shard_tree_node(engine_shard(s.engine, 0), (uint16_t)i, 0, 0);
	close_replica(&s);
	sim_fs_walk(s.disk, "db", flip_trees, &s);
	s.now_us++;
	open_replica(&s);
	shard_stats(engine_shard(s.engine, 0), &stats);
	assert_int_equal(stats.tree_recounts, 1);
	assert_int_equal(stats.quarantined_partitions, 0);
	for (unsigned i = 0; i < 1024; i++)
		assert_true(shard_tree_node(engine_shard(s.engine, 0), (uint16_t)i, 0, 0) == roots[i]);
	s.log[0] = 0;
	fetch(&s, s.key, false);
	put(&s, s.key, "black", 42);
	finish_batch(&s);
	expect(&s, "fetched ok, coordinated ok, stored ok");
	run_jobs(&s);
	end(&s);
}

/* P2, P3: nobody is acknowledged, what is not durable is not shown, other keys are read, and when there is room again all goes on. */
static void test_a_full_disk_passes(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	put(&s, s.other, "red", 1);
	finish_batch(&s);
	expect(&s, "coordinated ok, stored ok");
	sim_fs_set_capacity(s.disk, sim_fs_used(s.disk));
	put(&s, s.key, "blue", 2);
	finish_batch(&s);
	expect(&s, "coordinated ok, stored disk full");
	fetch(&s, s.other, false);
	expect(&s, "fetched ok");
	fetch(&s, s.key, false);
	batch_end(&s);
	assert_false(s.sync); /* not in a loop */
	s.now_us += 200 * 1000;
	finish_batch(&s);
	expect(&s, "fetched error");
	sim_fs_set_capacity(s.disk, UINT64_MAX);
	fetch(&s, s.key, false);
	s.now_us += 200 * 1000;
	finish_batch(&s);
	expect(&s, "fetched ok");
	put(&s, s.key, "green", 3);
	finish_batch(&s);
	expect(&s, "coordinated ok, stored ok");
	sim_fs_crash(s.disk, &(struct sim_crash){.data = SIM_DATA_DROP, .names = SIM_NAMES_DROP});
	close_replica(&s);
	sim_fs_restart(s.disk);
	s.now_us++;
	open_replica(&s);
	fetch(&s, s.key, false);
	expect(&s, "fetched ok");
	assert_int_equal(decoded(&s).sibling_count, 2);
	end(&s);
}

/* ---- jobs
 * -------------------------------------------------------------------------------------------------------------------
 */

static void test_jobs(void **state)
{
	(void)state;
	struct stage s;
	char value[1001];
	unsigned ran = 0;
	begin(&s, 64 * 1024);
	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = 0;
	for (unsigned i = 0; i < 600; i++) {
		store(&s, engine_key(&s, 1, 2, 3, i % 20, 0), made(&s, 2, 1000 + i, value));
		finish_batch(&s);
		assert_true(s.job_count <= 2); /* job_limit */
		while (s.job_count > 0 && i % 5 == 0) {
			struct engine_job *job = s.jobs[--s.job_count];
			engine_job_run(job);
			step(&s, (struct event){.type = EVENT_JOB_DONE, .job = job});
			ran++;
		}
		s.log[0] = 0;
	}
	while (s.job_count > 0) {
		struct engine_job *job = s.jobs[--s.job_count];
		engine_job_run(job);
		step(&s, (struct event){.type = EVENT_JOB_DONE, .job = job});
		ran++;
	}
	assert_true(ran > 3);
	for (unsigned i = 0; i < 20; i++)
		fetch(&s, engine_key(&s, 1, 2, 3, i, 0), false);
	assert_null(strstr(s.log, "absent"));
	assert_null(strstr(s.log, "error"));
	end(&s);
}

/* P6. */
static void test_reads_say_that_the_disk_may_have_gone_back(void **state)
{
	(void)state;
	struct stage s;
	begin(&s, 0);
	struct ring_member_status status[SCENE_NODES] = {0};
	for (int unproven = 0; unproven < 2; unproven++) {
		status[ring_member_find(s.scene.document, scene_node(1))].unproven = unproven;
		assert_int_equal(ring_table_publish(s.ring, s.scene.document, status), 0);
		fetch(&s, s.key, true);
		expect(&s, "fetched absent");
		assert_int_equal(s.receiving, unproven);
	}
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_say_that_the_disk_may_have_gone_back),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_store_merges),
		cmocka_unit_test(test_reads_of_unsynced_keys_wait),
		cmocka_unit_test(test_generations),
		cmocka_unit_test(test_sync_failure),
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
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_a_read_error_is_never_absent),
		cmocka_unit_test(test_damage_is_an_error_until_it_is_dropped),
		cmocka_unit_test(test_damaged_trees_are_recounted),
		cmocka_unit_test(test_a_full_disk_passes),
		cmocka_unit_test(test_jobs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
