/* SPDX-License-Identifier: Apache-2.0 */
/* Export: fetches the keys of a list and writes their records, in the order of the list.
 *
 * With a state file it goes on where it stopped: the output is cut to what belongs to the records noted there.
 *
 * Threading   One thread.
 * Ownership   Borrows the options.
 * Errors      Exit statuses of kvctl.h: KVCTL_NOT_FOUND when keys were missing; the text is printed.
 */
#ifndef KVRING_KVCTL_EXPORT_H
#define KVRING_KVCTL_EXPORT_H

#include "tools/kvctl/transfer.h"

struct export_options {
	struct transfer_options transfer;
	const char *out_path; /* NULL: stdout */
	enum record_format as;
	struct kvctl_replicas r; /* 0: the cluster's default */
};

int export_keys(const struct export_options *);

#endif
