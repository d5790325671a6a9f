/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/replica/stage.h"

#include "node/object/key.h"

struct rpc_slice stage_key(struct stage *s, unsigned a, unsigned b, unsigned c, unsigned skip, uint32_t shard)
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

void stage_open(struct stage *s)
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

void stage_close(struct stage *s)
{
	replica_destroy(&s->replica);
	(void)!engine_close(&s->engine); /* a dead shard says so again */
}

void stage_begin(struct stage *s, size_t memtable_bytes)
{
	*s = (struct stage){.now_us = 1000000, .memtable_bytes = memtable_bytes};
	struct ring_member_status status[SCENE_NODES] = {0};
	ring_reader_register();
	s->scene.arena = rpc_arena_create(4096, SIZE_MAX);
	s->scene.now_ms = 1700000000000;
	s->scene.document = scene_document();
	assert_int_equal(ring_table_create(scene_node(1), &s->ring), 0);
	assert_int_equal(ring_table_publish(s->ring, s->scene.document, status), 0);
	sim_fs_create(1, &s->disk);
	s->key = stage_key(s, 1, 2, 3, 0, 0);
	s->other = stage_key(s, 1, 2, 3, 1, 0);
	s->foreign = stage_key(s, 2, 3, 4, 0, 0);
	stage_open(s);
}

void stage_end(struct stage *s)
{
	stage_close(s);
	message_free(s->kept);
	sim_fs_destroy(&s->disk);
	ring_table_destroy(&s->ring);
	ring_document_destroy(&s->scene.document);
	rpc_arena_unref(s->scene.arena);
	ring_reader_unregister();
}

static void say(struct stage *s, const char *what, enum replica_status status)
{
	size_t used = strlen(s->log);
	snprintf(s->log + used, sizeof s->log - used, "%s%s %s", used ? ", " : "", what, replica_status_name(status));
}

static void keep_object(struct stage *s, struct rpc_slice object)
{
	s->object = (struct rpc_slice){rpc_arena_copy(s->scene.arena, object.data, object.size), object.size};
}

static void take(struct stage *s, struct message *answer)
{
	if (answer->type == MESSAGE_BEHIND) {
		size_t used = strlen(s->log);
		assert_int_equal(answer->to.kind, ACTOR_GOSSIP);
		snprintf(s->log + used, sizeof s->log - used, "%sbehind %u", used ? ", " : "",
			 (unsigned)answer->behind.epoch);
		message_free(answer);
		return;
	}
	assert_int_equal(answer->to.node_id, scene_node(2));
	s->correlation = answer->correlation;
	s->answer_count++;
	if (answer->type == MESSAGE_COORDINATED) {
		say(s, "coordinated", answer->status);
		s->dot = answer->coordinated.dot;
		keep_object(s, answer->coordinated.object);
	} else if (answer->type == MESSAGE_STORED) {
		say(s, "stored", answer->status);
	} else if (answer->type == MESSAGE_SCANNED || answer->type == MESSAGE_DROPPED) {
		say(s, answer->type == MESSAGE_SCANNED ? "scanned" : "dropped", answer->status);
		message_free(s->kept);
		s->kept = answer;
		return;
	} else {
		assert_int_equal(answer->type, MESSAGE_FETCHED);
		say(s, "fetched", answer->status);
		s->digest = answer->fetched.digest;
		s->receiving = answer->fetched.receiving;
		keep_object(s, answer->fetched.object);
	}
	message_free(answer);
}

void stage_step(struct stage *s, struct event event)
{
	struct effects effects;
	event.now_us = s->now_us;
	event.now_ms = s->scene.now_ms;
	effects_init(&effects, rpc_arena_create(1024, SIZE_MAX));
	replica_step(s->replica, &event, &effects);
	for (struct message *answer; (answer = message_list_take(&effects.messages)) != NULL;) {
		take(s, answer);
	}
	s->sync |= effects.sync;
	for (uint32_t i = 0; i < effects.job_count; i++)
		s->jobs[s->job_count++] = effects.jobs[i];
	rpc_arena_unref(effects.arena);
}

void stage_batch_end(struct stage *s)
{
	stage_step(s, (struct event){.type = EVENT_BATCH_END});
}

/* The commit that the replica asked for. */
void stage_commit(struct stage *s)
{
	assert_true(s->sync);
	s->sync = false;
	int status = shard_commit(engine_shard(s->engine, 0), ENGINE_SYNC_EACH);
	stage_step(s, (struct event){.type = EVENT_SYNCED, .status = status});
}

void stage_finish_batch(struct stage *s)
{
	stage_batch_end(s);
	while (s->sync)
		stage_commit(s);
}

void stage_expect(struct stage *s, const char *what, const char *file, int line)
{
	if (strcmp(s->log, what) != 0) {
		print_error("expected \"%s\"\nbut got  \"%s\"\n", what, s->log);
		_fail(file, line);
	}
	s->log[0] = 0;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

struct message *stage_question(struct stage *s, enum message_type type)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, type);
	rpc_arena_unref(arena);
	message->from = (struct address){scene_node(2), ACTOR_COORDINATOR, 0};
	message->to = (struct address){scene_node(1), ACTOR_REPLICA, 0};
	message->deadline_us = s->now_us + 1000000;
	message->epoch = ring_epoch(s->scene.document);
	message->correlation = 42;
	return message;
}

struct rpc_slice stage_copy(struct message *message, struct rpc_slice bytes)
{
	return (struct rpc_slice){rpc_arena_copy(message->arena, bytes.data, bytes.size), bytes.size};
}

void stage_ask(struct stage *s, struct message *message)
{
	stage_step(s, (struct event){.type = EVENT_MESSAGE, .message = message});
}

void stage_put_with(struct stage *s, struct rpc_slice key, const char *value, uint8_t id, struct context context)
{
	struct message *message = stage_question(s, MESSAGE_COORDINATE);
	message->key = stage_copy(message, key);
	message->coordinate.operation.value = stage_copy(message, slice(value));
	message->coordinate.operation.attempt = 1;
	operation_id_of(id, s->scene.now_ms, message->coordinate.operation.operation_id);
	message->coordinate.context = context;
	stage_ask(s, message);
}

void stage_put(struct stage *s, struct rpc_slice key, const char *value, uint8_t id)
{
	stage_put_with(s, key, value, id, (struct context){0});
}

void stage_store(struct stage *s, struct rpc_slice key, struct rpc_slice object)
{
	struct message *message = stage_question(s, MESSAGE_STORE);
	message->key = stage_copy(message, key);
	message->store.object = stage_copy(message, object);
	stage_ask(s, message);
}

void stage_fetch(struct stage *s, struct rpc_slice key, bool digest_only)
{
	struct message *message = stage_question(s, MESSAGE_FETCH);
	message->key = stage_copy(message, key);
	message->fetch.digest_only = digest_only;
	stage_ask(s, message);
}

struct object stage_decoded(struct stage *s)
{
	struct object object;
	assert_int_equal(object_decode(s->object, s->scene.arena, &object, NULL), 0);
	return object;
}

struct rpc_slice stage_made(struct stage *s, unsigned node, uint64_t counter, const char *value)
{
	return scene_object(&s->scene, (struct rpc_slice){0}, false, node, counter, value);
}

void stage_run_jobs(struct stage *s)
{
	while (s->job_count > 0) {
		struct engine_job *job = s->jobs[--s->job_count];
		engine_job_run(job);
		stage_step(s, (struct event){.type = EVENT_JOB_DONE, .job = job});
	}
}
