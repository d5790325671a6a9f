/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/upkeep/town.h"

#include <errno.h>
#include <stdlib.h>
#include "node/wire/codec.h"

enum { LOCAL_US = 20, REMOTE_US = 200, COMMIT_US = 1000, TESTER_KIND = ACTOR_KIND_COUNT };

struct town *town;

/* Something on its way. */
struct flight {
	struct flight *next;
	uint64_t due_us, number;
	struct house *to;
	uint32_t boot;           /* of `to`: a later life does not get it */
	struct message *message; /* to an actor of `to`; or */
	struct pack *pack;       /* bytes; or neither: a commit of this shard is done */
	uint32_t shard;
};

/* A question to another node, or its answer. The asking node keeps the question. */
struct pack {
	struct house *asker;
	uint32_t asker_boot;
	struct message *question; /* the asker's */
	enum method method;
	bool is_answer;
	struct rpc_message *bytes;
	struct house *holder; /* who works on the answer; NULL: it is on its way */
	struct pack *next;    /* of all */
};

static struct pack *packs;

uint64_t id_of(unsigned number)
{
	return 100 + number;
}

struct house *house(unsigned number)
{
	return &town->houses[number];
}

static struct house *house_of(uint64_t id)
{
	return id > 100 && id <= 100 + TOWN_NODES ? &town->houses[id - 100] : NULL;
}

/* ---- flights --------------------------------------------------------------------------------------------------- */

static struct flight *fly(struct house *to, uint64_t delay_us)
{
	struct flight *flight = calloc(1, sizeof *flight), **link = &town->flights;
	flight->due_us = town->now_us + delay_us;
	flight->number = ++town->flight_number;
	flight->to = to;
	flight->boot = to->boot;
	while (*link != NULL && (*link)->due_us <= flight->due_us)
		link = &(*link)->next;
	flight->next = *link;
	*link = flight;
	return flight;
}

static void free_pack(struct pack *pack)
{
	struct pack **link = &packs;
	if (pack == NULL)
		return;
	while (*link != pack)
		link = &(*link)->next;
	*link = pack->next;
	rpc_message_free(pack->bytes);
	free(pack);
}

static void deliver(struct house *from, struct effects *effects);

/* An answer that says that nobody gave one. */
static void answer_for(struct pack *pack, enum replica_status status)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	if (pack->asker->boot == pack->asker_boot && pack->asker->alive)
		fly(pack->asker, LOCAL_US)->message = codec_peer_failed(pack->question, status, arena);
	rpc_arena_unref(arena);
	message_free(pack->question);
	free_pack(pack);
}

static void ask(struct house *from, struct message *question)
{
	struct house *to = house_of(question->to.node_id);
	struct arena *scratch = rpc_arena_create(1024, SIZE_MAX);
	struct pack *pack = calloc(1, sizeof *pack);
	*pack = (struct pack){from, from->boot, question, codec_peer_method(question), false, NULL, NULL, packs};
	packs = pack;
	assert_int_equal(codec_peer_encode(question, 1, 5000, 1, scratch, &pack->bytes), 0);
	rpc_arena_unref(scratch);
	if (!to->alive || to->cut || from->cut)
		answer_for(pack, REPLICA_UNREACHABLE);
	else
		fly(to, REMOTE_US)->pack = pack;
}

static void accept_pack(struct house *to, struct pack *pack)
{
	struct rpc_request request;
	struct rpc_error why;
	struct message *first;
	uint32_t count;
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	assert_int_equal(rpc_request_decode(rpc_message_bytes(pack->bytes), &request, &why), 0);
	assert_int_equal(codec_peer_decode(pack->method, &request, pack, town->now_us + 5 * SECOND_US, arena, &first,
					   &count, &why),
			 0);
	rpc_arena_unref(arena);
	assert_int_equal(count, 1);
	first->to.node_id = id_of(to->number);
	to->scans += first->type == MESSAGE_SCAN;
	to->fetches += first->type == MESSAGE_FETCH;
	pack->holder = to;
	fly(to, LOCAL_US)->message = first;
}

