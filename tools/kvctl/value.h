/* SPDX-License-Identifier: Apache-2.0 */
/* Value: where a value comes from: the command line, a file, stdin.
 *
 * Threading   One thread.
 * Ownership   The bytes are malloc'ed, the caller's.
 * Errors      -errno of open or read with a text; -EFBIG when there is more than VALUE_READ_MAX.
 */
#ifndef KVRING_KVCTL_VALUE_H
#define KVRING_KVCTL_VALUE_H

#include <stddef.h>
#include <stdint.h>
#include "rpc/rpc.h"

/* No node takes a larger value; reading on would only fill memory. */
enum { VALUE_READ_MAX = RPC_CLIENT_MESSAGE_MAX };

/* path "-" is stdin. */
RPC_OK int value_read_file(const char *path, uint8_t **bytes_out, size_t *size_out, struct rpc_error *error_out);

#endif
