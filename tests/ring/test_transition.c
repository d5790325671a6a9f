/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/cluster.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include <cmocka.h>

static struct cluster cluster;

static struct ring_document *stable_document(uint32_t nodes)
{
	cluster_init(&cluster, 64, 3);
	for (uint32_t i = 0; i < nodes; i++)
		cluster_add(&cluster, i, "", 100);
	return cluster_claim(&cluster, NULL);
}

static struct ring_document *begin(const struct ring_document *stable, const struct ring_document *target)
{
	struct ring_document *document;

	assert_int_equal(ring_transition_begin(stable, target, &document, NULL), 0);
	return document;
}

static struct ring_document *next(struct ring_document *document)
{
	struct ring_document *after;

	assert_int_equal(ring_transition_next(document, &after, NULL), 0);
	assert_int_equal(ring_epoch(after), ring_epoch(document) + 1);
	assert_int_equal(ring_parent_hash(after), ring_hash(document));
	ring_document_destroy(&document);
	return after;
}

static void same_owners(const struct ring_document *a, const struct ring_document *b)
{
	for (uint32_t partition = 0; partition < ring_partition_count(a); partition++) {
		const uint16_t *left, *right;
		uint32_t count = ring_owners(a, partition, 0, &left);

		assert_int_equal(ring_owners(b, partition, 0, &right), count);
		for (uint32_t i = 0; i < count; i++)
			assert_int_equal(ring_member(a, left[i])->id, ring_member(b, right[i])->id);
	}
}

static void old_owners_are(const struct ring_document *document, const struct ring_document *stable)
{
	for (uint32_t partition = 0; partition < ring_partition_count(document); partition++) {
		const uint16_t *old, *before;
		uint32_t count = ring_owners(stable, partition, 0, &before);

		assert_int_equal(ring_old_owners(document, partition, 0, &old), count);
		for (uint32_t i = 0; i < count; i++) {
			assert_int_equal(ring_member(document, old[i])->id, ring_member(stable, before[i])->id);
			assert_true(ring_owns(document, partition, old[i]));
		}
	}
}

static void test_transition_goes_through_all_steps(void **state)
{
	struct ring_document *stable = stable_document(4), *target, *document;
	const uint16_t *old;

	(void)state;
	cluster_add(&cluster, 77, "", 100);
	cluster.members[0].state = RING_MEMBER_LEAVING;
	target = cluster_claim(&cluster, stable);

	document = begin(stable, target);
	assert_int_equal(ring_transition(document), RING_WRITE_BOTH_READ_OLD);
	assert_int_equal(ring_epoch(document), 2);
	assert_int_equal(ring_parent_hash(document), ring_hash(stable));
	same_owners(document, target);
	old_owners_are(document, stable);

	document = next(document);
	assert_int_equal(ring_transition(document), RING_WRITE_BOTH_READ_NEW);
	same_owners(document, target);
	old_owners_are(document, stable);

	document = next(document);
	assert_int_equal(ring_transition(document), RING_STABLE);
	same_owners(document, target);
	assert_int_equal(ring_old_owners(document, 0, 0, &old), 0);
	assert_int_equal(ring_epoch(document), 4);

	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&document);
}

/* A dead member too is kept, as LEAVING: else nobody could tell how many old owners a write needs. */
static void test_transition_keeps_every_old_owner(void **state)
{
	struct ring_document *stable = stable_document(5), *target, *none = NULL;
	struct ring_error error;

	(void)state;
	cluster_remove(&cluster, 2);
	target = cluster_claim(&cluster, stable);
	assert_int_equal(ring_transition_begin(stable, target, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "owns data: keep it in the plan, as LEAVING"));
	assert_null(none);
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
}

static enum ring_member_state state_of(const struct ring_document *document, uint64_t id)
{
	return ring_member(document, (uint32_t)ring_member_find(document, id))->state;
}

