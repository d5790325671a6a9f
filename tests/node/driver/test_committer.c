/* SPDX-License-Identifier: Apache-2.0 */
/* Commits here are the test's own: nothing of the engine is linked. */
#include "node/driver/committer.h"
#include "tests/node/support.h"

enum { COMMITS = 200 };

struct engine_commit {
	unsigned runs;
};

void engine_commit_run(struct engine_commit *commit)
{
	commit->runs++;
}

static struct commit_mail *await(struct mailbox *mailbox)
{
	struct mail_queue taken;
	while (!mailbox_take(mailbox, MAIL_COMMIT, &taken))
		mailbox_wait(mailbox, UINT64_MAX);
	struct cds_wfcq_node *node = mail_next(&taken);
	assert_non_null(node);
	assert_null(mail_next(&taken));
	return caa_container_of(node, struct commit_mail, mail);
}

static void test_each_commit_runs_once_and_comes_back(void **state)
{
	(void)state;
	struct mailbox owner;
	struct committer *committer;
	mailbox_init(&owner);
	assert_int_equal(committer_start(&owner, &committer), 0);
	for (uint32_t i = 0; i < COMMITS; i++) {
		struct engine_commit commit = {0};
		committer_submit(committer, &commit, i % 3 == 0 ? i : 0); /* some under pressure */
		assert_ptr_equal(await(&owner)->commit, &commit);
		assert_int_equal(commit.runs, 1);
	}
	committer_stop(&committer);
	assert_null(committer);
	committer_stop(&committer); /* nothing to stop */
}

/* No pressure costs nothing; more costs more, never in a leap; the most is what a client hardly notices. */
static void test_delay_grows_smoothly(void **state)
{
	(void)state;
	assert_int_equal(committer_delay_us(0), 0);
	for (uint32_t pressure = 1; pressure <= 1000; pressure++) {
		uint32_t before = committer_delay_us(pressure - 1), now = committer_delay_us(pressure);
		assert_true(now >= before && now - before <= 50);
	}
	assert_int_equal(committer_delay_us(1000), 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_commit_runs_once_and_comes_back),
		cmocka_unit_test(test_delay_grows_smoothly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
