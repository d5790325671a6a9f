/* SPDX-License-Identifier: Apache-2.0 */
/* SCAN reads a partition from end to end, whoever writes meanwhile; DROP deletes what the ring gives to others and nothing else. */
#include "tests/node/replica/stage.h"

#include <errno.h>
#include "node/object/bytes.h"
#include "node/object/key.h"
#include "node/object/limit.h"

static struct stage stage;

static int set_up(void **state)
{
	stage_begin(&stage, 0);
	*state = &stage;
	return 0;
}

static int tear_down(void **state)
{
	stage_run_jobs(*state);
	stage_end(*state);
	return 0;
}

static uint16_t partition_of(const struct stage *s)
{
	return key_partition(s->key);
}

static struct rpc_slice start_of(struct stage *s, uint16_t partition)
{
	uint8_t bytes[2];
	bytes_put_be16(bytes, partition);
	return (struct rpc_slice){rpc_arena_copy(s->scene.arena, bytes, 2), 2};
}

/* The number-th key of the partition. */
static struct rpc_slice key_in(struct stage *s, uint16_t partition, unsigned number)
{
	struct rpc_slice key;
	for (unsigned i = 0;; i++) {
		char name[32];
		snprintf(name, sizeof name, "s%u", i);
		if (ring_partition_of(s->scene.document, "default", 7, name, strlen(name)) != partition || number-- > 0)
			continue;
		assert_int_equal(key_encode(partition, slice("default"), slice(name), s->scene.arena, &key), 0);
		return key;
	}
}

static struct message *scan(struct stage *s, struct rpc_slice after, struct scan_body body)
{
	struct message *message = stage_question(s, MESSAGE_SCAN);
	message->key = stage_copy(message, after);
	message->scan = body;
	return message;
}

static void ask_scan(struct stage *s, struct rpc_slice after, struct scan_body body)
{
	stage_ask(s, scan(s, after, body));
	stage_batch_end(s);
}

static void publish(struct stage *s, const struct ring_document *document, bool unproven)
{
	struct ring_member_status status[SCENE_NODES] = {0};
	status[ring_member_find(document, scene_node(1))].unproven = unproven;
	assert_int_equal(ring_table_publish(s->ring, document, status), 0);
}

static void fill(struct stage *s, uint16_t partition, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		stage_store(s, key_in(s, partition, i), stage_made(s, 2, 1 + i, "value"));
	stage_finish_batch(s);
	s->log[0] = 0;
}

/* Piece by piece, by size and by number; each key once. */
static void test_every_key_is_in_one_piece(void **state)
{
	enum { KEYS = 40 };
	struct stage *s = *state;
	struct rpc_slice after = start_of(s, partition_of(s));
	uint32_t found = 0, pieces = 0;
	fill(s, partition_of(s), KEYS);
	do {
		ask_scan(s, after, (struct scan_body){.bytes_max = 700});
		expect(s, "scanned ok");
		const struct scanned_body *piece = &s->kept->scanned;
		assert_true(piece->count > 0 && piece->count < KEYS / 2);
		for (uint32_t i = 0; i < piece->count; i++) {
			const struct scanned_entry *entry = &piece->entries[i];
			size_t common = after.size < entry->key.size ? after.size : entry->key.size;
			assert_true(memcmp(after.data, entry->key.data, common) < 0 || after.size < entry->key.size);
			assert_int_equal(entry->size, entry->object.size);
			after = (struct rpc_slice){rpc_arena_copy(s->scene.arena, entry->key.data, entry->key.size),
						   entry->key.size};
			found++;
		}
		pieces++;
	} while (!s->kept->scanned.done);
	assert_int_equal(found, KEYS);
	assert_true(pieces > 4);
	ask_scan(s, after, (struct scan_body){.bytes_max = 700}); /* behind the last one */
	assert_int_equal(s->kept->scanned.count, 0);
	assert_true(s->kept->scanned.done);
}

