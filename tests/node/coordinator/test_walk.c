/* SPDX-License-Identifier: Apache-2.0 */
/* A random walk: five coordinators over replicas that delay, fail, fall silent, lose answers and send them twice.
 *
 * Whatever happens: every operation gets exactly one result; a put that is done is held by w owners, one that is
 * refused by none (C1, C2); a read sees every write that was acknowledged before it began, when r + w > N (C3); nothing
 * stays in flight, nothing leaks. The same seed is the same walk. WALK_SEED and WALK_OPERATIONS choose another.
 *
 * In one of the weathers the ring changes all the time: nodes come and go, each node hears of the next step at another time,
 * and data is copied and dropped as ALGORITHMS.md (Ring) says. Then clients ask for majorities, and at the end every
 * write that was acknowledged must still be known to the owners.
 */
#include <stdlib.h>
#include "node/object/key.h"
#include "node/object/limit.h"
#include "tests/node/scene.h"

enum {
	KEYS = 24,
	ACKED_MAX = 64,
	SECOND_US = 1000 * 1000,
	BATCH_MAX = 6,
};

/* What goes wrong, in promille of the questions. */
struct weather {
	unsigned refused, unreachable, lost, silent, slow, twice;
	uint64_t slow_us;
	bool ring_changes;
};

static const struct weather storm = {
	.refused = 30, .unreachable = 60, .lost = 40, .silent = 20, .slow = 60, .twice = 60, .slow_us = 2 * SECOND_US};
/* Slow at times, but a repair there and back is faster than a read waits for it. */
static const struct weather haze = {.slow = 500, .slow_us = SECOND_US / 5};

/* The ring moves, nodes pause, and little else goes wrong. */
static const struct weather drift = {
	.unreachable = 10, .lost = 10, .slow = 100, .twice = 30, .slow_us = SECOND_US / 2, .ring_changes = true};

struct delivery {
	uint64_t due_us, sequence;
	struct message *message;
};

struct acked {
	struct dot dot;
	uint64_t done_us;
	uint32_t w;
};

struct record {
	enum operation_kind kind;
	unsigned key;
	uint32_t quorum;
	uint64_t started_us, deadline_us;
	unsigned results;
	bool executed;             /* some replica added the version */
	bool superseded;           /* a later attempt found it superseded */
	struct mark mark;          /* once a replica was asked */
	struct arena *floor_arena; /* a get: what a quorum read had returned before it began */
	struct context floor;
};

struct key_state {
	char name[16];
	uint64_t owners[SCENE_NODES]; /* now */
	unsigned owner_count;
	struct rpc_slice stored[SCENE_NODES]; /* malloc'ed, by node */
	struct acked acked[ACKED_MAX];
	unsigned acked_count;
	uint8_t context[LIMIT_CONTEXT_SIZE]; /* what the next client puts with */
	size_t context_size;
	uint8_t read_context[LIMIT_CONTEXT_SIZE]; /* of the last quorum read that ended */
	size_t read_context_size;
};

struct walk {
	const struct weather *weather;
	struct prng prng;
	uint64_t now_us, sequence;
	struct ring_document *document;
	struct ring_table *rings[SCENE_NODES];
	struct coordinator *coordinators[SCENE_NODES];
	uint64_t timers_us[SCENE_NODES];
	uint64_t local_due_us[SCENE_NODES]; /* messages between two actors of one node keep their order */
	uint64_t counters[SCENE_NODES];     /* of the replicas' dots */
	struct delivery *queue;             /* a binary heap */
	unsigned queue_count, queue_capacity;
	struct key_state keys[KEYS];
	struct record *records;
	unsigned record_count, record_capacity;
	unsigned outcomes[5];
	/* of a ring that changes: `document` is the newest, and each node has it or the one before */
	struct ring_document *previous;
	bool adopted[SCENE_NODES];
	uint64_t adopt_us; /* when the next node hears of it, or the next step is made */
	unsigned ring_steps;
};

static bool chance(struct walk *walk, unsigned promille)
{
	return prng_below(&walk->prng, 1000) < promille;
}

static unsigned node_index(uint64_t id)
{
	for (unsigned i = 0; i < SCENE_NODES; i++)
		if (scene_node(i + 1) == id)
			return i;
	fail_msg("a message to node %llu", (unsigned long long)id);
	return 0;
}

/* ---- the network ----------------------------------------------------------------------------------------------- */

