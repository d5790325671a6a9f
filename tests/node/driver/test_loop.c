/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of one thread that hosts one replica over the real engine and a real directory. The test is everybody else: it
 * asks by the replica's mailbox, or as a peer by a connection, and reads the answers out of the coordinator's, and no ticker runs. So nothing but the
 * batch that made an answer can have sent it: an answer that waits for a later batch never comes. */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "engine/fs.h"
#include "engine/pool.h"
#include "node/driver/hub.h"
#include "node/driver/inbound.h"
#include "node/driver/loop.h"
#include "node/driver/ticker.h"
#include "node/object/key.h"
#include "node/object/limit.h"
#include "tests/node/support.h"

enum {
	PATIENCE_US = 10 * 1000 * 1000,
	NODE = 1,
	VALUE_SIZE = 16 * 1024,
	MEMTABLE_SIZE = 64 * 1024,
	LARGE_SIZE = 256 * 1024,
	LARGE_COUNT = 5,
	MEMTABLE_FOR_LARGE = 16 * 1024 * 1024,
	SMALL_FLOOD = 5000, /* more than one batch takes */
};

struct bench {
	char directory[64];
	struct hub hub;
	struct worker workers[2]; /* coordinator and gossip, which the test plays; the replica */
	struct mail_queue taken;  /* of the answers */
	uint32_t asked;
};

/* ---- a disk that fails when it is told to ------------------------------------------------------------------------- */

static struct fs disk;
static _Atomic bool fails;

static int append_or_fail(struct fs_file *file, const struct iovec *parts, int part_count)
{
	return atomic_load(&fails) ? -EIO : fs_posix()->append(file, parts, part_count);
}

/* ---- the bench ------------------------------------------------------------------------------------------------------ */

static void fill_self(struct gossip_row *self)
{
	strcpy(self->name, "n1");
	strcpy(self->datacenter, "dc1");
	strcpy(self->client_address, "127.0.0.1:1");
	strcpy(self->peer_address, "127.0.0.1:2");
	strcpy(self->bus_address, "127.0.0.1:3");
	self->weight = 100;
}

/* A cluster of this node alone, so that the replica owns every key. */
static void form_cluster(struct bench *bench)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_INIT_CLUSTER);
	struct ring_member *member = rpc_arena_zalloc(arena, sizeof *member);
	struct effects effects;
	struct event event = {.type = EVENT_START, .now_us = rpc_now_us(), .now_ms = hub_unix_ms()};
	member->id = NODE;
	member->weight = 100;
	strcpy(member->name, "n1");
	strcpy(member->datacenter, "dc1");
	strcpy(member->client_address, "127.0.0.1:1");
	strcpy(member->peer_address, "127.0.0.1:2");
	strcpy(member->bus_address, "127.0.0.1:3");
	message->init_cluster = (struct init_cluster_body){member, 1, 8, 1};
	effects_init(&effects, arena);
	node_step(bench->hub.node, ACTOR_GOSSIP, 0, &event, &effects);
	event.type = EVENT_MESSAGE;
	event.message = message;
	node_step(bench->hub.node, ACTOR_GOSSIP, 0, &event, &effects);
	message_list_free(&effects.messages);
	rpc_arena_unref(arena);
}

static void open_bench_for(struct bench *bench, size_t memtable_bytes)
{
	struct node_options options = {.fs = &disk,
				       .directory = bench->directory,
				       .coordinator_count = 1,
				       .new_shard_count = 1,
				       .seed = 7,
				       .new_node_id = NODE,
				       .memtable_bytes = memtable_bytes};
	struct hub *hub = &bench->hub;
	struct rpc_error why;
	*bench = (struct bench){.directory = "/tmp/kvring-test-XXXXXX"};
	assert_non_null(mkdtemp(bench->directory));
	fill_self(&options.self);
	if (node_open(&options, &hub->node, &why) < 0)
		fail_msg("%s", why.text);
	form_cluster(bench);
	assert_int_equal(placement_create(1, 1, 0, &hub->placement), 0);
	hub->actors = calloc(hub->placement.actor_count, sizeof *hub->actors);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(worker_init(&bench->workers[i], hub, i, 2, hub->placement.actor_count), 0);
	for (uint32_t i = 0; i < hub->placement.actor_count; i++) {
		const struct placed *placed = &hub->placement.actors[i];
		hub->actors[i] = (struct hosted){.kind = placed->kind, .index = placed->index};
		worker_host(&bench->workers[placed->kind == ACTOR_REPLICA], &hub->actors[i]);
	}
	assert_int_equal(ticker_create(2, &hub->ticker), 0);
	assert_int_equal(engine_pool_start(1, &hub->pool), 0);
	mail_queue_init(&bench->taken);
}

