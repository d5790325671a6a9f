/* SPDX-License-Identifier: Apache-2.0 */
/* Gossip of identities: which process is a member, when two have its id, its name or its place, or its directory was
 * restored.
 */
#include "tests/node/membership/net.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "node/membership/standing.h"

/* ---- twins -------------------------------------------------------------------------------------------------- */

static bool is_displaced(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	bool displaced = view->status[view->self].displaced;

	ring_view_release(net->nodes[node].ring, view);
	return displaced;
}

static bool serves(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	bool serves = standing_refusal(view) == NULL;

	ring_view_release(net->nodes[node].ring, view);
	return serves;
}

/* A copy of a directory in use is started elsewhere: the original goes on, the copy stops serving, and nobody shouts for ever. */
static void test_of_two_processes_with_one_id_one_stops(void **state)
{
	struct gossip_row twin;
	uint64_t impostors;

	(void)state;
	open_cluster(4, 23);
	run_for(10 * ROUND_US);
	fill_row(2, &twin);
	twin.boot = 2; /* it was started once more */
	twin.life = 77;
	for (uint32_t round = 0; round < 30; round++) {
		run_for(ROUND_US);
		twin.heartbeat++;
		twin.incarnation = row_at(1, twin.node_id)->incarnation + (row_at(1, twin.node_id)->life != 77);
		tell(1, &twin, 1);
		/* It has heard within two rounds, and acknowledges nothing from then on; after ten it knows. */
		assert_true(round < 2 || !serves(2));
		assert_true(round < 10 || is_displaced(2));
	}
	assert_int_equal(gossip_counters(net->nodes[2].gossip)->displaced, 1);
	assert_true(is_displaced(2));
	assert_false(is_displaced(1));
	assert_int_equal(row_at(1, twin.node_id)->life, 77); /* the others believe the other one */
	impostors = gossip_counters(net->nodes[2].gossip)->impostors;
	for (uint32_t round = 0; round < 30; round++) {
		run_for(ROUND_US);
		twin.heartbeat++;
		tell(1, &twin, 1);
	}
	assert_int_equal(gossip_counters(net->nodes[2].gossip)->impostors, impostors);
	close_net();
}

/* The copy has the older directory: it is the one to stop. */
static void test_the_process_that_lived_on_goes_on(void **state)
{
	struct gossip_row twin;

	(void)state;
	open_cluster(4, 24);
	run_for(10 * ROUND_US);
	fill_row(2, &twin);
	twin.boot = 0;
	twin.life = 77;
	for (uint32_t round = 0; round < 40; round++) {
		run_for(ROUND_US);
		twin.heartbeat++;
		twin.incarnation = row_at(1, twin.node_id)->incarnation + (row_at(1, twin.node_id)->life != 77);
		tell(1, &twin, 1);
		assert_true(serves(2));
	}
	assert_false(is_displaced(2));
	ROUNDS_UNTIL(row_at(1, twin.node_id)->life != 77, 4); /* the copy has stopped by itself: it hears, too */
	close_net();
}

/* ---- namesakes ---------------------------------------------------------------------------------------------- */

static void test_a_namesake_of_a_member_is_counted(void **state)
{
	struct gossip_row row;

	(void)state;
	open_cluster(3, 46);
	fill_row(2, &row);
	row.node_id = 4711; /* the member's directory was lost, and it came back as a new node */
	tell(0, &row, 1);
	assert_int_equal(gossip_counters(net->nodes[0].gossip)->namesakes, 1);
	close_net();
}

static void test_init_in_the_place_of_a_member_is_refused(void **state)
{
	struct gossip_row row;

	(void)state;
	open_net(2, 47);
	fill_row(1, &row);
	row.node_id = 4711;
	row.cluster_id = 77;
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 2), KVRING__V1__CODE__FAILED_PRECONDITION);
	assert_non_null(strstr(net->inited->cluster_inited.text, "data directory"));
	row.node_id = id_of(1); /* a node that is in a cluster, this time by its own id */
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 2), KVRING__V1__CODE__FAILED_PRECONDITION);
	row.node_id = 4712; /* and one whose last words were from before there was a cluster */
	row.cluster_id = 0;
	snprintf(row.peer_address, sizeof row.peer_address, "10.0.0.0:2");
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 1), KVRING__V1__CODE__FAILED_PRECONDITION);
	assert_int_equal(look(0).epoch, 0);
	close_net();
}

