/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include "proto/kv.pb-c.h"
#include "node/object/key.h"
#include "tests/node/scene.h"

enum { DEADLINE_US = 5 * 1000 * 1000 };

/* ---- the ring --------------------------------------------------------------------------------------------------- */

uint64_t scene_node(unsigned number)
{
	return 100 + number;
}

static unsigned node_number(uint64_t id)
{
	return (unsigned)(id - 100);
}

static bool names(const char *nodes, unsigned number)
{
	return strchr(nodes, (int)('0' + number)) != NULL;
}

static struct ring_member member_of(unsigned number, enum ring_member_state state, bool far)
{
	struct ring_member member = {.id = scene_node(number), .weight = RING_WEIGHT_DEFAULT, .state = state};
	snprintf(member.datacenter, sizeof member.datacenter, "%s", far ? "dc2" : "dc1");
	snprintf(member.name, sizeof member.name, "n%u", number);
	snprintf(member.rack, sizeof member.rack, "r%u", number);
	snprintf(member.client_address, sizeof member.client_address, "10.0.0.%u:1", number);
	snprintf(member.peer_address, sizeof member.peer_address, "10.0.0.%u:2", number);
	snprintf(member.bus_address, sizeof member.bus_address, "10.0.0.%u:3", number);
	return member;
}

struct ring_document *scene_claim(const struct ring_document *previous, const char *nodes, const char *far)
{
	struct ring_member members[SCENE_NODES];
	struct ring_datacenter datacenters[] = {{.name = "dc1", .replica_count = 3},
						{.name = "dc2", .replica_count = 3}};
	uint32_t count = 0;
	bool second = false;
	for (unsigned number = 1; number <= SCENE_NODES; number++) {
		bool active = names(nodes, number);
		bool known = previous != NULL && ring_member_find(previous, scene_node(number)) >= 0;
		if (active || known)
			members[count++] = member_of(number, active ? RING_MEMBER_ACTIVE : RING_MEMBER_LEAVING,
						     names(far, number));
		second |= (active || known) && names(far, number);
	}
	struct ring_plan plan = {
		.cluster_id = 7,
		.hash_seed = 11,
		.partition_count = 256,
		.datacenters = datacenters,
		.datacenter_count = second ? 2 : 1,
		.members = members,
		.member_count = count,
	};
	struct ring_document *document;
	struct ring_error why;
	assert_int_equal(ring_claim(previous, &plan, &document, &why), 0);
	return document;
}

struct ring_document *scene_document(void)
{
	return scene_claim(NULL, "12345", "");
}

void scene_find_key(const struct ring_document *document, const unsigned wanted[3], char *key_out, size_t size)
{
	for (unsigned i = 0; i < 100000; i++) {
		const uint16_t *owners;
		snprintf(key_out, size, "k%u", i);
		uint32_t partition = ring_partition_of(document, "default", 7, key_out, strlen(key_out));
		assert_int_equal(ring_owners(document, partition, 0, &owners), 3);
		bool all = true;
		for (unsigned j = 0; j < 3; j++)
			all = all && ring_member(document, owners[j])->id == scene_node(wanted[j]);
		if (all)
			return;
	}
	fail_msg("no key with owners n%u n%u n%u", wanted[0], wanted[1], wanted[2]);
}

static void publish(struct scene *scene, unsigned node, enum ring_reachability reachability)
{
	struct ring_member_status status[SCENE_NODES] = {0};
	int index = node ? ring_member_find(scene->document, scene_node(node)) : -1;
	if (index >= 0)
		status[index].reachability = reachability;
	assert_int_equal(ring_table_publish(scene->ring, scene->document, status), 0);
}

void scene_set_reachable(struct scene *scene, unsigned node, bool reachable)
{
	publish(scene, node, reachable ? RING_UP : RING_UNREACHABLE);
}

static bool is_connected(void *arg, uint64_t node_id)
{
	const struct scene *scene = arg;
	return !scene->closed[node_number(node_id)];
}

static void begin(struct scene *scene, unsigned self)
{
	scene->self = self;
	scene->now_us = 1000 * 1000;
	scene->now_ms = 1700000000000;
	scene->timer_us = UINT64_MAX;
	scene->arena = rpc_arena_create(4096, SIZE_MAX);
	assert_int_equal(ring_table_create(scene_node(self), &scene->ring), 0);
	publish(scene, 0, RING_UP);
	struct coordinator_options options = {
		.self = {scene_node(self), ACTOR_COORDINATOR, 0},
		.shard_count = SCENE_SHARDS,
		.ring = scene->ring,
		.links = {is_connected, scene},
	};
	assert_int_equal(coordinator_create(&options, &scene->coordinator), 0);
}

