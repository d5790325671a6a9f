/* SPDX-License-Identifier: Apache-2.0 */
#include "node/coordinator/level.h"

#include <assert.h>
#include <string.h>

static const char *const names[LEVEL_COUNT] = {
	[LEVEL_NONE] = "none",
	[LEVEL_ONE] = "one",
	[LEVEL_TWO] = "two",
	[LEVEL_QUORUM] = "quorum",
	[LEVEL_ALL] = "all",
	[LEVEL_LOCAL_ONE] = "local-one",
	[LEVEL_LOCAL_QUORUM] = "local-quorum",
	[LEVEL_EACH_QUORUM] = "each-quorum",
};

const char *level_name(enum level level)
{
	assert(level > LEVEL_NONE && level < LEVEL_COUNT);
	return names[level];
}

bool level_parse(const char *name, enum level *out)
{
	for (unsigned level = LEVEL_ONE; level < LEVEL_COUNT; level++)
		if (strcmp(name, names[level]) == 0) {
			*out = (enum level)level;
			return true;
		}
	return false;
}