static void test_a_place_whose_node_was_emptied_before_there_was_a_cluster_is_free(void **state)
{
	struct gossip_row row;

	(void)state;
	open_net(2, 48);
	fill_row(1, &row);
	row.node_id = 4711;
	tell(0, &row, 1);
	assert_int_equal(init_cluster(0, 0, 2), KVRING__V1__CODE__OK);
	close_net();
}

/* ---- a store that went back in time ------------------------------------------------------------------------- */

static void test_a_restored_directory_is_heard_again(void **state)
{
	const uint8_t *bytes;
	uint8_t *old;
	uint64_t size;

	(void)state;
	open_cluster(5, 23);
	assert_int_equal(sim_fs_look(net->disk, "/n4/node", &bytes, &size), 0);
	old = malloc(size);
	memcpy(old, bytes, size);
	for (int i = 0; i < 5; i++) { /* its incarnation rises */
		stop_node(4);
		start_node(4);
		for (int round = 0; round < 8; round++) {
			run_for(ROUND_US / 2);
			assert_true(serves(4)); /* an ordinary start is no sign of another process */
		}
		assert_int_equal(gossip_counters(net->nodes[4].gossip)->went_back, 0);
	}
	stop_node(4);
	sim_fs_put_file(net->disk, "/n4/node", old, size);
	free(old);
	run_for(TIMEOUT_US + 4 * ROUND_US);
	assert_true(all_see(4, RING_DOWN));
	start_node(4);
	ROUNDS_UNTIL(all_see(4, RING_UP), 6);
	assert_false(serves(4)); /* is the later process alive? */
	ROUNDS_UNTIL(serves(4), 20);
	run_for(40 * ROUND_US);
	assert_true(serves(4));
	assert_in_range(gossip_counters(net->nodes[4].gossip)->impostors, 1, 100);
	assert_in_range(gossip_counters(net->nodes[4].gossip)->went_back, 1, 100);
	assert_int_equal(gossip_counters(net->nodes[4].gossip)->displaced, 0); /* what it was before lives no more */
	close_net();
}

struct kept_file {
	uint8_t *bytes;
	uint64_t size;
};

static struct kept_file keep_identity(const char *path)
{
	const uint8_t *bytes;
	struct kept_file kept;

	assert_int_equal(sim_fs_look(net->disk, path, &bytes, &kept.size), 0);
	kept.bytes = malloc(kept.size);
	memcpy(kept.bytes, bytes, kept.size);
	return kept;
}

static void put_back(const char *path, struct kept_file kept)
{
	sim_fs_put_file(net->disk, path, kept.bytes, kept.size);
	free(kept.bytes);
}

static bool is_unproven(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	bool unproven = view->status[view->self].unproven;

	ring_view_release(net->nodes[node].ring, view);
	return unproven;
}

static bool is_receiving(uint32_t node, uint32_t as_seen_by)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[as_seen_by].ring);
	bool receiving = view->status[ring_member_find(view->document, id_of(node))].receiving;

	ring_view_release(net->nodes[as_seen_by].ring, view);
	return receiving;
}

static void restart(uint32_t node)
{
	stop_node(node);
	start_node(node);
}

static void test_a_start_is_proven_when_a_majority_keeps_it(void **state)
{
	(void)state;
	open_cluster(3, 31);
	for (uint32_t i = 0; i < 3; i++)
		ROUNDS_UNTIL(!is_unproven(i), 3);
	set_sides(2); /* n2 is alone */
	restart(2);
	run_for(10 * ROUND_US);
	assert_true(is_unproven(2));
	restart(1); /* itself and n0 are two of three */
	assert_true(is_unproven(1));
	run_for(2 * ROUND_US);
	assert_false(is_unproven(1));
	set_sides(3);
	run_for(2 * ROUND_US);
	assert_false(is_unproven(2));
	for (uint32_t i = 0; i < 3; i++)
		assert_false(is_receiving(i, i));
	close_net();
}

/* Does node keep on its disk that somebody started for the nth time? */
static bool keeps_start(uint32_t node, uint64_t boot)
{
	struct rpc_error error;
	uint8_t *bytes = NULL;
	char wanted[32];
	size_t size = 0;

	assert_in_range(data_dir_members_load(net->nodes[node].data_dir, &bytes, &size, &error), 0, 1);
	char *text = strndup(bytes != NULL ? (const char *)bytes : "", size);
	snprintf(wanted, sizeof wanted, " %" PRIu64 " ", boot);
	bool keeps = strstr(text, wanted) != NULL;
	free(text);
	free(bytes);
	return keeps;
}

