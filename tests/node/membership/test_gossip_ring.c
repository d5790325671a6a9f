/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip of ring documents: a cluster is formed, epochs rise, and no hostile or damaged document is installed. */
#include "tests/node/membership/net.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* ---- forming a cluster -------------------------------------------------------------------------------------- */

static void test_nothing_is_published_before_there_is_a_cluster(void **state)
{
	(void)state;
	open_net(3, 1);
	run_for(20 * ROUND_US);
	for (uint32_t i = 0; i < 3; i++) {
		const struct gossip_row *rows;

		assert_int_equal(look(i).epoch, 0);
		assert_int_equal(gossip_rows(net->nodes[i].gossip, &rows), 2); /* found each other through the seed */
	}
	close_net();
}

static void test_init_forms_the_cluster(void **state)
{
	struct glance first;

	(void)state;
	open_cluster(3, 2);
	first = look(0);
	assert_int_not_equal(first.cluster_id, 0);
	assert_true(net->inited->cluster_inited.cluster_id == first.cluster_id);
	assert_int_equal(net->inited->cluster_inited.epoch, 1);
	for (uint32_t i = 0; i < 3; i++) {
		struct glance glance = look(i);

		assert_true(glance.cluster_id == first.cluster_id && glance.hash == first.hash);
		assert_int_equal(glance.up, 3);
		assert_true(glance.self >= 0);
		assert_true(data_dir_cluster_id(net->nodes[i].data_dir) == first.cluster_id);
	}
	close_net();
}

/* Once for each ring, when the view has it; at a start too, as upkeep may have looked before the view was there. */
static void test_upkeep_is_told_of_each_ring(void **state)
{
	(void)state;
	open_cluster(3, 2);
	run_for(20 * ROUND_US);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(net->nodes[i].rings_told, 1);
	set_rack(1, "n2", "x", 20 * ROUND_US);
	ROUNDS_UNTIL(all_have_epoch(2), 20);
	run_for(20 * ROUND_US);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(net->nodes[i].rings_told, 2);
	stop_node(1);
	start_node(1);
	run_for(20 * ROUND_US);
	assert_int_equal(net->nodes[1].rings_told, 3);
	close_net();
}

/* An operator who names no count gets the default one. */
static void test_init_without_a_partition_count(void **state)
{
	struct arena *arena = rpc_arena_create(4096, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_INIT_CLUSTER);
	struct ring_member *member = rpc_arena_zalloc(arena, sizeof *member);

	(void)state;
	open_net(1, 50);
	fill_members(member, 0, 1);
	message->init_cluster = (struct init_cluster_body){.members = member, .member_count = 1};
	step(0, EVENT_MESSAGE, message);
	assert_non_null(net->inited);
	assert_int_equal(net->inited->cluster_inited.code, KVRING__V1__CODE__OK);
	const struct ring_view *view = ring_view_acquire(net->nodes[0].ring);
	assert_int_equal(ring_partition_count(view->document), RING_PARTITIONS_DEFAULT);
	ring_view_release(net->nodes[0].ring, view);
	close_net();
	rpc_arena_unref(arena);
}

static void test_the_initiator_without_seeds_reaches_nodes_it_never_heard(void **state)
{
	(void)state;
	open_net(5, 3);
	assert_int_equal(init_cluster(4, 0, 5), KVRING__V1__CODE__OK); /* before the first answer came */
	ROUNDS_UNTIL(all_have_epoch(1), 20);
	close_net();
}

/* Nobody knows anybody, and the first push is lost: the initiator goes on pushing to those that it was told of. */
static void test_init_without_any_seed(void **state)
{
	(void)state;
	without_seeds = true;
	open_net(5, 6);
	without_seeds = false;
	net->loss_percent = 100;
	assert_int_equal(init_cluster(2, 0, 5), KVRING__V1__CODE__OK);
	run_for(2 * ROUND_US);
	net->loss_percent = 0;
	assert_false(all_have_epoch(1));
	ROUNDS_UNTIL(all_have_epoch(1), 8);
	close_net();
}