void scene_begin(struct scene *scene, unsigned self)
{
	memset(scene, 0, sizeof *scene);
	ring_reader_register();
	scene->document = scene_document();
	scene_find_key(scene->document, (const unsigned[]){1, 2, 3}, scene->key, sizeof scene->key);
	begin(scene, self);
}

void scene_forget(struct scene *scene)
{
	for (unsigned i = 0; i < scene->question_count; i++)
		message_free(scene->questions[i]);
	memset(scene->answered, 0, sizeof scene->answered);
	scene->question_count = 0;
}

void scene_end(struct scene *scene)
{
	coordinator_destroy(&scene->coordinator);
	scene_forget(scene);
	rpc_arena_unref(scene->arena);
	ring_table_destroy(&scene->ring);
	ring_document_destroy(&scene->document);
	ring_document_destroy(&scene->target);
	ring_reader_unregister();
}

/* ---- a ring that changes ----------------------------------------------------------------------------------------- */

/* The owners in each datacenter are these nodes, in this order. */
static bool row_is(const struct ring_document *document, uint32_t partition, const char *nodes, const char *far)
{
	for (uint32_t datacenter = 0; datacenter < ring_datacenter_count(document); datacenter++) {
		const uint16_t *row;
		uint32_t count = ring_owners(document, partition, datacenter, &row), at = 0;
		for (unsigned i = 0; nodes[i] != 0; i++) {
			unsigned number = (unsigned)(nodes[i] - '0');
			if (names(far, number) != (datacenter > 0))
				continue;
			if (at == count || ring_member(document, row[at++])->id != scene_node(number))
				return false;
		}
		if (at != count)
			return false;
	}
	return true;
}

void scene_begin_datacenters(struct scene *scene, unsigned self, const char *before, const char *after, const char *far)
{
	memset(scene, 0, sizeof *scene);
	ring_reader_register();
	scene->document = scene_claim(NULL, before, far);
	scene->target = scene_claim(scene->document, after, far);
	for (unsigned i = 0;; i++) {
		assert_true(i < 100000);
		snprintf(scene->key, sizeof scene->key, "k%u", i);
		uint32_t partition = ring_partition_of(scene->document, "default", 7, scene->key, strlen(scene->key));
		if (row_is(scene->document, partition, before, far) && row_is(scene->target, partition, after, far))
			break;
	}
	begin(scene, self);
}

void scene_begin_change(struct scene *scene, unsigned self, const char *before, const char *after)
{
	scene_begin_datacenters(scene, self, before, after, "");
}

void scene_next(struct scene *scene)
{
	struct ring_document *next;
	struct ring_error why;
	if (scene->target != NULL)
		assert_int_equal(ring_transition_begin(scene->document, scene->target, &next, &why), 0);
	else
		assert_int_equal(ring_transition_next(scene->document, &next, &why), 0);
	ring_document_destroy(&scene->target);
	ring_document_destroy(&scene->document);
	scene->document = next;
	publish(scene, 0, RING_UP);
}

/* ---- what the coordinator sends -------------------------------------------------------------------------------- */

static void say(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct scene *scene, const char *format, ...)
{
	size_t used = strlen(scene->log);
	va_list arguments;
	if (used + 600 > sizeof scene->log)
		return; /* enough to fail any expectation */
	va_start(arguments, format);
	if (used > 0)
		used += (size_t)snprintf(scene->log + used, sizeof scene->log - used, ", ");
	vsnprintf(scene->log + used, sizeof scene->log - used, format, arguments);
	va_end(arguments);
}

static void describe(char *out, size_t size, const struct client_operation *operation,
		     const struct client_result *result)
{
	static const char *const outcomes[] = {"?", "done", "absent", "in doubt", "refused"};
	size_t used = 0;
	if (operation->kind == OPERATION_PUT || result->outcome != OUTCOME_DONE)
		used = (size_t)snprintf(out, size, "%s", outcomes[result->outcome]);
	for (uint32_t i = 0; i < result->sibling_count; i++)
		used += (size_t)snprintf(out + used, size - used, "%s%.*s", i ? "|" : "",
					 (int)result->siblings[i].value.size,
					 (const char *)result->siblings[i].value.data);
	snprintf(out + used, size - used, " %u/%u", result->acks_owners, result->needed);
}

static void take_result(struct scene *scene, const struct client_result *result)
{
	scene->code = result->code;
	snprintf(scene->text, sizeof scene->text, "%s", result->message ? result->message : "");
	assert_true(result->context.size <= sizeof scene->context_bytes);
	if (result->context.size > 0)
		memcpy(scene->context_bytes, result->context.data, result->context.size);
	scene->context = (struct rpc_slice){scene->context_bytes, result->context.size};
}

