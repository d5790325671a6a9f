/* SPDX-License-Identifier: Apache-2.0 */
/* Objects against a model that remembers everything: replicas of one key, clients with contexts, syncs that are late,
 * doubled or lost.
 *
 * The model knows which writes a state has heard of and which writes each write superseded. From that follows what must
 * be live: all that was heard of and not superseded. The object has to come to the same with its vector alone. */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/actor/event.h"
#include "node/object/object.h"

enum { OPS_MAX = 512, REPLICAS_MAX = 5, CLIENTS = 4, FLIGHT_MAX = 8, NAMES = 16 };

static const struct rpc_slice key = {(const uint8_t *)"engine key", 10};

struct ops {
	uint64_t bits[OPS_MAX / 64];
};

static bool ops_has(const struct ops *ops, uint32_t op)
{
	return ops->bits[op / 64] >> (op % 64) & 1;
}

static void ops_add(struct ops *ops, uint32_t op)
{
	ops->bits[op / 64] |= UINT64_C(1) << (op % 64);
}

static void ops_unite(struct ops *ops, const struct ops *other)
{
	for (size_t i = 0; i < OPS_MAX / 64; i++)
		ops->bits[i] |= other->bits[i];
}

/* An object's bytes and the writes that it has heard of. */
struct snapshot {
	struct rpc_slice bytes;
	struct ops known;
};

struct store {
	struct snapshot state;
	uint64_t actor, counter;
	uint64_t names[NAMES]; /* actors it writes as, in turns: one shard each, say */
};

struct client {
	struct rpc_slice context;
	struct ops seen;
};

struct write {
	struct ops superseded;
	struct rpc_slice context;
	uint64_t begun_ms;
	uint32_t attempts;
	bool acknowledged; /* held by a replica that is never wiped */
};

struct faults {
	bool many_actors;     /* replicas write under several names: many vector entries, so truncation */
	bool retries;         /* the same operation again, through another replica */
	bool wipes;           /* replica 0 loses its disk */
	bool reuse_actor;     /* CANARY: and goes on under its old name, counting from 1 */
	bool per_key_counter; /* CANARY: counters of this key instead of this actor */
};

struct world {
	struct arena *arena;
	struct prng prng;
	struct faults faults;
	uint32_t replica_count, write_count;
	uint64_t now_ms, actors;
	struct store stores[REPLICAS_MAX];
	struct client clients[CLIENTS];
	struct write writes[OPS_MAX];
	struct snapshot flight[FLIGHT_MAX];
	uint32_t truncated, duplicates, superseded, refused;
	bool forgetful; /* an object has dropped something of its past, or a bug is planted */
};

static uint64_t draw(struct world *world, uint64_t bound)
{
	return prng_below(&world->prng, bound);
}

static struct object decode(struct world *world, struct rpc_slice bytes)
{
	struct object object = {0};
	struct rpc_error error;

	if (bytes.size > 0 && object_decode(bytes, world->arena, &object, &error))
		fail_msg("%s", error.text);
	return object;
}

static struct rpc_slice encode(struct world *world, const struct object *object)
{
	struct rpc_slice bytes = {0};

	assert_int_equal(object_encode(object, world->arena, &bytes), 0);
	return bytes;
}

static uint32_t count_repeated(const struct object *object)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < object->sibling_count; i++)
		n += object->siblings[i].repeated;
	for (uint32_t i = 0; i < object->past.count; i++)
		n += object->past.marks[i].repeated;
	return n;
}

static struct snapshot merge(struct world *world, const struct snapshot *a, const struct snapshot *b)
{
	struct object x = decode(world, a->bytes), y = decode(world, b->bytes), out;
	struct snapshot merged = *a;
	bool changed;

	assert_int_equal(object_merge(&x, &y, world->arena, &out, &changed), 0);
	/* Of objects that say the same, none knows more of the past but that an operation was repeated, unless one has
	 * forgotten (object.h). */
	bool differs = object_digest(&x) != object_digest(&out);
	assert_true(changed || !differs);
	if (changed && !differs)
		assert_true(world->forgetful || count_repeated(&out) > count_repeated(&x));
	merged.bytes = encode(world, &out);
	ops_unite(&merged.known, &b->known);
	return merged;
}

static struct rpc_slice empty(struct world *world)
{
	return encode(world, &(struct object){0});
}

static void take_new_actor(struct world *world, struct store *store)
{
	/* Not in order of age, so that no order of actors can help. */
	for (uint32_t i = 0; i < NAMES; i++)
		store->names[i] = (++world->actors * 0x9e3779b97f4a7c15u) | 1;
	store->actor = store->names[0];
	store->counter = 0;
}

