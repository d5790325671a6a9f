/* SPDX-License-Identifier: Apache-2.0 */
/* Which documents may follow which: every one that this room makes, and none of those that a fault or a liar makes. */
#include "ring/document.h"
#include "tests/ring/cluster.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cluster cluster;

static void accepts(const struct ring_document *mine, const struct ring_document *next)
{
	struct ring_error error = {""};

	if (ring_verify(mine, next, &error))
		fail_msg("refused: %s", error.text);
}

static void refuses(const struct ring_document *mine, const struct ring_document *next, const char *text)
{
	struct ring_error error = {""};

	assert_int_equal(ring_verify(mine, next, &error), -EINVAL);
	if (strstr(error.text, text) == NULL)
		fail_msg("'%s' does not say '%s'", error.text, text);
	assert_true(strlen(error.text) < sizeof error.text - 1); /* not cut off */
}

/* ---- documents ---------------------------------------------------------------------------------------------- */

static struct ring_document *stable_document(uint32_t nodes, uint32_t replicas)
{
	cluster_init(&cluster, 64, replicas);
	for (uint32_t i = 0; i < nodes; i++)
		cluster_add(&cluster, i, "", 100);
	return cluster_claim(&cluster, NULL);
}

static struct ring_document *begin(const struct ring_document *stable)
{
	struct ring_document *target = cluster_claim(&cluster, stable), *document;

	assert_int_equal(ring_transition_begin(stable, target, &document, NULL), 0);
	ring_document_destroy(&target);
	return document;
}

static struct ring_document *next_of(const struct ring_document *document)
{
	struct ring_document *after;

	assert_int_equal(ring_transition_next(document, &after, NULL), 0);
	return after;
}

static struct ring_document *abort_of(const struct ring_document *document)
{
	struct ring_document *back;

	assert_int_equal(ring_transition_abort(document, &back, NULL), 0);
	return back;
}

/* What contents holds, as if it followed parent, changed by hand. */
static struct ring_document *forge(const struct ring_document *parent, const struct ring_document *contents,
				   void (*change)(struct ring_document *))
{
	struct ring_document *document;
	int error = document_copy(contents, &document);

	assert_int_equal(error, 0);
	error = document_follow(document, parent);
	for (uint32_t i = 0; i < contents->datacenter_count && !error; i++) {
		error = owner_table_copy(&document->owners[i], contents->partition_count, &contents->owners[i]);
		if (!error)
			error = owner_table_copy(&document->old_owners[i], contents->partition_count,
						 &contents->old_owners[i]);
	}
	if (change != NULL)
		change(document);
	assert_int_equal(document_finish(document, error, &document), 0);
	return document;
}

static void forged(const struct ring_document *parent, const struct ring_document *contents,
		   void (*change)(struct ring_document *), const char *text)
{
	struct ring_document *document = forge(parent, contents, change);

	if (text != NULL)
		refuses(parent, document, text);
	else
		accepts(parent, document);
	ring_document_destroy(&document);
}

/* ---- changes by hand ---------------------------------------------------------------------------------------- */

static void swap_order(struct ring_document *document)
{
	uint16_t first = document->owners[0].rows[0];

	document->owners[0].rows[0] = document->owners[0].rows[1];
	document->owners[0].rows[1] = first;
}

static uint16_t no_owner_of(const struct ring_document *document, uint32_t partition)
{
	const struct owner_table *table = &document->owners[0];
	uint16_t member = 0;

	for (uint32_t i = 0; i < table->width; i++)
		if (table->rows[partition * table->width + i] == member) {
			member++;
			i = UINT32_MAX; /* from the beginning */
		}
	assert_true(member < document->member_count);
	return member;
}

static void move_an_owner(struct ring_document *document)
{
	document->owners[0].rows[17 * document->owners[0].width] = no_owner_of(document, 17);
}

static void rename_member(struct ring_document *document)
{
	strcpy(document->members[1].name, "other");
}

static void change_addresses_and_rack(struct ring_document *document)
{
	strcpy(document->members[1].peer_address, "10.9.9.9:1");
	strcpy(document->members[2].rack, "r7");
	document->members[0].weight = 7;
}

