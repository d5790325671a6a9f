/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions come to a node while reads go to the old owners: all of them, whatever fails, and nothing counts too early. */
#include "tests/node/upkeep/town.h"

#include "node/upkeep/transfer.h"

#include <stdlib.h>

enum { KEYS = 8 }; /* of each partition, unless a test says otherwise */

static struct ring_document *stable, *target, *change;

static int set_up(void **state)
{
	(void)state;
	town_begin();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	town_end();
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&change);
	return 0;
}

/* n1 to n3 own everything; n4 is to join. */
static void prepare_join(void)
{
	stable = town_claim(NULL, 3, (const unsigned[]){1, 2, 3, 0});
	target = town_claim(stable, 3, (const unsigned[]){1, 2, 3, 4, 0});
	change = town_change(stable, target);
	town_adopt_all(stable);
}

static bool comes(unsigned number, uint16_t partition)
{
	return town_owns(change, number, partition) && !town_owned(change, number, partition);
}

static uint32_t count_incoming(unsigned number)
{
	uint32_t count = 0;
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		count += comes(number, partition);
	return count;
}

static uint16_t first_incoming(unsigned number)
{
	uint16_t partition = 0;
	while (!comes(number, partition))
		partition++;
	return partition;
}

static struct rpc_slice value_of(uint16_t partition, unsigned number)
{
	return slice(rpc_arena_printf(town->arena, "value %u of %u", number, partition));
}

/* The same object at these nodes. */
static void store_at(const unsigned *numbers, struct rpc_slice key, struct rpc_slice object)
{
	for (; *numbers != 0; numbers++)
		town_store(*numbers, key, object);
}

static void fill(const unsigned *numbers, unsigned keys)
{
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		for (unsigned i = 0; i < keys; i++) {
			struct rpc_slice object = town_object((struct rpc_slice){0}, false, 1, 1 + partition * keys + i,
							      value_of(partition, i));
			store_at(numbers, town_key(partition, i), object);
		}
}

static void fill_large(const unsigned *numbers, unsigned keys, size_t size)
{
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		for (unsigned i = 0; i < keys; i++) {
			unsigned counter = 1 + partition * keys + i;
			struct rpc_slice value = town_value(size, counter);
			store_at(numbers, town_key(partition, i),
				 town_object((struct rpc_slice){0}, false, 1, counter, value));
		}
}

static bool is_ready(unsigned number)
{
	return house(number)->ready_hash == ring_hash(change);
}

/* Each key of what has to come is at the node as at the other one. */
static void expect_equal(unsigned number, unsigned other, unsigned keys)
{
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		for (unsigned i = 0; i < keys && comes(number, partition); i++) {
			struct rpc_slice key = town_key(partition, i);
			struct rpc_slice here = town_read(number, key), there = town_read(other, key);
			if (!town_same(here, there) || there.size == 0)
				fail_msg("key %u of partition %u is not as at n%u", i, partition, other);
		}
}

static uint32_t left_at(unsigned number)
{
	return atomic_load(&upkeep_figures(house(number)->upkeep)->incoming_partitions);
}

static uint64_t copied_at(unsigned number)
{
	return atomic_load(&upkeep_figures(house(number)->upkeep)->copied_bytes);
}

/* ---- what comes -------------------------------------------------------------------------------------------------- */

static void test_a_join_gets_every_key(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 3, 0}, KEYS);
	town_adopt_all(change);
	town_until(is_ready(4), 30);
	expect_equal(4, 1, KEYS);
	assert_int_equal(left_at(4), 0);
	assert_int_equal(atomic_load(&upkeep_figures(house(4)->upkeep)->incoming_total), count_incoming(4));
	assert_true(copied_at(4) > 0);
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		assert_true(town_root(4, partition) == (comes(4, partition) ? town_root(1, partition) : 0));
	assert_int_equal(house(4)->notes[NOTE_COPY_BEGUN], 1);
	assert_int_equal(house(4)->notes[NOTE_COPY_DONE], 1);
	/* Who has nothing to wait for is ready at once, and each says so once. */
	for (unsigned i = 1; i <= 4; i++) {
		assert_true(is_ready(i));
		assert_int_equal(house(i)->ready_epoch, ring_epoch(change));
	}
	assert_int_equal(house(4)->ready_count, 1);
	/* The data is durable when it counts. */
	house_crash(4);
	house_start(4);
	expect_equal(4, 1, KEYS);
}

