/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the owners: plans, the steps that follow a commit whoever fails meanwhile, aborts, and what is refused. */
#include "node/membership/ring_change.h"
#include "node/membership/standing.h"
#include "tests/node/membership/net.h"
#include <errno.h>
#include <stdlib.h>

enum { SECOND_US = 1000 * 1000, TIMEOUT = 5 * SECOND_US };

/* ---- a cluster, and what is asked of it ----------------------------------------------------------------------- */

/* Racks stand in the way of few nodes that are to have equal shares. */
static void clear_rack(uint32_t index, struct gossip_row *row)
{
	(void)index;
	row->rack[0] = 0;
}

/* The first nodes are members, the others are heard. */
static void open_grown(uint32_t member_count, uint32_t node_count, uint64_t seed)
{
	open_net(node_count, seed);
	net->one_ring = true;
	run_for(5 * ROUND_US);
	assert_int_equal(init_cluster(0, 0, member_count), KVRING__V1__CODE__OK);
	run_for(15 * ROUND_US); /* members are proven, and hear the others */
}

static struct member_change change(enum change_kind kind, const char *node, const char *replacement, uint32_t weight)
{
	struct member_change change = {.kind = kind, .weight = weight};

	snprintf(change.node, sizeof change.node, "%s", node);
	snprintf(change.replacement, sizeof change.replacement, "%s", replacement);
	return change;
}

static void assert_change(const struct change *change, uint32_t code, const char *says)
{
	if (!change->answered || change->code != code || strstr(change->text, says) == NULL)
		fail_msg("answered %d code %u \"%s\", not code %u \"%s\"", change->answered, change->code, change->text,
			 code, says);
}

static struct change *plan(uint32_t node, const struct member_change *changes, uint32_t count)
{
	struct change *planned = ask_change(node, MESSAGE_PLAN_CHANGE, changes, count, NULL, false, TIMEOUT);

	assert_true(planned->answered); /* at once */
	return planned;
}

/* Planned and committed at one node. */
static struct change *commit(uint32_t node, const struct member_change *changes, uint32_t count)
{
	const struct change *planned = plan(node, changes, count);

	assert_change(planned, KVRING__V1__CODE__OK, "");
	return ask_change(node, MESSAGE_COMMIT_CHANGE, changes, count, planned, false, TIMEOUT);
}

static void commit_one(uint32_t node, enum change_kind kind, const char *name, const char *replacement, uint32_t weight)
{
	struct member_change one = change(kind, name, replacement, weight);
	const struct change *committed = commit(node, &one, 1);

	ROUNDS_UNTIL(committed->answered, 20);
	assert_change(committed, KVRING__V1__CODE__OK, "");
}

static void refused(uint32_t node, struct member_change one, uint32_t code, const char *says)
{
	assert_change(plan(node, &one, 1), code, says);
	net->change_count--;
	net->changes[net->change_count] = (struct change){0};
}

/* ---- what a node sees ----------------------------------------------------------------------------------------- */

static enum ring_transition transition_of(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	enum ring_transition transition = ring_transition(view->document);

	ring_view_release(net->nodes[node].ring, view);
	return transition;
}

/* "active", "standby", "leaving"; "": no member. */
static const char *state_of(uint32_t node, const char *name)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	int index = ring_member_find_name(view->document, name);
	const char *state =
		index < 0 ? "" : ring_change_state_name(ring_member(view->document, (uint32_t)index)->state);

	ring_view_release(net->nodes[node].ring, view);
	return state;
}

static uint32_t partitions_of(uint32_t node, const char *name)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	int index = ring_member_find_name(view->document, name);
	uint32_t partitions = index < 0 ? 0 : ring_member_replicas(view->document, (uint32_t)index);

	ring_view_release(net->nodes[node].ring, view);
	return partitions;
}

static bool has_leavers(uint32_t node)
{
	const struct ring_view *view = ring_view_acquire(net->nodes[node].ring);
	bool leavers = false;

	for (uint32_t i = 0; i < ring_member_count(view->document); i++)
		leavers |= ring_member(view->document, i)->state == RING_MEMBER_LEAVING;
	ring_view_release(net->nodes[node].ring, view);
	return leavers;
}

/* Of the members that live: one stable ring without leavers. */
static bool all_settled(void)
{
	uint64_t epoch = 0;

	for (uint32_t i = 0; i < net->node_count; i++) {
		struct glance glance;

		if (!net->nodes[i].alive)
			continue;
		glance = look(i);
		if (glance.self < 0)
			continue; /* heard of alone, or removed */
		if (epoch != 0 && glance.epoch != epoch)
			return false;
		epoch = glance.epoch;
		if (transition_of(i) != RING_STABLE || has_leavers(i))
			return false;
	}
	return epoch > 0;
}

static uint64_t newest_epoch(void)
{
	uint64_t epoch = 0;

	for (uint32_t i = 0; i < net->node_count; i++)
		if (net->nodes[i].alive && look(i).epoch > epoch)
			epoch = look(i).epoch;
	return epoch;
}

/* ---- plans ---------------------------------------------------------------------------------------------------- */