static void world_open(struct world *world, struct arena *arena, uint64_t seed, struct faults faults)
{
	*world = (struct world){.arena = arena, .faults = faults, .now_ms = 1000};
	world->forgetful = faults.reuse_actor || faults.per_key_counter;
	prng_seed(&world->prng, seed);
	world->replica_count = 2 + (uint32_t)draw(world, REPLICAS_MAX - 1);
	for (uint32_t i = 0; i < world->replica_count; i++) {
		world->stores[i].state.bytes = empty(world);
		take_new_actor(world, &world->stores[i]);
	}
	for (uint32_t i = 0; i < FLIGHT_MAX; i++)
		world->flight[i].bytes = empty(world);
}

static void step_get(struct world *world)
{
	struct client *client = &world->clients[draw(world, CLIENTS)];
	struct snapshot merged = world->stores[draw(world, world->replica_count)].state;
	struct object object;

	if (draw(world, 2))
		merged = merge(world, &merged, &world->stores[draw(world, world->replica_count)].state);
	object = decode(world, merged.bytes);
	if (object.seen_count > CONTEXT_DOTS_MAX)
		return; /* the context would say less than the model */
	assert_int_equal(object_context(&object, key, 0, world->arena, &client->context), 0);
	client->seen = merged.known;
}

static void run_put(struct world *world, uint32_t op, struct store *store)
{
	struct object old = decode(world, store->state.bytes), out;
	struct write *write = &world->writes[op];
	struct context context;
	enum object_put_result result;
	struct dot dot;
	uint32_t truncated;
	struct sibling sibling = {.written_ms = world->now_ms};
	uint32_t *value = rpc_arena_copy(world->arena, &op, sizeof(op));

	sibling.value = (struct rpc_slice){(uint8_t *)value, sizeof(*value)};
	operation_id_of(op, write->begun_ms, sibling.operation_id);
	if (world->faults.per_key_counter)
		store->counter = object_actor_counter(&old, store->actor);
	sibling.dot = (struct dot){store->actor, ++store->counter};
	assert_int_equal(context_decode(write->context, key, world->arena, &context, NULL), 0);
	struct object_terms terms = {.now_ms = world->now_ms, .repeated = write->attempts++ > 0};
	int status = object_put(&old, &context, &sibling, &terms, world->arena, &out, &result, &dot, &truncated);

	if (status == -EEXIST && (world->faults.reuse_actor || world->faults.per_key_counter))
		return; /* noticed in time */
	assert_int_equal(status, 0);
	world->truncated += truncated;
	world->forgetful |= truncated > 0 || out.past.horizon_ms > 0;
	world->duplicates += result == OBJECT_PUT_DUPLICATE;
	world->superseded += result == OBJECT_PUT_SUPERSEDED;
	world->refused += result == OBJECT_PUT_TOO_OLD;
	if (result == OBJECT_PUT_TOO_OLD)
		return;
	assert_true(result == OBJECT_PUT_ADDED || result == OBJECT_PUT_DUPLICATE || result == OBJECT_PUT_SUPERSEDED);
	store->state.bytes = encode(world, &out);
	ops_unite(&store->state.known, &write->superseded);
	ops_add(&store->state.known, op);
	if (store != &world->stores[0])
		write->acknowledged = true;
}

static void step_put(struct world *world)
{
	struct client *client = &world->clients[draw(world, CLIENTS)];
	struct store *store = &world->stores[draw(world, world->replica_count)];
	uint32_t op = world->write_count;
	struct context context;
	struct object object;

	if (op == OPS_MAX)
		return;
	if (draw(world, 8) == 0)
		*client = (struct client){0}; /* a blind put */
	assert_int_equal(context_decode(client->context, key, world->arena, &context, NULL), 0);
	if (context.dot_count == CONTEXT_DOTS_MAX)
		return; /* the next answer would forget a dot */
	world->write_count++;
	world->writes[op] =
		(struct write){.superseded = client->seen, .context = client->context, .begun_ms = world->now_ms};
	run_put(world, op, store);
	object = decode(world, store->state.bytes);
	for (uint32_t i = 0; i < object.sibling_count; i++)
		if (memcmp(object.siblings[i].value.data, &op, sizeof(op)) == 0)
			assert_int_equal(context_with_dot(&context, object.siblings[i].dot,
							  sibling_mark(&object.siblings[i]), key, world->arena,
							  &client->context),
					 0);
	ops_add(&client->seen, op);
	world->flight[draw(world, FLIGHT_MAX)] = store->state;
}

