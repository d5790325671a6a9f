/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/measure/histogram.h"

#include <math.h>

enum { PARTS = 1 << HISTOGRAM_PRECISION_BITS };

/* Index of a bucket: the value itself while it is small; then PARTS buckets per power of two. */
static unsigned bucket_of(uint64_t value)
{
	if (value < PARTS)
		return (unsigned)value;
	if (value >> HISTOGRAM_VALUE_BITS)
		return HISTOGRAM_BUCKETS - 1;
	unsigned top_bit = 63 - (unsigned)__builtin_clzll(value);
	unsigned shift = top_bit - HISTOGRAM_PRECISION_BITS;
	return ((shift + 1) << HISTOGRAM_PRECISION_BITS) + (unsigned)(value >> shift) - PARTS;
}

/* The largest value of a bucket. */
static uint64_t top_of(unsigned bucket)
{
	if (bucket < PARTS)
		return bucket;
	unsigned shift = (bucket >> HISTOGRAM_PRECISION_BITS) - 1;
	uint64_t part = (bucket & (PARTS - 1)) + PARTS;
	return ((part + 1) << shift) - 1;
}

static void raise_max(struct histogram *histogram, uint64_t value)
{
	uint64_t max = atomic_load_explicit(&histogram->max, memory_order_relaxed);
	while (value > max)
		if (atomic_compare_exchange_weak_explicit(&histogram->max, &max, value, memory_order_relaxed,
							  memory_order_relaxed))
			return;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
	atomic_fetch_add_explicit(&histogram->counts[bucket_of(value)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&histogram->count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&histogram->sum, value, memory_order_relaxed);
	raise_max(histogram, value);
}

void histogram_add(struct histogram *into, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->counts[i] += from->counts[i];
	into->count += from->count;
	into->sum += from->sum;
	raise_max(into, from->max);
}

uint64_t histogram_count(const struct histogram *histogram)
{
	return histogram->count;
}

uint64_t histogram_max(const struct histogram *histogram)
{
	return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
	return histogram->count ? (double)histogram->sum / (double)histogram->count : 0;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t wanted = (uint64_t)ceil(share * (double)histogram->count), seen = 0;
	if (!histogram->count)
		return 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->counts[i];
		if (seen >= wanted && seen)
			return top_of(i) < histogram->max ? top_of(i) : histogram->max;
	}
	return histogram->max;
}