static void test_a_plan_says_what_would_happen(void **state)
{
	struct member_change join = change(CHANGE_JOIN, "n3", "", 0);
	const struct change *planned, *again;
	const struct change_plan *shown;

	(void)state;
	open_grown(3, 4, 300);
	net->disk_bytes = 64 << 20;
	run_for(20 * ROUND_US);
	planned = plan(1, &join, 1);
	assert_change(planned, KVRING__V1__CODE__OK, "");
	assert_true(planned->parent_hash == look(0).hash);
	assert_int_equal(planned->epoch, 2);
	assert_int_equal(planned->moves, planned->minimum_moves);
	assert_in_range(planned->moves, 40, 56); /* a quarter of 192 places */
	assert_int_equal(planned->member_count, 4);
	shown = net->planned->change_plan.plan;
	uint32_t places = 0, gained = 0, over_links = 0;
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < 4; i++) {
		const struct planned_member *member = &shown->members[i];
		bool comes = strcmp(member->name, "n3") == 0;

		assert_string_equal(member->state_before, comes ? "" : "active");
		assert_string_equal(member->state_after, "active");
		assert_int_equal(member->weight_before, comes ? 0 : 100);
		assert_int_equal(member->weight_after, 100);
		assert_int_equal(member->partitions_before, comes ? 0 : 64);
		places += member->partitions_after;
		gained += comes ? member->partitions_after : 0;
	}
	assert_int_equal(places, 192);
	assert_int_equal(gained, planned->moves);
	for (uint32_t i = 0; i < shown->link_count; i++) {
		assert_true(shown->links[i].to == id_of(3));
		assert_true(shown->links[i].from != 0);
		over_links += shown->links[i].partitions;
		bytes += shown->links[i].bytes;
	}
	assert_int_equal(over_links, planned->moves);
	assert_true(bytes == (uint64_t)planned->moves << 20); /* 1 MiB each: 64 MiB on 64 partitions */
	assert_true(planned->bytes == bytes);
	assert_int_equal(planned->estimated_ms, bytes * 1000 / (32 << 20));
	assert_int_equal(look(1).epoch, 1); /* and nothing happened */
	again = plan(2, &join, 1);
	assert_true(again->plan_hash == planned->plan_hash); /* at whichever node */
	close_net();
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

static void test_a_join_goes_through_all_steps(void **state)
{
	(void)state;
	open_grown(3, 4, 301);
	commit_one(0, CHANGE_JOIN, "n3", "", 0);
	ROUNDS_UNTIL(all_have_epoch(2), 10);
	assert_int_equal(transition_of(3), RING_WRITE_BOTH_READ_OLD);
	for (uint32_t i = 0; i < 3; i++)
		say_ready(i);
	run_for(100 * ROUND_US); /* the comer has not said it: reads stay at the old owners */
	assert_true(all_have_epoch(2));
	say_ready(3);
	ROUNDS_UNTIL(all_settled(), 20);
	assert_true(all_have_epoch(4));
	assert_string_equal(state_of(0, "n3"), "active");
	assert_in_range(partitions_of(2, "n3"), 40, 56);
	close_net();
}

/* A word of the former ring, or of another one, does not count. */
static void test_ready_is_of_one_document(void **state)
{
	struct arena *arena = rpc_arena_create(256, SIZE_MAX);
	struct message *message = message_create(arena, MESSAGE_READY);

	(void)state;
	rpc_arena_unref(arena);
	open_grown(3, 4, 302);
	for (uint32_t i = 0; i < 3; i++)
		say_ready(i);
	commit_one(0, CHANGE_JOIN, "n3", "", 0);
	ROUNDS_UNTIL(all_have_epoch(2), 10);
	message->ready = (struct ready_body){2, look(3).hash + 1};
	step(3, EVENT_MESSAGE, message);
	say_ready(3);
	run_for(50 * ROUND_US);
	assert_true(all_have_epoch(2)); /* of epoch 2 the others have said nothing yet */
	for (uint32_t i = 0; i < 3; i++)
		say_ready(i);
	ROUNDS_UNTIL(all_settled(), 20);
	close_net();
}