/* Old values, deletions and siblings, each at other nodes: what comes is all of them merged. */
static void test_what_differs_between_sources_is_merged(void **state)
{
	struct rpc_slice key[4], first, second, third;
	(void)state;
	prepare_join();
	uint16_t partition = first_incoming(4);
	for (unsigned i = 0; i < 4; i++)
		key[i] = town_key(partition, i);
	first = town_object((struct rpc_slice){0}, false, 1, 1, slice("first"));
	second = town_object(first, true, 2, 2, slice("second"));
	third = town_object((struct rpc_slice){0}, false, 3, 3, slice("third"));
	store_at((const unsigned[]){1, 0}, key[0], first); /* n1 missed the newer one */
	store_at((const unsigned[]){2, 3, 0}, key[0], second);
	store_at((const unsigned[]){1, 2, 0}, key[1], first); /* siblings */
	store_at((const unsigned[]){3, 0}, key[1], third);
	struct rpc_slice deleted = town_object(first, true, 1, 4, (struct rpc_slice){0});
	store_at((const unsigned[]){1, 2, 3, 0}, key[2], deleted);
	store_at((const unsigned[]){3, 0}, key[3], third); /* at one alone */
	town_adopt_all(change);
	town_until(is_ready(4), 30);
	assert_true(town_same(town_read(4, key[0]), second));
	assert_true(town_same(town_read(4, key[1]), town_merge(first, third)));
	assert_true(town_same(town_read(4, key[2]), deleted));
	assert_true(town_same(town_read(4, key[3]), third));
}

static uint32_t under_way, most_under_way;

static bool count_under_way(struct house *to, const struct message *message)
{
	if (to->number != 4)
		return true;
	under_way += message->type == MESSAGE_STORE;
	under_way -= message->type == MESSAGE_STORED;
	if (under_way > most_under_way)
		most_under_way = under_way;
	return true;
}

static void test_partitions_of_no_one_and_many_keys(void **state)
{
	enum { MANY = 2500 }; /* more than fit one answer */
	(void)state;
	prepare_join();
	uint16_t one = first_incoming(4), many = (uint16_t)(one + 1);
	while (!comes(4, many))
		many++;
	store_at((const unsigned[]){1, 2, 3, 0}, town_key(one, 0),
		 town_object((struct rpc_slice){0}, false, 1, 1, slice("alone")));
	/* One object for all: what is compared is key by key all the same. */
	struct rpc_slice object = town_object((struct rpc_slice){0}, false, 1, 2, slice("of many"));
	for (unsigned i = 0, found = 0; found < MANY; i++) {
		char name[32];
		struct rpc_slice key;
		snprintf(name, sizeof name, "m%u", i);
		if (ring_partition_of(change, "default", 7, name, strlen(name)) != many)
			continue;
		assert_int_equal(key_encode(many, slice("default"), slice(name), town->arena, &key), 0);
		town_store(1 + found % 3, key, object);
		town_store(1 + (found + 1) % 3, key, object);
		found++;
	}
	town_adopt_all(change);
	under_way = most_under_way = 0;
	town->watch = count_under_way;
	town_until(is_ready(4), 60);
	town->watch = NULL;
	assert_int_equal(under_way, 0); /* clients' questions wait behind what is */
	assert_in_range(most_under_way, LANE_ENTRIES / 2, TRANSFER_LANES * LANE_ENTRIES);
	assert_true(town_same(town_read(4, town_key(one, 0)), town_read(1, town_key(one, 0))));
	/* Each key is at two of three nodes: none of them has all, and n4 has. */
	struct rpc_slice last = {0};
	uint32_t found = 0;
	for (unsigned i = 0; found < MANY; i++) {
		char name[32];
		snprintf(name, sizeof name, "m%u", i);
		if (ring_partition_of(change, "default", 7, name, strlen(name)) != many)
			continue;
		assert_int_equal(key_encode(many, slice("default"), slice(name), town->arena, &last), 0);
		assert_true(town_same(town_read(4, last), object));
		found++;
	}
}

