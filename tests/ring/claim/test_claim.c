/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/cluster.h"
#include "tests/ring/oracle.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cluster cluster; /* large: not on the stack */

/* ---- the invariants of ring.h, by independent means ------------------------------------------------------------ */

static void check_row(const struct ring_document *document, uint32_t datacenter, uint32_t partition)
{
	const uint16_t *row;
	uint32_t count = ring_owners(document, partition, datacenter, &row);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t least, most, in_rack = 0;

		assert_true(row[i] < ring_member_count(document));
		assert_true(oracle_is_node(document, datacenter, row[i]));
		assert_true(ring_owns(document, partition, row[i]));
		for (uint32_t j = 0; j < count; j++) {
			assert_true(i == j || row[i] != row[j]);
			in_rack += !strcmp(ring_member(document, row[i])->rack, ring_member(document, row[j])->rack);
		}
		oracle_rack_limits(document, datacenter, row[i], &least, &most);
		assert_in_range(in_rack, least, most);
	}
}

/* Racks that are not in the row at all must be allowed to be absent. */
static void check_absent_racks(const struct ring_document *document, uint32_t datacenter, uint32_t partition)
{
	const uint16_t *row;
	uint32_t count = ring_owners(document, partition, datacenter, &row);

	for (uint32_t member = 0; member < ring_member_count(document); member++) {
		uint32_t least, most, in_rack = 0;

		if (!oracle_is_node(document, datacenter, member))
			continue;
		for (uint32_t i = 0; i < count; i++)
			in_rack += !strcmp(ring_member(document, row[i])->rack, ring_member(document, member)->rack);
		oracle_rack_limits(document, datacenter, member, &least, &most);
		assert_in_range(in_rack, least, most);
	}
}

static void check_balance(const struct ring_document *document, uint32_t datacenter)
{
	double shares[128];
	const uint16_t *row;
	uint32_t width = ring_owners(document, 0, datacenter, &row), replicas = 0, primaries = 0;

	assert_true(ring_member_count(document) <= 128);
	oracle_shares(document, datacenter, shares);
	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		if (ring_member_datacenter(document, i) != datacenter)
			continue;
		if (fabs(ring_member_replicas(document, i) - shares[i]) >= 1 ||
		    (width && fabs(ring_member_primaries(document, i) - shares[i] / width) >= 1))
			fail_msg("%s holds %u, first in %u; its share is %f of %u", ring_member(document, i)->name,
				 ring_member_replicas(document, i), ring_member_primaries(document, i), shares[i],
				 width);
		replicas += ring_member_replicas(document, i);
		primaries += ring_member_primaries(document, i);
	}
	assert_int_equal(replicas, width * ring_partition_count(document));
	assert_int_equal(primaries, width ? ring_partition_count(document) : 0);
}

/* R1 and R2 */
static void check_document(const struct ring_document *document)
{
	for (uint32_t datacenter = 0; datacenter < ring_datacenter_count(document); datacenter++) {
		uint32_t nodes = 0, wanted = ring_datacenter(document, datacenter)->replica_count;
		const uint16_t *row;

		for (uint32_t i = 0; i < ring_member_count(document); i++)
			nodes += oracle_is_node(document, datacenter, i);
		assert_int_equal(ring_owners(document, 0, datacenter, &row), nodes < wanted ? nodes : wanted);
		if (nodes == 0)
			continue;
		for (uint32_t partition = 0; partition < ring_partition_count(document); partition++)
			check_row(document, datacenter, partition);
		for (uint32_t partition = 0; partition < 8; partition++)
			check_absent_racks(document, datacenter, partition);
		check_balance(document, datacenter);
	}
}

/* ---- given clusters -------------------------------------------------------------------------------------------- */

static void test_claim_equal_nodes(void **state)
{
	struct ring_document *document;

	(void)state;
	cluster_init(&cluster, 1024, 3);
	for (uint32_t i = 0; i < 5; i++)
		cluster_add(&cluster, i, "", 100);
	document = cluster_claim(&cluster, NULL);
	check_document(document);
	for (uint32_t i = 0; i < 5; i++) { /* 3072 / 5 = 614.4, 1024 / 5 = 204.8 */
		assert_in_range(ring_member_replicas(document, i), 614, 615);
		assert_in_range(ring_member_primaries(document, i), 204, 205);
	}
	assert_int_equal(ring_epoch(document), 1);
	assert_int_equal(ring_parent_hash(document), 0);
	assert_int_equal(ring_transition(document), RING_STABLE);
	assert_false(ring_violation(document, 0, (char[1]){0}, 1));
	ring_document_destroy(&document);
	assert_null(document);
}