/* By the document of the change alone. */
static void test_transition_abort_returns(void **state)
{
	struct ring_document *stable = stable_document(4), *target, *document, *back;
	uint64_t leaver = cluster.members[1].id, drained = cluster.members[2].id, comer;

	(void)state;
	comer = cluster_add(&cluster, 77, "", 100)->id;
	cluster_add(&cluster, 78, "", 100);
	cluster.members[1].state = RING_MEMBER_LEAVING;
	cluster.members[2].state = RING_MEMBER_STANDBY;
	target = cluster_claim(&cluster, stable);
	document = begin(stable, target);
	assert_int_equal(ring_transition_abort(document, &back, NULL), 0);
	assert_int_equal(ring_transition(back), RING_STABLE);
	assert_int_equal(ring_epoch(back), 3);
	assert_int_equal(ring_parent_hash(back), ring_hash(document));
	assert_int_equal(ring_member_count(back), 6);
	assert_int_equal(state_of(back, leaver), RING_MEMBER_ACTIVE);
	assert_int_equal(state_of(back, drained), RING_MEMBER_ACTIVE);
	assert_int_equal(state_of(back, comer), RING_MEMBER_STANDBY);
	same_owners(back, stable);
	assert_int_equal(ring_verify(document, back, NULL), 0);
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&document);
	ring_document_destroy(&back);
}

/* From one node to three, and to another N: the number of owners is that of before. */
static void test_transition_abort_returns_to_fewer_owners(void **state)
{
	struct ring_document *stable = stable_document(1), *target, *document, *back;

	(void)state;
	cluster_add(&cluster, 77, "", 100);
	cluster_add(&cluster, 78, "", 100);
	target = cluster_claim(&cluster, stable);
	document = begin(stable, target);
	assert_int_equal(ring_transition_abort(document, &back, NULL), 0);
	assert_int_equal(ring_datacenter(back, 0)->replica_count, 3);
	same_owners(back, stable);
	assert_int_equal(ring_verify(document, back, NULL), 0);
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&document);
	ring_document_destroy(&back);

	for (uint32_t replicas = 2; replicas <= 4; replicas += 2) {
		stable = stable_document(5);
		cluster.datacenters[0].replica_count = replicas;
		target = cluster_claim(&cluster, stable);
		document = begin(stable, target);
		assert_int_equal(ring_transition_abort(document, &back, NULL), 0);
		assert_int_equal(ring_datacenter(back, 0)->replica_count, 3);
		same_owners(back, stable);
		assert_int_equal(ring_verify(document, back, NULL), 0);
		ring_document_destroy(&stable);
		ring_document_destroy(&target);
		ring_document_destroy(&document);
		ring_document_destroy(&back);
	}
}

/* The rows name the same nodes, at other indexes. */
static void test_leavers_are_dropped(void **state)
{
	struct ring_document *stable = stable_document(5), *target, *document, *without, *none = NULL;
	uint64_t leaver = cluster.members[1].id;
	struct ring_error error;

	(void)state;
	assert_int_equal(ring_drop_leavers(stable, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "no member of it has left"));
	cluster.members[1].state = RING_MEMBER_LEAVING;
	target = cluster_claim(&cluster, stable);
	document = begin(stable, target);
	assert_int_equal(ring_drop_leavers(document, &none, &error), -EINVAL);
	document = next(next(document));
	assert_int_equal(ring_drop_leavers(document, &without, &error), 0);
	assert_int_equal(ring_epoch(without), 5);
	assert_int_equal(ring_transition(without), RING_STABLE);
	assert_int_equal(ring_member_count(without), 4);
	assert_int_equal(ring_member_find(without, leaver), -1);
	same_owners(without, target);
	assert_int_equal(ring_verify(document, without, NULL), 0);
	assert_int_equal(ring_drop_leavers(without, &none, &error), -EINVAL);
	assert_null(none);
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&document);
	ring_document_destroy(&without);
}