static void send_answer(struct house *from, struct message *answer)
{
	struct pack *pack = answer->call;
	struct arena *scratch = rpc_arena_create(1024, SIZE_MAX);
	pack->holder = NULL;
	rpc_message_free(pack->bytes);
	assert_int_equal(
		codec_peer_encode_answers(pack->method, &answer, 1, ring_epoch(from->document), scratch, &pack->bytes),
		0);
	rpc_arena_unref(scratch);
	message_free(answer);
	assert_true(rpc_message_bytes(pack->bytes).size <= RPC_PEER_MESSAGE_MAX);
	pack->is_answer = true;
	if (pack->method == METHOD_SCAN)
		pack->asker->scanned_bytes += rpc_message_bytes(pack->bytes).size;
	struct flight *flight = fly(pack->asker, REMOTE_US);
	flight->boot = pack->asker_boot;
	flight->pack = pack;
}

static void take_answer(struct house *to, struct pack *pack)
{
	struct rpc_response response;
	struct rpc_error why;
	struct message *first;
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	assert_int_equal(rpc_response_decode(rpc_message_bytes(pack->bytes), &response, &why), 0);
	assert_int_equal(codec_peer_decode_answers(pack->method, pack->question, &response, arena, &first, &why), 0);
	rpc_arena_unref(arena);
	message_free(pack->question);
	free_pack(pack);
	fly(to, LOCAL_US)->message = first;
}

/* ---- stepping -------------------------------------------------------------------------------------------------- */

static void step(struct house *self, enum actor_kind kind, uint32_t index, struct event event)
{
	struct effects effects;
	event.now_us = town->now_us;
	event.now_ms = town->now_ms + town->now_us / 1000;
	effects_init(&effects, rpc_arena_create(1024, SIZE_MAX));
	if (kind == ACTOR_UPKEEP) {
		self->upkeep_steps++;
		upkeep_step(self->upkeep, &event, &effects);
		self->upkeep_messages += effects.messages.count;
		self->timer_us[TOWN_SHARDS] = effects.timer_us;
	} else {
		replica_step(self->replicas[index], &event, &effects);
		self->timer_us[index] = effects.timer_us;
	}
	for (const struct note *note = effects.first_note; note != NULL; note = note->next)
		self->notes[note->kind]++;
	deliver(self, &effects);
	if (effects.sync) {
		assert_false(self->syncing[index]);
		self->syncing[index] = true;
		fly(self, COMMIT_US)->shard = index;
	}
	for (uint32_t i = 0; i < effects.job_count; i++) {
		engine_job_run(effects.jobs[i]);
		step(self, kind, index, (struct event){.type = EVENT_JOB_DONE, .job = effects.jobs[i]});
	}
	rpc_arena_unref(effects.arena);
}

static void take_ready(struct house *self, struct message *ready)
{
	self->ready_epoch = ready->ready.epoch;
	self->ready_hash = ready->ready.hash;
	self->ready_count++;
	message_free(ready);
}

static void take_tested(struct message *answer)
{
	town->status = answer->status;
	town->stored += answer->status == REPLICA_OK;
	town->refused += answer->status != REPLICA_OK;
	message_free(town->answer);
	town->answer = answer;
}

static void deliver(struct house *from, struct effects *effects)
{
	struct message *message;
	while ((message = message_list_take(&effects->messages)) != NULL) {
		if (message->call != NULL)
			send_answer(from, message);
		else if (message->to.kind == TESTER_KIND)
			take_tested(message);
		else if (message->type == MESSAGE_READY)
			take_ready(from, message);
		else if (message->to.kind == ACTOR_GOSSIP) /* BEHIND: the test hands out rings */
			message_free(message);
		else if (message->to.node_id == id_of(from->number))
			fly(from, LOCAL_US)->message = message;
		else
			ask(from, message);
	}
}

static uint32_t shard_of(const struct message *message)
{
	return key_partition(message->key) % TOWN_SHARDS;
}

static void hand_over(struct house *to, struct message *message)
{
	enum actor_kind kind = message->to.kind == ACTOR_REPLICA ? ACTOR_REPLICA : ACTOR_UPKEEP;
	uint32_t index = kind == ACTOR_REPLICA ? shard_of(message) : 0;
	if (town->watch != NULL && !town->watch(to, message)) {
		message_free(message);
		return;
	}
	if (!to->alive) { /* the watch took its power */
		message_free(message);
		return;
	}
	assert_true(kind == ACTOR_REPLICA || message_is_for(message->type, ACTOR_UPKEEP));
	step(to, kind, index, (struct event){.type = EVENT_MESSAGE, .message = message});
	step(to, kind, index, (struct event){.type = EVENT_BATCH_END});
}

