/* SPDX-License-Identifier: Apache-2.0 */
/* Level: how many replicas, beside a number (ALGORITHMS.md, Datacenters). The numbers of Level in kv.proto.
 *
 * Threading   pure.
 * Ownership   Names are literals.
 * Errors      level_parse: false, no such name.
 */
#ifndef KVRING_NODE_COORDINATOR_LEVEL_H
#define KVRING_NODE_COORDINATOR_LEVEL_H

#include <stdbool.h>

enum level {
	LEVEL_NONE, /* a number, or the default */
	LEVEL_ONE,
	LEVEL_TWO,
	LEVEL_QUORUM,
	LEVEL_ALL,
	LEVEL_LOCAL_ONE,
	LEVEL_LOCAL_QUORUM,
	LEVEL_EACH_QUORUM,
	LEVEL_COUNT,
};

/* "quorum", "local-quorum", ...; not of LEVEL_NONE. */
const char *level_name(enum level);
bool level_parse(const char *name, enum level *out);

#endif
