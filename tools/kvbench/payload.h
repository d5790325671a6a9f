/* SPDX-License-Identifier: Apache-2.0 */
/* Payload: keys and values of the benchmark. A value proves itself: what comes back is checked.
 *
 *     key     "user" and 12 digits
 *     value   0  u64 LE  XXH3-64 of the bytes from 8 to the end
 *             8  u64 LE  number of the key
 *            16          pieces of 64 bytes: 32 random, and the same 32 again, so that it compresses to about half
 *
 * Threading   Pure functions, apart from the random state.
 * Errors      payload_check says what is wrong.
 */
#ifndef KVRING_KVBENCH_PAYLOAD_H
#define KVRING_KVBENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tools/kvbench/chooser.h"

enum {
	PAYLOAD_KEY_SIZE = 16,  /* bytes */
	PAYLOAD_VALUE_MIN = 16, /* bytes */
	PAYLOAD_DIGITS = PAYLOAD_KEY_SIZE - 4,
};
#define PAYLOAD_KEYS_MAX 1000000000000ull

void payload_key(uint64_t number, uint8_t key_out[PAYLOAD_KEY_SIZE]);
void payload_fill(uint64_t number, struct random *, uint8_t *value_out, size_t size);
/* NULL when the value is whole and belongs to this key, else what is wrong. */
const char *payload_check(uint64_t number, const uint8_t *value, size_t size);

#endif