static void test_claim_fewer_nodes_than_replicas(void **state)
{
	struct ring_document *document;
	const uint16_t *row;
	char text[200];

	(void)state;
	cluster_init(&cluster, 64, 3);
	cluster_add(&cluster, 1, "", 100);
	document = cluster_claim(&cluster, NULL);
	assert_int_equal(ring_owners(document, 63, 0, &row), 1);
	assert_int_equal(row[0], 0);
	assert_true(ring_violation(document, 0, text, sizeof(text)));
	assert_string_equal(text, "datacenter dc1: 3 replicas wanted, but 1 active members: every partition has 1");
	assert_false(ring_violation(document, 1, text, sizeof(text)));
	ring_document_destroy(&document);
}

static void test_claim_nobody_active(void **state)
{
	struct ring_document *document;
	const uint16_t *row;
	uint16_t fallbacks[4];

	(void)state;
	cluster_init(&cluster, 8, 3);
	cluster_add(&cluster, 1, "", 100)->state = RING_MEMBER_STANDBY;
	document = cluster_claim(&cluster, NULL);
	assert_int_equal(ring_owners(document, 7, 0, &row), 0);
	assert_int_equal(ring_fallbacks(document, 7, 0, fallbacks, 4), 0);
	assert_false(ring_owns(document, 0, 0));
	assert_int_equal(ring_member_replicas(document, 0), 0);
	ring_document_destroy(&document);
}

static void test_claim_weights(void **state)
{
	static const uint32_t weights[] = {100, 200, 50, 100, 150, 100};
	struct ring_document *document;

	(void)state;
	cluster_init(&cluster, 256, 3);
	for (uint32_t i = 0; i < 6; i++)
		cluster_add(&cluster, i, "", weights[i]);
	document = cluster_claim(&cluster, NULL);
	check_document(document);
	for (uint32_t i = 0; i < 6; i++) {
		double asked = 768.0 * ring_member(document, i)->weight / 700;
		assert_true(fabs(ring_member_replicas(document, i) - asked) < 1);
	}
	ring_document_destroy(&document);
}

static void test_claim_weight_above_all(void **state)
{
	struct ring_document *document;
	char text[200];
	int heavy;

	(void)state;
	cluster_init(&cluster, 64, 2);
	cluster_add(&cluster, 1, "", 1000);
	cluster_add(&cluster, 2, "", 1);
	cluster_add(&cluster, 3, "", 1);
	document = cluster_claim(&cluster, NULL);
	check_document(document);
	heavy = ring_member_find_name(document, "n1");
	assert_int_equal(ring_member_replicas(document, (uint32_t)heavy), 64);
	assert_int_equal(ring_member_primaries(document, (uint32_t)heavy), 32);
	assert_true(ring_violation(document, 0, text, sizeof(text)));
	assert_non_null(strstr(text, "asks for"));
	ring_document_destroy(&document);
}

static void test_claim_distinct_racks(void **state)
{
	struct ring_document *document;
	char rack[8];

	(void)state;
	cluster_init(&cluster, 128, 3);
	for (uint32_t i = 0; i < 9; i++) {
		snprintf(rack, sizeof(rack), "r%u", i % 3);
		cluster_add(&cluster, i, rack, 100);
	}
	document = cluster_claim(&cluster, NULL);
	check_document(document);
	for (uint32_t partition = 0; partition < 128; partition++) {
		const uint16_t *row;
		assert_int_equal(ring_owners(document, partition, 0, &row), 3);
		assert_string_not_equal(ring_member(document, row[0])->rack, ring_member(document, row[1])->rack);
		assert_string_not_equal(ring_member(document, row[0])->rack, ring_member(document, row[2])->rack);
		assert_string_not_equal(ring_member(document, row[1])->rack, ring_member(document, row[2])->rack);
	}
	ring_document_destroy(&document);
}

