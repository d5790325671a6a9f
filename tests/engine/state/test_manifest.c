/* SPDX-License-Identifier: Apache-2.0 */
/* Manifest: random edits are read back as the state they led to; torn appends, flipped bits, holes, unknown fields and
 * failing disks give the state before, the state after, or a refusal that says why.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/disk/buffer.h"
#include "engine/state/manifest.h"
#include "tests/engine/shelf.h"
#include "tests/sim/sim_random.h"

enum { EDITS = 120, NUMBER = 9, RECORD_HEADER = 24 };

/* ---- comparing ---- */

static bool same_slice(struct engine_slice a, struct engine_slice b)
{
	return format_compare(a, b) == 0;
}

static bool same_table(const struct manifest_table *a, const struct manifest_table *b)
{
	const struct table_meta *x = &a->meta, *y = &b->meta;

	return a->level == b->level && a->run == b->run && x->number == y->number && x->size == y->size &&
	       x->digest == y->digest && x->entry_count == y->entry_count && x->delete_count == y->delete_count &&
	       x->raw_bytes == y->raw_bytes && x->drop_id == y->drop_id &&
	       same_slice(buffer_slice(&x->smallest), buffer_slice(&y->smallest)) &&
	       same_slice(buffer_slice(&x->largest), buffer_slice(&y->largest));
}

static bool has_table(const struct manifest_state *state, const struct manifest_table *table)
{
	for (size_t i = 0; i < state->table_count; i++) {
		if (same_table(state->tables[i], table))
			return true;
	}
	return false;
}

static bool same_drops(const struct manifest_state *a, const struct manifest_state *b)
{
	for (size_t i = 0; i < a->drop_count; i++) {
		if (a->drops[i].id != b->drops[i].id ||
		    !same_slice(buffer_slice(&a->drops[i].begin), buffer_slice(&b->drops[i].begin)) ||
		    !same_slice(buffer_slice(&a->drops[i].end), buffer_slice(&b->drops[i].end)))
			return false;
	}
	return true;
}

static bool same_state(const struct manifest_state *a, const struct manifest_state *b)
{
	if (a->table_count != b->table_count || a->drop_count != b->drop_count || !same_drops(a, b) ||
	    a->last_drop_id != b->last_drop_id || a->next_number != b->next_number || a->log_floor != b->log_floor ||
	    a->flushed_sequence != b->flushed_sequence || a->closed_sequence != b->closed_sequence ||
	    memcmp(&a->tree, &b->tree, sizeof a->tree) != 0 ||
	    !same_slice(buffer_slice(&a->meta), buffer_slice(&b->meta)))
		return false;
	for (size_t i = 0; i < a->table_count; i++) {
		if (!has_table(b, a->tables[i]))
			return false;
	}
	return true;
}

/* ---- random edits ---- */

/* An edit and what it points to. */
struct drawn {
	struct manifest_edit edit;
	struct manifest_table *added[2];
	uint64_t removed[2];
	struct manifest_drop drop;
	struct manifest_tree tree;
	struct engine_slice meta;
	uint8_t bytes[40];
};

static struct manifest_table *draw_table(struct sim_random *random, uint64_t number)
{
	struct manifest_table *table;
	struct table_meta meta = {.number = number,
				  .size = sim_random_next(random) >> sim_random_below(random, 64),
				  .digest = sim_random_next(random),
				  .entry_count = sim_random_below(random, 100000),
				  .delete_count = sim_random_below(random, 1000),
				  .raw_bytes = sim_random_below(random, 1 << 30),
				  .drop_id = sim_random_below(random, 5)};

	assert_int_equal(buffer_append_u64(&meta.smallest, sim_random_next(random) & ~(uint64_t)0xff), 0);
	assert_int_equal(buffer_assign(&meta.largest, buffer_slice(&meta.smallest)), 0);
	meta.largest.data[0] = 0xff;
	assert_int_equal(manifest_table_create((uint32_t)sim_random_below(random, MANIFEST_LEVELS),
					       sim_random_below(random, 1000), &meta, &table),
			 0);
	table_meta_fini(&meta);
	return table;
}

