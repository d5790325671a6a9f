/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/home.h"
#include "tests/sim/sim_fs.h"

static struct sim_fs *disk;

static int set_up(void **state)
{
	(void)state;
	sim_fs_create(1, &disk);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(sim_fs_open_files(disk), 0);
	sim_fs_destroy(&disk);
	return 0;
}

static struct home *must_open(uint64_t new_node_id)
{
	struct rpc_error error;
	struct home *home;

	if (home_open(sim_fs_table(disk), "/n1", new_node_id, &home, &error))
		fail_msg("%s", error.text);
	return home;
}

static int open_fails(struct rpc_error *error)
{
	struct home *home;
	int status = home_open(sim_fs_table(disk), "/n1", 99, &home, error);

	assert_null(home);
	return status;
}

static void test_a_new_directory_takes_the_id(void **state)
{
	struct home *home = must_open(77);

	(void)state;
	assert_int_equal(home_node_id(home), 77);
	assert_int_equal(home_cluster_id(home), 0);
	assert_int_equal(home_incarnation(home), 1);
	assert_string_equal(home_engine_directory(home), "/n1/engine");
	home_close(&home);
	assert_null(home);
}

static void test_identity_stays_and_starts_are_counted(void **state)
{
	struct rpc_error error;
	struct home *home = must_open(UINT64_MAX);

	(void)state;
	assert_int_equal(home_set_cluster(home, 0xabc, &error), 0);
	home_close(&home);
	for (uint64_t start = 2; start < 5; start++) {
		home = must_open(start);
		assert_true(home_node_id(home) == UINT64_MAX);
		assert_int_equal(home_cluster_id(home), 0xabc);
		assert_int_equal(home_incarnation(home), start);
		home_close(&home);
	}
}

static void test_a_second_process_is_refused(void **state)
{
	struct home *home = must_open(1);
	struct rpc_error error;

	(void)state;
	assert_int_equal(open_fails(&error), -EWOULDBLOCK);
	assert_non_null(strstr(error.text, "/n1: another process"));
	home_close(&home);
}

static void test_another_cluster_is_refused(void **state)
{
	struct home *home = must_open(1);
	struct rpc_error error;

	(void)state;
	assert_int_equal(home_set_cluster(home, 5, &error), 0);
	assert_int_equal(home_set_cluster(home, 5, &error), 0);
	assert_int_equal(home_set_cluster(home, 6, &error), -EPERM);
	assert_non_null(strstr(error.text, "belongs to cluster 0000000000000005"));
	assert_int_equal(home_cluster_id(home), 5);
	home_close(&home);
}

static void test_every_damaged_bit_of_the_identity_is_noticed(void **state)
{
	struct home *home = must_open(0x1234);
	const uint8_t *bytes;
	uint64_t size;
	struct rpc_error error;

	(void)state;
	home_close(&home);
	assert_int_equal(sim_fs_look(disk, "/n1/node", &bytes, &size), 0);
	for (uint64_t at = 0; at < size; at++)
		for (uint32_t bit = 0; bit < 8; bit++) {
			sim_fs_flip_bit(disk, "/n1/node", at, bit);
			assert_int_equal(open_fails(&error), -EBADMSG);
			assert_non_null(strstr(error.text, "/n1/node: "));
			sim_fs_flip_bit(disk, "/n1/node", at, bit);
		}
	home = must_open(1);
	assert_int_equal(home_node_id(home), 0x1234);
	home_close(&home);
}

static void test_data_without_identity_is_no_new_node(void **state)
{
	struct home *home = must_open(1);
	struct rpc_error error;

	(void)state;
	assert_int_equal(home_ring_store(home, slice("document"), &error), 0);
	home_close(&home);
	assert_int_equal(sim_fs_table(disk)->unlink(sim_fs_table(disk), "/n1/node"), 0);
	assert_int_equal(open_fails(&error), -EBADMSG);
	assert_non_null(strstr(error.text, "/n1/node: missing, but /n1/ring is there"));
}

static int refuse_writes(void *arg, uint64_t index, enum sim_fs_call call, const char *path)
{
	(void)arg, (void)index, (void)path;
	return call == SIM_FS_CREATE || call == SIM_FS_APPEND ? -ENOSPC : 0;
}

/* A node that has an identity starts on a full disk; a new one must not, for its id would be forgotten. */
static void test_a_full_disk_stops_new_nodes_only(void **state)
{
	struct rpc_error error;
	struct home *home;

	(void)state;
	sim_fs_set_hook(disk, refuse_writes, NULL);
	assert_int_equal(open_fails(&error), -ENOSPC);
	sim_fs_set_hook(disk, NULL, NULL);
	home = must_open(7);
	home_close(&home);
	sim_fs_set_hook(disk, refuse_writes, NULL);
	for (int start = 0; start < 2; start++) {
		home = must_open(8);
		assert_int_equal(home_node_id(home), 7);
		assert_int_equal(home_incarnation(home), 2);
		assert_int_equal(home_set_cluster(home, 5, &error), -ENOSPC);
		home_close(&home);
	}
	sim_fs_set_hook(disk, NULL, NULL);
	home = must_open(8);
	assert_int_equal(home_incarnation(home), 2);
	home_close(&home);
}