static void step_retry(struct world *world)
{
	if (world->faults.retries && world->write_count > 0)
		run_put(world,
			world->write_count - 1 - (uint32_t)draw(world, world->write_count < 4 ? world->write_count : 4),
			&world->stores[draw(world, world->replica_count)]);
}

static void mark_acknowledged(struct world *world, const struct snapshot *state)
{
	for (uint32_t op = 0; op < world->write_count; op++)
		world->writes[op].acknowledged |= ops_has(&state->known, op);
}

static void step_sync(struct world *world)
{
	uint32_t to = (uint32_t)draw(world, world->replica_count);
	struct snapshot *message = &world->flight[draw(world, FLIGHT_MAX)];

	if (draw(world, 2))
		*message = world->stores[draw(world, world->replica_count)].state;
	world->stores[to].state = merge(world, &world->stores[to].state, message);
	if (to != 0)
		mark_acknowledged(world, &world->stores[to].state);
}

static void step_fault(struct world *world)
{
	struct store *store = &world->stores[draw(world, world->replica_count)];

	if (world->faults.many_actors)
		store->actor = store->names[draw(world, NAMES)];
	store = &world->stores[0];
	if (world->faults.wipes && draw(world, 3) == 0) {
		store->state = (struct snapshot){.bytes = empty(world)};
		if (world->faults.reuse_actor)
			store->counter = 0;
		else
			take_new_actor(world, store);
		/* Clients that hold a context of the wiped replica's own writes keep it: that must do no harm. */
	}
}

static void step(struct world *world)
{
	uint64_t what = draw(world, 16);

	world->now_ms += draw(world, 3);
	if (what < 4)
		step_get(world);
	else if (what < 9)
		step_put(world);
	else if (what < 13)
		step_sync(world);
	else if (what < 14)
		step_retry(world);
	else
		step_fault(world);
}

static struct ops live_of(struct world *world, const struct snapshot *state)
{
	struct object object = decode(world, state->bytes);
	struct ops live = {0};
	uint32_t op;

	for (uint32_t i = 0; i < object.sibling_count; i++) {
		memcpy(&op, object.siblings[i].value.data, sizeof(op));
		assert_false(ops_has(&live, op)); /* O2 */
		ops_add(&live, op);
	}
	return live;
}

static bool is_superseded(const struct world *world, const struct ops *known, uint32_t op)
{
	for (uint32_t by = 0; by < world->write_count; by++)
		if (ops_has(known, by) && ops_has(&world->writes[by].superseded, op))
			return true;
	return false;
}

static void assert_exact(struct world *world, const struct snapshot *state)
{
	struct ops live = live_of(world, state);

	for (uint32_t op = 0; op < world->write_count; op++)
		assert_int_equal(ops_has(&live, op),
				 ops_has(&state->known, op) && !is_superseded(world, &state->known, op));
}

static struct snapshot merge_all(struct world *world)
{
	struct snapshot all = world->stores[0].state;

	for (uint32_t i = 1; i < world->replica_count; i++)
		all = merge(world, &all, &world->stores[i].state);
	return all;
}

static uint32_t count_lost(struct world *world)
{
	struct snapshot all = merge_all(world);
	struct ops live = live_of(world, &all);
	uint32_t lost = 0;

	for (uint32_t op = 0; op < world->write_count; op++)
		lost += world->writes[op].acknowledged && !ops_has(&live, op) && !is_superseded(world, &all.known, op);
	return lost;
}

struct totals {
	uint32_t lost, writes, truncated, duplicates;
};

static struct totals run_worlds(uint32_t seeds, uint32_t steps, struct faults faults)
{
	struct totals totals = {0};

	for (uint32_t seed = 0; seed < seeds; seed++) {
		struct arena *arena = rpc_arena_create(1 << 16, SIZE_MAX);
		struct world world;

		world_open(&world, arena, seed, faults);
		for (uint32_t i = 0; i < steps; i++)
			step(&world);
		totals.lost += count_lost(&world);
		totals.writes += world.write_count;
		totals.truncated += world.truncated;
		totals.duplicates += world.duplicates;
		rpc_arena_unref(arena);
	}
	return totals;
}

/* With few actors nothing is forgotten: no write is lost and no superseded one comes back, at any replica after any
 * step, however often and late an operation is attempted. */
static void test_every_state_is_exact(void **state)
{
	uint32_t superseded = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 800; seed++) {
		struct arena *arena = rpc_arena_create(1 << 16, SIZE_MAX);
		struct world world;

		world_open(&world, arena, seed, (struct faults){.retries = seed % 2});
		for (uint32_t i = 0; i < 120; i++) {
			step(&world);
			for (uint32_t r = 0; r < world.replica_count; r++)
				assert_exact(&world, &world.stores[r].state);
		}
		assert_int_equal(world.truncated, 0);
		superseded += world.superseded;
		rpc_arena_unref(arena);
	}
	assert_in_range(superseded, 300, UINT32_MAX);
}