static void share_an_address(struct ring_document *document)
{
	strcpy(document->members[2].peer_address, document->members[0].peer_address);
}

static void ask_for_more_replicas(struct ring_document *document)
{
	document->datacenters[0].replica_count++;
}

static void change_seed(struct ring_document *document)
{
	document->hash_seed++;
}

static void change_an_ancestor(struct ring_document *document)
{
	document->ancestors[1]++;
}

static void forget_an_old_owner(struct ring_document *document)
{
	struct owner_table *old = &document->old_owners[0];

	old->rows[5 * old->width + old->width - 1] = RING_NOBODY;
}

static void swap_old_owners(struct ring_document *document)
{
	uint16_t *row = document->old_owners[0].rows, first = row[0];

	row[0] = row[1];
	row[1] = first;
}

static void read_new(struct ring_document *document)
{
	document->transition = RING_WRITE_BOTH_READ_NEW;
}

static void read_old(struct ring_document *document)
{
	document->transition = RING_WRITE_BOTH_READ_OLD;
}

/* ---- tests -------------------------------------------------------------------------------------------------- */

static void test_verify_knows_what_may_change_without_a_transition(void **state)
{
	struct ring_document *stable = stable_document(5, 3), *standby;

	(void)state;
	forged(stable, stable, NULL, NULL);
	forged(stable, stable, swap_order, NULL);
	forged(stable, stable, change_addresses_and_rack, NULL);
	forged(stable, stable, move_an_owner,
	       "moves partition 17 of datacenter dc1 to other owners without a transition");
	forged(stable, stable, rename_member, "a member keeps its name");
	forged(stable, stable, share_an_address, " at one peer address, 10.0.0.1:");
	forged(stable, stable, ask_for_more_replicas, "gives a partition of datacenter dc1 3 owners instead of 4");
	forged(stable, stable, change_seed, "is of another cluster, or has another hash seed");

	cluster_add(&cluster, 50, "", 100)->state = RING_MEMBER_STANDBY; /* a newcomer that owns nothing */
	standby = cluster_claim(&cluster, stable);
	accepts(stable, standby);
	cluster_remove(&cluster, 5);
	forged(standby, stable, NULL, NULL); /* and goes */
	forged(standby, stable, change_an_ancestor, "names other documents before epoch 2");
	ring_document_destroy(&stable);
	ring_document_destroy(&standby);
}

/* N from 5 to 2: three of the owners that made up a w of 3 would be forgotten. */
static void test_verify_refuses_fewer_owners_without_a_transition(void **state)
{
	struct ring_document *stable = stable_document(5, 5), *fewer, *changing;

	(void)state;
	cluster.datacenters[0].replica_count = 2;
	fewer = cluster_claim(&cluster, stable);
	refuses(stable, fewer, "without a transition");
	changing = begin(stable);
	accepts(stable, changing);
	ring_document_destroy(&stable);
	ring_document_destroy(&fewer);
	ring_document_destroy(&changing);
}