static bool is_in(uint64_t id, const uint64_t *ids, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* The old owners that are left, in their order, and those that are to own. base: whose owners had the data. */
static void is_forced(const struct ring_document *forced, const struct ring_document *mine,
		      const struct ring_document *base, const uint64_t *lost, uint32_t lost_count)
{
	assert_int_equal(ring_transition(forced), RING_WRITE_BOTH_READ_OLD);
	assert_int_equal(ring_epoch(forced), ring_epoch(mine) + 2);
	assert_int_equal(ring_verify(mine, forced, NULL), 0); /* by its descent */
	for (uint32_t i = 0; i < lost_count; i++)
		assert_int_equal(ring_member_find(forced, lost[i]), -1);
	for (uint32_t partition = 0; partition < 64; partition++) {
		const uint16_t *old, *before;
		uint32_t left = 0, old_count = ring_old_owners(forced, partition, 0, &old);
		uint32_t count = ring_owners(base, partition, 0, &before);

		for (uint32_t i = 0; i < count; i++) {
			uint64_t id = ring_member(base, before[i])->id;

			if (!is_in(id, lost, lost_count))
				assert_int_equal(ring_member(forced, old[left++])->id, id);
		}
		assert_int_equal(left, old_count);
	}
}

static void test_a_ring_is_forced(void **state)
{
	struct ring_document *stable = stable_document(5), *target, *document, *forced, *new, *none = NULL;
	uint64_t ids[5];
	struct ring_error error;

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		ids[i] = ring_member(stable, i)->id;
	assert_int_equal(ring_force(stable, ids, 3, &forced, &error), 0);
	is_forced(forced, stable, stable, ids, 3);
	forced = next(next(forced));
	assert_int_equal(ring_transition(forced), RING_STABLE);
	ring_document_destroy(&forced);
	assert_int_equal(ring_force(stable, ids, 5, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "keep at least one"));
	assert_null(none);

	cluster_add(&cluster, 77, "", 100); /* in the middle of a change */
	target = cluster_claim(&cluster, stable);
	document = begin(stable, target);
	assert_int_equal(ring_force(document, ids, 3, &forced, &error), 0);
	is_forced(forced, document, stable, ids, 3);
	ring_document_destroy(&forced);
	assert_int_equal(ring_transition_next(document, &new, NULL), 0);
	assert_int_equal(ring_force(new, ids, 3, &forced, &error), 0);
	is_forced(forced, new, target, ids, 3);
	ring_document_destroy(&forced);
	ring_document_destroy(&new);
	ring_document_destroy(&document);
	ring_document_destroy(&target);
	ring_document_destroy(&stable);
}

static void test_transition_refuses_what_does_not_follow(void **state)
{
	struct ring_document *stable = stable_document(4), *target, *after, *document, *none = NULL;
	struct ring_error error;

	(void)state;
	target = cluster_claim(&cluster, stable);
	after = cluster_claim(&cluster, target);
	assert_int_equal(ring_transition_begin(stable, after, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "plan again"));
	assert_int_equal(ring_transition_next(stable, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "(epoch 1) is not changing"));

	document = begin(stable, target);
	assert_int_equal(ring_transition_abort(stable, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "the ring is not changing"));
	assert_int_equal(ring_transition_begin(document, target, &none, &error), -EINVAL);
	assert_int_equal(ring_claim(document, &cluster.plan, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "one change at a time"));
	document = next(document);
	assert_int_equal(ring_transition_abort(document, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "reads go to the new owners already"));
	assert_null(none);
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&after);
	ring_document_destroy(&document);
}

/* The same with the highest epoch, as only a forger makes it: with made-up ancestors. */
static struct ring_document *forge_epoch(const struct ring_document *document)
{
	enum { HEADER = 48 };
	size_t size, hashes = 8 * (RING_ANCESTORS_MAX - (ring_epoch(document) < 3 ? 1 : ring_epoch(document) - 1));
	uint64_t epoch = htole64(RING_EPOCH_MAX), checksum;
	struct ring_document *forged;
	uint8_t *bytes, *longer;