static void take_client_done(struct scene *scene, struct message *message)
{
	const struct client_request *request = message->client.request;
	char one[512];
	assert_int_equal(request->remaining, 0);
	for (uint32_t i = 0; i < request->count; i++) {
		describe(one, sizeof one, &request->operations[i], &request->results[i]);
		take_result(scene, &request->results[i]);
		say(scene, "client: %s", one);
	}
	if (request->count == 0)
		say(scene, "client: nothing");
	message_free(message);
}

static void take_forwarded(struct scene *scene, struct message *message)
{
	const struct client_operation put = {.kind = OPERATION_PUT};
	char one[512];
	describe(one, sizeof one, &put, &message->forwarded.result);
	take_result(scene, &message->forwarded.result);
	say(scene, "n%u: %s", node_number(message->to.node_id), one);
	message_free(message);
}

static void take_question(struct scene *scene, struct message *message)
{
	const char *name = message_type_name(message->type);
	if (message->type == MESSAGE_FETCH && message->fetch.digest_only)
		name = "digest";
	assert_true(message->deadline_us > scene->now_us);
	assert_int_equal(message->from.node_id, scene_node(scene->self));
	say(scene, "%s n%u", name, node_number(message->to.node_id));
	assert_true(scene->question_count < SCENE_QUESTIONS);
	scene->questions[scene->question_count++] = message;
}

static void take_behind(struct scene *scene, struct message *message)
{
	assert_int_equal(message->to.kind, ACTOR_GOSSIP);
	if (message->behind.node_id != 0)
		say(scene, "behind %u as n%u", (unsigned)message->behind.epoch, node_number(message->behind.node_id));
	else
		say(scene, "behind %u", (unsigned)message->behind.epoch);
	message_free(message);
}

static void step(struct scene *scene, struct event event)
{
	struct effects effects;
	event.now_us = scene->now_us;
	event.now_ms = scene->now_ms;
	size_t memory = scene->memory != 0 ? scene->memory : SIZE_MAX;
	effects_init(&effects, rpc_arena_create(memory < 1024 ? memory : 1024, memory));
	coordinator_step(scene->coordinator, &event, &effects);
	for (struct message *message; (message = message_list_take(&effects.messages)) != NULL;) {
		if (message->type == MESSAGE_CLIENT_DONE)
			take_client_done(scene, message);
		else if (message->type == MESSAGE_FORWARDED)
			take_forwarded(scene, message);
		else if (message->type == MESSAGE_BEHIND)
			take_behind(scene, message);
		else
			take_question(scene, message);
	}
	scene->timer_us = effects.timer_us;
	assert_false(effects.sync);
	rpc_arena_unref(effects.arena);
}

void scene_message(struct scene *scene, struct message *message)
{
	step(scene, (struct event){.type = EVENT_MESSAGE, .message = message});
}

/* ---- events ---------------------------------------------------------------------------------------------------- */

static struct rpc_slice copy_text(struct arena *arena, const char *text)
{
	return text ? (struct rpc_slice){rpc_arena_copy(arena, text, strlen(text)), strlen(text)}
		    : (struct rpc_slice){0};
}

static struct client_operation operation_of(const struct scene *scene, enum operation_kind kind, struct ask ask,
					    struct arena *arena)
{
	struct client_operation operation = {
		.kind = kind,
		.key = copy_text(arena, ask.key ? ask.key : scene->key),
		.value = copy_text(arena, ask.value),
		.context = {rpc_arena_copy(arena, ask.context.data, ask.context.size), ask.context.size},
		.quorum = ask.quorum,
		.level = ask.level,
		.tombstone = ask.tombstone,
		.attempt = ask.attempt == SCENE_UNCOUNTED ? 0
			   : ask.attempt                  ? ask.attempt
							  : 1,
	};
	operation_id_of(ask.id, scene->now_ms, operation.operation_id);
	return operation;
}

static struct message *request_of(struct scene *scene, const struct client_operation *operations, uint32_t count,
				  struct arena *arena, uint64_t deadline_us)
{
	struct message *message = message_create(arena, MESSAGE_CLIENT);
	struct client_request *request = rpc_arena_zalloc(arena, sizeof *request);
	request->operations = rpc_arena_copy(arena, operations, count * sizeof *operations);
	request->results = rpc_arena_zalloc(arena, (count + 1) * sizeof *request->results);
	request->count = count;
	message->client.request = request;
	message->deadline_us = scene->now_us + (deadline_us ? deadline_us : DEADLINE_US);
	return message;
}