/* One that is larger than a piece goes alone. */
static void test_objects_of_8_mib(void **state)
{
	struct rpc_slice key[3], object[3];
	(void)state;
	prepare_join();
	uint16_t partition = first_incoming(4);
	for (unsigned i = 0; i < 3; i++) {
		key[i] = town_key(partition, i);
		object[i] = town_object((struct rpc_slice){0}, false, 1, i + 1,
					i == 1 ? slice("small") : town_value(LIMIT_VALUE_SIZE, i));
		town_store(1, key[i], object[i]);
		town_store(2, key[i], object[i]);
	}
	town_adopt_all(change);
	town_until(is_ready(4), 60);
	for (unsigned i = 0; i < 3; i++)
		assert_slice_equal(town_read(4, key[i]), object[i]);
}

/* Each new value is at all owners, old and new, as the coordinator sees to; half of them come before the copy of their key. */
static bool write_meanwhile(struct house *to, const struct message *message)
{
	static bool inside;
	(void)to;
	if (inside || message->type != MESSAGE_SCAN || town->stored > 600)
		return true;
	inside = true;
	for (unsigned i = 0; i < 4; i++) {
		uint16_t partition = (uint16_t)prng_below(&town->prng, TOWN_PARTITIONS);
		unsigned number = (unsigned)prng_below(&town->prng, KEYS);
		struct rpc_slice key = town_key(partition, number);
		struct rpc_slice fresh = town_object(town_read(1, key), true, 2, 100000 + town->stored,
						     value_of(partition, town->stored));
		for (unsigned j = 1; j <= 4; j++)
			if (town_owned(change, j, partition) || town_owns(change, j, partition))
				town_store(j, key, fresh);
	}
	inside = false;
	return true;
}

static void test_writes_go_on_meanwhile(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 3, 0}, KEYS);
	town_adopt_all(change);
	uint32_t before = town->stored;
	town->watch = write_meanwhile;
	town_until(is_ready(4), 60);
	town->watch = NULL;
	assert_true(town->stored > before + 20);
	assert_int_equal(town->refused, 0);
	expect_equal(4, 1, KEYS);
}

/* ---- who is asked ---------------------------------------------------------------------------------------------- */

static void test_a_majority_is_enough(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 0}, KEYS); /* as acknowledged by two of three */
	house_stop(2);
	town_adopt_all(change);
	town_until(is_ready(4), 30);
	expect_equal(4, 1, KEYS);
}

static void test_less_than_a_majority_is_not(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 0}, KEYS);
	house_stop(2);
	house(1)->cut = true;
	town_adopt_all(change);
	town_run(20 * SECOND_US);
	assert_false(is_ready(4));
	assert_int_equal(left_at(4), count_incoming(4));
	assert_true(house(4)->notes[NOTE_COPY_WAITS] > 0);
	house(1)->cut = false;
	town_gossip();
	town_until(is_ready(4), 10);
	expect_equal(4, 1, KEYS);
}

/* A source that has not the new ring yet may still take a write of the old one: what it shows counts for nothing. */
static void test_a_source_that_is_behind_is_asked_later(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 3, 0}, KEYS);
	town_adopt(1, change);
	town_adopt(4, change);
	town_run(5 * SECOND_US);
	assert_false(is_ready(4));
	uint16_t partition = first_incoming(4);
	struct rpc_slice key = town_key(partition, KEYS),
			 object = town_object((struct rpc_slice){0}, false, 2, 9999, slice("late"));
	town_store(2, key, object); /* both under the older ring */
	town_store(3, key, object);
	town_adopt(2, change);
	town_adopt(3, change);
	town_until(is_ready(4), 10);
	assert_true(town_same(town_read(4, key), object));
}

static void test_a_source_with_a_newer_ring_tells_of_it(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 3, 0}, KEYS);
	struct ring_document *next = town_next(change);
	town_adopt(4, change);
	for (unsigned i = 1; i <= 3; i++)
		town_adopt(i, next);
	town_run(3 * SECOND_US);
	assert_false(is_ready(4));
	town_adopt(4, next);
	town_until(house(4)->ready_epoch == ring_epoch(next), 1);
	assert_int_equal(left_at(4), 0);
	ring_document_destroy(&next);
}

