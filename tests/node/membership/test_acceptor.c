/* SPDX-License-Identifier: Apache-2.0 */
/* One member's vote on the next ring document: what it promised and accepted is kept, over restarts and failing disks. */
#include "node/membership/acceptor.h"
#include "tests/node/membership/net.h"
#include <errno.h>
#include <stdlib.h>

enum { CLUSTER = 77 };

static struct fixture {
	struct sim_fs *disk;
	struct data_dir *data_dir;
	struct acceptor acceptor;
	struct arena *arena;
	struct ring_document *in_force, *next, *other;
	struct voted_body voted;
} f;

static void open_acceptor(void)
{
	struct rpc_error error;

	assert_int_equal(data_dir_open(sim_fs_table(f.disk), "/n", 1, &f.data_dir, &error), 0);
	assert_int_equal(acceptor_load(&f.acceptor, f.data_dir, &error), 0);
}

static void close_acceptor(void)
{
	acceptor_fini(&f.acceptor);
	data_dir_close(&f.data_dir);
}

static void restart(void)
{
	close_acceptor();
	sim_fs_crash(f.disk, &(struct sim_crash){SIM_DATA_DROP, SIM_NAMES_DROP, 1});
	sim_fs_restart(f.disk);
	open_acceptor();
}

static void begin(void)
{
	f = (struct fixture){.arena = rpc_arena_create(4096, SIZE_MAX)};
	sim_fs_create(3, &f.disk);
	f.in_force = next_document(NULL, 3, CLUSTER);
	f.next = next_document(f.in_force, 3, CLUSTER);
	struct ring_member member = *ring_member(f.in_force, 0);
	strcpy(member.rack, "r9");
	assert_int_equal(ring_amend(f.in_force, &member, &f.other, NULL), 0);
	open_acceptor();
}

static void finish(void)
{
	close_acceptor();
	ring_document_destroy(&f.in_force);
	ring_document_destroy(&f.next);
	ring_document_destroy(&f.other);
	rpc_arena_unref(f.arena);
	sim_fs_destroy(&f.disk);
}

/* document NULL: PREPARE. */
static enum vote_outcome vote(uint64_t counter, uint64_t node, const struct ring_document *document)
{
	struct vote_body question = {.parent_epoch = ring_epoch(f.in_force),
				     .parent_hash = ring_hash(f.in_force),
				     .ballot = {counter, node}};
	uint8_t *bytes = NULL;

	if (document != NULL) {
		assert_int_equal(ring_document_encode(document, &bytes, &question.document.size), 0);
		question.document.data = bytes;
	}
	acceptor_vote(&f.acceptor, f.in_force, &question, f.arena, &f.voted);
	free(bytes);
	return f.voted.outcome;
}

static void assert_says(const char *text)
{
	assert_non_null(f.voted.text);
	if (strstr(f.voted.text, text) == NULL)
		fail_msg("'%s' does not say '%s'", f.voted.text, text);
}

static void assert_found(uint64_t counter, uint64_t node, const struct ring_document *document)
{
	uint8_t *bytes = NULL;
	size_t size = 0;

	assert_int_equal(f.voted.accepted.counter, counter);
	assert_int_equal(f.voted.accepted.node_id, node);
	if (document != NULL)
		assert_int_equal(ring_document_encode(document, &bytes, &size), 0);
	assert_int_equal(f.voted.document.size, size);
	if (document != NULL)
		assert_memory_equal(f.voted.document.data, bytes, size);
	free(bytes);
}

/* ---- tests -------------------------------------------------------------------------------------------------- */

static void test_promises_and_acceptances(void **state)
{
	(void)state;
	begin();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vote(3, 7, NULL), VOTE_PROMISED);
		assert_found(0, 0, NULL);
		assert_int_equal(vote(2, 9, NULL), VOTE_OUTBID); /* V2 */
		assert_int_equal(f.voted.promised.counter, 3);
		assert_int_equal(vote(3, 6, NULL), VOTE_OUTBID);
		assert_int_equal(vote(3, 6, f.next), VOTE_OUTBID);
		restart(); /* V1 */
	}
	assert_int_equal(vote(3, 7, f.next), VOTE_ACCEPTED);
	assert_int_equal(vote(3, 7, f.next), VOTE_ACCEPTED); /* asked again */
	restart();
	assert_int_equal(vote(4, 1, NULL), VOTE_PROMISED);
	assert_found(3, 7, f.next);
	assert_int_equal(vote(3, 7, f.next), VOTE_OUTBID);
	assert_int_equal(vote(4, 1, f.other), VOTE_ACCEPTED);
	assert_int_equal(vote(9, 1, f.next),
			 VOTE_ACCEPTED); /* without a promise before: a majority gave it elsewhere */
	restart();
	assert_int_equal(vote(9, 2, NULL), VOTE_PROMISED);
	assert_found(9, 1, f.next);
	assert_int_equal(acceptor_counter(&f.acceptor, f.in_force), 9);
	finish();
}

