/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_disk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum write_kind { WRITE_APPEND, WRITE_TRUNCATE };

struct sim_write {
	struct sim_write *next;
	enum write_kind kind;
	uint64_t offset; /* of the append; the new size of a truncation */
	size_t size;
	uint8_t bytes[];
};

enum change_kind { CHANGE_SET, CHANGE_REMOVE, CHANGE_RENAME };

struct sim_change {
	struct sim_change *next;
	enum change_kind kind;
	struct sim_node *directory, *node;
	struct sim_node *from_directory; /* of a rename */
	char *name, *from_name;
	bool chosen; /* by the sync or the crash under way */
};

static void *must_alloc(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

const char *sim_crash_data_name(enum sim_crash_data mode)
{
	static const char *const names[] = {"kept", "dropped", "reordered", "torn at 512", "torn at 4096", "mixed"};
	return names[mode];
}

const char *sim_crash_names_name(enum sim_crash_names mode)
{
	static const char *const names[] = {"kept", "dropped", "a prefix", "any"};
	return names[mode];
}

/* ---- bytes ---- */

static void bytes_resize(struct sim_bytes *bytes, size_t size, uint8_t fill)
{
	if (size > bytes->capacity) {
		size_t capacity = bytes->capacity ? bytes->capacity : 512;
		while (capacity < size)
			capacity *= 2;
		bytes->data = must_alloc(realloc(bytes->data, capacity));
		bytes->capacity = capacity;
	}
	if (size > bytes->size)
		memset(bytes->data + bytes->size, fill, size - bytes->size);
	bytes->size = size;
}

static void bytes_write(struct sim_bytes *bytes, uint64_t offset, const void *data, size_t size, uint8_t fill)
{
	if (offset + size > bytes->size)
		bytes_resize(bytes, offset + size, fill);
	if (size)
		memcpy(bytes->data + offset, data, size);
}

static void bytes_copy(struct sim_bytes *to, const struct sim_bytes *from)
{
	bytes_resize(to, from->size, 0);
	if (from->size)
		memcpy(to->data, from->data, from->size);
}

static void write_apply(struct sim_bytes *stored, const struct sim_write *write, uint8_t fill)
{
	if (write->kind == WRITE_TRUNCATE)
		bytes_resize(stored, write->offset, 0);
	else
		bytes_write(stored, write->offset, write->bytes, write->size, fill);
}

static void node_drop_writes(struct sim_node *node)
{
	struct sim_write *next;

	for (struct sim_write *write = node->first_write; write != NULL; write = next) {
		next = write->next;
		free(write);
	}
	node->first_write = NULL;
	node->last_write = &node->first_write;
}

static void node_add_write(struct sim_node *node, enum write_kind kind, uint64_t offset, const void *data, size_t size)
{
	struct sim_write *write = must_alloc(malloc(sizeof *write + size));

	*write = (struct sim_write){.kind = kind, .offset = offset, .size = size};
	if (size)
		memcpy(write->bytes, data, size);
	*node->last_write = write;
	node->last_write = &write->next;
}

void sim_node_append(struct sim_node *node, const void *data, size_t size)
{
	uint64_t offset = node->seen.size;

	bytes_write(&node->seen, offset, data, size, 0);
	node_add_write(node, WRITE_APPEND, offset, data, size);
}

void sim_node_truncate(struct sim_node *node, uint64_t size)
{
	bytes_resize(&node->seen, size, 0);
	node_add_write(node, WRITE_TRUNCATE, size, NULL, 0);
}

void sim_node_sync(struct sim_node *node)
{
	for (const struct sim_write *write = node->first_write; write != NULL; write = write->next)
		write_apply(&node->stored, write, 0);
	node_drop_writes(node);
}

void sim_node_sync_failed(struct sim_node *node, struct sim_random *random)
{
	for (const struct sim_write *write = node->first_write; write != NULL; write = write->next)
		if (sim_random_permille(random, 500))
			write_apply(&node->stored, write, 0);
	node_drop_writes(node);
}

bool sim_node_is_synced(const struct sim_node *node)
{
	return node->first_write == NULL;
}

void sim_node_store(struct sim_node *node, const void *data, size_t size)
{
	node_drop_writes(node);
	bytes_resize(&node->seen, 0, 0);
	bytes_write(&node->seen, 0, data, size, 0);
	bytes_copy(&node->stored, &node->seen);
}

/* ---- nodes ---- */

static struct sim_node *node_create(struct sim_disk *disk, bool is_directory)
{
	struct sim_node *node = must_alloc(calloc(1, sizeof *node));

	node->number = disk->next_number++;
	node->is_directory = is_directory;
	node->last_write = &node->first_write;
	node->link = disk->last_node;
	*disk->last_node = node;
	disk->last_node = &node->next;
	return node;
}

static void names_clear(struct sim_disk *disk, struct sim_names *names)
{
	for (uint32_t i = 0; i < names->count; i++) {
		free(names->entries[i].name);
		sim_node_unref(disk, names->entries[i].node);
	}
	names->count = 0;
}

void sim_node_ref(struct sim_node *node)
{
	node->references++;
}

void sim_node_unref(struct sim_disk *disk, struct sim_node *node)
{
	assert(node->references > 0);
	if (--node->references)
		return;
	*node->link = node->next;
	if (node->next != NULL)
		node->next->link = node->link;
	else
		disk->last_node = node->link;
	names_clear(disk, &node->names_seen);
	names_clear(disk, &node->names_stored);
	free(node->names_seen.entries);
	free(node->names_stored.entries);
	node_drop_writes(node);
	free(node->seen.data);
	free(node->stored.data);
	free(node);
}

/* ---- names ---- */

static struct sim_entry *names_find(const struct sim_names *names, const char *name)
{
	for (uint32_t i = 0; i < names->count; i++)
		if (!strcmp(names->entries[i].name, name))
			return &names->entries[i];
	return NULL;
}

static void names_set(struct sim_disk *disk, struct sim_names *names, const char *name, struct sim_node *node)
{
	struct sim_entry *entry = names_find(names, name);

	sim_node_ref(node);
	if (entry != NULL) {
		sim_node_unref(disk, entry->node);
		entry->node = node;
		return;
	}
	if (names->count == names->capacity) {
		names->capacity = names->capacity ? names->capacity * 2 : 8;
		names->entries = must_alloc(realloc(names->entries, names->capacity * sizeof *names->entries));
	}
	names->entries[names->count++] = (struct sim_entry){must_alloc(strdup(name)), node};
}

static void names_remove(struct sim_disk *disk, struct sim_names *names, const char *name)
{
	struct sim_entry *entry = names_find(names, name);

	if (entry == NULL)
		return;
	struct sim_entry removed = *entry;
	memmove(entry, entry + 1, (size_t)((char *)(names->entries + names->count) - (char *)(entry + 1)));
	names->count--;
	free(removed.name);
	sim_node_unref(disk, removed.node);
}

static void seen_set(struct sim_disk *disk, struct sim_node *directory, const char *name, struct sim_node *node)
{
	struct sim_entry *old = names_find(&directory->names_seen, name);

	if (old != NULL)
		old->node->links--;
	node->links++;
	names_set(disk, &directory->names_seen, name, node);
}

static void seen_remove(struct sim_disk *disk, struct sim_node *directory, const char *name)
{
	names_find(&directory->names_seen, name)->node->links--;
	names_remove(disk, &directory->names_seen, name);
}

static struct sim_change *add_change(struct sim_disk *disk, enum change_kind kind, const struct sim_place *place,
				     struct sim_node *node)
{
	struct sim_change *change = must_alloc(calloc(1, sizeof *change));

	change->kind = kind;
	change->directory = place->directory;
	change->node = node;
	change->name = must_alloc(strdup(place->name));
	sim_node_ref(change->directory);
	sim_node_ref(node);
	*disk->last_change = change;
	disk->last_change = &change->next;
	return change;
}

static void change_free(struct sim_disk *disk, struct sim_change *change)
{
	sim_node_unref(disk, change->directory);
	sim_node_unref(disk, change->node);
	if (change->from_directory != NULL)
		sim_node_unref(disk, change->from_directory);
	free(change->name);
	free(change->from_name);
	free(change);
}

static void change_apply(struct sim_disk *disk, const struct sim_change *change)
{
	switch (change->kind) {
	case CHANGE_SET:
		names_set(disk, &change->directory->names_stored, change->name, change->node);
		break;
	case CHANGE_REMOVE:
		names_remove(disk, &change->directory->names_stored, change->name);
		break;
	case CHANGE_RENAME:
		names_remove(disk, &change->from_directory->names_stored, change->from_name);
		names_set(disk, &change->directory->names_stored, change->name, change->node);
		break;
	}
}

/* Applies the chosen changes in their order, and forgets them. */
static void changes_apply_chosen(struct sim_disk *disk)
{
	struct sim_change **link = &disk->first_change;

	while (*link != NULL) {
		struct sim_change *change = *link;
		if (!change->chosen) {
			link = &change->next;
			continue;
		}
		*link = change->next;
		change_apply(disk, change);
		change_free(disk, change);
	}
	disk->last_change = link;
}

int sim_disk_find(struct sim_disk *disk, const char *path, struct sim_place *out)
{
	*out = (struct sim_place){.node = disk->root};
	for (const char *at = path; *at;) {
		size_t size = strcspn(at, "/");
		if (size == 0 || (size == 1 && at[0] == '.')) {
			at += size ? size : 1;
			continue;
		}
		if (size == 2 && at[0] == '.' && at[1] == '.')
			return -EINVAL;
		if (size >= sizeof out->name)
			return -ENAMETOOLONG;
		if (out->node == NULL)
			return -ENOENT;
		if (!out->node->is_directory)
			return -ENOTDIR;
		out->directory = out->node;
		memcpy(out->name, at, size);
		out->name[size] = 0;
		struct sim_entry *entry = names_find(&out->directory->names_seen, out->name);
		out->node = entry != NULL ? entry->node : NULL;
		at += size;
	}
	return *path ? 0 : -EINVAL;
}

struct sim_node *sim_disk_make(struct sim_disk *disk, const struct sim_place *place, bool is_directory)
{
	struct sim_node *node = node_create(disk, is_directory);

	sim_disk_link(disk, place, node);
	return node;
}

void sim_disk_link(struct sim_disk *disk, const struct sim_place *place, struct sim_node *node)
{
	seen_set(disk, place->directory, place->name, node);
	add_change(disk, CHANGE_SET, place, node);
}

void sim_disk_rename(struct sim_disk *disk, const struct sim_place *from, const struct sim_place *to)
{
	struct sim_change *change = add_change(disk, CHANGE_RENAME, to, from->node);

	change->from_directory = from->directory;
	change->from_name = must_alloc(strdup(from->name));
	sim_node_ref(from->directory);
	seen_remove(disk, from->directory, from->name);
	seen_set(disk, to->directory, to->name, from->node);
}

void sim_disk_unlink(struct sim_disk *disk, const struct sim_place *place)
{
	add_change(disk, CHANGE_REMOVE, place, place->node);
	seen_remove(disk, place->directory, place->name);
}

/* A rename between directories ties both: the sync of one takes along what the other had before it. */
void sim_disk_sync_names(struct sim_disk *disk, struct sim_node *directory)
{
	bool grown = true;

	for (struct sim_change *change = disk->first_change; change != NULL; change = change->next)
		change->chosen = change->directory == directory || change->from_directory == directory;
	while (grown) {
		grown = false;
		for (struct sim_change *tie = disk->first_change; tie != NULL; tie = tie->next) {
			if (!tie->chosen || tie->from_directory == NULL || tie->from_directory == tie->directory)
				continue;
			for (struct sim_change *change = disk->first_change; change != tie; change = change->next) {
				if (change->chosen ||
				    (change->directory != tie->directory && change->directory != tie->from_directory))
					continue;
				change->chosen = grown = true;
			}
		}
	}
	changes_apply_chosen(disk);
}

/* ---- disk ---- */

void sim_disk_init(struct sim_disk *disk)
{
	*disk = (struct sim_disk){0};
	disk->last_node = &disk->nodes;
	disk->last_change = &disk->first_change;
	disk->root = node_create(disk, true);
	sim_node_ref(disk->root);
}

void sim_disk_fini(struct sim_disk *disk)
{
	for (struct sim_change *change = disk->first_change; change != NULL; change = change->next)
		change->chosen = true;
	changes_apply_chosen(disk);
	sim_node_unref(disk, disk->root);
	assert(!disk->nodes);
}

uint64_t sim_disk_used(const struct sim_disk *disk)
{
	uint64_t used = 0;

	for (const struct sim_node *node = disk->nodes; node != NULL; node = node->next)
		if (node->links || node->handles)
			used += node->seen.size;
	return used;
}

/* ---- the power cut ---- */

/* A crash is mostly early or late in what was under way, so the share that survives is drawn first. */
static uint32_t draw_share(struct sim_random *random)
{
	static const uint32_t shares[] = {60, 300, 500, 700, 940};
	return shares[sim_random_below(random, 5)];
}

static void crash_reorder(struct sim_node *node, struct sim_random *random, uint8_t fill)
{
	uint32_t share = draw_share(random);

	for (const struct sim_write *write = node->first_write; write != NULL; write = write->next)
		if (sim_random_permille(random, share))
			write_apply(&node->stored, write, fill);
}

/* Parts of one append that lie in sectors which reached the medium. All writes to one sector share its fate. */
static void crash_torn_append(struct sim_node *node, const struct sim_write *write, size_t sector_size, uint64_t cut,
			      uint64_t luck, uint32_t share, uint8_t fill)
{
	size_t done = 0;

	while (done < write->size) {
		uint64_t offset = write->offset + done;
		size_t part = sector_size - offset % sector_size;
		if (part > write->size - done)
			part = write->size - done;
		bool kept = luck ? sim_random_mix(luck ^ offset / sector_size) % 1000 < share : offset < cut;
		if (kept)
			bytes_write(&node->stored, offset, write->bytes + done, part, fill);
		done += part;
	}
}

static void crash_torn(struct sim_node *node, struct sim_random *random, size_t sector_size, uint8_t fill)
{
	uint32_t share = draw_share(random);
	uint64_t first = node->stored.size / sector_size, end = node->seen.size / sector_size + 1;
	/* Either all sectors up to one, or each by itself. */
	uint64_t cut = (first + sim_random_below(random, end > first ? end - first + 1 : 1)) * sector_size;
	uint64_t luck = sim_random_permille(random, 500) ? sim_random_next(random) | 1 : 0;
	/* The size of the file may reach the medium before its bytes. */
	bool size_kept = sim_random_permille(random, 300);

	for (const struct sim_write *write = node->first_write; write != NULL; write = write->next) {
		if (write->kind == WRITE_APPEND)
			crash_torn_append(node, write, sector_size, cut, luck, share, fill);
		else if (sim_random_permille(random, share))
			write_apply(&node->stored, write, fill);
	}
	if (size_kept && node->stored.size < node->seen.size)
		bytes_resize(&node->stored, node->seen.size, fill);
}

static void crash_node(struct sim_node *node, enum sim_crash_data mode, struct sim_random *random)
{
	uint8_t fill = sim_random_permille(random, 500) ? 0 : (uint8_t)sim_random_next(random);

	if (mode == SIM_DATA_MIXED)
		mode = (enum sim_crash_data)sim_random_below(random, SIM_DATA_MODE_COUNT);
	switch (mode) {
	case SIM_DATA_KEEP:
		sim_node_sync(node);
		break;
	case SIM_DATA_DROP:
		break;
	case SIM_DATA_REORDER:
		crash_reorder(node, random, fill);
		break;
	case SIM_DATA_TORN_512:
		crash_torn(node, random, 512, fill);
		break;
	case SIM_DATA_TORN_4K:
		crash_torn(node, random, 4096, fill);
		break;
	case SIM_DATA_MIXED:
		abort();
	}
	node_drop_writes(node);
	bytes_copy(&node->seen, &node->stored);
}

static void crash_names(struct sim_disk *disk, enum sim_crash_names mode, struct sim_random *random)
{
	uint32_t count = 0, index = 0, share = draw_share(random);

	for (struct sim_change *change = disk->first_change; change != NULL; change = change->next)
		count++;
	uint64_t prefix = sim_random_below(random, count + 1);
	for (struct sim_change *change = disk->first_change; change != NULL; change = change->next, index++)
		change->chosen = mode == SIM_NAMES_KEEP || (mode == SIM_NAMES_PREFIX && index < prefix) ||
				 (mode == SIM_NAMES_ANY && sim_random_permille(random, share));
	changes_apply_chosen(disk);
	for (struct sim_change *change = disk->first_change, *next; change != NULL; change = next) {
		next = change->next;
		change_free(disk, change);
	}
	disk->first_change = NULL;
	disk->last_change = &disk->first_change;
}

static void names_reload(struct sim_disk *disk, struct sim_node *directory)
{
	names_clear(disk, &directory->names_seen);
	for (uint32_t i = 0; i < directory->names_stored.count; i++) {
		struct sim_entry *entry = &directory->names_stored.entries[i];
		names_set(disk, &directory->names_seen, entry->name, entry->node);
		entry->node->links++;
		if (entry->node->is_directory && entry->node->links == 1)
			names_reload(disk, entry->node);
	}
}

void sim_disk_crash(struct sim_disk *disk, const struct sim_crash *crash)
{
	struct sim_random random;

	sim_random_seed(&random, crash->seed);
	for (struct sim_node *node = disk->nodes; node != NULL; node = node->next) {
		struct sim_random of_node = sim_random_fork(&random, node->number);
		if (!node->is_directory)
			crash_node(node, crash->data, &of_node);
		node->links = node->handles = 0;
	}
	crash_names(disk, crash->names, &random);
	names_reload(disk, disk->root);
}