static bool earlier(const struct delivery *a, const struct delivery *b)
{
	return a->due_us != b->due_us ? a->due_us < b->due_us : a->sequence < b->sequence;
}

static void enqueue(struct walk *walk, struct message *message, uint64_t due_us)
{
	if (walk->queue_count == walk->queue_capacity) {
		walk->queue_capacity = walk->queue_capacity ? walk->queue_capacity * 2 : 1024;
		walk->queue = realloc(walk->queue, walk->queue_capacity * sizeof *walk->queue);
		assert_non_null(walk->queue);
	}
	struct delivery delivery = {due_us, walk->sequence++, message};
	unsigned at = walk->queue_count++;
	for (; at > 0 && earlier(&delivery, &walk->queue[(at - 1) / 2]); at = (at - 1) / 2)
		walk->queue[at] = walk->queue[(at - 1) / 2];
	walk->queue[at] = delivery;
}

static struct message *dequeue(struct walk *walk)
{
	struct message *first = walk->queue[0].message;
	struct delivery moving = walk->queue[--walk->queue_count];
	unsigned at = 0;
	for (unsigned child = 1; child < walk->queue_count; child = at * 2 + 1) {
		if (child + 1 < walk->queue_count && earlier(&walk->queue[child + 1], &walk->queue[child]))
			child++;
		if (!earlier(&walk->queue[child], &moving))
			break;
		walk->queue[at] = walk->queue[child];
		at = child;
	}
	walk->queue[at] = moving;
	return first;
}

static uint64_t delay(struct walk *walk)
{
	if (chance(walk, walk->weather->slow))
		return 1000 + prng_below(&walk->prng, walk->weather->slow_us);
	return 100 + prng_below(&walk->prng, 2000);
}

static void send(struct walk *walk, struct message *message)
{
	if (message->type == MESSAGE_BEHIND) { /* gossip is not in this play */
		message_free(message);
		return;
	}
	uint64_t due_us = walk->now_us + delay(walk);
	if (message->from.node_id == message->to.node_id) {
		uint64_t *last = &walk->local_due_us[node_index(message->to.node_id)];
		due_us = walk->now_us + 1 + prng_below(&walk->prng, 200);
		due_us = due_us < *last ? *last : due_us;
		*last = due_us;
	}
	enqueue(walk, message, due_us);
}

/* ---- replicas ---------------------------------------------------------------------------------------------------- */

static struct key_state *key_of(struct walk *walk, struct rpc_slice engine_key)
{
	for (unsigned i = 0; i < KEYS; i++) {
		size_t size = strlen(walk->keys[i].name);
		if (engine_key.size >= size &&
		    memcmp(engine_key.data + engine_key.size - size, walk->keys[i].name, size) == 0 &&
		    engine_key.data[engine_key.size - size - 1] == 't')
			return &walk->keys[i]; /* ...default|name */
	}
	fail_msg("an unknown key");
	return NULL;
}

static struct message *answer_to(const struct message *question, enum message_type type)
{
	struct arena *arena = rpc_arena_create(512, SIZE_MAX);
	struct message *answer = message_answer(question, arena, type);
	rpc_arena_unref(arena);
	return answer;
}

static struct object load(struct rpc_slice bytes, struct arena *arena)
{
	struct object object = {0};
	if (bytes.size)
		assert_int_equal(object_decode(bytes, arena, &object, NULL), 0);
	return object;
}

static void save(struct rpc_slice *stored, const struct object *object, struct arena *arena)
{
	struct rpc_slice bytes;
	assert_int_equal(object_encode(object, arena, &bytes), 0);
	free((void *)stored->data);
	uint8_t *copy = malloc(bytes.size);
	memcpy(copy, bytes.data, bytes.size);
	*stored = (struct rpc_slice){copy, bytes.size};
}

static struct rpc_slice copy_into(struct message *message, struct rpc_slice bytes)
{
	return (struct rpc_slice){rpc_arena_copy(message->arena, bytes.data, bytes.size), bytes.size};
}

static struct record *record_of(struct walk *walk, const struct client_operation *operation)
{
	uint32_t index = operation_number(operation->operation_id);
	assert_true(index < walk->record_count);
	return &walk->records[index];
}