static void draw(struct sim_random *random, const struct manifest_state *state, uint64_t number, struct drawn *out)
{
	*out = (struct drawn){.edit = {.added = out->added, .removed = out->removed}};
	for (uint64_t i = sim_random_below(random, 3); i-- > 0;)
		out->added[out->edit.added_count++] = draw_table(random, number * 10 + i);
	if (state->table_count > 3)
		out->removed[out->edit.removed_count++] =
			state->tables[sim_random_below(random, state->table_count)]->meta.number;
	if (sim_random_below(random, 4) == 0) {
		out->drop = (struct manifest_drop){.id = state->last_drop_id + 1};
		assert_int_equal(buffer_append_u64(&out->drop.begin, sim_random_next(random)), 0);
		if (sim_random_below(random, 2))
			assert_int_equal(buffer_append_u64(&out->drop.end, sim_random_next(random)), 0);
		out->edit.drop = &out->drop;
		out->edit.last_drop_id = out->drop.id;
	}
	if (sim_random_below(random, 4) == 0)
		out->edit.forget_drops = sim_random_below(random, state->last_drop_id + 1);
	uint64_t *const fields[] = {&out->edit.next_number, &out->edit.log_floor, &out->edit.flushed_sequence,
				    &out->edit.closed_sequence};

	for (size_t i = 0; i < 4; i++)
		*fields[i] = sim_random_below(random, 2) ? sim_random_next(random) >> sim_random_below(random, 64) : 0;
	if (sim_random_below(random, 3) == 0) {
		out->tree = (struct manifest_tree){sim_random_next(random), sim_random_below(random, 1 << 20), 3};
		out->edit.tree = &out->tree;
	}
	if (sim_random_below(random, 3) == 0) {
		out->meta = (struct engine_slice){out->bytes, sim_random_below(random, sizeof out->bytes)};
		memset(out->bytes, (int)sim_random_next(random), sizeof out->bytes);
		out->edit.meta = &out->meta;
	}
}

static void drawn_fini(struct drawn *drawn)
{
	for (size_t i = 0; i < 2; i++)
		manifest_table_unref(&drawn->added[i]);
	buffer_fini(&drawn->drop.begin);
	buffer_fini(&drawn->drop.end);
}

static void advance(struct manifest_state *state, const struct manifest_edit *edit)
{
	struct manifest_state next;

	assert_int_equal(manifest_state_change(state, edit, &next), 0);
	manifest_state_fini(state);
	*state = next;
}

/* ---- a manifest of a few records ---- */

struct book {
	struct shelf shelf;
	struct files_path path;
	struct sim_random random;
	struct manifest *manifest;
	struct manifest_state state;
	uint64_t edits;
};

static void book_init(struct book *book, uint64_t seed)
{
	*book = (struct book){.state = {.next_number = 2}};
	shelf_init(&book->shelf, 4096);
	book->path = files_path(&book->shelf.files, FILE_MANIFEST, 0);
	sim_random_seed(&book->random, seed);
	assert_int_equal(manifest_create(&book->shelf.files, NUMBER, &book->state, &book->manifest), 0);
}

static void book_edit(struct book *book)
{
	struct drawn drawn;

	draw(&book->random, &book->state, ++book->edits, &drawn);
	assert_int_equal(manifest_append(book->manifest, &drawn.edit), 0);
	advance(&book->state, &drawn.edit);
	drawn_fini(&drawn);
}

static void book_fini(struct book *book)
{
	manifest_close(&book->manifest);
	manifest_state_fini(&book->state);
	shelf_fini(&book->shelf);
}

static uint8_t *book_bytes(struct book *book, size_t *size_out)
{
	const uint8_t *data;
	uint64_t size;
	uint8_t *copy;

	assert_int_equal(sim_fs_look(book->shelf.disk, book->path.text, &data, &size), 0);
	assert_int_equal(size, manifest_size(book->manifest));
	copy = malloc(size);
	memcpy(copy, data, size);
	*size_out = size;
	return copy;
}

static void assert_reads(struct book *book, const struct manifest_state *expected)
{
	struct manifest_state got;
	struct engine_error error;
	uint64_t tail;

	if (manifest_read(&book->shelf.files, &got, &tail, &error))
		fail_msg("%s", error.text);
	assert_int_equal(tail, 0);
	assert_true(same_state(&got, expected));
	manifest_state_fini(&got);
}

