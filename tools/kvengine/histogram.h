/* SPDX-License-Identifier: Apache-2.0 */
/* Histogram of durations: 16 buckets per power of two, so within 6 percent. */
#ifndef KVRING_TOOLS_KVENGINE_HISTOGRAM_H
#define KVRING_TOOLS_KVENGINE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 64 * 16 };

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t total;
};

static inline unsigned histogram_bucket(uint64_t ns)
{
	unsigned power = ns < 16 ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 4;

	return ns < 16 ? (unsigned)ns : power * 16 + (unsigned)(ns >> power);
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
	histogram->counts[histogram_bucket(ns)]++;
	histogram->total++;
}

static inline void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->counts[i] += from->counts[i];
	into->total += from->total;
}

/* Upper end of the bucket in which the quantile lies: never better than it was. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
	uint64_t rank = (uint64_t)(quantile * (double)histogram->total), seen = 0;
	unsigned last = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->counts[i];
		if (histogram->counts[i])
			last = i;
		if (seen > rank)
			break;
	}
	return last < 32 ? last : ((uint64_t)(17 + last % 16) << (last / 16 - 1)) - 1;
}

#endif