static void coordinate(struct walk *walk, const struct message *question, unsigned node, bool answering)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	const struct client_operation *operation = &question->coordinate.operation;
	struct rpc_slice *stored = &key_of(walk, question->key)->stored[node];
	struct object old = load(*stored, arena), fresh;
	struct sibling sibling = {.dot = {scene_node(node + 1), ++walk->counters[node]}, .value = operation->value};
	memcpy(sibling.operation_id, operation->operation_id, sizeof sibling.operation_id);
	struct object_terms terms = {.now_ms = 1};
	enum object_put_result result;
	uint32_t truncated;
	struct message *answer = answer_to(question, MESSAGE_COORDINATED);
	assert_int_equal(object_put(&old, &question->coordinate.context, &sibling, &terms, arena, &fresh, &result,
				    &answer->coordinated.dot, &truncated),
			 0);
	answer->status = result == OBJECT_PUT_SIBLING_LIMIT ? REPLICA_SIBLING_LIMIT : REPLICA_OK;
	answer->coordinated.mark = record_of(walk, operation)->mark = sibling_mark(&sibling);
	record_of(walk, operation)->superseded |= result == OBJECT_PUT_SUPERSEDED;
	if (answer->status == REPLICA_OK) {
		record_of(walk, operation)->executed = true;
		save(stored, &fresh, arena);
		answer->coordinated.object = copy_into(answer, *stored);
	}
	bool ok = answer->status == REPLICA_OK;
	if (answering)
		send(walk, answer);
	else
		message_free(answer);
	if (ok && answering) {
		answer = answer_to(question, MESSAGE_STORED);
		answer->status = chance(walk, walk->weather->refused) ? REPLICA_ERROR : REPLICA_OK; /* the sync */
		send(walk, answer);
	}
	rpc_arena_unref(arena);
}

static void merge(struct walk *walk, const struct message *question, unsigned node)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct rpc_slice *stored = &key_of(walk, question->key)->stored[node];
	struct object old = load(*stored, arena), incoming = load(question->store.object, arena), merged;
	bool changed;
	assert_int_equal(object_merge(&old, &incoming, arena, &merged, &changed), 0);
	if (changed)
		save(stored, &merged, arena);
	rpc_arena_unref(arena);
}

static struct message *make_answer(struct walk *walk, const struct message *question, unsigned node,
				   enum replica_status status)
{
	bool store = question->type == MESSAGE_STORE;
	struct message *answer = answer_to(question, store ? MESSAGE_STORED : MESSAGE_FETCHED);
	if (store) {
		answer->status = status;
		return answer;
	}
	answer->status = status;
	struct rpc_slice stored = key_of(walk, question->key)->stored[node];
	if (status != REPLICA_OK)
		return answer;
	if (stored.size == 0) {
		answer->status = REPLICA_ABSENT;
		return answer;
	}
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct object object = load(stored, arena);
	answer->fetched.digest = object_digest(&object);
	if (!question->fetch.digest_only)
		answer->fetched.object = copy_into(answer, stored);
	rpc_arena_unref(arena);
	return answer;
}

static enum replica_status refusal(struct walk *walk)
{
	static const enum replica_status statuses[] = {REPLICA_ERROR, REPLICA_STALE_RING, REPLICA_OVERLOADED,
						       REPLICA_DISK_FULL, REPLICA_NOT_OWNER};
	return statuses[prng_below(&walk->prng, 5)];
}

static const struct ring_document *ring_of(const struct walk *walk, unsigned node)
{
	return !walk->weather->ring_changes || walk->adopted[node] ? walk->document : walk->previous;
}

/* What a replica says to a question that its ring does not allow; REPLICA_OK: nothing. */
static enum replica_status fence(struct walk *walk, const struct message *question, unsigned node)
{
	const struct ring_document *document = ring_of(walk, node);
	int member = ring_member_find(document, scene_node(node + 1));
	struct rpc_slice name = slice(key_of(walk, question->key)->name);
	uint32_t partition = ring_partition_of(document, "default", 7, name.data, name.size);
	if (member < 0)
		return REPLICA_NOT_OWNER;
	if (question->epoch < ring_epoch(document))
		return REPLICA_STALE_RING;
	return ring_owns(document, partition, (uint32_t)member) ? REPLICA_OK : REPLICA_NOT_OWNER;
}

