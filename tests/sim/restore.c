/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that go back in time: the copy of an orderly stop, put back later; and the planted bugs of actors that outlive
 * what they should not. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/world.h"

struct copied_file {
	char *path;
	uint8_t *data;
	size_t size;
};

struct disk_copy {
	struct copied_file *files;
	uint32_t count;
	bool has_dots;
	struct dot dots[ENGINE_SHARDS_MAX];
};

/* ---- copies ---- */

struct copying {
	struct sim_fs *disk;
	struct disk_copy *copy;
};

static void copy_file(void *arg, const char *path, uint64_t size)
{
	struct copying *copying = arg;
	struct disk_copy *copy = copying->copy;
	const uint8_t *data;
	uint64_t seen;

	if (sim_fs_look(copying->disk, path, &data, &seen) < 0)
		abort();
	assert(seen == size);
	copy->files = realloc(copy->files, (copy->count + 1) * sizeof *copy->files);
	if (copy->files == NULL)
		abort();
	struct copied_file *file = &copy->files[copy->count++];
	file->path = strdup(path);
	file->data = world_alloc(size + 1);
	file->size = size;
	if (size)
		memcpy(file->data, data, size);
}

void restore_forget(struct machine *machine)
{
	struct disk_copy *copy = machine->copy;

	machine->copy = NULL;
	for (uint32_t i = 0; copy != NULL && i < copy->count; i++) {
		free(copy->files[i].path);
		free(copy->files[i].data);
	}
	if (copy != NULL)
		free(copy->files);
	free(copy);
}

void restore_take_copy(struct machine *machine)
{
	struct world *world = machine->world;

	if (!world->settings.restore_permille || (world->restored != NULL && world->restored != machine) ||
	    machine->copy != NULL)
		return;
	if (machine->rot.bits)
		return; /* the copy would keep what is read wrong just now */
	machine->copy = world_alloc(sizeof *machine->copy);
	struct copying copying = {machine->disk, machine->copy};
	sim_fs_walk(machine->disk, "/data", copy_file, &copying);
	machine->copy->has_dots = machine->has_kept_dots;
	memcpy(machine->copy->dots, machine->kept_dots, sizeof machine->kept_dots);
	world_line(world, "%s: its directory is copied, %u files", machine->name, machine->copy->count);
}

/* ---- putting back ---- */

static const struct copied_file *find_copied(const struct disk_copy *copy, const char *path)
{
	for (uint32_t i = 0; i < copy->count; i++)
		if (!strcmp(copy->files[i].path, path))
			return &copy->files[i];
	return NULL;
}

/* A file of today that the copy lacks. */
struct stray {
	const struct disk_copy *copy;
	char path[256];
};

static void find_stray(void *arg, const char *path, uint64_t size)
{
	struct stray *stray = arg;

	(void)size;
	if (find_copied(stray->copy, path) == NULL)
		snprintf(stray->path, sizeof stray->path, "%s", path);
}

static void remove_strays(struct machine *machine)
{
	struct stray stray = {.copy = machine->copy};

	do {
		stray.path[0] = 0;
		sim_fs_walk(machine->disk, "/data", find_stray, &stray);
		if (stray.path[0])
			sim_fs_remove_file(machine->disk, stray.path);
	} while (stray.path[0]);
}

/* How often its directory was opened, by its own word. 0: it does not say. */
static uint64_t count_starts(const uint8_t *identity, uint64_t size)
{
	const char *line = memmem(identity, size, "\nstarts ", 8);

	return line != NULL ? strtoull(line + 8, NULL, 10) : 0; /* a line follows, so the number ends */
}

static bool keeps_start(struct machine *other, uint64_t id, uint64_t starts)
{
	char line[64];
	const uint8_t *data;
	uint64_t size;

	snprintf(line, sizeof line, "\n%016" PRIx64 " %" PRIu64 " ", id, starts);
	return !sim_fs_is_down(other->disk) && sim_fs_look(other->disk, "/data/members", &data, &size) == 0 &&
	       memmem(data, size, line, strlen(line)) != NULL;
}

