/* SPDX-License-Identifier: Apache-2.0 */
/* A whole store, opened, read, written to and inspected: the input gives the manifest's edit, two segments of log batches and
 * the saved hash trees, the target puts right headers and checksums around them. What opens works; what does not says why.
 *
 *     input    u8 flags (1: second segment, 2: trees), u8 drops that each segment knows of, then 3 x (u16 size, bytes): edit,
 *              first segment, trees; the rest is the second segment. A segment is: varint of its first sequence, then
 *              batches: u16 size, bytes from the batch's size field on (wal.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/disk/buffer.h"
#include "engine/engine.h"
#include "engine/disk/files.h"
#include "engine/inspect.h"
#include "engine/state/manifest.h"
#include "tests/sim/sim_fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIRST_LOG = 100, SECOND_LOG = 101, TREE = 50, STEPS_MAX = 5000 };

static void check(bool holds)
{
	if (!holds)
		abort();
}

struct input {
	const uint8_t *at, *end;
};

static struct engine_slice take(struct input *input, size_t size)
{
	struct engine_slice slice = {input->at, size};

	if (size > (size_t)(input->end - input->at))
		slice.size = (size_t)(input->end - input->at);
	input->at += slice.size;
	return slice;
}

static struct engine_slice take_part(struct input *input)
{
	struct engine_slice bytes = take(input, 2);

	return bytes.size < 2 ? (struct engine_slice){input->at, 0} : take(input, format_u16(bytes.data));
}

static unsigned take_byte(struct input *input)
{
	struct engine_slice byte = take(input, 1);

	return byte.size ? *(const uint8_t *)byte.data : 0;
}

static void put_header(struct buffer *file, const char *magic, uint64_t number, uint64_t a, uint64_t b)
{
	struct format_header header = {.number = number, .a = a, .b = b};
	uint8_t bytes[FORMAT_HEADER_SIZE];

	format_header_write(bytes, magic, &header);
	check(buffer_append(file, bytes, sizeof bytes) == 0);
}

static void store_file(struct sim_fs *disk, const char *path, struct buffer *file)
{
	sim_fs_put_file(disk, path, file->data, file->size);
	buffer_fini(file);
}

static void store_manifest(struct sim_fs *disk, struct engine_slice edit)
{
	struct buffer file = {0};
	uint8_t record[24] = {'K', 'V', 'M', 'R'};

	put_header(&file, FORMAT_MANIFEST, 7, 0, 0);
	format_u32_put(record + 4, (uint32_t)edit.size);
	format_u64_put(record + 16, format_checksum(edit.data, edit.size, 7, 0));
	check(buffer_append(&file, record, sizeof record) == 0);
	check(buffer_append(&file, edit.data, edit.size) == 0);
	store_file(disk, "/store/shard-000/MANIFEST", &file);
}

static void store_log(struct sim_fs *disk, uint64_t number, struct engine_slice bytes, unsigned drops)
{
	struct input input = {bytes.data, (const uint8_t *)bytes.data + bytes.size};
	struct buffer file = {0};
	uint64_t first = 0;
	char path[64];
	const uint8_t *next = format_varint_get(input.at, input.end, &first);

	input.at = next != NULL ? next : input.end;
	put_header(&file, FORMAT_LOG, number, first, drops);
	while (input.at < input.end) {
		struct engine_slice batch = take_part(&input);
		uint8_t fixed[12] = {'K', 'V', 'W', 'B'};

		format_u64_put(fixed + 4, format_checksum(batch.data, batch.size, number, file.size));
		check(buffer_append(&file, fixed, sizeof fixed) == 0);
		check(buffer_append(&file, batch.data, batch.size) == 0);
	}
	snprintf(path, sizeof path, "/store/shard-000/%010llu.log", (unsigned long long)number);
	store_file(disk, path, &file);
}

static void store_trees(struct sim_fs *disk, struct engine_slice trees)
{
	struct buffer file = {0};
	char path[64];

	put_header(&file, FORMAT_TREE, TREE, 0, 0);
	check(buffer_append(&file, trees.data, trees.size) == 0);
	check(buffer_append_u64(&file, format_checksum(trees.data, trees.size, TREE, 0)) == 0);
	snprintf(path, sizeof path, "/store/shard-000/%010d.tree", TREE);
	store_file(disk, path, &file);
}

static void build(struct sim_fs *disk, struct input *input)
{
	const struct fs *fs = sim_fs_table(disk);
	unsigned flags = take_byte(input), drops = take_byte(input);
	struct buffer store = {0};
	struct engine_slice trees;

	check(fs_make_directory(fs, "/store") == 0 && fs_make_directory(fs, "/store/shard-000") == 0);
	put_header(&store, FORMAT_STORE, 0, 1, 0);
	store_file(disk, "/store/STORE", &store);
	store_manifest(disk, take_part(input));
	store_log(disk, FIRST_LOG, take_part(input), drops & 15);
	trees = take_part(input);
	if (flags & 2)
		store_trees(disk, trees);
	if (flags & 1)
		store_log(disk, SECOND_LOG, take(input, 1 << 16), drops >> 4);
}

static bool is_expected(int error)
{
	return error == -EBADMSG || error == -ENOTSUP || error == -EINVAL || error == -ENOENT || error == -EFBIG;
}

/* Past a quarantined partition. 0 when nothing lies behind it. */
static int seek_behind(struct engine_iterator *iterator, int32_t partition)
{
	uint8_t next[2] = {(uint8_t)((partition + 1) >> 8), (uint8_t)(partition + 1)};

	return partition < UINT16_MAX ? engine_iterator_seek(iterator, (struct engine_slice){next, 2}) : 0;
}