static void replica(struct walk *walk, struct message *question)
{
	unsigned node = node_index(question->to.node_id);
	enum replica_status fenced = fence(walk, question, node);
	bool remote = question->from.node_id != question->to.node_id;
	const struct weather *weather = walk->weather;
	bool silent = chance(walk, weather->silent);
	if (question->type == MESSAGE_COORDINATE) {
		assert_false(remote);
		if (fenced != REPLICA_OK || chance(walk, weather->refused)) {
			struct message *answer = answer_to(question, MESSAGE_COORDINATED);
			answer->status = fenced != REPLICA_OK ? fenced : refusal(walk);
			send(walk, answer);
		} else {
			coordinate(walk, question, node, !silent);
		}
		message_free(question);
		return;
	}
	enum replica_status status = fenced;
	if (fenced == REPLICA_OK && chance(walk, weather->refused))
		status = refusal(walk);
	else if (fenced == REPLICA_OK && remote && chance(walk, weather->unreachable))
		status = REPLICA_UNREACHABLE;
	bool lost = remote && chance(walk, weather->lost);
	if (question->type == MESSAGE_STORE && status == REPLICA_OK && (!lost || chance(walk, 500)))
		merge(walk, question, node);
	if (lost)
		status = REPLICA_LOST;
	if (!silent) {
		send(walk, make_answer(walk, question, node, status));
		if (remote && chance(walk, weather->twice))
			send(walk, make_answer(walk, question, node, status));
	}
	message_free(question);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static bool object_covers(const struct object *object, struct dot dot)
{
	for (uint32_t i = 0; i < object->seen_count; i++)
		if (dot_compare(object->seen[i], dot) == 0)
			return true;
	return version_covers(&object->vector, dot);
}

static void keep(uint8_t *bytes, size_t *size, struct rpc_slice context)
{
	assert_true(context.size <= LIMIT_CONTEXT_SIZE);
	*size = context.size;
	if (context.size > 0)
		memcpy(bytes, context.data, context.size);
}

static struct rpc_slice engine_key(const struct walk *walk, const struct key_state *key, struct arena *arena)
{
	struct rpc_slice name = slice(key->name), out;
	uint32_t partition = ring_partition_of(walk->document, "default", 7, name.data, name.size);
	assert_int_equal(key_encode((uint16_t)partition, slice("default"), name, arena, &out), 0);
	return out;
}

/* Live or in the past. */
static bool knows_operation(const struct object *object, struct mark mark)
{
	for (uint32_t i = 0; i < object->sibling_count; i++)
		if (mark_compare(sibling_mark(&object->siblings[i]), mark) == 0)
			return true;
	return past_has(&object->past, mark);
}

/* Another client superseded the value between two attempts: w replicas know that it was there. */
static void check_superseded_done(struct walk *walk, const struct record *record, const struct client_result *result,
				  struct arena *arena)
{
	const struct key_state *key = &walk->keys[record->key];
	unsigned holders = 0;
	for (unsigned i = 0; i < key->owner_count; i++) {
		struct object object = load(key->stored[node_index(key->owners[i])], arena);
		holders += knows_operation(&object, record->mark) || object.past.horizon_ms > 0;
	}
	assert_true(result->acks_owners >= result->needed);
	assert_true(walk->weather->ring_changes || holders >= result->needed);
}

static void check_put_done(struct walk *walk, const struct record *record, const struct client_result *result,
			   struct arena *arena)
{
	struct key_state *key = &walk->keys[record->key];
	struct context context;
	unsigned holders = 0;
	assert_int_equal(context_decode(result->context, engine_key(walk, key, arena), arena, &context, NULL), 0);
	if (record->superseded) {
		check_superseded_done(walk, record, result, arena);
		return;
	}
	assert_true(context.dot_count > 0);
	struct dot dot = context.dots[context.dot_count - 1];
	for (unsigned i = 0; i < key->owner_count; i++) {
		struct object object = load(key->stored[node_index(key->owners[i])], arena);
		holders += object_covers(&object, dot);
	}
	assert_true(result->acks_owners >= result->needed);
	assert_true(walk->weather->ring_changes || holders >= result->needed); /* C1 */
	key->acked[key->acked_count++ % ACKED_MAX] = (struct acked){dot, walk->now_us, result->needed};
	keep(key->context, &key->context_size, result->context);
}

static void check_get_done(struct walk *walk, const struct record *record, const struct client_result *result,
			   struct arena *arena)
{
	struct key_state *key = &walk->keys[record->key];
	struct context context;
	assert_int_equal(context_decode(result->context, engine_key(walk, key, arena), arena, &context, NULL), 0);
	for (unsigned i = 0; i < key->acked_count && i < ACKED_MAX; i++) {
		const struct acked *acked = &key->acked[i];
		bool meets = walk->weather->ring_changes || acked->w + result->needed > 3; /* majorities */
		if (acked->done_us < record->started_us && meets)
			assert_true(context_covers(&context, acked->dot)); /* C3 */
	}
	keep(key->context, &key->context_size, result->context);
	if (result->needed < 2)
		return;
	/* When no repair fails or takes long, quorum reads never go back in time. */
	for (uint32_t i = 0; walk->weather == &haze && i < record->floor.vector.count; i++) {
		struct version_entry entry = record->floor.vector.entries[i];
		assert_true(context_covers(&context, (struct dot){entry.actor, entry.counter}));
	}
	if (walk->now_us < record->deadline_us) /* or it waited for no repair */
		keep(key->read_context, &key->read_context_size, result->context);
}

static void on_result(struct walk *walk, struct record *record, const struct client_result *result)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	assert_int_equal(record->results++, 0);
	assert_true(walk->now_us <= record->deadline_us); /* C4 */
	walk->outcomes[result->outcome]++;
	if (record->kind == OPERATION_GET) {
		assert_int_not_equal(result->outcome, OUTCOME_IN_DOUBT);
		if (result->outcome != OUTCOME_REFUSED)
			check_get_done(walk, record, result, arena);
	} else {
		assert_int_not_equal(result->outcome, OUTCOME_ABSENT);
		if (result->outcome == OUTCOME_DONE)
			check_put_done(walk, record, result, arena);
		if (result->outcome == OUTCOME_REFUSED)
			assert_false(record->executed); /* C2 */
	}
	if (result->outcome == OUTCOME_REFUSED || result->outcome == OUTCOME_IN_DOUBT)
		assert_non_null(result->message);
	rpc_arena_unref(record->floor_arena);
	record->floor_arena = NULL;
	rpc_arena_unref(arena);
}