/* The identity is read anew before it counts as damaged. */
static void test_a_misread_identity_is_read_again(void **state)
{
	struct home *home = must_open(7);

	(void)state;
	home_close(&home);
	for (int kind = SIM_MISREAD_ONCE; kind <= SIM_MISREAD_CACHED; kind++) {
		sim_fs_misread(disk, "/n1/node", 20, 4, (enum sim_misread)kind);
		home = must_open(8);
		assert_int_equal(home_node_id(home), 7);
		home_close(&home);
	}
	assert_int_equal(sim_fs_misreads(disk), 2);
}

static void test_ring_is_kept(void **state)
{
	struct home *home = must_open(1);
	struct rpc_error error;
	uint8_t *bytes;
	size_t size;

	(void)state;
	assert_int_equal(home_ring_load(home, &bytes, &size, &error), 0);
	assert_int_equal(home_ring_store(home, slice("first, and longer"), &error), 0);
	assert_int_equal(home_ring_store(home, slice("second"), &error), 0);
	home_close(&home);
	home = must_open(1);
	assert_int_equal(home_ring_load(home, &bytes, &size, &error), 1);
	assert_slice_equal((struct rpc_slice){bytes, size}, slice("second"));
	free(bytes);
	home_close(&home);
}

static void test_a_missing_parent_is_named(void **state)
{
	struct rpc_error error;
	struct home *home;

	(void)state;
	assert_int_equal(home_open(sim_fs_table(disk), "/no/such", 1, &home, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/no/such: cannot be made"));
}

/* A life of a directory; how far it came before the power failed. */
struct progress {
	uint64_t starts;
	bool cluster, first, second;
};

static void live(struct progress *progress)
{
	struct rpc_error error;
	struct home *home;

	if (home_open(sim_fs_table(disk), "/n1", 7, &home, &error))
		return;
	progress->starts = home_incarnation(home);
	progress->first = home_ring_store(home, slice("first"), &error) == 0;
	progress->cluster = home_set_cluster(home, 3, &error) == 0;
	progress->second = home_ring_store(home, slice("second"), &error) == 0;
	home_close(&home);
}

static void check_after_crash(const struct progress *progress)
{
	struct rpc_error error;
	struct home *home = must_open(8);
	uint8_t *bytes = NULL;
	size_t size = 0;
	int found = home_ring_load(home, &bytes, &size, &error);

	/* The start count is what gossip orders incarnations by: none is ever given twice. */
	assert_true(home_incarnation(home) > progress->starts);
	if (progress->starts > 0)
		assert_int_equal(home_node_id(home), 7);
	if (progress->cluster)
		assert_int_equal(home_cluster_id(home), 3);
	assert_true(found >= (progress->first ? 1 : 0));
	if (progress->second)
		assert_slice_equal((struct rpc_slice){bytes, size}, slice("second"));
	else if (found > 0 && bytes[0] == 'f')
		assert_slice_equal((struct rpc_slice){bytes, size}, slice("first"));
	else if (found > 0)
		assert_slice_equal((struct rpc_slice){bytes, size}, slice("second"));
	free(bytes);
	home_close(&home);
}

/* H1 and durability: the power fails at every operation, and leaves every kind of rest. */
static void test_power_cut_at_every_operation(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t at = 0; fired; at++)
		for (uint64_t kind = 0; kind < 5 * SIM_NAMES_MODE_COUNT; kind++) {
			struct progress progress = {0};
			struct sim_crash crash = {(enum sim_crash_data)(kind % 5), (enum sim_crash_names)(kind / 5),
						  at};

			sim_fs_destroy(&disk);
			sim_fs_create(at, &disk);
			sim_fs_crash_at(disk, at, &crash);
			live(&progress);
			fired = sim_fs_fired(disk);
			if (!fired)
				sim_fs_crash(disk, &crash);
			sim_fs_restart(disk);
			check_after_crash(&progress);
		}
}

static void test_a_failing_disk_at_every_operation(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t at = 0; fired; at++) {
		struct progress progress = {0};

		sim_fs_destroy(&disk);
		sim_fs_create(at, &disk);
		sim_fs_fail_at(disk, at, -EIO, false);
		live(&progress);
		fired = sim_fs_fired(disk);
		sim_fs_fail_never(disk);
		check_after_crash(&progress);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_new_directory_takes_the_id, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_identity_stays_and_starts_are_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_second_process_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_cluster_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_damaged_bit_of_the_identity_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_data_without_identity_is_no_new_node, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_full_disk_stops_new_nodes_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_misread_identity_is_read_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ring_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_missing_parent_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_power_cut_at_every_operation, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_failing_disk_at_every_operation, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
