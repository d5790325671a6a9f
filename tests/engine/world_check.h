/* SPDX-License-Identifier: Apache-2.0 */
/* What world.c asks of the model: keys, values, and the checks it makes in passing. Tests include world.h alone.
 *
 * Threading   One thread.
 * Errors      Checks fail the cmocka test.
 */
#ifndef KVRING_TESTS_ENGINE_WORLD_CHECK_H
#define KVRING_TESTS_ENGINE_WORLD_CHECK_H

#include "tests/engine/world.h"

/* Once for all worlds. */
void world_make_keys(void);
/* The bytes of a value; room for size + 8. */
void world_fill_value(const struct world_value *value, uint8_t *out);
/* Of an entry, for the hash trees; 0 when it is absent. */
uint64_t world_value_hash(uint32_t key, const struct world_value *value);
bool world_is_value(const struct world_value *value, const void *data, size_t size);
/* Does every get say what the state holds? False, too, when the disk is down. */
bool world_state_matches(struct world *world, struct shard *shard, const struct world_state *state);
uint64_t world_read_meta(struct world *world);
bool world_is_quarantined(const struct world *world, uint32_t partition);
/* The nearest key that is present, from this one on; WORLD_KEYS when there is none. */
uint32_t world_find_present(const struct world_state *state, int64_t from, int step);
/* An iterator that returned rc stands there. */
void world_check_place(struct engine_iterator *iterator, int rc, uint32_t expected);
/* Iteration both ways; seeks from random keys, turning around. */
void world_check_iterator(struct engine_snapshot *snapshot, const struct world_state *state);
void world_check_seeks(struct world *world, struct engine_snapshot *snapshot, const struct world_state *state);

#endif