static void on_client_done(struct walk *walk, struct message *message)
{
	for (uint32_t i = 0; i < message->client.request->count; i++)
		on_result(walk, &walk->records[message->call_index + i], &message->client.request->results[i]);
	message_free(message);
}

/* ---- coordinators ------------------------------------------------------------------------------------------------ */

static void step(struct walk *walk, unsigned node, enum event_type type, struct message *message)
{
	struct event event = {.type = type, .now_us = walk->now_us, .now_ms = walk->now_us / 1000, .message = message};
	struct effects effects;
	effects_init(&effects, rpc_arena_create(2048, SIZE_MAX));
	coordinator_step(walk->coordinators[node], &event, &effects);
	walk->timers_us[node] = effects.timer_us;
	for (struct message *sent; (sent = message_list_take(&effects.messages)) != NULL;) {
		if (sent->type == MESSAGE_CLIENT_DONE)
			on_client_done(walk, sent);
		else
			send(walk, sent);
	}
	rpc_arena_unref(effects.arena);
}

/* Between nodes a message is bytes: what arrives lives in an arena of its own. */
static struct message *over_the_wire(const struct message *sent)
{
	struct arena *arena = rpc_arena_create(512, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_FORWARD);
	message->from = sent->from;
	message->to = sent->to;
	message->correlation = sent->correlation;
	message->deadline_us = sent->deadline_us;
	message->forward.operation = sent->forward.operation;
	message->forward.operation.key = copy_into(message, sent->forward.operation.key);
	message->forward.operation.value = copy_into(message, sent->forward.operation.value);
	message->forward.operation.context = copy_into(message, sent->forward.operation.context);
	rpc_arena_unref(arena);
	return message;
}

/* What the driver answers when a forward cannot be sent, or nobody answers it. */
static void forward_failed(struct walk *walk, struct message *question, enum outcome outcome)
{
	struct message *answer = answer_to(question, MESSAGE_FORWARDED);
	answer->forwarded.result = (struct client_result){.outcome = outcome, .code = 14, .message = "nobody there"};
	send(walk, answer);
	message_free(question);
}