static void test_truncation_loses_nothing(void **state)
{
	struct totals totals = run_worlds(300, 1200, (struct faults){.many_actors = true, .retries = true});

	(void)state;
	assert_int_equal(totals.lost, 0);
	assert_in_range(totals.writes, 50000, UINT32_MAX); /* the model did run into what it is about */
	assert_in_range(totals.truncated, 1000, UINT32_MAX);
	assert_in_range(totals.duplicates, 500, UINT32_MAX);
}

static void test_lost_disk_with_new_actor_loses_nothing_acknowledged(void **state)
{
	struct totals totals = run_worlds(1000, 160, (struct faults){.wipes = true, .retries = true});

	(void)state;
	assert_int_equal(totals.lost, 0);
}

/* The model can see a loss: the two designs that node/ALGORITHMS.md, Versions, rejects do lose writes in it. */
static void test_canary_reused_actor_loses_writes(void **state)
{
	struct totals totals = run_worlds(300, 160, (struct faults){.wipes = true, .reuse_actor = true});

	(void)state;
	assert_in_range(totals.lost, 1, UINT32_MAX);
}

static void test_canary_per_key_counters_lose_writes(void **state)
{
	struct totals totals = run_worlds(300, 1200, (struct faults){.many_actors = true, .per_key_counter = true});

	(void)state;
	assert_in_range(totals.lost, 1, UINT32_MAX);
}

static void assert_same(const struct snapshot *a, const struct snapshot *b)
{
	assert_slice_equal(a->bytes, b->bytes);
}

/* O1 on triples of states of one history, with truncation and retries in it. */
static void test_merge_laws(void **state)
{
	uint32_t associative = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct arena *arena = rpc_arena_create(1 << 16, SIZE_MAX);
		struct snapshot states[24];
		struct world world;

		world_open(&world, arena, seed,
			   (struct faults){.many_actors = seed % 2, .retries = true, .wipes = seed % 3 == 0});
		for (uint32_t i = 0; i < 24; i++) {
			for (uint32_t j = 0; j < 6; j++)
				step(&world);
			states[i] = world.stores[draw(&world, world.replica_count)].state;
		}
		for (uint32_t i = 0; i < 60; i++) {
			struct snapshot *a = &states[draw(&world, 24)], *b = &states[draw(&world, 24)],
					*c = &states[draw(&world, 24)];
			struct snapshot ab = merge(&world, a, b), ba = merge(&world, b, a), bc = merge(&world, b, c);
			struct snapshot ab_c = merge(&world, &ab, c), a_bc = merge(&world, a, &bc),
					aa = merge(&world, a, a);
			struct snapshot ab_b = merge(&world, &ab, b);

			assert_same(&ab, &ba);
			if (decode(&world, ab_c.bytes).past.horizon_ms == 0) {
				assert_same(&ab_c, &a_bc);
				associative++;
			}
			assert_same(&aa, a);
			assert_same(&ab_b, &ab);
		}
		rpc_arena_unref(arena);
	}
	assert_in_range(associative, 10000, UINT32_MAX);
}

/* O3, O4 and O5 on everything that the histories above hold. */
static void test_structure(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct arena *arena = rpc_arena_create(1 << 16, SIZE_MAX);
		struct world world;

		world_open(&world, arena, seed, (struct faults){.many_actors = true, .retries = true});
		for (uint32_t i = 0; i < 150; i++) {
			struct store *store = &world.stores[draw(&world, world.replica_count)];
			struct object object;

			step(&world);
			object = decode(&world, store->state.bytes);
			for (uint32_t s = 0; s < object.sibling_count; s++)
				assert_true(version_covers(&object.vector, object.siblings[s].dot));
			for (uint32_t s = 0; s < object.seen_count; s++)
				assert_false(version_covers(&object.vector, object.seen[s]));
			assert_slice_equal(encode(&world, &object), store->state.bytes);
		}
		rpc_arena_unref(arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_state_is_exact),
		cmocka_unit_test(test_truncation_loses_nothing),
		cmocka_unit_test(test_lost_disk_with_new_actor_loses_nothing_acknowledged),
		cmocka_unit_test(test_canary_reused_actor_loses_writes),
		cmocka_unit_test(test_canary_per_key_counters_lose_writes),
		cmocka_unit_test(test_merge_laws),
		cmocka_unit_test(test_structure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