/* What these bytes decode to: 1 the state, 0 the state before, or the error. */
static int decode(const uint8_t *bytes, size_t size, const struct manifest_state *before,
		  const struct manifest_state *after, uint64_t *tail_out, struct engine_error *error)
{
	struct manifest_state got;
	int rc = manifest_decode(bytes, size, "M", SHELF_SHARD, &got, tail_out, error);

	if (rc)
		return rc;
	rc = same_state(&got, after);
	if (!rc && !same_state(&got, before))
		fail_msg("neither the state before nor the one after");
	manifest_state_fini(&got);
	return rc;
}

/* ---- tests ---- */

static void test_every_edit_is_read_back(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct book book;

		book_init(&book, seed);
		for (int i = 0; i < EDITS; i++) {
			book_edit(&book);
			assert_reads(&book, &book.state);
		}
		/* Written anew as one record. It is open again by then, so that it was closed is forgotten. */
		manifest_close(&book.manifest);
		assert_int_equal(manifest_create(&book.shelf.files, NUMBER + 1, &book.state, &book.manifest), 0);
		book.state.closed_sequence = 0;
		assert_reads(&book, &book.state);
		book_edit(&book);
		assert_reads(&book, &book.state);
		book_fini(&book);
	}
}

/* The last append cut at every byte: before it while no copy is whole, after it from then on. */
static void test_torn_append(void **state)
{
	struct book book;
	struct manifest_state before;
	struct manifest_edit nothing = {0};
	size_t size, earlier;
	uint8_t *bytes;

	(void)state;
	book_init(&book, 1);
	for (int i = 0; i < 5; i++)
		book_edit(&book);
	earlier = manifest_size(book.manifest);
	assert_int_equal(manifest_state_change(&book.state, &nothing, &before), 0);
	book_edit(&book);
	bytes = book_bytes(&book, &size);
	for (size_t cut = earlier; cut <= size; cut++) {
		size_t copy = (size - earlier) / 2;
		struct engine_error error;
		uint64_t tail;

		assert_int_equal(decode(bytes, cut, &before, &book.state, &tail, &error), cut >= earlier + copy);
		assert_int_equal(tail, cut == size ? 0 : cut >= earlier + copy ? cut - earlier - copy : cut - earlier);
	}
	free(bytes);
	manifest_state_fini(&before);
	book_fini(&book);
}