/* It hands over, is dropped, and neither serves nor comes back. */
static void test_a_member_leaves(void **state)
{
	const struct ring_view *view;
	const char *refusal;

	(void)state;
	open_grown(5, 5, 303);
	net->auto_ready = true;
	commit_one(4, CHANGE_LEAVE, "n4", "", 0); /* asked for at itself */
	assert_string_equal(state_of(4, "n4"), "leaving");
	ROUNDS_UNTIL(all_settled(), 60);
	assert_string_equal(state_of(0, "n4"), "");
	ROUNDS_UNTIL(look(4).epoch == look(0).epoch, 40);
	view = ring_view_acquire(net->nodes[4].ring);
	refusal = standing_refusal(view);
	ring_view_release(net->nodes[4].ring, view);
	assert_non_null(refusal);
	assert_non_null(strstr(refusal, "no member of the cluster any more"));
	assert_non_null(strstr(refusal, "can be stopped"));
	assert_int_equal(net->nodes[4].notes[NOTE_REMOVED], 1);
	run_for(100 * ROUND_US);
	assert_string_equal(state_of(0, "n4"), "");
	stop_node(4);
	start_node(4); /* it knows it from its disk */
	assert_int_equal(look(4).self, -1);
	assert_change(set_rack(4, "n0", "r9", TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION, "is no member");
	refused(0, change(CHANGE_JOIN, "n4", "", 0), KVRING__V1__CODE__FAILED_PRECONDITION, "");
	close_net();
}

/* Its place goes to another node, while it is away; it comes back much later. */
static void test_a_dead_member_is_replaced(void **state)
{
	(void)state;
	open_grown(5, 6, 304);
	net->auto_ready = true;
	stop_node(2);
	ROUNDS_UNTIL(sees(0, 2) == RING_DOWN, 40);
	commit_one(0, CHANGE_REPLACE, "n2", "n5", 0);
	assert_string_equal(state_of(0, "n2"), "leaving");
	ROUNDS_UNTIL(all_settled(), 60);
	assert_string_equal(state_of(5, "n2"), "");
	assert_in_range(partitions_of(0, "n5"), 30, 50);
	start_node(2); /* with the old ring */
	ROUNDS_UNTIL(look(2).epoch == look(0).epoch, 40);
	assert_int_equal(look(2).self, -1);
	close_net();
}

static void test_a_dead_member_is_removed(void **state)
{
	struct member_change remove = change(CHANGE_REMOVE, "n2", "", 0);
	const struct change *planned, *committed;

	(void)state;
	open_grown(3, 3, 305);
	net->auto_ready = true;
	stop_node(2);
	ROUNDS_UNTIL(sees(0, 2) != RING_UP, 40);
	planned = plan(0, &remove, 1);
	assert_change(planned, KVRING__V1__CODE__OK, "");
	assert_true(planned->violation_count > 0); /* two of three replicas */
	committed = ask_change(0, MESSAGE_COMMIT_CHANGE, &remove, 1, planned, false, TIMEOUT);
	assert_change(committed, KVRING__V1__CODE__FAILED_PRECONDITION, "3 replicas wanted, but 2 active members");
	committed = ask_change(0, MESSAGE_COMMIT_CHANGE, &remove, 1, planned, true, TIMEOUT);
	ROUNDS_UNTIL(committed->answered, 20);
	assert_change(committed, KVRING__V1__CODE__OK, "");
	ROUNDS_UNTIL(all_settled(), 60);
	assert_string_equal(state_of(1, "n2"), "");
	assert_int_equal(partitions_of(1, "n0"), 64);
	close_net();
}

static void test_weights_and_drains(void **state)
{
	(void)state;
	open_grown(5, 5, 306);
	net->auto_ready = true;
	uint32_t before = partitions_of(0, "n1");
	commit_one(3, CHANGE_REWEIGHT, "n1", "", 50);
	ROUNDS_UNTIL(all_settled(), 60);
	assert_true(partitions_of(0, "n1") < before);
	commit_one(2, CHANGE_DRAIN, "n1", "", 0);
	ROUNDS_UNTIL(all_settled(), 60);
	assert_string_equal(state_of(0, "n1"), "standby");
	assert_int_equal(partitions_of(0, "n1"), 0);
	commit_one(2, CHANGE_JOIN, "n1", "", 100); /* back from standby */
	ROUNDS_UNTIL(all_settled(), 60);
	assert_int_equal(partitions_of(0, "n1"), before);
	commit_one(2, CHANGE_DRAIN, "n1", "", 0);
	ROUNDS_UNTIL(all_settled(), 60);
	uint64_t epoch = look(0).epoch;
	commit_one(2, CHANGE_LEAVE, "n1", "", 0); /* nothing moves: no transition */
	ROUNDS_UNTIL(all_settled(), 60);
	assert_int_equal(look(0).epoch, epoch + 2);
	assert_string_equal(state_of(0, "n1"), "");
	close_net();
}

static void test_several_changes_in_one_plan(void **state)
{
	struct member_change changes[4];

	(void)state;
	open_grown(5, 8, 307);
	net->auto_ready = true;
	stop_node(4);
	ROUNDS_UNTIL(sees(0, 4) != RING_UP, 40);
	changes[0] = change(CHANGE_JOIN, "n5", "", 0);
	changes[1] = change(CHANGE_LEAVE, "n1", "", 0);
	changes[2] = change(CHANGE_REPLACE, "n4", "n6", 0);
	changes[3] = change(CHANGE_REWEIGHT, "n2", "", 200);
	const struct change *committed = commit(3, changes, 4);
	ROUNDS_UNTIL(committed->answered, 20);
	assert_change(committed, KVRING__V1__CODE__OK, "");
	ROUNDS_UNTIL(all_settled(), 60);
	assert_string_equal(state_of(0, "n1"), "");
	assert_string_equal(state_of(0, "n4"), "");
	assert_string_equal(state_of(0, "n5"), "active");
	assert_string_equal(state_of(0, "n6"), "active");
	assert_true(partitions_of(0, "n2") > partitions_of(0, "n5"));
	close_net();
}

/* From one node on, as a cluster is begun. */
static void test_a_cluster_grows_from_one_node(void **state)
{
	char name[8];

	(void)state;
	open_grown(1, 4, 308);
	net->auto_ready = true;
	for (uint32_t i = 1; i < 4; i++) {
		snprintf(name, sizeof name, "n%u", i);
		commit_one(0, CHANGE_JOIN, name, "", 0);
		ROUNDS_UNTIL(all_settled(), 60);
		assert_int_equal(partitions_of(0, "n0"), i < 3 ? 64 : partitions_of(3, "n0"));
	}
	assert_in_range(partitions_of(0, "n3"), 40, 56);
	close_net();
}

/* ---- several operators ---------------------------------------------------------------------------------------- */

static void test_of_two_plans_one_is_done(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct member_change a = change(CHANGE_JOIN, "n4", "", 0), b = change(CHANGE_LEAVE, "n1", "", 0);
		const struct change *plan_a, *plan_b, *done_a, *done_b;

		open_grown(4, 5, 310 + seed);
		net->loss_percent = (uint32_t)(seed % 3) * 10;
		net->auto_ready = true;
		plan_a = plan(0, &a, 1);
		plan_b = plan(3, &b, 1);
		done_a = ask_change(0, MESSAGE_COMMIT_CHANGE, &a, 1, plan_a, false, 30 * SECOND_US);
		done_b = ask_change(3, MESSAGE_COMMIT_CHANGE, &b, 1, plan_b, false, 30 * SECOND_US);
		ROUNDS_UNTIL(done_a->answered && done_b->answered, 200);
		assert_true((done_a->code == KVRING__V1__CODE__OK) != (done_b->code == KVRING__V1__CODE__OK));
		assert_change(done_a->code == KVRING__V1__CODE__OK ? done_b : done_a,
			      KVRING__V1__CODE__FAILED_PRECONDITION, "plan again");
		ROUNDS_UNTIL(all_settled(), 200);
		close_net();
	}
}

