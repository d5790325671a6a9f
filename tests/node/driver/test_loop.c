/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of one thread that hosts one replica over the real engine and a real directory. The test is everybody else: it
 * asks by the replica's mailbox and reads the answers out of the coordinator's, and no ticker runs. So nothing but the
 * batch that made an answer can have sent it: an answer that waits for a later batch never comes. */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "engine/fs.h"
#include "engine/pool.h"
#include "node/driver/hub.h"
#include "node/driver/loop.h"
#include "node/driver/ticker.h"
#include "node/object/key.h"
#include "tests/node/support.h"

enum { PATIENCE_US = 10 * 1000 * 1000, NODE = 1, VALUE_SIZE = 16 * 1024, MEMTABLE_SIZE = 64 * 1024 };

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

static void open_bench(struct bench *bench)
{
	struct node_options options = {.fs = &disk,
				       .directory = bench->directory,
				       .coordinator_count = 1,
				       .new_shard_count = 1,
				       .seed = 7,
				       .new_node_id = NODE,
				       .memtable_bytes = MEMTABLE_SIZE};
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
	mailbox_put(&bench->workers[1].mailbox, MAIL_MESSAGE, &question->mail);
	mailbox_wake(&bench->workers[1].mailbox);
}

static void ask_put(struct bench *bench)
{
	static const uint8_t value[VALUE_SIZE];
	struct message *question = make_question(bench, MESSAGE_COORDINATE);
	struct client_operation *operation = &question->coordinate.operation;
	*operation = (struct client_operation){
		.kind = OPERATION_PUT, .attempt = 1, .value = {value, sizeof value}, .quorum = 1};
	operation_id_of(bench->asked, hub_unix_ms(), operation->operation_id);
	ask(bench, question);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_put_is_answered_before_and_after_its_commit),
		cmocka_unit_test(test_a_commit_that_cannot_begin_is_answered_at_once),
		cmocka_unit_test(test_jobs_come_back),
	};
	disk = *fs_posix();
	disk.append = append_or_fail;
	ring_reader_register();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	ring_reader_unregister();
	return failed;
}
