/* SPDX-License-Identifier: Apache-2.0 */
/* Threads: can NNG start those that it needs?
 *
 * The first use of NNG in a process starts its threads, and NNG 1.5.2 does not survive it when one cannot be started: it
 * crashes, or waits for ever. So whoever is about to use it first asks here, and says what is wrong.
 *
 * Threading   Any.
 * Errors      -EAGAIN: the process may start no more threads, or has no memory for them. The next question looks again.
 */
#ifndef KVRING_RPC_THREADS_H
#define KVRING_RPC_THREADS_H

#include "rpc/rpc.h"

/* Starts as many threads as NNG does, and ends them; once that has worked, it is always 0 at once. */
RPC_OK int rpc_threads_check(struct rpc_error *error_out);

#endif
