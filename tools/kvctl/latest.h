/* SPDX-License-Identifier: Apache-2.0 */
/* Latest: which record of an input is the last of its key.
 *
 * Threading   One thread.
 * Ownership   latest_close frees.
 * Errors      Those of records_open and records_next.
 */
#ifndef KVRING_KVCTL_LATEST_H
#define KVRING_KVCTL_LATEST_H

#include "tools/kvctl/records.h"

struct latest;

/* Reads the whole input once. */
RPC_OK int latest_open(const char *path, enum record_format, struct latest **out, struct rpc_error *error_out);
void latest_close(struct latest **);
/* False: the same key comes again later. The record must be one of the input. */
bool latest_is_last(const struct latest *, const struct record *);

#endif
