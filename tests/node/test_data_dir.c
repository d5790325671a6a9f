/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/node/support.h"
#include <errno.h>
#include <stdlib.h>
#include "node/data_dir.h"
#include "ring/ring.h"
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

static struct data_dir *must_open(uint64_t new_node_id)
{
	struct rpc_error error;
	struct data_dir *data_dir;

	if (data_dir_open(sim_fs_table(disk), "/n1", new_node_id, &data_dir, &error))
		fail_msg("%s", error.text);
	return data_dir;
}

static int open_fails(struct rpc_error *error)
{
	struct data_dir *data_dir;
	int status = data_dir_open(sim_fs_table(disk), "/n1", 99, &data_dir, error);

	assert_null(data_dir);
	return status;
}

static void test_a_new_directory_takes_the_id(void **state)
{
	struct data_dir *data_dir = must_open(77);

	(void)state;
	assert_int_equal(data_dir_node_id(data_dir), 77);
	assert_int_equal(data_dir_cluster_id(data_dir), 0);
	assert_int_equal(data_dir_incarnation(data_dir), 1);
	assert_string_equal(data_dir_engine_directory(data_dir), "/n1/engine");
	data_dir_close(&data_dir);
	assert_null(data_dir);
}

static void test_identity_stays_and_starts_are_counted(void **state)
{
	struct rpc_error error;
	struct data_dir *data_dir = must_open(UINT64_MAX);

	(void)state;
	assert_int_equal(data_dir_set_cluster(data_dir, 0xabc, &error), 0);
	data_dir_close(&data_dir);
	for (uint64_t start = 2; start < 5; start++) {
		data_dir = must_open(start);
		assert_true(data_dir_node_id(data_dir) == UINT64_MAX);
		assert_int_equal(data_dir_cluster_id(data_dir), 0xabc);
		assert_int_equal(data_dir_incarnation(data_dir), start);
		data_dir_close(&data_dir);
	}
}

static void test_a_second_process_is_refused(void **state)
{
	struct data_dir *data_dir = must_open(1);
	struct rpc_error error;

	(void)state;
	assert_int_equal(open_fails(&error), -EWOULDBLOCK);
	assert_non_null(strstr(error.text, "/n1: another process"));
	data_dir_close(&data_dir);
}

static void test_another_cluster_is_refused(void **state)
{
	struct data_dir *data_dir = must_open(1);
	struct rpc_error error;

	(void)state;
	assert_int_equal(data_dir_set_cluster(data_dir, 5, &error), 0);
	assert_int_equal(data_dir_set_cluster(data_dir, 5, &error), 0);
	assert_int_equal(data_dir_set_cluster(data_dir, 6, &error), -EPERM);
	assert_non_null(strstr(error.text, "belongs to cluster 0000000000000005"));
	assert_int_equal(data_dir_cluster_id(data_dir), 5);
	data_dir_close(&data_dir);
}

static void test_every_damaged_bit_of_the_identity_is_noticed(void **state)
{
	struct data_dir *data_dir = must_open(0x1234);
	const uint8_t *bytes;
	uint64_t size;
	struct rpc_error error;

	(void)state;
	data_dir_close(&data_dir);
	assert_int_equal(sim_fs_look(disk, "/n1/node", &bytes, &size), 0);
	for (uint64_t at = 0; at < size; at++)
		for (uint32_t bit = 0; bit < 8; bit++) {
			sim_fs_flip_bit(disk, "/n1/node", at, bit);
			assert_int_equal(open_fails(&error), -EBADMSG);
			assert_non_null(strstr(error.text, "/n1/node: "));
			sim_fs_flip_bit(disk, "/n1/node", at, bit);
		}
	data_dir = must_open(1);
	assert_int_equal(data_dir_node_id(data_dir), 0x1234);
	data_dir_close(&data_dir);
}

static void test_data_without_identity_is_no_new_node(void **state)
{
	struct data_dir *data_dir = must_open(1);
	struct rpc_error error;

	(void)state;
	assert_int_equal(data_dir_ring_store(data_dir, slice("document"), &error), 0);
	data_dir_close(&data_dir);
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
	struct data_dir *data_dir;

	(void)state;
	sim_fs_set_hook(disk, refuse_writes, NULL);
	assert_int_equal(open_fails(&error), -ENOSPC);
	sim_fs_set_hook(disk, NULL, NULL);
	data_dir = must_open(7);
	data_dir_close(&data_dir);
	sim_fs_set_hook(disk, refuse_writes, NULL);
	for (int start = 0; start < 2; start++) {
		data_dir = must_open(8);
		assert_int_equal(data_dir_node_id(data_dir), 7);
		assert_int_equal(data_dir_incarnation(data_dir), 2);
		assert_int_equal(data_dir_boot(data_dir), 1); /* this start's number is not on disk */
		assert_int_equal(data_dir_set_cluster(data_dir, 5, &error), -ENOSPC);
		data_dir_close(&data_dir);
	}
	sim_fs_set_hook(disk, NULL, NULL);
	data_dir = must_open(8);
	assert_int_equal(data_dir_incarnation(data_dir), 2);
	data_dir_close(&data_dir);
}