static void test_claim_fewer_racks_than_replicas(void **state)
{
	struct ring_document *document;
	char text[200];

	(void)state;
	cluster_init(&cluster, 64, 3);
	for (uint32_t i = 0; i < 6; i++)
		cluster_add(&cluster, i, i % 2 ? "odd" : "even", 100);
	document = cluster_claim(&cluster, NULL);
	check_document(document); /* two in one rack, one in the other, never three in one */
	assert_true(ring_violation(document, 0, text, sizeof(text)));
	assert_string_equal(text,
			    "datacenter dc1: 3 replicas wanted, but 2 racks: replicas of a partition share a rack");
	ring_document_destroy(&document);
}

static void test_claim_datacenters(void **state)
{
	struct ring_document *document;
	const uint16_t *row;

	(void)state;
	cluster_init(&cluster, 64, 3);
	cluster_add_datacenter(&cluster, "dc2", 2);
	for (uint32_t i = 0; i < 8; i++)
		strcpy(cluster_add(&cluster, i, "", 100)->datacenter, i % 2 ? "dc2" : "dc1");
	document = cluster_claim(&cluster, NULL);
	check_document(document);
	assert_int_equal(ring_owners(document, 0, 0, &row), 3);
	assert_int_equal(ring_owners(document, 0, 1, &row), 2);
	ring_document_destroy(&document);
}

/* ---- movement -------------------------------------------------------------------------------------------------- */

static void test_claim_nothing_changes(void **state)
{
	struct ring_document *first, *second;

	(void)state;
	cluster_init(&cluster, 256, 3);
	for (uint32_t i = 0; i < 7; i++)
		cluster_add(&cluster, i, i % 2 ? "a" : "b", 50 + 30 * i);
	first = cluster_claim(&cluster, NULL);
	second = cluster_claim(&cluster, first);
	assert_int_equal(ring_epoch(second), 2);
	assert_int_equal(ring_parent_hash(second), ring_hash(first));
	for (uint32_t partition = 0; partition < 256; partition++) {
		const uint16_t *before, *after;
		uint32_t count = ring_owners(first, partition, 0, &before);
		assert_int_equal(ring_owners(second, partition, 0, &after), count);
		assert_memory_equal(before, after, count * sizeof(*before));
	}
	ring_document_destroy(&first);
	ring_document_destroy(&second);
}

static void test_claim_join_moves_minimum(void **state)
{
	(void)state;
	for (uint32_t nodes = 3; nodes < 12; nodes++) {
		struct ring_document *before, *after;

		cluster_init(&cluster, 256, 3);
		for (uint32_t i = 0; i < nodes; i++)
			cluster_add(&cluster, i, "", 100);
		before = cluster_claim(&cluster, NULL);
		cluster_add(&cluster, 99, "", 100);
		after = cluster_claim(&cluster, before);
		check_document(after);
		assert_in_range(moved_claims(before, after), 768 / (nodes + 1), 768 / (nodes + 1) + 1);
		assert_int_equal(moved_claims(before, after), gained_claims(before, after));
		ring_document_destroy(&before);
		ring_document_destroy(&after);
	}
}

static void test_claim_leave_moves_minimum(void **state)
{
	(void)state;
	for (uint32_t nodes = 5; nodes < 12; nodes++) {
		struct ring_document *before, *after;
		uint32_t held;

		cluster_init(&cluster, 256, 3);
		for (uint32_t i = 0; i < nodes; i++)
			cluster_add(&cluster, i, "", 100);
		before = cluster_claim(&cluster, NULL);
		held = ring_member_replicas(before, (uint32_t)ring_member_find(before, cluster.members[1].id));
		if (nodes % 2)
			cluster_remove(&cluster, 1);
		else
			cluster.members[1].state = RING_MEMBER_LEAVING;
		after = cluster_claim(&cluster, before);
		check_document(after);
		assert_int_equal(moved_claims(before, after), held);
		ring_document_destroy(&before);
		ring_document_destroy(&after);
	}
}

static uint32_t shared(const struct ring_document *document, uint32_t a, uint32_t b)
{
	uint32_t count = 0;

	for (uint32_t partition = 0; partition < ring_partition_count(document); partition++)
		count += ring_owns(document, partition, a) && ring_owns(document, partition, b);
	return count;
}

