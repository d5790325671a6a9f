/* SPDX-License-Identifier: Apache-2.0 */
/* Compare: reads every record of an input back and compares bytes.
 *
 * Threading   One thread.
 * Ownership   Borrows the options.
 * Errors      Exit statuses of kvctl.h: KVCTL_DONE all equal, KVCTL_NOT_FOUND something differs; the text is printed.
 *
 * When the input has a key several times the last one counts, as it did in the import.
 */
#ifndef KVRING_KVCTL_COMPARE_H
#define KVRING_KVCTL_COMPARE_H

#include "tools/kvctl/transfer.h"

struct compare_options {
	struct transfer_options transfer;
	struct kvctl_replicas r; /* 0: the cluster's default */
	uint32_t sample;         /* every how many-th record; 1: all */
};

int compare_input(const struct compare_options *);

#endif