/* Any one bit behind the header: the other copy stands for it. In the header: refused. */
static void test_every_flipped_bit(void **state)
{
	struct book book;
	size_t size;
	uint8_t *bytes;

	(void)state;
	book_init(&book, 2);
	for (int i = 0; i < 4; i++)
		book_edit(&book);
	bytes = book_bytes(&book, &size);
	for (size_t bit = 0; bit < size * 8; bit++) {
		struct engine_error error = {{0}};
		uint64_t tail;
		int rc;

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		rc = decode(bytes, size, &book.state, &book.state, &tail, &error);
		if (rc != (bit < FORMAT_HEADER_SIZE * 8 ? -EBADMSG : 1))
			fail_msg("bit %zu: %d %s", bit, rc, error.text);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(bytes);
	book_fini(&book);
}

/* Both copies of a record in the middle are gone: that is a hole, and it is said which. */
static void test_hole_is_refused(void **state)
{
	struct book book;
	size_t size, begin, end;
	struct engine_error error;
	uint8_t *bytes;
	uint64_t tail;

	(void)state;
	book_init(&book, 3);
	book_edit(&book);
	begin = manifest_size(book.manifest);
	book_edit(&book);
	end = manifest_size(book.manifest);
	book_edit(&book);
	bytes = book_bytes(&book, &size);
	bytes[begin] ^= 1;
	bytes[(begin + end) / 2] ^= 1;
	assert_int_equal(decode(bytes, size, &book.state, &book.state, &tail, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "record 2 is missing"));
	/* The first one as well. */
	memset(bytes + FORMAT_HEADER_SIZE, 0, begin - FORMAT_HEADER_SIZE);
	assert_int_equal(decode(bytes, size, &book.state, &book.state, &tail, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "record 0 is missing"));
	/* No record at all. */
	assert_int_equal(decode(bytes, FORMAT_HEADER_SIZE, &book.state, &book.state, &tail, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "no intact record"));
	free(bytes);
	book_fini(&book);
}

/* One record around these bytes, with a right checksum. */
static int decode_edit(const void *edit, size_t edit_size, struct engine_error *error)
{
	struct format_header header = {.shard = SHELF_SHARD, .number = NUMBER};
	size_t size = FORMAT_HEADER_SIZE + RECORD_HEADER + edit_size;
	uint8_t *file = calloc(1, size), *record = file + FORMAT_HEADER_SIZE;
	struct manifest_state got;
	uint64_t tail;
	int rc;

	format_header_write(file, FORMAT_MANIFEST, &header);
	memcpy(record, "KVMR", 4);
	format_u32_put(record + 4, (uint32_t)edit_size);
	memcpy(record + RECORD_HEADER, edit, edit_size);
	format_u64_put(record + 16, format_checksum(edit, edit_size, NUMBER, 0));
	rc = manifest_decode(file, size, "M", SHELF_SHARD, &got, &tail, error);
	manifest_state_fini(&got);
	free(file);
	return rc;
}

static void test_unknown_and_impossible_fields_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
		int rc;
	} cases[] = {
		/* clang-format off */
		{"", 0, 0},
		{"\5\7", 2, 0},         /* next number 7 */
		{"\0", 1, -EBADMSG},    /* no such field */
		{"\14\1", 2, -EBADMSG}, /* a later release's */
		{"\377", 1, -EBADMSG},
		{"\5", 1, -EBADMSG}, /* cut */
		{"\5\200", 2, -EBADMSG},
		{"\2\11", 2, -EBADMSG},      /* removes what is not there */
		{"\3\0\1a\1b", 6, -EBADMSG}, /* a drop of number 0 */
		{"\3\1\1a\1b", 6, 0},
		{"\3\1\1a\2b", 6, -EBADMSG}, /* a slice beyond the end */
		{"\13\5meta", 6, -EBADMSG},
		{"\13\4meta", 6, 0},
		/* a table: level, run, number, size, digest, counts, smallest, largest */
		{"\1\0\1\5\1" "12345678" "\1\0\1\0\2ka\2kb", 23, 0},
		{"\1\10\1\5\1" "12345678" "\1\0\1\0\2ka\2kb", 23, -EBADMSG}, /* level 8 */
		{"\1\0\1\5\1" "12345678" "\1\0\1\0\2kb\2ka", 23, -EBADMSG},  /* ends before it begins */
		{"\1\0\1\5\1" "12345678" "\1\0\1\0\1a\2kb", 22, -EBADMSG},   /* keys of no partition */
		{"\1\0\1\5\1" "12345678" "\1\0\1\0\0\0", 19, -EBADMSG},
		{"\1\0\1\5\1" "12345678" "\1\0\1\0\2ka\2kb"
		 "\1\0\1\5\1" "12345678" "\1\0\1\0\2ka\2kb", 46, -EBADMSG}, /* twice */
		/* clang-format on */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct engine_error error = {{0}};
		int rc = decode_edit(cases[i].bytes, cases[i].size, &error);

		if (rc != cases[i].rc)
			fail_msg("case %zu: %d, %s", i, rc, error.text);
		if (rc)
			assert_non_null(strstr(error.text, "record 0 at offset 48 cannot be applied"));
	}
}

static void test_impossible_edits_change_nothing(void **state)
{
	struct book book;
	struct manifest_state next;
	struct manifest_table *twice;
	uint64_t absent = 999999;
	struct manifest_edit remove = {.removed = &absent, .removed_count = 1}, add = {.added_count = 1};

	(void)state;
	book_init(&book, 4);
	while (book.state.table_count == 0)
		book_edit(&book);
	assert_int_equal(manifest_state_change(&book.state, &remove, &next), -EBADMSG);
	twice = book.state.tables[0];
	add.added = &twice;
	assert_int_equal(manifest_state_change(&book.state, &add, &next), -EBADMSG);
	assert_reads(&book, &book.state);
	book_fini(&book);
}

static void test_the_wrong_file_is_refused(void **state)
{
	struct book book;
	struct manifest_state got;
	struct engine_error error;
	uint64_t tail;

	(void)state;
	book_init(&book, 5);
	/* The same directory, taken for that of another shard. */
	book.shelf.files.shard_index++;
	assert_int_equal(manifest_read(&book.shelf.files, &got, &tail, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "belongs to shard 3"));
	book.shelf.files.shard_index--;
	assert_int_equal(fs_remove_file(book.shelf.files.fs, book.path.text), 0);
	assert_int_equal(manifest_read(&book.shelf.files, &got, &tail, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "MANIFEST: missing"));
	book_fini(&book);
}