static void test_a_large_object_goes_alone(void **state)
{
	struct stage *s = *state;
	static char large[LIMIT_SCAN_SIZE + 1000];
	uint16_t partition = partition_of(s);
	memset(large, 'x', sizeof large - 1);
	fill(s, partition, 2);
	struct rpc_slice first = key_in(s, partition, 0);
	stage_store(s, first, stage_made(s, 3, 1, large));
	stage_finish_batch(s);
	s->log[0] = 0;
	uint32_t pieces = 0, found = 0;
	struct rpc_slice after = start_of(s, partition);
	do {
		ask_scan(s, after, (struct scan_body){.bytes_max = UINT32_MAX});
		const struct scanned_body *piece = &s->kept->scanned;
		for (uint32_t i = 0; i < piece->count; i++)
			assert_true(piece->count == 1 || piece->entries[i].size < LIMIT_SCAN_SIZE);
		found += piece->count;
		pieces++;
		after = piece->entries[piece->count - 1].key;
		after = (struct rpc_slice){rpc_arena_copy(s->scene.arena, after.data, after.size), after.size};
	} while (!s->kept->scanned.done);
	assert_int_equal(found, 2);
	assert_int_equal(pieces, 2);
}

static void test_digests_are_those_of_a_fetch(void **state)
{
	struct stage *s = *state;
	uint16_t partition = partition_of(s);
	fill(s, partition, 3);
	ask_scan(s, start_of(s, partition), (struct scan_body){.bytes_max = LIMIT_SCAN_SIZE, .digest_only = true});
	assert_int_equal(s->kept->scanned.count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		const struct scanned_entry *entry = &s->kept->scanned.entries[i];
		assert_int_equal(entry->object.size, 0);
		assert_true(entry->size > 0);
		stage_fetch(s, entry->key, true);
		assert_true(s->digest == entry->digest);
	}
}

/* Equal roots: nothing is sent, but only for a scan from the start. */
static void test_equal_trees_need_no_scan(void **state)
{
	struct stage *s = *state;
	uint16_t partition = partition_of(s);
	fill(s, partition, 3);
	ask_scan(s, start_of(s, partition), (struct scan_body){.bytes_max = 0});
	uint64_t root = s->kept->scanned.root;
	assert_true(root != 0);
	assert_int_equal(s->kept->scanned.count, 0);
	assert_false(s->kept->scanned.done);
	ask_scan(s, start_of(s, partition), (struct scan_body){.bytes_max = 1000, .root = root});
	assert_true(s->kept->scanned.same && s->kept->scanned.done);
	assert_int_equal(s->kept->scanned.count, 0);
	ask_scan(s, start_of(s, partition), (struct scan_body){.bytes_max = 10000, .root = root + 1});
	assert_false(s->kept->scanned.same);
	assert_int_equal(s->kept->scanned.count, 3);
	ask_scan(s, key_in(s, partition, 0), (struct scan_body){.bytes_max = 10000, .root = root});
	assert_false(s->kept->scanned.same);
	expect(s, "scanned ok, scanned ok, scanned ok, scanned ok");
}

static void test_only_the_very_ring_is_answered(void **state)
{
	struct stage *s = *state;
	struct scan_body body = {.bytes_max = 1000};
	struct message *message = scan(s, start_of(s, partition_of(s)), body);
	message->epoch--;
	stage_ask(s, message);
	expect(s, "scanned stale ring");
	message = scan(s, start_of(s, partition_of(s)), body);
	message->epoch++;
	stage_ask(s, message);
	expect(s, "behind 2, scanned overloaded");
	ask_scan(s, start_of(s, key_partition(s->foreign)), body);
	expect(s, "scanned not owner");
	ask_scan(s, start_of(s, (uint16_t)(partition_of(s) + 1)), body); /* of another shard */
	expect(s, "scanned error");
	ask_scan(s, start_of(s, 60000), body);
	expect(s, "scanned not owner");
	static uint8_t huge[ENGINE_KEY_MAX + 1];
	bytes_put_be16(huge, partition_of(s));
	ask_scan(s, (struct rpc_slice){huge, sizeof huge}, body);
	expect(s, "scanned error");
	ask_scan(s, (struct rpc_slice){huge, sizeof huge - 1}, body);
	expect(s, "scanned ok");
}

static void test_what_may_have_gone_back_says_so(void **state)
{
	struct stage *s = *state;
	ask_scan(s, start_of(s, partition_of(s)), (struct scan_body){.bytes_max = 1000});
	expect(s, "scanned ok");
	assert_false(s->kept->scanned.receiving);
	publish(s, s->scene.document, true);
	ask_scan(s, start_of(s, partition_of(s)), (struct scan_body){.bytes_max = 1000});
	expect(s, "scanned ok");
	assert_true(s->kept->scanned.receiving);
}