static void ask_with_start(uint64_t boot, uint64_t life)
{
	struct arena *arena = rpc_arena_create(1024, SIZE_MAX);
	struct message *question = message_create(arena, MESSAGE_GOSSIP);
	struct gossip_row row = *row_at(0, id_of(1));

	row.boot = boot;
	row.life = life;
	question->from = (struct address){id_of(1), ACTOR_GOSSIP, 0};
	question->to = (struct address){id_of(0), ACTOR_GOSSIP, 0};
	question->gossip = rpc_arena_zalloc(arena, sizeof *question->gossip);
	question->gossip->from = id_of(1);
	question->gossip->rows = rpc_arena_copy(arena, &row, sizeof row);
	question->gossip->row_count = 1;
	question->gossip->brief = true;
	rpc_arena_unref(arena);
	step(0, EVENT_MESSAGE, question);
}

static void test_starts_are_kept_as_lines_of_text(void **state)
{
	const uint64_t boots[] = {9, 10, 1234567890, UINT64_MAX};
	char expected[100];
	struct rpc_error error;
	uint8_t *bytes;
	size_t size;

	(void)state;
	open_cluster(2, 68);
	ask_with_start(9, 0); /* of a version that says nothing of its life: when it does, that is kept */
	assert_false(keeps_start(0, 9));
	for (uint32_t i = 0; i < 4; i++) {
		uint64_t life = UINT64_C(0x0123456789abcdef) >> (16 * i);

		ask_with_start(boots[i], life);
		assert_int_equal(data_dir_members_load(net->nodes[0].data_dir, &bytes, &size, &error), 1);
		snprintf(expected, sizeof expected, "kvring members 1\n%016lx %lu %016lx\nchecksum ", id_of(1),
			 boots[i], life);
		assert_in_range(size, strlen(expected) + 1, 200);
		assert_memory_equal(bytes, expected, strlen(expected));
		free(bytes);
	}
	close_net();
}

/* A majority is enough to be proven, but the more members keep a start, the surer is a copy found out. */
static void test_a_proven_node_goes_on_to_tell_all_of_its_start(void **state)
{
	(void)state;
	open_cluster(3, 67);
	run_for(20 * ROUND_US);
	stop_node(2);
	net->severed[1] = 2; /* from node 0 */
	start_node(2);
	for (uint32_t step = 0; is_unproven(2); step++) {
		assert_in_range(step, 0, 30);
		run_for(ROUND_US / 10);
	}
	assert_true(keeps_start(1, 2));
	assert_false(keeps_start(0, 2));
	net->severed[1] = 0;
	run_for(ROUND_US + ROUND_US / 4);
	assert_true(keeps_start(0, 2));
	close_net();
}

static void test_a_cluster_of_one_proves_itself(void **state)
{
	(void)state;
	open_cluster(1, 32);
	assert_false(is_unproven(0));
	restart(0);
	assert_false(is_unproven(0));
	close_net();
}

/* The others remember over their own restarts; the node remembers that it was told over its own. */
static void test_a_restored_directory_is_receiving_until_it_is_accepted(void **state)
{
	struct kept_file kept;

	(void)state;
	open_cluster(3, 33);
	kept = keep_identity("/n2/node");
	restart(2);
	run_for(10 * ROUND_US);
	assert_false(is_unproven(2));
	for (uint32_t i = 0; i < 3; i++)
		stop_node(i);
	put_back("/n2/node", kept);
	start_node(2); /* the same number, another process */
	assert_true(is_unproven(2));
	run_for(5 * ROUND_US);
	assert_true(is_unproven(2)); /* nobody is there to ask */
	assert_false(is_receiving(2, 2));
	start_node(0);
	ROUNDS_UNTIL(is_receiving(2, 2), 3);
	assert_true(is_unproven(2));
	assert_int_equal(net->nodes[2].notes[NOTE_WENT_BACK], 1);
	start_node(1);
	ROUNDS_UNTIL(is_receiving(2, 1) && is_receiving(2, 0), 8);
	for (int i = 0; i < 3; i++) {
		restart(2);
		run_for(10 * ROUND_US);
		assert_true(is_unproven(2));
		assert_int_equal(gossip_counters(net->nodes[2].gossip)->went_back, 0); /* told once */
	}
	stop_node(2);
	struct rpc_error error;
	open_home(2);
	assert_int_equal(data_dir_accept_restored(net->nodes[2].data_dir, &error), 0);
	data_dir_close(&net->nodes[2].data_dir);
	start_node(2);
	ROUNDS_UNTIL(!is_unproven(2), 3);
	ROUNDS_UNTIL(!is_receiving(2, 0) && !is_receiving(2, 1), 8);
	close_net();
}