static void test_a_second_init_is_refused_with_the_cluster_id(void **state)
{
	char id[32];

	(void)state;
	open_cluster(3, 4);
	snprintf(id, sizeof id, "%016lx", (unsigned long)look(0).cluster_id);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(init_cluster(i, 0, 3), KVRING__V1__CODE__FAILED_PRECONDITION);
		assert_non_null(strstr(net->inited->cluster_inited.text, id));
	}
	assert_int_equal(look(0).epoch, 1);
	close_net();
}

static void assert_init_refused(const struct ring_member *members, uint32_t count, const char *says)
{
	assert_int_equal(init_with(0, members, count), KVRING__V1__CODE__INVALID_ARGUMENT);
	if (strstr(net->inited->cluster_inited.text, says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", net->inited->cluster_inited.text, says);
	assert_int_equal(look(0).epoch, 0);
	assert_int_equal(data_dir_cluster_id(net->nodes[0].data_dir), 0);
}

static void test_init_names_what_is_wrong(void **state)
{
	struct ring_member members[3];

	(void)state;
	open_net(1, 5);
	fill_members(members, 0, 3);
	assert_init_refused(members, 0, "0 members");
	assert_init_refused(members + 1, 2, "lack this node (n0)");
	members[2].id = members[1].id;
	assert_init_refused(members, 3, "have the same id");
	fill_members(members, 0, 3);
	strcpy(members[2].name, "n1");
	assert_init_refused(members, 3, "named n1");
	fill_members(members, 0, 3);
	members[1].peer_address[0] = 0;
	assert_init_refused(members, 3, "member 1 (n1)");
	strcpy(members[1].peer_address, "nonsense");
	assert_init_refused(members, 3, "member 1 (n1): address \"nonsense\" has no port");
	strcpy(members[1].peer_address, members[2].peer_address);
	assert_init_refused(members, 3, "the same peer address 10.0.0.2:2");
	close_net();
}

/* Seconds of CPU until so many members are refused, the last of which has the name of the first. */
static double refusal_cpu_s(const struct ring_member *members, uint32_t count, uint32_t times)
{
	clock_t begin = clock();

	for (uint32_t i = 0; i < times; i++)
		assert_init_refused(members, count, "two members are named n0");
	return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

/* 16 times as many members cost about 16 times as much to check, not 256 times. */
static void test_many_members_are_checked_in_good_time(void **state)
{
	enum { FEW = RING_MEMBERS_MAX / 16 };
	struct ring_member *members = calloc(RING_MEMBERS_MAX, sizeof *members);

	(void)state;
	open_net(1, 6);
	fill_members(members, 0, RING_MEMBERS_MAX);
	strcpy(members[RING_MEMBERS_MAX - 1].name, members[0].name);
	double many = refusal_cpu_s(members, RING_MEMBERS_MAX, 1);
	strcpy(members[FEW - 1].name, members[0].name);
	assert_in_range((uint64_t)(many * 1e6), 0, 5 * (uint64_t)(refusal_cpu_s(members, FEW, 16) * 1e6));
	free(members);
	close_net();
}

/* ---- convergence -------------------------------------------------------------------------------------------- */

static void test_news_reaches_many_nodes_under_loss(void **state)
{
	static const uint32_t sizes[] = {10, 30, 100};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		uint32_t rounds;

		open_net(sizes[i], 10 + i);
		net->loss_percent = 10;
		run_for(5 * ROUND_US);
		assert_int_equal(init_cluster(0, 0, sizes[i]), KVRING__V1__CODE__OK);
		rounds = ROUNDS_UNTIL(all_have_epoch(1), 12);
		run_for(15 * ROUND_US);
		for (uint32_t n = 0; n < sizes[i]; n++)
			assert_int_equal(look(n).up, sizes[i]);
		print_message("%u nodes, 10 %% loss: the document is everywhere after %u rounds\n", sizes[i], rounds);
		close_net();
	}
}

/* ---- documents ---------------------------------------------------------------------------------------------- */

static void test_epochs_only_rise(void **state)
{
	struct ring_document *one, *two, *three;

	(void)state;
	open_net(4, 30);
	one = next_document(NULL, 4, 77);
	two = next_document(one, 4, 77);
	three = next_document(two, 4, 77);
	offer(0, two, 77);
	assert_int_equal(look(0).epoch, 2);
	offer(0, one, 77); /* G2 */
	assert_int_equal(look(0).epoch, 2);
	ROUNDS_UNTIL(all_have_epoch(2), 10);
	stop_node(3); /* away while the epoch rises */
	offer(1, three, 77);
	ROUNDS_UNTIL(all_have_epoch(3), 10);
	start_node(3);
	assert_int_equal(look(3).epoch, 2);
	ROUNDS_UNTIL(all_have_epoch(3), 10);
	offer(3, two, 77);
	assert_int_equal(look(3).epoch, 3);
	ring_document_destroy(&one);
	ring_document_destroy(&two);
	ring_document_destroy(&three);
	close_net();
}

static void test_another_cluster_is_refused(void **state)
{
	struct ring_document *foreign;
	struct glance left, right;

	(void)state;
	open_net(6, 31);
	run_for(3 * ROUND_US); /* all know each other */
	assert_int_equal(init_cluster(0, 0, 3), KVRING__V1__CODE__OK);
	assert_int_equal(init_cluster(3, 3, 3), KVRING__V1__CODE__OK);
	ROUNDS_UNTIL(all_have_epoch(1), 10);
	run_for(20 * ROUND_US);
	left = look(0);
	right = look(5);
	assert_true(left.cluster_id != right.cluster_id);
	assert_int_equal(left.up, 3);
	assert_int_equal(right.up, 3);
	foreign = next_document(NULL, 6, right.cluster_id);
	offer(0, foreign, right.cluster_id);
	offer(0, foreign, left.cluster_id); /* lies about where it belongs */
	assert_true(look(0).cluster_id == left.cluster_id && look(0).hash == left.hash);
	assert_in_range(gossip_counters(net->nodes[0].gossip)->foreign, 2, UINT32_MAX);
	ring_document_destroy(&foreign);
	close_net();
}

static void test_a_ring_without_this_node_is_not_joined(void **state)
{
	(void)state;
	open_net(4, 32);
	run_for(3 * ROUND_US);
	assert_int_equal(init_cluster(0, 0, 3), KVRING__V1__CODE__OK);
	run_for(30 * ROUND_US);
	assert_int_equal(look(2).epoch, 1);
	assert_int_equal(look(3).epoch, 0);
	assert_int_equal(data_dir_cluster_id(net->nodes[3].data_dir), 0);
	close_net();
}

static void test_a_conflicting_document_is_refused_and_counted(void **state)
{
	struct ring_document *one, *a, *b;
	struct glance before;

	(void)state;
	open_net(4, 33);
	one = next_document(NULL, 4, 77);
	a = next_document(one, 4, 77);
	b = next_document(one, 3, 77);
	offer(0, a, 77);
	before = look(0);
	offer(0, b, 77);
	assert_true(look(0).hash == before.hash);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->conflicts, 1);
	ring_document_destroy(&one);
	ring_document_destroy(&a);
	ring_document_destroy(&b);
	close_net();
}

/* A node that cannot have the others' document reads no beats. It hears of all nevertheless, and they of it. */
static void test_members_in_another_document_are_heard(void **state)
{
	struct ring_document *one, *other, *theirs, *its;

	(void)state;
	open_net(6, 34);
	one = next_document(NULL, 6, 77);
	other = next_document(NULL, 5, 77);
	theirs = next_document(one, 6, 77);
	its = next_document(other, 6, 77);
	assert_true(ring_hash(theirs) != ring_hash(its));
	for (uint32_t i = 0; i < 6; i++)
		offer(i, i == 3 ? its : theirs, 77);
	run_for(30 * ROUND_US);
	assert_true(look(3).hash == ring_hash(its) && look(0).hash == ring_hash(theirs));
	for (uint32_t round = 0; round < 100; round++) {
		run_for(ROUND_US);
		for (uint32_t i = 0; i < 6; i++)
			assert_int_equal(look(i).up, 6);
	}
	ring_document_destroy(&one);
	ring_document_destroy(&other);
	ring_document_destroy(&theirs);
	ring_document_destroy(&its);
	close_net();
}

/* A newer epoch, the same cluster, but keys would be looked for elsewhere: no honest document. */
static void test_a_document_with_other_partitions_is_refused(void **state)
{
	struct ring_document *one, *other, *newer;

	(void)state;
	open_net(4, 34);
	one = next_document(NULL, 4, 77);
	other = claim_document(NULL, 4, 77, 128);
	newer = claim_document(other, 4, 77, 128);
	offer(0, one, 77);
	offer(0, newer, 77);
	assert_int_equal(look(0).epoch, 1);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->conflicts, 1);
	ring_document_destroy(&one);
	ring_document_destroy(&other);
	ring_document_destroy(&newer);
	close_net();
}