static void test_what_may_have_gone_back_in_time_is_no_source(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 0}, KEYS);
	house(2)->unproven = true;
	house_stop(3);
	town_adopt_all(change);
	town_run(5 * SECOND_US);
	assert_false(is_ready(4));
	house(2)->unproven = false;
	town_gossip();
	town_until(is_ready(4), 10);
	expect_equal(4, 1, KEYS);
}

/* It gives what it has, which alone proves nothing; all old owners together do. */
static void test_all_sources_do_though_some_may_have_gone_back_in_time(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 0}, KEYS / 2);
	fill((const unsigned[]){2, 0}, KEYS);
	house(2)->unproven = house(3)->unproven = true;
	house_stop(1);
	town_adopt_all(change);
	town_run(5 * SECOND_US);
	assert_false(is_ready(4));
	house_start(1);
	town_adopt(1, change);
	town_until(is_ready(4), 10);
	expect_equal(4, 2, KEYS);
}

/* Only while objects are fetched from it. */
static bool doubt_fetches(struct house *to, const struct message *message)
{
	if (to->number == 2 && message->call != NULL) {
		to->unproven = message->type == MESSAGE_FETCH;
		town_gossip();
	}
	return true;
}

/* A source may come back with an older disk after its last piece, and before the objects that differ are fetched. */
static void test_a_source_may_go_back_in_time_before_its_objects_come(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){2, 0}, KEYS);
	house_stop(1);
	town->watch = doubt_fetches;
	town_adopt_all(change);
	town_until(is_ready(4), 30);
	town->watch = NULL;
	assert_true(house(2)->fetches > 0);
	assert_true(house(2)->scans > count_incoming(4)); /* it was read once more */
	expect_equal(4, 2, KEYS);
}

struct found {
	char path[128];
	uint64_t size;
};

static void find_table(void *arg, const char *path, uint64_t size)
{
	struct found *found = arg;
	if (strstr(path, ".tab") != NULL && size > found->size) {
		snprintf(found->path, sizeof found->path, "%s", path);
		found->size = size;
	}
}

/* A damaged source refuses, others serve; there is no majority without it while one more is away. */
static void test_a_quarantined_source_is_passed_over(void **state)
{
	struct found found = {0};
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 3, 0}, KEYS);
	town_flush(2);
	house_stop(2);
	sim_fs_walk(house(2)->disk, "/n/engine", find_table, &found);
	assert_true(found.size > 0);
	sim_fs_flip_bit(house(2)->disk, found.path, found.size / 2, 3);
	sim_fs_flip_bit(house(2)->disk, found.path, 20, 3);
	house_start(2);
	town_adopt_all(change);
	town_until(is_ready(4), 60);
	expect_equal(4, 1, KEYS);
	assert_true(shard_quarantined(engine_shard(house(2)->engine, 0), 0) >= 0 ||
		    shard_quarantined(engine_shard(house(2)->engine, 1), 0) >= 0);
}

/* ---- kills, full disks --------------------------------------------------------------------------------------------- */

static uint64_t messages_seen, kill_at;

static bool kill_once(struct house *to, const struct message *message)
{
	(void)message;
	if (to->number != 4 || ++messages_seen != kill_at)
		return true;
	house_crash(4);
	return false;
}

/* At every message that comes to it in turn, or nearly. */
static void test_the_new_owner_may_be_killed_at_any_point(void **state)
{
	bool killed = true;
	(void)state;
	for (kill_at = 1; killed; kill_at += 1 + kill_at / 6) {
		prepare_join();
		fill((const unsigned[]){1, 2, 3, 0}, 2);
		town_adopt_all(change);
		messages_seen = 0;
		town->watch = kill_once;
		town_until(is_ready(4) || !house(4)->alive, 30);
		killed = !house(4)->alive;
		town->watch = NULL;
		if (killed)
			house_start(4);
		town_until(is_ready(4), 30);
		expect_equal(4, 1, 2);
		tear_down(NULL);
		town_begin();
	}
	assert_true(kill_at > 50);
}