/* Nodes of one weight do not keep to each other: when one leaves, all others take over, without a detour. */
static void test_claim_mixes_nodes_of_one_weight(void **state)
{
	struct ring_document *before, *after;
	uint32_t held;

	(void)state;
	cluster_init(&cluster, 1024, 3);
	for (uint32_t i = 0; i < 12; i++)
		cluster_add(&cluster, i, "", 50 + 50 * (i % 4));
	before = cluster_claim(&cluster, NULL);
	for (uint32_t i = 0; i < 12; i++)
		for (uint32_t j = 0; j < i; j++) { /* by chance: weight * weight of it */
			double expected = 2 * 1024 * 3.0 * ring_member(before, i)->weight *
					  ring_member(before, j)->weight / (1500.0 * 1500.0);
			assert_in_range(shared(before, i, j), (uint64_t)(expected / 2), (uint64_t)(expected * 2));
		}
	held = ring_member_replicas(before, (uint32_t)ring_member_find(before, cluster.members[6].id));
	cluster_remove(&cluster, 6);
	after = cluster_claim(&cluster, before);
	assert_int_equal(moved_claims(before, after), held);
	ring_document_destroy(&before);
	ring_document_destroy(&after);
}

static void test_claim_replica_count_changes(void **state)
{
	struct ring_document *two, *three, *back;

	(void)state;
	cluster_init(&cluster, 128, 2);
	for (uint32_t i = 0; i < 6; i++)
		cluster_add(&cluster, i, i < 2 ? "a" : i < 4 ? "b" : "c", 100);
	two = cluster_claim(&cluster, NULL);
	cluster.datacenters[0].replica_count = 3;
	three = cluster_claim(&cluster, two);
	check_document(three);
	assert_int_equal(moved_claims(two, three), 128);
	cluster.datacenters[0].replica_count = 2;
	back = cluster_claim(&cluster, three);
	check_document(back);
	assert_int_equal(moved_claims(three, back), 0);
	ring_document_destroy(&two);
	ring_document_destroy(&three);
	ring_document_destroy(&back);
}

/* ---- random clusters ------------------------------------------------------------------------------------------- */

static struct ring_member *add_random(struct random *random, uint32_t number, uint32_t racks, bool weighted)
{
	char rack[8] = "", datacenter[8];
	struct ring_member *member;

	if (racks)
		snprintf(rack, sizeof(rack), "r%u", random_below(random, racks));
	member = cluster_add(&cluster, number, rack,
			     weighted ? 1 + random_below(random, 1 + random_below(random, 1000)) : 100);
	snprintf(datacenter, sizeof(datacenter), "dc%u", 1 + random_below(random, cluster.plan.datacenter_count));
	strcpy(member->datacenter, datacenter);
	if (random_below(random, 12) == 0)
		member->state = random_below(random, 2) ? RING_MEMBER_STANDBY : RING_MEMBER_LEAVING;
	return member;
}

static void change_randomly(struct random *random, uint32_t *number, uint32_t racks, bool weighted)
{
	uint32_t which = random_below(random, cluster.plan.member_count);
	struct ring_member *member = &cluster.members[which];

	switch (random_below(random, 8)) {
	case 0:
	case 1:
	case 2:
		add_random(random, (*number)++, racks, weighted);
		break;
	case 3:
	case 4:
		if (cluster.plan.member_count > 1)
			cluster_remove(&cluster, which);
		break;
	case 5:
		member->weight = weighted ? 1 + random_below(random, 500) : 100;
		break;
	case 6:
		member->state = 1 + random_below(random, 3);
		break;
	default:
		if (racks)
			snprintf(member->rack, sizeof(member->rack), "r%u", random_below(random, racks));
		else
			cluster.datacenters[0].replica_count = 1 + random_below(random, 5);
	}
}

static void test_claim_random_stories(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 150; seed++) {
		struct random random = {seed};
		uint32_t racks = random_below(&random, 6), number = 0;
		bool weighted = random_below(&random, 2);
		struct ring_document *document = NULL, *next;

		cluster_init(&cluster, 8u << random_below(&random, 5), 1 + random_below(&random, 5));
		if (random_below(&random, 3) == 0)
			cluster_add_datacenter(&cluster, "dc2", 1 + random_below(&random, 4));
		for (uint32_t i = 1 + random_below(&random, 20); i > 0; i--)
			add_random(&random, number++, racks, weighted);
		for (uint32_t epoch = 1; epoch <= 8; epoch++) {
			next = cluster_claim(&cluster, document);
			assert_int_equal(ring_epoch(next), epoch);
			check_document(next);
			ring_document_destroy(&document);
			document = next;
			change_randomly(&random, &number, racks, weighted);
		}
		ring_document_destroy(&document);
	}
}