	assert_int_equal(ring_document_encode(document, &bytes, &size), 0);
	longer = malloc(size + hashes);
	memcpy(longer, bytes, HEADER);
	memset(longer + HEADER, 0x11, hashes);
	memcpy(longer + HEADER + hashes, bytes + HEADER, size - HEADER);
	size += hashes;
	longer[4] = 2; /* format version */
	memcpy(longer + 16, &epoch, sizeof epoch);
	checksum = htole64(XXH3_64bits(longer, size - sizeof checksum));
	memcpy(longer + size - sizeof checksum, &checksum, sizeof checksum);
	assert_int_equal(ring_document_decode(longer, size, &forged, NULL), 0);
	free(bytes);
	free(longer);
	return forged;
}

static void test_transition_refuses_to_follow_the_last_epoch(void **state)
{
	struct ring_document *stable = stable_document(4), *target, *changing, *last, *last_changing, *none = NULL;
	struct ring_error error;

	(void)state;
	target = cluster_claim(&cluster, stable);
	changing = begin(stable, target);
	last = forge_epoch(stable);
	last_changing = forge_epoch(changing);
	assert_int_equal(ring_claim(last, &cluster.plan, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "is the last there can be"));
	assert_int_equal(ring_transition_next(last_changing, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "is the last there can be"));
	assert_int_equal(ring_transition_abort(last_changing, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "is the last there can be"));
	assert_null(none);
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&changing);
	ring_document_destroy(&last);
	ring_document_destroy(&last_changing);
}

/* Other rack, weight and addresses; the owners stay, and so does everybody else. */
static void test_amend_changes_one_member_alone(void **state)
{
	struct ring_document *stable = stable_document(4), *changing, *next, *none = NULL;
	struct ring_member member = *ring_member(stable, 2), *bad = &member;
	struct ring_error error;

	(void)state;
	strcpy(member.rack, "r9");
	strcpy(member.peer_address, "10.8.8.8:1");
	member.weight = 7;
	assert_int_equal(ring_amend(stable, &member, &next, &error), 0);
	assert_int_equal(ring_epoch(next), 2);
	assert_int_equal(ring_verify(stable, next, &error), 0);
	same_owners(stable, next);
	for (uint32_t i = 0; i < 4; i++)
		if (i != 2)
			assert_memory_equal(ring_member(next, i), ring_member(stable, i), sizeof member);
	assert_memory_equal(ring_member(next, 2), &member, sizeof member);

	strcpy(bad->rack, "a rack");
	assert_int_equal(ring_amend(stable, bad, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "a rack is empty or has 1 to 63"));
	bad->rack[0] = 0;
	bad->weight = 0;
	assert_int_equal(ring_amend(stable, bad, &none, &error), -EINVAL);
	bad->weight = 1;
	bad->bus_address[0] = 0;
	assert_int_equal(ring_amend(stable, bad, &none, &error), -EINVAL);
	bad->id++;
	assert_int_equal(ring_amend(stable, bad, &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "is no member"));
	cluster_add(&cluster, 77, "", 100);
	struct ring_document *target = cluster_claim(&cluster, stable);
	changing = begin(stable, target);
	assert_int_equal(ring_amend(changing, ring_member(changing, 0), &none, &error), -EINVAL);
	assert_non_null(strstr(error.text, "is changing"));
	ring_document_destroy(&stable);
	ring_document_destroy(&target);
	ring_document_destroy(&changing);
	ring_document_destroy(&next);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transition_goes_through_all_steps),
		cmocka_unit_test(test_transition_keeps_every_old_owner),
		cmocka_unit_test(test_transition_abort_returns),
		cmocka_unit_test(test_transition_abort_returns_to_fewer_owners),
		cmocka_unit_test(test_leavers_are_dropped),
		cmocka_unit_test(test_a_ring_is_forced),
		cmocka_unit_test(test_transition_refuses_what_does_not_follow),
		cmocka_unit_test(test_transition_refuses_to_follow_the_last_epoch),
		cmocka_unit_test(test_amend_changes_one_member_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