void scene_client(struct scene *scene, enum operation_kind kind, struct ask ask)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct client_operation operation = operation_of(scene, kind, ask, arena);
	struct message *message = request_of(scene, &operation, 1, arena, ask.deadline_us);
	rpc_arena_unref(arena);
	scene_message(scene, message);
}

void scene_batch(struct scene *scene, const struct client_operation *operations, uint32_t count)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = request_of(scene, operations, count, arena, 0);
	rpc_arena_unref(arena);
	scene_message(scene, message);
}

void scene_forward_in(struct scene *scene, struct ask ask)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_FORWARD);
	message->from = (struct address){scene_node(5), ACTOR_COORDINATOR, 0};
	message->to = (struct address){scene_node(scene->self), ACTOR_COORDINATOR, 0};
	message->correlation = 4711;
	message->deadline_us = scene->now_us + (ask.deadline_us ? ask.deadline_us : DEADLINE_US);
	message->epoch = ask.epoch;
	message->forward.operation = operation_of(scene, OPERATION_PUT, ask, arena);
	rpc_arena_unref(arena);
	scene_message(scene, message);
}

void scene_tick(struct scene *scene, uint64_t us)
{
	scene->now_us += us;
	scene->now_ms += us / 1000;
	if (scene->timer_us <= scene->now_us)
		step(scene, (struct event){.type = EVENT_TIMER});
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

struct message *scene_question(struct scene *scene, enum message_type type, unsigned node)
{
	struct message *last = NULL;
	for (unsigned i = scene->question_count; i-- > 0;) {
		struct message *question = scene->questions[i];
		if (question->type != type || question->to.node_id != scene_node(node))
			continue;
		if (!scene->answered[i]) {
			scene->answered[i] = true;
			return question;
		}
		last = last ? last : question;
	}
	if (last == NULL)
		fail_msg("n%u was not asked to %s", node, message_type_name(type));
	return last;
}

/* In an arena of its own. */
static struct message *answer_to(struct message *question, enum message_type type)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *answer = message_answer(question, arena, type);
	rpc_arena_unref(arena);
	return answer;
}

void scene_coordinated(struct scene *scene, unsigned node, enum replica_status status)
{
	struct message *question = scene_question(scene, MESSAGE_COORDINATE, node);
	struct message *answer = answer_to(question, MESSAGE_COORDINATED);
	answer->status = status;
	if (status == REPLICA_OK) {
		const char *bytes = "encoded object";
		answer->coordinated.object = copy_text(answer->arena, bytes);
		answer->coordinated.dot = (struct dot){scene_node(node), 9};
	}
	scene_message(scene, answer);
}

void scene_superseded(struct scene *scene, unsigned node)
{
	struct message *answer = answer_to(scene_question(scene, MESSAGE_COORDINATE, node), MESSAGE_COORDINATED);
	answer->status = REPLICA_OK;
	answer->coordinated.object = copy_text(answer->arena, "encoded object");
	answer->coordinated.mark = (struct mark){scene->now_ms, 8};
	scene_message(scene, answer);
}

void scene_stored(struct scene *scene, unsigned node, enum replica_status status)
{
	/* The local replica acknowledges its COORDINATE the same way. */
	enum message_type asked = MESSAGE_STORE;
	bool open = false;
	for (unsigned i = 0; i < scene->question_count; i++) {
		const struct message *question = scene->questions[i];
		if (question->to.node_id != scene_node(node))
			continue;
		if (question->type == MESSAGE_COORDINATE)
			asked = MESSAGE_COORDINATE;
		open |= question->type == MESSAGE_STORE && !scene->answered[i];
	}
	if (open)
		asked = MESSAGE_STORE;
	struct message *answer = answer_to(scene_question(scene, asked, node), MESSAGE_STORED);
	answer->status = status;
	scene_message(scene, answer);
}

static void fetched(struct scene *scene, unsigned node, struct rpc_slice object, bool receiving)
{
	struct message *question = scene_question(scene, MESSAGE_FETCH, node);
	struct message *answer = answer_to(question, MESSAGE_FETCHED);
	answer->status = object.size ? REPLICA_OK : REPLICA_ABSENT;
	answer->fetched.receiving = receiving;
	if (object.size) {
		struct object decoded;
		assert_int_equal(object_decode(object, scene->arena, &decoded, NULL), 0);
		answer->fetched.digest = object_digest(&decoded);
		if (!question->fetch.digest_only)
			answer->fetched.object = (struct rpc_slice){
				rpc_arena_copy(answer->arena, object.data, object.size), object.size};
	}
	scene_message(scene, answer);
}