static void commit(struct house *self, uint32_t shard)
{
	self->syncing[shard] = false;
	int status = shard_commit(engine_shard(self->engine, shard), ENGINE_SYNC_EACH);
	step(self, ACTOR_REPLICA, shard, (struct event){.type = EVENT_SYNCED, .status = status});
}

static void land(struct flight *flight)
{
	struct house *to = flight->to;
	bool there = to->alive && to->boot == flight->boot;
	if (flight->pack != NULL && flight->pack->is_answer && !there) {
		message_free(flight->pack->question);
		free_pack(flight->pack);
	} else if (flight->pack != NULL && (!there || to->cut)) {
		answer_for(flight->pack, REPLICA_LOST);
	} else if (flight->pack != NULL) {
		(flight->pack->is_answer ? take_answer : accept_pack)(to, flight->pack);
	} else if (flight->message != NULL) {
		assert_true(there); /* forgotten with the node */
		hand_over(to, flight->message);
	} else if (there) {
		commit(to, flight->shard);
	}
	free(flight);
}

/* The next timer of anybody. */
static uint64_t next_timer(struct house **house_out, uint32_t *actor_out)
{
	uint64_t timer_us = UINT64_MAX;
	for (unsigned i = 1; i <= TOWN_NODES; i++)
		for (uint32_t j = 0; house(i)->alive && j <= TOWN_SHARDS; j++)
			if (house(i)->timer_us[j] < timer_us) {
				timer_us = house(i)->timer_us[j];
				*house_out = house(i);
				*actor_out = j;
			}
	return timer_us;
}

bool town_advance(uint64_t until_us)
{
	struct house *self = NULL;
	uint32_t actor = 0;
	uint64_t timer_us = next_timer(&self, &actor);
	struct flight *flight = town->flights;
	uint64_t due_us = flight != NULL && flight->due_us < timer_us ? flight->due_us : timer_us;
	if (due_us > until_us) {
		town->now_us = until_us;
		return false;
	}
	town->now_us = due_us > town->now_us ? due_us : town->now_us;
	if (flight != NULL && flight->due_us <= timer_us) {
		town->flights = flight->next;
		land(flight);
	} else {
		step(self, actor < TOWN_SHARDS ? ACTOR_REPLICA : ACTOR_UPKEEP, actor < TOWN_SHARDS ? actor : 0,
		     (struct event){.type = EVENT_TIMER});
	}
	return true;
}