static void test_stale_plans_and_open_changes(void **state)
{
	struct member_change join = change(CHANGE_JOIN, "n3", "", 0), leave = change(CHANGE_LEAVE, "n1", "", 0);
	struct change planned;

	(void)state;
	open_grown(3, 5, 320);
	net->auto_ready = true;
	planned = *plan(0, &join, 1);
	assert_change(ask_change(0, MESSAGE_COMMIT_CHANGE, &join, 1, NULL, false, TIMEOUT),
		      KVRING__V1__CODE__FAILED_PRECONDITION, "the ring changed since the plan was made");
	planned.plan_hash++;
	assert_change(ask_change(0, MESSAGE_COMMIT_CHANGE, &join, 1, &planned, false, TIMEOUT),
		      KVRING__V1__CODE__FAILED_PRECONDITION, "since it was made: plan again");
	planned.plan_hash--;
	commit_one(1, CHANGE_JOIN, "n4", "", 0);
	assert_change(ask_change(0, MESSAGE_COMMIT_CHANGE, &join, 1, &planned, false, TIMEOUT),
		      KVRING__V1__CODE__FAILED_PRECONDITION, "plan again");
	assert_change(plan(0, &join, 1), KVRING__V1__CODE__FAILED_PRECONDITION, "a change is under way (epoch 2)");
	planned.parent_hash = look(0).hash;
	assert_change(ask_change(0, MESSAGE_COMMIT_CHANGE, &join, 1, &planned, false, TIMEOUT),
		      KVRING__V1__CODE__FAILED_PRECONDITION, "a change is under way (epoch 2)");
	assert_change(set_rack(0, "n0", "r9", TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION, "is changing");
	ROUNDS_UNTIL(all_settled(), 60);
	const struct change *committed = commit(0, &leave, 1);
	ROUNDS_UNTIL(committed->answered, 20);
	ROUNDS_UNTIL(transition_of(0) == RING_STABLE && has_leavers(0), 100);
	assert_change(plan(0, &join, 1), KVRING__V1__CODE__FAILED_PRECONDITION, "n1 is still leaving");
	close_net();
}

/* ---- aborts --------------------------------------------------------------------------------------------------- */

static void test_a_change_is_aborted(void **state)
{
	struct member_change changes[2];
	const struct change *committed, *aborted;

	(void)state;
	open_grown(4, 5, 330);
	changes[0] = change(CHANGE_JOIN, "n4", "", 0);
	changes[1] = change(CHANGE_LEAVE, "n1", "", 0);
	assert_change(abort_change(2, 0, TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION, "the ring is not changing");
	uint32_t before = partitions_of(0, "n1");
	committed = commit(0, changes, 2);
	ROUNDS_UNTIL(committed->answered && all_have_epoch(2), 20);
	assert_change(abort_change(2, 7, TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION,
		      "the change of epoch 7 is not the one under way (epoch 2)");
	aborted = abort_change(2, 2, TIMEOUT);
	ROUNDS_UNTIL(aborted->answered, 20);
	assert_change(aborted, KVRING__V1__CODE__OK, "");
	assert_int_equal(aborted->epoch, 3);
	ROUNDS_UNTIL(all_settled(), 20);
	assert_int_equal(look(0).epoch, 3);
	assert_string_equal(state_of(0, "n4"), "standby");
	assert_string_equal(state_of(0, "n1"), "active");
	assert_int_equal(partitions_of(0, "n1"), before);
	net->auto_ready = true;
	committed = commit(0, changes, 2); /* the same again */
	ROUNDS_UNTIL(committed->answered, 20);
	assert_change(committed, KVRING__V1__CODE__OK, "");
	ROUNDS_UNTIL(transition_of(3) == RING_WRITE_BOTH_READ_NEW, 60);
	assert_change(abort_change(3, 0, TIMEOUT), KVRING__V1__CODE__FAILED_PRECONDITION,
		      "reads go to the new owners already");
	ROUNDS_UNTIL(all_settled(), 60);
	assert_string_equal(state_of(0, "n1"), "");
	assert_string_equal(state_of(0, "n4"), "active");
	close_net();
}

/* At every moment of a change: it comes to its end or is undone, and the operator is told which. */
static void test_an_abort_at_any_moment(void **state)
{
	uint32_t undone = 0, late = 0;

	(void)state;
	for (uint64_t us = 0; us < 12 * SECOND_US; us += 350 * 1000) {
		const struct change *aborted;

		open_grown(3, 4, 340);
		net->auto_ready = true;
		commit_one(0, CHANGE_JOIN, "n3", "", 0);
		run_for(us);
		aborted = abort_change((uint32_t)(us / 350000 % 3), 0, TIMEOUT);
		ROUNDS_UNTIL(aborted->answered, 30);
		ROUNDS_UNTIL(all_settled(), 100);
		bool is_undone = aborted->code == KVRING__V1__CODE__OK;
		assert_string_equal(state_of(0, "n3"), is_undone ? "standby" : "active");
		undone += is_undone;
		late += !is_undone;
		close_net();
	}
	print_message("%u aborts undid the change, %u came too late\n", undone, late);
	assert_true(undone > 2 && late > 2);
}

/* ---- failures ------------------------------------------------------------------------------------------------- */

/* Whoever is at work on a step dies: the others take it. */
static void test_a_proposer_dies_at_any_moment(void **state)
{
	(void)state;
	for (uint32_t victim = 0; victim < 5; victim++)
		for (uint64_t us = 0; us < 6 * SECOND_US; us += 400 * 1000) {
			open_grown(5, 6, 350 + victim);
			net->auto_ready = true;
			commit_one(victim, CHANGE_JOIN, "n5", "", 0);
			run_for(us);
			stop_node(victim);
			ROUNDS_UNTIL(all_settled(), 200);
			assert_string_equal(state_of((victim + 1) % 5, "n5"), "active");
			assert_int_equal(newest_epoch(), 4);
			start_node(victim);
			ROUNDS_UNTIL(look(victim).epoch == 4, 40);
			close_net();
		}
}

/* The comer is cut off before it is ready: reads stay where they are until it is back, for however long. */
static void test_a_comer_that_is_away_holds_the_switch_up(void **state)
{
	(void)state;
	open_grown(4, 5, 360);
	net->auto_ready = true;
	net->nodes[4].never_ready = true;
	commit_one(0, CHANGE_JOIN, "n4", "", 0);
	ROUNDS_UNTIL(all_have_epoch(2), 20);
	stop_node(4);
	ROUNDS_UNTIL(sees(0, 4) == RING_DOWN, 40);
	run_for(200 * ROUND_US);
	assert_int_equal(newest_epoch(), 2);
	net->nodes[4].never_ready = false;
	start_node(4);
	ROUNDS_UNTIL(all_settled(), 100);
	assert_int_equal(look(4).epoch, 4);
	close_net();
}

/* Of some partitions two of the three old owners are away: the ring is agreed on, but reads do not go to the new owners before one of
 * the two has it. */
static void test_old_owners_that_are_away_hold_the_switch_up(void **state)
{
	(void)state;
	open_grown(7, 8, 361);
	net->auto_ready = true;
	stop_node(1);
	stop_node(2);
	ROUNDS_UNTIL(sees(0, 1) == RING_DOWN && sees(0, 2) == RING_DOWN, 40);
	commit_one(0, CHANGE_JOIN, "n7", "", 0);
	run_for(200 * ROUND_US);
	assert_int_equal(newest_epoch(), 2);
	start_node(1);
	ROUNDS_UNTIL(all_settled(), 60);
	assert_int_equal(newest_epoch(), 4);
	start_node(2);
	ROUNDS_UNTIL(look(2).epoch == 4, 40);
	close_net();
}

/* A node that stands still with the old ring counts as up for a while; then the others go on, and it follows. */
static void test_a_paused_node(void **state)
{
	(void)state;
	open_grown(5, 6, 362);
	net->auto_ready = true;
	net->nodes[3].paused_until_us = net->now_us + 30 * SECOND_US;
	commit_one(0, CHANGE_JOIN, "n5", "", 0);
	run_for(5 * ROUND_US);
	assert_int_equal(newest_epoch(), 2); /* it is up, as far as anybody knows */
	assert_int_equal(look(3).epoch, 1);
	ROUNDS_UNTIL(newest_epoch() == 4, 100);
	assert_int_equal(look(3).epoch, 1);
	run_for(30 * SECOND_US);
	ROUNDS_UNTIL(all_settled(), 40);
	assert_int_equal(look(3).epoch, 4);
	close_net();
}

/* The same when reads go to the new owners already: it might still answer by the old ones. */
static void test_a_node_that_is_paused_in_the_middle(void **state)
{
	(void)state;
	open_grown(5, 6, 363);
	net->auto_ready = true;
	commit_one(0, CHANGE_JOIN, "n5", "", 0);
	while (newest_epoch() < 3)
		(void)advance(net->now_us + SECOND_US);
	net->nodes[3].paused_until_us = net->now_us + 20 * SECOND_US;
	run_for(6 * ROUND_US);
	assert_int_equal(look(3).epoch, 2);
	assert_int_equal(newest_epoch(), 3);
	ROUNDS_UNTIL(newest_epoch() == 4, 40); /* found unreachable */
	assert_int_equal(look(3).epoch, 2);
	run_for(20 * SECOND_US);
	ROUNDS_UNTIL(all_settled(), 40);
	close_net();
}

static bool has_sent_votes(uint32_t node)
{
	for (uint32_t i = 0; i < net->flight_count; i++) {
		const struct message *message = net->flights[i].message;

		if (message != NULL && message->type == MESSAGE_VOTE && message->from.node_id == id_of(node))
			return true;
	}
	return false;
}

/* A node asks for votes on a step, and is cut off; the others take it. When it is back its question is not one for the step after. */
static void test_a_step_that_others_took_is_not_taken_twice(void **state)
{
	uint32_t proposer = 0;

	(void)state;
	open_grown(5, 6, 365);
	net->auto_ready = true;
	commit_one(0, CHANGE_JOIN, "n5", "", 0);
	ROUNDS_UNTIL(all_have_epoch(2), 20);
	while (!has_sent_votes(proposer)) {
		(void)advance(net->now_us + SECOND_US);
		for (uint32_t i = 0; i < 6; i++)
			if (has_sent_votes(i))
				proposer = i;
	}
	net->nodes[proposer].side = 1;
	while (newest_epoch() < 3)
		(void)advance(net->now_us + SECOND_US);
	uint32_t slow = 0;
	while (slow == proposer || look(slow).epoch == 3)
		slow++;
	net->nodes[slow].paused_until_us = net->now_us + 20 * SECOND_US;
	net->nodes[proposer].side = 0;
	ROUNDS_UNTIL(look(proposer).epoch == 3, 6);
	run_for(4 * ROUND_US);
	assert_int_equal(newest_epoch(), 3); /* the slow one is up, and has not got it */
	assert_int_equal(look(slow).epoch, 2);
	run_for(20 * SECOND_US);
	ROUNDS_UNTIL(all_settled(), 40);
	close_net();
}

/* Two of three owners are gone for good, and others take their places: what the two alone had acknowledged would be lost. */
static void test_a_lost_majority_is_not_left_behind(void **state)
{
	struct member_change changes[2] = {change(CHANGE_REPLACE, "n1", "n7", 0),
					   change(CHANGE_REPLACE, "n2", "n8", 0)};

	(void)state;
	open_grown(7, 9, 364);
	net->auto_ready = true;
	stop_node(1);
	stop_node(2);
	ROUNDS_UNTIL(sees(0, 1) == RING_DOWN && sees(0, 2) == RING_DOWN, 40);
	const struct change *committed = commit(0, changes, 2);
	ROUNDS_UNTIL(committed->answered, 20);
	assert_change(committed, KVRING__V1__CODE__OK, "");
	run_for(200 * ROUND_US);
	assert_int_equal(newest_epoch(), 2);
	start_node(2);
	ROUNDS_UNTIL(all_settled(), 60);
	assert_string_equal(state_of(0, "n1"), "");
	close_net();
}

static void test_partitions_that_heal(void **state)
{
	(void)state;
	for (uint32_t boundary = 1; boundary < 6; boundary++) {
		open_grown(5, 6, 370 + boundary);
		net->auto_ready = true;
		commit_one(2, CHANGE_JOIN, "n5", "", 0);
		run_for(boundary * ROUND_US);
		set_sides(boundary);
		run_for(100 * ROUND_US);
		set_sides(6);
		ROUNDS_UNTIL(all_settled(), 150);
		assert_string_equal(state_of(0, "n5"), "active");
		close_net();
	}
}

/* ---- bad input ------------------------------------------------------------------------------------------------ */

static void amend_strangers(uint32_t index, struct gossip_row *row)
{
	clear_rack(index, row);
	if (index == 5)
		strcpy(row->datacenter, "far");
	if (index == 6)
		strcpy(row->name, "n1");
	if (index == 7)
		strcpy(row->peer_address, "10.0.0.2:2"); /* n2's */
	if (index == 8)
		strcpy(row->name, "n9"); /* two of that name */
}

static void test_bad_plans(void **state)
{
	enum { BAD = KVRING__V1__CODE__INVALID_ARGUMENT, NOT_NOW = KVRING__V1__CODE__FAILED_PRECONDITION };
	struct member_change twice[2] = {change(CHANGE_JOIN, "n4", "", 0), change(CHANGE_JOIN, "n4", "", 0)};

	(void)state;
	amend_row = amend_strangers;
	open_grown(4, 10, 380);
	amend_row = clear_rack;
	refused(0, change(CHANGE_JOIN, "nobody", "", 0), NOT_NOW, "no node named 'nobody' is heard: start it with");
	refused(0, change(CHANGE_JOIN, "n1", "", 0), NOT_NOW, "is an active member already");
	refused(0, change(CHANGE_JOIN, "n5", "", 0), NOT_NOW,
		"is in datacenter 'far', which this cluster does not have: start it with --dc dc1");
	refused(0, change(CHANGE_JOIN, "n7", "", 0), NOT_NOW, "n7 has the peer address 10.0.0.2:2, as n2");
	refused(0, change(CHANGE_JOIN, "n9", "", 0), NOT_NOW, "two nodes named n9 are heard");
	refused(0, change(CHANGE_JOIN, "n4", "", 10001), BAD, "weight 10001 of n4: use 1 to 10000");
	refused(0, change(CHANGE_LEAVE, "nobody", "", 0), BAD, "no member is named 'nobody'");
	refused(0, change(CHANGE_REMOVE, "n1", "", 0), NOT_NOW, "n1 is up: let it leave");
	refused(0, change(CHANGE_REMOVE, "n0", "", 0), NOT_NOW, "n0 is up: let it leave"); /* who answers */
	refused(0, change(CHANGE_REPLACE, "n1", "n4", 0), NOT_NOW, "n1 is up: let it leave");
	refused(0, change(CHANGE_REWEIGHT, "n1", "", 100), NOT_NOW, "changes nothing");
	refused(0, change(CHANGE_REWEIGHT, "n1", "", 20000), BAD, "weight 20000 of n1: use 1 to 10000");
	assert_change(plan(0, twice, 2), BAD, "n4 stands twice in the plan");
	twice[0] = twice[1] = change(CHANGE_LEAVE, "n1", "", 0);
	assert_change(plan(0, twice, 2), BAD, "n1 stands twice in the plan");
	twice[1] = change(CHANGE_LEAVE, "n2", "", 0);
	assert_change(plan(0, twice, 2), NOT_NOW, "2 active members for 3 replicas of each key: let another node join");
	twice[0] = change(CHANGE_DRAIN, "n1", "", 0);
	assert_change(plan(0, twice, 2), NOT_NOW, "2 active members for 3 replicas of each key");
	stop_node(1);
	stop_node(4);
	ROUNDS_UNTIL(sees(0, 1) != RING_UP, 40);
	run_for(20 * ROUND_US);
	refused(0, change(CHANGE_JOIN, "n4", "", 0), NOT_NOW, "n4 is not heard any more: start it");
	refused(0, change(CHANGE_REPLACE, "n1", "n4", 0), NOT_NOW, "n4 is not heard any more");
	refused(0, change(CHANGE_REPLACE, "n1", "", 0), BAD, "is to be replaced by nobody");
	refused(0, change(CHANGE_REWEIGHT, "n1", "", 0), BAD, "0 takes what the node was started with");
	refused(5, change(CHANGE_JOIN, "n4", "", 0), KVRING__V1__CODE__UNAVAILABLE, "is in no cluster: ask another");
	close_net();
}

/* ---- forced ----------------------------------------------------------------------------------------------------- */

/* Three of five are lost, in each state of a ring: the two that are left go on, and who comes back is no member any more. */
static void test_a_ring_is_forced_when_a_majority_is_lost(void **state)
{
	const char *const lost[3] = {"n2", "n3", "n4"};

	(void)state;
	for (uint64_t epoch = 1; epoch <= 3; epoch++) {
		open_grown(5, 7, 385 + epoch);
		net->auto_ready = epoch > 1;
		if (epoch > 1)
			commit_one(0, CHANGE_JOIN, "n5", "", 0);
		while (newest_epoch() < epoch)
			(void)advance(net->now_us + SECOND_US);
		for (uint32_t i = 2; i < 6; i++)
			stop_node(i);
		run_for(20 * ROUND_US);
		net->auto_ready = true;
		assert_true(look(0).epoch >= epoch);
		uint64_t before = look(0).epoch;
		ROUNDS_UNTIL(sees(0, 2) != RING_UP && sees(0, 3) != RING_UP && sees(0, 4) != RING_UP, 40);
		const char *const all[4] = {"n2", "n3", "n4", "n5"};
		struct change *forced = force_ring(0, epoch > 1 ? all : lost, epoch > 1 ? 4 : 3, look(0).hash);
		assert_change(forced, KVRING__V1__CODE__OK, "");
		assert_int_equal(forced->epoch, before + 2);
		ROUNDS_UNTIL(all_settled(), 100);
		assert_int_equal(look(1).epoch, before + 4);
		assert_int_equal(partitions_of(0, "n0"), 64);
		start_node(3);
		ROUNDS_UNTIL(look(3).epoch == before + 4, 60);
		assert_int_equal(look(3).self, -1);
		commit_one(1, CHANGE_JOIN, "n6", "", 0); /* changes go on */
		ROUNDS_UNTIL(all_settled(), 60);
		close_net();
	}
}

static void test_what_is_not_forced(void **state)
{
	enum { NOT_NOW = KVRING__V1__CODE__FAILED_PRECONDITION };
	const char *const lost[5] = {"n2", "n3", "n4", "n2", "nobody"};
	const char *const alive[3] = {"n1", "n3", "n4"}, *const asked[3] = {"n0", "n3", "n4"};

	(void)state;
	open_grown(5, 6, 389);
	assert_change(force_ring(0, lost, 3, look(0).hash), NOT_NOW, "n2 is up: it is not lost");
	for (uint32_t i = 2; i < 5; i++)
		stop_node(i);
	ROUNDS_UNTIL(sees(0, 2) != RING_UP && sees(0, 3) != RING_UP && sees(0, 4) != RING_UP, 40);
	assert_change(force_ring(0, lost, 2, look(0).hash), NOT_NOW,
		      "3 of 5 members would be left, which is a majority");
	assert_change(force_ring(0, lost, 3, look(0).hash + 1), NOT_NOW, "another ring is in force here");
	assert_change(force_ring(0, lost, 4, look(0).hash), NOT_NOW, "a member is named twice");
	assert_change(force_ring(0, lost + 2, 3, look(0).hash), NOT_NOW, "no member is named 'nobody'");
	assert_change(force_ring(0, alive, 3, look(0).hash), NOT_NOW, "n1 is up: it is not lost");
	assert_change(force_ring(0, asked, 3, look(0).hash), NOT_NOW, "n0 is the node that you ask");
	assert_change(force_ring(5, lost, 3, 0), KVRING__V1__CODE__UNAVAILABLE, "in no cluster");
	assert_int_equal(newest_epoch(), 1);
	close_net();
}

/* The lost were alive, and agreed on another ring meanwhile: when they are reached again neither takes that of the other. */
static void test_a_forced_ring_and_a_living_majority(void **state)
{
	const char *const lost[3] = {"n2", "n3", "n4"};

	(void)state;
	open_grown(5, 5, 390);
	net->auto_ready = true;
	net->one_ring = false;
	set_sides(2);
	run_for(20 * ROUND_US);
	const struct change *rack = set_rack(3, "n3", "r9", TIMEOUT);
	ROUNDS_UNTIL(rack->answered, 30);
	assert_change(rack, KVRING__V1__CODE__OK, "");
	assert_change(force_ring(0, lost, 3, look(0).hash), KVRING__V1__CODE__OK, "");
	ROUNDS_UNTIL(look(0).epoch == 5 && look(1).epoch == 5, 60);
	set_sides(5);
	run_for(40 * ROUND_US);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(look(i).epoch, i < 2 ? 5 : 2);
	assert_true(net->nodes[2].notes[NOTE_RING_REFUSED] + net->nodes[3].notes[NOTE_RING_REFUSED] +
			    net->nodes[4].notes[NOTE_RING_REFUSED] >
		    0);
	close_net();
}

/* ---- at random ------------------------------------------------------------------------------------------------ */

static void disturb(struct prng *prng)
{
	uint32_t index = (uint32_t)prng_below(prng, net->node_count);

	switch (prng_below(prng, 6)) {
	case 0:
		if (net->nodes[index].alive)
			stop_node(index);
		else
			start_node(index);
		break;
	case 1:
		set_sides((uint32_t)prng_below(prng, net->node_count + 1));
		break;
	case 2:
		net->loss_percent = (uint32_t)prng_below(prng, 3) * 15;
		break;
	case 3:
		if (net->nodes[index].alive)
			net->nodes[index].paused_until_us = net->now_us + prng_below(prng, 5 * SECOND_US);
		break;
	default:
		set_sides(net->node_count);
	}
}

/* Something at some node, sensible or not. */
static void ask_something(struct prng *prng)
{
	uint32_t node = (uint32_t)prng_below(prng, net->node_count);
	char a[8], b[8];

	if (!net->nodes[node].alive || net->change_count + 2 > CHANGES_MAX)
		return;
	if (prng_below(prng, 6) == 0) {
		(void)abort_change(node, 0, 1 + prng_below(prng, 8 * SECOND_US));
		return;
	}
	snprintf(a, sizeof a, "n%u", (unsigned)prng_below(prng, net->node_count));
	snprintf(b, sizeof b, "n%u", (unsigned)prng_below(prng, net->node_count));
	struct member_change one =
		change((enum change_kind)(1 + prng_below(prng, 6)), a, b, (uint32_t)(50 + prng_below(prng, 100)));
	const struct change *planned = plan(node, &one, 1);
	if (planned->code == KVRING__V1__CODE__OK)
		(void)ask_change(node, MESSAGE_COMMIT_CHANGE, &one, 1, planned, prng_below(prng, 2) == 0,
				 1 + prng_below(prng, 8 * SECOND_US));
}

/* Of each epoch one document (net.one_ring), and in calm weather no change stays open. */
static void test_changes_at_random(void **state)
{
	uint32_t epochs = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct prng prng;

		prng_seed(&prng, seed);
		open_grown(3 + (uint32_t)(seed % 3), 7, 400 + seed);
		net->auto_ready = true;
		for (uint32_t i = 0; i < 100; i++) {
			if (prng_below(&prng, 3) == 0)
				disturb(&prng);
			ask_something(&prng);
			run_for(prng_below(&prng, 3 * SECOND_US));
		}
		set_sides(net->node_count);
		net->loss_percent = 0;
		for (uint32_t i = 0; i < net->node_count; i++)
			if (!net->nodes[i].alive)
				start_node(i);
		run_for(10 * SECOND_US);
		ROUNDS_UNTIL(all_settled(), 400);
		epochs += (uint32_t)newest_epoch();
		close_net();
	}
	print_message("%u epochs\n", epochs);
	assert_true(epochs > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_plan_says_what_would_happen),
		cmocka_unit_test(test_a_join_goes_through_all_steps),
		cmocka_unit_test(test_ready_is_of_one_document),
		cmocka_unit_test(test_a_member_leaves),
		cmocka_unit_test(test_a_dead_member_is_replaced),
		cmocka_unit_test(test_a_dead_member_is_removed),
		cmocka_unit_test(test_weights_and_drains),
		cmocka_unit_test(test_several_changes_in_one_plan),
		cmocka_unit_test(test_a_cluster_grows_from_one_node),
		cmocka_unit_test(test_of_two_plans_one_is_done),
		cmocka_unit_test(test_stale_plans_and_open_changes),
		cmocka_unit_test(test_a_change_is_aborted),
		cmocka_unit_test(test_an_abort_at_any_moment),
		cmocka_unit_test(test_a_proposer_dies_at_any_moment),
		cmocka_unit_test(test_a_comer_that_is_away_holds_the_switch_up),
		cmocka_unit_test(test_old_owners_that_are_away_hold_the_switch_up),
		cmocka_unit_test(test_a_paused_node),
		cmocka_unit_test(test_a_node_that_is_paused_in_the_middle),
		cmocka_unit_test(test_a_step_that_others_took_is_not_taken_twice),
		cmocka_unit_test(test_a_lost_majority_is_not_left_behind),
		cmocka_unit_test(test_partitions_that_heal),
		cmocka_unit_test(test_bad_plans),
		cmocka_unit_test(test_a_ring_is_forced_when_a_majority_is_lost),
		cmocka_unit_test(test_what_is_not_forced),
		cmocka_unit_test(test_a_forced_ring_and_a_living_majority),
		cmocka_unit_test(test_changes_at_random),
	};

	amend_row = clear_rack;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