static void deliver(struct walk *walk, struct message *message)
{
	if (message->to.kind == ACTOR_REPLICA) {
		replica(walk, message);
	} else if (message->type == MESSAGE_FORWARDED && chance(walk, walk->weather->silent)) {
		message_free(message);
	} else if (message->type == MESSAGE_FORWARD && chance(walk, walk->weather->unreachable)) {
		forward_failed(walk, message, OUTCOME_REFUSED);
	} else if (message->type == MESSAGE_FORWARD && chance(walk, walk->weather->lost)) {
		forward_failed(walk, message, OUTCOME_IN_DOUBT);
	} else if (message->type == MESSAGE_FORWARD) {
		step(walk, node_index(message->to.node_id), EVENT_MESSAGE, over_the_wire(message));
		message_free(message);
	} else {
		step(walk, node_index(message->to.node_id), EVENT_MESSAGE, message);
	}
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static struct client_operation make_operation(struct walk *walk, struct arena *arena, uint64_t deadline_us)
{
	uint32_t index = walk->record_count++;
	struct record *record = &walk->records[index];
	*record = (struct record){
		.kind = chance(walk, 500) ? OPERATION_PUT : OPERATION_GET,
		.key = (unsigned)prng_below(&walk->prng, 1 + prng_below(&walk->prng, KEYS)), /* the first are hot */
		.quorum = (uint32_t)prng_below(&walk->prng, 4),
		.started_us = walk->now_us,
		.deadline_us = deadline_us,
	};
	if (walk->weather->ring_changes)
		record->quorum = 0;
	struct key_state *key = &walk->keys[record->key];
	struct client_operation operation = {.kind = record->kind, .key = slice(key->name), .quorum = record->quorum};
	operation.attempt = 1;
	operation_id_of(index, 1 + index, operation.operation_id);
	if (record->kind == OPERATION_GET) {
		record->floor_arena = rpc_arena_create(1024, SIZE_MAX);
		struct rpc_slice floor = {
			rpc_arena_copy(record->floor_arena, key->read_context, key->read_context_size),
			key->read_context_size};
		assert_int_equal(context_decode(floor, engine_key(walk, key, record->floor_arena), record->floor_arena,
						&record->floor, NULL),
				 0);
		return operation;
	}
	operation.value = (struct rpc_slice){rpc_arena_copy(arena, &index, sizeof index), sizeof index};
	if (chance(walk, 900)) /* some clients put blindly */
		operation.context =
			(struct rpc_slice){rpc_arena_copy(arena, key->context, key->context_size), key->context_size};
	return operation;
}

static void issue(struct walk *walk)
{
	struct arena *arena = rpc_arena_create(512, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_CLIENT);
	struct client_request *request = rpc_arena_zalloc(arena, sizeof *request);
	request->count = 1 + (uint32_t)prng_below(&walk->prng, BATCH_MAX);
	if (request->count > walk->record_capacity - walk->record_count)
		request->count = walk->record_capacity - walk->record_count;
	request->operations = rpc_arena_zalloc(arena, BATCH_MAX * sizeof *request->operations);
	request->results = rpc_arena_zalloc(arena, BATCH_MAX * sizeof *request->results);
	message->call_index = walk->record_count;
	message->client.request = request;
	message->deadline_us = walk->now_us + (chance(walk, 100) ? 2000 : 1 + prng_below(&walk->prng, 5 * SECOND_US));
	for (uint32_t i = 0; i < request->count; i++)
		request->operations[i] = make_operation(walk, arena, message->deadline_us);
	rpc_arena_unref(arena);
	step(walk, (unsigned)prng_below(&walk->prng, SCENE_NODES), EVENT_MESSAGE, message);
}

/* ---- the ring ---------------------------------------------------------------------------------------------------- */

static unsigned row_of(const struct walk *walk, const struct key_state *key, bool old, uint64_t *owners_out)
{
	const uint16_t *row;
	uint32_t partition = ring_partition_of(walk->document, "default", 7, key->name, strlen(key->name));
	uint32_t count = old ? ring_old_owners(walk->document, partition, 0, &row)
			     : ring_owners(walk->document, partition, 0, &row);
	for (uint32_t i = 0; i < count; i++)
		owners_out[i] = ring_member(walk->document, row[i])->id;
	return count;
}

static bool is_among(uint64_t id, const uint64_t *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static void copy_object(struct key_state *key, unsigned from, unsigned to)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct object old = load(key->stored[to], arena), incoming = load(key->stored[from], arena), merged;
	bool changed;
	assert_int_equal(object_merge(&old, &incoming, arena, &merged, &changed), 0);
	if (changed)
		save(&key->stored[to], &merged, arena);
	rpc_arena_unref(arena);
}

/* All have the step at which both sides are written: each new owner reads a majority of the old ones, drawn at random. */
static void copy_key(struct walk *walk, struct key_state *key)
{
	uint64_t old[SCENE_NODES], fresh[SCENE_NODES];
	unsigned olds = row_of(walk, key, true, old), freshes = row_of(walk, key, false, fresh);
	for (unsigned i = 0; i < freshes; i++) {
		if (is_among(fresh[i], old, olds) && freshes >= olds)
			continue;
		unsigned first = (unsigned)prng_below(&walk->prng, olds);
		for (unsigned j = 0; j < olds / 2 + 1; j++)
			copy_object(key, node_index(old[(first + j) % olds]), node_index(fresh[i]));
	}
}

/* All have the last step: who is no owner has nothing. */
static void drop_key(struct walk *walk, struct key_state *key)
{
	uint64_t owners[SCENE_NODES];
	unsigned count = row_of(walk, key, false, owners);
	for (unsigned i = 0; i < SCENE_NODES; i++) {
		if (is_among(scene_node(i + 1), owners, count))
			continue;
		free((void *)key->stored[i].data);
		key->stored[i] = (struct rpc_slice){0};
	}
}

static void publish_ring(struct walk *walk, unsigned node)
{
	struct ring_member_status status[SCENE_NODES] = {0};
	assert_int_equal(ring_table_publish(walk->rings[node], ring_of(walk, node), status), 0);
}

static struct ring_document *draw_change(struct walk *walk)
{
	static const char *const sets[] = {"12345", "1234", "345", "145", "123", "2", "45", "23", "1235"};
	struct ring_document *target =
		scene_claim(walk->document, sets[prng_below(&walk->prng, sizeof sets / sizeof *sets)], "");
	struct ring_document *next;
	struct ring_error why;
	assert_int_equal(ring_transition_begin(walk->document, target, &next, &why), 0);
	ring_document_destroy(&target);
	return next;
}

/* The next document is there; nobody has it yet. */
static void step_ring(struct walk *walk)
{
	struct ring_document *next;
	struct ring_error why;
	enum ring_transition transition = ring_transition(walk->document);
	for (unsigned i = 0; i < KEYS; i++) {
		if (transition == RING_WRITE_BOTH_READ_OLD)
			copy_key(walk, &walk->keys[i]);
		else if (transition == RING_STABLE)
			drop_key(walk, &walk->keys[i]);
	}
	if (transition == RING_STABLE)
		next = draw_change(walk);
	else
		assert_int_equal(ring_transition_next(walk->document, &next, &why), 0);
	ring_document_destroy(&walk->previous);
	walk->previous = walk->document;
	walk->document = next;
	memset(walk->adopted, 0, sizeof walk->adopted);
	walk->ring_steps++;
}

/* One more node hears of the newest document; when all have, the next step is made. */
static void move_ring(struct walk *walk)
{
	unsigned waiting[SCENE_NODES], count = 0;
	for (unsigned i = 0; i < SCENE_NODES; i++)
		if (!walk->adopted[i])
			waiting[count++] = i;
	if (count > 0) {
		unsigned node = waiting[prng_below(&walk->prng, count)];
		walk->adopted[node] = true;
		publish_ring(walk, node);
	} else {
		step_ring(walk);
	}
	walk->adopt_us = walk->now_us + 1 + prng_below(&walk->prng, chance(walk, 200) ? SECOND_US / 2 : SECOND_US / 50);
}

/* Every acknowledged write is known to each majority of the owners that reads go to. */
static void check_nothing_lost(struct walk *walk)
{
	for (unsigned i = 0; i < KEYS; i++) {
		struct key_state *key = &walk->keys[i];
		uint64_t owners[SCENE_NODES];
		bool old = ring_transition(walk->document) == RING_WRITE_BOTH_READ_OLD;
		unsigned count = row_of(walk, key, old, owners);
		for (unsigned j = 0; j < key->acked_count && j < ACKED_MAX; j++) {
			struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
			unsigned without = 0;
			for (unsigned k = 0; k < count; k++) {
				struct object object = load(key->stored[node_index(owners[k])], arena);
				without += !object_covers(&object, key->acked[j].dot);
			}
			assert_true(without < count / 2 + 1);
			rpc_arena_unref(arena);
		}
	}
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

static void begin(struct walk *walk, uint64_t seed, unsigned operations, const struct weather *weather)
{
	*walk = (struct walk){.weather = weather, .now_us = SECOND_US, .record_capacity = operations};
	prng_seed(&walk->prng, seed);
	walk->records = calloc(operations, sizeof *walk->records);
	walk->document = scene_document();
	walk->adopt_us = weather->ring_changes ? walk->now_us : UINT64_MAX;
	ring_reader_register();
	for (unsigned i = 0; i < SCENE_NODES; i++) {
		assert_int_equal(ring_table_create(scene_node(i + 1), &walk->rings[i]), 0);
		walk->adopted[i] = true;
		publish_ring(walk, i);
		struct coordinator_options options = {
			{scene_node(i + 1), ACTOR_COORDINATOR, 0}, SCENE_SHARDS, walk->rings[i]};
		assert_int_equal(coordinator_create(&options, &walk->coordinators[i]), 0);
		walk->timers_us[i] = UINT64_MAX;
	}
	for (unsigned i = 0; i < KEYS; i++) {
		struct key_state *key = &walk->keys[i];
		snprintf(key->name, sizeof key->name, "key%02u", i);
		key->owner_count = row_of(walk, key, false, key->owners);
		assert_int_equal(key->owner_count, 3);
	}
}

static void finish(struct walk *walk)
{
	for (unsigned i = 0; i < SCENE_NODES; i++) {
		assert_int_equal(walk->coordinators[i]->in_flight, 0);
		coordinator_destroy(&walk->coordinators[i]);
		ring_table_destroy(&walk->rings[i]);
		for (unsigned j = 0; j < KEYS; j++)
			free((void *)walk->keys[j].stored[i].data);
	}
	for (unsigned i = 0; i < walk->record_count; i++)
		assert_int_equal(walk->records[i].results, 1);
	ring_document_destroy(&walk->document);
	ring_document_destroy(&walk->previous);
	ring_reader_unregister();
	free(walk->records);
	free(walk->queue);
}

/* The next thing that happens: a delivery, a timer, or a client. False when nothing is left to happen. */
static bool happen(struct walk *walk, uint64_t *issue_us)
{
	unsigned timer = 0;
	for (unsigned i = 1; i < SCENE_NODES; i++)
		if (walk->timers_us[i] < walk->timers_us[timer])
			timer = i;
	uint64_t delivery_us = walk->queue_count ? walk->queue[0].due_us : UINT64_MAX;
	uint64_t client_us = walk->record_count < walk->record_capacity ? *issue_us : UINT64_MAX;
	uint64_t next_us = walk->timers_us[timer];
	next_us = delivery_us < next_us ? delivery_us : next_us;
	next_us = client_us < next_us ? client_us : next_us;
	if (next_us == UINT64_MAX)
		return false;
	next_us = walk->adopt_us < next_us ? walk->adopt_us : next_us;
	walk->now_us = next_us > walk->now_us ? next_us : walk->now_us;
	if (walk->adopt_us == next_us)
		move_ring(walk);
	else if (walk->timers_us[timer] == next_us) {
		step(walk, timer, EVENT_TIMER, NULL);
	} else if (delivery_us == next_us) {
		deliver(walk, dequeue(walk));
	} else {
		issue(walk);
		*issue_us = walk->now_us + 1 + prng_below(&walk->prng, 4000);
	}
	return true;
}

static void run(uint64_t seed, unsigned operations, const struct weather *weather)
{
	struct walk *walk = malloc(sizeof *walk);
	begin(walk, seed, operations, weather);
	uint64_t issue_us = walk->now_us;
	while (happen(walk, &issue_us))
		;
	print_message("seed %llu: %u done, %u absent, %u in doubt, %u refused\n", (unsigned long long)seed,
		      walk->outcomes[OUTCOME_DONE], walk->outcomes[OUTCOME_ABSENT], walk->outcomes[OUTCOME_IN_DOUBT],
		      walk->outcomes[OUTCOME_REFUSED]);
	assert_true(walk->outcomes[OUTCOME_DONE] > operations / 4); /* the walk went somewhere */
	if (weather->ring_changes) {
		print_message("%u steps of the ring\n", walk->ring_steps);
		assert_true(walk->ring_steps > operations / 1000);
		check_nothing_lost(walk);
	}
	finish(walk);
	free(walk);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void test_walk_in_a_storm(void **state)
{
	(void)state;
	run(from_environment("WALK_SEED", 1), (unsigned)from_environment("WALK_OPERATIONS", 100000), &storm);
}

static void test_walk_in_haze(void **state)
{
	(void)state;
	run(from_environment("WALK_SEED", 2), (unsigned)from_environment("WALK_OPERATIONS", 20000), &haze);
}

static void test_walk_while_the_ring_changes(void **state)
{
	(void)state;
	run(from_environment("WALK_SEED", 3), (unsigned)from_environment("WALK_OPERATIONS", 20000), &drift);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_while_the_ring_changes),
		cmocka_unit_test(test_walk_in_a_storm),
		cmocka_unit_test(test_walk_in_haze),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