void scene_fetched(struct scene *scene, unsigned node, struct rpc_slice object)
{
	fetched(scene, node, object, false);
}

void scene_fetched_receiving(struct scene *scene, unsigned node, struct rpc_slice object)
{
	fetched(scene, node, object, true);
}

void scene_fetch_failed(struct scene *scene, unsigned node, enum replica_status status)
{
	struct message *answer = answer_to(scene_question(scene, MESSAGE_FETCH, node), MESSAGE_FETCHED);
	answer->status = status;
	scene_message(scene, answer);
}

void scene_forwarded(struct scene *scene, unsigned node, enum outcome outcome, uint32_t code, const char *text)
{
	struct message *answer = answer_to(scene_question(scene, MESSAGE_FORWARD, node), MESSAGE_FORWARDED);
	struct client_result *result = &answer->forwarded.result;
	answer->epoch = scene->forwarded_epoch != 0 ? scene->forwarded_epoch : ring_epoch(scene->document);
	result->outcome = outcome;
	result->code = code;
	result->acks_owners = result->synced = outcome == OUTCOME_DONE ? 2 : scene->forwarded_acks;
	result->message = text ? (const char *)rpc_arena_copy(answer->arena, text, strlen(text) + 1) : NULL;
	scene_message(scene, answer);
}

/* ---- expectations ---------------------------------------------------------------------------------------------- */

void scene_expect(struct scene *scene, const char *file, int line, const char *log)
{
	if (strcmp(scene->log, log) != 0) {
		print_error("expected \"%s\"\nbut got  \"%s\"\n", log, scene->log);
		_fail(file, line);
	}
	scene->log[0] = 0;
}

void scene_expect_text(struct scene *scene, const char *part)
{
	if (strstr(scene->text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", scene->text, part);
}

uint32_t scene_in_flight(const struct scene *scene)
{
	return scene->coordinator->in_flight;
}

/* ---- objects --------------------------------------------------------------------------------------------------- */

static struct object decoded(struct scene *scene, struct rpc_slice bytes)
{
	struct object object = {0};
	if (bytes.size)
		assert_int_equal(object_decode(bytes, scene->arena, &object, NULL), 0);
	return object;
}

static struct rpc_slice encoded(struct scene *scene, const struct object *object)
{
	struct rpc_slice bytes;
	assert_int_equal(object_encode(object, scene->arena, &bytes), 0);
	return bytes;
}

struct rpc_slice scene_object(struct scene *scene, struct rpc_slice old_bytes, bool over, unsigned node,
			      uint64_t counter, const char *value)
{
	struct object old = decoded(scene, old_bytes), fresh;
	struct context context = {0};
	if (over)
		context.vector = old.vector;
	struct sibling sibling = {
		.dot = {scene_node(node), counter},
		.flags = value ? 0 : SIBLING_TOMBSTONE,
		.value = value ? slice(value) : (struct rpc_slice){0},
	};
	operation_id_of((uint32_t)(node << 16 | counter), scene->now_ms, sibling.operation_id);
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;
	assert_int_equal(object_put(&old, &context, &sibling, &(struct object_terms){.now_ms = scene->now_ms},
				    scene->arena, &fresh, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	return encoded(scene, &fresh);
}

struct rpc_slice scene_merge(struct scene *scene, struct rpc_slice a_bytes, struct rpc_slice b_bytes)
{
	struct object a = decoded(scene, a_bytes), b = decoded(scene, b_bytes), merged;
	bool changed;
	assert_int_equal(object_merge(&a, &b, scene->arena, &merged, &changed), 0);
	return encoded(scene, &merged);
}

bool scene_same(struct scene *scene, struct rpc_slice a_bytes, struct rpc_slice b_bytes)
{
	struct object a = decoded(scene, a_bytes), b = decoded(scene, b_bytes);
	return object_digest(&a) == object_digest(&b);
}

struct rpc_slice scene_engine_key(struct scene *scene)
{
	struct rpc_slice name = slice(scene->key), out;
	uint32_t partition = ring_partition_of(scene->document, "default", 7, name.data, name.size);
	assert_int_equal(key_encode((uint16_t)partition, slice("default"), name, scene->arena, &out), 0);
	return out;
}

bool scene_context_covers(struct scene *scene, unsigned node, uint64_t counter)
{
	struct context context;
	assert_int_equal(context_decode(scene->context, scene_engine_key(scene), scene->arena, &context, NULL), 0);
	return context_covers(&context, (struct dot){scene_node(node), counter});
}
