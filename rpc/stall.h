/* SPDX-License-Identifier: Apache-2.0 */
/* Stall: notices that this process did not run for a while (SIGSTOP, a debugger, a frozen container, a sleeping machine).
 *
 * A thread notes the time every STALL_TICK_MS. Where two notes lie further apart than STALL_MIN_MS, the process stood
 * still, and what it reads next may have waited in its sockets since. A connection that has brought requests before
 * knows better (rpc/age.h); for the first request of a connection the stall is the only sign.
 *
 * Threading   start and stop: where servers are opened and closed. rpc_stall_age_us: any thread.
 * Errors      Negative errno when the thread cannot be started.
 */
#ifndef KVRING_RPC_STALL_H
#define KVRING_RPC_STALL_H

#include <stdint.h>

enum {
	STALL_TICK_MS = 50,
	STALL_MIN_MS = 150,
};

/* Counted: as many stops as starts. */
__attribute__((warn_unused_result)) int rpc_stall_watch_start(void);
void rpc_stall_watch_stop(void);
/* How old the first request of a connection may be that was opened at opened_us and brings it now: 0, or the time since
 * the last stall began. Both by rpc_sent_us. */
uint64_t rpc_stall_age_us(uint64_t opened_us, uint64_t now_us);

#endif