/* Everything that is shown can be got; what is not shown is quarantined, and the iterator says so. */
static void read_all(struct shard *shard)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	int error, steps = 0;

	check(shard_snapshot(shard, &snapshot) == 0);
	check(engine_iterator_create(snapshot, &iterator) == 0);
	error = engine_iterator_seek(iterator, (struct engine_slice){0});
	while (error && steps++ < STEPS_MAX) {
		struct engine_value value;

		if (error == -EBADMSG) {
			int32_t partition = engine_iterator_quarantined(iterator);

			check(partition >= 0 && shard_quarantined(shard, (uint32_t)partition) == partition);
			error = seek_behind(iterator, partition);
			continue;
		}
		check(error == 1);
		check(engine_snapshot_get(snapshot, engine_iterator_key(iterator), &value) == 1);
		engine_value_release(&value);
		error = engine_iterator_next(iterator);
	}
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	for (uint16_t partition = 0; partition < 4; partition++)
		shard_tree_node(shard, partition, 0, 0);
}

/* It takes a write and a flush like any other store, where nothing is damaged; dropped, all of it does. */
static void use(struct shard *shard)
{
	struct engine_slice all = {0};
	struct engine_batch *batch;
	struct engine_job *job;

	check(engine_batch_create(&batch) == 0);
	check(engine_batch_put(batch, (struct engine_slice){"\0\1key", 5}, (struct engine_slice){"value", 5}, 99) == 0);
	if (shard_quarantined(shard, 0) >= 0) {
		int error = shard_write(shard, batch);

		check((shard_quarantined(shard, 1) == 1) == (error == -EBADMSG));
		check(shard_quarantine_reason(shard)[0] != 0);
		check(shard_drop_range(shard, all, all) == 0);
		check(shard_quarantined(shard, 0) < 0);
	}
	check(shard_write(shard, batch) == 0);
	check(shard_commit(shard, ENGINE_SYNC_EACH) == 0);
	check(shard_request_compaction(shard) == 0);
	for (int i = 0; i < 10 && shard_maintain(shard, &job) == 0 && job != NULL; i++) {
		engine_job_run(job);
		(void)!shard_install(shard, &job);
	}
	check(!shard_is_dead(shard));
	engine_batch_destroy(&batch);
}

static void inspect(const struct fs *fs, enum inspect_what what, FILE *out)
{
	struct inspect_result result;
	struct engine_error error = {{0}};
	int rc = engine_inspect(fs, "/store", what, out, &result, &error);

	check(rc == 0 || (is_expected(rc) && error.text[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *nowhere;
	struct input input = {data, data + size};
	struct engine_options options;
	struct engine_error error = {{0}};
	struct engine *engine;
	struct sim_fs *disk;
	int rc;

	if (nowhere == NULL)
		nowhere = fopen("/dev/null", "w");
	sim_fs_create(1, &disk);
	build(disk, &input);
	inspect(sim_fs_table(disk), INSPECT_VERIFY, nowhere);
	inspect(sim_fs_table(disk), INSPECT_ENTRIES, nowhere);
	engine_options_default(&options);
	options.fs = sim_fs_table(disk);
	options.directory = "/store";
	options.cache_bytes = 64 * 1024;
	options.create_if_missing = false;
	for (int round = 0; round < 2; round++) {
		rc = engine_open(&options, &engine, &error);
		check(rc == 0 || (round == 0 && is_expected(rc) && error.text[0]));
		if (rc)
			break;
		read_all(engine_shard(engine, 0));
		if (round == 0)
			use(engine_shard(engine, 0));
		check(engine_close(&engine) == 0);
	}
	sim_fs_destroy(&disk);
	return 0;
}
