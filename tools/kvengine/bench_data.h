/* SPDX-License-Identifier: Apache-2.0 */
/* Bench data: the keys, values and numbers that every engine is measured with.
 *
 * Keys are those of db_bench: the number, big endian in eight bytes, padded with '0' to the key size; a key that is
 * missing is the same with one more '0'. Values are cut out of random text that compresses to about half (pieces of
 * 100 bytes whose second half repeats the first, as db_bench --compression_ratio=0.5 makes them), at a place that the
 * key chooses, so that every read can be checked byte by byte.
 *
 * Threading   immutable after bench_data_init; a random is its user's.
 * Ownership   bench_data_init allocates the text, bench_data_fini frees it. Values point into the text.
 * Errors      -ENOMEM; -EINVAL: a key of less than 8 or more than BENCH_KEY_MAX bytes, a value of more than half the text.
 */
#ifndef KVRING_TOOLS_KVENGINE_BENCH_DATA_H
#define KVRING_TOOLS_KVENGINE_BENCH_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tools/measure/random.h"

enum {
	BENCH_KEY_MAX = 64,
	BENCH_VALUE_MAX = 512 * 1024,       /* bytes: half the text that values are cut from */
	BENCH_KEY_ROOM = BENCH_KEY_MAX + 1, /* one more for a missing key */
	BENCH_SCAN_STEPS = 10,
};

struct bench_data {
	uint8_t *text;
	uint64_t key_count;
	uint32_t key_bytes, value_bytes;
};

/* key_count, key_bytes and value_bytes have been set. */
__attribute__((warn_unused_result)) int bench_data_init(struct bench_data *, uint64_t seed);
void bench_data_fini(struct bench_data *);

/* These return the size of the key. */
size_t bench_data_key(const struct bench_data *, uint64_t number, uint8_t out[BENCH_KEY_ROOM]);
size_t bench_data_missing_key(const struct bench_data *, uint64_t number, uint8_t out[BENCH_KEY_ROOM]);

const uint8_t *bench_data_value(const struct bench_data *, uint64_t number);
bool bench_data_is_right(const struct bench_data *, uint64_t number, const void *value, size_t size);

uint64_t bench_data_uniform(const struct bench_data *, struct random *);
/* Zipfian with exponent 1: the rank is key_count to the power of a uniform number, so its density is 1/rank; the hot
 * ones are spread over the keys. This is what db_bench draws with --read_random_exp_range=ln(num). */
uint64_t bench_data_zipf(const struct bench_data *, struct random *);

uint64_t bench_now_ns(void);

#endif
