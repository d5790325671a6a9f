/* SPDX-License-Identifier: Apache-2.0 */
/* Histogram: latencies with a bounded relative error, in the manner of HDR.
 *
 * Values below 2^HISTOGRAM_PRECISION_BITS are kept exactly; above, each power of two is cut into that many equal
 * parts, so that a value read back is less than 1 % above the value recorded.
 *
 * Threading   histogram_record: any thread. All else: when nobody records.
 * Ownership   Plain memory, zero-initialised is empty.
 * Errors      None; values past the last bucket count as the largest.
 */
#ifndef KVRING_MEASURE_HISTOGRAM_H
#define KVRING_MEASURE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	HISTOGRAM_PRECISION_BITS = 7,
	HISTOGRAM_VALUE_BITS = 44, /* nanoseconds: 4.9 hours */
	HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_PRECISION_BITS + 1) << HISTOGRAM_PRECISION_BITS,
};

struct histogram {
	_Atomic uint64_t counts[HISTOGRAM_BUCKETS];
	_Atomic uint64_t count, sum, max;
};

void histogram_record(struct histogram *, uint64_t value);
void histogram_add(struct histogram *into, const struct histogram *from);
uint64_t histogram_count(const struct histogram *);
uint64_t histogram_max(const struct histogram *); /* exact */
double histogram_mean(const struct histogram *);  /* exact */
/* The smallest recorded value (to the precision) that at least this share of all values do not exceed; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *, double share);

#endif
