/* SPDX-License-Identifier: Apache-2.0 */
/* Import: stores every record of an input; nothing counts before it is acknowledged.
 *
 * Per window: read the contexts of its keys (not when blind), then put until each is DONE. What is in doubt is repeated
 * with the same operation id, also by a later run with the same state file.
 *
 * Threading   One thread.
 * Ownership   Borrows the options.
 * Errors      Exit statuses of kvctl.h, with the text printed.
 */
#ifndef KVRING_KVCTL_IMPORT_H
#define KVRING_KVCTL_IMPORT_H

#include "tools/kvctl/transfer.h"

struct import_options {
	struct transfer_options transfer;
	struct kvctl_replicas w; /* 0: the cluster's default */
	bool blind;              /* do not read contexts first */
	bool keep_going;         /* skip and count what is refused */
};

int import_input(const struct import_options *);

#endif
