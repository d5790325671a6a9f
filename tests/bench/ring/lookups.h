/* SPDX-License-Identifier: Apache-2.0 */
/* What a lookup costs while a writer publishes.
 *
 * Threading   starts threads and joins them.
 * Ownership   borrows the document.
 * Errors      aborts.
 */
#ifndef KVRING_TESTS_BENCH_RING_LOOKUPS_H
#define KVRING_TESTS_BENCH_RING_LOOKUPS_H

#include "ring/ring.h"

/* Prints the rows of the table for this document. */
void lookups_show(const struct ring_document *);

#endif
