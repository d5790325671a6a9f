/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvengine/bench_data.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TEXT_BYTES = 1 << 20, PIECE_BYTES = 100 };

static void fill_text(uint8_t *text, uint64_t seed)
{
	enum { HALF = PIECE_BYTES / 2 };
	struct random random = {seed};

	for (size_t i = 0; i < TEXT_BYTES; i += PIECE_BYTES) {
		for (size_t j = i; j < i + HALF && j < TEXT_BYTES; j++)
			text[j] = (uint8_t)(' ' + random_next(&random) % 95);
		for (size_t j = i + HALF; j < i + PIECE_BYTES && j < TEXT_BYTES; j++)
			text[j] = text[j - HALF];
	}
}

int bench_data_init(struct bench_data *data, uint64_t seed)
{
	data->text = NULL;
	if (!data->key_count || data->key_bytes < 8 || data->key_bytes > BENCH_KEY_MAX ||
	    data->value_bytes > TEXT_BYTES / 2)
		return -EINVAL;
	data->text = malloc(TEXT_BYTES);
	if (data->text == NULL)
		return -ENOMEM;
	fill_text(data->text, seed);
	return 0;
}

void bench_data_fini(struct bench_data *data)
{
	free(data->text);
	data->text = NULL;
}

size_t bench_data_key(const struct bench_data *data, uint64_t number, uint8_t out[BENCH_KEY_ROOM])
{
	memset(out, '0', BENCH_KEY_ROOM);
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(number >> (56 - 8 * i));
	return data->key_bytes;
}

size_t bench_data_missing_key(const struct bench_data *data, uint64_t number, uint8_t out[BENCH_KEY_ROOM])
{
	return bench_data_key(data, number, out) + 1;
}

const uint8_t *bench_data_value(const struct bench_data *data, uint64_t number)
{
	return data->text + number * 0x9e3779b97f4a7c15u % (TEXT_BYTES - data->value_bytes);
}

bool bench_data_is_right(const struct bench_data *data, uint64_t number, const void *value, size_t size)
{
	return size == data->value_bytes && memcmp(value, bench_data_value(data, number), size) == 0;
}

uint64_t bench_data_uniform(const struct bench_data *data, struct random *random)
{
	return random_next(random) % data->key_count;
}

uint64_t bench_data_zipf(const struct bench_data *data, struct random *random)
{
	double n = (double)data->key_count, u = (double)(random_next(random) >> 11) / (double)(1ull << 53);
	uint64_t rank = (uint64_t)(n * exp(-u * log(n)));

	/* A prime: no two ranks meet at one key, unless key_count is a multiple of it. */
	return rank * 2654435761u % data->key_count;
}

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