/* Boot numbers tell that a directory went back when it has been started since the copy, and the others have heard of it. */
static bool can_be_told(struct machine *machine)
{
	struct world *world = machine->world;
	const struct copied_file *copied = find_copied(machine->copy, "/data/node");
	const uint8_t *data;
	uint64_t size;

	if (copied == NULL || sim_fs_look(machine->disk, "/data/node", &data, &size) < 0)
		return false;
	uint64_t starts = count_starts(data, size);
	bool told = starts > count_starts(copied->data, copied->size);
	for (uint32_t i = 0; i < world->settings.nodes && told; i++)
		told = i == machine->index || keeps_start(&world->machines[i], machine->id, starts);
	return told;
}

void restore_from_copy(struct machine *machine)
{
	struct world *world = machine->world;

	if (machine->copy == NULL || !sim_random_permille(&world->fault_random, world->settings.restore_permille))
		return;
	if (world->restored != NULL && world->restored != machine)
		return; /* one machine at most: what it had acknowledged, the others still hold */
	if (sim_fs_is_down(machine->disk))
		sim_fs_restart(machine->disk);
	if (!can_be_told(machine))
		return;
	machine_mend(machine);
	remove_strays(machine);
	for (uint32_t i = 0; i < machine->copy->count; i++) {
		const struct copied_file *file = &machine->copy->files[i];
		sim_fs_put_file(machine->disk, file->path, file->data, file->size);
	}
	machine->has_kept_dots = machine->copy->has_dots;
	memcpy(machine->kept_dots, machine->copy->dots, sizeof machine->kept_dots);
	world->restored = machine;
	world->totals.restores++;
	world_line(world, "%s: its directory is restored from the copy", machine->name);
	restore_forget(machine);
}

/* ---- planted bugs ---- */

/* Actors that a start goes on with, instead of new ones:
 *     old-counters        the first one, from its first counter, as from a backup of the manifest
 *     kept-actor          the first one, with counters beyond all that it can have issued. No dot is used twice, and yet
 *                         a later one claims those that a crash took back here and that live elsewhere
 *     kept-actor-orderly  the last one after an orderly stop, new ones otherwise: right until a directory is restored */
const struct dot *restore_planted_dots(struct machine *machine)
{
	enum canary canary = machine->world->options->canary;
	const struct dot *kept = machine->has_kept_dots ? machine->kept_dots : NULL;

	if (canary == CANARY_KEPT_ACTOR_ORDERLY)
		return kept;
	if (canary != CANARY_OLD_COUNTERS && canary != CANARY_KEPT_ACTOR)
		return NULL;
	for (uint32_t i = 0; i < ENGINE_SHARDS_MAX; i++)
		machine->kept_dots[i].counter = canary == CANARY_KEPT_ACTOR ? (uint64_t)machine->boot << 32 : 1;
	return kept;
}

static void keep_dots(struct machine *machine)
{
	for (uint32_t i = 0; i < machine->node->shard_count; i++)
		machine->kept_dots[i] = replica_next_dot(machine->node->replicas[i]);
	machine->has_kept_dots = true;
}

void restore_note_start(struct machine *machine)
{
	enum canary canary = machine->world->options->canary;

	if (canary == CANARY_KEPT_ACTOR_ORDERLY)
		machine->has_kept_dots = false; /* until it stops in good order */
	else if ((canary == CANARY_KEPT_ACTOR || canary == CANARY_OLD_COUNTERS) && !machine->has_kept_dots)
		keep_dots(machine);
}

void restore_note_stop(struct machine *machine)
{
	if (machine->world->options->canary == CANARY_KEPT_ACTOR_ORDERLY)
		keep_dots(machine);
}