/* It stays so over starts, until somebody accepts it; and the next start is later than any that others remember. */
static void test_a_directory_that_went_back_says_so_until_it_is_accepted(void **state)
{
	struct rpc_error error;
	struct data_dir *data_dir = must_open(7);

	(void)state;
	assert_false(data_dir_is_receiving(data_dir));
	assert_int_equal(data_dir_set_receiving(data_dir, 40, &error), 0);
	assert_true(data_dir_is_receiving(data_dir));
	assert_int_equal(data_dir_set_cluster(data_dir, 5, &error), 0);
	data_dir_close(&data_dir);
	data_dir = must_open(8);
	assert_true(data_dir_is_receiving(data_dir));
	assert_int_equal(data_dir_incarnation(data_dir), 41);
	assert_int_equal(data_dir_boot(data_dir), 41);
	assert_int_equal(data_dir_cluster_id(data_dir), 5);
	assert_int_equal(data_dir_accept_restored(data_dir, &error), 0);
	assert_false(data_dir_is_receiving(data_dir));
	data_dir_close(&data_dir);
	data_dir = must_open(8);
	assert_false(data_dir_is_receiving(data_dir));
	assert_int_equal(data_dir_incarnation(data_dir), 42);
	data_dir_close(&data_dir);
}

/* The identity is read anew before it counts as damaged. */
static void test_a_misread_identity_is_read_again(void **state)
{
	struct data_dir *data_dir = must_open(7);

	(void)state;
	data_dir_close(&data_dir);
	for (int kind = SIM_MISREAD_ONCE; kind <= SIM_MISREAD_CACHED; kind++) {
		sim_fs_misread(disk, "/n1/node", 20, 4, (enum sim_misread)kind);
		data_dir = must_open(8);
		assert_int_equal(data_dir_node_id(data_dir), 7);
		data_dir_close(&data_dir);
	}
	assert_int_equal(sim_fs_misreads(disk), 2);
}

static void test_ring_is_kept(void **state)
{
	struct data_dir *data_dir = must_open(1);
	struct rpc_error error;
	uint8_t *bytes;
	size_t size;

	(void)state;
	assert_int_equal(data_dir_ring_load(data_dir, &bytes, &size, &error), 0);
	assert_int_equal(data_dir_ring_store(data_dir, slice("first, and longer"), &error), 0);
	assert_int_equal(data_dir_ring_store(data_dir, slice("second"), &error), 0);
	data_dir_close(&data_dir);
	data_dir = must_open(1);
	assert_int_equal(data_dir_ring_load(data_dir, &bytes, &size, &error), 1);
	assert_slice_equal((struct rpc_slice){bytes, size}, slice("second"));
	free(bytes);
	data_dir_close(&data_dir);
}

/* What a peer may send must be there again after a restart. */
static void test_the_largest_ring_is_kept(void **state)
{
	struct data_dir *data_dir = must_open(1);
	size_t size = RING_DOCUMENT_SIZE_MAX, found_size;
	uint8_t *bytes = calloc(size, 1), *found;
	struct rpc_error error;

	(void)state;
	bytes[size - 1] = 7;
	assert_int_equal(data_dir_ring_store(data_dir, (struct rpc_slice){bytes, size}, &error), 0);
	assert_int_equal(data_dir_ring_load(data_dir, &found, &found_size, &error), 1);
	assert_int_equal(found_size, size);
	assert_memory_equal(found, bytes, size);
	free(found);
	free(bytes);
	data_dir_close(&data_dir);
}

static void test_a_missing_parent_is_named(void **state)
{
	struct rpc_error error;
	struct data_dir *data_dir;

	(void)state;
	assert_int_equal(data_dir_open(sim_fs_table(disk), "/no/such", 1, &data_dir, &error), -ENOENT);
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
	struct data_dir *data_dir;

	if (data_dir_open(sim_fs_table(disk), "/n1", 7, &data_dir, &error))
		return;
	progress->starts = data_dir_incarnation(data_dir);
	progress->first = data_dir_ring_store(data_dir, slice("first"), &error) == 0;
	progress->cluster = data_dir_set_cluster(data_dir, 3, &error) == 0;
	progress->second = data_dir_ring_store(data_dir, slice("second"), &error) == 0;
	data_dir_close(&data_dir);
}

static void check_after_crash(const struct progress *progress)
{
	struct rpc_error error;
	struct data_dir *data_dir = must_open(8);
	uint8_t *bytes = NULL;
	size_t size = 0;
	int found = data_dir_ring_load(data_dir, &bytes, &size, &error);

	/* The start count is what gossip orders incarnations by: none is ever given twice. */
	assert_true(data_dir_incarnation(data_dir) > progress->starts);
	if (progress->starts > 0)
		assert_int_equal(data_dir_node_id(data_dir), 7);
	if (progress->cluster)
		assert_int_equal(data_dir_cluster_id(data_dir), 3);
	assert_true(found >= (progress->first ? 1 : 0));
	if (progress->second)
		assert_slice_equal((struct rpc_slice){bytes, size}, slice("second"));
	else if (found > 0 && bytes[0] == 'f')
		assert_slice_equal((struct rpc_slice){bytes, size}, slice("first"));
	else if (found > 0)
		assert_slice_equal((struct rpc_slice){bytes, size}, slice("second"));
	free(bytes);
	data_dir_close(&data_dir);
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
		cmocka_unit_test_setup_teardown(test_the_largest_ring_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_directory_that_went_back_says_so_until_it_is_accepted, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_missing_parent_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_power_cut_at_every_operation, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_failing_disk_at_every_operation, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