void town_run(uint64_t us)
{
	uint64_t until_us = town->now_us + us;
	while (town_advance(until_us))
		;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static uint32_t read_load(void *arg)
{
	return ((struct house *)arg)->load_permille;
}

static void open_engine(struct house *self)
{
	struct engine_options options;
	struct engine_error why;
	engine_options_default(&options);
	options.fs = sim_fs_table(self->disk);
	options.directory = data_dir_engine_directory(self->data_dir);
	options.create_if_missing = true;
	options.shard_count = TOWN_SHARDS;
	options.hash_entry = replica_hash_entry;
	options.cache_bytes = 1 << 20;
	options.memtable_bytes = 8 << 20;
	if (engine_open(&options, &self->engine, &why) != 0)
		fail_msg("engine_open: %s", why.text);
}

static void open_actors(struct house *self)
{
	struct rpc_error error;
	struct upkeep_options upkeep = {
		.self = {id_of(self->number), ACTOR_UPKEEP, 0},
		.shard_count = TOWN_SHARDS,
		.ring = self->ring,
		.data_dir = self->data_dir,
		.transfer_bytes_per_s = town->rate,
		.distrusted = data_dir_is_receiving(self->data_dir),
		.read_busy = read_load,
		.read_busy_arg = self,
	};
	for (uint32_t i = 0; i < TOWN_SHARDS; i++) {
		struct replica_options replica = {
			.self = {id_of(self->number), ACTOR_REPLICA, (uint16_t)i},
			.shard = engine_shard(self->engine, i),
			.shard_count = TOWN_SHARDS,
			.ring = self->ring,
			.seed = prng_next(&town->prng),
			.job_limit = 2,
		};
		assert_int_equal(replica_create(&replica, &self->replicas[i], &error), 0);
	}
	assert_int_equal(upkeep_create(&upkeep, &self->upkeep), 0);
}

void house_open(unsigned number)
{
	struct house *self = house(number);
	struct rpc_error error;
	self->number = number;
	if (self->disk == NULL)
		sim_fs_create(number, &self->disk);
	if (data_dir_open(sim_fs_table(self->disk), "/n", id_of(number), &self->data_dir, &error) != 0)
		fail_msg("%s", error.text);
	open_engine(self);
	assert_int_equal(ring_table_create(id_of(number), &self->ring), 0);
	self->alive = true;
	self->ready_epoch = self->ready_hash = 0;
	for (uint32_t i = 0; i <= TOWN_SHARDS; i++)
		self->timer_us[i] = UINT64_MAX;
	memset(self->syncing, 0, sizeof self->syncing);
	open_actors(self);
	if (self->document != NULL)
		town_gossip();
	for (uint32_t i = 0; i < TOWN_SHARDS; i++)
		step(self, ACTOR_REPLICA, i, (struct event){.type = EVENT_START});
	step(self, ACTOR_UPKEEP, 0, (struct event){.type = EVENT_START});
}

/* What is on its way to it goes with it; questions of others are lost. */
static void forget_flights(struct house *self)
{
	for (struct flight *flight = town->flights; flight != NULL; flight = flight->next)
		if (flight->to == self && flight->message != NULL) {
			message_free(flight->message);
			flight->message = NULL; /* lands as a commit of nobody */
		}
	for (struct pack *pack = packs, *next; pack != NULL; pack = next) {
		next = pack->next;
		if (pack->holder == self)
			answer_for(pack, REPLICA_LOST);
	}
}

static void bury(struct house *self)
{
	self->alive = false;
	self->boot++;
	forget_flights(self);
	upkeep_destroy(&self->upkeep);
	for (uint32_t i = 0; i < TOWN_SHARDS; i++)
		replica_destroy(&self->replicas[i]);
	(void)!engine_close(&self->engine);
	data_dir_close(&self->data_dir);
	ring_table_destroy(&self->ring);
}

void house_stop(unsigned number)
{
	bury(house(number));
}

void house_crash(unsigned number)
{
	sim_fs_crash(house(number)->disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, number});
	bury(house(number));
	sim_fs_restart(house(number)->disk);
}

void house_start(unsigned number)
{
	house_open(number);
}

void town_begin(void)
{
	ring_reader_register();
	town = calloc(1, sizeof *town);
	town->now_us = SECOND_US;
	town->now_ms = 1700000000000;
	town->arena = rpc_arena_create(4096, SIZE_MAX);
	prng_seed(&town->prng, 7);
	for (unsigned i = 1; i <= TOWN_NODES; i++)
		house_open(i);
}

void town_end(void)
{
	for (unsigned i = 1; i <= TOWN_NODES; i++) {
		if (house(i)->alive)
			bury(house(i));
		sim_fs_destroy(&house(i)->disk);
		ring_document_destroy(&house(i)->document);
	}
	for (struct flight *flight = town->flights, *next; flight != NULL; flight = next) {
		next = flight->next;
		message_free(flight->message);
		free(flight);
	}
	while (packs != NULL) {
		message_free(packs->question);
		free_pack(packs);
	}
	message_free(town->answer);
	rpc_arena_unref(town->arena);
	free(town);
	town = NULL;
	ring_reader_unregister();
}

/* ---- the ring -------------------------------------------------------------------------------------------------- */

static void fill_member(struct ring_member *member, unsigned number)
{
	*member = (struct ring_member){.id = id_of(number), .weight = RING_WEIGHT_DEFAULT, .state = RING_MEMBER_ACTIVE};
	bool far = town->far != 0 && number >= town->far;
	snprintf(member->datacenter, sizeof member->datacenter, "%s", far ? "dc2" : "dc1");
	snprintf(member->name, sizeof member->name, "n%u", number);
	snprintf(member->rack, sizeof member->rack, "r%u", number);
	snprintf(member->client_address, sizeof member->client_address, "10.0.0.%u:1", number);
	snprintf(member->peer_address, sizeof member->peer_address, "10.0.0.%u:2", number);
	snprintf(member->bus_address, sizeof member->bus_address, "10.0.0.%u:3", number);
}