static unsigned victim;

static bool kill_source(struct house *to, const struct message *message)
{
	(void)message;
	if (to->number != victim || ++messages_seen != kill_at)
		return true;
	house_crash(victim);
	town_gossip();
	return false;
}

static void test_a_source_may_be_killed_at_any_point(void **state)
{
	bool killed = true;
	(void)state;
	victim = 1;
	for (kill_at = 1; killed; kill_at += 1 + kill_at / 6) {
		prepare_join();
		fill((const unsigned[]){1, 2, 3, 0}, 2);
		town_adopt_all(change);
		messages_seen = 0;
		town->watch = kill_source;
		town_until(is_ready(4), 60); /* two are enough */
		killed = !house(victim)->alive;
		town->watch = NULL;
		expect_equal(4, 2, 2);
		tear_down(NULL);
		town_begin();
	}
	assert_true(kill_at > 5);
}

/* Of partitions that are of one piece or more; killed at 90 % the new owner sends for 1 % again at the most. */
static void test_a_restart_sends_little_again(void **state)
{
	enum { OBJECTS = 24, OBJECT_SIZE = 40 * 1000 };
	(void)state;
	prepare_join();
	fill_large((const unsigned[]){1, 2, 3, 0}, OBJECTS, OBJECT_SIZE);
	uint64_t all = (uint64_t)count_incoming(4) * OBJECTS * OBJECT_SIZE;
	town_adopt_all(change);
	town_until(copied_at(4) * 10 >= all * 9, 60);
	assert_false(is_ready(4));
	uint64_t before = copied_at(4);
	house_crash(4);
	house_start(4);
	town_until(is_ready(4), 60);
	expect_equal(4, 1, OBJECTS);
	uint64_t again = before + copied_at(4) - all;
	print_message("sent again: %llu of %llu bytes\n", (unsigned long long)again, (unsigned long long)all);
	/* What was under way: a piece of each lane. Of more than 100 MB that is less than 1 %. */
	assert_true(again <= TRANSFER_LANES * LIMIT_SCAN_SIZE);
}

static void test_a_full_disk_stops_it_until_there_is_room(void **state)
{
	enum { OBJECTS = 16, OBJECT_SIZE = 60 * 1000 };
	(void)state;
	prepare_join();
	fill_large((const unsigned[]){1, 2, 0}, OBJECTS, OBJECT_SIZE);
	sim_fs_set_capacity(house(4)->disk, sim_fs_used(house(4)->disk) + 4 * 1000 * 1000);
	town_adopt_all(change);
	town_run(30 * SECOND_US);
	assert_false(is_ready(4));
	assert_true(house(4)->notes[NOTE_COPY_REFUSED] > 0);
	assert_true(left_at(4) > 0);
	sim_fs_set_capacity(house(4)->disk, UINT64_MAX);
	town_until(is_ready(4), 60);
	expect_equal(4, 1, OBJECTS);
}

static void damage(const char *path, unsigned how)
{
	const uint8_t *data;
	uint64_t size;
	static const uint8_t junk[64] = "junk";
	if (sim_fs_look(house(4)->disk, path, &data, &size) != 0)
		fail_msg("no %s", path);
	if (how == 0)
		sim_fs_flip_bit(house(4)->disk, path, size / 2, 1);
	else if (how == 1)
		sim_fs_cut(house(4)->disk, path, size - 1);
	else if (how == 2)
		sim_fs_put_file(house(4)->disk, path, junk, sizeof junk);
	else
		sim_fs_remove_file(house(4)->disk, path);
}

/* It starts over: slower, never wrong. */
static void test_damaged_progress_is_no_progress(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 4; how++) {
		prepare_join();
		fill((const unsigned[]){1, 2, 3, 0}, KEYS);
		town->rate = 4 * 1024;
		house_stop(4);
		house_start(4);
		town_adopt_all(change);
		town_until(left_at(4) < count_incoming(4) && left_at(4) > 0, 60);
		town_run(2 * SECOND_US);
		house_crash(4);
		damage("/n/transfer", how);
		house_start(4);
		assert_int_equal(left_at(4), count_incoming(4));
		town_until(is_ready(4), 200);
		expect_equal(4, 1, KEYS);
		tear_down(NULL);
		town_begin();
	}
}