/* P3: what it shows is on disk. */
static void test_the_answer_waits_for_the_disk(void **state)
{
	struct stage *s = *state;
	stage_store(s, s->key, stage_made(s, 2, 1, "value"));
	ask_scan(s, start_of(s, partition_of(s)), (struct scan_body){.bytes_max = 1000});
	expect(s, "");
	while (s->sync)
		stage_commit(s);
	expect(s, "stored ok, scanned ok");
	assert_int_equal(s->kept->scanned.count, 1);
	stage_store(s, s->key, stage_made(s, 3, 1, "other"));
	ask_scan(s, start_of(s, partition_of(s)), (struct scan_body){.bytes_max = 1000});
	stage_step(s, (struct event){.type = EVENT_SYNCED, .status = -ENOSPC});
	s->sync = false;
	expect(s, "stored disk full, scanned error");
	assert_int_equal(s->kept->scanned.count, 0);
}

/* ---- drop ------------------------------------------------------------------------------------------------------- */

static void ask_drop(struct stage *s, uint64_t epoch, bool only_count)
{
	struct message *message = stage_question(s, MESSAGE_DROP);
	message->key = start_of(s, 0);
	message->epoch = epoch;
	message->drop.only_count = only_count;
	stage_ask(s, message);
	stage_finish_batch(s);
}

/* n1 gives partitions up: of a ring without it owning any. */
static struct ring_document *moved(struct stage *s, bool begun)
{
	struct ring_member members[SCENE_NODES];
	struct ring_datacenter datacenter = {.name = "dc1", .replica_count = 3};
	struct ring_document *target, *change, *next;
	struct ring_error why;
	for (uint32_t i = 0; i < SCENE_NODES; i++) {
		members[i] = *ring_member(s->scene.document, i);
		if (members[i].id == scene_node(1))
			members[i].state = RING_MEMBER_LEAVING;
	}
	struct ring_plan plan = {.cluster_id = 7,
				 .hash_seed = 11,
				 .partition_count = 256,
				 .datacenters = &datacenter,
				 .datacenter_count = 1,
				 .members = members,
				 .member_count = SCENE_NODES};
	assert_int_equal(ring_claim(s->scene.document, &plan, &target, &why), 0);
	assert_int_equal(ring_transition_begin(s->scene.document, target, &change, &why), 0);
	ring_document_destroy(&target);
	for (int i = 0; i < 2 && !begun; i++) {
		assert_int_equal(ring_transition_next(change, &next, &why), 0);
		ring_document_destroy(&change);
		change = next;
	}
	return change;
}

static void test_nothing_goes_that_the_ring_does_not_give_away(void **state)
{
	struct stage *s = *state;
	uint64_t epoch = ring_epoch(s->scene.document);
	fill(s, partition_of(s), 2);
	ask_drop(s, epoch, false);
	expect(s, "dropped ok");
	assert_int_equal(s->kept->dropped.left, 0);
	assert_int_equal(s->kept->dropped.count, 0);
	ask_drop(s, epoch + 1, false);
	expect(s, "behind 2, dropped stale ring");
	struct ring_document *change = moved(s, true);
	publish(s, change, false);
	ask_drop(s, ring_epoch(change), false); /* the ring is changing */
	expect(s, "dropped stale ring");
	ring_document_destroy(&change);
}

static void test_what_the_ring_gives_away_goes(void **state)
{
	struct stage *s = *state;
	struct dot before = replica_next_dot(s->replica);
	uint16_t other = key_partition(s->other);
	fill(s, partition_of(s), 2);
	fill(s, other, 2);
	struct ring_document *after = moved(s, false);
	publish(s, after, false);
	ask_drop(s, ring_epoch(after), true);
	uint32_t all = s->kept->dropped.left;
	assert_int_equal(all, partition_of(s) == other ? 1 : 2);
	assert_int_equal(s->kept->dropped.count, 0);
	assert_int_equal(before.actor, replica_next_dot(s->replica).actor);
	ask_drop(s, ring_epoch(after), false); /* nothing between them stays, so both go at once */
	assert_int_equal(s->kept->dropped.count, all);
	assert_int_equal(s->kept->dropped.left, 0);
	assert_true(before.actor != replica_next_dot(s->replica).actor);
	expect(s, "dropped ok, dropped ok");
	ring_document_destroy(&after);
	publish(s, s->scene.document, false);
	stage_fetch(s, key_in(s, other, 0), false);
	expect(s, "fetched absent");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_key_is_in_one_piece, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_large_object_goes_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_digests_are_those_of_a_fetch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_equal_trees_need_no_scan, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_only_the_very_ring_is_answered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_may_have_gone_back_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_answer_waits_for_the_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nothing_goes_that_the_ring_does_not_give_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_the_ring_gives_away_goes, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