static void test_damaged_documents_are_counted(void **state)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_GOSSIP);

	(void)state;
	open_net(1, 34);
	message->gossip = rpc_arena_zalloc(arena, sizeof *message->gossip);
	message->gossip->document = slice("no document at all");
	rpc_arena_unref(arena);
	step(0, EVENT_MESSAGE, message);
	assert_int_equal(look(0).epoch, 0);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->malformed, 1);
	close_net();
}

/* G1, the disk fails at every operation: what is published is on stable storage, and an error is never a half cluster.
 */
static void test_published_means_durable(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t at = 0; fired; at++) {
		struct sim_crash crash = {SIM_DATA_DROP, SIM_NAMES_DROP, 0};
		struct glance before;
		uint32_t code;

		open_net(1, 35);
		sim_fs_reset_operations(net->disk);
		sim_fs_fail_at(net->disk, at, -EIO, false);
		code = init_cluster(0, 0, 1);
		fired = sim_fs_fired(net->disk);
		before = look(0);
		assert_int_equal(before.epoch, code == KVRING__V1__CODE__OK ? 1 : 0);
		assert_int_equal(code, fired ? KVRING__V1__CODE__INTERNAL : KVRING__V1__CODE__OK);
		sim_fs_fail_never(net->disk);
		sim_fs_crash(net->disk, &crash);
		stop_node(0);
		sim_fs_restart(net->disk);
		start_node(0);
		if (before.epoch > 0)
			assert_true(look(0).hash == before.hash);
		else if (look(0).epoch == 0) /* and can be tried again */
			assert_int_equal(init_cluster(0, 0, 1), KVRING__V1__CODE__OK);
		close_net();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_published_before_there_is_a_cluster),
		cmocka_unit_test(test_init_forms_the_cluster),
		cmocka_unit_test(test_upkeep_is_told_of_each_ring),
		cmocka_unit_test(test_init_without_a_partition_count),
		cmocka_unit_test(test_the_initiator_without_seeds_reaches_nodes_it_never_heard),
		cmocka_unit_test(test_init_without_any_seed),
		cmocka_unit_test(test_a_second_init_is_refused_with_the_cluster_id),
		cmocka_unit_test(test_init_names_what_is_wrong),
		cmocka_unit_test(test_many_members_are_checked_in_good_time),
		cmocka_unit_test(test_news_reaches_many_nodes_under_loss),
		cmocka_unit_test(test_epochs_only_rise),
		cmocka_unit_test(test_another_cluster_is_refused),
		cmocka_unit_test(test_a_ring_without_this_node_is_not_joined),
		cmocka_unit_test(test_a_conflicting_document_is_refused_and_counted),
		cmocka_unit_test(test_members_in_another_document_are_heard),
		cmocka_unit_test(test_a_document_with_other_partitions_is_refused),
		cmocka_unit_test(test_damaged_documents_are_counted),
		cmocka_unit_test(test_published_means_durable),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