static void test_verify_knows_the_steps_of_a_transition(void **state)
{
	struct ring_document *stable = stable_document(4, 3), *old, *new, *after, *back;

	(void)state;
	cluster_add(&cluster, 77, "", 100);
	cluster.members[0].state = RING_MEMBER_LEAVING;
	old = begin(stable);
	new = next_of(old);
	after = next_of(new);
	back = abort_of(old);
	accepts(stable, old);
	accepts(old, new);
	accepts(new, after);
	accepts(old, back);
	struct ring_document *without;
	assert_int_equal(ring_drop_leavers(after, &without, NULL), 0);
	accepts(after, without);
	forged(after, without, swap_order, NULL);
	forged(after, without, move_an_owner, "without a transition");
	ring_document_destroy(&without);

	forged(stable, old, forget_an_old_owner, "names other old owners of partition 5 of datacenter dc1");
	forged(stable, old, swap_old_owners, "names other old owners of partition 0");
	forged(stable, old, share_an_address, "at one peer address");
	forged(stable, new, NULL, "is reading from the new owners, which cannot follow a ring that is stable");
	forged(old, old, NULL, "is copying, which cannot follow a ring that is copying");
	forged(old, new, move_an_owner, "is not the next step of the transition of epoch 2");
	forged(old, new, change_addresses_and_rack, "is not the next step");
	forged(old, after, NULL, "is not the next step of the transition of epoch 2");
	forged(old, back, move_an_owner, "is not the next step of the transition of epoch 2");
	forged(old, back, swap_order, "is not the next step of the transition of epoch 2");
	forged(new, new, NULL, "is reading from the new owners, which cannot follow");
	forged(new, new, read_old, "is copying, which cannot follow a ring that is reading from the new owners");
	forged(new, after, swap_order, "is not the next step of the transition of epoch 3");
	forged(new, back, NULL, "is not the next step of the transition of epoch 3"); /* too late for an abort */
	forged(after, old, read_new, "which cannot follow a ring that is stable");
	ring_document_destroy(&stable);
	ring_document_destroy(&old);
	ring_document_destroy(&new);
	ring_document_destroy(&after);
	ring_document_destroy(&back);
}

static void test_verify_keeps_datacenters_with_data(void **state)
{
	struct ring_document *both, *one, *none, *gone;

	(void)state;
	cluster_init(&cluster, 64, 2);
	cluster_add_datacenter(&cluster, "far", 1);
	for (uint32_t i = 0; i < 5; i++)
		strcpy(cluster_add(&cluster, i, "", 100)->datacenter, i < 3 ? "dc1" : "far");
	both = cluster_claim(&cluster, NULL);
	cluster.plan.member_count = 3;
	cluster.plan.datacenter_count = 1;
	one = cluster_claim(&cluster, both);
	refuses(both, one, "drops datacenter far, which owns data");
	ring_document_destroy(&one);
	one = begin(both);
	refuses(both, one, "drops datacenter far, which owns data");

	cluster.plan.member_count = 5;
	cluster.plan.datacenter_count = 2;
	cluster.members[3].state = cluster.members[4].state = RING_MEMBER_LEAVING;
	ring_document_destroy(&one);
	one = begin(both);
	accepts(both, one);
	none = next_of(one);
	ring_document_destroy(&one);
	one = next_of(none);
	accepts(none, one);
	cluster.plan.member_count = 3;
	cluster.plan.datacenter_count = 1;
	gone = cluster_claim(&cluster, one);
	accepts(one, gone);
	ring_document_destroy(&both);
	ring_document_destroy(&one);
	ring_document_destroy(&none);
	ring_document_destroy(&gone);
}

static void test_verify_looks_at_the_descent(void **state)
{
	struct ring_document *documents[7] = {stable_document(4, 3)}, *fork, *heir, *first;

	(void)state;
	for (uint32_t i = 1; i < 7; i++)
		documents[i] = forge(documents[i - 1], documents[i - 1], i == 3 ? swap_order : NULL);
	for (uint32_t i = 0; i < 7; i++)
		for (uint32_t j = 0; j < 7; j++)
			if (i < j)
				accepts(documents[i], documents[j]);
			else
				refuses(documents[i], documents[j], "is not newer than this node's epoch");
	fork = forge(documents[1], documents[1], swap_order); /* epoch 3, of the same parent as documents[2] */
	heir = forge(fork, fork, NULL);
	accepts(documents[1], fork);
	accepts(documents[0], heir);
	refuses(documents[2], heir, "does not come from this node's ring (epoch 3 is ");
	refuses(fork, documents[5], "does not come from this node's ring (epoch 3 is ");
	refuses(fork, documents[5], "one was forced. If the others are right, stop this node, remove 'ring'");
	cluster.plan.cluster_id++;
	first = cluster_claim(&cluster, NULL);
	refuses(first, heir, "is of another cluster");
	for (uint32_t i = 0; i < 7; i++)
		ring_document_destroy(&documents[i]);
	ring_document_destroy(&fork);
	ring_document_destroy(&heir);
	ring_document_destroy(&first);
}