/* A number from 100 on is a node that leaves: a member without partitions. */
struct ring_document *town_claim(const struct ring_document *previous, uint32_t replicas, const unsigned *numbers)
{
	struct ring_member members[TOWN_NODES];
	struct ring_datacenter datacenters[] = {{.name = "dc1", .replica_count = replicas},
						{.name = "dc2", .replica_count = replicas}};
	struct ring_plan plan = {.cluster_id = 7,
				 .hash_seed = 11,
				 .partition_count = TOWN_PARTITIONS,
				 .datacenters = datacenters,
				 .datacenter_count = town->far != 0 ? 2 : 1,
				 .members = members};
	struct ring_document *document;
	struct ring_error why;
	for (; *numbers != 0; numbers++) {
		fill_member(&members[plan.member_count], *numbers % 100);
		if (*numbers >= 100)
			members[plan.member_count].state = RING_MEMBER_LEAVING;
		plan.member_count++;
	}
	if (ring_claim(previous, &plan, &document, &why) != 0)
		fail_msg("%s", why.text);
	return document;
}

struct ring_document *town_change(const struct ring_document *stable, const struct ring_document *target)
{
	struct ring_document *document;
	struct ring_error why;
	if (ring_transition_begin(stable, target, &document, &why) != 0)
		fail_msg("%s", why.text);
	return document;
}

struct ring_document *town_next(const struct ring_document *from)
{
	struct ring_document *document;
	struct ring_error why;
	if (ring_transition_next(from, &document, &why) != 0)
		fail_msg("%s", why.text);
	return document;
}

static void fill_status(const struct house *observer, const struct ring_document *document,
			struct ring_member_status *status)
{
	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		const struct house *member = house_of(ring_member(document, i)->id);
		bool up = member == observer || (member->alive && !member->cut && !observer->cut);
		status[i] = (struct ring_member_status){
			.reachability = up ? RING_UP : RING_DOWN,
			.epoch = member->document != NULL ? ring_epoch(member->document) : 0,
			.unproven = member->unproven,
			.figures.load_permille = member->load_permille,
		};
	}
}

void town_gossip(void)
{
	for (unsigned i = 1; i <= TOWN_NODES; i++) {
		struct ring_member_status status[TOWN_NODES];
		if (!house(i)->alive || house(i)->document == NULL)
			continue;
		fill_status(house(i), house(i)->document, status);
		assert_int_equal(ring_table_publish(house(i)->ring, house(i)->document, status), 0);
	}
}

static void tell_ring(struct house *self)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_RING);
	rpc_arena_unref(arena);
	message->to = (struct address){id_of(self->number), ACTOR_UPKEEP, 0};
	fly(self, LOCAL_US)->message = message;
}

void town_adopt(unsigned number, const struct ring_document *document)
{
	ring_document_destroy(&house(number)->document);
	house(number)->document = ring_document_ref(document);
	town_gossip();
	if (house(number)->alive)
		tell_ring(house(number));
}

void town_adopt_all(const struct ring_document *document)
{
	for (uint32_t i = 0; i < ring_member_count(document); i++)
		town_adopt(house_of(ring_member(document, i)->id)->number, document);
}

static bool is_owner(const struct ring_document *document, unsigned number, uint16_t partition,
		     uint32_t (*row_of)(const struct ring_document *, uint32_t, uint32_t, const uint16_t **))
{
	const uint16_t *row;
	uint32_t count = row_of(document, partition, 0, &row);
	for (uint32_t i = 0; i < count; i++)
		if (ring_member(document, row[i])->id == id_of(number))
			return true;
	return false;
}

bool town_owns(const struct ring_document *document, unsigned number, uint16_t partition)
{
	return is_owner(document, number, partition, ring_owners);
}

bool town_owned(const struct ring_document *document, unsigned number, uint16_t partition)
{
	return is_owner(document, number, partition, ring_old_owners);
}

/* ---- data ------------------------------------------------------------------------------------------------------ */

struct rpc_slice town_key(uint16_t partition, unsigned number)
{
	struct rpc_slice key;
	const struct ring_document *document = NULL;
	for (unsigned i = 1; document == NULL; i++)
		document = house(i)->document;
	for (unsigned i = 0;; i++) {
		char name[32];
		snprintf(name, sizeof name, "key%u.%u", number, i);
		if (ring_partition_of(document, "default", 7, name, strlen(name)) != partition)
			continue;
		assert_int_equal(key_encode(partition, slice("default"), slice(name), town->arena, &key), 0);
		return key;
	}
}

static struct object decoded(struct rpc_slice bytes)
{
	struct object object = {0};
	if (bytes.size > 0)
		assert_int_equal(object_decode(bytes, town->arena, &object, NULL), 0);
	return object;
}

