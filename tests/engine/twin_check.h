/* SPDX-License-Identifier: Apache-2.0 */
/* What twin.c asks of the model: keys, values, and the checks it makes in passing. Tests include twin.h alone.
 *
 * Threading   One thread.
 * Errors      Checks fail the cmocka test.
 */
#ifndef KVRING_TESTS_ENGINE_TWIN_CHECK_H
#define KVRING_TESTS_ENGINE_TWIN_CHECK_H

#include "tests/engine/twin.h"

/* Once for all twins. */
void twin_make_keys(void);
/* The bytes of a value; room for size + 8. */
void twin_fill_value(const struct twin_value *value, uint8_t *out);
/* Of an entry, for the hash trees; 0 when it is absent. */
uint64_t twin_value_hash(uint32_t key, const struct twin_value *value);
bool twin_is_value(const struct twin_value *value, const void *data, size_t size);
/* Does every get say what the state holds? False, too, when the disk is down. */
bool twin_state_matches(struct twin *twin, struct shard *shard, const struct twin_state *state);
uint64_t twin_read_meta(struct twin *twin);
bool twin_is_quarantined(const struct twin *twin, uint32_t partition);
/* The nearest key that is present, from this one on; TWIN_KEYS when there is none. */
uint32_t twin_find_present(const struct twin_state *state, int64_t from, int step);
/* An iterator that returned rc stands there. */
void twin_check_place(struct engine_iterator *iterator, int rc, uint32_t expected);
/* Iteration both ways; seeks from random keys, turning around. */
void twin_check_iterator(struct engine_snapshot *snapshot, const struct twin_state *state);
void twin_check_seeks(struct twin *twin, struct engine_snapshot *snapshot, const struct twin_state *state);

#endif