/* R3: against the optimum by minimum-cost flow, on clusters small enough for it. */
static void test_claim_moves_against_optimum(void **state)
{
	uint32_t moved_total = 0, optimum_total = 0, cases = 0, worse = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 120; seed++) {
		struct random random = {seed * 7919};
		uint32_t racks = random_below(&random, 5), number = 0, moved, optimum;
		bool weighted = random_below(&random, 2);
		struct ring_document *before, *after;

		cluster_init(&cluster, 16, 2 + random_below(&random, 2));
		for (uint32_t i = 4 + random_below(&random, 6); i > 0; i--)
			add_random(&random, number++, racks, weighted);
		before = cluster_claim(&cluster, NULL);
		if (random_below(&random, 2))
			add_random(&random, number++, racks, weighted);
		else
			cluster_remove(&cluster, random_below(&random, cluster.plan.member_count));
		after = cluster_claim(&cluster, before);
		moved = moved_claims(before, after);
		optimum = oracle_moves(before, after, 0);
		assert_true(moved >= optimum);
		if (racks == 0)
			assert_int_equal(moved, optimum);
		moved_total += moved;
		optimum_total += optimum;
		cases++;
		worse += moved > optimum;
		ring_document_destroy(&before);
		ring_document_destroy(&after);
	}
	print_message("moved %u claims where %u are the optimum; above it in %u of %u cases\n", moved_total,
		      optimum_total, worse, cases);
	assert_true(moved_total <= optimum_total + optimum_total / 50); /* 2 % */
}

/* ---- R4 ---------------------------------------------------------------------------------------------------------- */

static void plan_for_determinism(void)
{
	cluster_init(&cluster, 128, 3);
	cluster_add_datacenter(&cluster, "dc0", 2);
	for (uint32_t i = 0; i < 9; i++)
		strcpy(cluster_add(&cluster, i, i % 2 ? "a" : "b", 100 + 7 * i)->datacenter, i % 3 ? "dc1" : "dc0");
}

static void test_claim_order_of_plan_is_irrelevant(void **state)
{
	struct ring_document *document, *shuffled;

	(void)state;
	plan_for_determinism();
	document = cluster_claim(&cluster, NULL);
	for (uint32_t i = 0; i < 4; i++) {
		struct ring_member member = cluster.members[i];
		cluster.members[i] = cluster.members[8 - i];
		cluster.members[8 - i] = member;
	}
	cluster.datacenters[2] = cluster.datacenters[0];
	cluster.datacenters[0] = cluster.datacenters[1];
	cluster.datacenters[1] = cluster.datacenters[2];
	/* what stands behind a string's end is not part of it */
	memset(cluster.members[0].rack + strlen(cluster.members[0].rack) + 1, 'x', 8);
	shuffled = cluster_claim(&cluster, NULL);
	assert_int_equal(ring_hash(document), ring_hash(shuffled));
	ring_document_destroy(&document);
	ring_document_destroy(&shuffled);
}

/* The same on every machine. One node computes a document and the others take its bytes, so a later version may compute
 * another one; that it does must be meant. */
static void test_claim_hash_is_fixed(void **state)
{
	struct ring_document *document, *next;

	(void)state;
	plan_for_determinism();
	document = cluster_claim(&cluster, NULL);
	cluster_remove(&cluster, 4);
	next = cluster_claim(&cluster, document);
	assert_int_equal(ring_hash(document), UINT64_C(0xfd35cf8745ef5d25));
	assert_int_equal(ring_hash(next), UINT64_C(0xa4de90062ad1775d));
	ring_document_destroy(&document);
	ring_document_destroy(&next);
}

/* ---- plans that are refused -------------------------------------------------------------------------------------- */

static void refuse(const struct ring_document *previous, const char *text)
{
	struct ring_document *document = NULL;
	struct ring_error error = {""};

	assert_int_equal(ring_claim(previous, &cluster.plan, &document, &error), -EINVAL);
	assert_null(document);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
}

static void start_refusal(void)
{
	cluster_init(&cluster, 64, 3);
	for (uint32_t i = 0; i < 3; i++)
		cluster_add(&cluster, i, "r", 100);
}