/* V3 */
static void test_only_what_may_follow_is_accepted(void **state)
{
	struct ring_document *moved, *later;

	(void)state;
	begin();
	moved = next_document(f.in_force, 4, CLUSTER);
	later = next_document(f.next, 3, CLUSTER);
	assert_int_equal(vote(1, 1, moved), VOTE_REFUSED);
	assert_says("without a transition");
	assert_int_equal(vote(1, 1, later), VOTE_REFUSED);
	assert_says("epoch 3 does not follow 1");
	assert_int_equal(vote(1, 1, f.in_force), VOTE_REFUSED);
	assert_says("is not newer");
	struct vote_body question = {
		.parent_epoch = 1, .parent_hash = ring_hash(f.in_force), .ballot = {1, 1}, .document = slice("junk")};
	acceptor_vote(&f.acceptor, f.in_force, &question, f.arena, &f.voted);
	assert_int_equal(f.voted.outcome, VOTE_REFUSED);
	assert_says("too few");
	question.document.size = 0;
	question.parent_hash++;
	acceptor_vote(&f.acceptor, f.in_force, &question, f.arena, &f.voted);
	assert_int_equal(f.voted.outcome, VOTE_OTHER_RING);
	assert_int_equal(f.voted.epoch, 1);
	assert_int_equal(vote(1, 0, NULL), VOTE_REFUSED);
	assert_says("made up");
	assert_int_equal(vote(UINT64_MAX, 1, NULL), VOTE_REFUSED); /* nobody could outbid it */
	assert_says("made up");
	assert_int_equal(acceptor_counter(&f.acceptor, f.in_force), 0);
	ring_document_destroy(&moved);
	ring_document_destroy(&later);
	finish();
}

/* V4 */
static void test_each_ring_has_a_register_of_its_own(void **state)
{
	struct ring_document *first, *second, *fork;

	(void)state;
	begin();
	first = f.in_force;
	second = f.next;
	assert_int_equal(vote(5, 1, f.other), VOTE_ACCEPTED);
	f.in_force = second;
	f.next = next_document(second, 3, CLUSTER);
	assert_int_equal(vote(1, 1, NULL), VOTE_PROMISED); /* what was about the first ring is over */
	assert_found(0, 0, NULL);
	restart();
	f.in_force = first; /* as if its ring document were an old one: it has forgotten that it accepted */
	assert_int_equal(vote(6, 1, NULL), VOTE_REFUSED);
	assert_says("it has voted on a later ring");
	fork = f.in_force = f.other;
	assert_int_equal(vote(6, 1, NULL), VOTE_REFUSED);
	f.in_force = second;
	assert_int_equal(vote(2, 1, NULL), VOTE_PROMISED);
	f.other = fork;
	ring_document_destroy(&first);
	finish();
}

static void test_a_damaged_file_is_refused(void **state)
{
	struct rpc_error error;
	const uint8_t *bytes;
	uint64_t size;

	(void)state;
	begin();
	assert_int_equal(vote(3, 7, f.next), VOTE_ACCEPTED);
	close_acceptor();
	assert_int_equal(sim_fs_look(f.disk, "/n/register", &bytes, &size), 0);
	uint8_t *copy = malloc(size);
	memcpy(copy, bytes, size);
	assert_int_equal(data_dir_open(sim_fs_table(f.disk), "/n", 1, &f.data_dir, &error), 0);
	for (uint64_t at = 0; at < size; at += 3) {
		sim_fs_flip_bit(f.disk, "/n/register", at, 2);
		assert_int_equal(acceptor_load(&f.acceptor, f.data_dir, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "/n/register: damaged: restore it, or remove it while no change"));
		sim_fs_flip_bit(f.disk, "/n/register", at, 2);
	}
	for (uint64_t cut = 0; cut < size; cut += 7) {
		sim_fs_put_file(f.disk, "/n/register", copy, cut);
		assert_int_equal(acceptor_load(&f.acceptor, f.data_dir, &error), -EBADMSG);
	}
	sim_fs_put_file(f.disk, "/n/register", copy, size);
	data_dir_close(&f.data_dir);
	free(copy);
	open_acceptor();
	assert_int_equal(vote(3, 8, NULL), VOTE_PROMISED);
	assert_found(3, 7, f.next);
	finish();
}

/* V1: the disk fails at every call, and then the machine: whatever was answered is still so. */
static void test_what_was_answered_is_kept(void **state)
{
	bool fired = true;
	uint32_t refused = 0, kept = 0;

	(void)state;
	for (uint64_t at = 0; fired; at++) {
		enum vote_outcome promised, accepted;

		begin();
		assert_int_equal(vote(1, 1, NULL), VOTE_PROMISED);
		sim_fs_reset_operations(f.disk);
		sim_fs_fail_at(f.disk, at, -EIO, true);
		promised = vote(2, 2, NULL);
		accepted = vote(2, 2, f.next);
		fired = sim_fs_fired(f.disk);
		sim_fs_fail_never(f.disk);
		restart();
		assert_true(acceptor_counter(&f.acceptor, f.in_force) >= (promised == VOTE_PROMISED ? 2 : 1));
		assert_int_equal(vote(3, 3, NULL), VOTE_PROMISED);
		if (accepted == VOTE_ACCEPTED)
			assert_found(2, 2, f.next);
		refused += promised == VOTE_REFUSED || accepted == VOTE_REFUSED;
		kept += accepted == VOTE_ACCEPTED;
		finish();
	}
	assert_true(refused > 3 && kept > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_promises_and_acceptances),
		cmocka_unit_test(test_only_what_may_follow_is_accepted),
		cmocka_unit_test(test_each_ring_has_a_register_of_its_own),
		cmocka_unit_test(test_a_damaged_file_is_refused),
		cmocka_unit_test(test_what_was_answered_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
