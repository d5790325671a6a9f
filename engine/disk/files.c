/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk/files.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const extensions[] = {[FILE_LOG] = "log", [FILE_TABLE] = "tab", [FILE_TREE] = "tree"};

void files_init(struct files *files, const struct fs *fs, const char *store_directory, uint32_t shard_index)
{
	files->fs = fs;
	files->trash = NULL;
	files->shard_index = shard_index;
	files->shard_count = 0;
	snprintf(files->directory, sizeof files->directory, "%s/shard-%03u", store_directory, shard_index);
}

struct files_path files_path(const struct files *files, enum file_kind kind, uint64_t number)
{
	struct files_path path;
	int size;

	if (kind == FILE_MANIFEST)
		size = snprintf(path.text, sizeof path.text, "%s/MANIFEST", files->directory);
	else
		size = snprintf(path.text, sizeof path.text, "%s/%010" PRIu64 ".%s", files->directory, number,
				extensions[kind]);
	assert(size > 0 && (size_t)size < sizeof path.text);
	return path;
}

enum file_kind files_parse(const char *name, uint64_t *number_out)
{
	char *end;
	size_t size = strlen(name);

	*number_out = 0;
	if (strcmp(name, "MANIFEST") == 0)
		return FILE_MANIFEST;
	if (size > 4 && strcmp(name + size - 4, ".tmp") == 0)
		return FILE_TEMPORARY;
	if (name[0] < '0' || name[0] > '9')
		return FILE_OTHER;
	*number_out = strtoull(name, &end, 10);
	for (enum file_kind kind = FILE_LOG; kind <= FILE_TREE; kind++) {
		if (*end == '.' && strcmp(end + 1, extensions[kind]) == 0)
			return kind;
	}
	return FILE_OTHER;
}