static void test_claim_refuses_bad_plan(void **state)
{
	(void)state;
	start_refusal(), cluster.plan.cluster_id = 0, refuse(NULL, "cluster id 0");
	start_refusal(), cluster.plan.partition_count = 100, refuse(NULL, "100 partitions: use a power of two");
	start_refusal(), cluster.plan.partition_count = 4, refuse(NULL, "4 partitions");
	start_refusal(), cluster.plan.partition_count = 131072, refuse(NULL, "131072 partitions");
	start_refusal(), cluster.plan.datacenter_count = 0, refuse(NULL, "0 datacenters");
	start_refusal(), cluster.plan.member_count = 0, refuse(NULL, "0 members");
	start_refusal(), cluster.plan.member_count = RING_MEMBERS_MAX + 1,
			 refuse(NULL, "16385 members: use 1 to 16384");
	start_refusal(), cluster.datacenters[0].replica_count = 0, refuse(NULL, "datacenter dc1: 0 replicas");
	start_refusal(), cluster.datacenters[0].replica_count = 9, refuse(NULL, "datacenter dc1: 9 replicas");
	start_refusal(), cluster.datacenters[0].name[0] = ' ', refuse(NULL, "datacenter 1: its name");
	start_refusal(), cluster_add_datacenter(&cluster, "dc1", 1), refuse(NULL, "datacenter dc1 stands twice");
	start_refusal(), strcpy(cluster.members[1].datacenter, "dc7"), refuse(NULL, "member n1: datacenter 'dc7'");
	start_refusal(), cluster.members[1].id = cluster.members[0].id, refuse(NULL, "the same id");
	start_refusal(), strcpy(cluster.members[1].name, "n0"), refuse(NULL, "two members are named n0");
	start_refusal(), cluster.members[1].name[0] = 0, refuse(NULL, "its name must be");
	start_refusal(), memset(cluster.members[1].name, 'a', RING_NAME_MAX), refuse(NULL, "its name must be");
	start_refusal(), strcpy(cluster.members[1].rack, "a b"), refuse(NULL, "member n1: its rack");
	start_refusal(), cluster.members[1].peer_address[0] = 0,
			 refuse(NULL, "member n1: client, peer and bus address");
	start_refusal(), cluster.members[1].id = 0, refuse(NULL, "member n1: id 0");
	start_refusal(), cluster.members[1].weight = 0, refuse(NULL, "member n1: weight 0");
	start_refusal(), cluster.members[1].weight = RING_WEIGHT_MAX + 1, refuse(NULL, "member n1: weight 10001");
	start_refusal(), cluster.members[1].state = 0, refuse(NULL, "member n1: state 0");
}

static void test_claim_refuses_other_cluster(void **state)
{
	struct ring_document *document;

	(void)state;
	start_refusal();
	document = cluster_claim(&cluster, NULL);
	cluster.plan.cluster_id++, refuse(document, "the plan is for cluster");
	start_refusal(), cluster.plan.hash_seed++, refuse(document, "hash seed");
	start_refusal(), cluster.plan.partition_count = 128, refuse(document, "fixed for the life of a cluster");
	ring_document_destroy(&document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_claim_equal_nodes),
		cmocka_unit_test(test_claim_fewer_nodes_than_replicas),
		cmocka_unit_test(test_claim_nobody_active),
		cmocka_unit_test(test_claim_weights),
		cmocka_unit_test(test_claim_weight_above_all),
		cmocka_unit_test(test_claim_distinct_racks),
		cmocka_unit_test(test_claim_fewer_racks_than_replicas),
		cmocka_unit_test(test_claim_datacenters),
		cmocka_unit_test(test_claim_nothing_changes),
		cmocka_unit_test(test_claim_join_moves_minimum),
		cmocka_unit_test(test_claim_leave_moves_minimum),
		cmocka_unit_test(test_claim_mixes_nodes_of_one_weight),
		cmocka_unit_test(test_claim_replica_count_changes),
		cmocka_unit_test(test_claim_random_stories),
		cmocka_unit_test(test_claim_moves_against_optimum),
		cmocka_unit_test(test_claim_order_of_plan_is_irrelevant),
		cmocka_unit_test(test_claim_hash_is_fixed),
		cmocka_unit_test(test_claim_refuses_bad_plan),
		cmocka_unit_test(test_claim_refuses_other_cluster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