static struct rpc_slice encoded(const struct object *object)
{
	struct rpc_slice bytes;
	assert_int_equal(object_encode(object, town->arena, &bytes), 0);
	return bytes;
}

struct rpc_slice town_object(struct rpc_slice old_bytes, bool over, unsigned node, uint64_t counter,
			     struct rpc_slice value)
{
	struct object old = decoded(old_bytes), fresh;
	struct context context = {0};
	struct sibling sibling = {
		.dot = {1000 + node, counter},
		.flags = value.size > 0 ? 0 : SIBLING_TOMBSTONE,
		.value = value,
	};
	struct dot dot;
	enum object_put_result result;
	uint32_t truncated;
	if (over)
		context.vector = old.vector;
	operation_id_of((uint32_t)(node << 24 | counter), town->now_ms, sibling.operation_id);
	assert_int_equal(object_put(&old, &context, &sibling, &(struct object_terms){.now_ms = town->now_ms},
				    town->arena, &fresh, &result, &dot, &truncated),
			 0);
	assert_int_equal(result, OBJECT_PUT_ADDED);
	return encoded(&fresh);
}

struct rpc_slice town_merge(struct rpc_slice a_bytes, struct rpc_slice b_bytes)
{
	struct object a = decoded(a_bytes), b = decoded(b_bytes), merged;
	bool changed;
	assert_int_equal(object_merge(&a, &b, town->arena, &merged, &changed), 0);
	return encoded(&merged);
}

struct rpc_slice town_value(size_t size, uint64_t seed)
{
	struct prng prng;
	uint8_t *bytes = rpc_arena_alloc(town->arena, size);
	prng_seed(&prng, seed);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)prng_next(&prng);
	return (struct rpc_slice){bytes, size};
}

static void try_store(unsigned number, struct rpc_slice key, struct rpc_slice object)
{
	struct house *self = house(number);
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_STORE);
	uint32_t before = town->stored + town->refused;
	rpc_arena_unref(arena);
	message->from = (struct address){1, TESTER_KIND, 0};
	message->to = (struct address){id_of(number), ACTOR_REPLICA, 0};
	message->epoch = ring_epoch(self->document);
	message->key = key;
	message->store.object = object;
	message_pin(message, town->arena);
	step(self, ACTOR_REPLICA, shard_of(message), (struct event){.type = EVENT_MESSAGE, .message = message});
	step(self, ACTOR_REPLICA, key_partition(key) % TOWN_SHARDS, (struct event){.type = EVENT_BATCH_END});
	town_until(town->stored + town->refused > before, 10);
}

void town_store(unsigned number, struct rpc_slice key, struct rpc_slice object)
{
	try_store(number, key, object);
	for (unsigned i = 0; i < 100 && town->status == REPLICA_OVERLOADED; i++) {
		town_run(100 * 1000); /* a flush makes room */
		try_store(number, key, object);
	}
	assert_int_equal(town->status, REPLICA_OK);
}

void town_flush(unsigned number)
{
	struct house *self = house(number);
	for (uint32_t i = 0; i < TOWN_SHARDS; i++) {
		assert_int_equal(shard_request_flush(engine_shard(self->engine, i)), 0);
		step(self, ACTOR_REPLICA, i, (struct event){.type = EVENT_BATCH_END});
	}
}

struct rpc_slice town_read(unsigned number, struct rpc_slice key)
{
	struct engine_value value = {0};
	struct shard *shard = engine_shard(house(number)->engine, key_partition(key) % TOWN_SHARDS);
	int found = shard_get(shard, (struct engine_slice){key.data, key.size}, &value);
	struct rpc_slice bytes = {0};
	assert_true(found >= 0);
	if (found > 0)
		bytes = (struct rpc_slice){rpc_arena_copy(town->arena, value.data, value.size), value.size};
	if (found > 0)
		engine_value_release(&value);
	return bytes;
}

bool town_same(struct rpc_slice a_bytes, struct rpc_slice b_bytes)
{
	if (a_bytes.size == 0 || b_bytes.size == 0)
		return a_bytes.size == b_bytes.size;
	struct object a = decoded(a_bytes), b = decoded(b_bytes);
	return object_digest(&a) == object_digest(&b);
}

uint64_t town_root(unsigned number, uint16_t partition)
{
	return shard_tree_node(engine_shard(house(number)->engine, partition % TOWN_SHARDS), partition, 0, 0);
}