static void test_verify_of_a_thousand_epochs(void **state)
{
	struct ring_document *first = stable_document(3, 2), *last = forge(first, first, NULL), *next;

	(void)state;
	while (ring_epoch(last) < RING_ANCESTORS_MAX + 1) {
		next = forge(last, last, NULL);
		accepts(last, next);
		ring_document_destroy(&last);
		last = next;
	}
	accepts(first, last);
	next = forge(last, last, NULL);
	accepts(last, next);
	refuses(first, next, "is more than 1024 epochs after this node's 1, so that its descent cannot be checked");
	ring_document_destroy(&first);
	ring_document_destroy(&last);
	ring_document_destroy(&next);
}

/* ---- every change that this room makes ---------------------------------------------------------------------- */

static uint32_t count_active(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < cluster.plan.member_count; i++)
		count += cluster.members[i].state == RING_MEMBER_ACTIVE;
	return count;
}

static void change_plan(struct random *random, uint32_t *number)
{
	uint32_t member = random_below(random, cluster.plan.member_count);

	switch (random_below(random, 6)) {
	case 0:
		if (cluster.plan.member_count < 12)
			cluster_add(&cluster, (*number)++, "", 50 + random_below(random, 100));
		break;
	case 1:
		if (count_active() > 3)
			cluster.members[member].state =
				random_below(random, 3) > 0 ? RING_MEMBER_LEAVING : RING_MEMBER_STANDBY;
		break;
	case 2:
		cluster.members[member].state = RING_MEMBER_ACTIVE;
		break;
	case 3:
		cluster.members[member].weight = 50 + random_below(random, 100);
		break;
	case 4:
		snprintf(cluster.members[member].rack, RING_NAME_MAX, "r%u", random_below(random, 3));
		break;
	default:
		cluster.datacenters[0].replica_count = 2 + random_below(random, 3);
	}
}

/* The plan again is that of the document: an aborted change is forgotten. */
static void read_plan(const struct ring_document *document)
{
	cluster.plan.member_count = ring_member_count(document);
	for (uint32_t i = 0; i < cluster.plan.member_count; i++)
		cluster.members[i] = *ring_member(document, i);
	cluster.datacenters[0] = *ring_datacenter(document, 0);
}

/* Those that left, if any. */
static struct ring_document *drop(struct ring_document *stable, uint32_t *drops)
{
	struct ring_document *without;

	if (ring_drop_leavers(stable, &without, NULL))
		return stable;
	accepts(stable, without);
	ring_document_destroy(&stable);
	++*drops;
	return without;
}

static void test_verify_accepts_whatever_is_made(void **state)
{
	struct random random = {7};
	uint32_t number = 100, aborts = 0, changes = 0, drops = 0;
	struct ring_document *stable = stable_document(5, 3), *first = ring_document_ref(stable);

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		struct ring_document *old, *new, *after;

		change_plan(&random, &number);
		old = begin(stable);
		accepts(stable, old);
		if (random_below(&random, 4) == 0) {
			after = abort_of(old);
			accepts(old, after);
			aborts++;
		} else {
			new = next_of(old);
			after = next_of(new);
			accepts(old, new);
			accepts(new, after);
			accepts(old, after); /* by its descent */
			ring_document_destroy(&new);
			changes++;
		}
		accepts(first, after);
		accepts(stable, after);
		ring_document_destroy(&old);
		ring_document_destroy(&stable);
		stable = drop(after, &drops);
		read_plan(stable);
	}
	print_message("%u aborts, %u changes, %u drops\n", aborts, changes, drops);
	assert_true(aborts > 20 && changes > 100 && drops > 5);
	ring_document_destroy(&stable);
	ring_document_destroy(&first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify_knows_what_may_change_without_a_transition),
		cmocka_unit_test(test_verify_refuses_fewer_owners_without_a_transition),
		cmocka_unit_test(test_verify_knows_the_steps_of_a_transition),
		cmocka_unit_test(test_verify_keeps_datacenters_with_data),
		cmocka_unit_test(test_verify_looks_at_the_descent),
		cmocka_unit_test(test_verify_of_a_thousand_epochs),
		cmocka_unit_test(test_verify_accepts_whatever_is_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
