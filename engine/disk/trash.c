/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/trash.h"

#include <errno.h>
#include <stdlib.h>

#include "rpc/lock.h"

struct item {
	struct item *next;
	char path[];
};

struct trash {
	const struct fs *fs;
	struct lock lock;
	struct item *items GUARDED;
};

int trash_create(const struct fs *fs, struct trash **out)
{
	struct trash *trash = calloc(1, sizeof *trash);

	if (trash == NULL)
		return -ENOMEM;
	trash->fs = fs;
	lock_init(&trash->lock);
	*out = trash;
	return 0;
}

void trash_destroy(struct trash **trash)
{
	if (*trash != NULL) {
		trash_sweep(*trash);
		lock_fini(&(*trash)->lock);
	}
	free(*trash);
	*trash = NULL;
}

void trash_add(struct trash *trash, const char *path)
{
	size_t size = strlen(path) + 1;
	struct item *item = malloc(sizeof *item + size);

	if (item == NULL) {
		fs_remove_file(trash->fs, path);
		return;
	}
	memcpy(item->path, path, size);
	lock_take(&trash->lock);
	item->next = trash->items;
	trash->items = item;
	lock_release(&trash->lock);
}

void trash_discard(const struct files *files, enum file_kind kind, uint64_t number)
{
	struct files_path path = files_path(files, kind, number);

	if (files->trash != NULL)
		trash_add(files->trash, path.text);
	else
		fs_remove_file(files->fs, path.text);
}

static struct item *take_all(struct trash *trash)
{
	struct item *items;

	lock_take(&trash->lock);
	items = trash->items;
	trash->items = NULL;
	lock_release(&trash->lock);
	return items;
}

bool trash_is_empty(struct trash *trash)
{
	bool is_empty;

	lock_take(&trash->lock);
	is_empty = trash->items == NULL;
	lock_release(&trash->lock);
	return is_empty;
}

void trash_sweep(struct trash *trash)
{
	struct item *items = take_all(trash);

	while (items != NULL) {
		struct item *item = items;

		items = item->next;
		fs_remove_file(trash->fs, item->path);
		free(item);
	}
}