/* Progress of another ring document says nothing. */
static void test_progress_belongs_to_one_document(void **state)
{
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 3, 0}, KEYS);
	town_adopt_all(change);
	town_until(is_ready(4), 30);
	house_stop(4);
	house_start(4);
	town_until(is_ready(4), 1); /* all is complete, without a question */
	uint64_t scans = house(1)->scans;
	town_run(SECOND_US);
	assert_int_equal(house(1)->scans, scans);
	/* n5 joins instead, n4 as well: another document. */
	ring_document_destroy(&target);
	ring_document_destroy(&change);
	target = town_claim(stable, 3, (const unsigned[]){1, 2, 3, 4, 5, 0});
	change = town_change(stable, target);
	town_adopt_all(change);
	town_until(left_at(4) == count_incoming(4), 1);
	town_until(is_ready(4) && is_ready(5), 30);
	expect_equal(5, 1, KEYS);
	expect_equal(4, 1, KEYS);
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

/* Five owners become three: a kept one may have missed what three of five acknowledged. */
static void test_fewer_owners_read_a_majority_too(void **state)
{
	(void)state;
	stable = town_claim(NULL, 5, (const unsigned[]){1, 2, 3, 4, 5, 0});
	town_adopt_all(stable);
	target = town_claim(stable, 3, (const unsigned[]){1, 2, 3, 4, 5, 0});
	change = town_change(stable, target);
	struct rpc_slice object = town_object((struct rpc_slice){0}, false, 1, 1, slice("value"));
	uint16_t partition = 3;
	unsigned lacking = 1, at[5], count = 0;
	while (!town_owns(change, lacking, partition))
		lacking++;
	for (unsigned i = 5; i >= 1 && count < 3; i--)
		if (i != lacking)
			at[count++] = i;
	for (unsigned i = 0; i < count; i++)
		town_store(at[i], town_key(partition, 0), object);
	town_adopt_all(change);
	town_until(is_ready(lacking), 30);
	assert_true(town_same(town_read(lacking, town_key(partition, 0)), object));
}

/* n1 to n3 own everything in dc1, n5 and n6 in dc2; n4 is to join dc1. */
static void prepare_datacenters(void)
{
	town->far = 5;
	stable = town_claim(NULL, 3, (const unsigned[]){1, 2, 3, 5, 6, 0});
	target = town_claim(stable, 3, (const unsigned[]){1, 2, 3, 4, 5, 6, 0});
	change = town_change(stable, target);
	town_adopt_all(stable);
}

/* What three of all five acknowledged may be at one old owner in dc1: two of three there are no majority of all. */
static void test_other_datacenters_are_read_too(void **state)
{
	(void)state;
	prepare_datacenters();
	fill((const unsigned[]){3, 5, 6, 0}, KEYS);
	house_stop(3);
	house(5)->cut = house(6)->cut = true;
	town_adopt_all(change);
	town_gossip();
	town_run(20 * SECOND_US);
	assert_false(is_ready(4));
	house(5)->cut = false;
	town_adopt(5, change);
	town_gossip();
	town_until(is_ready(4), 30);
	expect_equal(4, 5, KEYS);
}

/* What two of three in dc1 acknowledged at a local level need not be among three of all. */
static void test_a_majority_of_its_own_datacenter_is_read(void **state)
{
	(void)state;
	prepare_datacenters();
	fill((const unsigned[]){1, 2, 0}, KEYS);
	house_stop(3);
	house_stop(2);
	town_adopt_all(change); /* 1, 5 and 6 are a majority of all */
	town_gossip();
	town_run(20 * SECOND_US);
	assert_false(is_ready(4));
	house_start(2);
	town_adopt(2, change);
	town_gossip();
	town_until(is_ready(4), 30);
	expect_equal(4, 1, KEYS);
}