static void open_bench(struct bench *bench)
{
	open_bench_for(bench, MEMTABLE_SIZE);
	assert_int_equal(loop_start(&bench->workers[1]), 0);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

static void close_bench(struct bench *bench)
{
	struct hub *hub = &bench->hub;
	replica_quiesce(hub->node->replicas[0]);
	engine_pool_stop(hub->pool);
	loop_stop(&bench->workers[1]);
	engine_pool_destroy(&hub->pool);
	ticker_stop(&hub->ticker);
	for (struct cds_wfcq_node *node; (node = mail_next(&bench->taken)) != NULL;)
		message_free(caa_container_of(node, struct message, mail));
	for (uint32_t i = 0; i < 2; i++) {
		loop_discard_mail(&bench->workers[i]);
		worker_fini(&bench->workers[i]);
	}
	(void)!node_close(&hub->node); /* a dead shard says so again */
	free(hub->actors);
	placement_destroy(&hub->placement);
	assert_int_equal(nftw(bench->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- asking --------------------------------------------------------------------------------------------------------- */

/* A question about a new key, as the coordinator would ask it. */
static struct message *make_question(struct bench *bench, enum message_type type)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct message *question = message_create(arena, type);
	char name[32];
	snprintf(name, sizeof name, "key%u", ++bench->asked);
	const struct ring_view *view = ring_view_acquire(bench->hub.node->ring);
	assert_non_null(view->document);
	uint32_t partition = ring_partition_of(view->document, "default", 7, name, strlen(name));
	question->epoch = ring_epoch(view->document);
	ring_view_release(bench->hub.node->ring, view);
	assert_int_equal(key_encode((uint16_t)partition, slice("default"), slice(name), arena, &question->key), 0);
	question->from = (struct address){NODE, ACTOR_COORDINATOR, 0};
	question->to = (struct address){NODE, ACTOR_REPLICA, 0};
	question->correlation = bench->asked;
	rpc_arena_unref(arena);
	return question;
}

static void ask(struct bench *bench, struct message *question)
{
	worker_post(&bench->workers[0], question);
	worker_wake_posted(&bench->workers[0]);
}

static void ask_put_of(struct bench *bench, size_t size)
{
	static const uint8_t value[LARGE_SIZE];
	struct message *question = make_question(bench, MESSAGE_COORDINATE);
	struct client_operation *operation = &question->coordinate.operation;
	*operation =
		(struct client_operation){.kind = OPERATION_PUT, .attempt = 1, .value = {value, size}, .quorum = 1};
	operation_id_of(bench->asked, hub_unix_ms(), operation->operation_id);
	ask(bench, question);
}

static void ask_put(struct bench *bench)
{
	ask_put_of(bench, VALUE_SIZE);
}

static struct message *next_answer(struct bench *bench)
{
	struct mailbox *mailbox = &bench->workers[0].mailbox;
	struct cds_wfcq_node *node = mail_next(&bench->taken);
	for (uint64_t until = rpc_now_us() + PATIENCE_US; node == NULL;) {
		if (rpc_now_us() > until) /* also when it is there, and nobody was woken for it */
			fail_msg("no answer came");
		if (mailbox_take(mailbox, MAIL_MESSAGE, &bench->taken))
			node = mail_next(&bench->taken);
		else
			mailbox_wait(mailbox, until);
	}
	return caa_container_of(node, struct message, mail);
}

/* The status of the next answer, which is of this type, to the latest question. */
static enum replica_status expect(struct bench *bench, enum message_type type)
{
	struct message *answer = next_answer(bench);
	enum replica_status status = answer->status;
	assert_string_equal(message_type_name(answer->type), message_type_name(type));
	assert_int_equal(answer->correlation, bench->asked);
	message_free(answer);
	return status;
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

/* The new version at once, that it is durable after the commit. */
static void test_a_put_is_answered_before_and_after_its_commit(void **state)
{
	struct bench bench;
	(void)state;
	open_bench(&bench);
	for (uint32_t i = 0; i < 3; i++) {
		ask_put(&bench);
		assert_int_equal(expect(&bench, MESSAGE_COORDINATED), REPLICA_OK);
		assert_int_equal(expect(&bench, MESSAGE_STORED), REPLICA_OK);
	}
	close_bench(&bench);
}

/* A commit that cannot begin ends at once, in the same batch, and so do its answers: here the only ones of the batch. */
static void test_a_commit_that_cannot_begin_is_answered_at_once(void **state)
{
	struct bench bench;
	(void)state;
	open_bench(&bench);
	ask_put(&bench);
	struct message *coordinated = next_answer(&bench), *question = make_question(&bench, MESSAGE_STORE);
	assert_int_equal(coordinated->type, MESSAGE_COORDINATED);
	question->store.object = coordinated->coordinated.object;
	message_pin(question, coordinated->arena);
	message_free(coordinated);
	message_free(next_answer(&bench));
	atomic_store(&fails, true);
	ask(&bench, question);
	assert_int_equal(expect(&bench, MESSAGE_STORED), REPLICA_ERROR);
	ask_put(&bench);
	assert_int_equal(expect(&bench, MESSAGE_COORDINATED), REPLICA_ERROR); /* the shard is dead, and says so */
	atomic_store(&fails, false);
	close_bench(&bench);
}

/* Flushes go to the pool and come back: many times the memory for writes can be written. */
static void test_jobs_come_back(void **state)
{
	struct bench bench;
	(void)state;
	open_bench(&bench);
	uint64_t until = rpc_now_us() + PATIENCE_US;
	for (uint32_t stored = 0; stored < 16 * MEMTABLE_SIZE / VALUE_SIZE;) {
		assert_true(rpc_now_us() < until);
		ask_put(&bench);
		enum replica_status status = expect(&bench, MESSAGE_COORDINATED);
		if (status == REPLICA_OVERLOADED)
			continue; /* the flush is under way */
		assert_int_equal(status, REPLICA_OK);
		assert_int_equal(expect(&bench, MESSAGE_STORED), REPLICA_OK);
		stored++;
		until = rpc_now_us() + PATIENCE_US;
	}
	close_bench(&bench);
}

/* How many answers of this type come before the one to this question. */
static uint32_t answers_before(struct bench *bench, enum message_type type, uint64_t correlation)
{
	uint32_t before = 0;
	for (bool found = false; !found;) {
		struct message *answer = next_answer(bench);
		found = answer->type == type && answer->correlation == correlation;
		before += answer->type == type && !found;
		assert_int_equal(answer->status, REPLICA_OK);
		message_free(answer);
	}
	return before;
}

/* All wait before the thread begins. A small put that came last is durable after one of the large ones at most. */
static void test_a_small_message_waits_for_one_large_one(void **state)
{
	struct bench bench;
	(void)state;
	open_bench_for(&bench, MEMTABLE_FOR_LARGE);
	for (uint32_t i = 0; i < LARGE_COUNT; i++)
		ask_put_of(&bench, LARGE_SIZE);
	ask_put_of(&bench, 1);
	assert_int_equal(loop_start(&bench.workers[1]), 0);
	assert_in_range(answers_before(&bench, MESSAGE_STORED, bench.asked), 0, 1);
	close_bench(&bench);
}

/* And a large one has its turn while small ones keep the thread busy. */
static void test_a_large_message_does_not_wait_for_all_small_ones(void **state)
{
	struct bench bench;
	(void)state;
	open_bench_for(&bench, MEMTABLE_FOR_LARGE);
	for (uint32_t i = 0; i < SMALL_FLOOD; i++)
		ask(&bench, make_question(&bench, MESSAGE_FETCH));
	ask_put_of(&bench, LARGE_SIZE);
	assert_int_equal(loop_start(&bench.workers[1]), 0);
	uint32_t fetched = 0;
	for (enum message_type type = MESSAGE_FETCHED; type == MESSAGE_FETCHED; fetched++) {
		struct message *answer = next_answer(&bench);
		type = answer->type;
		message_free(answer);
	}
	assert_in_range(fetched, 1, SMALL_FLOOD / 2);
	close_bench(&bench);
}

/* ---- memory for what is read ------------------------------------------------------------------------------------------- */

enum { VALUES = 3 }; /* for which there is room */

/* Of the key that was asked about last. */
static struct message *fetch_again(struct bench *bench)
{
	bench->asked--;
	ask(bench, make_question(bench, MESSAGE_FETCH));
	struct message *answer = next_answer(bench);
	assert_int_equal(answer->type, MESSAGE_FETCHED);
	return answer;
}

/* Values that were read and not yet given away have a bound. Beyond it an answer comes without its value, until one is freed. */
static void test_values_that_wait_have_a_bound(void **state)
{
	struct bench bench;
	struct message *held[VALUES], *answer;
	(void)state;
	open_bench_for(&bench, MEMTABLE_FOR_LARGE);
	bench.hub.values = rpc_budget_create(VALUES * (LARGE_SIZE + 1024));
	assert_int_equal(loop_start(&bench.workers[1]), 0);
	ask_put_of(&bench, LARGE_SIZE);
	assert_int_equal(expect(&bench, MESSAGE_COORDINATED), REPLICA_OK);
	assert_int_equal(expect(&bench, MESSAGE_STORED), REPLICA_OK);
	for (int i = 0; i < VALUES; i++) {
		held[i] = fetch_again(&bench);
		assert_int_equal(held[i]->status, REPLICA_OK);
		assert_true(held[i]->fetched.object.size > LARGE_SIZE);
	}
	answer = fetch_again(&bench);
	assert_int_equal(answer->status, REPLICA_OVERLOADED);
	assert_int_equal(answer->fetched.object.size, 0);
	message_free(answer);
	for (int i = 0; i < VALUES; i++)
		message_free(held[i]);
	assert_int_equal(atomic_load(&bench.hub.values->used), 0);
	answer = fetch_again(&bench);
	assert_int_equal(answer->status, REPLICA_OK);
	message_free(answer);
	close_bench(&bench);
	rpc_budget_unref(bench.hub.values);
}

/* ---- calls of a peer ------------------------------------------------------------------------------------------------ */

struct peer {
	struct rpc_server *server;
	struct rpc_link *link;
	struct peer_call {
		struct rpc_pending pending;
		struct peer *peer;
		uint32_t place; /* among the answers */
	} calls[LARGE_COUNT + 1];
	struct hub *hub;
	uint32_t asked;
	_Atomic uint32_t put, answered; /* into the mailbox; back */
};

static void wait_until(_Atomic uint32_t *count, uint32_t wanted)
{
	for (uint64_t until = rpc_now_us() + PATIENCE_US; atomic_load(count) < wanted; sched_yield())
		assert_true(rpc_now_us() < until);
}

static void on_answer(struct rpc_pending *pending)
{
	struct peer_call *call = caa_container_of(pending, struct peer_call, pending);
	assert_int_equal(pending->status, 0);
	rpc_message_free(pending->response);
	call->place = atomic_load(&call->peer->answered); /* answers of one connection come one at a time */
	atomic_fetch_add(&call->peer->answered, 1);
}

static void on_call(void *arg, struct rpc_call *call)
{
	struct peer *peer = arg;
	inbound_on_peer(peer->hub, call);
	atomic_fetch_add(&peer->put, 1);
}

static void open_peer(struct peer *peer, struct hub *hub)
{
	char address[32];
	struct rpc_error why;
	*peer = (struct peer){.hub = hub};
	hub->peer_budget = rpc_budget_create(UINT64_C(1) << 30);
	struct rpc_server_options options = {.address = "127.0.0.1:0",
					     .message_max = RPC_PEER_MESSAGE_MAX,
					     .in_flight_max = 64,
					     .on_request = on_call,
					     .arg = peer};
	assert_int_equal(rpc_server_open(&options, &peer->server, &why), 0);
	snprintf(address, sizeof address, "127.0.0.1:%u", rpc_server_port(peer->server));
	struct rpc_link_options link = {
		.address = address, .message_max = RPC_PEER_MESSAGE_MAX, .outstanding_max = LARGE_COUNT + 1};
	assert_int_equal(rpc_link_open(&link, &peer->link, &why), 0);
	for (uint64_t until = rpc_now_us() + PATIENCE_US; !rpc_link_connected(peer->link); sched_yield())
		assert_true(rpc_now_us() < until);
}

static void close_peer(struct peer *peer, struct hub *hub)
{
	rpc_link_close(&peer->link);
	rpc_server_close(&peer->server);
	rpc_budget_unref(hub->peer_budget);
}

/* An object that does not decode: the replica says so at once. */
static void call_store(struct bench *bench, struct peer *peer, size_t size)
{
	static const uint8_t object[LARGE_SIZE];
	struct arena *scratch = rpc_arena_create(4096, SIZE_MAX);
	struct message *question = make_question(bench, MESSAGE_STORE);
	struct peer_call *call = &peer->calls[peer->asked++];
	struct rpc_message *request;
	question->store.object = (struct rpc_slice){object, size};
	assert_int_equal(codec_peer_encode(question, 1, 1000, rpc_sent_us(), scratch, &request), 0);
	*call = (struct peer_call){.pending.done = on_answer, .peer = peer};
	assert_int_equal(rpc_link_call(peer->link, request, PATIENCE_US / 1000, &call->pending), 0);
	message_free(question);
	rpc_arena_unref(scratch);
}

/* As for messages: all calls wait before the thread begins. */
static void test_a_small_call_waits_for_one_large_one(void **state)
{
	struct bench bench;
	struct peer peer;
	(void)state;
	open_bench_for(&bench, MEMTABLE_FOR_LARGE);
	open_peer(&peer, &bench.hub);
	for (uint32_t i = 0; i < LARGE_COUNT; i++)
		call_store(&bench, &peer, LARGE_SIZE);
	call_store(&bench, &peer, 1);
	wait_until(&peer.put, peer.asked);
	assert_int_equal(loop_start(&bench.workers[1]), 0);
	wait_until(&peer.answered, peer.asked);
	assert_in_range(peer.calls[LARGE_COUNT].place, 0, 1);
	close_peer(&peer, &bench.hub);
	close_bench(&bench);
}

/* The bus is closed after the loops have ended. A leak checker sees whether this is freed. */
static void test_mail_of_the_bus_that_comes_late_is_discarded(void **state)
{
	struct bench bench;
	struct rpc_message *message = NULL;
	struct rpc_request head = {.protocol_version = RPC_PROTOCOL_VERSION};
	(void)state;
	open_bench(&bench);
	assert_int_equal(rpc_request_encode(&head, NULL, &message), 0);
	inbound_on_bus(&bench.hub, message);
	close_bench(&bench);
}

/* Pieces of partitions count like values that were read; without room they are dropped, and asked for again later. */
static void test_pieces_of_a_copy_count_in_the_budget_of_values(void **state)
{
	struct hub hub = {.values = rpc_budget_create(3 * LIMIT_SMALL_SIZE)};
	struct worker worker = {.hub = &hub};
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct scanned_entry entries[2] = {{.object = {NULL, LIMIT_SMALL_SIZE}}, {.object = {NULL, LIMIT_SMALL_SIZE}}};
	struct message *answers[2];
	(void)state;
	for (int i = 0; i < 2; i++) {
		answers[i] = message_create(arena, MESSAGE_SCANNED);
		answers[i]->status = REPLICA_OK;
		answers[i]->scanned = (struct scanned_body){.entries = entries, .count = 2};
		worker_charge(&worker, answers[i]);
	}
	assert_int_equal(answers[0]->status, REPLICA_OK);
	assert_int_equal(answers[1]->status, REPLICA_OVERLOADED);
	assert_int_equal(answers[1]->scanned.count, 0);
	message_free(answers[0]);
	assert_true(rpc_budget_take(hub.values, 3 * LIMIT_SMALL_SIZE));
	message_free(answers[1]);
	rpc_budget_unref(hub.values);
	rpc_arena_unref(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_put_is_answered_before_and_after_its_commit),
		cmocka_unit_test(test_a_commit_that_cannot_begin_is_answered_at_once),
		cmocka_unit_test(test_jobs_come_back),
		cmocka_unit_test(test_a_small_message_waits_for_one_large_one),
		cmocka_unit_test(test_a_large_message_does_not_wait_for_all_small_ones),
		cmocka_unit_test(test_values_that_wait_have_a_bound),
		cmocka_unit_test(test_a_small_call_waits_for_one_large_one),
		cmocka_unit_test(test_mail_of_the_bus_that_comes_late_is_discarded),
		cmocka_unit_test(test_pieces_of_a_copy_count_in_the_budget_of_values),
	};
	disk = *fs_posix();
	disk.append = append_or_fail;
	ring_reader_register();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	ring_reader_unregister();
	return failed;
}