/* Each operation of an append fails: but for -EIO the file is as before, durably, and the next append goes on. */
static void test_failed_append(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t index = 0; fired; index++) {
		for (int forever = 0; forever < 2; forever++) {
			struct book book;
			struct drawn drawn;
			int error;

			book_init(&book, 6);
			book_edit(&book);
			draw(&book.random, &book.state, ++book.edits, &drawn);
			sim_fs_reset_operations(book.shelf.disk);
			sim_fs_fail_at(book.shelf.disk, index, -ENOSPC, forever);
			error = manifest_append(book.manifest, &drawn.edit);
			fired = sim_fs_fired(book.shelf.disk);
			sim_fs_fail_never(book.shelf.disk);
			assert_int_equal(error == 0, !fired);
			/* Only a failed append that could be taken back leaves things as they were. */
			assert_int_equal(error == -ENOSPC, fired && index == 0 && !forever);
			if (error == -ENOSPC) {
				assert_reads(&book, &book.state);
				book_edit(&book);
				assert_reads(&book, &book.state);
			}
			drawn_fini(&drawn);
			book_fini(&book);
		}
	}
}

/* An append that was taken back does not return after a power cut, in whatever way it comes. */
static void test_failed_append_does_not_return(void **state)
{
	(void)state;
	for (unsigned data = 0; data < SIM_DATA_MODE_COUNT; data++) {
		struct book book;
		struct drawn drawn;

		book_init(&book, 7);
		book_edit(&book);
		draw(&book.random, &book.state, ++book.edits, &drawn);
		sim_fs_reset_operations(book.shelf.disk);
		sim_fs_fail_at(book.shelf.disk, 0, -ENOSPC, false);
		assert_int_equal(manifest_append(book.manifest, &drawn.edit), -ENOSPC);
		sim_fs_crash(book.shelf.disk, &(struct sim_crash){(enum sim_crash_data)data, SIM_NAMES_DROP, data});
		sim_fs_restart(book.shelf.disk);
		assert_reads(&book, &book.state);
		drawn_fini(&drawn);
		book_fini(&book);
	}
}

/* A new manifest in place of the old one, with each operation failing or losing power: one of the two, whole. */
static void test_rewriting(void **state)
{
	(void)state;
	for (unsigned data = 0; data <= SIM_DATA_MODE_COUNT; data++) {
		bool fired = true;

		for (uint64_t index = 0; fired; index++) {
			struct sim_crash how = {(enum sim_crash_data)data,
						(enum sim_crash_names)(index % SIM_NAMES_MODE_COUNT), index};
			struct manifest *other = NULL;
			struct manifest_state got;
			struct engine_error error;
			struct book book;
			uint64_t tail;

			book_init(&book, 8);
			for (int i = 0; i < 3; i++)
				book_edit(&book);
			book.state.closed_sequence = 0;
			sim_fs_reset_operations(book.shelf.disk);
			if (data == SIM_DATA_MODE_COUNT)
				sim_fs_fail_at(book.shelf.disk, index, -EIO, false);
			else
				sim_fs_crash_at(book.shelf.disk, index, &how);
			(void)!manifest_create(&book.shelf.files, NUMBER + 1, &book.state, &other);
			fired = sim_fs_fired(book.shelf.disk);
			sim_fs_fail_never(book.shelf.disk);
			if (sim_fs_is_down(book.shelf.disk))
				sim_fs_restart(book.shelf.disk);
			if (manifest_read(&book.shelf.files, &got, &tail, &error))
				fail_msg("%s", error.text);
			got.closed_sequence = 0;
			assert_true(same_state(&got, &book.state));
			manifest_state_fini(&got);
			manifest_close(&other);
			book_fini(&book);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_edit_is_read_back),
		cmocka_unit_test(test_torn_append),
		cmocka_unit_test(test_every_flipped_bit),
		cmocka_unit_test(test_hole_is_refused),
		cmocka_unit_test(test_unknown_and_impossible_fields_are_refused),
		cmocka_unit_test(test_impossible_edits_change_nothing),
		cmocka_unit_test(test_the_wrong_file_is_refused),
		cmocka_unit_test(test_failed_append),
		cmocka_unit_test(test_failed_append_does_not_return),
		cmocka_unit_test(test_rewriting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