/* dc2 goes: those that stay in dc1 may have missed what a majority of all five has. */
static void test_a_datacenter_that_goes_is_read_by_those_that_stay(void **state)
{
	(void)state;
	town->far = 5;
	stable = town_claim(NULL, 3, (const unsigned[]){1, 2, 3, 5, 6, 0});
	target = town_claim(stable, 3, (const unsigned[]){1, 2, 3, 105, 106, 0});
	change = town_change(stable, target);
	town_adopt_all(stable);
	fill((const unsigned[]){3, 5, 6, 0}, KEYS);
	town_adopt_all(change);
	town_until(is_ready(1) && is_ready(2), 30);
	for (uint16_t partition = 0; partition < TOWN_PARTITIONS; partition++)
		assert_true(town_same(town_read(1, town_key(partition, 0)), town_read(5, town_key(partition, 0))));
}

static uint64_t time_of_join(uint64_t rate, uint32_t load_permille)
{
	enum { OBJECTS = 16, OBJECT_SIZE = 20 * 1000 };
	prepare_join();
	town->rate = rate;
	house_stop(4);
	house_start(4);
	house(4)->load_permille = load_permille;
	fill_large((const unsigned[]){1, 2, 0}, OBJECTS, OBJECT_SIZE);
	uint64_t all = (uint64_t)count_incoming(4) * OBJECTS * OBJECT_SIZE;
	uint64_t begin_us = town->now_us;
	town_adopt_all(change);
	town_until(is_ready(4), 600);
	uint64_t took_us = town->now_us - begin_us;
	assert_true(copied_at(4) >= all);
	tear_down(NULL);
	town_begin();
	return took_us;
}

static void test_the_pace_is_kept(void **state)
{
	enum { OBJECTS = 16, OBJECT_SIZE = 20 * 1000, PARTITIONS = 12 };
	(void)state;
	uint64_t calm_us = time_of_join(1000 * 1000, 0), busy_us = time_of_join(1000 * 1000, 1000);
	uint64_t all = (uint64_t)PARTITIONS * OBJECTS * OBJECT_SIZE; /* 3.8 MB */
	print_message("calm %.1f s, busy %.1f s\n", (double)calm_us / 1e6, (double)busy_us / 1e6);
	assert_true(calm_us + 300000 > all); /* a byte each us; pieces under way may come early */
	assert_true(calm_us < all * 13 / 10);
	assert_true(busy_us > 8 * calm_us && busy_us < 20 * calm_us);
}

static void test_an_aborted_change_ends_it(void **state)
{
	struct ring_document *back;
	struct ring_error why;
	(void)state;
	prepare_join();
	fill((const unsigned[]){1, 2, 3, 0}, KEYS);
	town->rate = 4 * 1024;
	house_stop(4);
	house_start(4);
	town_adopt_all(change);
	town_until(left_at(4) < count_incoming(4), 60);
	assert_int_equal(ring_transition_abort(change, &back, &why), 0);
	for (unsigned i = 1; i <= 4; i++)
		town_adopt(i, back);
	town_run(SECOND_US);
	assert_int_equal(left_at(4), 0);
	assert_int_equal(house(4)->ready_epoch, ring_epoch(back));
	uint64_t scans = house(1)->scans + house(2)->scans + house(3)->scans;
	town_run(5 * SECOND_US);
	assert_int_equal(house(1)->scans + house(2)->scans + house(3)->scans, scans);
	ring_document_destroy(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_join_gets_every_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_differs_between_sources_is_merged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_partitions_of_no_one_and_many_keys, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_objects_of_8_mib, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_writes_go_on_meanwhile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_majority_is_enough, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_less_than_a_majority_is_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_source_that_is_behind_is_asked_later, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_source_with_a_newer_ring_tells_of_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_may_have_gone_back_in_time_is_no_source, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_sources_do_though_some_may_have_gone_back_in_time, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_source_may_go_back_in_time_before_its_objects_come, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_quarantined_source_is_passed_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_new_owner_may_be_killed_at_any_point, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_source_may_be_killed_at_any_point, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_restart_sends_little_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_full_disk_stops_it_until_there_is_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damaged_progress_is_no_progress, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_progress_belongs_to_one_document, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fewer_owners_read_a_majority_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_datacenters_are_read_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_majority_of_its_own_datacenter_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_datacenter_that_goes_is_read_by_those_that_stay, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_the_pace_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_an_aborted_change_ends_it, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