/* One of many remembers, and the majority that kept this start did not: it is told late, but it is told. */
static void test_whoever_remembers_tells(void **state)
{
	struct kept_file kept;

	(void)state;
	open_cluster(5, 34);
	kept = keep_identity("/n4/node");
	for (uint32_t i = 1; i < 4; i++)
		net->nodes[i].side = 1;
	restart(4); /* n0 alone hears of this start */
	run_for(10 * ROUND_US);
	stop_node(4);
	net->nodes[0].side = 2;
	for (uint32_t i = 1; i < 4; i++)
		net->nodes[i].side = 0;
	put_back("/n4/node", kept);
	start_node(4);
	ROUNDS_UNTIL(!is_unproven(4), 3);
	net->nodes[0].side = 0;
	ROUNDS_UNTIL(is_unproven(4) && is_receiving(4, 4), 60);
	close_net();
}

/* G7: what could not be kept is not confirmed. */
static int refuse_members(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	(void)arg, (void)index;
	return call == SIM_FS_CREATE && strstr(path, "/members") != NULL ? -EIO : 0;
}

static void test_a_start_that_is_not_kept_is_not_confirmed(void **state)
{
	(void)state;
	open_cluster(3, 35);
	sim_fs_set_hook(net->disk, refuse_members, NULL);
	restart(2);
	run_for(10 * ROUND_US);
	assert_true(is_unproven(2));
	assert_in_range(gossip_counters(net->nodes[0].gossip)->unkept, 1, 100);
	sim_fs_set_hook(net->disk, NULL, NULL);
	ROUNDS_UNTIL(!is_unproven(2), 3);
	close_net();
}

static void test_every_damaged_bit_of_what_is_kept_is_noticed(void **state)
{
	const uint8_t *bytes;
	uint64_t size;

	(void)state;
	open_cluster(3, 36);
	run_for(3 * ROUND_US);
	stop_node(0);
	assert_int_equal(sim_fs_look(net->disk, "/n0/members", &bytes, &size), 0);
	for (uint64_t at = 0; at < size; at++) {
		struct gossip_options options = {.seed = 1};
		struct rpc_error error;
		struct gossip *gossip;

		sim_fs_flip_bit(net->disk, "/n0/members", at, (uint32_t)at % 8);
		open_home(0);
		fill_row(0, &options.self);
		options.data_dir = net->nodes[0].data_dir;
		assert_int_equal(ring_table_create(id_of(0), &options.ring), 0);
		assert_int_equal(gossip_create(&options, &gossip, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "/n0/members: damaged"));
		ring_table_destroy(&options.ring);
		data_dir_close(&net->nodes[0].data_dir);
		sim_fs_flip_bit(net->disk, "/n0/members", at, (uint32_t)at % 8);
	}
	start_node(0);
	close_net();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_start_is_proven_when_a_majority_keeps_it),
		cmocka_unit_test(test_starts_are_kept_as_lines_of_text),
		cmocka_unit_test(test_a_proven_node_goes_on_to_tell_all_of_its_start),
		cmocka_unit_test(test_a_cluster_of_one_proves_itself),
		cmocka_unit_test(test_a_restored_directory_is_receiving_until_it_is_accepted),
		cmocka_unit_test(test_whoever_remembers_tells),
		cmocka_unit_test(test_a_start_that_is_not_kept_is_not_confirmed),
		cmocka_unit_test(test_every_damaged_bit_of_what_is_kept_is_noticed),
		cmocka_unit_test(test_a_restored_directory_is_heard_again),
		cmocka_unit_test(test_init_in_the_place_of_a_member_is_refused),
		cmocka_unit_test(test_a_place_whose_node_was_emptied_before_there_was_a_cluster_is_free),
		cmocka_unit_test(test_of_two_processes_with_one_id_one_stops),
		cmocka_unit_test(test_the_process_that_lived_on_goes_on),
		cmocka_unit_test(test_a_namesake_of_a_member_is_counted),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
